"""The commands that tell the story of synchronizations: sync, state, explain, diagnose, diff."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from dissector.cli import (
    Brief,
    Capture,
    Engine,
    EngineOption,
    Prefs,
    ReadFile,
    app,
    coloured,
    complain,
    emit,
    opened,
    pick,
)  # fmt: skip


def _palette() -> Any:
    from dissector.views.text import COLOUR, PLAIN

    return COLOUR if coloured() else PLAIN


def json_object(name: str, items: Iterator[str]) -> Iterator[str]:
    """A JSON object with one array, an element a line, written as it comes."""
    yield f'{{"{name}":['
    last = None
    for item in items:
        if last is not None:
            yield last + ","
        last = item
    if last is not None:
        yield last
    yield "]}"


@app.command(epilog="Example: dissector sync outlook.pcap --session 3")
def sync(
    capture: Capture = None,
    read_file: ReadFile = None,
    form: Annotated[Brief, typer.Option("-T", help="Output format.")] = Brief.TEXT,
    session: Annotated[
        int | None, typer.Option("--session", metavar="N", min=1, help="Only this synchronization, by its number.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="List every message in the text, not only the first.")] = False,
    prefs: Prefs = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """Synchronizations as they went: the client's state, what came down or went up, the new state."""
    from dissector.session.sync import records
    from dissector.views.json import dumps
    from dissector.views.sync import SHOWN_CHANGES, sync_json, sync_lines, with_origins

    dissection, bar = opened(pick(capture, read_file), engine, prefs)
    with dissection:
        told = with_origins(records(dissection.exchanges()))
        chosen = (pair for pair in told if session is None or pair[0].number == session)
        try:
            if form is Brief.JSON:
                emit(json_object("sessions", (dumps(sync_json(*pair)) for pair in chosen)))
            else:
                emit(sync_lines(chosen, _palette(), None if every else SHOWN_CHANGES))
        finally:
            bar.close()
        complain(dissection)
