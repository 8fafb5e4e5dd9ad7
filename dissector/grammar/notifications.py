"""NotificationData of RopNotify [MS-OXCNOTIF] 2.2.1.4.1.2.

NotificationFlags decides which fields follow: its low 12 bits are the type of the event, the high four say T (total
count), U (unread count), S (search folder) and M (message). A row of a table notification is laid out by the columns of
the table (Param "columns"); without them the row alone stays unread, for it comes with its size.

Servers and parsers differ in two places, where the published text is followed: InsertAfterTableRowFolderID is there for
folder rows too, and ParentFolderId is there for messages of search folders (S and M both set) but not for plain
messages. The fields of type 0x0200 (HierarchyChanged, FolderIDNumber, FolderIDs) are not in the published text; one
implementation knows them.
"""

from __future__ import annotations

from construct import this

from dissector.grammar.base import Param
from dissector.grammar.ids import FolderId, MessageId
from dissector.grammar.layouts import Count, Layout, Rows, Sized, SizeOf, StrIf, When
from dissector.grammar.leaves import U16, U32, Bool8, Enumerated, Flags
from dissector.grammar.properties import PropertyRow, PropertyTag
from dissector.grammar.xid import Xid

_TYPE = this.NotificationFlags & 0x0FFF
_IS_MESSAGE = (this.NotificationFlags & 0x8000) != 0
_IS_SEARCH = (this.NotificationFlags & 0x4000) != 0

_NEW_MAIL, _TABLE, _STATUS = _TYPE == 0x0002, _TYPE == 0x0100, _TYPE == 0x0200
_MOVED = (_TYPE == 0x0020) | (_TYPE == 0x0040)
_WITH_PARENT = ((_TYPE == 0x0004) | (_TYPE == 0x0008) | _MOVED) & (_IS_MESSAGE == _IS_SEARCH)
_WITH_TAGS = (_TYPE == 0x0004) | (_TYPE == 0x0010)
_OF_OBJECT = (_TYPE != 0x0100) & (_TYPE != 0x0200) & (_TYPE != 0x0400)

_ROW_DELETED = this.TableEventType == 4
_ROW_PLACED = (this.TableEventType == 3) | (this.TableEventType == 5)
_ROW = _TABLE & (_ROW_PLACED | _ROW_DELETED)
_ROW_AFTER = _TABLE & _ROW_PLACED

NotificationData = Layout(
    "NotificationFlags" / Flags(U16, "NotificationFlags"),
    "TableEventType" / When(_TABLE, Enumerated(U16, "TableEventType")),
    "TableRowFolderID" / When(_ROW, FolderId),
    "TableRowMessageID" / When(_ROW & _IS_MESSAGE, MessageId),
    "TableRowInstance" / When(_ROW & _IS_MESSAGE, U32),
    "InsertAfterTableRowFolderID" / When(_ROW_AFTER, FolderId),
    "InsertAfterTableRowID" / When(_ROW_AFTER & _IS_MESSAGE, MessageId),
    "InsertAfterTableRowInstance" / When(_ROW_AFTER & _IS_MESSAGE, U32),
    "TableRowDataSize" / When(_ROW_AFTER, SizeOf(U16, "TableRowData")),
    "TableRowData"
    / When(_ROW_AFTER, When(this.TableRowDataSize, Sized(this.TableRowDataSize, PropertyRow(Param("columns"))))),
    "HierarchyChanged" / When(_STATUS, Bool8),
    "FolderIDNumber" / When(_STATUS, Count(U32, "FolderIDs")),
    "FolderIDs" / When(_STATUS, Rows(this.FolderIDNumber, Sized(22, Xid))),
    "FolderId" / When(_OF_OBJECT, FolderId),
    "MessageId" / When(_OF_OBJECT & _IS_MESSAGE, MessageId),
    "ParentFolderId" / When(_WITH_PARENT, FolderId),
    "OldFolderId" / When(_MOVED, FolderId),
    "OldMessageId" / When(_MOVED & _IS_MESSAGE, MessageId),
    "OldParentFolderId" / When(_MOVED & (_IS_MESSAGE == 0), FolderId),
    "TagCount" / When(_WITH_TAGS, Count(U16, "Tags")),
    "Tags" / When(_WITH_TAGS & (this.TagCount != 0) & (this.TagCount != 0xFFFF), Rows(this.TagCount, PropertyTag)),
    "TotalMessageCount" / When((this.NotificationFlags & 0x1000) != 0, U32),
    "UnreadMessageCount" / When((this.NotificationFlags & 0x2000) != 0, U32),
    "MessageFlags" / When(_NEW_MAIL, Flags(U32, "MessageFlags")),
    "UnicodeFlag" / When(_NEW_MAIL, Bool8),
    "MessageClass" / When(_NEW_MAIL, StrIf(this.UnicodeFlag)),
    name="NotificationData",
    spec="MS-OXCNOTIF 2.2.1.4.1.2",
    summary="{NotificationFlags} {TableEventType} {TableRowFolderID} {TableRowMessageID} {FolderId} {MessageId}",
)
