"""Sessions as stories: connections, logons, and the lives of handles."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dissector.cli import app
from dissector.diagnose.sessions import SessionStory, session_stories
from dissector.pipeline import dissect
from tests.conftest import ROOT, captures_in, shared
from tests.dissector.diagnose import bad_calls
from tests.dissector.diagnose.edit import Tape

runner = CliRunner()
UPLOAD = ROOT / "captures" / "upload-session.pcap"


def stories(path: Path) -> list[SessionStory]:
    with dissect(path) as dissection:
        return session_stories(dissection.exchanges())


def told(tape: Tape, folder: Path) -> list[SessionStory]:
    return stories(tape.write(folder / "sessions.pcap"))


def test_one_session_from_connect_to_disconnect() -> None:
    (story,) = stories(UPLOAD)
    assert (story.connection_count, story.ended, story.ended_by) == (1, 461, "Disconnect")
    assert len(story.named_by["sid"]) == 1
    ((frame, logon),) = story.logons
    assert (frame, logon.handle, str(logon.mailbox_guid)) == (11, 0, "6fd8ee86-e67c-4e62-a3bd-9bff612d3790")
    assert story.opened == {
        "logon": 1, "folder": 5, "sync-upload": 3, "message": 3, "state": 3, "sync-download": 2, "attachment": 1,
        "stream": 1,
    }  # fmt: skip
    assert story.most["folder"] == 2
    assert (story.left, story.misuses, story.failures, story.follows) == ([], [], [], None)
    attachment = next(life for life in story.lives if life.kind == "attachment")
    assert (attachment.rop, attachment.frame, attachment.released) == ("RopCreateAttachment", 140, 176)
    assert attachment.parent == next(life for life in story.lives if life.kind == "message").handle


def test_sessions_that_were_joined_in_the_middle() -> None:
    found = stories(shared("captures", "real", "outlook2003-exchange2003.pcap"))
    assert [(one.session.began, len(one.lives), one.ended) for one in found] == [
        (False, 71, 0), (False, 0, 0), (False, 2, 0), (True, 0, 0), (True, 0, 0), (False, 7, 0), (True, 2, 0),
    ]  # fmt: skip
    assert found[0].opened == {"message": 42, "folder": 29}
    assert list(found[0].named_by) == ["cxh"]


@pytest.mark.parametrize("path", captures_in("gromox"), ids=lambda path: path.name)
def test_nothing_is_left_open_on_gromox(path: Path) -> None:
    for story in stories(path):
        assert [life.kind for life in story.left if life.kind != "logon"] == []
        assert story.misuse_count == 0


def test_leaks_and_uses_after_release(tmp_path: Path) -> None:
    (story,) = told(bad_calls.leak(), tmp_path)
    assert [life.rop for life in story.left] == [
        "RopLogon", "RopOpenFolder", "RopSynchronizationConfigure",
    ]  # fmt: skip
    assert story.ended
    (story,) = told(bad_calls.after_release(), tmp_path)
    (misuse,) = story.misuses
    assert (misuse.rop, misuse.code) == ("RopFastTransferSourceGetBuffer", 0x4B9)
    assert misuse.life.kind == "sync-download"


def test_a_session_that_follows_another(tmp_path: Path) -> None:
    first, second = told(bad_calls.reopened(), tmp_path)
    assert [why for _, _, why in first.failures] == ["X-ResponseCode 10"]
    assert second.follows == (first.session.number, first.failures[0][0])
    text = runner.invoke(app, ["sessions", str(tmp_path / "sessions.pcap")]).output
    assert f"opened          after session 1 failed in frame {first.failures[0][0]}" in text
    assert "ended           not in this capture" in text


def test_text_and_the_documented_json() -> None:
    text = runner.invoke(app, ["sessions", str(UPLOAD), "--handles"]).output
    assert re.search(r"0x5  message +0x4  RopSynchronizationImportMessageChange +128  184", text)
    assert "ended           by Disconnect in frame 461" in text
    found = json.loads(runner.invoke(app, ["sessions", str(UPLOAD), "--handles", "-T", "json"]).output)
    form = (ROOT / "docs" / "json.md").read_text().split("## Sessions (", 1)[1].split("```")[1]
    documented = set(re.findall(r'"(\w+)"', form)) - {"sessions"}
    (session,) = found["sessions"]
    assert set(session) <= documented
    for name in ("logons", "handles"):
        assert set(session[name][0]) <= documented
    assert len(session["handles"]) == sum(session["opened"].values()) == 19
