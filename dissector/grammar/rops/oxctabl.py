"""Table ROPs [MS-OXCTABL], [MS-OXCROPS] 2.2.5.

Rows carry values without tags: the columns are those of the last RopSetColumns on the same table handle, and come in as
Param "columns". Where the capture did not show them, the row is NO_CONTEXT.
"""

from __future__ import annotations

from construct import this

from dissector.grammar.base import Param
from dissector.grammar.ids import ObjectIdField
from dissector.grammar.layouts import Count, Present, Rows, When
from dissector.grammar.leaves import I32, U8, U16, U32, Bool8, Enumerated, Flags
from dissector.grammar.properties import PropertyRow, PropertyTag
from dissector.grammar.restrictions import Restriction
from dissector.grammar.rops.base import RopDef, counted, counted_bytes, rop, sized_unless_empty
from dissector.grammar.sortorder import SortOrder

TableRow = PropertyRow(Param("columns"))

_STATUS = ("TableStatus" / Enumerated(U8, "TableStatus"),)
_TAGS = counted("PropertyTagCount", "PropertyTags", PropertyTag)
_BOOKMARK = counted_bytes("BookmarkSize", "Bookmark")
_RESTRICTION = sized_unless_empty("RestrictionDataSize", "RestrictionData", Restriction)
_COLLAPSE_STATE = counted_bytes("CollapseStateSize", "CollapseState")

SET_COLUMNS = rop(
    0x12, "RopSetColumns", "2.2.5.1",
    "SetColumnsFlags" / Flags(U8, "SetColumnsFlags"),
    *_TAGS,
    success=_STATUS,
    summary=("PropertyTags", "TableStatus"),
)  # fmt: skip

SORT_TABLE = rop(
    0x13, "RopSortTable", "2.2.5.2",
    "SortTableFlags" / Flags(U8, "SortTableFlags"),
    "SortOrderCount" / Count(U16, "SortOrders"),
    "CategoryCount" / U16,
    "ExpandedCount" / U16,
    "SortOrders" / Rows(this.SortOrderCount, SortOrder),
    success=_STATUS,
    summary=("SortOrders", "CategoryCount", "TableStatus"),
)  # fmt: skip

RESTRICT = rop(
    0x14, "RopRestrict", "2.2.5.3",
    "RestrictFlags" / Flags(U8, "RestrictFlags"),
    *_RESTRICTION,
    success=_STATUS,
    summary=("RestrictionData", "TableStatus"),
)  # fmt: skip

QUERY_ROWS = rop(
    0x15, "RopQueryRows", "2.2.5.4",
    "QueryRowsFlags" / Flags(U8, "QueryRowsFlags"),
    "ForwardRead" / Bool8,
    "RowCount" / U16,
    success=("Origin" / Enumerated(U8, "Bookmark"), *counted("RowCount", "RowData", TableRow)),
    summary=("RowCount", "Origin"),
    params=("columns", "codepage"),
)  # fmt: skip

ABORT = rop(
    0x38, "RopAbort", "2.2.5.5",
    success=_STATUS,
    summary=("TableStatus",),
)  # fmt: skip

GET_STATUS = rop(
    0x16, "RopGetStatus", "2.2.5.6",
    success=_STATUS,
    summary=("TableStatus",),
)  # fmt: skip

QUERY_POSITION = rop(
    0x17, "RopQueryPosition", "2.2.5.7",
    success=("Numerator" / U32, "Denominator" / U32),
    summary=("Numerator", "Denominator"),
)  # fmt: skip

SEEK_ROW = rop(
    0x18, "RopSeekRow", "2.2.5.8",
    "Origin" / Enumerated(U8, "Bookmark"),
    "RowCount" / I32,
    "WantRowMovedCount" / Bool8,
    success=("HasSoughtLess" / Bool8, "RowsSought" / I32),
    summary=("Origin", "RowCount", "RowsSought"),
)  # fmt: skip

SEEK_ROW_BOOKMARK = rop(
    0x19, "RopSeekRowBookmark", "2.2.5.9",
    *_BOOKMARK,
    "RowCount" / I32,
    "WantRowMovedCount" / Bool8,
    success=("RowNoLongerVisible" / Bool8, "HasSoughtLess" / Bool8, "RowsSought" / U32),
    summary=("Bookmark", "RowCount", "RowsSought", "RowNoLongerVisible"),
)  # fmt: skip

SEEK_ROW_FRACTIONAL = rop(
    0x1A, "RopSeekRowFractional", "2.2.5.10",
    "Numerator" / U32,
    "Denominator" / U32,
    summary=("Numerator", "Denominator"),
)  # fmt: skip

CREATE_BOOKMARK = rop(
    0x1B, "RopCreateBookmark", "2.2.5.11",
    success=_BOOKMARK,
    summary=("Bookmark",),
)  # fmt: skip

QUERY_COLUMNS_ALL = rop(
    0x37, "RopQueryColumnsAll", "2.2.5.12",
    success=_TAGS,
    summary=("PropertyTags",),
)  # fmt: skip

FIND_ROW = rop(
    0x4F, "RopFindRow", "2.2.5.13",
    "FindRowFlags" / Flags(U8, "FindRowFlags"),
    *_RESTRICTION,
    "Origin" / Enumerated(U8, "Bookmark"),
    *_BOOKMARK,
    success=(
        "RowNoLongerVisible" / Bool8,
        "HasRowData" / Present(Bool8, "RowData"),
        "RowData" / When(this.HasRowData, TableRow),
    ),
    summary=("RestrictionData", "Origin", "HasRowData", "RowNoLongerVisible"),
    params=("columns", "codepage"),
)  # fmt: skip

FREE_BOOKMARK = rop(
    0x89, "RopFreeBookmark", "2.2.5.14",
    *_BOOKMARK,
    summary=("Bookmark",),
)  # fmt: skip

RESET_TABLE = rop(
    0x81, "RopResetTable", "2.2.5.15",
)  # fmt: skip

EXPAND_ROW = rop(
    0x59, "RopExpandRow", "2.2.5.16",
    "MaxRowCount" / U16,
    "CategoryId" / ObjectIdField,
    success=("ExpandedRowCount" / U32, *counted("RowCount", "RowData", TableRow)),
    summary=("CategoryId", "ExpandedRowCount", "RowCount"),
    params=("columns", "codepage"),
)  # fmt: skip

COLLAPSE_ROW = rop(
    0x5A, "RopCollapseRow", "2.2.5.17",
    "CategoryId" / ObjectIdField,
    success=("CollapsedRowCount" / U32,),
    summary=("CategoryId", "CollapsedRowCount"),
)  # fmt: skip

GET_COLLAPSE_STATE = rop(
    0x6B, "RopGetCollapseState", "2.2.5.18",
    "RowId" / ObjectIdField,
    "RowInstanceNumber" / U32,
    success=_COLLAPSE_STATE,
    summary=("RowId", "RowInstanceNumber", "CollapseStateSize"),
)  # fmt: skip

SET_COLLAPSE_STATE = rop(
    0x6C, "RopSetCollapseState", "2.2.5.19",
    *_COLLAPSE_STATE,
    success=_BOOKMARK,
    summary=("CollapseStateSize", "Bookmark"),
)  # fmt: skip

ROPS: tuple[RopDef, ...] = (
    SET_COLUMNS, SORT_TABLE, RESTRICT, QUERY_ROWS, ABORT, GET_STATUS, QUERY_POSITION, SEEK_ROW, SEEK_ROW_BOOKMARK,
    SEEK_ROW_FRACTIONAL, CREATE_BOOKMARK, QUERY_COLUMNS_ALL, FIND_ROW, FREE_BOOKMARK, RESET_TABLE, EXPAND_ROW,
    COLLAPSE_ROW, GET_COLLAPSE_STATE, SET_COLLAPSE_STATE,
)  # fmt: skip
