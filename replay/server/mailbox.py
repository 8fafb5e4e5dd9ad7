"""Mailboxes: identifiers, replicas, named properties, special folders, change numbers.

Every mailbox is a replica of its own: one GUID, one 48-bit counter from which folder ids, message ids, change numbers
and the ids lent to clients (RopGetLocalReplicaIds) are all taken, as [MS-OXCFXICS] 3.2.5.9 and [MS-OXCSTOR] 3.2 have
it. Inside the database an id is one signed 64-bit number, replica id in the high 16 bits.

Operations on folders and messages are in folders.py and messages.py.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple

from dissector.model.ids import LongTermId, ObjectId
from dissector.model.pcl import PredecessorChangeList, Xid
from replay.server.errors import NOT_ENOUGH_MEMORY, NOT_FOUND, RopError
from replay.server.properties import Properties
from replay.server.store import FOLDER, STORE, Store

OWN_REPLICA = 1
"""The replica id of the mailbox's own GUID."""

FIRST_FOREIGN_REPLICA = 5
FIRST_NAMED, LAST_NAMED = 0x8000, 0xFFFE

ORGANISATION = "/o=Replay/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)/cn=Recipients/cn="

GENERIC, SEARCH = 1, 2
"""Folder types; the root has type 0."""

SPECIAL: tuple[tuple[str, str, str, str], ...] = (
    ("MailboxRoot", "", "Root", ""),
    ("DeferredAction", "MailboxRoot", "Deferred Action", ""),
    ("SpoolerQueue", "MailboxRoot", "Spooler Queue", ""),
    ("IpmSubtree", "MailboxRoot", "Top of Information Store", ""),
    ("Inbox", "IpmSubtree", "Inbox", "IPF.Note"),
    ("Outbox", "IpmSubtree", "Outbox", "IPF.Note"),
    ("SentItems", "IpmSubtree", "Sent Items", "IPF.Note"),
    ("DeletedItems", "IpmSubtree", "Deleted Items", "IPF.Note"),
    ("CommonViews", "MailboxRoot", "Common Views", ""),
    ("Schedule", "MailboxRoot", "Schedule", ""),
    ("Search", "MailboxRoot", "Finder", ""),
    ("Views", "MailboxRoot", "Views", ""),
    ("Shortcuts", "MailboxRoot", "Shortcuts", ""),
    ("Drafts", "IpmSubtree", "Drafts", "IPF.Note"),
    ("Calendar", "IpmSubtree", "Calendar", "IPF.Appointment"),
    ("Contacts", "IpmSubtree", "Contacts", "IPF.Contact"),
    ("Journal", "IpmSubtree", "Journal", "IPF.Journal"),
    ("Notes", "IpmSubtree", "Notes", "IPF.StickyNote"),
    ("Tasks", "IpmSubtree", "Tasks", "IPF.Task"),
    ("JunkEmail", "IpmSubtree", "Junk E-mail", "IPF.Note"),
)
"""The folders of a new mailbox: name in the logon response, parent, display name, container class.

The first thirteen are those of RopLogon, in its order [MS-OXCSTOR] 2.2.1.1.3.
"""


class PropertyName(NamedTuple):
    """A named property: its set, and a number or a name."""

    guid: uuid.UUID
    lid: int | None
    name: str | None


def pack(identifier: tuple[int, int]) -> int:
    """An ObjectId as the database keeps it."""
    value = identifier[0] << 48 | identifier[1]
    return value - (1 << 64) if value >= 1 << 63 else value


def unpack(value: int) -> ObjectId:
    return ObjectId(value >> 48 & 0xFFFF, value & 0xFFFFFFFFFFFF)


def wire_number(value: int) -> int:
    """An id as the PtypInteger64 it is on the wire (PidTagMid, PidTagFolderId)."""
    return int.from_bytes(unpack(value).to_bytes(), "little", signed=True)


def from_wire_number(number: int) -> int:
    return pack(ObjectId.from_bytes(number.to_bytes(8, "little", signed=True)))


def storable(text: str) -> str:
    """Text for a column of its own: half a surrogate pair, which clients may send, becomes its escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def folded(name: str) -> str:
    """A folder's name as names are compared."""
    return storable(name).casefold()


def default_dn(user: str) -> str:
    return ORGANISATION + user.split("@")[0].lower()


class Mailbox:
    """One mailbox of a store. Make it with open_mailbox()."""

    def __init__(self, store: Store, row: tuple[int, str, str, str, bytes, int]) -> None:
        self.store = store
        self.id, self.owner, self.dn, self.display, guid, self.bag = row
        self.guid = uuid.UUID(bytes_le=guid)
        found = store.one("SELECT guid FROM replicas WHERE mailbox = ? AND replid = ?", self.id, OWN_REPLICA)
        self.replica = uuid.UUID(bytes_le=found[0])
        self._special = dict(store.run("SELECT name, folder FROM special WHERE mailbox = ?", self.id).fetchall())

    # Identifiers.

    def reserve(self, count: int) -> int:
        """The first of `count` counters that nobody else gets."""
        (first,) = self.store.one("SELECT counter FROM mailboxes WHERE id = ?", self.id)
        if first + count > 0xFFFFFFFFFFFF:
            raise RopError(NOT_ENOUGH_MEMORY)
        self.store.run("UPDATE mailboxes SET counter = ? WHERE id = ?", first + count, self.id)
        return int(first)

    def new_id(self) -> int:
        return pack((OWN_REPLICA, self.reserve(1)))

    def last_counter(self) -> int:
        """The highest counter given out."""
        return int(self.store.one("SELECT counter FROM mailboxes WHERE id = ?", self.id)[0]) - 1

    def guid_of(self, replica_id: int) -> uuid.UUID | None:
        if replica_id == OWN_REPLICA:
            return self.replica
        row = self.store.one("SELECT guid FROM replicas WHERE mailbox = ? AND replid = ?", self.id, replica_id)
        return None if row is None else uuid.UUID(bytes_le=row[0])

    def replica_id_of(self, guid: uuid.UUID) -> int:
        """The replica id that stands for a GUID here; one is given to a GUID not seen before."""
        row = self.store.one("SELECT replid FROM replicas WHERE mailbox = ? AND guid = ?", self.id, guid.bytes_le)
        if row is not None:
            return int(row[0])
        (highest,) = self.store.one("SELECT max(replid) FROM replicas WHERE mailbox = ?", self.id)
        replica_id = max(int(highest) + 1, FIRST_FOREIGN_REPLICA)
        if replica_id > 0x7FFF:
            raise RopError(NOT_ENOUGH_MEMORY)
        self.store.run("INSERT INTO replicas VALUES(?, ?, ?)", self.id, replica_id, guid.bytes_le)
        return replica_id

    def long_term_id(self, identifier: int) -> LongTermId:
        replica_id, counter = unpack(identifier)
        guid = self.guid_of(replica_id)
        if guid is None or counter == 0:
            raise RopError(NOT_FOUND)
        return LongTermId(guid, counter)

    def gid(self, identifier: int) -> bytes:
        """The 22 bytes of a global identifier: replica GUID and counter."""
        guid, counter, _ = self.long_term_id(identifier)
        return guid.bytes_le + counter.to_bytes(6, "big")

    def from_gid(self, gid: bytes) -> int:
        """The id of a 22-byte global identifier; ValueError for anything else."""
        if len(gid) != 22:
            raise ValueError(f"a global identifier has 22 bytes, this one {len(gid)}")
        return pack((self.replica_id_of(uuid.UUID(bytes_le=gid[:16])), int.from_bytes(gid[16:], "big")))

    def new_change(self, before: bytes = b"") -> tuple[int, bytes, bytes]:
        """(change number, change key, predecessor change list) of a change made here, over the list before it."""
        number = self.new_id()
        key = self.gid(number)
        others = PredecessorChangeList.from_bytes(before)
        return number, key, PredecessorChangeList.of((*others, Xid.from_bytes(key))).to_bytes()

    # Special folders.

    def special(self, name: str) -> int:
        return int(self._special[name])

    def special_names(self) -> dict[int, str]:
        return {folder: name for name, folder in self._special.items()}

    # Named properties.

    def property_id(self, name: PropertyName, create: bool) -> int:
        """The id of a named property; 0 where there is none and `create` is false. Names are compared without case."""
        guid, lid, text = name.guid, name.lid, None if name.name is None else storable(name.name)
        found = "lid = ?" if lid is not None else "name = ? COLLATE NOCASE"
        row = self.store.one(
            f"SELECT id FROM named WHERE mailbox = ? AND guid = ? AND {found}",
            self.id, guid.bytes_le, lid if lid is not None else text,
        )  # fmt: skip
        if row is not None or not create:
            return int(row[0]) if row is not None else 0
        (highest,) = self.store.one("SELECT max(id) FROM named WHERE mailbox = ?", self.id)
        number = FIRST_NAMED if highest is None else int(highest) + 1
        if number > LAST_NAMED:
            raise RopError(NOT_ENOUGH_MEMORY)
        self.store.run("INSERT INTO named VALUES(?, ?, ?, ?, ?)", self.id, number, guid.bytes_le, lid, text)
        return number

    def property_name(self, prop_id: int) -> PropertyName | None:
        row = self.store.one("SELECT guid, lid, name FROM named WHERE mailbox = ? AND id = ?", self.id, prop_id)
        return None if row is None else PropertyName(uuid.UUID(bytes_le=row[0]), row[1], row[2])

    def property_names(self) -> list[tuple[int, PropertyName]]:
        rows = self.store.run("SELECT id, guid, lid, name FROM named WHERE mailbox = ? ORDER BY id", self.id)
        return [(number, PropertyName(uuid.UUID(bytes_le=guid), lid, name)) for number, guid, lid, name in rows]


def open_mailbox(store: Store, user: str, dn: str | None = None, display: str | None = None) -> Mailbox:
    """The mailbox of a user, made with its special folders when it is not there yet. Call inside a transaction."""
    owner = user.casefold()
    query = "SELECT id, owner, dn, display, guid, bag FROM mailboxes WHERE owner = ?"
    row = store.one(query, owner)
    if row is None:
        _create(store, owner, dn or default_dn(user), display or user.split("@")[0])
        row = store.one(query, owner)
    return Mailbox(store, row)


def _create(store: Store, owner: str, dn: str, display: str) -> None:
    bag = store.new_bag(STORE)
    cursor = store.run(
        "INSERT INTO mailboxes(owner, dn, display, guid, counter, bag) VALUES(?, ?, ?, ?, 1, ?)",
        owner, dn, display, uuid.uuid4().bytes_le, bag,
    )  # fmt: skip
    number = cursor.lastrowid
    store.run("INSERT INTO replicas VALUES(?, ?, ?)", number, OWN_REPLICA, uuid.uuid4().bytes_le)
    mailbox = Mailbox(store, store.one("SELECT id, owner, dn, display, guid, bag FROM mailboxes WHERE id = ?", number))
    made: dict[str, int] = {}
    for name, _, _, _ in SPECIAL:
        made[name] = mailbox.new_id()
        store.run("INSERT INTO special VALUES(?, ?, ?)", mailbox.id, name, made[name])
    now = store.now()
    for name, parent, title, container_class in SPECIAL:
        properties = Properties()
        properties.put(0x3001001F, title)
        properties.put(0x30070040, now)
        properties.put(0x30080040, now)
        if container_class:
            properties.put(0x3613001F, container_class)
        insert_folder(mailbox, made[name], made.get(parent), title, GENERIC if parent else 0, properties)
    for message_class, place in (("", "Inbox"), ("IPM", "Inbox"), ("Report.IPM", "Inbox"), ("IPC", "MailboxRoot")):
        store.run("INSERT INTO receive VALUES(?, ?, ?, ?)", mailbox.id, message_class, made[place], now)


def insert_folder(
    mailbox: Mailbox, identifier: int, parent: int | None, name: str, kind: int, properties: Properties
) -> None:
    """A new folder row with its bag, changed just now."""
    store = mailbox.store
    bag = store.new_bag(FOLDER)
    store.save(bag, properties, everything=True)
    number, key, predecessors = mailbox.new_change()
    store.run(
        "INSERT INTO folders(mailbox, id, parent, name, kind, bag, cn, change_key, pcl, commit_time)"
        " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        mailbox.id, identifier, parent, folded(name), kind, bag, number, key, predecessors, store.now(),
    )  # fmt: skip
