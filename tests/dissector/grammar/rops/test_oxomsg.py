"""Transport ROPs. Bytes written by hand from the layouts of [MS-OXCROPS] 2.2.7."""

from dissector.grammar.base import build
from dissector.grammar.reading import parse, trace
from dissector.grammar.rops import oxomsg
from dissector.model.ids import ObjectId
from dissector.node import Severity
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check, diagnostics

INBOX, INBOX_ID = "0100 00000000000d", ObjectId(1, 0x0D)
MESSAGE, MESSAGE_ID = "0100 000000030000", ObjectId(1, 0x30000)


def test_submit() -> None:
    check(oxomsg.SUBMIT_MESSAGE.request, "32 00 01 02", SubmitFlags=2)
    tree = trace(oxomsg.SUBMIT_MESSAGE.request, ByteSource("vector", bytes.fromhex("32000103")), "PDU")
    assert tree.find("SubmitFlags").label == "PreProcess | NeedsSpooler"
    check(oxomsg.SUBMIT_MESSAGE.responses[0], "32 01 00000000")
    check(oxomsg.SUBMIT_MESSAGE.responses[None], "32 01 05000780")
    check(oxomsg.ABORT_SUBMIT.request, f"34 00 00 {INBOX} {MESSAGE}", FolderId=INBOX_ID, MessageId=MESSAGE_ID)
    check(oxomsg.ABORT_SUBMIT.responses[0], "34 00 00000000")
    check(oxomsg.ABORT_SUBMIT.responses[None], "34 00 14010480")


def test_address_types() -> None:
    check(oxomsg.GET_ADDRESS_TYPES.request, "49 00 00")
    success = oxomsg.GET_ADDRESS_TYPES.responses[0]
    data = "49 00 00000000 0200 0800 455800 534d545000"
    check(success, data, AddressTypeCount=2, AddressTypeSize=8, AddressTypes=["EX", "SMTP"])
    check(success, "49 00 00000000 0000 0000", AddressTypes=[])
    check(oxomsg.GET_ADDRESS_TYPES.responses[None], "49 00 05000780")
    value = {"InputHandleIndex": 0, "AddressTypes": ["EX", "SMTP"]}
    assert build(success, value) == bytes.fromhex(data)


def test_address_types_that_do_not_fill_their_size() -> None:
    success = oxomsg.GET_ADDRESS_TYPES.responses[0]
    raw = bytes.fromhex("49 00 00000000 0100 0800 455800 534d545000")
    value, end = parse(success, raw)
    assert end == len(raw)
    assert build(success, value) == raw
    tree = trace(success, ByteSource("vector", raw), "PDU")
    assert [severity for _, severity, _ in diagnostics(tree)] == [Severity.MALFORMED]
    assert tree.find("AddressTypes", "[0]").value == "EX"


def test_spooler() -> None:
    check(oxomsg.SET_SPOOLER.request, "47 00 00")
    check(oxomsg.SET_SPOOLER.responses[0], "47 00 00000000")
    check(oxomsg.SET_SPOOLER.responses[None], "47 00 05000780")
    request = f"48 00 00 {MESSAGE} 02"
    check(oxomsg.SPOOLER_LOCK_MESSAGE.request, request, MessageId=MESSAGE_ID, LockState=2)
    tree = trace(oxomsg.SPOOLER_LOCK_MESSAGE.request, ByteSource("vector", bytes.fromhex(request)), "PDU")
    assert tree.find("LockState").label == "lstFinished"
    check(oxomsg.SPOOLER_LOCK_MESSAGE.responses[0], "48 00 00000000")
    check(oxomsg.SPOOLER_LOCK_MESSAGE.responses[None], "48 00 0f010480")


def test_transport_send() -> None:
    check(oxomsg.TRANSPORT_SEND.request, "4a 00 00")
    success = oxomsg.TRANSPORT_SEND.responses[0]
    value = check(success, "4a 00 00000000 00 0100 1e003700 486900", NoPropertiesReturned=False, PropertyValueCount=1)
    assert value.PropertyValues == [{"PropertyTag": 0x0037001E, "PropertyValue": "Hi"}]
    check(success, "4a 00 00000000 01 0000", NoPropertiesReturned=True, PropertyValueCount=0, PropertyValues=None)
    check(oxomsg.TRANSPORT_SEND.responses[None], "4a 00 05000780")


def test_transport_send_without_a_count_stays_without_it() -> None:
    success = oxomsg.TRANSPORT_SEND.responses[0]
    check(success, "4a 00 00000000 01", NoPropertiesReturned=True, PropertyValueCount=None, PropertyValues=None)
    full = build(success, {"InputHandleIndex": 0, "NoPropertiesReturned": True})
    assert full == bytes.fromhex("4a 00 00000000 01 0000")


def test_transport_new_mail() -> None:
    request = f"51 00 00 {MESSAGE} {INBOX} 49504d00 81000000"
    check(oxomsg.TRANSPORT_NEW_MAIL.request, request, MessageId=MESSAGE_ID, FolderId=INBOX_ID, MessageClass="IPM")
    tree = trace(oxomsg.TRANSPORT_NEW_MAIL.request, ByteSource("vector", bytes.fromhex(request)), "PDU")
    assert tree.find("MessageFlags").label == "mfRead | mfResend"
    check(oxomsg.TRANSPORT_NEW_MAIL.responses[0], "51 00 00000000")
    check(oxomsg.TRANSPORT_NEW_MAIL.responses[None], "51 00 05000780")


def test_transport_folder() -> None:
    check(oxomsg.GET_TRANSPORT_FOLDER.request, "6d 00 00")
    check(oxomsg.GET_TRANSPORT_FOLDER.responses[0], f"6d 00 00000000 {INBOX}", FolderId=INBOX_ID)
    check(oxomsg.GET_TRANSPORT_FOLDER.responses[None], "6d 00 05000780")


def test_options_data() -> None:
    check(oxomsg.OPTIONS_DATA.request, "6f 00 00 534d545000 01", AddressType="SMTP", WantWin32=True)
    success = oxomsg.OPTIONS_DATA.responses[0]
    full = "6f 00 00000000 01 0300 aabbcc 0200 1122 682e686c7000"
    check(success, full, OptionsInfo=b"\xaa\xbb\xcc", HelpFile=b"\x11\x22", HelpFileName="h.hlp")
    check(success, "6f 00 00000000 01 0000 0000", OptionsInfo=b"", HelpFileName=None)
    check(oxomsg.OPTIONS_DATA.responses[None], "6f 00 0f010480")
