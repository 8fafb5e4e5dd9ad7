"""`dissector diagnose`: findings as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from dissector.diagnose import MODULES, RULES, Finding, Severity
from dissector.views.text import PLAIN, Palette, printable

LABEL = 10


def finding_lines(
    findings: Iterable[Finding],
    palette: Palette = PLAIN,
    notes: bool = True,
    passed: Callable[[], int] = lambda: 0,
) -> Iterator[str]:
    """A paragraph for each finding, and a last line that counts them. notes: whether notes are shown. passed: asked at
    the end: bytes of messages that were passed over.
    """
    counts: Counter[Severity] = Counter()
    for one in findings:
        counts[one.severity] += 1
        if notes or not one.is_note:
            yield from paragraph(one, palette)
            yield ""
    yield total(counts, notes)
    skipped = passed()
    if skipped:
        yield (
            f"of the messages, {skipped / 1e6:.1f} MB were passed over: what breaks the grammar inside them was not "
            "looked for (--thorough)"
        )


def paragraph(finding: Finding, palette: Palette = PLAIN) -> Iterator[str]:
    """What, where, by which evidence, and what to do."""
    colour = palette.note if finding.is_note else palette.bad
    places = [f"frame {finding.frame}"] if finding.frame else []
    places += [f"exchange {finding.exchange}"] if finding.exchange else []
    places += [f"synchronization #{finding.sync}"] if finding.sync is not None else []
    place = ", ".join(places) or "the capture"
    yield f"{colour}{finding.severity.value:<8}{palette.off} {printable(finding.message)}"
    yield _line("where", place, palette)
    for name, value in finding.evidence.items():
        yield _line("evidence", printable(f"{name}: {value}"), palette)
    yield _line("to do", finding.advice, palette)
    yield _line("rule", f"{finding.rule} [{finding.spec}]", palette)


def _line(label: str, text: str, palette: Palette) -> str:
    return f"  {palette.dim}{label:<{LABEL}}{palette.off}{text}"


def total(counts: Counter[Severity], notes: bool) -> str:
    """'2 errors, 1 warning, 3 notes'"""
    if not counts:
        return "no findings"
    parts = [f"{counts[one]} {one.value}{'s' * (counts[one] != 1)}" for one in Severity if counts[one]]
    hidden = " (notes are not shown)" if counts[Severity.NOTE] and not notes else ""
    found = sum(count for one, count in counts.items() if one is not Severity.NOTE)
    return f"{', '.join(parts)}{hidden}" if found else f"no findings; {', '.join(parts)}{hidden}"


def rule_lines() -> Iterator[str]:
    """All rules: name, severity, section, what each finds."""
    order = [module.__name__ for module in MODULES]
    for one in sorted(RULES.values(), key=lambda one: order.index(one.check.__module__)):
        specs = f"{one.spec}, {one.rpc_spec}" if one.rpc_spec else one.spec
        yield f"{one.name:<26} {one.severity.value:<8} {one.about} [{specs}]"
