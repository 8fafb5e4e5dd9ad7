"""What a fault is, the list of them, and how they are asked for: NAME[:ARGUMENT][@WHICH].

A fault has chances: synchronizations, ROPs or requests at which it can do its damage. WHICH says at which of them it
does, counted from 1 over all clients: 3, 2-5 or 4-; every one without.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from starlette.types import ASGIApp

from dissector.errors import DissectorError
from replay.server.call import Call, Fields, Handler

if TYPE_CHECKING:
    from replay.server.app import Server

log = logging.getLogger("replay.server")

_FORM = re.compile(r"(?P<name>[a-z0-9-]+)(?::(?P<argument>[^@]*))?(?:@(?P<first>\d+)(?P<more>-(?P<last>\d*))?)?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s)?")


class FaultError(DissectorError):
    """--fault cannot be understood: one line for the user."""


class Chances:
    """Counts the chances of a fault and says which of them it takes."""

    def __init__(self, first: int = 1, last: int | None = None) -> None:
        self.first, self.last = first, last
        self._count = 0
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            self._count += 1
            return self._count >= self.first and (self.last is None or self._count <= self.last)


class Fault:
    """One thing that goes wrong. Subclasses say how, by `around` (ROPs) or `application` (HTTP).

    name: what --fault calls it. about: what goes wrong. argument: what stands behind the colon, with its default; ''
    where there is none. chance: what is counted for WHICH. rule: the finding of `dissector diagnose` that tells of it.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    argument: ClassVar[str] = ""
    chance: ClassVar[str]
    rule: ClassVar[str]

    def __init__(self, argument: str, chances: Chances) -> None:
        self.chances = chances
        if argument and not self.argument:
            raise ValueError("it takes no argument")
        self.set(argument)

    def set(self, argument: str) -> None:
        """Take the argument; ValueError where it is none."""

    def happens(self) -> bool:
        """Whether it does its damage at this chance."""
        taken = self.chances.take()
        if taken:
            log.info("fault %s", self.name)
        return taken

    def around(self) -> Mapping[int, Callable[[Call, Handler], Fields]]:
        """By RopId: what stands in place of a handler; it is given the handler."""
        return {}

    def application(self, server: Server, inner: ASGIApp) -> ASGIApp:
        """What stands in place of the ASGI application."""
        return inner


FAULTS: dict[str, type[Fault]] = {}
"""All faults by name."""


def fault(kind: type[Fault]) -> type[Fault]:
    """Register a fault."""
    assert kind.name not in FAULTS, kind.name
    FAULTS[kind.name] = kind
    return kind


def parse(texts: Iterable[str]) -> list[Fault]:
    """The faults of NAME[:ARGUMENT][@WHICH][,...] texts. Raises FaultError."""
    return [_one(part.strip()) for text in texts for part in text.split(",") if part.strip()]


def _one(text: str) -> Fault:
    found = _FORM.fullmatch(text)
    if found is None:
        raise FaultError(f"--fault {text}: not of the form NAME[:ARGUMENT][@WHICH]")
    kind = FAULTS.get(found["name"])
    if kind is None:
        raise FaultError(f"--fault {text}: there is no fault {found['name']!r}; `replay serve --fault help` lists them")
    first = int(found["first"] or 1)
    last = None
    if found["first"] is not None and found["last"] != "":
        last = int(found["last"] or first)
    if first < 1 or last == 0:
        raise FaultError(f"--fault {text}: chances are counted from 1")
    if last is not None and last < first:
        raise FaultError(f"--fault {text}: the range {first}-{last} is reversed")
    try:
        return kind(found["argument"] or "", Chances(first, last))
    except ValueError as error:
        raise FaultError(f"--fault {text}: {error}") from error


def seconds(text: str) -> float:
    """'3s', '250ms' or '3' as seconds."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time such as 3s or 250ms")
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def number(text: str, least: int = 0) -> int:
    """A count, decimal or 0x..."""
    try:
        value = int(text, 0)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None
    if not least <= value <= 0xFFFFFFFF:
        raise ValueError(f"{text!r} is out of range")
    return value


def help_lines() -> Iterator[str]:
    """What there is, for --fault help."""
    yield "--fault NAME[:ARGUMENT][@WHICH][,...]   WHICH of its chances it takes, from 1: 3, 2-5, 4-; all without"
    for name, kind in FAULTS.items():
        yield ""
        yield f"{name}:{kind.argument}" if kind.argument else name
        yield f"  {kind.about}"
        yield f"  chance: {kind.chance}; finding: {kind.rule}"


class Faulty:
    """Faults as a server takes them."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.faults = list(faults)

    def handlers(self, healthy: Mapping[int, Handler]) -> Mapping[int, Handler]:
        """The table of handlers with the faults around them, the first named innermost."""
        table = dict(healthy)
        for one in self.faults:
            for rop_id, instead in one.around().items():
                table[rop_id] = _wrapped(instead, table[rop_id])
        return table

    def application(self, server: Server, healthy: ASGIApp) -> ASGIApp:
        for one in self.faults:
            healthy = one.application(server, healthy)
        return healthy


def _wrapped(instead: Callable[[Call, Handler], Fields], handler: Handler) -> Handler:
    return lambda call: instead(call, handler)
