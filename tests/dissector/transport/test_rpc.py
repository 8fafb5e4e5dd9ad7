"""DCE/RPC calls out of TCP segments and out of RPC over HTTP bodies."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar import pdu
from dissector.node import Severity
from dissector.transport import rpc
from dissector.transport.messages import HttpExchange, Message, Opaque, RpcCall, RpcControl, RpcMessage
from tests.conftest import examples
from tests.dissector.transport.wire import Link, Wire

EMSMDB = uuid.UUID("a4f1db00-ca47-1067-b31f-00dd010662da")
NSPI = uuid.UUID("f5cc5a18-4264-101a-8c59-08002b2f8426")
BIG = {"integer_character": 0, "floating_point": 0, "reserved": 0}
LITTLE = {"integer_character": 0x10, "floating_point": 0, "reserved": 0}


def make(ptype: int, call_id: int, body: dict[str, Any], flags: int = 3, big: bool = False, **more: Any) -> bytes:
    drep = BIG if big else LITTLE
    return pdu.build_pdu(
        {"PTYPE": ptype, "pfc_flags": flags, "packed_drep": drep, "call_id": call_id, "body": body, **more}
    )


def syntax(interface: uuid.UUID, version: int) -> dict[str, Any]:
    return {"if_uuid": interface, "if_version": version}


def bind(*interfaces: uuid.UUID, call_id: int = 1, ptype: int = pdu.BIND, first: int = 0, big: bool = False) -> bytes:
    elements = [
        {"p_cont_id": n, "abstract_syntax": syntax(one, 0x510000), "transfer_syntaxes": [syntax(pdu.NDR, 2)]}
        for n, one in enumerate(interfaces, first)
    ]
    body = {"max_xmit_frag": 5840, "max_recv_frag": 5840, "assoc_group_id": 0, "p_cont_elem": elements}
    return make(ptype, call_id, body, big=big)


def bind_ack(*results: int, call_id: int = 1, ptype: int = pdu.BIND_ACK, big: bool = False) -> bytes:
    rows = [{"result": one, "reason": 0, "transfer_syntax": syntax(pdu.NDR, 2)} for one in results]
    body = {"max_xmit_frag": 5840, "max_recv_frag": 5840, "assoc_group_id": 7, "port_spec": "1032", "p_results": rows}
    return make(ptype, call_id, {**body, "pad": b"\0" * 1}, big=big)


def request(
    stub: bytes, call_id: int = 2, opnum: int = 2, context: int = 0, flags: int = 3, big: bool = False, **more: Any
) -> bytes:
    body = {"p_cont_id": context, "opnum": opnum, "stub_data": stub, **more.pop("body", {})}
    return make(pdu.REQUEST, call_id, body, flags, big, **more)


def response(stub: bytes, call_id: int = 2, context: int = 0, flags: int = 3, big: bool = False, **more: Any) -> bytes:
    return make(
        pdu.RESPONSE, call_id, {"p_cont_id": context, "stub_data": stub, **more.pop("body", {})}, flags, big, **more
    )


def fault(status: int, call_id: int = 2, big: bool = False) -> bytes:
    return make(pdu.FAULT, call_id, {"p_cont_id": 0, "status": status, "reserved2": bytes(4)}, big=big)


def fragments(make_one: Any, stub: bytes, sizes: Iterable[int], **more: Any) -> bytes:
    """A stub in several PDUs."""
    parts: list[bytes] = []
    left = stub
    for size in sizes:
        if size >= len(left):
            break
        parts.append(left[:size])
        left = left[size:]
    parts.append(left)
    last = len(parts) - 1
    return b"".join(make_one(part, flags=(n == 0) | (n == last) << 1, **more) for n, part in enumerate(parts))


def calls(messages: list[Message]) -> list[RpcCall]:
    return [message for message in messages if isinstance(message, RpcCall)]


def controls(messages: list[Message]) -> list[str]:
    return [message.name for message in messages if isinstance(message, RpcControl)]


def stubs(messages: list[Message]) -> list[tuple[int, bytes | None, bytes | None]]:
    return [
        (one.call_id, one.request and one.request.stub.data, one.response and one.response.stub.data)
        for one in calls(messages)
    ]


def texts(message: RpcMessage | None, severity: Severity | None = None) -> str:
    assert message is not None
    return "; ".join(note.message for note in message.diagnostics if severity in (None, note.severity))


def bound(*interfaces: uuid.UUID, **more: Any) -> tuple[Wire, Link]:
    wire = Wire()
    link = wire.link(port=1032).ask(bind(*(interfaces or (EMSMDB,)), **more))
    return wire, link.answer(bind_ack(*[0] * max(len(interfaces), 1), **more))


@pytest.mark.parametrize("big", [False, True])
def test_a_call(big: bool) -> None:
    wire, link = bound(big=big)
    link.ask(request(b"question", big=big)).answer(response(b"answer", big=big), mss=9).close()
    messages = wire.read()
    assert controls(messages) == ["bind", "bind_ack"]
    (call,) = calls(messages)
    assert (call.transport, call.call_id, call.opnum, call.context_id) == ("rpc-tcp", 2, 2, 0)
    assert (call.interface, call.interface_version, call.accepted) == (EMSMDB, 0x510000, True)
    assert call.transfer_syntax == pdu.NDR
    assert call.little_endian is not big
    assert call.request is not None
    assert call.response is not None
    assert call.request.stub.data == b"question"
    assert call.response.stub.data == b"answer"
    assert wire.at(call.response.stub.locate(0, 6)) == b"answer"
    assert call.response.fault is None
    assert not call.response.sealed
    assert call.request.complete
    assert call.response.complete
    assert (call.request.first_frame, call.request.last_frame) == (5, 5)
    assert call.response.first_frame == 6
    assert call.response.last_frame == len(wire.segments) - 2


@examples(60)
@given(
    st.lists(st.integers(1, 300), max_size=10),
    st.lists(st.integers(1, 300), max_size=10),
    st.integers(1, 1460),
    st.binary(max_size=1500),
    st.booleans(),
)
def test_any_fragments_join_to_the_same_stub(
    asks: list[int], answers: list[int], mss: int, stub: bytes, big: bool
) -> None:
    wire, link = bound()
    back = stub[::-1] + b"!"
    link.ask(fragments(request, stub, asks, big=big), mss).answer(fragments(response, back, answers, big=big), mss)
    (call,) = calls(wire.read())
    assert call.request is not None
    assert call.response is not None
    assert call.request.stub.data == stub
    assert call.response.stub.data == back
    assert call.request.complete
    assert call.response.complete
    assert wire.at(call.response.stub.locate(0, len(back))) == back
    assert sum(map(len, call.response.pdus)) == len(back) + 24 * len(call.response.pdus)


def test_calls_that_overlap() -> None:
    wire, link = bound()
    link.ask(request(b"a", 2) + request(b"b" * 10, 3, flags=1)).answer(response(b"A", 2, flags=1))
    link.ask(request(b"B", 3, flags=2) + request(b"c", 4))
    link.answer(response(b"ccc", 4) + response(b"bbb", 3) + response(b"aaa", 2, flags=2)).close()
    assert sorted(stubs(wire.read())) == [(2, b"a", b"Aaaa"), (3, b"b" * 10 + b"B", b"bbb"), (4, b"c", b"ccc")]


def test_contexts_of_bind_and_alter_context() -> None:
    wire, link = bound(EMSMDB)
    link.ask(bind(NSPI, EMSMDB, call_id=5, ptype=pdu.ALTER_CONTEXT, first=1))
    link.answer(bind_ack(0, 2, call_id=5, ptype=pdu.ALTER_CONTEXT_RESP))
    for number, context in enumerate((0, 1, 2, 3), 6):
        link.ask(request(b"", number, context=context)).answer(fault(0x1C010003, number))
    found = [(call.context_id, call.interface, call.accepted) for call in calls(wire.read())]
    assert found == [(0, EMSMDB, True), (1, NSPI, True), (2, EMSMDB, False), (3, None, True)]


def test_a_refused_bind() -> None:
    wire = Wire()
    link = wire.link().ask(bind(EMSMDB)).answer(make(pdu.BIND_NAK, 1, {"provider_reject_reason": 4, "versions": []}))
    link.ask(request(b"x")).close()
    messages = wire.read()
    assert controls(messages) == ["bind", "bind_nak"]
    (call,) = calls(messages)
    assert (call.interface, call.accepted, call.response) == (EMSMDB, False, None)


@pytest.mark.parametrize("big", [False, True])
def test_faults(big: bool) -> None:
    wire, link = bound()
    link.ask(request(b"x", big=big)).answer(fault(0x6BB, big=big)).close()
    (call,) = calls(wire.read())
    assert call.response is not None
    assert (call.response.fault, call.response.ptype) == (0x6BB, pdu.FAULT)
    assert call.response.stub.data == b""


@pytest.mark.parametrize("big", [False, True])
def test_object_uuids_are_no_part_of_the_stub(big: bool) -> None:
    wire, link = bound()
    link.ask(request(b"stub", flags=0x83, big=big, body={"object": NSPI})).answer(response(b"")).close()
    (call,) = calls(wire.read())
    assert call.request is not None
    assert call.request.object == NSPI
    assert call.request.stub.data == b"stub"


@pytest.mark.parametrize(("level", "sealed"), [(6, True), (5, False), (4, False)])
@pytest.mark.parametrize("pad", [0, 3])
def test_auth_trailers_are_cut_off(level: int, sealed: bool, pad: int) -> None:
    trailer = {
        "sec_trailer": {"auth_type": 10, "auth_level": level, "auth_pad_length": pad, "auth_context_id": 9},
        "auth_value": b"\x01\0\0\0" + b"s" * 12,
    }
    body = {"auth_pad": b"\0" * pad} if pad else {}
    wire, link = bound()
    link.ask(request(b"stub", body=body, **trailer)).answer(response(b"back", body=body, **trailer)).close()
    (call,) = calls(wire.read())
    for one, stub in ((call.request, b"stub"), (call.response, b"back")):
        assert one is not None
        assert one.stub.data == stub
        assert (one.auth_type, one.auth_level, one.sealed) == (10, level, sealed)


def test_cancel_and_orphaned_are_told() -> None:
    wire, link = bound()
    link.ask(request(b"a", 2) + request(b"b", 3) + make(pdu.CO_CANCEL, 2, {}) + make(pdu.ORPHANED, 3, {}))
    link.answer(response(b"", 2)).close()
    messages = wire.read()
    assert controls(messages)[2:] == ["co_cancel", "orphaned"]
    assert [(call.call_id, call.cancelled, call.orphaned) for call in calls(messages)] == [
        (2, True, False),
        (3, False, True),
    ]


def test_a_call_that_wants_no_answer_does_not_wait() -> None:
    wire, link = bound()
    link.ask(request(b"maybe", flags=0x43)).ask(request(b"next", 3))
    assert [call.call_id for call in calls(wire.read())] == [2, 3]


def test_a_call_id_used_again() -> None:
    wire, link = bound()
    link.ask(request(b"1")).ask(request(b"2")).answer(response(b"two")).close()
    assert stubs(wire.read()) == [(2, b"1", None), (2, b"2", b"two")]


def test_a_response_before_its_request_in_the_file() -> None:
    wire, link = bound()
    link.ask(request(b"a")).answer(response(b"b")).close()
    wire.segments[4], wire.segments[5] = wire.segments[5], wire.segments[4]
    assert stubs(wire.read()) == [(2, b"a", b"b")]


# --- what was not captured ---


def test_a_capture_that_begins_after_the_bind() -> None:
    wire = Wire()
    wire.link(opened=False).answer(response(b"old", 1)).ask(request(b"a")).answer(response(b"b"))
    found = calls(wire.read())
    assert sorted(stubs(found), key=str) == [(1, None, b"old"), (2, b"a", b"b")]
    assert {call.interface for call in found} == {None}
    old = next(call for call in found if call.call_id == 1)
    assert (old.opnum, old.request) == (None, None)


def test_a_late_start_does_not_pair_an_old_response_with_a_new_request() -> None:
    wire = Wire()
    wire.link(opened=False).answer(response(b"old", 1)).ask(request(b"a", 1)).answer(response(b"b", 1))
    assert stubs(wire.read()) == [(1, None, b"old"), (1, b"a", b"b")]


@pytest.mark.parametrize("cut", [1, 5, 15, 16, 23, 24, 500, 2000])
def test_a_capture_that_begins_inside_a_pdu(cut: int) -> None:
    stub = random.Random(3).randbytes(2200)
    wire = Wire()
    link = wire.link(opened=False).answer(response(stub, 1)[cut:] + response(b"next", 7))
    link.ask(request(b"a", 8)).answer(response(b"b", 8))
    found = calls(wire.read())
    assert sorted(stubs(found)) == [(7, None, b"next"), (8, b"a", b"b")]
    first = next(call for call in found if call.call_id == 7)
    assert f"the {len(response(stub)) - cut} bytes in front" in texts(first.response, Severity.NO_CONTEXT)


def test_a_header_inside_a_stub_deceives_nobody() -> None:
    bait = request(b"bait" * 10, 99)[:24]
    wire = Wire()
    link = wire.link(opened=False).answer((b"x" * 100 + bait + b"y" * 900 + response(b"real", 7))[10:])
    link.answer(response(b"more", 8))
    assert sorted(call.call_id for call in calls(wire.read())) == [7, 8]


def test_a_hole_inside_a_pdu() -> None:
    stub = bytes(range(256)) * 8
    answer = response(stub[:1000], 2, flags=1) + response(stub[1000:], 2, flags=2)
    wire, link = bound()
    link.ask(request(b"a")).answer(answer[:400]).lose(1, 100).answer(answer[500:])
    link.ask(request(b"c", 3)).answer(response(b"d", 3)).close()
    first, second = calls(wire.read())
    assert first.response is not None
    assert not first.response.complete
    assert first.response.stub.data == stub[: 400 - 24]
    assert "not in the capture" in texts(first.response, Severity.MALFORMED)
    assert stubs([second]) == [(3, b"c", b"d")]
    assert second.response is not None
    assert not second.response.diagnostics


def test_a_hole_over_several_pdus() -> None:
    stub = random.Random(4).randbytes(3000)
    sizes = [500] * 6
    answer = fragments(response, stub, sizes)
    wire, link = bound()
    link.ask(request(b"a")).answer(answer[:1200]).lose(1, 1000).answer(answer[2200:])
    link.ask(request(b"c", 3)).answer(response(b"d", 3)).close()
    first, second = sorted(calls(wire.read()), key=lambda call: call.call_id)
    assert first.response is not None
    assert first.request is not None
    assert not first.response.complete
    assert first.response.stub.data == stub[: 1200 - 3 * 24]
    assert stubs([second]) == [(3, b"c", b"d")]


def test_a_hole_between_pdus_breaks_what_is_joined_over_it() -> None:
    wire, link = bound()
    parts = [response(b"1", flags=1), response(b"2", flags=0), response(b"3", flags=2)]
    link.ask(request(b"a")).answer(parts[0]).lose(1, len(parts[1])).answer(parts[2]).close()
    (call,) = calls(wire.read())
    assert call.response is not None
    assert call.response.stub.data == b"1"
    assert "missing behind byte 1" in texts(call.response, Severity.MALFORMED)


def test_the_capture_ends_inside_a_pdu() -> None:
    for cut in (3, 20, 30, 200):
        wire, link = bound()
        link.ask(request(b"a")).answer(response(b"z" * 300)[:cut])
        messages = wire.read()
        (call,) = calls(messages)
        if call.response is None:
            assert cut < 24
            assert any(isinstance(one, Opaque | RpcControl) and "" in repr(one) for one in messages[2:])
        else:
            assert call.response.stub.data == b"z" * (cut - 24)
            assert not call.response.complete


def test_open_calls_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "MAX_OPEN", 5)
    wire, link = bound()
    for number in range(2, 22):
        link.ask(request(b"x", number))
    assert [call.call_id for call in calls(wire.read())] == list(range(2, 22))


def test_long_stubs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "MAX_STUB", 1000)
    wire, link = bound()
    link.ask(fragments(request, bytes(3000), [300] * 20)).answer(response(b"ok")).close()
    (call,) = calls(wire.read())
    assert call.request is not None
    assert len(call.request.stub) == 900
    assert not call.request.complete
    assert "longer than" in texts(call.request)


def test_fragments_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "MAX_FRAGMENTS", 10)
    wire, link = bound()
    link.ask(fragments(request, b"0123456789abcdef", [1] * 20)).answer(response(b"ok")).close()
    (call,) = calls(wire.read())
    assert call.request is not None
    assert (call.request.stub.data, len(call.request.pdus)) == (b"0123456789", 10)
    assert not call.request.complete


def test_what_waits_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "MAX_HELD", 10_000)
    wire, link = bound()
    for number in range(2, 22):
        link.ask(request(bytes(2000), number))
    seen: list[int] = []
    for message in wire.read():
        if isinstance(message, RpcCall):
            seen.append(message.call_id)
    assert seen == list(range(2, 22))
    link.answer(response(b"late", 2) + response(b"last", 21))
    assert [one for one in stubs(wire.read()) if one[2]] == [(21, bytes(2000), b"last"), (2, None, b"late")]


# --- RPC over HTTP ---

COOKIE, CHANNEL = uuid.UUID(int=0x1234 << 64), uuid.UUID(int=0x5678 << 64)


def rts(*commands: dict[str, Any], flags: int = 0) -> bytes:
    return make(pdu.RTS, 0, {"Flags": flags, "Commands": list(commands)})


def cookie(value: uuid.UUID) -> dict[str, Any]:
    return {"CommandType": 3, "Cookie": value}


VERSION = {"CommandType": 6, "Version": 1}
CONN_A1 = rts(VERSION, cookie(COOKIE), cookie(CHANNEL), {"CommandType": 0, "ReceiveWindowSize": 65536})
CONN_B1 = rts(
    VERSION,
    cookie(COOKIE),
    cookie(CHANNEL),
    {"CommandType": 4, "ChannelLifetime": 1 << 30},
    {"CommandType": 5, "ClientKeepalive": 300000},
    {"CommandType": 12, "AssociationGroupId": CHANNEL},
)


def http_head(method: str, length: int) -> bytes:
    return f"{method} /rpc/rpcproxy.dll?server:6001 HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode()


def http_ok(chunked: bool) -> bytes:
    size = "Transfer-Encoding: chunked" if chunked else "Content-Length: 1073741824"
    return f"HTTP/1.1 200 Success\r\nContent-Type: application/rpc\r\n{size}\r\n\r\n".encode()


def chunk(data: bytes, size: int = 100) -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("mss", [7, 1460])
def test_rpc_over_http_pairs_its_two_connections(chunked: bool, mss: int) -> None:
    def said(data: bytes) -> bytes:
        return chunk(data) if chunked else data

    wire = Wire()
    outward = wire.link().ask(http_head("RPC_OUT_DATA", len(CONN_A1)) + CONN_A1, mss)
    outward.answer(http_ok(chunked) + said(rts({"CommandType": 2, "ConnectionTimeout": 120000})), mss)
    inward = wire.link().ask(http_head("RPC_IN_DATA", 1 << 30) + CONN_B1, mss)
    outward.answer(said(rts(VERSION, {"CommandType": 0, "ReceiveWindowSize": 65536})), mss)
    inward.ask(bind(EMSMDB), mss)
    outward.answer(said(bind_ack(0)), mss)
    stub = random.Random(5).randbytes(900)
    inward.ask(fragments(request, stub, [200, 300], opnum=11), mss)
    outward.answer(said(fragments(response, stub[::-1], [100, 500])), mss)
    before = len(wire.segments)
    inward.ask(request(b"wait", 3), mss)
    messages = wire.read()
    first, second = calls(messages)
    assert (first.transport, first.opnum, first.interface) == ("rpc-http", 11, EMSMDB)
    assert stubs([first, second]) == [(2, stub, stub[::-1]), (3, b"wait", None)]
    assert first.connection.number == 1
    assert first.response is not None
    assert first.response.last_frame == before
    assert wire.at(first.response.stub.locate(0, 900)) == stub[::-1]
    told = [(one.connection.number, one.side) for one in messages if isinstance(one, RpcControl) and one.name == "rts"]
    assert sorted(told) == [(0, 0), (0, 1), (0, 1), (1, 0)]
    heads = [one for one in messages if isinstance(one, HttpExchange)]
    assert sorted(one.request.method for one in heads if one.request) == ["RPC_IN_DATA", "RPC_OUT_DATA"]
    assert all(one.complete for head in heads for one in (head.request, head.response) if one is not None)


def test_virtual_connections_do_not_mix() -> None:
    """Two clients whose cookies are the same by chance, and the leg behind the proxy, which has the same by design."""
    wire = Wire()
    legs = []
    for client in ("10.0.0.1", "10.0.0.2"):
        outward = wire.link(client=client).ask(http_head("RPC_OUT_DATA", len(CONN_A1)) + CONN_A1).answer(http_ok(False))
        inward = wire.link(client=client).ask(http_head("RPC_IN_DATA", 1 << 30) + CONN_B1)
        legs.append((inward, outward))
    behind_out = wire.link(client="10.0.0.2", port=6001).answer(b"ncacn_http/1.0").ask(CONN_A1)
    behind_in = wire.link(client="10.0.0.2", port=6001).answer(b"ncacn_http/1.0").ask(CONN_B1)
    legs.append((behind_in, behind_out))
    for number, (inward, _) in enumerate(legs):
        inward.ask(request(b"ask%d" % number))
    for number, (_, outward) in enumerate(legs):
        outward.answer(response(b"answer%d" % number))
    messages = wire.read()
    assert sorted(stubs(messages)) == [(2, b"ask%d" % n, b"answer%d" % n) for n in range(3)]
    assert {call.transport for call in calls(messages)} == {"rpc-http"}


def test_echo_and_refused_channels_are_plain_http() -> None:
    wire = Wire()
    echo = make(pdu.RTS, 0, {"Flags": 0x40, "Commands": []})
    ok = f"HTTP/1.1 200 Success\r\nContent-Type: application/rpc\r\nContent-Length: {len(echo)}\r\n\r\n".encode()
    link = wire.link().ask(http_head("RPC_OUT_DATA", 4) + b"\0\0\0\0").answer(ok + echo)
    link.ask(http_head("RPC_OUT_DATA", 0)).answer(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
    link.ask(http_head("RPC_IN_DATA", 1 << 30) + CONN_B1).answer(
        b"HTTP/1.1 503 RPC Error: 6ba\r\nContent-Length: 0\r\n\r\n"
    )
    found = [one for one in wire.read() if isinstance(one, HttpExchange)]
    assert [one.response and (one.response.status, one.response.body.data) for one in found] == [
        (200, echo),
        (401, b"no"),
        (503, b""),
    ]


def test_a_stream_that_ends_inside_a_pdu_does_not_harm_the_next() -> None:
    wire = Wire()
    cut = request(b"cut" * 20)[:50]
    link = wire.link().ask(http_head("RPC_IN_DATA", len(CONN_B1) + len(cut)) + CONN_B1 + cut)
    link.answer(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
    link.ask(http_head("RPC_IN_DATA", 1 << 30) + CONN_B1 + request(b"next", 5))
    found = {call.call_id: call.request for call in calls(wire.read())}
    assert found[5] is not None
    assert found[5].stub.data == b"next"
    assert found[5].complete
    assert found[2] is not None
    assert not found[2].complete


def test_a_hole_in_a_stream_of_pdus() -> None:
    wire = Wire()
    outward = wire.link().ask(http_head("RPC_OUT_DATA", len(CONN_A1)) + CONN_A1)
    inward = wire.link().ask(http_head("RPC_IN_DATA", 1 << 30) + CONN_B1 + bind(EMSMDB))
    outward.answer(http_ok(False) + bind_ack(0))
    answer = response(b"x" * 500)
    inward.ask(request(b"a"))
    outward.answer(answer[:200]).lose(1, 100).answer(answer[300:])
    inward.ask(request(b"b", 3))
    outward.answer(response(b"c", 3))
    first, second = calls(wire.read())
    assert first.response is not None
    assert (first.response.complete, first.response.stub.data) == (False, b"x" * 176)
    assert stubs([second]) == [(3, b"b", b"c")]


@pytest.mark.parametrize("seed", range(150))
def test_mutations_never_raise(seed: int) -> None:
    rng = random.Random(seed)
    wire = Wire()
    mss = rng.randrange(5, 600)
    if seed % 2:
        link = wire.link(opened=seed % 4 == 1).ask(bind(EMSMDB), mss).answer(bind_ack(0), mss)
        outward, inward, said = link, link, bytes
    else:
        outward = wire.link().ask(http_head("RPC_OUT_DATA", len(CONN_A1)) + CONN_A1, mss)
        outward.answer(http_ok(seed % 4 == 0), mss)
        inward = wire.link().ask(http_head("RPC_IN_DATA", 1 << 30) + CONN_B1 + bind(EMSMDB), mss)
        said = chunk if seed % 4 == 0 else bytes
    for number in range(2, 6):
        inward.ask(fragments(request, rng.randbytes(400), [90, 200], call_id=number), mss)
        outward.answer(said(fragments(response, rng.randbytes(600), [250, 90], call_id=number)), mss)
    for _ in range(rng.randrange(1, 8)):
        at = rng.randrange(len(wire.data))
        wire.data[at] = rng.choice([rng.randrange(256), 5, 0, 0xFF])
    for _ in range(rng.randrange(3)):
        del wire.segments[rng.randrange(len(wire.segments))]
    for message in wire.read():
        if isinstance(message, RpcCall):
            for one in (message.request, message.response):
                if one is not None:
                    assert len(one.stub) <= sum(map(len, one.pdus))
                    one.stub.locate(0, len(one.stub))
