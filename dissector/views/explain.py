"""`dissector explain`: error vectors, and the life of one message, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dissector.diagnose.life import Life
from dissector.diagnose.vectors import CONTEXT, Part, Vector
from dissector.grammar.names import error_name
from dissector.views.rows import Row
from dissector.views.text import PLAIN, Palette, printable

NO_ERROR = "0: Outlook gives no error code of its own"
SHOWN_ROPS = 20


def vector_lines(vectors: Iterable[Vector], palette: Palette = PLAIN) -> Iterator[str]:
    """Each vector once, part by part, with what the log says around it."""
    for number, vector in enumerate(vectors):
        if number:
            yield ""
        yield f"{palette.value}{vector.text}{palette.off}"
        where = [text for text in (vector.time, vector.doing or vector.folder) if text]
        if where:
            yield printable(f"  in the log      {', '.join(where)}")
        if vector.said:
            yield printable(f"  Outlook says    {vector.said}")
        for part in vector.parts:
            yield f"  {part.role:<15} {part.text:<9} {part_text(part)}"
        if vector.explained:
            yield f"  in a synchronization: {vector.explained}"
        if vector.advice:
            yield f"  to do           {vector.advice}"


def part_text(part: Part) -> str:
    if part.role == CONTEXT:
        return "the place in Outlook's code; not published"
    if not part.value:
        return NO_ERROR if part.role == "result code" else "0: none"
    known = f"{part.name}: {part.meaning}" if part.name else "no name is known for it"
    severity = " (a warning)" if part.role == "result code" and part.value < 0x80000000 else ""
    return f"{known}{severity}"


def returned_lines(codes: list[int], rows: Iterable[Row], palette: Palette = PLAIN) -> Iterator[str]:
    """The ROPs of a capture that returned one of some codes."""
    shown = 0
    for row in rows:
        shown += 1
        if shown <= SHOWN_ROPS:
            yield (
                f"  frame {row.response_frame or row.frame}, exchange {row.exchange}: {row.rop or row.call} returned "
                f"{row.return_name or hex(row.return_code or 0)}  {row.summary}"
            )
    if shown > SHOWN_ROPS:
        yield f"  ... and {shown - SHOWN_ROPS} more"
    if not shown:
        names = " or ".join(error_name(code) or f"0x{code:08X}" for code in codes)
        yield f"  no ROP of this capture returned {names}" if codes else "  the vector has no error code to look for"


def vector_json(vector: Vector) -> dict[str, Any]:
    return {
        "vector": vector.text, "time": vector.time, "folder": vector.folder, "doing": vector.doing,
        "said": vector.said, "explained": vector.explained, "advice": vector.advice,
        "parts": [
            {"text": part.text, "value": part.value, "role": part.role, "name": part.name, "meaning": part.meaning}
            for part in vector.parts
        ],
    }  # fmt: skip


def life_lines(found: Iterable[Life], palette: Palette = PLAIN) -> Iterator[str]:
    """Each object: what every synchronization did to it, and why."""
    none = True
    for life in found:
        none = False
        yield (
            printable(f"{life.title}") if not palette.value else f"{palette.value}{printable(life.title)}{palette.off}"
        )
        for key in sorted(map(str, life.keys)):
            yield f"  source key {key}"
        for event in life.events:
            colour = palette.bad if event.bad else ""
            place = f"#{event.sync} {event.direction} of {event.folder}, frame {event.frame}"
            yield f"  {colour}{printable(place)}: {event.what}{palette.off if colour else ''}"
            for reason in event.why:
                yield printable(f"      {reason}")
        yield ""
    if none:
        yield "no such message or folder in the synchronizations of this capture"


def life_json(life: Life) -> dict[str, Any]:
    """A life as docs/json.md has it."""
    return {
        "ids": [f"{guid}-{counter:012x}" for guid, counter in sorted(life.ids, key=str)],
        "source_keys": sorted(map(str, life.keys)), "names": life.names,
        "events": [
            {"sync": one.sync, "direction": one.direction, "folder": one.folder, "frame": one.frame,
             "exchange": one.exchange, "what": one.what, "why": one.why, "bad": one.bad}
            for one in life.events
        ],
    }  # fmt: skip
