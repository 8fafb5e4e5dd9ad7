"""What every reading engine hands over: Segment tuples, a Summary, and the bytes that the offsets point into."""

from __future__ import annotations

import mmap
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeAlias

from dissector.node import Diagnostic, Severity
from dissector.source import ByteSource

#: (frame, time, key, seq, ack, flags, offset, length, frame_offset, source): see docs/architecture.md.
Segment: TypeAlias = tuple[int, float, bytes, int, int, int, int, int, int, ByteSource | None]

#: What a capture's offsets point into.
Data: TypeAlias = mmap.mmap | bytes

#: Called with (bytes done, bytes in all) from time to time while a capture is read.
Progress: TypeAlias = Callable[[int, int], None]

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
#: Of these flags an ordinary segment has ACK alone.
CONTROL = FIN | SYN | RST | ACK

_MASK = 0xFFFFFFFF
_HALF = 0x80000000
_KEPT_COMMENTS = 1000


class Lane:
    """Where a walk over a capture puts those segments of one sender (one key) that are in order.

    In order is what has `expected` for its number and ACK alone of the CONTROL flags. It goes to the end of segments,
    the stream position behind it to the end of ends; end, expected and acked (the last acknowledgement of the sender)
    go on with it. What makes end reach `wake` is not put here but yielded; wake -1: everything is.
    """

    __slots__ = ("acked", "end", "ends", "expected", "segments", "wake")

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.ends: list[int] = []
        self.end = 0
        self.expected = -1
        self.acked = -1
        self.wake = 1


@dataclass(slots=True)
class Summary:
    """What was in the file, so far as segments() has walked it.

    protocols counts frames by the highest layer named ("TCP", "UDP", "ARP", ...), skipped counts frames that gave no
    segment although they may hold TCP, by reason. truncated counts frames cut short by the snap length.
    Times are seconds since 1970, None before the first frame. comments: (frame or 0 for the file, text).
    """

    path: str
    engine: str
    format: str
    size: int
    compressed: bool = False
    frames: int = 0
    segments: int = 0
    first_time: float | None = None
    last_time: float | None = None
    link_types: Counter[str] = field(default_factory=Counter)
    protocols: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    truncated: int = 0
    comments: list[tuple[int, str]] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def diagnose(self, severity: Severity, message: str) -> None:
        self.diagnostics.append(Diagnostic(severity, message))

    def comment(self, frame: int, text: str) -> None:
        if len(self.comments) < _KEPT_COMMENTS:
            self.comments.append((frame, text))

    def restart(self) -> None:
        """Forget what an earlier walk counted."""
        self.frames = self.segments = self.truncated = 0
        self.first_time = self.last_time = None
        for counter in (self.link_types, self.protocols, self.skipped):
            counter.clear()
        self.comments.clear()
        self.diagnostics.clear()


class Capture(ABC):
    """An opened capture: a context manager that yields TCP segments in file order.

    data: what a segment's offset and length are a range of. summary: filled while segments() runs, complete after it.
    secrets: (type, bytes) of the decryption secrets that the walk met in a pcapng file; b"TLSK" is a TLS key log.
    """

    data: Data
    summary: Summary
    secrets: list[tuple[bytes, bytes]]

    @abstractmethod
    def segments(self, lanes: Mapping[bytes, Lane] | None = None) -> Iterator[Segment]:
        """The TCP segments in file order. May be called again: every call walks anew and restarts the summary.

        lanes, by key: a segment that is in order for its lane, and does not wake its reader, may be put there and not
        be yielded. A reader who gives lanes takes what is yielded in the same way.
        """

    def close(self) -> None:  # noqa: B027  (some engines hold nothing)
        """Give back files and maps. A segment's bytes cannot be read afterwards."""

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def distance(seq: int, origin: int) -> int:
    """How far a 32-bit TCP number lies ahead of another (behind: negative), wrap included."""
    return ((seq - origin + _HALF) & _MASK) - _HALF


def reverse(key: bytes) -> bytes:
    """The key of the other direction of a connection."""
    half = (len(key) - 4) // 2
    return key[half : 2 * half] + key[:half] + key[-2:] + key[-4:-2]
