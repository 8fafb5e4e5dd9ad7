"""The ICS state: differences, and which state can have been reached from which."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from dissector.model.icsstate import NOTHING, IcsState, Relation
from dissector.model.idset import EMPTY, IdSet

GUID = uuid.UUID("b5ffb99b-440f-4f77-b488-c5c6702ee3a8")


def ids(*ranges: tuple[int, int]) -> IdSet:
    return IdSet({GUID: ranges})


FIRST = IcsState(ids((1, 3)), ids((10, 20)), ids((5, 5)), ids((7, 9)))

counters = st.sets(st.integers(1, 30), max_size=8)
states = st.builds(
    IcsState, *(counters.map(lambda found: IdSet.of([(GUID, counter) for counter in found])) for _ in range(4))
)


def test_from_properties_by_name() -> None:
    state = IcsState.of({"MetaTagIdsetGiven": ids((1, 1)), "MetaTagCnsetRead": ids((2, 2)), "PidTagSubject": EMPTY})
    assert state == IcsState(ids((1, 1)), EMPTY, EMPTY, ids((2, 2)))
    assert dict(state.named())["MetaTagCnsetRead"] == ids((2, 2))


def test_nothing_is_a_bootstrap() -> None:
    assert NOTHING.empty
    assert not IcsState(read=ids((1, 1))).empty


def test_what_came_and_what_went() -> None:
    after = FIRST._replace(given=ids((2, 4)), seen=ids((10, 25)))
    given_, seen, seen_fai, read = after.difference(FIRST)
    assert (given_.added, given_.removed) == (ids((4, 4)), ids((1, 1)))
    assert (seen.added, seen.removed) == (ids((21, 25)), EMPTY)
    assert not seen_fai
    assert not read


def test_change_numbers_tell_the_order() -> None:
    after = FIRST._replace(seen=ids((10, 25)))
    apart = FIRST._replace(seen=ids((10, 12)), read=ids((7, 12)))
    assert FIRST.relation(FIRST) is Relation.EQUAL
    assert after.relation(FIRST) is Relation.LATER
    assert FIRST.relation(after) is Relation.EARLIER
    assert apart.relation(FIRST) is Relation.APART
    assert FIRST._replace(given=EMPTY).relation(FIRST) is Relation.LATER, "all was deleted"


@given(states, states)
def test_differences_lead_from_one_state_to_the_other(before: IcsState, after: IcsState) -> None:
    rebuilt = [one - found.removed | found.added for one, found in zip(before, after.difference(before), strict=True)]
    assert IcsState(*rebuilt) == after


@given(states, states)
def test_relations_are_opposites(one: IcsState, two: IcsState) -> None:
    opposite = {Relation.LATER: Relation.EARLIER, Relation.EARLIER: Relation.LATER}
    found, back = one.relation(two), two.relation(one)
    if one[1:] == two[1:]:
        assert found is back
    else:
        assert back is opposite.get(found, found)
