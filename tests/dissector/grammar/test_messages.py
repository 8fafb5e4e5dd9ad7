"""Messages with all their values, out of streams cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar.elements import make
from dissector.grammar.messages import Message, MessageReader, Property
from dissector.grammar.syncstory import Change, StoryReader
from dissector.node import Undecoded
from tests.conftest import examples
from tests.dissector.grammar.streams import REAL, STATE, contents, elements, full_change, partial_change, real, stream


def messages(data: bytes, root: str, step: int = 0) -> list[Message]:
    reader = MessageReader(root)
    found: list[Message] = []
    for at in range(0, len(data), step or len(data) or 1):
        reader.feed(data[at : at + (step or len(data))])
        found += reader.messages()
    return found + list(reader.finish())


def values(properties: list[Property]) -> dict[str, object]:
    return {one.name: one.value for one in properties}


@pytest.mark.parametrize("name", REAL)
def test_as_many_messages_as_the_story_tells(name: str) -> None:
    data = real(name)
    story = StoryReader(REAL[name])
    story.feed(data)
    told = [one for one in story.finish() if isinstance(one, Change)]
    found = messages(data, REAL[name])
    assert [(one.kind, one.offset, one.end) for one in found] == [(one.kind, one.offset, one.end) for one in told]
    assert [len(one.recipients) for one in found] == [one.recipients for one in told]
    assert [len(one.attachments) for one in found] == [one.attachments for one in told]
    assert all(one.complete for one in found)
    assert not any(isinstance(one.value, Undecoded) for message in found for one in message.properties)


def test_everything_in_a_full_change() -> None:
    full = messages(contents(1), "contentsSync")[0]
    assert values(full.header)["PidTagAssociated"] is False
    assert values(full.properties)["PidTagSubject"] == "No 0"
    named = next(one for one in full.properties if one.named is not None)
    assert (str(named.named), named.value) == ("PSETID_Common:0x8005", "filed")
    deleted = [one for one in full.properties if one.name == "MetaTagFXDelProp"]
    assert [one.text for one in deleted] == ["PidTagMessageRecipients", "PidTagMessageAttachments"]
    assert [values(row)["PidTagRowid"] for row in full.recipients] == [0]
    first, second = full.attachments
    assert values(first.properties)["PidTagAttachDataBinary"] == b"data"
    assert first.embedded is None
    assert second.embedded is not None
    assert values(second.embedded.properties) == {"PidTagSubject": "inner"}
    assert len(second.embedded.recipients) == len(second.embedded.attachments) == 1
    assert full.offset < second.embedded.offset < second.embedded.end < full.end


def test_a_partial_change_by_groups() -> None:
    (partial,) = messages(stream(partial_change()), "contentsSync")
    assert [number for number, _ in partial.groups] == [0, 0xFFFFFFFF]
    assert values(partial.groups[0][1]) == {"PidTagSubject": "Changed"}
    assert "PidTagUrlCompName" in values(partial.groups[1][1])
    assert partial.kind == "partial"


def test_words_stand_beside_values() -> None:
    found = messages(stream(full_change()), "contentsSync")[0]
    time = next(one for one in found.header if one.name == "PidTagLastModificationTime")
    assert time.text == "2016-02-15T08:53:20.000Z"


def test_markers_tell_messages_from_settings() -> None:
    data = stream("StartMessage", "EndMessage", "StartFAIMsg", "EndMessage")
    assert [one.fai for one in messages(data, "messageList")] == [False, True]


def test_a_message_that_is_cut_short_is_said_to_be() -> None:
    data = stream("StartMessage", make(0x0037001F, "x"))
    (found,) = messages(data, "messageList")
    assert not found.complete
    assert (found.offset, found.end) == (0, len(data))


def test_a_folder_and_its_messages() -> None:
    name = make(0x3001001F, "Inbox")
    data = stream("StartTopFld", name, "StartMessage", "EndMessage", "StartSubFld", name, "EndFolder", "EndFolder")
    assert [one.kind for one in messages(data, "topFolder")] == ["folder", "message", "folder"]


def test_an_odd_value_stays_bytes() -> None:
    data = stream("StartMessage") + stream(elements(make(0x65E00102, b""))).replace(b"\0\0\0\0", b"\3\0\0\0abc")
    (found,) = messages(data + stream("EndMessage"), "messageList")
    assert found.properties[0].value == b"abc"


def test_behind_missing_bytes() -> None:
    data = stream(full_change("a"), full_change("b"), full_change("c"), STATE, "IncrSyncEnd")
    size = len(stream(full_change("a")))
    reader = MessageReader("contentsSync")
    reader.feed(data[: size - 30])
    assert list(reader.messages()) == []
    assert list(reader.resume(2 * size)) == []
    reader.feed(data[2 * size :])
    first, last = reader.finish()
    assert (first.complete, last.complete) == (False, True)
    assert values(last.properties)["PidTagSubject"] == "c"


@given(st.integers(1, 300))
@examples(30)
def test_chunks_make_no_difference(step: int) -> None:
    data = contents(2)
    assert repr(messages(data, "contentsSync", step)) == repr(messages(data, "contentsSync"))


@given(st.data())
@examples(60)
def test_any_bytes(data: st.DataObject) -> None:
    wire = bytearray(contents(1))
    for _ in range(data.draw(st.integers(1, 5))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    root = data.draw(st.sampled_from(["contentsSync", "messageContent", "topFolder", "attachmentContent"]))
    for one in messages(bytes(wire), root):
        assert 0 <= one.offset <= one.end <= len(wire)
