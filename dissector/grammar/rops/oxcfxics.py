"""Bulk transfer and synchronization ROPs [MS-OXCFXICS], [MS-OXCROPS] 2.2.12 and 2.2.13.

What TransferBuffer, TransferData and StreamData carry is cut without regard to its structure: it stays opaque here and
is joined per context before it is parsed. The root of a stream follows from the ROP that opened its context.
"""

from __future__ import annotations

from construct import this

from dissector.grammar.ids import FolderId, GlobalCounter, LongTermId, MessageId
from dissector.grammar.layouts import Choice, Counted, Fixed, Layout, Multi, Rows, RowsToEnd, SizeOf, When
from dissector.grammar.leaves import U8, U16, U32, Bool8, Enumerated, Flags, Guid, Labelled
from dissector.grammar.names import type_name
from dissector.grammar.properties import PropertyTag, PropertyValue, TaggedPropertyValue
from dissector.grammar.restrictions import Restriction
from dissector.grammar.rops.base import SERVER_BUSY, RopDef, counted, counted_bytes, rop, sized, sized_unless_empty
from dissector.grammar.xid import PredecessorChangeList, Xid

AS_MAXIMUM = 0xBABE
"""A BufferSize that says: up to MaximumBufferSize, or as much as the response has room for."""

_TAGS = counted("PropertyTagCount", "PropertyTags", PropertyTag)
_VALUES = counted("PropertyValueCount", "PropertyValues", TaggedPropertyValue)
_SEND_OPTIONS = "SendOptions" / Flags(U8, "SendOptions")
_LEVEL = "Level" / Enumerated(U8, "FastTransferLevel")
_TRANSFER_DATA = counted_bytes("TransferDataSize", "TransferData")
_STATUS = "TransferStatus" / Enumerated(U16, "TransferStatus")

DESTINATION_CONFIGURE = rop(
    0x53, "RopFastTransferDestinationConfigure", "2.2.12.1",
    "SourceOperation" / Enumerated(U8, "SourceOperation"),
    "CopyFlags" / Flags(U8, "DestinationConfigureCopyFlags"),
    output="OutputHandleIndex",
    opens="fasttransfer-destination",
    summary=("SourceOperation", "CopyFlags"),
)  # fmt: skip

_PUT = (
    _STATUS,
    "InProgressCount" / U16,
    "TotalStepCount" / U16,
    "Reserved" / Fixed(U8, 0),
    "BufferUsedSize" / U16,
)

DESTINATION_PUT_BUFFER = rop(
    0x54, "RopFastTransferDestinationPutBuffer", "2.2.12.2",
    *_TRANSFER_DATA,
    success=_PUT,
    failure=_PUT,
    short_failure=True,
    summary=("TransferDataSize", "TransferStatus", "BufferUsedSize"),
)  # fmt: skip

_PUT_EXTENDED = (
    _STATUS,
    "InProgressCount" / U32,
    "TotalStepCount" / U32,
    "Reserved" / Fixed(U8, 0),
    "BufferUsedSize" / U16,
)

DESTINATION_PUT_BUFFER_EXTENDED = rop(
    0x9D, "RopFastTransferDestinationPutBufferExtended", "2.2.12.3",
    *_TRANSFER_DATA,
    success=_PUT_EXTENDED,
    failure=_PUT_EXTENDED,
    short_failure=True,
    summary=("TransferDataSize", "TransferStatus", "BufferUsedSize"),
)  # fmt: skip

_GOT = (_STATUS, "InProgressCount" / U16, "TotalStepCount" / U16, "Reserved" / Fixed(U8, 0))
_GOT_BUFFER = (*_GOT, *counted_bytes("TransferBufferSize", "TransferBuffer"))

SOURCE_GET_BUFFER = rop(
    0x4E, "RopFastTransferSourceGetBuffer", "2.2.12.4",
    "BufferSize" / U16,
    "MaximumBufferSize" / When(this.BufferSize == AS_MAXIMUM, U16),
    success=_GOT_BUFFER,
    failure=_GOT_BUFFER,
    other={SERVER_BUSY: (*_GOT, "TransferBufferSize" / Fixed(U16, 0), "BackoffTime" / U32)},
    short_failure=True,
    summary=("TransferStatus", "InProgressCount", "TotalStepCount", "TransferBufferSize", "BackoffTime"),
)  # fmt: skip

SOURCE_COPY_FOLDER = rop(
    0x4C, "RopFastTransferSourceCopyFolder", "2.2.12.5",
    "CopyFlags" / Flags(U8, "CopyFolderCopyFlags"),
    _SEND_OPTIONS,
    output="OutputHandleIndex",
    opens="fasttransfer-source",
    summary=("CopyFlags", "SendOptions"),
)  # fmt: skip

SOURCE_COPY_MESSAGES = rop(
    0x4B, "RopFastTransferSourceCopyMessages", "2.2.12.6",
    *counted("MessageIdCount", "MessageIds", MessageId),
    "CopyFlags" / Flags(U8, "CopyMessagesCopyFlags"),
    _SEND_OPTIONS,
    output="OutputHandleIndex",
    opens="fasttransfer-source",
    summary=("MessageIds", "CopyFlags", "SendOptions"),
)  # fmt: skip

SOURCE_COPY_TO = rop(
    0x4D, "RopFastTransferSourceCopyTo", "2.2.12.7",
    _LEVEL,
    "CopyFlags" / Flags(U32, "CopyToCopyFlags"),
    _SEND_OPTIONS,
    *_TAGS,
    output="OutputHandleIndex",
    opens="fasttransfer-source",
    summary=("Level", "CopyFlags", "SendOptions", "PropertyTags"),
)  # fmt: skip

SOURCE_COPY_PROPERTIES = rop(
    0x69, "RopFastTransferSourceCopyProperties", "2.2.12.8",
    _LEVEL,
    "CopyFlags" / Flags(U8, "CopyPropertiesCopyFlags"),
    _SEND_OPTIONS,
    *_TAGS,
    output="OutputHandleIndex",
    opens="fasttransfer-source",
    summary=("Level", "CopyFlags", "SendOptions", "PropertyTags"),
)  # fmt: skip

TELL_VERSION = rop(
    0x86, "RopTellVersion", "2.2.12.9",
    "Version" / Rows(3, U16),
    summary=("Version",),
)  # fmt: skip

SYNCHRONIZATION_CONFIGURE = rop(
    0x70, "RopSynchronizationConfigure", "2.2.13.1",
    "SynchronizationType" / Enumerated(U8, "SynchronizationType"),
    _SEND_OPTIONS,
    "SynchronizationFlags" / Flags(U16, "SynchronizationFlags"),
    *sized_unless_empty("RestrictionDataSize", "RestrictionData", Restriction),
    "SynchronizationExtraFlags" / Flags(U32, "SynchronizationExtraFlags"),
    *_TAGS,
    output="OutputHandleIndex",
    opens="sync-download",
    summary=(
        "SynchronizationType", "SynchronizationFlags", "SendOptions", "SynchronizationExtraFlags", "PropertyTags",
    ),
)  # fmt: skip

IMPORT_MESSAGE_CHANGE = rop(
    0x72, "RopSynchronizationImportMessageChange", "2.2.13.2",
    "ImportFlag" / Flags(U8, "ImportFlag"),
    *_VALUES,
    output="OutputHandleIndex",
    success=("MessageId" / MessageId,),
    opens="message",
    summary=("ImportFlag", "PropertyValues", "MessageId"),
    params=("codepage",),
)  # fmt: skip

MessageReadState = Layout(
    *sized("MessageIdSize", "MessageId", Xid),
    "MarkAsRead" / Bool8,
    name="MessageReadState",
    spec="MS-OXCROPS 2.2.13.3.1.1",
    summary="{MessageId} MarkAsRead {MarkAsRead}",
)

IMPORT_READ_STATE_CHANGES = rop(
    0x80, "RopSynchronizationImportReadStateChanges", "2.2.13.3",
    *sized("MessageReadStatesSize", "MessageReadStates", RowsToEnd(MessageReadState)),
    summary=("MessageReadStates",),
)  # fmt: skip

IMPORT_HIERARCHY_CHANGE = rop(
    0x73, "RopSynchronizationImportHierarchyChange", "2.2.13.4",
    *counted("HierarchyValueCount", "HierarchyValues", TaggedPropertyValue),
    *_VALUES,
    success=("FolderId" / FolderId,),
    summary=("HierarchyValues", "PropertyValueCount", "FolderId"),
    params=("codepage",),
)  # fmt: skip


class _TypeAlone(Labelled):
    """A property tag of which only the type counts."""

    def label(self, value: int) -> str:
        return f"no id, {type_name(value & 0xFFFF)}"


ImportDeletesValue = Layout(
    "PropertyTag" / _TypeAlone(U32),
    "PropertyValue"
    / Choice(
        this.PropertyTag & 0xFFFF, {0x1102: Multi(U32, Counted(U16, Xid))}, default=PropertyValue(this.PropertyTag)
    ),
    name="TaggedPropertyValue",
    spec="MS-OXCFXICS 2.2.3.2.4.5.1",
    summary="{PropertyValue}",
)
"""The one value of RopSynchronizationImportDeletes: its property id means nothing, its items are source keys."""

IMPORT_DELETES = rop(
    0x74, "RopSynchronizationImportDeletes", "2.2.13.5",
    "ImportDeleteFlags" / Flags(U8, "ImportDeleteFlags"),
    *counted("PropertyValueCount", "PropertyValues", ImportDeletesValue),
    summary=("ImportDeleteFlags", "PropertyValues"),
)  # fmt: skip

IMPORT_MESSAGE_MOVE = rop(
    0x78, "RopSynchronizationImportMessageMove", "2.2.13.6",
    *sized("SourceFolderIdSize", "SourceFolderId", Xid, U32),
    *sized("SourceMessageIdSize", "SourceMessageId", Xid, U32),
    *sized("PredecessorChangeListSize", "PredecessorChangeList", PredecessorChangeList, U32),
    *sized("DestinationMessageIdSize", "DestinationMessageId", Xid, U32),
    *sized("ChangeNumberSize", "ChangeNumber", Xid, U32),
    success=("MessageId" / MessageId,),
    summary=("SourceFolderId", "SourceMessageId", "DestinationMessageId", "MessageId"),
)  # fmt: skip

OPEN_COLLECTOR = rop(
    0x7E, "RopSynchronizationOpenCollector", "2.2.13.7",
    "IsContentsCollector" / Bool8,
    output="OutputHandleIndex",
    opens="sync-upload",
    summary=("IsContentsCollector",),
)  # fmt: skip

GET_TRANSFER_STATE = rop(
    0x82, "RopSynchronizationGetTransferState", "2.2.13.8",
    output="OutputHandleIndex",
    opens="state",
)  # fmt: skip

UPLOAD_STATE_STREAM_BEGIN = rop(
    0x75, "RopSynchronizationUploadStateStreamBegin", "2.2.13.9",
    "StateProperty" / PropertyTag,
    "TransferBufferSize" / U32,
    summary=("StateProperty", "TransferBufferSize"),
)  # fmt: skip

UPLOAD_STATE_STREAM_CONTINUE = rop(
    0x76, "RopSynchronizationUploadStateStreamContinue", "2.2.13.10",
    *counted_bytes("StreamDataSize", "StreamData", U32),
    summary=("StreamDataSize",),
)  # fmt: skip

UPLOAD_STATE_STREAM_END = rop(
    0x77, "RopSynchronizationUploadStateStreamEnd", "2.2.13.11",
)  # fmt: skip

LongTermIdRange = Layout(
    "MinLongTermId" / LongTermId,
    "MaxLongTermId" / LongTermId,
    name="LongTermIdRange",
    spec="MS-OXCROPS 2.2.13.12.1.1",
    summary="{MinLongTermId} to {MaxLongTermId}",
)

SET_LOCAL_REPLICA_MIDSET_DELETED = rop(
    0x93, "RopSetLocalReplicaMidsetDeleted", "2.2.13.12",
    "DataSize" / SizeOf(U16, "LongTermIdRanges", plus=4),
    *counted("LongTermIdRangeCount", "LongTermIdRanges", LongTermIdRange, U32),
    summary=("LongTermIdRanges",),
)  # fmt: skip

GET_LOCAL_REPLICA_IDS = rop(
    0x7F, "RopGetLocalReplicaIds", "2.2.13.13",
    "IdCount" / U32,
    success=("ReplGuid" / Guid, "GlobalCount" / GlobalCounter),
    summary=("IdCount", "ReplGuid", "GlobalCount"),
)  # fmt: skip

ROPS: tuple[RopDef, ...] = (
    DESTINATION_CONFIGURE, DESTINATION_PUT_BUFFER, DESTINATION_PUT_BUFFER_EXTENDED, SOURCE_GET_BUFFER,
    SOURCE_COPY_FOLDER, SOURCE_COPY_MESSAGES, SOURCE_COPY_TO, SOURCE_COPY_PROPERTIES, TELL_VERSION,
    SYNCHRONIZATION_CONFIGURE, IMPORT_MESSAGE_CHANGE, IMPORT_READ_STATE_CHANGES, IMPORT_HIERARCHY_CHANGE,
    IMPORT_DELETES, IMPORT_MESSAGE_MOVE, OPEN_COLLECTOR, GET_TRANSFER_STATE, UPLOAD_STATE_STREAM_BEGIN,
    UPLOAD_STATE_STREAM_CONTINUE, UPLOAD_STATE_STREAM_END, SET_LOCAL_REPLICA_MIDSET_DELETED, GET_LOCAL_REPLICA_IDS,
)  # fmt: skip
