"""Synchronization contexts, captured and live: which live stream answers which captured one.

A context is known by session, handle and the exchange that opened it. A live stream may end before the captured one or
after it; a captured stream that has ended waits here until the live one has.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from dissector.grammar.base import GrammarError
from dissector.grammar.idset import SET_FORMS, decode_idset
from dissector.grammar.names import property_name
from dissector.model.idset import IdSet
from dissector.session.exchange import Exchange
from dissector.session.stream import Stream
from dissector.session.streams import Streams
from replay.compare.changes import Listener
from replay.states import GIVEN
from replay.steps import Ended, Upload

Context: TypeAlias = tuple[int, int | None, int]
"""Session, handle, exchange: numbers of one side."""

KEPT_STREAM = 256 << 20


def context_of(stream: Stream) -> Context:
    return stream.session, stream.handle, stream.exchange


@dataclass(slots=True)
class Contexts:
    """pairs: live contexts by captured ones. unsure: why the state that was uploaded to a live one is not sure.

    uploaded: the change numbers in it, captured and live, by live handle and property name.
    """

    pairs: dict[Context, Context] = field(default_factory=dict)
    unsure: dict[int, str] = field(default_factory=dict)
    uploaded: dict[int, dict[str, tuple[IdSet, IdSet]]] = field(default_factory=dict)
    listener: Listener = field(default_factory=Listener)
    _streams: Streams = field(init=False)
    _ended: dict[Context, Stream] = field(default_factory=dict)
    _waiting: list[Ended] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._streams = Streams(keep=KEPT_STREAM, watcher=self.listener, words=False)

    def opened(self, captured: Context, live: Context) -> None:
        """Both sides opened a context in the same place."""
        self.pairs[captured] = live

    def given(self, handle: int, upload: Upload) -> None:
        """A property of a state is uploaded to a live context."""
        form = SET_FORMS.get(upload.tag >> 16)
        if form is None or upload.live is None or upload.tag >> 16 == GIVEN:
            return
        with suppress(GrammarError):
            sets = decode_idset(upload.data, form), decode_idset(upload.live, form)
            self.uploaded.setdefault(handle, {})[property_name(upload.tag)] = sets

    def live(self, exchange: Exchange) -> None:
        """Take a live exchange. Streams that ended before it, and that no captured one waits for, are let go."""
        paired = set(self.pairs.values())
        for context in [one for one in self._ended if one not in paired]:
            self.listener.forget(self._ended.pop(context))
        for stream in self._streams.exchange(exchange).streams:
            self._ended[context_of(stream)] = stream

    def finish(self) -> None:
        """Nothing more comes from the live server."""
        for stream in self._streams.finish():
            self._ended[context_of(stream)] = stream

    def captured(self, ended: list[Ended]) -> list[tuple[Ended, Stream]]:
        """Captured streams that ended; returns those, old and new, whose live stream has ended too."""
        self._waiting += [one for one in ended if context_of(one.stream) in self.pairs]
        found, left = [], []
        for one in self._waiting:
            live = self._ended.pop(self.pairs[context_of(one.stream)], None)
            if live is None:
                left.append(one)
            else:
                del self.pairs[context_of(one.stream)]
                found.append((one, live))
        self._waiting = left
        return found
