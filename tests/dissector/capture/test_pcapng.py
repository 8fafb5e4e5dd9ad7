"""The pcapng blocks: sections, interfaces, time units, rare packet blocks, comments, secrets, and damage."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from dissector.capture import open_capture
from tests.dissector.capture.frames import (
    FRAMES,
    TIME,
    block,
    interface,
    ipv4,
    option,
    packet,
    section,
    tcp,
    walk,
)


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
