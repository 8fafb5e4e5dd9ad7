"""What ROPs and address-book calls returned but success: gathered call by call, told by the rules in answers.py.

Only what no other rule tells: the codes of imports, of state uploads and of FastTransfer ROPs have rules of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dissector.grammar.names import property_name
from dissector.session.exchange import Exchange, Rop
from dissector.session.streams import IMPORTS

TOLD_ELSEWHERE = frozenset((0x4E, 0x54, 0x9D, 0x75, 0x76, 0x77, *IMPORTS))
SAVE_MESSAGE, SERVER_BUSY = 0x0C, 0x00000480
BINDS = frozenset(("NspiBind", "Bind"))
KEPT, FRAMES_KEPT = 200, 5


@dataclass(slots=True)
class Failed:
    """One ROP or call that came to the same end, all times in a session. about: what the first one was about."""

    session: int | None
    name: str
    code: int
    frame: int
    exchange: int
    about: str
    rpc: bool
    count: int = 0
    frames: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Failures:
    """rops: by session, name and code. problems: PropertyProblems, by session, ROP, property and code. binds: refused
    NspiBinds by client, until one is taken; retried: those behind which one was taken.
    """

    rops: dict[tuple[int | None, str, int], Failed] = field(default_factory=dict)
    problems: dict[tuple[int | None, str, int, int], Failed] = field(default_factory=dict)
    binds: dict[str, Failed] = field(default_factory=dict)
    retried: list[Failed] = field(default_factory=list)

    def exchange(self, exchange: Exchange, session: int | None) -> None:
        """Note what an exchange returned."""
        if exchange.call.name in BINDS:
            self._bind(exchange, session)
        for rop in exchange.rops:
            if rop.rop_id in TOLD_ELSEWHERE:
                continue
            code = rop.return_value
            if code is None:
                continue
            if code and rop.continues is None and not _saves_import(rop):
                self._note(self.rops, (session, rop.ends or rop.name, code), exchange, about(rop))
            if rop.response is not None and rop.response.value is not None and "PropertyProblems" in rop.response.value:
                for problem in rop.response.value["PropertyProblems"] or ():
                    tag, why = problem.get("PropertyTag") or 0, problem.get("ErrorCode") or 0
                    self._note(self.problems, (session, rop.name, tag, why), exchange, "")

    def _bind(self, exchange: Exchange, session: int | None) -> None:
        response = exchange.call.response
        code = response.return_code if response is not None else None
        client = exchange.session.client.rpartition(":")[0] if exchange.session is not None else ""
        if code == 0:
            before = self.binds.pop(client, None)
            if before is not None and len(self.retried) < KEPT:
                self.retried.append(before)
        elif code is not None:
            self._count(self.binds, client, exchange, (session, exchange.call.name, code), "")

    def _note(self, into: dict[Any, Failed], key: tuple[Any, ...], exchange: Exchange, what: str) -> None:
        self._count(into, key, exchange, (key[0], key[1], key[-1]), what)

    def _count(
        self, into: dict[Any, Failed], key: Any, exchange: Exchange, named: tuple[int | None, str, int], what: str
    ) -> None:
        known = into.get(key)
        frame = exchange.call.response.frame if exchange.call.response is not None else exchange.frame
        if known is None:
            if len(into) >= KEPT:
                return
            rpc = exchange.call.transport != "mapi-http"
            known = into[key] = Failed(*named, frame, exchange.number, what, rpc)
        known.count += 1
        if len(known.frames) < FRAMES_KEPT:
            known.frames.append(frame)


def _saves_import(rop: Rop) -> bool:
    """Whether it ends an import, which import-refused tells."""
    target = rop.target
    return rop.rop_id == SAVE_MESSAGE and target is not None and target.rop == "RopSynchronizationImportMessageChange"


def about(rop: Rop) -> str:
    """'PropertyTag PidTagBody': what a request names."""
    value: Mapping[str, Any] = (rop.request.value if rop.request is not None else None) or {}
    parts = []
    for name in ("FolderId", "MessageId", "ObjectId"):
        if value.get(name) is not None:
            parts.append(f"{name} {value[name]}")
    tag = value.get("PropertyTag")
    if isinstance(tag, int):
        parts.append(f"PropertyTag {property_name(tag) or hex(tag)}")
    return ", ".join(parts)
