"""Rows in the JSON of streams say what the nodes would say."""

from __future__ import annotations

import json
import random
import sys
import uuid
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar.elements import Element, encode, make
from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.icstree import SPEC, Gap, trace_parts, trace_stream
from dissector.node import Node
from dissector.source import ByteSource
from dissector.views.json import dumps, node_json, node_text, parts_pieces
from dissector.views.jsonmessages import TABLES
from dissector.views.jsonrows import JsonReader, _Room
from dissector.views.streams import PIECEWISE
from tests.dissector.grammar.streams import (
    GID,
    HEADER,
    REAL,
    STATE,
    full_change,
    partial_change,
    real,
    simple_change,
    stream,
)
from tests.dissector.views.test_json_text import located

Json = dict[str, Any]
Found = Counter[str]


def both(data: bytes, root: str, **more: Any) -> tuple[Json, Json]:
    """A stream in JSON: with rows, and as nodes."""
    source = located(data)
    parts = trace_parts(source, root, tables=TABLES, **more)
    if root in PIECEWISE:
        text = "".join(parts_pieces(parts, Node(root, source, 0, len(data), spec=SPEC)))
    else:
        *children, tree = parts
        tree.children = children
        text = node_text(tree)
    return json.loads(text), json.loads(dumps(node_json(trace_stream(source, root, **more))))


def compare(node: Any, whole: Json, found: Found) -> None:
    """Hold what was written with rows to the node it stands for; found: how many properties are which."""
    if isinstance(node, list):
        found["rows"] += 1
        return compare_row(node, whole)
    found["nodes"] += "PropertyTag" in [child["name"] for child in whole.get("children", [])]
    below = node.get("rows", node.get("children", []))
    assert not ("rows" in node and "children" in node)
    assert {**node, "rows": 0, "children": 0} == {**whole, "rows": 0, "children": 0}
    assert len(below) == len(whole.get("children", []))
    for part, child in zip(below, whole.get("children", []), strict=True):
        compare(part, child, found)
    return None


def compare_row(row: list[Any], whole: Json) -> None:
    offset, length, tag, name, value, *words = row
    assert (whole["offset"], whole["length"], whole["name"]) == (offset, length, name)
    assert "diagnostics" not in whole
    first, second = whole["children"]
    assert (first["name"], first["offset"], first["length"], first["value"]) == ("PropertyTag", offset, 4, tag)
    assert (second["name"], second["offset"], second["length"]) == ("PropertyValue", offset + 4, length - 4)
    assert "diagnostics" not in second
    if isinstance(value, list):
        count, *items = second["children"]
        assert count["name"] in ("Count", "COUNT")
        assert [item["value"] for item in items] == value
        assert [item.get("label", "") for item in items] == (words[0] if words else [""] * len(value))
    else:
        assert second["value"] == value
        assert type(second["value"]) is type(value)
        assert second.get("label", "") == "".join(words)
        assert len(words) < 2


@pytest.mark.parametrize("name", REAL)
def test_real_streams(name: str) -> None:
    found: Found = Counter()
    compare(*both(real(name), REAL[name]), found)
    assert found["rows"] > found["nodes"] or name.endswith(("noop", "again"))  # those are a state alone


WHOLE = stream(simple_change(), full_change(body=b"body"), simple_change(), partial_change(), STATE, "IncrSyncEnd")


def test_damaged_streams() -> None:
    rng = random.Random(23)
    for _ in range(250):
        damaged = bytearray(WHOLE[: rng.randrange(1, len(WHOLE))])
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        compare(*both(bytes(damaged), "contentsSync"), Counter())


@pytest.mark.parametrize("root", ["contentsSync", "messageList", "folderContent", "state"])
def test_streams_that_are_something_else(root: str) -> None:
    compare(*both(WHOLE, root), Counter())


def test_a_long_key() -> None:
    header = [counted(0x65E00102, GID[:16] + bytes(230)), *HEADER[1:]]
    compare(*both(stream("IncrSyncChg", header, "IncrSyncMessage", ODD[0], STATE), "contentsSync"), Counter())


def test_missing_bytes() -> None:
    data = WHOLE[:300] + WHOLE[420:]
    compare(*both(data, "contentsSync", gaps=[Gap(300, "not captured")], unsent="the capture ends"), Counter())
    compare(*both(WHOLE[:301], "contentsSync", unsent="the capture ends"), Counter())


def body(*properties: Element) -> bytes:
    return stream("IncrSyncChg", HEADER, "IncrSyncMessage", list(properties), STATE, "IncrSyncEnd")


def raw(tag: int, value: bytes) -> Element:
    return Element(0, tag, None, 4, 4 + len(value), value)


def counted(tag: int, value: bytes) -> Element:
    return raw(tag, len(value).to_bytes(4, "little") + value)


ODD = [
    make(0x00170003, 1),  # an enumeration
    make(0x00170003, 77),  # without words for it
    make(0x0E070003, 0x41),
    make(0x00390040, 133_000_000_000_000_000),
    make(0x00390040, (1 << 64) - 1),
    make(0x0E1B000B, True),
    raw(0x0E1B000B, b"\x07\x00"),  # neither true nor false
    make(0x0037001F, "Grüße \U0001f600"),
    counted(0x0037001F, b"a\0b\0"),  # without its zero
    counted(0x0037001F, b"a\0b"),  # half a character
    counted(0x0037001F, b"\0\xd8\0\0"),  # half a surrogate pair
    counted(0x0037001F, b""),
    counted(0x0037001E, b"caf\xe9\0"),
    counted(0x0037001E, b"\x81\0"),  # no character of the code page
    counted(0x003784E4, b"caf\xe9\0"),  # code page 1252
    counted(0x003783A4, "カ".encode("cp932") + b"\0"),
    counted(0x10130102, b"<html>"),
    counted(0x10130102, bytes(range(256)) * 300),
    counted(0x0FF90102, b""),
    counted(0x0FF90102, bytes(4095)),
    counted(0x00370102, bytes(5000)),  # where text is expected
    make(0x12340005, 1.5),
    raw(0x12340005, b"\0\0\0\0\0\0\xf8\x7f"),  # not a number
    raw(0x12340005, b"\0\0\0\0\0\0\xf0\x7f"),  # infinite
    raw(0x12340004, b"\x01\0\xa0\x7f"),  # a signalling NaN
    raw(0x12340007, b"\0\0\0\0\0\0\xf0\xff"),
    make(0x12340006, -15_000),
    make(0x12340014, -1),
    make(0x12340002, -1),
    raw(0x1234000A, b"\x0f\x01\x04\x80"),
    make(0x12340048, uuid.UUID(int=5)),
    make(0x674A0014, (1, 2)),
    counted(0x65E00102, GID),
    counted(0x65E20102, GID[:16] + b"\1\2\3\4"),
    counted(0x65E20102, b""),
    counted(0x65E20102, b"short"),
    counted(0x65E20102, GID[:16] + bytes(230)),
    counted(0x65E30102, b"\x16" + GID),
    counted(0x65E30102, b"\x16" + GID + b"\x16" + GID),  # one namespace twice: remarked on
    counted(0x65E30102, bytes([22]) + bytes(22) + b"\x16" + GID),
    counted(0x65E30102, b""),
    counted(0x65E30102, b"\x16" + GID[:9]),
    make(0x12341003, [1, -2, 3]),
    make(0x12341040, [133_000_000_000_000_000, 0]),
    make(0x12341006, [15_000]),
    make(0x12341003, []),
    make(0x1234101F, ["one", "zwei"]),
    make(0x12341102, [b"a", b""]),
    counted(0x00410102, b"no entry id"),
    counted(0x0000000D, b"object"),
]


@pytest.mark.parametrize("number", range(len(ODD)))
def test_values(number: int) -> None:
    compare(*both(body(make(0x001A001F, "IPM.Note"), ODD[number], make(0x0E060040, 5)), "contentsSync"), Counter())


@given(st.lists(st.sampled_from(ODD), max_size=8))
def test_values_together(chosen: list[Element]) -> None:
    compare(*both(body(*chosen), "contentsSync"), Counter())


def test_all_that_is_plain_is_a_row() -> None:
    found: Found = Counter()
    rows, whole = both(body(make(0x0037001F, "x"), make(0x10130102, b"y"), make(0x12341003, [1])), "contentsSync")
    compare(rows, whole, found)
    assert found["rows"] == len(HEADER) + 3
    header = rows["children"][0]["children"][0]["children"][1]
    assert header["name"] == "messageChangeHeader"
    assert header["rows"][0] == [
        4, 30, 0x65E00102, "PidTagSourceKey", "b5ffb99b-440f-4f77-b488-c5c6702ee3a8-000000000102",
        "GID, GlobalCounter 0x102",
    ]  # fmt: skip


def test_rows_do_not_depend_on_what_was_read_before() -> None:
    first = both(WHOLE, "contentsSync")[0]
    for _ in range(20):
        assert both(WHOLE, "contentsSync")[0] == first
    assert MARKER["IncrSyncChg"] == first["children"][0]["children"][0]["children"][0]["value"]


def test_a_header_without_what_its_words_are_made_of_is_rows_too() -> None:
    data = stream("IncrSyncChg", HEADER[1:], "IncrSyncMessage", STATE, "IncrSyncEnd")
    found: Found = Counter()
    rows, whole = both(data, "contentsSync")
    compare(rows, whole, found)
    assert found["rows"] == len(HEADER) - 1


def test_productions_of_any_depth() -> None:
    """As deep as they may be, with the deepest value in the innermost, and not much of the stack left."""
    restriction = b"\0\0" + b"\x02" * 39 + b"\x08" + (0x0037001F).to_bytes(4, "little")
    deep = stream(
        "StartTopFld", *["StartSubFld"] * 100, "StartMessage", "NewAttach",
        make(0x0E210003, 0), counted(0x0E9A0102, restriction), make(0x0037001F, "x"),
    )  # fmt: skip
    source = located(deep)
    for tables in (TABLES, None):
        *children, tree = trace_parts(source, "topFolder", tables=tables)
        tree.children = children
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(depth_of_the_stack() + 600)
        try:
            text = node_text(tree)
        finally:
            sys.setrecursionlimit(before)
        assert text.count('"name":"StartSubFld"') == 100


def depth_of_the_stack() -> int:
    frame, depth = sys._getframe(), 0
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def test_code_pages_share_readers() -> None:
    tables = JsonReader()
    data = b"".join(
        (0x00370000 | 0x8000 | page).to_bytes(4, "little") + b"\2\0\0\0x\0" for page in range(20_000, 22_000)
    )
    table = tables.read(ByteSource("x", data), 0, len(data), None)
    assert table is not None
    assert table.amount == 2000
    assert len(tables.kinds.by_form) < 30


def test_rows_that_are_kept_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rounds over more texts than there is room for: what was let go is made again."""
    monkeypatch.setattr(_Room, "BYTES", 20_000)
    tables = JsonReader()
    elements = [make(0x001A001F, f"{number % 70}") for number in range(210)]
    data = b"".join(encode(elements))
    table = tables.read(ByteSource("x", data), 0, len(data), None)
    assert table is not None
    (text,) = table.parts
    assert [row[4] for row in json.loads(f"[{text}]")] == [f"{number % 70}" for number in range(210)]
    assert 0 < sum(map(len, tables._room.users)) < 70
