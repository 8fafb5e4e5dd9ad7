"""The native engine: one walk over the mapped file, payloads kept as offsets.

Nearly every frame of a MAPI capture is Ethernet, IPv4 without options, TCP: one struct covers that stack and a few
comparisons prove it. Every other frame goes to link.py. Pages behind the walk are given back, so that a capture of
any size needs little memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from dissector.capture import pcap, pcapng
from dissector.capture.base import ACK, CONTROL, Capture, Lane, Progress, Segment
from dissector.capture.base import Summary as Summary
from dissector.capture.files import Input, MappedFile
from dissector.capture.link import LINK_TYPES, Decoder, Frame
from dissector.capture.pcap import Record
from dissector.errors import CaptureError
from dissector.node import Severity

#: Ethernet type, IPv4 version and header length, total length, fragment, protocol, addresses and ports, seq, ack,
#: data offset, flags: the common header stack at one go.
_STACK = struct.Struct(">12xHBxH2xHxB2x12sIIBB")
_ETHERNET = 1
_TICK = 4 << 20

_OTHER_FILES = {
    b"GMBU": "a Microsoft Network Monitor capture",
    b"RTSS": "a Microsoft Network Monitor 1 capture",
    b"snoop\0": "a snoop capture",
    b"PK\x03\x04": "a zip archive (a Fiddler .saz file is one)",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\xfd7zXZ": "an xz file",
    b"BZh": "a bzip2 file",
    b"\x04\x22\x4d\x18": "an lz4 file",
    b"{": "JSON text",
}


class NativeCapture(Capture):
    """A pcap or pcapng file, plain, gzipped or from a stream, read by our own walk.

    notes: remarks that every walk puts among the summary's diagnostics.
    Raises CaptureError, one line, when the input cannot be read or is no capture.
    """

    def __init__(self, given: Input, progress: Progress | None = None) -> None:
        self.file = MappedFile(given)
        self._progress = progress
        self.data = self.file.data
        self.secrets = []
        self.notes: list[str] = []
        head = self.data[:16]
        kind = pcap.format_of(head) or pcapng.format_of(head)
        self._pcapng = kind == "pcapng"
        trouble = _trouble(self.file, kind)
        if trouble:
            self.file.close()
            raise CaptureError(f"{self.file.name}: {trouble}")
        self.summary = Summary(
            path=self.file.name, engine="native", format=kind, size=len(self.data), compressed=self.file.compressed
        )

    def close(self) -> None:
        self.file.close()

    def holds_secrets(self) -> bool:
        """Whether the file has decryption secrets in it."""
        return self._pcapng and pcapng.holds_secrets(self.file)

    def records(self) -> Iterator[Record]:
        """(frame, time, offset, captured length, length on the wire, link type) of every frame, in file order."""
        if self._pcapng:
            self.secrets.clear()
            return pcapng.records(self.file, self.summary, self.secrets)
        return pcap.records(self.file, self.summary)

    def segments(self, lanes: Mapping[bytes, Lane] | None = None) -> Iterator[Segment]:
        summary = self.summary
        summary.restart()
        for note in self.notes:
            summary.diagnose(Severity.NOTE, note)
        self.file.rewind()
        decoder = Decoder(summary)
        data = self.data
        size = len(data)
        unpack = _STACK.unpack_from
        lane_of = (lanes if lanes is not None else {}).get
        seen: dict[int, int] = {}
        frame = fast = truncated = 0
        first = last = 0.0
        tick = _TICK
        try:
            for frame, time, offset, captured, length, link_type in self.records():
                last = time
                if frame == 1:
                    first = summary.first_time = time
                if captured < length:
                    truncated += 1
                if offset > tick:
                    tick = offset + _TICK
                    self.file.give_back(offset)
                    if self._progress:
                        self._progress(offset, size)
                if link_type == _ETHERNET and captured >= 54:
                    kind, version, total, fragment, protocol, key, seq, ack, header, flags = unpack(data, offset)
                    header = header >> 2 & 0x3C
                    if (
                        kind == 0x0800
                        and version == 0x45
                        and protocol == 6
                        and not fragment & 0x3FFF
                        and 40 <= total <= captured - 14
                        and 20 <= header <= total - 20
                    ):
                        fast += 1
                        at = 34 + header
                        count = total - 20 - header
                        lane = lane_of(key)
                        if lane is not None and seq == lane.expected and flags & CONTROL == ACK:
                            end = lane.end + count
                            if end < lane.wake:
                                lane.acked = ack
                                if count:
                                    lane.segments.append(
                                        (frame, time, key, seq, ack, flags, offset + at, count, at, None)
                                    )
                                    lane.ends.append(end)
                                    lane.end = end
                                    lane.expected = (seq + count) & 0xFFFFFFFF
                                continue
                        yield frame, time, key, seq, ack, flags, offset + at, count, at, None
                        continue
                if link_type != _ETHERNET:
                    seen[link_type] = seen.get(link_type, 0) + 1
                segment = decoder.decode(Frame(frame, time, data, offset, offset + captured), link_type)
                if segment is not None:
                    yield segment
            decoder.finish()
            if self.file.trouble:
                summary.diagnose(Severity.MALFORMED, self.file.trouble)
            if self._progress:
                self._progress(size, size)
        finally:
            summary.frames = frame
            summary.truncated = truncated
            if frame:
                summary.first_time, summary.last_time = first, last
            if fast:
                summary.protocols["TCP"] += fast
                summary.segments += fast
            for link_type, count in seen.items():
                summary.link_types[LINK_TYPES.get(link_type, f"link type {link_type}")] += count
            if frame - sum(seen.values()):
                summary.link_types[LINK_TYPES[_ETHERNET]] += frame - sum(seen.values())


def _trouble(file: MappedFile, kind: str) -> str:
    """Why nothing of this file can be read; "" where it can. kind: its format, "" where it is no capture."""
    if kind:
        cut = pcapng.cut_header(file.data) if kind == "pcapng" else pcap.cut_header(file.data)
        why = f" ({file.trouble})" if file.trouble else ""
        return f"{cut}{why}; copy it again, whole" if cut else ""
    begin = bytes(file.data[:16])
    for magic, what in _OTHER_FILES.items():
        if begin.startswith(magic):
            return f"this is {what}, not a pcap or pcapng file"
    return f"no pcap or pcapng file (it begins with {begin[:8].hex(' ')})"
