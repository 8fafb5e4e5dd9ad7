"""Values: to the database and back, to the wire and back."""

from __future__ import annotations

import math
import uuid
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar.base import build
from dissector.grammar.properties import ROP_VALUES, PropertyValue
from dissector.grammar.reading import parse
from dissector.grammar.restrictions import Restriction
from replay.server import values
from replay.server.values import from_8bit, from_column, kept, on_wire, to_8bit, to_column

SINGLE: dict[int, st.SearchStrategy[Any]] = {
    values.INT16: st.integers(-(2**15), 2**15 - 1),
    values.INT32: st.integers(-(2**31), 2**31 - 1),
    values.FLOAT32: st.floats(width=32),
    values.FLOAT64: st.floats(),
    values.CURRENCY: st.integers(-(2**63), 2**63 - 1),
    values.FLOATING_TIME: st.floats(),
    values.INT64: st.integers(-(2**63), 2**63 - 1),
    values.STRING: st.text(alphabet=st.characters(exclude_characters="\0", codec="utf-8"), max_size=50),
    values.TIME: st.integers(0, 2**64 - 1),
    values.GUID: st.uuids(),
    values.BINARY: st.binary(max_size=200),
}
MANY = {values.MULTIPLE | kind: st.lists(one, max_size=5) for kind, one in SINGLE.items()}
ANY = st.sampled_from(sorted({**SINGLE, **MANY, values.BOOLEAN: st.booleans()})).flatmap(
    lambda kind: st.tuples(st.just(kind), {**SINGLE, **MANY, values.BOOLEAN: st.booleans()}[kind])
)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or one == other
    return bool(one == other) and type(one) is type(other)


KNOWN_BY_TAG = st.sampled_from(sorted(tag for tag in ROP_VALUES.by_tag if tag & 0xFFFF in {**SINGLE, **MANY})).flatmap(
    lambda tag: st.tuples(st.just(tag), {**SINGLE, **MANY}[tag & 0xFFFF])
)


@given(ANY)
def test_columns(pair: tuple[int, Any]) -> None:
    kind, value = pair
    assert same(from_column(kind, to_column(kind, value)), value)


def there_and_back(tag: int, value: Any) -> None:
    layout = PropertyValue(tag)
    read, _ = parse(layout, build(layout, on_wire(tag, value, "cp1252")))
    kind, plain = kept(tag, read, "cp1252")
    assert kind == tag & 0xFFFF
    assert same(plain, value)


@given(ANY, st.sampled_from([0x6600, 0x8123, 0x0037, 0x0E07, 0x674A, 0x0FFF, 0x65E3, 0x3613]))
def test_the_wire(pair: tuple[int, Any], prop_id: int) -> None:
    """Whatever the grammar makes of a value by its tag, the plain value comes back."""
    kind, value = pair
    there_and_back(prop_id << 16 | kind, value)


@given(KNOWN_BY_TAG)
def test_the_wire_of_known_structures(pair: tuple[int, Any]) -> None:
    """Bytes that are no such structure come back too."""
    there_and_back(*pair)


def test_half_surrogates_are_kept() -> None:
    assert from_column(values.STRING, to_column(values.STRING, "a\ud800b")) == "a\ud800b"


@given(st.binary(max_size=60), st.sampled_from(["cp1252", "cp1251", "cp437", "ascii", "cp874"]))
def test_8_bit_text(raw: bytes, codec: str) -> None:
    """Bytes without a character in the code page are not lost."""
    assert to_8bit(from_8bit(raw, codec), codec) == raw


def test_what_a_code_page_cannot_say() -> None:
    assert to_8bit("grün \u4f60", "cp1252") == b"gr\xfcn ?"
    assert values.codec_of(1252) == "cp1252"
    assert values.codec_of(99999) == "cp1252"
    assert to_8bit("ü", values.codec_of(65001)) == b"\xc3\xbc"


def test_laid_out_types_are_kept_as_bytes() -> None:
    restriction = {"RestrictType": 8, "PropertyTag": 0x0037001F}
    kind, raw = kept(0x667900FD, restriction, "cp1252")
    assert (kind, raw) == (0xFD, build(Restriction, restriction))
    assert build(PropertyValue(0x667900FD), on_wire(0x667900FD, raw, "cp1252")) == raw


def test_what_fits_what_was_asked_for() -> None:
    assert values.wanted_kind(0x1E, 0x1F) == 0x1E
    assert values.wanted_kind(0x101F, 0x101F) == 0x101F
    assert values.wanted_kind(0x101E, 0x101F) == 0x101E
    assert values.wanted_kind(0, 0x1F) == 0x1F
    assert values.wanted_kind(3, 0x14) is None
    assert values.wanted_kind(0x1F, 0x102) is None


def test_order() -> None:
    assert values.comparable(values.STRING, "B") > values.comparable(values.STRING, "a")
    guid = uuid.UUID(bytes_le=b"\x01" + bytes(15))
    assert values.comparable(values.GUID, guid) == b"\x01" + bytes(15)
