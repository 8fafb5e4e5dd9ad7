"""ROP buffers by hand: pairing, opaque rests, handle tables."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from dissector.node import Severity, Undecoded
from dissector.session.roplist import read_requests, read_responses
from dissector.source import ByteSource
from dissector.verify import rebuild_buffer, rebuild_rop, tiling_faults


def payload(rops: str, *handles: int) -> ByteSource:
    data = bytes.fromhex(rops)
    return ByteSource("test", struct.pack("<H", len(data) + 2) + data + struct.pack(f"<{len(handles)}I", *handles))


def no_params(*_: Any) -> dict[str, Any]:
    return {}


def responses(source: ByteSource, requests: list[Any]) -> tuple[Any, list[int | None]]:
    positions: list[int | None] = []
    buffer = read_responses(source, requests, set(), no_params, lambda side, position: positions.append(position))
    return buffer, positions


OPEN = "02 00 00 01 0100000000000c0a 00"
RELEASE = "01 00 00"
STORE_STATE = "7b 00 00"


def test_requests_are_read_in_order_with_their_handles() -> None:
    buffer = read_requests(payload(f"{OPEN} {RELEASE}", 0x2A, 0xFFFFFFFF), no_params)
    assert [side.name for side in buffer.rops] == ["RopOpenFolder", "RopRelease"]
    assert buffer.handles == (0x2A, 0xFFFFFFFF)
    assert [(side.offset, side.length) for side in buffer.rops] == [(2, 13), (15, 3)]
    assert buffer.trouble == []


def test_responses_find_their_requests_by_id_and_index() -> None:
    requests = read_requests(payload(f"{STORE_STATE} {RELEASE} {OPEN} 7b 00 01"), no_params).rops
    buffer, positions = responses(payload("7b 00 00000000 00000000  02 01 0f010480  7b 01 0f010480"), requests)
    assert positions == [0, 2, 3]
    assert [side.value["ReturnValue"] for side in buffer.rops] == [0, 0x8004010F, 0x8004010F]


def test_a_packed_response_belongs_to_the_request_answered_before() -> None:
    requests = read_requests(payload("4e 00 00 bebe"), no_params).rops
    one = "4e 00 00000000 0100 0000 0000 00 0000"
    answered: set[int] = set()
    seen: list[int | None] = []
    for _ in range(2):
        read_responses(payload(one), requests, answered, no_params, lambda side, position: seen.append(position))
    assert seen == [0, 0]


def test_a_response_without_request_is_kept() -> None:
    _, positions = responses(payload("7b 00 0f010480"), [])
    assert positions == [None]


@pytest.mark.parametrize(
    ("rops", "severity"),
    [("b7 00 00 11 22", Severity.MALFORMED), ("9a 00 00 11 22", Severity.NO_CONTEXT)],
    ids=["no RopId", "no layout"],
)
def test_what_cannot_be_read_makes_the_rest_opaque_and_stays_visible(rops: str, severity: Severity) -> None:
    source = payload(f"{RELEASE} {rops}", 7)
    buffer = read_requests(source, no_params)
    tree = buffer.node("ROP buffer")
    rest = [node for node in tree.leaves() if isinstance(node.value, Undecoded)]
    assert [bytes(node.value).hex(" ") for node in rest] == [rops]
    assert rest[0].diagnostics[0].severity is severity
    assert buffer.handles == (7,)
    assert list(tiling_faults(tree)) == []


@pytest.mark.parametrize("cut", range(2, 23))
def test_every_truncation_keeps_every_byte_in_one_leaf(cut: int) -> None:
    whole = payload(f"{OPEN} {RELEASE}", 0x2A)
    source = ByteSource("cut", whole.data[:cut])
    buffer = read_requests(source, no_params)
    tree = buffer.node("ROP buffer")
    assert sum(leaf.length for leaf in tree.leaves()) == cut
    assert list(tiling_faults(tree)) == []
    parts = [rebuild_rop(side) or source.data[side.offset : side.offset + side.length] for side in buffer.rops]
    assert rebuild_buffer(buffer, parts) == source.data


@pytest.mark.parametrize("data", [b"", b"\x05", b"\x00\x00", b"\xff\xff\x01"])
def test_a_lying_rop_size_is_told(data: bytes) -> None:
    buffer = read_requests(ByteSource("x", data), no_params)
    tree = buffer.node("ROP buffer")
    assert sum(leaf.length for leaf in tree.leaves()) == len(data)
    if data:
        assert any(found.severity is Severity.MALFORMED for node in tree.walk() for found in node.diagnostics)
    assert rebuild_buffer(buffer, [rebuild_rop(side) or data[side.offset :] for side in buffer.rops]) == data


def test_a_short_failure_form_is_taken_when_what_follows_fits_it() -> None:
    read = "2c 00 00 1000"
    requests = read_requests(payload(f"{read} {STORE_STATE}"), no_params).rops
    full = "2c 00 0f010480 0000  7b 00 0f010480"
    short = "2c 00 0f010480  7b 00 0f010480"
    for rops in (full, short):
        buffer, positions = responses(payload(rops), requests)
        assert positions == [0, 1], rops
        assert [side.value["ReturnValue"] for side in buffer.rops] == [0x8004010F, 0x8004010F]


MOVE = "33 00 00 01 0100 0100000000000c0a 01 00"
PROGRESS = "50 00 00 00"


def test_a_rop_that_runs_on_is_answered_by_progress() -> None:
    requests = read_requests(payload(f"{STORE_STATE} {MOVE} {PROGRESS}"), no_params).rops
    _, positions = responses(
        payload("7b 00 0f010480  50 00 00000000 00 01000000 0a000000  33 00 00000000 00"), requests
    )
    assert positions == [0, 1, 2]
    requests = read_requests(payload(f"{MOVE} {STORE_STATE}"), no_params).rops
    buffer, positions = responses(payload("50 00 00000000 00 01000000 0a000000  7b 00 0f010480"), requests)
    assert positions == [0, 1]
    assert not buffer.trouble


def test_progress_is_answered_by_the_rop_that_is_done() -> None:
    requests = read_requests(payload(f"{PROGRESS} {STORE_STATE}"), no_params).rops
    buffer, positions = responses(payload("33 00 05400080 01  7b 00 0f010480"), requests)
    assert positions == [0, 1]
    assert buffer.rops[0].value["PartialCompletion"] is True
    _, positions = responses(payload("7b 01 0f010480"), read_requests(payload(PROGRESS), no_params).rops)
    assert positions == [None]  # no ROP that could run on


def test_progress_does_not_answer_what_was_not_to_run_on() -> None:
    requests = read_requests(payload("33 00 00 01 0100 0100000000000c0a 00 00"), no_params).rops
    assert responses(payload("50 00 00000000 00 01000000 0a000000"), requests)[1] == [None]


@pytest.mark.parametrize("body", ["0000", ""])
def test_a_warning_may_carry_the_fields_of_success(body: str) -> None:
    """RopGetPropertiesAll with ErrorsReturned, with and without its (empty) property list."""
    requests = read_requests(payload(f"08 00 00 0000 0100 {STORE_STATE}"), no_params).rops
    buffer, positions = responses(payload(f"08 00 80030400 {body}  7b 00 0f010480"), requests)
    assert positions == [0, 1]
    assert ("PropertyValues" in buffer.rops[0].value) == bool(body)
