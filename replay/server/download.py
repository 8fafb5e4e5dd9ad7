"""Synchronization downloads: contentsSync and hierarchySync streams [MS-OXCFXICS] 3.2.5.3, 3.2.5.9.1.

What a client lacks is worked out with its own state: every version whose change number it has not seen, every id it has
that is gone, every read state whose number it has not seen. Messages are loaded one by one as their turn comes, each
as it is at that moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dissector.grammar.base import build
from dissector.grammar.fasttransfer import ProgressInformation
from dissector.grammar.idset import encode_idset
from dissector.model.idset import IdSet
from replay.server import content as contents
from replay.server import folders, messages
from replay.server.content import Content
from replay.server.fxwriter import IDENTITY, Piece, Writer
from replay.server.mailbox import SEARCH, Mailbox, unpack, wire_number
from replay.server.messages import Message
from replay.server.restriction import matches, property_ids
from replay.server.searches import message_views
from replay.server.session import FolderObject
from replay.server.syncstate import (
    Row,
    Sent,
    StateUpload,
    SyncContext,
    SyncState,
    Versioned,
    by_replica_id,
    ids_of,
    set_pieces,
)  # fmt: skip
from replay.server.transfer import TransferSource

CONTENTS, HIERARCHY = 1, 2
"""SynchronizationType."""

NO_DELETIONS, IGNORE_SCOPE, READ_STATE, FAI, NORMAL, ONLY_SPECIFIED = 0x2, 0x4, 0x8, 0x10, 0x20, 0x80
NO_FOREIGN, RESERVED, BEST_BODY, IGNORE_SPECIFIED_ON_FAI, PROGRESS = 0x100, 0x1000, 0x2000, 0x4000, 0x8000
"""SynchronizationFlags."""

EID, MESSAGE_SIZE, CHANGE_NUMBER, BY_DELIVERY_TIME = 1, 2, 4, 8
"""SynchronizationExtraFlags."""

DELETED, OUT_OF_SCOPE, SET_READ, SET_UNREAD = 0x67E50102, 0x40210102, 0x402D0102, 0x402E0102
MAX_STEPS = 0xFFFF


class SyncDownload(TransferSource, SyncContext):
    """A synchronization download context."""

    kind = "sync-download"

    def __init__(
        self,
        folder: FolderObject,
        writer: Writer,
        kind: int,
        flags: int,
        extra: int,
        restriction: Any,
        tags: list[int],
    ) -> None:
        super().__init__(folder.logon, self._stream)
        self.folder, self.writer = folder, writer
        self.contents = kind == CONTENTS
        self.flags, self.extra, self.restriction = flags, extra, restriction
        self.listed = frozenset(tag >> 16 for tag in tags)
        self.upload = StateUpload()
        self.final: SyncState | None = None

    @property
    def mailbox(self) -> Mailbox:
        return self.logon.mailbox

    @property
    def state(self) -> SyncState:
        """The state to hand out: the initial one until the stream has been read to its end."""
        return self.final if self.done and self.final is not None else self.upload.state

    def _stream(self) -> Iterator[Piece]:
        yield from self.choices.stream(self._whole())

    def _whole(self) -> Iterator[Piece]:
        yield from self._contents() if self.contents else self._hierarchy()
        yield self.writer.marker("IncrSyncEnd")

    def _known(self) -> IdSet:
        """Every change number given out so far: whoever has seen this stream has seen them."""
        return IdSet({self.mailbox.replica: [(1, self.mailbox.last_counter())]})

    def _finish(self, state: SyncState, sent: Sequence[Versioned]) -> Iterator[Piece]:
        self.final = self.choices.state(self, self.upload.state, state, sent)
        yield from self.final.pieces(self.writer, self)

    def _lacking(self, rows: list[Row], seen: IdSet) -> list[Row]:
        return self.choices.lacking(rows, lambda number: self._seen(seen, number))

    def _deleted(self, *sets: tuple[int, IdSet]) -> Iterator[Piece]:
        """The deletions, where there are some and the client wants to know."""
        if self.flags & NO_DELETIONS or not any(idset for _, idset in sets):
            return
        yield self.writer.marker("IncrSyncDel")
        yield from self._id_sets(*sets)

    def _id_sets(self, *sets: tuple[int, IdSet]) -> Iterator[Piece]:
        for tag, idset in sets:
            if idset:
                yield from set_pieces(tag, encode_idset(by_replica_id(self.mailbox, idset)))

    def _source_key(self, source_key: bytes | None, identifier: int) -> bytes:
        if source_key is not None and not self.flags & NO_FOREIGN:
            return source_key
        return self.mailbox.gid(identifier)

    # Folders.

    def _hierarchy(self) -> Iterator[Piece]:
        before, known = self.upload.state, self._known()
        found = [one for one, _ in folders.descendants(self.mailbox, self.folder.id) if one.kind != SEARCH]
        changed = self._lacking(found, before.seen)
        self.steps = len(changed)
        for one in changed:
            if self.choices.sends(one):
                yield from self._folder_change(one)
            self.steps_done += 1
        gone = before.given - ids_of(self.mailbox, [one.id for one in found])
        yield from self._deleted((DELETED, gone))
        given = (before.given | ids_of(self.mailbox, [one.id for one in changed])) - gone
        yield from self._finish(SyncState(given, before.seen | known), changed)

    def _seen(self, seen: IdSet, number: int) -> bool:
        replica_id, counter = unpack(number)
        guid = self.mailbox.guid_of(replica_id)
        return guid is not None and (guid, counter) in seen

    def _folder_change(self, folder: folders.Folder) -> Iterator[Piece]:
        """ParentSourceKey is empty for the children of the folder that is synchronized."""
        writer, store = self.writer, self.mailbox.store
        properties = store.properties(folder.bag)
        assert folder.parent is not None
        parent = folders.get(self.mailbox, folder.parent)
        is_top = folder.parent == self.folder.id
        yield writer.marker("IncrSyncChg")
        head: list[tuple[int, Any]] = [
            (0x65E10102, b"" if is_top else self._source_key(parent.source_key, parent.id)),
            (0x65E00102, self._source_key(folder.source_key, folder.id)),
            (0x30080040, properties.value(0x3008, folder.commit_time)),
            (0x65E20102, folder.change_key),
            (0x65E30102, folder.pcl),
            (0x3001001F, properties.value(0x3001, "")),
        ]
        if self.extra & EID:
            head.append((0x67480014, wire_number(folder.id)))
        if self.flags & NO_FOREIGN or self.extra & EID:
            head.append((0x67490014, wire_number(folder.parent)))
        head.append((0x36010003, folder.kind))
        for tag, value in head:
            yield from writer.prop(tag, value)
        done = {tag >> 16 for tag, _ in head}
        yield from writer.stored(properties, lambda prop_id: prop_id not in self.listed, done)

    # Messages.

    def _contents(self) -> Iterator[Piece]:
        before, known = self.upload.state, self._known()
        here = {associated: messages.rows(self.mailbox, self.folder.id, associated) for associated in (0, 1)}
        normal = self._in_scope(here[0])
        changed = self._lacking(normal, before.seen) if self.flags & NORMAL else []
        if self.flags & FAI:
            changed += self._lacking(here[1], before.seen_fai)
        if self.extra & BY_DELIVERY_TIME:
            changed = self._newest_first(changed)
        self.steps = len(changed)
        if self.flags & PROGRESS:
            yield from self._progress_total(changed)
        sent: list[Sent] = []
        for row in changed:
            now = messages.find(self.mailbox, row.id)
            if now is None or now.folder != self.folder.id:
                continue
            sent.append(Sent(now.id, now.cn, now.associated))
            if self.choices.sends(now):
                yield from self._message_change(now)
            self.steps_done += 1
        known |= ids_of(self.mailbox, [row.cn for row in sent])
        yield from self._rest_of_contents(before, known, here, normal, sent)

    def _rest_of_contents(
        self,
        before: SyncState,
        known: IdSet,
        here: dict[int, list[Message]],
        normal: list[Message],
        sent: list[Sent],
    ) -> Iterator[Piece]:
        mailbox = self.mailbox
        everything = ids_of(mailbox, [row.id for rows in here.values() for row in rows])
        gone = before.given - everything
        in_scope = {row.id for row in normal}
        outside = ids_of(mailbox, [row.id for row in here[0] if row.id not in in_scope]) & before.given
        if self.flags & NO_DELETIONS or self.flags & IGNORE_SCOPE:
            outside = outside - outside
        yield from self._deleted((DELETED, gone), (OUT_OF_SCOPE, outside))
        delivered = ids_of(mailbox, [row.id for row in sent])
        read = before.read
        if self.flags & READ_STATE:
            yield from self._read_states(before, normal, delivered)
            read = read | known
        state = SyncState(
            (before.given | delivered) - gone - outside,
            before.seen | known if self.flags & NORMAL else before.seen,
            before.seen_fai | known if self.flags & FAI else before.seen_fai,
            read,
        )
        yield from self._finish(state, sent)

    def _read_states(self, before: SyncState, rows: list[Message], delivered: IdSet) -> Iterator[Piece]:
        marked: dict[bool, list[int]] = {True: [], False: []}
        for row in rows:
            if row.read_cn and not self._seen(before.read, row.read_cn):
                marked[bool(row.read)].append(row.id)
        sets = {
            tag: (ids_of(self.mailbox, marked[read]) & before.given) - delivered
            for tag, read in ((SET_READ, True), (SET_UNREAD, False))
        }
        if any(sets.values()):
            yield self.writer.marker("IncrSyncRead")
            yield from self._id_sets(*sets.items())

    def _in_scope(self, rows: list[Message]) -> list[Message]:
        """The normal messages that match the restriction."""
        if self.restriction is None:
            return rows
        ids = property_ids(self.restriction)
        found: list[Message] = []
        for start in range(0, len(rows), 500):
            part = rows[start : start + 500]
            for row, view in zip(part, message_views(self.folder, part, ids), strict=True):
                if matches(self.restriction, view, self.folder.codec):
                    found.append(row)
        return found

    def _newest_first(self, rows: list[Message]) -> list[Message]:
        times = self.mailbox.store.some_properties([row.bag for row in rows], [0x0E06, 0x3008])

        def when(row: Message) -> int:
            found = times.get(row.bag, {})
            return int((found.get(0x0E06) or found.get(0x3008) or (0, 0))[1])

        return sorted(rows, key=when, reverse=True)

    def _progress_total(self, rows: list[Message]) -> Iterator[Piece]:
        associated = [row for row in rows if row.associated]
        normal = [row for row in rows if not row.associated]
        data = build(ProgressInformation, {
            "Version": 0, "Padding1": bytes(2), "FAIMessageCount": len(associated),
            "FAIMessageTotalSize": sum(row.size for row in associated), "NormalMessageCount": len(normal),
            "Padding2": bytes(4), "NormalMessageTotalSize": sum(row.size for row in normal),
        })  # fmt: skip
        yield self.writer.marker("IncrSyncProgressMode")
        yield from self.writer.prop(0x00000102, data)

    def _message_change(self, row: Message) -> Iterator[Piece]:
        writer = self.writer
        content = contents.load(self.mailbox.store, row.bag)
        if self.flags & PROGRESS:
            yield writer.marker("IncrSyncProgressPerMsg")
            yield from writer.prop(0x00000003, min(row.size, 0x7FFFFFFF))
            yield from writer.prop(0x0000000B, bool(row.associated))
        yield writer.marker("IncrSyncChg")
        yield from self._header(row, content)
        yield writer.marker("IncrSyncMessage")
        # The whole message is made now: large values must not change under a stream that is read in parts.
        yield from list(writer.message_content(content, self._wanted(row), row, IDENTITY))

    def _header(self, row: Message, content: Content) -> Iterator[Piece]:
        head: list[tuple[int, Any]] = [
            (0x65E00102, self._source_key(row.source_key, row.id)),
            (0x30080040, content.properties.value(0x3008, 0)),
            (0x65E20102, row.change_key),
            (0x65E30102, row.pcl),
            (0x67AA000B, bool(row.associated)),
        ]
        if self.extra & EID:
            head.append((0x674A0014, wire_number(row.id)))
        if self.extra & MESSAGE_SIZE:
            head.append((0x0E080003, min(row.size, 0x7FFFFFFF)))
        if self.extra & CHANGE_NUMBER:
            head.append((0x67A40014, wire_number(row.cn)))
        for tag, value in head:
            yield from self.writer.prop(tag, value)

    def _wanted(self, row: Message) -> Any:
        """Which properties go out: PropertyTags lists them, or those to leave out."""
        if not self.flags & ONLY_SPECIFIED:
            return lambda prop_id: prop_id not in self.listed
        if row.associated and self.flags & IGNORE_SPECIFIED_ON_FAI:
            return lambda prop_id: True
        return lambda prop_id: prop_id in self.listed
