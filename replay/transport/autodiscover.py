"""Where the mailbox of an e-mail address is: the Autodiscover lookup over HTTPS [MS-OXDSCLI].

Asked in turn: https://DOMAIN and https://autodiscover.DOMAIN, or the one server that was named. Answers that name
another address or URL are followed. Neither DNS (SRV records) nor redirects over plain HTTP are used: nobody vouches
for these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import httpx

from replay.errors import ProtocolError, RefusedError, ReplayError, UnreachableError
from replay.transport.auth import Credentials, auth_for, is_loopback
from replay.transport.mapihttp import NO_RPC, Limits, failure_of, tls_context, without_credentials

PATH = "/autodiscover/autodiscover.xml"
REQUEST_NAMES = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
RESPONSE_NAMES = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
MOST_STEPS = 10
MOST_BYTES = 1 << 20


class Found(NamedTuple):
    """server: the endpoint of the mailbox. mailbox: its DN. asked: the URL that told."""

    server: str
    mailbox: str
    asked: str


@dataclass(slots=True)
class _Settings:
    server: str = ""
    mailbox: str = ""
    address: str = ""
    """Another address that is to be asked for."""
    url: str = ""
    """Another server that is to be asked."""


def urls_of(address: str, server: str = "") -> list[str]:
    """Where to ask, in order. server: only there, a host's URL or that of its autodiscover.xml. Raises ReplayError."""
    name, at, domain = address.rpartition("@")
    if not at or not name or not domain:
        raise ReplayError(f"--autodiscover {address!r}: not an e-mail address")
    if not server:
        return [f"https://{domain}{PATH}", f"https://autodiscover.{domain}{PATH}"]
    without_credentials(server)
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ReplayError(f"--server {server!r}: not an http:// or https:// URL")
    if parts.path.lower().endswith(".xml"):
        return [server]
    return [urlunsplit((parts.scheme, parts.netloc, PATH, "", ""))]


def discover(
    address: str,
    credentials: Credentials,
    server: str = "",
    *,
    verify: bool = True,
    ca: str | None = None,
    limits: Limits | None = None,
    allow: Callable[[str], object] = lambda host: None,
) -> Found:
    """Ask where the mailbox is. allow: raises where a host may not be told the credentials.

    Raises ReplayError: UnreachableError where nobody answers, RefusedError, CertificateError, ProtocolError where the
    answer leads nowhere.
    """
    limits, tls = limits or Limits(), tls_context(verify, ca)
    waiting, seen, silent = urls_of(address, server), set[tuple[str, str]](), list[str]()
    while waiting:
        url = waiting.pop(0)
        if (url, address) in seen or len(seen) >= MOST_STEPS:
            raise ProtocolError(f"autodiscover for {address}: {url} leads in a circle")
        seen.add((url, address))
        allow(urlsplit(url).hostname or "")
        with httpx.Client(
            auth=auth_for(credentials, httpx.URL(url)), verify=tls, trust_env=False,
            timeout=httpx.Timeout(limits.silence, connect=limits.connect),
        ) as client:  # fmt: skip
            try:
                told = _ask(client, url, address, credentials, limits)
            except UnreachableError as error:
                silent.append(str(error))
                continue
        if told.address:
            address = told.address
            waiting = urls_of(address, server)
        elif told.url:
            parts = urlsplit(told.url)
            if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
                raise ProtocolError(f"{url}: autodiscover leads to {told.url!r}, which is not https")
            waiting = [told.url]
        else:
            return Found(told.server, told.mailbox, url)
    raise UnreachableError("; ".join(silent) or f"autodiscover for {address}: there is nobody to ask")


def _ask(client: httpx.Client, url: str, address: str, credentials: Credentials, limits: Limits) -> _Settings:
    request = (
        '<?xml version="1.0" encoding="utf-8"?>'
        f'<Autodiscover xmlns="{REQUEST_NAMES}"><Request><EMailAddress>{escape(address)}</EMailAddress>'
        f"<AcceptableResponseSchema>{RESPONSE_NAMES}</AcceptableResponseSchema></Request></Autodiscover>"
    )
    headers = {"Content-Type": "text/xml; charset=utf-8", "X-MapiHttpCapability": "1", "X-AnchorMailbox": address}
    body = bytearray()
    try:
        with client.stream("POST", url, content=request.encode(), headers=headers) as answer:
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise ProtocolError(f"{url}: the answer is too long for an autodiscover answer")
    except httpx.HTTPError as error:
        raise failure_of(f"{url}: autodiscover", error, bytes(body), limits) from error
    if answer.status_code in (401, 403):
        raise RefusedError(
            f"{url}: autodiscover: the server refuses user {credentials.user!r} or the password "
            f"(HTTP {answer.status_code})"
        )
    if answer.status_code in (301, 302, 307, 308):
        return _Settings(url=str(httpx.URL(url).join(answer.headers.get("Location", ""))))
    if answer.status_code == 404:
        raise UnreachableError(f"{url}: autodiscover: HTTP 404 {answer.reason_phrase}")
    if answer.status_code != 200:
        raise ProtocolError(f"{url}: autodiscover: HTTP {answer.status_code} {answer.reason_phrase}")
    return read_answer(bytes(body), url)


def read_answer(body: bytes, url: str) -> _Settings:
    """What an answer tells. Raises ProtocolError."""
    try:
        root = ElementTree.fromstring(body)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ProtocolError(f"{url}: the answer is no autodiscover answer ({error})") from error
    for element in root.iter():  # the names are enough: servers differ in their namespaces
        element.tag = element.tag.rpartition("}")[2]
    failed = root.find(".//Error")
    if failed is not None:
        words = (failed.findtext("Message") or "").strip()
        raise ProtocolError(f"{url}: autodiscover: error {failed.findtext('ErrorCode')} {words}".rstrip())
    told = _Settings(mailbox=(root.findtext(".//User/LegacyDN") or "").strip())
    action = (root.findtext(".//Account/Action") or "").strip()
    if action == "redirectAddr":
        told.address = (root.findtext(".//Account/RedirectAddr") or "").strip()
    elif action == "redirectUrl":
        told.url = (root.findtext(".//Account/RedirectUrl") or "").strip()
    protocols = root.findall(".//Account/Protocol")
    for protocol in protocols:
        if protocol.get("Type", "").lower() == "mapihttp" and not told.server:
            urls = (protocol.findtext(f"MailStore/{name}") for name in ("ExternalUrl", "InternalUrl"))
            told.server = next((one.strip() for one in urls if one), "")
    if not (told.server or told.address or told.url):
        offered = [one.get("Type") or one.findtext("Type") or "" for one in protocols]
        shown = ", ".join(filter(None, dict.fromkeys(offered))) or "nothing"
        raise ProtocolError(f"{url}: autodiscover offers {shown}, not mapiHttp; {NO_RPC}")
    return told
