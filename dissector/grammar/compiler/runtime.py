"""What emitted readers call: text, ids, and the interpreted reading of what has no compiled form."""

from __future__ import annotations

import struct
import uuid
from codecs import utf_16_le_decode
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from construct import Container

from dissector.grammar.base import Needed, Tracer, contexts
from dissector.grammar.compiler.rows import MADE, Row
from dissector.grammar.leaves import decode_text
from dissector.model.ids import LongTermId, ObjectId
from dissector.model.pcl import Xid
from dissector.node import Node


class Anomaly(Exception):
    """The data are not as the layout wants them, or not as the compiled reading can read them."""


class Window:
    """A stream over data[at:end] without a copy, for constructs. Offsets count from `origin`."""

    __slots__ = ("at", "data", "end", "origin")

    def __init__(self, data: bytes, at: int, end: int, origin: int) -> None:
        self.data, self.at, self.end, self.origin = data, at, end, origin

    def read(self, size: int = -1) -> bytes:
        start = self.at
        self.at = self.end if size < 0 else max(start, min(start + size, self.end))
        return self.data[start : self.at]

    def tell(self) -> int:
        return self.at - self.origin

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 0:
            self.at = self.origin + offset
        else:
            self.at = (self.at if whence == 1 else self.end) + offset
        return self.at - self.origin


def interpret(
    con: Any, data: bytes, at: int, end: int, params: dict[str, Any], scopes: Sequence[dict[str, Any]]
) -> tuple[Any, int]:
    """Read a construct in place. scopes: the fields of the layouts around it, outermost first."""
    stream = Window(data, at, end, params["_origin"])
    value = con._parse(stream, _context(params, scopes), "(parsing)")
    return value, stream.at


def interpret_rows(
    con: Any, data: bytes, at: int, end: int, params: dict[str, Any], scopes: Sequence[dict[str, Any]], out: Any,
    name: str, spec: str, labeller: Any,
) -> tuple[Any, int]:  # fmt: skip
    """Read a construct in place as a node of that name; the node becomes a row."""
    origin = params["_origin"]
    stream = Window(data, at, end, origin)
    node = Node(name, params["_source"], at, spec=spec, labeller=labeller)
    context = _context(params, scopes)
    context._params["_tracer"] = Tracer(params["_source"], origin, node)
    value = con._parse(stream, context, "(parsing)")
    node.length = stream.at - node.offset
    if not node.children:
        node.value = value
    row: Row = (MADE, node)
    out(row)
    return value, stream.at


def _context(params: dict[str, Any], scopes: Sequence[dict[str, Any]]) -> Container:
    context = contexts(params)
    shared = context["_params"]
    for fields in scopes:
        inner = Container(fields)
        inner["_"], inner["_params"] = context, shared
        context = inner
    return context


def needed(params: dict[str, Any], name: str) -> Any:
    value = params.get(name)
    if value is None:
        raise Anomaly(Needed(name))
    return value


def first(count: Any, items: Any) -> Any:
    if items is None:
        return None
    if count > len(items):
        raise Anomaly
    return items[:count]


@lru_cache(4096)
def _guid(raw: bytes) -> uuid.UUID:
    return uuid.UUID(bytes_le=raw)


def guid(raw: bytes) -> uuid.UUID:
    """Replica GUIDs and property sets come again and again, so some are kept."""
    return _guid(raw)


def object_id(raw: bytes) -> ObjectId:
    return ObjectId(raw[0] | raw[1] << 8, int.from_bytes(raw[2:], "big"))


def long_term_id(raw: bytes) -> LongTermId:
    return LongTermId(_guid(raw[:16]), int.from_bytes(raw[16:22], "big"), raw[22] | raw[23] << 8)


def big_endian(raw: bytes) -> int:
    return int.from_bytes(raw, "big")


def xid(raw: bytes) -> Xid:
    return Xid(_guid(raw[:16]), raw[16:])


def xid_or_none(raw: bytes) -> Xid | bytes:
    return Xid(_guid(raw[:16]), raw[16:]) if raw else raw


def ascending(xids: Sequence[bytes]) -> None:
    """XIDs out of order are remarked on by the interpreted reading."""
    if len(xids) > 1 and any(first[:16] >= second[:16] for first, second in pairwise(xids)):
        raise Anomaly


def not_a_number(number: float, raw: bytes, kind: str) -> float | bytes:
    """A NaN, or its bytes where it does not build back to them (leaves._Float)."""
    return number if struct.pack(f"<{kind}", number) == raw else raw


ASCII_INSIDE = ("cp125", "cp874", "utf-8", "utf_8", "utf8", "latin", "iso8859", "iso-8859", "ascii", "koi8")
"""How the names of codecs begin in which bytes below 0x80 are ASCII, whatever stands around them."""


@lru_cache(64)
def has_ascii_inside(codec: str) -> bool:
    return codec.startswith(ASCII_INSIDE)


def text(raw: bytes, codec: str) -> str | bytes:
    """As leaves.decode_text; most text is ASCII."""
    if raw.isascii() and has_ascii_inside(codec):
        return raw.decode("ascii")
    return decode_text(raw, codec)


def utf_16(raw: bytes) -> str | bytes:
    """As leaves.decode_text for UTF-16LE: with surrogates let through, all that decodes encodes to the same bytes."""
    try:
        return utf_16_le_decode(raw, "surrogatepass", True)[0]  # an eighth of the cost of bytes.decode
    except UnicodeError:
        return raw


def padded(raw: bytes, decoded: str | bytes, width: int) -> str | bytes:
    return decoded.rstrip("\0") if isinstance(decoded, str) and len(raw) % width == 0 else raw
