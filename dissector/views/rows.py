"""One row per ROP: what `dissector list` prints and what -Y filters on."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from dissector.emsmdb.call import Call
from dissector.grammar.base import labeller_of
from dissector.grammar.leaves import filetime_text
from dissector.grammar.names import enum_name, error_name, property_name
from dissector.model.ids import ObjectId
from dissector.node import Severity, Undecoded
from dissector.session.exchange import Exchange, Rop, RopSide
from dissector.session.objects import Session

PTYP_TIME = 0x0040


@dataclass(slots=True)
class Row:
    """A ROP with request and response paired, or a call that carries none (rop is None then).

    frame: where the request ended (the response, when the request was not captured). time: seconds since 1970.
    handles: server object handles by request field name. return_code: of the ROP, or of a call without ROPs.
    """

    exchange: int
    frame: int
    response_frame: int | None
    time: float
    transport: str
    call: str
    session: int | None
    rop: str | None = None
    rop_id: int | None = None
    index: int | None = None
    logon_id: int | None = None
    handles: dict[str, int | None] | None = None
    kind: str | None = None
    return_code: int | None = None
    return_name: str = ""
    summary: str = ""

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def rows_of(exchange: Exchange) -> Iterator[Row]:
    """The rows of an exchange, one per ROP in the order of the request, then what only the response holds."""
    call, session = exchange.call, exchange.session
    answered = call.response.frame if call.response is not None else None
    head = (
        exchange.number, exchange.frame, answered, exchange.time, call.transport, call.name,
        session.number if session is not None else None,
    )  # fmt: skip
    if not exchange.rops:
        code = call.response.return_code if call.response is not None else None
        yield Row(
            *head, return_code=code, return_name=error_name(code) if code is not None else "",
            summary=call_summary(exchange),
        )  # fmt: skip
        return
    for rop in exchange.rops:
        yield Row(
            *head, rop.name, rop.rop_id, rop.index, rop.logon_id, rop.handles, rop.kind, rop.return_code,
            rop.return_name, summary(rop, session, call),
        )  # fmt: skip


def call_summary(exchange: Exchange) -> str:
    """What a call without ROPs is about: the user of a Connect, the event of a NotificationWait."""
    parts = []
    for side in (exchange.call.request, exchange.call.response):
        for name, value in (side.fields if side is not None else {}).items():
            if name.startswith("X-"):
                continue
            if isinstance(value, str) and value:
                parts.append(f"{name}={shorten(value)}")
            elif name in ("EventPending", "StatusCode") and value not in (None, 0, "0"):
                parts.append(f"{name}={value}")
    response = exchange.call.response
    if response is None or not response.return_code:  # which has a column of its own
        trouble = no_answer(exchange.call)
        if trouble != NOT_ANSWERED:
            parts.append(trouble)
    return " ".join(parts)


NOT_ANSWERED = "not answered"


def no_answer(call: Call) -> str:
    """Why a call has no answer to its ROPs; NOT_ANSWERED where nothing is wrong with the call itself."""
    response = call.response
    if response is None:
        return "no response captured"
    status, code = str(response.fields.get("HTTPStatus", 200)), response.fields.get("X-ResponseCode")
    if status != "200":
        return f"HTTP status {status}"
    if code:
        return f"X-ResponseCode {code} {enum_name('ResponseCode', int(code))}".strip()
    if "Fault" in response.fields:
        fault = int(response.fields["Fault"])
        return f"fault 0x{fault:08X} {enum_name('FaultStatus', fault)}".strip()
    if response.return_code:
        return f"the call failed: {error_text(response.return_code)}"
    broken = any(one.severity is not Severity.NOTE for one in response.diagnostics)
    if broken and response.return_code is not None:
        return "the response is cut or damaged"
    return "the response cannot be read" if broken else NOT_ANSWERED


def summary(rop: Rop, session: Session | None, call: Call | None = None) -> str:
    """The fields that tell most, in one line. call: whose ROP it is, where it is to be told why there is no answer."""
    parts: list[str] = []
    sides = [side for side in (rop.request, rop.response) if side is not None and side.value is not None]
    names = rop.definition.summary if rop.definition is not None else ()
    if rop.runs_on or rop.ends:
        names += sides[-1].definition.summary if sides[-1].definition is not None else ()
    for name in names:
        said = None
        for known in sides:
            value = field_of(known.value, name)
            if value is not None and value != []:
                text = field_text(known, name, value, rop, session)
                if said is None:
                    said = text
                elif text != said:  # 50 rows were asked for, 6 came: RowCount=50→6
                    said = f"{said}→{text}"
        if said is not None:
            parts.append(f"{name.rpartition('.')[2]}={said}")
    if rop.runs_on:
        parts.append("(runs on)")
    if rop.ends:
        parts.append(f"({rop.ends} is done)")
    if rop.continues is not None:
        parts.append("(packed: answers the same request)")
    elif rop.request is None and rop.definition is not None and rop.definition.has_return_value:
        parts.append("(request not captured)")
    elif rop.response is None and rop.definition is not None and rop.definition.responses:
        parts.append(f"({no_answer(call) if call is not None else 'no response captured'})")
    for side in (rop.request, rop.response):
        if side is not None and side.error is not None:
            what = "response" if side.is_response else "request"
            parts.append(f"[{side.error.severity.value} {what}: {side.error.message}]")
    return " ".join(parts)


def field_of(value: Any, name: str) -> Any:
    """A field by its name; a dot leads into a structure. None where it is not there."""
    if "." not in name:
        return value.get(name) if isinstance(value, dict) else None
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def construct_of(layout: Any, name: str) -> Any:
    """The construct of the field that field_of() finds."""
    for part in name.split("."):
        layout = next((one.subcon for one in getattr(layout, "subcons", ()) if one.name == part), None)
    return layout


@lru_cache(2048)
def labeller_at(layout: Any, name: str) -> Callable[[Any], str] | None:
    """What puts the field into words that field_of() finds."""
    return labeller_of(construct_of(layout, name))


def field_text(side: RopSide, name: str, value: Any, rop: Rop, session: Session | None) -> str:
    """One field of a summary: ids with the folder's name, flags and enums in words, property lists shortened."""
    if type(value) is int or (isinstance(value, int) and not isinstance(value, bool)):
        if name in ("PropertyTag", "StateProperty"):
            return property_name(value) or f"0x{value:08X}"
        label = labeller_at(side.layout, name)
        return (label(value) if label is not None else "") or str(value)
    if isinstance(value, ObjectId):
        special = special_folder(session, rop.logon_id, value)
        return f"{value}({special})" if special else str(value)
    return value_text(value)


def value_text(value: Any) -> str:
    """Any value in a few characters."""
    if isinstance(value, str):
        return shorten(value)
    if isinstance(value, Undecoded):
        return f"<{len(value)} bytes not decoded>"
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>" if len(value) > 8 else value.hex() or "<empty>"
    if isinstance(value, uuid.UUID) or hasattr(value, "_fields"):
        return str(value)
    if isinstance(value, list | tuple):
        return list_text(value)
    if isinstance(value, dict):
        if "PropertyTag" in value:
            tag = value["PropertyTag"]
            inner = value.get("PropertyValue")
            told = error_text(value["ErrorCode"]) if "ErrorCode" in value else value_text(inner)
            if tag & 0xFFFF == PTYP_TIME and isinstance(inner, int):
                told = filetime_text(inner)
            return f"{property_name(tag) or f'0x{tag:08X}'}={told}" if tag >> 16 else told
        if "StringType" in value:
            return value_text(value.get("String") or "")
        return dict_text(value)
    return str(value)


def error_text(code: int) -> str:
    return error_name(code) or f"0x{code:08X}"


def dict_text(value: dict[str, Any], most: int = 3) -> str:
    """A structure by its first fields that say something."""
    told = [(name, item) for name, item in value.items() if name != "_io" and item not in (None, 0, "", b"", [], False)]
    more = ", ..." if len(told) > most else ""
    return "{" + ", ".join(f"{name}={value_text(item)}" for name, item in told[:most]) + more + "}"


def list_text(values: Sequence[Any], most: int = 3) -> str:
    if values and all(isinstance(value, int) and value > 0xFFFF for value in values):
        texts = [property_name(value) or f"0x{value:08X}" for value in values[:most]]
    else:
        texts = [value_text(value) for value in values[:most]]
    more = f", +{len(values) - most}" if len(values) > most else ""
    return f"[{', '.join(texts)}{more}]"


def shorten(text: str, most: int = 48) -> str:
    text = text if len(text) <= most else text[: most - 1] + "…"
    return repr(text)


def special_folder(session: Session | None, logon_id: int | None, folder: ObjectId) -> str:
    """'Inbox' when the id is one of the special folders that this logon was given."""
    logon = session.logons.get(logon_id) if session is not None and logon_id is not None else None
    return logon.folder_names.get(folder, "") if logon is not None else ""
