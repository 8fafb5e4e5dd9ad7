"""Reassembly: every way a capture can be unkind to a stream."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.capture.base import ACK, FIN, PSH, RST, SYN, Segment
from dissector.source import ByteSource, Piece, Span
from dissector.transport import tcp
from dissector.transport.stream import Connection, Direction
from dissector.transport.tcp import TcpStats, reassemble
from tests.conftest import examples
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


def test_port_reuse_is_a_new_connection() -> None:
    wire = opened()
    wire.send(0, 0, b"old", acked=0)
    wire.send(1, 0, b"OLD", acked=3)
    wire.time += 100
    again = Wire(isn=(900_000, 77))
    again.data, again.segments, again.time = wire.data, wire.segments, wire.time
    again.syn()
    again.send(0, 0, b"new", acked=0)
    again.send(1, 0, b"NEW", acked=3)
    first, second = again.run()
    assert first.sides == ([b"old"], [b"OLD"])
    assert second.sides == ([b"new"], [b"NEW"])
    assert (first.connection.number, second.connection.number) == (0, 1)


def test_port_reuse_closes_the_old_connection_first() -> None:
    wire = opened()
    wire.send(0, 0, b"old", acked=0)
    wire.time += 100
    again = Wire(isn=(900_000, 77))
    again.data, again.segments, again.time = wire.data, wire.segments, wire.time
    again.syn()
    again.send(0, 0, b"new", acked=0)
    closed = list(reassemble(again.segments, bytes(again.data), Recorder))
    assert closed == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_repeated_syn_is_no_new_connection() -> None:
    wire = opened()
    wire.syn()
    wire.send(0, 0, b"abc", acked=0)
    wire.syn()
    wire.send(0, 3, b"def", acked=0)
    (one,) = wire.run()
    assert one.sides[0] == [b"abcdef"]


def test_syn_ack_before_syn() -> None:
    wire = Wire()
    wire.send(1, -1, flags=SYN | ACK, acked=0)
    wire.send(0, -1, flags=SYN)
    wire.send(0, 0, b"abc", acked=0)
    wire.send(1, 0, b"def", acked=3)
    (one,) = wire.run()
    assert one.sides == ([b"abc"], [b"def"])
    assert one.connection.number == 0


def test_data_in_the_syn() -> None:
    wire = Wire()
    wire.send(0, -1, b"abc", flags=SYN)
    wire.send(1, -1, flags=SYN | ACK, acked=3)
    wire.send(0, 3, b"def", acked=0)
    (one,) = wire.run()
    assert one.sides[0] == [b"abcdef"]


def test_only_the_syn_ack_was_captured() -> None:
    wire = Wire(ports=(80, 40000))  # the lower port would say otherwise
    wire.send(1, -1, flags=SYN | ACK, acked=0)
    wire.send(0, 0, b"abc", acked=0)
    (one,) = wire.run()
    assert one.connection.server == ("10.0.0.2", 40000)
    assert one.sides == ([b"abc"], [])


def test_syn_ack_missing_and_the_first_answer_swapped() -> None:
    wire = Wire()
    wire.send(0, -1, flags=SYN)
    wire.send(0, 0, b"abc", acked=0)
    wire.send(1, 3, b"def", acked=3)
    wire.send(1, 0, b"abc", acked=3)
    (one,) = wire.run()
    assert one.sides == ([b"abc"], [b"abcdef"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"POST /mapi/emsmdb/ HTTP/1.1\r\n", b"?"),
        (b"RPC_IN_DATA /rpc/rpcproxy.dll HTTP/1.1\r\n", b"?"),
        (b"?", b"HTTP/1.1 200 OK\r\n"),
        (bytes.fromhex("0500000310000000") + b"request", b"?"),
        (bytes.fromhex("05000b0300000000") + b"bind, big-endian", b"?"),
        (b"?", bytes.fromhex("0500020310000000") + b"response"),
        (bytes.fromhex("16030100c8010000c4"), b"?"),
        (b"?", bytes.fromhex("160303007a020000")),
    ],
)
def test_who_is_the_client_without_a_syn_is_told_by_what_is_said(first: bytes, second: bytes) -> None:
    wire = Wire(ports=(80, 40000))
    wire.send(0, 0, first, acked=0)
    wire.send(1, 0, second, acked=len(first))
    (one,) = wire.run()
    assert one.connection.client == ("10.0.0.1", 80)
    assert one.sides == ([first], [second])


def test_who_is_the_client_without_any_hint_is_told_by_the_port() -> None:
    wire = Wire(ports=(80, 40000))
    wire.send(0, 0, b"hello", acked=0)
    (one,) = wire.run()
    assert one.connection.server == ("10.0.0.1", 80)
    assert one.sides == ([], [b"hello"])


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


def test_reset_closes_both_sides() -> None:
    wire = opened()
    wire.send(0, 0, b"abc", acked=0)
    wire.send(1, 0, flags=RST, acked=-1)
    wire.send(0, 3, b"def", acked=0)
    stats = TcpStats()
    (one,) = wire.run(stats)
    assert one.sides == ([b"abc"], [])
    assert one.closed == [0, 1]
    assert stats.late == 3


def test_a_reset_waits_for_a_hole_to_fill() -> None:
    wire = opened()
    wire.send(0, 3, b"def", acked=0)
    wire.send(1, 0, flags=RST, acked=-1)
    wire.send(0, 0, b"abc", acked=0)
    (one,) = wire.run()
    assert one.sides[0] == [b"abcdef"]


def test_half_closed_goes_on() -> None:
    wire = opened()
    wire.send(0, 0, b"abc", flags=FIN | ACK, acked=0)
    for at in range(0, 30, 3):
        wire.send(1, at, b"def", acked=4)
    (one,) = wire.run()
    assert one.sides == ([b"abc"], [b"def" * 10])
    assert one.closed == [0, 1]


def test_a_side_that_closed_before_anything_was_said() -> None:
    wire = opened()
    wire.send(0, 0, flags=FIN | ACK, acked=0)
    wire.send(1, 0, b"abc", acked=1)
    wire.send(1, 3, b"def", acked=1)
    (one,) = wire.run()
    assert one.sides == ([], [b"abcdef"])
    assert one.closed == [0, 1]


def test_segments_without_payload_make_no_parser() -> None:
    wire = opened()
    wire.send(0, 0, acked=0, flags=ACK)
    stats = TcpStats()
    assert wire.run(stats) == []
    assert stats.connections == 1


def test_sides_are_closed_in_order_at_the_end() -> None:
    segments: list[Segment] = []
    data = bytearray()
    for port in (40003, 40001, 40002):
        wire = Wire(ports=(port, 80))
        wire.data, wire.segments = data, segments
        wire.syn()
        wire.send(0, 0, b"abc", acked=0)
    assert list(reassemble(segments, bytes(data), Recorder)) == [(n, side) for n in range(3) for side in (0, 1)]


def test_two_connections_at_once_with_the_same_ports() -> None:
    """As in two VLANs: told apart by their sequence numbers."""
    one = opened()
    other = Wire(isn=(2_000_000_000, 3_000_000_000))
    other.data, other.segments = one.data, one.segments
    other.syn()
    for at in range(0, 60, 3):
        for wire, data in ((one, b"abc"), (other, b"xyz")):
            wire.time = other.time = max(one.time, other.time)
            wire.send(0, at, data, acked=at)
            wire.send(1, at, data.upper(), acked=at + 3)
    made = one.run()
    assert [recorder.sides for recorder in made] == [([b"abc" * 20], [b"ABC" * 20]), ([b"xyz" * 20], [b"XYZ" * 20])]


def test_a_stray_segment_does_not_disturb() -> None:
    wire = opened()
    wire.send(0, 0, b"abc", acked=0)
    wire.time += 100
    wire.send(0, 1_500_000_000, b"stray", acked=0)
    wire.send(0, 3, b"def", acked=0)
    first, stray = wire.run()
    assert first.sides[0] == [b"abcdef"]
    assert b"stray" in stray.sides[0] + stray.sides[1]


def test_ipv6_and_connection_to_itself() -> None:
    key = bytes(15) + b"\1" + bytes(15) + b"\1" + bytes.fromhex("1f901f90")
    segments: list[Segment] = [(1, 0.0, key, 5, 0, PSH | ACK, 0, 3, 74, None), (2, 0.0, key, 8, 0, PSH, 3, 3, 74, None)]
    (one,) = run(segments, b"abcdef")
    assert one.connection.client == ("::1", 8080)
    assert one.sides[0] == [b"abcdef"]


def test_many_connections_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "_REMEMBERED", 50)
    data = b"abc"
    segments: list[Segment] = []
    for number in range(1000):
        key = CLIENT + SERVER + number.to_bytes(2, "big") + b"\0\x50"
        frame = 2 * number
        segments.append((frame + 1, number / 10, key, 9, 0, SYN, 0, 0, 54, None))
        segments.append((frame + 2, number / 10, key, 10, 0, PSH, 0, 3, 54, None))
    reassembler = tcp._Reassembler(data, Recorder, TcpStats())
    most = 0
    closed = []
    for message in reassembler.run(segments):
        closed.append(message)
        most = max(most, len(reassembler.table))
    assert most <= 100
    assert sorted(closed) == [(number, side) for number in range(1000) for side in (0, 1)]


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
