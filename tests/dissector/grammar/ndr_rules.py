"""Strategies for the NDR vocabulary and for auxiliary blocks, added to those of strategies.py by importing this."""

from __future__ import annotations

from typing import Any

from construct import Container, evaluate
from hypothesis import strategies as st

from dissector.grammar import auxiliary, envelopes, ndr, nspi
from tests.dissector.grammar import strategies
from tests.dissector.grammar.strategies import Generator, number_in


def _integer(g: Generator, con: Any, context: Container) -> int:
    bits = 8 * con.size
    return g.number(-(1 << bits - 1), (1 << bits - 1) - 1) if con.signed else g.number(0, (1 << bits) - 1)


def _characters(g: Generator, con: Any, context: Container) -> str:
    count = evaluate(con.count, context)
    short = count > 0 and g.draw(st.booleans())
    return str(g.draw(st.text("aé7", min_size=count - short, max_size=count - short)))


def _unique(g: Generator, con: Any, context: Container) -> Any:
    if g.depth > 2 or g.draw(st.booleans()):
        return None
    g.depth += 1
    try:
        return g.value(con.pointee, context)
    finally:
        g.depth -= 1


strategies.RULES = (
    (ndr._ErrorCode, lambda g, con, context: g.draw(number_in(4))),
    (ndr._Integer, _integer),
    (ndr._Guid, lambda g, con, context: g.draw(st.uuids())),
    (ndr._FileTime, lambda g, con, context: g.draw(number_in(8))),
    (ndr._Characters, _characters),
    (ndr.Unique, _unique),
    (ndr.Constructed, lambda g, con, context: g.value(con.subcon, context)),
    (nspi._Has, lambda g, con, context: g.draw(st.sampled_from([0, 0xFF, 1]))),
    (nspi._Tag, lambda g, con, context: g.tag()),
    (envelopes._Version, lambda g, con, context: tuple(g.draw(number_in(2)) for _ in range(3))),
    (auxiliary.Placed, lambda g, con, context: [("Gap", data)] if (data := g.draw(st.binary(max_size=8))) else []),
    *strategies.RULES,
)
