"""Two FastTransfer streams as what they tell: sets of changes, sets of ids, states.

The order of changes does not count where the specification leaves it free [MS-OXCFXICS] 3.2.5.9: in a contents
synchronization without OrderByDeliveryTime. In a hierarchy a folder must come behind its parent. Which captured change
is which live change follows from ids that are known to be each other's, then from what describes them; matched changes
teach ids, change numbers and REPLIDs.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

from dissector.model.ids import ObjectId
from dissector.model.idset import EMPTY, IdSet, ranges_text
from dissector.model.pcl import Xid
from replay.compare.changes import Story, Told
from replay.compare.difference import ABSENT, DIFFERENT, EXPECTED, REMAPPED, Difference
from replay.compare.fields import CHANGES
from replay.compare.policy import DEFAULT_POLICY, Policy
from replay.compare.reasons import MISSING
from replay.compare.responses import NOT_SET, Judge
from replay.identity import GlobalId, Identity, Names, UnmappedError, global_id

ROP = "RopFastTransferSourceGetBuffer"

MOST_IDS = 100_000
"""Ids of a set that are looked at one by one."""

OWN_NUMBERS = "change numbers are the server's own; of those that both sides know the same ones are in it"

UNKNOWN = "nothing on the live server stands for it"
UNSENT = "the live server has it, and did not send it"
FOREIGN = "nothing in the capture stands for it: the live server had it before, or made it"
SENT_AGAIN = "the captured server did not send it here"

LOST = "the client wrote it, and the live server has not kept it"

LEFT_OUT = "the live server was seen to have what stands for them, and leaves it out"
LEFT_OUT_THERE = "the captured server leaves out what stands for them"
OWN_KEY = "the live server has put a change key of its own in the place of the client's"

DELIVERY = "PidTagMessageDeliveryTime"
NO_PART = "[MS-OXCFXICS] 3.3.4.3.1: MetaTagIdsetGiven is no part of the state of an upload; some servers keep it there"
SCOPE = "servers differ in which deletions they call out of scope"

KEYS = frozenset({"PidTagChangeKey", "PidTagPredecessorChangeList"})

HEADER_ORDER = ("PidTagSourceKey", "PidTagMid", "PidTagFolderId")
"""Ids of a change that are learned before its other properties are looked at."""

DESCRIBING = (
    "PidTagInternetMessageId", "PidTagMessageClass", "PidTagClientSubmitTime", "PidTagAttributeHidden",
    "PidTagContainerClass", "PidTagMessageFlags",
)  # fmt: skip

_CHANGE_SETS = frozenset({"MetaTagCnsetSeen", "MetaTagCnsetSeenFAI", "MetaTagCnsetRead"})


def compare_stories(
    captured: Story,
    live: Story,
    identity: Identity,
    policy: Policy = DEFAULT_POLICY,
    *,
    ordered: bool = False,
    given: Mapping[GlobalId, Set[str]] | None = None,
    strangers: Strangers | None = None,
    lacking: Mapping[Any, str] | None = None,
    upload: bool = False,
) -> list[Difference]:
    """Everything that is not the same between two streams.

    ordered: the order of messages counts. given: the properties that were written to the live server, by the captured
    ids of the messages: they have to be there. strangers: what had no counterpart so far, and is added to. lacking: why
    live objects miss something, by captured id. upload: a state that an upload ended with.
    """
    made = _Comparison(captured, live, identity, policy, ordered, given or {})
    made.strangers, made.lacking, made.upload = strangers or Strangers(), lacking or {}, upload
    return list(made.run())


@dataclass(slots=True)
class Strangers:
    """Objects without a counterpart, by global id: their names, and why."""

    captured: dict[GlobalId, str] = field(default_factory=dict)
    live: dict[GlobalId, str] = field(default_factory=dict)


def learn_replicas(story: Story, names: Names) -> None:
    """Which GUIDs the REPLIDs of a side stand for, from changes that tell both forms of an id."""
    for told in story.changes:
        key = told.key
        name = global_id(key) if key is not None else None
        if name is None:
            continue
        for path in ("PidTagMid", "PidTagFolderId"):
            number = told.get(path)
            if isinstance(number, ObjectId) and number.counter == name[1]:
                names.learn(number.replica_id, name[0])


class _Comparison:
    def __init__(
        self,
        captured: Story,
        live: Story,
        identity: Identity,
        policy: Policy,
        ordered: bool,
        given: Mapping[GlobalId, Set[str]],
    ) -> None:
        self.given = given
        self.captured, self.live, self.identity, self.ordered = captured, live, identity, ordered
        self.judge = Judge(ROP, identity, policy)
        self.matched: list[tuple[Told, Told]] = []
        self.strangers, self.upload = Strangers(), False
        self.lacking: Mapping[Any, str] = {}

    def run(self) -> Iterator[Difference]:
        learn_replicas(self.captured, self.identity.captured)
        learn_replicas(self.live, self.identity.live)
        pairs = self.pairs()
        self.matched = [(here, there) for here, there in pairs if here is not None and there is not None]
        for mine, theirs in self.matched:
            self.learn(mine, theirs)
        for here, there in pairs:
            if here is not None and there is not None:
                yield from self.change(here, there)
                here.forget()
                there.forget()
            elif here is not None:
                known = self.live_key(here.key) is not None
                why, cause = (UNSENT, "") if known else (UNKNOWN, MISSING)
                if not known:
                    stranger(self.strangers.captured, here, why)
                yield self.judge.differing(f"change {here.name}", "in the stream", ABSENT, why, cause=cause)
            elif there is not None:
                why = SENT_AGAIN if self.captured_key(there.key) is not None else FOREIGN
                if why == FOREIGN:
                    stranger(self.strangers.live, there, why)
                yield self.judge.differing(f"change {there.name}", ABSENT, "in the stream", why)
        yield from self.order()
        yield from self.deletions()
        kind = "readStateChanges"
        for name in dict.fromkeys((*self.captured.sets.get(kind, {}), *self.live.sets.get(kind, {}))):
            yield from self.ids(f"{kind}.{name}", self.captured.set_of(kind, name), self.live.set_of(kind, name))
        yield from self.state()
        for path, one, other in (
            ("errorInfo", self.captured.errors, self.live.errors),
            ("syntax", self.captured.faults, self.live.faults),
            ("progress", self.captured.progress, self.live.progress),
        ):
            if one != other:
                yield self.judge.differing(path, one or ABSENT, other or ABSENT)

    # Which is which.

    def pairs(self) -> list[tuple[Told | None, Told | None]]:
        """Every change once, in captured order, then what only the live server sent."""
        free = dict(enumerate(self.live.changes))
        found: dict[int, int] = {}
        keys = {told.key: at for at, told in free.items() if told.key is not None}
        for position, told in enumerate(self.captured.changes):
            live = self.live_key(told.key, self.identity.global_of)
            at = keys.get(live) if live is not None else None
            if at is not None and at in free:
                found[position] = at
                del free[at]
        for level in (3, 2, 1, 0):
            described: dict[Any, list[int]] = {}
            for at, told in free.items():
                if self.captured_key(told.key) is None:
                    described.setdefault(_description(told, level), []).append(at)
            for position, told in enumerate(self.captured.changes):
                if position in found or self.live_key(told.key) is not None:
                    continue
                candidates = described.get(_description(told, level), [])
                if candidates and (level > 0 or told.title):
                    found[position] = candidates.pop(0)
                    del free[found[position]]
        made: list[tuple[Told | None, Told | None]] = [
            (told, self.live.changes[found[position]] if position in found else None)
            for position, told in enumerate(self.captured.changes)
        ]
        return made + [(None, told) for told in free.values()]

    def live_key(self, key: Xid | None, known: Callable[[GlobalId], GlobalId | None] | None = None) -> Xid | None:
        """The live source key; known: how its id is found, by what was learned without."""
        name = global_id(key) if key is not None else None
        live = (known or self.identity.try_global)(name) if name is not None else None
        return Xid(live[0], live[1].to_bytes(6, "big")) if live is not None else None

    def captured_key(self, key: Xid | None) -> Any:
        name = global_id(key) if key is not None else None
        return self.identity.captured_global(name) if name is not None else None

    def learn(self, here: Told, there: Told) -> None:
        """The ids of a matched pair, before anything is compared: other changes may name them."""
        for path in HEADER_ORDER:
            self.identity.learn(here.get(path), there.get(path))
        for path in ("PidTagChangeNumber", "PidTagChangeKey"):
            mine, theirs = here.get(path), there.get(path)
            if isinstance(mine, Xid) and not self.own_change(mine):
                continue
            self.identity.learn(mine, theirs, change=True)

    def own_change(self, key: Xid) -> bool:
        name = global_id(key)
        return name is not None and self.identity.own(name[0])

    # What is compared.

    def change(self, here: Told, there: Told) -> Iterator[Difference]:
        if here.data == there.data and here.codepage == there.codepage:
            return
        prefix = ""
        partial = "partial" in (here.kind, there.kind)
        if here.kind != there.kind:
            prefix = f"change {here.name}."
            if partial:
                why = "a server may send a whole message where another sends what has changed [MS-OXCFXICS] 3.2.5.5"
                yield Difference(f"{prefix}kind", here.kind, there.kind, EXPECTED, why)
            else:
                yield self.judge.differing(f"{prefix}kind", here.kind, there.kind)
        if here.change.complete != there.change.complete:
            yield self.judge.differing(f"change {here.name}.complete", here.change.complete, there.change.complete)
        key = global_id(here.key) if here.key is not None else None
        given = self.given.get(key, frozenset()) if key is not None else frozenset()
        before, after = here.properties, there.properties
        for path in (*before, *(path for path in after if path not in before)):
            mine, theirs = before.get(path), after.get(path)
            if mine is not None and theirs is not None and mine.raw == theirs.raw and mine.tag == theirs.tag:
                continue
            if partial and (mine is None or theirs is None):
                continue
            prefix = prefix or f"change {here.name}."
            why = "" if theirs is not None else NOT_SET if path not in given else LOST
            if path in KEYS and theirs is not None and self.minted(here, there):
                why = OWN_KEY
            yield from self.judge.one(
                prefix + path,
                mine.value() if mine is not None else ABSENT,
                theirs.value() if theirs is not None else ABSENT,
                change=path.rpartition(".")[2].partition("#")[0] in CHANGES,
                given=path in given,
                why=why,
                cause=MISSING if why == NOT_SET else "",
            )

    def minted(self, here: Told, there: Told) -> bool:
        """Whether a client made this version, and the live server says that it did."""
        mine, theirs = here.get("PidTagChangeKey"), there.get("PidTagChangeKey")
        if not isinstance(mine, Xid) or not isinstance(theirs, Xid) or self.own_change(mine):
            return False
        return theirs.namespace in self.identity.live.numbers or theirs.namespace in self.identity.replicas.values()

    def order(self) -> Iterator[Difference]:
        """Folders behind their parents; messages as captured, where the client asked for an order."""
        if self.live.root == "hierarchySync":
            later = {told.key: at for at, told in enumerate(self.live.changes)}
            for at, told in enumerate(self.live.changes):
                parent = told.get("PidTagParentSourceKey")
                if later.get(parent, -1) > at:
                    yield self.judge.differing(f"change {told.name}", "behind its parent", "before its parent")
        elif self.ordered:
            live_order = {id(told): at for at, told in enumerate(self.live.changes)}
            timed = [
                pair for pair in self.matched if all(one.get(DELIVERY) is not None and not one.fai for one in pair)
            ]
            shown = [live_order[id(there)] for _, there in timed]
            if shown != sorted(shown):
                yield self.judge.differing("order of changes", "by delivery time", f"live positions {shown[:20]}")

    def deletions(self) -> Iterator[Difference]:
        """What is gone for the client. Which of it a server calls deleted and which out of scope is its own affair."""
        mine, theirs = self.captured.sets.get("deletions", {}), self.live.sets.get("deletions", {})
        names = list(dict.fromkeys((*mine, *theirs)))
        apart = [
            difference for name in names
            for difference in self.ids(f"deletions.{name}", mine.get(name, EMPTY), theirs.get(name, EMPTY))
        ]  # fmt: skip
        if any(one.verdict == DIFFERENT for one in apart):
            together = list(self.ids("deletions", EMPTY.union(*mine.values()), EMPTY.union(*theirs.values())))
            if not any(one.verdict == DIFFERENT for one in together):
                apart = [replace(one, verdict=EXPECTED, why=SCOPE) for one in apart]
        yield from apart

    def ids(self, path: str, here: IdSet, there: IdSet) -> Iterator[Difference]:
        """Sets of objects, id by id."""
        if here.count > MOST_IDS or there.count > MOST_IDS:
            if here != there:
                yield self.judge.differing(path, str(here), str(there), f"more than {MOST_IDS} ids")
            return
        left = {self.canonical(one, self.identity.live): one for one in there.ids()}
        unknown: list[Any] = []
        missing: list[Any] = []
        moved = False
        for one in here.ids():
            live = self.counterpart(one)
            if live is None:
                unknown.append(one)
            elif live in left:
                moved = moved or left[live] != one
                del left[live]
            else:
                missing.append(one)
        if missing:
            why = self.why_of(missing, self.identity.captured, self.lost)
            cause, why = (MISSING, why) if why else ("", LEFT_OUT)
            yield self.judge.differing(
                path, f"holds {_ids(missing)}", "does not hold what stands for them", why, cause=cause
            )
        if left:
            ids = list(left.values())
            why = self.why_of(ids, self.identity.live, self.strangers.live) or LEFT_OUT_THERE
            yield self.judge.differing(path, "does not hold what stands for them", f"holds {_ids(ids)}", why)
        if unknown:
            why = self.why_of(unknown, self.identity.captured, self.lost)
            why = why or "objects that the live server was never seen to have"
            yield self.judge.differing(path, f"holds {_ids(unknown)}", ABSENT, why, cause=MISSING)
        if moved and not (missing or left or unknown):
            yield Difference(path, str(here), str(there), REMAPPED)

    @property
    def lost(self) -> Mapping[Any, str]:
        """Why captured objects have no whole counterpart."""
        return ChainMap(self.strangers.captured, dict(self.lacking))

    def why_of(self, ids: list[tuple[Any, ...]], names: Names, known: Mapping[Any, str]) -> str:
        """What is known of objects of which only one side has a counterpart."""
        found = (known.get(self.canonical(one, names)) or known.get(ObjectId(*one)) for one in ids)
        reasons = Counter(filter(None, found))
        told = [f"{count} times: {why}" if count > 1 else why for why, count in reasons.most_common(2)]
        return "; ".join(told) + ("; ..." if len(reasons) > 2 else "")

    def canonical(self, one: tuple[Any, ...], names: Names) -> tuple[Any, ...]:
        """An id by its GUID where that is known, by its REPLID where not."""
        return names.global_id(ObjectId(*one)) or one if isinstance(one[0], int) else one

    def counterpart(self, one: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The live id of a captured one, in its canonical form."""
        if not isinstance(one[0], int):
            return self.identity.global_of((one[0], one[1]))
        try:
            live = self.identity.object_id(ObjectId(*one))
        except UnmappedError:
            return None
        return self.canonical(tuple(live), self.identity.live)

    def state(self) -> Iterator[Difference]:
        mine, theirs = self.captured.state, self.live.state
        for name in dict.fromkeys((*mine, *theirs)):
            here, there = self.captured.set_of("state", name), self.live.set_of("state", name)
            path = f"state.{name}"
            if name == "MetaTagIdsetGiven" and self.upload:
                found = list(self.ids(path, here, there))
                yield from (
                    one if one.verdict == REMAPPED else replace(one, verdict=EXPECTED, why=NO_PART) for one in found
                )
            elif name not in _CHANGE_SETS:
                yield from self.ids(path, here, there)
            elif here != there:
                yield self.numbers(path, here, there)

    def numbers(self, path: str, here: IdSet, there: IdSet) -> Difference:
        """Sets of change numbers: the numbers are a server's own affair, which changes they stand for is not."""
        apart = []
        for mine, theirs in self.matched:
            if path.endswith("Read") or mine.fai != path.endswith("FAI"):
                continue
            one, other = _number(mine, self.identity.captured), _number(theirs, self.identity.live)
            if one is not None and other is not None and (one in here) != (other in there):
                apart.append(mine.name)
        if apart:
            why = f"not in both sets: {', '.join(apart[:5])}" + (", ..." if len(apart) > 5 else "")
            return Difference(path, str(here), str(there), DIFFERENT, why)
        if bool(here) != bool(there):
            why = f"the {'live' if here else 'captured'} server has none of the changes in it"
            return self.judge.differing(path, str(here), str(there), why)
        return Difference(path, str(here), str(there), EXPECTED, OWN_NUMBERS)


def stranger(strangers: dict[GlobalId, str], told: Told, why: str) -> None:
    """Remember a change that has no counterpart."""
    name = global_id(told.key) if told.key is not None else None
    if name is not None:
        strangers[name] = f"{told.name}: {why}"


def _number(told: Told, names: Names) -> GlobalId | None:
    """The change number of a change by its GUID, None where that is not known.

    Without the number the change key tells it, where the server made that: it is a GID of the same number.
    """
    number, key = told.get("PidTagChangeNumber"), told.get("PidTagChangeKey")
    if isinstance(number, ObjectId):
        return names.global_id(number)
    name = global_id(key) if isinstance(key, Xid) else None
    return name if name is not None and name[0] in names.numbers else None


def _description(told: Told, level: int) -> tuple[Any, ...]:
    """What a change is about, in less detail at lower levels."""
    base = (told.kind == "folder", told.fai, told.title)
    if level == 0:
        return base
    message_class = told.get("PidTagMessageClass")
    if level == 1:
        return (*base, message_class)
    parts = tuple(str(told.get(path)) for path in DESCRIBING)
    if level == 2:
        return (*base, message_class, *parts)
    return (*base, message_class, *parts, str(told.get("PidTagBody")), len(told.properties))


def _ids(ids: list[Any]) -> str:
    by_replica: dict[Any, list[tuple[int, int]]] = {}
    for replica, counter in ids:
        by_replica.setdefault(replica, []).append((counter, counter))
    made = IdSet(by_replica)
    return "; ".join(f"{replica}: {ranges_text(ranges, 4)}" for replica, ranges in made.items())
