"""Property values as the server keeps them, and the way to and from the wire and the database.

Kept values are plain: strings are str whatever their width on the wire (types 0x001E and 0x101E become 0x001F and
0x101F), binaries are bytes, multiple values are lists. Types with an inner layout of their own (PtypServerId,
PtypRestriction, PtypRuleAction) are kept as the bytes of that layout.
"""

from __future__ import annotations

import struct
import uuid
from typing import Any

from dissector.grammar.base import build
from dissector.grammar.names import codec_name
from dissector.grammar.properties import ROP_VALUES, PropertyValue
from dissector.grammar.reading import parse

UNSPECIFIED, NULL, INT16, INT32, FLOAT32, FLOAT64, CURRENCY, FLOATING_TIME = 0x0, 0x1, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7
ERROR_CODE, BOOLEAN, OBJECT, INT64, STRING8, STRING, TIME, GUID = 0xA, 0xB, 0xD, 0x14, 0x1E, 0x1F, 0x40, 0x48
SERVER_ID, RESTRICTION, RULE_ACTION, BINARY = 0xFB, 0xFD, 0xFE, 0x102
MULTIPLE, INSTANCE = 0x1000, 0x2000

INTEGERS = frozenset((INT16, INT32, CURRENCY, INT64, TIME, ERROR_CODE, BOOLEAN))
FLOATS = frozenset((FLOAT32, FLOAT64, FLOATING_TIME))
LAID_OUT = frozenset((SERVER_ID, RESTRICTION, RULE_ACTION))
"""Types kept as the bytes of their layout."""

SIGNED = {INT16: 16, INT32: 32, CURRENCY: 64, INT64: 64}
"""Bits of the integers that have a sign."""

VARIABLE = frozenset((STRING8, STRING, BINARY, OBJECT)) | LAID_OUT


def codec_of(code_page: int) -> str:
    """The Python codec of a Windows code page; cp1252 for one that Python does not know."""
    return codec_name(code_page) or "cp1252"


def from_8bit(raw: bytes, codec: str) -> str:
    """Text of 8-bit bytes; a byte the code page has no character for becomes the character of the same number."""
    try:
        return raw.decode(codec)
    except UnicodeDecodeError:
        return "".join(_lenient(raw, codec))


def _lenient(raw: bytes, codec: str) -> list[str]:
    parts, start = [], 0
    while start < len(raw):
        try:
            parts.append(raw[start:].decode(codec))
            break
        except UnicodeDecodeError as error:
            parts.append(raw[start : start + error.start].decode(codec))
            parts.extend(chr(byte) for byte in raw[start + error.start : start + error.end])
            start += error.end
    return parts


def to_8bit(text: str, codec: str) -> bytes:
    """8-bit bytes of text: the reverse of from_8bit, with '?' for what the code page cannot say."""
    try:
        return text.encode(codec)
    except UnicodeEncodeError:
        return b"".join(_encode_one(character, codec) for character in text)


def _encode_one(character: str, codec: str) -> bytes:
    try:
        return character.encode(codec)
    except UnicodeEncodeError:
        return bytes((ord(character),)) if ord(character) < 0x100 else b"?"


def text_of(value: Any, width: int, codec: str) -> str:
    """Text from what the grammar read: a str, or bytes where no str builds back to the same."""
    if width == 1:
        if isinstance(value, str):
            try:
                return value.encode("ascii").decode("ascii")
            except UnicodeError:
                value = value.encode(codec, "surrogateescape")
        return from_8bit(bytes(value), codec)
    if isinstance(value, str):
        return value
    return bytes(value).decode("utf-16-le", "replace")


def kept(tag: int, value: Any, codec: str) -> tuple[int, Any]:
    """(type, plain value) of a value the grammar read for `tag`."""
    kind = tag & 0xFFFF
    if kind in (STRING8, STRING):
        return STRING, text_of(value, 1 if kind == STRING8 else 2, codec)
    if kind in (MULTIPLE | STRING8, MULTIPLE | STRING):
        return MULTIPLE | STRING, [text_of(item, 1 if kind & 1 == 0 else 2, codec) for item in value]
    if kind in LAID_OUT:
        return kind, build(ROP_VALUES.types[kind], value, codepage=codec)
    if not _plain(kind, value):  # the grammar knew a structure or an id by the tag
        value = parse(ROP_VALUES.types[kind], build(PropertyValue(tag), value, codepage=codec))[0]
    if kind in SIGNED and value >= 1 << SIGNED[kind] - 1:  # a flag field is read without a sign
        return kind, value - (1 << SIGNED[kind])
    if kind == BINARY:
        return kind, bytes(value)
    if kind == MULTIPLE | BINARY:
        return kind, [bytes(item) for item in value]
    return kind, value


def _plain(kind: int, value: Any) -> bool:
    if kind & MULTIPLE:
        return isinstance(value, list) and all(_plain(kind & ~MULTIPLE, item) for item in value)
    if kind == BINARY:
        return isinstance(value, bytes)
    return value is None or isinstance(value, int | float | uuid.UUID)


def on_wire(tag: int, value: Any, codec: str) -> Any:
    """The kept value as build() wants it for `tag` (whose type is STRING8 where 8-bit text was asked for)."""
    kind = tag & 0xFFFF & ~INSTANCE
    if kind == STRING8:
        return to_8bit(value, codec)
    if kind == MULTIPLE | STRING8:
        return [to_8bit(item, codec) for item in value]
    if kind in LAID_OUT:
        return parse(ROP_VALUES.types[kind], value, codepage=codec)[0]
    if tag in ROP_VALUES.by_tag:  # the grammar knows a structure, an id or a flag field by the tag
        return parse(ROP_VALUES.form(tag), build(ROP_VALUES.types[kind], value, codepage=codec), codepage=codec)[0]
    return value


def wanted_kind(asked: int, stored: int) -> int | None:
    """The type to answer with when type `asked` is wanted of a value of type `stored`; None where they do not fit."""
    if asked in (UNSPECIFIED, stored):
        return stored
    if asked & ~INSTANCE in (STRING8, STRING, MULTIPLE | STRING8, MULTIPLE | STRING) and asked ^ 1 == stored:
        return asked
    return None


def size_of(kind: int, value: Any) -> int:
    """How many bytes a kept value takes in a ROP buffer, without a count in front; strings as UTF-16 with their NUL."""
    if kind == STRING:
        return 2 * len(value) + 2
    if kind in VARIABLE:
        return len(value)
    if kind & MULTIPLE:
        return sum(size_of(kind & ~MULTIPLE, item) + 4 for item in value)
    return {NULL: 0, INT16: 2, BOOLEAN: 1, GUID: 16, INT32: 4, FLOAT32: 4, ERROR_CODE: 4}.get(kind, 8)


def to_column(kind: int, value: Any) -> Any:
    """A kept value as a database value. Floats go as their bytes: SQLite would turn a NaN into NULL."""
    if kind in INTEGERS:
        return value - (1 << 64) if value >= 1 << 63 else int(value)
    if kind == STRING:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:  # half a surrogate pair
            return value.encode("utf-16-le", "surrogatepass")
        return value
    if kind in FLOATS:
        return struct.pack("<d", value)
    if kind == GUID:
        return value.bytes_le
    if kind & MULTIPLE:
        item_kind = kind & ~MULTIPLE
        items = [_packed(item_kind, item) for item in value]
        return struct.pack("<I", len(items)) + b"".join(struct.pack("<I", len(item)) + item for item in items)
    return None if kind == NULL else bytes(value)


def _packed(kind: int, value: Any) -> bytes:
    column = to_column(kind, value)
    if isinstance(column, int):
        return column.to_bytes(8, "little", signed=True)
    return column.encode("utf-16-le", "surrogatepass") if isinstance(column, str) else bytes(column)


def from_column(kind: int, column: Any) -> Any:
    """The kept value that to_column() made `column` of."""
    if kind in INTEGERS:
        if kind == BOOLEAN:
            return bool(column) if column in (0, 1) else column
        return column & 0xFFFFFFFFFFFFFFFF if kind == TIME and column < 0 else column
    if kind == STRING:
        return column if isinstance(column, str) else column.decode("utf-16-le", "surrogatepass")
    if kind in FLOATS:
        return struct.unpack("<d", column)[0]
    if kind == GUID:
        return uuid.UUID(bytes_le=column)
    if kind & MULTIPLE:
        return list(_items(kind & ~MULTIPLE, column))
    return column


def _items(kind: int, column: bytes) -> Any:
    (count,) = struct.unpack_from("<I", column)
    at = 4
    for _ in range(count):
        (size,) = struct.unpack_from("<I", column, at)
        item: Any = column[at + 4 : at + 4 + size]
        at += 4 + size
        yield from_column(kind, int.from_bytes(item, "little", signed=True) if kind in INTEGERS else item)


def comparable(kind: int, value: Any) -> Any:
    """A key that orders values of one type: text without regard to case, binaries byte by byte."""
    if kind & ~MULTIPLE == STRING:
        return [item.casefold() for item in value] if kind & MULTIPLE else value.casefold()
    if kind == GUID:
        return value.bytes_le
    return value
