"""The account of a stream that its tree was made of is the one that is made by reading it."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from dissector.grammar.elements import make
from dissector.grammar.icstree import Gap
from dissector.session.account import Account
from dissector.session.kept import Kept
from dissector.session.stream import Stream
from dissector.views.jsonmessages import TABLES
from dissector.views.streams import stream_pieces
from tests.dissector.grammar.streams import (
    REAL,
    STATE,
    elements,
    full_change,
    partial_change,
    real,
    simple_change,
    stream,
)
from tests.dissector.views.test_json_text import located

PROGRESS = elements("IncrSyncProgressPerMsg", make(0x00000003, 70), make(0x0000000B, False))
MESSAGES = stream(
    simple_change(body=b"one"), simple_change(), PROGRESS, simple_change("three"), partial_change(), simple_change(),
    full_change(), simple_change(), STATE, "IncrSyncEnd",
)  # fmt: skip


def kept(data: bytes, root: str, gaps: list[Gap]) -> Stream:
    made = Stream(1, 1, 1, "download", root, "RopSynchronizationConfigure", 1, 1, gaps=gaps, size=len(data))
    made.counting, made.kept, made.deferred, made.over = Account(root), Kept(), True, True
    source = located(data)
    made.kept.add(source, 0, len(data))
    return made


def told(stream: Stream) -> tuple[object, ...]:
    account = stream.account
    return (
        account.elements, account.changes, account.cut, account.sets, account.errors, account.faults,
        account.fault_count, account.skipped, account.stopped, account.root,
    )  # fmt: skip


def same(data: bytes, root: str, *gaps: Gap) -> None:
    by_reading = told(kept(data, root, list(gaps)))
    shown = kept(data, root, list(gaps))
    for _ in stream_pieces(shown, tree=True):
        pass
    assert not shown.deferred
    assert told(shown) == by_reading


def batches(data: bytes) -> int:
    shown = kept(data, "contentsSync", [])
    parts = shown.shown_parts(shown.source(), TABLES)
    return sum(part.amount for part in parts if not hasattr(part, "children"))


@pytest.mark.parametrize("name", REAL)
def test_real_streams(name: str) -> None:
    same(real(name), REAL[name])


def damaged() -> Iterator[bytes]:
    rng = random.Random(5)
    for _ in range(300):
        data = bytearray(MESSAGES[: rng.randrange(1, len(MESSAGES) + 1)])
        for _ in range(rng.randrange(3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        yield bytes(data)


def test_damaged_streams() -> None:
    read_at_once = 0
    for data in damaged():
        same(data, "contentsSync")
        read_at_once += batches(data)
    assert read_at_once > 300


def test_missing_bytes() -> None:
    rng = random.Random(6)
    for _ in range(150):
        first, second = sorted((rng.randrange(len(MESSAGES)), rng.randrange(len(MESSAGES))))
        same(MESSAGES[:first] + MESSAGES[second:], "contentsSync", Gap(first, "lost"))
    same(MESSAGES, "contentsSync", Gap(0, "the beginning is not here"))


@pytest.mark.parametrize("root", ["contentsSync", "hierarchySync", "messageList", "state"])
def test_streams_that_are_something_else(root: str) -> None:
    same(MESSAGES, root)
