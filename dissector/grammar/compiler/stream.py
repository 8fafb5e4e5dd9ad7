"""Rows of FastTransfer elements: one reader for every form of value, the property tag known.

PropValue asks the tag for everything: whether a name follows, how the value is laid out. With the tag at hand all of
that is settled while the reader is written, and an element of fixed size is one struct call and one row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from construct import ConstructError

from dissector.grammar.compiler.rows import Row, tree_of
from dissector.grammar.compiler.units import write
from dissector.grammar.fasttransfer import FASTTRANSFER_VALUES, FIRST_NAMED, MARKERS, UNNAMED, Marker, PropValue
from dissector.node import Node
from dissector.source import ByteSource

Reader = Callable[..., int]
"""data, offset, end, arguments, add row, name -> offset behind the element"""
MOST_TAGS = 4096


HOT = 6
"""How many elements with the same tag are read by the reading for all tags before there is one for this tag."""


class Kinds(dict[int, Reader]):
    """By property tag. Tags whose values are written alike share a reader."""

    def __init__(self) -> None:
        super().__init__()
        self.by_form: dict[int, Reader] = {}
        self.uses: dict[int, int] = {}
        self.any = write(PropValue, True).function
        self.marker = write(Marker, True).function

    def __missing__(self, tag: int) -> Reader:
        uses = self.uses.get(tag, 0)
        if uses < HOT or len(self) >= MOST_TAGS:
            if len(self.uses) < MOST_TAGS:
                self.uses[tag] = uses + 1
            return self.marker if tag in MARKERS else self.any
        reader = self[tag] = self.reader(tag)
        return reader

    def reader(self, tag: int) -> Reader:
        if tag in MARKERS:
            return self.marker
        if tag >= FIRST_NAMED or tag == UNNAMED:
            return self.any
        try:
            form = FASTTRANSFER_VALUES.form(tag)
        except ConstructError:
            return self.any
        reader = self.by_form.get(id(form))
        if reader is None:
            reader = self.by_form[id(form)] = write(PropValue, True, like={"PropertyTag": tag}).function
        return reader


_made: list[Kinds] = []


def kinds() -> Kinds:
    """The readers, made when they are first asked for."""
    if not _made:
        _made.append(Kinds())
    return _made[0]


def element_tree(source: ByteSource, tag: int, name: str, offset: int, end: int, params: dict[str, Any]) -> Node:
    """The tree of one element, whose parts are made when they are looked at.

    params: as for trace(PropValue). Raises, whatever it may be, where the interpreted reading has to say what is wrong.
    """
    rows: list[Row] = []
    params["_source"] = source
    stop = kinds()[tag](source.data, offset, end, params, rows.append, name)
    return tree_of(rows, source, name, offset, stop)
