"""Property tags, values and rows [MS-OXCDATA] 2.8, 2.9, 2.11.

A property value is written in one of several encodings: that of ROP buffers (u16 counts in front of binary values),
that of extended rules (u32 counts), that of MAPI/HTTP address-book bodies (u32 counts and HasValue bytes), and that of
FastTransfer streams (fasttransfer.py). The tag decides how a value is read: its type always, its id where the value is
itself a structure, an id, a flag field or an enumeration (values.py).
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any

from construct import Construct, Container, Renamed, evaluate, this

from dissector.grammar.base import MalformedError, NoContextError, parse_chosen
from dissector.grammar.forms import HasValue, MaybeEmpty, Nothing
from dissector.grammar.ids import FolderId, MessageId
from dissector.grammar.layouts import Choice, Counted, Deferred, Layout, Multi, Sized, SizeOf, Traced, When
from dissector.grammar.leaves import (
    F32,
    F64,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    Bool8,
    Enumerated,
    ErrorCode,
    FileTime,
    Guid,
    Labelled,
    Rest,
    Str8,
    Str16,
)
from dissector.grammar.names import property_name, type_name
from dissector.node import Summary


class _PropertyTag(Labelled):
    """A property tag as u32: id << 16 | type [MS-OXCDATA] 2.9.

    Ids from 0x8000 on have names of their own in every mailbox: Param `named` maps ids to names where they are known.
    """

    hex_digits = 8

    spec = "MS-OXCDATA 2.9"

    def __init__(self, subcon: Construct, address_book: bool = False) -> None:
        super().__init__(subcon)
        self.address_book = address_book

    def _parse(self, stream: Any, context: Container, path: str) -> int:
        tag: int = self.subcon._parse(stream, context, path)
        if tag >= 0x80000000 and not self.address_book:
            params = context._params
            tracer = params.get("_tracer")
            name = (params.get("named") or NO_NAMES).get(tag >> 16)
            if tracer is not None and name:
                tracer.current.labeller = NamedTag(name)
        return tag

    def label(self, value: int) -> str:
        name = property_name(value, self.address_book)
        if not name:
            name = "named property" if value >= 0x80000000 and not self.address_book else "unknown property"
        return f"{name}, {type_name(value & 0xFFFF)}"

    def brief(self, value: int) -> str:
        return property_name(value, self.address_book) or f"0x{value:08X}"


class NamedTag:
    """The words for the tag of a named property, known when it is read."""

    hex_digits = 8
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, value: int) -> str:
        return f"{self.name}, {type_name(value & 0xFFFF)}"

    def brief(self, value: int) -> str:
        return self.name


NO_NAMES: Mapping[int, str] = {}

PropertyTag = _PropertyTag(U32)
AddressBookPropertyTag = _PropertyTag(U32, address_book=True)
"""In address books the ids from 0x8000 on are fixed."""


class _PropertyType(Labelled):
    spec = "MS-OXCDATA 2.11.1"

    def label(self, value: int) -> str:
        return type_name(value)


PropertyType = _PropertyType(U16)


class _Currency(Labelled):
    def label(self, value: int) -> str:
        return f"{value / 10000:.4f}"


class _FloatingTime(Labelled):
    """Days since 1899-12-30, the time of day as the fraction."""

    def label(self, value: float | bytes) -> str:
        if isinstance(value, bytes):
            return "not a number"
        try:
            moment = datetime.datetime(1899, 12, 30) + datetime.timedelta(days=value)
        except (OverflowError, ValueError):
            return "beyond the calendar"
        return moment.isoformat(timespec="milliseconds")


Currency, FloatingTime = _Currency(I64), _FloatingTime(F64)

FIXED: Mapping[int, Construct] = {
    0x0001: Nothing, 0x0002: I16, 0x0003: I32, 0x0004: F32, 0x0005: F64, 0x0006: Currency, 0x0007: FloatingTime,
    0x000A: ErrorCode, 0x000B: Bool8, 0x0014: I64, 0x0040: FileTime, 0x0048: Guid,
}  # fmt: skip
"""The types of one size in every encoding (but PtypBoolean, two bytes in FastTransfer)."""

MULTIPLE: Mapping[int, Construct] = {
    0x1000 | kind: Multi(U32, FIXED[kind]) for kind in (2, 3, 4, 5, 6, 7, 0x14, 0x40, 0x48)
}
"""The multi-value types of fixed size: u32 count, then the items back to back."""

ServerEid = Layout(
    "Ours" / Enumerated(U8, "ServerEidOurs"),
    "FolderId" / When(this.Ours == 1, FolderId),
    "MessageId" / When(this.Ours == 1, MessageId),
    "Instance" / When(this.Ours == 1, U32),
    "ClientData" / When(this.Ours != 1, Rest),
    name="ServerEid",
    spec="MS-OXCDATA 2.11.1.4",
    summary="{FolderId} {MessageId} {ClientData}",
)
"""A folder or message of this store, or bytes that only the client understands."""


class Encoding:
    """One way of writing property values: how a tag chooses the layout of its value.

    types: by 16-bit type. by_tag: values whose property id says more than their type (an id, a flag field, a
    structure in a PtypBinary). by_name: the same for named properties, by name and type.
    """

    def __init__(
        self, name: str, types: Mapping[int, Construct], binary: Construct, tag: Construct = PropertyTag
    ) -> None:
        """binary: the byte count in front of a PtypBinary. tag: how a property tag reads."""
        self.name, self.binary, self.tag = name, binary, tag
        self.types = dict(types)
        for kind in [kind for kind in types if kind & 0x1000]:  # an instance of a multi-value column is one value
            self.types[kind | 0x2000] = self.types[kind & 0x0FFF]

    @cached_property
    def by_tag(self) -> dict[int, Construct]:
        from dissector.grammar.values import values_by_tag

        return values_by_tag(self)

    @cached_property
    def by_name(self) -> dict[tuple[str, int], Construct]:
        from dissector.grammar.values import values_by_name

        return values_by_name(self)

    def opened(self, structure: Construct) -> Construct:
        """A PtypBinary whose bytes, unless there are none, are `structure`. Its COUNT is not one of its fields."""
        return Counted(self.binary, MaybeEmpty(structure), "COUNT")

    def opened_rows(self, structure: Construct) -> Construct:
        """A PtypMultipleBinary whose items, unless they are empty, are `structure`."""
        return Multi(U32, self.opened(structure))

    def form(self, tag: int, path: str = "", named: Mapping[int, str] = NO_NAMES) -> Construct:
        """The layout of the value of a property; named: names by id for ids from 0x8000 on."""
        found = self.by_tag.get(tag)
        if found is None and tag >= 0x80000000 and named:
            found = self.by_name.get((named.get(tag >> 16, ""), tag & 0xFFFF))
        if found is None:
            found = self.types.get(tag & 0xFFFF)
        if found is None:
            raise MalformedError(f"no layout is known for property type 0x{tag & 0xFFFF:04X}", path=path)
        return found


class _AddressBookEncoding(Encoding):
    def opened(self, structure: Construct) -> Construct:
        return HasValue(super().opened(structure))

    def opened_rows(self, structure: Construct) -> Construct:
        return HasValue(super().opened_rows(structure))


class _Value(Construct):  # type: ignore[misc]
    """One property value by its tag."""

    def __init__(self, tag: Any, encoding: Encoding) -> None:
        super().__init__()
        self.tag, self.encoding = tag, encoding
        self.flagbuildnone = True

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        params = context._params
        chosen = self.encoding.form(evaluate(self.tag, context), path, params.get("named") or NO_NAMES)
        return parse_chosen(chosen, stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        chosen = self.encoding.form(evaluate(self.tag, context), path, context._params.get("named") or NO_NAMES)
        if obj is None and not chosen.flagbuildnone:
            raise MalformedError("no value for the property", path=path)
        return chosen._build(obj, stream, context, path)


def _rop_restriction() -> Construct:
    from dissector.grammar.restrictions import Restriction

    return Restriction


def _rop_actions() -> Construct:
    from dissector.grammar.actions import RuleAction

    return RuleAction


def _extended_restriction() -> Construct:
    from dissector.grammar.restrictions import ExtendedRestriction

    return ExtendedRestriction


def _extended_actions() -> Construct:
    from dissector.grammar.actions import ExtendedRuleAction

    return ExtendedRuleAction


def _rop_typed() -> Construct:
    return TypedPropertyValue


def _extended_typed() -> Construct:
    return ExtendedTypedPropertyValue


def _address_book_typed() -> Construct:
    return AddressBookTypedPropertyValue


def _plain(count: Construct, typed: Construct, restriction: Construct, actions: Construct) -> dict[int, Construct]:
    return {
        **FIXED, **MULTIPLE, 0x0000: typed, 0x000D: Counted(count), 0x001E: Str8, 0x001F: Str16, 0x00FB: SERVER_ID,
        0x00FD: restriction, 0x00FE: actions, 0x0102: Counted(count),
        0x101E: Multi(U32, Str8), 0x101F: Multi(U32, Str16), 0x1102: Multi(U32, Counted(count)),
    }  # fmt: skip


SERVER_ID = Counted(U16, ServerEid)
"""PtypServerId: the count is two bytes in every encoding."""

ROP_VALUES = Encoding(
    "ROP buffer", _plain(U16, Deferred(_rop_typed), Deferred(_rop_restriction), Deferred(_rop_actions)), U16
)
EXTENDED_VALUES = Encoding(
    "extended rule",
    _plain(U32, Deferred(_extended_typed), Deferred(_extended_restriction), Deferred(_extended_actions)),
    U32,
)
ADDRESS_BOOK_VALUES = _AddressBookEncoding(
    "address book",
    {
        **FIXED,
        **{kind: HasValue(form) for kind, form in MULTIPLE.items()},
        0x0000: Deferred(_address_book_typed),
        0x000D: Nothing,
        0x001E: HasValue(Str8),
        0x001F: HasValue(Str16),
        0x0102: HasValue(Counted(U32)),
        0x101E: HasValue(Multi(U32, HasValue(Str8))),
        0x101F: HasValue(Multi(U32, HasValue(Str16))),
        0x1102: HasValue(Multi(U32, HasValue(Counted(U32)))),
    },
    U32,
    tag=AddressBookPropertyTag,
)


def PropertyValue(tag: Any, encoding: Encoding = ROP_VALUES) -> Construct:
    """A value, in a ROP buffer unless told otherwise. tag: the whole property tag (an expression or a number)."""
    return _Value(tag, encoding)


def tagged_value(name: str, spec: str, encoding: Encoding) -> Layout:
    return Layout(
        "PropertyTag" / encoding.tag,
        "PropertyValue" / PropertyValue(this.PropertyTag, encoding),
        name=name,
        spec=spec,
        summary="{PropertyTag} = {PropertyValue}",
    )


def typed_value(name: str, spec: str, encoding: Encoding) -> Layout:
    return Layout(
        "PropertyType" / PropertyType,
        "PropertyValue" / PropertyValue(this.PropertyType, encoding),
        name=name,
        spec=spec,
        summary="{PropertyValue}",
    )


TaggedPropertyValue = tagged_value("TaggedPropertyValue", "MS-OXCDATA 2.11.4", ROP_VALUES)
TypedPropertyValue = typed_value("TypedPropertyValue", "MS-OXCDATA 2.11.3", ROP_VALUES)
ExtendedTaggedPropertyValue = tagged_value("TaggedPropertyValue", "MS-OXCDATA 2.11.4", EXTENDED_VALUES)
ExtendedTypedPropertyValue = typed_value("TypedPropertyValue", "MS-OXCDATA 2.11.3", EXTENDED_VALUES)
AddressBookTaggedPropertyValue = tagged_value(
    "AddressBookTaggedPropertyValue", "MS-OXCMAPIHTTP 2.2.1.2", ADDRESS_BOOK_VALUES
)
AddressBookTypedPropertyValue = typed_value(
    "AddressBookTypedPropertyValue", "MS-OXCMAPIHTTP 2.2.1.3", ADDRESS_BOOK_VALUES
)


_FLAG = "Flag" / Enumerated(U8, "FlaggedPropertyValueFlag")


def _flagged(value: Construct, *first: Renamed, name: str, spec: str) -> Layout:
    choice = Choice(this.Flag, {0x00: value, 0x01: Nothing, 0x0A: ErrorCode})
    return Layout(*first, _FLAG, "PropertyValue" / choice, name=name, spec=spec, summary="{PropertyValue}")


@lru_cache(4096)
def _column(tag: int, flagged: bool, encoding: Encoding, name: str) -> Traced:
    """The field of one column. The cache is bounded: a capture may hold any number of tags."""
    form: Construct = PropertyValue(tag, encoding)
    if flagged and tag & 0xFFFF == 0:
        form = _flagged(
            PropertyValue(this.PropertyType, encoding),
            "PropertyType" / PropertyType,
            name="FlaggedPropertyValueWithType",
            spec="MS-OXCDATA 2.11.6",
        )
    elif flagged:
        form = _flagged(form, name="FlaggedPropertyValue", spec="MS-OXCDATA 2.11.5")
    known = name or property_name(tag, encoding.tag is AddressBookPropertyTag)
    return Traced(form, known or f"0x{tag:08X}")


MOST_EMPTY, FEW_EMPTY = 16, 4
"""Columns whose values take no bytes (PtypNull) that a row may have: rows of thousands would grow without end. Beyond
the first few there are at most twice as many as columns with values: rows of one byte would grow nearly as much."""


class ColumnValues(Construct):  # type: ignore[misc]
    """One value per column, in order; nodes are named by property. `flag` nonzero: each value has a flag of its own.

    `columns` gives a sequence of property tags, or None where the capture did not show them (NO_CONTEXT).
    """

    def __init__(self, columns: Any, flag: Any, encoding: Encoding = ROP_VALUES) -> None:
        super().__init__()
        self.columns, self.flag, self.encoding = columns, flag, encoding
        self.label = Summary("{*}")

    def fields(self, context: Container, path: str) -> list[Traced]:
        columns = evaluate(self.columns, context)
        if columns is None:
            raise NoContextError("the columns of this row were set before the capture began", path=path)
        flagged = bool(evaluate(self.flag, context))
        if len(columns) > FEW_EMPTY and not flagged:
            empty = sum(self.encoding.types.get(tag & 0xFFFF) is Nothing for tag in columns)
            if empty > min(MOST_EMPTY, FEW_EMPTY + 2 * (len(columns) - empty)):
                raise MalformedError(f"a row with {empty} values of no bytes", path=path)
        named = context._params.get("named") or NO_NAMES
        return [
            _column(tag, flagged, self.encoding, named.get(tag >> 16, "") if tag >= 0x80000000 else "")
            for tag in columns
        ]

    def _parse(self, stream: Any, context: Container, path: str) -> list[Any]:
        return [field._parse(stream, context, path) for field in self.fields(context, path)]

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        for field, value in zip(self.fields(context, path), obj, strict=True):
            field._build(value, stream, context, path)
        return obj


def PropertyRow(columns: Any, encoding: Encoding = ROP_VALUES) -> Layout:
    """A StandardPropertyRow or FlaggedPropertyRow over `columns` [MS-OXCDATA] 2.8.1.

    A column expression is evaluated inside the row: write this._.X for a field of the enclosing layout.
    """
    return Layout(
        "Flag" / Enumerated(U8, "PropertyRowFlag"),
        "ValueArray" / ColumnValues(columns, this.Flag, encoding),
        name="PropertyRow",
        spec="MS-OXCDATA 2.8.1",
        summary="{ValueArray}",
    )


def AddressBookPropertyRow(columns: Any) -> Layout:
    """A row of MAPI/HTTP address-book bodies [MS-OXCMAPIHTTP] 2.2.1.7."""
    return PropertyRow(columns, ADDRESS_BOOK_VALUES)


PropertyName = Layout(
    "Kind" / Enumerated(U8, "PropertyNameKind"),
    "GUID" / Guid,
    "LID" / When(this.Kind == 0, U32),
    "NameSize" / When(this.Kind == 1, SizeOf(U8, "Name")),
    "Name" / When(this.Kind == 1, Sized(this.NameSize, Str16)),
    name="PropertyName",
    spec="MS-OXCDATA 2.6.1",
    summary="{GUID} {LID}{Name}",
)

PropertyProblem = Layout(
    "Index" / U16,
    "PropertyTag" / PropertyTag,
    "ErrorCode" / ErrorCode,
    name="PropertyProblem",
    spec="MS-OXCDATA 2.7",
    summary="[{Index}] {PropertyTag}: {ErrorCode}",
)
