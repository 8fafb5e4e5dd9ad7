"""Where to go on reading a FastTransfer stream when bytes before it are missing.

Nothing in a stream tells where an element begins. But a marker and the tag of the property that has to stand behind it
make eight bytes that chance hardly makes: from there on reading is safe.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import NamedTuple

from dissector.grammar.fasttransfer import MARKER

OPENINGS: Mapping[tuple[str, int], str | None] = {
    ("IncrSyncChg", 0x65E00102): "contentsSync",
    ("IncrSyncChg", 0x65E10102): "hierarchySync",
    ("IncrSyncProgressPerMsg", 0x00000003): "contentsSync",
    ("StartMessage", 0x674A0014): None,
    ("StartFAIMsg", 0x674A0014): None,
    ("IncrSyncStateBegin", 0x40170003): None,
    ("IncrSyncStateBegin", 0x40170102): None,
    ("IncrSyncStateBegin", 0x67960102): None,
}
"""A marker and the tag behind it that open a part of the whole, and which root has that part (None: several do)."""

INNER: frozenset[tuple[str, int]] = frozenset(
    {
        ("StartRecip", 0x30000003), ("NewAttach", 0x0E210003), ("IncrSyncDel", 0x67E50102),
        ("IncrSyncDel", 0x40210102), ("IncrSyncDel", 0x67930102), ("IncrSyncRead", 0x402D0102),
        ("IncrSyncRead", 0x402E0102),
    }
)  # fmt: skip
"""The same inside such a part: of use where the root is known."""

SIGN_SIZE = 8


def _signs(pairs: Mapping[tuple[str, int], str | None]) -> tuple[re.Pattern[bytes], Mapping[bytes, str | None]]:
    signs = {struct.pack("<II", MARKER[name], tag): root for (name, tag), root in pairs.items()}
    return re.compile(b"|".join(map(re.escape, signs)), re.DOTALL), signs


_OUTER = _signs(OPENINGS)
_ALL = _signs({**OPENINGS, **dict.fromkeys(INNER)})


class Resumption(NamedTuple):
    """Where an element begins for sure, and which root a stream has that says this (None: not to be told)."""

    offset: int
    root: str | None


def resume(data: bytes, offset: int = 0, end: int | None = None, *, root_known: bool = False) -> Resumption | None:
    """The first place in data[offset:end] where reading may begin; None where there is none."""
    pattern, roots = _ALL if root_known else _OUTER
    found = pattern.search(data, offset, len(data) if end is None else end)
    return Resumption(found.start(), roots[found.group()]) if found is not None else None
