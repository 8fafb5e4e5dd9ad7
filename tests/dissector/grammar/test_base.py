"""The vocabulary of the grammars: conditions, counts and what is filled in when a value leaves it out."""

import pytest
from construct import Construct, ConstructError

from dissector.grammar.base import (
    F32,
    F64,
    U8,
    U16,
    U32,
    Bool8,
    Choice,
    Count,
    Counted,
    Data,
    ErrorCode,
    Fixed,
    GrammarError,
    Layout,
    Needed,
    Param,
    Present,
    Rows,
    Sized,
    SizeOf,
    Str8,
    When,
    WhenMore,
    build,
    this,
)
from dissector.grammar.forms import Nothing
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


def test_an_argument_that_is_needed_and_not_given_is_no_context() -> None:
    layout = Layout("A" / U8, "B" / When(this.A == 0, When(Needed("flags") & 2, U8)))
    check(layout, "00 05", {"flags": 2}, B=5)
    check(layout, "00", {"flags": 1}, B=None)
    check(layout, "01", B=None)  # the outer condition decides alone
    with pytest.raises(GrammarError) as caught:
        parse(layout, b"\0\5")
    assert (caught.value.severity, caught.value.offset) == (Severity.NO_CONTEXT, 1)
    tree = trace(layout, ByteSource("vector", b"\0\5"), "PDU")
    assert tree.find("A").value == 0
    assert [found.severity for found in tree.diagnostics] == [Severity.NO_CONTEXT]
    with pytest.raises(ConstructError, match="flags"):
        build(layout, {"A": 0, "B": 1})


def test_arguments_can_be_reckoned_with() -> None:
    layout = Layout("B" / When(Param("size", 0) + 1 > 2, U8))
    check(layout, "05", {"size": 2}, B=5)
    check(layout, "", {"size": 1}, B=None)
    check(layout, "", B=None)


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


@pytest.mark.parametrize("raw", ["0000807f", "000080ff", "0100807f", "010080ff", "0000c07f", "0000803f", "00000080"])
def test_floats_keep_their_bytes(raw: str) -> None:
    check(Layout("Value" / F32), raw)


def test_doubles_keep_their_bytes() -> None:
    check(Layout("Value" / F64), "000000000000f83f", Value=1.5)
    check(Layout("Value" / F64), "010000000000f07f")  # a signalling NaN
    check(Layout("Value" / F64), "000000000000f8ff")
    with pytest.raises(ConstructError):
        build(Layout("Value" / F32), {"Value": 1e300})
    with pytest.raises(ConstructError):
        build(Layout("Value" / F64), {"Value": "x"})


def test_a_size_of_fields_that_are_derived_themselves() -> None:
    layout = Layout(
        "Size" / SizeOf(U16, "Count", "Rows", plus=2), "Count" / Count(U16, "Rows"), "Rows" / Rows(this.Count, U8)
    )
    assert build(layout, {"Rows": [1, 2, 3]}) == b"\7\0\3\0\1\2\3"


@pytest.mark.parametrize("field", [U32, ErrorCode, Data(4)])
def test_data_that_end_are_told_in_the_same_words_everywhere(field: Construct) -> None:
    tree = trace(Layout("Number" / field), ByteSource("x", b"\x01\x02"), "x")
    assert [found.message for node in tree.walk() for found in node.diagnostics] == [
        "the data ends here: wanted 4 bytes, 2 are left"
    ]


def test_a_code_without_a_name_is_told_in_hex() -> None:
    layout = Layout("Code" / ErrorCode, summary="{Code}")
    assert trace(layout, ByteSource("x", b"\xde\xc0\x04\x80"), "x").label == "0x8004C0DE"
    assert trace(layout, ByteSource("x", b"\x0f\x01\x04\x80"), "x").label == "ecNotFound"
