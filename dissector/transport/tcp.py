"""TCP: segments in, two byte streams per connection out.

How it works. Every direction knows the sequence number it expects. A segment that brings just that is appended to the
direction's window, a list of segments whose bytes stay in the file; that is the whole of the fast path. All else is
sorted out at leisure: what lies ahead is held (sorted, none overlapping, the first copy of a byte wins), what lies
behind is a repetition. A protocol object consumes the window through peek, find and take; bytes are copied once, when
a message is taken.

A hole ahead of held segments stays open as long as the missing bytes may still come. It becomes a gap, told to the
protocol and never filled with zeros, when the receiver has acknowledged it and enough later traffic went by (frames of
a capture can stand a little out of order), when too much is held, or at the end.

A connection whose beginning was not captured holds its first few segments back, until it can be told who the client
is (by what is said, else the lower port is the server) and where the streams begin.

Two connections may share addresses and ports: one after the other (a new SYN, or sequence numbers far from the old
ones), or at once, in two VLANs. The sequence numbers tell which one a segment belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from dissector.capture.base import ACK, CONTROL, FIN, RST, SYN, Capture, Data, Segment, distance
from dissector.source import keep_freed
from dissector.transport.stream import Connection, Direction, StreamParser, Taken

__all__ = ["Connection", "Direction", "StreamParser", "Taken", "TcpStats", "reassemble", "reassemble_capture"]

_MASK = 0xFFFFFFFF
#: A sequence number further away than this is not of the same connection. No TCP window is wider in practice.
_FAR = 64 << 20
#: How much traffic of the connection must follow an acknowledgement before the bytes it covers are given up ...
_PATIENCE_SEGMENTS = 64
#: ... or how much time, in seconds.
_PATIENCE_TIME = 1.0
#: What a direction may hold behind a hole, and what all of them together may.
_HELD_BYTES = 16 << 20
_HELD_SEGMENTS = 8192
_HELD_BY_ALL = 131_072
#: Segments held back at the start of a connection whose SYN was not captured.
_EARLY_SEGMENTS = 8
#: How far before the first captured byte such a stream may begin, in bytes.
_LEAD_IN = 1 << 20
#: Connections remembered at the same time, and older ones of the same addresses and ports.
_REMEMBERED = 32_768
_SIBLINGS = 4

M = TypeVar("M")


@dataclass(slots=True)
class TcpStats:
    """What reassembly met, in bytes unless said otherwise."""

    connections: int = 0
    delivered: int = 0
    repeated: int = 0
    missing: int = 0
    gaps: int = 0
    late: int = 0
    discarded: int = 0


# What the first bytes of a segment say about who sent them: HTTP/1, DCE/RPC ([C706] 12.6.3: PTYPE), TLS hello.
_CLIENT_SAYS = re.compile(
    rb"[A-Z][A-Z_]{2,19} (?:/|\*|https?://|[\w.-]+:\d)"
    rb"|\x05[\x00\x01][\x00\x0b\x0e\x10\x12\x13].[\x00\x10]\x00{3}"
    rb"|\x16\x03[\x00-\x04]..\x01\x00",
    re.DOTALL,
)
_SERVER_SAYS = re.compile(
    rb"HTTP/1\.[01] \d{3}"
    rb"|\x05[\x00\x01][\x02\x03\x0c\x0d\x0f\x11].[\x00\x10]\x00{3}"
    rb"|\x16\x03[\x00-\x04]..\x02\x00",
    re.DOTALL,
)


def reassemble(
    segments: Iterable[Segment],
    data: Data,
    handler: Callable[[Connection], StreamParser[M]],
    stats: TcpStats | None = None,
) -> Iterator[M]:
    """Drive segments, in file order, through the parsers that handler(connection) makes; yields what they return.

    A parser is made when the first byte of its connection is there; a connection without payload has none.
    At the end every side that is still open is closed: by connection number, client side first.
    """
    return _Reassembler(data, handler, stats or TcpStats()).run(segments)


def reassemble_capture(
    capture: Capture, handler: Callable[[Connection], StreamParser[M]], stats: TcpStats | None = None
) -> Iterator[M]:
    """The same for all segments of a capture, whose walk puts those in order where they belong by itself."""
    keep_freed()
    made = _Reassembler(capture.data, handler, stats or TcpStats())
    return made.run(capture.segments(made.table))


class _Reassembler(Generic[M]):
    def __init__(self, data: Data, handler: Callable[[Connection], StreamParser[M]], stats: TcpStats) -> None:
        self._data = data
        self._handler = handler
        self._stats = stats
        self.table: dict[bytes, Direction] = {}
        self._siblings: dict[bytes, list[Connection]] = {}  # by the lesser key of both directions
        self._held = 0

    def run(self, segments: Iterable[Segment]) -> Iterator[M]:
        get = self.table.get
        mask = _MASK
        for segment in segments:
            _, _, key, seq, ack, flags, _, length, _, _ = segment
            direction = get(key)
            if direction is None or seq != direction.expected or flags & CONTROL != ACK or direction.wake < 0:
                yield from self._sort_out(segment, direction)
                continue
            direction.acked = ack
            if length:
                direction.segments.append(segment)
                direction.end = end = direction.end + length
                direction.ends.append(end)
                direction.expected = (seq + length) & mask
                if end >= direction.wake:
                    parser = direction._parser or (yield from self._start(direction))
                    yield from parser.feed(direction._side)  # type: ignore[misc]
        yield from self._finish_all()

    def _feed(self, direction: Direction, closed: bool = False) -> Iterator[M]:
        parser = direction._parser or (yield from self._start(direction))
        yield from parser.feed(direction._side, closed)  # type: ignore[misc]

    def _start(self, direction: Direction) -> Generator[M, None, StreamParser[M]]:
        """Make the parser of a connection, and tell it of a side that closed without a word."""
        parser = direction._parser = direction.peer._parser = self._handler(direction.connection)
        if direction.peer._closed:
            yield from parser.feed(direction.peer._side, True)
        return parser

    # --- which connection ---

    def _sort_out(self, segment: Segment, direction: Direction | None) -> Iterator[M]:
        _, _, key, seq, ack, flags, _, length, _, _ = segment
        if flags & SYN and not flags & RST:
            direction = yield from self._syn(segment, direction)
            if length:
                segment = (*segment[:3], (seq + 1) & _MASK, *segment[4:])
        elif direction is None:
            direction = yield from self._open(segment)
        elif not _near(segment, direction):
            found = yield from self._elsewhere(segment, direction)
            if found is None:
                return
            direction = found
        connection = direction.connection
        if connection._settled:
            yield from self._take_in(segment, direction)
            return
        if connection._early is None:
            connection._early = []
        if flags & ACK and direction.acked < 0:
            direction.acked = ack
        if length and direction._base < 0:
            direction._base = seq
        if length or flags & (FIN | RST):
            early = connection._early
            early.append(segment)
            other = any(held[7] and held[2] != key for held in early) and length
            if len(early) >= _EARLY_SEGMENTS or other or flags & (FIN | RST):
                yield from self._settle(connection)

    def _open(self, segment: Segment) -> Generator[M, None, Direction]:
        """A new connection in the table; yields what older ones say when they must go. Returns the direction."""
        if len(self.table) >= 2 * _REMEMBERED:
            yield from self._forget()
        key = segment[2]
        connection = Connection(self._stats.connections, key, self._data)
        self._stats.connections += 1
        self._enter(connection)
        return connection.directions[0]

    def _enter(self, connection: Connection) -> None:
        for direction, key in zip(connection.directions[::-1], connection._keys[::-1], strict=True):
            self.table[key] = direction

    def _syn(self, segment: Segment, direction: Direction | None) -> Generator[M, None, Direction]:
        """A SYN opens a connection, or repeats the opening of the one there is. Returns the direction."""
        _, time, key, seq, ack, flags, _, _, _, _ = segment
        base = (seq + 1) & _MASK
        if direction is not None:
            connection, peer = direction.connection, direction.peer
            if direction._base == base and connection._settled:
                direction._sure = True
                return direction
            if not connection._settled:
                known = [held for held in connection._early or () if held[2] == key]
                if all(0 <= distance(held[3], base) < _FAR for held in known) and _near(segment, direction):
                    self._greet(segment, direction)
                    yield from self._settle(connection)
                    return direction
            elif direction._base < 0 and not connection.closed and flags & ACK:
                if peer._base < 0 or 0 <= distance(ack, peer._base) < _FAR:
                    self._greet(segment, direction)
                    return direction
            elif (found := self._sibling(segment, direction, base)) is not None:
                return found
            yield from self._retire(connection, time)
        direction = yield from self._open(segment)
        self._greet(segment, direction)
        direction.connection._settled = True
        return direction

    def _greet(self, segment: Segment, direction: Direction) -> None:
        """Learn from a SYN: where the stream begins, and who is the client."""
        _, _, _, seq, ack, flags, _, _, _, _ = segment
        connection, peer = direction.connection, direction.peer
        direction._base = (seq + 1) & _MASK
        direction._sure = True
        if connection._settled or not connection._early:
            direction.expected = direction._base
        if flags & ACK and peer._base < 0 and connection._settled is False and not connection._early:
            peer._base = peer.expected = ack
            peer._sure = True
        if (direction._side == 0) == bool(flags & ACK) and not connection._settled:
            connection._turn()

    def _retire(self, connection: Connection, time: float) -> Iterator[M]:
        """A new SYN takes its place. One that was busy a moment ago may go on beside it (two VLANs)."""
        if connection._settled and any(d.end and time - d.first[1] < _PATIENCE_TIME for d in connection.directions):
            yield from self._put_aside(connection)
        else:
            yield from self._finish(connection)

    def _put_aside(self, connection: Connection) -> Iterator[M]:
        if not connection.closed:
            beside = self._siblings.setdefault(min(connection._keys), [])
            beside.append(connection)
            if len(beside) > _SIBLINGS:
                yield from self._finish(beside.pop(0))

    def _sibling(self, segment: Segment, direction: Direction, base: int = -1) -> Direction | None:
        """The direction of another connection with the same addresses and ports that the segment fits.

        base: the first sequence number it must have, of a SYN.
        """
        beside = self._siblings.get(min(direction.connection._keys))
        if beside:
            for index, other in enumerate(beside):
                found = other._direction(segment[2])
                if found._base == base if base >= 0 else _near(segment, found):
                    beside[index] = direction.connection
                    self._enter(other)
                    return found
        return None

    def _elsewhere(self, segment: Segment, direction: Direction) -> Generator[M, None, Direction | None]:
        """Sequence numbers far from the connection's: another one. Returns its direction, None: pay no heed."""
        found = self._sibling(segment, direction)
        if found is None and segment[7]:
            yield from self._put_aside(direction.connection)
            found = yield from self._open(segment)
        return found

    def _settle(self, connection: Connection) -> Iterator[M]:
        """Decide who is the client and where the streams begin, then go through what was held back."""
        early, connection._early = connection._early or [], None
        if not any(direction._sure for direction in connection.directions):
            for segment in early:
                source = segment[9]
                start = segment[6]
                data = self._data if source is None else source.data
                head = data[start : start + min(segment[7], 64)]
                client, server = _CLIENT_SAYS.match(head), _SERVER_SAYS.match(head)
                if client or server:
                    turn = (segment[2] == connection._keys[0]) != bool(client)
                    break
            else:
                turn = connection.server[1] > connection.client[1]
            if turn:
                connection._turn()
        connection._settled = True
        for direction, key in zip(connection.directions, connection._keys, strict=True):
            mine = [segment for segment in early if segment[2] == key and segment[7]]
            if direction._sure or not mine:
                if direction._sure:
                    direction.expected = direction._base
                continue
            anchor = mine[0][3]
            mine.sort(key=lambda segment: distance(segment[3], anchor))
            if len(mine) > 1 and self._is_keep_alive(mine[0]):
                early.remove(mine.pop(0))
                self._stats.repeated += 1
            self._guess(direction, mine[0][3])
        for segment in early:
            yield from self._take_in(segment, connection._direction(segment[2]))

    def _guess(self, direction: Direction, seq: int) -> None:
        """A stream whose beginning was not captured starts at seq, or a little earlier, where its receiver stood."""
        acked = direction.peer.acked
        if acked >= 0 and 0 < distance(seq, acked) < _LEAD_IN:
            seq = acked
        direction._base = direction.expected = seq

    def _is_keep_alive(self, segment: Segment) -> bool:
        """One byte of nothing, before a stream whose beginning we did not see."""
        data = self._data if segment[9] is None else segment[9].data
        return segment[7] == 1 and data[segment[6]] == 0

    def _forget(self) -> Iterator[M]:
        """Finish a quarter of the connections: closed ones first, then those without payload, then the idle."""
        connections = {id(d.connection): d.connection for d in self.table.values()}.values()
        ranked = sorted(
            connections,
            key=lambda c: (not c.closed, c.directions[0]._parser is not None, max(d.first for d in c.directions)),
        )
        for connection in ranked[: max(1, len(ranked) // 4)]:
            for other in self._siblings.pop(min(connection._keys), ()):
                yield from self._finish(other)
            yield from self._finish(connection)
            for key in connection._keys:
                self.table.pop(key, None)

    # --- one segment of a connection that is known ---

    def _take_in(self, segment: Segment, direction: Direction) -> Iterator[M]:
        _, time, _, seq, ack, flags, _, length, _, _ = segment
        peer = direction.peer
        connection = direction.connection
        if flags & (FIN | RST) and connection.ended is None:
            connection.ended = direction._side, time
        if flags & ACK and not flags & RST:
            if peer.expected < 0 and direction._sure and not flags & SYN:
                # Only the SYN of the other side is missing: what is acknowledged first is where it begins.
                peer._base = peer.expected = ack
            direction.acked = ack
        if direction._closed:
            if distance(seq, direction.expected) < 0:
                self._stats.repeated += length
            else:
                self._stats.late += length
            return
        if length or flags & FIN:
            if direction.expected < 0:
                self._guess(direction, seq)
            start = direction.end + distance(seq, direction.expected)
            if flags & FIN and direction._fin < 0:
                direction._fin = start + length
            if length:
                before = len(direction._held)
                self._stats.repeated += direction._hold(segment, start)
                drained = direction._drain()
                self._held += len(direction._held) - before
                if drained and direction.available >= direction.need:
                    yield from self._feed(direction)
        if flags & RST:
            connection._reset = True
        for one in (direction, peer):
            if one._held or one._fin > one.end:
                yield from self._wait(one, time)
        for one in connection.directions:
            ended = 0 <= one._fin <= one.end
            if not one._closed and (ended or connection._reset) and not one._held:
                yield from self._close(one)
        waiting = any(one._held or one._fin > one.end for one in connection.directions)
        for one in connection.directions:
            one._watch(waiting or one._closed)

    def _wait(self, direction: Direction, time: float) -> Iterator[M]:
        """Something is held behind a hole: give the hole up when its bytes will not come any more."""
        if len(direction._held) > _HELD_SEGMENTS or direction._held_bytes > _HELD_BYTES or self._held > _HELD_BY_ALL:
            yield from self._give_up(direction)
            return
        acked = direction.peer.acked
        if acked < 0:
            return
        if direction._goal <= direction.end:
            ahead = distance(acked, direction.expected)
            if 0 < ahead < _FAR:
                direction._goal = direction.end + ahead
                direction._patience = _PATIENCE_SEGMENTS
                direction._since = time
            return
        direction._patience -= 1
        if direction._patience <= 0 or time - direction._since > _PATIENCE_TIME:
            while direction.end < direction._goal and (direction._held or direction._fin > direction.end):
                yield from self._give_up(direction)

    def _give_up(self, direction: Direction) -> Iterator[M]:
        """The first hole of a direction becomes a gap."""
        start = direction._held_starts[0] if direction._held else direction._fin
        yield from self._gap(direction, start - direction.end)
        before = len(direction._held)
        if direction._drain():
            self._held += len(direction._held) - before
            yield from self._feed(direction)

    def _gap(self, direction: Direction, length: int) -> Iterator[M]:
        start = direction.end + length
        if direction.end or direction._sure:
            self._stats.gaps += 1
            self._stats.missing += length
            parser = direction._parser or (yield from self._start(direction))
            yield from parser.gap(direction._side, length)  # type: ignore[misc]
        # else: bytes before the first one captured, of a stream whose beginning nobody saw, are no hole in it.
        self._stats.delivered -= length
        self._stats.discarded += direction._jump(start)

    # --- endings ---

    def _close(self, direction: Direction) -> Iterator[M]:
        direction._closed = True
        if direction._parser is not None:
            yield from self._feed(direction, closed=True)
        self._stats.discarded += direction._jump(direction.end)
        self._stats.delivered += direction.end
        if direction.peer._closed:
            direction._parser = direction.peer._parser = None

    def _finish(self, connection: Connection) -> Iterator[M]:
        """No more of it will come, or be waited for."""
        if not connection._settled:
            yield from self._settle(connection)
        for direction in connection.directions:
            if direction._closed:
                continue
            while direction._held or direction._fin > direction.end:
                yield from self._give_up(direction)
            acked = direction.peer.acked
            if acked >= 0 and direction.expected >= 0 and direction._fin < 0 and direction._parser is not None:
                ahead = distance(acked, direction.expected)
                if 1 < ahead < _FAR:  # by 1: the FIN was missed, most likely
                    yield from self._gap(direction, ahead)
            yield from self._close(direction)

    def _finish_all(self) -> Iterator[M]:
        connections = {id(d.connection): d.connection for d in self.table.values()}
        for beside in self._siblings.values():
            connections.update((id(connection), connection) for connection in beside)
        for connection in sorted(connections.values(), key=lambda connection: connection.number):
            yield from self._finish(connection)


def _near(segment: Segment, direction: Direction) -> bool:
    """Whether a segment's numbers can belong to the connection."""
    origin = direction.expected if direction.expected >= 0 else direction._base
    if origin >= 0:
        return -_FAR < distance(segment[3], origin) < _FAR
    peer = direction.peer
    origin = peer.expected if peer.expected >= 0 else peer._base
    if origin >= 0 and segment[5] & ACK:
        return -_FAR < distance(segment[4], origin) < _FAR
    return True
