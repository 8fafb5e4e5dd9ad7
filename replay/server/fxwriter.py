"""FastTransfer streams, written: messages, attachments, recipients and folders as elements [MS-OXCFXICS] 2.2.4.

What comes out is pieces: runs of bytes that a buffer may end behind, or (long values) anywhere within. Values are built
with the dissector's grammar; the order of elements is that of dissector.grammar.ics.GRAMMAR.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from dissector.grammar.base import build
from dissector.grammar.fasttransfer import FASTTRANSFER_VALUES, MARKER, code_page_text
from dissector.grammar.leaves import encode_text
from replay.server import content as contents
from replay.server import folders, messages
from replay.server.content import Attachment, Content
from replay.server.folders import Folder
from replay.server.mailbox import FIRST_NAMED, Mailbox, wire_number
from replay.server.messages import Message
from replay.server.properties import Properties
from replay.server.session import Session
from replay.server.values import BINARY, INT32, INT64, LAID_OUT, MULTIPLE, STRING, STRING8, TIME, to_8bit

UNICODE, USE_CPID, RECOVER, FORCE_UNICODE, PARTIAL_ITEM = 0x01, 0x02, 0x04, 0x08, 0x10
"""SendOptions."""

KNOWN_OPTIONS = UNICODE | USE_CPID | RECOVER | FORCE_UNICODE | PARTIAL_ITEM

CODE_PAGE_UNICODE = 0x84B0

RECIPIENTS, ATTACHMENTS = 0x0E12, 0x0E13
SUBFOLDERS, CONTENTS, ASSOCIATED = 0x360E, 0x360F, 0x3610
DELETE_PROPERTY = 0x40160003
"""MetaTagFXDelProp: here come the subobjects of this kind, forget those there are."""

FREE = 64
"""Values of more bytes than this may be cut anywhere."""

VERSION = frozenset((0x65E0, 0x65E1, 0x65E2, 0x65E3, 0x67A4, 0x674A, 0x6748, 0x6749))
"""What is an object's own and not its copy's."""

IDENTITY = VERSION | {0x3008}
"""What a change header tells of a message and its properties do not."""

OWN_DATA = frozenset((0x6709,))
"""Stored properties that are the server's own."""

Wanted = Callable[[int], bool]


def _text(value: str) -> bytes:
    raw = value.encode("utf-16-le", "surrogatepass")
    return struct.pack("<I", len(raw) + 2) + raw + b"\0\0"


SIMPLE: dict[int, Callable[[Any], bytes]] = {
    INT32: struct.Struct("<i").pack,
    INT64: struct.Struct("<q").pack,
    TIME: struct.Struct("<Q").pack,
    BINARY: lambda value: struct.pack("<I", len(value)) + value,
    STRING: _text,
}
"""What messages are made of for the most part, built without the grammar: the same bytes in a fraction of the time."""


class Piece(NamedTuple):
    """free: a buffer may end anywhere in it, at multiples of `step` bytes."""

    data: bytes
    free: bool = False
    step: int = 1


def everything(prop_id: int) -> bool:
    return True


class Writer:
    """Writes for one session with one set of SendOptions."""

    def __init__(self, session: Session, mailbox: Mailbox, options: int) -> None:
        self.mailbox, self.store = mailbox, mailbox.store
        self.codec = session.codec
        self.text = STRING8
        if options & USE_CPID:
            self.text = CODE_PAGE_UNICODE
        elif options & (UNICODE | FORCE_UNICODE):
            self.text = STRING

    # Elements.

    def marker(self, name: str) -> Piece:
        return Piece(struct.pack("<I", MARKER[name]))

    def prop(self, tag: int, value: Any) -> Iterator[Piece]:
        """One property. A named one whose name is not known any more is left out."""
        kind = tag & 0xFFFF
        head = b""
        if tag >> 16 >= FIRST_NAMED:
            name = self.mailbox.property_name(tag >> 16)
            if name is None:
                return
            head = name.guid.bytes_le
            if name.lid is not None:
                head += b"\0" + struct.pack("<I", name.lid)
            else:
                head += b"\1" + encode_text(name.name or "", "utf-16-le") + b"\0\0"
        if kind in LAID_OUT:  # FastTransfer has no form for them
            return
        if kind == STRING and self.text != STRING:
            kind = self.text
            value = to_8bit(value, self.codec) + b"\0" if kind == STRING8 else value
        elif kind == MULTIPLE | STRING and self.text == STRING8:
            kind, value = MULTIPLE | STRING8, [to_8bit(one, self.codec) + b"\0" for one in value]
        simple = SIMPLE.get(kind)
        if simple is not None:
            raw = simple(value)
        else:
            form = code_page_text(kind) if kind == CODE_PAGE_UNICODE else FASTTRANSFER_VALUES.types[kind]
            raw = build(form, value, codepage=self.codec)
        head = struct.pack("<I", tag & ~0xFFFF | kind) + head
        if len(raw) <= FREE:
            yield Piece(head + raw)
            return
        yield Piece(head)
        yield from self._long(kind, raw)

    def _long(self, kind: int, raw: bytes) -> Iterator[Piece]:
        if kind & MULTIPLE and kind != CODE_PAGE_UNICODE:
            at = 4
            yield Piece(raw[:4])
            if kind & ~MULTIPLE not in (STRING, STRING8, 0x102):
                yield Piece(raw[4:], True, 16 if kind & ~MULTIPLE == 0x48 else 8)
                return
            while at < len(raw):
                end = at + 4 + struct.unpack_from("<I", raw, at)[0]
                yield Piece(raw[at : at + 4])
                yield Piece(raw[at + 4 : end], True)
                at = end
            return
        yield Piece(raw[:4])
        yield Piece(raw[4:], True, 2 if kind in (STRING, CODE_PAGE_UNICODE) else 1)

    def stored(self, properties: Properties, wanted: Wanted, leave: Iterable[int] = ()) -> Iterator[Piece]:
        """The properties of a set that are wanted."""
        left = set(leave) | OWN_DATA
        for prop_id in properties:
            if prop_id not in left and wanted(prop_id):
                kind = properties.kind(prop_id)
                assert kind is not None
                yield from self.prop(prop_id << 16 | kind, properties.value(prop_id))

    def delete_first(self, prop_id: int) -> Iterator[Piece]:
        yield Piece(struct.pack("<II", DELETE_PROPERTY, prop_id << 16 | 0x0D))

    # Messages.

    def message_list(self, rows: Iterable[Message], with_id: bool) -> Iterator[Piece]:
        for row in rows:
            yield self.marker("StartFAIMsg" if row.associated else "StartMessage")
            if with_id:
                yield from self.prop(0x674A0014, wire_number(row.id))
            content = contents.load(self.store, row.bag)
            yield from self.message_content(content, everything, row)
            yield self.marker("EndMessage")

    def message_content(
        self, content: Content, wanted: Wanted, row: Message | None = None, leave: Iterable[int] = VERSION
    ) -> Iterator[Piece]:
        """A propList and messageChildren."""
        flags = content.properties.value(messages.MESSAGE_FLAGS, 0)
        if row is not None:
            flags = messages.flags(row, flags)
        if wanted(messages.MESSAGE_FLAGS):
            yield from self.prop(0x0E070003, flags)
        if row is not None and row.status and wanted(0x0E17):
            yield from self.prop(0x0E170003, row.status)
        yield from self.stored(content.properties, wanted, {*leave, messages.MESSAGE_FLAGS})
        yield from self.children(content, wanted)

    def children(self, content: Content, wanted: Wanted) -> Iterator[Piece]:
        if wanted(RECIPIENTS):
            yield from self.delete_first(RECIPIENTS)
            for recipient in content.recipients:
                yield self.marker("StartRecip")
                yield from self.prop(0x30000003, recipient.row_id)
                yield from self.prop(0x0C150003, recipient.kind)
                yield from self.stored(recipient.properties, everything, (0x3000, 0x0C15))
                yield self.marker("EndToRecip")
        if wanted(ATTACHMENTS):
            yield from self.delete_first(ATTACHMENTS)
            for number, attachment in sorted(content.attachments.items()):
                yield self.marker("NewAttach")
                yield from self.prop(0x0E210003, number)
                yield from self.attachment_content(attachment, everything)
                yield self.marker("EndAttach")

    def attachment_content(self, attachment: Attachment, wanted: Wanted) -> Iterator[Piece]:
        yield from self.stored(attachment.properties, wanted, (0x0E21,))
        inner = attachment.open_embedded(self.store)
        if inner is not None and wanted(0x3701):
            yield self.marker("StartEmbed")
            yield from self.message_content(inner, everything)
            yield self.marker("EndEmbed")

    # Folders.

    def folder_content(self, folder: Folder, wanted: Wanted, sub_objects: bool) -> Iterator[Piece]:
        """For CopyTo and CopyProperties: every part behind a MetaTagFXDelProp."""
        yield from self.stored(self.store.properties(folder.bag), wanted, (0x6748, 0x6749))
        for prop_id, associated in ((ASSOCIATED, 1), (CONTENTS, 0)):
            if sub_objects and wanted(prop_id):
                yield from self.delete_first(prop_id)
                yield from self.message_list(messages.rows(self.mailbox, folder.id, associated), with_id=False)
        if sub_objects and wanted(SUBFOLDERS):
            yield from self.delete_first(SUBFOLDERS)
            for one in folders.children(self.mailbox, folder.id):
                yield self.marker("StartSubFld")
                yield from self.folder_head(one)
                yield from self.folder_content(one, _but_the_head, sub_objects)
                yield self.marker("EndFolder")

    def folder_head(self, folder: Folder) -> Iterator[Piece]:
        """What the propList of a subfolder begins with."""
        name, comment = self.store.property_of(folder.bag, 0x3001), self.store.property_of(folder.bag, 0x3004)
        yield from self.prop(0x67480014, wire_number(folder.id))
        yield from self.prop(0x3001001F, name[1] if name else "")
        yield from self.prop(0x3004001F, comment[1] if comment else "")

    def top_folder(self, folder: Folder, deep: bool) -> Iterator[Piece]:
        """For CopyFolder."""
        yield self.marker("StartTopFld")
        yield from self._folder_without_deletes(folder, everything, deep)
        yield self.marker("EndFolder")

    def _folder_without_deletes(self, folder: Folder, wanted: Wanted, deep: bool) -> Iterator[Piece]:
        yield from self.stored(self.store.properties(folder.bag), wanted, (0x6748, 0x6749))
        for associated in (1, 0):
            yield from self.message_list(messages.rows(self.mailbox, folder.id, associated), with_id=True)
        for one in folders.children(self.mailbox, folder.id) if deep else ():
            yield self.marker("StartSubFld")
            yield from self.folder_head(one)
            yield from self._folder_without_deletes(one, _but_the_head, deep)
            yield self.marker("EndFolder")


def _but_the_head(prop_id: int) -> bool:
    return prop_id not in (0x3001, 0x3004)
