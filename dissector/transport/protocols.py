"""Finds out by content what a connection speaks: HTTP, DCE/RPC, TLS, or nothing that is read here.

The port is never asked. A capture that begins in the middle of a message shows its protocol at a later segment, so a
connection gets a number of chances before it is called unknown; what went by until then is passed over and counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dissector.grammar.pduheader import could_be_header, read_header
from dissector.transport.head import MAX_LINE, start_line
from dissector.transport.http import HttpProtocol
from dissector.transport.messages import Message
from dissector.transport.rpc import GREETING, RpcProtocol, VirtualConnections
from dissector.transport.tls import Tally, TlsProtocol, is_record
from dissector.transport.window import ProtocolParser

if TYPE_CHECKING:
    from dissector.transport.tcp import Connection

PATIENCE = 4 << 20
"""How many bytes of a direction may go by without a beginning in them before it is not looked at any more."""
KEPT = 64 << 10
"""Bytes of a direction that stay in the window while nothing is known: messages may begin inside a segment, too."""
KEPT_SEGMENTS = 64

_NAMED = (
    (0, b"PRI * HTTP/2", "HTTP/2"),
    (0, b"SSH-", "SSH"),
    (4, b"\xffSMB", "SMB"),
    (4, b"\xfeSMB", "SMB 2"),
)
"""What else is met next to Exchange traffic: offset, bytes, name."""


def recognise(data: bytes) -> str | None:
    """What data begins with: "http", "rpc", "tls", "" when more bytes must tell, None for nothing known."""
    if not data:
        return ""
    if data[0] == 5:
        if read_header(data) is not None:
            return "rpc"
        return "" if len(data) < 16 and could_be_header(data) else None
    if data[0] in (20, 21, 22, 23):
        record = is_record(data)
        return "tls" if record else "" if record is None else None
    if data.startswith(GREETING):
        return "rpc"
    line = start_line(data)
    return "http" if line else "" if line == "" or GREETING.startswith(data) else None


def unread(start: bytes) -> str:
    """Why a connection that begins with these bytes is not read."""
    for at, mark, name in _NAMED:
        if start.startswith(mark, at):
            return f"{name} is not read"
    return f"no known protocol; begins with {start.hex(' ')}"


class Detector:
    """The parser of a connection of which nothing is known yet: asks every segment, then hands over for good."""

    def __init__(self, connection: Connection, virtual: VirtualConnections) -> None:
        self.connection, self.virtual = connection, virtual
        self._tally = Tally(connection)
        self._parser: ProtocolParser | None = None
        self._start = b""  # what the connection began with
        self._gaps = False
        self._looked = [0, 0]  # stream positions before which nothing begins
        self._told = False

    def feed(self, side: int, closed: bool = False) -> list[Message]:
        """Look at what is there in one direction, or have it read."""
        if self._parser is not None:
            return list(self._parser.feed(side, closed))
        out: list[Message] = []
        found = self._look(side, closed)
        if found:
            self._parser = self._make(found)
            if self.connection.directions[1 - side].available:
                out += self._parser.feed(1 - side)
            out += self._parser.feed(side, closed)
        elif self.connection.closed and not self._told:
            self._told = True
            for one in (0, 1):
                self._tally.swallow(one)
            if sum(self._tally.sides):
                out.append(self._tally.opaque("unknown", unread(self._start)))
        return out

    def gap(self, side: int, length: int) -> list[Message]:
        """`length` bytes are missing behind what is in the window."""
        self._gaps = True
        if self._parser is not None:
            return list(self._parser.gap(side, length))
        out = self.feed(side)
        if self._parser is not None:
            return out + list(self._parser.gap(side, length))
        self._tally.swallow(side)
        self.connection.directions[side].need = 1
        return out

    def _look(self, side: int, closed: bool) -> str:
        window = self.connection.directions[side]
        if not self._start:
            self._start = window.peek(16)
        if self._tally.sides[side] > PATIENCE:
            self._tally.swallow(side)
            return ""
        seams = window.seams()
        for at in seams:
            if window.position + at < self._looked[side]:
                continue
            found = recognise(window.peek(MAX_LINE, at))
            if found == "" and not closed:
                window.need = window.available + 1
                break
            if found:
                return found
            self._looked[side] = window.position + at + 1
        if closed or window.available > KEPT or len(seams) > KEPT_SEGMENTS:
            self._pass_over(side, window.available)
        else:
            window.need = window.available + 1
        return ""

    def _pass_over(self, side: int, n: int) -> None:
        window = self.connection.directions[side]
        if n:
            self._tally.first = min(self._tally.first or window.first, window.first)
            self._tally.sides[side] += window.skip(n)
            last = window.take(0, "")
            self._tally.last = max(self._tally.last, (last.last_frame, last.last_time))

    def _make(self, found: str) -> ProtocolParser:
        passed = self._tally.sides
        if found == "tls":
            return TlsProtocol(self.connection, self._tally)
        if found == "http":
            return HttpProtocol(self.connection, self.virtual, self._tunnel, (passed[0], passed[1]))
        early = [not direction.from_start or self._gaps for direction in self.connection.directions]
        return RpcProtocol(self.connection, self.virtual, (early[0], early[1]), (passed[0], passed[1]))

    def _tunnel(self, connection: Connection) -> ProtocolParser:
        return Detector(connection, self.virtual)


class Handler:
    """What reassemble() calls for every connection. Make one for each capture: it holds what connections share.

    (With RPC over HTTP the two directions of a conversation are two TCP connections.)
    """

    def __init__(self) -> None:
        self.virtual = VirtualConnections()

    def __call__(self, connection: Connection) -> Detector:
        return Detector(connection, self.virtual)


def handler(connection: Connection) -> Detector:
    """A parser for a connection by itself. Use Handler() for a whole capture."""
    return Handler()(connection)
