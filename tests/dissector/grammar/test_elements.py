"""ElementReader: the same elements however a stream is cut, back to the same bytes, in constant memory."""

from __future__ import annotations

import tracemalloc
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar.elements import Element, ElementReader, Named, elements_of, encode, make, rebuilt, trace_element
from dissector.grammar.fasttransfer import MARKER, MARKERS
from dissector.node import Undecoded
from dissector.source import ByteSource
from tests.conftest import examples
from tests.dissector.grammar.streams import REAL, SET, all_real, contents, hierarchy_start, real, subject


def read(*chunks: bytes, **options) -> tuple[list[Element], object]:
    reader = ElementReader(**options)
    found: list[Element] = []
    for chunk in chunks:
        reader.feed(chunk)
        found += reader.elements()
    return found, reader.finish()


@pytest.mark.parametrize("name", REAL)
def test_real_streams_to_the_last_byte_and_back(name):
    data = real(name)
    found, trouble = read(data)
    assert trouble is None
    assert found[0].offset == 0
    assert [one.end for one in found[:-1]] == [one.offset for one in found[1:]]
    assert found[-1].end == len(data)
    assert b"".join(encode(found)) == data
    assert b"".join(rebuilt(found)) == data


def test_all_real_streams_are_tested():
    assert {f"{path.parent.name}/{path.stem}" for path in all_real()} == set(REAL)


@pytest.mark.parametrize("name", ["copyto/copyto", "hierarchy-bootstrap/hierarchy-again"])
def test_a_stream_cut_at_every_place_gives_the_same_elements(name):
    data = real(name)
    whole = read(data)
    for cut in range(1, len(data)):
        assert read(data[:cut], data[cut:]) == whole, cut


def test_a_stream_of_single_bytes_gives_the_same_elements():
    data = contents(2) + hierarchy_start()
    assert read(*(data[at : at + 1] for at in range(len(data)))) == read(data)


@given(st.data())
@examples(40)
def test_streams_in_any_chunks_give_the_same_elements(data):
    wire = real(data.draw(st.sampled_from(["upload-session/upload-after", "contents-incremental/incremental"])))
    keep = data.draw(st.sampled_from([None, 0, 100]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=30)))
    chunks = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert read(*chunks, keep=keep, always=(0x4017,)) == read(wire, keep=keep, always=(0x4017,))


names = st.text(st.characters(exclude_characters="\0"), max_size=8) | st.integers(0, 0xFFFFFFFF)
tags = st.one_of(
    st.tuples(st.integers(1, 0x3FFF), st.sampled_from([0x1E, 0x1F, 0x0102, 0x000D, 0x84B0, 0x84E4])),
    st.tuples(st.integers(0x8000, 0xFFFE), st.sampled_from([0x1F, 0x0102, 0x101F, 0x1102, 0x1003, 0x000B])),
)


@st.composite
def made_elements(draw) -> Element:
    if draw(st.booleans()):
        return make(draw(st.sampled_from(sorted(MARKERS))))
    prop_id, kind = draw(tags)
    value: object
    if kind in (0x0102, 0x000D):
        value = draw(st.binary(max_size=20))
    elif kind == 0x1003:
        value = draw(st.lists(st.integers(-5, 5), max_size=4))
    elif kind == 0x000B:
        value = draw(st.booleans())
    elif kind == 0x1102:
        value = draw(st.lists(st.binary(max_size=5), max_size=4))
    elif kind == 0x101F:
        value = draw(st.lists(st.text(max_size=5), max_size=4))
    else:
        value = draw(st.text(st.characters(max_codepoint=0x7F), max_size=12))
    named = Named(draw(st.uuids()), draw(names)) if prop_id >= 0x8000 else None
    try:
        return make(prop_id << 16 | kind, value, named)
    except Exception:  # an id whose value is a structure
        return make(MARKER["StartMessage"])


@given(st.lists(made_elements(), max_size=12), st.data())
@examples(50)
def test_made_elements_are_read_as_they_were_made(made, data):
    wire = b"".join(encode(made))
    cut = data.draw(st.integers(0, len(wire)))
    found, trouble = read(wire[:cut], wire[cut:])
    assert trouble is None
    assert [(one.tag, one.named, one.raw) for one in found] == [(one.tag, one.named, one.raw) for one in made]
    assert b"".join(rebuilt(found)) == wire


@given(st.data())
@examples(150)
def test_truncated_and_flipped_streams_never_raise(data):
    wire = bytearray(contents(1))
    for _ in range(data.draw(st.integers(0, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(wire[: data.draw(st.integers(0, len(wire)))])
    reader = ElementReader()
    reader.feed(cut)
    found = list(reader.elements())
    trouble = reader.finish()
    end = found[-1].end if found else 0
    assert (trouble is None) == (end == len(cut))
    if trouble is not None:
        assert trouble.offset == end
    assert b"".join(encode(found)) == cut[:end]
    source = ByteSource("stream", cut)
    after = 0
    for element in found:
        node = trace_element(source, element, after=after)
        after = element.tag if element.is_marker else after
        assert (node.offset, node.end) == (element.offset, element.end)
        assert sum(leaf.length for leaf in node.leaves()) == node.length


def test_names_of_elements():
    found = list(elements_of(contents(1)))
    shown = [one.name for one in found]
    assert shown[:2] == ["IncrSyncProgressMode", "0x00000102"]
    for name in ("IncrSyncChg", "PidTagSourceKey", "MetaTagIdsetGiven", "MetaTagFXDelProp", "StartEmbed"):
        assert name in shown
    assert str(Named(SET, 0x8502)) == "PidLidReminderTime"
    assert str(Named(uuid.UUID(int=1), 0x85)) == "00000000-0000-0000-0000-000000000001:0x0085"
    assert Element(0, 0x40170102, None, 0, 0, b"").name == "MetaTagIdsetGiven"
    assert str(Named(uuid.UUID(int=1), "Färbung")) == "00000000-0000-0000-0000-000000000001:Färbung"


def test_the_tree_of_an_element_names_its_fields():
    wire = b"".join(encode([make(0x8005001F, "filed", Named(SET, "Färbung"))]))
    element = next(elements_of(wire))
    node = trace_element(ByteSource("x", wire), element)
    assert [child.name for child in node.children] == ["PropertyTag", "PropertySet", "Kind", "Name", "PropertyValue"]
    assert node.find("PropertyValue").value == "filed"
    assert node.name.endswith("Färbung")
    assert node.find("PropertyTag").label.startswith(node.name)


def test_values_that_are_not_kept_have_no_bytes():
    found, trouble = read(real("upload-session/upload-after"), keep=1000, always=(0x3701,))
    assert trouble is None
    large = [one for one in found if one.end - one.value_offset > 1000]
    assert large
    assert all((one.raw is not None) == (one.tag >> 16 == 0x3701) for one in large)
    assert all(one.raw is not None for one in found if one not in large)
    forgotten = [one for one in large if one.raw is None]
    assert forgotten[0].value() is None
    with pytest.raises(ValueError, match="was not kept"):
        list(encode(forgotten))
    with pytest.raises(ValueError, match="was not kept"):
        list(rebuilt(forgotten))


def test_memory_does_not_grow_with_the_stream():
    message = contents(4) + b"".join(encode([make(0x10130102, bytes(300_000))]))
    expected = len(list(elements_of(message)))

    def peak(times: int) -> int:
        reader = ElementReader(keep=1000)
        tracemalloc.start()
        count = 0
        for _ in range(times):
            for at in range(0, len(message), 32_000):
                reader.feed(message[at : at + 32_000])
                count += sum(1 for _ in reader.elements())
        assert reader.finish() is None
        assert count == times * expected
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    few, many = peak(2), peak(20)
    assert many < few + 20_000
    assert many < 250_000


def test_elements_not_fetched_stay_due():
    data = contents(1)
    reader = ElementReader()
    reader.feed(data[:300])
    first = next(reader.elements())
    reader.feed(data[300:])
    assert [first, *reader.elements()] == list(elements_of(data))
    assert reader.offset == len(data)


@pytest.mark.parametrize(
    ("wire", "offset", "words"),
    [
        (b"\x01\x00\x37\x00", 0, "no layout is known for property type 0x0001"),
        (b"\x03\x00\x12\x40\xfd\x00\x37\x00\0\0\0\0", 4, "no layout is known for property type 0x00FD"),
        (b"\x03\x00\x12\x40\x1f\x00\x37\x00\x05\0\0\0ab", 4, "the data ends here, inside PidTagSubject"),
        (b"\x03\x00\x12\x40\x1f\x00\x37", 4, "the data ends here, inside an element"),
        (b"\x1f\x00\x05\x80" + bytes(16) + b"\2\0\0\0\0", 0, "a property name of kind 2"),
        (b"\x1f\x00\x05\x80" + bytes(16) + b"\1" + b"a" * 5000, 0, "a property name of more than 4096 bytes"),
        (b"\x02\x11\x37\x00\x05\0\0\0\x01\0\0\0a\xff\xff\xff\xff", 0, "the data ends here, inside"),
    ],
)
def test_where_reading_stops_and_why(wire, offset, words):
    for chunks in ((wire,), tuple(wire[at : at + 1] for at in range(len(wire)))):
        found, trouble = read(*chunks)
        assert [one.offset for one in found] == list(range(0, offset, 4))
        assert trouble.offset == offset
        assert words in trouble.diagnostic.message


def test_a_property_above_8000_needs_a_name_and_no_other_has_one():
    with pytest.raises(ValueError, match="needs a name"):
        make(0x8005001F, "x")
    with pytest.raises(ValueError, match="has no name"):
        make(0x0037001F, "x", Named(SET, 1))


def test_a_value_that_cannot_be_read_stays_visible():
    wire = b"".join(encode([subject()])) + bytes.fromhex("0201E567 03000000 010007")
    nodes = [trace_element(ByteSource("x", wire), one) for one in elements_of(wire)]
    assert [one.name for one in nodes] == ["PidTagSubject", "MetaTagIdsetDeleted"]
    assert any(isinstance(leaf.value, Undecoded) for leaf in nodes[1].leaves())
    assert any(node.diagnostics for node in nodes[1].walk())
