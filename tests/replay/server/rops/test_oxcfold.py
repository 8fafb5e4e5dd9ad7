"""Folders: making, deleting, moving, copying, emptying; search folders."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from dissector.grammar.base import build
from dissector.grammar.restrictions import Restriction
from dissector.grammar.rops import BY_NAME
from dissector.model.ids import ObjectId
from tests.replay.server.client import Client, Error

NOT_FOUND, NOT_SUPPORTED, DUPLICATE, INVALID = 0x8004010F, 0x80040102, 0x80040604, 0x80070057
NULL_DESTINATION = 0x503


@pytest.fixture(name="root")
def root_fixture(client: Client, logon: Any) -> int:
    return client.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])


def names(client: Client, folder: int, flags: int = 0) -> list[str]:
    table = client.table("RopGetHierarchyTable", folder, 0x3001001F, flags=flags)
    return [row[0] for row in client.rows(table)]


def subjects(client: Client, folder: int, flags: int = 0) -> list[str]:
    table = client.table("RopGetContentsTable", folder, 0x0037001F, flags=flags)
    return sorted(row[0] for row in client.rows(table))


def message(client: Client, folder: Any, subject: str, associated: bool = False) -> Any:
    made = client.create_message(folder["Handle"], folder["FolderId"], associated)
    client.set(made, (0x0037001F, subject))
    identifier = client.save(made)
    client.call("RopRelease", made)
    return identifier


def test_open_folder(client: Client, logon: Any) -> None:
    handle = logon["Handle"]
    opened = client.call("RopOpenFolder", handle, FolderId=logon["FolderIds"]["Inbox"], OpenModeFlags=0xFB)
    assert not opened["HasRules"]
    client.call("RopOpenFolder", handle, FolderId=ObjectId(1, 4711), OpenModeFlags=0, expect=NOT_FOUND)
    client.call("RopOpenFolder", handle, FolderId=ObjectId(0xFFFF, 2**48 - 1), OpenModeFlags=0, expect=NOT_FOUND)
    client.call("RopOpenFolder", 4711, FolderId=ObjectId(1, 1), OpenModeFlags=0, expect=0x4B9)
    table = client.call("RopGetHierarchyTable", opened["Handle"], TableFlags=0)["Handle"]
    client.call("RopOpenFolder", table, FolderId=ObjectId(1, 1), OpenModeFlags=0, expect=NOT_SUPPORTED)


def test_create_folder(client: Client, logon: Any, root: int) -> None:
    made = client.create_folder(root, "Büro")
    assert not made["IsExistingFolder"]
    client.create_folder(root, "BÜRO", expect=DUPLICATE)
    again = client.create_folder(root, "büro", existing=True)
    assert again["IsExistingFolder"]
    assert again["FolderId"] == made["FolderId"]
    assert client.get(again["Handle"], 0x3001001F, 0x36010003, 0x360A000B) == ["Büro", 1, False]
    client.create_folder(root, "", expect=INVALID)
    client.create_folder(root, "x", kind=9, expect=INVALID)
    eight = client.call(
        "RopCreateFolder", root, FolderType=1, UseUnicodeStrings=False, OpenExisting=False, DisplayName="Größe",
        Comment="8 Bit",
    )  # fmt: skip
    assert client.get(eight["Handle"], 0x3001001F, 0x3004001F, 0x3001001E) == ["Größe", "8 Bit", "Größe"]
    with Client(client.server) as other:
        other.connect()
        opened = other.open_folder(other.logon()["Handle"], made["FolderId"])
        assert other.get(opened, 0x3001001F) == ["Büro"]


def test_folder_properties_are_written_at_once(client: Client, root: int) -> None:
    made = client.create_folder(root, "one")
    client.create_folder(root, "two")
    before = client.get(made["Handle"], 0x67A40014, 0x65E20102)
    client.set(made["Handle"], (0x3004001F, "a comment"), (0x3001001F, "renamed"), (0x3613001F, "IPF.Note"))
    after = client.get(made["Handle"], 0x67A40014, 0x65E20102)
    assert after != before
    assert names(client, root)[-1] == "two"
    assert "renamed" in names(client, root)
    problems = client.set(made["Handle"], (0x3001001F, "TWO"))["PropertyProblems"]
    assert [(one["Index"], one["ErrorCode"]) for one in problems] == [(0, DUPLICATE)]
    problems = client.set(made["Handle"], (0x36020003, 5))["PropertyProblems"]
    assert problems[0]["ErrorCode"] == 0x8004011A
    client.call("RopDeleteProperties", made["Handle"], PropertyTags=[0x3004001F])
    assert client.get(made["Handle"], 0x3004001F, 0x3613001F) == ["", "IPF.Note"]


def test_delete_folder(client: Client, logon: Any, root: int) -> None:
    made = client.create_folder(root, "to delete")
    below = client.create_folder(made["Handle"], "below")
    message(client, made, "in it")

    def delete(flags: int, folder: Any = made["FolderId"], expect: int = 0) -> bool:
        response = client.call("RopDeleteFolder", root, DeleteFolderFlags=flags, FolderId=folder, expect=expect)
        return bool(response["PartialCompletion"])

    assert delete(0)
    assert delete(1)
    assert delete(4)
    assert "to delete" in names(client, root)
    delete(2, expect=INVALID)
    delete(0, ObjectId(1, 4711), expect=NOT_FOUND)
    delete(5, logon["FolderIds"]["Inbox"], expect=NOT_SUPPORTED)
    assert not delete(5)
    assert "to delete" not in names(client, root)
    assert "to delete" in names(client, root, flags=0x20)
    handle = logon["Handle"]
    client.call("RopOpenFolder", handle, FolderId=below["FolderId"], OpenModeFlags=0, expect=NOT_FOUND)
    soft = client.call("RopOpenFolder", handle, FolderId=made["FolderId"], OpenModeFlags=4)["Handle"]
    assert client.get(soft, 0x3001001F) == ["to delete"]
    assert client.call("RopGetPropertiesList", made["Handle"], expect=0x8004010A)
    assert not delete(0x15)
    client.call("RopOpenFolder", handle, FolderId=made["FolderId"], OpenModeFlags=4, expect=NOT_FOUND)
    store = client.server.store
    assert store.one("SELECT count(*) FROM messages")[0] == 0
    assert store.one("SELECT count(*) FROM bags WHERE role = 2")[0] == 0


def test_delete_messages(client: Client, root: int) -> None:
    made = client.create_folder(root, "folder")
    ids = [message(client, made, f"m{number}") for number in range(4)]

    def delete(name: str, *which: Any) -> bool:
        response = client.call(name, made["Handle"], WantAsynchronous=False, NotifyNonRead=False, MessageIds=which)
        return bool(response["PartialCompletion"])

    assert not delete("RopDeleteMessages", ids[0])
    assert subjects(client, made["Handle"]) == ["m1", "m2", "m3"]
    assert subjects(client, made["Handle"], flags=0x20) == ["m0"]
    client.open_message(made["Handle"], made["FolderId"], ids[0], expect=NOT_FOUND)
    assert client.open_message(made["Handle"], made["FolderId"], ids[0], mode=4)
    assert delete("RopDeleteMessages", ids[0], ids[1])
    assert delete("RopHardDeleteMessages", ids[2], ObjectId(1, 4711))
    assert subjects(client, made["Handle"]) == ["m3"]
    assert not delete("RopHardDeleteMessages", ids[0])
    client.open_message(made["Handle"], made["FolderId"], ids[0], mode=4, expect=NOT_FOUND)
    assert client.get(made["Handle"], 0x36020003, 0x670B0003) == [1, 4]


def test_move_and_copy_messages(client: Client, root: int) -> None:
    one, two = client.create_folder(root, "one"), client.create_folder(root, "two")
    ids = [message(client, one, f"m{number}") for number in range(3)]

    def move(copy: bool, *which: Any, expect: int = 0, target: int = two["Handle"]) -> Any:
        return client.call(
            "RopMoveCopyMessages", one["Handle"], target, MessageIds=which, WantAsynchronous=False, WantCopy=copy,
            expect=expect,
        )  # fmt: skip

    assert not move(True, ids[0])["PartialCompletion"]
    assert not move(False, ids[1])["PartialCompletion"]
    assert move(False, ids[1], ids[2])["PartialCompletion"]
    assert subjects(client, one["Handle"]) == ["m0"]
    assert subjects(client, two["Handle"]) == ["m0", "m1", "m2"]
    table = client.table("RopGetContentsTable", two["Handle"], 0x674A0014)
    assert not {row[0] for row in client.rows(table)} & set(ids)
    gone = move(False, ids[0], target=4711, expect=NULL_DESTINATION)
    assert gone["DestHandleIndex"] == 1
    finder = client.create_folder(root, "finder", kind=2)
    move(True, ids[0], target=finder["Handle"], expect=0x460)


def test_move_and_copy_folders(client: Client, root: int) -> None:
    source, target = client.create_folder(root, "source"), client.create_folder(root, "target")
    below = client.create_folder(source["Handle"], "below")
    message(client, source, "in source")
    message(client, source, "hidden", associated=True)
    message(client, below, "in below")
    common = {"WantAsynchronous": False, "UseUnicode": True, "FolderId": source["FolderId"]}
    client.call("RopCopyFolder", root, target["Handle"], WantRecursive=True, NewFolderName="copy", **common)
    assert names(client, target["Handle"], flags=4) == ["copy", "below"]
    table = client.table(
        "RopGetHierarchyTable", target["Handle"], 0x67480014, 0x3001001F, 0x36020003, 0x36170003, flags=4
    )
    rows = client.rows(table)
    assert [row[1:] for row in rows] == [["copy", 1, 1], ["below", 1, 0]]
    client.call("RopMoveFolder", root, target["Handle"], NewFolderName="copy", **common, expect=DUPLICATE)
    client.call("RopMoveFolder", root, below["Handle"], NewFolderName="x", **common, expect=0x8004060B)
    client.call("RopMoveFolder", root, 4711, NewFolderName="x", **common, expect=NULL_DESTINATION)
    client.call("RopMoveFolder", target["Handle"], root, NewFolderName="x", **common, expect=NOT_FOUND)
    client.call("RopMoveFolder", root, target["Handle"], NewFolderName="moved", **common)
    assert names(client, target["Handle"]) == ["copy", "moved"]
    assert "source" not in names(client, root)
    assert subjects(client, source["Handle"]) == ["in source"]


def test_empty_folder(client: Client, logon: Any, root: int) -> None:
    for name, hard in (("RopEmptyFolder", False), ("RopHardDeleteMessagesAndSubfolders", True)):
        made = client.create_folder(root, name)
        client.create_folder(made["Handle"], "below")
        message(client, made, "normal")
        message(client, made, "hidden", associated=True)
        flags = {"WantAsynchronous": False, "WantDeleteAssociated": False}
        assert not client.call(name, made["Handle"], **flags)["PartialCompletion"]
        assert names(client, made["Handle"]) == []
        assert subjects(client, made["Handle"]) == []
        assert subjects(client, made["Handle"], flags=2) == ["hidden"]
        assert subjects(client, made["Handle"], flags=0x20) == ([] if hard else ["normal"])
        client.call(name, made["Handle"], WantAsynchronous=False, WantDeleteAssociated=True)
        assert subjects(client, made["Handle"], flags=2) == []
    top = client.open_folder(logon["Handle"], logon["FolderIds"]["MailboxRoot"])
    client.call(
        "RopEmptyFolder", top, WantAsynchronous=False, WantDeleteAssociated=False, expect=NOT_SUPPORTED
    )  # fmt: skip


def test_table_flags(client: Client, root: int) -> None:
    client.call("RopGetContentsTable", root, TableFlags=1, expect=NOT_SUPPORTED)
    client.call("RopGetHierarchyTable", root, TableFlags=2, expect=NOT_SUPPORTED)


def test_search_folders(client: Client, logon: Any, root: int) -> None:
    place, other = client.create_folder(root, "place"), client.create_folder(root, "other")
    below = client.create_folder(place["Handle"], "below")
    for folder, subject in ((place, "red one"), (place, "blue"), (below, "red two"), (other, "red three")):
        message(client, folder, subject)
    finder = client.open_folder(logon["Handle"], logon["FolderIds"]["Search"])
    search = client.create_folder(finder, "search", kind=2)
    red = {
        "RestrictType": 3, "FuzzyLevelLow": 2, "FuzzyLevelHigh": 1, "PropertyTag": 0x0037001F,
        "TaggedValue": {"PropertyTag": 0x0037001F, "PropertyValue": "RED"},
    }  # fmt: skip

    def criteria(folder: Any, ids: list[Any], flags: int, expect: int = 0) -> None:
        client.call(
            "RopSetSearchCriteria",
            folder["Handle"],
            RestrictionData=red,
            FolderIds=ids,
            SearchFlags=flags,
            expect=expect,
        )

    criteria(place, [place["FolderId"]], 2, expect=0x461)
    criteria(search, [], 2, expect=0x80040605)
    criteria(search, [search["FolderId"]], 2, expect=0x490)
    criteria(search, [place["FolderId"]], 2 | 0x100, expect=INVALID)
    criteria(search, [place["FolderId"]], 2 | 8)
    assert subjects(client, search["Handle"]) == ["red one"]
    criteria(search, [place["FolderId"]], 2 | 4)
    assert subjects(client, search["Handle"]) == ["red one", "red two"]
    table = client.table("RopGetContentsTable", search["Handle"], 0x0037001F, 0x674A0014, 0x67480014)
    message(client, place, "Red four")
    rows = client.rows(table)
    assert sorted(row[0] for row in rows) == ["Red four", "red one", "red two"]
    assert client.open_message(search["Handle"], search["FolderId"], rows[0][1])
    criteria(search, [], 2 | 0x40000)
    message(client, place, "red five")
    assert subjects(client, search["Handle"]) == ["Red four", "red one"]
    found = client.call(
        "RopGetSearchCriteria", search["Handle"], UseUnicode=True, IncludeRestriction=True, IncludeFolders=True
    )
    assert found["FolderIds"] == [place["FolderId"]]
    assert found["SearchFlags"] & 0x10000
    assert build(Restriction, found["RestrictionData"]) == build(Restriction, red)
    client.call(
        "RopGetSearchCriteria", place["Handle"], UseUnicode=True, IncludeRestriction=True, IncludeFolders=True,
        expect=0x461,
    )  # fmt: skip


def test_special_folders_tell_their_entry_ids(client: Client, logon: Any, inbox: int) -> None:
    calendar, none = client.get(inbox, 0x36D00102, 0x36D60102)
    assert none == Error(NOT_FOUND)
    guid = logon["ReplGuid"]
    assert calendar["DatabaseGuid"] == guid
    opened = client.open_folder(logon["Handle"], ObjectId(1, calendar["GlobalCounter"]))
    assert client.get(opened, 0x3001001F, 0x3613001F) == ["Calendar", "IPF.Appointment"]


# Operations that are let run.


def answers(client: Client, name: str, *handles: int, **fields: Any) -> list[Any]:
    """What the client is told until the operation is done: its first answer, then those to RopProgress."""
    definition = BY_NAME[name]
    indexes = dict(zip(definition.handles, range(len(handles)), strict=True))
    request = client.request_bytes(name, WantAsynchronous=True, **indexes, **fields)
    found = []
    while True:
        ((data, _),) = client.execute(request, list(handles))
        (told,) = [one for one in client.responses(data) if one["Name"] not in ("RopNotify", "RopPending")]
        found.append(told)
        if told["Name"] != "RopProgress":
            return found
        request = client.request_bytes("RopProgress", InputHandleIndex=0, WantCancel=False)


@pytest.fixture(name="many")
def many_fixture(client: Client, logon: Any, inbox: int, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Ten messages, and parts of four."""
    monkeypatch.setattr("replay.server.underway.PART", 4)
    return [client.save(client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])) for _ in range(10)]


def count(client: Client, logon: Any, name: str) -> int:
    folder = client.open_folder(logon["Handle"], logon["FolderIds"][name])
    return int(client.call("RopGetContentsTable", folder, TableFlags=0)["RowCount"])


def test_moving_many_messages_in_parts(client: Client, logon: Any, inbox: int, many: list[Any]) -> None:
    target = client.open_folder(logon["Handle"], logon["FolderIds"]["Outbox"])
    told = answers(client, "RopMoveCopyMessages", inbox, target, MessageIds=many, WantCopy=False)
    assert [one["Name"] for one in told] == ["RopProgress", "RopProgress", "RopMoveCopyMessages"]
    assert [(one["CompletedTaskCount"], one["TotalTaskCount"]) for one in told[:2]] == [(4, 10), (8, 10)]
    assert not told[-1]["PartialCompletion"]
    assert count(client, logon, "Inbox") == 0
    client.call("RopProgress", inbox, WantCancel=False, expect=NOT_SUPPORTED)


def test_emptying_a_folder_in_parts(client: Client, logon: Any, inbox: int, many: list[Any]) -> None:
    client.create_folder(inbox, "below")
    told = answers(client, "RopHardDeleteMessagesAndSubfolders", inbox, WantDeleteAssociated=True)
    assert [one["Name"] for one in told][-1] == "RopHardDeleteMessagesAndSubfolders"
    assert len(told) == 3
    assert count(client, logon, "Inbox") == 0
    assert client.call("RopGetHierarchyTable", inbox, TableFlags=0)["RowCount"] == 0


def test_what_is_cancelled_stays_in_part(client: Client, logon: Any, inbox: int, many: list[Any]) -> None:
    request = client.request_bytes(
        "RopDeleteMessages", InputHandleIndex=0, WantAsynchronous=True, NotifyNonRead=False, MessageIds=many
    )
    client.execute(request, [inbox])
    ((data, _),) = client.execute(client.request_bytes("RopProgress", InputHandleIndex=0, WantCancel=True), [inbox])
    (told,) = client.responses(data)
    assert (told["Name"], told["PartialCompletion"]) == ("RopDeleteMessages", True)
    assert count(client, logon, "Inbox") == 6


def test_without_asking_for_it_all_is_done_at_once(client: Client, logon: Any, inbox: int, many: list[Any]) -> None:
    gone = client.call(
        "RopDeleteMessages", inbox, WantAsynchronous=False, NotifyNonRead=False, MessageIds=[*many, (1, 4711)]
    )
    assert gone["PartialCompletion"]
    assert count(client, logon, "Inbox") == 0


def test_names_that_are_no_text(client: Client, logon: Any, root: int) -> None:
    """Half a surrogate pair in a name: what the client wrote comes back, and is found again."""
    name = "half \ud911 a pair"
    made = client.create_folder(root, name)
    assert client.get(made["Handle"], 0x3001001F)[0] in (name, name.encode("utf-16-le", "surrogatepass"))
    client.create_folder(root, name, expect=DUPLICATE)
    names = [{"Kind": 1, "GUID": uuid.UUID(int=7), "Name": "\ud911"}]
    first, again = (
        client.call("RopGetPropertyIdsFromNames", logon["Handle"], Flags=2, PropertyNames=names)["PropertyIds"]
        for _ in range(2)
    )
    assert first == again
