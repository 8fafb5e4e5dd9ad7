"""A report as one HTML page without anything from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from replay.compare.difference import DIFFERENT, VERDICTS, Difference
from replay.report import Outcome, Remark, Report
from replay.reports.text import grouped, shown

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --faint: #8881; --same: #2b8a3e; --remapped: #1971c2;
        --expected: #b08900; --different: #d6336c; --note: #868e96; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1.2rem; }
h1 { font-size: 1.35rem; margin: 0 0 .3rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
p.title { margin: 0 0 1.2rem; opacity: .75; overflow-wrap: anywhere; }
.sums { display: flex; flex-wrap: wrap; gap: .7rem; }
.sums div { border: 1px solid var(--line); border-top: 4px solid var(--note); border-radius: 6px;
            padding: .45rem .9rem; min-width: 5.5rem; }
.sums b { display: block; font-size: 1.5rem; line-height: 1.2; }
.same { border-top-color: var(--same) !important; } .remapped { border-top-color: var(--remapped) !important; }
.expected { border-top-color: var(--expected) !important; }
.different { border-top-color: var(--different) !important; }
.end { border-left: 4px solid var(--different); background: var(--faint); padding: .6rem .9rem; margin: 1rem 0; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .35rem 0; }
summary { cursor: pointer; padding: .4rem .8rem; } summary .frame { opacity: .65; }
summary .mark { display: inline-block; min-width: 6.2rem; font-weight: 600; }
.mark.different, .word.different { color: var(--different); } .mark.expected, .word.expected { color: var(--expected); }
.mark.remapped, .word.remapped { color: var(--remapped); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem; border-top: 1px solid var(--line); }
th { font-weight: 600; opacity: .75; } td.value, td.path { font: 13px/1.4 ui-monospace, monospace;
     overflow-wrap: anywhere; min-width: 9rem; } td.why { opacity: .85; min-width: 15rem; }
ul { padding-left: 1.2rem; } li { margin: .15rem 0; overflow-wrap: anywhere; }
label { margin-right: 1.2rem; } .none { opacity: .7; }
"""

_SCRIPT = """
for (const box of document.querySelectorAll('input[data-verdict]')) box.addEventListener('change', () => {
  for (const one of document.querySelectorAll('details[data-verdict="' + box.dataset.verdict + '"]'))
    one.hidden = !box.checked;
});
"""

MOST_ROWS = 500
"""Fields of one ROP that are shown."""


def page(report: Report) -> str:
    """The whole page."""
    body = "\n".join(_body(report))
    title = escape(report.title or "Replay")
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n<script>{_SCRIPT}</script>\n</body>\n</html>"
    )


def _body(report: Report) -> Iterator[str]:
    yield "<h1>Replay report</h1>"
    yield f'<p class="title">{escape(report.title)}</p>'
    yield '<div class="sums">'
    for name in VERDICTS:
        yield f'<div class="{name}"><b>{report.verdicts[name]}</b>{name}</div>'
    for name in ("skipped", "supplied"):
        yield f"<div><b>{len(getattr(report, name))}</b>{name}</div>"
    yield "</div>"
    for word in (report.failure and f"The replay ended early: {report.failure}", report.stopped):
        if word:
            yield f'<p class="end">{escape(word)}</p>'
    for hint in report.hints:
        yield f'<p class="end">{escape(hint)}</p>'
    yield "<h2>ROPs that were not the same</h2>"
    shown_ones = sorted(report.outcomes, key=lambda one: one.frame)
    if shown_ones:
        yield from _boxes(report)
    else:
        yield '<p class="none">None: every ROP was answered as in the capture.</p>'
    for outcome in shown_ones:
        yield from _outcome(outcome)
    for title, remarks in (
        ("Skipped", report.skipped),
        ("Supplied", report.supplied),
        ("Notes", report.notes),
    ):
        if remarks:
            yield f"<h2>{title}</h2>"
            yield from _remarks(remarks)


def _boxes(report: Report) -> Iterator[str]:
    """Check boxes that show and hide by verdict. Remapped ones are many and say little: hidden at first."""
    yield "<p>"
    for name in reversed(VERDICTS[1:]):
        checked = "" if name == "remapped" else " checked"
        count = report.verdicts[name]
        yield f'<label><input type="checkbox" data-verdict="{name}"{checked}> {name} ({count})</label>'
    yield "</p>"


def _outcome(outcome: Outcome) -> Iterator[str]:
    verdict = outcome.verdict
    state = " open" if verdict == DIFFERENT else ""
    hidden = " hidden" if verdict == "remapped" else ""
    yield f'<details data-verdict="{verdict}"{state}{hidden}><summary><span class="mark {verdict}">{verdict}</span> '
    count = len(outcome.differences)
    yield f'{escape(outcome.rop)} <span class="frame">frame {outcome.frame}, {count} field{"s" * (count != 1)}</span>'
    yield '</summary><div class="scroll"><table>'
    yield "<tr><th>path</th><th>captured</th><th>live</th><th>verdict</th><th>why</th></tr>"
    ranked = sorted(outcome.differences, key=lambda one: -VERDICTS.index(one.verdict))
    for one in ranked[:MOST_ROWS]:
        yield _row(one)
    if len(ranked) > MOST_ROWS:
        yield f'<tr><td colspan="5">{len(ranked) - MOST_ROWS} more; the JSON report lists all</td></tr>'
    yield "</table></div></details>"


def _row(one: Difference) -> str:
    return (
        f'<tr><td class="path">{escape(one.path)}</td><td class="value">{escape(shown(one.captured))}</td>'
        f'<td class="value">{escape(shown(one.live))}</td>'
        f'<td><span class="word {one.verdict}">{one.verdict}</span></td>'
        f'<td class="why">{escape(one.why)}</td></tr>'
    )


def _remarks(remarks: Iterable[Remark]) -> Iterator[str]:
    yield "<ul>"
    for line in grouped(remarks):
        yield f"<li>{escape(line)}</li>"
    yield "</ul>"
