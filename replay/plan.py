"""Exchanges become steps, in the capture's order. Pure: nothing is sent here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from dissector.session.exchange import Exchange
from dissector.session.objects import Session
from dissector.session.streams import Streams
from replay.compare.changes import Listener
from replay.edits import edited
from replay.errors import ReplayError
from replay.known import Known, Mailbox
from replay.needs import Key
from replay.steps import PlannedRop, Step, special_folder

KEPT_STREAM = 256 << 20
"""Bytes of a FastTransfer stream that are kept for comparing it; longer ones are compared by their counts."""

MOST_HELD = 2000
"""Steps that are held back while the upload of a state property is still going on in the capture."""


class Planner:
    """Makes steps out of exchanges, in order, remembering per session what the live side will know.

    choice: says of a ROP, by key and name, why it is not sent ('' where it is). Without it all are.
    edits: fields to set in requests, by key: paths and values (see edits.py).
    """

    def __init__(
        self,
        choice: Callable[[Key, str], str] | None = None,
        edits: Mapping[Key, Mapping[str, Any]] | None = None,
    ) -> None:
        self._choice, self._edits = choice, edits or {}
        self._sessions: dict[int, Known] = {}
        self._mailboxes: dict[str, Mailbox] = {}
        self._listener = Listener()
        self._streams = Streams(keep=KEPT_STREAM, watcher=self._listener, words=False)

    def steps(self, exchanges: Iterable[Exchange]) -> Iterator[Step]:
        """Steps in the capture's order. A few are held back where a later exchange tells what they are about."""
        held: deque[Step] = deque()
        for exchange in exchanges:
            held.extend(self._plan(exchange))
            open_uploads = [id(one) for known in self._sessions.values() for one in known.uploads.values()]
            if len(held) > MOST_HELD:
                open_uploads.clear()
            while held and not (open_uploads and any(id(rop.upload) in open_uploads for rop in held[0].rops)):
                yield held.popleft()
        yield from held

    def _plan(self, exchange: Exchange) -> Iterator[Step]:
        if exchange.session is None:
            return
        known = self._known(exchange.session)
        ended = self._streams.exchange(exchange).streams
        if not any(rop.request is not None for rop in exchange.rops):
            yield from known.call(exchange, ended)
            return
        for step in known.plan(exchange, self._choice, ended):
            for rop in step.rops:
                if rop.key in self._edits and rop.value is not None:
                    try:
                        rop.value = edited(rop.value, self._edits[rop.key])
                    except ReplayError as error:
                        where = f"exchange {rop.key[0]}, rop {rop.key[1]}, {rop.name}"
                        raise ReplayError(f"{where}: {error}") from error
            yield step

    def _known(self, session: Session) -> Known:
        known = self._sessions.get(session.number)
        if known is None:
            name = session.user_dn.lower()
            mailbox = self._mailboxes.setdefault(name, Mailbox(name))
            known = self._sessions[session.number] = Known(session, mailbox, self._listener.story)
        return known


__all__ = ["PlannedRop", "Planner", "Step", "special_folder"]
