"""One TCP connection: its two directions, each a window of bytes that a protocol parser consumes.

The window is a list of segments whose bytes stay in the file; they are copied once, when a message is taken. The
private side of a direction belongs to the reassembler in tcp.py; its lane is what the walk over a capture adds to.
"""

from __future__ import annotations

import socket
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import accumulate
from typing import NamedTuple, Protocol, TypeVar

from dissector.capture.base import Data, Lane, Segment, reverse
from dissector.source import ByteSource, Piece, Runs

_MASK = 0xFFFFFFFF

M_co = TypeVar("M_co", covariant=True)


class Taken(NamedTuple):
    """Bytes taken from a direction. first: the frame of the first byte; last: the frame that made them complete."""

    source: ByteSource
    first_frame: int
    first_time: float
    last_frame: int
    last_time: float


class StreamParser(Protocol[M_co]):
    """What a protocol must offer to be fed by reassemble()."""

    def feed(self, side: int, closed: bool = False) -> Iterable[M_co]:
        """New bytes are in the window of that side (at least `need`), or, closed, no more will ever come."""

    def gap(self, side: int, length: int) -> Iterable[M_co]:
        """`length` bytes are missing behind the window. What is not taken from it now is lost."""


class Direction(Lane):
    """One side's bytes in order, as a window that a protocol parser consumes.

    available: contiguous bytes in the window. position: how many bytes of the stream lie before the window.
    need: set by the parser, "do not call me before this many bytes are there"; taking bytes sets it back to 1.
    """

    __slots__ = (
        "_base",
        "_closed",
        "_data",
        "_fin",
        "_first",
        "_goal",
        "_held",
        "_held_bytes",
        "_held_starts",
        "_last",
        "_need",
        "_parser",
        "_patience",
        "_side",
        "_since",
        "_slow",
        "_sure",
        "connection",
        "peer",
        "position",
    )

    connection: Connection
    peer: Direction

    def __init__(self, data: Data) -> None:
        super().__init__()
        self.position = 0
        self._need = 1
        self._data = data
        self._first = 0  # index of the first segment not wholly taken
        self._base = -1  # the sequence number of the first byte; a guess when no SYN was seen
        self._sure = False  # no guess
        self._slow = False  # something is held, on this side or the other, or it is closed: every segment matters
        self._held: list[Segment] = []
        self._held_starts: list[int] = []
        self._held_bytes = 0
        self._goal = -1  # stream position up to which holes are acknowledged, and will be given up
        self._patience = 0  # after so many segments more
        self._since = 0.0  # or so long after this time
        self._fin = -1  # stream position of the FIN
        self._closed = False  # the protocol was told that no more will come
        self._last: tuple[int, float] = (0, 0.0)  # frame and time of the last byte taken
        self._side = 0
        self._parser: StreamParser[object] | None = None

    # --- for parsers ---

    @property
    def available(self) -> int:
        return self.end - self.position

    @property
    def need(self) -> int:
        return self._need

    @need.setter
    def need(self, n: int) -> None:
        self._need = n
        self.wake = -1 if self._slow else self.position + n

    def peek(self, n: int, at: int = 0) -> bytes:
        """Up to n bytes from position `at` of the window, without taking them."""
        start = self.position + at
        stop = min(start + n, self.end)
        if at < 0 or start >= stop:
            return b""
        ends = self.ends
        index = bisect_right(ends, start, self._first)
        segment = self.segments[index]
        end = ends[index]
        if stop <= end:
            data = self._data if segment[9] is None else segment[9].data
            offset = segment[6] + segment[7] - end
            return data[offset + start : offset + stop]
        return b"".join(self._slices(start, stop))

    def _slices(self, start: int, stop: int) -> Iterator[bytes]:
        index = bisect_right(self.ends, start, self._first)
        while start < stop:
            segment, end = self.segments[index], self.ends[index]
            data = self._data if segment[9] is None else segment[9].data
            offset = segment[6] + segment[7] - end
            upto = min(stop, end)
            yield data[offset + start : offset + upto]
            start = upto
            index += 1

    def find(self, needle: bytes, at: int = 0) -> int:
        """The position of needle in the window, at or after `at`; -1 when it is not there."""
        start, stop = self.position + max(at, 0), self.end
        width = len(needle)
        if stop - start < width:
            return -1
        ends, segments = self.ends, self.segments
        index = bisect_right(ends, start, self._first)
        while start < stop:
            segment, end = segments[index], ends[index]
            data = self._data if segment[9] is None else segment[9].data
            offset = segment[6] + segment[7] - end
            found = data.find(needle, offset + start, offset + end)
            if found >= 0:
                return found - offset - self.position
            if width > 1 and end < stop:
                # The needle may begin in the last bytes of this segment and end in later ones.
                seam = max(start, end - width + 1)
                found = self.peek(end - seam + width - 1, seam - self.position).find(needle)
                if found >= 0:
                    return seam + found - self.position
            start = end
            index += 1
        return -1

    def take(self, n: int, label: str) -> Taken:
        """Take n bytes (as many as there are, when fewer) out of the window, with the frames they came in."""
        n = max(0, min(n, self.available))
        if not n:
            frame, time = self._last
            return Taken(ByteSource(label, b""), frame, time, frame, time)
        start = self.position
        stop = start + n
        ends, first = self.ends, self._first
        after = bisect_left(ends, stop, first) + 1
        segments = self.segments[first:after]
        head = segments[0]
        skip = start - (ends[first] - head[7])
        data = self._data
        if len(segments) == 1:
            found = data if head[9] is None else head[9].data
            offset = head[6] + skip
            joined = found[offset : offset + n]
            last = head
        else:
            view = memoryview(data)  # slices of a map are copies, those of a view are not
            parts = [
                view[offset : offset + length] if source is None else source.data[offset : offset + length]
                for _, _, _, _, _, _, offset, length, _, source in segments
            ]
            if skip:
                parts[0] = parts[0][skip:]
            over = ends[after - 1] - stop
            if over:
                parts[-1] = parts[-1][:-over]
            joined = b"".join(parts)
            last = max(segments)
        self._last = last[0], last[1]
        self._advance(stop, after)
        source = ByteSource(label, joined, partial(_pieces, segments, skip, n), partial(_runs, segments, skip, n))
        return Taken(source, head[0], head[1], last[0], last[1])

    def skip(self, n: int) -> int:
        """Drop up to n bytes from the window without copying them; returns how many."""
        n = max(0, min(n, self.available))
        if n:
            after = bisect_left(self.ends, self.position + n, self._first) + 1
            last = self.segments[after - 1]
            self._last = last[0], last[1]
            self._advance(self.position + n, after)
        return n

    @property
    def first(self) -> tuple[int, float]:
        """Frame and time of the first byte in the window; of the last one taken, when it is empty."""
        if not self.available:
            return self._last
        segment = self.segments[self._first]
        return segment[0], segment[1]

    @property
    def from_start(self) -> bool:
        """Whether the capture holds the beginning of the stream: its SYN was seen."""
        return self._sure

    def seams(self) -> list[int]:
        """Window positions where a segment begins, 0 first; empty when the window is. Messages often begin there."""
        position = self.position
        return [0, *(end - position for end in self.ends[self._first : -1])] if self.available else []

    def _advance(self, stop: int, after: int) -> None:
        self.position = stop
        self.need = 1
        ends = self.ends
        if ends[after - 1] == stop:
            first = after
        else:
            first = after - 1
        if first == len(ends):
            self.segments.clear()
            ends.clear()
            first = 0
        elif first > 256 and first * 2 > len(ends):
            del self.segments[:first]
            del ends[:first]
            first = 0
        self._first = first

    # --- for the reassembler ---

    def _watch(self, slow: bool) -> None:
        """Whether every segment must be looked at, or those in order may wait for the parser's need."""
        if slow is not self._slow:
            self._slow = slow
            self.need = self._need

    def _append(self, segment: Segment) -> None:
        """A segment that begins where the window ends."""
        length = segment[7]
        self.segments.append(segment)
        self.end += length
        self.ends.append(self.end)
        self.expected = (segment[3] + length) & _MASK

    def _hold(self, segment: Segment, start: int) -> int:
        """Keep what is new in a segment that begins at stream position start; returns the bytes that were not."""
        starts, held = self._held_starts, self._held
        stop = start + segment[7]
        repeated = 0
        if start < self.end:
            repeated = min(stop, self.end) - start
            start += repeated
        index = bisect_right(starts, start)
        if index and (done := starts[index - 1] + held[index - 1][7]) > start:
            repeated += min(stop, done) - start
            start = min(stop, done)
        origin = stop - segment[7]
        while start < stop:
            upto = min(stop, starts[index]) if index < len(starts) else stop
            if start < upto:
                starts.insert(index, start)
                held.insert(index, _part(segment, start - origin, upto - start))
                self._held_bytes += upto - start
                index += 1
            start = upto
            if start < stop:
                done = starts[index] + held[index][7]
                repeated += min(stop, done) - start
                start = min(stop, done)
                index += 1
        return repeated

    def _drain(self) -> bool:
        """Move what is held and now contiguous into the window; whether that was anything."""
        starts, held = self._held_starts, self._held
        count = 0
        while count < len(starts) and starts[count] == self.end:
            self._append(held[count])
            self._held_bytes -= held[count][7]
            count += 1
        if count:
            del starts[:count]
            del held[:count]
        return count > 0

    def _jump(self, start: int) -> int:
        """Give up the bytes before stream position start; returns how many bytes of the window nobody wanted."""
        unwanted = self.available
        self.expected = (self.expected + start - self.end) & _MASK
        self.segments.clear()
        self.ends.clear()
        self._first = 0
        self.position = self.end = start
        self.need = 1
        return unwanted


def _pieces(segments: list[Segment], skip: int, total: int) -> Iterator[Piece]:
    """The pieces of taken bytes, made only when somebody asks where they came from."""
    start, make = 0, tuple.__new__  # a third of the cost of Piece(...), and there are very many
    for frame, _, _, _, _, _, offset, length, frame_offset, source in segments:
        length = min(length - skip, total - start)
        if source is None:
            yield make(Piece, (start, length, frame, frame_offset + skip, length))
        else:
            yield make(Piece, (start, length, source, offset + skip, length))
        start += length
        skip = 0


def _runs(segments: list[Segment], skip: int, total: int) -> Runs | None:
    """The same at one go, where every segment is in a frame of its own."""
    if len(segments) == 1:
        frame, _, _, _, _, _, _, _, offset, source = segments[0]
        return Runs.of([0], [total], [frame], [offset + skip]) if source is None else None
    columns = list(zip(*segments, strict=True))
    frames, lengths, offsets, sources = list(columns[0]), columns[7], list(columns[8]), columns[9]
    if sources.count(None) < len(sources) or len(set(frames)) < len(frames) or 0 in lengths:
        return None
    ends = list(accumulate(lengths, initial=-skip))[1:]
    ends[-1] = total
    offsets[0] += skip
    return Runs.of([0, *ends[:-1]], ends, frames, offsets)


def _part(segment: Segment, skip: int, length: int) -> Segment:
    if not skip and length == segment[7]:
        return segment
    frame, time, key, seq, ack, flags, offset, _, frame_offset, source = segment
    return frame, time, key, (seq + skip) & _MASK, ack, flags, offset + skip, length, frame_offset + skip, source


class Connection:
    """Two directions between a client and a server.

    number: 0-based, in the order of first frames. client, server: (address as text, port).
    directions[0] goes from client to server, directions[1] back. ended: the side that closed or reset it first (0 the
    client) and when; None where that was not captured so far.
    """

    __slots__ = ("_early", "_ends", "_keys", "_reset", "_settled", "directions", "ended", "number")

    def __init__(self, number: int, key: bytes, data: Data) -> None:
        self.number = number
        sender, receiver = self.directions = Direction(data), Direction(data)
        for direction, peer in ((sender, receiver), (receiver, sender)):
            direction.connection, direction.peer = self, peer
        receiver._side = 1
        self._keys = (key, reverse(key))
        self._early: list[Segment] | None = None  # held back until the roles are known
        self._settled = False  # they are
        self._reset = False
        self.ended: tuple[int, float] | None = None
        self._ends: tuple[tuple[str, int], tuple[str, int]] | None = None

    @property
    def client(self) -> tuple[str, int]:
        return self._endpoints()[0]

    @property
    def server(self) -> tuple[str, int]:
        return self._endpoints()[1]

    def _endpoints(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """Client and server as text, made when first asked for: most connections of a scan never are."""
        if self._ends is None:
            key = self._keys[0]
            half = (len(key) - 4) // 2
            family = socket.AF_INET if half == 4 else socket.AF_INET6
            source, target = (socket.inet_ntop(family, key[at : at + half]) for at in (0, half))
            self._ends = (source, int.from_bytes(key[-4:-2], "big")), (target, int.from_bytes(key[-2:], "big"))
        return self._ends

    def __repr__(self) -> str:
        (client, client_port), (server, server_port) = self.client, self.server
        return f"<Connection {self.number} {client}:{client_port} -> {server}:{server_port}>"

    @property
    def closed(self) -> bool:
        """Nothing more can come."""
        return self.directions[0]._closed and self.directions[1]._closed

    def _turn(self) -> None:
        """The one that was taken for the client is the server."""
        self.directions = self.directions[1], self.directions[0]
        self._keys = self._keys[1], self._keys[0]
        self._ends = None
        for side, direction in enumerate(self.directions):
            direction._side = side

    def _direction(self, key: bytes) -> Direction:
        return self.directions[0 if key == self._keys[0] else 1]
