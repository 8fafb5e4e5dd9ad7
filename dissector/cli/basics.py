"""The commands that show what is in a capture, or in bytes from anywhere."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from dissector.cli.application import app
from dissector.cli.options import (
    Brief,
    Capture,
    Engine,
    EngineOption,
    Format,
    Jobs,
    OneJob,
    Prefs,
    ReadFile,
    RowsOption,
    Where,
    coloured,
    complain,
    dissecting,
    opened,
    pick,
    row_test,
)
from dissector.cli.output import SHAPES, emit, emit_pieces, json_array
from dissector.errors import DissectorError


@app.command(name="list", epilog="Example: dissector list outlook.pcap -Y 'RopSaveChangesMessage or error != 0'")
def list_command(
    capture: Capture = None,
    read_file: ReadFile = None,
    where: Where = None,
    form: Annotated[Format, typer.Option("-T", help="Output format.")] = Format.TEXT,
    jobs: OneJob = None,
    prefs: Prefs = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """One row per ROP, request and response paired."""
    from dissector.views.rows import rows_of

    test = row_test(where)
    dissection, bar = opened(pick(capture, read_file), engine, prefs)
    with dissection:
        rows = (row for exchange in dissection.exchanges() for row in rows_of(exchange) if test(row))
        try:
            if form is Format.TEXT:
                from dissector.views.table import list_lines

                emit(list_lines(rows, coloured(), lambda: dissection.capture.summary.first_time))
            else:
                from dissector.views.json import dumps

                lines = (dumps(row.as_json()) for row in rows)
                emit(json_array(lines) if form is Format.JSON else lines)
        finally:
            bar.close()
        complain(dissection, shows_calls=True)


@app.command(epilog="Example: dissector tree outlook.pcap -Y 'exchange == 12' --hex")
def tree(
    capture: Capture = None,
    read_file: ReadFile = None,
    where: Where = None,
    form: Annotated[Format, typer.Option("-T", help="Output format.")] = Format.TEXT,
    hex_pane: Annotated[bool, typer.Option("--hex", help="Also dump the bytes of every source.")] = False,
    joins: Annotated[
        bool,
        typer.Option(
            "--streams/--no-streams",
            help="Show each FastTransfer stream and uploaded state, joined, with the exchange in which it ends.",
        ),
    ] = True,
    http: Annotated[bool, typer.Option("--http/--no-http", help="Show the heads of HTTP messages.")] = True,
    rows: RowsOption = True,
    jobs: Jobs = None,
    prefs: Prefs = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """Annotated trees, one per exchange: every byte with its name, value and meaning."""
    from dissector.cli.jobs import jobs_for, write_shared
    from dissector.session.streams import Joined, Streams
    from dissector.verify import weight
    from dissector.views.json import exchange_pieces
    from dissector.views.rows import rows_of
    from dissector.views.streams import SHOWN_WITH_EXCHANGES, joined_lines, joined_pieces
    from dissector.views.text import COLOUR, PLAIN, exchange_lines

    test = row_test(where)
    streams = Streams(SHOWN_WITH_EXCHANGES) if joins else None
    palette = COLOUR if coloured() else PLAIN

    def units() -> Iterator[tuple[int, tuple[Any, Joined]]]:
        for exchange in dissection.exchanges():
            joined = streams.exchange(exchange) if streams is not None else Joined([], [])
            if where is None or any(map(test, rows_of(exchange))):
                yield weight(exchange, joined), (exchange, joined)
        if streams is not None and where is None and form is Format.TEXT:
            left = Joined(streams.finish(), [])
            yield weight(None, left), (None, left)

    def lines(unit: tuple[Any, Joined]) -> Iterator[str]:
        exchange, joined = unit
        if exchange is not None:
            yield from exchange_lines(exchange, palette, hex_pane, http)
        yield from joined_lines(joined, palette, hex_pane)

    def items(unit: tuple[Any, Joined]) -> Iterable[Iterable[str]]:
        if form is Format.TEXT:
            return ((line,) for line in lines(unit))
        return (exchange_pieces(unit[0], joined_pieces(unit[1], rows=rows), http=http),)

    with dissecting(capture, read_file, engine, prefs) as dissection:
        count = jobs_for(jobs, dissection)
        if count > 1:
            write_shared(units(), items, count, SHAPES[form])
        else:
            emit_pieces((item for _, unit in units() for item in items(unit)), SHAPES[form])


@app.command(epilog="Example: dissector streams outlook.pcap -Y 'root == contentsSync and not complete' --tree")
def streams(
    capture: Capture = None,
    read_file: ReadFile = None,
    where: Annotated[
        str | None,
        typer.Option("-Y", metavar="EXPR", help="Only what matches, e.g. 'stream == 3' or 'messages > 0'."),
    ] = None,
    form: Annotated[Format, typer.Option("-T", help="Output format.")] = Format.TEXT,
    trees: Annotated[bool, typer.Option("--tree", help="Show the annotated tree of each.")] = False,
    hex_pane: Annotated[bool, typer.Option("--hex", help="With --tree, also dump the bytes.")] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--extract", metavar="DIR", help="Write bytes, messages and states to files; none is ever written over."
        ),
    ] = None,
    rows: RowsOption = True,
    prefs: Prefs = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """FastTransfer streams, joined across their ROPs: what they hold, whether they are complete, and why not."""
    from dissector.session.streams import KEEP_ALL, Streams
    from dissector.views.extract import Extractor
    from dissector.views.streams import FIELDS, stream_lines, stream_pieces, stream_row, stream_tree_lines
    from dissector.views.text import COLOUR, PLAIN, none_line

    test = row_test(where, FIELDS)
    seen = shown = 0
    joiner = Streams(KEEP_ALL if trees or folder is not None else 0)
    extractor = Extractor(folder) if folder is not None else None
    palette = COLOUR if coloured() else PLAIN

    def chosen() -> Iterator[Any]:
        nonlocal seen, shown

        def every() -> Iterator[Any]:
            for exchange in dissection.exchanges():
                yield from joiner.exchange(exchange).streams
            yield from joiner.finish()

        for stream in every():
            seen += 1
            if test(stream_row(stream)):
                shown += 1
                if extractor is not None:
                    extractor.stream(stream)
                yield stream

    with dissecting(capture, read_file, engine, prefs) as dissection:
        if form is not Format.TEXT:
            emit_pieces((stream_pieces(stream, tree=trees, rows=rows) for stream in chosen()), SHAPES[form])
        elif trees:
            emit(line for stream in chosen() for line in stream_tree_lines(stream, palette, hex_pane))
            emit([none_line(seen, "stream", "streams")] if not shown else [])
        else:
            emit(stream_lines(map(stream_row, chosen()), palette, lambda: seen))
    if extractor is not None:
        print(f"dissector: {extractor.written} files written to {extractor.folder}", file=sys.stderr)


@app.command(epilog="Example: dissector info outlook.pcap")
def info(
    capture: Capture = None,
    read_file: ReadFile = None,
    form: Annotated[Brief, typer.Option("-T", help="Output format.")] = Brief.TEXT,
    jobs: OneJob = None,
    prefs: Prefs = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """What is inside: frames, streams, transports, sessions, calls, ROPs, and what could not be read and why."""
    from dissector.views.info import gather, info_lines
    from dissector.views.json import dumps_pretty

    dissection, bar = opened(pick(capture, read_file), engine, prefs)
    with dissection:
        try:
            facts = gather(dissection)
        finally:
            bar.close()
        emit([dumps_pretty(facts)] if form is Brief.JSON else info_lines(facts, coloured()))
        complain(dissection)


@app.command(epilog="Example: dissector verify outlook.pcap -T json")
def verify(
    capture: Capture = None,
    read_file: ReadFile = None,
    form: Annotated[Brief, typer.Option("-T", help="Output format.")] = Brief.TEXT,
    jobs: Jobs = None,
    prefs: Prefs = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """Decode every PDU, encode it again and compare. Exit code 1 where a byte differs or stays undecoded."""
    from dissector.cli.jobs import jobs_for, verify_shared
    from dissector.verify import verify as verified
    from dissector.views.json import dumps_pretty
    from dissector.views.table import report_lines

    with dissecting(capture, read_file, engine, prefs) as dissection:
        count = jobs_for(jobs, dissection)
        report = verify_shared(dissection, count) if count > 1 else verified(dissection.exchanges())
    emit([dumps_pretty(report.as_json())] if form is Brief.JSON else report_lines(report, coloured()))
    if not report.ok:
        raise typer.Exit(1)


@app.command(epilog="Examples: dissector decode rop-buffer dump.hex    dissector decode list")
def decode(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="What the bytes are; 'list' names the kinds.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="Raw bytes or a hex dump; - is standard input.")] = "-",
    form: Annotated[Brief, typer.Option("-T", help="Output format.")] = Brief.TEXT,
    hex_pane: Annotated[bool, typer.Option("--hex", help="Also dump the bytes.")] = False,
) -> None:
    """Decode bytes that are in no capture: raw, or a hex dump in any usual form."""
    from dissector.decode import decode_bytes, kinds
    from dissector.node import Severity
    from dissector.views.json import dumps_pretty, node_json
    from dissector.views.text import COLOUR, PLAIN, hex_lines, tree_lines

    if kind == "list":
        emit(f"{name:32} {about}" for name, about in kinds())
        return
    node = decode_bytes(kind, _bytes_of(file, kind))
    if form is Brief.JSON:
        emit([dumps_pretty(node_json(node))])
    else:
        palette = COLOUR if coloured() else PLAIN
        emit(tree_lines(node, palette))
        if hex_pane:
            emit(hex_lines(node, palette))
    bad = any(found.severity is not Severity.NOTE for one in node.walk() for found in one.diagnostics)
    if bad:
        raise typer.Exit(1)


def _bytes_of(file: str, kind: str) -> bytes:
    """The bytes of a file or of standard input; a hex dump is turned into the bytes it shows."""
    from dissector.views.hexdump import from_hexdump

    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise DissectorError(f"{file}: {error.strerror or error}") from error
    if not raw:
        raise DissectorError(f"{file}: there are no bytes to decode")
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        return raw
    dumped = from_hexdump(text)
    if (
        dumped is None
        and not kind.startswith(("mapihttp", "state"))
        and all(one.isprintable() or one.isspace() for one in text)
    ):
        raise DissectorError(
            f"{file}: this is text, but no hex dump of a form that is known (xxd, hexdump -C, bare hex)"
        )
    return raw if dumped is None else dumped


@app.command(epilog="Example: dissector rops | grep Sync")
def rops(form: Annotated[Format, typer.Option("-T", help="Output format.")] = Format.TEXT) -> None:
    """Every ROP: id, name, spec section, whether it is read compiled or interpreted, where its grammar is."""
    from dissector.grammar.rops import ROPS
    from dissector.views.json import dumps
    from dissector.views.table import reading_of, rops_lines

    definitions = [ROPS[rop_id] for rop_id in sorted(ROPS)]
    if form is Format.TEXT:
        emit(rops_lines(definitions))
        return
    lines = (
        dumps({"rop_id": one.rop_id, "name": one.name, "spec": one.spec, "where": one.where,
               "layout": one.request is not None or bool(one.responses), "reading": reading_of(one)})
        for one in definitions
    )  # fmt: skip
    emit(json_array(lines) if form is Format.JSON else lines)
