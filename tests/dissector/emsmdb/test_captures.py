"""Real traffic: every body, stub, buffer and block of the shared captures decodes to its last byte and builds back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from dissector.emsmdb import Call, Known, Side, calls_from
from dissector.emsmdb.buffers import COMPRESSED, HEADER, XOR_MAGIC
from dissector.node import Node, Severity, Undecoded
from dissector.pipeline import dissect
from tests.conftest import shared
from tests.dissector.emsmdb.messages import check_side, notes, sides

GROMOX = {
    "contents-bootstrap": 30,
    "contents-incremental": 38,
    "copyto": 23,
    "hierarchy-bootstrap": 25,
    "notify": 10,
    "onepass": 18,
    "tables-lzx": 22,
    "upload-session": 114,
}
"""Captures and how many HTTP requests tshark counts in each; every one is a MAPI call."""


def calls(path: Path) -> Iterator[Call]:
    known: Known = {}
    with dissect(path, engine="native") as dissection:
        for message in dissection.messages():
            call = calls_from(message, known)
            if call is not None:
                yield call


def whole(side: Side) -> Node:
    """A side that has every byte decoded, builds back, and has nothing to say but what is allowed."""
    tree = check_side(side)
    assert not [node for node in tree.walk() if isinstance(node.value, Undecoded)]
    for pdu in side.pdus():
        assert pdu.rebuilt == pdu.original, pdu.name
    return tree


@pytest.mark.parametrize("name", GROMOX)
def test_gromox(name: str) -> None:
    found = Counter[str]()
    for call in calls(shared("captures", "gromox", f"{name}.pcap")):
        found[call.name] += 1
        assert call.transport == "mapi-http"
        assert len(sides(call)) == 2
        for side in sides(call):
            assert not side.diagnostics
            assert not notes(whole(side))
            assert all(len(payload) >= 2 for payload in side.payloads)
            assert (call.name == "Execute") == bool(side.payloads)
        assert call.response is not None
        assert call.response.fields["X-ResponseCode"] == 0
        assert call.name == "PING" or call.response.return_code == 0
        assert call.response.session_keys
    assert found.total() == GROMOX[name]
    assert (found["Connect"], found["Disconnect"]) == (1, 1)


def test_what_gromox_packs() -> None:
    """Requests that are compressed and obfuscated, responses that are compressed."""
    flags: dict[str, set[int]] = {"request": set(), "response": set()}
    for call in calls(shared("captures", "gromox", "tables-lzx.pcap")):
        for kind, side in (("request", call.request), ("response", call.response)):
            assert side is not None
            for node in side.tree(lambda index, payload: Node("", payload, 0, len(payload))).walk():
                if node.name == "RPC_HEADER_EXT":
                    flags[kind].add(HEADER.unpack(node.data)[1] & 3)
    assert COMPRESSED | XOR_MAGIC in flags["request"]
    assert COMPRESSED in flags["response"]


def test_chains_of_gromox() -> None:
    """94 buffers in 11 Executes, as the manifest says of the synchronisation download."""
    counts = [
        len(call.response.payloads)
        for call in calls(shared("captures", "gromox", "contents-bootstrap.pcap"))
        if call.response is not None
    ]
    assert (sum(count for count in counts if count > 1), sum(count > 1 for count in counts)) == (94, 11)


def test_payloads_lead_to_frames_of_the_capture() -> None:
    for call in calls(shared("captures", "gromox", "tables-lzx.pcap")):
        for side in sides(call):
            for payload in side.payloads:
                spans = payload.locate(0, len(payload))
                assert spans
                assert all(span.frame <= side.frame for span in spans)


def test_the_session_of_gromox_is_one() -> None:
    """Every request sends a cookie that an earlier response set."""
    seen: set[str] = set()
    for call in calls(shared("captures", "gromox", "onepass.pcap")):
        assert call.request is not None
        assert call.response is not None
        assert call.name == "Connect" or set(call.request.session_keys) & seen
        seen.update(call.response.session_keys)


def test_an_old_outlook() -> None:
    """As tshark counts: 165 requests of opnum 2, one of 0 and of 4 each; 166 responses; and two NspiBinds."""
    found = Counter[str]()
    payloads = 0
    for call in calls(shared("captures", "real", "outlook2003-exchange2003.pcap")):
        for kind, side in (("request", call.request), ("response", call.response)):
            if side is None:
                continue
            found[f"{call.name} {kind}"] += 1
            payloads += len(side.payloads)
            tree = whole(side)
            assert {severity for _, severity, _ in notes(tree)} <= {Severity.NO_CONTEXT.value}
            for payload in side.payloads:
                size = int.from_bytes(payload.data[:2], "little")
                assert 2 <= size <= len(payload)
                assert (len(payload) - size) % 4 == 0
            assert call.name == "NspiBind" or side.session_keys or call.name == "EcDoConnect"
    assert found == {
        "EcDoRpc request": 165, "EcDoRpc response": 164, "EcDoConnect request": 1, "EcDoConnect response": 1,
        "EcRRegisterPushNotification request": 1, "EcRRegisterPushNotification response": 1, "NspiBind request": 2,
        "NspiBind response": 2,
    }  # fmt: skip
    assert payloads == 329


def test_an_old_outlook_tells_who_it_is() -> None:
    [connect] = [
        call
        for call in calls(shared("captures", "real", "outlook2003-exchange2003.pcap"))
        if call.name == "EcDoConnect"
    ]
    assert connect.request is not None
    assert connect.response is not None
    assert connect.request.fields["szUserDN"].startswith("/o=SolutionsIQ/")
    assert connect.response.fields["rgwServerVersion"] == (5, 2653, 23)
    assert connect.response.session_keys == ("cxh=3b705796-0905-452b-8eb2-2f5383133045",)
