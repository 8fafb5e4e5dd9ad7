"""Auxiliary blocks: sizes of every type, text at offsets, gaps, unknown types, damage."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar.auxiliary import BLOCKS, AuxBlock, AuxBlocks
from dissector.grammar.base import build
from dissector.grammar.reading import parse, trace
from dissector.node import Node, Undecoded
from dissector.source import ByteSource
from tests.conftest import examples
from tests.dissector.grammar.rops.check import check_cover, diagnostics

SIZES = {
    (1, 0x01): 4, (1, 0x02): 28, (1, 0x03): 8, (1, 0x04): 20, (2, 0x04): 24, (1, 0x0A): 8, (1, 0x0B): 24, (2, 0x0B): 24,
    (1, 0x16): 156, (1, 0x17): 4, (1, 0x18): 20, (1, 0x46): 4, (1, 0x48): 4, (1, 0x49): 4, (1, 0x4A): 28, (1, 0x4B): 2,
    (1, 0x4E): 10,
    **{(1, kind): 12 for kind in (0x05, 0x0C, 0x11)},
    **{(1, kind): 16 for kind in (0x06, 0x0D, 0x12)},
    **{(1, kind): 16 for kind in (0x07, 0x0E, 0x13)},
    **{(2, kind): 20 for kind in (0x07, 0x0E, 0x13)},
    **{(1, kind): 20 for kind in (0x08, 0x0F, 0x14)},
    **{(2, kind): 20 for kind in (0x08, 0x0F, 0x14)},
    **{(1, kind): 24 for kind in (0x09, 0x10, 0x15)},
    **{(2, kind): 28 for kind in (0x09, 0x10, 0x15)},
}  # fmt: skip
"""Bytes of the fixed fields, by version and type."""


def block(version: int, kind: int, body: bytes) -> bytes:
    return (len(body) + 4).to_bytes(2, "little") + bytes([version, kind]) + body


def read(data: bytes) -> tuple[Any, Node]:
    """The blocks and their tree; every byte is in one leaf and builds back."""
    value, end = parse(AuxBlocks, data)
    assert (end, build(AuxBlocks, value)) == (len(data), data)
    tree = trace(AuxBlocks, ByteSource("aux", data), "AuxBlocks")
    check_cover(tree)
    assert tree.length == len(data)
    return value, tree


def test_the_table_is_the_specification_s() -> None:
    assert set(BLOCKS) == set(SIZES)


@pytest.mark.parametrize(("version", "kind"), sorted(SIZES))
def test_every_block_has_its_size(version: int, kind: int) -> None:
    size = SIZES[version, kind]
    value, tree = read(block(version, kind, bytes(size)) * 2)
    assert not diagnostics(tree)
    assert len(value) == 2
    assert sum(leaf.length for leaf in tree.children[0].find("Body").leaves()) == size
    assert tree.children[0].label not in ("", "no layout is published")
    short, tree = read(block(version, kind, bytes(size - 1)))
    assert isinstance(short[0].Body, Undecoded)
    assert len(diagnostics(tree)) == 1


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        ("0800010101000200", {"SessionID": 1, "RequestID": 2}),
        ("080001460b000000", {"ServerCapabilityFlags": 0x0B}),
        ("0800014801000000", {"EndpointCapabilityFlag": 1}),
        ("0c00010a0400000000000000", {"EnableFlags": 4, "ExpiryTime": 0}),
    ],
)
def test_examples(data: str, fields: dict[str, int]) -> None:
    value, tree = read(bytes.fromhex(data))
    assert value[0].Body == fields
    assert not diagnostics(tree)


def test_flags_and_types_are_named() -> None:
    _, tree = read(bytes.fromhex("080001460b000000"))
    assert tree.children[0].label == "SERVER_CAPABILITIES"
    assert tree.children[0].find("Body", "ServerCapabilityFlags").label == (
        "PACKED_FAST_TRANSFER_UPLOAD_BUFFERS | PACKED_WRITE_STREAM_UPLOAD_BUFFERS | ULTRA_LARGE_PACKED_DOWNLOAD_BUFFERS"
    )


def test_text_and_bytes_at_offsets_with_a_gap() -> None:
    tail = "MACHINE\0".encode("utf-16-le") + b"\xc0\xa8\x01\x02" + b"\xee\xee\xee" + "zoe\0".encode("utf-16-le")
    fixed = (
        (100000).to_bytes(4, "little")
        + b"".join(
            number.to_bytes(2, "little")
            for number in (7, 32, 55, 4, 48, 0, 0, 0, 0, 0, 2, 0)  # machine at 32, user at 55, address of 4 at 48
        )
    )  # fmt: skip
    value, tree = read(block(1, 2, fixed + tail))
    assert value[0].Body.Strings == [
        ("MachineName", "MACHINE"), ("ClientIP", b"\xc0\xa8\x01\x02"), ("Gap", b"\xee\xee\xee"), ("UserName", "zoe"),
    ]  # fmt: skip
    assert tree.children[0].find("Body", "ClientMode").label == "cached mode"
    assert tree.children[0].find("Body", "Strings", "UserName").offset == 55
    assert not diagnostics(tree)


def test_two_fields_may_point_at_the_same_text() -> None:
    fixed = bytes.fromhex("0100 0100 0c00 0c00".replace(" ", ""))
    value, tree = read(block(1, 3, fixed + "srv\0".encode("utf-16-le")))
    assert value[0].Body.Strings == [("ServerDN", "srv")]
    assert not diagnostics(tree)


@pytest.mark.parametrize("offset", [1, 11, 19, 20, 0xFFFF])
def test_an_offset_outside_of_its_block(offset: int) -> None:
    fixed = bytes.fromhex("01000100") + offset.to_bytes(2, "little") + bytes(2)
    data = block(1, 3, fixed + "srv\0".encode("utf-16-le"))
    value, tree = read(data + block(1, 0x17, bytes(4)))
    assert isinstance(value[0].Body, Undecoded)
    assert [(name, message) for name, _, message in diagnostics(tree)] == [
        ("Strings", f"ServerDN at offset {offset} is outside of its block")
    ]
    assert value[1].Body.OrgFlags == 0


def test_unknown_types_are_kept_whole() -> None:
    value, tree = read(block(1, 0x52, b"\1\2\3") + block(9, 0x01, b"\7") + block(1, 0x43, b""))
    assert [one.Body for one in value] == [b"\1\2\3", b"\7", b""]
    assert not diagnostics(tree)
    assert tree.children[0].find("Type").label == "no layout is published"


@pytest.mark.parametrize("size", [0, 1, 3, 200])
def test_a_size_that_lies(size: int) -> None:
    data = bytes.fromhex("0800010101000200") + size.to_bytes(2, "little") + bytes.fromhex("0101 01000200")
    tree = trace(AuxBlocks, ByteSource("aux", data), "AuxBlocks")
    check_cover(tree)
    assert len(diagnostics(tree)) == 1
    assert tree.children[0].find("Body", "RequestID").value == 2


def test_sizes_are_derived() -> None:
    assert build(AuxBlock, {"Version": 1, "Type": 0x17, "Body": {"OrgFlags": 3}}).hex() == "0800011703000000"


@st.composite
def blocks(draw: Any) -> bytes:
    out = b""
    for _ in range(draw(st.integers(0, 4))):
        version, kind = draw(st.sampled_from([*SIZES, (1, 0x52), (3, 1)]))
        size = SIZES.get((version, kind), 0)
        body = bytearray(draw(st.binary(min_size=size, max_size=size + 40)))
        for at in range(0, size - 1, 2):  # small numbers are offsets that fit
            if draw(st.booleans()):
                body[at : at + 2] = draw(st.integers(0, len(body) + 4)).to_bytes(2, "little")
        out += block(version, kind, bytes(body))
    return out


@given(blocks())
@examples(300)
def test_any_blocks_build_back(data: bytes) -> None:
    read(data)


@given(blocks(), st.integers(0, 400), st.integers(0, 255))
@examples(200)
def test_damage_leaves_a_tree(data: bytes, at: int, byte: int) -> None:
    damaged = bytearray(data)
    if damaged:
        damaged[at % len(damaged)] = byte
    for raw in (bytes(damaged), data[: at % (len(data) + 1)]):
        tree = trace(AuxBlocks, ByteSource("aux", raw), "AuxBlocks")
        check_cover(tree)
        assert all(severity.value != "BUG" for _, severity, _ in diagnostics(tree))
