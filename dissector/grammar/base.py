"""The vocabulary of every grammar: construct, with three readings.

A Layout is construct's Struct whose fields are Traced. The same object is read plain (values only), traced (an
annotated tree whose nodes know their bytes) and built back to bytes. Grammars use only the classes of this file and
construct's integer and float fields, with `this` expressions and Param for what comes from outside: no lambdas, no
side effects, no state. So a compiler can walk them later, and what the session knows (column sets, logon flags, code
page) always arrives as an argument of parse().

Two promises hold for every Layout: what parse() returned, build() turns into the same bytes; and what cannot be read
stays visible (Undecoded) with a diagnostic at the place.

construct has traps for byte-exact work that these classes go around: FlagsEnum drops unknown bits and Flag turns 0x7F
into 1 (Flags and Bool8 keep the number), Prefixed drops leftover bytes (Sized keeps them), Switch without a default
reads nothing (Choice is an error), Array trusts any count (Rows stops at the data's end).
"""

from __future__ import annotations

import io
import re
import struct
import uuid
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import Any

from construct import (
    Construct,
    ConstructError,
    Container,
    Int8ul,
    Int16sl,
    Int16ul,
    Int32sl,
    Int32ul,
    Int64sl,
    Int64ul,
    Renamed,
    StreamError,
    Struct,
    Subconstruct,
    evaluate,
    this,
)
from construct.core import BytesIOWithOffsets
from construct.expr import ExprMixin

from dissector.grammar.names import enum_name, error_name, flag_names
from dissector.node import Diagnostic, Node, Severity, Summary, Undecoded
from dissector.source import ByteSource

__all__ = [
    "F32", "F64", "I16", "I32", "I64", "U8", "U16", "U32", "U64",
    "Bool8", "Bool16", "Choice", "Count", "Counted", "Data", "Deferred", "Enumerated", "ErrorCode", "FileTime",
    "Fixed", "Flags", "GrammarError", "Guid", "Labelled", "Layout", "MalformedError", "Multi", "Needed",
    "NoContextError", "Param", "Present", "Rest", "Rows", "RowsToEnd", "SizeOf", "Sized", "Str8", "Str16", "StrIf",
    "Tracer", "Undecoded", "When", "WhenMore", "at_end", "build", "this",
]  # fmt: skip

U8, U16, U32, U64 = Int8ul, Int16ul, Int32ul, Int64ul
I16, I32, I64 = Int16sl, Int32sl, Int64sl

MAX_DEPTH = 40
"""How deep Deferred grammars (restrictions in restrictions) may nest before the bytes are called malformed."""


class GrammarError(Exception):
    """parse() could not read the bytes: severity, message, and the offset in the data where it stopped."""

    def __init__(self, severity: Severity, message: str, offset: int) -> None:
        super().__init__(message)
        self.severity, self.message, self.offset = severity, message, offset


class MalformedError(ConstructError):  # type: ignore[misc]
    """The bytes break the layout."""


class NoContextError(ConstructError):  # type: ignore[misc]
    """The layout depends on something the capture did not show (a column set, a logon)."""


class Param(ExprMixin):  # type: ignore[misc]
    """An argument given to parse(), trace() or build() by name; `default` when it was not given.

    Expressions can be made of it, as of `this`: Param("index") + 1.
    """

    def __init__(self, name: str, default: Any = None) -> None:
        self.name, self.default = name, default

    def __call__(self, context: Container) -> Any:
        return context._params.get(self.name, self.default)

    def __repr__(self) -> str:
        return f"Param({self.name!r})"


class Needed(Param):
    """An argument whose value decides the layout: NO_CONTEXT where it was not given."""

    def __call__(self, context: Container) -> Any:
        value = super().__call__(context)
        if value is None:
            raise NoContextError(f"the layout depends on {self.name}, which the capture did not show")
        return value

    def __repr__(self) -> str:
        return f"Needed({self.name!r})"


class Tracer:
    """Builds the annotated tree while a Layout is read. offsets in the stream + base = offsets in the source."""

    __slots__ = ("base", "source", "stack")

    def __init__(self, source: ByteSource, base: int, root: Node) -> None:
        self.source, self.base, self.stack = source, base, [root]

    @property
    def current(self) -> Node:
        return self.stack[-1]

    def undecoded(self, start: int, end: int, diagnostics: list[Diagnostic]) -> None:
        """Add the leaf of bytes that nothing could read: stream offsets start..end."""
        if end > start:
            at = self.base + start
            raw = Undecoded(self.source.data[at : self.base + end])
            self.current.children.append(Node("Undecoded", self.source, at, end - start, raw, diagnostics=diagnostics))


_SHORT_READ = re.compile(r"less than specified amount, expected (\d+), found (\d+)$")


def describe(error: BaseException) -> tuple[Severity, str]:
    """The severity and the one-line text of what went wrong in a reading."""
    text = (str(error).strip().splitlines() or [""])[-1].removeprefix("Error in path (parsing)").strip()
    if isinstance(error, NoContextError):
        return Severity.NO_CONTEXT, text
    if isinstance(error, StreamError):
        found = _SHORT_READ.search(text)
        if found is not None:  # construct's own words
            text = f"wanted {found[1]} bytes, {found[2]} are left"
        return Severity.MALFORMED, f"the data ends here: {text}"
    if isinstance(error, ConstructError):
        return Severity.MALFORMED, text
    return Severity.BUG, f"{type(error).__name__}: {text}"


def labeller_of(con: Any) -> Callable[[Any], str] | None:
    """The function that puts a value of this construct into words, if it has one."""
    while con is not None:
        label = con.__dict__.get("label") or getattr(type(con), "label", None)
        if label is not None:
            return con.label  # type: ignore[no-any-return]
        con = con.__dict__.get("subcon")
    return None


def spec_of(con: Any) -> str:
    while con is not None:
        spec = con.__dict__.get("spec")
        if spec:
            return str(spec)
        con = con.__dict__.get("subcon")
    return ""


class Traced(Renamed):  # type: ignore[misc]
    """A named field. Read with a tracer it leaves a node; without one it costs next to nothing."""

    def __init__(self, subcon: Construct, name: str) -> None:
        super().__init__(subcon, name)
        self.optional = subcon if isinstance(subcon, When) else None
        self.labeller, self.spec = labeller_of(subcon), spec_of(subcon)

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        if self.optional is not None and self.optional.absent(stream, context):
            return None
        tracer = context._params.get("_tracer")
        if tracer is None:
            return self.subcon._parse(stream, context, path)
        start = stream.tell()
        name = self.name if self.name != "[]" else f"[{context._index}]"
        node = Node(name, tracer.source, tracer.base + start, spec=self.spec, labeller=self.labeller)
        tracer.stack[-1].children.append(node)
        tracer.stack.append(node)
        try:
            value = self.subcon._parse(stream, context, path)
            node.length = tracer.base + stream.tell() - node.offset  # alignment (ndr.py) may have moved the offset
        except Exception as error:
            node.length = node.children[-1].end - node.offset if node.children else 0
            if not getattr(error, "_noted", False):
                node.diagnose(*describe(error))
                error._noted = True  # type: ignore[attr-defined]
            raise
        finally:
            tracer.stack.pop()
        if not node.children:
            node.value = value
        return value

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        if self.optional is not None and self.optional.left_out(obj, context):
            return None
        return self.subcon._build(obj, stream, context, f"{path} -> {self.name}")


class Layout(Struct):  # type: ignore[misc]
    """Named fields in order. Every field must be named ("Name" / construct); its value is a Container.

    name, spec: what the structure is called and where it is specified; both show in the tree.
    summary: the structure in one line, a template over its fields: "{PropertyTag} = {PropertyValue}".
    """

    def __init__(self, *fields: Renamed, name: str = "", spec: str = "", summary: str = "") -> None:
        Construct.__init__(self)
        self._fields = fields
        self.flagbuildnone = all(field.flagbuildnone for field in fields)
        self.layout_name, self.spec = name, spec
        if summary:
            self.label = Summary(summary)

    @cached_property
    def subcons(self) -> list[Traced]:
        """The fields, made when somebody looks: of all layouts a capture has few."""
        return [Traced(field.subcon, field.name) for field in self._fields]

    @cached_property
    def _subcons(self) -> Container:
        return Container((field.name, field) for field in self.subcons)

    def _parse(self, stream: Any, context: Container, path: str) -> Container:
        values = Container()
        inner = Container()
        inner["_"] = context
        inner["_params"] = context["_params"]
        for field in self.subcons:
            value = field._parse(stream, inner, path)
            values[field.name] = inner[field.name] = value
        return values

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        if isinstance(obj, Undecoded):
            stream.write(obj)
            return obj
        if obj is None:
            obj = Container()
        inner = Container()
        inner["_"] = context
        inner["_params"] = context["_params"]
        inner.update(obj)
        inner["_"], inner["_params"] = context, context["_params"]
        for field in self.subcons:
            inner.setdefault(field.name, None)
        for field in self.subcons:
            if obj.get(field.name) is None:
                if field.name in obj and isinstance(field.optional, WhenMore):
                    continue  # read as absent: it stays absent
                bare = field.subcon
                while isinstance(bare, When):
                    bare = bare.subcon
                if isinstance(bare, Count | SizeOf | Present):
                    inner[field.name] = bare.derive(self, obj, inner, path)
                elif isinstance(bare, Fixed):
                    inner[field.name] = bare.value
        for field in self.subcons:
            value = inner.get(field.name)
            if value is None and field.optional is None and not field.subcon.flagbuildnone:
                raise MalformedError(f"no value for {field.name}", path=path)
            field._build(value, stream, inner, path)
        return obj

    def built_size(self, names: tuple[str, ...], obj: Any, context: Container, path: str) -> int:
        """How many bytes the named fields of obj build to; an optional field counts when obj has it."""
        stream = io.BytesIO()
        for field in self.subcons:
            value = obj.get(field.name)
            if field.name not in names:
                continue
            if value is None and isinstance(field.subcon, Count | SizeOf | Present):
                stream.write(bytes(field.subcon.sizeof()))  # it is derived too
                continue
            if value is None and not (field.optional is None and field.subcon.flagbuildnone):
                continue  # absent, or missing: _build says so
            bare = field.subcon
            while isinstance(bare, When):
                bare = bare.subcon
            bare._build(value, stream, context, path)
        return len(stream.getvalue())

    def __repr__(self) -> str:
        return f"<Layout {self.layout_name or ', '.join(field.name for field in self.subcons)}>"


class When(Subconstruct):  # type: ignore[misc]
    """A field that is there only when `condition` holds; its value is None otherwise. Use it as a Layout field.

    A When in a When: the inner condition is looked at only where the outer one holds.
    """

    def __init__(self, condition: Any, subcon: Construct) -> None:
        super().__init__(subcon)
        self.condition = condition

    def absent(self, stream: Any, context: Container) -> bool:
        """Whether a reading leaves the field out."""
        if not evaluate(self.condition, context):
            return True
        return isinstance(self.subcon, When) and self.subcon.absent(stream, context)

    def left_out(self, obj: Any, context: Container) -> bool:
        """Whether a building leaves the field out."""
        if not evaluate(self.condition, context):
            return True
        return isinstance(self.subcon, When) and self.subcon.left_out(obj, context)

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        return self.subcon._parse(stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        if obj is None and not self.subcon.flagbuildnone:
            raise MalformedError("no value for a field whose condition holds", path=path)
        return self.subcon._build(obj, stream, context, path)


class WhenMore(When):
    """A field that is there only when bytes are left: a tail that one server sends and another leaves out.

    It is built when the value has it.
    """

    def __init__(self, subcon: Construct) -> None:
        super().__init__(True, subcon)

    def absent(self, stream: Any, context: Container) -> bool:
        return at_end(stream)

    def left_out(self, obj: Any, context: Container) -> bool:
        return obj is None


class Choice(Construct):  # type: ignore[misc]
    """One of several layouts, chosen by a key. A key without a case is `default`, or malformed without one."""

    def __init__(self, key: Any, cases: Mapping[Any, Construct], default: Construct | None = None) -> None:
        super().__init__()
        self.key, self.cases, self.default = key, dict(cases), default
        forms = [*self.cases.values(), *([] if default is None else [default])]
        self.flagbuildnone = any(form.flagbuildnone for form in forms)

    def choose(self, context: Container, path: str) -> Construct:
        key = evaluate(self.key, context)
        chosen = self.cases.get(key, self.default)
        if chosen is None:
            shown = f"0x{key:X}" if isinstance(key, int) else repr(key)
            raise MalformedError(f"no layout is known for {shown}", path=path)
        return chosen

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        chosen = self.choose(context, path)
        tracer = context._params.get("_tracer")
        if tracer is not None:
            tracer.current.labeller = labeller_of(chosen)
            tracer.current.spec = spec_of(chosen) or tracer.current.spec
        return chosen._parse(stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        chosen = self.choose(context, path)
        if obj is None and not chosen.flagbuildnone:
            raise MalformedError("no value for the layout that was chosen", path=path)
        return chosen._build(obj, stream, context, path)


class Rows(Construct):  # type: ignore[misc]
    """`count` rows of one layout; the nodes are called [0], [1], ..."""

    def __init__(self, count: Any, row: Construct) -> None:
        super().__init__()
        self.count, self.row = count, Traced(row, "[]")

    def _parse(self, stream: Any, context: Container, path: str) -> list[Any]:
        rows: list[Any] = []
        outer = context.get("_index")
        start = stream.tell()
        for index in range(evaluate(self.count, context)):
            context["_index"] = index
            rows.append(self.row._parse(stream, context, path))
            if index == 0xFFFF and stream.tell() == start:
                raise MalformedError(f"{evaluate(self.count, context)} rows of no bytes", path=path)
        context["_index"] = outer
        return rows

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        for index, row in enumerate(obj):
            context["_index"] = index
            self.row._build(row, stream, context, path)
        return obj


class RowsToEnd(Rows):
    """Rows of one layout to the end of the enclosing size. A cut last row is an error, never dropped."""

    def __init__(self, row: Construct) -> None:
        super().__init__(0, row)

    def _parse(self, stream: Any, context: Container, path: str) -> list[Any]:
        rows: list[Any] = []
        while not at_end(stream):
            context["_index"] = len(rows)
            start = stream.tell()
            rows.append(self.row._parse(stream, context, path))
            if stream.tell() == start:
                raise MalformedError("a row of no bytes", path=path)
        return rows


class Sized(Subconstruct):  # type: ignore[misc]
    """A layout inside exactly `size` bytes.

    What goes wrong inside stays inside: the value becomes Undecoded (all the bytes, so it builds back), the tree keeps
    what was read with the diagnostic, and reading goes on behind the region. Leftover bytes count as going wrong.
    """

    def __init__(self, size: Any, subcon: Construct) -> None:
        super().__init__(subcon)
        self.size = size

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        size = evaluate(self.size, context)
        start = stream.tell()
        data = stream.read(size) if size >= 0 else b""
        if len(data) != size:
            stream.seek(start)
            raise StreamError(f"wanted {size} bytes, {len(data)} are left", path=path)
        inner = BytesIOWithOffsets(data, stream, start)
        tracer = context._params.get("_tracer")
        depth = len(tracer.stack) if tracer is not None else 0
        diagnostics: list[Diagnostic] = []
        try:
            value = self.subcon._parse(inner, context, path)
            done = inner.tell()
            if done == start + size:
                return value
            message = f"{start + size - done} bytes are left over"
            diagnostics.append(Diagnostic(Severity.MALFORMED, message))
        except ConstructError as error:
            if tracer is None:
                return Undecoded(data)
            del tracer.stack[depth:]
            if not getattr(error, "_noted", False):
                diagnostics.append(Diagnostic(*describe(error)))
        if tracer is not None:
            children = tracer.current.children
            done = children[-1].end - tracer.base if children and children[-1].offset >= tracer.base + start else start
            if children and size:
                tracer.undecoded(done, start + size, diagnostics)
            else:  # the node itself is the leaf that keeps these bytes
                tracer.current.diagnostics.extend(diagnostics)
                tracer.current.labeller = None
        return Undecoded(data)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        if isinstance(obj, Undecoded):
            stream.write(obj)
            return obj
        return self.subcon._build(obj, stream, context, path)


class Deferred(Construct):  # type: ignore[misc]
    """A layout that is named before it exists (recursion), to a bounded depth. `thunk` returns it."""

    def __init__(self, thunk: Callable[[], Construct]) -> None:
        super().__init__()
        self.thunk = thunk

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        params = context._params
        depth = params.get("_depth", 0)
        if depth >= MAX_DEPTH:
            raise MalformedError(f"nested deeper than {MAX_DEPTH} levels", path=path)
        chosen = self.thunk()
        tracer = params.get("_tracer")
        if tracer is not None:
            tracer.current.labeller = labeller_of(chosen)
            tracer.current.spec = spec_of(chosen) or tracer.current.spec
        params["_depth"] = depth + 1
        try:
            return chosen._parse(stream, context, path)
        finally:
            params["_depth"] = depth

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        return self.thunk()._build(obj, stream, context, path)


class Fixed(Subconstruct):  # type: ignore[misc]
    """A field that is written as `value` unless something else is given. Reading takes what is there."""

    def __init__(self, subcon: Construct, value: Any) -> None:
        super().__init__(subcon)
        self.value = value
        self.flagbuildnone = True

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        return self.subcon._build(self.value if obj is None else obj, stream, context, path)


class Count(Subconstruct):  # type: ignore[misc]
    """How many rows field `of` has. Built from the rows when no value is given."""

    def __init__(self, subcon: Construct, of: str) -> None:
        super().__init__(subcon)
        self.of = of

    def derive(self, layout: Layout, obj: Any, context: Container, path: str) -> int:
        return len(obj.get(self.of) or ())


class Present(Subconstruct):  # type: ignore[misc]
    """Whether field `of` is there. Built from that field when no value is given."""

    def __init__(self, subcon: Construct, of: str) -> None:
        super().__init__(subcon)
        self.of = of

    def derive(self, layout: Layout, obj: Any, context: Container, path: str) -> bool:
        return obj.get(self.of) is not None


class SizeOf(Subconstruct):  # type: ignore[misc]
    """How many bytes the fields `of` take together, plus `plus`. Built from them when no value is given."""

    def __init__(self, subcon: Construct, *of: str, plus: int = 0) -> None:
        super().__init__(subcon)
        self.of, self.plus = of, plus

    def derive(self, layout: Layout, obj: Any, context: Container, path: str) -> int:
        return layout.built_size(self.of, obj, context, path) + self.plus


class Labelled(Subconstruct):  # type: ignore[misc]
    """A number that stays a number, with words for it. Subclasses give label(value).

    hex_digits: how many hex digits people write it with; 0 for numbers that are counts.
    """

    hex_digits = 0

    def label(self, value: Any) -> str:
        raise NotImplementedError


class Flags(Labelled):
    """A bit field: every set bit by its name in table `table` of names/flags.tsv, unknown bits in hex."""

    def __init__(self, subcon: Construct, table: str) -> None:
        super().__init__(subcon)
        self.table = table

    def label(self, value: int) -> str:
        return flag_names(self.table, value)


class Enumerated(Labelled):
    """A number with a name in table `table` of names/enums.tsv."""

    def __init__(self, subcon: Construct, table: str) -> None:
        super().__init__(subcon)
        self.table = table

    def label(self, value: int) -> str:
        return enum_name(self.table, value)


class _ErrorCode(Labelled):
    hex_digits = 8

    def label(self, value: int) -> str:
        return error_name(value)

    def brief(self, value: int) -> str:
        return error_name(value) or f"0x{value:08X}"


ErrorCode = _ErrorCode(U32)
"""A 32-bit status, named by [MS-OXCDATA] 2.4."""


class _FileTime(Labelled):
    def label(self, value: int) -> str:
        return filetime_text(value)


def filetime_text(value: int) -> str:
    """A FILETIME (100 ns since 1601-01-01 UTC) as ISO 8601 text, or words where no calendar has it."""
    try:
        days, milliseconds = divmod(value // 10_000, 86_400_000)
        minutes, milliseconds = divmod(milliseconds, 60_000)
        return f"{_day(days)}{_minute(minutes)}{milliseconds // 1000:02}.{milliseconds % 1000:03}Z"
    except (OverflowError, ValueError, TypeError):
        return "beyond the calendar"


@lru_cache(4096)
def _day(days: int) -> str:
    """'1601-01-02T' for 1."""
    import datetime

    return f"{datetime.date(1601, 1, 1) + datetime.timedelta(days)}T"


@lru_cache(1440)
def _minute(minutes: int) -> str:
    """'01:30:' for 90."""
    return f"{minutes // 60:02}:{minutes % 60:02}:"


FileTime = _FileTime(U64)


class _Bool(Construct):  # type: ignore[misc]
    """A boolean of one or two bytes. 0 and 1 are False and True; anything else stays the number it is."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def _parse(self, stream: Any, context: Container, path: str) -> bool | int:
        number = int.from_bytes(read(stream, self.size, path), "little")
        return bool(number) if number < 2 else number

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(int(obj).to_bytes(self.size, "little"))
        return obj


Bool8, Bool16 = _Bool(1), _Bool(2)


class _Float(Construct):  # type: ignore[misc]
    """An IEEE 754 number of 4 or 8 bytes. The value is a float, or the bytes where no float builds back to the same.

    Those are the signalling NaNs of 4 bytes: making them 8 bytes wide changes them.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.form = struct.Struct("<f" if size == 4 else "<d")

    def _parse(self, stream: Any, context: Container, path: str) -> float | bytes:
        raw = read(stream, self.size, path)
        number: float = self.form.unpack(raw)[0]
        return number if number == number or self.form.pack(number) == raw else raw

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        try:
            stream.write(obj if isinstance(obj, bytes) else self.form.pack(obj))
        except (struct.error, OverflowError) as error:
            raise MalformedError(str(error), path=path) from error
        return obj


F32, F64 = _Float(4), _Float(8)


class _Guid(Construct):  # type: ignore[misc]
    """A GUID, first three fields little-endian [MS-DTYP] 2.3.4. The value is a uuid.UUID."""

    def _parse(self, stream: Any, context: Container, path: str) -> uuid.UUID:
        return uuid.UUID(bytes_le=read(stream, 16, path))

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(obj.bytes_le)
        return obj

    def label(self, value: uuid.UUID) -> str:
        from dissector.grammar.names import guid_name

        return guid_name(value)


Guid = _Guid()


class Data(Construct):  # type: ignore[misc]
    """`size` opaque bytes."""

    def __init__(self, size: Any) -> None:
        super().__init__()
        self.size = size

    def _parse(self, stream: Any, context: Container, path: str) -> bytes:
        return read(stream, evaluate(self.size, context), path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(obj)
        return obj


class _Rest(Construct):  # type: ignore[misc]
    """All bytes to the end of the enclosing size."""

    def _parse(self, stream: Any, context: Container, path: str) -> bytes:
        return stream.read()  # type: ignore[no-any-return]

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(obj)
        return obj


Rest = _Rest()


class Text(Construct):  # type: ignore[misc]
    """Text that ends with a NUL. The value is a str without the NUL, or bytes where no str builds back to the same.

    width 2 is UTF-16LE; width 1 is `codec`, or the code page that Param `codepage` names (a Python codec name, cp1252
    without).
    """

    def __init__(self, width: int, codec: str = "") -> None:
        super().__init__()
        self.width, self.codec = width, codec or ("utf-16-le" if width == 2 else "")

    def _parse(self, stream: Any, context: Container, path: str) -> str | bytes:
        start = stream.tell()
        raw = stream.read()
        end = raw.find(bytes(self.width))
        while self.width == 2 and end >= 0 and end % 2:
            end = raw.find(b"\0\0", end + 1)
        if end < 0:
            stream.seek(start)
            raise StreamError("text without its closing NUL", path=path)
        stream.seek(start + end + self.width)
        return decode_text(raw[:end], self.encoding(context))

    def encoding(self, context: Container) -> str:
        return self.codec or context._params.get("codepage") or "cp1252"

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(encode_text(obj, self.encoding(context)) + bytes(self.width))
        return obj


Str8, Str16 = Text(1), Text(2)


def StrIf(unicode: Any) -> Choice:
    """Text that is UTF-16LE where `unicode` is nonzero and 8-bit where it is zero."""
    return Choice(unicode, {0: Str8}, default=Str16)


def decode_text(raw: bytes, encoding: str) -> str | bytes:
    """The text of raw, or raw itself where encoding the text would not give the same bytes again."""
    errors = "surrogatepass" if encoding.startswith("utf-16") else "surrogateescape"
    try:
        text = raw.decode(encoding, errors)
        return text if text.encode(encoding, errors) == raw else raw
    except (UnicodeError, LookupError):
        return raw


def encode_text(text: str | bytes, encoding: str) -> bytes:
    if isinstance(text, bytes):
        return text
    return text.encode(encoding, "surrogatepass" if encoding.startswith("utf-16") else "surrogateescape")


def read(stream: Any, size: int, path: str) -> bytes:
    """Exactly size bytes, or StreamError with the stream where it was."""
    if size < 0:
        raise MalformedError(f"a size of {size} bytes", path=path)
    data = stream.read(size)
    if len(data) != size:
        stream.seek(stream.tell() - len(data))
        raise StreamError(f"wanted {size} bytes, {len(data)} are left", path=path)
    return data  # type: ignore[no-any-return]


def at_end(stream: Any) -> bool:
    if stream.read(1):
        stream.seek(stream.tell() - 1)
        return False
    return True


def parse_interpreted(
    layout: Construct, data: bytes, offset: int, end: int | None, params: dict[str, Any]
) -> tuple[Any, int]:
    """parse() by the constructs themselves: what every compiled reading is held to."""
    stream = io.BytesIO(data[offset:end])
    try:
        return layout._parse(stream, contexts(params), "(parsing)"), offset + stream.tell()
    except Exception as error:
        severity, message = describe(error)
        raise GrammarError(severity, message, offset + stream.tell()) from error


def trace_interpreted(
    layout: Construct, source: ByteSource, name: str, offset: int, end: int | None, params: dict[str, Any]
) -> Node:
    """trace() by the constructs themselves."""
    root = Node(name, source, offset, spec=spec_of(layout), labeller=labeller_of(layout))
    stream = io.BytesIO(source.data[offset:end])
    context = contexts(params)
    context._params["_tracer"] = Tracer(source, offset, root)
    try:
        value = layout._parse(stream, context, "(parsing)")
        root.length = stream.tell()
        if not root.children:
            root.value = value
    except Exception as error:
        root.length = root.children[-1].end - offset if root.children else 0
        if not getattr(error, "_noted", False):
            root.diagnose(*describe(error))
    return root


def build(layout: Construct, value: Any, **params: Any) -> bytes:
    """The bytes of a value. Raises construct's ConstructError where a field is missing or out of range."""
    stream = io.BytesIO()
    layout._build(value, stream, contexts(params, parsing=False), "(building)")
    return stream.getvalue()


def contexts(params: Mapping[str, Any], parsing: bool = True) -> Container:
    """The outermost context: its fields are the arguments, and so are those of its `_params`."""
    context = Container(params)
    context["_params"] = Container(params)
    context["_parsing"], context["_building"], context["_sizing"] = parsing, not parsing, False
    return context


class Counted(Subconstruct):  # type: ignore[misc]
    """A byte count, then a layout inside that many bytes. The value is the layout's.

    Opaque bytes (Data, Rest) and single values make one leaf, count included; a structure shows its Size (or what
    `name` calls it) and its fields.
    """

    def __init__(self, count: Construct, subcon: Construct = Rest, name: str = "Size") -> None:
        super().__init__(subcon)
        self.count = Traced(count, name)
        self.opaque = isinstance(subcon, _Rest | Data)

    def _parse(self, stream: Any, context: Container, path: str) -> Any:
        if self.opaque:
            start = stream.tell()
            size = self.count.subcon._parse(stream, context, path)
            try:
                return read(stream, size, path)
            except ConstructError:
                stream.seek(start)
                raise
        tracer = context._params.get("_tracer")
        children = tracer.current.children if tracer is not None else []
        before = len(children)
        size = self.count._parse(stream, context, path)
        value = Sized(size, self.subcon)._parse(stream, context, path)
        if len(children) == before + 1 and not isinstance(value, list | Mapping):  # no fields: one leaf, as for bytes
            del children[before:]
        return value

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        if isinstance(obj, bytes):
            data: bytes = obj
        else:
            inner = io.BytesIO()
            self.subcon._build(obj, inner, context, path)
            data = inner.getvalue()
        self.count._build(len(data), stream, context, path)
        stream.write(data)
        return obj


class Multi(Construct):  # type: ignore[misc]
    """A row count, then the rows. The value is the list of rows."""

    def __init__(self, count: Construct, row: Construct) -> None:
        super().__init__()
        self.count, self.rows = Traced(count, "Count"), row

    def _parse(self, stream: Any, context: Container, path: str) -> list[Any]:
        return Rows(self.count._parse(stream, context, path), self.rows)._parse(stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        self.count._build(len(obj), stream, context, path)
        return Rows(len(obj), self.rows)._build(obj, stream, context, path)
