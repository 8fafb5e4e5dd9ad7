"""How tree and verify share their work out among processes."""

from __future__ import annotations

import codecs
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from dissector.cli.output import LONG, Shape, writing
from dissector.jobs import MOST, Shared, available

if TYPE_CHECKING:
    from dissector.pipeline import Dissection
    from dissector.verify import Report

T = TypeVar("T")

HELD = 1 << 16
"""Characters that are put together."""


def jobs_for(wanted: int | None, dissection: Dissection) -> int:
    """How many processes are to show what one reads. With tshark as the engine it is that one alone."""
    shareable = hasattr(os, "fork") and dissection.capture.summary.engine == "native" and _plain(sys.stdout.encoding)
    if not shareable:
        return 1
    return wanted if wanted is not None else min(available(), MOST)


def _plain(encoding: str) -> bool:
    """Whether text may be encoded piece by piece, and ASCII is itself."""
    return codecs.lookup(encoding).name in ("utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252")


def write_shared(
    units: Iterable[tuple[int, T]], items: Callable[[T], Iterable[Iterable[str]]], jobs: int, shape: Shape
) -> None:
    """Write the items of units, which come with their weights, to stdout. An item comes in pieces of text."""
    encoding, errors = sys.stdout.encoding, sys.stdout.errors or "strict"

    def carry_out(batch: list[T]) -> Iterator[bytes]:
        held: list[str] = []
        size = 0
        between = ""
        for unit in batch:
            for item in items(unit):
                held.append(between)
                between = shape.between
                for piece in item:
                    if len(piece) >= LONG:
                        yield "".join(held).encode(encoding, errors)
                        yield piece.encode(encoding, errors)
                        held, size = [], 0
                        continue
                    held.append(piece)
                    size += len(piece)
                    if size >= HELD:
                        yield "".join(held).encode(encoding, errors)
                        held, size = [], 0
                held.append(shape.behind)
        yield "".join(held).encode(encoding, errors)

    out = sys.stdout.buffer
    at_once = sys.stdout.isatty()
    sys.stdout.flush()
    last: int | None = None
    with closing(Shared(units, carry_out, jobs).results()) as results:
        for number, data in results:
            if not data:
                continue
            with writing():
                if number != last:
                    out.write((shape.before if last is None else shape.between).encode())
                    last = number
                out.write(data)
                if at_once:
                    out.flush()
    with writing():
        out.write((shape.none if last is None else shape.last).encode())
        out.flush()


def verify_shared(dissection: Dissection, jobs: int) -> Report:
    """The report of dissector.verify.verify()."""
    from dissector.verify import Report, Step, steps

    def carry_out(batch: list[Step]) -> Iterator[bytes]:
        part = Report()
        for step in batch:
            step(part)
        yield pickle.dumps(part)

    report, number, data = Report(), 0, b""
    with closing(Shared(steps(dissection.exchanges()), carry_out, jobs).results()) as results:
        for batch, piece in results:
            if batch != number:
                report.add(pickle.loads(data))
                number, data = batch, b""
            data += piece
    report.add(pickle.loads(data))
    return report
