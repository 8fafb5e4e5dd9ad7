"""Elements of FastTransfer streams, read by readers for their tags, are what the constructs read."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar import reading
from dissector.grammar.base import trace_interpreted
from dissector.grammar.compiler import stream as compiled
from dissector.grammar.compiler.stream import element_tree, kinds
from dissector.grammar.elements import Element, elements_of, trace_element
from dissector.grammar.fasttransfer import MARKERS, Marker, PropValue
from dissector.source import ByteSource
from tests.conftest import examples
from tests.dissector.grammar.compiler.both import same_tree
from tests.dissector.grammar.streams import REAL, full_change, real, stream


@pytest.fixture(autouse=True)
def hot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "HOT", 0)
    kinds().clear()


def agree(source: ByteSource, element: Element, end: int, after: int, codepage: str | None = None) -> bool:
    """Whether the element was read compiled; then it is what the constructs read."""
    layout = Marker if element.is_marker else PropValue
    params = element.params(codepage, after)
    wanted = trace_interpreted(layout, source, element.name, element.offset, end, dict(params))
    try:
        made = element_tree(source, element.tag, element.name, element.offset, end, params)
    except Exception:
        assert any(node.diagnostics for node in wanted.walk())
        return False
    same_tree(made, wanted, element.name)
    return True


def elements(data: bytes) -> Iterator[tuple[Element, int]]:
    """Each element with the marker before it."""
    after = 0
    for element in elements_of(data):
        yield element, after
        if element.tag in MARKERS:
            after = element.tag


@pytest.mark.parametrize("name", REAL)
def test_real_streams(name: str) -> None:
    data = real(name)
    source = ByteSource(name, data)
    for element, after in elements(data):
        assert agree(source, element, element.end, after)


def test_named_properties_bodies_and_bytes_behind() -> None:
    data = stream("IncrSyncStateBegin", full_change(body=b"body"), "IncrSyncStateEnd", "IncrSyncEnd")
    source = ByteSource("made", data)
    for element, after in elements(data):
        assert agree(source, element, element.end, after)
        assert agree(source, element, len(data), after)


def test_damaged_elements() -> None:
    rng = random.Random(5)
    data = stream("IncrSyncStateBegin", full_change(), "IncrSyncStateEnd", "IncrSyncEnd")
    for element, after in elements(data):
        for cut in range(element.offset, element.end):
            agree(ByteSource("cut", data[:cut]), element, cut, after)
        for _ in range(20):
            damaged = bytearray(data)
            damaged[rng.randrange(element.offset + 4, element.end) if element.end > element.offset + 4 else 0] ^= 0x5A
            agree(ByteSource("damaged", bytes(damaged)), element, element.end, after)


@examples(200)
@given(
    st.sampled_from([0x0037, 0x0E07, 0x65E2, 0x65E3, 0x0FFF, 0x3FDE, 0x4017, 0x4022]),
    st.sampled_from([2, 3, 4, 5, 6, 7, 0xA, 0xB, 0xD, 0x14, 0x1E, 0x1F, 0x40, 0x48, 0xFB, 0x102, 0x1003, 0x101F, 0x1102,
                     0x84E4, 0x84B0, 0x8FFF, 0x99]),
    st.binary(max_size=40),
)  # fmt: skip
def test_any_value_of_any_type(prop_id: int, kind: int, raw: bytes) -> None:
    tag = prop_id << 16 | kind
    data = tag.to_bytes(4, "little") + raw
    agree(ByteSource("any", data), Element(0, tag, None, 4, len(data), raw), len(data), 0)


def test_trees_of_elements_do_not_depend_on_how_often_a_tag_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HOT", 0)
    data = stream(full_change())
    source = ByteSource("made", data)
    reading.trace(PropValue, source, "first", 4)
    assert PropValue.__dict__["_rows"]
    hot = [trace_element(source, element, after=after) for element, after in elements(data)]
    monkeypatch.setitem(PropValue.__dict__, "_rows", False)
    cold = [trace_element(source, element, after=after) for element, after in elements(data)]
    for one, other in zip(hot, cold, strict=True):
        same_tree(one, other, one.name)
