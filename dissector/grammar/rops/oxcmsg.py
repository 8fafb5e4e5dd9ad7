"""Message and attachment ROPs [MS-OXCMSG], [MS-OXCROPS] 2.2.6."""

from __future__ import annotations

from construct import this

from dissector.grammar.base import Needed, Param
from dissector.grammar.ids import FolderId, MessageId
from dissector.grammar.layouts import Count, Fixed, Present, Rows, When
from dissector.grammar.leaves import U8, U16, U32, Bool8, Data, Enumerated, Flags
from dissector.grammar.properties import PropertyTag
from dissector.grammar.rops.base import RopDef, counted, rop
from dissector.grammar.rops.oxcstor import PRIVATE
from dissector.grammar.rows import ModifyRecipientRow, OpenRecipientRow, ReadRecipientRow, TypedString

_MESSAGE_STATUS = "MessageStatusFlags" / Flags(U32, "MessageStatusFlags")

MESSAGE_HEADER = (
    "HasNamedProperties" / Bool8,
    "SubjectPrefix" / TypedString,
    "NormalizedSubject" / TypedString,
    "RecipientCount" / Count(U16, "RecipientRows"),
    "ColumnCount" / Count(U16, "RecipientColumns"),
    "RecipientColumns" / Rows(this.ColumnCount, PropertyTag),
    "RowCount" / Count(U8, "RecipientRows"),
    "RecipientRows" / Rows(this.RowCount, OpenRecipientRow(this._.RecipientColumns)),
)
"""What opening a message tells of it. RecipientCount counts all recipients, RowCount those that are sent here."""

OPEN_MESSAGE = rop(
    0x03, "RopOpenMessage", "2.2.6.1",
    "CodePageId" / Enumerated(U16, "CodePage"),
    "FolderId" / FolderId,
    "OpenModeFlags" / Enumerated(U8, "MessageOpenMode"),
    "MessageId" / MessageId,
    output="OutputHandleIndex", opens="message",
    success=MESSAGE_HEADER,
    summary=("MessageId", "FolderId", "NormalizedSubject", "RecipientCount"),
    params=("codepage",),
)  # fmt: skip

CREATE_MESSAGE = rop(
    0x06, "RopCreateMessage", "2.2.6.2",
    "CodePageId" / Enumerated(U16, "CodePage"),
    "FolderId" / FolderId,
    "AssociatedFlag" / Bool8,
    output="OutputHandleIndex", opens="message",
    success=("HasMessageId" / Present(Bool8, "MessageId"), "MessageId" / When(this.HasMessageId, MessageId)),
    summary=("FolderId", "AssociatedFlag", "MessageId"),
)  # fmt: skip

SAVE_CHANGES_MESSAGE = rop(
    0x0C, "RopSaveChangesMessage", "2.2.6.3",
    "SaveFlags" / Flags(U8, "SaveFlags"),
    leading=("ResponseHandleIndex" / U8, "InputHandleIndex" / U8), index="ResponseHandleIndex",
    success=("InputHandleIndex" / U8, "MessageId" / MessageId),
    summary=("SaveFlags", "MessageId"),
)  # fmt: skip

REMOVE_ALL_RECIPIENTS = rop(
    0x0D, "RopRemoveAllRecipients", "2.2.6.4",
    "Reserved" / Fixed(U32, 0),
)  # fmt: skip

MODIFY_RECIPIENTS = rop(
    0x0E, "RopModifyRecipients", "2.2.6.5",
    *counted("ColumnCount", "RecipientColumns", PropertyTag),
    *counted("RowCount", "RecipientRows", ModifyRecipientRow(this._.RecipientColumns)),
    summary=("RecipientRows",),
    params=("codepage",),
)  # fmt: skip

READ_RECIPIENTS = rop(
    0x0F, "RopReadRecipients", "2.2.6.6",
    "RowId" / U32,
    "Reserved" / Fixed(U16, 0),
    success=counted("RowCount", "RecipientRows", ReadRecipientRow(Param("recipient_columns")), U8),
    summary=("RowId", "RecipientRows"),
    params=("recipient_columns", "codepage"),
)  # fmt: skip

RELOAD_CACHED_INFORMATION = rop(
    0x10, "RopReloadCachedInformation", "2.2.6.7",
    "Reserved" / Fixed(U16, 0),
    success=MESSAGE_HEADER,
    summary=("NormalizedSubject", "RecipientCount"),
    params=("codepage",),
)  # fmt: skip

SET_MESSAGE_STATUS = rop(
    0x20, "RopSetMessageStatus", "2.2.6.8",
    "MessageId" / MessageId,
    _MESSAGE_STATUS,
    "MessageStatusMask" / Flags(U32, "MessageStatusFlags"),
    success=(_MESSAGE_STATUS,),
    summary=("MessageId", "MessageStatusFlags", "MessageStatusMask"),
)  # fmt: skip

GET_MESSAGE_STATUS = rop(
    0x1F, "RopGetMessageStatus", "2.2.6.9",
    "MessageId" / MessageId,
    success=(_MESSAGE_STATUS,), response_id=0x20,
    summary=("MessageId", "MessageStatusFlags"),
)  # fmt: skip

SET_READ_FLAGS = rop(
    0x66, "RopSetReadFlags", "2.2.6.10",
    "WantAsynchronous" / Bool8,
    "ReadFlags" / Flags(U8, "ReadFlags"),
    *counted("MessageIdCount", "MessageIds", MessageId),
    success=("PartialCompletion" / Bool8,), failure=("PartialCompletion" / Bool8,), short_failure=True,
    summary=("ReadFlags", "MessageIds", "PartialCompletion"),
)  # fmt: skip

SET_MESSAGE_READ_FLAG = rop(
    0x11, "RopSetMessageReadFlag", "2.2.6.11",
    "ReadFlags" / Flags(U8, "ReadFlags"),
    "ClientData" / When(~(Needed("logon_flags") & PRIVATE), Data(24)),
    leading=("ResponseHandleIndex" / U8, "InputHandleIndex" / U8), index="ResponseHandleIndex",
    success=(
        "ReadStatusChanged" / Present(Bool8, "ClientData"),
        "LogonId" / When(this.ReadStatusChanged, Fixed(U8, 0)),
        "ClientData" / When(this.ReadStatusChanged, Data(24)),
    ),
    summary=("ReadFlags", "ReadStatusChanged"),
    params=("logon_flags",),
)  # fmt: skip

OPEN_ATTACHMENT = rop(
    0x22, "RopOpenAttachment", "2.2.6.12",
    "OpenAttachmentFlags" / Enumerated(U8, "AttachmentOpenMode"),
    "AttachmentID" / U32,
    output="OutputHandleIndex", opens="attachment",
    summary=("AttachmentID", "OpenAttachmentFlags"),
)  # fmt: skip

CREATE_ATTACHMENT = rop(
    0x23, "RopCreateAttachment", "2.2.6.13",
    output="OutputHandleIndex", opens="attachment",
    success=("AttachmentID" / U32,),
    summary=("AttachmentID",),
)  # fmt: skip

DELETE_ATTACHMENT = rop(
    0x24, "RopDeleteAttachment", "2.2.6.14",
    "AttachmentID" / U32,
    summary=("AttachmentID",),
)  # fmt: skip

SAVE_CHANGES_ATTACHMENT = rop(
    0x25, "RopSaveChangesAttachment", "2.2.6.15",
    "SaveFlags" / Flags(U8, "SaveFlags"),
    leading=("ResponseHandleIndex" / U8, "InputHandleIndex" / U8), index="ResponseHandleIndex",
    summary=("SaveFlags",),
)  # fmt: skip

OPEN_EMBEDDED_MESSAGE = rop(
    0x46, "RopOpenEmbeddedMessage", "2.2.6.16",
    "CodePageId" / Enumerated(U16, "CodePage"),
    "OpenModeFlags" / Enumerated(U8, "EmbeddedMessageOpenMode"),
    output="OutputHandleIndex", opens="message",
    success=("Reserved" / Fixed(U8, 0), "MessageId" / MessageId, *MESSAGE_HEADER),
    summary=("OpenModeFlags", "MessageId", "NormalizedSubject", "RecipientCount"),
    params=("codepage",),
)  # fmt: skip

GET_ATTACHMENT_TABLE = rop(
    0x21, "RopGetAttachmentTable", "2.2.6.17",
    "TableFlags" / Flags(U8, "AttachmentTableFlags"),
    output="OutputHandleIndex", opens="table",
    summary=("TableFlags",),
)  # fmt: skip

GET_VALID_ATTACHMENTS = rop(
    0x52, "RopGetValidAttachments", "2.2.6.18",
    success=counted("AttachmentIdCount", "AttachmentIdArray", U32),
    summary=("AttachmentIdArray",),
    note="the count is 4 bytes wide in [MS-OXCROPS] 2.2.6.18.2 and 2 bytes in most implementations",
)  # fmt: skip

ROPS: tuple[RopDef, ...] = (
    OPEN_MESSAGE,
    CREATE_MESSAGE,
    SAVE_CHANGES_MESSAGE,
    REMOVE_ALL_RECIPIENTS,
    MODIFY_RECIPIENTS,
    READ_RECIPIENTS,
    RELOAD_CACHED_INFORMATION,
    SET_MESSAGE_STATUS,
    GET_MESSAGE_STATUS,
    SET_READ_FLAGS,
    SET_MESSAGE_READ_FLAG,
    OPEN_ATTACHMENT,
    CREATE_ATTACHMENT,
    DELETE_ATTACHMENT,
    SAVE_CHANGES_ATTACHMENT,
    OPEN_EMBEDDED_MESSAGE,
    GET_ATTACHMENT_TABLE,
    GET_VALID_ATTACHMENTS,
)
