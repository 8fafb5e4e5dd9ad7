"""FastTransfer decoding alone: one stage on one stream, to be measured as a process of its own.

python -m bench.fasttransfer elements|story|tree FILE

elements: where elements begin and end, values unread. story: message by message, with what a story tells. Both are fed
with buffers of 31 KB. tree: every byte with its name and meaning, one message in memory at a time.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.generate import BLOCK, stream
from dissector.grammar.elements import ElementReader
from dissector.grammar.icstree import trace_parts
from dissector.grammar.syncstory import StoryReader
from dissector.source import ByteSource

STAGES = ("elements", "story", "tree")


def generate_stream(path: Path, kind: str, size: int, seed: int = 1) -> None:
    """Write a contentsSync of about `size` bytes. kind: "mixed" (with bodies) or "dense" (small properties only)."""
    with path.open("wb") as file:
        file.writelines(stream(random.Random(seed), kind, size))


def buffers(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(BLOCK):
            yield data


def elements(path: Path) -> int:
    """The number of elements."""
    reader, count = ElementReader(keep=0), 0
    for data in buffers(path):
        reader.feed(data)
        count += sum(1 for _ in reader.elements())
    assert reader.finish() is None
    return count


def story(path: Path) -> int:
    """The number of elements."""
    reader = StoryReader("contentsSync")
    for data in buffers(path):
        reader.feed(data)
        for _ in reader.items():
            pass
    for _ in reader.finish():
        pass
    return reader.elements


def tree(path: Path) -> int:
    """The number of nodes."""
    source = ByteSource(path.name, path.read_bytes())
    return sum(1 for part in trace_parts(source, "contentsSync") for _ in part.walk())


if __name__ == "__main__":
    stage, name = sys.argv[1:]
    print({"elements": elements, "story": story, "tree": tree}[stage](Path(name)))
