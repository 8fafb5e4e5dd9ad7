"""The state of a folder over time: what each synchronization began with and ended with, and what came down again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from dissector.model.icsstate import IcsState
from dissector.model.idset import IdSet
from dissector.session.replicas import GlobalId
from dissector.session.syncrecord import SyncChange, SyncRecord


class Point(NamedTuple):
    """A state at one moment. name: "3-" is what was uploaded to synchronization #3, "3+" what it ended with."""

    name: str
    sync: int
    direction: str
    frame: int
    time: float
    state: IcsState


class Again(NamedTuple):
    """A version that came down although it had come before, or although the client said that it has it.

    why: "in the uploaded state" (the server sent what it was told the client has), "lost from the state" (the state
    that the client brought no longer had it), "not stored" (no final state had it).
    """

    change: SyncChange
    sync: int
    before: int | None
    why: str


@dataclass(slots=True)
class Timeline:
    """One client's states for one folder's contents or hierarchy."""

    key: tuple[str, str, str, str]
    folder_name: str
    kind: str
    points: list[Point] = field(default_factory=list)
    again: list[Again] = field(default_factory=list)
    sent: dict[GlobalId, tuple[GlobalId, int]] = field(default_factory=dict)
    """By id the last version that came down, and with which synchronization."""

    @property
    def client(self) -> str:
        return self.key[0]

    @property
    def mailbox(self) -> str:
        return self.key[1]

    @property
    def folder(self) -> str:
        return self.key[2]

    def add(self, record: SyncRecord) -> None:
        if record.initial is not None:
            self.points.append(
                Point(f"{record.number}-", record.number, record.direction, record.frames[0], record.started,
                      record.initial)
            )  # fmt: skip
        if record.direction == "download":
            self._sent(record)
        if record.final is not None:
            last = record.stream.last_frame
            final = record.final
            if record.direction == "upload" and not record.final_given and record.initial is not None:
                final = final._replace(given=record.initial.given)
            self.points.append(Point(f"{record.number}+", record.number, record.direction, last, record.ended, final))

    def _sent(self, record: SyncRecord) -> None:
        for one in record.changes:
            if one.id is None or one.version is None:
                continue
            before = self.sent.get(one.id)
            same = before is not None and before[0] == one.version
            if one.status == "again":
                self.again.append(Again(one, record.number, before[1] if before else None, "in the uploaded state"))
            elif same and before is not None:
                had = any(one.version in _seen(point.state, one) for point in self.points if point.name.endswith("+"))
                why = "lost from the state" if had else "not stored"
                self.again.append(Again(one, record.number, before[1], why))
            self.sent[one.id] = one.version, record.number

    def point(self, name: str) -> Point | None:
        return next((point for point in self.points if point.name == name), None)

    def same_as(self, point: Point) -> Point | None:
        """The latest point before that has the same state."""
        index = self.points.index(point)
        return next((one for one in reversed(self.points[:index]) if one.state == point.state), None)


def _seen(state: IcsState, change: SyncChange) -> IdSet:
    return state.seen_fai if change.fai else state.seen


def timelines(records: Iterable[SyncRecord]) -> list[Timeline]:
    """The timelines of all folders, in the order in which they appear."""
    found: dict[tuple[str, str, str, str], Timeline] = {}
    for record in records:
        if record.key is None:
            continue
        line = found.get(record.key)
        if line is None:
            line = found[record.key] = Timeline(record.key, record.folder_name, record.kind)
        line.folder_name = line.folder_name or record.folder_name
        line.add(record)
    return list(found.values())


def fits(line: Timeline, wanted: str) -> bool:
    """Whether a folder is meant by a name, an id ("0001-00000000000d") or a counter ("0xd")."""
    text = wanted.strip().lower()
    if text in (line.folder_name.lower(), line.folder.lower()):
        return True
    try:
        return int(text, 0) == int(line.folder.partition("-")[2], 16)
    except ValueError:
        return False
