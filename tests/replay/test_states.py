"""Uploaded states: the live state where the capture shows the captured one being given, else mapped set by set."""

from __future__ import annotations

import uuid

import pytest

from dissector.grammar.idset import IDSET_REPLGUID, decode_idset, encode_idset
from dissector.model.ids import ObjectId
from dissector.model.idset import IdSet
from dissector.model.pcl import Xid
from replay.identity import Identity
from replay.states import States

HERE, THERE = uuid.UUID(int=1), uuid.UUID(int=2)
GIVEN, SEEN = 0x40170003, 0x67960102
INBOX = (ObjectId(1, 13), "contents")
OTHER = (ObjectId(1, 14), "contents")


def ids(guid: uuid.UUID, *ranges: tuple[int, int]) -> IdSet:
    return IdSet({guid: ranges})


@pytest.fixture
def states() -> States:
    identity = Identity()
    identity.learn(HERE, THERE)
    for number in range(100, 110):
        identity.learn(Xid(HERE, number.to_bytes(6, "big")), Xid(THERE, (number * 10).to_bytes(6, "big")))
        identity.learn(Xid(HERE, number.to_bytes(6, "big")), Xid(THERE, (number * 7).to_bytes(6, "big")), change=True)
    made = States(identity)
    made.learn(
        INBOX,
        {"MetaTagIdsetGiven": ids(HERE, (100, 105)), "MetaTagCnsetSeen": ids(HERE, (1, 105))},
        {"MetaTagIdsetGiven": ids(THERE, (1000, 1050)), "MetaTagCnsetSeen": ids(THERE, (1, 735))},
    )
    return made


def upload(states: States, tag: int, captured: IdSet, where: tuple[ObjectId, str] = INBOX) -> tuple[IdSet, str]:
    made = states.rewrite(where, tag, encode_idset(captured))
    return decode_idset(made.data, IDSET_REPLGUID), made.note


def test_a_state_that_was_given_is_the_live_one(states: States) -> None:
    assert upload(states, SEEN, ids(HERE, (1, 105))) == (ids(THERE, (1, 735)), "")
    assert upload(states, GIVEN, ids(HERE, (100, 105))) == (ids(THERE, (1000, 1050)), "")


def test_the_last_one_that_was_given_counts(states: States) -> None:
    newer = {"MetaTagCnsetSeen": ids(THERE, (1, 999))}
    states.learn(INBOX, {"MetaTagCnsetSeen": ids(HERE, (1, 105))}, newer)
    assert upload(states, SEEN, ids(HERE, (1, 105)))[0] == ids(THERE, (1, 999))


def test_the_folder_counts_where_two_were_given_the_same(states: States) -> None:
    states.learn(OTHER, {"MetaTagCnsetSeen": ids(HERE, (1, 105))}, {"MetaTagCnsetSeen": ids(THERE, (1, 9))})
    assert upload(states, SEEN, ids(HERE, (1, 105)))[0] == ids(THERE, (1, 735))
    assert upload(states, SEEN, ids(HERE, (1, 105)), OTHER)[0] == ids(THERE, (1, 9))


def test_what_the_client_added_and_took_away_is_mapped_id_by_id(states: States) -> None:
    live, note = upload(states, GIVEN, ids(HERE, (100, 102), (104, 107)))
    assert live == (ids(THERE, (1000, 1050)) | ids(THERE, (1060, 1060), (1070, 1070))) - ids(THERE, (1030, 1030))
    assert note == ""
    live, note = upload(states, SEEN, ids(HERE, (1, 107)))
    assert live == ids(THERE, (1, 735), (742, 742), (749, 749))
    assert note == ""


def test_an_earlier_state_is_the_later_one_without_what_came_then(states: States) -> None:
    live, _ = upload(states, SEEN, ids(HERE, (1, 103)))
    assert live == ids(THERE, (1, 735)) - ids(THERE, (728, 728), (735, 735))


def test_numbers_that_nobody_knows_are_counted(states: States) -> None:
    _, note = upload(states, GIVEN, ids(HERE, (100, 105), (900, 902)))
    assert note.startswith("3 numbers")


def test_a_state_from_before_the_capture(states: States) -> None:
    live, note = upload(States(states.identity), GIVEN, ids(HERE, (50, 101)))
    assert live == ids(THERE, (1000, 1000), (1010, 1010))
    assert note == "a state from before the capture: 50 of its 52 ids are not known"
    live, note = upload(States(states.identity), SEEN, ids(HERE, (1, 77)))
    assert live == ids(THERE, (1, 77))
    assert "kept under the live GUID" in note


def test_ids_of_a_local_range_are_known_without_being_used() -> None:
    identity = Identity()
    identity.learn_local((HERE, 500), (THERE, 60), 10)
    assert upload(States(identity), GIVEN, ids(HERE, (500, 503))) == (ids(THERE, (60, 63)), "")


def test_on_the_same_store_a_state_is_itself() -> None:
    identity = Identity()
    identity.learn(HERE, HERE)
    assert upload(States(identity), SEEN, ids(HERE, (1, 5))) == (ids(HERE, (1, 5)), "")


def test_bytes_that_are_no_set_are_sent_as_they_are(states: States) -> None:
    made = states.rewrite(INBOX, SEEN, b"\1\2\3")
    assert made.data == b"\1\2\3"
    assert "cannot be read" in made.note
    assert states.rewrite(INBOX, 0x0037001F, b"text").data == b"text"
    assert states.rewrite(INBOX, SEEN, b"").data == b""
