"""Sending: what goes to oneself arrives, what is sent is filed."""

from __future__ import annotations

from typing import Any

from dissector.model.ids import ObjectId
from tests.replay.server.client import Client

NOT_FOUND, NULL_OBJECT, NO_RECIPIENTS, SUBMITTED, NOT_IN_QUEUE = 0x8004010F, 0x4B9, 0x80040607, 0x80040608, 0x80040601


def draft(client: Client, logon: Any, subject: str, *addresses: str) -> int:
    message = client.create_message(logon["Handle"], logon["FolderIds"]["Outbox"])
    client.set(message, (0x0037001F, subject), (0x1000001F, "body"))
    rows = [
        {"RowId": number, "RecipientType": 1, "RecipientRow": {
            "RecipientFlags": 0x21B, "EmailAddress": address, "DisplayName": address, "RecipientColumnCount": 0,
            "RecipientProperties": {"Flag": 0, "ValueArray": []}}}
        for number, address in enumerate(addresses)
    ]  # fmt: skip
    if rows:
        client.call("RopModifyRecipients", message, RecipientColumns=[], RecipientRows=rows)
    return message


def folder(client: Client, logon: Any, name: str) -> list[list[Any]]:
    opened = client.open_folder(logon["Handle"], logon["FolderIds"][name])
    return client.rows(client.table("RopGetContentsTable", opened, 0x0037001F, 0x0E070003, 0x674A0014))


def test_submit(client: Client, logon: Any) -> None:
    message = draft(client, logon, "to me", "Alice@example.test", "bob@example.test")
    client.call("RopSubmitMessage", message, SubmitFlags=0)
    assert folder(client, logon, "Outbox") == []
    ((subject, flags, identifier),) = folder(client, logon, "Inbox")
    assert subject == "to me"
    assert not flags & 9
    opened = client.open_message(logon["Handle"], logon["FolderIds"]["Inbox"], identifier)
    assert opened["RecipientCount"] == 2
    assert client.get(opened["Handle"], 0x1000001F, 0x0E69000B) == ["body", False]
    assert isinstance(client.get(opened["Handle"], 0x0E060040)[0], int)
    ((subject, flags, _),) = folder(client, logon, "SentItems")
    assert subject == "to me"
    assert not flags & 8
    assert flags & 1


def test_to_somebody_else(client: Client, logon: Any) -> None:
    message = draft(client, logon, "to bob", "bob@example.test")
    client.set(message, (0x0E01000B, True))
    client.call("RopSubmitMessage", message, SubmitFlags=0)
    assert folder(client, logon, "Inbox") == folder(client, logon, "SentItems") == []


def test_without_recipients(client: Client, logon: Any) -> None:
    message = draft(client, logon, "to nobody")
    client.call("RopSubmitMessage", message, SubmitFlags=0, expect=NO_RECIPIENTS)
    client.call("RopTransportSend", message, expect=NO_RECIPIENTS)


def test_the_spooler(client: Client, logon: Any) -> None:
    handle = logon["Handle"]
    client.call("RopSetSpooler", handle)
    message = draft(client, logon, "spooled", "alice@example.test")
    client.call("RopSubmitMessage", message, SubmitFlags=2)
    ((_, flags, identifier),) = folder(client, logon, "Outbox")
    assert flags & 4
    client.call("RopSubmitMessage", message, SubmitFlags=0, expect=SUBMITTED)
    outbox = client.open_folder(handle, logon["FolderIds"]["Outbox"])
    left = client.call(
        "RopDeleteMessages", outbox, WantAsynchronous=False, NotifyNonRead=False, MessageIds=[identifier]
    )
    assert left["PartialCompletion"]
    client.call("RopAbortSubmit", handle, FolderId=logon["FolderIds"]["Outbox"], MessageId=identifier)
    client.call(
        "RopAbortSubmit", handle, FolderId=logon["FolderIds"]["Outbox"], MessageId=identifier, expect=NOT_IN_QUEUE
    )
    assert not folder(client, logon, "Outbox")[0][1] & 4
    opened = client.open_message(handle, logon["FolderIds"]["Outbox"], identifier)["Handle"]
    assert client.call("RopTransportSend", opened)["NoPropertiesReturned"]
    assert [row[0] for row in folder(client, logon, "Inbox")] == ["spooled"]
    assert folder(client, logon, "Outbox") == []


def test_sent_where_the_message_says(client: Client, logon: Any) -> None:
    root = client.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])
    place = client.create_folder(root, "my sent")
    entry = client.get(place["Handle"], 0x0FFF0102)[0]
    message = draft(client, logon, "filed", "bob@x.test")
    client.set(message, (0x0E0A0102, entry))
    client.call("RopSubmitMessage", message, SubmitFlags=0)
    rows = client.rows(client.table("RopGetContentsTable", place["Handle"], 0x0037001F))
    assert rows == [["filed"]]


def test_small_ones(client: Client, logon: Any, inbox: int) -> None:
    handle, ids = logon["Handle"], logon["FolderIds"]
    assert client.call("RopGetAddressTypes", handle)["AddressTypes"] == ["EX", "SMTP"]
    assert client.call("RopGetTransportFolder", handle)["FolderId"] == ids["Outbox"]
    assert client.call("RopOptionsData", handle, AddressType="SMTP", WantWin32=False)["OptionsInfo"] == b""
    client.call("RopSpoolerLockMessage", handle, MessageId=ObjectId(1, 4711), LockState=0, expect=NOT_FOUND)
    client.call("RopGetAddressTypes", inbox, expect=0x80040102)
    client.call(
        "RopTransportNewMail", handle, MessageId=ObjectId(1, 4711), FolderId=ids["Inbox"], MessageClass="IPM.Note",
        MessageFlags=0, expect=NOT_FOUND,
    )  # fmt: skip
