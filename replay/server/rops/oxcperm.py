"""Permission ROPs [MS-OXCPERM] 3.2.5. The entries are kept and shown; nobody is refused because of them."""

from __future__ import annotations

from typing import Any

from dissector.grammar.rops import oxcperm as grammar
from replay.server.call import Call, Fields
from replay.server.errors import INVALID_PARAMETER, NOT_FOUND, RopError
from replay.server.properties import Properties
from replay.server.session import FolderObject
from replay.server.store import PERMISSION
from replay.server.table import ListSource, Table
from replay.server.values import kept

REPLACE = 0x01
ADD, MODIFY, REMOVE = 0x01, 0x02, 0x04

ENTRY_ID, MEMBER_ID, MEMBER_NAME, MEMBER_RIGHTS = 0x0FFF, 0x6671, 0x6672, 0x6673
DEFAULT_MEMBER, ANONYMOUS = 0, -1

STANDARD = ((DEFAULT_MEMBER, ""), (ANONYMOUS, "Anonymous"))
"""The two entries every folder has."""


def _members(folder: FolderObject) -> dict[int, Properties]:
    """Entries by member id; the standard ones are made when they are first changed."""
    store, bag = folder.logon.store, folder.folder.bag
    found: dict[int, Properties] = {}
    for member, name in STANDARD:
        entry = Properties()
        entry.put(ENTRY_ID << 16 | 0x102, b"")
        entry.put(MEMBER_ID << 16 | 0x14, member)
        entry.put(MEMBER_NAME << 16 | 0x1F, name)
        entry.put(MEMBER_RIGHTS << 16 | 3, 0)
        found[member] = entry
    for child, _, _ in store.children(bag, PERMISSION):
        entry = store.properties(child)
        found[entry.value(MEMBER_ID)] = entry
    return found


def modify_permissions(call: Call) -> Fields:
    folder, request = call.folder(), call.request
    members = _members(folder)
    if request["ModifyFlags"] & REPLACE:
        members = {member: members[member] for member, _ in STANDARD if member in members}
    for one in request["PermissionsData"]:
        _modify(members, one["PermissionDataFlags"], _properties(one["PropertyValues"], folder.codec))
    store, bag = folder.logon.store, folder.folder.bag
    for child, _, _ in store.children(bag, PERMISSION):
        store.delete_bag(child)
    for number, entry in enumerate(members.values()):
        store.save(store.new_bag(PERMISSION, bag, number), entry, everything=True)
    return {}


def _properties(values: Any, codec: str) -> Properties:
    made = Properties()
    for one in values:
        kind, value = kept(one["PropertyTag"], one["PropertyValue"], codec)
        made.set(one["PropertyTag"] >> 16, kind, value)
    return made


def _modify(members: dict[int, Properties], flags: int, given: Properties) -> None:
    member = given.value(MEMBER_ID)
    if flags == ADD:
        if ENTRY_ID not in given:
            raise RopError(INVALID_PARAMETER)
        member = max((0, *members)) + 1
        given.put(MEMBER_ID << 16 | 0x14, member)
        if MEMBER_NAME not in given:
            given.put(MEMBER_NAME << 16 | 0x1F, "")
        members[member] = given
    elif flags in (MODIFY, REMOVE):
        if member not in members:
            raise RopError(NOT_FOUND)
        if flags == REMOVE:
            del members[member]
        else:
            members[member].put(MEMBER_RIGHTS << 16 | 3, given.value(MEMBER_RIGHTS, 0))
    else:
        raise RopError(INVALID_PARAMETER)


def get_permissions_table(call: Call) -> Fields:
    folder = call.folder()
    rows = [
        {prop_id: (entry.kind(prop_id) or 0, entry.value(prop_id)) for prop_id in entry}
        for entry in _members(folder).values()
    ]
    call.open(Table(folder.logon, ListSource(folder.logon.mailbox, rows), folder.codec, "permissions"))
    return {}


HANDLERS = (
    (grammar.MODIFY_PERMISSIONS, modify_permissions),
    (grammar.GET_PERMISSIONS_TABLE, get_permissions_table),
)
