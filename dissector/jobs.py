"""Work shared out among forked processes, with the results of one process in the same order.

One process reads and collects units of work into batches; for every batch a child is forked, which inherits it: no
object is ever sent. The child carries the batch out into a temporary file and ends, while the parent reads on. The
parent hands out the results batch by batch in their order.

What a unit gives must not depend on what is read after it. So a unit may only hold what stays as it is.
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
from time import process_time
from typing import IO, Generic, NoReturn, TypeVar

from dissector.errors import DissectorError

T = TypeVar("T")

MOST = 16
"""Jobs by default, at most."""
FIRST = 0.25
"""Seconds of work that the parent does itself before the first fork: most captures are small, children inherit what is
made ready once (compiled grammars), and it shows how long a unit takes."""
SHARE = 0.5
"""Seconds that a batch should take: a fork costs some hundredths, the more the more memory there is."""
WORTH = 0.1
"""Seconds that the largest batch must take at least; where work is done faster, forks cost more than they bring."""
LEAST, LARGEST, UNITS = 1 << 16, 8 << 20, 4096
"""Bounds of a batch: weight, and number of units. A unit takes three times its weight in memory (messages as framed,
bodies, payloads), in the parent until the fork, and after it in whichever process writes there.
"""
PIECE = 1 << 20
_SECONDS = struct.Struct("<d")


class WorkerLost(DissectorError):
    """A child has ended without a word."""


def available() -> int:
    """How many processors this process may use; 1 where processes cannot be forked."""
    if not hasattr(os, "fork"):
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Shared(Generic[T]):
    """Carries units out in up to `jobs` children at a time.

    units: (weight, unit) in order; a weight is in bytes, more or less. carry_out: gives the bytes of a batch of units.
    """

    def __init__(
        self, units: Iterable[tuple[int, T]], carry_out: Callable[[list[T]], Iterable[bytes]], jobs: int
    ) -> None:
        self._units, self._carry_out, self._jobs = units, carry_out, jobs
        self._children: deque[_Child] = deque()
        self._count = 0
        self._failure: BaseException | None = None
        self._seconds = 0.0
        """Of work in this process."""
        self._speed = 0.0
        """Weight that is done in a second, as the last batches showed."""

    def results(self) -> Generator[tuple[int, bytes], None, None]:
        """(number of the batch, bytes) in order.

        Raises what a unit or the reading raised, after all that came before it; WorkerLost. Closed early, it ends the
        children.
        """
        try:
            yield from self._run()
        finally:
            for child in self._children:
                child.close()
            self._children.clear()

    def _run(self) -> Generator[tuple[int, bytes], None, None]:
        batch: list[T] = []
        weight, full = 0, 0
        for size, unit in self._read():
            batch.append(unit)
            weight += size
            if weight < full and len(batch) < UNITS:
                continue
            if self._seconds < FIRST or self._speed * WORTH > LARGEST:
                yield from self._here(batch, weight)
            else:
                yield from self._free(self._jobs - 1)
                self._fork(batch, weight)
                full = int(min(max(self._speed * SHARE, LEAST), LARGEST))
            batch, weight = [], 0
        if self._children and batch:
            yield from self._free(self._jobs - 1)
            self._fork(batch, weight)
            yield from self._free(0)
        else:
            yield from self._here(batch, weight)
        if self._failure is not None:
            raise self._failure

    def _read(self) -> Iterator[tuple[int, T]]:
        """The units. What is raised while they are read waits until those before it are carried out."""
        try:
            yield from self._units
        except GeneratorExit:
            raise
        except BaseException as error:
            self._failure = error

    def _took(self, weight: int, seconds: float) -> None:
        speed = weight / max(seconds, 1e-6)
        self._speed = (self._speed + speed) / 2 if self._speed else speed

    def _here(self, batch: list[T], weight: int) -> Generator[tuple[int, bytes], None, None]:
        """Carry a batch out in this process, behind those of all children."""
        yield from self._free(0)
        number = self._count
        self._count += 1
        seconds, began = 0.0, process_time()
        for data in self._carry_out(batch):
            seconds += process_time() - began
            yield number, data
            began = process_time()
        seconds += process_time() - began
        self._seconds += seconds
        self._took(weight, seconds)

    def _fork(self, batch: list[T], weight: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._children.append(_Child.fork(self._count, weight, lambda: self._carry_out(batch)))
        self._count += 1

    def _free(self, most: int) -> Generator[tuple[int, bytes], None, None]:
        """Hand out what is ready, and wait until at most so many children are at work, and not too many are waiting."""
        while True:
            while self._children and self._children[0].ended:
                child = self._children[0]
                yield from ((child.number, data) for data in child.output())
                child.close()
                self._children.popleft()
                if child.failure is not None:
                    raise child.failure
                self._took(child.weight, child.seconds)
            at_work = [child for child in self._children if not child.ended]
            if len(at_work) <= most and len(self._children) <= 2 * most:
                return
            with selectors.DefaultSelector() as selector:
                for child in at_work:
                    selector.register(child.pipe, selectors.EVENT_READ, child)
                for key, _ in selector.select():
                    key.data.hear()


class _Child:
    """A process at work on one batch. ended: it is over with it; then failure: what it raised, seconds: of its work."""

    def __init__(self, number: int, weight: int, process: int, pipe: int, file: IO[bytes]) -> None:
        self.number, self.weight, self.process, self.pipe, self.file = number, weight, process, pipe, file
        self.ended = False
        self.seconds = 0.0
        self.failure: BaseException | None = None
        self._heard = b""

    @classmethod
    def fork(cls, number: int, weight: int, work: Callable[[], Iterable[bytes]]) -> _Child:
        file = tempfile.TemporaryFile()  # noqa: SIM115
        ours, theirs = os.pipe()
        gc.freeze()  # the child is not to copy all pages by looking for garbage in them
        process = os.fork()
        if not process:
            cls._work(work, file, theirs)
        gc.unfreeze()
        os.close(theirs)
        return cls(number, weight, process, ours, file)

    @staticmethod
    def _work(work: Callable[[], Iterable[bytes]], file: IO[bytes], pipe: int) -> NoReturn:
        """The child's life. Its last words are how long it worked, and what went wrong, if something did."""
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children
            failure = b""
            began = process_time()
            try:
                with file:
                    for data in work():
                        file.write(data)
            except BaseException as error:
                failure = _pickled(error)
            with os.fdopen(pipe, "wb") as out:
                out.write(_SECONDS.pack(process_time() - began) + failure)
        finally:
            os._exit(0)

    def hear(self) -> None:
        """Read from its pipe, which is ready. Raises WorkerLost."""
        data = os.read(self.pipe, PIECE)
        self._heard += data
        if data:
            return
        self.ended = True
        _, status = os.waitpid(self.process, 0)
        self.process = 0
        if not self._heard:
            code = os.waitstatus_to_exitcode(status)
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            self.failure = WorkerLost(f"a process that shared the work {how}; --jobs 1 works without")
            return
        self.seconds = _SECONDS.unpack_from(self._heard)[0]
        if len(self._heard) > _SECONDS.size:
            said = pickle.loads(self._heard[_SECONDS.size :])  # by a process of our own
            self.failure = said if isinstance(said, BaseException) else RuntimeError(said)

    def output(self) -> Iterable[bytes]:
        self.file.seek(0)
        return iter(lambda: self.file.read(PIECE), b"")

    def close(self) -> None:
        """End it, if it has not ended."""
        os.close(self.pipe)
        self.file.close()
        if self.process:
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)


def _pickled(error: BaseException) -> bytes:
    """An exception, with where it was raised if it is none of those that are told in one line."""
    try:
        data = pickle.dumps(error)
        pickle.loads(data)
    except Exception:
        return pickle.dumps("".join(traceback.format_exception(error)))
    if not isinstance(error, DissectorError):
        error.add_note("in a process that shared the work:\n" + "".join(traceback.format_exception(error)))
        data = pickle.dumps(error)
    return data
