"""Rules about versions: change keys, predecessor change lists, conflicts, and what became of uploads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import NamedTuple

from dissector.diagnose.base import (
    Case,
    Hit,
    Severity,
    at_end,
    at_start,
    code_meaning,
    code_text,
    counted,
    rule,
    set_text,
    sync_text,
)
from dissector.model.conflict import Verdict, incoming_wins, verdict
from dissector.model.idset import EMPTY
from dissector.model.pcl import PredecessorChangeList, Xid
from dissector.session.history import Origin
from dissector.session.replicas import global_id
from dissector.session.syncrecord import SyncChange, SyncRecord
from dissector.session.versions import Version, object_text, taken

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
SYNC_CONFLICT, IGNORE, OBJECT_DELETED, NEWER_CLIENT_CHANGE = 0x80040802, 0x80040801, 0x80040800, 0x00040821
FAIL_ON_CONFLICT = 0x40
SHOWN = 5


class Refusal(NamedTuple):
    """What a ReturnValue of an import means to a client, and what to do."""

    severity: Severity
    meaning: str
    advice: str


REFUSALS: Mapping[int, Refusal] = {
    SYNC_CONFLICT: Refusal(
        WARNING, "the server has a version that this one does not include",
        "The client downloads the server's version and resolves the conflict itself [MS-OXCFXICS] 3.3.5.11. If it "
        "comes back for ever, compare the two change lists with `dissector explain --message`.",
    ),
    OBJECT_DELETED: Refusal(
        NOTE, "the object or its parent was deleted on the server",
        "A client ignores this: it learns of the deletion at its next download.",
    ),
    IGNORE: Refusal(
        NOTE, "the server has this change already, or one that includes it",
        "A client ignores this. If the same import comes again and again, its answer got lost, or the client did not "
        "store that it was done.",
    ),
    NEWER_CLIENT_CHANGE: Refusal(
        NOTE, "the move was done, but the client's version of the message is newer than the server's",
        "The client uploads the message once more.",
    ),
    0x80040803: Refusal(
        ERROR, "the parent folder does not exist on the server",
        "The client is to upload the parent first. Look for the parent's own import before this one.",
    ),
    0x80040804: Refusal(
        ERROR, "the folder would become its own ancestor",
        "The hierarchies of client and server differ: let the client download the hierarchy first.",
    ),
    0x80040805: Refusal(
        ERROR, "the object is not synchronized", "Let the client synchronize the folder from nothing.",
    ),
    0x8004010F: Refusal(
        WARNING, "the object does not exist on the server",
        "Look for its deletion in an earlier download. The client may hold an id that the server never gave.",
    ),
    0x80070005: Refusal(
        WARNING, "access is denied", "Look at the rights of this user on the folder (a delegate, a shared mailbox).",
    ),
    0x80040102: Refusal(
        WARNING, "the server does not support this",
        "A read-only or search folder, or a ROP that this server lacks.",
    ),
    0x80070057: Refusal(
        ERROR, "a parameter is not valid",
        "Look at the request (`dissector tree`): the number and the order of its properties are fixed.",
    ),
    0x80004005: Refusal(ERROR, "the call failed, the server does not say why", "Look at the server's log."),
    0x8007000E: Refusal(ERROR, "the server is out of memory", "Look at the server's log."),
    0x80040604: Refusal(
        WARNING, "an object of this name is there already", "Two folders of one name in one parent: rename one.",
    ),
    0x8004011B: Refusal(ERROR, "the data is corrupt", "Look at the request, and at the object in the mailbox."),
    0x8004010A: Refusal(
        NOTE, "the object was deleted while it was open", "The client learns of it at its next download.",
    ),
    0x80040109: Refusal(
        WARNING, "the object was changed while it was open", "Somebody else wrote it: the client tries again.",
    ),
    0x000004D9: Refusal(ERROR, "the mailbox is over its quota", "Make room or raise the quota."),
    0x000004DA: Refusal(ERROR, "the message is over the size limit", "Make it smaller or raise the limit."),
    0x80040305: Refusal(ERROR, "the data is too big", "Look at the server's limit for message sizes."),
    0x000004B9: Refusal(ERROR, "the handle is of no object", "See the findings about handles."),
    0x000004B6: Refusal(ERROR, "the request cannot be read", "Look at the request (`dissector tree`)."),
    0x000004ED: Refusal(ERROR, "the bytes of the request are not well formed", "Look at the request."),
    0x00000480: Refusal(WARNING, "the server is busy", "The client tries again later."),
    0x80040111: Refusal(ERROR, "the logon failed", "Look at the rights of this user."),
    0x80040115: Refusal(ERROR, "the connection to the store failed", "Look at the server."),
    0x80040116: Refusal(ERROR, "the disk could not be read or written", "Look at the server's disks."),
}  # fmt: skip
"""Answers to imports that clients understand [MS-OXCFXICS] 3.3.4.3.3, [MS-OXCDATA] 2.4."""

ERRORS_RETURNED = 0x00040380


def meaning_of(code: int, change: SyncChange | None) -> str:
    """What the answer to an upload means, "" where that is not known. change: what was imported; None: no change."""
    known = REFUSALS.get(code)
    if known is None or code != SYNC_CONFLICT:
        return known.meaning if known is not None else ""
    if change is None or change.kind != "import":
        asked = "but only RopSynchronizationImportMessageChange with FailOnConflict is to be refused so"
    elif change.flags & FAIL_ON_CONFLICT:
        return f"{known.meaning}, and FailOnConflict was set"
    else:
        asked = "but FailOnConflict was not set: the server is not to answer so"
    return f"{known.meaning}, {asked} [MS-OXCFXICS] 2.2.3.2.4.2.1"


def refusals_of(record: SyncRecord) -> Iterator[tuple[int, SyncChange | None, int, int, str]]:
    """(code, change, frame, exchange, what) of all that the server refused of an upload. change: None for no import."""
    for change in record.changes:
        if change.refused and change.refused != ERRORS_RETURNED:
            frame = change.save_frame if not change.code and change.save_frame else change.frame
            step = "" if change.code or change.kind != "import" else " when it was saved"
            yield change.refused, change, frame, change.exchange, f"{object_text(change)}{step}"
    for rop, group in groupby(record.operations, key=lambda one: (one.rop, one.exchange, one.frame, one.code)):
        name, exchange, frame, code = rop
        if code:
            yield code, None, frame, exchange, f"{name} for {counted(sum(len(one.keys) for one in group), 'object')}"


@rule(
    "import-refused", WARNING, "sync", "MS-OXCFXICS 3.3.4.3.3",
    "See what the code means.",
)  # fmt: skip
def import_refused(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """The server refused something that the client uploaded."""
    counts: dict[int, int] = {}
    for code, change, frame, exchange, what in refusals_of(record) if record.direction == "upload" else ():
        known = REFUSALS.get(code)
        counts[code] = counts.get(code, 0) + 1
        if known is None or counts[code] > SHOWN:
            continue
        message = f"{what} was refused: {meaning_of(code, change)}"
        if code == NEWER_CLIENT_CHANGE:
            message = f"{what}: {known.meaning}"
        yield Hit(frame, exchange, message, {"answer": code_text(code)}, known.severity, known.advice)


@rule(
    "unknown-result", WARNING, "sync", "MS-OXCFXICS 3.3.4.3.3",
    "A client that does not know a code tries the same upload again at every synchronization. The server should "
    "answer with one of the codes that the specification names.",
)  # fmt: skip
def unknown_result(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """The server answered an upload with a code that ICS clients do not understand."""
    told: set[int] = set()
    for code, _, frame, exchange, what in refusals_of(record) if record.direction == "upload" else ():
        if code not in REFUSALS and code not in told:
            told.add(code)
            yield Hit(frame, exchange, f"{what} was refused with a code that is not for uploads: {code_meaning(code)}")


@rule(
    "import-retried-unchanged", WARNING, "uploaded", "MS-OXCFXICS 3.3.4.3.3",
    "The client does not give up and does not change anything: look at the answer that it got the first time.",
)  # fmt: skip
def import_retried(case: Case, record: SyncRecord, change: SyncChange, before: Version | None) -> Iterator[Hit]:
    """The very same change is uploaded again."""
    if change.kind not in ("import", "import-folder") or change.source_key is None or change.change_key is None:
        return
    key = change.source_key, change.change_key, change.pcl
    seen: dict[object, tuple[int, int | None, int]] = case.remembered("import-retried-unchanged", dict)
    frame, code, times = seen.get(key, (change.frame, change.refused, 0))
    seen[key] = frame, code, times + 1
    if times == 1 and change.refused != 0:
        evidence = {"first time": f"frame {frame}, answer {code_text(code) if code is not None else 'not captured'}"}
        message = f"{object_text(change)} is uploaded again with the same change key"
        yield Hit(change.frame, change.exchange, message, evidence)


@rule(
    "import-never-saved", WARNING, "uploaded", "MS-OXCFXICS 3.2.5.9.4.2",
    "Nothing of the message is stored without RopSaveChangesMessage. Look for an error between the two.",
)  # fmt: skip
def import_never_saved(case: Case, record: SyncRecord, change: SyncChange, before: Version | None) -> Iterator[Hit]:
    """An imported message was opened, but never saved."""
    if change.kind == "import" and change.code == 0 and change.saved is None and record.complete:
        yield Hit(change.frame, change.exchange, f"{object_text(change)} was imported, but never saved")


@rule(
    "collector-without-state", WARNING, "sync", "MS-OXCFXICS 3.3.4.3.3",
    "The client may do so, but then the server cannot give a state back, and the client's own changes come down again.",
)  # fmt: skip
def collector_without_state(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """Changes are uploaded to a context that was given no state."""
    if record.direction != "upload" or not record.stream.opened_by or record.stream.states:
        return
    if record.changes or record.operations:
        message = f"{sync_text(record)} imports without having uploaded a state"
        yield Hit(*at_start(record), message)


def list_trouble(key: Xid | None, pcl: PredecessorChangeList) -> str:
    """What is wrong with a predecessor change list; '' when nothing is."""
    if len(pcl) == 1 and pcl[0] == key:
        return ""
    spaces = [xid.namespace.bytes_le for xid in pcl]
    if len(set(spaces)) < len(spaces):
        return "one namespace comes twice"
    if spaces != sorted(spaces):
        return "the namespaces are not in ascending order of their bytes"
    if key is not None and not pcl.includes(PredecessorChangeList((key,))):
        return "its own change key is not in it"
    return ""


@rule(
    "pcl-broken", ERROR, "change", "MS-OXCFXICS 2.2.2.3",
    "Whoever wrote it breaks the detection of conflicts: versions look newer, older or in conflict that are not. "
    "Clients then make duplicates or drop changes.",
    clears=lambda case, packed: True,  # the list of each is its change key and nothing else
)  # fmt: skip
def pcl_broken(case: Case, record: SyncRecord, change: SyncChange, before: Version | None) -> Iterator[Hit]:
    """A predecessor change list is out of order, names a namespace twice, or lacks its own change key."""
    if change.pcl is None or change.kind == "move" or not change.complete:
        return
    trouble = list_trouble(change.change_key, change.pcl)
    if trouble:
        evidence = {"change key": str(change.change_key), "list": ", ".join(map(str, change.pcl)) or "empty"}
        yield Hit(change.frame, change.exchange, f"the change list of {object_text(change)}: {trouble}", evidence)


@rule(
    "pcl-lost-predecessor", ERROR, "downloaded", "MS-OXCFXICS 3.1.5.6.2",
    "A server error: a new version is to extend the change list of the one it replaces. With a list that was begun "
    "anew the client sees a conflict where there is none.",
    clears=lambda case, packed: case.versions.extended_by(packed),
)  # fmt: skip
def pcl_lost_predecessor(case: Case, record: SyncRecord, change: SyncChange, before: Version | None) -> Iterator[Hit]:
    """A later version's change list does not include that of a version which the server had."""
    if record.direction != "download" or before is None or before.pcl is None or change.pcl is None:
        return
    if before.sync == record.number or before.folder or change.pcl.includes(before.pcl):
        return
    lost = [xid for xid in before.pcl if not change.pcl.includes(PredecessorChangeList((xid,)))]
    minted = change.change_key is not None and global_id(change.change_key) is not None
    evidence = {
        "lost": ", ".join(map(str, lost)),
        "the version before": f"#{before.sync} ({before.how}), frame {before.frame}",
        "the new change key": f"{change.change_key}{' (made by the server)' if minted else ''}",
    }
    message = f"{object_text(change)}: its change list does not include the version before"
    yield Hit(change.frame, change.exchange, message, evidence)


@rule(
    "conflict", WARNING, "uploaded", "MS-OXCFXICS 3.1.5.6.1",
    "Two sides changed the object independently. Both versions are kept as a conflict-resolve message, or the last "
    "writer wins; users find the other one in the Conflicts folder.",
)  # fmt: skip
def conflict(case: Case, record: SyncRecord, change: SyncChange, before: Version | None) -> Iterator[Hit]:
    """An upload is in conflict with the version that the server was seen to have."""
    if record.direction != "upload" or change.kind == "move" or before is None:
        return
    if before.pcl is None or change.pcl is None:
        return
    found = verdict(change.pcl, before.pcl)
    if found is Verdict.CONFLICT:
        evidence = {
            "client's list": ", ".join(map(str, change.pcl)),
            "server's list": f"{', '.join(map(str, before.pcl))} (#{before.sync}, frame {before.frame})",
            "resolved": resolution(change, before),
        }
        yield Hit(change.frame, change.exchange, f"{object_text(change)} was changed on both sides", evidence)
    elif found is Verdict.INCLUDE and change.refused == SYNC_CONFLICT:
        message = f"{object_text(change)} was refused as a conflict, though it includes the last version seen here"
        note = "The server's version must have changed since, or its change list is wrong."
        yield Hit(change.frame, change.exchange, message, {"last version": f"#{before.sync}"}, NOTE, note)


def resolution(change: SyncChange, before: Version) -> str:
    """How the server resolved a conflict, as far as the answer tells."""
    code = change.refused
    if code == SYNC_CONFLICT:
        asked = " as the client asked (FailOnConflict)" if change.flags & FAIL_ON_CONFLICT else ""
        return f"refused{asked}: {code_text(code)}"
    if code:
        return f"refused: {code_text(code)}"
    if not taken(change):
        return "not known: its saving was not captured"
    known = None not in (change.modified, change.change_key, before.modified, before.change_key)
    winner = ""
    if known:
        folder = change.kind == "import-folder"
        wins = incoming_wins(
            change.modified or 0, change.change_key, before.modified or 0, before.change_key, folder=folder  # type: ignore[arg-type]
        )  # fmt: skip
        winner = f"; {'the client' if wins else 'the server'} wrote last and wins"
    return f"taken{winner}"


@rule(
    "parent-unknown", ERROR, "sync", "MS-OXCFXICS 2.2.4.3.5",
    "A server error: parents are to come before their children. The client cannot place the folder and drops it with "
    "all that is below it.",
)  # fmt: skip
def parent_unknown(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """A folder comes down below a parent that the client was never given."""
    if record.direction != "download" or record.kind != "hierarchy" or record.initial is None:
        return
    given, keys = record.initial.given, set()
    shown = 0
    for one in record.changes:
        parent, found = one.parent, global_id(one.parent)
        known = parent is None or parent in keys or found == record.folder_id or (found is not None and found in given)
        if not known and found is not None and record.folder_id is None and record.folder is not None:
            known = found[1] == record.folder.counter
        if not known and shown < SHOWN:
            shown += 1
            later = any(other.source_key == parent for other in record.changes)
            evidence = {"parent": f"{parent}{' (comes behind it)' if later else ''}"}
            message = f"{object_text(one)} has a parent that the client does not know"
            yield Hit(one.frame, one.exchange, message, evidence)
        if one.source_key is not None:
            keys.add(one.source_key)


@rule(
    "delete-of-unknown", WARNING, "sync", "MS-OXCFXICS 3.2.5.9.4.5",
    "The client deletes what it was never given: it confuses ids, or another client of the same name uses this state.",
)  # fmt: skip
def delete_of_unknown(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """The client deletes objects that no state and no import of this capture contains."""
    if record.direction != "upload" or record.key is None:
        return
    known = record.initial.given if record.initial is not None else EMPTY
    for chain in case.history.chains_of(record):
        known = known.union(chain.grown.given, *(told.final.given for told in chain.told))
    if not known:
        return
    imported = {one.source_key for one in record.changes}
    for operation in record.operations:
        if operation.kind not in ("delete", "hard-delete"):
            continue
        strange = [
            key for key in operation.keys
            if (found := global_id(key)) is not None and found not in known
            and key not in imported and case.versions.last(key) is None
        ]  # fmt: skip
        if strange:
            evidence = {"keys": ", ".join(map(str, strange[:SHOWN])), "known ids": set_text(known)}
            message = f"{sync_text(record)} deletes {counted(len(strange), 'object')} that it was not given"
            yield Hit(operation.frame, operation.exchange, message, evidence)


@rule(
    "state-not-fetched", NOTE, "sync", "MS-OXCFXICS 3.3.4.3.3",
    "Harmless: the client gets its own changes once more at the next download.",
)  # fmt: skip
def state_not_fetched(case: Case, record: SyncRecord, origin: Origin) -> Iterator[Hit]:
    """An upload ends without the client asking for the new state."""
    if record.direction != "upload" or record.final is not None or not record.complete or not record.stream.states:
        return
    if any(taken(one) for one in record.changes):
        yield Hit(*at_end(record), f"{sync_text(record)} ends without a look at the new state")
