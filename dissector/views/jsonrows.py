"""Plain properties of FastTransfer streams as arrays in JSON: [offset, length, tag, name, value, words].

The form is a contract: docs/json.md. Properties that are more than a tag and a leaf stand between them as nodes.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from json.encoder import encode_basestring
from struct import Struct
from typing import Any

import orjson

from dissector.grammar.compiler.plain import Kind, Labeller, Plain, Reader, Words
from dissector.grammar.compiler.runtime import Anomaly, xid_or_none
from dissector.grammar.compiler.stream import element_tree
from dissector.grammar.compiler.writer import Writer
from dissector.grammar.elements import COUNTED, Element, read_name
from dissector.grammar.fasttransfer import FIRST_NAMED
from dissector.grammar.ics import TERMINALS
from dissector.grammar.icstree import ASKED_FOR
from dissector.grammar.leaves import FileTime, filetime_text
from dissector.grammar.table import WITH_ID, Messages, Table
from dissector.grammar.xid import Xid, gid_words
from dissector.node import LABEL_LIMIT, Node, brief
from dissector.source import ByteSource
from dissector.views.jsonvalues import LONG, quoted, value_text

_U32 = Struct("<I")
_TAG_AND_LENGTH = Struct("<II").unpack_from
Part = str | list[str] | Node
Place = Node | tuple[int, str]
KEYS = frozenset((0x65E00102, 0x65E10102, 0x65E20102))
"""PidTagSourceKey, PidTagParentSourceKey, PidTagChangeKey: the words for one is the XID."""


OPAQUE = -2
"""A size beside those of Kind: a u32 length and bytes, which are the value."""


class JsonTable(Table):
    """parts: rows side by side as the text of arrays, long rows in pieces, and nodes. codepage: that of 8-bit text.
    places: of the first of a name its node, or its offset and its array behind that; of names that are asked for."""

    __slots__ = ("amount", "codepage", "end", "parts", "places")

    def __init__(
        self, parts: list[Part], amount: int, end: int, codepage: str | None, places: dict[str, Place]
    ) -> None:
        self.parts, self.amount, self.end, self.codepage, self.places = parts, amount, end, codepage, places

    def nodes(self, source: ByteSource) -> Iterator[Node]:
        for part in self.parts:
            if isinstance(part, Node):
                yield part
            else:
                for offset, length, tag, name, *_ in _arrays(part):
                    yield self._node(source, offset, length, tag, name)

    def _node(self, source: ByteSource, offset: int, length: int, tag: int, name: str) -> Node:
        """The node that an array stands for."""
        params = {"codepage": self.codepage, "after": 0, "named": None}
        return element_tree(source, tag, name, offset, offset + length, params)

    def child(self, name: str, source: ByteSource) -> Node | None:
        if name not in ASKED_FOR:
            return next((node for node in self.nodes(source) if node.name == name), None)
        place = self.places.get(name)
        if place is None or isinstance(place, Node):
            return place
        length, tag = orjson.loads(f"[{place[1][:-1]}")[:2]
        return self._node(source, place[0], length, tag, name)

    def words(self, name: str, source: ByteSource) -> str | None:
        place = self.places.get(name)
        if place is None:
            return None
        if isinstance(place, Node):
            return brief(place)
        length, tag, _, value, *words = orjson.loads(f"[{place[1][:-1]}")
        if tag in KEYS and len(value) <= LABEL_LIMIT:
            return value or "0 bytes"
        whole = not words and tag & 0xFFFF == 0x001F and length == 10 + 2 * len(value)
        if whole and "\\" not in value:  # neither bytes that are no text, nor text that is no Unicode
            return repr(value if len(value) <= 60 else value[:60] + "...")
        return brief(self._node(source, place[0], length, tag, name))

    def tags(self, source: ByteSource, most: int) -> list[int]:
        found: list[int] = []
        for part in self.parts:
            if isinstance(part, Node):
                found.append(_U32.unpack_from(source.data, part.offset)[0])
            else:
                found += [row[2] for row in _arrays(part)]
            if len(found) >= most:
                break
        return found[:most]


def _arrays(part: str | list[str]) -> list[Any]:
    found: list[Any] = orjson.loads(f"[{part if isinstance(part, str) else ''.join(part)}]")
    return found


def joined(offsets: list[int], rows: list[str]) -> str:
    """Arrays, separated by commas, of their offsets and what stands behind these."""
    texts = orjson.dumps(offsets).decode().replace(",", ",\n[").replace("]", ",").split("\n")
    pieces = [""] * (2 * len(rows))
    pieces[::2], pieces[1::2] = texts, rows
    return "".join(pieces)[:-1]


class JsonMessages(Messages):
    """Messages as pieces of text: what stands in the array "children" of their stream."""

    __slots__ = ("amount", "elements", "end", "pieces", "start")

    def __init__(self, pieces: list[str], start: int, end: int, amount: int, elements: int) -> None:
        self.pieces, self.start, self.end, self.amount, self.elements = pieces, start, end, amount, elements


class _Members(Words):
    """Words as what stands behind a value."""

    def __init__(self, labeller: Labeller) -> None:
        super().__init__(lambda value: f",{quoted(labeller(value))}")

    def of(self, value: Any) -> str:
        return super().of(value) or ',""'


class JsonStyle:
    """Rows as JSON: what stands behind the name, and the comma behind the array."""

    def value(self, w: Writer, variable: str, labeller: Labeller | None) -> str:
        number = variable in w.integers
        if number:
            text = f"{{{variable}}}"
        elif variable in w.octets:
            text = f'"{{{variable}.hex()}}"'
        else:
            text = f"{{{w.constant(value_text, 'T')}({variable})}}"
            if variable in w.plain:
                simple = f"{w.constant(encode_basestring, 'E')}({variable})"
                text = f"{{{simple} if {variable}.__class__ is str and {variable}.isascii() else {text[1:]}"
        if labeller is None:
            return f"{text}],"
        if labeller == FileTime.label:  # hardly any comes twice
            return f'{text},"{{{w.constant(filetime_text, "F")}({variable})}}"],'
        words = w.constant(_Members(labeller), "W")
        return f"{text}{{{words}[{variable}]}}]," if number else f"{text}{{{words}.of({variable})}}],"

    def key(self, w: Writer, variable: str) -> str:
        return f"{{{w.constant(_key, 'K')}({variable})}}],"

    def keys(self, values: Sequence[bytes]) -> str:
        if len(values) == 1:
            key, words = _key(values[0]).split(",", 1)
            return f"[{key}],[{words}]],"
        both = [_key(value).split(",", 1) for value in values]
        return f"[{','.join([key for key, _ in both])}],[{','.join([words for _, words in both])}]],"

    def values(self, labeller: Labeller | None) -> Callable[[Sequence[Any]], str]:
        words = Words(labeller) if labeller is not None else None

        def text(values: Sequence[Any]) -> str:
            shown = f"[{','.join(map(value_text, values))}]"
            if words is None:
                return f"{shown}],"
            return f"{shown},[{','.join([quoted(words.of(value)) for value in values])}]],"

        return text


@lru_cache(1024)
def _guid(raw: bytes) -> str:
    return str(uuid.UUID(bytes_le=raw))


def _key(raw: bytes) -> str:
    """An XID and its words. A value has no comma in it."""
    if len(raw) == 22:
        counter = raw[16:]
        return f'"{_guid(raw[:16])}-{counter.hex()}","{gid_words(counter)}"'
    value = xid_or_none(raw)
    return f"{value_text(value)},{quoted(Xid.label(value))}"


class _Room:
    """How much text all _Few together may still keep. Where it is used up all begin anew."""

    BYTES = 24 << 20
    EACH = 250
    """Bytes that keeping a text takes besides the text and what it was made of."""

    def __init__(self) -> None:
        self.left = self.BYTES
        self.users: list[_Few] = []

    def take(self, size: int) -> None:
        self.left -= self.EACH + size
        if self.left < 0:
            for few in self.users:
                few.clear()
            self.left = self.BYTES


class _Few(dict[bytes, str]):
    """Rows of one tag by the bytes of the property, behind their offset. Those met twice are kept for a while."""

    KEPT, SEEN = 4096, 2048
    LONGEST = 160
    """Bytes of a value."""

    def __init__(self, kind: Kind, begin: str, room: _Room) -> None:
        super().__init__()
        self.read, self.labeller, self.begin, self.room = kind.read, kind.labeller, begin, room
        self.seen: set[int] = set()

    def __missing__(self, raw: bytes) -> str:
        text = self.read(raw, 0, len(raw), {}, self.begin)[0]
        mark = hash(raw)
        if mark in self.seen:
            if len(self) >= self.KEPT:
                self.clear()
            self.room.take(len(raw) + len(text))
            self[raw] = text
        else:
            if len(self.seen) >= self.SEEN:
                self.seen.clear()
            self.seen.add(mark)
        return text

    def long(self, data: bytes, at: int, end: int, params: dict[str, Any], begin: str) -> tuple[list[str], int]:
        """As a reader: the row of a long value (OPAQUE), which is not copied."""
        start = at + 8
        stop = start + _U32.unpack_from(data, at + 4)[0]
        if stop > end:
            raise Anomaly
        value = data[start:stop]
        words = "" if self.labeller is None else f",{quoted(self.labeller(value))}"
        return [f'[{at},{stop - at},{begin}"', value.hex(), f'"{words}]'], stop


class JsonReader:
    """Reads tables of properties."""

    MOST_TAGS = 4096
    MOST_FEW = 64
    """Of how many tags rows are kept."""

    def __init__(self) -> None:
        self.kinds = Plain(JsonStyle())
        self._known: dict[int, tuple[int, _Few, Reader, str]] = {}
        """By tag, of plain properties: the size of a Kind or OPAQUE, rows, reader, begin of the row."""
        self._room = _Room()

    def read(self, source: ByteSource, at: int, stop: int, codepage: str | None) -> JsonTable | None:
        data, unpack, known = source.data, _TAG_AND_LENGTH, self._known.get
        offsets: list[int] = []
        rows: list[str] = []
        place, add = offsets.append, rows.append
        parts: list[Part] = []
        places: dict[str, Place] = {}
        params = {"codepage": codepage, "after": 0, "named": None, "_places": places}
        amount, last, longest = 0, stop - 8, _Few.LONGEST
        made: str | Part
        try:
            while True:
                if at <= last:
                    tag, length = unpack(data, at)
                    found = known(tag)
                elif at <= stop - 4:
                    tag, found = _U32.unpack_from(data, at)[0], None
                else:
                    break
                if found is None:
                    if tag in TERMINALS or tag < WITH_ID:
                        break
                    made, end = self._other(source, tag, at, stop, params)
                else:
                    size, few, reader, begin = found
                    if size > 0 or (size == COUNTED and length <= longest):
                        end = at + size if size > 0 else at + 8 + length
                        if end > stop:
                            break
                        text = few[data[at:end]]
                        place(at)
                        add(text)
                        at = end
                        continue
                    read = few.long if size == OPAQUE and length >= LONG else reader
                    made, end = read(data, at, stop, params, begin)
                if made.__class__ is str:
                    place(at)
                    add(made)
                else:
                    if rows:
                        amount += len(rows)
                        parts.append(joined(offsets, rows))
                        offsets.clear()
                        rows.clear()
                    amount += 1
                    parts.append(made)
                at = end
        except Exception:
            pass
        if rows:
            amount += len(rows)
            parts.append(joined(offsets, rows))
        return JsonTable(parts, amount, at, codepage, places) if amount else None

    def _other(
        self, source: ByteSource, tag: int, at: int, stop: int, params: dict[str, Any]
    ) -> tuple[str | Node, int]:
        """A property that is met for the first time, has a name of its own, or has parts; and the place behind it."""
        if tag >= FIRST_NAMED:
            found = read_name(source.data, at + 4)
            if found is None:
                raise Anomaly
            element = Element(0, tag, found[0], 0, 0, None)
            node = element_tree(source, tag, element.name, at, stop, element.params(params["codepage"], 0))
            return node, node.end
        name = Element(0, tag, None, 0, 0, None).name
        kind = self.kinds[tag]
        if kind is None:
            node = element_tree(source, tag, name, at, stop, params)
            if name in ASKED_FOR:
                params["_places"].setdefault(name, node)
            return node, node.end
        begin = f"{tag},{quoted(name)},"
        asked_for = name in ASKED_FOR
        reader = _noting(kind.read, name) if asked_for else kind.read
        if tag not in self._known and len(self._known) < self.MOST_TAGS:
            few = _Few(kind, begin, self._room)
            size = kind.size if len(self._room.users) < self.MOST_FEW and not asked_for else 0
            if size:
                self._room.users.append(few)
            self._known[tag] = OPAQUE if kind.opaque and not asked_for else size, few, reader, begin
        return reader(source.data, at, stop, params, begin)


def _noting(read: Reader, name: str) -> Reader:
    """A reader that notes where the first row of a name is."""

    def reader(data: bytes, at: int, end: int, params: dict[str, Any], begin: str) -> tuple[str, int]:
        found = read(data, at, end, params, begin)
        params["_places"].setdefault(name, (at, found[0]))
        return found

    return reader
