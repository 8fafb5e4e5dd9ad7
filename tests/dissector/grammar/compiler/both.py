"""A layout read both ways, compiled and interpreted, and the two compared down to the types of values.

install() makes every parse() and trace() of a test run do this (pytest --both).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from construct import Construct

from dissector.grammar import base, reading
from dissector.grammar.compiler import tree_reader, units, value_reader
from dissector.node import Node, Undecoded, brief
from dissector.source import ByteSource

units.HOT_COLUMNS = 0  # table rows are read compiled from the first on


class Unlike(AssertionError):
    """The two readings differ."""


def compiled_of(layout: Construct, rows: bool) -> Any:
    """The compiled reading, made once; None where there is none."""
    kept = layout.__dict__.setdefault("_both", {})
    if rows not in kept:
        kept[rows] = (tree_reader if rows else value_reader)(layout)
    return kept[rows]


def parse_both(layout: Construct, data: bytes, offset: int, end: int | None, params: Mapping[str, Any]) -> Any:
    """(value, end) or the GrammarError, after both readings were found to agree."""
    wanted: Any
    try:
        wanted = base.parse_interpreted(layout, data, offset, end, dict(params))
    except base.GrammarError as error:
        wanted = error
    function = compiled_of(layout, False)
    if function is None or type(data) is not bytes:
        return wanted
    stop = len(data) if end is None or end > len(data) else end
    try:
        made = function(data, offset, max(stop, offset), dict(params))
    except Exception as error:
        may_give_up(layout, wanted if isinstance(wanted, Exception) else wanted[0], error)
        return wanted
    if isinstance(wanted, Exception):
        raise Unlike(f"{layout!r} gives {made!r} compiled, {wanted!r} interpreted: {data[offset:end].hex()}")
    same_value(made[0], wanted[0], repr(layout))
    if made[1] != wanted[1]:
        raise Unlike(f"{layout!r} ends at {made[1]} compiled, {wanted[1]} interpreted")
    return wanted


def trace_both(
    layout: Construct, source: ByteSource, name: str, offset: int, end: int | None, params: Mapping[str, Any]
) -> Node:
    """The interpreted tree, after it was found to be that of the compiled rows."""
    wanted = base.trace_interpreted(layout, source, name, offset, end, dict(params))
    function = compiled_of(layout, True)
    if function is None or type(source.data) is not bytes:
        return wanted
    stop = len(source.data) if end is None or end > len(source.data) else end
    try:
        made = function(source, name, offset, max(stop, offset), dict(params))
    except Exception as error:
        may_give_up(layout, wanted, error)
        return wanted
    same_tree(made, wanted, name)
    return wanted


def may_give_up(layout: Construct, wanted: Any, error: Exception) -> None:
    """A compiled reading may leave what there are words about to the interpreted one, and nothing else."""
    if isinstance(wanted, Exception):
        return
    if isinstance(wanted, Node):
        if any(node.diagnostics for node in wanted.walk()):
            return
    elif undecoded(wanted):
        return
    raise Unlike(f"{layout!r} is not read compiled: {error!r}") from error


def undecoded(value: Any) -> bool:
    """Whether something in a value could not be read."""
    if isinstance(value, Mapping):
        return any(map(undecoded, value.values()))
    if isinstance(value, list | tuple):
        return any(map(undecoded, value))
    return isinstance(value, Undecoded)


def same_value(made: Any, wanted: Any, place: str) -> None:
    if type(made) is not type(wanted):
        raise Unlike(f"{place}: {made!r} compiled, {wanted!r} interpreted")
    if isinstance(wanted, Mapping):
        if list(made) != list(wanted):
            raise Unlike(f"{place}: fields {list(made)} compiled, {list(wanted)} interpreted")
        for name, value in wanted.items():
            same_value(made[name], value, f"{place}.{name}")
    elif isinstance(wanted, list | tuple):
        if len(made) != len(wanted):
            raise Unlike(f"{place}: {len(made)} items compiled, {len(wanted)} interpreted")
        for index, value in enumerate(wanted):
            same_value(made[index], value, f"{place}[{index}]")
    elif made != wanted and not (isinstance(wanted, float) and math.isnan(made) and math.isnan(wanted)):
        raise Unlike(f"{place}: {made!r} compiled, {wanted!r} interpreted")


def same_tree(made: Node, wanted: Node, place: str) -> None:
    for name in ("name", "offset", "length", "spec", "label", "diagnostics", "secret"):
        if getattr(made, name) != getattr(wanted, name):
            raise Unlike(f"{place}: {name} {getattr(made, name)!r} compiled, {getattr(wanted, name)!r} interpreted")
    if made.source is not wanted.source or (made.labeller is None) != (wanted.labeller is None):
        raise Unlike(f"{place}: another source or labeller")
    if type(made.labeller) is not type(wanted.labeller) or brief(made) != brief(wanted):
        raise Unlike(f"{place}: {brief(made)!r} compiled, {brief(wanted)!r} interpreted")
    same_value(made.value, wanted.value, place)
    names = [child.name for child in made.children], [child.name for child in wanted.children]
    if names[0] != names[1]:
        raise Unlike(f"{place}: parts {names[0]} compiled, {names[1]} interpreted")
    for one, other in zip(made.children, wanted.children, strict=True):
        same_tree(one, other, f"{place}/{other.name}")


def install() -> None:
    """Put both readings in place of reading.parse and reading.trace. To be called before other modules are imported."""

    def parse(layout: Construct, data: bytes, offset: int = 0, end: int | None = None, **params: Any) -> Any:
        found = parse_both(layout, data, offset, end, params)
        if isinstance(found, Exception):
            raise found
        return found

    def trace(
        layout: Construct, source: ByteSource, name: str, offset: int = 0, end: int | None = None, **params: Any
    ) -> Node:
        return trace_both(layout, source, name, offset, end, params)

    reading.parse, reading.trace = parse, trace
