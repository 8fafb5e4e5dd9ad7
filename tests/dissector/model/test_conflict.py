"""The conflict rule: what becomes of a change that arrives, and who wrote last."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.model.conflict import Verdict, incoming_wins, verdict
from dissector.model.pcl import PredecessorChangeList, Xid

A, B = uuid.UUID(bytes_le=bytes([1]) + bytes(15)), uuid.UUID(bytes_le=bytes([2]) + bytes(15))


def pcl(**counts: int) -> PredecessorChangeList:
    return PredecessorChangeList.of(
        Xid({"a": A, "b": B}[name], count.to_bytes(6, "big")) for name, count in counts.items()
    )


@pytest.mark.parametrize(
    ("incoming", "present", "meant"),
    [
        (pcl(a=2), pcl(a=1), Verdict.INCLUDE),
        (pcl(a=1), pcl(a=1), Verdict.IGNORE),
        (pcl(a=1), pcl(a=2), Verdict.IGNORE),
        (pcl(a=0x100), pcl(a=0xFF), Verdict.INCLUDE),
        (pcl(a=1, b=1), pcl(a=1), Verdict.INCLUDE),
        (pcl(a=1), pcl(a=1, b=1), Verdict.IGNORE),
        (pcl(a=2, b=1), pcl(a=1, b=2), Verdict.CONFLICT),
        (pcl(a=1), pcl(b=1), Verdict.CONFLICT),
        (pcl(), pcl(a=1), Verdict.IGNORE),
    ],
)
def test_what_becomes_of_a_change(incoming, present, meant):
    assert verdict(incoming, present) is meant


lists = st.builds(
    lambda a, b: pcl(**{name: one for name, one in (("a", a), ("b", b)) if one}), st.integers(0, 3), st.integers(0, 3)
)


@given(lists, lists)
def test_the_rule_looks_the_same_from_both_sides(first, second):
    there, back = verdict(first, second), verdict(second, first)
    assert (there is Verdict.CONFLICT) == (back is Verdict.CONFLICT)
    if there is Verdict.INCLUDE:
        assert back is Verdict.IGNORE
    if there is back is Verdict.IGNORE:
        assert first == second
    merged = first.merge(second)
    assert verdict(first, merged) is verdict(second, merged) is Verdict.IGNORE


def test_the_last_writer_wins():
    low, high = Xid(A, bytes(4)), Xid(B, bytes(4))
    assert incoming_wins(2, low, 1, high)
    assert not incoming_wins(1, high, 2, low)
    assert incoming_wins(1, high, 1, low)
    assert not incoming_wins(1, low, 1, high)
    assert incoming_wins(1, low, 1, low)
    assert not incoming_wins(1, high, 1, low, folder=True)
    assert incoming_wins(2, low, 1, high, folder=True)
