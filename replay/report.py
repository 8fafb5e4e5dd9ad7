"""What a replay found: counts of verdicts, the differences, what was skipped or supplied and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dissector.diagnose.base import counted
from dissector.views.jsonvalues import plain
from replay.compare.difference import DIFFERENT, VERDICTS, Difference, verdict_of
from replay.compare.reasons import MISSING, STALE
from replay.errors import CAUSES, INTERRUPTED
from replay.steps import NOT_CHOSEN, Step

BEFORE = frozenset({MISSING, STALE})
"""Causes that seeding removes, mostly."""

FEW = 0.1
"""A replay that compares no more than this part of what it was to send says so."""


class Remark(NamedTuple):
    """Something said of a ROP: frame, ROP, words, and what it is about where the same is said of many."""

    frame: int
    rop: str
    why: str
    about: str = ""


@dataclass(slots=True)
class Outcome:
    """One ROP that was sent and compared."""

    frame: int
    rop: str
    differences: list[Difference]

    @property
    def verdict(self) -> str:
        return verdict_of(self.differences)


@dataclass(slots=True)
class Report:
    """verdicts: ROPs by verdict. outcomes: those that are not plainly the same.

    notes: what was not sure about a request, and what the replay had to do. failure: what ended the run early, with
    its exit code; stopped: the same where the user wanted it. title: what was replayed where.
    """

    title: str = ""
    verdicts: Counter[str] = field(default_factory=Counter)
    outcomes: list[Outcome] = field(default_factory=list)
    skipped: list[Remark] = field(default_factory=list)
    supplied: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)
    failure: str = ""
    failure_code: int = 0
    stopped: str = ""
    seeded: bool = False
    same: list[tuple[int, str]] = field(default_factory=list)
    """ROPs that were the same: frame and name."""

    def add(self, outcome: Outcome) -> None:
        self.verdicts[outcome.verdict] += 1
        if outcome.differences:
            self.outcomes.append(outcome)
        else:
            self.same.append((outcome.frame, outcome.rop))

    def skip(self, step: Step, rop: str, why: str) -> None:
        self.skipped.append(Remark(step.frame, rop, why))

    def supply(self, step: Step, rop: str, why: str) -> None:
        self.supplied.append(Remark(step.frame, rop, why))

    def seed(self, exchange: int, what: str) -> None:
        """Something was put on the server before the replay, or before the synchronization of an exchange."""
        when = f"before exchange {exchange}" if exchange else "before the replay"
        self.supplied.append(Remark(0, "seed", f"{when}: {what}"))

    def note(self, frame: int, rop: str, why: str, about: str = "") -> None:
        self.notes.append(Remark(frame, rop, why, about))

    @property
    def last_different(self) -> Outcome | None:
        return self.outcomes[-1] if self.outcomes and self.outcomes[-1].verdict == DIFFERENT else None

    @property
    def steps(self) -> int:
        return sum(self.verdicts.values())

    @property
    def cause(self) -> str:
        """What stands behind the first difference, '' where that is not known or there is none."""
        for outcome in self.outcomes:
            for one in outcome.differences:
                if one.verdict == DIFFERENT:
                    return one.cause
        return ""

    @property
    def hints(self) -> list[str]:
        """What to do about differences that have one reason, and where next to nothing was compared."""
        return [*self._few(), *self._to_seed()]

    @property
    def nothing(self) -> str:
        """Why no ROP at all was compared, '' where skips are not the reason."""
        return f"nothing was compared: {counted_skips(self.skipped)}" if self.skipped and not self.steps else ""

    def _few(self) -> list[str]:
        lost = [one for one in self.skipped if one.why != NOT_CHOSEN]
        wanted = self.steps + len(lost)
        if not self.steps or self.steps > FEW * wanted:
            return []
        return [f"only {self.steps} of {wanted} ROPs were compared: {counted_skips(lost)}"]

    def _to_seed(self) -> list[str]:
        before = sum(
            one.cause in BEFORE for outcome in self.outcomes for one in outcome.differences if one.verdict == DIFFERENT
        )
        if self.seeded or not before:
            return []
        what = counted(before, "field differs", "fields differ")
        return [f"{what} by what the captured server had before: --seed puts that on the server first"]

    @property
    def exit_code(self) -> int:
        if self.failure:
            return self.failure_code or 2
        return CAUSES.get(self.cause, 1) if self.verdicts[DIFFERENT] else 0

    @property
    def plain_exit_code(self) -> int:
        """0 same, 1 different, 2 failed; 130 interrupted."""
        if self.failure:
            return INTERRUPTED if self.failure_code == INTERRUPTED else 2
        return int(self.exit_code != 0)

    def as_json(self) -> dict[str, Any]:
        """The contract of docs/json.md: remapped ids are counted, not listed."""
        return {
            "title": self.title,
            "steps": self.steps,
            **{name: self.verdicts[name] for name in VERDICTS},
            "differences": [
                {
                    "frame": outcome.frame, "rop": outcome.rop, "path": one.path, "captured": plain(one.captured),
                    "live": plain(one.live), "verdict": one.verdict, "why": one.why, "cause": one.cause,
                }
                for outcome in self.outcomes for one in outcome.differences if one.verdict != "remapped"
            ],
            **{name: [one._asdict() for one in getattr(self, name)] for name in ("skipped", "supplied", "notes")},
            "failure": self.failure or None,
            "stopped": self.stopped or None,
            "hints": self.hints,
            "exit_code": self.exit_code,
        }  # fmt: skip


def counted_skips(skipped: list[Remark]) -> str:
    """How many ROPs were skipped, and the most frequent reason."""
    why, count = Counter(one.why for one in skipped).most_common(1)[0]
    return f"{counted(len(skipped), 'was', 'were')} skipped, {count} of them because: {why}"
