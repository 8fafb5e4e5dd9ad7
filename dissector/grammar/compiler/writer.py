"""Writes the source of one reading function: the walk over constructs, positions, runs of fixed fields, rows.

The function reads `data` from `at` to `end`. While it is written, `position` says where reading has got to: a variable
plus a constant. Fields of fixed size are collected in a run, which becomes one bounds check and one struct call when
something needs their values (an expression, a field of variable size, a branch). In the same way the items of rows are
collected and become one tuple.

Every anomaly (short data, an unknown key) raises in the emitted code: the caller then reads again, interpreted, and
that reading says what is wrong. So emitted code never words a diagnostic.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from dissector.grammar.base import labeller_of, spec_of
from dissector.grammar.compiler.expressions import (
    Known,
    Scope,
    Unsupported,
    compile_expression,
    fields_used,
    text_of,
)  # fmt: skip
from dissector.grammar.compiler.rows import Begin, Call, End, Form, Item, Leaf, Leaves, Number, Place, Slot
from dissector.grammar.layouts import Traced


class Position(NamedTuple):
    """Where in the data: the variable `base` plus a constant."""

    base: str
    plus: int = 0

    def __str__(self) -> str:
        return f"{self.base} + {self.plus}" if self.plus else self.base


class Text(NamedTuple):
    """Source text where a constant could stand too."""

    source: str


@dataclass(frozen=True, slots=True)
class Target:
    """The node that is being read: its name (Text: a variable has it), spec, labeller, and where it begins.

    prefix: leaves that belong below it in front of what comes (the Size of a Counted, the Count of a Multi).
    collapses: where it turns out to have no parts of its own, the node is a leaf and the prefix is not shown.
    """

    name: str | Text
    spec: str | Text
    labeller: Any
    start: Position
    prefix: tuple[Any, ...] = ()
    collapses: bool = False
    begun: bool = False
    """The caller has begun the node and will finish it."""

    def choose(self, con: Any) -> Target:
        """The same node when `con` was chosen for it: its words and its section win."""
        return replace(self, labeller=labeller_of(con), spec=spec_of(con) or self.spec)


class RowItem(NamedTuple):
    kind: str
    name: Any
    spec: Any
    labeller: Any
    start: Position | None
    end: Position | None
    value: Any


class Field(NamedTuple):
    """A field of fixed size in a run: struct format, variable, and what makes the value of what struct gave."""

    format: str
    variable: str
    after: tuple[str, ...]


Put = Callable[["Writer", list["RowItem"]], str]
"""Source text of the tuple that stands for items of rows. Raises Unsupported."""


class State(NamedTuple):
    """What is put back when a part turns out not to be compilable."""

    lines: int
    run: tuple[Field, ...]
    run_start: Position
    items: tuple[RowItem, ...]
    position: Position
    end: str
    scope: Scope
    compiled: int


class Writer:
    """One function being written. rows: annotated rows are wanted instead of values; the row of one piece that they
    are is written by `put`, if given."""

    def __init__(
        self, rows: bool, root: Any, content: Callable[..., str], closed: bool = False, put: Put | None = None,
        raw: bool = False,
    ) -> None:  # fmt: skip
        self.rows = rows
        self.put = put
        self.unmade = raw
        self.made = ""
        """Source text of what `put` made."""
        self.used = set(fields_used(root))
        self.content_of = content
        self.lines: list[str] = []
        self.depth = 1
        self.constants: dict[str, Any] = {}
        self.by_id: dict[int, str] = {}
        self.names = 0
        self.unsigned: set[str] = set()
        """Variables that hold numbers which cannot be negative."""
        self.integers: set[str] = set()
        """Variables that hold an int."""
        self.plain: set[str] = set()
        """Variables that hold text (its bytes where it could not be decoded) or a truth value."""
        self.octets: set[str] = set()
        """Variables that hold bytes, which are the value."""
        self.raw: dict[str, Callable[[Any], Any]] = {}
        """Variables that hold bytes, and what makes values of them: in rows that is done when they are looked at."""
        self.run: list[Field] = []
        self.run_start = Position("at")
        self.items: list[RowItem] = []
        self.position = Position("at")
        self.end = "end"
        self.scope = Scope(None, closed)
        self.like: dict[str, Known] = {}
        self.path: list[str] = []
        self.notes: list[str] = []
        self.compiled = self.interpreted = 0
        self.calls = False
        """Whether something is called that may call constructs."""

    # -- text ---------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def name(self, prefix: str = "v") -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    def constant(self, value: Any, hint: str = "K") -> str:
        """The name under which the function sees an object."""
        found = self.by_id.get(id(value))
        if found is None:
            found = self.by_id[id(value)] = self.name(hint)
            self.constants[found] = value
        return found

    def expression(self, expression: Any, scope: Scope | None = None) -> Any:
        """Source text or Known for an expression of the grammar; the fields it may use have their values by then."""
        value = compile_expression(self, expression, scope or self.scope)
        if not isinstance(value, Known):
            self.flush()
        return value

    def text(self, expression: Any) -> str:
        return text_of(self, self.expression(expression))

    @contextmanager
    def indented(self) -> Iterator[None]:
        self.depth += 1
        yield
        self.depth -= 1

    def state(self) -> State:
        return State(
            len(self.lines), tuple(self.run), self.run_start, tuple(self.items), self.position, self.end, self.scope,
            self.compiled,
        )  # fmt: skip

    def restore(self, state: State, depth: int) -> None:
        del self.lines[state.lines :]
        self.run, self.items, self.depth = list(state.run), list(state.items), depth
        self.run_start, self.position, self.end = state.run_start, state.position, state.end
        self.scope, self.compiled = state.scope, state.compiled

    # -- positions and runs -------------------------------------------------------------------

    def fixed(self, format: str, *after: str) -> str:
        """A field of fixed size, joined to the run. after: statements about {v}, its variable. Returns the variable."""
        variable = self.name()
        if not self.run:
            self.run_start = self.position
        self.run.append(Field(format, variable, tuple(one.format(v=variable) for one in after)))
        self.position = Position(self.position.base, self.position.plus + struct.calcsize("<" + format))
        self.compiled += 1
        if format in ("B", "H", "I", "Q") and not after:
            self.unsigned.add(variable)
        if format in ("B", "H", "I", "Q", "b", "h", "i", "q") and not after:
            self.integers.add(variable)
        return variable

    def converted(self, variable: str, function: Callable[[Any], Any]) -> str:
        """The value that a function makes of the bytes in a variable; it must not fail."""
        if self.rows:
            self.raw[variable] = function
        elif not self.unmade:
            self.later(f"{variable} = {function.__name__}({variable})")
        return variable

    def shown(self, value: Any) -> str:
        """Source text of the value of a field, made of its bytes if need be."""
        function = self.raw.get(value) if isinstance(value, str) else None
        return text_of(self, value) if function is None else f"{function.__name__}({value})"

    def flush(self) -> None:
        """Read the run: one check, one struct call."""
        if not self.run:
            return
        run, self.run = self.run, []
        start, stop = self.run_start, self.position
        self.need(str(stop))
        if len(run) == 1 and run[0].format == "B":
            self.line(f"{run[0].variable} = data[{start}]")
        elif len(run) == 1 and run[0].format.endswith("s"):
            self.line(f"{run[0].variable} = data[{start}:{stop}]")
        else:
            reader = f"read_{''.join(field.format for field in run)}"
            if reader not in self.constants:
                self.constants[reader] = struct.Struct("<" + "".join(field.format for field in run)).unpack_from
            variables = [field.variable for field in run]
            self.line(f"{', '.join(variables)}{',' * (len(variables) == 1)} = {reader}(data, {start})")
        for field in run:
            for statement in field.after:
                self.line(statement)

    def need(self, place: str) -> None:
        """The data must reach to a place."""
        self.line(f"if {place} > {self.end}: raise Anomaly")

    def reach(self, size: str, stop: str) -> Position:
        """Set the variable `stop` to so many bytes behind here and check it. Returns where they begin."""
        self.flush()
        start = self.position
        self.line(f"{stop} = {start} + {size}")
        if size.split(" * ")[0] in self.unsigned:
            self.need(stop)
        else:
            self.line(f"if not {start} <= {stop} <= {self.end}: raise Anomaly")
        return start

    def move(self, place: str | Position) -> None:
        """Reading goes on at another place; the run is read by then."""
        self.position = place if isinstance(place, Position) else Position(place)

    def here(self) -> str:
        """The place as a plain variable (a new one where it is an expression); the run is read by then."""
        self.flush()
        if self.position.plus:
            variable = self.name("a")
            self.line(f"{variable} = {self.position}")
            self.position = Position(variable)
        return self.position.base

    # -- rows -----------------------------------------------------------------------------------

    def leaf(self, target: Target, value: str) -> None:
        """The node is a leaf that ends here."""
        if self.rows:
            if target.begun or (target.prefix and not target.collapses):
                raise Unsupported("a leaf below which other leaves stand")
            self.items.append(
                RowItem("leaf", target.name, target.spec, target.labeller, target.start, self.position, Text(value))
            )

    def begin(self, target: Target) -> None:
        """The node is a structure; what stands in front of its parts comes first."""
        if self.rows and not target.begun:
            self.items.append(RowItem("begin", target.name, target.spec, target.labeller, target.start, None, None))
            self.items.extend(target.prefix)

    def finish(self, target: Target) -> None:
        """The structure that began last ends here."""
        if self.rows and not target.begun:
            self.items.append(RowItem("end", None, "", None, None, self.position, None))

    def leaves(self, row: Traced, start: Position, size: int, values: str) -> None:
        """Rows that are leaves of one size; `values` is the variable of their list."""
        if self.rows:
            self.items.append(RowItem("leaves", size, row.spec, row.labeller, start, None, Text(values)))

    def leaf_item(self, target: Target, value: str) -> RowItem:
        """A leaf for a prefix: it ends here."""
        return RowItem("leaf", target.name, target.spec, target.labeller, target.start, self.position, Text(value))

    def settle(self) -> None:
        """Before a branch, a loop or a call: everything collected is written out."""
        self.flush()
        if not self.items:
            return
        items, self.items = self.items, []
        if self.put is not None:
            self.made = self.put(self, items)
            return
        slots: dict[str, int] = {}

        def slot(source: str) -> int:
            return slots.setdefault(source, len(slots) + 1)

        def operand(value: Any) -> Any:
            if not isinstance(value, Text):
                return value
            function = self.raw.get(value.source)
            if value.source in self.integers:
                return Number(slot(value.source))
            return Slot(slot(value.source)) if function is None else Call(function, slot(value.source))

        def place(at: Position) -> Place:
            return Place(slot(at.base), at.plus)

        made: list[Item] = []
        for item in items:
            if item.kind == "end":
                assert item.end is not None
                made.append(End(place(item.end)))
                continue
            assert item.start is not None
            start = place(item.start)
            if item.kind == "begin":
                made.append(Begin(operand(item.name), operand(item.spec), operand(item.labeller), start))
                continue
            if item.kind == "leaves":
                made.append(Leaves(item.spec, item.labeller, start, item.name, operand(item.value)))
                continue
            assert item.end is not None
            made.append(
                Leaf(operand(item.name), item.spec, operand(item.labeller), start, place(item.end), operand(item.value))
            )
        self.line(f"out(({', '.join((str(Form(tuple(made)).number), *slots))}))")

    # -- branches -------------------------------------------------------------------------------

    def branches(self, *cases: tuple[str, Callable[[], None]]) -> None:
        """if/elif/else: (condition, what is read then); the condition of an `else` is ''. All end at one place."""
        self.settle()
        start, scope = self.position, self.scope
        end = self.name("a")
        for number, (condition, read) in enumerate(cases):
            self.position, self.scope = start, scope
            self.line(f"{'el' if number and condition else ''}if {condition}:" if condition else "else:")
            with self.indented():
                read()
                self.settle()
                self.line(f"{end} = {self.position}")
        if cases[-1][0]:
            self.line("else: raise Anomaly")
        self.position, self.scope = Position(end), scope

    @contextmanager
    def region(self, stop: str) -> Iterator[None]:
        """What is read inside ends exactly at `stop`, a variable."""
        outer, self.end = self.end, stop
        yield
        self.flush()
        if self.position != Position(stop):
            self.line(f"if {self.position} != {stop}: raise Anomaly")
        self.end = outer
        self.move(stop)

    # -- fields ---------------------------------------------------------------------------------

    def later(self, statement: str) -> None:
        """A statement about fields of the run: it stands behind the run's struct call."""
        if self.run:
            last = self.run[-1]
            self.run[-1] = last._replace(after=(*last.after, statement))
        else:
            self.line(statement)

    def content(self, con: Any, target: Target, want: bool) -> str:
        """Read a construct as what is left of a node. Returns source text of its value ('None' if not wanted)."""
        value = self.content_of(self, con, target, want)
        function = self.raw.get(value) if want else None
        if function is None:
            return value
        made = self.name()
        self.later(f"{made} = {function.__name__}({value})")
        return made

    def field(self, field: Traced, name: str | Text, want: bool) -> str:
        """Read a named field (or a row)."""
        self.path.append(field.name)
        try:
            return self.attempt(field.subcon, Target(name, field.spec, field.labeller, self.position), want)
        finally:
            self.path.pop()

    def attempt(self, con: Any, target: Target, want: bool) -> str:
        """Read a construct as a node of its own: compiled if it can be, else by calling it."""
        state, depth = self.state(), self.depth
        try:
            return self.content(con, target, want)
        except Unsupported as error:
            if self.rows and (target.prefix or target.begun):
                raise
            self.restore(state, depth)
            self.notes.append(f"{'.'.join(self.path)}: {error}")
            self.interpreted += 1
            return self.interpret(con, target)

    def interpret(self, con: Any, target: Target) -> str:
        """Call the construct itself at this place."""
        self.settle()
        self.calls = True
        variable, stop = self.name(), self.name("a")
        scopes: list[str] = []
        scope = self.scope
        while scope.parent is not None:
            entries = (f"{name!r}: {self.shown(value)}" for name, value in scope.fields.items())
            scopes.insert(0, f"{{{', '.join(entries)}}}")
            scope = scope.parent
        fields = f"({', '.join(scopes)},)" if scopes else "()"
        known = self.constant(con, "C")
        if self.rows:
            name = target.name.source if isinstance(target.name, Text) else repr(target.name)
            labeller = self.constant(target.labeller) if target.labeller is not None else "None"
            self.line(
                f"{variable}, {stop} = interpret_rows({known}, data, {self.position}, {self.end}, P, {fields}, out, "
                f"{name}, {target.spec!r}, {labeller})"
            )
        else:
            self.line(f"{variable}, {stop} = interpret({known}, data, {self.position}, {self.end}, P, {fields})")
        self.move(stop)
        return variable
