"""Link layers, IP and tunnels: a segment comes out of every stack of headers, with the right bytes at the right place.

Scapy builds the frames, so that our reading is checked against somebody else's writing.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module

import pytest

from dissector.capture.base import Segment, Summary
from dissector.capture.link import Decoder, Frame
from dissector.source import Span
from tests.dissector.capture.frames import ethernet, ipv4, ipv6, tcp

TEXT = b"GET / HTTP/1.1\r\n\r\n"


def decode(frame: bytes, link_type: int = 1) -> tuple[Segment | None, Summary]:
    summary = Summary("", "", "", 0)
    # Bytes before and after the frame must never be looked at.
    data = b"\xee" * 7 + frame + b"\xee" * 50
    return Decoder(summary).decode(Frame(1, 0.0, data, 7, 7 + len(frame)), link_type), summary


def stacks() -> dict[str, tuple[int, Callable[[], object]]]:
    """name -> (link type, builder of a scapy packet with TEXT as TCP payload)."""

    def made(text: str) -> Callable[[], object]:
        def build() -> object:
            scapy = import_module("scapy.all")
            names = dict(vars(scapy))
            for module in ("erspan", "etherip", "geneve", "gtp", "mpls", "tzsp"):
                names |= vars(import_module(f"scapy.contrib.{module}"))
            for module in ("l2tp", "vxlan"):
                names |= vars(import_module(f"scapy.layers.{module}"))
            segment = scapy.TCP(sport=80, dport=1234, flags="PA", seq=5) / TEXT
            names |= {
                "ip": scapy.IP(src="1.2.3.4", dst="4.3.2.1") / segment,
                "ip6": scapy.IPv6(src="fe80::1", dst="fe80::2") / segment,
                "seg": segment,
                "eth": scapy.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02"),
                "outer": scapy.IP(src="9.9.9.9", dst="8.8.8.8"),
                "TZSP_Ethernet": names["TZSP"]() / names["TZSPTagEnd"](),
            }
            return eval(text, names)

        return build

    return {
        text: (link_type, made(text))
        for link_type, text in [
            (1, "eth / ip"),
            (1, "eth / ip6"),
            (1, "eth / Dot1Q(vlan=3) / ip"),
            (1, "Ether(type=0x88a8) / Dot1Q(type=0x8100) / Dot1Q() / ip6"),
            (1, "eth / PPPoE() / PPP() / ip"),
            (1, "eth / MPLS(s=0) / MPLS(s=1) / ip"),
            (1, "Dot3() / LLC() / SNAP() / ip"),
            (1, "eth / IP(options=[IPOption_NOP()] * 4) / seg"),
            (1, "eth / IPv6() / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting() / IPv6ExtHdrDestOpt() / seg"),
            (1, "eth / outer / ip"),
            (1, "eth / outer / ip6"),
            (1, "eth / IPv6() / ip"),
            (1, "eth / outer / UDP(dport=4789) / VXLAN(flags=8) / eth / ip"),
            (1, "eth / outer / UDP(dport=8472) / VXLAN(flags=8) / eth / Dot1Q() / ip6"),
            (1, "eth / outer / UDP(dport=6081) / GENEVE(proto=0x6558) / eth / ip"),
            (1, "eth / outer / GRE() / ip"),
            (1, "eth / outer / GRE(proto=0x6558) / eth / ip"),
            (1, "eth / outer / GRE(proto=0x88be, seqnum_present=1) / ERSPAN_II() / eth / ip"),
            (1, "eth / outer / EtherIP() / eth / ip"),
            (1, "eth / outer / UDP(dport=2152) / GTP_U_Header(teid=1) / ip"),
            (1, "eth / outer / UDP(dport=1701) / L2TP(hdr=2) / PPP() / ip"),
            (1, "eth / outer / UDP(dport=37008) / TZSP_Ethernet / eth / ip"),
            (1, "eth / outer / UDP(dport=31337) / TZSP_Ethernet / eth / ip6"),
            (0, "Loopback() / ip"),
            (108, "LoopbackOpenBSD() / ip6"),
            (9, "PPP() / ip"),
            (50, "HDLC() / PPP() / ip"),
            (101, "ip"),
            (228, "ip"),
            (229, "ip6"),
            (113, "CookedLinux() / ip"),
            (113, "CookedLinux() / Dot1Q() / ip"),
            (276, "CookedLinuxV2() / ip6"),
            (105, "Dot11(type=2, subtype=0) / LLC() / SNAP() / ip"),
            (127, "RadioTap() / Dot11(type=2, subtype=0) / LLC() / SNAP() / ip"),
        ]
    }


@pytest.mark.parametrize("name", stacks())
def test_every_stack_of_headers(name: str) -> None:
    link_type, build = stacks()[name]
    frame = bytes(build())  # type: ignore[call-overload]
    segment, summary = decode(frame, link_type)
    assert segment is not None, (dict(summary.skipped), dict(summary.protocols))
    _, _, key, seq, _, flags, offset, length, frame_offset, source = segment
    assert source is None
    assert (offset - 7, length) == (frame_offset, len(TEXT))
    assert frame[frame_offset : frame_offset + length] == TEXT
    assert key[-4:] == bytes.fromhex("005004d2")
    assert (seq, flags) == (5, 0x18)
    assert len(key) in (12, 36)
    assert summary.protocols == {"TCP": 1}
    # Cut anywhere, it is never an exception, and never a byte beyond the cut.
    for cut in range(len(frame)):
        short, _ = decode(frame[:cut], link_type)
        if short is not None:
            assert short[8] + short[7] <= cut


@pytest.mark.parametrize("link_type", [0, 1, 9, 12, 50, 101, 105, 108, 113, 127, 192, 228, 229, 239, 276, 199, 65535])
def test_no_frame_raises(link_type: int) -> None:
    chance = random.Random(link_type)
    frame = ethernet(ipv4(ipv6(tcp(5, TEXT)), protocol=41))
    for _ in range(150):
        for start in (frame, b"", frame[14:], bytes(chance.randrange(30))):
            damaged = bytearray(start + chance.randbytes(chance.randrange(60)))
            for _ in range(chance.randrange(6)):
                damaged[chance.randrange(len(damaged)) if damaged else 0 : 0] = chance.randbytes(1)
            segment, summary = decode(bytes(damaged), link_type)
            assert segment is not None or summary.skipped or summary.protocols


def test_ethernet_padding_is_no_payload() -> None:
    segment, _ = decode(ethernet(ipv4(tcp(5, b"abc"))) + bytes(20))
    assert segment is not None
    assert segment[7] == 3


def test_tcp_options_are_no_payload() -> None:
    segment, _ = decode(ethernet(ipv4(tcp(5, b"abc", options=bytes(12)))))
    assert segment is not None
    assert (segment[7], segment[8]) == (3, 66)


def test_headers_nested_without_end() -> None:
    frame = tcp(5, b"abc")
    for _ in range(40):
        frame = ipv4(frame, protocol=4 if frame[0] >> 4 == 4 else 6)
    segment, summary = decode(ethernet(frame))
    assert segment is None
    assert summary.skipped == {"headers nested too deep": 1}


def test_nflog_in_either_byte_order() -> None:
    packet = ipv4(tcp(5, TEXT))
    for order in ("little", "big"):
        made = b"\x02\x00\x00\x00"
        for kind, value in ((10, b"prefix\0"), (9, packet), (5, bytes(4))):
            made += (len(value) + 4).to_bytes(2, order) + kind.to_bytes(2, order) + value + bytes(-len(value) % 4)  # type: ignore[arg-type]
        segment, _ = decode(made, 239)
        assert segment is not None
        assert made[segment[8] : segment[8] + segment[7]] == TEXT


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 0, 1, 1, 2)])
@pytest.mark.parametrize("version", [4, 6])
def test_fragments(order: tuple[int, ...], version: int) -> None:
    """In any order, some twice: the last one to come gives the segment, and its bytes lead to all frames."""
    whole = tcp(5, bytes(range(256)) * 8)
    cuts = [(0, 800), (800, 1600), (1600, len(whole))]
    frames = []
    for start, stop in cuts:
        more = stop < len(whole)
        if version == 4:
            frames.append(ipv4(whole[start:stop], ident=77, fragment=start // 8 | more << 13))
        else:
            header = bytes([6, 0]) + (start | more).to_bytes(2, "big") + b"\0\0\0\7"
            frames.append(ipv6(header + whole[start:stop], 44))
    summary = Summary("", "", "", 0)
    decoder = Decoder(summary)
    segments = []
    for number, index in enumerate(order):
        frame = frames[index]
        segments.append(decoder.decode(Frame(number + 1, float(number), frame, 0, len(frame)), 101))
    assert [segment is not None for segment in segments] == [False] * (len(order) - 1) + [True]
    frame, _, _, seq, _, _, offset, length, frame_offset, source = segments[-1]  # type: ignore[misc]
    assert (frame, seq, offset, frame_offset) == (len(order), 5, 0, 0)
    assert source is not None
    assert source.data == whole[20:]
    assert length == len(source.data)
    header = 20 if version == 4 else 48
    first = {index: number + 1 for number, index in reversed(list(enumerate(order)))}
    assert source.locate(0, length) == [
        Span(first[0], header + 20, 780),
        Span(first[1], header, 800),
        Span(first[2], header, len(whole) - 1600),
    ]
    assert summary.protocols == {"TCP": 1, "IP fragment": len(order) - 1}


def test_fragments_that_overlap_and_never_complete() -> None:
    whole = tcp(5, bytes(range(200)))
    summary = Summary("", "", "", 0)
    decoder = Decoder(summary)
    segment = None
    # The middle first, then one that covers it, then the end: what came first wins.
    for start, stop, fill in ((40, 80, None), (0, 160, 0xEE), (120, len(whole), None)):
        part = whole[start:stop] if fill is None else bytes([fill]) * (stop - start)
        packet = ipv4(part, ident=1, fragment=start // 8 | (stop < len(whole)) << 13)
        segment = decoder.decode(Frame(1, 0.0, packet, 0, len(packet)), 101)
    assert segment is not None
    assert segment[9] is not None
    assert segment[9].data == (b"\xee" * 40 + whole[40:80] + b"\xee" * 80 + whole[160:])[56:]
    for number in range(2000):
        packet = ipv4(whole[:40], ident=number, fragment=1 << 13)
        decoder.decode(Frame(1, 0.0, packet, 0, len(packet)), 101)
    assert len(decoder._datagrams) <= 256
    decoder.finish()
    assert "not complete" in summary.diagnostics[-1].message


def test_what_holds_no_tcp_is_named() -> None:
    assert decode(ethernet(bytes(28), 0x0806))[1].protocols == {"ARP": 1}
    assert decode(ethernet(ipv4(bytes(8), 17)))[1].protocols == {"UDP": 1}
    assert decode(ethernet(ipv4(bytes(8), 1)))[1].protocols == {"ICMP": 1}
    assert decode(ethernet(b"\x42\x42\x03" + bytes(40), 0x0026))[1].protocols == {"LLC": 1}
    assert decode(ethernet(bytes(40), 0x1234))[1].protocols == {"Ethernet type 0x1234": 1}
    assert decode(bytes(40), 199)[1].skipped == {"link type 199 is not known": 1}
    assert decode(b"abc")[1].skipped == {"Ethernet header cut": 1}


def test_scapy_is_not_imported_for_common_traffic(tmp_path: object) -> None:
    code = (
        "import sys\n"
        "from tests.dissector.capture.test_link import *\n"
        "for frame in (ethernet(ipv4(tcp(5, TEXT))), ethernet(ipv4(bytes(60), 17)), ethernet(bytes(40), 0x0806)):\n"
        "    decode(frame)\n"
        "print([name for name in sys.modules if name.startswith(('scapy', 'pyshark'))])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
