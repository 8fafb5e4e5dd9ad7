"""How bytes are read: parse() for values, trace() for trees.

A layout that is read often is compiled (compiler/). Where the compiled reading gives up, since the bytes are not as
they should be, the constructs themselves read them: diagnostics are always theirs. The way back is base.build().
"""

from __future__ import annotations

from typing import Any

from construct import Construct

from dissector.grammar.base import parse_interpreted, trace_interpreted
from dissector.node import Node
from dissector.source import ByteSource


def parse(layout: Construct, data: bytes, offset: int = 0, end: int | None = None, **params: Any) -> tuple[Any, int]:
    """Read a layout from data[offset:end]. Returns its value and the offset behind it.

    params: what the layout needs from outside (see Param). Raises GrammarError where the bytes cannot be read, with
    the offset in data; nothing else, whatever the bytes are.
    """
    size = len(data)
    stop = size if end is None or end > size else end
    compiled = layout.__dict__.get("_values") or warmed(layout, "_values", stop - offset)
    if compiled and type(data) is bytes:
        try:
            return compiled(data, offset, stop if stop > offset else offset, params)  # type: ignore[no-any-return]
        except Exception:
            forget_compiled(params)
    return parse_interpreted(layout, data, offset, end, params)


def trace(
    layout: Construct, source: ByteSource, name: str, offset: int = 0, end: int | None = None, **params: Any
) -> Node:
    """Read a layout from source.data[offset:end] as an annotated tree. Never raises.

    The node covers what could be read; a diagnostic stands at the field where reading stopped. The caller decides what
    becomes of the bytes behind it.
    """
    size = len(source.data)
    stop = size if end is None or end > size else end
    compiled = layout.__dict__.get("_rows") or warmed(layout, "_rows", stop - offset)
    if compiled and type(source.data) is bytes:
        try:
            return compiled(source, name, offset, stop if stop > offset else offset, params)  # type: ignore[no-any-return]
        except Exception:
            forget_compiled(params)
    return trace_interpreted(layout, source, name, offset, end, params)


HOT = 24
"""How often a layout is read interpreted before it is compiled: that takes as long as some dozen readings."""

LARGE = 64 << 10
"""From so many bytes on it is compiled at once: they may hold any number of rows. No ROP buffer is as long."""


def warmed(layout: Construct, reading: str, size: int) -> Any:
    """The compiled reading (`_values` or `_rows`) of a layout that has been read often; False while there is none.

    size: how many bytes there are to read now.
    """
    state = layout.__dict__
    if state.get(reading) is False:
        return False
    uses = state["_uses" + reading] = state.get("_uses" + reading, 0) + 1
    if uses <= HOT and size < LARGE:
        return False
    from dissector.grammar.compiler import tree_reader, value_reader  # a small capture does without it

    state[reading] = (tree_reader if reading == "_rows" else value_reader)(layout) or False
    return state[reading]


def forget_compiled(params: dict[str, Any]) -> None:
    """Take out of the arguments what a compiled reading that gave up left there."""
    for name in ("_origin", "_source", "_depth"):
        params.pop(name, None)
