"""Streams that Outlook keeps in binary properties: verbs, user-defined fields, special folders, to-do data, web views.

Those without a section of a protocol specification are in the Outlook MAPI reference ("Stream Structures").
"""

from __future__ import annotations

from construct import Renamed, this

from dissector.grammar.entryids import EntryId
from dissector.grammar.forms import Chars, CharsOf, Either, MaybeEmpty, Padded, RowsUntil, RowsWithin
from dissector.grammar.layouts import Choice, Count, Layout, Rows, RowsToEnd, Sized, SizeOf, When
from dissector.grammar.leaves import I32, U8, U16, U32, Data, Enumerated, Flags, Guid, Rest, Str8, Str16
from dissector.grammar.recurrence import Minutes


def _short(name: str, width: int = 1, count: str = "") -> tuple[Renamed, ...]:
    """A text with the number of its characters in a byte, called `count`."""
    count = count or f"{name}Count"
    return count / CharsOf(U8, name, width), name / Chars(this[count], width)


_VOTE_OPTION = Layout(
    "VerbType" / Enumerated(U32, "VerbType"),
    *_short("DisplayName"),
    *_short("MsgClsName"),
    *_short("Internal1String"),
    *_short("DisplayNameRepeat", 1, "DisplayNameCountRepeat"),
    "Internal2" / U32,
    "Internal3" / U8,
    "fUseUSHeaders" / U32,
    "Internal4" / U32,
    "SendBehavior" / Enumerated(U32, "SendBehavior"),
    "Internal5" / U32,
    "ID" / Enumerated(U32, "LastVerb"),
    "Internal6" / U32,
    name="VoteOption",
    spec="MS-OXOMSG 2.2.1.74.1",
    summary="{DisplayName}",
)

_VOTE_OPTION_EXTRAS = Layout(
    *_short("DisplayName", 2),
    *_short("DisplayNameRepeat", 2, "DisplayNameCountRepeat"),
    name="VoteOptionExtras",
    spec="MS-OXOMSG 2.2.1.74.2",
    summary="{DisplayName}",
)

VerbStream = Layout(
    "Version" / U16,
    "Count" / Count(U32, "VoteOptions"),
    "VoteOptions" / Rows(this.Count, _VOTE_OPTION),
    "Version2" / U16,
    "VoteOptionExtras" / Rows(this.Count, _VOTE_OPTION_EXTRAS),
    name="PidLidVerbStream",
    spec="MS-OXOMSG 2.2.1.74",
    summary="{VoteOptions}",
)
"""Also the voting buttons of a message."""


def _packed(width: int) -> Layout:
    return Layout(
        "Length" / U8,
        "LengthExtended" / When(this.Length == 0xFF, U16),
        "Characters" / Chars(Either(this.LengthExtended, this.Length), width),
        name="packed text",
        summary="{Characters}",
    )


_PACKED_ANSI, _PACKED_UNICODE = _packed(1), _packed(2)

_SKIP_BLOCK = Layout(
    "Size" / SizeOf(U32, "Content"),
    "Content" / When(this.Size, Sized(this.Size, Choice(this._._index, {0: _PACKED_UNICODE}, default=Rest))),
    name="SkipBlock",
    summary="{Content}",
)
"""The first is the name of the field in Unicode, one of no bytes is the last."""

_V2 = this._.Version >= 0x0103

_FIELD_DEFINITION = Layout(
    "Flags" / Flags(U32, "PropertyDefinitionFlags"),
    "VT" / Enumerated(U16, "VariantType"),
    "DispID" / U32,
    "NmidNameLength" / CharsOf(U16, "NmidName", 2),
    "NmidName" / Chars(this.NmidNameLength, 2),
    "NameANSI" / _PACKED_ANSI,
    "FormulaANSI" / _PACKED_ANSI,
    "ValidationRuleANSI" / _PACKED_ANSI,
    "ValidationTextANSI" / _PACKED_ANSI,
    "ErrorANSI" / _PACKED_ANSI,
    "InternalType" / When(_V2, Enumerated(I32, "FieldInternalType")),
    "SkipBlocks" / When(_V2, RowsUntil(_SKIP_BLOCK, "Size", 0)),
    name="FieldDefinition",
    summary="{NameANSI}",
)

PropertyDefinitionStream = Layout(
    "Version" / U16,
    "FieldDefinitionCount" / Count(U32, "FieldDefinitions"),
    "FieldDefinitions" / Rows(this.FieldDefinitionCount, _FIELD_DEFINITION),
    name="PidLidPropertyDefinitionStream",
    summary="{FieldDefinitions}",
)


def _folder_field(width: int) -> Layout:
    return Layout(
        "FieldType" / Enumerated(U32, "FolderFieldType"),
        "FieldNameLength" / CharsOf(U16, "FieldName", width),
        "FieldName" / Chars(this.FieldNameLength, width),
        "PropSetGuid" / Guid,
        "fcapm" / Flags(U32, "FolderFieldCapabilities"),
        "dwString" / U32,
        "dwBitmap" / U32,
        "dwDisplay" / U32,
        "iFmt" / U32,
        "wszFormulaLength" / CharsOf(U16, "wszFormula", 2),
        "wszFormula" / Chars(this.wszFormulaLength, 2),
        name="FolderFieldDefinition",
        summary="{FieldName}",
    )


def _folder_fields(width: int) -> Layout:
    return Layout(
        "FieldDefinitionCount" / Count(U32, "FieldDefinitions"),
        "FieldDefinitions" / Rows(this.FieldDefinitionCount, _folder_field(width)),
        summary="{FieldDefinitions}",
    )


FolderUserFields = Layout(
    "FolderUserFieldsAnsi" / _folder_fields(1),
    "FolderUserFieldsUnicode" / _folder_fields(2),
    name="PidTagUserFields",
    summary="{FolderUserFieldsUnicode}",
)

_PERSIST_ELEMENT = Layout(
    "ElementID" / Enumerated(U16, "PersistElementId"),
    "ElementDataSize" / SizeOf(U16, "ElementData"),
    "ElementData" / Sized(this.ElementDataSize, Choice(this.ElementID, {1: MaybeEmpty(EntryId)}, default=Rest)),
    name="PersistElement",
    spec="MS-OXOSFLD 2.2.5.2",
    summary="{ElementData}",
)

_PERSIST_DATA = Layout(
    "PersistID" / Enumerated(U16, "PersistId"),
    "DataElementsSize" / SizeOf(U16, "DataElements"),
    "DataElements" / RowsWithin(this.DataElementsSize, _PERSIST_ELEMENT),
    name="PersistData",
    spec="MS-OXOSFLD 2.2.5.1",
    summary="{PersistID}: {DataElements}",
)

AdditionalRenEntryIdsEx = RowsToEnd(_PERSIST_DATA)
"""Which folders are special [MS-OXOSFLD] 2.2.5. Some servers write a DataElementsSize that is too small."""

_EXTENDED_FLAG = Layout(
    "Id" / Enumerated(U8, "ExtendedFolderFlagId"),
    "Cb" / SizeOf(U8, "Data"),
    "Data"
    / Sized(this.Cb, Choice(this.Id, {1: Flags(U32, "ExtendedFolderFlags"), 2: Guid, 3: U32, 5: U32}, default=Rest)),
    name="ExtendedFlag",
    spec="MS-OXOCFG 2.2.7.1",
    summary="{Id} {Data}",
)

ExtendedFolderFlags = RowsToEnd(_EXTENDED_FLAG)

SwappedToDoData = Layout(
    "Version" / U32,
    "Flags" / Flags(U32, "ToDoDataFlags"),
    "ToDoItem" / Flags(U32, "TodoItemFlags"),
    "FlagTo" / Padded(512, 2),
    "StartDate" / Minutes,
    "DueDate" / Minutes,
    "Reminder" / Minutes,
    "ReminderSet" / U32,
    name="PidTagSwappedToDoData",
    spec="MS-OXOFLAG 2.2.1.7",
    summary="{FlagTo} {StartDate} to {DueDate}",
)

_TASK_ASSIGNER = Layout(
    "Size" / SizeOf(U32, "EntryIDSize", "EntryID", "DisplayName", "DisplayNameUnicode"),
    "EntryIDSize" / SizeOf(U32, "EntryID"),
    "EntryID" / Sized(this.EntryIDSize, MaybeEmpty(EntryId)),
    "DisplayName" / Str8,
    "DisplayNameUnicode" / Str16,
    name="TaskAssigner",
    spec="MS-OXOTASK 2.2.2.2.25",
    summary="{DisplayNameUnicode}",
)

TaskAssigners = Layout(
    "AssignerCount" / Count(U32, "Assigners"),
    "Assigners" / Rows(this.AssignerCount, _TASK_ASSIGNER),
    name="PidLidTaskAssigners",
    spec="MS-OXOTASK 2.2.2.2.25",
    summary="{Assigners}",
)

_MEMBER = Layout(
    "EntryIdSize" / SizeOf(U32, "EntryIdData"),
    "EntryIdData" / Sized(this.EntryIdSize, MaybeEmpty(EntryId)),
    "OneOffEntryIdSize" / SizeOf(U32, "OneOffEntryIdData"),
    "OneOffEntryIdData" / Sized(this.OneOffEntryIdSize, MaybeEmpty(EntryId)),
    "ExtraMemberInfoSize" / SizeOf(U32, "ExtraMemberInfoData"),
    "ExtraMemberInfoData" / Data(this.ExtraMemberInfoSize),
    name="DistListMemberInfo",
    spec="MS-OXOCNTC 2.2.2.2.4.1",
    summary="{OneOffEntryIdData} {EntryIdData}",
)

DistributionListStream = Layout(
    "StreamVersion" / U16,
    "Reserved" / U16,
    "BuildVersion" / U32,
    "DistListStreamFlags" / U32,
    "CountOfEntries" / Count(U32, "DistListMemberInfoArray"),
    "TotalEntryIDSize" / U32,
    "TotalOneOffSize" / U32,
    "TotalExtraSize" / U32,
    "DistListMemberInfoArray" / Rows(this.CountOfEntries, _MEMBER),
    "Terminator1" / U32,
    "Terminator2" / U32,
    name="PidLidDistributionListStream",
    spec="MS-OXOCNTC 2.2.2.2.4",
    summary="{DistListMemberInfoArray:; }",
)

_WEB_VIEW = Layout(
    "Version" / U32,
    "Type" / Enumerated(U32, "WebViewType"),
    "Flags" / Flags(U32, "WebViewFlags"),
    "Unused" / Data(28),
    "Size" / SizeOf(U32, "Data"),
    "Data" / Choice(this.Type, {1: Padded(this.Size, 2)}, default=Data(this.Size)),
    name="web view",
    summary="{Data}",
)

FolderWebViewInfo = RowsToEnd(_WEB_VIEW)
"""PidTagFolderWebViewInfo: the home page of a folder."""

ReportTag = Layout(
    "Cookie" / Data(9),
    "Version" / U32,
    "StoreEntryIdSize" / SizeOf(U32, "StoreEntryId"),
    "StoreEntryId" / Sized(this.StoreEntryIdSize, MaybeEmpty(EntryId)),
    "FolderEntryIdSize" / SizeOf(U32, "FolderEntryId"),
    "FolderEntryId" / Sized(this.FolderEntryIdSize, MaybeEmpty(EntryId)),
    "MessageEntryIdSize" / SizeOf(U32, "MessageEntryId"),
    "MessageEntryId" / Sized(this.MessageEntryIdSize, MaybeEmpty(EntryId)),
    "SearchFolderEntryIdSize" / SizeOf(U32, "SearchFolderEntryId"),
    "SearchFolderEntryId" / Sized(this.SearchFolderEntryIdSize, MaybeEmpty(EntryId)),
    "MessageSearchKeySize" / SizeOf(U32, "MessageSearchKey"),
    "MessageSearchKey" / Data(this.MessageSearchKeySize),
    "AnsiTextSize" / SizeOf(U32, "AnsiText"),
    "AnsiText" / Padded(this.AnsiTextSize, 1),
    name="PidTagReportTag",
    spec="MS-OXOMSG 2.2.2.22",
    summary="{SearchFolderEntryId}{MessageEntryId}",
)
