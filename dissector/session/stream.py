"""What is known of one FastTransfer stream, and of one uploaded state property.

Made by streams.py, which joins them across the ROPs that carry them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, cast

from dissector.grammar.icstree import Gap, trace_parts, whole_tree
from dissector.grammar.idset import SET_FORMS, IdsetReading, read_idset
from dissector.grammar.names import property_name
from dissector.grammar.reading import trace
from dissector.grammar.resume import resume
from dissector.grammar.table import Messages, TableReader
from dissector.model.ids import ObjectId
from dissector.node import Node, Severity, undecoded
from dissector.session.account import Account
from dissector.session.exchange import Carried
from dissector.session.kept import Kept
from dissector.source import ByteSource, joined

PART = 1 << 20
"""Bytes of a stream that are read again at a time."""


class Buffer(NamedTuple):
    """One transfer buffer. offset, length: in the stream. sent: bytes on the wire, of which the server took `length`.

    frame: of the message that carried it. status: TransferStatus (None: no response captured). done, total: progress
    as InProgressCount and TotalStepCount.
    """

    exchange: int
    frame: int
    offset: int
    length: int
    sent: int
    status: int | None
    done: int | None
    total: int | None


class Tap(Protocol):
    """Told of the bytes of a stream, in order."""

    def feed(self, data: bytes) -> None:
        """The next bytes; they came in the last of stream.buffers."""

    def gap(self) -> None:
        """What comes next does not follow what came before."""


class Failure(NamedTuple):
    """A ROP of the context that failed."""

    exchange: int
    frame: int
    rop: str
    code: int


class Passed(NamedTuple):
    """Messages that were read, start to end of the stream: how many of them, and how many elements."""

    start: int
    end: int
    messages: int
    elements: int


@dataclass(slots=True, eq=False)
class StateUpload:
    """One property of the ICS state as a client uploaded it [MS-OXCFXICS] 2.2.3.2.2.

    stream: number of the context. tag: None where RopSynchronizationUploadStateStreamBegin was not captured. announced:
    the size it gave. ended: whether RopSynchronizationUploadStateStreamEnd came. refused: ReturnValue of a ROP that
    failed.
    """

    stream: int
    tag: int | None
    announced: int | None
    exchange: int
    frame: int
    last_frame: int = 0
    parts: list[tuple[ByteSource, int, int]] = field(default_factory=list)
    size: int = 0
    ended: bool = False
    refused: int | None = None

    @property
    def name(self) -> str:
        return (property_name(self.tag) or f"0x{self.tag:08X}") if self.tag is not None else "state property"

    @property
    def bootstrap(self) -> bool:
        """Whether it says that the client has nothing yet."""
        return self.ended and self.size == 0 and self.announced == 0

    @property
    def why(self) -> str:
        """Why it is not complete; '' when it is."""
        if self.refused is not None:
            return f"refused with 0x{self.refused:08X}"
        if self.tag is None:
            return "the capture does not show how its upload began"
        if not self.ended:
            return "its upload does not end"
        return f"{self.announced} bytes were announced, {self.size} came" if self.size != self.announced else ""

    def source(self) -> ByteSource:
        return joined(f"{self.name} uploaded to stream {self.stream}", self.parts)

    def reading(self) -> IdsetReading | None:
        """The set in it; None where the property is no set."""
        form = SET_FORMS.get(self.tag >> 16) if self.tag is not None else None
        return read_idset(self.source().data, form) if form is not None else None

    def tree(self) -> Node:
        source = self.source()
        form = SET_FORMS.get(self.tag >> 16) if self.tag is not None else None
        if form is None:
            what = "no set is kept in this property" if self.tag is not None else self.why
            node = Node(self.name, source, 0, self.size)
            node.children.append(undecoded(source, 0, self.size, Severity.NO_CONTEXT, what))
            return node
        node = trace(form, source, self.name)
        if node.end < self.size:
            rest = undecoded(source, node.end, self.size - node.end, Severity.MALFORMED, "bytes are left over")
            if any(found.diagnostics for found in node.walk()):
                rest.diagnostics.clear()
            node.children.append(rest)
            node.length = self.size
        if not self.size:
            node.labeller = Carried("", "empty: the client has nothing yet (bootstrap)" if self.bootstrap else "empty")
        if self.why:
            node.diagnose(Severity.NOTE, self.why)
        return node


@dataclass(slots=True, eq=False)
class Stream:
    """The bytes of one context, and what became of it.

    number: 1-based, in order of appearance. direction: "download", "upload", or "collector" (an upload context whose
    changes come in ROPs of their own, so that it has states but no bytes). root: one of ics.ROOTS; None where it is not
    known (inferred: it was told by the elements). opened_by: the ROP, '' where it was not captured. of: the stream
    whose state this one is (RopSynchronizationGetTransferState). options: the numbers of the opening ROP by field
    name, in words. folder, message: what the context was opened on.
    size: in bytes. gaps: where bytes are missing. complete, why: see ended().
    """

    number: int
    session: int
    handle: int | None
    direction: str
    root: str | None
    opened_by: str
    exchange: int
    frame: int
    codepage: str | None = None
    logon_id: int | None = None
    folder: ObjectId | None = None
    folder_name: str = ""
    message: ObjectId | None = None
    of: int | None = None
    options: dict[str, str] = field(default_factory=dict)
    buffers: list[Buffer] = field(default_factory=list)
    size: int = 0
    gaps: list[Gap] = field(default_factory=list)
    states: list[StateUpload] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    backoffs: int = 0
    backoff_ms: int = 0
    assumed: int = 0
    """Uploaded buffers without a captured response, which were taken as used in full."""
    last_exchange: int = 0
    last_frame: int = 0
    complete: bool = False
    why: str = ""
    unsent: str = ""
    """Why its end is not here; '' where the last bytes are its end."""
    counting: Account = field(default_factory=lambda: Account(None))
    deferred: bool = False
    """The account is made of the kept bytes when it is asked for, not while they come."""
    over: bool = False
    """Whether it has ended."""
    kept: Kept | None = None
    """Its bytes; None where they were not kept."""
    tap: Tap | None = None
    """Who else is given its bytes as they come."""

    @property
    def account(self) -> Account:
        """What its elements say, as far as it has come."""
        if self.deferred:
            self._catch_up()
        return self.counting

    @property
    def inferred(self) -> bool:
        return self.counting.inferred

    @property
    def label(self) -> str:
        return f"stream {self.number}" + (f" ({self.root})" if self.root is not None else "")

    @property
    def first_frame(self) -> int:
        return self.buffers[0].frame if self.buffers else self.frame

    def source(self) -> ByteSource:
        """Its bytes, each of which leads to its frames. Raises ValueError where they were not kept."""
        if self.kept is None:
            raise ValueError(f"the bytes of {self.label} were not kept")
        return self.kept.source(self.label)

    def tree(self, source: ByteSource | None = None) -> Node:
        """The annotated tree of all of it."""
        return whole_tree(self.tree_parts(source))

    def tree_parts(self, source: ByteSource | None = None) -> Iterator[Node]:
        """The tree piece by piece: see icstree.trace_parts."""
        return cast(Iterator[Node], self.shown_parts(source or self.source(), None))

    def shown_parts(self, source: ByteSource, tables: TableReader | None) -> Iterator[Node | Messages]:
        """The same with parts that a view reads by itself."""
        root = None if self.inferred else self.root
        return trace_parts(
            source, root, name=self.root or "stream", codepage=self.codepage, gaps=self.gaps, unsent=self.unsent,
            tables=tables,
        )  # fmt: skip

    def runs(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) of every run between missing bytes, each from where an element is sure to begin."""
        missing = {gap.offset for gap in self.gaps}
        starts = sorted({0, *(offset for offset in missing if offset < len(data))})
        for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
            begin = start
            if start in missing:
                found = resume(data, start, end, root_known=self.root is not None and not self.inferred)
                if found is None:
                    continue
                begin = found.offset
            yield begin, data[begin:end]

    def add(self, source: ByteSource, offset: int, buffer: Buffer, keep: int) -> None:
        """Take the next buffer, whose bytes stand at source.data[offset:]."""
        self.buffers.append(buffer)
        self.last_exchange, self.last_frame = buffer.exchange, buffer.frame
        if not buffer.length:
            return
        self.size += buffer.length
        if self.size > keep:
            if self.deferred:
                self._catch_up()
            self.kept = None
        if not self.deferred:
            self.counting.take(source.data, offset, offset + buffer.length)
        if self.tap is not None:
            self.tap.feed(source.data[offset : offset + buffer.length])
        if self.kept is not None:
            self.kept.add(source, offset, buffer.length)

    def _catch_up(self, read: Sequence[Passed] = ()) -> None:
        """Make the account of what was kept. read: messages that the tree was made of, which need not be read again."""
        assert self.kept is not None
        at = 0
        passed = iter(read)
        coming = next(passed, None)
        for end, hole in (*((gap.offset, True) for gap in self.gaps), (self.kept.size, False)):
            while at < end:
                if coming is not None and at == coming.start:
                    if self.counting.jump(coming.end - at, coming.messages, coming.elements):
                        at = coming.end
                        coming = next(passed, None)
                        continue
                    coming = next(passed, None)
                stop = min(at + PART, end)
                part = self.kept.part(at, stop if coming is None else min(stop, coming.start))
                self.counting.feed(part)
                at += len(part)
            if hole:
                self.counting.gap()
        if self.over:
            self.counting.finish()
        self.deferred = False

    def counted(self, parts: Iterator[Node | Messages]) -> Iterator[Node | Messages]:
        """shown_parts() as they come; at their end the account is made of them, as far as they tell."""
        read: list[Passed] = []
        for part in parts:
            if isinstance(part, Messages):
                read.append(Passed(part.start, part.end, part.amount, part.elements))
            yield part
        if self.deferred:
            self._catch_up(read)

    def missing(self, why: str) -> None:
        """Bytes are missing at this place."""
        self.gaps.append(Gap(self.size, why))
        if not self.deferred:
            self.counting.gap()
        if self.tap is not None:
            self.tap.gap()

    def ended(self, complete: bool, why: str) -> None:
        """No more comes. complete: the protocol says that all was sent; why: what happened instead."""
        if self.gaps and self.gaps[-1].offset == self.size and not complete:
            why = f"{self.gaps[-1].why}; {why}"
        self.over = True
        if not self.deferred:
            self.counting.finish()
            self.root = self.counting.root
        self.unsent = "" if complete else why
        lost = [gap.why for gap in self.gaps]
        if complete and lost:
            complete, why = False, lost[0] if len(lost) == 1 else f"{lost[0]}, and {len(lost) - 1} more holes"
        self.complete, self.why = complete, "" if complete else why
