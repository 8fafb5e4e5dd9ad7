"""Bytes without a capture: streams, sets and states."""

from __future__ import annotations

import json

import pytest

from dissector.decode import decode_bytes, kinds
from dissector.errors import DissectorError
from dissector.grammar.ics import ROOTS
from dissector.node import Node, Severity
from dissector.verify import tiling_faults
from tests.conftest import shared
from tests.dissector.grammar.streams import REAL, STATE, hierarchy_start, real, stream


def severities(node: Node) -> set[Severity]:
    return {found.severity for one in node.walk() for found in one.diagnostics}


@pytest.mark.parametrize("root", ROOTS)
def test_every_root_is_a_kind(root: str) -> None:
    assert f"fasttransfer:{root}" in dict(kinds())
    assert decode_bytes(f"fasttransfer:{root}", b"").name == root


@pytest.mark.parametrize("name", REAL)
def test_real_streams(name: str) -> None:
    data = real(name)
    tree = decode_bytes(f"fasttransfer:{REAL[name]}", data)
    assert (tree.name, tree.length) == (REAL[name], len(data))
    assert severities(tree) <= {Severity.NOTE}
    assert list(tiling_faults(tree)) == []


def test_a_stream_of_unknown_kind_is_its_elements() -> None:
    tree = decode_bytes("fasttransfer", hierarchy_start())
    assert [child.name for child in tree.children[:3]] == ["IncrSyncChg", "PidTagParentSourceKey", "PidTagSourceKey"]


@pytest.mark.parametrize(
    ("kind", "wire", "label"),
    [
        ("idset-replid", "0100 06 00000001042e 05 0000000104 52 35 37 50 00", "4 ids in 2 ranges, 1 replica"),
        ("idset", "9bb9ffb50f44774fb488c5c6702ee3a8 04 00000000 52 00a5 0151 50 00", "173 ids in 1 range, 1 replica"),
        ("cnset", "9bb9ffb50f44774fb488c5c6702ee3a8 04 00000000 52 00a5 0151 50 00", "173 ids in 1 range, 1 replica"),
        ("cnset", "", "empty set"),
        ("globset", "05 0000000689 42 01 eb 50 00", "{0x68901-0x68903, 0x68905, 0x68907-0x68909}"),
        ("pcl", "14 f247869d7436e64fa4cc56f8b4809280 00000006", ""),
        ("xid", "f247869d7436e64fa4cc56f8b4809280 00000006", "LocalId of 4 bytes"),
    ],
)
def test_sets_and_ids(kind: str, wire: str, label: str) -> None:
    data = bytes.fromhex(wire)
    tree = decode_bytes(kind, data)
    assert tree.label == label
    assert tree.length == len(data)
    assert severities(tree) == set()


@pytest.mark.parametrize(
    ("wire", "place", "words"),
    [
        ("05 0000000689 52 01 03 33 00", 9, "no GLOBSET command is 0x33"),
        ("05 0000000689 52 01 03 02 0000 00", 9, "7 common bytes"),
        ("05 0000000689 52 01 03 52 09 01 50 00", 9, "ends before it begins"),
        ("05 0000000689 52 01 03 50", 10, "without its End"),
    ],
)
def test_a_malformed_globset_gives_the_ranges_so_far_and_the_byte(wire: str, place: int, words: str) -> None:
    data = bytes.fromhex(wire)
    tree = decode_bytes("globset", data)
    found = [(one.offset, why.message) for one in tree.walk() for why in one.diagnostics]
    assert any(offset == place and words in message for offset, message in found), found
    assert tree.label == "{0x68901-0x68903}"
    assert sum(leaf.length for leaf in tree.leaves()) == len(data)


def test_a_state_in_each_of_its_forms() -> None:
    marked = decode_bytes("state", stream(STATE))
    bare = decode_bytes("state", stream(STATE[1:-1]))
    names = [child.name for child in marked.children]
    assert names[0] == "IncrSyncStateBegin"
    assert names[1:-1] == [child.name for child in bare.children]
    kept = shared("captures", "gromox", "expected", "contents-incremental", "incremental.state.json").read_bytes()
    for text in (kept, json.dumps({tag: {"bytes": data} for tag, data in json.loads(kept).items()}).encode()):
        tree = decode_bytes("state", text)
        assert [(child.name, child.label) for child in tree.children][:2] == [
            ("MetaTagIdsetGiven", "51 ids in 2 ranges, 1 replica"),
            ("MetaTagCnsetSeen", "110 ids in 1 range, 1 replica"),
        ]


@pytest.mark.parametrize(
    "text", [b"{", b'{"x": "00"}', b'{"40170003": 5}', b'{"0037001f": ""}', b'{"40170003": "0"}', b"{}x"]
)
def test_a_state_that_is_none(text: bytes) -> None:
    with pytest.raises(DissectorError):
        decode_bytes("state", text)


@pytest.mark.parametrize(
    ("kind", "wire"),
    [
        ("rop-response:RopReadStream", "2c 00 05400080"),
        ("rop-response:RopReadStream", "2c 00 05400080 0000"),
        ("rop-response:RopGetPropertiesAll", "08 00 80030400 0000"),
        ("rop-response:RopGetPropertiesAll", "08 00 80030400"),
        ("rop-response:RopPending", "6e 0000"),
    ],
)
def test_a_response_alone_is_read_in_the_form_that_fits(kind: str, wire: str) -> None:
    tree = decode_bytes(kind, bytes.fromhex(wire))
    assert not any(node.diagnostics for node in tree.walk())


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("rop:RopNotify", "RopNotify has no request"),
        ("rop-response:RopRelease", "RopRelease has no response"),
        ("rop:RopSpoolerRules", "RopSpoolerRules has no published layout"),
    ],
)
def test_a_rop_that_cannot_be_read_says_why(kind: str, words: str) -> None:
    with pytest.raises(DissectorError, match=words):
        decode_bytes(kind, b"\x2a\x00\x00\x00")
