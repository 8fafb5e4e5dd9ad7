"""The elements of a FastTransfer stream, one after another [MS-OXCFXICS] 2.2.4.1.

ElementReader takes a stream in chunks cut anywhere and finds where elements begin and end, looking only at types and
lengths: it does no input or output, holds no more than one value, and lets go of values larger than it was told to
keep. What an element means is read when somebody asks, through the layouts of fasttransfer.py: Element.value() and
trace_element(); make() and encode() are the way back.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from dissector.grammar.base import build
from dissector.grammar.fasttransfer import (
    FIRST_NAMED,
    IDSET_GIVEN,
    MARKERS,
    Marker,
    PropValue,
    ValueOf,
)  # fmt: skip
from dissector.grammar.leaves import decode_text, encode_text
from dissector.grammar.names import guid_name, named_property_name, property_name
from dissector.grammar.properties import NamedTag
from dissector.grammar.reading import parse, trace
from dissector.node import Diagnostic, Node, Severity, Undecoded
from dissector.source import ByteSource

LONGEST_NAME = 4096
"""Bytes of a property's name before it is called malformed; servers allow some hundred."""

COUNTED, MULTI_COUNTED = -1, -2
MULTI_FIXED = -16
"""Extent codes below zero: a u32 length and bytes; a u32 count and such items; MULTI_FIXED - n: a count, items of n."""

_SIZES = {2: 2, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 0x0A: 4, 0x0B: 2, 0x14: 8, 0x40: 8, 0x48: 16}
EXTENTS: Mapping[int, int] = {
    **_SIZES,
    **{0x1000 | kind: MULTI_FIXED - _SIZES[kind] for kind in (2, 3, 4, 5, 6, 7, 0x14, 0x40, 0x48)},
    **dict.fromkeys((0x1E, 0x1F, 0x0102, 0x0D, 0xFB), COUNTED),
    **dict.fromkeys((0x101E, 0x101F, 0x1102), MULTI_COUNTED),
}
"""How far a value reaches, by its 16-bit type: bytes, or a code. Types from 0x8000 on are COUNTED."""

_U32 = struct.Struct("<I")

value_of = lru_cache(4096)(ValueOf)
"""The layout of a property's value. What is read often is compiled, so it must be the same one every time."""


class Named(NamedTuple):
    """What a property with an id from 0x8000 on is called: its set, and a LID (int) or a name (str; bytes if odd)."""

    property_set: uuid.UUID
    key: int | str | bytes

    def __str__(self) -> str:
        """'PidLidFileUnder', or the set and the key where no name is known."""
        key = self.key
        known = "" if isinstance(key, bytes) else named_property_name(self.property_set, key)
        shown = f"0x{key:04X}" if isinstance(key, int) else str(key)
        return known or f"{guid_name(self.property_set) or self.property_set}:{shown}"


class Element(NamedTuple):
    """A marker or a property. Offsets are in the stream; value_offset == end for a marker.

    raw: the bytes of the value as they stand (with their lengths), or None where the reader was told not to keep them.
    """

    offset: int
    tag: int
    named: Named | None
    value_offset: int
    end: int
    raw: bytes | None

    @property
    def is_marker(self) -> bool:
        return self.tag in MARKERS

    @property
    def name(self) -> str:
        """'IncrSyncChg', 'PidTagSubject', 'PidLidFileUnder', or the tag in hex."""
        if self.tag in MARKERS:
            return MARKERS[self.tag]
        if self.named is not None:
            return str(self.named)
        tag = IDSET_GIVEN << 16 | 3 if self.tag >> 16 == IDSET_GIVEN else self.tag
        return (property_name(tag) if tag >> 16 else "") or f"0x{tag:08X}"

    def value(self, *, codepage: str | None = None, after: int = 0) -> Any:
        """The value through its layout. after: the marker before an UNNAMED binary. Raises GrammarError.

        A marker and a value that was not kept have none: None.
        """
        if self.raw is None or self.tag in MARKERS:
            return None
        return parse(value_of(self.tag), self.raw, **self.params(codepage, after))[0]

    def params(self, codepage: str | None, after: int) -> dict[str, Any]:
        """What the layouts are given for this element."""
        named = {self.tag >> 16: str(self.named)} if self.named is not None else None
        return {"codepage": codepage, "after": after, "named": named}


class Trouble(NamedTuple):
    """Why reading stopped, and where the first unread byte is."""

    offset: int
    diagnostic: Diagnostic


def extent_of(tag: int) -> int | None:
    """How far the value of a property reaches (see EXTENTS); None where that is not known."""
    if tag == IDSET_GIVEN << 16 | 3:
        return COUNTED
    kind = tag & 0xFFFF
    return COUNTED if kind & 0x8000 else EXTENTS.get(kind)


class _Partial:
    """A value whose end has not come yet. need: bytes of the run at hand; items: length-prefixed items behind it."""

    __slots__ = ("items", "named", "need", "offset", "pieces", "size", "tag", "value_offset")

    def __init__(self, offset: int, tag: int, named: Named | None, value_offset: int, need: int, items: int) -> None:
        self.offset, self.tag, self.named, self.value_offset = offset, tag, named, value_offset
        self.need, self.items = need, items
        self.pieces: list[bytes] | None = []
        self.size = 0


class ElementReader:
    """A stream in chunks, out in elements: feed(chunk), then run through elements(); at the end finish().

    keep: values longer than this (bytes) are not held: their raw is None. always: property ids whose values are kept
    whatever their length. offset: where in the stream the first chunk begins.
    """

    def __init__(self, *, keep: int | None = None, always: Collection[int] = (), offset: int = 0) -> None:
        self.keep = keep if keep is not None else 1 << 62
        self.always = frozenset(always)
        self.trouble: Trouble | None = None
        self._data = b""
        self._at = 0
        self._base = offset
        self._partial: _Partial | None = None

    @property
    def offset(self) -> int:
        """Where in the stream the first byte is that no element was made of yet."""
        return self._partial.offset if self._partial is not None else self._base + self._at

    @property
    def comes_plain(self) -> bool:
        """Whether an element begins at `at` of what is waiting: none has begun already, and there was no trouble."""
        return self._partial is None and self.trouble is None

    @property
    def waiting(self) -> bytes:
        """The bytes at hand; those from `at` on are not read yet. The first stands at `base` of the stream."""
        return self._data

    @property
    def at(self) -> int:
        return self._at

    @property
    def base(self) -> int:
        return self._base

    def pass_to(self, at: int) -> None:
        """Go on at this place of what is waiting."""
        self._at = at

    def skip(self, count: int) -> None:
        """Go on so many bytes further, behind all that is waiting: what is fed next stands there."""
        self._base += self._at + count
        self._data, self._at = b"", 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream. Elements not fetched yet stay due."""
        if self.trouble is None:
            self._data = self._data[self._at :] + data if self._at < len(self._data) else data
            self._base += self._at
            self._at = 0

    def elements(self) -> Iterator[Element]:
        """The elements that are whole by now. After trouble there are no more."""
        while self.trouble is None:
            if self._partial is not None:
                element = self._continued(self._partial)
                if element is None:
                    return
                self._partial = None
                yield element
                continue
            data, at, base = self._data, self._at, self._base
            size, keep, always, unpack = len(data), self.keep, self.always, _U32.unpack_from
            while size - at >= 4:
                start = at
                tag: int = unpack(data, at)[0]
                at += 4
                if tag in MARKERS:
                    self._at = at
                    yield Element(base + start, tag, None, base + at, base + at, b"")
                    continue
                named = None
                if tag >= FIRST_NAMED:
                    found = self._name(data, at)
                    if found is None:
                        return
                    named, at = found
                code = extent_of(tag)
                if code is None:
                    self._stop(base + start, f"no layout is known for property type 0x{tag & 0xFFFF:04X}")
                    return
                value, end, items = at, at + code, 0
                if code < 0:
                    if size - at < 4:
                        return
                    count = unpack(data, at)[0]
                    end = at + 4
                    if code == COUNTED:
                        end += count
                    elif code == MULTI_COUNTED:
                        items = count
                        while items and size - end >= 4:
                            items -= 1
                            end += 4 + unpack(data, end)[0]
                    else:
                        end += count * (MULTI_FIXED - code)
                if items or end > size:
                    self._at = value
                    self._partial = _Partial(base + start, tag, named, base + value, end - value, items)
                    break
                self._at = at = end
                raw = data[value:end] if end - value <= keep or tag >> 16 in always else None
                yield Element(base + start, tag, named, base + value, base + end, raw)
            else:
                return

    def finish(self) -> Trouble | None:
        """Call it when the stream has ended: why its last bytes make no element, if so."""
        if self.trouble is None and (self._partial is not None or self._at < len(self._data)):
            what = "an element"
            if self._partial is not None:
                what = Element(0, self._partial.tag, self._partial.named, 0, 0, None).name
            self._stop(self.offset, f"the data ends here, inside {what}")
        return self.trouble

    def _stop(self, offset: int, message: str) -> None:
        self.trouble = Trouble(offset, Diagnostic(Severity.MALFORMED, message))

    def _continued(self, partial: _Partial) -> Element | None:
        """Go on with a value that was cut; None where it is still not whole."""
        while True:
            piece = self._data[self._at : self._at + partial.need]
            self._at += len(piece)
            partial.need -= len(piece)
            partial.size += len(piece)
            if partial.size > self.keep and partial.tag >> 16 not in self.always:
                partial.pieces = None
            if partial.pieces is not None and piece:
                partial.pieces.append(piece)
            if partial.need:
                return None
            if not partial.items:
                raw = b"".join(partial.pieces) if partial.pieces is not None else None
                end = partial.value_offset + partial.size
                return Element(partial.offset, partial.tag, partial.named, partial.value_offset, end, raw)
            if len(self._data) - self._at < 4:
                return None
            partial.items -= 1
            partial.need = 4 + _U32.unpack_from(self._data, self._at)[0]

    def _name(self, data: bytes, at: int) -> tuple[Named, int] | None:
        """The namedPropInfo at a place; None where it is not whole yet or (then there is trouble) not to be read."""
        try:
            return read_name(data, at)
        except ValueError as error:
            self._stop(self._base + self._at, str(error))
            return None


def read_name(data: bytes, at: int) -> tuple[Named, int] | None:
    """The namedPropInfo at a place and the offset behind it; None where it is not whole. Raises ValueError."""
    if len(data) - at < 17:
        return None
    property_set, kind = uuid.UUID(bytes_le=data[at : at + 16]), data[at + 16]
    at += 17
    if kind == 0:
        return (Named(property_set, _U32.unpack_from(data, at)[0]), at + 4) if len(data) - at >= 4 else None
    if kind != 1:
        raise ValueError(f"a property name of kind {kind}")
    end = data.find(b"\0\0", at, at + LONGEST_NAME)
    while end >= 0 and (end - at) % 2:
        end = data.find(b"\0\0", end + 1, at + LONGEST_NAME)
    if end < 0:
        if len(data) - at >= LONGEST_NAME:
            raise ValueError(f"a property name of more than {LONGEST_NAME} bytes")
        return None
    return Named(property_set, decode_text(data[at:end], "utf-16-le")), end + 2


def elements_of(data: bytes, *, keep: int | None = None, offset: int = 0) -> Iterator[Element]:
    """The elements of bytes that are all there, lazily. Reading stops in silence where it must; see ElementReader."""
    reader = ElementReader(keep=keep, offset=offset)
    reader.feed(data)
    return reader.elements()


def make(
    tag: int, value: Any = None, named: Named | None = None, *, codepage: str | None = None, after: int = 0
) -> Element:
    """An element that was never on a wire, at offset 0.

    Raises construct's ConstructError for a value that does not fit the tag; ValueError for a property id from 0x8000 on
    without a name, or a lower one with a name.
    """
    if (tag >= FIRST_NAMED) != (named is not None):
        raise ValueError(f"property 0x{tag:08X} {'needs a' if named is None else 'has no'} name")
    bare = Element(0, tag, named, 0, 0, None)
    raw = b"" if tag in MARKERS else build(value_of(tag), value, **bare.params(codepage, after))
    start = len(_head(tag, named))
    return bare._replace(value_offset=start, end=start + len(raw), raw=raw)


def _head(tag: int, named: Named | None) -> bytes:
    head = _U32.pack(tag)
    if named is None:
        return head
    head += named.property_set.bytes_le
    if isinstance(named.key, int):
        return head + b"\0" + _U32.pack(named.key)
    return head + b"\1" + encode_text(named.key, "utf-16-le") + b"\0\0"


def encode(elements: Iterable[Element]) -> Iterator[bytes]:
    """The bytes of elements, one by one. Raises ValueError for a value that was not kept."""
    for element in elements:
        if element.raw is None:
            raise ValueError(f"the value of {element.name} at offset {element.offset} was not kept")
        yield _head(element.tag, element.named) + element.raw


def rebuilt(elements: Iterable[Element], *, codepage: str | None = None) -> Iterator[bytes]:
    """The bytes of elements after every value was read through its layout and built again: what verify compares."""
    after = 0
    for element in elements:
        if element.is_marker:
            after = element.tag
        yield rebuild(element, codepage=codepage, after=after)


def rebuild(element: Element, *, codepage: str | None = None, after: int = 0) -> bytes:
    """The bytes of one element after its value was read and built again. Raises GrammarError, ValueError as make()."""
    if element.is_marker:
        return _head(element.tag, None)
    if element.raw is None:
        raise ValueError(f"the value of {element.name} at offset {element.offset} was not kept")
    params = element.params(codepage, after)
    value = parse(value_of(element.tag), element.raw, **params)[0]
    return _head(element.tag, element.named) + build(value_of(element.tag), value, **params)


def trace_element(
    source: ByteSource, element: Element, base: int = 0, *, codepage: str | None = None, after: int = 0
) -> Node:
    """The annotated tree of one element. base: where offset 0 of the stream lies in the source. Never raises.

    after: the marker before it, where the element is UNNAMED.
    """
    offset, end = base + element.offset, base + element.end
    if element.is_marker:
        return trace(Marker, source, MARKERS[element.tag], offset, end)
    node = _property_tree(source, element, offset, end, codepage, after)
    if not element.tag >> 16 and node.children:
        node.children[0].labeller = NamedTag("no id")
    if node.end < end:
        rest = Undecoded(source.data[node.end : end])
        node.children.append(Node("Undecoded", source, node.end, end - node.end, rest))
        node.length = end - offset
    return node


def _property_tree(
    source: ByteSource, element: Element, offset: int, end: int, codepage: str | None, after: int
) -> Node:
    """The tree of a property, by the reading for its tag once properties are read compiled at all."""
    if PropValue.__dict__.get("_rows") and type(source.data) is bytes:
        from dissector.grammar.compiler.stream import element_tree

        try:
            return element_tree(source, element.tag, element.name, offset, end, element.params(codepage, after))
        except Exception:
            pass  # the interpreted reading says what is wrong
    return trace(PropValue, source, element.name, offset, end, **element.params(codepage, after))
