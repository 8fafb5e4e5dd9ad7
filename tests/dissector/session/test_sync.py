"""Synchronization records of the recorded captures, as the manifest and the expected states describe them."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

import pytest

from dissector.grammar.idset import IDSET_REPLGUID, decode_idset
from dissector.model.icsstate import IcsState
from dissector.model.idset import IdSet
from dissector.pipeline import dissect
from dissector.session.history import History
from dissector.session.sync import Recorder, records
from dissector.session.syncrecord import SyncRecord
from tests.conftest import shared
from tests.dissector.diagnose.recordings import edited, of_message, with_value

GUID = uuid.UUID("00000001-18a5-6f7b-bcdc-ea1ed03c5657")
TAGS = {"40170003": "MetaTagIdsetGiven", "67960102": "MetaTagCnsetSeen", "67da0102": "MetaTagCnsetSeenFAI",
        "67d20102": "MetaTagCnsetRead"}  # fmt: skip


def syncs(name: str) -> list[SyncRecord]:
    with dissect(shared("captures", "gromox", f"{name}.pcap")) as dissection:
        return list(records(dissection.exchanges()))


def expected_state(name: str) -> IcsState:
    """The state that the recording client was given at the end of a stream."""
    path = shared("captures", "gromox", "expected", *f"{name}.state.json".split("/"))
    raw = json.loads(Path(path).read_text())
    return IcsState.of({TAGS[tag]: decode_idset(bytes.fromhex(value), IDSET_REPLGUID) for tag, value in raw.items()})


def ids(*ranges: tuple[int, int]) -> IdSet:
    return IdSet({GUID: ranges})


def names(record: SyncRecord) -> list[tuple[str, str | None]]:
    return [(one.status or one.kind, one.name) for one in record.changes]


def test_hierarchy_from_nothing_and_then_nothing_to_do() -> None:
    first, again = syncs("hierarchy-bootstrap")
    assert (first.direction, first.kind, first.folder_name) == ("download", "hierarchy", "IpmSubtree")
    assert first.bootstrap
    assert first.counts() == {"new": 19}
    assert {"Inbox", "Sent Items", "Junk Email", "Calendar"} <= {one.name for one in first.changes}
    assert first.final == expected_state("hierarchy-bootstrap/hierarchy")
    assert again.initial == first.final
    assert again.final == first.final == expected_state("hierarchy-bootstrap/hierarchy-again")
    assert not again.changes
    assert again.complete


def test_contents_of_52_messages() -> None:
    (record,) = syncs("contents-bootstrap")
    assert record.bootstrap
    assert record.counts() == {"new": 52}
    assert record.announced is not None
    assert record.announced["NormalMessageCount"] == 52
    assert (record.buffers, record.frames, record.complete) == (94, (19, 213), True)
    assert len({buffer.exchange for buffer in record.stream.buffers}) == 11
    assert record.final == record.checkpoint == expected_state("contents-bootstrap/contents")
    big = next(one for one in record.changes if one.name == "Big one: 2 MB attachment")
    assert big.size is not None
    assert big.size > 2_000_000
    assert (big.frame, big.last_frame) == (83, 202)


def test_changes_deletions_and_read_states_since_then() -> None:
    first, second = syncs("contents-incremental")
    before = expected_state("contents-bootstrap/contents")
    assert first.initial == before
    assert first.final == expected_state("contents-incremental/incremental")
    assert sorted(names(first)) == [
        ("changed", "Changed subject 1795434429"), ("changed", "Changed subject 1795434429"),
        ("new", "Created online"), ("new", "IPM.Configuration.Test"),
    ]  # fmt: skip
    assert [one.fai for one in first.changes] == [True, False, False, False]
    assert first.deletions == {"deleted": ids((0x3000C, 0x3000C)), "no longer in scope": ids((0x3000A, 0x3000B))}
    assert (first.read, first.unread) == (ids((0x30000, 0x30000), (0x30002, 0x30004)), ids((0x30001, 0x30001)))
    assert second.initial == second.final == expected_state("contents-incremental/incremental-noop")
    assert second.counts() == {}


def test_an_upload_and_what_comes_of_it() -> None:
    before, upload, move, hierarchy, after = syncs("upload-session")
    assert before.counts() == {"new": 50}
    assert (upload.direction, upload.kind, upload.folder_name) == ("upload", "contents", "Inbox")
    assert names(upload) == [
        ("new", "Uploaded by ICS – ünïcode"), ("new", "view"), ("changed", "Replaced by ICS upload"),
    ]  # fmt: skip
    assert [one.fai for one in upload.changes] == [False, True, False]
    assert [(one.code, one.saved) for one in upload.changes] == [(0, 0)] * 3
    assert upload.deletions == {"soft deleted": ids((0x30006, 0x30007)), "hard deleted": ids((0x30008, 0x30008))}
    assert (upload.read.count, upload.unread.count) == (4, 1)
    assert upload.final == expected_state("upload-session/upload-collector")
    assert not upload.final_given
    assert (move.folder_name, [one.kind for one in move.changes]) == ("DeletedItems", ["move", "move"])
    assert [one.old_key is not None and one.old_key.local_id[-1] for one in move.changes] == [0x09, 0x0D]
    assert move.final_given
    assert [one.name for one in hierarchy.changes] == ["ICS folder 1795434440", "ICS folder 1795434440 renamed", "sub"]
    assert hierarchy.changes[2].parent == hierarchy.changes[0].source_key
    assert after.final == expected_state("upload-session/upload-after")
    assert after.deletions == {
        "deleted": ids((0x30008, 0x30009), (0x3000D, 0x3000D)), "no longer in scope": ids((0x30006, 0x30007)),
    }  # fmt: skip


@pytest.mark.parametrize(("length", "shown"), [(120, "a" * 120), (121, "a" * 119 + "…"), (300, "a" * 119 + "…")])
def test_a_long_subject_is_cut_with_a_mark(length: int, shown: str, tmp_path: Path) -> None:
    tape = edited(of_message(0x3000F, with_value(0x0037001F, "a" * length)))
    with dissect(tape.write(tmp_path / "long.pcap")) as dissection:
        record = next(records(dissection.exchanges()))
    assert ("changed", shown) in names(record)


def test_everything_in_one_request() -> None:
    folders, messages = syncs("onepass")
    assert (folders.kind, folders.counts()) == ("hierarchy", {"new": 20})
    assert folders.exchanges == (3, 3)
    assert (messages.kind, messages.counts()) == ("contents", {"new": 48, "FAI": 2})
    assert messages.buffers == 95


@pytest.mark.parametrize("name", ["copyto", "notify", "tables-lzx"])
def test_captures_without_synchronizations(name: str) -> None:
    assert syncs(name) == []


def test_no_synchronization_in_the_traffic_of_2003() -> None:
    with dissect(shared("captures", "real", "outlook2003-exchange2003.pcap")) as dissection:
        assert list(records(dissection.exchanges())) == []


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_the_same_bootstrap_through_tls() -> None:
    keys = {"tls.keylog_file": str(shared("captures", "encrypted", "contents-bootstrap-tls13.keys"))}
    with dissect(shared("captures", "encrypted", "contents-bootstrap-tls13.pcapng"), options=keys) as dissection:
        (record,) = records(dissection.exchanges())
    (plain,) = syncs("contents-bootstrap")
    assert (record.counts(), record.bytes, record.buffers, record.complete) == ({"new": 52}, 2740034, 94, True)
    assert [(one.id, one.version, one.name) for one in record.changes] == [
        (one.id, one.version, one.name) for one in plain.changes
    ]
    assert record.final == plain.final
    assert record.checkpoint is None, "this recording ends without RopSynchronizationGetTransferState"


def test_ids_are_mapped_by_what_the_capture_shows() -> None:
    recorder = Recorder()
    with dissect(shared("captures", "gromox", "upload-session.pcap")) as dissection:
        for _ in records(dissection.exchanges(), recorder):
            pass
    known = recorder.replicas_of(1, 0).known
    assert known[1].guid == GUID
    assert known[1].how == "RopLongTermIdFromId"
    assert known[5].how == "RopLogon", "this server gives its ids under another REPLID than the logon says"


def test_states_follow_each_other() -> None:
    """Where each uploaded state comes from."""
    for name, wanted in {
        "hierarchy-bootstrap": [("first", None), ("same", 1)],
        "contents-incremental": [("first", None), ("same", 1)],
        "upload-session": [("first", None), ("same", 1), ("first", None), ("first", None), ("same", 1)],
    }.items():
        history = History()
        found = []
        for record in syncs(name):
            origin = history.origin(record)
            history.add(record)
            found.append((origin.kind, origin.number))
            if name == "upload-session" and record.number == 5:
                unused = dict(origin.unused)
                assert unused["MetaTagCnsetRead"] == ids((0x72, 0x73))
        assert found == wanted, name
