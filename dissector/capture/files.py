"""From a path or a stream to one mapped file.

Only a map can be walked by offsets, so what is no plain file (a pipe, gzip) is first written to a temporary file that
has no name: memory stays bounded and nothing is left behind.
"""

from __future__ import annotations

import mmap
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, BinaryIO, TypeAlias

from dissector.errors import CaptureError

#: What can be opened: a path, "-" for standard input, or a binary stream.
Input: TypeAlias = str | os.PathLike[str] | BinaryIO

_GZIP = b"\x1f\x8b"
_COPY = 1 << 20
_PAGES = 8 << 20
"""How far the walk goes before pages are given back: they count as memory of the process until then."""


class MappedFile:
    """The bytes of an input as one read-only map.

    trouble: one line when the input ended badly (a cut gzip file) but what came before can be read.
    """

    def __init__(self, given: Input) -> None:
        self.name = "stream"
        self.compressed = False
        self.trouble = ""
        self._given_back = 0
        with ExitStack() as opened:
            try:
                self.data = self._map(given, opened)
            except OSError as error:
                raise CaptureError(f"{self.name}: cannot be read: {error.strerror or error}") from None

    def _map(self, given: Input, opened: ExitStack) -> mmap.mmap:
        file: IO[bytes]
        if not isinstance(given, str | os.PathLike):
            self.name, file = str(getattr(given, "name", self.name)), given
        elif os.fspath(given) == "-":
            self.name, file = "standard input", sys.stdin.buffer
        else:
            self.name = os.fspath(given)
            file = opened.enter_context(Path(given).open("rb"))  # noqa: SIM115
        if not _is_plain(file):
            spooled = opened.enter_context(_nameless())
            while chunk := file.read(_COPY):
                spooled.write(chunk)
            file = spooled
        file.seek(0)
        if file.read(2) == _GZIP:
            file.seek(0)
            self.compressed = True
            unpacked = opened.enter_context(_nameless())
            self._inflate(file, unpacked)
            file = unpacked
        file.seek(0, os.SEEK_END)
        if not file.tell():
            raise CaptureError(f"{self.name}: the file is empty" + (f": {self.trouble}" if self.trouble else ""))
        file.flush()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _inflate(self, source: IO[bytes], target: IO[bytes]) -> None:
        """Unpack as far as it goes: a cut file still gives what it holds."""
        import gzip
        import zlib

        try:
            with gzip.GzipFile(fileobj=source) as unpacked:
                while chunk := unpacked.read1(_COPY):
                    target.write(chunk)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            self.trouble = f"the gzip data ends badly: {error}"

    def give_back(self, offset: int) -> None:
        """Tell the system that the pages before offset are not needed now, so that memory stays small.

        They can still be read: the system then fetches them again.
        """
        if offset - self._given_back < _PAGES or not hasattr(mmap, "MADV_DONTNEED"):
            return
        stop = offset - offset % mmap.PAGESIZE
        # From the very start: messages taken behind the walk have fetched pages again since the last time.
        self.data.madvise(mmap.MADV_DONTNEED, 0, stop)
        self._given_back = stop

    def rewind(self) -> None:
        """A new walk begins at the start."""
        self._given_back = 0

    def close(self) -> None:
        self.data.close()


def _nameless() -> IO[bytes]:
    """A temporary file. Most captures are plain files and need none, nor what it takes to make one."""
    import tempfile

    return tempfile.TemporaryFile()


def _is_plain(file: IO[bytes]) -> bool:
    """A regular file that is read from its start: it can be mapped as it is."""
    try:
        return os.path.isfile(file.fileno()) and file.tell() == 0
    except (OSError, ValueError, AttributeError):
        return False
