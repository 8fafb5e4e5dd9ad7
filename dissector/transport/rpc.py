"""DCE/RPC over TCP, and what RPC over HTTP shares with it.

Splitter (splitter.py) cuts a window into PDUs. Association remembers what was bound and joins fragments into calls by
call_id; it goes by PDU type, not by side, so it does not matter who was taken for the client. RpcChannel is one TCP
connection's share of an association: with RPC over HTTP (and on the leg behind the proxy) the two directions of a
conversation are connections of their own, and the virtual connection cookie of their first RTS PDU brings them
together in VirtualConnections.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dissector.grammar.pduheader import (
    ALTER_CONTEXT,
    ALTER_CONTEXT_RESP,
    BIND,
    BIND_ACK,
    BIND_NAK,
    CO_CANCEL,
    FAULT,
    MAYBE,
    OBJECT_UUID,
    ORPHANED,
    PRIVACY,
    REQUEST,
    RESPONSE,
    RTS,
    SHUTDOWN,
    Header,
    auth_pad,
    ptype_name,
)
from dissector.node import Diagnostic, Severity, Undecoded
from dissector.source import ByteSource, joined
from dissector.transport.messages import Message, Opaque, RpcCall, RpcControl, RpcMessage
from dissector.transport.splitter import Pdu, Splitter
from dissector.transport.window import Window

if TYPE_CHECKING:
    from dissector.transport.tcp import Connection

MAX_STUB = 64 << 20
"""Bytes of one joined stub that are kept; what comes behind them is left out, with a diagnostic."""

MAX_FRAGMENTS = 1 << 16
"""Fragments of one stub, likewise."""

MAX_HELD = 32 << 20
"""Bytes of unanswered calls that are kept in one association before the oldest is handed on as it is."""

COST = 512
"""What keeping a fragment costs besides its bytes."""

MAX_OPEN = 4096
"""Unanswered calls, likewise."""

GREETING = b"ncacn_http/1.0"
"""What a server sends first on a connection from an RPC proxy [MS-RPCH] 3.2.3.5.1."""


@dataclass(slots=True)
class _Context:
    """A presentation context as it was bound."""

    interface: uuid.UUID
    version: int
    accepted: bool = True
    transfer_syntax: uuid.UUID | None = None


@dataclass(slots=True)
class _Half:
    """The fragments of a call in one direction. broken: stubs behind a hole are not joined any more."""

    first: Pdu
    last: Pdu
    pdus: list[ByteSource] = field(default_factory=list)
    ranges: list[tuple[ByteSource, int, int]] = field(default_factory=list)
    size: int = 0
    cost: int = 0
    done: bool = False
    broken: bool = False
    sealed: bool = False
    fault: int | None = None
    object: uuid.UUID | None = None
    auth: tuple[int, int] = (0, 0)
    notes: list[Diagnostic] = field(default_factory=list)

    def break_off(self, text: str, severity: Severity = Severity.MALFORMED) -> None:
        if not self.broken:
            self.broken = True
            self.notes.append(Diagnostic(severity, text))

    def message(self) -> RpcMessage:
        if not self.done:
            self.break_off("the last fragments are not in the capture")
        if len(self.ranges) == 1:
            source, offset, length = self.ranges[0]
            stub = source.derive("stub", offset, length)
        else:
            stub = joined("stub", self.ranges)
        first, last = self.first.piece, self.last.piece
        return RpcMessage(
            stub, self.pdus, first.first_frame, first.first_time, last.last_frame, last.last_time,
            ptype=self.first.header.ptype, sealed=self.sealed, fault=self.fault, object=self.object,
            auth_type=self.auth[0], auth_level=self.auth[1], diagnostics=self.notes, complete=not self.broken,
        )  # fmt: skip


@dataclass(slots=True)
class _Call:
    connection: Connection
    call_id: int
    opnum: int | None
    context_id: int
    little_endian: bool
    request: _Half | None = None
    response: _Half | None = None
    cancelled: bool = False
    orphaned: bool = False

    @property
    def cost(self) -> int:
        return (self.request.cost if self.request else 0) + (self.response.cost if self.response else 0)


class Association:
    """What was bound on a connection (or a virtual one), and the calls that are under way.

    in_step: both directions were seen from their beginning, and nothing is missing. A response without a request waits
    for it anyway (its packets may stand later in the file, or behind a hole that is still open), but outside of step
    only a request that is older can be it.
    """

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self.channels = 0
        self.in_step = False
        self._contexts: dict[int, _Context] = {}
        self._binds: dict[int, list[int]] = {}
        self._open: dict[int, _Call] = {}
        self._held = 0

    def receive(self, connection: Connection, side: int, pdu: Pdu) -> list[Message]:
        """Take in one PDU, which came from that side of its connection. Returns what it completes."""
        ptype = pdu.header.ptype
        if ptype == REQUEST:
            return self._request(connection, side, pdu)
        if ptype in (RESPONSE, FAULT):
            return self._response(connection, side, pdu)
        if ptype in (BIND, ALTER_CONTEXT):
            self._bind(pdu)
        elif ptype in (BIND_ACK, ALTER_CONTEXT_RESP, BIND_NAK):
            self._bind_answer(pdu)
        elif ptype in (CO_CANCEL, ORPHANED):
            call = self._open.get(pdu.header.call_id)
            if call is not None and ptype == CO_CANCEL:
                call.cancelled = True
            elif call is not None:
                call.orphaned = True
        return [self._control(connection, side, pdu)]

    def lost(self, from_server: bool) -> None:
        """PDUs of one direction are missing: what is joined there of unfinished messages ends here."""
        for call in self._open.values():
            half = call.response if from_server else call.request
            if half is not None and not half.done:
                half.break_off(f"fragments are missing behind byte {half.size} of the stub")

    def finish(self) -> list[Message]:
        """Hand on all calls that nobody answered."""
        calls, self._open, self._held = list(self._open.values()), {}, 0
        return [self._made(call) for call in calls]

    def _control(self, connection: Connection, side: int, pdu: Pdu) -> RpcControl:
        header, piece = pdu.header, pdu.piece
        if header.ptype != RTS:  # for all others the type says who sends it, whoever was taken for the client
            side = int(header.ptype in (RESPONSE, FAULT, BIND_ACK, BIND_NAK, ALTER_CONTEXT_RESP, SHUTDOWN))
        if pdu.missing:
            pdu.notes.append(_cut(pdu))
        return RpcControl(
            connection, self.transport, side, ptype_name(header.ptype), piece.source, piece.first_frame,
            piece.first_time, piece.last_frame, piece.last_time, pdu.notes,
        )  # fmt: skip

    def _bind(self, pdu: Pdu) -> None:
        body = _body(pdu)
        if body is None:
            return
        if pdu.header.ptype == BIND:
            self.in_step = True
        ids: list[int] = []
        for element in body.p_cont_elem:
            syntax = element.abstract_syntax
            transfers = element.transfer_syntaxes
            self._contexts[element.p_cont_id] = _Context(
                syntax.if_uuid, syntax.if_version, transfer_syntax=transfers[0].if_uuid if transfers else None
            )
            ids.append(element.p_cont_id)
        if len(self._binds) < MAX_OPEN:
            self._binds[pdu.header.call_id] = ids

    def _bind_answer(self, pdu: Pdu) -> None:
        ids = self._binds.pop(pdu.header.call_id, [])
        if pdu.header.ptype == BIND_NAK:
            for context_id in ids:
                self._contexts[context_id].accepted = False
            return
        body = _body(pdu)
        for context_id, result in zip(ids, body.p_results if body else (), strict=False):
            context = self._contexts[context_id]
            context.accepted = result.result == 0
            if context.accepted:
                context.transfer_syntax = result.transfer_syntax.if_uuid

    def _request(self, connection: Connection, side: int, pdu: Pdu) -> list[Message]:
        header, data = pdu.header, pdu.piece.source.data
        done: list[Message] = []
        if len(data) < 24:
            return [self._control(connection, side, pdu)]
        call = self._open.get(header.call_id)
        if call is not None and (self._other(call, pdu) if call.request is None else header.first or call.request.done):
            done.append(self._close(call))
            call = None
        context_id, opnum = struct.unpack_from("<HH" if header.little_endian else ">HH", data, 20)
        if call is None:
            call = self._call(connection, header, opnum, context_id)
        if call.request is None:
            call.connection, call.opnum, call.context_id = connection, opnum, context_id
            call.little_endian = header.little_endian
            call.request = _Half(pdu, pdu)
            if not header.first:
                call.request.break_off("the first fragments are not in the capture", Severity.NO_CONTEXT)
        start = 24
        if header.flags & OBJECT_UUID and len(data) >= 40:
            start = 40
            raw = data[24:40]
            call.request.object = uuid.UUID(bytes_le=raw) if header.little_endian else uuid.UUID(bytes=raw)
        self._add(call.request, pdu, start)
        if call.request.done and (header.flags & MAYBE or (call.response is not None and call.response.done)):
            done.append(self._close(call))
        return done + self._bound()

    def _response(self, connection: Connection, side: int, pdu: Pdu) -> list[Message]:
        header, data = pdu.header, pdu.piece.source.data
        done: list[Message] = []
        if len(data) < 24:
            return [self._control(connection, side, pdu)]
        call = self._open.get(header.call_id)
        if call is not None and call.response is not None and (header.first or call.response.done):
            done.append(self._close(call))
            call = None
        if call is None:
            (context_id,) = struct.unpack_from("<H" if header.little_endian else ">H", data, 20)
            call = self._call(connection, header, None, context_id)
        if call.response is None:
            call.response = _Half(pdu, pdu)
            if not header.first:
                call.response.break_off("the first fragments are not in the capture", Severity.NO_CONTEXT)
        start = 24
        if header.ptype == FAULT and len(data) >= 28:
            (call.response.fault,) = struct.unpack_from("<I" if header.little_endian else ">I", data, 24)
            start = 32
        self._add(call.response, pdu, start)
        request = call.request
        if call.response.done and request is not None and (request.done or call.response.fault is not None):
            done.append(self._close(call))
        return done + self._bound()

    def _other(self, call: _Call, request: Pdu) -> bool:
        """Whether a response that waits is none to this request, but to an earlier one that is missing."""
        assert call.response is not None
        return not self.in_step and call.response.first.piece.first_time < request.piece.first_time

    def _call(self, connection: Connection, header: Header, opnum: int | None, context_id: int) -> _Call:
        call = _Call(connection, header.call_id, opnum, context_id, header.little_endian)
        self._open[header.call_id] = call
        return call

    def _add(self, half: _Half, pdu: Pdu, start: int) -> None:
        """Add a fragment whose stub begins at `start` of the PDU."""
        header, source = pdu.header, pdu.piece.source
        half.last = pdu
        half.notes.extend(pdu.notes)
        half.done = half.done or header.last
        end = header.frag_length - header.trailer
        if header.auth_length and len(source.data) >= end + 2:
            half.auth = source.data[end], source.data[end + 1]
            half.sealed = half.sealed or half.auth[1] == PRIVACY
            end -= auth_pad(source.data, header)
        end = min(end, len(source.data))
        if half.size + max(end - start, 0) > MAX_STUB or len(half.pdus) == MAX_FRAGMENTS:
            half.break_off(
                f"the stub is longer than {MAX_STUB} bytes or {MAX_FRAGMENTS} fragments; the rest is left out"
            )
        else:
            half.pdus.append(source)
            half.cost += COST
            self._held += COST
        if not half.broken and end > start:
            half.ranges.append((source, start, end - start))
            half.size += end - start
            half.cost += end - start
            self._held += end - start
        if pdu.missing:
            half.break_off(_cut(pdu).message)

    def _bound(self) -> list[Message]:
        """The oldest calls, where too many are open."""
        done: list[Message] = []
        while len(self._open) > MAX_OPEN or (self._held > MAX_HELD and len(self._open) > 1):
            done.append(self._close(next(iter(self._open.values()))))
        return done

    def _close(self, call: _Call) -> RpcCall:
        self._open.pop(call.call_id, None)
        self._held -= call.cost
        return self._made(call)

    def _made(self, call: _Call) -> RpcCall:
        context = self._contexts.get(call.context_id)
        return RpcCall(
            call.connection,
            self.transport,
            call.call_id,
            call.opnum,
            context.interface if context else None,
            context.version if context else 0,
            call.context_id,
            call.little_endian,
            call.request.message() if call.request else None,
            call.response.message() if call.response else None,
            transfer_syntax=context.transfer_syntax if context else None,
            accepted=context.accepted if context else True,
            cancelled=call.cancelled,
            orphaned=call.orphaned,
        )


def _cut(pdu: Pdu) -> Diagnostic:
    at = len(pdu.piece.source.data)
    return Diagnostic(Severity.MALFORMED, f"the PDU's bytes {at} to {at + pdu.missing} are not in the capture")


def _body(pdu: Pdu) -> Any:
    """The decoded body of a PDU; None, with a note on the PDU, where it cannot be read."""
    from dissector.grammar.pdu import GrammarError, parse_pdu  # who reads HTTP only does without the grammar

    try:
        body = parse_pdu(pdu.piece.source.data)["body"]
    except GrammarError as error:
        pdu.notes.append(Diagnostic(error.severity, error.message))
        return None
    if isinstance(body, Undecoded):
        pdu.notes.append(Diagnostic(Severity.MALFORMED, "the body does not follow its layout"))
        return None
    return body


def virtual_cookie(data: bytes) -> bytes | None:
    """The virtual connection cookie of an RTS PDU that opens a channel; None for any other.

    All of them (CONN/A1, A2, B1, B2, IN_R1/A1, A2, IN_R2/A1, OUT_R1/A3, A4, OUT_R2/A3) begin with the commands Version,
    Cookie (of the virtual connection), Cookie (of the channel) [MS-RPCH] 2.2.4.
    """
    if len(data) < 68 or data[2] != RTS:
        return None
    version, cookie, channel = (int.from_bytes(data[at : at + 4], "little") for at in (20, 28, 48))
    return data[32:48] if (version, cookie, channel) == (6, 3, 3) else None


class VirtualConnections:
    """The associations of a capture whose two directions are TCP connections of their own, by cookie."""

    def __init__(self) -> None:
        self._table: dict[tuple[str, str, bytes], Association] = {}

    def join(self, leg: str, host: str, cookie: bytes) -> Association:
        """The association of a channel on `leg` ("http", "ncacn_http") from `host` (client to proxy and proxy to server
        use the same cookie, and a capture may hold both)."""
        association = self._table.get((leg, host, cookie))
        if association is None:
            association = self._table[leg, host, cookie] = Association("rpc-http")
        association.channels += 1
        return association

    def leave(self, association: Association) -> list[Message]:
        """A channel has closed. The last one takes the association with it."""
        association.channels -= 1
        if association.channels > 0:
            return []
        for key in [key for key, value in self._table.items() if value is association]:
            del self._table[key]
        return association.finish()


class RpcChannel:
    """One TCP connection's PDUs: cut up, and given to the association they belong to.

    leg: "" for plain TCP, "http" inside RPC over HTTP; it becomes "ncacn_http" where the connection turns out to be one
    between RPC proxy and server. late: by side, whether the capture may begin inside a PDU.
    """

    def __init__(
        self,
        connection: Connection,
        virtual: VirtualConnections,
        leg: str = "",
        late: tuple[bool, bool] = (False, False),
    ) -> None:
        self.connection, self.virtual, self.leg = connection, virtual, leg
        self.splitters = Splitter(late[0]), Splitter(late[1])
        self.association = Association("rpc-http" if leg else "rpc-tcp")
        self._joined = False
        self._from_server = [False, True]

    def feed(self, side: int, window: Window, limit: int | None = None) -> list[Message]:
        """Read whole PDUs from a window's first `limit` bytes; splitters[side].consumed tells how many were taken."""
        done: list[Message] = []
        for pdu in self.splitters[side].split(window, limit):
            self._receive(side, pdu, done)
        return done

    def gap(self, side: int, window: Window, limit: int | None = None, length: int | None = None) -> list[Message]:
        """The window ends at a hole of `length` bytes, or (None) for good."""
        done: list[Message] = []
        splitter = self.splitters[side]
        pdu = splitter.rest(window, limit, length)
        if pdu is not None:
            self._receive(side, pdu, done)
        if splitter.lost:
            splitter.lost = False
            self.association.in_step = False
            self.association.lost(self._from_server[side])
        return done

    def close(self) -> list[Message]:
        """The connection has ended in both directions."""
        if self._joined:
            self._joined = False
            return self.virtual.leave(self.association)
        return self.association.finish()

    def _receive(self, side: int, pdu: Pdu, done: list[Message]) -> None:
        ptype = pdu.header.ptype
        if ptype == RTS:
            cookie = virtual_cookie(pdu.piece.source.data)
            if cookie is not None:
                self._join(cookie, done)
            self.association.transport = "rpc-http"
        else:
            self._from_server[side] = ptype in (RESPONSE, FAULT, BIND_ACK, BIND_NAK, ALTER_CONTEXT_RESP)
        done.extend(self.association.receive(self.connection, side, pdu))

    def _join(self, cookie: bytes, done: list[Message]) -> None:
        done.extend(self.close())
        self.leg = self.leg or "ncacn_http"
        self.association = self.virtual.join(self.leg, str(self.connection.client[0]), cookie)
        self._joined = True


class RpcProtocol:
    """DCE/RPC on a TCP connection: ncacn_ip_tcp, and ncacn_http behind an RPC proxy.

    late: by side, whether the capture may begin inside a PDU. passed: bytes that went by before RPC was recognised.
    """

    def __init__(
        self,
        connection: Connection,
        virtual: VirtualConnections,
        late: tuple[bool, bool] = (False, False),
        passed: tuple[int, int] = (0, 0),
    ) -> None:
        self.connection = connection
        self.channel = RpcChannel(connection, virtual, late=late)
        for splitter, count in zip(self.channel.splitters, passed, strict=True):
            splitter.skipped = count
        self._greeting = [True, True]  # by side: it may still come

    def feed(self, side: int, closed: bool = False) -> list[Message]:
        """Read what is there in one direction. closed: no more will come of it."""
        window = self.connection.directions[side]
        if self._greeting[side]:
            start = window.peek(len(GREETING))
            if start == GREETING:
                window.take(len(GREETING), "greeting")
                self.channel.leg = "ncacn_http"
            elif GREETING.startswith(start) and not closed:
                window.need = len(GREETING)
                return []
            self._greeting[side] = False
        done = self.channel.feed(side, window)
        if closed:
            done += self.channel.gap(side, window)
            done += self._left_over(side)
            if self.connection.closed:
                done += self.channel.close()
        return done

    def _left_over(self, side: int) -> list[Message]:
        """Tell of bytes that no PDU has, at the end."""
        skipped = self.channel.splitters[side].skipped
        if not skipped:
            return []
        frame, time = self.connection.directions[side].first
        sides = (skipped, 0) if side == 0 else (0, skipped)
        what = "part of a DCE/RPC PDU without its beginning"
        return [Opaque(self.connection, "unknown", what, skipped, frame, time, frame, time, by_side=sides)]

    def gap(self, side: int, length: int) -> list[Message]:
        """`length` bytes are missing behind what is in the window."""
        return self.feed(side) + self.channel.gap(side, self.connection.directions[side], length=length)
