"""Rules for constructs with parts: layouts, choices, rows, sizes, values by property tag.

Each reads its construct as what is left of a node (Writer.content). What makes a leaf or a structure of the node is
decided where it is known: a Choice hands the node on to the case that was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from dissector.grammar.compiler.calls import called, impossible, not_wanted, section
from dissector.grammar.compiler.expressions import Known, Scope, Unsupported, looks_outside, text_of
from dissector.grammar.compiler.leaves import LEAVES, MAYBE_EMPTY, is_leaf, key_of, number_format, read_leaf
from dissector.grammar.compiler.tables import ByKey, ByMark
from dissector.grammar.compiler.values import column_values, fixed_columns, property_tag, property_value, value_of
from dissector.grammar.compiler.writer import Target, Text, Writer
from dissector.grammar.layouts import MAX_DEPTH, Choice, Traced, When

Rule = Callable[[Writer, Any, Target, bool], str]

FEW = 4
"""As many different cases stand in line; more are functions of their own, found through a dictionary."""


def content(w: Writer, con: Any, target: Target, want: bool) -> str:
    """Read a construct as what is left of a node; source text of its value. Raises Unsupported."""
    key = key_of(con)
    rule = RULES.get(key)
    if rule is not None:
        return rule(w, con, target, want)
    if key in LEAVES and is_leaf(con):
        value = read_leaf(w, con)
        w.leaf(target, value)
        return value
    if key == "construct.core.Subconstruct._parse":
        return w.content(con.subcon, target, want)
    raise Unsupported(f"{type(con).__qualname__} has no compiled form")


def layout(w: Writer, con: Any, target: Target, want: bool) -> str:
    bare = w.rows and not target.prefix
    if bare and con.subcons and all(field.optional is not None for field in con.subcons):
        raise Unsupported("a layout all of whose fields may be absent")
    if bare and not con.subcons:
        empty = w.name()
        w.later(f"{empty} = Container()")
        w.leaf(target, empty)
        return empty
    outer, values = w.scope, []
    scope = w.scope = Scope(outer)
    w.begin(target)
    for field in con.subcons:
        wanted = want or field.name in w.used
        reading = optional if field.optional is not None else required
        value = reading(w, field, wanted)
        if wanted or (field.optional is None and value != "None"):  # constructs that are called may look at any field
            scope.fields[field.name] = w.like.get(field.name, value) if outer.parent is None else value
        values.append((field.name, text_of(w, value)))
    w.finish(target)
    w.scope = outer
    if not want:
        return "None"
    made = w.name("c")
    w.later(f"{made} = Container()")
    for name, text in values:
        w.later(f"{made}[{name!r}] = {text}")
    return made


def required(w: Writer, field: Traced, want: bool) -> str:
    return w.field(field, field.name, want)


def optional(w: Writer, field: Traced, want: bool) -> Any:
    """A field that may be absent; its value is None then."""
    conditions: list[str] = []
    con: Any = field.optional
    while isinstance(con, When):
        rule = CONDITIONS.get(f"{type(con).absent.__module__}.{type(con).absent.__qualname__}")
        if rule is None:
            raise Unsupported(f"{type(con).__qualname__} has no compiled form")
        condition = rule(w, con)
        con = con.subcon
        if isinstance(condition, Known):
            if not condition.value:
                return Known(None)
            continue
        conditions.append(condition)
    if not conditions:
        return w.field(field, field.name, want)
    value = w.name()

    def present() -> None:
        read = w.field(field, field.name, want)
        w.flush()
        if want:
            w.line(f"{value} = {text_of(w, read)}")

    def absent() -> None:
        if want:
            w.line(f"{value} = None")

    w.branches((" and ".join(conditions), present), ("", absent))
    return value if want else Known(None)


def _holds(w: Writer, con: Any) -> Any:
    return w.expression(con.condition)


def _more(w: Writer, con: Any) -> str:
    w.flush()
    return f"{w.position} < {w.end}"


def _ahead(w: Writer, con: Any) -> str:
    w.flush()
    starts = f"data.startswith({w.constant(tuple(con.marks))}, {w.position}, {w.end})"
    return f"({w.position} < {w.end} and {'not ' if con.unless else ''}{starts})"


CONDITIONS: Mapping[str, Callable[[Writer, Any], Any]] = {
    "dissector.grammar.layouts.When.absent": _holds,
    "dissector.grammar.layouts.WhenMore.absent": _more,
    "dissector.grammar.forms.WhenAhead.absent": _ahead,
}
"""What has to hold for a field to be there."""


def inner(w: Writer, con: Any, target: Target, want: bool) -> str:
    return w.content(con.subcon, target, want)


def choice(w: Writer, con: Any, target: Target, want: bool) -> str:
    if type(con).choose is not Choice.choose:
        raise Unsupported(f"{type(con).__qualname__} chooses in a way of its own")
    key = w.expression(con.key)
    if isinstance(key, Known):
        chosen = con.cases.get(key.value, con.default)
        return impossible(w) if chosen is None else w.content(chosen, target.choose(chosen), want)
    return chosen_by(w, key, con.cases, con.default, target, want)


def chosen_by(w: Writer, key: str, cases: Mapping[Any, Any], default: Any, target: Target, want: bool) -> str:
    """One of several constructs by a number in hand."""
    groups: dict[int, list[Any]] = {}
    forms: dict[int, Any] = {}
    for value, form in cases.items():
        groups.setdefault(id(form), []).append(value)
        forms[id(form)] = form
    every = [*forms.values(), *([] if default is None else [default])]
    if len(every) > FEW and not (w.rows and want) and not any(map(looks_outside, every)):
        table = ByKey(dict(cases), default, w.rows, section(target))
        return called(w, table, key, target)
    if not key.isidentifier():
        variable = w.name()
        w.line(f"{variable} = {key}")
        key = variable
    value = w.name()

    def reading(form: Any) -> Callable[[], None]:
        def read() -> None:
            found = w.attempt(form, target.choose(form), want)
            w.flush()
            if want:
                w.line(f"{value} = {found}")

        return read

    branches = []
    for number, keys in groups.items():
        test = f"{key} == {keys[0]!r}" if len(keys) == 1 else f"{key} in {tuple(keys)!r}"
        branches.append((test, reading(forms[number])))
    if default is not None:
        branches.append(("", reading(default)))
    w.branches(*branches)
    return value if want else "None"


def by_first(w: Writer, con: Any, target: Target, want: bool) -> str:
    not_wanted(w, want)
    w.flush()
    start, start_compiled = w.position, w.compiled
    key = read_leaf(w, con.number)
    w.flush()
    w.move(start)
    w.compiled = start_compiled
    return chosen_by(w, key, con.cases, con.default, target, want)


def by_marks(w: Writer, con: Any, target: Target, want: bool) -> str:
    not_wanted(w, want)
    if any(map(looks_outside, (con.default, *(case.layout for case in con.cases)))):
        raise Unsupported("layouts that use fields around them, chosen by marks")
    w.flush()
    table = ByMark(con.cases, con.default, w.rows, section(target))
    return called(w, table, f"data[{w.position}:{w.end}]", target)


def deferred(w: Writer, con: Any, target: Target, want: bool) -> str:
    not_wanted(w, want)
    if looks_outside(con.thunk()):
        raise Unsupported("a deferred layout that uses fields around it")
    w.settle()
    depth = w.name("d")
    table = ByKey({0: con.thunk}, None, w.rows, section(target), thunks=True)
    w.line(f"{depth} = P.get('_depth', 0)")
    w.line(f"if {depth} >= {MAX_DEPTH}: raise Anomaly")
    w.line(f"P['_depth'] = {depth} + 1")
    value = called(w, table, "0", target)
    w.line(f"P['_depth'] = {depth}")
    w.compiled += 1
    return value


# -- rows ---------------------------------------------------------------------------------------


def rows(w: Writer, con: Any, target: Target, want: bool) -> str:
    return counted_rows(w, con.row, w.text(con.count), target, want)


def multi(w: Writer, con: Any, target: Target, want: bool) -> str:
    field = con.count
    count_target = Target(field.name, field.spec, field.labeller, w.position)
    count = read_leaf(w, field.subcon)
    item = w.leaf_item(count_target, count)
    w.flush()
    target = replace(target, prefix=(*target.prefix, item), collapses=False)
    return counted_rows(w, Traced(con.rows, "[]"), count, target, want)


def counted_rows(w: Writer, row: Traced, count: str, target: Target, want: bool) -> str:
    w.flush()
    if not count.isidentifier():
        variable = w.name("n")
        w.line(f"{variable} = {count}")
        count = variable
    value = w.name()
    number = number_format(row.subcon)
    plain = number is not None and (not w.rows or key_of(row.subcon) != "properties._PropertyTag._parse")

    def numbers() -> None:
        """All of them in one struct call."""
        size = {"B": 1, "H": 2, "I": 4, "Q": 8}[str(number).upper()]
        stop = w.name("a")
        start = w.reach(f"{count} * {size}", stop)
        w.line(f"{value} = list(unpack_from(f'<{{{count}}}{number}', data, {start}))")
        w.compiled += 1
        w.move(stop)
        w.leaves(row, start, size, value)

    def loop() -> None:
        start, index, at = w.here(), w.name("i"), w.name("a")
        w.settle()
        w.line(f"{at} = {start}")
        if want:
            w.line(f"{value} = []")
        w.line(f"for {index} in range({count}):")
        with w.indented():
            each_row(w, row, index, at, value if want else "", want)
            if not takes_bytes(row.subcon):
                w.line(f"if {index} == 0xFFFF and {at} == {start}: raise Anomaly")
        w.move(at)

    read = numbers if plain else loop
    if not w.rows:
        read()
        return value
    around_rows(w, f"{count} > 0", read, target, value, want or plain)
    return value


def each_row(w: Writer, row: Traced, index: str, at: str, collect: str, want: bool) -> None:
    """The body of a loop: one row, from `at` on, which is moved behind it. collect: the list that it is added to."""
    before = w.scope.fields.get("_index")
    w.scope.fields["_index"] = index
    w.move(at)
    name: str | Text = "[]"
    if w.rows:
        name = Text(w.name("s"))
        w.line(f"{name.source} = f'[{{{index}}}]'")
    found = w.field(row, name, want)
    w.settle()
    if collect:
        w.line(f"{collect}.append({found})")
    w.line(f"{at} = {w.position}")
    if before is None:
        del w.scope.fields["_index"]
    else:
        w.scope.fields["_index"] = before


def around_rows(
    w: Writer, some: str, read: Callable[[], None], target: Target, value: str, filled: bool, always: bool = False
) -> None:
    """The node of rows: a structure, or a leaf with an empty list where there is no row and nothing in front."""

    def structure() -> None:
        w.begin(target)
        read()
        w.finish(target)

    def empty() -> None:
        w.line(f"{value} = []")
        w.leaf(target, value)

    if target.prefix or always:
        structure()
    else:
        w.branches((some, structure), ("", empty))
    _ = filled


def rows_to_end(w: Writer, con: Any, target: Target, want: bool, gather: bool = False) -> str:
    """gather: the variable holds a list of the rows even where their values are not wanted (as they were read)."""
    w.flush()
    value = w.name()

    def loop() -> None:
        start, index, at = w.here(), w.name("i"), w.name("a")
        w.settle()
        w.line(f"{at}, {index} = {start}, 0")
        if want or gather:
            w.line(f"{value} = []")
        w.line(f"while {at} < {w.end}:")
        with w.indented():
            before = w.name("b")
            w.line(f"{before} = {at}")
            each_row(w, con.row, index, at, value if want or gather else "", want)
            if not takes_bytes(con.row.subcon):
                w.line(f"if {at} == {before}: raise Anomaly")
            w.line(f"{index} += 1")
        w.move(at)

    if not w.rows:
        loop()
        return value
    around_rows(w, f"{w.position} < {w.end}", loop, target, value, want)
    return value


def change_list(w: Writer, con: Any, target: Target, want: bool) -> str:
    """xid._PredecessorChangeList: rows to the end whose order is looked at where a tree is made."""
    if want and w.rows:
        raise Unsupported("a change list that other fields depend on")
    value = rows_to_end(w, con, target, want, gather=w.rows)
    if w.rows:
        w.settle()
        w.line(f"ascending({value})")
    return value


def rows_until(w: Writer, con: Any, target: Target, want: bool) -> str:
    value, last = w.name(), w.constant(con.last)

    def loop() -> None:
        start, index, at = w.here(), w.name("i"), w.name("a")
        w.settle()
        w.line(f"{at}, {index} = {start}, 0")
        w.line(f"{value} = []")
        w.line("while True:")
        with w.indented():
            each_row(w, con.row, index, at, value, True)
            w.line(f"{index} += 1")
            w.line(f"if {value}[-1].get({con.field!r}) == {last}: break")
        w.move(at)

    if not w.rows:
        loop()
        return value
    around_rows(w, "", loop, target, value, want, always=True)
    return value


def takes_bytes(con: Any) -> bool:
    """Whether a construct always reads at least one byte (False: not known)."""
    key = key_of(con)
    if key == "layouts.Layout._parse":
        return any(field.optional is None and takes_bytes(field.subcon) for field in con.subcons)
    if LEAVES.get(key) is LEAVES["construct.core.Subconstruct._parse"]:
        return takes_bytes(con.subcon)
    return key in (
        "construct.core.FormatField._parse", "leaves._Guid._parse", "leaves.Text._parse", "leaves._Bool._parse",
        "layouts.Counted._parse", "layouts.Multi._parse", "forms.ByFirst._parse", "ids._ObjectId._parse",
        "ids._LongTermId._parse", "xid._SizedXid._parse", "fasttransfer.CountedText._parse",
    )  # fmt: skip


# -- sizes --------------------------------------------------------------------------------------


def sized(w: Writer, con: Any, target: Target, want: bool) -> str:
    return inside(w, w.text(con.size), con.subcon, target, want)


def inside(w: Writer, size: str, con: Any, target: Target, want: bool) -> str:
    """Read a construct in exactly so many bytes."""
    stop = w.name("e")
    w.reach(size, stop)
    with w.region(stop):
        return w.content(con, target, want)


def to_end(w: Writer, con: Any, target: Target, want: bool) -> str:
    w.flush()
    with w.region(w.end):
        return w.content(con.subcon, target, want)


def counted(w: Writer, con: Any, target: Target, want: bool) -> str:
    field = con.count
    size_target = Target(field.name, field.spec, field.labeller, w.position)
    size = read_leaf(w, field.subcon)
    item = w.leaf_item(size_target, size)
    if con.opaque:
        stop, value = w.name("e"), w.name()
        start = w.reach(size, stop)
        w.line(f"{value} = data[{start}:{stop}]")
        w.move(stop)
        w.octets.add(value)
        w.leaf(target, value)
        return value
    if target.prefix:
        raise Unsupported("a size behind another size")
    return inside(w, size, con.subcon, replace(target, prefix=(item,), collapses=True), want)


def maybe_empty(w: Writer, con: Any, target: Target, want: bool) -> str:
    whole = MAYBE_EMPTY.get(key_of(con.subcon))
    if whole is not None:
        found = whole(w, con.subcon)
        w.leaf(target, found)
        return found
    w.flush()
    value = w.name()

    def empty() -> None:
        if w.rows or want:
            w.line(f"{value} = b''")
        w.leaf(target, value)

    def full() -> None:
        found = w.content(con.subcon, target, want)
        w.flush()
        if want:
            w.line(f"{value} = {found}")

    w.branches((f"{w.position} == {w.end}", empty), ("", full))
    return value if want else "None"


def has_value(w: Writer, con: Any, target: Target, want: bool) -> str:
    w.begin(target)
    flag = w.field(con.flag, con.flag.name, True)
    w.flush()
    value = w.name()

    def present() -> None:
        found = w.field(con.value, con.value.name, want)
        w.flush()
        if want:
            w.line(f"{value} = {found}")

    def absent() -> None:
        if want:
            w.line(f"{value} = None")

    w.branches((f"{flag} == 0xFF", present), (f"{flag} == 0", absent))
    w.finish(target)
    return value if want else "None"


def given(w: Writer, con: Any, target: Target, want: bool) -> str:
    value = w.text(con.value)
    w.settle()
    found, before, known = w.name(), w.name(), w.name()
    result = w.name()
    w.line(f"{found} = {value}")
    w.line(f"{known} = {con.param!r} in P")
    w.line(f"{before} = P.get({con.param!r})")
    w.line(f"if {found} is not None: P[{con.param!r}] = {found}")
    w.line("try:")
    with w.indented():
        read = w.content(con.subcon, target, want)
        w.settle()
        w.line(f"{result} = {read}")
        stop = w.here()
    w.line("finally:")
    with w.indented():
        w.line(f"if {known}: P[{con.param!r}] = {before}")
        w.line(f"elif {found} is not None: del P[{con.param!r}]")
    w.move(stop)
    return result


RULES: dict[str, Rule] = {
    "layouts.Layout._parse": layout,
    "layouts.When._parse": inner,
    "layouts.Choice._parse": choice,
    "layouts.Rows._parse": rows,
    "layouts.RowsToEnd._parse": rows_to_end,
    "layouts.Sized._parse": sized,
    "layouts.Deferred._parse": deferred,
    "layouts.Counted._parse": counted,
    "layouts.Multi._parse": multi,
    "forms.ByFirst._parse": by_first,
    "forms.ByMarks._parse": by_marks,
    "forms.MaybeEmpty._parse": maybe_empty,
    "forms.ToEnd._parse": to_end,
    "forms.HasValue._parse": has_value,
    "forms.RowsUntil._parse": rows_until,
    "forms.Given._parse": given,
    "xid._PredecessorChangeList._parse": change_list,
    "properties._PropertyTag._parse": property_tag,
    "properties._Value._parse": property_value,
    "properties.ColumnValues._parse": column_values,
    "fasttransfer.ValueOf._parse": value_of,
    "compiler.tables.FixedColumns._parse": fixed_columns,
}
