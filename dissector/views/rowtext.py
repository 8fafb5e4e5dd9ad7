"""JSON straight from annotated rows, without a Node for every field.

For every Form of rows a function is written once: the names, sections and lengths of its nodes stand in it as text, and
only numbers and values are filled in. What cannot be told from one row (a summary of a structure that is spread over
several) makes the caller go through Nodes instead. The text is that of views.json for the same nodes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from dissector.grammar.compiler.plain import Words
from dissector.grammar.compiler.rows import (
    FORMS,
    MADE,
    Begin,
    Call,
    End,
    Form,
    LazyNode,
    Leaf,
    Leaves,
    Number,
    Place,
    Row,
    Slot,
)
from dissector.node import LABEL_LIMIT, Summary, Undecoded
from dissector.source import ByteSource, Runs
from dissector.views.jsonvalues import LONG

Write = Callable[..., None]
CHILDREN = ',"children":['
SPLIT = "\0"


class Spread(Exception):
    """These rows cannot be written one by one."""


class Frames:
    """The frame that rows of a source lie in at the moment: bytes low to high of the source, in `frame`, whose offsets
    are those of the source plus `shift`. spans: how the spans of what lies in it begin."""

    __slots__ = ("_add", "_runs", "frame", "high", "low", "shift", "source", "spans")

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self.low = self.high = self.frame = self.shift = 0
        self.spans = ""
        found = source.runs
        self._runs: Runs | None = None if found is None else found[0]
        self._add = 0 if found is None else found[1]

    def holds(self, low: int, high: int) -> bool:
        """Whether low to high lie in one frame, which is the one at hand then."""
        runs, add = self._runs, self._add
        if runs is None:
            return False
        index = bisect_right(runs.starts, low + add) - 1
        if index < 0 or high + add > runs.ends[index]:
            return False
        self.low, self.high = runs.starts[index] - add, runs.ends[index] - add
        self.frame = runs.frames[index]
        self.shift = runs.offsets[index] - self.low
        self.spans = f',"spans":[[{self.frame},'
        return True


def labels(labeller: Callable[[Any], str], quoted: Callable[[str], str]) -> Words:
    """',"label":"..."' for the values of one labeller."""

    def member(value: Any) -> str:
        label = labeller(value)
        return f',"label":{quoted(label)}' if label else ""

    return Words(member)


class Writers:
    """The writing functions by number of the form, made when first needed. None: the form cannot be written alone.

    Functions of text come from views.json: quoted, value_text, spans_text, name and spec members.
    """

    def __init__(self, texts: dict[str, Any]) -> None:
        self.texts = texts
        self.whole: dict[int, Write | None] = {}
        self.root: dict[int, tuple[Write, Callable[[Row], str] | None] | None] = {}
        self.labels: dict[int, tuple[Any, Words]] = {}
        self.briefs: dict[int, Briefs] = {}

    def write_parts(self, rows: list[Row], frames: Frames, out: list[str], write_node: Any) -> None:
        """Append the member "children" of the node that the rows are. Raises Spread; out is then as before.

        write_node: of views.json, for what is a node already.
        """
        source, before = frames.source, len(out)
        open_nodes: list[Any] = []
        state = [CHILDREN]
        first = True
        try:
            for row in rows:
                number = row[0]
                if number == MADE:
                    out.append(state[0])
                    write_node(row[1], frames, source, out)
                    state[0] = ","
                    continue
                if first:
                    found = self.root[number] if number in self.root else self.make_root(number)
                    write = found[0] if found is not None else None
                    first = False
                else:
                    write = self.whole[number] if number in self.whole else self.make(number)
                if write is None:
                    raise Spread
                write(row, source, frames, out, open_nodes, state)
        except Spread:
            del out[before:]
            raise
        if state[0] != CHILDREN:
            out.append("]")

    def write_whole(self, node: LazyNode, frames: Frames, out: list[str], state: list[str]) -> bool:
        """Append a node that is one row and was not changed since it was read. Returns whether it was one."""
        rows = node.rows
        if rows is None or len(rows) != 1 or node.diagnostics or node.source is not frames.source:
            return False
        row = rows[0]
        number = row[0]
        write = self.whole[number] if number in self.whole else self.make(number)
        if write is None:
            return False
        first: Any = FORMS[number].items[0]
        if node.labeller is not first.labeller or node.spec != first.spec or node.name != row[first.name.slot]:
            return False
        try:
            write(row, frames.source, frames, out, [], state)
        except Spread:
            return False
        return True

    def summary(self, row: Row, labeller: Any) -> str | None:
        """The words for the node that a row begins and ends; None where they cannot be told from it."""
        number = row[0]
        if number == MADE:
            return None
        found = self.root[number] if number in self.root else self.make_root(number)
        first = FORMS[number].items[0]
        if found is None or found[1] is None or first.labeller is not labeller:  # type: ignore[union-attr]
            return None
        return found[1](row)

    def make(self, number: int) -> Write | None:
        try:
            self.whole[number] = _Writing(self, FORMS[number], False).function()
        except Spread:
            self.whole[number] = None
        return self.whole[number]

    def make_root(self, number: int) -> tuple[Write, Callable[[Row], str] | None] | None:
        try:
            writing = _Writing(self, FORMS[number], True)
            self.root[number] = writing.function(), writing.summary
        except Spread:
            self.root[number] = None
        return self.root[number]

    def leaves_text(
        self, values: list[Any], at: int, size: int, labels: Words | None, spec: str, source: ByteSource
    ) -> str:
        """Rows that are leaves of one size."""
        value_member, spans_text = self.texts["value_member"], self.texts["spans_text"]
        made = []
        for index, value in enumerate(values):
            label = labels.of(value) if labels is not None else ""
            made.append(
                f'{{"name":"[{index}]","offset":{at},"length":{size}{value_member(value)}{label}{spec}'
                f"{spans_text(source, at, size)}}}"
            )
            at += size
        return ",".join(made)

    def labels_of(self, labeller: Any) -> Words:
        """One of labels() for each labeller (which is kept alive with it, so that its id stays its own)."""
        key = id(getattr(labeller, "__self__", labeller))
        found = self.labels.get(key)
        if found is None:
            found = self.labels[key] = labeller, labels(labeller, self.texts["quoted"])
        return found[1]

    def briefs_of(self, labeller: Any) -> Briefs:
        return self.briefs.setdefault(id(getattr(labeller, "__self__", labeller)), Briefs(labeller))


class _Writing:
    """One function being written. root: the first item begins the node whose parts are written."""

    def __init__(self, writers: Writers, form: Form, root: bool) -> None:
        self.writers, self.form, self.root = writers, form, root
        self.constants: dict[str, Any] = {**writers.texts, "limited": limited}
        self.summary: Callable[[Row], str] | None = None

    def constant(self, value: Any) -> str:
        name = f"K{len(self.constants)}"
        self.constants[name] = value
        return name

    def value(self, value: Any) -> str:
        """Source text of a value."""
        if isinstance(value, Slot):
            return f"row[{value.slot}]"
        if isinstance(value, Call):
            return f"{self.constant(value.function)}(row[{value.slot}])"
        return self.constant(value)

    @staticmethod
    def place(at: Place) -> str:
        return f"row[{at.slot}] + {at.plus}" if at.plus else f"row[{at.slot}]"

    @staticmethod
    def length(start: Place, end: Place) -> int | str:
        plus = end.plus - start.plus
        return plus if start.slot == end.slot else f"row[{end.slot}] - row[{start.slot}] + {plus}"

    def spans(self, start: Place, length: int | str, fast: bool) -> str:
        """The spans member, as a part of an f-string."""
        if length == 0:
            return ""
        place = self.place(start)
        if not fast:
            return f"{{spans_member(frames, source, {place}, {length})}}"
        if isinstance(length, int):
            return f"{{spans}}{{{place} + shift}},{length}]]"
        return f"{{span(spans, {place} + shift, {length})}}"

    def name(self, name: str | Slot) -> str:
        if isinstance(name, Slot):
            return f"{{names[row[{name.slot}]]}}"
        return _literal(self.writers.texts["names"][name])

    def head(self, item: Any, length: int | str) -> str:
        """'{"name":"X","offset":12,"length":4', as a part of an f-string."""
        shown = length if isinstance(length, int) else f"{{{length}}}"
        return f'{self.name(item.name)}{{{self.place(item.start)}}},"length":{shown}'

    def spec(self, spec: Any) -> str:
        return _literal(self.writers.texts["specs"][spec]) if spec else ""

    def spec_constant(self, spec: Any) -> str:
        return self.constant(self.writers.texts["specs"][spec] if spec else "")

    def leaf(self, item: Leaf, fast: bool) -> str:
        """A leaf; where it may be long, its value stands between SPLITs."""
        length = self.length(item.start, item.end)
        text = self.head(item, length)
        if item.value is not None:
            value = self.value(item.value)
            number = isinstance(item.value, Number)
            if number:
                text += f',"value":{{{value}}}'
            elif isinstance(item.value, Slot) and not fast:
                text += f"{SPLIT}{value}{SPLIT}"
            else:
                text += f"{{value_member({value})}}"
            text += self.label(item.labeller, value, number)
        return f"{text}{self.spec(item.spec)}{self.spans(item.start, length, fast)}}}}}"

    def label(self, labeller: Any, value: str, number: bool = False) -> str:
        if labeller is None or isinstance(labeller, Summary):
            return ""
        if isinstance(labeller, Slot):
            return f"{{label_member(row[{labeller.slot}], {value})}}"
        labels = self.constant(self.writers.labels_of(labeller))
        return f"{{{labels}[{value}]}}" if number else f"{{{labels}.of({value})}}"

    def leaves(self, item: Leaves) -> str:
        labeller = item.labeller
        plain = labeller is None or isinstance(labeller, Summary)
        labels = self.constant(None if plain else self.writers.labels_of(labeller))
        spec = self.spec_constant(item.spec)
        self.constants["leaves_text"] = self.writers.leaves_text
        return (
            f"{{leaves_text(row[{item.values.slot}], {self.place(item.start)}, {item.size}, {labels}, {spec}, source)}}"
        )

    def structure(self, begin: int, end: int, fast: bool) -> str:
        """A node that begins and ends in the row: items begin to end."""
        item, last = self.form.items[begin], self.form.items[end]
        assert isinstance(item, Begin)
        assert isinstance(last, End)
        length = self.length(item.start, last.end)
        text = self.head(item, length)
        words = self.words(begin, end)
        if words:
            text += f"{{label_text({words})}}"
        if isinstance(item.spec, Slot):
            raise Spread
        text += f"{self.spec(item.spec)}{self.spans(item.start, length, fast)}"
        parts = self.sequence(begin + 1, end, fast)
        return f'{text},"children":[{",".join(parts)}]}}}}' if parts else f"{text}}}}}"

    def words(self, begin: int, end: int) -> str:
        """Source text of the summary of a structure whose parts are leaves of this row; '' where it has none."""
        labeller = self.form.items[begin].labeller  # type: ignore[union-attr]
        if isinstance(labeller, Slot):
            raise Spread
        if not isinstance(labeller, Summary):
            return ""
        if type(labeller) is not Summary or any(
            name and ("." in name or name == "*") for _, name, _ in labeller.pieces
        ):
            raise Spread
        leaves: dict[str, Leaf] = {}
        for item in self.form.items[begin + 1 : end]:
            if not isinstance(item, Leaf) or isinstance(item.name, Slot):
                raise Spread
            leaves.setdefault(item.name, item)
        pieces = []
        for text, name, _ in labeller.pieces:
            if text:
                pieces.append(self.constant(text))
            if name and name in leaves:
                leaf = leaves[name]
                value = self.value(leaf.value)
                if leaf.labeller is None and isinstance(leaf.value, Number):
                    pieces.append(f"str({value})")
                elif isinstance(leaf.labeller, Slot):
                    pieces.append(f"brief_of({value}, row[{leaf.labeller.slot}])")
                else:
                    pieces.append(f"{self.constant(self.writers.briefs_of(leaf.labeller))}.of({value})")
        return f"limited({' + '.join(pieces)})" if pieces else ""

    def sequence(self, start: int, stop: int, fast: bool) -> list[str]:
        """Items start to stop, which begin and end all that they begin."""
        made: list[str] = []
        at = start
        while at < stop:
            item = self.form.items[at]
            if isinstance(item, Leaf):
                made.append(self.leaf(item, fast))
            elif isinstance(item, Leaves):
                made.append(self.leaves(item))
            else:
                end = self.end_of(at)
                if end is None or end >= stop:
                    raise Spread
                made.append(self.structure(at, end, fast))
                at = end
            at += 1
        return made

    def end_of(self, begin: int) -> int | None:
        """The item that ends what an item begins; None where that is in another row."""
        depth = 0
        for at in range(begin, len(self.form.items)):
            depth += isinstance(self.form.items[at], Begin) - isinstance(self.form.items[at], End)
            if depth == 0:
                return at
        return None

    def function(self) -> Write:
        items = self.form.items
        first, last = items[0], items[-1]
        low = first.end if isinstance(first, End) else first.start
        at, stop = 0, len(items)
        if self.root:
            if not isinstance(first, Begin):
                raise Spread
            end = self.end_of(0)
            if end is not None:
                if end != stop - 1:
                    raise Spread
                words = self.words(0, end) if isinstance(first.labeller, Summary) else ""
                if words:
                    self.constants["brief_of"] = brief_of
                    exec(compile(f"def words(row):\n    return {words}\n", "<words>", "exec"), self.constants)
                    self.summary = self.constants["words"]
                stop -= 1
            at = 1
        lines = {fast: self.statements(at, stop, fast) for fast in (True, False)}
        body = ["def write(row, source, frames, out, open_nodes, state):"]
        if isinstance(last, End | Leaf) and not any(isinstance(item, Leaves) for item in items):
            high = last.end
            body += [
                f"    low, high = {self.place(low)}, {self.place(high)}",
                "    if low >= frames.low and high <= frames.high or frames.holds(low, high):",
                "        spans, shift = frames.spans, frames.shift",
                *(f"        {line}" for line in lines[True]),
                "    else:",
                *(f"        {line}" for line in lines[False]),
            ]
        else:
            body += [f"    {line}" for line in lines[False]]
        self.constants.update(brief_of=brief_of, span=span, label_text=self.label_text, label_member=self.label_member)
        exec(compile("\n".join(body) + "\n", "<text of rows>", "exec"), self.constants)
        made: Write = self.constants["write"]
        return made

    def statements(self, at: int, stop: int, fast: bool) -> list[str]:
        """What writes items at to stop, some of which may belong to nodes of other rows."""
        lines: list[str] = []
        run: list[str] = []

        def flush() -> None:
            if run:
                for number, text in enumerate(f"{{state[0]}}{','.join(run)}".split(SPLIT)):
                    lines.append(f"put_value({text}, out)" if number % 2 else f"out.append(f{text!r})")
                lines.append("state[0] = ','")
                run.clear()

        while at < stop:
            item = self.form.items[at]
            if isinstance(item, Leaf):
                run.append(self.leaf(item, fast))
            elif isinstance(item, Leaves):
                run.append(self.leaves(item))
            elif isinstance(item, Begin):
                end = self.end_of(at)
                if end is not None and end < stop:
                    run.append(self.structure(at, end, fast))
                    at = end
                else:
                    flush()
                    if isinstance(item.labeller, Summary | Slot) or isinstance(item.spec, Slot):
                        raise Spread
                    lines += [
                        f"out.append(f{'{state[0]}' + self.name(item.name) + '{' + self.place(item.start) + '}'!r})",
                        f"open_nodes.append((len(out), {self.place(item.start)}, {self.spec_constant(item.spec)}))",
                        "out.append('')",
                        "state[0] = CHILDREN",
                    ]
            else:
                flush()
                lines.append(f"close({self.place(item.end)}, source, out, open_nodes, state)")
            at += 1
        flush()
        self.constants.update(CHILDREN=CHILDREN, close=self.close, put_value=self.put_value)
        return lines or ["pass"]

    def close(self, end: int, source: ByteSource, out: list[str], open_nodes: list[Any], state: list[str]) -> None:
        """The node that was begun last, in another row, ends."""
        if not open_nodes:  # the root: the caller writes it
            return
        index, start, spec = open_nodes.pop()
        length = end - start
        out[index] = f',"length":{length}{spec}{self.writers.texts["spans_text"](source, start, length)}'
        out.append("}" if state[0] == CHILDREN else "]}")
        state[0] = ","

    def put_value(self, value: Any, out: list[str]) -> None:
        """The member "value"; a long one by itself, so that it is not copied."""
        if isinstance(value, bytes) and len(value) >= LONG:
            out += (',"value":"', value.hex(), '"')
        else:
            out.append(self.writers.texts["value_member"](value))

    def label_text(self, label: str) -> str:
        return f',"label":{self.writers.texts["quoted"](label)}' if label else ""

    def label_member(self, labeller: Any, value: Any) -> str:
        if labeller is None or value is None or isinstance(value, Undecoded):
            return ""
        return self.label_text(labeller(value))


def span(spans: str, offset: int, length: int) -> str:
    return f"{spans}{offset},{length}]]" if length > 0 else ""


def limited(text: str) -> str:
    """The words of a Summary."""
    text = text.strip()
    return text if len(text) <= LABEL_LIMIT else text[:LABEL_LIMIT] + "..."


def brief_of(value: Any, labeller: Any) -> str:
    """node.brief() of a leaf."""
    if value is not None and not isinstance(value, Undecoded):
        short = getattr(getattr(labeller, "__self__", labeller), "brief", None)
        if short is not None:
            return str(short(value))
        if labeller is not None and not isinstance(labeller, Summary):
            text: str = labeller(value)
            if text:
                return text
    if isinstance(value, bytes):
        return f"{len(value)} bytes {value[:16].hex()}{'...' if len(value) > 16 else ''}" if value else "0 bytes"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:60] + "...")
    return "" if value is None or isinstance(value, list | dict) else str(value)


class Briefs(dict[Any, str]):
    """brief_of() for one labeller; some of the first numbers are kept."""

    def __init__(self, labeller: Any) -> None:
        super().__init__()
        self.labeller = labeller

    def __missing__(self, value: Any) -> str:
        text = brief_of(value, self.labeller)
        if len(self) < Words.KEPT:
            self[value] = text
        return text

    def of(self, value: Any) -> str:
        return self[value] if type(value) is int else brief_of(value, self.labeller)


def _literal(text: str) -> str:
    """Text as it stands in an f-string."""
    return text.replace("{", "{{").replace("}", "}}")
