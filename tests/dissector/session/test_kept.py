"""What is kept of a stream is what its parts are joined to."""

from __future__ import annotations

import sys
import weakref

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from dissector.session import kept
from dissector.session.kept import Kept
from dissector.source import ByteSource, Piece, joined
from tests.conftest import examples


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "IN_MEMORY", 100)


def framed(data: bytes, size: int, frame: int) -> ByteSource:
    pieces = [
        Piece(at, min(size, len(data) - at), frame + at // size, 54, min(size, len(data) - at))
        for at in range(0, len(data), size)
    ]
    return ByteSource("frames", data, pieces)


@st.composite
def parts(draw: st.DrawFn) -> list[tuple[ByteSource, int, int]]:
    made = []
    for number in range(draw(st.integers(0, 6))):
        source = framed(draw(st.binary(min_size=1, max_size=60)), draw(st.integers(1, 20)), 1 + 100 * number)
        if draw(st.booleans()):
            source = source.derive("unpacked", 0, len(source), draw(st.binary(min_size=1, max_size=90)))
        offset = draw(st.integers(0, len(source) - 1))
        made.append((source, offset, draw(st.integers(0, len(source) - offset))))
    return made


@examples(100, HealthCheck.function_scoped_fixture)
@given(parts(), st.data())
def test_bytes_and_places_are_those_of_the_parts(
    given_parts: list[tuple[ByteSource, int, int]], data: st.DataObject
) -> None:
    held, wanted = Kept(), joined("stream", given_parts)
    for part in given_parts:
        held.add(*part)
    made = held.source("stream")
    assert (made.label, made.data, held.size) == ("stream", wanted.data, len(wanted))
    start = data.draw(st.integers(0, len(wanted)))
    length = data.draw(st.integers(0, len(wanted) - start))
    assert made.locate(start, length) == wanted.locate(start, length)
    assert ByteSource("again", made.data, made.pieces).locate(start, length) == wanted.locate(start, length)


def test_a_long_one_is_in_a_file_that_goes_with_it() -> None:
    held = Kept()
    for number in range(50):
        held.add(ByteSource("x", bytes([number]) * 10), 0, 10)
    assert held._file is not None
    assert held.source("all").data == b"".join(bytes([number]) * 10 for number in range(50))
    held.add(ByteSource("x", b"more"), 1, 3)
    assert held.source("all").data[-4:] == b"\x31ore"
    file = weakref.ref(held._file)
    del held
    assert file() is None


def test_what_it_came_from_is_let_go() -> None:
    held = Kept()
    source = framed(b"frame by frame", 5, 1)
    before = sys.getrefcount(source)
    held.add(source, 2, 8)
    assert sys.getrefcount(source) == before
    assert held.source("x").data == b"ame by f"
    assert [span.frame for span in held.source("x").locate(0, 8)] == [1, 2]


@pytest.mark.parametrize("size", [90, 300])
def test_a_part_is_that_of_the_whole_in_memory_and_in_a_file(size: int) -> None:
    held = Kept()
    data = bytes(range(size % 256)) + bytes(256 - size % 256 + size)
    held.add(ByteSource("x", data), 1, 9)
    held.add(ByteSource("x", data), 10, size - 9)
    assert (held._file is not None) == (size > 100)
    for start, end in ((0, size), (0, 0), (5, 5), (7, 3), (10, 80), (size - 1, size)):
        assert held.part(start, end) == data[1 + start : 1 + end]
