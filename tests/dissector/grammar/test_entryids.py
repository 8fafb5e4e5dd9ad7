"""Entry ids of every kind; more of them, with Microsoft's own reading, in test_smartview.py."""

from __future__ import annotations

import uuid

import pytest

from dissector.grammar.base import build
from dissector.grammar.entryids import EntryId, FlatEntryList, SizedEntryId
from dissector.grammar.reading import trace
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check

PROVIDER = "96614ec66601d211a3b10008c728e7f1"
FOLDER = f"00000000 {PROVIDER} 0100 85fa5c86fce6d111a3a60008c728e7f1 000000019eba 0000"
ADDRESS_BOOK = "00000000 dca740c8c042101ab4b908002b2fe182 01000000 00000000"
STORE = "00000000 38a1bb1005e5101aa1bb08002b2a56c2 00 00 656d736d64622e646c6c 00 000000"
CONTACT = "00000000 fe42aa0a18c71a10e8850b651c240000 03000000"

ENTRY_IDS = [
    (FOLDER, "FolderEntryID", "folder 865cfa85-e6fc-11d1-a3a6-0008c728e7f1-0x19EBA"),
    (f"{FOLDER} {PROVIDER} 00240e16bde9 0000".replace(" 0100 ", " 0700 "), "MessageEntryID",
     f"message {uuid.UUID(bytes_le=bytes.fromhex(PROVIDER))}-0x240E16BDE9 in folder 0x19EBA"),
    (f"{ADDRESS_BOOK} 2f6f3d7800", "AddressBookEntryID", "DT_MAILUSER '/o=x'"),
    (f"87000000 {PROVIDER} 01000000 00000000 22bb0000", "EphemeralEntryID", "DT_MAILUSER MId 47906"),
    ("00000000 812b1fa4bea310199d6e00dd010f5402 0000 0190 41000000 530000004100000000".replace("530000004100000000",
     "5300 0000 6100 0000"), "OneOffEntryID", "'A' 'S' 'a'"),
    ("00000000 812b1fa4bea310199d6e00dd010f5402 0000 0110 4100 534d545000 614062 00", "OneOffEntryID",
     "'A' 'SMTP' 'a@b'"),
    (f"{STORE} 00000000 1b55fa20aa6611cd9bc800aa002fc45a 0c000000 53525600 2f6f3d7800", "StoreObjectEntryID",
     "store of '/o=x' on 'SRV'"),
    (f"{STORE} 00000000 1c830210aa6611cd9bc800aa002fc45a 06000000 53525600", "StoreObjectEntryID",
     "store of  on 'SRV'"),
    (f"{STORE} 00000000 1b55fa20aa6611cd9bc800aa002fc45a 0c000000 53525600 2f6f3d7800"
     " e94632f4 1c000000 02000000 10000000 6100 4000 6200 0000 0000", "StoreObjectEntryID", "store of '/o=x' on 'SRV'"),
    (f"{STORE} 00000000 1b55fa20aa6611cd9bc800aa002fc45a", "StoreObjectEntryID", "store of  on"),
    (f"{CONTACT} 04000000 00000000 2e000000 {FOLDER}", "ContactAddressEntryID",
     "contact EMAIL_1: folder 865cfa85-e6fc-11d1-a3a6-0008c728e7f1-0x19EBA"),
    (f"{CONTACT} 05000000 ff000000 2e000000 {FOLDER} 000000", "ContactAddressEntryID",
     "contact 255: folder 865cfa85-e6fc-11d1-a3a6-0008c728e7f1-0x19EBA"),
    (f"00000000 c091add3519dcf11a4a900aa0047faa4 b5 {ADDRESS_BOOK} 2f00", "WrappedEntryId",
     "wrapped DT_MAILUSER '/'"),
    (f"00000000 {PROVIDER} 616263", "EntryID",
     f"provider {uuid.UUID(bytes_le=bytes.fromhex(PROVIDER))}, 3 bytes 616263"),
    ("112233", "EntryID", ""),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "name", "label"), ENTRY_IDS)
def test_entry_id(raw: str, name: str, label: str) -> None:
    data = bytes.fromhex(raw)
    case = next((case.layout for case in EntryId.cases if case.fits(data)), EntryId.default)
    assert case.layout_name == name
    value, counted = check_whole(data)
    assert build(SizedEntryId, value) == len(data).to_bytes(4, "little") + data == counted
    assert trace(EntryId, ByteSource("entry id", data), "id").label == label


def check_whole(data: bytes) -> tuple[object, bytes]:
    """The checks of check() but for truncation: an entry id that is cut off is another kind of entry id."""
    from dissector.grammar.reading import parse
    from tests.dissector.grammar.rops.check import check_cover, check_values, diagnostics

    value, end = parse(EntryId, data)
    assert end == len(data)
    assert build(EntryId, value) == data
    node = trace(EntryId, ByteSource("entry id", data), "id")
    assert not diagnostics(node)
    check_values(node, value)
    check_cover(node)
    return value, build(SizedEntryId, value)


def test_entry_ids_in_entry_ids_nest_to_a_depth() -> None:
    wrapped = bytes.fromhex("00000000 c091add3519dcf11a4a900aa0047faa4 b5")
    node = trace(EntryId, ByteSource("deep", wrapped * 500), "id")
    assert [found.message for part in node.walk() for found in part.diagnostics] == ["nested deeper than 40 levels"]


def test_flat_entry_list() -> None:
    made = {"FlatEntries": [{"EntryID": {"EntryIDData": b"abc"}}, {"EntryID": b""}]}
    raw = build(FlatEntryList, made)
    assert raw.hex(" ", 4) == "02000000 0c000000 03000000 61626300 00000000"
    check(FlatEntryList, raw, Count=2, Size=12)


def test_what_is_wrapped() -> None:
    raw = bytes.fromhex(f"00000000 c091add3519dcf11a4a900aa0047faa4 b5 {ADDRESS_BOOK} 2f00")
    node = trace(EntryId, ByteSource("entry id", raw), "id")
    assert node.find("Type").label == "kind mail user, address no address, wrapped 1"
