"""A dissection as rows of the tables of schema.py, in one walk through the capture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

from dissector.diagnose import Diagnosis, Finding
from dissector.export.schema import FORMAT
from dissector.export.values import StreamValues, Value, rop_values
from dissector.grammar.idset import IdsetReading
from dissector.grammar.names import error_name
from dissector.pipeline import Dissection
from dissector.session.exchange import Exchange, Rop
from dissector.session.history import History, Origin
from dissector.session.objects import Session, endpoint_text
from dissector.session.replicas import GlobalId
from dissector.session.stream import Stream
from dissector.session.sync import Recorder
from dissector.session.syncrecord import SyncChange, SyncRecord
from dissector.views.json import dumps
from dissector.views.jsonvalues import plain
from dissector.views.rows import call_summary, summary
from dissector.views.streams import stream_row

Row: TypeAlias = tuple[Any, ...]
"""The columns of a table, but for the first one, `capture`. Times are microseconds since 1970."""
Rows: TypeAlias = Iterator[tuple[str, Row]]


def rows_of(dissection: Dissection, options: Mapping[str, Any], version: str) -> Rows:
    """(table, row) of everything in an open capture. options: what it was opened with, for the table `captures`."""
    source = Source()
    for exchange in dissection.exchanges():
        yield from source.exchange(exchange)
    yield from source.finish(dissection)
    for session in dissection.tracker.sessions:
        yield "sessions", session_row(session)
    yield "captures", capture_row(dissection, options, version)


class Source:
    """Fed with exchanges in order; holds no more than what is open, and the values of one exchange."""

    def __init__(self) -> None:
        self._values: list[Row] = []
        self._recorder = _Recorder(self._values)
        self._history = History()
        self._diagnosis = Diagnosis()
        self._diagnosis.case.recorder = self._recorder

    def exchange(self, exchange: Exchange) -> Rows:
        yield "exchanges", exchange_row(exchange)
        findings = list(self._diagnosis.exchange(exchange))
        for rop in exchange.rops:
            yield "rops", rop_row(exchange, rop)
            for side in (rop.request, rop.response):
                if side is not None and side.value is not None:
                    word = "response" if side.is_response else "request"
                    frame = _frame(exchange, side.is_response)
                    for value in rop_values(side):
                        yield "properties", (exchange.number, frame, rop.number, word, None, *value)
        yield from self._told(findings)

    def finish(self, dissection: Dissection) -> Rows:
        yield from self._told(list(self._diagnosis.finish(dissection)))

    def _told(self, findings: list[Finding]) -> Rows:
        for row in self._values:
            yield "properties", row
        self._values.clear()
        for stream in self._recorder.ended:
            yield "streams", stream_values(stream)
            for state in state_rows(stream):
                yield "states", state
        for record in self._recorder.done:
            yield "syncs", sync_row(record, self._history.origin(record))
            for change in record.changes:
                yield "changes", change_row(record, change)
            self._history.add(record)
        for finding in findings:
            yield "findings", finding_row(finding)


class _Recorder(Recorder):
    """Also gives the property values in streams, and remembers the records that were done last."""

    def __init__(self, values: list[Row]) -> None:
        super().__init__()
        self.done: list[SyncRecord] = []
        self._values = values

    def exchange(self, exchange: Exchange) -> list[SyncRecord]:
        self.done = super().exchange(exchange)
        return self.done

    def finish(self) -> list[SyncRecord]:
        self.done = super().finish()
        return self.done

    def began(self, exchange: Exchange, rop: Rop, stream: Stream) -> None:
        super().began(exchange, rop, stream)
        stream.tap = StreamValues(stream.root, stream.codepage, partial(self._value, stream))

    def _value(self, stream: Stream, value: Value) -> None:
        buffer = stream.buffers[-1]
        self._values.append((buffer.exchange, buffer.frame, None, stream.direction, stream.number, *value))


def microseconds(time: float | None) -> int | None:
    """A moment as the columns of times hold it; None for one beyond year 9999, which a damaged file may have."""
    return round(time * 1e6) if time is not None and 0 <= time < 253_402_300_800 else None


def _frame(exchange: Exchange, response: bool) -> int | None:
    side = exchange.call.response if response else exchange.call.request
    return side.frame if side is not None else None


def _head(exchange: Exchange) -> tuple[int, int | None, int | None, int | None]:
    """frame, response frame, time, session."""
    session = exchange.session.number if exchange.session is not None else None
    return exchange.frame, _frame(exchange, response=True), microseconds(exchange.time), session


def _text(value: str) -> str:
    """Text that every file can hold."""
    return str(plain(value))


def _lines(lines: list[str]) -> str | None:
    return _text("\n".join(lines)) if lines else None


def capture_row(dissection: Dissection, options: Mapping[str, Any], version: str) -> Row:
    seen = dissection.capture.summary
    return (
        _text(seen.path.replace("\\", "/").rpartition("/")[2]), seen.size, seen.frames, seen.truncated,
        microseconds(seen.first_time), microseconds(seen.last_time), seen.engine, dissection.tcp.missing,
        dissection.tcp.gaps, sum(one.kind == "tls" for one in dissection.tally.opaque),
        _lines([f"{one.severity.value}: {one.message}" for one in seen.diagnostics]),
        json.dumps(options, sort_keys=True), version, FORMAT,
    )  # fmt: skip


def session_row(session: Session) -> Row:
    return (
        session.number, session.transport, session.client, session.server, _text(session.user_dn), session.began,
        session.first_frame, session.last_frame, session.exchanges,
    )  # fmt: skip


def exchange_row(exchange: Exchange) -> Row:
    call = exchange.call
    request, response = call.request, call.response
    frame, answered, time, session = _head(exchange)
    elapsed = response.time - request.time if request is not None and response is not None else None
    ids = (side.fields.get("X-RequestId") for side in (request, response) if side is not None)
    request_id = next((str(one) for one in ids if one), None)
    code = response.return_code if response is not None else None
    sizes = (sum(map(len, side.payloads)) if side is not None else None for side in (request, response))
    return (
        exchange.number, frame, answered, time, elapsed, session, call.transport, _text(call.name),
        endpoint_text(getattr(call.connection, "client", None)),
        endpoint_text(getattr(call.connection, "server", None)), _text(request_id) if request_id else None, code,
        error_name(code) if code is not None else None, len(exchange.rops), *sizes,
        _text(call_summary(exchange)) if not exchange.rops else None,
        _lines([f"{one.severity.value}: {one.message}" for one in exchange.diagnostics]),
    )  # fmt: skip


def rop_row(exchange: Exchange, rop: Rop) -> Row:
    inputs, output = (rop.definition.handles, rop.definition.output) if rop.definition is not None else ((), None)
    handle = rop.handles.get(inputs[0]) if inputs else rop.handles.get("NotificationHandle")
    return (
        exchange.number, rop.number, *_head(exchange), rop.logon_id, rop.rop_id, rop.name, rop.index, handle,
        rop.handles.get(output) if output else None, rop.kind, rop.return_code,
        rop.return_name if rop.return_code is not None else None, _text(summary(rop, exchange.session, exchange.call)),
        rop.request.length if rop.request is not None else None,
        rop.response.length if rop.response is not None else None, rop.continues is not None,
    )  # fmt: skip


def stream_values(stream: Stream) -> Row:
    row = stream_row(stream)
    return (
        row.stream, row.session, row.handle, row.direction, row.root, row.inferred, row.opened_by, row.of,
        row.exchange, row.frame, row.first_frame, row.last_exchange, row.last_frame, row.folder, row.folder_name,
        row.message, dumps(plain(row.options)), row.bytes, row.buffers, row.elements, row.messages, row.folders,
        row.complete, _text(row.why), row.bootstrap, row.backoffs, row.backoff_ms, row.fault_count, row.unread_bytes,
    )  # fmt: skip


def state_rows(stream: Stream) -> Iterator[Row]:
    """The sets that were uploaded to a context, and those in its stream."""
    for state in stream.states:
        reading = state.reading()
        if reading is not None:
            head = stream.number, stream.session, state.exchange, state.frame, "uploaded", state.name
            yield from _ranges(head, reading)
    for kind, sets in stream.account.sets.items():
        for name, reading in sets.items():
            head = stream.number, stream.session, stream.last_exchange, stream.last_frame, kind, name
            yield from _ranges(head, reading)


def _ranges(head: Row, reading: IdsetReading) -> Iterator[Row]:
    empty = True
    for replica, ranges in reading.idset.items():
        for low, high in ranges:
            empty = False
            yield (*head, str(replica), low, high)
    if empty:
        yield (*head, None, None, None)


def sync_row(record: SyncRecord, origin: Origin) -> Row:
    counts = record.counts()
    return (
        record.number, record.session, record.stream.number, record.direction, record.kind, _text(record.mailbox),
        record.client, _text(record.user), str(record.folder) if record.folder is not None else None,
        _text(record.folder_name), dumps(plain(record.options)), _text(record.restriction), *record.frames,
        microseconds(record.started), record.elapsed, record.bootstrap, origin.kind, origin.number, record.bytes,
        *(counts.get(name, 0) for name in ("new", "changed", "again")), record.gone.count, record.read.count,
        record.unread.count, counts.get("refused", 0), record.complete, _text(record.why), _lines(record.trouble),
    )  # fmt: skip


def change_row(record: SyncRecord, change: SyncChange) -> Row:
    keys = (change.source_key, change.change_key, change.parent)
    return (
        record.number, change.exchange, change.frame, change.last_frame, change.kind, change.status,
        _global(change.id), _global(change.version), *(str(one) if one is not None else None for one in keys),
        change.fai, _text(change.name) if change.name is not None else None,
        _text(change.message_class) if change.message_class is not None else None, change.size, change.bytes,
        change.refused if record.direction == "upload" else None, change.complete,
    )  # fmt: skip


def _global(id_: GlobalId | None) -> str | None:
    return f"{id_[0]}:0x{id_[1]:X}" if id_ is not None else None


def finding_row(finding: Finding) -> Row:
    return (
        finding.severity.value, finding.rule, finding.frame, finding.exchange, finding.session, finding.sync,
        _text(finding.message), dumps(plain(dict(finding.evidence))), finding.advice, finding.spec,
    )  # fmt: skip
