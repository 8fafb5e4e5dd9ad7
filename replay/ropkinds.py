"""What ROPs do to the server, as far as a replay has to know: which ones write, which ones leave no trace."""

from __future__ import annotations

WRITES = frozenset({
    "RopAbortSubmit", "RopCommitStream", "RopCopyFolder", "RopCopyProperties", "RopCopyTo", "RopCopyToStream",
    "RopCreateAttachment", "RopCreateFolder", "RopCreateMessage", "RopDeleteAttachment", "RopDeleteFolder",
    "RopDeleteMessages", "RopDeleteProperties", "RopDeletePropertiesNoReplicate", "RopEmptyFolder",
    "RopFastTransferDestinationConfigure", "RopFastTransferDestinationPutBuffer",
    "RopFastTransferDestinationPutBufferExtended", "RopHardDeleteMessages", "RopHardDeleteMessagesAndSubfolders",
    "RopModifyPermissions", "RopModifyRecipients", "RopModifyRules", "RopMoveCopyMessages", "RopMoveFolder",
    "RopRemoveAllRecipients", "RopSaveChangesAttachment", "RopSaveChangesMessage", "RopSetLocalReplicaMidsetDeleted",
    "RopSetMessageReadFlag", "RopSetMessageStatus", "RopSetProperties", "RopSetPropertiesNoReplicate",
    "RopSetReadFlags", "RopSetReceiveFolder", "RopSetSearchCriteria", "RopSetSpooler", "RopSetStreamSize",
    "RopSpoolerLockMessage", "RopSubmitMessage", "RopSynchronizationImportDeletes",
    "RopSynchronizationImportHierarchyChange", "RopSynchronizationImportMessageChange",
    "RopSynchronizationImportMessageMove", "RopSynchronizationImportReadStateChanges", "RopTransportNewMail",
    "RopTransportSend", "RopUpdateDeferredActionMessages", "RopWriteAndCommitStream", "RopWritePerUserInformation",
    "RopWriteStream", "RopWriteStreamExtended",
})  # fmt: skip
"""ROPs that change what is in a mailbox, or prepare such a change on an open object."""

SHAPES = frozenset({
    "RopCollapseRow", "RopCommitStream", "RopCopyProperties", "RopCopyTo", "RopCopyToStream", "RopCreateBookmark",
    "RopDeleteAttachment", "RopDeleteProperties", "RopDeletePropertiesNoReplicate", "RopExpandRow",
    "RopFastTransferDestinationPutBuffer", "RopFastTransferDestinationPutBufferExtended",
    "RopFastTransferSourceGetBuffer", "RopFindRow", "RopFreeBookmark", "RopModifyRecipients", "RopQueryRows",
    "RopReadStream", "RopReloadCachedInformation", "RopRemoveAllRecipients", "RopResetTable", "RopRestrict",
    "RopSaveChangesAttachment", "RopSaveChangesMessage", "RopSeekRow", "RopSeekRowBookmark", "RopSeekRowFractional",
    "RopSeekStream", "RopSetCollapseState", "RopSetColumns", "RopSetProperties", "RopSetPropertiesNoReplicate",
    "RopSetSearchCriteria", "RopSetStreamSize", "RopSortTable", "RopSynchronizationUploadStateStreamBegin",
    "RopSynchronizationUploadStateStreamContinue", "RopSynchronizationUploadStateStreamEnd", "RopWriteAndCommitStream",
    "RopWriteStream", "RopWriteStreamExtended", "RopTellVersion",
})  # fmt: skip
"""ROPs that change an open object so that what comes later on it needs them: positions, columns, values, buffers."""

READING = (
    "RopGet", "RopQuery", "RopRead", "RopFind", "RopSeek", "RopReload", "RopOpen", "RopRelease", "RopSetColumns",
    "RopSortTable", "RopRestrict", "RopFastTransferSource", "RopSynchronizationConfigure", "RopLongTermIdFromId",
    "RopSynchronizationUploadState", "RopSynchronizationOpen", "RopSynchronizationGet", "RopIdFromLongTermId",
)  # fmt: skip
"""How ROPs begin that write nothing: skipping them leaves no object without something."""


def writes(name: str) -> bool:
    return name in WRITES
