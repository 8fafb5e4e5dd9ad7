"""The native engine on files made here: pcap and pcapng in all their forms, gzip, streams, and what is no capture."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dissector.capture import Segment, open_capture
from dissector.errors import CaptureError, EngineError
from dissector.node import Severity
from tests.dissector.capture.frames import (
    block,
    ethernet,
    interface,
    ipv4,
    option,
    packet,
    pcap,
    record,
    section,
    tcp,
)

FRAMES = [ethernet(ipv4(tcp(100 + 3 * number, b"abc"))) + bytes(number % 5) for number in range(6)]
TIME = 1_700_000_000


def walk(content: bytes, path: Path) -> tuple[list[Segment], list[bytes], object]:
    """Segments, payloads and summary of a file with this content."""
    path.write_bytes(content)
    with open_capture(path, engine="native") as capture:
        segments = list(capture.segments())
        return segments, [capture.data[s[6] : s[6] + s[7]] for s in segments], capture.summary


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("magic", "step", "name"),
    [
        (0xA1B2C3D4, 1e-4, "pcap"),
        (0xA1B23C4D, 1e-7, "pcap, nanoseconds"),
        (0xA1B2CD34, 1e-4, "pcap, modified"),
    ],
)
def test_pcap_variants(order: str, magic: int, step: float, name: str, tmp_path: Path) -> None:
    segments, payloads, summary = walk(pcap(FRAMES, order, magic), tmp_path / "x.pcap")
    assert summary.format == name
    assert payloads == [b"abc"] * 6
    assert [s[0] for s in segments] == [1, 2, 3, 4, 5, 6]
    assert [s[3] for s in segments] == [100, 103, 106, 109, 112, 115]
    assert segments[5][1] == pytest.approx(TIME + 5 * step, abs=1e-7)
    assert {s[8] for s in segments} == {54}
    assert (summary.frames, summary.segments, summary.protocols["TCP"]) == (6, 6, 6)
    assert summary.link_types == {"Ethernet": 6}
    assert summary.first_time == TIME
    assert summary.last_time == pytest.approx(TIME + 5 * step, abs=1e-7)
    assert summary.diagnostics == []


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng(order: str, tmp_path: Path) -> None:
    times = [TIME * 1_000_000 + number for number in range(6)]
    made = section(order) + interface(order=order)
    made += b"".join(packet(frame, time, order=order) for frame, time in zip(FRAMES, times, strict=True))
    segments, payloads, summary = walk(made, tmp_path / "x.pcapng")
    assert summary.format == "pcapng"
    assert payloads == [b"abc"] * 6
    assert [s[1] for s in segments] == [time / 1_000_000 for time in times]


def test_pcapng_sections_interfaces_and_time_units(tmp_path: Path) -> None:
    raw = ipv4(tcp(1, b"raw"))
    made = b"".join(
        [
            section("<"),
            interface(1, options=option(9, b"\x09")),
            interface(101, options=option(9, b"\x8a") + option(14, struct.pack("<q", 1000)) + option(0, b"")),
            packet(FRAMES[0], 5_000_000_001, 0),
            packet(raw, 3 * 1024 + 512, 1),
            section(">"),
            interface(101, ">"),
            packet(raw, 7_000_000, 0, ">"),
        ]
    )
    segments, payloads, summary = walk(made, tmp_path / "x.pcapng")
    assert payloads == [b"abc", b"raw", b"raw"]
    assert [s[0] for s in segments] == [1, 2, 3]
    assert [s[1] for s in segments] == [5.000000001, 1003.5, 7.0]
    assert [s[8] for s in segments] == [54, 40, 40]
    assert summary.link_types == {"Ethernet": 1, "Raw IP": 2}


def test_pcapng_simple_and_obsolete_packets(tmp_path: Path) -> None:
    frame = FRAMES[1]  # of a length that is filled up
    old = struct.pack("<HH4I", 0, 0, 0, 9_000_000, len(frame), len(frame)) + frame
    made = b"".join(
        [
            section(),
            interface(),
            block(3, struct.pack("<I", len(frame)) + frame),
            block(2, old + bytes(-len(frame) % 4) + option(1, b"old")),
            interface(snaplen=56),
        ]
    )
    segments, payloads, summary = walk(made, tmp_path / "x.pcapng")
    assert payloads == [b"abc", b"abc"]
    assert [s[1] for s in segments] == [0.0, 9.0]
    assert summary.comments == [(2, "old")]
    made = section() + interface(snaplen=56) + block(3, struct.pack("<I", len(frame)) + frame[:56])
    segments, payloads, summary = walk(made, tmp_path / "x.pcapng")
    assert payloads == [b"ab"]
    assert summary.truncated == 1


def test_pcapng_comments_and_secrets(tmp_path: Path) -> None:
    keys = b"CLIENT_RANDOM 00 11\n"
    made = b"".join(
        [
            section(options=option(1, b"of the file") + option(0, b"")),
            interface(options=option(1, "für die Karte".encode())),
            block(10, struct.pack("<2I", 0x544C534B, len(keys)) + keys),
            block(4, bytes(4)),
            block(5, bytes(16)),
            block(0x0BAD, b"custom"),
            packet(FRAMES[1], options=option(2, b"\0\0\0\0") + option(1, b"of a frame") + option(0, b"")),
        ]
    )
    path = tmp_path / "x.pcapng"
    path.write_bytes(made)
    with open_capture(path, engine="native") as capture:
        assert len(list(capture.segments())) == 1
        assert capture.secrets == [(b"TLSK", keys)]
        assert capture.summary.comments == [(0, "of the file"), (0, "für die Karte"), (1, "of a frame")]
        assert len(list(capture.segments())) == 1  # a second walk counts anew
        assert capture.summary.frames == 1
        assert len(capture.summary.comments) == 3
        assert len(capture.secrets) == 1


def pcapng_file() -> bytes:
    return section() + interface() + b"".join(packet(frame) for frame in FRAMES)


@pytest.mark.parametrize("content", [pcap(FRAMES), pcapng_file()], ids=["pcap", "pcapng"])
def test_gzip_and_streams(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(content)
    assert walk(packed, tmp_path / "x.gz")[1] == [b"abc"] * 6
    assert walk(packed, tmp_path / "x.gz")[2].compressed
    assert walk(gzip.compress(content[:500]) + gzip.compress(content[500:]), tmp_path / "two.gz")[1] == [b"abc"] * 6
    for given in (content, packed):
        with open_capture(io.BytesIO(given), engine="native") as capture:
            assert len(list(capture.segments())) == 6
        reader, writer = os.pipe()
        thread = threading.Thread(target=lambda given=given, writer=writer: (os.write(writer, given), os.close(writer)))
        thread.start()
        with os.fdopen(reader, "rb") as stream, open_capture(stream, engine="native") as capture:
            assert len(list(capture.segments())) == 6
        thread.join()
        for hand_over in ({"input": given}, {"stdin": (tmp_path / "plain").open("w+b")}):
            if file := hand_over.get("stdin"):
                file.write(given)
                file.seek(0)
            code = "from dissector.capture import open_capture\nprint(len(list(open_capture('-').segments())))"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, **hand_over)
            assert done.stdout.split() == [b"6"]
            if file:
                file.close()


def test_a_given_stream_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(FRAMES))
    with path.open("rb") as stream, open_capture(stream) as capture:
        assert len(list(capture.segments())) == 6
        assert not stream.closed


def test_a_cut_gzip_file_gives_what_it_holds(tmp_path: Path) -> None:
    content = pcap([os.urandom(800) for _ in range(200)])
    packed = gzip.compress(content)
    _, _, summary = walk(packed[: len(packed) // 2], tmp_path / "x.gz")
    assert 50 < summary.frames < 150
    assert any("gzip" in one.message for one in summary.diagnostics)


@pytest.mark.parametrize("content", [pcap(FRAMES), pcapng_file()], ids=["pcap", "pcapng"])
def test_cut_at_every_byte(content: bytes, tmp_path: Path) -> None:
    """All records before the cut are there; a cut within one leaves a diagnostic with its offset."""
    path = tmp_path / "x"
    counts = set()
    for cut in range(28, len(content)):
        _, payloads, summary = walk(content[:cut], path)
        assert payloads == [b"abc"] * len(payloads)
        counts.add(len(payloads))
        for one in summary.diagnostics:
            assert one.severity is Severity.MALFORMED
            offset = int(one.message.split("file offset ")[1].split(":")[0])
            assert offset <= cut
    assert counts == set(range(6))
    _, _, summary = walk(content[:-5], path)
    assert len(summary.diagnostics) == 1
    assert "frame 6" in summary.diagnostics[0].message


def test_damaged_records_end_the_reading(tmp_path: Path) -> None:
    content = bytearray(pcap(FRAMES))
    at = 24 + 2 * 16 + len(FRAMES[0]) + len(FRAMES[1])
    content[at + 8 : at + 12] = b"\xff\xff\xff\x7f"
    _, payloads, summary = walk(bytes(content), tmp_path / "x")
    assert len(payloads) == 2
    assert f"file offset {at}: the record of frame 3 is damaged" in summary.diagnostics[0].message
    content = bytearray(pcapng_file())
    at = 28 + 20 + 2 * len(packet(FRAMES[0]))
    content[at + 4] ^= 0x40
    _, payloads, summary = walk(bytes(content), tmp_path / "x")
    assert len(payloads) == 2
    assert summary.diagnostics[0].message.startswith(f"file offset {at}: ")
    _, payloads, summary = walk(section() + packet(FRAMES[0]), tmp_path / "x")
    assert payloads == []  # a packet of an interface that was never described
    assert len(summary.diagnostics) == 1


def test_truncated_frames_are_counted(tmp_path: Path) -> None:
    frame = ethernet(ipv4(tcp(1, bytes(1000))))[:68]
    segments, payloads, summary = walk(pcap([frame], lengths=1054), tmp_path / "x.pcap")
    assert summary.truncated == 1
    assert payloads == [bytes(14)]
    assert segments[0][7] == 14


def test_segmentation_offload(tmp_path: Path) -> None:
    """A total length of 0: all that was captured counts."""
    frame = ethernet(ipv4(tcp(1, bytes(3000)), total=0))
    _, payloads, _ = walk(pcap([frame]), tmp_path / "x.pcap")
    assert payloads == [bytes(3000)]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"\n", "no pcap"),
        (b"GET / HTTP/1.1\r\nHost: there\r\n", "no pcap"),
        (b"GMBU" + bytes(100), "Network Monitor"),
        (b'{"log": {}}', "JSON"),
        (gzip.compress(b""), "empty"),
        (gzip.compress(b"text"), "no pcap"),
        (b"\x1f\x8b\x08", "gzip"),
    ],
)
def test_what_is_no_capture(content: bytes, word: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(content)
    with pytest.raises(CaptureError) as caught:
        open_capture(path)
    assert word in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.pcap", tmp_path):
        with pytest.raises(CaptureError, match=str(path)):
            open_capture(path)
    with pytest.raises(EngineError, match="magic"):
        open_capture(tmp_path, engine="magic")


def test_a_header_alone_is_a_capture_without_frames(tmp_path: Path) -> None:
    assert walk(pcap([]), tmp_path / "x.pcap")[2].frames == 0
    _, _, summary = walk(pcap([])[:20], tmp_path / "x.pcap")
    assert "header is cut" in summary.diagnostics[0].message
    assert walk(section(), tmp_path / "x.pcapng")[2].diagnostics == []


def test_progress_and_pages_given_back(tmp_path: Path) -> None:
    frame = ethernet(ipv4(tcp(1, bytes(1400))))
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap([frame] * 60_000))
    size = path.stat().st_size
    calls: list[tuple[int, int]] = []
    with open_capture(path, progress=lambda done, total: calls.append((done, total))) as capture:
        first = next(iter(capture.segments()))
        assert sum(1 for _ in capture.segments()) == 60_000
        assert capture.data[first[6] : first[6] + 4] == bytes(4)  # behind the walk, and still there
    assert len(calls) > 10
    assert calls == sorted(calls)
    assert calls[-1] == (size, size)


def test_an_abandoned_walk_counts_what_it_saw(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(FRAMES))
    with open_capture(path) as capture:
        segments = capture.segments()
        next(segments)
        next(segments)
        segments.close()  # type: ignore[attr-defined]
        assert (capture.summary.frames, capture.summary.segments) == (2, 2)
        assert record(capture)[0].sides[1] + record(capture)[0].sides[0] == [b"abc" * 6]
