"""Every structure of [MS-OXCDATA] and every structured property, with values made from their own grammar."""

from __future__ import annotations

import pytest
from construct import Construct
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from dissector.grammar import (
    actions,
    blobs,
    entryids,
    outlook,
    properties,
    recurrence,
    restrictions,
    rows,
    search,
    security,
    sortorder,
    xid,
)
from dissector.grammar.base import build
from dissector.grammar.forms import ByFirst, ByMarks
from dissector.grammar.ids import ObjectId
from dissector.grammar.layouts import Layout, RowsToEnd
from dissector.grammar.properties import TaggedPropertyValue
from dissector.grammar.reading import parse, trace
from dissector.source import ByteSource
from tests.conftest import examples
from tests.dissector.grammar.holds import any_bytes_hold, damaged_bytes_hold, made_values_hold
from tests.dissector.grammar.rops.check import check, diagnostics

BY_OFFSET = {"RtfCompressed", "SecurityDescriptor", "NtSecurityDescriptor", "EntryList", "SearchFolderDefinition"}
"""Fields point to others by offset or index: values of these come from the vectors, not from a generator."""

PARTS = {"ExtendedException"}
"""What cannot stand alone."""

MODULES = (
    actions, blobs, entryids, outlook, properties, recurrence, restrictions, rows, search, security, sortorder, xid,
)  # fmt: skip
STRUCTURES: dict[str, Construct] = {
    name: thing
    for module in MODULES
    for name, thing in vars(module).items()
    if isinstance(thing, Layout | ByFirst | ByMarks | RowsToEnd) and not name.startswith("_") and name not in PARTS
}
GENERATED = sorted(STRUCTURES.keys() - BY_OFFSET)

LENIENT = examples(10, *HealthCheck)


@pytest.mark.parametrize("name", GENERATED)
@LENIENT
@given(data=st.data())
def test_made_values(name: str, data: st.DataObject) -> None:
    made_values_hold(STRUCTURES[name], data)


@pytest.mark.parametrize("name", GENERATED)
@LENIENT
@given(data=st.data())
def test_damaged_bytes(name: str, data: st.DataObject) -> None:
    damaged_bytes_hold(STRUCTURES[name], data)


@pytest.mark.parametrize("name", sorted(STRUCTURES))
@LENIENT
@given(raw=st.binary(max_size=80))
def test_any_bytes(name: str, raw: bytes) -> None:
    any_bytes_hold(STRUCTURES[name], raw)


def test_compressed_rtf() -> None:
    raw = bytes.fromhex("0e000000 2b000000 4c5a4675 f1c5c7a7 0300")
    check(blobs.RtfCompressed, raw, COMPSIZE=14, RAWSIZE=43, CONTENTS=b"\3\0")
    node = trace(blobs.RtfCompressed, ByteSource("rtf", raw), "rtf")
    assert node.label == "LZFu (compressed), 43 bytes of RTF"
    assert diagnostics(trace(blobs.RtfCompressed, ByteSource("rtf", b"\1" + raw[1:]), "rtf"))


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"SMTP:ANN@EXAMPLE.TEST\0", "SMTP:ANN@EXAMPLE.TEST"),
        (b"SMTP:ANN@EXAMPLE.TEST", b"SMTP:ANN@EXAMPLE.TEST"),
        (bytes(16), bytes(16)),
        (b"SMTP:\xe9\0", b"SMTP:\xe9\0"),
        (b"a:b\0c\0", b"a:b\0c\0"),
    ],
)
def test_address_keys(raw: bytes, value: str | bytes) -> None:
    assert parse(blobs.AddressKey, raw) == (value, len(raw))
    assert build(blobs.AddressKey, value) == raw


def test_what_outlook_2003_was_told_of_deferred_rules() -> None:
    """PidTagClientActions and PidTagRuleIds as Exchange 2003 sent them."""
    raw = "02014566 1a00 0200 0a00 05 00000000 00000000 31 0a00 05 00000000 00000000 31"
    value = check(TaggedPropertyValue, raw)
    assert [block.ActionData for block in value.PropertyValue.ActionBlocks] == [b"1", b"1"]
    value = check(TaggedPropertyValue, "02017566 1000 1a00000003e919dc 1a00000003e919dd")
    assert value.PropertyValue == [ObjectId(0x1A, 0x3E919DC), ObjectId(0x1A, 0x3E919DD)]
