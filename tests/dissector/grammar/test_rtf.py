from __future__ import annotations

import pytest
from compressed_rtf import compress
from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar.blobs import RtfCompressed
from dissector.grammar.reading import trace
from dissector.grammar.rtf import derived_text, rtf_of
from dissector.source import ByteSource
from dissector.views.text import tree_lines

TEXT = rb"{\rtf1\ansi Hello hello hello world\par}"
EXAMPLE = bytes.fromhex(
    "2d000000 2b000000 4c5a4675 f1c5c7a7 03000a00 72637067 31323542 320af320 68656c09 0020627705 b06c647d 0a800fa0"
)
"""[MS-OXRTFCP] 3.1.1: "{\\rtf1\\ansi\\ansicpg1252\\pard hello world}" and a line end."""


def test_the_published_example() -> None:
    assert rtf_of(EXAMPLE) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"


@pytest.mark.parametrize("compressed", [True, False])
def test_the_text_is_a_child_made_from_the_whole_value(compressed: bool) -> None:
    data = compress(TEXT, compressed)
    node = trace(RtfCompressed, ByteSource("value", data), "PropertyValue")
    child = derived_text(node)
    assert child is not None
    assert child.data == TEXT
    assert "Hello" in node.label
    assert any("RTF: " in line and "decompressed RTF" in line for line in tree_lines(node))


@given(st.binary(max_size=200))
def test_any_bytes_are_opened_or_left(data: bytes) -> None:
    made = rtf_of(data)
    assert made is None or isinstance(made, bytes)


def test_a_damaged_value_keeps_its_header_alone() -> None:
    data = bytearray(compress(TEXT, True))
    data[20] ^= 0xFF
    node = trace(RtfCompressed, ByteSource("value", bytes(data)), "PropertyValue")
    assert derived_text(node) is None
    assert list(tree_lines(node))
