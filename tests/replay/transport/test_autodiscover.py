"""Autodiscover against a server on a real socket."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from replay.errors import CertificateError, ProtocolError, RefusedError, ReplayError, SilenceError, UnreachableError
from replay.server.runner import RunningServer
from replay.transport.auth import Credentials, Method
from replay.transport.autodiscover import PATH, Found, discover, urls_of
from replay.transport.mapihttp import Limits
from tests.conftest import LONG, ROOT
from tests.replay.servers import certificate

ALICE = Credentials("alice", "secret", method=Method.BASIC)
DN = "/o=first organization/cn=alice"
Answer = tuple[int, str, dict[str, str]]


class Face(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, dict(self.headers), body))
        status, text, headers = self.server.answer(self.path, body)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(text.encode()))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def answering(answer: Callable[[str, bytes], Answer], tls: Any = None) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Face)
    server.daemon_threads, server.answer, server.seen = True, answer, []
    server.handle_error = lambda *_: None
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.url = f"{'https' if tls is not None else 'http'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def settings(url: str, kind: str = 'Type="mapiHttp" Version="1"', name: str = "ExternalUrl") -> str:
    return envelope(
        f"<Action>settings</Action><Protocol {kind}><MailStore><{name}>{url}</{name}></MailStore></Protocol>"
        "<Protocol><Type>WEB</Type></Protocol>"
    )


def envelope(account: str) -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006">'
        '<Response xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a">'
        f"<User><DisplayName>Alice</DisplayName><LegacyDN>{DN}</LegacyDN></User>"
        f"<Account><AccountType>email</AccountType>{account}</Account></Response></Autodiscover>"
    )


def told(status: int, text: str = "", **headers: str) -> Callable[[str, bytes], Answer]:
    return lambda path, body: (status, text, headers)


@pytest.mark.parametrize("name", ["ExternalUrl", "InternalUrl"])
def test_the_endpoint_and_the_mailbox_are_told(name: str) -> None:
    with answering(told(200, settings("https://mail.example.test/mapi/emsmdb/?MailboxId=1", name=name))) as server:
        found = discover("alice@example.test", ALICE, server.url)
    assert found == Found("https://mail.example.test/mapi/emsmdb/?MailboxId=1", DN, server.url + PATH)
    ((path, headers, body),) = server.seen
    assert path == PATH
    assert headers["X-MapiHttpCapability"] == "1"
    assert base64.b64decode(headers["Authorization"].split()[1]) == b"alice:secret"
    names = "{http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006}"
    assert ElementTree.fromstring(body).findtext(f"{names}Request/{names}EMailAddress") == "alice@example.test"


def test_other_addresses_and_servers_are_followed() -> None:
    def answer(path: str, body: bytes) -> Answer:
        if b"alice@example.test" in body:
            return 200, envelope("<Action>redirectAddr</Action><RedirectAddr>a@cloud.test</RedirectAddr>"), {}
        if path == PATH:
            return 200, envelope(f"<Action>redirectUrl</Action><RedirectUrl>{server.url}/b.xml</RedirectUrl>"), {}
        if path == "/b.xml":
            return 302, "", {"Location": "/c.xml"}
        return 200, settings("https://mail.example.test/m"), {}

    with answering(answer) as server:
        assert discover("alice@example.test", ALICE, server.url).server == "https://mail.example.test/m"
    assert [path for path, *_ in server.seen] == [PATH, PATH, "/b.xml", "/c.xml"]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (told(401), RefusedError, "refuses user 'alice' or the password"),
        (told(404), UnreachableError, "HTTP 404"),
        (told(500), ProtocolError, "HTTP 500"),
        (told(200, "<html>"), ProtocolError, "no autodiscover answer"),
        (told(200, "\0\1"), ProtocolError, "no autodiscover answer"),
        (
            told(200, envelope("<Action>settings</Action><Protocol><Type>EXCH</Type></Protocol>")),
            ProtocolError,
            "offers EXCH, not mapiHttp; RPC is not supported as a target",
        ),
        (
            told(200, "<A><Response><Error><ErrorCode>500</ErrorCode><Message>nobody</Message></Error></Response></A>"),
            ProtocolError,
            "error 500 nobody",
        ),
        (
            told(200, envelope("<Action>redirectUrl</Action><RedirectUrl>http://evil.test/x</RedirectUrl>")),
            ProtocolError,
            "which is not https",
        ),
        (
            told(200, envelope("<Action>redirectAddr</Action><RedirectAddr>alice@example.test</RedirectAddr>")),
            ProtocolError,
            "in a circle",
        ),
    ],
)
def test_what_leads_nowhere_says_why(answer: Any, error: type[ReplayError], words: str) -> None:
    with answering(answer) as server, pytest.raises(error, match=words):
        discover("alice@example.test", ALICE, server.url)


def test_a_host_that_may_not_be_told_is_not_asked() -> None:
    def never(host: str) -> None:
        raise ReplayError(f"{host} is not to be told")

    with (
        answering(told(200, settings("https://x.test/"))) as server,
        pytest.raises(ReplayError, match="not to be told"),
    ):
        discover("alice@example.test", ALICE, server.url, allow=never)
    assert server.seen == []


def test_certificates_count_and_silence_ends(tmp_path: Path) -> None:
    context, pem = certificate(tmp_path)
    with answering(told(200, settings("https://x.test/")), context) as server:
        with pytest.raises(CertificateError, match="does not verify"):
            discover("alice@example.test", ALICE, server.url)
        assert server.seen == []
        assert discover("alice@example.test", ALICE, server.url, ca=str(pem)).server == "https://x.test/"
    stop = threading.Event()

    def wait(path: str, body: bytes) -> Answer:
        stop.wait(LONG)
        return 200, "", {}

    with answering(wait) as server:
        with pytest.raises(SilenceError, match="does not answer"):
            discover("alice@example.test", ALICE, server.url, limits=Limits(silence=0.2))
        stop.set()


def test_where_is_asked() -> None:
    assert urls_of("a@b.test") == [f"https://b.test{PATH}", f"https://autodiscover.b.test{PATH}"]
    assert urls_of("a@b.test", "https://c.test:8443") == [f"https://c.test:8443{PATH}"]
    assert urls_of("a@b.test", "https://c.test/my.xml") == ["https://c.test/my.xml"]
    for address, server in (("b.test", ""), ("@b.test", ""), ("a@b.test", "c.test")):
        with pytest.raises(ReplayError):
            urls_of(address, server)


def test_from_the_command_line() -> None:
    with RunningServer("alice", "secret") as server, answering(told(200, settings(server.url))) as face:

        def run(*options: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "replay", "run", str(ROOT / "captures" / "notify.pcap"), "--user", "alice",
                 "--autodiscover", "alice@example.test", *options],
                capture_output=True, text=True, timeout=LONG, stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(ROOT), "REPLAY_PASSWORD": "secret"},
            )  # fmt: skip

        done = run("--server", face.url)
        assert done.returncode == 0, done.stderr
        assert done.stderr == f"replay: {face.url}{PATH} says {server.url}\n"
        assert "ROPs compared" in done.stdout
        asked = run()
        assert asked.returncode == 2
        assert "example.test is not this machine: confirm with --yes" in asked.stderr
        face.answer = told(401)
        assert run("--server", face.url, "--exit-by-cause").returncode == 4
