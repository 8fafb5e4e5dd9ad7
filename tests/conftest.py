"""What all tests share: the place of the shared captures, vectors and facts, skipped with a reason where absent."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("ours", deadline=None)  # how long an example takes says nothing of the code: machines differ
settings.load_profile("ours")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", action="store_true", help="rewrite the golden files instead of comparing")
    parser.addoption("--both", action="store_true", help="every reading is done compiled and interpreted, and compared")


def pytest_configure(config: pytest.Config) -> None:
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
