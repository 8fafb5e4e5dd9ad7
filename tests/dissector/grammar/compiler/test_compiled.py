"""Compiled readings are the interpreted ones: on every ROP of every capture, on made values, on damaged bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from construct import Construct, this
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from dissector.grammar import base, blobs, entryids, reading, restrictions, search
from dissector.grammar.base import build
from dissector.grammar.compiler import explain, write
from dissector.grammar.compiler.expressions import Unsupported
from dissector.grammar.compiler.runtime import text, utf_16
from dissector.grammar.fasttransfer import FASTTRANSFER_VALUES
from dissector.grammar.layouts import Layout, Rows, Sized
from dissector.grammar.leaves import F32, U8, U16, U32, Data, Str8, Text, decode_text
from dissector.grammar.properties import ADDRESS_BOOK_VALUES, EXTENDED_VALUES, ROP_VALUES, PropertyValue
from dissector.grammar.reading import parse
from dissector.grammar.rops import ROPS
from dissector.pipeline import dissect
from dissector.source import ByteSource
from tests.conftest import ROOT, captures_in, examples
from tests.dissector.grammar.compiler.both import compiled_of, parse_both, trace_both
from tests.dissector.grammar.strategies import session_arguments, values

LAYOUTS: Mapping[str, Construct] = {
    layout.layout_name: layout
    for definition in ROPS.values()
    for layout in (definition.request, *definition.responses.values(), definition.short_failure)
    if layout is not None
}
CAPTURES = [*sorted((ROOT / "captures").glob("*.pcap")), *captures_in("real", "gromox")]
QUICK = examples(15, *HealthCheck)

Reading = tuple[Construct, bytes, int, int, dict[str, Any]]


def agree(layout: Construct, data: bytes, offset: int, end: int | None, params: Mapping[str, Any]) -> None:
    parse_both(layout, data, offset, end, params)
    trace_both(layout, ByteSource("bytes", data), "PDU", offset, end, params)


@cache
def rops_of(path: Path) -> list[Reading]:
    """What the session asked for when it read the ROPs of a capture, each different one once."""
    found: dict[Any, Reading] = {}
    with dissect(path, engine="native") as dissection:
        for exchange in dissection.exchanges():
            for buffer in (*exchange.request_buffers, *exchange.response_buffers):
                for side in buffer.rops:
                    if side.layout is not None:
                        raw = side.source.data[side.offset : side.offset + side.length]
                        reading = side.layout, side.source.data, side.offset, side.offset + side.length
                        found.setdefault((id(side.layout), raw), (*reading, dict(side.params)))
    return list(found.values())


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_rop_of_a_capture(path: Path) -> None:
    readings = rops_of(path)
    assert readings
    for layout, data, offset, end, params in readings:
        agree(layout, data, offset, end, params)


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_damaged_rops_of_a_capture(path: Path) -> None:
    """Cut anywhere, flipped anywhere; seeded."""
    rng = random.Random(path.name)
    for layout, data, offset, end, params in rops_of(path):
        raw = data[offset:end]
        if len(raw) > 4000:
            continue
        agree(layout, raw[: rng.randrange(len(raw) + 1)], 0, None, params)
        for _ in range(3):
            damaged = bytearray(raw)
            for _ in range(rng.randrange(1, 4)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            agree(layout, bytes(damaged), 0, None, params)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_rop_is_compiled(name: str) -> None:
    for rows in (False, True):
        assert write(LAYOUTS[name], rows).notes == ()
    assert explain(LAYOUTS[name]) == "compiled"


@pytest.mark.parametrize("name", LAYOUTS)
@QUICK
@given(data=st.data())
def test_made_values(name: str, data: st.DataObject) -> None:
    layout, params = LAYOUTS[name], data.draw(session_arguments())
    raw = build(layout, data.draw(values(layout, params)), **params)
    agree(layout, raw, 0, None, params)
    agree(layout, b"\xa5" + raw + b"\xff", 1, 1 + len(raw), params)
    agree(layout, raw[: data.draw(st.integers(0, len(raw)))], 0, None, params)
    damaged = bytearray(raw)
    for place, byte in data.draw(
        st.dictionaries(st.integers(0, len(raw) - 1), st.integers(0, 255), max_size=3)
    ).items():
        damaged[place] = byte
    agree(layout, bytes(damaged), 0, None, params)


STRUCTURES: Mapping[str, Construct] = {
    **{name: form for name, form in blobs.STRUCTURES.items() if name != "PidTagRtfCompressed"},
    "EntryId": entryids.EntryId,
    "ExtendedRestriction": restrictions.ExtendedRestriction,
    "SearchRestriction": search.SearchRestriction,
    "AddressBookRestriction": restrictions.AddressBookRestriction,
}


@pytest.mark.parametrize("name", STRUCTURES)
@QUICK
@given(data=st.data())
def test_structures_inside_of_values(name: str, data: st.DataObject) -> None:
    layout = STRUCTURES[name]
    try:
        made = data.draw(values(layout, {}))
    except TypeError:
        pytest.skip("the strategies have no rule for it")
    raw = build(layout, made)
    agree(layout, raw, 0, None, {})
    agree(layout, raw[: data.draw(st.integers(0, len(raw)))], 0, None, {})


def tags(encoding: Any) -> Iterator[int]:
    """A tag for every way in which the encoding writes a value."""
    yield from encoding.by_tag
    yield from (0x6600_0000 | kind for kind in encoding.types)


@pytest.mark.parametrize("encoding", [ROP_VALUES, EXTENDED_VALUES, ADDRESS_BOOK_VALUES, FASTTRANSFER_VALUES])
@examples(40)
@given(raw=st.binary(max_size=60), seed=st.randoms(use_true_random=False))
def test_values_of_every_tag_on_any_bytes(encoding: Any, raw: bytes, seed: random.Random) -> None:
    for tag in seed.sample(sorted(set(tags(encoding))), 12):
        agree(Layout("Value" / PropertyValue(tag, encoding)), raw, 0, None, {})


@given(st.binary(max_size=24))
@example(b"\0\xd8\0\xdc")
@example(b"\0\xdc\0\xd8")
@example(b"\xff\xfea\0")
def test_utf_16_is_decoded_alike(raw: bytes) -> None:
    assert utf_16(raw) == decode_text(raw, "utf-16-le")


@given(
    st.binary(max_size=12), st.sampled_from(["cp1252", "cp932", "utf-8", "latin-1", "utf-7", "iso2022_jp", "hz", "x"])
)
@example(b"+AGE-", "utf-7")
@example(b"~{", "hz")
@example(b"\x1b$B", "iso2022_jp")
def test_text_is_decoded_alike(raw: bytes, codec: str) -> None:
    assert text(raw, codec) == decode_text(raw, codec)


@given(st.lists(st.binary(min_size=4, max_size=4), max_size=4))
@example([b"\1\0\x80\x7f"])
def test_floats_that_are_no_numbers(raw: list[bytes]) -> None:
    agree(Layout("Values" / Rows(len(raw), F32)), b"".join(raw), 0, None, {})


# -- the way through parse() and trace() ----------------------------------------------------------


def layout_of_its_own() -> Layout:
    """Not read before, so not compiled yet."""
    row = Layout("Kind" / U8, "Text" / Text(1), name="row", summary="{Text}")
    return Layout(
        "Count" / U16,
        "Rows" / Rows(this.Count, row),
        "Size" / U8,
        "Inside" / Sized(this.Size, Layout("Number" / U32)),
        name="whole",
    )


def outcome(layout: Construct, data: bytes) -> Any:
    try:
        return parse(layout, data)
    except base.GrammarError as error:
        return error.severity, error.message, error.offset


@pytest.mark.parametrize(
    "raw",
    [
        "0100 05 6100 04 07000000",
        "0100 05 61",
        "0200 05 6100",
        "0100 05 6100 03 070000",
        "0100 05 6100 05 0700000000",
        "",
    ],
)
def test_hot_layouts_read_as_cold_ones(raw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HOT", 3)
    layout, data = layout_of_its_own(), bytes.fromhex(raw)
    cold = outcome(layout, data)
    cold_tree = list(reading.trace(layout, ByteSource("cold", data), "PDU").walk())
    for _ in range(5):
        outcome(layout, data)
        reading.trace(layout, ByteSource("hot", data), "PDU")
    assert layout.__dict__["_values"]
    assert layout.__dict__["_rows"]
    assert outcome(layout, data) == cold
    hot_tree = list(reading.trace(layout, ByteSource("hot", data), "PDU").walk())
    assert [(one.name, one.offset, one.length, one.value, one.label, one.diagnostics) for one in hot_tree] == [
        (one.name, one.offset, one.length, one.value, one.label, one.diagnostics) for one in cold_tree
    ]


@pytest.mark.parametrize("end", [None, 2 * reading.LARGE])
def test_what_is_large_is_compiled_at_once(end: int | None) -> None:
    layout, data = Layout("First" / U8), bytes(2 * reading.LARGE)
    for offset, compiled in ((reading.LARGE + 1, False), (reading.LARGE, True)):
        assert parse(layout, data, offset, end) == ({"First": 0}, offset + 1)
        assert len(reading.trace(layout, ByteSource("x", data), "x", offset, end).children) == 1
        assert [bool(layout.__dict__.get(name)) for name in ("_values", "_rows")] == [compiled, compiled]


def test_arguments_are_as_they_were_when_the_compiled_reading_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HOT", 0)
    deep = b"\x02" * 60 + b"\xff"  # NOT(NOT(...(no restriction)))
    wanted = trace_both(restrictions.Restriction, ByteSource("deep", deep), "PDU", 0, None, {})
    made = reading.trace(restrictions.Restriction, ByteSource("deep", deep), "PDU")
    assert [(one.name, one.offset, one.length, one.diagnostics) for one in made.walk()] == [
        (one.name, one.offset, one.length, one.diagnostics) for one in wanted.walk()
    ]


def test_the_children_of_a_compiled_tree_are_made_when_they_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HOT", 0)
    layout = Layout("Number" / U16, "Data" / Data(this.Number))
    tree: Any = reading.trace(layout, ByteSource("lazy", b"\2\0ab"), "PDU")
    assert tree.rows is not None
    assert [child.name for child in tree.children] == ["Number", "Data"]
    assert tree.rows is None
    tree.children.pop()
    assert len(tree.children) == 1


def test_other_kinds_of_bytes_are_read_interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HOT", 0)
    layout = Layout("Text" / Str8)
    assert parse(layout, b"ab\0") == parse(layout, bytearray(b"ab\0")) == parse(layout, memoryview(b"ab\0"))  # type: ignore[arg-type]


class Odd(Construct):  # type: ignore[misc]
    """Without a rule in the compiler. It reads what is left, and looks at a field before it."""

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        return context.Number, stream.tell(), stream.read(2), context.get("_index")


def test_what_has_no_rule_is_called_in_its_place() -> None:
    row = Layout("Number" / U8, "Odd" / Odd())
    layout = Layout("Number" / U8, "Odd" / Odd(), "Rows" / Rows(2, row), "Last" / U8)
    agree(layout, bytes(range(12)), 0, None, {})
    agree(layout, bytes(range(20)), 3, 15, {})
    unit = write(layout, False)
    assert unit.notes == ("Odd: Odd has no compiled form", "Rows.[].Odd: Odd has no compiled form")
    assert explain(layout) == "compiled, but for Odd: Odd has no compiled form; Rows.[].Odd: Odd has no compiled form"


def test_a_layout_that_is_mostly_calls_is_left_alone() -> None:
    layout = Layout("A" / Odd(), "B" / Odd(), "Number" / U8)
    with pytest.raises(Unsupported):
        write(layout, False)
    assert explain(layout) == "interpreted: A: Odd has no compiled form"
    assert compiled_of(layout, True) is None
