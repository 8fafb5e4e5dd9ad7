"""`python -m bench.replay`: what a replay costs beside a bare HTTP client that sends the same bytes.

Two captures are made once, of sessions with the embedded server: many small Executes (messages made, filled, saved,
read, listed), and the first synchronization of a large folder. Each is then sent in four ways, in turn, every one a
process of its own that starts with the same store: by a bare client (httpx, kept connection) and by a replay (plan,
rewriting, comparison), through the server's application in one process without sockets, and to a server process over
loopback. The bare client sends, byte for byte, the bodies that the replay sent. Times are of the whole replay, reading
the capture and comparing included; medians of the rounds. CPU and memory are of the process that sends, with the server
in it where there is one process. Prints a Markdown section.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import httpx

from dissector.grammar.base import build
from dissector.grammar.rops import BY_NAME
from dissector.model.ids import ObjectId
from dissector.pipeline import dissect
from dissector.transport.messages import HttpExchange
from replay.asking import GET_BUFFER, Asker, Origin, Outgoing, opened, value_of
from replay.learning import Mailbox
from replay.plan import Planner
from replay.recording import Recorder
from replay.runner import Target, run_steps
from replay.seeding import Seeder
from replay.seeds import SeedMessage, Seeds, content_of
from replay.server.app import PATH
from replay.server.runner import RunningServer
from replay.transport.auth import Credentials, Method
from replay.transport.mapihttp import MapiHttp

DATA = Path(__file__).parent / "data"
USER, PASSWORD, DN = "bench", "bench", "/o=bench/cn=bench"
CREDENTIALS = Credentials(USER, PASSWORD, method=Method.BASIC)
INBOX = 4
SUBJECT, CLASS, BODY, MID = 0x0037001F, 0x001A001F, 0x1000001F, 0x674A0014
TEXT = "The quick brown fox jumps over the lazy dog. " * 8
SYNC = {"SynchronizationType": 1, "SendOptions": 1, "SynchronizationFlags": 0x39, "SynchronizationExtraFlags": 0x05}
Script = Generator[Outgoing, HttpExchange, Any]


class InProcess(httpx.BaseTransport):
    """Requests handed to an ASGI application, without sockets."""

    def __init__(self, application: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._asgi = httpx.ASGITransport(app=application)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._loop.run_until_complete(self._ask(request))

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        answer = await self._asgi.handle_async_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread(), request=request)


@contextmanager
def in_process(store: Path) -> Iterator[httpx.BaseTransport]:
    """The application of a server that is never started."""
    server = RunningServer(USER, PASSWORD, store)
    try:
        yield InProcess(server.server.application)
    finally:
        server.stop()


@contextmanager
def server_process(store: Path) -> Iterator[str]:
    """`replay serve` on a free port. Its URL."""
    command = [
        sys.executable,
        "-m",
        "replay",
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--user",
        USER,
        "--store",
        str(store),
    ]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "REPLAY_PASSWORD": PASSWORD}
    )  # fmt: skip
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        if not line.startswith("listening on "):
            raise RuntimeError(f"the server did not start: {line}{process.stderr.read()}")
        yield line.split()[-1]
    finally:
        process.terminate()
        process.wait()


# The captures.


def drive(script: Script, client: MapiHttp) -> None:
    try:
        outgoing = next(script)
        while True:
            outgoing = script.send(client.send(outgoing))
    except StopIteration:
        pass


def inbox(asker: Asker, origin: Origin) -> Script:
    """Connect, log on, open the Inbox: its handle and its id."""
    yield from asker.connect(origin)
    logon = yield from asker.call(
        origin, "RopLogon", [], LogonFlags=1, OpenFlags=0x01000000, StoreState=0, Essdn=asker.mailbox
    )
    folder = list(value_of(logon)["FolderIds"].values())[INBOX]
    answer = yield from asker.call(origin, "RopOpenFolder", [opened(logon)], FolderId=folder, OpenModeFlags=0)
    return opened(answer), folder


def small_rops(asker: Asker, count: int) -> Script:
    """A session of about `count` Executes: what a client does with messages, one ROP at a time."""
    origin = Origin(0)
    handle, folder = yield from inbox(asker, origin)
    table = opened((yield from asker.call(origin, "RopGetContentsTable", [handle], TableFlags=0)))
    yield from asker.call(origin, "RopSetColumns", [table], SetColumnsFlags=0, PropertyTags=[MID, SUBJECT, CLASS])
    for number in range(count // 8):
        message = opened(
            (
                yield from asker.call(
                    origin, "RopCreateMessage", [handle], CodePageId=0x0FFF, FolderId=folder, AssociatedFlag=False
                )
            )
        )
        values = [(CLASS, "IPM.Note"), (SUBJECT, f"message {number}"), (BODY, TEXT)]
        pairs = [{"PropertyTag": tag, "PropertyValue": value} for tag, value in values]
        yield from asker.call(origin, "RopSetProperties", [message], PropertyValues=pairs)
        request = build(
            BY_NAME["RopSaveChangesMessage"].request,
            {"LogonId": 0, "ResponseHandleIndex": 0, "InputHandleIndex": 0, "SaveFlags": 0x0A},
        )
        yield from asker.execute(origin, [request], {0: message})
        for _ in range(2):
            yield from asker.call(
                origin, "RopGetPropertiesSpecific", [message], PropertySizeLimit=0, WantUnicode=1,
                PropertyTags=[SUBJECT, CLASS, BODY],
            )  # fmt: skip
        yield from asker.call(origin, "RopRelease", [message])
        yield from asker.call(origin, "RopSeekRow", [table], Origin=0, RowCount=number, WantRowMovedCount=False)
        yield from asker.call(
            origin, "RopQueryRows", [table], QueryRowsFlags=0, ForwardRead=True, RowCount=10
        )  # fmt: skip
    yield from asker.disconnect(0)


def whole_folder(asker: Asker) -> Script:
    """The first synchronization of the Inbox, in packed buffers."""
    origin = Origin(0)
    handle, _ = yield from inbox(asker, origin)
    answer = yield from asker.call(
        origin, "RopSynchronizationConfigure", [handle], RestrictionDataSize=0, PropertyTags=[], **SYNC
    )
    request = build(
        BY_NAME[GET_BUFFER].request,
        {"LogonId": 0, "InputHandleIndex": 0, "BufferSize": 0xBABE, "MaximumBufferSize": 0x7BC0},
    )
    status = 1
    while status in (1, 2):
        exchange = yield from asker.execute(origin, [request], {0: opened(answer)})
        for rop in exchange.rops:
            assert rop.response is not None
            status = rop.response.value["TransferStatus"]
    yield from asker.disconnect(0)


def many_messages(asker: Asker, count: int) -> Script:
    """Messages in the Inbox, put there as `replay run --seed` does."""
    guid = uuid.UUID(int=5)
    seeds = Seeds(special=[ObjectId(1, number + 9) for number in range(13)])
    seeds.names.learn(1, guid)
    for number in range(count):
        values = [(CLASS, "IPM.Note"), (SUBJECT, f"message {number}"), (BODY, TEXT)]
        seeds.messages.append(SeedMessage((guid, 1000 + number), None, ObjectId(1, 13), False, content_of(values), 1))
    yield from Seeder(seeds, Mailbox(), asker, 0, lambda _, __: None).start()


@dataclass(frozen=True)
class Work:
    """A capture, the store that every sending starts with, and the bodies that the bare client sends."""

    capture: Path
    store: Path
    bodies: Path


def prepare(name: str, before: Callable[[Asker], Script] | None, script: Callable[[Asker], Script]) -> Work:
    """Make what is not there yet."""
    work = Work(DATA / f"{name}.pcapng", DATA / f"{name}.sqlite", DATA / f"{name}.bodies")
    if all(one.exists() for one in (work.capture, work.store, work.bodies)):
        return work
    for one in (work.capture, work.store, work.bodies):
        one.unlink(missing_ok=True)
    print(f"preparing {name}", file=sys.stderr)
    asker = Asker(DN, lambda _: None, lambda _, __: None)
    with (
        in_process(work.store) as transport,
        MapiHttp("http://bench" + PATH, CREDENTIALS, transport=transport) as client,
    ):
        drive(before(asker) if before is not None else inbox(asker, Origin(0)), client)
    with copied(work.store) as store, in_process(store) as transport, Recorder(work.capture) as recorder:
        asker = Asker(DN, lambda _: None, lambda _, __: None)
        client = MapiHttp("http://bench" + PATH, CREDENTIALS, transport=transport, recorder=recorder)
        with client:
            drive(script(asker), client)
    sent: list[Sent] = []
    with copied(work.store) as store, in_process(store) as transport:
        report = replayed(work.capture, "http://bench" + PATH, Noting(transport, sent))
    if report.failure or report.verdicts["different"]:
        raise RuntimeError(f"{name}: the replay is not as its capture: {report.failure or report.verdicts}")
    work.bodies.write_bytes(pickle.dumps(sent))
    return work


Sent: TypeAlias = tuple[str, bytes, int]
"""X-RequestType, body, and how long the answer's body is."""


class Noting(httpx.BaseTransport):
    """Notes what goes through another transport."""

    def __init__(self, inner: httpx.BaseTransport, sent: list[Sent]) -> None:
        self._inner, self._sent = inner, sent

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._inner.handle_request(request)
        self._sent.append((request.headers["X-RequestType"], request.content, answered(answer.read())))
        return answer


def answered(content: bytes) -> int:
    """Bytes of an answer behind its DONE and the headers there."""
    return len(content.partition(b"\r\n\r\n")[2])


@contextmanager
def copied(store: Path) -> Iterator[Path]:
    """A copy of a store: every sending starts with the same."""
    with tempfile.TemporaryDirectory(dir=DATA) as folder:
        yield Path(shutil.copy(store, folder))


# The ways to send.


def replayed(capture: Path, url: str, transport: httpx.BaseTransport | None) -> Any:
    with dissect(capture) as dissection:
        steps = Planner().steps(dissection.exchanges())
        return run_steps(steps, Target(url, CREDENTIALS, DN, transport=transport))


def send_bare(bodies: Path, url: str, transport: httpx.BaseTransport | None) -> None:
    """The same requests from a client that knows nothing of them."""
    client_info = f"{{{uuid.uuid4()}}}"
    sent = pickle.loads(bodies.read_bytes())
    with httpx.Client(auth=(USER, PASSWORD), trust_env=False, transport=transport, timeout=90) as client:
        for number, (kind, body, size) in enumerate(sent):
            headers = {
                "Content-Type": "application/mapi-http", "X-RequestType": kind,
                "X-RequestId": f"{client_info}:{number}", "X-ClientInfo": client_info,
            }  # fmt: skip
            answer = client.post(url, content=body, headers=headers)
            if answered(answer.content) != size:
                raise RuntimeError(f"request {number}, {kind}: not answered as it was to the replay")


def stage(way: str, work: Work, url: str) -> None:
    """One sending, measured: seconds and megabytes as JSON."""
    with ExitStack() as stack:
        transport = None
        if not url:
            transport = stack.enter_context(in_process(stack.enter_context(copied(work.store))))
        target = url or "http://bench" + PATH
        began, busy = time.perf_counter(), time.process_time()
        if way.startswith("bare"):
            send_bare(work.bodies, target, transport)
        else:
            report = replayed(work.capture, target, transport)
            if report.failure or report.verdicts["different"]:
                raise RuntimeError(report.failure or str(report.verdicts))
        seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "cpu": time.process_time() - busy, "peak": peak_megabytes()}))


def peak_megabytes() -> float:
    """Of this process; ru_maxrss counts what the parent had before exec too."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


WAYS = ("bare client, in one process", "replay, in one process", "bare client, over loopback", "replay, over loopback")


def measured(way: str, name: str) -> dict[str, float]:
    """One sending in a process of its own."""
    work = Work(DATA / f"{name}.pcapng", DATA / f"{name}.sqlite", DATA / f"{name}.bodies")
    command = [sys.executable, "-m", "bench.replay", "--stage", way, "--work", name]
    if "loopback" not in way:
        return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    with copied(work.store) as store, server_process(store) as url:
        done = subprocess.run([*command, "--url", url], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def rounds_of(name: str, rounds: int) -> dict[str, list[dict[str, float]]]:
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for number in range(rounds):
        for way in WAYS:
            print(f"{name} round {number + 1}/{rounds}: {way}", file=sys.stderr)
            runs[way].append(measured(way, name))
    return runs


def section(rounds: int = 5, executes: int = 2000, messages: int = 50_000) -> list[str]:
    """The Markdown section."""
    DATA.mkdir(exist_ok=True)
    small, large = f"replay-{executes}", f"replay-sync-{messages}"
    works = {
        small: prepare(small, None, lambda asker: small_rops(asker, executes)),
        large: prepare(large, lambda asker: many_messages(asker, messages), whole_folder),
    }
    lines = [
        "", "## Replay", "",
        "The bare client (httpx, kept connection) sends the bodies that the replay sends. CPU and memory are of the",
        f"process that sends, with the server in it where there is one process. {rounds} rounds, medians.",
    ]  # fmt: skip
    count = len(pickle.loads(works[small].bodies.read_bytes())) - 2  # Connect, Disconnect
    lines += [
        "", f"### {count} small Executes", "",
        "| | Execute/s (min-max) | ms each | ms of CPU each | ratio to the bare client |", "|---|---|---|---|---|",
    ]  # fmt: skip
    runs = rounds_of(small, rounds)
    for way, made in runs.items():
        rates = [count / one["seconds"] for one in made]
        lines.append(
            f"| {way} | {median(rates):.0f} ({min(rates):.0f}-{max(rates):.0f}) | {1000 / median(rates):.2f} "
            f"| {1000 * median(one['cpu'] for one in made) / count:.2f} | {ratio(runs, way)} |"
        )
    size = works[large].capture.stat().st_size / 1e6
    lines += [
        "", f"### First synchronization of a folder of {messages:,} messages, {size:.0f} MB", "",
        "| | s (min-max) | messages/s | CPU s | peak MB | ratio to the bare client |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    runs = rounds_of(large, rounds)
    for way, made in runs.items():
        times = [one["seconds"] for one in made]
        peak = "" if "loopback" not in way else f"{median(one['peak'] for one in made):.0f}"
        lines.append(
            f"| {way} | {median(times):.2f} ({min(times):.2f}-{max(times):.2f}) | {messages / median(times):.0f} "
            f"| {median(one['cpu'] for one in made):.2f} | {peak} | {ratio(runs, way)} |"
        )
    return lines


def ratio(runs: dict[str, list[dict[str, float]]], way: str) -> str:
    """The time that a replay takes, in times of the bare client."""
    base = way.replace("replay", "bare client")
    if base == way:
        return ""
    return f"{median(one['seconds'] for one in runs[way]) / median(one['seconds'] for one in runs[base]):.1f} x as long"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.replay", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (5)")
    parser.add_argument("--executes", type=int, default=2000, help="Executes of the first capture, about (2000)")
    parser.add_argument("--messages", type=int, default=50_000, help="messages of the folder (50000)")
    parser.add_argument("-o", metavar="FILE", type=Path, help="where the section goes; standard output without")
    parser.add_argument("--stage", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        work = Work(*(DATA / f"{given.work}.{ending}" for ending in ("pcapng", "sqlite", "bodies")))
        stage(given.stage, work, given.url)
        return
    text = "\n".join(section(given.rounds, given.executes, given.messages)).strip() + "\n"
    if given.o is not None:
        given.o.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
