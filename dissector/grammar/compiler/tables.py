"""Tables that emitted code looks functions up in. A function is written when its key is first met.

Keys come from the data, so what a table keeps is bounded: by the cases of a grammar, or by a number. `function` gives
what reads a node as a whole; `part` what reads the parts of a node that has been begun, with its words and its section.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from construct import Construct, Container

from dissector.grammar.base import labeller_of, spec_of
from dissector.grammar.compiler import units
from dissector.grammar.compiler.runtime import Anomaly, interpret, interpret_rows
from dissector.grammar.layouts import Traced
from dissector.grammar.properties import ColumnValues, Encoding

Function = Callable[..., Any]
Part = tuple[Function, Any, str]
MOST_TAGS = 4096
MOST_COLUMN_SETS = 512
UNNAMED, NAMED_FROM = 0x00000102, 0x80000000


class Table:
    """What the tables share. choose() gives the construct for a key, or raises."""

    def __init__(self, rows: bool, spec: str) -> None:
        self.rows, self.spec = rows, spec
        self.functions: dict[Any, Function] = {}

    def whole(self, con: Construct) -> Function:
        return units.function(con, self.rows, self.spec)

    def parts(self, con: Construct) -> Part:
        return units.function(con, True, self.spec, begun=True), labeller_of(con), spec_of(con) or self.spec


class ByKey(Table):
    """The cases of a choice. thunks: the cases are functions that give the constructs."""

    def __init__(
        self, cases: Mapping[Any, Any], default: Construct | None, rows: bool, spec: str, thunks: bool = False
    ) -> None:
        super().__init__(rows, spec)
        self.cases, self.default, self.thunks = cases, default, thunks

    def choose(self, key: Any) -> Construct:
        con = self.cases.get(key, self.default)
        if con is None:
            raise Anomaly(key)
        return con() if self.thunks else con

    def function(self, key: Any) -> Function:
        found = self.functions.get(key)
        if found is None:
            found = self.whole(self.choose(key))
            if key in self.cases:
                self.functions[key] = found
        return found

    def part(self, key: Any) -> Part:
        return self.parts(self.choose(key))


class ByMark(Table):
    """Layouts that are known by what stands in the data (forms.ByMarks)."""

    def __init__(self, cases: Any, default: Construct, rows: bool, spec: str) -> None:
        super().__init__(rows, spec)
        self.cases, self.default = cases, default

    def choose(self, data: bytes) -> Construct:
        return next((case.layout for case in self.cases if case.fits(data)), self.default)

    def function(self, data: bytes) -> Function:
        return self.whole(self.choose(data))

    def part(self, data: bytes) -> Part:
        return self.parts(self.choose(data))


class ByTag(Table):
    """Property values by tag. explained: layouts by the marker before an UNNAMED binary."""

    def __init__(
        self, encoding: Encoding, rows: bool, spec: str, explained: Mapping[int, Construct] | None = None
    ) -> None:
        super().__init__(rows, spec)
        self.encoding, self.explained = encoding, explained or {}

    def choose(self, tag: int, params: Mapping[str, Any]) -> Construct:
        if tag == UNNAMED and params.get("after") in self.explained:
            return self.explained[params["after"]]
        return self.encoding.form(tag, named=params.get("named") or {})

    def function(self, tag: int, params: Mapping[str, Any]) -> Function:
        found = self.functions.get(tag)
        if found is None:
            found = self.whole(self.choose(tag, params))
            depends = (tag >= NAMED_FROM and params.get("named")) or (tag == UNNAMED and self.explained)
            if not depends and tag < NAMED_FROM and len(self.functions) < MOST_TAGS:
                self.functions[tag] = found
        return found

    def part(self, tag: int, params: Mapping[str, Any]) -> Part:
        return self.parts(self.choose(tag, params))


class FixedColumns(Construct):  # type: ignore[misc]
    """The values of a row whose columns are known."""

    def __init__(self, columns: ColumnValues, fields: list[Traced]) -> None:
        super().__init__()
        self.columns, self.fields, self.label = columns, fields, columns.label

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        return self.columns._parse(stream, context, path)


class Columns(Table):
    """Table rows: a reader for every set of columns that occurs often."""

    def __init__(self, con: ColumnValues, rows: bool, spec: str) -> None:
        super().__init__(rows, spec)
        self.con = con
        self.seen: dict[Any, Any] = {}
        self.made = 0

    def function(self, columns: Any, flag: Any, params: Mapping[str, Any]) -> Function:
        if columns is None:
            raise Anomaly("columns")
        names = params.get("named")
        known = tuple(names.get(tag >> 16, "") for tag in columns if tag >= NAMED_FROM) if names else ()
        key = (tuple(columns), bool(flag), known)
        found = self.seen.get(key, 0)
        if not isinstance(found, int):
            return found  # type: ignore[no-any-return]
        con = ColumnValues(columns, flag, self.con.encoding)
        if found < units.HOT_COLUMNS:
            if len(self.seen) >= MOST_COLUMN_SETS:
                self.seen = {known: made for known, made in self.seen.items() if not isinstance(made, int)}
            self.seen[key] = found + 1
            return self.interpreted(con)
        if self.made >= MOST_COLUMN_SETS:
            return self.interpreted(con)
        self.made += 1
        fields = con.fields(Container(_params=params), "")
        function = self.seen[key] = self.whole(FixedColumns(con, fields))
        return function

    def part(self, columns: Any, flag: Any, params: Mapping[str, Any]) -> Part:
        raise Anomaly("columns")

    def interpreted(self, con: ColumnValues) -> Function:
        if not self.rows:
            return lambda data, at, end, params: interpret(con, data, at, end, params, ())
        spec, words = self.spec, con.label
        return lambda data, at, end, params, out, name: interpret_rows(
            con, data, at, end, params, (), out, name, spec, words
        )[1]
