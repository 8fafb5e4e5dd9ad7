"""The engine that runs tshark: TLS opened with keys, odd inputs, and tshark missing."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from dissector.capture import open_capture
from dissector.capture.base import reverse
from dissector.capture.tshark import find_tshark
from dissector.errors import CaptureError, EngineError
from dissector.source import Span
from tests.dissector.capture.frames import ethernet, ipv4, pcap, record, streams_of, tcp
from tests.dissector.capture.oracle import capture, followed, needs_tshark, tshark

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
