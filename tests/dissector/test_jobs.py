"""Work in several processes gives the bytes of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from dissector import jobs
from dissector.cli import app
from dissector.errors import CaptureError
from dissector.jobs import Backlog, Shared, WorkerLost
from tests.conftest import ROOT, captures_in

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")

BUNDLED = sorted((ROOT / "captures").glob("*.pcap"))
EVERYTHING = BUNDLED + captures_in("gromox", "real", "encrypted", "formats")
TABLES = ROOT / "captures" / "tables-lzx.pcap"


def unit(number: int, pieces: int, size: int, pause: float = 0.0) -> Iterator[bytes]:
    time.sleep(pause)
    for piece in range(pieces):
        yield (f"{number}.{piece} ".encode() * (size // 4 + 1))[:size]


def result(units: Callable[[], Iterable[Callable[[], Iterable[bytes]]]], count: int) -> list[tuple[int, bytes]]:
    """What each unit gave, in order."""
    made: list[tuple[int, bytes]] = []
    for number, data in Shared(units, count).results():
        if made and made[-1][0] == number:
            data = made.pop()[1] + data
        made.append((number, data))
    return made


def until_raised(work: Shared) -> tuple[list[int], BaseException | None]:
    """The units that gave something, and what was raised then."""
    made = []
    try:
        with closing(work.results()) as results:
            for number, _ in results:
                made.append(number)
    except BaseException as error:
        return made, error
    return made, None


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 100, 70_000]), st.sampled_from([0.0, 0.002]))))
def test_every_unit_once_and_in_order(units: list[tuple[int, int, float]]) -> None:
    made = result(lambda: (partial(unit, number, *one) for number, one in enumerate(units)), 3)
    wanted = [(number, b"".join(unit(number, *one[:2]))) for number, one in enumerate(units)]
    assert made == [one for one in wanted if one[1]]


def test_all_workers_take_part(tmp_path: Path) -> None:
    def note(number: int) -> Iterator[bytes]:
        time.sleep(0.02)
        yield str(os.getpid()).encode()

    made = result(lambda: (partial(note, number) for number in range(12)), 3)
    assert [number for number, _ in made] == list(range(12))
    assert len({data for _, data in made}) == 3
    assert str(os.getpid()).encode() not in {data for _, data in made}


def test_the_ending_is_that_of_a_worker() -> None:
    seen: list[int] = []

    def units() -> Iterator[Callable[[], Iterable[bytes]]]:
        for number in range(5):
            seen.append(number)
            yield partial(unit, number, 1, 1)

    work = Shared(units, 2, ending=lambda: bytes(seen))
    assert len(list(work.results())) == 5
    assert work.ending == bytes(range(5))
    assert seen == []


def test_the_first_worker_reports() -> None:
    told: list[tuple[int, int]] = []

    def units() -> Iterator[Callable[[], Iterable[bytes]]]:
        for number in range(3):
            work.report(number, 3)
            yield partial(unit, number, 1, 1)

    work = Shared(units, 2, progress=lambda done, total: told.append((done, total)))
    list(work.results())
    assert told == [(0, 3), (1, 3), (2, 3)]


def broken(number: int) -> Iterator[bytes]:
    yield b"begun"
    raise CaptureError(f"unit {number} is bad")


@pytest.mark.parametrize("count", [1, 2, 4])
def test_what_a_unit_raises_comes_after_all_before_it(count: int) -> None:
    def units() -> Iterator[Callable[[], Iterable[bytes]]]:
        for number in range(20):
            yield partial(broken, number) if number == 7 else partial(unit, number, 1, 10, 0.001)

    made, error = until_raised(Shared(units, count))
    assert made == list(range(8))
    assert isinstance(error, CaptureError)
    assert str(error) == "unit 7 is bad"


@pytest.mark.parametrize("error", [CaptureError("cut"), ValueError("odd"), KeyboardInterrupt()], ids=repr)
def test_what_the_reading_raises_is_raised_once_the_rest_is_out(error: BaseException) -> None:
    def units() -> Iterator[Callable[[], Iterable[bytes]]]:
        for number in range(5):
            yield partial(unit, number, 1, 10, 0.001)
        raise error

    made, raised = until_raised(Shared(units, 2))
    assert made == list(range(5))
    assert (type(raised), str(raised)) == (type(error), str(error))


def test_an_error_that_cannot_be_pickled_keeps_its_words() -> None:
    class Local(Exception):
        pass

    def units() -> Iterator[Callable[[], Iterable[bytes]]]:
        yield partial(unit, 0, 1, 1)
        raise Local("only here")

    with pytest.raises(RuntimeError, match="only here"):
        list(Shared(units, 2).results())


def test_a_worker_that_is_killed_is_told_of() -> None:
    def end(number: int) -> Iterator[bytes]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield b""

    def units() -> Iterator[Callable[[], Iterable[bytes]]]:
        for number in range(50):
            yield partial(end, number) if number == 3 else partial(unit, number, 1, 10, 0.001)

    with pytest.raises(WorkerLost, match="SIGKILL"):
        list(Shared(units, 2).results())


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_closing_early_ends_the_workers() -> None:
    def endless(number: int) -> Iterator[bytes]:
        while True:
            yield str(os.getpid()).encode().ljust(1000)

    results = Shared(lambda: (partial(endless, number) for number in range(4)), 3).results()
    first = int(next(results)[1])
    assert alive(first)
    results.close()
    assert not alive(first)


def test_one_that_is_ahead_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first unit takes until the other worker has more to give than may wait."""
    monkeypatch.setattr(jobs, "IN_FILE", 1 << 20)
    reader, writer = os.pipe()
    most = 0
    push = Backlog.push

    def watched(self: Backlog, number: int, kind: int, payload: bytes) -> None:
        nonlocal most
        push(self, number, kind, payload)
        most = max(most, self.size)
        if self.size > jobs.IN_FILE:
            os.write(writer, b"x")

    monkeypatch.setattr(Backlog, "push", watched)

    def slow() -> Iterator[bytes]:
        os.read(reader, 1)
        yield b"slow"

    def units() -> Iterator[Callable[[], Iterable[bytes]]]:
        yield slow
        for number in range(1, 100):
            yield partial(unit, number, 1, 100_000)

    made = result(units, 2)
    os.close(reader)
    os.close(writer)
    assert [number for number, _ in made] == list(range(100))
    assert sum(len(data) for _, data in made) == 99 * 100_000 + 4
    assert jobs.IN_FILE < most < jobs.IN_FILE + (2 << 20)


@given(st.lists(st.one_of(st.none(), st.integers(0, 60)), max_size=200), st.integers(1, 200), st.integers(1, 300))
def test_what_waits_is_first_in_first_out(steps: list[int | None], in_memory: int, in_file: int) -> None:
    """None takes one out, a number puts that many bytes in."""
    backlog = Backlog(in_memory, in_file)
    model: list[tuple[int, bytes]] = []
    for number, step in enumerate(steps):
        if step is not None:
            backlog.push(number, 0, bytes([number % 256]) * step)
            model.append((number, bytes([number % 256]) * step))
        elif model:
            assert backlog.head == model[0][0]
            assert backlog.pop()[1] == model.pop(0)[1]
        assert backlog.head == (model[0][0] if model else None)
        assert (backlog.size == 0) == (not model)
    for number, data in model:
        assert backlog.head == number
        assert backlog.pop() == (0, data)
    assert backlog.head is None
    assert backlog.size == 0
    backlog.close()


def output(*arguments: object) -> tuple[int, bytes]:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return done.exit_code, done.stdout_bytes


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_trees_and_verification_are_the_same_with_any_number_of_jobs(path: Path) -> None:
    for command in (["tree", "-T", "jsonl"], ["verify", "-T", "json"]):
        one = output(*command, path, "--engine", "native", "--jobs", 1)
        assert one[1] or command[0] == "tree"
        assert output(*command, path, "--engine", "native", "--jobs", 3) == one


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.name)
@pytest.mark.parametrize(
    "command",
    [
        ["tree"], ["tree", "--hex", "--no-streams"], ["tree", "-T", "json"], ["tree", "-T", "json", "-Y", "RopLogon"],
        ["tree", "-T", "json", "-Y", "frame == 0"], ["list", "-T", "json"], ["info"], ["verify"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_form_is_the_same_with_any_number_of_jobs(path: Path, command: list[str]) -> None:
    one = output(*command, path, "--jobs", 1)
    assert one[1]
    assert output(*command, path, "--jobs", 2) == one


def test_standard_input_is_shared_out_too() -> None:
    command = [sys.executable, "-m", "dissector", "tree", "-"]
    one, two = (
        subprocess.run([*command, "-j", count], input=TABLES.read_bytes(), capture_output=True, cwd=ROOT, check=True)
        for count in "12"
    )
    assert one.stdout == two.stdout
    assert two.stderr == b""


def test_what_the_file_ran_into_is_told_once(tmp_path: Path) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(TABLES.read_bytes()[:-100])
    one, two = (
        subprocess.run(
            [sys.executable, "-m", "dissector", "tree", "-j", count, cut], capture_output=True, cwd=ROOT, check=True
        )
        for count in "12"
    )
    assert (one.stdout, one.stderr) == (two.stdout, two.stderr)
    assert len(two.stderr.splitlines()) == 1


def test_a_pipe_that_closes_early_ends_quietly_and_ends_the_workers() -> None:
    command = f"{sys.executable} -m dissector tree -j 2 --hex {TABLES} | head -n 3"
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=ROOT, timeout=60, check=False)
    assert done.stderr == b""
    assert len(done.stdout.splitlines()) == 3


def test_an_interrupt_ends_all() -> None:
    """Output that nobody takes holds the command up until it is interrupted."""
    command = [sys.executable, "-m", "dissector", "tree", "-j", "3", "--hex", str(TABLES)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, process_group=0) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.read(10)
        os.killpg(child.pid, signal.SIGINT)
        assert child.stderr.read() == b""
        child.stdout.read()  # ends when no process has the pipe any more
        assert child.wait(30) == 130
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)
