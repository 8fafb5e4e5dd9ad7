"""Extended buffers: published examples, headers that lie, trees back to the frames, rebuilt bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.emsmdb import lz77
from dissector.emsmdb.buffers import (
    COMPRESSED,
    HEADER,
    MOST_PARTS,
    MOST_PLAIN,
    auxiliary_pdus,
    auxiliary_tree,
    chain,
    chain_nodes,
    chain_pdus,
    pack,
    traced,
    xored,
)
from dissector.grammar.auxiliary import AuxBlocks
from dissector.grammar.envelopes import RpcHeaderExt
from dissector.grammar.reading import parse
from dissector.node import Node, Severity, Undecoded
from dissector.source import ByteSource, Span
from tests.conftest import examples
from tests.dissector.emsmdb.messages import check_tiles, notes, rop_leaf, source

PLAIN = "00 00 04 00 09 00 09 00 05 00 01 00 00 2a 00 00 00"
XORED = "00 00 06 00 09 00 09 00 a0 a5 a4 a5 a5 8f a5 a5 a5"
LOGON = (
    "00 00 04 00 65 00 65 00 61 00 fe 00 00 01 0c 04 00 01 00 00 00 00 51 00 2f 6f 3d 4f 72 67 2f 6f"
    "75 3d 45 78 63 68 61 6e 67 65 20 41 64 6d 69 6e 69 73 74 72 61 74 69 76 65 20 47 72 6f 75 70 20"
    "28 46 59 44 49 42 4f 48 46 32 33 53 50 44 4c 54 29 2f 63 6e 3d 52 65 63 69 70 69 65 6e 74 73 2f"
    "63 6e 3d 75 73 65 72 31 00 ff ff ff ff"
)
LOGON_COMPRESSED = (
    "00 00 07 00 6d 00 65 00 a5 a5 b5 a5 c4 a5 5b a5 a5 a4 a9 a1 a5 a4 a5 a5 a5 f4 a5 8a ca 98 ea d7"
    "c2 8a ca d0 98 e0 dd c6 cd c4 cb c2 c0 a5 a5 a5 a5 85 e4 c1 c8 cc cb cc d6 d1 d7 c4 d1 cc d3 c0"
    "85 e2 d7 ca d0 d5 85 8d e3 fc e1 ec e7 ea ed e3 97 a2 a1 a5 a5 96 f6 f5 e1 e9 f1 8c 8a c6 cb 98"
    "f7 c0 c6 cc d5 cc c0 cb d1 d6 cc a5 d0 d6 c0 d7 94 a5 5a a5 a5"
)
TWO = "00 00 00 00 09 00 09 00 05 00 01 00 00 01 00 00 00 00 00 04 00 09 00 09 00 05 00 01 00 00 01 00 00 00"


def opened(data: bytes) -> list[bytes]:
    return [part.plain.data for part in chain(source(data), 0, len(data), "ROP buffer").parts]


def tree_of(data: bytes) -> Node:
    held = source(data)
    node = Node("RopBuffer", held, 0, len(data))
    node.children = chain_nodes(held, 0, len(data), "ROP buffer", rop_leaf)
    check_tiles(node)
    return node


def rebuilds(data: bytes) -> None:
    for pdu in chain_pdus("chain", source(data), 0, len(data)):
        assert pdu.rebuilt == pdu.original == data


@pytest.mark.parametrize(
    ("data", "plain"),
    [
        (PLAIN, ["050001 00002a000000"]),
        (XORED, ["050001 00002a000000"]),
        (TWO, ["0500010000 01000000", "0500010000 01000000"]),
        (LOGON, [LOGON[24:]]),
        (LOGON_COMPRESSED, [LOGON[24:]]),
    ],
)
def test_published_layouts(data: str, plain: list[str]) -> None:
    raw = bytes.fromhex(data)
    assert opened(raw) == [bytes.fromhex(one) for one in plain]
    assert not chain(source(raw), 0, len(raw), "").diagnostics
    assert not notes(tree_of(raw))
    rebuilds(raw)


def test_the_tree_is_header_payload_header_payload() -> None:
    tree = tree_of(bytes.fromhex(TWO))
    assert [node.name for node in tree.children] == ["RPC_HEADER_EXT", "Payload", "RPC_HEADER_EXT", "Payload"]
    assert tree.children[0].find("Size").value == 9
    assert tree.children[2].find("Flags").label == "Last"
    assert tree.children[3].find("ROP buffer 1").source.data == bytes.fromhex("050001000001000000")


def test_payload_bytes_lead_to_their_frame() -> None:
    [part] = chain(source(bytes.fromhex(XORED)), 0, 17, "").parts
    assert part.plain.locate(2, 3) == [Span(1, 110, 3)]
    [part] = chain(source(bytes.fromhex(LOGON_COMPRESSED)), 0, 0x75, "").parts
    assert part.plain.locate(60, 2) == [Span(1, 108, 0x6D)]


def header(flags: int, size: int, actual: int, version: int = 0) -> bytes:
    return HEADER.pack(version, flags, size, actual)


@pytest.mark.parametrize(
    ("data", "plain", "messages"),
    [
        (b"", [], []),
        (b"\0\0\4", [], ["3 bytes where an RPC_HEADER_EXT of 8 should be"]),
        (header(4, 5, 5) + b"abc", [b"abc"], ["Size is 5, 3 bytes are there"]),
        (header(0, 3, 3) + b"abc", [b"abc"], ["the chain ends without a buffer that is flagged Last"]),
        (header(0, 3, 3) + b"abcd", [b"abc"], ["1 bytes where an RPC_HEADER_EXT of 8 should be"]),
        (header(4, 3, 3) + b"abcdef", [b"abc"], ["3 bytes behind the buffer that is flagged Last"]),
        (header(4, 0, 0), [b""], ["the payload is empty"]),
        (header(4, 3, 9) + b"abc", [b"abc"], ["SizeActual is 9, Size is 3, and nothing is compressed"]),
        (header(4, 3, 3, version=7) + b"abc", [b"abc"], ["Version is 7, not 0"]),
        (header(0xFFFC, 3, 3) + b"abc", [b"abc"], []),
        (
            header(5, 3, 9) + b"abc",
            [b""],
            ["LZ77, 0 bytes into the payload: the data ends after 0 of 9 bytes"],
        ),
        (
            header(5, 7, 10) + bytes.fromhex("ffffff7f610600") + b"zz",
            [b"a" * 10],
            ["2 bytes behind the buffer that is flagged Last"],
        ),
        (
            header(5, 9, 10) + bytes.fromhex("ffffff7f610600") + b"zz",
            [b"a" * 10],
            ["2 bytes behind the end of the compressed data"],
        ),
        (
            header(5, 7, 4) + bytes.fromhex("ffffff7f610600"),
            [b"a" * 4],
            ["LZ77, 5 bytes into the payload: a match of 9 bytes where 3 are left of the declared size"],
        ),
        (
            header(7, 5, 9) + xored(bytes.fromhex("ffffff7f61")),
            [b"a"],
            ["LZ77, 5 bytes into the payload: the data ends after 1 of 9 bytes"],
        ),
    ],
)  # fmt: skip
def test_headers_that_lie(data: bytes, plain: list[bytes], messages: list[str]) -> None:
    found = chain(source(data), 0, len(data), "ROP buffer")
    assert [part.plain.data for part in found.parts] == plain
    assert [one.message for one in found.diagnostics] == messages
    assert [message for _, _, message in notes(tree_of(data))] == messages
    rebuilds(data)


def test_what_cannot_be_decompressed_stays_visible() -> None:
    tree = tree_of(header(5, 9, 60) + bytes.fromhex("ffffff7f610600") + b"zz")
    payload = tree.children[1]
    assert [node.name for node in payload.children] == ["ROP buffer 0", "Undecoded"]
    assert payload.children[0].source.data == b"a" * 10
    assert payload.children[1].value == b"zz"
    assert isinstance(payload.children[1].value, Undecoded)
    assert payload.diagnostics[0].severity is Severity.MALFORMED


def test_a_bomb_stops_at_sixty_four_kilobytes() -> None:
    bomb = bytes.fromhex("ffffff7f6107000fff0000f0ffffff")
    [part] = chain(source(header(5, 15, 0xFFFF) + bomb), 0, 23, "").parts
    assert part.plain.data == b"a" * 0xFFFF
    assert part.diagnostics


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.booleans(), st.booleans())
@examples(120)
def test_packed_buffers_open_again(payloads: list[bytes], compress: bool, xor: bool) -> None:
    data = pack(payloads, compress=compress, xor=xor)
    assert opened(data) == payloads
    found = chain(source(data), 0, len(data), "").diagnostics
    assert {one.message for one in found} <= {"the payload is empty"}
    tree_of(data)
    rebuilds(data)


def test_packing_compresses_only_what_gets_smaller() -> None:
    small, large = b"abc", b"abc" * 100
    data = pack([small, large], compress=True, xor=True)
    assert HEADER.unpack_from(data) == (0, 2, 3, 3)
    assert HEADER.unpack_from(data, 11)[1:] == (7, len(data) - 19, 300)
    with pytest.raises(ValueError, match="65535"):
        pack([bytes(65536)])


@given(st.binary(max_size=120))
@examples(300)
def test_any_bytes_are_a_tree(data: bytes) -> None:
    tree_of(data)
    rebuilds(data)


def test_the_fast_header_is_the_layout_s() -> None:
    rng = random.Random(1)
    for _ in range(50):
        data = rng.randbytes(8)
        value, _ = parse(RpcHeaderExt, data)
        assert tuple(value.values()) == HEADER.unpack(data)


AUX = bytes.fromhex("0800010101000200 080001460b000000")


def test_auxiliary_buffers() -> None:
    for data in (pack([AUX]), pack([AUX], xor=True), pack([AUX * 9], compress=True, xor=True)):
        held = source(data)
        [*_, payload] = chain_nodes(held, 0, len(data), "auxiliary buffer", auxiliary_tree)
        assert payload.find("AuxBlocks", "[1]", "Body", "ServerCapabilityFlags").value == 0x0B
        pdus = list(auxiliary_pdus(held, 0, len(data)))
        assert [pdu.name for pdu in pdus] == ["auxiliary buffer", "auxiliary blocks"]
        assert all(pdu.original == pdu.rebuilt for pdu in pdus)
    broken = pack([b"\xff\xff\1\1"])
    assert [pdu.rebuilt is None for pdu in auxiliary_pdus(source(broken), 0, len(broken))] == [False, True]


def test_what_a_layout_leaves_over_is_a_leaf() -> None:
    node = traced(AuxBlocks, ByteSource("aux", AUX + b"\1\2\3"), "AuxBlocks")
    assert node.length == len(AUX) + 3
    assert len(notes(node)) == 1
    check_tiles(node)
    node = traced(RpcHeaderExt, ByteSource("header", bytes(8) + b"\1\2\3"), "RPC_HEADER_EXT")
    assert node.children[-1].value == b"\1\2\3"
    check_tiles(node)
    node = traced(RpcHeaderExt.subcons[0].subcon, ByteSource("one", b"\0\0zz"), "Version")
    assert [child.value for child in node.children] == [0, b"zz"]
    assert notes(node) == [("Undecoded", "MALFORMED", "2 bytes are left over")]


def test_rebuilding_notices_a_compressor_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack([b"abc" * 50], compress=True)
    rebuilds(data)
    monkeypatch.setattr(lz77, "compress", lambda plain: b"\xff\xff\xff\xff")
    [pdu] = chain_pdus("chain", source(data), 0, len(data))
    assert pdu.rebuilt != pdu.original


def test_a_chain_that_grows_without_end_is_read_so_far() -> None:
    """19 bytes that become 65535, again and again; and headers of empty payloads."""
    compressed = bytes.fromhex("ffffff7f 41 0700 0f ff fbff")
    one = HEADER.pack(0, COMPRESSED, len(compressed), 0xFFFF) + compressed
    found = chain(source(one * 2000), 0, len(one) * 2000, "x")
    assert sum(len(part.plain) for part in found.parts) < MOST_PLAIN + 0x20000
    assert found.problem is not None
    assert found.rest == len(one) * len(found.parts)
    empty = bytes(HEADER.size) * 10_000
    found = chain(source(empty), 0, len(empty), "x")
    assert len(found.parts) == MOST_PARTS
    nodes = chain_nodes(source(empty), 0, len(empty), "x", lambda index, plain: Node("x", plain, 0, len(plain)))
    assert nodes[-1].end == len(empty)
