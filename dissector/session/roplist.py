"""ROP buffers taken apart into ROPs, and responses paired with their requests.

A ROP list carries no lengths: where one ROP ends is known only by reading it. So a ROP that cannot be read (no
published layout, missing context, broken bytes) makes the rest of its list opaque; that rest stays visible with the
reason. Responses stand in the order of their requests (RopRelease has none); RopNotify, RopPending, RopBackoff and
RopBufferTooSmall answer no request of their own. A ROP that may run on (WantAsynchronous) is answered by RopProgress
while it does, and the RopProgress request after which it is done by the response of that ROP [MS-OXCROPS] 2.2.8.13.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from construct import Construct

from dissector.grammar.base import GrammarError
from dissector.grammar.reading import parse
from dissector.grammar.rops import ROPS
from dissector.grammar.rops.base import RopDef
from dissector.node import Diagnostic, Severity
from dissector.session.exchange import PROGRESS, RopBuffer, RopSide
from dissector.source import ByteSource

ANSWERED_AS = {0x20: (0x20, 0x1F)}
"""Response RopIds that also answer another request: RopGetMessageStatus is answered as RopSetMessageStatus."""

MOST_ROPS = 50_000
"""ROPs of one exchange: buffers behind them are not read. The smallest ROPs fill a buffer of 32 KiB with 11,000."""
WARNING = 0x0004
"""High half of the ReturnValues that are warnings: the ROP succeeded, and some servers send its fields with them."""

ASYNCHRONOUS = frozenset(
    rop_id
    for rop_id, definition in ROPS.items()
    if definition.request is not None and any(one.name == "WantAsynchronous" for one in definition.request.subcons)
)
"""ROPs that a client may let run on."""

Choose = Callable[[bytes, int, int], tuple[RopDef | None, Construct | None, Mapping[str, Any]]]


def read_requests(source: ByteSource, params: Callable[[RopDef, int], Mapping[str, Any]]) -> RopBuffer:
    """The ROP buffer of a request. params gives what a request layout needs, by definition and LogonId."""

    def choose(data: bytes, at: int, end: int) -> tuple[RopDef | None, Construct | None, Mapping[str, Any]]:
        definition = ROPS.get(data[at])
        if definition is None or definition.request is None:
            return definition, None, {}
        given = params(definition, data[at + 1]) if at + 1 < end else {}
        if "logon_flags" in given and given["logon_flags"] is None:
            given = _infer_logon(definition, data, at, end, given)
        return definition, definition.request, given

    return _read(source, choose, is_response=False, took=lambda side: None)


def _infer_logon(definition: RopDef, data: bytes, at: int, end: int, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """logon_flags for a ROP whose logon the capture does not show, where the length of the ROP list leaves no doubt.

    Of the two layouts (private, public) the one with which the list is read exactly to its end is taken; where both or
    neither do, the flags stay unknown.
    """
    fitting = [flags for flags in (1, 0) if _fits(definition, data, at, end, {**given, "logon_flags": flags})]
    return {**given, "logon_flags": fitting[0], "inferred": "logon_flags"} if len(fitting) == 1 else given


def _fits(definition: RopDef, data: bytes, at: int, end: int, given: Mapping[str, Any]) -> bool:
    """Whether the ROP list can be read to its very end when this ROP is read with these arguments."""
    layout: Construct | None = definition.request
    try:
        while layout is not None:
            _, at = parse(layout, data, at, end, **given)
            if at == end:
                return True
            following = ROPS.get(data[at])
            layout = following.request if following is not None else None
    except GrammarError:
        pass
    return False


def read_responses(
    source: ByteSource,
    requests: Sequence[RopSide],
    answered: set[int],
    params: Callable[[RopDef, RopSide | None, bytes, int], Mapping[str, Any]],
    took: Callable[[RopSide, int | None], None],
) -> RopBuffer:
    """The ROP buffer of a response.

    requests: the ROPs of the request, in order; answered: positions in it that have their response (filled here, and
    kept over the buffers of a chain). params gives what a layout needs from the session. took is called for every
    response as soon as it is read, with the position of its request, so that the session is up to date for the next.
    """
    current: list[int | None] = [None]

    def choose(data: bytes, at: int, end: int) -> tuple[RopDef | None, Construct | None, Mapping[str, Any]]:
        rop_id = data[at]
        definition = ROPS.get(rop_id)
        current[0] = None
        if definition is None or not definition.responses:
            return definition, None, {}
        if not definition.has_return_value:
            return definition, definition.responses[0], params(definition, None, data, at)
        position = current[0] = _request_of(rop_id, data[at + 1] if at + 1 < end else None, requests, answered)
        request = requests[position] if position is not None else None
        given = params(definition, request, data, at)
        if end - at < 6:
            return definition, definition.responses[0], given
        return_value = struct.unpack_from("<I", data, at + 2)[0]
        layout = definition.response_layout(return_value)
        if return_value and return_value not in definition.responses:
            layout = response_form(definition, data, at, end, given, _next_ids(requests, position))
        return definition, layout, given

    def taken(side: RopSide) -> None:
        if current[0] is not None:
            answered.add(current[0])
        took(side, current[0])

    return _read(source, choose, is_response=True, took=taken)


def _request_of(rop_id: int, index: int | None, requests: Sequence[RopSide], answered: set[int]) -> int | None:
    """The position of the request that a response belongs to: RopId and echoed index agree, first unanswered.

    A packed response (the same ROP again in a later buffer of the chain) belongs to the last answered one.
    """
    wanted = ANSWERED_AS.get(rop_id, (rop_id,))
    again = None
    for position, request in enumerate(requests):
        if request.value is None or request.definition is None:
            continue
        if request.rop_id not in wanted and not _runs_on(rop_id, request):
            continue
        if request.definition.index is not None and request.value.get(request.definition.index) != index:
            continue
        if position not in answered:
            return position
        if request.rop_id in wanted:
            again = position
    return again


def _runs_on(rop_id: int, request: RopSide) -> bool:
    """Whether this response may be RopProgress of a ROP that runs on, or what ends it and answers RopProgress."""
    if rop_id == PROGRESS:
        return bool(request.value.get("WantAsynchronous"))
    return request.rop_id == PROGRESS and rop_id in ASYNCHRONOUS


def _next_ids(requests: Sequence[RopSide], position: int | None) -> set[int]:
    """RopIds that may follow the response of request `position`."""
    after = requests[position + 1 :] if position is not None else requests
    ids = {0x2A, 0x6E, 0xF9, 0xFF}
    for request in after:
        if request.definition is not None and request.definition.responses:
            ids.add(0x20 if request.rop_id == 0x1F else request.rop_id)
            if request.rop_id == PROGRESS:
                ids |= ASYNCHRONOUS
            elif request.value is not None and request.value.get("WantAsynchronous"):
                ids.add(PROGRESS)
            break
    return ids


def response_form(
    definition: RopDef,
    data: bytes,
    at: int,
    end: int,
    given: Mapping[str, Any],
    following: Collection[int] = (),
) -> Construct | None:
    """The layout of a response in data[at:end], by its ReturnValue and by what comes behind it.

    For a warning that of success, for all else that of failure: the full one of the spec, or the short one that some
    servers send. Where none is followed by one of the RopIds in `following`, or by the end, it is that of the spec, the
    short one where there is one.
    """
    if not definition.has_return_value or end - at < 6:
        return definition.responses.get(0)
    return_value = struct.unpack_from("<I", data, at + 2)[0]
    if not return_value or return_value in definition.responses:
        return definition.response_layout(return_value)
    full, short = definition.responses.get(None), definition.short_failure
    forms = [full] if short is not None else []
    if return_value >> 16 == WARNING:
        forms.insert(0, definition.responses[0])
    for form in forms:
        try:
            _, stop = parse(form, data, at, end, **given)
        except GrammarError:
            continue
        if stop == end or data[stop] in following:
            return form
    return short if short is not None else full


def _read(source: ByteSource, choose: Choose, is_response: bool, took: Callable[[RopSide], None]) -> RopBuffer:
    data = source.data
    size = len(data)
    trouble: list[tuple[int, int, Diagnostic]] = []
    rops: list[RopSide] = []
    if size < 2:
        if size:
            trouble.append((0, size, Diagnostic(Severity.MALFORMED, "too short for a RopSize")))
        return RopBuffer(source, 0, rops, (), size, trouble)
    rop_size = struct.unpack_from("<H", data)[0]
    end = min(max(rop_size, 2), size)
    at = 2
    while at < end:
        definition, layout, params = choose(data, at, end)
        value, error, stop = None, None, end
        if layout is None:
            error = unreadable(data[at], definition, is_response, at)
        else:
            try:
                value, stop = parse(layout, data, at, end, **params)
            except GrammarError as problem:
                error = problem
        side = RopSide(data[at], definition, layout, source, at, stop - at, value, params, is_response, error)
        rops.append(side)
        took(side)
        at = stop
    if rop_size != end:
        message = f"RopSize is {rop_size}, the buffer has {size} bytes"
        trouble.append((end, 0, Diagnostic(Severity.MALFORMED, message)))
    count = (size - end) // 4
    handles = struct.unpack_from(f"<{count}I", data, end)
    odd = end + 4 * count
    if odd < size:
        trouble.append((odd, size - odd, Diagnostic(Severity.MALFORMED, "not a whole handle")))
    return RopBuffer(source, rop_size, rops, handles, end, trouble)


def left_out(source: ByteSource) -> RopBuffer:
    """A ROP buffer that is not read, since the exchange has so many ROPs already."""
    size = len(source.data)
    why = Diagnostic(Severity.MALFORMED, f"not read: there are more than {MOST_ROPS} ROPs in this exchange")
    start = min(2, size)
    trouble = [(start, size - start, why)] if size > start else []
    return RopBuffer(source, int.from_bytes(source.data[:2], "little"), [], (), size, trouble)


def unreadable(rop_id: int, definition: RopDef | None, is_response: bool, at: int) -> GrammarError:
    if definition is None:
        return GrammarError(Severity.MALFORMED, f"0x{rop_id:02X} is no RopId", at)
    what = "response" if is_response else "request"
    if definition.request is None and not definition.responses:
        return GrammarError(Severity.NO_CONTEXT, f"{definition.name} has no published layout", at)
    return GrammarError(Severity.MALFORMED, f"{definition.name} has no {what}", at)
