"""Why a message was sent, skipped, or in conflict."""

from __future__ import annotations

from pathlib import Path

import pytest

from dissector.diagnose.life import Event, Life, lives
from dissector.pipeline import dissect
from dissector.session.sync import records
from tests.conftest import ROOT
from tests.dissector.diagnose import bad_syncs, recordings
from tests.dissector.diagnose.edit import Tape

UPLOAD = ROOT / "captures" / "upload-session.pcap"


def lives_of(path: Path, wanted: str) -> list[Life]:
    with dissect(path) as dissection:
        return lives(list(records(dissection.exchanges())), wanted)


def told(tape: Tape, wanted: str, folder: Path) -> list[Event]:
    (life,) = lives_of(tape.write(folder / "life.pcap"), wanted)
    return life.events


def test_new_then_changed_by_the_client() -> None:
    (life,) = lives_of(UPLOAD, "0x30034")
    assert life.names == ["Created online", "Replaced by ICS upload"]
    assert [(one.sync, one.what) for one in life.events] == [
        (1, "sent as new"), (2, "uploaded, taken"), (5, "sent as changed"),
    ]  # fmt: skip
    assert life.events[1].why == ["against #1: its change list includes the server's: a newer version"]
    assert "0x71 is not in the uploaded MetaTagCnsetSeen" in life.events[2].why[0]
    assert not any(one.bad for one in life.events)


@pytest.mark.parametrize(
    "wanted",
    [
        "0x30006", "0001-000000030006", "Server maint", "00000001-18a5-6f7b-bcdc-ea1ed03c5657-000000030006",
        "01000000a5187b6fbcdcea1ed03c5657000000030006",
    ],
)  # fmt: skip
def test_a_message_by_id_key_or_subject(wanted: str) -> None:
    found = lives_of(UPLOAD, wanted)
    life = next(one for one in found if one.names == ["Server maintenance"])
    assert [one.what for one in life.events] == [
        "sent as new", "deleted by the client, taken", "taken away: no longer in scope",
    ]  # fmt: skip


def test_moved_and_marked() -> None:
    (moved,) = lives_of(UPLOAD, "0x30009")
    assert [one.what for one in moved.events] == ["sent as new", "moved away by the client", "taken away: deleted"]
    (marked,) = lives_of(UPLOAD, "0x30001")
    assert [one.what for one in marked.events] == ["sent as new", "marked read by the client, taken", "marked read"]


def test_resent_by_the_server(tmp_path: Path) -> None:
    (event,) = told(bad_syncs.sent_again(), "0x3000F", tmp_path)
    assert (event.what, event.bad) == ("sent again", True)
    assert event.why == [
        "its change number 0x6C is in the uploaded MetaTagCnsetSeen: the server should not have sent it"
    ]


@pytest.mark.parametrize(
    ("tape", "why"),
    [
        (bad_syncs.not_taken, "the very same version came with #1: the client came back with the state from before #1"),
        (bad_syncs.bootstrap, "the very same version came with #1: the client started over from nothing"),
    ],
)
def test_resent_for_the_client(tape: object, why: str, tmp_path: Path) -> None:
    made: Tape = tape()  # type: ignore[operator]
    wanted = "0x3000F" if tape is bad_syncs.not_taken else "0xF"
    first, second = told(made, wanted, tmp_path)
    assert not first.bad
    assert why in second.why
    assert second.bad


def test_skipped_because_the_client_has_it() -> None:
    (life,) = lives_of(ROOT / "captures" / "contents-incremental.pcap", "0x3000F")
    assert [one.what for one in life.events] == ["sent as changed", "not sent"]
    assert life.events[1].why == [
        "its change number 0x6C is in the uploaded MetaTagCnsetSeen: the client has this version"
    ]


def test_skipped_for_the_flags(tmp_path: Path) -> None:
    """The second synchronization asks for no FAI messages, and the client does not have the latest version."""
    tape = recordings.contents()
    tape.change("RopSynchronizationConfigure", 1, SynchronizationFlags=0x0029)
    tape.upload_state(1, {"MetaTagCnsetSeenFAI": recordings.ids((1, 0x55))})
    events = told(tape, "0x30035", tmp_path)
    assert events[1].what == "not sent"
    assert events[1].why == [
        "it is an FAI message, and the client did not ask for those (no FAI in SynchronizationFlags)"
    ]


def test_skipped_without_a_reason(tmp_path: Path) -> None:
    tape = recordings.contents()
    tape.upload_state(1, {"MetaTagCnsetSeen": recordings.ids((1, 0x6B), (0x6D, 0x6E))})
    events = told(tape, "0x3000F", tmp_path)
    assert (events[1].what, events[1].bad) == ("not sent", True)
    assert "0x6C is not in the uploaded MetaTagCnsetSeen, and nothing filters it" in events[1].why[0]


def test_in_conflict(tmp_path: Path) -> None:
    events = told(bad_syncs.conflict(), "0x30034", tmp_path)
    assert events[1].why == [
        "against #1: neither change list includes the other: a conflict",
        "resolved: taken; the client wrote last and wins",
    ]
    assert events[1].bad


def test_refused_as_a_conflict(tmp_path: Path) -> None:
    events = told(bad_syncs.conflict(0x80040802, 0x40), "0x30034", tmp_path)
    assert events[1].what == "uploaded, refused"
    assert any("FailOnConflict" in one for one in events[1].why)


def test_nothing_of_that_name() -> None:
    assert lives_of(UPLOAD, "no such subject") == []


GUID = "00000001-18a5-6f7b-bcdc-ea1ed03c5657"
NAMED = {
    "resent": (bad_syncs.sent_again, "Changed subject", 0x3000F, "sent again", "the server should not have sent it"),
    "skipped": (recordings.contents, "Changed subject", 0x3000F, "not sent", "the client has this version"),
    "in conflict": (bad_syncs.conflict, "Replaced by ICS", 0x30034, "uploaded, taken", "a conflict"),
}


@pytest.mark.parametrize("kind", ["id", "long id", "source key", "bytes of the source key", "subject"])
@pytest.mark.parametrize("case", NAMED)
def test_the_reason_however_the_message_is_named(case: str, kind: str, tmp_path: Path) -> None:
    make, subject, counter, what, why = NAMED[case]
    wanted = {
        "id": f"0x{counter:X}", "long id": f"0001-{counter:012x}", "source key": f"{GUID}-{counter:012X}",
        "bytes of the source key": recordings.gid(counter).to_bytes().hex(), "subject": subject,
    }[kind]  # fmt: skip
    found = lives_of(make().write(tmp_path / "named.pcap"), wanted)
    (life,) = [one for one in found if any(id_[1] == counter for id_ in one.ids)]
    event = next(one for one in life.events if one.what == what)
    assert any(why in reason for reason in event.why)
