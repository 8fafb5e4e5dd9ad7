"""What a transport needs of a DCE/RPC PDU (C706 12.6.3.1): the header, read with struct. No layout is loaded for it."""

from __future__ import annotations

import struct
import uuid
from typing import NamedTuple

from dissector.grammar.names import enum_name

REQUEST, RESPONSE, FAULT = 0, 2, 3
BIND, BIND_ACK, BIND_NAK, ALTER_CONTEXT, ALTER_CONTEXT_RESP, AUTH3 = 11, 12, 13, 14, 15, 16
SHUTDOWN, CO_CANCEL, ORPHANED, RTS = 17, 18, 19, 20

FIRST_FRAG, LAST_FRAG, DID_NOT_EXECUTE, MAYBE, OBJECT_UUID = 0x01, 0x02, 0x20, 0x40, 0x80
"""Bits of pfc_flags."""

PRIVACY = 6
"""The auth_level at which stubs are encrypted."""

HEADER_SIZE, TRAILER_SIZE = 16, 8

NDR = uuid.UUID("8a885d04-1ceb-11c9-9fe8-08002b104860")
NDR64 = uuid.UUID("71710533-beba-4937-8319-b5dbef9ccc36")

SMALLEST = {
    REQUEST: 24, RESPONSE: 24, FAULT: 28, BIND: 28, BIND_ACK: 26, BIND_NAK: 18, ALTER_CONTEXT: 28,
    ALTER_CONTEXT_RESP: 26, AUTH3: 16, SHUTDOWN: 16, CO_CANCEL: 16, ORPHANED: 16, RTS: 20,
}  # fmt: skip
"""The fewest bytes that a PDU of each connection-oriented type can have."""


class Header(NamedTuple):
    """The 16 bytes that open every PDU."""

    ptype: int
    flags: int
    little_endian: bool
    frag_length: int
    auth_length: int
    call_id: int

    @property
    def first(self) -> bool:
        return bool(self.flags & FIRST_FRAG)

    @property
    def last(self) -> bool:
        return bool(self.flags & LAST_FRAG)

    @property
    def trailer(self) -> int:
        """Bytes of sec_trailer and auth_value at the end of the PDU."""
        return self.auth_length + TRAILER_SIZE if self.auth_length else 0


_LITTLE, _BIG = struct.Struct("<BBBBBBHHHI"), struct.Struct(">BBBBBBHHHI")


def read_header(data: bytes, at: int = 0) -> Header | None:
    """The PDU header at data[at:], or None where these cannot be the first bytes of a PDU.

    A header passes when version, type, data representation and lengths are all possible: about one in 2**40 of random
    places does.
    """
    if len(data) - at < HEADER_SIZE:
        return None
    little = data[at + 4] & 0xF0 == 0x10
    version, minor, ptype, flags, text, floats, zero, size, auth, call_id = (_LITTLE if little else _BIG).unpack_from(
        data, at
    )
    smallest = SMALLEST.get(ptype)
    if version != 5 or minor > 1 or smallest is None or text & 0xEE or floats > 3 or zero:
        return None
    if size < smallest + (auth + TRAILER_SIZE if auth else 0):
        return None
    return Header(ptype, flags, little, size, auth, call_id)


def could_be_header(data: bytes) -> bool:
    """Whether data, fewer bytes than a header has, may be the beginning of one."""
    return (
        data[:1] in (b"", b"\x05")
        and data[1:2] in (b"", b"\0", b"\1")
        and (len(data) < 3 or data[2] in SMALLEST)
        and (len(data) < 5 or not data[4] & 0xEE)
        and (len(data) < 6 or data[5] <= 3)
        and not data[6:8].strip(b"\0")
    )


def auth_pad(data: bytes, header: Header, offset: int = 0) -> int:
    """How many bytes of padding stand between the body's last field and the sec_trailer of the PDU at data[offset:].

    As auth_pad_length says, or 0 where it says more than there is room for.
    """
    at = offset + header.frag_length - header.trailer + 2
    if not header.auth_length or at >= len(data):
        return 0
    room = header.frag_length - header.trailer - SMALLEST[header.ptype]
    return data[at] if data[at] <= room else 0


def ptype_name(ptype: int) -> str:
    """'bind_ack' for 12; 'PDU type 99' where there is no such type."""
    return enum_name("PTYPE", ptype) or f"PDU type {ptype}"
