"""Seeds: what a capture shows to have been there, and what becomes of it on a server."""

from __future__ import annotations

import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dissector.diagnose import Severity, diagnose
from dissector.grammar.elements import elements_of
from dissector.model.ids import ObjectId
from dissector.model.pcl import Xid
from dissector.pipeline import dissect
from replay.asking import Asker
from replay.compare.changes import read_story
from replay.compare.difference import DIFFERENT
from replay.learning import Mailbox
from replay.plan import Planner
from replay.recording import Recorder
from replay.seeding import Seeder
from replay.seeds import OWN, SeedFolder, Seeds, collect, content_of, merged
from replay.server.runner import RunningServer
from replay.transport.auth import Credentials, Method
from replay.transport.mapihttp import MapiHttp
from tests.conftest import ROOT
from tests.replay.server import sync
from tests.replay.server.client import Client
from tests.replay.sessions import (
    BODY,
    PASSWORD,
    SUBJECT,
    USER,
    a_day,
    recorded,
    replayed,
    replayed_fresh,
    start,
)

INCREMENTAL = ROOT / "captures" / "contents-incremental.pcap"
UPLOAD = ROOT / "captures" / "upload-session.pcap"
TABLES = ROOT / "captures" / "tables-lzx.pcap"
HIERARCHY = ROOT / "captures" / "hierarchy-bootstrap.pcap"


def seeds_of(path: Path) -> Seeds:
    with dissect(path) as dissection:
        (found,) = collect(Planner().steps(dissection.exchanges())).values()
    return found


def test_what_an_incremental_synchronization_presupposes() -> None:
    seeds = seeds_of(INCREMENTAL)
    assert len(seeds.messages) == 52
    assert {one.rank for one in seeds.messages} == {0}, "nothing but their ids is known of them"
    (later,) = seeds.later.values()
    assert [len(one) for one in (later.changed, later.made, later.soft, later.hard, later.read, later.unread)] == [
        2, 2, 2, 1, 4, 1,
    ]  # fmt: skip
    assert [one.fai for one in later.made] == [True, False]
    assert all(one.content for one in (*later.changed, *later.made))
    (state,) = seeds.states
    assert state[0] == (ObjectId(1, 13), "contents")
    assert {key[1] for key in later.unread} <= {one.key[1] for one in seeds.messages if one.key and one.read}


def test_what_a_capture_makes_itself_is_not_seeded() -> None:
    seeds = seeds_of(UPLOAD)
    assert len(seeds.messages) == 50
    assert not any(one.key and 0x1D0000 <= one.key[1] < 0x1D0100 for one in seeds.messages)
    assert [one.name for one in seeds.folders] == []


def test_rows_and_properties_tell_messages_too() -> None:
    seeds = seeds_of(TABLES)
    assert len(seeds.messages) == 47
    full = [one for one in seeds.messages if len(list(elements_of(one.content))) > 20]
    assert len(full) == 4
    names = {element.name for element in elements_of(full[0].content)}
    assert {"PidTagSubject", "PidTagBody", "PidTagMessageClass"} <= names
    assert not {element.tag >> 16 for element in elements_of(full[0].content)} & OWN
    assert full[0].recipients


def test_folders_come_with_their_parents() -> None:
    seeds = seeds_of(HIERARCHY)
    assert "Contacts" in {one.name for one in seeds.folders}
    inbox = next(one for one in seeds.folders if one.name == "Inbox")
    assert {tag >> 16 for tag, _ in inbox.values} >= {0x36D0, 0x36D1, 0x36D8}


def test_a_recorded_day_needs_no_seeds(tmp_path: Path) -> None:
    path = tmp_path / "day.pcapng"
    recorded(path, a_day)
    seeds = seeds_of(path)
    assert (seeds.messages, seeds.later, seeds.states) == ([], {}, [])


def test_a_second_session_is_seeded_with_what_the_first_left(tmp_path: Path) -> None:
    """Only the second session is captured: what it reads is put on another server first, and reads the same there."""
    path = tmp_path / "second.pcapng"

    def fill(client: Client) -> None:
        _, inbox, inbox_id = start(client)
        for number in range(3):
            message = client.create_message(inbox, inbox_id)
            client.set(message, (SUBJECT, f"m{number}"), (BODY, f"body {number}"), (0x0E070003, number % 2))
            file = client.call("RopCreateAttachment", message)["Handle"]
            client.set(file, (0x3707001F, "x.txt"), (0x37050003, 1), (0x37010102, b"content %d" % number))
            client.call("RopSaveChangesAttachment", file, SaveFlags=2)
            client.save(message)

    def read(client: Client) -> Any:
        _, inbox, _ = start(client)
        sync.download(client, inbox)
        table = client.table("RopGetContentsTable", inbox, 0x674A0014, SUBJECT, 0x0E070003)
        client.rows(table)

    with RunningServer(USER, PASSWORD) as server:
        recorded(tmp_path / "first.pcapng", fill, server)
        recorded(path, read, server)
    bare = replayed_fresh(path)
    assert bare.verdicts[DIFFERENT] > 0
    seeded = replayed_fresh(path, seed=True)
    assert seeded.failure == ""
    assert [one for outcome in seeded.outcomes for one in outcome.differences if one.verdict == DIFFERENT] == []


def test_changes_between_two_synchronizations_are_made_in_time(tmp_path: Path) -> None:
    """The state is from an earlier session; changes, deletions and read states since then are seeded behind it."""
    path = tmp_path / "later.pcapng"
    with RunningServer(USER, PASSWORD) as server, Client(server) as client:
        client.connect()
        _, inbox, inbox_id = start(client)
        ids = []
        for number in range(4):
            message = client.create_message(inbox, inbox_id)
            client.set(message, (SUBJECT, f"m{number}"))
            ids.append(client.save(message))
        state = sync.download(client, inbox).state
        changed = client.open_message(inbox, inbox_id, ids[0])["Handle"]
        client.set(changed, (BODY, "changed"))
        client.save(changed)
        client.call("RopHardDeleteMessages", inbox, WantAsynchronous=False, NotifyNonRead=False, MessageIds=[ids[1]])
        client.call("RopSetReadFlags", inbox, WantAsynchronous=False, ReadFlags=4, MessageIds=[ids[2]])
        new = client.create_message(inbox, inbox_id)
        client.set(new, (SUBJECT, "new"))
        client.save(new)

        def catch_up(other: Client) -> None:
            _, folder, _ = start(other)
            stream = sync.download(other, folder, state)
            assert [one[0x37] for one in stream.changes] == ["m0", "new"]

        recorded(path, catch_up, server)
    report = replayed_fresh(path, seed=True)
    assert report.failure == ""
    assert [one for outcome in report.outcomes for one in outcome.differences if one.verdict == DIFFERENT] == []
    said = " ".join(remark.why for remark in report.supplied)
    assert "4 messages in folder" in said or "3 messages in folder" in said
    assert "1 changed, 1 new, 1 hard deleted, 1 unread" in said


def test_seeding_twice_makes_two_of_each() -> None:
    with RunningServer(USER, PASSWORD) as server:
        assert replayed(UPLOAD, server, seed=True).failure == ""
        report = replayed(UPLOAD, server, seed=True)
        assert report.failure == ""
        with Client(server) as client:
            client.connect()
            _, inbox, _ = start(client)
            stream = sync.download(client, inbox)
    assert sum(one.properties.get(0x37) == "Lunch?" for one in stream.changes) == 2


@pytest.mark.parametrize("path", [INCREMENTAL, TABLES, HIERARCHY], ids=lambda path: path.stem)
def test_seeds_are_told_in_the_report(path: Path) -> None:
    report = replayed_fresh(path, seed=True)
    assert any(remark.rop == "seed" and "before the replay" in remark.why for remark in report.supplied)


@pytest.mark.parametrize("path", [INCREMENTAL, TABLES, HIERARCHY, UPLOAD], ids=lambda path: path.stem)
def test_a_seeded_run_is_diagnosed_as_sound(path: Path, tmp_path: Path) -> None:
    live = tmp_path / "live.pcapng"
    with Recorder(live) as recorder:
        assert replayed_fresh(path, seed=True, recorder=recorder).failure == ""
    with dissect(live) as dissection:
        found = list(diagnose(dissection))
    assert "handle-leak" not in {one.rule for one in found}
    loud = [one for one in found if one.severity is not Severity.NOTE]
    # The seeder synchronizes from the same address, so that its states look like the client's: a known false alarm.
    known = [one for one in loud if one.rule == "bootstrap-in-mid-life" and "sessions" in one.evidence]
    assert len(known) == (path is UPLOAD)
    assert [one for one in loud if one not in known] == []


def test_values_become_elements() -> None:
    pairs = [
        (SUBJECT, "s"),
        (0x0E080003, 5),
        (0x80010003, 1),
        (0x001A001F, "IPM"),
        (0x3FFF000D, object()),
        (0x66000003, None),
    ]
    assert [element.name for element in elements_of(content_of(pairs))] == ["PidTagSubject", "PidTagMessageClass"]
    both = merged(content_of([(SUBJECT, "a"), (BODY, "b")]), content_of([(SUBJECT, "c")]), newer=True)
    assert {element.name: element.value() for element in elements_of(both)} == {"PidTagSubject": "c", "PidTagBody": "b"}
    both = merged(content_of([(SUBJECT, "a")]), content_of([(SUBJECT, "c")]), newer=False)
    assert [element.value() for element in elements_of(both)] == ["a"]


def test_folders_that_a_client_uploaded_keep_its_change_keys() -> None:
    guid, client = uuid.UUID(int=7), Xid(uuid.UUID(int=8), b"\0\0\0\1")
    seeds = Seeds(special=[ObjectId(1, number + 9) for number in range(13)])
    seeds.names.learn(1, guid)
    top = ObjectId(1, 12)
    folders = [("uploaded", (client, client)), ("made online", (Xid(guid, bytes(5) + b"\x63"),))]
    for number, (name, keys) in enumerate(folders):
        made = SeedFolder(name, (guid, 500 + number), None, top, predecessors=keys)
        seeds.folders.append(made)
    mailbox = Mailbox()
    with RunningServer(USER, PASSWORD) as server:
        credentials = Credentials(USER, PASSWORD, method=Method.BASIC)
        seeder = Seeder(seeds, mailbox, Asker("/o=x/cn=alice", lambda _: None, print), -1, print)
        conversation = seeder.start()
        with MapiHttp(server.base_url, credentials) as transport, suppress(StopIteration):
            outgoing = next(conversation)
            while True:
                outgoing = conversation.send(transport.send(outgoing))
        with Client(server) as other:
            other.connect()
            logon = other.logon()
            root = other.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])
            data = sync.get_all(other, sync.configure(other, root, sync.HIERARCHY))
    found = {told.title: told for told in read_story(data, "hierarchySync").changes}
    assert found["uploaded"].get("PidTagChangeKey") == client
    assert found["made online"].get("PidTagChangeKey").namespace == mailbox.identity.replicas[guid]
    for name, key in (("uploaded", 500), ("made online", 501)):
        live = found[name].key
        assert mailbox.identity.try_global((guid, key)) == (live.namespace, int.from_bytes(live.local_id, "big"))
