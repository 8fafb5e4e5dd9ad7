"""What the live side will know when an exchange is sent, and what has to be supplied so that it does.

Known follows one captured session for the Planner: which handles have a live counterpart, which ids were shown, what
the client uploads as its state, what every ROP needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from construct import Container

from dissector.grammar.base import GrammarError
from dissector.grammar.idset import SET_FORMS, decode_idset
from dissector.grammar.names import property_name
from dissector.grammar.rops import BY_NAME
from dissector.grammar.rops.base import RopDef
from dissector.model.ids import ObjectId
from dissector.session.exchange import Exchange, Rop
from dissector.session.objects import Session
from dissector.session.stream import Stream
from dissector.session.tracker import WITH_VALUE
from replay.compare.changes import Story
from replay.needs import Key, Needs, Shown, named_ids
from replay.steps import NOT_CHOSEN, Ended, PlannedRop, Step, Upload, Where, special_folder

STORE_WIDE = frozenset({
    "RopOpenFolder", "RopOpenMessage", "RopCreateMessage", "RopGetReceiveFolder", "RopSetReceiveFolder",
    "RopGetReceiveFolderTable", "RopGetStoreState", "RopGetPerUserLongTermIds", "RopGetPerUserGuid",
    "RopReadPerUserInformation", "RopGetTransportFolder", "RopGetAddressTypes", "RopLongTermIdFromId",
    "RopIdFromLongTermId", "RopGetLocalReplicaIds", "RopGetPropertyIdsFromNames", "RopGetNamesFromPropertyIds",
})  # fmt: skip
"""ROPs that name what they act on by id, or act on the store: the logon serves as input where the handle is unknown."""

IPM_SUBTREE = 3
"""Its place among the FolderIds of a private RopLogon [MS-OXCSTOR] 2.2.1.1.3."""

PUBLIC_STRINGS = "00020329-0000-0000-c000-000000000046"
CREATE = 2
"""Flags of RopGetPropertyIdsFromNames: names that have no id yet get one."""

ORDER_BY_DELIVERY = 0x00000008
"""SynchronizationExtraFlags [MS-OXCFXICS] 2.2.3.2.1.1.1."""

QUIET_CALLS = frozenset({"Connect", "Disconnect", "PING", "EcDoConnect", "EcDoConnectEx", "EcDoDisconnect", "Execute"})
"""Calls without ROPs that need no word in the plan: the replay makes its own."""

NO_WAIT = "the replay sends one request after another and does not wait for events"


@dataclass(slots=True)
class Mailbox:
    """What the sessions of one captured user share. name: the user's DN in lower case, '' where it was not captured."""

    name: str
    shown: Shown = field(default_factory=Shown)
    ids: set[ObjectId] = field(default_factory=set)
    names: dict[int, Any] = field(default_factory=dict)
    """Names of named properties by id, as PropertyName values."""
    bound: set[int] = field(default_factory=set)
    """Ids of named properties whose live id will be known."""


class Known:
    """One captured session. story: what a stream told that has ended."""

    def __init__(self, session: Session, mailbox: Mailbox, story: Callable[[Stream], Story | None]) -> None:
        self.session, self.mailbox, self.story = session, mailbox, story
        self.handles: dict[int, str] = {}
        """Captured handle values that have a live counterpart, with what they are."""
        self.lost: dict[int, str] = {}
        """Captured handle values that were opened by a ROP that is not sent, with the reason."""
        self.logons: set[int] = set()
        self.skipped_logons: set[int] = set()
        self.uploads: dict[int, Upload] = {}
        """Uploads of state properties that are under way, by captured handle."""
        self.contexts: dict[int, Where] = {}
        self.collected: set[int] = set()
        """Captured handles of collectors, and of the states that are downloaded from them."""
        self.ordered: set[int] = set()
        """Captured handles of tables that were sorted, and of downloads in delivery order."""
        self.needs = Needs(mailbox.shown)
        self.logon_keys: dict[int, Key] = {}

    # One exchange.

    def plan(self, exchange: Exchange, choice: Callable[[Key, str], str] | None, ended: list[Stream]) -> Iterator[Step]:
        step = self.step(exchange, [])
        before: list[Step] = []
        lost_slots: dict[int, str] = {}
        for rop in exchange.rops:
            if rop.request is None:
                continue
            key = (exchange.number, rop.number)
            needs = self.needs.of(rop, key)
            refused = choice(key, rop.name) if choice is not None else ""
            if refused:
                planned = PlannedRop(_definition(rop), rop.request.value, "skip", refused, rop)
            else:
                planned = self.rop(rop, exchange, before, lost_slots)
            if planned.name == "RopLogon" and planned.action == "skip":
                self.skipped_logons.add(rop.logon_id or 0)
            planned.key = key
            planned.needs |= needs
            planned.opener = self.needs.opener
            logon = self.logon_keys.get(rop.logon_id or 0)
            if logon is not None and planned.name != "RopLogon":
                planned.needs.add(logon)
            step.rops.append(planned)
            self.state(planned, rop)
            self.outcome(planned, rop, lost_slots, exchange)
            if rop.response is not None and rop.return_value in WITH_VALUE:
                self.shown(rop, key)
        step.streams = self.ended(ended, step.rops[-1].key if step.rops else (exchange.number, 0), step)
        yield from before
        yield step

    def call(self, exchange: Exchange, ended: list[Stream]) -> Iterator[Step]:
        """A call without ROPs."""
        rops = []
        if exchange.call.request is not None and exchange.call.name not in QUIET_CALLS:
            stand = RopDef(-1, exchange.call.name, "", None, {})
            why = NO_WAIT if "Wait" in exchange.call.name else "no call of the mailbox endpoint that carries ROPs"
            rops.append(PlannedRop(stand, None, "skip", why, key=(exchange.number, 0)))
        step = self.step(exchange, rops)
        step.streams = self.ended(ended, (exchange.number, 0), step)
        if rops or step.streams:
            yield step

    def step(self, exchange: Exchange, rops: list[PlannedRop]) -> Step:
        return Step(
            self.session.number, exchange.number, exchange.frame, rops, mailbox=self.mailbox.name, time=exchange.time
        )

    def ended(self, streams: list[Stream], key: Key, step: Step) -> list[Ended]:
        """Streams that ended with this exchange: the ids and states in them are known from now on."""
        found: list[Ended] = []
        for stream in streams:
            if stream.direction != "download":
                continue
            handle = stream.handle or 0
            one = Ended(
                stream, self.contexts.get(handle, (stream.folder, "")), ordered=handle in self.ordered,
                upload=handle in self.collected,
            )  # fmt: skip
            found.append(one)
            last = next((rop.key for rop in step.rops if rop.name == "RopFastTransferSourceGetBuffer"), key)
            state = stream.account.sets.get("state")
            if state:
                self.mailbox.shown.states.append(({name: one.idset for name, one in state.items()}, last))
            one.story = self.story(stream)
            for told in one.story.changes if one.story is not None else ():
                values = [told.get(path) for path in ("PidTagSourceKey", "PidTagMid", "PidTagFolderId")]
                self.mailbox.shown.learn(values, last)
                self.mailbox.ids.update(value for value in values if isinstance(value, ObjectId))
        return found

    # One ROP.

    def rop(self, rop: Rop, exchange: Exchange, before: list[Step], lost_slots: dict[int, str]) -> PlannedRop:
        definition = rop.definition
        request = rop.request
        assert request is not None
        if definition is None or request.value is None or definition.request is None:
            return PlannedRop(_definition(rop), None, "skip", "its request could not be decoded", rop)
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
        self.unknown_names(rop, value, exchange, before, logon_id)
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
        ids = self.mailbox.ids
        folder = value.get("FolderId")
        if isinstance(folder, ObjectId) and folder.counter and folder not in ids:
            before.append(self.supplied_folder(folder, logon_id, exchange))
            ids.add(folder)
        message = value.get("MessageId")
        if rop.name == "RopOpenMessage" and rop.return_value == 0 and message not in ids:
            before.append(self.supplied_message(folder, message, logon_id, exchange))
            ids.add(message)
        wanted = [value.get("MessageId"), value.get("ObjectId"), *(value.get("MessageIds") or ())]
        for one in wanted:
            if isinstance(one, ObjectId) and one.counter and one not in ids:
                return f"object {one} was made before the capture began, its id on the server is not known"
        return ""

    def unknown_names(self, rop: Rop, value: Any, exchange: Exchange, before: list[Step], logon_id: int) -> None:
        """Named properties whose live ids nothing has asked for: the plan asks."""
        wanted = {number for number in named_ids(value) if number not in self.mailbox.bound}
        response = rop.response.value if rop.response is not None else None
        if rop.name == "RopGetNamesFromPropertyIds" and response is not None and rop.return_value in WITH_VALUE:
            self._names(value.get("PropertyIds") or (), response.get("PropertyNames") or ())
        if wanted:
            before.append(self.supplied_names(sorted(wanted), logon_id, exchange))
            self.mailbox.bound |= wanted

    def _names(self, ids: Any, names: Any) -> None:
        for number, name in zip(ids, names, strict=False):
            if number >= 0x8000 and name.get("GUID") is not None and name.get("Kind") != 0xFF:
                self.mailbox.names.setdefault(number, name)

    # What is supplied.

    def supplied_step(self, exchange: Exchange, rops: list[PlannedRop], stands_for: ObjectId | None = None) -> Step:
        made = self.step(exchange, rops)
        made.supplied, made.stands_for = True, stands_for
        return made

    def supplied_logon(self, logon_id: int, exchange: Exchange) -> Step:
        value = Container(LogonId=logon_id, OutputHandleIndex=0, LogonFlags=1, OpenFlags=0x01000000, StoreState=0)
        reason = f"the capture holds no RopLogon for LogonId {logon_id}"
        if logon_id in self.skipped_logons:
            reason = f"the RopLogon for LogonId {logon_id} is in the capture, and the plan skips it"
        return self.supplied_step(exchange, [PlannedRop(BY_NAME["RopLogon"], value, "supply", reason)])

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
        return self.supplied_step(exchange, rops, folder)

    def supplied_message(self, folder: ObjectId, message: ObjectId, logon_id: int, exchange: Exchange) -> Step:
        reason = "a message made before the capture began: an empty one stands in"
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
        return self.supplied_step(exchange, rops, message)

    def supplied_names(self, ids: list[int], logon_id: int, exchange: Exchange) -> Step:
        """Asks for the live ids of names; a name that the capture never shows gets one that stands in."""
        import uuid

        names = [
            self.mailbox.names.get(number)
            or Container(Kind=1, GUID=uuid.UUID(PUBLIC_STRINGS), Name=f"replay-{number:04x}")
            for number in ids
        ]
        known = sum(number in self.mailbox.names for number in ids)
        reason = f"the live ids of {len(ids)} named properties"
        if known < len(ids):
            reason += f", {len(ids) - known} of which the capture does not name: made-up names stand in"
        value = Container(LogonId=logon_id, InputHandleIndex=0, Flags=CREATE, PropertyNames=names)
        made = self.supplied_step(
            exchange, [PlannedRop(BY_NAME["RopGetPropertyIdsFromNames"], value, "supply", reason)]
        )
        made.named = ids
        return made

    # What a ROP leaves behind.

    def state(self, planned: PlannedRop, rop: Rop) -> None:
        """Uploads of state properties: which ROPs belong to one, and who gave the state."""
        handle = rop.handles.get("InputHandleIndex")
        value = planned.value
        if handle is None or value is None:
            return
        if planned.name == "RopSynchronizationUploadStateStreamBegin":
            upload = self.uploads[handle] = Upload(value["StateProperty"], self.contexts.get(handle, (None, "")))
            planned.upload = upload
        elif planned.name == "RopSynchronizationUploadStateStreamContinue" and handle in self.uploads:
            upload = self.uploads[handle]
            planned.upload, planned.part = upload, len(upload.parts)
            upload.parts.append(bytes(value.get("StreamData") or b""))
        elif planned.name in ("RopSynchronizationUploadStateStreamEnd", "RopRelease") and handle in self.uploads:
            upload = self.uploads.pop(handle)
            upload.ended = True
            giver = self._giver(upload)
            if giver is not None:
                planned.needs.add(giver)

    def _giver(self, upload: Upload) -> Key | None:
        """The ROP that received the state that is uploaded."""
        form = SET_FORMS.get(upload.tag >> 16)
        if form is None or not upload.data:
            return None
        try:
            return self.mailbox.shown.state(property_name(upload.tag), decode_idset(upload.data, form))
        except GrammarError:
            return None

    def outcome(self, planned: PlannedRop, rop: Rop, lost_slots: dict[int, str], exchange: Exchange) -> None:
        """The handle that the ROP opens, and what it is."""
        definition, value = planned.definition, planned.value
        planned.ordered = rop.handles.get("InputHandleIndex") in self.ordered
        if planned.name == "RopSortTable" and planned.action != "skip":
            self.ordered.add(rop.handles.get("InputHandleIndex") or 0)
        if not definition.output or value is None:
            return
        handle, slot = rop.handles.get(definition.output), value.get(definition.output)
        if planned.action == "skip":
            reason = f"its object is opened by {definition.name}, which is skipped: {planned.reason}"
            reason = planned.reason if planned.reason.startswith("its object is opened by") else reason
            reason = NOT_CHOSEN if planned.reason == NOT_CHOSEN else reason
            lost_slots[slot] = reason
            if handle is not None:
                self.lost[handle] = reason
                self.handles.pop(handle, None)
            return
        lost_slots.pop(slot, None)
        if handle is None:
            return
        self.handles[handle] = definition.opens or ""
        self.lost.pop(handle, None)
        self.ordered.discard(handle)
        self.collected.discard(handle)
        self.uploads.pop(handle, None)
        folder = rop.target.folder_id if rop.target is not None else None
        if planned.name == "RopSynchronizationConfigure":
            self.contexts[handle] = (folder, "hierarchy" if value.get("SynchronizationType") == 2 else "contents")
            if value.get("SynchronizationExtraFlags", 0) & ORDER_BY_DELIVERY:
                self.ordered.add(handle)
        elif planned.name == "RopSynchronizationOpenCollector":
            self.contexts[handle] = (folder, "contents" if value.get("IsContentsCollector") else "hierarchy")
            self.collected.add(handle)
        elif planned.name == "RopSynchronizationGetTransferState":
            source = rop.handles.get("InputHandleIndex") or 0
            self.contexts[handle] = self.contexts.get(source, (folder, ""))
            if source in self.collected:
                self.collected.add(handle)

    def shown(self, rop: Rop, key: Key) -> None:
        """The ids that a captured response shows."""
        assert rop.response is not None
        value = rop.response.value
        mailbox = self.mailbox
        mailbox.shown.learn(value, key)
        mailbox.ids.update(object_ids(value))
        request = rop.request.value if rop.request is not None else None
        if rop.name == "RopLogon":
            self.logon_keys[rop.logon_id or 0] = key
        elif rop.name == "RopGetLocalReplicaIds" and request is not None:
            start = value["GlobalCount"]
            mailbox.shown.ranges.append(((value["ReplGuid"], int(start)), request.get("IdCount", 0), key))
        elif rop.name == "RopGetPropertyIdsFromNames" and request is not None:
            ids = value.get("PropertyIds") or ()
            self._names(ids, request.get("PropertyNames") or ())
            mailbox.bound.update(number for number in ids if number >= 0x8000)
            for number in ids:
                mailbox.shown.named.setdefault(number, key)
        elif rop.name == "RopGetNamesFromPropertyIds" and request is not None:
            self._names(request.get("PropertyIds") or (), value.get("PropertyNames") or ())


def _definition(rop: Rop) -> RopDef:
    return rop.definition or RopDef(rop.rop_id, rop.name, "", None, {})


def object_ids(value: Any) -> Iterator[ObjectId]:
    """Every object id in a value."""
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, ObjectId):
            yield one
        elif isinstance(one, dict):
            stack.extend(one.values())
        elif isinstance(one, list):
            stack.extend(one)
