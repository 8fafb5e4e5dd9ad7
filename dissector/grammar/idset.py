"""IDSET and CNSET on the wire [MS-OXCFXICS] 2.2.2.4 - 2.2.2.6, 3.1.5.4.3.

A set is a row per replica: its REPLID or REPLGUID, then a GLOBSET, a little program of five commands that works on a
stack of common leading bytes. The value of a GLOBSET is its list of commands, so it builds back to the same bytes;
to_idset() gives what they mean, from_idset() the shortest commands for a set (globset.py). In the tree every command
is a node that says which ids it adds.

A program that breaks its rules (a command that does not exist, more than six common bytes, a range that ends before it
begins, Pop of an empty stack, End with bytes on it, no End) stops at that command; what came before it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from construct import Construct, Container, this

from dissector.grammar.base import GrammarError, MalformedError, build
from dissector.grammar.globset import BITMASK, END, POP, RANGE, shortest
from dissector.grammar.layouts import Layout, RowsToEnd, Traced
from dissector.grammar.leaves import U8, U16, Data, Enumerated, Guid, Labelled
from dissector.grammar.reading import parse
from dissector.model.idset import IdSet, Range, Ranges, Replica, normal, ranges_text, replica_key
from dissector.node import Diagnostic, Node, Severity, Summary

_COMMAND = "Command" / Enumerated(U8, "GlobsetCommand")
_LEFT = this._._left
"""How many bytes of an id the common bytes leave open: set by the GLOBSET around the command."""


class _StartingValue(Labelled):
    def label(self, value: int) -> str:
        return f"0x{value:02X}"


class _Mask(Labelled):
    def label(self, value: int) -> str:
        """Which of the eight ids behind the StartingValue are in."""
        return ", ".join(f"+{bit + 1}" for bit in range(8) if value >> bit & 1)


_PUSH = Layout(_COMMAND, "CommonBytes" / Data(this.Command), spec="MS-OXCFXICS 3.1.5.4.3.2.1")
COMMANDS: Mapping[int, tuple[str, Layout]] = {
    **dict.fromkeys(range(1, 7), ("Push", _PUSH)),
    POP: ("Pop", Layout(_COMMAND, spec="MS-OXCFXICS 3.1.5.4.3.2.2")),
    BITMASK: (
        "Bitmask",
        Layout(
            _COMMAND,
            "StartingValue" / _StartingValue(U8),
            "Bitmask" / _Mask(U8),
            spec="MS-OXCFXICS 3.1.5.4.3.2.3",
        ),
    ),
    RANGE: (
        "Range",
        Layout(_COMMAND, "LowValue" / Data(_LEFT), "HighValue" / Data(_LEFT), spec="MS-OXCFXICS 3.1.5.4.3.2.4"),
    ),
    END: ("End", Layout(_COMMAND, spec="MS-OXCFXICS 3.1.5.4.3.2.5")),
}
"""The commands by their first byte: what they are called and what they look like."""


class Program:
    """A GLOBSET being carried out: its stack of common bytes and the ranges so far."""

    __slots__ = ("common", "ended", "ranges", "stack")

    def __init__(self) -> None:
        self.stack: list[int] = []
        self.common = b""
        self.ranges: list[Range] = []
        self.ended = False

    @property
    def left(self) -> int:
        return 6 - len(self.common)

    def do(self, command: Any) -> tuple[Range, ...]:
        """Carry out one command (a value of its layout) and return the ranges it adds. Raises MalformedError."""
        code = command["Command"]
        if code == END:
            if self.stack:
                raise MalformedError(f"End with {len(self.common)} common bytes still pushed")
            self.ended = True
            return ()
        if code == POP:
            if not self.stack:
                raise MalformedError("Pop without a Push")
            self.common = self.common[: self.stack.pop()]
            return ()
        if code == BITMASK:
            added = self.bitmask(command["StartingValue"], command["Bitmask"])
        elif code == RANGE:
            low, high = self.id(command["LowValue"]), self.id(command["HighValue"])
            if low > high:
                raise MalformedError(f"a range that ends before it begins: 0x{low:X} to 0x{high:X}")
            added = (Range(low, high),)
        else:
            whole = self.common + command["CommonBytes"]
            if len(whole) > 6:
                raise MalformedError(f"{len(whole)} common bytes, an id has six")
            if len(whole) < 6:
                self.stack.append(len(self.common))
                self.common = whole
                return ()
            counter = int.from_bytes(whole, "big")
            added = (Range(counter, counter),)
        self.ranges.extend(added)
        return added

    def id(self, tail: bytes) -> int:
        return int.from_bytes(self.common + tail, "big")

    def bitmask(self, start: int, mask: int) -> tuple[Range, ...]:
        if len(self.common) != 5:
            raise MalformedError(f"Bitmask after {len(self.common)} common bytes, it needs five")
        if start + mask.bit_length() > 0xFF:
            raise MalformedError(f"Bitmask 0x{mask:02X} leads beyond the last id from 0x{start:02X} on")
        base = self.id(bytes((start,)))
        members = [base, *(base + 1 + bit for bit in range(8) if mask >> bit & 1)]
        return normal((member, member) for member in members)


NO_END = "the data ends here: a GLOBSET without its End command"


def peek(stream: Any) -> bytes:
    """The next byte, or none at the end."""
    byte: bytes = stream.read(1)
    if byte:
        stream.seek(stream.tell() - 1)
    return byte


class Yields(Summary):
    """Words for a node that adds ids: the ranges. The list may grow after the node was made."""

    __slots__ = ("ranges",)

    def __init__(self, ranges: Iterable[Range]) -> None:
        self.ranges = ranges

    def __call__(self, node: Node) -> str:
        ranges = normal(self.ranges)
        return ranges_text(ranges) if ranges else ""


class _Command(Construct):  # type: ignore[misc]
    """One command, carried out on the Program in the context."""

    def __init__(self, layout: Layout | None) -> None:
        super().__init__()
        self.layout = layout
        self.spec = layout.spec if layout is not None else ""

    def _parse(self, stream: Any, context: Container, path: str) -> Container:
        if self.layout is None:
            code = peek(stream)
            if not code:
                raise MalformedError(NO_END, path=path)
            raise MalformedError(f"no GLOBSET command is 0x{code[0]:02X}", path=path)
        value: Container = self.layout._parse(stream, context, path)
        added = context._program.do(value)
        tracer = context._params.get("_tracer")
        if added and tracer is not None:
            tracer.current.labeller = Yields(added)
        return value

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        assert self.layout is not None
        return self.layout._build(obj, stream, context, path)


_FIELDS = {bytes((code,)): Traced(_Command(layout), name) for code, (name, layout) in COMMANDS.items()}
_UNKNOWN = Traced(_Command(None), "Command")


class Globset(Construct):  # type: ignore[misc]
    """GLOBSET commands up to and with End. The value is the list of commands; the nodes say which ids they add."""

    spec = "MS-OXCFXICS 2.2.2.6"

    def _parse(self, stream: Any, context: Container, path: str) -> list[Container]:
        program = Program()
        inner = Container(_=context, _params=context._params, _program=program)
        tracer = context._params.get("_tracer")
        if tracer is not None:
            tracer.current.labeller = Yields(program.ranges)
        commands: list[Container] = []
        while not program.ended:
            inner["_left"] = program.left
            field = _FIELDS.get(peek(stream), _UNKNOWN)
            commands.append(field._parse(stream, inner, path))
        return commands

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        for command in obj:
            if command["Command"] not in COMMANDS:
                raise MalformedError(f"no GLOBSET command is 0x{command['Command']:02X}", path=path)
            _FIELDS[bytes((command["Command"],))]._build(command, stream, context, path)
        return obj


class _SetSummary(Summary):
    """'empty set', or how many ids the rows below a node hold."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("")

    def __call__(self, node: Node) -> str:
        rows = [child for child in node.children if child.name.startswith("[")]
        found: list[Ranges] = []
        for row in rows:
            for part in row.children:
                if isinstance(part.labeller, Yields):
                    found.append(normal(part.labeller.ranges))
        return _amount(len(rows), found)


def _empty(value: Any) -> str:
    return "empty set"


def _amount(replicas: int, found: list[Ranges]) -> str:
    if not replicas:
        return "empty set"
    ids = sum(high - low + 1 for ranges in found for low, high in ranges)
    ranges = sum(map(len, found))
    return (
        f"{ids} id{'s' * (ids != 1)} in {ranges} range{'s' * (ranges != 1)}, {replicas} replica{'s' * (replicas != 1)}"
    )


class Idset(RowsToEnd):
    """Rows of a replica and its GLOBSET, to the end of the enclosing size. No bytes are the empty set.

    `replica` names the form: REPLID or REPLGUID. Nothing in the bytes tells which it is; the property does.
    """

    def __init__(self, replica: str, layout: Construct, spec: str) -> None:
        row = Layout(
            replica / layout, "GLOBSET" / Globset(), name="IDSET", spec=spec, summary=f"{{{replica}}}: {{GLOBSET}}"
        )
        super().__init__(row)
        self.replica, self.spec, self.label = replica, spec, _SetSummary()

    def _parse(self, stream: Any, context: Container, path: str) -> list[Any]:
        tracer = context._params.get("_tracer")
        rows = super()._parse(stream, context, path)
        if tracer is not None:
            if not tracer.current.children:
                tracer.current.labeller = _empty
            replicas = [row[self.replica] for row in rows]
            if not (ascending(replicas, replica_key) or ascending(replicas, wire_key)):
                message = f"the {self.replica}s are not in ascending order, each once [MS-OXCFXICS] 2.2.2.4"
                tracer.current.diagnose(Severity.NOTE, message)
        return rows


def wire_key(replica: Replica) -> Any:
    """Sorts REPLGUIDs by their bytes, as some implementations do."""
    return replica if isinstance(replica, int) else replica.bytes_le


def ascending(replicas: list[Replica], key: Callable[[Replica], Any]) -> bool:
    keys = [key(replica) for replica in replicas]
    return all(first < second for first, second in pairwise(keys))


IDSET_REPLID = Idset("REPLID", U16, "MS-OXCFXICS 2.2.2.4.1")
"""What one logon understands: the sets of deletions and readStateChanges."""
IDSET_REPLGUID = Idset("REPLGUID", Guid, "MS-OXCFXICS 2.2.2.4.2")
"""What is kept between sessions: the four properties of the ICS state."""


SET_FORMS: Mapping[int, Idset] = {
    **dict.fromkeys((0x4017, 0x6796, 0x67DA, 0x67D2), IDSET_REPLGUID),
    **dict.fromkeys((0x67E5, 0x4021, 0x6793, 0x402D, 0x402E), IDSET_REPLID),
}
"""The form of the set in each property that holds one, by property id: the ICS state, then what a stream reports."""


def ranges_of(commands: Iterable[Any]) -> Ranges:
    """The ids that the commands of one GLOBSET add. Raises MalformedError."""
    program = Program()
    for command in commands:
        program.do(command)
    return normal(program.ranges)


def to_idset(rows: Iterable[Any]) -> IdSet:
    """The set of a parsed IDSET (either form). Raises MalformedError where the commands were made up wrongly."""
    made: dict[Replica, list[Range]] = {}
    for row in rows:
        replica = row["REPLID"] if "REPLID" in row else row["REPLGUID"]
        made.setdefault(replica, []).extend(ranges_of(row["GLOBSET"]))
    return IdSet(made)


def from_idset(idset: IdSet) -> list[Container]:
    """The rows of a set, in wire order, with the shortest commands. Raises ValueError where both forms are mixed."""
    form_of(idset)
    return [
        Container({"REPLID" if isinstance(replica, int) else "REPLGUID": replica, "GLOBSET": shortest(ranges)})
        for replica, ranges in idset.items()
    ]


def form_of(idset: IdSet) -> Idset:
    """The layout that fits the set's replicas (IDSET_REPLGUID for the empty one)."""
    kinds = {isinstance(replica, int) for replica in idset.replicas}
    if len(kinds) > 1:
        raise ValueError("a set is either of REPLIDs or of REPLGUIDs")
    return IDSET_REPLID if kinds == {True} else IDSET_REPLGUID


def encode_idset(idset: IdSet) -> bytes:
    """The shortest bytes of a set; the form follows from its replicas. The empty set is no bytes."""
    return build(form_of(idset), from_idset(idset))


def decode_idset(data: bytes, form: Idset) -> IdSet:
    """The set in some bytes. Raises GrammarError (with the offset) where they are malformed."""
    return to_idset(parse(form, data)[0])


@dataclass(frozen=True, slots=True)
class IdsetReading:
    """As much of a set as could be read. offset: where reading stopped (the first byte of a bad command).

    remarks: what can be read but is not canonical: ids named twice or out of order, replicas twice.
    """

    idset: IdSet
    offset: int
    diagnostic: Diagnostic | None
    remarks: tuple[str, ...] = ()


def read_idset(data: bytes, form: Idset) -> IdsetReading:
    """Read a set that may be malformed. Never raises: the ids before the fault, and the fault with its place."""
    found: dict[Replica, list[Range]] = {}
    remarks: list[str] = []
    at = 0
    try:
        while at < len(data):
            replica, at = parse(form.row.subcon.subcons[0].subcon, data, at)
            if replica in found:
                remarks.append(f"replica {replica} comes twice")
            program, ranges = Program(), found.setdefault(replica, [])
            tidy = True
            while not program.ended:
                if at == len(data):
                    raise GrammarError(Severity.MALFORMED, NO_END, at)
                if data[at] not in COMMANDS:
                    raise GrammarError(Severity.MALFORMED, f"no GLOBSET command is 0x{data[at]:02X}", at)
                command, end = parse(COMMANDS[data[at]][1], data, at, None, _left=program.left)
                try:
                    added = program.do(command)
                except MalformedError as error:
                    raise GrammarError(Severity.MALFORMED, str(error), at) from error
                if tidy and added and ranges and added[0].low <= ranges[-1].high:
                    tidy = False
                    remarks.append(f"{added[0]} of replica {replica} comes behind {ranges[-1]}")
                ranges.extend(added)
                at = end
    except GrammarError as error:
        return IdsetReading(IdSet(found), at, Diagnostic(error.severity, error.message), tuple(remarks))
    return IdsetReading(IdSet(found), at, None, tuple(remarks))
