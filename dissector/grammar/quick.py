"""The few values of a stream that stories tell of every message, read by hand: the layouts cost ten times as much.

quick() reads what is certain and plain. For anything else (another type, an odd length, text that does not decode) it
says so, and the layout reads it, with all that it knows about malformed bytes. The tests hold both to the same values.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache
from struct import Struct, error
from typing import Any

from dissector.model.ids import ObjectId
from dissector.model.pcl import Xid

UNREAD = object()
"""What quick() gives where the layout is to read the value."""
_U64, _I32 = Struct("<Q"), Struct("<i")


@lru_cache(1024)
def _guid(raw: bytes) -> uuid.UUID:
    return uuid.UUID(bytes_le=raw)


def _xid(raw: bytes) -> Any:
    return Xid(_guid(raw[4:20]), raw[20:]) if len(raw) > 20 else UNREAD


def _change_list(raw: bytes) -> Any:
    found, at, size = [], 4, len(raw)
    while at < size:
        end = at + 1 + raw[at]
        if end > size or end - at < 18:
            return UNREAD
        found.append(Xid(_guid(raw[at + 1 : at + 17]), raw[at + 17 : end]))
        at = end
    return found or UNREAD


def _id(raw: bytes) -> Any:
    return ObjectId(raw[0] | raw[1] << 8, int.from_bytes(raw[2:8], "big"))


def _flag(raw: bytes) -> Any:
    return {b"\0\0": False, b"\1\0": True}.get(raw, UNREAD)


def _text(raw: bytes) -> Any:
    if len(raw) < 6 or len(raw) % 2 or raw[-2:] != b"\0\0":
        return UNREAD
    try:
        text = raw[4:-2].decode("utf-16-le")
    except UnicodeDecodeError:
        return UNREAD
    return UNREAD if "\0" in text else text


def _ascii(raw: bytes) -> Any:
    body = raw[4:-1]
    return body.decode("ascii") if raw[-1:] == b"\0" and body.isascii() and b"\0" not in body else UNREAD


READERS: Mapping[int, Callable[[bytes], Any]] = {
    **dict.fromkeys((0x65E00102, 0x65E10102, 0x65E20102), _xid),
    0x65E30102: _change_list,
    **dict.fromkeys((0x674A0014, 0x67480014, 0x67490014, 0x67A40014), _id),
    0x67AA000B: _flag,
    0x30080040: lambda raw: _U64.unpack(raw)[0],
    0x0E080003: lambda raw: _I32.unpack(raw)[0],
    **dict.fromkeys((0x0037001F, 0x001A001F, 0x3001001F), _text),
    0x001A001E: _ascii,
}
"""By property tag."""


def quick(tag: int, raw: bytes | None) -> Any:
    """The value of a property, or UNREAD."""
    reader = READERS.get(tag)
    if reader is None or raw is None:
        return UNREAD
    try:
        return reader(raw)
    except (error, IndexError):
        return UNREAD
