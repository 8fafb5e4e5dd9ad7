"""Rule actions of every type in both forms, and the rows of rules and permissions."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from dissector.grammar.actions import ExtendedRuleAction, PermissionData, RuleAction, RuleData
from dissector.grammar.base import build
from dissector.grammar.ids import ObjectId
from dissector.grammar.reading import parse, trace
from dissector.node import Severity, Undecoded
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check, diagnostics

FOLDER = "00000000 96614ec66601d211a3b10008c728e7f1 0100 85fa5c86fce6d111a3a60008c728e7f1 000000019eba 0000"
GUID = "00112233445566778899aabbccddeeff"
HERE = "01 0100 00 1500 01 0100000000000005 0000000000000000 00000000"
THERE = f"00 0300 616263 2e00 {FOLDER}"

STANDARD: list[tuple[int, str, str]] = [
    (0x01, HERE, "OP_MOVE to 1-5 0-0"),
    (0x02, THERE, "OP_COPY to folder 865cfa85-e6fc-11d1-a3a6-0008c728e7f1-0x19EBA"),
    (0x03, f"0100000000000005 0100000000000007 {GUID}", "OP_REPLY with 1-5 1-7"),
    (0x04, f"0100000000000005 0100000000000007 {GUID}", "OP_OOF_REPLY with 1-5 1-7"),
    (0x05, "616263", "OP_DEFER_ACTION 3 bytes 616263"),
    (0x06, "26000000", "OP_BOUNCE delivery denied"),
    (0x07, "0100 01 0100 1f000130 6100 0000", "OP_FORWARD PidTagDisplayName = 'a'"),
    (0x08, "0000", "OP_DELEGATE"),
    (0x09, "03001700 02000000", "OP_TAG PidTagImportance = high"),
    (0x0A, "", "OP_DELETE"),
    (0x0B, "", "OP_MARK_AS_READ"),
]


def action(kind: int, data: str, width: int) -> bytes:
    body = bytes([kind]) + bytes(8) + bytes.fromhex(data)
    return (1).to_bytes(width, "little") + len(body).to_bytes(width, "little") + body


@pytest.mark.parametrize(("kind", "data", "label"), STANDARD)
def test_standard_action(kind: int, data: str, label: str) -> None:
    raw = action(kind, data, 2)
    value = check(RuleAction, raw, NoOfActions=1)
    assert value.ActionBlocks[0].ActionType == kind
    assert trace(RuleAction, ByteSource("rule", raw), "RuleAction").label == label


def test_a_folder_of_this_store_and_of_another() -> None:
    here = check(RuleAction, action(0x01, HERE, 2)).ActionBlocks[0].ActionData
    assert (here.FolderInThisStore, here.StoreEID.EntryIDData) == (1, b"\0")
    assert here.FolderEID.FolderId == ObjectId(1, 5)
    there = check(RuleAction, action(0x02, THERE, 2)).ActionBlocks[0].ActionData
    assert there.FolderEID.GlobalCounter == 0x19EBA


EXTENDED = [
    (0x01, f"03000000 616263 2e000000 {FOLDER}"),
    (0x06, "0d000000"),
    (0x07, "01000000 01 01000000 02010400 02000000 6162"),
    (0x09, "03001700 02000000"),
    (0x0A, ""),
]


@pytest.mark.parametrize(("kind", "data"), EXTENDED)
def test_extended_action(kind: int, data: str) -> None:
    check(ExtendedRuleAction, action(kind, data, 4), NoOfActions=1)


def test_extended_reply() -> None:
    message = FOLDER.replace(" 0100 ", " 0700 ") + " 85fa5c86fce6d111a3a60008c728e7f1 00240e16bde9 0000"
    value = check(ExtendedRuleAction, action(0x03, f"46000000 {message} {GUID}", 4))
    data = value.ActionBlocks[0].ActionData
    assert data.ReplyTemplateMessageEID.MessageGlobalCounter == 0x240E16BDE9
    assert data.ReplyTemplateGUID == uuid.UUID(bytes_le=bytes.fromhex(GUID))


def test_what_goes_wrong_in_an_action_stays_in_it() -> None:
    raw = b"\2\0" + action(0x06, "0d00", 2)[2:] + action(0x0A, "", 2)[2:]
    value, end = parse(RuleAction, raw)
    assert end == len(raw)
    assert isinstance(value.ActionBlocks[0], Undecoded)
    assert value.ActionBlocks[1].ActionType == 0x0A
    assert build(RuleAction, value) == raw
    node = trace(RuleAction, ByteSource("rule", raw), "RuleAction")
    assert [found[:2] for found in diagnostics(node)] == [("BounceCode", Severity.MALFORMED)]


def test_flavors() -> None:
    raw = b"\1\0\x0b\0\x07\5\0\0\0\0\0\0\0\0\0"
    node = trace(RuleAction, ByteSource("rule", raw), "RuleAction")
    flavor = node.find("ActionBlocks", "[0]", "ActionFlavor")
    assert flavor.label == "PR (preserve sender) | AT (as attachment)"


@pytest.mark.parametrize(("layout", "flags"), [(RuleData, "RuleDataFlags"), (PermissionData, "PermissionDataFlags")])
def test_changed_rows(layout: Any, flags: str) -> None:
    raw = "01 0100 03001700 02000000"
    check(layout, raw, PropertyValueCount=1, **{flags: 1})
    assert trace(layout, ByteSource("row", bytes.fromhex(raw)), "[0]").label == "ROW_ADD PidTagImportance = high"
