from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.compare.difference import Difference
from replay.errors import ReplayError
from replay.needs import Key, closure
from replay.report import Outcome, Report
from replay.shrink import Shrinker, condition


def report_of(bad: bool) -> Report:
    report = Report()
    report.add(Outcome(7, "RopLogon", [Difference("a.b", 1, 2, "different" if bad else "expected", "why", "conflict")]))
    return report


@given(st.integers(2, 24), st.data())
def test_only_what_shows_it_and_what_that_needs_is_left(count: int, data: st.DataObject) -> None:
    keys: list[Key] = [(number, 1) for number in range(count)]
    needs = {
        key: set(data.draw(st.lists(st.sampled_from(keys[:at]), max_size=2), label=f"needs of {key}")) if at else set()
        for at, key in enumerate(keys)
    }
    wanted = set(data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=3)))

    def attempt(tried: set[Key]) -> Report:
        assert closure(tried, needs) == tried, "what is tried can be sent"
        return report_of(wanted <= tried)

    shrinker = Shrinker(needs, attempt, condition(""))
    assert shrinker.shrink(set(keys)) == closure(wanted, needs)


def test_what_shows_nothing_is_not_shrunk() -> None:
    with pytest.raises(ReplayError, match="nothing to shrink"):
        Shrinker({(1, 1): set()}, lambda keys: report_of(False), condition("")).shrink({(1, 1)})


def failed(words: str, code: int) -> Report:
    report = report_of(False)
    report.failure, report.failure_code = words, code
    return report


def test_a_replay_that_failed_is_not_called_one_that_shows_nothing() -> None:
    with pytest.raises(ReplayError, match="cannot connect"):
        Shrinker({(1, 1): set()}, lambda keys: failed("cannot connect", 3), condition("")).shrink({(1, 1)})


@pytest.mark.parametrize("code", [3, 4, 5, 130])
def test_a_server_that_goes_away_ends_the_search(code: int) -> None:
    """What was found so far is kept, and nothing more is sent; a failure of the ROPs themselves is an answer."""
    keys: set[Key] = {(number, 1) for number in range(16)}
    reports = [report_of(True), report_of(True), failed("gone", code)]
    shrinker = Shrinker({key: set() for key in keys}, lambda tried: reports.pop(0), condition(""))
    assert len(shrinker.shrink(keys)) == 8
    assert shrinker.attempts == 3
    assert shrinker.ended is not None
    assert shrinker.ended.failure == "gone"


def test_attempts_are_bounded_and_the_best_so_far_is_kept() -> None:
    keys: set[Key] = {(number, 1) for number in range(64)}
    shrinker = Shrinker({key: set() for key in keys}, lambda tried: report_of((63, 1) in tried), condition(""), most=3)
    left = shrinker.shrink(keys)
    assert shrinker.attempts == 3
    assert (63, 1) in left
    assert len(left) < 64


@pytest.mark.parametrize(
    ("until", "fits"),
    [
        ("", True),
        ("rop == RopOpenFolder", False),
        ('rop == "RopLogon" and frame == 7', True),
        ("path contains b and verdict == different", True),
        ("cause == conflict", True),
        ("verdict == failed", False),
    ],
)
def test_what_until_asks_of_a_report(until: str, fits: bool) -> None:
    assert condition(until)(report_of(True)) is fits


def test_the_end_of_a_replay_can_be_looked_for() -> None:
    report = report_of(False)
    report.failure = "the server closed the connection"
    assert condition('verdict == failed and why contains "closed"')(report)
    assert not condition("")(report)
