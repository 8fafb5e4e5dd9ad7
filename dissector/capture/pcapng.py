"""The blocks of a pcapng file: sections, interfaces, packets, and what stands between them.

A section may change the byte order and begins its interfaces anew. Frame numbers run on over sections, as tshark
counts. Layout: draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from dissector.capture.base import Data, Summary
from dissector.capture.files import MappedFile
from dissector.capture.pcap import LONGEST_FRAME, Record
from dissector.node import Severity

_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE, _PACKET, _SECRETS = 0x0A0D0D0A, 1, 2, 3, 6, 10
_COMMENT, _IF_TSRESOL, _IF_TSOFFSET = 1, 9, 14
_MAGIC = b"\x0a\x0d\x0d\x0a"
_ORDERS = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}
_KEPT_SECRETS = 16 << 20


class _Interface(NamedTuple):
    link_type: int
    snaplen: int
    units: int
    offset: int


def format_of(head: bytes) -> str:
    """ "pcapng", or "" when a file that begins with these bytes is none."""
    return "pcapng" if head[:4] == _MAGIC and head[8:12] in _ORDERS else ""


def cut_header(data: Data) -> str:
    """What is missing of the first section header, without which nothing can be read; "" where it is whole."""
    order = _ORDERS[data[8:12]]
    total = max(28, struct.unpack_from(order + "I", data, 4)[0])
    return f"the pcapng section header is cut: {len(data)} of {total} bytes" if len(data) < total else ""


def records(file: MappedFile, summary: Summary, secrets: list[tuple[bytes, bytes]]) -> Iterator[Record]:
    """Every packet in file order, comments into the summary, decryption secrets into `secrets`.

    A cut or damaged block ends the walk with a diagnostic in the summary.
    """
    data, size = file.data, len(file.data)
    order = "<"
    packet = struct.Struct("<7I")
    interfaces: list[_Interface] = []
    frame = at = 0
    trouble = ""
    last = size - 28
    while at < size:
        # An enhanced packet block is 32 bytes at least, so nearly every block can be read with one unpack.
        if at <= last:
            kind, total, number, high, low, captured, length = packet.unpack_from(data, at)
            if kind == _PACKET and number < len(interfaces):
                end = at + total
                start = at + 28
                if total < captured + 32 or total & 3 or end > size or captured > LONGEST_FRAME:
                    frame += 1
                    trouble = f"the packet block of frame {frame}"
                    break
                frame += 1
                link_type, _, units, seconds = interfaces[number]
                yield frame, (high << 32 | low) / units + seconds, start, captured, length, link_type
                if total > captured + 35:
                    _comments(data, order, start + (captured + 3 & ~3), end - 4, frame, summary)
                at = end
                continue
        if size - at < 12:
            trouble = "a block header"
            break
        if data[at : at + 4] == _MAGIC:
            marker = data[at + 8 : at + 12]
            if marker not in _ORDERS:
                trouble = "a section header"
                break
            order = _ORDERS[marker]
            packet = struct.Struct(order + "7I")
            interfaces = []
        kind, total = struct.unpack_from(order + "2I", data, at)
        end = at + total
        if total < 12 or total & 3 or end > size or struct.unpack_from(order + "I", data, end - 4)[0] != total:
            trouble = f"a block of type {kind:#x}"
            break
        body, stop = at + 8, end - 4
        if kind == _SECTION:
            if stop - body < 16:
                trouble = "a section header"
                break
            _comments(data, order, body + 16, stop, 0, summary)
        elif kind == _INTERFACE:
            if stop - body < 8:
                trouble = "an interface description"
                break
            interfaces.append(_interface(data, order, body, stop))
            _comments(data, order, body + 8, stop, 0, summary)
        elif kind in (_PACKET, _OLD_PACKET, _SIMPLE):
            frame += 1
            record = _rare_packet(data, order, kind, body, stop, frame, interfaces)
            if record is None:
                trouble = f"the packet block of frame {frame}"
                break
            yield record
            if kind == _OLD_PACKET:
                _comments(data, order, record[2] + (record[3] + 3 & ~3), stop, frame, summary)
        elif kind == _SECRETS and stop - body >= 8:
            _secrets(data, order, body, stop, secrets)
        at = end
    if trouble:
        summary.diagnose(
            Severity.MALFORMED, f"file offset {at}: {trouble} is cut or damaged; {size - at} bytes not read"
        )


def holds_secrets(file: MappedFile) -> bool:
    """Whether there is a decryption secrets block anywhere in the file."""
    secrets: list[tuple[bytes, bytes]] = []
    file.rewind()
    for record in records(file, Summary("", "", "", 0), secrets):
        if secrets:
            return True
        file.give_back(record[2])
    return bool(secrets)


def _options(data: Data, order: str, at: int, stop: int) -> Iterator[tuple[int, bytes]]:
    header = struct.Struct(order + "2H")
    while at + 4 <= stop:
        code, length = header.unpack_from(data, at)
        if code == 0 or at + 4 + length > stop:
            return
        yield code, data[at + 4 : at + 4 + length]
        at += 4 + (length + 3 & ~3)


def _comments(data: Data, order: str, at: int, stop: int, frame: int, summary: Summary) -> None:
    for code, value in _options(data, order, at, stop):
        if code == _COMMENT:
            summary.comment(frame, value.decode("utf-8", "replace"))


def _interface(data: Data, order: str, at: int, stop: int) -> _Interface:
    link_type, snaplen = struct.unpack_from(order + "H2xI", data, at)
    units, offset = 1_000_000, 0
    for code, value in _options(data, order, at + 8, stop):
        if code == _IF_TSRESOL and value:
            units = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        elif code == _IF_TSOFFSET and len(value) == 8:
            offset = struct.unpack(order + "q", value)[0]
    return _Interface(link_type, snaplen, units, offset)


def _rare_packet(
    data: Data, order: str, kind: int, at: int, stop: int, frame: int, interfaces: list[_Interface]
) -> Record | None:
    """A simple, an obsolete, or a broken enhanced packet block; None when it does not hold together."""
    if kind == _SIMPLE:
        if stop - at < 4 or not interfaces:
            return None
        interface = interfaces[0]
        (length,) = struct.unpack_from(order + "I", data, at)
        start = at + 4
        captured = min(length, stop - start, interface.snaplen or length)
        return frame, 0.0, start, captured, length, interface.link_type
    if stop - at < 20:
        return None
    if kind == _OLD_PACKET:
        number, high, low, captured, length = struct.unpack_from(order + "H2x4I", data, at)
    else:
        number, high, low, captured, length = struct.unpack_from(order + "5I", data, at)
    start = at + 20
    if number >= len(interfaces) or captured > min(stop - start, LONGEST_FRAME):
        return None
    interface = interfaces[number]
    time = (high << 32 | low) / interface.units + interface.offset
    return frame, time, start, captured, length, interface.link_type


def _secrets(data: Data, order: str, at: int, stop: int, secrets: list[tuple[bytes, bytes]]) -> None:
    """A decryption secrets block; its type is kept as four characters in reading order, such as b"TLSK"."""
    kind, length = struct.unpack_from(order + "2I", data, at)
    length = min(length, stop - at - 8)
    if sum(len(value) for _, value in secrets) + length <= _KEPT_SECRETS:
        secrets.append((kind.to_bytes(4, "big"), data[at + 8 : at + 8 + length]))
