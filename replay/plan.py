"""Exchanges become steps: what is sent, what is supplied because the capture began too late, what is skipped and why.

Pure: nothing is sent here. A plan follows the capture's order. Every ROP of the capture is in it, with its action:

send     the ROP goes out, with handles and ids of the live server
supply   the capture does not hold it, but what follows needs it (a logon, a folder, a message that is opened): the
         plan makes an empty one and says so
skip     its handle, or the object it names, cannot be known: it is named, never guessed
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from construct import Container

from dissector.grammar.rops import BY_NAME
from dissector.grammar.rops.base import RopDef
from dissector.model.ids import ObjectId
from dissector.session.exchange import Exchange, Rop
from dissector.session.objects import Session
from dissector.session.tracker import WITH_VALUE

STORE_WIDE = frozenset({
    "RopOpenFolder", "RopOpenMessage", "RopCreateMessage", "RopGetReceiveFolder", "RopSetReceiveFolder",
    "RopGetReceiveFolderTable", "RopGetStoreState", "RopGetPerUserLongTermIds", "RopGetPerUserGuid",
    "RopReadPerUserInformation", "RopGetTransportFolder", "RopGetAddressTypes", "RopLongTermIdFromId",
    "RopIdFromLongTermId", "RopGetLocalReplicaIds", "RopGetPropertyIdsFromNames", "RopGetNamesFromPropertyIds",
})  # fmt: skip
"""ROPs that name what they act on by id, or act on the store: the logon serves as input where the handle is unknown."""

IPM_SUBTREE = 3
"""Its place among the FolderIds of a private RopLogon [MS-OXCSTOR] 2.2.1.1.3."""


def special_folder(logon_id: int, position: int) -> ObjectId:
    """A stand-in id for a special folder of the live logon. Its negative replica id cannot come from a capture."""
    return ObjectId(-1 - logon_id, position + 1)


@dataclass(slots=True)
class PlannedRop:
    """One ROP of the plan. value: the request to send (captured ids in it); captured: None when supplied."""

    definition: RopDef
    value: Any
    action: str
    reason: str = ""
    captured: Rop | None = None
    stand_in: int | None = None
    """The LogonId whose logon object serves as the input, where the captured handle is not known."""

    @property
    def name(self) -> str:
        return self.definition.name


@dataclass(slots=True)
class Step:
    """One Execute: the ROPs of one captured exchange, or what was supplied before it.

    session: the number of the captured session. stands_for: the captured folder or message that a
    supplied one is made for.
    """

    session: int
    exchange: int
    frame: int
    rops: list[PlannedRop]
    supplied: bool = False
    stands_for: ObjectId | None = None


class Planner:
    """Makes steps out of exchanges, in order, remembering per session what the live side will know."""

    def __init__(self) -> None:
        self._sessions: dict[int, _Known] = {}

    def steps(self, exchanges: Iterable[Exchange]) -> Iterator[Step]:
        for exchange in exchanges:
            if exchange.session is None or not any(rop.request is not None for rop in exchange.rops):
                continue
            known = self._sessions.setdefault(exchange.session.number, _Known(exchange.session))
            yield from known.plan(exchange)


class _Known:
    """What the live side will know of one captured session when its next exchange is sent."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.handles: dict[int, str] = {}
        """Captured handle values that have a live counterpart, with what they are."""
        self.lost: dict[int, str] = {}
        """Captured handle values that were opened by a ROP that is not sent, with the reason."""
        self.ids: set[ObjectId] = set()
        self.logons: set[int] = set()

    def plan(self, exchange: Exchange) -> Iterator[Step]:
        step = Step(self.session.number, exchange.number, exchange.frame, [])
        before: list[Step] = []
        lost_slots: dict[int, str] = {}
        for rop in exchange.rops:
            if rop.request is None:
                continue
            planned = self.rop(rop, exchange, before, lost_slots)
            step.rops.append(planned)
            self.outcome(planned, rop, lost_slots)
        yield from before
        yield step

    def rop(self, rop: Rop, exchange: Exchange, before: list[Step], lost_slots: dict[int, str]) -> PlannedRop:
        definition = rop.definition
        request = rop.request
        assert request is not None
        if definition is None or request.value is None or definition.request is None:
            stand = definition or RopDef(rop.rop_id, rop.name, "", None, {})
            return PlannedRop(stand, None, "skip", "its request could not be decoded", rop)
        value = request.value
        if definition.name == "RopLogon":
            if not value.get("LogonFlags", 0) & 1:
                return PlannedRop(definition, value, "skip", "a public folder logon; the plan has one mailbox", rop)
            self.logons.add(value["LogonId"])
            return PlannedRop(definition, value, "send", "", rop)
        logon_id = value.get("LogonId", 0)
        if logon_id not in self.logons:
            self.logons.add(logon_id)
            before.append(self.supplied_logon(logon_id, exchange))
        planned = PlannedRop(definition, value, "send", "", rop)
        for number, name in enumerate(definition.handles):
            reason = self.unknown_handle(value.get(name), rop.handles.get(name), lost_slots)
            if reason and number == 0 and definition.name in STORE_WIDE and value.get(name) not in lost_slots:
                planned.stand_in = logon_id
                planned.reason = f"{reason}; the logon stands in, since the ROP names its folder itself"
            elif reason:
                planned.action, planned.reason = "skip", reason
                return planned
        reason = self.unknown_ids(rop, value, exchange, before, logon_id)
        if reason:
            planned.action, planned.reason = "skip", reason
        return planned

    def unknown_handle(self, slot: int | None, handle: int | None, lost_slots: dict[int, str]) -> str:
        """Why this input handle has no live counterpart, or '' where it has one."""
        if slot in lost_slots:
            return lost_slots[slot]
        if handle is None:
            return "the capture does not show its handle"
        if handle in self.handles:
            return ""
        return self.lost.get(handle) or f"its object (handle 0x{handle:x}) was opened before the capture began"

    def unknown_ids(self, rop: Rop, value: Any, exchange: Exchange, before: list[Step], logon_id: int) -> str:
        """Why an id in the request has no live counterpart; a folder or message that is opened is supplied."""
        folder = value.get("FolderId")
        if isinstance(folder, ObjectId) and folder.counter and folder not in self.ids:
            before.append(self.supplied_folder(folder, logon_id, exchange))
            self.ids.add(folder)
        message = value.get("MessageId")
        if rop.name == "RopOpenMessage" and rop.return_value == 0 and message not in self.ids:
            before.append(self.supplied_message(rop, folder, message, logon_id, exchange))
            self.ids.add(message)
        wanted = [value.get("MessageId"), value.get("ObjectId"), *(value.get("MessageIds") or ())]
        for one in wanted:
            if isinstance(one, ObjectId) and one.counter and one not in self.ids:
                return f"object {one} was made before the capture began, its id on the server is not known"
        return ""

    def supplied_logon(self, logon_id: int, exchange: Exchange) -> Step:
        value = Container(LogonId=logon_id, OutputHandleIndex=0, LogonFlags=1, OpenFlags=0x01000000, StoreState=0)
        reason = f"the capture holds no RopLogon for LogonId {logon_id}"
        rop = PlannedRop(BY_NAME["RopLogon"], value, "supply", reason)
        return Step(self.session.number, exchange.number, exchange.frame, [rop], supplied=True)

    def supplied_folder(self, folder: ObjectId, logon_id: int, exchange: Exchange) -> Step:
        reason = f"the capture does not show which folder {folder} is"
        parent = Container(
            LogonId=logon_id, InputHandleIndex=0, OutputHandleIndex=1, FolderId=special_folder(logon_id, IPM_SUBTREE),
            OpenModeFlags=0,
        )  # fmt: skip
        made = Container(
            LogonId=logon_id, InputHandleIndex=1, OutputHandleIndex=2, FolderType=1, UseUnicodeStrings=True,
            OpenExisting=True, Reserved=0, DisplayName=f"Replay {folder}", Comment="",
        )  # fmt: skip
        rops = [
            PlannedRop(BY_NAME["RopOpenFolder"], parent, "supply", f"parent of the folder that stands for {folder}"),
            PlannedRop(BY_NAME["RopCreateFolder"], made, "supply", reason),
        ]
        return Step(
            self.session.number, exchange.number, exchange.frame, rops, supplied=True, stands_for=folder
        )  # fmt: skip

    def supplied_message(
        self, rop: Rop, folder: ObjectId, message: ObjectId, logon_id: int, exchange: Exchange
    ) -> Step:
        reason = f"message {message} was made before the capture began; an empty one stands in"
        values = {
            "RopCreateMessage": Container(
                LogonId=logon_id, InputHandleIndex=0, OutputHandleIndex=1, CodePageId=0x0FFF, FolderId=folder,
                AssociatedFlag=False,
            ),
            "RopSaveChangesMessage": Container(
                LogonId=logon_id, ResponseHandleIndex=0, InputHandleIndex=1, SaveFlags=0x0C
            ),
            "RopRelease": Container(LogonId=logon_id, InputHandleIndex=1),
        }  # fmt: skip
        rops = [PlannedRop(BY_NAME[name], value, "supply", reason) for name, value in values.items()]
        return Step(
            self.session.number, exchange.number, exchange.frame, rops, supplied=True, stands_for=message
        )  # fmt: skip

    def outcome(self, planned: PlannedRop, rop: Rop, lost_slots: dict[int, str]) -> None:
        """What the ROP leaves behind: the handle it opens, the ids its captured response shows."""
        definition, value = planned.definition, planned.value
        if definition.output and value is not None:
            handle, slot = rop.handles.get(definition.output), value.get(definition.output)
            if planned.action == "skip":
                reason = f"its object is opened by {definition.name}, which is skipped: {planned.reason}"
                reason = planned.reason if planned.reason.startswith("its object is opened by") else reason
                lost_slots[slot] = reason
                if handle is not None:
                    self.lost[handle] = reason
                    self.handles.pop(handle, None)
            else:
                lost_slots.pop(slot, None)
                if handle is not None:
                    self.handles[handle] = definition.opens or ""
                    self.lost.pop(handle, None)
        if planned.action != "skip" and rop.response is not None and rop.return_value in WITH_VALUE:
            self.ids.update(_ids(rop.response.value))


def _ids(value: Any) -> Iterator[ObjectId]:
    """Every object id in a value."""
    if isinstance(value, ObjectId):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _ids(item)
    elif isinstance(value, list):
        for item in value:
            yield from _ids(item)
