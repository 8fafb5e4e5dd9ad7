"""The records of a pcap file: a 24-byte header, then one record header and one frame after another.

Both byte orders, micro- and nanoseconds, and the variant with longer record headers that old Linux tools wrote.
Layout: draft-ietf-opsawg-pcap.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TypeAlias

from dissector.capture.base import Data, Summary
from dissector.capture.files import MappedFile
from dissector.node import Severity

#: (frame, time, offset, captured length, length on the wire, link type)
Record: TypeAlias = tuple[int, float, int, int, int, int]

#: Magic number as it stands in the file: (byte order, units per second, record header length, name).
_MAGIC = {
    magic.to_bytes(4, "big" if order == ">" else "little"): (order, units, header, name)
    for magic, units, header, name in (
        (0xA1B2C3D4, 1_000_000, 16, "pcap"),
        (0xA1B23C4D, 1_000_000_000, 16, "pcap, nanoseconds"),
        (0xA1B2CD34, 1_000_000, 24, "pcap, modified"),
    )
    for order in "<>"
}

#: No frame is longer; a record that says so is damage (tcpdump and Wireshark hold to the same figure).
LONGEST_FRAME = 262_144


def format_of(head: bytes) -> str:
    """The name of the pcap variant that begins with these bytes, "" when it is no pcap file."""
    known = _MAGIC.get(head[:4])
    return known[3] if known else ""


def cut_header(data: Data) -> str:
    """What is missing of the file header, without which nothing can be read; "" where it is whole."""
    return f"the pcap file header is cut: {len(data)} of 24 bytes" if len(data) < 24 else ""


def records(file: MappedFile, summary: Summary) -> Iterator[Record]:
    """Every record in file order, of a file with a whole header.

    A cut or damaged one ends the walk with a diagnostic in the summary.
    """
    data, size = file.data, len(file.data)
    order, units, header, _ = _MAGIC[data[:4]]
    _, snaplen, network = struct.unpack_from(order + "8xI2I", data, 4)
    link_type = network & 0xFFFF
    longest = max(LONGEST_FRAME, min(snaplen, 64 * LONGEST_FRAME))
    unpack = struct.Struct(order + "4I").unpack_from
    frame, at, last = 0, 24, size - header
    while at <= last:
        seconds, fraction, captured, length = unpack(data, at)
        start = at + header
        end = start + captured
        frame += 1
        if captured > longest:
            summary.diagnose(
                Severity.MALFORMED,
                f"file offset {at}: the record of frame {frame} is damaged: a frame of {captured} bytes;"
                f" {size - at} bytes not read",
            )
            return
        if end > size:
            summary.diagnose(
                Severity.MALFORMED,
                f"file offset {at}: the last record, frame {frame}, is cut: {size - start} of {captured} bytes",
            )
            return
        yield frame, seconds + fraction / units, start, captured, length, link_type
        at = end
    if at < size:
        summary.diagnose(
            Severity.MALFORMED,
            f"file offset {at}: the record header of frame {frame + 1} is cut: {size - at} of {header} bytes",
        )
