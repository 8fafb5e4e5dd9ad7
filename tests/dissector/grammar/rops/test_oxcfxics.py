import uuid

import pytest

from dissector.grammar.base import build
from dissector.grammar.reading import parse, trace
from dissector.grammar.rops import oxcfxics as ics
from dissector.model.ids import LongTermId, ObjectId
from dissector.model.pcl import Xid
from dissector.node import Severity, Undecoded
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check_cover, diagnostics
from tests.dissector.grammar.rops.vectors import Vector, check_vector, missing_forms, request, response, short

STORE = "01000000a5187b6fbcdcea1ed03c5657"
STORE_GUID = uuid.UUID(bytes_le=bytes.fromhex(STORE))
CLIENT = "00271ec100000040800000000000cafe"
"""What the scripted client used as the NamespaceGuid of its own changes; its local ids have 4 bytes."""

VECTORS = [
    request(ics.DESTINATION_CONFIGURE, "53 00 00 01 01 00", SourceOperation=1, CopyFlags=0),
    response(ics.DESTINATION_CONFIGURE, "53 01 00000000", OutputHandleIndex=1),
    response(ics.DESTINATION_CONFIGURE, "53 01 57000780"),
    request(ics.DESTINATION_PUT_BUFFER, "54 00 01 0400 03000c40", TransferData=b"\3\0\x0c\x40"),
    response(
        ics.DESTINATION_PUT_BUFFER,
        "54 01 00000000 0300 0200 0200 00 0400",
        TransferStatus=3,
        InProgressCount=2,
        TotalStepCount=2,
        BufferUsedSize=4,
    ),
    response(ics.DESTINATION_PUT_BUFFER, "54 01 b6040000 0000 0000 0000 00 0000", ReturnValue=0x4B6, TransferStatus=0),
    short(ics.DESTINATION_PUT_BUFFER, "54 01 b6040000"),
    request(ics.DESTINATION_PUT_BUFFER_EXTENDED, "9d 00 01 0400 03000c40", TransferDataSize=4),
    response(
        ics.DESTINATION_PUT_BUFFER_EXTENDED,
        "9d 01 00000000 0300 02000000 00000100 00 0400",
        InProgressCount=2,
        TotalStepCount=0x10000,
        BufferUsedSize=4,
    ),
    response(ics.DESTINATION_PUT_BUFFER_EXTENDED, "9d 01 b6040000 0000 00000000 00000000 00 0000"),
    short(ics.DESTINATION_PUT_BUFFER_EXTENDED, "9d 01 b6040000"),
    request(ics.SOURCE_GET_BUFFER, "4e 00 00 beba 007c", BufferSize=0xBABE, MaximumBufferSize=0x7C00),  # gromox 3.10
    request(ics.SOURCE_GET_BUFFER, "4e 00 00 0010", BufferSize=0x1000, MaximumBufferSize=None),
    response(
        ics.SOURCE_GET_BUFFER,
        "4e 00 00000000 0100 2c00 3904 00 0800 03001240 03001440",
        TransferStatus=1,
        InProgressCount=44,
        TotalStepCount=0x439,
        TransferBufferSize=8,
    ),
    response(ics.SOURCE_GET_BUFFER, "4e 00 00000000 0300 3904 3904 00 0000", TransferStatus=3, TransferBuffer=b""),
    response(ics.SOURCE_GET_BUFFER, "4e 00 b9040000 0000 0000 0000 00 0000", ReturnValue=0x4B9, TransferStatus=0),
    response(
        ics.SOURCE_GET_BUFFER,
        "4e 00 80040000 0000 0000 0000 00 0000 e8030000",
        TransferBufferSize=0,
        BackoffTime=1000,
    ),
    short(ics.SOURCE_GET_BUFFER, "4e 00 b9040000"),
    request(ics.SOURCE_COPY_FOLDER, "4c 00 00 01 10 09", CopyFlags=0x10, SendOptions=9),  # gromox 3.10
    response(ics.SOURCE_COPY_FOLDER, "4c 01 00000000", OutputHandleIndex=1),  # gromox 3.10
    response(ics.SOURCE_COPY_FOLDER, "4c 01 b9040000"),
    request(  # gromox 3.10, two of six messages
        ics.SOURCE_COPY_MESSAGES,
        "4b 00 00 01 0200 0100 000000030000 0100 000000030001 00 09",
        MessageIds=[ObjectId(1, 0x30000), ObjectId(1, 0x30001)],
        CopyFlags=0,
        SendOptions=9,
    ),
    response(ics.SOURCE_COPY_MESSAGES, "4b 01 00000000"),  # gromox 3.10
    response(ics.SOURCE_COPY_MESSAGES, "4b 01 0f010480"),
    request(ics.SOURCE_COPY_TO, "4d 00 00 01 00 00000000 09 0000", Level=0, CopyFlags=0, SendOptions=9),  # gromox 3.10
    request(
        ics.SOURCE_COPY_TO, "4d 00 00 01 01 00200000 05 0100 0d00130e", CopyFlags=0x2000, PropertyTags=[0x0E13000D]
    ),
    response(ics.SOURCE_COPY_TO, "4d 01 00000000"),  # gromox 3.10
    response(ics.SOURCE_COPY_TO, "4d 01 0f010480"),
    request(ics.SOURCE_COPY_PROPERTIES, "69 00 00 01 00 01 08 0100 1f003700", CopyFlags=1, PropertyTags=[0x0037001F]),
    response(ics.SOURCE_COPY_PROPERTIES, "69 01 00000000"),
    response(ics.SOURCE_COPY_PROPERTIES, "69 01 0f010480"),
    request(ics.TELL_VERSION, "86 00 00 0f00 1405 0000", Version=[15, 0x514, 0]),
    response(ics.TELL_VERSION, "86 00 00000000"),
    response(ics.TELL_VERSION, "86 00 02010480"),
    request(  # gromox 3.10
        ics.SYNCHRONIZATION_CONFIGURE,
        "70 00 00 01 01 09 39a1 0000 0f000000 0000",
        SynchronizationType=1,
        SendOptions=9,
        SynchronizationFlags=0xA139,
        RestrictionData=None,
        SynchronizationExtraFlags=0x0F,
        PropertyTags=[],
    ),
    request(
        ics.SYNCHRONIZATION_CONFIGURE,
        "70 00 00 01 01 19 b901 0500 08 1f003700 05000000 0100 0d00130e",
        RestrictionDataSize=5,
        PropertyTags=[0x0E13000D],
    ),
    response(ics.SYNCHRONIZATION_CONFIGURE, "70 01 00000000"),  # gromox 3.10
    response(ics.SYNCHRONIZATION_CONFIGURE, "70 01 57000780"),
    request(  # gromox 3.10
        ics.IMPORT_MESSAGE_CHANGE,
        f"72 00 00 01 00 0400 0201e065 1600 {STORE} 0000001d0000 40000830 e0545c65407bdd01"
        f"0201e265 1400 {CLIENT} 6b042701 0201e365 1500 14 {CLIENT} 6b042701",
        ImportFlag=0,
        PropertyValueCount=4,
    ),
    response(ics.IMPORT_MESSAGE_CHANGE, "72 01 00000000 0000000000000000", MessageId=ObjectId(0, 0)),  # gromox 3.10
    response(ics.IMPORT_MESSAGE_CHANGE, "72 01 02080480", ReturnValue=0x80040802),
    request(  # gromox 3.10, two of five
        ics.IMPORT_READ_STATE_CHANGES,
        f"80 00 00 3200 1600 {STORE} 000000030000 01 1600 {STORE} 000000030004 00",
        MessageReadStatesSize=50,
    ),
    request(ics.IMPORT_READ_STATE_CHANGES, "80 00 00 0000", MessageReadStates=[]),
    response(ics.IMPORT_READ_STATE_CHANGES, "80 00 00000000"),  # gromox 3.10
    response(ics.IMPORT_READ_STATE_CHANGES, "80 00 80060400"),
    request(  # gromox 3.10
        ics.IMPORT_HIERARCHY_CHANGE,
        f"73 00 00 0600 0201e165 1600 {STORE} 0000001d0004 0201e065 1600 {STORE} 0000001d0005"
        f"40000830 c0ca7465407bdd01 0201e265 1400 {CLIENT} 6b042708 0201e365 1500 14 {CLIENT} 6b042708"
        "1f000130 7300750062000000 0000",
        HierarchyValueCount=6,
        PropertyValues=[],
    ),
    response(ics.IMPORT_HIERARCHY_CHANGE, "73 00 00000000 0000000000000000"),  # gromox 3.10
    response(ics.IMPORT_HIERARCHY_CHANGE, "73 00 57000780"),
    request(  # gromox 3.10
        ics.IMPORT_DELETES,
        f"74 00 00 00 0100 02110000 02000000 1600 {STORE} 000000030006 1600 {STORE} 000000030007",
        ImportDeleteFlags=0,
        PropertyValueCount=1,
    ),
    request(  # gromox 3.10
        ics.IMPORT_DELETES, f"74 00 00 01 0100 02110000 01000000 1600 {STORE} 0000001d0005", ImportDeleteFlags=1
    ),
    response(ics.IMPORT_DELETES, "74 00 00000000"),  # gromox 3.10
    response(ics.IMPORT_DELETES, "74 00 05000780"),
    request(  # gromox 3.10
        ics.IMPORT_MESSAGE_MOVE,
        f"78 00 00 16000000 {STORE} 00000000000d 16000000 {STORE} 000000030009 17000000 16 {STORE} 000000000027"
        f"16000000 {STORE} 0000001d0002 14000000 {CLIENT} 6b042704",
        SourceFolderIdSize=22,
        PredecessorChangeListSize=23,
        ChangeNumberSize=20,
    ),
    response(ics.IMPORT_MESSAGE_MOVE, "78 00 00000000 0000000000000000"),  # gromox 3.10
    response(ics.IMPORT_MESSAGE_MOVE, "78 00 21080400", ReturnValue=0x00040821),
    request(ics.OPEN_COLLECTOR, "7e 00 00 01 01", IsContentsCollector=True),  # gromox 3.10
    request(ics.OPEN_COLLECTOR, "7e 00 00 01 00", IsContentsCollector=False),  # gromox 3.10
    response(ics.OPEN_COLLECTOR, "7e 01 00000000", OutputHandleIndex=1),  # gromox 3.10
    response(ics.OPEN_COLLECTOR, "7e 01 05000780"),
    request(ics.GET_TRANSFER_STATE, "82 00 00 01", InputHandleIndex=0, OutputHandleIndex=1),  # gromox 3.10
    response(ics.GET_TRANSFER_STATE, "82 01 00000000"),  # gromox 3.10
    response(ics.GET_TRANSFER_STATE, "82 01 b9040000"),
    request(  # gromox 3.10
        ics.UPLOAD_STATE_STREAM_BEGIN, "75 00 00 03001740 00000000", StateProperty=0x40170003, TransferBufferSize=0
    ),
    response(ics.UPLOAD_STATE_STREAM_BEGIN, "75 00 00000000"),  # gromox 3.10
    response(ics.UPLOAD_STATE_STREAM_BEGIN, "75 00 57000780"),
    request(  # gromox 3.10
        ics.UPLOAD_STATE_STREAM_CONTINUE,
        f"76 00 00 1e000000 {STORE} 52 000000030000 000000030033 00",
        StreamDataSize=30,
    ),
    response(ics.UPLOAD_STATE_STREAM_CONTINUE, "76 00 00000000"),  # gromox 3.10
    response(ics.UPLOAD_STATE_STREAM_CONTINUE, "76 00 b6040000"),
    request(ics.UPLOAD_STATE_STREAM_END, "77 00 00"),  # gromox 3.10
    response(ics.UPLOAD_STATE_STREAM_END, "77 00 00000000"),  # gromox 3.10
    response(ics.UPLOAD_STATE_STREAM_END, "77 00 ed040000"),
    request(
        ics.SET_LOCAL_REPLICA_MIDSET_DELETED,
        f"93 00 00 3400 01000000 {STORE} 0000001d0000 0000 {STORE} 0000001d00ff 0000",
        DataSize=52,
        LongTermIdRangeCount=1,
    ),
    response(ics.SET_LOCAL_REPLICA_MIDSET_DELETED, "93 00 00000000"),
    response(ics.SET_LOCAL_REPLICA_MIDSET_DELETED, "93 00 57000780"),
    request(ics.GET_LOCAL_REPLICA_IDS, "7f 00 00 00000100", IdCount=0x10000),  # gromox 3.10
    response(  # gromox 3.10
        ics.GET_LOCAL_REPLICA_IDS, f"7f 00 00000000 {STORE} 0000001d0000", ReplGuid=STORE_GUID, GlobalCount=0x1D0000
    ),
    response(ics.GET_LOCAL_REPLICA_IDS, "7f 00 57000780"),
]


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_vector(vector: Vector) -> None:
    check_vector(vector)


def test_every_form_has_a_vector() -> None:
    assert missing_forms(ics.ROPS, VECTORS) == []


def test_what_the_session_needs() -> None:
    opened = {
        one.name.removeprefix("RopFastTransfer").removeprefix("RopSynchronization"): one.opens for one in ics.ROPS
    }
    assert {name: kind for name, kind in opened.items() if kind} == {
        "DestinationConfigure": "fasttransfer-destination",
        "SourceCopyFolder": "fasttransfer-source",
        "SourceCopyMessages": "fasttransfer-source",
        "SourceCopyTo": "fasttransfer-source",
        "SourceCopyProperties": "fasttransfer-source",
        "Configure": "sync-download",
        "ImportMessageChange": "message",
        "OpenCollector": "sync-upload",
        "GetTransferState": "state",
    }
    for one in ics.ROPS:
        assert (one.output is not None) == (one.opens is not None)
        assert one.index == (one.output or "InputHandleIndex")


def test_server_busy_has_a_back_off_time_and_no_buffer() -> None:
    layout = ics.SOURCE_GET_BUFFER.response_layout(0x480)
    data = bytes.fromhex("4e 00 80040000 0000 0000 0000 00 0000 e8030000")
    tree = trace(layout, ByteSource("x", data), "x")
    assert [child.name for child in tree.children][-2:] == ["TransferBufferSize", "BackoffTime"]
    value, _ = parse(layout, data)
    assert build(layout, value) == data


def test_flags_bit_by_bit() -> None:
    data = bytes.fromhex("70 00 00 01 01 09 39a1 0000 0f000000 0000")
    tree = trace(ics.SYNCHRONIZATION_CONFIGURE.request, ByteSource("x", data), "x")
    labels = {node.name: node.label for node in tree.children}
    assert labels["SynchronizationType"] == "Contents"
    assert labels["SendOptions"] == "Unicode | ForceUnicode"
    assert labels["SynchronizationFlags"] == (
        "Unicode | ReadState | FAI | Normal | NoForeignIdentifiers | BestBody | Progress"
    )
    assert labels["SynchronizationExtraFlags"] == "Eid | MessageSize | CN | OrderByDeliveryTime"
    tree = trace(ics.SOURCE_GET_BUFFER.responses[0], ByteSource("x", bytes(6) + b"\1\0" + bytes(7)), "x")
    assert tree.find("TransferStatus").label == "Partial"


def test_deleted_range_is_long_term_ids() -> None:
    data = bytes.fromhex(f"93 00 00 3400 01000000 {STORE} 0000001d0000 0000 {STORE} 0000001d00ff 0000")
    value, _ = parse(ics.SET_LOCAL_REPLICA_MIDSET_DELETED.request, data)
    assert value.LongTermIdRanges[0] == {
        "MinLongTermId": LongTermId(STORE_GUID, 0x1D0000, 0),
        "MaxLongTermId": LongTermId(STORE_GUID, 0x1D00FF, 0),
    }


def test_source_keys_open() -> None:
    key = Xid(STORE_GUID, bytes.fromhex("000000030006"))
    data = bytes.fromhex(f"74 00 00 00 0100 02110000 01000000 1600 {STORE} 000000030006")
    value, _ = parse(ics.IMPORT_DELETES.request, data)
    assert value.PropertyValues[0].PropertyValue == [key]
    data = bytes.fromhex(f"80 00 00 1900 1600 {STORE} 000000030006 01")
    assert parse(ics.IMPORT_READ_STATE_CHANGES.request, data)[0].MessageReadStates[0].MessageId == key
    move = next(vector for vector in VECTORS if vector.definition is ics.IMPORT_MESSAGE_MOVE)
    value, _ = parse(ics.IMPORT_MESSAGE_MOVE.request, move.data)
    assert value.SourceFolderId == Xid(STORE_GUID, bytes.fromhex("00000000000d"))
    assert value.PredecessorChangeList == [Xid(STORE_GUID, bytes.fromhex("000000000027"))]
    assert value.ChangeNumber == Xid(uuid.UUID(bytes_le=bytes.fromhex(CLIENT)), bytes.fromhex("6b042704"))


def test_deletes_with_another_type_of_value() -> None:
    data = bytes.fromhex("74 00 00 00 0100 03000000 07000000")
    value, _ = parse(ics.IMPORT_DELETES.request, data)
    assert value.PropertyValues[0].PropertyValue == 7
    assert build(ics.IMPORT_DELETES.request, value) == data


def test_cut_read_state_stays_in_its_size() -> None:
    data = bytes.fromhex(f"80 00 00 1b00 1600 {STORE} 000000030000 01 1600")
    value, end = parse(ics.IMPORT_READ_STATE_CHANGES.request, data + b"next")
    assert end == len(data)
    assert value.MessageReadStates == Undecoded(data[5:])
    assert build(ics.IMPORT_READ_STATE_CHANGES.request, value) == data
    tree = trace(ics.IMPORT_READ_STATE_CHANGES.request, ByteSource("x", data), "x")
    check_cover(tree)
    assert [found[1] for found in diagnostics(tree)] == [Severity.MALFORMED]
    assert tree.find("MessageReadStates", "[0]", "MarkAsRead").value is True
