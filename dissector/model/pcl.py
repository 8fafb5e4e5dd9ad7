"""Change keys and predecessor change lists as plain values [MS-OXCFXICS] 2.2.2.2, 2.2.2.3, 3.1.5.6."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from typing import NamedTuple


class Xid(NamedTuple):
    """An external id: who counts (a GUID), and the count (1 to 239 bytes, most significant first).

    With a local id of 6 bytes it is a GID: the GUID is a replica's, the count a GLOBCNT.
    """

    namespace: uuid.UUID
    local_id: bytes

    @classmethod
    def from_bytes(cls, data: bytes) -> Xid:
        """Raises ValueError where there are fewer than 17 bytes."""
        if len(data) < 17:
            raise ValueError(f"an XID has at least 17 bytes, not {len(data)}")
        return cls(uuid.UUID(bytes_le=data[:16]), data[16:])

    def to_bytes(self) -> bytes:
        return self.namespace.bytes_le + self.local_id

    def __str__(self) -> str:
        return f"{_guid_text(self.namespace)}-{self.local_id.hex()}"


_guid_text = lru_cache(1024)(str)
"""A few replicas count for all."""


class Order(Enum):
    """How two versions of one object stand to each other."""

    EQUAL = "equal"
    NEWER = "newer"
    OLDER = "older"
    CONFLICT = "conflict"


class PredecessorChangeList(tuple[Xid, ...]):
    """The changes that a version includes: at most one XID per namespace is meant, the highest."""

    __slots__ = ()

    @classmethod
    def of(cls, xids: Iterable[Xid]) -> PredecessorChangeList:
        """The list in wire order (by the 16 bytes of the namespace), the highest XID of each namespace."""
        highest: dict[bytes, Xid] = {}
        for xid in xids:
            key = xid.namespace.bytes_le
            if key not in highest or _count(highest[key]) < _count(xid):
                highest[key] = xid
        return cls(highest[key] for key in sorted(highest))

    @classmethod
    def from_bytes(cls, data: bytes) -> PredecessorChangeList:
        """The XIDs as they stand, each behind a byte with its size. Raises ValueError where the bytes are cut short."""
        xids, at = [], 0
        while at < len(data):
            size = data[at]
            xid = data[at + 1 : at + 1 + size]
            if len(xid) != size:
                raise ValueError(f"an XID of {size} bytes at offset {at}, {len(xid)} are left")
            xids.append(Xid.from_bytes(xid))
            at += 1 + size
        return cls(xids)

    def to_bytes(self) -> bytes:
        return b"".join(bytes([16 + len(xid.local_id)]) + xid.to_bytes() for xid in self)

    def includes(self, other: PredecessorChangeList) -> bool:
        """Whether every XID of the other list has one here of the same namespace that is as high or higher."""
        mine: dict[uuid.UUID, tuple[int, bytes]] = {}
        for xid in self:
            mine[xid.namespace] = max(mine.get(xid.namespace, (0, b"")), _count(xid))
        return all(xid.namespace in mine and _count(xid) <= mine[xid.namespace] for xid in other)

    def compare(self, other: PredecessorChangeList) -> Order:
        """What this version is, seen from the other: NEWER where it includes the other and more."""
        if self.includes(other):
            return Order.EQUAL if other.includes(self) else Order.NEWER
        return Order.OLDER if other.includes(self) else Order.CONFLICT

    def merge(self, other: PredecessorChangeList) -> PredecessorChangeList:
        """The list of a version that includes both."""
        return self.of((*self, *other))


def _count(xid: Xid) -> tuple[int, bytes]:
    """Local ids of one namespace have one length; where they have not, the longer one counts as higher."""
    return len(xid.local_id), xid.local_id
