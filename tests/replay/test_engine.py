"""The engine without a socket, and what a server may ask of a client: rest, room, patience."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from dissector.emsmdb import buffers
from dissector.grammar.base import build
from dissector.grammar.envelopes import MAILBOX
from dissector.grammar.reading import parse
from dissector.grammar.rops import BY_NAME
from dissector.pipeline import dissect
from dissector.session.objects import NO_HANDLE
from dissector.source import ByteSource
from dissector.transport.messages import HttpExchange, HttpMessage
from replay.asking import Outgoing
from replay.compare.difference import DIFFERENT
from replay.engine import Engine
from replay.errors import ProtocolError
from replay.plan import Planner
from replay.report import Report
from replay.stub.answers import StubSession, scripts_of
from replay.stub.app import Stub
from tests.conftest import ROOT

TABLES = ROOT / "captures" / "tables-lzx.pcap"
UPLOAD = ROOT / "captures" / "upload-session.pcap"

Ask = Callable[..., bytes]
Answer = Callable[[int, Outgoing, Ask], bytes]
"""Told the number of an Execute, the request, and how to ask the stub behind it (with other fields, if so)."""


def message(kind: str, body: bytes, request_type: str) -> HttpMessage:
    line = "POST /mapi HTTP/1.1" if kind == "request" else "HTTP/1.1 200 OK"
    headers = [("Content-Type", "application/mapi-http"), ("X-RequestType", request_type), ("X-ResponseCode", "0"),
               ("Cookie" if kind == "request" else "Set-Cookie", "MapiContext=x")]  # fmt: skip
    source = ByteSource("body", body)
    return HttpMessage(kind, line, headers, ByteSource("head", b""), source, source, 0, 0.0, 0, 0.0)


def driven(path: Any, answer: Answer, **options: Any) -> tuple[Report, list[Outgoing]]:
    """The engine over a capture, answered from the capture's own stub, with `answer` in between."""
    with dissect(path) as dissection:
        stub = Stub(scripts_of(dissection.exchanges()))
    session = StubSession(stub._scripts[0], 1)
    asked: list[Outgoing] = []
    with dissect(path) as dissection:
        engine = Engine(Planner().steps(dissection.exchanges()), "/o=x/cn=alice", **options)
        conversation = engine.conversation()
        number = 0
        try:
            outgoing = next(conversation)
            while True:
                asked.append(outgoing)
                if outgoing.request_type == "Execute":
                    fields, _ = parse(MAILBOX["Execute"].request, outgoing.body)

                    def ask(fields: Any = fields) -> bytes:
                        buffer = session.execute(fields["RopBuffer"], fields["Flags"])
                        return build(
                            MAILBOX["Execute"].response, {"Flags": 0, "RopBuffer": buffer, "AuxiliaryBuffer": b""}
                        )

                    body = answer(number, outgoing, ask)
                    number += 1
                elif outgoing.request_type == "Connect":
                    told = {"PollsMax": 1, "RetryCount": 1, "RetryDelay": 1, "DnPrefix": "", "DisplayName": ""}
                    body = build(MAILBOX["Connect"].response, {**told, "AuxiliaryBuffer": b""})
                else:
                    body = build(MAILBOX[outgoing.request_type].response, {"AuxiliaryBuffer": b""})
                exchange = HttpExchange(
                    None,  # type: ignore[arg-type]
                    message("request", outgoing.body, outgoing.request_type),
                    message("response", body, outgoing.request_type),
                )
                outgoing = conversation.send(exchange)
        except StopIteration:
            return engine.report, asked


def rop_answer(*rops: tuple[str, dict[str, Any]], handles: tuple[int, ...] = (NO_HANDLE,)) -> bytes:
    """An Execute response with these response-only ROPs."""
    made = b"".join(build(BY_NAME[name].response_layout(0), fields) for name, fields in rops)
    payload = struct.pack("<H", len(made) + 2) + made + struct.pack(f"<{len(handles)}I", *handles)
    fields = {"Flags": 0, "RopBuffer": buffers.pack([payload]), "AuxiliaryBuffer": b""}
    return build(MAILBOX["Execute"].response, fields)


BACKOFF = ("RopBackoff", {"LogonId": 0, "Duration": 250, "BackoffRopData": [], "AdditionalData": b""})


def test_the_stub_s_answers_are_the_same() -> None:
    report, asked = driven(UPLOAD, lambda number, outgoing, ask: ask())
    assert report.outcomes == []
    assert report.steps == 112
    assert [asked[0].request_type, asked[-1].request_type] == ["Connect", "Disconnect"]
    assert asked[5].frame == 27
    assert asked[5].time > asked[1].time


def test_a_server_that_wants_rest_gets_it_and_is_asked_again() -> None:
    def busy(number: int, outgoing: Outgoing, ask: Ask) -> bytes:
        return rop_answer(BACKOFF) if number in (3, 4) else ask()

    report, asked = driven(TABLES, busy)
    assert report.outcomes == []
    assert [one.wait for one in asked if one.wait] == [250, 250]
    assert asked[5].body == asked[4].body
    assert [note.why for note in report.notes] == ["the server asked for 250 ms of rest"] * 2


@pytest.mark.parametrize(
    ("rop", "words"),
    [
        (BACKOFF, "still busy after 8 attempts"),
        (
            ("RopBackoff", {"LogonId": 0, "Duration": 900_000, "BackoffRopData": [], "AdditionalData": b""}),
            "900 s of rest",
        ),
    ],
)
def test_a_server_that_never_rests_enough(rop: Any, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        driven(TABLES, lambda number, outgoing, ask: rop_answer(rop) if number > 2 else ask())


def test_a_busy_transfer_is_asked_again() -> None:
    """RopFastTransferSourceGetBuffer says ecServerBusy with a BackoffTime."""
    definition = BY_NAME["RopFastTransferSourceGetBuffer"]
    seen = []

    def busy(number: int, outgoing: Outgoing, ask: Ask) -> bytes:
        fields, _ = parse(MAILBOX["Execute"].request, outgoing.body)
        rops = buffers.chain(ByteSource("", fields["RopBuffer"]), 0, len(fields["RopBuffer"]), "").parts[0].plain.data
        if rops[2] == definition.rop_id and not seen:
            seen.append(number)
            value = {"InputHandleIndex": 0, "ReturnValue": 0x480, "TransferStatus": 0, "InProgressCount": 0,
                     "TotalStepCount": 0, "BackoffTime": 77}  # fmt: skip
            made = build(definition.response_layout(0x480), value)
            payload = struct.pack("<H", len(made) + 2) + made + struct.pack("<I", 1)
            fields = {"Flags": 0, "RopBuffer": buffers.pack([payload]), "AuxiliaryBuffer": b""}
            return build(MAILBOX["Execute"].response, fields)
        return ask()

    report, asked = driven(UPLOAD, busy)
    assert seen
    assert [one.wait for one in asked if one.wait] == [77]
    assert report.outcomes == []


def test_an_execute_that_fails_ends_the_replay() -> None:
    def fail(number: int, outgoing: Outgoing, ask: Ask) -> bytes:
        fields = {"ErrorCode": 0x80070005, "Flags": 0, "RopBuffer": b"", "AuxiliaryBuffer": b""}
        return build(MAILBOX["Execute"].response, fields) if number == 3 else ask()

    with pytest.raises(ProtocolError, match="Execute failed: 0x80070005"):
        driven(TABLES, fail)


def test_answers_that_cannot_be_read_are_differences() -> None:
    def garbage(number: int, outgoing: Outgoing, ask: Ask) -> bytes:
        if number != 4:
            return ask()
        payload = struct.pack("<H", 6) + b"\x15\1\0\0" + struct.pack("<I", 1)
        fields = {"Flags": 0, "RopBuffer": buffers.pack([payload]), "AuxiliaryBuffer": b""}
        return build(MAILBOX["Execute"].response, fields)

    report, _ = driven(TABLES, garbage)
    assert report.verdicts[DIFFERENT] >= 1


def plain_of(rop_buffer: bytes) -> bytes:
    """The one payload of an extended buffer."""
    return buffers.chain(ByteSource("", rop_buffer), 0, len(rop_buffer), "").parts[0].plain.data


def test_what_does_not_fit_into_one_answer_is_asked_for_again() -> None:
    """RopBufferTooSmall: what was carried out counts, what was not is sent once more."""
    path = ROOT.parent / "shared" / "captures" / "gromox" / "onepass.pcap"
    if not path.exists():
        pytest.skip("../shared/captures/gromox is not on this machine")
    cut: list[int] = []

    def small(number: int, outgoing: Outgoing, ask: Ask) -> bytes:
        fields, _ = parse(MAILBOX["Execute"].request, outgoing.body)
        data = plain_of(fields["RopBuffer"])
        if data[2] != BY_NAME["RopOpenFolder"].rop_id or cut:
            return ask()
        cut.append(number)  # RopOpenFolder and much behind it in one buffer: only the first is carried out
        size = struct.unpack_from("<H", data)[0]
        _, end = parse(BY_NAME["RopOpenFolder"].request, data, 2)
        alone = struct.pack("<H", end) + data[2:end] + data[size:]
        answered, _ = parse(MAILBOX["Execute"].response, ask({**fields, "RopBuffer": buffers.pack([alone])}))
        payload = plain_of(answered["RopBuffer"])
        done = struct.unpack_from("<H", payload)[0]
        told = struct.pack("<BHH", 0xFF, 0x7FFF, size - end + 2) + data[end:]
        made = struct.pack("<H", done + len(told)) + payload[2:done] + told + payload[done:]
        return build(
            MAILBOX["Execute"].response, {"Flags": 0, "RopBuffer": buffers.pack([made]), "AuxiliaryBuffer": b""}
        )

    report, asked = driven(path, small)
    assert cut
    assert report.outcomes == []
    frames = [one.frame for one in asked]
    assert max(frames.count(frame) for frame in frames) == 2
