"""One captured response against one live response, leaf by leaf.

Both are trees of the same grammar. A leaf is `same` when its values are equal; `remapped` when it holds an id and the
live one is the counterpart of the captured one (bound on first sight, held after); `expected` where the policy says
so; else `different`. The verdict of a ROP is the worst of its leaves.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dissector.model.ids import LongTermId, ObjectId
from dissector.node import Node
from dissector.session.exchange import Rop
from replay.compare.policy import POLICY, Rule, expected
from replay.identity import IdentityMap

IDS = (ObjectId, LongTermId, uuid.UUID)
RANK = {"same": 0, "remapped": 1, "expected": 2, "different": 3}


@dataclass(frozen=True, slots=True)
class Difference:
    """One leaf that is not the same: where (path below the response), both values, the verdict and its reason."""

    path: str
    captured: Any
    live: Any
    verdict: str
    why: str = ""


def leaves(node: Node) -> Iterator[tuple[str, Node]]:
    """(path, leaf) of every leaf below a response, in order. Rows are numbered by their node names."""
    stack = [(child.name, child) for child in reversed(node.children)]
    while stack:
        path, one = stack.pop()
        if one.children:
            stack.extend((f"{path}.{child.name}", child) for child in reversed(one.children))
        else:
            yield path, one


def compare(
    captured: Rop, live: Rop | None, identity: IdentityMap, policy: tuple[Rule, ...] = POLICY
) -> list[Difference]:
    """Everything that is not the same between two responses; empty when all is."""
    if captured.response is None:
        return []
    if live is None or live.response is None:
        return [Difference("", "a response", "none", "different")]
    mine, theirs = dict(leaves(captured.response.node())), dict(leaves(live.response.node()))
    if captured.return_value != live.return_value:
        return [_differing("ReturnValue", _named(captured), _named(live), captured.name, policy)]
    found: list[Difference] = []
    ids: list[tuple[str, Any, Any]] = []
    for path in (*mine, *(path for path in theirs if path not in mine)):
        here, there = mine.get(path), theirs.get(path)
        if here is None or there is None:
            shown = [one.value if one is not None else "(not there)" for one in (here, there)]
            found.append(_differing(path, shown[0], shown[1], captured.name, policy))
        elif isinstance(here.value, IDS) and type(here.value) is type(there.value):
            ids.append((path, here.value, there.value))
        elif here.value != there.value:
            found.append(_differing(path, here.value, there.value, captured.name, policy))
    other_rows = {_row(one.path) for one in found if one.verdict == "different"} - {""}
    for path, captured_id, live_id in ids:
        difference = _id(path, captured_id, live_id, captured.name, identity, _row(path) not in other_rows, policy)
        if difference is not None:
            found.append(difference)
    return found


def _row(path: str) -> str:
    """The table row that a leaf belongs to, '' for none."""
    head, mark, _ = path.rpartition(".ValueArray.")
    return head if mark else ""


def _id(
    path: str, here: Any, there: Any, rop: str, identity: IdentityMap, bind: bool, policy: tuple[Rule, ...]
) -> Difference | None:
    """Two ids. They are bound to each other on first sight, but not from rows that are about different objects."""
    if bind and identity.learn(here, there):
        return Difference(path, here, there, "remapped") if here != there else None
    if here == there:
        return None
    why = expected(rop, path, policy)
    return Difference(
        path, here, there, "expected" if why else "different", why or "not the counterpart of the captured id"
    )


def _differing(path: str, here: Any, there: Any, rop: str, policy: tuple[Rule, ...]) -> Difference:
    why = expected(rop, path, policy)
    return Difference(path, here, there, "expected" if why else "different", why)


def _named(rop: Rop) -> str:
    return f"0x{rop.return_value or 0:08X} {rop.return_name}".strip()


def verdict_of(differences: list[Difference]) -> str:
    """The worst verdict; `same` for none."""
    return max((one.verdict for one in differences), key=RANK.__getitem__, default="same")
