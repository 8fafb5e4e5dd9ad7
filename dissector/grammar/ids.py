"""Identifiers on the wire [MS-OXCDATA] 2.2, [MS-OXCFXICS] 2.2.2."""

from __future__ import annotations

import uuid
from typing import Any

from construct import Construct, Container

from dissector.grammar.base import read
from dissector.model.ids import LongTermId as LongTermIdValue
from dissector.model.ids import ObjectId


class _ObjectId(Construct):  # type: ignore[misc]
    """8 bytes; the value is a model.ids.ObjectId."""

    def __init__(self, spec: str) -> None:
        super().__init__()
        self.spec = spec

    def _parse(self, stream: Any, context: Container, path: str) -> ObjectId:
        return ObjectId.from_bytes(read(stream, 8, path))

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(ObjectId(*obj).to_bytes())
        return obj

    def label(self, value: ObjectId) -> str:
        return f"ReplicaId {value[0]}, GlobalCounter 0x{value[1]:X}"

    def brief(self, value: ObjectId) -> str:
        return f"{value[0]}-{value[1]:X}"


FolderId = _ObjectId("MS-OXCDATA 2.2.1.1")
MessageId = _ObjectId("MS-OXCDATA 2.2.1.2")
ChangeNumber = _ObjectId("MS-OXCFXICS 2.2.2.1")
ObjectIdField = _ObjectId("MS-OXCDATA 2.2.1")


class _GlobalCounter(Construct):  # type: ignore[misc]
    """6 bytes, big-endian; the value is the number."""

    def _parse(self, stream: Any, context: Container, path: str) -> int:
        return int.from_bytes(read(stream, 6, path), "big")

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(obj.to_bytes(6, "big"))
        return obj

    def label(self, value: int) -> str:
        return f"0x{value:X}"


GlobalCounter = _GlobalCounter()


class _LongTermId(Construct):  # type: ignore[misc]
    """24 bytes: GUID, 6-byte counter, 2 pad bytes; the value is a model.ids.LongTermId."""

    spec = "MS-OXCDATA 2.2.1.3.1"

    def _parse(self, stream: Any, context: Container, path: str) -> LongTermIdValue:
        raw = read(stream, 24, path)
        return LongTermIdValue(
            uuid.UUID(bytes_le=raw[:16]), int.from_bytes(raw[16:22], "big"), int.from_bytes(raw[22:], "little")
        )

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        guid, counter, pad = LongTermIdValue(*obj)
        stream.write(guid.bytes_le + counter.to_bytes(6, "big") + pad.to_bytes(2, "little"))
        return obj


LongTermId = _LongTermId()
