"""Finding the next message of a stream without reading the one before it: for who wants the outline of a big stream.

The body of a message is passed over by looking for what follows it: a marker, and the tag that has to stand behind it.
Chance hardly makes those eight bytes, but an attachment that holds a recorded stream does. And what is passed over is
not looked at, so nothing is known of its rules. Whoever needs to be sure reads element by element (skim.py).
"""

from __future__ import annotations

import re
from struct import Struct
from typing import TypeAlias

from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.quick import UNREAD, quick
from dissector.grammar.skim import EVERY, Steps, run

_CHANGE, _MESSAGE = MARKER["IncrSyncChg"], MARKER["IncrSyncMessage"]
_PROGRESS = MARKER["IncrSyncProgressPerMsg"]
_END = MARKER["IncrSyncEnd"].to_bytes(4, "little")
_SOURCE_KEY, _SIZE, _IS_FAI = 0x65E00102, 0x00000003, 0x0000000B
_U32, _TWO = Struct("<I").unpack_from, Struct("<II").unpack_from
_PROGRESS_ITEM = Struct("<IIIIH")
"""IncrSyncProgressPerMsg with its two properties: a size, and whether the message is FAI."""

_SIGN = re.compile(
    rb"\x03\x00(?:"
    rb"\x12\x40\x02\x01\xe0\x65"  # IncrSyncChg, PidTagSourceKey
    rb"|\x18\x40\x02\x01\x00\x00"  # FXErrorInfo and its structure
    rb"|\x7c\x40(?=....\x03\x00\x7d\x40)|\x7d\x40\x02\x01\xe0\x65"  # MetaTagIncrSyncGroupId, IncrSyncChgPartial
    rb"|\x13\x40\x02\x01(?:\xe5\x67|\x21\x40|\x93\x67)"  # IncrSyncDel and a set
    rb"|\x2f\x40\x02\x01[\x2d\x2e]\x40"  # IncrSyncRead and a set
    rb"|\x3a\x40(?=\x03\x00\x17\x40|\x02\x01(?:\x17\x40|[\x96\xda\xd2]\x67))"  # IncrSyncStateBegin and a set
    rb"|\x00\x00(?<=\x0b\x00\x75\x40\x03\x00\x00\x00))",  # IncrSyncProgressPerMsg and the size
    re.DOTALL,
)
LONGEST = 12
"""A sign has at most so many bytes, those looked at ahead included."""
_PARTIAL = (0x7C, 0x7D)
"""What tells the markers of a partial change."""
_GROUP_INFO = b"\x02\x01\x7b\x40\x02\x01\x00\x00"
"""IncrSyncGroupInfo and the tag behind it."""
_SUBJECT = b"\x1f\x00\x37\x00"
"""The tag of PidTagSubject."""
NEAR = 4096
"""How far behind the header it is looked for; and, at the end of a chunk, a mapping of property groups."""
_ALL = Steps()


Head: TypeAlias = tuple[int, int, list[tuple[int, bytes]], int | None]
"""A message's header in one piece: the offset of IncrSyncChg, the one behind IncrSyncMessage, tags and value bytes of
its properties, and the size that the progress marker before it gave."""


def following(data: bytes, at: int, end: int | None = None) -> tuple[bool, int]:
    """Whether what follows the body in which data[at:end] begins was found; where it is, or where to look on when more
    has come.
    """
    if end is None:
        end = len(data)
    found = _SIGN.search(data, at, end)
    if found is None:
        cut = data.rfind(_GROUP_INFO, max(at, end - NEAR), end)
        if cut >= 0 and (cut + 12 > end or cut + 12 + _U32(data, cut + 8)[0] > end - LONGEST):
            return False, cut  # what the mapping of property groups is for stands in the next chunk
        return False, max(at, end - LONGEST + 1)
    start = found.start()
    if data[start + 2 : start + 4] == b"\0\0":
        return True, start - 4
    if data[start + 2] in _PARTIAL:  # a mapping of property groups may stand before it
        before = data.rfind(_GROUP_INFO, at, start)
        if before >= 0 and before + 12 <= start and before + 12 + _U32(data, before + 8)[0] == start:
            return True, before
    return True, start


def goes_on(tail: bytes, begin: bytes) -> bool:
    """Whether a sign, or what may stand before one, lies where a chunk ends and the next begins."""
    seam = tail + begin
    return len(tail) >= LONGEST or _GROUP_INFO in seam or _SIGN.search(seam) is not None


def last_end(data: bytes, at: int) -> int:
    """Where the stream goes on when it ends without what may follow a body: its last marker, or its end."""
    return len(data) - 4 if data[at:].endswith(_END) else len(data)


def head(data: bytes, at: int) -> Head | None:
    """The message that begins at an offset, with its progress marker; None where it is not whole or not plain."""
    size = len(data)
    if at + 8 > size:
        return None
    announced = None
    if _U32(data, at)[0] == _PROGRESS:
        if at + _PROGRESS_ITEM.size > size:
            return None
        _, first, announced, second, _ = _PROGRESS_ITEM.unpack_from(data, at)
        at += _PROGRESS_ITEM.size
        if first != _SIZE or second != _IS_FAI or at + 8 > size:
            return None
    if _TWO(data, at) != (_CHANGE, _SOURCE_KEY):
        return None
    properties: list[tuple[int, bytes]] = []
    end, _ = run(data, at + 4, _ALL, properties, EVERY)
    if end + 4 > size or _U32(data, end)[0] != _MESSAGE:
        return None
    return at, end + 4, properties, announced


def subject_near(data: bytes, at: int, end: int) -> str | None:
    """The subject of a message whose body begins at an offset; None where it is not soon to be seen."""
    found = data.find(_SUBJECT, at, min(end, at + NEAR))
    if found < 0 or found + 8 > end:
        return None
    stop = found + 8 + _U32(data, found + 4)[0]
    value = quick(0x0037001F, data[found + 4 : stop]) if stop <= end else UNREAD
    return value if isinstance(value, str) else None
