"""Permissions and rules: kept and shown."""

from __future__ import annotations

from typing import Any

from dissector.grammar.base import build
from dissector.grammar.restrictions import Restriction
from tests.replay.server.client import Client

NOT_FOUND, INVALID = 0x8004010F, 0x80070057
MEMBER_ID, MEMBER_NAME, RIGHTS, ENTRY_ID = 0x66710014, 0x6672001F, 0x66730003, 0x0FFF0102
ADD, MODIFY, REMOVE = 1, 2, 4


def test_permissions(client: Client, inbox: int) -> None:
    def rows() -> list[Any]:
        table = client.table("RopGetPermissionsTable", inbox, MEMBER_ID, MEMBER_NAME, RIGHTS)
        return client.rows(table)

    def modify(flags: int, *values: tuple[int, Any], replace: int = 0, expect: int = 0) -> None:
        entry = {
            "PermissionDataFlags": flags,
            "PropertyValues": [{"PropertyTag": tag, "PropertyValue": value} for tag, value in values],
        }
        client.call("RopModifyPermissions", inbox, ModifyFlags=replace, PermissionsData=[entry], expect=expect)

    assert [row[1:] for row in rows()] == [["", 0], ["Anonymous", 0]]
    modify(ADD, (ENTRY_ID, b""), (RIGHTS, 0x7FB))
    assert [row[2] for row in rows()] == [0, 0, 0x7FB]
    modify(MODIFY, (MEMBER_ID, 0), (RIGHTS, 1))
    assert rows()[0][2] == 1
    modify(REMOVE, (MEMBER_ID, rows()[2][0]))
    assert len(rows()) == 2
    modify(MODIFY, (MEMBER_ID, 99), (RIGHTS, 1), expect=NOT_FOUND)
    modify(ADD, (RIGHTS, 1), expect=INVALID)
    modify(7, (RIGHTS, 1), expect=INVALID)
    modify(ADD, (ENTRY_ID, b""), (RIGHTS, 2), replace=1)
    assert [row[2] for row in rows()] == [1, 0, 2]


def test_rules(client: Client, inbox: int) -> None:
    rule_id, name, sequence, condition = 0x66740014, 0x6682001F, 0x66760003, 0x667900FD
    restriction = {"RestrictType": 8, "PropertyTag": 0x0037001F}

    def modify(flags: int, *values: tuple[int, Any], replace: int = 0, expect: int = 0) -> None:
        entry = {
            "RuleDataFlags": flags,
            "PropertyValues": [{"PropertyTag": tag, "PropertyValue": value} for tag, value in values],
        }
        client.call("RopModifyRules", inbox, ModifyRulesFlags=replace, RulesData=[entry], expect=expect)

    def rows() -> list[Any]:
        table = client.table("RopGetRulesTable", inbox, rule_id, name, sequence, condition, flags=0x40)
        return client.rows(table)

    assert rows() == []
    modify(ADD, (name, "Rüle"), (sequence, 10), (condition, restriction))
    ((identifier, *rest, found),) = rows()
    assert rest == ["Rüle", 10]
    assert build(Restriction, found) == build(Restriction, restriction)
    modify(MODIFY, (rule_id, identifier), (sequence, 20))
    assert [row[:3] for row in rows()] == [[identifier, "Rüle", 20]]
    modify(MODIFY, (rule_id, (1, 4711)), expect=NOT_FOUND)
    modify(9, (rule_id, identifier), expect=INVALID)
    modify(ADD, (name, "second"), (sequence, 1))
    table = client.table("RopGetRulesTable", inbox, name, flags=0x40)
    client.call(
        "RopRestrict", table, RestrictFlags=0,
        RestrictionData={"RestrictType": 4, "RelOp": 4, "PropertyTag": sequence,
                         "TaggedValue": {"PropertyTag": sequence, "PropertyValue": 1}},
    )  # fmt: skip
    assert client.rows(table) == [["second"]]
    modify(REMOVE, (rule_id, identifier))
    assert [row[1] for row in rows()] == ["second"]
    modify(ADD, (name, "third"), replace=1)
    assert [row[1] for row in rows()] == ["third"]
