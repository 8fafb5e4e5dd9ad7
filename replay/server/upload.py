"""Synchronization uploads: changes of a client taken into the mailbox [MS-OXCFXICS] 3.2.5.9.4, 3.1.5.6.

A change comes with its source key, change key and predecessor change list. The lists say whether it is old, new or in
conflict with what is here; conflicts of normal messages become a conflict-resolve message with both versions, those of
associated messages and folders go to the last writer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dissector.model.conflict import Verdict, incoming_wins, verdict
from dissector.model.ids import LongTermId
from dissector.model.pcl import PredecessorChangeList, Xid
from replay.server import content as contents
from replay.server import folders, messages
from replay.server.content import Attachment, Content
from replay.server.errors import (
    INVALID_PARAMETER,
    NOT_FOUND,
    NOT_SUPPORTED,
    OBJECT_DELETED,
    SYNC_CONFLICT,
    SYNC_IGNORE,
    SYNC_NO_PARENT,
    SYNC_OBJECT_DELETED,
    RopError,
)  # fmt: skip
from replay.server.mailbox import GENERIC, Mailbox
from replay.server.messages import Change, Message
from replay.server.properties import Properties
from replay.server.session import FolderObject, MessageObject
from replay.server.syncstate import READ as READ_SET
from replay.server.syncstate import SEEN, SEEN_FAI, StateUpload, SyncContext, SyncState, ids_of
from replay.server.values import BINARY, STRING, TIME

SOURCE_KEY, PARENT_KEY, MODIFIED, CHANGE_KEY, PREDECESSORS, NAME = 0x65E0, 0x65E1, 0x3008, 0x65E2, 0x65E3, 0x3001
MESSAGE_VALUES = (SOURCE_KEY, MODIFIED, CHANGE_KEY, PREDECESSORS)
FOLDER_VALUES = (PARENT_KEY, SOURCE_KEY, MODIFIED, CHANGE_KEY, PREDECESSORS, NAME)
"""The properties of an import, in the order they have to have."""

KINDS = {MODIFIED: TIME, NAME: STRING}
"""Types of those that are no keys or lists of keys."""

ASSOCIATED, FAIL_ON_CONFLICT = 0x10, 0x40
"""ImportFlag."""

HIERARCHY, HARD_DELETE = 0x01, 0x02
"""ImportDeleteFlags."""

RESOLVE_METHOD = 0x3FE7
LAST_WRITER_WINS = 1

Pairs = Sequence[tuple[int, int, Any]]
"""Property id, type, plain value."""


class SyncUpload(SyncContext):
    """A synchronization upload context (collector)."""

    kind = "sync-upload"
    is_upload = True

    def __init__(self, folder: FolderObject, contents_collector: bool) -> None:
        super().__init__(folder.logon)
        self.folder, self.contents = folder, contents_collector
        self.upload = StateUpload()
        self._numbers: dict[int, list[int]] = {SEEN: [], SEEN_FAI: [], READ_SET: []}

    @property
    def state(self) -> SyncState:
        """What was uploaded, with the numbers of the client's own changes."""
        state = self.upload.state
        for prop_id, have in ((SEEN, state.seen), (SEEN_FAI, state.seen_fai), (READ_SET, state.read)):
            numbers = self._numbers[prop_id]
            if numbers:
                state = state.with_set(prop_id, have | ids_of(self.mailbox, numbers))
                numbers.clear()
        self.upload.state = state
        return state

    @property
    def mailbox(self) -> Mailbox:
        return self.logon.mailbox

    def seen(self, prop_id: int, number: int) -> None:
        """A change number that the client knows, since the change was its own."""
        self._numbers[prop_id].append(number)


def in_order(values: Pairs, wanted: tuple[int, ...]) -> list[Any]:
    """The values of exactly these properties in exactly this order and of the right types, else ecInvalidParam."""
    tags = [(prop_id, KINDS.get(prop_id, BINARY)) for prop_id in wanted]
    if [(prop_id, kind) for prop_id, kind, _ in values] != tags:
        raise RopError(INVALID_PARAMETER)
    return [value for _, _, value in values]


def change_lists(key: bytes, predecessors: bytes) -> tuple[Xid, PredecessorChangeList]:
    try:
        return Xid.from_bytes(key), PredecessorChangeList.from_bytes(predecessors)
    except ValueError as error:
        raise RopError(INVALID_PARAMETER) from error


def identifier_of(mailbox: Mailbox, source_key: bytes) -> tuple[int, bytes | None]:
    """(id, source key to keep): a global identifier is the id itself, any other key is kept beside a new one."""
    if not 17 <= len(source_key) <= 24:
        raise RopError(INVALID_PARAMETER)
    if len(source_key) == 22:
        return mailbox.from_gid(source_key), None
    return mailbox.new_id(), source_key


# Ids that were deleted before they came.


def forget(mailbox: Mailbox, folder: int, ranges: Iterable[tuple[LongTermId, LongTermId]]) -> None:
    """These ids will not be used in the folder any more (RopSetLocalReplicaMidsetDeleted)."""
    for low, high in ranges:
        if low.guid != high.guid or low.counter > high.counter:
            raise RopError(INVALID_PARAMETER)
        low_key, high_key = (low.guid.bytes_le + one.counter.to_bytes(6, "big") for one in (low, high))
        mailbox.store.run("INSERT INTO deleted_ids VALUES(?, ?, ?, ?)", mailbox.id, folder, low_key, high_key)


def is_forgotten(mailbox: Mailbox, folder: int, source_key: bytes) -> bool:
    row = mailbox.store.one(
        "SELECT 1 FROM deleted_ids WHERE mailbox = ? AND folder = ? AND low <= ? AND high >= ?",
        mailbox.id, folder, source_key, source_key,
    )  # fmt: skip
    return row is not None


# Messages.


def import_message(collector: SyncUpload, flags: int, values: Pairs, code_page: int) -> MessageObject:
    """The message that the client now fills and saves."""
    source_key, modified, key, predecessors = in_order(values, MESSAGE_VALUES)
    mailbox = collector.mailbox
    change_key, incoming = change_lists(key, predecessors)
    if flags & ~(ASSOCIATED | FAIL_ON_CONFLICT):
        raise RopError(INVALID_PARAMETER)
    if is_forgotten(mailbox, collector.folder.id, source_key):
        raise RopError(SYNC_OBJECT_DELETED)
    present = messages.by_source_key(mailbox, source_key)
    content, conflict = Content(), False
    if present is not None:
        if present.deleted or present.folder != collector.folder.id:
            raise RopError(SYNC_OBJECT_DELETED)
        found = verdict(incoming, PredecessorChangeList.from_bytes(present.pcl))
        if found is Verdict.IGNORE:
            raise RopError(SYNC_IGNORE)
        conflict = found is Verdict.CONFLICT
        if conflict and flags & FAIL_ON_CONFLICT:
            raise RopError(SYNC_CONFLICT)
        content = purged(contents.load(mailbox.store, present.bag))
    content.properties.put(MODIFIED << 16 | 0x40, modified)
    message = MessageObject(
        collector.logon, content, present, collector.folder.id, bool(flags & ASSOCIATED), code_page=code_page
    )
    change = _Import(collector, source_key, change_key, incoming, modified, conflict)
    message.imported = change.save
    return message


def purged(content: Content) -> Content:
    """The same message without anything a client can set."""
    for prop_id in list(content.properties):
        content.properties.delete(prop_id)
    content.clear_recipients()
    for number in list(content.attachments):
        content.delete_attachment(number)
    content.next_number = 0
    return content


class _Import:
    """A message change on its way in: how the message is saved."""

    def __init__(
        self,
        collector: SyncUpload,
        source_key: bytes,
        change_key: Xid,
        predecessors: PredecessorChangeList,
        modified: int,
        conflict: bool,
    ) -> None:
        self.collector, self.source_key, self.change_key = collector, source_key, change_key
        self.predecessors, self.modified, self.conflict = predecessors, modified, conflict
        self.read: bool | None = None

    def save(self, message: MessageObject) -> int:
        mailbox = self.collector.mailbox
        if message.row is None:
            identifier = self._insert(mailbox, message)
        else:
            now = messages.find(mailbox, message.row.id)
            if now is None:
                raise RopError(OBJECT_DELETED)
            if now.cn != message.row.cn:  # somebody saved in between: look again
                found = verdict(self.predecessors, PredecessorChangeList.from_bytes(now.pcl))
                if found is Verdict.IGNORE:
                    raise RopError(SYNC_IGNORE)
                self.conflict = found is Verdict.CONFLICT
            identifier = now.id
            self._update(mailbox, message, now)
        message.row = messages.find(mailbox, identifier)
        message.imported = None
        return identifier

    def _insert(self, mailbox: Mailbox, message: MessageObject) -> int:
        identifier, kept = identifier_of(mailbox, self.source_key)
        if messages.find(mailbox, identifier, deleted=True) is not None:
            raise RopError(SYNC_OBJECT_DELETED)
        folder = folders.get(mailbox, self.collector.folder.id)
        change = Change(mailbox.new_id(), self.change_key.to_bytes(), self.predecessors.to_bytes())
        messages.insert(mailbox, folder.id, message.content, message.associated, identifier, change, kept)
        self._seen(message, change.cn)
        return identifier

    def _update(self, mailbox: Mailbox, message: MessageObject, now: Message) -> None:
        if not self.conflict:
            given = message.content.properties.value(messages.MESSAGE_FLAGS)
            self.read = None if given is None else bool(given & messages.READ)
            merged = self.predecessors.merge(PredecessorChangeList.from_bytes(now.pcl))
            change = Change(mailbox.new_id(), self.change_key.to_bytes(), merged.to_bytes())
            messages.update(mailbox, now, message.content, change)
            self._take_read_flag(mailbox, message, now)
            self._seen(message, change.cn)
            return
        wins = self._wins(mailbox, now)
        merged = self.predecessors.merge(PredecessorChangeList.from_bytes(now.pcl))
        number, key, _ = mailbox.new_change()
        change = Change(number, key, merged.merge(PredecessorChangeList.of((Xid.from_bytes(key),))).to_bytes())
        resolved = self._resolved(mailbox, message.content, now, wins)
        messages.update(mailbox, now, resolved, change)
        message.content = contents.load(mailbox.store, now.bag)

    def _take_read_flag(self, mailbox: Mailbox, message: MessageObject, now: Message) -> None:
        """PidTagMessageFlags of an import says whether the message is read."""
        if self.read is not None:
            row = messages.find(mailbox, now.id)
            assert row is not None
            messages.set_read(mailbox, row, self.read)

    def _wins(self, mailbox: Mailbox, now: Message) -> bool:
        found = mailbox.store.property_of(now.bag, MODIFIED)
        time = found[1] if found is not None else 0
        return incoming_wins(self.modified, self.change_key, time, Xid.from_bytes(now.change_key))

    def _resolved(self, mailbox: Mailbox, incoming: Content, now: Message, wins: bool) -> Content:
        """The content after a conflict, in the place of what is there."""
        store = mailbox.store
        present = contents.load(store, now.bag)
        winner = incoming if wins else present
        method = store.property_of(self.collector.folder.folder.bag, RESOLVE_METHOD)
        versions: list[Content] = []
        if not now.associated and (method is None or method[1] != LAST_WRITER_WINS):
            versions = [present.fresh(store), incoming.fresh(store)]
        made = winner.fresh(store)
        result = purged(present)
        for prop_id in made.properties:
            kind = made.properties.kind(prop_id)
            assert kind is not None
            result.properties.set(prop_id, kind, made.properties.value(prop_id))
        for recipient in made.recipients:
            result.put_recipient(recipient)
        for _, attachment in sorted(made.attachments.items()):
            attachment.number = result.new_number()
            result.put_attachment(attachment)
        for version in versions:
            holder = Attachment(result.new_number(), embedded=version)
            for tag, value in ((0x37050003, 5), (0x666C000B, True), (0x370B0003, -1), (0x3001001F, "conflict")):
                holder.properties.put(tag, value)
            result.put_attachment(holder)
        if versions:
            messages.set_status(mailbox, now, now.status | messages.IN_CONFLICT)
        return result

    def _seen(self, message: MessageObject, number: int) -> None:
        self.collector.seen(SEEN_FAI if message.associated else SEEN, number)


def import_message_move(
    collector: SyncUpload, source_folder: bytes, source: bytes, predecessors: bytes, target: bytes, key: bytes
) -> bool:
    """Move a message into the collector's folder; returns whether the client's version is newer than the one here."""
    mailbox = collector.mailbox
    change_key, incoming = change_lists(key, predecessors)
    folder, row = folders.by_source_key(mailbox, source_folder), messages.by_source_key(mailbox, source)
    if folder is None:
        raise RopError(NOT_FOUND)
    if row is None or row.deleted or row.folder != folder.id:
        raise RopError(SYNC_OBJECT_DELETED)
    if is_forgotten(mailbox, collector.folder.id, target):
        raise RopError(SYNC_OBJECT_DELETED)
    identifier, kept = identifier_of(mailbox, target)
    if messages.find(mailbox, identifier, deleted=True) is not None:
        raise RopError(INVALID_PARAMETER)
    present = PredecessorChangeList.from_bytes(row.pcl)
    newer = not present.includes(PredecessorChangeList(one for one in incoming if one != change_key))
    change = Change(mailbox.new_id(), change_key.to_bytes(), incoming.merge(present).to_bytes())
    messages.move_one(mailbox, row, collector.folder.id, identifier, change, kept)
    collector.seen(SEEN_FAI if row.associated else SEEN, change.cn)
    return newer


def import_read_states(collector: SyncUpload, states: Iterable[tuple[bytes, bool]]) -> None:
    """Associated messages and those that are not here are left alone."""
    mailbox = collector.mailbox
    for source_key, read in states:
        row = messages.by_source_key(mailbox, source_key)
        if row is None or row.deleted or row.associated or row.folder != collector.folder.id:
            continue
        if messages.set_read(mailbox, row, read):
            now = messages.find(mailbox, row.id)
            assert now is not None
            collector.seen(READ_SET, now.read_cn)


# Folders.


def import_folder(collector: SyncUpload, head: Pairs, values: Pairs) -> None:
    """A new folder, or a change of one that is here."""
    parent_key, source_key, modified, key, predecessors, name = in_order(head, FOLDER_VALUES)
    mailbox = collector.mailbox
    change_key, incoming = change_lists(key, predecessors)
    parent = collector.folder.folder if not parent_key else folders.by_source_key(mailbox, parent_key)
    if parent is None or parent.deleted:
        raise RopError(SYNC_NO_PARENT)
    if is_forgotten(mailbox, collector.folder.id, source_key):
        raise RopError(SYNC_OBJECT_DELETED)
    properties = Properties()
    for prop_id, kind, value in values:
        if prop_id not in FOLDER_VALUES:
            properties.set(prop_id, kind, value)
    properties.put(MODIFIED << 16 | 0x40, modified)
    present = folders.by_source_key(mailbox, source_key)
    if present is not None and present.deleted:
        raise RopError(SYNC_OBJECT_DELETED)
    if present is None:
        identifier, kept = identifier_of(mailbox, source_key)
        folders.create(mailbox, parent.id, name, properties, GENERIC, identifier)
        _stamp(collector, identifier, change_key, incoming, kept)
        return
    known = PredecessorChangeList.from_bytes(present.pcl)
    found = verdict(incoming, known)
    if found is Verdict.IGNORE:
        return
    merged = incoming.merge(known)
    if found is Verdict.CONFLICT:
        time = mailbox.store.property_of(present.bag, MODIFIED)
        when = time[1] if time is not None else 0
        if not incoming_wins(modified, change_key, when, Xid.from_bytes(present.change_key), folder=True):
            _keep(mailbox, present, merged)
            return
    _change_folder(mailbox, present, parent, name, properties)
    _stamp(collector, present.id, change_key, merged, present.source_key, seen=found is Verdict.INCLUDE)


def _change_folder(
    mailbox: Mailbox, folder: folders.Folder, parent: folders.Folder, name: str, properties: Properties
) -> None:
    if parent.id != folder.parent:
        folders.move(mailbox, folder, parent, name)
    else:
        folders.rename(mailbox, folder, name)
    mailbox.store.write(folder.bag, NAME, 0x1F, name)
    for prop_id in properties:
        kind = properties.kind(prop_id)
        assert kind is not None
        mailbox.store.write(folder.bag, prop_id, kind, properties.value(prop_id))


def _stamp(
    collector: SyncUpload,
    identifier: int,
    change_key: Xid,
    predecessors: PredecessorChangeList,
    source_key: bytes | None,
    seen: bool = True,
) -> None:
    """Give a folder the client's change key and a change number of our own."""
    mailbox, number = collector.mailbox, collector.mailbox.new_id()
    mailbox.store.run(
        "UPDATE folders SET cn = ?, change_key = ?, pcl = ?, source_key = ? WHERE mailbox = ? AND id = ?",
        number, change_key.to_bytes(), predecessors.to_bytes(), source_key, mailbox.id, identifier,
    )  # fmt: skip
    folders.changed(mailbox)
    if seen:
        collector.seen(SEEN, number)


def _keep(mailbox: Mailbox, folder: folders.Folder, merged: PredecessorChangeList) -> None:
    """The version here won: a new change number makes the client fetch it."""
    mailbox.store.run(
        "UPDATE folders SET cn = ?, pcl = ? WHERE mailbox = ? AND id = ?",
        mailbox.new_id(), merged.to_bytes(), mailbox.id, folder.id,
    )  # fmt: skip


# Deletions.


def import_deletes(collector: SyncUpload, flags: int, keys: Sequence[bytes]) -> None:
    """Delete messages of the folder, or folders below it. What is not here is remembered as deleted."""
    if flags & ~(HIERARCHY | HARD_DELETE):
        raise RopError(INVALID_PARAMETER)
    if bool(flags & HIERARCHY) == collector.contents:
        raise RopError(NOT_SUPPORTED)
    mailbox, hard = collector.mailbox, bool(flags & HARD_DELETE)
    if flags & HIERARCHY:
        _delete_folders(collector, keys, hard)
        return
    found = [messages.by_source_key(mailbox, key) for key in keys]
    here = [row.id for row in found if row is not None and row.folder == collector.folder.id]
    messages.delete(mailbox, here, collector.folder.id, hard)
    for key, row in zip(keys, found, strict=True):
        if row is None and not is_forgotten(mailbox, collector.folder.id, key):
            mailbox.store.run("INSERT INTO deleted_ids VALUES(?, ?, ?, ?)", mailbox.id, collector.folder.id, key, key)


def _delete_folders(collector: SyncUpload, keys: Sequence[bytes], hard: bool) -> None:
    mailbox = collector.mailbox
    found = [folders.by_source_key(mailbox, key) for key in keys]
    special = mailbox.special_names()
    if any(one is not None and one.id in special for one in found):
        raise RopError(NOT_SUPPORTED)
    for one in found:
        now = None if one is None else folders.find(mailbox, one.id, deleted=hard)
        if now is not None:
            folders.delete(mailbox, now, hard)
