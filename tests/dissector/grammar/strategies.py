"""Hypothesis strategies made from the grammars themselves: values(layout) gives values that the layout can build.

Every construct of the grammar's vocabulary has a rule here; one without a rule fails the test that meets it. Fields
that are built from other fields (Count, SizeOf, Present) are left out of about half of the values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any

from construct import BytesInteger, Construct, ConstructError, Container, FormatField, evaluate
from hypothesis import assume, reject
from hypothesis import strategies as st

from dissector.grammar import base, forms, ids, layouts, leaves, names, properties, reading, xid
from dissector.grammar.base import MalformedError
from dissector.grammar.layouts import Layout, When, WhenMore
from dissector.model.ids import LongTermId, ObjectId
from dissector.model.pcl import PredecessorChangeList, Xid

TEXT = st.text("aB c\u00e9\u20ac0", max_size=5)
"""Letters that cp1252 has too."""

HINTS: Mapping[str, st.SearchStrategy[int]] = {
    "RecipientColumnCount": st.integers(0, 1),
    "NotificationFlags": st.sampled_from(
        [
            *(0x0002, 0x8002, 0x0004, 0x0008, 0x0010, 0x1010, 0x2010, 0x3010, 0x0020, 0x0040, 0x0080, 0x0100, 0x0200),
            *(0x8004, 0x8008, 0x8010, 0x8020, 0x8040, 0x8100, 0xC100, 0xC004, 0xC008, 0xC010, 0x0400),
        ]
    ),
    "TagCount": st.integers(1, 3),
    "ColumnCount": st.integers(1, 3),
}
"""Numbers that other fields depend on in ways that chance does not meet."""

XIDS = st.builds(Xid, st.uuids(), st.binary(min_size=6, max_size=6) | st.binary(min_size=1, max_size=6))
IDS = (0x0037, 0x0E07, 0x3001, 0x6748, 0x8001)
TYPES = tuple(sorted({kind for kind in properties.ROP_VALUES.types if kind & 0x3000 != 0x3000}))
SHALLOW_TYPES = tuple(kind for kind in TYPES if kind not in (0x0000, 0x00FD, 0x00FE))


class Generator:
    """Draws one value, field after field: what was drawn decides the conditions of what follows."""

    def __init__(self, draw: Callable[..., Any]) -> None:
        self.draw, self.depth = draw, 0

    def number(self, lowest: int, highest: int) -> int:
        near = st.integers(lowest, min(highest, max(lowest, 3)))
        special = st.sampled_from([0xBABE] if lowest <= 0xBABE <= highest else [highest])
        return int(self.draw(st.one_of(near, st.integers(lowest, highest), special)))

    def value(self, con: Construct, context: Container) -> Any:
        for kind, rule in RULES:
            if isinstance(con, kind):
                return rule(self, con, context)
        raise TypeError(f"tests/dissector/grammar/strategies.py has no rule for {type(con).__qualname__}")

    def layout(self, con: Layout, context: Container, fixed: Mapping[str, Any] | None = None) -> dict[str, Any]:
        inner = Container({"_": context, "_params": context["_params"]})
        made: dict[str, Any] = {}
        counts: dict[str, int] = {}
        bare, ended = self.draw(st.booleans()), False
        for field in con.subcons:
            form, there, maybe, derived = field.subcon, True, False, False
            while there and isinstance(form, When):
                if isinstance(form, forms.WhenAhead):
                    there = False  # chance does not make the bytes that announce it
                elif isinstance(form, WhenMore):
                    there = maybe = not ended and self.draw(st.booleans())
                    ended = ended or not there
                else:
                    there = bool(evaluate(form.condition, inner))
                form = form.subcon
            if not there:
                inner[field.name] = made[field.name] = None
                continue
            if fixed and field.name in fixed:
                value = fixed[field.name]
            elif isinstance(form, layouts.Count):
                value = counts.setdefault(form.of, self.draw(HINTS.get(field.name, st.integers(0, 3))))
                derived = True
            elif isinstance(form, layouts.Present):
                written = base.build(form.subcon, self.draw(st.booleans()), **arguments(context))
                value, derived = reading.parse(form.subcon, written)[0], True
            elif isinstance(form, layouts.SizeOf | forms.Padding):
                inner[field.name] = self.draw(st.integers(0, 5))
                continue
            elif field.name in HINTS:
                value = self.draw(HINTS[field.name])
            else:
                value = self.value(form, inner)
                assume(not maybe or value != b"")  # no bytes read as a field that is not there
            inner[field.name] = value
            if not (bare and derived):
                made[field.name] = value
        return made

    def rows(self, count: int, row: Construct, context: Container) -> list[Any]:
        assume(count <= 20)
        made = []
        for index in range(count):
            context["_index"] = index
            made.append(self.value(row, context))
        return made

    def deferred(self, con: layouts.Deferred, context: Container) -> Any:
        self.depth += 1
        try:
            return self.value(con.thunk(), context)
        finally:
            self.depth -= 1

    def by_first(self, con: forms.ByFirst, context: Container) -> Any:
        keys = [key for key, case in con.cases.items() if self.depth < 2 or not recursive(case)]
        key = self.draw(st.sampled_from(keys))
        return self.layout(con.cases[key], context, {con.field: key})

    def by_marks(self, con: forms.ByMarks, context: Container) -> Any:
        case = self.draw(st.sampled_from([None, *con.cases]))
        layout = con.default if case is None else case.layout
        try:
            data = bytearray(base.build(layout, self.value(layout, context), **arguments(context)))
            for offset, marks in {} if case is None else case.marks.items():
                data[offset : offset + len(marks[0])] = self.draw(st.sampled_from(marks))
            value, end = reading.parse(con, bytes(data), **arguments(context))
        except (ConstructError, base.GrammarError):
            reject()
        assume(0 < end == len(data))
        return value

    def characters(self, con: forms.Chars, context: Container) -> str | bytes:
        size, encoding = evaluate(con.count, context) * con.text.width, con.text.encoding(context)
        raw = leaves.encode_text(self.text(con.text, context) or "a", encoding) * (size + 1)
        return leaves.decode_text(raw[:size], encoding)

    def padded(self, con: forms.Padded, context: Container) -> str | bytes:
        text, encoding = self.text(con.text, context), con.text.encoding(context)
        assume(len(leaves.encode_text(text, encoding)) <= evaluate(con.size, context))
        return text

    def rows_until(self, con: forms.RowsUntil, context: Container) -> list[Any]:
        made = takewhile(lambda row: all(row.values()), self.rows(self.draw(st.integers(0, 2)), con.row, context))
        return [*made, {con.field: con.last}]

    def choice(self, con: layouts.Choice, context: Container) -> Any:
        try:
            return self.value(con.choose(context, ""), context)
        except MalformedError:
            reject()

    def tag(self) -> int:
        kind = self.draw(st.sampled_from(TYPES if self.depth < 2 else SHALLOW_TYPES))
        return int(self.draw(st.sampled_from(IDS))) << 16 | int(kind)

    def property_value(self, con: Any, context: Container) -> Any:
        self.depth += 1
        try:
            return self.value(con.encoding.form(evaluate(con.tag, context), ""), context)
        except MalformedError:
            reject()
        finally:
            self.depth -= 1

    def columns(self, con: properties.ColumnValues, context: Container) -> list[Any]:
        try:
            return [self.value(field.subcon, context) for field in con.fields(context, "")]
        except MalformedError:
            reject()

    def text(self, con: leaves.Text, context: Container) -> str | bytes:
        text, encoding = str(self.draw(TEXT)), con.encoding(context)
        try:
            raw = leaves.encode_text(text, encoding)
        except (UnicodeError, LookupError):
            reject()
        assume(con.width == 2 or b"\0" not in raw)
        return leaves.decode_text(raw, encoding)

    def enumerated(self, con: leaves.Enumerated, context: Container) -> int:
        known = sorted(names._enums().get(con.table, {}))
        if known and self.draw(st.integers(0, 9)):
            return int(self.draw(st.sampled_from(known)))
        return int(self.value(con.subcon, context))

    def number_field(self, con: FormatField) -> Any:
        bits = con.sizeof() * 8
        signed = con.fmtstr[-1].islower()
        return self.number(-(1 << bits - 1), (1 << bits - 1) - 1) if signed else self.number(0, (1 << bits) - 1)

    def given(self, con: forms.Given, context: Container) -> Any:
        value, params = evaluate(con.value, context), context["_params"]
        if value is None:
            return self.value(con.subcon, context)
        before = dict(params)
        params[con.param] = value
        try:
            return self.value(con.subcon, context)
        finally:
            params.clear()
            params.update(before)

    def sized(self, con: layouts.Sized, context: Container) -> Any:
        value = self.value(con.subcon, context)
        if isinstance(con.size, int):
            assume(len(base.build(con.subcon, value, **arguments(context))) == con.size)
        return value

    def sized_bytes(self, size: Any) -> bytes:
        assume(isinstance(size, int) and 0 <= size <= 64)
        return bytes(self.draw(st.binary(min_size=size, max_size=size)))


def recursive(con: Any) -> bool:
    """Whether a layout holds another of its own kind."""
    if isinstance(con, layouts.Deferred):
        return True
    if isinstance(con, Layout):
        return any(recursive(field.subcon) for field in con.subcons)
    parts = [getattr(con, name, None) for name in ("subcon", "row", "rows")]
    return any(recursive(part) for part in parts if isinstance(part, Construct))


def arguments(context: Container) -> dict[str, Any]:
    """The arguments of parse() and build() that a context stands for."""
    return {name: value for name, value in context["_params"].items() if not name.startswith("_")}


def number_in(size: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << 8 * size) - 1)


RULES: tuple[tuple[Any, Callable[[Generator, Any, Container], Any]], ...] = (
    (layouts.Traced, lambda g, con, context: g.value(con.subcon, context)),
    (Layout, lambda g, con, context: g.layout(con, context)),
    (layouts.Fixed, lambda g, con, context: con.value if g.draw(st.integers(0, 3)) else g.value(con.subcon, context)),
    (properties._PropertyTag, lambda g, con, context: g.tag()),
    (properties._PropertyType, lambda g, con, context: g.draw(st.sampled_from(SHALLOW_TYPES))),
    (leaves.Enumerated, lambda g, con, context: g.enumerated(con, context)),
    (leaves.Flags, lambda g, con, context: g.draw(number_in(con.subcon.sizeof()))),
    (leaves.Labelled, lambda g, con, context: g.value(con.subcon, context)),
    (leaves._Bool, lambda g, con, context: g.draw(st.sampled_from([False, True, False, True, 0x7F]))),
    (leaves._Float, lambda g, con, context: g.draw(st.floats(width=con.size * 8))),
    (leaves._Guid, lambda g, con, context: g.draw(st.uuids())),
    (leaves.Text, lambda g, con, context: g.text(con, context)),
    (leaves.Data, lambda g, con, context: g.sized_bytes(evaluate(con.size, context))),
    (leaves._Rest, lambda g, con, context: g.draw(st.binary(max_size=5))),
    (layouts.Choice, lambda g, con, context: g.choice(con, context)),
    (
        xid._PredecessorChangeList,
        lambda g, con, context: list(PredecessorChangeList.of(g.rows(g.draw(st.integers(0, 3)), con.row, context))),
    ),
    (forms.RowsUntil, lambda g, con, context: g.rows_until(con, context)),
    (forms.RowsWithin, lambda g, con, context: g.rows(g.draw(st.integers(0, 3)), con.row, context)),
    (
        forms.TextToEnd,
        lambda g, con, context: g.draw(st.sampled_from([str, forms.Unterminated]))(g.text(leaves.Str8, context)),
    ),
    (layouts.RowsToEnd, lambda g, con, context: g.rows(g.draw(st.integers(0, 3)), con.row, context)),
    (layouts.Rows, lambda g, con, context: g.rows(evaluate(con.count, context), con.row, context)),
    (layouts.Sized, lambda g, con, context: g.sized(con, context)),
    (layouts.Counted, lambda g, con, context: g.value(con.subcon, context)),
    (layouts.Multi, lambda g, con, context: g.rows(g.draw(st.integers(0, 3)), con.rows, context)),
    (layouts.Deferred, lambda g, con, context: g.deferred(con, context)),
    (forms.ByFirst, lambda g, con, context: g.by_first(con, context)),
    (forms.ByMarks, lambda g, con, context: g.by_marks(con, context)),
    (forms.Padding, lambda g, con, context: bytes(-evaluate(con.size, context) % con.align)),
    (forms.Chars, lambda g, con, context: g.characters(con, context)),
    (forms.Padded, lambda g, con, context: g.padded(con, context)),
    (forms.RestBut, lambda g, con, context: g.draw(st.binary(max_size=5))),
    (forms._Nothing, lambda g, con, context: None),
    (forms.HasValue, lambda g, con, context: g.value(con.subcon, context) if g.draw(st.booleans()) else None),
    (forms.MaybeEmpty, lambda g, con, context: g.value(con.subcon, context) if g.draw(st.booleans()) else b""),
    (forms.ToEnd, lambda g, con, context: g.value(con.subcon, context)),
    (forms.Given, lambda g, con, context: g.given(con, context)),
    (properties._Value, lambda g, con, context: g.property_value(con, context)),
    (properties.ColumnValues, lambda g, con, context: g.columns(con, context)),
    (ids._ObjectId, lambda g, con, context: ObjectId(g.draw(number_in(2)), g.draw(number_in(6)))),
    (ids._GlobalCounter, lambda g, con, context: g.draw(number_in(6))),
    (
        ids._LongTermId,
        lambda g, con, context: LongTermId(g.draw(st.uuids()), g.draw(number_in(6)), g.draw(st.sampled_from([0, 1]))),
    ),
    (
        xid._Xid | xid._SizedXid,
        lambda g, con, context: Xid(g.draw(st.uuids()), g.draw(st.binary(min_size=1, max_size=6))),
    ),
    (BytesInteger, lambda g, con, context: g.draw(number_in(con.length))),
    (FormatField, lambda g, con, context: g.number_field(con)),
)


@st.composite
def values(draw: Any, layout: Construct, params: Mapping[str, Any] | None = None) -> Any:
    """Values that build(layout, value, **params) accepts."""
    context = Container(params or {})
    context["_params"] = context
    return Generator(draw).value(layout, context)


COLUMNS = (0x3001001F, 0x0E070003, 0x30070040, 0x0FFF0102, 0x36010000)


@st.composite
def session_arguments(draw: Any) -> dict[str, Any]:
    """What a session may know when a ROP is read."""
    columns = st.lists(st.sampled_from(COLUMNS), max_size=4)
    names = ("columns", "recipient_columns", "property_tags")
    return {"logon_flags": draw(st.integers(0, 3)), **{name: draw(columns) for name in names}}


def contains(read: Any, made: Any) -> bool:
    """Whether what was read has all that was made; fields that were left out may be anything."""
    if isinstance(made, Mapping):
        return isinstance(read, Mapping) and all(contains(read.get(name), entry) for name, entry in made.items())
    if isinstance(made, list):
        return isinstance(read, list) and len(read) == len(made) and all(map(contains, read, made))
    if isinstance(made, float):
        return isinstance(read, float) and (read == made or (read != read and made != made))
    return bool(read == made)
