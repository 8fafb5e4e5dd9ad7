"""IdentityMap: what the captured server called things, and what the live one calls them.

Learned on first sight, held after: the first live id seen in the place of a captured one is bound to it; a later
disagreement is a difference, not a new binding. Ids are bound whole (replica id and counter); a long-term form
(GUID and counter) is mapped through the same counters.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from dissector.model.ids import LongTermId, ObjectId


class UnmappedError(Exception):
    """A captured id has no live counterpart yet. `identifier` is the captured one."""

    def __init__(self, identifier: ObjectId | LongTermId) -> None:
        super().__init__(str(identifier))
        self.identifier = identifier


@dataclass(frozen=True, slots=True)
class LocalRange:
    """A run of counters that RopGetLocalReplicaIds handed out, captured and live."""

    captured: int
    live: int
    count: int

    def map(self, counter: int) -> int | None:
        inside = 0 <= counter - self.captured < self.count
        return self.live + counter - self.captured if inside else None


@dataclass(slots=True)
class IdentityMap:
    """Captured to live, for one captured session. Handles are by value, as they stand in the handle tables."""

    handles: dict[int, int] = field(default_factory=dict)
    ids: dict[ObjectId, ObjectId] = field(default_factory=dict)
    replicas: dict[uuid.UUID, uuid.UUID] = field(default_factory=dict)
    local: list[LocalRange] = field(default_factory=list)

    def learn(self, captured: Any, live: Any) -> bool:
        """Bind one captured id to its live form on first sight. False: it was bound to another already."""
        if isinstance(captured, ObjectId) and isinstance(live, ObjectId):
            if captured.counter == 0 or live.counter == 0:
                return captured == live
            return self.ids.setdefault(captured, live) == live
        if isinstance(captured, LongTermId) and isinstance(live, LongTermId):
            return self.learn(captured.guid, live.guid)
        if isinstance(captured, uuid.UUID) and isinstance(live, uuid.UUID):
            return self.replicas.setdefault(captured, live) == live
        return False

    def learn_local(self, captured: int, live: int, count: int) -> None:
        """Bind the counters that a RopGetLocalReplicaIds response begins with."""
        self.local.append(LocalRange(captured, live, count))

    def object_id(self, captured: ObjectId) -> ObjectId:
        """The live id. The null id is itself. Raises UnmappedError."""
        if captured.counter == 0:
            return captured
        known = self.ids.get(captured)
        if known is None:
            raise UnmappedError(captured)
        return known

    def counter(self, captured: int) -> int | None:
        """The live counter for a captured one of the store's own replica, None when it was never seen."""
        for known in self.local:
            made = known.map(captured)
            if made is not None:
                return made
        return next((live.counter for known, live in self.ids.items() if known.counter == captured), None)

    def long_term_id(self, captured: LongTermId) -> LongTermId:
        """The live LongTermId. Raises UnmappedError where its replica is mapped but its counter is not."""
        guid = self.replicas.get(captured.guid)
        if guid is None:
            return captured
        counter = self.counter(captured.counter)
        if counter is None:
            raise UnmappedError(captured)
        return LongTermId(guid, counter, captured.pad)
