from __future__ import annotations

import uuid

import pytest

from dissector.model.ids import LongTermId, ObjectId
from replay.identity import IdentityMap, UnmappedError

HERE, THERE = uuid.UUID(int=1), uuid.UUID(int=2)


def test_an_id_is_bound_on_first_sight_and_held() -> None:
    identity = IdentityMap()
    assert identity.learn(ObjectId(1, 5), ObjectId(1, 50))
    assert identity.learn(ObjectId(1, 5), ObjectId(1, 50))
    assert not identity.learn(ObjectId(1, 5), ObjectId(1, 51))
    assert identity.object_id(ObjectId(1, 5)) == ObjectId(1, 50)


def test_an_id_never_seen_is_told_not_guessed() -> None:
    with pytest.raises(UnmappedError, match="0001-000000000005"):
        IdentityMap().object_id(ObjectId(1, 5))


def test_the_null_id_is_itself() -> None:
    assert IdentityMap().object_id(ObjectId(0, 0)) == ObjectId(0, 0)
    assert not IdentityMap().learn(ObjectId(0, 0), ObjectId(1, 7))


def test_a_long_term_id_follows_its_replica_and_its_counter() -> None:
    identity = IdentityMap()
    identity.learn(HERE, THERE)
    identity.learn(ObjectId(1, 5), ObjectId(9, 50))
    assert identity.long_term_id(LongTermId(HERE, 5)) == LongTermId(THERE, 50)
    with pytest.raises(UnmappedError):
        identity.long_term_id(LongTermId(HERE, 6))
    foreign = LongTermId(uuid.UUID(int=3), 6)
    assert identity.long_term_id(foreign) == foreign


def test_local_replica_ids_map_by_their_place_in_the_range() -> None:
    identity = IdentityMap()
    identity.learn_local(1000, 77, 10)
    assert [identity.counter(number) for number in (999, 1000, 1009, 1010)] == [None, 77, 86, None]
