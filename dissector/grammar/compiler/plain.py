"""Rows of properties whose value is one leaf: place, tag, name, value and words, as text that is ready to be shown.

Nearly all properties of a stream are a tag and a value without parts. For these there is nothing that a tree says more
than such a row does, and a row costs a tenth of it: the reader that is written for a form of value makes its text
directly. How a row is written is the business of who shows it (Style).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from construct import Construct, ConstructError

from dissector.grammar.base import labeller_of
from dissector.grammar.compiler.expressions import Unsupported
from dissector.grammar.compiler.leaves import is_leaf
from dissector.grammar.compiler.runtime import Anomaly, ascending, xid_or_none
from dissector.grammar.compiler.units import write
from dissector.grammar.compiler.writer import Position, RowItem, Text, Writer
from dissector.grammar.elements import COUNTED
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

Labeller = Callable[[Any], str]
Reader = Callable[[bytes, int, int, dict[str, Any], str], tuple[str, int]]
"""data, offset, end, arguments, begin of the row -> row, offset behind the element"""
MOST_TAGS = 4096
CHANGE_LIST = 0x65E30102
"""PidTagPredecessorChangeList."""
FEW = 4
"""Bytes of a value of which there are so few different ones in use that rows of them are worth keeping."""


class Words(dict[Any, str]):
    """The words for values by one labeller; those for the numbers met first are kept."""

    KEPT = 1024

    def __init__(self, labeller: Labeller) -> None:
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


class Style(Protocol):
    """How the value of a row is written."""

    def value(self, w: Writer, variable: str, labeller: Labeller | None) -> str:
        """The value and its words, as a part of the f-string in emitted code that is the row.

        variable: holds an int if it is one of w.integers, bytes if of w.octets, else anything. labeller: gives the
        words for it; None where values of its kind have none.
        """

    def key(self, w: Writer, variable: str) -> str:
        """The same for an XID (or none) whose bytes are in the variable."""

    def values(self, labeller: Labeller | None) -> Callable[[Sequence[Any]], str]:
        """The same for a list of values: what makes text of it."""

    def keys(self, values: Sequence[bytes]) -> str:
        """Text of a list of XIDs."""


class Kind(NamedTuple):
    """How properties of one form are read.

    size: where many of one tag are alike, in bytes with the tag; COUNTED where four of these bytes are how many follow.
    0 where hardly two are alike. opaque: a u32 length and bytes, which are the value. labeller: see Style.value.
    """

    read: Reader
    size: int
    opaque: bool = False
    labeller: Labeller | None = None


class Plain(dict[int, Kind | None]):
    """Kinds by property tag, made when first asked for. None: a marker, a property with a name, or with parts.

    A row is what stands behind its offset: f"{length},{begin}{value}", begin being what the reader was given.
    """

    def __init__(self, style: Style) -> None:
        super().__init__()
        self.style = style
        self.by_form: dict[Any, Kind | None] = {}
        self._made: tuple[int, bool, Labeller | None] = 0, False, None
        """What `put` has found out for Kind."""

    def __missing__(self, tag: int) -> Kind | None:
        kind = self.kind(tag)
        if len(self) < MOST_TAGS:
            self[tag] = kind
        return kind

    def kind(self, tag: int) -> Kind | None:
        if tag in MARKERS or tag >= FIRST_NAMED or tag == UNNAMED:
            return None
        try:
            form = FASTTRANSFER_VALUES.form(tag)
        except ConstructError:
            return None
        key = (form.codec, form.width) if type(form) is CountedText else id(form)  # many code pages have one codec
        if key not in self.by_form:
            try:
                read = write(PropValue, True, like={"PropertyTag": tag}, put=self.put).function
                wide = type(form) is CountedText and form.width == 2
                size, opaque, labeller = self._made
                self.by_form[key] = Kind(read, COUNTED if wide else size, opaque, labeller)
            except Unsupported:
                several = self.several(form)
                self.by_form[key] = None if several is None else Kind(several, 0)
        return self.by_form[key]

    def several(self, form: Construct) -> Reader | None:
        """The reader for a value that is a list of leaves; None for any other."""
        items = (
            form.rows if type(form) is Multi else SizedXid if form is FASTTRANSFER_VALUES.form(CHANGE_LIST) else None
        )
        if items is None or not is_leaf(items):
            return None
        labeller = labeller_of(items)
        keys = items is SizedXid
        values = write(form, False, raw=keys).function
        text = self.style.keys if keys else self.style.values(None if isinstance(labeller, Summary) else labeller)

        def read(data: bytes, at: int, end: int, params: dict[str, Any], begin: str) -> tuple[str, int]:
            if at + 4 > end:
                raise Anomaly
            value, stop = values(data, at + 4, end, params)
            if keys:
                if not value:
                    raise Anomaly  # no bytes are no list
                ascending(value)
            return f"{stop - at},{begin}{text(value)}", stop

        return read

    def put(self, w: Writer, items: list[RowItem]) -> str:
        """Source text of the row for the items of an element."""
        if [(item.kind, item.name) for item in items[1:3]] != [("leaf", "PropertyTag"), ("leaf", "PropertyValue")]:
            raise Unsupported("a value with parts")
        first, tag, item, last = items
        end = last.end
        assert (first.kind, first.start, last.kind) == ("begin", Position("at"), "end")
        assert tag.end == item.start == Position("at", 4)
        assert item.end == end
        assert isinstance(end, Position)
        length = str(end.plus) if end.base == "at" else f"{{{end} - at}}"
        labeller = None if isinstance(item.labeller, Summary) else item.labeller
        if isinstance(labeller, Text):
            raise Unsupported("words that depend on the session")
        variable = item.value.source
        function = w.raw.get(variable)
        if function is xid_or_none:
            self._made = 0, False, None
            return f"f'{length},{{name}}{self.style.key(w, variable)}'"
        if function is not None:
            made = w.name()
            w.line(f"{made} = {function.__name__}({variable})")
            variable = made
        number = variable in w.plain or (variable in w.integers and labeller is not None)
        few = number and end.base == "at" and end.plus <= 4 + FEW
        self._made = end.plus if few else 0, variable in w.octets, labeller
        return f"f'{length},{{name}}{self.style.value(w, variable, labeller)}'"
