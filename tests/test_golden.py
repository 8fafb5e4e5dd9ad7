"""Golden lists and trees of the bundled captures. `make golden` rewrites them; the diff is to be reviewed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dissector.pipeline import dissect
from dissector.views.rows import rows_of
from dissector.views.table import list_lines
from dissector.views.text import exchange_lines
from tests.conftest import ROOT

GOLDEN = Path(__file__).parent / "golden"
CAPTURES = sorted((ROOT / "captures").glob("*.pcap"))
TREES = {
    "hierarchy-bootstrap.pcap": {1, 2, 5, 10, 16, 25},
    "notify.pcap": set(range(1, 100)),
    "tables-lzx.pcap": {6, 7, 18, 20},
    "upload-session.pcap": {9, 34, 46, 48, 57, 58, 74, 85},
    "contents-incremental.pcap": {4, 17},
    "copyto.pcap": {6, 10},
}


def lists(path: Path) -> str:
    with dissect(path) as dissection:
        rows = [row for exchange in dissection.exchanges() for row in rows_of(exchange)]
    return "\n".join(list_lines(rows, colour=False)) + "\n"


def trees(path: Path) -> str:
    with dissect(path) as dissection:
        return "\n".join(
            line
            for exchange in dissection.exchanges()
            if exchange.number in TREES[path.name]
            for line in exchange_lines(exchange)
        )


@pytest.mark.parametrize("make", [lists, trees], ids=["list", "tree"])
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_as_golden(path: Path, make: object, request: pytest.FixtureRequest) -> None:
    assert callable(make)
    made = make(path)
    golden = GOLDEN / f"{path.stem}.{make.__name__}.txt"
    if request.config.getoption("--golden"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(made, encoding="utf-8")
        return
    assert golden.exists(), "no golden file: run `make golden` and review it"
    assert made.splitlines() == golden.read_text(encoding="utf-8").splitlines()
