"""What FastTransfer decoding costs in Python: a hand-written loop for values only, against the readings of the grammar.

python -m bench.floor [FILE]

floor: written by hand for this purpose and used for no other; values as tuples, no offsets, nothing checked.
annotated: the compiled rows of every element: name, offset, length, value of every part. interpreted: the same from the
constructs, with offsets. Prints microseconds of CPU a property, the median of the rounds, and the ratios.
"""

from __future__ import annotations

import argparse
import struct
import sys
import time
import uuid
from codecs import utf_16_le_decode
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from bench.fasttransfer import generate_stream
from dissector.grammar.base import trace_interpreted
from dissector.grammar.compiler.stream import kinds
from dissector.grammar.elements import Element, elements_of, read_name
from dissector.grammar.fasttransfer import MARKERS, Marker, PropValue
from dissector.source import ByteSource

DATA = Path(__file__).parent / "data"
UNREPEATED = 20_000
"""How many elements the interpreted reading is timed on."""


def by_hand(data: bytes) -> list[Any]:
    """(tag, value) of every element."""
    out: list[Any] = []
    append = out.append
    u16, u32, i16, i32, u64, i64, f32, f64 = (struct.Struct("<" + kind).unpack_from for kind in "HIhiQqfd")
    markers, size, at = frozenset(MARKERS), len(data), 0
    while at < size:
        tag = u32(data, at)[0]
        at += 4
        if tag in markers:
            append((tag, None))
            continue
        named: tuple[Any, ...] = ()
        if tag >= 0x80000000:
            guid, kind = uuid.UUID(bytes_le=data[at : at + 16]), data[at + 16]
            at += 17
            if kind:
                end = data.find(b"\0\0", at)
                while (end - at) & 1:
                    end = data.find(b"\0\0", end + 1)
                named = guid, data[at:end].decode("utf-16-le")
                at = end + 2
            else:
                named = guid, u32(data, at)[0]
                at += 4
            append(named)
        kind = tag & 0xFFFF
        if kind == 0x0003 and tag != 0x40170003:
            append((tag, i32(data, at)[0]))
            at += 4
        elif kind == 0x001F:
            end = at + 4 + u32(data, at)[0]
            append((tag, utf_16_le_decode(data[at + 4 : end - 2])[0]))
            at = end
        elif kind in (0x0102, 0x000D, 0x00FB) or tag == 0x40170003:
            end = at + 4 + u32(data, at)[0]
            append((tag, data[at + 4 : end]))
            at = end
        elif kind == 0x000B:
            append((tag, u16(data, at)[0] != 0))
            at += 2
        elif kind == 0x0040:
            append((tag, u64(data, at)[0]))
            at += 8
        elif kind in (0x0014, 0x0006):
            append((tag, i64(data, at)[0]))
            at += 8
        elif kind == 0x0002:
            append((tag, i16(data, at)[0]))
            at += 2
        elif kind == 0x000A:
            append((tag, u32(data, at)[0]))
            at += 4
        elif kind == 0x0004:
            append((tag, f32(data, at)[0]))
            at += 4
        elif kind in (0x0005, 0x0007):
            append((tag, f64(data, at)[0]))
            at += 8
        elif kind == 0x0048:
            append((tag, uuid.UUID(bytes_le=data[at : at + 16])))
            at += 16
        elif kind == 0x001E or kind & 0x8000:
            end = at + 4 + u32(data, at)[0]
            append((tag, data[at + 4 : end - 1].decode("cp1252")))
            at = end
        else:
            raise ValueError(f"property type 0x{kind:04X}")
    return out


def annotated(source: ByteSource) -> list[Any]:
    """The rows of every element, under its name."""
    rows: list[Any] = []
    data, out, by_tag, u32 = source.data, rows.append, kinds(), struct.Struct("<I").unpack_from
    params: dict[str, Any] = {"codepage": None, "after": 0, "named": None, "_source": source}
    names: dict[int, str] = {}
    size, at = len(data), 0
    while at < size:
        tag = u32(data, at)[0]
        name = names.get(tag)
        if name is None:
            named = read_name(data, at + 4) if tag >= 0x80000000 else None
            name = Element(0, tag, named[0] if named else None, 0, 0, None).name
            params["named"] = {tag >> 16: name} if named else None
            if named is None:
                names[tag] = name
        at = by_tag[tag](data, at, size, params, out, name)
    return rows


def interpreted(source: ByteSource, limit: int) -> int:
    """The trees of the first elements, by construct. Returns how many."""
    count = 0
    for element in elements_of(source.data, keep=0):
        layout = Marker if element.is_marker else PropValue
        trace_interpreted(layout, source, element.name, element.offset, element.end, element.params(None, 0))
        count += 1
        if count == limit:
            break
    return count


def timed(run: Callable[[], Any]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def compare(path: Path, rounds: int) -> dict[str, float]:
    """Microseconds of CPU a property of each."""
    source = ByteSource(path.name, path.read_bytes())
    count = sum(1 for _ in elements_of(source.data, keep=0))
    annotated(source)  # once, so that the readers are made
    few = min(count, UNREPEATED)
    times: dict[str, list[float]] = {"floor": [], "annotated": [], "interpreted": []}
    for _ in range(rounds):
        times["floor"].append(timed(lambda: by_hand(source.data)) / count)
        times["annotated"].append(timed(lambda: annotated(source)) / count)
        times["interpreted"].append(timed(lambda: interpreted(source, few)) / few)
    return {name: median(made) * 1e6 for name, made in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.floor")
    parser.add_argument("file", nargs="?", type=Path, help="a stream; without one, 8 MB of small properties")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    path = given.file or DATA / "dense-8.fts"
    if not path.exists():
        DATA.mkdir(exist_ok=True)
        print(f"generating {path.name}", file=sys.stderr)
        generate_stream(path, "dense", 8_000_000)
    found = compare(path, given.rounds)
    for name, cost in found.items():
        print(f"{name:12} {cost:7.2f} us a property")
    print(f"annotated / floor        {found['annotated'] / found['floor']:.2f}")
    print(f"interpreted / annotated  {found['interpreted'] / found['annotated']:.1f}")


if __name__ == "__main__":
    main()
