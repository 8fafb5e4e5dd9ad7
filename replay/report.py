"""What a replay found: counts of verdicts, the differences, what was skipped or supplied and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dissector.views.json import plain
from dissector.views.rows import shorten
from replay.compare.responses import Difference, verdict_of

MOST_SHOWN = 4
"""Differing fields that the text report shows of one ROP."""


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
    """verdicts: ROPs by verdict. skipped, supplied: (frame, ROP, why). failure: what ended the run early, if any."""

    verdicts: Counter[str] = field(default_factory=Counter)
    outcomes: list[Outcome] = field(default_factory=list)
    skipped: list[tuple[int, str, str]] = field(default_factory=list)
    supplied: list[tuple[int, str, str]] = field(default_factory=list)
    failure: str = ""

    def add(self, outcome: Outcome) -> None:
        self.verdicts[outcome.verdict] += 1
        if outcome.differences:
            self.outcomes.append(outcome)

    @property
    def steps(self) -> int:
        return sum(self.verdicts.values())

    @property
    def exit_code(self) -> int:
        if self.failure:
            return 2
        return 1 if self.verdicts["different"] else 0

    def as_json(self) -> dict[str, Any]:
        """The contract of docs/json.md: remapped ids are counted, not listed."""
        return {
            "steps": self.steps,
            **{name: self.verdicts[name] for name in ("same", "remapped", "expected", "different")},
            "differences": [
                {
                    "frame": outcome.frame, "rop": outcome.rop, "path": one.path, "captured": plain(one.captured),
                    "live": plain(one.live), "verdict": one.verdict, "why": one.why,
                }
                for outcome in self.outcomes for one in outcome.differences if one.verdict != "remapped"
            ],
            "skipped": [{"frame": frame, "rop": rop, "why": why} for frame, rop, why in self.skipped],
            "supplied": [{"frame": frame, "rop": rop, "why": why} for frame, rop, why in self.supplied],
            "failure": self.failure or None,
        }  # fmt: skip

    def lines(self) -> Iterator[str]:
        """The report as text: what was supplied and skipped, the differences, the sums."""
        for title, entries in (("supplied", self.supplied), ("skipped", self.skipped)):
            groups: dict[tuple[str, str], list[int]] = {}
            for frame, rop, why in entries:
                groups.setdefault((rop, why), []).append(frame)
            for (rop, why), frames in groups.items():
                where = f"frame {frames[0]}" if len(frames) == 1 else f"{len(frames)} times from frame {frames[0]}"
                yield f"{title:9} {rop} ({where}): {why}"
        for outcome in self.outcomes:
            differing = [one for one in outcome.differences if one.verdict == "different"]
            for one in differing[:MOST_SHOWN]:
                why = f"  ({one.why})" if one.why else ""
                values = f"captured {_shown(one.captured)}, live {_shown(one.live)}"
                yield f"different frame {outcome.frame} {outcome.rop} {one.path}: {values}{why}"
            if len(differing) > MOST_SHOWN:
                yield f"          {len(differing) - MOST_SHOWN} more fields of this ROP; -T json lists all"
        reasons = Counter(
            one.why for outcome in self.outcomes for one in outcome.differences if one.verdict == "expected"
        )
        for why, count in reasons.most_common():
            yield f"expected  {count} fields: {why}"
        counts = ", ".join(f"{self.verdicts[name]} {name}" for name in ("same", "remapped", "expected", "different"))
        yield f"{self.steps} ROPs compared: {counts}; {len(self.skipped)} skipped, {len(self.supplied)} supplied"
        if self.failure:
            yield f"the replay ended early: {self.failure}"


def _shown(value: Any) -> str:
    made = plain(value)
    return shorten(made) if isinstance(made, str) else str(made)
