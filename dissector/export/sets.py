"""Where the tables of a capture go: a set, named by its name and content, that appears when it is complete."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple

from dissector.errors import CaptureError, DissectorError
from dissector.export.rows import Row
from dissector.export.schema import FORMAT
from dissector.export.writers import DuckdbWriter, ParquetWriter, Writer, need

Form = Literal["parquet", "duckdb"]
PARTS = ".parts"
"""Folder below the output folder in which sets are made; what a killed run leaves there may be deleted."""


def set_name(path: Path) -> str:
    """'outlook.pcap-1f0c2b3a4d5e': the name of the capture, and a hash of its bytes. Raises CaptureError."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=6)).hexdigest()
    except OSError as error:
        raise CaptureError(f"{path}: cannot be read: {error.strerror or error}") from None
    name = re.sub(r"[^\w.-]", "_", path.name, flags=re.ASCII).lstrip(".")[:80]
    return f"{name or 'capture'}-{digest}"


class Place(NamedTuple):
    """A set in an output folder. form: "parquet" makes it a folder, "duckdb" a database. run: see cleared()."""

    folder: Path
    name: str
    form: Form
    run: str = "single"

    @property
    def path(self) -> Path:
        return self.folder / (self.name if self.form == "parquet" else f"{self.name}.duckdb")

    def made_with(self) -> tuple[str, int] | None:
        """(options, format) that the set was made with; None where there is none, or none that can be read."""
        try:
            if self.form == "parquet":
                table = need("pyarrow.parquet", "export").read_table(self.path / "captures.parquet")
                rows = [(one["options"], one["format"]) for one in table.to_pylist()]
            else:
                if not self.path.exists():
                    return None
                with need("duckdb", "export").connect(str(self.path), read_only=True) as database:
                    rows = database.execute("SELECT options, format FROM captures").fetchall()
        except DissectorError:
            raise
        except Exception:
            return None
        return rows[0] if len(rows) == 1 else None

    def is_there(self, options: str) -> bool:
        return self.made_with() == (options, FORMAT)

    def write(self, rows: Iterable[tuple[str, Row]]) -> Mapping[str, int]:
        """Make the set; it takes its name when it is complete. Returns how many rows each table has."""
        with self._part() as part:
            writer = self._writer(part)
            try:
                for table, row in rows:
                    writer.add(table, row)
            except BaseException:
                with suppress(Exception):
                    writer.abandon()
                raise
            writer.close()
            self._put(part)
        return writer.counts

    def _writer(self, part: Path) -> Writer:
        return ParquetWriter(part, self.name) if self.form == "parquet" else DuckdbWriter(part, self.name)

    @contextmanager
    def _part(self) -> Iterator[Path]:
        """A path for a set that is being made, in a folder of its own of which nothing is left."""
        home = self.folder / PARTS / self.run / f"{self.name}.{uuid.uuid4().hex}"
        try:
            _again(lambda: home.mkdir(parents=True))
        except OSError as error:
            raise DissectorError(f"{self.folder}: cannot be written to: {error.strerror or error}") from None
        try:
            yield home / self.path.name
        except OSError as error:
            raise DissectorError(f"{self.path}: cannot be written: {error.strerror or error}") from error
        finally:
            shutil.rmtree(home, ignore_errors=True)
            with suppress(OSError):
                home.parent.rmdir()
                home.parent.parent.rmdir()

    def _put(self, part: Path) -> None:
        """Give the finished set its name. A folder cannot be replaced at one stroke: the old one steps aside first."""

        def put() -> None:
            if self.form == "parquet":
                with suppress(FileNotFoundError):
                    os.rename(self.path, part.with_name(f"old-{uuid.uuid4().hex}"))
            os.replace(part, self.path)

        _again(put)


def cleared(folder: Path, run: str) -> None:
    """Remove what the killed processes of a run have left in an output folder."""
    parts = folder / PARTS
    shutil.rmtree(parts / run, ignore_errors=True)
    with suppress(OSError):
        parts.rmdir()


def _again(step: Callable[[], None]) -> None:
    """Do what another process that makes the same set may undo at the same moment."""
    for _ in range(20):
        try:
            return step()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise
            time.sleep(0.01)
    return step()
