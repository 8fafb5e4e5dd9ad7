"""What a rule is and what it may look at.

A rule is a small function that is called with the Case and one thing that happened, and yields a Hit for every place
where that is wrong. It is registered with its name, its severity, the section it rests on and what to do next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from dissector.capture.base import Summary
from dissector.diagnose.failures import Failures
from dissector.grammar.names import error_meaning, error_name
from dissector.model.idset import IdSet, ranges_text
from dissector.session.handles import Handles
from dissector.session.history import History
from dissector.session.packed import Packed
from dissector.session.sync import Recorder
from dissector.session.syncrecord import SyncRecord
from dissector.session.versions import Versions


class Severity(Enum):
    """How bad it is. A note is a peculiarity or an uncertainty; it is no finding."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Hit(NamedTuple):
    """Where a rule found something. evidence: facts by name. severity, advice: where they differ from the rule's.

    An advice that ends with a colon and a space goes before the rule's own. rpc: it is about a call over RPC.
    """

    frame: int
    exchange: int
    message: str
    evidence: Mapping[str, str] = {}
    severity: Severity | None = None
    advice: str = ""
    rpc: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A hit with what its rule says. sync: number of the synchronization, where it is about one."""

    severity: Severity
    rule: str
    frame: int
    exchange: int
    message: str
    evidence: Mapping[str, str]
    advice: str
    spec: str
    session: int | None = None
    sync: int | None = None

    @property
    def is_note(self) -> bool:
        return self.severity is Severity.NOTE


@dataclass(frozen=True, slots=True)
class Rule:
    """on: what the function is called with besides the Case: "sync" (SyncRecord, Origin); "change", "downloaded" or
    "uploaded" (SyncRecord, SyncChange, the Version before or None); "stream" (Stream); "exchange" (Exchange); "rop"
    (Exchange, Rop; only the ROPs in `rops`); "failed rop" (the same, where it did not return success); "misuse"
    (Exchange, Misuse); "end" (nothing). about: what it finds, in a sentence. spec: the section it rests on; rpc_spec:
    the one for calls over RPC, where that is another. clears: of a rule on changes, called with the Case and the Packed
    messages of a record: whether it is certain to find nothing in any of them, so that it need not be called for each.
    """

    name: str
    severity: Severity
    on: str
    spec: str
    about: str
    advice: str
    check: Callable[..., Iterable[Hit]]
    rops: tuple[int, ...] = ()
    rpc_spec: str = ""
    clears: Callable[[Case, Packed], bool] | None = None


RULES: dict[str, Rule] = {}
"""All rules by name, in the order in which they were registered."""

Check = Callable[..., Iterator[Hit]]


def rule(
    name: str,
    severity: Severity,
    on: str,
    spec: str,
    advice: str,
    *,
    rops: tuple[int, ...] = (),
    rpc_spec: str = "",
    clears: Callable[[Case, Packed], bool] | None = None,
) -> Callable[[Check], Check]:
    """Register a function as a rule. The first line of its docstring says what it finds."""

    def register(check: Check) -> Check:
        assert name not in RULES, name
        about = (check.__doc__ or "").strip().partition("\n")[0]
        RULES[name] = Rule(name, severity, on, spec, about, advice, check, rops, rpc_spec, clears)
        return check

    return register


class Unanswered(NamedTuple):
    """A call without a response. ended: who closed its connection (0 the client, 1 the server) and when, if anybody."""

    frame: int
    exchange: int
    time: float
    name: str
    rpc: bool
    ended: tuple[int, float] | None


@dataclass(slots=True)
class Case:
    """All that is known when a rule is called. memory: what one rule remembers, by its name.

    gaps: how many messages or streams are not complete in the capture so far. last: frame and time of the latest
    call. unanswered: the first calls without response. failures: what ROPs and calls returned. exchanges: how many
    there were. missing, holes: bytes that TCP connections lack, and in how many places; truncated: frames that were
    cut. closed: what TLS connections that were not opened are called. summary: of the capture, where one is read.
    breaks_off: whether a message of the latest call is not complete. over: whether the capture has ended.
    """

    recorder: Recorder
    history: History = field(default_factory=History)
    handles: Handles = field(default_factory=Handles)
    versions: Versions = field(default_factory=Versions)
    memory: dict[str, Any] = field(default_factory=dict)
    gaps: int = 0
    last: tuple[int, float] = (0, 0.0)
    unanswered: list[Unanswered] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)
    exchanges: int = 0
    closed: list[str] = field(default_factory=list)
    missing: int = 0
    holes: int = 0
    truncated: int = 0
    summary: Summary | None = None
    breaks_off: bool = False
    over: bool = False

    @property
    def cut(self) -> str:
        """Where the capture file itself breaks off, in words; '' where it does not, or is not read so far yet."""
        found = self.summary.diagnostics if self.summary is not None else ()
        return next((one.message for one in found if " is cut" in one.message or "ends badly" in one.message), "")

    def remembered(self, name: str, make: Callable[[], Any]) -> Any:
        """What a rule remembers; made on first sight."""
        if name not in self.memory:
            self.memory[name] = make()
        return self.memory[name]


def code_text(code: int) -> str:
    """'ecNotFound (0x8004010F)'"""
    name = error_name(code)
    return f"{name} (0x{code:08X})" if name else f"0x{code:08X}"


def code_meaning(code: int) -> str:
    """'ecNotFound (0x8004010F): no such object'"""
    meaning = error_meaning(code)
    return f"{code_text(code)}: {meaning}" if meaning else code_text(code)


def counted(count: int, singular: str, plural: str = "") -> str:
    """'1 hole', '2 holes'"""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


def set_text(idset: IdSet, limit: int = 8) -> str:
    """'3 {0x1-0x3}'; of several replicas each with the beginning of its name."""
    if len(idset.replicas) == 1:
        (replica,) = idset.replicas
        return f"{idset.count} {ranges_text(idset.ranges(replica), limit)}"
    parts = (f"{str(replica)[:8]}:{ranges_text(ranges, limit)}" for replica, ranges in idset.items())
    return f"{idset.count} {' '.join(parts)}" if idset else "0 {}"


def sync_text(record: SyncRecord) -> str:
    """'synchronization #3 (download of the contents of Inbox)'"""
    folder = record.folder_name or (f"folder {record.folder}" if record.folder else "a folder that is not known")
    return f"synchronization #{record.number} ({record.direction} of the {record.kind} of {folder})"


def at_start(record: SyncRecord) -> tuple[int, int]:
    """Frame and exchange where a synchronization began."""
    return record.frames[0], record.exchanges[0]


def at_end(record: SyncRecord) -> tuple[int, int]:
    """Frame and exchange where its last part came."""
    return record.stream.last_frame or record.frames[1], record.stream.last_exchange or record.exchanges[1]
