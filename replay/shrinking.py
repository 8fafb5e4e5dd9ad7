"""The attempts of `replay shrink`: replays of a part of a capture, to one server or to a fresh one each time."""

from __future__ import annotations

import secrets

from replay.needs import Key
from replay.report import Report
from replay.runner import Target, run_steps
from replay.shrink import Attempt
from replay.sources import Source
from replay.transport.auth import Credentials, Method

USER = "shrink"


def attempts_on(source: Source, target: Target | None, seed: bool) -> Attempt:
    """How a set of ROPs is replayed. target: None is a fresh embedded server for every attempt."""

    def attempt(keys: set[Key]) -> Report:
        if target is not None:
            return _replayed(source, keys, target, seed)
        from replay.server.runner import RunningServer

        password = secrets.token_urlsafe(12)
        with RunningServer(USER, password) as server:
            fresh = Target(server.base_url, Credentials(USER, password, method=Method.BASIC))
            return _replayed(source, keys, fresh, seed)

    return attempt


def _replayed(source: Source, keys: set[Key], target: Target, seed: bool) -> Report:
    seeds = source.seeds() if seed else None
    with source.steps_of(keys) as steps:
        return run_steps(steps, target, seeds=seeds)
