from __future__ import annotations

import uuid

import pytest

from dissector.model.ids import LongTermId, ObjectId
from dissector.model.pcl import Xid
from replay.identity import Identity, UnmappedError

HERE, THERE, CLIENT = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)


def key(guid: uuid.UUID, counter: int) -> Xid:
    return Xid(guid, counter.to_bytes(6, "big"))


def test_an_id_is_bound_on_first_sight_and_held() -> None:
    identity = Identity()
    assert identity.learn(ObjectId(1, 5), ObjectId(1, 50))
    assert identity.learn(ObjectId(1, 5), ObjectId(1, 50))
    assert not identity.learn(ObjectId(1, 5), ObjectId(1, 51))
    assert identity.object_id(ObjectId(1, 5)) == ObjectId(1, 50)


def test_two_captured_ids_are_never_one_live_id() -> None:
    identity = Identity()
    assert identity.learn(ObjectId(1, 5), ObjectId(1, 50))
    assert not identity.learn(ObjectId(1, 6), ObjectId(1, 50))


def test_an_id_never_seen_is_told_not_guessed() -> None:
    with pytest.raises(UnmappedError, match="0001-000000000005"):
        Identity().object_id(ObjectId(1, 5))


def test_the_null_id_is_itself() -> None:
    assert Identity().object_id(ObjectId(0, 0)) == ObjectId(0, 0)
    assert not Identity().learn(ObjectId(0, 0), ObjectId(1, 7))


def test_both_names_of_an_object_answer_for_each_other() -> None:
    identity = Identity()
    identity.captured.learn(1, HERE)
    identity.live.learn(9, THERE)
    identity.learn(ObjectId(1, 5), ObjectId(9, 50))
    assert identity.source_key(key(HERE, 5)) == key(THERE, 50)
    assert identity.long_term_id(LongTermId(HERE, 5, 7)) == LongTermId(THERE, 50, 7)
    identity.learn(key(HERE, 6), key(THERE, 60))
    assert identity.object_id(ObjectId(1, 6)) == ObjectId(9, 60)
    assert identity.captured_object(ObjectId(9, 60)) == ObjectId(1, 6)
    assert identity.captured_global((THERE, 50)) == (HERE, 5)


def test_a_guid_whose_number_was_never_told_is_found_by_the_counters() -> None:
    """Gromox names REPLID 5 at logon and gives its objects REPLID 1."""
    identity = Identity()
    identity.learn(HERE, THERE)
    identity.live.learn(1, THERE)
    identity.learn(ObjectId(1, 5), ObjectId(1, 50))
    assert identity.source_key(key(HERE, 5)) == key(THERE, 50)


def test_ids_of_a_foreign_store_are_themselves() -> None:
    identity = Identity()
    identity.learn(HERE, THERE)
    assert identity.source_key(key(CLIENT, 6)) == key(CLIENT, 6)
    assert identity.long_term_id(LongTermId(CLIENT, 6)) == LongTermId(CLIENT, 6)
    with pytest.raises(UnmappedError):
        identity.source_key(key(HERE, 6))
    short = Xid(HERE, b"\1\2\3\4")
    assert identity.source_key(short) == short


def test_local_replica_ids_map_by_their_place_in_the_range() -> None:
    identity = Identity()
    identity.learn_local((HERE, 1000), (THERE, 77), 10)
    found = [identity.try_global((HERE, number)) for number in (999, 1000, 1009, 1010)]
    assert found == [None, (THERE, 77), (THERE, 86), None]
    assert identity.captured_global((THERE, 86)) == (HERE, 1009)
    identity.captured.learn(1, HERE)
    identity.live.learn(4, THERE)
    assert identity.object_id(ObjectId(1, 1001)) == ObjectId(4, 78)


def test_changes_and_objects_with_the_same_count_are_not_confused() -> None:
    identity = Identity()
    identity.learn(HERE, THERE)
    identity.learn(key(HERE, 13), key(THERE, 130), change=True)
    with pytest.raises(UnmappedError):
        identity.source_key(key(HERE, 13))
    assert identity.change_key(key(HERE, 13)) == (key(THERE, 130), True)
    assert identity.change_key(key(HERE, 14)) == (key(THERE, 14), False)
    assert identity.change_key(key(CLIENT, 14)) == (key(CLIENT, 14), True)


def test_ids_that_are_equal_on_both_sides_are_bound_too() -> None:
    identity = Identity()
    assert identity.learn(key(HERE, 5), key(HERE, 5))
    assert identity.source_key(key(HERE, 5)) == key(HERE, 5)
