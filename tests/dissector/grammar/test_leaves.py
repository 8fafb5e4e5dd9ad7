"""Values that keep their bytes, and the words for numbers and for data that end."""

import pytest
from construct import Construct, ConstructError

from dissector.grammar.base import build
from dissector.grammar.layouts import (
    Layout,
)
from dissector.grammar.leaves import F32, F64, U32, Data, ErrorCode
from dissector.grammar.reading import trace
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check


@pytest.mark.parametrize("raw", ["0000807f", "000080ff", "0100807f", "010080ff", "0000c07f", "0000803f", "00000080"])
def test_floats_keep_their_bytes(raw: str) -> None:
    check(Layout("Value" / F32), raw)


def test_doubles_keep_their_bytes() -> None:
    check(Layout("Value" / F64), "000000000000f83f", Value=1.5)
    check(Layout("Value" / F64), "010000000000f07f")  # a signalling NaN
    check(Layout("Value" / F64), "000000000000f8ff")
    with pytest.raises(ConstructError):
        build(Layout("Value" / F32), {"Value": 1e300})
    with pytest.raises(ConstructError):
        build(Layout("Value" / F64), {"Value": "x"})


@pytest.mark.parametrize("field", [U32, ErrorCode, Data(4)])
def test_data_that_end_are_told_in_the_same_words_everywhere(field: Construct) -> None:
    tree = trace(Layout("Number" / field), ByteSource("x", b"\x01\x02"), "x")
    assert [found.message for node in tree.walk() for found in node.diagnostics] == [
        "the data ends here: wanted 4 bytes, 2 are left"
    ]


def test_a_code_without_a_name_is_told_in_hex() -> None:
    layout = Layout("Code" / ErrorCode, summary="{Code}")
    assert trace(layout, ByteSource("x", b"\xde\xc0\x04\x80"), "x").label == "0x8004C0DE"
    assert trace(layout, ByteSource("x", b"\x0f\x01\x04\x80"), "x").label == "ecNotFound"
