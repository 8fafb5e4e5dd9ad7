"""The Python interface: `from dissector import open_capture`. docs/api.md shows it at work."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Self

from dissector.diagnose import Finding, diagnose
from dissector.diagnose.life import Life, lives
from dissector.diagnose.sessions import SessionStory, session_stories
from dissector.errors import DissectorError
from dissector.pipeline import Dissection, dissect
from dissector.session.exchange import Exchange, Rop
from dissector.session.stream import Stream
from dissector.session.streams import KEEP_ALL, Streams
from dissector.session.sync import records
from dissector.session.syncrecord import SyncRecord


class OpenCapture:
    """A capture. Every method reads it anew from its beginning, lazily; what comes out keeps no file open.

    A binary stream (standard input, an io.BytesIO) can be read once only. Raises CaptureError where the input is no
    capture, EngineError where tshark is needed and missing.
    """

    def __init__(
        self, path: str | Path | BinaryIO, *, engine: str = "auto", options: Mapping[str, str] | None = None
    ) -> None:
        self.path = path
        self._engine, self._options = engine, dict(options or {})
        self._open: Dissection | None = self._dissect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._open is not None:
            self._open.__exit__()
            self._open = None

    def _dissect(self) -> Dissection:
        return dissect(self.path, engine=self._engine, options=self._options)

    def _reading(self) -> Dissection:
        if self._open is not None:
            dissection, self._open = self._open, None
            return dissection
        if not isinstance(self.path, str | Path) or self.path == "-":
            raise DissectorError(
                "a stream can be read only once: give a file name, or keep what the first reading gave"
            )
        return self._dissect()

    def exchanges(self) -> Iterator[Exchange]:
        """Calls, each request with its response and the ROPs of both, in order of completion."""
        with self._reading() as dissection:
            yield from dissection.exchanges()

    def rops(self) -> Iterator[tuple[Exchange, Rop]]:
        """Every ROP with the exchange that carried it."""
        for exchange in self.exchanges():
            for rop in exchange.rops:
                yield exchange, rop

    def streams(self, keep: int = KEEP_ALL) -> Iterator[Stream]:
        """FastTransfer streams, joined across their ROPs, each when it ends. keep: bytes that are held of each."""
        joiner = Streams(keep)
        for exchange in self.exchanges():
            yield from joiner.exchange(exchange).streams
        yield from joiner.finish()

    def sessions(self) -> list[SessionStory]:
        """Sessions with their connections, logons, and every object handle from birth to release."""
        return session_stories(self.exchanges())

    def synchronizations(self) -> Iterator[SyncRecord]:
        """Synchronizations as records, each when its context is gone."""
        yield from records(self.exchanges())

    def findings(self, rules: Collection[str] | None = None, *, thorough: bool = False) -> Iterator[Finding]:
        """What went wrong, and notes. rules: the names of those that are wanted (diagnose.RULES has all). thorough:
        read every element of every message; else those of big captures are passed over (diagnose.Diagnosis).
        """
        with self._reading() as dissection:
            yield from diagnose(dissection, rules, thorough=thorough)

    def explain(self, message: str) -> list[Life]:
        """What every synchronization did to a message or folder, and why: by id, source key or part of the subject."""
        return lives(list(self.synchronizations()), message)
