"""Tables: rows from a source, restricted, sorted, walked with a cursor [MS-OXCTABL] 3.2.5.

A table is live: what it shows is worked out again when its source has changed, and the cursor stays at its row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from dissector.node import Undecoded
from replay.server import content as contents
from replay.server import events, folders, messages, rows
from replay.server.categories import Categories, HeadingView
from replay.server.computed import AttachmentView, FolderView, MessageView, View
from replay.server.content import Content
from replay.server.errors import INVALID_BOOKMARK, NOT_FOUND, NULL_OBJECT, RopError
from replay.server.events import Event
from replay.server.mailbox import Mailbox
from replay.server.properties import Large
from replay.server.restriction import limit_of, matches, property_ids
from replay.server.session import Logon, MessageObject, Watched
from replay.server.tablewatch import Place, Watch
from replay.server.values import INSTANCE, INT32, MULTIPLE, STRING, STRING8, comparable

BEGINNING, CURRENT, END, CUSTOM = 0, 1, 2, 3

RECIPIENTS, ATTACHMENTS = 0x0E12, 0x0E13

DEPENDS: dict[int, tuple[int, ...]] = {
    0x0037: (0x003D, 0x0E1D), 0x003D: (0x0037,), 0x0E1D: (0x0037,), 0x0070: (0x0E1D, 0x0037), 0x66A1: (0x3FF1,),
}  # fmt: skip
"""Stored properties that others are worked out from."""


HEADING = -2


class Entry(NamedTuple):
    """A row: the key its source knows it by, and which value of a multivalue-instance column it shows.

    A heading of a categorised table has its own id as key, and the instance HEADING.
    """

    key: int
    instance: int = 0


class InstanceView(View):
    """A row that shows one of several values of a property [MS-OXCTABL] 2.2.1.7."""

    def __init__(self, inner: View, prop_id: int, index: int) -> None:
        super().__init__(inner.mailbox, inner.stored)
        self.inner, self.prop_id, self.index = inner, prop_id, index

    def get(self, prop_id: int) -> tuple[int, Any] | None:
        return self.inner.get(prop_id)

    def typed(self, tag: int) -> tuple[int, Any] | None:
        if tag >> 16 != self.prop_id or tag & INSTANCE == 0:
            return self.inner.typed(tag)
        found = self.inner.typed(tag & ~INSTANCE)
        if found is None:
            return None
        kind, values = found
        return (kind & ~MULTIPLE, values[self.index]) if self.index < len(values) else None


class DeepView(View):
    """A row below headings."""

    def __init__(self, inner: View, depth: int) -> None:
        super().__init__(inner.mailbox, inner.stored)
        self.inner, self.depth = inner, depth

    def get(self, prop_id: int) -> tuple[int, Any] | None:
        return (INT32, self.depth) if prop_id == 0x3005 else self.inner.get(prop_id)

    def typed(self, tag: int) -> tuple[int, Any] | None:
        return super().typed(tag) if tag >> 16 == 0x3005 else self.inner.typed(tag)

    def subobjects(self, tag: int) -> Iterable[View]:
        return self.inner.subobjects(tag)


class RowSource(ABC):
    """Where rows come from."""

    def folder_id(self) -> int:
        """The folder of a contents table."""
        raise NotImplementedError

    @abstractmethod
    def generation(self) -> Hashable:
        """Something that is another value when the rows may have changed."""

    @abstractmethod
    def keys(self) -> list[int]: ...

    @abstractmethod
    def views(self, keys: Sequence[int], ids: Iterable[int]) -> list[View]:
        """The rows behind keys, those properties at hand. A row that is gone is left out of no place: it is empty."""

    def concerns(self, event: Event) -> Sequence[int] | None:
        """The keys of rows that are others by an event; None where it has nothing to do with the table."""
        return None

    def place(self, entry: Entry) -> Place:
        """What notifications call a row."""
        raise NotImplementedError

    def all_tags(self) -> list[int]:
        """For RopQueryColumnsAll."""
        tags: set[int] = set()
        for view in self.views(self.keys()[:20], ()):
            for table in (view.computed, view.defaults):
                tags.update(prop_id << 16 | kind for prop_id, (kind, _) in table.items())
        return sorted(tags)


class ContentsSource(RowSource):
    """The messages of a folder."""

    def __init__(self, mailbox: Mailbox, folder: int, associated: bool, deleted: bool) -> None:
        self.mailbox, self.folder, self.associated, self.deleted = mailbox, folder, associated, deleted
        self.rows: dict[int, messages.Message] = {}

    def generation(self) -> Hashable:
        return self.mailbox.store.generation(self.mailbox.id, self.folder)

    def keys(self) -> list[int]:
        found = messages.rows(self.mailbox, self.folder, int(self.associated), int(self.deleted))
        self.rows = {row.id: row for row in found}
        return list(self.rows)

    def views(self, keys: Sequence[int], ids: Iterable[int]) -> list[View]:
        store = self.mailbox.store
        wanted = with_dependencies(ids) | {messages.MESSAGE_FLAGS}
        rows = [self.rows[key] for key in keys]
        stored = store.some_properties([row.bag for row in rows], sorted(wanted))
        views: list[View] = []
        for row in rows:
            view = MessageView(self.mailbox, row, stored.get(row.bag, {}).get, in_table=True)
            view.parts = partial(self._parts, row.bag)
            views.append(view)
        return views

    def folder_id(self) -> int:
        return self.folder

    def concerns(self, event: Event) -> Sequence[int] | None:
        if event.message is None or self.folder not in (event.folder, event.old_folder):
            return None
        return (event.message,) if event.kind == events.MODIFIED else ()

    def place(self, entry: Entry) -> Place:
        return self.folder, entry.key, entry.instance

    def _parts(self, bag: int, tag: int) -> list[View]:
        return parts(self.mailbox, contents.load(self.mailbox.store, bag), tag)

    def all_tags(self) -> list[int]:
        bags = [self.rows[key].bag for key in self.keys()[:50]]
        tags = set(super().all_tags())
        for bag in bags:
            tags.update(self.mailbox.store.properties(bag).tags())
        return sorted(tags)


class HierarchySource(RowSource):
    """The folders below one: its children, or with `deep` all of them."""

    def __init__(self, mailbox: Mailbox, folder: int, deep: bool, deleted: bool) -> None:
        self.mailbox, self.folder, self.deep, self.deleted = mailbox, folder, deep, deleted
        self.rows: dict[int, tuple[folders.Folder, int]] = {}

    def generation(self) -> Hashable:
        return self.mailbox.store.generation(self.mailbox.id, folders.STRUCTURE)

    def keys(self) -> list[int]:
        if self.deep:
            found = list(folders.descendants(self.mailbox, self.folder, int(self.deleted)))
        else:
            found = [(one, 1) for one in folders.children(self.mailbox, self.folder, int(self.deleted))]
        self.rows = {folder.id: (folder, depth) for folder, depth in found}
        return list(self.rows)

    def concerns(self, event: Event) -> Sequence[int] | None:
        """A folder's row tells how many messages and folders are in it."""
        if event.message is None and event.kind == events.MODIFIED:
            return (event.folder,)
        near = event.folder, event.old_folder, event.parent, event.old_parent
        found = [one for one in near if one is not None and (event.message is None or one in self.rows)]
        return found or None

    def place(self, entry: Entry) -> Place:
        return entry.key, None, 0

    def views(self, keys: Sequence[int], ids: Iterable[int]) -> list[View]:
        rows = [self.rows[key] for key in keys]
        stored = self.mailbox.store.some_properties([folder.bag for folder, _ in rows], sorted(with_dependencies(ids)))
        return [
            FolderView(self.mailbox, folder, stored.get(folder.bag, {}).get, depth if self.deep else 1)
            for folder, depth in rows
        ]


class AttachmentSource(RowSource):
    """The attachments of an open message, as its handle sees them."""

    def __init__(self, message: MessageObject) -> None:
        self.message = message

    def generation(self) -> Hashable:
        return tuple(self.message.content.attachments)

    def keys(self) -> list[int]:
        return sorted(self.message.content.attachments)

    def views(self, keys: Sequence[int], ids: Iterable[int]) -> list[View]:
        return [view for key in keys for view in self._view(key)]

    def _view(self, key: int) -> Iterable[View]:
        attachment = self.message.content.attachments[key]
        store, mailbox = self.message.logon.store, self.message.logon.mailbox
        yield AttachmentView(mailbox, key, attachment.properties.get, lambda: attachment.size(store))


class ListSource(RowSource):
    """Rows kept as sets of properties: rules, permissions."""

    def __init__(self, mailbox: Mailbox, rows: Sequence[dict[int, tuple[int, Any]]]) -> None:
        self.mailbox, self.rows = mailbox, rows

    def generation(self) -> Hashable:
        return len(self.rows)

    def keys(self) -> list[int]:
        return list(range(len(self.rows)))

    def views(self, keys: Sequence[int], ids: Iterable[int]) -> list[View]:
        return [View(self.mailbox, self.rows[key].get) for key in keys]

    def all_tags(self) -> list[int]:
        return sorted({prop_id << 16 | kind for row in self.rows for prop_id, (kind, _) in row.items()})


def with_dependencies(ids: Iterable[int]) -> set[int]:
    wanted = set(ids)
    for prop_id in list(wanted):
        wanted.update(DEPENDS.get(prop_id, ()))
    return wanted


def parts(mailbox: Mailbox, content: Content, tag: int) -> list[View]:
    """The recipients or attachments of a message as views."""
    if tag >> 16 == RECIPIENTS:
        found: list[View] = []
        for one in content.recipients:
            view = View(mailbox, one.properties.get)
            view.computed = {0x0C15: (INT32, partial(_constant, one.kind))}
            found.append(view)
        return found
    if tag >> 16 == ATTACHMENTS:
        return [
            AttachmentView(mailbox, one.number, one.properties.get, partial(one.size, mailbox.store))
            for one in content.attachments.values()
        ]
    return []


def _constant(value: int, view: View) -> int:
    return value


class Table(Watched):
    """An open table. notify: tell the client of changes, once it has read the table; flags: of such notifications."""

    kind = "table"

    def __init__(
        self, logon: Logon, source: RowSource, codec: str, what: str = "contents", notify: bool = False, flags: int = 0
    ) -> None:
        super().__init__(logon)
        self.watch = Watch(self, notify, flags)
        self.source, self.codec, self.what = source, codec, what
        self.columns: tuple[int, ...] | None = None
        self.sort: list[tuple[int, bool]] = []
        self.categories: Categories | None = None
        self.restriction: Any = None
        self.position = 0
        self.bookmarks: dict[bytes, Entry | None] = {}
        self._rows: list[Entry] | None = None
        self._generation: Hashable = None
        self._next_bookmark = 1

    # What rows there are.

    def rows(self) -> list[Entry]:
        """The rows as they are now."""
        generation = self.source.generation()
        if self._rows is None or generation != self._generation:
            before = self._rows
            self._rows = self._work_out()
            self._generation = generation
            if before is not None:
                self._keep_position(before)
        return self._rows

    def _keep_position(self, before: list[Entry]) -> None:
        assert self._rows is not None
        if self.position >= len(before):
            self.position = len(self._rows) if self.position else 0
            return
        places = {entry: index for index, entry in enumerate(self._rows)}
        for entry in before[self.position :]:
            if entry in places:
                self.position = places[entry]
                return
        self.position = len(self._rows)

    def instance_property(self) -> int | None:
        """The id of the multivalue-instance column or sort key, if there is one."""
        tags = [*(self.columns or ()), *self._sort_tags()]
        return next((tag >> 16 for tag in tags if tag & 0x3000 == 0x3000), None)

    def _sort_tags(self) -> list[int]:
        tags = [tag for tag, _ in self.sort]
        for level in self.categories.levels if self.categories is not None else ():
            tags.extend((level.tag, *([level.maximum] if level.maximum is not None else ())))
        return tags

    def _work_out(self) -> list[Entry]:
        keys = self.source.keys()
        instance = self.instance_property()
        ids = property_ids(self.restriction) | {tag >> 16 for tag in self._sort_tags()}
        if instance is not None:
            ids.add(instance)
        if not ids and self.restriction is None:
            return [Entry(key) for key in keys]
        # Views are large: they are kept only where headings are made of them.
        found: list[tuple[Entry, list[tuple[int, Any]], View | None]] = []
        for start in range(0, len(keys), 1000):
            part = keys[start : start + 1000]
            for key, view in zip(part, self.source.views(part, ids), strict=True):
                if not matches(self.restriction, view, self.codec):
                    continue
                for entry, shown in self._instances(key, view, instance):
                    values = [_sort_key(shown, tag) for tag, _ in self.sort]
                    found.append((entry, values, None if self.categories is None else shown))
        for number, (_, descending) in reversed(list(enumerate(self.sort))):
            found.sort(key=lambda row, number=number: row[1][number], reverse=descending)  # type: ignore[misc]
        found = found[: limit_of(self.restriction)]
        if self.categories is None:
            return [entry for entry, _, _ in found]
        rows = [(entry, view) for entry, _, view in found if view is not None]
        visible = self.categories.arrange(rows, _sort_key)
        return [one if isinstance(one, Entry) else Entry(one, HEADING) for one in visible]

    def regroup(self) -> list[Entry]:
        """The rows after headings were opened or closed; the cursor stays at its row, or goes to the next visible."""
        before = self.rows()
        self._rows = self._work_out()
        self._keep_position(before)
        return self._rows

    def toggle(self, heading: int, expand: bool) -> list[Entry]:
        """Expand or collapse a heading; returns the rows that came or went."""
        before = self.rows()
        if self.categories is None:
            raise RopError(NOT_FOUND)
        self.categories.toggle(heading, expand)
        now = self.regroup()
        more, less = (now, before) if expand else (before, now)
        first = more.index(Entry(heading, HEADING)) + 1
        return more[first : first + len(more) - len(less)]

    def _instances(self, key: int, view: View, instance: int | None) -> Iterable[tuple[Entry, View]]:
        if instance is None:
            return [(Entry(key), view)]
        found = view.get(instance)
        count = len(found[1]) if found is not None and found[0] & MULTIPLE else 1
        return [(Entry(key, index), InstanceView(view, instance, index)) for index in range(max(1, count))]

    def changed(self) -> None:
        """Sort order or restriction are new: bookmarks are void, the cursor is at the beginning."""
        self._rows = None
        self.position = 0
        self.bookmarks = dict.fromkeys(self.bookmarks)
        self.watch.end()

    def recalculate(self) -> None:
        """The columns are new: rows may be expanded into instances."""
        self._rows = None

    # Rows as views.

    def views(self, entries: Sequence[Entry], tags: Iterable[int] = ()) -> list[View]:
        ids = {tag >> 16 for tag in (*(self.columns or ()), *tags)}
        leaves = [entry for entry in entries if entry.instance != HEADING]
        views = self.source.views([entry.key for entry in leaves], ids)
        instance = self.instance_property()
        if instance is not None:
            views = [InstanceView(view, instance, entry.instance) for entry, view in zip(leaves, views, strict=True)]
        if self.categories is None:
            return views
        return list(self._with_headings(entries, iter(views)))

    def _with_headings(self, entries: Sequence[Entry], leaves: Iterator[View]) -> Iterator[View]:
        assert self.categories is not None
        mailbox = self.logon.mailbox
        for entry in entries:
            if entry.instance == HEADING:
                yield HeadingView(mailbox, self.categories.headings[entry.key], self.source.folder_id())
            else:
                yield DeepView(next(leaves), len(self.categories.levels))

    def packed(self, entries: Sequence[Entry]) -> list[Undecoded]:
        """The columns of rows, as bytes."""
        columns = self.needed_columns()
        return [
            rows.packed_row(columns, rows.values_of(view, columns, self.codec, in_table=True), self.codec)
            for view in self.views(entries)
        ]

    def needed_columns(self) -> tuple[int, ...]:
        if self.columns is None:
            raise RopError(NULL_OBJECT)
        return self.columns

    # The cursor.

    def place(self, origin: int, bookmark: bytes = b"") -> tuple[int, bool]:
        """(row index, whether the bookmark's row is gone) of an origin."""
        rows = self.rows()
        if origin == CUSTOM:
            entry = self.bookmarks.get(bookmark)
            if entry is None:
                raise RopError(INVALID_BOOKMARK)
            if entry.key < 0 and entry.instance < 0:
                return len(rows), False
            try:
                return rows.index(entry), False
            except ValueError:
                return min(self.position, len(rows)), True
        return {BEGINNING: 0, CURRENT: min(self.position, len(rows)), END: len(rows)}[origin], False

    def bookmark(self) -> bytes:
        """A bookmark of the current row."""
        rows = self.rows()
        return self.bookmark_of(rows[self.position] if self.position < len(rows) else Entry(-1, -1))

    def bookmark_of(self, entry: Entry) -> bytes:
        name = self._next_bookmark.to_bytes(4, "little")
        self._next_bookmark += 1
        self.bookmarks[name] = entry
        return name


def _sort_key(view: View, tag: int) -> tuple[int, Any]:
    """Rows without the property come first; text is compared without regard to case."""
    found = view.typed(tag)
    if found is None:
        return 0, 0
    kind, value = found
    value = value.fetch() if isinstance(value, Large) else value
    if kind & ~MULTIPLE == STRING8:
        kind ^= STRING ^ STRING8
    return 1, comparable(kind, value)
