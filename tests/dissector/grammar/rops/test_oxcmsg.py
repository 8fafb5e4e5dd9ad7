"""Message ROPs. Bytes: a recorded server (as said), else written by hand."""

import pytest

from dissector.grammar.base import GrammarError, build
from dissector.grammar.reading import parse, trace
from dissector.grammar.rops import oxcmsg as msg
from dissector.model.ids import ObjectId
from dissector.node import Severity
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check, diagnostics

INBOX, INBOX_ID = "0100 00000000000d", ObjectId(1, 0x0D)
MESSAGE, MESSAGE_ID = "0100 000000030000", ObjectId(1, 0x30000)
NOT_FOUND = "0f010480"
OPENED = bytes.fromhex(
    "03010000000000040000044c0075006e00630068003f000000010006000201f90f0300fe0f030000391f00fe390201f75f0300fd5f0101e4"
    "0400008301db0261006c0069006300650040006500780061006d0070006c0065002e007400650073007400000041006c0069006300650020"
    "004100640061006d0073000000060000850000000000dca740c8c042101ab4b908002b2fe18201000000000000002f6f3d4578616d706c65"
    "4f72672f6f753d45786368616e67652041646d696e6973747261746976652047726f7570202846594449424f484632335350444c54292f63"
    "6e3d526563697069656e74732f636e3d303130303030303030313030303030302d616c69636500060000000000000061006c006900630065"
    "0040006500780061006d0070006c0065002e0074006500730074000000850000000000dca740c8c042101ab4b908002b2fe1820100000000"
    "0000002f6f3d4578616d706c654f72672f6f753d45786368616e67652041646d696e6973747261746976652047726f757020284659444942"
    "4f484632335350444c54292f636e3d526563697069656e74732f636e3d303130303030303030313030303030302d616c6963650001000000"
)
"""A RopOpenMessage response of a recorded server: one recipient, six recipient columns."""
MODIFIED = bytes.fromhex(
    "0e000000000200000000000143001b0261006c0069006300650040006500780061006d0070006c0065002e007400650073007400000041006c"
    "0069006300650020004100640061006d007300000000000001000000023d001b026300610072006f006c00400070006100720074006e006500"
    "72002e006500780061006d0070006c00650000004300610072006f006c000000000000"
)
"""A recorded RopModifyRecipients request."""

SMTP_ROW = "1b02 61004000620000 00 410000 00 0100 00 4d000000".replace(" ", "")
"""A RecipientRow: SMTP, Unicode, "a@b", "A", one column with the value 0x4D."""


def label(layout: object, data: str, field: str) -> str:
    return trace(layout, ByteSource("vector", bytes.fromhex(data)), "PDU").find(field).label


def test_open_message_request() -> None:
    recorded = "03000001ff0f010000000000000d030100000000030000"
    check(
        msg.OPEN_MESSAGE.request, recorded, CodePageId=0x0FFF, FolderId=INBOX_ID, MessageId=MESSAGE_ID, OpenModeFlags=3
    )
    assert label(msg.OPEN_MESSAGE.request, recorded, "OpenModeFlags") == "BestAccess"


def test_open_message_response_as_recorded() -> None:
    value = check(msg.OPEN_MESSAGE.responses[0], OPENED, HasNamedProperties=False, RecipientCount=1, ColumnCount=6)
    assert value.SubjectPrefix.String == ""
    assert value.NormalizedSubject.String == "Lunch?"
    assert value.RecipientColumns[0] == 0x0FF90102
    row = value.RecipientRows[0]
    assert (row.RecipientType, row.CodePageId) == (1, 1252)
    assert row.RecipientRow.EmailAddress == "alice@example.test"
    assert row.RecipientRow.DisplayName == "Alice Adams"
    check(msg.OPEN_MESSAGE.responses[None], f"03 01 {NOT_FOUND}", ReturnValue=0x8004010F)


def test_open_message_response_by_hand() -> None:
    head = "03 02 00000000 01 02 52653a2000 04 480069000000"
    row = f"01 0000 0000 1500 {SMTP_ROW}"
    data = f"{head} 0500 0100 0300ff39 01 {row}"
    assert len(bytes.fromhex(SMTP_ROW)) == 0x15
    value = check(msg.OPEN_MESSAGE.responses[0], data, HasNamedProperties=True, RecipientCount=5, RowCount=1)
    assert value.SubjectPrefix.String == "Re: "
    assert value.RecipientRows[0].RecipientRow.RecipientProperties.ValueArray == [0x4D]
    check(msg.OPEN_MESSAGE.responses[0], "03 02 00000000 00 00 01 0000 0000 00", RecipientColumns=[], RecipientRows=[])


def test_open_message_response_is_built_from_what_matters() -> None:
    value = {
        "OutputHandleIndex": 2,
        "HasNamedProperties": False,
        "SubjectPrefix": {"StringType": 0},
        "NormalizedSubject": {"StringType": 4, "String": "Hi"},
        "RecipientColumns": [],
        "RecipientRows": [],
    }
    expected = "03 02 00000000 00 00 04 480069000000 0000 0000 00"
    assert build(msg.OPEN_MESSAGE.responses[0], value) == bytes.fromhex(expected)


def test_a_bad_recipient_row_does_not_hide_the_next() -> None:
    bad, good = f"01 0000 0000 1500 {'ff' * 21}", f"02 0000 0000 1500 {SMTP_ROW}"
    data = bytes.fromhex(f"03 02 00000000 00 00 00 0200 0100 0300ff39 02 {bad} {good}")
    tree = trace(msg.OPEN_MESSAGE.responses[0], ByteSource("vector", data), "PDU")
    rows = tree.find("RecipientRows").children
    assert len(rows) == 2
    assert [severity for _, severity, _ in diagnostics(tree)] == [Severity.MALFORMED]
    assert rows[1].find("RecipientType").value == 2


def test_create_message() -> None:
    check(msg.CREATE_MESSAGE.request, f"06 00 01 02 e404 {INBOX} 01", CodePageId=1252, AssociatedFlag=True)
    success = msg.CREATE_MESSAGE.responses[0]
    check(success, "06 02 00000000 00", HasMessageId=False, MessageId=None)
    check(success, f"06 02 00000000 01 {MESSAGE}", HasMessageId=True, MessageId=MESSAGE_ID)
    check(msg.CREATE_MESSAGE.responses[None], "06 02 05000780")
    assert build(success, {"OutputHandleIndex": 2}) == bytes.fromhex("06 02 00000000 00")
    with_id = build(success, {"OutputHandleIndex": 2, "MessageId": MESSAGE_ID})
    assert with_id == bytes.fromhex(f"06 02 00000000 01 {MESSAGE}")


def test_save_changes_message() -> None:
    recorded = "0c0001000a"
    check(msg.SAVE_CHANGES_MESSAGE.request, recorded, ResponseHandleIndex=1, InputHandleIndex=0, SaveFlags=0x0A)
    assert label(msg.SAVE_CHANGES_MESSAGE.request, recorded, "SaveFlags") == "KeepOpenReadWrite | DelayedCall"
    answer = check(msg.SAVE_CHANGES_MESSAGE.responses[0], "0c0100000000000100000000030034")  # recorded
    assert (answer.ResponseHandleIndex, answer.InputHandleIndex, answer.MessageId) == (1, 0, ObjectId(1, 0x30034))
    check(msg.SAVE_CHANGES_MESSAGE.responses[None], "0c 01 09010480", ReturnValue=0x80040109)


def test_remove_all_recipients() -> None:
    check(msg.REMOVE_ALL_RECIPIENTS.request, "0d 00 00 00000000", Reserved=0)
    check(msg.REMOVE_ALL_RECIPIENTS.responses[0], "0d 00 00000000")
    check(msg.REMOVE_ALL_RECIPIENTS.responses[None], "0d 00 05000780")


def test_modify_recipients() -> None:
    value = check(msg.MODIFY_RECIPIENTS.request, MODIFIED, ColumnCount=0, RowCount=2)
    assert [row.RecipientType for row in value.RecipientRows] == [1, 2]
    assert value.RecipientRows[1].RecipientRow.EmailAddress == "carol@partner.example"
    assert value.RecipientRows[1].RecipientRow.DisplayName == "Carol"
    by_hand = f"0e 00 00 0100 0300ff39 0200 07000000 01 1500 {SMTP_ROW} 08000000 02 0000"
    value = check(msg.MODIFY_RECIPIENTS.request, by_hand, RecipientColumns=[0x39FF0003])
    assert value.RecipientRows[0].RecipientRow.RecipientProperties.ValueArray == [0x4D]
    assert value.RecipientRows[1].RowId == 8
    assert value.RecipientRows[1].RecipientRow is None
    check(msg.MODIFY_RECIPIENTS.responses[0], "0e0000000000")  # recorded
    check(msg.MODIFY_RECIPIENTS.responses[None], "0e 00 05000780")


def test_read_recipients_needs_the_columns_of_the_message() -> None:
    check(msg.READ_RECIPIENTS.request, "0f 00 00 10000000 0000", RowId=16)
    success = msg.READ_RECIPIENTS.responses[0]
    data = f"0f 00 00000000 01 10000000 01 0000 0000 1500 {SMTP_ROW}"
    value = check(success, data, {"recipient_columns": [0x39FF0003]}, RowCount=1)
    assert value.RecipientRows[0].RowId == 16
    assert value.RecipientRows[0].RecipientRow.DisplayName == "A"
    check(success, "0f 00 00000000 00", RecipientRows=[])
    check(msg.READ_RECIPIENTS.responses[None], f"0f 00 {NOT_FOUND}")

    raw = bytes.fromhex(data)
    tree = trace(success, ByteSource("vector", raw), "PDU")
    assert [severity for _, severity, _ in diagnostics(tree)] == [Severity.NO_CONTEXT]
    assert tree.length == len(raw)
    value, _ = parse(success, raw)
    assert value.RecipientRows[0].RecipientRow == bytes.fromhex(SMTP_ROW)
    assert build(success, value) == raw


def test_reload_cached_information() -> None:
    check(msg.RELOAD_CACHED_INFORMATION.request, "10 00 00 0000")
    head = "10 00 00000000 00 01 03 486900"
    value = check(msg.RELOAD_CACHED_INFORMATION.responses[0], f"{head} 0000 0000 00", RecipientCount=0)
    assert value.NormalizedSubject.String == "Hi"
    check(msg.RELOAD_CACHED_INFORMATION.responses[None], "10 00 05000780")


def test_message_status() -> None:
    request = f"20 00 00 {MESSAGE} 00100000 00300000"
    check(msg.SET_MESSAGE_STATUS.request, request, MessageStatusFlags=0x1000, MessageStatusMask=0x3000)
    assert label(msg.SET_MESSAGE_STATUS.request, request, "MessageStatusMask") == "msRemoteDownload | msRemoteDelete"
    check(msg.SET_MESSAGE_STATUS.responses[0], "20 00 00000000 00080000", MessageStatusFlags=0x800)
    check(msg.SET_MESSAGE_STATUS.responses[None], f"20 00 {NOT_FOUND}")
    check(msg.GET_MESSAGE_STATUS.request, f"1f 00 00 {MESSAGE}", RopId=0x1F, MessageId=MESSAGE_ID)
    check(msg.GET_MESSAGE_STATUS.responses[0], "20 00 00000000 00080000", RopId=0x20, MessageStatusFlags=0x800)
    check(msg.GET_MESSAGE_STATUS.responses[None], f"20 00 {NOT_FOUND}", RopId=0x20)
    assert msg.GET_MESSAGE_STATUS.response_id == 0x20
    value = {"InputHandleIndex": 3, "MessageStatusFlags": 0}
    assert build(msg.GET_MESSAGE_STATUS.responses[0], value) == bytes.fromhex("20 03 00000000 00000000")


def test_set_read_flags() -> None:
    request = f"66 00 01 00 05 0200 {MESSAGE} {INBOX}"
    check(msg.SET_READ_FLAGS.request, request, WantAsynchronous=False, ReadFlags=5, MessageIds=[MESSAGE_ID, INBOX_ID])
    assert label(msg.SET_READ_FLAGS.request, request, "ReadFlags") == "rfSuppressReceipt | rfClearReadFlag"
    check(msg.SET_READ_FLAGS.responses[0], "66 01 00000000 00", PartialCompletion=False)
    check(msg.SET_READ_FLAGS.responses[None], "66 01 05000780 01", PartialCompletion=True)
    check(msg.SET_READ_FLAGS.short_failure, "66 01 05000780")


def test_set_message_read_flag_depends_on_the_logon() -> None:
    request = msg.SET_MESSAGE_READ_FLAG.request
    data = "11 00 01 02 01"
    check(request, data, {"logon_flags": 1}, ResponseHandleIndex=1, InputHandleIndex=2, ReadFlags=1, ClientData=None)
    check(request, f"{data} {'ab' * 24}", {"logon_flags": 0}, ClientData=b"\xab" * 24)
    with pytest.raises(GrammarError) as caught:
        parse(request, bytes.fromhex(data))
    assert (caught.value.severity, caught.value.offset) == (Severity.NO_CONTEXT, 5)
    success = msg.SET_MESSAGE_READ_FLAG.responses[0]
    check(success, "11 01 00000000 00", ReadStatusChanged=False, ClientData=None)
    check(success, f"11 01 00000000 01 02 {'ab' * 24}", ReadStatusChanged=True, LogonId=2, ClientData=b"\xab" * 24)
    check(msg.SET_MESSAGE_READ_FLAG.responses[None], f"11 01 {NOT_FOUND}")


def test_attachments() -> None:
    check(msg.OPEN_ATTACHMENT.request, "22 00 01 02 03 07000000", OpenAttachmentFlags=3, AttachmentID=7)
    assert label(msg.OPEN_ATTACHMENT.request, "22 00 01 02 01 07000000", "OpenAttachmentFlags") == "ReadWrite"
    check(msg.OPEN_ATTACHMENT.responses[0], "22 02 00000000", OutputHandleIndex=2)
    check(msg.OPEN_ATTACHMENT.responses[None], f"22 02 {NOT_FOUND}")
    check(msg.CREATE_ATTACHMENT.request, "23000001", InputHandleIndex=0, OutputHandleIndex=1)  # recorded
    check(msg.CREATE_ATTACHMENT.responses[0], "23010000000000000000", AttachmentID=0)  # recorded
    check(msg.CREATE_ATTACHMENT.responses[None], "23 01 05000780")
    check(msg.DELETE_ATTACHMENT.request, "24 00 01 07000000", AttachmentID=7)
    check(msg.DELETE_ATTACHMENT.responses[0], "24 01 00000000")
    check(msg.DELETE_ATTACHMENT.responses[None], f"24 01 {NOT_FOUND}")
    check(msg.SAVE_CHANGES_ATTACHMENT.request, "250001000a", ResponseHandleIndex=1, SaveFlags=0x0A)  # recorded
    check(msg.SAVE_CHANGES_ATTACHMENT.responses[0], "250100000000", ResponseHandleIndex=1)  # recorded
    check(msg.SAVE_CHANGES_ATTACHMENT.responses[None], "25 01 05000780")


def test_attachment_tables() -> None:
    check(msg.GET_ATTACHMENT_TABLE.request, "21 00 01 02 40", TableFlags=0x40)
    assert label(msg.GET_ATTACHMENT_TABLE.request, "21 00 01 02 40", "TableFlags") == "Unicode"
    check(msg.GET_ATTACHMENT_TABLE.responses[0], "21 02 00000000")
    check(msg.GET_ATTACHMENT_TABLE.responses[None], "21 02 05000780")
    check(msg.GET_VALID_ATTACHMENTS.request, "52 00 00")
    check(msg.GET_VALID_ATTACHMENTS.responses[0], "52 00 00000000 0200 00000000 05000000", AttachmentIdArray=[0, 5])
    check(msg.GET_VALID_ATTACHMENTS.responses[None], "52 00 02010480")


def test_open_embedded_message() -> None:
    request = "46 00 01 02 ff0f 02"
    check(msg.OPEN_EMBEDDED_MESSAGE.request, request, CodePageId=0x0FFF, OpenModeFlags=2)
    assert label(msg.OPEN_EMBEDDED_MESSAGE.request, request, "OpenModeFlags") == "Create"
    row = f"02 0000 0000 1500 {SMTP_ROW}"
    data = f"46 02 00000000 00 {MESSAGE} 00 00 04 4800 0000 0100 0100 0300ff39 01 {row}"
    value = check(msg.OPEN_EMBEDDED_MESSAGE.responses[0], data, Reserved=0, MessageId=MESSAGE_ID)
    assert value.NormalizedSubject.String == "H"
    assert value.RecipientRows[0].RecipientRow.EmailAddress == "a@b"
    check(msg.OPEN_EMBEDDED_MESSAGE.responses[None], f"46 02 {NOT_FOUND}")
