"""Any bytes: a damaged capture is told of, explained and diagnosed without an exception. Seeded."""

from __future__ import annotations

import io
import random
from pathlib import Path
from unittest import mock

import pytest

from dissector import diagnose
from dissector.diagnose import Diagnosis
from dissector.diagnose.compare import compare, gather
from dissector.diagnose.life import lives
from dissector.diagnose.sessions import session_stories
from dissector.errors import CaptureError
from dissector.pipeline import dissect
from dissector.session.sync import records
from dissector.session.timeline import timelines
from dissector.views.explain import life_lines
from dissector.views.findings import finding_lines
from dissector.views.json import dumps
from dissector.views.sessions import session_lines
from dissector.views.state import state_lines, timeline_json
from dissector.views.sync import sync_json, sync_lines, with_origins
from tests.conftest import ROOT
from tests.dissector.diagnose import bad
from tests.test_mutations import mutated

ROUNDS = 12
NAMES = ["contents-incremental", "hierarchy-bootstrap", "upload-session"]


def all_of_it(data: bytes) -> int:
    """Run every view over a capture; the number of lines."""
    try:
        with dissect(io.BytesIO(data), engine="native") as dissection:
            exchanges = list(dissection.exchanges())
            findings = []
            for allowance in (diagnose.EXACT, 0):
                with mock.patch.object(diagnose, "EXACT", allowance):
                    diagnosis = Diagnosis()
                findings += [one for exchange in exchanges for one in diagnosis.exchange(exchange)]
                findings += diagnosis.finish(dissection)
    except CaptureError:
        return 0
    found = list(records(exchanges))
    told = list(with_origins(found))
    lines = [*session_lines(session_stories(exchanges), handles=True)]
    lines += [*finding_lines(findings), *sync_lines(told, most=None), *state_lines(timelines(found))]
    lines += [dumps(sync_json(*pair)) for pair in told] + [dumps(timeline_json(line)) for line in timelines(found)]
    for wanted in ("0x30034", "e"):
        lines += life_lines(lives(found, wanted))
    with dissect(io.BytesIO(data), engine="native") as dissection:
        side = gather(dissection)
    assert compare(side, side) == []
    return len(lines)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_captures(name: str) -> None:
    data = (ROOT / "captures" / f"{name}.pcap").read_bytes()
    assert all_of_it(data) > 10
    rng = random.Random(name)
    for _ in range(ROUNDS):
        all_of_it(mutated(data, rng))


@pytest.mark.parametrize("name", bad.BAD)
def test_bad_captures(name: str, tmp_path: Path) -> None:
    """The bad captures through every view; in the middle of them, too."""
    data = bad.write(name, tmp_path).read_bytes()
    assert all_of_it(data) >= 1
    all_of_it(data[:24] + data[24 + len(data) // 3 :])


@pytest.mark.parametrize("name", NAMES)
def test_bytes_of_rops_flipped(name: str) -> None:
    """Damage where it hurts: in the bodies, so that framing stays whole."""
    path = ROOT / "captures" / f"{name}.pcap"
    rng = random.Random(name)
    data = path.read_bytes()
    with dissect(path) as dissection:
        places = []
        records_at = [0]
        at = 24
        while at < len(data):
            records_at.append(at + 16)
            at += 16 + int.from_bytes(data[at + 8 : at + 12], "little")
        for exchange in dissection.exchanges():
            for buffer in (*exchange.request_buffers, *exchange.response_buffers):
                places += [(records_at[one.frame] + one.offset, one.length) for one in
                           buffer.source.locate(0, len(buffer.source.data))]  # fmt: skip
    for _ in range(ROUNDS * 2):
        made = bytearray(data)
        for _ in range(rng.randrange(1, 12)):
            start, length = rng.choice(places)
            made[start + rng.randrange(length)] = rng.randrange(256)
        all_of_it(bytes(made))
