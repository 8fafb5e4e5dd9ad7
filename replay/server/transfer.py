"""Download contexts: a stream made piece by piece and handed out in buffers [MS-OXCFXICS] 3.2.5.8.1.5."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from replay.server.errors import BUFFER_TOO_SMALL, RopError
from replay.server.fxwriter import Piece
from replay.server.session import Logon, ServerObject

ERROR, PARTIAL, NO_ROOM, DONE = range(4)
"""TransferStatus."""


class TransferSource(ServerObject):
    """A FastTransfer download context. make() begins the stream when its first buffer is asked for."""

    kind = "transfer-source"

    def __init__(self, logon: Logon, make: Callable[[], Iterator[Piece]]) -> None:
        super().__init__(logon)
        self._make = make
        self._pieces: Iterator[Piece] | None = None
        self._left: Piece | None = None
        self.failed: RopError | None = None
        self.done = False
        self.steps = 0
        self.steps_done = 0

    @property
    def begun(self) -> bool:
        return self._pieces is not None

    def take(self, size: int) -> tuple[bytes, int]:
        """(at most `size` bytes, status). After a failure every further call fails in the same way."""
        if self.failed is not None:
            raise self.failed
        try:
            return self._take(size)
        except RopError as error:
            self.failed = error
            raise

    def _take(self, size: int) -> tuple[bytes, int]:
        if self._pieces is None:
            self._pieces = self._make()
        out = bytearray()
        while True:
            piece = self._left or next(self._pieces, None)
            self._left = None
            if piece is None:
                self.done = True
                return bytes(out), DONE
            room = size - len(out)
            if len(piece.data) <= room:
                out += piece.data
                continue
            cut = room - room % piece.step if piece.free else 0
            out += piece.data[:cut]
            self._left = piece._replace(data=piece.data[cut:])
            if not out:
                self._left = piece
                raise RopError(BUFFER_TOO_SMALL)
            return bytes(out), PARTIAL
