"""Store ROPs [MS-OXCSTOR], [MS-OXCROPS] 2.2.3."""

from __future__ import annotations

from construct import this

from dissector.grammar.base import Needed
from dissector.grammar.ids import FolderId, LongTermId, ObjectIdField
from dissector.grammar.layouts import Choice, Count, Fixed, Layout, Present, Rows, Sized, SizeOf, When
from dissector.grammar.leaves import U8, U16, U32, Bool8, Data, Enumerated, FileTime, Flags, Guid, Str8
from dissector.grammar.properties import PropertyRow
from dissector.grammar.rops.base import WRONG_SERVER, RopDef, counted, counted_bytes, rop

PRIVATE = 0x01
"""The bit of LogonFlags that tells a mailbox from the public folders."""

RECEIVE_FOLDER_COLUMNS = (0x67480014, 0x001A001E, 0x30080040)
"""The columns of RopGetReceiveFolderTable: PidTagFolderId, PidTagMessageClass (8-bit), PidTagLastModificationTime."""

PrivateFolderIds = Layout(
    "MailboxRoot" / FolderId,
    "DeferredAction" / FolderId,
    "SpoolerQueue" / FolderId,
    "IpmSubtree" / FolderId,
    "Inbox" / FolderId,
    "Outbox" / FolderId,
    "SentItems" / FolderId,
    "DeletedItems" / FolderId,
    "CommonViews" / FolderId,
    "Schedule" / FolderId,
    "Search" / FolderId,
    "Views" / FolderId,
    "Shortcuts" / FolderId,
    name="FolderIds",
    spec="MS-OXCSTOR 2.2.1.1.3",
)

PublicFolderIds = Layout(
    "PublicRoot" / FolderId,
    "IpmSubtree" / FolderId,
    "NonIpmSubtree" / FolderId,
    "EFormsRegistry" / FolderId,
    "FreeBusy" / FolderId,
    "OfflineAddressBook" / FolderId,
    "LocaleEFormsRegistry" / FolderId,
    "LocalFreeBusy" / FolderId,
    "LocalOfflineAddressBook" / FolderId,
    "NntpArticleIndex" / FolderId,
    "Unused10" / FolderId,
    "Unused11" / FolderId,
    "Unused12" / FolderId,
    name="FolderIds",
    spec="MS-OXCSTOR 2.2.1.1.4",
)

LogonTime = Layout(
    "Seconds" / U8,
    "Minutes" / U8,
    "Hour" / U8,
    "DayOfWeek" / Enumerated(U8, "DayOfWeek"),
    "Day" / U8,
    "Month" / U8,
    "Year" / U16,
    name="LogonTime",
    spec="MS-OXCROPS 2.2.3.1.2.1",
    summary="{DayOfWeek} {Year}-{Month}-{Day} {Hour}:{Minutes}:{Seconds}",
)

_IS_PRIVATE = this.LogonFlags & PRIVATE

LOGON = rop(
    0xFE, "RopLogon", "2.2.3.1",
    "LogonFlags" / Flags(U8, "LogonFlags"),
    "OpenFlags" / Flags(U32, "OpenFlags"),
    "StoreState" / Fixed(U32, 0),
    "EssdnSize" / SizeOf(U16, "Essdn"),
    "Essdn" / When(this.EssdnSize, Sized(this.EssdnSize, Str8)),
    handles=(), output="OutputHandleIndex", opens="logon",
    success=(
        "LogonFlags" / Flags(U8, "LogonFlags"),
        "FolderIds" / Choice(_IS_PRIVATE, {0: PublicFolderIds, PRIVATE: PrivateFolderIds}),
        "ResponseFlags" / When(_IS_PRIVATE, Flags(U8, "LogonResponseFlags")),
        "MailboxGuid" / When(_IS_PRIVATE, Guid),
        "ReplId" / U16,
        "ReplGuid" / Guid,
        "PerUserGuid" / When(~_IS_PRIVATE, Guid),
        "LogonTime" / When(_IS_PRIVATE, LogonTime),
        "GwartTime" / When(_IS_PRIVATE, FileTime),
        "StoreState" / When(_IS_PRIVATE, Fixed(Flags(U32, "StoreState"), 0)),
    ),
    other={
        WRONG_SERVER: (
            "LogonFlags" / Flags(U8, "LogonFlags"),
            "ServerNameSize" / SizeOf(U8, "ServerName"),
            "ServerName" / When(this.ServerNameSize, Sized(this.ServerNameSize, Str8)),
        )
    },
    summary=("Essdn", "LogonFlags", "OpenFlags", "MailboxGuid", "ServerName"),
    params=("codepage",),
)  # fmt: skip

GET_RECEIVE_FOLDER = rop(
    0x27, "RopGetReceiveFolder", "2.2.3.2",
    "MessageClass" / Str8,
    success=("FolderId" / FolderId, "ExplicitMessageClass" / Str8),
    summary=("MessageClass", "FolderId", "ExplicitMessageClass"),
    params=("codepage",),
)  # fmt: skip

SET_RECEIVE_FOLDER = rop(
    0x26, "RopSetReceiveFolder", "2.2.3.3",
    "FolderId" / FolderId,
    "MessageClass" / Str8,
    summary=("MessageClass", "FolderId"),
    params=("codepage",),
)  # fmt: skip

GET_RECEIVE_FOLDER_TABLE = rop(
    0x68, "RopGetReceiveFolderTable", "2.2.3.4",
    success=("RowCount" / Count(U32, "Rows"), "Rows" / Rows(this.RowCount, PropertyRow(RECEIVE_FOLDER_COLUMNS))),
    summary=("Rows",),
    params=("codepage",),
)  # fmt: skip

GET_STORE_STATE = rop(
    0x7B, "RopGetStoreState", "2.2.3.5",
    success=("StoreState" / Flags(U32, "StoreState"),),
    summary=("StoreState",),
)  # fmt: skip

GET_OWNING_SERVERS = rop(
    0x42, "RopGetOwningServers", "2.2.3.6",
    "FolderId" / FolderId,
    success=(
        "OwningServersCount" / Count(U16, "OwningServers"),
        "CheapServersCount" / Fixed(U16, 0),
        "OwningServers" / Rows(this.OwningServersCount, Str8),
    ),
    summary=("FolderId", "OwningServers"),
    params=("codepage",),
)  # fmt: skip

PUBLIC_FOLDER_IS_GHOSTED = rop(
    0x45, "RopPublicFolderIsGhosted", "2.2.3.7",
    "FolderId" / FolderId,
    success=(
        "IsGhosted" / Present(Bool8, "Servers"),
        "ServersCount" / When(this.IsGhosted, Count(U16, "Servers")),
        "CheapServersCount" / When(this.IsGhosted, Fixed(U16, 0)),
        "Servers" / When(this.IsGhosted, Rows(this.ServersCount, Str8)),
    ),
    summary=("FolderId", "IsGhosted", "Servers"),
    params=("codepage",),
)  # fmt: skip

LONG_TERM_ID_FROM_ID = rop(
    0x43, "RopLongTermIdFromId", "2.2.3.8",
    "ObjectId" / ObjectIdField,
    success=("LongTermId" / LongTermId,),
    summary=("ObjectId", "LongTermId"),
)  # fmt: skip

ID_FROM_LONG_TERM_ID = rop(
    0x44, "RopIdFromLongTermId", "2.2.3.9",
    "LongTermId" / LongTermId,
    success=("ObjectId" / ObjectIdField,),
    summary=("LongTermId", "ObjectId"),
)  # fmt: skip

GET_PER_USER_LONG_TERM_IDS = rop(
    0x60, "RopGetPerUserLongTermIds", "2.2.3.10",
    "DatabaseGuid" / Guid,
    success=counted("LongTermIdCount", "LongTermIds", LongTermId),
    summary=("DatabaseGuid", "LongTermIds"),
)  # fmt: skip

GET_PER_USER_GUID = rop(
    0x61, "RopGetPerUserGuid", "2.2.3.11",
    "LongTermId" / LongTermId,
    success=("DatabaseGuid" / Guid,),
    summary=("LongTermId", "DatabaseGuid"),
)  # fmt: skip

READ_PER_USER_INFORMATION = rop(
    0x63, "RopReadPerUserInformation", "2.2.3.12",
    "FolderId" / LongTermId,
    "Reserved" / Fixed(U8, 0),
    "DataOffset" / U32,
    "MaxDataSize" / U16,
    success=("HasFinished" / Bool8, *counted_bytes("DataSize", "Data")),
    summary=("FolderId", "DataOffset", "DataSize", "HasFinished"),
)  # fmt: skip

WRITE_PER_USER_INFORMATION = rop(
    0x64, "RopWritePerUserInformation", "2.2.3.13",
    "FolderId" / LongTermId,
    "HasFinished" / Bool8,
    "DataOffset" / U32,
    "DataSize" / SizeOf(U16, "Data"),
    "Data" / Data(this.DataSize),
    "ReplGuid" / When(this.DataOffset == 0, When(Needed("logon_flags") & PRIVATE, Guid)),
    summary=("FolderId", "DataOffset", "DataSize", "HasFinished"),
    params=("logon_flags",),
)  # fmt: skip

ROPS: tuple[RopDef, ...] = (
    LOGON,
    GET_RECEIVE_FOLDER,
    SET_RECEIVE_FOLDER,
    GET_RECEIVE_FOLDER_TABLE,
    GET_STORE_STATE,
    GET_OWNING_SERVERS,
    PUBLIC_FOLDER_IS_GHOSTED,
    LONG_TERM_ID_FROM_ID,
    ID_FROM_LONG_TERM_ID,
    GET_PER_USER_LONG_TERM_IDS,
    GET_PER_USER_GUID,
    READ_PER_USER_INFORMATION,
    WRITE_PER_USER_INFORMATION,
)
