"""Every structure of [MS-OXCDATA] and every structured property, with values made from their own grammar."""

from __future__ import annotations

import pytest
from construct import Construct
from hypothesis import HealthCheck, given, settings
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
from dissector.grammar.base import Layout, RowsToEnd
from dissector.grammar.forms import ByFirst, ByMarks
from tests.dissector.grammar.holds import any_bytes_hold, damaged_bytes_hold, made_values_hold

BY_OFFSET = {"SecurityDescriptor", "NtSecurityDescriptor", "EntryList", "SearchFolderDefinition"}
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

LENIENT = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))


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
