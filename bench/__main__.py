"""`make bench`: tshark and the dissector in turn on the same generated files; medians and ratios.

CPU is user + system time of the whole process tree, memory the largest single process, both from the operating system.
tshark runs with tcp.reassemble_out_of_order:TRUE, since its default loses most messages of a reordered capture; it
decodes none of the ROPs in that time. Every command runs once before it is measured, so that files are in the cache and
Python's bytecode is there, as it is for who has used the program before. Writes bench/RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import floor
from bench.fasttransfer import STAGES, generate_stream
from bench.generate import generate
from bench.replay import section as replay_section

HERE = Path(__file__).parent
DATA = HERE / "data"
DISSECTOR = [sys.executable, "-m", "dissector"]
TSHARK = ["tshark", "-o", "tcp.reassemble_out_of_order:TRUE"]
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONDEVMODE")
}
TREE, HTTP_TREE, LIST = "tshark -V", "tshark -q -z http,tree", "dissector list"


@dataclass(frozen=True)
class Case:
    """A command on one input; baseline: the label of the command it is compared with."""

    label: str
    command: list[str]
    baseline: str = ""


@dataclass
class Run:
    cpu: float
    wall: float
    peak_mb: float


def measure(command: list[str]) -> Run:
    """Run once with output thrown away. Raises RuntimeError where the command fails."""
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    _, status, usage = os.wait4(child.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return Run(usage.ru_utime + usage.ru_stime, time.perf_counter() - began, usage.ru_maxrss / 1024)


def cases(path: str) -> list[Case]:
    tree = [*DISSECTOR, "tree", path, "-T", "jsonl", "--jobs", "1"]
    mine = [
        Case("capture to messages", [sys.executable, "-m", "bench.messages", path], HTTP_TREE),
        Case("dissector info", [*DISSECTOR, "info", path], TREE),
        Case(LIST, [*DISSECTOR, "list", path], TREE),
        Case("dissector diagnose", [*DISSECTOR, "diagnose", path], LIST),
        Case("dissector tree -T jsonl --no-streams", [*tree, "--no-streams"], TREE),
        Case("dissector tree -T jsonl", tree, TREE),
        Case("the same with --jobs 2", [*tree[:-1], "2"], TREE),
    ]
    if shutil.which("tshark") is None:
        return mine
    return [
        Case(HTTP_TREE, [*TSHARK, "-q", "-z", "http,tree", "-r", path]),
        Case(TREE, [*TSHARK, "-V", "-r", path]),
        *mine,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=200, help="megabytes of each generated capture")
    parser.add_argument("--large", type=int, default=1000, help="megabytes of one more mixed capture; 0: none")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=["mixed", "dense"], choices=["mixed", "dense"])
    parser.add_argument(
        "--stream", type=int, default=100, help="megabytes of the FastTransfer stream; a tenth when dense"
    )
    given = parser.parse_args()
    DATA.mkdir(exist_ok=True)
    lines = ["# Measurements", "", *about(given.rounds)]
    sizes = [(kind, given.size) for kind in given.kinds] + ([("mixed", given.large)] if given.large else [])
    for kind, size in sizes:
        path = made(f"{kind}-{size}.pcap", kind, size)
        title = f"{kind}: {path.stat().st_size / 1e6:.0f} MB"
        lines += table(cases(str(path)), title, path, given.rounds)
    if given.large:
        lines += ["", *first_row(path, given.rounds)]
    for kind in given.kinds:
        size = given.stream if kind == "mixed" else given.stream // 10
        path = DATA / f"{kind}-{size}.fts"
        if not path.exists():
            print(f"generating {path.name}", file=sys.stderr)
            generate_stream(path, kind, size * 1_000_000)
        title = f"FastTransfer stream, {kind}: {path.stat().st_size / 1e6:.0f} MB"
        lines += table(stream_cases(str(path)), title, path, given.rounds)
    lines += ["", *against_the_floor(given.rounds)]
    lines += replay_section(given.rounds)
    text = "\n".join(lines) + "\n"
    (HERE / "RESULTS.md").write_text(text)
    print(text)


def made(name: str, kind: str, size: int) -> Path:
    """A generated capture of so many megabytes."""
    path = DATA / name
    if not path.exists():
        print(f"generating {name}", file=sys.stderr)
        generate(path, kind, size * 1_000_000)
    return path


def first_row(path: Path, rounds: int) -> Iterator[str]:
    """How long the first row of a list takes, against the same of a capture of a few frames: that is the start-up."""
    small = HERE.parent / "captures" / "notify.pcap"
    waits: dict[Path, list[float]] = {small: [], path: []}
    for _ in range(rounds):
        for one, found in waits.items():
            began = time.perf_counter()
            with subprocess.Popen(
                [*DISSECTOR, "list", str(one)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT
            ) as child:
                assert child.stdout is not None
                child.stdout.readline()  # the heads of the columns
                child.stdout.readline()
                found.append(time.perf_counter() - began)
                child.kill()
    start, whole = median(waits[small]), median(waits[path])
    yield f"## First row of {path.stat().st_size / 1e6:.0f} MB"
    yield ""
    yield f"{whole:.3f} s after the command was given; of a capture of 20 KB (start-up) {start:.3f} s: "
    yield f"{max(whole - start, 0):.3f} s for reading."


def against_the_floor(rounds: int) -> Iterator[str]:
    """See bench/floor.py."""
    path = DATA / "dense-8.fts"
    if not path.exists():
        generate_stream(path, "dense", 8_000_000)
    found = floor.compare(path, rounds)
    yield "## FastTransfer, a property of the dense stream"
    yield ""
    yield "| reading | microseconds of CPU |"
    yield "|---|---|"
    yield f"| hand-written loop, values only, nothing checked | {found['floor']:.2f} |"
    yield f"| annotated rows, compiled from the grammar | {found['annotated']:.2f} |"
    yield f"| the same grammar interpreted, with offsets | {found['interpreted']:.2f} |"
    yield ""
    yield f"Annotated is {found['annotated'] / found['floor']:.2f} times the hand-written loop, "
    yield f"and {found['interpreted'] / found['annotated']:.1f} times faster than interpreted."


def stream_cases(path: str) -> list[Case]:
    return [Case(stage, [sys.executable, "-m", "bench.fasttransfer", stage, path]) for stage in STAGES]


def table(chosen: list[Case], title: str, path: Path, rounds: int) -> list[str]:
    runs: dict[str, list[Run]] = {case.label: [] for case in chosen}
    for case in chosen:
        measure(case.command)
    for number in range(rounds):
        for case in chosen:
            print(f"{title} round {number + 1}/{rounds}: {case.label}", file=sys.stderr)
            runs[case.label].append(measure(case.command))
    cpu = {label: median(run.cpu for run in made) for label, made in runs.items()}
    size = path.stat().st_size / 1e6
    rows = [
        "", f"## {title}", "",
        "| command | CPU s (min-max) | wall s | MB/s of CPU | peak MB | CPU ratio |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for case in chosen:
        made = runs[case.label]
        low, high = min(run.cpu for run in made), max(run.cpu for run in made)
        ratio = ratio_text(cpu[case.baseline] / cpu[case.label], case.baseline) if case.baseline in cpu else ""
        rows.append(
            f"| {case.label} | {cpu[case.label]:.2f} ({low:.2f}-{high:.2f}) | {median(run.wall for run in made):.2f} "
            f"| {size / cpu[case.label]:.0f} | {max(run.peak_mb for run in made):.0f} | {ratio} |"
        )
    return rows


def ratio_text(ratio: float, baseline: str) -> str:
    return f"{ratio:.1f} x faster than {baseline}" if ratio >= 1 else f"{1 / ratio:.2f} x the time of {baseline}"


def about(rounds: int) -> list[str]:
    version = "not installed"
    if shutil.which("tshark") is not None:
        said = subprocess.run(["tshark", "--version"], capture_output=True, text=True, check=False).stdout
        version = said.splitlines()[0] if said else version
    python = f"{platform.python_implementation()} {platform.python_version()}"
    machine = f"{os.cpu_count()} processors, {platform.machine()}"
    return [
        f"Generated captures, {rounds} rounds, commands in turn, medians.",
        f"{python}, {version}, {machine}.",
    ]


if __name__ == "__main__":
    main()
