"""A captured stream and its live counterpart: compared, and the states that both servers gave remembered."""

from __future__ import annotations

from dataclasses import replace

from dissector.session.stream import Stream
from replay.compare.changes import story_of
from replay.compare.difference import DIFFERENT, Difference
from replay.compare.policy import Policy
from replay.compare.reasons import MISSING, STALE
from replay.compare.streams import compare_stories
from replay.learning import Mailbox
from replay.steps import Ended


def compare_streams(
    ended: Ended, stream: Stream, mailbox: Mailbox, policy: Policy, unsure: str
) -> tuple[list[Difference], list[str]]:
    """The differences of two streams, and remarks on why they were not compared.

    unsure: why the state that the live stream answers is not sure; it explains what differs.
    """
    captured = ended.stream
    if not captured.complete:
        return [], [f"{captured.label} is not compared: it is not complete in the capture ({captured.why})"]
    if not stream.complete:
        return [Difference("stream", "complete", f"not complete: {stream.why}", DIFFERENT)], []
    live = story_of(stream)
    if ended.story is None or live is None:
        if captured.account.changes == stream.account.changes:
            return [], [f"{captured.label} is too long to be compared property by property"]
        mine, theirs = (dict(one.account.changes) for one in (captured, stream))
        return [Difference("changes", mine, theirs, DIFFERENT, "the stream is too long for more than counts")], []
    found = compare_stories(
        ended.story, live, mailbox.identity, policy, ordered=ended.ordered, given=mailbox.given,
        strangers=mailbox.strangers, lacking=mailbox.lacking, upload=ended.upload,
    )  # fmt: skip
    if ended.story.state and live.state:
        mailbox.states.learn(ended.where, ended.story.state, live.state)
    if unsure:
        found = [
            replace(one, why="; ".join(filter(None, (one.why, unsure))), cause=one.cause.replace(MISSING, '') or STALE)
            if one.verdict == DIFFERENT else one
            for one in found
        ]  # fmt: skip
    return found, []
