"""Faults on demand: a server that does one thing wrong, to make the bad captures that a diagnosis is tried on.

FAULTS has them by name. parse() reads what --fault is given, a Faulty puts what was read into a server: it changes the
table of ROP handlers and wraps the ASGI application. The server itself knows nothing of faults.
"""

from __future__ import annotations

from replay.server.faults import synchronization, rops, transport  # isort: skip
from replay.server.faults.base import FAULTS, Fault, FaultError, Faulty, help_lines, parse

__all__ = ["FAULTS", "Fault", "FaultError", "Faulty", "help_lines", "parse"]

MODULES = (synchronization, rops, transport)
"""Importing them registered the faults."""
