"""HTTP/1.1 over the two directions of a connection: requests, responses, and which answers which.

Each direction is a small machine: LOST (looking for a start line where a segment begins), IDLE (a start line comes
next), BODY (framing is known and scanned; nothing is copied until the message is whole), STREAM (the body is DCE/RPC
PDUs without end, handed on as they come), TUNNEL (not HTTP any more). A body of which bytes are missing is cut at the
hole and marked; where the hole lies within a known length, the next message is still found exactly.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from dissector.node import Diagnostic, Severity
from dissector.source import ByteSource, joined
from dissector.transport.coding import decode_content
from dissector.transport.head import MAX_LINE, Phase, content_codings, framing, parse_head, start_line
from dissector.transport.messages import HttpMessage, Message, Opaque
from dissector.transport.pairing import Entry, Pairing
from dissector.transport.rpc import RpcChannel, VirtualConnections
from dissector.transport.window import Buffer, Piece, ProtocolParser

if TYPE_CHECKING:
    from dissector.transport.tcp import Connection

MAX_HEAD = 256 << 10
"""Bytes of start line and headers, or of trailers."""
MAX_MESSAGE = 64 << 20
"""Bytes of a message that are kept; what comes behind them is skipped, with a diagnostic."""
MAX_INTERIM = 100
"""Status lines of 1xx responses that are kept for the final one."""
MAX_CHUNKS = 100_000
"""Chunks of a message that are kept, each a piece of the body; the message is cut behind them, too."""
SKIP = 1 << 20
"""How much of an oversized message is skipped at a time."""

_HEAD = 2048
"""Nearly every head is shorter."""
_BLANK = re.compile(rb"\n\r?\n")
_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?")
_ECHO = 20
"""An RPC over HTTP body of up to so many bytes is none of PDUs that go on: an echo, or a step of authentication."""


class _State(Enum):
    LOST = 0
    IDLE = 1
    BODY = 2
    STREAM = 3
    TUNNEL = 4


class _BrokenError(Exception):
    """The framing cannot be followed any further."""


_NOTHING = ByteSource("", b"")
_NO_MESSAGE = HttpMessage("", "", [], _NOTHING, _NOTHING, _NOTHING, 0, 0.0, 0, 0.0)

# Members of an Enum are looked up slowly, and these very often.
_LOST, _IDLE, _BODY, _STREAM = _State.LOST, _State.IDLE, _State.BODY, _State.STREAM
_LENGTH, _CLOSE, _CHUNK_SIZE, _CHUNK_DATA = Phase.LENGTH, Phase.CLOSE, Phase.CHUNK_SIZE, Phase.CHUNK_DATA
_CHUNK_END, _TRAILERS = Phase.CHUNK_END, Phase.TRAILERS


class _Half:
    """One direction: finds messages and takes them out of the window."""

    def __init__(self, protocol: HttpProtocol, side: int) -> None:
        self.protocol, self.side = protocol, side
        self.window = protocol.connection.directions[side]
        self.state = _LOST
        self.skipped = 0  # bytes that no message has
        self.skipped_first: tuple[int, float] = (0, 0.0)
        self.why: list[Diagnostic] = []  # for the next message: what is wrong in front of it
        if not (self.window.from_start and self.window.position == 0):
            self.why.append(Diagnostic(Severity.NO_CONTEXT, "the capture begins inside the message before this one"))
        self._scanned = 0
        self._reset()

    def _reset(self) -> None:
        self.message = _NO_MESSAGE
        self.entry: Entry | None = None
        self.buffer: Buffer | None = None
        self.phase = _LENGTH
        self.pos = 0  # window position up to which the message is scanned
        self.left = 0  # bytes to come of the body or of the chunk
        self.base = 0  # bytes of the message that were taken or skipped
        self.head_size = 0
        self.trailer_size = 0
        self.cut = False  # the body ends here, though the message goes on
        self.full = False  # so much was kept that the rest is skipped
        self.kept: list[Piece] = []
        self.ranges: list[tuple[int, int]] = []  # where the body is in the message

    def run(self, closed: bool, out: list[Message]) -> None:
        """Do all that can be done with what is in the window."""
        more = True
        while more:
            if self.state is _BODY:
                more = self._body(closed, out)
            elif self.state is _IDLE:
                more = self.window.available > 0 and self._idle(closed, out)
            elif self.state is _LOST:
                more = self._lost(closed)
            elif self.state is _STREAM:
                more = self._stream(closed, out)
            else:
                more = False

    # --- where messages begin ---

    def _lost(self, closed: bool) -> bool:
        window = self.window
        for at in window.seams():
            found = start_line(window.peek(MAX_LINE, at))
            if found == "" and not closed:
                self._pass_over(at)
                window.need = window.available + 1
                return False
            if found:
                self._pass_over(at)
                self.state = _IDLE
                return True
        self._pass_over(window.available)
        return False

    def _pass_over(self, n: int) -> None:
        if n:
            if not self.skipped:
                self.skipped_first = self.window.first
            self.skipped += self.window.skip(n)

    def _idle(self, closed: bool, out: list[Message]) -> bool:
        window = self.window
        data = window.peek(_HEAD)
        if data[0] in b"\r\n":
            window.skip(len(data) - len(data.lstrip(b"\r\n")))
            return True
        if not self._scanned:
            found = start_line(data if b"\n" in data else window.peek(MAX_LINE))
            if found is None or (found == "" and closed):
                self._lose()
                self.why.append(
                    Diagnostic(Severity.MALFORMED, "bytes that begin no message stand in front of this one")
                )
                seams = window.seams()
                self._pass_over(seams[1] if len(seams) > 1 else window.available)
                return True
            if found == "":
                window.need = window.available + 1
                return False
        blank = _BLANK.search(data)
        if blank is None and window.available > len(data):
            data = window.peek(MAX_HEAD)
            blank = _BLANK.search(data, max(0, self._scanned - 3))
        if blank is not None:
            self._scanned = 0
            self._begin(data[: blank.end()], out)
            return True
        if closed or len(data) >= MAX_HEAD:
            self._cut_head(data, "the headers break off" if closed else "the headers are too long", out)
            return True
        self._scanned = len(data)
        window.need = window.available + 1
        return False

    def _cut_head(self, data: bytes, why: str, out: list[Message]) -> None:
        """A message of which not even the headers are whole."""
        self._scanned = 0
        self._start(data)
        if self.message.kind == "request":
            self.entry = self.protocol.pairing.entered(self.message, out)
        self._finish(out, why)
        self._lose()

    def _lose(self, why: str = "") -> None:
        """Go looking for the next message; some may be missing."""
        self.state = _LOST
        self.protocol.pairing.doubt()
        if why:
            self.why.append(Diagnostic(Severity.NO_CONTEXT, why))

    def _start(self, head: bytes) -> None:
        """Make the message that the headers open; its sources come when it is whole."""
        self._reset()
        line, headers, notes = parse_head(head)
        kind = "response" if head.startswith(b"HTTP/") else "request"
        frame, time = self.window.first
        self.message = HttpMessage(
            kind, line, headers, _NOTHING, _NOTHING, _NOTHING, frame, time, frame, time, self.why + notes
        )
        if self.skipped:
            text = f"{self.skipped} bytes in front of this message were passed over"
            self.message.diagnostics.append(Diagnostic(Severity.NO_CONTEXT, text))
        elif self.why and self.why[0].message.startswith("the capture begins"):
            self.message.diagnostics.pop(0)  # it begins in step
        self.why, self.skipped = [], 0
        self.head_size = self.pos = len(head)

    def _begin(self, head: bytes, out: list[Message]) -> None:
        """The headers are there: find out how the body is framed."""
        self._start(head)
        message, pairing = self.message, self.protocol.pairing
        self.state = _BODY
        if message.kind == "request":
            self.entry = pairing.entered(message, out)
            streams = message.method.upper() in ("RPC_IN_DATA", "RPC_OUT_DATA")
            self.phase, self.left = framing(message, "")
        elif 100 <= (status := message.status) < 200 and status != 101:
            pairing.interim.append(message.start_line)
            del pairing.interim[:-MAX_INTERIM]
            self.why = message.diagnostics
            self.window.skip(self.pos)
            self.state = _IDLE
            return
        else:
            streams = message.named.get("content-type", "").lower() == "application/rpc" and status == 200
            self.phase, self.left = framing(message, pairing.method_answered(message, out))
        if streams and (self.left > _ECHO or self.phase is not _LENGTH):
            self._keep()
            self.state = _STREAM
            self.buffer = Buffer() if self.phase is _CHUNK_SIZE else None

    # --- bodies ---

    def _body(self, closed: bool, out: list[Message]) -> bool:
        try:
            whole = self._advance()
        except _BrokenError as error:
            self._finish(out, str(error))
            self._lose("the message before this one cannot be followed to its end")
            return True
        if whole or (closed and self.phase is _CLOSE):
            self._finish(out)
            return True
        if closed:
            self._finish(out, "the body breaks off: no more of it was captured")
            self._lose()
        else:
            self._keep_small()
        return False

    def _advance(self) -> bool:
        """Scan the framing as far as the window goes. Returns whether the message ends at pos; else sets need."""
        window = self.window
        available = window.available
        while True:
            phase = self.phase
            if phase is _CHUNK_DATA or phase is _LENGTH:
                step = available - self.pos
                if step > self.left:
                    step = self.left
                self._add(step)
                self.left -= step
                if not self.left and phase is _CHUNK_DATA and self._next_chunk():
                    continue
                if self.left:
                    # Behind a chunk comes at least CRLF and the last chunk, 7 bytes.
                    self._want(self.pos + self.left + (7 if phase is _CHUNK_DATA else 0))
                    return False
                if phase is _LENGTH:
                    return True
                self.phase = _CHUNK_END
            elif phase is _CLOSE:
                self._add(available - self.pos)
                self._want(self.pos + (64 << 10))
                return False
            elif phase is _CHUNK_END:
                end = window.peek(2, self.pos)
                if end != b"\r\n" and end[:1] != b"\n":
                    if end not in (b"", b"\r"):
                        raise _BrokenError("a chunk is longer than its size says")
                    self._want(self.pos + 2)
                    return False
                self.pos += 1 + (end == b"\r\n")
                self.phase = _CHUNK_SIZE
            elif phase is _CHUNK_SIZE:
                line = self._line()
                if line is None:
                    return False
                match = _CHUNK.fullmatch(line)
                if match is None:
                    raise _BrokenError(f"not the size of a chunk: {line[:40]!r}")
                self.left = int(match[1], 16)
                self.phase = _CHUNK_DATA if self.left else _TRAILERS
            else:
                line = self._line()
                if line is None:
                    return False
                if line in (b"", b"\r"):
                    return True
                self.trailer_size += len(line)
                if self.trailer_size > MAX_HEAD:
                    raise _BrokenError("the trailers are too long")
                name, _, value = line.decode("latin-1").partition(":")
                self.message.trailers.append((name.strip(), value.strip()))

    def _next_chunk(self) -> bool:
        """The short way over the end of a chunk and a plain size line, where both are there; False changes nothing."""
        look = self.window.peek(16, self.pos)
        end = look.find(b"\r\n", 2)
        if end < 3 or look[:2] != b"\r\n":
            return False
        digits = look[2:end]
        if not digits.isalnum():
            return False
        try:
            self.left = int(digits, 16)
        except ValueError:
            return False
        self.pos += end + 2
        if not self.left:
            self.phase = _TRAILERS
        return True

    def _line(self) -> bytes | None:
        """The line at pos without its line feed, passed over; None where it is not whole yet."""
        window = self.window
        for size in (128, MAX_LINE):
            line = window.peek(size, self.pos)
            end = line.find(b"\n")
            if end >= 0:
                self.pos += end + 1
                return line[:end]
            if len(line) < size:
                self._want(window.available + 1)
                return None
        raise _BrokenError("a line of the chunked body is too long")

    def _add(self, n: int) -> None:
        """The next n bytes at pos belong to the body."""
        if n and not self.cut:
            start, ranges = self.base + self.pos, self.ranges
            before, size = ranges[-1] if ranges else (0, 0)
            if size and before + size == start:
                ranges[-1] = before, size + n
            elif len(ranges) == MAX_CHUNKS:
                self._note(f"the body has more than {MAX_CHUNKS} chunks; it is cut there")
                self.cut = True
            else:
                ranges.append((start, n))
        self.pos += n

    def _want(self, n: int) -> None:
        """Wait for n bytes in the window, or for as many as may be kept there."""
        room = SKIP if self.full else max(MAX_MESSAGE - self.base, 1)
        self.window.need = max(min(n, room), self.window.available + 1)

    def _keep_small(self) -> None:
        """Take what was scanned out of the window where the message has grown too big to wait for its end."""
        if not (self.pos if self.full else self.base + self.pos >= MAX_MESSAGE):
            return
        need = self.window.need - self.pos
        self._keep()
        if not self.full:
            self.full = self.cut = True
            self._note(f"the message is longer than {MAX_MESSAGE} bytes; the rest of it is left out")
        self.window.need = max(min(need, SKIP), 1)

    def _keep(self) -> None:
        """Take the scanned bytes out of the window."""
        if self.full:
            self.window.skip(self.pos)
        elif self.pos:
            self.kept.append(self.window.take(self.pos, f"HTTP {self.message.kind}"))
        self.base += self.pos
        self.pos = 0

    def _note(self, text: str) -> None:
        self.message.diagnostics.append(Diagnostic(Severity.MALFORMED, text))
        self.message.complete = False

    def _finish(self, out: list[Message], broken: str = "") -> None:
        """The message ends at pos."""
        message, entry, protocol = self.message, self.entry, self.protocol
        self._keep()
        if broken:
            self._note(broken)
        label = f"HTTP {message.kind}"
        if len(self.kept) == 1:
            raw = self.kept[0].source
        else:
            raw = joined(label, [(piece.source, 0, len(piece.source)) for piece in self.kept])
        if len(self.ranges) == 1:
            body = raw.derive(f"{label} body", *self.ranges[0])
        else:
            body = joined(f"{label} body", [(raw, start, size) for start, size in self.ranges])
        message.raw, message.head, message.body = raw, raw.derive(f"{label} head", 0, self.head_size), body
        if codings := content_codings(message):
            message.body, notes = decode_content(codings, body)
            message.diagnostics += notes
        # In other states, and behind skipped bytes, the last byte was not kept here.
        last = self.kept[-1] if self.state is _BODY and not self.full else self.window.take(0, "")
        message.last_frame, message.last_time = last.last_frame, last.last_time
        self._reset()
        self.state = _IDLE
        if entry is not None:
            protocol.pairing.sent(entry, message, out)
        elif protocol.pairing.answered(message, out):
            protocol.open_tunnel()

    # --- bodies of RPC over HTTP ---

    def _stream(self, closed: bool, out: list[Message]) -> bool:
        """Hand PDUs on as they come. Their bytes are not kept in the message."""
        channel, window = self.protocol.channel, self.window
        whole = closed
        if self.buffer is None:
            limit = self.left if self.phase is _LENGTH else None
            out += channel.feed(self.side, window, limit)
            if limit is not None:
                self.left -= channel.splitters[self.side].consumed
                window.need = min(window.need, self.left)
                whole = whole or self.left <= window.available
        else:
            whole = self._unwrap(self.buffer) or whole
            if self.buffer.available >= self.buffer.need:
                out += channel.feed(self.side, self.buffer)
        if not whole:
            return False
        if self.buffer is None:
            out += channel.gap(self.side, window, self.left if self.phase is _LENGTH else None)
        else:
            out += channel.gap(self.side, self.buffer)
        self._finish(out)
        return True

    def _unwrap(self, buffer: Buffer) -> bool:
        """Move what is there of a chunked body into buffer. Returns whether it ends."""
        window = self.window
        try:
            whole = self._advance()
        except _BrokenError as error:
            self._note(str(error))
            whole = True
        need = window.need - self.pos
        if self.pos:
            piece = window.take(self.pos, "chunks")
            for start, length in self.ranges:
                buffer.append(piece, start - self.base, length)
            self.base += self.pos
            self.pos = 0
            self.ranges.clear()
        window.need = 1 if self.phase is _CHUNK_DATA else max(need, 1)
        return whole

    # --- holes ---

    def gap(self, length: int, out: list[Message]) -> None:
        """`length` bytes are missing behind the window, of which run() has read what it could."""
        window = self.window
        text = f"{length} bytes are missing in front of this message"
        if self.state is _BODY:
            self._gap_in_body(length, out)
        elif self.state is _STREAM:
            self._gap_in_stream(length, out)
        elif self.state is _IDLE:
            data = window.peek(MAX_HEAD)
            if start_line(data):
                self._cut_head(data, f"{length} bytes are missing in the headers", out)
            self._pass_over(window.available)
            self._scanned = 0
            self._lose(text)
        elif self.state is _LOST:
            self._pass_over(window.available)
            if len(self.why) < 10:
                self._lose(text)

    def _gap_in_body(self, length: int, out: list[Message]) -> None:
        at = sum(size for _, size in self.ranges)
        known = self.phase in (_LENGTH, _CHUNK_DATA) and self.left >= length
        self.pos = max(self.pos, self.window.available)
        self._keep()
        text = f"{length} bytes are missing behind byte {at} of the body"
        if not known and self.phase is not _CLOSE:
            self._finish(out, text)
            self._lose("bytes are missing in front of this message")
            return
        if not self.cut:
            self._note(text + "; it is cut there")
        self.cut = True
        self.left -= length if known else 0
        if self.phase is _LENGTH and not self.left:
            self._finish(out)

    def _gap_in_stream(self, length: int, out: list[Message]) -> None:
        channel, window = self.protocol.channel, self.window
        if self.buffer is None:
            limited = self.phase is _LENGTH
            out += channel.gap(self.side, window, self.left if limited else None, length)
            self.left -= channel.splitters[self.side].consumed + length
            if self.left > 0 or not limited:
                return
        else:
            self._pass_over(window.available)
            inside = self.phase is _CHUNK_DATA and self.left >= length
            out += channel.gap(self.side, self.buffer, None, length if inside else 1 << 30)
            if inside:
                self.left -= length
                return
        self._finish(out, f"{length} bytes are missing in the stream of PDUs")
        self._lose("bytes are missing in front of this message")

    def abandon(self, out: list[Message]) -> None:
        """Tell of bytes that no message has, at the end."""
        if not self.skipped:
            return
        (frame, time), last = self.skipped_first, self.window.take(0, "")
        sides = (self.skipped, 0) if self.side == 0 else (0, self.skipped)
        what = "part of an HTTP message without its beginning"
        out.append(
            Opaque(
                self.protocol.connection, "unknown", what, self.skipped, frame, time, last.last_frame, last.last_time,
                by_side=sides,
            )
        )  # fmt: skip
        self.skipped = 0


class HttpProtocol:
    """HTTP/1.x on a TCP connection.

    virtual: the virtual connections of RPC over HTTP in this capture. tunnel: makes the parser of what follows a
    CONNECT or an upgrade. passed: bytes of both sides that went by before HTTP was recognised.
    """

    def __init__(
        self,
        connection: Connection,
        virtual: VirtualConnections,
        tunnel: Callable[[Connection], ProtocolParser],
        passed: tuple[int, int] = (0, 0),
    ) -> None:
        self.connection = connection
        self.channel = RpcChannel(connection, virtual, "http")
        self.pairing = Pairing(connection, all(direction.from_start for direction in connection.directions))
        self._make_tunnel = tunnel
        self._tunnel: ProtocolParser | None = None
        self._halves = _Half(self, 0), _Half(self, 1)
        for half, count in zip(self._halves, passed, strict=True):
            half.skipped, half.skipped_first = count, half.window.first
        self._ended = False

    def feed(self, side: int, closed: bool = False) -> list[Message]:
        """Read what is there in one direction. closed: no more will come of it."""
        out: list[Message] = []
        if self._tunnel is None:
            self._halves[side].run(closed, out)
            if closed:
                self._halves[side].abandon(out)
            if self._tunnel is not None and self.connection.directions[1 - side].available:
                out += self._tunnel.feed(1 - side)
        if self._tunnel is not None:
            out += self._tunnel.feed(side, closed)
        if self.connection.closed and not self._ended:
            self._ended = True
            self.pairing.finish(out)
            out += self.channel.close()
        return out

    def gap(self, side: int, length: int) -> list[Message]:
        """`length` bytes are missing behind what is in the window."""
        out = self.feed(side)
        if self._tunnel is None:
            self._halves[side].gap(length, out)
        else:
            out += self._tunnel.gap(side, length)
        return out

    def open_tunnel(self) -> None:
        """What follows is not HTTP."""
        for half in self._halves:
            half.state = _State.TUNNEL
        self._tunnel = self._make_tunnel(self.connection)
