"""Folder ROPs [MS-OXCFOLD], [MS-OXCROPS] 2.2.4."""

from __future__ import annotations

from construct import this

from dissector.grammar.ids import FolderId, MessageId
from dissector.grammar.layouts import Count, Fixed, Present, Rows, StrIf, When
from dissector.grammar.leaves import U8, U16, U32, Bool8, Enumerated, Flags, Str8
from dissector.grammar.restrictions import Restriction
from dissector.grammar.rops.base import NULL_DESTINATION, RopDef, counted, rop, sized_unless_empty

REPLICA_SERVERS = (
    "ServerCount" / When(this.IsGhosted, Count(U16, "Servers")),
    "CheapServerCount" / When(this.IsGhosted, Fixed(U16, 0)),
    "Servers" / When(this.IsGhosted, Rows(this.ServerCount, Str8)),
)
"""The servers that have the replicas of a ghosted public folder, the cheap ones first."""

_DESTINATION = "DestHandleIndex" / U32
_PARTIAL = "PartialCompletion" / Bool8

OPEN_FOLDER = rop(
    0x02, "RopOpenFolder", "2.2.4.1",
    "FolderId" / FolderId,
    "OpenModeFlags" / Flags(U8, "OpenFolderModeFlags"),
    output="OutputHandleIndex", opens="folder",
    success=("HasRules" / Bool8, "IsGhosted" / Present(Bool8, "Servers"), *REPLICA_SERVERS),
    summary=("FolderId",),
    params=("codepage",),
)  # fmt: skip

CREATE_FOLDER = rop(
    0x1C, "RopCreateFolder", "2.2.4.2",
    "FolderType" / Enumerated(U8, "FolderType"),
    "UseUnicodeStrings" / Bool8,
    "OpenExisting" / Bool8,
    "Reserved" / Fixed(U8, 0),
    "DisplayName" / StrIf(this.UseUnicodeStrings),
    "Comment" / StrIf(this.UseUnicodeStrings),
    output="OutputHandleIndex", opens="folder",
    success=(
        "FolderId" / FolderId,
        "IsExistingFolder" / Present(Bool8, "HasRules"),
        "HasRules" / When(this.IsExistingFolder, Bool8),
        "IsGhosted" / When(this.IsExistingFolder, Present(Bool8, "Servers")),
        *REPLICA_SERVERS,
    ),
    summary=("DisplayName", "FolderType", "FolderId", "IsExistingFolder"),
    params=("codepage",),
)  # fmt: skip

DELETE_FOLDER = rop(
    0x1D, "RopDeleteFolder", "2.2.4.3",
    "DeleteFolderFlags" / Flags(U8, "DeleteFolderFlags"),
    "FolderId" / FolderId,
    success=(_PARTIAL,), failure=(_PARTIAL,), short_failure=True,
    summary=("FolderId", "DeleteFolderFlags", "PartialCompletion"),
)  # fmt: skip

SET_SEARCH_CRITERIA = rop(
    0x30, "RopSetSearchCriteria", "2.2.4.4",
    *sized_unless_empty("RestrictionDataSize", "RestrictionData", Restriction),
    *counted("FolderIdCount", "FolderIds", FolderId),
    "SearchFlags" / Flags(U32, "SetSearchFlags"),
    summary=("SearchFlags", "FolderIds", "RestrictionData"),
    params=("codepage",),
)  # fmt: skip

GET_SEARCH_CRITERIA = rop(
    0x31, "RopGetSearchCriteria", "2.2.4.5",
    "UseUnicode" / Bool8,
    "IncludeRestriction" / Bool8,
    "IncludeFolders" / Bool8,
    success=(
    *sized_unless_empty("RestrictionDataSize", "RestrictionData", Restriction),
        "LogonId" / Fixed(U8, 0),
        *counted("FolderIdCount", "FolderIds", FolderId),
        "SearchFlags" / Flags(U32, "GetSearchFlags"),
    ),
    summary=("SearchFlags", "FolderIds", "RestrictionData"),
    params=("codepage",),
)  # fmt: skip

MOVE_COPY_MESSAGES = rop(
    0x33, "RopMoveCopyMessages", "2.2.4.6",
    *counted("MessageIdCount", "MessageIds", MessageId),
    "WantAsynchronous" / Bool8,
    "WantCopy" / Bool8,
    handles=("SourceHandleIndex", "DestHandleIndex"),
    success=(_PARTIAL,), failure=(_PARTIAL,), short_failure=True,
    other={NULL_DESTINATION: (_DESTINATION, _PARTIAL)},
    summary=("WantCopy", "MessageIds", "PartialCompletion"),
)  # fmt: skip

MOVE_FOLDER = rop(
    0x35, "RopMoveFolder", "2.2.4.7",
    "WantAsynchronous" / Bool8,
    "UseUnicode" / Bool8,
    "FolderId" / FolderId,
    "NewFolderName" / StrIf(this.UseUnicode),
    handles=("SourceHandleIndex", "DestHandleIndex"),
    success=(_PARTIAL,), failure=(_PARTIAL,), short_failure=True,
    other={NULL_DESTINATION: (_DESTINATION, _PARTIAL)},
    summary=("NewFolderName", "FolderId", "PartialCompletion"),
    params=("codepage",),
)  # fmt: skip

COPY_FOLDER = rop(
    0x36, "RopCopyFolder", "2.2.4.8",
    "WantAsynchronous" / Bool8,
    "WantRecursive" / Bool8,
    "UseUnicode" / Bool8,
    "FolderId" / FolderId,
    "NewFolderName" / StrIf(this.UseUnicode),
    handles=("SourceHandleIndex", "DestHandleIndex"),
    success=(_PARTIAL,), failure=(_PARTIAL,), short_failure=True,
    other={NULL_DESTINATION: (_DESTINATION, _PARTIAL)},
    summary=("NewFolderName", "FolderId", "WantRecursive", "PartialCompletion"),
    params=("codepage",),
)  # fmt: skip

EMPTY_FOLDER = rop(
    0x58, "RopEmptyFolder", "2.2.4.9",
    "WantAsynchronous" / Bool8,
    "WantDeleteAssociated" / Bool8,
    success=(_PARTIAL,), failure=(_PARTIAL,), short_failure=True,
    summary=("WantDeleteAssociated", "PartialCompletion"),
)  # fmt: skip

HARD_DELETE_MESSAGES_AND_SUBFOLDERS = rop(
    0x92, "RopHardDeleteMessagesAndSubfolders", "2.2.4.10",
    "WantAsynchronous" / Bool8,
    "WantDeleteAssociated" / Bool8,
    success=(_PARTIAL,), failure=(_PARTIAL,), short_failure=True,
    summary=("WantDeleteAssociated", "PartialCompletion"),
)  # fmt: skip

DELETE_MESSAGES = rop(
    0x1E, "RopDeleteMessages", "2.2.4.11",
    "WantAsynchronous" / Bool8,
    "NotifyNonRead" / Bool8,
    *counted("MessageIdCount", "MessageIds", MessageId),
    success=(_PARTIAL,), failure=(_PARTIAL,), short_failure=True,
    summary=("MessageIds", "PartialCompletion"),
)  # fmt: skip

HARD_DELETE_MESSAGES = rop(
    0x91, "RopHardDeleteMessages", "2.2.4.12",
    "WantAsynchronous" / Bool8,
    "NotifyNonRead" / Bool8,
    *counted("MessageIdCount", "MessageIds", MessageId),
    success=(_PARTIAL,), failure=(_PARTIAL,), short_failure=True,
    summary=("MessageIds", "PartialCompletion"),
)  # fmt: skip

GET_HIERARCHY_TABLE = rop(
    0x04, "RopGetHierarchyTable", "2.2.4.13",
    "TableFlags" / Flags(U8, "HierarchyTableFlags"),
    output="OutputHandleIndex", opens="table",
    success=("RowCount" / U32,),
    summary=("TableFlags", "RowCount"),
)  # fmt: skip

GET_CONTENTS_TABLE = rop(
    0x05, "RopGetContentsTable", "2.2.4.14",
    "TableFlags" / Flags(U8, "ContentsTableFlags"),
    output="OutputHandleIndex", opens="table",
    success=("RowCount" / U32,),
    summary=("TableFlags", "RowCount"),
)  # fmt: skip

ROPS: tuple[RopDef, ...] = (
    OPEN_FOLDER,
    CREATE_FOLDER,
    DELETE_FOLDER,
    SET_SEARCH_CRITERIA,
    GET_SEARCH_CRITERIA,
    MOVE_COPY_MESSAGES,
    MOVE_FOLDER,
    COPY_FOLDER,
    EMPTY_FOLDER,
    HARD_DELETE_MESSAGES_AND_SUBFOLDERS,
    DELETE_MESSAGES,
    HARD_DELETE_MESSAGES,
    GET_HIERARCHY_TABLE,
    GET_CONTENTS_TABLE,
)
