"""Segments made one by one, as a capture would hold them, and what is made of them."""

from __future__ import annotations

from dissector.capture.base import ACK, PSH, SYN, Segment
from dissector.transport.stream import Connection
from dissector.transport.tcp import TcpStats, reassemble
from tests.dissector.capture.frames import CLIENT, SERVER, Recorder

PORTS = (40000, 80)


class Wire:
    """Segments of one client and one server, as a capture would hold them."""

    def __init__(self, isn: tuple[int, int] = (1000, 5000), ports: tuple[int, int] = PORTS) -> None:
        self.data = bytearray()
        self.segments: list[Segment] = []
        self.isn = isn
        self.time = 0.0
        ends = [address + port.to_bytes(2, "big") for address, port in zip((CLIENT, SERVER), ports, strict=True)]
        (a, p), (b, q) = ((end[:4], end[4:]) for end in ends)
        self.keys = (a + b + p + q, b + a + q + p)

    def send(self, side: int, at: int, payload: bytes = b"", flags: int = PSH | ACK, acked: int = -1) -> None:
        """A segment at stream position `at`, that acknowledges position `acked` of the other stream."""
        seq = (self.isn[side] + 1 + at) & 0xFFFFFFFF
        ack = (self.isn[1 - side] + 1 + acked) & 0xFFFFFFFF if acked >= 0 else 0
        if acked < 0:
            flags &= ~ACK
        frame = len(self.segments) + 1
        offset = len(self.data)
        self.data += payload
        self.segments.append((frame, self.time, self.keys[side], seq, ack, flags, offset, len(payload), 54, None))
        self.time += 0.0001

    def syn(self) -> None:
        self.send(0, -1, flags=SYN)
        self.send(1, -1, flags=SYN | ACK, acked=0)

    def run(self, stats: TcpStats | None = None) -> list[Recorder]:
        return run(self.segments, bytes(self.data), stats)


def run(segments: list[Segment], data: bytes, stats: TcpStats | None = None) -> list[Recorder]:
    made: list[Recorder] = []

    def handler(connection: Connection) -> Recorder:
        made.append(Recorder(connection))
        return made[-1]

    for _ in reassemble(segments, data, handler, stats):
        pass
    return made


def opened() -> Wire:
    wire = Wire()
    wire.syn()
    return wire
