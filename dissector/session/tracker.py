"""Calls become exchanges: which session they belong to, what their ROPs are, and what those do to the session.

Fed in order of completion. All that is remembered hangs on a Session; a session is found by the values that name it
(cookies, a context handle), and, where a capture shows none, by its connection.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dissector.emsmdb.call import Call, Side
from dissector.grammar.names import codec_name, named_property_name
from dissector.grammar.rops.base import RopDef
from dissector.session.exchange import Exchange, Rop, RopSide
from dissector.session.objects import NO_HANDLE, Logon, ServerObject, Session, endpoint_text
from dissector.session.roplist import MOST_ROPS, left_out, read_requests, read_responses

OPENING_CALLS = frozenset({"Connect", "EcDoConnect", "EcDoConnectEx", "Bind", "NspiBind"})
CLOSING_CALLS = frozenset({"Disconnect", "EcDoDisconnect", "Unbind", "NspiUnbind"})
WITH_VALUE = frozenset({0x00000000, 0x00040380})
"""ReturnValues whose response carries the success fields (ecNone and the warning ErrorsReturned)."""


class Tracker:
    """Makes an Exchange of every Call. sessions: all seen so far, in order of appearance."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self._keys = _Keys()
        self._count = 0

    def exchange(self, call: Call) -> Exchange:
        self._count += 1
        session = self._session_of(call)
        exchange = Exchange(self._count, call, session)
        session.exchanges += 1
        for side in (call.request, call.response):
            if side is not None:
                session.last_frame = max(session.last_frame, side.frame)
                exchange.diagnostics.extend(side.diagnostics)
        self._learn_call(call, session)
        if any(side is not None and side.payloads for side in (call.request, call.response)):
            _RopReader(exchange, session).read()
        if call.name in CLOSING_CALLS and call.request is not None:
            self._forget(session)
        return exchange

    def _session_of(self, call: Call) -> Session:
        connection = f"connection={getattr(call.connection, 'number', None)}"
        asked = call.request.session_keys if call.request is not None else ()
        told = call.response.session_keys if call.response is not None else ()
        opening = call.name in OPENING_CALLS
        session = None if opening else self._keys.find((*asked, *told, connection))
        if session is None:
            side = call.request or call.response
            client, server = (endpoint_text(getattr(call.connection, name, None)) for name in ("client", "server"))
            first_frame = side.frame if side is not None else 0
            session = Session(len(self.sessions) + 1, call.transport, client, server, first_frame, began=opening)
            self.sessions.append(session)
        for key in (*told, connection) if opening else (*asked, *told, connection):
            self._keys.bind(key, session)
        return session

    def _forget(self, session: Session) -> None:
        self._keys.forget(session)

    def _learn_call(self, call: Call, session: Session) -> None:
        fields = call.request.fields if call.request is not None else {}
        user = fields.get("UserDn") or fields.get("szUserDN")
        if user:
            session.user_dn = str(user)
        codepage = fields.get("DefaultCodePage") or fields.get("ulCpid")
        if codepage:
            session.codepage = codec_name(int(codepage))
        elif call.name in OPENING_CALLS and call.request is not None and call.request.codepage:
            session.codepage = call.request.codepage
        for side in (call.request, call.response):
            if side is not None and side.codepage is None:
                side.codepage = session.codepage


class _Keys:
    """Which session a key (a cookie, a context handle, a connection) names.

    A cookie that two sessions use (load balancers set such) names neither. Sequence cookies change at every answer, so
    of each name only the last few values of a session are kept. A connection goes over to whoever used it last.
    """

    KEPT = 4

    def __init__(self) -> None:
        self._owner: dict[str, Session | None] = {}
        self._values: dict[tuple[int, str], list[str]] = {}

    def find(self, keys: Iterable[str]) -> Session | None:
        return next((owner for key in keys if (owner := self._owner.get(key)) is not None), None)

    def bind(self, key: str, session: Session) -> None:
        name = key.partition("=")[0]
        if name != "connection" and self._owner.get(key, session) is not session:
            self._owner[key] = None
            return
        if self._owner.get(key) is session:
            return
        self._owner[key] = session
        values = self._values.setdefault((session.number, name), [])
        values.append(key)
        if len(values) > self.KEPT:
            self._owner.pop(values.pop(0), None)

    def forget(self, session: Session) -> None:
        for number, name in [one for one in self._values if one[0] == session.number]:
            for key in self._values.pop((number, name)):
                if self._owner.get(key) is session:
                    del self._owner[key]


class _RopReader:
    """Reads the ROP buffers of one exchange and applies them to the session, ROP by ROP."""

    def __init__(self, exchange: Exchange, session: Session) -> None:
        self.exchange, self.session = exchange, session
        self.requests: list[RopSide] = []
        self.rops: list[Rop] = []
        self.request_handles: list[int] = []
        self.response_handles: Sequence[int] = ()
        self.handles: list[int] = []

    def read(self) -> None:
        call = self.exchange.call
        for payload in call.request.payloads if call.request is not None else ():
            if len(self.requests) > MOST_ROPS:
                self.exchange.request_buffers.append(left_out(payload))
                continue
            buffer = read_requests(payload, self.request_params)
            self.exchange.request_buffers.append(buffer)
            self.requests.extend(buffer.rops)
            self.request_handles.extend(buffer.handles[len(self.request_handles) :])
        self.handles = list(self.request_handles)
        for number, side in enumerate(self.requests, 1):
            self.rops.append(Rop(number, side.rop_id, side.definition, side, None))
        if call.response is not None:
            self.read_responses(call.response)
        for rop in self.rops:
            if rop.response is None and not rop.handles:
                self.fill_in(rop)
                if rop.definition is not None and not rop.definition.responses:
                    self.apply(rop)
        self.exchange.rops = self.rops

    def read_responses(self, side: Side) -> None:
        answered: set[int] = set()
        for payload in side.payloads:
            if len(self.rops) > MOST_ROPS:
                self.exchange.response_buffers.append(left_out(payload))
                continue
            self.response_handles = _handle_table(payload.data)
            for slot in range(len(self.handles), len(self.response_handles)):
                self.handles.append(self.response_handles[slot])
            buffer = read_responses(payload, self.requests, answered, self.response_params, self.took)
            self.exchange.response_buffers.append(buffer)

    def request_params(self, definition: RopDef, logon_id: int) -> Mapping[str, Any]:
        return self.params(definition, logon_id, None, None)

    def response_params(self, definition: RopDef, request: RopSide | None, data: bytes, at: int) -> Mapping[str, Any]:
        if definition.rop_id == 0x2A and len(data) >= at + 6:  # RopNotify names its handle by value
            notified = int.from_bytes(data[at + 1 : at + 5], "little")
            return self.params(definition, data[at + 5], self.session.objects.get(notified), None)
        if request is None or request.value is None:
            return self.params(definition, None, None, None)
        self.catch_up(request)
        handle = self.input_handle(request)
        target = self.session.objects.get(handle) if handle is not None else None
        return self.params(definition, request.value.get("LogonId"), target, request.value)

    def params(
        self, definition: RopDef, logon_id: int | None, target: ServerObject | None, request: Any
    ) -> dict[str, Any]:
        """What the layouts of this ROP need from outside, as far as the capture has shown it."""
        given: dict[str, Any] = {}
        if self.session.codepage is not None:
            given["codepage"] = self.session.codepage
        logon = self.session.logons.get(logon_id) if logon_id is not None else None
        if logon is not None:
            if logon.named:
                given["named"] = logon.named
            given["folders"] = logon.folder_names
        for name in definition.params:
            if name == "logon_flags":
                given[name] = logon.flags if logon is not None else None
            elif name == "property_tags":
                given[name] = request.get("PropertyTags") if request is not None else None
            elif name == "columns":
                given[name] = target.columns if target is not None else None
            elif name == "recipient_columns":
                given[name] = target.recipient_columns if target is not None else None
        return given

    def catch_up(self, upto: RopSide) -> None:
        """Apply the ROPs before this one that have no response (RopRelease), in their order."""
        for rop in self.rops:
            if rop.request is upto:
                return
            if rop.response is None and not rop.handles and rop.definition and not rop.definition.responses:
                self.fill_in(rop)
                self.apply(rop)

    def took(self, side: RopSide, position: int | None) -> None:
        if position is None:
            rop = Rop(len(self.rops) + 1, side.rop_id, side.definition, None, side)
            self.rops.append(rop)
            if side.value is not None and "NotificationHandle" in side.value:
                handle = side.value["NotificationHandle"]
                target = self.session.objects.get(handle)
                rop.handles = {"NotificationHandle": handle}
                rop.logon_id, rop.kind = side.value.get("LogonId"), target.kind if target else None
            return
        rop = self.rops[position]
        if rop.response is not None:
            first = rop
            rop = Rop(len(self.rops) + 1, side.rop_id, side.definition, None, side, first.logon_id, first.index)
            rop.continues, rop.handles, rop.kind, rop.target = first, first.handles, first.kind, first.target
            self.rops.append(rop)
            return
        rop.response = side
        self.fill_in(rop)
        self.apply(rop)

    def slot(self, index: int | None) -> int | None:
        """The handle in one slot of the table as it stands now; None where the slot holds none."""
        if index is None or index >= len(self.handles):
            return None
        handle = self.handles[index]
        if handle == NO_HANDLE and index < len(self.response_handles):
            handle = self.response_handles[index]
        return handle if handle != NO_HANDLE else None

    def input_handle(self, request: RopSide) -> int | None:
        if request.definition is None or not request.definition.handles or request.value is None:
            return None
        return self.slot(request.value.get(request.definition.handles[0]))

    def fill_in(self, rop: Rop) -> None:
        """handles, index, logon and object kind of a ROP, from its request and the handle tables."""
        definition, request = rop.definition, rop.request
        if definition is None or request is None or request.value is None:
            return
        value = request.value
        rop.logon_id = value.get("LogonId")
        rop.index = value.get(definition.index or (definition.handles[0] if definition.handles else ""))
        for name in definition.handles:
            rop.handles[name] = self.slot(value.get(name))
        acted_on = rop.handles.get(definition.handles[0]) if definition.handles else None
        target = self.session.objects.get(acted_on) if acted_on is not None else None
        rop.target, rop.kind = target, target.kind if target is not None else None
        if definition.output and rop.return_value in WITH_VALUE:
            index = value.get(definition.output)
            if index is not None and index < len(self.response_handles):
                self.handles[index] = self.response_handles[index]
                rop.handles[definition.output] = self.slot(index)
        if not rop.handles:
            rop.handles = {}

    def apply(self, rop: Rop) -> None:
        """What this ROP does to the session."""
        definition = rop.definition
        assert definition is not None
        request = rop.request.value if rop.request is not None else None
        if request is None:
            return
        if not definition.responses:  # RopRelease
            handle = rop.handles.get("InputHandleIndex")
            if handle is not None:
                self.session.objects.pop(handle, None)
            return
        response = rop.response.value if rop.response is not None else None
        if response is None or rop.return_value not in WITH_VALUE:
            return
        source = rop.handles.get(definition.handles[0]) if definition.handles else None
        target = self.session.objects.get(source) if source is not None else None
        if definition.output and definition.opens:
            self.opened(rop, definition, request, response, target)
        effect = _EFFECTS.get(definition.rop_id)
        if effect is not None:
            effect(self.session, rop, request, response, target)

    def opened(self, rop: Rop, definition: RopDef, request: Any, response: Any, parent: ServerObject | None) -> None:
        handle = rop.handles.get(definition.output or "")
        if handle is None or definition.opens is None:
            return
        made = ServerObject(
            handle, definition.opens, rop.logon_id or 0, self.exchange.number, definition.name,
            parent=parent.handle if parent is not None else None,
        )  # fmt: skip
        made.folder_id = request.get("FolderId") or response.get("FolderId") or (parent.folder_id if parent else None)
        made.message_id = (
            request.get("MessageId") or response.get("MessageId") or (parent.message_id if parent else None)
        )
        made.property_tag = request.get("PropertyTag")
        columns = response.get("RecipientColumns")
        if columns is not None:
            made.recipient_columns = columns
        self.session.objects[handle] = made


def _handle_table(data: bytes) -> Sequence[int]:
    if len(data) < 2:
        return ()
    end = min(max(int.from_bytes(data[:2], "little"), 2), len(data))
    return struct.unpack_from(f"<{(len(data) - end) // 4}I", data, end)


def _logged_on(session: Session, rop: Rop, request: Any, response: Any, target: ServerObject | None) -> None:
    handle = rop.handles.get("OutputHandleIndex")
    if handle is None or rop.logon_id is None:
        return
    known = session.logons.get(rop.logon_id)
    session.logons[rop.logon_id] = Logon(
        rop.logon_id,
        handle,
        response.get("LogonFlags", request.get("LogonFlags", 0)),
        str(request.get("Essdn") or ""),
        {folder: name for name, folder in (response.get("FolderIds") or {}).items() if folder.counter},
        response.get("MailboxGuid"),
        response.get("ReplId"),
        response.get("ReplGuid"),
        known.named if known is not None else {},
    )


def _columns_set(session: Session, rop: Rop, request: Any, response: Any, target: ServerObject | None) -> None:
    if target is not None:
        target.columns = request.get("PropertyTags")


def _table_reset(session: Session, rop: Rop, request: Any, response: Any, target: ServerObject | None) -> None:
    if target is not None:
        target.columns = None


def _recipients_set(session: Session, rop: Rop, request: Any, response: Any, target: ServerObject | None) -> None:
    columns = response.get("RecipientColumns") or request.get("RecipientColumns")
    if target is not None and columns is not None:
        target.recipient_columns = columns


def _names_mapped(session: Session, rop: Rop, request: Any, response: Any, target: ServerObject | None) -> None:
    logon = session.logons.get(rop.logon_id) if rop.logon_id is not None else None
    ids = request.get("PropertyIds") or response.get("PropertyIds") or ()
    names = request.get("PropertyNames") or response.get("PropertyNames") or ()
    if logon is None:
        return
    texts = ((prop_id, _property_name_text(name)) for prop_id, name in zip(ids, names, strict=False))
    new = {prop_id: text for prop_id, text in texts if prop_id >= 0x8000 and text}
    if new.items() - logon.named.items():
        logon.named = {**logon.named, **new}  # ROPs read before keep the names that they were read with


def _property_name_text(name: Any) -> str:
    guid, key = name.get("GUID"), name.get("LID")
    if key is None:
        key = name.get("Name")
    if guid is None or key is None:
        return ""
    shown = f"0x{key:04X}" if isinstance(key, int) else str(key)
    return named_property_name(guid, key) or f"{shown} of {guid}"


_EFFECTS = {
    0xFE: _logged_on,
    0x12: _columns_set,
    0x81: _table_reset,
    0x0E: _recipients_set,
    0x10: _recipients_set,
    0x55: _names_mapped,
    0x56: _names_mapped,
}
