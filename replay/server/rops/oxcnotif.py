"""RopRegisterNotification [MS-OXCNOTIF] 3.1.4.3."""

from __future__ import annotations

from dissector.grammar.rops import oxcnotif as grammar
from replay.server import folders
from replay.server.call import Call, Fields
from replay.server.mailbox import pack
from replay.server.session import ServerObject, Subscription


def register_notification(call: Call) -> Fields:
    """From here on the object's events are told to this handle."""
    opener, request = call.get(ServerObject), call.request
    folder = message = None
    if not request["WantWholeStore"]:
        folder, message = pack(request["FolderId"]), pack(request["MessageId"])
        folders.get(opener.logon.mailbox, folder)
    call.open(Subscription(opener.logon, request["NotificationTypes"], folder, message))
    return {}


HANDLERS = ((grammar.REGISTER_NOTIFICATION, register_notification),)
