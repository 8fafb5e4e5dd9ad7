"""ROPS: the one table of all remote operations, by RopId [MS-OXCROPS] 2.2.2."""

from __future__ import annotations

from dissector.grammar.rops import oxcfold, oxcstor, oxomsg, reserved
from dissector.grammar.rops.base import RopDef

MODULES = (oxcstor, oxcfold, oxomsg, reserved)
"""One per specification."""

ROPS: dict[int, RopDef] = {definition.rop_id: definition for module in MODULES for definition in module.ROPS}

BY_NAME: dict[str, RopDef] = {definition.name: definition for definition in ROPS.values()}
