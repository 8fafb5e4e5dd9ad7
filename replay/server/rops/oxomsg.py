"""Transport ROPs [MS-OXOMSG] 3.2.5. There is no transport: what is sent comes back to the one mailbox there is.

Submitting a message delivers a copy to the receive folder of its class when the mailbox's own address is among the
recipients, and files the message in Sent Items (or where PidTagSentMailEntryId says).
"""

from __future__ import annotations

from dissector.grammar.rops import oxomsg as grammar
from replay.server import delivery, folders, messages
from replay.server.call import Call, Fields
from replay.server.errors import (
    NO_RECIPIENTS,
    NOT_FOUND,
    NOT_IN_QUEUE,
    NOT_SUPPORTED,
    NULL_OBJECT,
    SUBMITTED,
    RopError,
)  # fmt: skip
from replay.server.mailbox import pack, unpack
from replay.server.rops.oxcmsg import save_changes_message
from replay.server.session import Logon, MessageObject

NEEDS_SPOOLER = 0x02
LOCK, UNLOCK, FINISHED = range(3)


def _saved(call: Call) -> MessageObject:
    """The message, saved."""
    message = call.message()
    if message.holder is not None:
        raise RopError(NOT_SUPPORTED)
    if not message.content.recipients:
        raise RopError(NO_RECIPIENTS)
    if message.row is not None and message.row.submitted:
        raise RopError(SUBMITTED)
    message.flush()
    call.request = {**call.request, "SaveFlags": 0}
    save_changes_message(call)
    return message


def submit_message(call: Call) -> Fields:
    """With NeedsSpooler the message waits for RopTransportSend; else it goes out at once."""
    message = _saved(call)
    assert message.row is not None
    if call.request["SubmitFlags"] & NEEDS_SPOOLER:
        messages.set_submitted(message.logon.mailbox, message.row, True)
        message.row = messages.find(message.logon.mailbox, message.row.id)
    else:
        delivery.send(message)
    return {}


def abort_submit(call: Call) -> Fields:
    mailbox = call.get(Logon).mailbox
    row = messages.find(mailbox, pack(call.request["MessageId"]))
    if row is None or row.folder != pack(call.request["FolderId"]):
        raise RopError(NOT_FOUND)
    if not row.submitted:
        raise RopError(NOT_IN_QUEUE)
    messages.set_submitted(mailbox, row, False)
    return {}


def get_address_types(call: Call) -> Fields:
    call.get(Logon)
    return {"AddressTypes": ["EX", "SMTP"]}


def set_spooler(call: Call) -> Fields:
    call.get(Logon)
    return {}


def spooler_lock_message(call: Call) -> Fields:
    mailbox, state = call.get(Logon).mailbox, call.request["LockState"]
    row = messages.find(mailbox, pack(call.request["MessageId"]))
    if row is None:
        raise RopError(NOT_FOUND)
    if state == FINISHED and row.submitted:
        delivery.file_sent(mailbox, row)
    return {}


def transport_send(call: Call) -> Fields:
    message = call.get(MessageObject, wrong=NULL_OBJECT)
    if not message.content.recipients:
        raise RopError(NO_RECIPIENTS)
    if message.row is None:
        call.request = {**call.request, "SaveFlags": 0}
        save_changes_message(call)
    delivery.send(message)
    return {"NoPropertiesReturned": True, "PropertyValues": []}


def transport_new_mail(call: Call) -> Fields:
    mailbox = call.get(Logon).mailbox
    folder = folders.get(mailbox, pack(call.request["FolderId"]))
    row = messages.find(mailbox, pack(call.request["MessageId"]))
    if row is None or row.folder != folder.id:
        raise RopError(NOT_FOUND)
    delivery.announce(mailbox, row)
    return {}


def get_transport_folder(call: Call) -> Fields:
    return {"FolderId": unpack(call.get(Logon).mailbox.special("Outbox"))}


def options_data(call: Call) -> Fields:
    call.get(Logon)
    return {"OptionsInfo": b"", "HelpFile": b""}


HANDLERS = (
    (grammar.SUBMIT_MESSAGE, submit_message),
    (grammar.ABORT_SUBMIT, abort_submit),
    (grammar.GET_ADDRESS_TYPES, get_address_types),
    (grammar.SET_SPOOLER, set_spooler),
    (grammar.SPOOLER_LOCK_MESSAGE, spooler_lock_message),
    (grammar.TRANSPORT_SEND, transport_send),
    (grammar.TRANSPORT_NEW_MAIL, transport_new_mail),
    (grammar.GET_TRANSPORT_FOLDER, get_transport_folder),
    (grammar.OPTIONS_DATA, options_data),
)
