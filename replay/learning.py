"""What a pair of responses teaches: handles, logons, ids, REPLIDs, named properties, contexts of synchronization."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dissector.grammar.names import property_name
from dissector.model.ids import LongTermId, ObjectId
from dissector.model.pcl import Xid
from dissector.session.exchange import Exchange, Rop
from dissector.session.streams import DONE, OPENING
from dissector.session.tracker import WITH_VALUE
from replay.asking import GET_BUFFER, transfer_status
from replay.compare.streams import Strangers
from replay.contexts import Contexts
from replay.errors import ProtocolError
from replay.identity import GlobalId, Identity, Names, global_id
from replay.states import States
from replay.steps import PlannedRop, Step, special_folder

STANDS_IN = "made before the capture began: an empty one stands in"

Lacking = dict[int | ObjectId | GlobalId, str]
"""Captured handles and ids whose live object misses what the captured one had, and why."""


@dataclass(slots=True)
class Mailbox:
    """What the live sessions of one captured mailbox share. spare: live ids that were handed out and not used yet.

    given: names of the properties that were written to messages of the live server, by the captured ids of these.
    """

    identity: Identity = field(default_factory=Identity)
    lacking: Lacking = field(default_factory=dict)
    spare: list[GlobalId] = field(default_factory=list)
    given: dict[GlobalId, set[str]] = field(default_factory=dict)
    strangers: Strangers = field(default_factory=Strangers)
    """Objects of either side that have no counterpart on the other."""
    states: States = field(init=False)

    def __post_init__(self) -> None:
        self.states = States(self.identity)


@dataclass(slots=True)
class LiveSession:
    """One live session that stands for one captured session. number: of the live one, as its exchanges have it."""

    mailbox: Mailbox
    handles: dict[int, int] = field(default_factory=dict)
    logons: dict[int, int] = field(default_factory=dict)
    ended_streams: set[int] = field(default_factory=set)
    """Live handles of downloads that were read to their end."""
    lacking: Lacking = field(default_factory=dict)
    imported: dict[int, GlobalId] = field(default_factory=dict)
    """Which message an open handle imports, by captured handle and id."""

    @property
    def identity(self) -> Identity:
        return self.mailbox.identity


def learn(planned: PlannedRop, rop: Rop, step: Step, live: LiveSession, exchange: Exchange, contexts: Contexts) -> None:
    """Take what one live answer tells. Raises ProtocolError where a ROP that the plan supplies fails."""
    definition = planned.definition
    if not definition.responses:
        handle = planned.captured.handles.get("InputHandleIndex") if planned.captured is not None else None
        if definition.name == "RopRelease" and handle is not None:
            live.handles.pop(handle, None)
        return
    if rop.response is None or rop.response.value is None:
        if planned.action == "supply":
            raise ProtocolError(f"{planned.name}, which the plan supplies, got no response")
        return
    captured_handle = planned.captured.handles.get(definition.output or "") if planned.captured is not None else None
    if rop.return_value not in WITH_VALUE:
        if planned.action == "supply":
            code = rop.return_value or 0
            raise ProtocolError(f"{planned.name}, which the plan supplies, failed: 0x{code:08X} {rop.return_name}")
        if captured_handle is not None:
            live.handles.pop(captured_handle, None)  # what had this handle before is gone on the captured side
        return
    response = rop.response.value
    handle = rop.handles.get(definition.output) if definition.output else None
    if handle is not None:
        live.ended_streams.discard(handle)
        if captured_handle is not None:
            live.handles[captured_handle] = handle
            if definition.rop_id in OPENING and exchange.session is not None:
                here = (step.session, captured_handle, step.exchange)
                contexts.opened(here, (exchange.session.number, handle, exchange.number))
    identity = live.identity
    if definition.name == "RopLogon" and handle is not None:
        logon_id = planned.value.get("LogonId", 0)
        live.logons[logon_id] = handle
        for position, folder in enumerate(response["FolderIds"].values()):
            identity.special[special_folder(logon_id, position)] = folder
    _replicas(definition.name, rop.request.value if rop.request is not None else None, response, identity.live)
    made = response.get("MessageId") or response.get("FolderId")
    if step.stands_for is not None and isinstance(made, ObjectId) and made.counter:
        identity.learn(step.stands_for, made)
        live.mailbox.lacking[step.stands_for] = STANDS_IN
    if step.named:
        identity.named.update(zip(step.named, response.get("PropertyIds") or (), strict=False))
    if planned.captured is not None:
        _given(planned, live)
        _from_pair(planned, rop, response, live, exchange)


def _given(planned: PlannedRop, live: LiveSession) -> None:
    """Which properties of an imported message the client has written."""
    assert planned.captured is not None
    handle = planned.captured.handles.get("OutputHandleIndex")
    if planned.name == "RopSynchronizationImportMessageChange" and handle is not None:
        keys = (one["PropertyValue"] for one in planned.value["PropertyValues"] if one["PropertyTag"] >> 16 == 0x65E0)
        name = next((global_id(key) for key in keys if isinstance(key, Xid)), None)
        if name is not None:
            live.imported[handle] = name
    elif planned.name in ("RopSetProperties", "RopSetPropertiesNoReplicate"):
        name = live.imported.get(planned.captured.handles.get("InputHandleIndex") or 0)
        answer = planned.captured.response.value if planned.captured.response is not None else None
        refused = {one["PropertyTag"] for one in (answer or {}).get("PropertyProblems") or ()}
        if name is not None:
            tags = {one["PropertyTag"] for one in planned.value["PropertyValues"]} - refused
            live.mailbox.given.setdefault(name, set()).update(filter(None, map(property_name, tags)))


def _from_pair(planned: PlannedRop, rop: Rop, response: Any, live: LiveSession, exchange: Exchange) -> None:
    """What both answers tell together."""
    captured = planned.captured
    assert captured is not None
    before = captured.response.value if captured.response is not None else None
    if before is None or captured.return_value not in WITH_VALUE:
        return
    identity = live.identity
    name = planned.name
    request = captured.request.value if captured.request is not None else None
    _replicas(name, request, before, identity.captured)
    if name == "RopLogon":
        identity.learn(before.get("ReplGuid"), response.get("ReplGuid"))
        for mine, theirs in zip(before["FolderIds"].values(), response["FolderIds"].values(), strict=False):
            identity.learn(mine, theirs)
    elif name == "RopGetLocalReplicaIds":
        here, there = ((one["ReplGuid"], _counter(one["GlobalCount"])) for one in (before, response))
        identity.learn_local(here, there, planned.value.get("IdCount", 0))
    elif name == "RopGetPropertyIdsFromNames":
        for mine, theirs in zip(before["PropertyIds"], response["PropertyIds"], strict=False):
            if mine >= 0x8000 and theirs >= 0x8000:
                identity.named.setdefault(mine, theirs)
    elif name == GET_BUFFER and transfer_status(exchange, rop) == DONE:
        source = rop.handles.get("InputHandleIndex")
        if source is not None:
            live.ended_streams.add(source)


def _replicas(name: str, request: Any, response: Any, names: Names) -> None:
    """Which GUID a REPLID stands for, where an answer tells."""
    if name == "RopLogon":
        number, guid = response.get("ReplId"), response.get("ReplGuid")
        if number is not None and guid is not None:
            names.learn(number, guid)
        return
    if name not in ("RopLongTermIdFromId", "RopIdFromLongTermId") or request is None:
        return
    both = {**request, **response}
    number, long_term = both.get("ObjectId"), both.get("LongTermId")
    if isinstance(number, ObjectId) and isinstance(long_term, LongTermId) and number.counter == long_term.counter:
        names.learn(number.replica_id, long_term.guid)


def _counter(value: Any) -> int:
    """A 48-bit counter, whether the grammar gives a number or its 6 bytes."""
    return int.from_bytes(value, "big") if isinstance(value, bytes) else int(value)
