"""What a FastTransfer stream holds, counted while its buffers go by: no bytes are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from dissector.grammar.elements import ElementReader
from dissector.grammar.idset import IdsetReading
from dissector.grammar.outline import LONGEST, Messages
from dissector.grammar.resume import SIGN_SIZE, resume
from dissector.grammar.syncstory import Change, Fault, Item, Sets, StoryReader

FAULTS_KEPT = 20


class Allowance:
    """How many elements may still be read one by one, in all streams together. Then bodies are passed over."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


class Account:
    """Fed with the bytes of one stream in order: feed(), gap() where bytes are missing, finish() once at the end.

    root: what the stream is, None where that was not captured. Where its beginning is missing call gap() first; then
    the root may be told by the first elements that are sure, and `inferred` says so.

    elements: all that were read. changes: messages and folders by kind ("full", "partial", "message", "folder"; see
    syncstory.Change), cut: how many of them are not whole. sets: what the stream says about ids, by element ("state",
    "deletions", "readStateChanges") and property. errors: ExtendedErrorInfos. faults: the first ones; fault_count: all.
    skipped: bytes that could not be read for want of those before them. stopped: its end could not be read. told: is
    called with every item, if set. allowance: where it is used up, only the outline is read (StoryReader.outline), and
    what breaks the rules within messages is not seen.
    """

    def __init__(self, root: str | None, codepage: str | None = None, allowance: Allowance | None = None) -> None:
        self.root, self.codepage, self.allowance = root, codepage, allowance
        self.told: Callable[[Item], None] | None = None
        self.inferred = False
        self.changes: Counter[str] = Counter()
        self.cut = 0
        self.sets: dict[str, dict[str, IdsetReading]] = {}
        self.errors = 0
        self.faults: list[Fault] = []
        self.fault_count = 0
        self.skipped = 0
        self.stopped = False
        self._story = StoryReader(root, codepage=codepage) if root is not None else None
        self._plain = ElementReader(keep=0) if root is None else None
        self._counted = 0
        self._at = 0
        self._held: bytes | None = None
        """While the next sure element is being looked for: the bytes at whose end it may begin."""

    @property
    def elements(self) -> int:
        return self._counted + (self._story.elements if self._story is not None else 0)

    @property
    def passed(self) -> int:
        """Bytes of messages that were passed over."""
        return self._story.passed if self._story is not None else 0

    @property
    def messages(self) -> int:
        return sum(count for kind, count in self.changes.items() if kind != "folder")

    @property
    def folders(self) -> int:
        return self.changes["folder"]

    def take(self, data: bytes, start: int, end: int) -> None:
        """Feed data[start:end]. What is passed over is not copied."""
        if self._story is not None and self._held is None:
            count = self._story.passes(data, start, end)
            start += count
            self._at += count
            if count and end - start < LONGEST:  # the end of what was passed over: nothing comes of it yet
                self._at += end - start
                self._story.feed(data[start:end])
                return
        self.feed(data[start:end])

    def feed(self, data: bytes) -> None:
        self._at += len(data)
        if self._held is not None:
            data = self._held + data
            found = resume(data, root_known=self._story is not None)
            if found is None:
                self._held = data[1 - SIGN_SIZE :]
                self.skipped += len(data) - len(self._held)
                return
            self._held = None
            self.skipped += found.offset
            self._resume(self._at - len(data) + found.offset, found.root)
            data = data[found.offset :]
        if self._story is not None:
            self._story.feed(data)
            if self.allowance is None or self._story.outline:
                self._take(self._story.items())
            else:
                self._allowed(self._story, self.allowance)
        elif self._plain is not None:
            self._plain.feed(data)
            self._counted += sum(1 for _ in self._plain.elements())

    def _allowed(self, story: StoryReader, allowance: Allowance) -> None:
        """Read on, exactly as long as that is allowed."""
        before = story.elements
        story.outline = allowance.left <= 0
        self._take(story.items())
        allowance.left -= story.elements - before

    def jump(self, count: int, messages: int, elements: int) -> bool:
        """Count messageChangeFulls that come next, so many bytes of them, instead of being fed with them.

        False where that cannot be: an element has begun already, or the next sure one is being looked for.
        """
        done = self._story.jump(count, elements) if self._story is not None and self._held is None else None
        if done is None:
            return False
        self._at += count
        self._take(done)
        self.changes["full"] += messages
        return True

    def gap(self) -> None:
        """What comes next does not follow what came before."""
        if self._held is not None:
            self.skipped += len(self._held)
        self._held = b""

    def finish(self) -> None:
        """The stream has ended."""
        if self._held is not None:
            self.skipped += len(self._held)
            self._held = None
        if self._story is not None:
            self._take(self._story.finish())
            self.stopped = self._story.stopped
        elif self._plain is not None:
            trouble = self._plain.finish()
            self.stopped = trouble is not None
            if trouble is not None:
                self._take([Fault(*trouble)])

    def _resume(self, offset: int, root: str | None) -> None:
        if self._story is None and root is not None:
            self.root, self.inferred = root, True
            self._story, self._plain = StoryReader(root, codepage=self.codepage), None
        if self._story is not None:
            self._take(self._story.resume(offset))
        else:
            self._plain = ElementReader(keep=0, offset=offset)

    def _take(self, items: Iterable[Item]) -> None:
        for item in items:
            if self.told is not None:
                self.told(item)
            if isinstance(item, Change):
                self.changes[item.kind] += 1
                self.cut += not item.complete
            elif isinstance(item, Messages):
                self.changes["full"] += item.count
            elif isinstance(item, Sets):
                self.sets.setdefault(item.kind, {}).update(item.sets)
            elif isinstance(item, Fault):
                self.fault_count += 1
                if len(self.faults) < FAULTS_KEPT:
                    self.faults.append(item)
            elif item.kind == "errorInfo":
                self.errors += 1
