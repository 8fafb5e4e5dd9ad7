"""Logon, receive folders, ids, per-user information."""

from __future__ import annotations

import uuid
from typing import Any

from dissector.model.ids import LongTermId, ObjectId
from replay.server import RunningServer
from tests.replay.server.client import Client

INVALID_PARAMETER, NOT_FOUND, NULL_OBJECT = 0x80070057, 0x8004010F, 0x4B9


def test_logon(server: RunningServer, client: Client, logon: Any) -> None:
    ids = list(logon["FolderIds"].values())
    assert len(ids) == len(set(ids)) == 13
    assert {one.replica_id for one in ids} == {logon["ReplId"]}
    assert logon["LogonFlags"] == 1
    assert logon["ResponseFlags"] & 1
    again = client.logon("/o=Other/ou=X/cn=Recipients/cn=someone")
    assert again["FolderIds"] == logon["FolderIds"]
    assert again["MailboxGuid"] == logon["MailboxGuid"]
    assert again["Handle"] != logon["Handle"]


def test_a_second_logon_with_the_same_number_replaces_the_first(client: Client, logon: Any) -> None:
    folder = client.open_folder(logon["Handle"], logon["FolderIds"]["Inbox"])
    client.logon()
    client.call("RopGetPropertiesList", folder, expect=NULL_OBJECT)


def test_public_folders_are_not_here(client: Client) -> None:
    client.call("RopLogon", LogonFlags=0, OpenFlags=2, EssdnSize=0, expect=0x80040111)


def test_release(client: Client, logon: Any, inbox: int) -> None:
    assert client.call("RopRelease", inbox) == []
    client.call("RopGetPropertiesList", inbox, expect=NULL_OBJECT)
    assert client.call("RopRelease", inbox) == []
    client.call("RopRelease", logon["Handle"])
    client.call("RopGetStoreState", logon["Handle"], expect=NULL_OBJECT)


def test_receive_folders(client: Client, logon: Any) -> None:
    handle, ids = logon["Handle"], logon["FolderIds"]

    def receive(message_class: str) -> tuple[Any, str]:
        found = client.call("RopGetReceiveFolder", handle, MessageClass=message_class)
        return found["FolderId"], found["ExplicitMessageClass"]

    assert receive("") == (ids["Inbox"], "")
    assert receive("IPM.My.Class") == (ids["Inbox"], "IPM")
    assert receive("ipc.x") == (ids["MailboxRoot"], "IPC")
    assert receive("MY.Class") == (ids["Inbox"], "")
    client.call("RopSetReceiveFolder", handle, FolderId=ids["Outbox"], MessageClass="MY.Class")
    assert receive("MY.Class.Something") == (ids["Outbox"], "MY.Class")
    assert receive("MY.ClassX") == (ids["Inbox"], "")
    rows = client.call("RopGetReceiveFolderTable", handle)["Rows"]
    assert [row["ValueArray"][1] for row in rows] == ["", "IPC", "IPM", "MY.Class", "Report.IPM"]
    assert rows[3]["ValueArray"][0] == ids["Outbox"]
    nothing = ObjectId(0, 0)
    client.call("RopSetReceiveFolder", handle, FolderId=nothing, MessageClass="my.class")
    assert receive("MY.Class") == (ids["Inbox"], "")
    for name, code in (("IPM", 0x80070005), ("a..b", INVALID_PARAMETER), (".a", INVALID_PARAMETER), ("", 0x80004005)):
        client.call("RopSetReceiveFolder", handle, FolderId=nothing, MessageClass=name, expect=code)
    client.call("RopSetReceiveFolder", handle, FolderId=ObjectId(1, 999), MessageClass="A", expect=NOT_FOUND)
    client.call("RopGetReceiveFolder", handle, MessageClass="x" * 300, expect=INVALID_PARAMETER)


def test_long_term_ids(client: Client, logon: Any) -> None:
    handle, inbox = logon["Handle"], logon["FolderIds"]["Inbox"]
    found = client.call("RopLongTermIdFromId", handle, ObjectId=inbox)["LongTermId"]
    assert found == LongTermId(logon["ReplGuid"], inbox.counter)
    assert client.call("RopIdFromLongTermId", handle, LongTermId=found)["ObjectId"] == inbox
    other = LongTermId(uuid.uuid4(), 77)
    mapped = client.call("RopIdFromLongTermId", handle, LongTermId=other)["ObjectId"]
    assert mapped.counter == 77
    assert mapped.replica_id not in (0, 1)
    assert client.call("RopIdFromLongTermId", handle, LongTermId=other)["ObjectId"] == mapped
    assert client.call("RopLongTermIdFromId", handle, ObjectId=mapped)["LongTermId"] == other
    client.call("RopLongTermIdFromId", handle, ObjectId=ObjectId(4711, 1), expect=NOT_FOUND)
    zero = LongTermId(uuid.UUID(int=0), 1)
    client.call("RopIdFromLongTermId", handle, LongTermId=zero, expect=INVALID_PARAMETER)


def test_per_user_information(client: Client, logon: Any) -> None:
    handle, guid, folder = logon["Handle"], uuid.uuid4(), LongTermId(uuid.uuid4(), 5)
    data = bytes(range(256)) * 30
    client.call("RopGetPerUserGuid", handle, LongTermId=folder, expect=NOT_FOUND)
    for at in range(0, len(data), 3000):
        part = data[at : at + 3000]
        client.call(
            "RopWritePerUserInformation", handle, FolderId=folder, HasFinished=at + 3000 >= len(data), DataOffset=at,
            Data=part, ReplGuid=guid,
        )  # fmt: skip
    assert client.call("RopGetPerUserGuid", handle, LongTermId=folder)["DatabaseGuid"] == guid
    assert client.call("RopGetPerUserLongTermIds", handle, DatabaseGuid=guid)["LongTermIds"] == [folder]
    assert client.call("RopGetPerUserLongTermIds", handle, DatabaseGuid=uuid.uuid4())["LongTermIds"] == []
    read, finished = b"", False
    while not finished:
        part = client.call(
            "RopReadPerUserInformation", handle, FolderId=folder, DataOffset=len(read), MaxDataSize=0
        )  # fmt: skip
        read, finished = read + part["Data"], part["HasFinished"]
    assert read == data
    client.call(
        "RopReadPerUserInformation", handle, FolderId=folder, DataOffset=10**6, MaxDataSize=0, expect=0x80004005
    )


def test_store_state_and_servers(client: Client, logon: Any) -> None:
    handle, ids = logon["Handle"], logon["FolderIds"]
    assert client.call("RopGetStoreState", handle)["StoreState"] == 0
    finder = client.open_folder(handle, ids["Search"])
    client.create_folder(finder, "searching", kind=2)
    assert client.call("RopGetStoreState", handle)["StoreState"] == 0x01000000
    client.call("RopGetOwningServers", handle, FolderId=ids["Inbox"], expect=0x469)
    assert not client.call("RopPublicFolderIsGhosted", handle, FolderId=ids["Inbox"])["IsGhosted"]


def test_store_properties(client: Client, logon: Any) -> None:
    handle = logon["Handle"]
    assert client.get(handle, 0x0FFE0003, 0x661D000B, 0x3001001F) == [1, False, "Mailbox - alice"]
    client.set(handle, (0x661D000B, True), (0x6666001F, "kept"))
    with Client(client.server) as other:
        other.connect()
        assert other.get(other.logon()["Handle"], 0x661D000B, 0x6666001F) == [True, "kept"]


def test_local_replica_ids(client: Client, logon: Any) -> None:
    first = client.call("RopGetLocalReplicaIds", logon["Handle"], IdCount=100)
    second = client.call("RopGetLocalReplicaIds", logon["Handle"], IdCount=1)
    assert first["ReplGuid"] == second["ReplGuid"] == logon["ReplGuid"]
    assert second["GlobalCount"] >= first["GlobalCount"] + 100
    client.call("RopGetLocalReplicaIds", logon["Handle"], IdCount=0, expect=INVALID_PARAMETER)
    inbox = logon["FolderIds"]["Inbox"]
    message = client.save(client.create_message(logon["Handle"], inbox))
    assert message.counter > second["GlobalCount"]
