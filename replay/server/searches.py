"""Search folders: criteria that are kept with the folder and worked out when the folder's table is read.

Dynamic ones show what matches now; static ones keep the messages that matched when they were started
[MS-OXCFOLD] 3.2.5.4.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from dissector.grammar.base import build
from dissector.grammar.reading import parse
from dissector.grammar.restrictions import Restriction
from dissector.node import Undecoded
from replay.server import content as contents
from replay.server import folders, messages
from replay.server.computed import MessageView, View
from replay.server.errors import INVALID_PARAMETER, NOT_INITIALIZED, SEARCH_SCOPE_VIOLATION, RopError
from replay.server.events import MODIFIED, Event
from replay.server.restriction import matches, property_ids
from replay.server.session import FolderObject
from replay.server.table import Entry, RowSource, parts, with_dependencies
from replay.server.tablewatch import Place

STOP, RESTART, RECURSIVE, SHALLOW, STATIC = 0x1, 0x2, 0x4, 0x8, 0x40000
SET_FLAGS = STOP | RESTART | RECURSIVE | SHALLOW | 0x10000 | 0x20000 | STATIC
RUNNING, GET_RECURSIVE, COMPLETE, GET_STATIC = 0x1, 0x4, 0x1000, 0x10000


class Criteria(NamedTuple):
    """restriction: its bytes, or b''. scope: folder ids. kept: the messages of a static search."""

    restriction: bytes
    scope: list[int]
    recursive: bool
    static: bool
    stopped: bool
    kept: list[int]

    @property
    def state(self) -> int:
        state = (GET_RECURSIVE if self.recursive else 0) | (GET_STATIC if self.static else 0)
        return state | COMPLETE | (0 if self.stopped else RUNNING)

    def restriction_bytes(self) -> Undecoded | None:
        return Undecoded(self.restriction) if self.restriction else None


def find(folder: FolderObject) -> Criteria | None:
    row = folder.logon.store.one("SELECT criteria FROM searches WHERE bag = ?", folder.folder.bag)
    if row is None:
        return None
    made = json.loads(row[0])
    return Criteria(bytes.fromhex(made.pop("restriction")), **made)


def definition(folder: FolderObject) -> Criteria:
    """The criteria of a search folder; ecNotInitialized where none were set."""
    found = find(folder)
    if found is None:
        raise RopError(NOT_INITIALIZED)
    return found


def define(folder: FolderObject, restriction: Any, scope: list[int], flags: int) -> None:
    """Set or change the criteria; what is left out stays as it was."""
    if flags & ~SET_FLAGS or flags & (STOP | RESTART) == STOP | RESTART:
        raise RopError(INVALID_PARAMETER)
    if flags & (RECURSIVE | SHALLOW) == RECURSIVE | SHALLOW:
        raise RopError(INVALID_PARAMETER)
    before = find(folder)
    if not scope and before is None:
        raise RopError(NOT_INITIALIZED)
    for one in scope:
        folders.get(folder.logon.mailbox, one)
        if one == folder.id:
            raise RopError(SEARCH_SCOPE_VIOLATION)
    raw = b"" if restriction is None else build(Restriction, restriction, codepage=folder.codec)
    made = Criteria(
        raw if restriction is not None or before is None else before.restriction,
        scope or (before.scope if before else []),
        bool(flags & RECURSIVE),
        bool(flags & STATIC),
        bool(flags & STOP),
        [],
    )
    if made.static:
        made = made._replace(kept=[view.row.id for view in search(folder, made, set())])
    value = json.dumps({**made._asdict(), "restriction": made.restriction.hex()})
    store = folder.logon.store
    store.run("INSERT OR REPLACE INTO searches VALUES(?, ?)", folder.folder.bag, value)
    store.touched(folder.logon.mailbox.id, folder.id)


def _scope(folder: FolderObject, criteria: Criteria) -> list[int]:
    mailbox = folder.logon.mailbox
    found: dict[int, None] = {}
    for one in criteria.scope:
        if folders.find(mailbox, one) is not None:
            found[one] = None
            if criteria.recursive:
                found.update((below.id, None) for below, _ in folders.descendants(mailbox, one))
    found.pop(folder.id, None)
    return list(found)


def search(folder: FolderObject, criteria: Criteria, ids: Iterable[int]) -> Iterator[Any]:
    """Views of the messages that match."""
    restriction = None
    if criteria.restriction:
        restriction, _ = parse(Restriction, criteria.restriction, codepage=folder.codec)
    mailbox = folder.logon.mailbox
    for place in _scope(folder, criteria):
        rows = messages.rows(mailbox, place, 0)
        for view in message_views(folder, rows, {*property_ids(restriction), *ids}):
            if matches(restriction, view, folder.codec):
                yield view


def message_views(folder: FolderObject, rows: Sequence[messages.Message], ids: Iterable[int]) -> list[MessageView]:
    mailbox = folder.logon.mailbox
    wanted = with_dependencies(ids) | {messages.MESSAGE_FLAGS}
    stored = mailbox.store.some_properties([row.bag for row in rows], sorted(wanted))
    made: list[MessageView] = []
    for row in rows:
        view = MessageView(mailbox, row, stored.get(row.bag, {}).get, in_table=True)
        view.parts = partial(_parts, folder, row.bag)
        made.append(view)
    return made


def _parts(folder: FolderObject, bag: int, tag: int) -> list[View]:
    mailbox = folder.logon.mailbox
    return parts(mailbox, contents.load(mailbox.store, bag), tag)


class SearchSource(RowSource):
    """The messages of a search folder, for its table."""

    def __init__(self, folder: FolderObject) -> None:
        self.folder = folder
        self.rows: dict[int, messages.Message] = {}

    def generation(self) -> Hashable:
        criteria = find(self.folder)
        if criteria is None:
            return None
        store, mailbox = self.folder.logon.store, self.folder.logon.mailbox.id
        return tuple(store.generation(mailbox, place) for place in (self.folder.id, *_scope(self.folder, criteria)))

    def concerns(self, event: Event) -> Sequence[int] | None:
        """Whether a message is in the scope shows when the search is carried out."""
        if event.message is None:
            return None
        return (event.message,) if event.kind == MODIFIED else ()

    def folder_id(self) -> int:
        return self.folder.id

    def place(self, entry: Entry) -> Place:
        return self.rows[entry.key].folder, entry.key, entry.instance

    def keys(self) -> list[int]:
        criteria = find(self.folder)
        if criteria is None:
            return []
        if criteria.static:
            found = [messages.find(self.folder.logon.mailbox, one) for one in criteria.kept]
            self.rows = {row.id: row for row in found if row is not None}
        else:
            self.rows = {view.row.id: view.row for view in search(self.folder, criteria, ())}
        return list(self.rows)

    def views(self, keys: Sequence[int], ids: Iterable[int]) -> list[View]:
        return list(message_views(self.folder, [self.rows[key] for key in keys], ids))
