"""NSPI: stubs made by an independent encoder (nspi_stubs.json), values of every operation, MAPI/HTTP bodies.

nspi_stubs.json was made with impacket 0.13.1 for all operations whose layout it has as the published IDL has it.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from construct import Container
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from dissector.grammar.base import build
from dissector.grammar.envelopes import RFR, BodyDef
from dissector.grammar.layouts import Layout
from dissector.grammar.ndr import N32, Unique
from dissector.grammar.nspi import ADDRESS_BOOK, NSPI, Restriction
from dissector.grammar.reading import parse, trace
from dissector.source import ByteSource
from tests.conftest import examples
from tests.dissector.grammar import ndr_rules  # noqa: F401  the strategies for NDR
from tests.dissector.grammar.rops.check import check_cover, diagnostics
from tests.dissector.grammar.strategies import contains, values
from tests.dissector.grammar.test_ndr import held

STUBS: dict[str, str] = json.loads(Path(__file__).with_name("nspi_stubs.json").read_text())
GUID = uuid.UUID("8fa5d8a1-0c1c-4b5c-9d2e-1122334455aa")
FILTER = Layout("Filter" / Unique(Restriction), "After" / N32)


def layout_of(name: str) -> Layout:
    words = name.split()
    if words[0] == "filter":
        return FILTER
    operation = RFR[int(words[1])] if words[0] == "rfr" else NSPI[int(words[0])]
    return operation.request if words[-1] == "request" else operation.response


@pytest.mark.parametrize("name", STUBS)
def test_stubs_of_an_independent_encoder(name: str) -> None:
    data = bytes.fromhex(STUBS[name])
    assert len(data) < 600 or name == "3 response"
    if len(data) < 600:
        held(layout_of(name), data)
    else:
        value, end = parse(layout_of(name), data)
        assert (end, build(layout_of(name), value)) == (len(data), data)


def properties(row: Any) -> dict[int, Any]:
    return {one.ulPropTag: one.Value for one in row.lpProps.Value["Items"]}


def test_rows_hold_what_the_encoder_was_given() -> None:
    value, _ = parse(NSPI[3].response, bytes.fromhex(STUBS["3 response"]))
    assert (value.pStat.CurrentRec, value.pStat.Delta, value.pStat.TotalRecs, value.ReturnValue) == (2, -3, 52, 0)
    rows = value.ppRows.Value.aRow
    assert len(rows) == 2
    for row in rows:
        found = properties(row)
        assert len(found) == row.cValues == 13
        assert found[0x30020003] == -5
        assert found[0x3001001F].Value.Value == "Zoë Quartz"
        assert found[0x3003001E].Value.Value == "/o=x/cn=zoe"
        assert found[0x0FFF0102].lpb.Value.Data == b"\1\2\3\4\5"
        assert (found[0x3FFE000B], found[0x0FF60002], found[0x3A20000A]) == (1, -2, 0x8004010F)
        assert found[0x30070040] == 0x01D9AABB11223344
        assert found[0x8C6D0048].Value == GUID
        texts = found[0x800F101F].lp.Value["Items"]
        assert [one.Value.Value for one in texts] == ["smtp:a@x", "X400:c=US"]
        assert found[0x8008101E].lp.Value["Items"][0].Value.Value == "one"
        assert found[0x80051003].lp.Value["Items"] == [1, -1, 3]
        assert [one.lpb.Value.Data for one in found[0x80061102].lp.Value["Items"]] == [b"ab", b"cdefg"]


def test_requests_hold_what_the_encoder_was_given() -> None:
    rows, _ = parse(NSPI[3].request, bytes.fromhex(STUBS["3 request"]))
    assert (rows.hRpc.Uuid, rows.dwFlags, rows.Count) == (GUID, 3, 50)
    assert rows.lpETable.Value["Items"] == [16, 17, 18]
    assert rows.pPropTags.Value.aulPropTag == [0x3001001F, 0x39FE001F]
    names, _ = parse(NSPI[20].request, bytes.fromhex(STUBS["20 request"]))
    assert [one.Value.Value for one in names.paStr.Strings] == ["alïce", "bb"]
    dns, _ = parse(NSPI[7].request, bytes.fromhex(STUBS["7 request"]))
    assert [one.Value.Value for one in dns.pNames.Strings] == ["/o=x/cn=a", "/o=x/cn=bcd"]
    lids, _ = parse(NSPI[17].response, bytes.fromhex(STUBS["17 response"]))
    assert [(one.lpguid.Value, one.lID) for one in lids.ppNames.Value.aNames] == [(GUID, 5), (GUID, -6)]


def test_restrictions_hold_what_the_encoder_was_given() -> None:
    data = bytes.fromhex(STUBS["filter"])
    value, _ = parse(FILTER, data)
    exist, equal, negated = value.Filter.Value.res.lpRes.Value["Items"]
    assert (exist.rt, exist.res.ulPropTag) == (8, 0x3001001F)
    assert (equal.rt, equal.res.relop, equal.res.lpProp.Value.Value.Value.Value) == (4, 4, "zoe")
    content = negated.res.lpRes.Value
    assert (content.rt, content.res.ulFuzzyLevel, content.res.lpProp.Value.Value.Value.Value) == (3, 0x10002, "ab")
    assert value.After == 0x77
    tree = trace(FILTER, ByteSource("stub", data), "stub")
    assert "res.lpRes" in [node.name for node in tree.walk()]


def test_the_tree_says_what_values_mean() -> None:
    source = ByteSource("stub", bytes.fromhex(STUBS["3 response"]))
    tree = trace(NSPI[3].response, source, "NspiQueryRows response")
    names = [node.name for node in tree.walk()]
    assert "aRow" in names
    assert "aRow[0].lpProps" in names
    assert "Items[2].Value" in names
    labels = [node.label for node in tree.walk()]
    assert any("PidTagDisplayName" in label for label in labels)
    assert tree.find("pStat", "CurrentRec").label == "MID_END_OF_TABLE"


# --- own values: every operation, both ways ------------------------------------------------------------------------


OPERATIONS = [(opnum, side) for opnum in NSPI for side in ("request", "response")]


@pytest.mark.parametrize(("opnum", "side"), OPERATIONS)
@given(data=st.data())
@examples(8, *HealthCheck)
def test_every_stub_builds_and_reads(opnum: int, side: str, data: st.DataObject) -> None:
    layout = getattr(NSPI[opnum], side)
    params = {"big_endian": data.draw(st.booleans())}
    made = data.draw(values(layout, params))
    raw = build(layout, made, **params)
    value, end = parse(layout, raw, **params)
    assert end == len(raw)
    assert build(layout, value, **params) == raw
    tree = trace(layout, ByteSource("stub", raw), "stub", **params)
    assert not diagnostics(tree)
    check_cover(tree)


BODIES = [(name, form) for name in ADDRESS_BOOK for form in ("request", "response", "failure")]


@pytest.mark.parametrize(("name", "form"), BODIES)
@given(data=st.data())
@examples(8, *HealthCheck)
def test_every_body_builds_and_reads(name: str, form: str, data: st.DataObject) -> None:
    layout = getattr(ADDRESS_BOOK[name], form)
    made = data.draw(values(layout))
    raw = build(layout, made)
    value, end = parse(layout, raw)
    assert end == len(raw)
    assert contains(value, made)
    assert build(layout, value) == raw
    tree = trace(layout, ByteSource("body", raw), "body")
    assert not diagnostics(tree)
    check_cover(tree)


@given(st.sampled_from(OPERATIONS), st.binary(max_size=200), st.booleans())
@examples(300)
def test_any_bytes_are_a_tree(operation: tuple[int, str], data: bytes, big_endian: bool) -> None:
    layout = getattr(NSPI[operation[0]], operation[1])
    tree = trace(layout, ByteSource("stub", data), "stub", big_endian=big_endian)
    check_cover(tree)
    assert tree.end <= len(data)
    assert all(severity.value != "BUG" for _, severity, _ in diagnostics(tree))


# --- MAPI/HTTP bodies ------------------------------------------------------------------------------------------------

STAT = "00000000 00000000 02000000 fdffffff 07000000 34000000 e4040000 09040000 09040000".replace(" ", "")


def request(name: str, data: str) -> Any:
    body: BodyDef = ADDRESS_BOOK[name]
    return held(body.request, bytes.fromhex(data))


def response(name: str, data: str) -> Any:
    body: BodyDef = ADDRESS_BOOK[name]
    return held(body.response, bytes(8) + bytes.fromhex(data))


def test_bind() -> None:
    value = request("Bind", "00000000 ff" + "00" * 24 + "e4040000 09040000 09040000 00000000")
    assert (value.HasState, value.State.CodePage, value.State.SortLocale) == (0xFF, 1252, 0x409)
    assert request("Bind", "20000000 00 00000000").State is None
    assert response("Bind", "a1d8a58f1c0c5c4b9d2e1122334455aa 00000000").ServerGuid == GUID


def test_has_bytes_are_derived_and_kept() -> None:
    layout = ADDRESS_BOOK["Bind"].request
    state, _ = parse(ADDRESS_BOOK["UpdateStat"].request, bytes.fromhex("00000000ff" + STAT + "0000000000"))
    assert build(layout, {"Flags": 0, "State": state.State, "AuxiliaryBuffer": b""})[4] == 0xFF
    assert build(layout, {"Flags": 0, "AuxiliaryBuffer": b""}).hex() == "000000000000000000"
    assert request("Bind", "00000000 01" + STAT + "00000000").HasState == 1


def test_query_rows() -> None:
    value = request(
        "QueryRows", "00000000 ff" + STAT + "02000000 10000000 11000000 32000000 ff 01000000 1f000130 00000000"
    )
    assert (value.ExplicitTable, value.RowCount, value.Columns) == ([16, 17], 50, [0x3001001F])
    rows = (
        "00 ff 5a00 6f00 0000"  # a plain row: HasValue, "Zo"
        "0500 0000 ff 03000000 010203"
        "01 00 ff 5a00 0000 00 07000000 0a 0f010480"  # a flagged row, the binary is an error
    )
    value = response("QueryRows", "ff" + STAT + "ff 03000000 1f000130 03000230 0201aa80 02000000" + rows + "00000000")
    assert value.Columns == [0x3001001F, 0x30020003, 0x80AA0102]
    assert value.RowData[0].ValueArray == ["Zo", 5, b"\1\2\3"]
    assert [one.PropertyValue for one in value.RowData[1].ValueArray] == ["Z", 7, 0x8004010F]
    assert response("QueryRows", "00 00 00000000").RowData is None


def test_rows_without_a_value() -> None:
    value = response(
        "QueryRows", "00 ff 02000000 1f000130 1f10ce80 01000000 00 00 ff 02000000 ff 6100 0000 00 00000000"
    )
    assert value.RowData[0].ValueArray == [None, ["a", None]]


def test_resolve_names() -> None:
    value = request(
        "ResolveNames", "00000000 ff" + STAT + "ff 01000000 1f000130 ff 02000000 6100 0000 6200 6300 0000 00000000"
    )
    assert (value.PropertyTags, value.Names) == ([0x3001001F], ["a", "bc"])
    value = response("ResolveNames", "e4040000 ff 03000000 02000000 00000000 01000000 00 00000000")
    assert (value.MinimalIds, value.Columns) == ([2, 0, 1], None)
    data = bytes.fromhex("0000000000000000e4040000ff03000000020000000000000001000000" + "0000000000")
    tree = trace(ADDRESS_BOOK["ResolveNames"].response, ByteSource("body", data), "body")
    labels = [node.label for node in tree.find("MinimalIds").children]
    assert labels[-3:] == ["MID_RESOLVED", "MID_UNRESOLVED", "MID_AMBIGUOUS"]


def test_get_matches() -> None:
    value = request(
        "GetMatches",
        "00000000 ff" + STAT + "00 00000000 ff 04 04 1f000130 ff 1f000130 ff 7a00 0000 00 32000000 00 00000000",
    )
    assert (value.Filter.RelOp, value.Filter.TaggedValue.PropertyValue) == (4, "z")
    value = response("GetMatches", "00 ff 02000000 10000000 11000000 00 00000000")
    assert value.MinimalIds == [16, 17]


def test_names_and_properties() -> None:
    assert request("DNToMId", "00000000 ff 02000000 2f6f3d7800 6100 00000000").Names == ["/o=x", "a"]
    assert response("DNToMId", "ff 01000000 10000000 00000000").MinimalIds == [16]
    assert request("GetPropList", "01000000 10000000 e4040000 00000000").CodePage == 1252
    assert response("GetPropList", "ff 01000000 1f000130 00000000").PropertyTags == [0x3001001F]
    value = response("GetProps", "b0040000 ff 02000000 1f000130 ff 6100 0000 03000230 05000000 00000000")
    assert [(one.PropertyTag, one.PropertyValue) for one in value.PropertyValues] == [
        (0x3001001F, "a"),
        (0x30020003, 5),
    ]
    value = response("GetSpecialTable", "b0040000 ff 07000000 ff 01000000 01000000 03000230 05000000 00000000")
    assert (value.Version, value.Rows[0][0].PropertyValue) == (7, 5)
    assert response("GetTemplateInfo", "b0040000 00 00000000").Row is None
    assert request("GetTemplateInfo", "01000000 00000000 ff 2f6f00 e4040000 09040000 00000000").TemplateDn == "/o"


def test_changes_and_the_rest() -> None:
    value = request("ModLinkAtt", "01000000 0d000880 10000000 ff 02000000 02000000 aabb 00000000 00000000")
    assert (value.Flags, value.EntryIds) == (1, [b"\xaa\xbb", b""])
    value = request("ModProps", "00000000 00 ff 01000000 1f000130 ff 01000000 03000230 05000000 00000000")
    assert (value.PropertyTags, value.PropertyValues[0].PropertyValue) == ([0x3001001F], 5)
    assert response("ModProps", "00000000").AuxiliaryBuffer == b""
    assert request("QueryColumns", "00000000 00000080 00000000").MapiFlags == 0x80000000
    assert response("QueryColumns", "ff 01000000 1f000130 00000000").Columns == [0x3001001F]
    assert request("ResortRestriction", "00000000 00 ff 01000000 10000000 00000000").MinimalIds == [16]
    value = request("SeekEntries", "00000000 00 ff 1f000130 ff 7100 0000 00 00 00000000")
    assert value.Target.PropertyValue == "q"
    assert request("UpdateStat", "00000000 00 ff 00000000").DeltaRequested == 0xFF
    assert response("UpdateStat", "00 ff fdffffff 00000000").Delta == -3
    assert request("CompareMIds", "00000000 00 10000000 11000000 00000000").MinimalId2 == 17
    assert response("CompareMIds", "ffffffff 00000000").Result == -1
    assert request("Unbind", "00000000 00000000").Reserved == 0
    assert request("GetMailboxUrl", "00000000 2f00 0000 00000000").ServerDn == "/"
    assert response("GetAddressBookUrl", "6800 0000 00000000").ServerUrl == "h"


def test_failures_carry_their_status_only() -> None:
    value = held(ADDRESS_BOOK["QueryRows"].failure, bytes.fromhex("57000780 00000000"))
    assert value == Container(StatusCode=0x80070057, AuxiliaryBufferSize=0, AuxiliaryBuffer=b"")


def test_nineteen_request_types_and_twenty_operations() -> None:
    assert len(ADDRESS_BOOK) == 19
    assert sorted(NSPI) == [*range(15), *range(16, 21)]


def test_ids_from_0x8000_on_have_their_fixed_names() -> None:
    """In an address book they are no named properties, over HTTP and in stubs."""
    request = build(ADDRESS_BOOK["QueryColumns"].response, Container(Columns=[0x8008001E], AuxiliaryBuffer=b""))
    tree = trace(ADDRESS_BOOK["QueryColumns"].response, ByteSource("body", request), "body")
    assert tree.find("Columns", "[0]").label == "PidTagAddressBookIsMemberOfDistributionList, PtypString8"
    stub = bytes.fromhex(STUBS["16 response"]).replace(0x3001001F.to_bytes(4, "little"), b"\x1e\x00\x08\x80")
    tree = trace(NSPI[16].response, ByteSource("stub", stub), "stub")
    (leaf,) = [leaf for leaf in tree.leaves() if leaf.value == 0x8008001E]
    assert leaf.label == "PidTagAddressBookIsMemberOfDistributionList, PtypString8"
