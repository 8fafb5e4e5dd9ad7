"""Rows into Parquet files, one a table, or into a DuckDB database. No more than a row group of each table is held."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from dissector.errors import DissectorError
from dissector.export.rows import Row
from dissector.export.schema import TABLES, Column, Table

ROWS = 65_536
"""Rows of a row group, at most ..."""
CHARACTERS = 16 << 20
"""... and characters of the values in it: other text is short."""
DUCKDB_MEMORY = "256MB"


class ExtraMissing(DissectorError):
    """An optional package is not installed."""


def need(module: str, extra: str) -> Any:
    """An optional module. Raises ExtraMissing with the command that installs it."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise ExtraMissing(
            f"{module.partition('.')[0]} is not installed: pip install 'mapi-dissector[{extra}]'"
        ) from None


class Writer(Protocol):
    """add() rows in any order, then close(); abandon() instead where something went wrong. counts: rows by table."""

    counts: dict[str, int]

    def add(self, table: str, row: Row) -> None: ...

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class _Group:
    """Rows of one table that are not written yet, column by column."""

    def __init__(self, table: Table, arrow: Any) -> None:
        self.table, self._arrow = table, arrow
        self.schema = arrow.schema([arrow.field(one.name, _arrow_type(one, arrow)) for one in table.columns])
        names = [one.name for one in table.columns[1:]]
        self._long = names.index("value") if "value" in names else None
        self._rows: list[Row] = []
        self._characters = 0

    @property
    def rows(self) -> int:
        return len(self._rows)

    def add(self, row: Row) -> bool:
        """Whether it is full now."""
        self._rows.append(row)
        if self._long is not None:
            self._characters += len(row[self._long] or "")
        return len(self._rows) >= ROWS or self._characters >= CHARACTERS

    def taken(self, capture: str) -> Any:
        """The rows as an Arrow table; there are none afterwards."""
        arrow = self._arrow
        name = arrow.repeat(arrow.scalar(capture), self.rows)
        kinds = self.schema.types[1:]
        columns = zip(*self._rows, strict=True) if self._rows else ((),) * len(kinds)
        arrays = [arrow.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
        self._rows, self._characters = [], 0
        return arrow.Table.from_arrays([name, *arrays], schema=self.schema)


def _arrow_type(column: Column, arrow: Any) -> Any:
    kinds = {
        "int": arrow.int64(), "float": arrow.float64(), "text": arrow.string(), "bool": arrow.bool_(),
        "time": arrow.timestamp("us"),
    }  # fmt: skip
    return kinds[column.kind]


class _Grouped(ABC):
    """What both writers do: collect rows, and write a group when it is full."""

    def __init__(self, capture: str) -> None:
        arrow = need("pyarrow", "export")
        self._capture = capture
        self._groups = {name: _Group(table, arrow) for name, table in TABLES.items()}
        self.counts = dict.fromkeys(TABLES, 0)

    def add(self, table: str, row: Row) -> None:
        group = self._groups[table]
        self.counts[table] += 1
        if group.add(row):
            self._write(table, group.taken(self._capture))

    def _flush(self) -> None:
        for name, group in self._groups.items():
            if group.rows or not self.counts[name]:
                self._write(name, group.taken(self._capture))

    @abstractmethod
    def _write(self, table: str, rows: Any) -> None: ...


class ParquetWriter(_Grouped):
    """A folder with TABLE.parquet for every table."""

    def __init__(self, folder: Path, capture: str) -> None:
        super().__init__(capture)
        self._parquet = need("pyarrow.parquet", "export")
        self._folder = folder
        self._files: dict[str, Any] = {}
        folder.mkdir()

    def _write(self, table: str, rows: Any) -> None:
        if table not in self._files:
            path = self._folder / f"{table}.parquet"
            self._files[table] = self._parquet.ParquetWriter(path, rows.schema, compression="zstd")
        self._files[table].write_table(rows)

    def close(self) -> None:
        self._flush()
        self.abandon()

    def abandon(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()


class DuckdbWriter(_Grouped):
    """A database file with every table in it."""

    def __init__(self, path: Path, capture: str) -> None:
        super().__init__(capture)
        self._connection = need("duckdb", "export").connect(str(path), config={"memory_limit": DUCKDB_MEMORY})
        for table in TABLES.values():
            columns = ", ".join(f'"{one.name}" {_SQL_TYPES[one.kind]}' for one in table.columns)
            self._connection.execute(f"CREATE TABLE {table.name} ({columns})")

    def _write(self, table: str, rows: Any) -> None:
        self._connection.register("taken", rows)
        self._connection.execute(f"INSERT INTO {table} SELECT * FROM taken")
        self._connection.unregister("taken")

    def close(self) -> None:
        self._flush()
        self.abandon()

    def abandon(self) -> None:
        self._connection.close()


_SQL_TYPES: Mapping[str, str] = {
    "int": "BIGINT", "float": "DOUBLE", "text": "VARCHAR", "bool": "BOOLEAN", "time": "TIMESTAMP",
}  # fmt: skip
