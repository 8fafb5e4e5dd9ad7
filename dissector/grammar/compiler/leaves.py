"""Rules for constructs that read one value and have no parts: each writes the reading and returns the variable.

A rule is found by the function that does the interpreted reading (its module and qualified name), so that a subclass
which reads in a way of its own is not taken for its parent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from construct.expr import ExprMixin

from dissector.grammar import leaves
from dissector.grammar.compiler import runtime
from dissector.grammar.compiler.expressions import Known, Unsupported
from dissector.grammar.compiler.writer import Position, Writer

Rule = Callable[[Writer, Any], str]


def key_of(con: Any) -> str:
    """'leaves._Guid._parse': the function that reads a construct."""
    function = type(con)._parse
    return f"{function.__module__.removeprefix('dissector.grammar.')}.{function.__qualname__}"


def format_field(w: Writer, con: Any) -> str:
    order, kind = con.fmtstr[0], con.fmtstr[1]
    if kind not in "BHLQbhlqfd":
        raise Unsupported(f"struct format {con.fmtstr}")
    kind = {"L": "I", "l": "i"}.get(kind, kind)
    big = order == ">" or (order == "=" and sys.byteorder == "big")
    if not big or con.length == 1:
        return w.fixed(kind)
    if kind in "fd":
        raise Unsupported(f"struct format {con.fmtstr}")
    return w.fixed(f"{con.length}s", f"{{v}} = int.from_bytes({{v}}, 'big', signed={kind.islower()})")


def bytes_integer(w: Writer, con: Any) -> str:
    if not isinstance(con.length, int) or con.length <= 0 or isinstance(con.swapped, ExprMixin):
        raise Unsupported("an integer whose size or order depends on the data")
    order = "little" if con.swapped else "big"
    if order == "big" and not con.signed:
        return w.converted(w.fixed(f"{con.length}s"), runtime.big_endian)
    return w.fixed(f"{con.length}s", f"{{v}} = int.from_bytes({{v}}, {order!r}, signed={bool(con.signed)})")


def boolean(w: Writer, con: Any) -> str:
    value = w.fixed({1: "B", 2: "H"}[con.size], "if {v} < 2: {v} = {v} == 1")
    w.plain.add(value)
    return value


def floating(w: Writer, con: Any) -> str:
    start = w.position
    raw = f"data[{start}:{Position(start.base, start.plus + con.size)}]"
    kind = "f" if con.size == 4 else "d"
    return w.fixed(kind, f"if {{v}} != {{v}}: {{v}} = not_a_number({{v}}, {raw}, {kind!r})")


def guid(w: Writer, con: Any) -> str:
    return w.converted(w.fixed("16s"), runtime.guid)


def object_id(w: Writer, con: Any) -> str:
    return w.converted(w.fixed("8s"), runtime.object_id)


def long_term_id(w: Writer, con: Any) -> str:
    return w.converted(w.fixed("24s"), runtime.long_term_id)


def big_endian_48(w: Writer, con: Any) -> str:
    return w.converted(w.fixed("6s"), runtime.big_endian)


def nothing(w: Writer, con: Any) -> str:
    return "None"


def taken(w: Writer, size: Any) -> str:
    """The variable of a bytes value of some size (text or Known)."""
    if isinstance(size, Known):
        if not isinstance(size.value, int) or size.value < 0:
            raise Unsupported(f"a size of {size.value}")
        value = w.fixed(f"{size.value}s")
        w.octets.add(value)
        return value
    stop, value = w.name("a"), w.name()
    start = w.reach(size, stop)
    w.line(f"{value} = data[{start}:{stop}]")
    w.move(stop)
    w.compiled += 1
    w.octets.add(value)
    return value


def opaque(w: Writer, con: Any) -> str:
    return taken(w, w.expression(con.size))


def rest(w: Writer, con: Any) -> str:
    w.flush()
    value = w.name()
    w.line(f"{value} = data[{w.position}:{w.end}]")
    w.move(Position(w.end))
    w.compiled += 1
    w.octets.add(value)
    return value


def rest_but(w: Writer, con: Any) -> str:
    w.flush()
    start, stop, value = w.position, w.name("a"), w.name()
    w.line(f"{stop} = {w.end} - {con.size}")
    w.line(f"if {stop} < {start}: {stop} = {start}")
    w.line(f"{value} = data[{start}:{stop}]")
    w.move(stop)
    return value


def decoded(con: Any, raw: str) -> str:
    """Source text of the str of some bytes, as a leaves.Text decodes it."""
    if type(con).encoding is not leaves.Text.encoding:
        raise Unsupported("text with an encoding of its own")
    if con.codec == "utf-16-le":
        return f"utf_16({raw})"
    return f"text({raw}, {con.codec!r})" if con.codec else f"text({raw}, P.get('codepage') or 'cp1252')"


def terminated(w: Writer, con: Any) -> str:
    start = w.here()
    stop, value = w.name("e"), w.name()
    if con.width == 1:
        w.line(f"{stop} = data.find(b'\\0', {start}, {w.end})")
    else:
        w.line(f"{stop} = data.find(b'\\0\\0', {start}, {w.end})")
        w.line(f"while {stop} >= 0 and {stop} - {start} & 1: {stop} = data.find(b'\\0\\0', {stop} + 1, {w.end})")
    w.line(f"if {stop} < 0: raise Anomaly")
    w.line(f"{value} = {decoded(con, f'data[{start}:{stop}]')}")
    w.move(Position(stop, con.width))
    w.compiled += 1
    return value


def text_to_end(w: Writer, con: Any) -> str:
    raw, value = rest(w, con), w.name()
    w.line(f"{value} = text_to_end({raw}, P.get('codepage') or 'cp1252')")
    return value


def chars(w: Writer, con: Any) -> str:
    count = w.expression(con.count)
    width = con.text.width
    raw = taken(w, Known(count.value * width) if isinstance(count, Known) else f"{count} * {width}")
    w.flush()
    value = w.name()
    w.line(f"{value} = {decoded(con.text, raw)}")
    return value


def padded(w: Writer, con: Any) -> str:
    raw = taken(w, w.expression(con.size))
    w.flush()
    value = w.name()
    w.line(f"{value} = padded({raw}, {decoded(con.text, raw)}, {con.text.width})")
    return value


def padding(w: Writer, con: Any) -> str:
    size = w.text(con.size)
    w.flush()
    start, stop, value = w.position, w.name("a"), w.name()
    w.line(f"{stop} = min({start} + -({size}) % {con.align}, {w.end})")
    w.line(f"{value} = data[{start}:{stop}]")
    w.move(stop)
    return value


def xid(w: Writer, con: Any) -> str:
    raw = rest(w, con)
    w.line(f"if len({raw}) < 17: raise Anomaly")
    return w.converted(raw, runtime.xid)


def called_on_rest(w: Writer, con: Any) -> str:
    """A construct that makes one value of all bytes that are left, whatever stands around it, is called with them."""
    raw, value = rest(w, con), w.name()
    w.line(f"{value} = {w.constant(con, 'C')}._parse(BytesIO({raw}), None, '')")
    return value


def xid_or_none(w: Writer, con: Any) -> str:
    """An XID, or no bytes at all."""
    raw = rest(w, con)
    w.line(f"if 0 < len({raw}) < 17: raise Anomaly")
    return w.converted(raw, runtime.xid_or_none)


def sized_xid(w: Writer, con: Any) -> str:
    raw = taken(w, w.fixed("B"))
    w.line(f"if len({raw}) < 17: raise Anomaly")
    return w.converted(raw, runtime.xid)


def counted_chars(w: Writer, con: Any) -> str:
    raw = taken(w, w.expression(con.size))
    w.flush()
    value = w.name()
    w.line(f"{value} = utf_16({raw})")
    return value


def counted_text(w: Writer, con: Any) -> str:
    size = w.fixed("I")
    if con.codec == "utf-16-le":  # written out: most of a dense stream is this
        stop, value = w.name("a"), w.name()
        start = w.reach(size, stop)
        w.line("try:")
        w.line(f"    {value} = utf_16_le_decode(data[{start}:{stop}], 'surrogatepass', True)[0]")
        w.line(f"    {value} = {value}[:-1] if {value}[-1:] == '\\0' else Unterminated({value})")
        w.line(f"except UnicodeDecodeError: {value} = data[{start}:{stop}]")
        w.move(stop)
        w.plain.add(value)
        return value
    raw = taken(w, size)
    if con.codec is None:
        return raw
    value = w.name()
    codec = repr(con.codec) if con.codec else "P.get('codepage') or 'cp1252'"
    w.line(f"{value} = counted_text({raw}, {codec}, {con.width})")
    return value


def kind_of_name(w: Writer, con: Any) -> str:
    return w.fixed("B", "if {v} > 1: raise Anomaly")


def transparent(w: Writer, con: Any) -> str:
    """A number with words for it, a count, a constant: read as what it wraps."""
    return read_leaf(w, con.subcon)


LEAVES: dict[str, Rule] = {
    "construct.core.FormatField._parse": format_field,
    "construct.core.BytesInteger._parse": bytes_integer,
    "construct.core.Subconstruct._parse": transparent,
    "leaves._Bool._parse": boolean,
    "leaves._Float._parse": floating,
    "leaves._Guid._parse": guid,
    "leaves.Data._parse": opaque,
    "leaves._Rest._parse": rest,
    "leaves.Text._parse": terminated,
    "forms._Nothing._parse": nothing,
    "forms.Chars._parse": chars,
    "forms.Padded._parse": padded,
    "forms.Padding._parse": padding,
    "forms.RestBut._parse": rest_but,
    "forms.TextToEnd._parse": text_to_end,
    "ids._ObjectId._parse": object_id,
    "ids._GlobalCounter._parse": big_endian_48,
    "ids._LongTermId._parse": long_term_id,
    "xid._Xid._parse": xid,
    "xid._SizedXid._parse": sized_xid,
    "blobs._AddressKey._parse": called_on_rest,
    "blobs._TextBytes._parse": rest,
    "properties._PropertyTag._parse": transparent,
    "fasttransfer._Globcnt._parse": big_endian_48,
    "fasttransfer.CountedText._parse": counted_text,
    "fasttransfer.CountedChars._parse": counted_chars,
    "fasttransfer._Kind._parse": kind_of_name,
}


MAYBE_EMPTY: dict[str, Rule] = {
    "xid._Xid._parse": xid_or_none,
    "blobs._AddressKey._parse": called_on_rest,
    "blobs._TextBytes._parse": rest,
}
"""The same inside of a MaybeEmpty, for those that make b'' of no bytes."""


def is_leaf(con: Any) -> bool:
    """Whether there is a rule here; for what is transparent, whether there is one for what it wraps."""
    rule = LEAVES.get(key_of(con))
    return is_leaf(con.subcon) if rule is transparent else rule is not None


def read_leaf(w: Writer, con: Any) -> str:
    rule = LEAVES.get(key_of(con))
    if rule is None:
        raise Unsupported(f"{type(con).__qualname__} has no compiled form")
    return rule(w, con)


def number_format(con: Any) -> str | None:
    """The struct format of a number that needs nothing done to it; None for anything else."""
    while LEAVES.get(key_of(con)) is transparent:
        con = con.subcon
    if key_of(con) != "construct.core.FormatField._parse":
        return None
    kind = {"L": "I", "l": "i"}.get(con.fmtstr[1], con.fmtstr[1])
    little = con.fmtstr[0] == "<" or con.length == 1 or (con.fmtstr[0] == "=" and sys.byteorder == "little")
    return kind if little and kind in "BHIQbhiq" else None
