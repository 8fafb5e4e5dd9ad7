"""Recipient rows, with one that Outlook 2007 sent."""

from __future__ import annotations

from typing import Any

import pytest
from construct import this

from dissector.emsmdb.lz77 import decompress
from dissector.grammar.base import GrammarError, Param, build
from dissector.grammar.layouts import Count, Layout, Rows
from dissector.grammar.leaves import U8, U16
from dissector.grammar.properties import PropertyTag
from dissector.grammar.reading import parse, trace
from dissector.grammar.rops import ROPS
from dissector.grammar.rows import ModifyRecipientRow, OpenRecipientRow, ReadRecipientRow, TypedString
from dissector.node import Severity
from dissector.source import ByteSource
from tests.conftest import shared
from tests.dissector.grammar.rops.check import check, diagnostics

OPEN = Layout(
    "ColumnCount" / Count(U16, "RecipientColumns"),
    "RecipientColumns" / Rows(this.ColumnCount, PropertyTag),
    "RowCount" / Count(U8, "RecipientRows"),
    "RecipientRows" / Rows(this.RowCount, OpenRecipientRow(this._.RecipientColumns)),
)
"""The rows as they stand in a response of RopOpenMessage: their columns are a field of the enclosing layout."""


def test_outlook_2007_modifies_recipients() -> None:
    stub = shared("vectors", "outlook2007-modifyrecipients.compressed.dat").read_bytes()
    data = decompress(stub[0x24 : 0x24 + 0x145], 0x1CB)
    size = int.from_bytes(data[:2], "little")
    first, at = parse(ROPS[0x0D].request, data, 2, size)
    assert first.RopId == 0x0D
    _, end = parse(ROPS[0x0E].request, data, at, size)
    value = check(ROPS[0x0E].request, data[at:end], ColumnCount=12, RowCount=1)
    row = value.RecipientRows[0]
    assert (row.RowId, row.RecipientType, row.RecipientRowSize) == (0, 1, 340)
    recipient = row.RecipientRow
    assert (recipient.X500DN, recipient.AddressPrefixUsed) == ("Jkerihuel", 69)
    assert (recipient.DisplayName, recipient.SimpleDisplayName) == ("Julien Kerihuel", "jkerihuel")
    values = recipient.RecipientProperties.ValueArray
    assert values[:4] == [6, 0, "jkerihuel", "jkerihuel@openchange2003.local"]
    assert values[10].X500DN.endswith("/cn=Recipients/cn=jkerihuel")
    node = trace(ROPS[0x0E].request, ByteSource("rop", data), "RopModifyRecipients", at, size)
    names = [part.name for part in node.find("RecipientRows", "[0]", "RecipientRow", "RecipientProperties").walk()]
    assert "PidTagRecipientTrackStatus" in names
    assert node.find("RecipientRows", "[0]").label == "MAPI_TO 'Julien Kerihuel' 'Jkerihuel'"


@pytest.mark.parametrize(
    ("raw", "value", "label"),
    [
        ("00", None, ""),
        ("01", None, ""),
        ("02 6361666500", "cafe", "'cafe'"),
        ("03 636166e900", "caf\xe9", "'caf\xe9'"),
        ("04 630061006600e9000000", "caf\xe9", "'caf\xe9'"),
    ],
)
def test_typed_string(raw: str, value: str | None, label: str) -> None:
    check(TypedString, raw, {"codepage": "cp1251"}, String=value)
    assert trace(TypedString, ByteSource("text", bytes.fromhex(raw)), "text").label == label


def recipient(flags: int, **fields: Any) -> dict[str, Any]:
    row = {"Flag": 0, "ValueArray": fields.pop("values", [])}
    return {
        "RecipientFlags": flags,
        **fields,
        "RecipientColumnCount": len(row["ValueArray"]),
        "RecipientProperties": row,
    }


@pytest.mark.parametrize(
    "row",
    [
        recipient(0x0201, AddressPrefixUsed=0, DisplayType=0, X500DN="/o=x/cn=y"),
        recipient(0x0203 | 0x18, EmailAddress="a@b", DisplayName="Ann"),
        recipient(0x8000 | 0x0208, AddressType="NOTES", EmailAddress="Ann/X"),
        recipient(0x0003 | 0x18, EmailAddress="a@b", DisplayName="Ann"),
        recipient(
            0x0633 | 0x08, EmailAddress="e", DisplayName="d", SimpleDisplayName="s", TransmittableDisplayName="t"
        ),
        recipient(0x0006, EntryId=b"", SearchKey=b"key"),
        recipient(0x0203, values=[6, "shown"]),
    ],
)
def test_recipient_forms(row: dict[str, Any]) -> None:
    columns = [0x0FFE0003, 0x3001001F, 0x39FE001F]
    made = {"RowId": 7, "RecipientType": 2, "RecipientRow": row}
    for layout, extra in (
        (ModifyRecipientRow(Param("columns")), {}),
        (ReadRecipientRow(Param("columns")), {"CodePageId": 1252, "Reserved": 0}),
        (OpenRecipientRow(Param("columns")), {"CodePageId": 1252, "Reserved": 0}),
    ):
        raw = build(layout, made | extra, columns=columns)
        value = check(layout, raw, {"columns": columns}, RecipientType=2)
        for name, wanted in row.items():
            if name != "RecipientProperties":
                assert value.RecipientRow[name] == wanted
        assert value.RecipientRow.RecipientProperties.ValueArray == row["RecipientProperties"]["ValueArray"]


def test_columns_of_the_enclosing_layout() -> None:
    made = {
        "RecipientColumns": [0x3001001F, 0x39FE001F],
        "RecipientRows": [
            {"RecipientType": 1, "CodePageId": 1252, "Reserved": 0, "RecipientRow": recipient(0x0203, values=["one"])},
            {"RecipientType": 1, "CodePageId": 1252, "Reserved": 0, "RecipientRow": recipient(3, values=["a", "b"])},
        ],
    }
    value = check(OPEN, build(OPEN, made), RowCount=2)
    assert [row.RecipientRow.RecipientProperties.ValueArray for row in value.RecipientRows] == [["one"], ["a", "b"]]


def test_a_row_deletes_its_recipient_when_it_is_empty() -> None:
    check(ModifyRecipientRow(Param("columns")), "07000000 01 0000", RowId=7, RecipientRow=None)


def test_8_bit_text_is_in_the_code_page_of_the_row() -> None:
    made = {
        "RecipientColumns": [],
        "RecipientRows": [
            {"RecipientType": 1, "CodePageId": page, "Reserved": 0, "RecipientRow": recipient(0x13, DisplayName=name)}
            for page, name in ((1251, "Анна"), (932, "花子"), (0x0FFF, "Anne\xe9"))
        ],
    }
    raw = build(OPEN, made, codepage="cp1252")
    assert "Анна".encode("cp1251") in raw
    value = check(OPEN, raw, {"codepage": "cp1252"})
    assert [row.RecipientRow.DisplayName for row in value.RecipientRows] == ["Анна", "花子", "Anne\xe9"]


def test_more_values_than_columns() -> None:
    row = recipient(0x0203, values=[6, 7])
    raw = build(ModifyRecipientRow((0x0FFE0003, 0x0C150003)), {"RowId": 0, "RecipientType": 1, "RecipientRow": row})
    layout = ModifyRecipientRow((0x0FFE0003,))
    value, end = parse(layout, raw)
    assert (end, build(layout, value)) == (len(raw), raw)
    node = trace(layout, ByteSource("row", raw), "row")
    assert [found[1:] for found in diagnostics(node)] == [(Severity.MALFORMED, "2 columns are used, 1 are defined")]


def test_rows_without_columns_say_so() -> None:
    raw = build(ReadRecipientRow(()), {
        "RowId": 0, "RecipientType": 1, "CodePageId": 1252, "Reserved": 0, "RecipientRow": recipient(0x0203),
    })  # fmt: skip
    node = trace(ReadRecipientRow(Param("columns")), ByteSource("row", raw), "row")
    assert [found[1] for found in diagnostics(node)] == [Severity.NO_CONTEXT]
    with pytest.raises(GrammarError):
        parse(ReadRecipientRow(Param("columns")), raw[:-4])
