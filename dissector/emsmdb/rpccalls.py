"""EMSMDB, AsyncEMSMDB, NSPI and RFR calls over DCE/RPC [MS-OXCRPC] 3.1.4, [MS-OXNSPI] 3.1.4, [MS-OXABREF] 3.1.4.

The bind tells the interface. Where the capture began after it, a call is recognised by the shape of its stub: counts
that agree with each other, and a payload that is a ROP buffer. What cannot be known without the bind is said
(NO_CONTEXT). EcDoRpc and EcDoRpcExt2, which are nearly all of the traffic, are taken apart with struct for the lists;
trees and rebuilt bytes come from the Layouts.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Any

from construct import ConstructError, Container

from dissector.emsmdb import buffers
from dissector.emsmdb.call import Call, Known, Pdu, RopBufferTree, Side, codec_in
from dissector.grammar import base, layouts, reading
from dissector.grammar.envelopes import ASYNC_EMSMDB, EMSMDB, RFR, RPC_NAMES, RpcDef
from dissector.grammar.names import enum_name
from dissector.grammar.nspi import NSPI
from dissector.grammar.pdu import NDR64, build_pdu, parse_pdu, trace_pdu
from dissector.node import Diagnostic, Node, Severity, Undecoded
from dissector.source import ByteSource
from dissector.transport.messages import RpcCall, RpcMessage

EMSMDB_UUID = uuid.UUID("a4f1db00-ca47-1067-b31f-00dd010662da")
ASYNC_EMSMDB_UUID = uuid.UUID("5261574a-4572-206e-b268-6b199213b4e4")
NSPI_UUID = uuid.UUID("f5cc5a18-4264-101a-8c59-08002b2f8426")
RFR_UUID = uuid.UUID("1544f5e0-613c-11d1-93df-00c04fd7bd09")

INTERFACES: Mapping[uuid.UUID, tuple[str, Mapping[int, RpcDef]]] = {
    EMSMDB_UUID: ("EMSMDB", EMSMDB),
    ASYNC_EMSMDB_UUID: ("AsyncEMSMDB", ASYNC_EMSMDB),
    NSPI_UUID: ("NSPI", NSPI),
    RFR_UUID: ("RFR", RFR),
}

EC_DO_RPC, EC_DO_CONNECT_EX, EC_DO_RPC_EXT2 = 2, 10, 11


def call_from(rpc: RpcCall, known: Known | None = None) -> Call | None:
    """The call in an RpcCall, or None where it is none of these interfaces. Never raises.

    known: what earlier calls without a bind showed; kept by the caller, who gives the same mapping for each call of a
    capture. Calls whose stubs say little (EcDoDisconnect) are recognised by it.
    """
    interface, guessed = rpc.interface, False
    opnum = rpc.opnum
    if interface is None:
        place = rpc.connection.number, rpc.context_id
        opnum = _recognised(rpc)
        if opnum is not None:
            interface, guessed = EMSMDB_UUID, True
            if known is not None:
                known[place] = EMSMDB_UUID
        elif known is not None and place in known and rpc.opnum is not None:
            interface, guessed, opnum = known[place], True, rpc.opnum
    if interface is None or interface not in INTERFACES:
        return None
    label, operations = INTERFACES[interface]
    found = operations.get(opnum) if opnum is not None else None
    name = found.name if found else _name(label, opnum)
    sides = [
        _side(rpc, message, found, name, interface, opnum, guessed) if message is not None else None
        for message in (rpc.request, rpc.response)
    ]
    return Call(rpc.transport, name, rpc.connection, *sides)


def _name(label: str, opnum: int | None) -> str:
    if opnum is None:
        return f"{label} response"
    return RPC_NAMES.get(opnum, f"{label} opnum {opnum}") if label == "EMSMDB" else f"{label} opnum {opnum}"


def _side(
    rpc: RpcCall,
    message: RpcMessage,
    definition: RpcDef | None,
    name: str,
    interface: uuid.UUID,
    opnum: int | None,
    guessed: bool,
) -> Side:
    request = message is rpc.request
    layout = (definition.request if request else definition.response) if definition else None
    notes = list(message.diagnostics)
    if guessed:
        notes.append(
            Diagnostic(Severity.NO_CONTEXT, f"the bind is not in the capture: {name} is known by the shape of its stub")
        )
    unread = _unread(rpc, message, layout, name)
    if unread is not None:
        layout = None
        notes.append(unread)
    opened = OPENED.get((opnum, request), ()) if interface == EMSMDB_UUID and opnum is not None else ()
    kind = "request" if request else "response"
    envelope = RpcEnvelope(message, f"{name} {kind}", layout, not rpc.little_endian, opened, notes, unread)
    side = Side(message.last_frame, message.last_time, envelope, diagnostics=notes)
    if message.fault is not None:
        side.fields["Fault"] = side.return_code = message.fault
    elif layout is not None:
        fast = _FAST.get((opnum, request)) if interface == EMSMDB_UUID and rpc.little_endian else None
        if fast is None or not fast(side, message.stub):
            _fields(side, envelope, layout)
    return side


def _unread(rpc: RpcCall, message: RpcMessage, layout: layouts.Layout | None, name: str) -> Diagnostic | None:
    """Why a stub cannot be read at all; None where it can."""
    if message.sealed:
        return Diagnostic(Severity.NO_CONTEXT, "the stub is sealed (packet privacy) and cannot be read without its key")
    if rpc.transfer_syntax == NDR64:
        return Diagnostic(Severity.NO_CONTEXT, "the stub is in NDR64, which is not supported")
    if message.fault is not None:
        return None
    if layout is None:
        why = "its request is not in the capture" if rpc.opnum is None else "no layout is published"
        return Diagnostic(Severity.NO_CONTEXT, f"the stub of {name} cannot be read: {why}")
    return None


def key_of(handle: bytes, name: str = "cxh") -> tuple[str, ...]:
    """The session key of a context handle on the wire (little-endian); none for the null handle."""
    return (f"{name}={uuid.UUID(bytes_le=handle[4:20])}",) if any(handle[4:20]) else ()


_HANDLES = {"acxh": "acxh", "pacxh": "acxh", "pcxh": "cxh", "hRpc": "nspi", "contextHandle": "nspi"}


def _fields(side: Side, envelope: RpcEnvelope, layout: layouts.Layout) -> None:
    """Fields, session keys, code page and payloads of any stub, by its Layout."""
    source = envelope.message.stub
    try:
        value, _ = reading.parse(layout, source.data, big_endian=envelope.big_endian)
    except base.GrammarError as error:
        side.diagnostics.append(Diagnostic(error.severity, f"{envelope.name}: {error.message}"))
        value = Container()
    side.codepage = codec_in(value)
    for name, one in value.items():
        if name in _HANDLES and one.Uuid.int:
            side.session_keys = (*side.session_keys, f"{_HANDLES[name]}={one.Uuid}")
        scalar = _scalar(one)
        if scalar is not None:
            side.fields[name] = scalar
    side.return_code = value.get("ReturnValue")
    if envelope.opened:
        _payloads_by_tree(side, envelope, layout)


def _scalar(value: Any) -> Any:
    while isinstance(value, Container) and "Value" in value:
        value = value["Value"]
    return None if isinstance(value, bytes | list | Container) else value


def _payloads_by_tree(side: Side, envelope: RpcEnvelope, layout: layouts.Layout) -> None:
    tree = reading.trace(layout, envelope.message.stub, "", big_endian=envelope.big_endian)
    for name, opener in envelope.opened.items():
        data, end = _buffer(tree, name)
        if data is not None and opener != "auxiliary":
            _take(side, data.source, data.offset, end, opener)


def _take(side: Side, source: ByteSource, offset: int, end: int, opener: str) -> None:
    if opener == "rop":
        payload = plain_rop(source, offset, end - offset)
        if payload is not None:
            side.payloads.append(payload)
        return
    found = buffers.chain(source, offset, end, "ROP buffer")
    side.payloads.extend(part.plain for part in found.parts)
    side.chain = found
    side.diagnostics.extend(found.diagnostics)


def _buffer(tree: Node, name: str) -> tuple[Node | None, int]:
    """The Data leaf of a buffer parameter, and where its bytes end (also where it was cut off)."""
    parameter = next((child for child in tree.children if child.name == name), None)
    data = parameter.children[-1] if parameter is not None and parameter.children else None
    if data is None or data.name != "Data":
        return None, 0
    if not data.diagnostics:
        return data, data.end
    return data, len(data.source.data)


def plain_rop(source: ByteSource, offset: int, length: int) -> ByteSource | None:
    """The ROP buffer of EcDoRpc, which has no RPC_HEADER_EXT: every byte XOR 0xA5. None where there is no byte.

    Bytes that make sense only as they are (RopSize fits, and does not fit after XOR) are taken as they are. The source
    says which it was: no Flags do.
    """
    stored = source.data[offset : offset + length]
    if not stored:
        return None
    plain, label = buffers.xored(stored), "ROP buffer, XOR 0xA5 undone"
    if not _fits(plain) and _fits(stored):
        plain, label = stored, "ROP buffer"
    return source.derive(label, offset, len(stored), plain)


def _fits(data: bytes) -> bool:
    """Whether this can be a ROP buffer: RopSize, at least counting itself, and then whole handles."""
    size = int.from_bytes(data[:2], "little")
    return 2 <= size <= len(data) and (len(data) - size) % 4 == 0


# --- the two calls that carry ROPs, without the cost of their Layouts -------------------------------------------------

_ARRAY = Struct("<III")
_RPC_REQUEST = Struct("<HH")
_U32 = Struct("<I")


def _ec_do_rpc_request(side: Side, source: ByteSource) -> bool:
    """EcDoRpc request. False, with nothing done, where the stub is not of the usual shape."""
    data = source.data
    if len(data) < 36:
        return False
    _, _, size = _ARRAY.unpack_from(data, 20)
    at = 32 + size + (size & 1)
    if len(data) < at + 4:
        return False
    side.session_keys = key_of(data)
    side.fields["pcb"], side.fields["cbMax"] = _RPC_REQUEST.unpack_from(data, at)
    _take(side, source, 32, 32 + size, "rop")
    return True


def _ec_do_rpc_response(side: Side, source: ByteSource) -> bool:
    data = source.data
    if len(data) < 36:
        return False
    _, _, size = _ARRAY.unpack_from(data, 20)
    at = 32 + size + (size & 1)
    behind = at + 2 + (-(at + 2) & 3)
    if len(data) < behind + 4:
        return False
    side.session_keys = key_of(data)
    side.fields["pcb"] = int.from_bytes(data[at : at + 2], "little")
    side.fields["ReturnValue"] = side.return_code = _U32.unpack_from(data, behind)[0]
    _take(side, source, 32, 32 + size, "rop")
    return True


def _ec_do_rpc_ext2_request(side: Side, source: ByteSource) -> bool:
    data = source.data
    if len(data) < 36:
        return False
    flags, size = _U32.unpack_from(data, 20)[0], _U32.unpack_from(data, 24)[0]
    at = 28 + size + (-size & 3)
    if len(data) < at + 12:
        return False
    cb_in, cb_out, aux = _ARRAY.unpack_from(data, at)
    tail = at + 12 + aux + (-aux & 3)
    if len(data) < tail + 8:
        return False
    side.session_keys = key_of(data)
    side.fields.update(pulFlags=flags, cbIn=cb_in, pcbOut=cb_out)
    side.fields["cbAuxIn"], side.fields["pcbAuxOut"] = (
        _U32.unpack_from(data, tail)[0],
        _U32.unpack_from(data, tail + 4)[0],
    )
    _take(side, source, 28, 28 + size, "chain")
    return True


def _ec_do_rpc_ext2_response(side: Side, source: ByteSource) -> bool:
    data = source.data
    if len(data) < 40:
        return False
    flags, size = _U32.unpack_from(data, 20)[0], _U32.unpack_from(data, 32)[0]
    at = 36 + size + (-size & 3)
    if len(data) < at + 16:
        return False
    cb_out, aux = _U32.unpack_from(data, at)[0], _U32.unpack_from(data, at + 12)[0]
    tail = at + 16 + aux + (-aux & 3)
    if len(data) < tail + 12:
        return False
    side.session_keys = key_of(data)
    cb_aux, trans, code = _ARRAY.unpack_from(data, tail)
    side.fields.update(pulFlags=flags, pcbOut=cb_out, pcbAuxOut=cb_aux, pulTransTime=trans, ReturnValue=code)
    side.return_code = code
    _take(side, source, 36, 36 + size, "chain")
    return True


_FAST: Mapping[tuple[int | None, bool], Any] = {
    (EC_DO_RPC, True): _ec_do_rpc_request,
    (EC_DO_RPC, False): _ec_do_rpc_response,
    (EC_DO_RPC_EXT2, True): _ec_do_rpc_ext2_request,
    (EC_DO_RPC_EXT2, False): _ec_do_rpc_ext2_response,
}

OPENED: Mapping[tuple[int, bool], Mapping[str, str]] = {
    (2, True): {"rgb": "rop"},
    (2, False): {"rgb": "rop"},
    (9, True): {"rgbIn": "chain", "rgbAuxIn": "auxiliary"},
    (9, False): {"rgbOut": "chain", "rgbAuxOut": "auxiliary"},
    (10, True): {"rgbAuxIn": "auxiliary"},
    (10, False): {"rgbAuxOut": "auxiliary"},
    (11, True): {"rgbIn": "chain", "rgbAuxIn": "auxiliary"},
    (11, False): {"rgbOut": "chain", "rgbAuxOut": "auxiliary"},
}
"""The buffer parameters of EMSMDB calls and what is in them, by opnum and whether it is the request."""


# --- calls without a bind ---------------------------------------------------------------------------------------------


def _recognised(rpc: RpcCall) -> int | None:
    """The EMSMDB opnum of a call whose bind is not in the capture; None where its stubs do not tell."""
    if rpc.request is not None and rpc.request.fault is None and not rpc.request.sealed:
        data = rpc.request.stub.data
        test = _SHAPES.get(rpc.opnum) if rpc.opnum is not None else None
        return rpc.opnum if test is not None and rpc.little_endian and test(data) else None
    if rpc.request is None and rpc.response is not None and rpc.response.fault is None and not rpc.response.sealed:
        data = rpc.response.stub.data
        if rpc.little_endian and _is_rpc_response(data):
            return EC_DO_RPC
        if rpc.little_endian and _is_rpc_ext2_response(data):
            return EC_DO_RPC_EXT2
    return None


def _handle(data: bytes) -> bool:
    return data[:4] == bytes(4) and any(data[4:20])


def _is_rpc_request(data: bytes) -> bool:
    if len(data) < 36 or not _handle(data):
        return False
    most, offset, size = _ARRAY.unpack_from(data, 20)
    at = 32 + size + (size & 1)
    if offset or not 2 <= size <= most or len(data) < at + 4:
        return False
    length, limit = _RPC_REQUEST.unpack_from(data, at)
    return bool(length == size and limit == most and (_fits(buffers.xored(data[32 : 32 + size]))))


def _is_rpc_response(data: bytes) -> bool:
    if len(data) < 36 or not _handle(data):
        return False
    most, offset, size = _ARRAY.unpack_from(data, 20)
    at = 32 + size + (size & 1)
    if offset or not 2 <= size <= most or len(data) < at + 2:
        return False
    return int.from_bytes(data[at : at + 2], "little") == size and _fits(buffers.xored(data[32 : 32 + size]))


def _extended(data: bytes) -> bool:
    """Whether a buffer begins with an RPC_HEADER_EXT that could be true."""
    if len(data) < buffers.HEADER.size:
        return False
    version, flags, size, actual = buffers.HEADER.unpack_from(data)
    return bool(not version and flags < 8 and 8 + size <= len(data) and (flags & 1 or actual == size))


def _is_rpc_ext2_request(data: bytes) -> bool:
    if len(data) < 48 or not _handle(data):
        return False
    flags, size = _U32.unpack_from(data, 20)[0], _U32.unpack_from(data, 24)[0]
    at = 28 + size + (-size & 3)
    if flags > 7 or len(data) < at + 12:
        return False
    return bool(_U32.unpack_from(data, at)[0] == size and _extended(data[28 : 28 + size]))


def _is_rpc_ext2_response(data: bytes) -> bool:
    if len(data) < 56 or not _handle(data):
        return False
    _, offset, size = _ARRAY.unpack_from(data, 24)
    at = 36 + size + (-size & 3)
    if offset or len(data) < at + 16:
        return False
    return bool(_U32.unpack_from(data, at)[0] == size and _extended(data[36 : 36 + size]))


def _is_connect(opnum: int, data: bytes) -> bool:
    """Whether the stub is a user's DN and then exactly the numbers of EcDoConnect or EcDoConnectEx."""
    try:
        value, end = reading.parse(EMSMDB[opnum].request, data)
    except base.GrammarError:
        return False
    name = value.szUserDN
    if name.Offset or name.MaxCount != name.ActualCount or not str(name.Value).startswith("/"):
        return False
    return end == len(data) and (opnum == 0 or value.rgbAuxIn.MaxCount == value.cbAuxIn)


def _is_old_connect(data: bytes) -> bool:
    return _is_connect(0, data)


def _is_connect_ex(data: bytes) -> bool:
    return _is_connect(EC_DO_CONNECT_EX, data)


_SHAPES: Mapping[int, Any] = {
    0: _is_old_connect,
    EC_DO_RPC: _is_rpc_request,
    EC_DO_CONNECT_EX: _is_connect_ex,
    EC_DO_RPC_EXT2: _is_rpc_ext2_request,
}


# --- trees and rebuilt bytes ------------------------------------------------------------------------------------------


class RpcEnvelope:
    """A stub in its PDUs.

    opened: what the buffer parameters hold. notes: what is to be said about the whole, unread among them: why the stub
    is opaque.
    """

    __slots__ = ("big_endian", "layout", "message", "name", "notes", "opened", "unread")

    def __init__(
        self,
        message: RpcMessage,
        name: str,
        layout: layouts.Layout | None,
        big_endian: bool,
        opened: Any,
        notes: list[Diagnostic],
        unread: Diagnostic | None,
    ) -> None:
        self.message, self.name, self.layout = message, name, layout
        self.big_endian, self.opened, self.notes, self.unread = big_endian, opened or {}, tuple(notes), unread

    def tree(self, side: Side, rop_buffer: RopBufferTree) -> Node:
        """PDU by PDU, and the stub below the stub_data it was taken from (below the last one when it was joined)."""
        stub = self.message.stub
        root = Node(self.name, stub, 0, len(stub))
        root.diagnostics.extend(note for note in self.notes if note is not self.unread)
        holders: list[Node] = []
        for source in self.message.pdus:
            pdu = trace_pdu(source)
            root.children.append(pdu)
            holders += [node for node in pdu.walk() if node.name == "stub_data" and not node.children]
        tree = self._stub_tree(side, rop_buffer)
        if tree is None:
            return root
        if len(holders) == len(self.message.pdus):
            for holder in holders:
                holder.value = None
            holders[-1].children.append(tree)
        else:
            root.children.append(tree)
        return root

    def _stub_tree(self, side: Side, rop_buffer: RopBufferTree) -> Node | None:
        stub = self.message.stub
        if self.layout is None or self.message.fault is not None:
            if not stub.data:
                return None
            name = "Sealed stub" if self.message.sealed else "Stub"
            reasons = (
                [self.unread] if self.unread else [Diagnostic(Severity.NOTE, "bytes behind the status of a fault")]
            )
            return Node(name, stub, 0, len(stub), Undecoded(stub.data), diagnostics=reasons)
        node = reading.trace(self.layout, stub, self.name, big_endian=self.big_endian, codepage=side.codepage)
        for name, opener in self.opened.items():
            data, end = _buffer(node, name)
            if data is None or end == data.offset:
                continue
            if opener == "rop":
                payload = plain_rop(stub, data.offset, end - data.offset)
                if payload is not None:
                    data.children, data.value, data.length = [rop_buffer(0, payload)], None, end - data.offset
            elif opener == "chain":
                buffers.open_chain(data, end, "ROP buffer", rop_buffer, side.chain)
            else:
                buffers.open_chain(data, end, "auxiliary buffer", buffers.auxiliary_tree)
            parameter = next(child for child in node.children if child.name == name)
            parameter.length = max(parameter.length, data.end - parameter.offset)
            node.length = max(node.length, data.end - node.offset)
        return buffers.filled(node, len(stub))

    def pdus(self, side: Side) -> Iterator[Pdu]:
        for source in self.message.pdus:
            yield Pdu("DCE/RPC PDU", source.data, _rebuilt_pdu(source.data))
        stub = self.message.stub
        if self.layout is None or self.message.fault is not None or not stub.data:
            return
        params = {"big_endian": self.big_endian, "codepage": side.codepage}
        yield Pdu(f"{self.name} stub", stub.data, buffers.rebuilt(self.layout, stub.data, **params))
        tree = reading.trace(self.layout, stub, self.name, big_endian=self.big_endian)
        for name, opener in self.opened.items():
            data, end = _buffer(tree, name)
            if data is None or end == data.offset:
                continue
            if opener == "chain":
                yield from buffers.chain_pdus("ROP buffer chain", stub, data.offset, end)
            elif opener == "auxiliary":
                yield from buffers.auxiliary_pdus(stub, data.offset, end)


def _rebuilt_pdu(data: bytes) -> bytes | None:
    try:
        return build_pdu(parse_pdu(data))
    except (base.GrammarError, ConstructError):
        return None


def fault_name(status: int) -> str:
    """'nca_s_op_rng_error' for 0x1C010002; '' where no name is known."""
    return enum_name("FaultStatus", status)
