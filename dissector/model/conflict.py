"""The conflict rule of ICS as pure functions [MS-OXCFXICS] 3.1.5.6."""

from __future__ import annotations

from enum import Enum

from dissector.model.pcl import Order, PredecessorChangeList, Xid


class Verdict(Enum):
    """What becomes of a change that arrives [MS-OXCFXICS] 3.1.5.6.1."""

    INCLUDE = "include"
    IGNORE = "ignore"
    CONFLICT = "conflict"


def verdict(incoming: PredecessorChangeList, present: PredecessorChangeList) -> Verdict:
    """Whether a change is taken over, known already, or made beside the version that is there."""
    order = incoming.compare(present)
    if order in (Order.EQUAL, Order.OLDER):
        return Verdict.IGNORE
    return Verdict.INCLUDE if order is Order.NEWER else Verdict.CONFLICT


def incoming_wins(
    incoming_time: int, incoming_key: Xid, present_time: int, present_key: Xid, *, folder: bool = False
) -> bool:
    """Who wrote last, where two versions conflict [MS-OXCFXICS] 3.1.5.6.2.2.

    The times are PidTagLastModificationTime, the keys PidTagChangeKey. At equal times the larger namespace (byte by
    byte) wins and then the version that arrives; of a folder the version that is there stays.
    """
    if incoming_time != present_time:
        return incoming_time > present_time
    return not folder and incoming_key.namespace.bytes_le >= present_key.namespace.bytes_le
