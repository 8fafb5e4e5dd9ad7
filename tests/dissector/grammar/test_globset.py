"""The shortest GLOBSET: against an exhaustive search, and never longer than what known servers write."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dissector.grammar.base import build
from dissector.grammar.globset import shortest
from dissector.grammar.idset import Globset, ranges_of
from dissector.model.idset import normal
from tests.conftest import examples

BASES = (0, 0x100, 0x200, 0x1FF00, 0x20000, 0xFFFF00, 0x1000000, 0x10000000000)
clusters = st.tuples(st.sampled_from(BASES), st.integers(-4, 12), st.integers(1, 4)).map(
    lambda made: range(max(0, made[0] + made[1]), max(0, made[0] + made[1]) + made[2])
)
small_sets = st.lists(clusters, min_size=1, max_size=4).map(
    lambda parts: frozenset(sorted({one for part in parts for one in part})[:9])
)


def size(commands) -> int:
    return len(build(Globset(), commands))


def exhaustive(ids) -> int:
    """The least bytes of any GLOBSET of some ids: Dijkstra's search over (pushed bytes, ids covered), all commands."""
    ids = sorted(ids)
    raw = [one.to_bytes(6, "big") for one in ids]
    everything = (1 << len(ids)) - 1
    best = {((), 0): 0}
    queue = [(0, ((), 0))]
    while True:
        cost, state = heapq.heappop(queue)
        if cost > best[state]:
            continue
        stack, covered = state
        if covered == everything and not stack:
            return cost + 1  # End
        common = b"".join(stack)
        left = 6 - len(common)
        inside = [index for index in range(len(ids)) if raw[index].startswith(common)]
        moves = [(1, (stack[:-1], covered))] if stack else []
        for index in inside:
            moves.append((1 + left, (stack, covered | 1 << index)))
            moves += [
                (1 + more, ((*stack, raw[index][len(common) : len(common) + more]), covered)) for more in range(1, left)
            ]
            reached = covered
            for last in inside[inside.index(index) :]:
                if ids[last] - ids[index] != last - index:
                    break
                reached |= 1 << last
                moves.append((1 + 2 * left, (stack, reached)))
            if left == 1:
                masked = sum(1 << other for other in inside if ids[index] <= ids[other] <= ids[index] + 8)
                moves.append((3, (stack, covered | masked)))
        for more, state in moves:
            if cost + more < best.get(state, 1 << 30):
                best[state] = cost + more
                heapq.heappush(queue, (cost + more, state))


@given(small_sets)
@example(frozenset({0x1FF, 0x200, 0x202, 0x204}))  # a range that is shared out between two bitmasks
@example(frozenset({0x1FD, 0x1FF, 0x200, 0x202}))
@example(frozenset({0x101, 0x180, 0x201, 0x280}))  # two ids each: no push pays
@example(frozenset({0x1FE, 0x1FF, 0x200, 0x201, 0x10000}))
@examples(60)
def test_no_encoding_is_shorter(ids):
    ranges = normal((one, one) for one in ids)
    commands = shortest(ranges)
    assert ranges_of(commands) == ranges
    assert size(commands) == exhaustive(ids)


def gromox(ranges) -> int:
    """Bytes of the same set as Gromox writes it (facts, idset.md section 3)."""

    def shared(low: int, high: int) -> int:
        return 6 - ((low ^ high).bit_length() + 7) // 8

    if len(ranges) == 1:
        return 1 + (7 if ranges[0].low == ranges[0].high else 13)
    outer = min(shared(ranges[0].low, ranges[-1].high), 5)
    total = 1 + (outer + 2 if outer else 0)
    for low, high in ranges:
        if low == high:
            total += 7 - outer
        else:
            common = shared(low, high)
            total += (common - outer + 2 if common > outer else 0) + 1 + 2 * (6 - common)
    return total


def openchange(ranges) -> int:
    total = 1
    for low, high in ranges:
        common = 6 - ((low ^ high).bit_length() + 7) // 8
        total += 7 if low == high else (common + 2 if common else 0) + 1 + 2 * (6 - common)
    return total


many = st.lists(
    st.tuples(st.integers(0, 1 << 24), st.sampled_from([0, 0, 0, 1, 3, 300, 70000])).map(
        lambda pair: (pair[0], pair[0] + pair[1])
    )
    | st.tuples(st.integers(0, 1 << 11), st.integers(0, 3)).map(lambda pair: (pair[0], pair[0] + pair[1]))
    | st.integers(0, (1 << 48) - 1).map(lambda one: (one, one)),
    min_size=1,
    max_size=40,
)


@given(many)
def test_what_is_written_means_the_set_and_beats_known_writers(ranges):
    made = normal(ranges)
    commands = shortest(made)
    assert ranges_of(commands) == made
    assert size(commands) <= min(gromox(made), openchange(made))


def test_the_oracles_write_what_those_servers_write():
    split = normal([(0x101, 0x103), (0x105, 0x105), (0x107, 0x109)])
    assert gromox(split) == len(bytes.fromhex("0500000000015201030105520709 5000"))
    assert openchange(split) == len(bytes.fromhex("0500000000015201035006000000000105 050000000001 5207095000"))


@pytest.mark.parametrize(
    ("ranges", "wire"),
    [
        ([], "00"),
        ([(1, 1)], "06 00 00 00 00 00 01 00"),
        ([(1, 5)], "05 00 00 00 00 00 52 01 05 50 00"),
        ([(0x101, 0x103), (0x105, 0x105), (0x107, 0x109)], "05 00 00 00 00 01 42 01 EB 50 00"),
        ([(0, (1 << 48) - 1)], "52 000000000000 FFFFFFFFFFFF 00"),
    ],
)
def test_the_form_is_canonical(ranges, wire):
    assert build(Globset(), shortest(normal(ranges))) == bytes.fromhex(wire)


def test_a_large_set_takes_the_way_through_the_levels_once():
    ranges = normal((start * 37, start * 37 + start % 5) for start in range(20_000))
    commands = shortest(ranges)
    assert ranges_of(commands) == ranges
    assert size(commands) < 4 * len(ranges)
