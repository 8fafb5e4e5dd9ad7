"""PDUs cut out of a window, in step and out of it; test_rpc.py has the same inside connections."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar.pdu import RESPONSE, build_pdu
from dissector.source import ByteSource
from dissector.transport.splitter import Pdu, Splitter
from dissector.transport.window import Buffer, Taken


def pdu(stub: bytes, call_id: int) -> bytes:
    return build_pdu({"PTYPE": RESPONSE, "call_id": call_id, "body": {"p_cont_id": 0, "stub_data": stub}})


def add(buffer: Buffer, data: bytes) -> None:
    buffer.append(Taken(ByteSource("data", data), 1, 0.0, 1, 0.0), 0, len(data))


def ids(pdus: list[Pdu]) -> list[int]:
    return [one.header.call_id for one in pdus]


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=6), st.lists(st.integers(1, 90), min_size=1, max_size=5))
def test_any_cut_gives_the_same_pdus_and_need_is_never_too_much(stubs: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pdu(stub, number) for number, stub in enumerate(stubs))
    buffer, splitter, found = Buffer(), Splitter(), []
    at = turn = 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        add(buffer, data[at : at + size])
        at, turn = at + size, turn + 1
        if buffer.available >= buffer.need:
            found += list(splitter.split(buffer))
    assert [one.piece.source.data for one in found] == [pdu(stub, number) for number, stub in enumerate(stubs)]
    assert buffer.available == 0


def test_a_limit_keeps_what_is_behind_it() -> None:
    buffer, splitter = Buffer(), Splitter()
    first, second = pdu(b"one", 1), pdu(b"two", 2)
    add(buffer, first + second)
    assert ids(list(splitter.split(buffer, len(first) + 10))) == [1]
    assert splitter.consumed == len(first)
    assert buffer.available == len(second)


def test_a_hole_whose_end_is_known() -> None:
    buffer, splitter = Buffer(), Splitter()
    broken = pdu(bytes(100), 1)
    add(buffer, broken[:60])
    assert list(splitter.split(buffer)) == []
    part = splitter.rest(buffer, gap=20)
    assert part is not None
    assert (part.header.call_id, part.missing, splitter.lost) == (1, len(broken) - 60, False)
    add(buffer, broken[80:] + pdu(b"next", 2))
    (found,) = splitter.split(buffer)
    assert (found.header.call_id, found.notes) == (2, [])


def test_holes_one_after_the_other_in_one_pdu() -> None:
    buffer, splitter = Buffer(), Splitter()
    broken = pdu(bytes(100), 1)
    add(buffer, broken[:40])
    list(splitter.split(buffer))
    assert splitter.rest(buffer, gap=10) is not None
    add(buffer, broken[50:60])
    list(splitter.split(buffer))
    assert splitter.rest(buffer, gap=20) is None
    assert not splitter.lost
    add(buffer, broken[80:] + pdu(b"next", 2))
    assert ids(list(splitter.split(buffer))) == [2]
    assert splitter.rest(buffer, gap=1) is None
    assert splitter.lost


def test_noise_in_front_is_counted() -> None:
    noise = random.Random(1).randbytes(5000)
    buffer, splitter = Buffer(), Splitter(late=True)
    for at in range(0, 5000, 100):
        add(buffer, noise[at : at + 100])
        assert list(splitter.split(buffer)) == []
        assert buffer.available < 16
    add(buffer, pdu(b"x", 7) + pdu(b"y", 8))
    first, second = splitter.split(buffer)
    assert "the 5000 bytes in front" in first.notes[0].message
    assert second.notes == []
