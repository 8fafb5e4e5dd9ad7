"""How tree and verify share their work out among processes."""

from __future__ import annotations

import codecs
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from dissector.jobs import MOST, Shared, Unit, available

if TYPE_CHECKING:
    from dissector.pipeline import Dissection
    from dissector.verify import Report

WORTH_SHARING = 4 << 20
"""Bytes of a capture from which on it is shared out without being asked to."""
_PIECE = 1 << 16


def jobs_for(wanted: int | None, dissection: Dissection) -> int:
    """How many processes to use. With tshark as the engine one: it would run once in each."""
    summary = dissection.capture.summary
    if summary.engine != "native" or available() < 1 or not _plain(sys.stdout.encoding):
        return 1
    if wanted is not None:
        return wanted
    return min(available(), MOST) if summary.size >= WORTH_SHARING else 1


def _plain(encoding: str) -> bool:
    """Whether text may be encoded piece by piece, and ASCII is itself."""
    return codecs.lookup(encoding).name in ("utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252")


def shared(units: Callable[[], Iterable[Unit]], jobs: int, dissection: Dissection, bar: Any) -> Shared:
    """The units of a dissection in several processes, with the progress bar in this one."""

    def ending() -> bytes:
        return pickle.dumps(dissection.capture.summary.diagnostics)

    made = Shared(units, jobs, ending=ending, progress=bar.draw)
    bar.relay = made.report
    return made


def ended(work: Shared, dissection: Dissection) -> None:
    """What a worker's reading ran into, for this process to tell."""
    dissection.capture.summary.diagnostics[:] = pickle.loads(work.ending)


def write_shared(
    units: Callable[[], Iterable[Callable[[], Iterable[str]]]],
    jobs: int,
    dissection: Dissection,
    bar: Any,
    *,
    array: bool,
) -> None:
    """Write the lines of units to stdout. array: as the elements of a JSON array."""
    encoding, errors = sys.stdout.encoding, sys.stdout.errors or "strict"
    end, comma = "\n", ",\n"

    def pieces(unit: Callable[[], Iterable[str]]) -> Iterator[bytes]:
        batch: list[str] = []
        size = 0
        for line in unit():
            if array and batch:
                batch.append(comma)
            batch.append(line if array else line + end)
            size += len(line)
            if size >= _PIECE and not array:
                yield "".join(batch).encode(encoding, errors)
                batch.clear()
                size = 0
        if batch:
            yield "".join(batch).encode(encoding, errors)

    work = shared(lambda: (partial(pieces, unit) for unit in units()), jobs, dissection, bar)
    out = sys.stdout.buffer
    at_once = sys.stdout.isatty()
    out.write(b"[\n" if array else b"")
    last: int | None = None
    with closing(work.results()) as results:
        for number, data in results:
            if array and last is not None and last != number:
                out.write(b",\n")
            out.write(data)
            last = number
            if at_once:
                out.flush()
    if array:
        out.write(b"]\n" if last is None else b"\n]\n")
    out.flush()
    ended(work, dissection)


def verify_shared(jobs: int, dissection: Dissection, bar: Any) -> Report:
    """The report of dissector.verify.verify()."""
    from dissector.verify import Report, steps

    def summed(step: Callable[[Report], None]) -> Iterator[bytes]:
        part = Report()
        step(part)
        yield pickle.dumps(part)

    work = shared(lambda: (partial(summed, step) for step in steps(dissection.exchanges())), jobs, dissection, bar)
    report, number, data = Report(), 0, b""
    with closing(work.results()) as results:
        for unit, piece in results:
            if unit != number:
                report.add(pickle.loads(data))
                number, data = unit, b""
            data += piece
    if data:
        report.add(pickle.loads(data))
    ended(work, dissection)
    return report
