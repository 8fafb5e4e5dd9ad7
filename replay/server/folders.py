"""Folders of a mailbox: finding, making, deleting, moving, copying them [MS-OXCFOLD] 3.2.5."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from replay.server import events, messages
from replay.server.errors import (
    DUPLICATE_NAME,
    FOLDER_CYCLE,
    INVALID_PARAMETER,
    NOT_FOUND,
    NOT_SUPPORTED,
    RopError,
)  # fmt: skip
from replay.server.events import Event
from replay.server.mailbox import GENERIC, Mailbox, folded, insert_folder
from replay.server.properties import Properties

STRUCTURE = 0
"""The generation key that grows with every change of any folder of a mailbox."""

COLUMNS = "id, parent, name, kind, deleted, bag, cn, change_key, pcl, source_key, commit_time, deleted_total"


class Folder(NamedTuple):
    """A row of the folders table. name: folded, for comparing; the display name is a property of the bag."""

    id: int
    parent: int | None
    name: str
    kind: int
    deleted: int
    bag: int
    cn: int
    change_key: bytes
    pcl: bytes
    source_key: bytes | None
    commit_time: int
    deleted_total: int


class Counts(NamedTuple):
    messages: int
    unread: int
    associated: int
    folders: int
    size: int


def find(mailbox: Mailbox, identifier: int, deleted: bool = False) -> Folder | None:
    """A folder; one that is soft-deleted only where `deleted`."""
    row = mailbox.store.one(f"SELECT {COLUMNS} FROM folders WHERE mailbox = ? AND id = ?", mailbox.id, identifier)
    if row is None or (row[4] and not deleted):
        return None
    return Folder(*row)


def get(mailbox: Mailbox, identifier: int, deleted: bool = False) -> Folder:
    """A folder, or ecNotFound."""
    found = find(mailbox, identifier, deleted)
    if found is None:
        raise RopError(NOT_FOUND)
    return found


def children(mailbox: Mailbox, parent: int, deleted: int = 0) -> list[Folder]:
    rows = mailbox.store.run(
        f"SELECT {COLUMNS} FROM folders WHERE mailbox = ? AND parent = ? AND deleted = ? ORDER BY name",
        mailbox.id, parent, deleted,
    )  # fmt: skip
    return [Folder(*row) for row in rows]


def descendants(mailbox: Mailbox, top: int, deleted: int = 0) -> Iterator[tuple[Folder, int]]:
    """(folder, depth) of everything below, parents before children; depth 1 is a direct child."""
    stack = [(one, 1) for one in reversed(children(mailbox, top, deleted))]
    while stack:
        folder, depth = stack.pop()
        yield folder, depth
        stack.extend((one, depth + 1) for one in reversed(children(mailbox, folder.id, deleted)))


def counts(mailbox: Mailbox, identifier: int) -> Counts:
    store = mailbox.store
    row = store.one(
        "SELECT coalesce(sum(1 - associated), 0), coalesce(sum((1 - associated) * (1 - read)), 0),"
        " coalesce(sum(associated), 0), coalesce(sum(size), 0)"
        " FROM messages WHERE mailbox = ? AND folder = ? AND deleted = 0",
        mailbox.id, identifier,
    )  # fmt: skip
    (below,) = store.one(
        "SELECT count(*) FROM folders WHERE mailbox = ? AND parent = ? AND deleted = 0", mailbox.id, identifier
    )
    return Counts(row[0], row[1], row[2], below, row[3])


def is_within(mailbox: Mailbox, identifier: int | None, top: int) -> bool:
    """Whether a folder is `top` or below it."""
    seen: set[int] = set()
    while identifier is not None and identifier not in seen:
        if identifier == top:
            return True
        seen.add(identifier)
        found = find(mailbox, identifier, deleted=True)
        identifier = None if found is None else found.parent
    return False


def by_name(mailbox: Mailbox, parent: int, name: str) -> Folder | None:
    row = mailbox.store.one(
        f"SELECT {COLUMNS} FROM folders WHERE mailbox = ? AND parent = ? AND deleted = 0 AND name = ?",
        mailbox.id, parent, folded(name),
    )  # fmt: skip
    return None if row is None else Folder(*row)


def by_source_key(mailbox: Mailbox, key: bytes) -> Folder | None:
    """The folder with a source key: one a client made up, or the global identifier of its id."""
    store = mailbox.store
    row = store.one(f"SELECT {COLUMNS} FROM folders WHERE mailbox = ? AND source_key = ?", mailbox.id, key)
    if row is not None:
        return Folder(*row)
    return find(mailbox, mailbox.from_gid(key), deleted=True) if len(key) == 22 else None


def create(
    mailbox: Mailbox, parent: int, name: str, properties: Properties, kind: int = GENERIC, identifier: int | None = None
) -> int:
    """A new folder; ecDuplicateName where its parent has one of that name."""
    if not name:
        raise RopError(INVALID_PARAMETER)
    if by_name(mailbox, parent, name) is not None:
        raise RopError(DUPLICATE_NAME)
    store = mailbox.store
    made = mailbox.new_id() if identifier is None else identifier
    now = store.now()
    properties.put(0x3001001F, name)
    for tag in (0x30070040, 0x30080040):
        if tag >> 16 not in properties:
            properties.put(tag, now)
    insert_folder(mailbox, made, parent, name, kind, properties)
    changed(mailbox, Event(events.CREATED, mailbox.id, made, parent=parent, tags=()))
    return made


def changed(mailbox: Mailbox, event: Event | None = None) -> None:
    """Something about the folders of a mailbox is not as it was."""
    mailbox.store.touched(mailbox.id, STRUCTURE)
    if event is not None:
        mailbox.store.events.append(event)


def touch(mailbox: Mailbox, folder: Folder, tags: tuple[int, ...] = ()) -> None:
    """The folder itself was changed: a new change number, change key and predecessor list."""
    number, key, predecessors = mailbox.new_change(folder.pcl)
    mailbox.store.run(
        "UPDATE folders SET cn = ?, change_key = ?, pcl = ? WHERE mailbox = ? AND id = ?",
        number, key, predecessors, mailbox.id, folder.id,
    )  # fmt: skip
    changed(mailbox, Event(events.MODIFIED, mailbox.id, folder.id, tags=tags))


def rename(mailbox: Mailbox, folder: Folder, name: str) -> None:
    """The name that is compared; the property is written by the caller. ecDuplicateName where it is taken."""
    if not name:
        raise RopError(INVALID_PARAMETER)
    if folder.parent is not None:
        other = by_name(mailbox, folder.parent, name)
        if other is not None and other.id != folder.id:
            raise RopError(DUPLICATE_NAME)
    mailbox.store.run("UPDATE folders SET name = ? WHERE mailbox = ? AND id = ?", folded(name), mailbox.id, folder.id)


def delete(mailbox: Mailbox, folder: Folder, hard: bool, with_messages: bool = True, with_folders: bool = True) -> bool:
    """Delete a folder and what is in it. Returns whether it was left because of what it holds."""
    if folder.id in mailbox.special_names():
        raise RopError(NOT_SUPPORTED)
    have = counts(mailbox, folder.id)
    if (not with_messages and have.messages + have.associated) or (not with_folders and have.folders):
        return True
    below = [one for one, _ in descendants(mailbox, folder.id)]
    if hard:
        below.extend(one for one, _ in descendants(mailbox, folder.id, 1))
    for one in (*reversed(below), folder):
        messages.delete_all(mailbox, one.id, hard, associated=True)
        if hard:
            _remove(mailbox, one)
        else:
            mailbox.store.run("UPDATE folders SET deleted = 1 WHERE mailbox = ? AND id = ?", mailbox.id, one.id)
        changed(mailbox, Event(events.DELETED, mailbox.id, one.id, parent=one.parent))
    if folder.parent is not None:
        mailbox.store.run(
            "UPDATE folders SET deleted_total = deleted_total + ? WHERE mailbox = ? AND id = ?",
            1, mailbox.id, folder.parent,
        )  # fmt: skip
    return False


def _remove(mailbox: Mailbox, folder: Folder) -> None:
    store = mailbox.store
    for row in store.run("SELECT bag FROM messages WHERE mailbox = ? AND folder = ?", mailbox.id, folder.id).fetchall():
        store.run("DELETE FROM messages WHERE mailbox = ? AND bag = ?", mailbox.id, row[0])
        store.delete_bag(row[0])
    store.run("DELETE FROM folders WHERE mailbox = ? AND id = ?", mailbox.id, folder.id)
    store.run("DELETE FROM receive WHERE mailbox = ? AND folder = ?", mailbox.id, folder.id)
    store.delete_bag(folder.bag)


def empty_of_folders(mailbox: Mailbox, folder: Folder, hard: bool) -> bool:
    """Delete the folders in a folder. Returns whether something was left."""
    partial = False
    for one in children(mailbox, folder.id):
        if one.id in mailbox.special_names():
            partial = True
        else:
            partial |= delete(mailbox, one, hard)
    return partial


def move(mailbox: Mailbox, folder: Folder, target: Folder, name: str) -> None:
    """Put a folder under another one, under a name."""
    if folder.id in mailbox.special_names():
        raise RopError(NOT_SUPPORTED)
    if is_within(mailbox, target.id, folder.id):
        raise RopError(FOLDER_CYCLE)
    other = by_name(mailbox, target.id, name)
    if other is not None and other.id != folder.id:
        raise RopError(DUPLICATE_NAME)
    store = mailbox.store
    number, key, predecessors = mailbox.new_change(folder.pcl)
    store.run(
        "UPDATE folders SET parent = ?, name = ?, cn = ?, change_key = ?, pcl = ? WHERE mailbox = ? AND id = ?",
        target.id, folded(name), number, key, predecessors, mailbox.id, folder.id,
    )  # fmt: skip
    store.write(folder.bag, 0x3001, 0x1F, name)
    event = Event(events.MOVED, mailbox.id, folder.id, parent=target.id, old_folder=folder.id, old_parent=folder.parent)
    changed(mailbox, event)


def copy(mailbox: Mailbox, folder: Folder, target: Folder, name: str, recursive: bool) -> int:
    """A second folder with the same properties and messages, under another one."""
    if recursive and is_within(mailbox, target.id, folder.id):
        raise RopError(FOLDER_CYCLE)
    below = children(mailbox, folder.id) if recursive else []
    made = create(mailbox, target.id, name, mailbox.store.properties(folder.bag).fresh(), max(folder.kind, GENERIC))
    for associated in (0, 1):
        messages.copy(mailbox, messages.ids(mailbox, folder.id, associated), get(mailbox, made).id)
    for one in below:
        title = mailbox.store.property_of(one.bag, 0x3001)
        copy(mailbox, one, get(mailbox, made), title[1] if title else one.name, recursive=True)
    changed(
        mailbox,
        Event(events.COPIED, mailbox.id, made, parent=target.id, old_folder=folder.id, old_parent=folder.parent),
    )
    return made
