"""The command line: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dissector.pipeline import dissect
from replay.cli import may_write_to
from replay.errors import ReplayError
from replay.server.runner import RunningServer
from tests.conftest import LONG, ROOT
from tests.replay.server.client import Client
from tests.replay.stub.test_stub import Face

UPLOAD = ROOT / "captures" / "upload-session.pcap"
INCREMENTAL = ROOT / "captures" / "contents-incremental.pcap"
TABLES = ROOT / "captures" / "tables-lzx.pcap"


def replay(*arguments: object, password: str | None = "secret", **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"}
    environment.pop("REPLAY_PASSWORD", None)
    if password is not None:
        environment["REPLAY_PASSWORD"] = password
    return subprocess.run(
        [sys.executable, "-m", "replay", *map(str, arguments)], capture_output=True, text=True, timeout=LONG,
        env=environment, stdin=subprocess.DEVNULL, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Any:
    with RunningServer("alice", "secret") as made:
        yield made


def test_help_names_every_command() -> None:
    shown = replay("--help").stdout
    assert all(f" {name} " in shown for name in ("run", "plan", "serve", "stub", "shrink", "policy"))
    for name in ("run", "plan", "stub", "shrink", "policy"):
        told = replay(name, "--help").stdout
        assert "Example" in told, name
    assert "--exit-by-cause" in replay("run", "--help").stdout


def test_the_version_is_told() -> None:
    done = replay("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"replay \d+\.\d+\S*\n", done.stdout)


def test_the_capture_may_be_named_as_in_tshark() -> None:
    assert replay("plan", "-r", TABLES).stdout == replay("plan", TABLES).stdout
    assert replay("run", "-r", TABLES, "--dry-run").stdout == replay("run", TABLES, "--dry-run").stdout
    for command in ("plan", "run", "shrink", "stub"):
        for arguments in ((), (TABLES, "-r", TABLES)):
            done = replay(command, *arguments)
            assert done.returncode == 2
            assert "name one capture, as an argument or with -r" in done.stderr


def test_a_run_against_a_server_on_this_machine_needs_nothing_more(server: RunningServer) -> None:
    done = replay("run", TABLES, "--server", server.base_url, "--user", "alice", "-T", "json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["steps"] == sum(report[name] for name in ("same", "remapped", "expected", "different"))
    assert report["title"].endswith("as alice")
    assert done.stderr == ""


def test_reports_and_the_conversation_are_saved(tmp_path: Path) -> None:
    live = tmp_path / "live.pcapng"
    files = [tmp_path / name for name in ("r.json", "r.xml", "r.html", "r.txt")]
    with RunningServer("alice", "secret") as fresh:
        done = replay(
            "run", INCREMENTAL, "--server", fresh.base_url, "--user", "alice", "--seed", "--save-capture", live,
            *(part for file in files for part in ("--report", file)),
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert all(file.stat().st_size > 500 for file in files)
    with dissect(live) as dissection:
        assert sum(1 for _ in dissection.exchanges()) > 40
    assert b"secret" not in live.read_bytes()


@pytest.mark.parametrize(
    ("options", "code", "by_cause", "words"),
    [
        (("--user", "bob"), 2, 4, "the server refuses user 'bob' or the password"),
        (("--user", "alice", "--server", "http://127.0.0.1:9"), 2, 3, "cannot connect"),
        (("--user", "alice", "--server", "ncacn_http://x"), 2, 2, "RPC is not supported as a target"),
        (
            ("--user", "alice", "--server", "https://192.0.2.1"),
            2,
            2,
            "192.0.2.1 is not this machine: confirm with --yes",
        ),
        (("--user", "alice", "--keytab", "/none"), 2, 2, "--keytab /none: no such file"),
        (("--user", "alice", "--bearer-env", "NO_SUCH"), 2, 2, "no token: set the environment variable NO_SUCH"),
        (("--user", "alice", "--frames", "x"), 2, 2, "--frames 'x'"),
        (("--user", "alice", "--report", "r.pdf"), 2, 2, "the ending says the form"),
        (("--user", "alice", "--save-capture", "/none/x"), 2, 2, "No such file or directory"),
    ],
)
def test_what_ends_a_run_is_one_line(
    server: RunningServer, options: tuple[str, ...], code: int, by_cause: int, words: str
) -> None:
    arguments = ("run", TABLES, *(() if "--server" in options else ("--server", server.base_url)), *options)
    done = replay(*arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    if by_cause != code:
        assert replay(*arguments, "--exit-by-cause").returncode == by_cause


def test_the_capture_is_never_written_over(tmp_path: Path, server: RunningServer) -> None:
    capture = tmp_path / "mine.pcap"
    capture.write_bytes(TABLES.read_bytes())
    done = replay("run", capture, "--server", server.base_url, "--user", "alice", "--save-capture", capture)
    assert done.returncode == 2
    assert "that is the capture that is replayed" in done.stderr
    assert capture.read_bytes() == TABLES.read_bytes()
    done = replay("plan", capture, "-o", capture)
    assert done.returncode == 2
    assert "it is left alone" in done.stderr
    assert capture.read_bytes() == TABLES.read_bytes()


@pytest.mark.parametrize(("option", "name"), [("--report", "keep.json"), ("--save-capture", "live.pcapng")])
def test_what_a_run_wrote_is_not_lost(tmp_path: Path, server: RunningServer, option: str, name: str) -> None:
    mine = tmp_path / name
    mine.write_text("mine")
    run = ("run", TABLES, "--server", server.base_url, "--user", "alice", option, mine)
    done = replay(*run)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"replay: {option} {mine} is there already: --overwrite replaces it\n"
    assert mine.read_text() == "mine"
    assert replay(*run, "--overwrite").returncode == 1
    assert mine.stat().st_size > 500


def test_a_run_that_does_not_begin_leaves_no_files(tmp_path: Path, server: RunningServer) -> None:
    """Else the next one would be refused for them."""
    files = ("--report", tmp_path / "r.json", "--save-capture", tmp_path / "live.pcapng")
    broken = tmp_path / "broken.pcap"
    broken.write_bytes(b"no capture")
    done = replay("run", broken, "--server", server.base_url, "--user", "alice", *files)
    assert done.returncode == 2
    assert [one.name for one in tmp_path.iterdir()] == ["broken.pcap"]


def test_a_plan_that_is_there_is_not_shrunk_over(tmp_path: Path) -> None:
    plan = tmp_path / "small.toml"
    plan.write_text("# mine")
    done = replay("shrink", TABLES, "-o", plan)
    assert done.returncode == 2
    assert done.stderr == f"replay: -o {plan} is there already: --overwrite replaces it\n"
    assert plan.read_text() == "# mine"
    assert "--overwrite" in replay("shrink", "--help").stdout


def test_no_password_is_asked_for_by_its_variable(server: RunningServer) -> None:
    done = replay("run", TABLES, "--server", server.base_url, "--user", "alice", password=None)
    assert done.returncode == 2
    assert "set the environment variable REPLAY_PASSWORD" in done.stderr


def test_a_dry_run_shows_the_plan_and_needs_no_server(tmp_path: Path) -> None:
    shown = replay("run", UPLOAD, "--dry-run", "--uploads-only", password=None)
    assert shown.returncode == 0
    file = tmp_path / "plan.toml"
    assert replay("plan", UPLOAD, "--uploads-only", "-o", file, password=None).returncode == 0
    mine = [line for line in shown.stdout.splitlines() if not line.startswith("capture =")]
    theirs = [line for line in file.read_text("utf-8").splitlines() if not line.startswith("capture =")]
    assert mine == theirs


def test_a_plan_is_run_in_the_place_of_its_capture(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    replay("plan", UPLOAD, "--frames", "-200", "-o", file)
    with RunningServer("alice", "secret") as fresh:
        done = replay("run", file, "--server", fresh.base_url, "--user", "alice", "-T", "json")
    report = json.loads(done.stdout)
    assert report["failure"] is None
    assert 30 < report["steps"] < 80
    assert {one["why"] for one in report["skipped"]} == {"not chosen"}
    file.write_text(file.read_text().replace('sha256 = "', 'sha256 = "0'))
    done = replay("run", file, "--server", "http://127.0.0.1:9", "--user", "alice")
    assert "not the capture that the plan was made of" in done.stderr


def test_an_edited_plan_is_not_lost(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    assert replay("plan", TABLES, "-o", plan).returncode == 0
    made = plan.read_text()
    plan.write_text("# edited\n" + made)
    done = replay("plan", TABLES, "-o", plan)
    assert done.returncode == 2
    assert "--overwrite replaces it" in done.stderr
    assert plan.read_text() == "# edited\n" + made
    assert replay("plan", TABLES, "-o", plan, "--overwrite").returncode == 0
    assert plan.read_text() == made


def test_next_to_nothing_compared_is_said(tmp_path: Path, server: RunningServer) -> None:
    plan, to = tmp_path / "plan.toml", ("--server", server.base_url, "--user", "alice")
    assert replay("plan", UPLOAD, "-o", plan).returncode == 0
    text, word = plan.read_text(), 'name = "RopLogon", action = '
    plan.write_text(text.replace(word + '"send"', word + '"skip"'))
    done = replay("run", plan, *to)
    assert done.returncode == 0
    assert "hint: only 1 of 110 ROPs were compared: 109 were skipped, " in done.stdout
    assert "the RopLogon for LogonId 0 is in the capture, and the plan skips it" in done.stdout
    assert json.loads(replay("run", plan, *to, "-T", "json").stdout)["hints"][0].startswith("only 1 of 110 ROPs")

    plan.write_text(text.replace('action = "send"', 'action = "skip"'))
    done = replay("run", plan, *to)
    assert done.returncode == 2
    assert "replay: nothing was compared: 112 were skipped" in done.stderr
    assert json.loads(replay("run", plan, *to, "-T", "json").stdout)["steps"] == 0


def test_without_a_policy_nothing_is_expected(server: RunningServer, tmp_path: Path) -> None:
    arguments = ("run", INCREMENTAL, "--user", "alice", "--seed", "-T", "json")
    with RunningServer("alice", "secret") as fresh:
        report = json.loads(replay(*arguments, "--server", fresh.base_url, "--policy", "none").stdout)
    assert report["different"] > 0
    assert "set by the server at the time of the replay" not in {one["why"] for one in report["differences"]}
    rules = tmp_path / "p.toml"
    rules.write_text('policy = [{rop = "RopFastTransferSourceGetBuffer", path = "*", why = "mine"}]')
    with RunningServer("alice", "secret") as fresh:
        report = json.loads(replay(*arguments[:4], "-T", "json", "--server", fresh.base_url, "--policy", rules).stdout)
    assert report["different"] == 0
    assert "mine" in {one["why"] for one in report["differences"]}


def test_stopping_on_the_first_difference(server: RunningServer) -> None:
    done = replay("run", TABLES, "--server", server.base_url, "--user", "alice", "--stop-on", "different", "-T", "json")
    report = json.loads(done.stdout)
    assert report["stopped"].startswith("stopped at frame")
    assert done.returncode == 1


def test_the_pauses_of_the_capture_are_kept_when_asked_for(server: RunningServer) -> None:
    with dissect(TABLES) as dissection:
        times = [one.time for one in dissection.exchanges() if one.rops]
    began = time.monotonic()
    replay("run", TABLES, "--server", server.base_url, "--user", "alice", "--speed", "original")
    assert time.monotonic() - began >= times[-1] - times[0]


def test_shrinking_writes_a_plan_that_still_shows_it(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    until = 'rop == RopQueryRows and path == "RowData[0]"'
    done = replay("shrink", TABLES, "--until", until, "-o", file, password=None)
    assert done.returncode == 0
    assert "5 of 20 ROPs are left" in done.stderr
    with RunningServer("alice", "secret") as fresh:
        shown = json.loads(replay("run", file, "--server", fresh.base_url, "--user", "alice", "-T", "json").stdout)
    assert "RowData[0]" in [one["path"] for one in shown["differences"]]
    assert shown["steps"] == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--until", 'rop == "RopAbort"'), "nothing to shrink"),
        (("--until", "rop =="), "--until: cannot read"),
        (("--server", "http://127.0.0.1:9"), "--user"),
    ],
)
def test_what_cannot_be_shrunk(arguments: tuple[str, ...], words: str) -> None:
    done = replay("shrink", TABLES, *arguments, password=None)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_server_that_cannot_be_shrunk_on_is_named(server: RunningServer) -> None:
    dead = replay("shrink", TABLES, "--server", "http://127.0.0.1:9", "--user", "alice")
    assert dead.returncode == 2
    assert "cannot connect" in dead.stderr
    refused = replay("shrink", TABLES, "--server", server.base_url, "--user", "alice", password="wrong")
    assert refused.returncode == 2
    assert "the server refuses user 'alice' or the password (HTTP 401)" in refused.stderr


def started(*arguments: object) -> tuple[subprocess.Popen[str], str]:
    """A server process, and the URL that it says it listens on."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "REPLAY_PASSWORD": "secret"}
    process = subprocess.Popen(
        [sys.executable, "-m", "replay", *map(str, arguments)], stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("listening on "), line
    return process, line.split()[-1]


def test_the_stub_answers_until_it_is_told_to_end() -> None:
    process, url = started("stub", TABLES, "--listen", "127.0.0.1:0")
    try:
        with Client(Face(url)) as client:
            client.connect()
            logon = client.logon()["Handle"]
            client.call("RopGetReceiveFolder", logon, MessageClass="IPM", expect=None)
            client.call("RopRelease", logon)
    finally:
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=LONG)
    assert "refused RopGetReceiveFolder in session 1: the capture holds none" in told
    assert "1 ROPs answered, 1 taken that have no answer (RopRelease), 1 refused" in told


def test_an_address_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        for command in (("serve", "--listen", where), ("stub", TABLES, "--listen", where)):
            done = replay(*command)
            assert done.returncode == 2
            assert "cannot listen" in done.stderr
            assert len(done.stderr.strip().splitlines()) == 1


def test_a_server_that_does_not_start_leaves_no_record(tmp_path: Path) -> None:
    new, old = tmp_path / "new.pcapng", tmp_path / "old.pcapng"
    old.write_bytes(b"mine")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        assert replay("serve", "--listen", where, "--record", new).returncode == 2
        assert replay("serve", "--listen", where, "--record", old).returncode == 2
    assert not new.exists()
    assert old.read_bytes() == b"mine"


@pytest.mark.parametrize("listen", ["8080", "h:x", "h:70000"])
def test_addresses_that_are_none(listen: str) -> None:
    done = replay("stub", TABLES, "--listen", listen)
    assert done.returncode == 2
    assert "HOST:PORT" in done.stderr


# Servers on other machines.


@pytest.mark.parametrize("user", ["", " "])
def test_a_user_without_a_name_is_refused(user: str) -> None:
    done = replay("serve", "--listen", "127.0.0.1:0", "--user", user)
    assert done.returncode == 2
    assert "--user: is empty" in " ".join(done.stderr.split())


def test_this_machine_is_written_to_without_asking() -> None:
    assert may_write_to("http://localhost:1/x", False, False)
    assert may_write_to("http://[::1]:1", False, False)


def test_another_machine_is_read_unless_told_to_write() -> None:
    assert not may_write_to("https://mail.example.test", False, True)
    assert may_write_to("https://mail.example.test", True, True)


def test_another_machine_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(ReplayError, match="confirm with --yes"):
        may_write_to("https://mail.example.test", True, False)


@pytest.mark.parametrize(("answer", "words"), [("n\n", "not confirmed"), ("y\n", "no connection|cannot connect")])
def test_the_question_is_on_the_terminal(answer: str, words: str) -> None:
    master, slave = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "REPLAY_PASSWORD": "secret"}
    process = subprocess.Popen(
        [sys.executable, "-m", "replay", "run", str(TABLES), "--server", "http://other.invalid:9", "--user", "alice"],
        stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    os.close(slave)
    os.write(master, answer.encode())
    _, told = process.communicate(timeout=LONG)
    os.close(master)
    assert "other.invalid is not this machine" in told
    assert re.search(words, told)
    assert process.returncode == 2


def test_the_readme_shows_what_a_run_prints() -> None:
    """Lines may be cut at their end, and `...` stands for lines left out."""
    text = (ROOT / "README.md").read_text("utf-8")
    command, *shown = re.findall(r"```\n\$ (replay run .*?)```", text, re.DOTALL)[0].splitlines()
    with RunningServer("alice", "secret") as fresh:
        arguments = [fresh.base_url if one.startswith("http:") else one for one in shlex.split(command)[1:]]
        arguments[1] = str(ROOT / arguments[1])
        printed = iter(replay(*arguments).stdout.splitlines())
    for line in shown:
        assert line == "..." or any(one.startswith(line) for one in printed), line
