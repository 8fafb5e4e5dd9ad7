"""Property rows and lists as responses carry them [MS-OXCDATA] 2.8.1, [MS-OXCPRPT] 3.2.5.1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dissector.grammar.base import Param, build
from dissector.grammar.properties import PropertyRow, TaggedPropertyValue
from dissector.node import Undecoded
from replay.server.computed import View
from replay.server.errors import NOT_ENOUGH_MEMORY, NOT_FOUND
from replay.server.properties import Large
from replay.server.values import (
    BINARY,
    ERROR_CODE,
    MULTIPLE,
    OBJECT,
    STRING,
    STRING8,
    UNSPECIFIED,
    on_wire,
    size_of,
    to_8bit,
)  # fmt: skip

ROW = PropertyRow(Param("columns"))

TABLE_LIMIT = 510
"""Bytes of a value in a table row; longer ones are cut [MS-OXCTABL] 2.2.2.5.2."""

OVERHEAD = 16
"""Bytes a value takes beyond its own: tag, flag, count, terminator."""


def answer_kind(asked: int, stored: int, unicode: bool) -> int:
    """The type a value goes out with: text of no particular type is Unicode or 8-bit as the client wants."""
    if asked == UNSPECIFIED and stored & ~MULTIPLE == STRING and not unicode:
        return stored ^ 1
    return stored


def _cut(kind: int, value: Any, codec: str) -> Any:
    if kind == STRING and 2 * len(value) + 2 > TABLE_LIMIT:
        return value[: TABLE_LIMIT // 2 - 1]
    if kind == STRING8 and len(value) + 1 > TABLE_LIMIT:
        return value[: TABLE_LIMIT - 1] if len(to_8bit(value, codec)) == len(value) else value[: TABLE_LIMIT // 4]
    return value[:TABLE_LIMIT] if kind == BINARY else value


def values_of(
    view: View, tags: Sequence[int], codec: str, unicode: bool = True, largest: int = 0xFFFF, in_table: bool = False
) -> list[tuple[int, Any]]:
    """(type, value) per tag as build() wants it; the type is PtypErrorCode where the value is an error.

    largest: bytes beyond which a value is not sent (NotEnoughMemory). in_table: cut texts and binaries instead.
    """
    answers: list[tuple[int, Any]] = []
    for tag in tags:
        found = view.typed(tag)
        if found is None or found[0] == OBJECT:
            answers.append((ERROR_CODE, NOT_FOUND))
            continue
        stored, value = found
        kind = answer_kind(tag & 0xFFFF, stored, unicode)
        if not in_table:
            size = value.size if isinstance(value, Large) else size_of(stored, value)
            if (size // 2 if kind == STRING8 else size) > largest:
                answers.append((ERROR_CODE, NOT_ENOUGH_MEMORY))
                continue
        if isinstance(value, Large):
            value = value.fetch()
        if in_table:
            value = _cut(kind, value, codec)
        known_by = 0 if tag & 0xFFFF == UNSPECIFIED else tag & ~0xFFFF  # a row with types is laid out by them alone
        answers.append((kind, on_wire(known_by | kind, value, codec)))
    return answers


def row(tags: Sequence[int], answers: Sequence[tuple[int, Any]]) -> dict[str, Any]:
    """A StandardPropertyRow where every value is there, else a FlaggedPropertyRow."""
    flagged = any(
        kind == ERROR_CODE and tag & 0xFFFF != ERROR_CODE for tag, (kind, _) in zip(tags, answers, strict=True)
    )
    made: list[Any] = []
    for tag, (kind, value) in zip(tags, answers, strict=True):
        failed = kind == ERROR_CODE and tag & 0xFFFF != ERROR_CODE
        if flagged:
            entry = {"Flag": 0x0A if failed else 0, "PropertyValue": value}
            if tag & 0xFFFF == UNSPECIFIED:
                entry["PropertyType"] = kind
            made.append(entry)
        elif tag & 0xFFFF == UNSPECIFIED:
            made.append({"PropertyType": kind, "PropertyValue": value})
        else:
            made.append(value)
    return {"Flag": int(flagged), "ValueArray": made}


def packed_row(tags: Sequence[int], answers: Sequence[tuple[int, Any]], codec: str) -> Undecoded:
    """The bytes of a row, which build() takes in its place."""
    return Undecoded(build(ROW, row(tags, answers), columns=tuple(tags), codepage=codec))


def tagged(view: View, tags: Sequence[int], codec: str, unicode: bool, largest: int) -> list[dict[str, Any]]:
    """TaggedPropertyValues; a value that is too large is an error code under the same property id."""
    asked = [tag if unicode or tag & 0xFFFF & ~MULTIPLE != STRING else tag ^ 1 for tag in tags]
    answers = values_of(view, asked, codec, unicode, largest)
    return [
        {"PropertyTag": tag & ~0xFFFF | kind, "PropertyValue": value}
        for tag, (kind, value) in zip(asked, answers, strict=True)
    ]


def packed_values(values: Sequence[dict[str, Any]], codec: str) -> list[Undecoded]:
    """The bytes of TaggedPropertyValues, which build() takes in their place."""
    return [Undecoded(build(TaggedPropertyValue, one, codepage=codec)) for one in values]
