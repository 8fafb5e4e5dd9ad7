"""Rules about calls: failures of the transport, sessions that are lost, slow calls, retries, holes in the capture."""

from __future__ import annotations

from collections.abc import Iterator

from dissector.diagnose.base import Case, Hit, Severity, code_meaning, code_text, counted, rule
from dissector.emsmdb.call import Side
from dissector.grammar.names import enum_name
from dissector.node import Severity as NodeSeverity
from dissector.session.exchange import Exchange
from dissector.session.stream import Stream

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
WAITS = frozenset(("NotificationWait", "EcDoAsyncWaitEx"))
"""Calls that a server holds until something happens."""
MAILBOX_CALLS = frozenset(
    ("Connect", "Execute", "Disconnect", "EcDoConnect", "EcDoConnectEx", "EcDoRpc", "EcDoRpcExt", "EcDoRpcExt2")
)
OPENING = frozenset(("Connect", "EcDoConnect", "EcDoConnectEx"))
SLOW = 10.0
"""Seconds."""
LATE = 5.0
"""A request without response is blamed on the server only where the capture goes on for so many seconds."""
SHOWN = 5
SOON = 5
"""A request that comes again later than after so many calls is no retry: clients ask the same things over and over."""
REFUSED_LOGONS = 4
SESSION_GONE = {6, 10, 13, 15}
"""X-ResponseCodes that say that the session context or its cookies are no good [MS-OXCMAPIHTTP] 2.2.3.3.3."""
SESSION_GONE_GROMOX = {2, 6, 7}
CREDENTIAL_STATUS = 401
CUT = "The capture file is cut: neither side did anything wrong here. Copy it anew from its origin, or capture longer."


def shown(case: Case, name: str, session: int | None) -> bool:
    """Whether a rule that may fire often is still to tell it: the first few times in a session."""
    counts = case.remembered(name, dict)
    counts[session] = counts.get(session, 0) + 1
    return bool(counts[session] <= SHOWN)


def session_of(exchange: Exchange) -> int | None:
    return exchange.session.number if exchange.session is not None else None


def answer_frame(exchange: Exchange) -> int:
    return exchange.call.response.frame if exchange.call.response is not None else exchange.frame


def is_whole(side: Side | None) -> bool:
    """Whether all of a message was captured. One that was not captured at all is not for this to tell."""
    message = getattr(side.envelope, "message", None) if side is not None else None
    return bool(getattr(message, "complete", True))


def failed(exchange: Exchange) -> str:
    """Why a call as a whole came to nothing, in words; '' where it did not."""
    response = exchange.call.response
    if response is None:
        return "without an answer"
    fields = response.fields
    if fields.get("X-ResponseCode"):
        return f"X-ResponseCode {fields['X-ResponseCode']}"
    if fields.get("HTTPStatus", 200) >= 500:
        return f"HTTP status {fields['HTTPStatus']}"
    if fields.get("Fault") is not None:
        return f"RPC fault 0x{fields['Fault']:08X}"
    return ""


@rule(
    "response-code", ERROR, "exchange", "MS-OXCMAPIHTTP 2.2.3.3.3",
    "The request did not reach the mailbox. Look at the HTTP front end and its log.",
)  # fmt: skip
def response_code(case: Case, exchange: Exchange) -> Iterator[Hit]:
    """A MAPI/HTTP response has an X-ResponseCode other than 0."""
    request, response = exchange.call.request, exchange.call.response
    cookies = case.remembered("cookies", dict).setdefault(session_of(exchange), {})
    stale = [key for key in request.session_keys if "=" in key] if request is not None else []
    stale = [key for key in stale if cookies.get(key.partition("=")[0], key) != key]
    for key in response.session_keys if response is not None else ():
        cookies[key.partition("=")[0]] = key
    code = response.fields.get("X-ResponseCode") if response is not None else None
    if not code or not shown(case, "response-code", session_of(exchange)):
        return
    name, gromox = enum_name("ResponseCode", code), enum_name("GromoxResponseCode", code)
    evidence = {"by the specification": name or "not named"}
    if gromox:
        evidence["by the numbers of Gromox"] = gromox
    if stale:
        names = ", ".join(key.partition("=")[0] for key in stale)
        evidence["cookies"] = f"{names}: the client did not send back what the server had set last"
    advice = ""
    if code in SESSION_GONE or code in SESSION_GONE_GROMOX:
        advice = (
            "The session is lost, or will be taken for lost: a restart of the server, a load balancer that changes "
            "servers, or cookies that the client or a proxy does not send back. The client begins anew with Connect."
        )
    message = f"{exchange.call.name} was answered with X-ResponseCode {code} ({name or gromox or 'not named'})"
    yield Hit(answer_frame(exchange), exchange.number, message, evidence, advice=advice)


@rule(
    "session-reopened", NOTE, "exchange", "MS-OXCMAPIHTTP 3.2.5.6",
    "The handles of the old session are lost, and what was under way in it has to be done again. See why it failed.",
    rpc_spec="MS-OXCRPC 3.1.4.1",
)  # fmt: skip
def session_reopened(case: Case, exchange: Exchange) -> Iterator[Hit]:
    """A client opens a session anew after one of its sessions failed."""
    session = exchange.session
    if session is None:
        return
    lost = case.remembered("session-reopened", dict)
    who = session.client.rpartition(":")[0], session.user_dn
    why = failed(exchange) if exchange.call.name in MAILBOX_CALLS else ""
    if exchange.call.name in OPENING and not why:
        before = lost.pop(who, None)
        if before is not None and before[0] != session.number:
            message = f"session {session.number} is opened after session {before[0]} of the same client failed"
            yield Hit(exchange.frame, exchange.number, message, {"the failure": f"frame {before[1]}, {before[2]}"})
    elif why:
        lost[who] = session.number, answer_frame(exchange), why


@rule(
    "http-status", WARNING, "exchange", "MS-OXCMAPIHTTP 2.2.2.2",
    "The front end or a proxy answered in place of the mailbox server: look at its log.",
)  # fmt: skip
def http_status(case: Case, exchange: Exchange) -> Iterator[Hit]:
    """A MAPI/HTTP request was answered with an HTTP error."""
    response = exchange.call.response
    status = response.fields.get("HTTPStatus") if response is not None else None
    if status is None:
        return
    refused = case.remembered("http-status 401", dict)
    place = getattr(exchange.call.connection, "number", None)
    if status != CREDENTIAL_STATUS:
        refused.pop(place, None)
        if status >= 400 and shown(case, "http-status", session_of(exchange)):
            message = f"{exchange.call.name} was answered with HTTP status {status}"
            yield Hit(answer_frame(exchange), exchange.number, message)
        return
    refused[place] = refused.get(place, 0) + 1
    if refused[place] == REFUSED_LOGONS:
        message = f"{REFUSED_LOGONS} requests in a row were answered with HTTP status 401"
        advice = "The server does not accept the credentials: one or two such answers begin every logon, more do not."
        yield Hit(answer_frame(exchange), exchange.number, message, advice=advice)


@rule(
    "rpc-fault", ERROR, "exchange", "MS-OXCRPC 3.2.4.4",
    "The call was not carried out: look at the server. nca_s_fault_access_denied and rpc_s_server_too_busy come before "
    "the mailbox is reached.",
)  # fmt: skip
def rpc_fault(case: Case, exchange: Exchange) -> Iterator[Hit]:
    """A DCE/RPC call ended with a fault."""
    response = exchange.call.response
    fault = response.fields.get("Fault") if response is not None else None
    if fault is not None and shown(case, "rpc-fault", session_of(exchange)):
        name = enum_name("FaultStatus", fault)
        message = f"{exchange.call.name} ended with the fault {name or 'not named'} (0x{fault:08X})"
        yield Hit(answer_frame(exchange), exchange.number, message)


@rule(
    "call-failed", ERROR, "exchange", "MS-OXCMAPIHTTP 2.2.4",
    "No ROP of this request was carried out.",
    rpc_spec="MS-OXCRPC 3.1.4.2",
)  # fmt: skip
def call_failed(case: Case, exchange: Exchange) -> Iterator[Hit]:
    """Connect, Execute or their RPC counterparts returned an error."""
    response = exchange.call.response
    if response is None or exchange.call.name not in MAILBOX_CALLS or response.fields.get("Fault") is not None:
        return
    code = response.return_code
    if code and shown(case, "call-failed", session_of(exchange)):
        message = f"{exchange.call.name} failed: {code_meaning(code)}"
        yield Hit(answer_frame(exchange), exchange.number, message)


@rule(
    "session-gone", WARNING, "exchange", "MS-OXCRPC 3.1.4.2",
    "The server forgot the session (a restart, a time-out, another server behind a load balancer). The client begins "
    "anew; all its handles are lost.",
)  # fmt: skip
def session_gone(case: Case, exchange: Exchange) -> Iterator[Hit]:
    """The server answered an RPC call with a null context handle."""
    request, response = exchange.call.request, exchange.call.response
    if response is None or request is None or exchange.call.name not in ("EcDoRpcExt2", "EcDoRpc", "EcDoRpcExt"):
        return
    had = any(str(key).startswith("cxh=") for key in request.session_keys)
    has = any(str(key).startswith("cxh=") for key in response.session_keys)
    broken = any(one.severity is NodeSeverity.MALFORMED for one in response.diagnostics)
    if had and not has and not broken and response.fields.get("Fault") is None:
        message = f"{exchange.call.name} was answered with a null context handle"
        code = response.return_code
        yield Hit(response.frame, exchange.number, message, {"returned": code_text(code)} if code else {})


@rule(
    "call-retried", WARNING, "exchange", "MS-OXCMAPIHTTP 3.1.7",
    "See why the first one failed. Where the server did carry it out and only the answer was lost, it is done twice.",
    rpc_spec="MS-OXCRPC 3.2.4.4",
)  # fmt: skip
def call_retried(case: Case, exchange: Exchange) -> Iterator[Hit]:
    """A request that failed is sent again unchanged."""
    request = exchange.call.request
    tries = case.remembered("call-retried", dict)
    why = failed(exchange) if request is not None and request.payloads else ""
    if request is None or not request.payloads or not (tries or why):
        return
    client = exchange.session.client.rpartition(":")[0] if exchange.session is not None else ""
    key = client, exchange.call.name, tuple(payload.data for payload in request.payloads)
    first = tries.get(key)
    if first is not None and exchange.number - first[2] > SOON:
        del tries[key]
        first = None
    if first is not None and shown(case, "call-retried times", session_of(exchange)):
        message = f"{exchange.call.name} is sent again as it was, after a try that ended {first[1]}"
        rops = ", ".join(dict.fromkeys(rop.name for rop in exchange.rops[:SHOWN]))
        yield Hit(exchange.frame, exchange.number, message, {"first try": f"frame {first[0]}", "ROPs": rops})
    if why:
        words = why if why.startswith("without") else f"with {why}"
        tries[key] = exchange.frame, words, exchange.number
        if len(tries) > 256:
            del tries[next(iter(tries))]


@rule(
    "slow-call", WARNING, "exchange", "MS-OXCMAPIHTTP 2.2.3.3.9",
    "Users wait for this. Look at what the server did (X-ElapsedTime tells its own share), and at the network.",
    rpc_spec="MS-OXCRPC 3.1.4.2",
)  # fmt: skip
def slow_call(case: Case, exchange: Exchange) -> Iterator[Hit]:
    """A call took ten seconds or longer."""
    request, response = exchange.call.request, exchange.call.response
    if request is None or response is None or exchange.call.name in WAITS:
        return
    elapsed = response.time - request.time
    if elapsed >= SLOW and shown(case, "slow-call", session_of(exchange)):
        rops = ", ".join(dict.fromkeys(rop.name for rop in exchange.rops[:SHOWN]))
        message = f"{exchange.call.name} took {elapsed:.1f} s"
        yield Hit(exchange.frame, exchange.number, message, {"ROPs": rops} if rops else {})


@rule(
    "never-answered", WARNING, "end", "MS-OXCMAPIHTTP 3.1.7",
    "The server or something between closed the connection or never answered. Look at time-outs of proxies, and at "
    "what the client sent next.",
    rpc_spec="MS-OXCRPC 3.1.4.2",
)  # fmt: skip
def never_answered(case: Case) -> Iterator[Hit]:
    """A request was never answered, though the capture goes on or the connection was closed."""
    for one in case.unanswered[:SHOWN]:
        left = case.last[1] - one.time
        message, severity, advice = f"{one.name} has no answer; the capture goes on for {left:.0f} s", None, ""
        if one.ended is not None:
            side, waited = one.ended[0], max(0.0, one.ended[1] - one.time)
            who = "server" if side else "client"
            message = f"{one.name} has no answer; the {who} closed the connection after {waited:.1f} s"
            if left < LATE and waited < LATE and not side:
                severity, advice = NOTE, "The client did not wait for it."
        elif left < LATE:
            message = f"{one.name} has no answer before the capture ends"
            severity, advice = NOTE, "The capture was stopped here."
        yield Hit(one.frame, one.exchange, message, {}, severity, advice, one.rpc)
    if len(case.unanswered) > SHOWN:
        message = f"{counted(len(case.unanswered) - SHOWN, 'more call')} without an answer"
        yield Hit(case.unanswered[SHOWN].frame, case.unanswered[SHOWN].exchange, message)


@rule(
    "rop-malformed", WARNING, "exchange", "MS-OXCROPS 2.2",
    "`dissector tree` shows the place. Either side that sends such bytes has an error; what follows in the buffer is "
    "lost with it.",
)  # fmt: skip
def rop_malformed(case: Case, exchange: Exchange) -> Iterator[Hit]:
    """A ROP cannot be read: its bytes break the layout."""
    for rop in exchange.rops:
        for side in (rop.request, rop.response):
            if side is None or side.error is None or side.error.severity is not NodeSeverity.MALFORMED:
                continue
            if not is_whole(exchange.call.response if side.is_response else exchange.call.request):
                continue  # capture-damaged tells
            if shown(case, "rop-malformed", session_of(exchange)):
                what = "response" if side.is_response else "request"
                frame = answer_frame(exchange) if side.is_response else exchange.frame
                message = f"the {what} of {side.name} cannot be read: {side.error.message}"
                yield Hit(frame, exchange.number, message)


@rule(
    "capture-damaged", WARNING, "exchange", "MS-OXCRPC 2.2.2.1",
    "Bytes are missing or broken: what is said of this session from here on is uncertain.",
)  # fmt: skip
def capture_damaged(case: Case, exchange: Exchange) -> Iterator[Hit]:
    """A message is not complete in the capture, or its envelope cannot be read."""
    bad = [one for one in exchange.diagnostics if one.severity is NodeSeverity.MALFORMED]
    if bad:
        case.gaps += 1
        if shown(case, "capture-damaged", session_of(exchange)):
            message = f"{exchange.call.name}: {bad[0].message}"
            if case.cut and not all(map(is_whole, (exchange.call.request, exchange.call.response))):
                yield Hit(exchange.frame, exchange.number, message, {"the file": case.cut}, advice=CUT)
            else:
                yield Hit(exchange.frame, exchange.number, message)


@rule(
    "stream-has-holes", WARNING, "stream", "MS-OXCFXICS 2.2.4.1",
    "Packets are missing in the capture, so that what the stream holds is known in part. Capture nearer to the client, "
    "with a larger buffer.",
)  # fmt: skip
def stream_has_holes(case: Case, stream: Stream) -> Iterator[Hit]:
    """Parts of a FastTransfer stream are missing in the capture."""
    holes = [gap for gap in stream.gaps if not gap.why.startswith("the capture does not show how")]
    if holes:
        case.gaps += 1
        message = f"stream {stream.number}: {holes[0].why}"
        if case.over and all(gap.offset == stream.size for gap in holes):
            ends = case.cut or (case.breaks_off and case.summary is not None and not case.missing)
            if ends:
                message = f"stream {stream.number}: the capture ends there, within its transfer"
                evidence = {"the file": case.cut} if case.cut else {}
                advice = CUT if case.cut else "The capture was stopped here: capture until the transfer is done."
                yield Hit(stream.first_frame, stream.exchange, message, evidence, NOTE, advice)
                return
        more = {"holes": str(len(holes))} if len(holes) > 1 else {}
        yield Hit(
            stream.first_frame, stream.exchange, message, {**more, "unread": counted(stream.account.skipped, "byte")}
        )


@rule(
    "packets-missing", WARNING, "end", "RFC 9293 3.8",
    "The capture lost packets: findings about what did not come may be wrong. Capture with a larger buffer.",
)  # fmt: skip
def packets_missing(case: Case) -> Iterator[Hit]:
    """TCP segments are missing or frames were cut (note: where no MAPI message seems to be touched)."""
    touched = case.gaps or case.unanswered
    severity = None if touched else NOTE
    note = "" if touched else "No MAPI message that was read lacks anything: other connections may have lost it."
    if case.missing:
        holes = counted(case.holes, "hole")
        message = f"{counted(case.missing, 'byte')} missing in {holes} of TCP connections"
        yield Hit(case.last[0], 0, message, severity=severity, advice=note)
    if case.truncated:
        message = f"{counted(case.truncated, 'frame')} cut when captured (snapshot length)"
        advice = note or "Capture with an unlimited snapshot length (tshark -s 0)."
        yield Hit(0, 0, message, severity=severity, advice=advice)
