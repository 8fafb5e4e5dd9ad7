"""tshark as the oracle of tests: what it says of a capture."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import shared

needs_tshark = pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")


def capture(name: str) -> Path:
    return shared("captures", *name.split("/"))


def tshark(path: Path, *arguments: str) -> str:
    command = ["tshark", "-n", "-r", str(path), "-o", "tcp.reassemble_out_of_order:TRUE", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def followed(path: Path, numbers: Iterable[int], *arguments: str, protocol: str = "tcp") -> dict[int, list[bytes]]:
    """What tshark shows of both directions of its streams; the second side is the indented one."""
    found: dict[int, list[bytes]] = {}
    wanted = [word for number in numbers for word in ("-z", f"follow,{protocol},raw,{number}")]
    sides: list[bytes] = []
    for line in tshark(path, "-q", *wanted, *arguments).splitlines() if wanted else ():
        if line.startswith("Filter: tcp.stream eq "):
            sides = found[int(line.split()[-1])] = [b"", b""]
        elif re.fullmatch(r"\t?([0-9a-f]{2})+", line):
            sides[line.startswith("\t")] += bytes.fromhex(line.strip())
    return found
