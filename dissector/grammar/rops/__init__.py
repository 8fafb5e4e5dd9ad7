"""ROPS: the one table of all remote operations, by RopId [MS-OXCROPS] 2.2.2."""

from __future__ import annotations

from dissector.grammar.rops import (
    oxcfold,
    oxcfxics,
    oxcmsg,
    oxcnotif,
    oxcperm,
    oxcprpt,
    oxcrops,
    oxcstor,
    oxctabl,
    oxomsg,
    oxorule,
    reserved,
)
from dissector.grammar.rops.base import RopDef

MODULES = (
    oxcstor,
    oxcfold,
    oxcmsg,
    oxomsg,
    oxcprpt,
    oxctabl,
    oxcperm,
    oxorule,
    oxcfxics,
    oxcnotif,
    oxcrops,
    reserved,
)
"""One per specification."""

ROPS: dict[int, RopDef] = {definition.rop_id: definition for module in MODULES for definition in module.ROPS}

BY_NAME: dict[str, RopDef] = {definition.name: definition for definition in ROPS.values()}
