"""Rule ROPs [MS-OXORULE] 3.2.5. Rules are kept and shown; none is run, since nothing is delivered from outside."""

from __future__ import annotations

from dissector.grammar.rops import oxorule as grammar
from replay.server.call import Call, Fields
from replay.server.errors import INVALID_PARAMETER, NOT_FOUND, NOT_SUPPORTED, RopError
from replay.server.properties import Properties
from replay.server.session import FolderObject
from replay.server.store import RULE
from replay.server.table import ListSource, Table
from replay.server.values import kept

REPLACE = 0x01
ADD, MODIFY, REMOVE = 0x01, 0x02, 0x04
RULE_ID = 0x6674


def _rules(folder: FolderObject) -> dict[int, int]:
    """{rule id: bag}."""
    store = folder.logon.store
    return {store.properties(bag).value(RULE_ID, 0): bag for bag, _, _ in store.children(folder.folder.bag, RULE)}


def modify_rules(call: Call) -> Fields:
    folder, request = call.folder(), call.request
    store, parent = folder.logon.store, folder.folder.bag
    if request["ModifyRulesFlags"] & REPLACE:
        for bag in _rules(folder).values():
            store.delete_bag(bag)
    for one in request["RulesData"]:
        rules, given = _rules(folder), Properties()
        for value in one["PropertyValues"]:
            kind, plain = kept(value["PropertyTag"], value["PropertyValue"], folder.codec)
            given.set(value["PropertyTag"] >> 16, kind, plain)
        flags, number = one["RuleDataFlags"], given.value(RULE_ID)
        if flags == ADD:
            given.put(RULE_ID << 16 | 0x14, folder.logon.mailbox.reserve(1))
            store.save(store.new_bag(RULE, parent, len(rules)), given, everything=True)
        elif flags not in (MODIFY, REMOVE):
            raise RopError(INVALID_PARAMETER)
        elif number not in rules:
            raise RopError(NOT_FOUND)
        elif flags == MODIFY:
            store.save(rules[number], given)
        else:
            store.delete_bag(rules[number])
    return {}


def get_rules_table(call: Call) -> Fields:
    folder = call.folder()
    rows = []
    for bag in _rules(folder).values():
        entry = folder.logon.store.properties(bag)
        rows.append({prop_id: (entry.kind(prop_id) or 0, entry.value(prop_id)) for prop_id in entry})
    call.open(Table(folder.logon, ListSource(folder.logon.mailbox, rows), folder.codec, "rules"))
    return {}


def update_deferred_action_messages(call: Call) -> Fields:
    """No deferred action messages are made here."""
    call.logon()
    raise RopError(NOT_SUPPORTED)


HANDLERS = (
    (grammar.MODIFY_RULES, modify_rules),
    (grammar.GET_RULES_TABLE, get_rules_table),
    (grammar.UPDATE_DEFERRED_ACTION_MESSAGES, update_deferred_action_messages),
)
