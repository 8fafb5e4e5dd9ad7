"""What Outlook 2003 was seen to do when its rules file a message: several ROPs a buffer, 8-bit text, code page 0x0FFF.

The order of the ROPs is that of outlook2003-exchange2003.pcap; every one of them succeeds there.
"""

from __future__ import annotations

from typing import Any

from tests.replay.server.client import NONE, Client, Error

PROPERTIES = (0x0FF70003, 0x1000001E, 0x000F0040, 0x3FEC0003, 0x0E02001E, 0x0E03001E, 0x0E04001E, 0x00170003)


class Steps:
    """Buffers of ROPs over one handle table, as Outlook sends them."""

    def __init__(self, client: Client, *handles: int) -> None:
        self.client, self.handles = client, list(handles)

    def send(self, *rops: tuple[str, dict[str, Any]], params: Any = None) -> list[Any]:
        requests = b"".join(self.client.request_bytes(name, **fields) for name, fields in rops)
        ((data, self.handles),) = self.client.execute(requests, self.handles)
        found = self.client.responses(data, **(params or {}))
        assert [one["ReturnValue"] for one in found] == [0] * len(found)
        return found


def deliver(client: Client, handle: int, inbox: Any) -> Any:
    """A message as a gateway brings it: 8-bit text, a sender, one recipient."""
    made = client.create_message(handle, inbox)
    client.set(made, (0x0037001E, "Claim 250 cards FREE!"), (0x1000001E, "Text\r\n" * 50), (0x0C1A001E, "Sender"))
    row = {
        "RecipientFlags": 0x01DB, "EmailAddress": "someone@example.test", "DisplayName": "someone@example.test",
        "RecipientColumnCount": 0, "RecipientProperties": {"Flag": 0, "ValueArray": []},
    }  # fmt: skip
    rows = [{"RowId": 0, "RecipientType": 1, "RecipientRow": row}]
    client.call("RopModifyRecipients", made, RecipientColumns=[], RecipientRows=rows)
    identifier = client.save(made)
    client.call("RopRelease", made)
    return identifier


def test_a_rule_files_a_message(client: Client, logon: Any) -> None:
    handle, inbox, deleted = logon["Handle"], logon["FolderIds"]["Inbox"], logon["FolderIds"]["DeletedItems"]
    identifier = deliver(client, handle, inbox)
    client.call("RopRegisterNotification", handle, NotificationTypes=0x7C, WantWholeStore=True)
    opening = {"CodePageId": 0x0FFF, "OpenModeFlags": 3}
    steps = Steps(client, handle)
    steps.send(("RopGetReceiveFolder", {"InputHandleIndex": 0, "MessageClass": ""}))
    steps.handles += [NONE]
    (opened,) = steps.send((
        "RopOpenMessage",
        {**opening, "InputHandleIndex": 0, "OutputHandleIndex": 1, "FolderId": inbox, "MessageId": identifier},
    ))  # fmt: skip
    assert (opened["NormalizedSubject"]["StringType"], opened["RecipientCount"]) == (3, 1)
    assert opened["RecipientColumns"] == []
    source = steps.handles[1]
    (row,) = client.get(source, *PROPERTIES, unicode=False)[1:2]
    assert row == "Text\r\n" * 50
    steps.handles = [handle, NONE, NONE, source]
    value = {"PropertyTag": 0x10830003, "PropertyValue": 1}
    steps.send(
        ("RopOpenFolder", {"InputHandleIndex": 0, "OutputHandleIndex": 1, "FolderId": deleted, "OpenModeFlags": 0}),
        ("RopCreateMessage", {"InputHandleIndex": 1, "OutputHandleIndex": 2, "CodePageId": 0x0FFF, "FolderId": deleted,
                              "AssociatedFlag": False}),
        ("RopSetProperties", {"InputHandleIndex": 3, "PropertyValues": [value]}),
        ("RopSaveChangesMessage", {"ResponseHandleIndex": 3, "InputHandleIndex": 3, "SaveFlags": 2}),
    )  # fmt: skip
    folder, target = steps.handles[1:3]
    assert [one["NotificationFlags"] for one in client.told()] == [0x8010]
    steps.handles = [source, target]
    steps.send((
        "RopCopyTo",
        {"SourceHandleIndex": 0, "DestHandleIndex": 1, "WantAsynchronous": False, "WantSubObjects": True,
         "CopyFlags": 0, "ExcludedTags": []},
    ))  # fmt: skip
    steps.handles = [target]
    (told,) = steps.send(("RopReloadCachedInformation", {"InputHandleIndex": 0, "Reserved": 0}))
    assert told["NormalizedSubject"] == opened["NormalizedSubject"]
    assert told["RecipientRows"] == opened["RecipientRows"]
    steps.handles = [folder, target]
    (saved,) = steps.send(("RopSaveChangesMessage", {"ResponseHandleIndex": 0, "InputHandleIndex": 1, "SaveFlags": 2}))
    assert [one["NotificationFlags"] for one in client.told()] == [0x8004, 0x3010]
    steps.handles = [folder, target, handle, NONE]
    steps.send(
        ("RopRelease", {"InputHandleIndex": 0}),
        ("RopRelease", {"InputHandleIndex": 1}),
        ("RopOpenMessage", {**opening, "InputHandleIndex": 2, "OutputHandleIndex": 3, "FolderId": inbox,
                            "MessageId": identifier}),
    )  # fmt: skip
    steps.handles = [steps.handles[3]]
    (marked,) = steps.send(
        ("RopSetMessageReadFlag", {"ResponseHandleIndex": 0, "InputHandleIndex": 0, "ReadFlags": 0x40})
    )
    assert not marked["ReadStatusChanged"]
    steps.handles = [handle, NONE]
    deletion = {"WantAsynchronous": True, "NotifyNonRead": True, "MessageIds": [identifier]}
    _, gone = steps.send(
        ("RopOpenFolder", {"InputHandleIndex": 0, "OutputHandleIndex": 1, "FolderId": inbox, "OpenModeFlags": 0}),
        ("RopDeleteMessages", {"InputHandleIndex": 1, **deletion}),
    )
    assert not gone["PartialCompletion"]
    assert [one["NotificationFlags"] for one in client.told()] == [0x8008, 0x3010]
    filed = client.open_message(handle, deleted, saved["MessageId"])["Handle"]
    assert client.get(filed, 0x0037001E, 0x1000001F, 0x0C1A001E, 0x10830003) == [
        "Claim 250 cards FREE!", "Text\r\n" * 50, "Sender", 1,
    ]  # fmt: skip


def test_large_bodies_are_opened_as_streams(client: Client, logon: Any) -> None:
    inbox = logon["FolderIds"]["Inbox"]
    made = client.create_message(logon["Handle"], inbox)
    client.write_stream(made, 0x1000001E, b"x" * 90_000)
    client.save(made)
    assert client.get(made, 0x1000001E, unicode=False) == [Error(0x8007000E)]
    client.call("RopOpenStream", made, PropertyTag=0x10090102, OpenModeFlags=0, expect=0x8004010F)
    assert client.read_stream(made, 0x1000001E) == b"x" * 90_000
