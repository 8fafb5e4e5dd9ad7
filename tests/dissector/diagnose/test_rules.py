"""Every rule fires on its own bad capture, and none on the healthy ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dissector.diagnose import RULES, Finding, Severity, diagnose
from dissector.diagnose.imports import REFUSALS
from dissector.errors import DissectorError
from dissector.model.ids import ObjectId
from dissector.model.pcl import Xid
from dissector.pipeline import dissect
from dissector.verify import Report, verify_exchange
from dissector.views.rows import rows_of
from tests import diagnosis_page
from tests.conftest import ROOT, captures_in, shared
from tests.dissector.diagnose import bad, bad_calls, bad_syncs, edit, recordings
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
    assert [(one.rule, one.sync) for one in notes] == [
        ("upload-state-with-given", 3), ("upload-state-unused", 5), ("property-refused", None),
    ]  # fmt: skip


def test_what_list_shows_as_failed_is_told() -> None:
    """Exchange 2003: one NspiBind is refused before the next is taken, one message has no PidTagBody to open."""
    notes = found(shared("captures", "real", "outlook2003-exchange2003.pcap"))
    assert [(one.rule, one.frame, one.spec) for one in notes] == [
        ("rop-failed", 582, "MS-OXCDATA 2.4"), ("address-book-refused", 411, "MS-OXNSPI 3.1.4.1.1"),
        ("never-answered", 795, "MS-OXCRPC 3.1.4.2"), ("never-answered", 800, "MS-OXCRPC 3.1.4.2"),
    ]  # fmt: skip
    assert all(one.is_note for one in notes)
    assert notes[0].evidence["the first was about"] == "PropertyTag PidTagBody"


@pytest.mark.parametrize(
    ("rop", "code", "severity"),
    [
        ("RopLogon", 0x80070005, Severity.WARNING), ("RopLogon", 0x478, NOTES),
        ("RopOpenFolder", 0x8004010F, NOTES), ("RopOpenFolder", 0x80004005, Severity.WARNING),
    ],
)  # fmt: skip
def test_a_rop_that_failed(rop: str, code: int, severity: Severity, tmp_path: Path) -> None:
    findings = [one for one in findings_of(lambda: failed(rop, code), tmp_path) if one.rule == "rop-failed"]
    assert [(one.severity, one.message.partition(" ")[0]) for one in findings] == [(severity, rop)]


def failed(rop: str, code: int) -> Tape:
    """A capture that ends with a ROP that failed."""
    elsewhere = {"LogonFlags": 1, "ServerName": b"/o=ExampleOrg/cn=other"} if code == 0x478 else {}
    tape = recordings.failing(recordings.first_only(), rop, code, **elsewhere)
    del tape.calls[tape.place(rop) + 1 :]
    return tape


def test_findings_about_calls_cite_the_protocol_that_carried_them(tmp_path: Path) -> None:
    over_http = next(one for one in findings_of(bad_calls.silent, tmp_path) if one.rule == "never-answered")
    assert over_http.spec == "MS-OXCMAPIHTTP 3.1.7"
    for one in RULES.values():
        if one.rpc_spec:
            assert one.spec.startswith("MS-OXCMAPIHTTP")
            assert one.rpc_spec.startswith(("MS-OXCRPC", "MS-OXNSPI"))


FIN, RST = 0x11, 0x14


@pytest.mark.parametrize(
    ("end", "severity", "words"),
    [
        (None, NOTES, "before the capture ends"),
        ((0, 15.0, FIN), Severity.WARNING, "the client closed the connection after 15.0 s"),
        ((0, 15.0, RST), Severity.WARNING, "the client closed the connection after 15.0 s"),
        ((0, 1.0, FIN), NOTES, "the client closed the connection after 1.0 s"),
        ((1, 1.0, FIN), Severity.WARNING, "the server closed the connection after 1.0 s"),
    ],
)
def test_a_last_request_without_an_answer(
    end: tuple[int, float, int] | None, severity: Severity, words: str, tmp_path: Path
) -> None:
    """Who closes the connection after waiting was not answered; where the capture just ends nobody is blamed."""
    tape = recordings.first_only()
    del tape.calls[6:]
    tape.calls[-1].response_head = None
    (one,) = [one for one in found(tape.write(tmp_path / "last.pcap", end)) if one.rule == "never-answered"]
    assert one.severity is severity
    assert words in one.message


def test_what_was_passed_over_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the allowance only the outline is read: the same findings but for what is wrong within bodies."""
    path = bad.write("sent-again", tmp_path)
    exact = found(path)
    monkeypatch.setattr("dissector.diagnose.EXACT", 0)
    brief = found(path)
    assert [(one.rule, one.frame, one.message) for one in brief] == [
        (one.rule, one.frame, one.message) for one in exact
    ]
    assert all("--thorough" in one.evidence["read"] for one in brief)
    with dissect(path) as dissection:
        assert list(diagnose(dissection, thorough=True)) == exact


def test_holes_in_other_traffic_are_a_note(tmp_path: Path) -> None:
    """Nine holes in connections that are not MAPI."""
    findings = found(shared("captures", "formats", "reassembly.pcap"))
    assert [(one.rule, one.severity) for one in findings] == [
        ("nothing-to-diagnose", Severity.WARNING), ("packets-missing", NOTES),
    ]  # fmt: skip
    assert findings[1].message == "4376 bytes missing in 9 holes of TCP connections"


def test_a_file_that_is_cut_blames_nobody(tmp_path: Path) -> None:
    """The file ends within the transfer; there is no hole in it."""
    whole = shared("captures", "gromox", "contents-bootstrap.pcap").read_bytes()
    path = tmp_path / "cut.pcap"
    path.write_bytes(whole[:200_000])
    findings = found(path)
    assert [(one.rule, one.severity) for one in findings] == [
        ("capture-damaged", Severity.WARNING), ("stream-has-holes", NOTES),
    ]  # fmt: skip
    assert findings[1].message == "stream 1: the capture ends there, within its transfer"
    for one in findings:
        assert "the last record, frame 63, is cut" in one.evidence["the file"]
        assert "The capture file is cut" in one.advice


def test_a_capture_that_was_stopped_within_a_transfer(tmp_path: Path) -> None:
    """Cut between two records, as a capture is that was stopped: nothing in the file tells."""
    whole = shared("captures", "gromox", "contents-bootstrap.pcap").read_bytes()
    path = tmp_path / "stopped.pcap"
    path.write_bytes(whole[:154_056])
    findings = found(path)
    assert [(one.rule, one.severity) for one in findings] == [
        ("capture-damaged", Severity.WARNING), ("stream-has-holes", NOTES),
    ]  # fmt: skip
    assert findings[1].advice.startswith("The capture was stopped here")


def test_a_hole_is_no_end(tmp_path: Path) -> None:
    (hole,) = [one for one in found(bad.write("stream-has-holes", tmp_path)) if one.rule == "stream-has-holes"]
    assert hole.severity is Severity.WARNING
    assert "nearer to the client" in hole.advice


OF_BODIES = {"stream-breaks-grammar"}
"""Rules that look into bodies: they need an allowance, or --thorough."""


@pytest.mark.parametrize("name", [name for name in bad.BAD if name not in OF_BODIES])
def test_rules_fire_on_outlines_too(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where all messages that can be are kept packed (session/packed.py), however few they are."""
    path = bad.write(name, tmp_path)
    exact = [(one.rule, one.frame, one.message) for one in found(path)]
    monkeypatch.setattr("dissector.diagnose.EXACT", 0)
    assert [(one.rule, one.frame, one.message) for one in found(path)] == exact
    monkeypatch.setattr("dissector.grammar.outline.ALIKE", 1)
    assert [(one.rule, one.frame, one.message) for one in found(path)] == exact


def test_every_rule_has_a_bad_capture() -> None:
    assert set(bad.BAD) == set(bad.HOW) == set(RULES)


def test_the_page_about_rules_is_what_the_rules_say() -> None:
    text = (ROOT / "docs" / "diagnosis.md").read_text()
    assert text == diagnosis_page.page(), "`make diagnosis-page` writes it anew"
    named = {name for names in diagnosis_page.COMPLAINTS.values() for name in names.split()}
    named |= set(diagnosis_page.FROM_BUGS.split())
    assert named <= set(RULES)
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) == set(RULES)


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
        assert (one.frame > 0) is (name != "nothing-to-diagnose")


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


def test_new_changes_above_what_the_state_holds_are_a_lost_state(tmp_path: Path) -> None:
    """They have the next numbers of their replica: nothing is wrong with these."""
    kept = recordings.ids((1, 0x6A))
    tape = recordings.final(CnsetSeen=kept, CnsetSeenFAI=kept, IdsetGiven=recordings.ids((0x30000, 0x30033)))
    findings = [one for one in findings_of(lambda: tape, tmp_path) if one.rule != "given-lost-valid-id"]
    told = [(one.rule, one.evidence["id not in MetaTagIdsetGiven"]) for one in findings if "0x3003" in one.message]
    assert told == [("change-outside-state", f"0x{number:X} of {recordings.GUID}") for number in (0x30035, 0x30034)]
    assert "outside-range" not in {one.rule for one in findings}


@pytest.mark.parametrize(
    ("counter", "rule"),
    [(0x6F, "change-outside-state"), (0x6C << 40, "outside-range"), (0, "outside-range")],
    ids=["the next", "in the wrong byte order", "zero"],
)
def test_numbers_that_the_state_lacks(counter: int, rule: str, tmp_path: Path) -> None:
    changed = recordings.with_value(bad_syncs.CN, ObjectId(1, counter))
    tape = recordings.edited(recordings.of_message(0x3000F, changed))
    assert [one.rule for one in findings_of(lambda: tape, tmp_path) if not one.is_note] == [rule]


@pytest.mark.parametrize("code", REFUSALS, ids=hex)
def test_every_refusal_is_explained(code: int, tmp_path: Path) -> None:
    findings = [one for one in findings_of(lambda: bad_syncs.refused(code), tmp_path) if one.rule == "import-refused"]
    (one,) = findings
    known = REFUSALS[code]
    assert known.meaning in one.message
    assert (one.severity, one.advice) == (known.severity, known.advice)
    assert f"0x{code:08X}" in one.evidence["answer"]


def test_a_conflict_that_was_refused(tmp_path: Path) -> None:
    findings = findings_of(lambda: bad_syncs.conflict(0x80040802, 0x40), tmp_path)
    (one,) = [one for one in findings if one.rule == "conflict"]
    assert "as the client asked (FailOnConflict)" in one.evidence["resolved"]
    assert [one.rule for one in findings if not one.is_note] == ["import-refused", "conflict"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bad_syncs.conflict(0x80040802, 0x40), "does not include, and FailOnConflict was set"),
        (lambda: bad_syncs.conflict(0x80040802), "but FailOnConflict was not set: the server is not to answer so"),
        (lambda: bad_syncs.refused(0x80040802), "but only RopSynchronizationImportMessageChange with FailOnConflict"),
    ],
    ids=["asked for", "not asked for", "another ROP"],
)
def test_a_conflict_is_refused_where_the_client_asked_for_it(
    make: Callable[[], Tape], words: str, tmp_path: Path
) -> None:
    (one,) = [one for one in findings_of(make, tmp_path) if one.rule == "import-refused"]
    assert words in one.message


@pytest.mark.parametrize(
    ("xids", "trouble"),
    [
        ([recordings.gid(0x6C), recordings.gid(0x6C)], "one namespace comes twice"),
        ([Xid(bad_syncs.CLIENT, b"\x01\x02\x03\x04"), recordings.gid(0x6C)], ""),
        ([recordings.gid(0x6C), Xid(bad_syncs.CLIENT, b"\x01\x02\x03\x04")], "not in ascending order"),
        ([], "its own change key is not in it"),
    ],
)
def test_change_lists(xids: list[Xid], trouble: str, tmp_path: Path) -> None:
    findings = [one for one in findings_of(lambda: bad_syncs.change_list(*xids), tmp_path) if one.rule == "pcl-broken"]
    assert bool(findings) is bool(trouble)
    assert all(trouble in one.message for one in findings)


def test_a_refused_logon_is_told_once_it_is_no_handshake(tmp_path: Path) -> None:
    one_challenge = findings_of(lambda: bad_calls.answered(status="401 Unauthorized"), tmp_path)
    assert [one.rule for one in one_challenge if not one.is_note] == []
    findings = [one for one in findings_of(bad_calls.refused_logons, tmp_path) if not one.is_note]
    assert [one.rule for one in findings] == ["http-status"]
    assert "401" in findings[0].message


def test_a_cookie_that_was_not_sent_back(tmp_path: Path) -> None:
    (one,) = [one for one in findings_of(bad_calls.stale_cookie, tmp_path) if not one.is_note]
    assert one.rule == "response-code"
    assert one.evidence["cookies"].startswith("sequence: ")
    assert (
        "cookies"
        not in next(
            one for one in findings_of(lambda: bad_calls.answered(10), tmp_path) if one.rule == "response-code"
        ).evidence
    )


def test_another_session_may_be_another_client(tmp_path: Path) -> None:
    """The second synchronization comes in a session of its own: what it lacks is less sure to be lost."""
    tape = bad_syncs.state_lost()
    opening = [edit.repeated(call) for call in tape.calls[:2]]
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
