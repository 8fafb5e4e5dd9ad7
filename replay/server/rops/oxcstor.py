"""Store ROPs [MS-OXCSTOR] 3.2.5: logon, receive folders, ids, per-user information."""

from __future__ import annotations

import time
import uuid
from typing import Any

from dissector.grammar.rops import oxcstor as grammar
from dissector.model.ids import LongTermId
from replay.server import folders
from replay.server.call import Call, Fields
from replay.server.delivery import receive_folder
from replay.server.errors import (
    ACCESS_DENIED,
    ERROR,
    INVALID_PARAMETER,
    LOGIN_FAILURE,
    NO_RECEIVE_FOLDER,
    NO_REPLICA_AVAILABLE,
    NOT_FOUND,
    RopError,
)  # fmt: skip
from replay.server.mailbox import OWN_REPLICA, SEARCH, SPECIAL, pack, unpack, wire_number
from replay.server.session import PRIVATE_LOGON, Logon
from replay.server.values import on_wire

OWNER_RIGHTS = 0x07
"""ResponseFlags: reserved (always set), owner, send-as."""

ECHOED_LOGON_FLAGS = 0x07
LOGON_FOLDERS = 13
STORE_HAS_SEARCHES = 0x01000000
PER_USER_CHUNK = 4096


def logon(call: Call) -> Fields:
    """Open the user's mailbox, nobody else's. There are no public folders here."""
    flags = call.request["LogonFlags"]
    if not flags & PRIVATE_LOGON:
        raise RopError(LOGIN_FAILURE)
    mailbox = call.session.directory.mailbox(_text(call.request["Essdn"]).rstrip("\0"), call.session.user)
    number = call.request["LogonId"]
    for handle, thing in list(call.session.objects.items()):
        if thing is call.session.logons.get(number):
            call.session.release(handle)
    opened = Logon(call.session, number, mailbox, flags)
    call.session.logons[number] = opened
    call.open(opened)
    now = time.gmtime(call.store.clock())
    return {
        "LogonFlags": flags & ECHOED_LOGON_FLAGS,
        "FolderIds": {name: unpack(mailbox.special(name)) for name, *_ in SPECIAL[:LOGON_FOLDERS]},
        "ResponseFlags": OWNER_RIGHTS,
        "MailboxGuid": mailbox.guid,
        "ReplId": OWN_REPLICA,
        "ReplGuid": mailbox.replica,
        "LogonTime": {
            "Seconds": now.tm_sec, "Minutes": now.tm_min, "Hour": now.tm_hour, "DayOfWeek": (now.tm_wday + 1) % 7,
            "Day": now.tm_mday, "Month": now.tm_mon, "Year": now.tm_year,
        },
        "GwartTime": call.store.now(),
        "StoreState": 0,
    }  # fmt: skip


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else bytes(value).decode("latin-1")


def message_class(value: Any) -> str:
    """A message class as [MS-OXCSTOR] 2.2.1.2.1 allows it, else ecInvalidParam."""
    text = _text(value)
    if len(text) > 254 or not all(" " <= one <= "~" for one in text):
        raise RopError(INVALID_PARAMETER)
    if text.startswith(".") or text.endswith(".") or ".." in text:
        raise RopError(INVALID_PARAMETER)
    return text


def get_receive_folder(call: Call) -> Fields:
    folder, configured = receive_folder(call.mailbox(), message_class(call.request["MessageClass"]))
    return {"FolderId": unpack(folder), "ExplicitMessageClass": configured}


def set_receive_folder(call: Call) -> Fields:
    mailbox, folder = call.mailbox(), pack(call.request["FolderId"])
    wanted = message_class(call.request["MessageClass"])
    if wanted.casefold() in ("ipm", "report.ipm"):
        raise RopError(ACCESS_DENIED)
    if not folder and not wanted:
        raise RopError(ERROR)
    if folder:
        folders.get(mailbox, folder)
    for (configured,) in call.store.run("SELECT class FROM receive WHERE mailbox = ?", mailbox.id).fetchall():
        if configured.casefold() == wanted.casefold():
            call.store.run("DELETE FROM receive WHERE mailbox = ? AND class = ?", mailbox.id, configured)
    if folder:
        call.store.run("INSERT INTO receive VALUES(?, ?, ?, ?)", mailbox.id, wanted, folder, call.store.now())
    return {}


def get_receive_folder_table(call: Call) -> Fields:
    mailbox = call.mailbox()
    found = call.store.run("SELECT folder, class, modified FROM receive WHERE mailbox = ? ORDER BY class", mailbox.id)
    rows = [{"Flag": 0, "ValueArray": [_folder_id(folder), name, modified]} for folder, name, modified in found]
    if not rows:
        raise RopError(NO_RECEIVE_FOLDER)
    return {"Rows": rows}


def _folder_id(folder: int) -> Any:
    return on_wire(0x67480014, wire_number(folder), "cp1252")


def get_store_state(call: Call) -> Fields:
    """Exchange 2007 and earlier answer this; later ones say ecNotImplemented [MS-OXCSTOR] 3.2.5.5."""
    mailbox = call.get(Logon).mailbox
    row = call.store.one(
        "SELECT count(*) FROM folders WHERE mailbox = ? AND kind = ? AND deleted = 0", mailbox.id, SEARCH
    )
    return {"StoreState": STORE_HAS_SEARCHES if row[0] else 0}


def get_owning_servers(call: Call) -> Fields:
    folders.get(call.mailbox(), pack(call.request["FolderId"]))
    raise RopError(NO_REPLICA_AVAILABLE)


def public_folder_is_ghosted(call: Call) -> Fields:
    """Nothing in a mailbox is ghosted."""
    folders.get(call.mailbox(), pack(call.request["FolderId"]))
    return {"IsGhosted": False}


def long_term_id_from_id(call: Call) -> Fields:
    replica_id, counter = call.request["ObjectId"]
    guid = call.mailbox().guid_of(replica_id)
    if guid is None:
        raise RopError(NOT_FOUND)
    return {"LongTermId": LongTermId(guid, counter)}


def id_from_long_term_id(call: Call) -> Fields:
    guid, counter, _ = call.request["LongTermId"]
    if not guid.int or not counter:
        raise RopError(INVALID_PARAMETER)
    return {"ObjectId": (call.mailbox().replica_id_of(guid), counter)}


def _key(value: LongTermId) -> bytes:
    return value.guid.bytes_le + value.counter.to_bytes(6, "big")


def get_per_user_long_term_ids(call: Call) -> Fields:
    found = call.store.run(
        "SELECT folder FROM per_user WHERE mailbox = ? AND guid = ? ORDER BY folder",
        call.mailbox().id, call.request["DatabaseGuid"].bytes_le,
    )  # fmt: skip
    return {"LongTermIds": [_long_term_id(row[0]) for row in found]}


def _long_term_id(key: bytes) -> LongTermId:
    return LongTermId(uuid.UUID(bytes_le=key[:16]), int.from_bytes(key[16:], "big"))


def get_per_user_guid(call: Call) -> Fields:
    row = call.store.one(
        "SELECT guid FROM per_user WHERE mailbox = ? AND folder = ?",
        call.mailbox().id, _key(call.request["LongTermId"]),
    )  # fmt: skip
    if row is None:
        raise RopError(NOT_FOUND)
    return {"DatabaseGuid": uuid.UUID(bytes_le=row[0])}


def read_per_user_information(call: Call) -> Fields:
    row = call.store.one(
        "SELECT data FROM per_user WHERE mailbox = ? AND folder = ?", call.mailbox().id, _key(call.request["FolderId"])
    )
    data, offset = (b"" if row is None else row[0]), call.request["DataOffset"]
    if offset > len(data):
        raise RopError(ERROR)
    size = min(call.request["MaxDataSize"] or PER_USER_CHUNK, PER_USER_CHUNK, max(call.room - 16, 0))
    chunk = data[offset : offset + size]
    return {"HasFinished": offset + len(chunk) == len(data), "Data": chunk}


def write_per_user_information(call: Call) -> Fields:
    """Chunks are put together in the logon and stored when the last one has come."""
    opened, key, request = call.get(Logon), _key(call.request["FolderId"]), call.request
    if request["DataOffset"] == 0:
        opened.per_user[key] = (request["ReplGuid"], bytearray())
    guid, data = opened.per_user.get(key, (None, bytearray()))
    if guid is None or request["DataOffset"] != len(data):
        raise RopError(ERROR)
    data += request["Data"]
    if request["HasFinished"]:
        del opened.per_user[key]
        mailbox = opened.mailbox.id
        if data:
            values = mailbox, key, guid.bytes_le, bytes(data)
            call.store.run("INSERT OR REPLACE INTO per_user VALUES(?, ?, ?, ?)", *values)
        else:
            call.store.run("DELETE FROM per_user WHERE mailbox = ? AND folder = ?", mailbox, key)
    return {}


HANDLERS = (
    (grammar.LOGON, logon),
    (grammar.GET_RECEIVE_FOLDER, get_receive_folder),
    (grammar.SET_RECEIVE_FOLDER, set_receive_folder),
    (grammar.GET_RECEIVE_FOLDER_TABLE, get_receive_folder_table),
    (grammar.GET_STORE_STATE, get_store_state),
    (grammar.GET_OWNING_SERVERS, get_owning_servers),
    (grammar.PUBLIC_FOLDER_IS_GHOSTED, public_folder_is_ghosted),
    (grammar.LONG_TERM_ID_FROM_ID, long_term_id_from_id),
    (grammar.ID_FROM_LONG_TERM_ID, id_from_long_term_id),
    (grammar.GET_PER_USER_LONG_TERM_IDS, get_per_user_long_term_ids),
    (grammar.GET_PER_USER_GUID, get_per_user_guid),
    (grammar.READ_PER_USER_INFORMATION, read_per_user_information),
    (grammar.WRITE_PER_USER_INFORMATION, write_per_user_information),
)
