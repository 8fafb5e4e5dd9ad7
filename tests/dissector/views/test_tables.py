"""What the table of ROPs says of how they are read."""

from __future__ import annotations

from typing import Any

from construct import Construct

from dissector.grammar.leaves import U8
from dissector.grammar.rops import ROPS
from dissector.grammar.rops.base import rop
from dissector.views.table import reading_of, rops_lines


class Odd(Construct):  # type: ignore[misc]
    """Without a rule in the compiler."""

    def _parse(self, stream: Any, context: Any, path: str) -> bytes:
        return bytes(stream.read(1))


def test_what_cannot_be_compiled_is_told_with_the_field_and_why() -> None:
    partly = rop(0xA7, "RopOdd", "2.2.2", "Number" / U8, "Odd" / Odd())
    assert reading_of(partly) == "partly: RopOdd request: Odd: Odd has no compiled form"
    odd = ["One" / Odd(), "Two" / Odd(), "Three" / Odd(), "Four" / Odd(), "Five" / Odd(), "Six" / Odd()]
    alone = rop(0xA8, "RopOdder", "2.2.2", *odd, no_response=True)
    assert reading_of(alone) == "interpreted: RopOdder request: One: Odd has no compiled form"
    assert reading_of(ROPS[0x28]) == ""
    assert reading_of(ROPS[0x02]) == "compiled"
    assert "partly" in list(rops_lines([partly]))[1]
