"""Folder ROPs [MS-OXCFOLD] 3.2.5."""

from __future__ import annotations

from typing import Any

from dissector.grammar.rops import oxcfold as grammar
from replay.server import folders, messages, searches
from replay.server.call import Call, Fields
from replay.server.errors import (
    DUPLICATE_NAME,
    INVALID_PARAMETER,
    NOT_FOUND,
    NOT_SEARCH_FOLDER,
    NOT_SUPPORTED,
    SEARCH_FOLDER,
    RopError,
)  # fmt: skip
from replay.server.mailbox import GENERIC, SEARCH, pack, unpack
from replay.server.properties import Properties
from replay.server.restriction import checked
from replay.server.session import FolderObject, Logon
from replay.server.table import ContentsSource, HierarchySource, Table
from replay.server.tablewatch import MESSAGE
from replay.server.tablewatch import SEARCH as SEARCH_ROW
from replay.server.underway import Operation, carry_out
from replay.server.values import text_of

OPEN_SOFT_DELETED = 0x04
DELETE_MESSAGES, DELETE_FOLDERS, DELETE_HARD = 0x01, 0x04, 0x10

ASSOCIATED, DEPTH, NO_NOTIFICATIONS, SOFT_DELETES, SUPPRESSES_NOTIFICATIONS = 0x02, 0x04, 0x10, 0x20, 0x80
"""Table flags."""

HIERARCHY_FLAGS, CONTENTS_FLAGS = 0x04 | 0x08 | 0x10 | 0x20 | 0x40 | 0x80, 0x02 | 0x08 | 0x10 | 0x20 | 0x40 | 0x80


def open_folder(call: Call) -> Fields:
    opener = call.get(Logon, FolderObject)
    deleted = bool(call.request["OpenModeFlags"] & OPEN_SOFT_DELETED)
    folder = folders.get(opener.logon.mailbox, pack(call.request["FolderId"]), deleted)
    call.open(FolderObject(opener.logon, folder.id, deleted))
    return {"HasRules": False}


def create_folder(call: Call) -> Fields:
    request, parent = call.request, call.folder()
    mailbox = parent.logon.mailbox
    width = 2 if request["UseUnicodeStrings"] else 1
    name, comment = (text_of(request[field], width, parent.codec) for field in ("DisplayName", "Comment"))
    if request["FolderType"] not in (GENERIC, SEARCH) or not name:
        raise RopError(INVALID_PARAMETER)
    if parent.folder.deleted:
        raise RopError(NOT_FOUND)
    existing = folders.by_name(mailbox, parent.id, name)
    if existing is not None:
        if not request["OpenExisting"]:
            raise RopError(DUPLICATE_NAME)
        call.open(FolderObject(parent.logon, existing.id))
        return {"FolderId": unpack(existing.id), "IsExistingFolder": True, "HasRules": False, "IsGhosted": False}
    properties = Properties()
    if comment:
        properties.put(0x3004001F, comment)
    made = folders.create(mailbox, parent.id, name, properties, request["FolderType"])
    call.open(FolderObject(parent.logon, made))
    return {"FolderId": unpack(made)}


def delete_folder(call: Call) -> Fields:
    mailbox, flags = call.folder().logon.mailbox, call.request["DeleteFolderFlags"]
    if flags & ~(DELETE_MESSAGES | DELETE_FOLDERS | DELETE_HARD):
        raise RopError(INVALID_PARAMETER)
    hard = bool(flags & DELETE_HARD)
    folder = folders.get(mailbox, pack(call.request["FolderId"]), deleted=hard)
    partial = folders.delete(mailbox, folder, hard, bool(flags & DELETE_MESSAGES), bool(flags & DELETE_FOLDERS))
    return {"PartialCompletion": partial}


def set_search_criteria(call: Call) -> Fields:
    request, folder = call.request, call.folder()
    if folder.folder.kind != SEARCH:
        raise RopError(NOT_SEARCH_FOLDER)
    scope = [pack(one) for one in request["FolderIds"]]
    searches.define(folder, checked(request["RestrictionData"]), scope, request["SearchFlags"])
    return {}


def get_search_criteria(call: Call) -> Fields:
    request, folder = call.request, call.folder()
    if folder.folder.kind != SEARCH:
        raise RopError(NOT_SEARCH_FOLDER)
    found = searches.definition(folder)
    return {
        "RestrictionData": found.restriction_bytes() if request["IncludeRestriction"] else None,
        "LogonId": folder.logon.number,
        "FolderIds": [unpack(one) for one in found.scope] if request["IncludeFolders"] else [],
        "SearchFlags": found.state,
    }


def _both(call: Call) -> tuple[FolderObject, FolderObject]:
    source = call.folder()
    target = call.destination(FolderObject)
    if target.folder.deleted:
        raise RopError(NOT_FOUND)
    return source, target


def move_copy_messages(call: Call) -> Fields:
    source, target = _both(call)
    if target.folder.kind == SEARCH:
        raise RopError(SEARCH_FOLDER)
    identifiers = [pack(one) for one in call.request["MessageIds"]]
    mailbox = source.logon.mailbox
    if target.logon.mailbox.id != mailbox.id:
        raise RopError(NOT_SUPPORTED)
    work = messages.copy if call.request["WantCopy"] else messages.move
    return carry_out(call, Operation(call, identifiers, lambda part: work(mailbox, part, target.id, source.id)))


def _named(call: Call, source: FolderObject) -> tuple[folders.Folder, str]:
    request = call.request
    name = text_of(request["NewFolderName"], 2 if request["UseUnicode"] else 1, source.codec)
    folder = folders.get(source.logon.mailbox, pack(request["FolderId"]))
    if folder.parent != source.id:
        raise RopError(NOT_FOUND)
    if not name:
        raise RopError(INVALID_PARAMETER)
    return folder, name


def move_folder(call: Call) -> Fields:
    source, target = _both(call)
    folder, name = _named(call, source)
    folders.move(source.logon.mailbox, folder, target.folder, name)
    return {"PartialCompletion": False}


def copy_folder(call: Call) -> Fields:
    source, target = _both(call)
    folder, name = _named(call, source)
    folders.copy(source.logon.mailbox, folder, target.folder, name, bool(call.request["WantRecursive"]))
    return {"PartialCompletion": False}


def _empty(call: Call, hard: bool) -> Fields:
    folder = call.folder()
    if folder.folder.parent is None or folder.folder.kind == SEARCH:
        raise RopError(NOT_SUPPORTED)
    mailbox, kinds = folder.logon.mailbox, (0, 1) if call.request["WantDeleteAssociated"] else (0,)
    identifiers = [one for associated in kinds for one in messages.ids(mailbox, folder.id, associated)]
    return carry_out(
        call,
        Operation(
            call, identifiers, lambda part: messages.delete(mailbox, part, folder.id, hard),
            lambda: folders.empty_of_folders(mailbox, folder.folder, hard),
        ),
    )  # fmt: skip


def empty_folder(call: Call) -> Fields:
    return _empty(call, hard=False)


def hard_delete_messages_and_subfolders(call: Call) -> Fields:
    return _empty(call, hard=True)


def _delete(call: Call, hard: bool) -> Fields:
    folder = call.folder()
    identifiers = [pack(one) for one in call.request["MessageIds"]]
    mailbox = folder.logon.mailbox
    return carry_out(call, Operation(call, identifiers, lambda part: messages.delete(mailbox, part, folder.id, hard)))


def delete_messages(call: Call) -> Fields:
    return _delete(call, hard=False)


def hard_delete_messages(call: Call) -> Fields:
    return _delete(call, hard=True)


def get_hierarchy_table(call: Call) -> Fields:
    folder, flags = call.folder(), call.request["TableFlags"]
    if flags & ~HIERARCHY_FLAGS:
        raise RopError(NOT_SUPPORTED)
    deep, deleted = bool(flags & DEPTH), bool(flags & SOFT_DELETES)
    source = HierarchySource(folder.logon.mailbox, folder.id, deep, deleted)
    notify = not flags & (NO_NOTIFICATIONS | SUPPRESSES_NOTIFICATIONS)
    return _opened(call, Table(folder.logon, source, folder.codec, "hierarchy", notify))


def get_contents_table(call: Call) -> Fields:
    folder, flags = call.folder(), call.request["TableFlags"]
    if flags & ~CONTENTS_FLAGS:
        raise RopError(NOT_SUPPORTED)
    associated, deleted = bool(flags & ASSOCIATED), bool(flags & SOFT_DELETES)
    source: Any = ContentsSource(folder.logon.mailbox, folder.id, associated, deleted)
    of_rows = MESSAGE
    if folder.folder.kind == SEARCH:
        source, of_rows = searches.SearchSource(folder), MESSAGE | SEARCH_ROW
    notify = not flags & NO_NOTIFICATIONS
    return _opened(call, Table(folder.logon, source, folder.codec, "contents", notify, of_rows))


def _opened(call: Call, table: Table) -> Fields:
    call.open(table)
    return {"RowCount": len(table.rows())}


HANDLERS = (
    (grammar.OPEN_FOLDER, open_folder),
    (grammar.CREATE_FOLDER, create_folder),
    (grammar.DELETE_FOLDER, delete_folder),
    (grammar.SET_SEARCH_CRITERIA, set_search_criteria),
    (grammar.GET_SEARCH_CRITERIA, get_search_criteria),
    (grammar.MOVE_COPY_MESSAGES, move_copy_messages),
    (grammar.MOVE_FOLDER, move_folder),
    (grammar.COPY_FOLDER, copy_folder),
    (grammar.EMPTY_FOLDER, empty_folder),
    (grammar.HARD_DELETE_MESSAGES_AND_SUBFOLDERS, hard_delete_messages_and_subfolders),
    (grammar.DELETE_MESSAGES, delete_messages),
    (grammar.HARD_DELETE_MESSAGES, hard_delete_messages),
    (grammar.GET_HIERARCHY_TABLE, get_hierarchy_table),
    (grammar.GET_CONTENTS_TABLE, get_contents_table),
)
