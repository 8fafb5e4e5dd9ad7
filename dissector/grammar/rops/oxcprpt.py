"""Property and stream ROPs [MS-OXCPRPT], [MS-OXCROPS] 2.2.8 and 2.2.9.

The row of RopGetPropertiesSpecific carries values without tags: those of the matching request come in as Param
"property_tags". Stream data stays opaque here; the streams of one handle are joined elsewhere.
"""

from __future__ import annotations

from construct import this

from dissector.grammar.base import Param
from dissector.grammar.layouts import Count, Present, Rows, SizeOf, When
from dissector.grammar.leaves import I64, U8, U16, U32, U64, Bool8, Bool16, Enumerated, Flags, Guid
from dissector.grammar.properties import PropertyName, PropertyProblem, PropertyRow, PropertyTag, TaggedPropertyValue
from dissector.grammar.rops.base import NULL_DESTINATION, RopDef, counted, counted_bytes, rop

ERRORS_RETURNED = 0x00040380
"""The warning that some names could not be mapped; the response is otherwise that of success."""
AS_MAXIMUM = 0xBABE
"""A byte count that says: look at the maximum behind it."""

_NAMES = counted("PropertyNameCount", "PropertyNames", PropertyName)
_IDS = counted("PropertyIdCount", "PropertyIds", U16)
_TAGS = counted("PropertyTagCount", "PropertyTags", PropertyTag)
_VALUES = counted("PropertyValueCount", "PropertyValues", TaggedPropertyValue)
_PROBLEMS = counted("PropertyProblemCount", "PropertyProblems", PropertyProblem)
_SIZED_VALUES = ("PropertyValueSize" / SizeOf(U16, "PropertyValues", plus=2), *_VALUES)
_DATA = counted_bytes("DataSize", "Data")
_COPIED = ("ReadByteCount" / U64, "WrittenByteCount" / U64)
_REGION = ("RegionOffset" / U64, "RegionSize" / U64, "LockFlags" / Enumerated(U32, "LockFlags"))

GET_PROPERTY_IDS_FROM_NAMES = rop(
    0x56, "RopGetPropertyIdsFromNames", "2.2.8.1",
    "Flags" / Enumerated(U8, "GetPropertyIdsFlags"),
    *_NAMES,
    success=_IDS,
    warnings=(ERRORS_RETURNED,),
    summary=("Flags", "PropertyNames", "PropertyIds"),
)  # fmt: skip

GET_NAMES_FROM_PROPERTY_IDS = rop(
    0x55, "RopGetNamesFromPropertyIds", "2.2.8.2",
    *_IDS,
    success=_NAMES,
    summary=("PropertyIds", "PropertyNames"),
)  # fmt: skip

GET_PROPERTIES_SPECIFIC = rop(
    0x07, "RopGetPropertiesSpecific", "2.2.8.3",
    "PropertySizeLimit" / U16,
    "WantUnicode" / Bool16,
    *_TAGS,
    success=("RowData" / PropertyRow(Param("property_tags")),),
    summary=("PropertyTags",),
    params=("property_tags", "codepage"),
)  # fmt: skip

GET_PROPERTIES_ALL = rop(
    0x08, "RopGetPropertiesAll", "2.2.8.4",
    "PropertySizeLimit" / U16,
    "WantUnicode" / Bool16,
    success=_VALUES,
    summary=("PropertyValueCount",),
    params=("codepage",),
)  # fmt: skip

GET_PROPERTIES_LIST = rop(
    0x09, "RopGetPropertiesList", "2.2.8.5",
    success=_TAGS,
    summary=("PropertyTags",),
)  # fmt: skip

SET_PROPERTIES = rop(
    0x0A, "RopSetProperties", "2.2.8.6",
    *_SIZED_VALUES,
    success=_PROBLEMS,
    summary=("PropertyValues", "PropertyProblems"),
    params=("codepage",),
)  # fmt: skip

SET_PROPERTIES_NO_REPLICATE = rop(
    0x79, "RopSetPropertiesNoReplicate", "2.2.8.7",
    *_SIZED_VALUES,
    success=_PROBLEMS,
    summary=("PropertyValues", "PropertyProblems"),
    params=("codepage",),
)  # fmt: skip

DELETE_PROPERTIES = rop(
    0x0B, "RopDeleteProperties", "2.2.8.8",
    *_TAGS,
    success=_PROBLEMS,
    summary=("PropertyTags", "PropertyProblems"),
)  # fmt: skip

DELETE_PROPERTIES_NO_REPLICATE = rop(
    0x7A, "RopDeletePropertiesNoReplicate", "2.2.8.9",
    *_TAGS,
    success=_PROBLEMS,
    summary=("PropertyTags", "PropertyProblems"),
)  # fmt: skip

QUERY_NAMED_PROPERTIES = rop(
    0x5F, "RopQueryNamedProperties", "2.2.8.10",
    "QueryFlags" / Flags(U8, "QueryNamedPropertiesFlags"),
    "HasGuid" / Present(Bool8, "PropertyGuid"),
    "PropertyGuid" / When(this.HasGuid, Guid),
    success=(
        "IdCount" / Count(U16, "PropertyIds"),
        "PropertyIds" / Rows(this.IdCount, U16),
        "PropertyNames" / Rows(this.IdCount, PropertyName),
    ),
    warnings=(ERRORS_RETURNED,),
    summary=("QueryFlags", "PropertyGuid", "PropertyIds", "PropertyNames"),
)  # fmt: skip

COPY_PROPERTIES = rop(
    0x67, "RopCopyProperties", "2.2.8.11",
    "WantAsynchronous" / Bool8,
    "CopyFlags" / Flags(U8, "CopyPropertiesFlags"),
    *_TAGS,
    handles=("SourceHandleIndex", "DestHandleIndex"),
    success=_PROBLEMS,
    other={NULL_DESTINATION: ("DestHandleIndex" / U32,)},
    summary=("CopyFlags", "PropertyTags", "PropertyProblems"),
)  # fmt: skip

COPY_TO = rop(
    0x39, "RopCopyTo", "2.2.8.12",
    "WantAsynchronous" / Bool8,
    "WantSubObjects" / Bool8,
    "CopyFlags" / Flags(U8, "CopyPropertiesFlags"),
    *counted("ExcludedTagCount", "ExcludedTags", PropertyTag),
    handles=("SourceHandleIndex", "DestHandleIndex"),
    success=_PROBLEMS,
    other={NULL_DESTINATION: ("DestHandleIndex" / U32,)},
    summary=("WantSubObjects", "CopyFlags", "ExcludedTags", "PropertyProblems"),
)  # fmt: skip

PROGRESS = rop(
    0x50, "RopProgress", "2.2.8.13",
    "WantCancel" / Bool8,
    success=("LogonId" / U8, "CompletedTaskCount" / U32, "TotalTaskCount" / U32),
    summary=("WantCancel", "CompletedTaskCount", "TotalTaskCount"),
)  # fmt: skip

OPEN_STREAM = rop(
    0x2B, "RopOpenStream", "2.2.9.1",
    "PropertyTag" / PropertyTag,
    "OpenModeFlags" / Enumerated(U8, "OpenStreamModeFlags"),
    output="OutputHandleIndex",
    success=("StreamSize" / U32,),
    opens="stream",
    summary=("PropertyTag", "OpenModeFlags", "StreamSize"),
)  # fmt: skip

READ_STREAM = rop(
    0x2C, "RopReadStream", "2.2.9.2",
    "ByteCount" / U16,
    "MaximumByteCount" / When(this.ByteCount == AS_MAXIMUM, U32),
    success=_DATA,
    failure=_DATA,
    short_failure=True,
    summary=("ByteCount", "MaximumByteCount", "DataSize"),
)  # fmt: skip

WRITE_STREAM = rop(
    0x2D, "RopWriteStream", "2.2.9.3",
    *_DATA,
    success=("WrittenSize" / U16,),
    failure=("WrittenSize" / U16,),
    short_failure=True,
    summary=("DataSize", "WrittenSize"),
)  # fmt: skip

WRITE_STREAM_EXTENDED = rop(
    0xA3, "RopWriteStreamExtended", "2.2.9.4",
    *_DATA,
    success=("WrittenSize" / U32,),
    failure=("WrittenSize" / U32,),
    short_failure=True,
    summary=("DataSize", "WrittenSize"),
)  # fmt: skip

COMMIT_STREAM = rop(
    0x5D, "RopCommitStream", "2.2.9.5",
)  # fmt: skip

GET_STREAM_SIZE = rop(
    0x5E, "RopGetStreamSize", "2.2.9.6",
    success=("StreamSize" / U32,),
    summary=("StreamSize",),
)  # fmt: skip

SET_STREAM_SIZE = rop(
    0x2F, "RopSetStreamSize", "2.2.9.7",
    "StreamSize" / U64,
    summary=("StreamSize",),
)  # fmt: skip

SEEK_STREAM = rop(
    0x2E, "RopSeekStream", "2.2.9.8",
    "Origin" / Enumerated(U8, "SeekStreamOrigin"),
    "Offset" / I64,
    success=("NewPosition" / U64,),
    summary=("Origin", "Offset", "NewPosition"),
)  # fmt: skip

COPY_TO_STREAM = rop(
    0x3A, "RopCopyToStream", "2.2.9.9",
    "ByteCount" / U64,
    handles=("SourceHandleIndex", "DestHandleIndex"),
    success=_COPIED,
    failure=_COPIED,
    other={NULL_DESTINATION: ("DestHandleIndex" / U32, *_COPIED)},
    short_failure=True,
    summary=("ByteCount", "ReadByteCount", "WrittenByteCount"),
)  # fmt: skip

LOCK_REGION_STREAM = rop(
    0x5B, "RopLockRegionStream", "2.2.9.10",
    *_REGION,
    summary=("RegionOffset", "RegionSize", "LockFlags"),
)  # fmt: skip

UNLOCK_REGION_STREAM = rop(
    0x5C, "RopUnlockRegionStream", "2.2.9.11",
    *_REGION,
    summary=("RegionOffset", "RegionSize", "LockFlags"),
)  # fmt: skip

WRITE_AND_COMMIT_STREAM = rop(
    0x90, "RopWriteAndCommitStream", "2.2.9.12",
    *_DATA,
    success=("WrittenSize" / U16,),
    failure=("WrittenSize" / U16,),
    short_failure=True,
    summary=("DataSize", "WrittenSize"),
)  # fmt: skip

CLONE_STREAM = rop(
    0x3B, "RopCloneStream", "2.2.9.13",
    output="OutputHandleIndex",
    opens="stream",
)  # fmt: skip

ROPS: tuple[RopDef, ...] = (
    GET_PROPERTY_IDS_FROM_NAMES, GET_NAMES_FROM_PROPERTY_IDS, GET_PROPERTIES_SPECIFIC, GET_PROPERTIES_ALL,
    GET_PROPERTIES_LIST, SET_PROPERTIES, SET_PROPERTIES_NO_REPLICATE, DELETE_PROPERTIES, DELETE_PROPERTIES_NO_REPLICATE,
    QUERY_NAMED_PROPERTIES, COPY_PROPERTIES, COPY_TO, PROGRESS, OPEN_STREAM, READ_STREAM, WRITE_STREAM,
    WRITE_STREAM_EXTENDED, COMMIT_STREAM, GET_STREAM_SIZE, SET_STREAM_SIZE, SEEK_STREAM, COPY_TO_STREAM,
    LOCK_REGION_STREAM, UNLOCK_REGION_STREAM, WRITE_AND_COMMIT_STREAM, CLONE_STREAM,
)  # fmt: skip
