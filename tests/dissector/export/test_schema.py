"""The tables: documented as they are, and every row fits them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dissector.export.rows import rows_of
from dissector.export.schema import TABLES
from dissector.pipeline import dissect
from tests.conftest import ROOT, captures_in

BUNDLED = sorted((ROOT / "captures").glob("*.pcap"))
EVERYTHING = BUNDLED + captures_in("gromox", "real", "encrypted", "formats")
KINDS = {"int": int, "float": float, "text": str, "bool": bool, "time": int}


def test_the_documentation_shows_every_column() -> None:
    text = (ROOT / "docs" / "scale.md").read_text()
    shown: dict[str, list[tuple[str, str, str]]] = {}
    for part in text.split("\n### ")[1:]:
        name, _, rest = part.partition("\n")
        about = re.search(r"One row is (.*)\.\n", rest)
        if name in TABLES and about is not None:
            assert about[1] == TABLES[name].about
            shown[name] = [
                (row[0], row[1], row[2]) for row in re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \|$", rest, re.M)
            ]
    assert shown == {name: [tuple(column) for column in table.columns] for name, table in TABLES.items()}


def test_names_need_no_quotes_but_for_words_of_sql() -> None:
    for table in TABLES.values():
        names = [column.name for column in table.columns]
        assert len(set(names)) == len(names)
        assert names[0] == "capture"
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_row_fits_its_table(path: Path) -> None:
    counts = dict.fromkeys(TABLES, 0)
    with dissect(path, engine="native") as dissection:
        for table, row in rows_of(dissection, {}, "0"):
            counts[table] += 1
            columns = TABLES[table].columns[1:]
            assert len(row) == len(columns)
            for column, value in zip(columns, row, strict=True):
                assert value is None or type(value) is KINDS[column.kind], (table, column.name, value)
                if isinstance(value, str):
                    value.encode()
                elif isinstance(value, int):
                    assert -(1 << 63) <= value < 1 << 63
        tracker = dissection.tracker
    assert counts["captures"] == 1
    assert counts["sessions"] == len(tracker.sessions)
    assert counts["exchanges"] == sum(session.exchanges for session in tracker.sessions)
