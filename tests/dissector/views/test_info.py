"""`dissector info` as text: no value is lost, however narrow the terminal."""

from __future__ import annotations

from typing import Any

import pytest

from dissector.pipeline import dissect
from dissector.views import info
from tests.conftest import ROOT


@pytest.fixture
def facts() -> dict[str, Any]:
    with dissect(ROOT / "captures" / "notify.pcap") as dissection:
        return info.gather(dissection)


@pytest.mark.parametrize("width", [30, 50, 80, 120])
def test_no_value_of_a_session_is_lost(width: int, facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "WIDTH", width)
    facts["sessions"][0] |= {"client": "[2001:db8:1111:2222:3333:4444:5555:6666]:54321", "frames": [123456, 1234567]}
    shown = list(info.info_lines(facts, colour=False))
    start = shown.index(next(line for line in shown if line.startswith("session ")))
    assert shown[start].split() == ["session", "transport", "client", "server", "frames", "exchanges", "user"]
    (one,) = facts["sessions"]
    row = shown[start + 1]
    for value in ("session", "transport", "client", "server", "exchanges"):
        assert str(one[value]) in row
    assert "123456-1234567" in row
    folded = []
    for line in shown[start + 1 :]:
        if not line.strip():
            break
        folded.append(line[shown[start].index("user") :].strip())
    assert "".join(folded).replace(" ", "") == one["user"].replace(" ", "")  # folded at spaces, too


def test_tables_that_can_be_folded_fit(facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "WIDTH", 60)
    facts["sessions"] = []
    assert max(map(len, info.info_lines(facts, colour=False))) <= 60


@pytest.mark.parametrize(("gaps", "said"), [(1, "5 missing in 1 gap"), (2, "5 missing in 2 gaps")])
def test_gaps_are_counted(gaps: int, said: str, facts: dict[str, Any]) -> None:
    facts["tcp"] |= {"gaps": gaps, "missing_bytes": 5}
    (line,) = [line for line in info.info_lines(facts, colour=False) if line.startswith("TCP ")]
    assert line.rstrip().endswith(said)
