"""Trees and rows as JSON. The form is a contract: docs/json.md."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from dissector.emsmdb.mapihttp import Lines, line_leaf
from dissector.grammar.compiler.rows import LazyNode
from dissector.grammar.icstree import MARKER_WORDS
from dissector.grammar.runs import Grouped, Part, Run
from dissector.grammar.table import Messages
from dissector.node import Node
from dissector.session.exchange import Exchange
from dissector.source import ByteSource, Runs
from dissector.views.jsonrows import JsonMessages, JsonTable
from dissector.views.jsonvalues import LONG, plain, quoted, value_text
from dissector.views.rowtext import CHILDREN, Frames, Spread, Writers
from dissector.views.text import HIDDEN, shown_trees


def node_json(node: Node, inherited: ByteSource | None = None) -> dict[str, Any]:
    """A node and all below it. Empty members are left out; `source` stands where it differs from the parent's."""
    made: dict[str, Any] = {"name": plain(node.name), "offset": node.offset, "length": node.length}
    if node.source is not inherited:
        made["source"] = plain(node.source.label)
    if node.secret:
        made["value"] = HIDDEN
    elif node.value is not None:
        made["value"] = plain(node.value)
    label = node.label
    if label:
        made["label"] = plain(label)
    if node.spec:
        made["spec"] = node.spec
    spans = node.spans
    if spans:
        made["spans"] = spans
    if node.children:
        made["children"] = [node_json(child, node.source) for child in node.children]
    if node.diagnostics:
        made["diagnostics"] = [
            {"severity": found.severity.value, "message": plain(found.message)} for found in node.diagnostics
        ]
    return made


class _Texts(dict[str, str]):
    """Strings as JSON, with what stands around them. Those that come from the data are not all kept."""

    KEPT = 4096

    def __init__(self, before: str, after: str) -> None:
        super().__init__()
        self.before, self.after = before, after

    def __missing__(self, text: str) -> str:
        made = f"{self.before}{quoted(text)}{self.after}"
        if len(self) < self.KEPT:
            self[text] = made
        return made


_NAMES = _Texts('{"name":', ',"offset":')
_SPECS = _Texts(',"spec":', "")


def spans_text(source: ByteSource, offset: int, length: int) -> str:
    """The frame bytes of a range: ',"spans":[[frame,offset,length],...]', or '' where there are none."""
    found = source.runs
    if found is None:
        spans = ",".join([f"[{frame},{at},{size}]" for frame, at, size in source.locate(offset, length)])
        return f',"spans":[{spans}]' if spans else ""
    runs, shift = found
    start = offset + shift
    stop = min(start + length, len(source.data) + shift)
    starts, ends = runs.starts, runs.ends
    index = bisect_right(starts, start) - 1
    if index >= 0 and stop <= ends[index]:
        if start >= stop:
            return ""
        return f',"spans":[[{runs.frames[index]},{runs.offsets[index] + start - starts[index]},{stop - start}]]'
    kept = runs.shown
    if kept is not None and kept[0] == start and kept[1] == stop:
        return kept[2]
    first, last = max(index, 0), bisect_left(starts, stop) - 1
    if first < last and index >= 0 and start < ends[first] and starts[last] < stop <= ends[last]:
        one = f"[{runs.frames[first]},{runs.offsets[first] + start - starts[first]},{ends[first] - start}]"
        two = f"[{runs.frames[last]},{runs.offsets[last]},{stop - starts[last]}]"
        joined = f"{one},{_between(runs, first + 1, last)},{two}" if last > first + 1 else f"{one},{two}"
    else:
        seams = (first, last) if last > first else (first,) if starts else ()
        texts = [_run_text(runs, one, start, stop) for one in seams]
        if last > first + 1:
            texts.insert(1, _between(runs, first + 1, last))
        joined = ",".join(filter(None, texts))
    text = f',"spans":[{joined}]' if joined else ""
    runs.shown = start, stop, text
    return text


def _run_text(runs: Runs, number: int, start: int, stop: int) -> str:
    """What of one run lies in start..stop; '' where nothing does."""
    first, last = max(start, runs.starts[number]), min(stop, runs.ends[number])
    offset = runs.offsets[number] + first - runs.starts[number]
    return f"[{runs.frames[number]},{offset},{last - first}]" if first < last else ""


def _between(runs: Runs, first: int, last: int) -> str:
    """Whole runs, one behind another. A structure and those around it have the same ones, so the texts are kept."""
    kept = runs.between
    if kept is not None and kept[0] == first and kept[1] == last:
        return kept[2]
    texts = runs.texts
    if texts is None or len(texts) != len(runs.starts):
        texts = runs.texts = _run_texts(runs)
    text = ",".join(texts[first:last])
    runs.between = first, last, text
    return text


class _Ends(dict[tuple[int, int], str]):
    """What stands behind the frame in the text of a run, by offset and length: most have the same."""

    def __missing__(self, place: tuple[int, int]) -> str:
        text = self[place] = f"{place[0]},{place[1]}]"
        return text


def _run_texts(runs: Runs) -> list[str]:
    """The text of every run."""
    texts, behind = runs.known, _Ends()
    frames, offsets, starts, ends = runs.frames, runs.offsets, runs.starts, runs.ends
    if not texts:
        return [
            f"[{frame},{behind[offset, end - start]}"
            for frame, offset, start, end in zip(frames, offsets, starts, ends, strict=True)
        ]
    texts += [""] * (len(starts) - len(texts))
    at = -1
    for _ in range(texts.count("")):
        at = texts.index("", at + 1)
        texts[at] = f"[{frames[at]},{behind[offsets[at], ends[at] - starts[at]]}"
    return texts


def spans_member(frames: Frames, source: ByteSource, offset: int, length: int) -> str:
    """spans_text(), most of which is known where the range lies in the frame at hand."""
    if length <= 0:
        return ""
    stop = offset + length
    if (offset >= frames.low and stop <= frames.high) or frames.holds(offset, stop):
        return f"{frames.spans}{offset + frames.shift},{length}]]"
    return spans_text(source, offset, length)


def value_member(value: Any) -> str:
    """',"value":...', or '' where there is none."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return f',"value":"{value.hex()}"'
    return f',"value":{value_text(value)}'


_ROWS = Writers(
    {
        "names": _NAMES, "specs": _SPECS, "quoted": quoted, "value_member": value_member, "spans_text": spans_text,
        "spans_member": spans_member,
    }
)  # fmt: skip


def node_text(node: Node) -> str:
    """node_json() as compact JSON, written without the dicts."""
    out: list[str] = []
    write_node(node, Frames(node.source), None, out)
    return "".join(out)


def parts_pieces(parts: Iterable[Node | Messages], begun: Node) -> Iterator[str]:
    """The same, in pieces, of a tree that comes as its children, then itself without them: no more than one is held.

    begun: the tree before it has children or diagnostics; nothing else of it may change.
    """
    yield _head(begun, Frames(begun.source), None)
    between = CHILDREN
    last: Node | Messages | None = None
    for part in parts:
        if isinstance(last, JsonMessages):
            yield from merged([between, *last.pieces])
            between = ","
        elif isinstance(last, Node):
            out = [between]
            write_node(last, Frames(last.source), begun.source, out)
            yield from merged(out)
            between = ","
        last = part
    assert isinstance(last, Node)
    yield ("" if between == CHILDREN else "]") + _tail(last)


_DIGITS = [str(number) for number in range(1000)]
"""Of small numbers, which most are."""


def _head(node: Node, frames: Frames, inherited: ByteSource | None) -> str:
    """What stands before the children of a node: the brace is left open."""
    source, offset, length = node.source, node.offset, node.length
    size = _DIGITS[length] if 0 <= length < 1000 else f"{length}"
    text = f'{_NAMES[node.name]}{_DIGITS[offset] if 0 <= offset < 1000 else offset},"length":{size}'
    if source is not inherited:
        text += f',"source":{quoted(source.label)}'
    value = node.value
    if node.secret:
        text += f',"value":{quoted(HIDDEN)}'
    elif type(value) is int:
        text += f',"value":{_DIGITS[value] if 0 <= value < 1000 else value}'
    elif value is not None:
        text += value_member(value)
    if node.labeller is not None:
        rows = node.rows if type(node) is LazyNode else None
        label = _ROWS.summary(rows[0], node.labeller) if rows is not None else None
        if label is None:
            label = node.label
        if label:
            text += f',"label":{quoted(label)}'
    if node.spec:
        text += _SPECS[node.spec]
    if length <= 0:
        return text
    stop = offset + length
    if (offset >= frames.low and stop <= frames.high) or frames.holds(offset, stop):
        return f"{text}{frames.spans}{offset + frames.shift},{size}]]"
    return text + spans_text(source, offset, length)


def _tail(node: Node) -> str:
    """What stands behind the children of a node."""
    if not node.diagnostics:
        return "}"
    found = ",".join(
        f'{{"severity":"{one.severity.value}","message":{quoted(one.message)}}}' for one in node.diagnostics
    )
    return f',"diagnostics":[{found}]}}'


def write_node(node: Node, frames: Frames, inherited: ByteSource | None, out: list[str]) -> None:
    """frames: where the node's source lies, if that is inherited."""
    if node.source is not inherited and node.source is not frames.source:
        frames = Frames(node.source)
    out.append(_head(node, frames, inherited))
    if isinstance(node, LazyNode) and (rows := node.rows) is not None:
        try:
            _ROWS.write_parts(rows, frames, out, write_node)
        except Spread:
            _write_children(node.children, frames, out)
    elif isinstance(node, Grouped) and (parts := node.parts) is not None:
        _write_children(parts, frames, out)
    elif type(node) is Lines and (lines := _lines_member(node, frames)):
        out.append(lines)
    elif node.children:
        _write_children(node.children, frames, out)
    out.append(_tail(node) if node.diagnostics else "}")


_LINES: dict[str, dict[bytes, tuple[str, str]]] = {}
"""Leaves for lines, by their name and the line: what stands before the offset, and behind it up to the spans."""
MOST_LINES = 4096
"""Of one name that are kept."""


def _lines_member(node: Lines, frames: Frames) -> str:
    """The member "children" of lines that nobody has looked at; '' where they do not lie in one frame, or go on."""
    name, end, source = node.first, node.length, node.source
    data = source.data[:end]
    if name is None or not data.endswith(b"\n") or b"\n " in data or b"\n\t" in data or not frames.holds(0, end):
        return ""
    shift, at = frames.shift, 0
    leaves = []
    for line in data[:-1].split(b"\n"):
        texts = _LINES.get(name) or _LINES.setdefault(name, {})
        length = len(line) + 1
        spans = f"{frames.spans}{at + shift},{length}]]"
        found = texts.get(line)
        if found is None:
            leaf = line_leaf(source, at, length, name)
            before, text = _NAMES[leaf.name], _head(leaf, frames, source)
            found = before, text[len(before) + len(str(at)) : -len(spans)]
            if len(texts) < MOST_LINES and not leaf.secret:
                texts[line] = found
        leaves.append(f"{found[0]}{at}{found[1]}{spans}}}")
        at += length
        name = node.other
    return f"{CHILDREN}{','.join(leaves)}]"


def _production_head(node: Grouped, frames: Frames) -> str:
    """_head() of a production in the same source as what it stands in: most nodes of a stream."""
    offset, length, label = node.offset, node.length, node.label
    words = f',"label":{quoted(label)}' if label else ""
    spans = spans_member(frames, node.source, offset, length)
    return f'{_NAMES[node.name]}{offset},"length":{length}{words}{_SPECS[node.spec]}{spans}'


def _write_marker(node: Node, frames: Frames, out: list[str], before: str) -> None:
    offset = node.offset
    spans = spans_member(frames, node.source, offset, 4)
    out.append(f'{before}{_NAMES[node.name]}{offset},"length":4,"value":{node.value}{spans}}}')


def merged(pieces: list[str]) -> Iterator[str]:
    """Text in fewer pieces, the long ones not copied."""
    begin = 0
    for at, text in enumerate(pieces):
        if len(text) >= 2 * LONG:
            yield "".join(pieces[begin:at])
            yield text
            begin = at + 1
    yield "".join(pieces[begin:])


def _write_rows(parts: Iterable[Any], frames: Frames, out: list[str]) -> None:
    """The member "rows": the children of a node of which some are rows of tables."""
    between = ',"rows":['
    for part in parts:
        out.append(between)
        between = ","
        if type(part) is JsonTable:
            out += table_pieces(part, frames)
        elif type(part) is Run:
            out.append(",".join([part_text(node, frames) for node in part.nodes(frames.source)]))
        else:
            out.append(part_text(part, frames))
    out.append("]")


def table_pieces(table: JsonTable, frames: Frames) -> list[str]:
    """What a table has, separated by commas."""
    made: list[str] = []
    for part in table.parts:
        if made:
            made.append(",")
        if isinstance(part, list):
            made += part
        else:
            made.append(part_text(part, frames) if isinstance(part, Node) else part)
    return made


def part_text(node: Node, frames: Frames) -> str:
    """node_text() of a node in the source of what it stands in."""
    out: list[str] = []
    write_node(node, frames, frames.source, out)
    return "".join(out)


def _write_children(parts: Sequence[Part], frames: Frames, out: list[str]) -> None:
    """The member "children" or "rows" of a node. Productions, which may be 200 deep, take one call each."""
    for part in parts:
        if type(part) is JsonTable:
            _write_rows(parts, frames, out)
            return
    source = frames.source
    state = [CHILDREN]
    for part in parts:
        kind = type(part)
        if kind is Run:
            _write_run(part, frames, out, state)  # type: ignore[arg-type]
            continue
        if kind is Node and not part.diagnostics and not part.children and part.source is source:  # type: ignore[union-attr]
            if part.labeller is MARKER_WORDS:  # type: ignore[union-attr]
                _write_marker(part, frames, out, state[0])  # type: ignore[arg-type]
            else:
                out.append(f"{state[0]}{_head(part, frames, source)}}}")  # type: ignore[arg-type]
            state[0] = ","
            continue
        if kind is LazyNode and _ROWS.write_whole(part, frames, out, state):  # type: ignore[arg-type]
            continue
        out.append(state[0])
        state[0] = ","
        if isinstance(part, Grouped) and part.source is source:
            out.append(_production_head(part, frames))
            below = part.parts
            _write_children(part.children if below is None else below, frames, out)
            out.append(_tail(part) if part.diagnostics else "}")
        else:
            write_node(part, frames, source, out)  # type: ignore[arg-type]
    if state[0] != CHILDREN:
        out.append("]")


def _write_run(run: Run, frames: Frames, out: list[str], state: list[str]) -> None:
    """Elements side by side. Those that are one row are written as that."""
    rows, firsts, source = run.rows, run.firsts, frames.source
    whole = _ROWS.whole
    single = len(rows) == len(firsts)
    for index, first in enumerate(firsts):
        row = rows[first]
        if single or (firsts[index + 1] if index + 1 < len(firsts) else len(rows)) == first + 1:
            number = row[0]
            write = whole[number] if number in whole else _ROWS.make(number)
            if write is not None:
                try:
                    write(row, source, frames, out, (), state)
                    continue
                except Spread:
                    pass
        out.append(state[0])
        write_node(run.node(index, source), frames, source, out)
        state[0] = ","


def exchange_pieces(exchange: Exchange, more: Iterable[str] = (), *, http: bool = True) -> Iterator[str]:
    """{"exchange", "frame", "time", "transport", "call", "request": node | null, "response": node | null} as JSON.

    more: the text of members behind these, commas first. http: with the heads of HTTP messages.
    """
    head = {
        "exchange": exchange.number,
        "frame": exchange.frame,
        "time": exchange.time,
        "transport": exchange.call.transport,
        "call": exchange.call.name,
    }
    out = [dumps(head)[:-1]]
    for name, tree in shown_trees(exchange, http):
        out.append(f',"{name}":')
        if tree is None:
            out.append("null")
        else:
            write_node(tree, Frames(tree.source), None, out)
    yield from merged(out)
    yield from more
    yield "}"


def dumps(value: Any) -> str:
    return orjson.dumps(value, default=_as_list).decode()


def dumps_pretty(value: Any) -> str:
    return orjson.dumps(value, default=_as_list, option=orjson.OPT_INDENT_2).decode()


def _as_list(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")
