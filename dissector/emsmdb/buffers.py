"""Extended buffers: chains of RPC_HEADER_EXT and payload [MS-OXCRPC] 2.2.2.1, 3.1.4.1.1, 3.1.4.2.1.

A payload may be compressed (lz77.py) and then obfuscated (every byte XOR 0xA5). chain() undoes both and is the one
place that knows the rules; the lists, the trees and the rebuilt bytes are made from what it returns. Nothing here
raises, whatever the bytes are: what a header claims is checked against what is there, and what cannot be read stays
visible where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from struct import Struct
from typing import Any, NamedTuple

from construct import Construct, ConstructError

from dissector.emsmdb import lz77
from dissector.emsmdb.call import Pdu
from dissector.grammar import base, reading
from dissector.grammar.auxiliary import AuxBlocks
from dissector.grammar.envelopes import RpcHeaderExt
from dissector.node import Diagnostic, Node, Severity, Undecoded
from dissector.source import ByteSource

COMPRESSED, XOR_MAGIC, LAST = 1, 2, 4

HEADER = Struct("<HHHH")
"""Version, Flags, Size, SizeActual; RpcHeaderExt is the same as a Layout."""

MOST_PARTS, MOST_PLAIN = 4096, 16 << 20
"""Payloads of a chain that are read, and bytes that they may grow to: 19 bytes can claim 64 KiB. Real chains have some
dozen payloads of 32 KiB."""

_XOR = bytes(byte ^ 0xA5 for byte in range(256))

PayloadTree = Callable[[int, ByteSource], Node]


class Part(NamedTuple):
    """One RPC_HEADER_EXT and its payload.

    offset: of the header. flags: of the header. size: payload bytes that are there. plain: the payload, readable.
    used: how many of the payload's bytes plain was made from. diagnostics: what the header says wrongly.
    """

    offset: int
    flags: int
    size: int
    plain: ByteSource
    used: int
    diagnostics: tuple[Diagnostic, ...]


class Chain(NamedTuple):
    """The parts of a buffer; rest, problem: where the bytes that belong to no part begin, and what is wrong there.

    offset, end: where the buffer stands.
    """

    parts: list[Part]
    rest: int
    problem: Diagnostic | None
    offset: int
    end: int

    @property
    def diagnostics(self) -> list[Diagnostic]:
        found = [diagnostic for part in self.parts for diagnostic in part.diagnostics]
        return found if self.problem is None else [*found, self.problem]


def xored(data: bytes) -> bytes:
    """Every byte XOR 0xA5: obfuscates, and undoes it."""
    return data.translate(_XOR)


def chain(source: ByteSource, offset: int, end: int, label: str) -> Chain:
    """The parts of an extended buffer in source.data[offset:end]. label names the payloads' sources."""
    parts: list[Part] = []
    data = source.data
    begin, end = offset, min(end, len(data))
    plain = 0
    while end - offset >= HEADER.size:
        if len(parts) == MOST_PARTS or plain > MOST_PLAIN:
            words = f"{len(parts)} payloads that hold {plain} bytes: the {end - offset} bytes behind them are not read"
            return Chain(parts, offset, _malformed(words), begin, end)
        version, flags, size, actual = HEADER.unpack_from(data, offset)
        start = offset + HEADER.size
        there = min(size, end - start)
        name = f"{label} {len(parts)}"
        if version or flags & 3 or actual != size or there != size or not size:
            parts.append(_unusual(source, offset, version, flags, size, actual, there, name))
        else:
            parts.append(Part(offset, flags, size, source.derive(name, start, size), size, ()))
        plain += len(parts[-1].plain)
        offset = start + there
        if flags & LAST:
            problem = (
                _malformed(f"{end - offset} bytes behind the buffer that is flagged Last") if offset < end else None
            )
            return Chain(parts, offset, problem, begin, end)
    if offset < end:
        problem = _malformed(f"{end - offset} bytes where an RPC_HEADER_EXT of 8 should be")
    else:
        problem = _malformed("the chain ends without a buffer that is flagged Last") if parts else None
    return Chain(parts, offset, problem, begin, end)


def _malformed(message: str) -> Diagnostic:
    return Diagnostic(Severity.MALFORMED, message)


def _unusual(
    source: ByteSource, offset: int, version: int, flags: int, size: int, actual: int, there: int, name: str
) -> Part:
    """A part that is compressed, obfuscated, empty, cut off, or whose header lies."""
    notes: list[Diagnostic] = []
    start = offset + HEADER.size
    if version:
        notes.append(_malformed(f"Version is {version}, not 0"))
    if there != size:
        notes.append(_malformed(f"Size is {size}, {there} bytes are there"))
    if not size:
        notes.append(Diagnostic(Severity.NOTE, "the payload is empty"))
    stored, used = source.data[start : start + there], there
    if flags & XOR_MAGIC:
        stored = xored(stored)
    if not flags & COMPRESSED:
        if actual != size:
            notes.append(_malformed(f"SizeActual is {actual}, Size is {size}, and nothing is compressed"))
        return Part(offset, flags, there, source.derive(name, start, there, stored), used, tuple(notes))
    origin, origin_offset = source, start
    if flags & XOR_MAGIC:
        origin, origin_offset = source.derive(f"{name}, compressed", start, there, stored), 0
    inflated = lz77.inflate(stored, actual)
    used = inflated.used
    if inflated.problem is not None:
        notes.append(_malformed(f"LZ77, {used} bytes into the payload: {inflated.problem}"))
    elif used < there:
        notes.append(_malformed(f"{there - used} bytes behind the end of the compressed data"))
    plain = origin.derive(name, origin_offset, used, inflated.data)
    return Part(offset, flags, there, plain, used, tuple(notes))


def chain_nodes(
    source: ByteSource, offset: int, end: int, label: str, payload_tree: PayloadTree, known: Chain | None = None
) -> list[Node]:
    """The tree of an extended buffer: header, payload, header, payload, ... and what is left over.

    A Payload node stands for the bytes on the wire; below it is the tree that payload_tree makes of the plain bytes.
    known: the chain, where it was read already.
    """
    same = known is not None and known.offset == offset and known.end == min(end, len(source.data))
    found = known if known is not None and same else chain(source, offset, end, label)
    nodes: list[Node] = []
    for index, part in enumerate(found.parts):
        header = reading.trace(RpcHeaderExt, source, "RPC_HEADER_EXT", part.offset)
        nodes.append(header)
        start = part.offset + HEADER.size
        payload = Node("Payload", source, start, part.size, diagnostics=list(part.diagnostics))
        if not part.size:
            header.diagnostics.extend(part.diagnostics)
            continue
        used = part.used if part.plain.data else 0
        if used:
            payload.children.append(payload_tree(index, part.plain))
        if used < part.size:
            payload.children.append(_raw(source, start + used, part.size - used))
        nodes.append(payload)
    if found.rest < min(end, len(source.data)):
        rest = _raw(source, found.rest, min(end, len(source.data)) - found.rest)
        rest.diagnostics.extend([found.problem] if found.problem else [])
        nodes.append(rest)
    elif found.problem is not None and nodes:
        nodes[-1].diagnostics.append(found.problem)
    return nodes


def open_chain(node: Node, end: int, label: str, payload_tree: PayloadTree, known: Chain | None = None) -> None:
    """Turn the leaf of an opaque buffer into the tree of its chain, up to `end` where the leaf was cut off."""
    nodes = chain_nodes(node.source, node.offset, end, label, payload_tree, known)
    if nodes:
        node.children, node.value = nodes, None
        node.length = end - node.offset


def _raw(source: ByteSource, offset: int, length: int) -> Node:
    return Node("Undecoded", source, offset, length, Undecoded(source.data[offset : offset + length]))


def traced(
    layout: Construct, source: ByteSource, name: str, offset: int = 0, end: int | None = None, **params: Any
) -> Node:
    """The tree of a layout that should fill source.data[offset:end]; what it leaves over is an Undecoded leaf."""
    node = reading.trace(layout, source, name, offset, end, **params)
    return filled(node, len(source.data) if end is None else end)


def filled(node: Node, end: int) -> Node:
    """The node, made to reach to `end`: bytes that its reading left over become an Undecoded leaf."""
    left = end - node.end
    if left > 0:
        leaf = _raw(node.source, node.end, left)
        if not any(one.diagnostics for one in node.walk()):
            leaf.diagnostics.append(_malformed(f"{left} bytes are left over"))
        if not node.children and node.length:
            node.children.append(Node("Value", node.source, node.offset, node.length, node.value, spec=node.spec))
            node.value = None
        node.children.append(leaf)
        node.length = end - node.offset
    return node


def auxiliary_tree(index: int, payload: ByteSource) -> Node:
    """The tree of an auxiliary buffer's payload."""
    return traced(AuxBlocks, payload, "AuxBlocks")


def rebuilt(layout: Construct, data: bytes, **params: Any) -> bytes | None:
    """The bytes that reading a layout to the end and building it again gives; None where it cannot be read."""
    try:
        value, end = reading.parse(layout, data, **params)
        return base.build(layout, value, **params) if end == len(data) else None
    except (base.GrammarError, ConstructError):
        return None


def chain_pdus(name: str, source: ByteSource, offset: int, end: int) -> Iterator[Pdu]:
    """The chain itself, built again.

    Headers are built from their values and obfuscation is done again. A compressed payload is checked by sending it
    through our own compressor and back, and kept as the sender compressed it: every compressor chooses its matches
    differently, so that only the plain bytes can be compared.
    """
    original = source.data[offset:end]
    if not original:
        return
    found = chain(source, offset, end, name)
    out = bytearray()
    for part in found.parts:
        header, start = reading.parse(RpcHeaderExt, source.data, part.offset)
        out += base.build(RpcHeaderExt, header)
        stored = source.data[start : start + part.size]
        if part.flags & COMPRESSED:
            plain = part.plain.data
            out += stored if lz77.inflate(lz77.compress(plain), len(plain)).data == plain else plain
        else:
            out += xored(part.plain.data) if part.flags & XOR_MAGIC else part.plain.data
    out += source.data[found.rest : end]
    yield Pdu(name, original, bytes(out))


def auxiliary_pdus(source: ByteSource, offset: int, end: int) -> Iterator[Pdu]:
    """An auxiliary buffer: its chain, and the blocks of each payload."""
    yield from chain_pdus("auxiliary buffer", source, offset, end)
    for part in chain(source, offset, end, "auxiliary blocks").parts:
        if part.plain.data:
            yield Pdu("auxiliary blocks", part.plain.data, rebuilt(AuxBlocks, part.plain.data))


def pack(payloads: Iterable[bytes], *, compress: bool = False, xor: bool = False) -> bytes:
    """The extended buffer of payloads, the last one flagged Last. Compressed only where that makes it smaller.

    Raises ValueError for a payload of more than 65535 bytes, which no header can describe.
    """
    parts = list(payloads)
    out = bytearray()
    for index, plain in enumerate(parts):
        if len(plain) > 0xFFFF:
            raise ValueError(f"a payload of {len(plain)} bytes; an RPC_HEADER_EXT holds at most 65535")
        stored, flags = plain, LAST if index == len(parts) - 1 else 0
        if compress:
            smaller = lz77.compress(plain)
            if len(smaller) < len(plain):
                stored, flags = smaller, flags | COMPRESSED
        if xor:
            stored, flags = xored(stored), flags | XOR_MAGIC
        out += HEADER.pack(0, flags, len(stored), len(plain)) + stored
    return bytes(out)
