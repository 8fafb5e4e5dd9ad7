"""The tree of whole streams: productions as nodes, every byte in one leaf, whatever the bytes are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar.elements import make
from dissector.grammar.icstree import Gap, trace_parts, trace_stream
from dissector.node import Node, Severity, Undecoded
from dissector.source import ByteSource, Piece
from tests.conftest import examples
from tests.dissector.grammar.streams import (
    REAL,
    STATE,
    contents,
    elements,
    error_info,
    full_change,
    hierarchy_start,
    partial_change,
    real,
    stream,
    subject,
)


def check(root: Node, data: bytes) -> None:
    """Every byte in exactly one leaf, in order; no node reaches out of the one it is in."""
    at = root.offset
    for leaf in root.leaves():
        assert leaf.offset == at, leaf.name
        at = leaf.end
    assert at == root.end == len(data)
    for node in root.walk():
        for child in node.children:
            assert node.offset <= child.offset
            assert child.end <= node.end


def troubles(root: Node) -> list[tuple[str, int, str]]:
    return [(node.name, node.offset, one.message) for node in root.walk() for one in node.diagnostics]


@pytest.mark.parametrize("name", REAL)
def test_real_streams_to_the_last_byte(name):
    data = real(name)
    root = trace_stream(ByteSource(name, data), REAL[name])
    check(root, data)
    for node in root.walk():
        if any(child.name == "PropertyValue" for child in node.children) and not node.name.startswith("MetaTag"):
            node.children[-1].children.clear()  # structures in binaries are the affair of their own grammars
    assert troubles(root) == []
    assert not any(isinstance(leaf.value, Undecoded) for leaf in root.leaves())


def test_the_tree_of_a_real_synchronization():
    root = trace_stream(ByteSource("x", real("contents-incremental/incremental")), "contentsSync")
    assert [child.name for child in root.children] == [
        "progressTotal",
        *(["progressPerMessage", "messageChange"] * 4),
        "deletions",
        "readStateChanges",
        "state",
        "IncrSyncEnd",
    ]
    change = root.find("messageChange", "messageChangeFull")
    assert [child.name for child in change.children] == [
        "IncrSyncChg",
        "messageChangeHeader",
        "IncrSyncMessage",
        "propList",
        "messageChildren",
    ]
    assert change.label == "'IPM.Configuration.Test'"
    assert root.find("progressTotal").label.endswith("3 normal messages, 1 FAI messages")
    assert root.find("deletions").label == (
        "MetaTagIdsetDeleted: 1 id in 1 range, 1 replica; MetaTagIdsetNoLongerInScope: 2 ids in 1 range, 1 replica"
    )
    assert root.find("state", "MetaTagIdsetGiven", "PropertyValue").label == "51 ids in 2 ranges, 1 replica"


def test_every_production_of_a_made_stream():
    data = contents(2)
    root = trace_stream(ByteSource("made", data), "contentsSync")
    check(root, data)
    assert troubles(root) == []
    names = {node.name for node in root.walk()}
    assert names >= {
        "messageChangeFull", "messageChangePartial", "groupInfo", "recipient", "attachment", "attachmentContent",
        "embeddedMessage", "messageContent", "deletions", "readStateChanges", "state", "progressPerMessage",
    }  # fmt: skip
    partial = next(node for node in root.walk() if node.name == "messageChangePartial")
    assert partial.find("groupInfo").label == "group mapping 7, 1 groups"
    assert partial.label == "'Changed'"


def test_the_published_start_of_a_hierarchy_synchronization():
    data = hierarchy_start()
    root = trace_stream(ByteSource("blog", data), "hierarchySync")
    check(root, data)
    change = root.find("folderChange")
    assert change.label == "'INBOX'"
    assert [child.name for child in change.children[1:]] == [
        "PidTagParentSourceKey", "PidTagSourceKey", "PidTagLastModificationTime", "PidTagChangeKey",
        "PidTagPredecessorChangeList", "PidTagDisplayName", "PidTagParentFolderId", "PidTagRights",
        "PidTagCreationTime", "PidTagAttributeHidden",
    ]  # fmt: skip
    assert [message for _, _, message in troubles(root)] == [
        "the stream ends inside hierarchySync; expected property or IncrSyncChg or IncrSyncDel or IncrSyncStateBegin"
    ]


def test_bytes_lead_to_their_frames():
    data = contents(1)
    pieces = [
        Piece(at, min(50, len(data) - at), at // 50 + 1, 100, min(50, len(data) - at)) for at in range(0, len(data), 50)
    ]
    root = trace_stream(ByteSource("joined", data, pieces), "contentsSync")
    leaf = next(leaf for leaf in root.leaves() if leaf.offset < 50 < leaf.end)
    assert [(span.frame, span.length) for span in leaf.spans] == [(1, 50 - leaf.offset), (2, leaf.end - 50)]


def test_the_element_that_breaks_the_grammar_has_the_remark():
    made = elements(full_change(), "EndFolder", full_change())
    data = stream(made)
    place = len(stream(made[: len(full_change())]))
    root = trace_stream(ByteSource("x", data), "contentsSync")
    check(root, data)
    found = troubles(root)
    assert [(name, offset) for name, offset, _ in found] == [("contentsSync", 0), ("EndFolder", place)]
    assert found[1][2].startswith("EndFolder may not stand here")
    assert [node.name for node in root.children] == ["messageChange", "messageChange"]


def test_what_cannot_be_read_is_one_leaf_in_its_place():
    data = stream("IncrSyncChg", subject()) + bytes.fromhex("FD 00 37 00 01 02 03")
    root = trace_stream(ByteSource("x", data), "hierarchySync")
    check(root, data)
    last = root.find("folderChange").children[-1]
    assert last.name == "Undecoded"
    assert last.length == 7
    assert last.diagnostics[0].severity is Severity.MALFORMED
    assert "0x00FD" in last.diagnostics[0].message


def test_error_info_stands_in_the_list():
    data = stream("IncrSyncChg", full_change()[1:8], error_info(), full_change())
    root = trace_stream(ByteSource("x", data), "contentsSync")
    check(root, data)
    assert [child.name for child in root.children] == ["messageChange", "errorInfo", "messageChange"]
    assert root.find("errorInfo").label == "ecNotFound"
    assert root.find("errorInfo", "0x00000102", "PropertyValue", "Aux", "AuxBytes").value == b"abc"


def test_a_part_of_a_stream_is_read_as_what_it_is():
    data = contents(2)
    whole = trace_stream(ByteSource("x", data), "contentsSync")
    change = next(node for node in whole.walk() if node.name == "messageChangePartial")
    part = trace_stream(ByteSource("x", data), change.name, offset=change.offset, end=change.end)
    shape = [(node.name, node.offset, node.length) for node in change.walk()]
    assert [(node.name, node.offset, node.length) for node in part.walk()] == shape


def test_a_stream_of_unknown_kind_is_its_elements():
    data = stream(full_change())
    root = trace_stream(ByteSource("x", data), None, name="stream")
    check(root, data)
    assert [child.name for child in root.children[:3]] == [
        "IncrSyncChg",
        "PidTagSourceKey",
        "PidTagLastModificationTime",
    ]
    assert troubles(root) == []


def test_a_broken_rule_is_a_note_on_the_production():
    made = partial_change()
    data = stream([one for one in made if one.tag != 0x67AA000B])
    found = troubles(trace_stream(ByteSource("x", data), "messageChangePartial"))
    assert [name for name, _, _ in found] == ["messageChangeHeader"]
    assert "its first properties are to be" in found[0][2]


@given(st.data())
@examples(100)
def test_truncated_and_flipped_streams_give_a_tree(data):
    root = data.draw(st.sampled_from(["contentsSync", "messageContent", "hierarchySync", "topFolder", None]))
    wire = bytearray(contents(1))
    for _ in range(data.draw(st.integers(0, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(wire[: data.draw(st.integers(0, len(wire)))])
    check(trace_stream(ByteSource("x", cut), root), cut)


@given(st.binary(max_size=300), st.sampled_from(["contentsSync", "state", None]))
def test_any_bytes_give_a_tree(data, root):
    check(trace_stream(ByteSource("x", data), root), data)


def test_truncations_of_a_real_stream():
    data = real("contents-incremental/incremental-noop")
    for length in range(len(data)):
        cut = data[:length]
        root = trace_stream(ByteSource("x", cut), "contentsSync")
        check(root, cut)
        assert troubles(root)


@pytest.mark.parametrize("name", REAL)
def test_pieces_make_the_whole(name):
    data = real(name)
    *parts, root = trace_parts(ByteSource(name, data), REAL[name])
    whole = trace_stream(ByteSource(name, data), REAL[name])
    assert root.children == []
    assert (root.offset, root.length) == (0, len(data))
    assert [(one.name, one.offset, one.length) for part in parts for one in part.walk()] == [
        (one.name, one.offset, one.length) for child in whole.children for one in child.walk()
    ]


def test_a_piece_comes_as_soon_as_it_is_whole():
    data = contents(3)
    seen = []
    for part in trace_parts(ByteSource("x", data), "contentsSync"):
        assert all(leaf.end <= part.end for leaf in part.leaves())
        seen.append(part.name)
    assert seen.count("messageChange") == 4
    assert seen[-1] == "contentsSync"


def test_missing_bytes_are_no_fault_of_the_stream():
    one, rest = stream(full_change("a")), stream(full_change("b"), STATE, "IncrSyncEnd")
    data = one + one[:50] + rest[20:]
    root = trace_stream(ByteSource("x", data), "contentsSync", gaps=[Gap(len(one) + 50, "lost")])
    check(root, data)
    found = [(node.name, found.severity, found.message) for node in root.walk() for found in node.diagnostics]
    assert {severity for _, severity, _ in found} == {Severity.NO_CONTEXT}
    assert all("lost" in message for _, _, message in found)
    assert [node.name for node in root.children] == ["messageChange", "messageChange", "state", "IncrSyncEnd"]


def test_a_stream_that_was_not_sent_to_its_end():
    data = contents(2)
    for length in (300, 411, 500):
        root = trace_stream(ByteSource("x", data[:length]), "contentsSync", unsent="released early")
        check(root, data[:length])
        found = [one for node in root.walk() for one in node.diagnostics if one.severity is not Severity.NOTE]
        assert {one.severity for one in found} == {Severity.NO_CONTEXT}
        assert all("released early" in one.message for one in found)


def test_what_is_malformed_stays_malformed_beside_a_gap():
    data = stream("IncrSyncChg", subject()) + bytes.fromhex("FD 00 37 00 01 02 03") + stream(full_change())
    place = len(data) - len(stream(full_change()))
    root = trace_stream(ByteSource("x", data), "hierarchySync", gaps=[Gap(place, "lost")])
    check(root, data)
    assert Severity.MALFORMED in {one.severity for node in root.walk() for one in node.diagnostics}
    assert "PidTagMessageClass" in {node.name for node in root.walk()}


def test_what_a_stream_is_may_be_told_by_what_follows_a_gap():
    data = b"\1\2\3" + stream(full_change("a"), STATE, "IncrSyncEnd")
    root = trace_stream(ByteSource("x", data), None, gaps=[Gap(0, "not captured")])
    check(root, data)
    assert [node.name for node in root.children] == ["Undecoded", "messageChange", "state", "IncrSyncEnd"]
    assert any("read as contentsSync" in one.message for one in root.diagnostics)


def test_progress_says_what_comes_next() -> None:
    for fai, word in ((True, "FAI"), (False, "normal")):
        said = make(0x00000003, 657), make(0x0000000B, fai)
        data = stream("IncrSyncProgressPerMsg", *said, full_change(), STATE, "IncrSyncEnd")
        tree = trace_stream(ByteSource("x", data), "contentsSync")
        assert tree.find("progressPerMessage").label == f"next message: 657 bytes, {word}"
    cut = trace_stream(ByteSource("x", stream("IncrSyncProgressPerMsg")), "contentsSync")
    assert cut.find("progressPerMessage").label == ""
