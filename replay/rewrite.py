"""A captured ROP request and an IdentityMap become the bytes to send, through the grammar's build.

Ids are replaced wherever they stand in the value (FolderId, MessageId, long-term ids, source keys in property values);
everything else is sent as it was captured. Change keys and predecessor change lists keep counters that have no live
counterpart: they are the client's own history, and a server takes them as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from construct import Container

from dissector.model.ids import LongTermId, ObjectId
from dissector.model.pcl import Xid
from dissector.node import Undecoded
from replay.identity import IdentityMap, UnmappedError

FREE_COUNTERS = frozenset({0x65E2, 0x65E3})
"""Property ids (PidTagChangeKey, PidTagPredecessorChangeList) whose counters are history, not references."""


def rewritten(value: Any, identity: IdentityMap, changes: Mapping[str, Any] | None = None) -> Any:
    """A copy of a request's value with every captured id replaced. Raises UnmappedError.

    changes: fields of the request itself to set (handle indexes, a mailbox name). Counts and sizes that the grammar
    derives are left out where something inside them may have changed, so that they are built anew.
    """
    made = _walk(value, identity, lenient=False)
    made.update(changes or {})
    return made


def _walk(value: Any, identity: IdentityMap, lenient: bool) -> Any:
    if isinstance(value, ObjectId):
        return identity.object_id(value)
    if isinstance(value, LongTermId):
        return identity.long_term_id(value)
    if isinstance(value, Xid):
        return _xid(value, identity, lenient)
    if isinstance(value, dict):
        tag = value.get("PropertyTag")
        loose = lenient or (isinstance(tag, int) and tag >> 16 in FREE_COUNTERS)
        return Container({name: _walk(item, identity, loose) for name, item in value.items() if name != "_io"})
    if isinstance(value, list) and not isinstance(value, Undecoded):
        return [_walk(item, identity, lenient) for item in value]
    return value


def _xid(value: Xid, identity: IdentityMap, lenient: bool) -> Xid:
    """An XID whose namespace is a replica of the store: its GUID and its counter are replaced."""
    live = identity.replicas.get(value.namespace)
    if live is None or len(value.local_id) != 6:
        return value
    captured = int.from_bytes(value.local_id, "big")
    counter = identity.counter(captured)
    if counter is None:
        if not lenient:
            raise UnmappedError(LongTermId(value.namespace, captured))
        counter = captured
    return Xid(live, counter.to_bytes(6, "big"))
