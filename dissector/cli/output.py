"""Output to stdout as it comes: lines, and JSON in pieces."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from dissector.errors import DissectorError

MOST_HELD = 1 << 16
"""Characters that are put together before they are written."""
LONG = 1 << 13
"""Characters of a piece that is written by itself: not copied once more."""


class Shape(NamedTuple):
    """What stands around items: before the first, between two, behind each, behind the last; and if there is none."""

    before: str = ""
    between: str = ""
    behind: str = "\n"
    last: str = ""
    none: str = ""


LINES = Shape()
SHAPES = {"text": LINES, "json": Shape("[\n", ",\n", "", "\n]\n", "[\n]\n"), "jsonl": LINES}
"""By -T."""


def emit(lines: Iterable[str]) -> None:
    """Write lines."""
    emit_pieces(((line,) for line in lines), LINES)


def emit_pieces(items: Iterable[Iterable[str]], shape: Shape) -> None:
    """Write items that come in pieces: the first item at once, then more and more at a time."""
    batch: list[str] = []
    size, count, most = 0, 0, 1
    flush_each = sys.stdout.isatty()
    any_yet = False
    for item in items:
        batch.append(shape.between if any_yet else shape.before)
        any_yet = True
        for piece in item:
            length = len(piece)
            size += length
            if length >= LONG or size > MOST_HELD:
                long = length >= LONG
                _write("".join(batch), piece if long else "")
                batch.clear()
                size = MOST_HELD if long else length
                if long:
                    continue
            batch.append(piece)
        batch.append(shape.behind)
        count += 1
        if flush_each or count >= most or size > MOST_HELD // 2:
            _write("".join(batch))
            batch.clear()
            size, count, most = 0, 0, min(2 * most, 256)
    batch.append(shape.last if any_yet else shape.none)
    _write("".join(batch))


def json_array(items: Iterable[str]) -> Iterator[str]:
    """The lines of a JSON array, one element a line, as they come."""
    yield "["
    last = None
    for item in items:
        if last is not None:
            yield last + ","
        last = item
    if last is not None:
        yield last
    yield "]"


@contextmanager
def writing() -> Iterator[None]:
    """Around writing to stdout. Who reads it may have had enough: then the program ends quietly, as a fine one."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise DissectorError(f"cannot write the output: {error.strerror or error}") from error


def _write(text: str, more: str = "") -> None:
    if text or more:
        with writing():
            sys.stdout.write(text)
            if more:
                sys.stdout.write(more)
            sys.stdout.flush()
