"""One synchronization as a record: plain values, no bytes. Made by sync.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, overload

from dissector.grammar.outline import Messages
from dissector.model.icsstate import NOTHING, IcsState
from dissector.model.ids import ObjectId
from dissector.model.idset import EMPTY, IdSet
from dissector.model.pcl import PredecessorChangeList, Xid
from dissector.session.packed import Packed
from dissector.session.replicas import GlobalId
from dissector.session.stream import Stream

UNICODE, NO_DELETIONS, IGNORE_NO_LONGER_IN_SCOPE, READ_STATE, FAI, NORMAL = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
"""SynchronizationFlags of RopSynchronizationConfigure that decide what comes [MS-OXCFXICS] 2.2.3.2.1.1.1."""


SYNC_CONFLICT = 0x80040802


@dataclass(slots=True, eq=False)
class SyncChange:
    """A message or folder that came down or went up.

    kind: "full", "partial" (messageChange), "folder" (folderChange) of a download; "import" (a message),
    "import-folder", "move" of an upload. id, version: PidTagMid or PidTagFolderId, and PidTagChangeNumber, under the
    REPLGUID (None: not sent and not to be told from the keys, or no REPLID is known); mid, cn: as they were sent.
    status: "new", "changed", or "again" (the uploaded state says that the client has this very version), '' where the
    uploaded state is not known. size: as the server announced it. parent: of a folder; None is the folder that is
    synchronized. code: ReturnValue of the import; saved: of the RopSaveChangesMessage that ended it (None: there was
    none). frame, last_frame: which carried it; offset, bytes: in the stream. flags: ImportFlag of an upload.
    """

    kind: str
    frame: int
    exchange: int = 0
    last_frame: int = 0
    id: GlobalId | None = None
    version: GlobalId | None = None
    mid: ObjectId | None = None
    cn: ObjectId | None = None
    source_key: Xid | None = None
    parent: Xid | None = None
    change_key: Xid | None = None
    pcl: PredecessorChangeList | None = None
    modified: int | None = None
    fai: bool | None = None
    name: str | None = None
    message_class: str | None = None
    status: str = ""
    size: int | None = None
    offset: int = 0
    bytes: int = 0
    groups: int = 0
    warnings: tuple[int, ...] = ()
    complete: bool = True
    flags: int = 0
    code: int | None = None
    saved: int | None = None
    save_frame: int = 0
    source_folder: Xid | None = None
    old_key: Xid | None = None
    """Of a move: the source key in the source folder."""

    @property
    def refused(self) -> int | None:
        """The code that refused an import, 0 where it was taken; None where no response was captured."""
        if self.code:
            return self.code
        return self.saved if self.saved is not None else self.code


class Changes(Sequence[SyncChange]):
    """The changes of a synchronization, in order. single: those that are held as objects. packed: messages that are
    not, if there are any; they are made into objects when somebody runs through all.
    """

    def __init__(self) -> None:
        self.single: list[SyncChange] = []
        self.packed: Packed | None = None
        self._before: list[int] = []
        """How many single ones came before each part that is packed."""

    def append(self, change: SyncChange) -> None:
        self.single.append(change)

    def pack(self, packed: Packed, messages: Messages, frame: int) -> None:
        """Messages that came together, in the frame that completed them."""
        self.packed = packed
        self._before.append(len(self.single))
        packed.add(messages, frame)

    def __len__(self) -> int:
        return len(self.single) + (self.packed.count if self.packed is not None else 0)

    def __iter__(self) -> Iterator[SyncChange]:
        at = 0
        for before, part in zip(self._before, self.packed.parts if self.packed is not None else (), strict=True):
            yield from self.single[at:before]
            at = before
            assert self.packed is not None
            yield from self.packed.changes(*part)
        yield from self.single[at:]

    @overload
    def __getitem__(self, index: int) -> SyncChange: ...
    @overload
    def __getitem__(self, index: slice) -> list[SyncChange]: ...
    def __getitem__(self, index: int | slice) -> SyncChange | list[SyncChange]:
        return (self.single if self.packed is None else list(self))[index]


class Operation(NamedTuple):
    """An import of deletions or read states. kind: "delete", "hard-delete", "read", "unread"."""

    kind: str
    rop: str
    exchange: int
    frame: int
    code: int | None
    keys: tuple[Xid, ...]


@dataclass(slots=True, eq=False)
class SyncRecord:
    """One synchronization: a download context (RopSynchronizationConfigure) or an upload context (...OpenCollector).

    number: 1-based, in order of opening. direction: "download", "upload". kind: "contents", "hierarchy" (inferred: the
    stream told it, its opening was not captured). mailbox, client: who (GUID or user, host). started, ended: times.
    options: the fields of the opening ROP in words; flags: SynchronizationFlags. restriction: in words.
    initial: the uploaded state, None where it was not captured in full (initial_why). final: of a download the state at
    the end of its stream, of an upload what RopSynchronizationGetTransferState gave; None where it was not captured.
    checkpoint: of a download what RopSynchronizationGetTransferState gave. final_given: whether the final state has a
    MetaTagIdsetGiven. deletions: by "deleted", "no longer in scope", "expired"; of uploads "soft deleted", "hard
    deleted". read, unread: ids. foreign_keys: source keys of deletions and read states that are no GIDs.
    codes: ReturnValues other than 0, by ROP. trouble: what is wrong with sets. complete: all was sent and captured.
    """

    number: int
    session: int
    direction: str
    kind: str
    stream: Stream
    mailbox: str = ""
    client: str = ""
    user: str = ""
    folder: ObjectId | None = None
    folder_id: GlobalId | None = None
    folder_name: str = ""
    options: dict[str, str] = field(default_factory=dict)
    flags: int | None = None
    restriction: str = ""
    property_tags: int = 0
    initial: IcsState | None = None
    initial_why: str = ""
    uploaded: tuple[str, ...] = ()
    final: IcsState | None = None
    final_given: bool = False
    checkpoint: IcsState | None = None
    changes: Changes = field(default_factory=Changes)
    operations: list[Operation] = field(default_factory=list)
    deletions: dict[str, IdSet] = field(default_factory=dict)
    read: IdSet = EMPTY
    unread: IdSet = EMPTY
    foreign_keys: list[Xid] = field(default_factory=list)
    announced: Mapping[str, int] | None = None
    codes: Counter[tuple[str, int]] = field(default_factory=Counter)
    trouble: list[str] = field(default_factory=list)
    errors: int = 0
    frames: tuple[int, int] = (0, 0)
    exchanges: tuple[int, int] = (0, 0)
    started: float = 0.0
    ended: float = 0.0
    released: bool = False

    @property
    def complete(self) -> bool:
        return self.stream.complete

    @property
    def why(self) -> str:
        return self.stream.why

    @property
    def inferred(self) -> bool:
        return self.stream.inferred

    @property
    def bytes(self) -> int:
        return self.stream.size

    @property
    def buffers(self) -> int:
        return len(self.stream.buffers)

    @property
    def elapsed(self) -> float:
        """Seconds from the ROP that opened the context to the last answer that mattered."""
        return max(0.0, self.ended - self.started)

    @property
    def bootstrap(self) -> bool:
        """Whether the client said that it has nothing yet."""
        return self.initial is not None and self.initial.empty

    @property
    def key(self) -> tuple[str, str, str, str] | None:
        """What has one state: the client's replica of a folder's contents, or of its hierarchy. None: not known.

        A restriction makes it another scope with a state of its own; flags do not [MS-OXCFXICS] 3.3.5.5.
        """
        kind = f"{self.kind} {self.restriction}" if self.restriction else self.kind
        return (self.client, self.mailbox, str(self.folder), kind) if self.folder is not None else None

    @property
    def gone(self) -> IdSet:
        """All ids that the stream takes away."""
        return EMPTY.union(*self.deletions.values())

    def counts(self) -> dict[str, int]:
        """How much of what: only what there is."""
        found: Counter[str] = Counter()
        for one in self.changes:
            found[one.status or one.kind] += 1
            found["FAI"] += bool(one.fai)
            found["partial"] += one.kind == "partial"
            found["refused"] += bool(one.refused)
            found["conflicts"] += one.refused == SYNC_CONFLICT
            found["cut short"] += not one.complete
        for name, idset in self.deletions.items():
            found[name] += idset.count
        found["read"] += self.read.count
        found["unread"] += self.unread.count
        found["foreign keys"] += len(self.foreign_keys)
        return {name: count for name, count in found.items() if count}

    def sets(self) -> Iterator[tuple[str, IdSet, IdSet | None]]:
        """(property, set before, set after) for what this kind of synchronization has."""
        before = self.initial if self.initial is not None else NOTHING
        wanted = 4 if self.kind == "contents" else 2
        for index, (name, one) in enumerate(before.named()):
            if index < wanted:
                yield name, one, self.final[index] if self.final is not None else None
