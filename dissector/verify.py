"""Decode, encode again, compare: the proof that a tree says what the bytes say.

Counted are PDUs: every ROP, every ROP buffer, every envelope (HTTP body, RPC stub, header chain, auxiliary block). A
PDU is identical when building its decoded value gives the bytes that were captured, different when it gives others; a
PDU that could not be decoded has undecoded bytes instead. Sealed stubs are opaque by design and count as neither.

FastTransfer streams and uploaded states are counted by themselves: joined across their ROPs, decoded, built again, and
the result cut where the original was cut and compared with each buffer where it stands in its ROP.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, TypeAlias

from dissector.grammar.base import GrammarError, build
from dissector.grammar.elements import ElementReader, rebuild
from dissector.grammar.idset import SET_FORMS
from dissector.grammar.reading import parse
from dissector.node import Diagnostic, Node, Severity, Undecoded
from dissector.session.exchange import Exchange, RopBuffer, RopSide
from dissector.session.stream import StateUpload, Stream
from dissector.session.streams import KEEP_ALL, Joined, Streams


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong at one place: the exchange, its frame, the PDU, and why."""

    exchange: int
    frame: int
    pdu: str
    message: str


@dataclass(slots=True)
class Report:
    """The sums of a verification. ok: nothing different, nothing undecoded, no BUG.

    undecoded_bytes, no_context_bytes, diagnostics and findings are of PDUs and of streams; decoded_bytes of PDUs alone,
    in which the bytes of streams are contained.
    """

    exchanges: int = 0
    rops: int = 0
    pdus: int = 0
    identical: int = 0
    different: int = 0
    decoded_bytes: int = 0
    undecoded_bytes: int = 0
    no_context_bytes: int = 0
    """Kept raw because what they depend on (a column set, a logon) happened before the capture began."""
    streams: int = 0
    stream_buffers: int = 0
    stream_bytes: int = 0
    stream_elements: int = 0
    streams_identical: int = 0
    streams_different: int = 0
    streams_incomplete: int = 0
    """Of which not all was sent or captured."""
    states: int = 0
    states_identical: int = 0
    states_different: int = 0
    unknown_rops: Counter[str] = field(default_factory=Counter)
    diagnostics: Counter[str] = field(default_factory=lambda: Counter({one.value: 0 for one in Severity}))
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        different = self.different or self.streams_different or self.states_different
        return not (different or self.undecoded_bytes or self.diagnostics["BUG"])

    def found(self, exchange: int, frame: int, pdu: str, message: str) -> None:
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(exchange, frame, pdu, message))

    def add(self, other: Report) -> None:
        """Take over what another report has of what comes after this one's."""
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if isinstance(mine, Counter):
                mine.update(theirs)
            elif isinstance(mine, list):
                mine.extend(theirs[: MOST_FINDINGS - len(mine)])
            else:
                setattr(self, one.name, mine + theirs)

    def as_json(self) -> dict[str, Any]:
        return {
            "exchanges": self.exchanges,
            "rops": self.rops,
            "pdus": self.pdus,
            "identical": self.identical,
            "different": self.different,
            "decoded_bytes": self.decoded_bytes,
            "undecoded_bytes": self.undecoded_bytes,
            "no_context_bytes": self.no_context_bytes,
            "streams": self.streams,
            "stream_buffers": self.stream_buffers,
            "stream_bytes": self.stream_bytes,
            "stream_elements": self.stream_elements,
            "streams_identical": self.streams_identical,
            "streams_different": self.streams_different,
            "streams_incomplete": self.streams_incomplete,
            "states": self.states,
            "states_identical": self.states_identical,
            "states_different": self.states_different,
            "unknown_rops": dict(self.unknown_rops),
            "diagnostics": dict(self.diagnostics),
            "findings": [
                {"exchange": one.exchange, "frame": one.frame, "pdu": one.pdu, "message": one.message}
                for one in self.findings
            ],
        }


MOST_FINDINGS = 1000


Step: TypeAlias = Callable[["Report"], None]
"""A part of a verification: adds to a report."""


def verify(exchanges: Iterable[Exchange]) -> Report:
    """Everything: exchanges, the streams and the states in them."""
    report = Report()
    for _, step in steps(exchanges):
        step(report)
    return report


def steps(exchanges: Iterable[Exchange]) -> Iterator[tuple[int, Step]]:
    """The work of verify() as (weight, step), exchange by exchange."""
    streams = Streams(KEEP_ALL)
    for exchange in exchanges:
        joined = streams.exchange(exchange)
        yield weight(exchange, joined), partial(_step, exchange, joined)
    left = streams.finish()
    last = [stream.states[-1] for stream in left if stream.states]
    joined = Joined(left, [one for one in last if not one.ended and one.refused is None])
    yield weight(None, joined), partial(verify_joined, joined)


def weight(exchange: Exchange | None, joined: Joined) -> int:
    """How much there is to be looked at: bytes, more or less."""
    calls = (exchange.call.request, exchange.call.response) if exchange is not None else ()
    size = sum(1000 + sum(map(len, side.payloads)) for side in calls if side is not None)
    return size + sum(stream.size for stream in joined.streams if stream.kept)


def _step(exchange: Exchange, joined: Joined, report: Report) -> None:
    verify_exchange(exchange, report)
    verify_joined(joined, report)


def verify_exchange(exchange: Exchange, report: Report) -> None:
    """Add one exchange to the report."""
    report.exchanges += 1
    report.rops += len(exchange.rops)

    def found(pdu: str, message: str) -> None:
        report.found(exchange.number, exchange.frame, pdu, message)

    for name, original, rebuilt in _pdus(exchange):
        report.pdus += 1
        if rebuilt == original:
            report.identical += 1
        elif rebuilt is not None:
            report.different += 1
            at = next((i for i, (a, b) in enumerate(zip(original, rebuilt, strict=False)) if a != b), None)
            place = at if at is not None else min(len(original), len(rebuilt))
            sizes = f"{len(original)} bytes captured, {len(rebuilt)} built"
            found(name, f"built again it differs at byte {place} ({sizes})")
    for rop in exchange.rops:
        for side in (rop.request, rop.response):
            if side is not None and side.layout is None:
                report.unknown_rops[side.name] += 1
    for tree in exchange.trees():
        for diagnostic, node in _walk(tree, report):
            report.diagnostics[diagnostic.severity.value] += 1
            if diagnostic.severity is not Severity.NOTE:
                found(node.name, f"{diagnostic.severity.value}: {diagnostic.message}")
        for fault in tiling_faults(tree):
            report.diagnostics[Severity.BUG.value] += 1
            found(tree.name, f"BUG: {fault}")


def verify_joined(joined: Joined, report: Report) -> None:
    """Add the streams and states that became whole in an exchange. Their bytes must have been kept."""
    for state in joined.states:
        verify_state(state, report)
    for stream in joined.streams:
        verify_stream(stream, report)


def verify_state(state: StateUpload, report: Report) -> None:
    report.states += 1
    tree = state.tree()
    name = f"{state.name} of stream {state.stream}"
    form = SET_FORMS.get(state.tag >> 16) if state.tag is not None else None
    if form is not None:
        data = state.source().data
        try:
            same = build(form, parse(form, data)[0]) == data
            report.states_identical += same
            report.states_different += not same
            if not same:
                report.found(state.exchange, state.frame, name, "built again it differs")
        except GrammarError:
            pass  # its bytes are undecoded in the tree
    decoded = report.decoded_bytes
    for diagnostic, node in _walk(tree, report):
        report.diagnostics[diagnostic.severity.value] += 1
        if diagnostic.severity is not Severity.NOTE:
            report.found(state.exchange, state.frame, name, f"{node.name}: {diagnostic.message}")
    report.decoded_bytes = decoded


def verify_stream(stream: Stream, report: Report) -> None:
    if not stream.size:
        return
    report.streams += 1
    report.stream_buffers += len(stream.buffers)
    report.stream_bytes += stream.size
    report.stream_elements += stream.account.elements
    report.streams_incomplete += not stream.complete
    data = stream.source().data
    starts = [buffer.offset for buffer in stream.buffers]

    def found(offset: int, what: str, message: str) -> None:
        buffer = stream.buffers[max(0, bisect_right(starts, offset) - 1)]
        report.found(buffer.exchange, buffer.frame, f"{stream.label}, {what} at offset {offset}", message)

    made = rebuild_stream(stream, data)
    at = 0
    same = len(made) == len(data)
    for buffer in stream.buffers:
        end = at + buffer.length
        if made[at:end] != data[at:end]:
            same = False
            found(at, "buffer", "built again it differs")
        at = end
    report.streams_identical += same
    report.streams_different += not same
    verify_stream_tree(stream, report, found)


def verify_stream_tree(stream: Stream, report: Report, found: Callable[[int, str, str], None]) -> None:
    """Diagnostics, undecoded bytes and tiling of a stream's tree, of which one part is held at a time."""
    decoded, at = report.decoded_bytes, 0
    held: Node | None = None
    for part in stream.tree_parts():
        if held is not None:
            if held.offset != at:
                report.diagnostics[Severity.BUG.value] += 1
                found(held.offset, held.name, f"BUG: it does not follow what ends at {at}")
            at = held.end
        held = part
        for diagnostic, node in _walk(part, report):
            report.diagnostics[diagnostic.severity.value] += 1
            if diagnostic.severity is not Severity.NOTE:
                found(node.offset, node.name, f"{diagnostic.severity.value}: {diagnostic.message}")
        for fault in tiling_faults(part):
            report.diagnostics[Severity.BUG.value] += 1
            found(part.offset, part.name, f"BUG: {fault}")
    if held is None or at != held.end or at != stream.size:  # the last one is the root, without its children
        report.diagnostics[Severity.BUG.value] += 1
        found(at, "stream", f"BUG: its parts end at {at}, it ends at {stream.size}")
    report.decoded_bytes = decoded


def rebuild_stream(stream: Stream, data: bytes) -> bytes:
    """A stream from its elements, each read and built again; what could not be read is taken over as it is."""
    made: list[bytes] = []
    at = 0
    for start, run in stream.runs(data):
        made.append(data[at:start])
        reader = ElementReader(offset=start)
        reader.feed(run)
        after, at = 0, start
        for element in reader.elements():
            if element.is_marker:
                after = element.tag
            try:
                made.append(rebuild(element, codepage=stream.codepage, after=after))
            except GrammarError:
                made.append(data[element.offset : element.end])
            at = element.end
    made.append(data[at:])
    return b"".join(made)


def _walk(tree: Node, report: Report) -> Iterator[tuple[Diagnostic, Node]]:
    for node in tree.walk():
        for diagnostic in node.diagnostics:
            yield diagnostic, node
        if not node.children and not isinstance(node.value, Undecoded):
            report.decoded_bytes += node.length
        raw = sum(child.length for child in node.children if isinstance(child.value, Undecoded))
        if raw or (node is tree and isinstance(node.value, Undecoded)):
            why = {found.severity for one in node.walk() for found in one.diagnostics} - {Severity.NOTE}
            if why == {Severity.NO_CONTEXT}:
                report.no_context_bytes += raw or node.length
            else:
                report.undecoded_bytes += raw or node.length


def _pdus(exchange: Exchange) -> Iterator[tuple[str, bytes, bytes | None]]:
    for side in (exchange.call.request, exchange.call.response):
        if side is not None:
            yield from side.pdus()
    for buffer in (*exchange.request_buffers, *exchange.response_buffers):
        parts = []
        for rop in buffer.rops:
            original = buffer.source.data[rop.offset : rop.offset + rop.length]
            rebuilt = rebuild_rop(rop)
            parts.append(rebuilt if rebuilt is not None else original)
            yield f"{rop.name} {'response' if rop.is_response else 'request'}", original, rebuilt
        yield "ROP buffer", buffer.source.data, rebuild_buffer(buffer, parts)


def rebuild_rop(side: RopSide) -> bytes | None:
    """The bytes that the decoded value builds to; None where there is no decoded value."""
    if side.value is None or side.layout is None:
        return None
    try:
        return build(side.layout, side.value, **side.params)
    except Exception as error:
        return f"cannot be built: {error}".encode()


def rebuild_buffer(buffer: RopBuffer, rops: list[bytes]) -> bytes:
    """A ROP buffer from its parts: RopSize, the ROPs, the handle table, and what stood unread between them."""
    if len(buffer.source.data) < 2:
        return buffer.source.data
    made = struct.pack("<H", buffer.rop_size) + b"".join(rops)
    made += struct.pack(f"<{len(buffer.handles)}I", *buffer.handles)
    for offset, length, _ in buffer.trouble:
        made += buffer.source.data[offset : offset + length]
    return made


def tiling_faults(root: Node) -> Iterator[str]:
    """Where the children of a node do not cover its bytes exactly once, each fault in words.

    Children in another source than their parent's (a decompressed payload) must cover that source from end to end.
    """
    for node in root.walk():
        children = [child for child in node.children if child.length or child.children]
        if not children:
            continue
        own = [child for child in children if child.source is node.source]
        if own and len(own) == len(children):
            yield from _gaps(node, own, node.offset, node.end)
        derived: dict[int, list[Node]] = {}
        for child in children:
            if child.source is not node.source:
                derived.setdefault(id(child.source), []).append(child)
        for group in derived.values():
            yield from _gaps(node, group, 0, len(group[0].source.data))


def _gaps(parent: Node, children: list[Node], start: int, end: int) -> Iterator[str]:
    at = start
    for child in children:
        if child.offset != at:
            what = "leave a gap before" if child.offset > at else "overlap at"
            yield f"the parts of {parent.name} at offset {parent.offset} {what} {child.name} at {child.offset}"
        at = child.end
    if at != end:
        yield f"the parts of {parent.name} at offset {parent.offset} end at {at}, it ends at {end}"
