"""Where reading goes on behind missing bytes."""

from __future__ import annotations

import struct

import pytest

from dissector.grammar.elements import elements_of
from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.resume import INNER, OPENINGS, resume
from tests.dissector.grammar.streams import REAL, contents, elements, real, stream


@pytest.mark.parametrize(("marker", "tag"), sorted([*OPENINGS, *INNER]))
def test_every_sign_is_found_where_it_stands(marker: str, tag: int) -> None:
    sign = struct.pack("<II", MARKER[marker], tag)
    inner = (marker, tag) in INNER
    found = resume(b"\0" * 13 + sign + b"\0", root_known=inner)
    assert found is not None
    assert (found.offset, found.root) == (13, OPENINGS.get((marker, tag)))
    assert resume(b"\0" * 13 + sign[:7], root_known=inner) is None
    if inner:
        assert resume(sign) is None


def test_only_the_range_is_searched() -> None:
    data = contents(2)
    first = resume(data)
    assert first is not None
    second = resume(data, first.offset + 1)
    assert second is not None
    assert second.offset > first.offset
    assert resume(data, first.offset + 1, second.offset + 7) is None


@pytest.mark.parametrize("name", [name for name, root in REAL.items() if root in ("contentsSync", "hierarchySync")])
def test_signs_of_real_streams_stand_where_elements_begin(name: str) -> None:
    data = real(name)
    begins = {element.offset for element in elements_of(data, keep=0)}
    at, found = 0, resume(data, root_known=True)
    signs = 0
    while found is not None:
        assert found.offset in begins
        assert found.root in (None, REAL[name])
        signs, at = signs + 1, found.offset + 1
        found = resume(data, at, root_known=True)
    assert signs


def test_none_where_there_is_no_sign() -> None:
    assert resume(stream(elements("StartTopFld", "EndFolder"))) is None
    assert resume(b"") is None
