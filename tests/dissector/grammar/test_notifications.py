"""NotificationData, one vector per combination of type and flags; bytes by hand from [MS-OXCNOTIF] 2.2.1.4.1.2."""

import uuid
from typing import Any

import pytest

from dissector.grammar.base import build
from dissector.grammar.notifications import NotificationData
from dissector.grammar.reading import parse, trace
from dissector.model.ids import ObjectId
from dissector.model.pcl import Xid
from dissector.node import Severity, Undecoded
from dissector.pipeline import dissect
from dissector.source import ByteSource
from tests.conftest import shared
from tests.dissector.grammar.rops.check import check, check_cover, diagnostics

FID, FID2, FID3, FID4 = (f"0100 0000000000{number}" for number in ("0d", "0e", "0f", "10"))
MID, MID2 = "0100 000000030036", "0100 000000030037"
INSTANCE, AFTER = "00000000", "01000000"
TAGS = "0200 1f003700 0300070e"
COLUMNS = {"columns": [0x0E070003, 0x0037001F]}
ROW = "1100 00 01000000 4c0075006e00630068000000"
FOLDER, MESSAGE = ObjectId(1, 0x0D), ObjectId(1, 0x30036)
PARENT, OLD, OLD_PARENT = ObjectId(1, 0x0E), ObjectId(1, 0x0F), ObjectId(1, 0x10)

OBJECT_EVENTS: list[tuple[str, dict[str, Any]]] = [
    (f"0200 {FID} 01000000 00 49504d2e4e6f746500", {"MessageId": None, "MessageFlags": 1, "MessageClass": "IPM.Note"}),
    (
        f"0280 {FID} {MID} 00000000 01 490050004d002e004e006f00740065000000",
        {"FolderId": FOLDER, "MessageId": MESSAGE, "UnicodeFlag": True, "MessageClass": "IPM.Note"},
    ),
    (f"0400 {FID} {FID2} 0000", {"FolderId": FOLDER, "ParentFolderId": PARENT, "TagCount": 0, "Tags": None}),
    (f"0400 {FID} {FID2} {TAGS}", {"TagCount": 2, "Tags": [0x0037001F, 0x0E070003]}),
    (f"0800 {FID} {FID2}", {"FolderId": FOLDER, "ParentFolderId": PARENT, "TagCount": None}),
    (f"1000 {FID} {TAGS}", {"FolderId": FOLDER, "ParentFolderId": None, "TagCount": 2}),
    (f"1000 {FID} ffff", {"TagCount": 0xFFFF, "Tags": None}),
    (f"1010 {FID} 0000 2f000000", {"TotalMessageCount": 47, "UnreadMessageCount": None}),
    (f"1020 {FID} 0000 25000000", {"TotalMessageCount": None, "UnreadMessageCount": 37}),
    (f"1030 {FID} 0000 2f000000 25000000", {"TotalMessageCount": 47, "UnreadMessageCount": 37}),
    (
        f"2000 {FID} {FID2} {FID3} {FID4}",
        {"ParentFolderId": PARENT, "OldFolderId": OLD, "OldMessageId": None, "OldParentFolderId": OLD_PARENT},
    ),
    (f"4000 {FID} {FID2} {FID3} {FID4}", {"ParentFolderId": PARENT, "OldFolderId": OLD}),
    (f"8000 {FID}", {"FolderId": FOLDER, "MessageId": None}),
    (f"0480 {FID} {MID} {TAGS}", {"MessageId": MESSAGE, "ParentFolderId": None, "TagCount": 2}),
    (f"0480 {FID} {MID} 0000", {"MessageId": MESSAGE, "TagCount": 0}),
    (f"0880 {FID} {MID}", {"MessageId": MESSAGE, "ParentFolderId": None}),
    (f"1080 {FID} {MID} {TAGS}", {"MessageId": MESSAGE, "TagCount": 2}),
    (
        f"2080 {FID} {MID} {FID3} {MID2}",
        {"ParentFolderId": None, "OldFolderId": OLD, "OldMessageId": ObjectId(1, 0x30037), "OldParentFolderId": None},
    ),
    (f"4080 {FID} {MID} {FID3} {MID2}", {"OldFolderId": OLD}),
    (f"04c0 {FID} {MID} {FID2} {TAGS}", {"MessageId": MESSAGE, "ParentFolderId": PARENT, "TagCount": 2}),
    (f"08c0 {FID} {MID} {FID2}", {"MessageId": MESSAGE, "ParentFolderId": PARENT, "TagCount": None}),
    (f"10c0 {FID} {MID} 0000", {"MessageId": MESSAGE, "ParentFolderId": None, "TagCount": 0}),
    ("0004", {"FolderId": None}),
    (
        "0002 01 02000000 " + ("ab" * 16 + "000000000001") + ("ab" * 16 + "000000000002"),
        {"HierarchyChanged": True, "FolderIDNumber": 2, "FolderId": None},
    ),
]

TABLE_EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("0001 0100", {"TableEventType": 1, "TableRowFolderID": None}),
    ("0001 0700", {"TableEventType": 7}),
    (f"0001 0400 {FID}", {"TableRowFolderID": FOLDER, "TableRowMessageID": None, "TableRowDataSize": None}),
    (
        f"0001 0300 {FID} {FID2} {ROW}",
        {"TableRowFolderID": FOLDER, "InsertAfterTableRowFolderID": PARENT, "TableRowDataSize": 17},
    ),
    (f"0001 0500 {FID} 0000000000000000 {ROW}", {"InsertAfterTableRowFolderID": ObjectId(0, 0)}),
    ("0081 0100", {"TableEventType": 1}),
    (f"0081 0400 {FID} {MID} {INSTANCE}", {"TableRowMessageID": MESSAGE, "InsertAfterTableRowID": None}),
    (
        f"0081 0300 {FID} {MID} {INSTANCE} {FID2} {MID2} {AFTER} {ROW}",
        {"TableRowInstance": 0, "InsertAfterTableRowID": ObjectId(1, 0x30037), "InsertAfterTableRowInstance": 1},
    ),
    (f"00c1 0500 {FID} {MID} {INSTANCE} {FID2} {MID2} {AFTER} {ROW}", {"TableRowMessageID": MESSAGE}),
    (f"00c1 0400 {FID} {MID} {INSTANCE}", {"TableRowMessageID": MESSAGE}),
    (f"0081 0300 {FID} {MID} {INSTANCE} {FID2} {MID2} {AFTER} 0000", {"TableRowDataSize": 0, "TableRowData": None}),
]


@pytest.mark.parametrize(("data", "expected"), OBJECT_EVENTS, ids=lambda value: str(value)[:21])
def test_object_event(data: str, expected: dict[str, Any]) -> None:
    check(NotificationData, data, **expected)


@pytest.mark.parametrize(("data", "expected"), TABLE_EVENTS, ids=lambda value: str(value)[:21])
def test_table_event(data: str, expected: dict[str, Any]) -> None:
    check(NotificationData, data, COLUMNS, **expected)


def test_row_without_columns_is_no_context_and_the_rest_is_read() -> None:
    data = bytes.fromhex(f"0081 0300 {FID} {MID} {INSTANCE} {FID2} {MID2} {AFTER} {ROW}")
    value, end = parse(NotificationData, data + b"next")
    assert end == len(data)
    assert value.TableRowData == Undecoded(data[-17:])
    assert value.TableRowMessageID == MESSAGE
    assert build(NotificationData, value) == data
    tree = trace(NotificationData, ByteSource("x", data), "x")
    check_cover(tree)
    assert [found[1] for found in diagnostics(tree)] == [Severity.NO_CONTEXT]
    assert tree.length == len(data)


def test_row_that_does_not_fit_its_columns_stays_in_its_size() -> None:
    data = bytes.fromhex(f"0081 0300 {FID} {MID} {INSTANCE} {FID2} {MID2} {AFTER} {ROW}")
    value, end = parse(NotificationData, data, columns=[0x0E070003])
    assert end == len(data)
    assert isinstance(value.TableRowData, Undecoded)


def test_named_in_words() -> None:
    tree = trace(NotificationData, ByteSource("x", bytes.fromhex(f"04c0 {FID} {MID} {FID2} 0000")), "x")
    assert tree.find("NotificationFlags").label == "ObjectCreated | S: search folder | M: message"
    tree = trace(NotificationData, ByteSource("x", bytes.fromhex(f"0001 0400 {FID}")), "x")
    assert tree.find("TableEventType").label == "TableRowDeleted"


def test_folders_of_a_hierarchy_event_are_ids() -> None:
    value, _ = parse(NotificationData, bytes.fromhex("0002 01 01000000" + "ab" * 16 + "000000000001"))
    assert value.FolderIDs == [Xid(uuid.UUID("abababab-abab-abab-abab-abababababab"), b"\0\0\0\0\0\1")]


def test_built_without_counts() -> None:
    value = {"NotificationFlags": 0x8004, "FolderId": FOLDER, "MessageId": MESSAGE, "Tags": [0x0037001F]}
    assert build(NotificationData, value) == bytes.fromhex(f"0480 {FID} {MID} 0100 1f003700")
    value = {
        "NotificationFlags": 0x0100, "TableEventType": 3, "TableRowFolderID": FOLDER,
        "InsertAfterTableRowFolderID": PARENT, "TableRowData": {"Flag": 0, "ValueArray": [1, "Lunch"]},
    }  # fmt: skip
    assert build(NotificationData, value, **COLUMNS) == bytes.fromhex(f"0001 0300 {FID} {FID2} {ROW}")


def test_rows_that_exchange_2003_sent() -> None:
    """Folder rows have the row they stand behind, though some parsers expect it for messages only."""
    seen = {"folder": 0, "message": 0}
    with dissect(shared("captures", "real", "outlook2003-exchange2003.pcap")) as dissection:
        for exchange in dissection.exchanges():
            for rop in exchange.rops:
                if rop.rop_id != 0x2A or rop.response is None:
                    continue
                assert rop.response.error is None
                data = rop.response.value.NotificationData
                if data.NotificationFlags & 0x0FFF == 0x0100 and data.TableEventType == 5:
                    kind = "message" if data.NotificationFlags & 0x8000 else "folder"
                    seen[kind] += 1
                    assert data.InsertAfterTableRowFolderID is not None
                    assert len(data.TableRowData) == data.TableRowDataSize
                    assert data.TableRowData[0] in (0, 1)
    assert min(seen.values()) > 5
