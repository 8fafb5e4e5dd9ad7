"""Properties that stand beside one another in a FastTransfer stream, kept as rows until somebody looks at them.

Most of a stream is lists of properties. Their order is free, so nothing has to be asked between one and the next: they
are read at one go by the compiled readers, and their nodes are made of the rows when they are wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any, NamedTuple

from dissector.grammar.compiler.rows import Row, tree_of
from dissector.grammar.compiler.stream import kinds
from dissector.grammar.elements import Element, read_name
from dissector.grammar.fasttransfer import FIRST_NAMED
from dissector.grammar.ics import PROPERTY, TERMINALS
from dissector.grammar.table import WITH_ID, Table
from dissector.node import Node, Summary
from dissector.source import ByteSource

_U32 = Struct("<I")


class Run(NamedTuple):
    """Elements side by side. names, offsets, firsts: of each, the last being the index of its first row; all tags."""

    names: list[str]
    offsets: list[int]
    firsts: list[int]
    rows: list[Row]
    end: int

    def node(self, index: int, source: ByteSource) -> Node:
        """One of them."""
        behind = index + 1
        last = behind == len(self.offsets)
        rows = self.rows[self.firsts[index] : None if last else self.firsts[behind]]
        end = self.end if last else self.offsets[behind]
        return tree_of(rows, source, self.names[index], self.offsets[index], end)

    def nodes(self, source: ByteSource) -> Iterator[Node]:
        return (self.node(index, source) for index in range(len(self.names)))

    def child(self, name: str, source: ByteSource) -> Node | None:
        """The first of that name."""
        return self.node(self.names.index(name), source) if name in self.names else None

    @property
    def amount(self) -> int:
        return len(self.names)


class Grouped(Node):
    """A node with runs or tables among its children, which become nodes when they are first looked at."""

    __slots__ = ("_label", "_parts")

    def __init__(self, name: str, source: ByteSource, offset: int, spec: str, labeller: Any) -> None:
        self.name, self.source, self.offset, self.length = name, source, offset, 0
        self.value, self.diagnostics, self.secret = None, [], False
        self.spec, self.labeller = spec, labeller
        self._parts: list[Part] | None = []
        self._label: str | None = None

    def __getattr__(self, name: str) -> Any:
        if name == "children" and self._parts is not None:
            made: list[Node] = []
            for part in self._parts:
                if isinstance(part, Node):
                    made.append(part)
                else:
                    made.extend(part.nodes(self.source))
            self._parts = None
            self.children = made
            return made
        raise AttributeError(name)

    @property
    def parts(self) -> list[Part] | None:
        """Nodes, runs and tables, as long as nobody has looked at the children."""
        return self._parts

    def add(self, part: Part) -> None:
        self._label = None
        if self._parts is not None:
            self._parts.append(part)
        elif isinstance(part, Node):
            self.children.append(part)
        else:
            self.children.extend(part.nodes(self.source))

    @property
    def label(self) -> str:
        if self._parts is None:
            return super().label
        if self._label is None:  # those around it have the same words
            self._label = self.labeller(self) if self._parts and isinstance(self.labeller, Summary) else ""
        return self._label

    @property
    def count(self) -> int:
        if self._parts is None:
            return len(self.children)
        return sum(1 if isinstance(part, Node) else part.amount for part in self._parts)

    def child(self, name: str) -> Node | None:
        if self._parts is None:
            return super().child(name)
        for part in self._parts:
            if isinstance(part, Node):
                found = part if part.name == name else None
            else:
                found = part.child(name, self.source)
            if found is not None:
                return found
        return None


Part = Node | Run | Table


def read_run(source: ByteSource, at: int, stop: int, codepage: str | None, after: int) -> tuple[Run, list[int]] | None:
    """The properties from `at` of the source on, and their tags: up to a marker, to what says something about order, to
    what the readers do not understand (the interpreted reading says why), or to `stop`. None where there is none."""
    data, readers, terminals, unpack = source.data, kinds(), TERMINALS, _U32.unpack_from
    names: list[str] = []
    offsets: list[int] = []
    firsts: list[int] = []
    rows: list[Row] = []
    tags: list[int] = []
    params = {"codepage": codepage, "after": after, "named": None, "_source": source}
    add, known = rows.append, _NAMES
    while stop - at >= 4:
        tag: int = unpack(data, at)[0]
        first = len(rows)
        name = known.get(tag)
        try:
            if name is not None:
                end = readers[tag](data, at, stop, params, add, name)
            elif tag in terminals or tag < WITH_ID:
                break
            elif tag < FIRST_NAMED:
                name = Element(0, tag, None, 0, 0, None).name
                end = readers[tag](data, at, stop, params, add, name)
                if len(known) < _MOST_NAMES:
                    known[tag] = name
            else:
                found = read_name(data, at + 4)
                if found is None:
                    break
                element = Element(0, tag, found[0], 0, 0, None)
                name = element.name
                own = {**element.params(codepage, after), "_source": source}
                end = readers[tag](data, at, stop, own, add, name)
        except Exception:
            del rows[first:]
            break
        names.append(name)
        offsets.append(at)
        firsts.append(first)
        tags.append(tag)
        at = end
    return (Run(names, offsets, firsts, rows, at), tags) if names else None


_NAMES: dict[int, str] = {}
"""Names of the tags met, but for named properties."""
_MOST_NAMES = 4096
assert PROPERTY not in TERMINALS.values()
