"""ICS states, captured to live: what a client of the live server would upload where the captured one uploaded this.

A state that the client uploads is one that a server gave it before, perhaps with changes of its own. Where the capture
shows the server giving it, the live server has given one in the same place, and that is what is sent: ids and change
numbers of the live server, whatever they are. What the captured client added to it or took away is added and taken
away, id by id. A state from before the capture has no live counterpart: its ids are mapped one by one as far as they
are known, and its change numbers keep their counts under the live GUIDs, with a note.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dissector.grammar.base import GrammarError
from dissector.grammar.idset import SET_FORMS, decode_idset, encode_idset
from dissector.grammar.names import property_name
from dissector.model.ids import ObjectId
from dissector.model.idset import EMPTY, IdSet, Replica
from replay.identity import GlobalId, Identity

GIVEN = 0x4017
"""Property id of MetaTagIdsetGiven: the set of objects; the others hold change numbers."""

MOST_KEPT = 200
"""States of a mailbox that are remembered."""

MOST_IDS = 100_000
"""Ids that are mapped one by one where a state was changed by the client."""


@dataclass(frozen=True, slots=True)
class Received:
    """A state that the captured server gave its client, and the one that the live server gave in its place.

    Sets by property name. where: the folder and what was synchronized.
    """

    where: tuple[ObjectId | None, str]
    captured: Mapping[str, IdSet]
    live: Mapping[str, IdSet]


@dataclass(slots=True)
class Rewritten:
    """A state property to upload. note: what is not sure about it, '' where all is."""

    data: bytes
    note: str = ""


@dataclass(slots=True)
class States:
    """The states of one mailbox that were received so far."""

    identity: Identity
    received: list[Received] = field(default_factory=list)

    def learn(
        self, where: tuple[ObjectId | None, str], captured: Mapping[str, IdSet], live: Mapping[str, IdSet]
    ) -> None:
        """A state was given by both servers in the same place."""
        self.received.append(Received(where, dict(captured), dict(live)))
        del self.received[:-MOST_KEPT]

    def rewrite(self, where: tuple[ObjectId | None, str], tag: int, data: bytes) -> Rewritten:
        """The bytes to upload for a captured state property."""
        form = SET_FORMS.get(tag >> 16)
        if form is None or not data:
            return Rewritten(data)
        name = property_name(tag) or f"0x{tag:08X}"
        try:
            captured = decode_idset(data, form)
        except GrammarError as error:
            return Rewritten(data, f"a set that cannot be read ({error.message}) is sent as captured")
        live, note = self._set(where, name, tag >> 16 == GIVEN, captured)
        return Rewritten(encode_idset(live), note)

    def _set(self, where: tuple[ObjectId | None, str], name: str, objects: bool, captured: IdSet) -> tuple[IdSet, str]:
        known = [one for one in reversed(self.received) if one.where == where and name in one.captured]
        known += [one for one in reversed(self.received) if one.where != where and name in one.captured]
        same = next((one for one in known if one.captured[name] == captured), None)
        if same is not None:
            return same.live.get(name, EMPTY), ""
        if self.identity.same_store:
            return captured, ""
        mapping = self.identity.try_global if objects else self.identity.changes.live.get
        here = [one for one in known if one.where == where]
        if here:
            base = max(here, key=lambda one: _overlap(one.captured[name], captured))
            return self._changed(base.captured[name], base.live.get(name, EMPTY), captured, mapping)
        if objects:
            return self._id_by_id(captured)
        return self._counts_kept(captured)

    def _changed(
        self, before: IdSet, live: IdSet, captured: IdSet, mapping: Callable[[GlobalId], GlobalId | None]
    ) -> tuple[IdSet, str]:
        """A state that the client changed since it received it."""
        unknown = 0
        for change, add in ((captured - before, True), (before - captured, False)):
            if change.count > MOST_IDS:
                unknown += change.count
                continue
            mapped = []
            for guid, counter in change.ids():
                known = mapping((guid, counter))  # type: ignore[arg-type]
                unknown += known is None
                if known is not None:
                    mapped.append(known)
            live = live | IdSet.of(mapped) if add else live - IdSet.of(mapped)
        note = f"{unknown} numbers that the client added or took away were never seen on the server" if unknown else ""
        return live, note

    def _id_by_id(self, captured: IdSet) -> tuple[IdSet, str]:
        """Objects from before the capture: those that are known."""
        known = {here: there for here, there in self.identity.known_objects() if here in captured}
        for one in self.identity.local:  # not counted up there
            ours = IdSet({one.captured[0]: [(one.captured[1], one.captured[1] + one.count - 1)]}) & captured
            if ours.count <= MOST_IDS:
                for guid, counter in ours.ids():
                    there = one.map((guid, counter)) if not isinstance(guid, int) else None
                    if there is not None:
                        known.setdefault((guid, counter), there)  # type: ignore[arg-type]
        live = IdSet.of(known.values())
        missing = captured.count - len(known)
        if not missing:
            return live, ""
        return live, f"a state from before the capture: {missing} of its {captured.count} ids are not known"

    def _counts_kept(self, captured: IdSet) -> tuple[IdSet, str]:
        """Change numbers from before the capture."""
        names: dict[Replica, Replica] = {guid: live for guid, live in self.identity.replicas.items()}  # noqa: C416
        live = captured.renamed(names)
        return live, "a state from before the capture: its change numbers are kept under the live GUID"


def _overlap(one: IdSet, other: IdSet) -> tuple[int, int]:
    common = (one & other).count
    return common, -((one - other).count + (other - one).count)
