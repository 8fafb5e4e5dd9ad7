"""One line per vector: check(layout, hex, FolderId=..., ...) states everything a layout promises for those bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from construct import Construct

from dissector.grammar.base import GrammarError, build
from dissector.grammar.reading import parse, trace
from dissector.node import Node, Severity, Undecoded
from dissector.source import ByteSource
from tests.dissector.grammar.compiler.both import parse_both, trace_both


def check(
    layout: Construct | None, data: str | bytes, params: Mapping[str, Any] | None = None, /, **expected: Any
) -> Any:
    """Hold a layout to some bytes (hex text or bytes) and return the value.

    The plain reading takes all the bytes and has the expected fields; the traced reading has the same values, and its
    leaves cover every byte once; building gives the bytes back; every truncation is MALFORMED at one place, with what
    was read before still in the tree. Compiled, all of these readings are the same.
    """
    assert layout is not None, "there is no layout"
    raw = bytes.fromhex(data) if isinstance(data, str) else data
    given = dict(params or {})
    value, end = parse(layout, raw, **given)
    assert end == len(raw), f"{len(raw) - end} bytes are left over"
    for name, wanted in expected.items():
        assert value[name] == wanted, f"{name} is {value[name]!r}, not {wanted!r}"
    built = build(layout, value, **given)
    assert built == raw, f"built {built.hex(' ')}\n from {raw.hex(' ')}"

    parse_both(layout, raw, 0, None, given)
    tree = trace_both(layout, ByteSource("vector", raw), "PDU", 0, None, given)
    assert not diagnostics(tree), diagnostics(tree)
    assert tree.length == len(raw)
    check_values(tree, value)
    check_cover(tree)

    shifted = trace(layout, ByteSource("vector", b"\xaa" * 3 + raw + b"\xbb"), "PDU", 3, 3 + len(raw), **given)
    assert (shifted.offset, shifted.length) == (3, len(raw))
    assert [(node.name, node.offset - 3, node.length) for node in shifted.walk()] == [
        (node.name, node.offset, node.length) for node in tree.walk()
    ]
    for cut in range(len(raw)):
        check_truncation(layout, raw, cut, given)
    return value


def diagnostics(tree: Node) -> list[tuple[str, Severity, str]]:
    """(node name, severity, message) of everything that went wrong in a tree."""
    return [(node.name, found.severity, found.message) for node in tree.walk() for found in node.diagnostics]


def check_truncation(layout: Construct, raw: bytes, cut: int, params: Mapping[str, Any]) -> None:
    """raw[:cut] leaves a partial tree with one MALFORMED, or is a shorter form that the layout allows."""
    short = ByteSource("cut", raw[:cut])
    tree = trace_both(layout, short, "PDU", 0, None, params)
    parse_both(layout, short.data, 0, None, params)
    check_cover(tree)
    found = [severity for _, severity, _ in diagnostics(tree)]
    if not found:
        value, end = parse(layout, short.data, **params)
        assert end == tree.length <= cut
        assert build(layout, value, **params) == raw[:end]
        return
    assert found == [Severity.MALFORMED], f"cut at {cut}: {diagnostics(tree)}"
    try:
        value, end = parse(layout, short.data, **params)
    except GrammarError as error:
        failed = error
    else:  # what went wrong stayed inside a region of known size
        assert end == cut
        assert build(layout, value, **params) == raw[:cut]
        return
    assert failed.severity is Severity.MALFORMED
    assert failed.offset <= cut


def check_cover(tree: Node) -> None:
    """The leaves stand side by side from the tree's first byte to its last."""
    at = tree.offset
    for leaf in tree.leaves():
        assert leaf.offset == at, f"{leaf.name} begins at {leaf.offset}, {at} was reached"
        at = leaf.end
    assert at == tree.end


def check_values(node: Node, value: Any) -> None:
    """The tree has the values of the plain reading, each in its place."""
    if not node.children:
        if isinstance(value, Mapping):
            assert all(entry is None for entry in value.values()), f"{node.name} has no children for {value!r}"
        elif not isinstance(value, list) or value:
            assert same(node.value, value), f"{node.name}: traced {node.value!r}, plain {value!r}"
        return
    assert node.value is None, f"{node.name} has both a value and children"
    if node.children[0].name == "HasValue":
        node = node.children[-1]
        if value is not None:
            check_values(node, value)
        else:
            assert node.value == 0
    elif isinstance(value, Mapping):
        by_name: dict[str, list[Node]] = {}
        for child in node.children:
            by_name.setdefault(child.name, []).append(child)
        for name, entry in value.items():
            if entry is not None and not str(name).startswith("_"):
                assert len(by_name.get(name, ())) == 1, f"{node.name} has {len(by_name.get(name, ()))} nodes {name}"
                check_values(by_name[name][0], entry)
        inside = [child for child in node.children if child.name in value]
        assert [child.name for child in inside] == [name for name in value if name in by_name]
    elif isinstance(value, Undecoded):
        counted = node.children[0].data if node.children[0].name in ("Count", "Size", "COUNT") else b""
        assert node.data in (value, counted + value)
    elif isinstance(value, list):
        rows = [child for child in node.children if child.name not in ("Count", "Size", "COUNT")]
        assert len(rows) == len(value), f"{node.name}: {len(rows)} rows traced, {len(value)} read"
        for row, entry in zip(rows, value, strict=True):
            check_values(row, entry)
    else:  # a number of bytes or a marker stands in front of the one value
        check_values(node.children[-1], value)


def same(one: Any, other: Any) -> bool:
    """Equal, and a NaN equals a NaN."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return bool(one == other)
