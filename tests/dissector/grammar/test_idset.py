"""IDSET and GLOBSET on the wire: published and real bytes both ways, and what malformed ones leave."""

from __future__ import annotations

import uuid

import pytest
from construct import Container
from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar.base import GrammarError, build
from dissector.grammar.idset import (
    IDSET_REPLGUID,
    IDSET_REPLID,
    decode_idset,
    encode_idset,
    from_idset,
    read_idset,
    to_idset,
)
from dissector.grammar.layouts import Counted, Layout
from dissector.grammar.leaves import U32
from dissector.grammar.reading import parse, trace
from dissector.model.idset import IdSet
from dissector.node import Severity, Undecoded
from dissector.source import ByteSource
from tests.conftest import shared

BOXED = Layout("Value" / Counted(U32, IDSET_REPLID))

EXAMPLES = [  # bytes, set: facts/idset.md section 4, vectors/README.md section 1
    (
        "01 00 06 00 00 00 01 04 2E 05 00 00 00 01 04 52 35 37 50 00",
        IdSet({1: [(0x1042E, 0x1042E), (0x10435, 0x10437)]}),
    ),
    ("01 00 05 00 00 00 01 04 52 19 1A 50 00", IdSet({1: [(0x10419, 0x1041A)]})),
    (
        "9B B9 FF B5 0F 44 77 4F B4 88 C5 C6 70 2E E3 A8 04 00 00 00 00 52 00 A5 01 51 50 00",
        IdSet({uuid.UUID("b5ffb99b-440f-4f77-b488-c5c6702ee3a8"): [(0xA5, 0x151)]}),
    ),
    (
        "5b 74 c8 0f 23 e2 1f 4f 82 34 40 f0 be c4 6e 93 04 00 00 00 06 52 4d 5e 89 e6 01 89 42 e8 02 50 50 00",
        IdSet(
            {uuid.UUID("0fc8745b-e223-4f1f-8234-40f0bec46e93"): [(0x64D5E, 0x689E6), (0x689E8,) * 2, (0x689EA,) * 2]}
        ),
    ),
    (
        "01 00 05 00 00 00 06 89 42 01 eb 50 00",
        IdSet({1: [(0x68901, 0x68903), (0x68905, 0x68905), (0x68907, 0x68909)]}),
    ),
    ("01 00 52 00 00 00 00 00 01 00 00 00 00 00 05 00", IdSet({1: [(1, 5)]})),
    (
        "01 00 05 00 00 00 00 01 52 01 03 01 05 52 07 09 50 00",
        IdSet({1: [(0x101, 0x103), (0x105, 0x105), (0x107, 0x109)]}),
    ),
    (
        "01 00 03 00 00 00 02 00 00 52 01 03 50 52 01 00 00 02 00 00 50 00",
        IdSet({1: [(1, 3), (0x10000, 0x20000)]}),
    ),
]


def form_of(idset: IdSet):
    return IDSET_REPLID if isinstance(idset.replicas[0], int) else IDSET_REPLGUID


@pytest.mark.parametrize(("text", "meant"), EXAMPLES)
def test_published_examples_both_ways(text, meant):
    wire = bytes.fromhex(text)
    rows, end = parse(form_of(meant), wire)
    assert end == len(wire)
    assert to_idset(rows) == meant
    assert build(form_of(meant), rows) == wire
    ours = encode_idset(meant)
    assert len(ours) <= len(wire)
    assert decode_idset(ours, form_of(meant)) == meant
    reading = read_idset(wire, form_of(meant))
    assert (reading.idset, reading.offset, reading.diagnostic) == (meant, len(wire), None)


def test_every_command_is_a_node_that_says_what_it_adds():
    wire = bytes.fromhex(EXAMPLES[3][0])
    root = trace(IDSET_REPLGUID, ByteSource("state", wire), "MetaTagCnsetSeen")
    assert root.label == "15499 ids in 3 ranges, 1 replica"
    globset = root.find("[0]", "GLOBSET")
    assert globset.label == "{0x64D5E-0x689E6, 0x689E8, 0x689EA}"
    assert [child.name for child in globset.children] == ["Push", "Range", "Push", "Bitmask", "Pop", "Pop", "End"]
    assert globset.find("Bitmask").label == "{0x689E8, 0x689EA}"
    assert globset.find("Range").label == "{0x64D5E-0x689E6}"
    assert globset.find("Pop").label == ""
    assert sum(leaf.length for leaf in root.leaves()) == len(wire)


def test_the_sets_in_states_that_exchange_made():
    found = sorted(shared("vectors", "ews-syncstate").glob("*.idset.bin"))
    assert found
    for path in found:
        wire = path.read_bytes()
        rows, end = parse(IDSET_REPLGUID, wire)
        assert end == len(wire), path.name
        assert build(IDSET_REPLGUID, rows) == wire
        root = trace(IDSET_REPLGUID, ByteSource(path.name, wire), "CNSET")
        assert root.length == len(wire)
        assert not [note for node in root.walk() for note in node.diagnostics], path.name
        idset = to_idset(rows)
        ours = encode_idset(idset)
        assert len(ours) <= len(wire)
        assert decode_idset(ours, IDSET_REPLGUID) == idset


def test_the_sections_inside_the_states_that_exchange_made():
    """A raw state lists its sections behind "F5FV": slots of offset and length, from F5FV on; one has no slot."""
    found = sorted(shared("vectors", "ews-syncstate").glob("*.raw"))
    assert found
    commands = set()
    for path in found:
        raw = path.read_bytes()
        base = raw.index(b"F5FV")
        numbers = [int.from_bytes(raw[at : at + 4], "little") for at in range(base + 8, base + 0x50, 4)]
        sections = sorted((start, size) for start, size in zip(numbers[::2], numbers[1::2], strict=True) if size)
        assert sections, path.name
        if sections[0][0] > 0x50:
            sections.insert(0, (0x50, sections[0][0] - 0x50))
        for start, size in sections:
            wire = raw[base + start : base + start + size]
            rows, end = parse(IDSET_REPLGUID, wire)
            assert end == size, path.name
            assert to_idset(rows)
            assert build(IDSET_REPLGUID, rows) == wire
            commands |= {command.Command for row in rows for command in row.GLOBSET}
    assert {0x42, 0x50, 0x52, 0x06, 0x00} <= commands


MALFORMED = [  # bytes of a REPLID set, what is left of it, offset of the fault, words of the diagnostic
    ("0100 06000000000001 07 00", IdSet({1: [(1, 1)]}), 9, "no GLOBSET command is 0x07"),
    ("0100 06000000000001 05 0000000000 02 0011 00", IdSet({1: [(1, 1)]}), 15, "7 common bytes"),
    ("0100 52 000000000005 000000000001 00", IdSet(), 2, "ends before it begins"),
    ("0100 06000000000001 050000000000 520105 50", IdSet({1: [(1, 5)]}), 19, "without its End"),
    ("0100 06000000000001", IdSet({1: [(1, 1)]}), 9, "without its End"),
    ("0100 06000000000001 50 00", IdSet({1: [(1, 1)]}), 9, "Pop without a Push"),
    ("0100 050000000000 520105 00", IdSet({1: [(1, 5)]}), 11, "still pushed"),
    ("0100 0400000000 42 01 EB 50 00", IdSet(), 7, "needs five"),
    ("0100 050000000000 42 FE 02 50 00", IdSet(), 8, "beyond the last id"),
    ("0100 06000000000001 00 02", IdSet({1: [(1, 1)]}), 10, "the data ends here"),
    ("0100 06000000000001 00 0200 52 0000", IdSet({1: [(1, 1)]}), 12, "the data ends here"),
]


@pytest.mark.parametrize(("text", "left", "offset", "words"), MALFORMED)
def test_malformed_sets_give_the_ranges_so_far_and_the_place(text, left, offset, words):
    wire = bytes.fromhex(text)
    reading = read_idset(wire, IDSET_REPLID)
    assert reading.idset == left
    assert reading.offset == offset
    assert reading.diagnostic is not None
    assert words in reading.diagnostic.message
    with pytest.raises(GrammarError, match=words):
        decode_idset(wire, IDSET_REPLID)
    boxed = len(wire).to_bytes(4, "little") + wire
    root = trace(BOXED, ByteSource("box", boxed), "Box")
    troubled = [node for node in root.walk() if node.diagnostics]
    assert len(troubled) == 1
    assert troubled[0].offset - 4 in (offset, offset + 1)  # the command, or its operand that is cut
    assert words in troubled[0].diagnostics[0].message
    assert sum(leaf.length for leaf in root.leaves()) == len(boxed)
    value, _ = parse(BOXED, boxed)
    assert isinstance(value.Value, Undecoded)
    assert build(BOXED, value) == boxed


def test_replicas_out_of_order_are_remarked_but_read():
    wire = bytes.fromhex("0200 06000000000001 00 0100 06000000000002 00")
    root = trace(IDSET_REPLID, ByteSource("x", wire), "Set")
    assert [one.severity for one in root.diagnostics] == [Severity.NOTE]
    assert decode_idset(wire, IDSET_REPLID) == IdSet({1: [(2, 2)], 2: [(1, 1)]})


def test_no_bytes_are_the_empty_set():
    assert decode_idset(b"", IDSET_REPLGUID) == IdSet()
    assert encode_idset(IdSet()) == b""
    root = trace(BOXED, ByteSource("x", bytes(4)), "Box")
    assert root.find("Value").label == "empty set"


def test_forms_are_not_mixed():
    mixed = IdSet({1: [(1, 1)], uuid.UUID(int=5): [(1, 1)]})
    with pytest.raises(ValueError, match="either of REPLIDs or of REPLGUIDs"):
        from_idset(mixed)


def test_a_made_up_command_is_refused_on_building():
    with pytest.raises(Exception, match="no GLOBSET command is 0x07"):
        build(IDSET_REPLID, [Container(REPLID=1, GLOBSET=[Container(Command=7)])])


ranges = st.lists(
    st.tuples(st.integers(0, (1 << 48) - 400), st.integers(0, 300)).map(lambda pair: (pair[0], pair[0] + pair[1]))
    | st.tuples(st.integers(0, 1000), st.integers(0, 3)).map(lambda pair: (pair[0], pair[0] + pair[1])),
    max_size=8,
)


@given(st.dictionaries(st.integers(0, 0xFFFF), ranges, max_size=3) | st.dictionaries(st.uuids(), ranges, max_size=3))
def test_what_is_encoded_decodes_to_the_same_set(model):
    idset = IdSet(model)
    form = form_of(idset) if idset else IDSET_REPLGUID
    wire = encode_idset(idset)
    assert decode_idset(wire, form) == idset
    assert build(form, parse(form, wire)[0]) == wire


@given(st.sampled_from([text for text, _ in EXAMPLES]), st.data())
def test_truncated_and_flipped_sets_never_raise_and_build_back(text, data):
    wire = bytearray(bytes.fromhex(text))
    for _ in range(data.draw(st.integers(0, 3))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(wire[: data.draw(st.integers(0, len(wire)))])
    for form in (IDSET_REPLID, IDSET_REPLGUID):
        reading = read_idset(cut, form)
        layout = Layout("Value" / Counted(U32, form))
        boxed = len(cut).to_bytes(4, "little") + cut
        value, _ = parse(layout, boxed)
        assert build(layout, value) == boxed
        assert isinstance(value.Value, Undecoded) == (reading.diagnostic is not None)
        root = trace(layout, ByteSource("x", boxed), "Box")
        assert sum(leaf.length for leaf in root.leaves()) == len(boxed)
