"""Fields of a request by path, for plans that people edit: "DisplayName", "PropertyValues.PidTagSubject", "X[2].Y".

A row of tagged values is named by its property, any row by its number in brackets.
"""

from __future__ import annotations

import copy
import re
import uuid
from collections.abc import Mapping
from typing import Any

from dissector.grammar.names import property_name
from dissector.model.ids import LongTermId, ObjectId
from dissector.model.pcl import Xid
from replay.errors import ReplayError


def edited(value: Any, changes: Mapping[str, Any]) -> Any:
    """A copy of a request's value with some fields set. Raises ReplayError for a path that is not in it."""
    made = copy.deepcopy(value)
    for path, wanted in changes.items():
        holder, last = _reach(made, path)
        holder[last] = _converted(wanted, holder[last], path)
    return made


def _reach(value: Any, path: str) -> tuple[Any, Any]:
    """The structure or list that holds the field at a path, and its name or number there."""
    place: tuple[Any, Any] | None = None
    for part in re.findall(r"[^.\[\]]+|\[\d+\]", path):
        holder = place[0][place[1]] if place is not None else value
        if part.startswith("["):
            number = int(part[1:-1])
            if not isinstance(holder, list) or number >= len(holder):
                raise ReplayError(f"set {path!r}: there is no row {part}")
            place = holder, number
        elif isinstance(holder, list):
            row = next((one for one in holder if isinstance(one, dict) and _tag_name(one) == part), None)
            if row is None:
                raise ReplayError(f"set {path!r}: no row is called {part}")
            place = row, "PropertyValue"
        elif isinstance(holder, dict) and part in holder:
            place = holder, part
        else:
            raise ReplayError(f"set {path!r}: there is no field {part}")
    if place is None:
        raise ReplayError("set: an empty path")
    return place


def _tag_name(row: dict[str, Any]) -> str:
    tag = row.get("PropertyTag")
    return (property_name(tag) or f"0x{tag:08X}") if isinstance(tag, int) else ""


def _converted(wanted: Any, present: Any, path: str) -> Any:
    """What a plan says in the type that the field has."""
    try:
        if isinstance(present, ObjectId):
            replica, _, counter = str(wanted).partition("-")
            return ObjectId(int(replica, 16), int(counter, 16))
        if isinstance(present, LongTermId):
            guid, _, counter = str(wanted).rpartition("-")
            return LongTermId(uuid.UUID(guid), int(counter, 16), present.pad)
        if isinstance(present, Xid):
            guid, _, local = str(wanted).rpartition("-")
            return Xid(uuid.UUID(guid), bytes.fromhex(local))
        if isinstance(present, uuid.UUID):
            return uuid.UUID(str(wanted))
        if isinstance(present, bytes):
            return bytes.fromhex(str(wanted))
    except ValueError as error:
        raise ReplayError(f"set {path!r}: {wanted!r} is not of the form of {present}") from error
    if isinstance(present, bool) != isinstance(wanted, bool) or (
        isinstance(present, int | str | float) and not isinstance(wanted, type(present))
    ):
        raise ReplayError(f"set {path!r}: {wanted!r} is not of the type of {present!r}")
    return wanted
