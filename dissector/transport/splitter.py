"""Cuts a window into DCE/RPC PDUs by frag_length, and finds the next header where it lost its place.

A capture may begin inside a PDU, and bytes may be missing. Where a hole ends inside a PDU the next one is found by
counting; else by searching for bytes that can be a header, and believing them when another follows where they say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from dissector.grammar.pduheader import HEADER_SIZE, Header, could_be_header, ptype_name, read_header
from dissector.node import Diagnostic, Severity
from dissector.transport.window import Piece, Window

SKIP = 1 << 20
"""How many bytes are skipped at a time."""


@dataclass(slots=True)
class Pdu:
    """A PDU as it was taken from a window. missing: how many bytes at its end were not captured."""

    header: Header
    piece: Piece
    missing: int = 0
    notes: list[Diagnostic] = field(default_factory=list)


class Splitter:
    """Cuts one direction into PDUs.

    late: the capture may begin in the middle of a PDU, so that junk in front is nobody's fault. consumed: bytes taken
    from the window by the last call. lost: PDUs may be missing between the last one and the next.
    """

    def __init__(self, late: bool = False) -> None:
        self.consumed = 0
        self.skipped = 0
        self.lost = False
        self._late = late
        self._sure = not late  # the next byte begins a PDU
        self._jump = 0  # bytes of a broken PDU that are still to come behind a hole

    def split(self, window: Window, limit: int | None = None) -> Iterator[Pdu]:
        """The whole PDUs in the window (in its first `limit` bytes), taken from it; then sets window.need."""
        self.consumed = 0
        while True:
            here = self._here(window, limit)
            if self._jump:
                self._jump -= self._drop(window, min(self._jump, here))
                if self._jump:
                    window.need = min(self._jump, SKIP)
                    return
                continue
            start = window.peek(min(here, HEADER_SIZE))
            if len(start) < HEADER_SIZE and could_be_header(start):
                window.need = HEADER_SIZE
                return
            header = read_header(start)
            if header is None or not self._confirmed(window, header, here):
                self._sure = False
                self.skipped += self._drop(window, self._search(window, here))
                continue
            if header.frag_length > here:
                window.need = header.frag_length
                return
            self._sure = True
            yield self._pdu(header, self._take(window, header.frag_length, ptype_name(header.ptype)))

    def rest(self, window: Window, limit: int | None = None, gap: int | None = None) -> Pdu | None:
        """Take what split() left: the part of a PDU in front of a hole of `gap` bytes, or of the end (None).

        Returns None where not even its header is there. Afterwards split() goes on behind the hole, or with what begins
        anew.
        """
        self.consumed = 0
        here = self._here(window, limit)
        if self._jump:
            self._drop(window, here)
            behind, pdu = self._jump - here, None
        elif (header := read_header(window.peek(min(here, HEADER_SIZE)))) is not None:
            behind = header.frag_length - here
            pdu = self._pdu(header, self._take(window, here, ptype_name(header.ptype)))
            pdu.missing = max(behind, 0)
        else:
            self.skipped += self._drop(window, here)
            behind, pdu = 0, None
        behind = behind - gap if gap is not None else 0
        self._jump = max(behind, 0)
        self.lost = behind < 0
        self._sure = behind >= 0
        return pdu

    def _here(self, window: Window, limit: int | None) -> int:
        return window.available if limit is None else min(window.available, limit - self.consumed)

    def _pdu(self, header: Header, piece: Piece) -> Pdu:
        pdu = Pdu(header, piece)
        if self.skipped:
            why = ": the capture began inside one" if self._late else ""
            severity = Severity.NO_CONTEXT if self._late else Severity.MALFORMED
            pdu.notes.append(Diagnostic(severity, f"the {self.skipped} bytes in front of this PDU are no PDU{why}"))
        self.skipped, self._late = 0, False
        return pdu

    def _confirmed(self, window: Window, header: Header, here: int) -> bool:
        """Whether a header is to be believed: always in step; after a search only when the next one agrees."""
        behind = header.frag_length
        if self._sure or here < behind + HEADER_SIZE:
            return True
        return read_header(window.peek(HEADER_SIZE, behind)) is not None

    def _search(self, window: Window, here: int) -> int:
        """The next position (never 0) where a PDU could begin."""
        at = 1
        while at < here:
            at = window.find(b"\x05", at)
            if at < 0 or at >= here:
                break
            start = window.peek(min(HEADER_SIZE, here - at), at)
            if read_header(start) is not None or (len(start) < HEADER_SIZE and could_be_header(start)):
                return at
            at += 1
        return here

    def _take(self, window: Window, n: int, label: str) -> Piece:
        self.consumed += n
        return window.take(n, label)

    def _drop(self, window: Window, n: int) -> int:
        self.consumed += n
        return window.skip(n)
