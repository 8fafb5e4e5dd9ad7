"""From HTTP exchanges and DCE/RPC calls to EMSMDB and address-book calls."""

from __future__ import annotations

from dissector.emsmdb.call import Call, Pdu, Side
from dissector.emsmdb.mapihttp import call_from as http_call
from dissector.emsmdb.rpccalls import Known
from dissector.emsmdb.rpccalls import call_from as rpc_call
from dissector.transport.messages import HttpExchange, Message, RpcCall

__all__ = ["Call", "Known", "Pdu", "Side", "calls_from"]


def calls_from(message: Message, known: Known | None = None) -> Call | None:
    """The call in an HttpExchange or RpcCall, or None where it is no MAPI traffic.

    known: interfaces that earlier calls showed where no bind was captured; give one dict for all calls of a capture.
    Never raises: what cannot be read gives a call without payloads and with diagnostics.
    """
    if isinstance(message, HttpExchange):
        return http_call(message)
    if isinstance(message, RpcCall):
        return rpc_call(message, known)
    return None
