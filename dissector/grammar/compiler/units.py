"""Functions made from constructs: written, compiled by Python, kept with the construct they were made from.

The source is made in memory and never leaves it: nothing on a disk is trusted, and nothing has to be kept in step.
Making one takes about a millisecond, so only what is used often is compiled (HOT); the rest is read interpreted.
"""

from __future__ import annotations

from codecs import utf_16_le_decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from struct import unpack_from
from typing import Any

from construct import Construct, Container

from dissector.grammar.base import labeller_of, spec_of
from dissector.grammar.compiler import runtime
from dissector.grammar.compiler.expressions import Known, Unsupported
from dissector.grammar.compiler.writer import Position, Put, Target, Text, Writer
from dissector.grammar.forms import Unterminated
from dissector.grammar.names import codec_name
from dissector.grammar.properties import NO_NAMES, NamedTag

HOT_COLUMNS = 8
"""How many rows with the same columns are read interpreted before a reader is made for them."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A function, its source, and what in it calls constructs: 'field: why'."""

    function: Callable[..., Any]
    source: str
    notes: tuple[str, ...]


def words_for_tag(tag: int, params: Mapping[str, Any], usual: Any) -> Any:
    """The labeller of the tag of a named property."""
    name = (params.get("named") or NO_NAMES).get(tag >> 16)
    return NamedTag(name) if name else usual


def counted_text(raw: bytes, codec: str, width: int) -> str | bytes:
    """fasttransfer.CountedText in another codec."""
    if len(raw) % width:
        return raw
    ends = raw.endswith(bytes(width))
    decoded = runtime.text(raw[:-width] if ends else raw, codec)
    if isinstance(decoded, bytes):
        return raw
    return decoded if ends else Unterminated(decoded)


def text_to_end(raw: bytes, codec: str) -> str | bytes:
    """forms.TextToEnd."""
    ends = raw.endswith(b"\0")
    decoded = runtime.text(raw[:-1] if ends else raw, codec)
    if isinstance(decoded, bytes):
        return raw
    return decoded if ends else Unterminated(decoded)


NAMES: Mapping[str, Any] = {
    "Anomaly": runtime.Anomaly,
    "BytesIO": BytesIO,
    "Container": Container,
    "Unterminated": Unterminated,
    "ascending": runtime.ascending,
    "big_endian": runtime.big_endian,
    "codec_name": codec_name,
    "counted_text": counted_text,
    "first": runtime.first,
    "guid": runtime.guid,
    "interpret": runtime.interpret,
    "interpret_rows": runtime.interpret_rows,
    "long_term_id": runtime.long_term_id,
    "needed": runtime.needed,
    "not_a_number": runtime.not_a_number,
    "object_id": runtime.object_id,
    "padded": runtime.padded,
    "text": runtime.text,
    "text_to_end": text_to_end,
    "unpack_from": unpack_from,
    "utf_16": runtime.utf_16,
    "utf_16_le_decode": utf_16_le_decode,
    "words_for_tag": words_for_tag,
    "xid": runtime.xid,
    "xid_or_none": runtime.xid_or_none,
}
"""What emitted code may call."""


def write(
    con: Construct,
    rows: bool,
    *,
    spec: str = "",
    closed: bool = False,
    begun: bool = False,
    like: Mapping[str, Any] | None = None,
    put: Put | None = None,
    raw: bool = False,
) -> Unit:
    """The function for a construct.

    Values: read(data, at, end, P) -> (value, end of it). Rows: read(data, at, end, P, out, name) -> end; out is called
    with every row, name is that of the outermost node. P: the arguments of parse() by name. Both raise, whatever it
    may be, where the interpreted reading has to say what is wrong.
    closed: for use from other functions, without a context around it. begun: the caller begins and finishes the node.
    like: values of fields of the layout which decide how the others are read: the function is for all values that
    decide the same. put: writes what stands for all rows: read(data, at, end, P, name) -> (that, end). raw: bytes that
    ids are made of are the values. Raises Unsupported.
    """
    from dissector.grammar.compiler.rules import content

    writer = Writer(rows, con, content, closed, put, raw)
    writer.like = {name: Known(value) for name, value in (like or {}).items()}
    target = Target(Text("name"), spec_of(con) or spec, labeller_of(con), Position("at"), begun=begun)
    if closed:
        value = writer.attempt(con, target, not rows)
    else:
        value = writer.content(con, target, not rows)
        if writer.calls:
            writer.lines.insert(0, "    P['_origin'] = at")
    writer.settle()
    given = (writer.made,) if put is not None else () if rows else (value,)
    writer.line(f"return {', '.join((*given, str(writer.position)))}")
    if writer.interpreted and (put is not None or (not closed and writer.interpreted > writer.compiled)):
        raise Unsupported(writer.notes[0])
    arguments = (
        "data, at, end, P, name" if put is not None else "data, at, end, P, out, name" if rows else "data, at, end, P"
    )
    source = "\n".join((f"def read({arguments}):", *writer.lines, ""))
    namespace = {**NAMES, **writer.constants}
    exec(compile(source, f"<compiled {getattr(con, 'layout_name', '') or type(con).__name__}>", "exec"), namespace)
    return Unit(namespace["read"], source, tuple(writer.notes))


def function(con: Construct, rows: bool, spec: str = "", begun: bool = False) -> Callable[..., Any]:
    """The function that other functions call for a construct, made once."""
    kept: dict[Any, Callable[..., Any]] = con.__dict__.setdefault("_functions", {})
    found = kept.get((rows, spec, begun))
    if found is None:
        found = kept[rows, spec, begun] = write(con, rows, spec=spec, closed=True, begun=begun).function
    return found
