"""RopNotify: telling a client what happened to what it subscribed to [MS-OXCNOTIF] 3.1.4."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dissector.grammar.base import build
from dissector.grammar.rops.oxcnotif import NOTIFY, PENDING
from replay.server import events
from replay.server.events import Event
from replay.server.mailbox import unpack
from replay.server.session import Session

MESSAGE = 0x8000
PENDING_SIZE = 3


def pending(session: Session, room: int) -> Iterator[bytes]:
    """The responses that fit, oldest first; a RopPending where some do not."""
    while session.pending:
        handle, logon, event = session.pending[0]
        response = build(
            NOTIFY.responses[0],
            {"NotificationHandle": handle, "LogonId": logon, "NotificationData": data(event)},
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


def data(event: Event) -> dict[str, Any]:
    """NotificationData of an event."""
    flags = event.kind | (MESSAGE if event.message is not None else 0)
    value: dict[str, Any] = {"NotificationFlags": flags, "FolderId": unpack(event.folder)}
    for name, identifier in (
        ("MessageId", event.message), ("ParentFolderId", event.parent), ("OldFolderId", event.old_folder),
        ("OldMessageId", event.old_message), ("OldParentFolderId", event.old_parent),
    ):  # fmt: skip
        if identifier is not None:
            value[name] = unpack(identifier)
    if event.kind in (events.CREATED, events.MODIFIED):
        value["Tags"] = event.tags or ()
    if event.kind == events.NEW_MAIL:
        value.update(MessageFlags=event.flags, UnicodeFlag=True, MessageClass=event.message_class)
    return value
