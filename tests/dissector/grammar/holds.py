"""What every layout promises, for values made from the layout itself and for damaged bytes."""

from __future__ import annotations

from typing import Any

from construct import Construct
from hypothesis import strategies as st

from dissector.grammar.base import GrammarError, build
from dissector.grammar.reading import parse, trace
from dissector.node import Severity
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check_cover, check_truncation, check_values, diagnostics
from tests.dissector.grammar.strategies import contains, values


def made_values_hold(layout: Construct, data: st.DataObject, **params: Any) -> None:
    """A made value builds, reads back plain and traced alike, and leaves a partial tree where it is cut off."""
    made = data.draw(values(layout, params))
    raw = build(layout, made, **params)
    read, end = parse(layout, raw, **params)
    assert end == len(raw)
    assert contains(read, made), f"{read}\n is not\n{made}"
    assert build(layout, read, **params) == raw
    tree = trace(layout, ByteSource("made", raw), "value", **params)
    assert not diagnostics(tree), diagnostics(tree)
    check_values(tree, read)
    check_cover(tree)
    for node in tree.walk():
        assert isinstance(node.label, str)
    if raw:
        check_truncation(layout, raw, data.draw(st.integers(0, len(raw) - 1)), params)


def damaged_bytes_hold(layout: Construct, data: st.DataObject, **params: Any) -> None:
    """Damaged bytes make a tree whose leaves cover what was read, no BUG in it, and what was read builds back."""
    damaged = bytearray(build(layout, data.draw(values(layout, params)), **params))
    if damaged:
        places = st.integers(0, len(damaged) - 1)
        for place, byte in data.draw(st.dictionaries(places, st.integers(0, 255), min_size=1, max_size=4)).items():
            damaged[place] = byte
    any_bytes_hold(layout, bytes(damaged) + bytes(data.draw(st.binary(max_size=3))), **params)


def any_bytes_hold(layout: Construct, raw: bytes, **params: Any) -> None:
    tree = trace(layout, ByteSource("damaged", raw), "value", **params)
    check_cover(tree)
    assert tree.end <= len(raw)
    for node in tree.walk():
        assert isinstance(node.label, str)
    assert not [found for found in diagnostics(tree) if found[1] is Severity.BUG], diagnostics(tree)
    try:
        read, end = parse(layout, raw, **params)
    except GrammarError as error:
        failed = error
    else:
        assert build(layout, read, **params) == raw[:end]
        assert end == tree.end
        return
    assert failed.severity is not Severity.BUG
    assert failed.offset <= len(raw)
