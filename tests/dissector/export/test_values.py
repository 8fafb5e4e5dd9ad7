"""Property values out of ROPs and streams, against the trees of the same bytes."""

from __future__ import annotations

import uuid
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.export.rows import rows_of
from dissector.export.schema import TABLES
from dissector.export.values import LONGEST, StreamValues, Value, value_text
from dissector.grammar.elements import Named, encode, make
from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.icstree import trace_stream
from dissector.model.ids import ObjectId
from dissector.node import Node
from dissector.pipeline import dissect
from dissector.session.streams import KEEP_ALL, Streams
from dissector.source import ByteSource
from tests.conftest import ROOT, SHARED, captures_in, examples, shared

CAPTURES = sorted((ROOT / "captures").glob("*.pcap")) + captures_in("gromox", "real")
EXPECTED = SHARED / "captures" / "gromox" / "expected"
COLUMNS = [column.name for column in TABLES["properties"].columns[1:]]
SET = "00062008-0000-0000-c000-000000000046"


def properties(path: Path) -> list[dict[str, object]]:
    with dissect(path) as dissection:
        return [
            dict(zip(COLUMNS, row, strict=True)) for table, row in rows_of(dissection, {}, "0") if table == "properties"
        ]


def in_stream(root: str | None, *chunks: bytes | None) -> list[Value]:
    """The values of a stream fed in chunks; None is a hole."""
    found: list[Value] = []
    reader = StreamValues(root, "cp1252", found.append)
    for chunk in chunks:
        if chunk is None:
            reader.gap()
        else:
            reader.feed(chunk)
    return found


def spread(tree: Node) -> Counter[tuple[int, int]]:
    """(offset, length) of every property value in the tree of a stream."""
    return Counter(
        (child.offset, child.length)
        for node in tree.walk()
        for child in node.children
        if child.name == "PropertyValue" and node.spec == "MS-OXCFXICS 2.2.4.1"
    )


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_value_in_the_tree_of_a_stream_is_a_row_and_no_other(path: Path) -> None:
    rows = properties(path)
    joiner = Streams(KEEP_ALL)
    with dissect(path) as dissection:
        done = [stream for exchange in dissection.exchanges() for stream in joiner.exchange(exchange).streams]
        for stream in [*done, *joiner.finish()]:
            if stream.size and stream.kept is not None:
                shown = Counter((row["offset"], row["length"]) for row in rows if row["stream"] == stream.number)
                assert shown == spread(stream.tree())


def leaves_with_tags(node: Node) -> int:
    """Property values in the tree of a ROP: tagged ones, and those of rows."""
    names = {child.name for child in node.children}
    if {"PropertyTag", "PropertyValue"} <= names:
        return 1
    if node.name == "ValueArray":
        return sum(
            next((part.value for part in cell.children if part.name == "Flag"), 0) != 1 for cell in node.children
        )
    return sum(map(leaves_with_tags, node.children))


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_value_in_the_tree_of_a_rop_is_a_row_and_no_other(path: Path) -> None:
    rows = Counter((row["exchange"], row["rop"], row["side"]) for row in properties(path) if row["rop"] is not None)
    with dissect(path) as dissection:
        for exchange in dissection.exchanges():
            for rop in exchange.rops:
                for side in (rop.request, rop.response):
                    if side is not None:
                        word = "response" if side.is_response else "request"
                        assert rows[exchange.number, rop.number, word] == leaves_with_tags(side.node())


def test_a_table_has_its_columns_by_row() -> None:
    rows = [row for row in properties(ROOT / "captures" / "tables-lzx.pcap") if row["place"] == "RowData"]
    subjects = [row for row in rows if row["name"] == "PidTagSubject"]
    assert {row["type"] for row in subjects} == {"PtypString"}
    assert "Budget 2027" in {row["value"] for row in subjects}
    numbered = [row["item"] for row in subjects]
    assert numbered[:3] == [1, 2, 3]
    missing = [row for row in rows if row["type"] == "PtypErrorCode"]
    assert missing
    assert {(row["value"], row["meaning"]) for row in missing} == {("2147746063", "ecNotFound")}


def test_recipients_of_a_rop_are_numbered() -> None:
    rows = properties(shared("captures", "real", "outlook2003-exchange2003.pcap"))
    recipients = [row for row in rows if "RecipientProperties" in str(row["place"])]
    assert {row["item"] for row in recipients} >= {1}
    assert {row["name"] for row in recipients} >= {"PidTagObjectType", "PidTagDisplayType"}


@pytest.mark.skipif(not EXPECTED.exists(), reason="../shared/captures/gromox/expected is not on this machine")
@examples(40)
@given(st.data())
def test_a_stream_cut_anywhere_gives_the_same(data: st.DataObject) -> None:
    wire = (EXPECTED / "contents-incremental" / "incremental.fts").read_bytes()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=20)))
    edges = [0, *cuts, len(wire)]
    pieces = [wire[start:end] for start, end in pairwise(edges)]
    whole = in_stream("contentsSync", wire)
    assert in_stream("contentsSync", *pieces) == whole
    assert Counter((one.offset, one.length) for one in whole) == spread(
        trace_stream(ByteSource("x", wire), "contentsSync")
    )


def wire(*elements: tuple[object, ...]) -> bytes:
    made = []
    for tag, *rest in elements:
        number = MARKER[tag] if isinstance(tag, str) else tag
        made.append(make(number, *rest))  # type: ignore[arg-type]
    return b"".join(encode(made))


MESSAGE = (
    ("StartMessage",),
    (0x674A0014, ObjectId(1, 1)),
    (0x0037001F, "One"),
    (0x0E070003, 1),
    ("StartRecip",),
    (0x30000003, 0),
    (0x3001001F, "Bob"),
    ("EndToRecip",),
    ("NewAttach",),
    (0x0E210003, 0),
    (0x37010102, b"\1\2\3"),
    ("StartEmbed",),
    (0x674A0014, ObjectId(1, 2)),
    (0x0037001F, "Inner"),
    ("EndEmbed",),
    ("EndAttach",),
    ("EndMessage",),
)


def test_items_and_places() -> None:
    found = in_stream("messageList", wire(*MESSAGE, *MESSAGE))
    assert [one.item for one in found] == [1] * 9 + [2] * 9
    places = {one.value: one.place for one in found}
    assert places["One"] == "propList"
    assert places["Bob"].endswith("recipient")
    assert places["010203"].endswith("attachment/attachmentContent/propList")
    assert places["Inner"].endswith("embeddedMessage/messageContent/propList")


def test_values_in_words_and_numbers() -> None:
    named = Named(uuid.UUID(SET), 0x8502)
    data = wire((0x0E070003, 1), (0x30070040, 0x01D9000000000000), (0x80010040, 5, named), (0x0E1B000B, True))
    flags, created, named_value, attached = in_stream(None, data)
    assert (flags.name, flags.type, flags.value, flags.meaning, flags.length) == (
        "PidTagMessageFlags", "PtypInteger32", "1", "mfRead", 4,
    )  # fmt: skip
    assert created.value == str(0x01D9000000000000)
    assert str(created.meaning).startswith("2022-")
    assert (named_value.property_set, named_value.key, named_value.tag) == (SET, str(0x8502), 0x80010040)
    assert named_value.name.startswith("PidLid")
    assert (attached.value, attached.length) == ("true", 2)
    assert [one.item for one in (flags, created)] == [None, None]


def test_long_values_are_cut_and_larger_ones_left_out() -> None:
    text, data, huge = in_stream(
        None, wire((0x1000001F, "x" * 10_000), (0x10130102, b"\xab" * 10_000), (0x37010102, bytes(3 << 20)))
    )
    assert text.value == "x" * LONGEST
    assert data.value == "ab" * (LONGEST // 2)
    assert (huge.value, huge.length) == (None, (3 << 20) + 4)


def test_behind_a_hole_reading_goes_on_where_an_element_is_sure_to_begin() -> None:
    one, two = wire(*MESSAGE), wire(*MESSAGE)
    found = in_stream("messageList", one[:20], None, b"\7\7\7" + two)
    assert [value.value for value in found if value.name == "PidTagSubject"] == ["One", "Inner"]
    again = [value for value in found if value.offset > 20]
    assert [value.offset - 23 for value in again] == [value.offset for value in in_stream("messageList", two)]
    assert in_stream("messageList", None, b"\7" * 30) == []
    late = in_stream(None, None, b"\7\7", two)
    assert {value.name for value in late} >= {"PidTagSubject", "PidTagMid"}


@pytest.mark.parametrize("root", ["contentsSync", "messageContent", None])
def test_any_bytes_are_borne(root: str | None) -> None:
    for data in (b"", b"\0" * 100, bytes(range(256)), b"\x1f\x00\x37\x00\xff\xff\xff\x7f", b"\x40" * 999):
        in_stream(root, data)


def test_text_that_is_no_unicode_can_be_written() -> None:
    (value,) = in_stream(None, wire((0x0037001F, "a\ud800b")))
    assert value.value == "a\\ud800b"
    assert value_text({"a": [1, None, b"\1"], "_io": 3}) == '{"a":[1,null,"01"]}'
    assert value_text(None) is None
    assert value_text(True) == "true"
    assert value_text(1.5) == "1.5"
