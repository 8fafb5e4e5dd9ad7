"""Notifications: who is told what, and when NotificationWait ends."""

from __future__ import annotations

import threading
import time
from typing import Any

from replay.server import RunningServer
from tests.replay.server.client import Client

CREATED, DELETED, MODIFIED, MOVED, COPIED, NEW_MAIL = 0x4, 0x8, 0x10, 0x20, 0x40, 0x2
MESSAGE = 0x8000


def register(client: Client, thing: int, types: int = 0x7E, **where: Any) -> int:
    scope = where or {"WantWholeStore": True}
    return int(client.call("RopRegisterNotification", thing, NotificationTypes=types, **scope)["Handle"])


def poll(client: Client, handle: int) -> list[Any]:
    """What is pending, fetched with a ROP that does nothing."""
    client.call("RopGetStoreState", handle)
    return client.told()


def test_events_of_the_whole_store(client: Client, logon: Any) -> None:
    handle = logon["Handle"]
    subscription = register(client, handle)
    root = client.open_folder(handle, logon["FolderIds"]["IpmSubtree"])
    made = client.create_folder(root, "x")
    (event,) = client.told()
    assert (event["NotificationFlags"], event["FolderId"]) == (CREATED, made["FolderId"])
    assert event["ParentFolderId"] == logon["FolderIds"]["IpmSubtree"]
    folder = client.open_folder(handle, made["FolderId"])
    message = client.create_message(folder, made["FolderId"])
    client.set(message, (0x0037001F, "s"))
    identifier = client.save(message)
    (event,) = client.told()
    assert (event["NotificationFlags"], event["MessageId"]) == (CREATED | MESSAGE, identifier)
    assert 0x0037001F in event["Tags"]
    client.set(message, (0x1000001F, "b"))
    client.save(message)
    (event,) = client.told()
    assert event["NotificationFlags"] == MODIFIED | MESSAGE
    assert 0x1000001F in event["Tags"]
    client.call("RopDeleteMessages", folder, WantAsynchronous=False, NotifyNonRead=False, MessageIds=[identifier])
    assert [one["NotificationFlags"] for one in client.told()] == [DELETED | MESSAGE]
    client.call("RopRelease", subscription)
    client.create_folder(root, "y")
    assert client.told() == []


def test_moves_and_copies(client: Client, logon: Any, inbox: int) -> None:
    handle, ids = logon["Handle"], logon["FolderIds"]
    identifier = client.save(client.create_message(handle, ids["Inbox"]))
    register(client, handle, MOVED | COPIED)
    target = client.open_folder(handle, ids["DeletedItems"])
    for copy in (True, False):
        client.call(
            "RopMoveCopyMessages", inbox, target, MessageIds=[identifier], WantAsynchronous=False, WantCopy=copy
        )
    copied, moved = client.told()
    assert (copied["NotificationFlags"], moved["NotificationFlags"]) == (COPIED | MESSAGE, MOVED | MESSAGE)
    for event in (copied, moved):
        assert event["FolderId"] == ids["DeletedItems"]
        assert (event["OldFolderId"], event["OldMessageId"]) == (ids["Inbox"], identifier)


def test_only_what_was_asked_for(server: RunningServer, client: Client, logon: Any) -> None:
    ids = logon["FolderIds"]
    register(client, logon["Handle"], CREATED, WantWholeStore=False, FolderId=ids["Inbox"], MessageId=(0, 0))
    with Client(server) as other:
        other.connect()
        handle = other.logon()["Handle"]
        other.save(other.create_message(handle, ids["Outbox"]))
        message = other.create_message(handle, ids["Inbox"])
        identifier = other.save(message)
        other.set(message, (0x0037001F, "changed"))
        other.save(message)
    (event,) = poll(client, logon["Handle"])
    assert (event["NotificationFlags"], event["MessageId"]) == (CREATED | MESSAGE, identifier)
    client.call(
        "RopRegisterNotification", logon["Handle"], NotificationTypes=4, WantWholeStore=False, FolderId=(1, 4711),
        MessageId=(0, 0), expect=0x8004010F,
    )  # fmt: skip


def test_new_mail(client: Client, logon: Any) -> None:
    register(client, logon["Handle"], NEW_MAIL)
    message = client.create_message(logon["Handle"], logon["FolderIds"]["Outbox"])
    row = {
        "RecipientFlags": 0x21B, "EmailAddress": "alice@example.test", "DisplayName": "a", "RecipientColumnCount": 0,
        "RecipientProperties": {"Flag": 0, "ValueArray": []},
    }  # fmt: skip
    rows = [{"RowId": 0, "RecipientType": 1, "RecipientRow": row}]
    client.call("RopModifyRecipients", message, RecipientColumns=[], RecipientRows=rows)
    client.call("RopSubmitMessage", message, SubmitFlags=0)
    (event,) = poll(client, logon["Handle"])
    assert event["NotificationFlags"] == NEW_MAIL | MESSAGE
    assert event["MessageClass"] == "IPM.Note"
    assert event["FolderId"] == logon["FolderIds"]["Inbox"]


def test_notification_wait(server: RunningServer, client: Client, logon: Any) -> None:
    register(client, logon["Handle"])
    answers: list[int] = []

    def wait() -> None:
        with Client(server) as waiting:
            waiting.cookies = dict(client.cookies)
            answers.append(waiting.request("NotificationWait", Flags=0)["EventPending"])

    thread = threading.Thread(target=wait)
    thread.start()
    while not any(one.waiting for one in server.server.contexts.values()):
        time.sleep(0.01)
    with Client(server) as other:
        other.connect()
        other.save(other.create_message(other.logon()["Handle"], logon["FolderIds"]["Inbox"]))
    thread.join(10)
    assert answers == [1]
    assert len(poll(client, logon["Handle"])) == 1


def test_notification_wait_without_events(client: Client, logon: Any) -> None:
    client.server.server.wait = 0.2
    assert client.request("NotificationWait", Flags=0)["EventPending"] == 0


def test_more_than_fits(server: RunningServer, client: Client, logon: Any) -> None:
    register(client, logon["Handle"], CREATED)
    with Client(server) as other:
        other.connect()
        handle = other.logon()["Handle"]
        for _ in range(30):
            other.save(other.create_message(handle, logon["FolderIds"]["Inbox"]))
    request = client.request_bytes("RopGetStoreState", InputHandleIndex=0)
    got: list[int] = []
    for _ in range(30):
        ((data, _),) = client.execute(request, [logon["Handle"]], max_out=1000)
        names = [one["Name"] for one in client.responses(data)]
        got.append(len(client.told()))
        if names == ["RopGetStoreState"]:
            break
        assert names == ["RopGetStoreState", "RopPending"]
    assert sum(got) == 30
    assert len(got) > 2
