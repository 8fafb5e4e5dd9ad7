"""The whole way: a capture, the plan, the embedded server on a real socket, the comparison."""

from __future__ import annotations

from pathlib import Path

import pytest

from dissector.pipeline import dissect
from replay.compare.policy import POLICY
from replay.errors import ReplayError
from replay.plan import Planner, Step
from replay.report import Report
from replay.reports.text import lines
from replay.runner import replay
from replay.server.runner import RunningServer
from tests.conftest import ROOT, SHARED

OUTLOOK = SHARED / "captures" / "real" / "outlook2003-exchange2003.pcap"
needs_outlook = pytest.mark.skipif(not OUTLOOK.exists(), reason="../shared/captures/real is not on this machine")
UPLOAD = ROOT / "captures" / "upload-session.pcap"


def replayed(path: Path, **changes: str) -> Report:
    with RunningServer("alice", "secret") as server, dissect(path) as dissection:
        given = {"server": server.base_url, "user": "alice", "password": "secret", "mailbox": "/o=x/cn=alice"}
        return replay(dissection.exchanges(), **{**given, **changes})


def planned(path: Path) -> list[Step]:
    with dissect(path) as dissection:
        return list(Planner().steps(dissection.exchanges()))


@needs_outlook
def test_outlook_2003_writes_its_messages_again() -> None:
    """Every message-writing ROP of the capture is sent and answered as Exchange 2003 answered it."""
    report = replayed(OUTLOOK)
    assert not report.failure
    writing = {
        "RopCreateMessage", "RopSetProperties", "RopCopyTo", "RopSaveChangesMessage", "RopDeleteMessages",
        "RopSetMessageReadFlag",
    }  # fmt: skip
    assert [outcome for outcome in report.outcomes if outcome.rop in writing and outcome.verdict == "different"] == []
    assert report.verdicts["same"] > 150
    assert {outcome.rop for outcome in report.outcomes if outcome.verdict == "different"} <= {
        "RopGetPropertiesSpecific"
    }
    found = {one.path: one.why for outcome in report.outcomes for one in outcome.differences
             if one.verdict == "different"}  # fmt: skip
    assert all(found.values())
    assert "of them are not on the live server" in found["RowData.PidTagContentCount"]
    assert "nothing that was replayed sets it" in " ".join(found.values())


@needs_outlook
def test_what_began_before_the_capture_is_supplied_or_skipped_by_name() -> None:
    steps = planned(OUTLOOK)
    supplied = [rop for step in steps if step.supplied for rop in step.rops]
    assert {rop.name for rop in supplied} >= {"RopLogon", "RopCreateFolder", "RopCreateMessage"}
    assert all(rop.reason for rop in supplied)
    skipped = [rop for step in steps for rop in step.rops if rop.action == "skip"]
    assert skipped
    assert all(rop.reason and rop.name for rop in skipped)


def test_a_capture_from_the_start_needs_nothing_supplied() -> None:
    assert not [step for step in planned(UPLOAD) if step.supplied]


@pytest.mark.parametrize("name", ["notify.pcap", "tables-lzx.pcap", "hierarchy-bootstrap.pcap"])
def test_every_bundled_capture_runs_to_its_end(name: str) -> None:
    report = replayed(ROOT / "captures" / name)
    assert not report.failure
    assert report.steps > 0


def test_a_wrong_password_is_one_clear_line_and_never_shown() -> None:
    report = replayed(UPLOAD, password="guess-me-not")
    assert "refuses user 'alice' or the password (HTTP 401)" in report.failure
    assert "guess-me-not" not in "\n".join(lines(report))
    assert report.exit_code == 4


def test_a_server_that_is_not_there() -> None:
    report = replayed(UPLOAD, server="http://127.0.0.1:9")
    assert "cannot connect" in report.failure
    assert (report.exit_code, report.plain_exit_code) == (3, 2)


def test_a_capture_without_mapi_is_no_success(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pcap"
    empty.write_bytes(UPLOAD.read_bytes()[:24])
    report = replayed(empty)
    assert "nothing was sent" in report.failure
    assert report.plain_exit_code == 2


def test_a_url_that_is_none() -> None:
    with pytest.raises(ReplayError, match="not an http:// or https:// URL"):
        replayed(UPLOAD, server="mail.example.test")


def test_the_json_report_keeps_its_contract() -> None:
    made = replayed(ROOT / "captures" / "tables-lzx.pcap").as_json()
    assert {"steps", "same", "remapped", "expected", "different", "differences"} <= made.keys()
    assert made["steps"] == sum(made[name] for name in ("same", "remapped", "expected", "different"))
    for one in made["differences"]:
        assert {"frame", "rop", "path", "captured", "live", "verdict"} <= one.keys()
        assert one["verdict"] in ("expected", "different")


def test_every_rule_of_the_policy_says_why() -> None:
    assert all(rule.why for rule in POLICY)
