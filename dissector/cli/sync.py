"""The commands that tell stories: sessions, sync, state, explain, diagnose, diff."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from dissector.cli.application import app
from dissector.cli.options import (
    Brief,
    Capture,
    Engine,
    EngineOption,
    Prefs,
    ReadFile,
    coloured,
    complain,
    dissecting,
    opened,
    pick,
    row_test,
)  # fmt: skip
from dissector.cli.output import emit


def _palette() -> Any:
    from dissector.views.text import COLOUR, PLAIN

    return COLOUR if coloured() else PLAIN


def json_object(name: str, items: Iterator[str], more: Callable[[], str] = lambda: "") -> Iterator[str]:
    """A JSON object with one array, an element a line, written as it comes. more: further members, asked at the end."""
    yield f'{{"{name}":['
    last = None
    for item in items:
        if last is not None:
            yield last + ","
        last = item
    if last is not None:
        yield last
    yield f"]{more()}}}"


@app.command(epilog="Example: dissector sessions outlook.pcap --handles")
def sessions(
    capture: Capture = None,
    read_file: ReadFile = None,
    form: Annotated[Brief, typer.Option("-T", help="Output format.")] = Brief.TEXT,
    handles: Annotated[
        bool, typer.Option("--handles", help="Also every object handle, from birth to release.")
    ] = False,
    prefs: Prefs = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """Sessions: connections, logons, objects that were opened and never released, how each began and ended."""
    from dissector.diagnose.sessions import session_stories
    from dissector.views.json import dumps
    from dissector.views.sessions import session_json, session_lines

    with dissecting(capture, read_file, engine, prefs) as dissection:
        stories = session_stories(dissection.exchanges())
    if form is Brief.JSON:
        emit(json_object("sessions", (dumps(session_json(one, handles)) for one in stories)))
    else:
        emit(session_lines(stories, handles, _palette()))


@app.command(
    epilog="Examples: dissector sync outlook.pcap --session 3    "
    "dissector sync outlook.pcap -Y 'folder == Inbox and new > 0'    ... -Y 'session == 2 and not complete'"
)
def sync(
    capture: Capture = None,
    read_file: ReadFile = None,
    where: Annotated[
        str | None,
        typer.Option(
            "-Y", metavar="EXPR", help="Only synchronizations that match, e.g. 'direction == upload and refused > 0'."
        ),
    ] = None,
    form: Annotated[Brief, typer.Option("-T", help="Output format.")] = Brief.TEXT,
    session: Annotated[
        int | None,
        typer.Option(
            "--session",
            metavar="N",
            min=1,
            help="Only this synchronization: the number behind # in the text, id in JSON. It is not the number of a "
            "MAPI session; for that use -Y 'session == N'.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="List every message in the text, not only the first.")] = False,
    prefs: Prefs = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """Synchronizations as they went: the client's state, what came down or went up, the new state."""
    from dissector.errors import DissectorError
    from dissector.session.sync import records
    from dissector.views.json import dumps
    from dissector.views.sync import FIELDS, SHOWN_CHANGES, sync_json, sync_lines, with_origins

    test = row_test(where, FIELDS)
    dissection, bar = opened(pick(capture, read_file), engine, prefs)
    count = shown = 0

    def picked() -> Iterator[Any]:
        nonlocal count, shown
        for pair in with_origins(records(dissection.exchanges())):
            count += 1
            if (session is None or pair[0].number == session) and test(pair):
                shown += 1
                yield pair
        if count and not shown and session is not None:
            raise DissectorError(f"no synchronization has the number {session}; there are #1 to #{count}")

    with dissection:
        chosen = picked()
        try:
            if form is Brief.JSON:
                emit(json_object("sessions", (dumps(sync_json(*pair)) for pair in chosen)))
            else:
                emit(sync_lines(chosen, _palette(), None if every else SHOWN_CHANGES, lambda: count))
        finally:
            bar.close()
        complain(dissection, shows_calls=True)


@app.command(epilog="Example: dissector diagnose outlook.pcap --no-notes    dissector diagnose --list")
def diagnose(
    capture: Capture = None,
    read_file: ReadFile = None,
    form: Annotated[Brief, typer.Option("-T", help="Output format.")] = Brief.TEXT,
    notes: Annotated[bool, typer.Option("--notes/--no-notes", help="Also show peculiarities that do no harm.")] = True,
    rules: Annotated[
        list[str] | None, typer.Option("--rule", metavar="NAME", help="Only this rule (repeatable).")
    ] = None,
    thorough: Annotated[
        bool,
        typer.Option(
            "--thorough",
            help="Read every element of every message. Without it, messages of big captures are passed over where no "
            "rule but those about the grammar needs them.",
        ),
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="Name the rules, and what each finds.")] = False,
    prefs: Prefs = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """What went wrong: findings with severity, frame, evidence and what to do next. Exit code 1 where there is one."""
    from dissector.diagnose import Diagnosis, as_json
    from dissector.views.findings import finding_lines, rule_lines
    from dissector.views.json import dumps

    if listed:
        emit(rule_lines())
        return
    diagnosis = Diagnosis(rules, thorough=thorough)
    dissection, bar = opened(pick(capture, read_file), engine, prefs)
    bad = False

    def told() -> Iterator[Any]:
        nonlocal bad
        for finding in diagnosis.run(dissection):
            bad = bad or not finding.is_note
            yield finding

    with dissection:
        try:
            if form is Brief.JSON:
                shown = (one for one in told() if notes or not one.is_note)
                lines = (dumps(as_json(one)) for one in shown)
                emit(json_object("findings", lines, lambda: f',"passed_over":{diagnosis.passed}'))
            else:
                emit(finding_lines(told(), _palette(), notes, lambda: diagnosis.passed))
        finally:
            bar.close()
        complain(dissection)
    if bad:
        raise typer.Exit(1)


@app.command(epilog="Examples: dissector state outlook.pcap --folder Inbox    ... --folder Inbox --between 1+ 3-")
def state(
    capture: Capture = None,
    read_file: ReadFile = None,
    folder: Annotated[
        str | None, typer.Option("--folder", metavar="F", help="By name, id (0001-00000000000d) or counter (0xd).")
    ] = None,
    between: Annotated[
        tuple[str, str] | None,
        typer.Option("--between", metavar="A B", help="The difference of two states: 3- is before #3, 3+ after it."),
    ] = None,
    form: Annotated[Brief, typer.Option("-T", help="Output format.")] = Brief.TEXT,
    prefs: Prefs = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """The state of a folder over time: the four sets before and after every synchronization, and what came again."""
    from dissector.errors import DissectorError
    from dissector.session.sync import records
    from dissector.session.timeline import fits, timelines
    from dissector.views.json import dumps_pretty
    from dissector.views.state import between_json, between_lines, state_lines, timeline_json

    with dissecting(capture, read_file, engine, prefs) as dissection:
        every = timelines(records(dissection.exchanges()))
    lines = [line for line in every if folder is None or fits(line, folder)]
    if folder is not None and not lines:
        known = ", ".join(dict.fromkeys(line.folder_name or line.folder for line in every))
        there = f"no synchronization of a folder {folder!r}; there are some of {known}"
        raise DissectorError(there if known else "no synchronization in this capture")
    if between is not None:
        wanted = [line for line in lines if all(line.point(name) is not None for name in between)]
        if not wanted:
            raise DissectorError(_not_comparable(every, lines, between))
        if form is Brief.JSON:
            emit([dumps_pretty({"differences": [between_json(line, *between) for line in wanted]})])
        else:
            emit(text for line in wanted for text in between_lines(line, *between, _palette()))
        return
    if form is Brief.JSON:
        emit([dumps_pretty({"folders": [timeline_json(line) for line in lines]})])
    else:
        emit(state_lines(lines, _palette()))


def _not_comparable(every: list[Any], lines: list[Any], between: tuple[str, str]) -> str:
    """Why two states cannot be compared: one is not there, or they are of different folders."""
    of = {name: [line for line in every if line.point(name) is not None] for name in between}
    for name, found in of.items():
        if not found:
            known = ", ".join(point.name for line in lines for point in line.points)
            return f"no state is called {name!r}; there are {known or 'none'}"
    texts = [f"{name} is of {of[name][0].folder_name or of[name][0].folder}" for name in between]
    return f"{' and '.join(texts)}: states of different folders, kinds or clients cannot be compared"


@app.command(
    epilog="Examples: dissector explain '[80040803-30141506-0-533]' -r outlook.pcap    "
    "dissector explain sync-issues.txt    dissector explain -r outlook.pcap --message 'Budget 2027'"
)
def explain(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[VECTOR|FILE|-|CAPTURE]",
            help="An error vector, a code (8004010F, ecNotFound), or a Sync Issues text in a file or on standard input "
            "(-); with --message a capture.",
        ),
    ] = None,
    read_file: ReadFile = None,
    message: Annotated[
        str | None,
        typer.Option("--message", metavar="M", help="Why it was (not) sent: id, source key or part of the subject."),
    ] = None,
    form: Annotated[Brief, typer.Option("-T", help="Output format.")] = Brief.TEXT,
    prefs: Prefs = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """An error vector of Outlook's Sync Issues in words, or why a message was sent, skipped or in conflict."""
    if message is not None:
        _explain_message(pick(what, read_file), message, form, prefs, engine)
        return
    from dissector.diagnose.vectors import vectors_in
    from dissector.errors import DissectorError
    from dissector.views.explain import returned_lines, vector_json, vector_lines
    from dissector.views.json import dumps_pretty
    from dissector.views.rows import rows_of

    if what is None:
        raise typer.BadParameter("give an error vector or a text with some, or --message", param_hint="VECTOR")
    vectors = list(vectors_in(_text_of(what)))
    if not vectors:
        raise DissectorError(f"there is no error vector like [80040803-30141506-0-533] in {what!r}")
    rows: list[Any] = []
    codes = list(dict.fromkeys(code for vector in vectors for code in vector.codes))
    if read_file is not None:
        dissection, bar = opened(read_file, engine, prefs)
        with dissection:
            try:
                rows = [
                    row for exchange in dissection.exchanges() for row in rows_of(exchange) if row.return_code in codes
                ]
            finally:
                bar.close()
            complain(dissection)
    if form is Brief.JSON:
        made: dict[str, Any] = {"vectors": [vector_json(vector) for vector in vectors]}
        if read_file is not None:
            made["returned"] = [row.as_json() for row in rows]
        emit([dumps_pretty(made)])
        return
    emit(vector_lines(vectors, _palette()))
    if read_file is not None:
        emit(["", "in the capture"])
        emit(returned_lines(codes, rows, _palette()))


def _text_of(what: str) -> str:
    """A text that was typed in, or that of a file or of standard input."""
    import re
    import sys
    from pathlib import Path

    from dissector.diagnose.vectors import vectors_in
    from dissector.errors import DissectorError
    from dissector.grammar.names import error_code

    if what == "-":
        return _decoded(sys.stdin.buffer.read(), "standard input")
    path = Path(what)
    try:
        there = "\n" not in what and path.exists()
    except (OSError, ValueError):  # a text that is too long for a name
        there = False
    if there:
        try:
            return _decoded(path.read_bytes(), what)
        except OSError as error:
            raise DissectorError(f"{what}: {error.strerror or error}") from error
    if re.fullmatch(r"[0-9A-Fa-f]{1,8}(-[0-9A-Fa-f]{1,8})+", what):
        return f"[{what}]"
    code = error_code(what)
    if code is not None:
        return f"0x{code:08X}"
    if "\n" not in what and re.search(r"[\\/]|\.\w{1,5}$", what) and not any(vectors_in(what)):
        raise DissectorError(f"{what}: no such file")
    return what


def _decoded(raw: bytes, name: str) -> str:
    """A text that may begin with a byte order mark: Outlook and Notepad save UTF-16."""
    import codecs

    from dissector.capture.pcap import format_of
    from dissector.errors import DissectorError

    if format_of(raw) or raw.startswith((b"\x0a\x0d\x0d\x0a", b"\x1f\x8b")):
        raise DissectorError(f"{name}: this is a capture: add --message M (id, source key or part of the subject)")
    utf_16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = raw.decode("utf-16" if utf_16 else "utf-8-sig", errors="replace")
    if not text.strip():
        raise DissectorError(f"{name} is empty")
    return text


def _explain_message(capture: str, message: str, form: Brief, prefs: Any, engine: Engine) -> None:
    from dissector.diagnose.life import lives
    from dissector.session.sync import records
    from dissector.views.explain import life_json, life_lines
    from dissector.views.json import dumps_pretty

    dissection, bar = opened(capture, engine, prefs)
    with dissection:
        try:
            found = lives(list(records(dissection.exchanges())), message)
        finally:
            bar.close()
        complain(dissection)
    if form is Brief.JSON:
        emit([dumps_pretty({"objects": [life_json(life) for life in found]})])
    else:
        emit(life_lines(found, _palette()))
    if not found:
        raise typer.Exit(1)


@app.command(epilog="Example: dissector diff ours.pcap reference.pcap")
def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A capture.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another capture of the same act.")],
    form: Annotated[Brief, typer.Option("-T", help="Output format.")] = Brief.TEXT,
    prefs: Prefs = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """Two captures of the same act ("our server" and "the reference server"). Exit code 1 where they differ."""
    from dissector.diagnose.compare import compare, gather
    from dissector.views.diff import diff_json, diff_lines
    from dissector.views.json import dumps_pretty

    sides = []
    for path in (first, second):
        dissection, bar = opened(path, engine, prefs)
        with dissection:
            try:
                sides.append(gather(dissection))
            finally:
                bar.close()
            complain(dissection)
    found = compare(sides[0], sides[1])
    if form is Brief.JSON:
        emit([dumps_pretty(diff_json(sides[0], sides[1], found))])
    else:
        emit(diff_lines(sides[0], sides[1], found, _palette()))
    if found:
        raise typer.Exit(1)
