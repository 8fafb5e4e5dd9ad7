"""Steps of a plan: what is sent, what is supplied, what is skipped and why.

A plan follows the capture's order. Every ROP of the capture is in it, with its action:

send     the ROP goes out, with handles and ids of the live server
supply   the capture does not hold it, but what follows needs it (a logon, a folder, a message that is opened, ids of
         named properties): the plan makes one and says so
skip     its handle, or the object it names, cannot be known: it is named, never guessed; or it was not chosen
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dissector.grammar.rops.base import RopDef
from dissector.model.ids import ObjectId
from dissector.session.exchange import Rop
from dissector.session.stream import Stream
from replay.compare.changes import Story
from replay.needs import Key

NOT_CHOSEN = "not chosen"

Where = tuple[ObjectId | None, str]
"""What a synchronization is about: a folder, and "contents" or "hierarchy"."""


def special_folder(logon_id: int, position: int) -> ObjectId:
    """A stand-in id for a special folder of the live logon. Its negative replica id cannot come from a capture."""
    return ObjectId(-1 - logon_id, position + 1)


@dataclass(slots=True)
class Upload:
    """One property of an ICS state that the captured client uploads, in so many parts.

    live: the bytes to upload in its place, and note: what is not sure about them; set when its upload begins.
    """

    tag: int
    where: Where
    parts: list[bytes] = field(default_factory=list)
    ended: bool = False
    live: bytes | None = None
    note: str = ""

    @property
    def data(self) -> bytes:
        return b"".join(self.parts)

    def part(self, number: int) -> bytes:
        """Part `number` of the live bytes: as long as the captured one, the last one takes what is left."""
        assert self.live is not None
        start = sum(map(len, self.parts[:number]))
        last = number == len(self.parts) - 1
        return self.live[start:] if last else self.live[start : start + len(self.parts[number])]


@dataclass(slots=True)
class PlannedRop:
    """One ROP of the plan. value: the request to send (captured ids in it); captured: None when supplied.

    key: exchange number and ROP number. needs: the ROPs it depends on, by key; opener: who opened what it acts on.
    upload, part: the state property that it uploads a part of.
    """

    definition: RopDef
    value: Any
    action: str
    reason: str = ""
    captured: Rop | None = None
    stand_in: int | None = None
    """The LogonId whose logon object serves as the input, where the captured handle is not known."""
    key: Key = (0, 0)
    needs: set[Key] = field(default_factory=set)
    opener: Key | None = None
    upload: Upload | None = None
    part: int = -1
    ordered: bool = False
    """The order of what it returns was asked for."""

    @property
    def name(self) -> str:
        return self.definition.name


@dataclass(slots=True)
class Ended:
    """A captured FastTransfer stream that has ended, and what it tells (None where that cannot be known).

    upload: it is the state that an upload ended with.
    """

    stream: Stream
    where: Where
    story: Story | None = None
    ordered: bool = False
    upload: bool = False


@dataclass(slots=True)
class Step:
    """One Execute: the ROPs of one captured exchange, or what was supplied before it.

    session: the number of the captured session; mailbox: whose it is. time: seconds since 1970, captured. stands_for:
    the captured folder or message that a supplied one is made for. named: captured ids of the named properties that a
    supplied RopGetPropertyIdsFromNames asks for. streams: captured FastTransfer streams that ended with this exchange.
    """

    session: int
    exchange: int
    frame: int
    rops: list[PlannedRop]
    supplied: bool = False
    stands_for: ObjectId | None = None
    mailbox: str = ""
    time: float = 0.0
    named: list[int] = field(default_factory=list)
    streams: list[Ended] = field(default_factory=list)
