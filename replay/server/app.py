"""The HTTP face of the server: MAPI/HTTP as an ASGI application [MS-OXCMAPIHTTP] 3.2.5.

A request is checked (verb, path, user, headers, cookies, one at a time per session), then answered in one chunked
response: PROCESSING at once, PENDING while it takes long, DONE with the body. What is wrong with a request itself is
told in X-ResponseCode with a short text, as [MS-OXCMAPIHTTP] 2.2.3.3.3 wants it; HTTP's own codes are for what never
reaches the protocol (wrong password, wrong path).

Nothing here logs a header or a body.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import html
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from dissector.grammar.base import GrammarError, build
from dissector.grammar.envelopes import MAILBOX
from dissector.grammar.reading import parse
from replay.server.answering import LateResponse
from replay.server.auxiliary import GREETING
from replay.server.directory import Directory
from replay.server.errors import ERROR, RopError
from replay.server.events import Event
from replay.server.execute import BrokenSessionError, CallError, execute
from replay.server.faults.base import Fault, Faulty
from replay.server.mailbox import ORGANISATION
from replay.server.responsecodes import (
    CONTEXT_COOKIE,
    CONTEXT_NOT_FOUND,
    INVALID_BODY,
    INVALID_HEADER,
    INVALID_PATH,
    INVALID_REQUEST_TYPE,
    INVALID_SEQUENCE,
    INVALID_VERB,
    MISSING_COOKIE,
    MISSING_HEADER,
    NO_PRIVILEGE,
    SEQUENCE_COOKIE,
    SHUTTING_DOWN,
    SUCCESS,
    TOO_LARGE,
)  # fmt: skip
from replay.server.rops import HANDLERS
from replay.server.session import Session

PATH = "/mapi/emsmdb/"
MEDIA_TYPE = "application/mapi-http"
SERVER_APPLICATION = "Exchange/15.00.0847.4040"

MAX_BODY = 1024 * 1024
"""Bytes of a request; [MS-OXCRPC] 3.1.4.2 allows a RopBuffer of 256 KiB."""

POLLS_MAX, RETRY_COUNT, RETRY_DELAY = 60_000, 6, 10_000
"""What Connect tells: milliseconds between polls, retries, milliseconds between them."""


class RefusedError(Exception):
    """The request is answered with this X-ResponseCode and a text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class Context:
    """A session and what HTTP knows of it: the cookie that names it, the next sequence cookie, when it was used."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.cookie = secrets.token_urlsafe(24)
        self.sequence = secrets.token_urlsafe(12)
        self.busy = False
        self.waiting = False
        self.used = time.monotonic()


class Server:
    """The sessions of one store and the ASGI application that serves them.

    pending_period, expiration, wait: seconds between PENDING tags, of idle life of a session, and that a
    NotificationWait takes at most. faults: what it is to do wrong.
    """

    def __init__(
        self,
        directory: Directory,
        password: str,
        pending_period: float = 15.0,
        expiration: float = 900.0,
        wait: float = 60.0,
        faults: Iterable[Fault] = (),
    ) -> None:
        self.directory, self.store = directory, directory.store
        self._credentials = {user: f"{user}:{password}".encode() for user in directory.users}
        self.pending_period, self.expiration, self.wait = pending_period, expiration, wait
        self.contexts: dict[str, Context] = {}
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self.store.committed = self._committed
        faulty = Faulty(faults)
        self.handlers = faulty.handlers(HANDLERS)
        self.application: ASGIApp = faulty.application(self, self._application)
        self._threads = ThreadPoolExecutor(8, "replay-server")

    # What every request goes through.

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        """There is one path: Starlette's requests and responses, without its routes."""
        response = await self.answer(Request(scope, receive))
        await response(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except RefusedError as refused:
            return self._refuse(request, refused)
        except ClientDisconnect:
            return Response(status_code=400)

    async def _answer(self, request: Request) -> Response:
        user = self._authenticated(request.headers.get("authorization", ""))
        if user is None:
            return Response(
                "401 Unauthorized\n",
                401,
                {"WWW-Authenticate": 'Basic realm="replay", charset="UTF-8"'},
                "text/plain",
            )
        if request.url.path.rstrip("/").casefold() != PATH.rstrip("/"):
            return Response("404 Not Found\n", 404, {"X-ResponseCode": str(INVALID_PATH)}, "text/plain")
        if request.method != "POST":
            raise RefusedError(INVALID_VERB, "requests are POSTs")
        if self.closing.is_set():
            raise RefusedError(SHUTTING_DOWN, "the server is shutting down")
        headers = request.headers
        kind = headers.get("x-requesttype", "")
        for name in ("X-RequestType", "X-RequestId", "X-ClientInfo"):
            if not headers.get(name):
                raise RefusedError(MISSING_HEADER, f"the {name} header is missing")
        body = await self._body(request)
        self._expire()
        if kind == "PING":
            self._stay(request, user)
            return self._respond(request, None, _ready(b""))
        if kind not in MAILBOX:
            raise RefusedError(INVALID_REQUEST_TYPE, "X-RequestType names no request of this endpoint")
        if headers.get("content-type", "").partition(";")[0].strip().casefold() != MEDIA_TYPE:
            raise RefusedError(INVALID_HEADER, f"Content-Type must be {MEDIA_TYPE}")
        try:
            fields, end = parse(MAILBOX[kind].request, body)
        except GrammarError as error:
            raise RefusedError(INVALID_BODY, f"the body cannot be read at byte {error.offset}") from error
        if end != len(body):
            raise RefusedError(INVALID_BODY, f"{len(body) - end} bytes are left over behind the body")
        if kind == "Connect":
            context, answer = await self._in_thread(self._connect, fields, user)
            return self._respond(request, context, _ready(answer))
        context = self._context(request, user, alone=kind != "NotificationWait")
        if kind == "NotificationWait":
            return self._respond(request, context, self._notification_wait(context))
        work = self._execute if kind == "Execute" else self._disconnect
        return self._respond(request, context, self._in_thread(self._guarded, context, kind, work, fields))

    def _authenticated(self, header: str) -> str | None:
        """The user of Basic credentials, compared in constant time; None where they are no user's."""
        scheme, _, encoded = header.partition(" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True) if scheme.casefold() == "basic" else b""
        except ValueError:
            given = b""
        found = None
        for user, credentials in self._credentials.items():
            if hmac.compare_digest(given, credentials):
                found = user
        return found

    async def _body(self, request: Request) -> bytes:
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length) > MAX_BODY:
            raise RefusedError(TOO_LARGE, f"a body has at most {MAX_BODY} bytes")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise RefusedError(TOO_LARGE, f"a body has at most {MAX_BODY} bytes")
        return bytes(body)

    def _context(self, request: Request, user: str, alone: bool) -> Context:
        """The user's session that the cookies name.

        alone: no other request of it may be under way; the sequence moves on.
        """
        cookie, sequence = request.cookies.get(CONTEXT_COOKIE), request.cookies.get(SEQUENCE_COOKIE)
        if not cookie or not sequence:
            raise RefusedError(MISSING_COOKIE, "the cookies of Connect are missing")
        with self._lock:
            context = self.contexts.get(cookie)
            if context is None:
                raise RefusedError(CONTEXT_NOT_FOUND, "there is no such session context")
            if context.session.user != user:
                raise RefusedError(NO_PRIVILEGE, "the session context is another user's")
            context.used = time.monotonic()
            if not alone:
                if context.waiting:
                    raise RefusedError(INVALID_SEQUENCE, "another NotificationWait of this session is under way")
                context.waiting = True
                return context
            if context.busy or not hmac.compare_digest(sequence, context.sequence):
                raise RefusedError(INVALID_SEQUENCE, "one request at a time, with the last sequence cookie")
            context.busy = True
            context.sequence = secrets.token_urlsafe(12)
        return context

    def _stay(self, request: Request, user: str) -> None:
        """A PING with the cookies of a session keeps it."""
        with self._lock:
            context = self.contexts.get(request.cookies.get(CONTEXT_COOKIE, ""))
            if context is not None and context.session.user == user:
                context.used = time.monotonic()

    def _expire(self) -> None:
        """Forget sessions that nobody has used for long."""
        limit = time.monotonic() - self.expiration
        with self._lock:
            old = [one for one in self.contexts.values() if one.used < limit and not one.busy and not one.waiting]
            for context in old:
                del self.contexts[context.cookie]
        for context in old:
            self._close(context)

    def _close(self, context: Context) -> None:
        with self.store.transaction():
            context.session.close()

    def forget(self, cookie: str) -> None:
        """End a session that may be in use, as a restart of the server would."""
        with self._lock:
            context = self.contexts.pop(cookie, None)
        if context is not None:
            context.session.woken.set()
            self._close(context)

    def rename(self, cookie: str) -> str | None:
        """Another cookie for a session; None where there is none of this name."""
        with self._lock:
            context = self.contexts.pop(cookie, None)
            if context is None:
                return None
            context.cookie = secrets.token_urlsafe(24)
            self.contexts[context.cookie] = context
            return context.cookie

    def shut_down(self) -> None:
        """No new requests; those that wait for events end. Open streams are committed."""
        self.closing.set()
        with self._lock:
            contexts, self.contexts = list(self.contexts.values()), {}
        for context in contexts:
            context.session.woken.set()
            if not context.busy:
                self._close(context)

    # Responses.

    def _headers(self, request: Request, code: int) -> dict[str, str]:
        headers = {
            "Cache-Control": "private",
            "X-RequestType": request.headers.get("x-requesttype", ""),
            "X-ResponseCode": str(code),
            "X-PendingPeriod": str(int(self.pending_period * 1000)),
            "X-ExpirationInfo": str(int(self.expiration * 1000)),
            "X-ServerApplication": SERVER_APPLICATION,
        }
        for name in ("X-RequestId", "X-ClientInfo"):
            if name.casefold() in request.headers:
                headers[name] = request.headers[name]
        return headers

    def _refuse(self, request: Request, refused: RefusedError) -> Response:
        text = f"<html><body><h1>X-ResponseCode {refused.code}</h1><p>{html.escape(refused.text)}</p></body></html>\n"
        return Response(text, 200, self._headers(request, refused.code), "text/html")

    def _respond(self, request: Request, context: Context | None, answer: Awaitable[bytes]) -> Response:
        """A streaming response whose body comes later; the cookies are those of the context."""
        headers = self._headers(request, SUCCESS)
        waits = headers["X-RequestType"] == "NotificationWait"
        response = LateResponse(answer, headers, MEDIA_TYPE, self.pending_period, abandon=waits)
        if context is not None:
            for name, value in ((CONTEXT_COOKIE, context.cookie), (SEQUENCE_COOKIE, context.sequence)):
                response.headers.append("Set-Cookie", f"{name}={value}; path={PATH}; HttpOnly")
        return response

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    # The request types.

    def _connect(self, fields: Any, user: str) -> tuple[Context | None, bytes]:
        name = fields["UserDn"]
        try:
            with self.store.transaction():
                mailbox = self.directory.mailbox(name if isinstance(name, str) else "?", user)
        except RopError as error:
            answer = {
                "ErrorCode": error.code, "PollsMax": 0, "RetryCount": 0, "RetryDelay": 0, "DnPrefix": "",
                "DisplayName": "", "AuxiliaryBuffer": b"",
            }  # fmt: skip
            return None, build(MAILBOX["Connect"].response, answer)
        context = Context(Session(self.directory, user, fields["DefaultCodePage"], fields["LcidString"]))
        with self._lock:
            self.contexts[context.cookie] = context
        answer = {
            "PollsMax": POLLS_MAX, "RetryCount": RETRY_COUNT, "RetryDelay": RETRY_DELAY, "DnPrefix": ORGANISATION,
            "DisplayName": mailbox.display, "AuxiliaryBuffer": GREETING,
        }  # fmt: skip
        return context, build(MAILBOX["Connect"].response, answer)

    def _guarded(
        self, context: Context, kind: str, work: Callable[[Context, Any], dict[str, Any]], fields: Any
    ) -> bytes:
        """Run a request of a session; a fault of ours ends the session and is told by StatusCode."""
        try:
            return build(MAILBOX[kind].response, {**work(context, fields), "AuxiliaryBuffer": b""})
        except BrokenSessionError:
            with self._lock:
                self.contexts.pop(context.cookie, None)
            return build(MAILBOX[kind].failure, {"StatusCode": ERROR, "AuxiliaryBuffer": b""})
        finally:
            context.used = time.monotonic()
            context.busy = False

    def _execute(self, context: Context, fields: Any) -> dict[str, Any]:
        try:
            buffer = execute(
                context.session, fields["RopBuffer"], fields["Flags"], fields["MaxRopOut"], self.handlers
            )  # fmt: skip
        except CallError as error:
            return {"ErrorCode": error.code, "Flags": 0, "RopBuffer": b""}
        return {"Flags": 0, "RopBuffer": buffer}

    def _disconnect(self, context: Context, fields: Any) -> dict[str, Any]:
        with self._lock:
            self.contexts.pop(context.cookie, None)
        context.session.woken.set()
        self._close(context)
        return {}

    async def _notification_wait(self, context: Context) -> bytes:
        """Ends when something happened to what the session subscribed to, or when the time is up."""
        try:
            until = time.monotonic() + self.wait
            woken = context.session.woken
            while not woken.is_set() and not self.closing.is_set() and time.monotonic() < until:
                await asyncio.sleep(0.05)
            context.used = time.monotonic()
            pending = int(context.session.has_news())
        finally:
            context.waiting = False
        return build(MAILBOX["NotificationWait"].response, {"EventPending": pending, "AuxiliaryBuffer": b""})

    def _committed(self, happened: list[Event], told: Session | None) -> None:
        """Called under the store's lock when a transaction is done. told: the session that knows already."""
        with self._lock:
            sessions = [context.session for context in self.contexts.values() if context.session is not told]
        for session in sessions:
            for event in happened:
                session.tell(event)

    def close(self) -> None:
        self.shut_down()
        self._threads.shutdown(wait=True)


async def _ready(answer: bytes) -> bytes:
    return answer
