"""Synchronizations as records, made while exchanges go by [MS-OXCFXICS] 3.1.5, 3.2.5, 3.3.5.

A record is opened by RopSynchronizationConfigure (a download) or RopSynchronizationOpenCollector (an upload) and is
handed out when its context is gone, so that a state fetched after the stream still belongs to it. What the stream says
comes item by item and only facts are kept: memory is bounded by the contexts that are open at one time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

from dissector.grammar.outline import Messages
from dissector.grammar.syncstory import Change, Item, Report, Sets, changes_of
from dissector.model.icsstate import SETS, IcsState
from dissector.model.ids import ObjectId
from dissector.model.idset import EMPTY, IdSet
from dissector.model.pcl import PredecessorChangeList, Xid
from dissector.node import brief
from dissector.session.exchange import Exchange, Rop
from dissector.session.objects import Session
from dissector.session.packed import Packed
from dissector.session.replicas import GlobalId, Replicas, global_id
from dissector.session.stream import Stream
from dissector.session.streams import Streams
from dissector.session.syncrecord import Operation, SyncChange, SyncRecord
from dissector.session.tracker import WITH_VALUE

ROOT_KINDS = {"contentsSync": "contents", "hierarchySync": "hierarchy"}
DELETIONS = {
    "MetaTagIdsetDeleted": "deleted",
    "MetaTagIdsetNoLongerInScope": "no longer in scope",
    "MetaTagIdsetExpired": "expired",
}
SOURCE_KEY, PARENT_SOURCE_KEY, CHANGE_KEY, CHANGE_LIST = 0x65E0, 0x65E1, 0x65E2, 0x65E3
MODIFIED, DISPLAY_NAME, SUBJECT, MESSAGE_CLASS = 0x3008, 0x3001, 0x0037, 0x001A
FAI_MESSAGE = 0x10
"""ImportFlag Associated."""
OF_HIERARCHY, HARD_DELETE = 0x01, 0x02
"""ImportDeleteFlags."""
T = TypeVar("T")
NAME_LENGTH = 120
"""Characters of a subject or name that are kept at most."""


class Recorder:
    """Fed with exchanges in order: exchange() and finish() give the records that are done. Also a streams.Watcher.

    streams: the joiner below it. replicas: what REPLIDs stand for, by session and logon. names: folders that the
    capture names, by mailbox and id.
    """

    def __init__(self, streams: Streams | None = None) -> None:
        self.streams = streams if streams is not None else Streams()
        self.streams.watcher = self
        self.replicas: dict[tuple[int, int | None], Replicas] = {}
        self.names: dict[tuple[str, ObjectId | GlobalId], str] = {}
        self.ended: list[Stream] = []
        """The streams that ended with the last exchange, or with the capture."""
        self.count = 0
        self._by_stream: dict[int, SyncRecord] = {}
        self._by_handle: dict[tuple[int, int | None], SyncRecord] = {}
        self._messages: dict[tuple[int, int | None], tuple[SyncRecord, SyncChange]] = {}
        """Imported messages that are not saved yet, by handle."""
        self._done: list[SyncRecord] = []
        self._steps: Mapping[int, Callable[[Exchange, Rop, Any, Any], None]] = {
            0xFE: self._logged_on, 0x43: self._id_mapped, 0x44: self._id_mapped, 0x1C: self._folder_created,
            0x4E: self._fetched, 0x82: self._state_asked, 0x72: self._message_imported,
            0x73: self._folder_imported, 0x78: self._moved, 0x74: self._deleted, 0x80: self._marked_read,
            0x0A: self._properties_set, 0x0C: self._saved, 0x01: self._released,
        }  # fmt: skip

    def exchange(self, exchange: Exchange) -> list[SyncRecord]:
        """The records that ended in this exchange."""
        self.ended = self.streams.exchange(exchange).streams
        done, self._done = self._done, []
        return done

    def finish(self) -> list[SyncRecord]:
        """The records whose contexts are still there when the capture ends."""
        self.ended = self.streams.finish()
        for key in sorted(self._by_handle, key=lambda key: self._by_handle[key].number):
            self.closed(*key)
        done, self._done = self._done, []
        return done

    def replicas_of(self, session: int, logon_id: int | None) -> Replicas:
        found = self.replicas.get((session, logon_id))
        if found is None:
            found = self.replicas[session, logon_id] = Replicas()
        return found

    # -- what the streams tell

    def began(self, exchange: Exchange, rop: Rop, stream: Stream) -> None:
        kind = ROOT_KINDS.get(stream.root or "")
        request = rop.request.value if rop.request is not None else None
        if stream.opened_by == "RopSynchronizationOpenCollector" and request is not None:
            kind = "contents" if request.get("IsContentsCollector") else "hierarchy"
        if stream.direction == "upload" or stream.root == "state" or (kind is None and stream.opened_by):
            return
        record = self._open(exchange, stream, kind or "")
        if rop.name == "RopSynchronizationConfigure" and request is not None:
            record.flags = request.get("SynchronizationFlags")
            record.property_tags = len(request.get("PropertyTags") or ())
            if request.get("RestrictionData") is not None and rop.request is not None:
                record.restriction = _restriction(rop)

    def _open(self, exchange: Exchange, stream: Stream, kind: str) -> SyncRecord:
        session = exchange.session
        assert session is not None
        direction = "upload" if stream.direction == "collector" else "download"
        record = SyncRecord(0, session.number, direction, "", stream)
        if kind:
            self._is(record, direction, kind)
        logon = session.logons.get(stream.logon_id) if stream.logon_id is not None else None
        record.user = session.user_dn or (logon.essdn if logon is not None else "")
        record.mailbox = str(logon.mailbox_guid) if logon is not None and logon.mailbox_guid else record.user
        record.client = session.client.rsplit(":", 1)[0]
        record.folder, record.folder_name = stream.folder, stream.folder_name
        record.exchanges = exchange.number, exchange.number
        record.frames = exchange.frame, exchange.frame
        record.started = record.ended = exchange.time
        key = stream.session, stream.handle
        if key in self._by_handle:
            self.closed(*key)
        self._by_stream[stream.number] = self._by_handle[key] = record
        return record

    def _is(self, record: SyncRecord, direction: str, kind: str) -> None:
        """What a record is; where its opening was not captured, what comes later tells."""
        if not record.kind:
            self.count += 1
            record.number, record.direction, record.kind = self.count, direction, kind

    def item(self, stream: Stream, item: Item) -> None:
        record = self._by_stream.get(stream.number)
        if record is None:
            record = self._by_stream.get(stream.of) if stream.of is not None else None
            if record is not None and isinstance(item, Sets):
                self._state_fetched(record, item)
            return
        if not record.kind:
            kind = ROOT_KINDS.get(stream.account.root or "")
            if kind is None:
                return
            self._is(record, "download", kind)
        if isinstance(item, Change):
            change = _change(stream, item, stream.buffers[-1].frame)
            record.changes.append(change)
            self._learned(record, change)
        elif isinstance(item, Messages):
            self._packed(record, item)
        elif isinstance(item, Sets):
            self._sets(record, item)
        elif isinstance(item, Report):
            if item.kind == "errorInfo":
                record.errors += 1
            elif isinstance(item.value, dict):
                record.announced = {
                    name: value for name, value in item.value.items() if isinstance(value, int) and name != "Version"
                }

    def _learned(self, record: SyncRecord, change: SyncChange) -> None:
        """What a change tells of REPLIDs and names."""
        if change.mid is not None or change.cn is not None:
            replicas = self.replicas_of(record.session, record.stream.logon_id)
            replicas.learn_pair(change.mid, change.source_key, "PidTagMid beside PidTagSourceKey", change.frame)
            replicas.learn_pair(change.cn, change.change_key, "PidTagChangeNumber beside PidTagChangeKey", change.frame)
        if change.kind == "folder" and change.mid is not None and change.name:
            self.names[record.mailbox, change.mid] = change.name

    def _packed(self, record: SyncRecord, messages: Messages) -> None:
        """Messages of which only the header was read, many at a time."""
        stream = record.stream
        frame = stream.buffers[-1].frame
        known = self.replicas_of(record.session, stream.logon_id).known
        if any(number not in known for number in messages.replicas()):
            for item in changes_of(messages):
                self._learned(record, _change(stream, item, frame))
        packed = record.changes.packed
        if packed is None:
            packed = Packed(partial(_unpacked, record, self.replicas_of(record.session, stream.logon_id)))
        record.changes.pack(packed, messages, frame)

    def _sets(self, record: SyncRecord, item: Sets) -> None:
        read = {name: one.idset for name, one in item.sets.items()}
        for name, one in item.sets.items():
            if one.diagnostic is not None:
                record.trouble.append(f"{name} in the stream, offset {one.offset}: {one.diagnostic.message}")
        if item.kind == "state":
            whole = all(one.diagnostic is None for one in item.sets.values())
            record.final, record.final_given = IcsState.of(read) if whole else None, "MetaTagIdsetGiven" in read
        elif item.kind == "deletions":
            for name, word in DELETIONS.items():
                if name in read:
                    record.deletions[word] = record.deletions.get(word, EMPTY) | read[name]
        else:
            record.read |= read.get("MetaTagIdsetRead", EMPTY)
            record.unread |= read.get("MetaTagIdsetUnread", EMPTY)

    def _state_fetched(self, record: SyncRecord, item: Sets) -> None:
        """What RopSynchronizationGetTransferState gave."""
        sets = {name: one.idset for name, one in item.sets.items()}
        for name, one in item.sets.items():
            if one.diagnostic is not None:
                record.trouble.append(f"{name} of the transfer state, offset {one.offset}: {one.diagnostic.message}")
        if record.direction == "upload":
            record.final, record.final_given = IcsState.of(sets), "MetaTagIdsetGiven" in sets
        else:
            record.checkpoint = IcsState.of(sets)

    def closed(self, session: int, handle: int | None) -> None:
        record = self._by_handle.pop((session, handle), None)
        if record is None:
            return
        self._by_stream.pop(record.stream.number, None)
        for key in [key for key, (of, _) in self._messages.items() if of is record]:
            del self._messages[key]
        if record.kind and (record.stream.opened_by or record.changes or record.operations or record.final is not None):
            self._finished(record)
            self._done.append(record)

    def _finished(self, record: SyncRecord) -> None:
        """Fill in what only the whole tells: states, ids under their REPLGUIDs, what is new and what is not."""
        stream, replicas = record.stream, self.replicas_of(record.session, record.stream.logon_id)
        record.options = stream.options
        _initial(record)
        for failure in stream.failures:
            record.codes[failure.rop, failure.code] += 1
        record.folder_id = replicas.resolve(record.folder)
        if not record.folder_name:
            for known in (record.folder, record.folder_id):
                if known is not None and (record.mailbox, known) in self.names:
                    record.folder_name = self.names[record.mailbox, known]
        record.deletions = {name: replicas.renamed(one) for name, one in record.deletions.items()}
        record.read, record.unread = replicas.renamed(record.read), replicas.renamed(record.unread)
        tell = _teller(record, replicas)
        for one in record.changes.single:
            tell(one)
        if record.changes.packed is not None:
            record.changes.packed.tell(replicas, _Counted(record).replicas)
        for operation in record.operations:
            ids = [found for key in operation.keys if (found := global_id(key)) is not None]
            if operation.code:
                continue
            record.foreign_keys += [key for key in operation.keys if global_id(key) is None]
            if operation.kind in ("read", "unread"):
                setattr(record, operation.kind, getattr(record, operation.kind) | IdSet.of(ids))
            else:
                word = "hard deleted" if operation.kind == "hard-delete" else "soft deleted"
                record.deletions[word] = record.deletions.get(word, EMPTY) | IdSet.of(ids)
        last = max(record.frames[1], stream.last_frame)
        record.frames = record.frames[0], last
        record.exchanges = record.exchanges[0], max(record.exchanges[1], stream.last_exchange)

    # -- what ROPs tell

    def rop(self, exchange: Exchange, rop: Rop) -> None:
        step = self._steps.get(rop.rop_id)
        if step is None or exchange.session is None:
            return
        request = rop.request.value if rop.request is not None else None
        response = rop.response.value if rop.response is not None else None
        step(exchange, rop, request, response)

    def _record(self, exchange: Exchange, rop: Rop) -> SyncRecord | None:
        """The record whose context a ROP acts on. Notes that it took part."""
        assert exchange.session is not None
        handle = rop.handles.get("InputHandleIndex")
        record = self._by_handle.get((exchange.session.number, handle))
        if record is not None:
            side = exchange.call.response or exchange.call.request
            assert side is not None
            record.ended = max(record.ended, side.time)
            record.frames = record.frames[0], max(record.frames[1], side.frame)
            record.exchanges = record.exchanges[0], exchange.number
        return record

    def _logged_on(self, exchange: Exchange, rop: Rop, request: Any, response: Any) -> None:
        session = exchange.session
        assert session is not None
        if rop.return_value == 0 and response is not None and response.get("ReplGuid") is not None:
            replicas = self.replicas_of(session.number, rop.logon_id)
            replicas.learn(response["ReplId"], response["ReplGuid"], "RopLogon", exchange.frame)

    def _id_mapped(self, exchange: Exchange, rop: Rop, request: Any, response: Any) -> None:
        session = exchange.session
        assert session is not None
        if rop.return_value or request is None or response is None:
            return
        id_ = request.get("ObjectId") or response.get("ObjectId")
        long = request.get("LongTermId") or response.get("LongTermId")
        if id_ is not None and long is not None and id_.counter == long.counter:
            self.replicas_of(session.number, rop.logon_id).learn(id_.replica_id, long.guid, rop.name, exchange.frame)

    def _folder_created(self, exchange: Exchange, rop: Rop, request: Any, response: Any) -> None:
        session = exchange.session
        assert session is not None
        folder = response.get("FolderId") if response is not None and not rop.return_value else None
        name = request.get("DisplayName") if request is not None else None
        if folder is not None and isinstance(name, str):
            self.names[self._mailbox(session, rop), folder] = cut(name)

    @staticmethod
    def _mailbox(session: Session, rop: Rop) -> str:
        logon = session.logons.get(rop.logon_id) if rop.logon_id is not None else None
        return str(logon.mailbox_guid) if logon is not None and logon.mailbox_guid else session.user_dn

    def _fetched(self, exchange: Exchange, rop: Rop, request: Any, response: Any) -> None:
        self._record(exchange, rop)

    def _state_asked(self, exchange: Exchange, rop: Rop, request: Any, response: Any) -> None:
        record = self._record(exchange, rop)
        if record is not None and rop.return_value:
            record.codes[rop.name, rop.return_value] += 1

    def _message_imported(self, exchange: Exchange, rop: Rop, request: Any, response: Any) -> None:
        record = self._record(exchange, rop)
        if record is None or request is None:
            return
        self._is(record, "upload", "contents")
        change = _imported("import", exchange, rop, request.get("PropertyValues"))
        change.flags = request.get("ImportFlag") or 0
        change.fai = bool(change.flags & FAI_MESSAGE)
        record.changes.append(change)
        self._noted(record, change.code, rop)
        assert exchange.session is not None
        handle = rop.handles.get("OutputHandleIndex")
        if handle is not None and rop.return_value in WITH_VALUE:
            self._messages[exchange.session.number, handle] = record, change

    def _folder_imported(self, exchange: Exchange, rop: Rop, request: Any, response: Any) -> None:
        record = self._record(exchange, rop)
        if record is None or request is None:
            return
        self._is(record, "upload", "hierarchy")
        change = _imported("import-folder", exchange, rop, request.get("HierarchyValues"))
        record.changes.append(change)
        self._noted(record, change.code, rop)
        found = global_id(change.source_key)
        if change.name and found is not None and not change.code:
            self.names[record.mailbox, found] = change.name

    def _moved(self, exchange: Exchange, rop: Rop, request: Any, response: Any) -> None:
        record = self._record(exchange, rop)
        if record is None or request is None:
            return
        self._is(record, "upload", "contents")
        change = SyncChange("move", exchange.frame, exchange.number, exchange.frame)
        change.source_key, change.old_key = request.get("DestinationMessageId"), request.get("SourceMessageId")
        change.source_folder, change.change_key = request.get("SourceFolderId"), request.get("ChangeNumber")
        change.pcl = _change_list(request.get("PredecessorChangeList"))
        change.code = rop.return_value
        record.changes.append(change)
        self._noted(record, change.code, rop)

    def _deleted(self, exchange: Exchange, rop: Rop, request: Any, response: Any) -> None:
        record = self._record(exchange, rop)
        if record is None or request is None:
            return
        flags = request.get("ImportDeleteFlags") or 0
        self._is(record, "upload", "hierarchy" if flags & OF_HIERARCHY else "contents")
        kind = "hard-delete" if flags & HARD_DELETE else "delete"
        keys = tuple(
            key
            for value in request.get("PropertyValues") or ()
            if isinstance(value["PropertyValue"], list)
            for key in value["PropertyValue"]
            if isinstance(key, Xid)
        )
        record.operations.append(Operation(kind, rop.name, exchange.number, exchange.frame, rop.return_value, keys))
        self._noted(record, rop.return_value, rop)

    def _marked_read(self, exchange: Exchange, rop: Rop, request: Any, response: Any) -> None:
        record = self._record(exchange, rop)
        if record is None or request is None:
            return
        self._is(record, "upload", "contents")
        states = request.get("MessageReadStates") or ()
        for kind, wanted in (("read", True), ("unread", False)):
            keys = tuple(
                one["MessageId"] for one in states
                if bool(one["MarkAsRead"]) is wanted and isinstance(one["MessageId"], Xid)
            )  # fmt: skip
            if keys:
                operation = Operation(kind, rop.name, exchange.number, exchange.frame, rop.return_value, keys)
                record.operations.append(operation)
        self._noted(record, rop.return_value, rop)

    def _noted(self, record: SyncRecord, code: int | None, rop: Rop) -> None:
        if code:
            record.codes[rop.name, code] += 1

    def _imported_message(self, exchange: Exchange, rop: Rop) -> tuple[SyncRecord, SyncChange] | None:
        assert exchange.session is not None
        return self._messages.get((exchange.session.number, rop.handles.get("InputHandleIndex")))

    def _properties_set(self, exchange: Exchange, rop: Rop, request: Any, response: Any) -> None:
        found = self._imported_message(exchange, rop)
        if found is None or request is None or rop.return_value not in WITH_VALUE:
            return
        told = _by_id(request.get("PropertyValues"))
        subject, message_class = told.get(SUBJECT), told.get(MESSAGE_CLASS)
        if isinstance(subject, str):
            found[1].name = cut(subject)
        if isinstance(message_class, str):
            found[1].message_class = message_class

    def _saved(self, exchange: Exchange, rop: Rop, request: Any, response: Any) -> None:
        found = self._imported_message(exchange, rop)
        if found is None:
            return
        record, change = found
        change.saved, change.save_frame = rop.return_value, exchange.frame
        change.last_frame = exchange.frame
        self._noted(record, rop.return_value, rop)
        if rop.return_value in WITH_VALUE and response is not None:
            change.mid = response.get("MessageId")
            replicas = self.replicas_of(record.session, rop.logon_id)
            replicas.learn_pair(change.mid, change.source_key, rop.name, exchange.frame)

    def _released(self, exchange: Exchange, rop: Rop, request: Any, response: Any) -> None:
        assert exchange.session is not None
        self._messages.pop((exchange.session.number, rop.handles.get("InputHandleIndex")), None)


def records(exchanges: Iterable[Exchange], recorder: Recorder | None = None) -> Iterator[SyncRecord]:
    """The synchronizations of some exchanges, each as soon as its context is gone."""
    recorder = recorder if recorder is not None else Recorder()
    for exchange in exchanges:
        yield from recorder.exchange(exchange)
    yield from recorder.finish()


class _Counted:
    """The change number that a change key tells: where it is a GID of a replica that the state counts in."""

    def __init__(self, record: SyncRecord) -> None:
        states = [state for state in (record.initial, record.final) if state is not None]
        self.replicas = {replica for state in states for replica in state.seen.replicas}
        self.last: object = None
        self.known = False

    def version(self, key: Xid | None) -> GlobalId | None:
        if key is None:
            return None
        if key.namespace is not self.last:
            self.last, self.known = key.namespace, key.namespace in self.replicas
        return global_id(key) if self.known else None


def status_of(change: SyncChange, initial: IcsState | None) -> str:
    """What a change is to a client with this state: "new", "changed", "again", or '' where that cannot be told."""
    if initial is None or change.id is None:
        return ""
    if not initial.given or change.id not in initial.given:
        return "new"
    seen = initial.seen_fai if change.fai else initial.seen
    return "again" if change.version is not None and change.version in seen else "changed"


def _initial(record: SyncRecord) -> None:
    """The state that was uploaded, put together from its properties."""
    stream = record.stream
    if not stream.opened_by:
        record.initial_why = "the capture does not show how the synchronization began"
        if not stream.states:
            return
    sets: dict[str, IdSet] = {}
    why = ""
    for upload in stream.states:
        if upload.name not in SETS:
            why = why or (upload.why if upload.tag is None else f"{upload.name} is no property of the state")
            continue
        reading = upload.reading()
        assert reading is not None
        if upload.why:
            why = why or f"{upload.name}: {upload.why}"
        if reading.diagnostic is not None:
            why = why or f"{upload.name} is malformed"
            record.trouble.append(f"{upload.name} uploaded, offset {reading.offset}: {reading.diagnostic.message}")
        sets[upload.name] = reading.idset
    record.uploaded = tuple(sets)
    record.initial_why = record.initial_why or why
    if not record.initial_why:
        record.initial = IcsState.of(sets)


def _change(stream: Stream, item: Change, last_frame: int) -> SyncChange:
    """The facts of a change that came down. last_frame: of the buffer that completed it."""
    told, folder = item.header.get, item.kind == "folder"
    frame, exchange = _place(stream, item.offset)
    made = SyncChange(item.kind, frame, exchange, last_frame, offset=item.offset)
    made.bytes = item.end - item.offset
    made.mid = _as(ObjectId, told("PidTagFolderId" if folder else "PidTagMid"))
    made.cn = _as(ObjectId, told("PidTagChangeNumber"))
    made.source_key, made.change_key = _as(Xid, told("PidTagSourceKey")), _as(Xid, told("PidTagChangeKey"))
    made.pcl = _change_list(told("PidTagPredecessorChangeList"))
    made.modified = _as(int, told("PidTagLastModificationTime"))
    shown = item.subject
    if folder:
        made.parent = _as(Xid, told("PidTagParentSourceKey"))
        shown = told("PidTagDisplayName")
    else:
        made.fai = item.fai
    if isinstance(shown, str):
        made.name = cut(shown)
    made.message_class = item.message_class
    size = _as(int, told("PidTagMessageSize"))
    made.size = size if size is not None else item.announced
    made.groups, made.warnings, made.complete = len(item.groups), tuple(item.warnings), item.complete
    return made


def _unpacked(
    record: SyncRecord, replicas: Replicas, messages: Messages, frame: int, first: int = 0
) -> Iterator[SyncChange]:
    """Changes that were packed, as objects, from one of them on."""
    tell = _teller(record, replicas)
    for item in changes_of(messages, first):
        change = _change(record.stream, item, frame)
        tell(change)
        yield change


def _teller(record: SyncRecord, replicas: Replicas) -> Callable[[SyncChange], None]:
    """Fills in what only the whole record tells of a change."""
    counted = _Counted(record)

    def tell(one: SyncChange) -> None:
        if one.id is None:
            one.id = (one.mid is not None and replicas.resolve(one.mid)) or global_id(one.source_key)
        if one.version is None:
            one.version = (one.cn is not None and replicas.resolve(one.cn)) or counted.version(one.change_key)
        if record.direction == "download" or (one.kind == "import" and record.initial and record.initial.given):
            one.status = status_of(one, record.initial)

    return tell


def _place(stream: Stream, offset: int) -> tuple[int, int]:
    """Frame and exchange of the buffer that holds an offset."""
    buffers = stream.buffers
    at = bisect_right(buffers, offset, key=attrgetter("offset"))
    while at > 0:
        at -= 1
        if buffers[at].length or buffers[at].offset == offset:
            return buffers[at].frame, buffers[at].exchange
    return stream.frame, stream.exchange


def cut(name: str) -> str:
    """A subject or name as it is kept; one that is cut ends in an ellipsis."""
    return name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1] + "…"


def _imported(kind: str, exchange: Exchange, rop: Rop, values: Any) -> SyncChange:
    """The facts that RopSynchronizationImportMessageChange and ...HierarchyChange begin with."""
    told = _by_id(values)
    change = SyncChange(kind, exchange.frame, exchange.number, exchange.frame)
    keys = [told.get(one) for one in (SOURCE_KEY, PARENT_SOURCE_KEY, CHANGE_KEY)]
    change.source_key, change.parent, change.change_key = (one if isinstance(one, Xid) else None for one in keys)
    change.pcl = _change_list(told.get(CHANGE_LIST))
    change.modified = _as(int, told.get(MODIFIED))
    name = told.get(DISPLAY_NAME)
    change.name = cut(name) if isinstance(name, str) else None
    change.code = rop.return_value
    return change


def _by_id(values: Any) -> dict[int, Any]:
    return {value["PropertyTag"] >> 16: value["PropertyValue"] for value in values or ()}


def _as(kind: type[T], value: Any) -> T | None:
    """The value, if it is of this kind: a header may hold anything."""
    return value if isinstance(value, kind) else None


def _change_list(value: Any) -> PredecessorChangeList | None:
    if value == b"":
        return PredecessorChangeList()
    if not isinstance(value, list):
        return None
    for one in value:
        if not isinstance(one, Xid):
            return None
    return PredecessorChangeList(value)


def _restriction(rop: Rop) -> str:
    """The restriction of RopSynchronizationConfigure in words."""
    assert rop.request is not None
    for child in rop.request.node().children:
        if child.name == "RestrictionData":
            return brief(child)
    return ""
