"""Synchronization ROPs [MS-OXCFXICS] 3.2.5."""

from __future__ import annotations

from dissector.grammar.rops import oxcfxics as grammar
from replay.server.call import Call, Fields
from replay.server.errors import INVALID_PARAMETER, RopError
from replay.server.session import Logon, ServerObject

MAX_LOCAL_IDS = 0x10000


def get_local_replica_ids(call: Call) -> Fields:
    """Ids that the client may give to what it makes; nobody else gets them."""
    count = call.request["IdCount"]
    if not 0 < count <= MAX_LOCAL_IDS:
        raise RopError(INVALID_PARAMETER)
    mailbox = call.get(Logon).mailbox
    return {"ReplGuid": mailbox.replica, "GlobalCount": mailbox.reserve(count)}


def tell_version(call: Call) -> Fields:
    call.get(ServerObject)
    return {}


HANDLERS = (
    (grammar.GET_LOCAL_REPLICA_IDS, get_local_replica_ids),
    (grammar.TELL_VERSION, tell_version),
)
