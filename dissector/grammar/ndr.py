"""More vocabulary, for DCE/RPC stubs: NDR 2.0 transfer syntax [C706] 14, as Layout fields.

A stub is read from its first byte (alignment counts from there), with Param `big_endian` for its byte order. Integers
align themselves: the bytes skipped show as a Padding node, and where they are not zero (Windows leaves old memory
there) the integer remembers them, so that everything builds back.

Unique pointers are a Referent, nonzero where something is pointed at. What a parameter points at follows at once; what
a pointer inside a structure or array points at follows behind the outermost one (Constructed), in the order of the
pointers, and its nodes are named by the way to them: "aRow[0].lpProps".

NDR64 is another syntax with 8-byte counts and is not read.
"""

from __future__ import annotations

import uuid
from typing import Any

from construct import Construct, Container, StreamError, Subconstruct, evaluate, this

from dissector.grammar.base import MalformedError, read
from dissector.grammar.layouts import MAX_DEPTH, Count, Fixed, Layout, Rows, Traced
from dissector.grammar.leaves import Data, Labelled, decode_text, encode_text, filetime_text
from dissector.grammar.names import error_name, guid_name
from dissector.node import Node

__all__ = [
    "N8", "N16", "N32", "NI16", "NI32", "Conformant", "ConformantBytes", "Constructed", "ContextHandle", "CountOf",
    "NdrErrorCode", "NdrFileTime", "NdrGuid", "NdrString", "NdrWideString", "Padded", "Unique", "Varying",
    "VaryingBytes",
]  # fmt: skip

FIRST_REFERENT = 0x00020000
"""What Windows gives the first pointer of a stub; each further one is 4 more."""


class Padded(int):
    """An integer with the nonzero bytes that alignment put in front of it."""

    pad: bytes

    def __new__(cls, value: int, pad: bytes) -> Padded:
        made = super().__new__(cls, value)
        made.pad = pad
        return made


class _Integer(Construct):  # type: ignore[misc]
    def __init__(self, size: int, signed: bool = False) -> None:
        super().__init__()
        self.size, self.signed = size, signed

    def _sizeof(self, context: Container, path: str) -> int:
        return self.size

    def _parse(self, stream: Any, context: Container, path: str) -> int:
        start = stream.tell()
        skipped = -start % self.size
        raw = stream.read(skipped + self.size)
        if len(raw) != skipped + self.size:
            stream.seek(start)
            raise StreamError(f"wanted {skipped + self.size} bytes, {len(raw)} are left", path=path)
        params = context._params
        number = int.from_bytes(raw[skipped:], "big" if params.get("big_endian") else "little", signed=self.signed)
        if not skipped:
            return number
        tracer = params.get("_tracer")
        if tracer is not None and len(tracer.stack) > 1:
            node, siblings = tracer.stack[-1], tracer.stack[-2].children
            padding = Node("Padding", tracer.source, tracer.base + start, skipped, raw[:skipped])
            if not node.children and node.offset == padding.offset:
                siblings.insert(len(siblings) - 1, padding)
                node.offset += skipped
            else:
                node.children.append(padding)
        return Padded(number, raw[:skipped]) if any(raw[:skipped]) else number

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        skipped = -stream.tell() % self.size
        pad = obj.pad if isinstance(obj, Padded) and len(obj.pad) == skipped else bytes(skipped)
        order = "big" if context._params.get("big_endian") else "little"
        try:
            stream.write(pad + int(obj).to_bytes(self.size, order, signed=self.signed))  # type: ignore[arg-type]
        except OverflowError as error:
            raise MalformedError(f"{obj} does not fit {self.size} bytes", path=path) from error
        return obj


N8, N16, N32 = _Integer(1), _Integer(2), _Integer(4)
NI16, NI32 = _Integer(2, signed=True), _Integer(4, signed=True)


class _ErrorCode(Labelled):
    def label(self, value: int) -> str:
        return error_name(value)


NdrErrorCode = _ErrorCode(N32)


class _Guid(Construct):  # type: ignore[misc]
    """A GUID whose first three fields have the byte order of the stub. The value is a uuid.UUID."""

    def _parse(self, stream: Any, context: Container, path: str) -> uuid.UUID:
        raw = read(stream, 16, path)
        return uuid.UUID(bytes=raw) if context._params.get("big_endian") else uuid.UUID(bytes_le=raw)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(obj.bytes if context._params.get("big_endian") else obj.bytes_le)
        return obj

    def label(self, value: uuid.UUID) -> str:
        return guid_name(value)


NdrGuid = _Guid()


class _FileTime(Construct):  # type: ignore[misc]
    """A FILETIME as NDR sees it: two u32, the low one first."""

    def _parse(self, stream: Any, context: Container, path: str) -> int:
        low = N32._parse(stream, context, path)
        number = low | N32._parse(stream, context, path) << 32
        return Padded(number, low.pad) if isinstance(low, Padded) else number

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        low = int(obj) & 0xFFFFFFFF
        N32._build(Padded(low, obj.pad) if isinstance(obj, Padded) else low, stream, context, path)
        N32._build(int(obj) >> 32, stream, context, path)
        return obj

    def label(self, value: int) -> str:
        return filetime_text(value)


NdrFileTime = _FileTime()


class CountOf(Count):
    """How many items field `of` has, plus `plus`. Text counts its closing NUL."""

    def __init__(self, subcon: Construct, of: str, plus: int = 0, width: int = 0) -> None:
        super().__init__(subcon, of)
        self.plus, self.width = plus, width

    def derive(self, layout: Layout, obj: Any, context: Container, path: str) -> int:
        value = obj.get(self.of)
        if self.width and value is not None:
            return len(_encoded(value, self.width, context)) // self.width + 1
        return len(value or ()) + self.plus


def _codec(width: int, context: Container) -> str:
    params = context._params
    if width == 2:
        return "utf-16-be" if params.get("big_endian") else "utf-16-le"
    return params.get("codepage") or "cp1252"


def _encoded(text: str | bytes, width: int, context: Container) -> bytes:
    return encode_text(text, _codec(width, context))


class _Characters(Construct):  # type: ignore[misc]
    """`count` characters of 1 or 2 bytes. One closing NUL is not part of the value; `count` tells if there was one.

    The value is a str, or bytes where no str builds back to the same.
    """

    def __init__(self, count: Any, width: int) -> None:
        super().__init__()
        self.count, self.width = count, width

    def _parse(self, stream: Any, context: Container, path: str) -> str | bytes:
        raw = read(stream, evaluate(self.count, context) * self.width, path)
        if raw.endswith(bytes(self.width)):
            raw = raw[: -self.width]
        return decode_text(raw, _codec(self.width, context))

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        raw = _encoded(obj, self.width, context)
        missing = evaluate(self.count, context) * self.width - len(raw)
        if missing not in (0, self.width):
            raise MalformedError(f"{len(raw)} bytes of text in {len(raw) + missing}", path=path)
        stream.write(raw + bytes(missing))
        return obj


def _string(width: int) -> Layout:
    return Layout(
        "MaxCount" / CountOf(N32, "Value", width=width),
        "Offset" / Fixed(N32, 0),
        "ActualCount" / CountOf(N32, "Value", width=width),
        "Value" / _Characters(this.ActualCount, width),
        name="string",
        spec="C706 14.3.4",
        summary="{Value}",
    )


NdrString = _string(1)
"""A conformant and varying string of 8-bit characters, in the code page of Param `codepage`."""

NdrWideString = _string(2)
"""The same of 16-bit characters."""

ContextHandle = Layout(
    "Attributes" / N32, "Uuid" / NdrGuid, name="context handle", spec="C706 14.2.16", summary="{Uuid}"
)

ConformantBytes = Layout("MaxCount" / CountOf(N32, "Data"), "Data" / Data(this.MaxCount), spec="C706 14.3.3.2")
"""[size_is(n)] byte data[]"""

VaryingBytes = Layout(
    "MaxCount" / CountOf(N32, "Data"),
    "Offset" / Fixed(N32, 0),
    "ActualCount" / CountOf(N32, "Data"),
    "Data" / Data(this.ActualCount),
    spec="C706 14.3.3.4",
)
"""[size_is(n), length_is(m)] byte data[]"""


def Conformant(item: Construct) -> Layout:
    """[size_is(n)] array of `item`."""
    return Layout("MaxCount" / CountOf(N32, "Items"), "Items" / Rows(this.MaxCount, item), spec="C706 14.3.3.2")


def Varying(item: Construct) -> Layout:
    """[size_is(n), length_is(m)] array of `item`."""
    return Layout(
        "MaxCount" / CountOf(N32, "Items"),
        "Offset" / Fixed(N32, 0),
        "ActualCount" / CountOf(N32, "Items"),
        "Items" / Rows(this.ActualCount, item),
        spec="C706 14.3.3.4",
    )


class Unique(Construct):  # type: ignore[misc]
    """A unique pointer. The value is a Container: Referent, and Value (None where the Referent is 0).

    Built from such a Container, or from the pointee itself (None for a null pointer), which gets a referent of its own.
    """

    def __init__(self, subcon: Construct) -> None:
        super().__init__()
        self.referent = Traced(N32, "Referent")
        self.pointee = Constructed(subcon)
        self.inline = self.pointee if isinstance(subcon, Layout | Unique) else Traced(self.pointee, "Value")
        self.flagbuildnone = True
        if "label" in subcon.__dict__:
            self.label = subcon.label

    def _parse(self, stream: Any, context: Container, path: str) -> Container:
        value = Container(Referent=self.referent._parse(stream, context, path), Value=None)
        if value.Referent:
            params = context._params
            waiting = params.get("_waiting")
            if waiting is None:
                value.Value = self.inline._parse(stream, context, path)
            else:
                tracer = params.get("_tracer")
                way = tracer.stack[params["_waiting_from"] :] if tracer is not None else ()
                waiting.append((value, self, ".".join(node.name for node in way).replace(".[", "[")))
        return value

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        params = context._params
        if not (isinstance(obj, dict) and "Referent" in obj):
            number = 0
            if obj is not None:
                number = params.get("_referent", FIRST_REFERENT)
                params["_referent"] = number + 4
            obj = Container(Referent=number, Value=obj)
        self.referent._build(obj["Referent"], stream, context, path)
        if obj["Referent"]:
            waiting = params.get("_waiting")
            if waiting is None:
                self.pointee._build(obj["Value"], stream, context, path)
            else:
                waiting.append((obj["Value"], self, ""))
        return obj


class Constructed(Subconstruct):  # type: ignore[misc]
    """A structure or array whose inner pointers are followed behind it."""

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        params = context._params
        tracer = params.get("_tracer")
        before = params.get("_waiting"), params.get("_waiting_from"), params.get("_nested", 0)
        if before[2] >= MAX_DEPTH:
            raise MalformedError(f"pointers nested deeper than {MAX_DEPTH} levels", path=path)
        waiting: list[tuple[Container, Unique, str]] = []
        params["_waiting"], params["_nested"] = waiting, before[2] + 1
        params["_waiting_from"] = len(tracer.stack) if tracer is not None else 0
        try:
            result = self.subcon._parse(stream, context, path)
            for value, pointer, name in waiting:
                pointee = Traced(pointer.pointee, name) if name else pointer.inline
                value.Value = pointee._parse(stream, context, path)
        finally:
            params["_waiting"], params["_waiting_from"], params["_nested"] = before
        return result

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        params = context._params
        before = params.get("_waiting")
        waiting: list[tuple[Any, Unique, str]] = []
        params["_waiting"] = waiting
        try:
            self.subcon._build(obj, stream, context, path)
            for value, pointer, _ in waiting:
                pointer.pointee._build(value, stream, context, path)
        finally:
            params["_waiting"] = before
        return obj
