"""A captured stream and its live counterpart: compared, and the states that both servers gave remembered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from dissector.model.idset import IdSet
from dissector.session.stream import Stream
from replay.compare.changes import Story
from replay.compare.difference import DIFFERENT, Difference
from replay.compare.policy import Policy
from replay.compare.reasons import MISSING, STALE
from replay.compare.streams import compare_stories
from replay.learning import Mailbox
from replay.steps import Ended

CUT = "the live stream could not be read to its end"


def forgotten(
    captured: Story, live: Story, uploaded: Mapping[str, tuple[IdSet, IdSet]], known: set[str]
) -> Iterator[Difference]:
    """Change numbers that the client had, and that only the live server's state has lost."""
    for name, (here, there) in uploaded.items():
        path = f"state.{name}"
        if path in known or name not in captured.state or name not in live.state or here - captured.state[name]:
            continue
        lost = there - live.state[name]
        if lost:
            why = "the live server has forgotten what the client had seen before"
            yield Difference(path, "holds all that was uploaded", f"has lost {lost}", DIFFERENT, why)


def compare_streams(
    ended: Ended,
    stream: Stream,
    live: Story | None,
    mailbox: Mailbox,
    policy: Policy,
    unsure: str,
    uploaded: Mapping[str, tuple[IdSet, IdSet]] | None = None,
) -> tuple[list[Difference], list[str]]:
    """The differences of two streams, and remarks on why they were not compared. live: what the live one tells.

    unsure: why the state that the live stream answers is not sure; it explains what differs. uploaded: the change
    numbers of that state, captured and live.
    """
    captured = ended.stream
    if not captured.complete:
        return [], [f"{captured.label} is not compared: it is not complete in the capture ({captured.why})"]
    if not stream.complete:
        return [Difference("stream", "complete", f"not complete: {stream.why}", DIFFERENT, CUT)], []
    if ended.story is None or live is None:
        if captured.account.changes == stream.account.changes:
            return [], [f"{captured.label} is too long to be compared property by property"]
        mine, theirs = (dict(one.account.changes) for one in (captured, stream))
        return [Difference("changes", mine, theirs, DIFFERENT, "the stream is too long for more than counts")], []
    found = compare_stories(
        ended.story, live, mailbox.identity, policy, ordered=ended.ordered, given=mailbox.given,
        strangers=mailbox.strangers, lacking=mailbox.lacking, upload=ended.upload,
    )  # fmt: skip
    found += forgotten(ended.story, live, uploaded or {}, {one.path for one in found if one.verdict == DIFFERENT})
    if ended.story.state and live.state:
        mailbox.states.learn(ended.where, ended.story.state, live.state)
    if unsure:
        found = [
            replace(one, why="; ".join(filter(None, (one.why, unsure))), cause=one.cause.replace(MISSING, '') or STALE)
            if one.verdict == DIFFERENT else one
            for one in found
        ]  # fmt: skip
    return found, []
