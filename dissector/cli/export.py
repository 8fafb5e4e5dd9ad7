"""dissector export: captures as tables."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from dissector.cli.application import app
from dissector.cli.options import Brief, Engine, EngineOption, preferences

if TYPE_CHECKING:
    from dissector.export.run import Outcome


class TableFormat(StrEnum):
    """--format of export."""

    PARQUET = "parquet"
    DUCKDB = "duckdb"


@app.command(epilog="Example: dissector export *.pcapng -o tables --format parquet")
def export(
    captures: Annotated[list[str], typer.Argument(metavar="CAPTURE...", help="pcap or pcapng files, gzipped or not.")],
    folder: Annotated[str, typer.Option("-o", "--output", metavar="DIR", help="Where the sets of tables go.")],
    table_format: Annotated[
        TableFormat, typer.Option("--format", help="A folder of Parquet files, or a DuckDB database, for each capture.")
    ] = TableFormat.PARQUET,
    jobs: Annotated[
        int | None,
        typer.Option("-j", "--jobs", metavar="N", min=1, help="Captures at a time; without it one a processor."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="A Dask scheduler to use, e.g. tcp://192.0.2.1:8786."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also make the sets that are there already.")] = False,
    form: Annotated[Brief, typer.Option("-T", help="Output format.")] = Brief.TEXT,
    prefs: Annotated[
        list[str] | None,
        typer.Option("--preference", metavar="NAME:VALUE", help="As -o elsewhere, e.g. tls.keylog_file:keys.txt."),
    ] = None,
    engine: EngineOption = Engine.AUTO,
) -> None:
    """Tables for SQL: exchanges, ROPs, properties, streams, states, synchronizations, findings. See docs/scale.md.

    Every capture gets a set of its own, which appears when it is complete. A capture that fails is reported, the rest
    goes on, and the exit code is 1. What is there already is kept, so that a second run does only what is missing.
    """
    from dissector.export.run import Order, export_many, orders_for
    from dissector.export.writers import ExtraMissing, need
    from dissector.jobs import available
    from dissector.views.json import dumps_pretty

    need("pyarrow", "export")
    if table_format is TableFormat.DUCKDB:
        need("duckdb", "export")
    given = preferences(prefs)
    orders = orders_for(
        captures, folder, lambda path, target: Order(path, target, table_format.value, engine.value, given, force)
    )
    count = jobs if jobs is not None else available()
    if min(count, len(orders)) > 1 and jobs is None and scheduler is None:
        try:
            need("distributed", "scale")
        except ExtraMissing as error:
            print(f"dissector: one capture after another: {error}", file=sys.stderr)
            count = 1
    outcomes: list[Outcome] = []
    for outcome in export_many(orders, count, scheduler):
        outcomes.append(outcome)
        if outcome.status == "failed":
            print(f"dissector: {outcome.capture}: {outcome.why}", file=sys.stderr)
        elif form is Brief.TEXT:
            print(line(outcome), flush=True)
    if form is Brief.JSON:
        places = {order.capture: number for number, order in enumerate(orders)}
        outcomes.sort(key=lambda one: places[one.capture])
        print(dumps_pretty([one.as_json() for one in outcomes]))
    if any(one.status == "failed" for one in outcomes):
        raise typer.Exit(1)


def line(outcome: Outcome) -> str:
    """'written  tables/a.pcap-1f0c2b3a4d5e  38 exchanges, 120 rops, ..., 0.3 s'"""
    what = ", ".join(f"{count} {table}" for table, count in outcome.rows.items() if table != "captures" and count)
    return f"{outcome.status:8} {outcome.path}" + (f"  {what}, {outcome.seconds:.1f} s" if what else "")
