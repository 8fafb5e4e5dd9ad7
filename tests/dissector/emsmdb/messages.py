"""Messages of the transport room made by hand, and what every side must hold."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

from dissector.emsmdb import Call, Side, calls_from
from dissector.emsmdb.rpccalls import EMSMDB_UUID
from dissector.node import Node, Severity
from dissector.source import ByteSource, Piece
from dissector.transport.messages import HttpExchange, HttpMessage, RpcCall, RpcMessage

CONNECTION: Any = SimpleNamespace(number=1)


def source(data: bytes, frame: int = 1) -> ByteSource:
    """Bytes that stand at offset 100 of a frame."""
    return ByteSource("test", data, [Piece(0, len(data), frame, 100, len(data))])


def http(kind: str, line: str, headers: dict[str, str] | list[tuple[str, str]], body: bytes) -> HttpMessage:
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    head = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    raw = f"{line}\r\n{head}\r\n".encode("latin-1")
    return HttpMessage(
        kind, line, pairs, source(raw), source(body, 2), source(raw + body), 1, 1.0, 3 if kind == "request" else 5, 9.5
    )


def request(name: str, body: bytes, path: str = "/mapi/emsmdb/?MailboxId=a", **headers: str) -> HttpMessage:
    given = {"Content-Type": "application/mapi-http", "X-RequestType": name, **headers}
    return http("request", f"POST {path} HTTP/1.1", given, body)


PREAMBLE = b"PROCESSING\r\nDONE\r\nX-ElapsedTime: 12\r\n\r\n"


def response(name: str, body: bytes, preamble: bytes = PREAMBLE, status: str = "200 OK", **headers: str) -> HttpMessage:
    given = {"Content-Type": "application/mapi-http", "X-RequestType": name, "X-ResponseCode": "0"}
    given.update({key.replace("_", "-"): value for key, value in headers.items()})
    return http("response", f"HTTP/1.1 {status}", given, preamble + body)


def exchange(asked: HttpMessage | None, answered: HttpMessage | None) -> HttpExchange:
    return HttpExchange(CONNECTION, asked, answered)


def http_call(asked: HttpMessage | None, answered: HttpMessage | None) -> Call:
    call = calls_from(exchange(asked, answered))
    assert call is not None
    return call


def pdu_of(ptype: int, stub: bytes, opnum: int = 0, big_endian: bool = False) -> bytes:
    order = "big" if big_endian else "little"

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, order)  # type: ignore[arg-type]

    drep = b"\0\0\0\0" if big_endian else b"\x10\0\0\0"
    size = 24 + len(stub)
    head = bytes([5, 0, ptype, 3]) + drep + number(size, 2) + number(0, 2) + number(7, 4)
    tail = number(opnum, 2) if ptype == 0 else b"\0\0"
    return head + number(len(stub), 4) + number(0, 2) + tail + stub


def rpc_message(ptype: int, stub: bytes, opnum: int = 0, big_endian: bool = False, **more: Any) -> RpcMessage:
    pdu = source(pdu_of(ptype, stub, opnum, big_endian), 4)
    return RpcMessage(pdu.derive("stub", 24, len(stub)), [pdu], 4, 1.0, 6, 2.0, ptype=ptype, **more)


def rpc_exchange(
    opnum: int | None,
    asked: bytes | None,
    answered: bytes | None,
    interface: uuid.UUID | None = EMSMDB_UUID,
    big_endian: bool = False,
    **more: Any,
) -> RpcCall:
    return RpcCall(
        CONNECTION, "rpc-tcp", 7, opnum, interface, 0, 0, not big_endian,
        None if asked is None else rpc_message(0, asked, opnum or 0, big_endian),
        None if answered is None else rpc_message(2, answered, 0, big_endian),
        **more,
    )  # fmt: skip


def rop_leaf(index: int, payload: ByteSource) -> Node:
    return Node(f"ROP buffer {index}", payload, 0, len(payload), payload.data)


def sides(call: Call) -> list[Side]:
    return [side for side in (call.request, call.response) if side is not None]


def check_side(side: Side) -> Node:
    """The promises of any side: a tree whose leaves hold every byte once, and rebuilt bytes. Returns the tree."""
    tree = side.tree(rop_leaf)
    check_tiles(tree)
    for node in tree.walk():
        assert all(found.severity is not Severity.BUG for found in node.diagnostics), node
    for pdu in side.pdus():
        assert pdu.rebuilt is None or pdu.rebuilt == pdu.original, pdu.name
    return tree


def check_tiles(root: Node) -> None:
    """Children stand side by side in their parent's range; those in another source cover that source."""
    for node in root.walk():
        own = [child for child in node.children if child.source is node.source]
        foreign = [child for child in node.children if child.source is not node.source]
        if own:
            start = own[0].offset if foreign else node.offset
            assert node.offset <= start, node
            for child in own:
                assert child.offset == start, (node.name, child.name, child.offset, start)
                start = child.end
            assert start == node.end, (node.name, start, node.end)
        for group in {id(child.source): child.source for child in foreign}.values():
            at = 0
            for child in foreign:
                if child.source is group:
                    assert child.offset == at, (node.name, child.name)
                    at = child.end
            assert at == len(group), (node.name, at, len(group))


def notes(tree: Node) -> list[tuple[str, str, str]]:
    """(node, severity, message) of everything that is wrong in a tree."""
    return [(node.name, one.severity.value, one.message) for node in tree.walk() for one in node.diagnostics]
