"""The HTTP face of the stub: MAPI over HTTP, whoever the client says it is [MS-OXCMAPIHTTP] 3.2.5."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dissector.grammar.base import GrammarError, build
from dissector.grammar.envelopes import MAILBOX
from dissector.grammar.reading import parse
from replay.errors import ReplayError
from replay.stub.answers import Refusal, Script, StubSession

PENDING_PERIOD = 15.0
COOKIE = "MapiContext"
MOST_BODY = 1 << 20
CONNECT_DEFAULTS = {"PollsMax": 60_000, "RetryCount": 6, "RetryDelay": 10_000, "DnPrefix": "", "DisplayName": ""}
UNKNOWN_FAILURE, INVALID_REQUEST_TYPE, CONTEXT_NOT_FOUND, INVALID_BODY, MISSING_COOKIE = 1, 5, 10, 12, 13
"""X-ResponseCode."""

FAILED_EXECUTE = 0x000004B6
"""ErrorCode of an Execute whose ROP buffer cannot be read (ecRpcFormat)."""


class Stub:
    """Answers clients from the sessions of a capture. Every Connect takes the next captured session.

    say: is told in words what could not be answered.
    """

    def __init__(self, scripts: Sequence[Script], say: Callable[[str], None] = lambda words: None) -> None:
        if not scripts:
            raise ReplayError("the capture holds no session with ROPs")
        self._scripts, self._say = scripts, say
        self._sessions: dict[str, StubSession] = {}
        self._lock = threading.Lock()
        self._connected = 0
        self.refused: list[Refusal] = []
        self.answered = self.silent = 0
        self.application = Starlette(routes=[Route("/{path:path}", self.answer, methods=["POST"])])

    async def answer(self, request: Request) -> Response:
        kind = request.headers.get("x-requesttype", "")
        body = await request.body()
        if kind == "PING":
            return self._respond(request, b"")
        if kind not in MAILBOX:
            return self._refuse(request, INVALID_REQUEST_TYPE, f"the stub has no answer to {kind or 'no request type'}")
        try:
            if len(body) > MOST_BODY:
                raise ValueError("the body is too long")
            fields, _ = parse(MAILBOX[kind].request, body)
        except (GrammarError, ValueError) as error:
            return self._refuse(request, INVALID_BODY, str(error))
        if kind == "Connect":
            return self._connect(request)
        cookie = request.cookies.get(COOKIE)
        if cookie is None:
            return self._refuse(request, MISSING_COOKIE, "the cookie of Connect is missing")
        session = self._sessions.get(cookie)
        if session is None:
            return self._refuse(request, CONTEXT_NOT_FOUND, "there is no such session")
        if kind == "Disconnect":
            self._sessions.pop(cookie, None)
            return self._respond(request, _body(kind))
        if kind == "NotificationWait":
            return self._wait(request, session)
        return self._respond(request, self._execute(session, fields))

    def _connect(self, request: Request) -> Response:
        with self._lock:
            script = self._scripts[self._connected % len(self._scripts)]
            self._connected += 1
            session = StubSession(script, self._connected)
            if self._connected > len(self._scripts):
                for entries in script.entries.values():
                    for entry in entries:
                        entry.given = 0
            cookie = secrets.token_urlsafe(18)
            self._sessions[cookie] = session
        told = {name: script.fields[name] for name in CONNECT_DEFAULTS if name in script.fields}
        response = self._respond(request, _body("Connect", **{**CONNECT_DEFAULTS, **told}))
        response.headers.append("Set-Cookie", f"{COOKIE}={cookie}; path=/; HttpOnly")
        return response

    def _execute(self, session: StubSession, fields: Any) -> bytes:
        with self._lock:
            known, answered, silent = len(session.refused), session.answered, session.silent
            try:
                buffer = session.execute(fields["RopBuffer"], fields["Flags"])
                made = _body("Execute", Flags=0, RopBuffer=buffer)
            except ValueError:
                made = _body("Execute", ErrorCode=FAILED_EXECUTE, Flags=0, RopBuffer=b"")
            self.answered += session.answered - answered
            self.silent += session.silent - silent
            for refusal in session.refused[known:]:
                self.refused.append(refusal)
                self._say(f"refused {refusal.rop} in session {refusal.session}: {refusal.why}")
        return made

    def _wait(self, request: Request, session: StubSession) -> Response:
        pending, seconds = session.wait()

        async def later() -> bytes:
            await asyncio.sleep(seconds)
            return _body("NotificationWait", EventPending=pending)

        return StreamingResponse(_stream(later()), 200, self._headers(request, 0), "application/mapi-http")

    def _respond(self, request: Request, body: bytes) -> Response:
        return Response(b"PROCESSING\r\nDONE\r\n\r\n" + body, 200, self._headers(request, 0), "application/mapi-http")

    def _refuse(self, request: Request, code: int, text: str) -> Response:
        self._say(f"refused a request: {text}")
        return Response(text + "\n", 200, self._headers(request, code), "text/html")

    def _headers(self, request: Request, code: int) -> dict[str, str]:
        headers = {"X-ResponseCode": str(code), "X-PendingPeriod": str(int(PENDING_PERIOD * 1000))}
        for name in ("X-RequestType", "X-RequestId", "X-ClientInfo"):
            if name.lower() in request.headers:
                headers[name] = request.headers[name]
        return headers


def _body(name: str, **fields: Any) -> bytes:
    return build(MAILBOX[name].response, {**fields, "AuxiliaryBuffer": b""})


async def _stream(answer: Awaitable[bytes]) -> AsyncIterator[bytes]:
    yield b"PROCESSING\r\n"
    task = asyncio.ensure_future(answer)
    while True:
        done, _ = await asyncio.wait({task}, timeout=PENDING_PERIOD)
        if done:
            break
        yield b"PENDING\r\n"
    yield b"DONE\r\n\r\n" + task.result()


def listener(host: str, port: int) -> socket.socket:
    """A bound socket. Raises ReplayError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen()
    except OSError as error:
        raise ReplayError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return made


def url_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _uvicorn(stub: Stub) -> uvicorn.Server:
    config = uvicorn.Config(
        stub.application, log_config=None, access_log=False, lifespan="off", http="h11", ws="none", server_header=False,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    return uvicorn.Server(config)


def serve_stub(stub: Stub, bound: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT. uvicorn raises the signal once more when it is done: the caller goes on."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        _uvicorn(stub).run(sockets=[bound])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class RunningStub:
    """A stub on 127.0.0.1 with a port of its own, in a thread. A context manager. base_url: where it is."""

    def __init__(self, scripts: Sequence[Script]) -> None:
        self.stub = Stub(scripts)
        self._bound = listener("127.0.0.1", 0)
        self.base_url = url_of(self._bound)
        self._server = _uvicorn(self.stub)
        self._thread = threading.Thread(target=lambda: self._server.run(sockets=[self._bound]), daemon=True)

    def __enter__(self) -> RunningStub:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._bound.close()
