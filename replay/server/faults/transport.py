"""Faults of HTTP: sessions that are lost, answers that come late, in part or not at all.

They stand around the ASGI application and harm Execute requests only, so that a client gets as far as a mailbox.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from replay.server.answering import PENDING, done_at
from replay.server.faults.base import Fault, fault, number, seconds
from replay.server.responsecodes import CONTEXT_COOKIE, CONTEXT_NOT_FOUND

if TYPE_CHECKING:
    from replay.server.app import Server

TICK = 0.05
"""Seconds between looks at whether the server or the client has ended."""


class _OfExecute(Fault, ABC):
    chance = "Execute request"

    def application(self, server: Server, inner: ASGIApp) -> ASGIApp:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if Headers(scope=scope).get("x-requesttype") == "Execute" and self.happens():
                await self.damage(server, inner, scope, receive, send)
            else:
                await inner(scope, receive, send)

        return application

    @abstractmethod
    async def damage(self, server: Server, inner: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None: ...


def context_cookie(scope: Scope) -> str:
    """The cookie that names the session; '' where there is none."""
    try:
        found = SimpleCookie(Headers(scope=scope).get("cookie", "")).get(CONTEXT_COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


@fault
class SessionLoss(_OfExecute):
    name = "session-loss"
    about = "The server has forgotten the session: X-ResponseCode 10 (context not found), or another one."
    argument = "X-RESPONSECODE (10)"
    rule = "response-code"

    def set(self, argument: str) -> None:
        self.code = number(argument, 1) if argument else CONTEXT_NOT_FOUND

    async def damage(self, server: Server, inner: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        server.forget(context_cookie(scope))

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-ResponseCode"] = str(self.code)
            await send(message)

        await inner(scope, receive, told)


@fault
class CookieChange(_OfExecute):
    name = "cookie-change"
    about = "The answer names the session by another cookie; the one before is not known any more."
    rule = "response-code (a client that does not take the new cookie)"

    async def damage(self, server: Server, inner: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope, receive, _renaming(server, context_cookie(scope), send))


def _renaming(server: Server, before: str, send: Send) -> Send:
    async def told(message: Message) -> None:
        after = server.rename(before) if message["type"] == "http.response.start" else None
        if after is not None:
            message["headers"] = [
                (name, value.replace(f"{CONTEXT_COOKIE}={before}".encode(), f"{CONTEXT_COOKIE}={after}".encode()))
                for name, value in message["headers"]
            ]
        await send(message)

    return told


@fault
class HttpError(_OfExecute):
    name = "http-error"
    about = "A front end answers in place of the server."
    argument = "STATUS (503)"
    rule = "http-status"

    def set(self, argument: str) -> None:
        self.status = number(argument, 400) if argument else 503
        if self.status > 599:
            raise ValueError(f"{self.status} is no status of an error")

    async def damage(self, server: Server, inner: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        async for _ in Request(scope, receive).stream():
            pass
        await Response(f"{self.status}\n", self.status, media_type="text/plain")(scope, receive, send)


@fault
class Slow(_OfExecute):
    name = "slow"
    about = "The answer is PENDING for long."
    argument = "TIME (12s)"
    rule = "slow-call (from 10 s on)"

    def set(self, argument: str) -> None:
        self.time = seconds(argument or "12s")

    async def sleep(self, time: float) -> None:
        await asyncio.sleep(time)

    async def damage(self, server: Server, inner: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            start = done_at(message.get("body", b""))
            if start >= 0:
                await self._dawdle(server, send, message["body"][:start])
                message = {**message, "body": message["body"][start:]}
            await send(message)

        await inner(scope, receive, told)

    async def _dawdle(self, server: Server, send: Send, said: bytes) -> None:
        """`said` goes out at once, PENDING as often as it would."""
        left = self.time
        while said or left > 0:
            if said:
                await send({"type": "http.response.body", "body": said, "more_body": True})
            step = min(left, server.pending_period)
            await self.sleep(step)
            left -= step
            said = PENDING if left > 0 else b""


@fault
class Truncate(_OfExecute):
    name = "truncate"
    about = "The answer lacks its last bytes, and HTTP does not tell."
    argument = "BYTES that are missing (half of the body)"
    rule = "capture-damaged"

    def set(self, argument: str) -> None:
        self.missing = number(argument, 1) if argument else None

    def kept(self, body: bytes) -> bytes:
        start = body.find(b"\r\n\r\n") + 4
        missing = self.missing if self.missing is not None else max(1, (len(body) - start) // 2)
        return body[: max(start, len(body) - missing)]

    async def damage(self, server: Server, inner: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if done_at(message.get("body", b"")) >= 0:
                message = {**message, "body": self.kept(message["body"])}
            await send(message)

        await inner(scope, receive, told)


@fault
class CloseMidstream(Truncate):
    name = "close-midstream"
    about = "The connection is closed in the middle of an answer."
    argument = "BYTES that are missing (half of the body)"
    rule = "capture-damaged"

    async def damage(self, server: Server, inner: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        closed = False

        async def told(message: Message) -> None:
            nonlocal closed
            if closed:
                return
            if done_at(message.get("body", b"")) >= 0:
                message = {**message, "body": self.kept(message["body"]), "more_body": True}
                closed = True
            await send(message)

        logging.getLogger("uvicorn.error").addFilter(_says_more)
        await inner(scope, receive, told)


def _says_more(record: logging.LogRecord) -> bool:
    """uvicorn closes a connection where the application leaves in mid-answer, and complains: not of our fault."""
    return "without completing response" not in record.getMessage()


@fault
class Silence(_OfExecute):
    name = "silence"
    about = "The request is read and never answered; nothing is carried out."
    rule = "never-answered"

    async def damage(self, server: Server, inner: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        logging.getLogger("uvicorn.error").addFilter(_says_more)
        async for _ in Request(scope, receive).stream():
            pass
        gone = asyncio.ensure_future(receive())
        while not gone.done() and not server.closing.is_set():
            await asyncio.wait({gone}, timeout=TICK)
        gone.cancel()
