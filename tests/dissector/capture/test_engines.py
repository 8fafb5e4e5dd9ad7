"""Both engines, tshark itself and scapy, held against each other on real captures; which engine is taken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dissector.capture import open_capture
from dissector.capture.engines import wants_tshark
from dissector.capture.native import NativeCapture
from dissector.capture.tshark import TsharkCapture
from dissector.errors import EngineError
from dissector.transport.tcp import TcpStats
from tests.conftest import SHARED
from tests.dissector.capture.frames import Recorder, Side, record, streams_of
from tests.dissector.capture.oracle import capture, followed, needs_tshark, tshark

KEYS = "encrypted/contents-bootstrap-tls13.keys"
TLS13 = "encrypted/contents-bootstrap-tls13.pcapng"


CAPTURES = sorted(
    str(path.relative_to(SHARED / "captures"))
    for folder in ("formats", "gromox", "real")
    for path in (SHARED / "captures" / folder).glob("*.*")
    if path.suffix in (".pcap", ".pcapng", ".trace", ".gz")
)


#: TZSP sent to a port of its own choice: our walk knows it by its shape, tshark only when told.
TZSP = "formats/simple_http_tzsp.pcapng"


#: Retransmissions that bring other bytes than the first time.
DIFFERING_COPIES = "formats/reassembly.pcap"


@pytest.fixture(params=CAPTURES or ["none"])
def path(request: pytest.FixtureRequest) -> Path:
    return capture(request.param)


def told(side: Side) -> bytes:
    """Our bytes in tshark's words: a gap within the stream is a sentence there, one at its end is nothing."""
    parts = side[:-1] if side and isinstance(side[-1], int) else side
    return b"".join(b"[%d bytes missing in capture file]\0" % part if isinstance(part, int) else part for part in parts)


def recorded(path: Path) -> list[Recorder]:
    with open_capture(path, engine="native") as opened:
        return record(opened)


@needs_tshark
def test_both_engines_give_the_same_bytes(path: Path) -> None:
    native, summary = streams_of(path, "native")
    with TsharkCapture(path) as opened:
        opened._keys = False  # what is compared here is TCP, not TLS
        found = [(one.connection.client, one.connection.server, *one.sides) for one in record(opened)]
        frames = opened.summary.frames
    assert frames == summary.frames
    if str(path).endswith(TZSP):
        assert found == []
        assert len(native) == 2
    else:
        assert sorted(found, key=repr) == native


@needs_tshark
def test_the_same_bytes_as_tshark_follows(path: Path) -> None:
    arguments = ["-d", "udp.port==31337,tzsp"] if str(path).endswith(TZSP) else []
    streams = tshark(path, *arguments, "-Y", "tcp.payload", "-T", "fields", "-e", "tcp.stream")
    recorders = {one.connection.number: one for one in recorded(path)}
    assert set(recorders) == {int(number) for number in streams.split()}
    for number, theirs in followed(path, recorders, *arguments).items():
        ours = [told(side) for side in recorders[number].sides]
        if str(path).endswith(DIFFERING_COPIES):
            # The first copy of a byte wins here; tshark's choice depends on how the copies lie.
            assert sorted(map(len, ours)) == sorted(map(len, theirs))
            continue
        assert ours in (theirs, theirs[::-1]), recorders[number].connection


def test_where_copies_differ_the_first_one_wins() -> None:
    """The capture sends other bytes when it sends again: only there may tshark and we differ."""
    path = capture(DIFFERING_COPIES)
    copies: dict[int, list[int]] = {}
    with open_capture(path, engine="native") as opened:
        segments = [segment for segment in opened.segments() if segment[7]]
        for segment in segments:
            for at in range(segment[7]):
                copies.setdefault(segment[3] + at, []).append(opened.data[segment[6] + at])
        (one,) = record(opened)
    assert any(len(set(found)) > 1 for found in copies.values())
    expected = [copies[at][0] for at in sorted(copies)]
    assert b"".join(part for part in one.sides[0] if isinstance(part, bytes)) == bytes(expected)


@needs_tshark
def test_first_bytes_of_every_stream_say_who_is_who(path: Path) -> None:
    """HTTP and DCE/RPC in the shared captures: requests go to the server."""
    for one in recorded(path):
        for side, part in enumerate(one.sides):
            head = part[0] if part and isinstance(part[0], bytes) else b""
            if re.match(rb"(GET|POST|HEAD) ", head):
                assert side == 0
            if head.startswith(b"HTTP/1."):
                assert side == 1


@pytest.mark.parametrize("name", [name for name in CAPTURES if "onepass" not in name and "bootstrap" not in name])
def test_scapy_reads_the_same_payloads(name: str) -> None:
    if name.endswith(("nflog-http.pcap", "simple_http_tzsp.pcapng")):
        pytest.skip("scapy does not know NFLOG, nor TZSP on a port of its own choice")
    from scapy.layers.inet import TCP
    from scapy.utils import PcapReader

    path = capture(name)
    theirs = []
    with PcapReader(str(path)) as reader:
        for number, packet in enumerate(reader, 1):
            if TCP not in packet:
                continue
            layers = list(iter_layers(packet))
            segment = [layer for layer in layers if isinstance(layer, TCP)][-1]
            carrier = layers[layers.index(segment) - 1]
            header = segment.dataofs * 4
            if carrier.name == "IP":
                length = min(carrier.len - carrier.ihl * 4, len(segment.original)) - header
            else:
                length = len(segment.original) - header
            theirs.append((number, segment.seq, int(segment.flags) & 0xFF, segment.original[header : header + length]))
    with open_capture(path, engine="native") as opened:
        ours = [(s[0], s[3], s[5], opened.data[s[6] : s[6] + s[7]]) for s in opened.segments()]
    assert ours == theirs


def iter_layers(packet: object):  # type: ignore[no-untyped-def]
    while packet:
        yield packet
        packet = packet.payload  # type: ignore[attr-defined]


def test_spans_lead_to_the_bytes_of_the_frames() -> None:
    """On a capture out of order: every byte taken is where its span says."""
    path = capture("formats/reassembly.pcap")
    with NativeCapture(path) as opened:
        frames = {record[0]: record for record in opened.records()}

        class Checking(Recorder):
            def feed(self, side, closed=False):  # type: ignore[no-untyped-def]
                direction = self.connection.directions[side]
                while direction.available:
                    source = direction.take(777, "some").source
                    spans = source.locate(0, len(source.data))
                    found = b"".join(
                        opened.data[frames[frame][2] + at : frames[frame][2] + at + length]
                        for frame, at, length in spans
                    )
                    assert found == source.data
                    checked.append(len(found))
                return ()

        from dissector.transport.tcp import reassemble

        checked: list[int] = []
        list(reassemble(opened.segments(), opened.data, Checking))
        assert sum(checked) == 28832


def test_vlan_tags_are_no_part_of_a_connection() -> None:
    stats = TcpStats()
    with open_capture(capture("formats/vlan-collisions.pcap"), engine="native") as opened:
        (one,) = record(opened, stats)
    assert [len(b"".join(side)) for side in one.sides] == [136, 5007]  # type: ignore[arg-type]
    assert (stats.connections, stats.repeated, stats.late, stats.gaps) == (1, 2 * 5143, 0, 0)


def test_doubled_frames_are_read_once() -> None:
    stats = TcpStats()
    with open_capture(capture("formats/ssh-dups.pcap"), engine="native") as opened:
        record(opened, stats)
    assert (stats.connections, stats.delivered, stats.repeated) == (1, 7978, 3 * 7978)


@needs_tshark
@pytest.mark.parametrize(
    ("name", "keys", "engine"),
    [
        (TLS13, None, "native"),
        (TLS13, KEYS, "pyshark"),
        ("encrypted/dsb-dump.pcapng", None, "pyshark"),
        ("encrypted/dump.pcapng", None, "native"),
        ("gromox/notify.pcap", KEYS, "native"),
    ],
)
def test_auto_takes_tshark_for_tls_with_keys(name: str, keys: str | None, engine: str) -> None:
    options = {"tls.keylog_file": str(capture(keys))} if keys else {}
    with open_capture(capture(name), options=options) as opened:
        assert opened.summary.engine == engine
    with open_capture(capture(name), engine="native", options=options) as opened:
        assert opened.summary.engine == "native"
        assert isinstance(opened, NativeCapture)
        assert wants_tshark(opened, options) == (engine == "pyshark")


def test_without_tshark_tls_stays_closed_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise EngineError("tshark is not installed")

    monkeypatch.setattr("dissector.capture.tshark.find_tshark", missing)
    with open_capture(capture("encrypted/dsb-dump.pcapng")) as opened:
        assert opened.summary.engine == "native"
        for _ in opened.segments():
            pass
        assert ["tshark is not installed" in one.message for one in opened.summary.diagnostics] == [True]
    with pytest.raises(EngineError, match="not installed"):
        open_capture(capture("encrypted/dsb-dump.pcapng"), engine="pyshark")
