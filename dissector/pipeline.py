"""The only wiring: a path becomes exchanges.

capture -> TCP -> HTTP or DCE/RPC -> calls -> exchanges, all of it lazy: the first exchange comes out while the file is
still being read, and nothing is kept but open streams and sessions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

from dissector.capture import Capture, open_capture
from dissector.emsmdb import calls_from
from dissector.session.exchange import Exchange
from dissector.session.tracker import Tracker
from dissector.transport.messages import HttpExchange, Message, Opaque, RpcCall, RpcControl
from dissector.transport.protocols import Handler
from dissector.transport.tcp import TcpStats, reassemble_capture


@dataclass(slots=True)
class Tally:
    """What went by besides exchanges: for `dissector info`."""

    http_exchanges: int = 0
    http_other: int = 0
    rpc_calls: int = 0
    rpc_other: Counter[str] = field(default_factory=Counter)
    rpc_control: Counter[str] = field(default_factory=Counter)
    """PDUs that belong to no call, by type: bind, bind_ack, auth3, rts, ..."""
    opaque: list[Opaque] = field(default_factory=list)
    trouble: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(severity, message) of what the transport said of its messages: holes, late starts, cut bodies."""

    def note(self, message: Message) -> None:
        parts = (message.request, message.response) if isinstance(message, HttpExchange | RpcCall) else (message,)
        for part in parts:
            for found in part.diagnostics if part is not None else ():
                self.trouble[found.severity.value, found.message] += 1


class Dissection:
    """An open capture. Iterate exchanges() once; tally, tcp, tracker and capture.summary are complete after it.

    options: the preferences that it was opened with.
    """

    def __init__(self, capture: Capture, options: Mapping[str, str] | None = None) -> None:
        self.capture = capture
        self.options = dict(options or {})
        self.tracker = Tracker()
        self.tally = Tally()
        self.tcp = TcpStats()
        self._known: dict[Any, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.capture.close()

    def messages(self) -> Iterator[Message]:
        """HttpExchange, RpcCall, RpcControl and Opaque, in order of completion."""
        return reassemble_capture(self.capture, Handler(), self.tcp)

    def exchanges(self) -> Iterator[Exchange]:
        tally = self.tally
        for message in self.messages():
            tally.note(message)
            if isinstance(message, Opaque):
                tally.opaque.append(message)
                continue
            if isinstance(message, RpcControl):
                tally.rpc_control[message.name] += 1
                continue
            call = calls_from(message, self._known)
            if isinstance(message, HttpExchange):
                tally.http_exchanges += 1
                tally.http_other += call is None
            elif isinstance(message, RpcCall):
                tally.rpc_calls += 1
                if call is None:
                    tally.rpc_other[str(message.interface or "interface unknown")] += 1
            if call is not None:
                yield self.tracker.exchange(call)


def dissect(
    path: str | Path | BinaryIO,
    *,
    engine: str = "auto",
    options: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dissection:
    """Open a capture for dissection.

    engine: "native", "pyshark" (through tshark), or "auto" (native, or tshark where traffic is TLS and keys are there).
    options: tshark-style preferences, e.g. {"tls.keylog_file": "keys.txt"}. progress: called with (bytes done, total).
    Raises CaptureError, EngineError.
    """
    return Dissection(open_capture(path, engine=engine, options=options or {}, progress=progress), options)
