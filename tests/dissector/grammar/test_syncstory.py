"""Stories of synchronizations: what real streams carried, in constant memory, however they are cut."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar.elements import elements_of, make
from dissector.grammar.idset import IDSET_REPLGUID, decode_idset
from dissector.grammar.syncstory import Change, Fault, Report, Sets, StoryReader
from dissector.model.idset import IdSet
from tests.conftest import examples, shared
from tests.dissector.grammar.streams import (
    REAL,
    STATE,
    contents,
    elements,
    error_info,
    full_change,
    marker,
    partial_change,
    progress_per_message,
    real,
    stream,
    subject,
)


def read(root: str, *chunks: bytes) -> list:
    reader = StoryReader(root)
    found = []
    for chunk in chunks:
        reader.feed(chunk)
        found += reader.items()
    return [*found, *reader.finish()]


def changes(items: list) -> list[Change]:
    return [item for item in items if isinstance(item, Change)]


@pytest.mark.parametrize("name", [name for name, root in REAL.items() if root in ("contentsSync", "hierarchySync")])
def test_the_state_is_what_the_client_stored(name):
    items = read(REAL[name], real(name))
    state = items[-1]
    assert isinstance(state, Sets)
    assert state.kind == "state"
    assert state.complete
    path = shared("captures", "gromox", "expected") / f"{name}.state.json"
    if path.exists():
        stored = json.loads(path.read_text())
        tags = {"MetaTagIdsetGiven": "40170003", "MetaTagCnsetSeen": "67960102", "MetaTagCnsetSeenFAI": "67da0102",
                "MetaTagCnsetRead": "67d20102"}  # fmt: skip
        assert {tags[key] for key in state.sets} == set(stored)
        for key, reading in state.sets.items():
            assert reading.diagnostic is None
            assert reading.idset == decode_idset(bytes.fromhex(stored[tags[key]]), IDSET_REPLGUID)
    assert not [item for item in items if isinstance(item, Fault)]
    assert all(item.complete for item in items)


def test_the_incremental_synchronization_is_told():
    items = read("contentsSync", real("contents-incremental/incremental"))
    assert isinstance(items[0], Report)
    assert (items[0].value.NormalMessageCount, items[0].value.FAIMessageCount) == (3, 1)
    told = changes(items)
    assert [(one.kind, one.fai, one.subject) for one in told] == [
        ("full", True, "IPM.Configuration.Test"),
        ("full", False, "Created online"),
        ("full", False, "Changed subject 1795434429"),
        ("full", False, "Changed subject 1795434429"),
    ]
    assert sum(one.announced or 0 for one in told if not one.fai) == items[0].value.NormalMessageTotalSize
    assert [one.header["PidTagMessageSize"] for one in told] == [one.announced for one in told]
    assert told[0].message_class == "IPM.Configuration.Test"
    kinds = {
        item.kind: {key: reading.idset for key, reading in item.sets.items()}
        for item in items
        if isinstance(item, Sets)
    }
    assert kinds["deletions"] == {
        "MetaTagIdsetDeleted": IdSet({1: [(0x3000C, 0x3000C)]}),
        "MetaTagIdsetNoLongerInScope": IdSet({1: [(0x3000A, 0x3000B)]}),
    }
    assert kinds["readStateChanges"]["MetaTagIdsetUnread"] == IdSet({1: [(0x30001, 0x30001)]})
    # the merge rules of facts/idset.md section 5: what was sent and not deleted is given, what was seen is seen
    given_ids = kinds["state"]["MetaTagIdsetGiven"]
    guid = given_ids.replicas[0]
    gone = kinds["deletions"]["MetaTagIdsetDeleted"] | kinds["deletions"]["MetaTagIdsetNoLongerInScope"]
    assert not given_ids & gone.renamed({1: guid})


def test_a_bootstrap_counts_what_messages_hold():
    told = changes(read("contentsSync", real("contents-bootstrap/contents")))
    assert len(told) == 52
    assert sum(one.attachments for one in told) > 0
    assert sum(one.embedded for one in told) > 0
    assert [one.subject for one in told if not one.recipients] == ["Undelivered Mail Returned to Sender"]
    assert [one.offset for one in told] == sorted(one.offset for one in told)
    assert max(one.end - one.offset for one in told) > 1 << 20


def test_folders_and_copied_messages_are_told():
    folders = changes(read("hierarchySync", real("hierarchy-bootstrap/hierarchy")))
    assert "Inbox" in [one.header["PidTagDisplayName"] for one in folders]
    assert {one.kind for one in folders} == {"folder"}
    messages = changes(read("messageList", real("copyto/copymessages")))
    assert [one.subject for one in messages][:2] == ["Budget 2027", "Re: Budget 2027"]
    assert {(one.kind, one.fai) for one in messages} == {("message", False)}
    (folder,) = changes(read("topFolder", real("copyto/copyfolder")))
    assert folder.header["PidTagDisplayName"] == "Sent Items"
    (message,) = changes(read("messageContent", real("copyto/copyto")))
    assert (message.subject, message.recipients, message.complete) == ("Budget 2027", 1, True)


def test_a_made_synchronization_is_told():
    items = read("contentsSync", contents(2))
    full, partial = changes(items)[0], changes(items)[-1]
    assert (full.subject, full.message_class, full.properties) == ("No 0", "IPM.Note", 5)
    assert (full.recipients, full.attachments, full.embedded, full.announced) == (1, 2, 1, 1000)
    assert set(full.header) == {
        "PidTagSourceKey", "PidTagLastModificationTime", "PidTagChangeKey", "PidTagPredecessorChangeList",
        "PidTagAssociated",
    }  # fmt: skip
    assert (partial.kind, partial.groups, partial.group_id, partial.recipients) == ("partial", [0, 0xFFFFFFFF], 7, 1)
    assert partial.group_info.GroupId == 7
    assert partial.subject == "Changed"


def test_a_copied_tree_tells_folders_and_messages():
    name = make(0x3001001F, "Top")
    message = ["StartFAIMsg", subject("view"), "EndMessage"]
    data = stream(
        "StartTopFld", name, make(0x400F0003, 0x00040680), make(0x3004001F, "late"), *message, "StartSubFld",
        make(0x3001001F, "Below"), make(0x400F0003, 5), make(0x400F0003, 6), "StartMessage", subject("deep"),
        "EndMessage", "EndFolder", "EndFolder",
    )  # fmt: skip
    told = read("topFolder", data)
    assert [(one.kind, one.subject or one.header.get("PidTagDisplayName"), one.fai) for one in told] == [
        ("folder", "Top", None),
        ("message", "view", True),
        ("folder", "Below", None),
        ("message", "deep", False),
    ]
    assert told[-1].warnings[-1] == 6


def test_error_info_and_what_it_cut_short():
    data = stream("IncrSyncChg", full_change()[1:8], error_info(), full_change("after"))
    items = read("contentsSync", data)
    assert [(type(item).__name__, getattr(item, "complete", None)) for item in items] == [
        ("Change", False),
        ("Report", True),
        ("Change", False),
        ("Fault", None),
    ]
    assert items[1].value.ErrorCode == 0x8004010F
    assert items[2].subject == "after"
    assert "the stream ends inside contentsSync" in items[3].diagnostic.message
    inside = read("hierarchySync", stream("IncrSyncChg", make(0x3001001F, "A"), error_info(), "IncrSyncChg"))
    assert [type(item).__name__ for item in inside[:2]] == ["Report", "Change"]


def test_a_stream_that_breaks_its_rules():
    broken = [one for one in full_change("broken") if one.name != "EndToRecip"]
    data = stream(broken, full_change("whole"), progress_per_message(5), partial_change())
    items = read("contentsSync", data)
    assert [(item.kind, item.complete) for item in changes(items)] == [
        ("full", True),
        ("full", True),
        ("partial", False),
    ]
    faults = [item for item in items if isinstance(item, Fault)]
    assert faults[0].diagnostic.message.startswith("MetaTagFXDelProp may not stand here")
    cut = read("contentsSync", data[:-3])
    assert isinstance(cut[-1], Fault)
    assert "the data ends here" in cut[-1].diagnostic.message
    assert not cut[-2].complete


def test_sets_that_are_broken_are_told_in_part():
    data = stream("IncrSyncDel") + bytes.fromhex("0201E567 0B000000 0100 06000000000001 07 00")
    (deletions, *_) = read("deletions", data)
    assert deletions.sets["MetaTagIdsetDeleted"].idset == IdSet({1: [(1, 1)]})
    assert deletions.sets["MetaTagIdsetDeleted"].offset == 9
    assert "0x07" in deletions.sets["MetaTagIdsetDeleted"].diagnostic.message


@given(st.data())
@examples(40)
def test_the_story_does_not_depend_on_the_cuts(data):
    wire = real("contents-incremental/incremental")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=20)))
    chunks = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert read("contentsSync", *chunks) == read("contentsSync", wire)


@given(st.data())
@examples(100)
def test_damaged_streams_are_told_without_raising(data):
    root = data.draw(st.sampled_from(["contentsSync", "messageContent", "messageList", "topFolder"]))
    wire = bytearray(contents(1))
    for _ in range(data.draw(st.integers(0, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(wire[: data.draw(st.integers(0, len(wire)))])
    items = read(root, cut)
    assert all(isinstance(item, Change | Sets | Report | Fault) for item in items)


def test_memory_does_not_grow_with_the_stream():
    chunk = stream(full_change("x", bytes(200_000)), elements(marker("IncrSyncChg"), marker("IncrSyncMessage")))

    def peak(times: int) -> int:
        reader = StoryReader("contentsSync")
        count = 0
        tracemalloc.start()
        for _ in range(times):
            for at in range(0, len(chunk), 30_000):
                reader.feed(chunk[at : at + 30_000])
                count += sum(1 for _ in reader.items())
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 2 * times - 1
        return top

    peak(1)
    assert peak(60) < 600_000  # of 12 MB; contexts of layouts wait for the collector


def test_reading_goes_on_behind_missing_bytes():
    data = stream(full_change("a"), full_change("b"), full_change("c"), STATE, "IncrSyncEnd")
    size = len(stream(full_change("a")))
    reader = StoryReader("contentsSync")
    reader.feed(data[: size + 60])
    first = [*reader.items(), *reader.resume(2 * size)]
    reader.feed(data[2 * size :])
    rest = list(reader.finish())
    assert [(one.subject, one.complete) for one in changes(first)] == [("a", True)]
    assert [(one.subject, one.complete) for one in changes(rest)] == [(None, False), ("c", True)]
    assert not any(isinstance(one, Fault) for one in [*first, *rest])
    assert isinstance(rest[-1], Sets)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_elements_are_counted(step):
    data = contents(2)
    reader = StoryReader("contentsSync")
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
        list(reader.items())
    assert reader.elements == sum(1 for _ in elements_of(data))
