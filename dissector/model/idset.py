"""Sets of 48-bit ids, as ICS keeps them [MS-OXCFXICS] 2.2.2.4, 3.1.5.5.

An IdSet holds, for each replica, sorted ranges that neither overlap nor touch. All operations walk the ranges, never
the ids, so a set of millions costs what its ranges cost. How a set looks on the wire is grammar/idset.py's affair.
"""

from __future__ import annotations

import uuid
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

MAX_COUNTER = (1 << 48) - 1
"""The largest GLOBCNT."""

Replica: TypeAlias = int | uuid.UUID
"""A REPLID (u16, understood within one logon) or a REPLGUID."""


class Range(NamedTuple):
    """The ids from low to high, both included."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"0x{self.low:X}" if self.low == self.high else f"0x{self.low:X}-0x{self.high:X}"


Ranges: TypeAlias = tuple[Range, ...]


def normal(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Ranges in any order, as sorted ranges that neither overlap nor touch. Raises ValueError for an impossible one."""
    made: list[Range] = []
    low = high = -2
    for start, stop in sorted(ranges):
        if not 0 <= start <= stop <= MAX_COUNTER:
            raise ValueError(f"no range of ids: {start} to {stop}")
        if start > high + 1:
            if high >= 0:
                made.append(Range(low, high))
            low, high = start, stop
        elif stop > high:
            high = stop
    if high >= 0:
        made.append(Range(low, high))
    return tuple(made)


def consecutive(counters: Iterable[int]) -> Ranges:
    """Single ids in any order, as ranges. Raises ValueError for an impossible one."""
    ordered = sorted(counters)
    if not ordered:
        return ()
    low, high = ordered[0], ordered[-1]
    if low < 0 or high > MAX_COUNTER:
        raise ValueError(f"no range of ids: {low} to {high}")
    breaks = [at for at, (one, two) in enumerate(pairwise(ordered), 1) if two - one > 1]
    return tuple(
        Range(ordered[begin], ordered[end - 1])
        for begin, end in zip([0, *breaks], [*breaks, len(ordered)], strict=True)
    )


def united(first: Ranges, second: Ranges) -> Ranges:
    if not first or not second:
        return first or second
    return normal((*first, *second))


def subtracted(first: Ranges, second: Ranges) -> Ranges:
    """The ids of first that are not in second."""
    left: list[Range] = []
    index = 0
    for low, high in first:
        while index < len(second) and second[index].high < low:
            index += 1
        at = index
        while at < len(second) and second[at].low <= high:
            if low < second[at].low:
                left.append(Range(low, second[at].low - 1))
            low = second[at].high + 1
            at += 1
        if low <= high:
            left.append(Range(low, high))
        index = max(index, at - 1)
    return tuple(left)


def intersected(first: Ranges, second: Ranges) -> Ranges:
    common: list[Range] = []
    a = b = 0
    while a < len(first) and b < len(second):
        low, high = max(first[a].low, second[b].low), min(first[a].high, second[b].high)
        if low <= high:
            common.append(Range(low, high))
        if first[a].high < second[b].high:
            a += 1
        else:
            b += 1
    return tuple(common)


def find(ranges: Ranges, counter: int) -> Range | None:
    """The range that holds the counter."""
    index = bisect_right(ranges, (counter, MAX_COUNTER)) - 1
    return ranges[index] if index >= 0 and ranges[index].high >= counter else None


def replica_key(replica: Replica) -> tuple[bool, int]:
    """Sorts replicas as Exchange orders them in an IDSET: by number, a GUID as the number that its text shows."""
    return (False, replica) if isinstance(replica, int) else (True, replica.int)


class IdSet:
    """Ids by replica. Immutable, hashable; equal when the same ids are in it.

    IdSet({1: [(0x101, 0x103), (0x105, 0x105)]}); ranges may come in any order and overlap. Raises ValueError for a
    range outside 0..MAX_COUNTER or a REPLID that does not fit 16 bits.
    """

    __slots__ = ("_hash", "_replicas")

    def __init__(self, replicas: Mapping[Replica, Iterable[tuple[int, int]]] | None = None) -> None:
        self._take({replica: normal(ranges) for replica, ranges in (replicas or {}).items()})

    def _take(self, replicas: Mapping[Replica, Ranges]) -> None:
        for replica in replicas:
            if isinstance(replica, int) and not 0 <= replica <= 0xFFFF:
                raise ValueError(f"no replica id: {replica}")
        self._replicas = {
            replica: replicas[replica] for replica in sorted(replicas, key=replica_key) if replicas[replica]
        }
        self._hash: int | None = None

    @classmethod
    def _made(cls, replicas: Mapping[Replica, Ranges]) -> IdSet:
        made = cls.__new__(cls)
        made._take(replicas)
        return made

    @classmethod
    def of(cls, ids: Iterable[tuple[Any, ...]]) -> IdSet:
        """The set of single ids: tuples that begin with replica and counter, as ObjectIds and LongTermIds do."""
        counters: dict[Replica, list[int]] = {}
        for replica, counter, *_ in ids:
            counters.setdefault(replica, []).append(counter)
        return cls.counting(counters)

    @classmethod
    def counting(cls, counters: Mapping[Replica, Iterable[int]]) -> IdSet:
        """The set of single ids, by replica. Raises ValueError for one outside 0..MAX_COUNTER."""
        return cls._made({replica: consecutive(ids) for replica, ids in counters.items()})

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """The replicas that have ids, in wire order."""
        return tuple(self._replicas)

    def ranges(self, replica: Replica) -> Ranges:
        return self._replicas.get(replica, ())

    def items(self) -> Iterator[tuple[Replica, Ranges]]:
        """(replica, ranges) in wire order."""
        return iter(self._replicas.items())

    def ids(self) -> Iterator[tuple[Replica, int]]:
        """Every id. Mind the count: a range of a CNSET often holds millions."""
        for replica, ranges in self._replicas.items():
            for low, high in ranges:
                for counter in range(low, high + 1):
                    yield replica, counter

    @property
    def count(self) -> int:
        """How many ids. (Not len(): Python limits that to the machine word.)"""
        return sum(high - low + 1 for ranges in self._replicas.values() for low, high in ranges)

    @property
    def range_count(self) -> int:
        return sum(map(len, self._replicas.values()))

    def __bool__(self) -> bool:
        return bool(self._replicas)

    def __contains__(self, id_: tuple[Any, ...]) -> bool:
        replica, counter, *_ = id_
        return find(self._replicas.get(replica, ()), counter) is not None

    def __eq__(self, other: object) -> bool:
        return self._replicas == other._replicas if isinstance(other, IdSet) else NotImplemented

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(tuple(self._replicas.items()))
        return self._hash

    def union(self, *others: IdSet) -> IdSet:
        replicas: dict[Replica, Ranges] = dict(self._replicas)
        for other in others:
            for replica, ranges in other._replicas.items():
                replicas[replica] = united(replicas.get(replica, ()), ranges)
        return self._made(replicas)

    def subtract(self, *others: IdSet) -> IdSet:
        replicas: dict[Replica, Ranges] = dict(self._replicas)
        for other in others:
            for replica in replicas.keys() & other._replicas.keys():
                replicas[replica] = subtracted(replicas[replica], other._replicas[replica])
        return self._made(replicas)

    def intersect(self, other: IdSet) -> IdSet:
        shared = self._replicas.keys() & other._replicas.keys()
        return self._made(
            {replica: intersected(self._replicas[replica], other._replicas[replica]) for replica in shared}
        )

    def includes(self, other: IdSet) -> bool:
        """Whether every id of other is in this set."""
        return not other.subtract(self)

    __or__, __sub__, __and__ = union, subtract, intersect

    def renamed(self, names: Mapping[Replica, Replica]) -> IdSet:
        """The same ids under other replica names (REPLIDs to REPLGUIDs); replicas without a new name keep theirs."""
        replicas: dict[Replica, Ranges] = {}
        for replica, ranges in self._replicas.items():
            name = names.get(replica, replica)
            replicas[name] = united(replicas.get(name, ()), ranges)
        return self._made(replicas)

    def __str__(self) -> str:
        """'1: {0x101-0x103, 0x105}'; the empty set is '{}'."""
        return "; ".join(f"{replica}: {ranges_text(ranges)}" for replica, ranges in self._replicas.items()) or "{}"

    def __repr__(self) -> str:
        return f"<IdSet {self}>"


def ranges_text(ranges: Ranges, limit: int = 12) -> str:
    """'{0x101-0x103, 0x105}'; of more than `limit` ranges the first ones and the counts."""
    shown = ", ".join(map(str, ranges[:limit]))
    if len(ranges) > limit:
        ids = sum(high - low + 1 for low, high in ranges)
        shown += f", ... {ids} ids in {len(ranges)} ranges"
    return f"{{{shown}}}"


EMPTY = IdSet()
