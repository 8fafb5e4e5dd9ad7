"""FastTransfer streams as rows, text and JSON: `dissector streams`, and what `dissector tree` adds to an exchange."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dissector.grammar.icstree import SPEC, whole_tree
from dissector.grammar.idset import IdsetReading
from dissector.grammar.names import error_name
from dissector.node import Node
from dissector.session.account import Account
from dissector.session.stream import StateUpload, Stream
from dissector.session.streams import Joined
from dissector.source import ByteSource
from dissector.views.hexdump import hexdump
from dissector.views.json import dumps, node_text, parts_pieces
from dissector.views.jsonmessages import TABLES
from dissector.views.jsonvalues import plain
from dissector.views.text import PLAIN, Palette, diagnostic_lines, hex_lines, none_line, tree_lines

SHOWN_WITH_EXCHANGES = 32 << 20
"""`dissector tree` shows streams up to this many bytes; longer ones only `dissector streams --tree` does."""
PIECEWISE = frozenset(("contentsSync", "hierarchySync", "messageList"))
"""Roots that are shown message by message: their first line needs none of what is below it."""


@dataclass(slots=True)
class StreamRow:
    """A stream in one line: what `dissector streams` prints and what -Y filters on.

    exchange, frame: where it was opened (or first seen). first_frame: of the first buffer; last_exchange, last_frame:
    where it ended. complete: all was sent and captured; why: '' or what happened instead. uploaded, returned: the sets
    of the state that went up before it, and of the one in it, by property.
    """

    stream: int
    session: int
    handle: int | None
    direction: str
    root: str | None
    inferred: bool
    opened_by: str
    of: int | None
    exchange: int
    frame: int
    first_frame: int
    last_exchange: int
    last_frame: int
    logon_id: int | None
    folder: str | None
    folder_name: str
    message: str | None
    options: dict[str, str]
    bytes: int
    buffers: int
    elements: int
    messages: int
    folders: int
    cut: int
    complete: bool
    why: str
    bootstrap: bool
    uploaded: dict[str, dict[str, Any]]
    reported: dict[str, dict[str, Any]]
    returned: dict[str, dict[str, Any]]
    backoffs: int
    backoff_ms: int
    failures: list[dict[str, Any]]
    gaps: list[dict[str, Any]]
    fault_count: int
    faults: list[dict[str, Any]]
    unread_bytes: int

    def as_json(self) -> dict[str, Any]:
        return {name: plain(getattr(self, name)) for name in self.__slots__}


COUNTED = ("elements", "messages", "folders", "cut", "reported", "returned", "fault_count", "faults", "unread_bytes")
"""What is known when all of a stream has been read. In JSON with its tree these stand behind the tree."""


def stream_row(stream: Stream, account: Account | None = None) -> StreamRow:
    """account: of the stream, unless one that is still to be made will do."""
    account = account or stream.account
    reported = {
        name: counts(one) for kind, sets in account.sets.items() if kind != "state" for name, one in sets.items()
    }
    synchronizes = stream.direction == "collector" or stream.opened_by == "RopSynchronizationConfigure"
    return StreamRow(
        stream.number, stream.session, stream.handle, stream.direction, stream.root, stream.inferred, stream.opened_by,
        stream.of, stream.exchange, stream.frame, stream.first_frame, stream.last_exchange, stream.last_frame,
        stream.logon_id, str(stream.folder) if stream.folder is not None else None, stream.folder_name,
        str(stream.message) if stream.message is not None else None, stream.options, stream.size, len(stream.buffers),
        account.elements, account.messages, account.folders, account.cut, stream.complete, stream.why,
        synchronizes and bool(stream.opened_by) and all(one.bootstrap for one in stream.states),
        {one.name: {"bytes": one.size, "bootstrap": one.bootstrap, "why": one.why, **counts(one.reading())}
         for one in stream.states},
        reported,
        {name: counts(one) for name, one in account.sets.get("state", {}).items()},
        stream.backoffs, stream.backoff_ms,
        [{"exchange": one.exchange, "frame": one.frame, "rop": one.rop, "return_code": one.code,
          "return_name": error_name(one.code)} for one in stream.failures],
        [{"offset": one.offset, "why": one.why} for one in stream.gaps],
        account.fault_count,
        [{"offset": one.offset, "severity": one.diagnostic.severity.value, "message": one.diagnostic.message}
         for one in account.faults],
        account.skipped,
    )  # fmt: skip


def counts(reading: IdsetReading | None) -> dict[str, Any]:
    """How much is in a set: ids, ranges, replicas, and what is wrong with its bytes."""
    if reading is None:
        return {}
    idset = reading.idset
    found: dict[str, Any] = {"ids": idset.count, "ranges": idset.range_count, "replicas": len(idset.replicas)}
    if reading.diagnostic is not None:
        found["malformed"] = f"at offset {reading.offset}: {reading.diagnostic.message}"
    return found


FIELDS: Mapping[str, Callable[[StreamRow], Any]] = {
    "stream": lambda row: row.stream,
    "session": lambda row: row.session,
    "handle": lambda row: row.handle,
    "direction": lambda row: row.direction,
    "root": lambda row: row.root,
    "rop": lambda row: row.opened_by or None,
    "exchange": lambda row: row.exchange,
    "frame": lambda row: row.frame,
    "folder": lambda row: [one for one in (row.folder, row.folder_name) if one] or None,
    "message": lambda row: row.message,
    "bytes": lambda row: row.bytes,
    "buffers": lambda row: row.buffers,
    "elements": lambda row: row.elements,
    "messages": lambda row: row.messages,
    "folders": lambda row: row.folders,
    "complete": lambda row: True if row.complete else None,
    "bootstrap": lambda row: True if row.bootstrap else None,
    "why": lambda row: row.why or None,
    "faults": lambda row: row.fault_count or None,
}
"""What -Y knows of a stream. `complete` and `bootstrap` stand alone: not complete."""

HEAD = (
    f"{'stream':>6} {'sess':>4} {'handle':>7}  {'root':<17} {'opened by':<34} {'frames':>13} {'bytes':>10} {'bufs':>5} "
    f"{'elems':>7} {'content':<14} {'result':<26} about"
)


def stream_lines(
    rows: Iterable[StreamRow], palette: Palette = PLAIN, among: Callable[[], int] = lambda: 0
) -> Iterator[str]:
    """One line per stream. On a terminal lines are cut to its width. among: how many there were to choose from."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    yield palette.dim + HEAD[:width] + palette.off
    shown = False
    for row in rows:
        shown = True
        bad = palette.bad if not row.complete or row.fault_count else ""
        yield f"{bad}{row_line(row)[:width].rstrip()}{palette.off if bad else ''}"
    if not shown:
        yield none_line(among(), "stream", "streams")


def row_line(row: StreamRow) -> str:
    handle = f"0x{row.handle:x}" if row.handle is not None else "?"
    root = f"{row.root or ('-' if row.direction == 'collector' else 'unknown')}{'?' if row.inferred else ''}"
    frames = frames_text(row.first_frame, row.last_frame)
    return (
        f"{row.stream:6} {row.session:4} {handle:>7}  {root:<17} {row.opened_by or '(not captured)':<34} {frames:>13} "
        f"{row.bytes:10} {row.buffers:5} {row.elements:7} {content(row):<14} {result(row):<26} {about(row)}"
    )


def frames_text(first: int, last: int) -> str:
    return f"{first}-{last}" if first != last else str(first)


def content(row: StreamRow) -> str:
    """'52 messages', '1 message, 2 folders'."""
    parts = [
        f"{count} {one}{'s' * (count != 1)}"
        for count, one in ((row.messages, "message"), (row.folders, "folder"))
        if count
    ]
    return ", ".join(parts)


def result(row: StreamRow) -> str:
    text = row.why or ("released" if row.direction == "collector" else "complete")
    if row.fault_count:
        text += f", {row.fault_count} fault{'s' * (row.fault_count != 1)}"
    return text


def about(row: StreamRow) -> str:
    """Where the context was opened, what went up, what the stream says about ids."""
    parts = [row.folder_name or (f"folder {row.folder}" if row.folder else "")]
    if row.message:
        parts.append(f"message {row.message}")
    if row.of is not None:
        parts.append(f"state of stream {row.of}")
    if row.bootstrap:
        parts.append("uploaded: nothing yet (bootstrap)")
    elif row.uploaded:
        parts.append(f"uploaded: {_sets(row.uploaded)}")
    if row.reported:
        parts.append(_sets(row.reported))
    if row.returned:
        parts.append(f"returned: {_sets(row.returned)}")
    if row.backoffs:
        parts.append(f"{row.backoffs} back-offs, {row.backoff_ms} ms")
    return "; ".join(part for part in parts if part)


def _sets(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """'IdsetGiven 51, CnsetSeen 110': how many ids each set has."""
    return ", ".join(
        f"{name.removeprefix('MetaTag')} {one.get('ids', '?')}{' (malformed)' if 'malformed' in one else ''}"
        for name, one in sets.items()
    )


def heading(row: StreamRow, palette: Palette) -> Iterator[str]:
    """The lines above the tree of a stream."""
    root = f"  {row.root}" if row.root else ""
    handle = f"0x{row.handle:x}" if row.handle is not None else "not known"
    opened = f"{row.opened_by} in exchange {row.exchange}" if row.opened_by else "a ROP that was not captured"
    title = f"{palette.value}Stream {row.stream}{root}{palette.off}"
    yield f"{title}  session {row.session}  handle {handle}  opened by {opened}"
    if row.options:
        yield "  " + "  ".join(f"{name}={value}" for name, value in row.options.items())
    size = f"{row.bytes} bytes in {row.buffers} buffer{'s' * (row.buffers != 1)}"
    parts = [
        f"{size}, frames {frames_text(row.first_frame, row.last_frame)}",
        f"{row.elements} elements",
        content(row),
        result(row),
        about(row),
    ]
    yield "  " + "; ".join(part for part in parts if part)
    for one in row.failures:
        yield (
            f"  {palette.bad}exchange {one['exchange']} frame {one['frame']}: {one['rop']} "
            f"{one['return_name'] or hex(one['return_code'])}{palette.off}"
        )


def stream_tree_lines(
    stream: Stream, palette: Palette = PLAIN, hex_pane: bool = False, states: bool = True
) -> Iterator[str]:
    """A stream: heading, the states uploaded before it, the tree of its bytes. Long ones go message by message."""
    yield from heading(stream_row(stream), palette)
    for state in stream.states if states else ():
        yield from tree_lines(state.tree(), palette, depth=1)
    if stream.size and stream.kept is None:
        command = f"dissector streams --tree -Y 'stream == {stream.number}'"
        yield f"  {stream.size} bytes are too many to be shown here: {command}"
    elif stream.size:
        source = stream.source()
        if stream.root is None or stream.root in PIECEWISE:
            yield from _piecewise(stream, source, palette)
        else:
            yield from tree_lines(stream.tree(source), palette)
        if hex_pane:
            yield f"{palette.dim}-- {source.label}, {len(source)} bytes{palette.off}"
            yield from hexdump(source.data)
    yield ""


def _piecewise(stream: Stream, source: ByteSource, palette: Palette) -> Iterator[str]:
    """The lines of a tree of which only one child of the root is held at a time; the root's diagnostics are last."""
    yield from tree_lines(_begun(stream, source), palette)
    held: Node | None = None
    for node in stream.tree_parts(source):
        if held is not None:
            yield from tree_lines(held, palette, depth=1)
        held = node
    assert held is not None
    yield from diagnostic_lines(held, 0, palette)


def _begun(stream: Stream, source: ByteSource) -> Node:
    """The tree of a stream without its children."""
    return Node(stream.root or "stream", source, 0, len(source), spec=SPEC)


def joined_lines(joined: Joined, palette: Palette = PLAIN, hex_pane: bool = False) -> Iterator[str]:
    """What became whole in an exchange: uploaded states, and streams."""
    for state in joined.states:
        frames = frames_text(state.frame, state.last_frame)
        title = f"{palette.value}State of stream {state.stream}{palette.off}"
        yield f"{title}  {state.name}  {state.size} bytes, frames {frames}"
        node = state.tree()
        yield from tree_lines(node, palette)
        if hex_pane:
            yield from hex_lines(node, palette)
        yield ""
    for stream in joined.streams:
        yield from stream_tree_lines(stream, palette, hex_pane, states=False)


def stream_pieces(stream: Stream, *, tree: bool = False, states: bool = True, rows: bool = True) -> Iterator[str]:
    """The row as JSON; with `tree` also the trees of its states and its bytes ("tree": null if those were not kept).

    rows: plain properties are rows, not nodes.
    """
    if not tree:
        yield dumps(stream_row(stream).as_json())
        return
    row = stream_row(stream, stream.counting).as_json()
    yield dumps({name: value for name, value in row.items() if name not in COUNTED})[:-1]
    if states:
        yield f',"states":[{",".join(map(state_text, stream.states))}]'
    yield ',"tree":'
    if not stream.size or stream.kept is None:
        yield "null"
    else:
        source = stream.source()
        parts = stream.counted(stream.shown_parts(source, TABLES if rows else None))
        if stream.root in PIECEWISE:
            yield from parts_pieces(parts, _begun(stream, source))
        else:
            yield node_text(whole_tree(parts))
    row = stream_row(stream).as_json()
    yield f",{dumps({name: row[name] for name in COUNTED})[1:]}"


def state_text(state: StateUpload) -> str:
    """{"stream", "property", "bytes", "bootstrap", "why", "tree": node}"""
    head = dumps(
        {
            "stream": state.stream, "property": state.name, "bytes": state.size, "bootstrap": state.bootstrap,
            "why": state.why,
        }
    )  # fmt: skip
    return f'{head[:-1]},"tree":{node_text(state.tree())}}}'


def joined_pieces(joined: Joined, *, rows: bool = True) -> Iterator[str]:
    """The members "states" and "streams" of an exchange, where something became whole in it; rows: as above."""
    if joined.states:
        yield f',"states":[{",".join(map(state_text, joined.states))}]'
    between = ',"streams":['
    for stream in joined.streams:
        yield between
        yield from stream_pieces(stream, tree=True, states=False, rows=rows)
        between = ","
    if joined.streams:
        yield "]"
