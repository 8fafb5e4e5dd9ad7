"""Notification ROPs [MS-OXCNOTIF], [MS-OXCROPS] 2.2.14."""

from __future__ import annotations

from construct import this

from dissector.grammar.ids import FolderId, MessageId
from dissector.grammar.layouts import Fixed, When
from dissector.grammar.leaves import U8, U16, U32, Bool8, Flags
from dissector.grammar.notifications import NotificationData
from dissector.grammar.rops.base import RopDef, response_only, rop

REGISTER_NOTIFICATION = rop(
    0x29, "RopRegisterNotification", "2.2.14.1",
    "NotificationTypes" / Flags(U16, "NotificationTypes"),
    "Reserved" / When(this.NotificationTypes & 0x0400, Fixed(U8, 0)),
    "WantWholeStore" / Bool8,
    "FolderId" / When(this.WantWholeStore == 0, FolderId),
    "MessageId" / When(this.WantWholeStore == 0, MessageId),
    output="OutputHandleIndex",
    opens="subscription",
    summary=("NotificationTypes", "WantWholeStore", "FolderId", "MessageId"),
)  # fmt: skip

NOTIFY = response_only(
    0x2A, "RopNotify", "2.2.14.2",
    "NotificationHandle" / U32,
    "LogonId" / Fixed(U8, 0),
    "NotificationData" / NotificationData,
    summary=(
        "NotificationHandle", "NotificationData.NotificationFlags", "NotificationData.TableEventType",
        "NotificationData.FolderId", "NotificationData.MessageId",
    ),
    params=("columns", "codepage"),
)  # fmt: skip

PENDING = response_only(
    0x6E, "RopPending", "2.2.14.3",
    "SessionIndex" / U16,
    summary=("SessionIndex",),
)  # fmt: skip

ROPS: tuple[RopDef, ...] = (REGISTER_NOTIFICATION, NOTIFY, PENDING)
