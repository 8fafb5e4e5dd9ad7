"""Messages of a contentsSync as JSON, without a Node for each of their productions.

A messageChangeFull is nearly always a header, properties, recipients and attachments. Such a one is written as a
whole while it is read; what has anything else in it, or breaks a rule, is left to the tree (grammar.icstree), whose
JSON is the same.
"""

from __future__ import annotations

from struct import Struct

from dissector.grammar.compiler.stream import element_tree
from dissector.grammar.elements import Element
from dissector.grammar.fasttransfer import MARKER, MARKERS
from dissector.grammar.ics import rule_breaks
from dissector.grammar.icstree import SPEC
from dissector.grammar.skim import END_ATTACH, END_TO_RECIP, FX_DEL_PROP, NEW_ATTACH, NEXT, START_RECIP
from dissector.source import ByteSource
from dissector.views.json import part_text, spans_member, table_pieces
from dissector.views.jsonrows import JsonMessages, JsonReader, JsonTable
from dissector.views.jsonvalues import quoted
from dissector.views.rowtext import Frames

_U32 = Struct("<I").unpack_from
_CHANGE, _MESSAGE = MARKER["IncrSyncChg"], MARKER["IncrSyncMessage"]
_ROW_ID, _ATTACH_NUMBER = 0x3000, 0x0E210003
AT_ONCE = 1 << 17
"""Bytes of the stream after which messages are handed on."""
Pieces = list[str]
_SPEC = f',"spec":"{SPEC}"'


class Odd(Exception):
    """A message that the tree is to be asked about."""


class JsonStreamReader(JsonReader):
    """Reads tables and messages (grammar.table.TableReader)."""

    MOST_SHAPES = 1024

    def __init__(self) -> None:
        super().__init__()
        self._shapes: dict[tuple[int, ...], bool] = {}
        """Whether these tags break a rule of messageChangeHeader."""

    def messages(self, source: ByteSource, at: int, stop: int, codepage: str | None) -> JsonMessages | None:
        pieces: Pieces = []
        start, count, elements, size = at, 0, 0, 0
        frames = Frames(source)
        try:
            while size < AT_ONCE:
                message = _Message(self, source, at, stop, codepage, frames)
                made = message.pieces()
                if count:
                    pieces.append(",")
                pieces += made
                count += 1
                size += message.end - at
                at, elements = message.end, elements + message.elements
                if message.behind != _CHANGE:
                    break
        except Odd:
            pass
        return JsonMessages(pieces, start, at, count, elements) if count else None

    def breaks_a_rule(self, source: ByteSource, header: JsonTable) -> bool:
        tags = tuple(header.tags(source, header.amount))
        found = self._shapes.get(tags)
        if found is None:
            found = bool(rule_breaks("messageChangeHeader", tags))
            if len(self._shapes) < self.MOST_SHAPES:
                self._shapes[tags] = found
        return found


class _Message:
    """A messageChange at a place in a source. Raises Odd, wherever it is found to be more than plain.

    end: the place behind it; behind: the tag that stands there. elements: how many it has.
    """

    __slots__ = ("at", "behind", "codepage", "elements", "end", "frames", "reader", "source", "stop")

    def __init__(
        self, reader: JsonStreamReader, source: ByteSource, at: int, stop: int, codepage: str | None, frames: Frames
    ) -> None:
        self.reader, self.source, self.codepage, self.frames = reader, source, codepage, frames
        self.at, self.stop = at, stop
        self.end, self.elements, self.behind = at, 0, 0

    def table(self) -> JsonTable:
        """The properties from self.end on."""
        table = self.reader.read(self.source, self.end, self.stop, self.codepage)
        if table is None:
            raise Odd
        self.end = table.end
        self.elements += table.amount
        return table

    def tag(self) -> int:
        if self.end + 4 > self.stop:
            raise Odd
        found: int = _U32(self.source.data, self.end)[0]
        return found

    def marker(self, tag: int) -> str:
        """A marker that has to stand here."""
        if self.tag() != tag:
            raise Odd
        at = self.end
        self.end += 4
        self.elements += 1
        spans = spans_member(self.frames, self.source, at, 4)
        return f'{{"name":"{MARKERS[tag]}","offset":{at},"length":4,"value":{tag}{spans}}}'

    def place(self, at: int, words: str | None) -> str:
        """What stands behind the name of the production from a place to self.end."""
        length = self.end - at
        label = f',"label":{quoted(words)}' if words else ""
        return f'{at},"length":{length}{label}{_SPEC}{spans_member(self.frames, self.source, at, length)}'

    def production(self, name: str, at: int, words: str | None, below: str, parts: Pieces) -> Pieces:
        """That production; below: "rows" or "children", and what is in them."""
        return [f'{{"name":"{name}","offset":{self.place(at, words)},"{below}":[', *parts, "]}"]

    def words(self, table: JsonTable, *names: str) -> str | None:
        for name in names:
            found = table.words(name, self.source)
            if found is not None:
                return found
        return None

    def pieces(self) -> Pieces:
        start = self.at
        parts = [self.marker(_CHANGE), ","]
        at = self.end
        header = self.table()
        if self.reader.breaks_a_rule(self.source, header):
            raise Odd
        words = self.words(header, "PidTagSourceKey")
        parts += self.production("messageChangeHeader", at, words, "rows", table_pieces(header, self.frames))
        parts += (",", self.marker(_MESSAGE), ",")
        properties, below = self.properties()
        parts += below
        self.behind = self.tag()
        if self.behind not in NEXT:
            at = self.end
            below = self.children()
            parts.append(",")
            parts += self.production("messageChildren", at, None, "children", below)
            self.behind = self.tag()
            if self.behind not in NEXT:
                raise Odd
        subject = self.words(properties, "PidTagSubject")
        place = self.place(start, words if subject is None else subject)
        begin = (
            f'{{"name":"messageChange","offset":{place},"children":[{{"name":"messageChangeFull","offset":{place},'
            '"children":['
        )
        return [begin, *parts, "]}]}"]

    def properties(self) -> tuple[JsonTable, Pieces]:
        """A propList."""
        at = self.end
        table = self.table()
        words = f"{table.amount} propert{'y' if table.amount == 1 else 'ies'}"
        return table, self.production("propList", at, words, "rows", table_pieces(table, self.frames))

    def children(self) -> Pieces:
        """What stands in messageChildren."""
        parts: list[Pieces] = []
        if self.tag() == FX_DEL_PROP:
            parts.append([self.element(FX_DEL_PROP, 8)])
        while self.tag() == START_RECIP:
            parts.append(self.recipient())
        if self.tag() == FX_DEL_PROP:
            parts.append([self.element(FX_DEL_PROP, 8)])
        while self.tag() == NEW_ATTACH:
            parts.append(self.attachment())
        made = parts[0] if parts else []
        for part in parts[1:]:
            made.append(",")
            made += part
        return made

    def element(self, tag: int, size: int) -> str:
        """A property of fixed size, as a node."""
        if self.end + size > self.stop:
            raise Odd
        name = Element(0, tag, None, 0, 0, None).name
        params = {"codepage": self.codepage, "after": 0, "named": None}
        try:
            node = element_tree(self.source, tag, name, self.end, self.end + size, params)
        except Exception:
            raise Odd from None
        self.end = node.end
        self.elements += 1
        return part_text(node, self.frames)

    def recipient(self) -> Pieces:
        at = self.end
        begin = self.marker(START_RECIP)
        table = self.table()
        if table.tags(self.source, 1)[0] >> 16 != _ROW_ID:
            raise Odd
        words = self.words(table, "PidTagDisplayName", "PidTagSmtpAddress", "PidTagEmailAddress")
        parts = [begin, ",", *table_pieces(table, self.frames), ",", self.marker(END_TO_RECIP)]
        return self.production("recipient", at, words, "rows", parts)

    def attachment(self) -> Pieces:
        at = self.end
        parts = [self.marker(NEW_ATTACH), ","]
        if self.tag() != _ATTACH_NUMBER:
            raise Odd
        parts += (self.element(_ATTACH_NUMBER, 8), ",")
        inside = self.end
        table, properties = self.properties()
        parts += self.production("attachmentContent", inside, None, "children", properties)
        words = self.words(table, "PidTagAttachLongFilename", "PidTagDisplayName")
        parts += (",", self.marker(END_ATTACH))
        return self.production("attachment", at, words, "children", parts)


TABLES = JsonStreamReader()
