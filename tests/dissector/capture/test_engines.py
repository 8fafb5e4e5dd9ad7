"""Both engines, tshark itself and scapy, held against each other on real captures."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from dissector.capture import open_capture
from dissector.capture.base import reverse
from dissector.capture.engines import wants_tshark
from dissector.capture.native import NativeCapture
from dissector.capture.tshark import TsharkCapture, find_tshark
from dissector.errors import CaptureError, EngineError
from dissector.source import Span
from dissector.transport.tcp import TcpStats
from tests.conftest import SHARED, shared
from tests.dissector.capture.frames import Recorder, Side, ethernet, ipv4, pcap, record, streams_of, tcp

needs_tshark = pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")

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


def capture(name: str) -> Path:
    return shared("captures", *name.split("/"))


@pytest.fixture(params=CAPTURES or ["none"])
def path(request: pytest.FixtureRequest) -> Path:
    return capture(request.param)


def tshark(path: Path, *arguments: str) -> str:
    command = ["tshark", "-n", "-r", str(path), "-o", "tcp.reassemble_out_of_order:TRUE", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def followed(path: Path, numbers: Iterable[int], *arguments: str, protocol: str = "tcp") -> dict[int, list[bytes]]:
    """What tshark shows of both directions of its streams; the second side is the indented one."""
    found: dict[int, list[bytes]] = {}
    wanted = [word for number in numbers for word in ("-z", f"follow,{protocol},raw,{number}")]
    sides: list[bytes] = []
    for line in tshark(path, "-q", *wanted, *arguments).splitlines() if wanted else ():
        if line.startswith("Filter: tcp.stream eq "):
            sides = found[int(line.split()[-1])] = [b"", b""]
        elif re.fullmatch(r"\t?([0-9a-f]{2})+", line):
            sides[line.startswith("\t")] += bytes.fromhex(line.strip())
    return found


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


# --- TLS ---

KEYS = "encrypted/contents-bootstrap-tls13.keys"
TLS13 = "encrypted/contents-bootstrap-tls13.pcapng"


def messages(data: bytes) -> list[tuple[bytes, bytes]]:
    """(head, body) of HTTP/1.1 messages, chunks joined."""
    found = []
    at = 0
    while at < len(data):
        stop = data.index(b"\r\n\r\n", at) + 4
        head, body, at = data[at:stop], b"", stop
        if re.search(rb"(?i)transfer-encoding: chunked", head):
            length = -1
            while length:
                stop = data.index(b"\r\n", at)
                length = int(data[at:stop], 16)
                body += data[stop + 2 : stop + 2 + length]
                at = stop + 2 + length + 2
        elif length_field := re.search(rb"(?i)content-length: (\d+)", head):
            body = data[at : at + int(length_field[1])]
            at += int(length_field[1])
        found.append((head, body))
    return found


@needs_tshark
def test_the_tls_session_is_the_plain_one() -> None:
    """The same client script against the same server. It ends earlier through TLS: without GetTransferState."""
    plain, _ = streams_of(capture("gromox/contents-bootstrap.pcap"))
    opened, summary = streams_of(capture(TLS13), "auto", {"tls.keylog_file": str(capture(KEYS))})
    assert summary.engine == "pyshark"
    assert len(plain) == len(opened) == 1
    ours = [messages(b"".join(side)) for side in opened[0][2:]]  # type: ignore[arg-type]
    theirs = [messages(b"".join(side)) for side in plain[0][2:]]  # type: ignore[arg-type]
    assert [len(side) for side in ours] == [27, 27]
    assert [len(side) for side in theirs] == [30, 30]
    assert [body for _, body in ours[0][:23]] == [body for _, body in theirs[0][:23]]
    for index in range(23):
        # Behind the meta tags; the answer to Connect and Logon, the first two, hold times and cookies.
        mine, other = (side[1][index][1].split(b"\r\n\r\n", 1)[1] for side in (ours, theirs))
        assert len(mine) == len(other)
        assert mine == other or index < 2


@needs_tshark
@pytest.mark.parametrize(
    ("name", "keys", "connections"),
    [
        ("dump.pcapng", "premaster.txt", 73),
        ("dsb-dump.pcapng", None, 73),
        ("tls3.cryptohack.org.pcapng", "keylogfile.txt", 1),
        ("dsb-tls3.cryptohack.org.pcapng", None, 1),
        ("tls12-decryption.pcap", "tls12-decryption.pcap.keys.txt", 1),
    ],
)
def test_opened_tls_is_what_tshark_follows(name: str, keys: str | None, connections: int) -> None:
    path = capture(f"encrypted/{name}")
    options = {"tls.keylog_file": str(capture(f"encrypted/{keys}"))} if keys else {}
    arguments = [word for option in options.items() for word in ("-o", ":".join(option))]
    with open_capture(path, options=options) as opened:
        assert opened.summary.engine == "pyshark"
        recorders = record(opened)
    assert len(recorders) == connections
    with_http = tshark(path, *arguments, "-Y", "http.request and tls", "-T", "fields", "-e", "tcp.stream").split()
    numbers = [one.connection.number for one in recorders]
    opened_by_tshark = followed(path, numbers, *arguments, protocol="tls")
    raw = followed(path, numbers)
    closed = 0
    for one in recorders:
        number = one.connection.number
        theirs = opened_by_tshark[number]
        if not any(theirs):
            closed += 1  # no key for this one: it stays as it was captured
            theirs = raw[number]
            assert str(number) not in with_http
        sides = [b"".join(side) for side in one.sides]  # type: ignore[arg-type]
        assert sides in (theirs, theirs[::-1])
    assert closed == (3 if name == "dsb-dump.pcapng" else 0)


def segmented(path: Path, size: int = 1460) -> list[bytes]:
    """The frames of a capture again, no payload longer than size: a loopback capture made into a network's."""
    frames = []
    with open_capture(path, engine="native") as opened:
        for _, _, key, seq, ack, flags, offset, length, _, _ in opened.segments():
            ports = int.from_bytes(key[8:10], "big"), int.from_bytes(key[10:12], "big")
            payload = opened.data[offset : offset + length]
            for at in range(0, max(length, 1), size):
                last = at + size >= length
                body = tcp(seq + at, payload[at : at + size], flags if last else flags & ~1, ack, ports)
                frames.append(ethernet(ipv4(body, source=key[:4], target=key[4:8])))
    return frames


@needs_tshark
def test_tls_out_of_order_and_repeated(tmp_path: Path) -> None:
    options = {"tls.keylog_file": str(capture(KEYS))}
    expected, _ = streams_of(capture(TLS13), "pyshark", options)
    frames = segmented(capture(TLS13))
    for number in range(10, len(frames) - 10, 17):
        frames[number], frames[number + 1] = frames[number + 1], frames[number]
    for number in range(len(frames) - 10, 10, -29):
        frames.insert(number, frames[number])
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(frames))
    found, _ = streams_of(path, "pyshark", options)
    assert found == expected
    closed, _ = streams_of(path, "native")
    unharmed, _ = streams_of(capture(TLS13), "native")
    assert closed == unharmed


@needs_tshark
def test_tls_behind_a_hole_is_missing_and_said_to_be(tmp_path: Path) -> None:
    options = {"tls.keylog_file": str(capture(KEYS))}
    expected, _ = streams_of(capture(TLS13), "pyshark", options)
    frames = segmented(capture(TLS13))
    del frames[900]
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(frames))
    found, summary = streams_of(path, "pyshark", options)
    assert found[0][2] == expected[0][2]
    begin, missing = found[0][3]
    assert isinstance(begin, bytes)
    assert expected[0][3][0].startswith(begin)  # type: ignore[union-attr]
    assert len(begin) > 1_000_000
    assert isinstance(missing, int)
    assert 1_500_000 < missing < 1_800_000
    assert any("could not be opened" in one.message for one in summary.diagnostics)


@needs_tshark
def test_what_was_said_before_tls_stays(tmp_path: Path) -> None:
    """A client that asks a proxy for the way with CONNECT."""
    path = capture("encrypted/tls12-decryption.pcap")
    options = {"tls.keylog_file": str(capture("encrypted/tls12-decryption.pcap.keys.txt"))}
    expected, _ = streams_of(path, "pyshark", options)
    asked, granted = b"CONNECT mail:443 HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 Connection established\r\n\r\n"
    frames: list[bytes] = []

    def add(key: bytes, seq: int, ack: int, flags: int, payload: bytes) -> None:
        ports = [8080 if port == 443 else port for port in (int.from_bytes(key[at : at + 2], "big") for at in (8, 10))]
        frames.append(
            ethernet(ipv4(tcp(seq, payload, flags, ack, (ports[0], ports[1])), source=key[:4], target=key[4:8]))
        )

    with open_capture(path, engine="native") as opened:
        client = next(iter(opened.segments()))[2]
        begun = False
        for _, _, key, seq, ack, flags, offset, length, _, _ in opened.segments():
            if length and not begun:
                begun = True
                add(key, seq, ack, 0x18, asked)
                add(reverse(key), ack, seq + len(asked), 0x18, granted)
            mine, other = (len(asked), len(granted)) if key == client else (len(granted), len(asked))
            add(key, seq + mine * begun, ack + other * begun, flags, opened.data[offset : offset + length])
    made = tmp_path / "x.pcap"
    made.write_bytes(pcap(frames))
    found, _ = streams_of(made, "pyshark", options)
    (one,), (other,) = found, expected
    assert one[2] == [asked + b"".join(other[2])]  # type: ignore[arg-type]
    assert one[3] == [granted + b"".join(other[3])]  # type: ignore[arg-type]


# --- which engine ---


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


def test_a_pyshark_that_does_not_import_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("pyshark")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyshark", None)
    with pytest.raises(EngineError) as caught:
        find_tshark()
    assert "Python 3.14" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_tshark_on_the_path_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineError, match="tshark is not installed"):
        find_tshark()


@needs_tshark
def test_tshark_engine_on_streams_gzip_and_spans(tmp_path: Path) -> None:
    content = pcap([ethernet(ipv4(tcp(100 + 3 * number, b"abc"))) for number in range(6)])
    calls: list[tuple[int, int]] = []
    with open_capture(io.BytesIO(content), engine="pyshark", progress=lambda *done: calls.append(done)) as opened:
        segments = list(opened.segments())
        assert opened.summary.segments == 6
        assert opened.summary.format == "pcap"
        assert calls[-1][0] == calls[-1][1]
    source = segments[3][9]
    assert source is not None
    assert source.data == b"abc"
    assert source.locate(1, 1) == [Span(4, 0, 57)]
    import gzip

    (tmp_path / "x.gz").write_bytes(gzip.compress(content))
    with open_capture(tmp_path / "x.gz", engine="pyshark") as opened:
        assert [segment[:6] for segment in opened.segments()] == [segment[:6] for segment in segments]
        assert len(list(opened.segments())) == 6  # again
    with open_capture(io.BytesIO(capture("encrypted/dsb-dump.pcapng").read_bytes())) as opened:
        assert opened.summary.engine == "pyshark"
        assert len(record(opened)) == 73


@needs_tshark
def test_tshark_engine_on_damage(tmp_path: Path) -> None:
    content = pcap([ethernet(ipv4(tcp(100 + 3 * number, b"abc"))) for number in range(6)])
    path = tmp_path / "x.pcap"
    path.write_bytes(content[:-5])
    with open_capture(path, engine="pyshark") as opened:
        assert len(list(opened.segments())) == 5
        assert "cut short" in opened.summary.diagnostics[0].message
    for bad, word in ((b"", "empty"), (b"no capture at all, but text", "no capture"), (b"\x1f\x8b\x08", "read")):
        path.write_bytes(bad)
        with pytest.raises(CaptureError, match=word):
            open_capture(path, engine="pyshark")
    with pytest.raises(CaptureError, match="no such file"):
        open_capture(tmp_path / "absent", engine="pyshark")
    path.write_bytes(content)
    with pytest.raises(EngineError, match="cannot be read"):
        open_capture(path, engine="pyshark", options={"tls.keylog_file": str(tmp_path / "absent")})
    wrong = open_capture(path, engine="pyshark", options={"no.such_preference": "1"})
    with wrong, pytest.raises(EngineError, match="unknown preference"):
        list(wrong.segments())


@needs_tshark
def test_an_abandoned_tshark_ends(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap([ethernet(ipv4(tcp(100, bytes(1000))))] * 5000))
    with open_capture(path, engine="pyshark") as opened:
        segments = opened.segments()
        next(segments)
        segments.close()  # type: ignore[attr-defined]
        assert opened.summary.frames == 1
