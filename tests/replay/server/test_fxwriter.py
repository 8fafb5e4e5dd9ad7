"""Values built without the grammar are those that the grammar builds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar.base import build
from dissector.grammar.fasttransfer import FASTTRANSFER_VALUES
from replay.server.fxwriter import SIMPLE
from replay.server.values import BINARY, INT32, INT64, STRING, TIME

TEXTS = st.text(alphabet=st.characters(min_codepoint=1), max_size=50)
VALUES: dict[int, st.SearchStrategy[Any]] = {
    INT32: st.integers(-(1 << 31), (1 << 31) - 1),
    INT64: st.integers(-(1 << 63), (1 << 63) - 1),
    TIME: st.integers(0, (1 << 64) - 1),
    BINARY: st.binary(max_size=100),
    STRING: TEXTS,
}


def test_every_simple_type_is_tried() -> None:
    assert set(VALUES) == set(SIMPLE)


@pytest.mark.parametrize("kind", sorted(SIMPLE))
@given(data=st.data())
def test_the_same_bytes(kind: int, data: st.DataObject) -> None:
    value = data.draw(VALUES[kind])
    assert SIMPLE[kind](value) == build(FASTTRANSFER_VALUES.types[kind], value, codepage="cp1252")
