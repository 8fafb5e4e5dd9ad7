"""Transport ROPs [MS-OXOMSG], [MS-OXCROPS] 2.2.7."""

from __future__ import annotations

from construct import this

from dissector.grammar.ids import FolderId, MessageId
from dissector.grammar.layouts import Count, Fixed, Rows, Sized, SizeOf, When, WhenMore
from dissector.grammar.leaves import U8, U16, U32, Bool8, Enumerated, Flags, Str8
from dissector.grammar.properties import TaggedPropertyValue
from dissector.grammar.rops.base import RopDef, counted_bytes, rop

SUBMIT_MESSAGE = rop(
    0x32, "RopSubmitMessage", "2.2.7.1",
    "SubmitFlags" / Flags(U8, "SubmitFlags"),
    summary=("SubmitFlags",),
)  # fmt: skip

ABORT_SUBMIT = rop(
    0x34, "RopAbortSubmit", "2.2.7.2",
    "FolderId" / FolderId,
    "MessageId" / MessageId,
    summary=("FolderId", "MessageId"),
)  # fmt: skip

GET_ADDRESS_TYPES = rop(
    0x49, "RopGetAddressTypes", "2.2.7.3",
    success=(
        "AddressTypeCount" / Count(U16, "AddressTypes"),
        "AddressTypeSize" / SizeOf(U16, "AddressTypes"),
        "AddressTypes" / Sized(this.AddressTypeSize, Rows(this.AddressTypeCount, Str8)),
    ),
    summary=("AddressTypes",),
    params=("codepage",),
)  # fmt: skip

SET_SPOOLER = rop(0x47, "RopSetSpooler", "2.2.7.4")

SPOOLER_LOCK_MESSAGE = rop(
    0x48, "RopSpoolerLockMessage", "2.2.7.5",
    "MessageId" / MessageId,
    "LockState" / Enumerated(U8, "LockState"),
    summary=("MessageId", "LockState"),
)  # fmt: skip

TRANSPORT_SEND = rop(
    0x4A, "RopTransportSend", "2.2.7.6",
    success=(
        "NoPropertiesReturned" / Bool8,
        "PropertyValueCount" / WhenMore(Count(U16, "PropertyValues")),
        "PropertyValues" / When(this.PropertyValueCount, Rows(this.PropertyValueCount, TaggedPropertyValue)),
    ),
    summary=("NoPropertiesReturned", "PropertyValues"),
    params=("codepage",),
    note="some servers end the response behind a NoPropertiesReturned of 1",
)  # fmt: skip

TRANSPORT_NEW_MAIL = rop(
    0x51, "RopTransportNewMail", "2.2.7.7",
    "MessageId" / MessageId,
    "FolderId" / FolderId,
    "MessageClass" / Str8,
    "MessageFlags" / Flags(U32, "TransportMessageFlags"),
    summary=("MessageClass", "MessageId", "FolderId", "MessageFlags"),
    params=("codepage",),
)  # fmt: skip

GET_TRANSPORT_FOLDER = rop(
    0x6D, "RopGetTransportFolder", "2.2.7.8",
    success=("FolderId" / FolderId,),
    summary=("FolderId",),
)  # fmt: skip

OPTIONS_DATA = rop(
    0x6F, "RopOptionsData", "2.2.7.9",
    "AddressType" / Str8,
    "WantWin32" / Bool8,
    success=(
        "Reserved" / Fixed(U8, 1),
        *counted_bytes("OptionsInfoSize", "OptionsInfo"),
        *counted_bytes("HelpFileSize", "HelpFile"),
        "HelpFileName" / When(this.HelpFileSize, Str8),
    ),
    summary=("AddressType", "OptionsInfoSize", "HelpFileName"),
    params=("codepage",),
)  # fmt: skip

ROPS: tuple[RopDef, ...] = (
    SUBMIT_MESSAGE,
    ABORT_SUBMIT,
    GET_ADDRESS_TYPES,
    SET_SPOOLER,
    SPOOLER_LOCK_MESSAGE,
    TRANSPORT_SEND,
    TRANSPORT_NEW_MAIL,
    GET_TRANSPORT_FOLDER,
    OPTIONS_DATA,
)
