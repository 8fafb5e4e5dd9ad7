"""Rules about the ICS state: what the client brings, what the server gives back, and whether the two fit together."""

from __future__ import annotations

from collections.abc import Iterator

from dissector.diagnose.base import Case, Hit, Severity, at_end, at_start, counted, rule, set_text, sync_text
from dissector.grammar.idset import SET_FORMS, read_idset
from dissector.model.icsstate import IcsState
from dissector.model.idset import EMPTY, IdSet, find
from dissector.session.history import Origin
from dissector.session.replicas import GlobalId
from dissector.session.syncrecord import SyncChange, SyncRecord
from dissector.session.versions import object_text

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
SHOWN = 5


def from_elsewhere(record: SyncRecord, origin: Origin, message: str, word: str) -> Hit:
    """A hit about a state that is not the one given last. In another session it may be another client's, too."""
    evidence = {f"{word} in {name}": set_text(idset) for name, idset in origin.lost}
    if origin.session == record.session:
        return Hit(*at_start(record), message, evidence)
    evidence["sessions"] = f"#{origin.number} was in session {origin.session}, this is session {record.session}"
    advice = "Another client of the same user at the same address would explain it. If there is none: "
    return Hit(*at_start(record), message, evidence, WARNING, advice)


@rule(
    "state-lost", ERROR, "sync", "MS-OXCFXICS 3.3.5.5",
    "Look at the client: its stored state is damaged or was replaced (a new or repaired .ost, a second profile). "
    "Where a proxy or the server keeps states, look there. The objects that are missing come down again.",
)  # fmt: skip
def state_lost(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """The uploaded state lacks something that the last state received had."""
    if origin.kind == "lost":
        message = f"{sync_text(record)} begins with less than #{origin.number} ended with"
        yield from_elsewhere(record, origin, message, "missing")


@rule(
    "state-rolled-back", ERROR, "sync", "MS-OXCFXICS 3.3.5.5",
    "The client came back with an older state: it was restored from a copy, or could not store the newer ones "
    "(full disk, crash). All changes since then come down again.",
)  # fmt: skip
def state_rolled_back(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """The uploaded state is an older one than the last that was received."""
    if origin.kind == "rolled back":
        message = f"{sync_text(record)} begins with the state after #{origin.number}, which later ones had replaced"
        yield from_elsewhere(record, origin, message, "missing")


@rule(
    "final-state-not-taken", WARNING, "sync", "MS-OXCFXICS 3.3.4.3.4",
    "The client did not store the final state of a download that was complete: look for an error in its log (Sync "
    "Issues) at that time. The same changes come down again until it does.",
)  # fmt: skip
def final_state_not_taken(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """The uploaded state is the one from before the last download, though that was complete."""
    if origin.kind == "not taken":
        message = f"{sync_text(record)} begins with the same state as #{origin.number} did: its end was not taken"
        yield from_elsewhere(record, origin, message, "missing")


@rule(
    "bootstrap-in-mid-life", WARNING, "sync", "MS-OXCFXICS 3.3.4.3.1",
    "The client starts over: its local replica was thrown away (a new .ost, a folder reset after an error) or its "
    "state could not be read. Everything in the folder comes down once more.",
)  # fmt: skip
def bootstrap_in_mid_life(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """The client says that it has nothing, after it was given a state."""
    if origin.kind == "bootstrap":
        message = f"{sync_text(record)} starts from nothing, though #{origin.number} ended with a state"
        yield from_elsewhere(record, origin, message, "given")


@rule(
    "upload-state-unused", NOTE, "sync", "MS-OXCFXICS 3.3.4.3.3",
    "Harmless: the client gets its own changes once more and recognises them by their change lists.",
)  # fmt: skip
def upload_state_unused(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """The client did not take the state that an upload gave back."""
    if origin.unused and record.direction == "download":
        message = f"{sync_text(record)} does not use what the uploads since #{origin.number} gave back"
        unused = {f"unused in {name}": set_text(idset) for name, idset in origin.unused}
        yield Hit(*at_start(record), message, unused)


@rule(
    "state-not-monotonic", ERROR, "sync", "MS-OXCFXICS 3.2.5.3",
    "A server error: change numbers that the client brought are gone from the state it is given, so the same versions "
    "will be sent again and again. Compare the state uploaded (frame above) with the one in the stream.",
)  # fmt: skip
def state_not_monotonic(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """A set of change numbers lost some between the state uploaded and the state given back."""
    if record.initial is None or is_split_upload(record):
        return
    for what, state in (("final state", record.final), ("transfer state", record.checkpoint)):
        lost = lost_numbers(record.initial, state) if state is not None else {}
        if lost:
            message = f"the {what} of {sync_text(record)} has fewer change numbers than it began with"
            yield Hit(*at_end(record), message, lost)


def lost_numbers(before: IcsState, after: IcsState) -> dict[str, str]:
    """What is gone from the sets of change numbers."""
    found = {}
    for one in after.difference(before)[1:]:
        if one.removed:
            found[f"lost from {one.name}"] = set_text(one.removed)
    return found


@rule(
    "state-upload-split", ERROR, "sync", "MS-OXCFXICS 3.2.5.9.2.2",
    "A server error: a state property that the client sent in several RopSynchronizationUploadStateStreamContinue "
    "requests was not put together from all of them.",
)  # fmt: skip
def state_upload_split(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """A state property came in several parts and the server behaves as if it had read one of them."""
    if record.initial is None or not is_split_upload(record):
        return
    assert record.final is not None
    evidence = {
        f"{upload.name} came in": f"{len(upload.parts)} parts, {counted(upload.size, 'byte')}"
        for upload in record.stream.states
        if len(upload.parts) > 1
    }
    message = f"{sync_text(record)}: the final state lacks what the later parts of a split state upload held"
    yield Hit(*at_end(record), message, {**evidence, **lost_numbers(record.initial, record.final), **lost_ids(record)})


def lost_ids(record: SyncRecord) -> dict[str, str]:
    lost = ids_lost(record)
    return {"lost from MetaTagIdsetGiven": set_text(lost)} if lost else {}


def is_split_upload(record: SyncRecord) -> bool:
    """Whether a set that came in several parts, and only such a set, lost what it had."""
    if record.initial is None or record.final is None or record.direction != "download":
        return False
    split = {upload.name for upload in record.stream.states if len(upload.parts) > 1}
    if not split:
        return False
    lost = {one.name for one in record.final.difference(record.initial)[1:] if one.removed}
    if ids_lost(record):
        lost.add("MetaTagIdsetGiven")
    return bool(lost) and lost <= split


def ids_lost(record: SyncRecord) -> IdSet:
    """Ids that the final state of a download lost without any deletion in the stream."""
    if record.initial is None or record.final is None or record.direction != "download":
        return EMPTY
    return record.initial.given - record.final.given - record.gone


@rule(
    "given-lost-valid-id", ERROR, "sync", "MS-OXCFXICS 3.2.5.3",
    "A server error: the client keeps these objects, but the server will never tell it of their deletion, and sends "
    "them as new at their next change.",
)  # fmt: skip
def given_lost_valid_id(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """The final MetaTagIdsetGiven lost ids that no deletion in the stream explains."""
    lost = ids_lost(record)
    if not lost or is_split_upload(record):
        return
    if not record.final_given:
        yield Hit(*at_end(record), f"the final state of {sync_text(record)} has no MetaTagIdsetGiven", lost_ids(record))
        return
    message = f"the final MetaTagIdsetGiven of {sync_text(record)} lost ids that were not deleted"
    yield Hit(*at_end(record), message, lost_ids(record))


@rule(
    "given-keeps-deleted", ERROR, "sync", "MS-OXCFXICS 3.2.5.3",
    "A server error: the same deletions will be reported at every synchronization.",
)  # fmt: skip
def given_keeps_deleted(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """Ids that the stream takes away are still in the final MetaTagIdsetGiven."""
    if record.final is None or record.direction != "download":
        return
    kept = record.gone & record.final.given
    if kept:
        message = f"{sync_text(record)} deletes ids that its final MetaTagIdsetGiven still holds"
        yield Hit(*at_end(record), message, {"deleted and kept": set_text(kept)})


class Within:
    """Whether ids are in a set, asked of many ids that lie close together."""

    __slots__ = ("high", "idset", "low", "replica")

    def __init__(self, idset: IdSet) -> None:
        self.idset = idset
        self.replica: object = None
        self.low = self.high = 0

    def __call__(self, id_: GlobalId) -> bool:
        replica, counter = id_
        if replica is self.replica and self.low <= counter <= self.high:
            return True
        found = find(self.idset.ranges(replica), counter)
        if found is None:
            return False
        self.replica, self.low, self.high = replica, found.low, found.high
        return True


def uncovered(case: Case, record: SyncRecord) -> list[SyncChange]:
    """Changes of a download that its final state does not hold as it should."""
    known: tuple[SyncRecord, list[SyncChange]] | None = case.memory.get("uncovered")
    if known is not None and known[0] is record:
        return known[1]
    assert record.final is not None
    given, seen, seen_fai = Within(record.final.given), Within(record.final.seen), Within(record.final.seen_fai)
    packed = record.changes.packed
    covered = packed is None or (
        record.final.given.includes(packed.ids)
        and record.final.seen.includes(packed.seen)
        and record.final.seen_fai.includes(packed.seen_fai)
    )
    found = [
        one for one in (record.changes.single if covered else record.changes)
        if (one.id is not None and not given(one.id))
        or (one.version is not None and not (seen_fai if one.fai else seen)(one.version))
    ]  # fmt: skip
    case.memory["uncovered"] = record, found
    return found


def misplaced(case: Case, record: SyncRecord) -> Iterator[tuple[SyncChange, str]]:
    """Changes whose number the final state has in the set of the other kind of message only."""
    assert record.final is not None
    for one in uncovered(case, record):
        if one.version is None or one.fai is None or record.kind != "contents":
            continue
        seen, fai = one.version in record.final.seen, one.version in record.final.seen_fai
        if seen != fai and fai != one.fai:
            yield one, "MetaTagCnsetSeenFAI" if fai else "MetaTagCnsetSeen"


@rule(
    "seen-set-mixed-up", ERROR, "sync", "MS-OXCFXICS 2.2.1.1.3",
    "A server error: numbers of normal messages belong into MetaTagCnsetSeen, those of FAI messages into "
    "MetaTagCnsetSeenFAI. These messages come down at every synchronization.",
)  # fmt: skip
def seen_set_mixed_up(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """Change numbers of normal messages are in MetaTagCnsetSeenFAI alone, or the other way round."""
    if record.final is None:
        return
    if record.direction == "download":
        found = list(misplaced(case, record))
        for one, where in found[:SHOWN]:
            kind = "an FAI" if one.fai else "a normal"
            message = f"{object_text(one)} is {kind} message, but its change number is in {where} only"
            yield Hit(one.frame, one.exchange, message, {"change number": version_text(one)})
        return
    imported = [one for one in record.changes if one.kind == "import" and one.code == 0 and one.saved == 0]
    if not imported or record.initial is None or len({one.fai for one in imported}) != 1:
        return
    seen, fai = record.final.seen - record.initial.seen, record.final.seen_fai - record.initial.seen_fai
    wrong = fai if not imported[0].fai else seen
    right = seen if not imported[0].fai else fai
    if wrong and not right:
        kind, where = ("FAI", "MetaTagCnsetSeen") if imported[0].fai else ("normal", "MetaTagCnsetSeenFAI")
        message = f"{sync_text(record)} imported {kind} messages only, but {where} grew"
        yield Hit(*at_end(record), message, {f"new in {where}": set_text(wrong)})


def version_text(change: SyncChange) -> str:
    return f"0x{change.version[1]:X} of {change.version[0]}" if change.version is not None else str(change.cn)


@rule(
    "change-outside-state", ERROR, "sync", "MS-OXCFXICS 3.2.5.3",
    "A server error: the state it gives does not cover what it sent, so the client is sent the same again at the next "
    "synchronization.",
)  # fmt: skip
def change_outside_state(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """Something was sent whose id or change number the final state does not hold."""
    if record.final is None or record.direction != "download" or not record.final_given:
        return
    elsewhere = {id(one) for one, _ in misplaced(case, record)}
    strange = strangers(case, record)
    found = 0
    for one in uncovered(case, record):
        if id(one) in strange:
            continue  # outside-range tells it
        evidence = id_not_given(one, record)
        seen, name = record.final.seen, "MetaTagCnsetSeen"
        if one.fai:
            seen, name = record.final.seen_fai, "MetaTagCnsetSeenFAI"
        if one.version is not None and one.version not in seen and id(one) not in elsewhere:
            evidence[f"change number not in {name}"] = version_text(one)
        if evidence and found < SHOWN:
            found += 1
            message = f"{object_text(one)} came with {sync_text(record)}, but its final state does not hold it"
            yield Hit(one.frame, one.exchange, message, evidence)


def id_not_given(change: SyncChange, record: SyncRecord) -> dict[str, str]:
    """The evidence that the final MetaTagIdsetGiven lacks an object that was sent; empty where it does not."""
    assert record.final is not None
    id_ = change.id
    if id_ is None or not record.final_given or id_ in record.final.given or id_ in record.gone:
        return {}
    return {"id not in MetaTagIdsetGiven": f"0x{id_[1]:X} of {id_[0]}"}


LEAP = 0x10000
"""So many numbers may a young replica give out between two that are seen; an older one as many as it has given out."""


def strangers(case: Case, record: SyncRecord) -> dict[int, int]:
    """Changes whose number cannot be one of its replica: by id(), the highest that the replica has, 0 for none.

    A number is strange that is 0, of a replica that no set of the states has, or far above all before it (LEAP): read
    in the wrong byte order it is 2^40 or more. One that follows on from the states is what the final one lacks.
    """
    known: tuple[SyncRecord, dict[int, int]] | None = case.memory.get("strangers")
    if known is not None and known[0] is record:
        return known[1]
    reached: dict[object, int] = {}
    for state in (record.initial, record.final):
        for _, idset in state.named() if state is not None else ():
            for replica, ranges in idset.items():
                reached[replica] = max(reached.get(replica, 0), ranges[-1].high)
    told = bool(reached)  # states without any number say nothing
    found = {}
    numbered = [(one.version, one) for one in uncovered(case, record) if one.version is not None]
    for (replica, counter), one in sorted(numbered, key=lambda pair: pair[0][1]):
        highest = reached.get(replica, 0)
        if counter == 0 or (told and counter > highest + max(LEAP, highest)) or (told and not highest):
            found[id(one)] = highest
        else:
            reached[replica] = max(highest, counter)
    case.memory["strangers"] = record, found
    return found


@rule(
    "outside-range", ERROR, "sync", "MS-OXCFXICS 3.1.5.3",
    "A server error: change numbers grow within a replica, so none can be far above the highest in the states, or of a "
    "replica that is not in them. Look for a wrong REPLID, or a counter read in the wrong byte order.",
)  # fmt: skip
def outside_range(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """A change number or id lies far outside what its replica has given out so far."""
    if record.final is None or record.direction != "download":
        return
    strange = strangers(case, record)
    found = 0
    for one in uncovered(case, record):
        highest = strange.get(id(one))
        bad = highest is not None or (one.id is not None and one.id[1] == 0)
        if bad and found < SHOWN:
            found += 1
            message = f"{object_text(one)} in {sync_text(record)} has a number outside its replica's range"
            yield Hit(one.frame, one.exchange, message, {
                "change number": version_text(one),
                "highest in the states": f"0x{highest:X}" if highest else "none of this replica",
                **id_not_given(one, record),
            })  # fmt: skip


@rule(
    "sent-again", ERROR, "sync", "MS-OXCFXICS 3.2.5.3",
    "A server error: the client said that it has this version. Users see the same items downloaded over and over. "
    "`dissector explain --message` tells the life of one.",
)  # fmt: skip
def sent_again(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """A version came down that the uploaded state says the client has."""
    if record.initial is None or record.direction != "download":
        return
    packed = record.changes.packed
    known = packed is not None and (record.initial.seen & packed.seen or record.initial.seen_fai & packed.seen_fai)
    changes = record.changes if known else record.changes.single
    again = [one for one in changes if one.status == "again"]
    for one in again[:SHOWN]:
        name = "MetaTagCnsetSeenFAI" if one.fai else "MetaTagCnsetSeen"
        evidence = {f"change number in the uploaded {name}": version_text(one)}
        more = f" ({len(again)} such in {sync_text(record)})" if one is again[0] and len(again) > 1 else ""
        yield Hit(one.frame, one.exchange, f"{object_text(one)} was sent though the client has it{more}", evidence)
    seen, seen_fai = Within(record.initial.seen), Within(record.initial.seen_fai)
    for one in changes if record.initial.seen or record.initial.seen_fai else ():
        if one.status == "new" and one.version is not None and (seen_fai if one.fai else seen)(one.version):
            message = f"{object_text(one)} came as new, with a change number that the client has seen"
            note = "Harmless where the object came into scope (a move, a wider restriction)."
            yield Hit(one.frame, one.exchange, message, {"change number": version_text(one)}, NOTE, note)
            break


@rule(
    "read-state-not-moved", ERROR, "sync", "MS-OXCFXICS 3.2.5.6",
    "A server error: the read states are reported, but MetaTagCnsetRead does not move, so they are reported again at "
    "every synchronization.",
)  # fmt: skip
def read_state_not_moved(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """Read states came down and the final MetaTagCnsetRead is the one that was uploaded."""
    if record.direction != "download" or record.final is None or record.initial is None:
        return
    moved = record.read | record.unread
    if moved and record.final.read == record.initial.read:
        message = f"{sync_text(record)} changes read states without a change of MetaTagCnsetRead"
        yield Hit(*at_end(record), message, {"read or unread": set_text(moved)})


@rule(
    "upload-state-with-given", NOTE, "sync", "MS-OXCFXICS 3.2.5.2.1",
    "A client is to ignore it and merge its own MetaTagIdsetGiven back in. One that takes it as it is loses objects.",
)  # fmt: skip
def upload_state_with_given(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """The state of an upload context contains MetaTagIdsetGiven."""
    if record.direction != "upload" or record.final is None or not record.final_given:
        return
    message = f"the state of {sync_text(record)} contains MetaTagIdsetGiven, which an upload does not give back"
    evidence = {"MetaTagIdsetGiven": set_text(record.final.given)}
    lost = record.initial.given - record.final.given - record.gone if record.initial is not None else EMPTY
    if lost:
        evidence["it lacks of what was uploaded"] = set_text(lost)
    yield Hit(*at_end(record), message, evidence, WARNING if lost else NOTE)


@rule(
    "set-malformed", ERROR, "sync", "MS-OXCFXICS 2.2.2.6",
    "Decode the bytes with `dissector tree` at this exchange: the tree shows the command that breaks the rules. "
    "Servers answer such a state with ecRpcFormat or ecFmtError.",
)  # fmt: skip
def set_malformed(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """A serialized set breaks the rules of GLOBSET."""
    for trouble in record.trouble:
        place = at_start(record) if "uploaded" in trouble else at_end(record)
        yield Hit(*place, f"{sync_text(record)}: {trouble}")


@rule(
    "set-not-canonical", WARNING, "sync", "MS-OXCFXICS 3.1.5.4.3.1",
    "Readable, but servers that compare or merge such sets range by range may go wrong. Look at who wrote it.",
)  # fmt: skip
def set_not_canonical(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """A serialized set names ids twice, out of order, or a replica twice."""
    for upload in record.stream.states:
        form = SET_FORMS.get(upload.tag >> 16) if upload.tag is not None else None
        if form is None:
            continue
        for remark in read_idset(upload.source().data, form).remarks:
            message = f"{upload.name} that was uploaded to {sync_text(record)} is not canonical"
            yield Hit(upload.last_frame, upload.exchange, message, {"what": remark})
    for name, reading in record.stream.account.sets.get("state", {}).items():
        for remark in reading.remarks:
            message = f"{name} in the final state of {sync_text(record)} is not canonical"
            yield Hit(*at_end(record), message, {"what": remark})


@rule(
    "partial-of-unknown", ERROR, "sync", "MS-OXCFXICS 3.2.5.3",
    "A server error: a partial change holds some properties; a client that does not have the message cannot use them.",
)  # fmt: skip
def partial_of_unknown(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """A partial change of a message that is not in the uploaded MetaTagIdsetGiven."""
    if record.initial is None or record.direction != "download":
        return
    found = [one for one in record.changes.single if one.kind == "partial" and one.status == "new"]
    for one in found[:SHOWN]:
        evidence = {"id": f"0x{one.id[1]:X} of {one.id[0]}"} if one.id is not None else {}
        message = f"{object_text(one)} came as a partial change, but the client does not have it"
        yield Hit(one.frame, one.exchange, message, evidence)


@rule(
    "told-twice", WARNING, "sync", "MS-OXCFXICS 3.2.5.3",
    "A server error: in one synchronization an object is either changed, or deleted, or changes its read state.",
)  # fmt: skip
def told_twice(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """One object is reported as changed and deleted, or once more for its read state."""
    read, gone = record.read | record.unread, record.gone
    if record.direction != "download" or not (read or gone):
        return
    changed = IdSet.of([one.id for one in record.changes.single if one.id is not None])
    if record.changes.packed is not None:
        changed |= record.changes.packed.ids
    pairs = (
        ("changed and deleted", changed & gone),
        ("deleted, and its read state changed", read & gone),
        ("changed, and its read state once more", read & changed),
    )
    for what, both in pairs:
        if both:
            message = f"{sync_text(record)} tells of some objects twice: {what}"
            yield Hit(*at_end(record), message, {"ids": set_text(both)})


@rule(
    "deleted-unknown", NOTE, "sync", "MS-OXCFXICS 3.2.5.3",
    "Harmless to clients, which ignore deletions of what they do not have; it makes streams longer.",
)  # fmt: skip
def deleted_unknown(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """Deletions or read states of ids that the client never had."""
    if record.initial is None or record.direction != "download":
        return
    known = [replica for replica in record.initial.given.replicas if not isinstance(replica, int)]
    unknown = (record.gone | record.read | record.unread) - record.initial.given
    unknown = IdSet({replica: unknown.ranges(replica) for replica in known})
    if unknown:
        message = f"{sync_text(record)} reports ids that the client did not say it has"
        yield Hit(*at_end(record), message, {"ids": set_text(unknown)})


@rule(
    "replid-unmapped", WARNING, "sync", "MS-OXCFXICS 2.2.2.4.1",
    "Ids under this REPLID cannot be compared with the state. A client maps it with RopLongTermIdFromId; one that "
    "guesses the GUID confuses objects.",
)  # fmt: skip
def replid_unmapped(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """A REPLID that no exchange maps to a GUID."""
    if record.direction != "download":
        return
    unknown = {
        replica for idset in (record.gone, record.read, record.unread) for replica in idset.replicas
        if isinstance(replica, int)
    }  # fmt: skip
    unknown |= {one.mid.replica_id for one in record.changes.single if one.mid is not None and one.id is None}
    reported = case.remembered("replid-unmapped", set)
    for replica in sorted(unknown):
        place = record.session, record.stream.logon_id, replica
        if place in reported:
            continue
        reported.add(place)
        known = case.recorder.replicas_of(record.session, record.stream.logon_id).known
        late = not any(one.how == "RopLogon" for one in known.values())
        message = f"no exchange says which replica REPLID {replica} is; {sync_text(record)} uses it"
        yield Hit(*at_end(record), message, {"known": ", ".join(f"{n} = {one.guid}" for n, one in known.items())},
                  NOTE if late else WARNING)  # fmt: skip
