"""Rows of a table: which captured row is which live row.

Rows are matched by what they are about, not by where they stand: by ids that are known to be each other's, then by
what describes them (subject, name, class). Only matched rows teach new ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dissector.model.ids import ObjectId
from dissector.model.pcl import Xid
from replay.compare.fields import Field
from replay.identity import Identity, global_id

Row = dict[str, Field]

ID_COLUMNS = ("PidTagMid", "PidTagFolderId", "PidTagSourceKey", "PidTagInstID")
PLAIN_IDS = ("PidTagAttachNumber", "PidTagRowid", "PidTagMemberId", "PidTagRuleId")
DESCRIBING = (
    "PidTagInternetMessageId", "PidTagDisplayName", "PidTagSubject", "PidTagNormalizedSubject", "PidTagMessageClass",
    "PidTagContainerClass", "PidTagAttachLongFilename", "PidTagEmailAddress", "PidTagSmtpAddress", "PidTagMemberName",
    "PidTagRuleName", "PidTagMessageDeliveryTime", "PidTagClientSubmitTime", "PidTagAssociated",
)  # fmt: skip


def matched(captured: Sequence[Row], live: Sequence[Row], identity: Identity) -> list[tuple[int | None, int | None]]:
    """Pairs of positions, every row once: (captured, live), (captured, None), (None, live)."""
    free = dict(enumerate(live))
    pairs: dict[int, int] = {}
    for position, row in enumerate(captured):
        found = next((at for at, other in free.items() if _same_id(row, other, identity)), None)
        if found is not None:
            pairs[position] = found
            del free[found]
    for columns in range(len(DESCRIBING), 0, -1):
        if not free or len(pairs) == len(captured):
            break
        by_description: dict[Any, list[int]] = {}
        for at, other in free.items():
            by_description.setdefault(_description(other, columns), []).append(at)
        for position, row in enumerate(captured):
            if position in pairs:
                continue
            described = _description(row, columns)
            candidates = by_description.get(described, [])
            usable = next((at for at in candidates if at in free and not _apart(row, free[at], identity)), None)
            if usable is not None and described:
                pairs[position] = usable
                del free[usable]
    made: list[tuple[int | None, int | None]] = [(at, pairs.get(at)) for at in range(len(captured))]
    return made + [(None, at) for at in free]


def _description(row: Row, columns: int) -> tuple[Any, ...]:
    """The first describing columns of a row, with their values; () where it has none of them."""
    return tuple(
        (name, field.value)
        for name in DESCRIBING[:columns]
        if (field := row.get(name)) is not None and isinstance(field.value, str | int | bool)
    )


def live_id(value: Any, identity: Identity) -> Any:
    """The live form of a captured id, None where it is not known."""
    if isinstance(value, ObjectId):
        return identity.try_object(value)
    name = global_id(value) if isinstance(value, Xid) else None
    live = identity.try_global(name) if name is not None else None
    return Xid(live[0], live[1].to_bytes(6, "big")) if live is not None else None


def _same_id(row: Row, other: Row, identity: Identity) -> bool:
    for name in ID_COLUMNS:
        if name in row and name in other:
            live = live_id(row[name].value, identity)
            if live is not None:
                return bool(live == other[name].value)
    plain = [name for name in PLAIN_IDS if name in row and name in other]
    return bool(plain) and all(row[name].value == other[name].value for name in plain)


def _apart(row: Row, other: Row, identity: Identity) -> bool:
    """Whether ids say that the rows are about different objects."""
    for name in ID_COLUMNS:
        if name in row and name in other:
            live = live_id(row[name].value, identity)
            if live is not None and live != other[name].value:
                return True
    return False
