"""Findings: what went wrong in a capture, where, and what to do about it. One rule is one function; see base.py."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from dissector.diagnose import answers, handles, imports, state, streams, transport
from dissector.diagnose.base import RULES, Case, Finding, Hit, Rule, Severity, Unanswered
from dissector.diagnose.transport import WAITS, is_whole
from dissector.errors import DissectorError
from dissector.pipeline import Dissection
from dissector.session.account import Allowance
from dissector.session.exchange import Exchange
from dissector.session.packed import Packed
from dissector.session.stream import Stream
from dissector.session.streams import Streams
from dissector.session.sync import Recorder
from dissector.session.syncrecord import SyncRecord

__all__ = ["RULES", "Case", "Diagnosis", "Finding", "Rule", "Severity", "diagnose"]

MODULES = (state, streams, imports, handles, transport, answers)
"""Importing them registered the rules."""
KEPT = 100
EXACT = 20_000
"""Elements of FastTransfer streams (some ten megabytes of mail) that are read one by one before only outlines are."""


class Diagnosis:
    """Fed with exchanges in order: exchange() and finish() give the findings. rules: names; None means all.

    thorough: read every element of every stream. Otherwise only the first EXACT of a capture are read one by one, and
    of the rest the bodies of messages are passed over: what breaks the grammar within them is not seen there.
    """

    def __init__(self, rules: Collection[str] | None = None, *, thorough: bool = False) -> None:
        chosen = _chosen(rules)
        self.case = Case(Recorder(Streams(allowance=None if thorough else Allowance(EXACT), words=False)))
        self._sync = [one for one in chosen if one.on == "sync"]
        self._change = {
            direction: [one for one in chosen if one.on in ("change", f"{direction}ed")]
            for direction in ("download", "upload")
        }
        self.passed = 0
        """Bytes of messages in streams that were passed over, so far."""
        self._stream = [one for one in chosen if one.on == "stream"]
        self._exchange = [one for one in chosen if one.on == "exchange"]
        self._misuse = [one for one in chosen if one.on == "misuse"]
        self._end = [one for one in chosen if one.on == "end"]
        self._rops: dict[int, list[Rule]] = {}
        self._failed: dict[int, list[Rule]] = {}
        for one in chosen:
            for rop_id in one.rops:
                (self._failed if one.on == "failed rop" else self._rops).setdefault(rop_id, []).append(one)

    def exchange(self, exchange: Exchange) -> Iterator[Finding]:
        """What is found with this exchange. The exchange counts only when the findings were run through."""
        case, call = self.case, exchange.call
        session = exchange.session.number if exchange.session is not None else None
        rpc = call.transport != "mapi-http"
        case.exchanges += 1
        for one in self._exchange:
            for hit in one.check(case, exchange):
                yield _finding(one, hit._replace(rpc=rpc), session, None)
        request = call.request
        if request is not None and call.response is None and call.name not in WAITS and len(case.unanswered) < KEPT:
            ended = getattr(call.connection, "ended", None)
            case.unanswered.append(Unanswered(request.frame, exchange.number, request.time, call.name, rpc, ended))
        case.failures.exchange(exchange, session)
        if exchange.time >= case.last[1]:
            case.last = exchange.frame, exchange.time
            case.breaks_off = not all(map(is_whole, (request, call.response)))
        for rop in exchange.rops:
            misuse = case.handles.rop(exchange, rop)
            if misuse is not None:
                for one in self._misuse:
                    yield from _findings(one, one.check(case, exchange, misuse), session)
            rules = self._rops.get(rop.rop_id, ())
            if rop.return_value:
                rules = [*rules, *self._failed.get(rop.rop_id, ())]
            for one in rules:
                yield from _findings(one, one.check(case, exchange, rop), session)
        records = case.recorder.exchange(exchange)
        yield from self._streams()
        for record in records:
            yield from self._record(record)

    def finish(self, dissection: Dissection | None = None) -> Iterator[Finding]:
        """What is found when the capture has ended."""
        case = self.case
        case.over = True
        if dissection is not None:
            case.summary = dissection.capture.summary
            case.missing, case.holes = dissection.tcp.missing, dissection.tcp.gaps
            case.truncated = case.summary.truncated
            case.closed = [one.label for one in dissection.tally.opaque if one.kind == "tls"]
        records = case.recorder.finish()
        yield from self._streams()
        for record in records:
            yield from self._record(record)
        for one in self._end:
            yield from _findings(one, one.check(case), None)

    def run(self, dissection: Dissection) -> Iterator[Finding]:
        """All findings of an open capture, in the order in which they become certain."""
        self.case.summary = dissection.capture.summary
        for exchange in dissection.exchanges():
            yield from self.exchange(exchange)
        yield from self.finish(dissection)

    def _streams(self) -> Iterator[Finding]:
        for stream in self.case.recorder.ended:
            self.passed += stream.account.passed
            for one in self._stream:
                for hit in one.check(self.case, stream):
                    yield _finding(one, as_read(hit, stream), stream.session, None)

    def _record(self, record: SyncRecord) -> Iterator[Finding]:
        case = self.case
        origin = case.history.origin(record)
        for one in self._sync:
            for hit in one.check(case, record, origin):
                yield _finding(one, as_read(hit, record.stream), record.session, record.number)
        rules = self._change[record.direction]
        packed = record.changes.packed
        if packed is not None and not self._cleared(rules, record, packed):
            packed = None
        for change in record.changes if packed is None else record.changes.single:
            before = case.versions.last(change.source_key)
            for one in rules:
                for hit in one.check(case, record, change, before):
                    yield _finding(one, as_read(hit, record.stream), record.session, record.number)
            case.versions.learn(record, change)
        if packed is not None:
            case.versions.learn_packed(record, packed)
        case.history.add(record)

    def _cleared(self, rules: list[Rule], record: SyncRecord, packed: Packed) -> bool:
        """Whether no rule can find anything in messages that are packed; they are not to be of one object twice."""
        if not all(one.clears is not None and one.clears(self.case, packed) for one in rules):
            return False
        keys = set(packed.each_key())
        others = (one.source_key.to_bytes() for one in record.changes.single if one.source_key is not None)
        return len(keys) == packed.count and not any(one in keys for one in others)


def diagnose(
    dissection: Dissection, rules: Collection[str] | None = None, *, thorough: bool = False
) -> Iterator[Finding]:
    """The findings of an open capture, in the order in which they become certain. Raises DissectorError for a rule
    that does not exist.
    """
    yield from Diagnosis(rules, thorough=thorough).run(dissection)


def as_read(hit: Hit, stream: Stream) -> Hit:
    """A hit about a stream; where that was not read element by element, it says so."""
    if not stream.account.passed:
        return hit
    told = {"read": "bodies of messages were passed over; --thorough reads every element"}
    return hit._replace(evidence={**hit.evidence, **told})


def _chosen(names: Collection[str] | None) -> list[Rule]:
    if names is None:
        return list(RULES.values())
    unknown = [name for name in names if name not in RULES]
    if unknown:
        raise DissectorError(f"no rule is called {unknown[0]!r}; `dissector diagnose --list` names them")
    return [one for name, one in RULES.items() if name in names]


def _findings(rule: Rule, hits: Iterable[Hit], session: int | None, sync: int | None = None) -> Iterator[Finding]:
    for hit in hits:
        yield _finding(rule, hit, session, sync)


def _finding(rule: Rule, hit: Hit, session: int | None, sync: int | None) -> Finding:
    return Finding(
        hit.severity or rule.severity, rule.name, hit.frame, hit.exchange, hit.message, hit.evidence,
        f"{hit.advice}{rule.advice}" if hit.advice.endswith(": ") else hit.advice or rule.advice,
        rule.rpc_spec if hit.rpc and rule.rpc_spec else rule.spec, session, sync,
    )  # fmt: skip


def as_json(finding: Finding) -> dict[str, Any]:
    """A finding as docs/json.md has it."""
    return {
        "severity": finding.severity.value, "rule": finding.rule, "frame": finding.frame,
        "exchange": finding.exchange, "session": finding.session, "sync": finding.sync, "message": finding.message,
        "evidence": dict(finding.evidence), "advice": finding.advice, "spec": finding.spec,
    }  # fmt: skip
