"""sync, state, diagnose, explain and diff on the command line: what people read, and the documented JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dissector.cli import app
from dissector.errors import DissectorError
from dissector.views.state import state_lines
from tests.conftest import ROOT
from tests.dissector.diagnose import bad

UPLOAD = str(ROOT / "captures" / "upload-session.pcap")
INCREMENTAL = str(ROOT / "captures" / "contents-incremental.pcap")
DOCUMENTED = (ROOT / "docs" / "json.md").read_text()
runner = CliRunner()


def run(*arguments: str, code: int = 0, text: str | None = None) -> str:
    done = runner.invoke(app, list(arguments), input=text)
    assert done.exit_code == code, done.output
    return done.output


def members(value: object) -> set[str]:
    """Every member name in a JSON value, but the keys of sets and counts."""
    if isinstance(value, list):
        return set().union(*map(members, value))
    if not isinstance(value, dict):
        return set()
    found = set()
    for name, item in value.items():
        found.add(name)
        if name not in ("ranges", "counts", "options", "announced", "evidence", "deletions"):
            found |= members(item)
    return found


def documented(section: str) -> set[str]:
    """The names in the form of a section of docs/json.md."""
    start = DOCUMENTED.index(section)
    form = DOCUMENTED[start:].split("```")[1]
    return set(re.findall(r'"(\w+)"', form))


def test_a_synchronization_reads_as_a_sequence() -> None:
    lines = run("sync", INCREMENTAL).splitlines()
    first = [line.split("  ")[1].strip() for line in lines if re.match(r"  \w", line)][:7]
    assert first == ["client", "asked for", "client state", "server sends", "new state", "client", "asked for"]
    text = "\n".join(lines)
    assert "client state    from before this capture" in text
    assert (
        "2 new, 2 changed, 1 deleted, 2 no longer in scope, 4 read, 1 unread (1 FAI); 15926 bytes in 1 buffer" in text
    )
    assert re.search(r"new +0x30035 +FAI +change 0x6E +657 bytes frame 73 +'IPM.Configuration.Test'", text)
    assert re.search(r"IdsetGiven +52 -> 51 +\+2 \{0x30034-0x30035\}  -3 \{0x3000A-0x3000C\}", text)
    assert "client state    as after #1" in text
    assert "new state       unchanged" in text


def test_one_synchronization_and_all_its_messages() -> None:
    text = run("sync", UPLOAD, "--session", "1")
    assert "... and 30 more (--all)" in text
    assert "#2" not in text
    assert run("sync", UPLOAD, "--session", "1", "--all").count("  new      0x") == 50
    assert run("sync", str(ROOT / "captures" / "notify.pcap")) == "no synchronization in this capture\n"


def test_sync_json_is_as_documented() -> None:
    found = json.loads(run("sync", UPLOAD, "-T", "json"))
    assert [one["id"] for one in found["sessions"]] == [1, 2, 3, 4, 5]
    names = members(found) - {"MetaTagIdsetGiven"}
    assert names <= documented("## Synchronizations"), names - documented("## Synchronizations")
    last = found["sessions"][4]
    assert last["frames"] == [384, 443]
    assert last["final_state"]["MetaTagCnsetSeen"] == {
        "count": 113, "ranges": {"00000001-18a5-6f7b-bcdc-ea1ed03c5657": [[1, 113]]},
    }  # fmt: skip


def test_state_over_time() -> None:
    text = run("state", UPLOAD, "--folder", "inbox")
    assert "DeletedItems" not in text
    assert re.search(r"5- +384 .* uploaded, earlier than 2\+, equal to 2-", text)
    between = run("state", UPLOAD, "--folder", "Inbox", "--between", "1+", "5+")
    assert "5+ is later than 1+: it can have been reached from it" in between
    assert "removed  5 {0x30006-0x30009, 0x3000D}" in between
    assert "cannot have been reached" in run("state", UPLOAD, "--folder", "Inbox", "--between", "5+", "1+")
    names = members(json.loads(run("state", UPLOAD, "-T", "json")))
    names |= members(json.loads(run("state", UPLOAD, "--folder", "Inbox", "--between", "1+", "5+", "-T", "json")))
    start = DOCUMENTED.index("## State over time")
    assert names - documented("## Synchronizations") <= set(re.findall(r'"(\w+)"', DOCUMENTED[start : start + 900]))


def test_state_of_what_is_not_there() -> None:
    assert runner.invoke(app, ["state", UPLOAD, "--folder", "Foo"]).exception is not None
    assert runner.invoke(app, ["state", UPLOAD, "--between", "1+", "77+"]).exception is not None


def test_what_came_down_again(tmp_path: Path) -> None:
    text = run("state", str(bad.write("final-state-not-taken", tmp_path)))
    assert "came down again" in text
    assert "with #1 and #2 (frame 92); a state had it, the client came back with one that does not" in text


def test_findings(tmp_path: Path) -> None:
    path = str(bad.write("sent-again", tmp_path))
    text = run("diagnose", path, code=1)
    assert text.splitlines()[0].startswith("error    message 'Changed subject 1795434429' (0x3000F) was sent though")
    assert "  where     frame 47, exchange 17, synchronization #1" in text
    assert "  rule      sent-again [MS-OXCFXICS 3.2.5.3]" in text
    assert text.splitlines()[-1] == "2 errors"
    found = json.loads(run("diagnose", path, "-T", "json", code=1))
    assert members(found) == documented("## Findings")
    assert json.loads(run("diagnose", path, "-T", "json", "--rule", "slow-call")) == {"findings": [], "passed_over": 0}


def test_what_was_passed_over_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dissector.diagnose.EXACT", 0)
    lines = run("diagnose", UPLOAD).splitlines()
    assert lines[-2:] == [
        "no findings; 3 notes",
        "of the messages, 0.1 MB were passed over: what breaks the grammar inside them was not looked for (--thorough)",
    ]
    passed = json.loads(run("diagnose", UPLOAD, "-T", "json"))["passed_over"]
    assert 50_000 < passed < 100_000
    assert run("diagnose", UPLOAD, "--thorough").splitlines()[-1] == "no findings; 3 notes"


def test_synchronizations_are_chosen(tmp_path: Path) -> None:
    def shown(*arguments: str) -> list[str]:
        return re.findall(r"^#(\d)", run("sync", UPLOAD, *arguments), re.MULTILINE)

    assert shown() == ["1", "2", "3", "4", "5"]
    assert shown("-Y", "direction == upload") == ["2", "3", "4"]
    assert shown("-Y", "folder == Inbox and changed > 0") == ["2", "5"]
    assert shown("-Y", 'subject contains "Replaced"') == ["2", "5"]
    assert shown("-Y", "bootstrap and direction == download") == ["1"]
    assert shown("-Y", "session == 1 and deleted > 3", "--session", "5") == ["5"]
    assert run("sync", UPLOAD, "-Y", "new > 100") == "none of 5 synchronizations matches\n"
    for wrong in (["-Y", "foo == 1"], ["--session", "99"], ["--session", "99", "-T", "json"]):
        assert isinstance(runner.invoke(app, ["sync", UPLOAD, *wrong]).exception, DissectorError)
    assert "no synchronization" in run("sync", str(ROOT / "captures" / "notify.pcap"), "--session", "3")


def test_states_of_different_folders_are_not_compared() -> None:
    for pair, why in {("1+", "3-"): "1+ is of Inbox and 3- is of DeletedItems", ("1+", "9-"): "called '9-'"}.items():
        error = runner.invoke(app, ["state", UPLOAD, "--between", *pair]).exception
        assert isinstance(error, DissectorError)
        assert why in str(error)


def test_nothing_found() -> None:
    assert run("diagnose", INCREMENTAL) == "no findings\n"
    assert run("diagnose", UPLOAD).splitlines()[-1] == "no findings; 3 notes"
    assert run("diagnose", UPLOAD, "--no-notes") == "no findings; 3 notes (notes are not shown)\n"


def test_the_list_of_rules() -> None:
    lines = run("diagnose", "--list").splitlines()
    assert len(lines) == len(bad.BAD)
    assert {line.split()[0] for line in lines} == set(bad.BAD)


def test_a_vector_in_words() -> None:
    text = run("explain", "[80040803-30141506-0-533]")
    assert "result code     80040803  NoParentFolder: " in text
    assert "low-level error 0         0: none" in text
    assert run("explain", "80040803-30141506-0-533") == text
    assert run("explain", "NoParentFolder").startswith("0x80040803\n  result code     80040803  NoParentFolder: ")
    assert run("explain", "-", text="20:15 [80040803-30141506-0-533]\n").startswith("[80040803")
    found = json.loads(run("explain", "[80004005-501-4B9-560]", "-r", UPLOAD, "-T", "json"))
    assert members(found) <= documented("## Explanations")
    assert found["returned"] == []


def test_a_pasted_log_in_a_file_and_the_rops_that_returned_it(tmp_path: Path) -> None:
    log = tmp_path / "issues.txt"
    log.write_text("20:15:33 Synchronizing server changes in folder 'Inbox'\n20:15:34 [8004010F-501-0-560]\n")
    capture = str(bad.write("import-refused", tmp_path))
    text = run("explain", str(log), "-r", capture)
    assert "in the log      20:15:34, Synchronizing server changes in folder 'Inbox'" in text
    assert re.search(r"frame \d+, exchange 54: RopSynchronizationImportReadStateChanges returned ecNotFound", text)


@pytest.mark.parametrize("what", ["no vector here", "[2026-11-23]"])
def test_text_without_a_vector(what: str) -> None:
    assert runner.invoke(app, ["explain", what]).exit_code != 0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig", "utf-8"])
def test_a_log_as_outlook_or_an_editor_saves_it(encoding: str, tmp_path: Path) -> None:
    text = "20:15:33 Synchronizing server changes in folder 'Gel\xf6scht'\r\n20:15:34 0X8004010F\r\n"
    raw = (b"\xfe\xff" if encoding == "utf-16-be" else b"") + text.encode(encoding)
    log = tmp_path / "issues.txt"
    log.write_bytes(raw)
    shown = run("explain", str(log))
    assert "ecNotFound" in shown
    assert "folder 'Gel\xf6scht'" in shown
    done = runner.invoke(app, ["explain", "-"], input=raw)
    assert (done.exit_code, done.output) == (0, shown)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no-such-log.txt", "no-such-log.txt: no such file"),
        ("logs/issues", "logs/issues: no such file"),
        (UPLOAD, "this is a capture: add --message"),
        ("EMPTY", "is empty"),
        ("GZIP", "this is a capture: add --message"),
        ("FOLDER", "directory"),
        ("no vector here " * 100, "there is no error vector"),
        ("It failed.", "there is no error vector"),
    ],
)
def test_what_cannot_be_explained_is_named(what: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "EMPTY").write_bytes(b"")
    (tmp_path / "GZIP").write_bytes(b"\x1f\x8b\x08")
    (tmp_path / "FOLDER").mkdir()
    named = what if not what.isupper() else str(tmp_path / what)
    with pytest.raises(DissectorError, match=re.escape(said)):
        runner.invoke(app, ["explain", named], catch_exceptions=False)


def test_nothing_on_standard_input() -> None:
    with pytest.raises(DissectorError, match="standard input is empty"):
        runner.invoke(app, ["explain", "-"], input=b"", catch_exceptions=False)


def test_why_a_message_came() -> None:
    text = run("explain", UPLOAD, "--message", "0x30034")
    assert "#5 download of Inbox, frame 443: sent as changed" in text
    found = json.loads(run("explain", "-r", UPLOAD, "--message", "0x30034", "-T", "json"))
    assert members(found) <= documented("## Explanations") | set(re.findall(r'"(\w+)"', DOCUMENTED))
    assert run("explain", UPLOAD, "--message", "no such", code=1).startswith("no such message")


def test_two_captures(tmp_path: Path) -> None:
    assert "no difference but of ids, times and the like" in run("diff", UPLOAD, UPLOAD)
    other = str(bad.write("import-refused", tmp_path))
    text = run("diff", UPLOAD, other, code=1)
    assert "answer  RopSynchronizationImportReadStateChanges ReturnValue" in text
    assert "X-ServerApplication: Exchange/15.00.0847.4040" in text
    found = json.loads(run("diff", UPLOAD, other, "-T", "json", code=1))
    assert members(found) == documented("## Differences")


def test_a_capture_without_synchronizations_has_no_states() -> None:
    assert list(state_lines([])) == ["no synchronization in this capture"]
