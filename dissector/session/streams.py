"""FastTransfer streams and uploaded states, joined across the ROPs that carry them [MS-OXCFXICS] 2.2.3, 3.2.5.

A stream belongs to a context: the server object that RopSynchronizationConfigure and its like opened. Its bytes lie in
the responses of RopFastTransferSourceGetBuffer (packed ones in a chain included) or, when a client uploads, in the
requests of RopFastTransferDestinationPutBuffer, as far as the server took them. What a stream is (its root) follows
from the ROP that opened the context [MS-OXCFXICS] 2.2.4.2; where the capture began later the root is not known.

Streams is fed with exchanges in order and hands out every stream when it ends; it keeps none that has ended, and the
bytes of open ones only as far as it was told to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple, Protocol

from dissector.grammar.base import labeller_of
from dissector.grammar.ics import ROOT_BY_OBJECT, ROOT_BY_ROP, ROOT_BY_SOURCE_OPERATION, ROOT_BY_SYNC_TYPE
from dissector.grammar.rops.base import SERVER_BUSY, SUCCESS
from dissector.grammar.syncstory import Item
from dissector.node import Severity
from dissector.session.account import Account, Allowance
from dissector.session.exchange import Carried, Exchange, Rop, RopSide
from dissector.session.kept import Kept
from dissector.session.objects import NO_HANDLE, Session
from dissector.session.stream import Buffer, Failure, StateUpload, Stream
from dissector.session.tracker import CLOSING_CALLS, WITH_VALUE

KEEP_ALL = 1 << 62

SYNCHRONIZATION_CONFIGURE, GET_TRANSFER_STATE, OPEN_COLLECTOR, DESTINATION_CONFIGURE = 0x70, 0x82, 0x7E, 0x53
COPY_MESSAGES, COPY_FOLDER, COPY_TO, COPY_PROPERTIES = 0x4B, 0x4C, 0x4D, 0x69
GET_BUFFER, PUT_BUFFER, PUT_BUFFER_EXTENDED = 0x4E, 0x54, 0x9D
STATE_BEGIN, STATE_CONTINUE, STATE_END = 0x75, 0x76, 0x77
RELEASE = 0x01
IMPORTS = frozenset((0x72, 0x73, 0x74, 0x78, 0x80))
NOT_CARRIED_OUT = frozenset((0xFF, 0xF9, 0x6E))
"""RopBufferTooSmall, RopBackoff, RopPending: with one of these in a response the other ROPs were not carried out."""

OPENING = frozenset(
    (
        SYNCHRONIZATION_CONFIGURE, GET_TRANSFER_STATE, OPEN_COLLECTOR, DESTINATION_CONFIGURE,
        COPY_MESSAGES, COPY_FOLDER, COPY_TO, COPY_PROPERTIES,
    )
)  # fmt: skip
DONE = 3
"""TransferStatus of the last buffer."""
ERRORS_KEPT = 20
START_MISSING = "the capture does not show how this transfer began"


class Joined(NamedTuple):
    """What ended in an exchange."""

    streams: list[Stream]
    states: list[StateUpload]


class Watcher(Protocol):
    """Who is told of what happens, as it happens."""

    def began(self, exchange: Exchange, rop: Rop, stream: Stream) -> None:
        """A stream was opened or, where that was not captured, met for the first time."""

    def item(self, stream: Stream, item: Item) -> None:
        """A stream told something: the buffer at hand is the last of stream.buffers."""

    def rop(self, exchange: Exchange, rop: Rop) -> None:
        """A ROP was taken. ROPs come as they were carried out: packed responses behind the first one."""

    def closed(self, session: int, handle: int | None) -> None:
        """A context is gone: released, its session closed, or its handle given to another object."""


class Streams:
    """Joins streams: exchange() for every exchange in order, finish() at the end of the capture.

    keep: how many bytes of an open stream are kept. A longer one is counted to its end but its bytes are let go (kept
    is None). With 0 none are kept; states always are, they are small. allowance: see Account. words: whether to note at
    the ROPs which part of which stream they carry; only trees show it.
    """

    def __init__(
        self,
        keep: int = 0,
        watcher: Watcher | None = None,
        *,
        allowance: Allowance | None = None,
        words: bool = True,
    ) -> None:
        self.keep = keep
        self.words = words
        self.allowance = allowance
        self.watcher = watcher
        self.count = 0
        self._open: dict[tuple[int, int | None], Stream] = {}
        self._state: dict[tuple[int, int | None], StateUpload] = {}
        self._over: dict[tuple[int, int | None], int] = {}
        """Contexts whose stream has ended before they were released: its number."""

    def exchange(self, exchange: Exchange) -> Joined:
        """Take an exchange. Also notes at its ROPs which part of which stream they carry (RopSide.carried)."""
        if exchange.session is None:
            return Joined([], [])
        step = _Step(self, exchange, exchange.session)
        for rop in _in_order(exchange.rops):
            step.take(rop)
            if self.watcher is not None:
                self.watcher.rop(exchange, rop)
        step.close()
        return step.joined

    def finish(self) -> list[Stream]:
        """The streams that are still open when the capture ends, in the order in which they were opened."""
        left = list(self._open.values())
        for stream in left:
            if stream.direction == "collector":
                why = "not released before the capture ends"
            else:
                why = "the capture ends before the transfer does" if stream.buffers else "nothing was fetched"
            stream.ended(False, why)
        self._open.clear()
        self._state.clear()
        return left


def _in_order(rops: Iterable[Rop]) -> Iterator[Rop]:
    """ROPs as they were carried out: packed responses right behind the first one."""
    packed: dict[int, list[Rop]] = {}
    own: list[Rop] = []
    for rop in rops:
        if rop.continues is None:
            own.append(rop)
        else:
            packed.setdefault(id(rop.continues), []).append(rop)
    for rop in own:
        yield rop
        yield from packed.get(id(rop), ())


class _Step:
    """One exchange being taken."""

    def __init__(self, streams: Streams, exchange: Exchange, session: Session) -> None:
        self.streams, self.exchange, self.session = streams, exchange, session
        self.joined = Joined([], [])
        self.fetched: set[tuple[int, int | None]] = set()
        response = exchange.call.response
        self.response_damaged = response is not None and any(
            found.severity is not Severity.NOTE for found in response.diagnostics
        )

    def take(self, rop: Rop) -> None:
        rop_id = rop.rop_id
        if rop_id == GET_BUFFER:
            self.got(rop)
        elif rop_id in (PUT_BUFFER, PUT_BUFFER_EXTENDED):
            self.put(rop)
        elif rop_id in (STATE_BEGIN, STATE_CONTINUE, STATE_END):
            self.state(rop)
        elif rop_id in IMPORTS and rop.return_value == SUCCESS and self.key(rop)[1] is not None:
            self.context(rop, "collector")
            if rop.definition is not None and rop.definition.output is not None:
                self.opened(rop, rop.handles.get(rop.definition.output))
        elif rop_id == RELEASE:
            self.released(rop)
        elif rop.definition is not None and rop.definition.output is not None:
            self.opened(rop, rop.handles.get(rop.definition.output))

    def close(self) -> None:
        """What the exchange as a whole means for the contexts of its session."""
        if self.response_damaged:
            for key in self.fetched:
                stream = self.streams._open.get(key)
                if stream is not None:
                    stream.missing(f"the response in frame {self.frame(response=True)} is damaged")
        if self.exchange.call.name in CLOSING_CALLS and self.exchange.call.request is not None:
            for key in [key for key in self.streams._open if key[0] == self.session.number]:
                self.over(key, "the session was closed before the transfer was done")
            for key in [key for key in self.streams._state if key[0] == self.session.number]:
                del self.streams._state[key]
            for key in [key for key in self.streams._over if key[0] == self.session.number]:
                self.gone(key)

    def frame(self, response: bool = False) -> int:
        call = self.exchange.call
        side = (call.response or call.request) if response else (call.request or call.response)
        return side.frame if side is not None else 0

    def key(self, rop: Rop) -> tuple[int, int | None]:
        """The context that a ROP acts on. A response without its request names it by the handle table beside it."""
        handle = rop.handles.get("InputHandleIndex")
        if handle is None and rop.request is None and rop.response is not None and rop.response.value is not None:
            index = rop.response.value.get("InputHandleIndex")
            for buffer in self.exchange.response_buffers:
                if buffer.source is rop.response.source and index is not None and index < len(buffer.handles):
                    handle = buffer.handles[index] if buffer.handles[index] != NO_HANDLE else None
        return self.session.number, handle

    def context(self, rop: Rop, direction: str) -> Stream:
        """The open stream of a ROP; a new one, whose beginning is missing, where there is none."""
        key = self.key(rop)
        stream = self.streams._open.get(key)
        if stream is None:
            stream = self.begin(key, rop, direction, None, "")
            before = self.streams._over.pop(key, None)
            if direction != "collector":
                stream.missing(START_MISSING if before is None else f"stream {before} of this context was done before")
        elif stream.direction == "collector" and direction != "collector":
            stream.direction = direction  # its state was seen, the ROP that opened it was not
            stream.missing(START_MISSING)
        return stream

    def begin(self, key: tuple[int, int | None], rop: Rop, direction: str, root: str | None, opened_by: str) -> Stream:
        self.streams.count += 1
        target = rop.target
        logon = self.session.logons.get(rop.logon_id) if rop.logon_id is not None else None
        folder = target.folder_id if target is not None else None
        stream = Stream(
            self.streams.count, key[0], key[1], direction, root, opened_by, self.exchange.number, self.frame(),
            codepage=self.session.codepage, logon_id=rop.logon_id, folder=folder,
            folder_name=logon.folder_names.get(folder, "") if logon is not None and folder is not None else "",
            message=target.message_id if target is not None else None,
            last_exchange=self.exchange.number, last_frame=self.frame(),
            counting=Account(root, self.session.codepage, self.streams.allowance),
            kept=Kept() if self.streams.keep else None,
        )  # fmt: skip
        stream.deferred = (
            stream.kept is not None and root is not None and self.streams.watcher is None and not self.streams.allowance
        )
        self.streams._open[key] = stream
        watcher = self.streams.watcher
        if watcher is not None:
            stream.counting.told = partial(watcher.item, stream)
            watcher.began(self.exchange, rop, stream)
        return stream

    def opened(self, rop: Rop, handle: int | None) -> None:
        """A ROP that opens an object: a context, or something else that takes over a handle."""
        if handle is None or rop.return_value not in WITH_VALUE:
            return
        key = self.session.number, handle
        self.over(key, "its handle was given to another object")
        self.gone(key)
        if rop.rop_id not in OPENING or rop.request is None or rop.request.value is None:
            return
        direction = {DESTINATION_CONFIGURE: "upload", OPEN_COLLECTOR: "collector"}.get(rop.rop_id, "download")
        stream = self.begin(key, rop, direction, _root(rop), rop.name)
        stream.options = _options(rop.request)
        if rop.rop_id == GET_TRANSFER_STATE:
            parent = self.session.number, rop.handles.get("InputHandleIndex")
            other = self.streams._open.get(parent)
            stream.of = other.number if other is not None else self.streams._over.get(parent)

    def got(self, rop: Rop) -> None:
        """RopFastTransferSourceGetBuffer."""
        side, frame = rop.response, self.frame(response=True)
        if side is None:
            why = self.unanswered()
            if why:
                self.context(rop, "download").missing(why)
            return
        value = side.value
        data = value.get("TransferBuffer") or b"" if value is not None else b""
        key = self.key(rop)
        if not data and key not in self.streams._open and key in self.streams._over:
            return  # asked once more behind the last buffer
        stream = self.context(rop, "download")
        self.fetched.add(key)
        if value is None:
            stream.missing(f"the response in frame {frame} cannot be read")
            return
        code = rop.return_value or 0
        if code == SERVER_BUSY:
            stream.backoffs += 1
            stream.backoff_ms += value.get("BackoffTime") or 0
            return
        if code != SUCCESS:
            self.failed(stream, rop, code, frame)
        status, done, total = (value.get(name) for name in ("TransferStatus", "InProgressCount", "TotalStepCount"))
        if status is None:
            return
        buffer = Buffer(self.exchange.number, frame, stream.size, len(data), len(data), status, done, total)
        self.carry(stream, side, "TransferBuffer", buffer)
        if code == SUCCESS and status == DONE:
            self.over(key, "", complete=True)

    def put(self, rop: Rop) -> None:
        """RopFastTransferDestinationPutBuffer, ...Extended."""
        side = rop.request
        if side is None:
            return
        if side.value is None:  # nor can its handle be told
            for stream in self.streams._open.values():
                if stream.session == self.session.number and stream.direction == "upload":
                    stream.missing(f"a request in frame {self.frame()} cannot be read")
            return
        stream = self.context(rop, "upload")
        data = side.value.get("TransferData") or b""
        answer = rop.response.value if rop.response is not None else None
        used, code = len(data), rop.return_value
        if answer is None:
            stream.assumed += 1
            status = done = total = None
        else:
            status, done, total = (answer.get(name) for name in ("TransferStatus", "InProgressCount", "TotalStepCount"))
            used = min(answer.get("BufferUsedSize", 0 if code else used), used)
            if code:
                self.failed(stream, rop, code, self.frame())
        buffer = Buffer(self.exchange.number, self.frame(), stream.size, used, len(data), status, done, total)
        self.carry(stream, side, "TransferData", buffer)

    def carry(self, stream: Stream, side: RopSide, name: str, buffer: Buffer) -> None:
        """Add the bytes that stand at the end of a ROP, and say so there."""
        if self.streams.words:
            side.carried = Carried(name, _carried(stream, buffer))
        stream.add(side.source, side.offset + side.length - buffer.sent, buffer, self.streams.keep)

    def failed(self, stream: Stream, rop: Rop, code: int, frame: int) -> None:
        if len(stream.failures) < ERRORS_KEPT:
            stream.failures.append(Failure(self.exchange.number, frame, rop.name, code))

    def unanswered(self) -> str:
        """Why the response of a ROP is not there, where its bytes are lost with it; '' where it sent none."""
        if self.exchange.call.response is None:
            return f"the response to the request in frame {self.frame()} was not captured"
        unread = self.response_damaged
        for buffer in self.exchange.response_buffers:
            if any(side.rop_id in NOT_CARRIED_OUT for side in buffer.rops):
                return ""
            unread = unread or any(side.value is None for side in buffer.rops)
        return f"the response in frame {self.frame(response=True)} cannot be read" if unread else ""

    def released(self, rop: Rop) -> None:
        key = self.key(rop)
        stream = self.streams._open.get(key)
        if stream is None:
            self.gone(key)
            return
        if stream.direction == "download":
            last = stream.failures[-1] if stream.failures else None
            why = f"released after {last.rop} failed" if last is not None else "released before the transfer was done"
            self.over(key, why if stream.buffers or last is not None else "released before anything was fetched")
        else:
            self.over(key, "", complete=not stream.failures)
        self.gone(key)

    def gone(self, key: tuple[int, int | None]) -> None:
        """A context is no more."""
        if self.streams._over.pop(key, None) is not None and self.streams.watcher is not None:
            self.streams.watcher.closed(*key)

    def over(self, key: tuple[int, int | None], why: str, complete: bool = False) -> None:
        """The stream of a context ends, if it has one that is open."""
        stream = self.streams._open.pop(key, None)
        if stream is None:
            return
        state = self.streams._state.pop(key, None)
        if state is not None:
            self.joined.states.append(state)
        stream.last_exchange, stream.last_frame = self.exchange.number, self.frame(response=True)
        self.streams._over[key] = stream.number
        if stream.direction == "upload":
            if stream.failures:
                complete, why = False, f"{stream.failures[-1].rop} failed"
            stream.ended(complete, why)
            if complete and stream.complete and stream.account.faults:
                stream.complete, stream.why = False, stream.account.faults[-1].diagnostic.message
        else:
            stream.ended(complete, why)
        self.joined.streams.append(stream)

    def state(self, rop: Rop) -> None:
        """RopSynchronizationUploadStateStreamBegin, ...Continue, ...End."""
        side = rop.request
        if side is None or side.value is None:
            return
        stream = self.context(rop, "collector")
        key, code = self.key(rop), rop.return_value
        upload = self.streams._state.get(key)
        if rop.rop_id == STATE_BEGIN:
            if upload is not None:
                self.joined.states.append(upload)
            upload = self.upload(key, stream, side.value.get("StateProperty"), side.value.get("TransferBufferSize"))
        elif upload is None:
            upload = self.upload(key, stream, None, None)
        upload.last_frame = self.frame()
        if code:
            upload.refused = code
            self.failed(stream, rop, code, self.frame())
        elif rop.rop_id == STATE_CONTINUE:
            size = len(side.value.get("StreamData") or b"")
            words = f"bytes {upload.size}-{upload.size + size - 1} of" if size else "no bytes of"
            side.carried = Carried("StreamData", f"{words} {upload.name} for {stream.label}")
            upload.parts.append((side.source, side.offset + side.length - size, size))
            upload.size += size
        if rop.rop_id == STATE_END:
            upload.ended = code == SUCCESS or code is None
            self.joined.states.append(upload)
            del self.streams._state[key]

    def upload(
        self, key: tuple[int, int | None], stream: Stream, tag: int | None, announced: int | None
    ) -> StateUpload:
        made = StateUpload(stream.number, tag, announced, self.exchange.number, self.frame())
        self.streams._state[key] = made
        stream.states.append(made)
        return made


def _carried(stream: Stream, buffer: Buffer) -> str:
    """Which part of which stream a buffer is, in words."""
    if buffer.length:
        words = f"bytes {buffer.offset}-{buffer.offset + buffer.length - 1} of {stream.label}"
    else:
        words = f"no bytes of {stream.label}"
    if buffer.length < buffer.sent:
        words += f"; the server took {buffer.length} of {buffer.sent}"
    return words


def _options(side: RopSide) -> dict[str, str]:
    """The numbers of a request, but those that say nothing of the stream, in words."""
    found = {}
    for one in side.layout.subcons if side.layout is not None else ():
        value = side.value.get(one.name)
        if isinstance(value, int) and one.name not in ("RopId", "LogonId") and not one.name.endswith(("Index", "Size")):
            label = labeller_of(one.subcon)
            found[one.name] = (label(value) if label is not None else "") or str(value)
    return found


def _root(rop: Rop) -> str | None:
    """What a stream is, by the ROP that opened its context; None where it depends on an object that is not known."""
    known = ROOT_BY_ROP.get(rop.name)
    if known is not None or rop.rop_id == OPEN_COLLECTOR:
        return known
    assert rop.request is not None
    value = rop.request.value
    if rop.rop_id == SYNCHRONIZATION_CONFIGURE:
        return ROOT_BY_SYNC_TYPE.get(value.get("SynchronizationType"))
    if rop.rop_id == DESTINATION_CONFIGURE:
        known = ROOT_BY_SOURCE_OPERATION.get(value.get("SourceOperation"))
    return known or ROOT_BY_OBJECT.get(rop.kind or "")
