"""Conversations made by hand: ROPs by name and fields, executed call by call against a tracker."""

from __future__ import annotations

import struct
from typing import Any

from construct import Container

from dissector.emsmdb.call import Call, Side
from dissector.grammar.base import build
from dissector.grammar.rops import BY_NAME
from dissector.node import Diagnostic, Severity
from dissector.session.exchange import Exchange
from dissector.session.tracker import Tracker
from dissector.source import ByteSource, Piece

NONE = 0xFFFFFFFF
INBOX = (1, 0x0D)
GET = "RopFastTransferSourceGetBuffer"
PUT = "RopFastTransferDestinationPutBuffer"
DONE, PARTIAL, NO_ROOM, ERROR = 3, 1, 2, 0


class NoEnvelope:
    def tree(self, side: Side, rop_buffer: Any) -> Any:
        raise AssertionError("nobody looks at envelopes here")

    def pdus(self, side: Side) -> Any:
        return iter(())


class Connection:
    number = 1
    client = ("192.0.2.1", 40000)
    server = ("192.0.2.2", 443)


def request(name: str, **fields: Any) -> bytes:
    layout = BY_NAME[name].request
    assert layout is not None
    indexes = {field: 0 for field in (*BY_NAME[name].handles, BY_NAME[name].output) if field}
    return build(layout, Container({**indexes, **fields}))


def response(name: str, code: int = 0, **fields: Any) -> bytes:
    definition = BY_NAME[name]
    layout = definition.response_layout(code)
    assert layout is not None
    return build(layout, Container({definition.index or "": 0, "ReturnValue": code, **fields}))


def got(data: bytes, status: int = PARTIAL, code: int = 0, done: int = 1, total: int = 9) -> bytes:
    return response(
        GET, code, TransferStatus=status, InProgressCount=done, TotalStepCount=total, TransferBuffer=data
    )  # fmt: skip


def put(used: int, code: int = 0, name: str = PUT) -> bytes:
    return response(name, code, TransferStatus=PARTIAL, InProgressCount=0, TotalStepCount=1, BufferUsedSize=used)


class Talk:
    """One session. call() takes ROPs as bytes; frames count up by two, every byte leads to its frame."""

    def __init__(self) -> None:
        self.tracker = Tracker()
        self.frame = -1
        self.key = "sid=1"

    def payload(self, rops: bytes, handles: tuple[int, ...], frame: int) -> ByteSource:
        data = struct.pack("<H", len(rops) + 2) + rops + struct.pack(f"<{len(handles)}I", *handles)
        return ByteSource(f"frame {frame}", data, (Piece(0, len(data), frame, 0, len(data)),))

    def call(
        self,
        asked: bytes | None,
        handles: tuple[int, ...],
        *answers: bytes,
        opened: tuple[int, ...] | None = None,
        captured: bool = True,
        damaged: bool = False,
        name: str = "Execute",
    ) -> Exchange:
        """opened: the handle table of the answers, where it is another than that of the request."""
        self.frame += 2
        sides = []
        for at, rops in ((0, [] if asked is None else [asked]), (1, list(answers))):
            table = handles if at == 0 or opened is None else opened
            payloads = [self.payload(one, table, self.frame + at) for one in rops]
            sides.append(
                Side(self.frame + at, float(self.frame), NoEnvelope(), payloads=payloads, session_keys=(self.key,))
            )
        if damaged:
            sides[1].diagnostics.append(Diagnostic(Severity.MALFORMED, "cut"))
        asking = sides[0] if asked is not None or name != "Execute" else None
        return self.tracker.exchange(Call("mapi-http", name, Connection(), asking, sides[1] if captured else None))

    def opens(self, name: str, target: int, handle: int, **fields: Any) -> Exchange:
        """A ROP that opens `handle` on `target`."""
        output = BY_NAME[name].output
        assert output is not None
        return self.call(
            request(name, **{output: 1}, **fields), (target, NONE), response(name, **{output: 1}),
            opened=(target, handle),
        )  # fmt: skip

    def folder(self, handle: int = 2, logon: int = 1) -> Exchange:
        name = "RopOpenFolder"
        return self.call(
            request(name, OutputHandleIndex=1, FolderId=INBOX, OpenModeFlags=0), (logon, NONE),
            response(name, OutputHandleIndex=1, HasRules=False, IsGhosted=False), opened=(logon, handle),
        )  # fmt: skip

    def configure(self, handle: int, kind: int = 1, folder: int = 2) -> Exchange:
        return self.opens(
            "RopSynchronizationConfigure", folder, handle, SynchronizationType=kind, SendOptions=1,
            SynchronizationFlags=0x0039, SynchronizationExtraFlags=0, PropertyTags=[],
        )  # fmt: skip

    def get(self, handle: int, *answers: bytes, **how: Any) -> Exchange:
        return self.call(request(GET, BufferSize=0xBABE, MaximumBufferSize=31680), (handle,), *answers, **how)

    def put(self, handle: int, data: bytes, *answers: bytes, name: str = PUT, **how: Any) -> Exchange:
        return self.call(request(name, TransferData=data), (handle,), *answers, **how)

    def release(self, handle: int) -> Exchange:
        return self.call(request("RopRelease"), (handle,), b"")

    def begin(self, handle: int, tag: int, size: int, code: int = 0) -> Exchange:
        name = "RopSynchronizationUploadStateStreamBegin"
        return self.call(
            request(name, StateProperty=tag, TransferBufferSize=size), (handle,), response(name, code)
        )  # fmt: skip

    def more(self, handle: int, data: bytes) -> Exchange:
        name = "RopSynchronizationUploadStateStreamContinue"
        return self.call(request(name, StreamData=data), (handle,), response(name))

    def end(self, handle: int) -> Exchange:
        name = "RopSynchronizationUploadStateStreamEnd"
        return self.call(request(name), (handle,), response(name))
