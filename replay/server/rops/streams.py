"""Stream ROPs [MS-OXCPRPT] 3.2.5.11 to 3.2.5.24."""

from __future__ import annotations

from dissector.grammar.rops import oxcprpt as grammar
from replay.server.call import Call, Fields, TooSmallError
from replay.server.errors import (
    ACCESS_DENIED,
    DESTINATION_NULL_OBJECT,
    INVALID_PARAMETER,
    NOT_FOUND,
    NOT_SUPPORTED,
    STREAM_ACCESS_DENIED,
    STREAM_INVALID_PARAMETER,
    STREAM_LOCK_VIOLATION,
    STREAM_SEEK_ERROR,
    TOO_BIG,
    RopError,
)  # fmt: skip
from replay.server.session import (
    AttachmentObject,
    FolderObject,
    Logon,
    MessageObject,
    PropertyObject,
    Region,
    StreamData,
    StreamObject,
    stream_bytes,
)  # fmt: skip
from replay.server.values import BINARY, OBJECT, STRING, STRING8

READ_ONLY, READ_WRITE, CREATE, BEST_ACCESS = range(4)
BEGINNING, CURRENT, END = range(3)

OTHERS_READ = 0x01
"""LockFlags."""

AS_MAXIMUM = 0xBABE
MAX_SIZE = 256 * 1024 * 1024
"""Bytes a stream may have: it is held in memory. [MS-OXCPRPT] 3.2.5.18 allows 2^31."""

SEEK_LIMIT = 0x7FFFFFFF
OVERHEAD = 8
"""Bytes of a RopReadStream response beside the data."""


def open_stream(call: Call) -> Fields:
    thing, tag, mode = call.get(PropertyObject), call.request["PropertyTag"], call.request["OpenModeFlags"]
    kind = tag & 0xFFFF
    if kind not in (BINARY, STRING, STRING8, OBJECT):
        raise RopError(NOT_SUPPORTED)
    if isinstance(thing, Logon) or (isinstance(thing, FolderObject) and kind != BINARY):
        raise RopError(NOT_SUPPORTED)
    if mode > BEST_ACCESS:
        raise RopError(INVALID_PARAMETER)
    if isinstance(thing, AttachmentObject) and kind == OBJECT and thing.attachment.open_embedded(call.store):
        raise RopError(NOT_SUPPORTED)
    writable = not isinstance(thing, MessageObject | AttachmentObject) or thing.writable
    writable = writable and not thing.is_read_only(tag >> 16)
    if mode in (READ_WRITE, CREATE) and not writable:
        raise RopError(ACCESS_DENIED)
    wanted = tag & ~0xFFFF | BINARY if kind == OBJECT else tag
    found = thing.view().typed(wanted)
    if found is None and mode != CREATE:
        raise RopError(NOT_FOUND)
    data = b"" if found is None or mode == CREATE else stream_bytes(kind, found[1], thing.codec)
    opened = StreamData(thing, wanted, data, writable and mode != READ_ONLY)
    opened.dirty = mode == CREATE
    thing.streams.append(opened)
    call.open(StreamObject(opened))
    return {"StreamSize": len(data)}


def _in_the_way(stream: StreamObject, start: int, end: int, writing: bool) -> bool:
    """Whether somebody else has locked some of these bytes."""
    session = stream.logon.session
    return any(
        one.stream.owner.logon.session is not session
        and one.start < end and start < one.end
        and (writing or not one.readable)
        for one in stream.data.regions
    )  # fmt: skip


def _unlocked(stream: StreamObject, start: int, end: int, writing: bool = True) -> None:
    if stream.data.regions and _in_the_way(stream, start, end, writing):
        raise RopError(STREAM_LOCK_VIOLATION)


def _region(call: Call) -> tuple[StreamObject, Region]:
    stream, request = call.get(StreamObject), call.request
    start, flags = request["RegionOffset"], request["LockFlags"]
    if flags not in (0, OTHERS_READ):
        raise RopError(STREAM_INVALID_PARAMETER)
    return stream, Region(stream.data, start, start + request["RegionSize"], bool(flags))


def lock_region_stream(call: Call) -> Fields:
    """Others may not write in the region, and read it only with a shared lock; locks of one session do not collide."""
    stream, region = _region(call)
    if _in_the_way(stream, region.start, region.end, writing=True):
        raise RopError(ACCESS_DENIED)
    stream.data.regions.append(region)
    return {}


def unlock_region_stream(call: Call) -> Fields:
    """The session's own locks within the region are gone, those of others stay."""
    stream, region = _region(call)
    session, held = stream.logon.session, stream.data.regions
    held[:] = [
        one for one in held
        if one.stream.owner.logon.session is not session or one.start < region.start or one.end > region.end
    ]  # fmt: skip
    return {}


def _taken(stream: StreamObject, size: int) -> bytes:
    _unlocked(stream, stream.position, stream.position + size, writing=False)
    chunk = bytes(stream.data.data[stream.position : stream.position + size])
    stream.position += len(chunk)
    return chunk


def read_stream(call: Call) -> Fields:
    stream = call.get(StreamObject)
    left = call.request["ByteCount"]
    packed = left == AS_MAXIMUM
    if packed:
        left = call.request["MaximumByteCount"]
    if call.room <= OVERHEAD and left:
        raise TooSmallError(left + OVERHEAD)
    chunk = _taken(stream, min(left, call.room - OVERHEAD, 0xFFFF))
    left -= len(chunk)
    if not packed:
        return {"Data": chunk}

    def again(room: int) -> Fields | None:
        nonlocal left
        more = _taken(stream, min(left, room - OVERHEAD, 0xFFFF))
        left -= len(more)
        return {"Data": more} if more else None

    call.again = again
    return {"Data": chunk}


def _writable(call: Call) -> StreamObject:
    stream = call.get(StreamObject)
    if not stream.data.writable:
        raise RopError(STREAM_ACCESS_DENIED)
    return stream


def write(stream: StreamObject, data: bytes) -> None:
    """Write at the position; TooBig beyond what a stream holds."""
    end = stream.position + len(data)
    if end > MAX_SIZE:
        raise RopError(TOO_BIG)
    _unlocked(stream, stream.position, end)
    held = stream.data.data
    if stream.position > len(held):
        held.extend(bytes(stream.position - len(held)))
    held[stream.position : end] = data
    stream.position = end
    stream.data.dirty = True


def write_stream(call: Call) -> Fields:
    data = call.request["Data"]
    write(_writable(call), data)
    return {"WrittenSize": len(data)}


def write_and_commit_stream(call: Call) -> Fields:
    fields = write_stream(call)
    call.get(StreamObject).data.commit()
    return fields


def commit_stream(call: Call) -> Fields:
    call.get(StreamObject).data.commit()
    return {}


def get_stream_size(call: Call) -> Fields:
    return {"StreamSize": len(call.get(StreamObject).data.data)}


def resize(stream: StreamObject, size: int) -> None:
    held = stream.data.data
    if size < len(held):
        del held[size:]
    else:
        held.extend(bytes(size - len(held)))
    stream.data.dirty = True


def set_stream_size(call: Call) -> Fields:
    stream, size = _writable(call), call.request["StreamSize"]
    if size > MAX_SIZE:
        raise RopError(TOO_BIG)
    _unlocked(stream, min(size, len(stream.data.data)), max(size, len(stream.data.data)))
    resize(stream, size)
    return {}


def seek_stream(call: Call) -> Fields:
    """Seeking beyond the end of a stream that can be written makes it longer."""
    stream, origin = call.get(StreamObject), call.request["Origin"]
    if origin not in (BEGINNING, CURRENT, END):
        raise RopError(STREAM_INVALID_PARAMETER)
    size = len(stream.data.data)
    position = (0, stream.position, size)[origin] + call.request["Offset"]
    if not 0 <= position <= SEEK_LIMIT:
        raise RopError(STREAM_SEEK_ERROR)
    if position > size and stream.data.writable:
        if position > MAX_SIZE:
            raise RopError(STREAM_SEEK_ERROR)
        resize(stream, position)
    stream.position = position
    return {"NewPosition": position}


def copy_to_stream(call: Call) -> Fields:
    source = call.get(StreamObject)
    try:
        target = call.destination(StreamObject)
    except RopError as error:
        if error.code == DESTINATION_NULL_OBJECT:
            error.fields.update(ReadByteCount=0, WrittenByteCount=0)
        raise
    if not target.data.writable:
        raise RopError(STREAM_ACCESS_DENIED)
    chunk = bytes(source.data.data[source.position : source.position + call.request["ByteCount"]])
    write(target, chunk)
    source.position += len(chunk)
    return {"ReadByteCount": len(chunk), "WrittenByteCount": len(chunk)}


def clone_stream(call: Call) -> Fields:
    stream = call.get(StreamObject)
    stream.data.handles += 1
    call.open(StreamObject(stream.data, stream.position))
    return {}


HANDLERS = (
    (grammar.OPEN_STREAM, open_stream),
    (grammar.READ_STREAM, read_stream),
    (grammar.WRITE_STREAM, write_stream),
    (grammar.WRITE_STREAM_EXTENDED, write_stream),
    (grammar.WRITE_AND_COMMIT_STREAM, write_and_commit_stream),
    (grammar.COMMIT_STREAM, commit_stream),
    (grammar.GET_STREAM_SIZE, get_stream_size),
    (grammar.SET_STREAM_SIZE, set_stream_size),
    (grammar.SEEK_STREAM, seek_stream),
    (grammar.COPY_TO_STREAM, copy_to_stream),
    (grammar.CLONE_STREAM, clone_stream),
    (grammar.LOCK_REGION_STREAM, lock_region_stream),
    (grammar.UNLOCK_REGION_STREAM, unlock_region_stream),
)
