"""Any bytes: captures cut anywhere and flipped anywhere still list cleanly. Seeded, so a failure can be repeated."""

from __future__ import annotations

import io
import random
import time
import tracemalloc
from pathlib import Path

import pytest

from dissector.errors import CaptureError
from dissector.pipeline import dissect
from dissector.views.rows import rows_of
from tests.conftest import ROOT, captures_in, rounds

SMALL = 400_000
SOURCES = [
    path
    for path in [*sorted((ROOT / "captures").glob("*.pcap")), *captures_in("formats", "real", "encrypted")]
    if path.stat().st_size < SMALL
]
ROUNDS = rounds(60)
SECONDS_EACH = 20
"""No timing: a bound, of time that we use ourselves, that tells what grows beyond all measure from slow work."""

pytestmark = pytest.mark.mutated


def mutated(data: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return data[: rng.randrange(len(data))]
    made = bytearray(data)
    for _ in range(1 if kind == 1 else rng.randrange(1, 30)):
        made[rng.randrange(len(made))] = rng.randrange(256)
    if kind == 3:
        at = rng.randrange(len(made))
        del made[at : at + rng.randrange(1, 200)]
    return bytes(made)


def list_everything(data: bytes) -> int:
    """What `dissector list` does, without printing. Returns the number of rows; a refused capture has none."""
    try:
        with dissect(io.BytesIO(data), engine="native") as dissection:
            return sum(1 for exchange in dissection.exchanges() for _ in rows_of(exchange))
    except CaptureError:
        return 0


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_damaged_capture_lists_cleanly(path: Path) -> None:
    data = path.read_bytes()
    rng = random.Random(path.name)
    for number in range(ROUNDS if len(data) < 100_000 else ROUNDS // 3):
        began = time.process_time()
        list_everything(mutated(data, rng))
        assert time.process_time() - began < SECONDS_EACH, f"round {number} of {path.name} hangs"


def test_trees_of_damaged_captures_keep_every_byte() -> None:
    from dissector.verify import tiling_faults

    rng = random.Random(7)
    data = (ROOT / "captures" / "tables-lzx.pcap").read_bytes()
    trees = 0
    for _ in range(25):
        try:
            with dissect(io.BytesIO(mutated(data, rng)), engine="native") as dissection:
                for exchange in dissection.exchanges():
                    for tree in exchange.trees():
                        trees += 1
                        assert list(tiling_faults(tree)) == []
                        assert not any(
                            found.severity.value == "BUG" for node in tree.walk() for found in node.diagnostics
                        )
        except CaptureError:
            continue
    assert trees > 200


def test_memory_stays_bounded() -> None:
    rng = random.Random(3)
    data = (ROOT / "captures" / "upload-session.pcap").read_bytes()
    tracemalloc.start()
    try:
        for _ in range(5):
            list_everything(mutated(data, rng))
        assert tracemalloc.get_traced_memory()[1] < 40 * len(data) + 50_000_000
    finally:
        tracemalloc.stop()
