"""Trees as text: offset, length, name, value and meaning, one node a line."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from dissector.grammar.rtf import derived_text
from dissector.node import Node, Severity, Undecoded
from dissector.session.exchange import Exchange
from dissector.session.objects import endpoint_text
from dissector.source import ByteSource
from dissector.views.hexdump import hexdump

SHOWN_BYTES = 32
HIDDEN = "(hidden: a credential)"


@dataclass(frozen=True, slots=True)
class Palette:
    """ANSI sequences; all empty where colour is off."""

    name: str = ""
    value: str = ""
    label: str = ""
    dim: str = ""
    note: str = ""
    bad: str = ""
    off: str = ""


PLAIN = Palette()
COLOUR = Palette("\x1b[36m", "\x1b[1m", "\x1b[32m", "\x1b[2m", "\x1b[33m", "\x1b[31;1m", "\x1b[0m")


def value_text(value: Any) -> str:
    """A leaf's value in full, but long bytes cut."""
    if isinstance(value, Undecoded):
        return f"{_cut(value)} (not decoded)"
    if isinstance(value, bytes):
        return _cut(value)
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return str(value) if -10 < value < 10 else f"{value} (0x{value & 0xFFFFFFFFFFFFFFFF:X})"
    if isinstance(value, uuid.UUID):
        return f"{{{value}}}"
    return str(value)


def leaf_text(node: Node) -> str:
    """A leaf's value as people write it: tags and codes in hex, counts in decimal."""
    meaning = getattr(node.labeller, "__self__", node.labeller)
    digits = getattr(meaning, "hex_digits", 0)
    return f"0x{node.value:0{digits}X}" if digits and isinstance(node.value, int) else value_text(node.value)


def _cut(data: bytes) -> str:
    if not data:
        return "(empty)"
    more = f"... ({len(data)} bytes)" if len(data) > SHOWN_BYTES else ""
    return data[:SHOWN_BYTES].hex(" ") + more


def clock(time: float) -> str:
    """A moment as UTC text to the microsecond."""
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    except (OverflowError, ValueError, OSError):
        return f"{time:.6f}"


def tree_lines(root: Node, palette: Palette = PLAIN, depth: int = 0) -> Iterator[str]:
    """The lines of a tree. A node whose bytes come from another source than its parent's names that source."""
    stack: list[tuple[Node, int, ByteSource | None]] = [(root, depth, None)]
    while stack:
        node, level, outer = stack.pop()
        yield _line(node, level, outer, palette)
        yield from diagnostic_lines(node, level, palette)
        text = derived_text(node)
        if text is not None:
            stack.append((text, level + 1, node.source))
        stack.extend((child, level + 1, node.source) for child in reversed(node.children))


def diagnostic_lines(node: Node, level: int, palette: Palette) -> Iterator[str]:
    """What went wrong at a node."""
    for found in node.diagnostics:
        colour = palette.note if found.severity is Severity.NOTE else palette.bad
        yield f"{'':12}  {'  ' * level}  {colour}{found.severity.value}: {printable(found.message)}{palette.off}"


def _line(node: Node, level: int, outer: ByteSource | None, palette: Palette) -> str:
    place = f"{palette.dim}{node.offset:06x} {node.length:5}{palette.off}"
    text = f"{place}  {'  ' * level}{palette.name}{node.name}{palette.off}"
    if node.secret:
        text += f": {palette.note}{HIDDEN}{palette.off}"
    elif not node.children and node.value is not None and not isinstance(node.value, dict | list):
        text += f": {palette.value}{printable(leaf_text(node))}{palette.off}"
    label = node.label
    if label:
        text += f"  {palette.label}{printable(label)}{palette.off}"
    if node.spec:
        text += f"  {palette.dim}[{node.spec}]{palette.off}"
    if outer is not None and node.source is not outer:
        text += f"  {palette.dim}<{node.source.label}, {len(node.source.data)} bytes>{palette.off}"
    return text


def printable(text: str) -> str:
    """Text that cannot disturb a terminal: control characters and lone surrogates escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def shown_trees(exchange: Exchange, http: bool) -> Iterator[tuple[str, Node | None]]:
    """("request", tree or None) and ("response", tree or None). http: with the heads of HTTP messages."""
    for name, tree in (("request", exchange.request_tree()), ("response", exchange.response_tree())):
        if tree is not None and not http:
            tree = replace(tree, children=[child for child in tree.children if child.name != "HTTP"])
        yield name, tree


def exchange_lines(
    exchange: Exchange, palette: Palette = PLAIN, hex_pane: bool = False, http: bool = True
) -> Iterator[str]:
    """An exchange: a head line, then the trees of request and response, each with a hex pane if asked for."""
    call = exchange.call
    frames = " -> ".join(str(side.frame) for side in (call.request, call.response) if side is not None)
    client, server = (endpoint_text(getattr(call.connection, name, None)) for name in ("client", "server"))
    yield (
        f"{palette.value}Exchange {exchange.number}{palette.off}  frame {frames}  {clock(exchange.time)}  "
        f"{call.transport} {call.name}  {client} -> {server}"
    )
    for title, tree in shown_trees(exchange, http):
        if tree is None:
            yield f"  {title}: not captured"
            continue
        yield from tree_lines(tree, palette)
        if hex_pane:
            yield from hex_lines(tree, palette)
    yield ""


def hex_lines(root: Node, palette: Palette = PLAIN) -> Iterator[str]:
    """The bytes of every source that a leaf lives in, each dumped once. Credentials are overwritten everywhere."""
    sources: dict[int, ByteSource] = {}
    secrets: set[bytes] = set()
    for node in root.walk():
        if node.secret:
            secrets.add(node.data)
        if node.length and not node.children:
            sources.setdefault(id(node.source), node.source)
    for source in sources.values():
        data = source.data
        for secret in secrets:
            data = data.replace(secret, b"*" * len(secret))
        yield f"{palette.dim}-- {source.label}, {len(data)} bytes{palette.off}"
        yield from hexdump(data)


def none_line(every: int, one: str, many: str) -> str:
    """What is said where nothing is shown of so many things."""
    return f"none of {every} {many} matches" if every else f"no {one} in this capture"
