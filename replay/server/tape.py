"""What clients and server say to each other, written down while they say it (`replay serve --record`).

A Tape stands around the ASGI application, outside of any fault: what it writes is what went over the wire, chunk by
chunk with its time, but for the credentials and the headers that uvicorn adds (Date). Nothing is held in memory but a
few numbers per connection. A request that HTTP itself refuses never gets here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from http.client import responses
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from replay.recording import Conversation, Endpoint, Recorder, framed_head

log = logging.getLogger("replay.server")

UNREAD = 2 * 1024 * 1024
"""Bytes of a request that the server did not want, which are read for the record at most."""

NOWHERE: Endpoint = ("", 0)


class Tape:
    """Writes the conversations of a server to a Recorder, which the caller closes after close()."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.failed: OSError | None = None
        self._talks: dict[Endpoint, Conversation] = {}

    def application(self, inner: ASGIApp) -> ASGIApp:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await inner(scope, receive, send)
                return
            exchange = _Exchange(self, scope, receive, send)
            exchange.begin()
            await inner(scope, exchange.receive, exchange.send)
            exchange.end()

        return application

    def protocol(self) -> type[H11Protocol]:
        """uvicorn's protocol, which tells when a connection ends."""
        tape = self

        class Protocol(H11Protocol):
            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                tape.ended(self.client)

        return Protocol

    def said(self, scope: Scope, side: int, data: bytes) -> None:
        """Write what one side (0: the client) said on a connection."""
        if not data or self.failed is not None:
            return
        client = scope.get("client") or NOWHERE
        try:
            talk = self._talks.get(client)
            if talk is None:
                talk = self._talks[client] = self.recorder.conversation(client, scope.get("server") or NOWHERE)
            (talk.server if side else talk.client)(data)
        except OSError as error:
            self._fail(error)

    def ended(self, client: Endpoint | None) -> None:
        """The connection of a client is closed."""
        talk = self._talks.pop(client or NOWHERE, None)
        if talk is None or self.failed is not None:
            return
        try:
            talk.close()
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """End every conversation."""
        for client in list(self._talks):
            self.ended(client)

    def _fail(self, error: OSError) -> None:
        """The server goes on without its record."""
        self.failed = error
        self._talks.clear()
        log.error("the record ends here: %s", error.strerror or error)


class _Exchange:
    """One request and its response on their way."""

    def __init__(self, tape: Tape, scope: Scope, receive: Receive, send: Send) -> None:
        self.tape, self.scope, self._receive, self._send = tape, scope, receive, send
        self.chunked = [False, False]
        self.read_whole = self.sent_whole = False

    def begin(self) -> None:
        scope = self.scope
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        self._head(0, f"{scope['method']} {target.decode('latin-1')} HTTP/{scope['http_version']}", scope["headers"])

    def _head(self, side: int, line: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        texts = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
        self.chunked[side] = any(name.lower() == "transfer-encoding" for name, _ in texts)
        if side and not self.chunked[side] and not any(name.lower() == "content-length" for name, _ in texts):
            self.chunked[side] = True
            texts.append(("Transfer-Encoding", "chunked"))
        self.tape.said(self.scope, side, framed_head(line, texts))

    def _body(self, side: int, data: bytes, last: bool) -> None:
        if self.chunked[side]:
            data = (f"{len(data):x}\r\n".encode() + data + b"\r\n" if data else b"") + (b"0\r\n\r\n" if last else b"")
        self.tape.said(self.scope, side, data)

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and not self.read_whole:
            self.read_whole = not message.get("more_body", False)
            self._body(0, message.get("body", b""), self.read_whole)
        return message

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            line = f"HTTP/1.1 {status} {responses.get(status, '')}".rstrip()
            self._head(1, line, message.get("headers", ()))
        elif message["type"] == "http.response.body":
            last = not message.get("more_body", False)
            if last:
                await self._read_rest()
            self._body(1, message.get("body", b""), last)
            self.sent_whole = last
        await self._send(message)

    async def _read_rest(self) -> None:
        """A request that was refused by its head has a body, too: without it the record could not be read on."""
        left = UNREAD
        while not self.read_whole and left > 0:
            message = await self.receive()
            if message["type"] != "http.request":
                return
            left -= len(message.get("body", b""))

    def end(self) -> None:
        """After an answer in part the connection is not used again."""
        if not (self.read_whole and self.sent_whole):
            self.tape.ended(self.scope.get("client"))
