"""What a protocol parser reads from: a window on bytes in order. tcp.Direction is one, Buffer is another.

A parser looks at the window (peek, find), takes what it understands, and sets `need` to say how many bytes must be
there before it is worth calling again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dissector.source import ByteSource, joined

if TYPE_CHECKING:
    from dissector.transport.messages import Message


class Piece(Protocol):
    """Bytes taken from a window, with the frames and times of the first and the last of them."""

    @property
    def source(self) -> ByteSource: ...
    @property
    def first_frame(self) -> int: ...
    @property
    def first_time(self) -> float: ...
    @property
    def last_frame(self) -> int: ...
    @property
    def last_time(self) -> float: ...


class Window(Protocol):
    """Contiguous bytes that were not taken yet. Positions count from the first of them."""

    need: int

    @property
    def available(self) -> int: ...
    def peek(self, n: int, at: int = 0) -> bytes: ...
    def find(self, needle: bytes, at: int = 0) -> int: ...
    def take(self, n: int, label: str) -> Piece: ...
    def skip(self, n: int) -> int: ...


class ProtocolParser(Protocol):
    """What reassemble() feeds: one parser for both directions of a connection."""

    def feed(self, side: int, closed: bool = False) -> Iterable[Message]: ...
    def gap(self, side: int, length: int) -> Iterable[Message]: ...


class Taken(NamedTuple):
    """A Piece made here."""

    source: ByteSource
    first_frame: int
    first_time: float
    last_frame: int
    last_time: float


class Buffer:
    """A window over pieces that are appended: what is left of a stream when its framing (HTTP chunks) is taken off."""

    def __init__(self) -> None:
        self.need = 1
        self.available = 0
        self._parts: deque[tuple[Piece, int, int]] = deque()  # piece, offset, length: what is left of it

    def append(self, piece: Piece, offset: int, length: int) -> None:
        """Add piece.source.data[offset:offset + length]."""
        if length:
            self._parts.append((piece, offset, length))
            self.available += length

    def peek(self, n: int, at: int = 0) -> bytes:
        chunks: list[bytes] = []
        for piece, offset, length in self._parts:
            if n <= 0:
                break
            if at >= length:
                at -= length
                continue
            part = piece.source.data[offset + at : offset + min(length, at + n)]
            chunks.append(part)
            n -= len(part)
            at = 0
        return b"".join(chunks)

    def find(self, needle: bytes, at: int = 0) -> int:
        found = self.peek(self.available, at).find(needle)
        return found if found < 0 else found + at

    def take(self, n: int, label: str) -> Taken:
        ranges: list[tuple[ByteSource, int, int]] = []
        pieces: list[Piece] = []
        left = n = min(n, self.available)
        while left > 0:
            piece, offset, length = self._parts[0]
            step = min(left, length)
            ranges.append((piece.source, offset, step))
            pieces.append(piece)
            left -= step
            if step == length:
                self._parts.popleft()
            else:
                self._parts[0] = (piece, offset + step, length - step)
        self.available -= n
        self.need = 1
        source = joined(label, ranges)
        if not pieces:
            return Taken(source, 0, 0.0, 0, 0.0)
        first, last = pieces[0], pieces[-1]
        return Taken(source, first.first_frame, first.first_time, last.last_frame, last.last_time)

    def skip(self, n: int) -> int:
        return len(self.take(n, "skipped").source)
