"""Bytes that know their frames.

A capture is cut up and put together again many times before a ROP can be read: TCP segments are joined, HTTP chunks
unwrapped, payloads un-XORed and decompressed. Each step makes a new ByteSource whose pieces say which bytes of an
earlier source, or of a frame, every run of its bytes was made from. locate() follows the pieces down to the frames.

A piece whose length equals its origin's length maps byte for byte; one whose lengths differ (a decompressed block)
maps as a whole: every byte of it comes from the whole origin range.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple


class Span(NamedTuple):
    """A run of bytes in one frame: 1-based frame number, offset within the captured frame, length in bytes."""

    frame: int
    offset: int
    length: int


class Piece(NamedTuple):
    """Where a run of a source's bytes came from: a frame (int) or another source."""

    start: int
    length: int
    origin: ByteSource | int
    origin_offset: int
    origin_length: int


class Runs:
    """Where all bytes of a source lie in the frames: starts[i] to ends[i] stand in frames[i] from offsets[i] on.

    In ascending order; neighbours that follow each other in one frame are one run. Room for a view: texts, the text of
    each; known, those that were kept in what this was made from ('' for others), if this is to have them; between,
    shown: (first, last, text) of the runs and of the range it showed last.
    """

    __slots__ = ("between", "ends", "frames", "known", "offsets", "shown", "starts", "texts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.frames: list[int] = []
        self.offsets: list[int] = []
        self.texts: list[str] | None = None
        self.known: list[str] | None = None
        self.between: tuple[int, int, str] | None = None
        self.shown: tuple[int, int, str] | None = None

    @classmethod
    def of(cls, starts: list[int], ends: list[int], frames: list[int], offsets: list[int]) -> Runs:
        made = cls.__new__(cls)
        made.starts, made.ends, made.frames, made.offsets = starts, ends, frames, offsets
        made.texts = made.known = made.between = made.shown = None
        return made

    def add(self, start: int, length: int, frame: int, offset: int) -> None:
        ends = self.ends
        if ends and ends[-1] == start and self.frames[-1] == frame:
            last = self.starts[-1]
            if self.offsets[-1] + start - last == offset:
                ends[-1] = start + length
                return
        self.starts.append(start)
        ends.append(start + length)
        self.frames.append(frame)
        self.offsets.append(offset)

    def take(self, runs: Runs, start: int, stop: int, distance: int) -> None:
        """Add what start..stop of other runs touches, `distance` further on."""
        starts, ends = runs.starts, runs.ends
        first = bisect_right(starts, start) - 1
        if first < 0 or ends[first] <= start:
            first += 1
        last = bisect_left(starts, stop, first) - 1
        if last < first:
            return
        begin = max(start, starts[first])
        end = min(stop, ends[first])
        self.add(begin + distance, end - begin, runs.frames[first], runs.offsets[first] + begin - starts[first])
        if last == first:
            return
        self.starts.extend([at + distance for at in starts[first + 1 : last + 1]])
        self.ends.extend([at + distance for at in ends[first + 1 : last + 1]])
        self.frames.extend(runs.frames[first + 1 : last + 1])
        self.offsets.extend(runs.offsets[first + 1 : last + 1])
        self.ends[-1] = min(stop, ends[last]) + distance
        if self.known is not None and runs.texts is not None:
            self.known += [""] * (len(self.starts) - len(self.known) - last + first)
            self.known += runs.texts[first + 1 : last]
            self.known.append("")

    def pieces(self) -> Iterator[Piece]:
        for start, end, frame, offset in zip(self.starts, self.ends, self.frames, self.offsets, strict=True):
            yield Piece(start, end - start, frame, offset, end - start)

    def within(self, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        """(number of the run, start, end, offset of the start in its frame) of all that start..stop touches."""
        starts, ends = self.starts, self.ends
        index = max(0, bisect_right(starts, start) - 1)
        while index < len(starts) and starts[index] < stop:
            first, last = max(start, starts[index]), min(stop, ends[index])
            if first < last:
                yield index, first, last, self.offsets[index] + first - starts[index]
            index += 1


class ByteSource:
    """Bytes with a label and the pieces they were made from.

    `pieces` is a sequence in ascending order of start, or a callable that yields it when a location is first asked
    for: most messages are never looked at that closely. runs: a callable that says the same as Runs, where it can.
    """

    __slots__ = ("_pieces", "_runs", "_starts", "data", "label")

    def __init__(
        self,
        label: str,
        data: bytes,
        pieces: Sequence[Piece] | Callable[[], Iterable[Piece]] = (),
        runs: Callable[[], Runs | None] | None = None,
    ) -> None:
        self.label = label
        self.data = data
        self._pieces = pieces
        self._starts: list[int] | None = None
        self._runs: tuple[Runs, int] | Callable[[], Runs | None] | bool | None = runs or False

    @classmethod
    def of_runs(cls, label: str, data: bytes, runs: Runs) -> ByteSource:
        """A source that lies in the frames as the runs say."""
        made = cls(label, data, runs.pieces)
        made._runs = runs, 0
        return made

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"<ByteSource {self.label} {len(self.data)} bytes>"

    @property
    def pieces(self) -> Sequence[Piece]:
        if callable(self._pieces):
            self._pieces = tuple(self._pieces())
        return self._pieces

    def locate(self, offset: int, length: int) -> list[Span]:
        """The frame bytes that data[offset:offset + length] was made from, in order, neighbours merged.

        An empty range has no spans. A range that no piece covers (bytes typed in by hand) has none either.
        """
        if length <= 0:
            return []
        found = self.runs
        if found is not None:
            runs, shift = found
            stop = min(offset + length, len(self.data)) + shift
            frames = runs.frames
            return [
                Span(frames[index], at, last - first) for index, first, last, at in runs.within(offset + shift, stop)
            ]
        spans: list[Span] = []
        self._locate(offset, length, spans)
        return spans

    @property
    def runs(self) -> tuple[Runs, int] | None:
        """The runs that this source's bytes lie in, and what to add to an offset to find it there.

        None where a piece maps as a whole (decompressed blocks): only locate() can tell then.
        """
        found = self._runs
        if found is None or type(found) is tuple:
            return found
        made = found() if callable(found) else None
        self._runs = known = (made, 0) if made is not None else self._made_runs()
        return known

    def _made_runs(self) -> tuple[Runs, int] | None:
        pieces = self.pieces
        if len(pieces) == 1:
            (piece,) = pieces
            whole = piece.start == 0 and piece.length == piece.origin_length == len(self.data)
            if whole and isinstance(piece.origin, ByteSource):
                found = piece.origin.runs
                return None if found is None else (found[0], found[1] + piece.origin_offset)
        made = Runs()
        made.known = []
        for start, length, origin, at, origin_length in pieces:
            if length != origin_length:
                return None
            if not isinstance(origin, ByteSource):
                if length > 0:
                    made.add(start, length, origin, at)
                continue
            found = origin.runs
            if found is None:
                return None
            runs, shift = found
            made.take(runs, at + shift, min(at + length, len(origin.data)) + shift, start - at - shift)
        return made, 0

    def _locate(self, offset: int, length: int, spans: list[Span]) -> None:
        if length <= 0:
            return
        pieces = self.pieces
        if self._starts is None:
            self._starts = [piece.start for piece in pieces]
        stop = offset + length
        index = max(0, bisect_right(self._starts, offset) - 1)
        while index < len(pieces):
            piece = pieces[index]
            index += 1
            if piece.start >= stop:
                break
            start, end = max(offset, piece.start), min(stop, piece.start + piece.length)
            if start >= end:
                continue
            if piece.length == piece.origin_length:
                at, size = piece.origin_offset + start - piece.start, end - start
            else:
                at, size = piece.origin_offset, piece.origin_length
            if isinstance(piece.origin, ByteSource):
                piece.origin._locate(at, size, spans)
            elif spans and spans[-1].frame == piece.origin and spans[-1].offset + spans[-1].length == at:
                spans[-1] = Span(piece.origin, spans[-1].offset, spans[-1].length + size)
            elif not spans or spans[-1] != (piece.origin, at, size):
                spans.append(Span(piece.origin, at, size))

    def derive(self, label: str, offset: int, length: int, data: bytes | None = None) -> ByteSource:
        """A source made from data[offset:offset + length]: a slice, or `data` when the bytes were transformed."""
        made = self.data[offset : offset + length] if data is None else data
        return ByteSource(label, made, (Piece(0, len(made), self, offset, length),))


FREED = 16 << 20


@cache
def keep_freed() -> None:
    """Have the GNU C library keep what is freed from now on: else it returns it to the system between one message and
    the next, only to fetch it again. A block of this size, taken and given back, makes it do so.
    """
    bytes(FREED)


COPIED = 1024
"""Bytes that are copied sooner than looked at through a view."""


def joined(label: str, parts: Iterable[tuple[ByteSource, int, int]]) -> ByteSource:
    """One source from ranges (source, offset, length) of others, in order."""
    pieces: list[Piece] = []
    chunks: list[bytes | memoryview] = []
    start = 0
    for source, offset, length in parts:
        pieces.append(Piece(start, length, source, offset, length))
        data = memoryview(source.data) if length > COPIED else source.data
        chunks.append(data[offset : offset + length])
        start += length
    return ByteSource(label, b"".join(chunks), pieces)
