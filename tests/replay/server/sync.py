"""Synchronization as a client does it: states kept as bytes, streams read with the dissector's grammar."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from dissector.grammar.elements import elements_of
from dissector.grammar.icstree import trace_stream
from dissector.grammar.idset import SET_FORMS, decode_idset
from dissector.model.idset import IdSet
from dissector.source import ByteSource
from replay.server.fxreader import plain
from tests.replay.server.client import CHAIN, Client

CONTENTS, HIERARCHY = 1, 2
UNICODE, NO_DELETIONS, IGNORE_SCOPE, READ_STATE, FAI, NORMAL, ONLY_SPECIFIED = 1, 2, 4, 8, 0x10, 0x20, 0x80
NO_FOREIGN, PROGRESS = 0x100, 0x8000
EID, SIZE, CN = 1, 2, 4
ALL = UNICODE | READ_STATE | FAI | NORMAL
STATE = (0x4017, 0x6796, 0x67DA, 0x67D2)


@dataclass
class Part:
    """A message, recipient, attachment or folder of a stream: properties by id (or named key), and what is in it."""

    kind: str
    properties: dict[Any, Any] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)

    def __getitem__(self, prop_id: Any) -> Any:
        return self.properties[prop_id]

    def of(self, kind: str) -> list[Part]:
        return [part for part in self.parts if part.kind == kind]


OPENS = {
    "StartRecip": "recipient", "NewAttach": "attachment", "StartEmbed": "embedded", "StartMessage": "message",
    "StartFAIMsg": "message", "StartSubFld": "folder", "StartTopFld": "folder",
}  # fmt: skip
CLOSES = {"EndToRecip", "EndAttach", "EndEmbed", "EndMessage", "EndFolder"}


@dataclass
class Stream:
    """What a stream says."""

    data: bytes
    top: Part
    changes: list[Part] = field(default_factory=list)
    sets: dict[int, IdSet] = field(default_factory=dict)
    state: dict[int, bytes] = field(default_factory=dict)


def read(data: bytes, root: str) -> Stream:
    """A stream that has to be faultless by the dissector's own grammar."""
    tree = trace_stream(ByteSource("stream", data), root)
    found = [(node.name, one.message) for node in tree.walk() for one in node.diagnostics]
    assert not found, found[:5]
    assert tree.length == len(data)
    stream = Stream(data, Part("top"))
    stack = [stream.top]
    for element in elements_of(data):
        if element.is_marker:
            if element.name in OPENS:
                stack[-1].parts.append(Part(OPENS[element.name]))
                stack.append(stack[-1].parts[-1])
            elif element.name in CLOSES:
                stack.pop()
            elif element.name == "IncrSyncChg":
                stream.changes.append(Part("change"))
                stack = [stream.changes[-1]]
            elif element.name != "IncrSyncMessage":
                stack = [stream.top]
            continue
        prop_id = element.tag >> 16
        if prop_id in SET_FORMS:
            assert element.raw is not None
            if prop_id in STATE:
                stream.state[prop_id] = element.raw[4:]
            stream.sets[prop_id] = decode_idset(element.raw[4:], SET_FORMS[prop_id])
        elif prop_id != 0x4016:
            key = element.named.key if element.named is not None else prop_id
            stack[-1].properties[key] = plain(element, "cp1252")[1]
    return stream


def get_all(client: Client, context: int, packed: bool = True, size: int = 0x7BC0) -> bytes:
    """The whole stream of a download context."""
    data, status = b"", 1
    while status == 1:
        if packed:
            answer = client.call(
                "RopFastTransferSourceGetBuffer", context, BufferSize=0xBABE, MaximumBufferSize=size,
                flags=CHAIN | 3, max_out=0x40000,
            )  # fmt: skip
        else:
            answer = client.call("RopFastTransferSourceGetBuffer", context, BufferSize=size)
        for one in (answer, *answer["More"]):
            data += bytes(one["TransferBuffer"])
            status = one["TransferStatus"]
    assert status == 3
    return data


def upload_state(client: Client, context: int, state: dict[int, bytes], chunk: int = 7) -> None:
    for prop_id in STATE:
        if prop_id not in state:
            continue
        data = state[prop_id]
        tag = prop_id << 16 | (3 if prop_id == 0x4017 else 0x102)
        client.call(
            "RopSynchronizationUploadStateStreamBegin", context, StateProperty=tag, TransferBufferSize=len(data)
        )
        for at in range(0, len(data), chunk):
            client.call("RopSynchronizationUploadStateStreamContinue", context, StreamData=data[at : at + chunk])
        client.call("RopSynchronizationUploadStateStreamEnd", context)


def configure(
    client: Client,
    folder: int,
    kind: int = CONTENTS,
    flags: int = ALL,
    extra: int = EID,
    restriction: Any = None,
    tags: Any = (),
    options: int = 1,
    expect: int = 0,
) -> int:
    return int(client.call(
        "RopSynchronizationConfigure", folder, SynchronizationType=kind, SendOptions=options,
        SynchronizationFlags=flags, RestrictionData=restriction, SynchronizationExtraFlags=extra,
        PropertyTags=list(tags), expect=expect,
    )["Handle"])  # fmt: skip


def download(client: Client, folder: int, state: dict[int, bytes] | None = None, **options: Any) -> Stream:
    """Configure, upload the state, get the stream."""
    packed, size = options.pop("packed", True), options.pop("size", 0x7BC0)
    context = configure(client, folder, **options)
    upload_state(client, context, state or {})
    data = get_all(client, context, packed, size)
    stream = read(data, "hierarchySync" if options.get("kind") == HIERARCHY else "contentsSync")
    assert transfer_state(client, context) == stream.state
    client.call("RopRelease", context)
    return stream


def transfer_state(client: Client, context: int) -> dict[int, bytes]:
    handle = client.call("RopSynchronizationGetTransferState", context)["Handle"]
    return read(get_all(client, handle), "state").state


def collector(client: Client, folder: int, contents: bool = True, state: dict[int, bytes] | None = None) -> int:
    handle = int(client.call("RopSynchronizationOpenCollector", folder, IsContentsCollector=contents)["Handle"])
    upload_state(client, handle, state or {})
    return handle


def gid(guid: uuid.UUID, counter: int) -> bytes:
    return guid.bytes_le + counter.to_bytes(6, "big")


def sized(*xids: bytes) -> bytes:
    """A predecessor change list."""
    return b"".join(bytes((len(xid),)) + xid for xid in sorted(xids))
