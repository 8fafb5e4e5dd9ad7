"""ICS state: what a client says it has, uploaded property by property [MS-OXCFXICS] 2.2.1.1, 3.2.5.9.2."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeVar

from dissector.grammar.base import GrammarError
from dissector.grammar.idset import IDSET_REPLGUID, decode_idset, encode_idset
from dissector.model.idset import EMPTY, IdSet
from replay.server.errors import FORMAT_ERROR, INVALID_PARAMETER, RopError
from replay.server.fxwriter import Piece, Writer
from replay.server.mailbox import Mailbox, unpack
from replay.server.session import ServerObject

GIVEN, SEEN, SEEN_FAI, READ = 0x4017, 0x6796, 0x67DA, 0x67D2
FIELDS = {GIVEN: "given", SEEN: "seen", SEEN_FAI: "seen_fai", READ: "read"}
MAX_SIZE = 16 * 1024 * 1024
"""Bytes of one state property."""


@dataclass(frozen=True, slots=True)
class SyncState:
    """The four sets, by replica GUID."""

    given: IdSet = EMPTY
    seen: IdSet = EMPTY
    seen_fai: IdSet = EMPTY
    read: IdSet = EMPTY

    def with_set(self, prop_id: int, idset: IdSet) -> SyncState:
        return replace(self, **{FIELDS[prop_id]: idset})

    def pieces(self, writer: Writer, context: SyncContext) -> Iterator[Piece]:
        """The `state` element as a context hands it out."""
        choices = context.choices
        yield writer.marker("IncrSyncStateBegin")
        if choices.tells_given(context):
            yield from set_pieces(GIVEN << 16 | 3, choices.encoded(self.given))
        yield from set_pieces(SEEN << 16 | 0x102, choices.encoded(self.seen))
        if context.contents:
            yield from set_pieces(SEEN_FAI << 16 | 0x102, choices.encoded(self.seen_fai))
            yield from set_pieces(READ << 16 | 0x102, choices.encoded(self.read))
        yield writer.marker("IncrSyncStateEnd")


def set_pieces(tag: int, data: bytes) -> Iterator[Piece]:
    """A property whose value is a serialized set."""
    yield Piece(tag.to_bytes(4, "little"))
    yield Piece(len(data).to_bytes(4, "little"))
    if data:
        yield Piece(data, True)


def ids_of(mailbox: Mailbox, identifiers: list[int]) -> IdSet:
    """Ids of the database as a set by replica GUID."""
    guids = {}
    made: dict[int, list[tuple[int, int]]] = {}
    for identifier in identifiers:
        replica_id, counter = unpack(identifier)
        made.setdefault(replica_id, []).append((counter, counter))
    for replica_id in made:
        guids[replica_id] = mailbox.guid_of(replica_id)
    return IdSet({guid: made[replica_id] for replica_id, guid in guids.items() if guid is not None})


def by_replica_id(mailbox: Mailbox, idset: IdSet) -> IdSet:
    """The same set as one logon understands it."""
    return IdSet({mailbox.replica_id_of(guid): ranges for guid, ranges in idset.items() if not isinstance(guid, int)})


class StateUpload:
    """The state of a synchronization context on its way up."""

    def __init__(self) -> None:
        self.state = SyncState()
        self._property: int | None = None
        self._data = bytearray()

    def begin(self, tag: int, size: int) -> None:
        if tag >> 16 not in FIELDS or tag & 0xFFFF not in (0x102, 3) or self._property is not None:
            raise RopError(INVALID_PARAMETER)
        if tag & 0xFFFF == 3 and tag >> 16 != GIVEN:
            raise RopError(INVALID_PARAMETER)
        if size > MAX_SIZE:
            raise RopError(INVALID_PARAMETER)
        self._property, self._data = tag >> 16, bytearray()

    def go_on(self, data: bytes) -> None:
        if self._property is None or len(self._data) + len(data) > MAX_SIZE:
            raise RopError(INVALID_PARAMETER)
        self._data += data

    def end(self) -> None:
        if self._property is None:
            raise RopError(INVALID_PARAMETER)
        prop_id, self._property = self._property, None
        self.state = self.state.with_set(prop_id, self.read_set(bytes(self._data)))

    def read_set(self, data: bytes) -> IdSet:
        """The set that a property holds, all of it being here."""
        try:
            return decode_idset(data, IDSET_REPLGUID)
        except GrammarError as error:
            raise RopError(FORMAT_ERROR) from error


class Versioned(Protocol):
    """A message or folder row, as far as its version goes."""

    @property
    def id(self) -> int: ...

    @property
    def cn(self) -> int: ...


class Sent(NamedTuple):
    """A message that went out, in the version that did."""

    id: int
    cn: int
    associated: int


Row = TypeVar("Row", bound=Versioned)


@lru_cache(8)
def _encoded(idset: IdSet) -> bytes:
    """A state is handed out twice: at the end of its stream, and by RopSynchronizationGetTransferState."""
    return encode_idset(idset)


class Choices:
    """What a synchronization context decides as the specification says. Faults decide otherwise (faults/)."""

    def lacking(self, rows: list[Row], seen: Callable[[int], bool]) -> list[Row]:
        """Those of the rows whose version the client has not seen."""
        return [row for row in rows if not seen(row.cn)]

    def sends(self, row: Versioned) -> bool:
        """Whether a change that the client lacks goes out."""
        return True

    def state(self, context: SyncContext, before: SyncState, after: SyncState, sent: Sequence[Versioned]) -> SyncState:
        """The final state of a download: `after`. before: what was uploaded; sent: what went out."""
        return after

    def stream(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """The whole stream of a download."""
        return pieces

    def encoded(self, idset: IdSet) -> bytes:
        """A set of a state that is handed out."""
        return _encoded(idset)

    def tells_given(self, context: SyncContext) -> bool:
        """Whether the state has MetaTagIdsetGiven: that of an upload has not [MS-OXCFXICS] 3.2.5.2.1."""
        return not context.is_upload


class SyncContext(ServerObject):
    """A synchronization context, of a download or an upload."""

    upload: StateUpload
    contents: bool
    is_upload = False
    choices = Choices()

    @property
    def state(self) -> SyncState:
        """The state to hand out."""
        return self.upload.state
