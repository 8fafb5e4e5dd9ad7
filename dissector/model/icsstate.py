"""The ICS state: what one side believes the client has [MS-OXCFXICS] 2.2.1.1, 3.1.5.3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import NamedTuple

from dissector.model.idset import EMPTY, IdSet, Replica

SETS: Mapping[str, str] = {
    "MetaTagIdsetGiven": "given",
    "MetaTagCnsetSeen": "seen",
    "MetaTagCnsetSeenFAI": "seen_fai",
    "MetaTagCnsetRead": "read",
}
"""The four properties, in the order in which they are told, and the member that holds each."""


class Relation(Enum):
    """How one state stands to an earlier one."""

    EQUAL = "equal"
    LATER = "later"
    EARLIER = "earlier"
    APART = "apart"


class Difference(NamedTuple):
    """What one set has that another has not, both ways."""

    name: str
    added: IdSet
    removed: IdSet

    def __bool__(self) -> bool:
        return bool(self.added or self.removed)


class IcsState(NamedTuple):
    """The four sets. A hierarchy synchronization has no seen_fai and no read: they are empty.

    given: ids of the objects that the client has. seen, seen_fai: change numbers of the versions that it has (normal
    messages and folders; FAI messages). read: change numbers of read-state changes.
    """

    given: IdSet = EMPTY
    seen: IdSet = EMPTY
    seen_fai: IdSet = EMPTY
    read: IdSet = EMPTY

    @classmethod
    def of(cls, sets: Mapping[str, IdSet]) -> IcsState:
        """From sets by property name; others than the four are left out."""
        return cls(**{member: sets[name] for name, member in SETS.items() if name in sets})

    def named(self) -> Iterator[tuple[str, IdSet]]:
        """(property name, set) of all four."""
        return zip(SETS, self, strict=True)

    @property
    def empty(self) -> bool:
        """Whether the client has nothing yet: what comes next is a bootstrap."""
        return not any(self)

    def renamed(self, names: Mapping[Replica, Replica]) -> IcsState:
        return IcsState(*(one.renamed(names) for one in self))

    def difference(self, before: IcsState) -> list[Difference]:
        """Set by set what is in this state and was not in the one before, and the other way round."""
        return [
            Difference(name, mine - theirs, theirs - mine)
            for (name, mine), theirs in zip(self.named(), before, strict=True)
        ]

    def relation(self, other: IcsState) -> Relation:
        """What this state is, seen from another one: LATER where it can have been reached from the other.

        Sets of change numbers only grow. The ids given do not tell an order: objects come and are deleted.
        """
        if self == other:
            return Relation.EQUAL
        mine, theirs = self[1:], other[1:]
        if mine == theirs:  # the ids alone differ: a deletion, or a message whose change number was there already
            return Relation.LATER
        if all(one.includes(two) for one, two in zip(mine, theirs, strict=True)):
            return Relation.LATER
        if all(two.includes(one) for one, two in zip(mine, theirs, strict=True)):
            return Relation.EARLIER
        return Relation.APART


NOTHING = IcsState()
"""The state of a client that has nothing yet."""
