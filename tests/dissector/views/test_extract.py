"""Streams in files: what is written, and that nothing is ever written over."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dissector.decode import decode_bytes
from dissector.errors import DissectorError
from dissector.session.streams import KEEP_ALL, Streams
from dissector.views.extract import Extractor
from tests.conftest import LONG, ROOT, shared
from tests.dissector.grammar.streams import contents, full_change, stream
from tests.dissector.session.talk import DONE, Talk, got
from tests.dissector.views.test_streams import streams_of

INCREMENTAL = ROOT / "captures" / "contents-incremental.pcap"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("extract") / "deeper" / "still"
    extractor = Extractor(made)
    for one in streams_of(INCREMENTAL):
        extractor.stream(one)
    assert extractor.written == len(list(made.iterdir()))
    return made


def test_the_bytes_are_those_the_client_received(folder: Path) -> None:
    expected = shared("captures", "gromox", "expected", "contents-incremental")
    assert (folder / "stream-1-contentsSync.fts").read_bytes() == (expected / "incremental.fts").read_bytes()
    assert (folder / "stream-2-contentsSync.fts").read_bytes() == (expected / "incremental-noop.fts").read_bytes()


def test_states_are_those_the_client_kept(folder: Path) -> None:
    expected = shared("captures", "gromox", "expected", "contents-incremental")
    for number, name in ((1, "incremental"), (2, "incremental-noop")):
        text = (folder / f"stream-{number}-contentsSync.state.json").read_bytes()
        kept = json.loads((expected / f"{name}.state.json").read_text())
        assert {tag: one["bytes"] for tag, one in json.loads(text).items()} == kept
        assert decode_bytes("state", text).children[0].label == "51 ids in 2 ranges, 1 replica"
    went_up = json.loads((folder / "stream-2-uploaded.state.json").read_text())
    assert went_up["40170003"]["sets"] == {
        "00000001-18a5-6f7b-bcdc-ea1ed03c5657": ["0x30000-0x30009", "0x3000D-0x30035"]
    }
    assert went_up["40170003"]["ids"] == 51


def test_messages_are_one_file_each(folder: Path) -> None:
    names = sorted(path.name for path in folder.glob("stream-1-contentsSync-*.json"))
    assert names == [f"stream-1-contentsSync-{number:05}.json" for number in range(1, 5)]
    assert list(folder.glob("stream-2-contentsSync-*.json")) == []
    one = json.loads((folder / names[2]).read_text())
    assert (one["stream"], one["number"], one["kind"]) == (1, 3, "full")
    properties = {entry["name"]: entry for entry in one["properties"]}
    assert properties["PidTagMessageClass"]["value"] == "IPM.Note"
    assert {entry["name"] for entry in one["header"]} >= {"PidTagSourceKey", "PidTagPredecessorChangeList"}
    assert len(one["recipients"]) == 3
    assert all("PidTagRowid" in {entry["name"] for entry in row} for row in one["recipients"])


def test_everything_a_message_may_hold(tmp_path: Path) -> None:
    talk = Talk()
    streams = Streams(KEEP_ALL)
    for exchange in (talk.folder(), talk.configure(5)):
        streams.exchange(exchange)
    (found,) = streams.exchange(talk.get(5, got(contents(1), DONE))).streams
    Extractor(tmp_path).stream(found)
    full = json.loads((tmp_path / "stream-1-contentsSync-00001.json").read_text())
    named = next(one for one in full["properties"] if "set" in one)
    assert (named["set"], named["key"]) == ("00062008-0000-0000-c000-000000000046", 0x8005)
    assert full["attachments"][1]["embedded"]["properties"][0]["value"] == "inner"
    partial = json.loads((tmp_path / "stream-1-contentsSync-00002.json").read_text())
    assert [one["group"] for one in partial["groups"]] == [0, 0xFFFFFFFF]


def test_a_stream_with_holes_gives_what_is_whole(tmp_path: Path) -> None:
    data = stream(full_change("a"), full_change("b"))
    talk = Talk()
    streams = Streams(KEEP_ALL)
    streams.exchange(talk.get(5, got(data[30:])))
    Extractor(tmp_path).stream(streams.finish()[0])
    assert (tmp_path / "stream-1-contentsSync.fts").read_bytes() == data[30:]
    (one,) = tmp_path.glob("*.json")
    shown = json.loads(one.read_text())
    assert {entry["value"] for entry in shown["properties"] if entry["name"] == "PidTagSubject"} == {"b"}


def test_a_stream_that_nobody_knows_is_its_bytes(tmp_path: Path) -> None:
    talk = Talk()
    streams = Streams(KEEP_ALL)
    streams.exchange(talk.get(5, got(b"\1\2\3")))
    Extractor(tmp_path).stream(streams.finish()[0])
    assert [path.name for path in tmp_path.iterdir()] == ["stream-1-unknown.fts"]


def test_no_file_is_written_over(tmp_path: Path) -> None:
    kept = tmp_path / "stream-1-contentsSync.fts"
    kept.write_bytes(b"mine")
    command = [sys.executable, "-m", "dissector", "streams", str(INCREMENTAL), "--extract", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=LONG, check=False)
    assert done.returncode == 2
    assert "is there already" in done.stderr.decode()
    assert str(kept) in done.stderr.decode()
    assert len(done.stderr.decode().splitlines()) == 1
    assert kept.read_bytes() == b"mine"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DissectorError, match="file"):
        Extractor(tmp_path / "file" / "below")


def test_the_command_makes_the_folder_and_counts(tmp_path: Path) -> None:
    target = tmp_path / "out"
    command = [sys.executable, "-m", "dissector", "streams", str(INCREMENTAL), "--extract", str(target)]
    done = subprocess.run([*command, "-Y", "stream == 2"], capture_output=True, cwd=ROOT, timeout=LONG, check=False)
    assert done.returncode == 0
    assert sorted(path.name for path in target.iterdir()) == [
        "stream-2-contentsSync.fts", "stream-2-contentsSync.state.json", "stream-2-uploaded.state.json",
    ]  # fmt: skip
    assert "3 files written" in done.stderr.decode()
