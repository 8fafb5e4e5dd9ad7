"""The bytes of streams that are still open, and where they lie in the frames."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterator
from typing import IO

from dissector.source import ByteSource, Piece, Runs

IN_MEMORY = 1 << 20
"""Bytes of one stream that wait in memory; a longer one goes to a temporary file that has no name."""


class Kept:
    """The bytes of one stream, part by part.

    The sources that the parts come from are let go, where they map byte for byte: of these only the runs are held, 32
    bytes for each frame. So many long streams may be open at once.
    """

    __slots__ = ("_data", "_file", "_runs", "_whole", "size")

    def __init__(self) -> None:
        self.size = 0
        self._data = bytearray()
        self._file: IO[bytes] | None = None
        self._runs = Runs()
        self._runs.starts, self._runs.ends = array("Q"), array("Q")  # type: ignore[assignment]
        self._runs.frames, self._runs.offsets = array("Q"), array("Q")  # type: ignore[assignment]
        self._whole: list[Piece] = []
        """Parts that map as a whole (decompressed blocks)."""

    def add(self, source: ByteSource, offset: int, length: int) -> None:
        """Take the next part, source.data[offset:offset + length]."""
        if not length:
            return
        found = source.runs
        if found is not None:
            runs, shift = found
            start = offset + shift
            self._runs.take(runs, start, start + length, self.size - start)
        else:
            self._whole.append(Piece(self.size, length, source, offset, length))
        self._put(source.data[offset : offset + length])

    def _put(self, data: bytes) -> None:
        self.size += len(data)
        if self._file is None:
            self._data += data
            if self.size <= IN_MEMORY:
                return
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            data, self._data = bytes(self._data), bytearray()
        while data:
            data = data[self._file.write(data) :]

    def source(self, label: str) -> ByteSource:
        """All of it. Where one part maps as a whole, every part stands as a piece of its own."""
        data = self.part(0, self.size)
        if not self._whole:
            return ByteSource.of_runs(label, data, self._runs)
        return ByteSource(label, data, sorted([*self._whole, *self._runs.pieces()], key=lambda piece: piece.start))

    def part(self, start: int, end: int) -> bytes:
        """The bytes from start to end, without more of them in memory than there are already."""
        return bytes(self._data[start:end]) if self._file is None else b"".join(self._read(start, end))

    def _read(self, at: int, end: int) -> Iterator[bytes]:
        """Without the file's own position: a forked process shares that with the one it came from."""
        assert self._file is not None
        while at < end:
            data = os.pread(self._file.fileno(), end - at, at)
            if not data:
                raise OSError("the temporary file of a stream is cut")
            at += len(data)
            yield data

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()
