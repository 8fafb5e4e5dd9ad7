"""Conditions, counts and what is filled in when a value leaves it out."""

import pytest
from construct import ConstructError, this

from dissector.grammar.base import build
from dissector.grammar.forms import Nothing
from dissector.grammar.layouts import (
    Choice,
    Count,
    Counted,
    Fixed,
    Layout,
    Present,
    Rows,
    Sized,
    SizeOf,
    When,
    WhenMore,
)
from dissector.grammar.leaves import U8, U16, Bool8, Data, Str8
from dissector.grammar.reading import parse, trace
from dissector.node import Severity, Undecoded
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check, check_cover, diagnostics

OPTIONAL = Layout(
    "HasName" / Present(Bool8, "Name"),
    "NameSize" / When(this.HasName, SizeOf(U8, "Name")),
    "Name" / When(this.HasName, Data(this.NameSize)),
    "RowCount" / Count(U16, "Items"),
    "Items" / Rows(this.RowCount, U8),
    "Tail" / Fixed(U8, 7),
)


def test_counts_sizes_and_presence_are_built_from_the_fields() -> None:
    assert build(OPTIONAL, {"Items": [5]}) == bytes.fromhex("00 0100 05 07")
    assert build(OPTIONAL, {"Name": b"ab", "Items": []}) == bytes.fromhex("01 02 6162 0000 07")
    assert build(OPTIONAL, {"Name": b"ab", "Items": [], "NameSize": 2, "Tail": 8}) == bytes.fromhex(
        "01 02 6162 0000 08"
    )
    check(OPTIONAL, "01 02 6162 0000 08", Name=b"ab", Items=[], Tail=8)
    check(OPTIONAL, "00 0000 07", Name=None, NameSize=None)


def test_a_value_that_contradicts_itself_is_built_as_it_says() -> None:
    assert build(OPTIONAL, {"HasName": False, "Name": b"ab", "RowCount": 9, "Items": []}) == bytes.fromhex("00 0900 07")


def test_a_missing_field_is_a_construct_error() -> None:
    with pytest.raises(ConstructError, match="no value for Items"):
        build(OPTIONAL, {})
    with pytest.raises(ConstructError, match="no value"):
        build(OPTIONAL, {"HasName": True, "NameSize": 2, "Items": []})
    with pytest.raises(ConstructError, match="no value"):
        build(Layout("Kind" / U8, "Text" / Choice(this.Kind, {0: Nothing, 1: Str8})), {"Kind": 1})
    with pytest.raises(ConstructError, match="no layout is known"):
        build(Layout("Text" / Choice(this.Kind, {0: Nothing}), "Kind" / U8), {"Text": 1})


def test_a_choice_of_nothing_builds_from_none() -> None:
    layout = Layout("Kind" / U8, "Text" / Choice(this.Kind, {0: Nothing, 1: Str8}))
    check(layout, "00", Text=None)
    check(layout, "01 4100", Text="A")


def test_a_tail_that_was_not_there_is_not_made_up() -> None:
    layout = Layout("A" / U8, "N" / WhenMore(Count(U8, "Items")), "Items" / When(this.N, Rows(this.N, U8)))
    check(layout, "01", N=None, Items=None)
    check(layout, "01 00", N=0, Items=None)
    check(layout, "01 01 09", N=1, Items=[9])
    assert build(layout, {"A": 1, "Items": [9]}) == bytes.fromhex("01 01 09")


def test_leftover_bytes_of_a_sized_leaf_are_in_one_leaf() -> None:
    for layout, data in (
        (Layout("Size" / U8, "Text" / Sized(this.Size, Str8)), "05 41 00 42 43 44"),
        (Layout("Text" / Counted(U8, Str8)), "05 41 00 42 43 44"),
        (Layout("Text" / Counted(U8, U16)), "00"),
    ):
        raw = bytes.fromhex(data)
        tree = trace(layout, ByteSource("vector", raw), "PDU")
        check_cover(tree)
        assert [severity for _, severity, _ in diagnostics(tree)] == [Severity.MALFORMED]
        value, end = parse(layout, raw)
        assert (value.Text, end) == (Undecoded(raw[1:]), len(raw))
        assert build(layout, value) == raw


def test_undecoded_bytes_of_a_chosen_layout_keep_their_size_field() -> None:
    layout = Layout("Kind" / U8, "Text" / Choice(this.Kind, {1: Counted(U8, Str8)}))
    raw = bytes.fromhex("01 02 41 42")
    value, _ = parse(layout, raw)
    assert value.Text == Undecoded(b"AB")
    assert build(layout, value) == raw


def test_a_counted_single_value_is_one_leaf_with_its_count() -> None:
    layout = Layout("Number" / Counted(U8, U16), "Next" / U8)
    check(layout, "02 05 00 07", Number=5, Next=7)
    tree = trace(layout, ByteSource("vector", bytes.fromhex("02 05 00 07")), "PDU")
    assert [(node.name, node.offset, node.length, node.value) for node in tree.leaves()] == [
        ("Number", 0, 3, 5),
        ("Next", 3, 1, 7),
    ]


def test_a_size_of_fields_that_are_derived_themselves() -> None:
    layout = Layout(
        "Size" / SizeOf(U16, "Count", "Rows", plus=2), "Count" / Count(U16, "Rows"), "Rows" / Rows(this.Count, U8)
    )
    assert build(layout, {"Rows": [1, 2, 3]}) == b"\7\0\3\0\1\2\3"
