"""Structures inside PtypBinary properties, by property name.

What is not here stays opaque: PidTagRecordKey and PidTagInstanceKey have no layout to rely on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from construct import BytesInteger, Construct, Container, Int32ub, this

from dissector.grammar import rtf
from dissector.grammar.actions import ExtendedRuleAction, RuleAction
from dissector.grammar.entryids import EntryId, FlatEntryList
from dissector.grammar.forms import BitFields
from dissector.grammar.ids import ObjectIdField
from dissector.grammar.layouts import Count, Layout, Rows, RowsToEnd, Sized, SizeOf, When, WhenMore
from dissector.grammar.leaves import U8, U16, U32, Data, Enumerated, Guid, Labelled, Rest, filetime_text
from dissector.grammar.outlook import (
    AdditionalRenEntryIdsEx,
    DistributionListStream,
    ExtendedFolderFlags,
    FolderUserFields,
    FolderWebViewInfo,
    PropertyDefinitionStream,
    ReportTag,
    SwappedToDoData,
    TaskAssigners,
    VerbStream,
)
from dissector.grammar.properties import PropertyName
from dissector.grammar.recurrence import (
    AppointmentRecurrencePattern,
    AppointmentTombstone,
    FreeBusyBlocks,
    GlobalObjectId,
    RecurrencePattern,
    TimeZoneDefinition,
    TimeZoneStruct,
)
from dissector.grammar.restrictions import ExtendedRestriction
from dissector.grammar.search import RecipientRowStream, SearchFolderDefinition
from dissector.grammar.security import NtSecurityDescriptor, Sid
from dissector.grammar.xid import PredecessorChangeList, Xid


class _HighFileTime(Labelled):
    """The six most significant bytes of a FILETIME, big-endian."""

    def label(self, value: int) -> str:
        return filetime_text(value << 16)


class _TimeDelta(BitFields):
    """How much later than the message before a reply was sent; the bits that were left out are zero."""

    def label(self, value: int) -> str:
        parts = self.split(value)
        seconds = parts["TimeDelta"] * ((1 << 23) if parts["DeltaCode"] else (1 << 18)) / 10_000_000
        return f"{super().label(value)}: {seconds:.3f} s"


ConversationIndex = Layout(
    "CurrentFileTime" / _HighFileTime(BytesInteger(6)),
    "Guid" / Guid,
    "ResponseLevels"
    / RowsToEnd(
        Layout(
            "Time" / _TimeDelta(Int32ub, ("TimeDelta", 31), ("DeltaCode", 1)),
            "Other" / BitFields(U8, ("ResponseLevel", 4), ("Random", 4)),
            name="response level",
            summary="{Time}",
        )
    ),
    name="PidTagConversationIndex",
    spec="MS-OXOMSG 2.2.1.3",
    summary="{Guid} since {CurrentFileTime}",
)
"""The first byte of the time is called reserved and fixed to 0x01: it is the high byte of a FILETIME until 2057."""

NamedPropertyInformation = Layout(
    "NoOfNamedProps" / Count(U16, "PropIds"),
    "PropIds" / When(this.NoOfNamedProps, Rows(this.NoOfNamedProps, U16)),
    "NamedPropertiesSize" / When(this.NoOfNamedProps, SizeOf(U32, "NamedProperties")),
    "NamedProperties"
    / When(this.NoOfNamedProps, Sized(this.NamedPropertiesSize, Rows(this.NoOfNamedProps, PropertyName))),
    name="NamedPropertyInformation",
    spec="MS-OXORULE 2.2.4.2",
    summary="{NamedProperties}",
)

ExtendedRuleMessageCondition = Layout(
    "NamedPropertyInformation" / NamedPropertyInformation,
    "Restriction" / ExtendedRestriction,
    name="PidTagExtendedRuleMessageCondition",
    spec="MS-OXORULE 2.2.4.1.10",
    summary="{Restriction}",
)

ExtendedRuleMessageActions = Layout(
    "NamedPropertyInformation" / NamedPropertyInformation,
    "RuleVersion" / U32,
    "RuleAction" / ExtendedRuleAction,
    name="PidTagExtendedRuleMessageActions",
    spec="MS-OXORULE 2.2.4.1.9",
    summary="{RuleAction}",
)

RtfCompressed = Layout(
    "COMPSIZE" / SizeOf(U32, "CONTENTS", plus=12),
    "RAWSIZE" / U32,
    "COMPTYPE" / Enumerated(U32, "RtfCompressionType"),
    "CRC" / U32,
    "CONTENTS" / Data(this.COMPSIZE - 12),
    "Padding" / WhenMore(Rest),
    name="PidTagRtfCompressed",
    spec=rtf.SPEC,
)
RtfCompressed.label = rtf.RtfSummary("{COMPTYPE}, {RAWSIZE} bytes of RTF")
"""The text is made from the whole value: rtf.derived_text() gives it as a node."""


class _AddressKey(Construct):  # type: ignore[misc]
    """TYPE:ADDRESS in capitals with a closing NUL; the value is a str without the NUL, or bytes where it is not so."""

    def _parse(self, stream: Any, context: Container, path: str) -> str | bytes:
        raw: bytes = stream.read()
        text = raw[:-1].decode("ascii", "replace")
        return text if raw.endswith(b"\0") and text.isascii() and text.isprintable() and ":" in text else raw

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(obj if isinstance(obj, bytes) else obj.encode("ascii") + b"\0")
        return obj


_CONTROLS = dict.fromkeys((*range(32), 127), " ")


class _TextBytes(Construct):  # type: ignore[misc]
    """Bytes that are mostly text, in a code page that another property names."""

    def _parse(self, stream: Any, context: Container, path: str) -> bytes:
        return stream.read()  # type: ignore[no-any-return]

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(obj)
        return obj

    def label(self, value: bytes) -> str:
        text = value[:80].decode("ascii", "replace")
        return text.translate(_CONTROLS) + ("..." if len(value) > 80 else "")


AddressKey, TextBytes = _AddressKey(), _TextBytes()

STRUCTURES: Mapping[str, Construct] = {
    # Change tracking [MS-OXCFXICS] 2.2.1.2
    "PidTagSourceKey": Xid,
    "PidTagParentSourceKey": Xid,
    "PidTagChangeKey": Xid,
    "PidTagPredecessorChangeList": PredecessorChangeList,
    # Entry ids
    **dict.fromkeys(
        (
            "PidTagEntryId", "PidTagParentEntryId", "PidTagStoreEntryId", "PidTagOriginalEntryId",
            "PidTagConflictEntryId", "PidTagLongTermEntryIdFromTable", "PidTagTemplateid",
            "PidTagSenderEntryId", "PidTagSentRepresentingEntryId", "PidTagReceivedByEntryId",
            "PidTagReceivedRepresentingEntryId", "PidTagOriginalSenderEntryId", "PidTagOriginalAuthorEntryId",
            "PidTagOriginalSentRepresentingEntryId", "PidTagReadReceiptEntryId", "PidTagReportEntryId",
            "PidTagOriginallyIntendedRecipEntryId", "PidTagCreatorEntryId",
            "PidTagLastModifierEntryId", "PidTagRecipientEntryId", "PidTagSentMailEntryId", "PidTagMailboxOwnerEntryId",
            "PidTagUserEntryId", "PidTagAddressBookEntryId", "PidTagIpmSubTreeEntryId", "PidTagIpmAppointmentEntryId",
            "PidTagIpmContactEntryId", "PidTagIpmJournalEntryId", "PidTagIpmNoteEntryId", "PidTagIpmTaskEntryId",
            "PidTagIpmDraftsEntryId", "PidTagIpmOutboxEntryId", "PidTagIpmSentMailEntryId",
            "PidTagIpmWastebasketEntryId", "PidTagRemindersOnlineEntryId",
            "PidTagCommonViewsEntryId", "PidTagViewsEntryId", "PidTagFinderEntryId", "PidTagDefaultViewEntryId",
            "PidTagDeferredActionMessageOriginalEntryId", "PidTagRuleFolderEntryId", "PidTagWlinkEntryId",
            "PidTagWlinkStoreEntryId", "PidTagWlinkAddressBookEID", "PidTagWlinkAddressBookStoreEID",
            "PidTagSchedulePlusFreeBusyEntryId", "PidTagTargetEntryId",
            "PidLidEmail1OriginalEntryId", "PidLidEmail2OriginalEntryId",
            "PidLidEmail3OriginalEntryId", "PidLidFax1OriginalEntryId", "PidLidFax2OriginalEntryId",
            "PidLidFax3OriginalEntryId", "PidLidReferenceEntryId", "PidLidOriginalStoreEntryId",
            "PidLidSharingInitiatorEntryId", "PidLidSharingFolderEntryId", "PidLidConversationActionMoveFolderEid",
            "PidLidConversationActionMoveStoreEid",
        ),
        EntryId,
    ),
    "PidTagReplyRecipientEntries": FlatEntryList,
    "PidLidContactLinkEntry": FlatEntryList,
    # Messages
    "PidTagConversationIndex": ConversationIndex,
    "PidTagReportTag": ReportTag,
    "PidTagRtfCompressed": RtfCompressed,
    "PidTagHtml": TextBytes,
    **dict.fromkeys(
        (
            "PidTagSearchKey", "PidTagSenderSearchKey", "PidTagSentRepresentingSearchKey", "PidTagReceivedBySearchKey",
            "PidTagReceivedRepresentingSearchKey", "PidTagOriginalSenderSearchKey", "PidTagOriginalAuthorSearchKey",
            "PidTagOriginalSentRepresentingSearchKey", "PidTagReadReceiptSearchKey", "PidTagReportSearchKey",
        ),
        AddressKey,
    ),
    "PidTagSwappedToDoData": SwappedToDoData,
    "PidLidVerbStream": VerbStream,
    "PidLidDistributionListStream": DistributionListStream,
    "PidLidPropertyDefinitionStream": PropertyDefinitionStream,
    "PidLidTaskAssigners": TaskAssigners,
    # Rules
    "PidTagExtendedRuleMessageActions": ExtendedRuleMessageActions,
    "PidTagExtendedRuleMessageCondition": ExtendedRuleMessageCondition,
    "PidTagClientActions": RuleAction,
    "PidTagRuleIds": RowsToEnd(ObjectIdField),
    # 16 bytes that are a GUID
    **dict.fromkeys(
        ("PidTagMappingSignature", "PidTagStoreProvider", "PidTagWlinkGroupClsid", "PidTagWlinkFolderType"), Guid
    ),
    # Folders
    "PidTagAdditionalRenEntryIdsEx": AdditionalRenEntryIdsEx,
    "PidTagExtendedFolderFlags": ExtendedFolderFlags,
    "PidTagFolderWebviewinfo": FolderWebViewInfo,
    "PidTagSearchFolderDefinition": SearchFolderDefinition,
    "PidTagUserFields": FolderUserFields,
    "PR_NT_SECURITY_DESCRIPTOR": NtSecurityDescriptor,
    "PR_FREEBUSY_NT_SECURITY_DESCRIPTOR": NtSecurityDescriptor,
    "PR_CREATOR_SID": Sid,
    "PR_LAST_MODIFIER_SID": Sid,
    # Calendar
    "PidTagScheduleInfoAppointmentTombstone": AppointmentTombstone,
    "PidLidAppointmentRecur": AppointmentRecurrencePattern,
    "PidLidTaskRecurrence": RecurrencePattern,
    "PidLidTimeZoneStruct": TimeZoneStruct,
    "PidLidAppointmentTimeZoneDefinitionStartDisplay": TimeZoneDefinition,
    "PidLidAppointmentTimeZoneDefinitionEndDisplay": TimeZoneDefinition,
    "PidLidAppointmentTimeZoneDefinitionRecur": TimeZoneDefinition,
    "PidLidGlobalObjectId": GlobalObjectId,
    "PidLidCleanGlobalObjectId": GlobalObjectId,
    "PidLidAppointmentUnsendableRecipients": RecipientRowStream,
    "PidLidForwardNotificationRecipients": RecipientRowStream,
}  # fmt: skip
"""What the bytes of a PtypBinary property are."""

MULTIPLE_STRUCTURES: Mapping[str, Construct] = {
    "PidTagAdditionalRenEntryIds": EntryId,
    "PidTagFreeBusyEntryIds": EntryId,
    "PidTagScheduleInfoDelegateEntryIds": EntryId,
    "PidTagScheduleInfoFreeBusyMerged": FreeBusyBlocks,
    "PidTagScheduleInfoFreeBusyTentative": FreeBusyBlocks,
    "PidTagScheduleInfoFreeBusyBusy": FreeBusyBlocks,
    "PidTagScheduleInfoFreeBusyAway": FreeBusyBlocks,
    "PidLidDistributionListMembers": EntryId,
    "PidLidDistributionListOneOffMembers": EntryId,
}
"""What the bytes of each item of a PtypMultipleBinary property are."""
