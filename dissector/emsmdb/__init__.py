"""From HTTP exchanges and DCE/RPC calls to EMSMDB and address-book calls."""

from __future__ import annotations

from typing import Any

from dissector.emsmdb.call import Call, Pdu, Side

__all__ = ["Call", "Pdu", "Side", "calls_from"]


def calls_from(message: Any) -> Call | None:
    """The call in an HttpExchange or RpcCall of dissector.transport, or None where it is no MAPI traffic.

    Never raises: a body that cannot be read gives a call without payloads and with diagnostics.
    """
    if hasattr(message, "opnum"):
        from dissector.emsmdb import rpccalls

        return rpccalls.call_from(message)
    if hasattr(message, "request"):
        from dissector.emsmdb import mapihttp

        return mapihttp.call_from(message)
    return None
