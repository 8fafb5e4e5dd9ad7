"""Rows come while the file is read, and memory does not grow with it."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.generate import generate
from dissector.capture.native import NativeCapture
from dissector.cli.output import emit
from dissector.pipeline import dissect
from dissector.session.streams import Streams
from dissector.views.json import exchange_pieces
from dissector.views.rows import rows_of
from dissector.views.table import list_lines
from dissector.views.text import exchange_lines
from tests.conftest import LONG, ROOT

NOTIFY = ROOT / "captures" / "notify.pcap"
SIZE = 96_000_000
HEADROOM_MB = 60
"""What a command may need for a capture of SIZE more than for one of 18 KB: less than the file has."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("streaming")
    path = folder / "large.pcap"
    generate(path, "mixed", SIZE)
    assert path.stat().st_size > 0.95 * SIZE
    yield path
    shutil.rmtree(folder)


def list_rows(dissection: Any) -> Iterator[str]:
    lines = list_lines((row for exchange in dissection.exchanges() for row in rows_of(exchange)), False)
    next(lines)  # the heading
    return lines


def trees_as_text(dissection: Any) -> Iterator[str]:
    return (line for exchange in dissection.exchanges() for line in exchange_lines(exchange))


def trees_as_json(dissection: Any) -> Iterator[str]:
    return ("".join(exchange_pieces(exchange)) for exchange in dissection.exchanges())


@pytest.mark.parametrize("lines", [list_rows, trees_as_text, trees_as_json])
def test_the_first_line_comes_when_little_of_the_file_was_read(
    large: Path, lines: Callable[[Any], Iterator[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = 0
    walk = NativeCapture.segments

    def watched(self: NativeCapture, lanes: Any = None) -> Iterator[Any]:
        nonlocal reached
        for segment in walk(self, lanes):
            reached = segment[6]
            yield segment

    monkeypatch.setattr(NativeCapture, "segments", watched)
    with dissect(large) as dissection:
        shown = lines(dissection)
        assert next(shown)
        assert 0 < reached < 0.001 * SIZE
        places = [reached for _ in shown]
    quarters = [sum(place < part * SIZE / 4 for place in places) / len(places) for part in (1, 2, 3)]
    assert all(abs(quarter - part / 4) < 0.1 for part, quarter in enumerate(quarters, 1)), quarters


def test_streams_come_when_they_end(large: Path) -> None:
    """Those of the generated capture end near its end; a part of what is kept is of streams that are open."""
    joiner = Streams(keep=1 << 10)
    with dissect(large) as dissection:
        done = [stream for exchange in dissection.exchanges() for stream in joiner.exchange(exchange).streams]
    assert len(done) == 20
    assert all(stream.complete and stream.kept is None for stream in done)
    assert joiner.finish() == []


def test_lines_are_written_at_once_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    class Out:
        def __init__(self) -> None:
            self.parts: list[str] = []
            self.flushed = 0

        def write(self, text: str) -> None:
            self.parts.append(text)

        def flush(self) -> None:
            self.flushed = sum(part.count("\n") for part in self.parts)

        def isatty(self) -> bool:
            return False

    out = Out()
    monkeypatch.setattr(sys, "stdout", out)
    held: list[int] = []

    def numbered(count: int, length: int) -> Iterator[str]:
        for number in range(count):
            held.append(number - out.flushed)
            yield f"{number}".rjust(length)

    emit(numbered(2000, 10))
    assert held[:4] == [0, 0, 1, 0]
    assert 100 < max(held) < 300
    assert "".join(out.parts).split() == [str(number) for number in range(2000)]
    out.parts, out.flushed = [], 0
    held.clear()
    emit(numbered(20, 100_000))
    assert max(held) == 0


MEASURE = """
import json, resource, subprocess, sys
with open(sys.argv[1], "rb") as given:
    done = subprocess.run(sys.argv[2:], stdin=given, stdout=subprocess.PIPE)
print(json.dumps([done.returncode, len(done.stdout), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""
"""In a small process of its own: a child's peak begins with the memory of the process that it was forked from."""


def peak(path: Path, *arguments: str) -> tuple[float, int]:
    """Peak memory of a command in MB, and the size of its output; its standard input is the file."""
    command = [sys.executable, "-c", MEASURE, path, sys.executable, "-m", "dissector", *arguments]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=LONG, check=True)
    code, size, kilobytes = json.loads(done.stdout)
    assert code == 0, done.stderr.decode()
    return kilobytes / (1 << 20 if sys.platform == "darwin" else 1 << 10), size


@pytest.mark.skipif(sys.platform == "win32", reason="the system does not tell a process's peak memory here")
@pytest.mark.parametrize(
    "command",
    [["list"], ["list", "-T", "jsonl"], ["info"], ["tree", "--no-streams", "-j1"], ["tree", "--no-streams", "-j2"]],
    ids=" ".join,
)
def test_memory_does_not_grow_with_the_file(large: Path, command: list[str]) -> None:
    small, _ = peak(NOTIFY, *command, str(NOTIFY))
    needed, size = peak(NOTIFY, *command, str(large))
    assert size > (20_000 if command[0] != "info" else 500)
    assert needed < 150
    assert needed - small < HEADROOM_MB


@pytest.mark.skipif(sys.platform == "win32", reason="the system does not tell a process's peak memory here")
def test_a_pipe_and_a_gzipped_file_need_no_more(large: Path) -> None:
    small, _ = peak(NOTIFY, "info", "-")
    needed, _ = peak(large, "info", "-")
    assert needed - small < HEADROOM_MB
    packed = large.with_suffix(".gz")
    with large.open("rb") as plain, gzip.open(packed, "wb", compresslevel=1) as out:
        shutil.copyfileobj(plain, out, 1 << 20)
    needed, _ = peak(NOTIFY, "info", str(packed))
    assert needed - small < HEADROOM_MB
