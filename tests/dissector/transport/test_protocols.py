"""What a connection speaks, found by its content."""

from __future__ import annotations

import random

import pytest

from dissector.node import Severity
from dissector.transport import protocols
from dissector.transport.messages import HttpExchange, Opaque, RpcCall
from dissector.transport.protocols import Detector, handler, recognise
from tests.dissector.transport.test_rpc import EMSMDB, bind, bind_ack, request, response
from tests.dissector.transport.test_tls import client_hello, record, server_hello
from tests.dissector.transport.wire import Wire

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", ""),
        (b"PO", ""),
        (b"POST /a?b=c", ""),
        (GET, "http"),
        (b"RPC_IN_DATA /rpc/rpcproxy.dll?s:6001 HTTP/1.1\r\n", "http"),
        (b"HTT", ""),
        (b"HTTP/1.1 20", ""),
        (OK, "http"),
        (b"HTTP/1.1 twenty\r\n", None),
        (b"EHLO there\r\n", None),
        (b"220 mail ready\r\n", None),
        (b"\x05", ""),
        (b"\x05\x00\x0b\x03\x10\x00", ""),
        (b"\x05\x01\x00", ""),
        (b"\x05\x00\x0b\x03\x10\x00\x00\x01", None),
        (bind(EMSMDB), "rpc"),
        (bind(EMSMDB, big=True), "rpc"),
        (b"ncacn_http/1.0", "rpc"),
        (b"ncacn_h", ""),
        (b"\x16\x03", ""),
        (record(client_hello()), "tls"),
        (b"\x17\x03\x03\x00\x20" + bytes(32), "tls"),
        (b"\x17\x03\x03\xff\xff", None),
        (b"\x16\x04\x03\x00\x20", None),
        (b"\x00\x00\x00\x85\xffSMB", None),
    ],
)
def test_first_bytes(data: bytes, found: str | None) -> None:
    assert recognise(data) == found


@pytest.mark.parametrize("mss", [1, 3, 100, 1460])
def test_every_protocol_in_segments_of_any_size(mss: int) -> None:
    wire = Wire()
    wire.link(port=12345).ask(GET, mss).answer(OK, mss)
    wire.link(port=80).ask(bind(EMSMDB), mss).answer(bind_ack(0), mss).ask(request(b"a"), mss).answer(
        response(b"b"), mss
    )
    hello = record(client_hello("mail.example.org", (0x0A0A, 0x0304, 0x0303)), size=50)
    wire.link(port=25).ask(hello, mss).answer(record(server_hello(0x0304)), mss)
    wire.link(port=443).answer(b"220 ready\r\n", mss).ask(b"EHLO x\r\n", mss)
    messages = wire.read()
    kinds = sorted(type(one).__name__ for one in messages)
    assert kinds == ["HttpExchange", "Opaque", "Opaque", "RpcCall", "RpcControl", "RpcControl"]
    tls, unknown = sorted((one for one in messages if isinstance(one, Opaque)), key=lambda one: one.kind)
    assert (tls.kind, tls.label, tls.version) == ("tls", "mail.example.org", "TLS 1.3")
    assert tls.by_side == (len(hello), len(record(server_hello(0x0304))))
    assert tls.bytes == sum(tls.by_side)
    assert (unknown.kind, unknown.by_side) == ("unknown", (8, 11))
    assert "no known protocol" in unknown.label


@pytest.mark.parametrize(
    ("client", "server", "version"),
    [
        (client_hello(legacy=0x0301), server_hello(legacy=0x0301), "TLS 1.0"),
        (client_hello(versions=(0x0304, 0x0303)), server_hello(), "TLS 1.2"),
        (client_hello(versions=(0x0304,)), b"", "TLS 1.3"),
        (b"", b"", ""),
    ],
)
def test_tls_versions(client: bytes, server: bytes, version: str) -> None:
    wire = Wire()
    link = wire.link().ask(record(client) if client else record(bytes(40), 23))
    if server:
        link.answer(record(server))
    (opaque,) = wire.read()
    assert isinstance(opaque, Opaque)
    assert (opaque.kind, opaque.version) == ("tls", version)


def test_tls_counts_what_it_does_not_read() -> None:
    wire = Wire()
    link = wire.link().ask(record(client_hello("a.b"))).answer(record(server_hello()))
    for _ in range(100):
        link.answer(record(bytes(5000), 23))
    link.lose(1, 10_000).answer(record(bytes(100), 23)).close()
    (opaque,) = wire.read()
    assert isinstance(opaque, Opaque)
    assert opaque.by_side == (len(record(client_hello("a.b"))), len(record(server_hello())) + 100 * 5005 + 105)
    assert opaque.first_frame == 3
    assert opaque.last_frame == len(wire.segments) - 2


def test_a_late_start_is_recognised_at_a_later_segment() -> None:
    wire = Wire()
    noise = random.Random(2).randbytes(30_000)
    http = wire.link(opened=False).answer(noise)
    rpc = wire.link(opened=False).answer(noise)
    http.ask(GET).answer(OK)
    rpc.ask(request(b"a")).answer(response(b"b"))
    messages = wire.read()
    (exchange,) = [one for one in messages if isinstance(one, HttpExchange)]
    (call,) = [one for one in messages if isinstance(one, RpcCall)]
    assert exchange.response is not None
    assert exchange.response.body.data == b"hi"
    assert any("30000 bytes" in note.message for note in exchange.response.diagnostics)
    assert call.response is not None
    assert call.response.stub.data == b"b"
    assert [note.severity for note in call.response.diagnostics] == [Severity.NO_CONTEXT]
    assert "30000 bytes" in call.response.diagnostics[0].message


@pytest.mark.parametrize(
    ("start", "label"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 is not read"),
        (b"\0\0\0\x23\xffSMB" + bytes(20), "SMB is not read"),
        (b"\x01\x02\x03", "no known protocol; begins with 01 02 03"),
    ],
)
def test_what_is_not_read_is_named(start: bytes, label: str) -> None:
    wire = Wire()
    wire.link().ask(start).close()
    (opaque,) = wire.read()
    assert isinstance(opaque, Opaque)
    assert (opaque.kind, opaque.label) == ("unknown", label)


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "PATIENCE", 100_000)
    wire = Wire()
    noise = random.Random(3).randbytes(300_000)
    wire.link(opened=False).answer(noise).answer(response(b"x"))
    wire.link(opened=False).answer(noise).ask(GET).answer(OK)  # one side's noise does not deafen the other
    exchange, opaque = sorted(wire.read(), key=lambda one: type(one).__name__)
    assert isinstance(opaque, Opaque)
    assert (opaque.kind, opaque.by_side) == ("unknown", (0, len(noise) + len(response(b"x"))))
    assert isinstance(exchange, HttpExchange)
    assert exchange.response is not None
    assert exchange.response.body.data == b"hi"


def test_what_is_not_known_is_not_kept() -> None:
    wire = Wire()
    link = wire.link()
    most = 0

    class Watch(Detector):
        def feed(self, side: int, closed: bool = False):  # type: ignore[no-untyped-def]
            nonlocal most
            made = super().feed(side, closed)
            most = max(most, *(direction.available for direction in self.connection.directions))
            return made

    link.answer(bytes(3_000_000))
    (opaque,) = wire.read(lambda connection: Watch(connection, protocols.VirtualConnections()))
    assert isinstance(opaque, Opaque)
    assert opaque.bytes == 3_000_000
    assert most < 200_000


def test_a_connection_by_itself() -> None:
    wire = Wire()
    wire.link().ask(GET).answer(OK)
    (exchange,) = wire.read(handler)
    assert isinstance(exchange, HttpExchange)


def test_connections_without_payload_say_nothing() -> None:
    wire = Wire()
    wire.link().close()
    assert wire.read() == []


@pytest.mark.parametrize("seed", range(100))
def test_noise_never_raises(seed: int) -> None:
    rng = random.Random(seed)
    wire = Wire()
    starts = [b"", b"\x05\x00\x00\x03\x10\0\0\0", b"POST ", b"HTTP/1.1 ", b"\x16\x03\x01", b"ncacn_http/1.0", bytes(20)]
    link = wire.link(opened=rng.random() < 0.5)
    for _ in range(rng.randrange(1, 30)):
        data = rng.choice(starts) + rng.randbytes(rng.randrange(300))
        link.send(rng.randrange(2), data, rng.randrange(1, 200))
        if rng.random() < 0.1:
            link.lose(rng.randrange(2), rng.randrange(1, 2000))
    wire.read()
