"""ROPS: the one table of all remote operations, by RopId [MS-OXCROPS] 2.2.2."""

from __future__ import annotations

from dissector.grammar.rops import (
    oxcfold, oxcfxics, oxcnotif, oxcprpt, oxcrops, oxcstor, oxctabl, oxomsg, reserved,
)  # fmt: skip
from dissector.grammar.rops.base import RopDef

MODULES = (oxcstor, oxcfold, oxomsg, oxcprpt, oxctabl, oxcfxics, oxcnotif, oxcrops, reserved)
"""One per specification."""

ROPS: dict[int, RopDef] = {definition.rop_id: definition for module in MODULES for definition in module.ROPS}

BY_NAME: dict[str, RopDef] = {definition.name: definition for definition in ROPS.values()}
