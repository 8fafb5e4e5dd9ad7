"""The command line of replay."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dissector.cli.application import application, run
from dissector.cli.options import Engine, EngineOption, ReadFile, Where, pick, preferences
from dissector.cli.output import emit
from replay.errors import EXIT_CODES, ReplayError

app = application(
    "replay", "Re-sends a captured MAPI session to a server and compares the answers; brings a server of its own."
)


class Form(StrEnum):
    """-T of reports."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"
    HTML = "html"


class Auth(StrEnum):
    """How to log on."""

    AUTO = "auto"
    BASIC = "basic"
    NTLM = "ntlm"
    NEGOTIATE = "negotiate"


class Speed(StrEnum):
    MAX = "max"
    ORIGINAL = "original"


class StopOn(StrEnum):
    DIFFERENT = "different"
    ERROR = "error"


CaptureOrPlan = Annotated[
    str | None,
    typer.Argument(metavar="CAPTURE|PLAN", help="A capture (- is standard input), or a plan made of one (.toml)."),
]
CaptureOnly = Annotated[str | None, typer.Argument(metavar="CAPTURE", help="A capture; - is standard input.")]
Sessions = Annotated[
    list[int] | None, typer.Option("--session", metavar="N", help="Only this session of the capture (repeatable).")
]
Frames = Annotated[str, typer.Option("--frames", metavar="A-B", help="Only requests in these frames: 10-20,30-")]
Folder = Annotated[
    str, typer.Option("--folder", metavar="NAME|ID", help="Only what is about this folder: Inbox, 0001-00000000000d")
]
UploadsOnly = Annotated[bool, typer.Option("--uploads-only", help="Only what writes, and what it needs.")]
Server = Annotated[str, typer.Option("--server", metavar="URL", help="http(s)://HOST:PORT or a full endpoint.")]
User = Annotated[str, typer.Option("--user", metavar="USER", help="Who logs on: NAME, DOMAIN\\NAME or NAME@DOMAIN.")]
PasswordEnv = Annotated[
    str, typer.Option("--password-env", metavar="VAR", help="Environment variable that holds the password.")
]
BearerEnv = Annotated[
    str, typer.Option("--bearer-env", metavar="VAR", help="Environment variable that holds a bearer token.")
]
Keytab = Annotated[Path | None, typer.Option("--keytab", metavar="FILE", help="Log on with Kerberos by this keytab.")]
AuthOption = Annotated[Auth, typer.Option("--auth", help="auto takes the strongest of what the server offers.")]
Mailbox = Annotated[
    str, typer.Option("--mailbox", metavar="DN", help="Mailbox DN of the live user; default: the user.")
]
Autodiscover = Annotated[
    str,
    typer.Option(
        "--autodiscover",
        metavar="ADDRESS",
        help="Ask autodiscover for endpoint and mailbox DN of this e-mail address: at --server, else at its domain.",
    ),
]
PREFERENCE = "A preference, e.g. tls.keylog_file:keys.txt (repeatable)."
Preferences = Annotated[list[str] | None, typer.Option("-o", "--pref", metavar="NAME:VALUE", help=PREFERENCE)]
Preference = Annotated[list[str] | None, typer.Option("--pref", metavar="NAME:VALUE", help=PREFERENCE)]
"""Where -o is the file that is written."""
Insecure = Annotated[bool, typer.Option("--insecure", help="Do not verify the server's certificate.")]
Authority = Annotated[
    str | None, typer.Option("--ca", metavar="FILE", help="PEM file with the authority of the server's certificate.")
]
Silence = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="How long the server may say nothing at all.")
]
Limit = Annotated[
    float, typer.Option("--limit", metavar="SECONDS", min=0.1, help="How long one request may be PENDING in all.")
]


def secret_from(variable: str, option: str, what: str) -> str:
    """A secret from the environment; secrets are never arguments."""
    found = os.environ.get(variable)
    if found is None:
        raise ReplayError(f"no {what}: set the environment variable {variable}, or name another with {option}")
    return found


def selection_of(sessions: list[int] | None, frames: str, folder: str, where: str | None, uploads_only: bool) -> Any:
    from replay.selection import Selection, frame_ranges

    return Selection(
        frozenset(sessions or ()), frame_ranges(frames) if frames else (), folder, where or "", uploads_only
    )


def credentials_of(user: str, password_env: str, bearer_env: str, keytab: Path | None, auth: Auth) -> Any:
    from replay.transport.auth import Credentials, Method

    if bearer_env:
        return Credentials(user, token=secret_from(bearer_env, "--bearer-env", "token"), method=Method.BEARER)
    if keytab is not None:
        if not keytab.is_file():
            raise ReplayError(f"--keytab {keytab}: no such file")
        return Credentials(user, keytab=str(keytab), method=Method.NEGOTIATE)
    password = secret_from(password_env, "--password-env", "password")
    return Credentials(user, password=password, method=Method(auth.value))


@app.command(
    epilog="Example: replay plan upload.pcap --uploads-only -o upload.toml, edit it, replay run upload.toml ..."
)
def plan(
    source: CaptureOrPlan = None,
    read_file: ReadFile = None,
    output: Annotated[
        Path | None, typer.Option("-o", metavar="FILE", help="Where to; standard output without.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="-o may replace a plan that is there.")] = False,
    sessions: Sessions = None,
    frames: Frames = "",
    folder: Folder = "",
    where: Where = None,
    uploads_only: UploadsOnly = False,
    prefs: Preference = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """What would be sent, in order: what each ROP needs, what is supplied, skipped or rewritten and why. Editable."""
    from replay.files import check_plan
    from replay.planfile import plan_lines
    from replay.sources import Source

    chosen = selection_of(sessions, frames, folder, where, uploads_only)
    if output is not None:
        check_plan(output, overwrite)
    given = Source.of(pick(source, read_file), engine.value, preferences(prefs))
    with given.steps(chosen) as steps:
        capture = given.capture
        if output is None:
            emit(plan_lines(steps, capture, given.digest, str(chosen)))
            return
        if capture != "-":
            capture = os.path.relpath(capture, output.parent)
        text = "\n".join(plan_lines(steps, capture, given.digest, str(chosen))) + "\n"
    write_text(output, text)


@app.command(
    name="run",
    epilog="Examples:\n\n"
    "REPLAY_PASSWORD=... replay run upload.pcap --server http://127.0.0.1:8080 --user alice --seed\n\n"
    "replay run upload.pcap --server https://mail.example.org --user alice@example.org --uploads-only --write "
    "--report report.html --save-capture live.pcapng\n\n"
    "replay run upload.pcap --autodiscover alice@example.org --user 'EXAMPLE\\alice' --stop-on error\n\n"
    f"Exit codes: 0 same, 1 different, 2 failed; with --exit-by-cause {EXIT_CODES}.",
)
def run_command(
    source: CaptureOrPlan = None,
    read_file: ReadFile = None,
    server: Server = "",
    user: User = "",
    password_env: PasswordEnv = "REPLAY_PASSWORD",
    bearer_env: BearerEnv = "",
    keytab: Keytab = None,
    auth: AuthOption = Auth.AUTO,
    mailbox: Mailbox = "",
    autodiscover: Autodiscover = "",
    form: Annotated[Form, typer.Option("-T", help="Form of the report on standard output.")] = Form.TEXT,
    reports: Annotated[
        list[Path] | None,
        typer.Option("--report", metavar="FILE", help="Also write it here: .txt, .json, .xml (JUnit), .html."),
    ] = None,
    save_capture: Annotated[
        Path | None, typer.Option("--save-capture", metavar="FILE", help="Write the live conversation as pcapng.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="--report and --save-capture may replace files that are there.")
    ] = False,
    sessions: Sessions = None,
    frames: Frames = "",
    folder: Folder = "",
    where: Where = None,
    uploads_only: UploadsOnly = False,
    seed: Annotated[
        bool, typer.Option("--seed", help="First put on the server what the capture shows to have been there before.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan; no server is needed.")] = False,
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            metavar="FILE|none",
            help="More rules for what may differ, in TOML: policy = [{path = '*PidTagX', why = '...'}]; none: no "
            "rules. `replay policy` shows those that there are.",
        ),
    ] = "",
    stop_on: Annotated[StopOn | None, typer.Option("--stop-on", help="End behind the first such step.")] = None,
    speed: Annotated[Speed, typer.Option("--speed", help="original keeps the pauses of the capture.")] = Speed.MAX,
    write: Annotated[bool, typer.Option("--write", help="Also write, to a server that is not this machine.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a server that is not this machine.")] = False,
    insecure: Insecure = False,
    ca: Authority = None,
    silence: Silence = 90.0,
    limit: Limit = 900.0,
    by_cause: Annotated[
        bool, typer.Option("--exit-by-cause", help="Exit codes tell the cause, not only 0 same, 1 different, 2 failed.")
    ] = False,
    prefs: Preferences = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """Re-send a capture's ROPs and compare the answers.

    A server on this machine (loopback) is written to without more ado. Any other one needs --write for that, and asks.
    """
    from replay.compare.policy import policy_of
    from replay.files import check_new
    from replay.planfile import plan_lines
    from replay.recording import Recorder
    from replay.reports import check_writable, save, text_of
    from replay.runner import Manner, Target, run_steps
    from replay.sources import Source
    from replay.transport.mapihttp import Limits, endpoint

    rules = policy_of(policy)
    chosen = selection_of(sessions, frames, folder, where, uploads_only)
    given = Source.of(pick(source, read_file), engine.value, preferences(prefs))
    if dry_run:
        with given.steps(chosen) as steps:
            emit(plan_lines(steps, given.capture, given.digest, str(chosen)))
        return
    for value, option in ((server or autodiscover, "--server"), (user, "--user")):
        if not value:
            raise typer.BadParameter("is needed (but for --dry-run)", param_hint=option)
    if not autodiscover:
        endpoint(server, user)
    for path in reports or ():
        check_new(path, overwrite, "--report")
        check_writable(path)
    if save_capture is not None:
        if save_capture.exists() and same_file(save_capture, given.capture):
            raise ReplayError(f"--save-capture {save_capture}: that is the capture that is replayed")
        check_new(save_capture, overwrite, "--save-capture")
    credentials = credentials_of(user, password_env, bearer_env, keytab, auth)
    limits = Limits(silence=silence, request=limit)
    if autodiscover:
        from replay.transport.autodiscover import discover

        try:
            found = discover(
                autodiscover, credentials, server, verify=not insecure, ca=ca, limits=limits,
                allow=lambda host: confirm_host(host, "ask its autodiscover with the password", yes),
            )  # fmt: skip
        except ReplayError as error:
            print(f"replay: {error}", file=sys.stderr)
            raise typer.Exit(error.exit_code if by_cause else 2) from error
        server, mailbox = found.server, mailbox or found.mailbox
        print(f"replay: {found.asked} says {server}", file=sys.stderr)
        endpoint(server, user)
    may_write = may_write_to(server, write, yes)
    if seed and not may_write:
        raise ReplayError("--seed writes to the server: it needs --write")
    target = Target(server, credentials, mailbox, not insecure, ca, limits)
    manner = Manner(stop_on.value if stop_on is not None else "", speed is Speed.ORIGINAL, rules)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the report is kept, as with Ctrl-C
    with ExitStack() as stack:
        recorder = None
        if save_capture is not None:
            recorder = stack.enter_context(Recorder(save_capture, f"{given.name} replayed to {server}"))
        bar = Sending()
        stack.callback(bar.close)
        seeds = given.seeds() if seed else None
        steps = stack.enter_context(given.steps(chosen, may_write=may_write))
        title = f"{given.name} replayed to {server} as {user}"
        report = run_steps(steps, target, manner, recorder=recorder, progress=bar.update, title=title, seeds=seeds)
    for path in reports or ():
        save(report, path)
    emit(text_of(report, form.value))
    if report.failure:
        print(f"replay: {report.failure}", file=sys.stderr)
    code = report.exit_code if by_cause else report.plain_exit_code
    if code:
        raise typer.Exit(code)


def may_write_to(server: str, write: bool, yes: bool) -> bool:
    """Whether what writes is sent. Asks before a server that is not this machine; ReplayError where it cannot."""
    from urllib.parse import urlsplit

    what = "replay to it, and write to the mailbox" if write else "replay what only reads to it"
    return confirm_host(urlsplit(server).hostname or "", what, yes) or write


def confirm_host(host: str, what: str, yes: bool) -> bool:
    """Ask before something is done to another machine. True: it is this one. Raises ReplayError where it may not be."""
    from replay.transport.auth import is_loopback

    if is_loopback(host):
        return True
    if not yes:
        if not sys.stdin.isatty():
            raise ReplayError(f"{host} is not this machine: confirm with --yes")
        if not typer.confirm(f"{host} is not this machine. {what.capitalize()}?", err=True):
            raise ReplayError("not confirmed")
    return False


def target_of(server: str, credentials: Any, mailbox: str, insecure: bool, ca: str | None) -> Any:
    from replay.runner import Target

    return Target(server, credentials, mailbox, not insecure, ca)


def write_text(path: Path, text: str) -> None:
    """Write a plan. Raises ReplayError."""
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ReplayError(f"{path}: {error.strerror or error}") from error


@app.command(name="policy", epilog="Example: replay policy | grep PidTagSubject")
def policy_command() -> None:
    """What two servers may differ in without being different: the rules behind the verdict `expected`."""
    from replay.compare.policy import rule_lines

    emit(rule_lines())


def same_file(one: Path, other: str) -> bool:
    return other != "-" and Path(other).exists() and one.samefile(other)


class Sending:
    """How far it is, in a count of things, on stderr: only on a terminal, only when stdout is none."""

    def __init__(self, doing: str = "replaying", things: str = "requests") -> None:
        self._doing, self._things = doing, things
        self._bar: Any = None
        self._wanted = sys.stderr.isatty() and not sys.stdout.isatty()

    def update(self, sent: int) -> None:
        if not self._wanted:
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            count = TextColumn(f"{{task.completed}} {self._things}")
            columns = (TextColumn(self._doing), BarColumn(), count, TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.add_task(self._doing, total=None)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=sent)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@app.command(
    epilog="Example: replay shrink upload.pcap --until 'rop == RopQueryRows and verdict == different' -o small.toml"
)
def shrink(
    source: CaptureOnly = None,
    read_file: ReadFile = None,
    server: Annotated[
        str, typer.Option("--server", metavar="URL", help="Where to; without it a fresh embedded server each time.")
    ] = "",
    until: Annotated[
        str,
        typer.Option(
            "--until",
            metavar="EXPR",
            help="What has to stay visible, over rop, frame, path, captured, live, verdict, why, cause. "
            "Without it: anything different.",
        ),
    ] = "",
    output: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="Where the plan that is left goes.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="-o may replace a plan that is there.")] = False,
    user: User = "",
    password_env: PasswordEnv = "REPLAY_PASSWORD",
    auth: AuthOption = Auth.AUTO,
    mailbox: Mailbox = "",
    seed: Annotated[bool, typer.Option("--seed", help="Seed the server before every attempt.")] = False,
    most: Annotated[int, typer.Option("--attempts", metavar="N", min=1, help="Replays at most.")] = 500,
    sessions: Sessions = None,
    frames: Frames = "",
    folder: Folder = "",
    where: Where = None,
    uploads_only: UploadsOnly = False,
    write: Annotated[bool, typer.Option("--write", help="Also write, to a server that is not this machine.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a server that is not this machine.")] = False,
    insecure: Insecure = False,
    ca: Authority = None,
    prefs: Preference = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """Find the fewest ROPs of a capture that still show a difference, by leaving out more and more."""
    from replay.files import check_plan
    from replay.planfile import plan_lines
    from replay.shrink import Shrinker, condition
    from replay.shrinking import attempts_on
    from replay.sources import Source

    chosen = selection_of(sessions, frames, folder, where, uploads_only)
    given = Source.of(pick(source, read_file), engine.value, preferences(prefs))
    if given.plan is not None:
        raise typer.BadParameter("is to be a capture, not a plan", param_hint="CAPTURE")
    if output is not None:
        check_plan(output, overwrite)
    target = None
    if server:
        if not user:
            raise typer.BadParameter("is needed with --server", param_hint="--user")
        target = target_of(server, credentials_of(user, password_env, "", None, auth), mailbox, insecure, ca)
        if not may_write_to(server, write, yes):
            raise ReplayError("shrinking replays what writes too: it needs --write")
    wanted = condition(until)
    found = given.survey(chosen)
    bar = Sending("shrinking", "attempts")

    def say(count: int, shown: bool) -> None:
        bar.update(shrinker.attempts)

    attempt = attempts_on(given, target, seed)
    shrinker = Shrinker(found.needs, attempt, wanted, say, most)
    try:
        left = shrinker.shrink(found.chosen() if chosen else set(found.needs))
    finally:
        bar.close()
    with given.steps_of(left) as steps:
        kept = [step for step in steps if any(rop.action != "skip" for rop in step.rops)]
        for step in kept:
            step.rops = [rop for rop in step.rops if rop.action != "skip"]
        if output is not None:
            capture = given.capture if given.capture == "-" else os.path.relpath(given.capture, output.parent)
            write_text(output, "\n".join(plan_lines(kept, capture, given.digest, "shrunk")) + "\n")
        else:
            emit(plan_lines(kept, given.capture, given.digest, "shrunk"))
    print(f"{len(left)} of {len(found.needs)} ROPs are left after {shrinker.attempts} replays", file=sys.stderr)
    if shrinker.ended is not None:
        print(f"replay: it may be fewer: {shrinker.ended.failure}", file=sys.stderr)
        raise typer.Exit(shrinker.ended.plain_exit_code)


@app.command(epilog="Example: replay stub outlook.pcap --listen 127.0.0.1:8080")
def stub(
    source: CaptureOnly = None,
    read_file: ReadFile = None,
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen.")] = "127.0.0.1:8080",
    sessions: Sessions = None,
    prefs: Preferences = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """Answer a client with what the captured server said: to reproduce a bug of the client.

    Every Connect takes the next session of the capture; users and passwords are not checked. What the capture cannot
    answer fails by name, and is told on stderr.
    """
    from replay.sources import Source
    from replay.stub.answers import scripts_of
    from replay.stub.app import Stub, listener, serve_stub, url_of

    given = Source.of(pick(source, read_file), engine.value, preferences(prefs))
    with given.opened() as dissection:
        scripts = scripts_of(dissection.exchanges())
    wanted = set(sessions or ())
    scripts = [one for one in scripts if not wanted or one.session.number in wanted]
    made = Stub(scripts, lambda words: print(f"replay stub: {words}", file=sys.stderr, flush=True))
    bound = listener(*address_of(listen))
    print(f"listening on {url_of(bound)}", file=sys.stderr, flush=True)
    serve_stub(made, bound)
    silent = f"{made.silent} taken that have no answer (RopRelease)"
    print(f"{made.answered} ROPs answered, {silent}, {len(made.refused)} refused", file=sys.stderr)


@app.command(
    epilog="Examples: REPLAY_PASSWORD=... replay serve --listen 127.0.0.1:8080 --store mail.sqlite --user alice\n\n"
    "replay serve --fault resend:2@3- --fault slow:12s --record bad.pcapng, then dissector diagnose bad.pcapng"
)
def serve(
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where to listen.")] = "127.0.0.1:8080",
    store: Annotated[Path | None, typer.Option("--store", metavar="FILE", help="SQLite file; memory without.")] = None,
    users: Annotated[
        list[str] | None,
        typer.Option(
            "--user",
            metavar="USER",
            help="Who may log on, with a mailbox of their own (user without; repeatable: all have the one password). "
            "One user's mailbox answers to every mailbox DN, those of several only to their own.",
        ),
    ] = None,
    password_env: PasswordEnv = "REPLAY_PASSWORD",
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="Write what is said as pcapng, without credentials.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="--record may replace a file.")] = False,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            metavar="NAME:ARGUMENT@WHICH",
            help="Do something wrong: lose-state, slow:12s, resend:2@3-5 (at the third to fifth chance), several with "
            "commas between them. Repeatable. help lists them.",
        ),
    ] = None,
) -> None:
    """Run the embedded Exchange-compatible server (MAPI over HTTP, Basic auth, SQLite store)."""
    from replay.recording import Recorder
    from replay.server.faults import help_lines, parse
    from replay.server.runner import ServerError
    from replay.server.runner import serve as serve_forever

    if "help" in (fault or ()):
        emit(help_lines())
        return
    host, port = address_of(listen)
    users = users or ["user"]
    if not all(one.strip() for one in users):
        raise typer.BadParameter("is empty", param_hint="--user")
    faults = parse(fault or ())
    password = secret_from(password_env, "--password-env", "password")
    with ExitStack() as stack:
        recorder = None
        if record is not None:
            recorder = stack.enter_context(Recorder(record, "replay serve", overwrite))
        try:
            serve_forever(
                host, port, store, users, password, any_dn=len(users) == 1, faults=faults, recorder=recorder,
                ready=lambda url: print(f"listening on {url}", file=sys.stderr, flush=True),
            )  # fmt: skip
        except ServerError as error:
            if recorder is not None:
                recorder.discard()
            raise ReplayError(str(error)) from error


def address_of(listen: str) -> tuple[str, int]:
    """HOST:PORT as host and port. Raises BadParameter."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise typer.BadParameter(f"{listen!r} is not HOST:PORT", param_hint="--listen")
    return host.strip("[]"), int(port)


def main() -> None:
    run(app, "replay")
