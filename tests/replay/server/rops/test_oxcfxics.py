"""Synchronization and bulk transfer: streams checked with the dissector's grammar, states with its sets."""

from __future__ import annotations

import os
import uuid
from typing import Any

import pytest

from dissector.grammar.idset import IDSET_REPLGUID, decode_idset
from dissector.model.ids import LongTermId
from dissector.model.idset import IdSet
from dissector.model.pcl import PredecessorChangeList, Xid
from replay.server import RunningServer
from tests.replay.server import sync
from tests.replay.server.client import Client, Error
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
    collector,
    download,
    gid,
    sized,
)  # fmt: skip

NOT_FOUND, INVALID, FORMAT, NOT_SUPPORTED = 0x8004010F, 0x80070057, 0x4ED, 0x80040102
SYNC_DELETED, SYNC_IGNORE, SYNC_CONFLICT, NO_PARENT = 0x80040800, 0x80040801, 0x80040802, 0x80040803
DELETED, OUT_OF_SCOPE, READ, UNREAD = 0x67E5, 0x4021, 0x402D, 0x402E
SUBJECT = 0x0037001F


@pytest.fixture(name="place")
def place_fixture(client: Client, logon: Any) -> Any:
    root = client.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])
    return client.create_folder(root, "place")


def message(client: Client, place: Any, subject: str, *more: tuple[int, Any], associated: bool = False) -> Any:
    made = client.create_message(place["Handle"], place["FolderId"], associated)
    client.set(made, (SUBJECT, subject), *more)
    identifier = client.save(made)
    client.call("RopRelease", made)
    return identifier


def change(client: Client, place: Any, identifier: Any, *more: tuple[int, Any]) -> None:
    opened = client.open_message(place["Handle"], place["FolderId"], identifier)["Handle"]
    client.set(opened, *more)
    client.save(opened)
    client.call("RopRelease", opened)


def delete(client: Client, place: Any, *which: Any, hard: bool = True) -> None:
    name = "RopHardDeleteMessages" if hard else "RopDeleteMessages"
    client.call(name, place["Handle"], WantAsynchronous=False, NotifyNonRead=False, MessageIds=which)


def subjects(stream: sync.Stream) -> list[str]:
    return [one[0x37] for one in stream.changes]


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


# Uploads.


class Uploader:
    """Imports as a client with a local replica makes them."""

    def __init__(self, client: Client, logon: Any, folder: int, contents: bool = True) -> None:
        self.client, self.replica = client, logon["ReplGuid"]
        self.namespace = uuid.uuid4()
        got = client.call("RopGetLocalReplicaIds", logon["Handle"], IdCount=1000)
        self.counter, self.version = got["GlobalCount"], 0
        self.collector = collector(client, folder, contents)

    def new_key(self) -> bytes:
        self.counter += 1
        return gid(self.replica, self.counter)

    def xid(self) -> bytes:
        self.version += 1
        return self.namespace.bytes_le + self.version.to_bytes(4, "big")

    def message(
        self, key: bytes, *more: tuple[int, Any], pcl: bytes | None = None, xid: bytes | None = None, flags: int = 0,
        expect: int = 0, time: int = 132000000000000000, save: int = 0,
    ) -> int | None:  # fmt: skip
        xid = xid or self.xid()
        values = [(0x65E00102, key), (0x30080040, time), (0x65E20102, xid), (0x65E30102, pcl or sized(xid))]
        opened = self.client.call(
            "RopSynchronizationImportMessageChange", self.collector, ImportFlag=flags,
            PropertyValues=[{"PropertyTag": tag, "PropertyValue": wire(tag, value)} for tag, value in values],
            expect=expect,
        )  # fmt: skip
        if expect:
            return None
        assert opened["MessageId"] == (0, 0)
        self.client.set(opened["Handle"], *more)
        self.client.save(opened["Handle"], expect=save)
        return int(opened["Handle"])

    def folder(
        self, key: bytes, name: str, parent: bytes = b"", *, pcl: bytes | None = None, xid: bytes | None = None,
        expect: int = 0, time: int = 132000000000000000, more: Any = (),
    ) -> None:  # fmt: skip
        xid = xid or self.xid()
        values = [
            (0x65E10102, parent), (0x65E00102, key), (0x30080040, time), (0x65E20102, xid),
            (0x65E30102, pcl or sized(xid)), (0x3001001F, name),
        ]  # fmt: skip
        self.client.call(
            "RopSynchronizationImportHierarchyChange", self.collector,
            HierarchyValues=[{"PropertyTag": tag, "PropertyValue": wire(tag, value)} for tag, value in values],
            PropertyValues=[{"PropertyTag": tag, "PropertyValue": value} for tag, value in more], expect=expect,
        )  # fmt: skip

    def delete(self, *keys: bytes, flags: int = 2, expect: int = 0) -> None:
        value = {"PropertyTag": 0x00001102, "PropertyValue": [Xid.from_bytes(key) for key in keys]}
        self.client.call(
            "RopSynchronizationImportDeletes", self.collector, ImportDeleteFlags=flags, PropertyValues=[value],
            expect=expect,
        )  # fmt: skip

    def state(self) -> dict[int, Any]:
        found = sync.transfer_state(self.client, self.collector)
        return {prop_id: decode_idset(data, IDSET_REPLGUID) for prop_id, data in found.items()}


def wire(tag: int, value: Any) -> Any:
    """Keys and lists as the grammar wants them."""
    if tag >> 16 in (0x65E0, 0x65E1, 0x65E2):
        return Xid.from_bytes(value) if value else b""
    return PredecessorChangeList.from_bytes(value) if tag >> 16 == 0x65E3 else value


@pytest.fixture(name="up")
def up_fixture(client: Client, logon: Any, place: Any) -> Uploader:
    return Uploader(client, logon, place["Handle"])


def one_change(client: Client, place: Any, key: bytes) -> sync.Part:
    return next(one for one in download(client, place["Handle"]).changes if one[0x65E0] == key)


def test_import_a_new_message(client: Client, logon: Any, place: Any, up: Uploader) -> None:
    key, xid = up.new_key(), up.xid()
    up.message(key, (SUBJECT, "imported"), (0x0E070003, 8), xid=xid)
    found = one_change(client, place, key)
    assert (found[0x37], found[0x3008], found[0x65E2]) == ("imported", 132000000000000000, xid)
    assert found[0x65E3] == sized(xid)
    opened = client.open_message(logon["Handle"], place["FolderId"], (1, up.counter))["Handle"]
    number, flags, read = client.get(opened, 0x67A40014, 0x0E070003, 0x0E69000B)
    assert not read
    assert flags & 8
    state = up.state()
    assert (logon["ReplGuid"], number.counter) in state[0x6796]
    assert 0x4017 not in state
    assert download(client, place["Handle"], sync.transfer_state(client, up.collector)).changes == []


def test_import_an_associated_and_a_foreign_message(client: Client, place: Any, up: Uploader) -> None:
    up.message(up.new_key(), (SUBJECT, "hidden"), flags=0x10)
    foreign = uuid.uuid4().bytes_le + b"\0\0\0\1"
    up.message(foreign, (SUBJECT, "foreign"))
    stream = download(client, place["Handle"])
    assert sorted(subjects(stream)) == ["foreign", "hidden"]
    assert one_change(client, place, foreign)[0x37] == "foreign"
    keys = [one[0x65E0] for one in download(client, place["Handle"], flags=ALL | sync.NO_FOREIGN).changes]
    assert foreign not in keys
    state = up.state()
    assert state[0x67DA].count == state[0x6796].count == 1


def test_import_a_changed_message(client: Client, place: Any, up: Uploader) -> None:
    """What the client does not send any more is gone: the whole message is uploaded."""
    key, first = up.new_key(), up.xid()
    up.message(key, (SUBJECT, "one"), (0x1000001F, "body"), xid=first)
    second = up.xid()
    up.message(key, (SUBJECT, "two"), pcl=sized(second), xid=second)
    found = one_change(client, place, key)
    assert found[0x37] == "two"
    assert 0x1000 not in found.properties
    assert found[0x65E3] == sized(second)
    up.message(key, xid=first, pcl=sized(first), expect=SYNC_IGNORE)
    up.message(key, xid=second, pcl=sized(second), expect=SYNC_IGNORE)


def conflict(client: Client, place: Any, up: Uploader, **options: Any) -> bytes:
    """A message that both sides changed."""
    key, first = up.new_key(), up.xid()
    up.message(key, (SUBJECT, "first"), xid=first, **{name: options[name] for name in options if name == "flags"})
    stream = download(client, place["Handle"])
    identifier = next(one[0x674A] for one in stream.changes if one[0x65E0] == key)
    raw = identifier.to_bytes(8, "little", signed=True)
    change(client, place, (1, int.from_bytes(raw[2:], "big")), (SUBJECT, "here"))
    return key


def test_conflicts(client: Client, place: Any, up: Uploader) -> None:
    key = conflict(client, place, up)
    xid = up.xid()
    up.message(key, flags=0x40, xid=xid, expect=SYNC_CONFLICT)
    seen = up.state()[0x6796]
    up.message(key, (SUBJECT, "there"), xid=xid, time=2**62)
    assert up.state()[0x6796] == seen
    found = one_change(client, place, key)
    assert found[0x37] == "there"
    assert found[0x0E17] & 0x800
    versions = [one.of("embedded")[0][0x37] for one in found.of("attachment")]
    assert versions == ["here", "there"]
    assert all(one[0x666C] for one in found.of("attachment"))
    list_of = PredecessorChangeList.from_bytes(found[0x65E3])
    assert list_of.includes(PredecessorChangeList.from_bytes(sized(xid)))
    assert len(list_of) == 2


def test_a_conflict_that_the_server_wins(client: Client, place: Any, up: Uploader) -> None:
    key = conflict(client, place, up)
    client.set(place["Handle"], (0x3FE70003, 1))
    up.message(key, (SUBJECT, "there"), time=1)
    found = one_change(client, place, key)
    assert found[0x37] == "here"
    assert not found.of("attachment")


def test_a_message_that_was_deleted_stays_deleted(client: Client, place: Any, up: Uploader) -> None:
    key = up.new_key()
    up.message(key, (SUBJECT, "x"))
    up.delete(key, flags=0)
    up.message(key, xid=up.xid(), expect=SYNC_DELETED)
    other = up.new_key()
    up.delete(other)
    up.message(other, expect=SYNC_DELETED)
    low, high = LongTermId(up.replica, up.counter + 1), LongTermId(up.replica, up.counter + 10)
    ranges = [{"MinLongTermId": low, "MaxLongTermId": high}]
    client.call("RopSetLocalReplicaMidsetDeleted", place["Handle"], LongTermIdRanges=ranges)
    up.message(up.new_key(), expect=SYNC_DELETED)
    assert download(client, place["Handle"]).changes == []


def test_imports_that_are_made_wrongly(client: Client, place: Any, up: Uploader) -> None:
    values = [{"PropertyTag": 0x65E00102, "PropertyValue": Xid.from_bytes(up.new_key())}]
    client.call(
        "RopSynchronizationImportMessageChange", up.collector, ImportFlag=0, PropertyValues=values, expect=INVALID
    )
    up.message(up.new_key(), flags=0x01, expect=INVALID)
    up.message(uuid.uuid4().bytes_le + bytes(9), save=INVALID)
    client.call(
        "RopSynchronizationImportHierarchyChange", up.collector, HierarchyValues=values, PropertyValues=values,
        expect=NOT_SUPPORTED,
    )  # fmt: skip
    up.delete(up.new_key(), flags=1, expect=NOT_SUPPORTED)
    up.delete(up.new_key(), flags=8, expect=INVALID)


def test_import_deletes_and_read_states(client: Client, place: Any, up: Uploader) -> None:
    keys = [up.new_key() for _ in range(3)]
    for number, key in enumerate(keys):
        up.message(key, (SUBJECT, f"m{number}"))
    hidden = up.new_key()
    up.message(hidden, (SUBJECT, "hidden"), flags=0x10)
    first = download(client, place["Handle"])
    states = [{"MessageId": Xid.from_bytes(key), "MarkAsRead": True} for key in (keys[0], hidden, up.new_key())]
    client.call("RopSynchronizationImportReadStateChanges", up.collector, MessageReadStates=states)
    assert up.state()[0x67D2].count == 1
    up.delete(keys[1], flags=0)
    up.delete(keys[2], keys[2])
    second = download(client, place["Handle"], first.state)
    assert second.changes == []
    assert second.sets[READ].count == 1
    assert second.sets[DELETED].count == 2
    own = {**first.state, 0x67D2: sync.transfer_state(client, up.collector)[0x67D2]}
    assert READ not in download(client, place["Handle"], own).sets


def test_import_a_move(client: Client, logon: Any, place: Any, up: Uploader) -> None:
    root = client.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])
    other = client.create_folder(root, "other")
    key, first = up.new_key(), up.xid()
    up.message(key, (SUBJECT, "moved"), xid=first)
    target, xid = up.new_key(), up.xid()
    up.collector = collector(client, other["Handle"])

    def move(source: bytes, expect: int = 0) -> None:
        client.call(
            "RopSynchronizationImportMessageMove", up.collector,
            SourceFolderId=Xid.from_bytes(gid(up.replica, place["FolderId"].counter)),
            SourceMessageId=Xid.from_bytes(source), PredecessorChangeList=PredecessorChangeList.from_bytes(sized(xid)),
            DestinationMessageId=Xid.from_bytes(target), ChangeNumber=Xid.from_bytes(xid), expect=expect,
        )  # fmt: skip

    move(key)
    assert download(client, place["Handle"]).changes == []
    (found,) = download(client, other["Handle"]).changes
    assert (found[0x65E0], found[0x37], found[0x65E2]) == (target, "moved", xid)
    assert up.state()[0x6796].count == 1
    move(key, expect=SYNC_DELETED)


def test_import_folders(client: Client, logon: Any, place: Any) -> None:
    root = client.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])
    up = Uploader(client, logon, root, contents=False)
    one, two, first = up.new_key(), up.new_key(), up.xid()
    up.folder(one, "one", xid=first, more=[(0x3004001F, "comment"), (0x3001001F, "not this")])
    up.folder(two, "two", one)
    up.folder(up.new_key(), "lost", up.new_key(), expect=NO_PARENT)
    up.folder(up.new_key(), "ONE", expect=0x80040604)
    stream = download(client, root, kind=HIERARCHY, flags=UNICODE)
    found = {part[0x3001]: part for part in stream.changes}
    assert (found["one"][0x65E0], found["one"][0x65E2], found["one"][0x3004]) == (one, first, "comment")
    assert found["two"][0x65E1] == one
    assert up.state()[0x6796].count == 2
    second = up.xid()
    up.folder(two, "renamed", xid=second)
    stream = download(client, root, stream.state, kind=HIERARCHY, flags=UNICODE)
    assert [(part[0x3001], part[0x65E1]) for part in stream.changes] == [("renamed", b"")]
    up.folder(two, "old", xid=second)
    up.folder(one, "cycle", two)
    up.folder(two, "cycle", one, expect=0x8004060B)
    up.delete(one, up.new_key(), flags=3)
    stream = download(client, root, stream.state, kind=HIERARCHY, flags=UNICODE)
    assert stream.sets[DELETED].count == 1
    assert {part[0x3001] for part in download(client, root, kind=HIERARCHY).changes} & {"one", "renamed"} == {"renamed"}


def test_conflicts_of_folders(client: Client, logon: Any) -> None:
    root = client.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])
    up = Uploader(client, logon, root, contents=False)
    key = up.new_key()
    up.folder(key, "first")
    for time, wanted in ((1, "here"), (2**62, "there")):
        opened = client.open_folder(logon["Handle"], (1, up.counter))
        client.set(opened, (0x3001001F, "here"))
        seen = up.state()[0x6796]
        before = download(client, root, kind=HIERARCHY, flags=UNICODE)
        stranger = uuid.uuid4().bytes_le + b"\0\0\0\1"
        up.folder(key, "there", xid=stranger, pcl=sized(stranger), time=time)
        assert up.state()[0x6796] == seen
        (part,) = download(client, root, before.state, kind=HIERARCHY, flags=UNICODE).changes
        assert part[0x3001] == wanted
        assert PredecessorChangeList.from_bytes(part[0x65E3]).includes(
            PredecessorChangeList.from_bytes(sized(stranger))
        )


def test_what_one_client_uploads_another_gets(server: RunningServer, client: Client, place: Any, up: Uploader) -> None:
    with Client(server) as other:
        other.connect()
        folder = other.open_folder(other.logon()["Handle"], place["FolderId"])
        state = download(other, folder).state
        key = up.new_key()
        made = up.message(key, (SUBJECT, "one"))
        assert made is not None
        client.set(made, (SUBJECT, "one and a half"))
        client.save(made)
        stream = download(other, folder, state)
        assert subjects(stream) == ["one and a half"]
        up.delete(key)
        assert download(other, folder, stream.state).sets[DELETED].count == 1


# Bulk transfer.


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
