"""Connections made by hand: what each side says, in which segments, and what of it the capture does not hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dissector.capture.base import Segment
from dissector.source import Span
from dissector.transport.messages import Message
from dissector.transport.protocols import Handler
from dissector.transport.tcp import reassemble

FIN, SYN, ACK = 0x01, 0x02, 0x10
HEADERS = 54


class Wire:
    """One capture. Frames are numbered as they are sent; times are frame / 1000."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.segments: list[Segment] = []
        self.links = 0

    def link(self, opened: bool = True, client: str = "10.0.0.1", port: int = 80) -> Link:
        """A new connection. opened: with the handshake; else the capture begins in its middle."""
        self.links += 1
        return Link(self, bytes(map(int, client.split("."))), 40000 + self.links, port, opened)

    def read(self, handler: Callable[[Any], Any] | None = None) -> list[Message]:
        """What the transport layer makes of it."""
        return list(reassemble(self.segments, bytes(self.data), handler or Handler()))

    def at(self, spans: list[Span]) -> bytes:
        """The captured bytes of spans."""
        frames = {segment[0]: segment for segment in self.segments}
        parts = []
        for frame, offset, length in spans:
            segment = frames[frame]
            start = segment[6] + offset - HEADERS
            assert offset >= HEADERS
            assert offset + length <= HEADERS + segment[7]
            parts.append(bytes(self.data[start : start + length]))
        return b"".join(parts)


class Link:
    """A connection; side 0 is the client."""

    def __init__(self, wire: Wire, client: bytes, client_port: int, port: int, opened: bool) -> None:
        self.wire = wire
        here = client, client_port.to_bytes(2, "big")
        there = b"\xc0\xa8\x00\x01", port.to_bytes(2, "big")
        self.keys = here[0] + there[0] + here[1] + there[1], there[0] + here[0] + there[1] + here[1]
        self.seq = [1000, 0xFFFFFF00]
        if opened:
            self._segment(0, SYN, b"")
            self.seq[0] += 1
            self._segment(1, SYN | ACK, b"")
            self.seq[1] += 1

    def _segment(self, side: int, flags: int, data: bytes) -> None:
        wire = self.wire
        frame = len(wire.segments) + 1
        seq, ack = (self.seq[side] & 0xFFFFFFFF), (self.seq[1 - side] & 0xFFFFFFFF)
        wire.segments.append(
            (frame, frame / 1000, self.keys[side], seq, ack, flags, len(wire.data), len(data), HEADERS, None)
        )
        wire.data += data

    def send(self, side: int, data: bytes, mss: int = 1460) -> Link:
        """Say something, in segments of up to mss bytes."""
        for at in range(0, len(data), mss):
            part = data[at : at + mss]
            self._segment(side, ACK, part)
            self.seq[side] += len(part)
        return self

    def lose(self, side: int, length: int) -> Link:
        """Say something that the capture misses."""
        self.seq[side] += length
        return self

    def ask(self, data: bytes, mss: int = 1460) -> Link:
        return self.send(0, data, mss)

    def answer(self, data: bytes, mss: int = 1460) -> Link:
        return self.send(1, data, mss)

    def close(self) -> Link:
        for side in (0, 1):
            self._segment(side, FIN | ACK, b"")
            self.seq[side] += 1
        return self
