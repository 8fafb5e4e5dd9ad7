"""Running it for real: a process, signals, crashes, a store file that is used again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from replay.server import RunningServer, ServerError, StoreError, serve
from replay.server.store import Store
from tests.conftest import LONG, until
from tests.replay.server.client import Client

SCRIPT = """
import os, sys
from replay.server import serve
serve("127.0.0.1", 0, sys.argv[1], ["user"], os.environ["PASSWORD"], ready=lambda url: print(url, flush=True))
print("ended", flush=True)
"""


class Process:
    """The server in a process of its own."""

    user, password = "user", "the password"

    def __init__(self, store: Path) -> None:
        root = Path(__file__).resolve().parents[3]
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(store)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            cwd=root, env={**os.environ, "PASSWORD": self.password},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), self.url + self.process.stdout.read()

    def end(self, number: int) -> str:
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=LONG)
        return output


def fill(client: Client, count: int = 3) -> list[Any]:
    client.connect()
    logon = client.logon()
    inbox = logon["FolderIds"]["Inbox"]
    ids = []
    for number in range(count):
        message = client.create_message(logon["Handle"], inbox)
        client.set(message, (0x0037001F, f"message {number}"), (0x10130102, os.urandom(20_000)))
        ids.append(client.save(message))
    return ids


def subjects(client: Client) -> list[str]:
    client.connect()
    logon = client.logon()
    folder = client.open_folder(logon["Handle"], logon["FolderIds"]["Inbox"])
    return sorted(row[0] for row in client.rows(client.table("RopGetContentsTable", folder, 0x0037001F)))


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: int) -> None:
    server = Process(tmp_path / "store.db")
    with Client(server) as client:
        fill(client)
    output = server.end(number)
    assert (server.process.returncode, output) == (0, "ended\n")
    assert [path.name for path in tmp_path.iterdir()] == ["store.db"], "the store was not closed"
    again = Process(tmp_path / "store.db")
    with Client(again) as client:
        assert subjects(client) == ["message 0", "message 1", "message 2"]
    again.end(signal.SIGTERM)


def test_sigterm_while_a_notification_wait_is_open(tmp_path: Path) -> None:
    server = Process(tmp_path / "store.db")
    with Client(server) as client:
        client.connect()
        thread = threading.Thread(target=client.request, args=("NotificationWait",), kwargs={"Flags": 0})
        thread.start()
        time.sleep(0.3)
        output = server.end(signal.SIGTERM)
        thread.join(LONG)
    assert not thread.is_alive()
    assert output == "ended\n"


def test_an_open_stream_is_committed_when_a_signal_ends_it(tmp_path: Path) -> None:
    server = Process(tmp_path / "store.db")
    with Client(server) as client:
        client.connect()
        logon = client.logon()
        folder = client.open_folder(logon["Handle"], logon["FolderIds"]["Inbox"])
        stream = client.call("RopOpenStream", folder, PropertyTag=0x66010102, OpenModeFlags=2)["Handle"]
        client.call("RopWriteStream", stream, Data=b"unfinished")
        server.end(signal.SIGTERM)
    again = Process(tmp_path / "store.db")
    with Client(again) as client:
        client.connect()
        logon = client.logon()
        folder = client.open_folder(logon["Handle"], logon["FolderIds"]["Inbox"])
        assert client.get(folder, 0x66010102) == [b"unfinished"]
    again.end(signal.SIGTERM)


def test_a_killed_server_leaves_a_consistent_store(tmp_path: Path) -> None:
    """Every message that was answered for is there whole; one in the middle is there or not, but never in part."""
    path = tmp_path / "store.db"
    server = Process(path)
    saved: list[int] = []

    def write() -> None:
        with Client(server) as client:
            client.connect()
            logon = client.logon()
            while True:
                message = client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])
                client.set(message, (0x0037001F, str(len(saved))), (0x10130102, bytes(10_000)))
                client.save(message)
                saved.append(len(saved))

    def quietly() -> None:
        with pytest.raises(Exception, match=r".*"):
            write()

    thread = threading.Thread(target=quietly)
    thread.start()
    until(lambda: len(saved) >= 20)
    server.end(signal.SIGKILL)
    thread.join(LONG)
    with RunningServer("user", "p", path) as again, Client(again) as client:
        assert again.store.one("PRAGMA integrity_check") == ("ok",)
        assert not again.store.run("PRAGMA foreign_key_check").fetchall()
        found = {int(one) for one in subjects(client)}
        assert found >= set(saved)
        assert len(found) <= len(saved) + 1
        bags = again.store.one("SELECT count(*) FROM bags WHERE role = 2")[0]
        assert bags == len(found) == again.store.one("SELECT count(*) FROM large")[0]


def test_restart_on_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with RunningServer(store_path=path) as server, Client(server) as client:
        fill(client)
        first = client.logon()
    with RunningServer(store_path=path) as server, Client(server) as client:
        assert subjects(client) == ["message 0", "message 1", "message 2"]
        again = client.logon()
        assert again["MailboxGuid"] == first["MailboxGuid"]
        assert again["ReplGuid"] == first["ReplGuid"]
        assert again["FolderIds"] == first["FolderIds"]


def test_several_clients_in_threads(server: RunningServer) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with Client(server) as client:
                client.connect()
                logon = client.logon()
                parent = client.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])
                made = client.create_folder(parent, f"folder {number}")
                for index in range(5):
                    message = client.create_message(made["Handle"], made["FolderId"])
                    client.set(message, (0x0037001F, f"{number}/{index}"))
                    client.save(message)
                table = client.table("RopGetContentsTable", made["Handle"], 0x0037001F)
                assert sorted(row[0] for row in client.rows(table)) == [f"{number}/{index}" for index in range(5)]
                client.disconnect()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert not failures
    ids = [row[0] for row in server.store.run("SELECT id FROM messages")]
    assert len(ids) == len(set(ids)) == 30


def test_a_store_in_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with RunningServer(store_path=path), pytest.raises(StoreError, match="cannot open the store"):
        Store(path)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, not a database, and they are long enough to be looked at" * 20)
    with pytest.raises(StoreError, match="not a database"):
        serve("127.0.0.1", 0, path, ["user"], "password")


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Store(path).close()
    store = Store(path)
    store.run("PRAGMA user_version=99")
    store.close()
    with pytest.raises(StoreError, match="version 99"):
        Store(path)


def test_a_port_in_use_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1:{port}"):
            serve("127.0.0.1", port, None, ["user"], "password")
