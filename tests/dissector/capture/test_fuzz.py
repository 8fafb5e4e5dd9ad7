"""Cut any capture anywhere, flip any byte: it ends cleanly, and what was unharmed is still there."""

from __future__ import annotations

import io
import random
import struct

import pytest

from dissector.capture import open_capture
from dissector.errors import CaptureError
from dissector.transport.tcp import TcpStats
from tests.conftest import rounds, shared
from tests.dissector.capture.frames import (
    ethernet,
    interface,
    ipv4,
    ipv6,
    option,
    packet,
    pcap,
    record,
    section,
    tcp,
)

SMALL = (
    "formats/x-gzip.pcap",
    "formats/simple_http.pcap",
    "formats/simple_http_sll2.pcap",
    "formats/simple_http_tzsp.pcapng",
    "formats/nflog-http.pcap",
    "formats/q-in-q.trace",
    "formats/retransmit-fast009.trace",
    "formats/vxlan-encapsulated-http.pcap",
    "formats/handshake-reorder.trace",
    "formats/dns-icmp.pcapng.gz",
    "encrypted/tls3.cryptohack.org.pcapng",
)
ROUNDS = rounds(400)

pytestmark = pytest.mark.mutated


def made() -> bytes:
    """A pcapng file with most of what our own walk knows: options, fragments, IPv6 headers, VLAN, retransmissions."""
    chance = random.Random(5)
    frames = [ethernet(ipv4(tcp(99, flags=2)))]
    for number in range(12):
        body = tcp(100 + 20 * number, chance.randbytes(20 + number % 7))
        frames.append(
            (
                ethernet(ipv4(body)),
                ethernet(ipv4(body, options=bytes(4))),
                ethernet(b"\0\1\x08\0" + ipv4(body), 0x8100),
                ethernet(ipv6(bytes([6, 0]) + bytes(6) + body, 0), 0x86DD),
                ethernet(ipv4(body[:24], ident=number, fragment=1 << 13)),
                ethernet(ipv4(body[24:], ident=max(0, number - 1), fragment=3)),
            )[number % 6]
        )
    comment = option(1, b"text") + option(0, b"")
    blocks = [packet(frame, number, options=comment * (number % 2)) for number, frame in enumerate(frames)]
    return section() + interface(options=option(9, b"\x09")) + b"".join(blocks)


def survive(content: bytes) -> TcpStats | None:
    stats = TcpStats()
    try:
        capture = open_capture(io.BytesIO(content))
    except CaptureError:
        return None
    with capture:
        recorders = record(capture, stats)
        summary = capture.summary
    assert summary.segments == summary.protocols["TCP"]
    known = summary.protocols.total() + summary.skipped.total()
    assert known >= summary.frames
    got = sum(len(part) for one in recorders for side in one.sides for part in side if isinstance(part, bytes))
    assert got == stats.delivered <= len(content) * 40
    assert all(sorted(one.closed) == [0, 1] for one in recorders)
    return stats


def mutate(content: bytes, chance: random.Random) -> bytes:
    damaged = bytearray(content)
    kind = chance.randrange(6)
    if kind == 0:
        del damaged[chance.randrange(len(damaged)) :]
    elif kind == 1:
        start = chance.randrange(len(damaged))
        del damaged[start : start + chance.randrange(1, 100)]
    elif kind == 2:
        start = chance.randrange(len(damaged))
        damaged[start:start] = damaged[: chance.randrange(200)]
    elif kind == 3:
        at = chance.randrange(len(damaged) - 4)
        damaged[at : at + 4] = struct.pack("<I", chance.choice([0, 1, 0xFFFFFFFF, 0x7FFFFFFF, len(content), 65535]))
    else:
        for _ in range(chance.randrange(1, 9)):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


@pytest.mark.parametrize("name", SMALL)
def test_mutated_captures(name: str) -> None:
    content = shared("captures", *name.split("/")).read_bytes()[:20_000]
    chance = random.Random(name)
    assert survive(content) is not None
    for _ in range(ROUNDS):
        survive(mutate(content, chance))


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_mutated_files_of_our_own(kind: str) -> None:
    content = made()
    if kind == "pcap":
        content = pcap([ethernet(ipv4(tcp(100 + 20 * n, bytes([n]) * 20))) for n in range(12)])
    chance = random.Random(kind)
    whole = survive(content)
    assert whole is not None
    assert whole.delivered > 200
    for _ in range(rounds(2000)):
        survive(mutate(content, chance))


def test_a_flip_in_a_payload_changes_that_byte_only() -> None:
    payloads = [bytes([number]) * 20 for number in range(12)]
    content = pcap([ethernet(ipv4(tcp(100 + 20 * n, payload))) for n, payload in enumerate(payloads)])
    expected = b"".join(payloads)
    at = 24 + 3 * (16 + 74) + 16 + 54 + 7
    damaged = bytearray(content)
    damaged[at] ^= 0xFF
    with open_capture(io.BytesIO(bytes(damaged))) as capture:
        (one,) = record(capture)
    assert one.sides[0] + one.sides[1] == [expected[:67] + bytes([3 ^ 0xFF]) + expected[68:]]
