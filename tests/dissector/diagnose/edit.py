"""Bad captures made of good ones: a recorded conversation is taken apart, changed at one place and written again.

A Tape holds the MAPI/HTTP calls of a capture in order. ROPs are changed through the grammar's build, streams element
by element; sizes, ROP buffers, RPC_HEADER_EXT blocks and HTTP bodies are framed anew. Frame numbers are new, too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from construct import Container

from dissector.emsmdb.buffers import pack
from dissector.grammar.base import build
from dissector.grammar.elements import Element, elements_of, encode, make
from dissector.grammar.idset import encode_idset
from dissector.grammar.rops import BY_NAME
from dissector.model.idset import IdSet
from dissector.pipeline import dissect
from dissector.session.exchange import Exchange, RopBuffer, RopSide

MSS = 1460
GET = "RopFastTransferSourceGetBuffer"
CONFIGURE = "RopSynchronizationConfigure"
NO_HANDLE = 0xFFFFFFFF


@dataclass
class Payload:
    """A ROP buffer: ROPs as bytes, with what they were read as; the handle table."""

    rops: list[tuple[RopSide | None, bytes]]
    handles: list[int]

    @classmethod
    def of(cls, buffer: RopBuffer) -> Payload:
        data = buffer.source.data
        return cls(
            [(side, data[side.offset : side.offset + side.length]) for side in buffer.rops], list(buffer.handles)
        )

    def put(self, number: int, side: RopSide, value: Any, raw: bytes) -> None:
        """Another ROP in a place."""
        self.rops[number] = (replace(side, value=value), raw)

    def bytes(self) -> bytes:
        rops = b"".join(raw for _, raw in self.rops)
        return struct.pack("<H", len(rops) + 2) + rops + struct.pack(f"<{len(self.handles)}I", *self.handles)


@dataclass
class Spoken:
    """One call. headers: of request and response. delay: seconds until the response; pause: before the request."""

    name: str
    connection: int
    request_head: list[str]
    response_head: list[str] | None
    request_body: bytes
    response_body: bytes
    requests: list[Payload] = field(default_factory=list)
    responses: list[Payload] = field(default_factory=list)
    delay: float = 0.001
    pause: float = 0.001
    lost: int = 0
    """Bytes of the response, from its middle on, that the capture does not hold."""

    def request_bytes(self) -> bytes:
        body = self.request_body
        if self.requests:
            flags, size = struct.unpack_from("<II", body)
            chain = pack([one.bytes() for one in self.requests])
            body = struct.pack("<II", flags, len(chain)) + chain + body[8 + size :]
        return http(self.request_head, body)

    def response_bytes(self) -> bytes:
        assert self.response_head is not None
        body = self.response_body
        if self.responses:
            at = body.index(b"\r\n\r\n") + 4 if body.startswith((b"PROCESSING", b"DONE")) else 0
            *numbers, size = struct.unpack_from("<IIII", body, at)
            chain = pack([one.bytes() for one in self.responses])
            body = body[:at] + struct.pack("<IIII", *numbers, len(chain)) + chain + body[at + 16 + size :]
        return http(self.response_head, body)

    def rops(self) -> Iterator[tuple[Payload, int, RopSide]]:
        for payload in (*self.requests, *self.responses):
            for number, (side, _) in enumerate(payload.rops):
                if side is not None:
                    yield payload, number, side


def http(head: list[str], body: bytes) -> bytes:
    lines = [line for line in head if not line.lower().startswith(("transfer-encoding:", "content-length:"))]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body


class Tape:
    """The conversation of a capture."""

    def __init__(self, path: Path) -> None:
        self.calls: list[Spoken] = []
        with dissect(path, engine="native") as dissection:
            for exchange in dissection.exchanges():
                self.calls.append(spoken(exchange))

    # -- finding

    def having(self, rop: str, response: bool = False) -> list[tuple[Spoken, Payload, int, RopSide]]:
        """Every ROP of this name, requests or responses, in order."""
        return [
            (call, payload, number, side)
            for call in self.calls
            for payload, number, side in call.rops()
            if side.name == rop and side.is_response is response
        ]

    def change(self, rop: str, nth: int = 0, response: bool = False, **values: Any) -> Spoken:
        """Give fields of the nth such ROP other values. A response with another ReturnValue gets that form's layout."""
        call, payload, number, side = self.having(rop, response)[nth]
        value = Container({**side.value, **values})
        layout = side.layout
        if response and "ReturnValue" in values and side.definition is not None:
            layout = side.definition.response_layout(values["ReturnValue"])
        payload.put(number, side, value, build(layout, value, **side.params))
        return call

    def remove(self, rop: str, nth: int | None = None) -> None:
        """Take out the calls whose request has such a ROP: the nth, or all."""
        calls = [call for call, *_ in self.having(rop)]
        wanted = calls if nth is None else [calls[nth]]
        self.calls = [call for call in self.calls if not any(call is one for one in wanted)]

    def place(self, rop: str, nth: int = 0) -> int:
        """The index of the call with the nth request of such a ROP."""
        call = self.having(rop)[nth][0]
        return next(index for index, one in enumerate(self.calls) if one is call)

    def repeat(self, first: int, last: int, to: int | None = None) -> None:
        """Say calls first..last once more, behind them or at another place."""
        self.calls[last + 1 if to is None else to : last + 1 if to is None else to] = [
            repeated(one) for one in self.calls[first : last + 1]
        ]

    # -- states and streams

    def upload_state(self, sync: int, sets: dict[str, IdSet | bytes | list[bytes]]) -> None:
        """Let the sync-th context (of all, 0-based) begin with other sets; a list is sent in several parts."""
        index = -1
        at = 0
        while at < len(self.calls):
            call = self.calls[at]
            names = [side.name for _, _, side in call.rops() if not side.is_response]
            index += names.count(CONFIGURE) + names.count("RopSynchronizationOpenCollector")
            begin = next((one for one in call.rops() if one[2].name.endswith("StateStreamBegin")), None)
            if index == sync and begin is not None and not begin[2].is_response:
                name = state_name(begin[2].value["StateProperty"])
                if name in sets:
                    self._upload(at, sets[name])
            at += 1

    def _upload(self, at: int, content: IdSet | bytes | list[bytes]) -> None:
        """Write the calls of one state property anew: begin at calls[at], parts, end."""
        parts = (
            content if isinstance(content, list) else [encode_idset(content) if isinstance(content, IdSet) else content]
        )
        parts = [part for part in parts if part]
        end = at + 1
        while not any(side.name.endswith("StateStreamEnd") for _, _, side in self.calls[end].rops()):
            end += 1
        begin = self.calls[at]
        payload, number, side = next(begin.rops())
        value = Container({**side.value, "TransferBufferSize": sum(map(len, parts))})
        payload.put(number, side, value, build(side.layout, value))
        made = []
        for part in parts:
            one = repeated(self.calls[end])
            logon, index = side.value["LogonId"], side.value["InputHandleIndex"]
            one.requests[0].rops = [(None, rop_request("RopSynchronizationUploadStateStreamContinue", LogonId=logon,
                                                       InputHandleIndex=index, StreamData=part))]  # fmt: skip
            one.responses[0].rops = [(None, rop_response("RopSynchronizationUploadStateStreamContinue",
                                                         InputHandleIndex=index))]  # fmt: skip
            made.append(one)
        self.calls[at + 1 : end] = made

    def stream(self, nth: int, edit: Callable[[list[Element]], list[Element]], buffers: int = 1) -> None:
        """Change the elements of a stream that begins with the nth GetBuffer response and has so many buffers."""
        parts = self.having(GET, response=True)[nth : nth + buffers]
        whole = b"".join(side.value["TransferBuffer"] for *_, side in parts)
        made = b"".join(encode(edit(list(elements_of(whole)))))
        for place, (_, payload, number, side) in enumerate(parts):
            size = len(side.value["TransferBuffer"])
            part, made = (made, b"") if place == len(parts) - 1 else (made[:size], made[size:])
            value = Container({**side.value, "TransferBuffer": part, "TransferBufferSize": len(part)})
            payload.put(number, side, value, build(side.layout, value))

    def final_state(self, nth: int, sets: dict[str, IdSet | bytes | None]) -> None:
        """Let the nth stream end with other sets; None leaves a set out."""

        def edit(elements: list[Element]) -> list[Element]:
            made = []
            for element in elements:
                if element.name in sets:
                    content = sets[element.name]
                    if content is None:
                        continue
                    raw = encode_idset(content) if isinstance(content, IdSet) else content
                    element = element._replace(raw=struct.pack("<I", len(raw)) + raw)
                made.append(element)
            return made

        self.stream(nth, edit)

    # -- writing

    def write(self, path: Path, end: tuple[int, float, int] | None = None) -> Path:
        """The conversation as a pcap file: Ethernet, IPv4, one TCP connection for each of the original.

        end: the side that ends the last connection, after how many seconds, and the flags by which it does.
        """
        writer = Writer()
        for call in self.calls:
            writer.time += call.pause
            writer.say(call.connection, 0, call.request_bytes())
            if call.response_head is not None:
                writer.time += call.delay
                data = call.response_bytes()
                writer.say(call.connection, 1, data, lost=call.lost)
        if end is not None:
            side, seconds, flags = end
            writer.time += seconds
            writer.frame(self.calls[-1].connection, side, flags, b"")
        path.write_bytes(writer.finished())
        return path


def repeated(call: Spoken) -> Spoken:
    """The same call once more. The ROPs as read are shared, they are not changed."""
    made = Spoken(**{**call.__dict__, "requests": [], "responses": []})
    made.requests = [Payload(list(one.rops), list(one.handles)) for one in call.requests]
    made.responses = [Payload(list(one.rops), list(one.handles)) for one in call.responses]
    made.request_head = deepcopy(call.request_head)
    made.response_head = deepcopy(call.response_head)
    return made


def spoken(exchange: Exchange) -> Spoken:
    call = exchange.call
    assert call.request is not None
    request = call.request.envelope.message  # type: ignore[attr-defined]
    response = call.response.envelope.message if call.response is not None else None  # type: ignore[attr-defined]
    return Spoken(
        call.name, call.connection.number, head_of(request), head_of(response) if response is not None else None,
        request.body.data, response.body.data if response is not None else b"",
        [Payload.of(one) for one in exchange.request_buffers], [Payload.of(one) for one in exchange.response_buffers],
    )  # fmt: skip


def head_of(message: Any) -> list[str]:
    return [message.start_line, *(f"{name}: {value}" for name, value in message.headers)]


def rop_request(name: str, **values: Any) -> bytes:
    definition = BY_NAME[name]
    indexes = {one: 0 for one in (*definition.handles, definition.output) if one}
    return build(definition.request, Container({"LogonId": 0, **indexes, **values}))  # type: ignore[arg-type]


def rop_response(name: str, code: int = 0, **values: Any) -> bytes:
    definition = BY_NAME[name]
    layout = definition.response_layout(code)
    assert layout is not None
    return build(layout, Container({definition.index or "": 0, "ReturnValue": code, **values}))


def state_name(tag: int) -> str:
    return {0x4017: "MetaTagIdsetGiven", 0x6796: "MetaTagCnsetSeen", 0x67DA: "MetaTagCnsetSeenFAI",
            0x67D2: "MetaTagCnsetRead"}[tag >> 16]  # fmt: skip


def replaced(element: Element, value: Any) -> Element:
    """The same property with another value."""
    return make(element.tag, value, element.named)


class Writer:
    """Frames of connections, numbered and timed as they are said."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0
        self.records: list[bytes] = []
        self.sequence: dict[tuple[int, int], int] = {}

    def say(self, connection: int, side: int, data: bytes, lost: int = 0) -> None:
        if (connection, 0) not in self.sequence:
            for one in (0, 1):
                self.sequence[connection, one] = 1000
                self.frame(connection, one, 0x02 if one == 0 else 0x12, b"")
                self.sequence[connection, one] += 1
        hole = range(len(data) // 2, len(data) // 2 + lost)
        at = 0
        while at < len(data):
            part = data[at : at + MSS]
            if hole and at < hole.start < at + len(part):
                part = data[at : hole.start]
            if at in hole:
                part = data[at : hole.stop]
            else:
                self.frame(connection, side, 0x18, part)
            self.sequence[connection, side] += len(part)
            at += len(part)

    def frame(self, connection: int, side: int, flags: int, data: bytes) -> None:
        here, there = (bytes((10, 0, 0, 1)), 40000 + connection), (bytes((10, 0, 0, 2)), 18080)
        if side:
            here, there = there, here
        seq, ack = self.sequence[connection, side], self.sequence.get((connection, 1 - side), 0)
        tcp = struct.pack(">HHIIBBHHH", here[1], there[1], seq, ack, 0x50, flags, 65535, 0, 0) + data
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, here[0], there[0])
        raw = bytes(12) + b"\x08\x00" + ip + tcp
        seconds = int(self.time)
        micro = int((self.time - seconds) * 1e6)
        self.records.append(struct.pack("<IIII", seconds, micro, len(raw), len(raw)) + raw)

    def finished(self) -> bytes:
        return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1) + b"".join(self.records)
