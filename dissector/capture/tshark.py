"""The second engine: tshark reads the capture, we take the same segments from it.

tshark is found through pyshark and run by ourselves with few fields: pyshark's own packet objects cost ten to forty
times as much. What tshark can do and our walk cannot is open TLS with a key log. There, a connection's segments carry
the decrypted bytes in place of the encrypted ones, with sequence numbers made up to fit; its spans can only name the
frame that completed the record.

tcp.reassemble_out_of_order is always on: with tshark's default most records of a reordered capture are lost.
"""

from __future__ import annotations

import base64
import gzip
import os
import re
import shutil
import socket
import subprocess
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

from dissector.capture import pcap, pcapng
from dissector.capture.base import ACK, FIN, PSH, RST, SYN, Capture, Lane, Progress, Segment, Summary, distance, reverse
from dissector.capture.files import Input, MappedFile
from dissector.errors import CaptureError, EngineError
from dissector.node import Severity
from dissector.source import ByteSource, Piece

_FIELDS = (
    "frame.number",
    "frame.time_epoch",
    "frame.len",
    "frame.cap_len",
    "frame.file_off",
    "frame.protocols",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.flags",
    "tcp.stream",
    "tcp.payload",
)
_PREFERENCES = {
    "ip.defragment": "TRUE",
    "tcp.desegment_tcp_streams": "TRUE",
    "tcp.try_heuristic_first": "FALSE",
    "tcp.check_checksum": "FALSE",
}
#: These hold whatever the user says: without them bytes are lost.
_FORCED = {"tcp.reassemble_out_of_order": "TRUE"}
#: tshark preferences that give keys for TLS.
_KEY_OPTIONS = ("tls.keylog_file", "tls.keys_list", "tls.psk", "uat:rsa_keys", "uat:tls_decrypt")
#: Streams followed in one run of tshark.
_FOLLOWED = 500
_MASK = 0xFFFFFFFF
#: Encrypted bytes that may follow the last application data: an alert, session tickets.
_FAREWELL = 1024
#: The beginning of a TLS record: content type, version 3.x.
LIKE_TLS = re.compile(rb"[\x14-\x17]\x03[\x00-\x04]")

_NAMED = {
    "tcp": "TCP",
    "udp": "UDP",
    "icmp": "ICMP",
    "icmpv6": "ICMPv6",
    "arp": "ARP",
    "llc": "LLC",
    "sctp": "SCTP",
    "igmp": "IGMP",
}


def find_tshark() -> str:
    """The path of tshark, as pyshark finds it. Raises EngineError with one line saying what is missing."""
    try:
        from pyshark.tshark.tshark import TSharkNotFoundException, get_process_path
    except Exception as error:  # pyshark 0.6 is older than Python 3.14 and may fail there in any way
        raise EngineError(
            f"pyshark cannot be imported ({type(error).__name__}: {error}); pyshark 0.6 does not work on Python 3.14:"
            " use --engine native, or Python 3.13"
        ) from None
    try:
        path: str = get_process_path()
    except TSharkNotFoundException:
        raise EngineError("tshark is not installed (package tshark or Wireshark); use --engine native") from None
    return path


def gives_keys(options: Mapping[str, str]) -> bool:
    """Whether these tshark preferences hold keys for TLS."""
    return any(options.get(name) for name in _KEY_OPTIONS)


class TsharkCapture(Capture):
    """A capture of any format that tshark reads. data is empty: every segment brings its bytes in its source."""

    def __init__(
        self,
        given: Input | MappedFile,
        options: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._tshark = find_tshark()
        self._progress = progress
        self._opened = ExitStack()
        self.data = b""
        self.secrets = []
        keylog = (options or {}).get("tls.keylog_file")
        if keylog and not os.access(keylog, os.R_OK):
            raise EngineError(f"tls.keylog_file: {keylog} cannot be read")
        preferences = {**_PREFERENCES, **(options or {}), **_FORCED}
        self._preferences = [word for name, value in preferences.items() for word in ("-o", f"{name}:{value}")]
        self._keys = gives_keys(options or {})
        self._decrypted: _Decrypted | None = None
        self._path, name = self._as_path(given)
        try:
            self.summary = Summary(path=name, engine="pyshark", format="", size=os.stat(self._path).st_size)
            self.summary.format = self._format()
            if not self._keys and self.summary.format == "pcapng":
                self._keys = _holds_secrets(self._path)
        except BaseException:
            self.close()
            raise

    def _as_path(self, given: Input | MappedFile) -> tuple[str, str]:
        """tshark reads the file more than once and wants a name for it."""
        if isinstance(given, str | os.PathLike) and os.fspath(given) != "-":
            path = os.fspath(given)
            if not os.path.isfile(path):
                raise CaptureError(f"{path}: cannot be opened: no such file")
            return os.path.abspath(path), path
        mapped = given if isinstance(given, MappedFile) else MappedFile(given)
        copy = self._opened.enter_context(tempfile.NamedTemporaryFile(prefix="capture-"))  # noqa: SIM115
        try:
            mapped.data.seek(0)
            shutil.copyfileobj(mapped.data, copy, 1 << 20)
            copy.flush()
        finally:
            if mapped is not given:
                mapped.close()
        return copy.name, mapped.name

    def _format(self) -> str:
        """ "pcap" or "pcapng" as we see it ourselves; any other file is tried on tshark before it is promised."""
        try:
            with open(self._path, "rb") as file:
                head = file.read(16)
            if head[:2] == b"\x1f\x8b":
                with gzip.open(self._path) as unpacked:
                    head = unpacked.read(16)
        except (OSError, EOFError, zlib.error) as error:
            raise CaptureError(f"{self._path}: cannot be read: {error}") from None
        if not head:
            raise CaptureError(f"{self._path}: the file is empty")
        known = pcap.format_of(head) or pcapng.format_of(head)
        if not known:
            with self._run(["-c", "1", "-T", "fields", "-e", "frame.number"]) as lines:
                if not list(lines):
                    raise CaptureError(f"{self._path}: no capture file that tshark can read")
        return known or "as tshark reads it"

    def close(self) -> None:
        if self._decrypted is not None:
            self._decrypted.close()
        self._opened.close()

    @contextmanager
    def _run(self, arguments: list[str], complaints: list[str] | None = None) -> Iterator[Iterator[bytes]]:
        """The output lines of tshark on this file; what it complains of goes to `complaints`."""
        command = [self._tshark, "-n", "-r", self._path, *self._preferences, *arguments]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
            assert process.stdout is not None
            ended = False
            try:
                yield process.stdout
                ended = True
            finally:
                if not ended:
                    process.kill()
                process.stdout.close()
                code = process.wait()
            errors.seek(0)
            said = [
                line.removeprefix("tshark: ").strip()
                for line in errors.read(1 << 16).decode("utf-8", "replace").splitlines()
                if line.strip() and not line.startswith("Running as user")
            ]
            if code and complaints is not None:
                complaints.extend(said or [f"tshark ended with code {code}"])

    def segments(self, lanes: Mapping[bytes, Lane] | None = None) -> Iterator[Segment]:
        summary = self.summary
        summary.restart()
        if self._keys and self._decrypted is None:
            self._decrypted = _Decrypted(self._run)
        wanted = [word for name in _FIELDS for word in ("-e", name)]
        complaints: list[str] = []
        counts: Counter[str] = Counter()
        opened = _Opened(self._decrypted) if self._decrypted is not None else None
        number = 0
        try:
            with self._run(["-T", "fields", "-E", "occurrence=l", *wanted], complaints) as lines:
                for line in lines:
                    fields = line.rstrip(b"\r\n").split(b"\t")
                    if len(fields) != len(_FIELDS):
                        continue
                    number = int(fields[0])
                    time = float(fields[1] or 0)
                    if summary.first_time is None:
                        summary.first_time = time
                    summary.last_time = time
                    summary.truncated += int(fields[3]) < int(fields[2])
                    if self._progress and not number & 0xFFF and fields[4]:
                        self._progress(min(int(fields[4]), summary.size), summary.size)
                    protocols = fields[5].split(b":")
                    segment = None
                    if fields[10] and fields[12]:
                        segment = _segment(fields, number, time, protocols)
                    if segment is None:
                        counts[_protocol(protocols)] += 1
                        continue
                    counts["TCP"] += 1
                    summary.segments += 1
                    if opened is None:
                        yield segment
                    else:
                        yield from opened.segments(int(fields[15]), segment)
                if opened is not None:
                    yield from opened.finish(summary)
            if complaints and not number:
                wrong_option = "-o" in complaints[0]
                raise (EngineError if wrong_option else CaptureError)(f"{summary.path}: tshark says: {complaints[0]}")
            for complaint in complaints:
                summary.diagnose(Severity.MALFORMED, f"after frame {number}: tshark says: {complaint}")
            if self._progress:
                self._progress(summary.size, summary.size)
        finally:
            summary.frames = number
            summary.protocols.update(counts)


def _holds_secrets(path: str) -> bool:
    """Whether a pcapng file has decryption secrets in it; tshark then uses them unasked."""
    file = MappedFile(path)
    try:
        return pcapng.holds_secrets(file)
    finally:
        file.close()


def _protocol(protocols: list[bytes]) -> str:
    for name in protocols:
        known = _NAMED.get(name.decode())
        if known:
            return known
    return protocols[-1].decode().upper()


def _segment(fields: list[bytes], number: int, time: float, protocols: list[bytes]) -> Segment | None:
    """The segment of a line; None where the TCP header only stands quoted in an ICMP message."""
    innermost = len(protocols) - 1 - protocols[::-1].index(b"tcp") if b"tcp" in protocols else len(protocols)
    before = protocols[:innermost]
    if b"icmp" in before or b"icmpv6" in before:
        return None
    version = next((name for name in reversed(before) if name in (b"ip", b"ipv6")), b"ip" if fields[6] else b"ipv6")
    family, source, target = (
        (socket.AF_INET, fields[6], fields[7]) if version == b"ip" else (socket.AF_INET6, fields[8], fields[9])
    )
    key = (
        socket.inet_pton(family, source.decode())
        + socket.inet_pton(family, target.decode())
        + int(fields[10]).to_bytes(2, "big")
        + int(fields[11]).to_bytes(2, "big")
    )
    payload = bytes.fromhex(fields[16].decode())
    made = _source("TCP payload", payload, number, int(fields[3])) if payload else None
    flags = int(fields[14], 16) & 0xFF
    return number, time, key, int(fields[12]), int(fields[13] or 0), flags, 0, len(payload), 0, made


def _source(label: str, data: bytes, frame: int, captured: int) -> ByteSource:
    """Bytes of which only the frame is known."""
    return ByteSource(label, data, (Piece(0, len(data), frame, 0, captured),))


class _Decrypted:
    """What tshark could open, by the frame that completed each TLS record. The bytes are in a temporary file.

    By tshark's stream number: first, the first frame with TLS; last, the last frame with decrypted records.
    """

    def __init__(self, run: Callable[[list[str]], AbstractContextManager[Iterator[bytes]]]) -> None:
        streams: dict[int, int] = {}
        self.first: dict[int, int] = {}
        with run(
            ["-Y", "tls", "-T", "fields", "-E", "occurrence=l", "-e", "frame.number", "-e", "tcp.stream"]
        ) as lines:
            for line in lines:
                frame, _, stream = line.strip().partition(b"\t")
                if stream:
                    streams[int(frame)] = int(stream)
                    self.first.setdefault(int(stream), int(frame))
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._records: dict[int, list[tuple[int, int]]] = {}
        self.last: dict[int, int] = {}
        numbers = sorted(self.first)
        for index in range(0, len(numbers), _FOLLOWED):
            wanted = [f"follow,tls,yaml,{number}" for number in numbers[index : index + _FOLLOWED]]
            with run(["-q", *(word for name in wanted for word in ("-z", name))]) as lines:
                self._read(lines)
        for number in self._records:
            stream_of = streams.get(number, -1)
            self.last[stream_of] = max(self.last.get(stream_of, 0), number)

    def _read(self, lines: Iterator[bytes]) -> None:
        """Take up packets from the YAML text of followed streams: base64 lines below `packet: N`."""
        write = self._file.write
        at = self._file.tell()
        records: list[tuple[int, int]] = []
        for line in lines:
            text = line.strip()
            if line.startswith(b"      ") and records:
                data = base64.b64decode(text)
                write(data)
                start, length = records[-1]
                records[-1] = start, length + len(data)
                at += len(data)
            elif text.startswith(b"- packet:"):
                records = self._records.setdefault(int(text[9:]), [])
                records.append((at, 0))

    def take(self, frame: int) -> list[bytes]:
        """The decrypted records that this frame completed, in order."""
        found = []
        for start, length in self._records.get(frame, ()):
            self._file.seek(start)
            found.append(self._file.read(length))
        return found

    def close(self) -> None:
        self._file.close()


class _Stream:
    """What _Opened knows of one connection, each by key, that is by side."""

    __slots__ = ("last", "next", "opened", "plain", "seen", "waiting")

    def __init__(self) -> None:
        self.next: dict[bytes, int] = {}  # the next made-up sequence number
        self.seen: dict[bytes, int] = {}  # how far the real ones came
        self.opened: dict[bytes, int] = {}  # how far they were when a record was last opened
        self.plain = True  # nothing of TLS was seen yet
        self.waiting: list[Segment] = []  # FIN and RST that stand before the last record
        self.last: Segment | None = None

    def lost(self, key: bytes) -> int:
        """Encrypted bytes behind the last record that was opened, when they are more than a farewell."""
        lost = distance(self.seen[key], self.opened[key]) if key in self.opened else 0
        return lost if lost > _FAREWELL else 0


class _Opened:
    """Puts decrypted records in place of the segments that carried them."""

    def __init__(self, decrypted: _Decrypted) -> None:
        self._decrypted = decrypted
        self._streams: dict[int, _Stream] = {}

    def segments(self, number: int, segment: Segment) -> Iterator[Segment]:
        """What stands for one segment of tshark's stream `number`."""
        decrypted = self._decrypted
        last = decrypted.last.get(number)
        if last is None:
            yield segment  # not TLS, or no key for it
            return
        frame, time, key, seq, ack, flags, _, length, _, source = segment
        stream = self._streams.get(number)
        if stream is None:
            stream = self._streams[number] = _Stream()
        stream.last = segment
        if flags & SYN:
            stream.next.setdefault(key, (seq + 1) & _MASK)
            yield (*segment[:7], 0, 0, None)
            return
        upto = stream.next.setdefault(key, seq)
        end = (seq + length) & _MASK
        if distance(end, stream.seen.setdefault(key, end)) > 0:
            stream.seen[key] = end
        if source is not None and stream.plain:
            # What was said before TLS, to a proxy for instance, stays as it is.
            stream.plain = frame < decrypted.first[number] and not LIKE_TLS.match(source.data)
            if stream.plain:
                stream.next[key] = end
                yield segment
        for data in decrypted.take(frame):
            acked = stream.next.get(reverse(key), ack)
            made = _source("TLS application data", data, frame, source.pieces[0].origin_length if source else 0)
            yield frame, time, key, upto, acked, PSH | ACK, 0, len(data), 0, made
            stream.next[key] = upto = (upto + len(data)) & _MASK
            stream.opened[key] = stream.seen[key]
        if flags & (FIN | RST):
            stream.waiting.append(segment)
        if frame >= last:
            # The end of a connection may stand before its last record in a reordered capture.
            for ending in stream.waiting:
                key = ending[2]
                upto = (stream.next[key] + stream.lost(key)) & _MASK
                yield (*ending[:3], upto, stream.next.get(reverse(key), 0), ending[5], 0, 0, 0, None)
            stream.waiting.clear()

    def finish(self, summary: Summary) -> Iterator[Segment]:
        """tshark opens nothing behind a hole in a TLS stream: say so, and let the rest be missing, not absent."""
        for number, stream in self._streams.items():
            for key in stream.next:
                lost = stream.lost(key)
                if lost and stream.last is not None:
                    frame, time, *_ = stream.last
                    summary.diagnose(
                        Severity.NOTE,
                        f"tshark stream {number}: {lost} bytes of TLS could not be opened behind the last record that"
                        " was (bytes are missing in the capture, or a key)",
                    )
                    back = reverse(key)
                    acked = (stream.next[key] + lost) & _MASK
                    yield frame, time, back, stream.next.get(back, 0), acked, ACK, 0, 0, 0, None
