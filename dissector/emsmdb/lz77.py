"""Plain LZ77 of [MS-XCA] 2.3, 2.4, which [MS-OXCRPC] 3.1.4.11.1.2 calls DIRECT2.

The stream is groups of a 32-bit flag word and up to 32 items, one for each flag from the highest bit down: a 0 bit is
a literal byte, a 1 bit a match of two bytes or more. A match of seven or more over the minimum takes a nibble, and two
such matches share one byte for their nibbles: the second one goes back to the byte that the first one read.

Reading is one pass over whole groups without any bounds check, which Python does fast (a run of literals is one slice,
a match is one slice or one repetition). A group that would leave the input or the declared size is undone and read
again with every check, so the exact offset of a fault is known and nothing ever grows beyond the declared size.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

MAX_OFFSET = 8192
MIN_MATCH = 3

_u16 = Struct("<H").unpack_from
_u32 = Struct("<I").unpack_from
_BITS = [1 << bit for bit in range(32)]


class Lz77Error(ValueError):
    """The stream cannot be decompressed. offset: where in the compressed data."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message, self.offset = message, offset


class Inflated(NamedTuple):
    """data: at most the declared size. used: compressed bytes read. problem: what is wrong, None if nothing is."""

    data: bytes
    used: int
    problem: str | None = None


def decompress(data: bytes, size: int) -> bytes:
    """Exactly `size` bytes out of the compressed data. Raises Lz77Error."""
    result = inflate(data, size)
    if result.problem is not None:
        raise Lz77Error(result.problem, result.used)
    return result.data


def inflate(data: bytes, size: int) -> Inflated:
    """What can be decompressed, up to `size` bytes, and what is wrong with the rest. Never raises."""
    out = bytearray()
    position = shared = 0  # shared: place of the byte whose high nibble the next long match takes, 0 for none
    end = len(data)
    while position + 4 <= end and len(out) < size:
        state = len(out), position, shared
        try:
            position, shared = _group(data, position, shared, out, size)
            if position > end or len(out) > size:
                raise IndexError
        except IndexError:
            del out[state[0] :]
            return _careful(data, *state[1:], out, size)
    return _careful(data, position, shared, out, size)


def _group(data: bytes, position: int, shared: int, out: bytearray, size: int) -> tuple[int, int]:
    """One flag word and its items, unchecked. Raises IndexError where a match must be looked at closely."""
    flags = data[position] | data[position + 1] << 8 | data[position + 2] << 16 | data[position + 3] << 24
    position += 4
    left = 32
    while flags:
        bit = flags.bit_length()
        if left != bit:
            stop = position + left - bit
            out += data[position:stop]
            position = stop
        left = bit - 1
        flags ^= _BITS[left]
        length = data[position]
        start = len(out) - ((length | data[position + 1] << 8) >> 3) - 1
        length &= 7
        position += 2
        if start < 0:
            raise IndexError
        if length != 7:
            length += 3
        else:
            if shared:
                length = data[shared] >> 4
                shared = 0
            else:
                length = data[position] & 15
                shared = position
                position += 1
            if length != 15:
                length += 10
            else:
                length = data[position]
                position += 1
                if length != 255:
                    length += 25
                else:
                    length = data[position] | data[position + 1] << 8
                    position += 2
                    if length < 22 or len(out) + length > size:
                        raise IndexError
                    length += 3
        stop = start + length
        piece = out[start:stop]
        if len(piece) < length:
            piece *= length // len(piece) + 1
            del piece[length:]
        out += piece
    if left:
        out += data[position : position + left]
        position += left
    return position, shared


def _careful(data: bytes, position: int, shared: int, out: bytearray, size: int) -> Inflated:
    """The rest of a stream, item by item with every check."""
    end = len(data)

    def fault(message: str) -> Inflated:
        return Inflated(bytes(out), position, message)

    while len(out) < size:
        if position + 4 > end:
            return fault(f"the data ends after {len(out)} of {size} bytes")
        flags: int = _u32(data, position)[0]
        position += 4
        for bit in range(31, -1, -1):
            if len(out) >= size:
                break
            if position >= end:
                return fault(f"the data ends after {len(out)} of {size} bytes")
            if not flags >> bit & 1:
                out.append(data[position])
                position += 1
                continue
            if position + 2 > end:
                return fault("the data ends in a match")
            word: int = _u16(data, position)[0]
            offset, length, at = (word >> 3) + 1, word & 7, position + 2
            if offset > len(out):
                return fault(f"a match {offset} bytes back, {len(out)} bytes are there")
            if length == 7:
                if shared:
                    length, shared = data[shared] >> 4, 0
                elif at < end:
                    length, shared, at = data[at] & 15, at, at + 1
                else:
                    return fault("the data ends in a match length")
                if length == 15:
                    wide = at < end and data[at] == 255
                    if at + (3 if wide else 1) > end:
                        return fault("the data ends in a match length")
                    length, at = data[at] + 15, at + 1
                    if wide:
                        length, at = _u16(data, at)[0], at + 2
                        if not length:
                            if at + 4 > end:
                                return fault("the data ends in a match length")
                            length, at = _u32(data, at)[0], at + 4
                        if length < 22:
                            return fault(f"a long match of {length + 3} bytes in the form for 25 and more")
                        length -= 7
                length += 7
            length += 3
            room = size - len(out)
            piece = bytes(out[-offset:])
            out += (piece * (min(length, room) // offset + 1))[: min(length, room)]
            if length > room:
                return fault(f"a match of {length} bytes where {room} are left of the declared size")
            position = at
    if data[position:] == b"\xff\xff\xff\xff":  # the flag word of a group without items
        position += 4
    return Inflated(bytes(out), position)


def compress(data: bytes) -> bytes:
    """The data as one stream, every match checked against the last few places that begin with the same three bytes."""
    out = bytearray(4)
    word_at, flags, count, shared = 0, 0, 0, 0
    places: dict[bytes, list[int]] = {}
    position, end = 0, len(data)
    while position < end:
        length, offset = _longest(data, position, places)
        flags <<= 1
        if length < MIN_MATCH:
            out.append(data[position])
            step = 1
        else:
            flags |= 1
            shared = _put_match(out, offset, length, shared)
            step = length
        for at in range(position, min(position + step, end - MIN_MATCH + 1)):
            if at - position < 64 or position + step - at < 64:  # the middle of a long run adds nothing
                places.setdefault(data[at : at + MIN_MATCH], []).append(at)
        position += step
        count += 1
        if count == 32:
            out[word_at : word_at + 4] = flags.to_bytes(4, "little")
            word_at, flags, count = len(out), 0, 0
            out += bytes(4)
    flags = (flags << (32 - count)) | ((1 << (32 - count)) - 1)
    out[word_at : word_at + 4] = flags.to_bytes(4, "little")
    return bytes(out)


def _longest(data: bytes, position: int, places: dict[bytes, list[int]], tries: int = 12) -> tuple[int, int]:
    """The longest match (length, offset) among the latest places; length 0 where there is none."""
    found = places.get(data[position : position + MIN_MATCH])
    if not found:
        return 0, 0
    best, best_offset, end = 0, 0, len(data)
    for at in found[: -tries - 1 : -1]:
        offset = position - at
        if offset > MAX_OFFSET:
            break
        if best and data[at + best : at + best + 1] != data[position + best : position + best + 1]:
            continue
        length = _common(data, at, position, end)
        if length > best:
            best, best_offset = length, offset
            if position + best == end:
                break
    return best, best_offset


def _common(data: bytes, first: int, second: int, end: int) -> int:
    """How many bytes at `first` and at `second` (behind it) are the same: doubling steps, then halving ones."""
    length, step = MIN_MATCH, 8
    while data[first + length : first + length + step] == data[second + length : second + length + step]:
        length += step
        if second + length >= end:
            return end - second
        step *= 2
    while step > 1:
        step //= 2
        if data[first + length : first + length + step] == data[second + length : second + length + step]:
            length += step
    return min(length, end - second)


def _put_match(out: bytearray, offset: int, length: int, shared: int) -> int:
    """Append a match; returns the place of the byte with a free high nibble, 0 for none."""
    rest = length - MIN_MATCH
    out += (offset - 1 << 3 | min(rest, 7)).to_bytes(2, "little")
    if rest < 7:
        return shared
    nibble = min(rest - 7, 15)
    if shared:
        out[shared] |= nibble << 4
        shared = 0
    else:
        shared = len(out)
        out.append(nibble)
    if nibble == 15:
        if rest < 22 + 255:
            out.append(rest - 22)
        elif rest <= 0xFFFF:
            out += b"\xff" + rest.to_bytes(2, "little")
        else:
            out += b"\xff\0\0" + rest.to_bytes(4, "little")
    return shared
