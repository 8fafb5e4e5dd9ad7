"""Table ROPs [MS-OXCTABL] 3.2.5."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dissector.grammar.rops import oxctabl as grammar
from dissector.node import Undecoded
from replay.server import rows
from replay.server.call import Call, Fields, TooSmallError
from replay.server.categories import Categories, packed_state, sorting_of, unpacked_state
from replay.server.errors import (
    INVALID_BOOKMARK,
    INVALID_PARAMETER,
    NOT_FOUND,
    NOT_SUPPORTED,
    RopError,
)  # fmt: skip
from replay.server.mailbox import pack
from replay.server.restriction import checked, matches, property_ids
from replay.server.table import BEGINNING, CURRENT, CUSTOM, END, HEADING, Entry, Table
from replay.server.values import ERROR_CODE, UNSPECIFIED

COMPLETE = 0x00
"""TableStatus: everything is done at once here."""

NO_ADVANCE, PACKED = 0x01, 0x02
"""QueryRowsFlags."""

BACKWARD = 0x01
"""FindRowFlags."""

KNOWN_TYPES = frozenset((
    0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xD, 0x14, 0x1E, 0x1F, 0x40, 0x48, 0xFB, 0xFD, 0xFE, 0x102,
))  # fmt: skip

OVERHEAD = 9
"""Bytes of a RopQueryRows response beside the rows."""

EXPAND_OVERHEAD = 12

CHUNK = 64


def _table(call: Call, *kinds: str) -> Table:
    table = call.get(Table)
    if kinds and table.what not in kinds:
        raise RopError(NOT_SUPPORTED)
    return table


def _read(call: Call, *kinds: str) -> Table:
    """The table of a ROP that looks at its rows: a view of it begins."""
    table = _table(call, *kinds)
    table.watch.begin()
    return table


def _valid(tag: int) -> bool:
    kind = tag & 0xFFFF
    if kind in (UNSPECIFIED, ERROR_CODE):
        return False
    return kind & 0x0FFF in KNOWN_TYPES and kind & 0x3000 != 0x2000 and kind <= 0x3FFF


def set_columns(call: Call) -> Fields:
    table, tags = _table(call), tuple(call.request["PropertyTags"])
    if not tags or not all(_valid(tag) for tag in tags):
        table.columns = None
        raise RopError(INVALID_PARAMETER)
    instance = table.instance_property()
    table.columns = tags
    if table.instance_property() != instance:
        table.recalculate()
    return {"TableStatus": COMPLETE}


def sort_table(call: Call) -> Fields:
    """Sort, and put messages below headings."""
    table, request = _table(call, "contents"), call.request
    orders = [(one["PropertyTag"], one["Order"]) for one in request["SortOrders"]]
    if not all(_valid(tag) for tag, _ in orders):
        raise RopError(INVALID_PARAMETER)
    count, expanded = request["CategoryCount"], request["ExpandedCount"]
    levels, table.sort = sorting_of(orders, count, expanded)
    table.categories = Categories(levels, expanded) if levels else None
    table.changed()
    return {"TableStatus": COMPLETE}


def restrict(call: Call) -> Fields:
    table = _table(call, "contents", "hierarchy", "rules")
    table.restriction = checked(call.request["RestrictionData"])
    table.changed()
    return {"TableStatus": COMPLETE}


def _built(table: Table, entries: Sequence[Entry]) -> Iterator[Undecoded]:
    for start in range(0, len(entries), CHUNK):
        yield from table.packed(entries[start : start + CHUNK])


def _query(table: Table, forward: bool, count: int, room: int, advance: bool) -> tuple[list[Undecoded], int]:
    """(rows that fit, origin) of one reading."""
    entries = table.rows()
    position = min(table.position, len(entries))
    if forward:
        wanted = entries[position : position + count]
    else:
        wanted = entries[max(0, position - count) : position][::-1]
    found: list[Undecoded] = []
    used = OVERHEAD
    for row in _built(table, wanted):
        if used + len(row) > room:
            if not found:
                raise TooSmallError(used + len(row))
            break
        used += len(row)
        found.append(row)
    after = position + len(found) if forward else position - len(found)
    if advance:
        table.position = after
    origin = CURRENT
    if forward and after >= len(entries):
        origin = END
    elif not forward and after <= 0:
        origin = BEGINNING
    return found if forward else found[::-1], origin


def query_rows(call: Call) -> Fields:
    table, request = _read(call), call.request
    table.needed_columns()
    forward, flags = bool(request["ForwardRead"]), request["QueryRowsFlags"]
    left, advance = request["RowCount"], not flags & NO_ADVANCE
    found, origin = _query(table, forward, left, call.room, advance)
    left -= len(found)

    def again(room: int) -> Fields | None:
        nonlocal left
        if not left:
            return None
        try:
            more, reached = _query(table, forward, left, room, advance)
        except TooSmallError:
            return None
        left -= len(more)
        return {"Origin": reached, "RowData": more} if more else None

    if flags & PACKED and advance:
        call.again, call.threshold = again, 32 * 1024
    return {"Origin": origin, "RowData": found}


def abort(call: Call) -> Fields:
    """Nothing is ever under way."""
    _table(call, "contents", "hierarchy")
    return {"TableStatus": COMPLETE}


def get_status(call: Call) -> Fields:
    _table(call)
    return {"TableStatus": COMPLETE}


def query_position(call: Call) -> Fields:
    table = _read(call)
    count = len(table.rows())
    return {"Numerator": min(table.position, count), "Denominator": count}


def _seek(table: Table, start: int, count: int) -> int:
    """Move; returns how many rows it were."""
    table.position = max(0, min(len(table.rows()), start + count))
    return table.position - start


def seek_row(call: Call) -> Fields:
    table, request = _read(call), call.request
    if request["Origin"] not in (BEGINNING, CURRENT, END):
        raise RopError(INVALID_PARAMETER)
    start, _ = table.place(request["Origin"])
    moved = _seek(table, start, request["RowCount"])
    less = bool(request["WantRowMovedCount"]) and moved != request["RowCount"]
    return {"HasSoughtLess": less, "RowsSought": moved if request["WantRowMovedCount"] else request["RowCount"]}


def seek_row_bookmark(call: Call) -> Fields:
    table, request = _read(call, "contents", "hierarchy"), call.request
    table.needed_columns()
    start, gone = table.place(CUSTOM, request["Bookmark"])
    moved = _seek(table, start, request["RowCount"])
    less = bool(request["WantRowMovedCount"]) and moved != request["RowCount"]
    sought = moved if request["WantRowMovedCount"] else request["RowCount"]
    return {"RowNoLongerVisible": gone, "HasSoughtLess": less, "RowsSought": sought & 0xFFFFFFFF}


def seek_row_fractional(call: Call) -> Fields:
    table, request = _read(call), call.request
    numerator, denominator = request["Numerator"], request["Denominator"]
    if not denominator:
        raise RopError(INVALID_PARAMETER)
    count = len(table.rows())
    table.position = count if numerator >= denominator else count * numerator // denominator
    return {}


def create_bookmark(call: Call) -> Fields:
    return {"Bookmark": _table(call, "contents", "hierarchy").bookmark()}


def free_bookmark(call: Call) -> Fields:
    table = _table(call, "contents", "hierarchy")
    table.needed_columns()
    if table.bookmarks.pop(call.request["Bookmark"], None) is None:
        raise RopError(INVALID_BOOKMARK)
    return {}


def query_columns_all(call: Call) -> Fields:
    return {"PropertyTags": _read(call).source.all_tags()}


def find_row(call: Call) -> Fields:
    table, request = _read(call, "contents", "hierarchy", "rules"), call.request
    columns, restriction = table.needed_columns(), checked(request["RestrictionData"])
    if request["Origin"] > CUSTOM:
        raise RopError(INVALID_PARAMETER)
    start, gone = table.place(request["Origin"], request["Bookmark"])
    entries = table.rows()
    tags = [prop_id << 16 for prop_id in property_ids(restriction)]
    if request["FindRowFlags"] & BACKWARD:
        order = range(min(start, len(entries) - 1), -1, -1)
    else:
        order = range(start, len(entries))
    for chunk in (order[at : at + CHUNK] for at in range(0, len(order), CHUNK)):
        for index, view in zip(chunk, table.views([entries[one] for one in chunk], tags), strict=True):
            if matches(restriction, view, table.codec):
                table.position = index
                row = rows.packed_row(columns, rows.values_of(view, columns, table.codec, in_table=True), table.codec)
                fits = len(row) + 8 <= call.room
                return {"RowNoLongerVisible": gone, "HasRowData": fits, "RowData": row if fits else None}
    raise RopError(NOT_FOUND)


def reset_table(call: Call) -> Fields:
    table = _table(call, "contents")
    table.columns, table.sort, table.restriction, table.categories = None, [], None, None
    table.changed()
    return {}


def expand_row(call: Call) -> Fields:
    """Show what is below a heading; as much of it as is wanted and fits is in the answer."""
    table, request = _read(call, "contents"), call.request
    table.needed_columns()
    shown = table.toggle(pack(request["CategoryId"]), expand=True)
    found, used = [], EXPAND_OVERHEAD
    for row in _built(table, shown[: request["MaxRowCount"]]):
        used += len(row)
        if used > call.room:
            break
        found.append(row)
    return {"ExpandedRowCount": len(shown), "RowData": found}


def collapse_row(call: Call) -> Fields:
    table = _read(call, "contents")
    table.needed_columns()
    return {"CollapsedRowCount": len(table.toggle(pack(call.request["CategoryId"]), expand=False))}


def get_collapse_state(call: Call) -> Fields:
    """What is expanded and collapsed, and a row to come back to."""
    table, request = _table(call, "contents"), call.request
    table.needed_columns()
    row = pack(request["RowId"]), request["RowInstanceNumber"]
    return {"CollapseState": packed_state(row, table.categories)}


def set_collapse_state(call: Call) -> Fields:
    """The bookmark is of the row in the state: the end of the table where that is gone."""
    table = _table(call, "contents")
    table.needed_columns()
    row = unpacked_state(bytes(call.request["CollapseState"]), table.categories)
    rows = table.regroup()
    found = next((one for one in rows if row is not None and one in (Entry(*row), Entry(row[0], HEADING))), None)
    return {"Bookmark": table.bookmark_of(found if found is not None else Entry(-1, -1))}


HANDLERS = (
    (grammar.SET_COLUMNS, set_columns),
    (grammar.SORT_TABLE, sort_table),
    (grammar.RESTRICT, restrict),
    (grammar.QUERY_ROWS, query_rows),
    (grammar.ABORT, abort),
    (grammar.GET_STATUS, get_status),
    (grammar.QUERY_POSITION, query_position),
    (grammar.SEEK_ROW, seek_row),
    (grammar.SEEK_ROW_BOOKMARK, seek_row_bookmark),
    (grammar.SEEK_ROW_FRACTIONAL, seek_row_fractional),
    (grammar.CREATE_BOOKMARK, create_bookmark),
    (grammar.FREE_BOOKMARK, free_bookmark),
    (grammar.QUERY_COLUMNS_ALL, query_columns_all),
    (grammar.FIND_ROW, find_row),
    (grammar.RESET_TABLE, reset_table),
    (grammar.EXPAND_ROW, expand_row),
    (grammar.COLLAPSE_ROW, collapse_row),
    (grammar.GET_COLLAPSE_STATE, get_collapse_state),
    (grammar.SET_COLLAPSE_STATE, set_collapse_state),
)
