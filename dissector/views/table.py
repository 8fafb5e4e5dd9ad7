"""Rows as text: the list, the verification report, the table of ROPs. Streams: widths are fixed, not measured."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from dissector.grammar.rops.base import RopDef
from dissector.views.rows import Row
from dissector.views.text import COLOUR, PLAIN

if TYPE_CHECKING:
    from dissector.verify import Finding, Report

HEAD = f"{'exch':>5} {'frame':>6} {'time':>10}  {'ROP or (call)':<43} {'handle':>13} {'result':<10} summary"


def list_lines(rows: Iterable[Row], colour: bool, started: Callable[[], float | None] = lambda: None) -> Iterator[str]:
    """One line per row, in order of completion. On a terminal lines are cut to its width.

    Time counts from the first frame of the capture, as in tshark; started() gives it once rows come.
    """
    palette = COLOUR if colour else PLAIN
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    yield palette.dim + HEAD[:width] + palette.off
    first: float | None = None
    exchange = 0
    for row in rows:
        if first is None:
            first = started()
            first = row.time if first is None else first
        same = row.exchange == exchange
        exchange = row.exchange
        where = " " * 23 if same else f"{row.exchange:5} {row.frame:6} {row.time - first:10.6f}"
        what = row.rop or f"({row.call})"
        line = f"{where}  {what:<43} {_handle(row):>13} {_result(row):<10} {row.summary}"
        line = line[:width].rstrip()
        yield f"{palette.bad}{line}{palette.off}" if row.return_code and colour else line


def _handle(row: Row) -> str:
    """The handles in the order of the request: what it acts on, then what it opens."""
    return "->".join(f"0x{value:x}" if value is not None else "?" for value in (row.handles or {}).values())


def _result(row: Row) -> str:
    if row.return_code is None:
        return ""
    if row.return_code == 0:
        return "ok"
    return row.return_name or f"0x{row.return_code:08X}"


def report_lines(report: Report, colour: bool) -> Iterator[str]:
    """The verification in words, findings first."""
    palette = COLOUR if colour else PLAIN
    groups: dict[str, list[Finding]] = {}
    for one in report.findings:
        groups.setdefault(one.message, []).append(one)
    for message, alike in groups.items():
        first = alike[0]
        more = f" (and {len(alike) - 1} times more)" if len(alike) > 1 else ""
        place = f"exchange {first.exchange} frame {first.frame} {first.pdu}"
        yield f"{palette.bad}{place}: {message}{palette.off}{more}"
    yield f"exchanges        {report.exchanges}"
    yield f"ROPs             {report.rops}"
    broken = report.pdus - report.identical - report.different
    unread = f", {broken} not decoded as a whole" if broken else ""
    yield f"PDUs             {report.pdus}: {report.identical} identical, {report.different} different{unread}"
    raw = f", {report.no_context_bytes} raw for want of context" if report.no_context_bytes else ""
    yield f"bytes            {report.decoded_bytes} decoded, {report.undecoded_bytes} undecoded{raw}"
    if report.streams or report.states:
        left = f", {report.streams_incomplete} incomplete" if report.streams_incomplete else ""
        yield (
            f"streams          {report.streams}: {report.streams_identical} identical, {report.streams_different} "
            f"different{left}; {report.stream_bytes} bytes, {report.stream_elements} elements in "
            f"{report.stream_buffers} buffers"
        )
        states = f"{report.states_identical} identical, {report.states_different} different"
        yield f"states           {report.states}: {states}"
    for name, count in sorted(report.unknown_rops.items()):
        yield f"no layout        {name}: {count}"
    shown = ", ".join(f"{count} {name}" for name, count in report.diagnostics.items())
    yield f"diagnostics      {shown}"


def rops_lines(definitions: Iterable[RopDef]) -> Iterator[str]:
    yield f"{'id':<5} {'name':<44} {'spec':<26} {'read':<9} grammar"
    for one in definitions:
        read, colon, why = reading_of(one).partition(": ")
        where = one.where if read else "(named only: no published layout)"
        yield f"0x{one.rop_id:02X}  {one.name:<44} {one.spec:<26} {read:<9} {where}{f'  ({why})' if colon else ''}"


def reading_of(definition: RopDef) -> str:
    """How a ROP is read in bulk: 'compiled', 'interpreted: FORM: why', 'partly: FORM: why'; '' without a layout."""
    from dissector.grammar.compiler import explain

    forms: dict[int, Any] = {}
    for layout in (definition.request, *definition.responses.values(), definition.short_failure):
        if layout is not None:
            forms.setdefault(id(layout), layout)
    told = {form.layout_name: explain(form) for form in forms.values()}
    odd = [
        f"{name}: {text.removeprefix('compiled, but for ').removeprefix('interpreted: ')}"
        for name, text in told.items()
        if text != "compiled"
    ]
    if not odd:
        return "compiled" if told else ""
    whole = all(text.startswith("interpreted: ") for text in told.values())
    return f"{'interpreted' if whole else 'partly'}: {'; '.join(odd)}"
