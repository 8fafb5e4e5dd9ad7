"""DCE/RPC PDUs of connection-oriented RPC (C706 chapter 12, [MS-RPCE] 2.2.2) and RTS PDUs [MS-RPCH] 2.2.3.

Byte 4 of every PDU (packed_drep) tells the byte order of all its numbers, so there is one set of layouts for each
order; layout_of() picks by the first bytes. Every PDU has the same shape: a header of 16 bytes, a body inside its own
size, and where auth_length is nonzero a sec_trailer with auth_value at the very end. What is left of a body behind its
last field is the padding in front of the trailer; only stubs must be told how much of it there is (Param auth_pad),
because their own length is nowhere. parse_pdu, trace_pdu and build_pdu see to all that.

pduheader.py is the fast way to what a transport needs of a PDU; the layouts are for bodies, trees and building.
"""

from __future__ import annotations

import uuid
from typing import Any

from construct import Construct, Container, Int16ub, Int32ub, this

from dissector.grammar.base import GrammarError, Param, build, read
from dissector.grammar.layouts import Choice, Count, Fixed, Layout, Multi, Rows, Sized, SizeOf, When, WhenMore
from dissector.grammar.leaves import U8, U16, U32, Data, Enumerated, Flags, Guid, Labelled, Rest, Str8
from dissector.grammar.names import guid_name
from dissector.grammar.pduheader import (
    ALTER_CONTEXT,
    ALTER_CONTEXT_RESP,
    AUTH3,
    BIND,
    BIND_ACK,
    BIND_NAK,
    CO_CANCEL,
    DID_NOT_EXECUTE,
    FAULT,
    FIRST_FRAG,
    HEADER_SIZE,
    LAST_FRAG,
    MAYBE,
    NDR,
    NDR64,
    OBJECT_UUID,
    ORPHANED,
    PRIVACY,
    REQUEST,
    RESPONSE,
    RTS,
    SHUTDOWN,
    SMALLEST,
    TRAILER_SIZE,
    Header,
    auth_pad,
    could_be_header,
    ptype_name,
    read_header,
)
from dissector.grammar.reading import parse, trace
from dissector.node import Node, Severity, undecoded
from dissector.source import ByteSource


class _GuidBig(Construct):  # type: ignore[misc]
    """A UUID whose fields are big-endian. The value is a uuid.UUID."""

    def _parse(self, stream: Any, context: Container, path: str) -> uuid.UUID:
        return uuid.UUID(bytes=read(stream, 16, path))

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        stream.write(obj.bytes)
        return obj

    def label(self, value: uuid.UUID) -> str:
        return guid_name(value)


class _Version(Labelled):
    """An interface version as u32: major in the low half, minor in the high half."""

    def label(self, value: int) -> str:
        return version_text(value)


def version_text(value: int) -> str:
    """'0.81' for 0x00510000."""
    return f"{value & 0xFFFF}.{value >> 16}"


def _pdus(u16: Construct, u32: Construct, guid: Construct) -> dict[int | None, Layout]:
    """The layouts of one byte order, by PTYPE; None is the key of every other type."""
    body_size = this.frag_length - HEADER_SIZE - (this.auth_length > 0) * (this.auth_length + TRAILER_SIZE)
    outer_size = this._.frag_length - HEADER_SIZE - (this._.auth_length > 0) * (this._.auth_length + TRAILER_SIZE)

    drep = Layout(
        "integer_character" / Fixed(Enumerated(U8, "DrepIntegerCharacter"), 0x10),
        "floating_point" / Fixed(Enumerated(U8, "DrepFloatingPoint"), 0),
        "reserved" / Fixed(u16, 0),
        name="packed_drep",
        spec="C706 14.1",
    )
    sec_trailer = Layout(
        "auth_type" / Enumerated(U8, "AuthType"),
        "auth_level" / Enumerated(U8, "AuthLevel"),
        "auth_pad_length" / Fixed(U8, 0),
        "auth_reserved" / Fixed(U8, 0),
        "auth_context_id" / Fixed(u32, 0),
        name="sec_trailer",
        spec="MS-RPCE 2.2.2.11",
    )
    syntax = Layout("if_uuid" / guid, "if_version" / _Version(u32), name="p_syntax_id_t", spec="C706 12.6.3.1")
    padding = "auth_pad" / WhenMore(Rest)

    def pdu(ptype: int, name: str, spec: str, *fields: Any) -> Layout:
        return Layout(
            "rpc_vers" / Fixed(U8, 5),
            "rpc_vers_minor" / Fixed(U8, 0),
            "PTYPE" / Fixed(Enumerated(U8, "PTYPE"), ptype),
            "pfc_flags" / Fixed(Flags(U8, "PfcFlags"), FIRST_FRAG | LAST_FRAG),
            "packed_drep" / drep,
            "frag_length" / SizeOf(u16, "body", "sec_trailer", "auth_value", plus=HEADER_SIZE),
            "auth_length" / SizeOf(u16, "auth_value"),
            "call_id" / u32,
            "body" / Sized(body_size, Layout(*fields, name=name, spec=spec)),
            "sec_trailer" / When(this.auth_length > 0, sec_trailer),
            "auth_value" / When(this.auth_length > 0, Data(this.auth_length)),
            name=f"{name} PDU",
            spec=spec,
        )

    context_element = Layout(
        "p_cont_id" / u16,
        "n_transfer_syn" / Count(U8, "transfer_syntaxes"),
        "reserved" / Fixed(U8, 0),
        "abstract_syntax" / syntax,
        "transfer_syntaxes" / Rows(this.n_transfer_syn, syntax),
        name="p_cont_elem_t",
        spec="C706 12.6.3.1",
    )
    bind = (
        "max_xmit_frag" / u16,
        "max_recv_frag" / u16,
        "assoc_group_id" / u32,
        "n_context_elem" / Count(U8, "p_cont_elem"),
        "reserved" / Fixed(U8, 0),
        "reserved2" / Fixed(u16, 0),
        "p_cont_elem" / Rows(this.n_context_elem, context_element),
        padding,
    )
    result = Layout(
        "result" / Enumerated(u16, "BindResult"),
        "reason" / Enumerated(u16, "BindReason"),
        "transfer_syntax" / syntax,
        name="p_result_t",
        spec="C706 12.6.3.1",
    )
    to_align = (2 - this.length) % 4  # the result list begins at a multiple of 4 from the header
    bind_ack = (
        "max_xmit_frag" / u16,
        "max_recv_frag" / u16,
        "assoc_group_id" / u32,
        "length" / SizeOf(u16, "port_spec"),
        "port_spec" / When(this.length > 0, Sized(this.length, Str8)),
        "pad" / When(to_align, Data(to_align)),
        "n_results" / Count(U8, "p_results"),
        "reserved" / Fixed(U8, 0),
        "reserved2" / Fixed(u16, 0),
        "p_results" / Rows(this.n_results, result),
        padding,
    )
    protocol = Layout("major" / U8, "minor" / U8, name="p_rt_version_t", spec="C706 12.6.3.1")
    unused_pad = Param("auth_pad", 0)
    command = Layout(
        "CommandType" / Enumerated(u32, "RtsCommand"),
        "ReceiveWindowSize" / When(this.CommandType == 0, u32),
        "FlowControlAck" / When(this.CommandType == 1, Layout(
            "BytesReceived" / u32, "AvailableWindow" / u32, "ChannelCookie" / guid, spec="MS-RPCH 2.2.3.4",
        )),
        "ConnectionTimeout" / When(this.CommandType == 2, u32),
        "Cookie" / When(this.CommandType == 3, guid),
        "ChannelLifetime" / When(this.CommandType == 4, u32),
        "ClientKeepalive" / When(this.CommandType == 5, u32),
        "Version" / When(this.CommandType == 6, u32),
        "ConformanceCount" / When(this.CommandType == 8, SizeOf(u32, "Padding")),
        "Padding" / When(this.CommandType == 8, Data(this.ConformanceCount)),
        "ClientAddress" / When(this.CommandType == 11, Layout(
            "AddressType" / Enumerated(u32, "RtsAddressType"),
            "ClientAddress" / Choice(this.AddressType, {0: Data(4), 1: Data(16)}),
            "Padding" / Fixed(Data(12), bytes(12)),
            spec="MS-RPCH 2.2.3.2",
        )),
        "AssociationGroupId" / When(this.CommandType == 12, guid),
        "Destination" / When(this.CommandType == 13, Enumerated(u32, "RtsDestination")),
        "PingTrafficSent" / When(this.CommandType == 14, u32),
        name="RTS command",
        spec="MS-RPCH 2.2.3.5",
    )  # fmt: skip
    layouts = (
        pdu(
            REQUEST, "request", "C706 12.6.4.9",
            "alloc_hint" / Fixed(u32, 0),
            "p_cont_id" / u16,
            "opnum" / u16,
            "object" / When(this._.pfc_flags & OBJECT_UUID, guid),
            "stub_data" / Data(outer_size - 8 - ((this._.pfc_flags & OBJECT_UUID) >> 3) - unused_pad),
            padding,
        ),
        pdu(
            RESPONSE, "response", "C706 12.6.4.10",
            "alloc_hint" / Fixed(u32, 0),
            "p_cont_id" / u16,
            "cancel_count" / Fixed(U8, 0),
            "reserved" / Fixed(U8, 0),
            "stub_data" / Data(outer_size - 8 - unused_pad),
            padding,
        ),
        pdu(
            FAULT, "fault", "C706 12.6.4.7",
            "alloc_hint" / Fixed(u32, 0),
            "p_cont_id" / u16,
            "cancel_count" / Fixed(U8, 0),
            "fault_flags" / Fixed(Flags(U8, "FaultFlags"), 0),
            "status" / Enumerated(u32, "FaultStatus"),
            "reserved2" / WhenMore(Fixed(Data(4), bytes(4))),
            "stub_data" / WhenMore(Data(outer_size - 16 - unused_pad)),
            padding,
        ),
        pdu(BIND, "bind", "C706 12.6.4.3", *bind),
        pdu(BIND_ACK, "bind_ack", "C706 12.6.4.4", *bind_ack),
        pdu(
            BIND_NAK, "bind_nak", "C706 12.6.4.5",
            "provider_reject_reason" / Enumerated(u16, "BindNakReason"),
            "versions" / WhenMore(Multi(U8, protocol)),
            "extended_error" / WhenMore(Rest),
        ),
        pdu(ALTER_CONTEXT, "alter_context", "C706 12.6.4.1", *bind),
        pdu(ALTER_CONTEXT_RESP, "alter_context_resp", "C706 12.6.4.2", *bind_ack),
        pdu(AUTH3, "auth3", "MS-RPCE 2.2.2.5", "pad" / WhenMore(Rest)),
        pdu(SHUTDOWN, "shutdown", "C706 12.6.4.11", padding),
        pdu(CO_CANCEL, "co_cancel", "C706 12.6.4.6", padding),
        pdu(ORPHANED, "orphaned", "C706 12.6.4.8", padding),
        pdu(
            RTS, "rts", "MS-RPCH 2.2.3.6",
            "Flags" / Flags(u16, "RtsFlags"),
            "NumberOfCommands" / Count(u16, "Commands"),
            "Commands" / Rows(this.NumberOfCommands, command),
        ),
    )  # fmt: skip
    table: dict[int | None, Layout] = {one.subcons[2].subcon.value: one for one in layouts}
    table[None] = pdu(0, "unknown PDU", "C706 12.6", "data" / WhenMore(Rest))
    return table


LITTLE_ENDIAN = _pdus(U16, U32, Guid)
"""Layouts by PTYPE for PDUs with packed_drep integer representation 1; None is the key of unknown types."""

BIG_ENDIAN = _pdus(Int16ub, Int32ub, _GuidBig())


def layout_of(data: bytes, offset: int = 0) -> Layout:
    """The layout of the PDU at data[offset:], by its type and byte order. Never raises."""
    little = data[offset + 4 : offset + 5] >= b"\x10"
    table = LITTLE_ENDIAN if little else BIG_ENDIAN
    kind = data[offset + 2 : offset + 3]
    return table.get(kind[0] if kind else None) or table[None]


def _params(data: bytes, offset: int) -> dict[str, int]:
    header = read_header(data, offset)
    return {"auth_pad": auth_pad(data, header, offset)} if header is not None else {}


def parse_pdu(data: bytes, offset: int = 0) -> Any:
    """The values of the PDU at data[offset:] (fields of C706's names). Raises GrammarError, with the offset."""
    return parse(layout_of(data, offset), data, offset, **_params(data, offset))[0]


def trace_pdu(source: ByteSource, name: str = "", offset: int = 0, end: int | None = None) -> Node:
    """The annotated tree of the PDU that fills source.data[offset:end]; every byte is in it. Never raises."""
    stop = len(source.data) if end is None else min(end, len(source.data))
    data = source.data[offset:stop]
    layout = layout_of(data)
    node = trace(layout, source, name or layout.layout_name, offset, stop, **_params(data, 0))
    if node.end < stop:
        rest = undecoded(source, node.end, stop - node.end, Severity.MALFORMED, "bytes outside the PDU's layout")
        if any(child.diagnostics for child in node.walk()):
            rest.diagnostics.clear()  # the field where reading stopped says why
        node.children.append(rest)
        node.length = stop - offset
    return node


def build_pdu(value: Any) -> bytes:
    """The bytes of a PDU. frag_length, auth_length and counts are derived where the value does not have them.

    The byte order is that of packed_drep (little-endian without one). Raises construct's ConstructError.
    """
    drep = value.get("packed_drep") or {}
    table = LITTLE_ENDIAN if drep.get("integer_character", 0x10) & 0xF0 else BIG_ENDIAN
    return build(table.get(value["PTYPE"]) or table[None], value)


__all__ = [
    "ALTER_CONTEXT", "ALTER_CONTEXT_RESP", "AUTH3", "BIG_ENDIAN", "BIND", "BIND_ACK", "BIND_NAK", "CO_CANCEL",
    "DID_NOT_EXECUTE", "FAULT", "FIRST_FRAG", "HEADER_SIZE", "LAST_FRAG", "LITTLE_ENDIAN", "MAYBE", "NDR", "NDR64",
    "OBJECT_UUID", "ORPHANED", "PRIVACY", "REQUEST", "RESPONSE", "RTS", "SHUTDOWN", "SMALLEST", "GrammarError",
    "Header", "auth_pad", "build_pdu", "could_be_header", "layout_of", "parse_pdu", "ptype_name", "read_header",
    "trace_pdu", "version_text",
]  # fmt: skip
