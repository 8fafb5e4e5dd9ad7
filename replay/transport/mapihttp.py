"""MAPI over HTTP to a live server, through httpx [MS-OXCMAPIHTTP].

One client and one connection per live session: cookies name the session, NTLM speaks for a connection. Answers become
the same HttpExchange that a capture gives, so that everything behind it is shared with the dissector. While the server
says PENDING it is waited for, up to a limit; silence has a limit of its own.
"""

from __future__ import annotations

import re
import ssl
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit, urlunsplit

import httpx

from dissector.emsmdb import calls_from
from dissector.emsmdb.mapihttp import Answer
from dissector.grammar.names import enum_name
from dissector.source import ByteSource
from dissector.transport.messages import HttpExchange, HttpMessage
from replay.asking import Outgoing
from replay.errors import (
    CertificateError,
    ClosedError,
    ProtocolError,
    RefusedError,
    ReplayError,
    SilenceError,
    UnreachableError,
)
from replay.recording import Conversation, Recorder, head
from replay.transport.auth import Credentials, auth_for

BUSY = frozenset({429, 503})
"""HTTP codes of a request that was not carried out and may be sent again."""

MOST_RETRIES, FIRST_DELAY, LONGEST_DELAY = 3, 1.0, 30.0
"""How often a request that was never carried out is sent again, and seconds between; Connect's answer tells more."""

CONTEXT_NOT_FOUND, LOST_SESSION = 10, "the server does not know the session any more"

RPC = re.compile(r"(rpc|ncacn|ncalrpc)\w*(\+\w+)?:", re.IGNORECASE)
CREDENTIALS = re.compile(r"[^/?#]*//[^/?#]*@|[^/?#@]*:[^/?#@]*@")
NO_RPC = "RPC is not supported as a target, only MAPI over HTTP (http://, https://), whatever was captured"

META_TAGS = (b"PROCESSING", b"PENDING", b"DONE")


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: to connect; of silence (a PENDING breaks it); of one request in all."""

    connect: float = 15.0
    silence: float = 90.0
    request: float = 900.0


@dataclass(slots=True)
class _Retries:
    """What Connect tells [MS-OXCMAPIHTTP] 2.2.4.1.2."""

    count: int = MOST_RETRIES
    delay: float = LONGEST_DELAY


@dataclass(slots=True)
class _Session:
    client: httpx.Client
    retries: _Retries = field(default_factory=_Retries)
    served: bool = False
    """Something was answered: the server is there."""
    talk: Conversation | None = None
    talk_from: Any = None


def without_credentials(url: str) -> None:
    """Raises ReplayError, which does not show the URL, where that has a user or a password in it."""
    if CREDENTIALS.match(url):
        raise ReplayError(
            "--server: a URL with a user or a password in it is not taken; give --user, and the password in "
            "REPLAY_PASSWORD"
        )


def endpoint(url: str, user: str) -> str:
    """The mailbox endpoint: as given, or /mapi/emsmdb/ with the user's MailboxId where url names only a host.

    Raises ReplayError where it is none, or has a user or a password in it: a URL is shown, in reports too.
    """
    without_credentials(url)
    try:
        parts = urlsplit(url)
        if RPC.match(url) or parts.path.lower().endswith("rpcproxy.dll"):
            raise ReplayError(f"--server {url!r}: {NO_RPC}")
        httpx.URL(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except (ValueError, httpx.InvalidURL) as error:
        raise ReplayError(f"--server {url!r}: {error}") from error
    if not known:
        raise ReplayError(f"--server {url!r}: not an http:// or https:// URL")
    if parts.path.strip("/"):
        return url
    return urlunsplit((parts.scheme, parts.netloc, "/mapi/emsmdb/", f"MailboxId={quote(user, safe='@')}", ""))


class MapiHttp:
    """A context manager; send() raises a ReplayError where there is no usable answer.

    verify: whether the server's certificate has to verify, by the system's authorities or those in the file `ca`.
    recorder: writes down what is said. pause: waits some seconds (for tests). transport: what requests go through in
    the place of sockets. note: is told of each request that is sent again: its frame, its type, and why.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        verify: bool = True,
        ca: str | None = None,
        limits: Limits | None = None,
        recorder: Recorder | None = None,
        pause: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
        note: Callable[[int, str, str], None] = lambda frame, what, why: None,
    ) -> None:
        self._url = endpoint(url, credentials.user)
        self._parsed = httpx.URL(self._url)  # once, not for each request
        self._credentials = credentials
        self._tls = tls_context(verify, ca)
        self._limits = limits or Limits()
        self._recorder, self._pause, self._transport, self._note = recorder, pause, transport, note
        self._sessions: dict[int, _Session] = {}
        self._client_info = f"{{{uuid.uuid4()}}}".upper()
        self._requests = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in self._sessions.values():
            session.client.close()
            if session.talk is not None:
                session.talk.close()

    def send(self, outgoing: Outgoing) -> HttpExchange:
        """Post one request and wait for its answer."""
        session = self._sessions.get(outgoing.session)
        if session is None:
            session = self._sessions[outgoing.session] = _Session(self._client())
        self._requests += 1
        if outgoing.wait:
            self._pause(outgoing.wait / 1000)
        delay = FIRST_DELAY
        for attempt in range(session.retries.count + 1):
            last = attempt == session.retries.count
            try:
                exchange, again = self._post(outgoing, session)
            except UnreachableError as error:
                if last or not session.served:
                    raise
                again, why = delay, str(error).removeprefix(f"{self._what(outgoing)}: ")
            else:
                if again is None:
                    return self._served(outgoing, exchange, session)
                if last:
                    raise ProtocolError(
                        f"{self._what(outgoing)}: the server is still busy after {attempt + 1} attempts"
                    )
                why = exchange.response.start_line.partition(" ")[2] if exchange.response is not None else ""
                why = f"the server said HTTP {why}"
            rest = min(again or delay, max(session.retries.delay, FIRST_DELAY))
            self._note(outgoing.frame, outgoing.request_type, f"{why}; the request is sent again after {rest:g} s")
            self._pause(rest)
            delay *= 2
        raise AssertionError("unreachable")

    def _served(self, outgoing: Outgoing, exchange: HttpExchange, session: _Session) -> HttpExchange:
        session.served = True
        if outgoing.request_type == "Connect":
            call = calls_from(exchange)
            fields = call.response.fields if call is not None and call.response is not None else {}
            count, delay = fields.get("RetryCount"), fields.get("RetryDelay")
            if isinstance(count, int) and isinstance(delay, int):
                session.retries = _Retries(min(count, MOST_RETRIES), min(delay / 1000, LONGEST_DELAY))
        return exchange

    def _client(self) -> httpx.Client:
        limits = self._limits
        return httpx.Client(
            auth=auth_for(self._credentials, self._parsed), verify=self._tls, follow_redirects=False,
            timeout=httpx.Timeout(limits.silence, connect=limits.connect), trust_env=False,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1), transport=self._transport,
        )  # fmt: skip

    def _what(self, outgoing: Outgoing) -> str:
        return f"{self._url}: {outgoing.request_type}"

    # One request.

    def _post(self, outgoing: Outgoing, session: _Session) -> tuple[HttpExchange, float | None]:
        """The exchange, and after how many seconds to send the request again (None: it was carried out)."""
        headers = {
            "Content-Type": "application/mapi-http",
            "X-RequestType": outgoing.request_type,
            "X-RequestId": f"{self._client_info}:{self._requests}",
            "X-ClientInfo": f"{self._client_info}:{outgoing.session}",
            "X-ClientApplication": "Outlook/16.00.0000.0000",
        }
        began = time.time()
        body = bytearray()
        response: httpx.Response | None = None
        whole = False
        try:
            with session.client.stream("POST", self._parsed, content=outgoing.body, headers=headers) as response:
                deadline = time.monotonic() + self._limits.request
                for chunk in response.iter_bytes():
                    body += chunk
                    if time.monotonic() > deadline:
                        raise SilenceError(
                            f"{self._what(outgoing)}: not done after {self._limits.request:g} s, the time limit"
                        )
                whole = True
        except httpx.HTTPError as error:
            raise failure_of(self._what(outgoing), error, bytes(body), self._limits, response is not None) from error
        finally:
            self._record(outgoing, session, headers, response, bytes(body), began, whole)
        request = _message("request", _request_line(response), response.request, outgoing.body, began)
        answer = _message("response", _status_line(response), response, bytes(body), time.time())
        again = self._judge(outgoing, response, answer)
        return HttpExchange(None, request, answer), again  # type: ignore[arg-type]

    def _judge(self, outgoing: Outgoing, response: httpx.Response, answer: HttpMessage) -> float | None:
        """Raise where the answer is of no use; the seconds to wait where the server asks for another attempt."""
        what = self._what(outgoing)
        status = response.status_code
        if status in BUSY:
            return _seconds(response.headers.get("Retry-After", ""))
        if status in (401, 403):
            raise RefusedError(
                f"{what}: the server refuses user {self._credentials.user!r} or the password (HTTP {status})"
                if not self._credentials.token else f"{what}: the server refuses the token (HTTP {status})"
            )  # fmt: skip
        if status in (301, 302, 307, 308):
            raise ProtocolError(f"{what}: the server sends us to {response.headers.get('Location', 'nowhere')!r}")
        if status != 200:
            raise ProtocolError(f"{what}: HTTP {status} {response.reason_phrase}")
        if "X-ResponseCode" not in response.headers:
            raise ProtocolError(f"{what}: the answer has no X-ResponseCode; is this a MAPI/HTTP endpoint?")
        told = Answer(answer, {name.lower(): value for name, value in answer.headers})
        data = answer.body.data
        if told.code is None or told.code:
            name = enum_name("ResponseCode", told.code) if told.code is not None else ""
            shown = told.code if told.code is not None else response.headers["X-ResponseCode"]
            words = f": {LOST_SESSION}" if told.code == CONTEXT_NOT_FOUND else ""
            raise ProtocolError(f"{what}: X-ResponseCode {shown} {name}".rstrip() + words)
        if told.diagnostic is not None or not data or (data.startswith(META_TAGS) and not told.offset):
            raise ClosedError(f"{what}: the answer ends before it is DONE")
        return None

    def _record(
        self,
        outgoing: Outgoing,
        session: _Session,
        headers: dict[str, str],
        response: httpx.Response | None,
        body: bytes,
        began: float,
        whole: bool,
    ) -> None:
        """Write down a request and its answer: none, or a part of one, where there was no more."""
        if self._recorder is None:
            return
        ends = _ends(response)
        if session.talk is None or (ends[0] is not None and ends != session.talk_from):
            if session.talk is not None:
                session.talk.close()
            parts = urlsplit(self._url)
            made_up = ((parts.hostname or "", 1), (parts.hostname or "", parts.port or _PORTS[parts.scheme]))
            client, server = (one[:2] if one else made_up[number] for number, one in enumerate(ends))
            session.talk, session.talk_from = self._recorder.conversation(client, server), ends
        note = f"replays frame {outgoing.frame}" if outgoing.frame else ""
        if response is None:
            line = f"POST {self._parsed.raw_path.decode()} HTTP/1.1"
            sent = head(line, [("Host", self._parsed.netloc.decode()), *headers.items()], len(outgoing.body))
            session.talk.client(sent + outgoing.body, began, f"{note} (no answer)".strip())
            return
        sent = head(_request_line(response), response.request.headers.multi_items(), len(outgoing.body))
        session.talk.client(sent + outgoing.body, began, note)
        told = head(_status_line(response), response.headers.multi_items(), len(body) if whole else None)
        session.talk.server(told + (body if whole else _cut(body)), time.time(), "" if whole else "cut off")


_PORTS = {"http": 80, "https": 443}


def _ends(response: httpx.Response | None) -> tuple[Any, Any]:
    """The addresses of a response's connection, None where that is closed already."""
    stream = response.extensions.get("network_stream") if response is not None else None
    if stream is None:
        return None, None
    try:
        return stream.get_extra_info("client_addr"), stream.get_extra_info("server_addr")
    except OSError:
        return None, None


def _cut(body: bytes) -> bytes:
    """A chunked body without its end."""
    return b"%x\r\n%b\r\n" % (len(body), body) if body else b""


def failure_of(
    what: str, error: httpx.HTTPError, body: bytes, limits: Limits, begun: bool = False
) -> ReplayError:  # fmt: skip
    """Why a request got no answer, in words that begin with `what`. body: what came of it; begun: its head came."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return CertificateError(
                f"{what}: the server's certificate does not verify: {cause.verify_message or cause}; give its "
                "authority with --ca FILE, or do without with --insecure"
            )
        if isinstance(cause, ssl.SSLError):
            return ProtocolError(f"{what}: TLS fails: {cause.reason or cause}")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        return UnreachableError(f"{what}: no connection after {limits.connect:g} s")
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
        said = "the server stopped answering" if body or begun else "the server does not answer"
        return SilenceError(f"{what}: {said}; nothing came for {limits.silence:g} s")
    if isinstance(error, httpx.ConnectError):
        return UnreachableError(f"{what}: cannot connect ({error})")
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError):
        where = f"in mid-answer, behind {len(body)} bytes" if body or begun else "without an answer"
        if "illegal" in str(error).lower() or "malformed" in str(error).lower():
            return ProtocolError(f"{what}: the answer is no HTTP ({error})")
        return ClosedError(f"{what}: the server closed the connection {where}")
    return ReplayError(f"{what}: {error or type(error).__name__}")


def tls_context(verify: bool, ca: str | None) -> ssl.SSLContext:
    """Certificates are verified by the system's authorities (or SSL_CERT_FILE), unless told otherwise."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ReplayError(f"--ca {ca}: {getattr(error, 'strerror', None) or error}") from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _seconds(text: str) -> float:
    """Retry-After in seconds; a date or nothing is a second."""
    return float(text) if text.strip().isdecimal() else FIRST_DELAY


def _request_line(response: httpx.Response) -> str:
    return f"POST {response.request.url.raw_path.decode()} HTTP/1.1"


def _status_line(response: httpx.Response) -> str:
    return f"HTTP/1.1 {response.status_code} {response.reason_phrase}"


def _message(kind: str, line: str, carrier: Any, body: bytes, moment: float) -> HttpMessage:
    """What the dissector reads; credentials of the request's headers are left out."""
    headers = [(name, value) for name, value in carrier.headers.multi_items() if name.lower() != "authorization"]
    top = "\r\n".join([line, *(f"{name}: {value}" for name, value in headers), "", ""]).encode("latin-1", "replace")
    made = ByteSource(f"HTTP {kind} body", body)
    return HttpMessage(
        kind, line, headers, ByteSource(f"HTTP {kind} head", top), made, made, 0, moment, 0, moment
    )  # fmt: skip
