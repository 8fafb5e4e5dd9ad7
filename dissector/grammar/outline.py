"""Finding the next message of a stream without reading the one before it: for who wants the outline of a big stream.

The body of a message is passed over by looking for what follows it: a marker, and the tag that has to stand behind it.
Chance hardly makes those eight bytes, but an attachment that holds a recorded stream does. And what is passed over is
not looked at, so nothing is known of its rules. Whoever needs to be sure reads element by element (skim.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from struct import Struct
from typing import TypeAlias

from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.quick import quick
from dissector.grammar.skim import EVERY, Steps, run

_CHANGE, _MESSAGE = MARKER["IncrSyncChg"], MARKER["IncrSyncMessage"]
_PROGRESS = MARKER["IncrSyncProgressPerMsg"]
_END = MARKER["IncrSyncEnd"].to_bytes(4, "little")
_SOURCE_KEY, _SIZE, _IS_FAI = 0x65E00102, 0x00000003, 0x0000000B
_U32, _TWO = Struct("<I").unpack_from, Struct("<II").unpack_from
_PROGRESS_ITEM = Struct("<IIIIH")
"""IncrSyncProgressPerMsg with its two properties: a size, and whether the message is FAI."""


def _header(number: int) -> bytes:
    """A header of the usual shape, as a pattern: source key, time, change key, a list of that change alone (number: the
    group that holds it), FAI or not, and where the server sends them id, size and change number; IncrSyncMessage.
    """
    return (
        rb"\x16\0\0\0(.{22})\x40\0\x08\x30(.{8})\x02\x01\xe2\x65\x16\0\0\0(.{22})"
        rb"\x02\x01\xe3\x65\x17\0\0\0\x16\%d\x0b\0\xaa\x67([\0\1])\0"
        rb"(?:\x14\0\x4a\x67(.{8})\x03\0\x08\x0e(.{4})\x14\0\xa4\x67(.{8}))?"
        rb"\x03\0\x15\x40" % number
    )


_SIGN = re.compile(  # every marker ends with @, which text and numbers have more seldom than the bytes before it
    rb"\x40(?:\x02\x01(?:"
    rb"\xe0\x65(?:(?<=\x03\0\x12\x40\x02\x01\xe0\x65)(?:" + _header(3) + rb")?"  # IncrSyncChg, PidTagSourceKey
    rb"|(?<=\x03\0\x7d\x40\x02\x01\xe0\x65))"  # IncrSyncChgPartial and the same
    rb"|\0\0(?<=\x03\0\x18\x40\x02\x01\0\0)"  # FXErrorInfo and its structure
    rb"|(?:\xe5\x67|\x21\x40|\x93\x67)(?<=\x03\0\x13\x40\x02\x01..)"  # IncrSyncDel and a set
    rb"|[\x2d\x2e]\x40(?<=\x03\0\x2f\x40\x02\x01..)"  # IncrSyncRead and a set
    rb"|(?:\x17\x40|[\x96\xda\xd2]\x67)(?<=\x03\0\x3a\x40\x02\x01..))"  # IncrSyncStateBegin and a set
    rb"|\x03\0(?:\x17\x40(?<=\x03\0\x3a\x40\x03\0\x17\x40)"  # the same with MetaTagIdsetGiven as a number
    rb"|\0\0(?<=\x0b\0\x75\x40\x03\0\0\0)"  # IncrSyncProgressPerMsg and the size; then often a message
    rb"(?:(.{4})\x0b\0\0\0..\x03\0\x12\x40\x02\x01\xe0\x65" + _header(11) + rb")?)"
    rb"|(?<=\x03\0\x7c\x40)....\x03\0\x7d\x40)",  # MetaTagIncrSyncGroupId, IncrSyncChgPartial
    re.DOTALL,
)
"""What may follow a body, from the last byte of its first tag on; then the header of the message that begins there,
where it has the usual shape.
"""
BEFORE = 3
"""So many bytes of a sign stand before its match."""
_SHAPES: dict[int, tuple[int, ...]] = {4: (1, 2, 3, 4), 7: (1, 2, 3, 4, 5, 6, 7), 12: (9, 10, 11, 12, 8),
                                       15: (9, 10, 11, 12, 13, 14, 15, 8)}  # fmt: skip
"""By the last group of a match: those that have a value. Of a progress marker it comes last."""
_ANNOUNCED = (12, 15)
_REPLICA = Struct("<H6x").iter_unpack
_22 = (22).to_bytes(4, "little")
LONGEST = 12
"""A sign has at most so many bytes, those looked at ahead included."""
_PARTIAL = (0x7C, 0x7D)
"""What tells the markers of a partial change."""
_GROUP_INFO = b"\x02\x01\x7b\x40\x02\x01\x00\x00"
"""IncrSyncGroupInfo and the tag behind it."""
_SUBJECT = b"\x1f\x00\x37\x00"
"""The tag of PidTagSubject."""
_NO_SUBJECT = bytes(4)
ALIKE = 4
"""From so many messages in a row on they are taken as columns."""
NEAR = 4096
"""How far behind the header it is looked for; and, at the end of a chunk, a mapping of property groups."""
_ALL = Steps()


Head: TypeAlias = tuple[int, int, list[tuple[int, bytes]], int | None]
"""A message's header in one piece: the offset of IncrSyncChg, the one behind IncrSyncMessage, tags and value bytes of
its properties, and the size that the progress marker before it gave."""


@dataclass(slots=True)
class Messages:
    """Messages behind one another whose headers have one shape, in columns: the values as they stand, without lengths.

    offsets: where each begins in the stream, with its progress marker if it has one; last, where the last one ends.
    keys, times, change_keys (the one change of the change list, too), fai (a byte each): one for every message. ids,
    sizes, numbers (PidTagMid, PidTagMessageSize, PidTagChangeNumber), announced (of the progress marker): b'' where
    these messages have none. subjects: a u32 length and bytes; length 0 where none was near. passed: bytes of bodies.
    """

    offsets: tuple[int, ...]
    keys: bytes
    times: bytes
    change_keys: bytes
    fai: bytes
    ids: bytes
    sizes: bytes
    numbers: bytes
    announced: bytes
    subjects: bytes
    passed: int

    @property
    def count(self) -> int:
        return len(self.fai)

    @property
    def elements(self) -> int:
        """How many elements were read of them."""
        return self.count * (7 + 3 * bool(self.ids) + 3 * bool(self.announced))

    def begins(self, index: int) -> int:
        """Where the IncrSyncChg of one of them stands."""
        return self.offsets[index] + (_PROGRESS_ITEM.size if self.announced else 0)

    def replicas(self) -> set[int]:
        """The REPLIDs of their ids."""
        return {one[0] for column in (self.ids, self.numbers) for one in _REPLICA(column)}

    def properties(self, index: int) -> list[tuple[int, bytes]]:
        """The header of one of them: tags and value bytes, as head() gives them."""
        space, time = 22 * index, 8 * index
        change_key = self.change_keys[space : space + 22]
        found = [
            (_SOURCE_KEY, _22 + self.keys[space : space + 22]), (0x30080040, self.times[time : time + 8]),
            (0x65E20102, _22 + change_key), (0x65E30102, b"\x17\0\0\0\x16" + change_key),
            (0x67AA000B, self.fai[index : index + 1] + b"\0"),
        ]  # fmt: skip
        if self.ids:
            found += [
                (0x674A0014, self.ids[time : time + 8]), (0x0E080003, self.sizes[4 * index : 4 * index + 4]),
                (0x67A40014, self.numbers[time : time + 8]),
            ]  # fmt: skip
        return found

    def size(self, index: int) -> int | None:
        """What the progress marker announced."""
        size: int | None = _U32(self.announced, 4 * index)[0] if self.announced else None
        return size

    def names(self) -> list[str | None]:
        """The subjects, as subject_near() gives them."""
        found, at = [], 0
        while at < len(self.subjects):
            end = at + 4 + _U32(self.subjects, at)[0]
            found.append(_text(self.subjects[at:end]))
            at = end
        return found


def messages(data: bytes, at: int, base: int) -> Messages | None:
    """The messages from an offset on that are alike, but for the last of them, whose end is not looked for; None where
    these are few. base: where data begins in the stream.
    """
    alike = list(_SIGN.finditer(data, at + BEFORE))
    shape = alike[0].lastindex if len(alike) > ALIKE and alike[0].start() == at + BEFORE else None
    if shape is None:
        return None
    if any(one.lastindex != shape for one in alike):
        alike = list(takewhile(lambda one: one.lastindex == shape, alike))
        if len(alike) <= ALIKE:
            return None
    wanted = _SHAPES[shape]
    rows = [one.group(*wanted) for one in alike]
    spans = [one.span() for one in alike]
    del rows[-1]
    columns = [b"".join(column) for column in zip(*rows, strict=True)]
    announced = columns.pop() if shape in _ANNOUNCED else b""
    keys, times, change_keys, fai, ids, sizes, numbers = columns if len(columns) == 7 else (*columns, b"", b"", b"")
    subjects, passed = [], 0
    find, before = data.find, BEFORE
    end = spans[0][1]
    for begin, next_end in spans[1:]:
        following = begin - before
        passed += following - end
        place = find(_SUBJECT, end, following if following - end < NEAR else end + NEAR) + 4
        stop = place + 4 + _U32(data, place)[0] if 4 <= place <= following - 4 else end
        subjects.append(data[place:stop] if end < stop <= following else _NO_SUBJECT)
        end = next_end
    base -= before
    offsets = tuple([base + begin for begin, _ in spans])
    return Messages(
        offsets, keys, times, change_keys, fai, ids, sizes, numbers, announced, b"".join(subjects), passed
    )  # fmt: skip


def following(data: bytes, at: int, end: int | None = None) -> tuple[bool, int]:
    """Whether what follows the body in which data[at:end] begins was found; where it is, or where to look on when more
    has come.
    """
    if end is None:
        end = len(data)
    found = _SIGN.search(data, at + BEFORE, end)
    if found is None:
        cut = data.rfind(_GROUP_INFO, max(at, end - NEAR), end)
        if cut >= 0 and (cut + 12 > end or cut + 12 + _U32(data, cut + 8)[0] > end - LONGEST):
            return False, cut  # what the mapping of property groups is for stands in the next chunk
        return False, max(at, end - LONGEST + 1)
    start = found.start() - BEFORE
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
    return _text(data[found + 4 : stop]) if stop <= end else None


def _text(raw: bytes) -> str | None:
    value = quick(0x0037001F, raw)
    return value if isinstance(value, str) else None
