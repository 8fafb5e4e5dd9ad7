"""Synchronization uploads: imports as a client with a local replica makes them, and their conflicts."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from dissector.grammar.idset import IDSET_REPLGUID, decode_idset
from dissector.model.ids import LongTermId
from dissector.model.pcl import PredecessorChangeList, Xid
from replay.server import RunningServer
from tests.replay.server import sync
from tests.replay.server.client import Client
from tests.replay.server.rops.folder import (
    DELETED,
    INVALID,
    NO_PARENT,
    NOT_SUPPORTED,
    READ,
    SUBJECT,
    SYNC_CONFLICT,
    SYNC_DELETED,
    SYNC_IGNORE,
    change,
    subjects,
)
from tests.replay.server.sync import ALL, HIERARCHY, UNICODE, collector, download, gid, sized


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
