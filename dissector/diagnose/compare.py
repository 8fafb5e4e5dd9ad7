"""Two captures of the same act, side by side: where two servers (or two clients) differ.

Sessions belong together that say the most alike; what is said in one without a counterpart is one difference. Within
them ROPs are aligned as two texts are, runs of the same ROP taken as one (how a stream is cut into buffers is nobody's
business); synchronizations by what they are of, messages by what they are called. Ids, GUIDs and keys are made equal by
learning on first sight which belongs to which; one that later stands for another is a difference. Times, cookies,
handles and progress are not compared.
"""

from __future__ import annotations

import hashlib
import re
import struct
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from dissector.diagnose.base import counted
from dissector.grammar.base import GrammarError
from dissector.grammar.elements import Element, elements_of
from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.names import error_name, property_name
from dissector.grammar.rops.base import SUCCESS
from dissector.model.ids import LongTermId, ObjectId
from dissector.model.pcl import Xid
from dissector.node import Undecoded
from dissector.pipeline import Dissection
from dissector.session.exchange import Exchange
from dissector.session.streams import KEEP_ALL, Streams
from dissector.session.sync import Recorder
from dissector.session.syncrecord import SyncChange, SyncRecord

ANSWER, ABSENT, CONTENT, VALUE, REQUEST, FORM = 100, 80, 60, 40, 30, 20
WORDS = {ANSWER: "answer", ABSENT: "absent", CONTENT: "content", VALUE: "value", REQUEST: "request", FORM: "form"}
"""What a weight is called: another return code; a ROP, message, synchronization or session that is missing; other
contents; other values of fields; other values in what the client asked; the same told in another form."""

NUMBER = re.compile(r"\[\d+\]")
"""Which of several rows or values: differences of the same field in many of them count as one."""
RUNS = frozenset(
    ("RopFastTransferSourceGetBuffer", "RopFastTransferDestinationPutBuffer", "RopReadStream", "RopWriteStream",
     "RopSynchronizationUploadStateStreamContinue", "RopQueryRows", "RopRelease", "RopNotify")
)  # fmt: skip
"""ROPs of which several in a row count as one."""
NOT_COMPARED = frozenset(
    ("RopId", "LogonId", "TransferBuffer", "TransferData", "StreamData", "InProgressCount", "TotalStepCount",
     "LogonTime", "GwartTime", "BackoffTime", "GlobalCount", "_io", "Reserved", "Data", "RowCount")
)  # fmt: skip
"""Fields that are never the same, or are compared elsewhere (streams, states)."""
KEYS = frozenset((0x65E0, 0x65E1, 0x65E2, 0x65E3))
"""Source keys, change keys and change lists: compared as identities."""
VOLATILE = frozenset(
    (0x0FFF, 0x0FF6, 0x0FF9, 0x0FFB, 0x300B, 0x3013, 0x0071, 0x0E09, 0x674A, 0x6748, 0x6749, 0x67A4, 0x0E08, 0x003B,
     0x0051, 0x0041, 0x003F, 0x0C19, 0x0C1D, 0x1035, 0x6709)
)  # fmt: skip
"""Properties whose values name an object, a mailbox or a change, by id: they are never the same in two mailboxes."""
TIME = 0x0040
ABSENT_VALUE, ERROR_VALUE = 1, 10
"""Flag of a FlaggedPropertyValue [MS-OXCDATA] 2.11.5."""
LONG = 1024
"""Values of so many bytes are compared by their digest."""
MESSAGE_STARTS = frozenset((MARKER["IncrSyncChg"], MARKER["IncrSyncChgPartial"]))
DEEPER = {MARKER["StartRecip"]: 1, MARKER["NewAttach"]: 1, MARKER["StartEmbed"]: 1,
          MARKER["EndToRecip"]: -1, MARKER["EndAttach"]: -1, MARKER["EndEmbed"]: -1}  # fmt: skip


class Step(NamedTuple):
    """A ROP, or a run of them, or a call without any. frame, exchange: of the first one."""

    name: str
    frame: int
    exchange: int
    request: Any
    response: Any
    code: int | None
    times: int
    session: int = 0


class Difference(NamedTuple):
    """One kind of difference. a, b: frame and exchange of the first place (None: it is not there), values in words.

    times: how many such places there are.
    """

    weight: int
    what: str
    path: str
    place_a: tuple[int, int] | None
    place_b: tuple[int, int] | None
    a: str
    b: str
    times: int = 1

    @property
    def kind(self) -> str:
        return WORDS[self.weight]


@dataclass(slots=True)
class Side:
    """What is compared of one capture. server, client: what they say they are. sessions: what was said in each, by
    number. properties: of each change by its identity: tag and value, of the message itself.
    """

    path: str
    server: list[str] = field(default_factory=list)
    client: list[str] = field(default_factory=list)
    sessions: dict[int, list[Step]] = field(default_factory=dict)
    records: list[SyncRecord] = field(default_factory=list)
    properties: dict[int, dict[int, bytes]] = field(default_factory=dict)

    @property
    def said(self) -> int:
        """How many ROPs and calls there are."""
        return sum(step.times for steps in self.sessions.values() for step in steps)


def gather(dissection: Dissection) -> Side:
    """Read a whole capture."""
    side = Side(dissection.capture.summary.path)
    recorder = Recorder(Streams(KEEP_ALL))

    def note(records: Iterable[SyncRecord]) -> None:
        for record in records:
            side.records.append(record)
            if record.stream.kept is not None and record.direction == "download":
                data = record.stream.source().data
                for change in record.changes:
                    side.properties[id(change)] = properties_of(data[change.offset : change.offset + change.bytes])
                record.stream.kept = None

    for exchange in dissection.exchanges():
        _who(exchange, side)
        _steps(exchange, side)
        note(recorder.exchange(exchange))
    note(recorder.finish())
    side.records.sort(key=lambda record: record.number)
    return side


def _who(exchange: Exchange, side: Side) -> None:
    """What the first calls tell of both ends."""
    call = exchange.call
    for who, part, names in (
        (side.client, call.request, ("X-ClientApplication", "User-Agent")),
        (side.server, call.response, ("X-ServerApplication", "Server", "X-FEServer", "X-BEServer")),
    ):
        message = getattr(part.envelope, "message", None) if part is not None else None
        if message is not None and hasattr(message, "header") and len(who) < len(names):
            found = [f"{name}: {value}" for name in names if (value := message.header(name))]
            who += [text for text in found if text not in who]
    if exchange.call.name == "Connect" and call.response is not None and call.response.session_keys:
        cookies = ", ".join(dict.fromkeys(str(key).partition("=")[0] for key in call.response.session_keys))
        if f"cookies {cookies}" not in side.server:
            side.server.append(f"cookies {cookies}")
    versions = (side.client, call.request, "rgwClientVersion"), (side.server, call.response, "rgwServerVersion")
    for who, part, name in versions:
        version = part.fields.get(name) if part is not None else None
        text = f"version {version_text(version)}" if version else ""
        if text and text not in who:
            who.append(text)


def version_text(words: Sequence[int]) -> str:
    """'15.0.847.4040' of the three words on the wire [MS-OXCRPC] 3.1.4.1.3."""
    first, second, third = words
    if second & 0x8000:
        return f"{first >> 8}.{first & 0xFF}.{second & 0x7FFF}.{third}"
    return f"{first}.0.{second}.{third}"


def _steps(exchange: Exchange, side: Side) -> None:
    session = exchange.session.number if exchange.session is not None else 0
    steps = side.sessions.setdefault(session, [])
    if not exchange.rops:
        code = exchange.call.response.return_code if exchange.call.response is not None else None
        steps.append(Step(exchange.call.name, exchange.frame, exchange.number, None, None, code, 1, session))
    for rop in exchange.rops:
        request = rop.request.value if rop.request is not None else None
        response = rop.response.value if rop.response is not None else None
        name, code = rop.name, rop.return_value
        if response is not None and response.get("RowData") is not None and rop.response is not None:
            columns = rop.response.params.get("columns") or (request or {}).get("PropertyTags")
            response = {**response, "RowData": rows_by_tag(response["RowData"], columns)}
        if name.endswith("StateStreamBegin") and request is not None:
            name += f" {property_name(request['StateProperty']) or hex(request['StateProperty'])}"
        last = steps[-1] if steps else None
        if last is not None and last.name == name and name in RUNS and (last.code or 0) == (code or 0):
            steps[-1] = last._replace(times=last.times + 1)
        else:
            steps.append(Step(name, exchange.frame, exchange.number, request, response, code, 1, session))


def rows_by_tag(rows: Any, columns: Sequence[int] | None) -> Any:
    """Rows of a table, or the one row of RopGetPropertiesSpecific, as property values; as they are without columns."""
    if isinstance(rows, list) and columns:
        return [rows_by_tag(row, columns) for row in rows]
    values = rows.get("ValueArray") if isinstance(rows, Mapping) and columns else None
    if not isinstance(values, list) or columns is None or len(values) != len(columns):
        return rows
    made = []
    for tag, value in zip(columns, values, strict=True):
        if isinstance(value, Mapping) and "Flag" in value:
            flag, value = value["Flag"], value.get("PropertyValue")
            if flag == ABSENT_VALUE:
                continue
            if flag == ERROR_VALUE and isinstance(value, int):
                value = code_text(value)
        made.append({"PropertyTag": tag, "PropertyValue": value})
    return made


def properties_of(data: bytes) -> dict[int, bytes]:
    """The properties of a message itself, by tag: its value, or a digest of a long one."""
    found: dict[int, bytes] = {}
    depth = 0
    for element in elements_of(data):
        depth += DEEPER.get(element.tag, 0) if element.is_marker else 0
        if not element.is_marker and not depth and element.raw is not None:
            digest = hashlib.sha256(element.raw).digest() if len(element.raw) >= LONG else b""
            found[_key(element)] = LONG_VALUE + struct.pack("<Q", len(element.raw)) + digest if digest else element.raw
    return found


LONG_VALUE = b"\xffa long value\xff"
"""Stands before the size and the digest of one."""


def value_text(key: int, raw: bytes) -> str:
    """A property's value in words: what it is by its type, or bytes in hex."""
    if raw.startswith(LONG_VALUE):
        (size,) = struct.unpack_from("<Q", raw, len(LONG_VALUE))
        return f"{size} bytes, SHA-256 {raw[len(LONG_VALUE) + 8 :].hex()[:12]}…"
    try:
        value = Element(0, key & 0xFFFFFFFF, None, 4, 4 + len(raw), raw).value() if key >> 32 == 0 else None
    except GrammarError:
        value = None
    return short(raw if value is None or isinstance(value, Undecoded) else value)


def _key(element: Element) -> int:
    """The tag; for a named property a number of its own, since its id means nothing."""
    if element.named is None:
        return element.tag
    digest = hashlib.sha256(repr(element.named).lower().encode()).digest()
    key = element.tag & 0xFFFF | 0xFFFF0000 | int.from_bytes(digest[:8], "big") << 32
    NAMES.setdefault(key, element.name)
    return key


NAMES: dict[int, str] = {}
"""Names of named properties that were met."""


def tag_text(key: int) -> str:
    return NAMES.get(key) or property_name(key) or f"0x{key:08X}"


class Identity:
    """Which value of one side stands for which of the other: learned on first sight, held to it after."""

    def __init__(self) -> None:
        self._there: dict[Any, Any] = {}
        self._back: dict[Any, Any] = {}
        self.guids: dict[bytes, bytes] = {}

    def same(self, a: Any, b: Any) -> bool:
        if self._there.get(a, b) != b or self._back.get(b, a) != a:
            return False
        self._there[a], self._back[b] = b, a
        if isinstance(a, Xid | LongTermId):
            self.guids[a[0].bytes_le] = b[0].bytes_le
        elif isinstance(a, uuid.UUID):
            self.guids[a.bytes_le] = b.bytes_le
        return True

    def translated(self, value: bytes) -> bytes:
        """A value of A in which every GUID that is known is the one of B (entry ids hold some)."""
        for mine, theirs in self.guids.items() if len(value) >= 16 else ():
            value = value.replace(mine, theirs)
        return value

    def elsewhere(self, a: Any, b: Any) -> str:
        """What the two stand for in other places."""
        there, back = self._there.get(a), self._back.get(b)
        words = [f"A's is {there} elsewhere in B"] if there is not None and there != b else []
        words += [f"B's is {back} elsewhere in A"] if back is not None and back != a else []
        return "; ".join(words)


def compare(a: Side, b: Side) -> list[Difference]:
    """The differences of two captures, the heaviest first, equal ones counted together."""
    comparison = _Comparison(a, b)
    for _, pair in sorted((*comparison.steps(), *comparison.records()), key=lambda one: one[0]):
        comparison.pair(*pair)
    merged: dict[tuple[int, str, str], Difference] = {}
    for one in comparison.found:
        key = one.weight, one.what, NUMBER.sub("[]", one.path)
        known = merged.get(key)
        merged[key] = known._replace(times=known.times + 1, path=key[2]) if known is not None else one
    return sorted(merged.values(), key=lambda one: (-one.weight, (one.place_a or one.place_b or (0, 0))[1]))


ALIKE = 0.3
"""Sessions belong together where so much of what is said in them is alike."""


def paired(a: Side, b: Side) -> list[tuple[int, int]]:
    """Sessions that belong together, the most alike first taken, in the order of A. The only ones of both always do."""
    if len(a.sessions) == len(b.sessions) == 1:
        return [(next(iter(a.sessions)), next(iter(b.sessions)))]
    names = [
        {number: Counter(step.name for step in steps) for number, steps in side.sessions.items()} for side in (a, b)
    ]
    scores = []
    for one, mine in names[0].items():
        for two, theirs in names[1].items():
            alike = 2 * (mine & theirs).total() / ((mine.total() + theirs.total()) or 1)
            if alike >= ALIKE:
                scores.append((-alike, one, two))
    found: list[tuple[int, int]] = []
    for _, one, two in sorted(scores):
        if all(one != pair[0] and two != pair[1] for pair in found):
            found.append((one, two))
    return sorted(found)


def session_text(steps: list[Step], records: list[SyncRecord]) -> str:
    """'25 ROPs and calls (Connect, RopLogon, ...), 1 synchronization'"""
    names = list(dict.fromkeys(step.name for step in steps))
    text = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    count = counted(sum(step.times for step in steps), "ROP or call", "ROPs and calls")
    return f"{count} ({text})" + (f", {counted(len(records), 'synchronization')}" if records else "")


class _Comparison:
    def __init__(self, a: Side, b: Side) -> None:
        self.a, self.b = a, b
        self.sessions = paired(a, b)
        self.identity = Identity()
        self.found: list[Difference] = []

    def tell(self, weight: int, what: str, path: str, one: Any, two: Any, a: str, b: str) -> None:
        places = [(part.frame, part.exchange) if part is not None else None for part in (one, two)]
        self.found.append(Difference(weight, what, path, places[0], places[1], a, b))

    # -- ROPs

    def pair(self, one: Any, two: Any) -> None:
        """Compare two that belong together."""
        if isinstance(one, SyncRecord):
            self.record(one, two)
        else:
            self.step(one, two)

    def steps(self) -> Iterator[tuple[int, tuple[Step, Step]]]:
        """The ROPs that belong together, with the exchange in which they are said; tells those that are alone."""
        for one, two in self.sessions:
            yield from self.session(self.a.sessions[one], self.b.sessions[two])
        for number, side in ((0, self.a), (1, self.b)):
            for session in side.sessions.keys() - {pair[number] for pair in self.sessions}:
                steps = side.sessions[session]
                text = session_text(steps, [one for one in side.records if one.session == session])
                if number:
                    self.tell(ABSENT, f"session {session} of B", "", None, steps[0], "not there", text)
                else:
                    self.tell(ABSENT, f"session {session} of A", "", steps[0], None, text, "not there")

    def session(self, a: list[Step], b: list[Step]) -> Iterator[tuple[int, tuple[Step, Step]]]:
        """The same for two sessions."""
        names_a, names_b = ([step.name for step in steps] for steps in (a, b))
        matcher = SequenceMatcher(None, names_a, names_b, autojunk=False)
        for kind, start_a, end_a, start_b, end_b in matcher.get_opcodes():
            if kind == "equal":
                for one, two in zip(a[start_a:end_a], b[start_b:end_b], strict=True):
                    yield one.exchange, (one, two)
                continue
            for one in a[start_a:end_a]:
                self.tell(ABSENT, one.name, "", one, None, "said", "not said")
            for two in b[start_b:end_b]:
                self.tell(ABSENT, two.name, "", None, two, "not said", "said")

    def step(self, one: Step, two: Step) -> None:
        if (one.code or SUCCESS) != (two.code or SUCCESS):
            self.tell(ANSWER, one.name, "ReturnValue", one, two, code_text(one.code), code_text(two.code))
            return
        for side, first, second in (("request", one.request, two.request), ("response", one.response, two.response)):
            if (first is None) != (second is None):
                words = ["not captured" if value is None else "" for value in (first, second)]
                self.tell(FORM, one.name, side, one, two, *words)
            elif first is not None:
                weight = REQUEST if side == "request" else VALUE
                for path, a, b in self.values(first, second, ""):
                    self.tell(weight, one.name, f"{side}.{path}", one, two, a, b)

    def values(self, a: Any, b: Any, path: str) -> Iterator[tuple[str, str, str]]:
        """(path, value, value) of what differs in two values."""
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from self.mappings(a, b, path)
        elif isinstance(a, ObjectId | LongTermId | Xid | uuid.UUID) and type(a) is type(b):
            if not self.identity.same(a, b):
                yield path, str(a), f"{b} ({self.identity.elsewhere(a, b)})"
        elif isinstance(a, list | tuple) and isinstance(b, list | tuple):
            if _tagged(a) and _tagged(b):
                yield from self.tagged(a, b, path)
                return
            if len(a) != len(b):
                yield f"{path}[]", f"{len(a)} items", f"{len(b)} items"
            for number, (first, second) in enumerate(zip(a, b, strict=False)):
                yield from self.values(first, second, f"{path}[{number}]")
        elif a != b and not (isinstance(a, bytes) and self.identity.translated(a) == b):
            yield path, short(a), short(b)

    def mappings(self, a: Mapping[str, Any], b: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str]]:
        for name in dict.fromkeys((*a, *b)):
            if name in NOT_COMPARED or name.endswith(("Index", "Size", "Count")) or "Padding" in name:
                continue
            inner = f"{path}.{name}" if path else str(name)
            if name not in a or name not in b:
                yield inner, *("not there" if name not in one else short(one[name]) for one in (a, b))  # type: ignore[misc]
            else:
                yield from self.values(a[name], b[name], inner)

    def tagged(self, a: Sequence[Any], b: Sequence[Any], path: str) -> Iterator[tuple[str, str, str]]:
        """Property values: by tag, in any order."""
        mine, theirs = ({one["PropertyTag"]: one["PropertyValue"] for one in side} for side in (a, b))
        for tag in dict.fromkeys((*mine, *theirs)):
            inner = f"{path}.{tag_text(tag)}"
            if tag not in mine or tag not in theirs:
                yield inner, *("not there" if tag not in one else short(one[tag]) for one in (mine, theirs))  # type: ignore[misc]
            elif tag >> 16 not in VOLATILE and tag & 0xFFFF != TIME:
                yield from self.values(mine[tag], theirs[tag], inner)

    # -- synchronizations

    def records(self) -> Iterator[tuple[int, tuple[SyncRecord, SyncRecord]]]:
        """The same for synchronizations."""
        for first, second in self.sessions:
            mine = [one for one in self.a.records if one.session == first]
            yield from self.synchronizations(mine, [one for one in self.b.records if one.session == second])

    def synchronizations(
        self, a: list[SyncRecord], b: list[SyncRecord]
    ) -> Iterator[tuple[int, tuple[SyncRecord, SyncRecord]]]:
        matcher = SequenceMatcher(None, [record_key(one) for one in a], [record_key(one) for one in b], autojunk=False)
        for kind, start_a, end_a, start_b, end_b in matcher.get_opcodes():
            if kind == "equal":
                for one, two in zip(a[start_a:end_a], b[start_b:end_b], strict=True):
                    yield one.exchanges[0], (one, two)
                continue
            for one in a[start_a:end_a]:
                self.tell(ABSENT, f"synchronization: {' '.join(record_key(one))}", "", Place.of(one), None, "there", "")
            for two in b[start_b:end_b]:
                self.tell(ABSENT, f"synchronization: {' '.join(record_key(two))}", "", None, Place.of(two), "", "there")

    def record(self, one: SyncRecord, two: SyncRecord) -> None:
        what = f"synchronization: {' '.join(record_key(one))}"
        places = Place.of(one), Place.of(two)
        if one.complete != two.complete:
            self.tell(ANSWER, what, "complete", *places, one.why or "complete", two.why or "complete")
        facts: tuple[tuple[int, str, Any, Any], ...] = (
            (CONTENT, "counts", counts_text(one), counts_text(two)),
            (CONTENT, "begins with", begin_text(one), begin_text(two)),
            (CONTENT, "state", moves_text(one), moves_text(two)),
            (VALUE, "flags", one.options.get("SynchronizationFlags"), two.options.get("SynchronizationFlags")),
            (FORM, "bytes", one.bytes, two.bytes),
            (FORM, "buffers", one.buffers, two.buffers),
            (FORM, "order", [c.name for c in one.changes], [c.name for c in two.changes]),
        )
        for weight, path, a, b in facts:
            if path == "order":
                if Counter(a) == Counter(b) and a != b:
                    self.tell(weight, what, path, *places, "messages come in one order", "and in another")
            elif a != b:
                self.tell(weight, what, path, *places, str(a), str(b))
        self.changes(what, one, two)

    def changes(self, what: str, one: SyncRecord, two: SyncRecord) -> None:
        """Messages by class, name and kind; several of one name in their order."""
        mine, theirs = grouped(one.changes), grouped(two.changes)
        for key in dict.fromkeys((*mine, *theirs)):
            first, second = mine.get(key, []), theirs.get(key, [])
            for a, b in zip(first, second, strict=False):
                self.change(what, a, b)
            for left in first[len(second) :]:
                self.tell(ABSENT, what, f"{left.kind} {left.name!r}", left, None, left.status or "there", "not there")
            for left in second[len(first) :]:
                self.tell(ABSENT, what, f"{left.kind} {left.name!r}", None, left, "not there", left.status or "there")

    def change(self, what: str, a: SyncChange, b: SyncChange) -> None:
        if (a.refused or 0) != (b.refused or 0):
            self.tell(ANSWER, what, f"{a.kind} {a.name!r}", a, b, code_text(a.refused), code_text(b.refused))
        if a.status != b.status:
            self.tell(CONTENT, what, f"{a.name!r}.status", a, b, a.status, b.status)
        if a.fai != b.fai:
            self.tell(CONTENT, what, f"{a.name!r}.fai", a, b, str(a.fai), str(b.fai))
        pairs: tuple[tuple[str, Any, Any], ...] = (
            ("id", a.id, b.id), ("change number", a.version, b.version), ("change key", a.change_key, b.change_key),
            ("change list", a.pcl, b.pcl),
        )  # fmt: skip
        for path, first, second in pairs:
            if first is not None and second is not None:
                for inner, one, two in self.values(_of_id(first), _of_id(second), f"{a.name!r}.{path}"):
                    self.tell(VALUE, what, inner, a, b, one, two)
        mine, theirs = self.a.properties.get(id(a), {}), self.b.properties.get(id(b), {})
        for tag in dict.fromkeys((*mine, *theirs)):
            if tag not in mine or tag not in theirs:
                words = ["not sent" if tag not in one else "sent" for one in (mine, theirs)]
                self.tell(CONTENT, f"{what}: properties", tag_text(tag), a, b, *words)
            elif tag >> 16 & 0xFFFF in VOLATILE | KEYS or tag & 0xFFFF == TIME:
                continue
            elif mine[tag] != theirs[tag] and self.identity.translated(mine[tag]) != theirs[tag]:
                self.tell(
                    VALUE,
                    f"{what}: properties",
                    tag_text(tag),
                    a,
                    b,
                    value_text(tag, mine[tag]),
                    value_text(tag, theirs[tag]),
                )


class Place(NamedTuple):
    frame: int
    exchange: int

    @classmethod
    def of(cls, record: SyncRecord) -> Place:
        return cls(record.frames[0], record.exchanges[0])


def record_key(record: SyncRecord) -> tuple[str, str, str]:
    return record.direction, record.kind, record.folder_name or "folder"


def grouped(changes: Iterable[SyncChange]) -> dict[tuple[Any, ...], list[SyncChange]]:
    found: dict[tuple[Any, ...], list[SyncChange]] = {}
    for one in changes:
        found.setdefault((one.kind, one.message_class, one.name), []).append(one)
    return found


def counts_text(record: SyncRecord) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(record.counts().items())) or "nothing"


def begin_text(record: SyncRecord) -> str:
    if record.initial is None:
        return "a state that is not known"
    return "nothing" if record.initial.empty else f"a state of {record.initial.given.count} ids"


def moves_text(record: SyncRecord) -> str:
    """How each set moved, in counts: the ranges of change numbers of two servers are never the same."""
    if record.final is None or record.initial is None:
        return "no final state" if record.final is None else "not known"
    words = []
    for one in record.final.difference(record.initial):
        name = one.name.removeprefix("MetaTag")
        if name == "IdsetGiven":
            words.append(f"{name} +{one.added.count} -{one.removed.count}")
        else:
            grew = "grows" if one.added else "stays"
            words.append(f"{name} {'shrinks' if one.removed else grew}")
    return ", ".join(words)


def code_text(code: int | None) -> str:
    return "no response" if code is None else error_name(code) or f"0x{code:08X}"


def short(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _of_id(value: Any) -> Any:
    """A global id as a value that Identity knows."""
    is_id = type(value) is tuple and len(value) == 2 and isinstance(value[0], uuid.UUID)
    return LongTermId(*value) if is_id else value


def _tagged(values: Sequence[Any]) -> bool:
    """Whether these are property values."""
    wanted = {"PropertyTag", "PropertyValue"}
    return bool(values) and all(isinstance(one, Mapping) and wanted <= set(one) for one in values)
