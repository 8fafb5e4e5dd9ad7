"""Compiled readings of the grammar's layouts: the same objects, read many times faster.

A walk over the constructs of a layout writes Python source, specialised for it: fields of fixed size are read with one
struct call, choices are dictionaries or if-chains, counts and sizes stand in line. Two readings come of one walk:
values, and annotated rows (see rows.py). What the walk does not know is called as a construct, at its place. Where the
data are not as they should be the compiled reading gives up, and parse() and trace() (reading.py) read interpreted: so
diagnostics are always those of the interpreted reading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from construct import Construct

from dissector.grammar.compiler.expressions import Unsupported
from dissector.grammar.compiler.rows import Row, nodes_of, tree_of
from dissector.grammar.compiler.units import Unit, write
from dissector.node import Node
from dissector.source import ByteSource

__all__ = ["Row", "Unit", "Unsupported", "explain", "nodes_of", "tree_of", "tree_reader", "value_reader", "write"]

ValueReader = Callable[[bytes, int, int, dict[str, Any]], tuple[Any, int]]
"""data, offset, end, arguments -> (value, offset behind it)"""
TreeReader = Callable[[ByteSource, str, int, int, dict[str, Any]], Node]
"""source, name, offset, end, arguments -> tree"""


def value_reader(layout: Construct) -> ValueReader | None:
    """The compiled reading of values; None where it cannot be compiled."""
    try:
        return write(layout, False).function
    except Unsupported:
        return None


def tree_reader(layout: Construct) -> TreeReader | None:
    """The compiled reading of annotated trees; None where it cannot be compiled."""
    try:
        return as_tree(write(layout, True).function)
    except Unsupported:
        return None


def as_tree(read: Callable[..., int]) -> TreeReader:
    """The reading that leaves rows, with a tree made of them."""

    def tree(source: ByteSource, name: str, offset: int, end: int, params: dict[str, Any]) -> Node:
        rows: list[Row] = []
        params["_source"] = source
        return tree_of(rows, source, name, offset, read(source.data, offset, end, params, rows.append, name))

    return tree


def explain(layout: Construct) -> str:
    """'compiled', 'compiled, but for FIELD: why', or 'interpreted: why'."""
    try:
        unit = write(layout, rows=False)
    except Unsupported as error:
        return f"interpreted: {error}"
    return f"compiled, but for {'; '.join(dict.fromkeys(unit.notes))}" if unit.notes else "compiled"
