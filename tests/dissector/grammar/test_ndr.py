"""NDR vocabulary: alignment and what stands in it, byte orders, strings, pointers and their order."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from construct import Construct, ConstructError, Container, this

from dissector.grammar.base import GrammarError, build
from dissector.grammar.layouts import Deferred, Layout, Rows
from dissector.grammar.ndr import (
    N8,
    N16,
    N32,
    NI16,
    NI32,
    Conformant,
    ConformantBytes,
    Constructed,
    ContextHandle,
    NdrErrorCode,
    NdrFileTime,
    NdrGuid,
    NdrString,
    NdrWideString,
    Padded,
    Unique,
    Varying,
    VaryingBytes,
)
from dissector.grammar.reading import parse, trace
from dissector.node import Node
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check_cover, check_truncation, diagnostics


def held(layout: Construct, data: bytes, **params: Any) -> Any:
    """What every NDR layout promises: the value builds back, leaves cover all bytes once, truncations stay partial."""
    value, end = parse(layout, data, **params)
    assert end == len(data)
    assert build(layout, value, **params) == data
    tree = trace(layout, ByteSource("stub", data), "stub", **params)
    assert not diagnostics(tree)
    check_cover(tree)
    assert tree.length == len(data)
    for cut in range(len(data)):
        check_truncation(layout, data, cut, params)
    return value


def named(tree: Node) -> list[tuple[str, int, int]]:
    return [(node.name, node.offset, node.length) for node in tree.walk()]


MIXED = Layout("a" / N8, "b" / N32, "c" / N16, "d" / NI32)


def test_integers_align_themselves() -> None:
    data = bytes.fromhex("01000000 02000000 0300 0000 ffffffff".replace(" ", ""))
    assert held(MIXED, data) == {"a": 1, "b": 2, "c": 3, "d": -1}
    tree = trace(MIXED, ByteSource("stub", data), "stub")
    assert named(tree)[1:] == [
        ("a", 0, 1), ("Padding", 1, 3), ("b", 4, 4), ("c", 8, 2), ("Padding", 10, 2), ("d", 12, 4),
    ]  # fmt: skip


def test_old_memory_in_the_padding_builds_back() -> None:
    data = bytes.fromhex("01aabbcc 02000000 0300 dd00 ffffffff".replace(" ", ""))
    value = held(MIXED, data)
    assert (value.b, value.d) == (2, -1)
    assert isinstance(value.b, Padded)
    assert value.b.pad == b"\xaa\xbb\xcc"


def test_alignment_counts_from_the_first_byte_that_is_read() -> None:
    data = b"\xee" + bytes.fromhex("0100000002000000030000000400ffff")[:16]
    value, end = parse(MIXED, data, 1)
    assert (value.a, value.b, end) == (1, 2, 17)


def test_big_endian() -> None:
    layout = Layout("n" / N16, "m" / N32, "g" / NdrGuid, "t" / NdrFileTime, "w" / NdrWideString)
    guid = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
    data = bytes.fromhex("0001 0000 00000002".replace(" ", "")) + guid.bytes
    data += bytes.fromhex("00000003 00000001 00000003 00000000 00000003".replace(" ", "")) + "hé\0".encode("utf-16-be")
    value = held(layout, data, big_endian=True)
    assert (value.n, value.m, value.g, value.t, value.w.Value) == (1, 2, guid, 1 << 32 | 3, "hé")
    with pytest.raises(GrammarError):
        parse(layout, data)


def test_signed_and_errors() -> None:
    layout = Layout("s" / NI16, "e" / NdrErrorCode)
    data = bytes.fromhex("feff00000f010480")
    assert held(layout, data) == {"s": -2, "e": 0x8004010F}
    assert trace(layout, ByteSource("stub", data), "").find("e").label == "ecNotFound"
    with pytest.raises(ConstructError, match="does not fit"):
        build(layout, {"s": 70000, "e": 0})


def test_padded_file_time() -> None:
    layout = Layout("b" / N8, "t" / NdrFileTime)
    value = held(layout, bytes.fromhex("01aabbcc 00803ed5 deb19d01".replace(" ", "")))
    assert value.t == 0x019DB1DED53E8000
    assert NdrFileTime.label(value.t) == "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("03000000 00000000 03000000 616200", "ab"),
        ("03000000 00000000 02000000 6162", "ab"),  # without its NUL
        ("05000000 00000000 04000000 61620000", "ab\0"),
        ("00000000 00000000 00000000", ""),
        ("01000000 00000000 01000000 00", ""),
        ("02000000 00000000 02000000 8161", "\udc81a"),  # no cp1252 character
    ],
)
def test_strings(data: str, text: str | bytes) -> None:
    assert held(NdrString, bytes.fromhex(data.replace(" ", ""))).Value == text


def test_strings_from_text_alone() -> None:
    assert build(NdrString, {"Value": "ab"}).hex() == "030000000000000003000000616200"
    assert build(NdrWideString, {"Value": "é"}).hex() == "020000000000000002000000e9000000"
    assert build(NdrString, {"Value": "д"}, codepage="cp1251").hex() == "020000000000000002000000e400"
    with pytest.raises(ConstructError):
        build(NdrString, {"MaxCount": 9, "ActualCount": 9, "Value": "ab"})


def test_arrays() -> None:
    assert held(ConformantBytes, bytes.fromhex("03000000aabbcc")).Data == b"\xaa\xbb\xcc"
    assert held(VaryingBytes, bytes.fromhex("090000000000000002000000aabb")).Data == b"\xaa\xbb"
    assert held(Conformant(N16), bytes.fromhex("0200000001000200"))["Items"] == [1, 2]
    assert held(Varying(N32), bytes.fromhex("05000000 00000000 01000000 07000000".replace(" ", "")))["Items"] == [7]
    assert build(VaryingBytes, {"Data": b"abc"}).hex() == "030000000000000003000000616263"
    assert build(Conformant(N32), {"Items": [1]}).hex() == "0100000001000000"


def test_context_handle() -> None:
    data = bytes.fromhex("000000009657703b05092b458eb22f5383133045")
    assert str(held(ContextHandle, data).Uuid) == "3b705796-0905-452b-8eb2-2f5383133045"


def test_pointer_parameters_are_followed_at_once() -> None:
    layout = Layout("a" / Unique(NdrString), "b" / Unique(N32), "c" / Unique(N32), "d" / N32)
    data = bytes.fromhex(
        "11000000 02000000 00000000 02000000 6100 0000 22000000 05000000 00000000 09000000".replace(" ", "")
    )
    value = held(layout, data)
    assert (value.a.Value.Value, value.b.Value, value.c.Value, value.d) == ("a", 5, None, 9)
    tree = trace(layout, ByteSource("stub", data), "stub")
    assert tree.find("a").label == "'a'"
    assert [node.name for node in tree.find("a").children] == ["Referent", "MaxCount", "Offset", "ActualCount", "Value"]
    assert [node.name for node in tree.find("b").children] == ["Padding", "Referent", "Value"]
    assert tree.find("c").length == 4


def test_pointers_to_pointers() -> None:
    layout = Layout("a" / Unique(Unique(NdrString)), "b" / N32)
    data = bytes.fromhex("01000000 02000000 01000000 00000000 01000000 00 000000 07000000".replace(" ", ""))
    value = held(layout, data)
    assert value.a.Value.Value.Value == ""
    assert held(layout, bytes(8)).a.Value is None


ITEM = Layout("id" / N32, "name" / Unique(NdrString), "data" / Unique(ConformantBytes))
LIST = Layout("MaxCount" / N32, "rows" / Rows(this.MaxCount, ITEM))


def test_inner_pointers_wait_for_the_end_of_the_outermost_structure() -> None:
    layout = Layout("list" / Constructed(LIST), "after" / N32)
    value = {
        "list": {
            "MaxCount": 2,
            "rows": [
                {"id": 1, "name": {"Value": "x"}, "data": {"Data": b"\x0a"}},
                {"id": 2, "name": None, "data": {"Data": b"\x0b\x0c"}},
            ],
        },
        "after": 0x77,
    }
    data = build(layout, value)
    assert data.hex(" ", 4) == (
        "02000000 01000000 00000200 04000200 02000000 00000000 08000200"  # count, both rows with their pointers
        " 02000000 00000000 02000000 78000000"  # x, padded
        " 01000000 0a000000 02000000 0b0c0000 77000000"
    )
    read = held(layout, data)
    first, second = read["list"].rows
    assert (first.name.Value.Value, first.data.Value.Data, second.name.Value, second.data.Value.Data) == (
        "x", b"\x0a", None, b"\x0b\x0c",
    )  # fmt: skip
    tree = trace(layout, ByteSource("stub", data), "stub")
    names = [node.name for node in tree.find("list").children]
    assert names == ["MaxCount", "rows", "rows[0].name", "rows[0].data", "rows[1].data"]


def chain() -> Construct:
    return CHAIN


CHAIN = Layout("n" / N32, "next" / Unique(Deferred(chain)))


def test_pointers_nest_to_a_bounded_depth() -> None:
    layout = Layout("head" / Constructed(CHAIN))
    shallow = bytes.fromhex("01000000 01000000 02000000 01000000 03000000 00000000".replace(" ", ""))
    assert held(layout, shallow).head.next.Value.next.Value.n == 3
    with pytest.raises(GrammarError, match="nested deeper"):
        parse(layout, bytes.fromhex("0100000001000000") * 5000)
    tree = trace(layout, ByteSource("stub", bytes.fromhex("0100000001000000") * 5000), "stub")
    assert [message for _, _, message in diagnostics(tree)] == ["pointers nested deeper than 40 levels"]


def test_a_count_that_lies_ends_with_the_data() -> None:
    with pytest.raises(GrammarError) as caught:
        parse(Conformant(N32), bytes.fromhex("ffffffff0100000002000000"))
    assert caught.value.offset == 12
    with pytest.raises(GrammarError):
        parse(VaryingBytes, bytes.fromhex("ffffffff00000000ffffffff00"))


def test_referents_of_fresh_values_are_distinct() -> None:
    layout = Layout("a" / Unique(N32), "b" / Unique(N32))
    value, _ = parse(layout, build(layout, Container(a=1, b=2)))
    assert (value.a.Referent, value.b.Referent) == (0x20000, 0x20004)
