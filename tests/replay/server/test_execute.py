"""ROP buffers: several ROPs, room, chains, compressed and obfuscated ones, and bad bytes of every kind."""

from __future__ import annotations

import logging
import random
import struct
import uuid
from typing import Any

import pytest

from dissector.emsmdb import buffers
from dissector.grammar.base import build
from dissector.grammar.envelopes import MAILBOX
from dissector.grammar.rops import ROPS
from dissector.source import ByteSource
from replay.server import RunningServer, unanswered
from replay.server.errors import BUFFER_TOO_SMALL, RPC_FORMAT
from replay.server.rops import HANDLERS
from tests.replay.server.client import NONE, Client, Error, rop_buffer

BODY = 0x10130102


def test_several_rops_in_one_buffer(client: Client, logon: Any) -> None:
    inbox = logon["FolderIds"]["Inbox"]
    requests = b"".join((
        client.request_bytes("RopOpenFolder", InputHandleIndex=0, OutputHandleIndex=1, FolderId=inbox,
                             OpenModeFlags=0),
        client.request_bytes("RopOpenFolder", InputHandleIndex=0, OutputHandleIndex=2, FolderId=(1, 4711),
                             OpenModeFlags=0),
        client.request_bytes("RopGetContentsTable", InputHandleIndex=1, OutputHandleIndex=3, TableFlags=0),
        client.request_bytes("RopRelease", InputHandleIndex=1),
        client.request_bytes("RopGetPropertiesList", InputHandleIndex=1),
        client.request_bytes("RopGetContentsTable", InputHandleIndex=2, OutputHandleIndex=4, TableFlags=0),
    ))  # fmt: skip
    ((data, handles),) = client.execute(requests, [logon["Handle"], NONE, NONE, NONE])
    answers = [(one["Name"], one["ReturnValue"]) for one in client.responses(data)]
    assert answers == [
        ("RopOpenFolder", 0), ("RopOpenFolder", 0x8004010F), ("RopGetContentsTable", 0),
        ("RopGetPropertiesList", 0x4B9), ("RopGetContentsTable", 0x4B9),
    ]  # fmt: skip
    assert handles[0] == logon["Handle"]
    assert handles[2] == NONE
    assert NONE not in (handles[1], handles[3])


def test_the_handle_table_grows_to_the_highest_index(client: Client, logon: Any) -> None:
    request = client.request_bytes(
        "RopOpenFolder", InputHandleIndex=0, OutputHandleIndex=5, FolderId=logon["FolderIds"]["Inbox"], OpenModeFlags=0
    )
    ((_, handles),) = client.execute(request, [logon["Handle"]])
    assert len(handles) == 6
    assert handles[5] not in (0, NONE)


@pytest.mark.parametrize("packing", [{"xor": True}, {"compress": True}, {"xor": True, "compress": True}])
def test_obfuscated_and_compressed_requests(client: Client, logon: Any, packing: dict[str, bool]) -> None:
    message = client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])
    value = {"PropertyTag": 0x1000001F, "PropertyValue": "again and " * 500}
    client.call("RopSetProperties", message, PropertyValues=[value], **packing)
    assert client.get(message, 0x1000001F) == ["again and " * 500]


def test_what_does_not_fit_is_handed_back(client: Client, logon: Any) -> None:
    message = client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])
    client.set(message, (0x66000102, bytes(3000)))
    get = client.request_bytes(
        "RopGetPropertiesSpecific", InputHandleIndex=0, PropertySizeLimit=0, WantUnicode=True, PropertyTags=[0x66000102]
    )
    ((data, _),) = client.execute(get * 4, [message], max_out=7000)
    found = client.responses(data, property_tags=(0x66000102,))
    assert [one["Name"] for one in found] == ["RopGetPropertiesSpecific"] * 2 + ["RopBufferTooSmall"]
    assert found[-1]["SizeNeeded"] > 7000
    assert data.endswith(get * 2)
    ((data, _),) = client.execute(get * 4, [message], max_out=found[-1]["SizeNeeded"] * 2)
    assert len(client.responses(data, property_tags=(0x66000102,))) == 4


def test_one_answer_that_does_not_fit(client: Client, logon: Any) -> None:
    message = client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])
    client.set(message, (0x66000102, bytes(3000)))
    get = client.request_bytes(
        "RopGetPropertiesSpecific", InputHandleIndex=0, PropertySizeLimit=0, WantUnicode=True, PropertyTags=[0x66000102]
    )
    ((data, _),) = client.execute(get, [message], max_out=1000)
    assert [one["Name"] for one in client.responses(data)] == ["RopBufferTooSmall"]
    answer = client.raw(buffers.pack([rop_buffer(get * 2, [message])]), max_out=32)
    assert answer["ErrorCode"] == BUFFER_TOO_SMALL


def test_a_rop_whose_answer_did_not_fit_was_not_done(client: Client, logon: Any) -> None:
    """Opening a message gives a handle only when the answer is sent."""
    inbox = logon["FolderIds"]["Inbox"]
    message = client.create_message(logon["Handle"], inbox)
    client.set(message, (0x0037001F, "subject " * 30))
    identifier = client.save(message)
    before = len(client.server.server.contexts[client.cookies["MapiContext"]].session.objects)
    request = client.request_bytes(
        "RopOpenMessage", InputHandleIndex=0, OutputHandleIndex=1, CodePageId=0x0FFF, FolderId=inbox, OpenModeFlags=0,
        MessageId=identifier,
    )  # fmt: skip
    ((data, handles),) = client.execute(request, [logon["Handle"], NONE], max_out=200)
    assert client.responses(data)[0]["Name"] == "RopBufferTooSmall"
    assert handles[1] == NONE
    assert len(client.server.server.contexts[client.cookies["MapiContext"]].session.objects) == before


def test_packed_uploads(client: Client, logon: Any) -> None:
    """Further payloads of a request carry more data of its last ROP [MS-OXCRPC] 3.1.4.2.1.2.1."""
    message = client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])
    stream = client.call("RopOpenStream", message, PropertyTag=BODY, OpenModeFlags=2)["Handle"]
    parts = [bytes([number]) * 30_000 for number in range(4)]
    payloads = [
        rop_buffer(client.request_bytes("RopWriteStreamExtended", InputHandleIndex=0, Data=part), [stream])
        for part in parts
    ]
    (payload,) = client.payloads(client.raw(buffers.pack(payloads)))
    (answer,) = client.responses(payload[2 : struct.unpack_from("<H", payload)[0]])
    assert answer["WrittenSize"] == 120_000
    assert client.read_stream(message, BODY) == b"".join(parts)
    other = rop_buffer(client.request_bytes("RopCommitStream", InputHandleIndex=0), [stream])
    assert client.raw(buffers.pack([payloads[0], other]))["ErrorCode"] == RPC_FORMAT


def test_bad_buffers_change_nothing(client: Client, logon: Any) -> None:
    """A buffer whose second ROP cannot be read: the first one was not done either, the session goes on."""
    root = client.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])
    create = client.request_bytes(
        "RopCreateFolder", InputHandleIndex=0, OutputHandleIndex=1, FolderType=1, UseUnicodeStrings=True,
        OpenExisting=False, DisplayName="never", Comment="",
    )  # fmt: skip
    for rest in (b"\x02", b"\x28", b"\xfb\0\0", b"\x0a\0\0\xff\xff\x01\0", b"\0"):
        answer = client.raw(buffers.pack([rop_buffer(create + rest, [root, NONE])]))
        assert answer["ErrorCode"] == RPC_FORMAT
    table = client.table("RopGetHierarchyTable", root, 0x3001001F)
    assert ["never"] not in client.rows(table)
    for buffer in (b"", b"\0", bytes(8), b"\0\0\4\0\2\0\2\0\0\0", b"\0\0\4\0\xff\xff\2\0\2\0", b"\0\0\0\0\2\0\2\0\2\0"):
        assert client.raw(buffer)["ErrorCode"] == RPC_FORMAT
    assert client.raw(buffers.pack([rop_buffer(b"", [])]), max_out=8)["ErrorCode"] == RPC_FORMAT
    assert client.raw(buffers.pack([rop_buffer(b"", [])]))["ErrorCode"] == 0


@pytest.mark.parametrize(("flags", "smaller"), [(3, False), (2, True), (0, True), (1, False)])
def test_answers_are_compressed_where_the_client_wants_it(
    client: Client, logon: Any, flags: int, smaller: bool
) -> None:
    message = client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])
    client.set(message, (0x1000001F, "all work and no play " * 200))
    client.save(message)
    request = client.request_bytes("RopGetPropertiesAll", InputHandleIndex=0, PropertySizeLimit=0, WantUnicode=True)
    answer = client.raw(buffers.pack([rop_buffer(request, [message])]), flags)
    raw = answer["RopBuffer"]
    (part,) = buffers.chain(ByteSource("RopBuffer", raw), 0, len(raw), "payload").parts
    assert (len(raw) < len(part.plain.data)) is smaller
    (told,) = client.responses(part.plain.data[2:-4])
    assert told["ReturnValue"] == 0
    small = client.raw(buffers.pack([rop_buffer(client.request_bytes("RopGetStoreState", InputHandleIndex=0),
                                                [logon["Handle"]])]), flags)["RopBuffer"]  # fmt: skip
    assert small[2] == 4, "too small to be compressed"


def test_streams_are_not_compressed(client: Client, logon: Any) -> None:
    message = client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])
    client.write_stream(message, 0x10130102, bytes(10_000))
    stream = client.call("RopOpenStream", message, PropertyTag=0x10130102, OpenModeFlags=0)["Handle"]
    request = client.request_bytes("RopReadStream", InputHandleIndex=0, ByteCount=10_000)
    request += client.request_bytes("RopRelease", InputHandleIndex=0)
    raw = client.raw(buffers.pack([rop_buffer(request, [stream])]), 0)["RopBuffer"]
    assert len(raw) > 10_000


def test_what_does_not_fit_any_more_is_not_begun(client: Client, logon: Any) -> None:
    """A save behind an answer that fills the buffer is done now or when it is sent again, but once."""
    inbox = logon["FolderIds"]["Inbox"]
    folder = client.open_folder(logon["Handle"], inbox)
    for saved, size in enumerate(range(490, 545), 1):
        message = client.create_message(logon["Handle"], inbox)
        client.set(message, (0x0037001F, "s"), (0x66000102, bytes(size)))
        request = client.request_bytes(
            "RopGetPropertiesSpecific", InputHandleIndex=0, PropertySizeLimit=0, WantUnicode=True,
            PropertyTags=[0x66000102],
        )  # fmt: skip
        save = client.request_bytes("RopSaveChangesMessage", InputHandleIndex=0, ResponseHandleIndex=0, SaveFlags=2)
        ((data, _),) = client.execute(request + save, [message], max_out=560)
        names = [one["Name"] for one in client.responses(data, property_tags=(0x66000102,))]
        assert names[0] in ("RopGetPropertiesSpecific", "RopBufferTooSmall")
        if names[-1] == "RopBufferTooSmall":
            assert isinstance(client.get(message, 0x674A0014)[0], Error), "not saved yet"
            client.save(message)
        assert client.get(message, 0x0037001F) == ["s"]
        client.call("RopRelease", message)
        assert client.call("RopGetContentsTable", folder, TableFlags=0)["RowCount"] == saved


def test_rops_that_are_not_done_are_named(client: Client, logon: Any) -> None:
    names = {definition.name for definition in unanswered()}
    reserved = {
        "RopSynchronizationOpenAdvisor", "RopOpenPublicFolderByName", "RopSetSynchronizationNotificationGuid"
    }  # fmt: skip
    assert names == reserved
    client.call("RopSynchronizationOpenAdvisor", logon["Handle"], expect=0x80040FFF)
    for definition in unanswered():
        assert definition.rop_id not in HANDLERS


# Any bytes: the server answers as the protocol says, and never with a traceback.


def seeds(client: Client, logon: Any) -> list[bytes]:
    """Request ROPs of all kinds, as bytes."""
    ids = logon["FolderIds"]
    return [
        client.request_bytes("RopOpenFolder", InputHandleIndex=0, OutputHandleIndex=1, FolderId=ids["Inbox"],
                             OpenModeFlags=0),
        client.request_bytes("RopCreateFolder", InputHandleIndex=1, OutputHandleIndex=2, FolderType=1,
                             UseUnicodeStrings=True, OpenExisting=True, DisplayName="fuzz", Comment="c"),
        client.request_bytes("RopCreateMessage", InputHandleIndex=0, OutputHandleIndex=3, CodePageId=0x0FFF,
                             FolderId=ids["Inbox"], AssociatedFlag=False),
        client.request_bytes("RopSetProperties", InputHandleIndex=3, PropertyValues=[
            {"PropertyTag": 0x0037001F, "PropertyValue": "RE: fuzz"},
            {"PropertyTag": 0x66000102, "PropertyValue": b"abc"},
            {"PropertyTag": 0x6601101F, "PropertyValue": ["a", "b"]},
            {"PropertyTag": 0x66020048, "PropertyValue": uuid.UUID(int=1)},
            {"PropertyTag": 0x6603001E, "PropertyValue": "x"}, {"PropertyTag": 0x0E070003, "PropertyValue": 1}]),
        client.request_bytes("RopModifyRecipients", InputHandleIndex=3, RecipientColumns=[0x39FE001F], RecipientRows=[
            {"RowId": 0, "RecipientType": 1, "RecipientRow": {
                "RecipientFlags": 0x218, "EmailAddress": "a@b", "DisplayName": "a", "RecipientColumnCount": 1,
                "RecipientProperties": {"Flag": 0, "ValueArray": ["a@b"]}}}]),
        client.request_bytes("RopCreateAttachment", InputHandleIndex=3, OutputHandleIndex=4),
        client.request_bytes("RopOpenStream", InputHandleIndex=4, OutputHandleIndex=5, PropertyTag=0x37010102,
                             OpenModeFlags=2),
        client.request_bytes("RopWriteStream", InputHandleIndex=5, Data=b"stream data"),
        client.request_bytes("RopSeekStream", InputHandleIndex=5, Origin=0, Offset=3),
        client.request_bytes("RopReadStream", InputHandleIndex=5, ByteCount=100),
        client.request_bytes("RopSaveChangesAttachment", InputHandleIndex=4, ResponseHandleIndex=4, SaveFlags=0),
        client.request_bytes("RopSaveChangesMessage", InputHandleIndex=3, ResponseHandleIndex=3, SaveFlags=2),
        client.request_bytes("RopGetPropertiesAll", InputHandleIndex=3, PropertySizeLimit=0, WantUnicode=True),
        client.request_bytes("RopGetPropertiesSpecific", InputHandleIndex=3, PropertySizeLimit=0, WantUnicode=False,
                             PropertyTags=[0x00370000, 0x0FFF0102, 0x0E070003, 0x6601301F]),
        client.request_bytes("RopGetContentsTable", InputHandleIndex=1, OutputHandleIndex=6, TableFlags=0),
        client.request_bytes("RopSetColumns", InputHandleIndex=6, SetColumnsFlags=0,
                             PropertyTags=[0x0037001F, 0x674A0014, 0x6601301F]),
        client.request_bytes("RopRestrict", InputHandleIndex=6, RestrictFlags=0, RestrictionData={
            "RestrictType": 0, "Restricts": [
                {"RestrictType": 8, "PropertyTag": 0x0037001F},
                {"RestrictType": 3, "FuzzyLevelLow": 1, "FuzzyLevelHigh": 1, "PropertyTag": 0x0037001F,
                 "TaggedValue": {"PropertyTag": 0x0037001F, "PropertyValue": "f"}}]}),
        client.request_bytes("RopSortTable", InputHandleIndex=6, SortTableFlags=0, CategoryCount=0, ExpandedCount=0,
                             SortOrders=[{"PropertyTag": 0x0037001F, "Order": 0}]),
        client.request_bytes("RopQueryRows", InputHandleIndex=6, QueryRowsFlags=0, ForwardRead=True, RowCount=10),
        client.request_bytes("RopGetHierarchyTable", InputHandleIndex=0, OutputHandleIndex=7, TableFlags=4),
        client.request_bytes("RopGetPropertyIdsFromNames", InputHandleIndex=0, Flags=2, PropertyNames=[
            {"Kind": 1, "GUID": uuid.UUID(int=7), "Name": "n"}, {"Kind": 0, "GUID": uuid.UUID(int=7), "LID": 1}]),
        client.request_bytes("RopGetReceiveFolder", InputHandleIndex=0, MessageClass="IPM"),
        client.request_bytes("RopLongTermIdFromId", InputHandleIndex=0, ObjectId=ids["Inbox"]),
        client.request_bytes("RopRegisterNotification", InputHandleIndex=0, OutputHandleIndex=8, NotificationTypes=0x7E,
                             WantWholeStore=True),
        client.request_bytes("RopReloadCachedInformation", InputHandleIndex=3, Reserved=0),
        client.request_bytes("RopCopyTo", SourceHandleIndex=3, DestHandleIndex=3, WantAsynchronous=False,
                             WantSubObjects=True, CopyFlags=0, ExcludedTags=[0x0037001F]),
        client.request_bytes("RopDeleteMessages", InputHandleIndex=1, WantAsynchronous=False, NotifyNonRead=False,
                             MessageIds=[(1, 5), (1, 60)]),
        client.request_bytes("RopModifyRules", InputHandleIndex=1, ModifyRulesFlags=1, RulesData=[
            {"RuleDataFlags": 1, "PropertyValues": [{"PropertyTag": 0x6682001F, "PropertyValue": "rule"}]}]),
        client.request_bytes("RopSortTable", InputHandleIndex=6, SortTableFlags=0, CategoryCount=1, ExpandedCount=1,
                             SortOrders=[{"PropertyTag": 0x0037001F, "Order": 0},
                                         {"PropertyTag": 0x0E060040, "Order": 4},
                                         {"PropertyTag": 0x0E070003, "Order": 1}]),
        client.request_bytes("RopQueryRows", InputHandleIndex=6, QueryRowsFlags=0, ForwardRead=True, RowCount=10),
        client.request_bytes("RopCollapseRow", InputHandleIndex=6, CategoryId=(2, 1)),
        client.request_bytes("RopExpandRow", InputHandleIndex=6, MaxRowCount=5, CategoryId=(2, 1)),
        client.request_bytes("RopGetCollapseState", InputHandleIndex=6, RowId=(2, 1), RowInstanceNumber=0),
        client.request_bytes("RopSetCollapseState", InputHandleIndex=6, CollapseState=b'{"row": [1, 0], "open": []}'),
        client.request_bytes("RopLockRegionStream", InputHandleIndex=5, RegionOffset=0, RegionSize=9, LockFlags=0),
        client.request_bytes("RopUnlockRegionStream", InputHandleIndex=5, RegionOffset=0, RegionSize=9, LockFlags=0),
        client.request_bytes("RopEmptyFolder", InputHandleIndex=1, WantAsynchronous=True, WantDeleteAssociated=True),
        client.request_bytes("RopProgress", InputHandleIndex=1, WantCancel=False),
        client.request_bytes("RopSynchronizationConfigure", InputHandleIndex=1, OutputHandleIndex=9,
                             SynchronizationType=1, SendOptions=1, SynchronizationFlags=0x8039, RestrictionData=None,
                             SynchronizationExtraFlags=7, PropertyTags=[0x10130102]),
        client.request_bytes("RopSynchronizationUploadStateStreamBegin", InputHandleIndex=9, StateProperty=0x67960102,
                             TransferBufferSize=32),
        client.request_bytes("RopSynchronizationUploadStateStreamContinue", InputHandleIndex=9,
                             StreamData=uuid.UUID(int=3).bytes_le + b"\x06\0\0\0\0\0\x05\x52" + bytes(8)),
        client.request_bytes("RopSynchronizationUploadStateStreamEnd", InputHandleIndex=9),
        client.request_bytes("RopFastTransferSourceGetBuffer", InputHandleIndex=9, BufferSize=0x4000),
        client.request_bytes("RopSynchronizationOpenCollector", InputHandleIndex=1, OutputHandleIndex=10,
                             IsContentsCollector=True),
        client.request_bytes("RopSynchronizationImportMessageChange", InputHandleIndex=10, OutputHandleIndex=11,
                             ImportFlag=0, PropertyValues=[
                                 {"PropertyTag": 0x65E00102, "PropertyValue": bytes(15) + b"\1" + bytes(5) + b"\1"},
                                 {"PropertyTag": 0x30080040, "PropertyValue": 133_000_000_000_000_000},
                                 {"PropertyTag": 0x65E20102, "PropertyValue": bytes(15) + b"\1" + bytes(5) + b"\1"},
                                 {"PropertyTag": 0x65E30102,
                                  "PropertyValue": b"\x16" + bytes(15) + b"\1" + bytes(5) + b"\1"}]),
        client.request_bytes("RopSaveChangesMessage", InputHandleIndex=11, ResponseHandleIndex=11, SaveFlags=2),
        client.request_bytes("RopSynchronizationGetTransferState", InputHandleIndex=10, OutputHandleIndex=12),
        client.request_bytes("RopFastTransferSourceGetBuffer", InputHandleIndex=12, BufferSize=0xBABE,
                             MaximumBufferSize=0x4000),
        client.request_bytes("RopFastTransferSourceCopyTo", InputHandleIndex=3, OutputHandleIndex=13, Level=0,
                             CopyFlags=0, SendOptions=1, PropertyTags=[]),
    ]  # fmt: skip


def mutated(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        kind = rng.randrange(5)
        at = rng.randrange(len(out)) if out else 0
        if kind == 0 and out:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            out[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif kind == 3:
            del out[at : at + rng.randrange(1, 9)]
        elif len(out) > 4:
            out[at : at + 2] = rng.choice((b"\xff\xff", b"\0\0", b"\0\x80"))
    return bytes(out)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_rops(server: RunningServer, caplog: pytest.LogCaptureFixture, seed: int) -> None:
    rng = random.Random(seed)
    caplog.set_level(logging.WARNING, "replay.server")
    with Client(server) as client:
        client.connect()
        logon = client.logon()
        base = seeds(client, logon)
        good = base[:]
        for number in range(120):
            if number % 40 == 0:
                client.connect()
                logon = client.logon()
            chosen = good[:]
            for index in rng.sample(range(len(good)), rng.choice((1, 1, 2))):
                chosen[index] = mutated(rng, good[index])
            if rng.random() < 0.3:
                rng.shuffle(chosen)
            handles = [logon["Handle"], *([NONE] * 13)]
            buffer = buffers.pack([rop_buffer(b"".join(chosen), handles)])
            answer = client.raw(buffer, flags=rng.choice((3, 7)), max_out=rng.choice((0x10008, 0x40000, 3000, 500)))
            if answer["ErrorCode"] == 0:
                for payload in client.payloads(answer):
                    size = struct.unpack_from("<H", payload)[0]
                    assert payload[2] in ROPS or size == 2
            else:
                assert answer["ErrorCode"] in (RPC_FORMAT, BUFFER_TOO_SMALL)
    assert not caplog.records, caplog.text
    assert not server.store.run("PRAGMA foreign_key_check").fetchall()
    assert server.store.one("PRAGMA integrity_check") == ("ok",)


def test_mutated_single_rops(server: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    """One ROP at a time, so that each of them is reached whatever the others do."""
    rng = random.Random(99)
    caplog.set_level(logging.WARNING, "replay.server")
    with Client(server) as client:
        client.connect()
        logon = client.logon()
        base = seeds(client, logon)
        opened = client.execute(b"".join(base), [logon["Handle"], *([NONE] * 13)])[0][1]
        for _ in range(30):
            for one in base:
                client.raw(buffers.pack([rop_buffer(mutated(rng, one), opened)]))
    assert not caplog.records, caplog.text


def test_mutated_bodies(server: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    rng = random.Random(7)
    caplog.set_level(logging.WARNING, "replay.server")
    with Client(server) as client:
        client.connect()
        logon = client.logon()
        payload = rop_buffer(b"".join(seeds(client, logon)[:4]), [logon["Handle"], *[NONE] * 13])
        buffer = buffers.pack([payload], compress=True, xor=True)
        body = build(
            MAILBOX["Execute"].request,
            {"Flags": 3, "MaxRopOut": 0x10008, "AuxiliaryBuffer": b"", "RopBuffer": buffer},
        )
        for _ in range(250):
            response = client.post("Execute", mutated(rng, body))
            assert response.status_code == 200
            assert response.headers["x-responsecode"] in ("0", "12")
            assert b"Traceback" not in response.content
    assert not caplog.records, caplog.text
