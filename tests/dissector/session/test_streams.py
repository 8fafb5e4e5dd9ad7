"""Joining: real captures against what the client received, and every way a transfer can go, made by hand."""

from __future__ import annotations

import gc
import io
import json
import random
import shutil
import weakref
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.errors import CaptureError
from dissector.grammar.fasttransfer import MARKERS
from dissector.grammar.icstree import trace_stream
from dissector.node import Node, Severity, Undecoded
from dissector.pipeline import dissect
from dissector.session.exchange import Exchange
from dissector.session.stream import StateUpload, Stream
from dissector.session.streams import KEEP_ALL, Joined, Streams
from dissector.source import ByteSource
from dissector.verify import tiling_faults
from tests.conftest import ROOT, examples, shared
from tests.dissector.grammar.streams import REAL, contents, elements, full_change, real, stream
from tests.dissector.session.talk import (
    DONE,
    ERROR,
    GET,
    NO_ROOM,
    PARTIAL,
    PUT,
    Talk,
    got,
    put,
    request,
    response,
)  # fmt: skip
from tests.test_mutations import mutated

CONTENTS = contents(3)
STATE = elements("IncrSyncStateBegin", "IncrSyncStateEnd")


def joined(exchanges: list[Exchange], keep: int = KEEP_ALL) -> tuple[list[Stream], list[StateUpload]]:
    """The streams in order of opening, and the states."""
    streams = Streams(keep)
    results = [streams.exchange(exchange) for exchange in exchanges]
    found = [one for result in results for one in result.streams] + streams.finish()
    return sorted(found, key=lambda one: one.number), [one for result in results for one in result.states]


def only(*exchanges: Exchange, keep: int = KEEP_ALL) -> Stream:
    streams, _ = joined(list(exchanges), keep)
    assert len(streams) == 1
    return streams[0]


def shape(node: Node) -> list[tuple[Any, ...]]:
    return [(one.name, one.offset, one.length, repr(one.value), one.diagnostics) for one in node.walk()]


def unread(node: Node) -> list[tuple[int, int, Severity]]:
    return [
        (one.offset, one.length, one.diagnostics[0].severity)
        for one in node.walk()
        if isinstance(one.value, Undecoded) and one.diagnostics
    ]


# ---------------------------------------------------------------------------------------------- real captures


EXPECTED = {
    "contents-bootstrap": ["contents", None],
    "contents-incremental": ["incremental", "incremental-noop"],
    "copyto": ["copyto", "copymessages", "copyfolder"],
    "hierarchy-bootstrap": ["hierarchy", "hierarchy-again"],
    "onepass": ["onepass-ipm", "onepass-inbox"],
    "upload-session": ["upload-before", None, None, None, None, None, None, "upload-after"],
}
"""The joined streams of each capture, in order; None: a state or a collector, of which the client kept no bytes."""


@pytest.fixture(scope="module", params=sorted(EXPECTED))
def recorded(request: pytest.FixtureRequest) -> tuple[str, list[Stream], list[StateUpload], dict[int, Exchange]]:
    path = shared("captures", "gromox", f"{request.param}.pcap")
    with dissect(path) as dissection:
        exchanges = list(dissection.exchanges())
    return request.param, *joined(exchanges), {one.number: one for one in exchanges}


def test_real_streams_are_what_the_client_received(recorded: Any) -> None:
    name, streams, _, _ = recorded
    assert len(streams) == len(EXPECTED[name])
    for found, expected in zip(streams, EXPECTED[name], strict=True):
        assert found.complete
        assert found.why == ""
        assert found.account.faults == []
        if expected is not None:
            assert found.source().data == real(f"{name}/{expected}")
            assert found.root == REAL[f"{name}/{expected}"]


def test_real_states_are_what_the_client_kept(recorded: Any) -> None:
    """The state at the end of a stream is the one the client wrote down; what it uploads is one it had before."""
    name, streams, _, _ = recorded
    folder = shared("captures", "gromox", "expected", name)
    for found, expected in zip(streams, EXPECTED[name], strict=True):
        path = folder / f"{expected}.state.json"
        if expected is None or not path.exists():
            continue
        kept = {int(tag, 16): bytes.fromhex(data) for tag, data in json.loads(path.read_text()).items()}
        tree = found.tree()
        state = [node for node in tree.walk() if node.name == "state" and node.children][-1]
        sent = {
            one.children[0].value: one.find("PropertyValue").data[4:] for one in state.children if one.children
        }  # fmt: skip
        assert sent == kept


def test_the_state_that_goes_up_is_the_one_that_came_down() -> None:
    with dissect(shared("captures", "gromox", "hierarchy-bootstrap.pcap")) as dissection:
        _, states = joined(list(dissection.exchanges()))
    first, again = [one for one in states if one.stream == 1], [one for one in states if one.stream == 2]
    assert [one.name for one in first] == ["MetaTagIdsetGiven", "MetaTagCnsetSeen"]
    assert all(one.bootstrap and one.size == 0 and not one.why for one in first)
    kept = json.loads(
        shared("captures", "gromox", "expected", "hierarchy-bootstrap", "hierarchy.state.json").read_text()
    )
    assert [one.source().data.hex() for one in again] == list(kept.values())
    assert not any(one.bootstrap for one in again)


def test_every_byte_of_a_real_stream_leads_to_a_buffer_that_carried_it(recorded: Any) -> None:
    _, streams, _, exchanges = recorded
    for found in streams:
        source = found.source()
        assert sum(buffer.length for buffer in found.buffers) == len(source) == found.size
        for buffer in found.buffers:
            spans = source.locate(buffer.offset, buffer.length)
            assert sum(span.length for span in spans) == buffer.length
            carrier = exchanges[buffer.exchange].call.response
            assert carrier is not None
            assert max(span.frame for span in spans) <= carrier.frame == buffer.frame
            held = source.data[buffer.offset : buffer.offset + buffer.length]
            assert any(held in payload.data for payload in carrier.payloads)


def test_real_streams_and_states_decode_to_the_last_byte(recorded: Any) -> None:
    _, streams, states, _ = recorded
    trees = [*(one.tree() for one in streams if one.size), *(one.tree() for one in states)]
    for tree in trees:
        assert list(tiling_faults(tree)) == []
        assert unread(tree) == []
        assert {found.severity for node in tree.walk() for found in node.diagnostics} <= {Severity.NOTE}


def test_counts_agree_with_the_trees(recorded: Any) -> None:
    _, streams, _, _ = recorded
    for found in streams:
        names = [node.name for node in found.tree().walk()] if found.size else []
        wanted = names.count("messageChange") + names.count("message") + (found.root == "messageContent")
        assert found.account.messages == wanted
        assert found.account.folders == names.count("folderChange") + (found.root == "topFolder")
        assert found.account.cut == 0


def test_the_first_real_context_by_name() -> None:
    with dissect(ROOT / "captures" / "contents-incremental.pcap") as dissection:
        streams, _ = joined(list(dissection.exchanges()))
    first = streams[0]
    assert (first.number, first.handle, first.direction, first.root) == (1, 2, "download", "contentsSync")
    assert first.opened_by == "RopSynchronizationConfigure"
    assert (first.exchange, first.frame) == (4, 19)
    assert (str(first.folder), first.folder_name) == ("0001-00000000000d", "Inbox")
    assert first.options["SynchronizationType"] == "Contents"
    assert "Progress" in first.options["SynchronizationFlags"]
    assert [one.name for one in first.states] == [
        "MetaTagIdsetGiven", "MetaTagCnsetSeen", "MetaTagCnsetSeenFAI", "MetaTagCnsetRead",
    ]  # fmt: skip
    assert {name: one.idset.count for name, one in first.account.sets["deletions"].items()} == {
        "MetaTagIdsetDeleted": 1,
        "MetaTagIdsetNoLongerInScope": 2,
    }


def test_the_state_of_a_collector_belongs_to_it() -> None:
    with dissect(ROOT / "captures" / "upload-session.pcap") as dissection:
        streams, _ = joined(list(dissection.exchanges()))
    assert [one.direction for one in streams] == ["download", *(["collector", "download"] * 3), "download"]
    assert [one.of for one in streams] == [None, None, 2, None, 4, None, 6, None]
    assert [one.root for one in streams if one.of is not None] == ["state"] * 3


# ------------------------------------------------------------------------------------------------- by hand


def test_buffers_of_several_calls_and_of_a_chain_are_one_stream() -> None:
    talk = Talk()
    found = only(
        talk.folder(), talk.configure(5),
        talk.get(5, got(CONTENTS[:10]), got(CONTENTS[10:100]), got(CONTENTS[100:101], NO_ROOM)),
        talk.get(5, got(CONTENTS[101:], DONE, done=9)),
    )  # fmt: skip
    assert found.source().data == CONTENTS
    assert [(one.offset, one.length, one.status) for one in found.buffers] == [
        (0, 10, PARTIAL), (10, 90, PARTIAL), (100, 1, NO_ROOM), (101, len(CONTENTS) - 101, DONE),
    ]  # fmt: skip
    assert [(one.done, one.total) for one in found.buffers][-1] == (9, 9)
    assert (found.complete, found.why, found.gaps) == (True, "", [])
    assert (str(found.folder), found.root, found.account.messages) == ("0001-00000000000d", "contentsSync", 4)
    assert (found.first_frame, found.last_frame) == (6, 8)
    assert [span.frame for span in found.source().locate(100, 2)] == [6, 8]


def test_packed_responses_count_before_a_release_in_the_same_call() -> None:
    talk = Talk()
    asked = request(GET, BufferSize=0xBABE, MaximumBufferSize=31680) + request("RopRelease")
    found = only(
        talk.folder(), talk.configure(5),
        talk.call(asked, (5,), got(CONTENTS[:50]), got(CONTENTS[50:], DONE)),
    )  # fmt: skip
    assert found.source().data == CONTENTS
    assert found.complete


def test_two_contexts_interleaved() -> None:
    talk = Talk()
    hierarchy = stream(STATE, "IncrSyncEnd")
    streams, _ = joined([
        talk.folder(), talk.configure(5), talk.configure(6, kind=2),
        talk.get(5, got(CONTENTS[:70])), talk.get(6, got(hierarchy[:5])), talk.get(5, got(CONTENTS[70:], DONE)),
        talk.get(6, got(hierarchy[5:], DONE)),
    ])  # fmt: skip
    assert [one.source().data for one in streams] == [CONTENTS, hierarchy]
    assert [one.root for one in streams] == ["contentsSync", "hierarchySync"]
    assert all(one.complete for one in streams)


@pytest.mark.parametrize(
    ("name", "kind", "root"),
    [
        ("RopFastTransferSourceCopyTo", "folder", "folderContent"),
        ("RopFastTransferSourceCopyTo", "message", "messageContent"),
        ("RopFastTransferSourceCopyTo", "attachment", "attachmentContent"),
        ("RopFastTransferSourceCopyTo", None, None),
        ("RopFastTransferSourceCopyProperties", "message", "messageContent"),
        ("RopFastTransferSourceCopyMessages", "folder", "messageList"),
        ("RopFastTransferSourceCopyFolder", "folder", "topFolder"),
        ("RopSynchronizationGetTransferState", "sync-download", "state"),
    ],
)
def test_the_root_follows_from_the_rop_and_the_object(name: str, kind: str | None, root: str | None) -> None:
    talk = Talk()
    fields = {
        "RopFastTransferSourceCopyTo": {"Level": 0, "CopyFlags": 0, "SendOptions": 1, "PropertyTags": []},
        "RopFastTransferSourceCopyProperties": {"Level": 0, "CopyFlags": 0, "SendOptions": 1, "PropertyTags": []},
        "RopFastTransferSourceCopyMessages": {"MessageIds": [], "CopyFlags": 0, "SendOptions": 1},
        "RopFastTransferSourceCopyFolder": {"CopyFlags": 0, "SendOptions": 1},
    }.get(name, {})
    before = talk.folder()
    assert before.session is not None
    if kind is None:
        del before.session.objects[2]
    else:
        before.session.objects[2].kind = kind
    found = only(before, talk.opens(name, 2, 5, **fields), talk.get(5, got(b"", DONE)))
    assert (found.root, found.opened_by, found.complete) == (root, name, True)


@pytest.mark.parametrize(
    ("operation", "kind", "root"),
    [(1, "message", "messageContent"), (2, "folder", "folderContent"), (3, "folder", "messageList"),
     (4, "folder", "topFolder")],
)  # fmt: skip
def test_an_upload_is_what_the_server_took(operation: int, kind: str, root: str) -> None:
    talk = Talk()
    data = bytes(range(200))
    before = talk.folder()
    assert before.session is not None
    before.session.objects[2].kind = kind
    extended = "RopFastTransferDestinationPutBufferExtended"
    found = only(
        before, talk.opens("RopFastTransferDestinationConfigure", 2, 5, SourceOperation=operation, CopyFlags=0),
        talk.put(5, data[:100], put(60)), talk.put(5, data[60:160], put(100)),
        talk.put(5, data[160:], put(40, name=extended), name=extended), talk.release(5),
    )  # fmt: skip
    assert (found.direction, found.root) == ("upload", root)
    assert found.source().data == data
    assert [(one.offset, one.length, one.sent) for one in found.buffers] == [
        (0, 60, 100),
        (60, 100, 100),
        (160, 40, 40),
    ]
    assert found.buffers[0].frame == 5


def test_a_good_upload_is_complete_when_it_is_released_and_a_short_one_is_not() -> None:
    for data, complete, why in (
        (stream("StartMessage", "EndMessage"), True, ""),
        (stream("StartMessage"), False, "the stream ends inside message; expected"),
    ):
        talk = Talk()
        found = only(
            talk.folder(), talk.opens("RopFastTransferDestinationConfigure", 2, 5, SourceOperation=3, CopyFlags=0),
            talk.put(5, data, put(len(data))), talk.release(5),
        )  # fmt: skip
        assert found.complete is complete
        assert found.why.startswith(why)


def test_an_upload_that_fails_says_so_and_one_unanswered_is_taken_as_used() -> None:
    talk = Talk()
    data = stream("StartMessage", "EndMessage")
    found = only(
        talk.folder(), talk.opens("RopFastTransferDestinationConfigure", 2, 5, SourceOperation=3, CopyFlags=0),
        talk.put(5, data[:4], captured=False), talk.put(5, data[4:], put(2, 0x80004005)),
    )  # fmt: skip
    assert found.source().data == data[:6]
    assert found.assumed == 1
    assert [(one.rop, one.code) for one in found.failures] == [(PUT, 0x80004005)]
    assert not found.complete


def test_backing_off_and_failing_once_do_not_end_a_download() -> None:
    talk = Talk()
    busy = response(GET, 0x480, TransferStatus=0, InProgressCount=0, TotalStepCount=0, BackoffTime=1500)
    found = only(
        talk.folder(), talk.configure(5), talk.get(5, busy), talk.get(5, got(CONTENTS[:9])),
        talk.get(5, got(b"", ERROR, 0x80004005)), talk.get(5, got(CONTENTS[9:], DONE)),
    )  # fmt: skip
    assert (found.backoffs, found.backoff_ms) == (1, 1500)
    assert [(one.exchange, one.code) for one in found.failures] == [(5, 0x80004005)]
    assert found.source().data == CONTENTS
    assert found.complete


def test_a_download_that_fails_and_is_released() -> None:
    talk = Talk()
    found = only(
        talk.folder(), talk.configure(5), talk.get(5, got(CONTENTS[:60])), talk.get(5, got(b"", ERROR, 0x80004005)),
        talk.release(5),
    )  # fmt: skip
    assert (found.complete, found.why) == (False, f"released after {GET} failed")
    tree = found.tree()
    assert [one[2] for one in unread(tree)] == [Severity.NO_CONTEXT]
    assert not any(one.severity is Severity.MALFORMED for node in tree.walk() for one in node.diagnostics)


@pytest.mark.parametrize("ending", ["release", "nothing", "disconnect", "reuse"])
def test_a_download_that_stops_half_way(ending: str) -> None:
    talk = Talk()
    exchanges = [talk.folder(), talk.configure(5), talk.get(5, got(CONTENTS[:300]))]
    if ending == "release":
        exchanges.append(talk.release(5))
    elif ending == "disconnect":
        exchanges.append(talk.call(None, (), name="Disconnect"))
    elif ending == "reuse":
        exchanges.append(talk.folder(5))
    found = only(*exchanges)
    assert not found.complete
    assert (
        found.why
        == {
            "release": "released before the transfer was done",
            "nothing": "the capture ends before the transfer does",
            "disconnect": "the session was closed before the transfer was done",
            "reuse": "its handle was given to another object",
        }[ending]
    )
    assert found.source().data == CONTENTS[:300]
    assert found.account.messages == 1


def test_a_context_of_which_nothing_was_fetched() -> None:
    talk = Talk()
    found = only(talk.folder(), talk.configure(5), talk.release(5))
    assert (found.size, found.complete, found.why) == (0, False, "released before anything was fetched")


def test_a_handle_that_is_used_again_is_another_stream() -> None:
    talk = Talk()
    streams, _ = joined([
        talk.folder(), talk.configure(5), talk.get(5, got(CONTENTS, DONE)), talk.release(5), talk.configure(5),
        talk.get(5, got(stream(STATE))), talk.get(5, got(stream("IncrSyncEnd"), DONE)),
    ])  # fmt: skip
    assert [(one.number, one.size) for one in streams] == [(1, len(CONTENTS)), (2, len(stream(STATE)) + 4)]
    assert all(one.complete for one in streams)


def test_asking_once_more_behind_the_last_buffer_is_no_stream() -> None:
    talk = Talk()
    found = only(
        talk.folder(), talk.configure(5), talk.get(5, got(CONTENTS, DONE)), talk.get(5, got(b"", DONE)), talk.release(5)
    )
    assert found.complete


def test_bytes_behind_the_last_buffer_are_a_stream_of_their_own() -> None:
    talk = Talk()
    streams, _ = joined([
        talk.folder(), talk.configure(5), talk.get(5, got(CONTENTS, DONE)), talk.get(5, got(b"abc", DONE)),
    ])  # fmt: skip
    assert [one.size for one in streams] == [len(CONTENTS), 3]
    assert streams[1].root is None
    assert "stream 1 of this context was done before" in streams[1].why


# ----------------------------------------------------------------------------------------- missing bytes


def test_a_stream_whose_start_is_missing_is_read_from_where_an_element_begins() -> None:
    data = stream(full_change("one"), full_change("two"), full_change("three"), STATE, "IncrSyncEnd")
    second = len(stream(full_change("one")))
    talk = Talk()
    found = only(talk.get(5, got(data[40:100])), talk.get(5, got(data[100:], DONE)))
    assert (found.root, found.inferred, found.opened_by, found.handle) == ("contentsSync", True, "", 5)
    assert (found.complete, found.why) == (False, "the capture does not show how this transfer began")
    assert found.account.messages == 2
    assert found.account.skipped == second - 40
    tree = found.tree()
    assert unread(tree) == [(0, second - 40, Severity.NO_CONTEXT)]
    assert [node.name for node in tree.children] == [
        "Undecoded",
        "messageChange",
        "messageChange",
        "state",
        "IncrSyncEnd",
    ]
    assert list(tiling_faults(tree)) == []
    assert tree.diagnostics[0].severity is Severity.NOTE


def test_what_breaks_at_the_end_is_no_matter_of_a_start_that_is_missing() -> None:
    data = stream(full_change("one"), full_change("two"), "IncrSyncStateBegin")
    talk = Talk()
    found = only(talk.get(5, got(data[40:] + b"\3\0\7", DONE)))
    assert [(length, severity) for _, length, severity in unread(found.tree())][1:] == [(3, Severity.MALFORMED)]


def test_a_stream_whose_start_is_missing_and_that_tells_nothing_stays_closed() -> None:
    talk = Talk()
    found = only(talk.get(5, got(bytes(range(256)) * 3, DONE)))
    assert (found.root, found.account.elements, found.account.skipped) == (None, 0, 768)
    assert unread(found.tree()) == [(0, 768, Severity.NO_CONTEXT)]


def test_a_state_seen_makes_no_start() -> None:
    talk = Talk()
    found = only(talk.begin(5, 0x40170003, 0), talk.end(5), talk.get(5, got(CONTENTS, DONE)))
    assert (found.direction, found.root, found.inferred) == ("download", "contentsSync", True)
    assert found.account.messages == 4


def test_a_lost_response_is_a_hole_and_reading_goes_on_behind_it() -> None:
    data = stream(*(full_change(f"{number}") for number in range(6)), STATE, "IncrSyncEnd")
    size = len(stream(full_change("0")))
    talk = Talk()
    found = only(
        talk.folder(), talk.configure(5), talk.get(5, got(data[: size + 20])), talk.get(5, captured=False),
        talk.get(5, got(data[3 * size + 50 :], DONE)),
    )  # fmt: skip
    assert found.gaps[0].offset == size + 20
    assert (found.complete, found.why) == (False, "the response to the request in frame 7 was not captured")
    assert found.account.messages == 4
    assert found.account.cut == 1
    tree = found.tree()
    assert [severity for _, _, severity in unread(tree)] == [Severity.NO_CONTEXT, Severity.NO_CONTEXT]
    assert [node.name for node in tree.children].count("messageChange") == 4
    assert list(tiling_faults(tree)) == []
    assert found.account.faults == []


def test_a_damaged_response_is_a_hole_behind_what_could_be_read() -> None:
    talk = Talk()
    found = only(
        talk.folder(), talk.configure(5), talk.get(5, got(CONTENTS[:90]), damaged=True),
        talk.get(5, got(CONTENTS[200:], DONE)),
    )  # fmt: skip
    assert [gap.offset for gap in found.gaps] == [90]
    assert found.why == "the response in frame 6 is damaged"


def test_an_unreadable_response_is_a_hole() -> None:
    talk = Talk()
    found = only(talk.folder(), talk.configure(5), talk.get(5, got(CONTENTS[:90])[:-20]))
    assert [gap.offset for gap in found.gaps] == [0]
    assert found.why == "the response in frame 6 cannot be read; nothing was fetched"


def test_a_server_that_carried_nothing_out_leaves_no_hole() -> None:
    talk = Talk()
    small = response("RopBufferTooSmall", SizeNeeded=9, RequestBuffers=b"")
    found = only(
        talk.folder(), talk.configure(5), talk.get(5, small), talk.get(5, got(CONTENTS, DONE)),
    )  # fmt: skip
    assert found.gaps == []
    assert found.complete


def test_a_response_without_its_request_finds_its_context_by_the_handle_table() -> None:
    talk = Talk()
    exchanges = [talk.folder(), talk.configure(5), talk.get(5, got(CONTENTS[:90]))]
    lone = talk.call(None, (5,), got(CONTENTS[90:], DONE))
    found = only(*exchanges, lone)
    assert found.source().data == CONTENTS
    assert found.complete


# ------------------------------------------------------------------------------------------------ states


SET = bytes.fromhex("9BB9FFB50F44774FB488C5C6702EE3A8 52 0000000000A5 000000000151 00")


def test_a_state_is_joined_from_its_parts_and_read() -> None:
    talk = Talk()
    exchanges = [
        talk.folder(), talk.configure(5), talk.begin(5, 0x40170003, len(SET)),
        *(talk.more(5, SET[at : at + 7]) for at in range(0, len(SET), 7)), talk.end(5),
    ]  # fmt: skip
    (found,), (state,) = joined(exchanges)
    assert found.states == [state]
    assert state.source().data == SET
    assert (state.name, state.bootstrap, state.why, state.ended) == ("MetaTagIdsetGiven", False, "", True)
    reading = state.reading()
    assert reading is not None
    assert reading.idset.count == 0x151 - 0xA5 + 1
    assert state.tree().label == "173 ids in 1 range, 1 replica"
    assert len({span.frame for span in state.source().locate(0, len(SET))}) == 5
    continued = [rop for exchange in exchanges for rop in exchange.rops if rop.rop_id == 0x76]
    assert continued[1].request is not None
    assert continued[1].request.node().find("StreamData").label == (
        "bytes 7-13 of MetaTagIdsetGiven for stream 1 (contentsSync)"
    )


def test_an_empty_state_is_the_bootstrap() -> None:
    talk = Talk()
    _, (state,) = joined([talk.folder(), talk.configure(5), talk.begin(5, 0x67960102, 0), talk.end(5)])
    assert state.bootstrap
    assert state.tree().label == "empty: the client has nothing yet (bootstrap)"


def test_states_that_are_not_whole() -> None:
    talk = Talk()
    _, states = joined([
        talk.folder(), talk.configure(5),
        talk.begin(5, 0x40170003, 100), talk.more(5, SET), talk.end(5),
        talk.begin(5, 0x67960102, len(SET)), talk.more(5, SET),
        talk.begin(5, 0x67DA0102, 0, 0x80070057),
        talk.configure(6), talk.more(6, b"xyz"), talk.end(6),
    ])  # fmt: skip
    whys = [one.why for one in states]
    assert whys[:2] == [f"100 bytes were announced, {len(SET)} came", "its upload does not end"]
    assert "the capture does not show how its upload began" in whys
    assert [one.source().data for one in states][:2] == [SET, SET]
    closed = states[whys.index("the capture does not show how its upload began")].tree()
    assert unread(closed) == [(0, 3, Severity.NO_CONTEXT)]


def test_a_refused_state() -> None:
    talk = Talk()
    (found,), _ = joined([talk.folder(), talk.configure(5), talk.begin(5, 0x67DA0102, 0, 0x80070057)])
    assert found.states[0].refused == 0x80070057
    assert "refused" in found.states[0].why


def test_a_malformed_state_keeps_what_came_before() -> None:
    talk = Talk()
    bad = SET[:-1] + b"\x33"
    _, (state,) = joined([
        talk.folder(), talk.configure(5), talk.begin(5, 0x40170003, len(bad)), talk.more(5, bad), talk.end(5),
    ])  # fmt: skip
    reading = state.reading()
    assert reading is not None
    assert reading.offset == len(bad) - 1
    assert reading.idset.count == 173
    tree = state.tree()
    assert [(one[0], one[1]) for one in unread(tree)] == [] or tree.end == len(bad)
    assert sum(leaf.length for leaf in tree.leaves()) == len(bad)


def test_a_collector_is_listed_for_its_states() -> None:
    talk = Talk()
    found = only(
        talk.folder(), talk.opens("RopSynchronizationOpenCollector", 2, 5, IsContentsCollector=True),
        talk.begin(5, 0x67960102, len(SET)), talk.more(5, SET), talk.end(5), talk.release(5),
    )  # fmt: skip
    assert (found.direction, found.root, found.size, found.complete) == ("collector", None, 0, True)
    assert [one.name for one in found.states] == ["MetaTagCnsetSeen"]


# ------------------------------------------------------------------------------------------------ memory


def test_bytes_are_kept_as_far_as_told_and_counted_all_the_same() -> None:
    talk = Talk()
    exchanges = [
        talk.folder(),
        talk.configure(5),
        talk.get(5, got(CONTENTS[:500])),
        talk.get(5, got(CONTENTS[500:], DONE)),
    ]
    for keep, kept in ((0, False), (len(CONTENTS) - 1, False), (len(CONTENTS), True)):
        found = only(*exchanges, keep=keep)
        assert (found.kept is not None) is kept
        assert (found.size, found.account.messages) == (len(CONTENTS), 4)
    with pytest.raises(ValueError, match="were not kept"):
        only(*exchanges, keep=0).source()


def test_finished_streams_are_not_held() -> None:
    talk = Talk()
    streams = Streams(KEEP_ALL)
    for exchange in (talk.folder(), talk.configure(5)):
        assert streams.exchange(exchange) == Joined([], [])
    result: Joined | None = streams.exchange(talk.get(5, got(CONTENTS, DONE)))
    assert result is not None
    watched = weakref.ref(result.streams[0].account)
    result = None
    gc.collect()
    assert watched() is None
    assert streams.finish() == []


# --------------------------------------------------------------------------------------- cut anywhere


NOOP = "contents-incremental/incremental-noop"


def rejoined(data: bytes, cuts: list[int]) -> ByteSource:
    """The bytes as they come out of buffers cut at these places."""
    talk = Talk()
    edges = [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]
    opening = [talk.folder(), talk.configure(5)]
    found = only(*opening, *(talk.get(5, got(one, PARTIAL)) for one in pieces), talk.get(5, got(b"", DONE)))
    assert found.complete
    return found.source()


def test_a_real_stream_cut_in_two_at_every_place_is_the_same_tree() -> None:
    data = real(NOOP)
    whole = shape(trace_stream(ByteSource("x", data), "contentsSync"))
    for place in range(1, len(data)):
        assert shape(trace_stream(rejoined(data, [place]), "contentsSync")) == whole


@given(st.data())
@examples(25)
def test_a_real_stream_cut_into_buffers_anywhere_is_the_same_tree_and_the_same_count(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["contents-incremental/incremental", "copyto/copymessages", NOOP]))
    wire = real(name)
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=40))
    talk = Talk()
    edges = [0, *sorted(cuts), len(wire)]
    exchanges = [talk.folder()]
    if REAL[name] == "contentsSync":
        exchanges.append(talk.configure(5))
    else:
        copy = "RopFastTransferSourceCopyMessages"
        exchanges.append(talk.opens(copy, 2, 5, MessageIds=[], CopyFlags=0, SendOptions=1))
    exchanges += [talk.get(5, got(wire[start:end])) for start, end in pairwise(edges)]
    found = only(*exchanges, talk.get(5, got(b"", DONE)))
    whole = trace_stream(ByteSource("x", wire), REAL[name])
    assert shape(found.tree()) == shape(whole)
    assert found.account.elements == sum(1 for node in whole.walk() if is_element(node))
    assert [buffer.length for buffer in found.buffers[:-1]] == [b - a for a, b in pairwise(edges)]


def is_element(node: Node) -> bool:
    """A property with its tag, or a marker: a leaf that is named by its value."""
    marker = not node.children and isinstance(node.value, int) and node.name == MARKERS.get(node.value)
    return node.spec == "MS-OXCFXICS 2.2.4.1" or marker


def account_of(found: Stream) -> tuple[Any, ...]:
    """All that is counted of a stream."""
    account = found.account
    return (
        found.root, found.inferred, account.elements, account.changes, account.cut, account.sets, account.errors,
        account.faults, account.fault_count, account.skipped, account.stopped,
    )  # fmt: skip


@given(st.data())
@examples(60)
def test_any_bytes_with_holes_give_trees_that_keep_every_byte(data: st.DataObject) -> None:
    wire = bytearray(data.draw(st.sampled_from([CONTENTS, stream(full_change()), b"abc" * 40])))
    for _ in range(data.draw(st.integers(0, 3))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    talk = Talk()
    exchanges = [talk.folder(), talk.configure(5)] if data.draw(st.booleans()) else []
    at = 0
    while at < len(wire):
        step = len(wire) // data.draw(st.integers(1, 6)) + 1
        if data.draw(st.integers(0, 3)):
            exchanges.append(talk.get(5, got(bytes(wire[at : at + step]))))
        else:
            exchanges.append(talk.get(5, captured=False))
        at += step
    at_once = [account_of(found) for found in joined(exchanges, keep=0)[0]]
    for found, counted in zip(joined(exchanges)[0], at_once, strict=True):
        with patch("dissector.session.stream.PART", data.draw(st.integers(1, 200))):
            assert account_of(found) == counted  # made when it is asked for, it is the same
        tree = found.tree()
        assert list(tiling_faults(tree)) == []
        assert tree.end == found.size
        assert not any(one.severity is Severity.BUG for node in tree.walk() for one in node.diagnostics)


def test_the_bundled_captures_are_all_read() -> None:
    for path in sorted((ROOT / "captures").glob("*.pcap")):
        with dissect(path) as dissection:
            streams, _ = joined(list(dissection.exchanges()))
        assert all(one.complete for one in streams), path.name


def test_no_streams_in_a_capture_without_icssync() -> None:
    path = shared("captures", "real", "outlook2003-exchange2003.pcap")
    with dissect(path) as dissection:
        assert joined(list(dissection.exchanges())) == ([], [])


def test_the_same_stream_through_tls() -> None:
    folder = shared("captures", "encrypted")
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed: TLS is opened through it")
    name = "contents-bootstrap-tls13"
    keys = {"tls.keylog_file": str(folder / f"{name}.keys")}
    with dissect(folder / f"{name}.pcapng", options=keys) as dissection:
        (found,), states = joined(list(dissection.exchanges()))
    assert found.source().data == real("contents-bootstrap/contents")
    assert found.complete
    assert [one.bootstrap for one in states] == [True] * 4


def test_damaged_captures_give_streams_that_keep_every_byte() -> None:
    rng = random.Random(11)
    found = 0
    for name in ("contents-incremental.pcap", "hierarchy-bootstrap.pcap", "copyto.pcap"):
        data = (ROOT / "captures" / name).read_bytes()
        for _ in range(12):
            try:
                with dissect(io.BytesIO(mutated(data, rng)), engine="native") as dissection:
                    streams, states = joined(list(dissection.exchanges()))
            except CaptureError:
                continue
            for one in (*streams, *states):
                tree = one.tree()
                found += 1
                assert list(tiling_faults(tree)) == []
                assert tree.end == one.size
                assert not any(why.severity is Severity.BUG for node in tree.walk() for why in node.diagnostics)
    assert found > 60
