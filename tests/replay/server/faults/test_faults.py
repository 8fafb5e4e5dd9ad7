"""Every fault: a client against the faulty server, recorded by the server, and what the diagnosis says of the capture.

The same session with a healthy server has no finding.
"""

from __future__ import annotations

import inspect
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from dissector.diagnose import RULES, Finding, diagnose
from dissector.grammar.elements import elements_of
from dissector.model.pcl import Xid
from dissector.pipeline import dissect
from replay.recording import Recorder
from replay.server import RunningServer
from replay.server.faults import FAULTS, FaultError, help_lines, parse
from replay.server.faults.transport import Slow
from tests.conftest import LONG
from tests.replay.server import sync
from tests.replay.server.client import Client

SUBJECT = 0x0037001F
CLIENT = uuid.UUID("c11e2700-0000-4000-8000-00000000cafe")


class Clock:
    """The time of the record, which a test may put forward."""

    ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead


Script = Callable[[Client, Clock], None]


@pytest.fixture(name="clock")
def clock_fixture(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("replay.recording.time", clock)

    async def sleep(fault: Slow, seconds: float) -> None:
        clock.ahead += seconds

    monkeypatch.setattr(Slow, "sleep", sleep)
    return clock


def session(path: Path, clock: Clock, script: Script, *faults: str) -> list[Finding]:
    """What the diagnosis finds in a recorded session."""
    with (
        Recorder(path) as recorder,
        RunningServer("alice", "pass:word", faults=parse(faults), recorder=recorder, wait=1.0) as server,
        Client(server) as client,
    ):
        client.http.timeout = httpx.Timeout(LONG, read=2.0 if "silence@2" in faults else LONG)
        client.connect()
        script(client, clock)
    with dissect(path) as dissection:
        return list(diagnose(dissection))


# Sessions.


def pull(
    client: Client, folder: int, state: dict[int, bytes], flags: int = sync.ALL, chunk: int = 30000
) -> dict[int, bytes]:
    """A contents synchronization, read without any doubt; the state it ends with."""
    context = sync.configure(client, folder, flags=flags, extra=sync.EID | sync.CN)
    sync.upload_state(client, context, state, chunk)
    data = sync.get_all(client, context, packed=False)
    client.call("RopRelease", context)
    found = {one.tag >> 16: one.raw[4:] for one in elements_of(data) if one.raw is not None}
    return {prop_id: found[prop_id] for prop_id in sync.STATE if prop_id in found}


def put(client: Client, logon: Any, subject: str, associated: bool = False) -> Any:
    message = client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"], associated)
    client.set(message, (SUBJECT, subject))
    identifier = client.save(message)
    client.call("RopRelease", message)
    return identifier


@contextmanager
def inbox(client: Client) -> Iterator[tuple[Any, int]]:
    logon = client.logon()
    folder = client.open_folder(logon["Handle"], logon["FolderIds"]["Inbox"])
    yield logon, folder
    client.call("RopRelease", folder)
    client.call("RopRelease", logon["Handle"])


def downloads(client: Client, clock: Clock, flags: int = sync.ALL, chunk: int = 30000) -> None:
    """Four messages and one of the folder's own; one changed, one read, one deleted; then nothing new."""
    with inbox(client) as (logon, folder):
        ids = [put(client, logon, f"message {number}") for number in range(8)]
        put(client, logon, "a view", associated=True)
        for one in ids[1::2]:  # gaps between the ids, so that the sets are long
            client.call("RopDeleteMessages", folder, WantAsynchronous=False, NotifyNonRead=False, MessageIds=[one])
        state = pull(client, folder, {}, flags, chunk)
        message = client.open_message(logon["Handle"], logon["FolderIds"]["Inbox"], ids[0])["Handle"]
        client.set(message, (SUBJECT, "changed"))
        client.save(message)
        client.call("RopRelease", message)
        client.call("RopSetReadFlags", folder, WantAsynchronous=False, ReadFlags=4, MessageIds=[ids[2]])
        client.call("RopDeleteMessages", folder, WantAsynchronous=False, NotifyNonRead=False, MessageIds=[ids[4]])
        put(client, logon, "one more")
        state = pull(client, folder, state, flags, chunk)
        pull(client, folder, state, flags, chunk)


def with_progress(client: Client, clock: Clock) -> None:
    downloads(client, clock, sync.ALL | sync.PROGRESS)


def folders(client: Client, clock: Clock) -> None:
    with inbox(client) as (logon, folder):
        below = client.create_folder(folder, "below")
        inner = client.create_folder(below["Handle"], "inner")
        for handle in (below["Handle"], inner["Handle"]):
            client.call("RopRelease", handle)
        root = client.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])
        context = sync.configure(client, root, kind=sync.HIERARCHY, flags=sync.UNICODE)
        sync.get_all(client, context, packed=False)
        client.call("RopRelease", context)
        client.call("RopRelease", root)


def in_parts(client: Client, clock: Clock) -> None:
    downloads(client, clock, chunk=18)


def stubborn(client: Client, clock: Clock) -> None:
    """Asks for buffers ten times, whatever comes."""
    with inbox(client) as (logon, folder):
        put(client, logon, "message")
        context = sync.configure(client, folder)
        for _ in range(10):
            answer = client.call("RopFastTransferSourceGetBuffer", context, BufferSize=0x7BC0, expect=None)
            if answer["TransferStatus"] in (0, 3) and answer["ReturnValue"] != 0x480:
                break
        client.call("RopRelease", context)


def uploads(client: Client, clock: Clock) -> None:
    """A message uploaded, fetched, uploaded in a later version and fetched again."""
    with inbox(client) as (logon, folder):
        state: dict[int, bytes] = pull(client, folder, {})
        ids = client.call("RopGetLocalReplicaIds", logon["Handle"], IdCount=4)
        key = sync.gid(ids["ReplGuid"], ids["GlobalCount"])
        for version in (1, 2):
            context = sync.collector(client, folder, state=state)
            change = Xid(CLIENT, version.to_bytes(4, "big"))
            imported = client.call(
                "RopSynchronizationImportMessageChange", context, ImportFlag=0, expect=None, PropertyValues=[
                    {"PropertyTag": 0x65E00102, "PropertyValue": key},
                    {"PropertyTag": 0x30080040, "PropertyValue": 133_000_000_000_000_000 + version},
                    {"PropertyTag": 0x65E20102, "PropertyValue": change.to_bytes()},
                    {"PropertyTag": 0x65E30102, "PropertyValue": sync.sized(change.to_bytes())},
                ],
            )  # fmt: skip
            if not imported["ReturnValue"]:
                client.set(imported["Handle"], (SUBJECT, f"version {version}"))
                client.save(imported["Handle"])
                client.call("RopRelease", imported["Handle"])
            handle = client.call("RopSynchronizationGetTransferState", context)["Handle"]
            sync.get_all(client, handle, packed=False)
            client.call("RopRelease", handle)
            client.call("RopRelease", context)
            state = pull(client, folder, state)


def anew(client: Client, clock: Clock) -> None:
    """Begins a second session when the first one fails; does not look at what comes."""
    logon = client.logon()
    try:
        for _ in range(3):
            response = client.post("Execute", execute(client, logon["Handle"]))
            if response.headers.get("x-responsecode") != "0" or len(response.content) < 100:
                break
    except httpx.HTTPError:
        pass
    client.cookies = {}
    client.connect()
    client.logon()
    client.disconnect()


def late(client: Client, clock: Clock) -> None:
    """The same, and a minute later."""
    anew(client, clock)
    clock.ahead += 60.0
    client.cookies = {}
    client.connect()
    client.disconnect()


def without_new_cookies(client: Client, clock: Clock) -> None:
    """Sends the first context cookie for ever."""
    logon = client.logon()
    cookie = client.cookies["MapiContext"]
    for _ in range(3):
        client.cookies["MapiContext"] = cookie
        client.post("Execute", execute(client, logon["Handle"]))


def execute(client: Client, handle: int) -> bytes:
    from dissector.emsmdb import buffers
    from dissector.grammar.base import build
    from dissector.grammar.envelopes import MAILBOX
    from tests.replay.server.client import rop_buffer

    request = client.request_bytes("RopGetReceiveFolderTable", InputHandleIndex=0)
    buffer = buffers.pack([rop_buffer(request, [handle])])
    return build(
        MAILBOX["Execute"].request, {"Flags": 3, "RopBuffer": buffer, "MaxRopOut": 0x10008, "AuxiliaryBuffer": b""}
    )


CASES: list[tuple[str, Script, str]] = [
    ("lose-state", downloads, "change-outside-state"),
    ("lose-state@2", downloads, "change-outside-state"),
    ("roll-back-state", downloads, "state-not-monotonic"),
    ("drop-change:2@1", with_progress, "other-than-announced"),
    ("resend@2", downloads, "sent-again"),
    ("resend:3", downloads, "sent-again"),
    ("forget-id@2-", downloads, "given-lost-valid-id"),
    ("keep-deleted", downloads, "given-keeps-deleted"),
    ("fai-mixup", downloads, "seen-set-mixed-up"),
    ("lost-readstate", downloads, "read-state-not-moved"),
    ("non-canonical-globset", downloads, "set-not-canonical"),
    ("no-state@2", downloads, "done-without-state"),
    ("broken-stream@2", downloads, "stream-breaks-grammar"),
    ("children-first", folders, "parent-unknown"),
    ("idset-in-upload-state", uploads, "upload-state-with-given"),
    ("continue-split@2", in_parts, "state-upload-split"),
    ("stuck-partial", stubborn, "stuck-at-partial"),
    ("backoff:200ms@1-6", stubborn, "backoff-storm"),
    ("stream-error:ecRpcFormat", stubborn, "fasttransfer-error"),
    ("refuse-import", uploads, "import-refused"),
    ("refuse-import:SyncObjectDeleted@2", uploads, "import-refused"),
    ("unknown-result-code", uploads, "unknown-result"),
    ("mint-change-key@2", uploads, "pcl-lost-predecessor"),
    ("session-loss@3", anew, "response-code"),
    ("session-loss:15@3", anew, "response-code"),
    ("cookie-change@2", without_new_cookies, "response-code"),
    ("http-error@2", anew, "http-status"),
    ("slow:12s@2", anew, "slow-call"),
    ("truncate@2", anew, "capture-damaged"),
    ("close-midstream@2", anew, "capture-damaged"),
    ("silence@2", late, "never-answered"),
]


def healthy(script: Script) -> Script:
    """What a script is compared with: a client that sends wrong cookies is at fault itself."""
    return anew if script is without_new_cookies else script


@pytest.mark.parametrize(("fault", "script", "rule"), CASES, ids=[case[0] for case in CASES])
def test_the_diagnosis_tells_of_the_fault(tmp_path: Path, clock: Clock, fault: str, script: Script, rule: str) -> None:
    found = session(tmp_path / "bad.pcapng", clock, script, fault)
    assert rule in {one.rule for one in found}, [f"{one.rule}: {one.message}" for one in found]
    assert FAULTS[parse([fault])[0].name].rule.startswith(rule)


@pytest.mark.parametrize(
    "script", sorted({healthy(case[1]) for case in CASES}, key=lambda one: one.__name__), ids=lambda one: one.__name__
)
def test_a_healthy_server_gives_no_finding(tmp_path: Path, clock: Clock, script: Script) -> None:
    found = session(tmp_path / "good.pcapng", clock, script)
    assert [f"{one.rule}: {one.message}" for one in found if not one.is_note] == []
    told = {rule for _, one, rule in CASES if healthy(one) is script}
    assert not told & {one.rule for one in found}


def test_every_fault_has_a_case_and_a_rule() -> None:
    assert {parse([case[0]])[0].name for case in CASES} == set(FAULTS)
    for kind in FAULTS.values():
        assert kind.rule.partition(" ")[0] in RULES
        assert kind.about
        assert kind.chance
        assert not inspect.isabstract(kind)
    text = "\n".join(help_lines())
    assert all(name in text for name in FAULTS)


def test_a_new_cookie_does_no_harm_to_a_client_that_takes_it(tmp_path: Path, clock: Clock) -> None:
    found = session(tmp_path / "good.pcapng", clock, downloads, "cookie-change")
    assert [one.rule for one in found if not one.is_note] == []


def test_two_faults_at_once(tmp_path: Path, clock: Clock) -> None:
    found = {one.rule for one in session(tmp_path / "bad.pcapng", clock, downloads, "forget-id@2,lost-readstate@2")}
    assert "read-state-not-moved" in found
    assert "given-lost-valid-id" not in found  # both choose for the download: the one named last does
    found = {one.rule for one in session(tmp_path / "bad.pcapng", clock, downloads, "forget-id@2", "lost-readstate@3")}
    assert "given-lost-valid-id" in found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense", "there is no fault 'nonsense'"),
        ("Resend", "not of the form"),
        ("resend@", "not of the form"),
        ("resend@0", "counted from 1"),
        ("resend@5-2", "the range 5-2 is reversed"),
        ("resend:0", "out of range"),
        ("resend:x", "is no number"),
        ("slow:soon", "is no time"),
        ("keep-deleted:3", "takes no argument"),
        ("http-error:200", "out of range"),
        ("http-error:700", "no status"),
        ("refuse-import:ecNoSuchCode", "is no number"),
    ],
)
def test_what_cannot_be_understood_is_said(text: str, why: str) -> None:
    with pytest.raises(FaultError, match=why):
        parse([text])


def test_several_are_read_from_one_argument() -> None:
    first, second, third = parse(["resend:2@3-4, slow:250ms", "silence@7"])
    assert (first.name, second.name, third.name) == ("resend", "slow", "silence")
    assert [first.happens() for _ in range(5)] == [False, False, True, True, False]
    assert isinstance(second, Slow)
    assert second.time == 0.25
    assert [third.happens() for _ in range(8)] == [False] * 6 + [True, False]


def test_the_documentation_has_them_all() -> None:
    text = (Path(__file__).resolve().parents[4] / "docs" / "servers.md").read_text(encoding="utf-8")
    for name, kind in FAULTS.items():
        shown = f"`{name}:`{kind.argument}" if kind.argument else f"`{name}`"
        assert f"| {shown} | {kind.about.rstrip('.')} | {kind.chance} | {kind.rule} |" in text
