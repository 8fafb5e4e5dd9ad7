"""What the server tells of itself in the auxiliary buffer of Connect [MS-OXCRPC] 2.2.2.2."""

from __future__ import annotations

from dissector.emsmdb import buffers
from dissector.grammar.auxiliary import AuxBlocks
from dissector.grammar.base import build

EXORGINFO, CLIENT_CONTROL, SERVER_CAPABILITIES, ENDPOINT_CAPABILITIES = 0x17, 0x0A, 0x46, 0x48

NO_PUBLIC_FOLDERS = 0
COMPRESSION = 0x04
PACKED_FAST_TRANSFER, PACKED_WRITE_STREAM, ULTRA_LARGE_DOWNLOADS = 0x1, 0x2, 0x8
SINGLE_ENDPOINT = 0x1

EXPIRY = 604_800_000
"""Milliseconds that a client keeps its performance data."""

BLOCKS = (
    (EXORGINFO, {"OrgFlags": NO_PUBLIC_FOLDERS}),
    (CLIENT_CONTROL, {"EnableFlags": COMPRESSION, "ExpiryTime": EXPIRY}),
    (SERVER_CAPABILITIES, {
        "ServerCapabilityFlags": PACKED_FAST_TRANSFER | PACKED_WRITE_STREAM | ULTRA_LARGE_DOWNLOADS
    }),
    (ENDPOINT_CAPABILITIES, {"EndpointCapabilityFlag": SINGLE_ENDPOINT}),
)  # fmt: skip

GREETING = buffers.pack([build(AuxBlocks, [{"Version": 1, "Type": kind, "Body": body} for kind, body in BLOCKS])])
"""The auxiliary buffer of a Connect response."""
