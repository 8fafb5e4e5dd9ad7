"""Bytes without a capture: `dissector decode KIND`. A kind reads a ByteSource into a tree.

Kinds that name a layout read it and show what is left over. ROP buffers and MAPI/HTTP bodies go through the session
layer, as in a capture of one exchange. ROPs by name: `rop:RopSetColumns`, `rop-response:RopSetColumns`. FastTransfer
streams by what they are: `fasttransfer:contentsSync`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from construct import Construct

from dissector.emsmdb import buffers, calls_from
from dissector.errors import DissectorError
from dissector.grammar.auxiliary import AuxBlocks
from dissector.grammar.entryids import EntryId
from dissector.grammar.envelopes import MAILBOX
from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.ics import ROOTS
from dissector.grammar.icstree import trace_stream
from dissector.grammar.idset import IDSET_REPLGUID, IDSET_REPLID, SET_FORMS, Globset
from dissector.grammar.layouts import RowsToEnd
from dissector.grammar.names import property_name
from dissector.grammar.nspi import ADDRESS_BOOK
from dissector.grammar.properties import TaggedPropertyValue
from dissector.grammar.reading import trace
from dissector.grammar.restrictions import Restriction
from dissector.grammar.rops import BY_NAME
from dissector.grammar.xid import PredecessorChangeList, Xid
from dissector.node import Node, Severity, undecoded
from dissector.session.roplist import read_requests, read_responses, response_form, unreadable
from dissector.session.tracker import Tracker
from dissector.source import ByteSource
from dissector.transport.messages import HttpExchange, HttpMessage

Kind = Callable[[ByteSource], Node]


def whole(layout: Construct, name: str) -> Kind:
    """A kind that reads one layout; bytes behind it stay visible as left over."""

    def read(source: ByteSource) -> Node:
        node = trace(layout, source, name)
        if node.end < len(source.data):
            failed = any(found.diagnostics for found in node.walk())
            rest = undecoded(source, node.end, len(source.data) - node.end, Severity.MALFORMED, "bytes are left over")
            if failed:
                rest.diagnostics.clear()
            node.children.append(rest)
            node.length = len(source.data)
        return node

    return read


def rop_requests(source: ByteSource) -> Node:
    return read_requests(source, lambda definition, logon_id: {}).node("ROP buffer of a request")


def rop_responses(source: ByteSource) -> Node:
    buffer = read_responses(source, [], set(), lambda *_: {}, lambda side, position: None)
    return buffer.node("ROP buffer of a response")


def rop_buffer(source: ByteSource) -> Node:
    """As a request or as a response, whichever leaves fewer bytes undecoded (a request where both do)."""
    return min((rop_requests(source), rop_responses(source)), key=_undecoded_bytes)


def _undecoded_bytes(tree: Node) -> int:
    return sum(leaf.length for leaf in tree.leaves() if leaf.name == "Undecoded")


def chain(source: ByteSource) -> Node:
    """A chain of RPC_HEADER_EXT blocks, each with its ROP buffer."""
    root = Node("RPC_HEADER_EXT chain", source, 0, len(source.data), spec="MS-OXCRPC 2.2.2.1")
    root.children = buffers.chain_nodes(
        source, 0, len(source.data), "ROP buffer", lambda index, payload: rop_buffer(payload)
    )
    return root


def mapi_http(kind: str, request_type: str) -> Kind:
    """A MAPI/HTTP message: with its HTTP head (as it stands in a saved request), or the body alone."""

    def read(source: ByteSource) -> Node:
        message = _http_message(kind, request_type, source)
        exchange = HttpExchange(None, message, None) if kind == "request" else HttpExchange(None, None, message)  # type: ignore[arg-type]
        call = calls_from(exchange)
        if call is None:
            raise DissectorError(f"this {kind} has no X-RequestType header and is no MAPI/HTTP message")
        made = Tracker().exchange(call)
        tree = made.request_tree() if kind == "request" else made.response_tree()
        assert tree is not None
        return tree

    return read


def _http_message(kind: str, request_type: str, source: ByteSource) -> HttpMessage:
    data = source.data
    start = b"POST " if kind == "request" else b"HTTP/"
    end = data.find(b"\r\n\r\n") + 4 if data.startswith(start) else 0
    if end:
        lines = data[:end].decode("latin-1").split("\r\n")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line)]
        first = lines[0]
    else:
        first = "POST /mapi/emsmdb/ HTTP/1.1" if kind == "request" else "HTTP/1.1 200 OK"
        headers = [("Content-Type", "application/mapi-http"), ("X-RequestType", request_type)]
        if kind == "response":
            headers.append(("X-ResponseCode", "0"))
    if any(name.lower() == "transfer-encoding" for name, _ in headers):
        raise DissectorError("the body is chunked: give it without Transfer-Encoding, or dissect a capture")
    head = source.derive("HTTP head", 0, end)
    body = source.derive("HTTP body", end, len(data) - end)
    return HttpMessage(kind, first, headers, head, body, source, 0, 0.0, 0, 0.0)


def fasttransfer(root: str | None, source: ByteSource) -> Node:
    return trace_stream(source, root)


def state(source: ByteSource) -> Node:
    """An ICS state: the element of a stream, its properties without the markers, or JSON of the sets' bytes."""
    if source.data.lstrip()[:1] == b"{":
        return _state_json(source)
    marked = source.data.startswith(MARKER["IncrSyncStateBegin"].to_bytes(4, "little"))
    return trace_stream(source, "state") if marked else trace_stream(source, None, name="state")


def _state_json(source: ByteSource) -> Node:
    """{"40170003": "hex", ...} or {"40170003": {"bytes": "hex", ...}, ...}: the sets by property tag."""
    root = Node("state", source, 0, len(source.data))
    try:
        for tag, value in json.loads(source.data).items():
            number = int(tag, 16)
            name = property_name(number) or f"0x{number:08X}"
            data = bytes.fromhex(value["bytes"] if isinstance(value, dict) else value)
            form = SET_FORMS.get(number >> 16)
            if form is None:
                raise DissectorError(f"{name} is no property of a state")
            root.children.append(whole(form, name)(ByteSource(name, data)))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DissectorError(f"no state as JSON, {{tag: bytes in hex}}: {error}") from error
    return root


LAYOUTS: Mapping[str, tuple[Construct, str]] = {
    "property-values": (RowsToEnd(TaggedPropertyValue), "TaggedPropertyValues as in a ROP buffer"),
    "restriction": (Restriction, "a restriction as in a ROP buffer"),
    "entry-id": (EntryId, "an entry id of any provider"),
    "xid": (Xid, "an XID (change key, source key)"),
    "pcl": (PredecessorChangeList, "a PredecessorChangeList"),
    "idset": (IDSET_REPLGUID, "an IDSET with REPLGUIDs, as kept between sessions (MetaTagIdsetGiven)"),
    "cnset": (IDSET_REPLGUID, "a CNSET with REPLGUIDs (MetaTagCnsetSeen, ...SeenFAI, ...Read)"),
    "idset-replid": (IDSET_REPLID, "an IDSET with REPLIDs (MetaTagIdsetDeleted and its like)"),
    "globset": (Globset(), "the commands of one GLOBSET"),
    "auxiliary": (AuxBlocks, "AUX_HEADER blocks of an auxiliary buffer"),
}


def _kinds() -> Iterator[tuple[str, str, Kind]]:
    yield "rop-buffer", "a ROP buffer: RopSize, ROPs, handle table (request or response, whichever fits)", rop_buffer
    yield "rop-buffer-request", "a ROP buffer of a request", rop_requests
    yield "rop-buffer-response", "a ROP buffer of a response", rop_responses
    yield "rpc-header-ext", "RPC_HEADER_EXT blocks with their ROP buffers, obfuscated and compressed or not", chain
    for kind in ("request", "response"):
        name = f"mapihttp-{kind}"
        yield name, f"a MAPI/HTTP {kind}: with its HTTP head, or an Execute body alone", mapi_http(kind, "Execute")
        for body in (*MAILBOX, *ADDRESS_BOOK):
            yield f"{name}:{body}", f"the body of a {body} {kind}", mapi_http(kind, body)
    for name, (layout, about) in LAYOUTS.items():
        yield name, about, whole(layout, name)
    yield "state", "an ICS state: the element of a stream, its properties alone, or JSON from streams --extract", state
    for root in ROOTS:
        yield f"fasttransfer:{root}", f"a FastTransfer stream: {root}", partial(fasttransfer, root)
    yield "fasttransfer", "elements of a FastTransfer stream, one after another", partial(fasttransfer, None)


def kinds() -> Iterator[tuple[str, str]]:
    """(kind, what it is) of every kind; ROPs stand as one line."""
    for name, about, _ in _kinds():
        yield name, about
    yield "rop:NAME", "the request of one ROP, from its RopId on, e.g. rop:RopSetColumns"
    yield "rop-response:NAME", "the response of one ROP"


def decode_bytes(kind: str, data: bytes) -> Node:
    """The tree of data read as `kind`. Raises DissectorError for a kind that does not exist."""
    source = ByteSource(kind, data)
    prefix, _, name = kind.partition(":")
    if prefix in ("rop", "rop-response") and name:
        return _rop_kind(prefix, name, data)(source)
    for known, _, read in _kinds():
        if known == kind:
            return read(source)
    raise DissectorError(f"no kind is called {kind!r}; `dissector decode list` names them")


def _rop_kind(prefix: str, name: str, data: bytes) -> Kind:
    definition = BY_NAME.get(name)
    if definition is None:
        raise DissectorError(f"no ROP is called {name}; `dissector rops` lists them")
    if prefix == "rop":
        layout: Construct | None = definition.request
    else:
        layout = response_form(definition, data, 0, len(data), {})
    if layout is None:
        raise DissectorError(unreadable(definition.rop_id, definition, prefix != "rop", 0).message)
    return whole(layout, f"{name} {'request' if prefix == 'rop' else 'response'}")
