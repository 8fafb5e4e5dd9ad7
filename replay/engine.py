"""The replay, without a socket: it says what to send next and is told what came back.

conversation() is a generator: it yields an Outgoing and is sent the HttpExchange that answered it. The live exchanges
go through the dissector's own session tracker, so that both sides of a comparison were read by the same code.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dissector.emsmdb import calls_from
from dissector.grammar.base import build
from dissector.grammar.names import error_name
from dissector.model.ids import ObjectId
from dissector.session.exchange import Exchange, Rop
from dissector.session.objects import NO_HANDLE
from dissector.session.tracker import Tracker
from dissector.transport.messages import HttpExchange
from replay.compare.policy import POLICY, Rule
from replay.compare.responses import Difference, compare
from replay.errors import ReplayError
from replay.identity import IdentityMap, UnmappedError
from replay.messages import connect_body, disconnect_body, execute_body
from replay.plan import PlannedRop, Step, special_folder
from replay.report import Outcome, Report
from replay.rewrite import rewritten

MOST_EXTRA_BUFFERS = 100_000
"""How often a stream that the capture had read to its end is asked for more, at most."""


READING = ("RopGet", "RopQuery", "RopRead", "RopFind", "RopSeek", "RopReload", "RopOpen", "RopRelease", "RopSetColumns")
"""ROPs that write nothing: skipping them leaves no object without something."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request to send: which live session (by the captured one's number), X-RequestType, body."""

    session: int
    request_type: str
    body: bytes


Conversation = Generator[Outgoing, HttpExchange, None]


@dataclass(slots=True)
class _Live:
    """One live session that stands for one captured session."""

    identity: IdentityMap = field(default_factory=IdentityMap)
    logons: dict[int, int] = field(default_factory=dict)
    ended_streams: set[int] = field(default_factory=set)
    lacking: dict[int | ObjectId, str] = field(default_factory=dict)
    """Captured handles and message ids whose live object misses what a skipped ROP would have written, and why."""


class Engine:
    """Runs a plan. report: complete when the conversation has ended."""

    def __init__(self, steps: Iterable[Step], mailbox: str, policy: tuple[Rule, ...] = POLICY) -> None:
        self._steps, self._mailbox, self._policy = steps, mailbox, policy
        self._sessions: dict[int, _Live] = {}
        self._tracker = Tracker()
        self.report = Report()

    def conversation(self) -> Conversation:
        """The whole replay: Connect where a session begins, an Execute per step, Disconnect at the end."""
        for step in self._steps:
            live = self._sessions.get(step.session)
            if live is None:
                yield from self._connect(step)
                live = self._sessions[step.session] = _Live()
            yield from self._step(step, live)
        for session in self._sessions:
            yield Outgoing(session, "Disconnect", disconnect_body())

    def _connect(self, step: Step) -> Conversation:
        answer = yield Outgoing(step.session, "Connect", connect_body(self._mailbox))
        exchange = self._exchange(answer, "Connect")
        response = exchange.call.response
        if response is None or response.return_code:
            code = response.return_code if response is not None else None
            shown = f"0x{code:08X} {error_name(code)}" if code is not None else "no answer"
            raise ReplayError(f"Connect for {self._mailbox} failed: {shown}")

    def _exchange(self, answer: HttpExchange, request_type: str) -> Exchange:
        call = calls_from(answer)
        if call is None:
            raise ReplayError(f"{request_type}: the answer is no MAPI/HTTP response")
        return self._tracker.exchange(call)

    def _step(self, step: Step, live: _Live) -> Conversation:
        sent: list[PlannedRop] = []
        payload: list[bytes] = []
        slots: dict[int, int] = {}
        filled: set[int] = set()
        for rop in step.rops:
            reason = rop.reason if rop.action == "skip" else ""
            if not reason:
                made, reason = self._request(rop, step, live, slots, filled)
                if made is not None:
                    sent.append(rop)
                    payload.append(made)
            if reason:
                self.report.skipped.append((step.frame, rop.name, reason))
                self._lacks(rop, step, live)
        if not sent:
            return
        for rop in sent:
            if rop.action == "supply" and rop.definition.output:
                self.report.supplied.append((step.frame, rop.name, rop.reason))
        exchange = yield from self._execute(step.session, payload, slots)
        answered = [rop for rop in exchange.rops if rop.request is not None]
        for planned, answer in zip(sent, answered, strict=False):
            self._learn(planned, answer, step, live)
            if planned.captured is not None:
                differences = compare(planned.captured, answer, live.identity, self._policy)
                differences = self._excused(planned.captured, differences, live)
                if planned.captured.response is not None or not planned.definition.responses:
                    self.report.add(Outcome(step.frame, planned.name, differences))
        for planned in sent[len(answered) :]:
            lost = Difference("", "a response", "none: the live ROP list could not be read so far", "different")
            self.report.add(Outcome(step.frame, planned.name, [lost]))
        yield from self._read_on(step, live, sent, answered)

    def _lacks(self, rop: PlannedRop, step: Step, live: _Live) -> None:
        """Remember the live objects that a skipped ROP leaves without what it would have written."""
        if rop.captured is None or rop.name.startswith(READING):
            return
        for handle in rop.captured.handles.values():
            if handle is not None and handle in live.identity.handles:
                live.lacking.setdefault(handle, f"{rop.name} of frame {step.frame} was skipped")

    def _excused(self, captured: Rop, differences: list[Difference], live: _Live) -> list[Difference]:
        """Differences of an object that lacks something are expected; what is made of it lacks the same."""
        definition = captured.definition
        request = captured.request.value if captured.request is not None else None
        if definition is None or request is None:
            return differences
        response = captured.response.value if captured.response is not None else None
        opened = [request.get("MessageId") or request.get("FolderId")] if definition.output else []
        keys = [*(captured.handles.get(name) for name in definition.handles), *opened]
        why = next((live.lacking[key] for key in keys if key is not None and key in live.lacking), "")
        if not why:
            live.lacking.pop(_handle(captured, definition.output), None)
            return differences
        if definition.name in ("RopCopyTo", "RopCopyProperties"):
            live.lacking[_handle(captured, "DestHandleIndex")] = why
        if definition.output and not definition.name.startswith(("RopOpenFolder", "RopCreate")):
            live.lacking[_handle(captured, definition.output)] = why
        if definition.name == "RopSaveChangesMessage" and response is not None and response.get("MessageId"):
            live.lacking[response["MessageId"]] = why
        return [
            Difference(one.path, one.captured, one.live, "expected", why) if one.verdict == "different" else one
            for one in differences
        ]

    def _execute(
        self, session: int, payload: list[bytes], slots: Mapping[int, int]
    ) -> Generator[Outgoing, HttpExchange, Exchange]:
        rops = b"".join(payload)
        handles = [slots.get(index, NO_HANDLE) for index in range(max(slots, default=-1) + 1)]
        buffer = struct.pack("<H", len(rops) + 2) + rops + struct.pack(f"<{len(handles)}I", *handles)
        answer = yield Outgoing(session, "Execute", execute_body(buffer))
        exchange = self._exchange(answer, "Execute")
        response = exchange.call.response
        if response is None or (response.return_code and not response.payloads):
            code = response.return_code if response is not None else None
            shown = f"0x{code:08X} {error_name(code)}" if code is not None else "no answer"
            raise ReplayError(f"Execute failed: {shown}")
        return exchange

    def _request(
        self, rop: PlannedRop, step: Step, live: _Live, slots: dict[int, int], filled: set[int]
    ) -> tuple[bytes | None, str]:
        """The bytes of one ROP request with its slots entered, or (None, why it cannot be sent)."""
        definition, value = rop.definition, rop.value
        entered: dict[int, int] = {}
        for number, name in enumerate(definition.handles):
            slot = value.get(name)
            if slot in filled:
                continue  # an earlier ROP of this buffer fills it
            handle = self._live_handle(rop, number, name, live)
            if handle is None:
                return None, "its object was not opened on the server"
            entered[slot] = handle
        if definition.name == "RopFastTransferSourceGetBuffer" and live.ended_streams & set(entered.values()):
            return None, "the live stream has already ended"
        changes: dict[str, Any] = {}
        if definition.name == "RopLogon":
            changes = {"Essdn": self._mailbox, "EssdnSize": None}
        captured = rop.captured.request if rop.captured is not None else None
        given = captured.params if captured is not None else {}
        assert definition.request is not None
        try:
            made = build(definition.request, rewritten(value, live.identity, changes), **given)
        except UnmappedError as error:
            return None, f"id {error.identifier} has no counterpart on the server"
        slots.update(entered)
        if definition.output:
            slot = value.get(definition.output)
            slots.setdefault(slot, NO_HANDLE)
            filled.add(slot)
        return made, ""

    def _live_handle(self, rop: PlannedRop, number: int, name: str, live: _Live) -> int | None:
        if rop.captured is None:
            return live.logons.get(rop.value.get("LogonId", 0))
        if number == 0 and rop.stand_in is not None:
            return live.logons.get(rop.stand_in)
        captured = rop.captured.handles.get(name)
        return live.identity.handles.get(captured) if captured is not None else None

    def _learn(self, planned: PlannedRop, rop: Rop, step: Step, live: _Live) -> None:
        """What a live response tells: handles, the logon, ids that a supplied ROP stands for, local replica ids."""
        definition = planned.definition
        if rop.response is None or rop.response.value is None:
            if planned.action == "supply" and definition.responses:
                raise ReplayError(f"{planned.name}, which the plan supplies, got no response")
            return
        if rop.return_value:
            if planned.action == "supply":
                raise ReplayError(
                    f"{planned.name}, which the plan supplies, failed: 0x{rop.return_value:08X} {rop.return_name}"
                )
            return
        response = rop.response.value
        handle = rop.handles.get(definition.output) if definition.output else None
        if handle is not None and planned.captured is not None:
            captured = planned.captured.handles.get(definition.output or "")
            if captured is not None:
                live.identity.handles[captured] = handle
        if definition.name == "RopLogon" and handle is not None:
            logon_id = planned.value.get("LogonId", 0)
            live.logons[logon_id] = handle
            for position, folder in enumerate(response["FolderIds"].values()):
                live.identity.ids[special_folder(logon_id, position)] = folder
        made = response.get("MessageId") or response.get("FolderId")
        if step.stands_for is not None and made is not None:
            live.identity.learn(step.stands_for, made)
            live.lacking[step.stands_for] = (
                f"{step.stands_for} was made before the capture began, an empty one stands in"
            )
        if planned.captured is None or planned.captured.response is None:
            return
        before = planned.captured.response.value
        if before is None or planned.captured.return_value:
            return
        if definition.name == "RopGetLocalReplicaIds":
            count = planned.value.get("IdCount", 0)
            live.identity.learn_local(_counter(before["GlobalCount"]), _counter(response["GlobalCount"]), count)
        elif definition.name == "RopFastTransferSourceGetBuffer" and response.get("TransferStatus") == 3:
            source = rop.handles.get("InputHandleIndex")
            if source is not None:
                live.ended_streams.add(source)

    def _read_on(self, step: Step, live: _Live, sent: list[PlannedRop], answered: list[Rop]) -> Conversation:
        """Read a stream to its end where the capture did but the live server cuts it into more buffers."""
        for planned, rop in zip(sent, answered, strict=False):
            before = planned.captured.response.value if planned.captured and planned.captured.response else None
            if planned.name != "RopFastTransferSourceGetBuffer" or not before or before.get("TransferStatus") != 3:
                continue
            source = rop.handles.get("InputHandleIndex")
            status = rop.response.value.get("TransferStatus") if rop.response and rop.response.value else 0
            for _ in range(MOST_EXTRA_BUFFERS):
                if status not in (1, 2) or source is None or source in live.ended_streams:
                    break
                request = build(planned.definition.request, {**planned.value, "InputHandleIndex": 0})
                exchange = yield from self._execute(step.session, [request], {0: source})
                last = next((one for one in reversed(exchange.rops) if one.response and one.response.value), None)
                status = last.response.value.get("TransferStatus") if last is not None and last.response else 0
                if status == 3:
                    live.ended_streams.add(source)


def _handle(rop: Rop, name: str | None) -> int:
    """The captured handle in a field, NO_HANDLE where it is not known. (0 is a handle like any other.)"""
    handle = rop.handles.get(name) if name is not None else None
    return handle if handle is not None else NO_HANDLE


def _counter(value: Any) -> int:
    """A 48-bit counter, whether the grammar gives a number or its 6 bytes."""
    return int.from_bytes(value, "big") if isinstance(value, bytes) else int(value)
