"""From a path, a pipe or gzip to one map; and what is no capture."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dissector.capture import open_capture
from dissector.errors import CaptureError, EngineError
from tests.dissector.capture.frames import (
    FRAMES,
    pcap,
    pcapng_file,
    walk,
)


@pytest.mark.parametrize("content", [pcap(FRAMES), pcapng_file()], ids=["pcap", "pcapng"])
def test_gzip_and_streams(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(content)
    assert walk(packed, tmp_path / "x.gz")[1] == [b"abc"] * 6
    assert walk(packed, tmp_path / "x.gz")[2].compressed
    assert walk(gzip.compress(content[:500]) + gzip.compress(content[500:]), tmp_path / "two.gz")[1] == [b"abc"] * 6
    for given in (content, packed):
        with open_capture(io.BytesIO(given), engine="native") as capture:
            assert len(list(capture.segments())) == 6
        reader, writer = os.pipe()
        thread = threading.Thread(target=lambda given=given, writer=writer: (os.write(writer, given), os.close(writer)))
        thread.start()
        with os.fdopen(reader, "rb") as stream, open_capture(stream, engine="native") as capture:
            assert len(list(capture.segments())) == 6
        thread.join()
        for hand_over in ({"input": given}, {"stdin": (tmp_path / "plain").open("w+b")}):
            if file := hand_over.get("stdin"):
                file.write(given)
                file.seek(0)
            code = "from dissector.capture import open_capture\nprint(len(list(open_capture('-').segments())))"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, **hand_over)
            assert done.stdout.split() == [b"6"]
            if file:
                file.close()


def test_a_given_stream_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(FRAMES))
    with path.open("rb") as stream, open_capture(stream) as capture:
        assert len(list(capture.segments())) == 6
        assert not stream.closed


def test_a_cut_gzip_file_gives_what_it_holds(tmp_path: Path) -> None:
    content = pcap([os.urandom(800) for _ in range(200)])
    packed = gzip.compress(content)
    _, _, summary = walk(packed[: len(packed) // 2], tmp_path / "x.gz")
    assert 50 < summary.frames < 150
    assert any("gzip" in one.message for one in summary.diagnostics)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"\n", "no pcap"),
        (b"GET / HTTP/1.1\r\nHost: there\r\n", "no pcap"),
        (b"GMBU" + bytes(100), "Network Monitor"),
        (b'{"log": {}}', "JSON"),
        (gzip.compress(b"", mtime=0), "empty"),
        (gzip.compress(b"text", mtime=0), "no pcap"),
        (b"\x1f\x8b\x08", "gzip"),
    ],
)
def test_what_is_no_capture(content: bytes, word: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(content)
    with pytest.raises(CaptureError) as caught:
        open_capture(path)
    assert word in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.pcap", tmp_path):
        with pytest.raises(CaptureError, match=str(path)):
            open_capture(path)
    with pytest.raises(EngineError, match="magic"):
        open_capture(tmp_path, engine="magic")
