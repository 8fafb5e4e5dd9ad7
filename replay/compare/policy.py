"""What may differ between two servers without being a difference, field by field, each with its reason.

A pattern matches the path of a field below the ROP response ("RowData[0].PidTagCreationTime", "change 'x'.PidTagBody");
`*` matches anything. Ids are not here: they are compared through the Identity (verdict remapped).
"""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache
from typing import NamedTuple


class Rule(NamedTuple):
    """rop, path: patterns. why: shown in the report."""

    rop: str
    path: str
    why: str


CLOCK = "set by the server at the time of the replay"
COUNTS = "servers count overhead differently"
MADE = "made by the server"

POLICY: tuple[Rule, ...] = (
    Rule("RopLogon", "LogonTime*", "the clock of the server"),
    Rule("RopLogon", "GwartTime", "the clock of the server"),
    Rule("RopLogon", "StoreState", "a property of the live mailbox"),
    Rule("RopLogon", "ReplId", "replica ids are the server's own"),
    Rule("RopLogon", "ResponseFlags", "rights of the live user"),
    Rule("*", "*PidTagLastModificationTime", CLOCK),
    Rule("*", "*PidTagCreationTime", CLOCK),
    Rule("*", "*PidTagLocalCommitTime", CLOCK),
    Rule("*", "*PidTagLocalCommitTimeMax", CLOCK),
    Rule("*", "*PidTagMessageDeliveryTime", CLOCK),
    Rule("*", "*PidTagRecordKey", "record keys hold the ids of the live mailbox"),
    Rule("*", "*PidTagMailboxOwner*", "names the live mailbox"),
    Rule("*", "*PidTagCreatorName", "names the live user"),
    Rule("*", "*PidTagCreatorEntryId", "names the live user"),
    Rule("*", "*PidTagLastModifierName", "names the live user"),
    Rule("*", "*PidTagLastModifierEntryId", "names the live user"),
    Rule("*", "*PidTagSearchKey", MADE),
    Rule("*", "*PidTagInstanceKey", MADE),
    Rule("*", "*PidTagMappingSignature", "the GUID of the live mailbox"),
    Rule("*", "*PidTagStoreEntryId*", "names the live mailbox and its server"),
    Rule("*", "*PidTagMessageSize", COUNTS),
    Rule("*", "*PidTagMessageSizeExtended", COUNTS),
    Rule("RopFastTransferSourceGetBuffer", "InProgressCount", "servers count steps differently"),
    Rule("RopFastTransferSourceGetBuffer", "TotalStepCount", "servers count steps differently"),
    Rule("RopFastTransferSourceGetBuffer", "TransferStatus", "servers cut streams at different places"),
    Rule("RopFastTransferSourceGetBuffer", "progress", "servers estimate sizes differently"),
    Rule("RopGetLocalReplicaIds", "GlobalCount", "the live server hands out a range of its own"),
    Rule("RopSynchronizationImport*", "MessageId", "[MS-OXCFXICS] 3.2.5.9: some servers give 0, some the id"),
    Rule("RopSynchronizationImport*", "FolderId", "[MS-OXCFXICS] 3.2.5.9: some servers give 0, some the id"),
    Rule("RopQueryRows", "Origin", "where the table stands follows from how many rows it has"),
)
"""What is expected of any two servers."""


@lru_cache(4096)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(translate(text))


def expected(rop: str, path: str, policy: tuple[Rule, ...] = POLICY) -> str:
    """Why a difference at this path is expected; '' where it is not."""
    for rule in policy:
        if _pattern(rule.rop).match(rop) and _pattern(rule.path).match(path):
            return rule.why
    return ""
