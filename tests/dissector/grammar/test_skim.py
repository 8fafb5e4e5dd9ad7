"""Passing over properties: the same story as reading them one by one."""

from __future__ import annotations

import random

import pytest

from dissector.grammar import syncstory
from dissector.grammar.elements import ElementReader, Named, elements_of, make
from dissector.grammar.skim import EVERY, NOTHING, Passed, Steps, skim, skim_body, skim_parts
from dissector.grammar.syncstory import Item, StoryReader
from tests.dissector.grammar.streams import (
    HEADER,
    REAL,
    SET,
    STATE,
    contents,
    full_change,
    marker,
    partial_change,
    real,
    stream,
    subject,
)


def story(root: str, wire: bytes) -> tuple[list[Item], int]:
    reader = StoryReader(root)
    reader.feed(wire)
    return [*reader.items(), *reader.finish()], reader.elements


def one_by_one(root: str, wire: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Item], int]:
    with monkeypatch.context() as patched:
        patched.setattr(StoryReader, "_coming", lambda self: "")
        return story(root, wire)


@pytest.mark.parametrize("name", REAL)
def test_real_streams(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = real(name)
    found = story(REAL[name], wire)
    assert found == one_by_one(REAL[name], wire, monkeypatch)
    assert found[1] == sum(1 for _ in elements_of(wire))


MADE = {
    "several": stream(full_change("one"), full_change("two", b"x" * 70_000), partial_change(), STATE, "IncrSyncEnd"),
    "a whole synchronization": contents(3),
    "properties behind attachments": stream(
        "IncrSyncChg", HEADER, "IncrSyncMessage", subject(), "NewAttach", make(0x0E210003, 0), "EndAttach",
        subject("b"), STATE, "IncrSyncEnd",
    ),
    "recipients behind attachments": stream(
        "IncrSyncChg", HEADER, "IncrSyncMessage", "NewAttach", make(0x0E210003, 0), "EndAttach", "StartRecip",
        make(0x30000003, 0), "EndToRecip", STATE, "IncrSyncEnd",
    ),
    "an attachment without properties": stream(
        "IncrSyncChg", HEADER, "IncrSyncMessage", subject(), "NewAttach", "EndAttach", STATE, "IncrSyncEnd"
    ),
    "no message marker": stream("IncrSyncChg", HEADER, subject(), STATE, "IncrSyncEnd"),
    "a message marker alone": stream("IncrSyncChg", "IncrSyncMessage", "IncrSyncMessage", STATE, "IncrSyncEnd"),
    "a name in the header": stream(
        "IncrSyncChg", HEADER, make(0x8005001F, "filed", Named(SET, 0x8005)), "IncrSyncMessage", STATE, "IncrSyncEnd"
    ),
    "the end inside a message": stream("IncrSyncChg", HEADER, "IncrSyncMessage", subject())[:-3],
    "two subjects": stream("IncrSyncChg", HEADER, "IncrSyncMessage", subject("a"), subject("b"), STATE, "IncrSyncEnd"),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_made_streams(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert story("contentsSync", MADE[name]) == one_by_one("contentsSync", MADE[name], monkeypatch)


def test_damaged_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any bytes: what is passed over is what would have been read."""
    rng = random.Random(6)
    for wire in (*MADE.values(), real("contents-incremental/incremental"), real("copyto/copymessages")):
        for _ in range(25):
            made = bytearray(wire)
            for _ in range(rng.randrange(1, 6)):
                made[rng.randrange(len(made))] = rng.randrange(256)
            if rng.randrange(3) == 0:
                del made[rng.randrange(len(made)) :]
            for root in ("contentsSync", "messageList"):
                assert story(root, bytes(made)) == one_by_one(root, bytes(made), monkeypatch)


def reader_of(wire: bytes) -> ElementReader:
    reader = ElementReader()
    reader.feed(wire)
    return reader


def test_a_run_of_properties() -> None:
    wire = stream(
        subject("Hi"), make(0x00170003, 1), make(0x8005001F, "filed", Named(SET, 0x8005)),
        make(0x8006000B, True, Named(SET, "Färbung")), make(0x00170003, 2),
    )  # fmt: skip
    told: list[tuple[int, bytes]] = []
    reader = reader_of(wire)
    assert skim(reader, Steps((0x0037,)), told) == 3, "a name that is text needs a closer look"
    assert [(tag, raw[4:]) for tag, raw in told] == [(0x0037001F, "Hi\0".encode("utf-16-le"))]
    assert [element.name for element in reader.elements()][1:] == ["PidTagImportance"]
    told.clear()
    assert skim(reader_of(wire), Steps(), told, EVERY) == 2, "and here every name does"
    assert [tag for tag, _ in told] == [0x0037001F, 0x00170003]


def test_whole_parts_only() -> None:
    part = stream("StartRecip", make(0x30000003, 0), make(0x3001001F, "Alice"), "EndToRecip")
    begin, end = marker("StartRecip").tag, marker("EndToRecip").tag
    for cut in range(len(part)):
        reader = reader_of(part + part[:cut])
        assert skim_parts(reader, begin, end, Steps(), 0) == (1, 4)
        assert reader.offset == len(part)
    assert skim_parts(reader_of(part * 3), begin, end, Steps(), 0) == (3, 12)
    assert skim_parts(reader_of(part), begin, end, Steps(), 3) == (0, 0)


def test_a_body_up_to_what_comes_next() -> None:
    body = stream(
        subject(), "StartRecip", make(0x30000003, 0), "EndToRecip", make(0x40160003, 0x0E13000D), "NewAttach",
        make(0x0E210003, 0), "EndAttach",
    )  # fmt: skip

    def passed(wire: bytes) -> Passed:
        return skim_body(reader_of(wire), Steps(), Steps(), [])

    assert passed(b"") == NOTHING
    assert passed(body) == Passed(1, 0, 0, 1), "what follows is not known"
    assert passed(body + stream("IncrSyncChg")) == Passed(1, 1, 1, 8)
    assert passed(body + stream("StartEmbed")) == Passed(1, 0, 0, 1)


def test_names_of_headers_are_learned_only_where_they_are_fixed() -> None:
    assert all(tag < 0x80000000 for tag in syncstory._NAMES)
