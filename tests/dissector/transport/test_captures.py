"""The transport room on real traffic, against tshark, and on captures that were cut and bent."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from pathlib import Path

import pytest

from dissector.capture import open_capture
from dissector.grammar import pdu
from dissector.grammar.pdu import build_pdu, parse_pdu, trace_pdu
from dissector.transport.messages import HttpExchange, Message, Opaque, RpcCall, RpcControl
from dissector.transport.protocols import Handler
from dissector.transport.tcp import reassemble
from tests.conftest import SHARED, shared
from tests.dissector.transport.oracle import http_messages, tshark

EMSMDB = uuid.UUID("a4f1db00-ca47-1067-b31f-00dd010662da")

GROMOX = sorted((SHARED / "captures" / "gromox").glob("*.pcap"))
FORMATS = sorted(path for path in (SHARED / "captures" / "formats").glob("*") if path.is_file())


def read(path: Path) -> list[Message]:
    with open_capture(path, engine="native") as capture:
        return list(reassemble(capture.segments(), capture.data, Handler()))


def http(path: Path) -> list[tuple[str, bytes]]:
    """(start line, decoded body) of every message, 1xx responses too, sorted."""
    found: list[tuple[str, bytes]] = []
    for exchange in read(path):
        if isinstance(exchange, HttpExchange):
            for message in (exchange.request, exchange.response):
                if message is not None:
                    found.append((message.start_line, message.body.data))
                    found += [(line, b"") for line in message.interim]
    return sorted(found)


def test_the_captures_are_there() -> None:
    shared("captures", "gromox")
    assert len(GROMOX) >= 8
    assert len(FORMATS) >= 20


@pytest.mark.parametrize("path", GROMOX, ids=lambda path: path.stem)
def test_gromox_messages_equal_tsharks(path: Path) -> None:
    ours = http(path)
    assert ours == http_messages(path)
    posts = [line for line, _ in ours if line.startswith("POST ")]
    assert len(posts) * 2 == len(ours) > 0


@pytest.mark.parametrize("path", GROMOX, ids=lambda path: path.stem)
def test_gromox_exchanges_are_paired_and_lead_to_frames(path: Path) -> None:
    data = path.read_bytes()
    starts = frame_starts(data)
    for exchange in read(path):
        assert isinstance(exchange, HttpExchange)
        assert exchange.request is not None
        assert exchange.response is not None
        assert exchange.request.header("X-RequestId") == exchange.response.header("X-RequestId")
        assert exchange.request.last_time <= exchange.response.first_time
        for message in (exchange.request, exchange.response):
            assert message.complete
            assert not message.diagnostics
            for source in (message.body, message.raw):
                spans = source.locate(0, len(source))
                assert b"".join(data[starts[s.frame] + s.offset :][: s.length] for s in spans) == source.data
                assert not spans or message.first_frame <= spans[0].frame <= spans[-1].frame <= message.last_frame


def frame_starts(data: bytes) -> dict[int, int]:
    """Where each frame of a little-endian pcap file begins."""
    starts: dict[int, int] = {}
    at, frame = 24, 1
    while at + 16 <= len(data):
        starts[frame] = at + 16
        at += 16 + int.from_bytes(data[at + 8 : at + 12], "little")
        frame += 1
    return starts


DIFFERENT = {
    "content-range-gap.pcap": "tshark shows no response whose bytes are not all there; we show it up to the hole",
    "pcapng-example.pcapng": "the traffic is TLS; tshark opens it with the secrets in the file, natively it is named",
    "simple_http_tzsp.pcapng": "TZSP on a port that tshark does not take for it, and a body that was not captured",
}


@pytest.mark.parametrize("path", FORMATS, ids=lambda path: path.name)
def test_formats_equal_tshark(path: Path) -> None:
    if path.name not in DIFFERENT:
        assert http(path) == http_messages(path)


def test_what_differs_from_tshark() -> None:
    folder = shared("captures", "formats")
    gap = http(folder / "content-range-gap.pcap")
    assert http_messages(folder / "content-range-gap.pcap") == gap[:1]
    assert [line for line, _ in gap][1:] == ["HTTP/1.1 206 Partial Content"]
    assert len(gap[1][1]) == 1380
    tunnel = http(folder / "simple_http_tzsp.pcapng")
    whole = http(folder / "simple_http.pcap")
    assert [line for line, _ in tunnel] == [line for line, _ in whole]
    assert tunnel[-1] == ("HTTP/1.0 404 File not found", whole[-1][1])
    (first, second) = [one for one in read(folder / "pcapng-example.pcapng") if isinstance(one, Opaque)]
    assert (first.label, first.version) == ("tools.ietf.org", "TLS 1.2")
    assert (second.label, second.version) == ("en.wikipedia.org", "TLS 1.3")


# --- DCE/RPC ---


def test_outlook2003_pdus_and_calls() -> None:
    path = shared("captures", "real", "outlook2003-exchange2003.pcap")
    messages = read(path)
    calls = [one for one in messages if isinstance(one, RpcCall)]
    ours: Counter[int] = Counter(
        source.data[2] for call in calls for half in (call.request, call.response) if half for source in half.pdus
    )
    ours.update(one.pdu.data[2] for one in messages if isinstance(one, RpcControl))
    out = tshark(path, "-d", "tcp.port==1032,dcerpc", "-Y", "dcerpc && !smb", "-T", "fields", "-e", "dcerpc.pkt_type")
    assert ours == Counter(int(one) for one in out.replace(",", "\n").split())
    assert ours == {pdu.REQUEST: 172, pdu.RESPONSE: 176, pdu.BIND: 6, pdu.BIND_ACK: 6, pdu.AUTH3: 2}
    assert len(calls) == 173
    assert sum(call.request is not None and call.response is not None for call in calls) == 170
    several = [call for call in calls if call.response is not None and len(call.response.pdus) > 1]
    assert sum(len(call.response.pdus) for call in several if call.response) == 9
    assert len(several) == 4
    named = Counter(str(call.interface) for call in calls if call.interface is not None)
    assert named == {
        "e1af8308-5d1f-11c9-91a4-08002b14a0fa": 3,
        "f5cc5a18-4264-101a-8c59-08002b2f8426": 2,
        str(EMSMDB): 7,
    }


def test_outlook2003_stubs_are_whole() -> None:
    """All 329 EcDoRpc stubs hold a ROP buffer: performance.md, section 4."""
    path = shared("captures", "real", "outlook2003-exchange2003.pcap")
    whole = 0
    for call in read(path):
        if isinstance(call, RpcCall) and call.interface in (None, EMSMDB) and call.opnum in (None, 2):
            for half in (call.request, call.response):
                if half is not None:
                    assert half.complete
                    plain = bytes(byte ^ 0xA5 for byte in half.stub.data[32:])
                    assert 2 <= int.from_bytes(plain[:2], "little") <= len(plain)
                    whole += 1
    assert whole == 329


SEALED = [
    ("dcerpc-krb-sealed.pcapng.gz", "e3514235-4b06-11d1-ab04-00c04fc2dcd2", 6, 2),
    ("dcerpc-ntlmv1ess-sealed.pcapng", "86d35949-83c9-4044-b424-db363231fd0c", 3, 0),
    ("dcerpc-ntlmv2-sealed.pcapng", "86d35949-83c9-4044-b424-db363231fd0c", 3, 0),
]


@pytest.mark.parametrize(("name", "interface", "sealed", "plain"), SEALED)
def test_sealed_calls_are_told(name: str, interface: str, sealed: int, plain: int) -> None:
    calls = [one for one in read(shared("captures", "encrypted", name)) if isinstance(one, RpcCall)]
    assert Counter(bool(call.request and call.request.sealed) for call in calls) == Counter(
        {True: sealed, False: plain}
    )
    for call in calls:
        assert call.request is not None
        assert call.response is not None
        assert call.request.sealed == call.response.sealed == (str(call.interface) == interface)


RPC_CAPTURES = [("real", "outlook2003-exchange2003.pcap"), *(("encrypted", name) for name, *_ in SEALED)]


@pytest.mark.parametrize("where", RPC_CAPTURES, ids=lambda where: where[1])
def test_every_pdu_builds_back_and_every_byte_is_in_one_leaf(where: tuple[str, str]) -> None:
    count = 0
    for one in read(shared("captures", *where)):
        if isinstance(one, RpcControl):
            sources = [one.pdu]
        elif isinstance(one, RpcCall):
            sources = [source for half in (one.request, one.response) if half for source in half.pdus]
        else:
            continue
        for source in sources:
            value = parse_pdu(source.data)
            assert build_pdu(value) == source.data
            node = trace_pdu(source)
            assert not [note for child in node.walk() for note in child.diagnostics]
            assert b"".join(leaf.data for leaf in node.leaves()) == source.data
            assert node.length == len(source)
            count += 1
    assert count >= 9


# --- TLS ---


def test_tls_is_named() -> None:
    (one,) = read(shared("captures", "encrypted", "contents-bootstrap-tls13.pcapng"))
    assert isinstance(one, Opaque)
    assert (one.kind, one.version) == ("tls", "TLS 1.3")
    (two,) = read(shared("captures", "encrypted", "tls12-decryption.pcap"))
    assert isinstance(two, Opaque)
    assert (two.kind, two.label, two.version) == ("tls", "heise.de", "TLS 1.2")


# --- bad weather ---

WEATHER = ["gromox/upload-session.pcap", "gromox/notify.pcap", "real/outlook2003-exchange2003.pcap"]


@pytest.mark.parametrize("name", WEATHER)
@pytest.mark.parametrize("seed", range(12))
def test_cut_and_bent_captures_are_read_to_their_end(name: str, seed: int, tmp_path: Path) -> None:
    rng = random.Random(f"{name} {seed}")
    data = bytearray(shared("captures", *name.split("/")).read_bytes())
    if seed % 3 == 0:
        del data[rng.randrange(24, len(data)) :]
    else:
        for _ in range(rng.randrange(1, 200)):
            data[rng.randrange(24, len(data))] ^= 1 << rng.randrange(8)
    path = tmp_path / "bent.pcap"
    path.write_bytes(data)
    for one in read(path):
        assert one.connection is not None


@pytest.mark.parametrize("seed", range(6))
def test_lost_frames_lose_no_other_message(seed: int) -> None:
    """Frames are taken out: what is still complete is as it was, and is paired as it was."""
    path = shared("captures", "gromox", "upload-session.pcap")
    rng = random.Random(seed)
    with open_capture(path, engine="native") as capture:
        segments = list(capture.segments())
        before = {
            key(one): one for one in reassemble(segments, capture.data, Handler()) if isinstance(one, HttpExchange)
        }
        left = [segment for segment in segments if rng.random() > 0.01]
        after = [one for one in reassemble(left, capture.data, Handler()) if isinstance(one, HttpExchange)]
    whole = [one for one in after if one.request and one.response and one.request.complete and one.response.complete]
    assert len(whole) > len(before) // 2
    for one in whole:
        assert key(one) in before
        assert one.response is not None
        was = before[key(one)].response
        assert was is not None
        assert one.response.raw.data == was.raw.data


def key(exchange: HttpExchange) -> bytes:
    return exchange.request.raw.data if exchange.request is not None else b""


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", WEATHER)
def test_a_shaken_capture_says_the_same(name: str, seed: int) -> None:
    """Frames repeated and moved a little: the same messages come out."""
    path = shared("captures", *name.split("/"))
    rng = random.Random(seed)
    with open_capture(path, engine="native") as capture:
        segments = list(capture.segments())
        calm = summary(list(reassemble(segments, capture.data, Handler())))
        shaken = [segment for segment in segments for _ in range(1 + (rng.random() < 0.1))]
        for at in range(0, len(shaken) - 1, 2):
            if rng.random() < 0.2:
                shaken[at], shaken[at + 1] = shaken[at + 1], shaken[at]
        assert summary(list(reassemble(shaken, capture.data, Handler()))) == calm


def summary(messages: list[Message]) -> Counter[object]:
    found: Counter[object] = Counter()
    for one in messages:
        if isinstance(one, HttpExchange):
            found[tuple(half and half.raw.data for half in (one.request, one.response))] += 1
        elif isinstance(one, RpcCall):
            found[one.call_id, *(half and half.stub.data for half in (one.request, one.response))] += 1
    return found
