"""Entry ids of a mailbox's own objects, built with the grammar [MS-OXCDATA] 2.2.3, 2.2.4."""

from __future__ import annotations

import uuid

from dissector.grammar.base import build
from dissector.grammar.entryids import AddressBookEntryId, FolderEntryId, MessageEntryId, StoreEntryId
from replay.server.mailbox import Mailbox

PRIVATE_FOLDER, PRIVATE_MESSAGE = 0x0001, 0x0007
ADDRESS_BOOK = uuid.UUID(bytes_le=bytes.fromhex("dca740c8c042101ab4b908002b2fe182"))
STORE_PROVIDER = uuid.UUID(bytes_le=bytes.fromhex("38a1bb1005e5101aa1bb08002b2a56c2"))
PRIVATE_STORE = uuid.UUID(bytes_le=bytes.fromhex("1b55fa20aa6611cd9bc800aa002fc45a"))
SERVER_NAME = "replay"


def folder_entry_id(mailbox: Mailbox, folder: int) -> bytes:
    guid, counter, pad = mailbox.long_term_id(folder)
    value = {
        "Flags": 0, "ProviderUID": mailbox.guid, "FolderType": PRIVATE_FOLDER, "DatabaseGuid": guid,
        "GlobalCounter": counter, "Pad": pad,
    }  # fmt: skip
    return build(FolderEntryId, value)


def message_entry_id(mailbox: Mailbox, folder: int, message: int) -> bytes:
    folder_guid, folder_counter, _ = mailbox.long_term_id(folder)
    message_guid, message_counter, _ = mailbox.long_term_id(message)
    value = {
        "Flags": 0, "ProviderUID": mailbox.guid, "MessageType": PRIVATE_MESSAGE,
        "FolderDatabaseGuid": folder_guid, "FolderGlobalCounter": folder_counter, "Pad1": 0,
        "MessageDatabaseGuid": message_guid, "MessageGlobalCounter": message_counter, "Pad2": 0,
    }  # fmt: skip
    return build(MessageEntryId, value)


def store_entry_id(mailbox: Mailbox) -> bytes:
    value = {
        "Flags": 0, "ProviderUID": STORE_PROVIDER, "Version": 0, "Flag": 0,
        "DLLFileName": "emsmdb.dll", "WrappedFlags": 0, "WrappedProviderUID": PRIVATE_STORE,
        "WrappedType": 0x0C, "ServerShortname": SERVER_NAME, "MailboxDN": mailbox.dn,
    }  # fmt: skip
    return build(StoreEntryId, value)


def owner_entry_id(mailbox: Mailbox) -> bytes:
    value = {"Flags": 0, "ProviderUID": ADDRESS_BOOK, "Version": 1, "Type": 0, "X500DN": mailbox.dn}
    return build(AddressBookEntryId, value)
