"""From HTTP exchanges and DCE/RPC calls to EMSMDB and address-book calls."""

from __future__ import annotations

from dissector.emsmdb import mapihttp
from dissector.emsmdb.call import Call, Known, Pdu, Side
from dissector.transport.messages import HttpExchange, Message, RpcCall

__all__ = ["Call", "Known", "Pdu", "Side", "calls_from"]


def calls_from(message: Message, known: Known | None = None) -> Call | None:
    """The call in an HttpExchange or RpcCall, or None where it is no MAPI traffic.

    known: interfaces that earlier calls showed where no bind was captured; give one dict for all calls of a capture.
    Never raises: what cannot be read gives a call without payloads and with diagnostics.
    """
    call = None
    if isinstance(message, HttpExchange):
        call = mapihttp.call_from(message)
    elif isinstance(message, RpcCall):
        from dissector.emsmdb import rpccalls  # most captures have no such call

        call = rpccalls.call_from(message, known)
    if call is not None and call.request is not None and call.response is not None:
        call.response.codepage = call.response.codepage or call.request.codepage
    return call
