"""Deciding whether an object meets a restriction [MS-OXCDATA] 2.12."""

from __future__ import annotations

import operator
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from dissector.node import Undecoded
from replay.server.computed import View
from replay.server.errors import INVALID_PARAMETER, TOO_COMPLEX, RopError
from replay.server.properties import Large
from replay.server.values import BINARY, INSTANCE, MULTIPLE, STRING, STRING8, comparable, kept, size_of

AND, OR, NOT, CONTENT, PROPERTY, COMPARE, BITMASK, SIZE, EXIST, SUB_OBJECT, COMMENT, COUNT = range(12)

RELATIONS: dict[int, Callable[[Any, Any], bool]] = {
    0: operator.lt, 1: operator.le, 2: operator.gt, 3: operator.ge, 4: operator.eq, 5: operator.ne,
}  # fmt: skip

FULL, SUBSTRING, PREFIX = 0, 1, 2
IGNORE_CASE, IGNORE_NON_SPACE, LOOSE = 1, 2, 4


def checked(restriction: Any) -> Any:
    """The restriction, or None where there is none; RopError where its bytes could not be read."""
    if isinstance(restriction, Undecoded):
        raise RopError(INVALID_PARAMETER)
    for part in walk(restriction):
        relation = part.get("RelOp")
        if part["RestrictType"] in (PROPERTY, COMPARE, SIZE) and relation not in RELATIONS:
            raise RopError(TOO_COMPLEX)
    return restriction


def walk(restriction: Any) -> Iterator[Any]:
    """The restriction and all those in it."""
    if restriction is None:
        return
    yield restriction
    for part in restriction.get("Restricts") or ():
        yield from walk(part)
    yield from walk(restriction.get("Restriction"))


def property_ids(restriction: Any) -> set[int]:
    """The ids of the properties it looks at."""
    ids: set[int] = set()
    for part in walk(restriction):
        for name in ("PropertyTag", "PropertyTag1", "PropertyTag2"):
            if part.get(name) is not None:
                ids.add(part[name] >> 16)
    return ids


def limit_of(restriction: Any) -> int | None:
    """How many rows a Count restriction at the top lets through."""
    if restriction is not None and restriction["RestrictType"] == COUNT:
        return int(restriction["Count"])
    return None


def matches(restriction: Any, view: View, codec: str) -> bool:
    """Whether the object behind a view meets a restriction (None: any does)."""
    if restriction is None:
        return True
    return TESTS[restriction["RestrictType"]](restriction, view, codec)


def _values(view: View, tag: int) -> tuple[int, list[Any]]:
    """(single type, values) of a property; no values where there is none of that type."""
    kind = tag & 0xFFFF & ~INSTANCE
    wanted = tag & ~0xFFFF | kind
    found = view.typed(wanted)
    if found is None and kind and not kind & MULTIPLE:
        found = view.typed(wanted | MULTIPLE)
    if found is None:
        return kind, []
    kind, value = found
    value = value.fetch() if isinstance(value, Large) else value
    single = STRING if kind & ~MULTIPLE == STRING8 else kind & ~MULTIPLE
    return single, list(value) if kind & MULTIPLE else [value]


def _given(restriction: Any, codec: str) -> tuple[int, list[Any]]:
    tagged = restriction["TaggedValue"]
    kind, value = kept(tagged["PropertyTag"], tagged["PropertyValue"], codec)
    return kind & ~MULTIPLE, list(value) if kind & MULTIPLE else [value]


def _related(relation: int, kind: int, first: Any, second: Any) -> bool:
    try:
        return RELATIONS[relation](comparable(kind, first), comparable(kind, second))
    except (TypeError, AttributeError):
        return False


def _property(restriction: Any, view: View, codec: str) -> bool:
    kind, values = _values(view, restriction["PropertyTag"])
    _, wanted = _given(restriction, codec)
    return any(_related(restriction["RelOp"], kind, value, other) for value in values for other in wanted)


def _compare(restriction: Any, view: View, codec: str) -> bool:
    kind, first = _values(view, restriction["PropertyTag1"])
    _, second = _values(view, restriction["PropertyTag2"])
    return any(_related(restriction["RelOp"], kind, one, other) for one in first for other in second)


def _folded(text: str, flags: int) -> str:
    if flags & (IGNORE_NON_SPACE | LOOSE):
        text = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return text.casefold() if flags & (IGNORE_CASE | LOOSE) else text


def _content(restriction: Any, view: View, codec: str) -> bool:
    kind, values = _values(view, restriction["PropertyTag"])
    given, wanted = _given(restriction, codec)
    level, flags = restriction["FuzzyLevelLow"], restriction["FuzzyLevelHigh"]
    if kind not in (STRING, BINARY) or given != kind:
        return False
    for value in values:
        for other in wanted:
            left = _folded(value, flags) if kind == STRING else value
            right = _folded(other, flags) if kind == STRING else other
            if level & 3 == FULL and left == right:
                return True
            if level & 3 == SUBSTRING and right in left:
                return True
            if level & 3 == PREFIX and left.startswith(right):
                return True
    return False


def _bitmask(restriction: Any, view: View, codec: str) -> bool:
    _, values = _values(view, restriction["PropertyTag"])
    wanted = bool(restriction["BitmapRelOp"])
    return any(isinstance(value, int) and bool(value & restriction["Mask"]) == wanted for value in values)


def _size(restriction: Any, view: View, codec: str) -> bool:
    found = view.typed(restriction["PropertyTag"])
    if found is None:
        return False
    kind, value = found
    size = value.size if isinstance(value, Large) else size_of(STRING if kind == STRING8 else kind, value)
    return RELATIONS[restriction["RelOp"]](size, restriction["Size"])


def _sub_object(restriction: Any, view: View, codec: str) -> bool:
    return any(matches(restriction["Restriction"], one, codec) for one in view.subobjects(restriction["Subobject"]))


TESTS: dict[int, Callable[[Any, View, str], bool]] = {
    AND: lambda one, view, codec: all(matches(part, view, codec) for part in one["Restricts"]),
    OR: lambda one, view, codec: any(matches(part, view, codec) for part in one["Restricts"]),
    NOT: lambda one, view, codec: not matches(one["Restriction"], view, codec),
    CONTENT: _content,
    PROPERTY: _property,
    COMPARE: _compare,
    BITMASK: _bitmask,
    SIZE: _size,
    EXIST: lambda one, view, codec: view.typed(one["PropertyTag"]) is not None,
    SUB_OBJECT: _sub_object,
    COMMENT: lambda one, view, codec: matches(one["Restriction"], view, codec),
    COUNT: lambda one, view, codec: matches(one["Restriction"], view, codec),
}
