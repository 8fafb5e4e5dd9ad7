"""Plan, engine and transport put together: a plan against one server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import httpx

from dissector.errors import DissectorError
from dissector.session.exchange import Exchange
from replay.compare.policy import DEFAULT_POLICY, Policy
from replay.engine import Engine
from replay.errors import INTERRUPTED
from replay.plan import Planner
from replay.recording import Recorder
from replay.report import Report
from replay.seeds import Seeds
from replay.steps import Step
from replay.transport.auth import Credentials
from replay.transport.mapihttp import Limits, MapiHttp

NOTHING = "nothing was sent: the capture holds no MAPI requests that could be read (see `dissector info`)"
NO_ANSWERS = "nothing was compared: the capture holds no answers to what was sent"

LONGEST_GAP = 60.0
"""Seconds between two requests that --speed original keeps at most."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a plan is replayed to. mailbox: DN of the live mailbox, the user where it is ''."""

    server: str
    credentials: Credentials
    mailbox: str = ""
    verify: bool = True
    ca: str | None = None
    limits: Limits = field(default_factory=Limits)
    transport: httpx.BaseTransport | None = None
    """What requests go through in the place of sockets."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How: stop_on "different", "error" or ""; original: with the pauses of the capture."""

    stop_on: str = ""
    original: bool = False
    policy: Policy = DEFAULT_POLICY


def run_steps(
    steps: Iterable[Step],
    target: Target,
    manner: Manner | None = None,
    *,
    recorder: Recorder | None = None,
    progress: Callable[[int], None] | None = None,
    title: str = "",
    seeds: Mapping[str, Seeds] | None = None,
) -> Report:
    """Send what can be sent, compare every answer. A failure on the way is in the report, with all before it.

    seeds: what is put on the server first. progress: called with the number of requests sent so far.
    Raises ReplayError where the target cannot be used at all.
    """
    manner = manner or Manner()
    mailbox = target.mailbox or target.credentials.user
    engine = Engine(steps, mailbox, manner.policy, stop_on=manner.stop_on, seeds=seeds)
    engine.report.title = title
    pace = _Pace() if manner.original else None
    with MapiHttp(
        target.server, target.credentials, verify=target.verify, ca=target.ca, limits=target.limits, recorder=recorder,
        transport=target.transport, note=engine.report.note,
    ) as client:  # fmt: skip
        conversation = engine.conversation()
        count = 0
        try:
            outgoing = next(conversation)
            while True:
                if pace is not None:
                    pace.keep(outgoing.time)
                answer = client.send(outgoing)
                count += 1
                if progress is not None:
                    progress(count)
                outgoing = conversation.send(answer)
        except StopIteration:
            if not engine.report.steps:
                engine.report.failure = engine.report.nothing or (NO_ANSWERS if count else NOTHING)
        except DissectorError as error:  # of the server, or of a capture that cannot be read on
            engine.report.failure = str(error)
            engine.report.failure_code = getattr(error, "exit_code", 2)
            conversation.close()
        except KeyboardInterrupt:
            engine.report.failure, engine.report.failure_code = "interrupted", INTERRUPTED
            conversation.close()
    return engine.report


class _Pace:
    """Keeps the pauses of the capture."""

    def __init__(self) -> None:
        self._captured: float | None = None
        self._due = 0.0

    def keep(self, moment: float) -> None:
        if not moment:
            return
        now = time.monotonic()
        if self._captured is not None:
            gap = min(max(0.0, moment - self._captured), LONGEST_GAP)
            self._due = max(self._due + gap, now - LONGEST_GAP)
            if self._due > now:
                time.sleep(self._due - now)
        else:
            self._due = now
        self._captured = moment


def replay(
    exchanges: Iterable[Exchange], *, server: str, user: str, password: str, mailbox: str, verify: bool = True
) -> Report:
    """Everything of a capture, with the defaults."""
    credentials = Credentials(user, password)
    return run_steps(Planner().steps(exchanges), Target(server, credentials, mailbox, verify))
