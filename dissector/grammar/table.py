"""The properties of a FastTransfer stream as a table: for who shows all of a long stream, and no more than is in it.

Where runs.py leaves rows that nodes can be made of, this leaves rows that are shown as they are (compiler/plain.py).
Properties that are more than a tag and a leaf stand between them as nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any, NamedTuple

from dissector.grammar.compiler.plain import Plain, PlainRow
from dissector.grammar.compiler.stream import element_tree
from dissector.grammar.elements import Element, read_name
from dissector.grammar.fasttransfer import FIRST_NAMED
from dissector.grammar.ics import TERMINALS
from dissector.node import Node, brief
from dissector.source import ByteSource

_U32 = Struct("<I")
WITH_ID = 0x10000
"""Tags below have no property id: they are explained by what stands before them."""


KEYS = frozenset((0x65E00102, 0x65E10102, 0x65E20102))
"""PidTagSourceKey, PidTagParentSourceKey, PidTagChangeKey: the words for one is the XID."""


class Table(NamedTuple):
    """Properties side by side, in order; rows: see PlainRow. codepage: that of 8-bit text in them."""

    rows: list[PlainRow | Node]
    end: int
    codepage: str | None

    def nodes(self, source: ByteSource) -> Iterator[Node]:
        return (self.node(row, source) for row in self.rows)

    def node(self, row: PlainRow | Node, source: ByteSource) -> Node:
        """The node that a row stands for."""
        if isinstance(row, Node):
            return row
        offset, length, tag, name = row[:4]
        params = {"codepage": self.codepage, "after": 0, "named": None}
        return element_tree(source, tag, name, offset, offset + length, params)

    def row(self, name: str) -> PlainRow | Node | None:
        """The first property of that name."""
        for row in self.rows:
            if (row[3] if row.__class__ is tuple else row.name) == name:  # type: ignore[union-attr]
                return row
        return None

    def child(self, name: str, source: ByteSource) -> Node | None:
        """The node of the first property of that name."""
        row = self.row(name)
        return self.node(row, source) if row is not None else None

    def words(self, row: PlainRow | Node, source: ByteSource) -> str:
        """node.brief() of its node, which is not made where the row says it: of text and of keys."""
        if not isinstance(row, Node):
            value = row[4]
            if row[2] in KEYS:
                return value or "0 bytes"
            if len(row) == 5 and row[2] & 0xFFFF == 0x001F and isinstance(value, str):
                return repr(value if len(value) <= 60 else value[:60] + "...")
        return brief(self.node(row, source))

    @property
    def amount(self) -> int:
        return len(self.rows)

    def tags(self, source: ByteSource, most: int) -> list[int]:
        """The property tags of the first ones."""
        return [
            _U32.unpack_from(source.data, row.offset)[0] if isinstance(row, Node) else row[2]
            for row in self.rows[:most]
        ]


class TableReader:
    """Reads tables. shown: makes of a value what its row has (see Plain)."""

    MOST_NAMES = 4096

    def __init__(self, shown: Callable[[Any], Any]) -> None:
        self._plain = Plain(shown)
        self._known: dict[int, tuple[Any, str]] = {}
        """Reader and name by tag, of those that have a reader of plain rows."""

    def read(self, source: ByteSource, at: int, stop: int, codepage: str | None) -> Table | None:
        """The properties from `at` of the source on: up to a marker, to what says something about order, to what the
        readers do not understand (the interpreted reading says why), or to `stop`. None where there is none."""
        data, unpack, known = source.data, _U32.unpack_from, self._known.get
        rows: list[PlainRow | Node] = []
        add = rows.append
        params = {"codepage": codepage, "after": 0, "named": None, "_source": source}
        last = stop - 4
        try:
            while at <= last:
                found = known(unpack(data, at)[0])
                if found is not None:
                    at = found[0](data, at, stop, params, add, found[1])
                    continue
                tag: int = unpack(data, at)[0]
                if tag in TERMINALS or tag < WITH_ID:
                    break
                at = self._other(source, tag, at, stop, params, add)
        except Exception:
            pass
        return Table(rows, at, codepage) if rows else None

    def _other(self, source: ByteSource, tag: int, at: int, stop: int, params: dict[str, Any], add: Any) -> int:
        """A property that is met for the first time, has a name of its own, or has parts."""
        if tag >= FIRST_NAMED:
            found = read_name(source.data, at + 4)
            if found is None:
                raise ValueError("a name that is cut")
            element = Element(0, tag, found[0], 0, 0, None)
            return self._node(source, tag, element.name, at, stop, element.params(params["codepage"], 0), add)
        name = Element(0, tag, None, 0, 0, None).name
        reader = self._plain[tag]
        if reader is None:
            return self._node(source, tag, name, at, stop, params, add)
        if len(self._known) < self.MOST_NAMES:
            self._known[tag] = reader, name
        return reader(source.data, at, stop, params, add, name)

    @staticmethod
    def _node(source: ByteSource, tag: int, name: str, at: int, stop: int, params: dict[str, Any], add: Any) -> int:
        node = element_tree(source, tag, name, at, stop, params)
        add(node)
        return node.end
