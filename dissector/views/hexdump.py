"""Bytes in hex, sixteen a line, with offsets and printable characters."""

from __future__ import annotations

import re
from collections.abc import Iterator

PRINTABLE = bytes(byte if 32 <= byte < 127 else ord(".") for byte in range(256))


def hexdump(data: bytes, start: int = 0) -> Iterator[str]:
    """Lines `0000  xx xx ...  text`; offsets begin at `start`."""
    for at in range(0, len(data), 16):
        line = data[at : at + 16]
        left, right = line[:8].hex(" "), line[8:].hex(" ")
        yield f"{start + at:04x}  {left:<23}  {right:<23}  {line.translate(PRINTABLE).decode('ascii')}"


OFFSET = re.compile(r"\s*(?:0x)?([0-9a-fA-F]{4,8})(:?)(?:\s+|$)")


def from_hexdump(text: str) -> bytes | None:
    """The bytes of a hex dump in any usual form, None where the text is none.

    Bare hex in any spacing, 0x.. lists, and dump lines `0000  xx xx ..  text` as Wireshark, hexdump -C, xxd and this
    module write them. An offset counts as one when it says how many bytes came before it.
    """
    made = bytearray()
    for line in text.splitlines():
        offset = OFFSET.match(line)
        alone = offset is not None and offset.end() == len(line)
        if offset is not None and int(offset[1], 16) == len(made) and (made or not alone):
            # the hex area has a fixed width; what stands behind it is the text column
            area = line[offset.end() :][: 39 if offset[2] else 49].split("|")[0]
        else:
            area = line.split("#")[0]
        digits = re.sub(r"0x|\\x|[\s,]", "", area)
        if not re.fullmatch(r"(?:[0-9a-fA-F]{2})*", digits):
            return None
        made += bytes.fromhex(digits)
    return bytes(made) or None
