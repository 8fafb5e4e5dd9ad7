"""--record: what is said is in the file, whatever becomes of the server, and without credentials."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from dissector.pipeline import dissect
from dissector.session.exchange import Exchange
from replay.errors import ReplayError
from replay.recording import Recorder
from replay.server import RunningServer
from replay.server.app import MAX_BODY
from replay.server.faults import parse
from tests.conftest import LONG
from tests.replay.server import sync
from tests.replay.server.client import Client
from tests.replay.sessions import replayed

USER, PASSWORD = "alice", "a-very-secret-word"


def exchanges(path: Path) -> list[Exchange]:
    with dissect(path) as dissection:
        found = list(dissection.exchanges())
        assert not dissection.capture.summary.diagnostics
        assert dissection.tcp.missing == 0
    return found


def said(client: Client) -> list[str]:
    """A session; the names of the calls in it."""
    client.connect()
    logon = client.logon()
    folder = client.open_folder(logon["Handle"], logon["FolderIds"]["Inbox"])
    message = client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])
    client.set(message, (0x0037001F, "hello"))
    client.write_stream(message, 0x10130102, os.urandom(100_000))
    client.save(message)
    sync.download(client, folder)
    client.disconnect()
    return ["Connect", *["Execute"] * (client.counter - 2), "Disconnect"]


def test_everything_is_in_the_record(tmp_path: Path) -> None:
    path = tmp_path / "live.pcapng"
    with (
        Recorder(path, "a note") as recorder,
        RunningServer(USER, PASSWORD, recorder=recorder) as server,
        Client(server) as client,
    ):
        calls = said(client)
    found = exchanges(path)
    assert [one.call.name for one in found] == calls
    assert not [one for one in found if one.diagnostics]
    assert {one.session.number for one in found if one.session is not None} == {1}
    assert all(one.call.response is not None for one in found)


def test_a_record_replays_to_a_fresh_server(tmp_path: Path) -> None:
    path = tmp_path / "live.pcapng"
    with (
        Recorder(path) as recorder,
        RunningServer(USER, PASSWORD, recorder=recorder) as server,
        Client(server) as client,
    ):
        said(client)
    with RunningServer(USER, PASSWORD) as fresh:
        report = replayed(path, fresh)
    assert not report.failure
    assert report.verdicts["different"] == 0
    assert sum(report.verdicts.values()) >= 15


def test_no_credentials_are_in_any_byte(tmp_path: Path) -> None:
    path = tmp_path / "live.pcapng"
    with Recorder(path) as recorder, RunningServer(USER, PASSWORD, recorder=recorder) as server:
        with Client(server) as client:
            said(client)
        with Client(server, password="wrong-but-secret") as client:
            assert client.post("Connect", b"x" * 100).status_code == 401
    written = path.read_bytes()
    for secret in (PASSWORD, "wrong-but-secret"):
        token = base64.b64encode(f"{USER}:{secret}".encode())
        assert secret.encode() not in written
        assert token not in written
    assert b"uthorization" not in written
    assert b"uthenticate" not in written
    assert b"MapiContext" in written


def test_a_refused_request_does_not_break_what_follows(tmp_path: Path) -> None:
    """The server does not read the body of a request that it refuses by its head: it is in the record all the same."""
    path = tmp_path / "live.pcapng"
    with (
        Recorder(path) as recorder,
        RunningServer(USER, PASSWORD, recorder=recorder) as server,
        Client(server) as client,
    ):
        for body in (b"x" * 200_000, bytes(MAX_BODY + 1)):
            assert client.post("Connect", body, auth=(USER, "wrong")).status_code == 401
            client.post("Frobnicate", body)
        client.connect()
        client.disconnect()
    found = exchanges(path)
    assert [one.call.name for one in found][-2:] == ["Connect", "Disconnect"]
    assert found[-1].call.response is not None
    assert found[-1].call.response.return_code == 0
    assert [one.call.response.fields.get("HTTPStatus") for one in found[:2]] == [401, 200]  # type: ignore[union-attr]


def test_several_clients_are_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "live.pcapng"
    count = 5
    with Recorder(path) as recorder, RunningServer(USER, PASSWORD, recorder=recorder) as server:

        def work() -> None:
            with Client(server) as client:
                said(client)

        threads = [threading.Thread(target=work) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
    found = exchanges(path)
    sessions = {one.session.number for one in found if one.session is not None}
    assert len(sessions) == count
    for number in sessions:
        names = [one.call.name for one in found if one.session is not None and one.session.number == number]
        assert names[0] == "Connect"
        assert names[-1] == "Disconnect"


def test_a_connection_that_breaks_ends_in_the_record(tmp_path: Path) -> None:
    path = tmp_path / "live.pcapng"
    with (
        Recorder(path) as recorder,
        RunningServer(USER, PASSWORD, recorder=recorder, faults=parse(["close-midstream@1"])) as server,
        Client(server) as client,
    ):
        client.connect()
        with pytest.raises(httpx.RemoteProtocolError):
            client.logon()
        client.cookies = {}
        client.connect()
        assert client.logon()["ReturnValue"] == 0
    found = exchanges(path)
    assert [one.call.name for one in found] == ["Connect", "Execute", "Connect", "Execute"]
    assert [bool(one.diagnostics) for one in found] == [False, True, False, False]


def test_a_file_that_is_there_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "live.pcapng"
    path.write_text("precious")
    with pytest.raises(ReplayError, match="is there already"):
        Recorder(path, overwrite=False)
    assert path.read_text() == "precious"
    Recorder(path).close()
    assert path.read_bytes().startswith(b"\x0a\x0d\x0d\x0a")


class Full:
    """A file on a disk that is full after some bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, data: bytes) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return len(data)

    def flush(self) -> None:
        pass


def test_a_full_disk_ends_the_record_and_not_the_server(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(Full(5000))  # type: ignore[arg-type]
    with RunningServer(USER, PASSWORD, recorder=recorder) as server, Client(server) as client:
        said(client)
    told = [one.getMessage() for one in caplog.records if one.name == "replay.server" and one.levelname == "ERROR"]
    assert told == ["the record ends here: No space left on device"]


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    yield
    for one in Served.running:
        one.kill()
        one.wait(10)
    Served.running.clear()


class Served:
    """`replay serve` in a process of its own."""

    user, password = USER, PASSWORD
    running: ClassVar[list[subprocess.Popen[str]]] = []

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "replay", "serve", "--listen", "127.0.0.1:0", "--user", USER, *options]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "REPLAY_PASSWORD": PASSWORD}, cwd=Path(__file__).resolve().parents[3],
        )  # fmt: skip
        self.running.append(self.process)
        assert self.process.stderr is not None
        first = self.process.stderr.readline().strip()
        self.url = first.removeprefix("listening on ")
        self.first = first

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        _, told = self.process.communicate(timeout=LONG)
        return self.process.returncode, told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_record_of_a_server_that_is_ended(tmp_path: Path, number: int) -> None:
    path = tmp_path / "live.pcapng"
    server = Served("--record", str(path), "--store", str(tmp_path / "store"))
    with Client(server) as client:
        client.connect()
        client.logon()
        client.call("RopGetReceiveFolderTable", 1)
        code, told = server.end(number)
    assert (code, told) == (0 if number == signal.SIGTERM else -signal.SIGKILL, "")
    found = exchanges(path)
    assert [one.call.name for one in found] == ["Connect", "Execute", "Execute"]
    assert not [one for one in found if one.diagnostics]
    again = Served("--record", str(path), "--store", str(tmp_path / "store"))
    assert again.process.wait(LONG) == 2
    assert "is there already: --overwrite replaces it" in again.first
    third = Served("--record", str(path), "--overwrite", "--store", str(tmp_path / "store"))
    assert third.end(signal.SIGTERM)[0] == 0
    assert exchanges(path) == []


def test_faults_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.pcapng"
    server = Served("--fault", "http-error:502@2", "--fault", "truncate@3,cookie-change@9", "--record", str(path))
    with Client(server) as client:
        client.connect()
        client.logon()
        assert client.post("Execute", b"").status_code == 502
        server.end(signal.SIGTERM)
    statuses = [one.call.response.fields.get("HTTPStatus") for one in exchanges(path) if one.call.response is not None]
    assert statuses == [200, 200, 502]


def test_the_faults_are_listed_and_checked() -> None:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "replay", "serve", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)

    listed = run("--fault", "help")
    assert listed.returncode == 0
    assert "lose-state\n" in listed.stdout
    assert "slow:TIME (12s)" in listed.stdout
    wrong = run("--fault", "lose-stat")
    assert wrong.returncode == 2
    assert "there is no fault 'lose-stat'" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_several_users_from_the_command_line() -> None:
    server = Served("--user", "bob")
    with Client(server) as client, Client(server, user="bob") as other:
        guids = []
        for one in (client, other):
            one.connect()
            guids.append(one.logon()["MailboxGuid"])
            one.call("RopLogon", LogonFlags=1, OpenFlags=0, Essdn="/o=x/cn=whoever", expect=0x3EB)
        assert guids[0] != guids[1]
        assert server.end(signal.SIGTERM) == (0, "")
