"""Bulk transfer and synchronization ROPs [MS-OXCFXICS] 3.2.5.8, 3.2.5.9."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dissector.grammar.rops import oxcfxics as grammar
from dissector.model.pcl import Xid
from dissector.node import Undecoded
from replay.server import messages, upload
from replay.server.call import Call, Fields, TooSmallError
from replay.server.download import CONTENTS, HIERARCHY, RESERVED, SyncDownload
from replay.server.errors import (
    INVALID_PARAMETER,
    NEWER_CLIENT_CHANGE,
    NOT_SUPPORTED,
    RopError,
)  # fmt: skip
from replay.server.fxreader import TransferTarget
from replay.server.fxwriter import KNOWN_OPTIONS, Piece, Writer
from replay.server.mailbox import pack, unpack
from replay.server.restriction import checked
from replay.server.session import (
    LOGON_CODE_PAGE,
    AttachmentObject,
    FolderObject,
    Logon,
    MessageObject,
    PropertyObject,
    ServerObject,
)  # fmt: skip
from replay.server.syncstate import StateUpload, SyncContext
from replay.server.transfer import DONE, TransferSource
from replay.server.upload import SyncUpload
from replay.server.values import kept

MAX_LOCAL_IDS = 0x10000
AS_MAXIMUM = 0xBABE
OVERHEAD = 15
"""Bytes of a RopFastTransferSourceGetBuffer response beside the data."""

KNOWN_FLAGS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x80 | 0x100 | 0x2000 | 0x4000 | 0x8000
MOVE, BEST_BODY, SEND_ENTRY_ID, COPY_SUBFOLDERS = 0x01, 0x10, 0x20, 0x10


def _options(call: Call) -> int:
    options = int(call.request["SendOptions"])
    if options & ~KNOWN_OPTIONS:
        raise RopError(INVALID_PARAMETER)
    return options


def _writer(call: Call) -> Writer:
    return Writer(call.session, call.mailbox(), _options(call))


# Downloads.


def _source(call: Call, thing: ServerObject, make: Callable[[], Iterator[Piece]]) -> Fields:
    call.open(TransferSource(thing.logon, make))
    return {}


def _content_of(thing: PropertyObject, writer: Writer, wanted: Callable[[int], bool], deep: bool) -> Iterator[Piece]:
    def shown(prop_id: int) -> bool:
        return wanted(prop_id) and (deep or prop_id not in (0x0E12, 0x0E13, 0x360E, 0x360F, 0x3610))

    if isinstance(thing, MessageObject):
        thing.flush()
        return writer.message_content(thing.content, shown, thing.row)
    if isinstance(thing, AttachmentObject):
        thing.flush()
        return writer.attachment_content(thing.attachment, wanted)
    if isinstance(thing, FolderObject):
        return writer.folder_content(thing.folder, shown, deep)
    raise RopError(NOT_SUPPORTED)


def source_copy_to(call: Call) -> Fields:
    thing, writer, request = call.get(MessageObject, AttachmentObject, FolderObject), _writer(call), call.request
    excluded = {tag >> 16 for tag in request["PropertyTags"]}
    deep = not request["Level"]
    return _source(call, thing, lambda: _content_of(thing, writer, lambda prop_id: prop_id not in excluded, deep))


def source_copy_properties(call: Call) -> Fields:
    thing, writer, request = call.get(MessageObject, AttachmentObject, FolderObject), _writer(call), call.request
    included = {tag >> 16 for tag in request["PropertyTags"]}
    deep = not request["Level"]
    return _source(call, thing, lambda: _content_of(thing, writer, included.__contains__, deep))


def source_copy_messages(call: Call) -> Fields:
    folder, writer = call.folder(), _writer(call)
    found = [messages.find(folder.logon.mailbox, pack(one)) for one in call.request["MessageIds"]]
    rows = [row for row in found if row is not None and row.folder == folder.id]
    return _source(call, folder, lambda: writer.message_list(_still_there(folder, rows), with_id=True))


def _still_there(folder: FolderObject, rows: list[messages.Message]) -> Iterator[messages.Message]:
    for row in rows:
        now = messages.find(folder.logon.mailbox, row.id)
        if now is not None and now.folder == folder.id:
            yield now


def source_copy_folder(call: Call) -> Fields:
    folder, writer = call.folder(), _writer(call)
    deep = bool(call.request["CopyFlags"] & (COPY_SUBFOLDERS | MOVE))
    return _source(call, folder, lambda: writer.top_folder(folder.folder, deep))


def source_get_buffer(call: Call) -> Fields:
    source, request = call.get(TransferSource), call.request
    packed = request["BufferSize"] == AS_MAXIMUM
    limit = request["MaximumBufferSize"] if packed else request["BufferSize"]
    if call.room <= OVERHEAD + 64:
        raise TooSmallError(OVERHEAD + min(limit, 0x7F00))

    def get(room: int) -> Fields:
        data, status = source.take(min(limit, room - OVERHEAD, 0xFFFF))
        return {
            "TransferStatus": status, "InProgressCount": min(source.steps_done, 0xFFFF),
            "TotalStepCount": min(max(source.steps, 1), 0xFFFF), "TransferBuffer": data,
        }  # fmt: skip

    def again(room: int) -> Fields | None:
        return None if source.done or source.failed else get(room)

    answer = get(call.room)
    if packed and answer["TransferStatus"] != DONE:
        call.again = again
    return answer


# Uploads of streams.


def destination_configure(call: Call) -> Fields:
    thing = call.get(MessageObject, AttachmentObject, FolderObject)
    if call.request["CopyFlags"] & ~MOVE:
        raise RopError(INVALID_PARAMETER)
    call.open(TransferTarget(thing, call.request["SourceOperation"]))
    return {}


def destination_put_buffer(call: Call) -> Fields:
    target, data = call.get(TransferTarget), call.request["TransferData"]
    target.put(bytes(data))
    return {
        "TransferStatus": 1, "InProgressCount": 0, "TotalStepCount": 1, "BufferUsedSize": len(data) & 0xFFFF,
    }  # fmt: skip


# Synchronization contexts.


def synchronization_configure(call: Call) -> Fields:
    folder, request = call.folder(), call.request
    kind, flags = request["SynchronizationType"], request["SynchronizationFlags"]
    if kind not in (CONTENTS, HIERARCHY) or flags & RESERVED or flags & ~KNOWN_FLAGS:
        raise RopError(INVALID_PARAMETER)
    restriction = checked(request["RestrictionData"])
    extra, tags = request["SynchronizationExtraFlags"], list(request["PropertyTags"])
    call.open(SyncDownload(folder, _writer(call), kind, flags, extra, restriction, tags))
    return {}


def open_collector(call: Call) -> Fields:
    call.open(SyncUpload(call.folder(), bool(call.request["IsContentsCollector"])))
    return {}


def _state(call: Call) -> StateUpload:
    """The state of a context; that of a download only before its stream has begun."""
    context = call.get(SyncContext)
    if isinstance(context, SyncDownload) and context.begun:
        raise RopError(NOT_SUPPORTED)
    return context.upload


def upload_state_stream_begin(call: Call) -> Fields:
    _state(call).begin(call.request["StateProperty"], call.request["TransferBufferSize"])
    return {}


def upload_state_stream_continue(call: Call) -> Fields:
    _state(call).go_on(call.request["StreamData"])
    return {}


def upload_state_stream_end(call: Call) -> Fields:
    _state(call).end()
    return {}


def get_transfer_state(call: Call) -> Fields:
    """A stream of the state as it is now; what happens to the context later does not change it."""
    context = call.get(SyncContext)
    writer = Writer(call.session, context.logon.mailbox, 1)
    pieces = list(context.state.pieces(writer, context))
    return _source(call, context, lambda: iter(pieces))


# Imports.


def _collector(call: Call, contents: bool) -> SyncUpload:
    collector = call.get(SyncUpload)
    if collector.contents is not contents:
        raise RopError(NOT_SUPPORTED)
    _ = collector.folder.folder
    return collector


def _pairs(call: Call, field: str) -> list[tuple[int, int, Any]]:
    found = []
    for one in call.request[field]:
        kind, value = kept(one["PropertyTag"], one["PropertyValue"], call.session.codec)
        found.append((one["PropertyTag"] >> 16, kind, value))
    return found


def _key(value: Any) -> bytes:
    """The bytes of an XID, however it was read."""
    if isinstance(value, Undecoded):
        raise RopError(INVALID_PARAMETER)
    return bytes(value) if isinstance(value, bytes) else Xid(*value).to_bytes()


def import_message_change(call: Call) -> Fields:
    collector = _collector(call, True)
    flags = call.request["ImportFlag"]
    call.open(upload.import_message(collector, flags, _pairs(call, "PropertyValues"), LOGON_CODE_PAGE))
    return {"MessageId": unpack(0)}


def import_hierarchy_change(call: Call) -> Fields:
    upload.import_folder(_collector(call, False), _pairs(call, "HierarchyValues"), _pairs(call, "PropertyValues"))
    return {"FolderId": unpack(0)}


def import_deletes(call: Call) -> Fields:
    collector, values = call.get(SyncUpload), call.request["PropertyValues"]
    if len(values) != 1 or values[0]["PropertyTag"] & 0xFFFF != 0x1102:
        raise RopError(INVALID_PARAMETER)
    keys = [_key(one) for one in values[0]["PropertyValue"]]
    upload.import_deletes(collector, call.request["ImportDeleteFlags"], keys)
    return {}


def import_read_state_changes(call: Call) -> Fields:
    collector, states = _collector(call, True), call.request["MessageReadStates"]
    if isinstance(states, Undecoded):
        raise RopError(INVALID_PARAMETER)
    upload.import_read_states(collector, [(_key(one["MessageId"]), bool(one["MarkAsRead"])) for one in states])
    return {}


def import_message_move(call: Call) -> Fields:
    collector, request = _collector(call, True), call.request
    predecessors = request["PredecessorChangeList"]
    if isinstance(predecessors, Undecoded):
        raise RopError(INVALID_PARAMETER)
    raw = b"".join(bytes((len(key),)) + key for key in map(_key, predecessors))
    newer = upload.import_message_move(
        collector, _key(request["SourceFolderId"]), _key(request["SourceMessageId"]), raw,
        _key(request["DestinationMessageId"]), _key(request["ChangeNumber"]),
    )  # fmt: skip
    if newer:
        call.code = NEWER_CLIENT_CHANGE
    return {"MessageId": unpack(0)}


def get_local_replica_ids(call: Call) -> Fields:
    """Ids that the client may give to what it makes; nobody else gets them."""
    count = call.request["IdCount"]
    if not 0 < count <= MAX_LOCAL_IDS:
        raise RopError(INVALID_PARAMETER)
    mailbox = call.get(Logon).mailbox
    return {"ReplGuid": mailbox.replica, "GlobalCount": mailbox.reserve(count)}


def set_local_replica_midset_deleted(call: Call) -> Fields:
    folder = call.folder()
    ranges = [(one["MinLongTermId"], one["MaxLongTermId"]) for one in call.request["LongTermIdRanges"]]
    if not ranges:
        raise RopError(INVALID_PARAMETER)
    upload.forget(folder.logon.mailbox, folder.id, ranges)
    return {}


def tell_version(call: Call) -> Fields:
    call.get(ServerObject)
    return {}


HANDLERS = (
    (grammar.SOURCE_COPY_TO, source_copy_to),
    (grammar.SOURCE_COPY_PROPERTIES, source_copy_properties),
    (grammar.SOURCE_COPY_MESSAGES, source_copy_messages),
    (grammar.SOURCE_COPY_FOLDER, source_copy_folder),
    (grammar.SOURCE_GET_BUFFER, source_get_buffer),
    (grammar.DESTINATION_CONFIGURE, destination_configure),
    (grammar.DESTINATION_PUT_BUFFER, destination_put_buffer),
    (grammar.DESTINATION_PUT_BUFFER_EXTENDED, destination_put_buffer),
    (grammar.TELL_VERSION, tell_version),
    (grammar.SYNCHRONIZATION_CONFIGURE, synchronization_configure),
    (grammar.OPEN_COLLECTOR, open_collector),
    (grammar.UPLOAD_STATE_STREAM_BEGIN, upload_state_stream_begin),
    (grammar.UPLOAD_STATE_STREAM_CONTINUE, upload_state_stream_continue),
    (grammar.UPLOAD_STATE_STREAM_END, upload_state_stream_end),
    (grammar.GET_TRANSFER_STATE, get_transfer_state),
    (grammar.IMPORT_MESSAGE_CHANGE, import_message_change),
    (grammar.IMPORT_HIERARCHY_CHANGE, import_hierarchy_change),
    (grammar.IMPORT_DELETES, import_deletes),
    (grammar.IMPORT_READ_STATE_CHANGES, import_read_state_changes),
    (grammar.IMPORT_MESSAGE_MOVE, import_message_move),
    (grammar.GET_LOCAL_REPLICA_IDS, get_local_replica_ids),
    (grammar.SET_LOCAL_REPLICA_MIDSET_DELETED, set_local_replica_midset_deleted),
)
