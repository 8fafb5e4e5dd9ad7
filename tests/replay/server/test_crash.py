"""Several clients at once, and servers that are ended while they write: real sockets, a real file, a real SIGKILL."""

from __future__ import annotations

import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from replay.server import RunningServer
from replay.server.store import Store
from tests.conftest import LONG, until
from tests.replay.server import sync
from tests.replay.server.client import Client
from tests.replay.server.test_runner import Process

SUBJECT = 0x0037001F
CLIENTS = 4


class Writers:
    """Clients that write until their server is gone: messages with recipients, attachments, streams, deletions, moves.

    saved: subjects of messages whose saving was answered; begun: of those that were tried; gone: deleted ones.
    """

    def __init__(self, server: Any, rounds: int | None = None) -> None:
        self.server, self.rounds = server, rounds
        self.saved: set[str] = set()
        self.begun: set[str] = set()
        self.gone: set[str] = set()
        self.failures: list[BaseException] = []
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def join(self) -> None:
        for thread in self.threads:
            thread.join(LONG)
            assert not thread.is_alive()

    def _run(self, number: int) -> None:
        try:
            with Client(self.server) as client:
                self._write(client, f"{id(self)}/{number}")
        except (httpx.HTTPError, AssertionError) as error:
            self.failures.append(error)

    def _write(self, client: Client, who: str) -> None:
        client.connect()
        logon = client.logon()
        ids = logon["FolderIds"]
        inbox = client.open_folder(logon["Handle"], ids["Inbox"])
        outbox = client.open_folder(logon["Handle"], ids["Outbox"])
        turn = 0
        while self.rounds is None or turn < self.rounds:
            turn += 1
            subject = f"{who}/{turn}"
            self.begun.add(subject)
            message = client.create_message(logon["Handle"], ids["Inbox"])
            client.set(message, (SUBJECT, subject))
            client.write_stream(message, 0x10130102, bytes(20_000))
            attachment = client.call("RopCreateAttachment", message)["Handle"]
            client.set(attachment, (0x37010102, subject.encode() * 1000))
            client.call("RopSaveChangesAttachment", attachment, SaveFlags=0)
            identifier = client.save(message)
            self.saved.add(subject)
            if turn % 3 == 0:
                self.gone.add(subject)
                client.call(
                    "RopHardDeleteMessages", inbox, WantAsynchronous=False, NotifyNonRead=False,
                    MessageIds=[identifier],
                )  # fmt: skip
            elif turn % 3 == 1:
                client.call(
                    "RopMoveCopyMessages", inbox, outbox, MessageIds=[identifier], WantAsynchronous=False,
                    WantCopy=False,
                )  # fmt: skip
            for handle in (attachment, message):
                client.call("RopRelease", handle)


def found(server: Any) -> list[str]:
    """The subjects of the Inbox and the Outbox, each message read whole."""
    subjects = []
    with Client(server) as client:
        client.connect()
        logon = client.logon()
        for name in ("Inbox", "Outbox"):
            folder = client.open_folder(logon["Handle"], logon["FolderIds"][name])
            stream = sync.download(client, folder)
            for change in stream.changes:
                (attachment,) = change.of("attachment")
                assert attachment[0x3701] == change[0x0037].encode() * 1000
                assert change[0x1013] == bytes(20_000)
                subjects.append(change[0x0037])
            assert len(stream.changes) == stream.sets[0x4017].count
    return subjects


def check(path: Path) -> int:
    """The file is sound and nothing hangs in the air; the highest id given out."""
    store = Store(path)
    assert store.one("PRAGMA integrity_check") == ("ok",)
    assert store.run("PRAGMA foreign_key_check").fetchall() == []
    bags = "SELECT count(*) FROM bags WHERE role = 2 AND id NOT IN (SELECT bag FROM messages)"
    assert store.one(bags) == (0,)
    assert store.one("SELECT count(*) FROM messages WHERE folder NOT IN (SELECT id FROM folders)") == (0,)
    (counter,) = store.one("SELECT counter FROM mailboxes")
    (highest,) = store.one("SELECT max(max(id), max(cn), max(read_cn)) & 0xFFFFFFFFFFFF FROM messages")
    assert highest < counter
    store.close()
    return int(counter)


@pytest.mark.parametrize("seed", range(3))
def test_kill_in_mid_write(tmp_path: Path, seed: int) -> None:
    """Twice over: whatever was answered for is there, whatever was not is there whole or not at all."""
    path, wait = tmp_path / "store", random.Random(seed)
    saved: set[str] = set()
    begun: set[str] = set()
    gone: set[str] = set()
    counter = 0
    for _ in range(2):
        server = Process(path)
        writers = Writers(server)
        writers.start()
        until(lambda: len(writers.saved) >= 8 or writers.failures)  # noqa: B023
        time.sleep(wait.random() * 0.2)
        server.end(signal.SIGKILL)
        writers.join()
        assert len(writers.failures) == CLIENTS
        saved, begun, gone = saved | writers.saved, begun | writers.begun, gone | writers.gone
        after = check(path)
        assert after > counter, "ids are given out twice"
        counter = after
    with RunningServer("user", Process.password, path) as again:
        subjects = found(again)
    assert len(subjects) == len(set(subjects))
    assert saved - gone <= set(subjects) <= begun


def test_sigterm_in_mid_write_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    path = tmp_path / "store"
    server = Process(path)
    writers = Writers(server)
    writers.start()
    until(lambda: len(writers.saved) >= 12 or writers.failures)
    assert server.end(signal.SIGTERM) == "ended\n"
    writers.join()
    check(path)
    with RunningServer("user", Process.password, path) as again:
        subjects = found(again)
    assert writers.saved - writers.gone <= set(subjects) <= writers.begun


def test_many_writers_and_a_reader(server: RunningServer) -> None:
    """A client that synchronizes while others write ends up with what there is, with nothing twice."""
    writers = Writers(server, rounds=6)
    have: dict[Any, str] = {}
    with Client(server) as client:
        client.connect()
        logon = client.logon()
        folder = client.open_folder(logon["Handle"], logon["FolderIds"]["Inbox"])
        state: dict[int, bytes] = {}
        versions = set()
        writers.start()
        writing = True
        while writing:
            writing = any(thread.is_alive() for thread in writers.threads)  # if not, this turn sees all
            turn = sync.download(client, folder, state, flags=sync.ALL | sync.NO_FOREIGN, extra=sync.EID | sync.CN)
            state = turn.state
            for change in turn.changes:
                assert (change[0x674A], change[0x67A4]) not in versions, "a version came twice"
                versions.add((change[0x674A], change[0x67A4]))
                have[change[0x65E0]] = change[0x0037]
        writers.join()
        assert not writers.failures
        given = turn.sets[0x4017]
        kept = {name for key, name in have.items() if key_in(given, key)}
        table = client.table("RopGetContentsTable", folder, SUBJECT)
        assert kept == {row[0] for row in client.rows(table)}
    assert len(found(server)) == len(writers.saved - writers.gone)


def key_in(idset: Any, key: bytes) -> bool:
    (replica,) = idset.replicas
    return (replica, int.from_bytes(key[16:], "big")) in idset
