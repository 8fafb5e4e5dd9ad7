"""What the walk puts into lanes by itself must come to the same as every segment handed over, one by one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from dissector.capture import open_capture
from dissector.capture.base import ACK, FIN, PSH, RST, SYN, Lane, Segment
from dissector.transport.tcp import Connection, TcpStats, reassemble, reassemble_capture
from tests.dissector.capture.frames import CLIENT, SERVER, ethernet, ipv4, pcap, tcp

CAPTURES = Path(__file__).parents[3] / "captures"


class Fussy:
    """Takes what it is fed in pieces of its own choice, asks for more at a time, and writes down all that it sees."""

    def __init__(self, connection: Connection, seen: list[tuple[object, ...]]) -> None:
        self.connection, self.seen = connection, seen
        self.choice = random.Random(connection.number)

    def feed(self, side: int, closed: bool = False) -> Iterator[int]:
        window = self.connection.directions[side]
        taken = window.take(self.choice.randrange(window.available + 1), "part")
        spans = tuple(taken.source.locate(0, len(taken.source)))
        self.seen.append((self.connection.number, side, closed, taken.source.data, spans, *taken[1:], window.available))
        window.need = window.available + self.choice.choice((0, 1, 700, 5000))
        yield len(self.seen)

    def gap(self, side: int, length: int) -> Iterator[int]:
        window = self.connection.directions[side]
        self.seen.append((self.connection.number, side, "gap", length, window.peek(window.available)))
        yield len(self.seen)


def seen_by(drive: Callable[..., Iterator[int]]) -> tuple[list[tuple[object, ...]], list[int], TcpStats]:
    seen: list[tuple[object, ...]] = []
    stats = TcpStats()
    told = list(drive(lambda connection: Fussy(connection, seen), stats))
    return seen, told, stats


def hold_together(path: Path) -> int:
    """Compare both ways; returns how many segments the walk put into lanes."""
    with open_capture(path, engine="native") as capture:
        one_by_one = list(capture.segments())
        summary = repr(capture.summary)
        plain = seen_by(lambda handler, stats: reassemble(one_by_one, capture.data, handler, stats))
        handed: list[Segment] = []
        walk = capture.segments

        def noted(lanes: Mapping[bytes, Lane] | None = None) -> Iterator[Segment]:
            for segment in walk(lanes):
                handed.append(segment)
                yield segment

        capture.segments = noted  # type: ignore[method-assign]
        lanes = seen_by(lambda handler, stats: reassemble_capture(capture, handler, stats))
        assert lanes == plain
        assert repr(capture.summary) == summary
        return len(one_by_one) - len(handed)


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("*.pcap")), ids=lambda path: path.stem)
def test_of_captures(path: Path) -> None:
    hold_together(path)


@pytest.mark.parametrize("seed", range(30))
def test_of_unkind_captures(seed: int, tmp_path: Path) -> None:
    """Several connections at once: segments swapped, repeated, lost, overlapping, and late starts."""
    rng = random.Random(seed)
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(unkind(rng)))
    assert hold_together(path)


def unkind(rng: random.Random) -> list[bytes]:
    flows = [talk(rng, (40000 + number, 80)) for number in range(4)]
    frames: list[bytes] = []
    while flows:
        flow = rng.choice(flows)
        for _ in range(rng.randrange(1, 9)):
            frame = next(flow, None)
            if frame is None:
                flows.remove(flow)
                break
            chance = rng.random()
            if chance > 0.02:
                frames.append(frame)
            if chance > 0.96:
                frames.append(frame)
            if chance > 0.92 and len(frames) > 1:
                frames[-2:] = frames[:-3:-1]
    return frames


def talk(rng: random.Random, ports: tuple[int, int]) -> Iterator[bytes]:
    numbers = [rng.choice((rng.randrange(1 << 32), (1 << 32) - 2000)) for _ in range(2)]

    def frame(side: int, payload: bytes = b"", flags: int = ACK, back: int = 0) -> bytes:
        seq, ack = (numbers[side] - back) & 0xFFFFFFFF, numbers[1 - side] & 0xFFFFFFFF
        numbers[side] += max(len(payload) - back, 0) + bool(flags & (SYN | FIN))
        ends = (CLIENT, SERVER) if side == 0 else (SERVER, CLIENT)
        segment = tcp(seq, payload, flags, ack, ports if side == 0 else ports[::-1])
        return ethernet(ipv4(segment, source=ends[0], target=ends[1]))

    if rng.random() < 0.8:
        yield frame(0, flags=SYN)
        yield frame(1, flags=SYN | ACK)
    for _ in range(rng.randrange(2, 12)):
        side = rng.randrange(2)
        for count in range(rng.randrange(1, 9)):
            payload = rng.randbytes(rng.choice((1, 20, 700, 1460)))
            yield frame(side, payload, PSH | ACK, back=rng.choice((0, 0, 0, 0, 0, 0, 5)))
            if count % 2:
                yield frame(1 - side)
    yield frame(0, flags=rng.choice((FIN, RST, 0)) | ACK)
    yield frame(1, flags=FIN | ACK)
