"""Plain LZ77: Windows-made streams, an independent decompressor, our own compressor, damage and bombs."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.emsmdb.lz77 import Lz77Error, compress, decompress, inflate
from tests.conftest import SHARED, examples, shared

EXAMPLES = [
    (bytes(range(97, 123)), "3f000000" + bytes(range(97, 123)).hex()),
    (b"abc" * 100, "ffffff1f6162631700 0fff2601"),
    (b"a" * 10, "ffffff7f610600"),
    (b"abcd" * 5, "ffffff0f616263641f0006"),
    (b"A" * 40 + b"B" * 40, "ffffff5f410700ff0e4207000e"),
    (bytes(range(32)), "00000000" + bytes(range(32)).hex() + "ffffffff"),
    (b"", "ffffffff"),
]

PAIRS = sorted(SHARED.joinpath("vectors", "lzxpress", "decompressed").glob("*")) or [None]


@pytest.mark.parametrize(("plain", "stream"), EXAMPLES)
def test_examples(plain: bytes, stream: str) -> None:
    data = bytes.fromhex(stream)
    assert inflate(data, len(plain)) == (plain, len(data), None)
    assert decompress(compress(plain), len(plain)) == plain


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.name if path else "absent")
def test_windows_streams(path) -> None:  # type: ignore[no-untyped-def]
    folder = shared("vectors", "lzxpress", "plain")
    plain = path.read_bytes()
    [stream] = [entry for entry in folder.iterdir() if entry.name.startswith(path.name.removesuffix(".decomp") + ".")]
    data = stream.read_bytes()
    assert inflate(data, len(plain)) == (plain, len(data), None)
    if len(plain) <= 70_000:
        ours = compress(plain)
        assert decompress(ours, len(plain)) == plain
        assert len(ours) <= len(data) * 1.02 + 8


def test_all_fifty_streams_are_there() -> None:
    assert len(list(shared("vectors", "lzxpress", "decompressed").iterdir())) == 50


def test_outlook_2007_request() -> None:
    stub = shared("vectors", "outlook2007-modifyrecipients.compressed.dat").read_bytes()
    plain = decompress(stub[36 : 36 + 325], 459)  # behind the context handle, the flags, a count and RPC_HEADER_EXT
    assert int.from_bytes(plain[:2], "little") == 455
    assert plain[2] == 0x0D
    assert plain[-4:] == bytes.fromhex("45000000")


def generated(seed: int, size: int) -> bytes:
    """Text-like, binary and repetitive runs of random lengths."""
    rng = random.Random(seed)
    words = [rng.randbytes(rng.randint(1, 9)) for _ in range(60)]
    out = bytearray()
    while len(out) < size:
        kind = rng.randrange(4)
        if kind == 0:
            out += b"".join(rng.choices(words, k=rng.randint(1, 40)))
        elif kind == 1:
            out += rng.randbytes(rng.randint(1, 80))
        elif kind == 2:
            out += rng.randbytes(rng.randint(1, 3)) * rng.randint(1, 700)
        elif len(out) > 20:
            start = rng.randrange(max(0, len(out) - 9000), len(out))
            out += out[start : start + rng.randint(3, 400)]
    return bytes(out[:size])


@pytest.mark.parametrize("seed", range(24))
def test_agrees_with_dissect(seed: int) -> None:
    lzxpress = pytest.importorskip("dissect.util.compression.lzxpress")
    plain = generated(seed, 1500 * (seed + 1))
    stream = compress(plain)
    assert lzxpress.decompress(stream)[: len(plain)] == plain
    assert decompress(stream, len(plain)) == plain


@given(
    st.binary(max_size=600) | st.lists(st.sampled_from([b"ab", b"abc", b"\0", b"xyz" * 99]), max_size=200).map(b"".join)
)
@examples(200)
def test_round_trip(plain: bytes) -> None:
    stream = compress(plain)
    assert inflate(stream, len(plain)) == (plain, len(stream), None)


def test_long_runs_of_every_length_form() -> None:
    for length in (3, 9, 10, 11, 24, 25, 26, 278, 279, 280, 281, 65537, 65538, 65539, 70000):
        for plain in (b"x" * length, b"xyz" + b"q" * length + b"xyz" + b"r" * length):
            assert decompress(compress(plain), len(plain)) == plain, length


@pytest.mark.parametrize(
    ("stream", "size", "offset", "message"),
    [
        ("", 1, 0, "the data ends after 0 of 1 bytes"),
        ("ffff", 1, 0, "the data ends after 0 of 1 bytes"),
        ("00000000616263", 4, 7, "the data ends after 3 of 4 bytes"),
        ("ffffffff0000", 9, 4, "a match 1 bytes back, 0 bytes are there"),
        ("ffffff7f61", 9, 5, "the data ends after 1 of 9 bytes"),
        ("ffffff7f6106", 9, 5, "the data ends in a match"),
        ("ffffff7f610700", 9, 5, "the data ends in a match length"),
        ("ffffff7f6107000f", 90, 5, "the data ends in a match length"),
        ("ffffff7f6107000fff00", 90, 5, "the data ends in a match length"),
        ("ffffff7f6107000fff1000", 90, 5, "a long match of 19 bytes in the form for 25 and more"),
        ("ffffff7f610600", 5, 5, "a match of 9 bytes where 4 are left of the declared size"),
    ],
)
def test_faults_have_their_offset(stream: str, size: int, offset: int, message: str) -> None:
    data = bytes.fromhex(stream)
    with pytest.raises(Lz77Error) as caught:
        decompress(data, size)
    assert (caught.value.offset, caught.value.message) == (offset, message)
    assert len(inflate(data, size).data) <= size


def test_output_stops_at_the_declared_size() -> None:
    plain = b"abc" * 100
    stream = bytes.fromhex("ffffff1f616263170000ff2601".replace("0000ff", "000fff"))
    for size in range(len(plain)):
        assert inflate(stream, size).data == plain[:size]


def test_a_bomb_stays_small() -> None:
    bomb = bytes.fromhex("ffffff7f6107000fff0000") + (0xFFFFFFF0).to_bytes(4, "little")
    assert len(bomb) == 15
    tracemalloc.start()
    result = inflate(bomb, 65535)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.data == b"a" * 65535
    assert result.problem is not None
    assert peak < 1_000_000


@given(st.binary(max_size=300), st.integers(0, 70_000))
@examples(400)
def test_any_bytes(data: bytes, size: int) -> None:
    result = inflate(data, size)
    assert len(result.data) <= size
    assert result.used <= len(data)
    assert (len(result.data) == size) or result.problem


def test_damaged_streams_end_cleanly() -> None:
    rng = random.Random(7)
    plain = generated(99, 6000)
    stream = compress(plain)
    for _ in range(400):
        damaged = bytearray(stream)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        result = inflate(bytes(damaged), len(plain))
        assert len(result.data) <= len(plain)
    for cut in range(0, len(stream), 7):
        result = inflate(stream[:cut], len(plain))
        assert result.problem
        assert plain.startswith(result.data)
