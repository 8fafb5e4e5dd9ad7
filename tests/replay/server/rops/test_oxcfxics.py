"""Synchronization downloads: streams checked with the dissector's grammar, states with its sets."""

from __future__ import annotations

import os
import uuid
from typing import Any

from dissector.model.ids import LongTermId
from dissector.model.idset import IdSet
from dissector.model.pcl import PredecessorChangeList, Xid
from replay.server import RunningServer
from tests.replay.server import sync
from tests.replay.server.client import Client
from tests.replay.server.rops.folder import (
    DELETED,
    FORMAT,
    INVALID,
    NOT_SUPPORTED,
    OUT_OF_SCOPE,
    READ,
    SUBJECT,
    UNREAD,
    change,
    delete,
    message,
    subjects,
)
from tests.replay.server.sync import (
    ALL,
    CN,
    EID,
    FAI,
    HIERARCHY,
    NORMAL,
    ONLY_SPECIFIED,
    PROGRESS,
    SIZE,
    UNICODE,
    download,
    gid,
)

# Contents.


def test_contents_from_nothing_then_nothing_then_changes(client: Client, logon: Any, place: Any) -> None:
    ids = [message(client, place, f"m{number}") for number in range(4)]
    hidden = message(client, place, "hidden", associated=True)
    first = download(client, place["Handle"])
    assert subjects(first) == ["m0", "m1", "m2", "m3", "hidden"]
    assert [one[0x67AA] for one in first.changes] == [False] * 4 + [True]
    guid = logon["ReplGuid"]
    assert first.sets[0x4017] == IdSet.of((guid, one.counter) for one in (*ids, hidden))
    assert download(client, place["Handle"], first.state).changes == []
    change(client, place, ids[0], (0x1000001F, "changed"))
    delete(client, place, ids[1])
    delete(client, place, ids[2], hard=False)
    new = message(client, place, "new")
    client.call("RopSetReadFlags", place["Handle"], WantAsynchronous=False, ReadFlags=4, MessageIds=[ids[3]])
    second = download(client, place["Handle"], first.state)
    assert subjects(second) == ["m0", "new"]
    assert second.changes[0][0x1000] == "changed"
    assert second.sets[DELETED] == IdSet.of([ids[1], ids[2]])
    assert second.sets[UNREAD] == IdSet.of([ids[3]])
    assert READ not in second.sets
    assert OUT_OF_SCOPE not in second.sets
    given = second.sets[0x4017]
    assert given == IdSet.of((guid, one.counter) for one in (ids[0], ids[3], new, hidden))
    third = download(client, place["Handle"], second.state)
    assert third.changes == []
    assert set(third.sets) == set(sync.STATE)
    assert third.sets[0x4017] == given


def test_everything_in_a_message_comes_down(client: Client, place: Any) -> None:
    names = [
        {"Kind": 0, "GUID": uuid.UUID(int=9), "LID": 0x8501},
        {"Kind": 1, "GUID": uuid.UUID(int=9), "Name": "nämed"},
    ]
    ids = client.call("RopGetPropertyIdsFromNames", place["Handle"], Flags=2, PropertyNames=names)["PropertyIds"]
    made = client.create_message(place["Handle"], place["FolderId"])
    body, data = "Grüße " * 9000, os.urandom(100_000)
    client.set(
        made, (SUBJECT, "FW: all"), (ids[0] << 16 | 3, 7), (ids[1] << 16 | 0x101F, ["a", "ß"]), (0x6600000B, True),
        (0x66010048, uuid.UUID(int=3)), (0x66021102, [b"x" * 200, b""]), (0x66031014, [1, -2]), (0x66040005, 0.5),
    )  # fmt: skip
    client.write_stream(made, 0x1000001F, body.encode("utf-16-le"))
    row = {
        "RecipientFlags": 0x21B, "EmailAddress": "a@b.c", "DisplayName": "Ä", "RecipientColumnCount": 1,
        "RecipientProperties": {"Flag": 0, "ValueArray": ["smtp@b.c"]},
    }  # fmt: skip
    rows = [{"RowId": 3, "RecipientType": 2, "RecipientRow": row}]
    client.call("RopModifyRecipients", made, RecipientColumns=[0x39FE001F], RecipientRows=rows)
    file = client.call("RopCreateAttachment", made)["Handle"]
    client.write_stream(file, 0x37010102, data)
    client.call("RopSaveChangesAttachment", file, SaveFlags=0)
    box = client.call("RopCreateAttachment", made)["Handle"]
    inner = client.call("RopOpenEmbeddedMessage", box, CodePageId=0x0FFF, OpenModeFlags=2)["Handle"]
    client.set(inner, (SUBJECT, "inner"))
    client.call("RopSaveChangesMessage", inner, SaveFlags=0)
    client.call("RopSaveChangesAttachment", box, SaveFlags=0)
    identifier = client.save(made)
    for packed, size in ((True, 0x7BC0), (False, 15480), (False, 500)):
        (found,) = download(client, place["Handle"], packed=packed, size=size).changes
        assert found[0x1000] == body
        assert [found[key] for key in (0x37, 0x8501, "nämed", 0x6600, 0x6601, 0x6602, 0x6603, 0x6604)] == [
            "FW: all", 7, ["a", "ß"], True, uuid.UUID(int=3), [b"x" * 200, b""], [1, -2], 0.5,
        ]  # fmt: skip
        (person,) = found.of("recipient")
        assert [person[key] for key in (0x3000, 0x0C15, 0x3001, 0x3003, 0x39FE)] == [3, 2, "Ä", "a@b.c", "smtp@b.c"]
        one, two = found.of("attachment")
        assert (one[0x0E21], one[0x3701]) == (0, data)
        assert two.of("embedded")[0][0x37] == "inner"
        opened = client.open_message(place["Handle"], place["FolderId"], identifier)["Handle"]
        key, predecessors, change_key, time = client.get(opened, 0x65E00102, 0x65E30102, 0x65E20102, 0x30080040)
        assert found[0x65E0] == Xid(*key).to_bytes()
        assert found[0x65E2] == Xid(*change_key).to_bytes()
        assert found[0x65E3] == PredecessorChangeList(predecessors).to_bytes()
        assert found[0x3008] == time


def test_flags_of_contents(client: Client, place: Any) -> None:
    message(client, place, "normal", (0x66000003, 1), (0x1000001F, "body"))
    message(client, place, "hidden", (0x66000003, 2), associated=True)
    assert subjects(download(client, place["Handle"], flags=UNICODE | NORMAL)) == ["normal"]
    only = download(client, place["Handle"], flags=UNICODE | FAI)
    assert subjects(only) == ["hidden"]
    assert not only.sets[0x6796]
    assert only.sets[0x67DA]
    (one,) = download(client, place["Handle"], flags=UNICODE | NORMAL, extra=EID | SIZE | CN).changes
    assert list(one.properties)[:8] == [0x65E0, 0x3008, 0x65E2, 0x65E3, 0x67AA, 0x674A, 0x0E08, 0x67A4]
    (one,) = download(client, place["Handle"], flags=UNICODE | NORMAL, extra=0).changes
    assert 0x674A not in one.properties
    (one,) = download(client, place["Handle"], flags=UNICODE | NORMAL, tags=[0x1000001F]).changes
    assert 0x1000 not in one.properties
    assert 0x6600 in one.properties
    listed = [SUBJECT, 0x66000003]
    found = download(client, place["Handle"], flags=UNICODE | NORMAL | FAI | ONLY_SPECIFIED, tags=listed).changes
    assert [set(one.properties) for one in found] == [
        {0x65E0, 0x3008, 0x65E2, 0x65E3, 0x67AA, 0x674A, 0x37, 0x6600}
    ] * 2
    flags = UNICODE | NORMAL | FAI | ONLY_SPECIFIED | 0x4000
    found = download(client, place["Handle"], flags=flags, tags=listed).changes
    assert [0x300B in one.properties for one in found] == [False, True]
    progress = download(client, place["Handle"], flags=ALL | PROGRESS)
    assert subjects(progress) == ["normal", "hidden"]


def test_text_by_send_options(client: Client, place: Any) -> None:
    message(client, place, "Grüße")
    for options, kind in ((0, 0x1E), (1, 0x1F), (8, 0x1F), (2, 0x84B0), (3, 0x84B0), (9, 0x1F)):
        stream = download(client, place["Handle"], options=options)
        assert subjects(stream) == ["Grüße"]
        assert (0x0037 << 16 | kind).to_bytes(4, "little") in stream.data
    assert sync.configure(client, place["Handle"], options=0x40, expect=INVALID)


def test_order_by_delivery_time(client: Client, place: Any) -> None:
    for number, time in enumerate((5, 9, 7)):
        message(client, place, f"m{number}", (0x0E060040, time))
    assert subjects(download(client, place["Handle"], extra=8)) == ["m1", "m2", "m0"]


def test_a_restriction(client: Client, place: Any) -> None:
    ids = [message(client, place, f"m{number}", (0x66000003, number)) for number in range(4)]
    few = {
        "RestrictType": 4, "RelOp": 0, "PropertyTag": 0x66000003,
        "TaggedValue": {"PropertyTag": 0x66000003, "PropertyValue": 2},
    }  # fmt: skip
    first = download(client, place["Handle"], restriction=few)
    assert subjects(first) == ["m0", "m1"]
    change(client, place, ids[1], (0x66000003, 9))
    change(client, place, ids[3], (0x66000003, 1))
    second = download(client, place["Handle"], first.state, restriction=few)
    assert subjects(second) == ["m3"]
    assert second.sets[OUT_OF_SCOPE] == IdSet.of([ids[1]])
    assert DELETED not in second.sets
    silent = download(client, place["Handle"], first.state, restriction=few, flags=ALL | 4)
    assert OUT_OF_SCOPE not in silent.sets
    assert (first.sets[0x4017].replicas[0], ids[1].counter) in silent.sets[0x4017]


def test_no_deletions(client: Client, place: Any) -> None:
    gone = message(client, place, "gone")
    first = download(client, place["Handle"])
    delete(client, place, gone)
    second = download(client, place["Handle"], first.state, flags=ALL | sync.NO_DELETIONS)
    assert DELETED not in second.sets


def test_a_message_that_goes_while_the_stream_is_read(client: Client, place: Any) -> None:
    ids = [message(client, place, f"m{number}", (0x66000102, bytes(20_000))) for number in range(3)]
    context = sync.configure(client, place["Handle"])
    begun = client.call("RopFastTransferSourceGetBuffer", context, BufferSize=5000)
    delete(client, place, ids[2])
    change(client, place, ids[1], (0x66010003, 5))
    data = bytes(begun["TransferBuffer"]) + sync.get_all(client, context)
    stream = sync.read(data, "contentsSync")
    assert subjects(stream) == ["m0", "m1"]
    assert stream.changes[1][0x6601] == 5
    assert download(client, place["Handle"], stream.state).changes == []


def test_the_state_of_a_download(client: Client, place: Any) -> None:
    """The initial state is handed out until the stream has been read to its end."""
    message(client, place, "m", (0x66000102, bytes(20_000)))
    context = sync.configure(client, place["Handle"])
    assert not any(sync.transfer_state(client, context).values())
    client.call("RopFastTransferSourceGetBuffer", context, BufferSize=5000)
    assert not any(sync.transfer_state(client, context).values())
    client.call(
        "RopSynchronizationUploadStateStreamBegin", context, StateProperty=0x67960102, TransferBufferSize=0,
        expect=NOT_SUPPORTED,
    )  # fmt: skip
    sync.get_all(client, context)
    assert all(value for key, value in sync.transfer_state(client, context).items() if key != 0x67DA)


def test_bad_states(client: Client, place: Any) -> None:
    context = sync.configure(client, place["Handle"])

    def begin(tag: int, size: int = 0, expect: int = 0) -> None:
        client.call(
            "RopSynchronizationUploadStateStreamBegin",
            context,
            StateProperty=tag,
            TransferBufferSize=size,
            expect=expect,
        )

    client.call("RopSynchronizationUploadStateStreamEnd", context, expect=INVALID)
    client.call("RopSynchronizationUploadStateStreamContinue", context, StreamData=b"x", expect=INVALID)
    begin(0x0037001F, expect=INVALID)
    begin(0x67960003, expect=INVALID)
    begin(0x67960102, 2**31, expect=INVALID)
    begin(0x40170102)
    begin(0x67960102, expect=INVALID)
    client.call("RopSynchronizationUploadStateStreamContinue", context, StreamData=b"no idset")
    client.call("RopSynchronizationUploadStateStreamEnd", context, expect=FORMAT)
    begin(0x67960102)
    client.call("RopSynchronizationUploadStateStreamEnd", context)


def test_configure_refuses(client: Client, place: Any) -> None:
    assert sync.configure(client, place["Handle"], kind=4, expect=INVALID)
    assert sync.configure(client, place["Handle"], flags=ALL | 0x1000, expect=INVALID)
    client.call("RopFastTransferSourceGetBuffer", place["Handle"], BufferSize=100, expect=NOT_SUPPORTED)


def test_ids_of_other_replicas(client: Client, place: Any) -> None:
    """Deletions of ids this server never saw come back under replica ids of their own."""
    stranger = uuid.uuid4()
    state = {0x4017: sync.gid(stranger, 0)[:16] + b"\x06" + (5).to_bytes(6, "big") + b"\0"}
    stream = download(client, place["Handle"], state)
    (replica,) = stream.sets[DELETED].replicas
    assert replica not in (0, 1)
    assert client.call("RopLongTermIdFromId", client.logon()["Handle"], ObjectId=(replica, 5))["LongTermId"] == (
        LongTermId(stranger, 5)
    )


# Hierarchy.


def test_hierarchy(client: Client, logon: Any) -> None:
    root = client.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])
    first = download(client, root, kind=HIERARCHY, flags=UNICODE)
    names = [one[0x3001] for one in first.changes]
    assert {"Inbox", "Calendar", "Deleted Items"} <= set(names)
    assert all(one[0x65E1] == b"" for one in first.changes)
    one = client.create_folder(root, "one")
    two = client.create_folder(one["Handle"], "two")
    second = download(client, root, first.state, kind=HIERARCHY, flags=UNICODE)
    assert [found[0x3001] for found in second.changes] == ["one", "two"]
    assert second.changes[1][0x65E1] == second.changes[0][0x65E0] == gid(logon["ReplGuid"], one["FolderId"].counter)
    client.set(two["Handle"], (0x3004001F, "comment"))
    client.call(
        "RopDeleteFolder", root, DeleteFolderFlags=5, FolderId=logon["FolderIds"]["Inbox"], expect=NOT_SUPPORTED
    )
    third = download(client, root, second.state, kind=HIERARCHY, flags=UNICODE)
    assert [(found[0x3001], found[0x3004]) for found in third.changes] == [("two", "comment")]
    client.call("RopDeleteFolder", root, DeleteFolderFlags=5, FolderId=one["FolderId"])
    fourth = download(client, root, third.state, kind=HIERARCHY, flags=UNICODE)
    assert fourth.changes == []
    assert fourth.sets[DELETED] == IdSet.of([one["FolderId"], two["FolderId"]])
    assert download(client, root, fourth.state, kind=HIERARCHY, flags=UNICODE).sets.keys() == {0x4017, 0x6796}
    (found,) = [
        one for one in download(client, root, kind=HIERARCHY, flags=UNICODE, extra=0).changes if one[0x3001] == "Inbox"
    ]
    assert 0x6748 not in found.properties


def test_many_messages(client: Client, place: Any) -> None:
    for number in range(60):
        message(client, place, f"m{number:02}", (0x1000001F, "text " * 400))
    stream = download(client, place["Handle"])
    assert len(stream.changes) == 60
    assert len(stream.data) > 200_000
    for size in (4000, 15480, 0x7000):
        assert (
            sync.read(
                sync.get_all(client, sync.configure(client, place["Handle"]), packed=False, size=size), "contentsSync"
            ).changes
            == stream.changes
        )


def test_the_cost_of_a_download_grows_with_its_changes(server: RunningServer, client: Client, place: Any) -> None:
    """Statements per message that is sent, and none for those that are not."""
    counts = []

    def counted(state: dict[int, bytes] | None = None) -> tuple[int, sync.Stream]:
        counts.clear()
        server.store.connection.set_trace_callback(counts.append)
        try:
            stream = download(client, place["Handle"], state, size=0x7BC0)
        finally:
            server.store.connection.set_trace_callback(None)
        return len(counts), stream

    for number in range(20):
        message(client, place, f"m{number:02}")
    few, stream = counted()
    again, _ = counted(stream.state)
    for number in range(40):
        message(client, place, f"n{number:02}")
    many, stream = counted()
    nothing, _ = counted(stream.state)
    assert many - few <= 40 * 4
    assert nothing < again + 40, "statements for messages that are not sent"
