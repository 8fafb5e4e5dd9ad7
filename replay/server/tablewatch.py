"""What a client is told of its open tables: rows added, deleted, modified [MS-OXCNOTIF] 3.1.4.3.

A view is begun by the ROPs that read a table, unless it was opened with NoNotifications, and is ended by those that
sort, restrict or reset it. Nothing is worked out when something happens, only noted; the rows before and now are
compared when the client next asks for news. Where much has changed, or the table is long, all it is told is that the
table changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from dissector.node import Undecoded
from replay.server.events import TABLE_MODIFIED, Event
from replay.server.mailbox import unpack

if TYPE_CHECKING:
    from replay.server.table import Entry, Table

CHANGED, ADDED, DELETED, ROW_MODIFIED = 1, 3, 4, 5
"""TableEventType."""

MESSAGE, SEARCH = 0x8000, 0x4000

MOST_EVENTS = 20
"""More news than these at one time are told as one change of the table."""

LONG = 2000
"""A table of more rows is not compared row by row."""

Place = tuple[int, int | None, int]
"""Folder id, message id (None: the row is a folder), instance."""


class RowEvent(NamedTuple):
    """flags: M and S. place: the row; after: the one before it, None where it is the first; row: its columns."""

    kind: int
    flags: int = 0
    place: Place | None = None
    after: Place | None = None
    row: Undecoded | None = None

    def data(self) -> dict[str, Any]:
        """NotificationData."""
        value: dict[str, Any] = {"NotificationFlags": TABLE_MODIFIED | self.flags, "TableEventType": self.kind}
        if self.place is None:
            return value
        value["TableRowFolderID"] = unpack(self.place[0])
        if self.place[1] is not None:
            value.update(TableRowMessageID=unpack(self.place[1]), TableRowInstance=self.place[2])
        if self.kind != DELETED:
            folder, message, instance = self.after or (0, 0, 0)
            value.update(
                InsertAfterTableRowFolderID=unpack(folder), InsertAfterTableRowID=unpack(message or 0),
                InsertAfterTableRowInstance=instance, TableRowData=self.row,
            )  # fmt: skip
        return value


class Watch:
    """The view of one table that its client was told of last.

    allowed: without NoNotifications, and for a table of messages or folders.
    """

    def __init__(self, table: Table, allowed: bool = False, flags: int = 0) -> None:
        self.table, self.allowed, self.flags = table, allowed, flags
        self._seen: list[Entry] | None = None
        self._places: dict[Entry, Place] = {}
        self._touched: set[int] = set()
        self._exact = False
        self.stale = False

    def begin(self) -> None:
        """The client reads the table: from here on it is told what changes."""
        if self.allowed and self._seen is None:
            self._take()

    def end(self) -> None:
        self._seen = None
        self.stale = False

    def _take(self) -> None:
        self._seen = self.table.rows()
        self._exact = not self._is_coarse(self._seen)
        self._places = {entry: self.table.source.place(entry) for entry in self._seen} if self._exact else {}
        self._touched.clear()
        self.stale = False

    def _is_coarse(self, rows: list[Entry]) -> bool:
        """Whether all that is told is that something changed: the table is long, or has headings."""
        return len(rows) > LONG or self.table.categories is not None or self.table.columns is None

    def hears(self, event: Event) -> bool:
        """Something happened; returns whether there may be news."""
        if self._seen is None or event.mailbox != self.table.logon.mailbox.id:
            return False
        keys = self.table.source.concerns(event)
        if keys is None:
            return False
        self._touched.update(keys)
        self.stale = True
        return True

    def news(self) -> Iterator[RowEvent]:
        """What the client is to be told now."""
        if not self.stale or self._seen is None:
            return
        before, places, touched = self._seen, self._places, set(self._touched)
        if not self._exact or self._is_coarse(before):
            self.end()  # until it reads again
            yield RowEvent(CHANGED, self.flags)
            return
        self._take()
        now = self._seen
        old, new = set(before), set(now)
        gone = [entry for entry in before if entry not in new]
        changed = [entry for entry in now if entry not in old or entry.key in touched]
        if len(gone) + len(changed) > MOST_EVENTS:
            yield RowEvent(CHANGED, self.flags)
            return
        for entry in gone:
            yield RowEvent(DELETED, self.flags, places[entry])
        index = {entry: number for number, entry in enumerate(now)}
        for entry, row in zip(changed, self.table.packed(changed), strict=True):
            number = index[entry]
            after = self.table.source.place(now[number - 1]) if number else None
            kind = ROW_MODIFIED if entry in old else ADDED
            yield RowEvent(kind, self.flags, self.table.source.place(entry), after, row)
