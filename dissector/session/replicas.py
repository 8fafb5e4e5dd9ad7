"""What a REPLID stands for: learned from what the capture shows, per logon [MS-OXCFXICS] 2.2.2.3.

Proof is a ROP that maps one to the other, or an object whose id is told both ways (PidTagMid beside a PidTagSourceKey
with the same counter). The ReplId of RopLogon is the mailbox's own; some servers give ids under another one.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple, TypeAlias

from dissector.model.ids import ObjectId
from dissector.model.idset import IdSet, Replica
from dissector.model.pcl import Xid

GlobalId: TypeAlias = tuple[uuid.UUID, int]
"""REPLGUID and counter: an id that means the same in every logon."""


class Mapping(NamedTuple):
    """A REPLID with its REPLGUID, how that was learned, and in which frame."""

    replica_id: int
    guid: uuid.UUID
    how: str
    frame: int


class Replicas:
    """The REPLIDs of one logon. disagreements: what was told differently later; the first word stands."""

    def __init__(self) -> None:
        self.known: dict[int, Mapping] = {}
        self.disagreements: list[Mapping] = []
        self.names: dict[Replica, Replica] = {}

    def learn(self, replica_id: int, guid: uuid.UUID, how: str, frame: int) -> None:
        if not replica_id:
            return
        told = Mapping(replica_id, guid, how, frame)
        first = self.known.setdefault(replica_id, told)
        self.names.setdefault(replica_id, guid)
        if first.guid != guid and len(self.disagreements) < 20:
            self.disagreements.append(told)

    def learn_pair(self, id_: ObjectId | None, key: Xid | None, how: str, frame: int) -> None:
        """An id and a GID that may tell the same object: they do where the counters agree."""
        if id_ is None or key is None or id_.replica_id in self.known:
            return
        if counter_of(key) == id_.counter:
            self.learn(id_.replica_id, key.namespace, how, frame)

    def resolve(self, id_: ObjectId | None) -> GlobalId | None:
        """The id under its REPLGUID; None where nothing tells it."""
        known = self.known.get(id_.replica_id) if id_ is not None else None
        return (known.guid, id_.counter) if known is not None and id_ is not None else None

    def renamed(self, idset: IdSet) -> IdSet:
        """A set with REPLGUIDs where they are known; REPLIDs that nothing maps stay."""
        return idset.renamed(self.names)


def counter_of(key: Xid) -> int | None:
    """The GLOBCNT of a GID; None for an XID of another length."""
    return int.from_bytes(key.local_id, "big") if len(key.local_id) == 6 else None


def global_id(key: Xid | None) -> GlobalId | None:
    """A GID as an id; None for an XID of another length, and for none."""
    if key is None or len(key.local_id) != 6:
        return None
    return key.namespace, int.from_bytes(key.local_id, "big")


def as_idset(ids: list[GlobalId]) -> IdSet:
    return IdSet.of(ids)
