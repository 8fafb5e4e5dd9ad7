"""Store ROPs. Bytes: a recorded server (as said), facts with their source (as said), else written by hand."""

import datetime
import uuid

import pytest

from dissector.grammar.base import GrammarError, build
from dissector.grammar.reading import parse, trace
from dissector.grammar.rops import oxcstor as stor
from dissector.grammar.rops.base import WRONG_SERVER
from dissector.model.ids import LongTermId, ObjectId
from dissector.node import Severity
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check, diagnostics

INBOX, INBOX_ID = "0100 00000000000d", ObjectId(1, 0x0D)
LONG, LONG_ID = (
    "01000000a5187b6fbcdcea1ed03c5657 00000000000d 0000",
    LongTermId(uuid.UUID(bytes_le=bytes.fromhex("01000000a5187b6fbcdcea1ed03c5657")), 0x0D),
)
ESSDN = "/o=Org/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)/cn=Recipients/cn=user1"
PRIVATE_LOGON = (
    "fe000000000001"
    "0100000000000001 0100000000000002 0100000000000003 0100000000000009 010000000000000d 010000000000000c"
    "010000000000000a 010000000000000b 0100000000000007 0100000000000008 0100000000000005 0100000000000006"
    "0100000000000004"
    "07 86eed86f7ce6624ea3bd9bff612d3790 0500 0039a60eea93f64dac43c3ce079fe9dc"
    "342e0b01170bea07 001eb154407bdd01 00000000"
)


def test_logon_request() -> None:
    # facts/rpc_examples.md 1c, behind RopSize
    example = "fe 00 00 01 0c 04 00 01 00 00 00 00 51 00" + (ESSDN.encode() + b"\0").hex()
    check(stor.LOGON.request, example, LogonFlags=1, OpenFlags=0x0100040C, EssdnSize=0x51, Essdn=ESSDN)
    tree = trace(stor.LOGON.request, ByteSource("vector", bytes.fromhex(example)), "PDU")
    assert tree.find("LogonFlags").label == "Private"
    assert tree.find("OpenFlags").label == "HOME_LOGON | TAKE_OWNERSHIP | NO_MAIL | USE_PER_MDB_REPLID_MAPPING"
    check(stor.LOGON.request, "fe 00 00 00 02000000 00000000 0000", LogonFlags=0, Essdn=None)


def test_private_logon_as_recorded() -> None:
    value = check(stor.LOGON.responses[0], PRIVATE_LOGON, ReplId=5, PerUserGuid=None, StoreState=0)
    assert value.MailboxGuid == uuid.UUID(bytes_le=bytes.fromhex("86eed86f7ce6624ea3bd9bff612d3790"))
    assert value.FolderIds.Inbox == INBOX_ID
    assert value.FolderIds.IpmSubtree == ObjectId(1, 9)
    assert list(value.FolderIds.values())[9] == ObjectId(1, 8)
    time = value.LogonTime
    assert datetime.datetime(time.Year, time.Month, time.Day, time.Hour, time.Minutes, time.Seconds) == (
        datetime.datetime(2026, 11, 23, 11, 46, 52)
    )
    tree = trace(stor.LOGON.responses[0], ByteSource("vector", bytes.fromhex(PRIVATE_LOGON)), "PDU")
    assert tree.find("ResponseFlags").label == "Reserved | OwnerRight | SendAsRight"
    assert tree.find("LogonTime", "DayOfWeek").label == "Monday"
    assert tree.find("GwartTime").label.startswith("2026-11-23T11:46:5")
    assert "Inbox" in [child.name for child in tree.find("FolderIds").children]


def test_public_logon() -> None:
    folders = "".join(f"0100 {number:012x}" for number in range(1, 14))
    data = f"fe 00 00000000 00 {folders} 0100 {'11' * 16} {'22' * 16}"
    value = check(stor.LOGON.responses[0], data, ReplId=1, MailboxGuid=None, LogonTime=None, StoreState=None)
    assert value.PerUserGuid == uuid.UUID("22222222-2222-2222-2222-222222222222")
    assert value.FolderIds.OfflineAddressBook == ObjectId(1, 6)
    assert len(bytes.fromhex(data)) == 7 + 138
    assert len(bytes.fromhex(PRIVATE_LOGON)) == 7 + 159


def test_logon_redirect_and_failure() -> None:
    redirect = stor.LOGON.responses[WRONG_SERVER]
    check(redirect, "fe 00 78040000 01 04 45583200", LogonFlags=1, ServerNameSize=4, ServerName="EX2")
    check(redirect, "fe 00 78040000 01 00", ServerName=None)
    assert redirect.layout_name == "RopLogon response (redirect)"
    value = {"OutputHandleIndex": 0, "ReturnValue": WRONG_SERVER, "LogonFlags": 1, "ServerName": "EX2"}
    assert build(redirect, value) == bytes.fromhex("fe 00 78040000 01 04 45583200")
    check(stor.LOGON.responses[None], "fe 00 eb030000", ReturnValue=0x3EB)


def test_receive_folder() -> None:
    check(stor.GET_RECEIVE_FOLDER.request, "27 00 00 49504d00", MessageClass="IPM")
    check(
        stor.GET_RECEIVE_FOLDER.responses[0], f"27 00 00000000 {INBOX} 00", FolderId=INBOX_ID, ExplicitMessageClass=""
    )
    check(stor.GET_RECEIVE_FOLDER.responses[None], "27 00 0f010480")
    check(stor.SET_RECEIVE_FOLDER.request, f"26 00 00 {INBOX} 49504d00", FolderId=INBOX_ID, MessageClass="IPM")
    check(stor.SET_RECEIVE_FOLDER.responses[0], "26 00 00000000")
    check(stor.SET_RECEIVE_FOLDER.responses[None], "26 00 05000780")


def test_receive_folder_table() -> None:
    check(stor.GET_RECEIVE_FOLDER_TABLE.request, "68 00 00")
    success = stor.GET_RECEIVE_FOLDER_TABLE.responses[0]
    standard = f"00 {INBOX} 49504d00 001eb154407bdd01"
    flagged = f"01 00 {INBOX} 00 00 0a 0f010480"
    value = check(success, f"68 00 00000000 02000000 {standard} {flagged}", RowCount=2)
    assert value.Rows[0].ValueArray[1] == "IPM"
    assert value.Rows[0].ValueArray[2] == 0x01DD7B4054B11E00
    assert value.Rows[1].ValueArray[2].PropertyValue == 0x8004010F
    check(success, "68 00 00000000 00000000", Rows=[])
    check(stor.GET_RECEIVE_FOLDER_TABLE.responses[None], "68 00 05000780")


def test_store_state() -> None:
    check(stor.GET_STORE_STATE.request, "7b 00 00")
    check(stor.GET_STORE_STATE.responses[0], "7b 00 00000000 00000001", StoreState=0x01000000)
    check(stor.GET_STORE_STATE.responses[None], "7b 00 02010480")


def test_public_folder_servers() -> None:
    check(stor.GET_OWNING_SERVERS.request, f"42 00 00 {INBOX}", FolderId=INBOX_ID)
    owners = "42 00 00000000 0200 0100 4100 424200"
    check(stor.GET_OWNING_SERVERS.responses[0], owners, CheapServersCount=1, OwningServers=["A", "BB"])
    check(stor.GET_OWNING_SERVERS.responses[None], "42 00 0f010480")
    check(stor.PUBLIC_FOLDER_IS_GHOSTED.request, f"45 00 00 {INBOX}", FolderId=INBOX_ID)
    success = stor.PUBLIC_FOLDER_IS_GHOSTED.responses[0]
    check(success, "45 00 00000000 00", IsGhosted=False, Servers=None)
    check(success, "45 00 00000000 01 0100 0000 4100", IsGhosted=True, CheapServersCount=0, Servers=["A"])
    check(stor.PUBLIC_FOLDER_IS_GHOSTED.responses[None], "45 00 0f010480")


def test_long_term_ids() -> None:
    check(stor.LONG_TERM_ID_FROM_ID.request, "430000010000000000000d", ObjectId=INBOX_ID)  # recorded
    recorded = "43000000000001000000a5187b6fbcdcea1ed03c565700000000000d0000"
    check(stor.LONG_TERM_ID_FROM_ID.responses[0], recorded, LongTermId=LONG_ID)
    check(stor.LONG_TERM_ID_FROM_ID.responses[None], "43 00 0f010480")
    check(stor.ID_FROM_LONG_TERM_ID.request, f"44 00 00 {LONG}", LongTermId=LONG_ID)
    check(stor.ID_FROM_LONG_TERM_ID.responses[0], f"44 00 00000000 {INBOX}", ObjectId=INBOX_ID)
    check(stor.ID_FROM_LONG_TERM_ID.responses[None], "44 00 0f010480")


def test_per_user_ids() -> None:
    check(stor.GET_PER_USER_LONG_TERM_IDS.request, f"60 00 00 {'11' * 16}", DatabaseGuid=uuid.UUID("11" * 16))
    success = stor.GET_PER_USER_LONG_TERM_IDS.responses[0]
    check(success, f"60 00 00000000 0200 {LONG} {LONG}", LongTermIds=[LONG_ID, LONG_ID])
    check(success, "60 00 00000000 0000", LongTermIds=[])
    check(stor.GET_PER_USER_LONG_TERM_IDS.responses[None], "60 00 02010480")
    check(stor.GET_PER_USER_GUID.request, f"61 00 00 {LONG}", LongTermId=LONG_ID)
    check(stor.GET_PER_USER_GUID.responses[0], f"61 00 00000000 {'11' * 16}", DatabaseGuid=uuid.UUID("11" * 16))
    check(stor.GET_PER_USER_GUID.responses[None], "61 00 0f010480")


def test_read_per_user_information() -> None:
    request = f"63 00 00 {LONG} 00 10000000 0020"
    check(stor.READ_PER_USER_INFORMATION.request, request, FolderId=LONG_ID, DataOffset=16, MaxDataSize=0x2000)
    check(
        stor.READ_PER_USER_INFORMATION.responses[0], "63 00 00000000 01 0300 010203", HasFinished=True, Data=b"\1\2\3"
    )
    check(stor.READ_PER_USER_INFORMATION.responses[None], "63 00 0f010480")


def test_write_per_user_information_depends_on_the_logon() -> None:
    request = stor.WRITE_PER_USER_INFORMATION.request
    first = f"64 00 00 {LONG} 01 00000000 0200 0102"
    private = {"logon_flags": 1}
    check(request, f"{first} {'11' * 16}", private, Data=b"\1\2", ReplGuid=uuid.UUID("11" * 16))
    check(request, first, {"logon_flags": 0}, ReplGuid=None)
    later = f"64 00 00 {LONG} 01 02000000 0200 0304"
    check(request, later, private, DataOffset=2, ReplGuid=None)
    check(request, later, DataOffset=2, ReplGuid=None)  # the logon does not matter here
    check(stor.WRITE_PER_USER_INFORMATION.responses[0], "64 00 00000000")
    check(stor.WRITE_PER_USER_INFORMATION.responses[None], "64 00 05000780")

    with pytest.raises(GrammarError) as caught:
        parse(request, bytes.fromhex(first))
    assert caught.value.severity is Severity.NO_CONTEXT
    tree = trace(request, ByteSource("vector", bytes.fromhex(first)), "PDU")
    assert [severity for _, severity, _ in diagnostics(tree)] == [Severity.NO_CONTEXT]
    assert tree.find("Data").value == b"\1\2"
