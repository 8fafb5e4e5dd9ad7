"""The command line of replay."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from dissector.cli import Brief, Engine, EngineOption, Prefs, emit, opened, run
from replay.errors import ReplayError

app = typer.Typer(
    name="replay",
    help="Re-sends a captured MAPI session to a server and compares the answers; brings a server of its own.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PasswordEnv = Annotated[
    str, typer.Option("--password-env", metavar="VAR", help="Environment variable that holds the password.")
]


def password_from(variable: str) -> str:
    """The password from the environment; passwords are never arguments."""
    password = os.environ.get(variable)
    if password is None:
        raise ReplayError(f"no password: set the environment variable {variable}, or name another with --password-env")
    return password


@app.command(
    name="run", epilog="Example: REPLAY_PASSWORD=... replay run upload.pcap --server http://127.0.0.1:8080 --user alice"
)
def run_command(
    capture: Annotated[str, typer.Argument(metavar="CAPTURE", help="The capture to re-send; - is standard input.")],
    server: Annotated[str, typer.Option("--server", metavar="URL", help="http(s)://HOST:PORT or a full endpoint.")],
    user: Annotated[str, typer.Option("--user", metavar="USER", help="Who logs on to the server.")],
    password_env: PasswordEnv = "REPLAY_PASSWORD",
    mailbox: Annotated[
        str | None, typer.Option("--mailbox", metavar="DN", help="Mailbox DN of the live user; default: the user.")
    ] = None,
    form: Annotated[Brief, typer.Option("-T", help="Output format.")] = Brief.TEXT,
    insecure: Annotated[bool, typer.Option("--insecure", help="Do not verify the server's certificate.")] = False,
    prefs: Prefs = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """Re-send a capture's ROPs and compare the answers. Exit code 0: same, 1: different, 2: failed."""
    from dissector.views.json import dumps_pretty
    from replay.runner import replay

    password = password_from(password_env)
    dissection, bar = opened(capture, engine, prefs)
    with dissection:
        try:
            report = replay(
                dissection.exchanges(), server=server, user=user, password=password, mailbox=mailbox or user,
                verify=not insecure,
            )  # fmt: skip
        finally:
            bar.close()
    emit([dumps_pretty(report.as_json())] if form is Brief.JSON else report.lines())
    if report.failure:
        print(f"replay: {report.failure}", file=sys.stderr)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


@app.command(
    epilog="Example: REPLAY_PASSWORD=... replay serve --listen 127.0.0.1:8080 --store mail.sqlite --user alice"
)
def serve(
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen.")] = "127.0.0.1:8080",
    store: Annotated[Path | None, typer.Option("--store", metavar="FILE", help="SQLite file; memory without.")] = None,
    user: Annotated[str, typer.Option("--user", metavar="USER", help="The mailbox's user.")] = "user",
    password_env: PasswordEnv = "REPLAY_PASSWORD",
) -> None:
    """Run the embedded Exchange-compatible server (MAPI over HTTP, Basic auth, SQLite store)."""
    from replay.server.runner import serve as serve_forever

    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise typer.BadParameter(f"{listen!r} is not HOST:PORT", param_hint="--listen")
    serve_forever(
        host.strip("[]"), int(port), store, user, password_from(password_env),
        ready=lambda url: print(f"listening on {url}", file=sys.stderr, flush=True),
    )  # fmt: skip


def main() -> None:
    run(app, "replay")
