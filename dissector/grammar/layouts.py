"""Constructs with parts: layouts and their fields, choices, rows, regions of a size, and what is counted.

A Layout is construct's Struct whose fields are Traced: with a tracer each leaves a node.

construct has traps for byte-exact work that these go around: Prefixed drops leftover bytes (Sized keeps them), Switch
without a default reads nothing (Choice is an error), Array trusts any count (Rows stops at the data's end).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from construct import Construct, ConstructError, Container, Renamed, StreamError, Struct, Subconstruct, evaluate
from construct.core import BytesIOWithOffsets

from dissector.grammar.base import MalformedError, at_end, describe, labeller_of, parse_chosen, read, spec_of
from dissector.grammar.leaves import Data, Rest, Str8, Str16
from dissector.node import Diagnostic, Node, Severity, Summary, Undecoded

MAX_DEPTH = 40
"""How deep Deferred grammars (restrictions in restrictions) may nest before the bytes are called malformed."""


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
        return parse_chosen(chosen, stream, context, path)

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
        params["_depth"] = depth + 1
        try:
            return parse_chosen(chosen, stream, context, path)
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


def StrIf(unicode: Any) -> Choice:
    """Text that is UTF-16LE where `unicode` is nonzero and 8-bit where it is zero."""
    return Choice(unicode, {0: Str8}, default=Str16)


class Counted(Subconstruct):  # type: ignore[misc]
    """A byte count, then a layout inside that many bytes. The value is the layout's.

    Opaque bytes (Data, Rest) and single values make one leaf, count included; a structure shows its Size (or what
    `name` calls it) and its fields.
    """

    def __init__(self, count: Construct, subcon: Construct = Rest, name: str = "Size") -> None:
        super().__init__(subcon)
        self.count = Traced(count, name)
        self.opaque = subcon is Rest or isinstance(subcon, Data)

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
