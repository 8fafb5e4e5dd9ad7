"""Predecessor change lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.server import pcl

A, B = b"\x01" * 16, b"\x02" * 16
LISTS = st.dictionaries(
    st.sampled_from([bytes([number]) * 16 for number in range(4)]),
    st.integers(0, 2**48 - 1).map(lambda one: one.to_bytes(6, "big")),
).map(pcl.write)


def xid(guid: bytes, number: int, size: int = 6) -> bytes:
    return guid + number.to_bytes(size, "big")


def test_advance() -> None:
    first = pcl.with_xid(b"", xid(B, 5))
    assert first == b"\x16" + xid(B, 5)
    both = pcl.with_xid(first, xid(A, 9))
    assert both == b"\x16" + xid(A, 9) + b"\x16" + xid(B, 5)
    assert pcl.with_xid(both, xid(B, 6)) == b"\x16" + xid(A, 9) + b"\x16" + xid(B, 6)


def test_foreign_xids_have_other_sizes() -> None:
    data = b"\x14" + A + b"\0\0\0\x07"
    assert pcl.write(pcl.read(data)) == data


@pytest.mark.parametrize("data", [b"\x16", b"\x16" + A, b"\x10" + A, b"\x19" + A + bytes(9), b"\x00"])
def test_what_is_no_list(data: bytes) -> None:
    with pytest.raises(ValueError, match="no SizedXid at byte 0"):
        pcl.read(data)


@given(LISTS, LISTS)
def test_merging(one: bytes, two: bytes) -> None:
    both = pcl.merged(one, two)
    assert both == pcl.merged(two, one)
    assert pcl.includes(both, one)
    assert pcl.includes(both, two)
    assert pcl.includes(one, one)
    assert pcl.includes(one, two) == (pcl.merged(one, two) == one)
