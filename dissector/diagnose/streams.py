"""Rules about FastTransfer streams: whether they come to their end, and what they say on the way."""

from __future__ import annotations

from collections.abc import Iterator

from dissector.diagnose.base import Case, Hit, Severity, at_end, at_start, code_meaning, counted, rule, sync_text
from dissector.session.history import Origin
from dissector.session.stream import Stream
from dissector.session.syncrecord import SyncRecord

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
PARTIAL, NO_ROOM = 1, 2
STORM_COUNT, STORM_MS = 5, 30_000
"""So many back-offs of one stream, or so long a wait in all, are a storm."""
EMPTY_IN_A_ROW = 3
NO_CONTEXT = (0x000004B9, 0x80040102)
"""ecNullObject, ecNotSupported: there is no such context, which the rules about handles tell."""
SHOWN = 5
CAPTURE_ENDS = ("the capture ends", "not released before the capture ends", "nothing was fetched")
CAPTURE_LACKS = ("the capture does not show", "was not captured", "is damaged", "cannot be read")


def named(stream: Stream) -> str:
    """'stream 3 (contentsSync of Inbox)'"""
    folder = stream.folder_name or (str(stream.folder) if stream.folder is not None else "")
    what = " of ".join(part for part in (stream.root or "unknown", folder) if part)
    return f"stream {stream.number} ({what})"


def lacking(stream: Stream) -> bool:
    """Whether it is the capture that is not complete, and nothing can be said of the stream itself."""
    return bool(stream.gaps) or any(word in stream.why for word in CAPTURE_LACKS)


@rule(
    "stream-aborted", WARNING, "stream", "MS-OXCFXICS 3.3.4.2",
    "Look at what came last: an error, a time-out, or a client that was closed. What came of the stream is of no use "
    "without its end, unless the client keeps checkpoints.",
)  # fmt: skip
def stream_aborted(case: Case, stream: Stream) -> Iterator[Hit]:
    """A download was given up before it was done."""
    if stream.direction != "download" or stream.complete or lacking(stream) or stream.failures:
        return
    evidence = {"came so far": f"{counted(stream.size, 'byte')} in {counted(len(stream.buffers), 'buffer')}"}
    ends = stream.why.startswith(CAPTURE_ENDS) and not stream.why.startswith("nothing was fetched from it")
    message = f"{named(stream)} was never finished: {stream.why}"
    yield Hit(stream.last_frame, stream.last_exchange, message, evidence, NOTE if ends else None)


@rule(
    "fasttransfer-error", ERROR, "stream", "MS-OXCFXICS 2.2.3.1.1.5.2",
    "The server could not produce or take the stream: look at its log for this folder at this time. Often one damaged "
    "item: what came last before it is its neighbour.",
)  # fmt: skip
def fasttransfer_error(case: Case, stream: Stream) -> Iterator[Hit]:
    """A FastTransfer ROP failed."""
    for failure in stream.failures[:SHOWN]:
        stray = not stream.opened_by and not stream.size and failure.code in NO_CONTEXT
        if failure.rop.startswith("RopFastTransfer") and not stray:
            evidence = {"came so far": f"{counted(stream.size, 'byte')}, {counted(stream.account.messages, 'message')}"}
            message = f"{failure.rop} of {named(stream)} failed: {code_meaning(failure.code)}"
            yield Hit(failure.frame, failure.exchange, message, evidence)


@rule(
    "state-upload-refused", ERROR, "stream", "MS-OXCFXICS 3.2.5.9.2.2",
    "The server could not read the state: decode it (`dissector tree` at this exchange). Clients answer with a "
    "synchronization from nothing.",
)  # fmt: skip
def state_upload_refused(case: Case, stream: Stream) -> Iterator[Hit]:
    """A ROP that uploads the ICS state failed."""
    for failure in stream.failures:
        if failure.rop.startswith("RopSynchronizationUploadState"):
            message = f"{failure.rop} for {named(stream)} failed: {code_meaning(failure.code)}"
            yield Hit(failure.frame, failure.exchange, message)
            return


@rule(
    "state-upload-broken", WARNING, "stream", "MS-OXCFXICS 3.3.4.3.1",
    "The bytes of a state property do not add up: the server works with a part of it.",
)  # fmt: skip
def state_upload_broken(case: Case, stream: Stream) -> Iterator[Hit]:
    """A state property was uploaded with another size than announced, or not to its end."""
    for number, upload in enumerate(stream.states):
        again = any(later.tag == upload.tag for later in stream.states[number + 1 :])
        if upload.why and not again and upload.refused is None and upload.tag is not None and not lacking(stream):
            late = not upload.ended and stream.why.startswith(CAPTURE_ENDS)
            message = f"{upload.name} for {named(stream)}: {upload.why}"
            yield Hit(upload.frame, upload.exchange, message, severity=NOTE if late else None)


@rule(
    "backoff-storm", WARNING, "stream", "MS-OXCFXICS 3.2.5.8.1.5",
    "The server is overloaded or throttles this client: look at its limits and its load at this time.",
)  # fmt: skip
def backoff_storm(case: Case, stream: Stream) -> Iterator[Hit]:
    """The server put the client off again and again (ecServerBusy)."""
    if stream.backoffs >= STORM_COUNT or stream.backoff_ms >= STORM_MS:
        message = f"{named(stream)}: the server put the client off {counted(stream.backoffs, 'time')}"
        yield Hit(stream.last_frame, stream.last_exchange, message, {"time to wait in all": f"{stream.backoff_ms} ms"})


@rule(
    "stuck-at-partial", ERROR, "stream", "MS-OXCFXICS 2.2.3.1.1.5.2",
    "A server error: it says that more is to come and sends nothing, so the client asks for ever.",
)  # fmt: skip
def stuck_at_partial(case: Case, stream: Stream) -> Iterator[Hit]:
    """Several buffers in a row are empty, yet TransferStatus says Partial."""
    if stream.direction != "download":
        return
    row = 0
    for buffer in stream.buffers:
        row = row + 1 if buffer.length == 0 and buffer.status in (PARTIAL, NO_ROOM) else 0
        if row == EMPTY_IN_A_ROW:
            message = f"{named(stream)}: {row} empty buffers in a row with TransferStatus Partial"
            yield Hit(buffer.frame, buffer.exchange, message, {"came so far": counted(stream.size, "byte")})
            return


@rule(
    "stream-breaks-grammar", ERROR, "stream", "MS-OXCFXICS 2.2.4.3",
    "The tree of the stream (`dissector streams --tree`) shows the element that does not fit. Clients drop the item "
    "or the whole stream.",
)  # fmt: skip
def stream_breaks_grammar(case: Case, stream: Stream) -> Iterator[Hit]:
    """A stream breaks the FastTransfer grammar."""
    cut = stream.direction == "download" and not stream.complete
    if stream.gaps or cut or not stream.account.faults:
        return
    fault = stream.account.faults[0]
    frame, exchange = stream.first_frame, stream.exchange
    for buffer in stream.buffers:
        if buffer.offset <= fault.offset:
            frame, exchange = buffer.frame, buffer.exchange
    count = stream.account.fault_count
    message = f"{named(stream)}, offset {fault.offset}: {fault.diagnostic.message}"
    yield Hit(frame, exchange, message, {"faults in all": str(count)} if count > 1 else {})


@rule(
    "done-without-state", ERROR, "sync", "MS-OXCFXICS 3.2.5.3",
    "A server error: without a final state the client has to begin where it began before, and gets all of this again.",
)  # fmt: skip
def done_without_state(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """A download came to its end without a final state."""
    if record.direction != "download" or not record.complete or record.final is not None:
        return
    if not record.stream.account.stopped and not record.trouble:
        yield Hit(*at_end(record), f"{sync_text(record)} is done, but its stream has no state")


@rule(
    "error-in-stream", WARNING, "sync", "MS-OXCFXICS 2.2.4.3.4",
    "The server left an item out and said so (FXErrorInfo): find it by the ids in the stream's tree and look at it in "
    "the mailbox.",
)  # fmt: skip
def error_in_stream(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """The server reports items that it could not send."""
    if record.errors:
        message = f"{sync_text(record)}: the server could not send {counted(record.errors, 'item')}"
        yield Hit(*at_end(record), message)


@rule(
    "other-than-announced", NOTE, "sync", "MS-OXCFXICS 2.2.2.7",
    "A progress bar may stop short or run over; nothing else depends on it.",
)  # fmt: skip
def other_than_announced(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """Fewer or more messages came than the stream announced at its beginning."""
    if not record.announced or not record.complete or record.stream.gaps:
        return
    fai = sum(bool(one.fai) for one in record.changes.single)
    fai += record.changes.packed.fai if record.changes.packed is not None else 0
    came = {"NormalMessageCount": len(record.changes) - fai, "FAIMessageCount": fai}
    for name, count in came.items():
        if name in record.announced and record.announced[name] != count:
            message = f"{sync_text(record)}: {name} is {record.announced[name]}, {count} came"
            yield Hit(*at_start(record), message)
