"""More vocabulary, for structures that say what they are: by their first number, by a byte ahead, by being empty.

The classes here follow the rules of base.py: no lambdas, no state, every value builds back to the bytes it was read
from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from construct import Construct, Container, Subconstruct, evaluate

from dissector.grammar.base import (
    U8,
    Layout,
    MalformedError,
    Sized,
    Traced,
    Undecoded,
    When,
    at_end,
    labeller_of,
    spec_of,
)  # fmt: skip

__all__ = [
    "ByFirst", "ByMarks", "First", "Given", "HasValue", "Marked",
    "MaybeEmpty", "Nothing", "Outer", "ToEnd", "WhenByte",
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
        tracer = context._params.get("_tracer")
        if tracer is not None:
            tracer.current.labeller = labeller_of(chosen)
            tracer.current.spec = spec_of(chosen) or tracer.current.spec
        return chosen._parse(stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        if isinstance(obj, Undecoded):
            stream.write(obj)
            return obj
        return self.choose(obj.get(self.field), path)._build(obj, stream, context, path)


class Marked(NamedTuple):
    """A layout, and how its bytes are known: their number, and what stands at some offsets (one of several values)."""

    layout: Layout
    length: int | None = None
    marks: Mapping[int, tuple[bytes, ...]] = {}

    def fits(self, data: bytes) -> bool:
        if self.length is not None and len(data) != self.length:
            return False
        return all(data.startswith(values, offset) for offset, values in self.marks.items())


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
        tracer = context._params.get("_tracer")
        if tracer is not None:
            tracer.current.labeller = labeller_of(chosen)
            tracer.current.spec = spec_of(chosen) or tracer.current.spec
        return chosen._parse(stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        if isinstance(obj, bytes):
            stream.write(obj)
            return obj
        for layout in (*(case.layout for case in self.cases), self.default):
            if obj.keys() <= {field.name for field in layout.subcons}:
                return layout._build(obj, stream, context, path)
        raise MalformedError(f"no layout has the fields {', '.join(obj)}", path=path)


class WhenByte(When):
    """A field that is there only when the byte ahead is one of `values`: what one sender writes and another does not.

    It is built when the value has it.
    """

    def __init__(self, values: tuple[int, ...], subcon: Construct) -> None:
        super().__init__(True, subcon)
        self.values = values

    def absent(self, stream: Any, context: Container) -> bool:
        ahead = stream.read(1)
        stream.seek(stream.tell() - len(ahead))
        return not ahead or ahead[0] not in self.values

    def left_out(self, obj: Any, context: Container) -> bool:
        return obj is None


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


class Outer:
    """An expression of an enclosing layout, evaluated `levels` layouts further in."""

    def __init__(self, expression: Any, levels: int) -> None:
        self.expression, self.levels = expression, levels

    def __call__(self, context: Container) -> Any:
        for _ in range(self.levels):
            context = context["_"]
        return evaluate(self.expression, context)


class First:
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
