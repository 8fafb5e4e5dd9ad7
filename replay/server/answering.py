"""A response whose body is still being made: PROCESSING, PENDING, DONE [MS-OXCMAPIHTTP] 2.2.7, 3.2.5.2."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from email.utils import formatdate
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

EARLY = 0.02
"""Seconds that an answer may take to go out in one piece; where it takes longer, the client is told at once."""

PROCESSING, PENDING = b"PROCESSING\r\n", b"PENDING\r\n"


class LateResponse(StreamingResponse):
    """period: seconds between PENDING tags. abandon: give the work up when the client goes away; else it is done."""

    def __init__(
        self, answer: Awaitable[bytes], headers: dict[str, str], media_type: str, period: float, abandon: bool = False
    ) -> None:
        super().__init__((), 200, headers, media_type)
        self.answer, self.period, self.abandon = answer, period, abandon

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.time()
        work = asyncio.ensure_future(self.answer)
        await asyncio.wait({work}, timeout=EARLY)
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        first = PROCESSING
        if not work.done():
            await send({"type": "http.response.body", "body": PROCESSING, "more_body": True})
            first = b""
            if not await self._wait(work, receive, send):
                return
        body = work.result()
        elapsed = int((time.time() - started) * 1000)
        head = f"DONE\r\nX-ElapsedTime: {elapsed}\r\nX-StartTime: {formatdate(started, usegmt=True)}\r\n\r\n"
        await send({"type": "http.response.body", "body": first + head.encode() + body, "more_body": False})

    async def _wait(self, work: asyncio.Future[bytes], receive: Receive, send: Send) -> bool:
        """Until the work is done; False where the client goes away before."""
        gone = asyncio.ensure_future(_disconnected(receive))
        either: set[asyncio.Future[Any]] = {work, gone}
        try:
            while True:
                done, _ = await asyncio.wait(either, timeout=self.period, return_when=asyncio.FIRST_COMPLETED)
                if work in done:
                    return True
                if gone in done:
                    if self.abandon:
                        work.cancel()
                    return False
                await send({"type": "http.response.body", "body": PENDING, "more_body": True})
        finally:
            gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def done_at(body: bytes) -> int:
    """Where DONE begins in a piece of such a response; -1 where it does not."""
    start = len(PROCESSING) if body.startswith(PROCESSING) else 0
    return start if body.startswith(b"DONE\r\n", start) else -1
