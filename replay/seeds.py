"""What the captured server had before: folders and messages that a capture shows but does not make.

Collected over the whole capture, so that `replay run --seed` can put them on the live server first (seeding.py). A
message is told by the FastTransfer streams that hold it, by its properties as they were read, by rows of tables, or by
nothing but its id in an uploaded state: the fullest that is told first is taken. What a synchronization tells as new,
changed, deleted or read since the state that the client gave is done just before that synchronization.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from construct import ConstructError

from dissector.grammar.base import GrammarError
from dissector.grammar.elements import elements_of, encode, make
from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.idset import SET_FORMS, decode_idset
from dissector.grammar.names import property_name
from dissector.model.ids import ObjectId
from dissector.model.idset import EMPTY, IdSet
from dissector.model.pcl import Xid
from dissector.session.tracker import WITH_VALUE
from replay.compare.changes import Told
from replay.compare.streams import learn_replicas
from replay.errors import ReplayError
from replay.identity import GlobalId, Names, global_id
from replay.needs import identifiers
from replay.steps import Ended, PlannedRop, Step, Where

MOST_IDS = 100_000
"""Ids of an uploaded state for which messages are made."""

MOST_BYTES = 512 << 20
"""Content that is kept for seeding."""

OWN = frozenset({
    0x65E0, 0x65E1, 0x65E2, 0x65E3, 0x674A, 0x6748, 0x6749, 0x67A4, 0x67AA, 0x0E08, 0x0FFF, 0x0FF9, 0x0FF6, 0x0E09,
    0x0FFB, 0x0FF7, 0x0FF8, 0x0FFE, 0x0FF4, 0x0E1B, 0x0E05, 0x0E0A, 0x6709, 0x3008, 0x0E2F, 0x674D, 0x674E, 0x0E17,
    0x3007, 0x0E69,
})  # fmt: skip
"""Ids of properties that a server makes itself: they are not put into what is seeded."""

LINKS = frozenset({*range(0x36D0, 0x36DA), 0x36E4})
"""Ids of properties of the Inbox and the root that clients write: which folder is for what, by entry ids."""

STREAM_RANK = 10_000
"""What a stream tells of a message is more than any ROP does."""

ROP_MAKES = frozenset({"RopCreateFolder", "RopSaveChangesMessage"})
ROP_TOUCHES = frozenset({
    "RopDeleteMessages", "RopHardDeleteMessages", "RopSetReadFlags", "RopSynchronizationImportDeletes",
    "RopSynchronizationImportReadStateChanges", "RopSynchronizationImportMessageChange",
    "RopSynchronizationImportHierarchyChange", "RopSynchronizationImportMessageMove", "RopMoveCopyMessages",
    "RopSetMessageReadFlag",
})  # fmt: skip
"""ROPs after which the objects they name are as the capture made them."""


@dataclass(slots=True)
class SeedFolder:
    """A folder to make. parent: the captured folder it lies in. values: properties to set, with captured ids.

    modified, predecessors: as of SeedMessage.
    """

    name: str
    key: GlobalId | None
    number: ObjectId | None
    parent: GlobalId | ObjectId
    container_class: str = ""
    values: list[tuple[int, Any]] = field(default_factory=list)
    modified: int = 0
    predecessors: tuple[Xid, ...] = ()


@dataclass(slots=True)
class SeedMessage:
    """A message to make. content: elements of messageContent, empty where nothing but its id is known.

    rank: how much is known of it. modified: PidTagLastModificationTime, 0 where not known. change: its change number;
    predecessors: its change key, then its predecessor change list. read: whether it is read, None where not known.
    """

    key: GlobalId | None
    number: ObjectId | None
    folder: ObjectId
    fai: bool = False
    content: bytes = b""
    modified: int = 0
    rank: int = 0
    change: ObjectId | None = None
    predecessors: tuple[Xid, ...] = ()
    recipients: bytes = b""
    """Elements of its recipients, where its content came from ROPs."""
    read: bool | None = None


@dataclass(slots=True)
class Later:
    """What has happened between the state that a client gave and the synchronization that answers it."""

    folder: ObjectId
    changed: list[SeedMessage] = field(default_factory=list)
    made: list[SeedMessage] = field(default_factory=list)
    soft: list[GlobalId] = field(default_factory=list)
    hard: list[GlobalId] = field(default_factory=list)
    read: list[GlobalId] = field(default_factory=list)
    unread: list[GlobalId] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.changed or self.made or self.soft or self.hard or self.read or self.unread)


@dataclass(slots=True)
class Seeds:
    """What to make on the live server for one mailbox. Captured names throughout.

    special: FolderIds of the captured RopLogon, in order; guids: the GUIDs that it gave. later: by the exchange that
    opened the synchronization. states: states from before the capture, with the folder they are of.
    """

    names: Names = field(default_factory=Names)
    special: list[ObjectId] = field(default_factory=list)
    guids: dict[str, Any] = field(default_factory=dict)
    folders: list[SeedFolder] = field(default_factory=list)
    messages: list[SeedMessage] = field(default_factory=list)
    later: dict[int, Later] = field(default_factory=dict)
    states: list[tuple[Where, Mapping[str, IdSet]]] = field(default_factory=list)


def collect(steps: Iterable[Step]) -> dict[str, Seeds]:
    """The seeds of a capture by mailbox (Step.mailbox). Raises ReplayError where they are too much."""
    found: dict[str, _Collector] = {}
    for step in steps:
        found.setdefault(step.mailbox, _Collector()).step(step)
    return {name: one.seeds() for name, one in found.items()}


class _Collector:
    def __init__(self) -> None:
        self.made = Seeds()
        self.touched: set[GlobalId | ObjectId] = set()
        self.messages: dict[GlobalId | ObjectId, SeedMessage] = {}
        self.folders: dict[GlobalId | ObjectId, SeedFolder] = {}
        self.uploads: dict[tuple[int, int], dict[str, IdSet]] = {}
        """States that were uploaded to open contexts, by session and handle."""
        self.received: list[Mapping[str, IdSet]] = []
        self.size = 0

    def seeds(self) -> Seeds:
        made = self.made
        made.folders = list(self._once(self.folders.values()))
        made.messages = list(self._once(self.messages.values()))
        return made

    @staticmethod
    def _once(values: Iterable[Any]) -> Iterator[Any]:
        """Both names of an object lead to one entry."""
        seen: set[int] = set()
        for one in values:
            if id(one) not in seen:
                seen.add(id(one))
                yield one

    def step(self, step: Step) -> None:
        for rop in step.rops:
            if rop.captured is not None:
                self.rop(step, rop)
        for ended in step.streams:
            self.stream(ended)

    # Ids.

    def names_of(self, key: GlobalId | None, number: ObjectId | None) -> tuple[GlobalId | None, ObjectId | None]:
        """Both names of an object, as far as they are known."""
        names = self.made.names
        if key is None and number is not None:
            key = names.global_id(number)
        if number is None and key is not None:
            number = names.object_id(key)
        return key, number

    def is_touched(self, *names: GlobalId | ObjectId | None) -> bool:
        return any(one is not None and one in self.touched for one in names)

    def touch(self, value: Any) -> None:
        for one in identifiers(value):
            pair = self.names_of(None, one) if isinstance(one, ObjectId) else self.names_of(one, None)
            self.touched.update(name for name in (one, *pair) if name is not None)

    # ROPs.

    def rop(self, step: Step, planned: PlannedRop) -> None:
        captured = planned.captured
        assert captured is not None
        request = captured.request.value if captured.request is not None else None
        response = captured.response.value if captured.response is not None else None
        if planned.upload is not None and planned.part < 0:
            self.upload(step, planned)
        if request is None or response is None or captured.return_value not in WITH_VALUE:
            return
        name = planned.name
        handle = captured.handles.get("OutputHandleIndex")
        if name == "RopLogon" and not self.made.special:
            self.made.special = list((response.get("FolderIds") or {}).values())
            self.made.guids = {one: response.get(one) for one in ("MailboxGuid", "ReplGuid")}
        elif name in ("RopSynchronizationConfigure", "RopSynchronizationOpenCollector") and handle is not None:
            self.uploads.pop((step.session, handle), None)
        elif name in ("RopLongTermIdFromId", "RopIdFromLongTermId"):
            both = {**request, **response}
            if both["ObjectId"].counter == both["LongTermId"].counter:
                self.made.names.learn(both["ObjectId"].replica_id, both["LongTermId"].guid)
        elif name == "RopOpenMessage":
            entry = self.message(None, request["MessageId"], request["FolderId"], rank=1)
            if entry is not None and entry.rank < STREAM_RANK and not entry.recipients:
                columns = response.get("RecipientColumns") or ()
                entry.recipients = recipients_of(response.get("RecipientRows") or (), columns)
        elif name in ("RopGetPropertiesAll", "RopGetPropertiesSpecific"):
            self.properties(planned, request, response)
        elif name == "RopQueryRows":
            self.rows(planned, response)
        if name in ROP_MAKES:
            self.touch(response)
        if name in ROP_TOUCHES:
            self.touch(request)

    def upload(self, step: Step, planned: PlannedRop) -> None:
        """A state property: the client has this."""
        upload = planned.upload
        assert upload is not None
        assert planned.captured is not None
        handle, form = planned.captured.handles.get("InputHandleIndex"), SET_FORMS.get(upload.tag >> 16)
        if handle is None or form is None:
            return
        try:
            sets = decode_idset(upload.data, form)
        except GrammarError:
            return
        self.uploads.setdefault((step.session, handle), {})[property_name(upload.tag)] = sets

    def message(
        self, key: GlobalId | None, number: ObjectId | None, folder: ObjectId, *, rank: int, content: bytes = b"",
        fai: bool = False, modified: int = 0, told: Told | None = None,
    ) -> SeedMessage | None:  # fmt: skip
        """A message is told: kept where it tells more than what is known of it already."""
        key, number = self.names_of(key, number)
        if self.is_touched(key, number) or (key is None and number is None):
            return None
        known = next((self.messages[one] for one in (key, number) if one is not None and one in self.messages), None)
        if known is None:
            known = SeedMessage(key, number, folder, fai)
        known.key, known.number = known.key or key, known.number or number
        if STREAM_RANK > rank > 1 and STREAM_RANK > known.rank > 1:
            rank, content = max(rank, known.rank), merged(known.content, content, newer=rank > known.rank)
            known.rank = min(known.rank, rank - 1)
        if rank > known.rank:
            self.grown(len(content) - len(known.content))
            known.rank, known.content, known.fai, known.modified = rank, content, fai, modified
        if told is not None and known.change is None:
            known.change, known.predecessors = versions(told)
        for name in (known.key, known.number):
            if name is not None:
                self.messages[name] = known
        return known

    def grown(self, size: int) -> None:
        self.size += size
        if self.size > MOST_BYTES:
            raise ReplayError(
                f"--seed: the capture shows more than {MOST_BYTES >> 20} MB of messages; choose a part of it"
            )

    def properties(self, planned: PlannedRop, request: Any, response: Any) -> None:
        """Properties of a message, as they were read."""
        captured = planned.captured
        target = captured.target if captured is not None else None
        if target is None or target.kind != "message" or target.message_id is None or target.folder_id is None:
            return
        if planned.name == "RopGetPropertiesAll":
            pairs = [(one["PropertyTag"], one["PropertyValue"]) for one in response.get("PropertyValues") or ()]
        else:
            pairs = list(row_pairs(response.get("RowData"), request.get("PropertyTags") or ()))
        self.message(None, target.message_id, target.folder_id, rank=2 + len(pairs), content=content_of(pairs))

    def rows(self, planned: PlannedRop, response: Any) -> None:
        """Rows of a contents table."""
        captured = planned.captured
        target = captured.target if captured is not None else None
        if target is None or target.folder_id is None or captured is None or captured.response is None:
            return
        columns = captured.response.params.get("columns") or ()
        for row in response.get("RowData") or ():
            pairs = list(row_pairs(row, columns))
            number = next((value for tag, value in pairs if property_name(tag) == "PidTagMid"), None)
            if isinstance(number, ObjectId):
                self.message(None, number, target.folder_id, rank=2 + len(pairs), content=content_of(pairs))

    # Streams.

    def stream(self, ended: Ended) -> None:
        stream, story = ended.stream, ended.story
        if story is None:
            return
        learn_replicas(story, self.made.names)
        given = self.uploads.get((stream.session, stream.handle or 0), {})
        if stream.root == "hierarchySync":
            for told in story.changes:
                self.folder(told, ended.where[0])
        elif stream.root == "contentsSync" and ended.where[0] is not None:
            self.contents(ended, given, ended.where[0])
        elif stream.root == "messageContent" and stream.message is not None and stream.folder is not None:
            data = stream.source().data
            self.message(None, stream.message, stream.folder, rank=STREAM_RANK + 1, content=cleaned(data))
        elif stream.root == "messageList" and stream.folder is not None:
            data = stream.source().data
            for told in story.changes:
                number = told.get("PidTagMid")
                if isinstance(number, ObjectId):
                    part = cleaned(data[told.change.offset : told.change.end])
                    self.message(None, number, stream.folder, rank=STREAM_RANK + 1, content=part, fai=told.fai)
        if given and ended.where[1] and not self.known_state(given):
            self.made.states.append((ended.where, given))
        if story.state:
            self.received.append(story.state)

    def known_state(self, given: Mapping[str, IdSet]) -> bool:
        """Whether the capture shows a server giving this state."""
        return not any(given.values()) or any(
            all(state.get(name, EMPTY) == sets for name, sets in given.items()) for state in self.received
        )

    def folder(self, told: Told, root: ObjectId | None) -> None:
        key = global_id(told.key) if told.key is not None else None
        number = told.get("PidTagFolderId")
        key, number = self.names_of(key, number if isinstance(number, ObjectId) else None)
        above = told.get("PidTagParentSourceKey")
        parent: GlobalId | ObjectId | None = (global_id(above) if isinstance(above, Xid) else None) or root
        if parent is None or self.is_touched(key, number) or not told.title:
            return
        values = [(one.tag, one.value()) for one in told.properties.values() if one.tag >> 16 in LINKS]
        container_class = str(told.get("PidTagContainerClass") or "")
        modified = int(told.get("PidTagLastModificationTime") or 0)
        made = SeedFolder(
            told.title, key, number, parent, container_class, values, modified, versions(told)[1]
        )  # fmt: skip
        for name in (key, number):
            if name is not None:
                self.folders.setdefault(name, made)

    def contents(self, ended: Ended, given: Mapping[str, IdSet], folder: ObjectId) -> None:
        """A contents synchronization: what was there, and what has happened since the given state."""
        story = ended.story
        assert story is not None
        data = ended.stream.source().data
        later = Later(folder)
        has = given.get("MetaTagIdsetGiven", EMPTY)
        for told in story.changes:
            key = global_id(told.key) if told.key is not None else None
            number = told.get("PidTagMid")
            key, number = self.names_of(key, number if isinstance(number, ObjectId) else None)
            if key is None or self.is_touched(key, number):
                continue
            content, rank = message_part(data, told), STREAM_RANK + len(told.properties)
            modified = int(told.get("PidTagLastModificationTime") or 0)
            if not any(given.values()):
                self.message(
                    key, number, folder, rank=rank, content=content, fai=told.fai, modified=modified, told=told
                )
                continue
            entry = SeedMessage(key, number, folder, told.fai, content, modified, rank, *versions(told))
            self.grown(len(content))
            if key in has or key in self.messages:
                self.message(key, number, folder, rank=0, fai=told.fai)
                later.changed.append(entry)
            else:
                later.made.append(entry)
        for kind, name, into, before in (
            ("deletions", "MetaTagIdsetDeleted", later.hard, None),
            ("deletions", "MetaTagIdsetNoLongerInScope", later.soft, None),
            ("readStateChanges", "MetaTagIdsetRead", later.read, False),
            ("readStateChanges", "MetaTagIdsetUnread", later.unread, True),
        ):
            into.extend(self.named(story.set_of(kind, name), folder, has, before))
        if has.count <= MOST_IDS and not self.known_state(given):
            for guid, counter in has.ids():
                if not isinstance(guid, int):
                    self.message((guid, counter), None, folder, rank=0)
        if later:
            self.made.later[ended.stream.exchange] = later

    def named(self, ids: IdSet, folder: ObjectId, has: IdSet, read: bool | None) -> Iterator[GlobalId]:
        """Objects of a set of REPLIDs that the capture did not touch itself. read: whether they were before."""
        if ids.count > MOST_IDS:
            return
        for replica, counter in ids.ids():
            key = (replica, counter) if not isinstance(replica, int) else None
            number = ObjectId(replica, counter) if isinstance(replica, int) else None
            key, number = self.names_of(key, number)
            if key is None and number is not None:  # the state tells which GUIDs there are
                guids = (guid for guid in has.replicas if not isinstance(guid, int) and (guid, counter) in has)
                key = next(((guid, counter) for guid in guids), None)
            if key is None or self.is_touched(key, number):
                continue
            entry = self.message(key, number, folder, rank=0)
            if entry is not None and read is not None:
                entry.read = read
            yield key


# Content.


def versions(told: Told) -> tuple[ObjectId | None, tuple[Xid, ...]]:
    """The change number of a change; its change key and predecessors."""
    change, key = told.get("PidTagChangeNumber"), told.get("PidTagChangeKey")
    before = told.get("PidTagPredecessorChangeList")
    keys = [key, *(before if isinstance(before, list) else ())]
    return change if isinstance(change, ObjectId) else None, tuple(one for one in keys if isinstance(one, Xid))


def message_part(data: bytes, told: Told) -> bytes:
    """The messageContent of a change: what stands behind its header."""
    part = data[told.change.offset : told.change.end]
    for element in elements_of(part):
        if element.tag == MARKER["IncrSyncMessage"]:
            return cleaned(part[element.end :])
    return b""


def cleaned(data: bytes) -> bytes:
    """Elements of a message without its own markers and the properties that a server makes itself."""
    kept = []
    depth = 0
    for element in elements_of(data):
        if element.tag in (MARKER["StartMessage"], MARKER["StartFAIMsg"], MARKER["EndMessage"]):
            continue
        if element.tag in (MARKER["StartEmbed"], MARKER["NewAttach"], MARKER["StartRecip"]):
            depth += 1
        elif element.tag in (MARKER["EndEmbed"], MARKER["EndAttach"], MARKER["EndToRecip"]):
            depth -= 1
        elif not element.is_marker and depth == 0 and element.tag >> 16 in OWN:
            continue
        kept.append(element)
    return b"".join(encode(kept))


def merged(one: bytes, other: bytes, *, newer: bool) -> bytes:
    """The properties of both; newer: those of the second win."""
    first, second = (one, other) if newer else (other, one)
    elements = {element.tag >> 16: element for part in (first, second) for element in elements_of(part)}
    return b"".join(encode(elements.values()))


def row_pairs(row: Any, columns: Any) -> Iterator[tuple[int, Any]]:
    """(tag, value) of a property row, without errors."""
    if not isinstance(row, dict) or "ValueArray" not in row:
        return
    for tag, entry in zip(columns, row["ValueArray"], strict=False):
        value = entry
        if row.get("Flag"):
            if entry.get("Flag"):
                continue
            value = entry.get("PropertyValue")
        if tag & 0xFFFF:
            yield tag, value


def recipients_of(rows: Iterable[Any], columns: Any) -> bytes:
    """Elements of the recipients that RopOpenMessage told."""
    made = []
    for number, row in enumerate(rows):
        told = row.get("RecipientRow")
        if not isinstance(told, dict):
            continue
        smtp = told.get("EmailAddress")
        address = smtp or told.get("X500DN") or ""
        pairs = {
            0x30000003: number,
            0x0C150003: row.get("RecipientType", 1) & 0xF,
            0x3001001F: told.get("DisplayName") or "",
            0x3002001F: told.get("AddressType") or ("SMTP" if smtp else "EX"),
            0x3003001F: address,
        }
        for tag, value in row_pairs(told.get("RecipientProperties"), columns):
            pairs.setdefault(tag, value)
        made += [encode_marker("StartRecip"), content_of(pairs.items()), encode_marker("EndToRecip")]
    return b"".join(made)


def encode_marker(name: str) -> bytes:
    return b"".join(encode([make(MARKER[name])]))


def attachment() -> bytes:
    """An attachment that stands in for those of which nothing is known but that there are some."""
    values = [(0x0E210003, 0), (0x37050003, 1), (0x3707001F, "replay.bin"), (0x37010102, b"")]
    return encode_marker("NewAttach") + content_of(values) + encode_marker("EndAttach")


def content_of(pairs: Iterable[tuple[int, Any]]) -> bytes:
    """Property values of a ROP as elements of a message; what has no form of its own there is left out."""
    made = []
    for tag, value in pairs:
        if tag >= 0x80000000 or tag >> 16 in OWN or value is None:
            continue
        try:
            made.append(make(tag, value))
        except (ConstructError, ValueError, TypeError, AttributeError):
            continue
    return b"".join(encode(made))
