"""Streams: reading, writing, seeking, sizes, clones, copies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from replay.server import RunningServer
from replay.server.rops import streams
from tests.replay.server.client import CHAIN, Client, Error

NOT_FOUND, NOT_SUPPORTED, TOO_BIG, INVALID = 0x8004010F, 0x80040102, 0x80040305, 0x80070057
SEEK_ERROR, STREAM_ACCESS_DENIED, STREAM_INVALID = 0x80030019, 0x80030005, 0x80030057
BODY = 0x10130102


@pytest.fixture(name="message")
def message_fixture(client: Client, logon: Any) -> int:
    return client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])


def opened(client: Client, thing: int, mode: int = 2, tag: int = BODY, expect: int = 0) -> Any:
    return client.call("RopOpenStream", thing, PropertyTag=tag, OpenModeFlags=mode, expect=expect)["Handle"]


def read(client: Client, stream: int, size: int) -> bytes:
    return bytes(client.call("RopReadStream", stream, ByteCount=size)["Data"])


def test_reading_and_writing(client: Client, message: int) -> None:
    opened(client, message, 0, expect=NOT_FOUND)
    opened(client, message, 1, expect=NOT_FOUND)
    stream = opened(client, message)
    assert client.call("RopWriteStream", stream, Data=b"hello world")["WrittenSize"] == 11
    assert client.get(message, BODY) == [b"hello world"]
    assert client.call("RopSeekStream", stream, Origin=0, Offset=6)["NewPosition"] == 6
    assert read(client, stream, 3) == b"wor"
    assert read(client, stream, 30) == b"ld"
    assert read(client, stream, 30) == b""
    assert client.call("RopSeekStream", stream, Origin=2, Offset=-5)["NewPosition"] == 6
    client.call("RopWriteAndCommitStream", stream, Data=b"there")
    assert client.call("RopSeekStream", stream, Origin=1, Offset=-11)["NewPosition"] == 0
    assert read(client, stream, 30) == b"hello there"
    assert client.call("RopGetStreamSize", stream)["StreamSize"] == 11
    client.call("RopSetStreamSize", stream, StreamSize=5)
    client.call("RopSetStreamSize", stream, StreamSize=7)
    assert client.get(message, BODY) == [b"hello\0\0"]
    client.call("RopWriteStreamExtended", stream, Data=b"!!")
    client.call("RopRelease", stream)
    assert client.get(message, BODY) == [b"hello\0\0\0\0\0\0!!"]
    assert read(client, opened(client, message, 3), 5) == b"hello"
    assert client.get(message, BODY)[0][:5] == b"hello"
    client.call("RopCommitStream", opened(client, message, 2))
    assert client.get(message, BODY) == [b""]


def test_what_is_written_is_only_saved_with_the_message(client: Client, logon: Any, message: int) -> None:
    identifier = client.save(message)
    stream = opened(client, message)
    client.call("RopWriteStream", stream, Data=b"x")
    inbox = logon["FolderIds"]["Inbox"]

    def saved() -> Any:
        return client.get(client.open_message(logon["Handle"], inbox, identifier)["Handle"], BODY)[0]

    client.call("RopCommitStream", stream)
    assert saved() == Error(NOT_FOUND)
    client.save(message)
    assert saved() == b"x"


def test_text_streams(client: Client, message: int) -> None:
    client.set(message, (0x1000001F, "Größe"))
    assert read(client, opened(client, message, 0, 0x1000001F), 100) == "Größe".encode("utf-16-le")
    assert read(client, opened(client, message, 0, 0x1000001E), 100) == "Größe".encode("cp1252")
    stream = opened(client, message, 2, 0x1000001E)
    client.call("RopWriteStream", stream, Data="Maße".encode("cp1252"))
    assert client.get(message, 0x1000001F) == ["Maße"]
    opened(client, message, 0, 0x10000102, expect=NOT_FOUND)


def test_seeking(client: Client, message: int) -> None:
    stream = opened(client, message)
    assert client.call("RopSeekStream", stream, Origin=0, Offset=4)["NewPosition"] == 4
    assert client.call("RopGetStreamSize", stream)["StreamSize"] == 4
    client.call("RopSeekStream", stream, Origin=0, Offset=-1, expect=SEEK_ERROR)
    client.call("RopSeekStream", stream, Origin=0, Offset=2**31, expect=SEEK_ERROR)
    client.call("RopSeekStream", stream, Origin=0, Offset=streams.MAX_SIZE + 1, expect=SEEK_ERROR)
    client.call("RopSeekStream", stream, Origin=3, Offset=0, expect=STREAM_INVALID)
    client.call("RopSetStreamSize", stream, StreamSize=2**63, expect=TOO_BIG)
    reader = opened(client, message, 0)
    assert client.call("RopSeekStream", reader, Origin=0, Offset=100)["NewPosition"] == 100
    assert client.call("RopGetStreamSize", reader)["StreamSize"] == 4
    assert read(client, reader, 10) == b""


def test_read_only_streams(client: Client, message: int) -> None:
    client.set(message, (BODY, b"abc"))
    stream = opened(client, message, 0)
    failed = client.call("RopWriteStream", stream, Data=b"x", expect=STREAM_ACCESS_DENIED)
    assert failed["WrittenSize"] == 0
    client.call("RopSetStreamSize", stream, StreamSize=0, expect=STREAM_ACCESS_DENIED)
    failed = client.call("RopReadStream", message, ByteCount=3, expect=NOT_SUPPORTED)
    assert failed["Data"] == b""


def test_clones_share_their_data(client: Client, message: int) -> None:
    stream = opened(client, message)
    client.call("RopWriteStream", stream, Data=b"0123456789")
    client.call("RopSeekStream", stream, Origin=0, Offset=4)
    clone = client.call("RopCloneStream", stream)["Handle"]
    assert read(client, clone, 2) == b"45"
    client.call("RopWriteStream", clone, Data=b"XX")
    assert read(client, stream, 10) == b"45XX89"
    client.call("RopRelease", stream)
    client.call("RopSeekStream", clone, Origin=0, Offset=0)
    assert read(client, clone, 10) == b"012345XX89"


def test_copy_to_stream(client: Client, message: int) -> None:
    one, two = opened(client, message), opened(client, message, tag=0x66000102)
    client.call("RopWriteStream", one, Data=b"0123456789")
    client.call("RopSeekStream", one, Origin=0, Offset=2)
    answer = client.call("RopCopyToStream", one, two, ByteCount=5)
    assert (answer["ReadByteCount"], answer["WrittenByteCount"]) == (5, 5)
    answer = client.call("RopCopyToStream", one, two, ByteCount=2**40)
    assert answer["ReadByteCount"] == 3
    assert client.get(message, 0x66000102) == [b"23456789"]
    answer = client.call("RopCopyToStream", one, 4711, ByteCount=5, expect=0x503)
    assert (answer["DestHandleIndex"], answer["ReadByteCount"]) == (1, 0)


def test_where_streams_cannot_be(client: Client, logon: Any, inbox: int, message: int) -> None:
    opened(client, logon["Handle"], tag=BODY, expect=NOT_SUPPORTED)
    opened(client, inbox, tag=0x1000001F, expect=NOT_SUPPORTED)
    opened(client, message, tag=0x66000003, expect=NOT_SUPPORTED)
    opened(client, message, 9, expect=INVALID)
    stream = opened(client, inbox, tag=0x66000102)
    client.call("RopWriteStream", stream, Data=b"in a folder")
    client.call("RopCommitStream", stream)
    assert client.get(client.open_folder(logon["Handle"], logon["FolderIds"]["Inbox"]), 0x66000102) == [b"in a folder"]


def test_a_chain_of_payloads(client: Client, message: int) -> None:
    data = os.urandom(150_000)
    client.write_stream(message, BODY, data)
    stream = opened(client, message, 0)
    answer = client.call(
        "RopReadStream", stream, ByteCount=0xBABE, MaximumByteCount=140_000, flags=CHAIN | 3, max_out=0x40000
    )
    assert len(answer["More"]) >= 4
    assert b"".join(bytes(one["Data"]) for one in (answer, *answer["More"])) == data[:140_000]
    rest = client.call("RopReadStream", stream, ByteCount=0xBABE, MaximumByteCount=140_000, flags=3, max_out=0x40000)
    assert rest["More"] == []
    assert bytes(rest["Data"]) == data[140_000:]
    client.call("RopSeekStream", stream, Origin=0, Offset=0)
    little = client.call(
        "RopReadStream", stream, ByteCount=0xBABE, MaximumByteCount=140_000, flags=CHAIN | 3, max_out=0x10008
    )
    got = sum(len(one["Data"]) for one in (little, *little["More"]))
    assert 0x10008 - 9000 <= got <= 0x10008


# Locked regions.

LOCKED, DENIED = 0x80030021, 0x80070005


def lock(client: Client, stream: int, start: int, size: int, flags: int = 0, expect: int = 0, un: str = "") -> None:
    client.call(
        f"Rop{un or 'Lock'}RegionStream", stream, RegionOffset=start, RegionSize=size, LockFlags=flags, expect=expect
    )


@pytest.fixture(name="others")
def others_fixture(server: RunningServer, client: Client, logon: Any) -> Iterator[tuple[int, Client, int]]:
    """A stream over a saved message, and another client with one over the same."""
    message = client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])
    client.write_stream(message, BODY, bytes(range(100)))
    identifier = client.save(message)
    mine = opened(client, message, 1)
    with Client(server) as other:
        other.connect()
        theirs = other.logon()
        same = other.open_message(theirs["Handle"], theirs["FolderIds"]["Inbox"], identifier)["Handle"]
        yield mine, other, opened(other, same, 1)


def test_a_locked_region_keeps_others_out(client: Client, others: tuple[int, Client, int]) -> None:
    mine, other, theirs = others
    lock(client, mine, 10, 10)
    assert read(other, theirs, 10) == bytes(range(10))
    other.call("RopReadStream", theirs, ByteCount=1, expect=LOCKED)
    other.call("RopWriteStream", theirs, Data=b"x", expect=LOCKED)
    other.call("RopSetStreamSize", theirs, StreamSize=15, expect=LOCKED)
    other.call("RopSetStreamSize", theirs, StreamSize=50)
    lock(other, theirs, 19, 5, expect=DENIED)
    lock(other, theirs, 20, 5)
    lock(client, mine, 15, 10, expect=DENIED)
    assert client.call("RopSeekStream", mine, Origin=0, Offset=10)["NewPosition"] == 10
    assert client.call("RopWriteStream", mine, Data=b"mine")["WrittenSize"] == 4
    lock(other, theirs, 0, 100, un="Unlock")
    other.call("RopReadStream", theirs, ByteCount=1, expect=LOCKED)
    lock(client, mine, 10, 5, un="Unlock")
    other.call("RopReadStream", theirs, ByteCount=1, expect=LOCKED)
    lock(client, mine, 10, 10, un="Unlock")
    assert len(read(other, theirs, 5)) == 5


def test_a_shared_lock_lets_others_read(client: Client, others: tuple[int, Client, int]) -> None:
    mine, other, theirs = others
    lock(client, mine, 0, 50, 1)
    assert read(other, theirs, 10) == bytes(range(10))
    other.call("RopWriteStream", theirs, Data=b"x", expect=LOCKED)
    lock(client, mine, 0, 50, 2, expect=STREAM_INVALID)


def test_locks_end_with_their_stream(client: Client, others: tuple[int, Client, int]) -> None:
    mine, other, theirs = others
    clone = client.call("RopCloneStream", mine)["Handle"]
    lock(client, mine, 0, 50)
    client.call("RopRelease", mine)
    other.call("RopReadStream", theirs, ByteCount=1, expect=LOCKED)
    client.call("RopRelease", clone)
    assert read(other, theirs, 1) == b"\0"


def test_locks_of_a_session_that_ends(client: Client, others: tuple[int, Client, int]) -> None:
    mine, other, theirs = others
    lock(client, mine, 0, 50)
    client.disconnect()
    assert read(other, theirs, 1) == b"\0"


def test_an_unsaved_message_is_nobody_elses(client: Client, message: int) -> None:
    stream = opened(client, message)
    lock(client, stream, 0, 50)
    assert client.call("RopWriteStream", stream, Data=b"x")["WrittenSize"] == 1
    client.call("RopLockRegionStream", message, RegionOffset=0, RegionSize=1, LockFlags=0, expect=NOT_SUPPORTED)
