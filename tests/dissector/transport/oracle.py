"""tshark as an oracle: what it finds in a capture, in a form that compares with ours."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LONG


def tshark(path: Path, *arguments: str) -> str:
    """What tshark prints about a capture. Skips the test where there is no tshark."""
    program = shutil.which("tshark")
    if program is None:
        pytest.skip("tshark is not installed")
    command = [program, "-r", str(path), "-o", "tcp.reassemble_out_of_order:TRUE", *arguments]
    return subprocess.run(command, capture_output=True, check=True, timeout=LONG).stdout.decode()


def http_messages(path: Path) -> list[tuple[str, bytes]]:
    """(start line, decoded body) of every HTTP message, sorted."""
    out = tshark(path, "-d", "tcp.port==18080,http", "-Y", "http", "-T", "json", "-x", "-j", "http")
    messages: list[tuple[str, bytes]] = []
    for packet in json.loads(out, object_pairs_hook=_pairs) if out.strip() else []:
        for layer in _all(_one(_one(packet, "_source"), "layers"), "http"):
            line = next((name for name, value in layer if name.endswith("\\r\\n")), None)
            if line is not None:
                raw = _all(layer, "http.file_data_raw")
                messages.append((line.removesuffix("\\r\\n"), bytes.fromhex(raw[0][0]) if raw else b""))
    return sorted(messages)


Pairs = list[tuple[str, Any]]


def _pairs(pairs: Pairs) -> Pairs:
    """JSON objects as lists of pairs: tshark repeats keys."""
    return pairs


def _all(pairs: Pairs, key: str) -> list[Any]:
    return [value for name, value in pairs if name == key]


def _one(pairs: Pairs, key: str) -> Any:
    return _all(pairs, key)[0]
