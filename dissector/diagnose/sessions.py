"""Sessions as stories: who, over which connections, which mailboxes, which objects, and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from dissector.diagnose.transport import MAILBOX_CALLS, OPENING, answer_frame, failed
from dissector.session.exchange import Exchange
from dissector.session.handles import Handles, Life, Misuse
from dissector.session.objects import Logon, Session, endpoint_text
from dissector.session.tracker import CLOSING_CALLS

KEPT = 100
"""So many connections, misuses and failures of a session are remembered; all are counted."""


@dataclass(slots=True)
class SessionStory:
    """One session.

    connections: client endpoints in order of use. named_by: names of cookies or context handles, with the values of
    each. logons: with the frame of each. lives: every handle, in order of birth. misuses: uses after release. failures:
    (frame, call, why) of calls that came to nothing. follows: the session after whose failure this one was opened, and
    the frame of that. ended: frame of its Disconnect, 0 where there is none.
    """

    session: Session
    connections: list[str] = field(default_factory=list)
    connection_count: int = 0
    named_by: dict[str, set[str]] = field(default_factory=dict)
    logons: list[tuple[int, Logon]] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    misuses: list[Misuse] = field(default_factory=list)
    misuse_count: int = 0
    most: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    failure_count: int = 0
    follows: tuple[int, int] | None = None
    ended: int = 0
    ended_by: str = ""

    @property
    def opened(self) -> Counter[str]:
        """How many objects of each kind."""
        return Counter(life.kind for life in self.lives)

    @property
    def left(self) -> list[Life]:
        """What was never released."""
        return [life for life in self.lives if not life.released]


class SessionStories:
    """Fed with exchanges in order: exchange(). stories: by session number."""

    def __init__(self) -> None:
        self.stories: dict[int, SessionStory] = {}
        self.handles = Handles()
        self.handles.born = self._born
        self._at: dict[int, set[int | None]] = {}
        self._lost: dict[tuple[str, str], tuple[int, int]] = {}

    def exchange(self, exchange: Exchange) -> None:
        session = exchange.session
        if session is None:
            return
        story = self.stories.get(session.number)
        if story is None:
            story = self.stories[session.number] = SessionStory(session)
        self._connection(story, exchange)
        self._failure(story, exchange)
        for rop in exchange.rops:
            misuse = self.handles.rop(exchange, rop)
            if misuse is not None:
                story.misuse_count += 1
                if len(story.misuses) < KEPT:
                    story.misuses.append(misuse)
        known = {id(logon) for _, logon in story.logons}
        story.logons += [(exchange.frame, logon) for logon in session.logons.values() if id(logon) not in known]
        story.most = self.handles.most.get(session.number, {})
        if exchange.call.name in CLOSING_CALLS and exchange.call.request is not None:
            story.ended, story.ended_by = exchange.frame, exchange.call.name
            self.handles.closed(session.number)

    def _born(self, session: int, life: Life) -> None:
        self.stories[session].lives.append(life)

    def _connection(self, story: SessionStory, exchange: Exchange) -> None:
        connection = exchange.call.connection
        seen = self._at.setdefault(story.session.number, set())
        number = getattr(connection, "number", None)
        if number not in seen:
            seen.add(number)
            story.connection_count += 1
            if len(story.connections) < KEPT:
                story.connections.append(endpoint_text(getattr(connection, "client", None)))
        for side in (exchange.call.request, exchange.call.response):
            for key in side.session_keys if side is not None else ():
                name, _, value = str(key).partition("=")
                values = story.named_by.setdefault(name, set())
                if len(values) < 10_000:
                    values.add(value)

    def _failure(self, story: SessionStory, exchange: Exchange) -> None:
        why = failed(exchange) if exchange.call.name in MAILBOX_CALLS else ""
        session = story.session
        who = session.client.rpartition(":")[0], session.user_dn
        if why:
            story.failure_count += 1
            if len(story.failures) < KEPT:
                story.failures.append((answer_frame(exchange), exchange.call.name, why))
            self._lost[who] = session.number, answer_frame(exchange)
        elif exchange.call.name in OPENING:
            before = self._lost.pop(who, None)
            if before is not None and before[0] != session.number:
                story.follows = before


def session_stories(exchanges: Iterable[Exchange]) -> list[SessionStory]:
    """The sessions of a capture, in order of appearance."""
    made = SessionStories()
    for exchange in exchanges:
        made.exchange(exchange)
    return [made.stories[number] for number in sorted(made.stories)]
