"""Properties read at one go are those that are read one by one."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from dissector.grammar import reading
from dissector.grammar.compiler import stream as compiled
from dissector.grammar.icstree import TreeBuilder, trace_stream
from dissector.grammar.runs import Grouped, Run
from dissector.node import Node
from dissector.source import ByteSource
from tests.dissector.grammar.streams import REAL, full_change, real, stream

Trees = Callable[[bytes, str], tuple[Node, Node]]


@pytest.fixture(autouse=True)
def hot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HOT", 0)
    monkeypatch.setattr(compiled, "HOT", 0)


@pytest.fixture
def trees(monkeypatch: pytest.MonkeyPatch) -> Trees:
    """The tree with runs, and the one without."""

    def made(data: bytes, root: str) -> tuple[Node, Node]:
        with_runs = trace_stream(ByteSource("x", data), root)
        with monkeypatch.context() as patched:
            patched.setattr(TreeBuilder, "run", lambda self, at, stop: at)
            return with_runs, trace_stream(ByteSource("x", data), root)

    return made


def everything(tree: Node) -> list[tuple[Any, ...]]:
    return [
        (node.name, node.offset, node.length, repr(node.value), node.label, node.spec, node.diagnostics, node.count)
        for node in tree.walk()
    ]


def runs_in(node: Node) -> list[Run]:
    """Those of a tree that nobody has looked at."""
    found: list[Run] = []
    parts: Any = node.parts if isinstance(node, Grouped) and node.parts is not None else node.children
    for part in parts:
        if isinstance(part, Run):
            found.append(part)
        else:
            found += runs_in(part)
    return found


@pytest.mark.parametrize("name", REAL)
def test_real_streams(name: str, trees: Trees) -> None:
    with_runs, without = trees(real(name), REAL[name])
    runs = runs_in(with_runs)
    assert runs
    assert not runs_in(without)
    assert sum(len(run.names) for run in runs) >= 0.5 * sum(
        node.child("PropertyTag") is not None for node in without.walk()
    )
    assert everything(with_runs) == everything(without)


def test_damaged_streams(trees: Trees) -> None:
    rng = random.Random(11)
    sources = [
        ("contentsSync", stream(full_change(body=b"body"), "IncrSyncStateBegin", "IncrSyncStateEnd", "IncrSyncEnd")),
        *((REAL[name], real(name)[:4000]) for name in REAL),
    ]
    for number in range(300):
        root, data = sources[number % len(sources)]
        damaged = bytearray(data[: rng.randrange(1, len(data))])
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        with_runs, without = trees(bytes(damaged), root)
        assert everything(with_runs) == everything(without)


def test_a_part_is_found_without_making_the_others(trees: Trees) -> None:
    tree, plain = trees(
        stream(full_change(body=b"body"), "IncrSyncStateBegin", "IncrSyncStateEnd", "IncrSyncEnd"), "contentsSync"
    )
    path = ("messageChange", "messageChangeFull", "propList")
    found, wanted = tree.find(*path), plain.find(*path)
    assert isinstance(found, Grouped)
    subject = found.child("PidTagSubject")
    assert subject is not None
    assert found.parts is not None
    assert everything(subject) == everything(wanted.find("PidTagSubject"))
    assert found.child("PidTagBody99") is None
    assert found.label == wanted.label
    assert found.count == wanted.count == len(found.children)
    assert found.parts is None
    assert found.child("PidTagSubject") in found.children
