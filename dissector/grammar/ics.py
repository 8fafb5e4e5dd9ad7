"""FastTransfer streams, the syntax [MS-OXCFXICS] 2.2.4.2, 2.2.4.3: which elements may follow which.

GRAMMAR is the specification's own table. Syntax is a machine that is driven by it: it is told one element after
another and answers which productions end, which begin, and whether the element may stand there at all. It looks one
element ahead and never back, and holds no more than the productions that are open.

An element that may not stand where it stands is reported once, with what was expected. Where it is a marker that an
enclosing production waits for, that production goes on and those inside it are cut short; otherwise reading goes on
element by element until one fits again. FXErrorInfo may stand anywhere: it ends what was being sent, up to the
enclosing list of messages [MS-OXCFXICS] 2.2.4.3.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from dissector.grammar.fasttransfer import MARKERS
from dissector.grammar.names import property_name

PROPERTY = "property"
"""The terminal for every property that is not a terminal of its own."""

SEPARATE: Mapping[int, str] = {
    0x4008001E: "MetaTagDnPrefix",
    0x4008001F: "MetaTagDnPrefix",
    0x400F0003: "MetaTagEcWarning",
    0x40110102: "MetaTagNewFXFolder",
    0x40160003: "MetaTagFXDelProp",
    0x407A0003: "MetaTagIncrementalSyncMessagePartial",
    0x407C0003: "MetaTagIncrSyncGroupId",
}
"""Meta-properties that have a place of their own: a propList ends before them."""

TERMINALS: Mapping[int, str] = {**MARKERS, **SEPARATE}
"""The terminal of an element by its tag; any other tag is PROPERTY."""

GRAMMAR: Mapping[str, str] = {
    "contentsSync": (
        "progressTotal? (progressPerMessage? messageChange)* deletions? readStateChanges? state IncrSyncEnd"
    ),
    "hierarchySync": "folderChange* deletions? state IncrSyncEnd",
    "state": "IncrSyncStateBegin property* IncrSyncStateEnd",
    "progressTotal": "IncrSyncProgressMode property*",
    "progressPerMessage": "IncrSyncProgressPerMsg property*",
    "messageChange": "messageChangeFull | messageChangePartial",
    "messageChangeFull": "IncrSyncChg messageChangeHeader? IncrSyncMessage propList messageChildren",
    "messageChangePartial": (
        "groupInfo? MetaTagIncrSyncGroupId? IncrSyncChgPartial messageChangeHeader?"
        " (MetaTagIncrementalSyncMessagePartial propList)* messageChildren"
    ),
    "messageChangeHeader": "property*",
    "groupInfo": "IncrSyncGroupInfo property*",
    "deletions": "IncrSyncDel property*",
    "readStateChanges": "IncrSyncRead property*",
    "folderChange": "IncrSyncChg property*",
    "topFolder": "MetaTagDnPrefix? StartTopFld folderContentNoDelProps EndFolder",
    "subFolder": "StartSubFld folderContent EndFolder",
    "subFolderNoDelProps": "StartSubFld folderContentNoDelProps EndFolder",
    # One production covers what servers were seen to write: the parts of folderMessages and the subfolders each
    # behind a MetaTagFXDelProp, ghosted content (MetaTagNewFXFolder) in the place of messages, the warning behind the
    # properties of a folder that may not be moved. Two lists of messages in a row are one.
    "folderContent": (
        "MetaTagDnPrefix? propList (MetaTagEcWarning propList)? MetaTagNewFXFolder?"
        " (MetaTagFXDelProp MetaTagNewFXFolder? messageList subFolder*)*"
    ),
    "folderContentNoDelProps": (
        "propList (MetaTagEcWarning propList)? MetaTagNewFXFolder? messageList subFolderNoDelProps*"
    ),
    "messageList": "(MetaTagDnPrefix | MetaTagEcWarning | message)*",
    "message": "(StartMessage | StartFAIMsg) messageContent EndMessage",
    "messageContent": "MetaTagDnPrefix? propList messageChildren",
    "messageChildren": "MetaTagFXDelProp? recipient* MetaTagFXDelProp? attachment*",
    "recipient": "StartRecip property* EndToRecip",
    "attachment": "NewAttach property attachmentContent EndAttach",
    "attachmentContent": "MetaTagDnPrefix? propList embeddedMessage?",
    "embeddedMessage": "StartEmbed messageContent EndEmbed",
    "propList": "property*",
    "errorInfo": "FXErrorInfo property*",
}
"""What each production is made of: others, markers, meta-properties and `property`; ? * | ( ) as usual."""

ROOTS = (
    "contentsSync", "hierarchySync", "state", "topFolder", "folderContent", "messageContent", "attachmentContent",
    "messageList",
)  # fmt: skip
"""What a whole stream may be."""

UNWOUND = ("contentsSync", "messageList")
"""Where reading goes on behind FXErrorInfo: in the nearest of these that is open."""

MAX_OPEN = 200
"""Productions inside each other before the stream is called malformed (an embedded message takes five)."""
_DEEPER = frozenset(("StartEmbed", "StartSubFld"))

ROOT_BY_SYNC_TYPE: Mapping[int, str] = {1: "contentsSync", 2: "hierarchySync"}
"""SynchronizationType of RopSynchronizationConfigure."""
ROOT_BY_ROP: Mapping[str, str] = {
    "RopSynchronizationGetTransferState": "state",
    "RopFastTransferSourceCopyMessages": "messageList",
    "RopFastTransferSourceCopyFolder": "topFolder",
}
ROOT_BY_OBJECT: Mapping[str, str] = {
    "folder": "folderContent",
    "message": "messageContent",
    "attachment": "attachmentContent",
}
"""Of RopFastTransferSourceCopyTo, ...CopyProperties and of uploads that mirror them, by the object copied."""
ROOT_BY_SOURCE_OPERATION: Mapping[int, str] = {3: "messageList", 4: "topFolder"}
"""SourceOperation of RopFastTransferDestinationConfigure; the others go by the object."""


class Symbol:
    """A part of the grammar: kind, its parts, what it may begin with, and whether it may be nothing."""

    __slots__ = ("first", "kind", "name", "nullable", "parts")

    def __init__(self, kind: str, name: str = "", parts: tuple[Symbol, ...] = ()) -> None:
        self.kind, self.name, self.parts = kind, name, parts
        self.first: frozenset[str] = frozenset()
        self.nullable = False

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}{list(self.parts) if self.parts else ''}>"


TERMINAL, PRODUCTION, SEQUENCE, CHOICE, OPTIONAL, MANY, END = (
    "terminal", "production", "sequence", "choice", "optional", "many", "end",
)  # fmt: skip


def _read(text: str) -> Symbol:
    """The symbol of one right-hand side."""
    tokens = re.findall(r"\w+|[?*|()]", text)

    def choice() -> Symbol:
        options = [sequence()]
        while tokens and tokens[0] == "|":
            tokens.pop(0)
            options.append(sequence())
        return options[0] if len(options) == 1 else Symbol(CHOICE, parts=tuple(options))

    def sequence() -> Symbol:
        parts = []
        while tokens and tokens[0] not in "|)":
            token = tokens.pop(0)
            if token == "(":
                part = choice()
                tokens.pop(0)
            else:
                part = Symbol(PRODUCTION if token in GRAMMAR else TERMINAL, token)
            if tokens and tokens[0] in "?*":
                part = Symbol(OPTIONAL if tokens.pop(0) == "?" else MANY, parts=(part,))
            parts.append(part)
        return parts[0] if len(parts) == 1 else Symbol(SEQUENCE, parts=tuple(parts))

    return choice()


def _everything(symbol: Symbol) -> list[Symbol]:
    return [symbol, *(below for part in symbol.parts for below in _everything(part))]


def _compiled(grammar: Mapping[str, str]) -> dict[str, Symbol]:
    """The symbols of all productions, with first and nullable found by running until nothing changes."""
    bodies = {name: _read(text) for name, text in grammar.items()}
    symbols = [symbol for body in bodies.values() for symbol in _everything(body)]
    changed = True
    while changed:
        changed = False
        for symbol in symbols:
            first, nullable = _opening(symbol, bodies)
            if (first, nullable) != (symbol.first, symbol.nullable):
                symbol.first, symbol.nullable, changed = first, nullable, True
    return bodies


def _opening(symbol: Symbol, bodies: Mapping[str, Symbol]) -> tuple[frozenset[str], bool]:
    if symbol.kind == TERMINAL:
        return frozenset((symbol.name,)), False
    if symbol.kind == PRODUCTION:
        return bodies[symbol.name].first, bodies[symbol.name].nullable
    if symbol.kind == CHOICE:
        return frozenset().union(*(part.first for part in symbol.parts)), any(part.nullable for part in symbol.parts)
    if symbol.kind in (OPTIONAL, MANY):
        return symbol.parts[0].first, True
    first: frozenset[str] = frozenset()
    for part in symbol.parts:
        first |= part.first
        if not part.nullable:
            return first, False
    return first, True


BODIES: Mapping[str, Symbol] = _compiled(GRAMMAR)
_ENDS = {name: Symbol(END, name) for name in GRAMMAR}
for _end in _ENDS.values():
    _end.nullable = True


class Step(NamedTuple):
    """What one element did: how many productions end before it, which begin with it, and what is wrong with it.

    cut: how many of those that end do so before they are complete. trouble: '' or words; a run of elements out of
    place has words on the first one only, and fits is False on all.
    """

    ends: int = 0
    begins: tuple[str, ...] = ()
    cut: int = 0
    trouble: str = ""
    fits: bool = True


PLAIN = Step()
STRAY = Step(fits=False)


class _State:
    """Where the machine may stand: what is still to come, last first, and how many productions are open.

    repeating: see Syntax. moves: where a terminal that fits leads to, filled as they are met.
    """

    __slots__ = ("kept", "moves", "open", "repeating", "stack")

    def __init__(self, stack: tuple[Symbol, ...]) -> None:
        self.kept = False
        """Whether it is one of _STATES. Only from one to another of these a move is remembered: there are so many."""
        self.stack, self.open = stack, sum(symbol.kind == END for symbol in stack)
        self.repeating = stack[-1].parts[0].name if stack and stack[-1].kind == MANY else ""
        self.moves: dict[str, tuple[_State, Step]] = {}


_STATES: dict[tuple[Symbol, ...], _State] = {}
"""Those met, by what is still to come: a machine that has stood there finds its way without looking at the grammar."""
_MOST_STATES = 4096


def _state(stack: tuple[Symbol, ...]) -> _State:
    found = _STATES.get(stack)
    if found is None:
        found = _State(stack)
        if len(_STATES) < _MOST_STATES:
            _STATES[stack] = found
            found.kept = True
    return found


class Syntax:
    """The machine. advance() with the tag of every element in order, finish() at the end of the stream.

    root: a production (ROOTS, or any other of GRAMMAR for a part of a stream). It is open from the start.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._stack = [_ENDS[root], BODIES[root]]
        self._open = 1
        self._lost = False
        self._state = _state(tuple(self._stack))

    @property
    def repeating(self) -> str:
        """What may come now any number of times, before anything else: PROPERTY, or a production. '' if nothing."""
        return "" if self._lost else self._state.repeating

    @property
    def open(self) -> list[str]:
        """The productions that are open, outermost first."""
        return [symbol.name for symbol in self._state.stack if symbol.kind == END]

    def advance(self, tag: int) -> Step:
        terminal = TERMINALS.get(tag, PROPERTY)
        state, lost = self._state, self._lost
        move = state.moves.get(terminal)
        if move is not None:
            self._lost = False
            self._state, step = move
            return step
        self._stack, self._open = list(state.stack), state.open
        step = self._advance(tag, terminal)
        self._state = _state(tuple(self._stack))
        if step.fits and not step.trouble and not lost and state.kept and self._state.kept:
            state.moves[terminal] = self._state, step
        return step

    def _advance(self, tag: int, terminal: str) -> Step:
        """Move the stack over an element."""
        stack = self._stack
        if terminal == PROPERTY and stack and stack[-1].kind == MANY and stack[-1].parts[0].name == PROPERTY:
            self._lost = False
            return PLAIN
        if terminal == "FXErrorInfo" and not self._fits(terminal, len(stack)):
            return self._error_info()
        too_deep = terminal in _DEEPER and self._open > MAX_OPEN
        if not too_deep and self._fits(terminal, len(stack)):
            self._lost = False
            return self._take(terminal, 0, 0, "")
        trouble = ""
        if too_deep:
            trouble = f"{terminal} inside {self._open} productions is one too many"
        elif not self._lost:
            trouble = f"{terminal} may not stand here; expected {self.expected()}"
        if tag in MARKERS and not too_deep:
            for depth in range(len(stack) - 1, 0, -1):
                if self._fits(terminal, depth):
                    dropped = stack[depth:]
                    del stack[depth:]
                    self._lost = False
                    return self._after_cut(terminal, dropped, trouble)
        if self._lost:
            return STRAY
        self._lost = True
        return Step(trouble=trouble, fits=False)

    def lose(self) -> None:
        """Elements were left out: what comes next may stand anywhere, and nothing is said until one fits again."""
        self._lost = True

    def leave(self) -> None:
        """All that is open in the root is passed, up to its end."""
        stack = self._state.stack
        ends = [at for at, symbol in enumerate(stack) if symbol.kind == END]
        if len(ends) > 1:
            self._state = _state(stack[: ends[1]])

    def finish(self) -> str:
        """What is missing at the end of the stream, in words; '' when the root is complete."""
        stack = self._state.stack
        if all(symbol.nullable for symbol in stack):
            return ""
        waiting = max(at for at, symbol in enumerate(stack) if not symbol.nullable)
        inside = max(at for at, symbol in enumerate(stack[:waiting]) if symbol.kind == END)
        return f"the stream ends inside {stack[inside].name}; expected {self.expected()}"

    def expected(self) -> str:
        """What may come next, in words."""
        names: list[str] = []
        for symbol in reversed(self._state.stack):
            names += sorted(symbol.first - set(names))
            if not symbol.nullable:
                break
        else:
            names.append("the end of the stream")
        return " or ".join(names)

    def _fits(self, terminal: str, depth: int) -> bool:
        """Whether the terminal may come next when only stack[:depth] is left."""
        for index in range(depth - 1, -1, -1):
            symbol = self._stack[index]
            if terminal in symbol.first:
                return True
            if not symbol.nullable:
                return False
        return False

    def _after_cut(self, terminal: str, dropped: list[Symbol], trouble: str) -> Step:
        """Move over a terminal behind symbols that were left out."""
        places = [at for at, symbol in enumerate(dropped) if symbol.kind == END]
        own = dropped[: places[0]] if places else dropped
        step = self._take(terminal, len(places), len(places), trouble)
        if step.ends > step.cut and not all(symbol.nullable for symbol in own):
            return step._replace(cut=step.cut + 1)  # what was left out belonged to the next one that ends
        return step

    def _take(self, terminal: str, ends: int, cut: int, trouble: str) -> Step:
        """Move over a terminal that fits."""
        stack = self._stack
        begins: list[str] = []
        while True:
            symbol = stack.pop()
            if symbol.kind == END:
                ends += 1
            elif terminal not in symbol.first:
                continue
            elif symbol.kind == TERMINAL:
                break
            elif symbol.kind == PRODUCTION:
                begins.append(symbol.name)
                stack += _ENDS[symbol.name], BODIES[symbol.name]
            elif symbol.kind == SEQUENCE:
                stack += reversed(symbol.parts)
            elif symbol.kind == CHOICE:
                stack.append(next(part for part in symbol.parts if terminal in part.first))
            else:
                if symbol.kind == MANY:
                    stack.append(symbol)
                stack.append(symbol.parts[0])
        self._open += len(begins) - ends
        return Step(ends, tuple(begins), cut, trouble) if ends or begins or trouble else PLAIN

    def _error_info(self) -> Step:
        """Leave what is open inside the nearest list of messages and begin errorInfo there."""
        stack = self._stack
        ends = 0
        before = next((at for at in range(1, len(stack)) if stack[at] is _ENDS["errorInfo"]), 0)
        if before:  # one errorInfo ends where the next begins
            ends = sum(symbol.kind == END for symbol in stack[before:])
            del stack[before:]
        whole = ends
        for place in range(len(stack) - 1, -1, -1):
            if stack[place].kind == END and stack[place].name in UNWOUND:
                inner = next((at for at in range(place + 1, len(stack)) if stack[at].kind == END), len(stack))
                loops = [at for at in range(place + 1, inner) if stack[at].kind == MANY]
                keep = loops[-1] + 1 if loops else inner
                ends += sum(symbol.kind == END for symbol in stack[keep:])
                del stack[keep:]
                break
        self._lost = False
        self._open += 1 - ends
        stack += _ENDS["errorInfo"], BODIES["errorInfo"]
        self._take("FXErrorInfo", 0, 0, "")
        return Step(ends, ("errorInfo",), ends - whole)


class Rule(NamedTuple):
    """What a production's own properties have to be [MS-OXCFXICS] 2.2.4.3, by property id.

    first: these, in this order, before all others. needed: these somewhere. only: no others than these and the former;
    None allows any. some: at least one.
    """

    first: tuple[int, ...] = ()
    needed: tuple[int, ...] = ()
    only: tuple[int, ...] | None = None
    some: bool = False


_STATE = (0x4017, 0x6796, 0x67DA, 0x67D2)
RULES: Mapping[str, Rule] = {
    "messageChangeHeader": Rule((0x65E0, 0x3008, 0x65E2, 0x65E3, 0x67AA), only=(0x674A, 0x0E08, 0x67A4)),
    "folderChange": Rule(needed=(0x65E1, 0x65E0, 0x3008, 0x65E2, 0x65E3, 0x3001)),
    "recipient": Rule((0x3000,)),
    "attachment": Rule((0x0E21,)),
    "progressTotal": Rule((0x0000,), only=()),
    "progressPerMessage": Rule((0x0000, 0x0000), only=()),
    "groupInfo": Rule((0x0000,), only=()),
    "errorInfo": Rule((0x0000,), only=()),
    "state": Rule(only=_STATE),
    "deletions": Rule(only=(0x67E5, 0x4021, 0x6793), some=True),
    "readStateChanges": Rule(only=(0x402D, 0x402E), some=True),
}


def rule_breaks(production: str, tags: Sequence[int]) -> list[str]:
    """What is wrong with the properties of a production that has ended, in words."""
    rule = RULES.get(production)
    if rule is None:
        return []
    ids = [tag >> 16 for tag in tags]
    found: list[str] = []
    if tuple(ids[: len(rule.first)]) != rule.first:
        found.append(f"its first properties are to be {_names(rule.first)}")
    missing = [one for one in rule.needed if one not in ids]
    if missing:
        found.append(f"without {_names(missing)}")
    if rule.only is not None:
        others = [one for one in ids if one not in rule.only and one not in rule.first and one not in rule.needed]
        if others:
            found.append(f"{_names(others[:5])} {'does' if len(others) == 1 else 'do'} not belong here")
    if rule.some and not ids:
        found.append("empty")
    return found


def _names(ids: Iterable[int]) -> str:
    return ", ".join(property_name(one << 16) or f"0x{one:04X}" for one in ids)
