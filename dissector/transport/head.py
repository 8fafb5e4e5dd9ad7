"""HTTP start lines, headers, and what they say about the body behind them (RFC 9112)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum

from dissector.node import Diagnostic, Severity
from dissector.transport.messages import HttpMessage

MAX_LINE = 16 << 10
"""Bytes of a start line, or of a chunk's size line with its extensions."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}"
_REQUEST = re.compile(_TOKEN + rb" [^\r\n]{1,16000} HTTP/1\.\d\r?\n")
_STATUS = re.compile(rb"HTTP/1\.\d \d{3}(?: [^\r\n]*)?\r?\n")
_BEGUN_REQUEST = re.compile(_TOKEN + rb"(?: [^\r\n]*\r?)?")
_BEGUN_STATUS = re.compile(rb"HTTP/(?:1(?:\.(?:\d(?: [^\r\n]*\r?)?)?)?)?")


class Phase(Enum):
    """Where in the framing of a body a direction is; the first three are how a body can begin."""

    LENGTH = 0
    CLOSE = 1
    CHUNK_SIZE = 2
    CHUNK_DATA = 3
    CHUNK_END = 4
    TRAILERS = 5


def start_line(data: bytes) -> str | None:
    """What data begins with: "request", "response", "" when more bytes must tell, None for neither."""
    if _REQUEST.match(data):
        return "request"
    if _STATUS.match(data):
        return "response"
    if len(data) < MAX_LINE and (_BEGUN_REQUEST.fullmatch(data) or _BEGUN_STATUS.fullmatch(data)):
        return ""
    return None if data else ""


def parse_head(head: bytes) -> tuple[str, list[tuple[str, str]], list[Diagnostic]]:
    """Start line and headers; a line that begins with a blank continues the one before it."""
    text = head.decode("latin-1").replace("\r\n", "\n")
    lines = text.split("\n")
    if "\r" in text:
        lines = [line.rstrip("\r") for line in lines]
    headers: list[tuple[str, str]] = []
    notes: list[Diagnostic] = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if line[:1] in (" ", "\t") and headers:
            headers[-1] = headers[-1][0], f"{headers[-1][1]} {line.strip()}".strip()
        elif colon:
            headers.append((name.strip(), value.strip()))
        elif line and len(notes) < 10:
            notes.append(Diagnostic(Severity.MALFORMED, f"a header line without a colon: {line[:80]!r}"))
    return lines[0], headers, notes


def split_list(values: Iterable[str]) -> list[str]:
    """The lower-case members of comma-separated header values, in order."""
    return [part.strip().lower() for value in values for part in value.split(",") if part.strip()]


def framing(message: HttpMessage, method: str) -> tuple[Phase, int]:
    """How the body of a message is framed, and how long it is where that is known.

    method: of the request that a response answers, upper case. A contradiction is noted in the message.
    """
    status = message.status
    if status and (method == "HEAD" or status < 200 or status in (204, 304) or (method == "CONNECT" and status < 300)):
        return Phase.LENGTH, 0
    moved = message.header_list("transfer-encoding")
    coding = split_list(moved) if moved else []
    if coding and coding[-1] == "chunked":
        return Phase.CHUNK_SIZE, 0
    given = message.header_list("content-length")
    if len(given) == 1 and not coding and (only := given[0]).isdecimal() and only.isascii() and len(only) < 19:
        return Phase.LENGTH, int(only)
    lengths = split_list(given)
    usable = sorted(int(length) for length in lengths if length.isdecimal() and length.isascii() and len(length) < 19)
    if len(set(lengths)) > 1 or len(usable) < len(lengths):
        text = f"Content-Length is {', '.join(lengths)[:80]!r}"
        message.diagnostics.append(Diagnostic(Severity.MALFORMED, text))
    if usable and not coding:
        return Phase.LENGTH, usable[0]
    return (Phase.CLOSE if status else Phase.LENGTH), 0


def content_codings(message: HttpMessage) -> list[str]:
    """The codings of the body, in the order they were applied; chunked is none."""
    coded, moved = message.header_list("content-encoding"), message.header_list("transfer-encoding")
    if not coded and (not moved or tuple(moved) == ("chunked",)):
        return []
    return [coding for coding in split_list([*coded, *moved]) if coding != "chunked"][:8]
