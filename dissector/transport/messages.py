"""What the transport layer hands up: HTTP exchanges, DCE/RPC calls, and connections that nothing here can read.

Plain values, without behaviour but a few look-ups. `connection` is the tcp.Connection that carried the message; with
RPC over HTTP, where a conversation has many, the one that carried the request (the response, where that is all there
is). Frames are 1-based capture frame numbers, times are seconds since 1970; both of the first and the last byte.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from dissector.node import Diagnostic
from dissector.source import ByteSource

if TYPE_CHECKING:
    from dissector.transport.tcp import Connection


@dataclass(slots=True, eq=False)
class HttpMessage:
    """A request or a response.

    kind: "request" or "response". start_line: the first line without its line end, as Latin-1 text. headers: (name,
    value) in order, names as they were written, values stripped. head: start line to blank line. body: de-chunked and
    content-decoded; pieces lead to frames. raw: head and body as framed on the wire. complete: False where the body
    ends before its framing says so (a gap, the end of the capture, a limit): then body holds the bytes before the hole.
    trailers: header lines behind the last chunk. interim: status lines of the 1xx responses that came before.
    """

    kind: str
    start_line: str
    headers: list[tuple[str, str]]
    head: ByteSource
    body: ByteSource
    raw: ByteSource
    first_frame: int
    first_time: float
    last_frame: int
    last_time: float
    diagnostics: list[Diagnostic] = field(default_factory=list)
    complete: bool = True
    trailers: list[tuple[str, str]] = field(default_factory=list)
    interim: list[str] = field(default_factory=list)
    _named: dict[str, str] | None = field(default=None, init=False, repr=False)

    @property
    def named(self) -> Mapping[str, str]:
        """The value of the first header of each name, by lower-case name. Made once: the headers stay what they are."""
        found = self._named
        if found is None:
            found = self._named = {}
            for name, value in self.headers:
                found.setdefault(name.lower(), value)
        return found

    def header(self, name: str) -> str | None:
        """The value of the first header of this name, whatever its case; None when there is none."""
        return self.named.get(name.lower())

    def header_list(self, name: str) -> Sequence[str]:
        """The values of all headers of this name, in order."""
        wanted = name.lower()
        named = self.named
        if wanted not in named:
            return ()
        if len(named) == len(self.headers):  # none is there twice
            return (named[wanted],)
        return [value for key, value in self.headers if key.lower() == wanted]

    @property
    def method(self) -> str:
        """A request's method, as written; '' for a response."""
        return self.start_line.split(" ", 1)[0] if self.kind == "request" else ""

    @property
    def target(self) -> str:
        """A request's target (path and query); '' for a response."""
        parts = self.start_line.split(" ")
        return parts[1] if self.kind == "request" and len(parts) > 1 else ""

    @property
    def status(self) -> int:
        """A response's status code; 0 for a request."""
        parts = self.start_line.split(" ", 2)
        return int(parts[1]) if self.kind == "response" and len(parts) > 1 and parts[1].isdigit() else 0


@dataclass(slots=True, eq=False)
class HttpExchange:
    """A request and its final response. One is None where the capture does not hold it."""

    connection: Connection
    request: HttpMessage | None
    response: HttpMessage | None


@dataclass(slots=True, eq=False)
class RpcMessage:
    """One side of a call, its fragments joined.

    stub: the parameters without PDU headers, padding and auth trailers; where sealed is True they are encrypted.
    pdus: the fragments as they stood on the wire. ptype: of the first fragment (0 request, 2 response, 3 fault).
    fault: the status of a fault, None otherwise. object: the object UUID of a request that has one.
    auth_type, auth_level: of the auth trailer, 0 where there is none. complete: False where fragments are missing.
    """

    stub: ByteSource
    pdus: list[ByteSource]
    first_frame: int
    first_time: float
    last_frame: int
    last_time: float
    ptype: int = 0
    sealed: bool = False
    fault: int | None = None
    object: uuid.UUID | None = None
    auth_type: int = 0
    auth_level: int = 0
    diagnostics: list[Diagnostic] = field(default_factory=list)
    complete: bool = True


@dataclass(slots=True, eq=False)
class RpcCall:
    """A request with its response or fault.

    transport: "rpc-tcp" or "rpc-http". opnum: None where the request was not captured. interface, version: what the
    bind or alter_context named for the presentation context, None where none was seen (interface_version is then 0);
    the version is major | minor << 16 as on the wire. transfer_syntax: what was agreed on (grammar.pdu.NDR or NDR64),
    None where it was not seen. accepted: False where the server refused that context. little_endian: the byte order of
    the stubs (of the request where there is one). cancelled, orphaned: the client sent such a PDU for the call.
    """

    connection: Connection
    transport: str
    call_id: int
    opnum: int | None
    interface: uuid.UUID | None
    interface_version: int
    context_id: int
    little_endian: bool
    request: RpcMessage | None
    response: RpcMessage | None
    transfer_syntax: uuid.UUID | None = None
    accepted: bool = True
    cancelled: bool = False
    orphaned: bool = False


@dataclass(slots=True, eq=False)
class RpcControl:
    """A PDU that belongs to no call: bind, alter_context and their answers, auth3, shutdown, RTS.

    side: 0 from the client, 1 from the server. name: of the PDU type ("bind", "rts"). pdu: the whole of it.
    """

    connection: Connection
    transport: str
    side: int
    name: str
    pdu: ByteSource
    first_frame: int
    first_time: float
    last_frame: int
    last_time: float
    diagnostics: list[Diagnostic] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Opaque:
    """A connection, or what is left of it, that nothing here reads. Told once, when it ends.

    kind: "tls" or "unknown". label: the TLS server name, or why it is not read. version: "TLS 1.3" and so on.
    bytes: how many in both directions; by_side: client to server, server to client.
    """

    connection: Connection
    kind: str
    label: str
    bytes: int
    first_frame: int
    first_time: float = 0.0
    last_frame: int = 0
    last_time: float = 0.0
    version: str = ""
    by_side: tuple[int, int] = (0, 0)
    diagnostics: list[Diagnostic] = field(default_factory=list)


Message: TypeAlias = HttpExchange | RpcCall | RpcControl | Opaque
