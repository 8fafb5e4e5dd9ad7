"""A bad capture for every rule: a recorded conversation with one thing wrong in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.dissector.diagnose import bad_calls, bad_syncs
from tests.dissector.diagnose.edit import Tape

BAD: dict[str, Callable[[], Tape | bytes]] = bad_syncs.BAD | bad_calls.BAD
"""By rule: what makes it fire."""

HOW: dict[str, str] = bad_syncs.HOW | bad_calls.HOW
"""By rule: what is wrong in its bad capture."""

HOLE = {"capture-damaged", "stream-has-holes", "packets-missing"}
ALONG: dict[str, set[str]] = {
    "stream-breaks-grammar": {"given-lost-valid-id"},
    "done-without-state": {"stream-breaks-grammar"},
    "import-retried-unchanged": {"import-refused"},
    "null-object": {"state-upload-refused"},
    "session-reopened": {"response-code", "state-upload-broken", "stream-aborted"},
    "call-retried": {"http-status"},
    "capture-damaged": HOLE,
    "stream-has-holes": HOLE,
    "packets-missing": HOLE,
}
"""By rule: which others its bad capture makes fire as well, since one thing follows from the other."""


def write(name: str, folder: Path) -> Path:
    """The bad capture of a rule as a file."""
    made = BAD[name]()
    path = folder / f"{name}.pcap"
    if isinstance(made, bytes):
        path.write_bytes(made)
        return path
    return made.write(path)
