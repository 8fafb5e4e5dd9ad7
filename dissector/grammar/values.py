"""What the values of certain properties are beyond their type: ids, flags, enumerations, structures in a PtypBinary.

Tables by property name; properties.Encoding turns them into tables by tag. Named properties (PidLid...) are known by
name only, once the capture has shown which id a mailbox gave them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from construct import Construct

from dissector.grammar.blobs import MULTIPLE_STRUCTURES, STRUCTURES
from dissector.grammar.ids import ChangeNumber, FolderId, MessageId, ObjectIdField
from dissector.grammar.leaves import I16, I32, I64, U16, U32, U64, Enumerated, Flags
from dissector.grammar.names import property_tags

if TYPE_CHECKING:
    from dissector.grammar.properties import Encoding

IDS: Mapping[str, Construct] = {
    "PidTagFolderId": FolderId,
    "PidTagParentFolderId": FolderId,
    "PidTagMid": MessageId,
    "PidTagInstID": ObjectIdField,
    "PidTagChangeNumber": ChangeNumber,
    "PidTagRuleId": ObjectIdField,
}
"""PtypInteger64 properties that are a REPLID and a counter."""

FLAGS: Mapping[str, str] = {
    "PidTagAccess": "Access",
    "PidTagAttachFlags": "AttachFlags",
    "PidTagAttachmentFlags": "AttachmentFlags",
    "PidTagAutoResponseSuppress": "AutoResponseSuppress",
    "PidTagContainerFlags": "ContainerFlags",
    "PidTagFolderFlags": "FolderFlags",
    "PidTagMemberRights": "MemberRights",
    "PidTagMessageFlags": "MessageFlags",
    "PidTagMessageStatus": "MessageStatusFlags",
    "PidTagRecipientFlags": "RecipientFlagsProperty",
    "PidTagRetentionFlags": "RetentionFlags",
    "PidTagRights": "MemberRights",
    "PidTagRuleMessageState": "RuleState",
    "PidTagRuleState": "RuleState",
    "PidTagSearchFolderStorageType": "SearchFolderFlags",
    "PR_SECURITY_FLAGS": "SecurityFlags",
    "PidTagStoreSupportMask": "StoreSupportMask",
    "PidTagSubmitFlags": "SubmitFlagsProperty",
    "PidTagToDoItemFlags": "TodoItemFlags",
    "PidTagValidFolderMask": "ValidFolderMask",
    "PidLidAppointmentAuxiliaryFlags": "AppointmentAuxiliaryFlags",
    "PidLidAppointmentStateFlags": "AppointmentStateFlags",
    "PidLidChangeHighlight": "ChangeHighlight",
    "PidLidClientIntent": "ClientIntent",
    "PidLidMeetingType": "MeetingType",
    "PidLidSideEffects": "SideEffects",
}
"""Integer properties that are bit fields, and their table in names/flags."""

ENUMS: Mapping[str, str] = {
    "PidTagAccessLevel": "AccessLevel",
    "PidTagAttachMethod": "AttachMethod",
    "PidTagDisplayType": "DisplayTypeProperty",
    "PidTagFlagStatus": "FlagStatus",
    "PidTagFolderType": "FolderTypeProperty",
    "PidTagFollowupIcon": "FollowupIcon",
    "PidTagIconIndex": "IconIndex",
    "PidTagImportance": "Importance",
    "PidTagInternetCodepage": "CodePage",
    "PidTagLastVerbExecuted": "LastVerb",
    "PidTagMemberId": "MemberId",
    "PidTagMessageCodepage": "CodePage",
    "PidTagMessageEditorFormat": "MessageEditorFormat",
    "PidTagNativeBody": "NativeBody",
    "PidTagObjectType": "ObjectType",
    "PidTagOriginalSensitivity": "Sensitivity",
    "PidTagPriority": "Priority",
    "PidTagRecipientTrackStatus": "RecipientTrackStatus",
    "PidTagRecipientType": "RecipientType",
    "PidTagResolveMethod": "ResolveMethod",
    "PidTagSensitivity": "Sensitivity",
    "PidLidBusyStatus": "BusyStatus",
    "PidLidIntendedBusyStatus": "BusyStatus",
    "PidLidRecurrenceType": "RecurrenceType",
    "PidLidResponseStatus": "ResponseStatus",
    "PidLidTaskMode": "TaskMode",
    "PidLidTaskOwnership": "TaskOwnership",
    "PidLidTaskState": "TaskState",
    "PidLidTaskStatus": "TaskStatus",
}
"""Integer properties with named values, and their table in names/enums."""

_SIGNED: Mapping[int, Construct] = {0x0002: I16, 0x0003: I32, 0x0014: I64}
_UNSIGNED: Mapping[int, Construct] = {0x0002: U16, 0x0003: U32, 0x0014: U64}


def _values(encoding: Encoding) -> Iterator[tuple[str, int, Construct]]:
    """Name, type and layout of every property of the tables above, in one encoding."""
    for name, form in IDS.items():
        yield name, 0x0014, form
    for name, table in FLAGS.items():
        for kind, number in _UNSIGNED.items():
            yield name, kind, Flags(number, table)
    for name, table in ENUMS.items():
        for kind, number in _SIGNED.items():
            yield name, kind, Enumerated(number, table)
    for name, structure in STRUCTURES.items():
        yield name, 0x0102, encoding.opened(structure)
    for name, structure in MULTIPLE_STRUCTURES.items():
        yield name, 0x1102, encoding.opened_rows(structure)
        yield name, 0x3102, encoding.opened(structure)


def values_by_tag(encoding: Encoding) -> dict[int, Construct]:
    table: dict[int, Construct] = {}
    for name, kind, form in _values(encoding):
        for tag in property_tags(name):
            if tag & 0xFFFF == kind & ~0x2000 and tag < 0x80000000:
                table[tag & 0xFFFF0000 | kind] = form
    return table


def values_by_name(encoding: Encoding) -> dict[tuple[str, int], Construct]:
    return {(name, kind): form for name, kind, form in _values(encoding) if not name.startswith("PidTag")}
