"""Requests to the live server and its answers as exchanges; what the protocol itself asks for on the way.

Everything is a generator that yields an Outgoing and is sent the HttpExchange that answered it. The live exchanges go
through the dissector's own session tracker, so that both sides of a comparison were read by the same code.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from construct import Container

from dissector.emsmdb import calls_from
from dissector.grammar.base import build
from dissector.grammar.names import error_name
from dissector.grammar.rops import BY_NAME
from dissector.node import Severity
from dissector.session.exchange import Exchange, Rop
from dissector.session.objects import NO_HANDLE
from dissector.session.tracker import WITH_VALUE, Tracker
from dissector.transport.messages import HttpExchange
from replay.errors import ProtocolError
from replay.messages import connect_body, disconnect_body, execute_body

MOST_BACKOFFS = 8
"""How often one request is sent again because the server asks for time."""

LONGEST_BACKOFF = 30_000
"""Milliseconds that one back-off is obeyed at most."""

PENDING_WAIT = 1000
"""Milliseconds before a ROP buffer that was answered with RopPending is sent again."""

MOST_BUFFERS = 100_000
"""How often a stream is asked for more, at most."""

MOST_EMPTY = 8
"""Buffers of a stream without a byte, one after the other, that are borne."""
STUCK = f"the live stream is stuck: {MOST_EMPTY} buffers without a byte, and more is said to come"

GOES_ON = (1, 2)
"""TransferStatus Partial and NoRoom: there is more."""

GET_BUFFER = "RopFastTransferSourceGetBuffer"


class Outgoing(NamedTuple):
    """A request to send: which live session (by the captured one's number), X-RequestType, body.

    frame: the captured request that it stands for, 0 for none. time: when that was sent, seconds since 1970. wait:
    milliseconds to let pass before.
    """

    session: int
    request_type: str
    body: bytes
    frame: int = 0
    time: float = 0.0
    wait: int = 0


@dataclass(frozen=True, slots=True)
class Origin:
    """Which captured request is being replayed."""

    session: int
    frame: int = 0
    time: float = 0.0


Conversation = Generator[Outgoing, HttpExchange, None]
Asking = Generator[Outgoing, HttpExchange, Exchange]
Answering = Generator[Outgoing, HttpExchange, Any]


class Asker:
    """One server. watch: is told every live exchange; note: what is to be remarked, with the frame."""

    def __init__(self, mailbox: str, watch: Callable[[Exchange], None], note: Callable[[int, str], None]) -> None:
        self.mailbox = mailbox
        self._watch, self.note = watch, note
        self._tracker = Tracker()

    def connect(self, origin: Origin) -> Conversation:
        """Begin a session."""
        body = connect_body(self.mailbox)
        answer = yield Outgoing(origin.session, "Connect", body, origin.frame, origin.time)
        exchange = self._exchange(answer, "Connect")
        response = exchange.call.response
        if response is None or response.return_code:
            raise ProtocolError(f"Connect for {self.mailbox} failed: {_code(exchange)}")

    def disconnect(self, session: int) -> Conversation:
        """End a session."""
        yield Outgoing(session, "Disconnect", disconnect_body())

    def execute(self, origin: Origin, payload: Sequence[bytes], slots: Mapping[int, int], wait: int = 0) -> Asking:
        """Send ROPs with their handles by slot, after `wait` ms; where the server asks for time, send them again."""
        rops = b"".join(payload)
        handles = [slots.get(index, NO_HANDLE) for index in range(max(slots, default=-1) + 1)]
        buffer = struct.pack("<H", len(rops) + 2) + rops + struct.pack(f"<{len(handles)}I", *handles)
        body = execute_body(buffer)
        for _ in range(MOST_BACKOFFS):
            answer = yield Outgoing(origin.session, "Execute", body, origin.frame, origin.time, wait)
            exchange = self._exchange(answer, "Execute")
            response = exchange.call.response
            if response is None or (response.return_code and not response.payloads):
                raise ProtocolError(f"Execute failed: {_code(exchange)}")
            trouble = damage(exchange)
            if trouble:
                self.note(origin.frame, f"the live answer cannot be read to its end: {trouble}")
            wait = backoff(exchange)
            if not wait:
                return exchange
            if wait > LONGEST_BACKOFF:
                raise ProtocolError(f"the server is busy and wants {wait / 1000:g} s of rest")
            self.note(origin.frame, f"the server asked for {wait} ms of rest")
        raise ProtocolError(f"the server is still busy after {MOST_BACKOFFS} attempts")

    def read_on(
        self, origin: Origin, request: bytes, handle: int, take: Callable[[Exchange], None] = lambda answer: None
    ) -> Generator[Outgoing, HttpExchange, tuple[int, str]]:
        """Send a RopFastTransferSourceGetBuffer again and again until its stream ends. take: is given every answer.

        Returns the last TransferStatus, and why the stream was given up before its end ("" where it was not).
        """
        status = empty = 0
        for _ in range(MOST_BUFFERS):
            answer = yield from self.execute(origin, [request], {0: handle})
            take(answer)
            first = next((one for one in answer.rops if one.request is not None), None)
            status = transfer_status(answer, first) if first is not None else 0
            if status not in GOES_ON:
                break
            empty = 0 if transferred(answer) else empty + 1
            if empty == MOST_EMPTY:
                return status, STUCK
        return status, ""

    def call(self, origin: Origin, name: str, handles: Sequence[int], **fields: Any) -> Answering:
        """One ROP of our own, on the handles in the order of its handle fields. Returns the Rop that answered.

        Raises ProtocolError where it fails: the replay cannot do without it.
        """
        definition = BY_NAME[name]
        names = (*definition.handles, *filter(None, [definition.output]))
        slots = dict(enumerate([*handles, NO_HANDLE][: len(names)]))
        given = {"LogonId": 0, **dict(zip(names, slots, strict=True)), **fields}
        if definition.index == "ResponseHandleIndex":
            given["ResponseHandleIndex"] = 0
        request = build(definition.request, Container(given), logon_flags=1)
        exchange = yield from self.execute(origin, [request], slots)
        answer = next((rop for rop in exchange.rops if rop.name == name), None)
        if not definition.responses:
            return answer
        if answer is None or answer.response is None or answer.response.value is None:
            raise ProtocolError(f"{name}, which the replay needs, got no answer")
        if answer.return_value not in WITH_VALUE:
            raise ProtocolError(
                f"{name}, which the replay needs, failed: 0x{answer.return_value or 0:08X} {answer.return_name}"
            )
        return answer

    def _exchange(self, answer: HttpExchange, request_type: str) -> Exchange:
        call = calls_from(answer)
        if call is None:
            raise ProtocolError(f"{request_type}: the answer is no MAPI/HTTP response")
        exchange = self._tracker.exchange(call)
        self._watch(exchange)
        return exchange


def opened(rop: Rop) -> int:
    """The handle that an answer of call() opened."""
    handle = rop.handles.get(rop.definition.output or "") if rop.definition is not None else None
    if handle is None:
        raise ProtocolError(f"{rop.name}, which the replay needs, gave no handle")
    return handle


def value_of(rop: Rop) -> Any:
    """The fields of an answer of call()."""
    assert rop.response is not None
    return rop.response.value


def transfer_status(exchange: Exchange, rop: Rop) -> int:
    """TransferStatus of the last buffer that answers a RopFastTransferSourceGetBuffer; 0 without one."""
    status = 0
    for one in exchange.rops:
        value = one.response.value if one.response is not None else None
        if value is not None and (one is rop or one.continues is rop):
            status = int(value.get("TransferStatus") or 0)
    return status


def transferred(exchange: Exchange) -> int:
    """Bytes of streams that an answer brings."""
    values = (rop.response.value for rop in exchange.rops if rop.name == GET_BUFFER and rop.response is not None)
    return sum(len(value.get("TransferBuffer") or b"") for value in values if value is not None)


def damage(exchange: Exchange) -> str:
    """What is wrong with the bytes of an answer, its envelope or a ROP in it; "" where nothing is."""
    response = exchange.call.response
    for found in response.diagnostics if response is not None else ():
        if found.severity is Severity.MALFORMED:
            return found.message
    for rop in exchange.rops:
        error = rop.response.error if rop.response is not None else None
        if error is not None and error.severity is Severity.MALFORMED:
            return f"{rop.name}: {error.message}"
    return ""


def _code(exchange: Exchange) -> str:
    code = exchange.call.response.return_code if exchange.call.response is not None else None
    return f"0x{code:08X} {error_name(code)}".strip() if code is not None else "no answer"


def backoff(exchange: Exchange) -> int:
    """Milliseconds after which the same request may be sent again; 0 where it was carried out."""
    if any(rop.request is not None and rop.response is not None for rop in exchange.rops if rop.name != GET_BUFFER):
        return 0
    for rop in exchange.rops:
        value = rop.response.value if rop.response is not None else None
        if value is None:
            continue
        if rop.name == "RopBackoff":
            return max(1, int(value.get("Duration") or 0))
        if rop.name == GET_BUFFER and rop.return_value == 0x00000480:
            return max(1, int(value.get("BackoffTime") or 0))
        if rop.name == "RopPending":
            return PENDING_WAIT
    return 0
