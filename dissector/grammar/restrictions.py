"""Restrictions: the conditions of tables, searches and rules [MS-OXCDATA] 2.12.

Three forms differ in the width of their counts and in how the values in them are written: ROP buffers (u16), extended
rules (u32), and MAPI/HTTP address-book bodies (u32, values with HasValue bytes).
"""

from __future__ import annotations

from construct import Construct, Renamed

from dissector.grammar.base import (
    U8,
    U16,
    U32,
    Bool8,
    Count,
    Deferred,
    Enumerated,
    Flags,
    Layout,
    Present,
    Rows,
    When,
    this,
)  # fmt: skip
from dissector.grammar.forms import ByFirst, WhenByte
from dissector.grammar.properties import (
    AddressBookTaggedPropertyValue,
    ExtendedTaggedPropertyValue,
    PropertyTag,
    TaggedPropertyValue,
)  # fmt: skip


def restriction(count: Construct, value: Construct, absent_values: bool = False) -> ByFirst:
    """The restriction grammar with `count` as the width of its counts and `value` as its TaggedPropertyValue.

    absent_values: a byte 0x00 or 0xFF may stand before a value and tell whether there is one. No property type has
    such a low byte, so it cannot be taken for the tag.
    """

    def itself() -> Construct:
        return form

    nested = Deferred(itself)
    kind = "RestrictType" / Enumerated(U8, "RestrictType")

    def case(section: str, name: str, summary: str, *fields: Renamed) -> Layout:
        return Layout(kind, *fields, name=name, spec=f"MS-OXCDATA 2.12.{section}", summary=summary)

    tag = "PropertyTag" / PropertyTag
    relation = "RelOp" / Enumerated(U8, "RelOp")
    tagged: tuple[Renamed, ...] = ("TaggedValue" / value,)
    if absent_values:
        tagged = (
            "HasTaggedValue" / WhenByte((0x00, 0xFF), U8),
            "TaggedValue" / When(this.HasTaggedValue != 0, value),  # type: ignore[operator]
        )
    rows = ("RestrictCount" / Count(count, "Restricts"), "Restricts" / Rows(this.RestrictCount, nested))
    form = ByFirst(
        U8,
        "RestrictType",
        {
            0x00: case("1", "AndRestriction", "AND({Restricts})", *rows),
            0x01: case("2", "OrRestriction", "OR({Restricts})", *rows),
            0x02: case("3", "NotRestriction", "NOT({Restriction})", "Restriction" / nested),
            0x03: case(
                "4",
                "ContentRestriction",
                "{PropertyTag} {FuzzyLevelLow} {TaggedValue}",
                "FuzzyLevelLow" / Enumerated(U16, "FuzzyLevelLow"),
                "FuzzyLevelHigh" / Flags(U16, "FuzzyLevelHigh"),
                tag,
                *tagged,
            ),
            0x04: case("5", "PropertyRestriction", "{PropertyTag} {RelOp} {TaggedValue}", relation, tag, *tagged),
            0x05: case(
                "6",
                "ComparePropertiesRestriction",
                "{PropertyTag1} {RelOp} {PropertyTag2}",
                relation,
                "PropertyTag1" / PropertyTag,
                "PropertyTag2" / PropertyTag,
            ),
            0x06: case(
                "7",
                "BitMaskRestriction",
                "{PropertyTag} & {Mask} {BitmapRelOp}",
                "BitmapRelOp" / Enumerated(U8, "BitmapRelOp"),
                tag,
                "Mask" / U32,
            ),
            0x07: case("8", "SizeRestriction", "size of {PropertyTag} {RelOp} {Size}", relation, tag, "Size" / U32),
            0x08: case("9", "ExistRestriction", "EXISTS({PropertyTag})", tag),
            0x09: case(
                "10",
                "SubObjectRestriction",
                "ANY {Subobject}({Restriction})",
                "Subobject" / PropertyTag,
                "Restriction" / nested,
            ),
            0x0A: case(
                "11",
                "CommentRestriction",
                "{Restriction}",
                "TaggedValuesCount" / Count(U8, "TaggedValues"),
                "TaggedValues" / Rows(this.TaggedValuesCount, value),
                "RestrictionPresent" / Present(Bool8, "Restriction"),
                "Restriction" / When(this.RestrictionPresent, nested),
            ),
            0x0B: case("12", "CountRestriction", "FIRST {Count}({Restriction})", "Count" / U32, "Restriction" / nested),
        },
    )
    return form


Restriction = restriction(U16, TaggedPropertyValue)
"""As in ROP buffers and standard rules."""

ExtendedRestriction = restriction(U32, ExtendedTaggedPropertyValue)
"""As in extended rules and search folder definitions."""

AddressBookRestriction = restriction(U32, AddressBookTaggedPropertyValue, absent_values=True)
"""As in MAPI/HTTP address-book bodies."""
