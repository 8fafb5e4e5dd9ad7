import pytest

from dissector.grammar.base import GrammarError, build
from dissector.grammar.reading import parse, trace
from dissector.grammar.rops import oxctabl as tabl
from dissector.model.ids import ObjectId
from dissector.node import Severity, Undecoded
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import diagnostics
from tests.dissector.grammar.rops.vectors import Vector, check_vector, missing_forms, request, response

MID_AND_SUBJECT = {"columns": [0x674A0014, 0x0037001F]}
RULES = {"columns": [0x66740014, 0x66840102, 0x6682001F]}
"""PidTagRuleId, PidTagRuleProviderData, PidTagRuleName: the columns of the example of [MS-OXORULE] 4.2.2."""
EXISTS = "08 1f003700"
CATEGORY = "0100 0000000000c1"

VECTORS = [
    request(tabl.SET_COLUMNS, "12 00 00 00 0200 14004a67 1f003700", PropertyTags=[0x674A0014, 0x0037001F]),
    request(tabl.SET_COLUMNS, "12 03 05 01 0000", LogonId=3, InputHandleIndex=5, SetColumnsFlags=1, PropertyTags=[]),
    response(tabl.SET_COLUMNS, "12 00 00000000 00", TableStatus=0),
    response(tabl.SET_COLUMNS, "12 00 57000780", ReturnValue=0x80070057),
    request(tabl.SORT_TABLE, "13 00 01 00 0200 0100 0100 1f003700 00 40000600 01", CategoryCount=1, ExpandedCount=1),
    response(tabl.SORT_TABLE, "13 01 00000000 00", TableStatus=0),  # [MS-OXCTABL] 4.3.2
    response(tabl.SORT_TABLE, "13 01 00000000 09", TableStatus=9),
    response(tabl.SORT_TABLE, "13 01 02010480"),
    request(tabl.RESTRICT, f"14 00 01 00 0500 {EXISTS}", RestrictionDataSize=5),
    request(tabl.RESTRICT, "14 00 01 01 0000", RestrictionData=None),
    response(tabl.RESTRICT, "14 01 00000000 0e", TableStatus=0x0E),
    response(tabl.RESTRICT, "14 01 b6040000"),
    request(tabl.QUERY_ROWS, "15 00 00 00 01 32 00", RowCount=50, ForwardRead=True),  # [MS-OXCTABL] 4.5.3.1
    response(  # [MS-OXORULE] 4.2.2
        tabl.QUERY_ROWS,
        "15 01 00000000 02 0100 00 01000000013ff856 1000 01000000010000005555 5555d144e340"
        "500072006f006a00650063007400200058000000",
        RULES,
        Origin=2,
        RowCount=1,
    ),
    response(  # gromox 3.10, the first two of six rows
        tabl.QUERY_ROWS,
        "15 00 00000000 01 0200"
        "00 0100000000030000 4200750064006700650074002000320030003200370000 00"
        "00 0100000000030002 4c0075006e00630068003f000000",
        MID_AND_SUBJECT,
        Origin=1,
        RowCount=2,
    ),
    response(  # a flagged row: the subject is an error
        tabl.QUERY_ROWS,
        "15 00 00000000 02 0100 01 00 0100000000030000 0a 0f010480",
        MID_AND_SUBJECT,
        RowCount=1,
    ),
    response(tabl.QUERY_ROWS, "15 00 00000000 02 0000", Origin=2, RowData=[]),
    response(tabl.QUERY_ROWS, "15 00 b9040000", ReturnValue=0x4B9),
    request(tabl.ABORT, "38 00 02", InputHandleIndex=2),
    response(tabl.ABORT, "38 02 00000000 00", TableStatus=0),
    response(tabl.ABORT, "38 02 14010480"),
    request(tabl.GET_STATUS, "16 00 02"),
    response(tabl.GET_STATUS, "16 02 00000000 0b", TableStatus=0x0B),
    response(tabl.GET_STATUS, "16 02 02010480"),
    request(tabl.QUERY_POSITION, "17 00 02"),
    response(tabl.QUERY_POSITION, "17 02 00000000 05000000 34000000", Numerator=5, Denominator=52),
    response(tabl.QUERY_POSITION, "17 02 b9040000"),
    request(tabl.SEEK_ROW, "18 00 02 01 fbffffff 01", Origin=1, RowCount=-5, WantRowMovedCount=True),
    response(tabl.SEEK_ROW, "18 02 00000000 01 fdffffff", HasSoughtLess=True, RowsSought=-3),
    response(tabl.SEEK_ROW, "18 02 b9040000"),
    request(tabl.SEEK_ROW_BOOKMARK, "19 00 02 0400 0a0b0c0d 02000000 00", Bookmark=b"\n\x0b\x0c\r", RowCount=2),
    response(tabl.SEEK_ROW_BOOKMARK, "19 02 00000000 01 00 02000000", RowNoLongerVisible=True, RowsSought=2),
    response(tabl.SEEK_ROW_BOOKMARK, "19 02 05040480"),
    request(tabl.SEEK_ROW_FRACTIONAL, "1a 00 02 01000000 02000000", Numerator=1, Denominator=2),
    response(tabl.SEEK_ROW_FRACTIONAL, "1a 02 00000000"),
    response(tabl.SEEK_ROW_FRACTIONAL, "1a 02 b9040000"),
    request(tabl.CREATE_BOOKMARK, "1b 00 02"),
    response(tabl.CREATE_BOOKMARK, "1b 02 00000000 0400 0a0b0c0d", BookmarkSize=4),
    response(tabl.CREATE_BOOKMARK, "1b 02 b9040000"),
    request(tabl.QUERY_COLUMNS_ALL, "37 00 02"),
    response(tabl.QUERY_COLUMNS_ALL, "37 02 00000000 0200 14004a67 1f003700", PropertyTags=[0x674A0014, 0x0037001F]),
    response(tabl.QUERY_COLUMNS_ALL, "37 02 57000780"),
    request(tabl.FIND_ROW, f"4f 00 02 01 0500 {EXISTS} 00 0000", FindRowFlags=1, Origin=0, Bookmark=b""),
    request(tabl.FIND_ROW, "4f 00 02 00 0000 03 0200 0102", RestrictionData=None, Origin=3, Bookmark=b"\1\2"),
    response(
        tabl.FIND_ROW,
        "4f 02 00000000 00 01 00 0100000000030002 4c0075006e00630068003f000000",
        MID_AND_SUBJECT,
        HasRowData=True,
    ),
    response(tabl.FIND_ROW, "4f 02 00000000 01 00", RowNoLongerVisible=True, HasRowData=False, RowData=None),
    response(tabl.FIND_ROW, "4f 02 0f010480", ReturnValue=0x8004010F),
    request(tabl.FREE_BOOKMARK, "89 00 02 0400 0a0b0c0d", BookmarkSize=4),
    response(tabl.FREE_BOOKMARK, "89 02 00000000"),
    response(tabl.FREE_BOOKMARK, "89 02 05040480"),
    request(tabl.RESET_TABLE, "81 00 02"),
    response(tabl.RESET_TABLE, "81 02 00000000"),
    response(tabl.RESET_TABLE, "81 02 02010480"),
    request(tabl.EXPAND_ROW, f"59 00 02 0a00 {CATEGORY}", MaxRowCount=10, CategoryId=ObjectId(1, 0xC1)),
    response(
        tabl.EXPAND_ROW,
        "59 02 00000000 07000000 0100 00 0100000000030002 4c0075006e00630068003f000000",
        MID_AND_SUBJECT,
        ExpandedRowCount=7,
        RowCount=1,
    ),
    response(tabl.EXPAND_ROW, "59 02 f7040000"),
    request(tabl.COLLAPSE_ROW, f"5a 00 02 {CATEGORY}", CategoryId=ObjectId(1, 0xC1)),
    response(tabl.COLLAPSE_ROW, "5a 02 00000000 07000000", CollapsedRowCount=7),
    response(tabl.COLLAPSE_ROW, "5a 02 f8040000"),
    request(tabl.GET_COLLAPSE_STATE, f"6b 00 02 {CATEGORY} 03000000", RowId=ObjectId(1, 0xC1), RowInstanceNumber=3),
    response(tabl.GET_COLLAPSE_STATE, "6b 02 00000000 0300 aabbcc", CollapseState=b"\xaa\xbb\xcc"),
    response(tabl.GET_COLLAPSE_STATE, "6b 02 02010480"),
    request(tabl.SET_COLLAPSE_STATE, "6c 00 02 0300 aabbcc", CollapseState=b"\xaa\xbb\xcc"),
    response(tabl.SET_COLLAPSE_STATE, "6c 02 00000000 0200 0102", Bookmark=b"\1\2"),
    response(tabl.SET_COLLAPSE_STATE, "6c 02 02010480"),
]


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_vector(vector: Vector) -> None:
    check_vector(vector)


def test_every_form_has_a_vector() -> None:
    assert missing_forms(tabl.ROPS, VECTORS) == []


def test_rows_are_named_by_their_columns() -> None:
    data = bytes.fromhex("15 00 00000000 01 0100 00 0100000000030002 4c0075006e00630068003f000000")
    tree = trace(tabl.QUERY_ROWS.responses[0], ByteSource("x", data), "x", **MID_AND_SUBJECT)
    row = tree.find("RowData", "[0]", "ValueArray")
    assert [child.name for child in row.children] == ["PidTagMid", "PidTagSubject"]
    assert row.find("PidTagSubject").value == "Lunch?"


def test_row_without_columns_is_no_context() -> None:
    data = bytes.fromhex("15 00 00000000 01 0100 00 0100000000030002 4c0075006e00630068003f000000")
    with pytest.raises(GrammarError) as caught:
        parse(tabl.QUERY_ROWS.responses[0], data)
    assert caught.value.severity is Severity.NO_CONTEXT
    assert caught.value.offset == 10
    tree = trace(tabl.QUERY_ROWS.responses[0], ByteSource("x", data), "x")
    assert [found[1] for found in diagnostics(tree)] == [Severity.NO_CONTEXT]
    assert tree.find("RowCount").value == 1
    assert parse(tabl.QUERY_ROWS.responses[0], bytes.fromhex("15 00 00000000 02 0000"))[0].RowData == []


def test_damaged_restriction_leaves_the_fields_behind_it() -> None:
    data = bytes.fromhex("4f 00 02 01 0500 77 1f003700 02 0000")
    value, end = parse(tabl.FIND_ROW.request, data)
    assert end == len(data)
    assert isinstance(value.RestrictionData, Undecoded)
    assert (value.Origin, value.Bookmark) == (2, b"")
    assert build(tabl.FIND_ROW.request, value) == data


def test_flags_and_states_by_name() -> None:
    data = bytes.fromhex("15 00 00 00 01 32 00")
    tree = trace(tabl.QUERY_ROWS.request, ByteSource("x", data), "x")
    assert tree.find("QueryRowsFlags").label == "Advance"
    data = bytes.fromhex("12 00 00000000 09")
    assert (
        trace(tabl.SET_COLUMNS.responses[0], ByteSource("x", data), "x").find("TableStatus").label == "TBLSTAT_SORTING"
    )


def test_what_the_session_needs() -> None:
    assert {one.name for one in tabl.ROPS if "columns" in one.params} == {"RopQueryRows", "RopFindRow", "RopExpandRow"}
    assert all(one.handles == ("InputHandleIndex",) and one.index == "InputHandleIndex" for one in tabl.ROPS)
