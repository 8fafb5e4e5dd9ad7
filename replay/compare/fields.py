"""A response as fields to compare: the leaves of its tree by path, structured ids in one piece, rows apart.

The order of what has no order does not count: property values go by their tags. Whether a row of a table carries flags
does not count either, since servers choose: a value that is missing is the error in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from dissector.grammar.names import error_name
from dissector.node import Node, brief

WHOLE = frozenset({"ProviderUID"})
"""A structure with a field of this name (an entry id) is one value."""

BY_TAG = frozenset({"PropertyValues", "PropertyProblems"})
"""Lists of tagged values, or of what is wrong with them: compared by tag."""

TAG_SETS = frozenset({"PropertyTags"})

ROWS = "RowData"

SKIPPED = frozenset({
    "RopId", "TransferBuffer", "TransferBufferSize", "Reserved", "InputHandleIndex", "OutputHandleIndex",
    "ResponseHandleIndex", "SourceHandleIndex", "PropertyValueCount", "PropertyTagCount", "PropertyProblemCount",
})  # fmt: skip
"""Fields that say nothing by themselves: streams are compared as streams, counts by what they count."""


class PropertyError(int):
    """An error code in the place of a property's value."""

    def __str__(self) -> str:
        return error_name(self) or f"0x{int(self):08X}"


class Field(NamedTuple):
    """change: ids in the value are change numbers."""

    path: str
    value: Any
    change: bool


WRITTEN = frozenset({
    "StringType", "RecipientRowSize", "RecipientColumnCount", "RecipientColumns", "ColumnCount", "RowFlag",
})  # fmt: skip
"""How text and recipients are written, which servers choose: what they say is compared."""

CHANGES = ("PidTagChangeKey", "PidTagPredecessorChangeList", "PidTagChangeNumber")


def fields(node: Node) -> dict[str, Field]:
    """Every field below a response but its rows, by path."""
    return {field.path: field for child in node.children for field in _below(child, "")}


def rows(node: Node) -> list[dict[str, Field]]:
    """The rows of a response (RopQueryRows), each with its fields by column."""
    table = next((child for child in node.children if child.name == ROWS), None)
    if table is None or not _is_list(table):
        return []
    return [{field.path: field for field in _row(child, "")} for child in table.children]


def _is_list(node: Node) -> bool:
    return bool(node.children) and all(child.name.startswith("[") for child in node.children)


def _below(node: Node, prefix: str) -> Iterator[Field]:
    if not prefix and (node.name in SKIPPED or (node.name == ROWS and (_is_list(node) or node.value == []))):
        return
    if node.name in WRITTEN:
        return
    path = f"{prefix}.{node.name}" if prefix and not node.name.startswith("[") else prefix + node.name
    if any(child.name == "StringType" for child in node.children):
        text = next((child.value for child in node.children if child.name == "String"), None)
        yield Field(path, text or "", False)
        return
    if not node.children:
        if node.name not in BY_TAG:
            yield Field(path, node.value, node.name in CHANGES)
    elif any(child.name in WHOLE for child in node.children):
        yield Field(path, _structure(node), False)
    elif node.name in BY_TAG and _is_list(node):
        yield from _tagged(node, f"{prefix}.{node.name}" if node.name == "PropertyProblems" else prefix)
    elif node.name in TAG_SETS and _is_list(node):
        yield Field(path, sorted(brief(child) for child in node.children), False)
    elif any(child.name == "ValueArray" for child in node.children):
        yield from _row(node, path)
    elif node.name in CHANGES:
        yield Field(path, [child.value for child in node.children if child.name.startswith("[")], True)
    else:
        for child in node.children:
            yield from _below(child, path)


def _structure(node: Node) -> Any:
    if not node.children:
        return node.value
    if _is_list(node):
        return [_structure(child) for child in node.children]
    return {child.name: _structure(child) for child in node.children}


def _tagged(node: Node, prefix: str) -> Iterator[Field]:
    """Tagged values by the names of their tags."""
    for row in node.children:
        tag = next((child for child in row.children if child.name == "PropertyTag"), None)
        value = next((child for child in row.children if child.name in ("PropertyValue", "ErrorCode")), None)
        if tag is None or value is None:
            yield from _below(row, prefix + node.name)
            continue
        name = brief(tag)
        if value.name == "ErrorCode":
            yield Field(f"{prefix}.{name}".lstrip("."), PropertyError(value.value), False)
            continue
        yield from _valued(value, f"{prefix}.{name}" if prefix else name, name in CHANGES)


def _row(node: Node, prefix: str) -> Iterator[Field]:
    """The columns of a property row."""
    array = next((child for child in node.children if child.name == "ValueArray"), None)
    if array is None:
        for child in node.children:
            yield from _below(child, prefix)
        return
    for column in array.children:
        path = f"{prefix}.{column.name}" if prefix else column.name
        flag = next((child for child in column.children if child.name == "Flag"), None)
        value = next((child for child in column.children if child.name == "PropertyValue"), None)
        if flag is None or value is None:
            yield from _valued(column, path, column.name in CHANGES)
        elif flag.value == 0x0A:
            yield Field(path, PropertyError(value.value), False)
        elif flag.value == 0:
            yield from _valued(value, path, column.name in CHANGES)


def _valued(node: Node, path: str, change: bool) -> Iterator[Field]:
    """A property's value: a leaf, a structured id, a list of changes, or a structure field by field."""
    if not node.children:
        yield Field(path, node.value, change)
    elif any(child.name in WHOLE for child in node.children):
        yield Field(path, _structure(node), change)
    elif change:
        yield Field(path, [child.value for child in node.children if child.name.startswith("[")], True)
    else:
        for child in node.children:
            for field in _below(child, ""):
                inner = field.path if field.path.startswith("[") else f".{field.path}"
                yield Field(path + inner, field.value, field.change)
