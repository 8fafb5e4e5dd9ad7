"""Change keys and predecessor change lists: wire form, order, inclusion, conflict, merge."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.model.pcl import Order, PredecessorChangeList, Xid

A, B, C = (uuid.UUID(int=number << 96) for number in (1, 2, 3))

xids = st.builds(Xid, st.sampled_from([A, B, C]), st.binary(min_size=4, max_size=4))
lists = st.lists(xids, max_size=6).map(PredecessorChangeList.of)


def of(**counts: int) -> PredecessorChangeList:
    names = {"a": A, "b": B, "c": C}
    return PredecessorChangeList.of(Xid(names[name], count.to_bytes(4, "big")) for name, count in counts.items())


def test_wire_form() -> None:
    raw = bytes.fromhex(
        "16373B21412876FE448E8D71BE34CC315400004B0D991F14D8512C0F622D464192E5C355973A6236000009E8"
    )  # microsoft/mfcmapi, PCL-3
    pcl = PredecessorChangeList.from_bytes(raw)
    assert [str(xid) for xid in pcl] == [
        "41213b37-7628-44fe-8e8d-71be34cc3154-00004b0d991f",
        "0f2c51d8-2d62-4146-92e5-c355973a6236-000009e8",
    ]
    assert pcl.to_bytes() == raw
    assert PredecessorChangeList.of(reversed(pcl)).to_bytes() == raw  # in order of the namespace's bytes


@pytest.mark.parametrize("raw", [b"\x10" + bytes(16), b"\x16" + bytes(21), b"\x14" + bytes(20) + b"\x14"])
def test_cut_short(raw: bytes) -> None:
    with pytest.raises(ValueError, match="XID"):
        PredecessorChangeList.from_bytes(raw)


@pytest.mark.parametrize(
    ("one", "other", "order"),
    [
        (of(a=1), of(a=1), Order.EQUAL),
        (of(a=2), of(a=1), Order.NEWER),
        (of(a=1, b=1), of(a=1), Order.NEWER),
        (of(a=1), of(a=1, b=1), Order.OLDER),
        (of(a=2, b=1), of(a=1, b=2), Order.CONFLICT),
        (of(a=1), of(b=1), Order.CONFLICT),
        (of(), of(), Order.EQUAL),
        (of(a=1), of(), Order.NEWER),
        (of(a=0x100), of(a=0xFF), Order.NEWER),
    ],
)
def test_order(one: PredecessorChangeList, other: PredecessorChangeList, order: Order) -> None:
    assert one.compare(other) is order


@given(lists, lists)
def test_merging(one: PredecessorChangeList, other: PredecessorChangeList) -> None:
    both = one.merge(other)
    assert both.includes(one)
    assert both.includes(other)
    assert both == other.merge(one)
    assert PredecessorChangeList.from_bytes(both.to_bytes()) == both
    assert {xid.namespace for xid in both} == {xid.namespace for xid in (*one, *other)}
    if one.includes(other):
        assert both == one


@given(lists, lists)
def test_order_is_the_mirror_of_itself(one: PredecessorChangeList, other: PredecessorChangeList) -> None:
    mirror = {Order.NEWER: Order.OLDER, Order.OLDER: Order.NEWER}
    order = one.compare(other)
    assert other.compare(one) is mirror.get(order, order)


def test_the_highest_of_a_namespace_counts() -> None:
    low, high = Xid(A, b"\0\0\0\1"), Xid(A, b"\0\0\0\2")
    assert PredecessorChangeList([low, high]).includes(of(a=2))
    assert PredecessorChangeList.of([low, high, low]) == (high,)
    assert not PredecessorChangeList([Xid(A, b"\2")]).includes(of(a=1))
