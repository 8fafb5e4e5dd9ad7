"""EMSMDB and address-book calls, whatever carried them.

A Call is one request with its response, taken out of an HTTP exchange (MAPI over HTTP) or a DCE/RPC call. Its sides
hold what the session layer works with: plain ROP buffers and a few fields. Trees and rebuilt bytes are made when they
are asked for, by the envelope that knows the side's layout, so that a list of a million calls costs no tree.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from dissector.grammar.names import codec_name
from dissector.node import Diagnostic, Node
from dissector.source import ByteSource

if TYPE_CHECKING:
    from dissector.emsmdb.buffers import Chain

Known = MutableMapping[tuple[int, int], uuid.UUID]
"""Interfaces found by the shape of a stub, by connection number and presentation context."""

RopBufferTree = Callable[[int, ByteSource], Node]
"""Makes the tree of one ROP buffer: its index among the side's payloads, and the payload."""


class Pdu(NamedTuple):
    """One envelope decoded and built again. rebuilt is None where the bytes could not be decoded at all."""

    name: str
    original: bytes
    rebuilt: bytes | None


class Envelope(Protocol):
    """What carried a side. The methods get the side itself, since envelopes are made lazily and hold no results."""

    def tree(self, side: Side, rop_buffer: RopBufferTree) -> Node: ...

    def pdus(self, side: Side) -> Iterator[Pdu]: ...


@dataclass(slots=True, eq=False)
class Side:
    """One direction of a call.

    frame, time: of the last byte. payloads: plain ROP buffers (RopSize, ROP list, handle table), one per
    RPC_HEADER_EXT, or the one of EcDoRpc; empty where the call carries none. fields: scalar fields of the body or stub
    by the spec's names. session_keys: values that name the session (name=value of cookies, a context handle).
    return_code: of the call itself (ErrorCode of a body, return value of an EcDo* function), None where there is none.
    diagnostics: what went wrong while the payloads were taken out; the tree shows them at their places. chain: what
    the payloads are parts of, for the tree. codepage: the Python codec of 8-bit text outside of payloads, where a side
    names it or the other one does (address books); the session gives its own to the others.
    """

    frame: int
    time: float
    envelope: Envelope
    payloads: list[ByteSource] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    session_keys: tuple[Any, ...] = ()
    return_code: int | None = None
    diagnostics: list[Diagnostic] = field(default_factory=list)
    chain: Chain | None = None
    codepage: str | None = None

    def tree(self, rop_buffer: RopBufferTree) -> Node:
        """The whole envelope as an annotated tree; rop_buffer is called for each payload. Never raises."""
        return self.envelope.tree(self, rop_buffer)

    def pdus(self) -> Iterator[Pdu]:
        """Every envelope of this side with its original and rebuilt bytes (bodies, stubs, header chains, blocks)."""
        return self.envelope.pdus(self)


def codec_in(value: Mapping[str, Any]) -> str | None:
    """The codec that an address-book body or stub names: by a CodePage of its own, or by the one of its STAT."""
    stat = value.get("State") or value.get("pStat") or {}
    page = value.get("CodePage") or value.get("dwCodePage") or stat.get("CodePage")
    return codec_name(page) if page else None


@dataclass(slots=True, eq=False)
class Call:
    """transport: "mapi-http", "rpc-tcp" or "rpc-http". name: "Execute", "EcDoRpcExt2", "NspiQueryRows", ..."""

    transport: str
    name: str
    connection: Any
    request: Side | None
    response: Side | None
