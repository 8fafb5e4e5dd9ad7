"""Entry ids [MS-OXCDATA] 2.2.3, 2.2.4; address-book forms [MS-OXNSPI] 2.2.9.

An entry id says by its ProviderUID which layout it has. Those of folders and messages carry the mailbox's own GUID
there, so they are known by their length and type.
"""

from __future__ import annotations

from dissector.grammar.base import (
    U8,
    U16,
    U32,
    Data,
    Enumerated,
    Flags,
    Guid,
    Layout,
    Rest,
    Str8,
    StrIf,
    WhenMore,
    this,
)  # fmt: skip
from dissector.grammar.forms import ByMarks, Marked
from dissector.grammar.ids import GlobalCounter
from dissector.grammar.properties import ServerEid

__all__ = ["EntryId", "FolderEntryId", "MessageEntryId", "ServerEid"]

_HEAD = ("Flags" / Data(4), "ProviderUID" / Guid)

FolderEntryId = Layout(
    *_HEAD,
    "FolderType" / Enumerated(U16, "StoreObjectType"),
    "DatabaseGuid" / Guid,
    "GlobalCounter" / GlobalCounter,
    "Pad" / U16,
    name="FolderEntryID",
    spec="MS-OXCDATA 2.2.4.1",
    summary="folder {DatabaseGuid}-{GlobalCounter}",
)

MessageEntryId = Layout(
    *_HEAD,
    "MessageType" / Enumerated(U16, "StoreObjectType"),
    "FolderDatabaseGuid" / Guid,
    "FolderGlobalCounter" / GlobalCounter,
    "FolderPad" / U16,
    "MessageDatabaseGuid" / Guid,
    "MessageGlobalCounter" / GlobalCounter,
    "MessagePad" / U16,
    name="MessageEntryID",
    spec="MS-OXCDATA 2.2.4.2",
    summary="message {MessageDatabaseGuid}-{MessageGlobalCounter} in folder {FolderGlobalCounter}",
)

AddressBookEntryId = Layout(
    *_HEAD,
    "Version" / U32,
    "Type" / Enumerated(U32, "AddressBookEntryIdType"),
    "X500DN" / Str8,
    name="AddressBookEntryID",
    spec="MS-OXCDATA 2.2.5.2",
    summary="{Type} {X500DN}",
)

OneOffEntryId = Layout(
    *_HEAD,
    "Version" / U16,
    "OneOffFlags" / Flags(U16, "OneOffFlags"),
    "DisplayName" / StrIf(this.OneOffFlags & 0x8000),
    "AddressType" / StrIf(this.OneOffFlags & 0x8000),
    "EmailAddress" / StrIf(this.OneOffFlags & 0x8000),
    name="OneOffEntryID",
    spec="MS-OXCDATA 2.2.5.1",
    summary="{DisplayName} {AddressType}:{EmailAddress}",
)

StoreEntryId = Layout(
    *_HEAD,
    "Version" / U8,
    "Flag" / U8,
    "DLLFileName" / Data(14),
    "WrappedFlags" / U32,
    "WrappedProviderUID" / Guid,
    "WrappedType" / WhenMore(Enumerated(U32, "WrappedStoreType")),
    "ServerShortname" / WhenMore(Str8),
    "MailboxDN" / WhenMore(Str8),
    name="StoreObjectEntryID",
    spec="MS-OXCDATA 2.2.4.3",
    summary="store of {MailboxDN}",
)

EphemeralEntryId = Layout(
    *_HEAD,
    "Version" / U32,
    "DisplayType" / Enumerated(U32, "DisplayType"),
    "MId" / U32,
    name="EphemeralEntryID",
    spec="MS-OXNSPI 2.2.9.2",
    summary="{DisplayType} MId {MId}",
)

UnknownEntryId = Layout(*_HEAD, "ProviderData" / Rest, name="EntryID", spec="MS-OXCDATA 2.2.3", summary="{ProviderUID}")

_ADDRESS_BOOK = bytes.fromhex("dca740c8c042101ab4b908002b2fe182")
_ONE_OFF = bytes.fromhex("812b1fa4bea310199d6e00dd010f5402")
_STORE = bytes.fromhex("38a1bb1005e5101aa1bb08002b2a56c2")


def _types(*numbers: int) -> tuple[bytes, ...]:
    return tuple(number.to_bytes(2, "little") for number in numbers)


EntryId = ByMarks(
    Marked(AddressBookEntryId, marks={4: (_ADDRESS_BOOK,)}),
    Marked(OneOffEntryId, marks={4: (_ONE_OFF,)}),
    Marked(StoreEntryId, marks={4: (_STORE,)}),
    Marked(EphemeralEntryId, length=32, marks={0: (b"\x87",)}),
    Marked(FolderEntryId, length=46, marks={20: _types(0x01, 0x03, 0x05, 0x0C)}),
    Marked(MessageEntryId, length=70, marks={20: _types(0x07, 0x09, 0x0B)}),
    default=UnknownEntryId,
)
"""Any entry id, to the end of the enclosing size."""
