"""A server that does one thing wrong: what a replay says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replay.asking import STUCK
from replay.compare.difference import DIFFERENT
from replay.reports.text import lines
from replay.server.faults import parse
from replay.server.runner import RunningServer
from replay.transport.mapihttp import Limits
from tests.conftest import LONG, ROOT
from tests.replay.sessions import PASSWORD, USER, a_day, recorded, replayed
from tests.replay.test_whole import without_reason

INCREMENTAL = ROOT / "captures" / "contents-incremental.pcap"
UPLOAD = ROOT / "captures" / "upload-session.pcap"


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("day") / "day.pcapng"
    recorded(path, a_day)
    return path


def under(fault: str, path: Path, **options: Any) -> Any:
    with RunningServer(USER, PASSWORD, faults=parse([fault])) as server:
        return replayed(path, server, **options)


@pytest.mark.parametrize(
    ("fault", "path", "why"),
    [
        ("lose-state", "state.MetaTagIdsetGiven", "was seen to have what stands for them, and leaves it out"),
        ("lose-state", "state.MetaTagCnsetSeen", "not in both sets: message 'first'"),
        ("roll-back-state", "state.MetaTagCnsetSeen", "forgotten what the client had seen before"),
        ("drop-change", "change message 'first'", "the live server has it, and did not send it"),
        ("forget-id", "state.MetaTagIdsetGiven", "was seen to have what stands for them, and leaves it out"),
        ("fai-mixup", "state.MetaTagCnsetSeen", "not in both sets: message 'first'"),
        ("lost-readstate", "state.MetaTagCnsetRead", "has none of the changes in it"),
        ("continue-split", "state.MetaTagCnsetRead", "has none of the changes in it"),
        ("stuck-partial", "stream", "could not be read to its end"),
        ("stream-error", "ReturnValue", "unspecified failure"),
        ("refuse-import", "ReturnValue", "a conflict"),
        ("unknown-result-code", "ReturnValue", "a code that no specification names"),
        ("mint-change-key", "change message 'uploaded'.PidTagChangeKey", "a change key of its own in the place of"),
        ("truncate", "", "damaged, or cut short"),
    ],
)
def test_what_a_server_does_wrong_is_seen(day: Path, fault: str, path: str, why: str) -> None:
    report = under(fault, day)
    assert report.failure == ""
    found = [one for outcome in report.outcomes for one in outcome.differences if one.verdict == DIFFERENT]
    assert any(one.path == path and why in one.why for one in found), [(one.path, one.why) for one in found]
    assert without_reason(report) == []


@pytest.mark.parametrize("fault", ["resend", "keep-deleted", "drop-change", "roll-back-state"])
def test_what_an_incremental_synchronization_does_wrong_is_seen(fault: str) -> None:
    """Not before what is seeded is there: the fault begins with the first synchronization of the capture."""
    assert under(f"{fault}@99", INCREMENTAL, seed=True).verdicts[DIFFERENT] == 0
    report = under(f"{fault}@2-", INCREMENTAL, seed=True)
    assert report.failure == ""
    assert report.verdicts[DIFFERENT] > 0
    assert without_reason(report) == []


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("session-loss@20", 8, "X-ResponseCode 10 ContextNotFound: the server does not know the session any more"),
        ("http-error:500@20", 8, "HTTP 500"),
        ("close-midstream@20", 7, "the server closed the connection in mid-answer"),
        ("silence@20", 6, "the server does not answer; nothing came for 3 s"),
        ("backoff:1ms", 8, "the server is still busy after 8 attempts"),
    ],
)
def test_what_ends_a_replay(day: Path, fault: str, code: int, words: str) -> None:
    report = under(fault, day, limits=Limits(silence=3.0 if fault.startswith("silence") else LONG))
    assert words in report.failure
    assert report.exit_code == code
    assert report.steps >= 15


def test_an_answer_that_was_cut_is_called_that() -> None:
    report = under("truncate@20", UPLOAD, seed=True)
    (line,) = [one for one in lines(report) if "captured a response" in one]
    assert "live none: RopBufferSize is " in line
    assert line.endswith("(the live answer is damaged, or cut short)")


@pytest.mark.parametrize(
    ("fault", "seed", "note"),
    [
        ("truncate@6", True, "seed: the live answer cannot be read to its end: RopBufferSize is "),
        ("truncate@60", False, "Execute (frame 244): the live answer cannot be read to its end: RopBufferSize is "),
    ],
    ids=["an answer to the seed", "an answer of RopRelease, which has none"],
)
def test_an_answer_that_was_cut_is_told_where_nothing_is_compared(fault: str, seed: bool, note: str) -> None:
    report = under(fault, UPLOAD, seed=seed)
    told = [one for one in lines(report) if "cannot be read to its end" in one]
    assert [one.startswith(f"note      {note}") for one in told] == [True], told


def test_a_stream_that_is_stuck_is_given_up_when_seeding_too() -> None:
    """The seeder bears as many empty buffers as the engine, and the replay goes on to what it is to show."""
    report = under("stuck-partial", INCREMENTAL, seed=True)
    assert report.failure == ""
    notes = [(one.rop, one.why) for one in report.notes if "the live stream is stuck: 8 buffers" in one.why]
    seeded, *others = notes
    assert seeded == ("seed", f"what was put into folder 0001-00000000000d could not be read back: {STUCK}")
    assert others == [("RopFastTransferSourceGetBuffer", STUCK)] * 2


def test_a_request_that_is_sent_again_is_noted(day: Path) -> None:
    report = under("http-error:503@20", day)
    (note,) = report.as_json()["notes"]
    assert note["frame"]
    assert note["rop"] == "Execute"
    assert note["why"].startswith("the server said HTTP 503 ")
    assert "sent again after 1 s" in note["why"]
    (line,) = [one for one in lines(report) if one.startswith("note")]
    assert f"Execute (frame {note['frame']}): the server said HTTP 503" in line


@pytest.mark.parametrize(
    "fault", ["http-error:503@20", "cookie-change@20", "slow:50ms@20", "backoff:1ms@1", "idset-in-upload-state"]
)
def test_what_a_replay_bears(day: Path, fault: str) -> None:
    report = under(fault, day)
    assert (report.failure, report.verdicts[DIFFERENT]) == ("", 0)
