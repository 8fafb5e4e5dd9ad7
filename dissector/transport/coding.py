"""HTTP content codings: gzip and deflate are taken off, within bounds; what cannot be is left as it is and said so."""

from __future__ import annotations

import zlib

from dissector.node import Diagnostic, Severity
from dissector.source import ByteSource

MAX_DECODED = 64 << 20
"""Bytes that a body may grow to."""

MAX_MEMBERS = 100
"""gzip members of one body; each costs a copy of what is behind it."""

_AUTO, _RAW = 47, -15  # zlib's window bits: gzip or zlib by the first bytes; neither header


def decode_content(codings: list[str], body: ByteSource) -> tuple[ByteSource, list[Diagnostic]]:
    """The body without its codings (in the order they were applied), and what went wrong.

    Decoded bytes lead back to the whole of the coded ones. A coding that is broken half-way gives what came before.
    """
    notes: list[Diagnostic] = []
    for coding in reversed(codings):
        if coding in ("identity", "") or not body.data:
            continue
        if coding not in ("gzip", "x-gzip", "deflate"):
            notes.append(Diagnostic(Severity.NOTE, f"the content coding {coding[:40]!r} is not taken off"))
            break
        data, problem = inflate(body.data)
        if problem:
            notes.append(Diagnostic(Severity.MALFORMED, f"content coding {coding}: {problem}"))
        if not data and problem:
            break
        body = body.derive(f"{body.label}, {coding} taken off", 0, len(body.data), data)
    return body, notes


def inflate(data: bytes, limit: int = MAX_DECODED) -> tuple[bytes, str]:
    """Undo gzip (of any number of members), zlib or raw deflate; at most `limit` bytes. Returns bytes and problem."""
    parts: list[bytes] = []
    size = 0
    at = 0
    for _ in range(MAX_MEMBERS):
        part, used, problem = _member(data[at:] if at else data, limit - size)
        parts.append(part)
        size += len(part)
        at += used
        if problem:
            return b"".join(parts), problem
        if data[at : at + 2] != b"\x1f\x8b":
            break
    left = len(data) - at
    return b"".join(parts), f"{left} bytes are left over" if left else ""


def _member(data: bytes, limit: int) -> tuple[bytes, int, str]:
    """One stream at the start of data: what it holds, how many bytes it takes up, and what is wrong with it."""
    broken = ""
    for bits in (_AUTO, _RAW):
        decoder = zlib.decompressobj(bits)
        try:
            out = decoder.decompress(data, limit + 1)
        except zlib.error as error:
            broken = broken or str(error)
            if data[:2] == b"\x1f\x8b":
                break
            continue
        if len(out) > limit:
            return out[:limit], len(data), f"it grows beyond {limit} bytes; the rest is left out"
        if not decoder.eof:
            return out, len(data), "it breaks off"
        return out, len(data) - len(decoder.unused_data), ""
    return _salvage(data, limit), len(data), broken


def _salvage(data: bytes, limit: int) -> bytes:
    """What can be had of a gzip or zlib stream that breaks somewhere: all that comes before the broken byte."""
    decoder = zlib.decompressobj(_AUTO)
    parts: list[bytes] = []
    size = 0
    for step, stop in ((4096, len(data)), (1, 4096)):
        try:
            for at in range(0, stop, step):
                before = decoder.copy()
                parts.append(decoder.decompress(data[at : at + step], limit - size + 1))
                size += len(parts[-1])
                if size > limit:
                    return b"".join(parts)[:limit]
        except zlib.error:
            decoder, data = before, data[at:]
    return b"".join(parts)
