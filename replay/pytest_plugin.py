"""The pytest plugin: a fixture that replays captures, and *.replay.toml files as tests.

    def test_the_upload(replay):
        replay("upload.pcap", seed=True, expect={"different": 0})

    def test_by_hand(replay):
        report = replay("upload.pcap", seed=True)
        assert report.verdicts["different"] == 0

The fixture and the files replay to an embedded server of their own unless they are given another one. A file names a
capture (or a plan) beside it, what of it is replayed, and what is expected: see cases.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dissector.errors import DissectorError
from replay.cases import Case, failures, read_case, run_case
from replay.report import Report
from replay.reports.text import lines

SUFFIX = ".replay.toml"
MOST_LINES = 60


class Replaying:
    """What the fixture gives: call it with a capture, and with what a case file may hold as keywords."""

    def __init__(self, folder: Path, item: pytest.Item | None = None) -> None:
        self._folder, self._item = folder, item

    def __call__(self, capture: str | Path, **options: Any) -> Report:
        """Replay a capture or a plan; with expect the test fails where the replay is not as it says.

        Relative paths start at the test's folder. Raises CaseError, ReplayError.
        """
        path = Path(capture)
        case = Case.of({"capture": str(path), **options}, self._folder)
        report = run_case(case)
        found = failures(case, report) if "expect" in options else []
        if found:
            pytest.fail(told(path.name, report, found), pytrace=False)
        if self._item is not None:  # shown where the test fails later on
            self._item.add_report_section("call", f"replay of {path.name}", "\n".join(bounded(report)))
        return report


@pytest.fixture
def replay(request: pytest.FixtureRequest) -> Replaying:
    """Replays captures: replay("upload.pcap", server="http://...", user="alice", seed=True, ...) -> Report."""
    return Replaying(request.path.parent, request.node)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take *.replay.toml files."""
    return ReplayFile.from_parent(parent, path=file_path) if file_path.name.endswith(SUFFIX) else None


def bounded(report: Report) -> list[str]:
    """The lines of a report, not too many."""
    shown = list(lines(report))
    if len(shown) > MOST_LINES:
        shown = [*shown[: MOST_LINES // 2], f"... {len(shown) - MOST_LINES} lines ...", *shown[-MOST_LINES // 2 :]]
    return shown


def told(name: str, report: Report, found: list[str]) -> str:
    """What a case failed for, then what the replay found."""
    shown = [line for line in bounded(report) if line not in found]
    return "\n".join([f"{name}: {report.title}", *found, "", *shown])


class ReplayFile(pytest.File):
    """A file with one case."""

    def collect(self) -> Iterator[ReplayItem]:
        yield ReplayItem.from_parent(self, name=self.path.name.removesuffix(SUFFIX))


class DifferentError(Exception):
    """The replay is not as the case expects. report: what it found; found: what is wrong with it."""

    def __init__(self, report: Report, found: list[str]) -> None:
        super().__init__("; ".join(found))
        self.report, self.found = report, found


class ReplayItem(pytest.Item):
    """One case as a test."""

    def runtest(self) -> None:
        case = read_case(self.path)
        missing = case.missing()
        if missing:
            pytest.skip(missing)
        report = run_case(case)
        found = failures(case, report)
        if found:
            raise DifferentError(report, found)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        error = excinfo.value
        if isinstance(error, DissectorError):
            return str(error)
        if not isinstance(error, DifferentError):
            return super().repr_failure(excinfo, style)
        return told(self.path.name, error.report, error.found)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, f"replay: {self.name}"
