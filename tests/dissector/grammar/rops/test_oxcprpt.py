import pytest

from dissector.grammar.base import GrammarError, build
from dissector.grammar.reading import parse, trace
from dissector.grammar.rops import oxcprpt as prpt
from dissector.node import Severity
from dissector.source import ByteSource
from tests.dissector.grammar.rops.vectors import Vector, check_vector, missing_forms, request, response, short

COMMON = "08 20 06 00 00 00 00 00 c0 00 00 00 00 00 00 46"
STRINGS = "29 03 02 00 00 00 00 00 c0 00 00 00 00 00 00 46"
LID = f"00 {COMMON} 03850000"
KEYWORDS = f"01 {STRINGS} 12 4b00650079007700 6f00720064007300 0000"
SUBJECT_AND_FLAGS = {"property_tags": [0x0037001F, 0x0E070003]}
PROBLEM = "0100 1f003700 05000780"
NO_OBJECT = "0f010480"

VECTORS = [
    request(prpt.GET_PROPERTY_IDS_FROM_NAMES, f"56 00 00 02 0200 {LID} {KEYWORDS}", Flags=2, PropertyNameCount=2),
    request(prpt.GET_PROPERTY_IDS_FROM_NAMES, "56 00 00 00 0000", Flags=0, PropertyNames=[]),
    response(prpt.GET_PROPERTY_IDS_FROM_NAMES, "56 00 00000000 0200 0380 0480", PropertyIds=[0x8003, 0x8004]),
    response(prpt.GET_PROPERTY_IDS_FROM_NAMES, "56 00 80030400 0200 0380 0000", PropertyIds=[0x8003, 0]),
    response(prpt.GET_PROPERTY_IDS_FROM_NAMES, "56 00 05400080", ReturnValue=0x80004005),
    request(prpt.GET_NAMES_FROM_PROPERTY_IDS, "55 00 00 0200 0380 0480", PropertyIds=[0x8003, 0x8004]),
    response(prpt.GET_NAMES_FROM_PROPERTY_IDS, f"55 00 00000000 0200 {LID} {KEYWORDS}", PropertyNameCount=2),
    response(prpt.GET_NAMES_FROM_PROPERTY_IDS, "55 00 57000780"),
    request(
        prpt.GET_PROPERTIES_SPECIFIC,
        "07 00 01 0000 0000 0200 1f003700 0300070e",
        WantUnicode=False,
        PropertyTags=[0x0037001F, 0x0E070003],
    ),
    response(prpt.GET_PROPERTIES_SPECIFIC, "07 01 00000000 00 480069000000 01000000", SUBJECT_AND_FLAGS),
    response(prpt.GET_PROPERTIES_SPECIFIC, f"07 01 00000000 01 00 480069000000 0a {NO_OBJECT}", SUBJECT_AND_FLAGS),
    response(  # a property without a type is sent with one
        prpt.GET_PROPERTIES_SPECIFIC, "07 01 00000000 00 1f00 480069000000", {"property_tags": [0x00370000]}
    ),
    response(prpt.GET_PROPERTIES_SPECIFIC, f"07 01 {NO_OBJECT}"),
    request(prpt.GET_PROPERTIES_ALL, "08 00 00 0010 0100", PropertySizeLimit=0x1000, WantUnicode=True),  # gromox 3.10
    response(  # the first three of 53 values that gromox 3.10 sent
        prpt.GET_PROPERTIES_ALL,
        "08 00 00000000 0300 0300f40f 07000000 0300f70f 01000000 14004867 010000000000000d",
        PropertyValueCount=3,
    ),
    response(prpt.GET_PROPERTIES_ALL, "08 00 b9040000"),
    request(prpt.GET_PROPERTIES_LIST, "09 00 00"),
    response(prpt.GET_PROPERTIES_LIST, "09 00 00000000 0200 1f003700 0300070e", PropertyTags=[0x0037001F, 0x0E070003]),
    response(prpt.GET_PROPERTIES_LIST, "09 00 b9040000"),
    request(  # [MS-OXCPRPT] 4, setting properties
        prpt.SET_PROPERTIES,
        "0a 00 00 2400 0200 1f003d00 0000 1f001d0e 480065006c006c006f00200057006f0072006c0064000000",
        PropertyValueSize=0x24,
        PropertyValueCount=2,
    ),
    request(  # gromox 3.10: an attachment's method, names and rendering position
        prpt.SET_PROPERTIES,
        "0a 00 00 4600 0400 03000537 01000000 1f000737 750070006c006f00610064002e00620069006e000000"
        "1f000437 750070006c006f00610064002e00620069006e000000 03000b37 ffffffff",
        PropertyValueCount=4,
    ),
    response(prpt.SET_PROPERTIES, "0a 00 00000000 0000", PropertyProblems=[]),  # gromox 3.10
    response(prpt.SET_PROPERTIES, f"0a 00 00000000 0100 {PROBLEM}", PropertyProblemCount=1),
    response(prpt.SET_PROPERTIES, "0a 00 05000780"),
    request(prpt.SET_PROPERTIES_NO_REPLICATE, "79 00 00 0a00 0100 03000b37 ffffffff", PropertyValueSize=10),
    response(prpt.SET_PROPERTIES_NO_REPLICATE, f"79 00 00000000 0100 {PROBLEM}"),
    response(prpt.SET_PROPERTIES_NO_REPLICATE, "79 00 05000780"),
    request(prpt.DELETE_PROPERTIES, "0b 00 00 0100 1f003700", PropertyTags=[0x0037001F]),
    response(prpt.DELETE_PROPERTIES, f"0b 00 00000000 0100 {PROBLEM}"),
    response(prpt.DELETE_PROPERTIES, "0b 00 05000780"),
    request(prpt.DELETE_PROPERTIES_NO_REPLICATE, "7a 00 00 0100 1f003700", PropertyTags=[0x0037001F]),
    response(prpt.DELETE_PROPERTIES_NO_REPLICATE, "7a 00 00000000 0000"),
    response(prpt.DELETE_PROPERTIES_NO_REPLICATE, "7a 00 05000780"),
    request(prpt.QUERY_NAMED_PROPERTIES, f"5f 00 00 01 01 {COMMON}", QueryFlags=1, HasGuid=True),
    request(prpt.QUERY_NAMED_PROPERTIES, "5f 00 00 00 00", HasGuid=False, PropertyGuid=None),
    response(
        prpt.QUERY_NAMED_PROPERTIES,
        f"5f 00 00000000 0200 0380 0480 {LID} {KEYWORDS}",
        IdCount=2,
        PropertyIds=[0x8003, 0x8004],
    ),
    response(prpt.QUERY_NAMED_PROPERTIES, f"5f 00 80030400 0100 0380 {LID}", IdCount=1),
    response(prpt.QUERY_NAMED_PROPERTIES, "5f 00 57000780"),
    request(
        prpt.COPY_PROPERTIES,
        "67 00 01 02 00 02 0100 1f003700",
        SourceHandleIndex=1,
        DestHandleIndex=2,
        WantAsynchronous=False,
        CopyFlags=2,
    ),
    response(prpt.COPY_PROPERTIES, f"67 01 00000000 0100 {PROBLEM}", SourceHandleIndex=1),
    response(prpt.COPY_PROPERTIES, "67 01 03050000 02000000", DestHandleIndex=2),
    response(prpt.COPY_PROPERTIES, "67 01 05000780"),
    request(
        prpt.COPY_TO,
        "39 00 01 02 00 01 01 0100 0d00130e",
        WantSubObjects=True,
        CopyFlags=1,
        ExcludedTags=[0x0E13000D],
    ),
    response(prpt.COPY_TO, "39 01 00000000 0000", PropertyProblemCount=0),
    response(prpt.COPY_TO, "39 01 03050000 02000000", DestHandleIndex=2),
    response(prpt.COPY_TO, "39 01 05000780"),
    request(prpt.PROGRESS, "50 00 01 00", WantCancel=False),
    response(prpt.PROGRESS, "50 01 00000000 02 05000000 0a000000", LogonId=2, CompletedTaskCount=5, TotalTaskCount=10),
    response(prpt.PROGRESS, "50 01 b9040000"),
    request(prpt.OPEN_STREAM, "2b 00 01 02 1f006a0e 00", PropertyTag=0x0E6A001F, OpenModeFlags=0),  # [MS-OXCPERM] 4.1
    request(prpt.OPEN_STREAM, "2b 00 00 01 02010137 02", PropertyTag=0x37010102, OpenModeFlags=2),  # gromox 3.10
    response(prpt.OPEN_STREAM, "2b 01 00000000 00000000", OutputHandleIndex=1, StreamSize=0),  # gromox 3.10
    response(prpt.OPEN_STREAM, "2b 02 02010480", ReturnValue=0x80040102),  # [MS-OXCPERM] 4.1
    request(prpt.READ_STREAM, "2c 00 01 0010", ByteCount=0x1000, MaximumByteCount=None),
    request(prpt.READ_STREAM, "2c 00 01 beba 00000100", ByteCount=0xBABE, MaximumByteCount=0x10000),
    response(prpt.READ_STREAM, "2c 01 00000000 0300 414243", Data=b"ABC"),
    response(prpt.READ_STREAM, "2c 01 0f010480 0000", DataSize=0, Data=b""),
    short(prpt.READ_STREAM, "2c 01 0f010480"),
    request(prpt.WRITE_STREAM, "2d 00 01 0300 414243", Data=b"ABC"),
    response(prpt.WRITE_STREAM, "2d 00 00000000 0060", WrittenSize=0x6000),  # gromox 3.10
    response(prpt.WRITE_STREAM, "2d 00 05000380 0000", WrittenSize=0),
    short(prpt.WRITE_STREAM, "2d 00 05000380", ReturnValue=0x80030005),
    request(prpt.WRITE_STREAM_EXTENDED, "a3 00 01 0300 414243", Data=b"ABC"),
    response(prpt.WRITE_STREAM_EXTENDED, "a3 01 00000000 03000000", WrittenSize=3),
    response(prpt.WRITE_STREAM_EXTENDED, "a3 01 05000380 00000000"),
    short(prpt.WRITE_STREAM_EXTENDED, "a3 01 05000380"),
    request(prpt.COMMIT_STREAM, "5d 00 00"),  # gromox 3.10
    response(prpt.COMMIT_STREAM, "5d 00 00000000"),  # gromox 3.10
    response(prpt.COMMIT_STREAM, "5d 00 b9040000"),
    request(prpt.GET_STREAM_SIZE, "5e 00 01"),
    response(prpt.GET_STREAM_SIZE, "5e 01 00000000 39300000", StreamSize=12345),
    response(prpt.GET_STREAM_SIZE, "5e 01 b9040000"),
    request(prpt.SET_STREAM_SIZE, "2f 00 01 3930000000000000", StreamSize=12345),
    response(prpt.SET_STREAM_SIZE, "2f 01 00000000"),
    response(prpt.SET_STREAM_SIZE, "2f 01 05000380"),
    request(prpt.SEEK_STREAM, "2e 00 01 02 f6ffffffffffffff", Origin=2, Offset=-10),
    response(prpt.SEEK_STREAM, "2e 01 00000000 2f30000000000000", NewPosition=12335),
    response(prpt.SEEK_STREAM, "2e 01 19000380"),
    request(prpt.COPY_TO_STREAM, "3a 00 01 02 0001000000000000", DestHandleIndex=2, ByteCount=256),
    response(
        prpt.COPY_TO_STREAM,
        "3a 01 00000000 0001000000000000 0001000000000000",
        ReadByteCount=256,
        WrittenByteCount=256,
    ),
    response(prpt.COPY_TO_STREAM, "3a 01 05000380 1000000000000000 0000000000000000", ReadByteCount=16),
    response(
        prpt.COPY_TO_STREAM,
        "3a 01 03050000 02000000 0000000000000000 0000000000000000",
        DestHandleIndex=2,
        WrittenByteCount=0,
    ),
    short(prpt.COPY_TO_STREAM, "3a 01 05000380"),
    request(
        prpt.LOCK_REGION_STREAM,
        "5b 00 01 0010000000000000 0002000000000000 01000000",
        RegionOffset=0x1000,
        RegionSize=0x200,
        LockFlags=1,
    ),
    response(prpt.LOCK_REGION_STREAM, "5b 01 00000000"),
    response(prpt.LOCK_REGION_STREAM, "5b 01 21000380"),
    request(prpt.UNLOCK_REGION_STREAM, "5c 00 01 0010000000000000 0002000000000000 00000000", LockFlags=0),
    response(prpt.UNLOCK_REGION_STREAM, "5c 01 00000000"),
    response(prpt.UNLOCK_REGION_STREAM, "5c 01 21000380"),
    request(prpt.WRITE_AND_COMMIT_STREAM, "90 00 01 0300 414243", Data=b"ABC"),
    response(prpt.WRITE_AND_COMMIT_STREAM, "90 01 00000000 0300", WrittenSize=3),
    response(prpt.WRITE_AND_COMMIT_STREAM, "90 01 05000380 0000"),
    short(prpt.WRITE_AND_COMMIT_STREAM, "90 01 05000380"),
    request(prpt.CLONE_STREAM, "3b 00 01 02", InputHandleIndex=1, OutputHandleIndex=2),
    response(prpt.CLONE_STREAM, "3b 02 00000000", OutputHandleIndex=2),
    response(prpt.CLONE_STREAM, "3b 02 02010480"),
]


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_vector(vector: Vector) -> None:
    check_vector(vector)


def test_every_form_has_a_vector() -> None:
    assert missing_forms(prpt.ROPS, VECTORS) == []


def test_specific_properties_without_the_request_are_no_context() -> None:
    with pytest.raises(GrammarError) as caught:
        parse(prpt.GET_PROPERTIES_SPECIFIC.responses[0], bytes.fromhex("07 01 00000000 00 480069000000 01000000"))
    assert (caught.value.severity, caught.value.offset) == (Severity.NO_CONTEXT, 7)


def test_unmapped_names_are_a_warning_with_ids() -> None:
    layout = prpt.GET_PROPERTY_IDS_FROM_NAMES.response_layout
    assert layout(0x00040380) is layout(0)
    assert layout(0x80004005) is not layout(0)


def test_null_destination_is_a_form_of_its_own() -> None:
    for definition in (prpt.COPY_TO, prpt.COPY_PROPERTIES, prpt.COPY_TO_STREAM):
        data = bytes((definition.rop_id, 1)) + bytes.fromhex("03050000 07000000") + bytes(16)
        layout = definition.response_layout(0x503)
        assert layout is not None
        assert trace(layout, ByteSource("x", data), "x").find("DestHandleIndex").value == 7


def test_stream_rops_open_streams() -> None:
    assert {one.name for one in prpt.ROPS if one.opens} == {"RopOpenStream", "RopCloneStream"}
    assert all(one.opens == "stream" and one.output == "OutputHandleIndex" for one in prpt.ROPS if one.opens)


def test_counts_and_sizes_come_from_the_values() -> None:
    built = build(prpt.SET_PROPERTIES.request, {"InputHandleIndex": 0, "PropertyValues": [
        {"PropertyTag": 0x003D001F, "PropertyValue": ""},
        {"PropertyTag": 0x0E1D001F, "PropertyValue": "Hello World"},
    ]})  # fmt: skip
    assert built[3:7] == bytes.fromhex("2400 0200")
