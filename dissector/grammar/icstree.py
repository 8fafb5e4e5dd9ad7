"""The annotated tree of a FastTransfer stream: productions as nodes, elements in them [MS-OXCFXICS] 2.2.4."""

from __future__ import annotations

from collections.abc import Mapping

from dissector.grammar.elements import Element, ElementReader, trace_element
from dissector.grammar.ics import RULES, Syntax, rule_breaks
from dissector.node import Diagnostic, Node, Severity, Summary, Undecoded, brief
from dissector.source import ByteSource


class Through(Summary):
    """Words from the first of some paths ("propList/PidTagSubject") that leads to a node."""

    __slots__ = ("paths",)

    def __init__(self, *paths: str) -> None:
        super().__init__("")
        self.paths = [path.split("/") for path in paths]

    def __call__(self, node: Node) -> str:
        for path in self.paths:
            try:
                return brief(node.find(*path))
            except KeyError:
                continue
        return ""


class Amount(Summary):
    """How many elements there are."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("")

    def __call__(self, node: Node) -> str:
        return f"{len(node.children)} propert{'y' if len(node.children) == 1 else 'ies'}"


class EachValue(Summary):
    """Every property with its value."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("")

    def __call__(self, node: Node) -> str:
        return "; ".join(f"{child.name}: {brief(child)}" for child in node.children[:8] if child.children)


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
    "progressPerMessage": EachValue(),
    "groupInfo": EachValue(),
    "errorInfo": EachValue(),
}
"""A production in one line."""

SPEC = "MS-OXCFXICS 2.2.4.3"


class _Open:
    """A production that is open, its node, and (for a production with a rule) the tags of its own properties."""

    __slots__ = ("name", "node", "tags")

    def __init__(self, name: str, node: Node) -> None:
        self.name, self.node = name, node
        self.tags: list[int] | None = [] if name in RULES else None


class TreeBuilder:
    """Takes elements one by one and hangs their nodes into the productions they belong to.

    root: the production that the whole is; None for elements without an order. base: where offset 0 of the stream lies
    in the source.
    """

    def __init__(self, source: ByteSource, root: str | None, name: str, base: int, codepage: str | None) -> None:
        self.source, self.base, self.codepage = source, base, codepage
        self.syntax = Syntax(root) if root is not None else None
        node = Node(name, source, base, spec=SPEC, labeller=SUMMARIES.get(root or ""))
        self.open = [_Open(root or "", node)]
        self.after = 0

    @property
    def root(self) -> Node:
        return self.open[0].node

    def add(self, element: Element) -> None:
        node = trace_element(self.source, element, self.base, codepage=self.codepage, after=self.after)
        if element.is_marker:
            self.after = element.tag
        if self.syntax is not None:
            step = self.syntax.advance(element.tag)
            for _ in range(step.ends):
                self.close(self.open.pop(), node.offset)
            for name in step.begins:
                begun = Node(name, self.source, node.offset, spec=SPEC, labeller=SUMMARIES.get(name))
                self.open[-1].node.children.append(begun)
                self.open.append(_Open(name, begun))
            if step.trouble:
                node.diagnose(Severity.MALFORMED, step.trouble)
        innermost = self.open[-1]
        innermost.node.children.append(node)
        if innermost.tags is not None and not element.is_marker and len(innermost.tags) < 64:
            innermost.tags.append(element.tag)

    def close(self, production: _Open, end: int) -> None:
        production.node.length = end - production.node.offset
        if production.tags is not None:
            for words in rule_breaks(production.name, production.tags):
                production.node.diagnose(Severity.NOTE, words)

    def finish(self, end: int, trouble: tuple[int, Diagnostic] | None) -> Node:
        """The tree, when the stream has ended at `end`. trouble: from where on nothing could be read, and why."""
        if trouble is not None:
            at, why = trouble
            raw = Undecoded(self.source.data[at:end])
            self.open[-1].node.children.append(Node("Undecoded", self.source, at, end - at, raw, diagnostics=[why]))
        elif self.syntax is not None:
            missing = self.syntax.finish()
            if missing:
                self.root.diagnose(Severity.MALFORMED, missing)
        while len(self.open) > 1:
            self.close(self.open.pop(), end)
        self.close(self.open[0], end)
        return self.root


def trace_stream(
    source: ByteSource,
    root: str | None,
    *,
    name: str = "",
    offset: int = 0,
    end: int | None = None,
    codepage: str | None = None,
) -> Node:
    """The annotated tree of source.data[offset:end], a whole stream or any production of it. Never raises.

    root: the production (ics.ROOTS for whole streams), or None where what the stream is was not captured: its elements
    then stand side by side. codepage: the Python codec of 8-bit text.
    """
    stop = len(source.data) if end is None else end
    builder = TreeBuilder(source, root, name or root or "stream", offset, codepage)
    reader = ElementReader(keep=0)
    reader.feed(source.data[offset:stop] if (offset, stop) != (0, len(source.data)) else source.data)
    for element in reader.elements():
        builder.add(element)
    trouble = reader.finish()
    return builder.finish(stop, (offset + trouble.offset, trouble.diagnostic) if trouble is not None else None)
