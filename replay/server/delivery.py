"""Sending without a transport: a message comes to the mailboxes here that it is addressed to, and is filed as sent."""

from __future__ import annotations

from collections.abc import Iterator

from replay.server import content as contents
from replay.server import events, folders, messages
from replay.server.content import Content
from replay.server.events import Event
from replay.server.mailbox import FIRST_NAMED, Mailbox
from replay.server.messages import Change, Message
from replay.server.properties import Properties
from replay.server.session import MessageObject

EMAIL_ADDRESS, SMTP_ADDRESS = 0x3003, 0x39FE
DELIVERY_TIME, SUBMIT_TIME = 0x0E060040, 0x00390040
SENT_ENTRY_ID, DELETE_AFTER_SUBMIT = 0x0E0A, 0x0E01
FROM_ME = 0x20


def own_addresses(mailbox: Mailbox) -> set[str]:
    names = {mailbox.dn.casefold(), mailbox.owner.casefold()}
    names.add(mailbox.owner.split("@")[0])
    return names


def is_own(mailbox: Mailbox, address: str) -> bool:
    text = address.casefold()
    return text in own_addresses(mailbox) or text.split("@")[0] in own_addresses(mailbox)


def send(message: MessageObject) -> None:
    """Deliver a copy to every mailbox of the store that is a recipient, and file the message."""
    mailbox, row = message.logon.mailbox, message.row
    assert row is not None
    addresses = [
        str(one.properties.value(prop_id, ""))
        for one in message.content.recipients
        for prop_id in (EMAIL_ADDRESS, SMTP_ADDRESS)
    ]
    for target in message.logon.session.directory.mailboxes():
        if any(is_own(target, address) for address in addresses if address):
            deliver(mailbox, row, target)
    message.row = file_sent(mailbox, row)


def receive_folder(mailbox: Mailbox, wanted: str) -> tuple[int, str]:
    """(folder, configured class) of the longest configured prefix of a message class."""
    best = ("", mailbox.special("Inbox"))
    for configured, folder in mailbox.store.run("SELECT class, folder FROM receive WHERE mailbox = ?", mailbox.id):
        parts, asked = configured.casefold().split("."), wanted.casefold().split(".")
        if configured and asked[: len(parts)] != parts:
            continue
        if len(configured) >= len(best[0]):
            best = (configured, folder)
    return best[1], best[0]


def deliver(source: Mailbox, row: Message, mailbox: Mailbox) -> int:
    """A copy of a sent message in the receive folder of its class in a mailbox; returns its id."""
    store = mailbox.store
    copy = contents.load(store, row.bag).fresh(store)
    if mailbox.id != source.id:
        _rename(copy, source, mailbox)
    now = store.now()
    copy.properties.put(DELIVERY_TIME, now)
    if SUBMIT_TIME >> 16 not in copy.properties:
        copy.properties.put(SUBMIT_TIME, now)
    flags = copy.properties.value(messages.MESSAGE_FLAGS, 0)
    own = FROM_ME if mailbox.id == source.id else 0
    copy.properties.put(0x0E070003, flags & ~(messages.UNSENT | messages.EVER_READ) | own)
    folder, _ = receive_folder(mailbox, str(copy.properties.value(0x001A, "IPM.Note")))
    made = messages.insert(mailbox, folder, copy, read=False)
    delivered = messages.find(mailbox, made)
    assert delivered is not None
    announce(mailbox, delivered)
    return made


def _rename(content: Content, source: Mailbox, target: Mailbox) -> None:
    """Named properties have ids of their own in every mailbox."""
    ids: dict[int, int] = {}
    for properties in _all_properties(content):
        moved = [prop_id for prop_id in properties if prop_id >= FIRST_NAMED]
        values = {prop_id: properties.get(prop_id) for prop_id in moved}
        for prop_id in moved:
            properties.delete(prop_id)
        for prop_id, found in values.items():
            name = source.property_name(prop_id)
            if name is None or found is None:
                continue
            if prop_id not in ids:
                ids[prop_id] = target.property_id(name, create=True)
            properties.set(ids[prop_id], *found)


def _all_properties(content: Content) -> Iterator[Properties]:
    yield content.properties
    for recipient in content.recipients:
        yield recipient.properties
    for attachment in content.attachments.values():
        yield attachment.properties
        if attachment.embedded is not None:
            yield from _all_properties(attachment.embedded)


def announce(mailbox: Mailbox, row: Message) -> None:
    """Tell subscribers of new mail."""
    kind = mailbox.store.property_of(row.bag, 0x001A)
    event = Event(
        events.NEW_MAIL, mailbox.id, row.folder, row.id, flags=messages.flags(row, 0),
        message_class=str(kind[1]) if kind else "IPM.Note",
    )  # fmt: skip
    mailbox.store.events.append(event)


def file_sent(mailbox: Mailbox, row: Message) -> Message | None:
    """The message leaves the Outbox: deleted where it says so, else put into Sent Items."""
    store = mailbox.store
    messages.set_submitted(mailbox, row, False)
    row = row._replace(submitted=0)
    remove = store.property_of(row.bag, DELETE_AFTER_SUBMIT)
    if remove is not None and remove[1]:
        messages.delete(mailbox, [row.id], row.folder, hard=True)
        return None
    found = store.property_of(row.bag, messages.MESSAGE_FLAGS)
    flags = found[1] if found is not None else 0
    store.write(row.bag, messages.MESSAGE_FLAGS, 3, flags & ~messages.UNSENT | FROM_ME)
    if SUBMIT_TIME >> 16 and store.property_of(row.bag, SUBMIT_TIME >> 16) is None:
        store.write(row.bag, SUBMIT_TIME >> 16, 0x40, store.now())
    target = _sent_folder(mailbox, row)
    if target == row.folder:
        return row
    made = mailbox.new_id()
    messages.move_one(mailbox, row, target, made, Change(*mailbox.new_change(row.pcl)))
    return messages.find(mailbox, made)


def _sent_folder(mailbox: Mailbox, row: Message) -> int:
    """The folder PidTagSentMailEntryId names, if it is one of ours."""
    found = mailbox.store.property_of(row.bag, SENT_ENTRY_ID)
    if found is not None and isinstance(found[1], bytes) and len(found[1]) == 46:
        folder = folders.find(mailbox, mailbox.from_gid(found[1][22:44]))
        if folder is not None:
            return folder.id
    return mailbox.special("SentItems")
