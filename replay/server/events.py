"""What happened to the store: told to whoever subscribed once the transaction is committed [MS-OXCNOTIF] 2.2.1.1."""

from __future__ import annotations

from typing import NamedTuple

NEW_MAIL, CREATED, DELETED, MODIFIED, MOVED, COPIED = 0x0002, 0x0004, 0x0008, 0x0010, 0x0020, 0x0040
TABLE_MODIFIED = 0x0100
TOTAL, UNREAD = 0x1000, 0x2000
ROW_CHANGES = CREATED | DELETED | MOVED | COPIED
"""What happens to a message and changes how many a folder has."""


class Event(NamedTuple):
    """kind: one of the numbers above. folder: the folder itself, or the folder of `message` where that is given.

    parent: of a folder. old_*: where a moved or copied object came from. tags: what changed, None for unknown.
    flags, message_class: of new mail. counts: which numbers of the folder are others, TOTAL and UNREAD.
    """

    kind: int
    mailbox: int
    folder: int
    message: int | None = None
    parent: int | None = None
    old_folder: int | None = None
    old_message: int | None = None
    old_parent: int | None = None
    tags: tuple[int, ...] | None = None
    flags: int = 0
    message_class: str = ""
    counts: int = 0
