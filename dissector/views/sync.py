"""`dissector sync`: every synchronization as it went: the client's state, what came down or went up, the new state."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from dissector.grammar.names import error_name, flag_names
from dissector.model.icsstate import IcsState
from dissector.model.idset import IdSet, Ranges, ranges_text
from dissector.model.pcl import Xid
from dissector.session.history import History, Origin
from dissector.session.replicas import GlobalId
from dissector.session.syncrecord import SyncChange, SyncRecord
from dissector.views.jsonvalues import plain
from dissector.views.text import PLAIN, Palette, clock, none_line, printable

SHOWN_CHANGES = 20
"""So many messages of one synchronization are listed; --all lists every one."""
SHOWN_RANGES = 6
LABEL = 16


def sync_lines(
    told: Iterable[tuple[SyncRecord, Origin]],
    palette: Palette = PLAIN,
    most: int | None = SHOWN_CHANGES,
    among: Callable[[], int] = lambda: 0,
) -> Iterator[str]:
    """Records as paragraphs. most: changes that are listed of each; None: all. among: how many there were to choose
    from, asked at the end.
    """
    count, replica = 0, None
    for record, origin in told:
        count += 1
        shown = Shown(record)
        if shown.replica is not None and shown.replica != replica:
            replica = shown.replica
            yield f"{palette.dim}ids and changes of replica {replica} are written without its name{palette.off}"
            yield ""
        yield from record_lines(record, origin, shown, palette, most)
        yield ""
    if not count:
        yield none_line(among(), "synchronization", "synchronizations")


def record_lines(
    record: SyncRecord, origin: Origin, shown: Shown, palette: Palette = PLAIN, most: int | None = SHOWN_CHANGES
) -> Iterator[str]:
    """One record: heading, what was asked, the client's state, the changes, the new state, the end."""
    title = f"#{record.number} {record.direction} of the {record.kind} of {folder_text(record)}"
    frames = f"frames {record.frames[0]}-{record.frames[1]}, exchanges {record.exchanges[0]}-{record.exchanges[1]}"
    yield f"{palette.value}{title}{palette.off}  {palette.dim}{frames}, {clock(record.started)}{palette.off}"
    user = record.user.rpartition("=")[2] or "user not known"
    yield _line("client", printable(f"{user} at {record.client}, session {record.session}"))
    asked = asked_text(record)
    if asked:
        yield _line("asked for", asked)
    yield _line("client state", origin_text(record, origin, shown), palette, bad=origin.kind in BAD_ORIGINS)
    for name, idset in origin.lost:
        yield _line("", f"  missing in {short_name(name)}: {shown.amount(idset)}", palette, bad=True)
    yield _line("server sends" if record.direction == "download" else "client sends", sent_text(record))
    yield from change_lines(record, shown, palette, most)
    yield from set_lines(record, shown, palette)
    for trouble in record.trouble:
        yield _line("", trouble, palette, bad=True)
    if record.codes:
        codes = (f"{rop}: {error_name(code) or hex(code)} x{n}" for (rop, code), n in record.codes.items())
        yield _line("returned", ", ".join(codes), palette, bad=True)
    if not record.complete:
        yield _line("incomplete", record.why, palette, bad=True)


def _count(name: str) -> Callable[[tuple[SyncRecord, Origin]], Any]:
    return lambda pair: pair[0].counts().get(name, 0)


FIELDS: Mapping[str, Callable[[tuple[SyncRecord, Origin]], Any]] = {
    "sync": lambda pair: pair[0].number,
    "session": lambda pair: pair[0].session,
    "stream": lambda pair: pair[0].stream.number,
    "direction": lambda pair: pair[0].direction,
    "kind": lambda pair: pair[0].kind,
    "folder": lambda pair: [one for one in (str(pair[0].folder or ""), pair[0].folder_name) if one] or None,
    "client": lambda pair: pair[0].client or None,
    "user": lambda pair: pair[0].user or None,
    "frame": lambda pair: pair[0].frames[0],
    "exchange": lambda pair: pair[0].exchanges[0],
    "bytes": lambda pair: pair[0].bytes,
    "buffers": lambda pair: pair[0].buffers,
    "elapsed": lambda pair: pair[0].elapsed,
    "origin": lambda pair: pair[1].kind,
    "changes": lambda pair: len(pair[0].changes),
    "new": _count("new"),
    "changed": _count("changed"),
    "again": _count("again"),
    "refused": _count("refused"),
    "conflicts": _count("conflicts"),
    "deleted": lambda pair: pair[0].gone.count,
    "read": lambda pair: pair[0].read.count + pair[0].unread.count,
    "subject": lambda pair: [one.name for one in pair[0].changes if one.name] or None,
    "error": lambda pair: [error_name(code) or hex(code) for _, code in pair[0].codes] or None,
    "complete": lambda pair: True if pair[0].complete else None,
    "bootstrap": lambda pair: True if pair[0].bootstrap else None,
    "why": lambda pair: pair[0].why or None,
}
"""What -Y knows of a synchronization. `complete` and `bootstrap` stand alone; deleted and read count all that was taken
away, and all read states."""

ASIDE = frozenset(("FAI", "partial", "refused", "conflicts", "cut short"))
"""Counts of what is counted already, under another name."""
BAD_ORIGINS = frozenset(("lost", "rolled back", "not taken"))


class Shown:
    """How ids are written: without their REPLGUID where it is the main one (replica)."""

    def __init__(self, record: SyncRecord) -> None:
        states = [state for state in (record.initial, record.final, record.checkpoint) if state is not None]
        self.replica = _main_replica(states, [one.id for one in record.changes if one.id is not None])

    @classmethod
    def of_states(cls, states: Iterable[IcsState]) -> Shown:
        made = cls.__new__(cls)
        made.replica = _main_replica(states, ())
        return made

    def idset(self, idset: IdSet, limit: int = SHOWN_RANGES) -> str:
        parts = []
        for replica, ranges in idset.items():
            text = ranges_text(ranges, limit)
            parts.append(text if replica == self.replica else f"{replica_text(replica)}:{text}")
        return " ".join(parts) or "{}"

    def amount(self, idset: IdSet) -> str:
        return f"{idset.count} {self.idset(idset)}"

    def id(self, id_: GlobalId) -> str:
        text = f"0x{id_[1]:X}"
        return text if id_[0] == self.replica else f"{replica_text(id_[0])}:{text}"

    def change(self, change: SyncChange) -> str:
        if change.id is not None:
            return self.id(change.id)
        return str(change.mid) if change.mid is not None else str(change.source_key or "?")


def _main_replica(states: Iterable[IcsState], ids: Iterable[GlobalId]) -> uuid.UUID | None:
    """The replica that most ranges of given ids, or most ids, belong to."""
    counts: Counter[uuid.UUID] = Counter(guid for guid, _ in ids)
    for state in states:
        for replica, ranges in (state.given or state.seen).items():
            if isinstance(replica, uuid.UUID):
                counts[replica] += len(ranges)
    return counts.most_common(1)[0][0] if counts else None


def replica_text(replica: int | uuid.UUID) -> str:
    """A REPLID, or the first part of a REPLGUID."""
    return f"REPLID {replica}" if isinstance(replica, int) else f"{str(replica)[:8]}…"


def folder_text(record: SyncRecord) -> str:
    known = f"{record.folder}" if record.folder is not None else "a folder whose opening was not captured"
    return f"{record.folder_name} ({known})" if record.folder_name else f"folder {known}" if record.folder else known


def asked_text(record: SyncRecord) -> str:
    """The flags of the opening ROP in words, and what narrows the scope."""
    options = record.options
    parts = [
        options.get("SynchronizationFlags", ""),
        f"extra {options['SynchronizationExtraFlags']}" if options.get("SynchronizationExtraFlags", "0") != "0" else "",
        f"send {options['SendOptions']}" if options.get("SendOptions", "0") != "0" else "",
        f"restriction {record.restriction}" if record.restriction else "",
    ]
    if record.property_tags:
        parts.append(f"{record.property_tags} property tag{'s' * (record.property_tags != 1)}")
    return "; ".join(part for part in parts if part)


def origin_text(record: SyncRecord, origin: Origin, shown: Shown) -> str:
    """Where the uploaded state comes from, in words."""
    number = f"#{origin.number}"
    if record.initial is None:
        return f"not known: {record.initial_why}"
    if origin.kind == "same" and origin.unused:
        unused = ", ".join(f"{short_name(name)} {shown.amount(one)}" for name, one in origin.unused)
        return f"as after {number}, without what the upload since then gave ({unused})"
    if origin.kind == "same":
        return f"as after {number}"
    if origin.kind == "bootstrap":
        return f"bootstrap: nothing any more, though {number} ended with a state"
    if record.initial.empty and record.direction == "upload":
        return "empty: the upload begins without one"
    if record.initial.empty:
        return "bootstrap: the client has nothing yet"
    if origin.kind == "grown":
        grown = ", ".join(f"{short_name(name)} +{shown.amount(one)}" for name, one in origin.grown)
        return f"as after {number}, and more that is not in this capture: {grown}"
    if origin.kind == "rolled back":
        return f"rolled back to the one after {number}"
    if origin.kind == "not taken":
        return f"as before {number}: its final state was not taken"
    if origin.kind == "lost":
        return f"not the one after {number}: something is missing"
    return "from before this capture"


def sent_text(record: SyncRecord) -> str:
    """'2 new, 2 changed (1 FAI), 1 deleted; 15926 bytes in 1 buffer, 0.029 s'"""
    counts = record.counts()
    parts: list[str] = []
    aside: list[str] = []
    for name, count in counts.items():
        (aside if name in ASIDE else parts).append(f"{count} {words(name, count)}")
    text = ", ".join(parts) or "nothing"
    if aside:
        text += f" ({', '.join(aside)})"
    if record.direction == "download":
        text += (
            f"; {record.bytes} byte{'s' * (record.bytes != 1)} in {record.buffers} buffer{'s' * (record.buffers != 1)}"
        )
    if record.stream.backoffs:
        text += (
            f", {record.stream.backoffs} back-off{'s' * (record.stream.backoffs != 1)} of {record.stream.backoff_ms} ms"
        )
    if record.errors:
        text += f", {record.errors} error{'s' * (record.errors != 1)} in the stream"
    return f"{text}, {record.elapsed:.3f} s"


def words(name: str, count: int) -> str:
    """What a count counts."""
    plural = {"import": "messages", "import-folder": "folders", "move": "moved messages", "again": "sent again"}
    single = {"import": "message", "import-folder": "folder", "move": "moved message", "again": "sent again"}
    return (single if count == 1 else plural).get(name, name)


def change_lines(record: SyncRecord, shown: Shown, palette: Palette, most: int | None) -> Iterator[str]:
    for one in record.changes[:most]:
        bad = one.status == "again" or bool(one.refused) or not one.complete
        yield _line("", f"  {change_text(one, shown)}", palette, bad)
    if most is not None and len(record.changes) > most:
        yield _line("", f"  ... and {len(record.changes) - most} more (--all)")
    for name, idset in record.deletions.items():
        yield _line("", f"  {name}: {shown.amount(idset)}")
    for name, idset in (("marked read", record.read), ("marked unread", record.unread)):
        if idset:
            yield _line("", f"  {name}: {shown.amount(idset)}")
    for operation in record.operations:
        if operation.code:
            text = f"  {operation.kind} of {len(operation.keys)}: {error_name(operation.code) or hex(operation.code)}"
            yield _line("", f"{text}, frame {operation.frame}", palette, bad=True)


def change_text(change: SyncChange, shown: Shown) -> str:
    """A message or folder in one line."""
    word = change.status or {"import": "message", "import-folder": "folder"}.get(change.kind, change.kind)
    marks = [mark for mark, on in (("FAI", change.fai), ("partial", change.kind == "partial")) if on]
    parts = [f"{word:<8} {shown.change(change):<10}", f"{' '.join(marks):<4}"]
    if change.version is not None:
        parts.append(f"change {shown.id(change.version):<7}")
    if change.size is not None:
        parts.append(f"{change.size:>8} bytes")
    frames = f"frame {change.frame}" + (f"-{change.last_frame}" if change.last_frame != change.frame else "")
    parts.append(f"{frames:<15}")
    if change.old_key is not None:
        old = int.from_bytes(change.old_key.local_id, "big")
        parts.append(f"from 0x{old:X} of folder {_counter(change.source_folder)}")
    name = change.name or change.message_class
    parts.append(repr(name) if change.name else f"({name})" if name else "")
    if change.refused:
        parts.append(error_name(change.refused) or hex(change.refused))
    if not change.complete:
        parts.append("cut short")
    return printable(" ".join(part for part in parts if part)).rstrip()


def _counter(key: Xid | None) -> str:
    return f"0x{int.from_bytes(key.local_id, 'big'):X}" if key is not None else "?"


def set_lines(record: SyncRecord, shown: Shown, palette: Palette) -> Iterator[str]:
    """The four sets before and after, with what came and what went."""
    title = "new state" if record.direction == "download" else "server's state"
    if record.final is None:
        why = "the stream does not hold one" if record.direction == "download" else "not asked for"
        yield _line(title, f"none: {why}")
        for name, one in record.initial.named() if record.initial is not None else ():
            if one:
                yield _line("", f"  {short_name(name):<12} was {shown.amount(one)}")
        return
    unchanged = record.final == record.initial
    yield _line(title, "unchanged" if unchanged else "the sets before and after")
    for name, before, after in record.sets():
        if after is None:
            continue
        label, known = f"  {short_name(name):<12}", record.initial is not None
        if name == "MetaTagIdsetGiven" and not record.final_given and not after:
            if before:
                yield _line("", f"{label} {before.count:>7} -> not in it")
            continue
        count = f"{before.count if known else '?':>7} -> {after.count:<7}"
        if not known or before == after:
            yield _line("", f"{label} {count} {'=' if known else ' '} {shown.idset(after)}")
            continue
        new, gone = after - before, before - after
        parts = [f"+{shown.amount(new)}"] if new else []
        parts += [f"-{shown.amount(gone)}"] if gone else []
        yield _line("", f"{label} {count} {'  '.join(parts)}", palette, bad=bool(gone) and name != "MetaTagIdsetGiven")


def short_name(name: str) -> str:
    return name.removeprefix("MetaTag")


def _line(label: str, text: str, palette: Palette = PLAIN, bad: bool = False) -> str:
    line = f"  {label:<{LABEL}}{text}"
    return f"{palette.bad}{line}{palette.off}" if bad and palette.bad else line


# -- JSON


def sync_json(record: SyncRecord, origin: Origin) -> dict[str, Any]:
    """A record as docs/json.md has it."""
    stream = record.stream
    made: dict[str, Any] = {
        "id": record.number, "session": record.session, "direction": record.direction, "kind": record.kind,
        "folder": str(record.folder) if record.folder is not None else None, "folder_name": record.folder_name,
        "mailbox": record.mailbox, "client": record.client, "user": record.user, "stream": stream.number,
        "opened_by": stream.opened_by, "inferred": record.inferred, "options": record.options,
        "restriction": record.restriction, "frames": list(record.frames), "exchanges": list(record.exchanges),
        "time": record.started, "elapsed": round(record.elapsed, 6), "bytes": record.bytes,
        "buffers": record.buffers, "backoffs": stream.backoffs, "complete": record.complete, "why": record.why,
        "bootstrap": record.bootstrap, "initial_state": state_json(record.initial),
        "initial_why": record.initial_why,
        "origin": {"kind": origin.kind, "sync": origin.number, "lost": dict_json(origin.lost),
                   "grown": dict_json(origin.grown)},
        "final_state": state_json(record.final), "checkpoint": state_json(record.checkpoint),
        "counts": record.counts(), "announced": dict(record.announced) if record.announced else None,
        "changes": [change_json(one) for one in record.changes],
        "deletions": {name: idset_json(one) for name, one in record.deletions.items()},
        "read": idset_json(record.read), "unread": idset_json(record.unread),
        "operations": [
            {"kind": one.kind, "rop": one.rop, "exchange": one.exchange, "frame": one.frame, "return_code": one.code,
             "return_name": error_name(one.code) if one.code is not None else "",
             "source_keys": [str(key) for key in one.keys]}
            for one in record.operations
        ],
        "codes": [
            {"rop": rop, "return_code": code, "return_name": error_name(code), "count": count}
            for (rop, code), count in record.codes.items()
        ],
        "trouble": record.trouble,
    }  # fmt: skip
    return made


def change_json(change: SyncChange) -> dict[str, Any]:
    """Empty members are left out."""
    made = {
        "kind": change.kind, "status": change.status,
        "id": global_text(change.id), "version": global_text(change.version),
        "message_id": str(change.mid) if change.mid is not None else None,
        "change_number": str(change.cn) if change.cn is not None else None,
        "source_key": str(change.source_key) if change.source_key is not None else None,
        "parent": str(change.parent) if change.parent is not None else None,
        "change_key": str(change.change_key) if change.change_key is not None else None,
        "predecessors": [str(one) for one in change.pcl] if change.pcl is not None else None,
        "modified": change.modified, "fai": change.fai, "name": change.name, "message_class": change.message_class,
        "size": change.size, "bytes": change.bytes or None, "groups": change.groups or None,
        "warnings": list(change.warnings) or None, "complete": change.complete,
        "flags": flag_names("ImportFlag", change.flags) or None, "return_code": change.code,
        "saved_code": change.saved, "from_folder": str(change.source_folder) if change.source_folder else None,
        "from_message": str(change.old_key) if change.old_key else None,
        "exchange": change.exchange, "frames": [change.frame, change.last_frame],
    }  # fmt: skip
    return {name: plain(value) for name, value in made.items() if value not in (None, "")}


def global_text(id_: GlobalId | None) -> str | None:
    """'b5ffb99b-440f-4f77-b488-c5c6702ee3a8-000000000101'"""
    return f"{id_[0]}-{id_[1]:012x}" if id_ is not None else None


def state_json(state: IcsState | None) -> dict[str, Any] | None:
    return {name: idset_json(one) for name, one in state.named()} if state is not None else None


def idset_json(idset: IdSet) -> dict[str, Any]:
    """{"count", "ranges": {replica: [[low, high], ...]}}"""
    return {"count": idset.count, "ranges": {str(replica): _pairs(ranges) for replica, ranges in idset.items()}}


def _pairs(ranges: Ranges) -> list[list[int]]:
    return [[low, high] for low, high in ranges]


def dict_json(named: Iterable[tuple[str, IdSet]]) -> Mapping[str, Any]:
    return {name: idset_json(one) for name, one in named}


def with_origins(records: Iterable[SyncRecord], history: History | None = None) -> Iterator[tuple[SyncRecord, Origin]]:
    """Each record with where its state comes from."""
    history = history if history is not None else History()
    for record in records:
        origin = history.origin(record)
        history.add(record)
        yield record, origin
