"""One captured response against one live response, field by field.

Both are trees of the same grammar. A field is `same` when its values are equal; `remapped` when it holds ids and the
live ones are the counterparts of the captured ones (bound on first sight, held after); `expected` where the policy says
so; else `different`. The verdict of a ROP is the worst of its fields.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from dissector.grammar.names import flag_names
from dissector.grammar.values import FLAGS
from dissector.session.exchange import Rop
from replay.compare.difference import ABSENT, DIFFERENT, EXPECTED, SAME, Difference
from replay.compare.fields import Field, PropertyError, fields, rows
from replay.compare.policy import DEFAULT_POLICY, Policy
from replay.compare.reasons import MISSING, reason_for
from replay.compare.rows import matched
from replay.compare.values import agreement
from replay.identity import GlobalId, Identity
from replay.rewrite import GLOBAL_IDS

DAMAGED = "the live answer is damaged, or cut short"
NOT_SET = "nothing that was replayed sets it: it was there before, or the captured server made it"
NOT_FOUND = "ecNotFound"
COUNTED = frozenset({
    "RowCount", "PidTagContentCount", "PidTagContentUnreadCount", "PidTagAssociatedContentCount",
    "PidTagFolderChildCount", "PidTagDeletedCountTotal",
})  # fmt: skip
"""Fields that count what is in a folder."""
UNSORTED = "the table was not sorted: its rows have no order"


def compare(
    captured: Rop, live: Rop | None, identity: Identity, policy: Policy = DEFAULT_POLICY, *, ordered: bool = False,
    trouble: str = "",
) -> list[Difference]:  # fmt: skip
    """Everything that is not the same between two responses; empty when all is.

    ordered: the order of rows counts. trouble: what is wrong with the whole live answer, '' where nothing is.
    """
    if captured.response is None:
        return []
    if live is None or live.response is None:
        if trouble:
            return [Difference("", "a response", f"none: {trouble}", DIFFERENT, DAMAGED)]
        return [Difference("", "a response", "none: the server left it out", DIFFERENT)]
    if live.response.value is None and captured.response.value is not None:
        return [Difference("", "a response", "a response that cannot be read", DIFFERENT, DAMAGED)]
    if captured.return_value != live.return_value:
        return [_return_values(captured, live, policy)]
    judge = Judge(captured.ends or captured.name, identity, policy)
    mine, theirs = captured.response.node(), live.response.node()
    found = list(judge.fields("", fields(mine), fields(theirs)))
    rows_here, rows_there = rows(mine), rows(theirs)
    if rows_here or rows_there:
        found = [one for one in found if one.path != "RowCount"]
        found.extend(judge.rows(rows_here, rows_there, ordered))
    return list(map(_explained, found))


def _explained(one: Difference) -> Difference:
    """Why there is less on the live server, where the kind of field tells."""
    if one.verdict != DIFFERENT or one.why:
        return one
    counts = isinstance(one.captured, int) and isinstance(one.live, int)
    if counts and one.path.rpartition(".")[2] in COUNTED:
        gap = one.captured - one.live
        why = f"{gap} of them are not on the live server" if gap > 0 else f"the live server had {-gap} more before"
        return replace(one, why=why, cause=MISSING if gap > 0 else "")
    if one.live == NOT_FOUND or (one.live == ABSENT and one.path.startswith("RowData.")):
        return replace(one, why=NOT_SET, cause=MISSING)
    return replace(one, why="the live server has one") if one.captured == NOT_FOUND else one


def unseen(value: Any, identity: Identity) -> str:
    """Why a captured value has no live counterpart: the objects it names were never seen on the live server."""
    lost = [name for name in named(value) if identity.own(name[0]) and identity.try_global(name) is None]
    if not lost:
        return ""
    shown = ", ".join(f"{guid}-{counter:012x}" for guid, counter in lost[:2])
    return f"it names what the live server was never seen to have: {shown}{', ...' if len(lost) > 2 else ''}"


def bits(path: str, here: Any, there: Any) -> str:
    """In which bits two values of a bit field differ, by their names."""
    table = FLAGS.get(path.rpartition(".")[2].partition("#")[0])
    if table is None or not isinstance(here, int) or not isinstance(there, int):
        return ""
    sides = (("captured", here & ~there), ("live", there & ~here))
    return "; ".join(f"only the {side} one has {flag_names(table, value)}" for side, value in sides if value)


def named(value: Any) -> Iterator[GlobalId]:
    """The objects of a store that entry ids name."""
    if isinstance(value, dict):
        for guid, counter in GLOBAL_IDS:
            if isinstance(value.get(guid), uuid.UUID) and value.get(counter):
                yield value[guid], value[counter]
        for item in value.values():
            yield from named(item)
    elif isinstance(value, list):
        for item in value:
            yield from named(item)


def _return_values(captured: Rop, live: Rop, policy: Policy) -> Difference:
    why = policy.expected(captured.name, "ReturnValue", captured.return_value, live.return_value)
    if why:
        return Difference("ReturnValue", _named(captured), _named(live), EXPECTED, why)
    reason = reason_for(captured.return_value or 0, live.return_value or 0)
    cause, text = reason if reason is not None else ("", "")
    return Difference("ReturnValue", _named(captured), _named(live), DIFFERENT, text, cause)


def _named(rop: Rop) -> str:
    return f"0x{rop.return_value or 0:08X} {rop.return_name}".strip()


class Judge:
    """Compares the fields of one ROP."""

    def __init__(self, rop: str, identity: Identity, policy: Policy) -> None:
        self.rop, self.identity, self.policy = rop, identity, policy

    def fields(
        self, prefix: str, mine: dict[str, Field], theirs: dict[str, Field], *, bind: bool = True
    ) -> Iterator[Difference]:
        for path in (*mine, *(path for path in theirs if path not in mine)):
            here, there = mine.get(path), theirs.get(path)
            value = here.value if here is not None else ABSENT
            live = there.value if there is not None else ABSENT
            change = here is not None and here.change
            yield from self.one(f"{prefix}{path}", value, live, change=change, bind=bind)

    def one(
        self, path: str, here: Any, there: Any, *, change: bool = False, bind: bool = True, given: bool = False,
        why: str = "", cause: str = "",
    ) -> Iterator[Difference]:  # fmt: skip
        """given: the client has written this property, so the server has to have it. why, cause: where it differs."""
        verdict = DIFFERENT
        if here is not ABSENT and there is not ABSENT:
            verdict = agreement(here, there, self.identity, change=change, bind=bind)
        if verdict == DIFFERENT:
            yield self.differing(path, here, there, why, given=given, cause=cause)
        elif verdict != SAME:
            yield Difference(path, here, there, verdict)

    def differing(
        self, path: str, here: Any, there: Any, why: str = "", *, given: bool = False, cause: str = ""
    ) -> Difference:
        """A difference, or what the policy expects."""
        here, there = (str(one) if isinstance(one, PropertyError) else one for one in (here, there))
        known = self.policy.expected(self.rop, path, here, there, given=given)
        if known:
            return Difference(path, here, there, EXPECTED, known)
        why = unseen(here, self.identity) or why or bits(path, here, there)
        return Difference(path, here, there, DIFFERENT, why, cause)

    def rows(self, mine: list[dict[str, Field]], theirs: list[dict[str, Field]], ordered: bool) -> Iterator[Difference]:
        """Rows by what they are about; then, where all are there, their order."""
        pairs = matched(mine, theirs, self.identity)
        for here, there in pairs:
            if here is not None and there is not None:
                yield from self.fields(f"RowData[{here}].", mine[here], theirs[there])
            elif here is not None:
                what = _row_name(mine[here])
                yield self.differing(f"RowData[{here}]", what, ABSENT, "no live row is about this", cause=MISSING)
            elif there is not None:
                yield self.differing("RowData", ABSENT, _row_name(theirs[there]), "no captured row is about this")
        order = [there for here, there in pairs if here is not None and there is not None]
        if order != sorted(order):
            shown = (list(range(len(order))), order)
            if ordered:
                yield self.differing("RowData order", *shown)
            else:
                yield Difference("RowData order", *shown, EXPECTED, UNSORTED)


def _row_name(row: dict[str, Field]) -> str:
    """A row in a few words."""
    for name in ("PidTagSubject", "PidTagNormalizedSubject", "PidTagDisplayName", "PidTagAttachLongFilename"):
        if name in row and isinstance(row[name].value, str):
            return f"a row with {name} {row[name].value!r}"
    first = next(iter(row.values()), None)
    return f"a row with {first.path} {first.value}" if first is not None else "a row"
