"""`dissector streams` and what `dissector tree` adds: rows, text, JSON, -Y."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from dissector.errors import FilterError
from dissector.pipeline import dissect
from dissector.session.stream import Stream
from dissector.session.streams import KEEP_ALL, Streams
from dissector.views.filter import compile_filter
from dissector.views.streams import (
    FIELDS,
    joined_lines,
    row_line,
    stream_lines,
    stream_pieces,
    stream_row,
    stream_tree_lines,
)
from tests.conftest import LONG, ROOT
from tests.dissector.grammar.streams import contents
from tests.dissector.session.talk import DONE, Talk, got

UPLOAD = ROOT / "captures" / "upload-session.pcap"
INCREMENTAL = ROOT / "captures" / "contents-incremental.pcap"
CONTENTS = contents(2)


def streams_of(path: Any) -> list[Stream]:
    streams = Streams(KEEP_ALL)
    with dissect(path) as dissection:
        found = [one for exchange in dissection.exchanges() for one in streams.exchange(exchange).streams]
    return found + streams.finish()


@pytest.fixture(scope="module")
def uploaded() -> list[Stream]:
    return streams_of(UPLOAD)


def dissector(*arguments: object) -> str:
    command = [sys.executable, "-m", "dissector", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, cwd=ROOT, timeout=LONG, check=True).stdout.decode()


def test_rows_say_what_each_stream_was(uploaded: list[Stream]) -> None:
    lines = {one.number: " ".join(row_line(stream_row(one)).split()) for one in uploaded}
    assert lines[1] == (
        "1 1 0x3 contentsSync RopSynchronizationConfigure 69 12912 1 958 50 messages complete Inbox; "
        "uploaded: nothing yet (bootstrap); returned: IdsetGiven 50, CnsetSeen 109, CnsetSeenFAI 0, CnsetRead 102"
    )
    assert lines[2] == (
        "2 1 0x4 - RopSynchronizationOpenCollector 80-246 0 0 0 released Inbox; "
        "uploaded: IdsetGiven 50, CnsetSeen 109, CnsetSeenFAI 0, CnsetRead 102"
    )
    assert lines[3].endswith("Inbox; state of stream 2; returned: CnsetSeen 111, CnsetSeenFAI 1, CnsetRead 104")
    assert "IdsetDeleted 3, IdsetNoLongerInScope 2, IdsetRead 1, IdsetUnread 1" in lines[8]


def test_a_stream_that_is_not_whole_says_why() -> None:
    talk = Talk()
    streams = Streams(KEEP_ALL)
    for exchange in (talk.folder(), talk.configure(5), talk.get(5, got(CONTENTS[:500]))):
        streams.exchange(exchange)
    (found,) = streams.exchange(talk.release(5)).streams
    row = stream_row(found)
    assert (row.complete, row.why) == (False, "released before the transfer was done")
    assert "released before the transfer was done" in row_line(row)
    (head, line) = stream_lines([row])
    assert head.startswith("stream sess")
    assert line == row_line(row).rstrip()
    shown = list(stream_tree_lines(found))
    assert any("NO_CONTEXT" in one and "released before" in one for one in shown)


def test_members_are_those_of_the_contract(uploaded: list[Stream]) -> None:
    wanted = (ROOT / "docs" / "json.md").read_text().split("## Stream (")[1].split("```")[1]
    for found in uploaded:
        for name in json.loads("".join(stream_pieces(found))):
            assert f'"{name}"' in wanted


def test_trees_lead_to_frames_and_hold_every_byte(uploaded: list[Stream]) -> None:
    shown = json.loads("".join(stream_pieces(uploaded[-1], tree=True)))
    assert shown["tree"]["length"] == shown["bytes"] == 77218
    assert [one["property"] for one in shown["states"]] == list(shown["uploaded"])
    spans = shown["tree"]["spans"]
    assert sum(length for _, _, length in spans) == 77218
    assert {frame for frame, _, _ in spans} <= set(range(shown["first_frame"] - 5, shown["last_frame"] + 1))


def test_the_text_tree_is_that_of_the_whole(uploaded: list[Stream]) -> None:
    from dissector.views.text import tree_lines

    for found in uploaded:
        if found.size:
            shown = list(stream_tree_lines(found, states=False))
            whole = list(tree_lines(found.tree()))
            assert [line for line in shown if line in set(whole)] == whole


@pytest.mark.parametrize(
    ("expression", "numbers"),
    [
        ("stream == 3", [3]),
        ("root == state", [3, 5, 7]),
        ("RopSynchronizationOpenCollector", [2, 4, 6]),
        ("folder == Inbox and messages > 4", [1]),
        ('folder == "0001-00000000000b"', [5, 4]),
        ("not complete", []),
        ("bootstrap and direction == download", [1]),
        ("bytes >= 12912", [1, 8]),
        ("faults or why contains capture", []),
    ],
)
def test_expressions_choose_streams(uploaded: list[Stream], expression: str, numbers: list[int]) -> None:
    test = compile_filter(expression, FIELDS)
    assert [one.number for one in uploaded if test(stream_row(one))] == numbers


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(FilterError, match="no field is called 'summary'; there are stream, "):
        compile_filter("summary == x", FIELDS)


def test_what_becomes_whole_is_shown_with_its_exchange() -> None:
    talk = Talk()
    streams = Streams(KEEP_ALL)
    for exchange in (talk.folder(), talk.configure(5), talk.begin(5, 0x67960102, 0)):
        assert list(joined_lines(streams.exchange(exchange))) == []
    shown = list(joined_lines(streams.exchange(talk.end(5))))
    assert shown[0] == "State of stream 1  MetaTagCnsetSeen  0 bytes, frames 5-7"
    assert "bootstrap" in shown[1]
    last = talk.get(5, got(CONTENTS, DONE))
    shown = list(joined_lines(streams.exchange(last)))
    assert shown[0].startswith("Stream 1  contentsSync  session 1  handle 0x5  opened by RopSynchronizationConfigure")
    assert last.rops[0].response is not None
    carried = last.rops[0].response.node().find("TransferBuffer")
    assert carried.label == f"bytes 0-{len(CONTENTS) - 1} of stream 1 (contentsSync)"


def test_a_stream_that_is_too_long_says_where_it_is_shown() -> None:
    talk = Talk()
    streams = Streams(100)
    for exchange in (talk.folder(), talk.configure(5)):
        streams.exchange(exchange)
    shown = list(joined_lines(streams.exchange(talk.get(5, got(CONTENTS, DONE)))))
    assert any("dissector streams --tree -Y 'stream == 1'" in line for line in shown)


def test_the_command_lists_and_shows_trees() -> None:
    lines = dissector("streams", INCREMENTAL).splitlines()
    assert len(lines) == 3
    rows = [json.loads(line) for line in dissector("streams", INCREMENTAL, "-T", "jsonl").splitlines()]
    assert json.loads(dissector("streams", INCREMENTAL, "-T", "json")) == rows
    assert [row["messages"] for row in rows] == [4, 0]
    shown = dissector("streams", INCREMENTAL, "--tree", "-Y", "stream == 2", "--hex")
    assert "IncrSyncStateBegin" in shown
    assert "messageChange" not in shown
    assert "-- stream 2 (contentsSync), 208 bytes" in shown


@pytest.mark.parametrize("tree", [(), ("--tree",)])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((UPLOAD, "-Y", "stream == 99"), "none of 8 streams matches"),
        ((ROOT / "captures" / "notify.pcap",), "no stream in this capture"),
    ],
)
def test_where_no_stream_is_shown_it_says_so(arguments: tuple[Any, ...], words: str, tree: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "dissector", "streams", *map(str, arguments), *tree]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONG, check=True)
    assert done.stdout.splitlines()[-1] == words


def test_tree_shows_streams_unless_told_not_to() -> None:
    one = json.loads(dissector("tree", INCREMENTAL, "-T", "jsonl", "-Y", "exchange == 17"))
    assert [row["stream"] for row in one["streams"]] == [1]
    assert one["streams"][0]["tree"]["name"] == "contentsSync"
    (same,) = (
        json.loads(line)
        for line in dissector("streams", INCREMENTAL, "--tree", "-T", "jsonl", "-Y", "stream == 1").splitlines()
    )
    assert same["tree"] == one["streams"][0]["tree"]
    assert "Stream 1  contentsSync" in dissector("tree", INCREMENTAL, "-Y", "exchange == 17")
    assert "Stream 1  contentsSync" not in dissector("tree", INCREMENTAL, "-Y", "exchange == 17", "--no-streams")
    for command in (["tree", "-Y", "exchange == 17"], ["streams", "--tree", "-Y", "stream == 1"]):
        rows = dissector(*command, INCREMENTAL, "-T", "jsonl")
        nodes = dissector(*command, INCREMENTAL, "-T", "jsonl", "--nodes")
        assert rows.count('"rows":[') > 4
        assert '"rows"' not in nodes
        assert nodes.count('"name":"PidTagSubject"') > rows.count('"name":"PidTagSubject"') == 0
        assert rows.count('"PidTagSubject",') == nodes.count('"name":"PidTagSubject"')
    (state,) = json.loads(dissector("tree", INCREMENTAL, "-T", "jsonl", "-Y", "exchange == 7"))["states"]
    assert (state["property"], state["tree"]["label"]) == ("MetaTagIdsetGiven", "52 ids in 1 range, 1 replica")
