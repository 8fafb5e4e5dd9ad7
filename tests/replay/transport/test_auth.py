"""Logging on: Basic, NTLM and Negotiate against a real acceptor, bearer tokens; what is refused and how."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import httpx
import pytest
import spnego
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from spnego.channel_bindings import GssChannelBindings

from replay.asking import Outgoing
from replay.errors import RefusedError, ReplayError
from replay.messages import connect_body, disconnect_body
from replay.server.runner import RunningServer
from replay.transport.auth import Challenged, Credentials, Method, challenges, is_loopback
from replay.transport.mapihttp import MapiHttp
from tests.replay.servers import Handler, certificate, front

CONNECT = Outgoing(1, "Connect", connect_body("/o=x/cn=alice"))
DISCONNECT = Outgoing(1, "Disconnect", disconnect_body())
BASIC = "Basic " + base64.b64encode(b"alice:secret").decode()


def talk(url: str, credentials: Credentials, **options: Any) -> None:
    with MapiHttp(url, credentials, **options) as client:
        client.send(CONNECT)
        client.send(DISCONNECT)


def logged_on(handler: Handler) -> None:
    """What the server behind knows the user by."""
    del handler.headers["Authorization"]
    handler.headers["Authorization"] = BASIC


class Acceptor:
    """A `before` hook: lets requests through whose connection has logged on."""

    def __init__(self, scheme: str, bindings: Any = None) -> None:
        self.scheme, self.bindings = scheme, bindings
        self.users: list[str] = []
        self.logons = 0

    def __call__(self, number: int, body: bytes, handler: Any) -> bool:
        if getattr(handler, "user", ""):
            logged_on(handler)
            return False
        kind, _, token = handler.headers.get("Authorization", "").partition(" ")
        if kind.lower() != self.scheme:
            handler.plain(401, WWW_Authenticate=self.scheme.capitalize())
            return True
        if getattr(handler, "context", None) is None:
            self.logons += 1
            handler.context = spnego.server(protocol=self.scheme, channel_bindings=self.bindings)
        try:
            answer = handler.context.step(base64.b64decode(token))
        except spnego.exceptions.SpnegoError:
            handler.plain(401, WWW_Authenticate=self.scheme.capitalize())
            return True
        if handler.context.complete:
            handler.user = handler.context.client_principal
            self.users.append(handler.user)
            logged_on(handler)
            return False
        handler.plain(401, WWW_Authenticate=f"{self.scheme.capitalize()} {base64.b64encode(answer).decode()}")
        return True


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who the NTLM acceptor knows."""
    file = tmp_path / "users.txt"
    file.write_text("EXAMPLE:alice:p4ss word\n")
    monkeypatch.setenv("NTLM_USER_FILE", str(file))


ALICE = Credentials("EXAMPLE\\alice", password="p4ss word")


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize("scheme", ["ntlm", "negotiate"])
def test_ntlm_and_negotiate_log_a_connection_on_once(scheme: str) -> None:
    acceptor = Acceptor(scheme)
    with RunningServer("alice", "secret") as server, front(server.base_url, before=acceptor) as before:
        talk(before.base_url, ALICE)
    assert acceptor.users == ["EXAMPLE\\alice"]
    assert acceptor.logons == 1
    assert all("p4ss" not in str(seen) for seen in before.seen)


@pytest.mark.usefixtures("users")
def test_a_wrong_password_over_ntlm() -> None:
    with (
        RunningServer("alice", "secret") as server,
        front(server.base_url, before=Acceptor("ntlm")) as before,
        pytest.raises(RefusedError) as caught,
    ):
        talk(before.base_url, Credentials("EXAMPLE\\alice", password="guess-me-not"))
    assert "guess-me-not" not in str(caught.value)


@pytest.mark.usefixtures("users")
def test_channel_bindings_bind_the_log_on_to_the_certificate(tmp_path: Path) -> None:
    tls, pem = certificate(tmp_path)
    raw = x509.load_pem_x509_certificate(pem.read_bytes()).public_bytes(Encoding.DER)
    right = GssChannelBindings(application_data=b"tls-server-end-point:" + hashlib.sha256(raw).digest())
    wrong = GssChannelBindings(application_data=b"tls-server-end-point:" + bytes(32))
    with RunningServer("alice", "secret") as server:
        acceptor = Acceptor("ntlm", right)
        with front(server.base_url, before=acceptor, tls=tls) as before:
            talk(before.base_url, ALICE, ca=str(pem))
        assert acceptor.users == ["EXAMPLE\\alice"]
        acceptor = Acceptor("ntlm", wrong)
        with front(server.base_url, before=acceptor, tls=tls) as before, pytest.raises(RefusedError):
            talk(before.base_url, ALICE, ca=str(pem))


def test_basic_is_answered_where_it_is_all_there_is() -> None:
    with RunningServer("alice", "secret") as server, front(server.base_url) as before:
        talk(before.base_url, Credentials("alice", password="secret"))
        assert [("authorization" in seen) for seen in before.seen] == [False, True, True]
        with pytest.raises(RefusedError, match="refuses user 'alice'"):
            talk(before.base_url, Credentials("alice", password="wrong"))


def test_a_method_that_the_server_does_not_offer() -> None:
    refusal = "offers basic to log on with, not ntlm"
    with RunningServer("alice", "secret") as server, pytest.raises(RefusedError, match=refusal):
        talk(server.base_url, Credentials("alice", password="secret", method=Method.NTLM))


def test_a_password_is_not_sent_in_clear_to_another_machine() -> None:
    url = "http://mail.example.test/mapi"
    flow = Challenged(Credentials("alice", password="secret"), httpx.URL(url)).auth_flow(httpx.Request("POST", url))
    next(flow)
    with pytest.raises(RefusedError, match="use https, or --auth basic"):
        flow.send(httpx.Response(401, headers={"WWW-Authenticate": 'Basic realm="x"'}))


def test_a_bearer_token_is_sent_and_never_shown() -> None:
    tokens = []

    def check(number: int, body: bytes, handler: Handler) -> bool:
        tokens.append(handler.headers["Authorization"])
        if handler.headers["Authorization"] != "Bearer t0ken":
            handler.plain(401, WWW_Authenticate="Bearer")
            return True
        logged_on(handler)
        return False

    with RunningServer("alice", "secret") as server, front(server.base_url, before=check) as before:
        talk(before.base_url, Credentials("alice", token="t0ken", method=Method.BEARER))
        assert tokens == ["Bearer t0ken"] * 2
        with pytest.raises(RefusedError, match="refuses the token") as caught:
            talk(before.base_url, Credentials("alice", token="0ther", method=Method.BEARER))
    assert "0ther" not in str(caught.value)
    with pytest.raises(ReplayError, match="there is none"):
        talk("http://127.0.0.1:9", Credentials("alice", method=Method.BEARER))


@pytest.mark.skipif(importlib.util.find_spec("gssapi") is not None, reason="the Kerberos packages are installed")
def test_a_keytab_without_the_kerberos_packages_says_what_is_missing(tmp_path: Path) -> None:
    keytab = tmp_path / "alice.keytab"
    keytab.write_bytes(b"\x05\x02")

    def offer(number: int, body: bytes, handler: Handler) -> bool:
        handler.plain(401, WWW_Authenticate="Negotiate")
        return True

    with (
        front("http://127.0.0.1:9", before=offer) as before,
        pytest.raises(RefusedError, match=r"mapi-dissector\[kerberos\]"),
    ):
        talk(before.base_url, Credentials("alice@EXAMPLE", keytab=str(keytab), method=Method.NEGOTIATE))


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["Negotiate", "NTLM"], {"negotiate": "", "ntlm": ""}),
        (["Negotiate YII=", 'Basic realm="a, b"'], {"negotiate": "YII=", "basic": 'realm="a, b"'}),
        (['NTLM, Basic realm="x"'], {"ntlm": "", "basic": 'realm="x"'}),
        ([], {}),
    ],
)
def test_what_a_401_offers(lines: list[str], found: dict[str, str]) -> None:
    response = httpx.Response(401, headers=[("WWW-Authenticate", line) for line in lines])
    assert challenges(response) == found


LOCAL = ["localhost", "127.0.0.9", "::1", "[::1]"]


@pytest.mark.parametrize("host", [*LOCAL, "mail.test", "10.0.0.1", "localhost.test"])
def test_which_hosts_are_this_machine(host: str) -> None:
    assert is_loopback(host) is (host in LOCAL)


def test_secrets_are_in_no_repr() -> None:
    assert "hush" not in repr(Credentials("alice", password="hush", token="husher"))
