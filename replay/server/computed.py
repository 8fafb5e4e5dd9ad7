"""Properties the server works out: those of the store, of folders, messages and attachments that no client sets.

A view answers get(tag) for one object: what is worked out comes first, then what is stored, then a default. The same
views serve opened objects and table rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

from replay.server import folders, messages
from replay.server.entryids import folder_entry_id, message_entry_id, owner_entry_id, store_entry_id
from replay.server.folders import Folder
from replay.server.mailbox import SEARCH, Mailbox, wire_number
from replay.server.messages import Message
from replay.server.properties import Large
from replay.server.values import BINARY, BOOLEAN, INT32, INT64, STRING, TIME, wanted_kind

STORED = Callable[[int], tuple[int, Any] | None]
"""Gives (type, value) of a stored property by id."""

STORE_SUPPORT = 0x0000_7E7D | 0x0004_0000
"""PidTagStoreSupportMask: entry ids, search, modify, create, attachments, submit, notify, Unicode, ..."""

OWNER_RIGHTS = 0x7FB
FOLDER_ACCESS, MESSAGE_ACCESS = 0x3F, 0x07

SUBJECT, PREFIX, NORMALIZED = 0x0037, 0x003D, 0x0E1D
_PREFIX = re.compile(r"^[^\d\s:]{1,3}: ?")


def split_subject(subject: str) -> tuple[str, str]:
    """(prefix, normalized subject): up to three letters and a colon in front [MS-OXCMSG] 2.2.1.9."""
    found = _PREFIX.match(subject)
    return (found.group(), subject[found.end() :]) if found else ("", subject)


class View:
    """What every object has. `computed` and `defaults`: {property id: (type, function of the view)}."""

    object_type = 0
    computed: Mapping[int, tuple[int, Callable[[Any], Any]]] = {}
    defaults: Mapping[int, tuple[int, Callable[[Any], Any]]] = {}

    def __init__(self, mailbox: Mailbox, stored: STORED) -> None:
        self.mailbox, self.stored = mailbox, stored

    def get(self, prop_id: int) -> tuple[int, Any] | None:
        """(type, value) of a property; the value may be a Large."""
        entry = self.computed.get(prop_id)
        if entry is not None:
            value = entry[1](self)
            if value is not None:
                return entry[0], value
        found = self.stored(prop_id)
        if found is not None:
            return found
        entry = self.defaults.get(prop_id)
        if entry is not None:
            value = entry[1](self)
            if value is not None:
                return entry[0], value
        return None

    def typed(self, tag: int) -> tuple[int, Any] | None:
        """(type to answer with, value) for a tag, or None where there is none of a type that fits."""
        found = self.get(tag >> 16)
        if found is None:
            return None
        asked, (stored, value) = tag & 0xFFFF, found
        if asked == INT64 and stored == INT32:
            return INT64, value
        kind = wanted_kind(asked, stored)
        return None if kind is None else (kind, value)

    def value(self, prop_id: int, default: Any = None) -> Any:
        found = self.get(prop_id)
        if found is None:
            return default
        return found[1].fetch() if isinstance(found[1], Large) else found[1]

    def subobjects(self, tag: int) -> Iterable[View]:
        """The recipients or attachments, for restrictions on them."""
        return ()


COMMON: dict[int, tuple[int, Callable[[Any], Any]]] = {
    0x0FFE: (INT32, lambda view: view.object_type),
    0x0FF7: (INT32, lambda view: 1),
    0x0FFB: (BINARY, lambda view: store_entry_id(view.mailbox)),
    0x0FFA: (BINARY, lambda view: view.mailbox.guid.bytes_le),
    0x0FF8: (BINARY, lambda view: view.mailbox.replica.bytes_le),
    0x340D: (INT32, lambda view: STORE_SUPPORT),
}


def _special_entry(name: str) -> Callable[[View], bytes]:
    return lambda view: folder_entry_id(view.mailbox, view.mailbox.special(name))


class StoreView(View):
    """The logon object."""

    object_type = 1

    @cached_property
    def size(self) -> int:
        row = self.mailbox.store.one("SELECT coalesce(sum(size), 0) FROM messages WHERE mailbox = ?", self.mailbox.id)
        return int(row[0])


StoreView.computed = {
    **COMMON,
    0x0FFF: (BINARY, lambda view: store_entry_id(view.mailbox)),
    0x0FF9: (BINARY, lambda view: view.mailbox.guid.bytes_le),
    0x0E08: (INT32, lambda view: min(view.size, 0x7FFFFFFF)),
    0x3001: (STRING, lambda view: f"Mailbox - {view.mailbox.display}"),
    0x35DF: (INT32, lambda view: 0xFF),
    0x35E0: (BINARY, _special_entry("IpmSubtree")),
    0x35E2: (BINARY, _special_entry("Outbox")),
    0x35E3: (BINARY, _special_entry("DeletedItems")),
    0x35E4: (BINARY, _special_entry("SentItems")),
    0x35E5: (BINARY, _special_entry("Views")),
    0x35E6: (BINARY, _special_entry("CommonViews")),
    0x35E7: (BINARY, _special_entry("Search")),
    0x6619: (BINARY, lambda view: owner_entry_id(view.mailbox)),
    0x661A: (STRING, lambda view: view.mailbox.display),
    0x661B: (BINARY, lambda view: owner_entry_id(view.mailbox)),
    0x661C: (STRING, lambda view: view.mailbox.display),
}
StoreView.defaults = {
    0x661D: (BOOLEAN, lambda view: False),
    0x66A1: (INT32, lambda view: 0x409),
    0x666D: (INT32, lambda view: 0x7FFFFFFF // 1024),
}


class FolderView(View):
    """A folder, opened or as a row of a hierarchy table (which knows its depth)."""

    object_type = 3

    def __init__(
        self, mailbox: Mailbox, folder: Folder, stored: STORED | None = None, depth: int | None = None
    ) -> None:
        store = mailbox.store
        super().__init__(mailbox, stored or (lambda prop_id: store.property_of(folder.bag, prop_id)))
        self.folder, self.depth = folder, depth

    @cached_property
    def counts(self) -> folders.Counts:
        return folders.counts(self.mailbox, self.folder.id)

    @property
    def parent(self) -> int:
        return self.folder.id if self.folder.parent is None else self.folder.parent

    def of_inbox_or_root(self, name: str) -> bytes | None:
        """The entry id of a special folder, which the Inbox and the root tell."""
        special = self.mailbox.special
        if self.folder.id not in (special("Inbox"), special("MailboxRoot")):
            return None
        return folder_entry_id(self.mailbox, special(name))


def _ipm(name: str) -> tuple[int, Callable[[FolderView], bytes | None]]:
    return BINARY, lambda view: view.of_inbox_or_root(name)


FolderView.computed = {
    **COMMON,
    0x0FFF: (BINARY, lambda view: folder_entry_id(view.mailbox, view.folder.id)),
    0x0FF9: (BINARY, lambda view: folder_entry_id(view.mailbox, view.folder.id)),
    0x0FF6: (BINARY, lambda view: folder_entry_id(view.mailbox, view.folder.id)),
    0x0E09: (BINARY, lambda view: folder_entry_id(view.mailbox, view.parent)),
    0x0FF4: (INT32, lambda view: FOLDER_ACCESS),
    0x0FF5: (INT32, lambda view: None if view.depth is None else 1),
    0x3005: (INT32, lambda view: view.depth),
    0x0E08: (INT32, lambda view: min(view.counts.size, 0x7FFFFFFF)),
    0x3601: (INT32, lambda view: view.folder.kind),
    0x3602: (INT32, lambda view: view.counts.messages),
    0x3603: (INT32, lambda view: view.counts.unread),
    0x360A: (BOOLEAN, lambda view: view.counts.folders > 0),
    0x3617: (INT32, lambda view: view.counts.associated),
    0x65E0: (BINARY, lambda view: view.folder.source_key or view.mailbox.gid(view.folder.id)),
    0x65E1: (BINARY, lambda view: view.mailbox.gid(view.parent)),
    0x65E2: (BINARY, lambda view: view.folder.change_key),
    0x65E3: (BINARY, lambda view: view.folder.pcl),
    0x67A4: (INT64, lambda view: wire_number(view.folder.cn)),
    0x6638: (INT32, lambda view: view.counts.folders),
    0x6639: (INT32, lambda view: OWNER_RIGHTS),
    0x663A: (BOOLEAN, lambda view: False),
    0x663E: (INT32, lambda view: view.mailbox.store.generation(view.mailbox.id, folders.STRUCTURE)),
    0x66A8: (INT32, lambda view: 2 if view.folder.kind == SEARCH else 1),
    0x670A: (TIME, lambda view: view.folder.commit_time),
    0x670B: (INT32, lambda view: view.folder.deleted_total),
    0x6748: (INT64, lambda view: wire_number(view.folder.id)),
    0x6749: (INT64, lambda view: wire_number(view.parent)),
    0x36D0: _ipm("Calendar"),
    0x36D1: _ipm("Contacts"),
    0x36D2: _ipm("Journal"),
    0x36D3: _ipm("Notes"),
    0x36D4: _ipm("Tasks"),
    0x36D7: _ipm("Drafts"),
}
FolderView.defaults = {
    0x10F4: (BOOLEAN, lambda view: False),
    0x3004: (STRING, lambda view: ""),
}


class MessageView(View):
    """A message: opened, new (row is None), embedded (folder is None), or a row of a contents table."""

    object_type = 5

    def __init__(
        self, mailbox: Mailbox, row: Message | None, stored: STORED, folder: int | None = None, in_table: bool = False
    ) -> None:
        super().__init__(mailbox, stored)
        self.row, self.in_table = row, in_table
        self.folder = row.folder if row is not None else folder
        self.has_named = False
        self.parts: Callable[[int], Iterable[View]] | None = None

    def subobjects(self, tag: int) -> Iterable[View]:
        return self.parts(tag) if self.parts is not None else ()

    def of_row(self, work: Callable[[Message], Any]) -> Any:
        return None if self.row is None else work(self.row)

    @property
    def flags(self) -> int | None:
        if self.row is None:
            return None
        found = self.stored(messages.MESSAGE_FLAGS)
        return messages.flags(self.row, found[1] if found else 0)

    @property
    def subject(self) -> str | None:
        found = self.stored(SUBJECT)
        if found is not None:
            return None
        parts = self.stored(PREFIX), self.stored(NORMALIZED)
        if parts == (None, None):
            return None
        return "".join(part[1].fetch() if isinstance(part[1], Large) else part[1] for part in parts if part is not None)

    def part_of_subject(self, index: int) -> str | None:
        found = self.stored(SUBJECT)
        if found is None or found[0] != STRING:
            return None
        return split_subject(found[1].fetch() if isinstance(found[1], Large) else found[1])[index]


MessageView.computed = {
    **COMMON,
    0x0E07: (INT32, lambda view: view.flags),
    0x0E08: (INT32, lambda view: view.of_row(lambda row: min(row.size, 0x7FFFFFFF))),
    0x0E17: (INT32, lambda view: view.of_row(lambda row: row.status)),
    0x0E1B: (BOOLEAN, lambda view: view.of_row(lambda row: row.attachments > 0)),
    0x0E69: (BOOLEAN, lambda view: view.of_row(lambda row: bool(row.read))),
    0x0E09: (BINARY, lambda view: None if view.folder is None else folder_entry_id(view.mailbox, view.folder)),
    0x0FF4: (INT32, lambda view: MESSAGE_ACCESS),
    0x0FF5: (INT32, lambda view: 1 if view.in_table else None),
    0x3005: (INT32, lambda view: 0 if view.in_table else None),
    0x0FFF: (BINARY, lambda view: view.of_row(lambda row: message_entry_id(view.mailbox, row.folder, row.id))),
    0x0FF9: (BINARY, lambda view: view.of_row(lambda row: message_entry_id(view.mailbox, row.folder, row.id))),
    0x0FF6: (BINARY, lambda view: view.of_row(lambda row: view.mailbox.gid(row.id) + bytes(4))),
    0x65E0: (BINARY, lambda view: view.of_row(lambda row: row.source_key or view.mailbox.gid(row.id))),
    0x65E1: (BINARY, lambda view: view.of_row(lambda row: view.mailbox.gid(row.folder))),
    0x65E2: (BINARY, lambda view: view.of_row(lambda row: row.change_key)),
    0x65E3: (BINARY, lambda view: view.of_row(lambda row: row.pcl)),
    0x67A4: (INT64, lambda view: view.of_row(lambda row: wire_number(row.cn))),
    0x67AA: (BOOLEAN, lambda view: view.of_row(lambda row: bool(row.associated))),
    0x6748: (INT64, lambda view: None if view.folder is None else wire_number(view.folder)),
    0x6749: (INT64, lambda view: None if view.folder is None else wire_number(view.folder)),
    0x674A: (INT64, lambda view: view.of_row(lambda row: wire_number(row.id))),
    0x674D: (INT64, lambda view: view.of_row(lambda row: wire_number(row.id))),
    0x674E: (INT32, lambda view: view.of_row(lambda row: 0)),
}
MessageView.defaults = {
    0x0037: (STRING, lambda view: view.subject),
    0x003D: (STRING, lambda view: view.part_of_subject(0)),
    0x0E1D: (STRING, lambda view: view.part_of_subject(1)),
    0x0070: (STRING, lambda view: view.value(NORMALIZED)),
    0x0E02: (STRING, lambda view: ""),
    0x0E03: (STRING, lambda view: ""),
    0x0E04: (STRING, lambda view: ""),
    0x0E1B: (BOOLEAN, lambda view: False),
    0x66A1: (INT32, lambda view: view.value(0x3FF1)),
    0x664A: (BOOLEAN, lambda view: view.has_named),
}


class AttachmentView(View):
    """An attachment, opened or as a table row."""

    object_type = 7

    def __init__(self, mailbox: Mailbox, number: int, stored: STORED, size: Callable[[], int]) -> None:
        super().__init__(mailbox, stored)
        self.number, self.size = number, size


AttachmentView.computed = {
    **COMMON,
    0x0E21: (INT32, lambda view: view.number),
    0x0E20: (INT32, lambda view: min(view.size(), 0x7FFFFFFF)),
    0x0FF9: (BINARY, lambda view: view.number.to_bytes(4, "little")),
    0x0FF6: (BINARY, lambda view: view.number.to_bytes(4, "little")),
    0x0FF5: (INT32, lambda view: 1),
}

READ_ONLY_STORE = frozenset(StoreView.computed)
READ_ONLY_FOLDER = frozenset(FolderView.computed) - {0x36D0, 0x36D1, 0x36D2, 0x36D3, 0x36D4, 0x36D7}
READ_ONLY_MESSAGE = frozenset(MessageView.computed) - {0x0E07, 0x0E17}
READ_ONLY_ATTACHMENT = frozenset(AttachmentView.computed)
