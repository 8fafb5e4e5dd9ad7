"""Two values, one captured and one live: the same, the same under other ids, or not."""

from __future__ import annotations

import uuid
from typing import Any

from dissector.model.ids import LongTermId, ObjectId
from dissector.model.pcl import Xid
from dissector.node import Undecoded
from replay.compare.difference import DIFFERENT, RANK, REMAPPED, SAME
from replay.identity import Identity, global_id
from replay.rewrite import DERIVED, GLOBAL_IDS


def agreement(here: Any, there: Any, identity: Identity, *, change: bool = False, bind: bool = True) -> str:
    """SAME, REMAPPED or DIFFERENT.

    Ids that were never seen before are bound to each other on the way, unless bind is False: then they differ. change:
    ids in them are change numbers.
    """
    if isinstance(here, ObjectId | LongTermId | Xid | uuid.UUID) and type(here) is type(there):
        return _ids(here, there, identity, change, bind)
    if isinstance(here, dict) and isinstance(there, dict):
        return _structures(here, there, identity, change, bind)
    if isinstance(here, list) and isinstance(there, list) and not isinstance(here, Undecoded):
        if change and all(isinstance(one, Xid) for one in (*here, *there)):
            return _change_lists(here, there, identity, bind)
        if len(here) != len(there):
            return DIFFERENT
        return _worst(
            agreement(one, other, identity, change=change, bind=bind) for one, other in zip(here, there, strict=True)
        )
    if here == there:
        return SAME
    if isinstance(here, str) and isinstance(there, str):
        if here.startswith("EX:/") and there.startswith("EX:/"):
            here, there = here[3:], there[3:]
        live = identity.dn(here)
        return REMAPPED if live is not None and live.lower() == there.lower() else DIFFERENT
    if type(here) is bytes and type(there) is bytes and here[:4] == there[:4] == b"EX:/":
        return agreement(_address(here), _address(there), identity)
    return DIFFERENT


def _address(key: bytes) -> str:
    return key[3:].rstrip(b"\0").decode("latin-1")


def _worst(verdicts: Any) -> str:
    return max(verdicts, key=RANK.__getitem__, default=SAME)


def _ids(here: Any, there: Any, identity: Identity, change: bool, bind: bool) -> str:
    if not bind and not _known(here, identity, change):
        return SAME if here == there else DIFFERENT
    if identity.learn(here, there, change=change):
        return SAME if here == there else REMAPPED
    return DIFFERENT


def _known(here: Any, identity: Identity, change: bool) -> bool:
    """Whether a captured id is bound already."""
    if isinstance(here, uuid.UUID):
        return here in identity.replicas
    if isinstance(here, ObjectId):
        return (identity.change_number(here) if change else identity.try_object(here)) is not None
    name = global_id(here) if isinstance(here, Xid) else (here.guid, here.counter)
    if name is None:
        return True
    return (identity.changes.live.get(name) if change else identity.try_global(name)) is not None


def _structures(here: Any, there: Any, identity: Identity, change: bool, bind: bool) -> str:
    if here.keys() != there.keys():
        return DIFFERENT
    worst = SAME
    done: set[str] = set()
    for guid, counter in GLOBAL_IDS:
        if guid in here and counter in here:
            done |= {guid, counter}
            mine, theirs = (LongTermId(one[guid], one[counter]) for one in (here, there))
            worst = _worst((worst, _ids(mine, theirs, identity, False, bind)))
    for name, item in here.items():
        if name in done or (isinstance(item, int) and not isinstance(item, bool) and DERIVED.search(name)):
            continue
        worst = _worst((worst, agreement(item, there[name], identity, change=change, bind=bind)))
    return worst


def _change_lists(here: list[Xid], there: list[Xid], identity: Identity, bind: bool) -> str:
    """Predecessor change lists: one XID a namespace; what the store counted has other numbers on the other side."""
    if here == there:
        return SAME
    left = list(there)
    for one in here:
        sure = identity.change_key(one)
        if sure[1] and sure[0] in left:
            left.remove(sure[0])
            continue
        own = [other for other in left if _counted_alike(one, other, identity)]
        if not own or not bind or not identity.learn(one, own[0], change=True):
            return DIFFERENT
        left.remove(own[0])
    return DIFFERENT if left else REMAPPED


def _counted_alike(here: Xid, there: Xid, identity: Identity) -> bool:
    """Whether a captured XID is of the store, and a live one can be what stands for it."""
    name, live = global_id(here), global_id(there)
    if name is None or not identity.own(name[0]):
        return False
    return live is None or identity.replicas.get(name[0], live[0]) == live[0]
