"""MAPI/HTTP: authentication, headers, cookies, meta-tags, and what is wrong with a request."""

from __future__ import annotations

import logging
import threading
import time

import httpx
import pytest

from dissector.emsmdb import buffers
from dissector.grammar.auxiliary import AuxBlocks
from dissector.grammar.base import build
from dissector.grammar.envelopes import MAILBOX
from dissector.grammar.reading import parse
from dissector.source import ByteSource
from replay.server import RunningServer
from replay.server.app import MAX_BODY
from tests.conftest import LONG, until
from tests.replay.server.client import PLAIN, Client, rop_buffer

CONNECT = build(
    MAILBOX["Connect"].request,
    {"UserDn": "", "Flags": 0, "DefaultCodePage": 1252, "LcidSort": 0, "LcidString": 0, "AuxiliaryBuffer": b""},
)


def test_connect_and_disconnect(server: RunningServer) -> None:
    with Client(server) as client:
        answer = client.connect()
        assert answer["ErrorCode"] == 0
        assert answer["DisplayName"] == "alice"
        chain = buffers.chain(ByteSource("aux", answer["AuxiliaryBuffer"]), 0, len(answer["AuxiliaryBuffer"]), "aux")
        (part,) = chain.parts
        blocks = {one["Type"]: one["Body"] for one in parse(AuxBlocks, part.plain.data)[0]}
        assert blocks[0x46]["ServerCapabilityFlags"] == 0xB
        assert (blocks[0x17]["OrgFlags"], blocks[0x48]["EndpointCapabilityFlag"]) == (0, 1)
        assert len(server.server.contexts) == 1
        assert client.disconnect()["ErrorCode"] == 0
        assert not server.server.contexts
        assert client.post("Execute", b"\0" * 16).headers["x-responsecode"] == "10"


def test_response_headers(client: Client) -> None:
    response = client.post("PING")
    assert client.body(response) == b""
    assert response.headers["content-type"] == "application/mapi-http"
    assert response.headers["transfer-encoding"] == "chunked"
    assert response.headers["x-requesttype"] == "PING"
    assert response.headers["x-requestid"] == f"{{{client.request_guid}}}:{client.counter}"
    assert response.headers["x-clientinfo"] == f"{{{client.client_guid}}}:1"
    assert int(response.headers["x-expirationinfo"]) == 900_000
    assert b"X-ElapsedTime: " in client.elapsed
    assert b"X-StartTime: " in client.elapsed


@pytest.mark.parametrize(
    ("user", "password"),
    [("alice@example.test", "wrong"), ("bob", "pass:word"), ("", ""), ("alice@example.test", "pass:word ")],
)
def test_wrong_password(server: RunningServer, user: str, password: str) -> None:
    with Client(server) as client:
        response = client.post("Connect", CONNECT, auth=(user, password))
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Basic ")
        assert "x-responsecode" not in response.headers
        assert not server.server.contexts


@pytest.mark.parametrize("header", ["", "Basic", "Basic ???", "Bearer abc", "Basic YWxpY2U=", "Digest x"])
def test_other_authorization(server: RunningServer, header: str) -> None:
    with Client(server) as client:
        response = client.post("Connect", CONNECT, {"Authorization": header}, auth=None)
        assert response.status_code == 401


def test_no_secret_is_logged(server: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Client(server) as client:
        client.post("Connect", CONNECT, auth=("alice@example.test", "not-the-pass:word"))
        client.connect()
        client.logon()
        client.post("Execute", b"rubbish")
    logged = [one for one in caplog.records if not one.name.startswith(("httpx", "httpcore"))]
    text = "\n".join(one.getMessage() for one in logged)
    assert "pass:word" not in text
    assert "Authorization" not in text


def test_missing_headers(client: Client) -> None:
    for name in ("X-RequestType", "X-RequestId", "X-ClientInfo"):
        response = client.post("PING", b"", {name: ""})
        assert response.status_code == 200
        assert response.headers["x-responsecode"] == "7"
        assert response.headers["content-type"].startswith("text/html")


def test_wrong_path_verb_type_and_content(server: RunningServer, client: Client) -> None:
    missing = client.post("PING", url=f"{server.base_url}/mapi/other/")
    assert missing.status_code == 404
    assert missing.headers["x-responsecode"] == "3"
    got = httpx.get(server.url, auth=client.auth, **PLAIN)
    assert got.headers["x-responsecode"] == "2"
    assert client.post("Frobnicate").headers["x-responsecode"] == "5"
    assert client.post("Connect", CONNECT, {"Content-Type": "text/plain"}).headers["x-responsecode"] == "4"


@pytest.mark.parametrize("body", [b"", CONNECT[:-1], CONNECT + b"x", b"\xff" * 40])
def test_bad_connect_bodies(client: Client, body: bytes) -> None:
    assert client.post("Connect", body).headers["x-responsecode"] == "12"


def test_body_too_large(client: Client) -> None:
    assert client.post("Execute", bytes(MAX_BODY + 1)).headers["x-responsecode"] == "9"


def test_cookies(server: RunningServer, client: Client) -> None:
    logon = client.logon()
    assert logon["ReturnValue"] == 0
    good = dict(client.cookies)
    assert client.post("Execute", CONNECT_LIKE, {"Cookie": "a=b"}).headers["x-responsecode"] == "13"
    client.cookies = {**good, "MapiSequence": "stale"}
    assert client.post("Execute", CONNECT_LIKE).headers["x-responsecode"] == "15"
    client.cookies = {**good, "MapiContext": "nobody"}
    assert client.post("Execute", CONNECT_LIKE).headers["x-responsecode"] == "10"
    client.cookies = good
    assert client.logon()["ReturnValue"] == 0


CONNECT_LIKE = build(
    MAILBOX["Execute"].request, {"Flags": 3, "RopBuffer": b"", "MaxRopOut": 0x8000, "AuxiliaryBuffer": b""}
)


def test_sequence_cookie_is_new_every_time(client: Client) -> None:
    seen = set()
    for _ in range(4):
        client.logon()
        seen.add(client.cookies["MapiSequence"])
    assert len(seen) == 4


def test_one_request_at_a_time(server: RunningServer, client: Client) -> None:
    """Two requests with one sequence cookie: the second one is refused, whenever it comes."""
    cookies = dict(client.cookies)
    client.logon()
    client.cookies = cookies
    assert client.post("Execute", CONNECT_LIKE).headers["x-responsecode"] == "15"


def test_pending_tags_while_it_takes_long() -> None:
    with RunningServer(pending_period=0.05) as server, Client(server) as client:
        client.connect()
        (context,) = server.server.contexts.values()
        answers = []
        with server.store.lock:  # nobody gets to the store
            thread = threading.Thread(target=lambda: answers.append(client.logon()))
            thread.start()
            until(lambda: context.busy)
            time.sleep(0.5)
        thread.join()
        assert answers[0]["ReturnValue"] == 0
        assert b"PENDING" in client.elapsed


def test_idle_sessions_expire() -> None:
    with RunningServer(expiration=0.05) as server, Client(server) as client:
        client.connect()
        time.sleep(0.1)
        assert client.post("Execute", CONNECT_LIKE).headers["x-responsecode"] == "10"


def test_a_ping_keeps_a_session() -> None:
    with RunningServer(expiration=60.0) as server, Client(server) as client:
        client.connect()
        (context,) = server.server.contexts.values()
        context.used -= 50.0
        assert client.body(client.post("PING")) == b""
        context.used -= 50.0
        assert client.logon()["ReturnValue"] == 0
        context.used -= 70.0
        assert client.post("PING").headers["x-responsecode"] == "0"
        assert client.post("Execute", CONNECT_LIKE).headers["x-responsecode"] == "10"


def test_unknown_mailbox_where_only_one_name_is_right() -> None:
    with RunningServer(mailbox_dn="/o=X/cn=Recipients/cn=alice", any_dn=False) as server, Client(server) as client:
        assert client.connect("/o=X/cn=Recipients/cn=bob")["ErrorCode"] == 0x3EB
        assert not client.cookies
        assert client.connect("/O=x/CN=recipients/cn=ALICE")["ErrorCode"] == 0
        assert client.call("RopLogon", LogonFlags=1, OpenFlags=0, Essdn="/o=X/cn=c", expect=0x3EB)
        assert client.logon("/o=X/cn=Recipients/cn=alice")["ReturnValue"] == 0


def test_a_client_that_goes_away_while_it_waits(server: RunningServer, client: Client) -> None:
    """Its NotificationWait is given up, an Execute is carried out all the same."""
    logon = client.logon()
    (context,) = server.server.contexts.values()
    server.server.wait = LONG
    wait = build(MAILBOX["NotificationWait"].request, {"Flags": 0, "AuxiliaryBuffer": b""})
    with pytest.raises(httpx.ReadTimeout):
        client.post("NotificationWait", wait, timeout=httpx.Timeout(LONG, read=0.2))
    until(lambda: not context.waiting)
    assert client.call("RopGetStoreState", logon["Handle"])["ReturnValue"] == 0
    inbox = client.open_folder(logon["Handle"], logon["FolderIds"]["Inbox"])
    request = client.request_bytes(
        "RopCreateFolder", InputHandleIndex=0, OutputHandleIndex=1, FolderType=1, UseUnicodeStrings=True,
        OpenExisting=False, DisplayName="late", Comment="",
    )  # fmt: skip
    body = build(MAILBOX["Execute"].request, {
        "Flags": 3, "RopBuffer": buffers.pack([rop_buffer(request, [inbox, 0xFFFFFFFF])]), "MaxRopOut": 0x8000,
        "AuxiliaryBuffer": b"",
    })  # fmt: skip
    with server.store.lock, pytest.raises(httpx.ReadTimeout):
        client.post("Execute", body, timeout=httpx.Timeout(LONG, read=0.2))
    until(lambda: server.store.one("SELECT count(*) FROM folders WHERE name = 'late'") == (1,))
    until(lambda: not context.busy)
