"""The state of a folder over time."""

from __future__ import annotations

from pathlib import Path

import pytest

from dissector.pipeline import dissect
from dissector.session.sync import records
from dissector.session.timeline import Timeline, fits, timelines
from tests.conftest import ROOT
from tests.dissector.diagnose import bad


def lines_of(path: Path) -> list[Timeline]:
    with dissect(path) as dissection:
        return timelines(records(dissection.exchanges()))


def test_what_each_synchronization_began_and_ended_with() -> None:
    inbox, deleted, hierarchy = lines_of(ROOT / "captures" / "upload-session.pcap")
    assert (inbox.folder_name, deleted.folder_name, hierarchy.kind) == ("Inbox", "DeletedItems", "hierarchy")
    assert [point.name for point in inbox.points] == ["1-", "1+", "2-", "2+", "5-", "5+"]
    same = [inbox.same_as(point) for point in inbox.points]
    assert [point.name if point is not None else None for point in same] == [None, None, "1+", None, "2-", None]
    assert [point.state.given.count for point in inbox.points] == [0, 50, 50, 50, 50, 48]
    assert inbox.again == []


@pytest.mark.parametrize("wanted", ["inbox", "Inbox", "0001-00000000000d", "0xd", "13"])
def test_a_folder_by_name_or_id(wanted: str) -> None:
    lines = lines_of(ROOT / "captures" / "upload-session.pcap")
    assert [line.folder_name for line in lines if fits(line, wanted)] == ["Inbox"]


@pytest.mark.parametrize(
    ("rule", "why", "count"),
    [
        ("final-state-not-taken", "lost from the state", 4),
        ("sent-again", "in the uploaded state", 2),
        ("bootstrap-in-mid-life", "lost from the state", 19),
    ],
)
def test_what_came_down_again_and_why(rule: str, why: str, count: int, tmp_path: Path) -> None:
    (line,) = lines_of(bad.write(rule, tmp_path))
    assert {one.why for one in line.again} == {why}
    assert len(line.again) == count
