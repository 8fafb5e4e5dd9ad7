"""Bodies and stubs: published and captured examples, every definition both ways, version triples."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from dissector.grammar.base import build
from dissector.grammar.envelopes import ASYNC_EMSMDB, EMSMDB, MAILBOX, RFR, RpcHeaderExt, version
from dissector.grammar.layouts import Layout
from dissector.grammar.reading import parse, trace
from dissector.source import ByteSource
from tests.conftest import examples
from tests.dissector.grammar import ndr_rules  # noqa: F401  the strategies for NDR
from tests.dissector.grammar.rops.check import check, check_cover, diagnostics
from tests.dissector.grammar.strategies import values
from tests.dissector.grammar.test_ndr import held


def test_rpc_header_ext() -> None:
    value = check(RpcHeaderExt, "0000 0700 6d00 6500", Version=0, Flags=7, Size=0x6D, SizeActual=0x65)
    tree = trace(RpcHeaderExt, ByteSource("header", build(RpcHeaderExt, value)), "RPC_HEADER_EXT")
    assert tree.find("Flags").label == "Compressed | XorMagic | Last"
    assert tree.label == "Compressed | XorMagic | Last, 109 bytes, 101 plain"


def test_connect_request() -> None:
    check(
        MAILBOX["Connect"].request,
        "2f6f3d782f636e3d7500 00000000 e4040000 09040000 09040000 00000000",
        UserDn="/o=x/cn=u", Flags=0, DefaultCodePage=1252, LcidSort=0x409, LcidString=0x409, AuxiliaryBuffer=b"",
    )  # fmt: skip


def test_execute_request() -> None:
    chain = "0000 0400 0900 0900 0500010000 2a000000".replace(" ", "")
    value = check(MAILBOX["Execute"].request, "00000000 11000000" + chain + "00000100 00000000", MaxRopOut=0x10000)
    assert value.RopBuffer.hex() == chain
    assert (
        build(
            MAILBOX["Execute"].request,
            {"Flags": 0, "RopBuffer": bytes.fromhex(chain), "MaxRopOut": 0x10000, "AuxiliaryBuffer": b""},
        ).hex()
        == "0000000011000000" + chain + "0000010000000000"
    )


def test_notification_wait_response() -> None:
    body = MAILBOX["NotificationWait"].response
    check(body, "00000000 00000000 01000000 00000000", StatusCode=0, ErrorCode=0, EventPending=1)


def test_the_smallest_bodies() -> None:
    check(MAILBOX["Disconnect"].request, "00000000")
    check(MAILBOX["Disconnect"].response, "00000000 00000000 00000000")
    check(MAILBOX["Execute"].failure, "0f010480 00000000", StatusCode=0x8004010F)


@pytest.mark.parametrize(
    ("triple", "expected"),
    [
        ((0x0F00, 0x834F, 0x0FC8), (15, 0, 847, 4040)),
        ((0x0E01, 0x8043, 5), (14, 1, 67, 5)),
        ((6, 6755, 0), (6, 0, 6755, 0)),
        ((11, 0, 4920), (11, 0, 0, 4920)),
    ],
)
def test_versions(triple: tuple[int, int, int], expected: tuple[int, int, int, int]) -> None:
    assert version(*triple) == expected


def test_ec_do_connect_of_an_old_outlook() -> None:
    """A stub from a capture, shortened in its DN; the bytes in the padding are what the client's memory held."""
    stub = bytes.fromhex(
        "15000000 00000000 15000000 2f6f3d412f6f753d422f636e3d5a4f45204c454f00"
        "aabbcc 00000000 a8b23200 00000000 e4040000 09040000 09040000 ffffffff 0100 0500480c0000 00000000".replace(
            " ", ""
        )
    )
    value = held(EMSMDB[0].request, stub)
    assert value.szUserDN.Value == "/o=A/ou=B/cn=ZOE LEO"
    assert (value.ulCpid, value.ulIcxrLink, value.rgwClientVersion) == (1252, 0xFFFFFFFF, (5, 3144, 0))


def test_ec_do_connect_response() -> None:
    stub = bytes.fromhex(
        "000000009657703b05092b458eb22f5383133045 60ea0000 06000000 10270000 f500 0c00"
        "f833e904 05000000 00000000 05000000 2f4f3d5300 aaaaaa b8ae6429 04000000 00000000 04000000 5a6f6500"
        "05005d0a1700 0500480c0000 eeaa18f0 00000000".replace(" ", "")
    )
    value = held(EMSMDB[0].response, stub)
    assert (value.picxr, value.szDNPrefix.Value.Value, value.szDisplayName.Value.Value) == (0xF5, "/O=S", "Zoe")
    assert (value.pcmsPollsMax, value.pcRetry, value.pcmsRetryDelay) == (60000, 6, 10000)
    tree = trace(EMSMDB[0].response, ByteSource("stub", stub), "stub")
    assert tree.find("rgwServerVersion").label == "5.0.2653.23"
    assert tree.find("szDNPrefix").label == "'/O=S'"


def test_register_push_notification() -> None:
    stub = bytes.fromhex(
        "000000009657703b05092b458eb22f5383133045 00000000 08000000 d0273b0200e0fd7f 0800 a5a5"
        "ffffffff 10000000 0200042fc0a800ad0000000000000000 1000".replace(" ", "")
    )
    value = held(EMSMDB[4].request, stub)
    assert (value.cbContext, value.grbitAdviseBits, value.cbCallbackAddress) == (8, 0xFFFFFFFF, 16)
    assert value.rgbCallbackAddress.Data[:2] == b"\2\0"


def definitions() -> list[Any]:
    stubs = [
        pytest.param(getattr(one, side), True, id=f"{one.name} {side}")
        for table in (EMSMDB, ASYNC_EMSMDB, RFR)
        for one in table.values()
        for side in ("request", "response")
    ]
    bodies = [
        pytest.param(getattr(one, form), False, id=f"{one.name} {form} body")
        for one in MAILBOX.values()
        for form in ("request", "response", "failure")
    ]
    return stubs + bodies


@pytest.mark.parametrize(("layout", "ordered"), definitions())
@given(data=st.data())
@examples(10, *HealthCheck)
def test_every_definition_builds_and_reads(layout: Layout, ordered: bool, data: st.DataObject) -> None:
    params = {"big_endian": data.draw(st.booleans())} if ordered else {}
    raw = build(layout, data.draw(values(layout, params)), **params)
    value, end = parse(layout, raw, **params)
    assert (end, build(layout, value, **params)) == (len(raw), raw)
    tree = trace(layout, ByteSource("raw", raw), "raw", **params)
    assert not diagnostics(tree)
    check_cover(tree)


def test_the_interfaces_have_their_operations() -> None:
    assert sorted(EMSMDB) == [0, 1, 2, 4, 6, 9, 10, 11, 14]
    assert sorted(ASYNC_EMSMDB) == [0]
    assert sorted(RFR) == [0, 1]
    assert sorted(MAILBOX) == ["Connect", "Disconnect", "Execute", "NotificationWait"]
