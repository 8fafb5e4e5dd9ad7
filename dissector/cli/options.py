"""What the commands share: options, which mean what tshark users think (-r, -Y, -T, -o), and opening a capture."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer

from dissector.errors import DissectorError


class Format(StrEnum):
    """-T of list and tree."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"


class Brief(StrEnum):
    """-T of commands with one answer."""

    TEXT = "text"
    JSON = "json"


class Engine(StrEnum):
    """Who reads the packets."""

    AUTO = "auto"
    NATIVE = "native"
    PYSHARK = "pyshark"


Capture = Annotated[
    str | None, typer.Argument(metavar="CAPTURE", help="pcap or pcapng file, gzipped or not; - reads standard input.")
]
ReadFile = Annotated[str | None, typer.Option("-r", "--read-file", metavar="CAPTURE", help="The same, as in tshark.")]
Where = Annotated[
    str | None,
    typer.Option("-Y", metavar="EXPR", help="Only what matches, e.g. 'rop == RopOpenFolder and error != 0'."),
]
Prefs = Annotated[
    list[str] | None,
    typer.Option("-o", metavar="NAME:VALUE", help="A preference, e.g. tls.keylog_file:keys.txt (repeatable)."),
]
RowsOption = Annotated[
    bool,
    typer.Option(
        "--rows/--nodes",
        help="In JSON, write plain properties of streams as rows (docs/json.md), or each as nodes: five times as much.",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "-j", "--jobs", metavar="N", min=1,
        help="Processes that show what one reads; the output is that of one. Without it: one a processor. Little work "
        "is not shared out, and none where tshark reads the packets.",
    ),
]  # fmt: skip
OneJob = Annotated[
    int | None,
    typer.Option(
        "-j", "--jobs", metavar="N", min=1,
        help="Taken as in tree and verify, but makes no difference here: reading is nearly all of the work, and that "
        "cannot be shared.",
    ),
]  # fmt: skip
EngineOption = Annotated[
    Engine, typer.Option("--engine", help="native reads packets itself, pyshark through tshark; auto chooses.")
]


def pick(capture: str | None, read_file: str | None) -> str:
    """The capture named by argument or -r. Naming none or both is a usage error."""
    if (capture is None) == (read_file is None):
        raise typer.BadParameter("name one capture, as an argument or with -r", param_hint="CAPTURE")
    return capture or read_file or ""


def preferences(pairs: Iterable[str] | None) -> dict[str, str]:
    """-o NAME:VALUE options as a dict."""
    made = {}
    for pair in pairs or ():
        name, colon, value = pair.partition(":")
        if not colon or not name:
            raise typer.BadParameter(f"{pair!r} is not NAME:VALUE", param_hint="-o")
        if name == "tls.keylog_file" and not os.access(value, os.R_OK):
            raise DissectorError(f"-o {name}: {value or 'no file'} cannot be read")
        made[name] = value
    return made


def opened(capture: str, engine: Engine, prefs: Iterable[str] | None) -> Any:
    """The dissection of a capture, with a progress bar on a terminal."""
    from dissector.pipeline import dissect

    source: Any = sys.stdin.buffer if capture == "-" else capture
    bar = Progress()
    options = preferences(prefs)
    for name in options:
        if name != "tls.keylog_file" and engine is not Engine.PYSHARK:
            raise typer.BadParameter(
                f"{name!r} is a preference of tshark: it needs --engine pyshark (ours: tls.keylog_file)",
                param_hint="-o",
            )
    gc.freeze()  # the grammar is here to stay: no collection need look at it
    dissection = dissect(source, engine=engine.value, options=options, progress=bar.update)
    return dissection, bar


class Progress:
    """A progress bar on stderr: only on a terminal, only when stdout is none, only for work that takes a while."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._wanted = sys.stderr.isatty() and not sys.stdout.isatty()

    def update(self, done: int, total: int) -> None:
        if not self._wanted:
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("reading"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("reading", total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done, total=total)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def row_test(expression: str | None, fields: Any = None) -> Callable[[Any], bool]:
    """The test of rows that -Y asks for (fields: what they have, if they are no ROPs).

    The grammar of expressions is loaded only when there is one.
    """
    if expression is None:
        return lambda row: True
    from dissector.views.filter import compile_filter

    return compile_filter(expression) if fields is None else compile_filter(expression, fields)


def coloured() -> bool:
    """Whether stdout takes colour: a terminal, and NO_COLOR not set."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _about_keys(dissection: Any) -> str:
    """What to do about TLS connections that stayed closed."""
    from dissector.capture.tshark import gives_keys

    if not gives_keys(dissection.options):
        return "give the keys of this session with -o tls.keylog_file:FILE (tshark opens them)"
    if dissection.capture.summary.engine == "native":
        return "opening TLS needs tshark: --engine pyshark, or auto"
    what = "the key log given has" if dissection.options.get("tls.keylog_file") else "the preferences given have"
    return f"{what} no key for these connections: it has to be written while they are opened"


def complain(dissection: Any, shows_calls: bool = False) -> None:
    """What the reading of the file ran into, on stderr. shows_calls: nothing is shown where there is no MAPI call, so
    that has to be said.
    """
    summary = dissection.capture.summary
    for problem in summary.diagnostics:
        print(f"dissector: {summary.path}: {problem.message}", file=sys.stderr)
    closed = [one for one in dissection.tally.opaque if one.kind == "tls"]
    if closed and not dissection.tracker.sessions:
        names = ", ".join(sorted({one.label for one in closed if one.label})) or "no server name"
        print(
            f"dissector: {summary.path}: {len(closed)} TLS connection{'s' * (len(closed) != 1)} ({names}) stayed "
            f"closed, nothing else is MAPI; {_about_keys(dissection)}",
            file=sys.stderr,
        )
    elif shows_calls and not dissection.tracker.sessions:
        print(
            f"dissector: {summary.path}: no MAPI call in this capture (`dissector info` says what there is)",
            file=sys.stderr,
        )


@contextmanager
def dissecting(
    capture: str | None, read_file: str | None, engine: Engine, prefs: Iterable[str] | None
) -> Iterator[Any]:
    """An open capture for a command that shows its calls, with a progress bar; what it ran into is told behind it."""
    dissection, bar = opened(pick(capture, read_file), engine, prefs)
    with dissection:
        try:
            yield dissection
        finally:
            bar.close()
        complain(dissection, shows_calls=True)
