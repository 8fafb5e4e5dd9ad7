"""`make bench`: tshark and the dissector in turn on the same generated files; medians and ratios.

CPU is user + system time of the whole process tree, memory the largest single process, both from the operating system.
tshark runs with tcp.reassemble_out_of_order:TRUE, since its default loses most messages of a reordered capture; it
decodes none of the ROPs in that time. FastTransfer decoding is measured by itself, on one long stream (tshark knows no
such thing), and so the dissector's trees are made without streams. Writes bench/RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.fasttransfer import STAGES, generate_stream
from bench.generate import generate

HERE = Path(__file__).parent
DATA = HERE / "data"
DISSECTOR = [sys.executable, "-m", "dissector"]
TSHARK = ["tshark", "-o", "tcp.reassemble_out_of_order:TRUE"]


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
    import time

    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return Run(usage.ru_utime + usage.ru_stime, time.perf_counter() - began, usage.ru_maxrss / 1024)


def cases(path: str) -> list[Case]:
    mine = [
        Case("dissector info", [*DISSECTOR, "info", path], "tshark -q -z http,tree"),
        Case("dissector list", [*DISSECTOR, "list", path], "tshark -V"),
        Case(
            "dissector tree -T jsonl --no-streams",
            [*DISSECTOR, "tree", path, "-T", "jsonl", "--no-streams"],
            "tshark -V",
        ),
    ]
    if shutil.which("tshark") is None:
        return mine
    return [
        Case("tshark -q -z http,tree", [*TSHARK, "-q", "-z", "http,tree", "-r", path]),
        Case("tshark -V", [*TSHARK, "-V", "-r", path]),
        *mine,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=200, help="megabytes of each generated capture")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", nargs="+", default=["mixed", "dense"], choices=["mixed", "dense"])
    parser.add_argument(
        "--stream", type=int, default=100, help="megabytes of the FastTransfer stream; a tenth when dense"
    )
    given = parser.parse_args()
    DATA.mkdir(exist_ok=True)
    lines = ["# Measurements", "", *about(given.size, given.rounds)]
    for kind in given.kinds:
        path = DATA / f"{kind}-{given.size}.pcap"
        if not path.exists():
            print(f"generating {path.name}", file=sys.stderr)
            generate(path, kind, given.size * 1_000_000)
        lines += table(cases(str(path)), f"{kind}: {path.stat().st_size / 1e6:.0f} MB", path, given.rounds)
    for kind in given.kinds:
        size = given.stream if kind == "mixed" else given.stream // 10
        path = DATA / f"{kind}-{size}.fts"
        if not path.exists():
            print(f"generating {path.name}", file=sys.stderr)
            generate_stream(path, kind, size * 1_000_000)
        title = f"FastTransfer stream, {kind}: {path.stat().st_size / 1e6:.0f} MB"
        lines += table(stream_cases(str(path)), title, path, given.rounds)
    text = "\n".join(lines) + "\n"
    (HERE / "RESULTS.md").write_text(text)
    print(text)


def stream_cases(path: str) -> list[Case]:
    return [Case(stage, [sys.executable, "-m", "bench.fasttransfer", stage, path]) for stage in STAGES]


def table(chosen: list[Case], title: str, path: Path, rounds: int) -> list[str]:
    runs: dict[str, list[Run]] = {case.label: [] for case in chosen}
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
        ratio = (
            f"{cpu[case.baseline] / cpu[case.label]:.1f} x faster than {case.baseline}" if case.baseline in cpu else ""
        )
        rows.append(
            f"| {case.label} | {cpu[case.label]:.2f} ({low:.2f}-{high:.2f}) | {median(run.wall for run in made):.2f} "
            f"| {size / cpu[case.label]:.0f} | {max(run.peak_mb for run in made):.0f} | {ratio} |"
        )
    return rows


def about(size: int, rounds: int) -> list[str]:
    version = "not installed"
    if shutil.which("tshark") is not None:
        said = subprocess.run(["tshark", "--version"], capture_output=True, text=True, check=False).stdout
        version = said.splitlines()[0] if said else version
    python = f"{platform.python_implementation()} {platform.python_version()}"
    machine = f"{os.cpu_count()} processors, {platform.machine()}"
    return [
        f"Generated captures of {size} MB, {rounds} rounds, commands in turn, medians.",
        f"{python}, {version}, {machine}.",
    ]


if __name__ == "__main__":
    main()
