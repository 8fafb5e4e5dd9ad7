"""What stories rest on: replicas, origins of states, lives of handles, captures that begin too late."""

from __future__ import annotations

import struct
import uuid
from pathlib import Path
from typing import Any

import pytest

from dissector.grammar.reading import parse
from dissector.grammar.restrictions import Restriction
from dissector.model.ids import ObjectId
from dissector.model.idset import IdSet
from dissector.model.pcl import Xid
from dissector.pipeline import dissect
from dissector.session.handles import Handles
from dissector.session.history import History
from dissector.session.replicas import Replicas
from dissector.session.sync import Recorder, records
from dissector.session.syncrecord import SyncRecord
from dissector.session.versions import Versions
from tests.conftest import ROOT
from tests.dissector.diagnose import bad, bad_syncs, recordings
from tests.dissector.diagnose.edit import Tape

GUID, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)


def syncs(tape: Tape, folder: Path) -> list[SyncRecord]:
    with dissect(tape.write(folder / "tape.pcap")) as dissection:
        return list(records(dissection.exchanges()))


def test_a_replica_is_learned_once() -> None:
    replicas = Replicas()
    replicas.learn_pair(ObjectId(1, 7), Xid(GUID, bytes(5) + b"\x08"), "other counters", 1)
    assert replicas.resolve(ObjectId(1, 7)) is None
    replicas.learn_pair(ObjectId(1, 7), Xid(GUID, bytes(5) + b"\x07"), "one object", 2)
    replicas.learn(1, OTHER, "RopLongTermIdFromId", 3)
    assert replicas.resolve(ObjectId(1, 9)) == (GUID, 9)
    assert [(one.guid, one.frame) for one in replicas.disagreements] == [(OTHER, 3)]
    assert replicas.renamed(IdSet({1: [(2, 3)], 4: [(5, 5)]})) == IdSet({GUID: [(2, 3)], 4: [(5, 5)]})


@pytest.mark.parametrize(
    ("rule", "kind", "number"),
    [
        ("state-lost", "lost", 1), ("state-rolled-back", "rolled back", 1), ("final-state-not-taken", "not taken", 1),
        ("bootstrap-in-mid-life", "bootstrap", 1),
    ],
)  # fmt: skip
def test_where_a_state_comes_from(rule: str, kind: str, number: int, tmp_path: Path) -> None:
    history = History()
    origin = None
    made = bad.BAD[rule]()
    assert isinstance(made, Tape)
    for record in syncs(made, tmp_path):
        origin = history.origin(record)
        history.add(record)
    assert origin is not None
    assert (origin.kind, origin.number, origin.session) == (kind, number, 1)
    assert origin.lost


def test_a_client_may_add_what_it_uploaded_and_drop_what_it_deleted(tmp_path: Path) -> None:
    """A third download, with the state of the first, less the deletions and plus the imports of the upload."""
    tape = recordings.uploads()
    grown = recordings.ids((0x30000, 0x30005), (0x30009, 0x30009), (0x3000D, 0x30034), (0x1D0000, 0x1D0001))
    tape.upload_state(4, {"MetaTagIdsetGiven": grown})
    history = History()
    kinds = []
    for record in syncs(tape, tmp_path):
        kinds.append(history.origin(record).kind)
        history.add(record)
    assert kinds[-1] == "same"


def test_an_upload_need_not_bring_its_ids(tmp_path: Path) -> None:
    tape = recordings.uploads()
    tape.upload_state(1, {"MetaTagIdsetGiven": b""})
    history = History()
    for record in syncs(tape, tmp_path):
        assert history.origin(record).kind in ("first", "same")
        history.add(record)


def restriction(size: int) -> dict[str, Any]:
    """PidTagMessageSize below a number, as fields of RopSynchronizationConfigure."""
    raw = b"\x04\x00" + struct.pack("<III", 0x0E080003, 0x0E080003, size)
    return {"RestrictionData": parse(Restriction, raw)[0], "RestrictionDataSize": len(raw)}


def test_a_restriction_has_a_state_of_its_own(tmp_path: Path) -> None:
    """Two downloads of one folder: with one restriction the second goes on with the first, with two it does not."""
    for second, kind in ((5000, "same"), (9000, "first")):
        tape = recordings.uploads()
        tape.change("RopSynchronizationConfigure", 0, **restriction(5000))
        tape.change("RopSynchronizationConfigure", 1, **restriction(second))
        grown = recordings.ids((0x30000, 0x30005), (0x30009, 0x30009), (0x3000D, 0x30034), (0x1D0000, 0x1D0001))
        tape.upload_state(4, {"MetaTagIdsetGiven": grown})
        history = History()
        found = syncs(tape, tmp_path)
        origins = []
        for record in found:
            origins.append(history.origin(record).kind)
            history.add(record)
        assert found[0].restriction == "PidTagMessageSize < 5000"
        assert origins[1] == "same", "the upload belongs to the restricted scope, too"
        assert origins[-1] == kind


def test_the_opening_was_not_captured(tmp_path: Path) -> None:
    """The stream tells what it is; what the client had is not known."""
    tape = recordings.first_only()
    tape.calls = tape.calls[16:]
    (record,) = syncs(tape, tmp_path)
    assert (record.direction, record.kind, record.inferred) == ("download", "contents", True)
    assert record.initial is None
    assert "does not show how" in record.initial_why
    assert record.final is not None
    assert len(record.changes) == 4
    assert {one.status for one in record.changes} == {""}
    assert not record.complete


def test_an_upload_whose_opening_was_not_captured(tmp_path: Path) -> None:
    tape = recordings.uploads()
    tape.calls = tape.calls[30:61]
    (record,) = syncs(tape, tmp_path)
    assert (record.direction, record.kind) == ("upload", "contents")
    assert record.counts()["soft deleted"] == 2


def test_a_folder_is_named_by_what_the_capture_shows(tmp_path: Path) -> None:
    tape = recordings.folders()
    tape.change("RopOpenFolder", 1, FolderId=ObjectId(1, 0x0F))
    first, second = syncs(tape, tmp_path)
    assert (first.folder_name, second.folder_name) == ("IpmSubtree", "Calendar")


def test_nothing_is_held_of_contexts_that_are_gone() -> None:
    recorder = Recorder()
    with dissect(ROOT / "captures" / "upload-session.pcap") as dissection:
        for _ in records(dissection.exchanges(), recorder):
            pass
    assert not recorder._by_stream
    assert not recorder._by_handle
    assert not recorder._messages


def test_versions_that_a_server_was_seen_to_have(tmp_path: Path) -> None:
    versions = Versions()
    for record in syncs(bad_syncs.retried(), tmp_path):
        versions.add(record)
        if record.number == 2:
            last = versions.last(recordings.gid(0x30034))
            assert last is not None
            assert (last.how, last.sync) == ("download", 1), "both imports were refused when they were saved"
    last = versions.last(recordings.gid(0x30034))
    assert last is not None
    assert (last.how, last.sync) == ("download", 5)
    assert versions.last(None) is None


def test_the_lives_of_handles() -> None:
    handles = Handles()
    with dissect(ROOT / "captures" / "upload-session.pcap") as dissection:
        for exchange in dissection.exchanges():
            for rop in exchange.rops:
                assert handles.rop(exchange, rop) is None
    assert list(handles.alive()) == []
    assert handles.most[1] == {"logon": 1, "folder": 2, "sync-download": 1, "sync-upload": 1, "message": 1,
                               "attachment": 1, "stream": 1, "state": 1}  # fmt: skip
    assert len(handles.dead[1]) == 19


def test_a_logon_takes_its_objects_with_it(tmp_path: Path) -> None:
    tape = recordings.first_only()
    tape.remove("RopRelease", 1)
    tape.remove("RopRelease", 0)
    handles = Handles()
    with dissect(tape.write(tmp_path / "tape.pcap")) as dissection:
        for exchange in dissection.exchanges():
            for rop in exchange.rops:
                handles.rop(exchange, rop)
    assert list(handles.alive()) == []
    assert {life.kind for life in handles.dead[1].values() if life.with_logon} == {"folder", "sync-download"}
