"""What a comparison finds: differences with their verdicts, and why two servers may differ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SAME, REMAPPED, EXPECTED, DIFFERENT = "same", "remapped", "expected", "different"
VERDICTS = (SAME, REMAPPED, EXPECTED, DIFFERENT)
RANK = {verdict: number for number, verdict in enumerate(VERDICTS)}

ABSENT = "(not there)"
"""Stands for the value of a field that one side has not."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same: where (path below the response), both values, the verdict and its reason.

    cause: one word for what stands behind it, where that is known ("conflict", "deleted", ...): see reasons.py.
    """

    path: str
    captured: Any
    live: Any
    verdict: str
    why: str = ""
    cause: str = ""


def verdict_of(differences: Iterable[Difference]) -> str:
    """The worst verdict; `same` for none."""
    return max((one.verdict for one in differences), key=RANK.__getitem__, default=SAME)
