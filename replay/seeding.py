"""Puts on the live server what the captured one had before (seeds.py), in a live session of its own.

Messages are imported through a synchronization upload, so that their ids are chosen by us and known; their content goes
as a FastTransfer stream, as it was captured. Afterwards the folder is synchronized once: that tells the change numbers
that the live server gave, and the state that stands for the one that the captured client had.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from construct import Container

from dissector.diagnose.base import counted
from dissector.grammar.base import build
from dissector.grammar.elements import elements_of
from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.rops import BY_NAME
from dissector.model.ids import ObjectId
from dissector.model.pcl import PredecessorChangeList, Xid
from dissector.session.exchange import Exchange, Rop
from dissector.session.objects import NO_HANDLE
from dissector.session.tracker import WITH_VALUE
from dissector.transport.messages import HttpExchange
from replay.asking import GET_BUFFER, Answering, Asker, Conversation, Origin, Outgoing, opened, value_of
from replay.compare.changes import Story, read_story
from replay.compare.streams import learn_replicas
from replay.errors import ProtocolError
from replay.identity import GlobalId, UnmappedError, global_id
from replay.learning import Mailbox
from replay.rewrite import Rewriter
from replay.seeds import Later, SeedFolder, SeedMessage, Seeds, attachment

CHUNK = 0x7000
"""Bytes of a stream in one RopFastTransferDestinationPutBuffer."""

BATCH, MOST_SLOTS = 0x7800, 250
"""Bytes of ROPs and handles in one buffer: small messages go together."""

BODIES = frozenset({"PidTagBody", "PidTagHtml", "PidTagRtfCompressed", "PidTagSubject"})
"""What a server may not make of something else once it was given."""

SOURCE_KEY, MODIFIED, CHANGE_KEY, PREDECESSORS = 0x65E00102, 0x30080040, 0x65E20102, 0x65E30102
MESSAGE_FLAGS, HAS_ATTACHMENTS = 0x0E070003, 0x10
PARENT_SOURCE_KEY, DISPLAY_NAME = 0x65E10102, 0x3001001F
CONTAINER_CLASS, SUBJECT = 0x3613001F, 0x0037001F
CNSETS = (0x67960102, 0x67DA0102, 0x67D20102)
"""What a contents collector is given as state: MetaTagCnsetSeen, MetaTagCnsetSeenFAI, MetaTagCnsetRead."""
ASSOCIATED = 0x10
"""ImportFlag of RopSynchronizationImportMessageChange."""
COPY_TO = 1
"""SourceOperation of RopFastTransferDestinationConfigure."""
CONTENTS, HIERARCHY = 1, 2
SYNC_FLAGS = 0x0001 | 0x0008 | 0x0010 | 0x0020 | 0x0080
"""Unicode, read states, FAI, normal messages, only the properties named."""
EXTRA_FLAGS = 0x0001 | 0x0004
"""Ids and change numbers in the headers."""
KEEP_OPEN = 0x02 | 0x08
CLEAR_READ = 0x04
MARK_READ = 0x00
GET_SIZE = 0x7000
INBOX = 4


@dataclass(slots=True)
class _Batch:
    """Messages of one folder that are sent in one buffer. sizes: of the streams in it, in order."""

    collector: int
    rops: list[bytes] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    size: int = 0
    slots: int = 1

    def add(self, rops: list[bytes], slots: int, content: int) -> None:
        self.rops += rops
        self.size += sum(map(len, rops))
        self.slots += slots
        if content:
            self.sizes.append(content)


class Seeder:
    """Seeds one mailbox. session: a number that no captured session has.

    say: is told in words what was done, with the exchange that it was done for.
    """

    def __init__(
        self, seeds: Seeds, mailbox: Mailbox, asker: Asker, session: int, say: Callable[[int, str], None]
    ) -> None:
        self._seeds, self._mailbox, self._asker, self._say = seeds, mailbox, asker, say
        self._origin = Origin(session)
        self.session = session
        self._namespace = uuid.uuid4()
        self._count = 0
        self._logon = NO_HANDLE
        self._guid = uuid.UUID(int=0)
        self._spare: deque[GlobalId] = deque()
        self._batch: _Batch | None = None
        self._predecessors: dict[GlobalId, PredecessorChangeList] = {}
        self._folders: dict[ObjectId, int] = {}
        self._collectors: dict[ObjectId, int] = {}

    def start(self) -> Conversation:
        """Before anything is replayed: all that was there from the beginning."""
        yield from self._asker.connect(self._origin)
        answer = yield from self._asker.call(
            self._origin, "RopLogon", [], LogonFlags=1, OpenFlags=0x01000000, StoreState=0, Essdn=self._asker.mailbox
        )
        self._logon = opened(answer)
        identity = self._mailbox.identity
        live = list(value_of(answer)["FolderIds"].values())
        for captured, other in zip(self._seeds.special, live, strict=False):
            identity.learn(captured, other)
        for name, guid in self._seeds.guids.items():
            identity.learn(guid, value_of(answer).get(name))
        told = yield from self._asker.call(self._origin, "RopLongTermIdFromId", [self._logon], ObjectId=live[INBOX])
        self._guid = value_of(told)["LongTermId"].guid
        identity.live.learn(live[INBOX].replica_id, self._guid)
        for number, guid in self._seeds.names.guids.items():
            identity.captured.learn(number, guid)
            identity.replicas.setdefault(guid, self._guid)
        yield from self._make_folders()
        yield from self._make_messages()
        yield from self._states()
        yield from self._release()

    def before(self, exchange: int) -> Conversation:
        """What happened before a synchronization that this exchange of the capture opens."""
        later = self._seeds.later.pop(exchange, None)
        if later is None:
            return
        for seed in later.changed:
            yield from self._import(seed, later.folder)
        for seed in later.made:
            yield from self._import(seed, later.folder)
        yield from self._flush()
        folder = yield from self._folder(later.folder)
        for name, keys, fields in (
            ("RopDeleteMessages", later.soft, {"WantAsynchronous": False, "NotifyNonRead": False}),
            ("RopHardDeleteMessages", later.hard, {"WantAsynchronous": False, "NotifyNonRead": False}),
            ("RopSetReadFlags", later.read, {"WantAsynchronous": False, "ReadFlags": MARK_READ}),
            ("RopSetReadFlags", later.unread, {"WantAsynchronous": False, "ReadFlags": CLEAR_READ}),
        ):
            ids = self._numbers(keys)
            if ids:
                yield from self._asker.call(self._origin, name, [folder], MessageIds=ids, **fields)
        yield from self._release()
        self._say(exchange, _told(later))

    def _release(self) -> Conversation:
        """Release the collectors and folders that are open; what comes later opens its own."""
        handles = [*self._collectors.values(), *self._folders.values()]
        self._collectors.clear()
        self._folders.clear()
        for at in range(0, len(handles), MOST_SLOTS):
            some = handles[at : at + MOST_SLOTS]
            yield from self._rops([("RopRelease", {"InputHandleIndex": slot}) for slot in range(len(some))], some)

    # Folders.

    def _make_folders(self) -> Conversation:
        waiting = list(self._seeds.folders)
        made = 0
        while waiting:
            ready = [one for one in waiting if self._live_folder(one.parent) is not None]
            if not ready:
                break
            for one in ready:
                waiting.remove(one)
                if self._known(one):
                    continue
                yield from self._make_folder(one)
                made += 1
        yield from self._link_folders()
        if made:
            self._say(0, counted(made, "folder"))
        if waiting:
            self._say(
                0,
                f"{counted(len(waiting), 'folder is', 'folders are')} left out for a parent that is not in the capture",
            )

    def _link_folders(self) -> Conversation:
        """Set the properties of folders that name other folders, now that all of these are known."""
        for seed in self._seeds.folders:
            live = self._live_folder(seed.number or seed.key or seed.parent)
            if not seed.values or live is None:
                continue
            values = []
            for tag, value in seed.values:
                try:
                    made = Rewriter(self._mailbox.identity).value(Container(Value=value))["Value"]
                except UnmappedError:
                    continue  # it names a folder that the capture does not show
                values.append(Container(PropertyTag=tag, PropertyValue=made))
            if values:
                handle = yield from self._open(live)
                yield from self._asker.call(self._origin, "RopSetProperties", [handle], PropertyValues=values)
                yield from self._asker.call(self._origin, "RopRelease", [handle])

    def _known(self, folder: SeedFolder) -> bool:
        identity = self._mailbox.identity
        return (folder.number is not None and identity.try_object(folder.number) is not None) or (
            folder.key is not None and identity.try_global(folder.key) is not None
        )

    def _live_folder(self, name: GlobalId | ObjectId) -> ObjectId | None:
        identity = self._mailbox.identity
        if isinstance(name, ObjectId):
            return identity.try_object(name)
        live = identity.try_global(name)
        return identity.live.object_id(live) if live is not None else None

    def _make_folder(self, seed: SeedFolder) -> Conversation:
        parent = self._live_folder(seed.parent)
        assert parent is not None
        if seed.predecessors and self._foreign(seed.predecessors[0]):
            yield from self._import_folder(seed, parent)
            return
        above = yield from self._open(parent)
        answer = yield from self._asker.call(
            self._origin, "RopCreateFolder", [above], FolderType=1, UseUnicodeStrings=True, OpenExisting=True,
            Reserved=0, DisplayName=seed.name, Comment="",
        )  # fmt: skip
        number: ObjectId = value_of(answer)["FolderId"]
        identity = self._mailbox.identity
        if seed.number is not None:
            identity.learn(seed.number, number)
        if seed.key is not None:
            identity.learn(_xid(seed.key), _xid((self._guid, number.counter)))
        if seed.container_class:
            values = [Container(PropertyTag=CONTAINER_CLASS, PropertyValue=seed.container_class)]
            yield from self._asker.call(self._origin, "RopSetProperties", [opened(answer)], PropertyValues=values)
        for handle in (opened(answer), above):
            yield from self._asker.call(self._origin, "RopRelease", [handle])

    def _foreign(self, change: Xid) -> bool:
        """Whether a client made this version."""
        name = global_id(change)
        return name is None or not self._mailbox.identity.own(name[0])

    def _import_folder(self, seed: SeedFolder, parent: ObjectId) -> Conversation:
        """A folder that a client uploaded: with the client's change key."""
        live, identity = (yield from self._fresh()), self._mailbox.identity
        number = identity.live.object_id(live)
        if seed.number is not None and number is not None:
            identity.learn(seed.number, number)
        if seed.key is not None:
            identity.learn(_xid(seed.key), _xid(live))
        above = yield from self._open(parent)
        answer = yield from self._asker.call(
            self._origin, "RopSynchronizationOpenCollector", [above], IsContentsCollector=False
        )
        yield from self._empty_state(opened(answer), CNSETS[:1])
        own, history = self._versions(seed, live)
        pairs = [
            (PARENT_SOURCE_KEY, _xid((self._guid, parent.counter))), (SOURCE_KEY, _xid(live)),
            (MODIFIED, seed.modified or _now()), (CHANGE_KEY, own), (PREDECESSORS, list(history)),
            (DISPLAY_NAME, seed.name),
        ]  # fmt: skip
        more = [(CONTAINER_CLASS, seed.container_class)] if seed.container_class else []
        yield from self._asker.call(
            self._origin, "RopSynchronizationImportHierarchyChange", [opened(answer)],
            HierarchyValues=[Container(PropertyTag=tag, PropertyValue=value) for tag, value in pairs],
            PropertyValues=[Container(PropertyTag=tag, PropertyValue=value) for tag, value in more],
        )  # fmt: skip
        for handle in (opened(answer), above):
            yield from self._asker.call(self._origin, "RopRelease", [handle])

    def _open(self, folder: ObjectId) -> Generator[Outgoing, HttpExchange, int]:
        answer = yield from self._asker.call(
            self._origin, "RopOpenFolder", [self._logon], FolderId=folder, OpenModeFlags=0
        )
        return opened(answer)

    def _folder(self, captured: ObjectId) -> Generator[Outgoing, HttpExchange, int]:
        """The live folder for a captured one, open."""
        if captured not in self._folders:
            live = self._mailbox.identity.try_object(captured)
            if live is None:
                raise ProtocolError(f"--seed: folder {captured} is not known on the live server")
            self._folders[captured] = yield from self._open(live)
        return self._folders[captured]

    # Messages.

    def _make_messages(self) -> Conversation:
        counts: dict[ObjectId, int] = {}
        lost = 0
        for seed in self._seeds.messages:
            if self._mailbox.identity.try_object(seed.folder) is None:
                lost += 1
                continue
            yield from self._import(seed, seed.folder)
            counts[seed.folder] = counts.get(seed.folder, 0) + 1
        yield from self._flush()
        yield from self._read_flags()
        for folder, count in counts.items():
            self._say(0, f"{counted(count, 'message')} in folder {folder}")
        if lost:
            self._say(
                0, f"{counted(lost, 'message is', 'messages are')} left out for a folder that is not in the capture"
            )

    def _read_flags(self) -> Conversation:
        """Read and unread, where what comes later tells how it was before."""
        wanted: dict[tuple[ObjectId, bool], list[GlobalId]] = {}
        for seed in self._seeds.messages:
            if seed.read is not None and seed.key is not None:
                wanted.setdefault((seed.folder, seed.read), []).append(seed.key)
        for (folder, read), keys in wanted.items():
            ids = self._numbers(keys)
            if ids:
                handle = yield from self._folder(folder)
                flags = MARK_READ if read else CLEAR_READ
                yield from self._asker.call(
                    self._origin, "RopSetReadFlags", [handle], WantAsynchronous=False, ReadFlags=flags, MessageIds=ids
                )

    def _import(self, seed: SeedMessage, folder: ObjectId) -> Conversation:
        """Make a message, or a new version of it."""
        identity = self._mailbox.identity
        live = identity.try_global(seed.key) if seed.key is not None else None
        if live is None and seed.number is not None:
            known = identity.try_object(seed.number)
            live = (self._guid, known.counter) if known is not None else None
        if live is None:
            live = yield from self._fresh()
            if seed.key is not None:
                identity.learn(_xid(seed.key), _xid(live))
            elif seed.number is not None:
                number = identity.live.object_id(live)
                identity.learn(seed.number, number)
        collector = yield from self._collector(folder)
        own, history = self._versions(seed, live)
        pairs = [
            (SOURCE_KEY, _xid(live)), (MODIFIED, seed.modified or _now()), (CHANGE_KEY, own),
            (PREDECESSORS, list(history)),
        ]  # fmt: skip
        values = [Container(PropertyTag=tag, PropertyValue=value) for tag, value in pairs]
        fields = {"ImportFlag": ASSOCIATED if seed.fai else 0, "PropertyValues": values}
        if seed.key is not None:
            names = {element.name for element in elements_of(seed.content)} & BODIES
            self._mailbox.given.setdefault(seed.key, set()).update(names)
        content = content_with(seed)
        if len(content) > CHUNK:
            yield from self._flush()
            yield from self._import_long(collector, fields, content)
        else:
            yield from self._add(collector, fields, content)

    def _add(self, collector: int, fields: dict[str, Any], content: bytes) -> Conversation:
        """Put a message into the buffer that is sent next."""
        for _ in range(2):
            batch = self._batch = self._batch or _Batch(collector)
            message, stream = batch.slots, batch.slots + 1
            rops = [
                _rop("RopSynchronizationImportMessageChange", InputHandleIndex=0, OutputHandleIndex=message, **fields)
            ]
            if content:
                rops += [
                    _rop("RopFastTransferDestinationConfigure", InputHandleIndex=message, OutputHandleIndex=stream,
                         SourceOperation=COPY_TO, CopyFlags=0),
                    _rop("RopFastTransferDestinationPutBuffer", InputHandleIndex=stream, TransferData=content),
                    _rop("RopRelease", InputHandleIndex=stream),
                ]  # fmt: skip
            rops += [
                _rop("RopSaveChangesMessage", ResponseHandleIndex=message, InputHandleIndex=message,
                     SaveFlags=KEEP_OPEN),
                _rop("RopRelease", InputHandleIndex=message),
            ]  # fmt: skip
            full = batch.size + sum(map(len, rops)) > BATCH or batch.slots + 2 > MOST_SLOTS
            if not batch.rops or (batch.collector == collector and not full):
                batch.add(rops, 2, len(content))
                return
            yield from self._flush()

    def _flush(self) -> Conversation:
        """Send the messages that were put together."""
        batch, self._batch = self._batch, None
        if batch is None:
            return
        slots = {0: batch.collector, **dict.fromkeys(range(1, batch.slots), NO_HANDLE)}
        exchange = yield from self._sent(batch.rops, slots)
        taken = [
            int(rop.response.value["BufferUsedSize"]) for rop in exchange.rops
            if rop.name == "RopFastTransferDestinationPutBuffer" and rop.response is not None and rop.response.value
        ]  # fmt: skip
        if taken != batch.sizes:
            raise ProtocolError("--seed: the live server did not take the whole of a message")

    def _import_long(self, collector: int, fields: dict[str, Any], content: bytes) -> Conversation:
        """A message whose content needs several buffers."""
        answer = yield from self._asker.call(
            self._origin, "RopSynchronizationImportMessageChange", [collector], **fields
        )
        message = opened(answer)
        yield from self._fill(message, content)
        save = ("RopSaveChangesMessage", {"ResponseHandleIndex": 0, "InputHandleIndex": 0, "SaveFlags": KEEP_OPEN})
        yield from self._rops([save, ("RopRelease", {"InputHandleIndex": 0})], [message])

    def _versions(self, seed: SeedMessage | SeedFolder, live: GlobalId) -> tuple[Xid, PredecessorChangeList]:
        """The change key and predecessors to import: those of clients as captured, for those of the store our own."""
        identity = self._mailbox.identity
        made: list[Xid] = []
        for captured in seed.predecessors:
            name = global_id(captured)
            if name is None or not identity.own(name[0]):
                made.append(captured)
                continue
            known, sure = identity.change_key(captured)
            if not sure:
                known = self._next()
                identity.keys.bind(captured, known)
            made.append(known)
        own = made[0] if made else self._next()
        history = self._predecessors.get(live, PredecessorChangeList()).merge(PredecessorChangeList([own, *made]))
        self._predecessors[live] = history
        return own, history

    def _next(self) -> Xid:
        self._count += 1
        return Xid(self._namespace, self._count.to_bytes(4, "big"))

    def _fill(self, message: int, content: bytes) -> Conversation:
        """The content of a message as a FastTransfer stream."""
        answer = yield from self._asker.call(
            self._origin, "RopFastTransferDestinationConfigure", [message], SourceOperation=COPY_TO, CopyFlags=0
        )
        target = opened(answer)
        at = 0
        while at < len(content):
            part = content[at : at + CHUNK]
            put = yield from self._asker.call(
                self._origin, "RopFastTransferDestinationPutBuffer", [target], TransferData=part
            )
            used = int(value_of(put)["BufferUsedSize"])
            if not used:
                raise ProtocolError("--seed: the live server takes no more of a message")
            at += used
        yield from self._asker.call(self._origin, "RopRelease", [target])

    def _collector(self, folder: ObjectId) -> Generator[Outgoing, HttpExchange, int]:
        if folder not in self._collectors:
            handle = yield from self._folder(folder)
            answer = yield from self._asker.call(
                self._origin, "RopSynchronizationOpenCollector", [handle], IsContentsCollector=True
            )
            self._collectors[folder] = opened(answer)
            yield from self._empty_state(opened(answer), CNSETS)
        return self._collectors[folder]

    def _empty_state(self, collector: int, tags: Sequence[int]) -> Conversation:
        """Tell a collector that nothing is known yet [MS-OXCFXICS] 3.3.4.3.3."""
        begin, end = "RopSynchronizationUploadStateStreamBegin", "RopSynchronizationUploadStateStreamEnd"
        rops: list[tuple[str, dict[str, Any]]] = []
        for tag in tags:
            rops += [
                (begin, {"InputHandleIndex": 0, "StateProperty": tag, "TransferBufferSize": 0}),
                (end, {"InputHandleIndex": 0}),
            ]
        yield from self._rops(rops, [collector])

    def _fresh(self) -> Generator[Outgoing, HttpExchange, GlobalId]:
        """A live id for a message that is made."""
        if not self._spare:
            count = min(len(self._seeds.messages) + 64, 0x10000)
            answer = yield from self._asker.call(self._origin, "RopGetLocalReplicaIds", [self._logon], IdCount=count)
            start = int(value_of(answer)["GlobalCount"])
            self._spare.extend((value_of(answer)["ReplGuid"], start + number) for number in range(count))
        return self._spare.popleft()

    def _numbers(self, keys: Sequence[GlobalId]) -> list[ObjectId]:
        identity = self._mailbox.identity
        found = (identity.try_global(key) for key in keys)
        return [number for live in found if live is not None and (number := identity.live.object_id(live)) is not None]

    # States.

    def _states(self) -> Conversation:
        """Synchronize what was seeded: the numbers of its versions, and the states that stand for captured ones."""
        folders = dict.fromkeys(
            [one.folder for one in self._seeds.messages] + [where[0] for where, _ in self._seeds.states if where[0]]
        )
        changes = {
            one.key: one.change for one in self._seeds.messages if one.key is not None and one.change is not None
        }
        identity = self._mailbox.identity
        for folder in folders:
            if identity.try_object(folder) is None:
                continue
            kinds = {where[1] for where, _ in self._seeds.states if where[0] == folder} | {"contents"}
            for kind in sorted(kinds - {""}):
                story = yield from self._synchronize(folder, HIERARCHY if kind == "hierarchy" else CONTENTS)
                learn_replicas(story, identity.live)
                for told in story.changes:
                    live = global_id(told.key) if told.key is not None else None
                    captured = identity.captured_global(live) if live is not None else None
                    if live is None or captured is None:
                        continue
                    self._predecessors[live] = PredecessorChangeList(told.get("PidTagPredecessorChangeList") or ())
                    identity.learn(changes.get(captured), told.get("PidTagChangeNumber"), change=True)
                for where, sets in self._seeds.states:
                    if where == (folder, kind) and story.state:
                        self._mailbox.states.learn(where, sets, story.state)

    def _synchronize(self, folder: ObjectId, kind: int) -> Generator[Outgoing, HttpExchange, Story]:
        handle = yield from self._folder(folder)
        answer = yield from self._asker.call(
            self._origin, "RopSynchronizationConfigure", [handle], SynchronizationType=kind, SendOptions=1,
            SynchronizationFlags=SYNC_FLAGS if kind == CONTENTS else 0x0001, RestrictionDataSize=0,
            SynchronizationExtraFlags=EXTRA_FLAGS if kind == CONTENTS else 0x0001,
            PropertyTags=[SUBJECT] if kind == CONTENTS else [],
        )  # fmt: skip
        context = opened(answer)
        data = bytearray()

        def take(got: Exchange) -> None:
            _check(got)
            for rop in got.rops:
                if rop.response is not None and rop.response.value is not None:
                    data.extend(rop.response.value["TransferBuffer"] or b"")

        request = _rop(GET_BUFFER, InputHandleIndex=0, BufferSize=GET_SIZE)
        _, trouble = yield from self._asker.read_on(self._origin, request, context, take)
        if trouble:
            self._asker.note(self._origin.frame, f"what was put into folder {folder} could not be read back: {trouble}")
        yield from self._asker.call(self._origin, "RopRelease", [context])
        return read_story(bytes(data), "contentsSync" if kind == CONTENTS else "hierarchySync")

    def _rops(self, rops: Sequence[tuple[str, dict[str, Any]]], handles: Sequence[int]) -> Answering:
        """Several ROPs in one buffer. Raises ProtocolError where one fails."""
        payload = [_rop(name, **fields) for name, fields in rops]
        exchange = yield from self._sent(payload, dict(enumerate(handles)))
        return exchange

    def _sent(self, payload: Sequence[bytes], slots: dict[int, int]) -> Answering:
        exchange = yield from self._asker.execute(self._origin, payload, slots)
        _check(exchange)
        return exchange


def content_with(seed: SeedMessage) -> bytes:
    """The content of a message, with what stands in for recipients and attachments that are told in other ways."""
    content, has_attachment = seed.content, False
    for element in elements_of(content):
        if element.tag in (MARKER["NewAttach"], MARKER["StartRecip"]):
            return content
        if element.tag == MESSAGE_FLAGS and int(element.value() or 0) & HAS_ATTACHMENTS:
            has_attachment = True
    return content + seed.recipients + (attachment() if has_attachment else b"")


def _rop(name: str, **fields: Any) -> bytes:
    return build(BY_NAME[name].request, Container(LogonId=0, **fields))


def _check(exchange: Exchange) -> None:
    """Raises ProtocolError where a ROP failed."""
    failed = next((one for one in exchange.rops if _failed(one)), None)
    if failed is not None:
        code = failed.return_value or 0
        raise ProtocolError(f"--seed: {failed.name} failed: 0x{code:08X} {failed.return_name}")


def _failed(rop: Rop) -> bool:
    return rop.return_value is not None and rop.return_value not in WITH_VALUE


def _xid(name: GlobalId) -> Xid:
    return Xid(name[0], name[1].to_bytes(6, "big"))


def _now() -> int:
    """A FILETIME."""
    return int(time.time() * 10_000_000) + 116_444_736_000_000_000


def _told(later: Later) -> str:
    """What happened between a state and its synchronization, in words."""
    counts = [
        (len(later.changed), "changed"), (len(later.made), "new"), (len(later.soft), "soft deleted"),
        (len(later.hard), "hard deleted"), (len(later.read), "read"), (len(later.unread), "unread"),
    ]  # fmt: skip
    return "messages " + ", ".join(f"{count} {word}" for count, word in counts if count)
