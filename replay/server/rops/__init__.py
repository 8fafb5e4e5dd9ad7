"""HANDLERS: what the server does for each ROP, by RopId. One file per spec, named as in dissector.grammar.rops."""

from __future__ import annotations

from replay.server.call import Handler
from replay.server.rops.oxcfold import HANDLERS as OXCFOLD
from replay.server.rops.oxcfxics import HANDLERS as OXCFXICS
from replay.server.rops.oxcmsg import HANDLERS as OXCMSG
from replay.server.rops.oxcnotif import HANDLERS as OXCNOTIF
from replay.server.rops.oxcperm import HANDLERS as OXCPERM
from replay.server.rops.oxcprpt import HANDLERS as OXCPRPT
from replay.server.rops.oxcrops import HANDLERS as OXCROPS
from replay.server.rops.oxcstor import HANDLERS as OXCSTOR
from replay.server.rops.oxctabl import HANDLERS as OXCTABL
from replay.server.rops.oxomsg import HANDLERS as OXOMSG
from replay.server.rops.oxorule import HANDLERS as OXORULE

HANDLERS: dict[int, Handler] = {
    definition.rop_id: handler
    for table in (
        OXCROPS, OXCSTOR, OXCFOLD, OXCTABL, OXCMSG, OXOMSG, OXCPRPT, OXCPERM, OXORULE, OXCFXICS, OXCNOTIF,
    )
    for definition, handler in table
}  # fmt: skip
