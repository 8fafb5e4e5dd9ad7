"""HTTP conversations as a pcapng file: frames with TCP around them, as a capture on the wire would hold.

Ethernet, IPv4 or IPv6, TCP with its handshake, acknowledgements and checksums are made up; what was said is real.
Credentials never get here: head() leaves the headers that carry them out.
"""

from __future__ import annotations

import array
import ipaddress
import struct
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from replay.errors import ReplayError
from replay.files import check_new

SEGMENT = 16 * 1024
"""Payload bytes of a frame at most: as a capture on loopback has them."""

SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate"})
"""Headers that carry credentials or the tokens of a log-on."""

FRAMING_HEADERS = frozenset({"transfer-encoding", "content-encoding", "content-length"})
"""Headers about how a body was framed: bodies are recorded as they are without their framing."""

FIN, SYN, PSH, ACK = 0x01, 0x02, 0x08, 0x10

Endpoint = tuple[str, int]


def head(line: str, headers: Iterable[tuple[str, str]], length: int | None) -> bytes:
    """A start line and headers for a body of `length` bytes; None: a chunked one, whose end may be missing.

    No credentials are in it.
    """
    kept = [(name, value) for name, value in headers if name.lower() not in FRAMING_HEADERS]
    framing = ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))
    return framed_head(line, [*kept, framing])


def framed_head(line: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """A start line and headers for a body that is recorded with its framing. No credentials are in it."""
    kept = [f"{name}: {value}" for name, value in headers if name.lower() not in SECRET_HEADERS]
    return "\r\n".join([line, *kept, "", ""]).encode("latin-1", "replace")


class _Address(NamedTuple):
    packed: bytes
    port: int


def _address(endpoint: Endpoint) -> _Address:
    """Names that are no address (a proxy's, a Unix socket's) become one of the range for documentation."""
    try:
        made = ipaddress.ip_address(endpoint[0].partition("%")[0])
    except ValueError:
        made = ipaddress.ip_address("192.0.2.1")
    return _Address(made.packed, endpoint[1] & 0xFFFF)


class Recorder:
    """Writes the file. A context manager; for several threads. Every message is in the file when the call returns.

    target: a path or an open binary file. note: a comment on the whole file. overwrite: whether a file that is there
    may be replaced. Raises ReplayError where the file cannot be made.
    """

    def __init__(self, target: str | Path | BinaryIO, note: str = "", overwrite: bool = True) -> None:
        self._own = isinstance(target, str | Path)
        self._new = Path(target) if isinstance(target, str | Path) and not Path(target).exists() else None
        if isinstance(target, str | Path):
            check_new(Path(target), overwrite)
            try:
                self._file: BinaryIO = open(target, "wb")  # noqa: SIM115
            except OSError as error:
                raise ReplayError(f"{target}: {error.strerror or error}") from error
        else:
            self._file = target
        self._lock = threading.Lock()
        self._count = 0
        section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _options((4, b"replay"), (1, note.encode()))
        interface = struct.pack("<HHI", 1, 0, 0) + _options((9, b"\x09"))
        with self._lock:
            self._block(0x0A0D0D0A, section)
            self._block(1, interface)
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.discard()
        else:
            self.close()

    def close(self) -> None:
        if self._own:
            self._file.close()

    def discard(self) -> None:
        """Nothing will be said: close the file, and take it away where it is empty and was not there before."""
        self.close()
        if self._new is not None and not self._count:
            self._new.unlink(missing_ok=True)

    def conversation(self, client: Endpoint, server: Endpoint) -> Conversation:
        """A new TCP connection."""
        self._count += 1
        return Conversation(self, _address(client), _address(server), self._count)

    def _frames(self, frames: list[bytes], moment: float, comment: str) -> None:
        stamp = int(moment * 1_000_000_000)
        with self._lock:
            for number, frame in enumerate(frames):
                packet = struct.pack(
                    "<5I", 0, stamp >> 32, stamp & 0xFFFFFFFF, len(frame), len(frame)
                )  # fmt: skip
                noted = comment.encode() if number == 0 else b""
                self._block(6, packet + frame + bytes(-len(frame) % 4) + _options((1, noted)))
            self._file.flush()

    def _block(self, kind: int, body: bytes) -> None:
        size = struct.pack("<I", len(body) + 12)
        self._file.write(struct.pack("<I", kind) + size + body + size)


def _options(*options: tuple[int, bytes]) -> bytes:
    """pcapng options; those without a value are left out."""
    made = b"".join(
        struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4) for code, value in options if value
    )
    return made + bytes(4) if made else b""


class Conversation:
    """One connection. The handshake is written with the first message."""

    def __init__(self, recorder: Recorder, client: _Address, server: _Address, number: int) -> None:
        self._recorder = recorder
        if len(client.packed) != len(server.packed):
            client, server = (one._replace(packed=_sixteen(one.packed)) for one in (client, server))
        self._ends = (client, server)
        self._sequence = [1000 * number, 500_000 + 1000 * number]
        self._open = False

    def client(self, data: bytes, moment: float | None = None, comment: str = "") -> None:
        """What the client sent."""
        self._say(0, data, moment, comment)

    def server(self, data: bytes, moment: float | None = None, comment: str = "") -> None:
        """What the server sent."""
        self._say(1, data, moment, comment)

    def close(self, moment: float | None = None) -> None:
        """Both sides end the connection. Nothing where nothing was said."""
        if not self._open:
            return
        self._open = False
        frames = []
        for side in (0, 1):
            frames.append(self._frame(side, FIN | ACK, b""))
            self._advance(side, 1)
        frames.append(self._frame(0, ACK, b""))
        self._recorder._frames(frames, moment or time.time(), "")

    def _say(self, side: int, data: bytes, moment: float | None, comment: str) -> None:
        moment = moment or time.time()
        if not self._open:
            self._open = True
            greeting = []
            for who, flags in ((0, SYN), (1, SYN | ACK)):
                greeting.append(self._frame(who, flags, b""))
                self._advance(who, 1)
            greeting.append(self._frame(0, ACK, b""))
            self._recorder._frames(greeting, moment, "")
        frames = []
        for at in range(0, len(data), SEGMENT):
            part = data[at : at + SEGMENT]
            frames.append(self._frame(side, PSH | ACK, part))
            self._advance(side, len(part))
        frames.append(self._frame(1 - side, ACK, b""))
        self._recorder._frames(frames, moment, comment)

    def _advance(self, side: int, count: int) -> None:
        self._sequence[side] = self._sequence[side] + count & 0xFFFFFFFF

    def _frame(self, side: int, flags: int, payload: bytes) -> bytes:
        source, target = self._ends[side], self._ends[1 - side]
        acknowledged = self._sequence[1 - side] if flags & ACK else 0
        tcp = struct.pack(
            "!HHIIBBHHH", source.port, target.port, self._sequence[side], acknowledged, 0x50, flags, 0xFFFF, 0, 0
        )
        size = len(tcp) + len(payload)
        pseudo = source.packed + target.packed
        pseudo += struct.pack("!BBH", 0, 6, size) if len(source.packed) == 4 else struct.pack("!IHBB", size, 0, 0, 6)
        tcp = tcp[:16] + struct.pack("!H", _checksum(pseudo + tcp + payload)) + tcp[18:]
        if len(source.packed) == 4:
            ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, 0, 0x4000, 64, 6, 0) + source.packed + target.packed
            ip = ip[:10] + struct.pack("!H", _checksum(ip)) + ip[12:]
            kind = 0x0800
        else:
            ip = struct.pack("!IHBB", 6 << 28, size, 6, 64) + source.packed + target.packed
            kind = 0x86DD
        macs = bytes((2, 0, 0, 0, 0, 2 - side, 2, 0, 0, 0, 0, 1 + side))
        return macs + struct.pack("!H", kind) + ip + tcp + payload


def _sixteen(packed: bytes) -> bytes:
    """An IPv4 address as IPv6 has it."""
    return packed if len(packed) == 16 else b"\0" * 10 + b"\xff\xff" + packed


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    words = array.array("H", data + bytes(len(data) % 2))
    if sys.byteorder == "little":
        words.byteswap()
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
