"""ROPs that servers or old clients know by name and that [MS-OXCROPS] 2.2.2 only reserves.

Three have a layout that one source alone gives (note says so); the others have a name and nothing else.
"""

from __future__ import annotations

from dissector.grammar.layouts import Present
from dissector.grammar.leaves import Bool8, Guid, Str8
from dissector.grammar.rops.base import RopDef, rop, unpublished
from dissector.grammar.rops.oxcfold import REPLICA_SERVERS

_UNVERIFIED = "not verified: the layout is known from one implementation only (openchange's exchange.idl)"

SYNCHRONIZATION_OPEN_ADVISOR = rop(
    0x83, "RopSynchronizationOpenAdvisor", "2.2.2",
    output="OutputHandleIndex", opens="sync-advisor",
    note=_UNVERIFIED,
)  # fmt: skip

OPEN_PUBLIC_FOLDER_BY_NAME = rop(
    0x87, "RopOpenPublicFolderByName", "2.2.2",
    "Name" / Str8,
    output="OutputHandleIndex", opens="folder",
    success=("HasRules" / Bool8, "IsGhosted" / Present(Bool8, "Servers"), *REPLICA_SERVERS),
    summary=("Name",),
    params=("codepage",),
    note=_UNVERIFIED,
)  # fmt: skip

SET_SYNCHRONIZATION_NOTIFICATION_GUID = rop(
    0x88, "RopSetSynchronizationNotificationGuid", "2.2.2",
    "NotificationGuid" / Guid,
    summary=("NotificationGuid",),
    note=_UNVERIFIED,
)  # fmt: skip

NAMES = {
    0x28: "RopSpoolerRules",
    0x3C: "RopRegisterTableNotification",
    0x3D: "RopDeregisterTableNotification",
    0x62: "RopFlushPerUser",
    0x65: "RopCacheCcnRead",
    0x6A: "RopFXDstCopyProps",
    0x71: "RopIncrState",
    0x7C: "RopGetRights",
    0x7D: "RopGetAllPerUserLtids",
    0x84: "RopRegisterSynchronizationNotifications",
    0x85: "RopOpenCStream",
    0x8A: "RopDeletePublicFolderByName",
    0x8B: "RopConfigNntpNewsfeed",
    0x8C: "RopCheckMsgIds",
    0x8D: "RopBeginNntpArticle",
    0x8E: "RopWriteNntpArticle",
    0x8F: "RopSaveNntpArticle",
    0x94: "RopTransportDeliverMessage",
    0x95: "RopTransportDoneWithMessage",
    0x96: "RopIdFromLegacyDN",
    0x97: "RopSetAuthenticatedContext",
    0x98: "RopCopyToEx",
    0x99: "RopImportMsgChangePartial",
    0x9A: "RopSetMessageFlags",
    0x9B: "RopMoveCopyMessagesEx",
    0x9C: "RopFXSrcGetBufferEx",
    0x9E: "RopTransportDeliverMessage2",
    0x9F: "RopCreateMessageEx",
    0xA0: "RopMoveCopyMessagesEID",
    0xA1: "RopTransportDupDlvCheck",
    0xA2: "RopPrereadMessages",
    0xA4: "RopGetContentsTableExtended",
    0xA5: "RopStartScope",
    0xA6: "RopEndScope",
    0xC8: "RopEchoString",
    0xC9: "RopEchoInt",
    0xCA: "RopEchoBinary",
    0xFA: "RopExtendedError",
    0xFB: "RopBookmarkReturned",
    0xFC: "RopFidReturned",
    0xFD: "RopHsotReturned",
}
"""RopIds without a published layout."""

ROPS: tuple[RopDef, ...] = (
    SYNCHRONIZATION_OPEN_ADVISOR,
    OPEN_PUBLIC_FOLDER_BY_NAME,
    SET_SYNCHRONIZATION_NOTIFICATION_GUID,
    *(unpublished(rop_id, name) for rop_id, name in NAMES.items()),
)
