"""The plugin in a pytest of its own: the fixture, *.replay.toml files, failures that can be read."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from replay.cases import Case, CaseError, failures, read_case, run_case
from replay.compare.difference import Difference
from replay.report import Outcome, Report
from replay.server.runner import RunningServer
from tests.conftest import LONG, ROOT

INCREMENTAL = ROOT / "captures" / "contents-incremental.pcap"


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **variables}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "replay.pytest_plugin", "-p", "no:cacheprovider", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=LONG, env=environment,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(INCREMENTAL, tmp_path / "incremental.pcap")
    return tmp_path


def case(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.replay.toml").write_text(text)


def test_files_are_tests(folder: Path) -> None:
    case(folder, "good", 'capture = "incremental.pcap"\nseed = true\n[expect]\nskipped = 0\nsame = 30\n')
    case(folder, "bad", 'capture = "incremental.pcap"\n')
    case(folder, "known", 'capture = "incremental.pcap"\n[expect]\nknown = [{rop = "RopFast*"}]\nexit_code = 11\n')
    case(folder, "odd", 'capture = "incremental.pcap"\ncolour = "red"\n')
    case(folder, "gone", 'capture = "none.pcap"\n')
    case(folder, "elsewhere", 'capture = "x"\nserver = "http://127.0.0.1:9"\npassword_env = "NO_SUCH_VARIABLE"\n')
    done = run(folder, "-v", "-rs")
    assert "3 failed, 2 passed, 1 skipped" in done.stdout
    assert "none.pcap: cannot be read: No such file or directory" in done.stdout
    assert "bad.replay.toml: incremental.pcap replayed to embedded" in done.stdout
    assert "2 ROPs are different, 0 may be" in done.stdout
    assert "different frame 71 RopFastTransferSourceGetBuffer" in done.stdout
    assert "colour is not known; there are capture, server" in done.stdout
    assert "NO_SUCH_VARIABLE is not set" in done.stdout
    assert "Traceback" not in done.stdout
    assert done.returncode == 1


def test_the_fixture_replays(folder: Path) -> None:
    (folder / "test_it.py").write_text(
        "import pytest\n"
        "def test_seeded(replay):\n"
        "    report = replay('incremental.pcap', seed=True)\n"
        "    assert report.verdicts['different'] == 0\n"
        "    assert report.steps == 36\n"
        "def test_a_part(replay):\n"
        "    report = replay('incremental.pcap', select={'where': 'rop == RopLogon'})\n"
        "    assert report.steps == 1 + 1\n"
        "def test_wrong(replay):\n"
        "    with pytest.raises(Exception, match='colour is not known'):\n"
        "        replay('incremental.pcap', colour='red')\n"
    )
    done = run(folder)
    assert "3 passed" in done.stdout, done.stdout


def test_a_failure_shows_what_the_replay_found(folder: Path) -> None:
    (folder / "test_it.py").write_text(
        "def test_expected(replay):\n"
        "    replay('incremental.pcap', expect={'same': 40})\n"
        "def test_by_hand(replay):\n"
        "    assert not replay('incremental.pcap').verdicts['different']\n"
        "def test_fine(replay):\n"
        "    replay('incremental.pcap', seed=True, expect={'different': 0})\n"
    )
    done = run(folder, "-rN")  # without the summary: where CI is set it repeats the messages in full
    assert "2 failed, 1 passed" in done.stdout
    assert "incremental.pcap: incremental.pcap replayed to embedded" in done.stdout
    assert "33 ROPs are the same, at least 40 were to be" in done.stdout
    assert "replay of incremental.pcap" in done.stdout
    assert done.stdout.count("different frame 71 RopFastTransferSourceGetBuffer change message 'Created online'") == 2


def test_another_machine_is_written_to_where_the_case_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.cases.is_loopback", lambda host: False)
    shutil.copy(ROOT / "captures" / "upload-session.pcap", folder / "upload.pcap")
    with RunningServer("alice", "hush") as server:
        content = {"capture": "upload.pcap", "server": server.base_url, "user": "alice", "password": "hush"}
        reading = run_case(Case.of(content, folder))
        assert {one.why for one in reading.skipped if one.rop == "RopSynchronizationImportMessageChange"} == {
            "it writes, and the server is not this machine: --write sends it"
        }
        with pytest.raises(CaseError, match="needs write = true"):
            run_case(Case.of({**content, "seed": True}, folder))
        writing = run_case(Case.of({**content, "write": True}, folder))
        assert len(writing.skipped) < len(reading.skipped)


def test_the_examples_of_the_documentation_pass(folder: Path) -> None:
    shutil.copy(ROOT / "captures" / "upload-session.pcap", folder / "upload.pcap")
    text = (ROOT / "docs" / "replay.md").read_text("utf-8")
    (toml,) = re.findall(r"```toml\n(# upload\.replay\.toml.*?)```", text, re.DOTALL)
    (python,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    case(folder, "upload", toml)
    (folder / "test_upload.py").write_text(python)
    done = run(folder, "-v")
    assert "2 passed" in done.stdout, done.stdout


def test_a_case_against_a_server_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunningServer("alice", "hush") as server:
        content: dict[str, Any] = {"capture": "incremental.pcap", "server": server.base_url, "user": "alice",
                                   "password_env": "HUSH", "seed": True}  # fmt: skip
        made = Case.of(content, folder)
        assert "HUSH is not set" in made.missing()
        monkeypatch.setenv("HUSH", "hush")
        assert made.missing() == ""
        assert failures(made, run_case(made)) == []
        monkeypatch.setenv("HUSH", "wrong")
        (found,) = failures(made, run_case(made))
        assert "refuses user 'alice'" in found
        expected = Case.of({**content, "expect": {"failure": "refuses user", "exit_code": 4}}, folder)
        assert failures(expected, run_case(expected)) == []


def test_rules_of_a_case_come_before_the_others(folder: Path) -> None:
    rule = {"rop": "RopFastTransferSourceGetBuffer", "path": "*", "why": "this server is known for that"}
    made = Case.of({"capture": "incremental.pcap", "policy": [rule]}, folder)
    report = run_case(made)
    assert failures(made, report) == []
    assert "this server is known for that" in {one.why for outcome in report.outcomes for one in outcome.differences}


def report_of(**numbers: int) -> Report:
    report = Report()
    for verdict, count in numbers.items():
        for _ in range(count):
            differences = [] if verdict == "same" else [Difference("a", 1, 2, verdict)]
            report.add(Outcome(1, "RopX", differences))
    return report


@pytest.mark.parametrize(
    ("expect", "found"),
    [
        ({}, ["2 ROPs are different, 0 may be"]),
        ({"different": 2}, []),
        ({"different": 1}, ["2 ROPs are different, 1 may be"]),
        ({"known": [{"rop": "RopX", "path": "?"}]}, []),
        ({"known": [{"path": "b"}]}, ["2 ROPs are different, 0 may be"]),
        ({"different": 2, "same": 4}, ["3 ROPs are the same, at least 4 were to be"]),
        ({"different": 2, "exit_code": 0}, ["the exit code is 1, not 0"]),
        ({"different": 2, "failure": "gone"}, ["the replay was to end with 'gone', and did not"]),
    ],
)
def test_expectations(expect: dict[str, Any], found: list[str]) -> None:
    made = Case.of({"capture": "x", "expect": expect}, Path())
    assert failures(made, report_of(same=3, different=2)) == found


def test_one_is_no_plural() -> None:
    made = Case.of({"capture": "x", "expect": {"same": 2}}, Path())
    assert failures(made, report_of(same=1, different=1)) == [
        "1 ROP is different, 0 may be", "1 ROP is the same, at least 2 were to be",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "capture is missing"),
        ("capture = 1", "capture is to be text"),
        ("capture = 'x'\nexpect = 1", "expect is to be a table"),
        ("capture = 'x'\n[expect]\ndifferent = true", "expect.different is to be a number"),
        ("capture = 'x'\n[expect]\nknown = [1]", "list of tables"),
        ("capture = 'x'\n[select]\nframes = 'x'", "--frames 'x'"),
        ("capture = 'x'\npolicy = [{path = 'x'}]", "a policy rule needs a path and a why"),
        ("capture = [", "c.replay.toml"),
    ],
)
def test_cases_that_cannot_be_understood(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "c.replay.toml"
    path.write_text(text)
    with pytest.raises(CaseError, match=words):
        read_case(path)
