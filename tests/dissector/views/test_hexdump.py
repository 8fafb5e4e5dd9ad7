from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.views.hexdump import from_hexdump, hexdump


@given(st.binary(min_size=1, max_size=200))
def test_a_dump_reads_back(data: bytes) -> None:
    assert from_hexdump("\n".join(hexdump(data))) == data


@given(st.binary(min_size=1, max_size=60))
def test_bare_hex_reads(data: bytes) -> None:
    assert from_hexdump(data.hex()) == data
    assert from_hexdump(data.hex(" ")) == data


@pytest.mark.parametrize(
    "text",
    [
        "00000000: 0001 0203 0405 0607 0809 0a0b 0c0d 0e0f  ................\n"
        "00000010: 1011                                     ..",
        "00000000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  |................|\n00000010  10 11 |..|",
        "0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11",
        "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 10 11  # a remark",
    ],
)
def test_usual_dumps_read(text: str) -> None:
    assert from_hexdump(text) == bytes(range(18))


@pytest.mark.parametrize("text", ["", "hello world", "0x1", "POST /mapi HTTP/1.1"])
def test_text_is_no_dump(text: str) -> None:
    assert from_hexdump(text) is None


def test_hexdump_c_ends_with_an_offset_alone() -> None:
    dumped = "00000000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c                 |.............|\n0000000d\n"
    assert from_hexdump(dumped) == bytes(range(13))


def test_four_zeros_are_two_bytes() -> None:
    assert from_hexdump("0000") == bytes(2)
