"""What one client has open: its session, logons, server objects and the table of their handles.

Server objects know what they stand for and how to show their properties; what the ROPs do with them is in rops/.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from replay.server import content as contents
from replay.server import folders, messages
from replay.server.computed import (
    READ_ONLY_ATTACHMENT,
    READ_ONLY_FOLDER,
    READ_ONLY_MESSAGE,
    READ_ONLY_STORE,
    AttachmentView,
    FolderView,
    MessageView,
    StoreView,
    View,
)  # fmt: skip
from replay.server.content import Attachment, Content
from replay.server.directory import Directory, Regions
from replay.server.errors import MAX_OBJECTS_EXCEEDED, NOT_FOUND, OBJECT_DELETED, RopError
from replay.server.events import MODIFIED, ROW_CHANGES, TOTAL, UNREAD, Event
from replay.server.mailbox import Mailbox
from replay.server.messages import Message
from replay.server.properties import Large
from replay.server.store import Store
from replay.server.tablewatch import Watch
from replay.server.values import BINARY, STRING, STRING8, codec_of, from_8bit, to_8bit

if TYPE_CHECKING:
    from replay.server.underway import Operation

NO_HANDLE = 0xFFFFFFFF
READ_TAG = 0x0E070003
MAX_OBJECTS = 10_000
PRIVATE_LOGON = 0x01
LOGON_CODE_PAGE = 0x0FFF
"""A CodePageId that says: the one of the logon."""


class ServerObject:
    """Anything a handle stands for."""

    kind = "object"

    def __init__(self, logon: Logon | None) -> None:
        self._logon = logon

    @property
    def logon(self) -> Logon:
        assert self._logon is not None
        return self._logon

    def released(self) -> None:
        """The client gave the handle back."""


class Region(NamedTuple):
    """Bytes of a stream that one session keeps others from. readable: they may read them."""

    stream: StreamData
    start: int
    end: int
    readable: bool


class PropertyObject(ServerObject):
    """An object with properties that can be read and written."""

    read_only: frozenset[int] = frozenset()

    def __init__(self, logon: Logon | None) -> None:
        super().__init__(logon)
        self.streams: list[StreamData] = []

    @property
    def codec(self) -> str:
        return self.logon.session.codec

    def view(self) -> View:
        raise NotImplementedError

    def bag(self) -> int | None:
        """Where its properties are in the database; None where they are not yet."""
        raise NotImplementedError

    def regions(self, prop_id: int) -> Regions:
        """The locks on streams over a property, of everybody who has it open."""
        bag = self.bag()
        return Regions() if bag is None else self.logon.session.directory.regions_of(bag, prop_id)

    def tags(self) -> list[int]:
        """Every property the object has, worked out ones included, in the order of their ids."""
        raise NotImplementedError

    def set(self, prop_id: int, kind: int, value: Any) -> None:
        raise NotImplementedError

    def delete(self, prop_id: int) -> None:
        raise NotImplementedError

    def is_read_only(self, prop_id: int) -> bool:
        return prop_id in self.read_only

    def done(self, changed: list[int]) -> None:
        """After a ROP set or deleted the properties `changed` (tags)."""

    def flush(self) -> None:
        """Let what was written to open streams be seen as properties."""
        for stream in self.streams:
            stream.flush()

    def view_tags(self, view: View, stored: list[int]) -> list[int]:
        tags = {tag >> 16: tag for tag in stored}
        for table in (view.computed, view.defaults):
            for prop_id in table:
                found = view.get(prop_id)
                if found is not None:
                    tags[prop_id] = prop_id << 16 | found[0]
        return [tags[prop_id] for prop_id in sorted(tags)]


class Logon(PropertyObject):
    """An open mailbox."""

    kind = "logon"
    read_only = READ_ONLY_STORE

    def __init__(self, session: Session, number: int, mailbox: Mailbox, flags: int) -> None:
        super().__init__(None)
        self.session, self.number, self.mailbox, self.flags = session, number, mailbox, flags
        self.per_user: dict[bytes, tuple[uuid.UUID | None, bytearray]] = {}
        """Per-user information on its way up: {public folder: (replica GUID, data so far)}."""

    @property
    def logon(self) -> Logon:
        return self

    @property
    def store(self) -> Store:
        return self.mailbox.store

    def bag(self) -> int | None:
        return self.mailbox.bag

    def view(self) -> View:
        return StoreView(self.mailbox, lambda prop_id: self.store.property_of(self.mailbox.bag, prop_id))

    def tags(self) -> list[int]:
        return self.view_tags(self.view(), self.store.properties(self.mailbox.bag).tags())

    def set(self, prop_id: int, kind: int, value: Any) -> None:
        self.store.write(self.mailbox.bag, prop_id, kind, value)

    def delete(self, prop_id: int) -> None:
        self.store.erase(self.mailbox.bag, prop_id)


class FolderObject(PropertyObject):
    """An open folder. Its properties are written at once."""

    kind = "folder"
    read_only = READ_ONLY_FOLDER

    def __init__(self, logon: Logon, identifier: int, deleted: bool = False) -> None:
        super().__init__(logon)
        self.id, self.deleted = identifier, deleted

    @property
    def folder(self) -> folders.Folder:
        """The row as it is now; ecObjectDeleted where somebody removed it."""
        found = folders.find(self.logon.mailbox, self.id, self.deleted)
        if found is None:
            raise RopError(OBJECT_DELETED)
        return found

    def bag(self) -> int | None:
        return self.folder.bag

    def view(self) -> View:
        return FolderView(self.logon.mailbox, self.folder)

    def tags(self) -> list[int]:
        return self.view_tags(self.view(), self.logon.store.properties(self.folder.bag).tags())

    def set(self, prop_id: int, kind: int, value: Any) -> None:
        if prop_id == 0x3001 and kind == STRING:
            folders.rename(self.logon.mailbox, self.folder, value)
        self.logon.store.write(self.folder.bag, prop_id, kind, value)

    def delete(self, prop_id: int) -> None:
        self.logon.store.erase(self.folder.bag, prop_id)

    def done(self, changed: list[int]) -> None:
        folder = self.folder
        self.logon.store.write(folder.bag, 0x3008, 0x40, self.logon.store.now())
        folders.touch(self.logon.mailbox, folder, tuple(changed))


class MessageObject(PropertyObject):
    """An open message with its working copy.

    row: as it was when opened or last saved; None for a message never saved. holder: the attachment of an embedded
    message. folder: where a new one will go.
    """

    kind = "message"
    read_only = READ_ONLY_MESSAGE

    def __init__(
        self,
        logon: Logon,
        content: Content,
        row: Message | None = None,
        folder: int | None = None,
        associated: bool = False,
        holder: AttachmentObject | None = None,
        code_page: int = LOGON_CODE_PAGE,
        writable: bool = True,
    ) -> None:
        super().__init__(logon)
        self.content, self.row, self.folder, self.associated, self.holder = content, row, folder, associated, holder
        self.code_page, self.writable = code_page, writable
        self.imported: Callable[[MessageObject], int] | None = None
        """How a message that came by RopSynchronizationImportMessageChange is saved."""

    @property
    def codec(self) -> str:
        return self.logon.session.codec if self.code_page in (LOGON_CODE_PAGE, 0) else codec_of(self.code_page)

    def is_read_only(self, prop_id: int) -> bool:
        """PidTagMessageFlags can be written until the message is first saved, and in a synchronization upload."""
        if prop_id == messages.MESSAGE_FLAGS:
            return self.row is not None and self.imported is None
        return super().is_read_only(prop_id)

    def bag(self) -> int | None:
        return self.content.bag

    def view(self) -> View:
        self.flush()
        view = MessageView(self.logon.mailbox, self.row, self.content.properties.get, self.folder)
        view.has_named = any(prop_id >= 0x8000 for prop_id in self.content.properties)
        return view

    def tags(self) -> list[int]:
        view = self.view()
        return self.view_tags(view, self.content.properties.tags())

    def set(self, prop_id: int, kind: int, value: Any) -> None:
        properties = self.content.properties
        if prop_id == 0x0037:
            properties.delete(0x003D)
            properties.delete(0x0E1D)
        properties.set(prop_id, kind, value)

    def delete(self, prop_id: int) -> None:
        self.content.properties.delete(prop_id)

    def attachment_size(self, attachment: Attachment) -> int:
        return attachment.size(self.logon.store)


class AttachmentObject(PropertyObject):
    """An open attachment: a working copy that goes into the message's when it is saved."""

    kind = "attachment"
    read_only = READ_ONLY_ATTACHMENT

    def __init__(self, message: MessageObject, attachment: Attachment, writable: bool = True) -> None:
        super().__init__(message.logon)
        self.message, self.attachment, self.writable = message, attachment, writable

    @property
    def codec(self) -> str:
        return self.message.codec

    def bag(self) -> int | None:
        return self.attachment.bag

    def view(self) -> View:
        self.flush()
        attachment = self.attachment
        return AttachmentView(
            self.logon.mailbox, attachment.number, attachment.properties.get, lambda: attachment.size(self.logon.store)
        )

    def tags(self) -> list[int]:
        return self.view_tags(self.view(), self.attachment.properties.tags())

    def set(self, prop_id: int, kind: int, value: Any) -> None:
        self.attachment.properties.set(prop_id, kind, value)

    def delete(self, prop_id: int) -> None:
        self.attachment.properties.delete(prop_id)


class StreamData:
    """The bytes of a property opened as a stream; clones of a stream share one."""

    def __init__(self, owner: PropertyObject, tag: int, data: bytes, writable: bool) -> None:
        self.owner, self.tag, self.data, self.writable = owner, tag, bytearray(data), writable
        self.dirty = False
        self.handles = 1
        self.regions = owner.regions(tag >> 16)

    def flush(self) -> None:
        if not self.dirty:
            return
        self.dirty = False
        kind = self.tag & 0xFFFF
        if kind == STRING:
            even = len(self.data) & ~1
            self.owner.set(self.tag >> 16, STRING, self.data[:even].decode("utf-16-le", "surrogatepass"))
        elif kind == STRING8:
            self.owner.set(self.tag >> 16, STRING, from_8bit(bytes(self.data), self.owner.codec))
        else:
            self.owner.set(self.tag >> 16, BINARY, bytes(self.data))

    def commit(self) -> None:
        """Into the property; for folders and stores that is the database."""
        if self.dirty:
            self.flush()
            self.owner.done([self.tag])


def stream_bytes(kind: int, value: Any, codec: str) -> bytes:
    """The bytes of a stream over a value: text without its NUL."""
    value = value.fetch() if isinstance(value, Large) else value
    if kind == STRING:
        return str(value).encode("utf-16-le", "surrogatepass")
    return to_8bit(value, codec) if kind == STRING8 else bytes(value)


class StreamObject(ServerObject):
    """An open stream with a position of its own."""

    kind = "stream"

    def __init__(self, data: StreamData, position: int = 0) -> None:
        super().__init__(data.owner.logon)
        self.data, self.position = data, position

    def released(self) -> None:
        self.data.handles -= 1
        self.data.commit()
        if self.data.handles == 0:
            self.data.regions[:] = [one for one in self.data.regions if one.stream is not self.data]
            if self.data in self.data.owner.streams:
                self.data.owner.streams.remove(self.data)


class Subscription(ServerObject):
    """What RopRegisterNotification asked for. folder and message None: the whole store."""

    kind = "notification"

    def __init__(self, logon: Logon, types: int, folder: int | None, message: int | None) -> None:
        super().__init__(logon)
        self.types, self.folder, self.message = types, folder, message

    def told_of(self, event: Event) -> Iterator[Event]:
        """What to tell of an event: itself, and the folders that have other numbers of messages by it."""
        if self.wants(event):
            yield event
        counts = TOTAL | UNREAD if event.kind & ROW_CHANGES else 0
        if event.kind == MODIFIED and event.tags == (READ_TAG,):
            counts = UNREAD
        if event.message is None or not counts:
            return
        for folder in dict.fromkeys((event.folder, event.old_folder)):
            numbers = Event(MODIFIED, event.mailbox, folder or 0, tags=(), counts=counts)
            if folder is not None and self.wants(numbers):
                yield numbers

    def wants(self, event: Event) -> bool:
        if event.mailbox != self.logon.mailbox.id or not event.kind & self.types:
            return False
        if self.folder is None:
            return True
        if self.message:
            return event.message == self.message
        return self.folder in (event.folder, event.parent, event.old_folder, event.old_parent)


class Watched(ServerObject):
    """A table, as far as its client is told of changes in it."""

    watch: Watch


class Session:
    """One client's session context: made by Connect, ended by Disconnect or by time."""

    def __init__(self, directory: Directory, user: str, code_page: int = 1252, locale: int = 0x409) -> None:
        self.directory, self.store, self.user = directory, directory.store, user
        self.code_page, self.locale = code_page, locale
        self.codec = codec_of(code_page)
        self.objects: dict[int, ServerObject] = {}
        self._listening: dict[int, ServerObject] = {}
        self.logons: dict[int, Logon] = {}
        self.pending: deque[tuple[int, int, Any]] = deque(maxlen=1000)
        """(handle, logon number, event) that the client was not told of yet."""
        self.woken = threading.Event()
        self.operations: dict[int, Operation] = {}
        """What is done in parts (underway.py), by the handle it was asked for with."""
        self._last_handle = 0

    def add(self, thing: ServerObject) -> int:
        """A handle for a new object."""
        if len(self.objects) >= MAX_OBJECTS:
            raise RopError(MAX_OBJECTS_EXCEEDED)
        self._last_handle += 1
        self.objects[self._last_handle] = thing
        if isinstance(thing, Subscription | Watched):
            self._listening[self._last_handle] = thing
        return self._last_handle

    def release(self, handle: int) -> None:
        """Forget an object; a logon takes everything below it along."""
        thing = self.objects.pop(handle, None)
        if thing is None:
            return
        self.operations.pop(handle, None)
        if isinstance(thing, Logon):
            for other, below in list(self.objects.items()):
                if below.logon is thing:
                    del self.objects[other]
                    below.released()
            if self.logons.get(thing.number) is thing:
                del self.logons[thing.number]
        thing.released()

    def _listeners(self) -> Iterator[tuple[int, ServerObject]]:
        """The subscriptions and tables that are still open: few, where there may be thousands of other objects."""
        for handle, thing in list(self._listening.items()):
            if self.objects.get(handle) is thing:
                yield handle, thing
            else:
                self._listening.pop(handle, None)

    def subscriptions(self) -> Iterator[tuple[int, Subscription]]:
        return ((handle, thing) for handle, thing in self._listeners() if isinstance(thing, Subscription))

    def tables(self) -> Iterator[tuple[int, Watched]]:
        return ((handle, thing) for handle, thing in self._listeners() if isinstance(thing, Watched))

    def tell(self, event: Event) -> None:
        """An event was committed: keep it for those handles that want it."""
        for handle, subscription in self.subscriptions():
            for told in subscription.told_of(event):
                entry = handle, subscription.logon.number, told
                if not told.counts or entry not in self.pending:
                    self.pending.append(entry)
                self.woken.set()
        for _, table in self.tables():
            if table.watch.hears(event):
                self.woken.set()

    def has_news(self) -> bool:
        """Whether the next answer may carry notifications."""
        return bool(self.pending) or any(table.watch.stale for _, table in self.tables())

    def close(self) -> None:
        for handle in list(self.objects):
            self.release(handle)


def message_content(logon: Logon, identifier: int, deleted: bool, folder: int | None) -> tuple[Message, Content]:
    """A saved message, loaded. folder: where it must be. ecNotFound where it is not."""
    row = messages.find(logon.mailbox, identifier, deleted)
    if row is None or (folder is not None and row.folder != folder):
        raise RopError(NOT_FOUND)
    return row, contents.load(logon.store, row.bag)
