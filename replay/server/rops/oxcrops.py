"""RopRelease [MS-OXCROPS] 3.2.5.3."""

from __future__ import annotations

from dissector.grammar.rops import oxcrops as grammar
from replay.server.call import Call, Fields


def release(call: Call) -> Fields:
    """Forget the object. Whatever is wrong with the handle, there is no response."""
    call.session.release(call.handle("InputHandleIndex"))
    return {}


HANDLERS = ((grammar.RELEASE, release),)
