"""The window on one side's bytes: what is taken from it, and the frames that carried that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dissector.source import ByteSource, Piece, Span
from dissector.transport.stream import Connection, Direction
from dissector.transport.tcp import reassemble
from tests.dissector.capture.frames import Recorder
from tests.dissector.transport.segments import opened


class Waiting:
    """Asks for records of a fixed length."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.calls = 0

    def feed(self, side: int, closed: bool = False):  # type: ignore[no-untyped-def]
        self.calls += 1
        direction = self.connection.directions[side]
        while direction.available >= 1000:
            yield direction.take(1000, "record"), self.calls
        direction.need = 1000

    def gap(self, side: int, length: int):  # type: ignore[no-untyped-def]
        return ()


def test_need_keeps_the_parser_asleep() -> None:
    wire = opened()
    for at in range(0, 3000, 10):
        wire.send(0, at, bytes(10), acked=0)
    taken = list(reassemble(wire.segments, bytes(wire.data), Waiting))
    # Once at the first byte, then once a record.
    assert [calls for _, calls in taken] == [2, 3, 4]
    first = taken[0][0]
    assert (first.first_frame, first.last_frame) == (3, 102)
    assert first.last_time > first.first_time


def test_taken_bytes_know_their_frames() -> None:
    wire = opened()
    for at, data in ((0, b"abcd"), (8, b"ijkl"), (4, b"efgh"), (10, b"XXmn")):
        wire.send(0, at, data, acked=0)
    found = []

    class Taking(Recorder):
        def feed(self, side, closed=False):  # type: ignore[no-untyped-def]
            direction = self.connection.directions[side]
            if direction.available >= 14:
                direction.skip(1)
                found.append(direction.take(12, "middle"))
            return ()

    list(reassemble(wire.segments, bytes(wire.data), Taking))
    (taken,) = found
    assert taken.source.data == b"bcdefghijklm"
    assert taken.source.locate(0, 12) == [Span(3, 55, 3), Span(5, 54, 4), Span(4, 54, 4), Span(6, 56, 1)]
    assert taken.source.locate(4, 2) == [Span(5, 55, 2)]
    assert (taken.first_frame, taken.last_frame) == (3, 6)
    assert taken.last_time == wire.segments[5][1]


def test_segments_with_a_source_of_their_own() -> None:
    wire = opened()
    wire.send(0, 0, b"abc", acked=0)
    source = ByteSource("IP datagram", b"..defghi", (Piece(0, 8, 77, 20, 8),))
    payload = source.derive("TCP payload", 2, 6)
    frame, time, key, _, ack, flags, *_ = wire.segments[-1]
    wire.segments.append((frame + 1, time, key, wire.isn[0] + 1 + 1, ack, flags, 0, 6, 0, payload))
    found = []

    class Taking(Recorder):
        def feed(self, side, closed=False):  # type: ignore[no-untyped-def]
            direction = self.connection.directions[side]
            if direction.available >= 7:
                assert direction.peek(10) == b"abcfghi"
                assert direction.peek(2, 3) == b"fg"
                assert direction.find(b"cf") == 2
                found.append(direction.take(10, "all").source)
            return ()

    list(reassemble(wire.segments, bytes(wire.data), Taking))
    assert found[0].data == b"abcfghi"
    assert found[0].locate(2, 3) == [Span(3, 56, 1), Span(77, 24, 2)]


@given(st.lists(st.binary(min_size=1, max_size=5), min_size=1, max_size=12), st.data())
def test_window_is_as_one_run_of_bytes(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    direction = Direction(whole)
    at = 0
    for number, part in enumerate(parts):
        direction._append((number + 1, float(number), b"", at, 0, 0, at, len(part), 0, None))
        at += len(part)
    gone = 0
    while gone < len(whole):
        rest = whole[gone:]
        assert direction.available == len(rest)
        assert direction.position == gone
        start = data.draw(st.integers(0, len(rest) + 1))
        n = data.draw(st.integers(0, len(rest) + 1))
        assert direction.peek(n, start) == rest[start : start + n]
        begin = data.draw(st.integers(0, len(rest) - 1))
        needle = rest[begin : begin + data.draw(st.integers(1, 6))] + data.draw(st.sampled_from([b"", b"\0"]))
        assert direction.find(needle, start) == rest.find(needle, start)
        n = data.draw(st.integers(1, len(rest)))
        if data.draw(st.booleans()):
            taken = direction.take(n, "x")
            assert taken.source.data == rest[:n]
            ends = [sum(map(len, parts[: index + 1])) for index in range(len(parts))]
            assert taken.first_frame == next(i for i, end in enumerate(ends) if end > gone) + 1
            assert taken.last_frame == next(i for i, end in enumerate(ends) if end >= gone + n) + 1
            assert sum(span.length for span in taken.source.locate(0, n)) == n
        else:
            assert direction.skip(n) == n
        gone += n
    empty = direction.take(5, "nothing")
    assert empty.source.data == b""
    assert empty.first_frame == len(parts)
