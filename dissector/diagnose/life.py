"""The life of one object over the synchronizations of a capture: why it was sent, was not sent, or was in conflict.

A server sends what is in scope and whose change number is not in the uploaded MetaTagCnsetSeen (MetaTagCnsetSeenFAI);
flags and the restriction narrow that down [MS-OXCFXICS] 3.2.5.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from dissector.diagnose.base import code_meaning
from dissector.diagnose.imports import meaning_of, resolution
from dissector.model.conflict import Verdict, verdict
from dissector.model.pcl import Xid
from dissector.session.history import History, Origin
from dissector.session.replicas import GlobalId, global_id
from dissector.session.syncrecord import FAI, NORMAL, SyncChange, SyncRecord
from dissector.session.versions import Version, Versions, object_text, taken

MESSAGE_ID = re.compile(r"([0-9a-fA-F]{4})-([0-9a-fA-F]{12})")
VERDICTS = {
    Verdict.INCLUDE: "its change list includes the server's: a newer version",
    Verdict.IGNORE: "the server's change list includes it: nothing new",
    Verdict.CONFLICT: "neither change list includes the other: a conflict",
}


@dataclass(slots=True)
class Event:
    """What one synchronization did to the object, or why it did nothing. what: in a few words; why: the reasons."""

    sync: int
    direction: str
    folder: str
    frame: int
    exchange: int
    what: str
    why: list[str] = field(default_factory=list)
    bad: bool = False


@dataclass(slots=True)
class Life:
    """One object. names: subjects or display names that it had; ids, keys: what it goes by."""

    ids: set[GlobalId]
    keys: set[Xid]
    names: list[str]
    events: list[Event] = field(default_factory=list)

    @property
    def title(self) -> str:
        number = ", ".join(f"0x{counter:X} of replica {guid}" for guid, counter in sorted(self.ids, key=str))
        name = f"{self.names[-1]!r} " if self.names else ""
        return f"{name}{number or 'without an id that is known'}"


def lives(records: Sequence[SyncRecord], wanted: str) -> list[Life]:
    """The lives of the objects that `wanted` means: an id (0001-000000030034, 0x30034), a source key, or a part of a
    subject or display name. records: all of a capture, in order.
    """
    found = _matching(records, wanted)
    for life in found:
        life.events = list(_events(life, records))
    return found


def _matching(records: Iterable[SyncRecord], wanted: str) -> list[Life]:
    test = _Test(wanted)
    found: list[Life] = []
    by_id: dict[GlobalId | Xid, Life] = {}
    for record in records:
        for change in record.changes:
            ids = {one for one in (change.id, global_id(change.source_key)) if one is not None}
            keys = {change.source_key} if change.source_key is not None else set()
            known: set[GlobalId | Xid] = {*ids, *keys}
            life = next((by_id[one] for one in known if one in by_id), None)
            if life is None and test.change(change):
                life = Life(set(), set(), [])
                found.append(life)
            if life is None:
                continue
            life.ids |= ids
            life.keys |= keys
            by_id.update(dict.fromkeys(known, life))
            if change.name and change.name not in life.names:
                life.names.append(change.name)
        for gone in test.ids_in(record):
            if gone not in by_id:
                by_id[gone] = Life({gone}, set(), [])
                found.append(by_id[gone])
    return found


class _Test:
    """Whether a change is the one that is meant."""

    def __init__(self, wanted: str) -> None:
        self.text = wanted.strip()
        short = MESSAGE_ID.fullmatch(self.text)
        self.counter: int | None = None
        if short is not None:
            self.counter = int(short[2], 16)
        elif self.text.lower().startswith("0x"):
            try:
                self.counter = int(self.text, 16)
            except ValueError:
                self.counter = None

    def change(self, change: SyncChange) -> bool:
        if self.counter is not None:
            found = change.id or global_id(change.source_key)
            return found is not None and found[1] == self.counter
        key = change.source_key
        if key is not None and self.text.lower() in (str(key).lower(), key.to_bytes().hex()):
            return True
        return bool(self.text) and change.name is not None and self.text.lower() in change.name.lower()

    def ids_in(self, record: SyncRecord) -> Iterator[GlobalId]:
        """The wanted id where a record tells it without a change: in deletions, read states, or the client's state."""
        if self.counter is None:
            return
        sets = [record.gone, record.read, record.unread]
        sets += [state.given for state in (record.initial, record.final) if state is not None]
        for idset in sets:
            for replica in idset.replicas:
                if not isinstance(replica, int) and (replica, self.counter) in idset:
                    yield replica, self.counter


def _events(life: Life, records: Sequence[SyncRecord]) -> Iterator[Event]:
    history, versions = History(), Versions()
    teller = _Teller(life, versions)
    for record in records:
        origin = history.origin(record)
        yield from teller.record(record, origin)
        history.add(record)


class _Teller:
    """Goes through the records and remembers what is known of the object."""

    def __init__(self, life: Life, versions: Versions) -> None:
        self.life, self.versions = life, versions
        self.cn: GlobalId | None = None
        self.fai: bool | None = None
        self.folders: set[tuple[str, str] | None] = set()
        self.sent: dict[GlobalId, int] = {}
        """Versions that came down, and with which synchronization."""
        self.deleted: dict[str, int] = {}

    def mine(self, change: SyncChange) -> bool:
        return change.id in self.life.ids or (change.source_key is not None and change.source_key in self.life.keys)

    def record(self, record: SyncRecord, origin: Origin) -> Iterator[Event]:
        place = (record.mailbox, str(record.folder)) if record.folder is not None else None
        told = False
        for change in record.changes:
            if self.mine(change):
                told = True
                self.folders.add(place)
                yield (
                    self.sent_down(record, change, origin)
                    if record.direction == "download"
                    else self.sent_up(record, change)
                )
                self.versions.learn(record, change)
            elif change.old_key in self.life.keys or global_id(change.old_key) in self.life.ids:
                told = True
                yield self.event(record, change.frame, change.exchange, "moved away by the client",
                                 [f"it is {object_text(change)} in {folder_of(record)} now"])  # fmt: skip
        for event in self.sets(record):
            told = True
            self.folders.add(place)
            yield event
        given = record.initial is not None and any(one in record.initial.given for one in self.life.ids)
        if record.direction == "download" and not told and (place in self.folders or given):
            self.folders.add(place)
            yield self.not_sent(record, given)

    def event(
        self, record: SyncRecord, frame: int, exchange: int, what: str, why: list[str], bad: bool = False
    ) -> Event:
        return Event(record.number, record.direction, folder_of(record), frame, exchange, what, why, bad)

    def sent_down(self, record: SyncRecord, change: SyncChange, origin: Origin) -> Event:
        seen = "MetaTagCnsetSeenFAI" if change.fai else "MetaTagCnsetSeen"
        number = f"0x{change.version[1]:X}" if change.version is not None else "not told"
        why: list[str] = []
        bad = False
        before = self.sent.get(change.version) if change.version is not None else None
        if change.status == "new":
            why.append("its id is not in the uploaded MetaTagIdsetGiven: the client does not have it")
            if record.bootstrap:
                why.append("the client had nothing: everything in scope is sent")
        elif change.status == "changed":
            why.append(f"the client has it, but its change number {number} is not in the uploaded {seen}")
        elif change.status == "again":
            bad = True
            why.append(f"its change number {number} is in the uploaded {seen}: the server should not have sent it")
        else:
            why.append(f"change number {number}; {record.initial_why or 'its id is not known'}")
        if before is not None and change.status != "again":
            bad = True
            why.append(f"the very same version came with #{before}: {reason_of(origin, record)}")
        last = self.versions.last(change.source_key)
        if last is not None and last.pcl is not None and change.pcl is not None and before is None:
            why.append(order_text(change, last))
        if not change.complete:
            bad = True
            why.append(f"it came in part only: {record.why or 'the stream is damaged there'}")
        if change.version is not None:
            self.sent[change.version] = record.number
            self.cn = change.version
        self.fai = change.fai
        self.deleted.clear()
        word = {"new": "sent as new", "changed": "sent as changed", "again": "sent again"}.get(change.status, "sent")
        if change.kind == "partial":
            word += ", as a partial change"
        return self.event(record, change.frame, change.exchange, word, why, bad)

    def sent_up(self, record: SyncRecord, change: SyncChange) -> Event:
        why: list[str] = []
        bad = bool(change.refused)
        last = self.versions.last(change.source_key)
        if last is not None and last.pcl is not None and change.pcl is not None and change.kind != "move":
            found = verdict(change.pcl, last.pcl)
            why.append(f"against #{last.sync}: {VERDICTS[found]}")
            if found is Verdict.CONFLICT:
                bad = True
                why.append(f"resolved: {resolution(change, last)}")
        if change.refused:
            meaning = meaning_of(change.refused, change)
            why.append(code_meaning(change.refused) + (f": {meaning}" if meaning else ""))
        elif change.kind == "import" and change.saved is None and change.code == 0:
            bad = True
            why.append("it was never saved, so nothing of it is stored")
        word = {"move": "moved here by the client"}.get(change.kind, "uploaded")
        outcome = "refused" if change.refused else "taken" if taken(change) else "without a captured answer"
        if taken(change):
            self.cn, self.fai = None, change.fai
            self.deleted.clear()
        return self.event(record, change.frame, change.exchange, f"{word}, {outcome}", why, bad)

    def sets(self, record: SyncRecord) -> Iterator[Event]:
        """Deletions and read states that name the object."""
        frame, exchange = record.stream.last_frame or record.frames[1], record.exchanges[1]
        if record.direction == "upload":
            for one in record.operations:
                if any(key in self.life.keys or global_id(key) in self.life.ids for key in one.keys):
                    outcome = code_meaning(one.code) if one.code else "taken"
                    words = {"delete": "deleted by the client", "hard-delete": "deleted for good by the client"}
                    word = words.get(one.kind, f"marked {one.kind} by the client")
                    if one.kind in words and not one.code:
                        self.deleted[word] = record.number
                    yield self.event(record, one.frame, one.exchange, f"{word}, {outcome}", [], bool(one.code))
            return
        for name, idset in record.deletions.items():
            if any(one in idset for one in self.life.ids):
                self.deleted[name] = record.number
                why = ["the client had it in MetaTagIdsetGiven"] if self._given(record) else []
                if name == "no longer in scope":
                    why.append("it is still there, but not for this client: soft-deleted, or outside the restriction")
                yield self.event(record, frame, exchange, f"taken away: {name}", why)
        for name in ("read", "unread"):
            if any(one in getattr(record, name) for one in self.life.ids):
                why = ["its read-state change is not in the uploaded MetaTagCnsetRead"]
                yield self.event(record, frame, exchange, f"marked {name}", why)

    def _given(self, record: SyncRecord) -> bool:
        return record.initial is not None and any(one in record.initial.given for one in self.life.ids)

    def not_sent(self, record: SyncRecord, given: bool) -> Event:
        """Why nothing came of an object that was seen in this folder before."""
        why: list[str] = []
        bad = False
        seen, name = (record.initial.seen, "MetaTagCnsetSeen") if record.initial is not None else (None, "")
        if self.fai and record.initial is not None:
            seen, name = record.initial.seen_fai, "MetaTagCnsetSeenFAI"
        flags = record.flags
        if self.deleted and not given:
            why += [f"it is gone since #{number} ({word})" for word, number in self.deleted.items()]
        elif self.cn is not None and seen is not None and self.cn in seen:
            why.append(f"its change number 0x{self.cn[1]:X} is in the uploaded {name}: the client has this version")
        elif record.initial is None:
            why.append(f"what the client has is not known: {record.initial_why}")
        elif flags is not None and self.fai is not None and not flags & (FAI if self.fai else NORMAL):
            kind, flag = ("an FAI message", "FAI") if self.fai else ("a normal message", "Normal")
            why.append(f"it is {kind}, and the client did not ask for those (no {flag} in SynchronizationFlags)")
        elif not record.complete:
            why.append(f"the stream did not come to its end: {record.why}")
        elif record.restriction:
            why.append(f"it may not match the restriction: {record.restriction}")
        elif self.cn is not None:
            bad = True
            why.append(f"its change number 0x{self.cn[1]:X} is not in the uploaded {name}, and nothing filters it")
        else:
            where = "the client has it (MetaTagIdsetGiven)" if given else "the client does not have it"
            why.append(f"{where}; which version the server has, the capture does not tell")
        return self.event(record, record.frames[0], record.exchanges[0], "not sent", why, bad)


def folder_of(record: SyncRecord) -> str:
    return record.folder_name or (str(record.folder) if record.folder is not None else "a folder that is not known")


def reason_of(origin: Origin, record: SyncRecord) -> str:
    """Why a version that had come before came again, by where the uploaded state comes from."""
    number = f"#{origin.number}"
    return {
        "not taken": f"the client came back with the state from before {number}",
        "rolled back": f"the client came back with the older state after {number}",
        "lost": f"the state lacks something that {number} had given",
        "bootstrap": "the client started over from nothing",
        "same": f"the state after {number} does not have its change number: a server error",
        "grown": f"the state after {number} does not have its change number",
    }.get(origin.kind, "another client or another state")


def order_text(change: SyncChange, last: Version) -> str:
    assert change.pcl is not None
    assert last.pcl is not None
    found = verdict(change.pcl, last.pcl)
    words = {
        Verdict.INCLUDE: "its change list includes that version: it replaces it",
        Verdict.IGNORE: "its change list has nothing that is not in that version: a client drops it",
        Verdict.CONFLICT: "its change list does not include that version: a client sees a conflict",
    }
    return f"against #{last.sync} ({last.how}): {words[found]}"
