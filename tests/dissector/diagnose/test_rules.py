"""Every rule fires on its own bad capture, and none on the healthy ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dissector.diagnose import RULES, Finding, Severity, diagnose
from dissector.diagnose.imports import REFUSALS
from dissector.errors import DissectorError
from dissector.pipeline import dissect
from dissector.verify import Report, verify_exchange
from dissector.views.rows import rows_of
from tests.conftest import ROOT, captures_in
from tests.dissector.diagnose import bad
from tests.dissector.diagnose.edit import Tape

HEALTHY = [*sorted((ROOT / "captures").glob("*.pcap")), *captures_in("gromox", "real")]
NOTES = Severity.NOTE


def found(path: Path) -> list[Finding]:
    with dissect(path) as dissection:
        return list(diagnose(dissection))


@pytest.mark.parametrize("path", HEALTHY, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_is_wrong_with_a_healthy_capture(path: Path) -> None:
    assert [one for one in found(path) if not one.is_note] == []


def test_notes_of_a_healthy_capture() -> None:
    """What is peculiar about upload-session: see the manifest and test_sync."""
    notes = found(ROOT / "captures" / "upload-session.pcap")
    assert [(one.rule, one.sync) for one in notes] == [("upload-state-with-given", 3), ("upload-state-unused", 5)]


def test_every_rule_has_a_bad_capture() -> None:
    assert set(bad.BAD) == set(RULES)


@pytest.mark.parametrize("name", bad.BAD)
def test_a_rule_fires_on_its_bad_capture(name: str, tmp_path: Path) -> None:
    findings = found(bad.write(name, tmp_path))
    own = [one for one in findings if one.rule == name]
    assert own, [one.rule for one in findings]
    assert any(one.severity is RULES[name].severity for one in own) or name == "upload-state-with-given"
    others = {one.rule for one in findings if one.rule != name and not one.is_note}
    assert others <= bad.ALONG.get(name, set())
    for one in own:
        assert one.message
        assert one.advice
        assert one.spec
        assert one.frame > 0


def test_rules_say_what_they_find_and_where_it_is_written() -> None:
    for one in RULES.values():
        assert one.about.endswith(".")
        assert one.spec.startswith(("MS-", "RFC "))
        assert one.advice.endswith(".")


@pytest.mark.parametrize("path", sorted((ROOT / "captures").glob("*.pcap")), ids=lambda path: path.name)
def test_a_tape_is_written_as_it_was_read(path: Path, tmp_path: Path) -> None:
    """The editing tool itself changes nothing that it was not told to."""
    written = Tape(path).write(tmp_path / "again.pcap")
    rows = []
    for one in (path, written):
        with dissect(one) as dissection:
            report = Report()
            rows.append([])
            for exchange in dissection.exchanges():
                verify_exchange(exchange, report)
                rows[-1] += [
                    (row.rop, row.call, row.return_code, row.handles, row.summary) for row in rows_of(exchange)
                ]
            assert (report.different, report.undecoded_bytes) == (0, 0)
    assert rows[0] == rows[1]


def findings_of(make: Callable[[], Tape], folder: Path) -> list[Finding]:
    return found(make().write(folder / "bad.pcap"))


@pytest.mark.parametrize("code", REFUSALS, ids=hex)
def test_every_refusal_is_explained(code: int, tmp_path: Path) -> None:
    findings = [one for one in findings_of(lambda: bad.refused(code), tmp_path) if one.rule == "import-refused"]
    (one,) = findings
    known = REFUSALS[code]
    assert known.meaning in one.message
    assert (one.severity, one.advice) == (known.severity, known.advice)
    assert f"0x{code:08X}" in one.evidence["answer"]


def test_a_conflict_that_was_refused(tmp_path: Path) -> None:
    findings = findings_of(lambda: bad.conflict(0x80040802, 0x40), tmp_path)
    (one,) = [one for one in findings if one.rule == "conflict"]
    assert "as the client asked (FailOnConflict)" in one.evidence["resolved"]
    assert [one.rule for one in findings if not one.is_note] == ["import-refused", "conflict"]


@pytest.mark.parametrize(
    ("xids", "trouble"),
    [
        ([bad.gid(0x6C), bad.gid(0x6C)], "one namespace comes twice"),
        ([bad.Xid(bad.CLIENT, b"\x01\x02\x03\x04"), bad.gid(0x6C)], ""),
        ([bad.gid(0x6C), bad.Xid(bad.CLIENT, b"\x01\x02\x03\x04")], "not in ascending order"),
        ([], "its own change key is not in it"),
    ],
)
def test_change_lists(xids: list[bad.Xid], trouble: str, tmp_path: Path) -> None:
    findings = [one for one in findings_of(lambda: bad.change_list(*xids), tmp_path) if one.rule == "pcl-broken"]
    assert bool(findings) is bool(trouble)
    assert all(trouble in one.message for one in findings)


def test_a_refused_logon_is_told_once_it_is_no_handshake(tmp_path: Path) -> None:
    one_challenge = findings_of(lambda: bad.answered(status="401 Unauthorized"), tmp_path)
    assert [one.rule for one in one_challenge if not one.is_note] == []
    findings = [one for one in findings_of(bad.refused_logons, tmp_path) if not one.is_note]
    assert [one.rule for one in findings] == ["http-status"]
    assert "401" in findings[0].message


def test_a_cookie_that_was_not_sent_back(tmp_path: Path) -> None:
    (one,) = [one for one in findings_of(bad.stale_cookie, tmp_path) if not one.is_note]
    assert one.rule == "response-code"
    assert one.evidence["cookies"].startswith("sequence: ")
    assert (
        "cookies"
        not in next(
            one for one in findings_of(lambda: bad.answered(10), tmp_path) if one.rule == "response-code"
        ).evidence
    )


def test_another_session_may_be_another_client(tmp_path: Path) -> None:
    """The second synchronization comes in a session of its own: what it lacks is less sure to be lost."""
    tape = bad.state_lost()
    opening = [bad.repeated(call) for call in tape.calls[:2]]
    for call in opening + tape.calls[19:]:
        call.connection = 7
        for head in (call.request_head, call.response_head or []):
            head[:] = [line.replace("sid=", "sid=z").replace("sequence=", "sequence=z") for line in head]
    tape.calls[19:19] = opening
    (one,) = [one for one in findings_of(lambda: tape, tmp_path) if one.rule == "state-lost"]
    assert one.severity is Severity.WARNING
    assert "session 1, this is session 2" in one.evidence["sessions"]
    assert one.advice.startswith("Another client of the same user")
    assert one.advice.endswith(RULES["state-lost"].advice)


def test_rules_by_name() -> None:
    with dissect(ROOT / "captures" / "upload-session.pcap") as dissection:
        assert [one.rule for one in diagnose(dissection, ["upload-state-unused"])] == ["upload-state-unused"]
    with dissect(ROOT / "captures" / "notify.pcap") as dissection, pytest.raises(DissectorError, match="no-such-rule"):
        list(diagnose(dissection, ["no-such-rule"]))
