"""Messages of a mailbox: saving, deleting, moving, copying, marking them [MS-OXCMSG] 3.2.5, [MS-OXCFOLD] 3.2.5."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import NamedTuple

from replay.server import content as contents
from replay.server import events
from replay.server.content import Content
from replay.server.events import Event
from replay.server.mailbox import Mailbox

COLUMNS = (
    "id, folder, associated, deleted, bag, cn, change_key, pcl, source_key, read, read_cn, status, submitted,"
    " attachments, size"
)

MESSAGE_FLAGS = 0x0E07
READ, UNMODIFIED, SUBMITTED, UNSENT, HAS_ATTACHMENT, ASSOCIATED, EVER_READ = 0x1, 0x2, 0x4, 0x8, 0x10, 0x40, 0x400
ROW_FLAGS = READ | SUBMITTED | HAS_ATTACHMENT | ASSOCIATED
"""Bits of PidTagMessageFlags that follow from the message's row; the rest is kept as a property."""

IN_CONFLICT = 0x800
"""The bit of PidTagMessageStatus."""


class Message(NamedTuple):
    """A row of the messages table."""

    id: int
    folder: int
    associated: int
    deleted: int
    bag: int
    cn: int
    change_key: bytes
    pcl: bytes
    source_key: bytes | None
    read: int
    read_cn: int
    status: int
    submitted: int
    attachments: int
    size: int


class Change(NamedTuple):
    """The version a save makes: change number, change key, predecessor change list."""

    cn: int
    key: bytes
    pcl: bytes


def find(mailbox: Mailbox, identifier: int, deleted: bool = False) -> Message | None:
    """A message; one that is soft-deleted only where `deleted`."""
    row = mailbox.store.one(f"SELECT {COLUMNS} FROM messages WHERE mailbox = ? AND id = ?", mailbox.id, identifier)
    if row is None or (row[3] and not deleted):
        return None
    return Message(*row)


def by_source_key(mailbox: Mailbox, key: bytes) -> Message | None:
    row = mailbox.store.one(f"SELECT {COLUMNS} FROM messages WHERE mailbox = ? AND source_key = ?", mailbox.id, key)
    if row is not None:
        return Message(*row)
    return find(mailbox, mailbox.from_gid(key), deleted=True) if len(key) == 22 else None


def ids(mailbox: Mailbox, folder: int, associated: int, deleted: int = 0) -> list[int]:
    rows = mailbox.store.run(
        "SELECT id FROM messages WHERE mailbox = ? AND folder = ? AND deleted = ? AND associated = ? ORDER BY id",
        mailbox.id, folder, deleted, associated,
    )  # fmt: skip
    return [row[0] for row in rows]


def rows(mailbox: Mailbox, folder: int, associated: int, deleted: int = 0) -> list[Message]:
    found = mailbox.store.run(
        f"SELECT {COLUMNS} FROM messages WHERE mailbox = ? AND folder = ? AND deleted = ? AND associated = ?"
        " ORDER BY id",
        mailbox.id, folder, deleted, associated,
    )  # fmt: skip
    return [Message(*row) for row in found]


def flags(message: Message, kept: int) -> int:
    """PidTagMessageFlags of a saved message. kept: the property as it is in the bag."""
    value = kept & ~ROW_FLAGS
    value |= READ if message.read else 0
    value |= SUBMITTED if message.submitted else 0
    value |= HAS_ATTACHMENT if message.attachments else 0
    return value | (ASSOCIATED if message.associated else 0)


def initialize(mailbox: Mailbox, content: Content, code_page: int, locale: int) -> None:
    """What a new message has before a client says anything [MS-OXCMSG] 3.2.5.2."""
    now = mailbox.store.now()
    for tag, value in (
        (0x00170003, 1), (0x001A001F, "IPM.Note"), (0x00360003, 0), (0x0E070003, READ | UNSENT), (0x0E790003, 1),
        (0x30070040, now), (0x30080040, now), (0x300B0102, uuid.uuid4().bytes), (0x3FF10003, locale),
        (0x3FF8001F, mailbox.display), (0x3FFA001F, mailbox.display), (0x3FFD0003, code_page),
    ):  # fmt: skip
        content.properties.put(tag, value)


def initialize_attachment(mailbox: Mailbox, attachment: contents.Attachment) -> None:
    """What a new attachment has [MS-OXCMSG] 3.2.5.13."""
    now = mailbox.store.now()
    for tag, value in ((0x370B0003, -1), (0x30070040, now), (0x30080040, now)):
        attachment.properties.put(tag, value)


def visible_attachments(content: Content) -> int:
    return sum(1 for one in content.attachments.values() if not one.properties.value(0x7FFE, False))


def prepare(mailbox: Mailbox, content: Content) -> None:
    """Times and names that every save sets."""
    now = mailbox.store.now()
    if 0x3008 not in content.properties.changed:
        content.properties.put(0x30080040, now)
    if 0x3007 not in content.properties:
        content.properties.put(0x30070040, now)
    content.properties.put(0x67090040, now)
    content.properties.put(0x3FFA001F, mailbox.display)


def insert(
    mailbox: Mailbox,
    folder: int,
    content: Content,
    associated: bool = False,
    identifier: int | None = None,
    change: Change | None = None,
    source_key: bytes | None = None,
    status: int = 0,
    read: bool | None = None,
    event: Event | None = None,
) -> int:
    """Save a new message; returns its id. change: given by a client's import, else made here."""
    store = mailbox.store
    made = mailbox.new_id() if identifier is None else identifier
    version = Change(*mailbox.new_change()) if change is None else change
    kept = content.properties.value(MESSAGE_FLAGS, 0)
    is_read = bool(kept & READ) if read is None else read
    kept = (kept | UNMODIFIED | (EVER_READ if is_read else 0)) & ~ROW_FLAGS
    content.properties.put(0x0E070003, kept)
    prepare(mailbox, content)
    bag = contents.save(store, content)
    store.run(
        "INSERT INTO messages(mailbox, id, folder, associated, bag, cn, change_key, pcl, source_key, read, status,"
        " attachments, size) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        mailbox.id, made, folder, associated, bag, version.cn, version.key, version.pcl, source_key, is_read, status,
        visible_attachments(content), content.size(store),
    )  # fmt: skip
    touched(mailbox, folder)
    store.events.append(event or Event(events.CREATED, mailbox.id, folder, made, tags=tuple(content.properties.tags())))
    return made


def update(mailbox: Mailbox, message: Message, content: Content, change: Change | None = None) -> Change:
    """Save a changed message; returns its new version."""
    store = mailbox.store
    version = Change(*mailbox.new_change(message.pcl)) if change is None else change
    kept = content.properties.value(MESSAGE_FLAGS, 0)
    content.properties.put(0x0E070003, kept & ~(ROW_FLAGS | UNMODIFIED))
    prepare(mailbox, content)
    tags = tuple(number << 16 | (content.properties.kind(number) or 0) for number in sorted(content.properties.changed))
    contents.save(store, content)
    store.run(
        "UPDATE messages SET cn = ?, change_key = ?, pcl = ?, attachments = ?, size = ? WHERE mailbox = ? AND id = ?",
        version.cn, version.key, version.pcl, visible_attachments(content), content.size(store), mailbox.id, message.id,
    )  # fmt: skip
    touched(mailbox, message.folder)
    store.events.append(Event(events.MODIFIED, mailbox.id, message.folder, message.id, tags=tags))
    return version


def touched(mailbox: Mailbox, folder: int, deleted: int = 0) -> None:
    """The contents of a folder changed; `deleted` messages went away."""
    mailbox.store.touched(mailbox.id, folder)
    mailbox.store.run(
        "UPDATE folders SET commit_time = ?, deleted_total = deleted_total + ? WHERE mailbox = ? AND id = ?",
        mailbox.store.now(), deleted, mailbox.id, folder,
    )  # fmt: skip


def set_read(mailbox: Mailbox, message: Message, read: bool) -> bool:
    """Mark a message; returns whether that changed anything. The message's change number stays, its read one moves."""
    if bool(message.read) == read:
        return False
    store = mailbox.store
    store.run(
        "UPDATE messages SET read = ?, read_cn = ? WHERE mailbox = ? AND id = ?",
        read, mailbox.new_id(), mailbox.id, message.id,
    )  # fmt: skip
    found = store.property_of(message.bag, MESSAGE_FLAGS)
    kept = found[1] if found is not None else 0
    store.write(message.bag, MESSAGE_FLAGS, 3, kept | EVER_READ if read else kept & ~EVER_READ)
    touched(mailbox, message.folder)
    store.events.append(Event(events.MODIFIED, mailbox.id, message.folder, message.id, tags=(0x0E070003,)))
    return True


def set_status(mailbox: Mailbox, message: Message, status: int) -> None:
    mailbox.store.run("UPDATE messages SET status = ? WHERE mailbox = ? AND id = ?", status, mailbox.id, message.id)
    touched(mailbox, message.folder)
    mailbox.store.events.append(Event(events.MODIFIED, mailbox.id, message.folder, message.id, tags=(0x0E170003,)))


def set_submitted(mailbox: Mailbox, message: Message, submitted: bool) -> None:
    mailbox.store.run(
        "UPDATE messages SET submitted = ? WHERE mailbox = ? AND id = ?", submitted, mailbox.id, message.id
    )
    touched(mailbox, message.folder)


def delete(mailbox: Mailbox, identifiers: Iterable[int], folder: int, hard: bool) -> bool:
    """Delete messages of a folder. Returns whether some were not there, or wait to be sent."""
    partial, count = False, 0
    for identifier in identifiers:
        message = find(mailbox, identifier, deleted=hard)
        if message is None or message.folder != folder or message.submitted:
            partial = True
            continue
        count += 1
        _delete_one(mailbox, message, hard)
    touched(mailbox, folder, count)
    return partial


def _delete_one(mailbox: Mailbox, message: Message, hard: bool) -> None:
    store = mailbox.store
    if hard:
        store.run("DELETE FROM messages WHERE mailbox = ? AND id = ?", mailbox.id, message.id)
        store.delete_bag(message.bag)
    else:
        store.run("UPDATE messages SET deleted = 1 WHERE mailbox = ? AND id = ?", mailbox.id, message.id)
    store.events.append(Event(events.DELETED, mailbox.id, message.folder, message.id))


def delete_all(mailbox: Mailbox, folder: int, hard: bool, associated: bool) -> bool:
    """Delete the messages of a folder, the associated ones only on demand."""
    partial = delete(mailbox, ids(mailbox, folder, 0), folder, hard)
    if associated:
        partial |= delete(mailbox, ids(mailbox, folder, 1), folder, hard)
    return partial


def copy(mailbox: Mailbox, identifiers: Iterable[int], target: int, source: int | None = None) -> bool:
    """Copy messages into a folder. source: the folder they must be in. Returns whether some were not there."""
    partial = False
    for identifier in identifiers:
        message = find(mailbox, identifier)
        if message is None or (source is not None and message.folder != source):
            partial = True
            continue
        store = mailbox.store
        twin = contents.load(store, message.bag).fresh(store)
        made = mailbox.new_id()
        insert(
            mailbox,
            target,
            twin,
            bool(message.associated),
            made,
            status=message.status,
            read=bool(message.read),
            event=Event(events.COPIED, mailbox.id, target, made, old_folder=message.folder, old_message=message.id),
        )
    return partial


def move(mailbox: Mailbox, identifiers: Iterable[int], target: int, source: int) -> bool:
    """Move messages between folders: they get new ids. Returns whether some were not there."""
    partial = False
    for identifier in identifiers:
        message = find(mailbox, identifier)
        if message is None or message.folder != source or message.submitted:
            partial = True
            continue
        move_one(mailbox, message, target, mailbox.new_id(), Change(*mailbox.new_change(message.pcl)))
    return partial


def move_one(
    mailbox: Mailbox, message: Message, target: int, made: int, change: Change, source_key: bytes | None = None
) -> None:
    """Move a message to `target` under the id `made` and the version `change`."""
    store = mailbox.store
    store.run(
        "UPDATE messages SET id = ?, folder = ?, cn = ?, change_key = ?, pcl = ?, source_key = ?, deleted = 0"
        " WHERE mailbox = ? AND id = ?",
        made, target, change.cn, change.key, change.pcl, source_key, mailbox.id, message.id,
    )  # fmt: skip
    touched(mailbox, message.folder, 1)
    touched(mailbox, target)
    store.events.append(
        Event(events.MOVED, mailbox.id, target, made, old_folder=message.folder, old_message=message.id)
    )
