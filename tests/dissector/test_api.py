"""The Python interface, and the examples of its documentation."""

from __future__ import annotations

import doctest
import io
import subprocess
import sys

import pytest

from dissector import open_capture
from dissector.errors import CaptureError, DissectorError
from tests.conftest import ROOT

UPLOAD = ROOT / "captures" / "upload-session.pcap"


def test_the_documented_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = doctest.testfile(str(ROOT / "docs" / "api.md"), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
    assert result.attempted > 15


def test_a_file_can_be_read_again_and_again() -> None:
    with open_capture(UPLOAD) as capture:
        first = sum(1 for _ in capture.exchanges())
        assert first == sum(1 for _ in capture.exchanges()) == 114
        assert sum(1 for _ in capture.rops()) == 112


def test_a_stream_once_only() -> None:
    capture = open_capture(io.BytesIO(UPLOAD.read_bytes()))
    assert [record.number for record in capture.synchronizations()] == [1, 2, 3, 4, 5]
    with pytest.raises(DissectorError, match="only once"):
        list(capture.exchanges())


def test_what_is_no_capture() -> None:
    with pytest.raises(CaptureError):
        open_capture(ROOT / "pyproject.toml")


def test_importing_the_package_costs_nothing() -> None:
    code = "import dissector, sys; print(len([one for one in sys.modules if one.startswith('dissector.')]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "0"
