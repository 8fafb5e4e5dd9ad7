"""A report as text: what was supplied and skipped, the differences, the sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from dissector.diagnose.base import counted
from dissector.views.jsonvalues import plain
from dissector.views.rows import shorten, value_text
from replay.compare.difference import ABSENT, DIFFERENT, EXPECTED, VERDICTS
from replay.report import Outcome, Remark, Report

MOST_SHOWN = 4
"""Differing fields that are shown of one ROP."""


MOST_TEXT = 100

WORDS = (
    ABSENT,
    "in the stream",
    "a response",
    "complete",
    "behind its parent",
    "before its parent",
    "by delivery time",
    "a response that cannot be read",
    "holds all that was uploaded",
)
OWN_WORDS = ("holds ", "does not hold", "none: ", "not complete", "a row", "live positions", "0x", "has lost ")
"""What the comparison itself says in the place of a value."""


def lines(report: Report) -> Iterator[str]:
    for title, remarks in (("supplied", report.supplied), ("skipped", report.skipped), ("note", report.notes)):
        yield from (f"{title:9} {line}" for line in grouped(remarks))
    for outcome in report.outcomes:
        yield from difference_lines(outcome)
    reasons = Counter(one.why for outcome in report.outcomes for one in outcome.differences if one.verdict == EXPECTED)
    for why, count in reasons.most_common():
        yield f"expected  {count} field{'s' * (count != 1)}: {why}"
    counts = ", ".join(f"{report.verdicts[name]} {name}" for name in VERDICTS)
    steps = counted(report.steps, "ROP")
    yield f"{steps} compared: {counts}; {len(report.skipped)} skipped, {len(report.supplied)} supplied"
    yield from (f"hint: {hint}" for hint in report.hints)
    if report.stopped:
        yield report.stopped
    if report.failure:
        yield f"the replay ended early: {report.failure}"


def grouped(remarks: Iterable[Remark]) -> Iterator[str]:
    """Remarks that say the same of the same ROP in one line."""
    groups: dict[tuple[str, str], list[Remark]] = {}
    for remark in remarks:
        groups.setdefault((remark.rop, remark.why), []).append(remark)
    for (rop, why), found in groups.items():
        frames = list(dict.fromkeys(remark.frame for remark in found))
        where = f"frame {frames[0]}" if len(found) == 1 else f"{len(found)} times from frame {frames[0]}"
        if not frames[0]:
            yield f"{rop}: {why}"
            continue
        about = list(dict.fromkeys(remark.about for remark in found if remark.about))
        shown_ids = f": {', '.join(about[:3])}{', ...' if len(about) > 3 else ''}" if about else ""
        yield f"{rop} ({where}): {why}{shown_ids}"


def difference_lines(outcome: Outcome, most: int = MOST_SHOWN) -> Iterator[str]:
    """The differing fields of one ROP, a line each."""
    differing = [one for one in outcome.differences if one.verdict == DIFFERENT]
    for one in differing[:most]:
        why = f"  ({one.why})" if one.why else ""
        where = f"frame {outcome.frame} {outcome.rop} {one.path}".rstrip()
        yield f"different {where}: captured {shown(one.captured)}, live {shown(one.live)}{why}"
    if len(differing) > most:
        left = counted(len(differing) - most, "more field")
        yield f"          {left} of this ROP; -T json lists all"


def shown(value: Any) -> str:
    """A value in one line: words as they are, text of a message in quotes, bytes by their beginning."""
    if value in WORDS:
        return str(value)
    if isinstance(value, dict | list) and not isinstance(value, bytes):
        text = value_text(value)
        return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"
    made = plain(value)
    if isinstance(made, str):
        words = not isinstance(value, str) or value.startswith(OWN_WORDS)
        return made if words and len(made) <= MOST_TEXT else shorten(made, MOST_TEXT)
    text = str(made)
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"
