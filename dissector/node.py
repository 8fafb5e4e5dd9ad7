"""The annotated tree: what every view shows.

A Node is a range of one ByteSource with a name and either a value (a leaf) or children. In the tree of a PDU every
byte is in exactly one leaf. What went wrong stands as a Diagnostic at the node where it went wrong, and the bytes that
could not be read stand as a leaf whose value is Undecoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from string import Formatter
from typing import Any

from dissector.source import ByteSource, Span


class Severity(Enum):
    """Four kinds of trouble: a remark, the bytes lie, the capture began too late, or we failed."""

    NOTE = "NOTE"
    MALFORMED = "MALFORMED"
    NO_CONTEXT = "NO_CONTEXT"
    BUG = "BUG"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    severity: Severity
    message: str


class Undecoded(bytes):
    """Bytes that were kept as they are because nothing could read them. Builds back to itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Undecoded({bytes(self)!r})"


@dataclass(slots=True, eq=False)
class Node:
    """One field or structure.

    offset, length: the range in source.data, in bytes. value: the decoded value of a leaf, None for a structure.
    labeller: gives the meaning of the value in words (a flag's bits, a property's name) when it is asked for; that of
    a structure is a Summary.
    """

    name: str
    source: ByteSource
    offset: int
    length: int = 0
    value: Any = None
    children: list[Node] = field(default_factory=list)
    spec: str = ""
    labeller: Callable[[Any], str] | None = None
    diagnostics: list[Diagnostic] = field(default_factory=list)
    secret: bool = False
    """The value is a credential: views say so and show neither it nor its bytes."""

    @property
    def end(self) -> int:
        return self.offset + self.length

    @property
    def label(self) -> str:
        if self.labeller is None:
            return ""
        if isinstance(self.labeller, Summary):
            return self.labeller(self) if self.children else ""
        if self.children or self.value is None or isinstance(self.value, Undecoded):
            return ""
        return self.labeller(self.value)

    @property
    def spans(self) -> list[Span]:
        return self.source.locate(self.offset, self.length)

    @property
    def data(self) -> bytes:
        return self.source.data[self.offset : self.offset + self.length]

    def diagnose(self, severity: Severity, message: str) -> None:
        self.diagnostics.append(Diagnostic(severity, message))

    def walk(self) -> Iterator[Node]:
        """This node and all below it, in order, without recursion."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def leaves(self) -> Iterator[Node]:
        for node in self.walk():
            if not node.children:
                yield node

    def find(self, *path: str) -> Node:
        """The node reached by child names; raises KeyError with the name that is missing."""
        node = self
        for name in path:
            found = node.child(name)
            if found is None:
                raise KeyError(name)
            node = found
        return node

    def child(self, name: str) -> Node | None:
        """The first child of that name."""
        return next((child for child in self.children if child.name == name), None)

    @property
    def count(self) -> int:
        """How many children there are."""
        return len(self.children)


LABEL_LIMIT = 400
"""How many characters the words for a structure may take: they are for one line."""


class Summary:
    """Words for a structure made of those for its parts: "{PropertyTag} = {PropertyValue}".

    A part of a part is written with a dot, "{TaggedValue.PropertyValue}". A part that is not in the tree (absent, or
    not reached in damaged data) leaves its place empty. Rows are joined by commas, or by what stands behind a colon:
    "{SubAuthority:-}". "{*}" is all parts.
    """

    __slots__ = ("pieces", "template")

    def __init__(self, template: str) -> None:
        self.template = template
        self.pieces = [(text, name, joint or ", ") for text, name, joint, _ in Formatter().parse(template)]

    def __call__(self, node: Node) -> str:
        parts: list[str] = []
        for text, name, joint in self.pieces:
            parts.append(text)
            if name == "*":
                parts.append(joint.join(filter(None, (brief(part) for part in node.children[:16]))))
                continue
            child: Node | None = node if name else None
            for step in (name or "").split("."):
                child = next((part for part in child.children if part.name == step), None) if child else None
            if child is not None:
                parts.append(brief(child, joint=joint))
        text = "".join(parts).strip()
        return text if len(text) <= LABEL_LIMIT else text[:LABEL_LIMIT] + "..."


def brief(node: Node, limit: int = 60, joint: str = ", ") -> str:
    """One node in a few words: its label, its value, or its rows with `joint` between them."""
    labeller = node.labeller
    short = getattr(getattr(labeller, "__self__", labeller), "brief", None)
    if short is not None and node.value is not None and not isinstance(node.value, Undecoded):
        return str(short(node.value))
    text = node.label
    if text:
        return text
    if getattr(node, "parts", None) is None and node.children:  # parts that are no nodes yet are no rows either
        rows = [child for child in node.children if child.name.startswith("[")]
        return joint.join(brief(row, limit) for row in rows[:16]) + (f"{joint}..." if len(rows) > 16 else "")
    value = node.value
    if isinstance(value, bytes):
        return f"{len(value)} bytes {value[:16].hex()}{'...' if len(value) > 16 else ''}" if value else "0 bytes"
    if isinstance(value, str):
        return repr(value if len(value) <= limit else value[:limit] + "...")
    return "" if value is None or isinstance(value, list | dict) else str(value)


def undecoded(source: ByteSource, offset: int, length: int, severity: Severity, message: str) -> Node:
    """The leaf that keeps bytes nothing could read, with the reason."""
    raw = Undecoded(source.data[offset : offset + length])
    return Node("Undecoded", source, offset, length, raw, diagnostics=[Diagnostic(severity, message)])
