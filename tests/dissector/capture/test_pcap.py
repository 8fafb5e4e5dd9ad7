"""The pcap records: both byte orders, all variants, and damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dissector.capture.frames import (
    FRAMES,
    TIME,
    packet,
    pcap,
    pcapng_file,
    section,
    walk,
)


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


def test_a_header_alone_is_a_capture_without_frames(tmp_path: Path) -> None:
    assert walk(pcap([]), tmp_path / "x.pcap")[2].frames == 0
    assert walk(section(), tmp_path / "x.pcapng")[2].diagnostics == []
