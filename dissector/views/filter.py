"""-Y expressions: which rows to show.

    rop == RopOpenFolder and error != 0        RopSetProperties        frame >= 120 and not call == Connect
    rop contains Sync || rop in {RopLogon RopRelease}                  summary matches "Inbox"

As in a tshark display filter: `and`/`&&`, `or`/`||`, `not`/`!`, parentheses, ==, !=, <, <=, >, >=, contains, matches,
in {...}. A bare ROP name means rop == NAME; a bare field means that the row has it. A comparison with a field that the
row does not have is false.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from lark import Lark, Transformer, v_args
from lark.exceptions import UnexpectedEOF, UnexpectedInput, VisitError

from dissector.errors import FilterError
from dissector.grammar.names import error_code
from dissector.grammar.rops import BY_NAME
from dissector.views.rows import Row

GRAMMAR = r"""
    ?start: either
    ?either: both (("or" | "||") both)*
    ?both: negated (("and" | "&&") negated)*
    ?negated: ("not" | "!") negated -> negation
            | "(" either ")"
            | comparison
    ?comparison: NAME OPERATOR value -> compare
               | NAME "in" "{" value (","? value)* "}" -> member
               | NAME -> bare
    ?value: NUMBER -> number | STRING -> string | NAME -> word
    OPERATOR: "==" | "!=" | "<=" | ">=" | "<" | ">" | "contains" | "matches" | "~"
    NUMBER.2: /-?(0x[0-9a-fA-F]+|[0-9]+(\.[0-9]+)?)(?![\w-])/
    NAME: /[A-Za-z_][\w.-]*/
    STRING: /"[^"]*"/
    %ignore /\s+/
"""

FIELDS: dict[str, Callable[[Row], Any]] = {
    "rop": lambda row: row.rop,
    "rop_id": lambda row: row.rop_id,
    "exchange": lambda row: row.exchange,
    "frame": lambda row: [frame for frame in (row.frame, row.response_frame) if frame is not None],
    "response_frame": lambda row: row.response_frame,
    "time_epoch": lambda row: row.time,
    "error": lambda row: row.return_code,
    "return_name": lambda row: row.return_name or None,
    "call": lambda row: row.call,
    "transport": lambda row: row.transport,
    "session": lambda row: row.session,
    "logon_id": lambda row: row.logon_id,
    "index": lambda row: row.index,
    "handle": lambda row: [value for value in (row.handles or {}).values() if value is not None] or None,
    "kind": lambda row: row.kind,
    "summary": lambda row: row.summary or None,
}
"""What a ROP row has. frame: of the request and of the response; of several values any may fit, but for != none may be
equal. time_epoch: seconds since 1970, as `time` in JSON (a list shows seconds from the first frame)."""

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "contains": lambda have, want: str(want).lower() in str(have).lower(),
    "matches": lambda have, want: re.search(str(want), str(have), re.IGNORECASE) is not None,
}
OPERATORS["~"] = OPERATORS["matches"]

MOST_NESTED = 200
"""Parentheses and negations of an expression, at the most."""

NUMBERS = frozenset(
    (
        "rop_id", "exchange", "frame", "response_frame", "time_epoch", "error", "session", "logon_id", "index",
        "handle",
    )
)  # fmt: skip
"""Fields of ROP rows that are compared with numbers."""

Test = Callable[[Any], bool]
Fields = Mapping[str, Callable[[Any], Any]]


def _meant(name: str, known: Iterable[str]) -> str:
    """'did you mean ...? ' where a known name is much like this one, else ''."""
    from difflib import get_close_matches

    names = {one.lower(): one for one in known}
    close = get_close_matches(name.lower(), names, 1, 0.8)
    return f"did you mean {names[close[0]]}? " if close else ""


def _no_rop(name: str) -> FilterError:
    return FilterError(f"-Y: no ROP is called {name}; {_meant(name, BY_NAME)}`dissector rops` lists them")


def _same_kind(have: Any, want: Any) -> bool:
    return isinstance(have, str) == isinstance(want, str)


@v_args(inline=True)
class _Tests(Transformer[Any, Test]):
    def __init__(self, fields: Fields) -> None:
        super().__init__()
        self.fields = fields

    def field(self, name: str) -> Callable[[Any], Any]:
        field = self.fields.get(name)
        if field is None:
            known = ", ".join(self.fields)
            meant = _meant(name, (*self.fields, *BY_NAME))
            raise FilterError(f"-Y: no field is called {str(name)!r}; {meant}there are {known}, and ROP names")
        return field

    def wanted(self, name: str, symbol: str, want: Any) -> Any:
        """The value to compare with. An error may be given by name; a ROP that does not exist is told."""
        if symbol in ("contains", "matches", "~") or not isinstance(want, str):
            return want
        if name == "rop" and want not in BY_NAME and (self.fields is FIELDS or want.lower().startswith("rop")):
            raise _no_rop(want)
        if self.fields is not FIELDS:
            return want
        if name == "error":
            code = error_code(want)
            if code is not None:
                return code
        if name in NUMBERS:
            raise FilterError(f"-Y: {name} is compared with a number, {want!r} is none")
        return want

    def number(self, text: str) -> float | int:
        return float(text) if "." in text else int(text, 0)

    def string(self, text: str) -> str:
        return text[1:-1]

    def word(self, text: str) -> str:
        return str(text)

    def compare(self, name: str, symbol: str, want: Any) -> Test:
        field, test = self.field(name), OPERATORS[symbol]
        want = self.wanted(name, symbol, want)
        if symbol in ("matches", "~"):
            try:
                re.compile(str(want))
            except re.error as error:
                raise FilterError(f"-Y: {want!r} is no regular expression: {error}") from error
        textual = symbol in ("contains", "matches", "~")

        def passes(row: Row) -> bool:
            have = field(row)
            values = have if isinstance(have, list) else [have]
            given = [value for value in values if value is not None and (textual or _same_kind(value, want))]
            passed = all if symbol == "!=" else any
            return bool(given) and passed(test(value, want) for value in given)

        return passes

    def member(self, name: str, *values: Any) -> Test:
        field = self.field(name)
        wanted = [self.wanted(name, "==", value) for value in values]

        def passes(row: Row) -> bool:
            have = field(row)
            return any(value in wanted for value in (have if isinstance(have, list) else [have]))

        return passes

    def bare(self, name: str) -> Test:
        if name.startswith("Rop"):
            if name not in BY_NAME:
                raise _no_rop(name)
            field = self.field("rop")
            return lambda row: field(row) == name
        field = self.field(name)
        return lambda row: field(row) is not None

    def negation(self, test: Test) -> Test:
        return lambda row: not test(row)

    def both(self, *tests: Test) -> Test:
        return lambda row: all(test(row) for test in tests)

    def either(self, *tests: Test) -> Test:
        return lambda row: any(test(row) for test in tests)


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", transformer=None, maybe_placeholders=False)


def compile_filter(expression: str, fields: Fields = FIELDS) -> Test:
    """A test of rows. fields: what they have. Raises FilterError with the place where the expression does not parse."""
    if not expression.strip():
        return lambda row: True
    if len(re.findall(r"\(|!|\bnot\b", expression)) > MOST_NESTED:
        raise FilterError(f"-Y: the expression has more than {MOST_NESTED} parentheses and negations")
    try:
        return _Tests(fields).transform(_parser().parse(expression))
    except UnexpectedInput as error:
        ended = isinstance(error, UnexpectedEOF) or getattr(getattr(error, "token", None), "type", "") == "$END"
        place = "at its end" if ended else f"at column {getattr(error, 'column', 0)}"
        raise FilterError(f"-Y: cannot read {expression!r} {place}; example: RopOpenFolder and error != 0") from error
    except VisitError as error:
        if isinstance(error.orig_exc, FilterError):
            raise error.orig_exc from None
        raise
