"""Search folder definitions [MS-OXOSRCH] 2.2.1.2 and the property lists that Outlook keeps in binary values.

Restrictions and values in them are written in a form of their own [MS-OXOCFG] 2.2.6.1.2: every number of a restriction
is u32, text and binary values have a u16 byte count.
"""

from __future__ import annotations

from construct import Renamed, this

from dissector.grammar.entryids import EntryList
from dissector.grammar.forms import Chars, Either, MaybeEmpty, Padded, RestBut
from dissector.grammar.layouts import Count, Counted, Layout, Multi, Rows, Sized, SizeOf, When
from dissector.grammar.leaves import U8, U16, U32, Bool16, Data, Flags, Str8, Str16
from dissector.grammar.properties import FIXED, Encoding, tagged_value
from dissector.grammar.restrictions import restriction


def _text(width: int) -> Layout:
    return Layout(
        "Size" / SizeOf(U16, "Text"), "Text" / Padded(this.Size, width), name="counted text", summary="{Text}"
    )


KEPT_VALUES = Encoding(
    "kept by Outlook",
    {
        **FIXED,
        0x000B: Bool16,
        0x001E: _text(1),
        0x001F: _text(2),
        0x0102: Counted(U16),
        0x101E: Multi(U16, Str8),
        0x101F: Multi(U16, Str16),
        0x1102: Multi(U16, Counted(U32)),
    },
    U16,
)

KeptPropertyValue = tagged_value("TaggedPropertyValue", "MS-OXOCFG 2.2.6.1.2", KEPT_VALUES)

SearchRestriction = restriction(U32, KeptPropertyValue, number=U32)

_ADDRESS = Layout(
    "PropertyCount" / Count(U32, "Properties"),
    "Pad" / U32,
    "Properties" / Rows(this.PropertyCount, KeptPropertyValue),
    name="AddressListEntry",
    spec="MS-OXOCFG 2.2.6.1.1",
    summary="{Properties}",
)


def _packed(name: str) -> tuple[Renamed, ...]:
    """A text with its length in a byte, or in the two bytes behind a byte of 0xFF."""
    short, long = f"{name}Length", f"{name}LengthExtended"
    return (
        short / U8,
        long / When(this[short] == 0xFF, U16),
        name / Chars(Either(this[long], this[short]), 2),
    )


SearchFolderDefinition = Layout(
    "Version" / U32,
    "Flags" / Flags(U32, "SearchFolderFlags"),
    "NumericSearch" / U32,
    *_packed("TextSearch"),
    "SkipLen1" / SizeOf(U32, "SkipBytes1"),
    "SkipBytes1" / Data(this.SkipLen1),
    "DeepSearch" / U32,
    *_packed("FolderList1"),
    "FolderList2Length" / SizeOf(U32, "FolderList2"),
    "FolderList2" / Sized(this.FolderList2Length, MaybeEmpty(EntryList)),
    "AddressCount" / When(this.Flags & 0x04, Count(U32, "Addresses")),
    "Addresses" / When(this.Flags & 0x04, Rows(this.AddressCount, _ADDRESS)),
    "SkipLen2" / SizeOf(U32, "SkipBytes2"),
    "SkipBytes2" / Data(this.SkipLen2),
    "Restriction" / When(this.Flags & 0x08, SearchRestriction),
    "AdvancedSearch" / When(this.Flags & 0x10, RestBut(4)),
    "SkipLen3" / SizeOf(U32, "SkipBytes3"),
    "SkipBytes3" / Data(this.SkipLen3),
    name="PidTagSearchFolderDefinition",
    spec="MS-OXOSRCH 2.2.1.2.8",
    summary="{TextSearch} {Restriction}",
)
"""AdvancedSearch has no published layout; what it does not need (SkipBytes) is the last four bytes, a size of 0."""

RecipientRowStream = Layout(
    "Version" / U32,
    "RowCount" / Count(U32, "Rows"),
    "Rows"
    / Rows(
        this.RowCount,
        Layout(
            "ValueCount" / Count(U32, "Values"),
            "Reserved" / U32,
            "Values" / Rows(this.ValueCount, KeptPropertyValue),
            name="recipient",
            summary="{Values}",
        ),
    ),
    name="PidLidAppointmentUnsendableRecipients",
    spec="MS-OXOCAL 2.2.1.25",
)
"""Also PidLidForwardNotificationRecipients."""
