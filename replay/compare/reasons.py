"""Why a live server may refuse what the captured one did: its error codes in words, with what stands behind them."""

from __future__ import annotations

from typing import NamedTuple

from dissector.grammar.names import error_meaning

STALE, CONFLICT, DELETED, EXISTS, DENIED, MISSING, UNSUPPORTED, BUSY = (
    "stale", "conflict", "deleted", "exists", "denied", "missing", "unsupported", "busy",
)  # fmt: skip
"""Causes of differences."""


class Reason(NamedTuple):
    cause: str
    text: str


BY_CODE = {
    0x80040800: Reason(DELETED, "the object was deleted on the live server"),
    0x80040801: Reason(STALE, "the live server has this version or a newer one"),
    0x80040802: Reason(CONFLICT, "the live server has a version that the upload does not know of: a conflict"),
    0x80040803: Reason(MISSING, "the parent folder is not on the live server"),
    0x80040805: Reason(STALE, "the live server says that the client is not synchronized with it"),
    0x80040109: Reason(CONFLICT, "the object was changed on the live server since it was opened: a conflict"),
    0x8004010A: Reason(DELETED, "the object was deleted on the live server"),
    0x8004010F: Reason(MISSING, "the object is not on the live server"),
    0x80040604: Reason(EXISTS, "the live server has an object of this name already; was this replayed to it before?"),
    0x80070005: Reason(DENIED, "the live user may not do this"),
    0x80040102: Reason(UNSUPPORTED, "the live server does not support this"),
    0x80040FFF: Reason(UNSUPPORTED, "the live server does not implement this"),
    0x00000480: Reason(BUSY, "the live server is busy"),
}
"""By ReturnValue."""

SYNC_ERRORS = range(0x80040800, 0x80040806)


def reason_for(captured: int, live: int) -> Reason | None:
    """Why a live ReturnValue is not the captured one; None where the live one is no failure."""
    if captured == 0 or live in SYNC_ERRORS:
        known = BY_CODE.get(live)
        if known is not None or live == 0:
            return known
        return Reason("", error_meaning(live) or "a code that no specification names: the live server fails")
    return Reason("", "the live server does what the captured one refused") if live == 0 else None
