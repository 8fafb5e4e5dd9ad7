"""The rules for property tags, property values and rows of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from construct import ConstructError

from dissector.grammar.compiler.calls import called, impossible, not_wanted, section
from dissector.grammar.compiler.expressions import Known, fields_used
from dissector.grammar.compiler.leaves import read_leaf
from dissector.grammar.compiler.tables import UNNAMED, ByTag, Columns
from dissector.grammar.compiler.writer import Target, Text, Writer

NAMED_FROM = 0x80000000
"""Tags from here on are of named properties: what they are called depends on the session."""


def property_tag(w: Writer, con: Any, target: Target, want: bool) -> str:
    """The words for a tag depend on the names that the session knows."""
    value = read_leaf(w, con)
    like = w.like.get(w.path[-1]) if len(w.path) == 1 else None
    if w.rows and not con.address_book and (like is None or like.value >= NAMED_FROM):
        w.flush()
        usual = w.constant(target.labeller)
        words = w.name("l")
        w.line(f"{words} = {usual} if {value} < {NAMED_FROM} else words_for_tag({value}, P, {usual})")
        target = replace(target, labeller=Text(words))
    w.leaf(target, value)
    return value


def property_value(w: Writer, con: Any, target: Target, want: bool) -> str:
    """properties._Value: the tag chooses."""
    return by_tag(w, con.encoding, w.expression(con.tag), target, want)


def by_tag(w: Writer, encoding: Any, tag: Any, target: Target, want: bool) -> str:
    not_wanted(w, want)
    table = ByTag(encoding, w.rows, section(target))
    if isinstance(tag, Known):
        if tag.value >= NAMED_FROM:
            return called(w, table, f"{tag.value}, P", target)
        try:
            form = encoding.form(tag.value)
        except ConstructError:
            return impossible(w)
        w.used |= fields_used(form)
        return w.content(form, target.choose(form), want)
    if not tag.isidentifier():
        variable = w.name()
        w.line(f"{variable} = {tag}")
        tag = variable
    w.compiled += 1
    return called(w, table, f"{tag}, P", target)


def value_of(w: Writer, con: Any, target: Target, want: bool) -> str:
    """fasttransfer.ValueOf: the tag chooses, for binaries without a name the marker before them."""
    not_wanted(w, want)
    tag = w.expression(con.tag)
    if isinstance(tag, Known) and tag.value != UNNAMED:
        return by_tag(w, con.encoding, tag, target, want)
    table = ByTag(con.encoding, w.rows, section(target), con.explained)
    name = tag if not isinstance(tag, Known) else repr(tag.value)
    w.compiled += 1
    return called(w, table, f"{name}, P", target)


def column_values(w: Writer, con: Any, target: Target, want: bool) -> str:
    """properties.ColumnValues: a function for every set of columns."""
    not_wanted(w, want)
    columns = w.text(con.columns)
    flag = w.text(con.flag)
    w.compiled += 1
    return called(w, Columns(con, w.rows, section(target)), f"{columns}, {flag}, P", target)


def fixed_columns(w: Writer, con: Any, target: Target, want: bool) -> str:
    """tables.FixedColumns: the columns are known."""
    if not con.fields and not target.prefix:
        value = w.name()
        w.later(f"{value} = []")
        w.leaf(target, value)
        return value
    w.begin(target)
    values = [w.field(field, field.name, want) for field in con.fields]
    w.finish(target)
    if not want:
        return "None"
    w.flush()
    return f"[{', '.join(values)}]"
