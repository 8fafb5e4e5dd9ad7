"""EMSMDB, NSPI and RFR calls by hand: every carrier, calls without a bind, sealed and broken stubs."""

from __future__ import annotations

import json
import random
import struct
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.emsmdb import Call, Side, calls_from
from dissector.emsmdb.buffers import pack, xored
from dissector.emsmdb.rpccalls import ASYNC_EMSMDB_UUID, EMSMDB_UUID, INTERFACES, NSPI_UUID, RFR_UUID, Known
from dissector.grammar.base import GrammarError, build
from dissector.grammar.envelopes import ASYNC_EMSMDB, EMSMDB, RFR
from dissector.grammar.nspi import NSPI
from dissector.grammar.pdu import NDR64
from dissector.grammar.reading import parse
from dissector.node import Undecoded
from dissector.transport.messages import RpcCall, RpcMessage
from tests.conftest import examples, shared
from tests.dissector.emsmdb.messages import check_side, notes, pdu_of, rop_leaf, rpc_exchange, sides, source

HANDLE = bytes.fromhex("000000009657703b05092b458eb22f5383133045")
KEY = "cxh=3b705796-0905-452b-8eb2-2f5383133045"
CXH = {"Attributes": 0, "Uuid": uuid.UUID(KEY[4:])}
ROPS = bytes.fromhex("0500010000 2a000000")
AUX = pack([bytes.fromhex("080001460b000000")])
STUBS = json.loads(Path(__file__).parents[1].joinpath("grammar", "nspi_stubs.json").read_text())


def rpc_request(rop_buffer: bytes, limit: int = 0x1600, pad: bytes = b"\xca") -> bytes:
    data = HANDLE + struct.pack("<III", limit, 0, len(rop_buffer)) + xored(rop_buffer)
    return data + pad * (len(rop_buffer) & 1) + struct.pack("<HH", len(rop_buffer), limit)


def rpc_response(rop_buffer: bytes, code: int = 0, limit: int = 0x1600) -> bytes:
    data = HANDLE + struct.pack("<III", limit, 0, len(rop_buffer)) + xored(rop_buffer) + b"\xca" * (len(rop_buffer) & 1)
    data += struct.pack("<H", len(rop_buffer))
    return data + b"\xee" * (-len(data) & 3) + struct.pack("<I", code)


def ext2_request(payloads: list[bytes], aux: bytes = b"", **how: bool) -> bytes:
    chain = pack(payloads, **how)
    return build(
        EMSMDB[11].request,
        {"pcxh": CXH, "pulFlags": 4, "rgbIn": {"Data": chain}, "cbIn": len(chain), "pcbOut": 0x8000,
         "rgbAuxIn": {"Data": aux}, "cbAuxIn": len(aux), "pcbAuxOut": 0x1008},
    )  # fmt: skip


def ext2_response(payloads: list[bytes], aux: bytes = b"", code: int = 0, **how: bool) -> bytes:
    chain = pack(payloads, **how)
    return build(
        EMSMDB[11].response,
        {"pcxh": CXH, "pulFlags": 0, "rgbOut": {"Data": chain}, "pcbOut": len(chain), "rgbAuxOut": {"Data": aux},
         "pcbAuxOut": len(aux), "pulTransTime": 16, "ReturnValue": code},
    )  # fmt: skip


def made(rpc: RpcCall, known: Known | None = None) -> Call:
    call = calls_from(rpc, known)
    assert call is not None
    return call


def both(rpc: RpcCall) -> tuple[Call, Side, Side]:
    call = made(rpc)
    assert call.request is not None
    assert call.response is not None
    return call, call.request, call.response


def test_ec_do_rpc() -> None:
    call, asked, answer = both(rpc_exchange(2, rpc_request(ROPS), rpc_response(ROPS + b"\0" * 3 + b"\1", 0x480)))
    assert (call.name, call.transport) == ("EcDoRpc", "rpc-tcp")
    assert [payload.data for payload in asked.payloads] == [ROPS]
    assert [payload.data for payload in answer.payloads] == [ROPS + b"\0\0\0\1"]
    assert {payload.label for payload in (*asked.payloads, *answer.payloads)} == {"ROP buffer, XOR 0xA5 undone"}
    assert asked.session_keys == answer.session_keys == (KEY,)
    assert asked.fields == {"pcb": 9, "cbMax": 0x1600}
    assert answer.return_code == answer.fields["ReturnValue"] == 0x480
    assert (asked.frame, asked.time) == (6, 2.0)
    for side in (asked, answer):
        tree = check_side(side)
        assert not notes(tree)
        assert any(node.name == "ROP buffer 0" for node in tree.walk())
        assert [pdu.rebuilt == pdu.original for pdu in side.pdus()] == [True, True]
    [span] = asked.payloads[0].locate(0, 9)
    assert (span.frame, span.offset) == (4, 100 + 24 + 32)


def test_a_rop_buffer_that_is_not_obfuscated() -> None:
    stub = rpc_request(xored(ROPS))
    assert stub[32:41] == ROPS
    (payload,) = made(rpc_exchange(2, stub, None)).request.payloads  # type: ignore[union-attr]
    assert (payload.data, payload.label) == (ROPS, "ROP buffer")


def test_ec_do_rpc_ext2() -> None:
    for how in ({}, {"xor": True}, {"compress": True, "xor": True}):
        text = ROPS + b"abcabc" * 40
        asked, answer = ext2_request([text], AUX, **how), ext2_response([text, ROPS], AUX, 0x4B6, **how)
        call, left, right = both(rpc_exchange(11, asked, answer))
        assert call.name == "EcDoRpcExt2"
        assert [payload.data for payload in left.payloads] == [text]
        assert [payload.data for payload in right.payloads] == [text, ROPS]
        assert left.fields["pulFlags"] == 4
        assert (right.return_code, right.fields["pulTransTime"]) == (0x4B6, 16)
        assert left.session_keys == right.session_keys == (KEY,)
        for side in (left, right):
            tree = check_side(side)
            assert not notes(tree)
            assert any(node.label == "SERVER_CAPABILITIES" for node in tree.walk())
            names = [pdu.name for pdu in side.pdus()]
            assert names[2:] == ["ROP buffer chain", "auxiliary buffer", "auxiliary blocks"]
            assert all(pdu.rebuilt == pdu.original for pdu in side.pdus())


def test_outlook_2007() -> None:
    stub = shared("vectors", "outlook2007-modifyrecipients.compressed.dat").read_bytes()
    call = made(rpc_exchange(11, stub, None))
    assert call.request is not None
    [payload] = call.request.payloads
    assert payload.data[:3] == struct.pack("<HB", 455, 0x0D)
    assert payload.data[-4:] == b"\x45\0\0\0"
    assert not notes(check_side(call.request))
    assert call.request.fields["pcbAuxOut"] == 0x88
    tree = call.request.tree(rop_leaf)
    blocks = next(node for node in tree.walk() if node.name == "AuxBlocks")
    assert [node.label for node in blocks.children] == [
        "PERF_REQUESTID", "PERF_BG_DEFMDB_SUCCESS", "PERF_BG_DEFMDB_SUCCESS",
    ]  # fmt: skip
    assert made(rpc_exchange(11, stub, None, interface=None)).name == "EcDoRpcExt2"


def scalars(value: Any) -> dict[str, int]:
    return {name: int(one) for name, one in value.items() if isinstance(one, int)}


@pytest.mark.parametrize("opnum", [2, 11])
def test_the_fast_way_is_the_layout_s(opnum: int) -> None:
    rng = random.Random(opnum)
    read = 0
    for _ in range(300):
        rops = rng.randbytes(rng.randrange(1, 60))
        if opnum == 2:
            stubs = rpc_request(rops, pad=rng.randbytes(1)), rpc_response(rops, rng.choice([0, 0x480]))
        else:
            aux = AUX if rng.random() < 0.5 else rng.randbytes(rng.randrange(7))
            stubs = ext2_request([rops], aux), ext2_response([rops], aux, rng.choice([0, 0x4B6]))
        if rng.random() < 0.5:
            stubs = stubs[0][: rng.randrange(len(stubs[0]))], stubs[1][: rng.randrange(len(stubs[1]))]
        call, *found = both(rpc_exchange(opnum, *stubs))
        for side, layout, stub in zip(found, (EMSMDB[opnum].request, EMSMDB[opnum].response), stubs, strict=True):
            try:
                value, _ = parse(layout, stub)
            except GrammarError:
                assert side.diagnostics
                check_side(side)
                continue
            read += 1
            assert {name: one for name, one in side.fields.items() if isinstance(one, int)} == scalars(value)
            assert side.session_keys == (f"cxh={value.pcxh.Uuid}",)
            assert [payload.data for payload in side.payloads] == [rops]
            assert side.return_code == value.get("ReturnValue")
        assert call.name
    assert read > 250


def test_cut_stubs_keep_their_payload() -> None:
    for opnum, stub in ((2, rpc_request(b"\x40\0" + b"x" * 62)), (11, ext2_request([ROPS, b"y" * 50]))):
        for cut in range(len(stub)):
            call = made(rpc_exchange(opnum, stub[:cut], None))
            assert call.request is not None
            assert call.request.diagnostics
            check_side(call.request)
        call = made(rpc_exchange(opnum, stub[:70], None))
        assert call.request is not None
        assert call.request.payloads


def test_the_other_calls() -> None:
    connect = build(
        EMSMDB[10].request,
        {"szUserDN": {"Value": "/o=x/cn=u"}, "ulFlags": 1, "ulConMod": 0, "cbLimit": 0, "ulCpid": 1252,
         "ulLcidString": 1033, "ulLcidSort": 1033, "ulIcxrLink": 0xFFFFFFFF, "usFCanConvertCodePages": 1,
         "rgwClientVersion": (12, 4518, 1014), "pulTimeStamp": 0, "rgbAuxIn": {"Data": AUX}, "cbAuxIn": len(AUX),
         "pcbAuxOut": 0x1008},
    )  # fmt: skip
    connected = build(
        EMSMDB[10].response,
        {"pcxh": CXH, "pcmsPollsMax": 60000, "pcRetry": 6, "pcmsRetryDelay": 10000, "picxr": 7,
         "szDNPrefix": {"Value": ""}, "szDisplayName": {"Value": "Zoë"}, "rgwServerVersion": (0x0E01, 0x8043, 5),
         "rgwBestVersion": (12, 0, 0), "pulTimeStamp": 9, "rgbAuxOut": {"Data": AUX}, "pcbAuxOut": len(AUX)},
    )  # fmt: skip
    call, asked, answer = both(rpc_exchange(10, connect, connected))
    assert call.name == "EcDoConnectEx"
    assert (asked.fields["szUserDN"], asked.fields["rgwClientVersion"]) == ("/o=x/cn=u", (12, 4518, 1014))
    assert (answer.fields["szDisplayName"], answer.session_keys, answer.return_code) == ("Zoë", (KEY,), 0)
    for side in (asked, answer):
        assert not notes(check_side(side))
        assert "auxiliary blocks" in [pdu.name for pdu in side.pdus()]

    call, asked, answer = both(rpc_exchange(1, HANDLE, bytes(24)))
    assert (call.name, asked.session_keys, answer.session_keys) == ("EcDoDisconnect", (KEY,), ())
    call, asked, answer = both(rpc_exchange(14, HANDLE, HANDLE[:19] + b"\x99" + bytes(4)))
    assert (call.name, asked.session_keys) == ("EcDoAsyncConnectEx", (KEY,))
    assert answer.session_keys == ("acxh=3b705796-0905-452b-8eb2-2f5383133099",)
    wait = build(ASYNC_EMSMDB[0].request, {"acxh": CXH, "ulFlagsIn": 0})
    call, asked, answer = both(rpc_exchange(0, wait, struct.pack("<II", 1, 0), ASYNC_EMSMDB_UUID))
    assert (call.name, asked.session_keys, answer.fields["pulFlagsOut"]) == (
        "EcDoAsyncWaitEx", ("acxh=" + KEY[4:],), 1,
    )  # fmt: skip
    call, _, answer = both(rpc_exchange(6, b"", bytes(4)))
    assert (call.name, answer.return_code) == ("EcDummyRpc", 0)
    refer = build(RFR[0].request, {"ulFlags": 0, "pUserDN": {"Value": "/o=x"}, "ppszUnused": None, "ppszServer": None})
    call = made(rpc_exchange(0, refer, None, RFR_UUID))
    assert (call.name, call.request and call.request.fields["pUserDN"]) == ("RfrGetNewDSA", "/o=x")


@pytest.mark.parametrize("name", [name for name in STUBS if name[0].isdigit()])
def test_nspi(name: str) -> None:
    opnum, kind = name.split()
    stub = bytes.fromhex(STUBS[name])
    call = made(rpc_exchange(int(opnum), *((stub, None) if kind == "request" else (None, stub)), NSPI_UUID))
    assert call.name == NSPI[int(opnum)].name
    [side] = sides(call)
    assert not side.diagnostics
    assert not notes(check_side(side))
    assert all(pdu.rebuilt == pdu.original for pdu in side.pdus())
    if kind == "request":
        assert side.session_keys == ("nspi=8fa5d8a1-0c1c-4b5c-9d2e-1122334455aa",)


def test_text_of_nspi_is_in_the_code_page_that_the_call_names() -> None:
    value = {"hRpc": CXH, "dwFlags": 1, "ulType": 0, "pDN": {"Value": "/cn=Жар"}, "dwCodePage": 1251, "dwLocaleID": 0}
    stub = build(NSPI[13].request, value, codepage="cp1251")
    _, asked, answer = both(rpc_exchange(13, stub, bytes(8), NSPI_UUID))
    assert (asked.codepage, answer.codepage) == ("cp1251", "cp1251")
    assert "/cn=Жар" in [node.value for node in check_side(asked).walk()]
    assert all(pdu.rebuilt == pdu.original for pdu in asked.pdus())


def test_big_endian_stubs() -> None:
    value = {"pcxh": CXH, "rgb": {"Data": xored(ROPS), "MaxCount": 0x1600}, "pcb": 9, "cbMax": 0x1600}
    stub = build(EMSMDB[2].request, value, big_endian=True)
    call = made(rpc_exchange(2, stub, None, big_endian=True))
    assert call.request is not None
    assert [payload.data for payload in call.request.payloads] == [ROPS]
    assert call.request.fields == {"pcb": 9, "cbMax": 0x1600}
    assert call.request.session_keys == (KEY,)
    assert not notes(check_side(call.request))


def test_fragments_are_joined_below_the_last() -> None:
    stub = rpc_response(b"\x40\0" + b"x" * 62)
    first, last = source(pdu_of(2, stub[:50]), 4), source(pdu_of(2, stub[50:]), 5)
    whole = source(stub, 4)
    message = RpcMessage(whole, [first, last], 4, 1.0, 5, 2.0, ptype=2)
    rpc = rpc_exchange(2, rpc_request(ROPS), None)
    rpc.response = message
    _, _, answer = both(rpc)
    tree = check_side(answer)
    assert [node.name for node in tree.children] == ["response PDU", "response PDU"]
    assert not tree.children[0].find("body", "stub_data").children
    assert tree.children[1].find("body", "stub_data", "EcDoRpc response", "ReturnValue").value == 0


# --- what cannot be read ---------------------------------------------------------------------------------------------


def test_a_sealed_stub_is_named() -> None:
    rpc = rpc_exchange(11, b"\x5a" * 64, None)
    assert rpc.request is not None
    rpc.request.sealed = True
    call = made(rpc)
    assert call.name == "EcDoRpcExt2"
    assert call.request is not None
    assert not call.request.payloads
    tree = check_side(call.request)
    [(name, severity, message)] = notes(tree)
    assert (name, severity) == ("Sealed stub", "NO_CONTEXT")
    assert "sealed" in message
    rpc.interface = None
    assert calls_from(rpc) is None


def test_ndr64_is_named() -> None:
    call = made(rpc_exchange(11, b"\x5a" * 64, b"\x5a" * 8, transfer_syntax=NDR64))
    for side in sides(call):
        assert not side.payloads
        tree = check_side(side)
        assert [message for _, _, message in notes(tree)] == ["the stub is in NDR64, which is not supported"]
        leaf = next(node for node in tree.walk() if node.name == "Stub")
        assert isinstance(leaf.value, Undecoded)


def test_a_fault() -> None:
    rpc = rpc_exchange(11, ext2_request([ROPS]), None)
    pdu = source(pdu_of(3, struct.pack("<II", 0x1C010002, 0)), 5)
    rpc.response = RpcMessage(pdu.derive("stub", 32, 0), [pdu], 5, 1.0, 5, 2.0, ptype=3, fault=0x1C010002)
    _, _, answer = both(rpc)
    assert (answer.return_code, answer.fields) == (0x1C010002, {"Fault": 0x1C010002})
    tree = check_side(answer)
    assert not notes(tree)
    assert any(node.name == "status" and node.value == 0x1C010002 for node in tree.walk())


@pytest.mark.parametrize(("opnum", "name"), [(3, "EcGetMoreRpc"), (12, "EMSMDB opnum 12"), (99, "EMSMDB opnum 99")])
def test_operations_without_a_layout(opnum: int, name: str) -> None:
    call = made(rpc_exchange(opnum, b"abc", b"defg"))
    assert call.name == name
    for side in sides(call):
        [(node, severity, message)] = notes(check_side(side))
        assert (node, severity) == ("Stub", "NO_CONTEXT")
        assert message == f"the stub of {name} cannot be read: no layout is published"


def test_other_interfaces_are_not_ours() -> None:
    epm = uuid.UUID("e1af8308-5d1f-11c9-91a4-08002b14a0fa")
    assert calls_from(rpc_exchange(3, b"abc", None, epm)) is None
    assert {name for name, _ in INTERFACES.values()} == {"EMSMDB", "AsyncEMSMDB", "NSPI", "RFR"}


def test_a_response_of_an_unknown_operation() -> None:
    call = made(rpc_exchange(None, None, b"abcd"))
    assert call.name == "EMSMDB response"
    assert call.response is not None
    assert "its request is not in the capture" in notes(check_side(call.response))[0][2]


# --- calls without a bind --------------------------------------------------------------------------------------------

NO_BIND = "the bind is not in the capture: {} is known by the shape of its stub"


@pytest.mark.parametrize(
    ("opnum", "stub", "name"),
    [(2, rpc_request(ROPS), "EcDoRpc"), (11, ext2_request([ROPS], xor=True), "EcDoRpcExt2")],
)
def test_requests_are_known_by_their_shape(opnum: int, stub: bytes, name: str) -> None:
    call = made(rpc_exchange(opnum, stub, None, interface=None))
    assert call.name == name
    assert call.request is not None
    assert call.request.payloads[0].data == ROPS
    assert notes(check_side(call.request)) == [(f"{name} request", "NO_CONTEXT", NO_BIND.format(name))]
    assert calls_from(rpc_exchange(opnum, stub[:38], None, interface=None)) is None
    assert calls_from(rpc_exchange(opnum + 1, stub, None, interface=None)) is None


@pytest.mark.parametrize(
    ("stub", "name"), [(rpc_response(ROPS), "EcDoRpc"), (ext2_response([ROPS]), "EcDoRpcExt2")]
)  # fmt: skip
def test_responses_alone_are_known_by_their_shape(stub: bytes, name: str) -> None:
    call = made(rpc_exchange(None, None, stub, interface=None))
    assert call.name == name
    assert call.response is not None
    assert [payload.data for payload in call.response.payloads] == [ROPS]
    assert not call.response.return_code


def test_a_known_context_tells_what_weak_stubs_are() -> None:
    known: Known = {}
    assert calls_from(rpc_exchange(1, HANDLE, bytes(24), interface=None), known) is None
    made(rpc_exchange(2, rpc_request(ROPS), None, interface=None), known)
    assert known == {(1, 0): EMSMDB_UUID}
    assert made(rpc_exchange(1, HANDLE, bytes(24), interface=None), known).name == "EcDoDisconnect"


def test_connects_are_known_by_their_shape() -> None:
    old = build(
        EMSMDB[0].request,
        {"szUserDN": {"Value": "/o=x/cn=u"}, "ulFlags": 1, "ulConMod": 0, "cbLimit": 0, "ulCpid": 1252,
         "ulLcidString": 1033, "ulLcidSort": 1033, "ulIcxrLink": 0xFFFFFFFF, "usFCanConvertCodePages": 1,
         "rgwClientVersion": (5, 3144, 0), "pulTimeStamp": 0},
    )  # fmt: skip
    assert made(rpc_exchange(0, old, None, interface=None)).name == "EcDoConnect"
    assert calls_from(rpc_exchange(0, old + b"\0", None, interface=None)) is None
    new = old + struct.pack("<I", 0) + struct.pack("<II", 0, 0x1008)
    assert made(rpc_exchange(10, new, None, interface=None)).name == "EcDoConnectEx"


@given(st.integers(0, 15), st.binary(max_size=120), st.booleans())
@examples(300)
def test_random_stubs_are_no_calls_without_a_bind(opnum: int, stub: bytes, asked: bool) -> None:
    rpc = rpc_exchange(opnum, stub, None, interface=None) if asked else rpc_exchange(None, None, stub, interface=None)
    assert calls_from(rpc) is None


# --- any bytes -------------------------------------------------------------------------------------------------------

OPERATIONS = [(interface, opnum) for interface, (_, table) in INTERFACES.items() for opnum in table]


@given(st.sampled_from(OPERATIONS), st.binary(max_size=160), st.binary(max_size=160), st.booleans())
@examples(400)
def test_any_stub_is_a_call(operation: tuple[uuid.UUID, int], asked: bytes, answer: bytes, big_endian: bool) -> None:
    call = made(rpc_exchange(operation[1], asked, answer, operation[0], big_endian))
    for side in sides(call):
        check_side(side)


def test_damaged_stubs() -> None:
    rng = random.Random(5)
    whole = [(2, rpc_request(ROPS), rpc_response(ROPS)), (11, ext2_request([ROPS], AUX), ext2_response([ROPS], AUX))]
    for _ in range(500):
        opnum, *stubs = rng.choice(whole)
        damaged = [bytearray(stub) for stub in stubs]
        for stub in damaged:
            for _ in range(rng.randrange(1, 4)):
                stub[rng.randrange(len(stub))] = rng.choice([0, 0xFF, rng.randrange(256)])
        for interface in (EMSMDB_UUID, None):
            call = calls_from(rpc_exchange(opnum, bytes(damaged[0]), bytes(damaged[1]), interface))
            for side in sides(call) if call else ():
                check_side(side)


def test_trees_are_made_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dissector.grammar.reading.trace", lambda *_, **__: pytest.fail("a tree was built"))
    for opnum, stub in ((2, rpc_request(ROPS)), (11, ext2_request([ROPS]))):
        call = made(rpc_exchange(opnum, stub, None))
        assert call.request is not None
        assert call.request.payloads
        with pytest.raises(pytest.fail.Exception):
            call.request.tree(rop_leaf)
