"""From a frame to a TCP segment, for everything the fast path of native.py does not take.

Link layers: Ethernet (VLAN, QinQ, 802.3 with SNAP, PPPoE, MPLS), Linux cooked v1 and v2, raw IP, null and loopback,
PPP, NFLOG. IPv4 with options and fragments, IPv6 with extension headers and fragments, IP in IP. Tunnels in UDP and
GRE, and link types not listed here, go to scapy (tunnels.py), which is imported only then.

VLAN tags are not part of a connection's key. A mirror port often copies the same segment once with and once without
its tag, and those must meet; two different connections with the same addresses and ports in two VLANs are told apart
by their sequence numbers in the TCP room.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TypeAlias

from dissector.capture import tunnels
from dissector.capture.base import Data, Segment, Summary
from dissector.node import Severity
from dissector.source import ByteSource, Piece

_TCP = struct.Struct(">4sIIBB")
_IPV4 = struct.Struct(">BxHHHxB2x8s")
_IPV6 = struct.Struct(">4xHBx32s")
_WORD = struct.Struct(">H")
_PORTS = struct.Struct(">2H")

LINK_TYPES = {
    0: "Null/loopback",
    1: "Ethernet",
    9: "PPP",
    12: "Raw IP",
    14: "Raw IP",
    101: "Raw IP",
    108: "OpenBSD loopback",
    113: "Linux cooked",
    228: "Raw IPv4",
    229: "Raw IPv6",
    239: "NFLOG",
    276: "Linux cooked v2",
}

_IPV4_TYPE, _IPV6_TYPE = 0x0800, 0x86DD
_VLAN_TYPES = {0x8100, 0x88A8, 0x9100, 0x9200, 0x9300}
_ETHERTYPES = {
    0x0806: "ARP",
    0x8035: "RARP",
    0x88CC: "LLDP",
    0x888E: "EAPOL",
    0x88B5: "Experimental",
    0x8863: "PPPoE discovery",
    0x8899: "Realtek",
    0x88E5: "MACsec",
}
_PROTOCOLS = {
    1: "ICMP",
    2: "IGMP",
    17: "UDP",
    33: "DCCP",
    46: "RSVP",
    50: "ESP",
    58: "ICMPv6",
    88: "EIGRP",
    89: "OSPF",
    103: "PIM",
    112: "VRRP",
    132: "SCTP",
}
#: IPv6 extension headers with a length in units of 8 bytes.
_EXTENSIONS = {0, 43, 60, 135, 139, 140}
_FRAGMENT, _AUTHENTICATION = 44, 51
_VXLAN_PORTS = {4789, 8472}
_TZSP = b"\x01\x00\x00\x01"  # version 1, a received packet, Ethernet

_HELD_DATAGRAMS = 256
_MOST_FRAGMENTS = 2048
_DEEPEST = 16

_Decoded: TypeAlias = Segment | None


class Frame:
    """The frame being decoded: its number and time, where it begins and ends in the bytes the offsets point into."""

    __slots__ = ("data", "end", "number", "source", "start", "time")

    def __init__(self, number: int, time: float, data: Data, start: int, end: int, source: ByteSource | None = None):
        self.number, self.time, self.data, self.start, self.end, self.source = number, time, data, start, end, source


class Decoder:
    """Decodes frames one by one; remembers only IP fragments, and counts what it saw in the summary."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary
        self._datagrams: dict[bytes, _Datagram] = {}
        self._depth = 0
        self._links: dict[int, Callable[[Frame, int], _Decoded]] = {
            0: self._null,
            1: self._ethernet,
            9: self._ppp,
            12: self._raw,
            14: self._raw,
            101: self._raw,
            108: self._null,
            113: self._cooked,
            228: self._raw,
            229: self._raw,
            239: self._nflog,
            276: self._cooked2,
        }

    def decode(self, frame: Frame, link_type: int) -> _Decoded:
        """The frame's TCP segment, or None with the reason counted in the summary. Never raises on any bytes."""
        self._depth = 0
        link = self._links.get(link_type)
        if link is None:
            return self._foreign(frame, link_type)
        return link(frame, frame.start)

    # --- endings ---

    def _other(self, protocol: str) -> _Decoded:
        """A frame that holds no TCP."""
        self.summary.protocols[protocol] += 1
        return None

    def _skip(self, reason: str) -> _Decoded:
        """A frame that may hold TCP but could not be read."""
        self.summary.skipped[reason] += 1
        return None

    # --- link layers ---

    def _ethernet(self, frame: Frame, at: int) -> _Decoded:
        if frame.end - at < 14:
            return self._skip("Ethernet header cut")
        return self._ethertype(frame, at + 14, _WORD.unpack_from(frame.data, at + 12)[0])

    def _ethertype(self, frame: Frame, at: int, kind: int) -> _Decoded:
        """What follows an Ethernet type, through any VLAN tags and MPLS labels."""
        data, end = frame.data, frame.end
        while kind in _VLAN_TYPES:
            if end - at < 4:
                return self._skip("VLAN tag cut")
            kind = _WORD.unpack_from(data, at + 2)[0]
            at += 4
        if kind in (_IPV4_TYPE, _IPV6_TYPE):
            return self._raw(frame, at)
        if kind < 0x0600:
            # 802.3: the field is a length; SNAP with no organisation carries an Ethernet type.
            if data[at : min(at + 6, end)] == b"\xaa\xaa\x03\0\0\0" and end - at >= 8:
                return self._ethertype(frame, at + 8, max(0x0600, _WORD.unpack_from(data, at + 6)[0]))
            return self._other("LLC")
        if kind == 0x8864:
            return self._ppp(frame, at + 6)
        if kind == 0x8847 or kind == 0x8848:
            while end - at >= 4:
                at += 4
                if data[at - 2] & 1:
                    return self._raw(frame, at)
            return self._skip("MPLS label cut")
        return self._other(_ETHERTYPES.get(kind, f"Ethernet type {kind:#06x}"))

    def _null(self, frame: Frame, at: int) -> _Decoded:
        # Four bytes of address family in the order of some host; the IP version below says the same more surely.
        return self._raw(frame, at + 4)

    def _cooked(self, frame: Frame, at: int) -> _Decoded:
        if frame.end - at < 16:
            return self._skip("Linux cooked header cut")
        return self._cooked_type(frame, at + 16, at + 14, at + 2)

    def _cooked2(self, frame: Frame, at: int) -> _Decoded:
        if frame.end - at < 20:
            return self._skip("Linux cooked header cut")
        return self._cooked_type(frame, at + 20, at, at + 8)

    def _cooked_type(self, frame: Frame, at: int, kind_at: int, hardware_at: int) -> _Decoded:
        (kind,) = _WORD.unpack_from(frame.data, kind_at)
        (hardware,) = _WORD.unpack_from(frame.data, hardware_at)
        if hardware == 824:
            return self._other("Netlink")
        if kind == 4:
            kind = 0x05FF  # 802.2 without a length field
        return self._ethertype(frame, at, kind)

    def _ppp(self, frame: Frame, at: int) -> _Decoded:
        data, end = frame.data, frame.end
        if data[at : min(at + 2, end)] == b"\xff\x03":
            at += 2
        if end - at < 2:
            return self._skip("PPP header cut")
        kind = data[at]
        at += 1
        if not kind & 1:
            kind = kind << 8 | data[at]
            at += 1
        if kind == 0x21 or kind == 0x57:
            return self._raw(frame, at)
        return self._other(f"PPP protocol {kind:#06x}")

    def _nflog(self, frame: Frame, at: int) -> _Decoded:
        # A header of 4 bytes, then attributes (length, type, value) in the byte order of the host; 9 is the packet.
        data, end = frame.data, frame.end
        at += 4
        while end - at >= 4:
            for order in "<>":
                length, kind = struct.unpack_from(order + "2H", data, at)
                if 4 <= length <= end - at:
                    break
            else:
                return self._skip("NFLOG attribute damaged")
            if kind == 9:
                return self._nested(frame, at + 4, at + length, self._raw)
            at += length + 3 & ~3
        return self._skip("NFLOG without a packet")

    def _foreign(self, frame: Frame, link_type: int) -> _Decoded:
        inner = tunnels.in_frame(link_type, frame.data[frame.start : frame.end])
        if inner is None:
            return self._skip(f"link type {link_type} is not known")
        return self._inside(frame, frame.start, frame.end, inner, LINK_TYPES.get(link_type, f"link type {link_type}"))

    # --- tunnels ---

    def _udp(self, frame: Frame, at: int, end: int) -> _Decoded:
        if end - at < 16:
            return self._other("UDP")
        source, target = _PORTS.unpack_from(frame.data, at)
        body = at + 8
        if target in _VXLAN_PORTS and frame.data[body] & 8:
            # RFC 7348: 8 bytes, then an Ethernet frame. Cloud networks mirror their traffic so: worth a short way.
            return self._nested(frame, body + 8, end, self._ethernet)
        port = next((port for port in (target, source) if port in tunnels.UDP_PORTS), 0)
        if frame.data[body : body + 4] == _TZSP:
            port = tunnels.TZSP_PORT  # sniffers send it to any port
        if port:
            return self._inside(frame, body, end, tunnels.in_udp(port, frame.data[body:end]), "UDP")
        return self._other("UDP")

    def _inside(self, frame: Frame, at: int, end: int, inner: tunnels.Inner, name: str) -> _Decoded:
        """Go on at the IP packet that scapy found; without one the frame counts under `name`."""
        if inner.offset < 0:
            return self._other(name)
        return self._nested(frame, at + inner.offset, end, self._raw)

    def _nested(self, frame: Frame, at: int, end: int, layer: Callable[[Frame, int], _Decoded]) -> _Decoded:
        return layer(Frame(frame.number, frame.time, frame.data, frame.start, end, frame.source), at)

    # --- IP ---

    def _raw(self, frame: Frame, at: int) -> _Decoded:
        """An IP packet of either version."""
        self._depth += 1
        if self._depth > _DEEPEST:
            return self._skip("headers nested too deep")
        if at >= frame.end:
            return self._skip("IP header cut")
        version = frame.data[at] >> 4
        if version == 4:
            return self._ipv4(frame, at)
        if version == 6:
            return self._ipv6(frame, at)
        return self._skip("no IP header where one should be")

    def _ipv4(self, frame: Frame, at: int) -> _Decoded:
        end = frame.end
        if end - at < 20:
            return self._skip("IPv4 header cut")
        first, total, ident, fragment, protocol, addresses = _IPV4.unpack_from(frame.data, at)
        header = (first & 15) * 4
        if header < 20 or header > end - at:
            return self._skip("IPv4 header damaged")
        # A host that lets its network card cut segments records a total length of 0: then all that was captured counts.
        if total:
            if total < header:
                return self._skip("IPv4 length damaged")
            end = min(end, at + total)
        body = at + header
        if fragment & 0x3FFF:
            key = addresses + struct.pack(">HB", ident, protocol)
            return self._fragment(
                frame, key, body, end, (fragment & 0x1FFF) * 8, fragment & 0x2000, protocol, addresses
            )
        return self._protocol(frame, body, end, protocol, addresses)

    def _ipv6(self, frame: Frame, at: int) -> _Decoded:
        data, end = frame.data, frame.end
        if end - at < 40:
            return self._skip("IPv6 header cut")
        length, protocol, addresses = _IPV6.unpack_from(data, at)
        at += 40
        if length:
            end = min(end, at + length)
        while True:
            if protocol in _EXTENSIONS:
                if end - at < 8:
                    return self._skip("IPv6 extension header cut")
                protocol, at = data[at], at + 8 + data[at + 1] * 8
            elif protocol == _AUTHENTICATION:
                if end - at < 8:
                    return self._skip("IPv6 extension header cut")
                protocol, at = data[at], at + 8 + data[at + 1] * 4
            elif protocol == _FRAGMENT:
                if end - at < 8:
                    return self._skip("IPv6 extension header cut")
                protocol, place, ident = struct.unpack_from(">BxH4s", data, at)
                at += 8
                if place & 0xFFF9:
                    return self._fragment(
                        frame, addresses + ident, at, end, place & 0xFFF8, place & 1, protocol, addresses
                    )
            else:
                return self._protocol(frame, at, end, protocol, addresses)

    def _protocol(self, frame: Frame, at: int, end: int, protocol: int, addresses: bytes) -> _Decoded:
        if protocol == 6:
            return self._tcp(frame, at, end, addresses)
        if protocol == 17:
            return self._udp(frame, at, end)
        if protocol in (4, 41):
            return self._nested(frame, at, end, self._raw)
        if protocol in tunnels.IP_PROTOCOLS:
            return self._inside(frame, at, end, tunnels.in_ip(protocol, frame.data[at:end]), f"IP protocol {protocol}")
        return self._other(_PROTOCOLS.get(protocol, f"IP protocol {protocol}"))

    def _tcp(self, frame: Frame, at: int, end: int, addresses: bytes) -> _Decoded:
        data = frame.data
        if end - at < 20:
            return self._skip("TCP header cut")
        ports, seq, ack, header, flags = _TCP.unpack_from(data, at)
        header = (header >> 4) * 4
        if header < 20:
            return self._skip("TCP header damaged")
        body = min(at + header, end)
        self.summary.protocols["TCP"] += 1
        self.summary.segments += 1
        source = frame.source
        if source is None:
            return (
                frame.number,
                frame.time,
                addresses + ports,
                seq,
                ack,
                flags,
                body,
                end - body,
                body - frame.start,
                None,
            )
        payload = source.derive("TCP payload", body, end - body)
        return frame.number, frame.time, addresses + ports, seq, ack, flags, 0, end - body, 0, payload

    # --- fragments ---

    def _fragment(
        self, frame: Frame, key: bytes, at: int, end: int, place: int, more: int, protocol: int, addresses: bytes
    ) -> _Decoded:
        """Hold a fragment; the one that completes the datagram gives the segment."""
        datagram = self._datagrams.get(key)
        if datagram is None:
            if len(self._datagrams) >= _HELD_DATAGRAMS:
                del self._datagrams[next(iter(self._datagrams))]
                self._skip("IP fragments never completed")
            datagram = self._datagrams[key] = _Datagram()
        if at < end:
            datagram.add(frame, at, end, place)
        if not more:
            datagram.length = place + end - at
            datagram.protocol = protocol
        if place == 0:
            datagram.protocol = protocol
        whole = datagram.whole()
        if whole is None:
            return self._other("IP fragment")
        del self._datagrams[key]
        joined = Frame(frame.number, frame.time, whole.data, 0, len(whole), whole)
        return self._protocol(joined, 0, len(whole), datagram.protocol, addresses)

    def finish(self) -> None:
        """At the end of the capture: name the datagrams that stayed incomplete."""
        if self._datagrams:
            self.summary.diagnose(
                Severity.NOTE, f"{len(self._datagrams)} fragmented IP datagrams are not complete in this capture"
            )
            self._datagrams.clear()


class _Datagram:
    """The fragments of one IP datagram, none overlapping: what came first wins."""

    __slots__ = ("length", "parts", "protocol")

    def __init__(self) -> None:
        #: place, end place, bytes, the frame or source they are from, the offset in it
        self.parts: list[tuple[int, int, bytes, ByteSource | int, int]] = []
        self.length = -1
        self.protocol = 0

    def add(self, frame: Frame, at: int, end: int, place: int) -> None:
        if len(self.parts) >= _MOST_FRAGMENTS:
            return
        shift = at - place
        stop = end - shift
        origin = frame.number if frame.source is None else frame.source
        fresh = []
        for start, done, _, _, _ in [*self.parts, (stop, stop, b"", 0, 0)]:
            if place < min(start, stop):
                until = min(start, stop)
                fresh.append(
                    (place, until, frame.data[place + shift : until + shift], origin, place + shift - frame.start)
                )
            place = max(place, done)
        self.parts += fresh
        self.parts.sort(key=lambda part: part[0])

    def whole(self) -> ByteSource | None:
        if self.length < 0:
            return None
        done = 0
        for place, stop, _, _, _ in self.parts:
            if place != done:
                return None
            done = stop
        if done < self.length:
            return None
        pieces = [Piece(place, len(data), origin, at, len(data)) for place, _, data, origin, at in self.parts]
        return ByteSource("IP datagram", b"".join(part[2] for part in self.parts), pieces)
