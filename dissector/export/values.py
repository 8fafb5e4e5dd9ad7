"""Property values as text: out of the trees of ROPs, and out of FastTransfer streams while they go by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from dissector.grammar.base import GrammarError, labeller_of
from dissector.grammar.elements import Element, ElementReader
from dissector.grammar.fasttransfer import FASTTRANSFER_VALUES, UNNAMED
from dissector.grammar.ics import Syntax
from dissector.grammar.names import property_name, type_name
from dissector.grammar.properties import PropertyValue
from dissector.grammar.reading import parse
from dissector.grammar.resume import SIGN_SIZE, resume
from dissector.grammar.rops.oxcstor import RECEIVE_FOLDER_COLUMNS
from dissector.node import Node, Undecoded
from dissector.session.exchange import RopSide
from dissector.views.json import dumps
from dissector.views.jsonvalues import plain

LONGEST = 4096
"""Characters of a value; longer ones are cut."""
LARGEST = 1 << 20
"""Bytes of a value in a stream; a larger one is not held, only its length is told."""
ERROR_TYPE = 0x000A
ITEMS = frozenset(("messageChangeFull", "messageChangePartial", "message", "folderChange", "messageContent"))
"""The productions that are counted as items, where they are in no other item."""


class Value(NamedTuple):
    """A property value as the table `properties` has it, without where it was carried."""

    item: int | None
    place: str
    offset: int
    tag: int
    name: str
    property_set: str | None
    key: str | None
    type: str
    value: str | None
    meaning: str | None
    length: int


def value_text(value: Any) -> str | None:
    """A value as text; None for none."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return value[: LONGEST // 2].hex()
    if isinstance(value, str) and value.isascii():
        return value[:LONGEST]
    made = plain(_bare(value))
    text = made if isinstance(made, str) else dumps(made)
    return text[:LONGEST]


def _bare(value: Any) -> Any:
    """Without what construct adds to structures."""
    if isinstance(value, dict):
        return {name: _bare(one) for name, one in value.items() if not str(name).startswith("_")}
    if isinstance(value, list):
        return [_bare(one) for one in value]
    return value


# -- ROPs


def holds_values(value: Any) -> bool:
    """Whether property values are in the fields of a ROP."""
    if isinstance(value, dict):
        if "ValueArray" in value or ("PropertyTag" in value and "PropertyValue" in value):
            return True
        return any(holds_values(one) for one in value.values() if isinstance(one, dict | list))
    if isinstance(value, list):
        return any(holds_values(one) for one in value if isinstance(one, dict | list))
    return False


def rop_values(side: RopSide) -> Iterator[Value]:
    """The property values in a ROP request or response, in their order."""
    if not holds_values(side.value):
        return
    columns = side.params.get("property_tags") or side.params.get("columns")
    if columns is None and side.name == "RopGetReceiveFolderTable":
        columns = RECEIVE_FOLDER_COLUMNS
    recipients = side.value.get("RecipientColumns") or side.params.get("recipient_columns")
    yield from _node_values(side.node(), columns or (), recipients or (), side.params, None, "")


def _node_values(
    node: Node,
    columns: Sequence[int],
    recipients: Sequence[int],
    params: Mapping[str, Any],
    item: int | None,
    path: str,
) -> Iterator[Value]:
    """columns: of the rows below the node. params: what the ROP's layout was given. item, path: where the node is."""
    parts = {child.name: child for child in node.children}
    if "PropertyTag" in parts and "PropertyValue" in parts:
        tag = parts["PropertyTag"].value
        yield _of_node(parts["PropertyValue"], tag, tag & 0xFFFF, params, item, path)
        return
    for child in node.children:
        if child.name == "ValueArray":
            for cell, tag in zip(child.children, columns, strict=False):
                yield from _cell(cell, tag, params, item, path)
            continue
        if not child.children:
            continue
        row = child.name[1:-1] if child.name.startswith("[") else ""
        tagged = any(part.name == "PropertyTag" for part in child.children)
        number = int(row) + 1 if row.isdecimal() and item is None and not tagged else item
        inner = path if row.isdecimal() else f"{path}/{child.name}" if path else child.name
        below = recipients if child.name == "RecipientProperties" else columns
        yield from _node_values(child, below, recipients, params, number, inner)


def _cell(cell: Node, tag: int, params: Mapping[str, Any], item: int | None, path: str) -> Iterator[Value]:
    """One column of a row. A flagged one may have an error instead of a value, or none."""
    parts = {child.name: child for child in cell.children}
    kind = parts["PropertyType"].value if "PropertyType" in parts and not tag & 0xFFFF else tag & 0xFFFF
    if "Flag" not in parts:
        yield _of_node(cell, tag, kind, params, item, path)
    elif "PropertyValue" in parts and parts["Flag"].value != 1:
        kind = ERROR_TYPE if parts["Flag"].value == ERROR_TYPE else kind
        yield _of_node(parts["PropertyValue"], tag, kind, params, item, path)


def _of_node(node: Node, tag: int, kind: int, params: Mapping[str, Any], item: int | None, path: str) -> Value:
    named = (params.get("named") or {}).get(tag >> 16, "") if tag >= 0x80000000 else property_name(tag)
    return Value(
        item, path, node.offset, tag, named or f"0x{tag:08X}", None, None, type_name(kind),
        value_text(_node_value(node, tag & 0xFFFF0000 | kind, params)), _clean(node.label), node.length,
    )  # fmt: skip


def _node_value(node: Node, tag: int, params: Mapping[str, Any]) -> Any:
    """The value of a leaf; a structure is read once more, for a tree shows its counts, too."""
    if not node.children:
        return node.value
    given = {name: params[name] for name in ("codepage", "named") if name in params}
    try:
        return parse(_layout(tag), node.source.data, node.offset, node.end, **given)[0]
    except GrammarError:
        return node.data


_layout = lru_cache(1024)(PropertyValue)


def _clean(text: str) -> str | None:
    return value_text(text) if text else None


# -- streams


class StreamValues:
    """The property values of one stream, fed with its bytes in order; a stream.Tap.

    root: what the stream is, None where that is not known. emit: called with every value when it is complete.
    """

    def __init__(self, root: str | None, codepage: str | None, emit: Callable[[Value], None]) -> None:
        self.codepage, self.emit = codepage, emit
        self._reader = ElementReader(keep=LARGEST)
        self._syntax = Syntax(root) if root is not None else None
        self._after = 0
        self._path: list[str] = []
        self._depth: int | None = None
        """Where in the path the open item stands."""
        self._items = 0
        self._place = ""
        self._at = 0
        self._held: bytes | None = None
        """Behind a hole: the bytes at whose end an element may begin."""
        if root is not None:
            self._begin(root)

    def feed(self, data: bytes) -> None:
        self._at += len(data)
        if self._held is not None:
            data = self._held + data
            found = resume(data, root_known=self._syntax is not None)
            if found is None:
                self._held = data[1 - SIGN_SIZE :]
                return
            self._held = None
            self._reader = ElementReader(keep=LARGEST, offset=self._at - len(data) + found.offset)
            if self._syntax is None and found.root is not None:
                self._syntax = Syntax(found.root)
                self._begin(found.root)
            if self._syntax is not None:
                self._syntax.lose()
            data = data[found.offset :]
        self._reader.feed(data)
        for element in self._reader.elements():
            if self._syntax is not None:
                step = self._syntax.advance(element.tag)
                if step.ends or step.begins:
                    self._move(step.ends, step.begins)
            if element.is_marker:
                self._after = element.tag
            else:
                self.emit(self._value(element))

    def gap(self) -> None:
        """What comes next does not follow what came before."""
        self._held = b""

    def _move(self, ends: int, begins: Sequence[str]) -> None:
        for _ in range(ends):
            self._path.pop()
            if self._depth is not None and len(self._path) <= self._depth:
                self._depth = None
        for name in begins:
            self._begin(name)
        below = self._path[1 if self._depth is None else self._depth + 1 :]
        if self._depth is not None and below[:1] == ["messageContent"]:
            del below[0]  # so that a message looks the same whatever stream it is in
        self._place = "/".join(below)

    def _begin(self, name: str) -> None:
        if self._depth is None and name in ITEMS:
            self._depth = len(self._path)
            self._items += 1
        self._path.append(name)

    def _value(self, element: Element) -> Value:
        tag, named = element.tag, element.named
        value: Any = None
        meaning = None
        if element.raw is not None:
            try:
                value = element.value(codepage=self.codepage, after=self._after)
            except GrammarError:
                value = Undecoded(element.raw)
            else:
                if tag != UNNAMED and not isinstance(value, bytes | str | list | dict):
                    label = _labeller(tag, str(named) if named is not None else "")
                    meaning = _clean(label(value)) if label is not None else None
        item = self._items if self._depth is not None else None
        start, length = element.value_offset, element.end - element.value_offset
        if named is None:
            name, kind = _names(tag)
            return Value(item, self._place, start, tag, name, None, None, kind, value_text(value), meaning, length)
        return Value(
            item, self._place, start, tag, str(named), str(named.property_set), value_text(named.key),
            type_name(tag & 0xFFFF), value_text(value), meaning, length,
        )  # fmt: skip


@lru_cache(4096)
def _names(tag: int) -> tuple[str, str]:
    """Name and type of a property that has no name of its own."""
    return Element(0, tag, None, 0, 0, None).name, type_name(tag & 0xFFFF)


@lru_cache(4096)
def _labeller(tag: int, named: str) -> Callable[[Any], str] | None:
    """What puts the values of a property into words. Bounded: a stream may hold any number of tags."""
    return labeller_of(FASTTRANSFER_VALUES.form(tag, named={tag >> 16: named} if named else {}))
