"""Values read by hand are those that the layouts read."""

from __future__ import annotations

import random

import pytest

from dissector.grammar.base import GrammarError
from dissector.grammar.elements import Element, elements_of
from dissector.grammar.quick import READERS, UNREAD, quick
from tests.dissector.grammar.streams import REAL, real


def agree(tag: int, raw: bytes) -> bool:
    """Whether quick() leaves a value to the layout, or reads the same; True where it did read it."""
    value = quick(tag, raw)
    if value is UNREAD:
        return False
    expected = Element(0, tag, None, 4, 4 + len(raw), raw).value()
    assert value == expected
    assert isinstance(value, type(expected)) or isinstance(expected, type(value))
    return True


def test_real_streams() -> None:
    read = sum(agree(element.tag, element.raw or b"") for name in REAL for element in elements_of(real(name)))
    assert read > 2000


@pytest.mark.parametrize("tag", READERS, ids=hex)
def test_damaged_values(tag: int) -> None:
    """Whatever the bytes: what quick() reads, the layout reads as well."""
    rng = random.Random(tag)
    samples = [one.raw for name in REAL for one in elements_of(real(name)) if one.tag == tag and one.raw]
    for raw in (rng.choice(samples) for _ in range(60)) if samples else (rng.randbytes(28) for _ in range(60)):
        made = bytearray(raw)
        for _ in range(rng.randrange(3)):
            made[rng.randrange(len(made))] = rng.randrange(256)
        size = int.from_bytes(made[:4], "little")
        try:
            agree(tag, bytes(made))
        except GrammarError:
            assert size != len(made) - 4, "the layout refuses what quick() read"
    assert quick(tag, None) is UNREAD
    assert quick(tag, b"") is UNREAD
