"""What may differ between two servers without being a difference, field by field, each with its reason.

A pattern matches the path of a leaf below the ROP response ("RowData.ValueArray.PidTagCreationTime"); `*` matches
anything. Ids are not here: they are compared through the IdentityMap (verdict remapped).
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple


class Rule(NamedTuple):
    """rop, path: patterns. why: shown in the report."""

    rop: str
    path: str
    why: str


POLICY: tuple[Rule, ...] = (
    Rule("RopLogon", "*LogonTime*", "the clock of the server"),
    Rule("RopLogon", "*GwartTime", "the clock of the server"),
    Rule("RopLogon", "*StoreState", "a property of the live mailbox"),
    Rule("RopLogon", "*ReplId", "replica ids are the server's own"),
    Rule("RopLogon", "*MailboxGuid", "the live mailbox has its own GUID"),
    Rule("RopLogon", "*ResponseFlags", "rights of the live user"),
    Rule("*", "*PidTagLastModificationTime*", "set by the server at the time of the replay"),
    Rule("*", "*PidTagCreationTime*", "set by the server at the time of the replay"),
    Rule("*", "*PidTagLocalCommitTime*", "set by the server at the time of the replay"),
    Rule("*", "*PidTagMessageDeliveryTime*", "set by the server at the time of the replay"),
    Rule("*", "*PidTagChangeKey*", "change numbers are the server's own"),
    Rule("*", "*PidTagPredecessorChangeList*", "change numbers are the server's own"),
    Rule("*", "*PidTagChangeNumber*", "change numbers are the server's own"),
    Rule("*", "*PidTag*EntryId.*", "entry ids hold the GUIDs and names of the live mailbox"),
    Rule("*", "*PidTagRecordKey*", "record keys hold the ids of the live mailbox"),
    Rule("*", "*PidTagSearchKey*", "made by the server"),
    Rule("*", "*PidTagInstanceKey*", "made by the server"),
    Rule("*", "*PidTagMappingSignature*", "the GUID of the live mailbox"),
    Rule("*", "*PidTagMailboxOwner*", "names the live mailbox"),
    Rule("*", "*PidTagMessageSize*", "servers count overhead differently"),
    Rule("RopFastTransferSourceGetBuffer", "TransferBuffer*", "streams are not compared field by field"),
    Rule("RopFastTransferSourceGetBuffer", "InProgressCount", "servers count steps differently"),
    Rule("RopFastTransferSourceGetBuffer", "TotalStepCount", "servers count steps differently"),
    Rule("RopFastTransferSourceGetBuffer", "TransferStatus", "servers cut streams at different places"),
    Rule("RopGetLocalReplicaIds", "GlobalCount", "the live server hands out a range of its own"),
    Rule("RopSynchronizationImport*", "MessageId", "[MS-OXCFXICS] 3.2.5.9: some servers give 0, some the id"),
    Rule("RopSynchronizationImport*", "FolderId", "[MS-OXCFXICS] 3.2.5.9: some servers give 0, some the id"),
)


def expected(rop: str, path: str, policy: tuple[Rule, ...] = POLICY) -> str:
    """Why a difference at this path is expected; '' where it is not."""
    for rule in policy:
        if fnmatchcase(rop, rule.rop) and fnmatchcase(path, rule.path):
            return rule.why
    return ""
