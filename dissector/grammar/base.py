"""What every construct of the grammars rests on: construct, with three readings.

A layout is read plain (values only), traced (an annotated tree whose nodes know their bytes) and built back to bytes.
Grammars use only the classes of leaves.py, layouts.py, forms.py and ndr.py and construct's integer fields, with `this`
expressions and Param for what comes from outside: no lambdas, no side effects, no state. So a compiler can walk them
later, and what the session knows (column sets, logon flags, code page) always arrives as an argument of parse().

Two promises hold for every layout: what parse() returned, build() turns into the same bytes; and what cannot be read
stays visible (Undecoded) with a diagnostic at the place.

Here are the exceptions, the arguments, the tracer, and the readings and the building by the constructs themselves.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import Any

from construct import Construct, ConstructError, Container, StreamError
from construct.expr import ExprMixin

from dissector.node import Diagnostic, Node, Severity, Undecoded
from dissector.source import ByteSource


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


def parse_chosen(chosen: Construct, stream: Any, context: Container, path: str) -> Any:
    """Read the construct that stands in place of the one being read; the node at hand gets its words and section."""
    tracer = context._params.get("_tracer")
    if tracer is not None:
        tracer.current.labeller = labeller_of(chosen)
        tracer.current.spec = spec_of(chosen) or tracer.current.spec
    return chosen._parse(stream, context, path)


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
