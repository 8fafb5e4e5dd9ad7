"""RopNotify: telling a client what happened to what it subscribed to, and to its tables [MS-OXCNOTIF] 3.1.4."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dissector.grammar.base import build
from dissector.grammar.rops.oxcnotif import NOTIFY, PENDING
from replay.server import events, folders
from replay.server.events import Event
from replay.server.mailbox import Mailbox, unpack
from replay.server.session import Session
from replay.server.tablewatch import RowEvent

MESSAGE = 0x8000
PENDING_SIZE = 3


def pending(session: Session, room: int) -> Iterator[bytes]:
    """The responses that fit, oldest first; a RopPending where some do not."""
    for handle, table in session.tables():
        for change in table.watch.news():
            session.pending.append((handle, table.logon.number, change))
    while session.pending:
        handle, logon, event = session.pending[0]
        thing = session.objects.get(handle)
        if thing is None:  # released since
            session.pending.popleft()
            continue
        said = event.data() if isinstance(event, RowEvent) else data(event, thing.logon.mailbox)
        response = build(
            NOTIFY.responses[0],
            {"NotificationHandle": handle, "LogonId": logon, "NotificationData": said},
            codepage=session.codec,
        )
        if len(response) + PENDING_SIZE > room:
            if room >= PENDING_SIZE:
                yield build(PENDING.responses[0], {"SessionIndex": 0})
            return
        session.pending.popleft()
        room -= len(response)
        yield response
    session.woken.clear()


def data(event: Event, mailbox: Mailbox) -> dict[str, Any]:
    """NotificationData of an event; numbers of messages are those of now."""
    flags = event.kind | (MESSAGE if event.message is not None else 0) | event.counts
    value: dict[str, Any] = {"NotificationFlags": flags, "FolderId": unpack(event.folder)}
    for name, identifier in (
        ("MessageId", event.message), ("ParentFolderId", event.parent), ("OldFolderId", event.old_folder),
        ("OldMessageId", event.old_message), ("OldParentFolderId", event.old_parent),
    ):  # fmt: skip
        if identifier is not None:
            value[name] = unpack(identifier)
    if event.kind in (events.CREATED, events.MODIFIED):
        value["Tags"] = event.tags or ()
    if event.counts:
        counts = folders.counts(mailbox, event.folder)
        value["UnreadMessageCount"] = counts.unread
        if event.counts & events.TOTAL:
            value["TotalMessageCount"] = counts.messages
    if event.kind == events.NEW_MAIL:
        value.update(MessageFlags=event.flags, UnicodeFlag=True, MessageClass=event.message_class)
    return value
