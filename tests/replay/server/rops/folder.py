"""Messages of a folder, made, changed and deleted before they are synchronized; codes and properties by name."""

from __future__ import annotations

from typing import Any

from tests.replay.server import sync
from tests.replay.server.client import Client

NOT_FOUND, INVALID, FORMAT, NOT_SUPPORTED = 0x8004010F, 0x80070057, 0x4ED, 0x80040102
SYNC_DELETED, SYNC_IGNORE, SYNC_CONFLICT, NO_PARENT = 0x80040800, 0x80040801, 0x80040802, 0x80040803
DELETED, OUT_OF_SCOPE, READ, UNREAD = 0x67E5, 0x4021, 0x402D, 0x402E
SUBJECT = 0x0037001F


def message(client: Client, place: Any, subject: str, *more: tuple[int, Any], associated: bool = False) -> Any:
    made = client.create_message(place["Handle"], place["FolderId"], associated)
    client.set(made, (SUBJECT, subject), *more)
    identifier = client.save(made)
    client.call("RopRelease", made)
    return identifier


def change(client: Client, place: Any, identifier: Any, *more: tuple[int, Any]) -> None:
    opened = client.open_message(place["Handle"], place["FolderId"], identifier)["Handle"]
    client.set(opened, *more)
    client.save(opened)
    client.call("RopRelease", opened)


def delete(client: Client, place: Any, *which: Any, hard: bool = True) -> None:
    name = "RopHardDeleteMessages" if hard else "RopDeleteMessages"
    client.call(name, place["Handle"], WantAsynchronous=False, NotifyNonRead=False, MessageIds=which)


def subjects(stream: sync.Stream) -> list[str]:
    return [one[0x37] for one in stream.changes]
