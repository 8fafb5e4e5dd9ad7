"""The address book: MAPI/HTTP bodies [MS-OXCMAPIHTTP] 2.2.5, and NSPI stubs over DCE/RPC [MS-OXNSPI] 2.2, 3.1.4.

Both carry the same operations. Over HTTP a Has... byte tells whether the group behind it is there, and values of
variable size have a HasValue byte (properties.py); over RPC the same is said by unique pointers (ndr.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from construct import Construct, Container, Renamed, this

from dissector.grammar.envelopes import BodyDef, RpcDef, body, operation
from dissector.grammar.layouts import Choice, Count, Counted, Deferred, Fixed, Layout, Multi, Present, Rows, When
from dissector.grammar.leaves import I32, U8, U32, Enumerated, Flags, Guid, Labelled, Str8, Str16
from dissector.grammar.ndr import (
    N16,
    N32,
    NI16,
    NI32,
    Conformant,
    ConformantBytes,
    Constructed,
    ContextHandle,
    CountOf,
    NdrErrorCode,
    NdrFileTime,
    NdrString,
    NdrWideString,
    Unique,
)  # fmt: skip
from dissector.grammar.properties import (
    AddressBookPropertyRow,
    AddressBookPropertyTag,
    AddressBookTaggedPropertyValue,
)
from dissector.grammar.restrictions import AddressBookRestriction

# --- over HTTP -------------------------------------------------------------------------------------------------------


class _Has(Construct):  # type: ignore[misc]
    """Whether a group follows. Read as the number it is (0x00 or 0xFF in practice); True is written as 0xFF."""

    def _parse(self, stream: Any, context: Container, path: str) -> int:
        return U8._parse(stream, context, path)  # type: ignore[no-any-return]

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        return U8._build(0xFF if obj is True else int(obj), stream, context, path)


Has = _Has()


def has(name: str, subcon: Construct, flag: str = "") -> tuple[Renamed, Renamed]:
    """A Has... byte and the field that is there when it is not 0."""
    flag = flag or f"Has{name}"
    return flag / Present(Has, name), name / When(this[flag], subcon)


def _stat(number: Construct, signed: Construct) -> Layout:
    return Layout(
        "SortType" / Enumerated(number, "SortType"),
        "ContainerID" / number,
        "CurrentRec" / Enumerated(number, "PositioningMId"),
        "Delta" / signed,
        "NumPos" / number,
        "TotalRecs" / number,
        "CodePage" / Enumerated(number, "CodePage"),
        "TemplateLocale" / Enumerated(number, "LocaleId"),
        "SortLocale" / Enumerated(number, "LocaleId"),
        name="STAT",
        spec="MS-OXNSPI 2.2.8",
        summary="{CurrentRec} of {ContainerID}, {NumPos}/{TotalRecs}",
    )


Stat = _stat(U32, I32)

State = has("State", Stat)
Columns = has("Columns", Multi(U32, AddressBookPropertyTag))
PropertyTags = has("PropertyTags", Multi(U32, AddressBookPropertyTag))
PropertyValues = has("PropertyValues", Multi(U32, AddressBookTaggedPropertyValue))
MinimalIds = has("MinimalIds", Multi(U32, U32))
ResolvedIds = has("MinimalIds", Multi(U32, Enumerated(U32, "AnrMId")))
Reserved: Renamed = "Reserved" / U32


def columns_and_rows(flag: str) -> tuple[Renamed, ...]:
    """A Has... byte, then the columns and the rows over them."""
    return (
        flag / Present(Has, "Columns"),
        "Columns" / When(this[flag], Multi(U32, AddressBookPropertyTag)),
        "RowCount" / When(this[flag], Count(U32, "RowData")),
        "RowData" / When(this[flag], Rows(this.RowCount, AddressBookPropertyRow(this._.Columns))),
    )


ROWS = columns_and_rows("HasColumnsAndRows")

PropertyNameId = Layout("Guid" / Guid, "LID" / U32, name="PropertyName", spec="MS-OXCMAPIHTTP 2.2.5.5.1")


def _address_book(section: str, name: str, request: tuple[Renamed, ...], response: tuple[Renamed, ...]) -> BodyDef:
    return body(name, f"2.2.5.{section}", request, response)


GET_FLAGS: Renamed = "Flags" / Flags(U32, "NspiGetFlags")
CODE_PAGE: Renamed = "CodePage" / Enumerated(U32, "CodePage")

ADDRESS_BOOK: Mapping[str, BodyDef] = {
    one.name: one
    for one in (
        _address_book("1", "Bind", ("Flags" / Flags(U32, "NspiBindFlags"), *State), ("ServerGuid" / Guid,)),
        _address_book("2", "Unbind", (Reserved,), ()),
        _address_book(
            "3", "CompareMIds", (Reserved, *State, "MinimalId1" / U32, "MinimalId2" / U32), ("Result" / I32,)
        ),
        _address_book("4", "DNToMId", (Reserved, *has("Names", Multi(U32, Str8))), MinimalIds),
        _address_book(
            "5",
            "GetMatches",
            (
                Reserved,
                *State,
                *MinimalIds,
                "InterfaceOptionFlags" / U32,
                *has("Filter", AddressBookRestriction),
                *has("PropertyName", PropertyNameId),
                "RowCount" / U32,
                *Columns,
            ),
            (*State, *MinimalIds, *ROWS),
        ),
        _address_book("6", "GetPropList", (GET_FLAGS, "MinimalId" / U32, CODE_PAGE), PropertyTags),
        _address_book(
            "7",
            "GetProps",
            (GET_FLAGS, *State, *PropertyTags),
            (CODE_PAGE, *PropertyValues),
        ),
        _address_book(
            "8",
            "GetSpecialTable",
            ("Flags" / Flags(U32, "NspiGetSpecialTableFlags"), *State, *has("Version", U32)),
            (
                CODE_PAGE,
                *has("Version", U32),
                *has("Rows", Multi(U32, Multi(U32, AddressBookTaggedPropertyValue))),
            ),
        ),
        _address_book(
            "9",
            "GetTemplateInfo",
            (
                "Flags" / Flags(U32, "NspiGetTemplateInfoFlags"),
                "DisplayType" / Enumerated(U32, "DisplayType"),
                *has("TemplateDn", Str8),
                CODE_PAGE,
                "LocaleId" / Enumerated(U32, "LocaleId"),
            ),
            (CODE_PAGE, *has("Row", Multi(U32, AddressBookTaggedPropertyValue))),
        ),
        _address_book(
            "10",
            "ModLinkAtt",
            (
                "Flags" / Flags(U32, "NspiModLinkAttFlags"),
                "PropertyTag" / AddressBookPropertyTag,
                "MinimalId" / U32,
                *has("EntryIds", Multi(U32, Counted(U32))),
            ),
            (),
        ),
        _address_book("11", "ModProps", (Reserved, *State, *PropertyTags, *PropertyValues), ()),
        _address_book(
            "12",
            "QueryRows",
            (GET_FLAGS, *State, "ExplicitTable" / Multi(U32, U32), "RowCount" / U32, *Columns),
            (*State, *ROWS),
        ),
        _address_book("13", "QueryColumns", (Reserved, "MapiFlags" / Flags(U32, "NspiQueryColumnsFlags")), Columns),
        _address_book(
            "14",
            "ResolveNames",
            (Reserved, *State, *PropertyTags, *has("Names", Multi(U32, Str16))),
            (CODE_PAGE, *ResolvedIds, *columns_and_rows("HasRowsAndColumns")),
        ),
        _address_book("15", "ResortRestriction", (Reserved, *State, *MinimalIds), (*State, *MinimalIds)),
        _address_book(
            "16",
            "SeekEntries",
            (
                Reserved,
                *State,
                *has("Target", AddressBookTaggedPropertyValue),
                *has("ExplicitTable", Multi(U32, U32)),
                *Columns,
            ),
            (*State, *ROWS),
        ),
        _address_book("17", "UpdateStat", (Reserved, *State, "DeltaRequested" / Has), (*State, *has("Delta", I32))),
        _address_book("18", "GetMailboxUrl", ("Flags" / U32, "ServerDn" / Str16), ("ServerUrl" / Str16,)),
        _address_book("19", "GetAddressBookUrl", ("Flags" / U32, "UserDn" / Str16), ("ServerUrl" / Str16,)),
    )
}
"""The request types of the address-book endpoint, by X-RequestType."""

ALIASES: Mapping[str, str] = {
    "CompareMinIds": "CompareMIds", "CompareDNTs": "CompareMIds", "DnToMinId": "DNToMId", "DNToEph": "DNToMId",
}  # fmt: skip
"""Other names that servers take for the same request type."""

# --- over DCE/RPC ----------------------------------------------------------------------------------------------------


class _Tag(Labelled):
    """A property tag in the byte order of the stub."""

    spec = "MS-OXCDATA 2.9"

    def label(self, value: int) -> str:
        return AddressBookPropertyTag.label(value)

    def brief(self, value: int) -> str:
        return AddressBookPropertyTag.brief(value)


NdrTag = _Tag(N32)
NdrStat = _stat(N32, NI32)


def _conformant(name: str, section: str, count: str, field: str, item: Construct) -> Layout:
    """A structure whose last member is an array: the array's size stands in front of the structure."""
    return Layout(
        "MaxCount" / CountOf(N32, field),
        count / CountOf(N32, field),
        field / Rows(this.MaxCount, item),
        name=name,
        spec=f"MS-OXNSPI {section}",
    )


def _tag_array(item: Construct) -> Layout:
    return Layout(
        "MaxCount" / CountOf(N32, "aulPropTag", plus=1),
        "cValues" / CountOf(N32, "aulPropTag"),
        "Offset" / Fixed(N32, 0),
        "ActualCount" / CountOf(N32, "aulPropTag"),
        "aulPropTag" / Rows(this.ActualCount, item),
        name="PropertyTagArray_r",
        spec="MS-OXNSPI 2.2.2",
        summary="{aulPropTag}",
    )


PropertyTagArray = _tag_array(NdrTag)
MIdArray = _tag_array(N32)
AnrArray = _tag_array(Enumerated(N32, "AnrMId"))


def _array(name: str, item: Construct) -> Layout:
    """cValues, and a pointer to that many items."""
    return Layout("cValues" / N32, "lp" / Unique(Conformant(item)), name=name, spec="MS-OXNSPI 2.2.3")


Binary = Layout("cb" / N32, "lpb" / Unique(ConformantBytes), name="Binary_r", spec="MS-OXNSPI 2.2.3")
BinaryArray = _array("BinaryArray_r", Binary)

PROP_VAL: Mapping[int, Construct] = {
    0x0001: NI32, 0x0002: NI16, 0x0003: NI32, 0x000A: NdrErrorCode, 0x000B: N16, 0x000D: NI32,
    0x001E: Unique(NdrString), 0x001F: Unique(NdrWideString), 0x0040: NdrFileTime, 0x0048: Unique(Guid),
    0x00FB: Binary, 0x0102: Binary,
    0x1002: _array("ShortArray_r", NI16), 0x1003: _array("LongArray_r", NI32),
    0x101E: _array("StringArray_r", Unique(NdrString)), 0x101F: _array("WStringArray_r", Unique(NdrWideString)),
    0x1040: _array("DateTimeArray_r", NdrFileTime), 0x1048: _array("FlatUIDArray_r", Unique(Guid)),
    0x1102: BinaryArray,
}  # fmt: skip
"""The arms of PROP_VAL_UNION, by property type."""

PropertyValue = Layout(
    "ulPropTag" / NdrTag,
    "ulReserved" / N32,
    "Type" / Enumerated(N32, "PropertyType"),
    "Value" / Choice(this.Type, PROP_VAL),
    name="PropertyValue_r",
    spec="MS-OXNSPI 2.2.4",
    summary="{ulPropTag} = {Value}",
)

PropertyRow = Layout(
    "Reserved" / N32,
    "cValues" / N32,
    "lpProps" / Unique(Conformant(PropertyValue)),
    name="PropertyRow_r",
    spec="MS-OXNSPI 2.2.5",
)

PropertyRowSet = _conformant("PropertyRowSet_r", "2.2.6", "cRows", "aRow", PropertyRow)

PropertyName = Layout(
    "lpguid" / Unique(Guid), "ulReserved" / N32, "lID" / NI32, name="PropertyName_r", spec="MS-OXNSPI 2.2.3"
)

PropertyNameSet = _conformant("PropertyNameSet_r", "2.2.3", "cNames", "aNames", PropertyName)
StringsArray = _conformant("StringsArray_r", "2.2.3", "Count", "Strings", Unique(NdrString))
WStringsArray = _conformant("WStringsArray_r", "2.2.3", "Count", "Strings", Unique(NdrWideString))


def _restriction() -> Construct:
    return Restriction


_nested = Unique(Deferred(_restriction))
_several = Layout("cRes" / N32, "lpRes" / Unique(Conformant(Deferred(_restriction))))
_relation: Renamed = "relop" / Enumerated(N32, "RelOp")
_tag: Renamed = "ulPropTag" / NdrTag
_value: Renamed = "lpProp" / Unique(PropertyValue)

Restriction = Layout(
    "rt" / Enumerated(N32, "RestrictType"),
    "Type" / N32,
    "res"
    / Choice(
        this.Type,
        {
            0: _several,
            1: _several,
            2: Layout("lpRes" / _nested),
            3: Layout("ulFuzzyLevel" / N32, _tag, _value),
            4: Layout(_relation, _tag, _value),
            5: Layout(_relation, "ulPropTag1" / NdrTag, "ulPropTag2" / NdrTag),
            6: Layout("relBMR" / Enumerated(N32, "BitmapRelOp"), _tag, "ulMask" / N32),
            7: Layout(_relation, _tag, "cb" / N32),
            8: Layout("ulReserved1" / N32, _tag, "ulReserved2" / N32),
            9: Layout("ulSubObject" / NdrTag, "lpRes" / _nested),
        },
    ),
    name="Restriction_r",
    spec="MS-OXNSPI 2.2.7",
    summary="{rt}",
)

_handle: Renamed = "hRpc" / ContextHandle
_reserved: Renamed = "Reserved" / N32
_pstat: Renamed = "pStat" / NdrStat
_tags: Renamed = "pPropTags" / Unique(PropertyTagArray)
_flags: Renamed = "dwFlags" / Flags(N32, "NspiGetFlags")
_out_rows: Renamed = "ppRows" / Unique(PropertyRowSet)
_out_ids: Renamed = "ppOutMIds" / Unique(MIdArray)
_out_found: Renamed = "ppMIds" / Unique(AnrArray)
_out_tags: Renamed = "ppPropTags" / Unique(PropertyTagArray)


def _nspi(section: str, name: str, request: tuple[Renamed, ...], response: tuple[Renamed, ...] = ()) -> RpcDef:
    """An operation whose request begins with the context handle."""
    return operation(f"Nspi{name}", f"MS-OXNSPI 3.1.4.1.{section}", (_handle, *request), response)


def _resolve(section: str, name: str, strings: Layout) -> RpcDef:
    return _nspi(section, name, (_reserved, _pstat, _tags, "paStr" / Constructed(strings)), (_out_found, _out_rows))


_server_guid: Renamed = "pServerGuid" / Unique(Guid)

NSPI: Mapping[int, RpcDef] = {
    0: operation(
        "NspiBind",
        "MS-OXNSPI 3.1.4.1.1",
        ("dwFlags" / Flags(N32, "NspiBindFlags"), _pstat, _server_guid),
        (_server_guid, "contextHandle" / ContextHandle),
    ),
    1: _nspi("2", "Unbind", (_reserved,), ("contextHandle" / ContextHandle,)),
    2: _nspi("4", "UpdateStat", (_reserved, _pstat, "plDelta" / Unique(NI32)), (_pstat, "plDelta" / Unique(NI32))),
    3: _nspi(
        "8",
        "QueryRows",
        (_flags, _pstat, "dwETableCount" / N32, "lpETable" / Unique(Conformant(N32)), "Count" / N32, _tags),
        (_pstat, _out_rows),
    ),
    4: _nspi(
        "9",
        "SeekEntries",
        (_reserved, _pstat, "pTarget" / Constructed(PropertyValue), "lpETable" / Unique(MIdArray), _tags),
        (_pstat, _out_rows),
    ),
    5: _nspi(
        "10",
        "GetMatches",
        (
            "Reserved1" / N32,
            _pstat,
            "pReserved" / Unique(MIdArray),
            "Reserved2" / N32,
            "Filter" / Unique(Restriction),
            "lpPropName" / Unique(PropertyName),
            "ulRequested" / N32,
            _tags,
        ),
        (_pstat, _out_ids, _out_rows),
    ),
    6: _nspi(
        "11",
        "ResortRestriction",
        (_reserved, _pstat, "pInMIds" / Constructed(MIdArray), _out_ids),
        (_pstat, _out_ids),
    ),
    7: _nspi("13", "DNToMId", (_reserved, "pNames" / Constructed(StringsArray)), (_out_ids,)),
    8: _nspi("6", "GetPropList", (_flags, "dwMId" / N32, "CodePage" / Enumerated(N32, "CodePage")), (_out_tags,)),
    9: _nspi("7", "GetProps", (_flags, _pstat, _tags), ("ppRows" / Unique(PropertyRow),)),
    10: _nspi("12", "CompareMIds", (_reserved, _pstat, "MId1" / N32, "MId2" / N32), ("plResult" / NI32,)),
    11: _nspi("14", "ModProps", (_reserved, _pstat, _tags, "pRow" / Constructed(PropertyRow))),
    12: _nspi(
        "3",
        "GetSpecialTable",
        ("dwFlags" / Flags(N32, "NspiGetSpecialTableFlags"), _pstat, "lpVersion" / N32),
        ("lpVersion" / N32, _out_rows),
    ),
    13: _nspi(
        "18",
        "GetTemplateInfo",
        (
            "dwFlags" / Flags(N32, "NspiGetTemplateInfoFlags"),
            "ulType" / Enumerated(N32, "DisplayType"),
            "pDN" / Unique(NdrString),
            "dwCodePage" / Enumerated(N32, "CodePage"),
            "dwLocaleID" / Enumerated(N32, "LocaleId"),
        ),
        ("ppData" / Unique(PropertyRow),),
    ),
    14: _nspi(
        "15",
        "ModLinkAtt",
        (
            "dwFlags" / Flags(N32, "NspiModLinkAttFlags"),
            _tag,
            "dwMId" / N32,
            "lpEntryIds" / Constructed(BinaryArray),
        ),
    ),
    16: _nspi(
        "4",
        "QueryColumns",
        (_reserved, "dwFlags" / Flags(N32, "NspiQueryColumnsFlags")),
        ("ppColumns" / Unique(PropertyTagArray),),
    ),
    17: _nspi(
        "19",
        "GetNamesFromIDs",
        (_reserved, "lpguid" / Unique(Guid), _tags),
        ("ppReturnedPropTags" / Unique(PropertyTagArray), "ppNames" / Unique(PropertyNameSet)),
    ),
    18: _nspi(
        "20",
        "GetIDsFromNames",
        (
            _reserved,
            "dwFlags" / Flags(N32, "NspiGetIDsFromNamesFlags"),
            "cPropNames" / N32,
            "ppNames" / Constructed(Conformant(Unique(PropertyName))),
        ),
        (_out_tags,),
    ),
    19: _resolve("16", "ResolveNames", StringsArray),
    20: _resolve("17", "ResolveNamesW", WStringsArray),
}
"""NSPI operations by opnum. 15 is not used on the wire."""
