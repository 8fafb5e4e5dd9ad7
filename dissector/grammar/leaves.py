"""Constructs of one value and no parts: numbers and the words for them, GUIDs, opaque bytes, text.

construct has traps for byte-exact work that these go around: FlagsEnum drops unknown bits and Flag turns 0x7F into 1
(Flags and Bool8 keep the number), floats and text that would not build back to their bytes stay bytes.
"""

from __future__ import annotations

import struct
import uuid
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Any

from construct import (
    Construct,
    Container,
    Int8ul,
    Int16sl,
    Int16ul,
    Int32sl,
    Int32ul,
    Int64sl,
    Int64ul,
    StreamError,
    Subconstruct,
    evaluate,
)

from dissector.grammar.base import MalformedError, read
from dissector.grammar.names import enum_name, error_name, flag_names

U8, U16, U32, U64 = Int8ul, Int16ul, Int32ul, Int64ul


I16, I32, I64 = Int16sl, Int32sl, Int64sl


class Labelled(Subconstruct, ABC):  # type: ignore[misc]
    """A number that stays a number, with words for it. Subclasses give label(value).

    hex_digits: how many hex digits people write it with; 0 for numbers that are counts.
    """

    hex_digits = 0

    @abstractmethod
    def label(self, value: Any) -> str: ...


class Flags(Labelled):
    """A bit field: every set bit by its name in table `table` of names/flags.tsv, unknown bits in hex."""

    def __init__(self, subcon: Construct, table: str) -> None:
        super().__init__(subcon)
        self.table = table

    def label(self, value: int) -> str:
        return flag_names(self.table, value)


class Enumerated(Labelled):
    """A number with a name in table `table` of names/enums.tsv."""

    def __init__(self, subcon: Construct, table: str) -> None:
        super().__init__(subcon)
        self.table = table

    def label(self, value: int) -> str:
        return enum_name(self.table, value)


class _ErrorCode(Labelled):
    hex_digits = 8

    def label(self, value: int) -> str:
        return error_name(value)

    def brief(self, value: int) -> str:
        return error_name(value) or f"0x{value:08X}"


ErrorCode = _ErrorCode(U32)
"""A 32-bit status, named by [MS-OXCDATA] 2.4."""


class _FileTime(Labelled):
    def label(self, value: int) -> str:
        return filetime_text(value)


def filetime_text(value: int) -> str:
    """A FILETIME (100 ns since 1601-01-01 UTC) as ISO 8601 text, or words where no calendar has it."""
    try:
        days, milliseconds = divmod(value // 10_000, 86_400_000)
        minutes, milliseconds = divmod(milliseconds, 60_000)
        seconds, milliseconds = divmod(milliseconds, 1000)
        return f"{_day(days)}{_minute(minutes)}{_SECONDS[seconds]}{_MILLISECONDS[milliseconds]}"
    except (OverflowError, ValueError, TypeError):
        return "beyond the calendar"


_SECONDS = [f"{number:02}." for number in range(60)]
_MILLISECONDS = [f"{number:03}Z" for number in range(1000)]


@lru_cache(4096)
def _day(days: int) -> str:
    """'1601-01-02T' for 1."""
    import datetime

    return f"{datetime.date(1601, 1, 1) + datetime.timedelta(days)}T"


@lru_cache(1440)
def _minute(minutes: int) -> str:
    """'01:30:' for 90."""
    return f"{minutes // 60:02}:{minutes % 60:02}:"


FileTime = _FileTime(U64)


class _Bool(Construct):  # type: ignore[misc]
    """A boolean of one or two bytes. 0 and 1 are False and True; anything else stays the number it is."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def _parse(self, stream: Any, context: Container, path: str) -> bool | int:
        number = int.from_bytes(read(stream, self.size, path), "little")
        return bool(number) if number < 2 else number

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(int(obj).to_bytes(self.size, "little"))
        return obj


Bool8, Bool16 = _Bool(1), _Bool(2)


class _Float(Construct):  # type: ignore[misc]
    """An IEEE 754 number of 4 or 8 bytes. The value is a float, or the bytes where no float builds back to the same.

    Those are the signalling NaNs of 4 bytes: making them 8 bytes wide changes them.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.form = struct.Struct("<f" if size == 4 else "<d")

    def _parse(self, stream: Any, context: Container, path: str) -> float | bytes:
        raw = read(stream, self.size, path)
        number: float = self.form.unpack(raw)[0]
        return number if number == number or self.form.pack(number) == raw else raw

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        try:
            stream.write(obj if isinstance(obj, bytes) else self.form.pack(obj))
        except (struct.error, OverflowError) as error:
            raise MalformedError(str(error), path=path) from error
        return obj


F32, F64 = _Float(4), _Float(8)


class _Guid(Construct):  # type: ignore[misc]
    """A GUID, first three fields little-endian [MS-DTYP] 2.3.4. The value is a uuid.UUID."""

    def _parse(self, stream: Any, context: Container, path: str) -> uuid.UUID:
        return uuid.UUID(bytes_le=read(stream, 16, path))

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(obj.bytes_le)
        return obj

    def label(self, value: uuid.UUID) -> str:
        from dissector.grammar.names import guid_name

        return guid_name(value)


Guid = _Guid()


class Data(Construct):  # type: ignore[misc]
    """`size` opaque bytes."""

    def __init__(self, size: Any) -> None:
        super().__init__()
        self.size = size

    def _parse(self, stream: Any, context: Container, path: str) -> bytes:
        return read(stream, evaluate(self.size, context), path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(obj)
        return obj


class _Rest(Construct):  # type: ignore[misc]
    """All bytes to the end of the enclosing size."""

    def _parse(self, stream: Any, context: Container, path: str) -> bytes:
        return stream.read()  # type: ignore[no-any-return]

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(obj)
        return obj


Rest = _Rest()


class Text(Construct):  # type: ignore[misc]
    """Text that ends with a NUL. The value is a str without the NUL, or bytes where no str builds back to the same.

    width 2 is UTF-16LE; width 1 is `codec`, or the code page that Param `codepage` names (a Python codec name, cp1252
    without).
    """

    def __init__(self, width: int, codec: str = "") -> None:
        super().__init__()
        self.width, self.codec = width, codec or ("utf-16-le" if width == 2 else "")

    def _parse(self, stream: Any, context: Container, path: str) -> str | bytes:
        start = stream.tell()
        raw = stream.read()
        end = raw.find(bytes(self.width))
        while self.width == 2 and end >= 0 and end % 2:
            end = raw.find(b"\0\0", end + 1)
        if end < 0:
            stream.seek(start)
            raise StreamError("text without its closing NUL", path=path)
        stream.seek(start + end + self.width)
        return decode_text(raw[:end], self.encoding(context))

    def encoding(self, context: Container) -> str:
        return self.codec or context._params.get("codepage") or "cp1252"

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(encode_text(obj, self.encoding(context)) + bytes(self.width))
        return obj


Str8, Str16 = Text(1), Text(2)


def decode_text(raw: bytes, encoding: str) -> str | bytes:
    """The text of raw, or raw itself where encoding the text would not give the same bytes again."""
    errors = "surrogatepass" if encoding.startswith("utf-16") else "surrogateescape"
    try:
        text = raw.decode(encoding, errors)
        return text if text.encode(encoding, errors) == raw else raw
    except (UnicodeError, LookupError):
        return raw


def encode_text(text: str | bytes, encoding: str) -> bytes:
    if isinstance(text, bytes):
        return text
    return text.encode(encoding, "surrogatepass" if encoding.startswith("utf-16") else "surrogateescape")
