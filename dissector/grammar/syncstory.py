"""What a FastTransfer stream says, message by message: plain values for stories about a synchronization.

StoryReader takes the stream in chunks cut anywhere and hands out one item for every change, message, set, progress
report or error as soon as it is complete. It holds one item at a time, and of a message's properties only the few it
tells about, so memory does not grow with the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dissector.grammar.base import GrammarError
from dissector.grammar.elements import Element, ElementReader
from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.ics import PLAIN, PROPERTY, Step, Syntax
from dissector.grammar.idset import SET_FORMS, IdsetReading, read_idset
from dissector.grammar.names import property_name
from dissector.grammar.outline import (
    LONGEST,
    NEAR,
    Head,
    Messages,
    following,
    goes_on,
    head,
    last_end,
    messages,
    subject_near,
)  # fmt: skip
from dissector.grammar.quick import READERS, UNREAD, quick
from dissector.grammar.skim import EVERY, Steps, comes, skim, skim_body, skim_parts, step_over
from dissector.node import Diagnostic, Severity, Undecoded

KEPT = 64 * 1024
"""Longer values than this are not looked at, but for the sets."""

_TOLD = {0x0037: "subject", 0x001A: "message_class"}
"""Of a message's own properties: what is told, by property id."""


@dataclass(slots=True)
class Change:
    """A change or a message.

    kind: "full" and "partial" (messageChange), "message" (message, messageContent), "folder" (folderChange, or the
    properties of a folder that is copied). offset, end: the bytes in the stream. header: by property name the values of
    messageChangeHeader, or all of a folder. properties, recipients, attachments: how many; embedded: how many embedded
    messages at any depth. fai: None where nothing says so. groups: the property groups that a partial change replaces
    (0xFFFFFFFF: properties in no group), of the mapping group_id; group_info: a mapping (PropertyGroupInfo) that came
    with it. announced: the size that progressPerMessage gave. warnings: MetaTagEcWarning, of this message or in its
    place. complete: False where it was cut short.
    """

    kind: str
    offset: int
    end: int = 0
    header: dict[str, Any] = field(default_factory=dict)
    fai: bool | None = None
    subject: str | None = None
    message_class: str | None = None
    properties: int = 0
    recipients: int = 0
    attachments: int = 0
    embedded: int = 0
    groups: list[int] = field(default_factory=list)
    group_id: int | None = None
    group_info: Any = None
    announced: int | None = None
    warnings: list[int] = field(default_factory=list)
    complete: bool = True


@dataclass(slots=True)
class Sets:
    """Sets of ids. kind: "state", "deletions" or "readStateChanges". sets: by property name; may be read in part."""

    kind: str
    offset: int
    end: int = 0
    sets: dict[str, IdsetReading] = field(default_factory=dict)
    complete: bool = True


@dataclass(slots=True)
class Report:
    """A structure about the stream. kind: "progressTotal" (ProgressInformation) or "errorInfo" (ExtendedErrorInfo)."""

    kind: str
    offset: int
    end: int = 0
    value: Any = None
    complete: bool = True


@dataclass(slots=True)
class Fault:
    """Where the stream breaks its rules or ends too early, and how."""

    offset: int
    diagnostic: Diagnostic


Item: TypeAlias = Change | Messages | Sets | Report | Fault

_ITEMS: Mapping[str, tuple[type[Change] | type[Sets] | type[Report], str]] = {
    "messageChangeFull": (Change, "full"),
    "messageChangePartial": (Change, "partial"),
    "folderChange": (Change, "folder"),
    "message": (Change, "message"),
    "state": (Sets, "state"),
    "deletions": (Sets, "deletions"),
    "readStateChanges": (Sets, "readStateChanges"),
    "progressTotal": (Report, "progressTotal"),
    "errorInfo": (Report, "errorInfo"),
}
"""The productions that are items."""
_FULL = ["messageChangeFull", "propList"]
_OWN_PATHS = (["propList"], ["messageContent", "propList"])
"""Where a message's own properties stand."""
_OWN, _DEEPER = Steps(_TOLD), Steps()
"""What is passed over among a message's own properties, and among others."""
_PARTS: Mapping[str, tuple[int, int, int]] = {
    "recipient": (MARKER["StartRecip"], MARKER["EndToRecip"], 0),
    "attachment": (MARKER["NewAttach"], MARKER["EndAttach"], 1),
}
"""Parts that are passed over as a whole: the markers round them, and how many properties they have at least."""
_CHANGE, _MESSAGE = MARKER["IncrSyncChg"], MARKER["IncrSyncMessage"]
_ASSOCIATED = 0x67AA000B
_HEADER: Mapping[int, tuple[str, Callable[[bytes], Any]]] = {
    tag: (property_name(tag), read) for tag, read in READERS.items()
}
"""Names and readers of the properties of a header that are plain."""
_FAI = "PidTagAssociated"
_ODD: tuple[str, Callable[[bytes], Any]] = "", lambda raw: UNREAD
_NAMES: dict[int, str] = {}
"""Names of header properties by tag, as they are met."""
_FOLDERS = ("folderContent", "folderContentNoDelProps")


def changes_of(alike: Messages, first: int = 0) -> Iterator[Change]:
    """The messages that were read as columns, one by one, from one of them on."""
    for index, subject in enumerate(alike.names()[first:], first):
        item = Change("full", alike.begins(index), alike.offsets[index + 1], subject=subject)
        for tag, raw in alike.properties(index):
            name, read = _HEADER[tag]
            item.header[name] = read(raw)
        item.fai, item.announced = item.header[_FAI], alike.size(index)
        yield item


class StoryReader:
    """A stream in chunks, out in items: feed(chunk), run through items(); at the end run through finish().

    root: the production that the stream is (ics.ROOTS). codepage: the Python codec of 8-bit text.
    outline: pass over the bodies of messageChangeFull by looking for what follows them (outline.py): their properties,
    recipients and attachments are not counted, their class is not told, and what breaks the rules in them is not seen;
    many that are alike come as Messages (changes_of). It may be set at any time. passed: so many bytes were passed
    over.
    """

    def __init__(self, root: str, *, codepage: str | None = None) -> None:
        self.codepage = codepage
        self._reader = ElementReader(keep=KEPT, always=SET_FORMS)
        self._syntax = Syntax(root)
        self._path: list[str] = []
        self._item: Change | Sets | Report | None = None
        self._depth = 0
        """Where in the path the item's own production stands."""
        self._after = 0
        self._announced: int | None = None
        self._warnings: list[int] = []
        self._group_id: int | None = None
        self._folder_told = False
        self._whole = True
        self.elements = 0
        """How many elements were read so far."""
        self.outline = False
        self.passed = 0
        self._seeking = False
        """Whether what follows a body is still to be found."""
        self._looked = False
        """Whether the subject of the message at hand was looked for."""
        self._held = False
        """Whether the header of the message at hand stands at the reader's place: left there until more has come."""
        self._ready: list[Change | Messages] = []
        """Messages that were passed over as a whole."""
        self._begin(root, 0)
        if root == "messageContent":
            self._item = Change("message", 0)

    @property
    def stopped(self) -> bool:
        """Whether reading has come to a place behind which nothing can be read."""
        return self._reader.trouble is not None

    def feed(self, data: bytes) -> None:
        self._reader.feed(data)

    def passes(self, data: bytes, start: int, end: int) -> int:
        """How much of data[start:end], which comes next, need not be fed: the rest of a body that is passed over."""
        if not self._seeking or not self._looked or end - start < LONGEST:
            return 0
        reader = self._reader
        tail = reader.waiting[reader.at :]
        if goes_on(tail, data[start : start + LONGEST]):
            return 0
        count = following(data, start, end)[1] - start
        self.passed += len(tail) + count
        reader.skip(len(tail) + count)
        return count

    def jump(self, count: int, elements: int) -> list[Item] | None:
        """Go over messageChangeFulls that come next and are read elsewhere: so many bytes and elements.

        Gives the items that are complete before them. None, and nothing is done, where an element has begun already.
        """
        reader = self._reader
        if not reader.comes_plain or reader.at < len(reader.waiting) or self._seeking or self._held:
            return None
        offset = reader.offset
        done = list(self._move(self._syntax.advance(_CHANGE), offset))
        self._syntax.leave()
        del self._path[1:]
        self._item = None
        self.elements += elements
        reader.skip(count)
        return done

    def resume(self, offset: int) -> Iterator[Item]:
        """Bytes are missing: what is fed next stands at this offset of the stream and begins an element.

        Gives the items that were complete before. The one that is open goes on, but is no longer complete.
        """
        yield from self._last_items()
        self._reader = ElementReader(keep=KEPT, always=SET_FORMS, offset=offset)
        self._syntax.lose()
        self._whole = self._seeking = False
        if self._item is not None:
            self._item.complete = False

    def items(self) -> Iterator[Item]:
        """The items that are complete by now."""
        if not self.outline:
            self._settle()
        going = True
        while going:
            self._pass_over()
            if self._ready:
                yield from self._ready
                self._ready = []
            if self._seeking or self._held:
                return
            going = False
            for element in self._reader.elements():
                self.elements += 1
                step = self._syntax.advance(element.tag)
                if step is not PLAIN:
                    if step.trouble:
                        yield Fault(element.offset, Diagnostic(Severity.MALFORMED, step.trouble))
                    yield from self._move(step, element.offset)
                if step.fits:
                    report = self._take(element)
                    if report is not None:
                        yield report
                if self._coming():
                    going = True
                    break

    def _last_items(self) -> Iterator[Item]:
        """The items that are complete now that nothing more follows."""
        yield from self.items()
        if self._held:
            self._settle()
            yield from self.items()

    def _coming(self) -> str:
        """What comes next and need not be looked at one by one: 'own', 'header', ..., or ''."""
        if not isinstance(self._item, Change) or self._item.kind == "folder":
            return ""
        if self._path[-1] == "messageChangeFull":  # what may stand here may also be left out: nobody need be told
            return {_CHANGE: "header", _MESSAGE: "body"}.get(self._after, "")
        repeating = self._syntax.repeating
        if repeating != PROPERTY:
            return repeating if repeating in _PARTS else ""
        where = self._path[-1]
        if where == "propList":
            inside = self._path[self._depth :]
            return "body" if inside == _FULL else "own" if inside[1:] in _OWN_PATHS else "deeper"
        return "header" if where == "messageChangeHeader" else "deeper" if where == "recipient" else ""

    def _pass_over(self) -> None:
        """Go over it."""
        coming, item = self._coming(), self._item
        found: list[tuple[int, bytes]] = []
        if not coming or not isinstance(item, Change):
            return
        if coming == "header":
            self.elements += skim(self._reader, _DEEPER, found, EVERY)
            for tag, raw in found:
                self._in_header(item, _element(tag, raw))
            if self._path[-1] != "messageChangeFull" or not comes(self._reader, _MESSAGE):
                return
            self._syntax.advance(_MESSAGE)  # fits: all before it may be left out
            step_over(self._reader)
            self._after = _MESSAGE
            self.elements += 1
            coming, found = "body", []
        if coming == "body" and self.outline and self._reader.comes_plain:
            self._pass_bodies(item)
            return
        if coming in _PARTS:
            begin, end, least = _PARTS[coming]
            parts, count = skim_parts(self._reader, begin, end, _DEEPER, least)
            if parts and "attachment" not in self._path[self._depth :]:
                item.recipients += parts if coming == "recipient" else 0
                item.attachments += parts if coming == "attachment" else 0
            if parts:
                self._after = end
        elif coming == "body":
            passed = skim_body(self._reader, _OWN, _DEEPER, found)
            count = passed.elements
            item.properties += passed.properties
            item.recipients += passed.recipients
            item.attachments += passed.attachments
        else:
            count = skim(self._reader, _OWN if coming == "own" else _DEEPER, found)
            item.properties += count if coming == "own" else 0
        for tag, raw in found:
            self._tell(item, _element(tag, raw))
        self.elements += count

    def _pass_bodies(self, item: Change) -> None:
        """Go over the rest of a body, and over all messages behind it that are whole and plain."""
        reader = self._reader
        data, base = reader.waiting, reader.base
        at = reader.at
        while True:
            short = self._held
            if not self._held:
                found, next_at = following(data, at)
                if not self._looked:
                    item.subject = item.subject or subject_near(data, at, next_at)
                    self._looked = found or bool(item.subject) or next_at - at > NEAR
                self._seeking = not found
                if not self._looked:
                    break  # the subject may come yet
                self.passed += next_at - at
                short = found and base + next_at - item.offset < NEAR
                at = next_at
                if not found:
                    break
            alike = messages(data, at, base) if short else None  # more short ones may follow: all at one go
            if alike is not None:
                if not self._held:
                    self._ready.append(self._found(item, base + at))
                self._ready.append(alike)
                self.passed += alike.passed
                self.elements += alike.elements
                at = alike.offsets[-1] - base
                self._held = len(data) - at < NEAR
                if self._held:
                    break
            begun = head(data, at)
            if begun is None:
                break
            if alike is None and not self._held:
                self._ready.append(self._found(item, base + at))
            item, at = self._opened(begun, base)
        self._item = item
        reader.pass_to(at)

    def _found(self, item: Change, end: int) -> Change:
        item.end = end
        return item

    def _opened(self, begun: Head, base: int) -> tuple[Change, int]:
        """The message of a header that was read in one piece, and the offset behind that."""
        offset, at, properties, announced = begun
        item = Change("full", base + offset, announced=announced)
        for tag, raw in properties:
            name, read = _HEADER.get(tag, _ODD)
            value = read(raw)
            if value is UNREAD:
                self._in_header(item, _element(tag, raw))
            else:
                item.header[name] = value
        item.fai = item.header.get(_FAI)
        self.elements += len(properties) + 2 + 3 * (announced is not None)
        self._looked = self._held = False
        return item, at

    def _settle(self) -> None:
        """Open the message that was left until more came."""
        begun = head(self._reader.waiting, self._reader.at) if self._held else None
        if begun is not None:
            self._item, at = self._opened(begun, self._reader.base)
            self._reader.pass_to(at)

    def _in_header(self, item: Change, element: Element) -> None:
        """A property of messageChangeHeader, or of a folder."""
        name = _NAMES.get(element.tag)
        if name is None:
            name = element.name
            if element.named is None:
                _NAMES[element.tag] = name
        value = item.header[name] = self._value(element)
        if element.tag == _ASSOCIATED:
            item.fai = bool(value)

    def finish(self) -> Iterator[Item]:
        """The items that the end of the stream completes, and what is wrong with that end."""
        yield from self._last_items()
        if self._seeking:
            self._seeking = self.outline = False
            self._reader.pass_to(last_end(self._reader.waiting, self._reader.at))
            yield from self.items()
        trouble = self._reader.finish()
        end = self._reader.offset
        missing = self._syntax.finish() if self._whole else ""
        if self._item is not None:
            yield self._ended(end, trouble is None and not missing)
        if trouble is not None:
            yield Fault(*trouble)
        elif missing:
            yield Fault(end, Diagnostic(Severity.MALFORMED, missing))

    def _move(self, step: Step, offset: int) -> Iterator[Item]:
        for number in range(step.ends):
            if self._item is not None and len(self._path) - 1 == self._depth:
                yield self._ended(offset, number >= step.cut)
            self._path.pop()
        for name in step.begins:
            self._begin(name, offset)

    def _begin(self, name: str, offset: int) -> None:
        self._path.append(name)
        made = _ITEMS.get(name)
        if name in _FOLDERS:
            self._folder_told = False
        elif name == "propList" and self._path[-2:-1] and self._path[-2] in _FOLDERS and not self._folder_told:
            made, self._folder_told = (Change, "folder"), True
        if made is not None and self._item is None:
            kind, word = made
            self._item, self._depth = kind(word, offset), len(self._path) - 1
            self._looked = False
            if isinstance(self._item, Change):
                self._item.announced, self._announced = self._announced, None
                self._item.warnings, self._warnings = self._warnings, []
        elif isinstance(self._item, Change):
            if name == "embeddedMessage":
                self._item.embedded += 1
            elif "attachment" not in self._path[self._depth : -1]:
                self._item.recipients += name == "recipient"
                self._item.attachments += name == "attachment"

    def _ended(self, offset: int, complete: bool) -> Change | Sets | Report:
        item = self._item
        assert item is not None
        item.end, item.complete = offset, complete and item.complete
        self._item = None
        return item

    def _take(self, element: Element) -> Report | None:
        """Note what an element tells. An errorInfo inside an item is handed out by itself."""
        if element.is_marker:
            self._after = element.tag
            if isinstance(self._item, Change) and self._item.kind == "message":
                if element.tag == MARKER["StartFAIMsg"]:
                    self._item.fai = True
                elif element.tag == MARKER["StartMessage"]:
                    self._item.fai = False
            return None
        where, item = self._path[-1], self._item
        if where == "errorInfo" and not isinstance(item, Report):
            return Report("errorInfo", element.offset, element.end, self._value(element))
        if where == "progressPerMessage" and element.tag == 0x00000003:
            self._announced = self._value(element)
        elif element.tag == 0x400F0003:
            (item.warnings if isinstance(item, Change) else self._warnings).append(self._value(element))
        elif element.tag == 0x407C0003:
            self._group_id = self._value(element)
        elif isinstance(item, Sets):
            form = SET_FORMS.get(element.tag >> 16)
            if form is not None and element.raw is not None:
                item.sets[element.name] = read_idset(element.raw[4:], form)
        elif isinstance(item, Report):
            item.value = self._value(element)
        elif item is not None and where == "groupInfo":
            item.group_info = self._value(element)
        elif item is not None:
            self._property(item, element)
        return None

    def _property(self, item: Change, element: Element) -> None:
        inside = self._path[self._depth + 1 :]
        if element.tag == 0x407A0003:
            item.groups.append(self._value(element))
            item.group_id = self._group_id
        elif inside == ["messageChangeHeader"] or (item.kind == "folder" and not inside):
            item.properties += item.kind == "folder"
            self._in_header(item, element)
        elif inside in _OWN_PATHS:
            item.properties += 1
            self._tell(item, element)

    def _tell(self, item: Change, element: Element) -> None:
        """A property of the message itself, if it is one that is told."""
        told = _TOLD.get(element.tag >> 16)
        value = self._value(element) if told is not None else None
        if told is not None and isinstance(value, str):
            setattr(item, told, value)

    def _value(self, element: Element) -> Any:
        value = quick(element.tag, element.raw)
        if value is not UNREAD:
            return value
        try:
            return element.value(codepage=self.codepage, after=self._after)
        except GrammarError:
            return Undecoded(element.raw or b"")


def _element(tag: int, raw: bytes) -> Element:
    """An element that was passed over: where it stood is not known."""
    return Element(0, tag, None, 4, 4 + len(raw), raw if len(raw) <= KEPT else None)
