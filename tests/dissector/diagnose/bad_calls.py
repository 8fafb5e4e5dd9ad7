"""Bad captures for the rules on handles and calls: a conversation with one thing wrong in it."""

from __future__ import annotations

import struct
from collections.abc import Callable

from dissector.pipeline import dissect
from dissector.session.exchange import Exchange
from tests.conftest import shared
from tests.dissector.diagnose.edit import GET, Tape, repeated
from tests.dissector.diagnose.recordings import (
    BEGIN,
    MALFORMED,
    NOT_FOUND,
    NULL_OBJECT,
    failing,
    fetched,
    first_only,
    uploads,
)

# -- handles


def after_release() -> Tape:
    tape = first_only()
    at = tape.place(GET)
    again = fetched(tape.calls[at], ReturnValue=NULL_OBJECT, TransferStatus=0)
    tape.calls.insert(at + 2, again)
    return tape


def wrong_object() -> Tape:
    tape = first_only()
    at = tape.place(GET)
    bad = fetched(tape.calls[at], ReturnValue=0x80040102, TransferStatus=0)
    bad.requests[0].handles[0] = 0x1
    tape.calls.insert(at, bad)
    return tape


def null_object() -> Tape:
    tape = first_only()
    at = tape.place(BEGIN)
    tape.calls.insert(at, repeated(tape.calls[at]))
    return failing(tape, BEGIN, NULL_OBJECT)


def leak() -> Tape:
    tape = first_only()
    tape.remove("RopRelease")
    return tape


def many_objects() -> Tape:
    tape = first_only()
    at = tape.place("RopOpenFolder")
    made = []
    for number in range(420):
        one = repeated(tape.calls[at])
        one.responses[0].handles = [one.responses[0].handles[0], 0x1000 + number]
        made.append(one)
    tape.calls[at:at] = made
    return tape


# -- calls


def answered(code: int | None = None, status: str = "200 OK") -> Tape:
    tape = first_only()
    call = tape.calls[4]
    assert call.response_head is not None
    head = [one for one in call.response_head[1:] if code is None or not one.lower().startswith("x-responsecode")]
    call.response_head = [f"HTTP/1.1 {status}", *head, *([f"X-ResponseCode: {code}"] if code is not None else [])]
    call.responses, call.response_body = [], b""
    return tape


def reopened() -> Tape:
    """The session is not known any more; the client connects again."""
    tape = answered(10)
    tape.calls[5:] = [repeated(call) for call in tape.calls[:4]]
    return tape


def stale_cookie() -> Tape:
    """The refused request has a cookie from before."""
    tape = answered(15)
    call = tape.calls[4]
    before = next(line for line in tape.calls[3].request_head if line.lower().startswith("cookie:"))
    call.request_head = [before if line.lower().startswith("cookie:") else line for line in call.request_head]
    return tape


def refused_logons() -> Tape:
    tape = answered(status="401 Unauthorized")
    tape.repeat(4, 4)
    tape.repeat(4, 5)
    return tape


def execute_failed() -> Tape:
    tape = first_only()
    call = tape.calls[4]
    call.responses = []
    call.response_body = b"PROCESSING\r\nDONE\r\n\r\n" + struct.pack("<5I", 0, MALFORMED, 0, 0, 0)
    return tape


def retry() -> Tape:
    tape = first_only()
    tape.calls.insert(4, repeated(tape.calls[4]))
    call = tape.calls[4]
    assert call.response_head is not None
    call.response_head[0] = "HTTP/1.1 503 Service Unavailable"
    call.responses, call.response_body = [], b""
    return tape


def slow() -> Tape:
    tape = first_only()
    tape.calls[4].delay = 12.5
    return tape


def silent() -> Tape:
    tape = first_only()
    lost = repeated(tape.calls[4])
    lost.response_head, lost.connection = None, 9
    tape.calls.insert(4, lost)
    tape.calls[6].pause = 20
    return tape


def garbage() -> Tape:
    tape = first_only()
    _, payload, number, side = tape.having("RopSynchronizationConfigure")[0]
    raw = payload.rops[number][1]
    payload.put(number, side, side.value, raw[:-3])
    return tape


def hole() -> Tape:
    tape = uploads()
    tape.having(GET, response=True)[5][0].lost = 5000
    return tape


# -- RPC: bytes of the recording itself are changed


def patched(find: Callable[[Exchange], list[tuple[int, int, bytes]]]) -> bytes:
    """outlook2003-exchange2003.pcap with some bytes changed. find gives (frame, offset in it, bytes) of an exchange."""
    path = shared("captures", "real", "outlook2003-exchange2003.pcap")
    data = bytearray(path.read_bytes())
    records, at = [0], 24
    while at < len(data):
        records.append(at + 16)
        at += 16 + struct.unpack_from("<I", data, at + 8)[0]
    with dissect(path) as dissection:
        for exchange in dissection.exchanges():
            for frame, offset, new in find(exchange):
                start = records[frame] + offset
                data[start : start + len(new)] = new
    return bytes(data)


def fault() -> bytes:
    """A response becomes a fault: PDU type 3, and the status where the context handle began."""

    def find(exchange: Exchange) -> list[tuple[int, int, bytes]]:
        if exchange.number != 40 or exchange.call.response is None:
            return []
        pdu = exchange.call.response.envelope.message.pdus[0]  # type: ignore[attr-defined]
        (kind, *_), (status, *_) = pdu.locate(2, 1), pdu.locate(24, 4)
        return [(kind.frame, kind.offset, b"\x03"), (status.frame, status.offset, struct.pack("<I", 0x1C00001D))]

    return patched(find)


def null_context() -> bytes:
    def find(exchange: Exchange) -> list[tuple[int, int, bytes]]:
        if exchange.number != 40 or exchange.call.response is None:
            return []
        stub = exchange.call.response.envelope.message.stub  # type: ignore[attr-defined]
        return [(one.frame, one.offset, bytes(one.length)) for one in stub.locate(0, 20)]

    return patched(find)


def address_book() -> bytes:
    """The second NspiBind is refused like the first."""

    def find(exchange: Exchange) -> list[tuple[int, int, bytes]]:
        if exchange.call.name != "NspiBind" or exchange.call.response is None or exchange.call.response.return_code:
            return []
        stub = exchange.call.response.envelope.message.stub  # type: ignore[attr-defined]
        (code,) = stub.locate(len(stub.data) - 4, 4)
        return [(code.frame, code.offset, struct.pack("<I", 0x80040111))]

    return patched(find)


def without_calls() -> Tape:
    tape = first_only()
    tape.calls.clear()
    return tape


BAD: dict[str, Callable[[], Tape | bytes]] = {
    "use-after-release": after_release,
    "wrong-object": wrong_object,
    "null-object": null_object,
    "handle-leak": leak,
    "too-many-objects": many_objects,
    "response-code": lambda: answered(10),
    "session-reopened": reopened,
    "http-status": lambda: answered(status="503 Service Unavailable"),
    "rpc-fault": fault,
    "call-failed": execute_failed,
    "session-gone": null_context,
    "call-retried": retry,
    "slow-call": slow,
    "never-answered": silent,
    "rop-malformed": garbage,
    "capture-damaged": hole,
    "stream-has-holes": hole,
    "packets-missing": hole,
    "rop-failed": lambda: failing(uploads(), "RopGetLocalReplicaIds", NOT_FOUND),
    "property-refused": uploads,
    "address-book-refused": address_book,
    "nothing-to-diagnose": without_calls,
}  # fmt: skip
"""By rule: what makes it fire."""
HOW: dict[str, str] = {
    "use-after-release": "RopFastTransferSourceGetBuffer once more behind RopRelease",
    "wrong-object": "RopFastTransferSourceGetBuffer on the handle of the folder",
    "null-object": "ecNullObject for a context that was not released",
    "handle-leak": "RopRelease is left out",
    "too-many-objects": "420 folders are opened",
    "response-code": "X-ResponseCode 10; one more test with a stale cookie",
    "session-reopened": "X-ResponseCode 10, then Connect",
    "http-status": "HTTP 503; four times 401 in one more test",
    "rpc-fault": "a response is made a fault PDU",
    "call-failed": "Execute returns ecRpcFormat",
    "session-gone": "the context handle in a response is null",
    "call-retried": "HTTP 503, then the same request again",
    "slow-call": "an answer after 12.5 s",
    "never-answered": "a request without response, 20 s before the end",
    "rop-malformed": "a request that is 3 bytes too short",
    "capture-damaged": "5,000 bytes of a response are missing",
    "stream-has-holes": "5,000 bytes of a response are missing",
    "packets-missing": "5,000 bytes of a response are missing",
    "rop-failed": "RopGetLocalReplicaIds fails with ecNotFound",
    "property-refused": "as recorded: the server does not let PidTagMessageFlags be set",
    "address-book-refused": "every NspiBind is refused",
    "nothing-to-diagnose": "a capture without any call",
}
"""By rule: what is wrong in its bad capture."""
