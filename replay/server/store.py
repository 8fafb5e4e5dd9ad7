"""The database under the server: SQLite, in a file or in memory.

One connection, one lock: a client's Execute holds the lock and is one transaction, so it is seen whole or not at all.
Write-ahead logging keeps the file consistent when the process dies in mid-write. The file belongs to one process at a
time (locking_mode=EXCLUSIVE); a second one is told so.

A *bag* is anything that has properties: a store, a folder, a message, a recipient, an attachment, an embedded message.
Bags form trees (message, attachment, embedded message, ...) that are deleted together. Texts and binaries beyond
properties.LARGE stay in a table of their own and are read when asked for.

This file knows tables and bytes; what mailboxes, folders and messages mean is in mailbox.py and content.py.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dissector.errors import DissectorError
from replay.server.errors import OBJECT_DELETED, RopError
from replay.server.properties import LARGE, Large, Properties
from replay.server.values import BINARY, STRING, from_column, size_of, to_column

VERSION = 1
"""Of the schema, kept in the file (PRAGMA user_version)."""

SCHEMA = """
CREATE TABLE bags(
    id INTEGER PRIMARY KEY, parent INTEGER REFERENCES bags(id) ON DELETE CASCADE,
    role INTEGER NOT NULL, number INTEGER NOT NULL DEFAULT 0, kind INTEGER NOT NULL DEFAULT 0);
CREATE INDEX bags_parent ON bags(parent, role, number);
CREATE TABLE properties(
    bag INTEGER NOT NULL REFERENCES bags(id) ON DELETE CASCADE, id INTEGER NOT NULL, type INTEGER NOT NULL,
    value, size INTEGER, PRIMARY KEY(bag, id)) WITHOUT ROWID;
CREATE TABLE large(
    bag INTEGER NOT NULL REFERENCES bags(id) ON DELETE CASCADE, id INTEGER NOT NULL, data NOT NULL,
    PRIMARY KEY(bag, id));
CREATE TABLE mailboxes(
    id INTEGER PRIMARY KEY, owner TEXT NOT NULL UNIQUE, dn TEXT NOT NULL, display TEXT NOT NULL, guid BLOB NOT NULL,
    counter INTEGER NOT NULL, bag INTEGER NOT NULL REFERENCES bags(id));
CREATE TABLE replicas(
    mailbox INTEGER NOT NULL REFERENCES mailboxes(id), replid INTEGER NOT NULL, guid BLOB NOT NULL,
    PRIMARY KEY(mailbox, replid), UNIQUE(mailbox, guid));
CREATE TABLE named(
    mailbox INTEGER NOT NULL REFERENCES mailboxes(id), id INTEGER NOT NULL, guid BLOB NOT NULL, lid INTEGER, name TEXT,
    PRIMARY KEY(mailbox, id));
CREATE UNIQUE INDEX named_lid ON named(mailbox, guid, lid) WHERE lid IS NOT NULL;
CREATE UNIQUE INDEX named_name ON named(mailbox, guid, name COLLATE NOCASE) WHERE name IS NOT NULL;
CREATE TABLE special(
    mailbox INTEGER NOT NULL REFERENCES mailboxes(id), name TEXT NOT NULL, folder INTEGER NOT NULL,
    PRIMARY KEY(mailbox, name));
CREATE TABLE folders(
    mailbox INTEGER NOT NULL REFERENCES mailboxes(id), id INTEGER NOT NULL, parent INTEGER, name TEXT NOT NULL,
    kind INTEGER NOT NULL, deleted INTEGER NOT NULL DEFAULT 0, bag INTEGER NOT NULL REFERENCES bags(id),
    cn INTEGER NOT NULL, change_key BLOB NOT NULL, pcl BLOB NOT NULL, source_key BLOB,
    commit_time INTEGER NOT NULL DEFAULT 0, deleted_total INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(mailbox, id));
CREATE INDEX folders_parent ON folders(mailbox, parent, deleted, name);
CREATE INDEX folders_source_key ON folders(mailbox, source_key) WHERE source_key IS NOT NULL;
CREATE TABLE messages(
    mailbox INTEGER NOT NULL REFERENCES mailboxes(id), id INTEGER NOT NULL, folder INTEGER NOT NULL,
    associated INTEGER NOT NULL, deleted INTEGER NOT NULL DEFAULT 0, bag INTEGER NOT NULL REFERENCES bags(id),
    cn INTEGER NOT NULL, change_key BLOB NOT NULL, pcl BLOB NOT NULL, source_key BLOB, read INTEGER NOT NULL,
    read_cn INTEGER NOT NULL DEFAULT 0, status INTEGER NOT NULL DEFAULT 0, submitted INTEGER NOT NULL DEFAULT 0,
    attachments INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(mailbox, id));
CREATE INDEX messages_folder ON messages(mailbox, folder, deleted, associated);
CREATE INDEX messages_source_key ON messages(mailbox, source_key) WHERE source_key IS NOT NULL;
CREATE TABLE receive(
    mailbox INTEGER NOT NULL REFERENCES mailboxes(id), class TEXT NOT NULL, folder INTEGER NOT NULL,
    modified INTEGER NOT NULL, PRIMARY KEY(mailbox, class));
CREATE TABLE per_user(
    mailbox INTEGER NOT NULL REFERENCES mailboxes(id), folder BLOB NOT NULL, guid BLOB NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY(mailbox, folder));
CREATE TABLE searches(
    bag INTEGER PRIMARY KEY REFERENCES bags(id) ON DELETE CASCADE, criteria TEXT NOT NULL);
CREATE TABLE deleted_ids(
    mailbox INTEGER NOT NULL REFERENCES mailboxes(id), folder INTEGER NOT NULL, low BLOB NOT NULL, high BLOB NOT NULL);
"""

STORE, FOLDER, MESSAGE, RECIPIENT, ATTACHMENT, EMBEDDED, RULE, PERMISSION = range(8)
"""Roles of bags."""


class StoreError(DissectorError):
    """The store cannot be opened: one line for the user."""


def filetime(seconds: float) -> int:
    """A FILETIME (100 ns since 1601-01-01 UTC) of seconds since 1970."""
    return int(seconds * 10_000_000) + 116_444_736_000_000_000


class Store:
    """The open database. path: a file, or None for memory. clock: seconds since 1970."""

    def __init__(self, path: str | Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.events: list[Any] = []
        self.committed: Callable[[list[Any], Any], None] | None = None
        """Called with the events of a transaction once it is done, and with who was told of them already."""
        self.told: Any = None
        self.generations: dict[tuple[int, int], int] = {}
        self._depth = 0
        place = ":memory:" if path is None else str(path)
        try:
            self.connection = sqlite3.connect(place, check_same_thread=False, isolation_level=None, timeout=1.0)
            self._prepare()
        except sqlite3.Error as error:
            raise StoreError(f"cannot open the store {place}: {error}") from error

    def _prepare(self) -> None:
        run = self.connection.execute
        run("PRAGMA locking_mode=EXCLUSIVE")
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=NORMAL")
        run("PRAGMA foreign_keys=ON")
        run("PRAGMA cache_size=-16384")
        run("BEGIN IMMEDIATE")
        (version,) = run("PRAGMA user_version").fetchone()
        if version == 0 and run("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            for statement in SCHEMA.split(";"):
                run(statement)
            run(f"PRAGMA user_version={VERSION}")
        elif version != VERSION:
            run("ROLLBACK")
            raise sqlite3.DatabaseError(f"its schema has version {version}, this program reads {VERSION}")
        run("COMMIT")

    def close(self) -> None:
        """Write everything to the file and close it. Closing twice does nothing."""
        with self.lock:
            self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. The innermost of nested ones belongs to the outermost."""
        with self.lock:
            if self._depth:
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                return
            self.connection.execute("BEGIN")
            self._depth = 1
            self.events, self.told = [], None
            try:
                yield
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                self.events = []
                raise
            else:
                self.connection.execute("COMMIT")
                if self.events and self.committed is not None:
                    self.committed(self.events, self.told)
            finally:
                self._depth = 0

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what was written inside when an exception passes; the transaction around it goes on."""
        self.connection.execute("SAVEPOINT rop")
        marked = len(self.events)
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK TO rop")
            del self.events[marked:]
            raise
        finally:
            self.connection.execute("RELEASE rop")

    def run(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        return self.connection.execute(statement, arguments)

    def one(self, statement: str, *arguments: Any) -> Any:
        """The first row, or None."""
        return self.connection.execute(statement, arguments).fetchone()

    def now(self) -> int:
        return filetime(self.clock())

    # What has changed in a folder, for tables that are open on it.

    def generation(self, mailbox: int, folder: int) -> int:
        return self.generations.get((mailbox, folder), 0)

    def touched(self, mailbox: int, folder: int) -> None:
        self.generations[mailbox, folder] = self.generation(mailbox, folder) + 1

    # Bags and their properties.

    def new_bag(self, role: int, parent: int | None = None, number: int = 0, kind: int = 0) -> int:
        cursor = self.run("INSERT INTO bags(parent, role, number, kind) VALUES(?, ?, ?, ?)", parent, role, number, kind)
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def delete_bag(self, bag: int) -> None:
        self.run("DELETE FROM bags WHERE id = ?", bag)

    def children(self, bag: int, role: int) -> list[tuple[int, int, int]]:
        """(bag, number, kind) of the bags below one, by number."""
        return self.run(
            "SELECT id, number, kind FROM bags WHERE parent = ? AND role = ? ORDER BY number", bag, role
        ).fetchall()

    def family(self, bag: int) -> list[tuple[int, int, int, int]]:
        """(bag, role, number, kind) of all the bags below one, by role and number."""
        return self.run(
            "SELECT id, role, number, kind FROM bags WHERE parent = ? ORDER BY role, number", bag
        ).fetchall()

    def properties_of(self, bags: list[int]) -> dict[int, Properties]:
        """The properties of many bags."""
        found: dict[int, dict[int, tuple[int, Any]]] = {bag: {} for bag in bags}
        for start in range(0, len(bags), 500):
            part = bags[start : start + 500]
            marks = ",".join("?" * len(part))
            rows = self.run(f"SELECT bag, id, type, value, size FROM properties WHERE bag IN ({marks})", *part)
            for bag, prop_id, kind, value, size in rows:
                found[bag][prop_id] = kind, self._load(bag, prop_id, kind, value, size)
        return {bag: Properties(values) for bag, values in found.items()}

    def properties(self, bag: int) -> Properties:
        rows = self.run("SELECT id, type, value, size FROM properties WHERE bag = ?", bag)
        return Properties({row[0]: (row[1], self._load(bag, *row)) for row in rows})

    def _load(self, bag: int, prop_id: int, kind: int, value: Any, size: int | None) -> Any:
        if size is None:
            return from_column(kind, value)
        return Large(size, lambda: self._fetch(bag, prop_id, kind))

    def _fetch(self, bag: int, prop_id: int, kind: int) -> Any:
        with self.lock:
            row = self.one("SELECT data FROM large WHERE bag = ? AND id = ?", bag, prop_id)
        if row is None:
            raise RopError(OBJECT_DELETED)
        return from_column(kind, row[0])

    def property_of(self, bag: int, prop_id: int) -> tuple[int, Any] | None:
        """(type, value) of one property; the value may be a Large."""
        row = self.one("SELECT id, type, value, size FROM properties WHERE bag = ? AND id = ?", bag, prop_id)
        return None if row is None else (row[1], self._load(bag, *row))

    def some_properties(self, bags: list[int], ids: list[int]) -> dict[int, dict[int, tuple[int, Any]]]:
        """The properties `ids` of many bags: {bag: {id: (type, value)}}; a value may be a Large."""
        found: dict[int, dict[int, tuple[int, Any]]] = {}
        marks = ",".join("?" * len(ids))
        for start in range(0, len(bags), 500):
            part = bags[start : start + 500]
            rows = self.run(
                f"SELECT bag, id, type, value, size FROM properties WHERE bag IN ({','.join('?' * len(part))})"
                f" AND id IN ({marks})",
                *part,
                *ids,
            )
            for bag, prop_id, kind, value, size in rows:
                found.setdefault(bag, {})[prop_id] = kind, self._load(bag, prop_id, kind, value, size)
        return found

    def write(self, bag: int, prop_id: int, kind: int, value: Any) -> None:
        column, size = to_column(kind, value), None
        if kind in (STRING, BINARY) and size_of(kind, value) > LARGE:
            size = size_of(kind, value)
            self.run("INSERT OR REPLACE INTO large VALUES(?, ?, ?)", bag, prop_id, column)
            column = None
        else:
            self.run("DELETE FROM large WHERE bag = ? AND id = ?", bag, prop_id)
        self.run("INSERT OR REPLACE INTO properties VALUES(?, ?, ?, ?, ?)", bag, prop_id, kind, column, size)

    def erase(self, bag: int, prop_id: int) -> None:
        self.run("DELETE FROM properties WHERE bag = ? AND id = ?", bag, prop_id)
        self.run("DELETE FROM large WHERE bag = ? AND id = ?", bag, prop_id)

    def save(self, bag: int, properties: Properties, everything: bool = False) -> None:
        """Write what was changed and removed, or all of it into a new bag."""
        for prop_id in properties.removed:
            self.erase(bag, prop_id)
        for prop_id in list(properties) if everything else sorted(properties.changed):
            kind = properties.kind(prop_id)
            assert kind is not None
            self.write(bag, prop_id, kind, properties.value(prop_id))
        properties.saved()
