"""Regression cases: a capture, where it is replayed, what of it, and what is expected. Read from *.replay.toml files.

capture = "upload.pcap"            # or a plan; a path beside the file
server = "embedded"                # or a URL; then user, and password_env (a variable; the case is skipped without)
write = false                      # whether a server that is not this machine is written to
seed = true                        # first put on the server what the capture shows to have been there
policy = [{path = "*PidTagX", why = "..."}]        # more rules for what may differ; rop, absent, bits as well

[select]                           # as the options of replay run
sessions = [1]
frames = "10-200"
folder = "Inbox"
where = "rop contains Import"
uploads_only = true

[expect]
different = 0                      # ROPs that may be different, at most
skipped = 0                        # at most; any number without
same = 90                          # ROPs that are the same, at least
known = [{rop = "RopX", path = "y*"}]              # differences that do not count
failure = ""                       # the replay ends early with these words
exit_code = 0
"""

from __future__ import annotations

import os
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dissector.diagnose.base import counted
from replay.compare.difference import DIFFERENT, SAME
from replay.compare.policy import POLICY, Policy, rules_from
from replay.errors import ReplayError
from replay.report import Report
from replay.runner import Manner, Target, run_steps
from replay.selection import Selection, frame_ranges
from replay.sources import Source
from replay.transport.auth import Credentials, Method, is_loopback

EMBEDDED = "embedded"


class CaseError(ReplayError):
    """A case that cannot be understood."""


TYPES: Mapping[str, Mapping[str, type]] = {
    "": {
        "capture": str, "server": str, "user": str, "password_env": str, "password": str, "mailbox": str, "ca": str,
        "insecure": bool, "write": bool, "seed": bool, "policy": list, "select": dict, "expect": dict,
    },
    "select": {"sessions": list, "frames": str, "folder": str, "where": str, "uploads_only": bool},
    "expect": {"different": int, "skipped": int, "same": int, "known": list, "failure": str, "exit_code": int},
}  # fmt: skip
"""What a case may hold, table by table."""

WORDS = {str: "text", bool: "true or false", int: "a number", list: "a list", dict: "a table"}


@dataclass(frozen=True, slots=True)
class Expectation:
    """different, skipped: at most; same: at least; None does not matter. known: (ROP, path) patterns."""

    different: int = 0
    skipped: int | None = None
    same: int | None = None
    known: tuple[tuple[str, str], ...] = ()
    failure: str = ""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One case. path: of the capture or plan."""

    path: Path
    server: str = EMBEDDED
    user: str = "replay"
    password_env: str = ""
    password: str = field(default="", repr=False)
    mailbox: str = ""
    ca: str | None = None
    insecure: bool = False
    write: bool = False
    seed: bool = False
    policy: Policy = field(default_factory=Policy)
    selection: Selection = field(default_factory=Selection)
    expect: Expectation = field(default_factory=Expectation)

    @classmethod
    def of(cls, content: Mapping[str, Any], folder: Path) -> Case:
        """A case from what a file holds. Raises CaseError."""
        _check("", content)
        select, expect = content.get("select", {}), content.get("expect", {})
        _check("select", select)
        _check("expect", expect)
        if "capture" not in content:
            raise CaseError("capture is missing")
        known = expect.get("known", [])
        if not all(isinstance(one, dict) for one in known):
            raise CaseError("expect.known is to be a list of tables")
        try:
            rules = rules_from(content.get("policy", []))
        except (ValueError, AttributeError) as error:
            raise CaseError(f"policy: {error}") from error
        named = {name: content[name] for name in ("server", "user", "password_env", "password", "mailbox", "ca",
                                                   "insecure", "write", "seed") if name in content}  # fmt: skip
        numbers = {name: expect[name] for name in ("different", "skipped", "same", "failure", "exit_code")
                   if name in expect}  # fmt: skip
        return cls(
            folder / content["capture"],
            **named,
            policy=Policy((*rules, *POLICY)),
            selection=Selection(
                frozenset(select.get("sessions", ())),
                frame_ranges(select["frames"]) if select.get("frames") else (),
                select.get("folder", ""), select.get("where", ""), select.get("uploads_only", False),
            ),
            expect=Expectation(
                known=tuple((str(one.get("rop", "*")), str(one.get("path", "*"))) for one in known), **numbers
            ),
        )  # fmt: skip

    def missing(self) -> str:
        """Why the case cannot be run here; '' where it can."""
        if self.server != EMBEDDED and self.password_env and self.password_env not in os.environ:
            return f"the environment variable {self.password_env} is not set"
        return ""


def _check(table: str, content: Any) -> None:
    if not isinstance(content, Mapping):
        raise CaseError(f"{table} is to be a table")
    for name, value in content.items():
        wanted = TYPES[table].get(name)
        shown = f"{table}.{name}" if table else name
        if wanted is None:
            raise CaseError(f"{shown} is not known; there are {', '.join(TYPES[table])}")
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise CaseError(f"{shown} is to be {WORDS[wanted]}")


def read_case(path: Path) -> Case:
    """The case in a file. Raises CaseError."""
    try:
        return Case.of(tomllib.loads(path.read_text("utf-8")), path.parent)
    except OSError as error:
        raise CaseError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ReplayError) as error:
        raise CaseError(f"{path}: {error}") from error


def run_case(case: Case) -> Report:
    """Replay it."""
    source = Source.of(str(case.path))
    if case.server != EMBEDDED:
        password = case.password or os.environ.get(case.password_env or "REPLAY_PASSWORD", "")
        credentials = Credentials(case.user, password)
        return _run(case, source, Target(case.server, credentials, case.mailbox, not case.insecure, case.ca))
    from replay.server.runner import RunningServer

    password = secrets.token_urlsafe(12)
    with RunningServer(case.user, password) as server:
        credentials = Credentials(case.user, password, method=Method.BASIC)
        return _run(case, source, Target(server.base_url, credentials, case.mailbox))


def _run(case: Case, source: Source, target: Target) -> Report:
    may_write = case.write or is_loopback(urlsplit(target.server).hostname or "")
    if case.seed and not may_write:
        raise CaseError(f"seed writes to {case.server}, which is not this machine: it needs write = true")
    seeds = source.seeds() if case.seed else None
    where = EMBEDDED if case.server == EMBEDDED else case.server
    with source.steps(case.selection, may_write=may_write) as steps:
        return run_steps(
            steps, target, Manner(policy=case.policy), seeds=seeds, title=f"{case.path.name} replayed to {where}"
        )


def failures(case: Case, report: Report) -> list[str]:
    """What is not as expected, in words."""
    expect = case.expect
    found: list[str] = []
    if report.failure and not (expect.failure and expect.failure in report.failure):
        found.append(f"the replay ended early: {report.failure}")
    if expect.failure and not report.failure:
        found.append(f"the replay was to end with {expect.failure!r}, and did not")
    different = sum(
        any(one.verdict == DIFFERENT and not _known(expect, outcome.rop, one.path) for one in outcome.differences)
        for outcome in report.outcomes
    )
    if different > expect.different:
        found.append(f"{counted(different, 'ROP is', 'ROPs are')} different, {expect.different} may be")
    if expect.skipped is not None and len(report.skipped) > expect.skipped:
        found.append(f"{counted(len(report.skipped), 'ROP was', 'ROPs were')} skipped, {expect.skipped} may be")
    if expect.same is not None and report.verdicts[SAME] < expect.same:
        found.append(
            f"{counted(report.verdicts[SAME], 'ROP is', 'ROPs are')} the same, at least {expect.same} were to be"
        )
    if expect.exit_code is not None and report.exit_code != expect.exit_code:
        found.append(f"the exit code is {report.exit_code}, not {expect.exit_code}")
    return found


def _known(expect: Expectation, rop: str, path: str) -> bool:
    return any(fnmatchcase(rop, one) and fnmatchcase(path, other) for one, other in expect.known)
