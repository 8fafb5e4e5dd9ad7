"""IdSet: the algebra against plain Python sets, on ranges that are never expanded."""

from __future__ import annotations

import uuid
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.model.ids import LongTermId, ObjectId
from dissector.model.idset import EMPTY, MAX_COUNTER, IdSet, Range, normal

GUID = uuid.UUID("b5ffb99b-440f-4f77-b488-c5c6702ee3a8")
REPLICAS = (1, 2, GUID)

range_lists = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=8
)
models = st.dictionaries(st.sampled_from(REPLICAS), range_lists, max_size=3)


def plain(model):
    return {
        (replica, counter)
        for replica, ranges in model.items()
        for low, high in ranges
        for counter in range(low, high + 1)
    }


@given(models, models)
def test_the_algebra_is_that_of_sets(first, second):
    a, b, x, y = IdSet(first), IdSet(second), plain(first), plain(second)
    assert set(a.ids()) == x
    for made, meant in ((a | b, x | y), (a - b, x - y), (a & b, x & y)):
        assert set(made.ids()) == meant
        assert made.count == len(meant)
        assert made == IdSet.of(meant)
        assert hash(made) == hash(IdSet.of(meant))
        assert bool(made) == bool(meant)
    assert (a == b) == (x == y)
    assert a.includes(b) == (y <= x)
    assert all(((replica, counter) in a) == ((replica, counter) in x) for replica in REPLICAS for counter in range(75))


@given(range_lists)
def test_ranges_are_sorted_and_neither_overlap_nor_touch(ranges):
    made = normal(ranges)
    assert all(first.high + 1 < second.low for first, second in pairwise(made))
    assert all(one.low <= one.high for one in made)


def test_sets_of_millions_cost_what_their_ranges_cost():
    whole = IdSet({GUID: [(0, MAX_COUNTER)]})
    assert whole.count == 1 << 48
    hole = whole - IdSet({GUID: [(1_000_000, 2_000_000_000)]})
    assert hole.ranges(GUID) == (Range(0, 999_999), Range(2_000_000_001, MAX_COUNTER))
    assert (GUID, 999_999) in hole
    assert (GUID, 1_000_000) not in hole
    scattered = IdSet({GUID: [(start, start) for start in range(0, 200_000, 2)]})
    assert (whole - scattered).count == (1 << 48) - 100_000
    assert (whole & scattered) == scattered
    assert (hole | scattered) == hole
    assert (whole - scattered).range_count == 100_000


def test_a_set_does_not_change_with_what_it_was_made_from():
    ranges = [(1, 2)]
    made = IdSet({1: ranges})
    ranges.append((9, 9))
    assert made.count == 2
    assert made.union(IdSet({1: [(3, 3)]})).ranges(1) == ((1, 3),)
    assert made.ranges(1) == ((1, 2),)


def test_object_ids_and_long_term_ids_are_members():
    assert ObjectId(1, 5) in IdSet.of([ObjectId(1, 5)])
    assert LongTermId(GUID, 5) in IdSet.of([LongTermId(GUID, 5)])
    assert ObjectId(2, 5) not in IdSet.of([ObjectId(1, 5)])


def test_replicas_take_other_names_and_merge():
    renamed = IdSet({1: [(1, 4)], GUID: [(3, 9)]}).renamed({1: GUID})
    assert renamed == IdSet({GUID: [(1, 9)]})


@pytest.mark.parametrize("ranges", [[(5, 4)], [(-1, 4)], [(0, 1 << 48)]])
def test_impossible_ranges_are_refused(ranges):
    with pytest.raises(ValueError, match="no range of ids"):
        IdSet({1: ranges})


def test_impossible_replica_ids_are_refused():
    with pytest.raises(ValueError, match="no replica id"):
        IdSet({0x10000: [(1, 1)]})


def test_words_for_sets():
    assert str(EMPTY) == "{}"
    assert str(IdSet({1: [(0x101, 0x103), (0x105, 0x105)]})) == "1: {0x101-0x103, 0x105}"
    assert str(IdSet({1: [(2 * n, 2 * n) for n in range(20)]})).endswith("... 20 ids in 20 ranges}")
