"""Messages and folders out of a FastTransfer stream, with all their values: for writing them to files.

MessageReader takes the stream in chunks cut anywhere and hands out every message and folder when it is complete. It
holds one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dissector.grammar.base import GrammarError, labeller_of
from dissector.grammar.elements import Element, ElementReader, Named
from dissector.grammar.fasttransfer import FASTTRANSFER_VALUES, MARKER, UNNAMED
from dissector.grammar.ics import Step, Syntax
from dissector.node import Undecoded

PARTIAL_GROUP = 0x407A0003


class Property(NamedTuple):
    """A property with its value as its layout gives it. text: the value in words, '' where there are none."""

    tag: int
    name: str
    named: Named | None
    value: Any
    text: str


@dataclass(slots=True)
class Attachment:
    properties: list[Property] = field(default_factory=list)
    embedded: Message | None = None


@dataclass(slots=True)
class Message:
    """A message, or (kind "folder") the properties of a folder.

    kind: "full" and "partial" (messageChange), "message", "folder", "embedded". offset, end: its bytes in the stream.
    header: messageChangeHeader. groups: of a partial change (property group, its properties). complete: False where it
    was cut short.
    """

    kind: str
    offset: int
    end: int = 0
    fai: bool | None = None
    header: list[Property] = field(default_factory=list)
    properties: list[Property] = field(default_factory=list)
    groups: list[tuple[int, list[Property]]] = field(default_factory=list)
    recipients: list[list[Property]] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    complete: bool = True


_ITEMS: Mapping[str, str] = {
    "messageChangeFull": "full",
    "messageChangePartial": "partial",
    "message": "message",
    "folderChange": "folder",
}
_FOLDERS = ("folderContent", "folderContentNoDelProps")


class _Place:
    """Where an open production puts what it holds."""

    __slots__ = ("attachment", "message", "name", "properties")

    def __init__(
        self, name: str, message: Message | None, properties: list[Property], attachment: Attachment | None
    ) -> None:
        self.name, self.message, self.properties, self.attachment = name, message, properties, attachment


class MessageReader:
    """A stream in chunks, out in Messages: feed(chunk), run through messages(); at the end run through finish().

    root: the production that the stream is (ics.ROOTS). codepage: the Python codec of 8-bit text.
    """

    def __init__(self, root: str, *, codepage: str | None = None) -> None:
        self.codepage = codepage
        self._reader = ElementReader()
        self._syntax = Syntax(root)
        self._places: list[_Place] = []
        self._item: Message | None = None
        self._depth = 0
        self._after = 0
        self._begin(root, 0)
        if root == "messageContent":
            self._item = self._places[0].message = Message("message", 0)
            self._places[0].properties = self._item.properties

    def feed(self, data: bytes) -> None:
        self._reader.feed(data)

    def resume(self, offset: int) -> Iterator[Message]:
        """Bytes are missing: what is fed next stands at this offset of the stream and begins an element."""
        yield from self.messages()
        self._reader = ElementReader(offset=offset)
        self._syntax.lose()
        if self._item is not None:
            self._item.complete = False

    def messages(self) -> Iterator[Message]:
        """The messages and folders that are complete by now."""
        for element in self._reader.elements():
            step = self._syntax.advance(element.tag)
            yield from self._move(step, element.offset)
            if element.is_marker:
                self._after = element.tag
                if self._item is not None and element.tag in (MARKER["StartMessage"], MARKER["StartFAIMsg"]):
                    self._item.fai = element.tag == MARKER["StartFAIMsg"]
            elif self._item is not None:
                self._take(element)

    def finish(self) -> Iterator[Message]:
        """What the end of the stream completes, or cuts short."""
        yield from self.messages()
        whole = self._reader.finish() is None and not self._syntax.finish()
        if self._item is not None:
            yield self._ended(self._reader.offset, whole)

    def _move(self, step: Step, offset: int) -> Iterator[Message]:
        for number in range(step.ends):
            if self._item is not None and len(self._places) - 1 == self._depth:
                yield self._ended(offset, number >= step.cut)
            place = self._places.pop()
            if place.name == "embeddedMessage" and place.message is not None:
                place.message.end = offset
        for name in step.begins:
            self._begin(name, offset)

    def _begin(self, name: str, offset: int) -> None:
        outer = self._places[-1] if self._places else _Place("", None, [], None)
        place = _Place(name, outer.message, outer.properties, outer.attachment)
        self._places.append(place)
        kind = "folder" if name == "propList" and outer.name in _FOLDERS else _ITEMS.get(name, "")
        if kind and self._item is None:
            self._item, self._depth = Message(kind, offset), len(self._places) - 1
            place.message, place.properties = self._item, self._item.properties
        message = place.message
        if message is None:
            return
        if name in ("messageChangeHeader", "groupInfo"):
            place.properties = message.header
        elif name == "recipient":
            place.properties = []
            message.recipients.append(place.properties)
        elif name == "attachment":
            place.attachment = Attachment()
            place.properties = place.attachment.properties
            message.attachments.append(place.attachment)
        elif name == "embeddedMessage" and place.attachment is not None:
            place.message = place.attachment.embedded = Message("embedded", offset)
            place.properties, place.attachment = place.message.properties, None

    def _ended(self, offset: int, complete: bool) -> Message:
        item = self._item
        assert item is not None
        item.end, item.complete = offset, complete and item.complete
        self._item = None
        return item

    def _take(self, element: Element) -> None:
        place = self._places[-1]
        taken = self._property(element)
        if element.tag == PARTIAL_GROUP and place.message is not None and isinstance(taken.value, int):
            group: list[Property] = []
            place.message.groups.append((taken.value, group))
            place.properties = group
        else:
            place.properties.append(taken)

    def _property(self, element: Element) -> Property:
        try:
            value = element.value(codepage=self.codepage, after=self._after)
        except GrammarError:
            return Property(element.tag, element.name, element.named, Undecoded(element.raw or b""), "")
        text = ""
        if element.tag != UNNAMED and not isinstance(value, bytes | list | Mapping):
            named = {element.tag >> 16: str(element.named)} if element.named is not None else {}
            label = labeller_of(FASTTRANSFER_VALUES.form(element.tag, named=named))
            text = label(value) if label is not None else ""
        return Property(element.tag, element.name, element.named, value, text)
