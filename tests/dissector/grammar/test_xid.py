"""XIDs and predecessor change lists on the wire."""

from __future__ import annotations

import uuid

import pytest

from dissector.grammar.base import build
from dissector.grammar.reading import parse, trace
from dissector.grammar.rops.oxcfxics import IMPORT_DELETES
from dissector.grammar.xid import PredecessorChangeList
from dissector.model.pcl import Xid
from dissector.node import Severity
from dissector.source import ByteSource

LOW, HIGH = uuid.UUID(bytes_le=bytes([1]) + bytes(15)), uuid.UUID(bytes_le=bytes([2]) + bytes(15))


@pytest.mark.parametrize(
    ("xids", "remark"),
    [
        ([], False),
        ([Xid(LOW, b"\1\2\3\4")], False),
        ([Xid(LOW, b"\1\2\3\4"), Xid(HIGH, bytes(6))], False),
        ([Xid(HIGH, b"\1\2\3\4"), Xid(LOW, bytes(6))], True),
        ([Xid(LOW, b"\1\2\3\4"), Xid(LOW, b"\1\2\3\5")], True),
    ],
)
def test_the_order_of_a_change_list_is_remarked_on(xids: list[Xid], remark: bool) -> None:
    data = build(PredecessorChangeList, xids)
    assert parse(PredecessorChangeList, data)[0] == xids
    tree = trace(PredecessorChangeList, ByteSource("x", data), "PCL")
    assert [one.severity for one in tree.diagnostics] == [Severity.NOTE] * remark
    assert tree.length == len(data)


def test_deletes_are_called_by_their_type_alone() -> None:
    assert IMPORT_DELETES.request is not None
    key = Xid(LOW, bytes((0, 0, 0, 0, 1, 2))).to_bytes()
    data = bytes.fromhex("74 00 00 01 0100 02110000 01000000 1600") + key
    tree = trace(IMPORT_DELETES.request, ByteSource("x", data), "request")
    value = tree.find("PropertyValues", "[0]")
    assert value.find("PropertyTag").label == "no id, PtypMultipleBinary"
    assert value.label == f"{LOW}-000000000102"
    assert tree.diagnostics == []
