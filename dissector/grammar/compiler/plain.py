"""Rows of properties whose value is one leaf: place, tag, name, value and words in one tuple, ready to be shown.

Nearly all properties of a stream are a tag and a value without parts. For these there is nothing that a tree says more
than such a row does, and a row costs a tenth of it: the reader that is written for a form of value makes it directly.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from construct import Construct, ConstructError

from dissector.grammar.base import labeller_of
from dissector.grammar.compiler.expressions import Unsupported
from dissector.grammar.compiler.leaves import is_leaf
from dissector.grammar.compiler.runtime import Anomaly, ascending
from dissector.grammar.compiler.units import write
from dissector.grammar.compiler.writer import Position, RowItem, Text, Writer
from dissector.grammar.fasttransfer import (
    FASTTRANSFER_VALUES,
    FIRST_NAMED,
    MARKERS,
    UNNAMED,
    CountedText,
    PropValue,
)
from dissector.grammar.layouts import Multi
from dissector.grammar.xid import SizedXid
from dissector.node import Summary, Undecoded

PlainRow = tuple[Any, ...]
"""(offset, length, property tag, name, value), and behind these the value in words where properties of this kind have
any ('' where this value has none). The first four bytes are the tag, the others the value. Bytes are hex digits;
several values are a list, and so are their words."""
Reader = Callable[..., int]
"""data, offset, end, arguments, add row, name -> offset behind the element"""
MOST_TAGS = 4096
CHANGE_LIST = 0x65E30102
"""PidTagPredecessorChangeList."""


class Words(dict[Any, str]):
    """The words for values by one labeller; those for the numbers met first are kept."""

    KEPT = 1024

    def __init__(self, labeller: Callable[[Any], str]) -> None:
        super().__init__()
        self.labeller = labeller

    def __missing__(self, value: Any) -> str:
        words = self.labeller(value)
        if len(self) < self.KEPT:
            self[value] = words
        return words

    def of(self, value: Any) -> str:
        """For values of any kind."""
        if type(value) is int:
            return self[value]
        return "" if value is None or isinstance(value, Undecoded) else self.labeller(value)


class Plain(dict[int, Reader | None]):
    """Readers by property tag, made when first asked for. None: a marker, a property with a name, or with parts.

    shown: makes of a value what its row has (bytes, numbers and text are what they are).
    """

    def __init__(self, shown: Callable[[Any], Any]) -> None:
        super().__init__()
        self.shown = shown
        self.by_form: dict[Any, Reader | None] = {}

    def __missing__(self, tag: int) -> Reader | None:
        reader = self.reader(tag)
        if len(self) < MOST_TAGS:
            self[tag] = reader
        return reader

    def reader(self, tag: int) -> Reader | None:
        if tag in MARKERS or tag >= FIRST_NAMED or tag == UNNAMED:
            return None
        try:
            form = FASTTRANSFER_VALUES.form(tag)
        except ConstructError:
            return None
        key = (form.codec, form.width) if type(form) is CountedText else id(form)  # many code pages have one codec
        if key not in self.by_form:
            try:
                self.by_form[key] = write(PropValue, True, like={"PropertyTag": tag}, put=self.put).function
            except Unsupported:
                self.by_form[key] = self.several(form)
        return self.by_form[key]

    def several(self, form: Construct) -> Reader | None:
        """The reader for a value that is a list of leaves; None for any other."""
        items = (
            form.rows if type(form) is Multi else SizedXid if form is FASTTRANSFER_VALUES.form(CHANGE_LIST) else None
        )
        if items is None or not is_leaf(items):
            return None
        labeller = labeller_of(items)
        words = None if labeller is None or isinstance(labeller, Summary) else Words(labeller)
        values, shown, tag_at = write(form, False).function, self.shown, Struct("<I").unpack_from

        def read(
            data: bytes, at: int, end: int, params: dict[str, Any], out: Callable[[PlainRow], None], name: str
        ) -> int:
            if at + 4 > end:
                raise Anomaly
            value, stop = values(data, at + 4, end, params)
            if items is SizedXid:
                if not value:
                    raise Anomaly  # no bytes are no list
                ascending([one[0].bytes_le for one in value])
            row = at, stop - at, tag_at(data, at)[0], name, [shown(one) for one in value]
            out(row if words is None else (*row, [words.of(one) for one in value]))
            return int(stop)

        return read

    def put(self, w: Writer, items: list[RowItem]) -> str:
        """Source text of the tuple for the items of an element."""
        if [(item.kind, item.name) for item in items[1:3]] != [("leaf", "PropertyTag"), ("leaf", "PropertyValue")]:
            raise Unsupported("a value with parts")
        first, tag, value, last = items
        end = last.end
        assert (first.kind, first.start, last.kind) == ("begin", Position("at"), "end")
        assert tag.end == value.start == Position("at", 4)
        assert value.end == end
        assert isinstance(end, Position)
        length = str(end.plus) if end.base == "at" else f"{end} - at"
        shown, words = self.value(w, value)
        return f"(at, {length}, {tag.value.source}, name, {', '.join(filter(None, (shown, words)))})"

    def value(self, w: Writer, item: RowItem) -> tuple[str, str]:
        """Source text of the value and of its words."""
        variable = item.value.source
        function, labeller = w.raw.get(variable), item.labeller
        if function is not None:
            made = w.name()
            w.line(f"{made} = {function.__name__}({variable})")
            shown, variable = f"{w.constant(self.shown, 'S')}({made})", made
        elif variable in w.octets:
            shown = f"{variable}.hex()"
        else:
            shown = (
                variable
                if variable in w.integers or variable in w.plain
                else f"{w.constant(self.shown, 'S')}({variable})"
            )
        if labeller is None or isinstance(labeller, Summary):
            return shown, ""
        if isinstance(labeller, Text):
            raise Unsupported("words that depend on the session")
        words = w.constant(Words(labeller), "W")
        return shown, f"{words}[{variable}]" if variable in w.integers else f"{words}.of({variable})"
