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

from dissector.grammar.compiler.plain import Labeller, Plain, Reader, Words
from dissector.grammar.compiler.runtime import Anomaly, xid_or_none
from dissector.grammar.compiler.stream import element_tree
from dissector.grammar.compiler.writer import Writer
from dissector.grammar.elements import Element, read_name
from dissector.grammar.fasttransfer import FIRST_NAMED
from dissector.grammar.ics import TERMINALS
from dissector.grammar.icstree import ASKED_FOR
from dissector.grammar.table import WITH_ID, Messages, Table
from dissector.grammar.xid import Xid, gid_words
from dissector.node import Node, brief
from dissector.source import ByteSource
from dissector.views.jsonvalues import quoted, value_text

_U32 = Struct("<I")
_TAG_AND_LENGTH = Struct("<II").unpack_from
KEYS = frozenset((0x65E00102, 0x65E10102, 0x65E20102))
"""PidTagSourceKey, PidTagParentSourceKey, PidTagChangeKey: the words for one is the XID."""

Row = str | Node


class JsonTable(Table):
    """rows: arrays as text, and nodes. codepage: that of 8-bit text in them. places: of the first row by name, for
    names that somebody asks for."""

    __slots__ = ("amount", "codepage", "end", "places", "rows")

    def __init__(self, rows: list[Row], end: int, codepage: str | None, places: dict[str, int]) -> None:
        self.rows, self.end, self.codepage, self.places = rows, end, codepage, places
        self.amount = len(rows)

    def nodes(self, source: ByteSource) -> Iterator[Node]:
        return (self.node(row, source) for row in self.rows)

    def node(self, row: Row, source: ByteSource) -> Node:
        """The node that a row stands for."""
        if isinstance(row, Node):
            return row
        offset, length, tag, name = orjson.loads(row)[:4]
        params = {"codepage": self.codepage, "after": 0, "named": None}
        return element_tree(source, tag, name, offset, offset + length, params)

    def row(self, name: str) -> Row | None:
        """The first property of that name."""
        if name in ASKED_FOR:
            place = self.places.get(name)
            return self.rows[place] if place is not None else None
        for row in self.rows:
            if (row.name if isinstance(row, Node) else orjson.loads(row)[3]) == name:
                return row
        return None

    def child(self, name: str, source: ByteSource) -> Node | None:
        row = self.row(name)
        return self.node(row, source) if row is not None else None

    def words(self, name: str, source: ByteSource) -> str | None:
        row = self.row(name)
        if row is None:
            return None
        if not isinstance(row, Node):
            _, length, tag, _, value, *words = orjson.loads(row)
            if tag in KEYS:
                return value or "0 bytes"
            whole = not words and tag & 0xFFFF == 0x001F and length == 10 + 2 * len(value)
            if whole and "\\" not in value:  # neither bytes that are no text, nor text that is no Unicode
                return repr(value if len(value) <= 60 else value[:60] + "...")
        return brief(self.node(row, source))

    def tags(self, source: ByteSource, most: int) -> list[int]:
        return [
            _U32.unpack_from(source.data, row.offset)[0] if isinstance(row, Node) else int(row.split(",", 3)[2])
            for row in self.rows[:most]
        ]


class JsonMessages(Messages):
    """Messages as text: what stands in the array "children" of their stream."""

    __slots__ = ("amount", "elements", "end", "text")

    def __init__(self, text: str, end: int, amount: int, elements: int) -> None:
        self.text, self.end, self.amount, self.elements = text, end, amount, elements


class _Members(Words):
    """Words as what stands behind a value."""

    def __init__(self, labeller: Labeller) -> None:
        super().__init__(lambda value: f",{quoted(labeller(value))}")

    def of(self, value: Any) -> str:
        return super().of(value) or ',""'


class JsonStyle:
    """Rows as JSON: what stands behind the name."""

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
            return f"{text}]"
        words = w.constant(_Members(labeller), "W")
        return f"{text}{{{words}[{variable}]}}]" if number else f"{text}{{{words}.of({variable})}}]"

    def key(self, w: Writer, variable: str) -> str:
        return f"{{{w.constant(_key, 'K')}({variable})}}]"

    def keys(self, values: Sequence[bytes]) -> str:
        both = [_key(value).split(",", 1) for value in values]
        return f"[{','.join([key for key, _ in both])}],[{','.join([words for _, words in both])}]]"

    def values(self, labeller: Labeller | None) -> Callable[[Sequence[Any]], str]:
        words = Words(labeller) if labeller is not None else None

        def text(values: Sequence[Any]) -> str:
            shown = f"[{','.join(map(value_text, values))}]"
            if words is None:
                return f"{shown}]"
            return f"{shown},[{','.join([quoted(words.of(value)) for value in values])}]]"

        return text


@lru_cache(1024)
def _guid(raw: bytes) -> str:
    return str(uuid.UUID(bytes_le=raw))


def _key(raw: bytes) -> str:
    """An XID and its words. A value has no comma in it."""
    if len(raw) == 22:
        return f'"{_guid(raw[:16])}-{raw[16:].hex()}","{gid_words(raw[16:])}"'
    value = xid_or_none(raw)
    return f"{value_text(value)},{quoted(Xid.label(value))}"


class _Few(dict[bytes, str]):
    """Rows of one tag by the bytes of the property, behind their offset. Those met twice are kept for a while."""

    KEPT = 4096
    LONGEST = 160
    """Bytes of a value."""

    def __init__(self, read: Reader, begin: str) -> None:
        super().__init__()
        self.read, self.begin = read, begin
        self.seen: set[int] = set()

    def __missing__(self, raw: bytes) -> str:
        made: list[str] = []
        self.read(raw, 0, len(raw), {}, made.append, self.begin)
        text = made[0][3:]  # without "[0,"
        mark = hash(raw)
        if mark in self.seen:
            if len(self) >= self.KEPT:
                self.clear()
            self[raw] = text
        else:
            if len(self.seen) >= self.KEPT:
                self.seen.clear()
            self.seen.add(mark)
        return text


class JsonReader:
    """Reads tables of properties."""

    MOST_TAGS = 4096

    def __init__(self) -> None:
        self.kinds = Plain(JsonStyle())
        self._known: dict[int, tuple[int, _Few, Reader, str]] = {}
        """By tag, of plain properties: the size of a Kind, rows, reader, begin of the row."""

    def read(self, source: ByteSource, at: int, stop: int, codepage: str | None) -> JsonTable | None:
        data, unpack, known = source.data, _TAG_AND_LENGTH, self._known.get
        rows: list[Row] = []
        add = rows.append
        places: dict[str, int] = {}
        params = {"codepage": codepage, "after": 0, "named": None, "_source": source, "_table": (rows, places)}
        last, longest = stop - 8, _Few.LONGEST
        try:
            while at <= last:
                tag, length = unpack(data, at)
                found = known(tag)
                if found is None:
                    if tag in TERMINALS or tag < WITH_ID:
                        break
                    at = self._other(source, tag, at, stop, params, add)
                    continue
                size, few, reader, begin = found
                if size > 0:
                    end = at + size
                elif size and length <= longest:
                    end = at + 8 + length
                else:
                    at = reader(data, at, stop, params, add, begin)
                    continue
                if end > stop:
                    break
                add(f"[{at},{few[data[at:end]]}")
                at = end
            if last < at <= stop - 4:
                tag = int.from_bytes(data[at : at + 4], "little")
                if tag not in TERMINALS and tag >= WITH_ID:
                    at = self._other(source, tag, at, stop, params, add)
        except Exception:
            pass
        return JsonTable(rows, at, codepage, places) if rows else None

    def _other(self, source: ByteSource, tag: int, at: int, stop: int, params: dict[str, Any], add: Any) -> int:
        """A property that is met for the first time, has a name of its own, or has parts."""
        if tag >= FIRST_NAMED:
            found = read_name(source.data, at + 4)
            if found is None:
                raise Anomaly
            element = Element(0, tag, found[0], 0, 0, None)
            return self._node(source, tag, element.name, at, stop, element.params(params["codepage"], 0), add)
        name = Element(0, tag, None, 0, 0, None).name
        kind = self.kinds[tag]
        if kind is None:
            end = self._node(source, tag, name, at, stop, params, add)
            _note(name, params)
            return end
        begin = f"{tag},{quoted(name)},"
        asked_for = name in ASKED_FOR
        reader = _noting(kind.read, name) if asked_for else kind.read
        if len(self._known) < self.MOST_TAGS:
            self._known[tag] = 0 if asked_for else kind.size, _Few(kind.read, begin), reader, begin
        return reader(source.data, at, stop, params, add, begin)

    @staticmethod
    def _node(source: ByteSource, tag: int, name: str, at: int, stop: int, params: dict[str, Any], add: Any) -> int:
        node = element_tree(source, tag, name, at, stop, params)
        add(node)
        return node.end


def _note(name: str, params: dict[str, Any]) -> None:
    """The last row has that name."""
    if name in ASKED_FOR:
        rows, places = params["_table"]
        places.setdefault(name, len(rows) - 1)


def _noting(read: Reader, name: str) -> Reader:
    """A reader that notes where the rows of a name are."""

    def reader(data: bytes, at: int, end: int, params: dict[str, Any], out: Any, begin: str) -> int:
        stop = read(data, at, end, params, out, begin)
        _note(name, params)
        return stop

    return reader
