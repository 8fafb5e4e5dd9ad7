"""The replay, without a socket: it says what to send next and is told what came back (asking.py).

Engine runs the steps of a plan: it rewrites each request for the live server, learns from each answer, and compares it
with the captured one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from dissector.grammar.base import build
from dissector.grammar.names import property_name
from dissector.grammar.rops.oxcprpt import PROGRESS
from dissector.model.ids import LongTermId
from dissector.session.exchange import Exchange, Rop
from dissector.session.objects import NO_HANDLE
from dissector.session.streams import DONE
from dissector.transport.messages import HttpExchange
from replay.asking import (
    GET_BUFFER,
    GOES_ON,
    Answering,
    Asker,
    Conversation,
    Origin,
    Outgoing,
    transfer_status,
    value_of,
)
from replay.compare.difference import DIFFERENT, Difference
from replay.compare.policy import DEFAULT_POLICY, Policy
from replay.compare.responses import compare
from replay.contexts import Contexts
from replay.errors import ProtocolError
from replay.excuses import excused, note_skipped
from replay.identity import GlobalId, UnmappedError
from replay.learning import LiveSession, Mailbox, learn
from replay.report import Outcome, Report
from replay.rewrite import RewriteError, Rewriter
from replay.seeding import Seeder
from replay.seeds import Seeds
from replay.steps import PlannedRop, Step
from replay.streaming import compare_streams

MOST_PAYLOAD = 0x7800
"""Bytes of ROPs that are sent in one buffer; more are sent in several."""

SPARE_IDS = 256
"""Live ids that are asked for at once, for objects that only the captured server had."""

INBOX = 4
"""Its place among the FolderIds of a private RopLogon."""

NOT_THERE = "the object is not on the live server: an id that it handed out stands in"
ENDED = "not needed: the live stream has ended already"
WAITED = "not needed: the replay waits for the end of every operation itself"
MOST_STANDSTILL = 300
"""How often an operation that runs on is asked about while it does not move."""
PROGRESS_WAIT, LONGEST_WAIT = 20, 1000
"""Milliseconds before it is asked about for the first time, and at most."""


class Finished(NamedTuple):
    """A ROP that the captured client let run, and the live answer at its end."""

    step: Step
    planned: PlannedRop
    captured: Rop
    answer: Rop


class StoppedError(Exception):
    """--stop-on: the replay ends here as the user wanted."""


class Engine:
    """Runs a plan. report: complete when the conversation has ended.

    mailbox: DN of the live mailbox. stop_on: "different" or "error" ends the run behind the first step with a
    difference, or with a ROP that failed where the captured one did not; "" never. seeds: what is put on the server
    first, by captured mailbox.
    """

    def __init__(
        self,
        steps: Iterable[Step],
        mailbox: str,
        policy: Policy = DEFAULT_POLICY,
        *,
        stop_on: str = "",
        seeds: Mapping[str, Seeds] | None = None,
    ) -> None:
        self._steps, self._mailbox, self._policy, self._stop_on = steps, mailbox, policy, stop_on
        self._sessions: dict[int, LiveSession] = {}
        self._mailboxes: dict[str, Mailbox] = {}
        self._seeds = seeds or {}
        self._seeders: dict[str, Seeder] = {}
        self._contexts = Contexts()
        self._finished: dict[tuple[int, int | None, int], Finished] = {}
        """What the captured client let run, by session, captured handle and ROP, until its end is compared."""
        self._ends: list[PlannedRop] = []
        """RopProgress of this step at which operations end that have no live answer yet."""
        self.report = Report(seeded=bool(seeds))
        self._asker = Asker(
            mailbox,
            self._contexts.live,
            lambda frame, words: self.report.note(frame, "Execute" if frame else "seed", words),
        )

    def conversation(self) -> Conversation:
        """The whole replay: Connect where a session begins, an Execute per step, Disconnect at the end."""
        try:
            for step in self._steps:
                yield from self._step(step)
                self._stop(step)
        except StoppedError as stopped:
            self.report.stopped = str(stopped)
        finally:
            for finished in self._finished.values():
                self._not_compared(finished)
            self._finished.clear()
            self._contexts.finish()
            self._streams(None, [])
        for session in (*self._sessions, *(seeder.session for seeder in self._seeders.values())):
            yield from self._asker.disconnect(session)

    def _stop(self, step: Step) -> None:
        last = self.report.last_different
        if not self._stop_on or last is None or last.frame != step.frame:
            return
        if self._stop_on == "error" and not any(
            one.path == "ReturnValue" and one.verdict == DIFFERENT for one in last.differences
        ):
            return
        raise StoppedError(f"stopped at frame {step.frame}: {last.rop} is different")

    def _session(self, step: Step) -> Generator[Outgoing, HttpExchange, LiveSession]:
        live = self._sessions.get(step.session)
        if live is None:
            mailbox = self._mailboxes.setdefault(step.mailbox, Mailbox())
            if step.mailbox:
                mailbox.identity.names.setdefault(step.mailbox, self._mailbox)
            yield from self._seed(step.mailbox, mailbox)
            yield from self._asker.connect(_origin(step))
            live = self._sessions[step.session] = LiveSession(mailbox)
        return live

    def _seed(self, name: str, mailbox: Mailbox) -> Conversation:
        """Put on the server what the captured one had before."""
        seeds = self._seeds.get(name)
        if seeds is None or name in self._seeders:
            return
        session = -1 - len(self._seeders)
        seeder = Seeder(seeds, mailbox, self._asker, session, self.report.seed)
        self._seeders[name] = seeder
        yield from seeder.start()

    # One step.

    def _step(self, step: Step) -> Conversation:
        wanted = [rop for rop in step.rops if rop.action != "skip"]
        for rop in step.rops:
            if rop.action == "skip":
                self.report.skip(step, rop.name, rop.reason)
        outcomes: list[Outcome] = []
        self._ends.clear()
        if wanted:
            live = yield from self._session(step)
            if step.mailbox in self._seeders and any(rop.name == "RopSynchronizationConfigure" for rop in wanted):
                yield from self._seeders[step.mailbox].before(step.exchange)
            for rop in step.rops:
                if rop.action == "skip":
                    note_skipped(rop, step, live)
            outcomes = yield from self._send(step, wanted, live)
        elif step.session in self._sessions:
            for rop in step.rops:
                note_skipped(rop, step, self._sessions[step.session])
        self._streams(step, outcomes)
        for outcome in outcomes:
            self.report.add(outcome)

    def _send(
        self, step: Step, wanted: list[PlannedRop], live: LiveSession
    ) -> Generator[Outgoing, HttpExchange, list[Outcome]]:
        """The ROPs of a step, and how their answers compare."""
        outcomes: list[Outcome] = []
        left = wanted
        while left:
            before = len(left)
            left, more = yield from self._batch(step, left, live)
            outcomes += more
            if len(left) == before:
                raise ProtocolError(f"the answer to {left[0].name} does not fit into what the server sends at once")
        return outcomes

    def _batch(
        self, step: Step, wanted: list[PlannedRop], live: LiveSession
    ) -> Generator[Outgoing, HttpExchange, tuple[list[PlannedRop], list[Outcome]]]:
        """As many ROPs as fit into one buffer; returns those that are left."""
        sent: list[PlannedRop] = []
        payload: list[bytes] = []
        slots: dict[int, int] = {}
        filled: set[int] = set()
        outcomes: list[Outcome] = []
        taken = size = 0
        for rop in wanted:
            made, reason = yield from self._request(rop, step, live, slots, filled)
            if made is not None and size + len(made) > MOST_PAYLOAD and sent:
                break
            taken += 1
            if made is not None:
                sent.append(rop)
                payload.append(made)
                size += len(made)
            else:
                self.report.skip(step, rop.name, reason)
                if reason == WAITED:
                    outcomes += self._at_its_end(rop, step, live)
                elif reason != ENDED:
                    note_skipped(rop, step, live)
        left = wanted[taken:]
        if not sent:
            return left, outcomes
        exchange = yield from self._asker.execute(_origin(step), payload, slots)
        answered = [rop for rop in exchange.rops if rop.request is not None]
        if any(rop.name == "RopBufferTooSmall" for rop in exchange.rops):
            unanswered = (
                at for at, rop in enumerate(answered) if rop.response is None and sent[at].definition.responses
            )
            done = next(unanswered, len(answered))
            left = sent[done:] + left
            sent, answered = sent[:done], answered[:done]
        damage = exchange.call.response.diagnostics if exchange.call.response is not None else []
        trouble = damage[0].message if damage else ""
        for planned, answer in zip(sent, answered, strict=False):
            if planned.action == "supply" and planned.reason:
                self.report.supply(step, planned.name, planned.reason)
            if answer.runs_on:
                answer = yield from self._until_done(step, answer)
            learn(planned, answer, step, live, exchange, self._contexts)
            if planned.captured is None:
                continue
            if planned.upload is not None:
                self._uploaded(planned, answer, step, live)
            if planned.captured.runs_on:
                key = step.session, planned.captured.target_handle, planned.captured.rop_id
                if key in self._finished:
                    self._not_compared(self._finished[key])
                self._finished[key] = Finished(step, planned, planned.captured, answer)
                ends, self._ends = self._ends, []
                for end in ends:
                    outcomes += self._at_its_end(end, step, live)
                continue
            differences = compare(
                planned.captured, answer, live.identity, self._policy, ordered=planned.ordered, trouble=trouble
            )
            differences = excused(planned.captured, differences, live)
            if planned.captured.response is not None or not planned.definition.responses:
                outcomes.append(Outcome(step.frame, planned.name, differences))
        for planned in sent[len(answered) :]:
            lost = Difference("", "a response", "none: the live ROP list could not be read so far", DIFFERENT)
            outcomes.append(Outcome(step.frame, planned.name, [lost]))
        yield from self._read_on(step, live, sent, answered, exchange)
        return left, outcomes

    def _until_done(self, step: Step, running: Rop) -> Generator[Outgoing, HttpExchange, Rop]:
        """Ask about an operation that runs on until it has its answer, and return it with that."""
        handle = running.target_handle
        fields = {"LogonId": running.logon_id or 0, "InputHandleIndex": 0, "WantCancel": False}
        request = build(PROGRESS.request, fields)
        wait, still, before = PROGRESS_WAIT, 0, None
        while handle is not None and still < MOST_STANDSTILL:
            exchange = yield from self._asker.execute(_origin(step), [request], {0: handle}, wait=wait)
            told = next((rop for rop in exchange.rops if rop.request is not None), None)
            if told is None or told.response is None or (told.return_value and not told.ends):
                self.report.note(step.frame, running.name, "runs on, and the live server does not tell how far it is")
                return running
            if told.ends:
                return replace(running, response=told.response)
            done = told.response.value.get("CompletedTaskCount") if told.response.value is not None else None
            still, before = (still + 1 if done == before else 0), done
            wait = min(2 * wait, LONGEST_WAIT)
        self.report.note(step.frame, running.name, f"runs on: it did not move while it was asked about {still} times")
        return running

    def _at_its_end(self, planned: PlannedRop, step: Step, live: LiveSession) -> Iterator[Outcome]:
        """Compare the answers at the end of an operation, where the captured one ends at this RopProgress.

        Where the operation stands before it in the same buffer, that has to be sent first.
        """
        captured = planned.captured
        if captured is None or not captured.ends or captured.response is None:
            return
        key = step.session, captured.target_handle, captured.response.rop_id
        found = self._finished.get(key)
        if found is None or (found.step is step and found.captured.number > captured.number):
            self._ends.append(planned)
        else:
            del self._finished[key]
            differences = compare(captured, found.answer, live.identity, self._policy, ordered=found.planned.ordered)
            yield Outcome(step.frame, captured.ends, excused(found.captured, differences, live))

    def _not_compared(self, finished: Finished) -> None:
        """The end of the captured operation is not there to compare with: only what failed here can be told."""
        answer = finished.answer
        if answer.return_value == 0 and not answer.runs_on:
            return
        ended = "runs on" if answer.runs_on else answer.return_name or f"0x{answer.return_value or 0:08X}"
        found = Difference("ReturnValue", "runs on; its end was not captured, or not chosen", ended, DIFFERENT)
        self.report.add(Outcome(finished.step.frame, finished.planned.name, [found]))

    def _uploaded(self, planned: PlannedRop, answer: Rop, step: Step, live: LiveSession) -> None:
        """Remember the state that a live context was given, and that it is not sure."""
        handle = answer.handles.get("InputHandleIndex")
        if planned.upload is not None and planned.part < 0 and handle is not None:
            self._contexts.given(handle, planned.upload)
        if planned.upload is not None and planned.upload.note and handle is not None:
            self._contexts.unsure[handle] = "the state that was uploaded is not sure (see the notes)"

    def _streams(self, step: Step | None, outcomes: list[Outcome]) -> None:
        """Compare streams that have ended on both sides; what differs belongs to the ROP that read the last part."""
        for ended, stream in self._contexts.captured(step.streams if step is not None else []):
            live = self._sessions[ended.stream.session]
            handle = stream.handle or 0
            differences, notes = compare_streams(
                ended, stream, self._contexts.listener.story(stream), live.mailbox, self._policy,
                self._contexts.unsure.pop(handle, ""), self._contexts.uploaded.pop(handle, {}),
            )  # fmt: skip
            for note in notes:
                self.report.note(ended.stream.last_frame, GET_BUFFER, note)
            last = next((one for one in reversed(outcomes) if one.rop == GET_BUFFER), None)
            if last is not None:
                last.differences.extend(differences)
            elif step is None:
                self.report.add(Outcome(ended.stream.last_frame, GET_BUFFER, differences))
            else:
                outcomes.append(Outcome(step.frame, GET_BUFFER, differences))

    # Requests.

    def _request(
        self, rop: PlannedRop, step: Step, live: LiveSession, slots: dict[int, int], filled: set[int]
    ) -> Generator[Outgoing, HttpExchange, tuple[bytes | None, str]]:
        """The bytes of one ROP request with its slots entered, or (None, why it cannot be sent)."""
        definition, value = rop.definition, rop.value
        if definition is PROGRESS:
            return None, WAITED
        entered: dict[int, int] = {}
        for number, name in enumerate(definition.handles):
            slot = value.get(name)
            if slot in filled:
                continue  # an earlier ROP of this buffer fills it
            handle = self._live_handle(rop, number, name, live)
            if handle is None:
                return None, "its object was not opened on the server"
            entered[slot] = handle
        if definition.name == GET_BUFFER and live.ended_streams & set(entered.values()):
            return None, ENDED
        rewriter = Rewriter(live.identity)
        while True:
            try:
                made = self._built(rop, rewriter, live)
                break
            except UnmappedError as error:
                helped = yield from self._help(error.identifier, rop, step, live)
                if not helped:
                    return None, f"id {error.identifier} has no counterpart on the server"
            except RewriteError as error:
                return None, str(error)
        for note, about in rewriter.notes:
            self.report.note(step.frame, rop.name, note, about)
        slots.update(entered)
        if definition.output:
            slot = value.get(definition.output)
            slots.setdefault(slot, NO_HANDLE)
            filled.add(slot)
        return made, ""

    def _built(self, rop: PlannedRop, rewriter: Rewriter, live: LiveSession) -> bytes:
        changes: dict[str, Any] = {}
        if rop.name == "RopLogon":
            changes = {"Essdn": self._mailbox, "EssdnSize": None}
        elif rop.upload is not None:
            changes = self._state(rop, rewriter, live)
        side = rop.captured.request if rop.captured is not None else None
        if side is None:
            return build(rop.definition.request, rewriter.value(rop.value, changes))
        return rewriter.request(side, rop.value, changes)

    def _state(self, rop: PlannedRop, rewriter: Rewriter, live: LiveSession) -> dict[str, Any]:
        """The fields of a ROP that uploads a part of a state property."""
        upload = rop.upload
        assert upload is not None
        if upload.live is None:
            made = live.mailbox.states.rewrite(upload.where, upload.tag, upload.data)
            upload.live, upload.note = made.data, made.note
            if made.note:
                rewriter.notes.append((made.note, property_name(upload.tag)))
        if rop.part < 0:
            return {"TransferBufferSize": len(upload.live)}
        data = upload.part(rop.part)
        return {"StreamData": data, "StreamDataSize": len(data)}

    def _live_handle(self, rop: PlannedRop, number: int, name: str, live: LiveSession) -> int | None:
        if rop.captured is None:
            return live.logons.get(rop.value.get("LogonId", 0))
        if number == 0 and rop.stand_in is not None:
            return live.logons.get(rop.stand_in)
        captured = rop.captured.handles.get(name)
        return live.handles.get(captured) if captured is not None else None

    # Help for ids that are not known.

    def _help(
        self, identifier: Any, rop: PlannedRop, step: Step, live: LiveSession
    ) -> Generator[Outgoing, HttpExchange, bool]:
        """Find out, or make, the live counterpart of a captured id that a request names. False: there is none."""
        identity, logon = live.identity, live.logons.get(rop.value.get("LogonId", 0))
        if not isinstance(identifier, LongTermId) or logon is None:
            return False
        name: GlobalId = (identifier.guid, identifier.counter)
        inbox = next((one for place, one in identity.special.items() if place.counter == INBOX + 1), None)
        logon_id = rop.value.get("LogonId", 0)
        if inbox is not None and identity.live.global_id(inbox) is None:
            why = "which GUID the live server's REPLID stands for"
            response = yield from self._supply(
                step, "RopLongTermIdFromId", why, logon, LogonId=logon_id, ObjectId=inbox
            )
            identity.live.learn(inbox.replica_id, response["LongTermId"].guid)
            if identity.try_global(name) is not None:
                return True
        if not rop.name.startswith("RopSynchronizationImport"):
            return False
        if not live.mailbox.spare:
            why = "ids for objects that only the captured server had"
            response = yield from self._supply(
                step, "RopGetLocalReplicaIds", why, logon, LogonId=logon_id, IdCount=SPARE_IDS
            )
            start = int(response["GlobalCount"])
            live.mailbox.spare = [(response["ReplGuid"], start + number) for number in range(SPARE_IDS)]
        identity.globals.bind(name, live.mailbox.spare.pop(0))
        live.mailbox.lacking[name] = NOT_THERE
        self.report.note(step.frame, rop.name, NOT_THERE, str(identifier))
        return True

    def _supply(self, step: Step, name: str, why: str, handle: int, **fields: Any) -> Answering:
        """Send one ROP of our own to the logon, and return the value of its answer."""
        answer = yield from self._asker.call(_origin(step), name, [handle], **fields)
        self.report.supply(step, name, why)
        return value_of(answer)

    def _read_on(
        self, step: Step, live: LiveSession, sent: list[PlannedRop], answered: list[Rop], exchange: Exchange
    ) -> Conversation:
        """Read a stream to its end where the capture did but the live server cuts it into more buffers."""
        done = {ended.stream.handle for ended in step.streams if ended.stream.complete}
        for planned, rop in zip(sent, answered, strict=False):
            if planned.name != GET_BUFFER or planned.captured is None:
                continue
            if planned.captured.handles.get("InputHandleIndex") not in done:
                continue
            source = rop.handles.get("InputHandleIndex")
            if source is None:
                continue
            status = transfer_status(exchange, rop)
            if status in GOES_ON and source not in live.ended_streams:
                request = build(planned.definition.request, {**planned.value, "InputHandleIndex": 0})
                status, trouble = yield from self._asker.read_on(_origin(step), request, source)
                if trouble:
                    self.report.note(step.frame, GET_BUFFER, trouble)
            if status == DONE:
                live.ended_streams.add(source)


def _origin(step: Step) -> Origin:
    return Origin(step.session, step.frame, step.time)
