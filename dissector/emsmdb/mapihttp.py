"""MAPI over HTTP [MS-OXCMAPIHTTP]: HTTP exchanges become calls.

An exchange is MAPI when its request has an X-RequestType header and either the content type or the path of MAPI; ports
and host names do not matter. A response body begins with meta-tags (PROCESSING, PENDING, DONE), one a line, and
additional headers; behind an empty line stands the binary body. Execute, which is nearly all of the traffic, is taken
apart with struct for the lists; trees and rebuilt bytes come from the Layouts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Any

from construct import Container

from dissector.emsmdb import buffers
from dissector.emsmdb.call import Call, Pdu, RopBufferTree, Side, codec_in
from dissector.grammar import base, layouts, leaves, reading
from dissector.grammar.envelopes import MAILBOX, BodyDef
from dissector.grammar.names import enum_name
from dissector.grammar.nspi import ADDRESS_BOOK, ALIASES
from dissector.node import Diagnostic, Node, Severity, Undecoded
from dissector.source import ByteSource
from dissector.transport.messages import HttpExchange, HttpMessage

BODIES: Mapping[str, BodyDef] = {**MAILBOX, **ADDRESS_BOOK}
"""Request types with a body, by X-RequestType."""

_NAMES = {name.lower(): name for name in (*BODIES, "PING")}
_NAMES.update({alias.lower(): name for alias, name in ALIASES.items()})

CONTENT_TYPE = "application/mapi-http"

BEGINNING = 4096
"""So much of a body that cannot be read is looked at for fields."""

LONGEST_NAME = 40
"""Characters of an X-RequestType without a definition that make the name of a call."""

_PREAMBLE = re.compile(rb"(?:PROCESSING\r\n|PENDING\r\n)*DONE\r\n((?:[^\r\n]+\r\n)*)\r\n")
_META_TAGS = (b"PROCESSING", b"PENDING", b"DONE")

_CHARSET = re.compile(r"charset=\"?((?:utf-?|us-ascii|iso-8859-|windows-|gb|big5|shift_jis|euc-|koi8-)[\w-]*)")

_EXECUTE_REQUEST, _EXECUTE_RESPONSE = Struct("<II"), Struct("<IIII")
_U32 = Struct("<I").unpack_from

_KEPT = {"x-requestid": "X-RequestId", "x-clientinfo": "X-ClientInfo"}
"""Headers that go into the fields of a side."""


def call_from(exchange: HttpExchange) -> Call | None:
    """The call of an exchange, or None where it is no MAPI over HTTP. Never raises."""
    request = exchange.request.named if exchange.request is not None else {}
    response = exchange.response.named if exchange.response is not None else {}
    if not (_is_mapi(exchange.request, request) or _is_mapi(exchange.response, response)):
        return None
    asked = request.get("x-requesttype") or response.get("x-requesttype") or "no X-RequestType"
    name = _NAMES.get(asked.lower(), asked[:LONGEST_NAME])
    body = BODIES.get(name)
    return Call(
        "mapi-http",
        name,
        exchange.connection,
        _request(exchange.request, request, name, body) if exchange.request is not None else None,
        _response(exchange.response, response, name, body) if exchange.response is not None else None,
    )


def _is_mapi(message: HttpMessage | None, headers: Mapping[str, str]) -> bool:
    if message is None:
        return False
    if headers.get("content-type", "").lower().startswith(CONTENT_TYPE):
        return True
    return "x-requesttype" in headers and (message.kind == "response" or message.target.lower().startswith("/mapi/"))


def _request(message: HttpMessage, headers: Mapping[str, str], name: str, body: BodyDef | None) -> Side:
    side = Side(message.last_frame, message.last_time, HttpEnvelope(message, name, body, 0), fields=_kept(headers))
    side.diagnostics.extend(message.diagnostics)
    cookies = [one.strip() for one in headers.get("cookie", "").split(";")]
    side.session_keys = tuple(one for one in cookies if "=" in one)
    if body is None or not len(message.body):
        return side
    if name == "Execute" and len(message.body) >= _EXECUTE_REQUEST.size:
        _execute(side, message.body, 0, _EXECUTE_REQUEST, ("Flags",), ("MaxRopOut", "AuxiliaryBufferSize"))
    else:
        _scalars(side, body.request, message.body, 0)
    return side


def _response(message: HttpMessage, headers: Mapping[str, str], name: str, body: BodyDef | None) -> Side:
    answer = Answer(message, headers)
    envelope = HttpEnvelope(message, name, body, answer.offset)
    side = Side(message.last_frame, message.last_time, envelope, fields=_kept(headers))
    side.fields["HTTPStatus"] = message.status
    if answer.code is not None:
        side.fields["X-ResponseCode"] = answer.code
    side.diagnostics.extend(message.diagnostics)
    cookies = [one.split(";", 1)[0].strip() for one in message.header_list("set-cookie")]
    side.session_keys = tuple(one for one in cookies if "=" in one)
    if answer.diagnostic is not None:
        side.diagnostics.append(answer.diagnostic)
    if body is None or answer.text or answer.offset >= len(message.body):
        return side
    layout = envelope.layout(message.body.data, answer.offset)
    if name == "Execute" and layout is body.response and len(message.body) - answer.offset >= _EXECUTE_RESPONSE.size:
        _execute(
            side, message.body, answer.offset, _EXECUTE_RESPONSE, ("StatusCode", "ErrorCode", "Flags"),
            ("AuxiliaryBufferSize",),
        )  # fmt: skip
    else:
        _scalars(side, layout, message.body, answer.offset)
    side.return_code = side.fields.get("ErrorCode", side.fields.get("StatusCode"))
    return side


def _kept(headers: Mapping[str, str]) -> dict[str, Any]:
    return {name: headers[key] for key, name in _KEPT.items() if key in headers}


def _execute(
    side: Side, source: ByteSource, offset: int, head: Struct, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    """What the Execute Layouts say, without their cost: fields before and after the RopBuffer, and the payloads.

    head: the fields up to RopBufferSize; the body has them.
    """
    data = source.data
    *numbers, size = head.unpack_from(data, offset)
    side.fields.update(zip(before, numbers, strict=True))
    side.fields["RopBufferSize"] = size
    start = offset + head.size
    if size > len(data) - start:
        text = f"RopBufferSize is {size}, {len(data) - start} bytes are there"
        side.diagnostics.append(Diagnostic(Severity.MALFORMED, text))
    found = buffers.chain(source, start, start + size, "ROP buffer")
    side.payloads, side.chain = [part.plain for part in found.parts], found
    side.diagnostics.extend(found.diagnostics)
    at = start + size
    for name in after:
        if len(data) - at < 4:
            return
        side.fields[name] = _U32(data, at)[0]
        at += 4


def _scalars(side: Side, layout: layouts.Layout, source: ByteSource, offset: int) -> None:
    """The fields of a body that are a number or a text, and the code page that it names; of a cut one the first."""
    try:
        value, _ = reading.parse(layout, source.data, offset)
        side.codepage = codec_in(value)
    except base.GrammarError as error:
        side.diagnostics.append(Diagnostic(error.severity, f"{layout.layout_name}: {error.message}"))
        begin = reading.trace(layout, source, "", offset, min(len(source), offset + BEGINNING))
        value = {node.name: node.value for node in begin.children if not node.children}
    for name, one in value.items():
        if one is not None and not isinstance(one, bytes | list | Container):
            side.fields[name] = one


class Answer:
    """What stands in front of a response's binary body.

    offset: where the body begins. code: X-ResponseCode, from the header or restated behind DONE. text: what follows is
    for people (HTML), not binary. diagnostic: what is wrong with the meta-tags.
    """

    def __init__(self, message: HttpMessage, headers: Mapping[str, str]) -> None:
        data = message.body.data
        self.diagnostic: Diagnostic | None = None
        self.offset = 0
        found = _PREAMBLE.match(data)
        extra = b""
        if found is not None:
            self.offset, extra = found.end(), found[1]
        elif data.startswith(_META_TAGS):
            self.offset = len(data)
            self.diagnostic = Diagnostic(
                Severity.MALFORMED, "the response ends before its body: no DONE, or no empty line"
            )
        restated = re.search(rb"(?im)^x-responsecode:[ \t]*(\d+)", extra) if extra else None
        code = restated[1].decode() if restated else headers.get("x-responsecode", "")
        self.code = _number(code)
        binary = headers.get("content-type", "").lower().startswith(CONTENT_TYPE)
        self.text = bool(self.code) or message.status != 200 or not binary


def _number(text: str) -> int | None:
    """The number of up to nine digits that a header has for its value; None for anything else."""
    return int(text) if len(text) < 10 and text.isdecimal() else None


def lines_of(data: bytes, end: int) -> list[tuple[int, int]]:
    """The lines of data[:end] as (offset, length), line ends included; the last one may have none."""
    found: list[tuple[int, int]] = []
    at = 0
    while at < end:
        stop = data.find(b"\n", at, end) + 1 or end
        found.append((at, stop - at))
        at = stop
    return found


def _ending(line: bytes) -> bytes:
    return line[len(line.rstrip(b"\r\n")) :]


class HttpEnvelope:
    """A MAPI/HTTP message. offset: where its binary body begins in the body source."""

    __slots__ = ("body", "message", "name", "offset")

    def __init__(self, message: HttpMessage, name: str, body: BodyDef | None, offset: int) -> None:
        self.message, self.name, self.body, self.offset = message, name, body, offset

    def layout(self, data: bytes, offset: int) -> layouts.Layout:
        """The layout of the binary body: that of failures where StatusCode is not 0."""
        assert self.body is not None
        if self.message.kind == "request":
            return self.body.request
        return self.body.failure if data[offset : offset + 4].strip(b"\0") else self.body.response

    def tree(self, side: Side, rop_buffer: RopBufferTree) -> Node:
        message = self.message
        root = Node(f"{self.name} {message.kind}", message.raw, 0, len(message.raw), spec="MS-OXCMAPIHTTP 2.2.2")
        root.diagnostics.extend(message.diagnostics)
        root.children.append(head_tree(message))
        source = message.body
        if self.offset:
            tags = Lines("Meta-tags", source, self.offset, "MS-OXCMAPIHTTP 2.2.7", "Meta-tag", "Meta-tag")
            root.children.append(tags)
        if self.offset < len(source):
            root.children.append(self._body_tree(side, rop_buffer))
        if not message.complete and not message.diagnostics:
            root.diagnose(Severity.MALFORMED, "the body is not complete in the capture")
        return root

    def _body_tree(self, side: Side, rop_buffer: RopBufferTree) -> Node:
        source, offset = self.message.body, self.offset
        end = len(source)
        if self.message.kind == "response" and Answer(self.message, self.message.named).text:
            return Node("Body", source, offset, end - offset, _text(source.data[offset:], self.message))
        if self.body is None:
            raw = Undecoded(source.data[offset:])
            note = "PING has no body" if self.name == "PING" else f"no layout is known for the request type {self.name}"
            return Node("Body", source, offset, end - offset, raw, diagnostics=[Diagnostic(Severity.NOTE, note)])
        node = reading.trace(self.layout(source.data, offset), source, "Body", offset, codepage=side.codepage)
        for field, label, payload_tree, known in (
            ("RopBuffer", "ROP buffer", rop_buffer, side.chain),
            ("AuxiliaryBuffer", "auxiliary buffer", buffers.auxiliary_tree, None),
        ):
            found = next((child for child in node.children if child.name == field), None)
            if found is None:
                continue
            stop = found.end
            if found.diagnostics and found is node.children[-1]:  # cut off: what is there can still be read
                stop = found.offset + min(node.children[-2].value, end - found.offset)
            buffers.open_chain(found, stop, label, payload_tree, known)
            node.length = max(node.length, found.end - node.offset)
        return buffers.filled(node, end)

    def pdus(self, side: Side) -> Iterator[Pdu]:
        source, offset = self.message.body, self.offset
        if self.body is None or not len(source):
            return
        if self.message.kind == "response" and Answer(self.message, self.message.named).text:
            return
        layout = self.layout(source.data, offset)
        preamble = b"".join(
            line_leaf(source, at, length, "").value.encode("latin-1") + _ending(source.data[at : at + length])
            for at, length in lines_of(source.data, offset)
        )
        body: bytes | None = b""
        if offset < len(source):
            body = buffers.rebuilt(layout, source.data[offset:], codepage=side.codepage)
        yield Pdu(f"{self.name} {self.message.kind} body", source.data, None if body is None else preamble + body)
        node = reading.trace(layout, source, "Body", offset)
        for child in node.children:
            if child.name == "RopBuffer" and child.length:
                yield from buffers.chain_pdus("ROP buffer chain", source, child.offset, child.end)
            elif child.name == "AuxiliaryBuffer" and child.length:
                yield from buffers.auxiliary_pdus(source, child.offset, child.end)


def _text(data: bytes, message: HttpMessage) -> str | bytes:
    """The text of a body for people, by the charset of its content type."""
    content_type = (message.header("content-type") or "").lower()
    charset = _CHARSET.search(content_type)
    if not content_type.startswith(("text/", CONTENT_TYPE)) and charset is None:
        return data
    return leaves.decode_text(data, charset[1] if charset else "utf-8")


CREDENTIALS = frozenset({"authorization", "proxy-authorization"})
"""Headers whose value gives a password or a token away: views hide it."""


class Lines(Node):
    """Lines of text, one leaf each; these are made when they are first looked at.

    first, other: what the first line and the others are called; first is None where the leaves are made.
    """

    __slots__ = ("first", "other")

    def __init__(self, name: str, source: ByteSource, length: int, spec: str, first: str, other: str) -> None:
        self.name, self.source, self.offset, self.length, self.spec = name, source, 0, length, spec
        self.value, self.labeller, self.diagnostics, self.secret = None, None, [], False
        self.first: str | None = first
        self.other = other

    def __getattr__(self, name: str) -> Any:
        line_name = self.first
        if name != "children" or line_name is None:
            raise AttributeError(name)
        source, found = self.source, list[Node]()
        for at, length in lines_of(source.data, self.length):
            if len(found) > 1 and line_name == "Header" and source.data[at : at + 1] in (b" ", b"\t"):
                found.append(_continued(found[-1], source, at, length))
            else:
                found.append(line_leaf(source, at, length, line_name))
            line_name = self.other
        self.children, self.first = found, None
        return found


def head_tree(message: HttpMessage) -> Node:
    """The start line and the headers."""
    name = "Request line" if message.kind == "request" else "Status line"
    return Lines("HTTP", message.head, len(message.head), "RFC 9112", name, "Header")


def _continued(before: Node, source: ByteSource, offset: int, length: int) -> Node:
    """A folded header goes on in this line: as secret as the line before, or as the header that it looks like."""
    text = source.data[offset : offset + length].decode("latin-1").strip()
    secret = before.secret or text.partition(":")[0].strip().lower() in CREDENTIALS
    return Node(before.name, source, offset, length, text, secret=secret)


def line_leaf(source: ByteSource, offset: int, length: int, name: str) -> Node:
    """A line as a leaf: a header by its name, anything else by `name`."""
    text = source.data[offset : offset + length].rstrip(b"\r\n").decode("latin-1")
    key, colon, value = text.partition(":")
    if not text:
        return Node("Empty line", source, offset, length, "")
    if name == "Header" or (name == "Meta-tag" and colon):
        key, value = key.strip(), value.strip()
        spec = type_spec(value) if key.lower() == "x-requesttype" else ""
        secret = key.lower() in CREDENTIALS
        return Node(key or name, source, offset, length, value, labeller=explanation(key), spec=spec, secret=secret)
    return Node(name, source, offset, length, text)


class Words:
    """Words for the value of a header. '{}' in them stands for the value, which is in milliseconds, in seconds."""

    __slots__ = ("words",)

    def __init__(self, words: str) -> None:
        self.words = words

    def __call__(self, value: str) -> str:
        if "{}" not in self.words:
            return self.words
        number = _number(value)
        return "" if number is None else self.words.format(f"{number / 1000:g}")


def type_spec(value: str) -> str:
    """Where the request type of this name is described; "" where it is none, or has no body."""
    body = BODIES.get(_NAMES.get(value.lower(), ""))
    return body.request.spec.rsplit(".", 1)[0] if body else ""


def _response_code(value: str) -> str:
    """X-ResponseCode by [MS-OXCMAPIHTTP] 2.2.3.3.3. Gromox numbers differ, and nothing tells the servers apart."""
    number = _number(value)
    if number is None:
        return ""
    name = enum_name("ResponseCode", number)
    gromox = enum_name("GromoxResponseCode", number)
    return f"{name}, or from Gromox {gromox}" if gromox else name


_HEADERS: Mapping[str, Any] = {
    "x-responsecode": _response_code,
    "x-requestid": Words("client instance and request number, echoed by the server"),
    "x-clientinfo": Words("client session, echoed by the server"),
    "x-clientapplication": Words("client version"),
    "x-serverapplication": Words("server version"),
    "x-pendingperiod": Words("PENDING every {} s"),
    "x-expirationinfo": Words("the session context expires after {} s"),
    "x-elapsedtime": Words("{} s of work"),
    "x-starttime": Words("when the server began to work on the request"),
    "x-deviceinfo": Words("client device"),
    "set-cookie": Words("session context or sequence, to be sent back"),
}


def explanation(name: str) -> Any:
    """The labeller of a header's value; None for headers that speak for themselves."""
    return _HEADERS.get(name.lower())
