"""Plan, engine and transport put together: the exchanges of a capture against one server."""

from __future__ import annotations

from collections.abc import Iterable

from dissector.session.exchange import Exchange
from replay.engine import Engine
from replay.errors import ReplayError
from replay.plan import Planner
from replay.report import Report
from replay.transport.mapihttp import MapiHttp


def replay(
    exchanges: Iterable[Exchange], *, server: str, user: str, password: str, mailbox: str, verify: bool = True
) -> Report:
    """Send what can be sent, compare every answer. A failure on the way is in the report, with all before it."""
    engine = Engine(Planner().steps(exchanges), mailbox)
    with MapiHttp(server, user, password, verify=verify) as client:
        conversation = engine.conversation()
        try:
            outgoing = next(conversation)
            while True:
                outgoing = conversation.send(client.send(outgoing))
        except StopIteration:
            pass
        except ReplayError as error:
            engine.report.failure = str(error)
    return engine.report
