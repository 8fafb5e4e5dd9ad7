"""Which ROPs of a capture are replayed: what was chosen, and what that needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dissector.model.ids import ObjectId
from dissector.session.exchange import Exchange, Rop
from dissector.views.rows import rows_of
from replay.errors import ReplayError
from replay.needs import Key, closure
from replay.plan import Planner
from replay.ropkinds import writes
from replay.steps import NOT_CHOSEN

Choice = Callable[[Key, str], str]
"""Why a ROP (its key, its name) is not sent; '' where it is."""

REMOTE_WRITE = "it writes, and the server is not this machine: --write sends it"


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user chose; all criteria have to hold. sessions: numbers. frames: ranges, both ends included.

    folder: a special folder by name (Inbox) or any by its id (0001-00000000000d). where: a -Y expression over the rows
    of `dissector list`. uploads_only: what writes.
    """

    sessions: frozenset[int] = frozenset()
    frames: tuple[tuple[int, int], ...] = ()
    folder: str = ""
    where: str = ""
    uploads_only: bool = False

    def __bool__(self) -> bool:
        return bool(self.sessions or self.frames or self.folder or self.where or self.uploads_only)

    def __str__(self) -> str:
        """The options that choose the same."""
        parts = [f"--session {number}" for number in sorted(self.sessions)]
        parts += [f"--frames {low}-{'' if high >= LAST_FRAME else high}" for low, high in self.frames]
        parts += [f"--folder {self.folder}"] if self.folder else []
        parts += [f"-Y '{self.where}'"] if self.where else []
        return " ".join(parts + (["--uploads-only"] if self.uploads_only else []))


LAST_FRAME = 1 << 62


def frame_ranges(text: str) -> tuple[tuple[int, int], ...]:
    """'10-20,30-,7' as ranges. Raises ReplayError."""
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d*)\s*(-?)\s*(\d*)\s*", part)
        if match is None or not (match[1] or match[3]):
            raise ReplayError(f"--frames {text!r}: not of the form 10-20, 10- or 7 (several with commas)")
        low = int(match[1] or 0)
        high = int(match[3]) if match[3] else (LAST_FRAME if match[2] else low)
        found.append((low, high))
    return tuple(found)


@dataclass(slots=True)
class Survey:
    """What is known of a capture's ROPs when all of it was seen: which were picked, what each needs."""

    picked: set[Key] = field(default_factory=set)
    needs: dict[Key, set[Key]] = field(default_factory=dict)
    releases: dict[Key, Key | None] = field(default_factory=dict)
    """RopRelease, and who opened what it releases."""

    def chosen(self) -> set[Key]:
        """What was picked with all that it needs, and the releases of the objects in it."""
        found = closure(self.picked, self.needs)
        return found | {key for key, opener in self.releases.items() if opener in found}


def survey(exchanges: Iterable[Exchange], selection: Selection) -> Survey:
    """Run once through a capture. Raises FilterError, ReplayError."""
    made = Survey()
    test = _Test(selection)

    def watched() -> Iterator[Exchange]:
        for exchange in exchanges:
            made.picked.update(test.keys(exchange))
            yield exchange

    for step in Planner().steps(watched()):
        for rop in step.rops:
            if rop.key == (0, 0):
                continue
            made.needs[rop.key] = rop.needs
            if rop.name == "RopRelease":
                made.releases[rop.key] = rop.opener
                made.picked.discard(rop.key)
    test.check()
    return made


def choice_of(keys: set[Key] | None, *, may_write: bool = True) -> Choice | None:
    """A choice for the Planner; None where everything is sent. may_write: whether what writes is sent at all."""
    if keys is None and may_write:
        return None

    def choose(key: Key, name: str) -> str:
        if keys is not None and key not in keys:
            return NOT_CHOSEN
        return "" if may_write or not writes(name) else REMOTE_WRITE

    return choose


class _Test:
    """Whether a ROP is picked."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.row_test: Callable[[Any], bool] | None = None
        if selection.where:
            from dissector.views.filter import compile_filter

            self.row_test = compile_filter(selection.where)
        self.folder_id = _object_id(selection.folder)
        self.folder_seen = False

    def keys(self, exchange: Exchange) -> Iterator[Key]:
        chosen = self.selection
        session = exchange.session
        if session is None or (chosen.sessions and session.number not in chosen.sessions):
            return
        if chosen.frames and not any(low <= exchange.frame <= high for low, high in chosen.frames):
            return
        rows = list(rows_of(exchange)) if self.row_test is not None else []
        for number, rop in enumerate(exchange.rops):
            if rop.request is None or (self.row_test is not None and not self.row_test(rows[number])):
                continue
            if chosen.folder and not self.in_folder(rop, exchange):
                continue
            if not chosen.uploads_only or writes(rop.name):
                yield exchange.number, rop.number

    def in_folder(self, rop: Rop, exchange: Exchange) -> bool:
        request = rop.request.value if rop.request is not None else None
        named = request.get("FolderId") if request is not None else None
        folders = [named, rop.target.folder_id if rop.target is not None and rop.kind != "logon" else None]
        assert exchange.session is not None
        for logon in exchange.session.logons.values():
            for folder, name in logon.folder_names.items():
                if name.lower() == self.selection.folder.lower():
                    self.folder_id = folder
        found = self.folder_id is not None and self.folder_id in folders
        self.folder_seen = self.folder_seen or found
        return found

    def check(self) -> None:
        if self.selection.folder and not self.folder_seen:
            raise ReplayError(
                f"--folder {self.selection.folder!r}: no ROP of the capture is about it; give a special folder by its "
                "name (Inbox, SentItems, ...) or any by its id (0001-00000000000d)"
            )


def _object_id(text: str) -> ObjectId | None:
    match = re.fullmatch(r"([0-9a-fA-F]{1,4})-([0-9a-fA-F]{1,12})", text.strip())
    return ObjectId(int(match[1], 16), int(match[2], 16)) if match else None
