"""Joining: every way a transfer can go, made by hand."""

from __future__ import annotations

import gc
import weakref

import pytest

from dissector.node import Severity
from dissector.session.streams import KEEP_ALL, Joined, Streams
from dissector.verify import tiling_faults
from tests.dissector.grammar.streams import elements, full_change, stream
from tests.dissector.session.joining import CONTENTS, joined, only, unread
from tests.dissector.session.talk import DONE, ERROR, GET, NO_ROOM, PARTIAL, PUT, Talk, got, put, request, response

STATE = elements("IncrSyncStateBegin", "IncrSyncStateEnd")


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
