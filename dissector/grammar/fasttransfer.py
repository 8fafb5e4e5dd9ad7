"""FastTransfer streams, the lexical layer [MS-OXCFXICS] 2.2.4.1: markers and property values, one after another.

Here are the layouts of elements and of their values; elements.py finds the elements of a stream, ics.py knows their
order. The value of an element keeps everything its bytes had, so it builds back to them.

FastTransfer writes values in a way of its own: u32 lengths in front of text, binaries and objects, booleans of two
bytes, text in the code page that its type names (0x8000 + code page), and MetaTagIdsetGiven declared as PtypInteger32
though it is binary.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from functools import cache
from typing import Any

from construct import Construct, ConstructError, Container, evaluate, this

from dissector.grammar.base import MalformedError, parse_chosen, read
from dissector.grammar.forms import Placed, Unterminated
from dissector.grammar.ids import LongTermId
from dissector.grammar.idset import SET_FORMS
from dissector.grammar.layouts import Count, Counted, Layout, Multi, Rows, SizeOf, When
from dissector.grammar.leaves import (
    U8,
    U16,
    U32,
    U64,
    Bool16,
    Data,
    Enumerated,
    ErrorCode,
    Guid,
    Labelled,
    Str8,
    Str16,
    decode_text,
    encode_text,
)
from dissector.grammar.names import property_name, rows
from dissector.grammar.properties import FIXED, MULTIPLE, NO_NAMES, Encoding, PropertyTag, ServerEid

MARKERS: Mapping[int, str] = {int(value, 16): name for value, name, *_ in rows("markers.tsv")}
"""What each marker is called. A marker is a u32 that looks like a property tag and has no value."""
MARKER: Mapping[str, int] = {name: value for value, name in MARKERS.items()}

UNNAMED = 0x00000102
"""The tag of a binary that the marker before it explains: PropertyGroupInfo, ProgressInformation, ExtendedErrorInfo."""
FIRST_NAMED = 0x80000000
IDSET_GIVEN = 0x4017


CODECS: Mapping[int, str] = {
    1200: "utf-16-le", 1201: "utf-16-be", 5296: "utf-16-le", 20127: "ascii", 20866: "koi8-r", 21866: "koi8-u",
    50220: "iso2022-jp", 50221: "iso2022-jp", 50222: "iso2022-jp", 50225: "iso2022-kr", 51932: "euc-jp",
    51949: "euc-kr", 54936: "gb18030", 65000: "utf-7", 65001: "utf-8",
    **{28590 + part: f"iso8859-{part}" for part in range(1, 17)},
}  # fmt: skip


def codec_of(code_page: int) -> str:
    """The Python codec of a code page, '' where there is none. 5296 was seen in the field for Unicode."""
    name = CODECS.get(code_page, f"cp{code_page}")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return ""


class CountedText(Construct):  # type: ignore[misc]
    """A u32 byte count, then text with its closing NUL; one leaf. Receivers have to bear the NUL's absence.

    The value is a str without the NUL, an Unterminated, or the bytes where no str builds back to the same. codec: '' is
    the code page that Param `codepage` names (a Python codec name, cp1252 without); None is a code page that Python
    does not know.
    """

    def __init__(self, codec: str | None) -> None:
        super().__init__()
        self.codec = codec
        self.width = 2 if codec is not None and codec.startswith("utf-16") else 1

    def _parse(self, stream: Any, context: Container, path: str) -> str | bytes:
        start = stream.tell()
        size = int.from_bytes(read(stream, 4, path), "little")
        try:
            raw = read(stream, size, path)
        except ConstructError:
            stream.seek(start)
            raise
        if self.codec is None or size % self.width:
            return raw
        codec = self.codec or context._params.get("codepage") or "cp1252"
        if raw.endswith(bytes(self.width)):
            text = decode_text(raw[: -self.width], codec)
            return text if isinstance(text, str) else raw
        text = decode_text(raw, codec)
        return Unterminated(text) if isinstance(text, str) else raw

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        raw = encode_text(obj, self.codec or context._params.get("codepage") or "cp1252")
        if not isinstance(obj, bytes | Unterminated):
            raw += bytes(self.width)
        stream.write(len(raw).to_bytes(4, "little") + raw)
        return obj


class CountedChars(Construct):  # type: ignore[misc]
    """UTF-16LE text of `size` bytes, whose closing NUL (if it has one) belongs to it."""

    def __init__(self, size: Any) -> None:
        super().__init__()
        self.size = size

    def _parse(self, stream: Any, context: Container, path: str) -> str | bytes:
        return decode_text(read(stream, evaluate(self.size, context), path), "utf-16-le")

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(encode_text(obj, "utf-16-le"))
        return obj


class _Globcnt(Construct):  # type: ignore[misc]
    """A 48-bit counter, most significant byte first."""

    def _parse(self, stream: Any, context: Container, path: str) -> int:
        return int.from_bytes(read(stream, 6, path), "big")

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(obj.to_bytes(6, "big"))
        return obj

    def label(self, value: int) -> str:
        return f"0x{value:X}"


Gid = Layout(
    "REPLGUID" / Guid, "GLOBCNT" / _Globcnt(), name="GID", spec="MS-OXCFXICS 2.2.2.2", summary="{REPLGUID} {GLOBCNT}"
)

ProgressInformation = Layout(
    "Version" / U16,
    "Padding1" / Data(2),
    "FAIMessageCount" / U32,
    "FAIMessageTotalSize" / U64,
    "NormalMessageCount" / U32,
    "Padding2" / Data(4),
    "NormalMessageTotalSize" / U64,
    name="ProgressInformation",
    spec="MS-OXCFXICS 2.2.2.7",
    summary="{NormalMessageCount} normal messages, {FAIMessageCount} FAI messages",
)

_GroupPropertyName = Layout(
    "Guid" / Guid,
    "Kind" / Enumerated(U32, "PropertyNameKind"),
    "LID" / When(this.Kind == 0, U32),
    "NameSize" / When(this.Kind == 1, SizeOf(U32, "Name")),
    "Name" / When(this.Kind == 1, CountedChars(this.NameSize)),
    name="GroupPropertyName",
    spec="MS-OXCFXICS 2.2.2.8.1.1",
    summary="{Guid} {LID}{Name}",
)
_GroupProperty = Layout(
    "PropertyTag" / PropertyTag,
    "PropertyName" / When(this.PropertyTag >= FIRST_NAMED, _GroupPropertyName),
    summary="{PropertyTag} {PropertyName}",
)
PropertyGroupInfo = Layout(
    "GroupId" / U32,
    "Reserved" / U32,
    "GroupCount" / Count(U32, "Groups"),
    "Groups"
    / Rows(
        this.GroupCount,
        Layout(
            "PropertyTagCount" / Count(U32, "PropertyTags"),
            "PropertyTags" / Rows(this.PropertyTagCount, _GroupProperty),
            name="PropertyGroup",
            spec="MS-OXCFXICS 2.2.2.8.1",
        ),
    ),
    name="PropertyGroupInfo",
    spec="MS-OXCFXICS 2.2.2.8",
    summary="group mapping {GroupId}, {GroupCount} groups",
)

FolderReplicaInfo = Layout(
    "Flags" / U32,
    "Depth" / U32,
    "FolderLongTermId" / LongTermId,
    "ServerDNCount" / Count(U32, "ServerDNArray"),
    "CheapServerDNCount" / U32,
    "ServerDNArray" / Rows(this.ServerDNCount, Str8),
    name="FolderReplicaInfo",
    spec="MS-OXCFXICS 2.2.2.9",
    summary="{FolderLongTermId}, {ServerDNCount} servers",
)

ExtendedErrorInfo = Layout(
    "Version" / U16,
    "Padding1" / Data(2),
    "ErrorCode" / ErrorCode,
    "FolderGID" / Gid,
    "Padding2" / Data(2),
    "MessageGID" / Gid,
    "Padding3" / Data(2),
    "Reserved" / Data(24),
    "AuxBytesCount" / U32,
    "AuxBytesOffset" / U32,
    "Aux" / When(this.AuxBytesOffset > 0, Placed(88, AuxBytes=(this.AuxBytesOffset, Data(this.AuxBytesCount)))),
    name="ExtendedErrorInfo",
    spec="MS-OXCFXICS 2.2.2.10",
    summary="{ErrorCode}",
)

EXPLAINED: Mapping[int, Construct] = {
    MARKER["IncrSyncProgressMode"]: Counted(U32, ProgressInformation),
    MARKER["IncrSyncGroupInfo"]: Counted(U32, PropertyGroupInfo),
    MARKER["FXErrorInfo"]: Counted(U32, ExtendedErrorInfo),
}
"""What an UNNAMED binary is, by the marker before it."""


class _TagValue(Labelled):
    """MetaTagFXDelProp: the subobjects to delete, as a property tag."""

    hex_digits = 8

    def label(self, value: int) -> str:
        return property_name(value)


class _GroupIndex(Labelled):
    """Which property group the properties that follow belong to."""

    def label(self, value: int) -> str:
        return "properties in no group" if value == 0xFFFFFFFF else ""


META: Mapping[int, Construct] = {
    **{prop_id << 16 | 0x0102: Counted(U32, form) for prop_id, form in SET_FORMS.items()},
    0x40110102: Counted(U32, FolderReplicaInfo),
    0x400F0003: ErrorCode,
    0x40160003: _TagValue(U32),
    0x407A0003: _GroupIndex(U32),
    0x407C0003: U32,
}
"""Meta-properties with a layout of their own."""


class _FastTransfer(Encoding):
    """How FastTransfer writes a value, by its tag."""

    def __init__(self) -> None:
        types: dict[int, Construct] = {
            **FIXED, **MULTIPLE, 0x000B: Bool16, 0x001E: CountedText(""), 0x001F: CountedText("utf-16-le"),
            0x0102: Counted(U32), 0x000D: Counted(U32), 0x00FB: Counted(U32, ServerEid),
            0x101E: Multi(U32, CountedText("")), 0x101F: Multi(U32, CountedText("utf-16-le")),
            0x1102: Multi(U32, Counted(U32)),
        }  # fmt: skip
        del types[0x0001]
        super().__init__("FastTransfer", types, U32)
        self.types = types

    def form(self, tag: int, path: str = "", named: Mapping[int, str] = NO_NAMES) -> Construct:
        if tag == IDSET_GIVEN << 16 | 0x0003:
            tag = IDSET_GIVEN << 16 | 0x0102
        found = META.get(tag)
        if found is not None:
            return found
        if tag & 0x8000:
            return code_page_text(tag & 0xFFFF)
        return super().form(tag, path=path, named=named)


@cache
def code_page_text(kind: int) -> Construct:
    """Text of a type 0x8000 + code page [MS-OXCFXICS] 2.2.4.1.1.1.

    Code pages from 0x8000 on (UTF-8 is 65001) do not fit beside the bit; there the type is the number itself.
    """
    return CountedText(codec_of(kind & 0x7FFF) or codec_of(kind) or None)


FASTTRANSFER_VALUES = _FastTransfer()


class ValueOf(Construct):  # type: ignore[misc]
    """The value of a property by its tag (expression or number). Param `after`: the marker before an UNNAMED one."""

    def __init__(self, tag: Any) -> None:
        super().__init__()
        self.tag = tag
        self.encoding: Encoding = FASTTRANSFER_VALUES
        self.explained = EXPLAINED

    def choose(self, context: Container, path: str) -> Construct:
        tag = evaluate(self.tag, context)
        if tag == UNNAMED:
            explained = self.explained.get(context._params.get("after"))
            if explained is not None:
                return explained
        return self.encoding.form(tag, path, context._params.get("named") or NO_NAMES)

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        chosen = self.choose(context, path)
        return parse_chosen(chosen, stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        return self.choose(context, path)._build(obj, stream, context, path)


class _Kind(Enumerated):
    def _parse(self, stream: Any, context: Container, path: str) -> int:
        kind: int = super()._parse(stream, context, path)
        if kind > 1:
            raise MalformedError(f"a property name of kind {kind}", path=path)
        return kind


PropValue = Layout(
    "PropertyTag" / PropertyTag,
    "PropertySet" / When(this.PropertyTag >= FIRST_NAMED, Guid),
    "Kind" / When(this.PropertyTag >= FIRST_NAMED, _Kind(U8, "PropertyNameKind")),
    "DispId" / When(this.Kind == 0, U32),
    "Name" / When(this.Kind == 1, Str16),
    "PropertyValue" / ValueOf(this.PropertyTag),
    name="propValue",
    spec="MS-OXCFXICS 2.2.4.1",
    summary="{PropertyValue}",
)


class _Marker(Labelled):
    hex_digits = 8

    def label(self, value: int) -> str:
        return ""


Marker = _Marker(U32)
