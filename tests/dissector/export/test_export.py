"""Sets of tables: what is in them, when they appear, what a second run does; one capture or many."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dissector.export import rows, sets, writers
from dissector.export import run as running
from dissector.export.run import Order, Outcome, export, export_many, orders_for
from dissector.export.schema import FORMAT, TABLES
from dissector.export.sets import PARTS, Place, set_name
from dissector.pipeline import dissect
from tests.conftest import LONG, ROOT, captures_in

pytest.importorskip("pyarrow", reason="the extra `export` is not installed")
duckdb = pytest.importorskip("duckdb", reason="the extra `export` is not installed")

CAPTURES = sorted((ROOT / "captures").glob("*.pcap"))
UPLOAD = ROOT / "captures" / "upload-session.pcap"
REAL = captures_in("real")
NOTIFY = ROOT / "captures" / "notify.pcap"
FORMS = ["parquet", "duckdb"]


def contents(outcome: Outcome) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of a set by table, in the order in which they were written."""
    assert outcome.path is not None
    with duckdb.connect() as database:
        if outcome.path.endswith(".duckdb"):
            database.execute(f"ATTACH '{outcome.path}' AS one (READ_ONLY); USE one")
            return {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in TABLES}
        return {name: database.execute(f"SELECT * FROM '{outcome.path}/{name}.parquet'").fetchall() for name in TABLES}


def ordered(path: Path, folder: Path, **more: Any) -> Order:
    return Order(str(path), str(folder), **more)


def names_in(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


@pytest.mark.parametrize("form", FORMS)
def test_a_set_has_every_row_in_order(tmp_path: Path, form: Any) -> None:
    outcome = export(ordered(UPLOAD, tmp_path, form=form))
    assert outcome.status == "written", outcome.why
    found = contents(outcome)
    wanted: dict[str, list[tuple[Any, ...]]] = {name: [] for name in TABLES}
    with dissect(UPLOAD) as dissection:
        for table, row in rows.rows_of(dissection, {}, "0"):
            wanted[table].append(row)
    assert {name: len(one) for name, one in found.items()} == outcome.rows
    assert outcome.rows == {name: len(one) for name, one in wanted.items()}
    name = Path(outcome.path or "").name.removesuffix(".duckdb")
    for table, lines in found.items():
        times = [at for at, one in enumerate(TABLES[table].columns) if one.kind == "time"]
        for got, want in zip(lines, wanted[table], strict=True):
            assert got[0] == name
            for at, (mine, theirs) in enumerate(zip(got[1:], want, strict=True), 1):
                if at in times and theirs is not None:
                    assert round((mine - type(mine)(1970, 1, 1)).total_seconds() * 1e6) == theirs
                elif table != "captures":
                    assert mine == theirs
    assert outcome.rows["findings"] >= 1
    assert outcome.rows["states"] > outcome.rows["syncs"] > 1
    assert names_in(tmp_path) == [Path(outcome.path or "").name]


def test_both_forms_hold_the_same(tmp_path: Path) -> None:
    one, two = (contents(export(ordered(UPLOAD, tmp_path, form=form))) for form in FORMS)
    assert one == two
    assert len(names_in(tmp_path)) == 2


def test_a_capture_without_mapi_has_empty_tables(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pcap"
    empty.write_bytes(NOTIFY.read_bytes()[:24])
    found = contents(export(ordered(empty, tmp_path / "out")))
    assert {name: len(one) for name, one in found.items() if one} == {"captures": 1, "findings": 1}
    assert "nothing-to-diagnose" in found["findings"][0]


def test_captures_of_one_name_do_not_collide_and_copies_are_one_set(tmp_path: Path) -> None:
    for folder, path in (("a", NOTIFY), ("b", UPLOAD), ("c", NOTIFY)):
        (tmp_path / folder).mkdir()
        shutil.copy(path, tmp_path / folder / "outlook.pcap")
    made = [export(ordered(tmp_path / folder / "outlook.pcap", tmp_path / "out")) for folder in "abc"]
    assert [one.status for one in made] == ["written", "written", "kept"]
    assert made[0].path == made[2].path != made[1].path
    assert all(re.fullmatch(r"outlook\.pcap-[0-9a-f]{12}", name) for name in names_in(tmp_path / "out"))


@pytest.mark.parametrize("name", ["..pcap", "-o x.pcap", "días & noches.pcap", "a" * 200, "x'; DROP.pcap"])
def test_a_set_has_a_plain_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(NOTIFY.read_bytes())
    assert re.fullmatch(r"[\w-][\w.-]{0,79}-[0-9a-f]{12}", set_name(path), re.ASCII)
    assert export(ordered(path, tmp_path / "out", form="duckdb")).status == "written"


@pytest.mark.parametrize("form", FORMS)
def test_a_second_run_does_only_what_is_missing(tmp_path: Path, form: Any) -> None:
    def again(**more: Any) -> str:
        outcome = export(ordered(NOTIFY, tmp_path, form=form, **more))
        assert outcome.path is not None
        assert len(contents(outcome)["exchanges"]) == 10
        assert len(names_in(tmp_path)) == 1
        return outcome.status

    assert again() == "written"
    assert again() == "kept"
    assert again(force=True) == "written"
    assert again(options={"tls.keylog_file": "keys"}) == "written"
    assert again(options={"tls.keylog_file": "keys"}) == "kept"
    assert again(engine="native") == "written"
    (place,) = tmp_path.iterdir()
    if form == "parquet":
        (place / "captures.parquet").write_bytes(b"damaged")
    else:
        place.write_bytes(b"damaged")
    assert again(engine="native") == "written"


def test_sets_of_another_format_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(ordered(NOTIFY, tmp_path))
    for module in (sets, rows):
        monkeypatch.setattr(module, "FORMAT", FORMAT + 1)
    assert export(ordered(NOTIFY, tmp_path)).status == "written"
    assert export(ordered(NOTIFY, tmp_path)).status == "kept"


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_left_of_a_set_that_fails(tmp_path: Path, form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what was there before stays."""
    kept = export(ordered(NOTIFY, tmp_path, form=form))
    before = contents(kept)

    def failing(*arguments: Any) -> Iterator[tuple[str, rows.Row]]:
        parts = list((tmp_path / PARTS / "single").iterdir())
        assert len(parts) == 1
        yield from list(rows.rows_of(*arguments))[:20]
        raise ZeroDivisionError("in the middle")

    monkeypatch.setattr(running, "rows_of", failing)
    outcome = export(ordered(NOTIFY, tmp_path, form=form, force=True))
    assert outcome.status == "failed"
    assert outcome.why.startswith("ZeroDivisionError: in the middle (test_export.py:")
    assert contents(kept) == before
    assert len(names_in(tmp_path)) == 1


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> Iterator[tuple[str, rows.Row]]:
        yield "captures", (None,) * (len(TABLES["captures"].columns) - 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "rows_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(ordered(NOTIFY, tmp_path))
    assert names_in(tmp_path) == []


def test_groups_are_written_as_they_fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more rows are held than a group has."""
    from pyarrow import parquet

    most = 0
    add = writers._Group.add

    def watched(self: Any, row: rows.Row) -> bool:
        nonlocal most
        full = add(self, row)
        most = max(most, self.rows)
        return full

    monkeypatch.setattr(writers._Group, "add", watched)
    monkeypatch.setattr(writers, "ROWS", 100)
    whole = contents(export(ordered(UPLOAD, tmp_path / "groups")))
    assert most == 100
    (folder,) = (tmp_path / "groups").iterdir()
    assert parquet.ParquetFile(folder / "properties.parquet").num_row_groups == 11
    monkeypatch.setattr(writers, "ROWS", 1 << 20)
    monkeypatch.setattr(writers, "CHARACTERS", 10_000)
    assert contents(export(ordered(UPLOAD, tmp_path / "characters"))) == whole
    (folder,) = (tmp_path / "characters").iterdir()
    assert parquet.ParquetFile(folder / "properties.parquet").num_row_groups > 2


def test_two_at_the_same_set_do_no_harm(tmp_path: Path) -> None:
    """The other one finishes between our looking and our renaming."""
    place = Place(tmp_path, set_name(NOTIFY), "parquet")
    one = ordered(NOTIFY, tmp_path)

    def both() -> Iterator[tuple[str, rows.Row]]:
        with dissect(NOTIFY) as dissection:
            yield from rows.rows_of(dissection, {}, "0")
        assert export(one).status == "written"

    assert place.write(both())["exchanges"] == 10
    assert len(names_in(tmp_path)) == 1


def broken_captures(folder: Path) -> list[str]:
    """A good one, one that is no capture, one that is not there, a folder, another good one."""
    text, directory = folder / "text.pcap", folder / "folder.pcap"
    text.write_text("no capture")
    directory.mkdir()
    return [str(NOTIFY), str(text), str(folder / "absent.pcap"), str(directory), str(UPLOAD)]


def check_broken(outcomes: list[Outcome]) -> None:
    status = {Path(one.capture).name: one.status for one in outcomes}
    assert status == {
        "notify.pcap": "written", "text.pcap": "failed", "absent.pcap": "failed", "folder.pcap": "failed",
        "upload-session.pcap": "written",
    }  # fmt: skip
    why = {Path(one.capture).name: one.why for one in outcomes}
    assert why["text.pcap"].startswith("no pcap or pcapng file")
    assert "No such file" in why["absent.pcap"]
    assert "directory" in why["folder.pcap"]


def test_a_capture_that_fails_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    orders = [Order(path, str(tmp_path / "out")) for path in broken_captures(tmp_path)]
    check_broken(list(export_many(orders)))
    assert [one.status for one in export_many(orders)] == ["kept", "failed", "failed", "failed", "kept"]


def deadly(order: Order) -> Outcome:
    if "text" in order.capture:
        (Path(order.folder) / PARTS / order.run / "unfinished").mkdir(parents=True)
        os._exit(3)
    return export(order)


def test_many_through_dask_where_one_kills_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="the extra `scale` is not installed")
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(running, "export", deadly)
    orders = [Order(path, str(tmp_path / "out")) for path in broken_captures(tmp_path)]
    outcomes = list(export_many(orders, 2))
    why = {Path(one.capture).name: one.why for one in outcomes if one.status == "failed"}
    assert why.keys() == {"text.pcap", "absent.pcap", "folder.pcap"}
    assert why["text.pcap"] == "the worker process was killed"
    assert sorted(one.status for one in outcomes).count("written") == 2
    assert len(names_in(tmp_path / "out")) == 2


def test_dask_keeps_off_the_port_of_its_dashboard() -> None:
    """Where somebody else has it, it would warn on standard error."""
    distributed = pytest.importorskip("distributed", reason="the extra `scale` is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with running._client(distributed, 1, None) as client:
            server = client.cluster.scheduler.http_server
            assert server.address == "127.0.0.1"
            assert server.port != 8787


def test_a_scheduler_that_is_there_and_one_that_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="the extra `scale` is not installed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, silence_logs=50
    ) as cluster:
        orders = [Order(path, str(tmp_path / "out")) for path in broken_captures(tmp_path)]
        check_broken(list(export_many(orders, scheduler=cluster.scheduler_address)))
    monkeypatch.setattr(running, "CONNECT_SECONDS", 1)
    with pytest.raises(running.DissectorError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        list(export_many(orders, scheduler="tcp://127.0.0.1:9"))


def test_orders_are_made_once_for_each_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = orders_for(["a.pcap", str(tmp_path / "a.pcap"), "b/../c.pcap"], "out", Order)
    assert [one.capture for one in made] == [str(tmp_path / "a.pcap"), str(tmp_path / "c.pcap")]
    assert {one.folder for one in made} == {str(tmp_path / "out")}


# -- the command


def dissector(*arguments: object, code: str = "from dissector.cli import main; main()") -> Any:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, cwd=ROOT, timeout=LONG, check=False, text=True)


def test_the_command_tells_what_it_did_and_ends_with_1_where_something_failed(tmp_path: Path) -> None:
    captures = broken_captures(tmp_path)
    done = dissector("export", *captures, "-o", tmp_path / "out", "-j", 1)
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["written", "written"]
    assert len(done.stderr.splitlines()) == 3
    done = dissector("export", *captures, "-o", tmp_path / "out", "-j", 1, "-T", "json")
    assert [one["status"] for one in json.loads(done.stdout)] == ["kept", "failed", "failed", "failed", "kept"]
    done = dissector("export", NOTIFY, "-o", tmp_path / "out", "--force", "--format", "duckdb")
    assert done.returncode == 0, done.stderr
    assert "10 exchanges" in done.stdout


@pytest.mark.parametrize(
    ("module", "extra", "arguments"),
    [
        ("pyarrow", "export", []),
        ("duckdb", "export", ["--format", "duckdb"]),
        ("distributed", "scale", ["--jobs", "2"]),
        ("distributed", "scale", ["--scheduler", "tcp://127.0.0.1:9"]),
    ],
)
def test_what_is_not_installed_is_said_in_one_line(
    tmp_path: Path, module: str, extra: str, arguments: list[str]
) -> None:
    code = f"import sys; sys.modules[{module!r}] = None\nfrom dissector.cli import main; main()"
    done = dissector("export", NOTIFY, UPLOAD, "-o", tmp_path / "out", *arguments, code=code)
    assert done.returncode == 2
    assert done.stderr == f"dissector: {module} is not installed: pip install 'mapi-dissector[{extra}]'\n"
    assert not (tmp_path / "out").exists()


def test_without_dask_and_without_being_asked_for_it_captures_go_one_by_one(tmp_path: Path) -> None:
    code = "import sys; sys.modules['distributed'] = None\nfrom dissector.cli import main; main()"
    done = dissector("export", NOTIFY, UPLOAD, "-o", tmp_path / "out", code=code)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = dissector("export", NOTIFY, "-o", tmp_path / "file" / "out", "-j", 1)
    assert done.returncode == 1
    assert "cannot be written to" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# -- docs/scale.md


def queries() -> dict[str, str]:
    """The queries of docs/scale.md by the first word of their comment."""
    text = (ROOT / "docs" / "scale.md").read_text()
    found = re.findall(r"^```sql\n-- (\w+)(.*?)^```", text, re.S | re.M)
    return {name: "--" + query for name, query in found}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "tables"
    for outcome in export_many([ordered(path, folder) for path in CAPTURES + REAL]):
        assert outcome.status == "written", outcome.why
    return folder


CHECKS: dict[str, Callable[[list[dict[str, Any]]], bool]] = {
    "errors": lambda found: all(row["return_name"] and row["times"] >= 1 for row in found),
    "slow": lambda found: {"Execute", "Connect", "NotificationWait"} <= {row["call"] for row in found},
    "wasted": lambda found: (
        {"upload-session", "hierarchy-bootstrap"} <= {row["capture"].split(".")[0] for row in found}
    ),
    "volume": lambda found: len(found) == 20 and found[0]["bytes"] >= found[19]["bytes"] > 0,
    "message": lambda found: {row["root"] for row in found} >= {"contentsSync", "messageContent", "messageList"},
    "states": lambda found: {row["property"] for row in found} >= {"MetaTagIdsetGiven", "MetaTagCnsetSeen"},
    "missing": lambda found: found[0]["error"] == "ecNotFound",
}


def test_there_are_at_least_five_questions_and_each_is_checked() -> None:
    asked = queries()
    assert asked.keys() == {"setup", *CHECKS}
    assert len(CHECKS) >= 5


@pytest.mark.parametrize("name", CHECKS)
def test_the_documented_questions_have_answers(tables: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tables.parent)
    asked = queries()
    with duckdb.connect() as database:
        database.execute(asked["setup"])
        made = database.execute(asked[name])
        columns = [column[0] for column in made.description]
        found = [dict(zip(columns, row, strict=True)) for row in made.fetchall()]
    assert CHECKS[name](found), found[:5]
    if name != "errors" or REAL:  # nothing fails in the bundled captures
        assert found


def test_the_questions_fit_a_database_too(tmp_path: Path) -> None:
    outcome = export(ordered(UPLOAD, tmp_path, form="duckdb"))
    with duckdb.connect(outcome.path, read_only=True) as database:
        for name, query in queries().items():
            if name != "setup":
                database.execute(query).fetchall()
