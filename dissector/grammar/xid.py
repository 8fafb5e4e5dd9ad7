"""XIDs and predecessor change lists on the wire [MS-OXCFXICS] 2.2.2.2, 2.2.2.3."""

from __future__ import annotations

import uuid
from itertools import pairwise
from typing import Any

from construct import Construct, Container

from dissector.grammar.base import MalformedError, read
from dissector.grammar.layouts import RowsToEnd
from dissector.model.pcl import Xid as XidValue
from dissector.node import Severity


def _words(value: XidValue | bytes) -> str:
    if isinstance(value, bytes):
        return ""
    return gid_words(value[1]) if len(value[1]) == 6 else f"LocalId of {len(value[1])} bytes"


def gid_words(counter: bytes) -> str:
    """The words for an XID that is a GID."""
    return f"GID, GlobalCounter 0x{counter.hex().upper().lstrip('0') or '0'}"


class _Xid(Construct):  # type: ignore[misc]
    """GUID and local id, to the end of the enclosing size; the value is a model.pcl.Xid."""

    spec = "MS-OXCFXICS 2.2.2.2"

    def _parse(self, stream: Any, context: Container, path: str) -> XidValue:
        start = stream.tell()
        raw = stream.read()
        if len(raw) < 17:
            stream.seek(start)
            raise MalformedError(f"an XID has at least 17 bytes, not {len(raw)}", path=path)
        return XidValue(uuid.UUID(bytes_le=raw[:16]), raw[16:])

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(XidValue(*obj).to_bytes())
        return obj

    def label(self, value: XidValue | bytes) -> str:
        """b'' stands for no XID."""
        return _words(value)

    def brief(self, value: XidValue | bytes) -> str:
        return str(value) if value else "0 bytes"


class _SizedXid(Construct):  # type: ignore[misc]
    """A byte with the size of the XID, then the XID."""

    spec = "MS-OXCFXICS 2.2.2.3.1"

    def _parse(self, stream: Any, context: Container, path: str) -> XidValue:
        start = stream.tell()
        size = read(stream, 1, path)[0]
        if size < 17:
            stream.seek(start)
            raise MalformedError(f"an XID has at least 17 bytes, not {size}", path=path)
        raw = stream.read(size)
        if len(raw) != size:
            stream.seek(start)
            raise MalformedError(f"an XID of {size} bytes, {len(raw)} are left", path=path)
        return XidValue(uuid.UUID(bytes_le=raw[:16]), raw[16:])

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        data = XidValue(*obj).to_bytes()
        stream.write(bytes([len(data)]) + data)
        return obj

    def label(self, value: XidValue | bytes) -> str:
        """b'' stands for no XID."""
        return _words(value)

    def brief(self, value: XidValue | bytes) -> str:
        return str(value) if value else "0 bytes"


Xid = _Xid()
SizedXid = _SizedXid()


class _PredecessorChangeList(RowsToEnd):
    """SizedXids to the end of the enclosing size. Namespaces out of order are remarked on."""

    spec = "MS-OXCFXICS 2.2.2.3"

    def __init__(self) -> None:
        super().__init__(SizedXid)

    def _parse(self, stream: Any, context: Container, path: str) -> list[Any]:
        rows = super()._parse(stream, context, path)
        tracer = context._params.get("_tracer")
        if tracer is not None:
            namespaces = [row[0].bytes_le for row in rows]
            if any(first >= second for first, second in pairwise(namespaces)):
                tracer.current.diagnose(Severity.NOTE, "the namespaces are not in ascending order, each once")
        return rows


PredecessorChangeList = _PredecessorChangeList()
