"""The pytest plugin: a fixture that replays captures, and *.replay.toml files as tests.

    def test_the_upload(replay):
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

from replay.cases import Case, CaseError, failures, read_case, run_case
from replay.report import Report
from replay.reports.text import lines

SUFFIX = ".replay.toml"
MOST_LINES = 60


class Replaying:
    """What the fixture gives: call it with a capture, and with what a case file may hold as keywords."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, capture: str | Path, **options: Any) -> Report:
        """Replay a capture or a plan. Relative paths start at the test's folder. Raises CaseError, ReplayError."""
        path = Path(capture)
        return run_case(Case.of({"capture": str(path), **options}, self._folder))


@pytest.fixture
def replay(request: pytest.FixtureRequest) -> Replaying:
    """Replays captures: replay("upload.pcap", server="http://...", user="alice", seed=True, ...) -> Report."""
    return Replaying(request.path.parent)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take *.replay.toml files."""
    return ReplayFile.from_parent(parent, path=file_path) if file_path.name.endswith(SUFFIX) else None


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
        if isinstance(error, CaseError):
            return str(error)
        if not isinstance(error, DifferentError):
            return super().repr_failure(excinfo, style)
        shown = list(lines(error.report))
        if len(shown) > MOST_LINES:
            shown = [*shown[: MOST_LINES // 2], f"... {len(shown) - MOST_LINES} lines ...", *shown[-MOST_LINES // 2 :]]
        return "\n".join([f"{self.path.name}: {error.report.title}", *error.found, "", *shown])

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, 0, f"replay: {self.name}"
