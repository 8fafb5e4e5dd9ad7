"""Content codings by themselves; test_http.py has them in messages."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.node import Severity
from dissector.source import ByteSource
from dissector.transport.coding import MAX_MEMBERS, decode_content, inflate


def raw_deflate(data: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-15)
    return squeeze.compress(data) + squeeze.flush()


@given(st.binary(max_size=3000))
def test_three_kinds_of_deflate(data: bytes) -> None:
    for packed in (gzip.compress(data), zlib.compress(data), raw_deflate(data)):
        assert inflate(packed) == (data, "")


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(data: bytes) -> None:
    out, _ = inflate(data, 1000)
    assert len(out) <= 1000
    inflate(b"\x1f\x8b\x08\x00" + data, 1000)


def test_a_bomb_stops_at_the_limit() -> None:
    bomb = gzip.compress(bytes(1 << 22))
    assert inflate(bomb, 1 << 20) == (bytes(1 << 20), f"it grows beyond {1 << 20} bytes; the rest is left out")
    exact = gzip.compress(bytes(1000))
    assert inflate(exact, 1000) == (bytes(1000), "")


def test_members_are_counted() -> None:
    one = gzip.compress(b"x")
    data, problem = inflate(one * (MAX_MEMBERS + 5))
    assert data == b"x" * MAX_MEMBERS
    assert problem == f"{len(one) * 5} bytes are left over"


@pytest.mark.parametrize("cut", [1, 5, 12, 40, 900])
def test_a_stream_that_breaks_off(cut: int) -> None:
    data = random.Random(1).randbytes(1000)
    out, problem = inflate(gzip.compress(data)[:cut])
    assert data.startswith(out)
    assert problem


def test_a_wrong_checksum_keeps_the_data() -> None:
    packed = bytearray(gzip.compress(b"hello " * 100))
    packed[-6] ^= 1
    out, problem = inflate(bytes(packed))
    assert out == b"hello " * 100
    assert "check" in problem


def test_what_comes_before_a_broken_byte_is_kept() -> None:
    text = random.Random(3).randbytes(20_000)
    whole = gzip.compress(text + b"hello " * 3000 + text)
    bent = bytearray(whole)
    bent[20_200:20_230] = b"\xff" * 30
    out, problem = inflate(bytes(bent))
    assert problem
    assert out.startswith(text)
    assert out != text + b"hello " * 3000 + text


def test_codings_are_taken_off_in_reverse_and_lead_back() -> None:
    inner = zlib.compress(b"some text")
    body = ByteSource("body", gzip.compress(inner))
    decoded, notes = decode_content(["deflate", "gzip"], body)
    assert decoded.data == b"some text"
    assert not notes
    assert decoded.pieces[0].origin_length == len(inner)
    stays, notes = decode_content(["gzip", "br"], body)
    assert stays is body
    assert [note.severity for note in notes] == [Severity.NOTE]
