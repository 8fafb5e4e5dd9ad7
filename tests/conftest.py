"""What all tests share: the place of the shared captures, vectors and facts, skipped with a reason where absent."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says nothing of the code: machines differ. The examples of `ours` are the same everywhere
# and every time; those of `more`, which `make fuzz` uses, are new ones, and many more.
ALWAYS = HealthCheck.too_slow
settings.register_profile(
    "ours", deadline=None, derandomize=True, database=None, print_blob=True, suppress_health_check=[ALWAYS]
)
settings.register_profile("more", settings.get_profile("ours"), derandomize=False, max_examples=2000)
settings.load_profile("ours")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


LOOKS = (
    "COLUMNS",
    "LINES",
    "FORCE_COLOR",
    "NO_COLOR",
    "PY_COLORS",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
    "TERMINAL_WIDTH",
    "GITHUB_ACTIONS",
)
"""Variables by which Rich and Typer tell how wide and colourful help and usage errors are. Tests set what they test."""


def rounds(count: int) -> int:
    """So many times under the profile `ours`; under another one as many more as that has."""
    return count * settings.default.max_examples // settings.get_profile("ours").max_examples


def examples(count: int, *suppressed: HealthCheck) -> settings:
    """A property test's settings: so many examples (see rounds), without these health checks."""
    return settings(max_examples=rounds(count), suppress_health_check=(ALWAYS, *suppressed))


LONG = 300.0
"""Seconds after which something has failed for certain: machines are slow, and busy with other things."""


def until(condition: Callable[[], object]) -> None:
    """Wait for something that has to come."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.005)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", action="store_true", help="rewrite the golden files instead of comparing")
    parser.addoption("--both", action="store_true", help="every reading is done compiled and interpreted, and compared")


def pytest_configure(config: pytest.Config) -> None:
    for name in LOOKS:
        os.environ.pop(name, None)
    if config.getoption("--both"):
        from tests.dissector.grammar.compiler.both import install

        install()


def shared(*parts: str) -> Path:
    """A file or folder under ../shared; skips the test, saying why, when it is absent."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"../shared/{'/'.join(parts)} is not on this machine", allow_module_level=True)
    return path


def captures_in(*folders: str) -> list[Path]:
    """Every capture file in these folders of ../shared/captures; empty where they are absent."""
    found = [path for folder in folders for path in sorted((SHARED / "captures" / folder).glob("*"))]
    endings = (".pcap", ".pcapng", ".pcapng.gz", ".trace")
    return [path for path in found if path.name.endswith(endings)]


@pytest.fixture(name="shared")
def shared_fixture():  # type: ignore[no-untyped-def]
    return shared


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Processes that a test starts heed SIGINT, though we may not: what a shell runs in its background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
