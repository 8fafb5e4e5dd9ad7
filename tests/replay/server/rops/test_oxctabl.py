"""Tables: columns, sorting, restrictions, the cursor, bookmarks, instances of multiple values."""

from __future__ import annotations

from typing import Any

import pytest

from tests.replay.server.client import CHAIN, Client, Error, row_values

NOT_FOUND, NOT_SUPPORTED, NULL_OBJECT, INVALID, BAD_BOOKMARK = 0x8004010F, 0x80040102, 0x4B9, 0x80070057, 0x80040405
SUBJECT, NUMBER, TEXTS, MID = 0x0037001F, 0x66000003, 0x6601101F, 0x674A0014
BEGINNING, CURRENT, END = 0, 1, 2


@pytest.fixture(name="place")
def place_fixture(client: Client, logon: Any) -> Any:
    """A folder of ten messages m0..m9: NUMBER is 0..9 but missing on m5, read are the even ones."""
    root = client.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])
    place = client.create_folder(root, "place")
    for number in range(10):
        message = client.create_message(place["Handle"], place["FolderId"])
        client.set(message, (SUBJECT, f"{'Mm'[number % 2]}{number}"), (0x66020102, bytes([9 - number])))
        if number != 5:
            client.set(message, (NUMBER, number))
        if number % 3 == 0:
            client.set(message, (TEXTS, [f"t{number}", "all"]))
        if number % 2:
            client.call("RopSetMessageReadFlag", message, ReadFlags=4)
        row = {
            "RecipientFlags": 0x218, "EmailAddress": f"r{number}@x.test", "DisplayName": f"Recipient {number}",
            "RecipientColumnCount": 0, "RecipientProperties": {"Flag": 0, "ValueArray": []},
        }  # fmt: skip
        rows = [{"RowId": 0, "RecipientType": 1, "RecipientRow": row}]
        client.call("RopModifyRecipients", message, RecipientColumns=[], RecipientRows=rows)
        client.save(message)
        client.call("RopRelease", message)
    return place


@pytest.fixture(name="table")
def table_fixture(client: Client, place: Any) -> int:
    handle = client.table("RopGetContentsTable", place["Handle"], SUBJECT, NUMBER)
    sort(client, handle, (SUBJECT, 0))
    return handle


def sort(client: Client, table: int, *orders: tuple[int, int], expect: int = 0, categories: int = 0) -> None:
    client.call(
        "RopSortTable", table, SortTableFlags=0, CategoryCount=categories, ExpandedCount=0,
        SortOrders=[{"PropertyTag": tag, "Order": order} for tag, order in orders], expect=expect,
    )  # fmt: skip


def restrict(client: Client, table: int, restriction: Any, expect: int = 0) -> None:
    client.call("RopRestrict", table, RestrictFlags=0, RestrictionData=restriction, expect=expect)


def seek(client: Client, table: int, origin: int, count: int) -> tuple[bool, int]:
    answer = client.call("RopSeekRow", table, Origin=origin, RowCount=count, WantRowMovedCount=True)
    return bool(answer["HasSoughtLess"]), answer["RowsSought"]


def position(client: Client, table: int) -> tuple[int, int]:
    answer = client.call("RopQueryPosition", table)
    return answer["Numerator"], answer["Denominator"]


def numbers(client: Client, table: int) -> list[int]:
    seek(client, table, BEGINNING, 0)
    return [int(row[0][1:]) for row in client.rows(table)]


def tagged(tag: int, value: Any) -> dict[str, Any]:
    return {"PropertyTag": tag, "PropertyValue": value}


def prop(relation: int, tag: int, value: Any) -> dict[str, Any]:
    return {"RestrictType": 4, "RelOp": relation, "PropertyTag": tag, "TaggedValue": tagged(tag & ~0x1000, value)}


def content(level: int, flags: int, tag: int, value: Any) -> dict[str, Any]:
    return {
        "RestrictType": 3, "FuzzyLevelLow": level, "FuzzyLevelHigh": flags, "PropertyTag": tag,
        "TaggedValue": tagged(tag & ~0x1000, value),
    }  # fmt: skip


def test_rows(client: Client, table: int) -> None:
    first = client.call("RopQueryRows", table, QueryRowsFlags=0, ForwardRead=True, RowCount=4)
    assert (first["Origin"], first["RowCount"]) == (CURRENT, 4)
    assert position(client, table) == (4, 10)
    assert client.rows(table) == [
        ["M4", 4], ["m5", Error(NOT_FOUND)], ["M6", 6], ["m7", 7], ["M8", 8], ["m9", 9],
    ]  # fmt: skip
    last = client.call("RopQueryRows", table, QueryRowsFlags=0, ForwardRead=True, RowCount=4)
    assert (last["Origin"], last["RowCount"]) == (END, 0)
    back = client.call("RopQueryRows", table, QueryRowsFlags=1, ForwardRead=False, RowCount=2)
    assert [row["ValueArray"][0] for row in back["RowData"]] == ["M8", "m9"]
    assert position(client, table) == (10, 10)
    assert client.rows(table, 3, forward=False) == [["m7", 7], ["M8", 8], ["m9", 9]]
    assert position(client, table) == (7, 10)
    seek(client, table, BEGINNING, 1)
    back = client.call("RopQueryRows", table, QueryRowsFlags=0, ForwardRead=False, RowCount=5)
    assert (back["Origin"], back["RowCount"]) == (BEGINNING, 1)


def test_without_columns(client: Client, place: Any) -> None:
    table = client.call("RopGetContentsTable", place["Handle"], TableFlags=0)
    assert table["RowCount"] == 10
    handle = table["Handle"]
    client.call("RopQueryRows", handle, QueryRowsFlags=0, ForwardRead=True, RowCount=1, expect=NULL_OBJECT)
    client.call("RopFindRow", handle, FindRowFlags=0, RestrictionData=None, Origin=0, Bookmark=b"", expect=NULL_OBJECT)
    for tags in ([], [0x00370000], [0x0037000A], [0x00370999]):
        client.call("RopSetColumns", handle, SetColumnsFlags=0, PropertyTags=tags, expect=INVALID)
    client.call("RopSetColumns", place["Handle"], SetColumnsFlags=0, PropertyTags=[SUBJECT], expect=NOT_SUPPORTED)
    assert client.call("RopGetStatus", handle)["TableStatus"] == 0
    assert client.call("RopAbort", handle)["TableStatus"] == 0


def test_sorting(client: Client, table: int) -> None:
    sort(client, table, (NUMBER, 1))
    assert numbers(client, table) == [9, 8, 7, 6, 4, 3, 2, 1, 0, 5]
    sort(client, table, (NUMBER, 0))
    assert numbers(client, table) == [5, 0, 1, 2, 3, 4, 6, 7, 8, 9]
    sort(client, table, (0x66020102, 0))
    assert numbers(client, table) == list(range(9, -1, -1))
    sort(client, table, (0x0E69000B, 1), (SUBJECT, 0))
    assert numbers(client, table) == [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    sort(client, table, (SUBJECT, 0), categories=2, expect=INVALID)
    sort(client, table, (SUBJECT, 4), expect=INVALID)
    sort(client, table, (SUBJECT, 0), (NUMBER, 8), expect=INVALID)
    sort(client, table, (0x00370000, 0), expect=INVALID)


RESTRICTIONS = {
    "equal": (prop(4, NUMBER, 3), [3]),
    "not equal": (prop(5, NUMBER, 3), [0, 1, 2, 4, 6, 7, 8, 9]),
    "less": (prop(0, NUMBER, 3), [0, 1, 2]),
    "at most": (prop(1, NUMBER, 3), [0, 1, 2, 3]),
    "more": (prop(2, NUMBER, 6), [7, 8, 9]),
    "at least": (prop(3, NUMBER, 6), [6, 7, 8, 9]),
    "text": (prop(4, SUBJECT, "M7"), [7]),
    "computed": (prop(4, 0x0E69000B, True), [0, 2, 4, 6, 8]),
    "one of several": (prop(4, TEXTS, "t6"), [6]),
    "full": (content(0, 0, SUBJECT, "m7"), [7]),
    "full, other case": (content(0, 0, SUBJECT, "M7"), []),
    "prefix": (content(2, 0, SUBJECT, "m"), [1, 3, 5, 7, 9]),
    "substring": (content(1, 1, SUBJECT, "M"), list(range(10))),
    "bytes": (content(2, 0, 0x66020102, b"\x03"), [6]),
    "in several": (content(1, 1, TEXTS, "AL"), [0, 3, 6, 9]),
    "exists": ({"RestrictType": 8, "PropertyTag": TEXTS}, [0, 3, 6, 9]),
    "not": ({"RestrictType": 2, "Restriction": {"RestrictType": 8, "PropertyTag": NUMBER}}, [5]),
    "and": ({"RestrictType": 0, "Restricts": [prop(2, NUMBER, 2), prop(0, NUMBER, 5)]}, [3, 4]),
    "or": ({"RestrictType": 1, "Restricts": [prop(4, NUMBER, 2), prop(4, NUMBER, 5 + 3)]}, [2, 8]),
    "bits set": ({"RestrictType": 6, "BitmapRelOp": 1, "PropertyTag": NUMBER, "Mask": 6}, [2, 3, 4, 6, 7]),
    "bits clear": ({"RestrictType": 6, "BitmapRelOp": 0, "PropertyTag": NUMBER, "Mask": 6}, [0, 1, 8, 9]),
    "size": ({"RestrictType": 7, "RelOp": 4, "PropertyTag": 0x66020102, "Size": 1}, list(range(10))),
    "compare": (
        {"RestrictType": 5, "RelOp": 4, "PropertyTag1": SUBJECT, "PropertyTag2": 0x0E1D001F}, list(range(10)),
    ),
    "comment": (
        {"RestrictType": 10, "TaggedValues": [tagged(0x66990003, 1)], "Restriction": prop(4, NUMBER, 1)}, [1],
    ),
    "count": ({"RestrictType": 11, "Count": 2, "Restriction": prop(2, NUMBER, 2)}, [3, 4]),
    "recipients": (
        {"RestrictType": 9, "Subobject": 0x0E12000D, "Restriction": content(0, 1, 0x3003001F, "R4@X.test")}, [4],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RESTRICTIONS)
def test_restrictions(client: Client, table: int, name: str) -> None:
    restriction, wanted = RESTRICTIONS[name]
    restrict(client, table, restriction)
    assert numbers(client, table) == wanted
    assert position(client, table)[1] == len(wanted)
    restrict(client, table, None)
    assert len(numbers(client, table)) == 10


def test_a_restriction_that_is_not_understood(client: Client, table: int) -> None:
    restrict(client, table, prop(6, SUBJECT, ".*"), expect=0x80040117)


def test_seeking(client: Client, table: int) -> None:
    assert seek(client, table, BEGINNING, 3) == (False, 3)
    assert seek(client, table, CURRENT, 4) == (False, 4)
    assert position(client, table) == (7, 10)
    assert seek(client, table, CURRENT, 30) == (True, 3)
    assert seek(client, table, END, -4) == (False, -4)
    assert seek(client, table, CURRENT, -30) == (True, -6)
    client.call("RopSeekRow", table, Origin=7, RowCount=0, WantRowMovedCount=True, expect=INVALID)
    for numerator, denominator, wanted in ((0, 5, 0), (1, 2, 5), (5, 5, 10), (9, 3, 10)):
        client.call("RopSeekRowFractional", table, Numerator=numerator, Denominator=denominator)
        assert position(client, table)[0] == wanted
    client.call("RopSeekRowFractional", table, Numerator=1, Denominator=0, expect=INVALID)


def test_bookmarks(client: Client, table: int, place: Any) -> None:
    seek(client, table, BEGINNING, 4)
    bookmark = client.call("RopCreateBookmark", table)["Bookmark"]
    seek(client, table, BEGINNING, 0)

    def go(count: int = 0, name: bytes = bookmark, expect: int = 0) -> Any:
        return client.call(
            "RopSeekRowBookmark", table, Bookmark=name, RowCount=count, WantRowMovedCount=True, expect=expect
        )

    assert not go()["RowNoLongerVisible"]
    assert position(client, table) == (4, 10)
    assert go(2)["RowsSought"] == 2
    assert position(client, table) == (6, 10)
    identifiers = client.table("RopGetContentsTable", place["Handle"], SUBJECT, MID)
    gone = next(row[1] for row in client.rows(identifiers) if row[0] == "M4")
    client.call("RopDeleteMessages", place["Handle"], WantAsynchronous=False, NotifyNonRead=False, MessageIds=[gone])
    assert position(client, table) == (5, 9)
    assert go()["RowNoLongerVisible"]
    client.call("RopFreeBookmark", table, Bookmark=bookmark)
    client.call("RopFreeBookmark", table, Bookmark=bookmark, expect=BAD_BOOKMARK)
    go(expect=BAD_BOOKMARK)
    other = client.call("RopCreateBookmark", table)["Bookmark"]
    sort(client, table, (NUMBER, 0))
    go(0, other, expect=BAD_BOOKMARK)


def test_find_row(client: Client, table: int) -> None:
    def find(restriction: Any, origin: int = CURRENT, flags: int = 0, expect: int = 0) -> Any:
        answer = client.call(
            "RopFindRow", table, FindRowFlags=flags, RestrictionData=restriction, Origin=origin, Bookmark=b"",
            expect=expect,
        )  # fmt: skip
        return answer.get("RowData") and answer["RowData"]["ValueArray"]

    assert find(prop(2, NUMBER, 2), BEGINNING) == ["m3", 3]
    assert position(client, table)[0] == 3
    assert find(prop(0, NUMBER, 2), expect=NOT_FOUND) is None
    assert find(prop(0, NUMBER, 2), CURRENT, flags=1) == ["m1", 1]
    assert find(prop(0, NUMBER, 4), END, flags=1) == ["m3", 3]
    find(None, 9, expect=INVALID)


def test_reset(client: Client, table: int) -> None:
    restrict(client, table, prop(4, NUMBER, 3))
    client.call("RopResetTable", table)
    assert position(client, table) == (0, 10)
    client.call("RopQueryRows", table, QueryRowsFlags=0, ForwardRead=True, RowCount=1, expect=NULL_OBJECT)


def test_a_table_is_live(client: Client, table: int, place: Any) -> None:
    seek(client, table, BEGINNING, 5)
    for name in ("a first", "z last"):
        message = client.create_message(place["Handle"], place["FolderId"])
        client.set(message, (SUBJECT, name))
        client.save(message)
    assert position(client, table) == (6, 12)
    assert client.rows(table)[0][0] == "m5"


def test_values_of_multiple_instances(client: Client, place: Any) -> None:
    table = client.table("RopGetContentsTable", place["Handle"], SUBJECT, 0x6601301F)
    sort(client, table, (0x6601301F, 0), (SUBJECT, 0))
    rows = client.rows(table)
    assert len(rows) == 14
    assert [row for row in rows if not isinstance(row[1], Error)] == [
        ["M0", "all"], ["m3", "all"], ["M6", "all"], ["m9", "all"],
        ["M0", "t0"], ["m3", "t3"], ["M6", "t6"], ["m9", "t9"],
    ]  # fmt: skip


def test_long_values_are_cut(client: Client, place: Any) -> None:
    message = client.create_message(place["Handle"], place["FolderId"])
    client.set(message, (SUBJECT, "x" * 2000), (0x66030102, bytes(2000)), (0x66040102, bytes(20_000)), (NUMBER, 77))
    client.save(message)
    table = client.table("RopGetContentsTable", place["Handle"], SUBJECT, 0x66030102, 0x66040102, 0x0037001E)
    restrict(client, table, prop(4, NUMBER, 77))
    assert client.rows(table) == [["x" * 254, bytes(510), bytes(510), "x" * 509]]


def test_many_rows_and_chained_payloads(client: Client, place: Any) -> None:
    for number in range(190):
        message = client.create_message(place["Handle"], place["FolderId"])
        client.set(message, (SUBJECT, f"{number:03} " + "long " * 60))
        client.save(message)
        client.call("RopRelease", message)
    table = client.table("RopGetContentsTable", place["Handle"], SUBJECT, MID)
    sort(client, table, (SUBJECT, 0))
    one = client.rows(table)
    assert 20 < len(one) < 100
    seek(client, table, BEGINNING, 0)
    everything = client.call(
        "RopQueryRows", table, QueryRowsFlags=2, ForwardRead=True, RowCount=500, flags=CHAIN | 3, max_out=0x40000
    )
    assert len(everything["More"]) >= 2
    assert everything["More"][-1]["Origin"] == END
    assert sum(part["RowCount"] for part in (everything, *everything["More"])) == 200
    seek(client, table, BEGINNING, 0)
    small = client.call("RopQueryRows", table, QueryRowsFlags=0, ForwardRead=True, RowCount=500, max_out=2000)
    assert small["RowCount"] == 3


def test_all_columns(client: Client, table: int, inbox: int) -> None:
    tags = client.call("RopQueryColumnsAll", table)["PropertyTags"]
    assert {SUBJECT, NUMBER, MID, TEXTS} <= set(tags)
    hierarchy = client.call("RopGetHierarchyTable", inbox, TableFlags=0)["Handle"]
    client.call("RopQueryColumnsAll", hierarchy)


def test_what_other_tables_do_not_do(client: Client, inbox: int) -> None:
    hierarchy = client.table("RopGetHierarchyTable", inbox, 0x3001001F)
    sort(client, hierarchy, (0x3001001F, 0), expect=NOT_SUPPORTED)
    client.call("RopResetTable", hierarchy, expect=NOT_SUPPORTED)
    client.call("RopExpandRow", hierarchy, MaxRowCount=1, CategoryId=(1, 1), expect=NOT_SUPPORTED)


# Categories.

IMPORTANCE, TYPE, DEPTH, COUNT, UNREAD, INST = 0x00170003, 0x0FF50003, 0x30050003, 0x36020003, 0x36030003, 0x674D0014
COLUMNS = (SUBJECT, IMPORTANCE, TYPE, DEPTH, COUNT, UNREAD, INST, MID)
LEAF, EXPANDED, COLLAPSED = 1, 3, 4
NOT_EXPANDED, NOT_COLLAPSED = 0x4F7, 0x4F8


@pytest.fixture(name="grouped")
def grouped_fixture(client: Client, logon: Any, inbox: int) -> int:
    """Six messages by importance: 0: a, d; 1: b, c, e (unread); 2: f."""
    for subject, importance in (("b", 1), ("a", 0), ("f", 2), ("c", 1), ("e", 1), ("d", 0)):
        message = client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])
        flags = 8 if subject == "e" else 9
        client.set(message, (SUBJECT, subject), (IMPORTANCE, importance), (0x0E070003, flags))
        client.save(message)
    return client.table("RopGetContentsTable", inbox, *COLUMNS)


def group(client: Client, table: int, *orders: tuple[int, int], count: int = 1, expanded: int = 1) -> None:
    client.call(
        "RopSortTable", table, SortTableFlags=0, CategoryCount=count, ExpandedCount=expanded,
        SortOrders=[{"PropertyTag": tag, "Order": order} for tag, order in orders],
    )  # fmt: skip


def shown(rows: list[list[Any]]) -> list[str]:
    """Leaves as their subject, headings as their importance and what is below: '+1:3' is a collapsed one of three."""
    return [str(row[0]) if row[2] == LEAF else f"{'-' if row[2] == EXPANDED else '+'}{row[1]}:{row[4]}" for row in rows]


def heading(client: Client, table: int, importance: int) -> Any:
    seek(client, table, BEGINNING, 0)
    return next(row[6] for row in client.rows(table) if row[2] != LEAF and row[1] == importance)


def test_messages_below_headings(client: Client, grouped: int) -> None:
    group(client, grouped, (IMPORTANCE, 0), (SUBJECT, 1))
    rows = client.rows(grouped)
    assert shown(rows) == ["-0:2", "d", "a", "-1:3", "e", "c", "b", "-2:1", "f"]
    assert [row[3] for row in rows] == [0, 1, 1, 0, 1, 1, 1, 0, 1]
    assert [row[5] for row in rows if row[2] == EXPANDED] == [0, 1, 0]
    assert isinstance(rows[0][0], Error), "a heading has no subject"
    assert isinstance(rows[0][7], Error)
    assert len({row[6] for row in rows}) == len(rows)
    assert position(client, grouped) == (9, 9)
    group(client, grouped, (IMPORTANCE, 1), (SUBJECT, 0), expanded=0)
    assert shown(client.rows(grouped)) == ["+2:1", "+1:3", "+0:2"]


def test_expanding_and_collapsing(client: Client, grouped: int) -> None:
    group(client, grouped, (IMPORTANCE, 0), (SUBJECT, 0), expanded=0)
    one = heading(client, grouped, 1)
    answer = client.call("RopExpandRow", grouped, MaxRowCount=2, CategoryId=one)
    assert answer["ExpandedRowCount"] == 3
    assert [row_values(row, COLUMNS)[0] for row in answer["RowData"]] == ["b", "c"]
    client.call("RopExpandRow", grouped, MaxRowCount=2, CategoryId=one, expect=NOT_COLLAPSED)
    seek(client, grouped, BEGINNING, 0)
    assert shown(client.rows(grouped)) == ["+0:2", "-1:3", "b", "c", "e", "+2:1"]
    seek(client, grouped, BEGINNING, 3)  # at c, which goes away
    assert client.call("RopCollapseRow", grouped, CategoryId=one)["CollapsedRowCount"] == 3
    assert shown(client.rows(grouped)) == ["+2:1"]
    client.call("RopCollapseRow", grouped, CategoryId=one, expect=NOT_EXPANDED)
    for name in ("RopExpandRow", "RopCollapseRow"):
        more = {"MaxRowCount": 0} if name == "RopExpandRow" else {}
        client.call(name, grouped, CategoryId=(1, 4711), expect=NOT_FOUND, **more)


def test_two_levels(client: Client, grouped: int) -> None:
    group(client, grouped, (IMPORTANCE, 0), (SUBJECT, 0), count=2, expanded=1)
    rows = client.rows(grouped)
    assert [(row[3], row[2]) for row in rows[:4]] == [(0, EXPANDED), (1, COLLAPSED), (1, COLLAPSED), (0, EXPANDED)]
    assert rows[1][:2] == ["a", 0]
    inner = rows[1][6]
    assert client.call("RopExpandRow", grouped, MaxRowCount=9, CategoryId=inner)["ExpandedRowCount"] == 1
    seek(client, grouped, BEGINNING, 2)
    ((subject, _, kind, depth, *_),) = client.rows(grouped, 1)
    assert (subject, kind, depth) == ("a", LEAF, 2)
    top = heading(client, grouped, 0)
    assert client.call("RopCollapseRow", grouped, CategoryId=top)["CollapsedRowCount"] == 3


def test_groups_by_their_highest(client: Client, grouped: int) -> None:
    """As a list by conversation, the newest conversation first."""
    group(client, grouped, (IMPORTANCE, 1), (SUBJECT, 4), (SUBJECT, 0))
    rows = client.rows(grouped)
    assert [row for row in shown(rows) if row[0] in "+-"] == ["-2:1", "-1:3", "-0:2"]
    assert [row[0] for row in rows if row[2] == EXPANDED] == ["f", "e", "d"]


def test_headings_come_and_go_with_their_messages(client: Client, logon: Any, inbox: int, grouped: int) -> None:
    group(client, grouped, (IMPORTANCE, 0), (SUBJECT, 0), expanded=0)
    client.call("RopExpandRow", grouped, MaxRowCount=0, CategoryId=heading(client, grouped, 2))
    message = client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])
    client.set(message, (SUBJECT, "g"), (IMPORTANCE, 2))
    last = client.save(message)
    seek(client, grouped, BEGINNING, 0)
    assert shown(client.rows(grouped)) == ["+0:2", "+1:3", "-2:2", "f", "g"]
    assert [one["TableEventType"] for one in client.told()] == [1]
    seek(client, grouped, BEGINNING, 3)
    ids = [row[7] for row in client.rows(grouped)]
    assert ids[-1] == last
    client.call("RopDeleteMessages", inbox, WantAsynchronous=False, NotifyNonRead=False, MessageIds=ids)
    seek(client, grouped, BEGINNING, 0)
    assert shown(client.rows(grouped)) == ["+0:2", "+1:3"]


def test_a_collapse_state(client: Client, inbox: int, grouped: int) -> None:
    """It outlives the table, with the row the client stood on."""
    orders = (IMPORTANCE, 0), (SUBJECT, 0)
    group(client, grouped, *orders, expanded=0)
    client.call("RopExpandRow", grouped, MaxRowCount=0, CategoryId=heading(client, grouped, 1))
    seek(client, grouped, BEGINNING, 3)
    ((subject, *_, row, _),) = client.rows(grouped, 1)
    assert subject == "c"
    answer = client.call("RopGetCollapseState", grouped, RowId=row, RowInstanceNumber=0)
    client.call("RopRelease", grouped)
    again = client.table("RopGetContentsTable", inbox, *COLUMNS)
    group(client, again, *orders, expanded=0)
    assert shown(client.rows(again)) == ["+0:2", "+1:3", "+2:1"]
    mark = client.call("RopSetCollapseState", again, CollapseState=answer["CollapseState"])["Bookmark"]
    client.call("RopSeekRowBookmark", again, Bookmark=mark, RowCount=0, WantRowMovedCount=False)
    assert shown(client.rows(again)) == ["c", "e", "+2:1"]
    seek(client, again, BEGINNING, 0)
    assert shown(client.rows(again)) == ["+0:2", "-1:3", "b", "c", "e", "+2:1"]


@pytest.mark.parametrize(
    "state",
    [b"?", b"[]", b"{}", b"null", b'{"row": [1], "open": []}', b'{"row": null, "open": [[1, 2]]}',
     b'{"row": null, "open": [[[[1, "plain", {}]], true]]}', b"[" * 5000, b"\xff\xfe", b""],
)  # fmt: skip
def test_bytes_that_are_no_collapse_state(client: Client, grouped: int, state: bytes) -> None:
    group(client, grouped, (IMPORTANCE, 0))
    client.call("RopSetCollapseState", grouped, CollapseState=state, expect=BAD_BOOKMARK)
    assert len(client.rows(grouped)) == 9


def test_a_table_without_categories(client: Client, table: int) -> None:
    client.call("RopExpandRow", table, MaxRowCount=1, CategoryId=(1, 1), expect=NOT_FOUND)
    client.call("RopCollapseRow", table, CategoryId=(1, 1), expect=NOT_FOUND)
    state = client.call("RopGetCollapseState", table, RowId=(1, 1), RowInstanceNumber=0)["CollapseState"]
    client.call("RopSetCollapseState", table, CollapseState=state)
    client.call("RopSetCollapseState", table, CollapseState=b"?", expect=BAD_BOOKMARK)
