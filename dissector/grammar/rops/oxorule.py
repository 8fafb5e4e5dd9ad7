"""Rule ROPs [MS-OXORULE], [MS-OXCROPS] 2.2.11."""

from __future__ import annotations

from dissector.grammar.actions import RuleData
from dissector.grammar.entryids import EntryId
from dissector.grammar.leaves import U8, Flags
from dissector.grammar.rops.base import RopDef, counted, rop, sized_unless_empty

MODIFY_RULES = rop(
    0x41, "RopModifyRules", "2.2.11.1",
    "ModifyRulesFlags" / Flags(U8, "ModifyRulesFlags"),
    *counted("RulesCount", "RulesData", RuleData),
    summary=("ModifyRulesFlags", "RulesData"),
    params=("codepage",),
)  # fmt: skip

GET_RULES_TABLE = rop(
    0x3F, "RopGetRulesTable", "2.2.11.2",
    "TableFlags" / Flags(U8, "RulesTableFlags"),
    output="OutputHandleIndex", opens="table",
    summary=("TableFlags",),
)  # fmt: skip

UPDATE_DEFERRED_ACTION_MESSAGES = rop(
    0x57, "RopUpdateDeferredActionMessages", "2.2.11.3",
    *sized_unless_empty("ServerEntryIdSize", "ServerEntryId", EntryId),
    *sized_unless_empty("ClientEntryIdSize", "ClientEntryId", EntryId),
    summary=("ServerEntryId", "ClientEntryId"),
    params=("codepage",),
)  # fmt: skip

ROPS: tuple[RopDef, ...] = (MODIFY_RULES, GET_RULES_TABLE, UPDATE_DEFERRED_ACTION_MESSAGES)
