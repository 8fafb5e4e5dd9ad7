"""TLS, named: who is spoken to and in which version, from the hellos; the rest is counted (RFC 8446, RFC 6066)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dissector.transport.messages import Message, Opaque

if TYPE_CHECKING:
    from dissector.transport.tcp import Connection

VERSIONS = {0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}
SKIP = 1 << 20
MAX_HELLO = 64 << 10
"""Bytes of a direction that are looked through for its hello."""
MAX_RECORD = 16384 + 2048

_HANDSHAKE = 22
_SMALLEST = {20: 1, 21: 2, 22: 4, 23: 1}
"""Record types, and how much they hold at least."""


def is_record(data: bytes) -> bool | None:
    """Whether data begins with a TLS record; None when more bytes must tell."""
    if data and data[0] not in _SMALLEST:
        return False
    if len(data) > 1 and data[1] != 3:
        return False
    if len(data) > 2 and data[2] > 4:
        return False
    if len(data) < 5:
        return None
    return _SMALLEST[data[0]] <= int.from_bytes(data[3:5], "big") <= MAX_RECORD


@dataclass(slots=True)
class Hello:
    """What a ClientHello or ServerHello says. kind: 1 client, 2 server."""

    kind: int
    version: int
    server_name: str = ""


class _Reader:
    """Reads length-prefixed fields; what is not there reads as empty."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        part = self.data[self.at : self.at + n]
        self.at += n
        return part

    def number(self, n: int) -> int:
        return int.from_bytes(self.take(n), "big")

    def block(self, width: int) -> bytes:
        return self.take(self.number(width))

    @property
    def more(self) -> bool:
        return self.at < len(self.data)


def handshake_bytes(data: bytes) -> bytes:
    """The handshake messages in the records that data begins with, up to the first record that is none."""
    parts: list[bytes] = []
    at = 0
    while data[at : at + 1] == b"\x16":
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        parts.append(data[at + 5 : at + 5 + size])
        at += 5 + size
    return b"".join(parts)


def read_hello(data: bytes) -> Hello | None:
    """The hello that a direction begins with; None where it is not whole, or none."""
    messages = handshake_bytes(data)
    kind, size = messages[:1], int.from_bytes(messages[1:4], "big")
    if kind not in (b"\x01", b"\x02") or len(messages) < 4 + size:
        return None
    reader = _Reader(messages[4 : 4 + size])
    hello = Hello(kind[0], reader.number(2))
    reader.take(32)
    reader.block(1)
    if hello.kind == 1:
        reader.block(2)
        reader.block(1)
    else:
        reader.take(3)
    extensions = _Reader(reader.block(2))
    while extensions.more:
        code, body = extensions.number(2), extensions.block(2)
        if code == 0 and hello.kind == 1:
            names = _Reader(body[2:])
            while names.more and not hello.server_name:
                name_type, name = names.number(1), names.block(2)
                if name_type == 0:
                    hello.server_name = name.decode("ascii", "replace")[:255]
        elif code == 43:
            offered = _Reader(body[1:] if hello.kind == 1 else body)
            while offered.more:
                version = offered.number(2)
                if version in VERSIONS:
                    hello.version = max(hello.version, version)
    return hello


class Tally:
    """Counts what a connection carries that is not read, and makes the Opaque of it when it ends."""

    def __init__(self, connection: Connection, before: tuple[int, int] = (0, 0)) -> None:
        self.connection = connection
        self.sides = list(before)
        self.first: tuple[int, float] | None = None
        self.last: tuple[int, float] = (0, 0.0)

    def swallow(self, side: int) -> None:
        """Take all that is there of one direction."""
        window = self.connection.directions[side]
        if window.available:
            self.first = min(self.first or window.first, window.first)
            self.sides[side] += window.skip(window.available)
            last = window.take(0, "")
            self.last = max(self.last, (last.last_frame, last.last_time))
        window.need = SKIP

    def opaque(self, kind: str, label: str, version: str = "") -> Opaque:
        (frame, time), (last_frame, last_time) = self.first or (0, 0.0), self.last
        return Opaque(
            self.connection, kind, label, sum(self.sides), frame, time, last_frame, last_time, version,
            (self.sides[0], self.sides[1]),
        )  # fmt: skip


class TlsProtocol:
    """A TLS connection: one Opaque, when it ends."""

    def __init__(self, connection: Connection, tally: Tally | None = None) -> None:
        self.connection = connection
        self.tally = tally or Tally(connection)
        self.server_name = ""
        self.version = 0
        self._hello = [True, True]  # by side: it may still come
        self._told = False

    def feed(self, side: int, closed: bool = False) -> list[Message]:
        """Look for the hello, and count."""
        window = self.connection.directions[side]
        if self._hello[side]:
            data = window.peek(MAX_HELLO)
            hello = read_hello(data)
            if hello is not None:
                self.server_name = hello.server_name or self.server_name
                # What the server chose; until it is seen, the best that the client offered.
                if hello.kind == 2 or not self.version:
                    self.version = hello.version
            begun = data[:1] == b"\x16" and data[5:6] in (b"", b"\x01", b"\x02") and len(data) < MAX_HELLO
            if hello is None and begun and not closed:
                window.need = window.available + 1
                return []
            self._hello[side] = False
        self.tally.swallow(side)
        if self.connection.closed and not self._told:
            self._told = True
            version = VERSIONS.get(self.version, f"version 0x{self.version:04X}" if self.version else "")
            return [self.tally.opaque("tls", self.server_name, version)]
        return []

    def gap(self, side: int, length: int) -> list[Message]:
        """Bytes are missing: no hello will be looked for any more."""
        self._hello[side] = False
        return self.feed(side)
