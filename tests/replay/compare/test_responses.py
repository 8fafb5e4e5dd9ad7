"""Responses field by field: what the order says nothing about, rows by what they are about, ids, errors."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from dissector.grammar.base import build
from dissector.grammar.reading import parse
from dissector.grammar.rops import BY_NAME
from dissector.model.ids import ObjectId
from dissector.model.pcl import Xid
from dissector.session.exchange import Rop, RopSide
from dissector.source import ByteSource
from replay.compare.difference import Difference, verdict_of
from replay.compare.responses import compare, unseen
from replay.compare.values import agreement
from replay.identity import Identity

HERE, THERE = uuid.UUID(int=1), uuid.UUID(int=2)
COLUMNS = [0x674A0014, 0x0037001F, 0x0E070003]


def rop(name: str, code: int = 0, params: dict[str, Any] | None = None, **fields: Any) -> Rop:
    """A ROP with this response."""
    definition = BY_NAME[name]
    layout = definition.response_layout(code)
    assert layout is not None
    given = params or {}
    value = {definition.index or "": 0, "ReturnValue": code, **fields}
    data = build(layout, value, **given)
    value, end = parse(layout, data, **given)
    side = RopSide(definition.rop_id, definition, layout, ByteSource("rop", data), 0, end, value, given, True)
    return Rop(1, definition.rop_id, definition, None, side)


def compared(mine: Rop, theirs: Rop | None, identity: Identity | None = None, **options: Any) -> list[Difference]:
    return compare(mine, theirs, identity or Identity(), **options)


def bad(found: list[Difference]) -> list[tuple[str, Any, Any]]:
    return [(one.path, one.captured, one.live) for one in found if one.verdict == "different"]


def test_the_same_is_the_same() -> None:
    one = rop("RopOpenFolder", HasRules=False, IsGhosted=False)
    assert compared(one, one) == []
    assert verdict_of([]) == "same"


def test_no_answer() -> None:
    assert bad(compared(rop("RopOpenFolder", HasRules=False, IsGhosted=False), None)) == [
        ("", "a response", "none: the server left it out")
    ]


@pytest.mark.parametrize(
    ("code", "cause", "words"),
    [
        (0x80040802, "conflict", "a conflict"),
        (0x80040800, "deleted", "was deleted"),
        (0x80040801, "stale", "this version or a newer one"),
        (0x80040604, "exists", "was this replayed to it before?"),
        (0x8004010F, "missing", "is not on the live server"),
        (0x80070005, "denied", "may not do this"),
        (0x80004005, "", ""),
    ],
)
def test_a_failure_is_explained(code: int, cause: str, words: str) -> None:
    (one,) = compared(rop("RopSynchronizationImportMessageChange", MessageId=ObjectId(0, 0)),
                      rop("RopSynchronizationImportMessageChange", code))  # fmt: skip
    assert (one.path, one.cause, one.verdict) == ("ReturnValue", cause, "different")
    assert words in one.why


def test_values_of_a_message_in_any_order() -> None:
    one = [{"PropertyTag": 0x0037001F, "PropertyValue": "s"}, {"PropertyTag": 0x1000001F, "PropertyValue": "b"}]
    mine = rop("RopGetPropertiesAll", PropertyValues=one)
    assert compared(mine, rop("RopGetPropertiesAll", PropertyValues=one[::-1])) == []
    other = [{"PropertyTag": 0x1000001F, "PropertyValue": "c"}, {"PropertyTag": 0x7F000003, "PropertyValue": 1}, one[0]]
    found = bad(compared(mine, rop("RopGetPropertiesAll", PropertyValues=other)))
    assert found == [("PidTagBody", "b", "c"), ("0x7F000003", "(not there)", 1)]


def test_tags_are_a_set() -> None:
    mine = rop("RopGetPropertiesList", PropertyTags=[0x0037001F, 0x1000001F])
    assert compared(mine, rop("RopGetPropertiesList", PropertyTags=[0x1000001F, 0x0037001F])) == []
    assert len(bad(compared(mine, rop("RopGetPropertiesList", PropertyTags=[0x1000001F])))) == 1


def test_problems_go_by_their_property() -> None:
    mine = rop("RopSetProperties", PropertyProblems=[{"Index": 3, "PropertyTag": 0x0E070003, "ErrorCode": 0x80070005}])
    assert [one.verdict for one in compared(mine, rop("RopSetProperties", PropertyProblems=[]))] == ["expected"]


def rows(*values: list[Any], flagged: bool = False) -> Rop:
    made = [{"Flag": 0, "ValueArray": row} for row in values]
    if flagged:
        made = [
            {"Flag": 1, "ValueArray": [{"Flag": 0, "PropertyValue": one} if one is not None
                                       else {"Flag": 0x0A, "PropertyValue": 0x8004010F} for one in row]}
            for row in values
        ]  # fmt: skip
    return rop("RopQueryRows", params={"columns": tuple(COLUMNS)}, Origin=2, RowCount=len(made), RowData=made)


def test_rows_are_matched_by_what_they_are_about() -> None:
    identity = Identity()
    mine = rows([ObjectId(1, 1), "a", 1], [ObjectId(1, 2), "b", 1])
    theirs = rows([ObjectId(1, 92), "b", 1], [ObjectId(1, 93), "new", 1], [ObjectId(1, 91), "a", 0])
    found = compared(mine, theirs, identity)
    assert identity.object_id(ObjectId(1, 1)) == ObjectId(1, 91)
    assert identity.object_id(ObjectId(1, 2)) == ObjectId(1, 92)
    assert bad(found) == [
        ("RowData[0].PidTagMessageFlags", 1, 0), ("RowData", "(not there)", "a row with PidTagSubject 'new'"),
    ]  # fmt: skip
    assert [one.verdict for one in found if one.path == "RowData order"] == ["expected"]
    again = compared(mine, theirs, identity, ordered=True)
    assert [one.verdict for one in again if one.path == "RowData order"] == ["different"]


def test_known_ids_match_rows_whatever_they_say() -> None:
    identity = Identity()
    identity.learn(ObjectId(1, 1), ObjectId(1, 91))
    found = compared(
        rows([ObjectId(1, 1), "a", 1]), rows([ObjectId(1, 92), "a", 1], [ObjectId(1, 91), "z", 1]), identity
    )
    assert ("RowData[0].PidTagSubject", "a", "z") in bad(found)


def test_a_row_with_errors_is_compared_value_by_value() -> None:
    identity = Identity()
    found = compared(rows([ObjectId(1, 1), "a", 1]), rows([ObjectId(1, 91), "a", None], flagged=True), identity)
    assert bad(found) == [("RowData[0].PidTagMessageFlags", 1, "ecNotFound")]
    assert compared(rows([ObjectId(1, 5), "a", 1], flagged=True), rows([ObjectId(1, 5), "a", 1])) == []


def test_no_rows_at_all() -> None:
    found = compared(rows([ObjectId(1, 1), "a", 1]), rows())
    assert bad(found) == [("RowData[0]", "a row with PidTagSubject 'a'", "(not there)")]


# Values.


def test_ids_agree_when_they_can_be_each_other_s() -> None:
    identity = Identity()
    assert agreement(ObjectId(1, 5), ObjectId(1, 50), identity) == "remapped"
    assert agreement(ObjectId(1, 5), ObjectId(1, 51), identity) == "different"
    assert agreement(ObjectId(1, 6), ObjectId(1, 60), identity, bind=False) == "different"
    assert agreement(ObjectId(1, 0), ObjectId(1, 0), identity) == "same"


def test_change_lists_agree_when_the_store_s_own_numbers_can() -> None:
    client = Xid(uuid.UUID(int=9), b"1234")
    identity = Identity()
    identity.learn(HERE, THERE)
    mine, theirs = Xid(HERE, bytes(5) + b"\5"), Xid(THERE, bytes(5) + b"\7")
    assert agreement([client, mine], [theirs, client], identity, change=True) == "remapped"
    assert identity.change_key(mine) == (theirs, True)
    assert agreement([client], [theirs, client], identity, change=True) == "different"
    assert agreement([client, mine], [client], identity, change=True) == "different"
    other = Xid(uuid.UUID(int=8), b"1234")
    assert agreement([client], [other], identity, change=True) == "different"


def test_entry_ids_agree_by_what_they_name() -> None:
    identity = Identity()
    identity.learn(HERE, THERE)
    mine = {"ProviderUID": uuid.UUID(int=5), "FolderType": 1, "DatabaseGuid": HERE, "GlobalCounter": 5, "Pad": 0}
    theirs = {**mine, "ProviderUID": uuid.UUID(int=6), "DatabaseGuid": THERE, "GlobalCounter": 50}
    assert agreement(mine, theirs, identity) == "remapped"
    assert agreement(mine, {**theirs, "GlobalCounter": 51}, identity) == "different"
    assert agreement(mine, {**theirs, "FolderType": 2}, identity) == "different"


def test_names_of_the_mailbox_agree() -> None:
    identity = Identity()
    identity.names["/o=a/cn=alice"] = "/o=b/cn=bob"
    assert agreement("/o=A/cn=Alice", "/O=B/cn=bob", identity) == "remapped"
    assert agreement("EX:/O=A/CN=ALICE", "EX:/O=B/CN=BOB", identity) == "remapped"
    assert agreement("/o=a/cn=carol", "/o=b/cn=bob", identity) == "different"


def test_a_table_with_fewer_rows_says_how_many_are_missing() -> None:
    (one,) = compared(rop("RopGetContentsTable", RowCount=46), rop("RopGetContentsTable", RowCount=6))
    assert (one.why, one.cause) == ("40 of them are not on the live server", "missing")
    (one,) = compared(rop("RopGetContentsTable", RowCount=6), rop("RopGetContentsTable", RowCount=46))
    assert (one.why, one.cause) == ("the live server had 40 more before", "")


def test_what_the_live_server_was_never_seen_to_have_is_named() -> None:
    identity = Identity()
    identity.learn(HERE, THERE)
    entry = {"Flags": 0, "DatabaseGuid": HERE, "GlobalCounter": 24}
    assert "never seen to have: 00000000-0000-0000-0000-000000000001-000000000018" in unseen([b"", entry], identity)
    identity.learn(Xid(HERE, bytes(5) + b"\x18"), Xid(THERE, bytes(5) + b"\x19"))
    assert unseen([b"", entry], identity) == ""


def test_what_a_server_does_not_do_is_no_missing_object() -> None:
    (one,) = compared(rop("RopOpenFolder", HasRules=False, IsGhosted=False), rop("RopOpenFolder", 0x80040102))
    assert one.cause == "unsupported"
