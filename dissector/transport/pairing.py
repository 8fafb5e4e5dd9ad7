"""Which response answers which request of an HTTP connection.

They pair up in order. That order breaks when something was not captured: then a response belongs to the request that
has its X-RequestId, else to the latest one before it (who does not pipeline has only one open). A response may come
here before its request, whose packets stand later in the file or behind a hole that is still open: it waits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dissector.transport.messages import HttpExchange, HttpMessage, Message

if TYPE_CHECKING:
    from dissector.transport.tcp import Connection

MAX_PENDING = 128
"""Requests that wait for a response, or responses for a request; the oldest go on alone."""
MAX_PENDING_BYTES = 32 << 20
"""The same in bytes."""


@dataclass(slots=True, eq=False)
class Entry:
    """A request on its way to its response. request: None while it is not whole. waiting: a response may come."""

    method: str
    waiting: bool = True
    request: HttpMessage | None = None
    response: HttpMessage | None = None

    @property
    def size(self) -> int:
        return len(self.request.raw) if self.request is not None else 0


class Pairing:
    """The requests of a connection that are not answered yet.

    whole: both directions were captured from the start. interim: status lines of 1xx responses, for the next response.
    """

    def __init__(self, connection: Connection, whole: bool) -> None:
        self.interim: list[str] = []
        self._connection = connection
        self._doubt = not whole
        self._pending: deque[Entry] = deque()
        self._bytes = 0
        self._early: deque[HttpMessage] = deque()
        self._early_bytes = 0

    def doubt(self) -> None:
        """Messages may have been lost."""
        self._doubt = True

    def entered(self, request: HttpMessage, out: list[Message]) -> Entry:
        """The headers of a request are there."""
        entry = Entry(request.method)
        if self._early and self._doubt:
            target = self._sought_early(request)
            while self._early and self._early[0] is not target:
                self._unasked(out)
            self._doubt = target is None
        if self._early:
            entry.response = self._early.popleft()
            self._early_bytes -= len(entry.response.raw)
        else:
            self._pending.append(entry)
        return entry

    def sent(self, entry: Entry, message: HttpMessage, out: list[Message]) -> None:
        """A request is whole."""
        entry.request = message
        if entry.response is not None or not entry.waiting:
            out.append(HttpExchange(self._connection, message, entry.response))
            return
        self._bytes += entry.size
        while len(self._pending) > MAX_PENDING or (self._bytes > MAX_PENDING_BYTES and len(self._pending) > 1):
            self._doubt = True
            self._unanswered(out)

    def method_answered(self, response: HttpMessage, out: list[Message]) -> str:
        """The method, in upper case, of the request that a response answers; '' where it is not known.

        Requests that it shows to have lost their responses go out without them.
        """
        if self._doubt and self._pending:
            target = self._sought(response)
            while self._pending and self._pending[0] is not target:
                self._unanswered(out)
            self._doubt = target is None
        return self._pending[0].method.upper() if self._pending else ""

    def answered(self, message: HttpMessage, out: list[Message]) -> bool:
        """A response is whole. Returns whether the connection is a tunnel from here on."""
        message.interim, self.interim = self.interim, []
        tunnel = message.status == 101
        if not self._pending:
            self._early.append(message)
            self._early_bytes += len(message.raw)
            while len(self._early) > MAX_PENDING or self._early_bytes > MAX_PENDING_BYTES:
                self._doubt = True
                self._unasked(out)
            return tunnel
        entry = self._pending.popleft()
        self._bytes -= entry.size
        entry.response = message
        if entry.request is not None:
            out.append(HttpExchange(self._connection, entry.request, message))
        return tunnel or (entry.method.upper() == "CONNECT" and 200 <= message.status < 300)

    def finish(self, out: list[Message]) -> None:
        """The connection has ended."""
        while self._early:
            self._unasked(out)
        while self._pending:
            self._unanswered(out)

    def _sought(self, response: HttpMessage) -> Entry | None:
        """The request that a response answers after a loss; None where it was lost, too."""
        wanted = response.header("X-RequestId")
        if wanted is not None:
            ids = [entry.request.header("X-RequestId") if entry.request else None for entry in self._pending]
            if wanted in ids:
                return self._pending[ids.index(wanted)]
            if all(ids):
                return None
        before = [e for e in self._pending if e.request is None or e.request.first_time <= response.first_time]
        return before[-1] if before else None

    def _sought_early(self, request: HttpMessage) -> HttpMessage | None:
        """The waiting response that answers a request after a loss; None where none does."""
        wanted = request.header("X-RequestId")
        named = [early for early in self._early if wanted and early.header("X-RequestId") == wanted]
        after = [early for early in self._early if early.first_time >= request.first_time]
        return next(iter(named or after), None)

    def _unasked(self, out: list[Message]) -> None:
        early = self._early.popleft()
        self._early_bytes -= len(early.raw)
        out.append(HttpExchange(self._connection, None, early))

    def _unanswered(self, out: list[Message]) -> None:
        entry = self._pending.popleft()
        self._bytes -= entry.size
        entry.waiting = False
        if entry.request is not None:
            out.append(HttpExchange(self._connection, entry.request, None))
