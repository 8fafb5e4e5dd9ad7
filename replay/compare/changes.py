"""What a FastTransfer stream tells, change by change, with every property: what two streams are compared by.

The stream is read by the dissector's StoryReader, so that both sides are judged by the same rules; the properties of a
change are taken from its bytes when somebody asks for them. Of long values the size and a digest are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from dissector.grammar.base import GrammarError
from dissector.grammar.elements import Element, Named, elements_of
from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.ics import SEPARATE
from dissector.grammar.idset import IdsetReading
from dissector.grammar.syncstory import Change, Fault, Item, Report, Sets, StoryReader
from dissector.model.idset import EMPTY, IdSet
from dissector.model.pcl import Xid
from dissector.node import Undecoded
from dissector.session.exchange import Exchange, Rop
from dissector.session.stream import Stream

LONG = 4096
"""Bytes of a value that are kept as they are; of longer ones a digest is."""

DIGEST = 16

_HEADER = frozenset({
    "PidTagSourceKey", "PidTagLastModificationTime", "PidTagChangeKey", "PidTagPredecessorChangeList", "PidTagMid",
    "PidTagAssociated", "PidTagChangeNumber", "PidTagFolderId",
})  # fmt: skip
_HEADED = frozenset({"full", "partial"})
"""What the header of a messageChange tells is read already; what it may not hold is not looked for in the message."""

_INTO = {MARKER["NewAttach"]: "attachment", MARKER["StartRecip"]: "recipient", MARKER["StartEmbed"]: "embedded"}
_OUT = frozenset({MARKER["EndAttach"], MARKER["EndToRecip"], MARKER["EndEmbed"]})


@dataclass(frozen=True, slots=True)
class Digest:
    """A value too long to keep."""

    size: int
    digest: bytes

    def __str__(self) -> str:
        return f"<{self.size} bytes, SHA-256 {self.digest.hex()[:16]}...>"


@dataclass(slots=True)
class Property:
    """A property as it stood in the stream. raw: its bytes, or the digest of them."""

    tag: int
    named: Named | None
    raw: bytes | Digest
    codepage: str | None
    after: int

    def value(self) -> Any:
        """Its value; a Digest for a long one, Undecoded bytes for one that cannot be read."""
        if isinstance(self.raw, Digest):
            return self.raw
        try:
            element = Element(0, self.tag, self.named, 0, 0, self.raw)
            return element.value(codepage=self.codepage, after=self.after)
        except GrammarError:
            return Undecoded(self.raw)


@dataclass(slots=True)
class Told:
    """A change as it stood in the stream. part: the stream's bytes from one offset to another.

    Those of a long stream are in a file: of a first synchronization they would be half of what memory holds.
    """

    change: Change
    part: Callable[[int, int], bytes]
    codepage: str | None = None
    _properties: dict[str, Property] | None = None

    @property
    def data(self) -> bytes:
        """Its bytes."""
        return self.part(self.change.offset, self.change.end)

    @property
    def properties(self) -> dict[str, Property]:
        """All properties by path: "PidTagSubject", "attachment[0].embedded.PidTagSubject", ... Read when asked for."""
        if self._properties is None:
            self._properties = dict(_properties(self.data, self.change.offset, self.codepage))
        return self._properties

    def forget(self) -> None:
        """Let go what can be read again."""
        self._properties = None

    @property
    def kind(self) -> str:
        return self.change.kind

    @property
    def key(self) -> Xid | None:
        key = self.get("PidTagSourceKey")
        return key if isinstance(key, Xid) else None

    @property
    def fai(self) -> bool:
        return bool(self.change.fai)

    @property
    def title(self) -> str:
        """What a person would call it."""
        if self.kind == "folder":
            return str(self.get("PidTagDisplayName") or "")
        if self.change.subject:
            return self.change.subject
        names = ("PidTagSubject", "PidTagNormalizedSubject", "PidTagDisplayName")
        return str(next(filter(None, map(self.get, names)), ""))

    @property
    def name(self) -> str:
        kind = "folder" if self.kind == "folder" else "FAI message" if self.fai else "message"
        title = self.title
        return f"{kind} {title!r}" if title else f"{kind} {self.key}" if self.key else f"{kind} without a name"

    def get(self, path: str) -> Any:
        """The value at a path, None where there is none."""
        if path in _HEADER and self.kind in _HEADED:
            return self.change.header.get(path)
        found = self.properties.get(path)
        return found.value() if found is not None else None


@dataclass(slots=True)
class Story:
    """All that a stream tells. sets: by kind ("state", "deletions", "readStateChanges") and property name."""

    root: str
    codepage: str | None = None
    changes: list[Told] = field(default_factory=list)
    sets: dict[str, dict[str, IdSet]] = field(default_factory=dict)
    errors: list[Any] = field(default_factory=list)
    progress: Any = None
    faults: list[str] = field(default_factory=list)

    def set_of(self, kind: str, name: str) -> IdSet:
        return self.sets.get(kind, {}).get(name, EMPTY)

    @property
    def state(self) -> dict[str, IdSet]:
        return self.sets.get("state", {})


class Listener:
    """A watcher of Streams that keeps what downloads tell, so that their bytes are read once."""

    def __init__(self) -> None:
        self._items: dict[int, list[Item]] = {}

    def began(self, exchange: Exchange, rop: Rop, stream: Stream) -> None:
        pass

    def item(self, stream: Stream, item: Item) -> None:
        if stream.direction == "download":
            self._items.setdefault(stream.number, []).append(item)

    def rop(self, exchange: Exchange, rop: Rop) -> None:
        pass

    def closed(self, session: int, handle: int | None) -> None:
        pass

    def forget(self, stream: Stream) -> None:
        """Nobody will ask for this one."""
        self._items.pop(stream.number, None)

    def story(self, stream: Stream) -> Story | None:
        """What a stream told that has ended; None where what it is or its bytes are not known. Once for each."""
        items = self._items.pop(stream.number, [])
        if stream.root is None or stream.kept is None:
            return None
        return story_of(items, stream.kept.part, stream.root, stream.codepage)


def read_story(data: bytes, root: str, codepage: str | None = None) -> Story:
    """What the bytes of a whole stream tell. Never raises: what cannot be read is in `faults`."""
    reader = StoryReader(root, codepage=codepage)
    reader.feed(data)
    return story_of(chain(reader.items(), reader.finish()), lambda start, end: data[start:end], root, codepage)


def story_of(items: Iterable[Item], part: Callable[[int, int], bytes], root: str, codepage: str | None) -> Story:
    """What items tell. part: the bytes that they were read from, from one offset to another."""
    made = Story(root, codepage)
    for item in items:
        if isinstance(item, Change):
            made.changes.append(Told(item, part, codepage))
        elif isinstance(item, Sets):
            made.sets.setdefault(item.kind, {}).update({name: one.idset for name, one in item.sets.items()})
            made.faults.extend(_set_fault(name, one) for name, one in item.sets.items() if one.diagnostic is not None)
        elif isinstance(item, Report):
            if item.kind == "errorInfo":
                made.errors.append(item.value)
            else:
                made.progress = item.value
        elif isinstance(item, Fault):
            made.faults.append(f"offset {item.offset}: {item.diagnostic.message}")
    return made


def _set_fault(name: str, reading: IdsetReading) -> str:
    assert reading.diagnostic is not None
    return f"{name}: {reading.diagnostic.message}"


def _properties(data: bytes, base: int, codepage: str | None) -> Iterator[tuple[str, Property]]:
    """(path, property) of one change, in order.

    What stands in the header and again among the properties counts once, unless the values differ: then the second one
    has #2 behind its name.
    """
    places: list[str] = []
    counts: list[dict[str, int]] = [{}]
    seen: dict[str, list[bytes | Digest]] = {}
    after = 0
    for element in elements_of(data, offset=base):
        if element.is_marker:
            after = element.tag
            part = _INTO.get(element.tag)
            if part == "embedded":
                places.append("embedded.")
                counts.append({})
            elif part is not None:
                number = counts[-1].get(part, 0)
                counts[-1][part] = number + 1
                places.append(f"{part}[{number}].")
                counts.append({})
            elif element.tag in _OUT and places:
                places.pop()
                counts.pop()
            continue
        if element.tag in SEPARATE or element.raw is None or not element.tag >> 16:
            continue
        path = "".join(places) + element.name
        raw: bytes | Digest = element.raw
        if len(element.raw) > LONG:
            raw = Digest(len(element.raw) - 4, hashlib.sha256(element.raw).digest()[:DIGEST])
        values = seen.get(path)
        if values is None:
            seen[path] = [raw]
            yield path, Property(element.tag, element.named, raw, codepage, after)
        elif raw not in values:
            values.append(raw)
            yield f"{path}#{len(values)}", Property(element.tag, element.named, raw, codepage, after)


__all__ = ["Digest", "Property", "Story", "Told", "read_story", "story_of"]
