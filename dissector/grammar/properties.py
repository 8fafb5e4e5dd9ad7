"""Property tags, values and rows [MS-OXCDATA] 2.8, 2.9, 2.11.

PropertyValue reads one value by its 16-bit type as it stands in a ROP buffer (u16 counts in front of binary values).
A PtypBinary that is itself a structure opens by its property tag: BINARY_LAYOUTS.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from construct import Construct, Container, evaluate

from dissector.grammar.base import (
    F32, F64, I16, I32, I64, U8, U16, U32, Bool8, Choice, Count, Counted, Enumerated, ErrorCode, FileTime, Guid,
    Labelled, Layout, Multi, NoContextError, Rest, Rows, Str8, Str16, Traced, Undecoded, this,
)  # fmt: skip
from dissector.grammar.names import property_name, type_name


class _PropertyTag(Labelled):
    """A property tag as u32: id << 16 | type [MS-OXCDATA] 2.9."""

    spec = "MS-OXCDATA 2.9"

    def label(self, value: int) -> str:
        return f"{property_name(value) or 'unknown property'}, {type_name(value & 0xFFFF)}"


PropertyTag = _PropertyTag(U32)

Nothing = Layout()
"""A value of no bytes (PtypNull)."""

FIXED: Mapping[int, Construct] = {
    0x0001: Nothing, 0x0002: I16, 0x0003: I32, 0x0004: F32, 0x0005: F64, 0x0006: I64, 0x0007: F64, 0x000A: ErrorCode,
    0x000B: Bool8, 0x0014: I64, 0x0040: FileTime, 0x0048: Guid,
}  # fmt: skip
"""The types of one size in every encoding (but PtypBoolean, two bytes in FastTransfer)."""

BINARY_LAYOUTS: dict[int, Construct] = {}
"""What the bytes of a PtypBinary property are, by property id."""


class _Value(Construct):  # type: ignore[misc]
    """One property value by its tag: the type in the low 16 bits decides, the id opens structured binary values."""

    def __init__(self, tag: Any, types: Mapping[int, Construct], binary_count: Construct) -> None:
        super().__init__()
        self.tag, self.types, self.binary_count = tag, types, binary_count

    def choose(self, context: Container) -> Construct:
        tag = evaluate(self.tag, context)
        kind = tag & 0xFFFF
        if kind & 0x3000 == 0x3000:  # a multi-value instance column carries one value
            kind &= 0x0FFF
        if kind == 0x0102 and tag >> 16 in BINARY_LAYOUTS:
            return Counted(self.binary_count, BINARY_LAYOUTS[tag >> 16])
        return Choice(kind, self.types)

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        return self.choose(context)._parse(stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        return self.choose(context)._build(obj, stream, context, path)


def multi_values(binary_count: Construct) -> dict[int, Construct]:
    """The multi-value types: u32 count, then the items back to back."""
    table: dict[int, Construct] = {0x1000 | kind: Multi(U32, FIXED[kind]) for kind in (2, 3, 4, 5, 6, 7, 0x14, 0x40, 0x48)}
    table[0x101E], table[0x101F], table[0x1102] = Multi(U32, Str8), Multi(U32, Str16), Multi(U32, Counted(binary_count))
    return table


ROP_TYPES: dict[int, Construct] = {
    **FIXED, 0x001E: Str8, 0x001F: Str16, 0x0102: Counted(U16), **multi_values(U16),
}  # fmt: skip
"""Property types as they are encoded in ROP buffers [MS-OXCDATA] 2.11.1."""


def PropertyValue(tag: Any) -> Construct:
    """A value in a ROP buffer. `tag` gives the whole property tag (an expression or a number)."""
    return _Value(tag, ROP_TYPES, U16)


TaggedPropertyValue = Layout(
    "PropertyTag" / PropertyTag,
    "PropertyValue" / PropertyValue(this.PropertyTag),
    name="TaggedPropertyValue",
    spec="MS-OXCDATA 2.11.4",
)

TypedPropertyValue = Layout(
    "PropertyType" / Enumerated(U16, "PropertyType"),
    "PropertyValue" / PropertyValue(this.PropertyType),
    name="TypedPropertyValue",
    spec="MS-OXCDATA 2.11.3",
)


def _flagged(value: Construct) -> Layout:
    return Layout(
        "Flag" / Enumerated(U8, "FlaggedPropertyValueFlag"),
        "PropertyValue" / Choice(this.Flag, {0x00: value, 0x01: Nothing, 0x0A: ErrorCode}),
        name="FlaggedPropertyValue",
        spec="MS-OXCDATA 2.11.5",
    )


@cache
def _column(tag: int, flagged: bool) -> Traced:
    value = TypedPropertyValue if tag & 0xFFFF == 0 else PropertyValue(tag)
    return Traced(_flagged(value) if flagged else value, property_name(tag) or f"0x{tag:08X}")


class ColumnValues(Construct):  # type: ignore[misc]
    """One value per column, in order; nodes are named by property. `flag` nonzero: each value has a flag of its own.

    `columns` gives a sequence of property tags, or None where the capture did not show them (NO_CONTEXT).
    """

    def __init__(self, columns: Any, flag: Any) -> None:
        super().__init__()
        self.columns, self.flag = columns, flag

    def fields(self, context: Container, path: str) -> list[Traced]:
        columns = evaluate(self.columns, context)
        if columns is None:
            raise NoContextError("the columns of this row were set before the capture began", path=path)
        flagged = bool(evaluate(self.flag, context))
        return [_column(tag, flagged) for tag in columns]

    def _parse(self, stream: Any, context: Container, path: str) -> list[Any]:
        return [field._parse(stream, context, path) for field in self.fields(context, path)]

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        for field, value in zip(self.fields(context, path), obj, strict=True):
            field._build(value, stream, context, path)
        return obj


def PropertyRow(columns: Any) -> Layout:
    """A StandardPropertyRow or FlaggedPropertyRow over `columns` [MS-OXCDATA] 2.8.1.

    A column expression is evaluated inside the row: write this._.X for a field of the enclosing layout.
    """
    return Layout(
        "Flag" / Enumerated(U8, "PropertyRowFlag"),
        "ValueArray" / ColumnValues(columns, this.Flag),
        name="PropertyRow",
        spec="MS-OXCDATA 2.8.1",
    )
