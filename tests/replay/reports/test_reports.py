"""Reports in their four forms, of a made-up replay and of a real one."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dissector.model.ids import ObjectId
from dissector.views.json import dumps_pretty
from replay.compare.difference import Difference
from replay.errors import ReplayError
from replay.report import Outcome, Remark, Report
from replay.reports import save, text_of
from replay.reports.text import shown
from tests.conftest import ROOT
from tests.replay.sessions import replayed_fresh

UPLOAD = ROOT / "captures" / "upload-session.pcap"
NASTY = "<b>\x00&\"'\ud800\x1b[31m</b>"


def made() -> Report:
    report = Report("a.pcap replayed to http://x as <alice>")
    report.add(Outcome(3, "RopOpenFolder", []))
    report.add(Outcome(3, "RopOpenFolder", []))
    report.add(
        Outcome(5, "RopSaveChangesMessage", [Difference("MessageId", ObjectId(1, 2), ObjectId(1, 3), "remapped")])
    )
    report.add(Outcome(7, "RopQueryRows", [Difference("RowData[0].PidTagSubject", "a", NASTY, "different", "why not"),
                                           Difference("x.PidTagCreationTime", 1, 2, "expected", "clock")]))  # fmt: skip
    conflict = Difference("ReturnValue", "0x0", "0x80040802", "different", "a conflict", "conflict")
    report.add(Outcome(9, "RopSynchronizationImportMessageChange", [conflict]))
    report.skipped = [Remark(4, "RopRelease", "not opened"), Remark(6, "RopRelease", "not opened")]
    report.supplied = [Remark(0, "seed", "before the replay: 3 messages"), Remark(2, "RopLogon", "none")]
    report.notes = [Remark(8, "RopX", "unsure", f"id {number}") for number in range(5)]
    return report


def test_text() -> None:
    text = "\n".join(text_of(made(), "text"))
    assert "skipped   RopRelease (2 times from frame 4): not opened" in text
    assert "supplied  seed: before the replay: 3 messages" in text
    assert "note      RopX (5 times from frame 8): unsure: id 0, id 1, id 2, ..." in text
    assert "different frame 7 RopQueryRows RowData[0].PidTagSubject: captured 'a', live" in text
    assert "(why not)" in text
    assert "\x1b" not in text
    assert "\x00" not in text
    assert "5 ROPs compared: 2 same, 1 remapped, 0 expected, 2 different; 2 skipped, 2 supplied" in text


def test_the_exit_code_is_that_of_the_first_difference() -> None:
    report = made()
    assert report.exit_code == 1
    report.outcomes.reverse()
    assert report.exit_code == 12
    report.failure, report.failure_code = "gone", 7
    assert report.exit_code == 7


def test_json_keeps_its_contract() -> None:
    content = json.loads("\n".join(text_of(made(), "json")))
    assert content["steps"] == 5 == sum(content[name] for name in ("same", "remapped", "expected", "different"))
    assert {"title", "differences", "skipped", "supplied", "notes", "failure", "stopped", "exit_code"} <= content.keys()
    assert [one["verdict"] for one in content["differences"]] == ["different", "expected", "different"]
    assert {"frame", "rop", "path", "captured", "live", "verdict", "why", "cause"} == content["differences"][0].keys()
    assert dumps_pretty(made().as_json())


def test_junit_is_one_case_for_each_rop() -> None:
    report = made()
    report.failure = "the server went away"
    root = ElementTree.fromstring("\n".join(text_of(report, "junit")))
    suite = root.find("testsuite")
    assert suite is not None
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "8", "failures": "2", "errors": "1", "skipped": "2",
    }  # fmt: skip
    names = [case.get("name") for case in suite]
    assert len(set(names)) == len(names) == 8
    assert names[:3] == ["frame 3 RopOpenFolder", "frame 3 RopOpenFolder (2)", "frame 5 RopSaveChangesMessage"]
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert "RowData[0].PidTagSubject" in (failure.text or "")
    assert suite[-1].find("error") is not None


class Page(HTMLParser):
    """Checks that tags are closed in order, and collects what is fetched from elsewhere."""

    void = frozenset({"meta", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_html_is_one_page_that_needs_nothing_else() -> None:
    report = made()
    report.stopped = "stopped at frame 9"
    page = Page()
    content = "\n".join(text_of(report, "html"))
    page.feed(content)
    page.close()
    assert page.open == []
    assert page.sources == []
    assert "b" not in page.tags[page.tags.index("details") :], "values are text, never markup"
    text = "".join(page.text)
    assert "a.pcap replayed to http://x as <alice>" in text
    assert "stopped at frame 9" in text
    assert "RowData[0].PidTagSubject" in text
    assert "\x00" not in content


def test_a_real_report_in_every_form(tmp_path: Path) -> None:
    report = replayed_fresh(UPLOAD)
    for name in ("r.txt", "r.json", "r.xml", "r.html"):
        save(report, tmp_path / name)
    assert json.loads((tmp_path / "r.json").read_text("utf-8"))["steps"] == report.steps
    ElementTree.parse(tmp_path / "r.xml")
    page = Page()
    page.feed((tmp_path / "r.html").read_text("utf-8"))
    assert page.open == []
    with pytest.raises(ReplayError, match="the ending says the form"):
        save(report, tmp_path / "r.pdf")
    with pytest.raises(ReplayError, match="No such file"):
        save(report, tmp_path / "none" / "r.txt")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("text", "'text'"),
        ("(not there)", "(not there)"),
        (7, "7"),
        (ObjectId(1, 2), "0001-000000000002"),
        ("x" * 300, "'" + "x" * 99 + "…'"),
        (b"\x01\x02", "0102"),
    ],
)
def test_values_in_one_line(value: object, words: str) -> None:
    assert shown(value) == words


def test_one_is_no_plural() -> None:
    report = Report()
    report.add(Outcome(3, "RopX", [Difference(f"a{number}", 1, 2, "different", "", "") for number in range(5)]))
    report.outcomes[0].differences[0] = Difference("a", 1, 2, "different", "", "missing")
    text = "\n".join(text_of(report, "text"))
    assert "1 more field of this ROP" in text
    assert "1 ROP compared: " in text
    assert report.hints == [
        "1 field differs by what the captured server had before: --seed puts that on the server first"
    ]


def test_what_was_there_before_is_hinted_at_once() -> None:
    report = Report()
    report.add(Outcome(3, "RopX", [Difference(f"a{number}", 1, 2, "different", "", "missing") for number in range(3)]))
    for form in ("text", "json", "html"):
        assert "3 fields differ by what the captured server had before: --seed" in "\n".join(text_of(report, form))
    report.seeded = True
    assert report.hints == []
    report = Report()
    report.add(
        Outcome(3, "RopX", [Difference("a", 1, 2, "expected", "", "missing"), Difference("b", 1, 2, "different")])
    )
    assert report.hints == []
