"""Expressions of the grammar (`this.X`, Param and their kin) as Python source.

construct keeps an expression as a tree of operators. Here that tree becomes text over the local variables of the
function being written. What cannot be told before the data are read stays an expression; what can (a property tag
that the function is made for) is worked out at once and comes out as Known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from construct import Construct
from construct.expr import BinExpr, ExprMixin, Path, UniExpr, opnames

from dissector.grammar.base import Needed, Param
from dissector.grammar.layouts import Deferred, Layout

if TYPE_CHECKING:
    from dissector.grammar.compiler.writer import Writer


class Unsupported(Exception):
    """This cannot be compiled; the text says why."""


class Known:
    """A value that does not depend on the data."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Scope:
    """The fields of one layout that have been read: name to source text or Known. `_index` is the row being read.

    params: this is the outermost scope, whose fields are the arguments of parse(). closed: the outermost scope of a
    function that other layouts call: nothing outside can be seen.
    """

    __slots__ = ("closed", "fields", "parent")

    def __init__(self, parent: Scope | None, closed: bool = False) -> None:
        self.parent, self.closed = parent, closed
        self.fields: dict[str, Any] = {}


def steps_of(path: Any) -> list[str]:
    """['_', 'Kind'] for this._.Kind."""
    steps: list[str] = []
    while path._Path__parent is not None:
        steps.append(path._Path__field)
        path = path._Path__parent
    if path._Path__name != "this":
        raise Unsupported(f"an expression of {path._Path__name}")
    return steps[::-1]


def compile_expression(writer: Writer, expression: Any, scope: Scope) -> Any:
    """Source text or Known. Raises Unsupported."""
    if isinstance(expression, Path):
        return _path(steps_of(expression), scope)
    if isinstance(expression, BinExpr):
        left = compile_expression(writer, expression.lhs, scope)
        right = compile_expression(writer, expression.rhs, scope)
        if isinstance(left, Known) and isinstance(right, Known):
            return Known(expression.op(left.value, right.value))
        return f"({text_of(writer, left)} {opnames[expression.op]} {text_of(writer, right)})"
    if isinstance(expression, UniExpr):
        operand = compile_expression(writer, expression.operand, scope)
        if isinstance(operand, Known):
            return Known(expression.op(operand.value))
        return f"({opnames[expression.op]} {text_of(writer, operand)})"
    rule = RULES.get(type(expression).__qualname__) if isinstance(expression, ExprMixin) else None
    if rule is not None:
        return rule(writer, expression, scope)
    if callable(expression):
        raise Unsupported(f"an expression of kind {type(expression).__qualname__}")
    return Known(expression)


def text_of(writer: Writer, value: Any) -> str:
    """Source text for what compile_expression() gave."""
    if not isinstance(value, Known):
        return str(value)
    if value.value is None or isinstance(value.value, int | str | bytes):
        return repr(value.value)
    return writer.constant(value.value)


def _path(steps: list[str], scope: Scope) -> Any:
    at: Scope | None = scope
    while steps and steps[0] == "_":
        if at is None or at.closed:
            raise Unsupported("a field outside of the layout")
        at, steps = at.parent, steps[1:]
    if at is None or not steps:
        raise Unsupported("a context as a whole")
    found = at.fields.get(steps[0])
    if found is None:
        if at.parent is None and not at.closed:
            found = f"P[{steps[0]!r}]"
        else:
            raise Unsupported(f"{steps[0]} is not read before it is used")
    for step in steps[1:]:
        found = Known(found.value[step]) if isinstance(found, Known) else f"{found}[{step!r}]"
    return found


def _param(writer: Writer, expression: Any, scope: Scope) -> str:
    if expression.default is None:
        return f"P.get({expression.name!r})"
    return f"P.get({expression.name!r}, {text_of(writer, Known(expression.default))})"


def _needed(writer: Writer, expression: Any, scope: Scope) -> str:
    return f"needed(P, {expression.name!r})"


def _outer(writer: Writer, expression: Any, scope: Scope) -> Any:
    at: Scope | None = scope
    for _ in range(expression.levels):
        if at is None or at.closed:
            raise Unsupported("a field outside of the layout")
        at = at.parent
    if at is None:
        raise Unsupported("a field outside of the layout")
    return compile_expression(writer, expression.expression, at)


def _first(writer: Writer, expression: Any, scope: Scope) -> str:
    items = text_of(writer, compile_expression(writer, expression.items, scope))
    count = text_of(writer, compile_expression(writer, expression.count, scope))
    return f"first({count}, {items})"


def _either(writer: Writer, expression: Any, scope: Scope) -> str:
    first = text_of(writer, compile_expression(writer, expression.first, scope))
    second = text_of(writer, compile_expression(writer, expression.second, scope))
    name = writer.name("t")
    return f"({name} if ({name} := {first}) is not None else {second})"


def _codec_of(writer: Writer, expression: Any, scope: Scope) -> str:
    return f"codec_name({text_of(writer, compile_expression(writer, expression.code_page, scope))})"


def _nth(writer: Writer, expression: Any, scope: Scope) -> str:
    items = text_of(writer, compile_expression(writer, expression.items, scope))
    index = scope.fields.get("_index")
    if index is None:
        raise Unsupported("the row being read is not known")
    return f"{items}[{index}][{expression.name!r}]"


RULES: dict[str, Callable[[Any, Any, Scope], Any]] = {
    Param.__qualname__: _param,
    Needed.__qualname__: _needed,
    "Outer": _outer,
    "First": _first,
    "Either": _either,
    "CodecOf": _codec_of,
    "Nth": _nth,
}
"""Expressions of the grammar's own, by class name (forms.py is not imported for it)."""


def parts_of(con: Any) -> Iterator[Any]:
    """The constructs and expressions that a construct is made of. What Deferred leads to is not followed."""
    stack: list[Any] = [] if isinstance(con, Deferred) else [*vars(con).values()]
    while stack:
        value = stack.pop()
        if isinstance(value, Construct | ExprMixin):
            yield value
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list | tuple):
            stack.extend(value)


def fields_used(con: Any) -> frozenset[str]:
    """The names of all fields that expressions anywhere in a construct look at."""
    found: set[str] = set()
    seen: set[int] = set()
    stack = [con]
    while stack:
        one = stack.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Path):
            found.update(steps_of(one))
        else:
            stack.extend(parts_of(one))
    return frozenset(found)


def looks_outside(con: Any) -> bool:
    """Whether a construct uses fields of a layout around it, so that it can only be compiled inside of that."""
    return _reach(con, {}) > 0


def _reach(con: Any, known: dict[int, int]) -> int:
    """How many layouts further out than the construct itself its expressions reach; 1 is the one around it."""
    if isinstance(con, Path):
        steps = steps_of(con)
        return 1 + next((index for index, step in enumerate(steps) if step != "_"), len(steps))
    if id(con) in known:
        return known[id(con)]
    known[id(con)] = 0
    inner = max((_reach(part, known) for part in parts_of(con)), default=0)
    kind = type(con).__qualname__
    if kind == "Outer":
        inner += con.levels
    elif kind == "Nth":
        inner = max(1, inner)
    elif is_layout(con):
        inner = max(0, inner - 1)
    known[id(con)] = inner
    return inner


def is_layout(con: Any) -> bool:
    return isinstance(con, Layout) or "subcons" in vars(con)
