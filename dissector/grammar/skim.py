"""Passing over the properties of a message without looking at them: for readers that only want to know what comes.

Most of a stream is properties that a story does not tell. Here they are stepped over by type and length alone. What is
no plain step (a marker, a meta-property, a value that is cut, a type that needs a closer look) is left to
ElementReader, so that the elements that come out between are the same.
"""

from __future__ import annotations

from collections.abc import Collection
from struct import Struct
from typing import NamedTuple

from dissector.grammar.elements import COUNTED, ElementReader, extent_of
from dissector.grammar.fasttransfer import FIRST_NAMED, MARKER
from dissector.grammar.ics import TERMINALS

STOP = 0
BY_LENGTH, TOLD = -1, -2
"""A tag, a u32 length, and bytes; the same, and somebody wants to know."""
NAMED = -1000
"""A property with a name, NAMED - n: its value has n bytes. NAMED itself: a u32 length and bytes."""
EVERY = 1
LID_SIZE = 21
"""Property set, kind and LID behind the tag of a named property."""

_U32 = Struct("<I").unpack_from
_TAG_AND_LENGTH = Struct("<II").unpack_from


class Steps(dict[int, int]):
    """How far each tag reaches; filled as tags are met. told: property ids of texts that are to be told."""

    def __init__(self, told: Collection[int] = ()) -> None:
        super().__init__()
        self.told = frozenset(told)

    def __missing__(self, tag: int) -> int:
        extent = extent_of(tag)
        if tag in TERMINALS or extent is None or (extent < 0 and extent != COUNTED):
            step = STOP
        elif tag >> 16 in self.told:
            step = TOLD if extent == COUNTED else STOP
        elif tag >= FIRST_NAMED:
            step = NAMED if extent == COUNTED else NAMED - extent
        else:
            step = BY_LENGTH if extent == COUNTED else 4 + extent
        self[tag] = step
        return step


def run(data: bytes, at: int, steps: Steps, into: list[tuple[int, bytes]], told: int = 0) -> tuple[int, int]:
    """Pass over what may be passed over, from an offset on: the offset behind it, and how many elements there were.

    into: is given the tag and the value of those that are to be told; with told=EVERY of all, and a named one stops.
    """
    size, count, unpack = len(data), 0, _TAG_AND_LENGTH
    last = size - 8
    while at <= last:
        tag, length = unpack(data, at)
        step = steps[tag]
        if step > 0:
            end = at + step
        elif step == BY_LENGTH:
            end = at + 8 + length
        elif step <= NAMED and not told:
            value = at + 4 + LID_SIZE
            if value > size - 4 or data[at + 20]:
                break
            end = value + NAMED - step if step != NAMED else value + 4 + _U32(data, value)[0]
        elif step == TOLD:
            end = at + 8 + length
            if end > size:
                break
            if not told:
                into.append((tag, data[at + 4 : end]))
        else:
            break
        if end > size:
            break
        if told:
            into.append((tag, data[at + 4 : end]))
        at = end
        count += 1
    return at, count


def skim(reader: ElementReader, steps: Steps, into: list[tuple[int, bytes]], told: int = 0) -> int:
    """Pass over the elements that are whole and may be passed over; how many there were. into, told: see run."""
    if reader._partial is not None or reader.trouble is not None:
        return 0
    reader._at, count = run(reader._data, reader._at, steps, into, told)
    return count


class Passed(NamedTuple):
    """What was passed over: properties of the message itself, recipients, attachments, and elements in all."""

    properties: int
    recipients: int
    attachments: int
    elements: int


NOTHING = Passed(0, 0, 0, 0)
FX_DEL_PROP = 0x40160003
START_RECIP, END_TO_RECIP = MARKER["StartRecip"], MARKER["EndToRecip"]
NEW_ATTACH, END_ATTACH = MARKER["NewAttach"], MARKER["EndAttach"]
NEXT = frozenset(
    MARKER[name]
    for name in (
        "IncrSyncChg", "IncrSyncChgPartial", "IncrSyncProgressPerMsg", "IncrSyncGroupInfo", "IncrSyncDel",
        "IncrSyncRead", "IncrSyncStateBegin",
    )
)  # fmt: skip
"""What may follow a messageChangeFull."""


def skim_body(reader: ElementReader, own: Steps, deeper: Steps, into: list[tuple[int, bytes]]) -> Passed:
    """Pass over what follows IncrSyncMessage: properties, and then recipients and attachments.

    The latter only where all of them are plain and whole, and what comes next begins something else: whoever reads on
    need not know that there were any.
    """
    if reader._partial is not None or reader.trouble is not None:
        return NOTHING
    data, at = reader._data, reader._at
    last = len(data) - 4
    at, properties = run(data, at, own, into)
    reader._at = at
    elements, counts = properties, [0, 0]
    for stage, (begin, end, least) in enumerate(((START_RECIP, END_TO_RECIP, 0), (NEW_ATTACH, END_ATTACH, 1))):
        if at + 4 <= last and _U32(data, at)[0] == FX_DEL_PROP:
            at += 8
            elements += 1
        at, counts[stage], count = _parts(data, at, begin, end, deeper, least)
        elements += count
    if at > last or _U32(data, at)[0] not in NEXT:
        return Passed(properties, 0, 0, properties)
    reader._at = at
    return Passed(properties, counts[0], counts[1], elements)


def _parts(data: bytes, at: int, begin: int, end: int, steps: Steps, least: int) -> tuple[int, int, int]:
    """Pass over parts that are a marker, at least so many properties and nothing else, and another marker.

    The offset behind them, how many parts there were, and how many elements in them.
    """
    nothing: list[tuple[int, bytes]] = []
    parts = elements = 0
    last = len(data) - 4
    while at <= last and _U32(data, at)[0] == begin:
        stop, count = run(data, at + 4, steps, nothing)
        if stop > last or count < least or _U32(data, stop)[0] != end:
            break
        at = stop + 4
        parts += 1
        elements += count + 2
    return at, parts, elements


def skim_parts(reader: ElementReader, begin: int, end: int, steps: Steps, least: int) -> tuple[int, int]:
    """Pass over such parts: how many there were, and how many elements in them."""
    if reader._partial is not None or reader.trouble is not None:
        return 0, 0
    reader._at, parts, elements = _parts(reader._data, reader._at, begin, end, steps, least)
    return parts, elements


def comes(reader: ElementReader, marker: int) -> bool:
    """Whether a marker is the next element."""
    return reader._partial is None and reader._data[reader._at : reader._at + 4] == marker.to_bytes(4, "little")


def step_over(reader: ElementReader) -> None:
    """Pass over one marker."""
    reader._at += 4
