"""Exchanges joined to streams: what the tests of streams share."""

from __future__ import annotations

from dissector.node import Node, Severity, Undecoded
from dissector.session.exchange import Exchange
from dissector.session.stream import StateUpload, Stream
from dissector.session.streams import KEEP_ALL, Streams
from tests.dissector.grammar.streams import contents

CONTENTS = contents(3)


def joined(exchanges: list[Exchange], keep: int = KEEP_ALL) -> tuple[list[Stream], list[StateUpload]]:
    """The streams in order of opening, and the states."""
    streams = Streams(keep)
    results = [streams.exchange(exchange) for exchange in exchanges]
    found = [one for result in results for one in result.streams] + streams.finish()
    return sorted(found, key=lambda one: one.number), [one for result in results for one in result.states]


def only(*exchanges: Exchange, keep: int = KEEP_ALL) -> Stream:
    streams, _ = joined(list(exchanges), keep)
    assert len(streams) == 1
    return streams[0]


def unread(node: Node) -> list[tuple[int, int, Severity]]:
    return [
        (one.offset, one.length, one.diagnostics[0].severity)
        for one in node.walk()
        if isinstance(one.value, Undecoded) and one.diagnostics
    ]
