"""Who logs on, and how: Basic, NTLM and Negotiate (through pyspnego), bearer tokens.

Secrets live in these objects and nowhere else; they have no repr and are in no message.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import re
from collections.abc import Generator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx

from replay.errors import RefusedError, ReplayError

MOST_ROUNDS = 8
"""Messages of one log-on, at most."""


class Method(StrEnum):
    """How the user is told to the server. auto: the strongest of what the server offers."""

    AUTO = "auto"
    BASIC = "basic"
    NTLM = "ntlm"
    NEGOTIATE = "negotiate"
    BEARER = "bearer"


@dataclass(frozen=True, slots=True)
class Credentials:
    """user: as the server knows them (NAME, DOMAIN\\\\NAME, NAME@DOMAIN). One of password, token, keytab is needed."""

    user: str
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    keytab: str = ""
    method: Method = Method.AUTO


def auth_for(credentials: Credentials, url: httpx.URL) -> httpx.Auth:
    """The httpx object for one client. Raises ReplayError where the credentials do not fit the method."""
    method = credentials.method
    if credentials.token or method is Method.BEARER:
        if not credentials.token:
            raise ReplayError("a bearer token is asked for, and there is none")
        return Bearer(credentials.token)
    if method is Method.BASIC:
        return httpx.BasicAuth(credentials.user, credentials.password)
    return Challenged(credentials, url)


class Bearer(httpx.Auth):
    """A token that somebody else got."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class Challenged(httpx.Auth):
    """Answers what the server asks for: Negotiate, NTLM or Basic, in this order where there is a choice.

    NTLM and Negotiate speak for the connection, so the client has to keep to one; Basic is sent with every request
    once it was asked for.
    """

    requires_response_body = True

    def __init__(self, credentials: Credentials, url: httpx.URL) -> None:
        self._credentials, self._url = credentials, url
        self._basic = ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._basic:
            request.headers["Authorization"] = self._basic
        response = yield request
        if response.status_code != 401 or self._basic:
            return
        offered = challenges(response)
        scheme = self._scheme(offered)
        if scheme == "basic":
            self._basic = self._basic_header()
            request.headers["Authorization"] = self._basic
            yield request
            return
        yield from self._spnego(request, response, scheme)

    def _scheme(self, offered: dict[str, str]) -> str:
        wanted = self._credentials.method
        if self._credentials.keytab:
            wanted = Method.NEGOTIATE
        possible = [wanted.value] if wanted is not Method.AUTO else ["negotiate", "ntlm", "basic"]
        found = next((scheme for scheme in possible if scheme in offered), "")
        if not found:
            shown = ", ".join(offered) or "nothing"
            raise RefusedError(f"{self._url}: the server offers {shown} to log on with, not {' or '.join(possible)}")
        return found

    def _basic_header(self) -> str:
        if self._credentials.method is Method.AUTO and self._url.scheme == "http" and not is_loopback(self._url.host):
            raise RefusedError(
                f"{self._url}: the server wants the password in clear, and the connection is not encrypted; use https, "
                "or --auth basic to send it all the same"
            )
        pair = f"{self._credentials.user}:{self._credentials.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()

    def _spnego(
        self, request: httpx.Request, response: httpx.Response, scheme: str
    ) -> Generator[httpx.Request, httpx.Response, None]:
        import spnego
        from spnego.exceptions import SpnegoError

        try:
            context = spnego.client(
                **self._spnego_user(), hostname=self._url.host, service="http", protocol=scheme,
                channel_bindings=channel_bindings(response),
            )  # fmt: skip
            token = context.step()
            for _ in range(MOST_ROUNDS):
                if token is None:
                    return
                request.headers["Authorization"] = f"{scheme.capitalize()} {base64.b64encode(token).decode()}"
                response = yield request
                answer = challenges(response).get(scheme, "")
                if response.status_code != 401 or not answer:
                    return
                token = context.step(base64.b64decode(answer))
        except (SpnegoError, ValueError, ImportError) as error:
            raise RefusedError(f"{self._url}: {scheme}: {_short(error)}") from error
        finally:
            request.headers.pop("Authorization", None)

    def _spnego_user(self) -> dict[str, Any]:
        if not self._credentials.keytab:
            return {"username": self._credentials.user, "password": self._credentials.password}
        import spnego

        if importlib.util.find_spec("gssapi") is None or importlib.util.find_spec("krb5") is None:
            raise ImportError
        keytab = f"FILE:{self._credentials.keytab}"
        return {"username": spnego.KerberosKeytab(keytab=keytab, principal=self._credentials.user)}


def challenges(response: httpx.Response) -> dict[str, str]:
    """What a 401 offers: scheme in lower case, and the token or parameters behind it."""
    found: dict[str, str] = {}
    for line in response.headers.get_list("www-authenticate"):
        for part in re.split(r",\s*(?=[A-Za-z]+(?:\s+[^=,\s]+\s*(?:,|$)|\s*(?:,|$)|\s+\w+=))", line):
            scheme, _, rest = part.strip().partition(" ")
            if scheme:
                found.setdefault(scheme.lower(), rest.strip())
    return found


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    import ipaddress

    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def channel_bindings(response: httpx.Response) -> Any:
    """tls-server-end-point (RFC 5929) of the connection that a response came by; None without TLS."""
    stream = response.extensions.get("network_stream")
    tls = stream.get_extra_info("ssl_object") if stream is not None else None
    if tls is None:
        return None
    from cryptography import x509
    from spnego.channel_bindings import GssChannelBindings

    raw = tls.getpeercert(True)
    algorithm = x509.load_der_x509_certificate(raw).signature_hash_algorithm
    name = algorithm.name if algorithm is not None and algorithm.name not in ("md5", "sha1") else "sha256"
    return GssChannelBindings(application_data=b"tls-server-end-point:" + hashlib.new(name, raw).digest())


def _short(error: BaseException) -> str:
    """The first line of an error of the log-on libraries, which never hold the password."""
    text = str(error).strip().splitlines()
    if isinstance(error, ImportError):
        return "Kerberos needs more packages: pip install 'mapi-dissector[kerberos]'"
    return text[0] if text else type(error).__name__
