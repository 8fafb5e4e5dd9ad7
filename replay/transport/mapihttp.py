"""MAPI over HTTP to a live server, through httpx.

One client per live session, since cookies name the session. Answers become the same HttpExchange that a capture gives,
so that everything behind it is shared with the dissector. Passwords live in the httpx auth object and nowhere else.
"""

from __future__ import annotations

import time
import uuid
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit, urlunsplit

import httpx

from dissector.source import ByteSource
from dissector.transport.messages import HttpExchange, HttpMessage
from replay.engine import Outgoing
from replay.errors import ReplayError

REQUEST_TIME = httpx.Timeout(30.0, read=360.0)
"""A server may hold a NotificationWait for five minutes [MS-OXCMAPIHTTP] 3.2.5.4; everything else answers sooner."""


def endpoint(url: str, user: str) -> str:
    """The mailbox endpoint: as given, or /mapi/emsmdb/ with the user's MailboxId where url names only a host."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ReplayError(f"--server {url!r}: not an http:// or https:// URL")
    if parts.path.strip("/"):
        return url
    return urlunsplit((parts.scheme, parts.netloc, "/mapi/emsmdb/", f"MailboxId={quote(user, safe='@')}", ""))


class MapiHttp:
    """A context manager; send() raises ReplayError where there is no usable answer."""

    def __init__(self, url: str, user: str, password: str, *, verify: bool = True) -> None:
        self._url = endpoint(url, user)
        self._auth = httpx.BasicAuth(user, password)
        self._user = user
        self._verify = verify
        self._clients: dict[int, httpx.Client] = {}
        self._client_info = f"{{{uuid.uuid4()}}}".upper()
        self._requests = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            client.close()

    def send(self, outgoing: Outgoing) -> HttpExchange:
        """Post one request and wait for its answer."""
        client = self._clients.get(outgoing.session)
        if client is None:
            client = self._clients[outgoing.session] = httpx.Client(
                auth=self._auth, verify=self._verify, timeout=REQUEST_TIME, follow_redirects=False, trust_env=False
            )
        self._requests += 1
        headers = {
            "Content-Type": "application/mapi-http",
            "X-RequestType": outgoing.request_type,
            "X-RequestId": f"{self._client_info}:{self._requests}",
            "X-ClientInfo": f"{self._client_info}:{outgoing.session}",
            "X-ClientApplication": "Outlook/16.00.0000.0000",
        }
        began = time.time()
        try:
            response = client.post(self._url, content=outgoing.body, headers=headers)
        except httpx.HTTPError as error:
            raise ReplayError(f"{self._url}: {outgoing.request_type}: {_why(error)}") from error
        self._refuse(outgoing, response)
        request = _message(
            "request", f"POST {response.request.url.raw_path.decode()} HTTP/1.1", response.request, outgoing.body, began
        )
        status = f"HTTP/1.1 {response.status_code} {response.reason_phrase}"
        return HttpExchange(None, request, _message("response", status, response, response.content, time.time()))  # type: ignore[arg-type]

    def _refuse(self, outgoing: Outgoing, response: httpx.Response) -> None:
        what = f"{self._url}: {outgoing.request_type}"
        if response.status_code == 401:
            raise ReplayError(f"{what}: the server refuses user {self._user!r} or the password (HTTP 401)")
        if response.status_code != 200:
            raise ReplayError(f"{what}: HTTP {response.status_code} {response.reason_phrase}")
        code = response.headers.get("X-ResponseCode")
        if code is None:
            raise ReplayError(f"{what}: the answer has no X-ResponseCode; is this a MAPI/HTTP endpoint?")
        if code.strip() != "0":
            raise ReplayError(f"{what}: X-ResponseCode {code.strip()}")


def _message(kind: str, line: str, carrier: Any, body: bytes, moment: float) -> HttpMessage:
    """What the dissector reads; secrets of the request's headers are left out."""
    headers = [(name, value) for name, value in carrier.headers.multi_items() if name.lower() != "authorization"]
    head = "\r\n".join([line, *(f"{name}: {value}" for name, value in headers), "", ""]).encode("latin-1", "replace")
    made = ByteSource(f"HTTP {kind} body", body)
    return HttpMessage(
        kind, line, headers, ByteSource(f"HTTP {kind} head", head), made, made, 0, moment, 0, moment
    )  # fmt: skip


def _why(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.ConnectTimeout | httpx.ReadTimeout | httpx.PoolTimeout | httpx.WriteTimeout):
        return "the server does not answer in time"
    if isinstance(error, httpx.ConnectError):
        return f"cannot connect ({error})"
    if isinstance(error, httpx.RemoteProtocolError):
        return f"the server closed the connection in mid-answer ({error})"
    return str(error) or type(error).__name__
