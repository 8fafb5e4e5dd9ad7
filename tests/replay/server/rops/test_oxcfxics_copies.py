"""Bulk transfer: messages, attachments and folders as streams, and put back from them."""

from __future__ import annotations

from typing import Any

from tests.replay.server import sync
from tests.replay.server.client import Client, Error
from tests.replay.server.rops.folder import FORMAT, NOT_FOUND, NOT_SUPPORTED, SUBJECT, message
from tests.replay.server.sync import download


def source(client: Client, name: str, thing: int, **fields: Any) -> bytes:
    handle = client.call(name, thing, SendOptions=1, **fields)["Handle"]
    return sync.get_all(client, handle)


def put(client: Client, target: int, operation: int, data: bytes, chunk: int = 4000, expect: int = 0) -> None:
    handle = client.call(
        "RopFastTransferDestinationConfigure", target, SourceOperation=operation, CopyFlags=0
    )["Handle"]  # fmt: skip
    for at in range(0, len(data), chunk):
        part = data[at : at + chunk]
        last = at + chunk >= len(data)
        name = "RopFastTransferDestinationPutBuffer" + ("Extended" if at % (2 * chunk) else "")
        answer = client.call(name, handle, TransferData=part, expect=expect if last else 0)
        assert answer["BufferUsedSize"] == (0 if last and expect else len(part))


def full_message(client: Client, place: Any) -> int:
    made = client.create_message(place["Handle"], place["FolderId"])
    client.set(made, (SUBJECT, "Fülle"), (0x66000102, bytes(range(256)) * 20), (0x6601101F, ["a", "ü"]))
    row = {
        "RecipientFlags": 0x21B, "EmailAddress": "a@b.c", "DisplayName": "Ä", "RecipientColumnCount": 0,
        "RecipientProperties": {"Flag": 0, "ValueArray": []},
    }  # fmt: skip
    rows = [{"RowId": 3, "RecipientType": 2, "RecipientRow": row}]
    client.call("RopModifyRecipients", made, RecipientColumns=[], RecipientRows=rows)
    box = client.call("RopCreateAttachment", made)["Handle"]
    client.set(box, (0x3704001F, "box"))
    inner = client.call("RopOpenEmbeddedMessage", box, CodePageId=0x0FFF, OpenModeFlags=2)["Handle"]
    client.set(inner, (SUBJECT, "inner"))
    client.call("RopSaveChangesMessage", inner, SaveFlags=0)
    client.call("RopSaveChangesAttachment", box, SaveFlags=0)
    return made


def test_copy_to_of_a_message(client: Client, place: Any) -> None:
    made = full_message(client, place)
    data = source(client, "RopFastTransferSourceCopyTo", made, Level=0, CopyFlags=0, PropertyTags=[])
    top = sync.read(data, "messageContent").top
    assert (top[0x37], top.of("recipient")[0][0x3001]) == ("Fülle", "Ä")
    flat = source(client, "RopFastTransferSourceCopyTo", made, Level=1, CopyFlags=0, PropertyTags=[0x66000102])
    top = sync.read(flat, "messageContent").top
    assert (top.parts, 0x6600 in top.properties) == ([], False)
    some = source(
        client, "RopFastTransferSourceCopyProperties", made, Level=0, CopyFlags=0, PropertyTags=[SUBJECT, 0x0E13000D]
    )
    top = sync.read(some, "messageContent").top
    assert (list(top.properties), len(top.parts)) == ([0x37], 1)
    target = client.create_message(place["Handle"], place["FolderId"])
    put(client, target, 1, data, chunk=333)
    assert client.get(target, SUBJECT, 0x66000102, 0x6601101F) == ["Fülle", bytes(range(256)) * 20, ["a", "ü"]]
    identifier = client.save(target)
    opened = client.open_message(place["Handle"], place["FolderId"], identifier)
    assert opened["RecipientRows"][0]["RecipientRow"]["DisplayName"] == "Ä"
    assert client.get(opened["Handle"], 0x0E03001F) == ["Ä"]
    box = client.call("RopOpenAttachment", opened["Handle"], OpenAttachmentFlags=0, AttachmentID=0)["Handle"]
    inner = client.call("RopOpenEmbeddedMessage", box, CodePageId=0x0FFF, OpenModeFlags=0)["Handle"]
    assert client.get(inner, SUBJECT) == ["inner"]
    again = source(
        client, "RopFastTransferSourceCopyTo", opened["Handle"], Level=0, CopyFlags=0, PropertyTags=[0x0E070003]
    )
    mine = source(client, "RopFastTransferSourceCopyTo", made, Level=0, CopyFlags=0, PropertyTags=[0x0E070003])
    times = {0x3007, 0x6709, 0x0E02, 0x0E03, 0x0E04}
    kept = [
        {key: value for key, value in sync.read(one, "messageContent").top.properties.items() if key not in times}
        for one in (again, mine)
    ]
    assert kept[0] == kept[1]


def test_attachments_by_stream(client: Client, place: Any) -> None:
    made = full_message(client, place)
    box = client.call("RopOpenAttachment", made, OpenAttachmentFlags=0, AttachmentID=0)["Handle"]
    data = source(client, "RopFastTransferSourceCopyTo", box, Level=0, CopyFlags=0, PropertyTags=[])
    assert sync.read(data, "attachmentContent").top.of("embedded")[0][0x37] == "inner"
    target = client.create_message(place["Handle"], place["FolderId"])
    attachment = client.call("RopCreateAttachment", target)["Handle"]
    put(client, attachment, 1, data)
    client.call("RopSaveChangesAttachment", attachment, SaveFlags=0)
    assert client.get(attachment, 0x3704001F) == ["box"]
    inner = client.call("RopOpenEmbeddedMessage", attachment, CodePageId=0x0FFF, OpenModeFlags=0)["Handle"]
    assert client.get(inner, SUBJECT) == ["inner"]


def test_copy_messages_and_folders(client: Client, logon: Any, place: Any) -> None:
    ids = [message(client, place, f"m{number}", (0x66000102, bytes(3000))) for number in range(3)]
    hidden = message(client, place, "hidden", associated=True)
    below = client.create_folder(place["Handle"], "below")
    message(client, below, "deep")
    data = source(
        client,
        "RopFastTransferSourceCopyMessages",
        place["Handle"],
        MessageIds=[ids[0], (1, 4711), hidden],
        CopyFlags=0,
    )
    top = sync.read(data, "messageList").top
    assert [part[0x37] for part in top.parts] == ["m0", "hidden"]
    assert all(0x674A in part.properties for part in top.parts)
    root = client.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])
    target = client.create_folder(root, "target")
    put(client, target["Handle"], 3, data)
    assert client.get(target["Handle"], 0x36020003, 0x36170003) == [1, 1]
    whole = source(client, "RopFastTransferSourceCopyFolder", place["Handle"], CopyFlags=0x10)
    (folder,) = sync.read(whole, "topFolder").top.of("folder")
    assert folder[0x3001] == "place"
    assert [part[0x3001] for part in folder.of("folder")] == ["below"]
    put(client, target["Handle"], 4, whole, chunk=777)
    table = client.table("RopGetHierarchyTable", target["Handle"], 0x3001001F, 0x36020003, 0x36170003, flags=4)
    assert client.rows(table) == [["place", 3, 1], ["below", 1, 0]]
    flat = source(client, "RopFastTransferSourceCopyFolder", place["Handle"], CopyFlags=0)
    assert sync.read(flat, "topFolder").top.of("folder")[0].of("folder") == []
    everything = source(client, "RopFastTransferSourceCopyTo", place["Handle"], Level=0, CopyFlags=0, PropertyTags=[])
    assert len(sync.read(everything, "folderContent").top.parts) == 5
    other = client.create_folder(root, "other")
    put(client, other["Handle"], 1, everything)
    assert client.get(other["Handle"], 0x3001001F, 0x36020003, 0x36170003, 0x360A000B) == ["other", 3, 1, True]


def test_streams_that_are_no_streams(client: Client, place: Any) -> None:
    made = client.create_message(place["Handle"], place["FolderId"])
    put(client, made, 1, b"\x03\x00\x0a\x40", expect=FORMAT)
    put(client, made, 1, b"\x99\x09\x37\x00" + bytes(20), expect=FORMAT)
    put(client, made, 1, b"\x03\x00\x04\x40", expect=FORMAT)
    client.call("RopFastTransferDestinationConfigure", made, SourceOperation=3, CopyFlags=0, expect=NOT_SUPPORTED)
    client.call("RopFastTransferDestinationConfigure", made, SourceOperation=9, CopyFlags=0, expect=NOT_SUPPORTED)
    handle = client.call("RopFastTransferDestinationConfigure", made, SourceOperation=1, CopyFlags=0)["Handle"]
    client.call("RopFastTransferDestinationPutBuffer", handle, TransferData=b"\x03\x00\x0a\x40", expect=FORMAT)
    client.call("RopFastTransferDestinationPutBuffer", handle, TransferData=b"\x03\x00", expect=FORMAT)
    assert client.get(made, 0x66000003) == [Error(NOT_FOUND)]


def test_times_of_copies_and_of_what_is_inside(client: Client, place: Any) -> None:
    """Only the message that a change is about has its time in the header; copies and embedded ones have their own."""
    made = full_message(client, place)
    copied = sync.read(
        source(client, "RopFastTransferSourceCopyTo", made, Level=0, CopyFlags=0, PropertyTags=[]), "messageContent"
    ).top
    client.save(made)
    (changed,) = download(client, place["Handle"]).changes
    for top in (copied, changed):
        (inner,) = [part for one in top.of("attachment") for part in one.of("embedded")]
        assert isinstance(top[0x3008], int)
        assert isinstance(inner[0x3008], int)
    (modified,) = client.get(made, 0x30080040)
    assert changed[0x3008] == modified
