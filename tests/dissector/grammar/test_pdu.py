"""DCE/RPC and RTS PDUs: every byte accounted for, built back, in both byte orders."""

from __future__ import annotations

import random
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar import pdu
from dissector.grammar.base import GrammarError
from dissector.grammar.names import enum_name, guid_name
from dissector.grammar.pdu import build_pdu, could_be_header, layout_of, parse_pdu, read_header, trace_pdu
from dissector.node import Node
from dissector.source import ByteSource
from tests.conftest import shared

BIND = bytes.fromhex(
    "05000b0310000000 7c00 2c00 01000000"  # header, auth_length 44
    "d016 d016 00000000 01 00 0000"  # fragments, association, one context
    "0000 01 00 00dbf1a447ca6710b31f00dd010662da 00005100"  # context 0: EMSMDB 0.81
    "045d888aeb1cc9119fe808002b104860 02000000".replace(" ", "")
    + "0a02 00 00 39050000"  # NTLM, connect
    + "4e544c4d5353500001000000" + "00" * 32  # its message
)  # fmt: skip


def leaves_cover(node: Node, size: int) -> None:
    """Every byte is in exactly one leaf."""
    at = 0
    for leaf in node.leaves():
        assert leaf.offset == at, leaf.name
        at = leaf.end
    assert at == size


def traced(data: bytes) -> Node:
    node = trace_pdu(ByteSource("pdu", data))
    leaves_cover(node, len(data))
    return node


def check(data: bytes) -> Any:
    """Plain and traced agree, building gives the bytes back, and all truncations give a tree."""
    value = parse_pdu(data)
    assert build_pdu(value) == data
    node = traced(data)
    assert not [note for one in node.walk() for note in one.diagnostics]
    header = read_header(data)
    assert header is not None
    assert (header.ptype, header.flags, header.call_id) == (value.PTYPE, value.pfc_flags, value.call_id)
    assert (header.frag_length, header.auth_length) == (value.frag_length, value.auth_length) == (len(data), header[4])
    assert could_be_header(data[:15])
    for cut in {*range(0, len(data), max(1, len(data) // 60)), *range(min(len(data), 40))}:
        short = traced(data[:cut])
        assert any(one.diagnostics for one in short.walk())
        with pytest.raises(GrammarError) as caught:
            parse_pdu(data[:cut])
        assert caught.value.offset <= cut
    return value


def test_a_bind_with_its_names() -> None:
    value = check(BIND)
    body = value.body
    assert (body.max_xmit_frag, body.n_context_elem) == (5840, 1)
    element = body.p_cont_elem[0]
    assert element.abstract_syntax.if_uuid == uuid.UUID("a4f1db00-ca47-1067-b31f-00dd010662da")
    assert element.transfer_syntaxes[0].if_uuid == pdu.NDR
    assert (value.sec_trailer.auth_type, value.sec_trailer.auth_level) == (10, 2)
    assert value.auth_value.startswith(b"NTLMSSP\0")
    node = trace_pdu(ByteSource("pdu", BIND))
    assert node.name == "bind PDU"
    assert node.find("PTYPE").label == "bind"
    assert node.find("packed_drep", "integer_character").label == "little-endian; ASCII"
    interface = node.find("body", "p_cont_elem", "[0]", "abstract_syntax")
    assert interface.find("if_uuid").label == "EMSMDB"
    assert interface.find("if_version").label == "0.81"
    assert node.find("sec_trailer", "auth_level").label == "RPC_C_AUTHN_LEVEL_CONNECT"
    assert node.find("pfc_flags").label == "PFC_FIRST_FRAG | PFC_LAST_FRAG"


SYNTAX = {"if_uuid": pdu.NDR, "if_version": 2}
CONTEXT = {"p_cont_id": 3, "abstract_syntax": SYNTAX, "transfer_syntaxes": [SYNTAX, {**SYNTAX, "if_uuid": pdu.NDR64}]}
FRAGMENTS = {"max_xmit_frag": 4280, "max_recv_frag": 4280, "assoc_group_id": 0x1234}
RESULTS = [{"result": 0, "reason": 0, "transfer_syntax": SYNTAX}, {"result": 2, "reason": 1, "transfer_syntax": SYNTAX}]
COOKIE = {"CommandType": 3, "Cookie": pdu.NDR64}
COMMANDS = [
    {"CommandType": 0, "ReceiveWindowSize": 65536},
    {"CommandType": 1, "FlowControlAck": {"BytesReceived": 1, "AvailableWindow": 2, "ChannelCookie": pdu.NDR}},
    {"CommandType": 2, "ConnectionTimeout": 120000},
    COOKIE,
    {"CommandType": 4, "ChannelLifetime": 1 << 30},
    {"CommandType": 5, "ClientKeepalive": 0},
    {"CommandType": 6, "Version": 1},
    {"CommandType": 7},
    {"CommandType": 8, "Padding": b"12345"},
    {"CommandType": 9},
    {"CommandType": 10},
    {"CommandType": 11, "ClientAddress": {"AddressType": 0, "ClientAddress": b"\x0a\0\0\x01"}},
    {"CommandType": 11, "ClientAddress": {"AddressType": 1, "ClientAddress": bytes(15) + b"\x01"}},
    {"CommandType": 12, "AssociationGroupId": pdu.NDR},
    {"CommandType": 13, "Destination": 2},
    {"CommandType": 14, "PingTrafficSent": 77},
]
BODIES: list[tuple[int, int, dict[str, Any]]] = [
    (pdu.REQUEST, 3, {"alloc_hint": 9, "p_cont_id": 1, "opnum": 11, "stub_data": b"stub data"}),
    (pdu.REQUEST, 0x83, {"p_cont_id": 1, "opnum": 11, "object": pdu.NDR64, "stub_data": b"stub"}),
    (pdu.REQUEST, 1, {"p_cont_id": 1, "opnum": 11, "stub_data": b""}),
    (pdu.RESPONSE, 2, {"p_cont_id": 1, "cancel_count": 1, "stub_data": b"answer"}),
    (pdu.FAULT, 0x23, {"p_cont_id": 1, "status": 0x6BB, "reserved2": bytes(4)}),
    (pdu.FAULT, 3, {"p_cont_id": 1, "fault_flags": 1, "status": 5, "reserved2": bytes(4), "stub_data": b"more"}),
    (pdu.FAULT, 3, {"p_cont_id": 1, "status": 5}),
    (pdu.BIND, 3, {**FRAGMENTS, "p_cont_elem": [CONTEXT, CONTEXT]}),
    (pdu.ALTER_CONTEXT, 3, {**FRAGMENTS, "p_cont_elem": [CONTEXT]}),
    (pdu.BIND_ACK, 3, {**FRAGMENTS, "port_spec": "1032", "pad": b"\0", "p_results": RESULTS}),
    (pdu.BIND_ACK, 3, {**FRAGMENTS, "port_spec": "49152", "p_results": RESULTS}),
    (pdu.ALTER_CONTEXT_RESP, 3, {**FRAGMENTS, "length": 0, "pad": b"ab", "p_results": RESULTS[:1]}),
    (pdu.BIND_NAK, 3, {"provider_reject_reason": 4, "versions": [{"major": 5, "minor": 0}]}),
    (pdu.BIND_NAK, 3, {"provider_reject_reason": 8}),
    (pdu.AUTH3, 3, {"pad": bytes(4)}),
    (pdu.SHUTDOWN, 3, {}),
    (pdu.CO_CANCEL, 3, {}),
    (pdu.ORPHANED, 3, {}),
    (pdu.RTS, 3, {"Flags": 0x18, "Commands": COMMANDS}),
    (pdu.RTS, 3, {"Flags": 1, "Commands": []}),
]  # fmt: skip
AUTH = {
    "sec_trailer": {"auth_type": 9, "auth_level": 6, "auth_pad_length": 0, "auth_context_id": 1},
    "auth_value": b"signature bytes!",
}


@pytest.mark.parametrize("order", [0x10, 0x00])
@pytest.mark.parametrize("case", BODIES, ids=lambda case: pdu.ptype_name(case[0]))
def test_every_type_in_both_byte_orders(case: tuple[int, int, dict[str, Any]], order: int) -> None:
    ptype, flags, body = case
    drep = {"integer_character": order}
    value = {"PTYPE": ptype, "pfc_flags": flags, "call_id": 0x01020304, "body": body, "packed_drep": drep}
    data = build_pdu(value)
    back = check(data)
    for name, one in body.items():
        if not isinstance(one, list | dict):
            assert back.body[name] == one
    assert data[12:16] == (bytes([4, 3, 2, 1]) if order else bytes([1, 2, 3, 4]))
    if ptype in (pdu.RTS, pdu.SHUTDOWN):
        return
    for pad in (0, 5):
        if pad and (ptype == pdu.BIND_NAK or (ptype == pdu.FAULT and "reserved2" not in body)):
            continue
        trailer = {**AUTH["sec_trailer"], "auth_pad_length": pad}  # type: ignore[dict-item]
        field = (
            "pad"
            if ptype == pdu.AUTH3
            else "stub_data"
            if ptype == pdu.FAULT and "stub_data" not in body
            else "auth_pad"
        )
        padded = {**body, field: b"\xbb" * pad} if pad else body
        sealed = build_pdu({**value, **AUTH, "sec_trailer": trailer, "body": padded})
        back = check(sealed)
        assert back.auth_value == AUTH["auth_value"]
        assert back.sec_trailer.auth_pad_length == pad
        if "stub_data" in body:
            assert back.body.stub_data == body["stub_data"]
            assert (back.body.auth_pad or b"") == b"\xbb" * pad


def test_both_orders_have_the_same_fields() -> None:
    for ptype, little in pdu.LITTLE_ENDIAN.items():
        big = pdu.BIG_ENDIAN[ptype]
        assert [field.name for field in little.subcons] == [field.name for field in big.subcons]
        assert little.spec == big.spec != ""


def test_published_rts_pdus() -> None:
    expected = {"CONN/A1": [6, 3, 3, 0], "CONN/A2": [6, 3, 3, 4, 0], "CONN/A3": [2], "CONN/C2": [6, 0, 2], "PING": []}
    rows = shared("vectors", "rts-pdus.tsv").read_text().splitlines()[1:]
    assert len(rows) >= len(expected)
    for row in rows:
        _, name, size, text = row.split("\t")
        data = bytes.fromhex(text)
        assert len(data) == int(size)
        value = check(data)
        assert value.PTYPE == pdu.RTS
        if name in expected:
            assert [command.CommandType for command in value.body.Commands] == expected[name]


@given(st.binary(max_size=200))
def test_any_bytes_give_a_tree(data: bytes) -> None:
    traced(data)
    try:
        value = parse_pdu(data)
    except GrammarError:
        return
    assert data.startswith(build_pdu(value))


@pytest.mark.parametrize("seed", range(200))
def test_bent_pdus_give_a_tree_and_build_back(seed: int) -> None:
    rng = random.Random(seed)
    ptype, flags, body = BODIES[seed % len(BODIES)]
    more = AUTH if seed % 3 == 0 and ptype not in (pdu.RTS, pdu.SHUTDOWN) else {}
    data = bytearray(build_pdu({"PTYPE": ptype, "pfc_flags": flags, "call_id": 1, "body": body, **more}))
    for _ in range(rng.randrange(1, 5)):
        data[rng.randrange(len(data))] = rng.choice([0, 1, 0xFF, rng.randrange(256)])
    traced(bytes(data))
    try:
        value = parse_pdu(bytes(data))
    except GrammarError:
        return
    assert bytes(data).startswith(build_pdu(value))


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\x05\x00\x00\x03\x10\x00\x00\x00\x18\x00\x00\x00\x01\x00\x00",  # too short
        b"\x04\x00\x00\x03\x10\x00\x00\x00\x18\x00\x00\x00\x01\x00\x00\x00",  # version 4
        b"\x05\x02\x00\x03\x10\x00\x00\x00\x18\x00\x00\x00\x01\x00\x00\x00",  # version 5.2
        b"\x05\x00\x01\x03\x10\x00\x00\x00\x18\x00\x00\x00\x01\x00\x00\x00",  # a datagram type
        b"\x05\x00\x00\x03\x20\x00\x00\x00\x18\x00\x00\x00\x01\x00\x00\x00",  # no byte order
        b"\x05\x00\x00\x03\x10\x04\x00\x00\x18\x00\x00\x00\x01\x00\x00\x00",  # no floating point
        b"\x05\x00\x00\x03\x10\x00\x00\x01\x18\x00\x00\x00\x01\x00\x00\x00",  # reserved bytes
        b"\x05\x00\x00\x03\x10\x00\x00\x00\x17\x00\x00\x00\x01\x00\x00\x00",  # shorter than a request is
        b"\x05\x00\x00\x03\x10\x00\x00\x00\x1f\x00\x08\x00\x01\x00\x00\x00",  # shorter than its trailer
    ],
)
def test_what_is_no_header(bad: bytes) -> None:
    assert read_header(bad) is None


def test_layouts_are_chosen_by_type_and_order() -> None:
    assert layout_of(b"") is pdu.BIG_ENDIAN[None]
    assert layout_of(BIND) is pdu.LITTLE_ENDIAN[pdu.BIND]
    assert pdu.ptype_name(pdu.ALTER_CONTEXT_RESP) == "alter_context_resp"
    assert pdu.ptype_name(99) == "PDU type 99"


@pytest.mark.parametrize(
    ("interface", "name"),
    [
        ("a4f1db00-ca47-1067-b31f-00dd010662da", "EMSMDB"),
        ("5261574a-4572-206e-b268-6b199213b4e4", "AsyncEMSMDB"),
        ("f5cc5a18-4264-101a-8c59-08002b2f8426", "NSPI"),
        ("1544f5e0-613c-11d1-93df-00c04fd7bd09", "RFR"),
        ("e1af8308-5d1f-11c9-91a4-08002b14a0fa", "EPM"),
        ("afa8bd80-7d8a-11c9-bef4-08002b102989", "MGMT"),
        ("8a885d04-1ceb-11c9-9fe8-08002b104860", "NDR"),
        ("71710533-beba-4937-8319-b5dbef9ccc36", "NDR64"),
    ],
)
def test_interfaces_have_names(interface: str, name: str) -> None:
    assert guid_name(uuid.UUID(interface)) == name


def test_faults_have_names() -> None:
    assert enum_name("FaultStatus", 0x6BB) == "RPC_S_SERVER_TOO_BUSY"
    assert enum_name("FaultStatus", 0x1C010003) == "nca_s_unk_if"
