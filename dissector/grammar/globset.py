"""The shortest GLOBSET of a set [MS-OXCFXICS] 2.2.2.6, 3.1.5.4.3.1.

One set has many encodings. Ours is the shortest in bytes; among equals the plainer command wins (a single id before a
range, a range before a bitmask, no push before a push), and ids come in ascending order.

The search follows the six bytes of an id as levels of a tree. In a context of c common bytes a single id costs 7 - c
(a Push that fills the six bytes drops itself), a range 13 - 2c, n further common bytes n + 2 (Push and Pop), and in a
context of five bytes a bitmask of nine ids costs 3. What can win, and what not:

- Further common bytes are all those the ids below share: each costs one byte and saves at least one.
- Not pushing them wins only where it is one byte and two commands are below it.
- A range over several children of a level is one command there, or its first or last part goes into the first or last
  child, where a bitmask may take it for nothing. A child that it fills has nothing else to share.
- At the last level the commands run over the 256 ids from left to right: where the smallest id not yet covered is
  given, what was chosen before does not matter.

So every level is a shortest path over its children, and the sum is a shortest encoding (the tests compare with an
exhaustive search).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeAlias

from construct import Container

from dissector.model.idset import Ranges

END, BITMASK, POP, RANGE = 0x00, 0x42, 0x50, 0x52
MAX_CACHED = 100_000


class Plan(NamedTuple):
    """Commands and the bytes they take. A Push that needs a Pop holds the plan of what stands between."""

    cost: int
    steps: tuple[Step, ...]


Step: TypeAlias = "tuple[int, bytes, bytes, Plan | None]"
"""Command, two operands, the plan inside a Push."""

NOTHING = Plan(0, ())


def shortest(ranges: Ranges) -> list[Container]:
    """The commands of the shortest GLOBSET of some ranges (sorted, neither overlapping nor touching), End included.

    A command has the fields of its layout in grammar/idset.py.
    """
    commands: list[Container] = []
    if ranges:
        commands += _commands(_Search(ranges).emission(0, len(ranges) - 1, ranges[0].low, ranges[-1].high, 0))
    commands.append(Container(Command=END))
    return commands


def _commands(plan: Plan) -> Iterator[Container]:
    for command, first, second, inside in plan.steps:
        if command == RANGE:
            yield Container(Command=RANGE, LowValue=first, HighValue=second)
        elif command == BITMASK:
            yield Container(Command=BITMASK, StartingValue=first[0], Bitmask=second[0])
        else:
            yield Container(Command=command, CommonBytes=first)
            if inside is not None:
                yield from _commands(inside)
                yield Container(Command=POP)


def _shared(low: int, high: int) -> int:
    """How many leading bytes of six two ids share."""
    return 6 - ((low ^ high).bit_length() + 7 >> 3)


@dataclass(slots=True)
class _Station:
    """A child of a level. first, last: the index of its own ranges (first > last: none); low, high: its ids.

    before, behind: the end of a range that comes in, the start of one that goes out, where the child may take over the
    part inside it. They are ranges first - 1 and last + 1.
    """

    child: int
    first: int
    last: int
    low: int = 0
    high: int = 0
    before: int | None = None
    behind: int | None = None


@dataclass(slots=True)
class _Link:
    """A range over several children; inner: what is left when its first and its last child take over their parts.

    left, right: whether they may. A child that the range fills may not.
    """

    low: int
    high: int
    inner_low: int
    inner_high: int
    left: bool
    right: bool


class _Search:
    """i, j: index of the first and last range; low, high: the lowest and highest id of the part of the set in hand.

    The part between two given ids of the set is always the same, so they are the key of the cache.
    """

    def __init__(self, ranges: Ranges) -> None:
        self.ranges = ranges
        self.cache: dict[tuple[int, int], Plan] = {}

    def emission(self, i: int, j: int, low: int, high: int, context: int) -> Plan:
        """The ids low..high of the set in a context that has `context` of their bytes and at most all they share."""
        raw = low.to_bytes(6, "big")
        if low == high:
            return Plan(7 - context, ((6 - context, raw[context:], b"", None),))
        depth = _shared(low, high)
        best: Plan | None = None
        if i == j:
            best = Plan(13 - 2 * context, ((RANGE, raw[context:], high.to_bytes(6, "big")[context:], None),))
            if depth - context <= 2:
                return best
        elif depth - context <= 1:
            best = self.level(i, j, low, high, depth, context)
        if depth > context:
            inside = self.inside(i, j, low, high, depth)
            cost = depth - context + 2 + inside.cost
            if best is None or cost < best.cost:
                best = Plan(cost, ((depth - context, raw[context:depth], b"", inside),))
        assert best is not None
        return best

    def inside(self, i: int, j: int, low: int, high: int, depth: int) -> Plan:
        """The ids low..high in the context of all the bytes they share."""
        plan = self.cache.get((low, high))
        if plan is None:
            plan = self.level(i, j, low, high, depth, depth)
            assert plan is not None
            if len(self.cache) >= MAX_CACHED:
                self.cache.clear()
            self.cache[low, high] = plan
        return plan

    def level(self, i: int, j: int, low: int, high: int, depth: int, context: int) -> Plan | None:
        """The ids low..high child by child, `depth` bytes being shared. None where a Push is at least as good."""
        if depth == context == 5:
            return self.last_level(i, j, low, high)
        parts = list(islice(self.parts(i, j, low, high, depth), 4 if context < depth else None))
        if context < depth and len(parts) > 3:
            return None
        # The state between two parts is whether the station at hand takes over the part of the range beside it.
        states: dict[bool, tuple[int, tuple[Step, ...]]] = {False: (0, ())}
        for part in parts:
            made: dict[bool, tuple[int, tuple[Step, ...]]] = {}
            for before, (cost, steps) in states.items():
                if isinstance(part, _Station):
                    choices = (False, True) if part.behind is not None else (False,)
                else:
                    choices = (False, True) if part.right else (False,)
                for behind in choices:
                    plan = self.part(part, before, behind, depth, context)
                    if behind not in made or cost + plan.cost < made[behind][0]:
                        made[behind] = cost + plan.cost, steps + plan.steps
            states = made
        return Plan(*states[False])

    def parts(self, i: int, j: int, low: int, high: int, depth: int) -> Iterator[_Station | _Link]:
        """The children of a level in order, and between them the ranges over more than one."""
        shift = 8 * (5 - depth)
        mask = (1 << shift) - 1
        station: _Station | None = None
        for index in range(i, j + 1):
            start, stop = max(self.ranges[index].low, low), min(self.ranges[index].high, high)
            child, last = start >> shift, stop >> shift
            inside, left, right = child == last, start & mask != 0, stop & mask != mask
            if station is not None and station.child != child:
                yield station
                station = None
            if station is None and (inside or left):
                station = _Station(child, index, index - 1)
            if inside:
                assert station is not None
                if station.first > station.last:
                    station.low = start
                station.last, station.high = index, stop
                continue
            if station is not None:
                station.behind = start
                yield station
            inner_low = child + 1 << shift if left else start
            inner_high = (last << shift) - 1 if right else stop
            yield _Link(start, stop, inner_low, inner_high, left, right)
            station = _Station(last, index + 1, index, before=stop) if right else None
        if station is not None:
            yield station

    def part(self, part: _Station | _Link, before: bool, behind: bool, depth: int, context: int) -> Plan:
        """One part of a level. before: the station takes over (the link has left to the left station) its part."""
        if isinstance(part, _Link):
            start, stop = part.inner_low if before else part.low, part.inner_high if behind else part.high
            if start > stop:
                return NOTHING
            operands = start.to_bytes(6, "big")[context:], stop.to_bytes(6, "big")[context:]
            return Plan(13 - 2 * context, ((RANGE, *operands, None),))
        own = part.first <= part.last
        shift = 8 * (5 - depth)
        if before:
            assert part.before is not None
            start = part.child << shift
            stop = part.high if own else part.before
        else:
            start, stop = part.low, part.high
        if behind:
            assert part.behind is not None
            stop = (part.child + 1 << shift) - 1
            if not before and not own:
                start = part.behind
        elif not before and not own:
            return NOTHING
        return self.emission(part.first - before, part.last + behind, start, stop, context)

    def last_level(self, i: int, j: int, low: int, high: int) -> Plan:
        """Ids that share five bytes, in the context of these."""
        runs = [(max(start, low) & 0xFF, min(stop, high) & 0xFF) for start, stop in self.ranges[i : j + 1]]
        # Where the smallest id not yet covered is: run and id, in ascending order; with the cheapest way there.
        costs: dict[tuple[int, int], int] = {(0, runs[0][0]): 0}
        ways: dict[tuple[int, int], tuple[tuple[int, int], Step]] = {}
        queue = [(0, runs[0][0])]
        goal = (len(runs), 256)
        while queue:
            place = heapq.heappop(queue)
            if place == goal:
                break
            run, start = place
            stop = runs[run][1]
            behind = (run + 1, runs[run + 1][0]) if run + 1 < len(runs) else goal
            moves: list[tuple[int, tuple[int, int], Step]] = []
            if start == stop:
                moves.append((2, behind, (1, bytes((start,)), b"", None)))
            else:
                moves.append((3, behind, (RANGE, bytes((start,)), bytes((stop,)), None)))
            moves.append((3, *self.bitmask(runs, run, start, goal)))
            for cost, reached, step in moves:
                if reached not in costs:
                    heapq.heappush(queue, reached)
                if reached not in costs or costs[place] + cost < costs[reached]:
                    costs[reached] = costs[place] + cost
                    ways[reached] = place, step
        steps: list[Step] = []
        place = goal
        while place in ways:
            place, step = ways[place]
            steps.append(step)
        return Plan(costs[goal], tuple(reversed(steps)))

    @staticmethod
    def bitmask(
        runs: list[tuple[int, int]], run: int, start: int, goal: tuple[int, int]
    ) -> tuple[tuple[int, int], Step]:
        """The Bitmask that begins with id `start` and takes all ids up to eight further: where it leads, and itself."""
        mask = 0
        while run < len(runs) and runs[run][0] <= start + 8:
            for value in range(max(runs[run][0], start + 1), min(runs[run][1], start + 8) + 1):
                mask |= 1 << value - start - 1
            if runs[run][1] > start + 8:
                return (run, start + 9), (BITMASK, bytes((start,)), bytes((mask,)), None)
            run += 1
        reached = (run, runs[run][0]) if run < len(runs) else goal
        return reached, (BITMASK, bytes((start,)), bytes((mask,)), None)
