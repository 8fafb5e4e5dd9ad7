"""The versions of objects that a capture shows, by source key: for conflicts, and for what came twice.

A version is known on the server when it was downloaded, or when an import of it succeeded.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from dissector.model.pcl import PredecessorChangeList, Xid
from dissector.session.packed import KEY_SIZE, Packed
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
        self._last: dict[bytes, Version | int] = {}
        """By the bytes of the source key. A number: of a message that is packed, counted over all of them."""
        self._packed: list[tuple[SyncRecord, Packed] | None] = []
        """None: of all messages in it there are later versions."""
        self._starts: list[int] = []
        self._valid: list[int] = []
        """How many messages of each are the last version still."""
        self._count = 0

    def __len__(self) -> int:
        return len(self._last)

    def last(self, key: Xid | None) -> Version | None:
        """What the server has of an object, as far as was seen."""
        found = self._last.get(key.to_bytes()) if key is not None else None
        if isinstance(found, int):
            start, record, packed = self._holder(found)
            return _version(record, packed.change(found - start))
        return found

    def add(self, record: SyncRecord) -> None:
        for change in record.changes:
            self.learn(record, change)

    def learn(self, record: SyncRecord, change: SyncChange) -> None:
        key, down = change.source_key, record.direction == "download"
        if key is None or change.kind == "move" or (not down and not taken(change)):
            return
        raw = key.to_bytes()
        self._replaced((self._last.get(raw),))
        self._last[raw] = _version(record, change)

    def _holder(self, number: int) -> tuple[int, SyncRecord, Packed]:
        """What holds a packed message, and the number of the first one there."""
        at = bisect_right(self._starts, number) - 1
        found = self._packed[at]
        assert found is not None
        return self._starts[at], *found

    def _replaced(self, before: Iterable[Version | int | None]) -> None:
        """Let go of what holds no last version any more."""
        for one in before:
            if isinstance(one, int):
                at = bisect_right(self._starts, one) - 1
                self._valid[at] -= 1
                if not self._valid[at]:
                    self._packed[at] = None

    def learn_packed(self, record: SyncRecord, packed: Packed) -> None:
        """Learn all messages of a record that are packed, behind the others."""
        self._replaced(map(self._last.get, packed.each_key()))
        self._packed.append((record, packed))
        self._starts.append(self._count)
        self._valid.append(packed.count)
        self._last.update(zip(packed.each_key(), range(self._count, self._count + packed.count), strict=True))
        self._count += packed.count

    def extended_by(self, packed: Packed) -> bool:
        """Whether the change list of every packed message, which is one change, includes that of its last version."""
        last = self._last
        low = high = 0
        known = b""
        for before, change_key in zip(map(last.get, packed.each_key()), packed.each_change_key(), strict=True):
            if before is None:
                continue
            if isinstance(before, int):
                if not low <= before < high:
                    low, _, held = self._holder(before)
                    known = held.change_keys
                    high = low + len(known) // KEY_SIZE
                place = KEY_SIZE * (before - low)
                old = known[place : place + KEY_SIZE]
                if change_key != old and (change_key[:16] != old[:16] or change_key < old):
                    return False
            elif before.pcl is not None and not before.folder and not _alone(change_key).includes(before.pcl):
                return False
        return True


def _alone(change_key: bytes) -> PredecessorChangeList:
    """The change list of one change."""
    return PredecessorChangeList((Xid.from_bytes(change_key),))


def _version(record: SyncRecord, change: SyncChange) -> Version:
    return Version(
        "download" if record.direction == "download" else "import", record.number, change.frame, change.change_key,
        change.pcl, change.modified, change.version, change.kind in ("folder", "import-folder"), bool(change.fai),
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
