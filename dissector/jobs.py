"""Work shared out among forked processes, with the results of one process in the same order.

Every worker goes through the same units in the same order, since what a unit looks like follows from all that was read
before it; but it carries out only those that no other worker has taken. So no object crosses a process boundary: the
workers inherit the opened capture, and what comes back are the bytes that they made. Reading is done once in every
worker: that pays where carrying a unit out costs much more than coming to it.

The parent hands out unit after unit. What workers bring too early waits: in memory, then in temporary files, and when
there is much of that too, the worker waits.
"""

from __future__ import annotations

import gc
import os
import pickle
import selectors
import signal
import struct
import sys
import tempfile
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import IO, NoReturn, TypeAlias

from dissector.errors import DissectorError

Unit: TypeAlias = Callable[[], Iterable[bytes]]

MOST = 8
"""Jobs by default, at most: all of them read everything."""
IN_MEMORY = 8 << 20
"""Bytes of one worker that wait in the parent's memory ..."""
IN_FILE = 1 << 30
"""... and in a temporary file before the worker must wait."""

_FRAME = struct.Struct("<BQI")
_DATA, _END, _PROGRESS, _ENDING, _FAILED = range(5)
_PIECE = 1 << 16
_NEXT = struct.Struct("<Q")


class WorkerLost(DissectorError):
    """A worker process has ended without a word."""


def available() -> int:
    """How many processors this process may use; 1 where processes cannot be forked."""
    if not hasattr(os, "fork"):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Shared:
    """Runs units in `jobs` workers. results() once; then `ending` holds what ending() gave in one of them.

    units: makes the iterator of units, in every worker anew; a unit gives bytes in any number of pieces. ending: called
    when the units are done. progress: called in the parent with what the first worker gives to report().
    """

    def __init__(
        self,
        units: Callable[[], Iterable[Unit]],
        jobs: int,
        *,
        ending: Callable[[], bytes] = bytes,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._units, self._jobs, self._ending, self._progress = units, jobs, ending, progress
        self._worker: _Worker | None = None
        self.ending = b""

    def report(self, done: int, total: int) -> None:
        """Tell the parent how far the reading is. For the units to call; only the first worker is heard."""
        if self._worker is not None and self._worker.number == 0:
            self._worker.send(_PROGRESS, done, struct.pack("<Q", total))

    def results(self) -> Generator[tuple[int, bytes], None, None]:
        """(number of the unit, bytes) in the order of one process.

        Raises what a unit or the reading raised, after all that came before it; WorkerLost. Ends the workers when it is
        closed early.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        gc.collect()
        gc.freeze()  # what is there now is shared as long as nobody touches it
        tokens = os.pipe()
        os.write(tokens[1], _NEXT.pack(0))
        sources: list[_Source] = []
        try:
            for number in range(self._jobs):
                sources.append(self._fork(number, tokens, sources))
            yield from self._merged(sources)
        finally:
            gc.unfreeze()
            for end in tokens:
                os.close(end)
            for source in sources:
                source.close()

    def _fork(self, number: int, tokens: tuple[int, int], others: list[_Source]) -> _Source:
        ours, theirs = os.pipe()
        parent = os.getpid()
        child = os.fork()
        if child:
            os.close(theirs)
            return _Source(child, ours)
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
            os.close(ours)
            for other in others:
                os.close(other.pipe)
            self._worker = _Worker(number, theirs, tokens, parent)
            self._worker.run(self._units, self._ending)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    def _merged(self, sources: list[_Source]) -> Iterator[tuple[int, bytes]]:
        current = 0
        with selectors.DefaultSelector() as selector:
            for source in sources:
                selector.register(source.pipe, selectors.EVENT_READ, source)
            while True:
                moved = True
                while moved:
                    moved = False
                    for source in sources:
                        while source.backlog.head == current:
                            moved = True
                            kind, payload = source.backlog.pop()
                            if kind == _DATA:
                                yield current, payload
                            elif kind == _END:
                                current += 1
                            else:
                                raise _failure(payload)
                        if source.paused and source.backlog.size < IN_FILE // 2:
                            source.paused = False
                            selector.register(source.pipe, selectors.EVENT_READ, source)
                if not selector.get_map():
                    if any(source.backlog.size for source in sources):
                        raise WorkerLost(f"no worker process brought unit {current}")
                    return
                for key, _ in selector.select():
                    source = key.data
                    if not self._received(source):
                        selector.unregister(source.pipe)
                    elif source.backlog.size > IN_FILE:
                        source.paused = True
                        selector.unregister(source.pipe)

    def _received(self, source: _Source) -> bool:
        """Take what a worker has written; False at its end. Raises WorkerLost."""
        data = os.read(source.pipe, 1 << 20)
        if not data:
            if not source.done:
                raise WorkerLost(f"a worker process {source.fate()}; --jobs 1 works without")
            return False
        for kind, unit, payload in source.frames(data):
            if kind == _PROGRESS:
                if self._progress is not None:
                    self._progress(unit, struct.unpack("<Q", payload)[0])
            elif kind == _ENDING:
                self.ending, source.done = payload, True
            else:
                source.done = source.done or kind == _FAILED
                source.backlog.push(unit, kind, payload)
        return True


def _failure(payload: bytes) -> BaseException:
    """What a worker raised. It was pickled by a process of our own."""
    error = pickle.loads(payload)
    return error if isinstance(error, BaseException) else RuntimeError(str(error))


class _Worker:
    """The child's side."""

    def __init__(self, number: int, pipe: int, tokens: tuple[int, int], parent: int) -> None:
        self.number, self.pipe, self.tokens, self.parent = number, pipe, tokens, parent

    def run(self, units: Callable[[], Iterable[Unit]], ending: Callable[[], bytes]) -> NoReturn:
        unit = 0
        try:
            for work in units():
                if self.claim(unit):
                    for data in work():
                        for at in range(0, len(data), _PIECE):
                            self.send(_DATA, unit, data[at : at + _PIECE])
                    self.send(_END, unit)
                unit += 1
            self.send(_ENDING, unit, ending())
        except BrokenPipeError:
            pass  # the parent is gone
        except BaseException as error:
            self.send(_FAILED, unit, _pickled(error))
        os._exit(0)

    def claim(self, unit: int) -> bool:
        """Whether this worker is the first that comes to a unit. The number of the next one is handed around."""
        if os.getppid() != self.parent:
            raise BrokenPipeError
        following = _NEXT.unpack(os.read(self.tokens[0], _NEXT.size))[0]
        mine: bool = unit >= following
        os.write(self.tokens[1], _NEXT.pack(unit + 1 if mine else following))
        return mine

    def send(self, kind: int, unit: int, payload: bytes = b"") -> None:
        data = memoryview(_FRAME.pack(kind, unit, len(payload)) + payload)
        while data:
            data = data[os.write(self.pipe, data) :]


def _pickled(error: BaseException) -> bytes:
    try:
        data = pickle.dumps(error)
        pickle.loads(data)
    except Exception:
        return pickle.dumps("".join(traceback.format_exception(error)))
    if not isinstance(error, DissectorError):
        error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
        data = pickle.dumps(error)
    return data


class _Source:
    """The parent's side of one worker. done: it has said its last word. paused: it must wait."""

    def __init__(self, child: int, pipe: int) -> None:
        self.child, self.pipe = child, pipe
        self.backlog = Backlog()
        self.done = self.paused = False
        self._rest = b""
        self._status: int | None = None

    def frames(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """The frames that are whole by now."""
        data = self._rest + data
        at = 0
        while len(data) - at >= _FRAME.size:
            kind, unit, size = _FRAME.unpack_from(data, at)
            start = at + _FRAME.size
            if len(data) - start < size:
                break
            at = start + size
            yield kind, unit, data[start:at]
        self._rest = data[at:]

    def fate(self) -> str:
        _, self._status = os.waitpid(self.child, 0)
        code = os.waitstatus_to_exitcode(self._status)
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def close(self) -> None:
        """End the worker, if it has not ended."""
        os.close(self.pipe)
        if self._status is None:
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
        self.backlog.close()


class Backlog:
    """Results that wait for their turn, first in, first out: the first ones in memory, those behind them in files.

    head: the number of the unit of the first one, None where there is none. size: bytes that wait.
    """

    def __init__(self, in_memory: int = IN_MEMORY, in_file: int = IN_FILE // 16) -> None:
        """in_memory: bytes held. in_file: bytes after which a new file begins, since only whole files go."""
        self.in_memory, self.in_file = in_memory, in_file
        self.size = 0
        self._items: deque[tuple[int, int, bytes]] = deque()
        self._held = 0
        self._files: deque[_Spill] = deque()

    @property
    def head(self) -> int | None:
        return self._items[0][0] if self._items else None

    def push(self, unit: int, kind: int, payload: bytes) -> None:
        size = _FRAME.size + len(payload)
        self.size += size
        if not self._files and (self._held + size <= self.in_memory or not self._items):
            self._items.append((unit, kind, payload))
            self._held += size
            return
        if not self._files or self._files[-1].written >= self.in_file:
            self._files.append(_Spill())
        self._files[-1].write(_FRAME.pack(kind, unit, len(payload)) + payload)

    def pop(self) -> tuple[int, bytes]:
        """(kind, bytes) of the first one."""
        _, kind, payload = self._items.popleft()
        size = _FRAME.size + len(payload)
        self.size -= size
        self._held -= size
        if not self._items and self._files:
            self._fetch()
        return kind, payload

    def _fetch(self) -> None:
        """Bring the next ones from the first file into memory."""
        spill = self._files[0]
        while spill.left and (not self._items or self._held < self.in_memory // 2):
            kind, unit, size = _FRAME.unpack(spill.read(_FRAME.size))
            self._items.append((unit, kind, spill.read(size)))
            self._held += _FRAME.size + size
        if not spill.left:
            self._files.popleft().close()

    def close(self) -> None:
        while self._files:
            self._files.popleft().close()


class _Spill:
    """A temporary file without a name, written at its end and read from its start."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._at = self.written = 0

    @property
    def left(self) -> int:
        return self.written - self._at

    def write(self, data: bytes) -> None:
        self._file.seek(self.written)
        self._file.write(data)
        self.written += len(data)

    def read(self, size: int) -> bytes:
        self._file.seek(self._at)
        self._at += size
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()
