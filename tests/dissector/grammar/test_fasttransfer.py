"""FastTransfer's own way of writing values: every type both ways, and the structures inside values."""

from __future__ import annotations

import re
import uuid

import pytest
from construct import ConstructError
from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar.base import GrammarError, build
from dissector.grammar.elements import EXTENTS, ElementReader, extent_of
from dissector.grammar.fasttransfer import (
    FASTTRANSFER_VALUES,
    MARKER,
    MARKERS,
    UNNAMED,
    Unterminated,
    ValueOf,
    codec_of,
)
from dissector.grammar.ics import GRAMMAR
from dissector.grammar.idset import to_idset
from dissector.grammar.reading import parse
from dissector.node import Severity, Undecoded
from tests.conftest import shared

VALUES = [  # property type, bytes, value
    (0x0002, "FE FF", -2),
    (0x0003, "01 00 00 80", -0x7FFFFFFF),
    (0x0004, "00 00 C0 3F", 1.5),
    (0x0005, "00 00 00 00 00 00 F8 3F", 1.5),
    (0x0006, "10 27 00 00 00 00 00 00", 10000),
    (0x0007, "00 00 00 00 00 00 F8 3F", 1.5),
    (0x000A, "0F 01 04 80", 0x8004010F),
    (0x000B, "01 00", True),
    (0x000B, "00 00", False),
    (0x000B, "01 02", 0x0201),
    (0x0014, "FF FF FF FF FF FF FF FF", -1),
    (0x0040, "00 80 3E D5 DE B1 9D 01", 116444736000000000),
    (0x0048, "01000000 0200 0300 0405060708090A0B", uuid.UUID("00000001-0002-0003-0405-060708090a0b")),
    (0x001E, "04 00 00 00 61 62 E9 00", "abé"),
    (0x001E, "00 00 00 00", Unterminated("")),
    (0x001E, "01 00 00 00 00", ""),
    (0x001E, "02 00 00 00 61 62", Unterminated("ab")),
    (0x001E, "04 00 00 00 61 00 62 00", "a\0b"),
    (0x001F, "06 00 00 00 61 00 3D D8 00 00", "a\ud83d"),
    (0x001F, "04 00 00 00 61 00 62 00", Unterminated("ab")),
    (0x001F, "03 00 00 00 61 00 00", b"a\0\0"),
    (0x0102, "00 00 00 00", b""),
    (0x0102, "03 00 00 00 01 02 03", b"\1\2\3"),
    (0x000D, "02 00 00 00 AB CD", b"\xab\xcd"),
    (0x84B0, "04 00 00 00 61 00 00 00", "a"),
    (0x84B1, "04 00 00 00 00 61 00 00", "a"),
    (0x84E2, "02 00 00 00 B3 00", "ł"),
    (0x84E4, "02 00 00 00 E9 00", "é"),
    (0x83A4, "03 00 00 00 82 A0 00", "あ"),  # 932
    (0xFDE9, "03 00 00 00 C3 A9 00", "é"),  # 65001 has the high bit of its own
    (0x8001, "03 00 00 00 61 62 00", b"ab\0"),  # no code page that Python knows
    (0x94B0, "04 00 00 00 61 00 00 00", "a"),
    (0x1002, "02 00 00 00 01 00 FF FF", [1, -1]),
    (0x1003, "01 00 00 00 05 00 00 00", [5]),
    (0x1014, "00 00 00 00", []),
    (0x1040, "01 00 00 00 00 80 3E D5 DE B1 9D 01", [116444736000000000]),
    (0x1048, "01 00 00 00 01000000 0200 0300 0405060708090A0B", [uuid.UUID("00000001-0002-0003-0405-060708090a0b")]),
    (0x101E, "02 00 00 00 02 00 00 00 61 00 01 00 00 00 00", ["a", ""]),
    (0x101F, "01 00 00 00 04 00 00 00 61 00 00 00", ["a"]),
    (0x1102, "02 00 00 00 00 00 00 00 01 00 00 00 07", [b"", b"\7"]),
]


@pytest.mark.parametrize(("kind", "text", "meant"), VALUES)
def test_values_of_every_type_both_ways(kind, text, meant):
    wire, tag = bytes.fromhex(text), 0x66AA0000 | kind
    value, end = parse(ValueOf(tag), wire)
    assert end == len(wire)
    assert value == meant
    assert type(value) is type(meant) or not isinstance(meant, str)
    assert build(ValueOf(tag), value) == wire
    reader = ElementReader()
    reader.feed(tag.to_bytes(4, "little") + wire)
    assert [(one.value_offset, one.end) for one in reader.elements()] == [(4, 4 + len(wire))]
    assert reader.finish() is None


def test_every_type_with_an_extent_has_a_layout_and_the_other_way_round():
    assert set(EXTENTS) == set(FASTTRANSFER_VALUES.types)
    tested = {kind for kind, *_ in VALUES}
    assert set(EXTENTS) - tested <= {0x00FB, 0x1004, 0x1005, 0x1006, 0x1007}
    assert extent_of(0x66AA0001) is None
    assert extent_of(0x66AA00FD) is None


def test_eight_bit_text_is_in_the_code_page_that_is_told():
    wire = bytes.fromhex("02000000 E9 00")
    assert parse(ValueOf(0x0037001E), wire)[0] == "é"
    assert parse(ValueOf(0x0037001E), wire, codepage="cp1251")[0] == "й"
    assert build(ValueOf(0x0037001E), "й", codepage="cp1251") == wire
    assert parse(ValueOf(0x0037001E), wire, codepage="no such codec")[0] == wire[4:]


def test_code_pages_have_codecs():
    assert codec_of(65001) == "utf-8"
    assert codec_of(28605) == "iso8859-15"
    assert codec_of(1200) == "utf-16-le"
    assert codec_of(12345) == ""


def test_idset_given_is_binary_whatever_its_type_says():
    guid = uuid.UUID(int=9).bytes_le
    wire = len(guid + bytes(1)).to_bytes(4, "little") + guid + bytes(1)
    for tag in (0x40170003, 0x40170102):
        rows, end = parse(ValueOf(tag), wire)
        assert end == len(wire)
        assert [row.REPLGUID for row in rows] == [uuid.UUID(int=9)]
        assert build(ValueOf(tag), rows) == wire
        assert not to_idset(rows)


def test_sets_that_cannot_be_read_keep_their_bytes():
    wire = bytes.fromhex("03000000 0100 07")
    value, _ = parse(ValueOf(0x67E50102), wire)
    assert isinstance(value, Undecoded)
    assert build(ValueOf(0x67E50102), value) == wire


def test_progress_information():
    wire = bytes.fromhex("20000000 0000 0000 01000000 9102000000000000 03000000 00000000 CD25000000000000")
    value, end = parse(ValueOf(UNNAMED), wire, after=MARKER["IncrSyncProgressMode"])
    assert end == len(wire)
    assert (value.FAIMessageCount, value.FAIMessageTotalSize) == (1, 657)
    assert (value.NormalMessageCount, value.NormalMessageTotalSize) == (3, 9677)
    assert build(ValueOf(UNNAMED), value, after=MARKER["IncrSyncProgressMode"]) == wire
    assert parse(ValueOf(UNNAMED), wire)[0] == wire[4:]


def test_property_group_info_with_named_properties():
    name = "Färbung\0".encode("utf-16-le")
    inner = (
        bytes.fromhex("07000000 00000000 02000000")
        + bytes.fromhex("01000000 1F003700")
        + bytes.fromhex("02000000")
        + bytes.fromhex("1F000580")
        + uuid.UUID(int=5).bytes_le
        + bytes.fromhex("00000000 05800000")
        + bytes.fromhex("0B000680")
        + uuid.UUID(int=6).bytes_le
        + bytes.fromhex("01000000")
        + len(name).to_bytes(4, "little")
        + name
    )
    wire = len(inner).to_bytes(4, "little") + inner
    value, end = parse(ValueOf(UNNAMED), wire, after=MARKER["IncrSyncGroupInfo"])
    assert end == len(wire)
    assert value.GroupId == 7
    assert [[one.PropertyTag for one in group.PropertyTags] for group in value.Groups] == [
        [0x0037001F],
        [0x8005001F, 0x8006000B],
    ]
    assert value.Groups[1].PropertyTags[0].PropertyName.LID == 0x8005
    assert value.Groups[1].PropertyTags[1].PropertyName.Name == "Färbung\0"
    assert build(ValueOf(UNNAMED), value, after=MARKER["IncrSyncGroupInfo"]) == wire


def test_folder_replica_info():
    inner = bytes(8) + uuid.UUID(int=5).bytes_le + bytes(8) + bytes.fromhex("02000000 01000000") + b"/o=A\0/o=B\0"
    wire = len(inner).to_bytes(4, "little") + inner
    value, end = parse(ValueOf(0x40110102), wire)
    assert end == len(wire)
    assert value.ServerDNArray == ["/o=A", "/o=B"]
    assert build(ValueOf(0x40110102), value) == wire


@pytest.mark.parametrize(
    ("count", "offset", "tail", "aux"),
    [(0, 0, b"", None), (3, 88, b"abc", b"abc"), (3, 92, b"\0\0\0\0abc", b"abc")],
)
def test_extended_error_info(count, offset, tail, aux):
    inner = (
        bytes(4) + bytes.fromhex("0F010480") + bytes(22 + 2 + 22 + 2 + 24)
        + count.to_bytes(4, "little") + offset.to_bytes(4, "little") + tail
    )  # fmt: skip
    wire = len(inner).to_bytes(4, "little") + inner
    value, end = parse(ValueOf(UNNAMED), wire, after=MARKER["FXErrorInfo"])
    assert end == len(wire)
    assert value.ErrorCode == 0x8004010F
    assert (value.Aux.AuxBytes if value.Aux else None) == aux
    assert build(ValueOf(UNNAMED), value, after=MARKER["FXErrorInfo"]) == wire


def test_auxiliary_bytes_inside_the_fixed_part_are_malformed():
    inner = bytes(80) + (3).to_bytes(4, "little") + (40).to_bytes(4, "little") + b"abc"
    wire = len(inner).to_bytes(4, "little") + inner
    value, _ = parse(ValueOf(UNNAMED), wire, after=MARKER["FXErrorInfo"])
    assert isinstance(value, Undecoded)
    assert build(ValueOf(UNNAMED), value, after=MARKER["FXErrorInfo"]) == wire


@given(st.text(st.characters(exclude_categories=())), st.sampled_from([0x001F, 0x84B0, 0x84B1, 0x101F]))
def test_any_text_builds_and_reads_back(text, kind):
    value = [text] if kind & 0x9000 == 0x1000 else text
    tag = 0x66AA0000 | kind
    wire = build(ValueOf(tag), value)
    assert parse(ValueOf(tag), wire) == (value, len(wire))


@given(st.binary(max_size=60), st.sampled_from(sorted(EXTENTS)), st.sampled_from(["cp1252", "utf-8", "utf-7", "gbk"]))
def test_any_bytes_that_are_a_value_build_back(data, kind, codepage):
    tag = 0x66AA0000 | kind
    try:
        value, end = parse(ValueOf(tag), data, codepage=codepage)
    except GrammarError as error:
        if error.severity is not Severity.MALFORMED:
            raise
        return
    assert build(ValueOf(tag), value, codepage=codepage) == data[:end]


def test_a_value_that_does_not_fit_its_type_is_refused():
    with pytest.raises(ConstructError):
        build(ValueOf(0x66AA0002), 1 << 20)


def test_markers_are_those_of_the_fact_table():
    text = shared("facts", "fasttransfer.md").read_text()
    section = text[text.index("## 1. Markers") : text.index("## 2.")]
    rows = re.findall(r"\| (0x[0-9A-F]{8}) \| (\w+) \| \w+ \| ([^|]+?) \|", section)
    assert {int(value, 16): name for value, name, _ in rows} == MARKERS
    assert len(MARKERS) == 24
    closed = {name: closer for _, name, closer in rows if closer in MARKER}
    for name, closer in closed.items():  # the grammar closes what the table closes
        assert any(name in text and text.endswith(closer) for text in GRAMMAR.values()), name
