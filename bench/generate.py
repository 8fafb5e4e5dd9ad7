"""Synthetic MAPI/HTTP captures of any size, for measuring.

Twenty connections (more where a stream would be too long for `tree`) download a folder each and are interleaved packet
by packet: 1460-byte segments, a pure ACK for every fourth, 0.4 % of the packets swapped with their neighbour and 0.6 %
sent twice. Every Execute response is chunked, begins with PROCESSING and DONE, and holds RPC_HEADER_EXT blocks of about
31 KB, each a ROP buffer with one RopFastTransferSourceGetBuffer response. Two payloads: `mixed` (messages of 30-60
properties and one body of 1-50 KB, recipients, attachments) and `dense` (small properties only, 32 bytes each on
average). The same seed gives the same bytes.
"""

from __future__ import annotations

import random
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path

CONNECTIONS = 20
LONGEST = 25_000_000
"""Bytes that a connection sends at the most: above 32 MB a stream is too long for `tree` to show it."""
SEGMENT = 1460
BLOCK = 31 * 1024
REPLICA = uuid.UUID("b5ffb99b-440f-4f77-b488-c5c6702ee3a8")

INCR_SYNC_CHG = struct.pack("<I", 0x40120003)
INCR_SYNC_MESSAGE = struct.pack("<I", 0x40150003)
STATE_BEGIN, STATE_END = struct.pack("<I", 0x403A0003), struct.pack("<I", 0x403B0003)
SYNC_END = struct.pack("<I", 0x40140003)
START_RECIP, END_RECIP = struct.pack("<I", 0x40030003), struct.pack("<I", 0x40040003)
NEW_ATTACH, END_ATTACH = struct.pack("<I", 0x40000003), struct.pack("<I", 0x400E0003)

LONGS = [0x0E070003, 0x00170003, 0x00360003, 0x0E080003, 0x10800003, 0x3FDE0003, 0x3FF10003, 0x0E170003, 0x0E2B0003]
WORDED = {0x0E070003: 0x40, 0x00170003: 3, 0x00360003: 4, 0x10800003: 0x105, 0x0E170003: 8, 0x0E2B0003: 16}
"""Values below these of those that are flags or enumerations, as they are in mail."""
TIMES = [0x0E060040, 0x00390040, 0x30070040, 0x00320040]
FLAGS = [0x0E1B000B, 0x0E1F000B, 0x0023000B, 0x0029000B, 0x0E05000B]
TEXTS = [0x001A001F, 0x0037001F, 0x0E1D001F, 0x0070001F, 0x0C1A001F, 0x0042001F, 0x0C1F001F, 0x0E04001F, 0x0E03001F]
BINARIES = [0x0FF60102, 0x0FF90102, 0x37020102, 0x370A0102]
"""Keys: binaries without a structure, since theirs are random bytes."""
WORDS = (
    "RE: Minutes of the meeting about the quarterly figures, Contoso Ltd; Kim Akers <kim.akers@contoso.example> wrote: "
)


def binary(tag: int, data: bytes) -> bytes:
    return struct.pack("<II", tag, len(data)) + data


def text(tag: int, value: str) -> bytes:
    return binary(tag, value.encode("utf-16-le") + b"\0\0")


def gid(counter: int) -> bytes:
    return REPLICA.bytes_le + counter.to_bytes(6, "big")


def properties(rng: random.Random, count: int) -> Iterator[bytes]:
    """Small properties of every common kind."""
    for _ in range(count):
        kind = rng.random()
        if kind < 0.4:
            tag = rng.choice(LONGS)
            yield struct.pack("<Ii", tag, rng.randrange(WORDED.get(tag, 1 << 20)))
        elif kind < 0.5:
            yield struct.pack("<IQ", rng.choice(TIMES), 133_000_000_000_000_000 + rng.randrange(1 << 50))
        elif kind < 0.6:
            yield struct.pack("<IH", rng.choice(FLAGS), rng.randrange(2))
        elif kind < 0.9:
            start = rng.randrange(len(WORDS) - 50)
            yield text(rng.choice(TEXTS), WORDS[start : start + rng.randrange(2, 60)])
        else:
            yield binary(rng.choice(BINARIES), rng.randbytes(rng.randrange(4, 90)))


def message(rng: random.Random, counter: int, kind: str) -> bytes:
    """One messageChangeFull."""
    head = [
        INCR_SYNC_CHG,
        binary(0x65E00102, gid(counter)),
        struct.pack("<IQ", 0x30080040, 133_000_000_000_000_000 + counter),
        binary(0x65E20102, gid(counter + 1_000_000)),
        binary(0x65E30102, b"\x16" + gid(counter + 1_000_000)),
        struct.pack("<IH", 0x67AA000B, 0),
        INCR_SYNC_MESSAGE,
        *properties(rng, rng.randrange(30, 61)),
    ]
    if kind == "mixed":
        head.append(binary(0x10130102, rng.randbytes(rng.randrange(1 << 10, 50 << 10))))
        for row in range(rng.randrange(1, 4)):
            head += [START_RECIP, struct.pack("<Ii", 0x30000003, row), *properties(rng, 6), END_RECIP]
        if rng.random() < 0.2:
            head += [NEW_ATTACH, struct.pack("<Ii", 0x0E210003, 0), *properties(rng, 6)]
            head += [binary(0x37010102, rng.randbytes(rng.randrange(500, 5000))), END_ATTACH]
    return b"".join(head)


def stream(rng: random.Random, kind: str, size: int) -> Iterator[bytes]:
    """A contentsSync of about `size` bytes, message by message."""
    made = counter = 0
    while made < size:
        counter += 1
        one = message(rng, counter, kind)
        made += len(one)
        yield one
    seen = REPLICA.bytes_le + b"\x52" + (1).to_bytes(6, "big") + counter.to_bytes(6, "big") + b"\0"
    changes = (
        REPLICA.bytes_le + b"\x52" + (1_000_001).to_bytes(6, "big") + (1_000_000 + counter).to_bytes(6, "big") + b"\0"
    )
    yield b"".join((STATE_BEGIN, binary(0x40170003, seen), binary(0x67960102, changes), STATE_END, SYNC_END))


def blocks(parts: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The stream cut into transfer buffers, with whether each is the last."""
    held = bytearray()
    for part in parts:
        held += part
        while len(held) > BLOCK:
            yield bytes(held[:BLOCK]), False
            del held[:BLOCK]
    yield bytes(held), True


def header_ext(payload: bytes, last: bool) -> bytes:
    return struct.pack("<HHHH", 0, 4 if last else 0, len(payload), len(payload)) + payload


def rop_buffer(rops: bytes, *handles: int) -> bytes:
    return struct.pack("<H", len(rops) + 2) + rops + struct.pack(f"<{len(handles)}I", *handles)


def conversation(rng: random.Random, number: int, kind: str, size: int) -> Iterator[tuple[bytes, bytes]]:
    """(request, response) bytes of one connection: Connect, logon, open, configure, GetBuffer to the end."""
    user = f"/o=Bench/cn=user{number}".encode() + b"\0"
    sequence = 0

    def exchange(kind_of_request: str, body: bytes, answer: bytes) -> tuple[bytes, bytes]:
        nonlocal sequence
        cookie = f"Cookie: sid=bench{number}; sequence=s{number}-{sequence}\r\n" if sequence else ""
        sequence += 1
        request = (
            f"POST /mapi/emsmdb/?MailboxId=user{number}@bench.test HTTP/1.1\r\nHost: mail.bench.test\r\n"
            f"Content-Type: application/mapi-http\r\nX-RequestType: {kind_of_request}\r\n"
            f"X-RequestId: {{B}}:{sequence}\r\nX-ClientInfo: {{C}}:{number}\r\n"
            f"X-ClientApplication: Outlook/16.0.0.0\r\n{cookie}Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        lines = b"PROCESSING\r\nDONE\r\nX-ElapsedTime: 3\r\nX-StartTime: Mon, 23 Nov 2026 10:00:00 GMT\r\n\r\n"
        chunks = [lines, *(answer[at : at + 32768] for at in range(0, len(answer), 32768))]
        response = (
            (
                f"HTTP/1.1 200 OK\r\nContent-Type: application/mapi-http\r\nX-RequestType: {kind_of_request}\r\n"
                f"X-ResponseCode: 0\r\nX-RequestId: {{B}}:{sequence}\r\nX-ServerApplication: Exchange/15.20.0.0\r\n"
                f"Set-Cookie: sid=bench{number}; path=/\r\nSet-Cookie: sequence=s{number}-{sequence}; path=/\r\n"
                "Transfer-Encoding: chunked\r\n\r\n"
            ).encode()
            + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
            + b"0\r\n\r\n"
        )
        return request, response

    def execute(rops: bytes, handles: tuple[int, ...], *answers: bytes) -> tuple[bytes, bytes]:
        asked = header_ext(rop_buffer(rops, *handles), True)
        body = struct.pack("<II", 7, len(asked)) + asked + struct.pack("<II", 0x40000, 0)
        packed = b"".join(header_ext(one, at == len(answers) - 1) for at, one in enumerate(answers))
        return exchange("Execute", body, struct.pack("<IIII", 0, 0, 0, len(packed)) + packed + struct.pack("<I", 0))

    connect = struct.pack("<IIIII", 60000, 6, 10000, 0, 0)[:12] + b"\0" + "User\0".encode("utf-16-le")
    yield exchange(
        "Connect", user + struct.pack("<IIIII", 0, 1252, 1033, 1033, 0), struct.pack("<II", 0, 0) + connect + bytes(4)
    )
    none = 0xFFFFFFFF
    ids = b"".join(struct.pack("<H", 1) + at.to_bytes(6, "big") for at in range(1, 14))
    logon = b"\xfe\0\0\1" + struct.pack("<IIH", 0x01000000, 0, len(user)) + user
    logged = (
        b"\xfe\0\0\0\0\0\1" + ids + b"\x07" + bytes(16) + b"\1\0" + REPLICA.bytes_le + bytes(8) + bytes(8) + bytes(4)
    )
    yield execute(logon, (none,), rop_buffer(logged, 1))
    inbox = struct.pack("<H", 1) + (5).to_bytes(6, "big")
    yield execute(b"\x02\0\0\1" + inbox + b"\0", (1, none), rop_buffer(b"\x02\1\0\0\0\0\0\0", 1, 2))
    configure = b"\x70\0\0\1\1\x01" + struct.pack("<HHIH", 0x0038 | 1, 0, 0, 0)
    states = b"".join(
        b"\x75\0\1" + struct.pack("<II", tag, 0) + b"\x77\0\1"
        for tag in (0x40170003, 0x67960102, 0x67DA0102, 0x67D20102)
    )
    answered = b"\x70\1\0\0\0\0" + b"\x75\1\0\0\0\0\x77\1\0\0\0\0" * 4
    yield execute(configure + states, (2, none), rop_buffer(answered, 2, 3))
    held: list[bytes] = []
    wanted = 1
    for block, last in blocks(stream(rng, kind, size)):
        status = 3 if last else 1
        rop = b"\x4e\0\0\0\0\0" + struct.pack("<HHHBH", status, 1, 1, 0, len(block)) + block
        held.append(rop_buffer(rop, 3))
        if last or len(held) == wanted:
            wanted = rng.choice((1, 2, 4, 8))
            yield execute(b"\x4e\0\0" + struct.pack("<HH", 0xBABE, 0x7BC0), (3,), *held)
            held = []
    yield execute(b"\x01\0\0", (3,), rop_buffer(b"", none))
    yield exchange("Disconnect", bytes(4), struct.pack("<III", 0, 0, 0))


class Flow:
    """One TCP connection: what it says next, packet by packet."""

    def __init__(self, rng: random.Random, number: int, kind: str, size: int) -> None:
        self.ports = 40000 + number, 443 + 8000
        self.client = bytes((10, 0, 0, number + 1))
        self.server = bytes((10, 1, 0, 1))
        self.seq = [rng.randrange(1 << 32), rng.randrange(1 << 32)]
        self.talk = conversation(rng, number, kind, size)

    def packet(self, side: int, flags: int, payload: bytes = b"") -> bytes:
        source, target = (self.client, self.server) if side == 0 else (self.server, self.client)
        ports = self.ports if side == 0 else self.ports[::-1]
        tcp = struct.pack("!HHIIBBHHH", *ports, self.seq[side], self.seq[1 - side], 0x50, flags, 64000, 0, 0)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 40 + len(payload), 1, 0x4000, 64, 6, 0) + source + target
        self.seq[side] = (self.seq[side] + len(payload) + (flags & 3 != 0)) & 0xFFFFFFFF
        return b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" + head + tcp + payload

    def packets(self) -> Iterator[bytes]:
        yield self.packet(0, 0x02)
        yield self.packet(1, 0x12)
        yield self.packet(0, 0x10)
        for pair in self.talk:
            for side, data in enumerate(pair):
                for count, at in enumerate(range(0, len(data), SEGMENT), 1):
                    yield self.packet(side, 0x18, data[at : at + SEGMENT])
                    if count % 4 == 0:
                        yield self.packet(1 - side, 0x10)
        yield self.packet(0, 0x11)
        yield self.packet(1, 0x11)
        yield self.packet(0, 0x10)


def disturbed(rng: random.Random, packets: Iterator[bytes]) -> Iterator[bytes]:
    """0.4 % swapped with the next, 0.6 % sent twice."""
    held: bytes | None = None
    for packet in packets:
        chance = rng.random()
        if held is not None:
            yield packet
            yield held
            held = None
        elif chance < 0.004:
            held = packet
        else:
            yield packet
            if chance > 0.994:
                yield packet
    if held is not None:
        yield held


def interleaved(rng: random.Random, kind: str, size: int) -> Iterator[bytes]:
    """The packets of all connections, a burst of each in turn."""
    connections = max(CONNECTIONS, -(-size // LONGEST))
    share = max(size // connections, 1)
    flows = [
        disturbed(random.Random(number), Flow(random.Random(1000 + number), number, kind, share).packets())
        for number in range(connections)
    ]
    while flows:
        for flow in list(flows):
            for _ in range(rng.randrange(1, 12)):
                packet = next(flow, None)
                if packet is None:
                    flows.remove(flow)
                    break
                yield packet


def generate(path: Path, kind: str, size: int, seed: int = 1) -> None:
    """Write a pcap of about `size` bytes. The file appears under its name only when it is complete."""
    rng = random.Random(seed)
    part = path.with_suffix(".part")
    with part.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number, packet in enumerate(interleaved(rng, kind, size)):
            seconds, micro = divmod(number * 10, 1_000_000)
            out.write(struct.pack("<IIII", 1_795_000_000 + seconds, micro, len(packet), len(packet)) + packet)
    part.rename(path)


if __name__ == "__main__":
    import sys

    generate(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
