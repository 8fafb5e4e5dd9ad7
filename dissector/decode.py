"""Bytes without a capture: `dissector decode KIND`. Each kind is a function from a ByteSource to a tree."""

from __future__ import annotations

from collections.abc import Callable

from construct import Construct

from dissector.grammar.base import trace
from dissector.node import Node, Severity, undecoded
from dissector.source import ByteSource

Kind = Callable[[ByteSource], Node]


def whole(layout: Construct, name: str) -> Kind:
    """A kind that reads one layout; bytes behind it stay visible as left over."""

    def read(source: ByteSource) -> Node:
        node = trace(layout, source, name)
        if node.end < len(source.data):
            failed = any(found.diagnostics for found in node.walk())
            rest = undecoded(source, node.end, len(source.data) - node.end, Severity.MALFORMED, "bytes are left over")
            if failed:
                rest.diagnostics.clear()
            node.children.append(rest)
            node.length = len(source.data)
        return node

    return read
