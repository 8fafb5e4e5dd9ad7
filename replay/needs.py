"""What a ROP needs of those before it: who opened its objects, what was done to them, who gave out the ids it names.

Followed over the capture alone, ROP by ROP; the answers are keys (exchange number, ROP number). The needs of the needs
are what has to be sent with a ROP so that it can be sent at all: closure().
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dissector.model.ids import LongTermId, ObjectId
from dissector.model.idset import IdSet
from dissector.model.pcl import Xid
from dissector.session.exchange import Rop
from dissector.session.tracker import WITH_VALUE
from replay.identity import GlobalId, global_id
from replay.rewrite import FIRST_NAMED, TAG_FIELDS, TAG_LISTS
from replay.ropkinds import SHAPES

Key: TypeAlias = tuple[int, int]

OWNED = frozenset({"stream", "attachment"})
"""Objects whose changes are changes of what they were opened on. (So are embedded messages.)"""


@dataclass(slots=True)
class Shown:
    """Who showed the ids of one mailbox first, in any session."""

    objects: dict[ObjectId, Key] = field(default_factory=dict)
    globals: dict[GlobalId, Key] = field(default_factory=dict)
    ranges: list[tuple[GlobalId, int, Key]] = field(default_factory=list)
    named: dict[int, Key] = field(default_factory=dict)
    states: list[tuple[Mapping[str, IdSet], Key]] = field(default_factory=list)

    def ids(self, value: Any) -> Iterator[Key]:
        """Who showed the ids in a value, those of named properties included."""
        yield from (self.named[number] for number in named_ids(value) if number in self.named)
        for one in identifiers(value):
            if isinstance(one, ObjectId):
                known = self.objects.get(one)
            else:
                known = self.globals.get(one) or self._range(one)
            if known is not None:
                yield known

    def _range(self, name: GlobalId) -> Key | None:
        for start, count, key in self.ranges:
            if start[0] == name[0] and 0 <= name[1] - start[1] < count:
                return key
        return None

    def state(self, name: str, sets: IdSet) -> Key | None:
        """Who gave a state with this very set last."""
        return next((key for known, key in reversed(self.states) if known.get(name) == sets), None)

    def learn(self, value: Any, key: Key) -> None:
        """A response (or a stream) shows these ids."""
        for one in identifiers(value):
            if isinstance(one, ObjectId):
                self.objects.setdefault(one, key)
            else:
                self.globals.setdefault(one, key)


@dataclass(slots=True)
class _Object:
    """An open object: who opened it, who changed it last, and changes of what it owns since then."""

    opened_by: Key
    owner: int | None = None
    last: Key | None = None
    below: set[Key] = field(default_factory=set)


class Needs:
    """Follows one session."""

    def __init__(self, shown: Shown) -> None:
        self.shown = shown
        self.opener: Key | None = None
        """Who opened the first object of the ROP that was asked about last."""
        self._objects: dict[int, _Object] = {}

    def of(self, rop: Rop, key: Key) -> set[Key]:
        """What this ROP needs. Call it for every ROP, in order."""
        definition = rop.definition
        if definition is None:
            return set()
        handles = [handle for name in definition.handles if (handle := rop.handles.get(name)) is not None]
        found: set[Key] = set()
        first = self._objects.get(handles[0]) if handles else None
        self.opener = first.opened_by if first is not None else None
        for handle in handles:
            known = self._objects.get(handle)
            if known is None:
                continue
            found.add(known.opened_by)
            if known.last is not None:
                found.add(known.last)
            if definition.name in SHAPES:
                found |= known.below
        if rop.request is not None and rop.request.value is not None:
            found.update(self.shown.ids(rop.request.value))
        if definition.name in SHAPES:
            for handle in handles:
                self._changed(handle, key)
        output = rop.handles.get(definition.output) if definition.output else None
        if output is not None and rop.return_value in WITH_VALUE:
            owned = definition.opens in OWNED or definition.name == "RopOpenEmbeddedMessage"
            self._objects[output] = _Object(key, handles[0] if owned and handles else None)
        if definition.name == "RopRelease":
            for handle in handles:
                self._objects.pop(handle, None)
        found.discard(key)
        return found

    def _changed(self, handle: int, key: Key) -> None:
        known = self._objects.get(handle)
        if known is None:
            return
        known.last = key
        known.below.clear()
        owner = known.owner
        for _ in range(64):
            above = self._objects.get(owner) if owner is not None else None
            if above is None:
                return
            above.below.add(key)
            owner = above.owner


def identifiers(value: Any) -> Iterator[ObjectId | GlobalId]:
    """Every id in a value: ObjectIds, and the global ids of LongTermIds, source keys and change keys."""
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, ObjectId):
            if one.counter:
                yield one
        elif isinstance(one, LongTermId):
            if one.counter:
                yield one.guid, one.counter
        elif isinstance(one, Xid):
            name = global_id(one)
            if name is not None:
                yield name
        elif isinstance(one, dict):
            stack.extend(one.values())
        elif isinstance(one, list):
            stack.extend(one)


def named_ids(value: Any) -> Iterator[int]:
    """The ids of named properties (from 0x8000 on) whose tags stand in a request."""
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, list):
            stack.extend(one)
        elif isinstance(one, dict):
            for name, item in one.items():
                if name in TAG_FIELDS and isinstance(item, int) and item >= FIRST_NAMED:
                    yield item >> 16
                elif name in TAG_LISTS and isinstance(item, list):
                    yield from (tag >> 16 for tag in item if isinstance(tag, int) and tag >= FIRST_NAMED)
                elif name == "PropertyIds" and isinstance(item, list):
                    yield from (number for number in item if number >= 0x8000)
                else:
                    stack.append(item)


def closure(chosen: Iterable[Key], needs: Mapping[Key, Iterable[Key]]) -> set[Key]:
    """The chosen ones with all that they need."""
    found: set[Key] = set()
    stack = list(chosen)
    while stack:
        key = stack.pop()
        if key not in found:
            found.add(key)
            stack.extend(needs.get(key, ()))
    return found
