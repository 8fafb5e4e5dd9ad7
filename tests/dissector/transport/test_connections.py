"""Connections: where each begins and ends, who is the client, many at once."""

from __future__ import annotations

import pytest

from dissector.capture.base import ACK, FIN, PSH, RST, SYN, Segment
from dissector.transport import tcp
from dissector.transport.tcp import TcpStats, reassemble
from tests.dissector.capture.frames import CLIENT, SERVER, Recorder
from tests.dissector.transport.segments import Wire, opened, run


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
