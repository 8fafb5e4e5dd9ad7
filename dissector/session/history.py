"""What became of the states of a folder: whether a client comes back with the one that it was given last.

A client is to come with the final state of its last download, grown by what it uploaded since: its own imports enter
the sets, and what it deleted or moved away may have left MetaTagIdsetGiven [MS-OXCFXICS] 3.3.5.1, 3.3.5.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from dissector.model.icsstate import NOTHING, IcsState
from dissector.model.idset import EMPTY, IdSet
from dissector.session.replicas import global_id
from dissector.session.syncrecord import SyncRecord


class Origin(NamedTuple):
    """Where the state that a client uploaded comes from.

    kind: "unknown" (not captured), "first" (the capture has none before), "same" (as it was given last), "bootstrap"
    (nothing, after there was something), "rolled back" (as after an earlier one), "not taken" (as before the last one),
    "lost" (something that was given is missing), "grown" (more than was given and uploaded).
    number: the synchronization that it is compared with; session: of that one. lost, grown: set by set. unused: what
    uploads since then gave and the client did not take (it need not: it gets its own changes once more).
    """

    kind: str
    number: int | None = None
    session: int | None = None
    lost: tuple[tuple[str, IdSet], ...] = ()
    grown: tuple[tuple[str, IdSet], ...] = ()
    unused: tuple[tuple[str, IdSet], ...] = ()


UNKNOWN, FIRST = Origin("unknown"), Origin("first")


class Told(NamedTuple):
    """A download that ended with a state."""

    number: int
    session: int
    initial: IcsState | None
    final: IcsState


@dataclass(slots=True)
class Chain:
    """The states of one client for one folder. Since the last of them: by what the client's own state may have grown
    (grown) or shrunk (gone), and the state that an upload gave back (offered)."""

    told: list[Told] = field(default_factory=list)
    grown: IcsState = NOTHING
    offered: IcsState = NOTHING
    gone: IdSet = EMPTY


class History:
    """Fed with records in order: origin() before add()."""

    KEPT = 64
    """So many states of each folder are remembered."""

    def __init__(self) -> None:
        self.chains: dict[tuple[str, str, str, str], Chain] = {}

    def origin(self, record: SyncRecord) -> Origin:
        if record.initial is None or record.key is None:
            return UNKNOWN
        found = [self._origin(record, record.initial, chain) for chain in self.chains_of(record) if chain.told]
        if len(found) < 2:
            return found[0] if found else FIRST
        return next((one for one in found if one.kind in ("same", "grown")), UNKNOWN)

    def chains_of(self, record: SyncRecord) -> list[Chain]:
        """What a record goes on with. An upload does not say to which scope of its folder it belongs."""
        key = record.key
        if key is None:
            return []
        if record.direction == "download":
            return [self.chains.setdefault(key, Chain())]
        whole = self.chains.setdefault(key, Chain())
        others = [
            chain for other, chain in self.chains.items()
            if other[:3] == key[:3] and other[3].startswith(f"{record.kind} ")
        ]  # fmt: skip
        return [whole, *others]

    def _origin(self, record: SyncRecord, state: IcsState, chain: Chain) -> Origin:
        last = chain.told[-1]
        if record.direction == "upload":
            if state.empty:  # the initial state of an upload may be left out
                return FIRST
            if not state.given:  # and so may the ids, which do not matter there
                state = state._replace(given=last.final.given)
        unused = missing(chain.offered, state)
        if state == last.final:
            return Origin("same", last.number, last.session, unused=unused)
        lost = missing(last.final, state, gone=chain.gone)
        grown = missing(state, last.final, known=chain.grown)
        if state.empty:
            return Origin("bootstrap", last.number, last.session, lost)
        if not lost:
            return Origin("grown" if grown else "same", last.number, last.session, grown=grown, unused=unused)
        if state == last.initial:
            return Origin("not taken", last.number, last.session, lost, grown)
        for older in reversed(chain.told[:-1]):
            if state == older.final:
                return Origin("rolled back", older.number, older.session, lost, grown)
        return Origin("lost", last.number, last.session, lost, grown)

    def add(self, record: SyncRecord) -> None:
        self._moved_away(record)
        chains = self.chains_of(record)
        if record.direction == "download":
            for chain in chains:
                self._downloaded(record, chain)
            return
        ids, _ = _of_changes(record)
        for chain in chains:
            chain.grown = _union(chain.grown, IcsState(ids))
            if record.final is not None:
                chain.offered = record.final._replace(given=EMPTY)
                chain.grown = _union(chain.grown, record.final)
            chain.gone |= record.gone

    def _downloaded(self, record: SyncRecord, chain: Chain) -> None:
        if record.final is not None and record.complete:
            chain.told.append(Told(record.number, record.session, record.initial, record.final))
            del chain.told[: -self.KEPT]
            chain.grown, chain.gone, chain.offered = NOTHING, EMPTY, NOTHING
        elif record.changes:  # a client may keep what it got of a stream that did not end
            ids, versions = _of_changes(record)
            chain.grown = _union(chain.grown, IcsState(ids, versions, versions))
            chain.gone |= record.gone
        if record.checkpoint is not None:
            chain.grown = _union(chain.grown, record.checkpoint)

    def _moved_away(self, record: SyncRecord) -> None:
        """ImportMessageMove is called on the destination: the ids leave another folder."""
        moved: dict[str, list[tuple[object, int]]] = {}
        for one in record.changes.single:
            folder, old = global_id(one.source_folder), global_id(one.old_key)
            if folder is not None and old is not None and not one.code:
                moved.setdefault(f"{folder[1]:012x}", []).append(old)
        for key, chain in self.chains.items():
            counter = key[2].partition("-")[2]
            if counter in moved and key[:2] == (record.client, record.mailbox) and key[3].startswith("contents"):
                chain.gone |= IdSet.of(moved[counter])


def missing(
    wanted: IcsState, state: IcsState, *, gone: IdSet = EMPTY, known: IcsState = NOTHING
) -> tuple[tuple[str, IdSet], ...]:
    """Set by set what is wanted and not in the state. gone: ids that may be missing; known: what is not asked for."""
    found = []
    for index, (name, one) in enumerate(wanted.named()):
        left = one - state[index] - known[index]
        if name == "MetaTagIdsetGiven":
            left -= gone
        if left:
            found.append((name, left))
    return tuple(found)


def _of_changes(record: SyncRecord) -> tuple[IdSet, IdSet]:
    taken = [one for one in record.changes.single if not one.refused]
    ids = IdSet.of([one.id for one in taken if one.id is not None])
    versions = IdSet.of([one.version for one in taken if one.version is not None])
    packed = record.changes.packed
    return (ids, versions) if packed is None else (ids | packed.ids, versions.union(packed.seen, packed.seen_fai))


def _union(first: IcsState, second: IcsState) -> IcsState:
    return IcsState(*(one | two for one, two in zip(first, second, strict=True)))
