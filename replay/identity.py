"""Identity: what the captured server called things, and what the live one calls them.

Learned on first sight, held after: the first live id seen in the place of a captured one is bound to it; a later
disagreement is a difference, not a new binding. Three kinds of numbers are kept apart, since servers count them apart:
objects (folders and messages), changes (versions of objects), and replicas (the GUIDs behind both). An object has two
names: an ObjectId with the REPLID of a logon, and a global id with the replica's GUID; whichever was learned answers
for the other where the REPLID's GUID is known.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dissector.model.ids import LongTermId, ObjectId
from dissector.model.pcl import Xid

GlobalId: TypeAlias = tuple[uuid.UUID, int]
"""A replica's GUID and a counter."""

COUNTER_SIZE = 6
"""Bytes of a counter in an XID that is a global id."""


class UnmappedError(Exception):
    """A captured id has no live counterpart yet. `identifier` is the captured one."""

    def __init__(self, identifier: ObjectId | LongTermId) -> None:
        super().__init__(str(identifier))
        self.identifier = identifier


@dataclass(frozen=True, slots=True)
class LocalRange:
    """A run of counters that RopGetLocalReplicaIds handed out, captured and live."""

    captured: GlobalId
    live: GlobalId
    count: int

    def map(self, name: GlobalId) -> GlobalId | None:
        offset = name[1] - self.captured[1]
        if name[0] == self.captured[0] and 0 <= offset < self.count:
            return self.live[0], self.live[1] + offset
        return None

    def unmap(self, name: GlobalId) -> GlobalId | None:
        return LocalRange(self.live, self.captured, self.count).map(name)


@dataclass(slots=True)
class Names:
    """Which GUIDs the REPLIDs of one side stand for."""

    guids: dict[int, uuid.UUID] = field(default_factory=dict)
    numbers: dict[uuid.UUID, int] = field(default_factory=dict)

    def learn(self, number: int, guid: uuid.UUID) -> None:
        self.guids.setdefault(number, guid)
        self.numbers.setdefault(guid, number)

    def global_id(self, identifier: ObjectId) -> GlobalId | None:
        guid = self.guids.get(identifier.replica_id)
        return (guid, identifier.counter) if guid is not None else None

    def object_id(self, name: GlobalId) -> ObjectId | None:
        number = self.numbers.get(name[0])
        return ObjectId(number, name[1]) if number is not None else None


@dataclass(slots=True)
class _Pairs:
    """Bindings of one kind of number, both ways."""

    live: dict[Any, Any] = field(default_factory=dict)
    captured: dict[Any, Any] = field(default_factory=dict)

    def bind(self, captured: Any, live: Any) -> bool:
        """False where either is bound to something else."""
        if self.live.get(captured, live) != live or self.captured.get(live, captured) != captured:
            return False
        self.live[captured], self.captured[live] = live, captured
        return True


@dataclass(slots=True)
class Identity:
    """Captured to live, for one captured mailbox."""

    special: dict[ObjectId, ObjectId] = field(default_factory=dict)
    """The live special folders, by what stands for them in a plan (plan.special_folder)."""
    objects: _Pairs = field(default_factory=_Pairs)
    """ObjectId to ObjectId."""
    globals: _Pairs = field(default_factory=_Pairs)
    """GlobalId to GlobalId, of objects."""
    changes: _Pairs = field(default_factory=_Pairs)
    """GlobalId to GlobalId, of changes."""
    keys: _Pairs = field(default_factory=_Pairs)
    """Xid to Xid, of changes whose live key is no number of the store."""
    replicas: dict[uuid.UUID, uuid.UUID] = field(default_factory=dict)
    captured: Names = field(default_factory=Names)
    live: Names = field(default_factory=Names)
    local: list[LocalRange] = field(default_factory=list)
    named: dict[int, int] = field(default_factory=dict)
    """Ids of named properties (from 0x8000 on)."""
    names: dict[str, str] = field(default_factory=dict)
    """DNs of mailboxes, the captured ones in lower case."""

    def learn(self, captured: Any, live: Any, *, change: bool = False) -> bool:
        """Bind one captured id to its live form on first sight. False: one of them is bound to another already.

        change: they are change numbers, not objects.
        """
        if isinstance(captured, ObjectId) and isinstance(live, ObjectId):
            if captured.counter == 0 or live.counter == 0:
                return captured == live
            return self._learn_change(captured, live) if change else self._learn_object(captured, live)
        if isinstance(captured, LongTermId) and isinstance(live, LongTermId):
            return self.learn(Xid(captured.guid, _six(captured.counter)), Xid(live.guid, _six(live.counter)))
        if isinstance(captured, uuid.UUID) and isinstance(live, uuid.UUID):
            return self.replicas.setdefault(captured, live) == live
        if isinstance(captured, Xid) and isinstance(live, Xid):
            here, there = global_id(captured), global_id(live)
            if change and here is not None and there is None and self.own(here[0]):
                return self.keys.bind(captured, live)
            if here is None or there is None:
                return captured == live
            pairs = self.changes if change else self.globals
            if not change and self.try_global(here) not in (None, there):
                return False
            if not pairs.bind(here, there):
                return False
            self.replicas.setdefault(here[0], there[0])
            return True
        return False

    def _learn_object(self, captured: ObjectId, live: ObjectId) -> bool:
        known = self.try_object(captured)
        if known is not None and known != live:
            return False
        if not self.objects.bind(captured, live):
            return False
        here, there = self.captured.global_id(captured), self.live.global_id(live)
        if here is not None and there is not None:
            self.globals.bind(here, there)
        return True

    def _learn_change(self, captured: ObjectId, live: ObjectId) -> bool:
        here, there = self.captured.global_id(captured), self.live.global_id(live)
        return here is None or there is None or self.changes.bind(here, there)

    def learn_local(self, captured: GlobalId, live: GlobalId, count: int) -> None:
        """Bind the counters that a RopGetLocalReplicaIds response begins with."""
        self.local.append(LocalRange(captured, live, count))
        self.replicas.setdefault(captured[0], live[0])

    # Captured to live.

    def object_id(self, captured: ObjectId) -> ObjectId:
        """The live id. The null id is itself. Raises UnmappedError."""
        if captured.counter == 0:
            return captured
        made = self.try_object(captured)
        if made is None and self.same_store and captured.replica_id >= 0 and captured not in self.objects.captured:
            made = captured
        if made is None:
            raise UnmappedError(captured)
        return made

    def try_object(self, captured: ObjectId) -> ObjectId | None:
        """The live id, None where it is not known."""
        known = self.objects.live.get(captured) or self.special.get(captured)
        if known is not None:
            return known
        for name in self._global_ids(captured):
            live = self.globals.live.get(name) or self._local(name)
            made = self.live.object_id(live) if live is not None else None
            if made is not None:
                return made
            if live is not None and self.captured.guids.get(captured.replica_id) == name[0]:
                # The GUID's REPLID was not seen on the live side: it is that of its other objects, mostly.
                return ObjectId(self._usual_replica(captured.replica_id), live[1])
        return None

    def _global_ids(self, captured: ObjectId) -> Iterator[GlobalId]:
        """What an ObjectId may stand for: by its REPLID, or, where that was never told, any GUID with local ids."""
        name = self.captured.global_id(captured)
        if name is not None:
            yield name
        else:
            yield from dict.fromkeys((one.captured[0], captured.counter) for one in self.local)

    def _usual_replica(self, captured: int) -> int:
        known = next((live for one, live in self.objects.live.items() if one.replica_id == captured), None)
        return known.replica_id if known is not None else captured

    def _local(self, captured: GlobalId) -> GlobalId | None:
        return next((made for one in self.local if (made := one.map(captured)) is not None), None)

    def try_global(self, captured: GlobalId) -> GlobalId | None:
        """The live global id of an object, None where it is not known."""
        known = self.globals.live.get(captured) or self._local(captured)
        if known is not None:
            return known
        guid, counter = captured
        number = self.captured.numbers.get(guid)
        guid_live = self.replicas.get(guid)
        numbers = (number,) if number is not None else self._unnamed() if guid_live is not None else ()
        for one in numbers:
            live = self.objects.live.get(ObjectId(one, counter))
            if live is not None:
                name = self.live.global_id(live)
                return name or ((guid_live, live.counter) if guid_live is not None else None)
        return None

    def _unnamed(self) -> Iterator[int]:
        """REPLIDs of captured objects whose GUID was never told."""
        yield from dict.fromkeys(one.replica_id for one in self.objects.live)

    @property
    def same_store(self) -> bool:
        """Whether all replicas seen so far are called the same on both sides: it is the captured server, or its stub.

        Then an id that was never seen is itself.
        """
        return bool(self.replicas) and all(here == there for here, there in self.replicas.items())

    def own(self, guid: uuid.UUID) -> bool:
        """Whether a captured GUID is known to be a replica of the captured store."""
        return guid in self.replicas or guid in self.captured.numbers

    def global_of(self, captured: GlobalId) -> GlobalId | None:
        """The live global id of an object; on the same store, one that was never seen is itself."""
        live = self.try_global(captured)
        if live is None and self.same_store and captured not in self.globals.captured:
            live = captured
        return live

    def long_term_id(self, captured: LongTermId) -> LongTermId:
        """The live LongTermId; one of a foreign replica is itself. Raises UnmappedError."""
        if captured.counter == 0 or not self.own(captured.guid):
            return captured
        live = self.global_of((captured.guid, captured.counter))
        if live is None:
            raise UnmappedError(captured)
        return LongTermId(live[0], live[1], captured.pad)

    def source_key(self, captured: Xid) -> Xid:
        """The live source key; one that is no global id of the store is itself. Raises UnmappedError."""
        name = global_id(captured)
        if name is None or not self.own(name[0]):
            return captured
        live = self.global_of(name)
        if live is None:
            raise UnmappedError(LongTermId(*name))
        return Xid(live[0], _six(live[1]))

    def change_key(self, captured: Xid) -> tuple[Xid, bool]:
        """The live change key and whether it is sure.

        A change of the store that was never seen on the live side keeps its count under the live GUID. What another
        namespace counts (a client's own changes) is itself.
        """
        name = global_id(captured)
        if name is None:
            return captured, True
        key = self.keys.live.get(captured)
        if key is not None:
            return key, True
        live = self.changes.live.get(name)
        if live is not None:
            return Xid(live[0], _six(live[1])), True
        guid = self.replicas.get(name[0])
        return (Xid(guid, captured.local_id), guid == name[0]) if guid is not None else (captured, True)

    def change_number(self, captured: ObjectId) -> ObjectId | None:
        """The live ChangeNumber, None where it is not known."""
        name = self.captured.global_id(captured)
        live = self.changes.live.get(name) if name is not None else None
        if live is None:
            return captured if self.same_store else None
        return self.live.object_id(live)

    # Live to captured.

    def captured_object(self, live: ObjectId) -> ObjectId | None:
        known = self.objects.captured.get(live)
        if known is None:
            name = self.live.global_id(live)
            back = self.captured_global(name) if name is not None else None
            known = self.captured.object_id(back) if back is not None else None
        return known

    def captured_global(self, live: GlobalId) -> GlobalId | None:
        known = self.globals.captured.get(live)
        if known is None:
            known = next((made for one in self.local if (made := one.unmap(live)) is not None), None)
        if known is None:
            number = self.live.numbers.get(live[0])
            back = self.objects.captured.get(ObjectId(number, live[1])) if number is not None else None
            known = self.captured.global_id(back) if back is not None else None
        return known

    def known_objects(self) -> Iterator[tuple[GlobalId, GlobalId]]:
        """Every object that is bound, by its global ids. Ids of local ranges are not counted up."""
        seen: set[GlobalId] = set()
        for here, there in self.globals.live.items():
            seen.add(here)
            yield here, there
        for one, other in self.objects.live.items():
            here_name = self.captured.global_id(one)
            there_name = self.live.global_id(other)
            if here_name is not None and there_name is not None and here_name not in seen:
                yield here_name, there_name

    def dn(self, captured: str) -> str | None:
        """The live DN for a captured one, None for any other text."""
        return self.names.get(captured.lower()) if self.names else None


def global_id(key: Xid) -> GlobalId | None:
    """A GID as GUID and counter; None for an XID of another length."""
    return (key.namespace, int.from_bytes(key.local_id, "big")) if len(key.local_id) == COUNTER_SIZE else None


def _six(counter: int) -> bytes:
    return counter.to_bytes(COUNTER_SIZE, "big")
