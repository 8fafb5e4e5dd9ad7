"""What rules share: the call of another emitted function through a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dissector.grammar.compiler.expressions import Unsupported
from dissector.grammar.compiler.writer import Target, Text, Writer


def section(target: Target) -> str:
    """The section that a node keeps where what is chosen for it names none."""
    if isinstance(target.spec, Text):
        raise Unsupported("two tables for one node")
    return target.spec


def called(w: Writer, table: Any, key: str, target: Target) -> str:
    """Call the function that a table has for a key, for the rest of a node."""
    name = w.constant(table, "T")
    w.flush()
    w.calls = True
    stop = w.name("a")
    if not w.rows:
        value = w.name()
        w.line(f"{value}, {stop} = {name}.function({key})(data, {w.position}, {w.end}, P)")
        w.move(stop)
        return value
    if target.prefix or target.begun:
        function, words, spec = w.name("f"), w.name("l"), w.name("s")
        w.line(f"{function}, {words}, {spec} = {name}.part({key})")
        w.begin(replace(target, labeller=Text(words), spec=Text(spec)))
        w.settle()
        w.line(f"{stop} = {function}(data, {w.position}, {w.end}, P, out, '')")
        w.move(stop)
        w.finish(target)
        return "None"
    w.settle()
    called_as = target.name.source if isinstance(target.name, Text) else repr(target.name)
    w.line(f"{stop} = {name}.function({key})(data, {w.position}, {w.end}, P, out, {called_as})")
    w.move(stop)
    return "None"


def not_wanted(w: Writer, want: bool) -> None:
    if w.rows and want:
        raise Unsupported("a value that other fields depend on, behind a table")


def impossible(w: Writer) -> str:
    w.settle()
    w.line("raise Anomaly")
    return "None"
