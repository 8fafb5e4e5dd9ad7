"""Streams as sets of changes, made up element by element."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from dissector.grammar.elements import encode, make
from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.idset import encode_idset
from dissector.model.ids import ObjectId
from dissector.model.idset import IdSet
from dissector.model.pcl import Xid
from replay.compare.changes import Digest, Story, read_story
from replay.compare.difference import Difference, verdict_of
from replay.compare.streams import Strangers, compare_stories
from replay.identity import Identity

HERE, THERE, CLIENT = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)
SUBJECT, BODY, CLASS, FLAGS, DELIVERY = 0x0037001F, 0x1000001F, 0x001A001F, 0x0E070003, 0x0E060040


def key(guid: uuid.UUID, counter: int) -> Xid:
    return Xid(guid, counter.to_bytes(6, "big"))


def marker(name: str) -> bytes:
    return b"".join(encode([make(MARKER[name])]))


def prop(tag: int, value: Any) -> bytes:
    return b"".join(encode([make(tag, value)]))


def message(guid: uuid.UUID, number: int, subject: str, *more: tuple[int, Any], change: int = 0, fai: bool = False,
            children: bytes = b"", partial: bool = False) -> bytes:  # fmt: skip
    change = change or number + 1000
    head = [
        (0x65E00102, key(guid, number)), (0x30080040, 5), (0x65E20102, key(guid, change)),
        (0x65E30102, [key(guid, change)]), (0x67AA000B, fai), (0x674A0014, ObjectId(1, number)),
        (0x67A40014, ObjectId(1, change)),
    ]  # fmt: skip
    body = b"".join(prop(tag, value) for tag, value in ((SUBJECT, subject), *more))
    start = marker("IncrSyncChgPartial") if partial else marker("IncrSyncChg")
    middle = prop(0x407A0003, 1) if partial else marker("IncrSyncMessage")
    return start + b"".join(prop(tag, value) for tag, value in head) + middle + body + children


def folder(guid: uuid.UUID, number: int, name: str, parent: int) -> bytes:
    values = [
        (0x65E10102, key(guid, parent) if parent else b""), (0x65E00102, key(guid, number)), (0x30080040, 5),
        (0x65E20102, key(guid, number + 1000)), (0x65E30102, [key(guid, number + 1000)]), (0x3001001F, name),
        (0x67480014, ObjectId(1, number)),
    ]  # fmt: skip
    return marker("IncrSyncChg") + b"".join(prop(tag, value) for tag, value in values)


def sets(name: str, *pairs: tuple[int, IdSet]) -> bytes:
    return marker(name) + b"".join(
        tag.to_bytes(4, "little") + len(data := encode_idset(one)).to_bytes(4, "little") + data for tag, one in pairs
    )


def state(guid: uuid.UUID, given: list[tuple[int, int]], seen: list[tuple[int, int]]) -> bytes:
    pairs = ((0x40170003, IdSet({guid: given})), (0x67960102, IdSet({guid: seen})))
    return sets("IncrSyncStateBegin", *pairs) + marker("IncrSyncStateEnd")


def contents(*changes: bytes, deletions: bytes = b"", read: bytes = b"", end: bytes = b"") -> Story:
    end = end or marker("IncrSyncStateBegin") + marker("IncrSyncStateEnd")
    made = read_story(b"".join(changes) + deletions + read + end + marker("IncrSyncEnd"), "contentsSync")
    assert made.faults == []
    return made


def compared(mine: Story, theirs: Story, identity: Identity | None = None, **options: Any) -> list[Difference]:
    return compare_stories(mine, theirs, identity or own(), **options)


def own() -> Identity:
    made = Identity()
    made.learn(HERE, THERE)
    return made


def bad(found: list[Difference]) -> list[str]:
    return [one.path for one in found if one.verdict == "different"]


def test_the_same_changes_under_other_ids() -> None:
    mine = contents(message(HERE, 1, "a", (BODY, "x")), message(HERE, 2, "b"))
    theirs = contents(message(THERE, 71, "b"), message(THERE, 70, "a", (BODY, "x")))
    identity = own()
    found = compared(mine, theirs, identity)
    assert verdict_of(found) == "remapped"
    assert identity.source_key(key(HERE, 1)) == key(THERE, 70)
    assert identity.object_id(ObjectId(1, 2)) == ObjectId(1, 71)
    assert identity.change_key(key(HERE, 1001)) == (key(THERE, 1070), True)
    assert identity.captured.guids == {1: HERE}


def test_a_property_that_differs_names_its_message_and_path() -> None:
    mine = contents(message(HERE, 1, "a", (BODY, "x")))
    theirs = contents(message(THERE, 70, "a", (BODY, "y")))
    (one,) = [one for one in compared(mine, theirs) if one.verdict == "different"]
    assert one.path == "change message 'a'.PidTagBody"
    assert (one.captured, one.live) == ("x", "y")


def test_changes_that_one_side_has_not() -> None:
    identity = own()
    identity.learn(key(HERE, 2), key(THERE, 72))
    mine = contents(message(HERE, 1, "a"), message(HERE, 2, "known"))
    theirs = contents(message(THERE, 73, "other"))
    found = {one.path: one.why for one in compared(mine, theirs, identity) if one.verdict == "different"}
    assert found == {
        "change message 'a'": "nothing on the live server stands for it",
        "change message 'known'": "the live server has it, and did not send it",
        "change message 'other'": "nothing in the capture stands for it: the live server had it before, or made it",
    }


def test_known_ids_beat_descriptions() -> None:
    identity = own()
    identity.learn(key(HERE, 1), key(THERE, 70))
    mine = contents(message(HERE, 1, "old subject"))
    theirs = contents(message(THERE, 71, "old subject"), message(THERE, 70, "new subject"))
    found = compared(mine, theirs, identity)
    assert "change message 'old subject'.PidTagSubject" in bad(found)


def test_two_alike_are_told_apart_by_what_they_hold() -> None:
    mine = contents(message(HERE, 1, "a", (BODY, "one")), message(HERE, 2, "a", (BODY, "two")))
    theirs = contents(message(THERE, 71, "a", (BODY, "two")), message(THERE, 70, "a", (BODY, "one")))
    identity = own()
    assert bad(compared(mine, theirs, identity)) == []
    assert identity.source_key(key(HERE, 2)) == key(THERE, 71)


def test_recipients_attachments_and_embedded_messages_are_compared() -> None:
    def children(name: str, size: int) -> bytes:
        return (
            marker("StartRecip") + prop(0x30000003, 0) + prop(0x3001001F, "Alice") + marker("EndToRecip")
            + marker("NewAttach") + prop(0x0E210003, 0) + prop(0x37010102, bytes(size)) + marker("StartEmbed")
            + prop(SUBJECT, name) + marker("EndEmbed") + marker("EndAttach")
        )  # fmt: skip

    mine = contents(message(HERE, 1, "a", children=children("in", 10_000)))
    assert isinstance(mine.changes[0].get("attachment[0].PidTagAttachDataBinary"), Digest)
    assert mine.changes[0].get("attachment[0].embedded.PidTagSubject") == "in"
    same = contents(message(THERE, 70, "a", children=children("in", 10_000)))
    assert bad(compared(mine, same)) == []
    other = contents(message(THERE, 70, "a", children=children("out", 10_001)))
    inside = "change message 'a'.attachment[0]."
    assert bad(compared(mine, other)) == [f"{inside}PidTagAttachDataBinary", f"{inside}embedded.PidTagSubject"]


def test_a_whole_message_may_stand_for_a_partial_one() -> None:
    mine = contents(message(HERE, 1, "a", (BODY, "x"), partial=True))
    theirs = contents(message(THERE, 70, "a", (BODY, "x"), (CLASS, "IPM.Note")))
    found = compared(mine, theirs)
    assert bad(found) == []
    assert any(one.path.endswith(".kind") and one.verdict == "expected" for one in found)


def test_what_was_given_has_to_be_there() -> None:
    mine = contents(message(HERE, 1, "a", (0x0E1D001F, "a"), (0x10130102, b"<p>")))
    theirs = contents(message(THERE, 70, "a"))
    assert bad(compared(mine, theirs)) == []
    found = compared(mine, theirs, given={(HERE, 1): {"PidTagHtml"}})
    assert bad(found) == ["change message 'a'.PidTagHtml"]


def test_order_counts_where_it_was_asked_for() -> None:
    mine = contents(message(HERE, 1, "a", (DELIVERY, 9)), message(HERE, 2, "b", (DELIVERY, 8)))
    theirs = contents(message(THERE, 71, "b", (DELIVERY, 8)), message(THERE, 70, "a", (DELIVERY, 9)))
    assert bad(compared(mine, theirs)) == []
    assert bad(compared(mine, theirs, ordered=True)) == ["order of changes"]


def test_a_folder_before_its_parent_is_a_difference() -> None:
    def tree(*folders: bytes) -> Story:
        return read_story(b"".join(folders) + state(THERE, [], []) + marker("IncrSyncEnd"), "hierarchySync")

    mine = tree(folder(HERE, 1, "top", 9), folder(HERE, 2, "below", 1))
    right = tree(folder(THERE, 70, "top", 90), folder(THERE, 71, "below", 70))
    wrong = tree(folder(THERE, 71, "below", 70), folder(THERE, 70, "top", 90))
    assert bad(compared(mine, right)) == []
    found = [one for one in compared(mine, wrong) if one.verdict == "different"]
    assert [(one.path, one.live) for one in found] == [("change folder 'below'", "before its parent")]


def test_deletions_are_sets_of_what_stands_for_each_other() -> None:
    identity = own()
    identity.captured.learn(1, HERE)
    identity.live.learn(7, THERE)
    for number in (1, 2, 3):
        identity.learn(key(HERE, number), key(THERE, number + 70))
    mine = contents(deletions=sets("IncrSyncDel", (0x67E50102, IdSet({1: [(1, 2)]}))))
    same = contents(deletions=sets("IncrSyncDel", (0x67E50102, IdSet({7: [(71, 72)]}))))
    assert verdict_of(compared(mine, same, identity)) == "remapped"
    less = contents(deletions=sets("IncrSyncDel", (0x67E50102, IdSet({7: [(71, 71)]}))))
    (one,) = [one for one in compared(mine, less, identity) if one.verdict == "different"]
    assert (one.path, one.captured) == ("deletions.MetaTagIdsetDeleted", "holds 1: {0x2}")
    more = contents(deletions=sets("IncrSyncDel", (0x67E50102, IdSet({7: [(71, 73)]}))))
    (one,) = [one for one in compared(mine, more, identity) if one.verdict == "different"]
    assert one.live == "holds 7: {0x49}"
    scope = contents(deletions=sets("IncrSyncDel", (0x40210102, IdSet({7: [(71, 72)]}))))
    found = compared(mine, scope, identity)
    assert verdict_of(found) == "expected"
    assert {one.why for one in found} == {"servers differ in which deletions they call out of scope"}


def test_ids_that_the_live_server_never_had_are_told() -> None:
    mine = contents(read=sets("IncrSyncRead", (0x402D0102, IdSet({1: [(5, 5)]}))))
    (one,) = compared(mine, contents())
    assert one.why == "objects that the live server was never seen to have"


def test_change_numbers_are_a_server_s_own_but_stand_for_the_same_changes() -> None:
    mine = contents(message(HERE, 1, "a", change=5), end=state(HERE, [(1, 1)], [(1, 5)]))
    same = contents(message(THERE, 70, "a", change=300), end=state(THERE, [(70, 70)], [(200, 300)]))
    found = compared(mine, same)
    assert bad(found) == []
    assert verdict_of(found) == "expected"
    lost = contents(message(THERE, 70, "a", change=300), end=state(THERE, [(70, 70)], [(200, 299)]))
    (one,) = [one for one in compared(mine, lost) if one.verdict == "different"]
    assert one.path == "state.MetaTagCnsetSeen"
    assert "message 'a'" in one.why


def test_an_object_too_many_in_the_state() -> None:
    mine = contents(message(HERE, 1, "a"), end=state(HERE, [(1, 1)], [(1, 1001)]))
    theirs = contents(message(THERE, 70, "a"), end=state(THERE, [(70, 71)], [(1, 1070)]))
    assert bad(compared(mine, theirs)) == ["state.MetaTagIdsetGiven"]


def test_a_stream_that_breaks_its_rules_is_a_difference() -> None:
    mine = contents(message(HERE, 1, "a"))
    broken = read_story(message(THERE, 70, "a") + b"\1\2\3", "contentsSync")
    assert "syntax" in bad(compared(mine, broken))


@pytest.mark.parametrize("data", [b"", b"\x03", bytes(300), bytes(range(256)) * 4])
def test_any_bytes_are_a_story(data: bytes) -> None:
    for root in ("contentsSync", "hierarchySync", "state", "messageList", "messageContent", "topFolder"):
        read_story(data, root)


def test_a_property_told_twice_counts_once_unless_it_differs() -> None:
    story = contents(message(HERE, 1, "a", (0x30080040, 5), (0x30080040, 6)))
    found = [path for path in story.changes[0].properties if "LastModificationTime" in path]
    assert found == ["PidTagLastModificationTime", "PidTagLastModificationTime#2"]


def test_objects_without_a_counterpart_are_called_by_their_names() -> None:
    """In later streams too, where only their ids stand."""
    identity, strangers = own(), Strangers()
    mine = contents(message(HERE, 1, "mine"), end=state(HERE, [(1, 1)], [(1001, 1001)]))
    theirs = contents(message(THERE, 70, "theirs"), end=state(THERE, [(70, 70)], [(1070, 1070)]))
    assert verdict_of(compared(mine, theirs, identity, strangers=strangers)) == "different"
    later = [contents(end=state(guid, [(at, at)], [])) for guid, at in ((HERE, 1), (THERE, 70))]
    found = compared(*later, identity, strangers=strangers)
    whys = [one.why for one in found if one.path == "state.MetaTagIdsetGiven" and one.verdict == "different"]
    assert sorted(why.partition(":")[0] for why in whys) == ["message 'mine'", "message 'theirs'"]
    assert [one.cause for one in found if "mine" in one.why] == ["missing"]


def test_the_objects_of_an_upload_s_state_are_the_server_s_own_affair() -> None:
    mine, theirs = (contents(end=state(HERE, given, [])) for given in ([(1, 3)], [(1, 2)]))
    same_store = Identity()
    same_store.learn(HERE, HERE)
    (one,) = compared(mine, theirs, same_store)
    assert one.verdict == "different"
    (one,) = compared(mine, theirs, same_store, upload=True)
    assert (one.verdict, "3.3.4.3.1" in one.why) == ("expected", True)


def test_what_is_missing_was_there_before_or_is_lost() -> None:
    mine, theirs = contents(message(HERE, 1, "a", (BODY, "x"))), contents(message(THERE, 70, "a"))
    (one,) = [one for one in compared(mine, theirs) if one.verdict == "different"]
    assert (one.cause, "it was there before" in one.why) == ("missing", True)
    (one,) = [
        one for one in compared(mine, theirs, given={(HERE, 1): {"PidTagBody"}}) if one.verdict == "different"
    ]  # fmt: skip
    assert (one.cause, one.why) == ("", "the client wrote it, and the live server has not kept it")


def test_bits_are_called_by_their_names() -> None:
    mine, theirs = (contents(message(HERE, 1, "a", (FLAGS, flags))) for flags in (0x49, 0x54))
    same_store = Identity()
    same_store.learn(HERE, HERE)
    (one,) = [one for one in compared(mine, theirs, same_store) if one.verdict == "different"]
    assert one.why == "only the captured one has mfRead | mfUnsent; only the live one has mfSubmitted | mfHasAttach"
