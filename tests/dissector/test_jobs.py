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
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from dissector import jobs
from dissector.cli import app
from dissector.errors import CaptureError
from dissector.jobs import Shared, WorkerLost
from tests.conftest import LONG, ROOT, captures_in, examples, until

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here"),
    # Python 3.12 warns where there are other threads: those of the test's own worker do nothing in a child.
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]

BUNDLED = sorted((ROOT / "captures").glob("*.pcap"))
EVERYTHING = BUNDLED + captures_in("gromox", "real", "encrypted", "formats")
TABLES = ROOT / "captures" / "tables-lzx.pcap"


Work = Callable[[], Iterable[bytes]]


@pytest.fixture(autouse=True)
def shared_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small work is shared out too, in batches of a few units."""
    monkeypatch.setattr(jobs, "FIRST", 0.0)
    monkeypatch.setattr(jobs, "WORTH", 0.0)
    monkeypatch.setattr(jobs, "UNITS", 3)


def unit(number: int, pieces: int, size: int, pause: float = 0.0) -> Iterator[bytes]:
    time.sleep(pause)
    for piece in range(pieces):
        yield f"{number}.{piece}".encode().ljust(size, b"x") + b" "


def carry_out(batch: list[Work]) -> Iterator[bytes]:
    for work in batch:
        yield from work()


def shared(units: Iterable[Work], count: int) -> Shared[Work]:
    return Shared(((1, one) for one in units), carry_out, count)


def words_of(work: Shared[Work]) -> tuple[list[bytes], BaseException | None]:
    """The words that came out, and what was raised then."""
    made = b""
    last = 0
    error: BaseException | None = None
    try:
        with closing(work.results()) as results:
            for number, data in results:
                assert number >= last
                last = number
                made += data
    except BaseException as raised:
        error = raised
    return made.split(), error


@examples(20, HealthCheck.function_scoped_fixture)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 100, 70_000]), st.sampled_from([0.0, 0.002]))))
def test_every_unit_once_and_in_order(units: list[tuple[int, int, float]]) -> None:
    made, error = words_of(shared((partial(unit, number, *one) for number, one in enumerate(units)), 3))
    assert error is None
    assert made == b" ".join(b" ".join(unit(number, *one[:2])) for number, one in enumerate(units)).split()


def process(pause: float = 0.02) -> Iterator[bytes]:
    time.sleep(pause)
    yield f"{os.getpid()} ".encode()


def test_children_carry_the_work_out() -> None:
    made, _ = words_of(shared((process for _ in range(12)), 3))
    assert len(made) == 12
    assert str(os.getpid()).encode() not in made
    assert len(set(made)) == 5  # a batch has three units at most, the first has one


def test_what_is_done_faster_than_forked_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "FIRST", 1e-9)
    monkeypatch.setattr(jobs, "WORTH", 3600.0)
    made, _ = words_of(Shared(((1000, partial(process, 0.0)) for _ in range(12)), carry_out, 3))
    assert set(made) == {str(os.getpid()).encode()}


def test_the_first_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "FIRST", 3600.0)
    made, _ = words_of(shared((process for _ in range(12)), 3))
    assert set(made) == {str(os.getpid()).encode()}


def test_batches_grow_with_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "UNITS", 1 << 20)
    monkeypatch.setattr(jobs, "LEAST", 10)
    batches: list[int] = []

    def noted(batch: list[int]) -> Iterator[bytes]:
        yield str(len(batch)).encode()

    for _, data in Shared(((1, number) for number in range(100)), noted, 2).results():
        batches.append(int(data))
    assert sum(batches) == 100
    assert max(batches) >= 10


def test_no_batch_is_larger_than_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast the work is: a batch is in memory as a whole."""
    monkeypatch.setattr(jobs, "UNITS", 1 << 20)
    monkeypatch.setattr(jobs, "SHARE", 1e9)
    monkeypatch.setattr(jobs, "LARGEST", 20)

    def noted(batch: list[int]) -> Iterator[bytes]:
        yield str(len(batch)).encode()

    batches = [int(data) for _, data in Shared(((1, number) for number in range(100)), noted, 2).results()]
    assert sum(batches) == 100
    assert max(batches) == 20


def broken(number: int) -> Iterator[bytes]:
    yield b"begun "
    raise CaptureError(f"unit {number} is bad")


@pytest.mark.parametrize("count", [2, 4])
def test_what_a_unit_raises_comes_after_all_before_it(count: int) -> None:
    def units() -> Iterator[Work]:
        for number in range(20):
            yield partial(broken, number) if number == 7 else partial(unit, number, 1, 10, 0.001)

    made, error = words_of(shared(units(), count))
    assert made == [word for number in range(7) for word in b"".join(unit(number, 1, 10)).split()] + [b"begun"]
    assert isinstance(error, CaptureError)
    assert str(error) == "unit 7 is bad"


@pytest.mark.parametrize("error", [CaptureError("cut"), ValueError("odd"), KeyboardInterrupt()], ids=repr)
def test_what_the_reading_raises_is_raised_once_the_rest_is_out(error: BaseException) -> None:
    def units() -> Iterator[Work]:
        for number in range(5):
            yield partial(unit, number, 1, 10, 0.001)
        raise error

    made, raised = words_of(shared(units(), 2))
    assert len(made) == 5
    assert raised is error


def test_an_error_that_cannot_be_pickled_keeps_its_words() -> None:
    def odd() -> Iterator[bytes]:
        yield b""
        raise ValueError("one and two", odd)

    _, error = words_of(shared([odd, *[partial(unit, 0, 1, 1)] * 30], 2))
    assert isinstance(error, RuntimeError)
    assert "one and two" in str(error)
    assert "Traceback" in str(error)


def test_a_child_that_is_killed_is_told_of() -> None:
    def end() -> Iterator[bytes]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield b""

    def units() -> Iterator[Work]:
        for number in range(50):
            yield end if number == 13 else partial(unit, number, 1, 10, 0.001)

    made, error = words_of(shared(units(), 2))
    assert 10 <= len(made) <= 13
    assert isinstance(error, WorkerLost)
    assert "SIGKILL" in str(error)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_closing_early_ends_the_children(tmp_path: Path) -> None:
    def endless(number: int) -> Iterator[bytes]:
        if number >= 6:
            (tmp_path / str(os.getpid())).touch()
            time.sleep(3600)
        yield b"done "

    results = shared((partial(endless, number) for number in range(100)), 3).results()
    assert next(results)[1] == b"done "
    assert next(results)[1] == b"done done done "
    until(lambda: any(tmp_path.iterdir()))
    begun = list(tmp_path.iterdir())
    results.close()
    assert not any(alive(int(one.name)) for one in begun)


def test_the_reading_waits_for_the_children(tmp_path: Path) -> None:
    """Few batches are in memory, however fast the reading is."""
    read = 0

    def units() -> Iterator[Work]:
        nonlocal read
        for read in range(60):
            yield partial(unit, read, 1, 10, 0.005)

    ahead = []
    done = 0
    for _, data in shared(units(), 3).results():
        done += len(data.split())
        ahead.append(read - done)
    assert done == 60
    assert max(ahead) <= 3 * (2 * 2 + 2)


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


def test_a_pipe_that_closes_early_ends_quietly_and_ends_the_children() -> None:
    command = f"{sys.executable} -m dissector tree -j 2 --hex {TABLES} | head -n 3"
    done = subprocess.run(["sh", "-c", command], capture_output=True, cwd=ROOT, timeout=LONG, check=False)
    assert done.stderr == b""
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.usefixtures("interruptible")
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
        assert child.wait(LONG) == 130
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)
