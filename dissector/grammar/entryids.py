"""Entry ids [MS-OXCDATA] 2.2.2 to 2.3; address-book forms [MS-OXNSPI] 2.2.9.

An entry id says by its ProviderUID which layout it has. Those of folders and messages carry the mailbox's own GUID
there, so they are known by their length and type.
"""

from __future__ import annotations

from construct import Construct, len_, this

from dissector.grammar.forms import BitFields, ByMarks, Marked, MaybeEmpty, Nth, Padding, WhenAhead
from dissector.grammar.ids import GlobalCounter
from dissector.grammar.layouts import Count, Counted, Deferred, Layout, Rows, Sized, SizeOf, StrIf, When, WhenMore
from dissector.grammar.leaves import U8, U16, U32, Data, Enumerated, Flags, Guid, Rest, Str8, Str16, Text
from dissector.grammar.properties import ServerEid

__all__ = [
    "EntryId", "EntryList", "FlatEntryList", "FolderEntryId", "MessageEntryId", "ServerEid", "SizedEntryId",
]  # fmt: skip


def _entry_id() -> Construct:
    return EntryId


_NESTED = Deferred(_entry_id)
_HEAD = ("Flags" / Flags(U32, "EntryIdFlags"), "ProviderUID" / Guid)

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
    "Pad1" / U16,
    "MessageDatabaseGuid" / Guid,
    "MessageGlobalCounter" / GlobalCounter,
    "Pad2" / U16,
    name="MessageEntryID",
    spec="MS-OXCDATA 2.2.4.2",
    summary="message {MessageDatabaseGuid}-{MessageGlobalCounter} in folder {FolderGlobalCounter}",
)

AddressBookEntryId = Layout(
    *_HEAD,
    "Version" / U32,
    "Type" / Enumerated(U32, "DisplayTypeProperty"),
    "X500DN" / Str8,
    name="AddressBookEntryID",
    spec="MS-OXCDATA 2.2.5.2",
    summary="{Type} {X500DN}",
)
"""Also the PermanentEntryID of [MS-OXNSPI] 2.2.9.3."""

EphemeralEntryId = Layout(
    *_HEAD,
    "Version" / U32,
    "Type" / Enumerated(U32, "DisplayTypeProperty"),
    "MId" / U32,
    name="EphemeralEntryID",
    spec="MS-OXNSPI 2.2.9.2",
    summary="{Type} MId {MId}",
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
    summary="{DisplayName} {AddressType} {EmailAddress}",
)

_STORE_HEAD = (
    *_HEAD,
    "Version" / U8,
    "Flag" / U8,
    "DLLFileName" / Text(1, "latin-1"),
    "DLLPadding" / Padding(4, 23 + len_(this.DLLFileName)),
)
"""What follows the name stands at a multiple of 4; for emsmdb.dll the name field has the 14 bytes of the spec."""

_STORE_V2 = Layout(
    "Magic" / U32,
    "Size" / U32,
    "Version" / U32,
    "OffsetDN" / U32,
    "OffsetFQDN" / U32,
    "DN" / When(this.OffsetDN != 0, Str8),
    "FQDN" / When(this.OffsetFQDN != 0, Str16),
    "Reserved" / WhenMore(Data(2)),
    name="StoreObjectEntryID V2",
    spec="MS-OXCDATA 2.2.4.3.1",
)

_STORE_V3 = Layout(
    "Magic" / U32,
    "Size" / U32,
    "Version" / U32,
    "OffsetSmtpAddress" / U32,
    "SmtpAddress" / When(this.OffsetSmtpAddress != 0, Str16),
    "Reserved" / WhenMore(Data(2)),
    name="StoreObjectEntryID V3",
    spec="MS-OXCDATA 2.2.4.3.2",
)

_V2_MAGIC, _V3_MAGIC = b"\xd8\x35\x21\xf3", b"\xe9\x46\x32\xf4"

StoreEntryId = Layout(
    *_STORE_HEAD,
    "WrappedFlags" / U32,
    "WrappedProviderUID" / Guid,
    "WrappedType" / WhenMore(Flags(U32, "OpenStoreFlags")),
    "ServerShortname" / WhenMore(Str8),
    "MailboxDN" / WhenAhead((_V2_MAGIC, _V3_MAGIC), Str8, unless=True),
    "V2" / WhenAhead((_V2_MAGIC,), _STORE_V2),
    "V3" / WhenAhead((_V3_MAGIC,), _STORE_V3),
    name="StoreObjectEntryID",
    spec="MS-OXCDATA 2.2.4.3",
    summary="store of {MailboxDN} on {ServerShortname}",
)

ForeignStoreEntryId = Layout(
    *_STORE_HEAD,
    "WrappedEntryId" / MaybeEmpty(_NESTED),
    name="StoreObjectEntryID",
    spec="MS-OXCDATA 2.2.4.3",
    summary="store of {DLLFileName}: {WrappedEntryId}",
)
"""A store that is not an Exchange server's, such as a file."""

_CONTACT_HEAD = (*_HEAD, "Version" / U32, "Type" / Enumerated(U32, "ContactEntryIdType"))

ContactEntryId = Layout(
    *_CONTACT_HEAD,
    "Index" / Enumerated(U32, "ContactEntryIdIndex"),
    "EntryIdCount" / SizeOf(U32, "EntryIdBytes"),
    "EntryIdBytes" / Sized(this.EntryIdCount, MaybeEmpty(_NESTED)),
    "Padding" / WhenMore(Rest),
    name="ContactAddressEntryID",
    spec="MS-OXCDATA 2.2.5.3",
    summary="contact {Index}: {EntryIdBytes}",
)
"""Also of a personal distribution list (2.2.5.4)."""

ContactContainerEntryId = Layout(
    *_CONTACT_HEAD,
    "ContainerUID" / WhenMore(Guid),
    "EntryID" / WhenMore(_NESTED),
    name="ContactAddressEntryID",
    spec="MS-OXCDATA 2.2.5.3",
    summary="contact container {ContainerUID}",
)

UnknownContactEntryId = Layout(
    *_CONTACT_HEAD,
    "ProviderData" / Rest,
    name="ContactAddressEntryID",
    spec="MS-OXCDATA 2.2.5.3",
    summary="contact of unknown type {Type}",
)

WrappedEntryId = Layout(
    *_HEAD,
    "Type" / BitFields(U8, ("kind", 4, "WrappedKind"), ("address", 3, "WrappedAddress"), ("wrapped", 1)),
    "EmbeddedEntryID" / _NESTED,
    name="WrappedEntryId",
    spec="MS-OXOCNTC 2.2.2.2.4.1.1",
    summary="wrapped {EmbeddedEntryID}",
)

UnknownEntryId = Layout(
    *_HEAD,
    "ProviderData" / Rest,
    name="EntryID",
    spec="MS-OXCDATA 2.2.2",
    summary="provider {ProviderUID}, {ProviderData}",
)

ShortEntryId = Layout("EntryIDData" / Rest, name="EntryID", spec="MS-OXCDATA 2.2.2")
"""Too short to have a ProviderUID."""

_ADDRESS_BOOK = bytes.fromhex("dca740c8c042101ab4b908002b2fe182")
_ONE_OFF = bytes.fromhex("812b1fa4bea310199d6e00dd010f5402")
_STORE = bytes.fromhex("38a1bb1005e5101aa1bb08002b2a56c2")
_STORE_PRIVATE = bytes.fromhex("1b55fa20aa6611cd9bc800aa002fc45a")
_STORE_PUBLIC = bytes.fromhex("1c830210aa6611cd9bc800aa002fc45a")
_CONTACT = bytes.fromhex("fe42aa0a18c71a10e8850b651c240000")
_WRAPPED = bytes.fromhex("c091add3519dcf11a4a900aa0047faa4")


def _types(*numbers: int, size: int = 2) -> tuple[bytes, ...]:
    return tuple(number.to_bytes(size, "little") for number in numbers)


EntryId = ByMarks(
    Marked(AddressBookEntryId, marks={4: (_ADDRESS_BOOK,)}),
    Marked(OneOffEntryId, marks={4: (_ONE_OFF,)}),
    Marked(StoreEntryId, marks={4: (_STORE,), 40: (_STORE_PRIVATE, _STORE_PUBLIC)}),
    Marked(ForeignStoreEntryId, marks={4: (_STORE,)}),
    Marked(ContactEntryId, marks={4: (_CONTACT,), 24: _types(4, 5, size=4)}),
    Marked(ContactContainerEntryId, marks={4: (_CONTACT,), 24: _types(1, 2, 3, size=4)}),
    Marked(UnknownContactEntryId, marks={4: (_CONTACT,)}),
    Marked(WrappedEntryId, marks={4: (_WRAPPED,)}),
    Marked(EphemeralEntryId, length=32, marks={0: (b"\x87",)}),
    Marked(FolderEntryId, length=46, marks={20: _types(0x01, 0x03, 0x05, 0x0C)}),
    Marked(MessageEntryId, length=70, marks={20: _types(0x07, 0x09, 0x0B)}),
    Marked(UnknownEntryId, at_least=20),
    default=ShortEntryId,
)
"""Any entry id, to the end of the enclosing size."""

SizedEntryId = Counted(U32, MaybeEmpty(EntryId))

FlatEntry = Layout(
    "Size" / SizeOf(U32, "EntryID"),
    "EntryID" / Sized(this.Size, MaybeEmpty(EntryId)),
    "Padding" / Padding(4, this.Size),
    name="FlatEntry",
    spec="MS-OXCDATA 2.3.2",
    summary="{EntryID}",
)

FlatEntryList = Layout(
    "Count" / Count(U32, "FlatEntries"),
    "Size" / SizeOf(U32, "FlatEntries"),
    "FlatEntries" / Rows(this.Count, FlatEntry),
    name="FlatEntryList",
    spec="MS-OXCDATA 2.3.3",
    summary="{FlatEntries:; }",
)

EntryList = Layout(
    "EntryCount" / Count(U32, "EntryIds"),
    "Pad" / U32,
    "EntryLengths"
    / Rows(this.EntryCount, Layout("EntryLength" / U32, "EntryLengthPad" / U32, name="EntryLength", spec="")),
    "EntryIds" / Rows(this.EntryCount, Sized(Nth(this.EntryLengths, "EntryLength"), MaybeEmpty(EntryId))),
    name="EntryList",
    spec="MS-OXCDATA 2.3.1",
)
