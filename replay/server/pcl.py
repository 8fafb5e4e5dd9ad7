"""Predecessor change lists as bytes: advancing, comparing and merging them [MS-OXCFXICS] 2.2.2.3, 3.1.5.6.

A list is SizedXids back to back, ascending by namespace GUID (its 16 bytes on the wire), one per namespace.
"""

from __future__ import annotations


def read(data: bytes) -> dict[bytes, bytes]:
    """Namespace GUID bytes -> local id. ValueError where the bytes are no list."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        size = data[at]
        xid = data[at + 1 : at + 1 + size]
        if len(xid) != size or not 17 <= size <= 24:
            raise ValueError(f"no SizedXid at byte {at} of a predecessor change list")
        guid, local = xid[:16], xid[16:]
        if guid not in found or _newer(local, found[guid]):
            found[guid] = local
        at += 1 + size
    return found


def write(xids: dict[bytes, bytes]) -> bytes:
    return b"".join(bytes((16 + len(xids[guid]),)) + guid + xids[guid] for guid in sorted(xids))


def _newer(local: bytes, than: bytes) -> bool:
    return int.from_bytes(local, "big") > int.from_bytes(than, "big")


def with_xid(data: bytes, xid: bytes) -> bytes:
    """The list after the change `xid`."""
    xids = read(data)
    xids[xid[:16]] = xid[16:]
    return write(xids)


def merged(first: bytes, second: bytes) -> bytes:
    xids = read(first)
    for guid, local in read(second).items():
        if guid not in xids or _newer(local, xids[guid]):
            xids[guid] = local
    return write(xids)


def includes(first: bytes, second: bytes) -> bool:
    """Whether every change of the second list is in the first or was followed by one in it."""
    xids = read(first)
    return all(guid in xids and not _newer(local, xids[guid]) for guid, local in read(second).items())
