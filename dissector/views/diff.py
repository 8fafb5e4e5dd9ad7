"""`dissector diff`: two captures of the same act."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dissector.diagnose.base import counted
from dissector.diagnose.compare import Difference, Side
from dissector.views.text import PLAIN, Palette, printable


def diff_lines(a: Side, b: Side, differences: Sequence[Difference], palette: Palette = PLAIN) -> Iterator[str]:
    """Who is compared, then the differences, heaviest first."""
    for name, side in (("A", a), ("B", b)):
        yield printable(f"{name}  {side.path}")
        yield printable(f"   server  {', '.join(side.server) or 'does not say what it is'}")
        if side.client:
            yield printable(f"   client  {', '.join(side.client)}")
        syncs, sessions = counted(len(side.records), "synchronization"), counted(len(side.sessions), "session")
        yield f"   {counted(side.said, 'ROP or call', 'ROPs and calls')} in {sessions}, {syncs}"
    yield ""
    for one in differences:
        times = f" ({one.times} times)" if one.times > 1 else ""
        where = " / ".join(
            f"{name} frame {place[0]}" if place is not None else f"{name} -"
            for name, place in (("A", one.place_a), ("B", one.place_b))
        )
        path = f" {one.path}" if one.path else ""
        yield f"{palette.bad}{one.kind:<8}{palette.off}{printable(f'{one.what}{path}{times}')}"
        yield printable(f"        {where}")
        if one.a or one.b:
            yield printable(f"        A  {one.a}")
            yield printable(f"        B  {one.b}")
    count = len(differences)
    yield f"{count} difference{'s' * (count != 1)}" if count else "no difference but of ids, times and the like"


def diff_json(a: Side, b: Side, differences: Sequence[Difference]) -> dict[str, Any]:
    """As docs/json.md has it."""

    def side(one: Side) -> dict[str, Any]:
        return {"capture": one.path, "server": one.server, "client": one.client,
                "rops": one.said, "syncs": len(one.records), "sessions": len(one.sessions)}  # fmt: skip

    def place(one: tuple[int, int] | None) -> dict[str, int] | None:
        return {"frame": one[0], "exchange": one[1]} if one is not None else None

    return {
        "a": side(a), "b": side(b),
        "differences": [
            {"weight": one.weight, "kind": one.kind, "what": one.what, "path": one.path, "count": one.times,
             "a": place(one.place_a), "b": place(one.place_b), "a_value": one.a, "b_value": one.b}
            for one in differences
        ],
    }  # fmt: skip
