"""JSON written straight from rows is that of the nodes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from construct import this
from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar import reading
from dissector.grammar.base import build
from dissector.grammar.compiler import stream as compiled
from dissector.grammar.compiler import units
from dissector.grammar.icstree import SPEC, trace_parts, trace_stream
from dissector.grammar.ids import FolderId
from dissector.grammar.layouts import Layout, Rows, When
from dissector.grammar.leaves import U8, U16, U32, Bool8, Data, Enumerated, Guid, Str16
from dissector.grammar.properties import TaggedPropertyValue
from dissector.node import Node, Severity, Undecoded
from dissector.pipeline import dissect
from dissector.source import ByteSource, Piece, joined
from dissector.views.json import dumps, exchange_pieces, node_json, node_text, parts_pieces
from dissector.views.streams import PIECEWISE
from tests.conftest import ROOT, captures_in
from tests.dissector.grammar.streams import REAL, full_change, real, stream

CAPTURES = [*sorted((ROOT / "captures").glob("*.pcap")), *captures_in("real", "gromox")]


@pytest.fixture(autouse=True)
def hot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HOT", 0)
    monkeypatch.setattr(units, "HOT_COLUMNS", 0)
    monkeypatch.setattr(compiled, "HOT", 0)


def check(tree: Node) -> None:
    text = node_text(tree)  # first: it makes no nodes
    assert text == dumps(node_json(tree))


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_trees_of_captures(path: Path) -> None:
    with dissect(path, engine="native") as dissection:
        for exchange in dissection.exchanges():
            for tree in exchange.trees():
                check(tree)


def test_exchanges_are_one_line_of_json_each() -> None:
    with dissect(ROOT / "captures" / "notify.pcap") as dissection:
        for exchange in dissection.exchanges():
            line = "".join(exchange_pieces(exchange))
            assert "\n" not in line
            assert json.loads(line)["request"] == json.loads(dumps(node_json(tree_of(exchange.request_tree()))))
            assert json.loads("".join(exchange_pieces(exchange, [',"more"', ":[1]"])))["more"] == [1]


def tree_of(tree: Node | None) -> Node:
    assert tree is not None
    return tree


@pytest.mark.parametrize("name", REAL)
def test_trees_of_streams(name: str) -> None:
    check(trace_stream(located(real(name)), REAL[name]))


@pytest.mark.parametrize("name", [name for name, root in REAL.items() if root in PIECEWISE])
def test_trees_in_parts(name: str) -> None:
    for data in (real(name), b"", real(name)[:-1]):
        source = located(data)
        begun = Node(REAL[name], source, 0, len(data), spec=SPEC)
        pieces = "".join(parts_pieces(trace_parts(source, REAL[name]), begun))
        assert pieces == dumps(node_json(trace_stream(source, REAL[name])))


def test_trees_of_damaged_streams() -> None:
    rng = random.Random(9)
    data = stream("IncrSyncStateBegin", full_change(body=b"body"), "IncrSyncStateEnd", "IncrSyncEnd")
    for _ in range(60):
        damaged = bytearray(data[: rng.randrange(1, len(data))])
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        check(trace_stream(located(bytes(damaged)), "contentsSync"))


def located(data: bytes, size: int = 37) -> ByteSource:
    """Bytes that came in frames of some size."""
    pieces = [Piece(at, min(size, len(data) - at), 1 + at // size, 54, min(size, len(data) - at))
              for at in range(0, len(data), size)]  # fmt: skip
    return ByteSource("stream", data, pieces)


LAYOUT = Layout(
    "Number" / U32,
    "Kind" / Enumerated(U8, "RopId"),
    "Flag" / Bool8,
    "Text" / Str16,
    "Id" / When(this.Flag == 1, Guid),
    "Folder" / FolderId,
    "Count" / U8,
    "Tags" / Rows(this.Count, U16),
    "Rows" / Rows(this.Count, Layout("Size" / U8, "Data" / Data(this.Size), summary="{Size} of {Data:/}")),
    "Inside" / Layout("One" / U8, "Two" / U16, name="pair", spec="MS-\"X\"", summary="{One} and {Two}"),
    "Last" / Layout("A" / U8, "B" / Layout("C" / U8), name="deep"),
    name="everything",
    spec="MS-OXTEST 1",
)  # fmt: skip


@given(st.data())
def test_layouts_in_frames_of_any_size(data: st.DataObject) -> None:
    reading.HOT = 0
    count = data.draw(st.integers(0, 3))
    rows = [
        {"Size": len(raw), "Data": raw}
        for raw in data.draw(st.lists(st.binary(max_size=9), min_size=count, max_size=count))
    ]
    raw = build(LAYOUT, {
        "Number": data.draw(st.integers(0, 0xFFFFFFFF)), "Kind": data.draw(st.integers(0, 255)),
        "Flag": data.draw(st.sampled_from([False, True, 7])),
        "Text": data.draw(st.text(st.characters(codec="utf-16-le", exclude_characters="\0"), max_size=80)),
        "Id": data.draw(st.uuids()), "Folder": (1, data.draw(st.integers(0, 99))), "Count": count,
        "Tags": [7] * count, "Rows": rows, "Inside": {"One": 1, "Two": 2}, "Last": {"A": 1, "B": {"C": 2}},
    })  # fmt: skip
    shift = data.draw(st.integers(0, 5))
    source = located(bytes(shift) + raw, data.draw(st.integers(1, 60)))
    check(reading.trace(LAYOUT, source, "PDU", shift))
    check(reading.trace(LAYOUT, source.derive("rest", shift, len(raw)), 'a "name"'))
    check(reading.trace(LAYOUT, ByteSource("typed", raw), "PDU"))
    cut = data.draw(st.integers(0, len(raw)))
    check(reading.trace(LAYOUT, source, "PDU", shift, shift + cut))


@given(st.data())
def test_spans_of_bytes_put_together_from_others_that_were_shown(data: st.DataObject) -> None:
    whole = located(bytes(60), data.draw(st.integers(1, 9)))
    check(Node("whole", whole, 0, 60))
    ranges = st.tuples(st.integers(0, 59), st.integers(0, 40)).map(lambda one: (one[0], min(one[1], 60 - one[0])))
    body = joined("body", [(whole, *one) for one in data.draw(st.lists(ranges, max_size=6))])
    for _ in range(3):
        start = data.draw(st.integers(0, len(body)))
        outer = Node("outer", body, start, data.draw(st.integers(0, len(body) - start)))
        outer.children.append(Node("inner", body, start, outer.length))
        check(outer)


def test_blocks_that_map_as_a_whole() -> None:
    raw = build(TaggedPropertyValue, {"PropertyTag": 0x0037001F, "PropertyValue": 'Gr\u00fc\u00dfe "\\\ud800'})
    block = located(bytes(50), 20).derive("plain", 10, 30, raw)
    check(reading.trace(TaggedPropertyValue, block, "value"))


def test_nodes_that_were_changed_after_they_were_read() -> None:
    source = located(build(TaggedPropertyValue, {"PropertyTag": 0x0E070003, "PropertyValue": 1}))
    tree = reading.trace(TaggedPropertyValue, source, "value")
    tree.diagnose(Severity.NOTE, 'a "remark"')
    tree.labeller = None
    check(tree)
    tree.children.append(Node("Undecoded", source, 8, 0, Undecoded(b"")))
    check(tree)
    tree.children[0].secret = True
    check(tree)
