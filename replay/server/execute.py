"""ROP buffers in, ROP buffers out: what the Execute request carries, without any transport [MS-OXCROPS] 3.2.5.

execute() takes the bytes of one request's RopBuffer (a chain of RPC_HEADER_EXT and payload) and gives those of the
response's. Requests are parsed and responses built with the dissector's grammar. The whole request is one transaction:
a buffer that cannot be read to its end changes nothing.

Room is counted as [MS-OXCRPC] 3.1.4.2.1 wants it: no payload beyond 32 KiB, the chain within the client's MaxRopOut,
what does not fit is handed back in RopBufferTooSmall; QueryRows, ReadStream and GetBuffer go on in further payloads
where the client allows it.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Mapping
from typing import Any

from dissector.emsmdb import buffers
from dissector.grammar.base import GrammarError, build
from dissector.grammar.names import error_name
from dissector.grammar.reading import parse
from dissector.grammar.rops import ROPS
from dissector.grammar.rops.base import RopDef
from dissector.node import Undecoded
from dissector.source import ByteSource
from replay.server import notify
from replay.server.call import Call, Fields, Handler, TooSmallError
from replay.server.errors import BUFFER_TOO_SMALL, NOT_IMPLEMENTED, RPC_FORMAT, RopError
from replay.server.rops import HANDLERS
from replay.server.session import Session

log = logging.getLogger("replay.server")

PAYLOAD_LIMIT = 0x8000
"""Bytes in one payload."""

OUTPUT_LIMIT = 0x100000
"""Bytes in one response, whatever MaxRopOut says."""

MAX_PAYLOADS = 96
NO_COMPRESSION, NO_XOR, CHAIN = 1, 2, 4
"""Flags of Execute."""

LEAST_ROOM = 64
"""Bytes without which a further ROP is not begun: what changes something answers with less, and then its answer fits.
Undoing it in the database alone would not do, since open objects have changed as well."""

WORTH_COMPRESSING = 100
"""Bytes of responses from which on they are compressed."""

STREAMED = frozenset((0x2C, 0x4E))
"""RopReadStream and RopFastTransferSourceGetBuffer: their data is large, and often compressed already."""

PACKED_UPLOADS = {0xA3: "Data", 0x54: "TransferData", 0x9D: "TransferData"}
"""ROPs whose data may go on in further payloads of a request, and the field that it is in."""

FAILURE_FIELDS: Fields = {
    "PartialCompletion": False, "Data": b"", "WrittenSize": 0, "ReadByteCount": 0, "WrittenByteCount": 0,
    "TransferStatus": 0, "InProgressCount": 0, "TotalStepCount": 0, "Reserved": 0, "TransferBuffer": b"",
    "BufferUsedSize": 0,
}  # fmt: skip
"""What failure responses of some ROPs carry behind the ReturnValue."""


class CallError(Exception):
    """The whole Execute fails with this ErrorCode; nothing was changed."""

    def __init__(self, code: int) -> None:
        super().__init__(error_name(code) or f"0x{code:08X}")
        self.code = code


class BrokenSessionError(Exception):
    """We failed in the middle of a request: what the session has open can no longer be trusted."""


def execute(
    session: Session,
    rop_buffer: bytes,
    flags: int,
    max_rop_out: int,
    handlers: Mapping[int, Handler] = HANDLERS,
) -> bytes:
    """Carry out the ROPs of one request. Raises CallError, or BrokenSessionError where the fault is ours."""
    payloads = _payloads(rop_buffer)
    if max_rop_out < 32:
        raise CallError(RPC_FORMAT)
    before = set(session.objects)
    run = _Run(session, payloads, flags, min(max_rop_out, OUTPUT_LIMIT), handlers)
    try:
        with session.store.transaction():
            parts = run.run()
    except CallError:
        for handle in set(session.objects) - before:
            session.objects.pop(handle)
        raise
    except Exception as error:
        log.exception("an Execute request failed inside the server")
        raise BrokenSessionError from error
    return buffers.pack(parts, compress=run.compress)


def _payloads(rop_buffer: bytes) -> list[bytes]:
    found = buffers.chain(ByteSource("RopBuffer", rop_buffer), 0, len(rop_buffer), "payload")
    if found.diagnostics or not found.parts or found.rest != len(rop_buffer):
        raise CallError(RPC_FORMAT)
    return [part.plain.data for part in found.parts]


def _split(payload: bytes) -> tuple[bytes, list[int]]:
    """(the ROPs with the two bytes of RopSize in front, the handle table) of a ROP buffer."""
    if len(payload) < 2:
        raise CallError(RPC_FORMAT)
    size = int.from_bytes(payload[:2], "little")
    if not 2 <= size <= len(payload) or (len(payload) - size) % 4:
        raise CallError(RPC_FORMAT)
    return payload[:size], [number for (number,) in struct.iter_unpack("<I", payload[size:])]


class _Run:
    """One request on its way."""

    def __init__(
        self, session: Session, payloads: list[bytes], flags: int, max_out: int, handlers: Mapping[int, Handler]
    ) -> None:
        self.session, self.flags, self.max_out, self.handlers_by_id = session, flags, max_out, handlers
        self.data, self.handles = _split(payloads[0])
        self.further = payloads[1:]
        self.out = bytearray()
        self.done: set[int] = set()

    @property
    def compress(self) -> bool:
        """Whether the client wants it and it is worth while: neither streams nor what is small."""
        if self.flags & NO_COMPRESSION or not WORTH_COMPRESSING <= len(self.out) <= PAYLOAD_LIMIT:
            return False
        return not self.done & STREAMED

    @property
    def limit(self) -> int:
        """Bytes for the responses of the first payload, beside RopSize and the handle table."""
        return min(self.max_out - 8, PAYLOAD_LIMIT) - 2 - 4 * len(self.handles)

    def run(self) -> list[bytes]:
        """The payloads of the response."""
        position, last = 2, None
        while position < len(self.data):
            definition, request, after = self._parse(self.data, position)
            if after == len(self.data):
                self._append_further(definition, request)
            left = len(self.data) - after
            room = self.limit - len(self.out) - (left + 3 if left else 0)
            if room < 0:
                room = self.limit - len(self.out)
            try:
                last = self._one(definition, request, room)
            except TooSmallError as error:
                self._too_small(position, error.size)
                last = None
                break
            position = after
            self.done.add(definition.rop_id)
        self._tell()
        if last is None or last.again is None:
            self._notify()
        parts = [self._payload(bytes(self.out))]
        if last is not None and last.again is not None and self.flags & CHAIN:
            parts.extend(self._more(last, len(parts[0]) + 8))
        return parts

    def _parse(self, data: bytes, position: int) -> tuple[RopDef, dict[str, Any], int]:
        definition = ROPS.get(data[position])
        if definition is None or definition.request is None:
            raise CallError(RPC_FORMAT)
        logon = self.session.logons.get(data[position + 1]) if position + 1 < len(data) else None
        try:
            request, after = parse(
                definition.request, data, position,
                codepage=self.session.codec, logon_flags=1 if logon is None else logon.flags,
            )  # fmt: skip
        except GrammarError as error:
            log.info("%s at byte %d: %s", definition.name, error.offset, error.message)
            raise CallError(RPC_FORMAT) from error
        return definition, request, after

    def _append_further(self, definition: RopDef, request: dict[str, Any]) -> None:
        """Data of the last ROP that goes on in further payloads, each with one ROP of the same kind."""
        for payload in self.further:
            field = PACKED_UPLOADS.get(definition.rop_id)
            data, _ = _split(payload)
            if field is None or len(data) <= 2:
                raise CallError(RPC_FORMAT)
            other, more, after = self._parse(data, 2)
            if other is not definition or after != len(data):
                raise CallError(RPC_FORMAT)
            request[field] = bytes(request[field]) + more[field]
        self.further = []

    def _one(self, definition: RopDef, request: dict[str, Any], room: int) -> Call:
        if self.out and room < LEAST_ROOM:
            raise TooSmallError(LEAST_ROOM)
        whole = PAYLOAD_LIMIT - 2 - 4 * len(self.handles)
        call = Call(self.session, definition, request, self.handles, room, whole)
        handler = self.handlers_by_id.get(definition.rop_id)
        try:
            with self.session.store.savepoint():
                if handler is None:
                    raise RopError(NOT_IMPLEMENTED)
                fields = handler(call)
                response = self._response(call, call.code, fields)
                if len(response) > room:
                    raise TooSmallError(len(response))
        except RopError as error:
            self._undo(call)
            call.again = None
            response = self._response(call, error.code, {**FAILURE_FIELDS, **error.fields})
            if len(response) > room:
                raise TooSmallError(len(response)) from error
        except TooSmallError:
            self._undo(call)
            raise
        self.out += response
        return call

    def _undo(self, call: Call) -> None:
        """Take back the object that a failed ROP opened."""
        if call.opened is not None:
            assert call.definition.output is not None
            self.session.objects.pop(call.opened, None)
            self.handles[call.request[call.definition.output]] = 0xFFFFFFFF
            call.opened = None

    def _response(self, call: Call, code: int, fields: Fields) -> bytes:
        definition = call.definition
        layout = definition.response_layout(code)
        if layout is None:  # RopRelease
            return b""
        value = {**fields, "ReturnValue": code}
        if definition.index is not None and definition.index not in value:
            value[definition.index] = call.request[definition.index]
        return build(layout, value, **call.params)

    def _payload(self, responses: bytes) -> bytes:
        return struct.pack("<H", len(responses) + 2) + responses + struct.pack(f"<{len(self.handles)}I", *self.handles)

    def _more(self, call: Call, used: int) -> list[bytes]:
        """Further payloads, each as if the client had sent the last ROP once more."""
        parts: list[bytes] = []
        again: Callable[[int], Fields | None] | None = call.again
        while again is not None and len(parts) + 1 < MAX_PAYLOADS and self.max_out - used >= call.threshold:
            room = min(self.max_out - used - 8, PAYLOAD_LIMIT) - 2 - 4 * len(self.handles)
            fields = again(room)
            if fields is None:
                break
            parts.append(self._payload(self._response(call, 0, fields)))
            used += len(parts[-1]) + 8
        return parts

    def _too_small(self, position: int, needed: int) -> None:
        """Hand back the requests from `position` on."""
        rest = self.data[position:]
        response = build_buffer_too_small(len(self.out) + needed + 2 + 4 * len(self.handles), rest)
        if len(self.out) + len(response) > self.limit:
            raise CallError(BUFFER_TOO_SMALL)
        self.out += response

    def _tell(self) -> None:
        """What this request did is told in its own response, as Exchange does; others hear of it after the commit."""
        for event in self.session.store.events:
            self.session.tell(event)
        self.session.store.told = self.session

    def _notify(self) -> None:
        for response in notify.pending(self.session, self.limit - len(self.out)):
            self.out += response


def build_buffer_too_small(needed: int, rest: bytes) -> bytes:
    layout = ROPS[0xFF].response_layout(0)
    assert layout is not None
    return build(layout, {"SizeNeeded": min(needed, 0xFFFF), "RequestBuffers": Undecoded(rest)})


def unanswered() -> list[RopDef]:
    """The ROPs with a published request layout that this server answers with ecNotImplemented, by id."""
    return [definition for rop_id, definition in sorted(ROPS.items()) if definition.request and rop_id not in HANDLERS]
