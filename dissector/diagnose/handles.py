"""Rules about server object handles: what is used after it was released, what is never released, what does not fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from dissector.diagnose.base import Case, Hit, Severity, code_text, counted, rule
from dissector.session.exchange import Exchange, Rop
from dissector.session.handles import Life, Misuse

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
NULL_OBJECT, NOT_SUPPORTED = 0x000004B9, 0x80040102
FITTING: Mapping[int, tuple[str, ...]] = {
    0x4E: ("fasttransfer-source", "sync-download", "state"),
    0x54: ("fasttransfer-destination",),
    0x9D: ("fasttransfer-destination",),
    0x75: ("sync-download", "sync-upload"), 0x76: ("sync-download", "sync-upload"),
    0x77: ("sync-download", "sync-upload"), 0x82: ("sync-download", "sync-upload"),
    0x72: ("sync-upload",), 0x73: ("sync-upload",), 0x74: ("sync-upload",), 0x78: ("sync-upload",),
    0x80: ("sync-upload",), 0x70: ("folder",), 0x7E: ("folder",),
    0x12: ("table",), 0x15: ("table",), 0x4F: ("table",), 0x13: ("table",), 0x14: ("table",), 0x18: ("table",),
}  # fmt: skip
"""What a ROP's object has to be."""
LIMITS = {"message": 250, "folder": 500, "attachment": 500, "stream": 250, "table": 500}
"""So many objects of one kind a session may have on an Exchange server, by default."""
OPENS_MANY = 0.8


@rule(
    "use-after-release", WARNING, "misuse", "MS-OXCROPS 2.2.15.3",
    "A client error: it lost track of its handles. What it wanted to do did not happen.",
)  # fmt: skip
def use_after_release(case: Case, exchange: Exchange, misuse: Misuse) -> Iterator[Hit]:
    """A ROP acts on a handle that was released before."""
    life = misuse.life
    how = "with its logon " if life.with_logon else ""
    message = f"{misuse.rop} on handle 0x{life.handle:X}, which was released {how}in frame {life.released}"
    evidence = {"it was": f"{life.kind}, opened by {life.rop} in frame {life.frame}"}
    if misuse.code is not None:
        evidence["answer"] = code_text(misuse.code)
    yield Hit(misuse.frame, misuse.exchange, message, evidence)


@rule(
    "wrong-object", WARNING, "failed rop", "MS-OXCROPS 2.2.1",
    "A client error: it took one handle for another.",
    rops=tuple(FITTING),
)  # fmt: skip
def wrong_object(case: Case, exchange: Exchange, rop: Rop) -> Iterator[Hit]:
    """A ROP acts on an object of another kind than it works on."""
    wanted = FITTING[rop.rop_id]
    if rop.kind is None or rop.kind in wanted or rop.return_value in (0, None) or rop.continues is not None:
        return
    if rop.rop_id == 0x70 and rop.kind == "logon":
        return
    message = f"{rop.name} on a {rop.kind}, it works on {' or '.join(wanted)}"
    evidence = {"answer": code_text(rop.return_value)}
    yield Hit(exchange.frame, exchange.number, message, evidence)


@rule(
    "null-object", WARNING, "failed rop", "MS-OXCDATA 2.4",
    "The client used a handle that the server does not know, though the capture shows it opened and not released: "
    "look for a restart of the server or a session that was moved.",
    rops=(*FITTING, 0x07, 0x0A, 0x0C, 0x04, 0x03),
)  # fmt: skip
def null_object(case: Case, exchange: Exchange, rop: Rop) -> Iterator[Hit]:
    """The server does not know an object that the capture shows alive."""
    if rop.return_value != NULL_OBJECT or rop.target is None or rop.kind not in FITTING.get(rop.rop_id, (rop.kind,)):
        return
    target = rop.target
    evidence = {"it is": f"{target.kind}, opened by {target.rop} in exchange {target.exchange}"}
    message = f"{rop.name}: ecNullObject on handle 0x{target.handle:X}, which was not released"
    yield Hit(exchange.frame, exchange.number, message, evidence)


def left_over(case: Case, session: int, left: list[Life], frame: int, exchange: int, how: str) -> Iterator[Hit]:
    kinds = Counter(one.kind for one in left if one.kind != "logon")
    if kinds:
        text = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        first = next(one for one in left if one.kind != "logon")
        evidence = {"never released": text, "the first": f"{first.kind} by {first.rop}, frame {first.frame}"}
        yield Hit(
            frame, exchange, f"session {session} {how} with {counted(sum(kinds.values()), 'object')} open", evidence
        )


@rule(
    "handle-leak", NOTE, "exchange", "MS-OXCROPS 2.2.15.3",
    "The server frees them with the session. Many of them bring a client to the server's limits.",
)  # fmt: skip
def handle_leak(case: Case, exchange: Exchange) -> Iterator[Hit]:
    """A session ends with objects that were never released."""
    from dissector.session.tracker import CLOSING_CALLS

    if exchange.call.name in CLOSING_CALLS and exchange.session is not None and exchange.call.request is not None:
        number = exchange.session.number
        left = case.handles.closed(number)
        yield from left_over(case, number, left, exchange.frame, exchange.number, "ends")


@rule(
    "too-many-objects", WARNING, "rop", "MS-OXCROPS 2.2.1",
    "A client (or an add-in) leaks handles: find what opens them. Exchange refuses to open more than its limits.",
    rops=(0x03, 0x02, 0x46, 0x22, 0x2B, 0x05, 0x04, 0x06, 0x23),
)  # fmt: skip
def too_many_objects(case: Case, exchange: Exchange, rop: Rop) -> Iterator[Hit]:
    """So many objects of one kind are open at one time that servers may refuse more."""
    if exchange.session is None or rop.definition is None or rop.return_value != 0:
        return
    number, kind = exchange.session.number, rop.definition.opens or ""
    limit = LIMITS.get(kind)
    if limit is None or case.handles.counts.get(number, {}).get(kind, 0) < limit * OPENS_MANY:
        return
    told = case.remembered("too-many-objects", set)
    if (number, kind) in told:
        return
    told.add((number, kind))
    count = case.handles.counts[number][kind]
    message = f"session {number} has {count} objects of the kind {kind} open"
    yield Hit(exchange.frame, exchange.number, message, {"Exchange allows": str(limit)})
