"""Differences that follow from what was not sent: an object that lacks what a skipped ROP would have written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dissector.model.ids import ObjectId
from dissector.session.exchange import Rop
from replay.compare.difference import DIFFERENT, EXPECTED, Difference
from replay.compare.reasons import DELETED, MISSING
from replay.identity import GlobalId
from replay.learning import LiveSession
from replay.needs import identifiers
from replay.ropkinds import READING
from replay.steps import NOT_CHOSEN, PlannedRop, Step

COPIES = ("RopCopyTo", "RopCopyProperties")
MAKES_ANEW = ("RopOpenFolder", "RopCreate")


def note_skipped(rop: PlannedRop, step: Step, live: LiveSession) -> None:
    """Remember the live objects that a skipped ROP leaves without what it would have written."""
    if rop.captured is None or rop.name.startswith(READING):
        return
    why = "was not chosen" if rop.reason == NOT_CHOSEN else "was skipped"
    for handle in rop.captured.handles.values():
        if handle is not None and handle in live.handles:
            live.lacking.setdefault(handle, f"{rop.name} of frame {step.frame} {why}")


def excused(captured: Rop, differences: list[Difference], live: LiveSession) -> list[Difference]:
    """Differences of an object that lacks something are expected; what is made of it lacks the same."""
    definition = captured.definition
    request = captured.request.value if captured.request is not None else None
    if definition is None or request is None:
        return differences
    response = captured.response.value if captured.response is not None else None
    why = next(filter(None, (recalled(key, live) for key in _keys(captured, request))), "")
    output = _handle(captured, definition.output)
    if not why:
        if output is not None:
            live.lacking.pop(output, None)
        return [gone(one, request, live) for one in differences]
    if definition.name in COPIES:
        _lacks(_handle(captured, "DestHandleIndex"), why, live)
    if definition.output and not definition.name.startswith(MAKES_ANEW):
        _lacks(output, why, live)
    if definition.name == "RopSaveChangesMessage" and response is not None and response.get("MessageId"):
        live.mailbox.lacking[response["MessageId"]] = why
    return [
        Difference(one.path, one.captured, one.live, EXPECTED, why) if one.verdict == DIFFERENT else one
        for one in differences
    ]


def gone(one: Difference, request: object, live: LiveSession) -> Difference:
    """A target that is not found although the live server had it: it was deleted meanwhile."""
    if one.path != "ReturnValue" or one.cause != MISSING or not isinstance(request, dict):
        return one
    named = request.get("MessageId") or request.get("FolderId")
    if isinstance(named, ObjectId) and live.identity.try_object(named) is not None:
        return replace(one, cause=DELETED, why="the live server had the object, and has it no more: it was deleted")
    return one


def _keys(captured: Rop, request: object) -> Iterator[int | ObjectId | GlobalId]:
    """The handles a ROP acts on, and the ids of what it opens or imports."""
    definition = captured.definition
    assert definition is not None
    for name in definition.handles:
        handle = captured.handles.get(name)
        if handle is not None:
            yield handle
    if definition.output and isinstance(request, dict):
        opened = request.get("MessageId") or request.get("FolderId")
        if isinstance(opened, ObjectId):
            yield opened
    if definition.name.startswith("RopSynchronizationImport"):
        for one in identifiers(request):
            if not isinstance(one, ObjectId):
                yield one


def recalled(key: int | ObjectId | GlobalId, live: LiveSession) -> str:
    """Why the live object misses something; '' where it does not."""
    return live.lacking.get(key) or live.mailbox.lacking.get(key) or ""


def _lacks(handle: int | None, why: str, live: LiveSession) -> None:
    if handle is not None:
        live.lacking[handle] = why


def _handle(rop: Rop, name: str | None) -> int | None:
    """The captured handle in a field, None where it is not known."""
    return rop.handles.get(name) if name is not None else None
