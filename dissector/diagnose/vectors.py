"""Error vectors: what Outlook writes into its Sync Issues folder, often all that a user has.

    [80040803-30141506-0-533]      [8004010F-501-0-521]      [0-130]

All numbers are hexadecimal. The first is the result code (an HRESULT; 0 where Outlook has none), and in vectors of
four the third is the low-level error: the two numbers of a MAPIERROR that mean the same everywhere. The others are
context numbers: they name the place in Outlook's own code where it gave up. No list of them is published; they are of
use for finding the same trouble again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from dissector.diagnose.imports import REFUSALS
from dissector.grammar.names import error_meaning, error_name

_VECTOR = re.compile(r"\[\s*([0-9A-Fa-f]{1,8}(?:-[0-9A-Fa-f]{1,8}){1,5})\s*\]")
_CODE = re.compile(r"(?<![\w-])(?:0[xX]([0-9A-Fa-f]{8})|(8[0-9A-Fa-f]{7}))(?![\w-])")
"""An error code by itself, as Outlook's own dialogs have it: error (0x8004010F); its log has 0X8004010F."""
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME = re.compile(r"^\s*(\d{1,2}:\d{2}:\d{2}(?:\s*[AP]M)?)\s*", re.IGNORECASE)
_FOLDER = re.compile(r"(?:folder|ordner|dossier)\s+['‘\"“](.+?)['’\"”]", re.IGNORECASE)
RESULT, CONTEXT, LOW_LEVEL = "result code", "context number", "low-level error"


class Part(NamedTuple):
    """One number of a vector. name, meaning: of an error code, '' where none is known."""

    text: str
    value: int
    role: str
    name: str
    meaning: str


class Vector(NamedTuple):
    """A vector where it stands in a text. said: the lines before it that tell what went wrong; time, folder, mailbox
    activity as the log has them, '' where it has not.
    """

    text: str
    parts: tuple[Part, ...]
    said: str = ""
    time: str = ""
    folder: str = ""
    doing: str = ""

    @property
    def codes(self) -> list[int]:
        """The error codes in it: what a ROP may have returned."""
        return [part.value for part in self.parts if part.role != CONTEXT and part.value]

    @property
    def advice(self) -> str:
        """What to do about the first of its codes for which something is known."""
        return next((REFUSALS[code].advice for code in self.codes if code in REFUSALS), "")

    @property
    def explained(self) -> str:
        """What the first of its codes means to a synchronization; '' where nothing is known."""
        return next((REFUSALS[code].meaning for code in self.codes if code in REFUSALS), "")


def vectors_in(text: str) -> Iterator[Vector]:
    """Every vector in a text: one alone, or a whole pasted synchronization log; and error codes that stand by
    themselves.
    """
    time = folder = doing = said = ""
    for line in text.splitlines():
        found = [match for match in _VECTOR.finditer(line) if not _DATE.fullmatch(match[1])]
        stamp = _TIME.match(line)
        words = _TIME.sub("", _VECTOR.sub("", line)).strip()
        time = stamp[1] if stamp is not None else time
        named = _FOLDER.search(words)
        if named is not None:
            folder, doing, said = named[1], words, ""
        elif words and not found and not _CODE.fullmatch(words):
            said = words
        told: list[int] = []
        for match in found:
            vector = Vector(f"[{match[1]}]", parts_of(match[1]), words or said, time, folder, doing)
            told += vector.codes
            yield vector
        for match in _CODE.finditer(line):
            digits = match[1] or match[2]
            if int(digits, 16) not in told:
                about = said if _CODE.fullmatch(words) else words
                yield Vector(f"0x{digits.upper()}", parts_of(digits), about, time, folder, doing)


def parts_of(numbers: str) -> tuple[Part, ...]:
    """The parts of '80040803-30141506-0-533'."""
    texts = numbers.split("-")
    made = []
    for index, text in enumerate(texts):
        role = RESULT if index == 0 else LOW_LEVEL if index == 2 else CONTEXT
        value = int(text, 16)
        named = role != CONTEXT and value != 0
        made.append(Part(text, value, role, error_name(value) if named else "", error_meaning(value) if named else ""))
    return tuple(made)
