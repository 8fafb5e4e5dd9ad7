"""Restrictions: the conditions of tables, searches and rules [MS-OXCDATA] 2.12.

Four forms differ in the width of their numbers and in how the values in them are written: ROP buffers (u16 counts),
extended rules (u32 counts), MAPI/HTTP address-book bodies (u32 counts, HasValue bytes), and the search folder
definitions of [MS-OXOCFG] 2.2.6.1.2 (every number u32; search.py).
"""

from __future__ import annotations

from construct import Construct, Renamed, this

from dissector.grammar.forms import ByFirst, HasValue, KindAndFlags
from dissector.grammar.layouts import Count, Deferred, Layout, Present, Rows, When
from dissector.grammar.leaves import U8, U16, U32, Bool8, Enumerated, Flags
from dissector.grammar.properties import (
    AddressBookPropertyTag,
    AddressBookTaggedPropertyValue,
    ExtendedTaggedPropertyValue,
    PropertyTag,
    TaggedPropertyValue,
)


def restriction(
    count: Construct,
    value: Construct,
    *,
    number: Construct = U8,
    tag: Construct = PropertyTag,
    nullable: bool = False,
) -> ByFirst:
    """The restriction grammar.

    count: the width of the counts of And and Or. value: the TaggedPropertyValue. number: the width of types, relations
    and the count of Comment. tag: how a property tag reads. nullable: a HasValue byte stands before the value of a
    Content or Property restriction.
    """

    def itself() -> Construct:
        return form

    nested = Deferred(itself)
    kind = "RestrictType" / Enumerated(number, "RestrictType")

    def case(section: str, name: str, summary: str, *fields: Renamed) -> Layout:
        return Layout(kind, *fields, name=name, spec=f"MS-OXCDATA 2.12.{section}", summary=summary)

    property_tag = "PropertyTag" / tag
    relation = "RelOp" / Enumerated(number, "RelOp")
    tagged = "TaggedValue" / (HasValue(value) if nullable else value)
    shown = "{TaggedValue.Value.PropertyValue}" if nullable else "{TaggedValue.PropertyValue}"
    rows = ("RestrictCount" / Count(count, "Restricts"), "Restricts" / Rows(this.RestrictCount, nested))
    noted = (
        "TaggedValuesCount" / Count(number, "TaggedValues"),
        "TaggedValues" / Rows(this.TaggedValuesCount, value),
        "RestrictionPresent" / Present(Bool8, "Restriction"),
        "Restriction" / When(this.RestrictionPresent, nested),
    )
    form = ByFirst(
        number,
        "RestrictType",
        {
            0x00: case("1", "AndRestriction", "AND({Restricts})", *rows),
            0x01: case("2", "OrRestriction", "OR({Restricts})", *rows),
            0x02: case("3", "NotRestriction", "NOT({Restriction})", "Restriction" / nested),
            0x03: case(
                "4",
                "ContentRestriction",
                f"{{PropertyTag}} {{FuzzyLevelLow}} {shown}",
                "FuzzyLevelLow" / KindAndFlags(U16, 0x000F, "FuzzyLevelLow", "FuzzyLevelWords"),
                "FuzzyLevelHigh" / Flags(U16, "FuzzyLevelHigh"),
                property_tag,
                tagged,
            ),
            0x04: case(
                "5", "PropertyRestriction", f"{{PropertyTag}} {{RelOp}} {shown}", relation, property_tag, tagged
            ),
            0x05: case(
                "6",
                "ComparePropertiesRestriction",
                "{PropertyTag1} {RelOp} {PropertyTag2}",
                relation,
                "PropertyTag1" / tag,
                "PropertyTag2" / tag,
            ),
            0x06: case(
                "7",
                "BitMaskRestriction",
                "{PropertyTag} & {Mask} {BitmapRelOp}",
                "BitmapRelOp" / Enumerated(number, "BitmapRelOp"),
                property_tag,
                "Mask" / U32,
            ),
            0x07: case(
                "8", "SizeRestriction", "size of {PropertyTag} {RelOp} {Size}", relation, property_tag, "Size" / U32
            ),
            0x08: case("9", "ExistRestriction", "EXISTS({PropertyTag})", property_tag),
            0x09: case(
                "10",
                "SubObjectRestriction",
                "ANY {Subobject}({Restriction})",
                "Subobject" / tag,
                "Restriction" / nested,
            ),
            0x0A: case("11", "CommentRestriction", "{Restriction}", *noted),
            0x0B: case("12", "CountRestriction", "FIRST {Count}({Restriction})", "Count" / U32, "Restriction" / nested),
            0x0C: case("11", "AnnotationRestriction", "{Restriction}", *noted),
            0xFF: case("", "NullRestriction", "no restriction"),
        },
    )
    return form


Restriction = restriction(U16, TaggedPropertyValue)
"""As in ROP buffers and standard rules."""

ExtendedRestriction = restriction(U32, ExtendedTaggedPropertyValue)
"""As in extended rules."""

AddressBookRestriction = restriction(U32, AddressBookTaggedPropertyValue, tag=AddressBookPropertyTag, nullable=True)
"""As in MAPI/HTTP address-book bodies."""
