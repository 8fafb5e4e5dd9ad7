"""The versions of objects that a capture shows, by source key: for conflicts, and for what came twice.

A version is known on the server when it was downloaded, or when an import of it succeeded.
"""

from __future__ import annotations

from typing import NamedTuple

from dissector.model.pcl import PredecessorChangeList, Xid
from dissector.session.replicas import GlobalId, global_id
from dissector.session.syncrecord import SyncChange, SyncRecord


class Version(NamedTuple):
    """One version of an object. how: "download" or "import"; sync: number of the synchronization; cn: its change
    number (None: not told).
    """

    how: str
    sync: int
    frame: int
    change_key: Xid | None
    pcl: PredecessorChangeList | None
    modified: int | None
    cn: GlobalId | None
    folder: bool
    fai: bool


class Versions:
    """The last version of every object that was seen, by source key. Feed it with records in order: add()."""

    def __init__(self) -> None:
        self._last: dict[Xid, Version] = {}

    def __len__(self) -> int:
        return len(self._last)

    def last(self, key: Xid | None) -> Version | None:
        """What the server has of an object, as far as was seen."""
        return self._last.get(key) if key is not None else None

    def add(self, record: SyncRecord) -> None:
        for change in record.changes:
            self.learn(record, change)

    def learn(self, record: SyncRecord, change: SyncChange) -> None:
        key, down = change.source_key, record.direction == "download"
        if key is None or change.kind == "move" or (not down and not taken(change)):
            return
        self._last[key] = Version(
            "download" if down else "import", record.number, change.frame, change.change_key, change.pcl,
            change.modified, change.version, change.kind in ("folder", "import-folder"), bool(change.fai),
        )  # fmt: skip


def taken(change: SyncChange) -> bool:
    """Whether the server took an import over: for a message once it was saved."""
    return change.code == 0 and (change.kind != "import" or change.saved == 0)


def object_text(change: SyncChange) -> str:
    """'"Lunch?" (0x30002)': what a finding calls a message or folder."""
    found = change.id or global_id(change.source_key)
    number = f"0x{found[1]:X}" if found is not None else str(change.mid or change.source_key or "without a key")
    what = "folder" if change.kind in ("folder", "import-folder") else "message"
    return f"{what} {change.name!r} ({number})" if change.name else f"{what} {number}"
