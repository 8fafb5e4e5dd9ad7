"""Captured answers for live ROPs: which captured ROP a client's request is, and its response with live handles.

A request is matched by its name, by the objects it acts on (not by the numbers of their handles) and by its fields. The
first captured ROP that fits and was not given yet answers; one that was given answers again where it only reads. Some
ROPs need not agree in every field (what a client writes, its DN at logon). What nothing fits is refused by name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from construct import ConstructError, Container

from dissector.emsmdb import buffers
from dissector.grammar.base import build
from dissector.grammar.rops.base import RopDef
from dissector.session.exchange import Exchange, Rop, RopSide
from dissector.session.objects import NO_HANDLE, Session
from dissector.session.roplist import read_requests
from dissector.session.tracker import WITH_VALUE
from dissector.source import ByteSource
from replay.ropkinds import WRITES

NOT_SUPPORTED = 0x80040102
"""ReturnValue of what the capture cannot answer (ecNotSupported)."""

CHAIN = 0x4
"""Flags of an Execute request: the response may hold several buffers."""

INDEXES = frozenset({
    "RopId", "LogonId", "InputHandleIndex", "OutputHandleIndex", "ResponseHandleIndex", "SourceHandleIndex",
    "DestHandleIndex",
})  # fmt: skip
"""Fields of a request that say where things stand in a buffer, not what is meant."""

LOOSE = WRITES | {
    "RopLogon", "RopFastTransferSourceGetBuffer", "RopSynchronizationUploadStateStreamBegin",
    "RopSynchronizationUploadStateStreamContinue", "RopSynchronizationUploadStateStreamEnd", "RopTellVersion",
    "RopGetLocalReplicaIds", "RopReadStream", "RopRegisterNotification",
}  # fmt: skip
"""ROPs whose fields need not agree with the captured ones."""

ONCE = frozenset({
    "RopFastTransferSourceGetBuffer", "RopReadStream", "RopQueryRows", "RopSaveChangesMessage", "RopFindRow",
    "RopSeekRow", "RopGetLocalReplicaIds",
})  # fmt: skip
"""ROPs whose answer depends on how often they were asked: a captured one answers once."""

Objects = tuple[int | None, ...]


@dataclass(slots=True)
class Entry:
    """A captured ROP that can answer. objects: what it acts on, numbered; opens: the number of what it opens.

    responses: its own and the packed ones behind it; given: how many of them were given. others: what the response
    buffer holds beside the answers (RopNotify), to be sent along with this one.
    """

    frame: int
    rop: Rop
    objects: Objects
    opens: int | None
    responses: list[RopSide]
    given: int = 0
    others: list[RopSide] = field(default_factory=list)

    @property
    def used(self) -> bool:
        return self.given >= max(1, len(self.responses))


class Refusal(NamedTuple):
    """A request that the capture cannot answer."""

    session: int
    rop: str
    why: str


@dataclass(slots=True)
class Script:
    """What one captured session can answer. waits: NotificationWait calls: (EventPending, seconds it took)."""

    session: Session
    fields: Mapping[str, Any] = field(default_factory=dict)
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    waits: list[tuple[int, float]] = field(default_factory=list)
    logon_flags: dict[int, int] = field(default_factory=dict)
    codepage: str | None = None
    _objects: dict[int, int] = field(default_factory=dict)
    _count: int = 0

    def add(self, exchange: Exchange) -> None:
        """Take an exchange of the session."""
        call = exchange.call
        if call.name in ("Connect", "EcDoConnectEx", "EcDoConnect") and call.response is not None:
            self.fields = dict(call.response.fields)
        if call.name == "NotificationWait" and call.response is not None and call.request is not None:
            pending = call.response.fields.get("EventPending")
            self.waits.append((int(pending or 0), max(0.0, call.response.time - call.request.time)))
        self.codepage = self.session.codepage
        last: Entry | None = None
        packed: dict[int, Entry] = {}
        for rop in exchange.rops:
            if rop.continues is not None:
                first = packed.get(id(rop.continues))
                if first is not None and rop.response is not None:
                    first.responses.append(rop.response)
            elif rop.request is None:
                if last is not None and rop.response is not None:
                    last.others.append(rop.response)
            else:
                last = packed[id(rop)] = self._entry(rop, exchange.frame)

    def _entry(self, rop: Rop, frame: int) -> Entry:
        definition = rop.definition
        names = definition.handles if definition is not None else ()
        objects = tuple(self._objects.get(handle) if (handle := rop.handles.get(name)) is not None else None
                        for name in names)  # fmt: skip
        opens = None
        handle = rop.handles.get(definition.output) if definition is not None and definition.output else None
        if handle is not None and rop.return_value in WITH_VALUE:
            self._count += 1
            opens = self._objects[handle] = self._count
        if rop.name == "RopLogon" and rop.request is not None and rop.request.value is not None:
            self.logon_flags[rop.request.value.get("LogonId", 0)] = rop.request.value.get("LogonFlags", 1)
        entry = Entry(frame, rop, objects, opens, [rop.response] if rop.response is not None else [])
        self.entries.setdefault(rop.name, []).append(entry)
        return entry

    def find(self, name: str, objects: Objects, value: Any) -> tuple[Entry | None, str]:
        """The captured ROP that answers, or None and why there is none."""
        entries = self.entries.get(name)
        if not entries:
            return None, "the capture holds none"
        same = [one for one in entries if one.objects == objects]
        if not same:
            return None, "the capture holds none on this object"
        meant = _meant(value)
        exact = [one for one in same if one.rop.request is not None and _meant(one.rop.request.value) == meant]
        fresh = next((one for one in exact if not one.used), None)
        if fresh is None and name in LOOSE:
            fresh = next((one for one in same if not one.used), None)
        if fresh is not None:
            return fresh, ""
        if exact and name not in ONCE:
            return exact[-1], ""
        if exact:
            return None, "the capture holds no more of them on this object"
        return None, "the capture holds none with these fields"


def _meant(value: Any) -> dict[str, Any]:
    """The fields of a request that say what is meant."""
    return {name: item for name, item in (value or {}).items() if name not in INDEXES}


def scripts_of(exchanges: Iterable[Exchange]) -> list[Script]:
    """What every session of a capture can answer, in order of appearance; those without ROPs are left out."""
    found: dict[int, Script] = {}
    for exchange in exchanges:
        if exchange.session is not None:
            found.setdefault(exchange.session.number, Script(exchange.session)).add(exchange)
    return [script for script in found.values() if script.entries]


class StubSession:
    """A live session that is answered from one captured session. refused: what could not be answered.

    silent: ROPs that were taken and have no answer (RopRelease).
    """

    def __init__(self, script: Script, number: int) -> None:
        self.script, self.number = script, number
        self.refused: list[Refusal] = []
        self.answered = self.silent = 0
        self._objects: dict[int, int] = {}
        self._handles: dict[int, int] = {}
        self._next = 1
        self._waits = list(script.waits)

    def execute(self, rop_buffer: bytes, flags: int) -> bytes:
        """The extended buffer that answers one. Raises ValueError where it cannot be read."""
        chain = buffers.chain(ByteSource("RopBuffer", rop_buffer), 0, len(rop_buffer), "ROP buffer")
        if not chain.parts:
            raise ValueError("no ROP buffer")
        first: list[bytes] = []
        behind: list[bytes] = []
        others: list[bytes] = []
        table: list[int] = []
        for part in chain.parts:
            buffer = read_requests(part.plain, self._params)
            table.extend(buffer.handles[len(table) :])
            for side in buffer.rops:
                first += self._one(side, table, flags, behind, others)
        handles = struct.pack(f"<{len(table)}I", *table)
        payloads = [_payload(b"".join(first + others), handles)] + [_payload(one, handles) for one in behind]
        return buffers.pack(payloads)

    def wait(self) -> tuple[int, float]:
        """What the next NotificationWait is answered with: EventPending, and after how many seconds."""
        return self._waits.pop(0) if self._waits else (0, 60.0)

    def _params(self, definition: RopDef, logon_id: int) -> dict[str, Any]:
        made: dict[str, Any] = {"codepage": self.script.codepage} if self.script.codepage else {}
        if "logon_flags" in definition.params:
            made["logon_flags"] = self.script.logon_flags.get(logon_id, 1)
        return made

    def _one(
        self, side: RopSide, table: list[int], flags: int, behind: list[bytes], others: list[bytes]
    ) -> list[bytes]:
        """The responses to one ROP that stand in the first buffer."""
        definition, value = side.definition, side.value
        if definition is None or value is None:
            self.refused.append(Refusal(self.number, side.name, "its request cannot be read"))
            raise ValueError(f"{side.name} cannot be read")
        slots = [value.get(name) for name in definition.handles]
        handles = [table[slot] if slot is not None and slot < len(table) else NO_HANDLE for slot in slots]
        objects = tuple(self._objects.get(handle) for handle in handles)
        if not definition.responses:
            for handle in handles:
                self._objects.pop(handle, None)
            self.silent += 1
            return []
        entry, why = self.script.find(side.name, objects, value)
        if entry is None or not entry.responses:
            why = why or "the capture does not hold its response"
            self.refused.append(Refusal(self.number, side.name, why))
            return [_refusal(definition, value)]
        self.answered += 1
        start = entry.given if not entry.used else 0
        count = len(entry.responses) - start if flags & CHAIN else 1
        chosen = entry.responses[start : start + count]
        entry.given = start + count
        if definition.output and entry.opens is not None:
            self._open(entry.opens, value[definition.output], table)
        made = [self._answer(response, value, definition) for response in chosen]
        behind += made[1:]
        if entry.used:
            others += [self._answer(one, {}) for one in entry.others]
            entry.others = []
        return made[:1]

    def _open(self, number: int, slot: int, table: list[int]) -> None:
        handle, self._next = self._next, self._next + 1
        self._objects[handle] = number
        self._handles[number] = handle
        table.extend([NO_HANDLE] * (slot + 1 - len(table)))
        table[slot] = handle

    def _answer(self, response: RopSide, request: Any, asked: RopDef | None = None) -> bytes:
        """A captured response for a live request: its own handle indexes, and live handles."""
        original = response.source.data[response.offset : response.offset + response.length]
        if response.value is None or response.layout is None:
            return original
        value = Container(response.value)
        for name in INDEXES - {"RopId", "LogonId"}:
            if name in value and name in request:
                value[name] = request[name]
        if asked is not None and response.definition is not None and asked.index and response.definition.index:
            value[response.definition.index] = request[asked.index]  # RopProgress may be answered by another ROP
        if "NotificationHandle" in value:
            value["NotificationHandle"] = self._notified(value["NotificationHandle"])
        try:
            return build(response.layout, value, **response.params)
        except ConstructError:
            return original

    def _notified(self, captured: int) -> int:
        number = self.script._objects.get(captured)
        return self._handles.get(number, captured) if number is not None else captured


def _payload(rops: bytes, handles: bytes) -> bytes:
    return struct.pack("<H", len(rops) + 2) + rops + handles


def _refusal(definition: RopDef, request: Any) -> bytes:
    """The failure response of a ROP."""
    index = request.get(definition.index or "", 0)
    head = struct.pack("<BBI", definition.response_id, index, NOT_SUPPORTED)
    layout = definition.short_failure or definition.responses.get(None)
    if layout is None:
        return head
    value = {"ReturnValue": NOT_SUPPORTED, str(definition.index): index}
    try:
        return build(
            layout, {**{name: request[name] for name in INDEXES if name in request and name != "RopId"}, **value}
        )
    except ConstructError:
        return head
