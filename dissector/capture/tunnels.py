"""Rare link types and tunnels, through scapy: where in these bytes does an IP packet begin?

Scapy knows very many headers but takes 0.5 s to import and 0.1 ms and more for a frame, so it is imported when the
first such frame comes, and asked for nothing but the place of the inner IP header; the rest is our own path again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

#: Of a frame only this much is dissected: no stack of headers is longer.
_HEADERS = 512

#: What begins behind a header of ours, by UDP port or IP protocol number: module and class in scapy.
_UDP = {
    1701: ("scapy.layers.l2tp", "L2TP"),
    2152: ("scapy.contrib.gtp", "GTPHeader"),
    4754: ("scapy.layers.l2", "GRE"),
    4790: ("scapy.layers.vxlan", "VXLAN"),
    6081: ("scapy.contrib.geneve", "GENEVE"),
    37008: ("scapy.contrib.tzsp", "TZSP"),
}
_IP = {
    47: ("scapy.layers.l2", "GRE"),
    97: ("scapy.contrib.etherip", "EtherIP"),
}
#: Modules that bind further layers to these.
_BINDINGS = (
    "scapy.layers.inet",
    "scapy.layers.inet6",
    "scapy.layers.ppp",
    "scapy.contrib.mpls",
    "scapy.contrib.erspan",
)

UDP_PORTS = frozenset(_UDP)
IP_PROTOCOLS = frozenset(_IP)
TZSP_PORT = 37008


class Inner(NamedTuple):
    """offset: where the inner IP header begins, -1 when there is none. names: the layers before it."""

    offset: int
    names: str


def in_udp(port: int, data: bytes) -> Inner:
    """data: the payload of a UDP datagram to or from a tunnel port."""
    return _find(_load(*_UDP[port]), data)


def in_ip(protocol: int, data: bytes) -> Inner:
    """data: the payload of an IP packet of a tunnel protocol."""
    return _find(_load(*_IP[protocol]), data)


def in_frame(link_type: int, data: bytes) -> Inner | None:
    """data: a frame of a link type that is not ours; None when scapy does not know it either."""
    _bind()
    config = import_module("scapy.config").conf
    layer = config.l2types.num2layer.get(link_type)
    return None if layer is None else _find(layer, data)


@cache
def _bind() -> None:
    import logging

    logging.getLogger("scapy").setLevel(logging.CRITICAL)  # what it thinks of a damaged header is not for the user
    logging.getLogger("scapy.runtime").setLevel(logging.CRITICAL)
    import_module("scapy.all")
    for name in _BINDINGS:
        import_module(name)


@cache
def _load(module: str, name: str) -> Callable[[bytes], Any]:
    _bind()
    layer: Callable[[bytes], Any] = getattr(import_module(module), name)
    return layer


def _find(layer: Callable[[bytes], Any], data: bytes) -> Inner:
    names: list[str] = []
    data = data[:_HEADERS]
    try:
        packet = layer(data)
        while packet:
            name = type(packet).__name__
            if name in ("IP", "IPv6"):
                # Scapy keeps no offsets, but the bytes of each header.
                return Inner(data.find(packet.raw_packet_cache[:40]), "/".join(names))
            names.append(name)
            packet = packet.payload
    except Exception as error:
        # Foreign code on any bytes: whatever it raises, this frame is only one that could not be read.
        names.append(f"scapy: {type(error).__name__}")
    return Inner(-1, "/".join(names))
