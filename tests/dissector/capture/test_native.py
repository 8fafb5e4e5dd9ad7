"""The native walk: damage, truncated frames, memory given back, progress."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from dissector.capture import open_capture
from dissector.errors import CaptureError
from dissector.node import Severity
from tests.dissector.capture.frames import (
    FRAMES,
    ethernet,
    ipv4,
    option,
    pcap,
    pcapng_file,
    record,
    section,
    tcp,
    walk,
)


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


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (pcap([]), "pcap file"),
        (section(), "pcapng section"),
        (section(">", option(4, b"tests") + option(0, b"")), "pcapng section"),
    ],
    ids=["pcap", "pcapng", "big-endian pcapng"],
)
def test_a_cut_header_is_no_capture(header: bytes, name: str, tmp_path: Path) -> None:
    """Of such a file nothing can be read: it is not opened, plain or gzipped."""
    path = tmp_path / "x"
    for cut in range(12, len(header)):
        path.write_bytes(header[:cut])
        with pytest.raises(CaptureError, match=rf"x: the {name} header is cut: {cut} of {len(header)} bytes; "):
            open_capture(path, engine="native")
    path.write_bytes(gzip.compress(header[:20])[:-8])
    with pytest.raises(CaptureError, match=r"20 of \d+ bytes \(the gzip data ends badly"):
        open_capture(path)
    assert walk(header, path)[2].diagnostics == []


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


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells how much of a file is mapped on Linux only")
def test_memory_stays_small_though_bytes_behind_the_walk_are_read(tmp_path: Path) -> None:
    def mapped() -> int:
        found = re.search(r"RssFile:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert found
        return int(found[1]) << 10

    record = pcap([ethernet(ipv4(tcp(1, bytes(1400))))])[24:]
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap([]) + record * 100_000)
    before = most = mapped()
    with open_capture(path) as capture:
        for segment in capture.segments():
            frame, offset = segment[0], segment[6]
            if frame % 10 == 0:
                assert capture.data[offset // 2 : offset // 2 + 1] is not None
            if frame % 1000 == 0:
                most = max(most, mapped())
    assert most - before < 80 << 20
    assert path.stat().st_size > 140 << 20
