"""FastTransfer streams, read into objects: RopFastTransferDestinationPutBuffer [MS-OXCFXICS] 3.2.5.8.2.

Elements come out of the dissector's ElementReader as they are whole; a stack of frames knows what each of them belongs
to. A message or attachment that was open gets its properties at once; messages and subfolders that come into a folder
are made when they end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from dissector.grammar.elements import Element, ElementReader, Named
from dissector.grammar.fasttransfer import FASTTRANSFER_VALUES, code_page_text
from dissector.grammar.reading import parse
from replay.server import folders, messages, recipients
from replay.server.computed import READ_ONLY_FOLDER, READ_ONLY_MESSAGE
from replay.server.content import Attachment, Content, Recipient
from replay.server.errors import FORMAT_ERROR, NOT_SUPPORTED, RopError
from replay.server.fxwriter import ATTACHMENTS, RECIPIENTS, VERSION
from replay.server.mailbox import Mailbox, PropertyName
from replay.server.properties import Properties
from replay.server.session import (
    AttachmentObject,
    FolderObject,
    MessageObject,
    PropertyObject,
    ServerObject,
)  # fmt: skip
from replay.server.values import BINARY, ERROR_CODE, INSTANCE, MULTIPLE, OBJECT, STRING, STRING8, from_8bit, text_of

COPY_TO, COPY_PROPERTIES, COPY_MESSAGES, COPY_FOLDER = 1, 2, 3, 4
"""SourceOperation."""

MAX_DEPTH = 64
DELETE_PROPERTY = 0x4016
IGNORED = frozenset((0x4008, 0x400F, 0x4011))
"""Meta-properties that tell a receiver nothing it has to do."""


def plain(element: Element, codec: str) -> tuple[int, Any]:
    """(type, plain value) of a property in a stream."""
    kind = element.tag & 0xFFFF
    form = code_page_text(kind) if kind & 0x8000 else FASTTRANSFER_VALUES.types[kind & ~INSTANCE]
    assert element.raw is not None
    value, _ = parse(form, element.raw, codepage=codec)
    if kind & 0x8000:
        return STRING, value if isinstance(value, str) else from_8bit(bytes(value), codec)
    if kind in (STRING8, STRING):
        return STRING, text_of(value, 1 if kind == STRING8 else 2, codec).rstrip("\0")
    if kind in (MULTIPLE | STRING8, MULTIPLE | STRING):
        width = 1 if kind == MULTIPLE | STRING8 else 2
        return MULTIPLE | STRING, [text_of(one, width, codec).rstrip("\0") for one in value]
    return (BINARY, bytes(value)) if kind in (BINARY, OBJECT) else (kind, value)


class Frame(ABC):
    """What the elements at hand belong to. end: the marker that closes it."""

    end = ""

    def __init__(self, reader: TransferTarget) -> None:
        self.reader = reader

    @abstractmethod
    def property(self, prop_id: int, kind: int, value: Any) -> None: ...

    def forget(self, prop_id: int) -> None:  # noqa: B027  (some frames hold nothing to forget)
        """MetaTagFXDelProp."""

    def marker(self, name: str) -> Frame:
        """The frame that a marker opens in this one."""
        raise RopError(FORMAT_ERROR)

    def ended(self) -> None:  # noqa: B027  (some frames leave nothing to do)
        """Its closing marker has come."""


class MessageFrame(Frame):
    def __init__(self, reader: TransferTarget, content: Content, end: str) -> None:
        super().__init__(reader)
        self.content, self.end = content, end

    def property(self, prop_id: int, kind: int, value: Any) -> None:
        if prop_id not in VERSION and (prop_id not in READ_ONLY_MESSAGE or prop_id == 0x0E07):
            self.content.properties.set(prop_id, kind, value)

    def forget(self, prop_id: int) -> None:
        if prop_id == RECIPIENTS:
            self.content.clear_recipients()
        elif prop_id == ATTACHMENTS:
            for number in list(self.content.attachments):
                self.content.delete_attachment(number)

    def marker(self, name: str) -> Frame:
        if name == "StartRecip":
            return RecipientFrame(self.reader, self.content)
        if name == "NewAttach":
            return AttachmentFrame(self.reader, self.content)
        return super().marker(name)

    def ended(self) -> None:
        for prop_id, name in recipients.display_names(self.content).items():
            self.content.properties.put(prop_id << 16 | STRING, name)


class NewMessageFrame(MessageFrame):
    """A message that comes into a folder."""

    def __init__(self, reader: TransferTarget, folder: int, associated: bool) -> None:
        super().__init__(reader, Content(), "EndMessage")
        self.folder, self.associated = folder, associated

    def ended(self) -> None:
        super().ended()
        messages.insert(self.reader.logon.mailbox, self.folder, self.content, self.associated)


class RecipientFrame(Frame):
    end = "EndToRecip"

    def __init__(self, reader: TransferTarget, content: Content) -> None:
        super().__init__(reader)
        self.content = content
        self.recipient = Recipient(len(content.recipients), 1)

    def property(self, prop_id: int, kind: int, value: Any) -> None:
        if prop_id == recipients.ROW_ID:
            self.recipient.row_id = value & 0xFFFFFFFF
        elif prop_id == recipients.RECIPIENT_TYPE:
            self.recipient.kind = value & 0xFF
        else:
            self.recipient.properties.set(prop_id, kind, value)

    def ended(self) -> None:
        self.content.put_recipient(self.recipient)


class AttachmentFrame(Frame):
    end = "EndAttach"

    def __init__(self, reader: TransferTarget, content: Content, attachment: Attachment | None = None) -> None:
        super().__init__(reader)
        self.content = content
        self.attachment = attachment or Attachment(content.new_number())

    def property(self, prop_id: int, kind: int, value: Any) -> None:
        if prop_id != 0x0E21:
            self.attachment.properties.set(prop_id, kind, value)

    def marker(self, name: str) -> Frame:
        if name == "StartEmbed":
            inner = Content()
            self.attachment.embedded = inner
            self.attachment.changed = True
            return MessageFrame(self.reader, inner, "EndEmbed")
        return super().marker(name)

    def ended(self) -> None:
        self.content.put_attachment(self.attachment)


class FolderFrame(Frame):
    """An existing folder, or with `parent` one that is made as soon as its properties have come."""

    end = "EndFolder"

    def __init__(self, reader: TransferTarget, folder: int | None, parent: int | None = None) -> None:
        super().__init__(reader)
        self.folder, self.parent = folder, parent
        self.properties = Properties()

    def property(self, prop_id: int, kind: int, value: Any) -> None:
        if prop_id not in READ_ONLY_FOLDER and not (self.parent is None and prop_id == 0x3001):
            self.properties.set(prop_id, kind, value)

    def _made(self) -> int:
        mailbox = self.reader.logon.mailbox
        if self.folder is None:
            assert self.parent is not None
            name = str(self.properties.value(0x3001, ""))
            self.folder = folders.create(mailbox, self.parent, name, self.properties)
        elif self.properties.changed:
            found = folders.get(mailbox, self.folder)
            mailbox.store.save(found.bag, self.properties)
            folders.touch(mailbox, found)
        self.properties = Properties()
        return self.folder

    def marker(self, name: str) -> Frame:
        if name in ("StartMessage", "StartFAIMsg"):
            return NewMessageFrame(self.reader, self._made(), name == "StartFAIMsg")
        if name in ("StartSubFld", "StartTopFld"):
            return FolderFrame(self.reader, None, self._made())
        return super().marker(name)

    def ended(self) -> None:
        self._made()


class TransferTarget(ServerObject):
    """A FastTransfer upload context."""

    kind = "transfer-target"

    def __init__(self, target: PropertyObject, operation: int) -> None:
        super().__init__(target.logon)
        self.target = target
        self.codec = target.codec
        self.reader = ElementReader()
        self.failed: RopError | None = None
        is_folder = isinstance(target, FolderObject)
        if operation not in (COPY_TO, COPY_PROPERTIES, COPY_MESSAGES, COPY_FOLDER) or (
            operation in (COPY_MESSAGES, COPY_FOLDER) and not is_folder
        ):
            raise RopError(NOT_SUPPORTED)
        self.frames: list[Frame] = [self._root(target)]

    def _root(self, target: PropertyObject) -> Frame:
        if isinstance(target, MessageObject):
            return MessageFrame(self, target.content, "")
        if isinstance(target, AttachmentObject):
            return AttachmentFrame(self, target.message.content, target.attachment)
        if isinstance(target, FolderObject):
            return FolderFrame(self, target.id)
        raise RopError(NOT_SUPPORTED)

    @property
    def mailbox(self) -> Mailbox:
        return self.logon.mailbox

    def put(self, data: bytes) -> None:
        """The next bytes of the stream. After a failure every further call fails in the same way."""
        if self.failed is not None:
            raise self.failed
        try:
            self._put(data)
        except RopError as error:
            self.failed = error
            raise

    def _put(self, data: bytes) -> None:
        self.reader.feed(data)
        for element in self.reader.elements():
            if element.is_marker:
                self._marker(element.name)
            else:
                self._property(element)
        if self.reader.trouble is not None:
            raise RopError(FORMAT_ERROR)
        root = self.frames[0]
        if (isinstance(root, FolderFrame) and len(self.frames) == 1) or isinstance(root, MessageFrame):
            root.ended()

    def _marker(self, name: str) -> None:
        top = self.frames[-1]
        if name == top.end and len(self.frames) > 1:
            self.frames.pop()
            top.ended()
        elif len(self.frames) >= MAX_DEPTH:
            raise RopError(FORMAT_ERROR)
        else:
            self.frames.append(top.marker(name))

    def _property(self, element: Element) -> None:
        prop_id, top = element.tag >> 16, self.frames[-1]
        if prop_id == DELETE_PROPERTY:
            assert element.raw is not None
            top.forget(int.from_bytes(element.raw, "little") >> 16)
        elif prop_id not in IGNORED and element.tag & 0xFFFF != ERROR_CODE:
            if element.named is not None:
                prop_id = self.mailbox.property_id(_name(element.named), create=True)
            kind, value = plain(element, self.codec)
            top.property(prop_id, kind, value)


def _name(named: Named) -> PropertyName:
    if isinstance(named.key, int):
        return PropertyName(named.property_set, named.key, None)
    if not isinstance(named.key, str):
        raise RopError(FORMAT_ERROR)
    return PropertyName(named.property_set, None, named.key)
