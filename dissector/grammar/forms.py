"""More vocabulary, for structures that say what they are: by their first number, by a byte ahead, by being empty.

The classes here follow the rules of base.py: no lambdas, no state, every value builds back to the bytes it was read
from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from construct import Construct, Container, Subconstruct, evaluate
from construct.expr import ExprMixin

from dissector.grammar.base import MalformedError, at_end, parse_chosen, read
from dissector.grammar.layouts import Count, Layout, Present, Rows, Sized, SizeOf, Traced, WhenMore
from dissector.grammar.leaves import U8, Data, Labelled, Str8, Text, decode_text, encode_text
from dissector.grammar.names import codec_name, enum_name, flag_names
from dissector.node import Severity, Summary, Undecoded

__all__ = [
    "BitFields", "ByFirst", "ByMarks", "Chars", "CharsOf", "CodecOf", "Either", "First", "Given", "HasValue",
    "KindAndFlags", "Marked", "MaybeEmpty", "Nothing", "Nth", "Outer", "Padded", "Padding", "Placed", "RestBut",
    "RowsUntil", "RowsWithin", "TextToEnd", "ToEnd", "Unterminated", "WhenAhead",
]  # fmt: skip


class _Nothing(Construct):  # type: ignore[misc]
    """No bytes; the value is None."""

    def __init__(self) -> None:
        super().__init__()
        self.flagbuildnone = True

    def _parse(self, stream: Any, context: Container, path: str) -> None:
        return None

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        return obj


Nothing = _Nothing()


class ByFirst(Construct):  # type: ignore[misc]
    """One of several Layouts that all begin with the same number field `name`, which says which one it is.

    The layout that is chosen reads that field itself, so the tree stays flat. An unknown number is `default`, or
    malformed without one.
    """

    def __init__(
        self, number: Construct, name: str, cases: Mapping[int, Layout], default: Layout | None = None
    ) -> None:
        super().__init__()
        self.number, self.field, self.cases, self.default = number, name, dict(cases), default

    def choose(self, key: Any, path: str) -> Layout:
        chosen = self.cases.get(key, self.default)
        if chosen is None:
            shown = f"0x{key:X}" if isinstance(key, int) else repr(key)
            raise MalformedError(f"no layout is known for {self.field} {shown}", path=path)
        return chosen

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        start = stream.tell()
        key = self.number._parse(stream, context, path)
        stream.seek(start)
        chosen = self.choose(key, path)
        return parse_chosen(chosen, stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        if isinstance(obj, Undecoded):  # from a Sized around this: which layout it was is not known
            stream.write(obj)
            return obj
        return self.choose(obj.get(self.field), path)._build(obj, stream, context, path)


class Marked(NamedTuple):
    """A layout, and how its bytes are known: their number (exact, or the least), and what stands at some offsets."""

    layout: Layout
    length: int | None = None
    marks: Mapping[int, tuple[bytes, ...]] = {}
    at_least: int = 0

    def fits(self, data: bytes) -> bool:
        if len(data) < self.at_least or (self.length is not None and len(data) != self.length):
            return False
        return all(data.startswith(values, offset) for offset, values in self.marks.items())


def needed(layout: Layout) -> set[str]:
    """The fields that a value must have for the layout to build it."""
    return {
        field.name
        for field in layout.subcons
        if field.optional is None
        and not field.subcon.flagbuildnone
        and not isinstance(field.subcon, Count | SizeOf | Present)
    }


class ByMarks(Construct):  # type: ignore[misc]
    """The first of several Layouts whose marks are in the bytes up to the end of the enclosing size, else `default`.

    A value is built by the first layout that has all its fields.
    """

    def __init__(self, *cases: Marked, default: Layout) -> None:
        super().__init__()
        self.cases, self.default = cases, default

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        start = stream.tell()
        data = stream.read()
        stream.seek(start)
        chosen = next((case.layout for case in self.cases if case.fits(data)), self.default)
        return parse_chosen(chosen, stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        if isinstance(obj, bytes):
            stream.write(obj)
            return obj
        for layout in (*(case.layout for case in self.cases), self.default):
            if needed(layout) <= obj.keys() <= {field.name for field in layout.subcons}:
                return layout._build(obj, stream, context, path)
        raise MalformedError(f"no layout has the fields {', '.join(obj)}", path=path)


class WhenAhead(WhenMore):
    """A field that is there only when the bytes ahead begin with one of `marks` (or, `unless`, with none of them).

    Without bytes ahead it is not there. It is built when the value has it.
    """

    def __init__(self, marks: tuple[bytes, ...], subcon: Construct, unless: bool = False) -> None:
        super().__init__(subcon)
        self.marks, self.unless = marks, unless

    def absent(self, stream: Any, context: Container) -> bool:
        ahead = stream.read(max(map(len, self.marks)))
        stream.seek(stream.tell() - len(ahead))
        return not ahead or ahead.startswith(self.marks) == self.unless


class MaybeEmpty(Subconstruct):  # type: ignore[misc]
    """A structure, or no bytes at all (the value is then b'')."""

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        if at_end(stream):
            return b""
        return self.subcon._parse(stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        if isinstance(obj, bytes):
            stream.write(obj)
            return obj
        return self.subcon._build(obj, stream, context, path)


class ToEnd(Subconstruct):  # type: ignore[misc]
    """A structure in all the bytes that are left. What goes wrong in it stays in it, as in Sized."""

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        start = stream.tell()
        size = len(stream.read())
        stream.seek(start)
        return Sized(size, self.subcon)._parse(stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        return Sized(0, self.subcon)._build(obj, stream, context, path)


class HasValue(Subconstruct):  # type: ignore[misc]
    """A byte that says whether a value follows (0xFF) or not (0x00): address-book encodings. None when it does not."""

    def __init__(self, subcon: Construct) -> None:
        super().__init__(subcon)
        self.flagbuildnone = True
        self.flag, self.value = Traced(U8, "HasValue"), Traced(subcon, "Value")
        self.label = Summary("{Value}")

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        flag = self.flag._parse(stream, context, path)
        if flag == 0xFF:
            return self.value._parse(stream, context, path)
        if flag:
            raise MalformedError(f"HasValue is 0x{flag:02X}, neither 0x00 nor 0xFF", path=path)
        return None

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(b"\0" if obj is None else b"\xff")
        if obj is not None:
            self.value._build(obj, stream, context, path)
        return obj


class Outer(ExprMixin):  # type: ignore[misc]
    """An expression of an enclosing layout, evaluated `levels` layouts further in."""

    def __init__(self, expression: Any, levels: int) -> None:
        self.expression, self.levels = expression, levels

    def __call__(self, context: Container) -> Any:
        for _ in range(self.levels):
            context = context["_"]
        return evaluate(self.expression, context)


class First(ExprMixin):  # type: ignore[misc]
    """The first `count` items of a sequence expression; None stays None. Too few items is malformed."""

    def __init__(self, count: Any, items: Any) -> None:
        self.count, self.items = count, items

    def __call__(self, context: Container) -> Any:
        items, count = evaluate(self.items, context), evaluate(self.count, context)
        if items is None:
            return None
        if count > len(items):
            raise MalformedError(f"{count} columns are used, {len(items)} are defined")
        return items[:count]


class Either(ExprMixin):  # type: ignore[misc]
    """The first of two expressions, or the second where that is None."""

    def __init__(self, first: Any, second: Any) -> None:
        self.first, self.second = first, second

    def __call__(self, context: Container) -> Any:
        value = evaluate(self.first, context)
        return evaluate(self.second, context) if value is None else value


class CodecOf(ExprMixin):  # type: ignore[misc]
    """The Python codec of a Windows code page; None where there is none, as for 0x0FFF (that of the logon)."""

    def __init__(self, code_page: Any) -> None:
        self.code_page = code_page

    def __call__(self, context: Container) -> str | None:
        return codec_name(evaluate(self.code_page, context))


class Nth(ExprMixin):  # type: ignore[misc]
    """Field `name` of the item of a sequence expression that has the index of the row being read."""

    def __init__(self, items: Any, name: str) -> None:
        self.items, self.name = items, name

    def __call__(self, context: Container) -> Any:
        return evaluate(self.items, context)[context["_index"]][self.name]


class Padding(Construct):  # type: ignore[misc]
    """The bytes that fill `size` up to a multiple of `align`: kept as they are, zeros when no value is given.

    At the end of the data some may be missing.
    """

    def __init__(self, align: int, size: Any) -> None:
        super().__init__()
        self.align, self.size = align, size
        self.flagbuildnone = True

    def _parse(self, stream: Any, context: Container, path: str) -> bytes:
        return stream.read(-evaluate(self.size, context) % self.align)  # type: ignore[no-any-return]

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(bytes(-evaluate(self.size, context) % self.align) if obj is None else obj)
        return obj


class Chars(Construct):  # type: ignore[misc]
    """Text of `count` characters without a closing NUL: UTF-16LE where width is 2, else the code page as for Text.

    The value is a str, or bytes where no str builds back to the same.
    """

    def __init__(self, count: Any, width: int, codec: str = "") -> None:
        super().__init__()
        self.count, self.text = count, Text(width, codec)

    def _parse(self, stream: Any, context: Container, path: str) -> str | bytes:
        raw = read(stream, evaluate(self.count, context) * self.text.width, path)
        return decode_text(raw, self.text.encoding(context))

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(encode_text(obj, self.text.encoding(context)))
        return obj


class Unterminated(str):
    """Text that stood there without its closing NUL. Builds back without one."""

    __slots__ = ()


class TextToEnd(Construct):  # type: ignore[misc]
    """8-bit text to the end of the enclosing size, its closing NUL there or not.

    The value is a str without the NUL, an Unterminated, or the bytes where no str builds back to the same.
    """

    def _parse(self, stream: Any, context: Container, path: str) -> str | bytes:
        raw = stream.read()
        text = decode_text(raw.removesuffix(b"\0"), Str8.encoding(context))
        if isinstance(text, bytes):
            return raw  # type: ignore[no-any-return]
        return text if raw.endswith(b"\0") else Unterminated(text)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        end = b"" if isinstance(obj, bytes | Unterminated) else b"\0"
        stream.write(encode_text(obj, Str8.encoding(context)) + end)
        return obj


class Padded(Construct):  # type: ignore[misc]
    """Text in exactly `size` bytes, filled up with NULs. The value is a str without them, or the bytes."""

    def __init__(self, size: Any, width: int, codec: str = "") -> None:
        super().__init__()
        self.size, self.text = size, Text(width, codec)

    def _parse(self, stream: Any, context: Container, path: str) -> str | bytes:
        raw = read(stream, evaluate(self.size, context), path)
        text = decode_text(raw, self.text.encoding(context))
        return text.rstrip("\0") if isinstance(text, str) and len(raw) % self.text.width == 0 else raw

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        raw, size = encode_text(obj, self.text.encoding(context)), evaluate(self.size, context)
        if size is None:  # the size is to be derived: the text and its closing NUL
            size = len(raw) + self.text.width
        stream.write(raw.ljust(size, b"\0"))
        return obj


class RestBut(Construct):  # type: ignore[misc]
    """All bytes to the end of the enclosing size but the last `size`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def _parse(self, stream: Any, context: Container, path: str) -> bytes:
        start = stream.tell()
        left = len(stream.read())
        stream.seek(start)
        return read(stream, max(0, left - self.size), path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(obj)
        return obj


class RowsWithin(Rows):
    """Rows that begin within `size` bytes. The last may reach beyond them, which a remark tells."""

    def __init__(self, size: Any, row: Construct) -> None:
        super().__init__(0, row)
        self.size = size

    def _parse(self, stream: Any, context: Container, path: str) -> list[Any]:
        rows: list[Any] = []
        start, size, taken = stream.tell(), evaluate(self.size, context), 0
        while taken < size:
            context["_index"] = len(rows)
            rows.append(self.row._parse(stream, context, path))
            if stream.tell() - start == taken:
                raise MalformedError("a row of no bytes", path=path)
            taken = stream.tell() - start
        tracer = context._params.get("_tracer")
        if taken > size and tracer is not None:
            tracer.current.diagnose(Severity.NOTE, f"the rows take {taken} bytes, their size is given as {size}")
        return rows


class RowsUntil(Rows):
    """Rows up to and with the first whose field `name` is `value`."""

    def __init__(self, row: Layout, name: str, value: Any) -> None:
        super().__init__(0, row)
        self.field, self.last = name, value

    def _parse(self, stream: Any, context: Container, path: str) -> list[Any]:
        rows: list[Any] = []
        while not rows or rows[-1].get(self.field) != self.last:
            context["_index"] = len(rows)
            rows.append(self.row._parse(stream, context, path))
        return rows


class CharsOf(SizeOf):
    """How many characters of `width` bytes the field `of` has, plus `plus`. Built from it when no value is given."""

    def __init__(self, subcon: Construct, of: str, width: int, plus: int = 0) -> None:
        super().__init__(subcon, of, plus=plus)
        self.width = width

    def derive(self, layout: Layout, obj: Any, context: Container, path: str) -> int:
        return layout.built_size(self.of, obj, context, path) // self.width + self.plus


class KindAndFlags(Labelled):
    """A number whose bits under `mask` are a value of enumeration `kinds`, and whose other bits are flags."""

    def __init__(self, subcon: Construct, mask: int, kinds: str, flags: str) -> None:
        super().__init__(subcon)
        self.mask, self.kinds, self.flags = mask, kinds, flags

    def label(self, value: int) -> str:
        kind = enum_name(self.kinds, value & self.mask) or f"0x{value & self.mask:X}"
        flags = flag_names(self.flags, value & ~self.mask)
        return f"{kind} | {flags}" if flags else kind


class BitFields(Labelled):
    """A number made of bit fields, lowest first: ("Name", width). It stays the number; its label spells them out.

    A third item is the enumeration that a field's value is of.
    """

    def __init__(self, subcon: Construct, *fields: tuple[str, int] | tuple[str, int, str]) -> None:
        super().__init__(subcon)
        self.fields = [(*field, "")[:3] for field in fields]

    def split(self, value: int) -> dict[str, int]:
        parts = {}
        for name, width, _ in self.fields:
            parts[name] = value & (1 << width) - 1
            value >>= width
        return parts

    def label(self, value: int) -> str:
        tables = {name: table for name, _, table in self.fields}
        parts = self.split(value).items()
        return ", ".join(f"{name} {enum_name(tables[name], part) or part}" for name, part in parts)


class Placed(Construct):  # type: ignore[misc]
    """Parts that a header points to by offset: {name: (offset expression, layout)}; offset 0 is an absent part.

    `base` is where offset 0 lies before the first byte of the parts. The value maps names to parts, in the order of the
    bytes; bytes between parts are called Gap<offset>. Parts that overlap or lie outside are malformed.
    """

    def __init__(self, base: int, **parts: tuple[Any, Construct]) -> None:
        super().__init__()
        self.base = base
        self.parts = {name: (offset, Traced(form, name)) for name, (offset, form) in parts.items()}

    def _parse(self, stream: Any, context: Container, path: str) -> Container:
        start = stream.tell() - self.base
        values = Container()
        places = sorted((evaluate(offset, context), name) for name, (offset, _) in self.parts.items())
        for offset, name in places:
            if not offset:
                continue
            here = stream.tell() - start
            if offset < here:
                raise MalformedError(f"{name} at offset {offset} lies before offset {here}", path=path)
            if offset > here:
                values[f"Gap{here}"] = Traced(Data(offset - here), f"Gap{here}")._parse(stream, context, path)
            values[name] = self.parts[name][1]._parse(stream, context, path)
        return values

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        for name, value in obj.items():
            if name in self.parts:
                self.parts[name][1]._build(value, stream, context, path)
            elif name.startswith("Gap"):
                stream.write(value)
        return obj


class Given(Subconstruct):  # type: ignore[misc]
    """A structure that is read with parameter `name` set to `value`, unless that is None."""

    def __init__(self, name: str, value: Any, subcon: Construct) -> None:
        super().__init__(subcon)
        self.param, self.value = name, value

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        return self._within(context, self.subcon._parse, stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        return self._within(context, self.subcon._build, obj, stream, context, path)

    def _within(self, context: Container, step: Any, *arguments: Any) -> Any:
        value, params = evaluate(self.value, context), context._params
        if value is None:
            return step(*arguments)
        before, known = params.get(self.param), self.param in params
        params[self.param] = value
        try:
            return step(*arguments)
        finally:
            if known:
                params[self.param] = before
            else:
                del params[self.param]
