"""Reassembly: every way a capture can be unkind to a stream."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.capture.base import ACK, FIN, Segment
from dissector.transport import tcp
from dissector.transport.stream import Connection
from dissector.transport.tcp import TcpStats, reassemble
from tests.conftest import examples
from tests.dissector.capture.frames import Recorder
from tests.dissector.transport.segments import Wire, opened, run


def test_in_order_both_ways() -> None:
    wire = opened()
    wire.send(0, 0, b"GET /", acked=0)
    wire.send(0, 5, b" now", acked=0)
    wire.send(1, 0, b"yes", acked=9)
    wire.send(0, 9, flags=FIN | ACK, acked=3)
    wire.send(1, 3, flags=FIN | ACK, acked=10)
    stats = TcpStats()
    (one,) = wire.run(stats)
    assert one.sides == ([b"GET / now"], [b"yes"])
    assert one.closed == [0, 1]
    assert one.connection.client == ("10.0.0.1", 40000)
    assert one.connection.server == ("10.0.0.2", 80)
    assert (stats.connections, stats.delivered, stats.repeated, stats.missing) == (1, 12, 0, 0)


def test_swapped_and_repeated() -> None:
    wire = opened()
    for at, data in ((3, b"def"), (0, b"abc"), (0, b"abc"), (9, b"jkl"), (3, b"def"), (6, b"ghi"), (9, b"jkl")):
        wire.send(0, at, data, acked=0)
    stats = TcpStats()
    (one,) = wire.run(stats)
    assert one.sides == ([b"abcdefghijkl"], [])
    assert stats.repeated == 9


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([(0, b"abc"), (1, b"XXde")], b"abcde"),  # overlaps what was delivered
        ([(3, b"def"), (0, b"abcXXX")], b"abcdef"),  # reaches into what is held
        ([(3, b"def"), (0, b"abcXXXghi")], b"abcdefghi"),  # goes beyond it
        ([(2, b"c"), (6, b"g"), (1, b"bXdefXh"), (0, b"a")], b"abcdefgh"),  # covers two that are held
        ([(2, b"cdef"), (3, b"XX"), (4, b"XXgh"), (0, b"ab")], b"abcdefgh"),  # inside one, and over its end
        ([(4, b"ef"), (2, b"cdX"), (0, b"abX")], b"abcdef"),
    ],
)
def test_overlap_the_first_copy_wins(sent: list[tuple[int, bytes]], expected: bytes) -> None:
    wire = opened()
    for at, data in sent:
        wire.send(0, at, data, acked=0)
    (one,) = wire.run()
    assert one.sides[0] == [expected]


def test_a_hole_is_given_up_when_acknowledged_and_enough_follows() -> None:
    wire = opened()
    wire.send(1, 0, b"abc", acked=0)
    for number in range(70):
        wire.send(1, 6 + number, b"x", acked=0)
        wire.send(0, 0, acked=7 + number, flags=ACK)
    seen = []
    made: list[Recorder] = []

    def handler(connection: Connection) -> Recorder:
        made.append(Recorder(connection))
        return made[-1]

    def watched() -> object:
        for segment in wire.segments:
            yield segment
            seen.append(bool(made) and 3 in made[0].sides[1])

    list(reassemble(watched(), bytes(wire.data), handler))  # type: ignore[arg-type]
    assert made[0].sides[1] == [b"abc", 3, b"x" * 70]
    # Told while traffic goes on, neither at once nor at the end only.
    first = seen.index(True)
    assert 40 < first < len(seen) - 10


def test_a_hole_is_given_up_after_a_second() -> None:
    wire = opened()
    wire.send(1, 0, b"abc", acked=0)
    wire.send(1, 6, b"g", acked=0)
    wire.send(0, 0, acked=7, flags=ACK)
    wire.time += 2
    wire.send(0, 0, b"next", acked=7)
    assert [one.sides for one in wire.run()] == [([b"next"], [b"abc", 3, b"g"])]
    order: list[object] = []

    class Ordered(Recorder):
        def feed(self, side, closed=False):  # type: ignore[no-untyped-def]
            order.append(("feed", side))
            return super().feed(side, closed)

        def gap(self, side, length):  # type: ignore[no-untyped-def]
            order.append(("gap", side))
            return super().gap(side, length)

    list(reassemble(wire.segments, bytes(wire.data), Ordered))
    assert order.index(("gap", 1)) < len(order) - 3


def test_a_late_segment_still_fills_an_acknowledged_hole() -> None:
    wire = opened()
    wire.send(1, 0, b"abc", acked=0)
    wire.send(1, 6, b"ghi", acked=0)
    wire.send(0, 0, acked=9, flags=ACK)
    for _ in range(10):
        wire.send(0, 0, acked=9, flags=ACK)
    wire.send(1, 3, b"def", acked=0)
    (one,) = wire.run()
    assert one.sides[1] == [b"abcdefghi"]


def test_a_hole_without_acknowledgement_waits_for_the_end() -> None:
    wire = opened()
    wire.send(1, 0, b"abc", acked=0)
    for number in range(500):
        wire.send(1, 4 + number, b"x", acked=0)
    wire.send(1, 3, b"d", acked=0)
    (one,) = wire.run()
    assert one.sides[1] == [b"abcd" + b"x" * 500]


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "_HELD_SEGMENTS", 100)
    wire = opened()
    for number in range(500):
        wire.send(1, 10 + number, b"x", acked=0)
    most = 0
    made: list[Recorder] = []

    def handler(connection: Connection) -> Recorder:
        made.append(Recorder(connection))
        return made[-1]

    for _ in reassemble(wire.segments, bytes(wire.data), handler):
        most = max(most, len(made[0].connection.directions[1]._held))
    assert made[0].sides[1] == [10, b"x" * 500]
    assert most <= 101


def test_a_hole_before_the_end_of_the_connection() -> None:
    wire = opened()
    wire.send(0, 0, b"GET", acked=0)
    wire.send(1, 2902, flags=FIN | ACK, acked=3)
    wire.send(0, 3, flags=FIN | ACK, acked=2903)
    stats = TcpStats()
    (one,) = wire.run(stats)
    assert one.sides == ([b"GET"], [2902])
    assert (stats.gaps, stats.missing) == (1, 2902)


def test_bytes_that_were_acknowledged_but_not_captured_at_the_end() -> None:
    wire = opened()
    wire.send(1, 0, b"abc", acked=0)
    wire.send(0, 0, acked=103, flags=ACK)
    (one,) = wire.run()
    assert one.sides == ([], [b"abc", 100])


def test_a_missed_fin_is_no_missing_byte() -> None:
    wire = opened()
    wire.send(1, 0, b"abc", acked=0)
    wire.send(0, 0, acked=4, flags=ACK)
    (one,) = wire.run()
    assert one.sides == ([], [b"abc"])


def test_without_the_ack_flag_nothing_is_acknowledged() -> None:
    wire = Wire(isn=(1000, 0xFFFFFF00))
    wire.syn()
    wire.send(1, 0, b"abc", acked=0)
    wire.send(0, 0, b"def")  # the field is 0, which would be 252 bytes ahead
    (one,) = wire.run()
    assert one.sides == ([b"def"], [b"abc"])


@pytest.mark.parametrize("isn", [0xFFFFFFFA, 0x7FFFFFFA, 0xFFFFFFFF])
def test_sequence_numbers_wrap(isn: int) -> None:
    wire = Wire(isn=(isn, isn))
    wire.syn()
    for at, data in ((0, b"abcd"), (8, b"ijkl"), (4, b"efgh"), (2, b"cdef"), (12, b"mn")):
        wire.send(0, at, data, acked=0)
    wire.send(1, 0, b"12345678", acked=14)
    (one,) = wire.run()
    assert one.sides == ([b"abcdefghijklmn"], [b"12345678"])


def test_a_late_start_in_disorder_loses_nothing() -> None:
    wire = Wire()
    for at, data in ((6, b"ghi"), (3, b"def"), (0, b"abc"), (9, b"jkl")):
        wire.send(0, at, data, acked=0)
    (one,) = wire.run()
    assert one.sides[0] == [b"abcdefghijkl"]


def test_a_late_start_tells_no_gap_before_its_first_byte() -> None:
    wire = Wire()
    wire.send(0, 0, acked=0, flags=ACK)  # the client stood at 0, but what is captured begins at 1000
    for number in range(20):
        wire.send(1, 1000 + number, b"x", acked=0)
    stats = TcpStats()
    (one,) = wire.run(stats)
    assert one.sides == ([], [b"x" * 20])
    assert (stats.missing, stats.delivered) == (0, 20)


def test_keep_alives_and_window_probes() -> None:
    wire = opened()
    wire.send(0, 0, b"abc", acked=0)
    wire.send(0, 2, b"\0", acked=0)  # keep-alive with a garbage byte
    wire.send(0, 2, b"", acked=0)  # and without
    wire.send(0, 3, b"d", acked=0)  # window probe: the next byte, not yet wanted
    wire.send(1, 0, acked=3, flags=ACK)
    wire.send(0, 3, b"def", acked=0)
    (one,) = wire.run()
    assert one.sides[0] == [b"abcdef"]


def test_a_late_start_at_a_keep_alive() -> None:
    wire = Wire()
    wire.send(0, -1, b"\0", acked=0)
    wire.send(1, 0, acked=0, flags=ACK)
    wire.send(0, 0, b"abc", acked=0)
    wire.send(1, 0, b"def", acked=3)
    (one,) = wire.run()
    assert one.sides == ([b"abc"], [b"def"])


def test_every_segment_twice() -> None:
    wire = opened()
    for at in range(0, 300, 3):
        wire.send(0, at, b"abc", acked=0)
        wire.send(1, at, b"def", acked=at + 3)
    wire.send(0, 300, flags=FIN | ACK, acked=300)
    wire.send(1, 300, flags=FIN | ACK, acked=301)
    wire.segments = [segment for segment in wire.segments for _ in range(2)]
    stats = TcpStats()
    (one,) = wire.run(stats)
    assert one.sides == ([b"abc" * 100], [b"def" * 100])
    assert one.closed == [0, 1]
    assert (stats.connections, stats.repeated, stats.gaps) == (1, 600, 0)


@st.composite
def disorder(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, bytes]], list[int], int, bool]:
    """A stream, how it was sent (position, bytes), its cuts, the first sequence number, whether a SYN was captured."""
    # Not a zero first: alone at the start of a capture it would pass for a keep-alive.
    stream = b"\1" + draw(st.binary(max_size=400))
    cuts = sorted({0, len(stream), *draw(st.lists(st.integers(0, len(stream)), max_size=30))})
    sent = [(a, stream[a:b]) for a, b in pairwise(cuts)]
    seed = draw(st.integers(0, 2**32))
    chance = random.Random(seed)
    window = draw(st.integers(0, 6))
    # A segment may come up to `window` places late.
    sent = [part for _, part in sorted(enumerate(sent), key=lambda item: item[0] + chance.uniform(0, window))]
    return stream, sent, cuts, draw(st.sampled_from([0, 1000, 0xFFFFFFF0, 0x7FFFFFF0])), draw(st.booleans())


@examples(200)
@given(disorder(), st.data())
def test_disorder_gives_the_same_bytes(case: tuple, data: st.DataObject) -> None:
    stream, sent, _, isn, syn = case
    wire = Wire(isn=(isn, 77))
    if syn:
        wire.syn()
    for number, (at, part) in enumerate(sent):
        wire.send(0, at, part, acked=0)
        if data.draw(st.integers(0, 4)) == 0:
            at, part = data.draw(st.sampled_from(sent[: number + 1]))  # again, with what stands round it
            more = data.draw(st.integers(0, 8)) if number > 8 or syn else 0
            start = max(0, at - more)
            wire.send(0, start, stream[start : at + len(part) + more], acked=0)
        if data.draw(st.integers(0, 3)) == 0:
            wire.send(1, 0, acked=at, flags=ACK)
    wire.send(0, len(stream), flags=FIN | ACK, acked=0)
    (one,) = wire.run()
    assert one.sides == ([stream], [])


@examples(200)
@given(disorder(), st.data())
def test_a_lost_segment_is_one_gap(case: tuple, data: st.DataObject) -> None:
    stream, sent, _, isn, _ = case
    lost, gone = data.draw(st.sampled_from(sent))
    wire = Wire(isn=(isn, 77))
    wire.syn()
    for at, part in sent:
        if at != lost:
            wire.send(0, at, part, acked=0)
    wire.send(0, len(stream), flags=FIN | ACK, acked=0)
    stats = TcpStats()
    made = wire.run(stats)
    expected = [part for part in (stream[:lost], len(gone), stream[lost + len(gone) :]) if part]
    assert made[0].sides[0] == expected
    assert (stats.gaps, stats.missing, stats.delivered) == (1, len(gone), len(stream) - len(gone))


@examples(300)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.one_of(st.integers(-5, 60), st.integers(0, 2**32 - 1)),
            st.integers(0, 40),
            st.integers(0, 63),
            st.integers(0, 2**32 - 1),
            st.floats(0, 1e9),
        ),
        max_size=60,
    )
)
def test_any_segments_are_survived(chaos: list[tuple[int, int, int, int, int, float]]) -> None:
    wire = Wire()
    data = bytes(range(64))
    segments: list[Segment] = []
    for number, (side, seq, length, flags, ack, time) in enumerate(chaos):
        seq = (wire.isn[side] + seq) & 0xFFFFFFFF
        segments.append((number + 1, time, wire.keys[side], seq, ack, flags, number % 20, length, 54, None))
    stats = TcpStats()
    made = run(segments, data, stats)
    got = sum(len(part) for one in made for side in one.sides for part in side if isinstance(part, bytes))
    assert got + stats.repeated + stats.late == sum(segment[7] for segment in segments)
    assert got == stats.delivered
    assert all(one.closed in ([0, 1], [1, 0]) for one in made)
