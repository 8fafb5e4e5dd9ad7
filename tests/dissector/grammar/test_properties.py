"""Property values in every type and encoding, rows, and what a property's name says of its value."""

from __future__ import annotations

import struct
import uuid
from typing import Any

import pytest

from dissector.grammar.base import GrammarError, Param, build
from dissector.grammar.ids import ObjectId
from dissector.grammar.layouts import Layout, Rows
from dissector.grammar.properties import (
    ADDRESS_BOOK_VALUES,
    EXTENDED_VALUES,
    ROP_VALUES,
    AddressBookPropertyRow,
    AddressBookPropertyTag,
    Encoding,
    ExtendedTaggedPropertyValue,
    PropertyName,
    PropertyProblem,
    PropertyRow,
    PropertyTag,
    PropertyValue,
    ServerEid,
    TaggedPropertyValue,
    TypedPropertyValue,
)
from dissector.grammar.reading import parse, trace
from dissector.grammar.values import ENUMS, FLAGS, IDS
from dissector.model.pcl import Xid
from dissector.node import Node, Severity, Undecoded
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check, diagnostics

GUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
TEXT = "Grüße, Ω 😀"

SIMPLE: list[tuple[int, Any, bytes]] = [
    (0x0001, None, b""),
    (0x0002, -2, b"\xfe\xff"),
    (0x0003, -70000, struct.pack("<i", -70000)),
    (0x0004, 1.5, struct.pack("<f", 1.5)),
    (0x0005, -2.25, struct.pack("<d", -2.25)),
    (0x0006, 12345678, struct.pack("<q", 12345678)),
    (0x0007, 40000.5, struct.pack("<d", 40000.5)),
    (0x000A, 0x8004010F, struct.pack("<I", 0x8004010F)),
    (0x000B, True, b"\x01"),
    (0x000B, 0x7F, b"\x7f"),
    (0x0014, -(1 << 40), struct.pack("<q", -(1 << 40))),
    (0x0040, 0x01D7B40655C54E00, struct.pack("<Q", 0x01D7B40655C54E00)),
    (0x0048, GUID, GUID.bytes_le),
]
"""The types of one size: type, value, bytes."""


@pytest.mark.parametrize("encoding", [ROP_VALUES, EXTENDED_VALUES, ADDRESS_BOOK_VALUES], ids=lambda found: found.name)
@pytest.mark.parametrize(("kind", "value", "raw"), SIMPLE)
def test_simple_type(encoding: Encoding, kind: int, value: Any, raw: bytes) -> None:
    assert check(PropertyValue(kind, encoding), raw) == value


@pytest.mark.parametrize(("kind", "value", "raw"), SIMPLE[1:8] + SIMPLE[10:])
def test_many_of_a_simple_type(kind: int, value: Any, raw: bytes) -> None:
    tag = 0x10000000 | kind | 0x1000
    if kind == 0x000A:
        return
    for count in (0, 1, 3):
        data = struct.pack("<I", count) + raw * count
        assert check(PropertyValue(tag), data) == [value] * count
        assert check(PropertyValue(tag, ADDRESS_BOOK_VALUES), b"\xff" + data) == [value] * count
    assert check(PropertyValue(tag, ADDRESS_BOOK_VALUES), b"\x00") is None


WIDE = TEXT.encode("utf-16-le") + b"\0\0"
VARIABLE: list[tuple[int, Any, bytes, bytes, bytes]] = [
    (0x001E, "caf\xe9", b"caf\xe9\0", b"caf\xe9\0", b"\xffcaf\xe9\0"),
    (0x001F, TEXT, WIDE, WIDE, b"\xff" + WIDE),
    (0x0102, b"\1\2\3", b"\3\0\1\2\3", b"\3\0\0\0\1\2\3", b"\xff\3\0\0\0\1\2\3"),
    (0x0102, b"", b"\0\0", b"\0\0\0\0", b"\xff\0\0\0\0"),
    (0x101E, ["a", ""], b"\2\0\0\0a\0\0", b"\2\0\0\0a\0\0", b"\xff\2\0\0\0\xffa\0\xff\0"),
    (0x101F, ["a"], b"\1\0\0\0a\0\0\0", b"\1\0\0\0a\0\0\0", b"\xff\1\0\0\0\xffa\0\0\0"),
    (0x1102, [b"x", b""], b"\2\0\0\0\1\0x\0\0", b"\2\0\0\0\1\0\0\0x\0\0\0\0", b"\xff\2\0\0\0\xff\1\0\0\0x\xff\0\0\0\0"),
]
"""Type, value, bytes in a ROP buffer, in an extended rule, in an address-book body."""


@pytest.mark.parametrize(("kind", "value", "rop", "extended", "address_book"), VARIABLE)
def test_variable_type(kind: int, value: Any, rop: bytes, extended: bytes, address_book: bytes) -> None:
    assert check(PropertyValue(kind), rop) == value
    assert check(PropertyValue(kind, EXTENDED_VALUES), extended) == value
    assert check(PropertyValue(kind, ADDRESS_BOOK_VALUES), address_book) == value
    assert check(PropertyValue(kind, ADDRESS_BOOK_VALUES), b"\x00") is None


def test_object_value() -> None:
    assert check(PropertyValue(0x3701000D), b"\2\0ab") == b"ab"
    assert check(PropertyValue(0x3701000D, ADDRESS_BOOK_VALUES), b"") is None


def test_text_in_a_code_page() -> None:
    raw = "日本".encode("cp932") + b"\0"
    assert check(PropertyValue(0x0037001E), raw, {"codepage": "cp932"}) == "日本"
    assert parse(PropertyValue(0x0037001E), b"\x81\0")[0] == "\udc81"  # no cp1252, and still the same bytes


def test_server_ids() -> None:
    ours = check(PropertyValue(0x674000FB), "1500 01 0100000000000005 0100000000000007 02000000")
    assert (ours.FolderId, ours.MessageId, ours.Instance) == (ObjectId(1, 5), ObjectId(1, 7), 2)
    theirs = check(PropertyValue(0x674000FB, EXTENDED_VALUES), "0400 00 616263")
    assert theirs.ClientData == b"abc"
    assert build(ServerEid, {"Ours": 0, "ClientData": b"abc"}) == b"\0abc"


def test_an_instance_of_many_values_is_one() -> None:
    assert check(PropertyValue(0x0037301F), "a\0".encode("utf-16-le")) == "a"
    assert check(PropertyValue(0x36D83102), b"\2\0ab").EntryIDData == b"ab"
    assert check(PropertyValue(0x10003003), "05000000") == 5


def test_restriction_and_actions_as_values() -> None:
    found = check(TaggedPropertyValue, "fd007966 08 1f003700")
    assert (found.PropertyTag, found.PropertyValue.RestrictType) == (0x667900FD, 8)
    found = check(TaggedPropertyValue, "fe008066 0100 0900 0a 00000000 00000000")
    assert found.PropertyValue.ActionBlocks[0].ActionType == 0x0A
    found = check(ExtendedTaggedPropertyValue, "fe008066 01000000 09000000 0b 00000000 00000000")
    assert found.PropertyValue.ActionBlocks[0].ActionType == 0x0B


def test_a_type_that_nobody_defines() -> None:
    with pytest.raises(GrammarError, match="no layout is known for property type 0x0BAD") as raised:
        parse(TaggedPropertyValue, bytes.fromhex("ad0b3700 00"))
    assert (raised.value.severity, raised.value.offset) == (Severity.MALFORMED, 4)


def test_values_of_unspecified_type_nest_to_a_depth() -> None:
    assert check(TypedPropertyValue, "0000 0000 0300 07000000").PropertyValue.PropertyValue.PropertyValue == 7
    node = trace(TypedPropertyValue, ByteSource("deep", bytes(1000)), "value")
    assert diagnostics(node)[0][1:] == (Severity.MALFORMED, "nested deeper than 40 levels")


def labels(node: Node) -> dict[str, str]:
    return {part.name: part.label for part in node.walk() if part.label}


@pytest.mark.parametrize(
    ("tag", "raw", "value", "label"),
    [
        (0x67480014, "0100 00000000000d", ObjectId(1, 13), "ReplicaId 1, GlobalCounter 0xD"),
        (0x67A40014, "0500 000000000100", ObjectId(5, 256), "ReplicaId 5, GlobalCounter 0x100"),
        (0x0E070003, "11000000", 0x11, "mfRead | mfHasAttach"),
        (0x0FFE0003, "05000000", 5, "MAPI_MESSAGE"),
        (0x00170003, "02000000", 2, "high"),
        (0x10800003, "ffffffff", -1, "new mail"),
        (0x66710014, "ffffffffffffffff", -1, "anonymous user"),
        (0x6673000A, "0f010480", 0x8004010F, "ecNotFound"),
        (0x30080040, "b0355508ec87d301", 0x01D387EC085535B0, "2018-01-07T19:16:34.571Z"),
        (0x00060006, "40e2010000000000", 123456, "12.3456"),
        (0x00070007, "0000000088e3e340", 40732.25, "2011-07-08T06:00:00.000"),
        (0x00000048, GUID.bytes_le.hex(), GUID, ""),
    ],
)
def test_what_a_value_means(tag: int, raw: str, value: Any, label: str) -> None:
    node = trace(TaggedPropertyValue, ByteSource("value", struct.pack("<I", tag) + bytes.fromhex(raw)), "value")
    assert (node.find("PropertyValue").value, node.find("PropertyValue").label) == (value, label)
    assert not diagnostics(node)


def test_a_value_in_one_line() -> None:
    subject = build(TaggedPropertyValue, {"PropertyTag": 0x0037001F, "PropertyValue": "Hello"})
    assert trace(TaggedPropertyValue, ByteSource("x", subject), "[0]").label == "PidTagSubject = 'Hello'"
    flags = build(TaggedPropertyValue, {"PropertyTag": 0x0E070003, "PropertyValue": 1})
    assert trace(TaggedPropertyValue, ByteSource("x", flags), "[0]").label == "PidTagMessageFlags = mfRead"
    assert trace(TaggedPropertyValue, ByteSource("x", flags[:4]), "[0]").label == "PidTagMessageFlags ="


def test_a_structure_in_a_binary_value() -> None:
    xid = Xid(GUID, bytes(5) + b"\7")
    raw = build(TaggedPropertyValue, {"PropertyTag": 0x65E20102, "PropertyValue": xid})
    assert raw[4:6] == b"\x16\0"
    node = trace(TaggedPropertyValue, ByteSource("key", raw), "value")
    assert node.find("PropertyValue").label == "GID, GlobalCounter 0x7"
    assert node.label == f"PidTagChangeKey = {GUID}-000000000007"
    assert check(TaggedPropertyValue, raw).PropertyValue == xid
    assert check(TaggedPropertyValue, "0201e265 0000").PropertyValue == b""


def test_a_broken_structure_keeps_its_bytes() -> None:
    raw = bytes.fromhex("0201e265 0300 616263")
    value, end = parse(TaggedPropertyValue, raw)
    assert value.PropertyValue == Undecoded(b"abc")
    assert (end, build(TaggedPropertyValue, value)) == (9, raw)
    node = trace(TaggedPropertyValue, ByteSource("key", raw), "value")
    assert diagnostics(node) == [("Undecoded", Severity.MALFORMED, "an XID has at least 17 bytes, not 3")]


NAMED = {0x8001: "PidLidBusyStatus", 0x8002: "PidLidGlobalObjectId", 0x8003: "color of PS_PUBLIC_STRINGS"}


def test_named_properties() -> None:
    def seen(raw: bytes, **params: Any) -> Node:
        return trace(TaggedPropertyValue, ByteSource("named", raw), "value", **params)

    busy = build(TaggedPropertyValue, {"PropertyTag": 0x80010003, "PropertyValue": 2})
    assert seen(busy).label == "0x80010003 = 2"
    assert seen(busy).find("PropertyTag").label == "named property, PtypInteger32"
    assert seen(busy, named=NAMED).label == "PidLidBusyStatus = olBusy"
    assert seen(busy, named=NAMED).find("PropertyTag").label == "PidLidBusyStatus, PtypInteger32"
    color = build(TaggedPropertyValue, {"PropertyTag": 0x8003001E, "PropertyValue": "red"})
    assert seen(color, named=NAMED).label == "color of PS_PUBLIC_STRINGS = 'red'"

    meeting = bytes.fromhex("040000008200E00074C5B7101A82E008") + bytes(20) + b"\2\0\0\0ab"
    raw = build(TaggedPropertyValue, {"PropertyTag": 0x80020102, "PropertyValue": meeting})
    assert parse(TaggedPropertyValue, raw)[0].PropertyValue == meeting
    assert check(TaggedPropertyValue, raw, {"named": NAMED}).PropertyValue.Data == b"ab"


def test_address_book_ids_have_names() -> None:
    source = ByteSource("tag", bytes.fromhex("0d000580"))
    assert trace(PropertyTag, source, "tag").label == "named property, PtypObject"
    assert trace(AddressBookPropertyTag, source, "tag").label == "PidTagAddressBookManager, PtypObject"


COLUMNS = (0x67480014, 0x0037001F, 0x0E070003, 0x80010003)


def test_standard_row() -> None:
    row = PropertyRow(Param("columns"))
    raw = bytes.fromhex("00 0100000000000005 61000000 01000000 02000000")
    value = check(row, raw, {"columns": COLUMNS, "named": NAMED}, Flag=0)
    assert value.ValueArray == [ObjectId(1, 5), "a", 1, 2]
    node = trace(row, ByteSource("row", raw), "row", columns=COLUMNS, named=NAMED)
    names = [child.name for child in node.find("ValueArray").children]
    assert names == ["PidTagFolderId", "PidTagSubject", "PidTagMessageFlags", "PidLidBusyStatus"]
    assert node.label == "1-5, 'a', mfRead, olBusy"


def test_flagged_row() -> None:
    row = PropertyRow(Param("columns"))
    raw = bytes.fromhex("01 00 0100000000000005 0a 0f010480 01 0a 05000780")
    value = check(row, raw, {"columns": COLUMNS}, Flag=1)
    assert [found.PropertyValue for found in value.ValueArray] == [ObjectId(1, 5), 0x8004010F, None, 0x80070005]
    node = trace(row, ByteSource("row", raw), "row", columns=COLUMNS)
    assert node.label == "1-5, ecNotFound, ecAccessDenied"


def test_columns_without_a_type() -> None:
    columns = (0x00370000, 0x0E070003)
    row = PropertyRow(Param("columns"))
    value = check(row, "00 1e00 6100 01000000", {"columns": columns})
    assert (value.ValueArray[0].PropertyType, value.ValueArray[0].PropertyValue) == (0x001E, "a")
    value = check(row, "01 1e00 00 6100 00 01000000", {"columns": columns})
    assert value.ValueArray[0].PropertyValue == "a"
    value = check(row, "01 1e00 0a 0f010480 00 01000000", {"columns": columns})
    assert value.ValueArray[0].PropertyValue == 0x8004010F


def test_a_row_whose_columns_nobody_saw() -> None:
    with pytest.raises(GrammarError) as raised:
        parse(PropertyRow(Param("columns")), b"\0abc")
    assert (raised.value.severity, raised.value.offset) == (Severity.NO_CONTEXT, 1)


def test_address_book_row() -> None:
    row = AddressBookPropertyRow(Param("columns"))
    columns = (0x3001001F, 0x8C6A1102)
    value = check(row, "00 ff 61000000 00", {"columns": columns})
    assert value.ValueArray == ["a", None]
    node = trace(row, ByteSource("row", bytes.fromhex("00ff6100000000")), "row", columns=columns)
    assert [child.name for child in node.find("ValueArray").children] == [
        "PidTagDisplayName", "PidTagAddressBookX509Certificate",
    ]  # fmt: skip


def test_property_names() -> None:
    address = "0420060000000000c000000000000046"
    number = check(PropertyName, f"00 {address} 05800000", Kind=0, LID=0x8005, Name=None)
    assert str(number.GUID) == "00062004-0000-0000-c000-000000000046"
    text = check(PropertyName, f"01 {address} 04 6b000000", Kind=1, LID=None, Name="k")
    assert build(PropertyName, {"Kind": 1, "GUID": text.GUID, "Name": "k"})[17] == 4
    check(PropertyName, f"ff {address}", Kind=0xFF, LID=None, Name=None)
    node = trace(PropertyName, ByteSource("name", bytes.fromhex(f"00{address}05800000")), "[0]")
    assert node.label == "PSETID_Address 32773"


def test_property_problem() -> None:
    raw = bytes.fromhex("0300 1f003700 05000780")
    check(PropertyProblem, raw, Index=3, PropertyTag=0x0037001F, ErrorCode=0x80070005)
    assert trace(PropertyProblem, ByteSource("problem", raw), "[0]").label == "[3] PidTagSubject: ecAccessDenied"


def test_every_property_of_the_tables_is_known() -> None:
    """A misspelled name would be a table line that never works."""
    tagged = {name for name in (*IDS, *FLAGS, *ENUMS) if not name.startswith("PidLid")}
    by_tag = {id(form): tag for tag, form in ROP_VALUES.by_tag.items()}
    assert len(by_tag) >= len(tagged)
    for encoding in (ROP_VALUES, EXTENDED_VALUES, ADDRESS_BOOK_VALUES):
        assert encoding.by_tag.keys() == ROP_VALUES.by_tag.keys()
        assert all(tag < 0x80000000 for tag in encoding.by_tag)


@pytest.mark.parametrize("raw", [b"\0\0", b"\1\0x", b"\x10\0" + bytes(16), b"\x18\0" + b"\xff" * 24])
def test_no_structured_value_fails_on_bytes_it_does_not_know(raw: bytes) -> None:
    """Empty, too short, all zeros, all ones: a tree with words, the bytes back, at worst a remark."""
    for tag in ROP_VALUES.by_tag:
        if tag & 0xFFFF != 0x0102:
            continue
        data = struct.pack("<I", tag) + raw
        node = trace(TaggedPropertyValue, ByteSource("value", data), "value")
        assert all(isinstance(part.label, str) for part in node.walk())
        assert not [found for found in diagnostics(node) if found[1] is Severity.BUG]
        value, end = parse(TaggedPropertyValue, data)
        assert (end, build(TaggedPropertyValue, value)) == (len(data), data)
        if raw == b"\0\0":
            assert value.PropertyValue == b""
            assert not diagnostics(node)


def test_a_row_of_very_many_values_without_bytes_is_malformed() -> None:
    """30000 such rows would be in 30000 bytes, and 240 million values in them. More may be beside values with bytes."""
    for empty, filled, fails in ((4, 0, False), (5, 0, True), (8000, 0, True), (16, 6, False), (16, 5, True)):
        columns = [0x66000001] * empty + [0x6601000B] * filled
        layout = Layout("Rows" / Rows(30, PropertyRow(columns)))
        for _ in range(40):  # interpreted, then compiled
            tree = trace(layout, ByteSource("x", bytes(30 * (1 + filled))), "x")
            found = [one.message for node in tree.walk() for one in node.diagnostics]
            assert found == ([f"a row with {empty} values of no bytes"] if fails else [])
