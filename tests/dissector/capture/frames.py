"""Builders of frames and capture files, and a parser that records the streams it is fed."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from dissector.capture import Capture, Segment, Summary, open_capture
from dissector.transport.tcp import Connection, TcpStats, reassemble

#: A side of a connection: runs of bytes, and the lengths of gaps between them.
Side: TypeAlias = list[bytes | int]

CLIENT, SERVER = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


class Recorder:
    """Takes all it is fed and remembers what came when."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.sides: tuple[Side, Side] = ([], [])
        self.closed: list[int] = []

    def feed(self, side: int, closed: bool = False) -> Iterator[tuple[int, int]]:
        direction = self.connection.directions[side]
        if direction.available:
            data = direction.take(direction.available, "all").source.data
            parts = self.sides[side]
            if parts and isinstance(parts[-1], bytes):
                parts[-1] += data
            else:
                parts.append(data)
        if closed:
            self.closed.append(side)
            yield self.connection.number, side

    def gap(self, side: int, length: int) -> Iterable[tuple[int, int]]:
        self.sides[side].append(length)
        return ()


def record(capture: Capture, stats: TcpStats | None = None) -> list[Recorder]:
    """Every connection with payload, in the order of their first bytes."""
    recorders: list[Recorder] = []

    def handler(connection: Connection) -> Recorder:
        recorders.append(Recorder(connection))
        return recorders[-1]

    for _ in reassemble(capture.segments(), capture.data, handler, stats):
        pass
    return recorders


def streams_of(
    path: Path, engine: str = "native", options: Mapping[str, str] | None = None
) -> tuple[list[tuple[object, object, Side, Side]], Summary]:
    """(client, server, what it said, what was answered) of every connection, sorted, and the summary."""
    with open_capture(path, engine=engine, options=options) as capture:
        found = [(one.connection.client, one.connection.server, *one.sides) for one in record(capture)]
        return sorted(found, key=repr), capture.summary


def tcp(
    seq: int,
    payload: bytes = b"",
    flags: int = 0x18,
    ack: int = 0,
    ports: tuple[int, int] = (40000, 80),
    options: bytes = b"",
) -> bytes:
    """A TCP segment without a checksum."""
    header = (20 + len(options)) // 4 << 4
    return struct.pack(">HHIIBBHHH", *ports, seq, ack, header, flags, 65535, 0, 0) + options + payload


def ipv4(
    body: bytes,
    protocol: int = 6,
    source: bytes = CLIENT,
    target: bytes = SERVER,
    ident: int = 0,
    fragment: int = 0,
    options: bytes = b"",
    total: int | None = None,
) -> bytes:
    header = 20 + len(options)
    total = header + len(body) if total is None else total
    first = 0x40 | header // 4
    return (
        struct.pack(">BBHHHBBH4s4s", first, 0, total, ident, fragment, 64, protocol, 0, source, target) + options + body
    )


def ipv6(body: bytes, protocol: int = 6) -> bytes:
    return struct.pack(">IHBB16s16s", 0x60000000, len(body), protocol, 64, bytes(15) + b"\1", bytes(15) + b"\2") + body


def ethernet(body: bytes, kind: int = 0x0800) -> bytes:
    return b"\xaa" * 6 + b"\xbb" * 6 + kind.to_bytes(2, "big") + body


def pcap(
    frames: Iterable[bytes], order: str = "<", magic: int = 0xA1B2C3D4, link_type: int = 1, lengths: int | None = None
) -> bytes:
    """A pcap file, a frame every 100 units. lengths: what every record says its frame was on the wire."""
    made = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link_type)]
    for number, frame in enumerate(frames):
        made.append(struct.pack(order + "4I", 1_700_000_000, number * 100, len(frame), lengths or len(frame)))
        if magic == 0xA1B2CD34:
            made.append(bytes(8))
        made.append(frame)
    return b"".join(made)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "2H", code, len(value)) + value + bytes(-len(value) % 4)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A pcapng block round a body, which is filled up to four bytes."""
    body += bytes(-len(body) % 4)
    return struct.pack(order + "2I", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def section(order: str = "<", options: bytes = b"") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + options, order)


def interface(link_type: int = 1, order: str = "<", snaplen: int = 0, options: bytes = b"") -> bytes:
    return block(1, struct.pack(order + "HHI", link_type, 0, snaplen) + options, order)


def packet(frame: bytes, time: int = 0, number: int = 0, order: str = "<", options: bytes = b"") -> bytes:
    head = struct.pack(order + "5I", number, time >> 32, time & 0xFFFFFFFF, len(frame), len(frame))
    return block(6, head + frame + bytes(-len(frame) % 4) + options, order)


FRAMES = [ethernet(ipv4(tcp(100 + 3 * number, b"abc"))) + bytes(number % 5) for number in range(6)]
TIME = 1_700_000_000


def walk(content: bytes, path: Path) -> tuple[list[Segment], list[bytes], Summary]:
    """Segments, payloads and summary of a file with this content."""
    path.write_bytes(content)
    with open_capture(path, engine="native") as capture:
        segments = list(capture.segments())
        return segments, [capture.data[s[6] : s[6] + s[7]] for s in segments], capture.summary


def pcapng_file() -> bytes:
    return section() + interface() + b"".join(packet(frame) for frame in FRAMES)
