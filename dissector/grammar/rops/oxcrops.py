"""ROPs of the transport itself [MS-OXCROPS] 2.2.15."""

from __future__ import annotations

from functools import cache

from construct import Construct, this

from dissector.grammar.forms import ByFirst, ToEnd
from dissector.grammar.layouts import Count, Deferred, Fixed, Layout, Rows, RowsToEnd
from dissector.grammar.leaves import U8, U16, U32, Enumerated
from dissector.grammar.rops.base import RopDef, counted_bytes, response_only, rop


@cache
def _any_request() -> Construct:
    from dissector.grammar.rops import ROPS

    requests = {rop_id: definition.request for rop_id, definition in ROPS.items() if definition.request is not None}
    return ByFirst(U8, "RopId", requests)


RopRequests = RowsToEnd(Deferred(_any_request))
"""Request ROPs back to back, to the end."""

BUFFER_TOO_SMALL = response_only(
    0xFF, "RopBufferTooSmall", "2.2.15.1",
    "SizeNeeded" / U16,
    "RequestBuffers" / ToEnd(RopRequests),
    summary=("SizeNeeded", "RequestBuffers"),
    params=("logon_flags", "codepage"),
)  # fmt: skip

BackoffRop = Layout(
    "RopIdBackoff" / Enumerated(U8, "RopId"),
    "Duration" / U32,
    name="BackoffRop",
    spec="MS-OXCROPS 2.2.15.2.1.1",
    summary="{RopIdBackoff}: {Duration} ms",
)

BACKOFF = response_only(
    0xF9, "RopBackoff", "2.2.15.2",
    "LogonId" / Fixed(U8, 0),
    "Duration" / U32,
    "BackoffRopCount" / Count(U8, "BackoffRopData"),
    "BackoffRopData" / Rows(this.BackoffRopCount, BackoffRop),
    *counted_bytes("AdditionalDataSize", "AdditionalData"),
    summary=("Duration", "BackoffRopData"),
)  # fmt: skip

RELEASE = rop(
    0x01, "RopRelease", "2.2.15.3",
    no_response=True,
)  # fmt: skip

ROPS: tuple[RopDef, ...] = (RELEASE, BUFFER_TOO_SMALL, BACKOFF)
