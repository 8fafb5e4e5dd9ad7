"""Passing over bodies by what follows them: the same messages as reading them one by one."""

from __future__ import annotations

import dataclasses
import random
import struct
from collections.abc import Iterable, Iterator
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dissector.grammar import outline
from dissector.grammar.elements import make
from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.outline import LONGEST, Messages, following, head
from dissector.grammar.syncstory import Change, Fault, Item, StoryReader, changes_of
from dissector.node import Diagnostic
from tests.dissector.grammar.streams import (
    GID,
    HEADER,
    REAL,
    STATE,
    contents,
    elements,
    full_change,
    marker,
    partial_change,
    real,
    stream,
    subject,
)
from tests.dissector.grammar.test_skim import MADE

PROGRESS = elements("IncrSyncProgressPerMsg", make(0x00000003, 4711), make(0x0000000B, False))
ERROR_INFO = stream("FXErrorInfo") + bytes.fromhex("02010000") + (88).to_bytes(4, "little") + bytes(88)


NOT_SEEN = {
    "two subjects", "a message marker alone", "properties behind attachments", "recipients behind attachments",
    "an attachment without properties", "the end inside a message",
}  # fmt: skip
"""What is wrong in these is within a body."""


def story(root: str, wire: bytes, size: int = 0, outline_from: int | None = None) -> list[Item]:
    """Items; size: of the chunks. outline_from: from which chunk on the outline is read."""
    reader, items = StoryReader(root), []
    for number, at in enumerate(range(0, len(wire), size or len(wire))):
        reader.outline = outline_from is not None and number >= outline_from
        end = min(len(wire), at + (size or len(wire)))
        reader.feed(wire[at + reader.passes(wire, at, end) : end])
        items += one_by_one(reader.items())
    return [*items, *one_by_one(reader.finish())]


def one_by_one(items: Iterable[Item]) -> Iterator[Item]:
    """What came as columns, message by message."""
    for item in items:
        if isinstance(item, Messages):
            yield from changes_of(item)
        else:
            yield item


def bare(items: list[Item]) -> list[Item]:
    """Without what an outline does not tell."""
    return [
        Fault(item.offset, Diagnostic(item.diagnostic.severity, item.diagnostic.message.partition(";")[0]))
        if isinstance(item, Fault) else
        dataclasses.replace(
            item, properties=0, recipients=0, attachments=0, embedded=0, message_class=None, warnings=[]
        ) if isinstance(item, Change) and item.kind == "full" else item
        for item in items
    ]  # fmt: skip


WIRES = {
    **{name: MADE[name] for name in MADE if name not in NOT_SEEN},
    "progress": stream(PROGRESS, full_change("one"), PROGRESS, full_change("two"), STATE, "IncrSyncEnd"),
    "an error between": (
        stream(full_change("one")) + ERROR_INFO + stream(full_change("two"), STATE, "IncrSyncEnd")
    ),
    "a partial change between": stream(full_change("a"), partial_change(), full_change("b"), STATE, "IncrSyncEnd"),
    "no state": stream(full_change("one"), full_change("two"), "IncrSyncEnd"),
    "many": contents(200),
}  # fmt: skip


@pytest.mark.parametrize("size", [0, 400, 31_000])
@pytest.mark.parametrize("name", WIRES)
def test_made_streams(name: str, size: int) -> None:
    wire = WIRES[name]
    wanted = bare(story("contentsSync", wire))
    for start in (0, 1, 5):
        assert bare(story("contentsSync", wire, size, start)) == wanted


@pytest.mark.parametrize("name", [name for name, root in REAL.items() if root == "contentsSync"])
def test_real_streams(name: str) -> None:
    wire = real(name)
    for size in (0, 1000, 31 * 1024):
        for start in (0, 3):
            assert bare(story("contentsSync", wire, size, start)) == bare(story("contentsSync", wire))


def test_chunks_cut_anywhere() -> None:
    rng, wire = random.Random(3), WIRES["progress"]
    wanted = bare(story("contentsSync", wire))
    for _ in range(200):
        size = rng.randrange(1, 60)
        assert bare(story("contentsSync", wire, size, rng.randrange(4))) == wanted


def test_what_is_passed_over_is_counted() -> None:
    reader = StoryReader("contentsSync")
    reader.outline = True
    wire = stream(full_change("one", b"x" * 5000), full_change("two"), STATE, "IncrSyncEnd")
    reader.feed(wire)
    changes = [item for item in reader.items() if isinstance(item, Change)]
    heads = 2 * len(stream("IncrSyncChg", HEADER, "IncrSyncMessage"))
    assert reader.passed == sum(one.end - one.offset for one in changes) - heads


def test_other_roots_are_read_as_ever() -> None:
    for name, root in REAL.items():
        if root != "contentsSync":
            assert story(root, real(name), 0, 0) == story(root, real(name))


def test_no_chance_of_a_loop_on_any_bytes() -> None:
    rng = random.Random(5)
    for wire in (WIRES["progress"], WIRES["a partial change between"], WIRES["an error between"]):
        for _ in range(100):
            bad = bytearray(wire)
            for _ in range(3):
                bad[rng.randrange(len(bad))] = rng.randrange(256)
            story("contentsSync", bytes(bad[: rng.randrange(len(bad))]), rng.choice((0, 50)), 0)


def test_every_sign_is_found_when_it_is_cut() -> None:
    for parts in (
        PROGRESS, [marker("IncrSyncChg"), *HEADER], partial_change()[2:], STATE,
    ):  # fmt: skip
        wire = stream(subject("x" * 50), parts)
        place = len(stream(subject("x" * 50)))
        assert following(wire, 0) == (True, place)
        for cut in range(place, len(wire)):
            found, at = following(wire[:cut], 0)
            assert at <= place
            assert found or cut - at < LONGEST


@pytest.mark.parametrize("name", sorted(NOT_SEEN))
def test_what_is_wrong_within_a_body_is_not_seen(name: str) -> None:
    changes = [one for one in story("contentsSync", MADE[name], 0, 0) if isinstance(one, Change)]
    assert [one.header for one in changes] == [
        one.header for one in story("contentsSync", MADE[name]) if isinstance(one, Change)
    ]


def test_a_header_that_is_not_whole_is_left_to_others() -> None:
    wire = stream("IncrSyncChg", HEADER, "IncrSyncMessage")
    found = head(wire, 0)
    assert found is not None
    assert found[:2] == (0, len(wire))
    assert [tag for tag, _ in found[2]] == [element.tag for element in HEADER]
    assert all(head(wire[:cut], 0) is None for cut in range(len(wire)))
    assert head(stream("IncrSyncChg", HEADER, "NewAttach"), 0) is None
    assert MARKER["IncrSyncMessage"] not in [tag for tag, _ in found[2]]


SPACE = GID[:16]
CHANGE, MESSAGE = stream("IncrSyncChg"), stream("IncrSyncMessage")


def counted(tag: int, data: bytes) -> bytes:
    return struct.pack("<II", tag, len(data)) + data


@st.composite
def wires(draw: st.DrawFn) -> bytes:
    """Messages of few shapes in long rows, with something else between them now and then."""
    made, number = b"", 0
    for _ in range(draw(st.integers(1, 4))):
        progress, ids, fai, shape = (draw(st.booleans()) for _ in range(4))
        key = draw(st.sampled_from((b"", b"", b"longer")))
        for _ in range(draw(st.integers(1, 12))):
            number += 1
            own, change = SPACE + number.to_bytes(6, "big"), SPACE + (number + 1000).to_bytes(6, "big")
            others = b"" if not key else b"\x16" + bytes(16) + number.to_bytes(6, "big")
            made += struct.pack("<IIIIH", 0x4075000B, 3, number, 11, fai) if progress else b""
            made += CHANGE + counted(0x65E00102, own) + struct.pack("<IQ", 0x30080040, number)
            made += counted(0x65E20102, change) + counted(0x65E30102, others + b"\x16" + change)
            made += struct.pack("<IH", 0x67AA000B, fai if shape else draw(st.integers(0, 1)))
            if ids:
                made += struct.pack("<IH", 0x674A0014, 1) + number.to_bytes(6, "big")
                made += struct.pack("<II", 0x0E080003, 5 * number)
                made += struct.pack("<IH", 0x67A40014, 1) + (number + 1000).to_bytes(6, "big")
            made += MESSAGE + stream(make(0x0E070003, number)) * draw(st.integers(0, 3))
            named = draw(st.sampled_from((None, "", "Hello", "\u263a" * 40)))
            made += b"" if named is None else stream(subject(named))
            made += counted(0x10130102, bytes(draw(st.sampled_from((0, 10, 600, 5000)))))
        made += draw(st.sampled_from((b"", b"", b"", stream(partial_change()), ERROR_INFO)))
    return made + stream(STATE, "IncrSyncEnd")


@given(wires(), st.sampled_from((0, 90, 1000, 31_000)), st.integers(1, 5))
@settings(deadline=None)
def test_messages_that_are_alike_are_what_they_are_one_by_one(wire: bytes, size: int, alike: int) -> None:
    with mock.patch.object(outline, "ALIKE", alike):
        assert bare(story("contentsSync", wire, size, 0)) == bare(story("contentsSync", wire))


def test_messages_that_are_alike_come_at_one_go() -> None:
    reader = StoryReader("contentsSync")
    reader.outline = True
    wire = contents(50)
    reader.feed(wire)
    items = [*reader.items(), *reader.finish()]
    (alike,) = [item for item in items if isinstance(item, Messages)]
    changes = [item for item in items if isinstance(item, Change) and item.kind == "full"]
    assert (alike.count, len(changes)) == (48, 2), "all but the first and the last"
    assert len(alike.keys) == len(alike.change_keys) == 22 * alike.count


def test_bytes_are_missing_behind_messages_that_are_alike() -> None:
    """The one that was left until more came is handed out cut short, with what was there of it."""
    wire = contents(50)
    for cut in (len(wire) // 2, len(wire) // 2 + 40, len(wire) // 2 + 200):
        found = []
        for alike in (4, 1000):
            reader, items = StoryReader("contentsSync"), []
            reader.outline = True
            with mock.patch.object(outline, "ALIKE", alike):
                reader.feed(wire[:cut])
                items += one_by_one(reader.items())
                rest = wire.index(stream("IncrSyncChg", HEADER), cut + 1000)
                items += one_by_one(reader.resume(rest))
                reader.feed(wire[rest:])
                items += one_by_one(reader.items())
                items += one_by_one(reader.finish())
            found.append(items)
        assert found[0] == found[1]
