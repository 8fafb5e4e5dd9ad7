"""The lives of server object handles: opened by which ROP, released where, used after that.

Only what the capture shows: a handle whose opening was not captured has no life here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from dissector.session.exchange import Exchange, Rop
from dissector.session.tracker import WITH_VALUE

RELEASE, LOGON = 0x01, 0xFE
REMEMBERED = 4096
"""So many released handles of a session are remembered."""


@dataclass(slots=True)
class Life:
    """One handle. parent: the handle that it was opened from. released: frame of the RopRelease, 0 while it lives;
    with_logon: it went with the handle of its logon.
    """

    handle: int
    kind: str
    rop: str
    exchange: int
    frame: int
    logon_id: int | None
    parent: int | None
    released: int = 0
    with_logon: bool = False


class Misuse(NamedTuple):
    """A ROP on a handle that is no more. code: what the server answered."""

    life: Life
    rop: str
    exchange: int
    frame: int
    code: int | None


@dataclass(slots=True)
class Handles:
    """Fed with ROPs in order: rop() gives a use after release. live, dead: by session number and handle.

    counts: how many of each kind live, most: how many lived at one time, by session and kind. born: told of each that
    is opened, if set.
    """

    live: dict[int, dict[int, Life]] = field(default_factory=dict)
    dead: dict[int, dict[int, Life]] = field(default_factory=dict)
    counts: dict[int, dict[str, int]] = field(default_factory=dict)
    most: dict[int, dict[str, int]] = field(default_factory=dict)
    born: Callable[[int, Life], None] | None = None

    def rop(self, exchange: Exchange, rop: Rop) -> Misuse | None:
        session, definition = exchange.session, rop.definition
        if session is None or definition is None or not rop.handles or rop.continues is not None:
            return None
        number, handles = session.number, rop.handles
        live = self.live.get(number)
        if live is None:
            live = self.live[number] = {}
        if rop.rop_id == RELEASE:
            return self._released(number, live, exchange, rop)
        misuse = None
        dead = self.dead.get(number)
        if dead:
            for name in definition.handles:
                acted_on = handles.get(name)
                life = dead.get(acted_on) if acted_on is not None and acted_on not in live else None
                if life is not None:
                    code = rop.return_value
                    if code == 0:
                        del dead[life.handle]  # it lives: how it was opened again was not captured
                    else:
                        misuse = Misuse(life, rop.name, exchange.number, exchange.frame, code)
        if definition.output and definition.opens and rop.return_value in WITH_VALUE:
            handle = handles.get(definition.output)
            if handle is not None:
                if dead:
                    dead.pop(handle, None)
                first = definition.handles[0] if definition.handles else ""
                before = live.pop(handle, None)
                if before is not None:
                    self._count(number, before.kind, -1)
                life = live[handle] = Life(
                    handle, definition.opens, rop.name, exchange.number, exchange.frame, rop.logon_id,
                    handles.get(first),
                )  # fmt: skip
                if self.born is not None:
                    self.born(number, life)
                self._count(number, definition.opens, 1)
        return misuse

    def _count(self, session: int, kind: str, by: int) -> None:
        counts = self.counts.setdefault(session, {})
        count = counts[kind] = counts.get(kind, 0) + by
        most = self.most.setdefault(session, {})
        if count > most.get(kind, 0):
            most[kind] = count

    def _released(self, number: int, live: dict[int, Life], exchange: Exchange, rop: Rop) -> Misuse | None:
        handle = rop.handles.get("InputHandleIndex")
        life = live.pop(handle, None) if handle is not None else None
        dead = self.dead.setdefault(number, {})
        if life is None:
            before = dead.get(handle) if handle is not None else None
            if before is None or before.with_logon:
                return None
            return Misuse(before, rop.name, exchange.number, exchange.frame, None)
        self._bury(number, dead, life, exchange.frame)
        if life.kind == "logon":
            for other in [one for one in live.values() if one.logon_id == life.logon_id]:
                del live[other.handle]
                other.with_logon = True
                self._bury(number, dead, other, exchange.frame)
        return None

    def _bury(self, number: int, dead: dict[int, Life], life: Life, frame: int) -> None:
        life.released = frame
        self._count(number, life.kind, -1)
        dead[life.handle] = life
        if len(dead) > REMEMBERED:
            del dead[next(iter(dead))]

    def closed(self, session: int) -> list[Life]:
        """The session is over: what was never released, in the order of opening."""
        left = list(self.live.pop(session, {}).values())
        self.dead.pop(session, None)
        self.counts.pop(session, None)
        return left

    def alive(self) -> Iterator[tuple[int, Life]]:
        """(session number, life) of all that lives now."""
        for session, lives in self.live.items():
            for life in lives.values():
                yield session, life
