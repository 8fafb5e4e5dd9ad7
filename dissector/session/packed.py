"""Messages of which only the header was read, kept as they came: columns of bytes, and the sets that rules ask for.

An object for each of some hundred thousand messages costs more than all else of a diagnosis. Rules ask most questions
of all messages at one go, of the sets here; a SyncChange is made where one of them needs a closer look.
"""

from __future__ import annotations

import uuid
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from itertools import chain
from struct import Struct
from typing import TYPE_CHECKING

from dissector.grammar.outline import Messages
from dissector.model.idset import EMPTY, IdSet, Replica
from dissector.session.replicas import Replicas

if TYPE_CHECKING:
    from dissector.session.syncrecord import SyncChange

KEY_SIZE = 22
"""Of a source key and a change key that are GIDs."""
_GID, _ID = Struct(">16sHI").iter_unpack, Struct(">2sHI").iter_unpack
_KEY = Struct("22s").iter_unpack
FAI = 1


class Packed:
    """All such messages of a synchronization. changes: called with some that came together, their frame, and from which
    of them on, it makes SyncChanges.

    count, fai: how many there are, and how many of them are FAI. keys, change_keys: PidTagSourceKey and the only change
    of the change list, 22 bytes each. ids, seen, seen_fai: as SyncChange.id and .version say, as sets; see tell().
    """

    def __init__(self, changes: Callable[..., Iterator[SyncChange]]) -> None:
        self.changes = changes
        self.parts: list[tuple[Messages, int]] = []
        """With the frame that completed each."""
        self._starts: list[int] = []
        """How many messages are before each part."""
        self.keys = self.change_keys = b""
        self.ids = self.seen = self.seen_fai = EMPTY
        self.count = self.fai = 0

    def add(self, messages: Messages, frame: int) -> None:
        self.parts.append((messages, frame))
        self._starts.append(self.count)
        self.count += messages.count
        self.fai += messages.fai.count(FAI)

    def tell(self, replicas: Replicas, counted: Collection[object]) -> None:
        """Make the sets. counted: the replicas that the states count in: of others a change key tells no version."""
        self.keys = b"".join([messages.keys for messages, _ in self.parts])
        self.change_keys = b"".join([messages.change_keys for messages, _ in self.parts])
        ids = Counters(replicas)
        for messages, _ in self.parts:
            ids.add(messages.ids, messages.keys)
        self.ids = ids.set()
        del ids  # of many messages it is large
        seen, seen_fai = Counters(replicas, counted), Counters(replicas, counted)
        for messages, _ in self.parts:
            numbers, changes, fai = messages.numbers, messages.change_keys, messages.fai
            if FAI not in fai:
                seen.add(numbers, changes)
                continue
            for index, one in enumerate(fai):
                which = seen_fai if one == FAI else seen
                which.add(numbers[8 * index : 8 * index + 8], changes[22 * index : 22 * index + 22])
        self.seen, self.seen_fai = seen.set(), seen_fai.set()

    def each_key(self) -> Iterator[bytes]:
        return chain.from_iterable(_KEY(self.keys))

    def each_change_key(self) -> Iterator[bytes]:
        return chain.from_iterable(_KEY(self.change_keys))

    def change(self, index: int) -> SyncChange:
        """One of them. Raises IndexError."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        at = bisect_right(self._starts, index) - 1
        messages, frame = self.parts[at]
        return next(self.changes(messages, frame, index - self._starts[at]))


class Counters:
    """Collects ids by REPLGUID. known: where nothing maps a REPLID, the GID beside it counts if it is of one of these
    replicas; None: of any.
    """

    def __init__(self, replicas: Replicas, known: Collection[object] | None = None) -> None:
        self._replicas, self._known = replicas, known
        self._mapped: defaultdict[int, list[int]] = defaultdict(list)
        self._beside: defaultdict[bytes, list[int]] = defaultdict(list)

    def add(self, ids: bytes, keys: bytes) -> None:
        """Ids of 8 bytes each, or none, and the GIDs beside them."""
        if not ids:
            rows = list(_GID(keys))
            if len({space for space, _, _ in rows}) == 1:
                self._beside[rows[0][0]] += [high << 32 | low for _, high, low in rows]
            else:
                for space, high, low in rows:
                    self._beside[space].append(high << 32 | low)
            return
        for (replica, high, low), (space, other_high, other_low) in zip(_ID(ids), _GID(keys), strict=True):
            number = replica[0] | replica[1] << 8
            if number in self._replicas.known:
                self._mapped[number].append(high << 32 | low)
            else:
                self._beside[space].append(other_high << 32 | other_low)

    def set(self) -> IdSet:
        found: defaultdict[Replica, list[int]] = defaultdict(list)
        for number, counters in self._mapped.items():
            found[self._replicas.known[number].guid] += counters
        for space, counters in self._beside.items():
            guid = uuid.UUID(bytes_le=space)
            if self._known is None or guid in self._known:
                found[guid] += counters
        return IdSet.counting(found)
