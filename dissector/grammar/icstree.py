"""The annotated tree of a FastTransfer stream: productions as nodes, elements in them [MS-OXCFXICS] 2.2.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from struct import Struct
from typing import NamedTuple

from dissector.grammar.base import labeller_of
from dissector.grammar.elements import Element, ElementReader, trace_element
from dissector.grammar.fasttransfer import MARKERS, Marker, PropValue
from dissector.grammar.ics import PLAIN, PROPERTY, RULES, Step, Syntax, rule_breaks
from dissector.grammar.resume import resume
from dissector.grammar.runs import Grouped, read_run
from dissector.grammar.table import Messages, Table, TableReader
from dissector.node import Diagnostic, Node, Severity, Summary, Undecoded, brief
from dissector.source import ByteSource

_U32 = Struct("<I")
MARKER_WORDS = labeller_of(Marker)


class Through(Summary):
    """Words from the first of some paths ("propList/PidTagSubject") that leads to a node."""

    __slots__ = ("paths",)

    def __init__(self, *paths: str) -> None:
        super().__init__("")
        self.paths = [path.split("/") for path in paths]

    def __call__(self, node: Node) -> str:
        for path in self.paths:
            words = _brief(node, path)
            if words is not None:
                return words
        return ""


def _brief(node: Node, path: list[str]) -> str | None:
    """brief() of what a path leads to, which need not become a node for that; None where it leads to nothing."""
    for name in path[:-1]:
        found = node.child(name)
        if found is None:
            return None
        node = found
    name = path[-1]
    if isinstance(node, Grouped) and node.parts is not None:
        for part in node.parts:
            if isinstance(part, Table):
                words = part.words(name, node.source)
                if words is not None:
                    return words
                continue
            found = (part if part.name == name else None) if isinstance(part, Node) else part.child(name, node.source)
            if found is not None:
                return brief(found)
        return None
    found = node.child(name)
    return brief(found) if found is not None else None


_MESSAGE_CHANGE = ("messageChange", "messageChangeFull")
"""What IncrSyncChg begins in a contentsSync."""


class Amount(Summary):
    """How many elements there are."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("")

    def __call__(self, node: Node) -> str:
        return f"{node.count} propert{'y' if node.count == 1 else 'ies'}"


_NO_ID = "0x0000"
"""How properties without an id are called."""


class EachValue(Summary):
    """Every property with its value."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("")

    def __call__(self, node: Node) -> str:
        return "; ".join(
            brief(child) if child.name.startswith(_NO_ID) else f"{child.name}: {brief(child)}"
            for child in node.children[:8]
            if child.children
        )


class NextMessage(Summary):
    """What a progress marker says of the message behind it: its size, and whether it is FAI."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("")

    def __call__(self, node: Node) -> str:
        said = {child.name: child.children[-1].value for child in node.children[:8] if child.children}
        size, fai = said.get("0x00000003"), said.get("0x0000000B")
        words = [] if size is None else [f"{size} bytes"]
        if fai is not None:
            words.append("FAI" if fai else "normal")
        return f"next message: {', '.join(words)}" if words else ""


SUMMARIES: Mapping[str, Summary] = {
    "messageChange": Through("messageChangeFull", "messageChangePartial"),
    "messageChangeFull": Through("propList/PidTagSubject", "messageChangeHeader"),
    "messageChangePartial": Through("propList/PidTagSubject", "messageChangeHeader"),
    "messageChangeHeader": Through("PidTagSourceKey"),
    "message": Through("messageContent"),
    "messageContent": Through("propList/PidTagSubject"),
    "embeddedMessage": Through("messageContent"),
    "folderChange": Through("PidTagDisplayName"),
    "subFolder": Through("folderContent/propList/PidTagDisplayName"),
    "subFolderNoDelProps": Through("folderContentNoDelProps/propList/PidTagDisplayName"),
    "topFolder": Through("folderContentNoDelProps/propList/PidTagDisplayName"),
    "recipient": Through("PidTagDisplayName", "PidTagSmtpAddress", "PidTagEmailAddress"),
    "attachment": Through(
        "attachmentContent/propList/PidTagAttachLongFilename", "attachmentContent/propList/PidTagDisplayName"
    ),
    "propList": Amount(),
    "state": EachValue(),
    "deletions": EachValue(),
    "readStateChanges": EachValue(),
    "progressTotal": EachValue(),
    "progressPerMessage": NextMessage(),
    "groupInfo": EachValue(),
    "errorInfo": EachValue(),
}
"""A production in one line."""
ASKED_FOR = frozenset(
    path[-1] for summary in SUMMARIES.values() if isinstance(summary, Through) for path in summary.paths
)
"""Names of the properties (and productions) that these words come from."""

SPEC = "MS-OXCFXICS 2.2.4.3"


class Gap(NamedTuple):
    """A place in the joined bytes of a stream before which bytes are missing, and why."""

    offset: int
    why: str


MOST_TAGS = 64
"""How many properties of a production with a rule are held to it."""


class _Open:
    """A production that is open, its node, and (for a production with a rule) the tags of its own properties."""

    __slots__ = ("name", "node", "tags")

    def __init__(self, name: str, node: Grouped) -> None:
        self.name, self.node = name, node
        self.tags: list[int] | None = [] if name in RULES else None


class TreeBuilder:
    """Takes elements one by one and hangs their nodes into the productions they belong to.

    root: the production that the whole is; None for elements without an order. base: where offset 0 of the stream lies
    in the source. tables: reads properties side by side as tables; None: they are nodes.
    """

    def __init__(
        self, source: ByteSource, root: str | None, name: str, base: int, codepage: str | None,
        tables: TableReader | None = None,
    ) -> None:  # fmt: skip
        self.source, self.base, self.codepage, self.tables = source, base, codepage, tables
        self.syntax = Syntax(root) if root is not None else None
        node = Grouped(name, source, base, SPEC, SUMMARIES.get(root or ""))
        self.open = [_Open(root or "", node)]
        self.after = 0

    @property
    def root(self) -> Node:
        return self.open[0].node

    def add(self, element: Element, stop: int) -> int:
        """Take an element, and with it what follows up to `stop` of the source as long as it is of the same kind.

        Returns the place behind them.
        """
        offset = self.base + element.offset
        if element.is_marker:
            return self.marker(element.tag, offset, stop)
        step = self.move(element.tag, offset)
        if self.tables is not None and not step.trouble:
            behind = self.run(offset, stop)
            if behind > offset:
                return behind
        node = trace_element(self.source, element, self.base, codepage=self.codepage, after=self.after)
        if step.trouble:
            node.diagnose(Severity.MALFORMED, step.trouble)
        innermost = self.open[-1]
        innermost.node.add(node)
        if innermost.tags is not None and len(innermost.tags) < MOST_TAGS:
            innermost.tags.append(element.tag)
        return self.run(self.base + element.end, stop)

    def marker(self, tag: int, offset: int, stop: int) -> int:
        """The same for a marker at a place in the source."""
        step = self.move(tag, offset)
        self.after = tag
        if step.begins == _MESSAGE_CHANGE and len(self.open) == 3 and not step.trouble and not step.cut:
            messages = self.tables.messages(self.source, offset, stop, self.codepage) if self.tables else None
            if messages is not None:
                return self.passed(messages)
        node = Node(MARKERS[tag], self.source, offset, 4, tag, [], "", MARKER_WORDS, [])
        if step.trouble:
            node.diagnose(Severity.MALFORMED, step.trouble)
        self.open[-1].node.add(node)
        return self.run(offset + 4, stop)

    def passed(self, messages: Messages) -> int:
        """Take messages that are a part of their own, in place of the one whose first marker was just taken."""
        assert self.syntax is not None
        del self.open[1:]
        self.root.children[-1:] = [messages]  # type: ignore[list-item]
        self.syntax.leave()
        return messages.end

    def move(self, tag: int, offset: int) -> Step:
        """End and begin productions as an element at a place in the source says."""
        if self.syntax is None:
            return PLAIN
        step = self.syntax.advance(tag)
        if step is not PLAIN:
            for _ in range(step.ends):
                self.close(self.open.pop(), offset)
            for name in step.begins:
                begun = Grouped(name, self.source, offset, SPEC, SUMMARIES.get(name))
                self.open[-1].node.add(begun)
                self.open.append(_Open(name, begun))
        return step

    def run(self, at: int, stop: int) -> int:
        """Take the properties from a place in the source on at one go, if any number of them may stand there.

        Returns the place behind them. What needs a closer look is left to add().
        """
        if self.syntax is None or self.syntax.repeating != PROPERTY or type(self.source.data) is not bytes:
            return at
        innermost = self.open[-1]
        room = MOST_TAGS - len(innermost.tags) if innermost.tags is not None else 0
        if self.tables is not None:
            table = self.tables.read(self.source, at, stop, self.codepage)
            if table is None:
                return at
            innermost.node.add(table)
            if innermost.tags is not None:
                innermost.tags += table.tags(self.source, room)
            return table.end
        if not PropValue.__dict__.get("_rows"):
            return at
        found = read_run(self.source, at, stop, self.codepage, self.after)
        if found is None:
            return at
        run, tags = found
        innermost.node.add(run)
        if innermost.tags is not None:
            innermost.tags += tags[:room]
        return run.end

    def close(self, production: _Open, end: int) -> None:
        production.node.length = end - production.node.offset
        if production.tags is not None:
            for words in rule_breaks(production.name, production.tags):
                production.node.diagnose(Severity.NOTE, words)

    @property
    def waiting(self) -> bool:
        """Whether the root has children that are complete."""
        return len(self.root.children) > (len(self.open) > 1)

    def closed(self) -> Iterator[Node | Messages]:
        """Take out the root's children that are complete, so that they need not be held."""
        children = self.root.children
        keep = 1 if len(self.open) > 1 else 0
        if len(children) > keep:
            done = children[: len(children) - keep]
            del children[: len(done)]
            yield from done

    def unread(self, offset: int, end: int, why: Diagnostic) -> None:
        """A leaf of bytes (places in the source) that no element was made of."""
        raw = Undecoded(self.source.data[offset:end])
        self.open[-1].node.add(Node("Undecoded", self.source, offset, end - offset, raw, diagnostics=[why]))

    def lose(self) -> None:
        """Elements are missing here: what is open cannot be held to any rule."""
        if self.syntax is not None:
            self.syntax.lose()
        for production in self.open:
            production.tags = None

    def read_as(self, root: str, why: str) -> None:
        """What the elements are turns out late."""
        self.syntax = Syntax(root)
        self.open[0].name = root
        self.root.diagnose(Severity.NOTE, why)

    def finish(self, end: int) -> Node:
        while len(self.open) > 1:
            self.close(self.open.pop(), end)
        self.close(self.open[0], end)
        return self.root


def trace_parts(
    source: ByteSource,
    root: str | None,
    *,
    name: str = "",
    offset: int = 0,
    end: int | None = None,
    codepage: str | None = None,
    gaps: Sequence[Gap] = (),
    unsent: str = "",
    tables: TableReader | None = None,
) -> Iterator[Node | Messages]:
    """As trace_stream, piece by piece: the root's children as they are complete, last the root itself without them.

    So a stream of any length is shown with no more of it in memory than its bytes and one message. tables: leave what
    it reads as it is instead of making nodes of it: tables of properties (Grouped.parts), Messages among the pieces.
    """
    stop = len(source.data) if end is None else end
    builder = TreeBuilder(source, root, name or root or "stream", offset, codepage, tables)
    places = [gap.offset for gap in gaps]
    starts = sorted({offset, *(place for place in places if offset < place < stop)})
    missing = {gap.offset: gap.why for gap in gaps}
    whole = True
    for start, run_end in zip(starts, [*starts[1:], stop], strict=True):
        at = start
        if start in missing:
            whole = False
            found = resume(source.data, start, run_end, root_known=builder.syntax is not None)
            at = found.offset if found is not None else run_end
            words = f"{missing[start]}; {at - start} bytes until an element is sure to begin"
            if at > start:
                builder.unread(start, at, Diagnostic(Severity.NO_CONTEXT, words))
            else:
                builder.open[-1].node.diagnose(Severity.NO_CONTEXT, f"at offset {start}: {missing[start]}")
            if builder.syntax is None and found is not None and found.root is not None:
                builder.read_as(found.root, f"read as {found.root}, which the elements from offset {at} on belong to")
            builder.lose()
        reader = ElementReader(keep=0, offset=at - offset)
        reader.feed(source.data[at:run_end] if (at, run_end) != (0, len(source.data)) else source.data)
        more, data, begun = True, source.data, at
        while more:
            while run_end - at >= 4 and (tag := _U32.unpack_from(data, at)[0]) in MARKERS:
                at = builder.marker(tag, at, run_end)
                if builder.waiting:
                    yield from builder.closed()
            reader.pass_to(at - begun)
            more = False
            for element in reader.elements():
                at = builder.add(element, run_end)
                if builder.waiting:
                    yield from builder.closed()
                if at > offset + element.end:
                    more = True  # elements() begins anew there
                    break
        broken = reader.trouble is not None
        trouble = reader.finish()
        if trouble is not None:
            why = trouble.diagnostic
            if not broken and (run_end < stop or unsent):
                why = Diagnostic(Severity.NO_CONTEXT, f"{why.message}: {missing.get(run_end) or unsent}")
            builder.unread(offset + trouble.offset, run_end, why)
            whole = False
    if whole and builder.syntax is not None:
        words = builder.syntax.finish()
        if words and unsent:
            builder.root.diagnose(Severity.NO_CONTEXT, f"{words}: {unsent}")
        elif words:
            builder.root.diagnose(Severity.MALFORMED, words)
    if unsent:
        builder.lose()
    last = builder.finish(stop)
    children, last.children = last.children, []
    yield from children
    yield last


def trace_stream(
    source: ByteSource,
    root: str | None,
    *,
    name: str = "",
    offset: int = 0,
    end: int | None = None,
    codepage: str | None = None,
    gaps: Sequence[Gap] = (),
    unsent: str = "",
) -> Node:
    """The annotated tree of source.data[offset:end], a whole stream or any production of it. Never raises.

    root: the production (ics.ROOTS for whole streams), or None where what the stream is was not captured: its elements
    then stand side by side. codepage: the Python codec of 8-bit text. gaps: where bytes are missing; one at the start
    where the beginning is. unsent: why the bytes end before the stream does, where they are known to.
    """
    return whole_tree(
        trace_parts(source, root, name=name, offset=offset, end=end, codepage=codepage, gaps=gaps, unsent=unsent)
    )


def whole_tree(parts: Iterable[Node | Messages]) -> Node:
    """The tree that came piece by piece, if all pieces are nodes."""
    nodes = [part for part in parts if isinstance(part, Node)]
    tree = nodes.pop()
    tree.children = nodes
    return tree
