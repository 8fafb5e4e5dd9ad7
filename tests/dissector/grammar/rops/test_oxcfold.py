"""Folder ROPs. Bytes: a recorded server (as said), a published example (as said), else written by hand."""

import pytest

from dissector.grammar.base import build
from dissector.grammar.reading import trace
from dissector.grammar.rops import oxcfold as fold
from dissector.grammar.rops.base import NULL_DESTINATION, RopDef
from dissector.model.ids import ObjectId
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check

INBOX, INBOX_ID = "0100 00000000000d", ObjectId(1, 0x0D)
SUBJECT_EXISTS = "08 1f003700"
NOT_FOUND = "0f010480"


def label(layout: object, data: str, field: str) -> str:
    return trace(layout, ByteSource("vector", bytes.fromhex(data)), "PDU").find(field).label


def test_open_folder() -> None:
    check(fold.OPEN_FOLDER.request, "02000001010000000000000900", FolderId=ObjectId(1, 9), OpenModeFlags=0)  # recorded
    check(fold.OPEN_FOLDER.request, f"02 07 01 02 {INBOX} 04", LogonId=7, InputHandleIndex=1, OutputHandleIndex=2)
    assert label(fold.OPEN_FOLDER.request, f"02 00 01 02 {INBOX} 84", "OpenModeFlags") == "OpenSoftDeleted | 0x80"
    success = fold.OPEN_FOLDER.responses[0]
    check(success, "0201000000000000", HasRules=False, IsGhosted=False, Servers=None)  # recorded
    ghosted = "02 02 00000000 01 01 0200 0100 53525600 4200"
    check(success, ghosted, HasRules=True, IsGhosted=True, CheapServerCount=1, Servers=["SRV", "B"])
    check(fold.OPEN_FOLDER.responses[None], f"02 02 {NOT_FOUND}", ReturnValue=0x8004010F)


def test_open_folder_is_built_from_what_matters() -> None:
    success = fold.OPEN_FOLDER.responses[0]
    value = {"OutputHandleIndex": 2, "HasRules": True, "Servers": ["SRV", "B"], "CheapServerCount": 1}
    assert build(success, value) == bytes.fromhex("02 02 00000000 01 01 0200 0100 53525600 4200")
    assert build(success, {"OutputHandleIndex": 2, "HasRules": False}) == bytes.fromhex("02 02 00000000 00 00")


def test_create_folder() -> None:
    request = fold.CREATE_FOLDER.request
    unicode = "1c 00 00 01 02 01 00 00 42006f007800e9000000 0000"
    check(request, unicode, FolderType=2, UseUnicodeStrings=True, DisplayName="Boxé", Comment="")
    check(request, "1c 00 00 01 01 00 01 00 4200 6300", OpenExisting=True, DisplayName="B", Comment="c")
    check(request, "1c 00 00 01 01 00 01 00 cf00 6300", {"codepage": "cp1251"}, DisplayName="П")
    assert label(request, unicode, "FolderType") == "Search"
    success = fold.CREATE_FOLDER.responses[0]
    check(success, f"1c 01 00000000 {INBOX} 00", FolderId=INBOX_ID, IsExistingFolder=False, HasRules=None)
    check(success, f"1c 01 00000000 {INBOX} 01 01 00", IsExistingFolder=True, HasRules=True, IsGhosted=False)
    check(success, f"1c 01 00000000 {INBOX} 01 00 01 0100 0100 4100", IsGhosted=True, Servers=["A"])
    check(fold.CREATE_FOLDER.responses[None], "1c 01 04060480", ReturnValue=0x80040604)
    built = build(success, {"OutputHandleIndex": 1, "FolderId": INBOX_ID})
    assert built == bytes.fromhex(f"1c 01 00000000 {INBOX} 00")


def test_delete_folder() -> None:
    check(fold.DELETE_FOLDER.request, f"1d 00 00 15 {INBOX}", DeleteFolderFlags=0x15, FolderId=INBOX_ID)
    shown = label(fold.DELETE_FOLDER.request, f"1d 00 00 15 {INBOX}", "DeleteFolderFlags")
    assert shown == "DEL_MESSAGES | DEL_FOLDERS | DELETE_HARD_DELETE"


def test_set_search_criteria() -> None:
    request = fold.SET_SEARCH_CRITERIA.request
    value = check(request, f"30 00 01 0500 {SUBJECT_EXISTS} 0200 {INBOX} {INBOX} 06000200", SearchFlags=0x20006)
    assert value.RestrictionData.PropertyTag == 0x0037001F
    assert value.FolderIds == [INBOX_ID, INBOX_ID]
    check(request, "30 00 01 0000 0000 01000000", RestrictionData=None, FolderIds=[], SearchFlags=1)
    check(fold.SET_SEARCH_CRITERIA.responses[0], "30 01 00000000")
    check(fold.SET_SEARCH_CRITERIA.responses[None], "30 01 02010480")


def test_get_search_criteria() -> None:
    check(fold.GET_SEARCH_CRITERIA.request, "31 00 01 01 00 01", UseUnicode=True, IncludeRestriction=False)
    success = fold.GET_SEARCH_CRITERIA.responses[0]
    full = f"31 01 00000000 0500 {SUBJECT_EXISTS} 03 0100 {INBOX} 05100001"
    check(success, full, LogonId=3, FolderIds=[INBOX_ID], SearchFlags=0x01001005)
    assert label(success, full, "SearchFlags") == "SEARCH_RUNNING | SEARCH_RECURSIVE | SEARCH_COMPLETE | CI_TOTALLY"
    check(success, "31 01 00000000 0000 00 0000 00000000", RestrictionData=None, FolderIds=[])
    check(fold.GET_SEARCH_CRITERIA.responses[None], "31 01 05010480")


def test_move_copy_messages() -> None:
    request = f"33 00 01 02 0200 {INBOX} 0100 00000003000a 00 01"
    value = check(fold.MOVE_COPY_MESSAGES.request, request, SourceHandleIndex=1, DestHandleIndex=2, WantCopy=True)
    assert value.MessageIds == [INBOX_ID, ObjectId(1, 0x3000A)]


def test_move_folder() -> None:
    # MS-OXCFOLD 4.5.1
    example = "35 00 01 02 01 01 01 00 00 00 0e 8e df 36 46 00 6f 00 6c 00 64 00 65 00 72 00 31 00 00 00"
    value = check(fold.MOVE_FOLDER.request, example, WantAsynchronous=True, UseUnicode=True, NewFolderName="Folder1")
    assert value.FolderId == ObjectId(1, 0x0E8EDF36)
    check(fold.MOVE_FOLDER.request, f"35 00 01 02 00 00 {INBOX} 4e6577 00", NewFolderName="New")


def test_copy_folder() -> None:
    request = f"36 00 01 02 00 01 01 {INBOX} 42007500 0000"
    check(fold.COPY_FOLDER.request, request, WantRecursive=True, UseUnicode=True, NewFolderName="Bu")
    check(fold.COPY_FOLDER.request, f"36 00 01 02 00 00 00 {INBOX} 42 00", WantRecursive=False, NewFolderName="B")


@pytest.mark.parametrize(
    "definition", [fold.MOVE_COPY_MESSAGES, fold.MOVE_FOLDER, fold.COPY_FOLDER], ids=lambda d: d.name
)
def test_null_destination(definition: RopDef) -> None:
    form = definition.responses[NULL_DESTINATION]
    check(form, f"{definition.rop_id:02x} 01 03050000 02000000 01", DestHandleIndex=2, PartialCompletion=True)


def test_empty_folder_and_hard_delete() -> None:
    check(fold.EMPTY_FOLDER.request, "58 00 00 00 01", WantAsynchronous=False, WantDeleteAssociated=True)
    check(fold.HARD_DELETE_MESSAGES_AND_SUBFOLDERS.request, "92 00 00 01 00", WantAsynchronous=True)


@pytest.mark.parametrize("definition", [fold.DELETE_MESSAGES, fold.HARD_DELETE_MESSAGES], ids=lambda d: d.name)
def test_delete_messages(definition: RopDef) -> None:
    request = f"{definition.rop_id:02x} 00 00 00 01 0100 {INBOX}"
    check(definition.request, request, NotifyNonRead=True, MessageIds=[INBOX_ID])
    check(definition.request, f"{definition.rop_id:02x} 00 00 01 7f 0000", NotifyNonRead=0x7F, MessageIds=[])


@pytest.mark.parametrize(
    "definition",
    [
        fold.DELETE_FOLDER, fold.MOVE_COPY_MESSAGES, fold.MOVE_FOLDER, fold.COPY_FOLDER, fold.EMPTY_FOLDER,
        fold.HARD_DELETE_MESSAGES_AND_SUBFOLDERS, fold.DELETE_MESSAGES, fold.HARD_DELETE_MESSAGES,
    ],
    ids=lambda d: d.name,
)  # fmt: skip
def test_partial_completion_stands_in_success_and_failure(definition: RopDef) -> None:
    rop_id = f"{definition.rop_id:02x}"
    check(definition.responses[0], f"{rop_id} 00 00000000 00", PartialCompletion=False)
    check(definition.responses[None], f"{rop_id} 00 05000780 01", ReturnValue=0x80070005, PartialCompletion=True)
    check(definition.short_failure, f"{rop_id} 00 05000780", ReturnValue=0x80070005)


def test_tables() -> None:
    check(fold.GET_HIERARCHY_TABLE.request, "04 00 00 01 44", TableFlags=0x44)
    assert label(fold.GET_HIERARCHY_TABLE.request, "04 00 00 01 44", "TableFlags") == "Depth | UseUnicode"
    check(fold.GET_HIERARCHY_TABLE.responses[0], "04 01 00000000 0c000000", RowCount=12)
    check(fold.GET_HIERARCHY_TABLE.responses[None], f"04 01 {NOT_FOUND}")
    check(fold.GET_CONTENTS_TABLE.request, "0500000100", TableFlags=0)  # recorded
    check(fold.GET_CONTENTS_TABLE.responses[0], "0501000000002e000000", OutputHandleIndex=1, RowCount=46)  # recorded
    check(fold.GET_CONTENTS_TABLE.responses[None], f"05 01 {NOT_FOUND}")
    assert label(fold.GET_CONTENTS_TABLE.request, "0500000102", "TableFlags") == "Associated"
