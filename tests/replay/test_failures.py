"""What goes wrong in a replay, over real sockets and from the command line: words, exit codes, what is kept.

Every way a replay can go wrong ends with one clear message and an exit code of its own (--exit-by-cause), and the
report up to there is whole in every form, the saved capture too.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from dissector.pipeline import dissect
from replay.server.runner import RunningServer
from tests.conftest import LONG, ROOT, until
from tests.replay.server.client import Client
from tests.replay.servers import Handler, certificate, front
from tests.replay.sessions import BODY, recorded
from tests.replay.test_whole import delete, only_message, twice

UPLOAD = ROOT / "captures" / "upload-session.pcap"
INCREMENTAL = ROOT / "captures" / "contents-incremental.pcap"
LATE = 30
"""The request at which a server goes bad."""


class Run:
    """A replay from the command line, and the files that it left."""

    def __init__(self, folder: Path, capture: Path, url: str, *options: object, password: str = "secret") -> None:
        self.files = {form: folder / f"report.{form}" for form in ("json", "xml", "html", "txt")}
        self.saved = folder / "saved.pcapng"
        self.arguments = [
            sys.executable, "-m", "replay", "run", str(capture), "--server", url, "--user", "alice", "--auth", "basic",
            "--save-capture", str(self.saved), "--overwrite", *map(str, options),
            *(str(part) for file in self.files.values() for part in ("--report", file)),
        ]  # fmt: skip
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "REPLAY_PASSWORD": password}
        self.code, self.told = 0, ""

    def done(self) -> Run:
        ended = subprocess.run(
            self.arguments, env=self.environment, capture_output=True, text=True, timeout=LONG, stdin=subprocess.DEVNULL
        )  # fmt: skip
        return self.ended(ended.returncode, ended.stderr)

    def ended(self, code: int, told: str) -> Run:
        self.code, self.told = code, told
        assert "Traceback" not in told
        return self

    @property
    def report(self) -> Any:
        return json.loads(self.files["json"].read_text("utf-8"))

    def kept(self, words: str, steps: int) -> None:
        """Every report is whole and holds the message; so is the capture."""
        report = self.report
        assert report["steps"] >= steps
        assert report["exit_code"] == self.code
        texts = {form: file.read_text("utf-8") for form, file in self.files.items()}
        suite = ElementTree.fromstring(texts["xml"])
        assert int(suite.attrib["tests"]) >= report["steps"]
        assert texts["html"].rstrip().endswith("</html>")
        assert f"{report['steps']} ROPs compared" in texts["txt"]
        for form in ("json", "txt"):
            assert words in texts[form], form
        assert words in unescape(texts["html"])
        assert words in " ".join([*suite.itertext(), *(text for one in suite.iter() for text in one.attrib.values())])
        assert b"secret" not in self.saved.read_bytes()
        with dissect(self.saved) as dissection:
            exchanges = list(dissection.exchanges())
            assert dissection.capture.summary.diagnostics == []
        shown = [rop for one in exchanges for rop in one.rops if rop.response is not None or rop.name == "RopRelease"]
        assert len(shown) >= report["steps"]


Hook = Callable[[int, bytes, Handler], bytes | None]


def half(silent: bool) -> Hook:
    """From request LATE on half of the answer comes, then silence until the client has had enough, or the end."""

    def hook(number: int, body: bytes, handler: Handler) -> bytes | None:
        if number < LATE:
            return body
        handler.send_response(200)
        handler.send_header("X-ResponseCode", "0")
        handler.send_header("Content-Type", "application/mapi-http")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2])
        handler.wfile.flush()
        if silent:
            handler.rfile.read(1)
        handler.close_connection = True
        return None

    return hook


def never(number: int, body: bytes, handler: Handler) -> bool:
    """From request LATE on nothing is answered."""
    if number < LATE:
        return False
    handler.rfile.read(1)
    handler.close_connection = True
    return True


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"before": never}, 6, "Execute: the server does not answer; nothing came for 3 s"),
        ({"hook": half(True)}, 6, "Execute: the server stopped answering; nothing came for 3 s"),
        ({"hook": half(False)}, 7, "Execute: the server closed the connection in mid-answer, behind"),
    ],
)
def test_a_server_that_goes_away(tmp_path: Path, options: Any, code: int, words: str) -> None:
    with RunningServer("alice", "secret") as server, front(server.base_url, **options) as before:
        run = Run(tmp_path, UPLOAD, before.base_url, "--timeout", 3, "--exit-by-cause").done()
    assert run.code == code
    assert words in run.told
    assert len(run.told.strip().splitlines()) == 1
    assert words in run.report["failure"]
    run.kept(words, 20)
    with dissect(run.saved) as dissection:
        last = list(dissection.exchanges())[-1]
    assert last.rops, "the request that got no answer is in the capture"
    assert all(rop.request is not None and rop.response is None for rop in last.rops)


def test_a_wrong_password(tmp_path: Path) -> None:
    with RunningServer("alice", "secret") as server:
        run = Run(tmp_path, UPLOAD, server.base_url, "--exit-by-cause", password="guess-me-not").done()
    assert run.code == 4
    words = "the server refuses user 'alice' or the password (HTTP 401)"
    assert words in run.told
    run.kept(words, 0)
    assert not any(b"guess-me-not" in file.read_bytes() for file in (*run.files.values(), run.saved))


@pytest.mark.parametrize(
    ("days", "words"), [(2, "does not verify: self"), (-1, "does not verify: certificate has expired")]
)
def test_a_certificate_that_does_not_verify(tmp_path: Path, days: int, words: str) -> None:
    context, pem = certificate(tmp_path, days=days)
    with RunningServer("alice", "secret") as server, front(server.base_url, tls=context) as before:
        options = ["--ca", pem] if days < 0 else []
        run = Run(tmp_path, INCREMENTAL, before.base_url, "--exit-by-cause", *options).done()
        assert before.count == 0, "nothing is sent to a server that is not known"
        assert run.code == 5
        assert words in run.told
        run.kept(words, 0)
        if days > 0:
            trusted = Run(tmp_path, INCREMENTAL, before.base_url, "--seed", "--ca", pem).done()
            assert (trusted.code, trusted.told) == (0, "")
        blind = Run(tmp_path, UPLOAD, before.base_url, "--insecure").done()
        assert (blind.code, blind.told) == (1, "")


def test_a_stale_state(tmp_path: Path) -> None:
    with RunningServer("alice", "secret") as server:
        run = Run(tmp_path, INCREMENTAL, server.base_url, "--exit-by-cause").done()
    assert (run.code, run.told) == (11, "")
    run.kept("the state that was uploaded is not sure", 30)
    assert "stale" in {one["cause"] for one in run.report["differences"]}


@pytest.mark.parametrize("what", ["conflict", "deleted"])
def test_a_target_that_changes_meanwhile(tmp_path: Path, what: str) -> None:
    def change(client: Client) -> None:
        inbox, inbox_id, identifier = only_message(client)
        message = client.open_message(inbox, inbox_id, identifier)["Handle"]
        client.set(message, (BODY, "by somebody else"))
        client.save(message)

    act, code, words = {
        "conflict": (change, 12, "the live server has a version that the upload does not know of: a conflict"),
        "deleted": (delete, 13, "the object was deleted on the live server"),
    }[what]
    path = tmp_path / "twice.pcapng"
    moment = recorded(path, twice)
    with RunningServer("alice", "secret") as server:

        def meanwhile(number: int, body: bytes, handler: Handler) -> bool:
            if number == moment:
                with Client(server) as client:
                    client.connect()
                    act(client)
            return False

        with front(server.base_url, before=meanwhile) as before:
            run = Run(tmp_path, path, before.base_url, "--stop-on", "error", "--exit-by-cause").done()
    assert (run.code, run.told) == (code, "")
    assert run.report["stopped"].startswith("stopped at frame")
    run.kept(words, 5)
    assert [one["cause"] for one in run.report["differences"] if one["verdict"] == "different"] == [what]


def test_without_the_option_the_codes_are_0_1_2(tmp_path: Path) -> None:
    with RunningServer("alice", "secret") as server:
        assert Run(tmp_path, INCREMENTAL, server.base_url).done().code == 1
        assert Run(tmp_path, INCREMENTAL, server.base_url, password="wrong").done().code == 2


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_the_report(tmp_path: Path, number: signal.Signals) -> None:
    began = tmp_path / "began"

    def slow(number: int, body: bytes, handler: Handler) -> bool:
        if number == LATE:
            began.touch()
        if number >= LATE:
            time.sleep(1)
        return False

    with RunningServer("alice", "secret") as server, front(server.base_url, before=slow) as before:
        run = Run(tmp_path, UPLOAD, before.base_url)
        process = subprocess.Popen(run.arguments, env=run.environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                                   text=True)  # fmt: skip
        until(began.exists)
        process.send_signal(number)
        _, told = process.communicate(timeout=LONG)
    run.ended(process.returncode, told)
    assert (run.code, run.told) == (130, "replay: interrupted\n")
    run.kept("interrupted", 20)


def test_a_report_that_cannot_be_written_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        for name, words in (("report.pdf", "the ending says the form"), ("no/such.json", "No such file or directory")):
            run = Run(tmp_path, UPLOAD, url, "--report", tmp_path / name).done()
            assert run.code == 2
            assert words in run.told
        with pytest.raises(TimeoutError):
            listener.accept()
