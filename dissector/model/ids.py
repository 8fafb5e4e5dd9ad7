"""Identifiers as plain values [MS-OXCDATA] 2.2, [MS-OXCFXICS] 2.2.2."""

from __future__ import annotations

import uuid
from typing import NamedTuple


class ObjectId(NamedTuple):
    """A FolderID, MessageID or ChangeNumber: a replica id that one logon understands, and a 48-bit counter.

    Wire form: u16 replica id little-endian, then the counter as 6 bytes big-endian.
    """

    replica_id: int
    counter: int

    @classmethod
    def from_bytes(cls, data: bytes) -> ObjectId:
        return cls(int.from_bytes(data[:2], "little"), int.from_bytes(data[2:8], "big"))

    def to_bytes(self) -> bytes:
        return self.replica_id.to_bytes(2, "little") + self.counter.to_bytes(6, "big")

    def __str__(self) -> str:
        return f"{self.replica_id:04x}-{self.counter:012x}"


class LongTermId(NamedTuple):
    """A LongTermID: the replica's GUID, the 48-bit counter, and the two pad bytes as they were sent."""

    guid: uuid.UUID
    counter: int
    pad: int = 0

    def __str__(self) -> str:
        return f"{self.guid}-{self.counter:012x}"
