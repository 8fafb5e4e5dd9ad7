"""A report as JUnit XML: a test case for every ROP that was compared, as CI systems show them."""

from __future__ import annotations

import re
from collections import Counter
from xml.etree import ElementTree

from replay.compare.difference import DIFFERENT, EXPECTED
from replay.report import Outcome, Report
from replay.reports.text import difference_lines, shown

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML document may hold."""


def document(report: Report) -> str:
    """The document. Differences are failures, the end of a replay before its time is an error."""
    cases: list[tuple[int, str, Outcome | None]] = [(frame, rop, None) for frame, rop in report.same]
    cases += [(outcome.frame, outcome.rop, outcome) for outcome in report.outcomes]
    cases.sort(key=lambda case: case[0])
    failures = report.verdicts[DIFFERENT]
    total = len(cases) + len(report.skipped) + bool(report.failure)
    counts = {"tests": str(total), "failures": str(failures), "errors": str(int(bool(report.failure)))}
    counts["skipped"] = str(len(report.skipped))
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": _text(report.title or "replay"), **counts})
    names: Counter[str] = Counter()
    for frame, rop, outcome in cases:
        case = _case(suite, frame, rop, names)
        if outcome is None:
            continue
        if outcome.verdict == DIFFERENT:
            lines = list(difference_lines(outcome, most=200))
            failure = ElementTree.SubElement(case, "failure", {"message": _text(lines[0]), "type": DIFFERENT})
            failure.text = _text("\n".join(lines))
        expected = [one for one in outcome.differences if one.verdict == EXPECTED]
        if expected:
            words = [f"expected {one.path}: {shown(one.captured)}, {shown(one.live)} ({one.why})" for one in expected]
            ElementTree.SubElement(case, "system-out").text = _text("\n".join(words))
    for remark in report.skipped:
        case = _case(suite, remark.frame, remark.rop, names)
        ElementTree.SubElement(case, "skipped", {"message": _text(remark.why)})
    if report.failure:
        case = ElementTree.SubElement(suite, "testcase", {"classname": "replay", "name": "the replay itself"})
        ElementTree.SubElement(case, "error", {"message": _text(report.failure), "type": str(report.exit_code)})
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


def _case(suite: ElementTree.Element, frame: int, rop: str, names: Counter[str]) -> ElementTree.Element:
    """A case whose name is its own: several ROPs of one kind in one frame are numbered."""
    name = f"frame {frame} {rop}"
    names[name] += 1
    if names[name] > 1:
        name += f" ({names[name]})"
    return ElementTree.SubElement(suite, "testcase", {"classname": rop, "name": _text(name)})


def _text(text: str) -> str:
    return _FORBIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
