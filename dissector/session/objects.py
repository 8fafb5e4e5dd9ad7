"""What a server session remembers between ROPs: logons, server objects behind handles, names of named properties.

Everything here was seen on the wire; nothing is guessed. A handle whose opening the capture did not show is simply not
in the table.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dissector.model.ids import ObjectId

NO_HANDLE = 0xFFFFFFFF
"""A slot of the server object handle table that holds nothing (yet)."""


def endpoint_text(endpoint: Any) -> str:
    """'192.0.2.1:443' or '[2001:db8::1]:443' for an (address, port) pair, '?' for None."""
    if endpoint is None:
        return "?"
    address, port = endpoint
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


@dataclass(slots=True)
class ServerObject:
    """What stands behind one handle: its kind, where it came from, and what later ROPs need to know of it."""

    handle: int
    kind: str
    logon_id: int
    exchange: int
    rop: str
    parent: int | None = None
    columns: Sequence[int] | None = None
    recipient_columns: Sequence[int] | None = None
    folder_id: ObjectId | None = None
    message_id: ObjectId | None = None
    property_tag: int | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Logon:
    """One RopLogon: its flags decide how some later ROPs are laid out, its special folders have names."""

    logon_id: int
    handle: int
    flags: int
    essdn: str
    folder_names: Mapping[ObjectId, str] = field(default_factory=dict)
    """The special folders by id, named as in the RopLogon response (Inbox, IpmSubtree, ...)."""
    mailbox_guid: uuid.UUID | None = None
    replica_id: int | None = None
    replica_guid: uuid.UUID | None = None
    named: Mapping[int, str] = field(default_factory=dict)
    """Names of the ids from 0x8000 up, as far as they were seen. Replaced, never changed."""


@dataclass(slots=True)
class Session:
    """One session context (an EMSMDB context handle or the cookies of a MAPI/HTTP session)."""

    number: int
    transport: str
    client: str
    server: str
    first_frame: int
    user_dn: str = ""
    began: bool = False
    """Whether the capture shows the call that opened the session (Connect, EcDoConnectEx, EcDoConnect)."""
    last_frame: int = 0
    exchanges: int = 0
    codepage: str | None = None
    logons: dict[int, Logon] = field(default_factory=dict)
    objects: dict[int, ServerObject] = field(default_factory=dict)

    def named_properties(self, logon_id: int) -> Mapping[int, str]:
        """Names of the ids from 0x8000 up that this logon has shown so far."""
        logon = self.logons.get(logon_id)
        return logon.named if logon is not None else {}
