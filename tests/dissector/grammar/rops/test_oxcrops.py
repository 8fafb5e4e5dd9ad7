import pytest

from dissector.grammar.base import build
from dissector.grammar.reading import parse, trace
from dissector.grammar.rops import oxcrops as rops
from dissector.node import Severity, Undecoded
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check_cover, diagnostics
from tests.dissector.grammar.rops.vectors import Vector, check_vector, missing_forms, request, response

VECTORS = [
    request(rops.RELEASE, "01 00 00", LogonId=0, InputHandleIndex=0),
    request(rops.RELEASE, "01 02 07", LogonId=2, InputHandleIndex=7),
    response(
        rops.BACKOFF,
        "f9 00 88130000 01 15 b80b0000 0000",
        Duration=5000,
        BackoffRopCount=1,
        AdditionalData=b"",
    ),
    response(rops.BACKOFF, "f9 03 e8030000 00 0200 aabb", LogonId=3, BackoffRopData=[], AdditionalData=b"\xaa\xbb"),
    response(rops.BUFFER_TOO_SMALL, "ff 0080 15 00 00 00 01 3200 01 00 00", SizeNeeded=0x8000),
    response(rops.BUFFER_TOO_SMALL, "ff 0080", RequestBuffers=[]),
]


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_vector(vector: Vector) -> None:
    check_vector(vector)


def test_every_form_has_a_vector() -> None:
    assert missing_forms(rops.ROPS, VECTORS) == []


def test_release_has_no_response() -> None:
    assert rops.RELEASE.responses == {}
    assert rops.RELEASE.index is None


def test_server_messages_have_no_return_value() -> None:
    for definition in (rops.BACKOFF, rops.BUFFER_TOO_SMALL):
        assert definition.request is None
        assert not definition.has_return_value
        assert (definition.handles, definition.output, definition.index) == ((), None, None)


def test_unprocessed_requests_open() -> None:
    data = bytes.fromhex("ff 0080 15 00 00 00 01 3200 02 00 01 02 010000000000000d 04 01 00 00")
    tree = trace(rops.BUFFER_TOO_SMALL.responses[0], ByteSource("x", data), "x")
    pending = tree.find("RequestBuffers")
    assert [row.find("RopId").label for row in pending.children] == ["RopQueryRows", "RopOpenFolder", "RopRelease"]
    assert pending.find("[0]", "RowCount").value == 50


def test_unprocessed_request_that_cannot_be_read_stays_in_its_place() -> None:
    layout = rops.BUFFER_TOO_SMALL.responses[0]
    data = bytes.fromhex("ff 0080 01 00 00 15 00 00 00 01")
    value, end = parse(layout, data)
    assert end == len(data)
    assert value.SizeNeeded == 0x8000
    assert isinstance(value.RequestBuffers, Undecoded)
    assert build(layout, value) == data
    tree = trace(layout, ByteSource("x", data), "x")
    check_cover(tree)
    assert [found[1] for found in diagnostics(tree)] == [Severity.MALFORMED]
    assert tree.find("RequestBuffers", "[0]", "RopId").label == "RopRelease"
