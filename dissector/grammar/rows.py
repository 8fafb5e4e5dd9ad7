"""Recipient rows and typed strings [MS-OXCDATA] 2.8.3, 2.11.7; [MS-OXCROPS] 2.2.6.1.2, 2.2.6.5.1, 2.2.6.6.2."""

from __future__ import annotations

from typing import Any

from construct import Construct, this

from dissector.grammar.entryids import EntryId
from dissector.grammar.forms import CodecOf, First, Given, KindAndFlags, MaybeEmpty, Nothing, Outer
from dissector.grammar.layouts import Choice, Counted, Layout, Sized, SizeOf, StrIf, When
from dissector.grammar.leaves import U8, U16, U32, Enumerated, Rest, Str8, Str16, Text
from dissector.grammar.properties import PropertyRow

TypedString = Layout(
    "StringType" / Enumerated(U8, "TypedStringType"),
    "String" / Choice(this.StringType, {0: Nothing, 1: Nothing, 2: Str8, 3: Text(1, "latin-1"), 4: Str16}),
    name="TypedString",
    spec="MS-OXCDATA 2.11.7",
    summary="{String}",
)
"""Type 3 is UTF-16 text whose high bytes are all zero, sent without them."""

_RECIPIENT_TYPE = KindAndFlags(U8, 0x0F, "RecipientType", "RecipientTypeFlags")


def RecipientRow(columns: Any) -> Layout:
    """Who a message goes to. columns: the property tags of RecipientColumns, evaluated in the enclosing layout."""
    kind, unicode = this.RecipientFlags & 0x0007, this.RecipientFlags & 0x0200
    personal = (kind == 6) | (kind == 7)
    return Layout(
        "RecipientFlags" / KindAndFlags(U16, 0x0007, "RecipientAddressKind", "RecipientFlags"),
        "AddressPrefixUsed" / When(kind == 1, U8),
        "DisplayType" / When(kind == 1, Enumerated(U8, "RecipientDisplayType")),
        "X500DN" / When(kind == 1, Str8),
        "EntryId" / When(personal, Counted(U16, MaybeEmpty(EntryId))),
        "SearchKey" / When(personal, Counted(U16, Rest)),
        "AddressType" / When((kind == 0) & ((this.RecipientFlags & 0x8000) != 0), Str8),
        "EmailAddress" / When(this.RecipientFlags & 0x0008, StrIf(unicode)),
        "DisplayName" / When(this.RecipientFlags & 0x0010, StrIf(unicode)),
        "SimpleDisplayName" / When(this.RecipientFlags & 0x0400, StrIf(unicode)),
        "TransmittableDisplayName" / When(this.RecipientFlags & 0x0020, StrIf(unicode)),
        "RecipientColumnCount" / U16,
        "RecipientProperties" / PropertyRow(First(this._.RecipientColumnCount, Outer(columns, 2))),
        name="RecipientRow",
        spec="MS-OXCDATA 2.8.3.2",
        summary="{DisplayName} {EmailAddress}{X500DN}",
    )


def _sized_row(columns: Any) -> Construct:
    return Sized(this.RecipientRowSize, RecipientRow(columns))


def _row_in_code_page(columns: Any) -> Construct:
    """The row, its 8-bit text in the code page that the field before it names."""
    return Given("codepage", CodecOf(this.CodePageId), _sized_row(columns))


def OpenRecipientRow(columns: Any) -> Layout:
    """A recipient in the response of RopOpenMessage. columns: as seen from the row's own fields (this._.X)."""
    return Layout(
        "RecipientType" / _RECIPIENT_TYPE,
        "CodePageId" / Enumerated(U16, "CodePage"),
        "Reserved" / U16,
        "RecipientRowSize" / SizeOf(U16, "RecipientRow"),
        "RecipientRow" / _row_in_code_page(columns),
        name="OpenRecipientRow",
        spec="MS-OXCROPS 2.2.6.1.2.1",
        summary="{RecipientType} {RecipientRow}",
    )


def ReadRecipientRow(columns: Any) -> Layout:
    """A recipient in the response of RopReadRecipients."""
    return Layout(
        "RowId" / U32,
        "RecipientType" / _RECIPIENT_TYPE,
        "CodePageId" / Enumerated(U16, "CodePage"),
        "Reserved" / U16,
        "RecipientRowSize" / SizeOf(U16, "RecipientRow"),
        "RecipientRow" / _row_in_code_page(columns),
        name="ReadRecipientRow",
        spec="MS-OXCROPS 2.2.6.6.2.1",
        summary="{RecipientType} {RecipientRow}",
    )


def ModifyRecipientRow(columns: Any) -> Layout:
    """A recipient in the request of RopModifyRecipients. A row of no bytes deletes the recipient."""
    return Layout(
        "RowId" / U32,
        "RecipientType" / _RECIPIENT_TYPE,
        "RecipientRowSize" / SizeOf(U16, "RecipientRow"),
        "RecipientRow" / When(this.RecipientRowSize, _sized_row(columns)),
        name="ModifyRecipientRow",
        spec="MS-OXCROPS 2.2.6.5.1.1",
        summary="{RecipientType} {RecipientRow}",
    )
