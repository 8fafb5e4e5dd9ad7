"""The client against servers that misbehave: each failure has its own words and its own exit code."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from dissector.pipeline import dissect
from replay.asking import Outgoing
from replay.errors import (
    CertificateError,
    ClosedError,
    ProtocolError,
    RefusedError,
    ReplayError,
    SilenceError,
    UnreachableError,
)
from replay.messages import connect_body
from replay.plan import Planner
from replay.report import Report
from replay.runner import Target, run_steps
from replay.server.runner import RunningServer
from replay.transport.auth import Credentials, Method
from replay.transport.autodiscover import urls_of
from replay.transport.mapihttp import Limits, MapiHttp, endpoint
from tests.conftest import LONG, ROOT
from tests.replay.servers import HEAD, Handler, certificate, chunk, front, read_request, rude

UPLOAD = ROOT / "captures" / "upload-session.pcap"
ALICE = Credentials("alice", "secret", method=Method.BASIC)
PATIENT = Limits(connect=LONG, silence=LONG, request=LONG)
BRIEF = Limits(connect=LONG, silence=1.5, request=LONG)
"""For servers that fall silent; not for others, whose answers may take long on a busy machine."""
CONNECT = Outgoing(1, "Connect", connect_body("/o=x/cn=alice"))


def ask(url: str, limits: Limits = PATIENT, **options: object) -> bytes:
    with MapiHttp(url, ALICE, limits=limits, **options) as client:  # type: ignore[arg-type]
        answer = client.send(CONNECT)
    assert answer.response is not None
    return answer.response.body.data


def replayed(url: str, limits: Limits = PATIENT, **options: object) -> Report:
    with dissect(UPLOAD) as dissection:
        target = Target(url, ALICE, "/o=x/cn=alice", limits=limits, **options)  # type: ignore[arg-type]
        return run_steps(Planner().steps(dissection.exchanges()), target)


# Addresses.


@pytest.mark.parametrize(
    ("url", "made"),
    [
        ("http://h:1", "http://h:1/mapi/emsmdb/?MailboxId=alice@x"),
        ("https://h/", "https://h/mapi/emsmdb/?MailboxId=alice@x"),
        ("https://h/mapi/emsmdb/?MailboxId=9", "https://h/mapi/emsmdb/?MailboxId=9"),
    ],
)
def test_an_endpoint_is_made_of_a_host(url: str, made: str) -> None:
    assert endpoint(url, "alice@x") == made


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mail.example.test", "not an http:// or https:// URL"),
        ("ncacn_ip_tcp://h", "RPC is not supported as a target"),
        ("http://h:99999999", "--server"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, words: str) -> None:
    with pytest.raises(ReplayError, match=words):
        endpoint(url, "alice")


@pytest.mark.parametrize(
    "url",
    [
        "http://alice:Sekret@h:1", "https://alice:Sekret@h/mapi/emsmdb/?MailboxId=9", "http://Sekret@h",
        "alice:Sekret@h", "http://alice:Sekret@h:99999999", "ncacn_http://alice:Sekret@h",
    ],
)  # fmt: skip
def test_a_url_with_a_password_is_refused_unseen(url: str) -> None:
    for used in (lambda: endpoint(url, "alice"), lambda: urls_of("alice@h", url)):
        with pytest.raises(ReplayError, match="REPLAY_PASSWORD") as raised:
            used()
        assert "Sekret" not in str(raised.value)


# Failures.


def silent(connection: socket.socket, number: int) -> None:
    read_request(connection)
    connection.recv(1)  # until the client has had enough


def stops(connection: socket.socket, number: int) -> None:
    read_request(connection)
    connection.sendall(HEAD + chunk(b"PROCESSING\r\n"))
    connection.recv(1)


def closes(connection: socket.socket, number: int) -> None:
    read_request(connection)
    connection.sendall(HEAD + chunk(b"PROCESSING\r\nPENDING\r\n"))


def hangs_up(connection: socket.socket, number: int) -> None:
    read_request(connection)


def ends_early(connection: socket.socket, number: int) -> None:
    read_request(connection)
    connection.sendall(HEAD + chunk(b"PROCESSING\r\nPENDING\r\n") + b"0\r\n\r\n")


def no_http(connection: socket.socket, number: int) -> None:
    read_request(connection)
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\r\n")


def talks_first(connection: socket.socket, number: int) -> None:
    connection.sendall(plain("400 Bad Request"))
    connection.recv(65536)


def answering(text: bytes) -> Callable[[socket.socket, int], None]:
    def answer(connection: socket.socket, number: int) -> None:
        while read_request(connection):
            connection.sendall(text)

    return answer


def plain(status: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]).encode() + body


MAPI = "Content-Type: application/mapi-http"
MISBEHAVIOUR = [
    (silent, SilenceError, 6, "the server does not answer; nothing came for 1.5 s"),
    (stops, SilenceError, 6, "the server stopped answering; nothing came for 1.5 s"),
    (closes, ClosedError, 7, "the server closed the connection in mid-answer, behind 21 bytes"),
    (hangs_up, ClosedError, 7, "the server closed the connection without an answer"),
    (ends_early, ClosedError, 7, "the answer ends before it is DONE"),
    (no_http, ProtocolError, 8, "the answer is no HTTP"),
    (answering(plain("401 No", 'WWW-Authenticate: Basic realm="x"')), RefusedError, 4, "refuses user 'alice'"),
    (answering(plain("403 Forbidden")), RefusedError, 4, "HTTP 403"),
    (answering(plain("404 Not Found")), ProtocolError, 8, "HTTP 404 Not Found"),
    (answering(plain("302 Found", "Location: https://o.test/x")), ProtocolError, 8, "sends us to 'https://o.test/x'"),
    (answering(plain("200 OK", body=b"<html>")), ProtocolError, 8, "is this a MAPI/HTTP endpoint"),
    (answering(plain("200 OK", "X-ResponseCode: 10", body=b"no")), ProtocolError, 8, "X-ResponseCode 10"),
    (answering(plain("200 OK", "X-ResponseCode: odd", MAPI)), ProtocolError, 8, "X-ResponseCode odd"),
]


@pytest.mark.parametrize(("behaviour", "error", "code", "words"), MISBEHAVIOUR)
def test_every_failure_has_its_words_and_its_code(
    behaviour: Callable[[socket.socket, int], None], error: type[ReplayError], code: int, words: str
) -> None:
    with rude(behaviour) as url, pytest.raises(error) as caught:
        ask(url, BRIEF if error is SilenceError else PATIENT)
    assert words in str(caught.value)
    assert "Connect" in str(caught.value)
    assert caught.value.exit_code == code


def test_nobody_is_there() -> None:
    with pytest.raises(UnreachableError, match="cannot connect") as caught:
        ask("http://127.0.0.1:9")
    assert caught.value.exit_code == 3


def test_plain_http_where_tls_was_asked_for() -> None:
    with rude(talks_first) as url, pytest.raises(ReplayError, match="TLS fails"):
        ask(url.replace("http:", "https:"))


@pytest.mark.parametrize(("how", "code", "words"), [("silent", 6, "stopped answering"), ("closes", 7, "in mid-answer")])
def test_the_report_up_to_a_failure_is_kept(how: str, code: int, words: str) -> None:
    def hook(number: int, body: bytes, handler: Handler) -> bytes | None:
        if number < 30:
            return body
        handler.send_response(200)
        handler.send_header("X-ResponseCode", "0")
        handler.send_header("Content-Type", "application/mapi-http")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2])
        handler.wfile.flush()
        if how == "silent":
            handler.rfile.read(1)  # until the client has had enough
        handler.close_connection = True
        return None

    with RunningServer("alice", "secret") as server, front(server.base_url, hook) as before:
        report = replayed(before.base_url, BRIEF if how == "silent" else PATIENT)
    assert words in report.failure
    assert report.exit_code == code
    assert report.steps >= 20
    assert report.as_json()["failure"] == report.failure


# Busy servers.


def test_a_busy_server_is_asked_again_when_it_says_so() -> None:
    waits: list[float] = []

    def busy(number: int, body: bytes, handler: Handler) -> bool:
        if number in (0, 1):
            handler.plain(503, Retry_After="2")
            return True
        return False

    with (
        RunningServer("alice", "secret") as server,
        front(server.base_url, before=busy) as before,
        MapiHttp(before.base_url, ALICE, limits=PATIENT, pause=waits.append) as client,
    ):
        client.send(CONNECT)
    assert waits == [2.0, 2.0]
    assert before.count == 3
    assert len({seen["x-requestid"] for seen in before.seen}) == 1


def test_a_server_that_stays_busy() -> None:
    with rude(answering(plain("503 Service Unavailable"))) as url, pytest.raises(ProtocolError, match="still busy"):
        ask(url, pause=lambda seconds: None)


def test_a_server_that_goes_away_is_tried_again_and_given_up() -> None:
    waits: list[float] = []
    with (
        RunningServer("alice", "secret") as server,
        MapiHttp(server.base_url, ALICE, limits=PATIENT, pause=waits.append) as client,
    ):
        client.send(CONNECT)
        server.stop()
        with pytest.raises(ReplayError):
            client.send(CONNECT)
        with pytest.raises(UnreachableError):
            client.send(CONNECT)
    assert waits[-3:] == [1.0, 2.0, 4.0]


def test_pending_is_waited_for_and_silence_is_not_counted() -> None:
    """A server that says PENDING every 0.2 s is alive, although its answer takes longer than the limit of silence."""

    def slow(connection: socket.socket, number: int, times: int = 9) -> None:
        read_request(connection)
        connection.sendall(HEAD + chunk(b"PROCESSING\r\n"))
        for _ in range(times):
            time.sleep(0.2)
            connection.sendall(chunk(b"PENDING\r\n"))
        connection.sendall(chunk(b"DONE\r\nX-ElapsedTime: 1800\r\n\r\n" + bytes(36)) + b"0\r\n\r\n")

    with rude(slow) as url:
        assert ask(url, BRIEF).count(b"PENDING") == 9
    endless = partial(slow, times=10**6)
    with rude(endless) as url, pytest.raises(SilenceError, match=r"not done after 0\.5 s, the time limit"):
        ask(url, Limits(silence=LONG, request=0.5))


def test_a_failure_that_is_told_behind_done() -> None:
    told = HEAD + chunk(b"PROCESSING\r\nDONE\r\nX-ResponseCode: 18\r\n\r\n<p>bye</p>") + b"0\r\n\r\n"
    with rude(answering(told)) as url, pytest.raises(ProtocolError, match="X-ResponseCode 18"):
        ask(url)


# TLS.


def test_a_certificate_that_does_not_verify(tmp_path: Path) -> None:
    tls, pem = certificate(tmp_path)
    with RunningServer("alice", "secret") as server, front(server.base_url, tls=tls) as before:
        report = replayed(before.base_url)
        assert report.exit_code == 5
        assert "certificate does not verify: self-signed certificate" in report.failure
        assert "--ca FILE" in report.failure
        assert "--insecure" in report.failure
        assert replayed(before.base_url, verify=False).failure == ""
        assert replayed(before.base_url, ca=str(pem)).failure == ""


def test_an_expired_certificate_says_so(tmp_path: Path) -> None:
    tls, pem = certificate(tmp_path, days=-1)
    with rude(silent, tls) as url, pytest.raises(CertificateError, match="expired"):
        ask(url, ca=str(pem))


def test_an_authority_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="No such file"):
        MapiHttp("https://h", ALICE, ca=str(tmp_path / "none.pem"))
    (tmp_path / "odd.pem").write_text("nothing")
    with pytest.raises(ReplayError, match="--ca"):
        MapiHttp("https://h", ALICE, ca=str(tmp_path / "odd.pem"))
