"""Delta debugging: the fewest ROPs of a capture that still show a difference.

ddmin over what was chosen: a subset is tried with all that it needs, so every attempt is a plan that can be sent. Each
attempt is a replay of its own; whether it still shows the difference is asked of its outcomes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dissector.errors import FilterError
from replay.compare.difference import DIFFERENT
from replay.errors import INTERRUPTED, CertificateError, RefusedError, ReplayError, UnreachableError
from replay.needs import Key, closure
from replay.report import Report

NO_REPLAY = frozenset({INTERRUPTED, *(one.exit_code for one in (UnreachableError, RefusedError, CertificateError))})
"""Exit codes of failures that say nothing of the ROPs that were tried: no other attempt would go better."""

Attempt = Callable[[set[Key]], Report]
"""Replays a set of ROPs."""


class Shown(NamedTuple):
    """A difference of a replay, as --until sees it."""

    rop: str
    frame: int
    path: str
    captured: str
    live: str
    verdict: str
    why: str
    cause: str


def _field(name: str) -> Callable[[Any], Any]:
    return lambda row: getattr(row, name) or None


FIELDS: Mapping[str, Callable[[Any], Any]] = {name: _field(name) for name in Shown._fields}


def differences(report: Report) -> list[Shown]:
    """What a report shows; the end of a replay before its time is one of the rows, with the verdict "failed"."""
    found = [
        Shown(outcome.rop, outcome.frame, one.path, str(one.captured), str(one.live), one.verdict, one.why, one.cause)
        for outcome in report.outcomes for one in outcome.differences
    ]  # fmt: skip
    if report.failure:
        found.append(Shown("", 0, "", "", "", "failed", report.failure, ""))
    return found


def condition(until: str) -> Callable[[Report], bool]:
    """The test of a report that --until asks for: whether a row fits. Without it: whether anything is different."""
    if not until:
        return lambda report: bool(report.verdicts[DIFFERENT])
    from dissector.views.filter import compile_filter

    try:
        test = compile_filter(until, FIELDS)
    except FilterError as error:
        raise ReplayError(f"--until: {str(error).removeprefix('-Y: ').partition('; example')[0]}") from error
    return lambda report: any(map(test, differences(report)))


@dataclass(slots=True)
class Shrinker:
    """needs: of every ROP. attempt: replays a set. wanted: whether a report still shows what is looked for.

    say: is told after every attempt how many ROPs it had and whether they showed it. ended: the report that ended the
    search before its time, since the server went away or the user had enough.
    """

    needs: Mapping[Key, set[Key]]
    attempt: Attempt
    wanted: Callable[[Report], bool]
    say: Callable[[int, bool], None] = lambda count, shown: None
    most: int = 1000
    attempts: int = 0
    ended: Report | None = None
    _known: dict[frozenset[Key], bool] = field(default_factory=dict)
    _last: Report = field(default_factory=Report)

    def shrink(self, keys: set[Key]) -> set[Key]:
        """The fewest that were found. Raises ReplayError where not even all of them show it, or cannot be replayed."""
        every = closure(keys, self.needs)
        if not self._shows(every):
            if self._last.failure_code == INTERRUPTED:
                raise KeyboardInterrupt
            if self._last.failure:
                raise ReplayError(self._last.failure)
            raise ReplayError("the whole capture does not show it: nothing to shrink")
        return self._minimal(every)

    def _minimal(self, current: set[Key]) -> set[Key]:
        """ddmin: leave parts out, then smaller parts, until no single ROP can be left out."""
        parts = 2
        while len(current) >= 2 and self.attempts < self.most and self.ended is None:
            ordered = sorted(current)
            parts = min(parts, len(ordered))
            smaller = next((found for part in _split(ordered, parts) if (found := self._without(current, part))), None)
            if smaller is not None:
                current, parts = smaller, max(parts - 1, 2)
            elif parts == len(ordered):
                break
            else:
                parts = min(len(ordered), parts * 2)
        return current

    def _without(self, current: set[Key], part: Sequence[Key]) -> set[Key] | None:
        """What is left without a part and all that needs it, where that still shows it."""
        gone = set(part)
        for key in sorted(current):  # what a ROP needs stands before it
            if not gone.isdisjoint(self.needs.get(key, ())):
                gone.add(key)
        left = current - gone
        if not left or left == current:
            return None
        return left if self._shows(left) else None

    def _shows(self, keys: set[Key]) -> bool:
        name = frozenset(keys)
        if name not in self._known:
            if self.attempts >= self.most or self.ended is not None:
                return False
            self.attempts += 1
            self._last = self.attempt(keys)
            self._known[name] = self.wanted(self._last)
            if self._last.failure_code in NO_REPLAY and not self._known[name]:
                self.ended = self._last
            self.say(len(keys), self._known[name])
        return self._known[name]


def _split(keys: Sequence[Key], parts: int) -> list[Sequence[Key]]:
    """So many runs of about the same length. Later ones first: what comes late is needed by little."""
    size, rest = divmod(len(keys), parts)
    runs, at = [], 0
    for number in range(parts):
        end = at + size + (number < rest)
        runs.append(keys[at:end])
        at = end
    return runs[::-1]
