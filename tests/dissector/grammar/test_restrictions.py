"""Restrictions in their four forms, nested to the limit."""

from __future__ import annotations

from typing import Any

import pytest
from construct import Construct

from dissector.grammar.base import GrammarError, build
from dissector.grammar.layouts import MAX_DEPTH
from dissector.grammar.reading import parse, trace
from dissector.grammar.restrictions import AddressBookRestriction, ExtendedRestriction, Restriction
from dissector.grammar.search import SearchRestriction
from dissector.grammar.sortorder import SortOrder, SortOrderSet
from dissector.node import Severity
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check, diagnostics

SUBJECT = "1f003700"
HELLO = f"{SUBJECT} 48006900 0000"

BODIES: list[tuple[str, str]] = [
    (f"00 0200 08{SUBJECT} 08 03001700", "AND(EXISTS(PidTagSubject), EXISTS(PidTagImportance))"),
    (f"01 0100 08{SUBJECT}", "OR(EXISTS(PidTagSubject))"),
    (f"02 08{SUBJECT}", "NOT(EXISTS(PidTagSubject))"),
    (f"03 0200 0100 {SUBJECT} {HELLO}", "PidTagSubject FL_PREFIX 'Hi'"),
    (f"04 04 {SUBJECT} {HELLO}", "PidTagSubject == 'Hi'"),
    ("04 03 40000830 40000830 b0355508ec87d301", "PidTagLastModificationTime >= 2018-01-07T19:16:34.571Z"),
    ("04 04 1f101f80 1f001f80 72000000", "0x801F101F == 'r'"),
    ("05 00 40003900 4000060e", "PidTagClientSubmitTime < PidTagMessageDeliveryTime"),
    ("06 01 0300070e 01000000", "PidTagMessageFlags & 1 != 0"),
    ("07 02 0300080e 00001000", "size of PidTagMessageSize > 1048576"),
    ("08 0b001b0e", "EXISTS(PidTagHasAttachments)"),
    ("09 0d00120e 08 1f000130", "ANY PidTagMessageRecipients(EXISTS(PidTagDisplayName))"),
    (f"0a 01 03001700 02000000 01 08{SUBJECT}", "EXISTS(PidTagSubject)"),
    ("0a 01 03001700 02000000 00", ""),
    (f"0b 05000000 08{SUBJECT}", "FIRST 5(EXISTS(PidTagSubject))"),
    (f"0c 01 03001700 02000000 01 08{SUBJECT}", "EXISTS(PidTagSubject)"),
    ("ff", "no restriction"),
]


@pytest.mark.parametrize(("raw", "words"), BODIES)
def test_rop_form(raw: str, words: str) -> None:
    data = bytes.fromhex(raw)
    value = check(Restriction, data)
    assert value.RestrictType == data[0]
    assert trace(Restriction, ByteSource("restriction", data), "Restriction").label == words


def test_other_forms() -> None:
    value: Any = {
        "RestrictType": 0,
        "Restricts": [
            {
                "RestrictType": 3, "FuzzyLevelLow": 1, "FuzzyLevelHigh": 1, "PropertyTag": 0x0037001F,
                "TaggedValue": {"PropertyTag": 0x0037001F, "PropertyValue": "Hi"},
            },
            {
                "RestrictType": 4, "RelOp": 4, "PropertyTag": 0x00040102,
                "TaggedValue": {"PropertyTag": 0x00040102, "PropertyValue": b"ab"},
            },
        ],
    }  # fmt: skip
    assert build(Restriction, value).hex(" ") == (
        "00 02 00 03 01 00 01 00 1f 00 37 00 1f 00 37 00 48 00 69 00 00 00 04 04 02 01 04 00 02 01 04 00 02 00 61 62"
    )
    assert build(ExtendedRestriction, value).hex(" ") == (
        "00 02 00 00 00 03 01 00 01 00 1f 00 37 00 1f 00 37 00 48 00 69 00 00 00"
        " 04 04 02 01 04 00 02 01 04 00 02 00 00 00 61 62"
    )
    # The byte before the tagged value: seen in traffic, see docs/disagreements.md
    assert build(AddressBookRestriction, value).hex(" ") == (
        "00 02 00 00 00 03 01 00 01 00 1f 00 37 00 ff 1f 00 37 00 ff 48 00 69 00 00 00"
        " 04 04 02 01 04 00 ff 02 01 04 00 ff 02 00 00 00 61 62"
    )
    for form in (Restriction, ExtendedRestriction, AddressBookRestriction):
        check(form, build(form, value), RestrictCount=2)
    check(AddressBookRestriction, "04 04 1f003700 00", TaggedValue=None)
    value["Restricts"][0]["TaggedValue"]["PropertyValue"] = {"Text": "Hi"}
    assert build(SearchRestriction, value)[:4] == bytes(4)
    check(SearchRestriction, build(SearchRestriction, value), RestrictCount=2)


@pytest.mark.parametrize("form", [Restriction, ExtendedRestriction, AddressBookRestriction, SearchRestriction])
def test_nested_to_the_limit_and_no_deeper(form: Construct) -> None:
    width = 4 if form is SearchRestriction else 1
    level, leaf = b"\x02".ljust(width, b"\0"), b"\x08".ljust(width, b"\0") + bytes.fromhex(SUBJECT)
    value, end = parse(form, level * MAX_DEPTH + leaf)
    assert end == len(level) * MAX_DEPTH + len(leaf)
    assert build(form, value) == level * MAX_DEPTH + leaf
    for depth in (MAX_DEPTH + 1, 5000):
        raw = level * depth + leaf
        with pytest.raises(GrammarError, match=f"nested deeper than {MAX_DEPTH} levels") as raised:
            parse(form, raw)
        assert raised.value.severity is Severity.MALFORMED
        node = trace(form, ByteSource("deep", raw), "Restriction")
        assert [found[1] for found in diagnostics(node)] == [Severity.MALFORMED]
        assert sum(part.name == "Restriction" for part in node.walk()) == MAX_DEPTH + 2


def test_a_count_that_lies() -> None:
    with pytest.raises(GrammarError) as raised:
        parse(Restriction, bytes.fromhex(f"00 ffff 08{SUBJECT}"))
    assert (raised.value.severity, raised.value.offset) == (Severity.MALFORMED, 8)


def test_an_unknown_type() -> None:
    with pytest.raises(GrammarError, match="RestrictType 0x22") as raised:
        parse(Restriction, bytes.fromhex("02 22"))
    assert raised.value.offset == 1


def test_sort_orders() -> None:
    raw = "0200 0100 0000 40000830 01 1f001a00 00"
    value = check(SortOrderSet, raw, SortOrderCount=2, CategorizedCount=1, ExpandedCount=0)
    assert [(found.PropertyTag, found.Order) for found in value.SortOrders] == [(0x30080040, 1), (0x001A001F, 0)]
    node = trace(SortOrder, ByteSource("sort", bytes.fromhex("4000083001")), "[0]")
    assert node.label == "PidTagLastModificationTime Descending"
