"""The embedded server: MAPI/HTTP over a real socket with a SQLite store.

serve() runs it in the foreground, RunningServer in a thread beside a test; unanswered() lists the ROPs it refuses.
"""

from __future__ import annotations

from replay.server.execute import unanswered
from replay.server.runner import RunningServer, ServerError, serve
from replay.server.store import StoreError

__all__ = ["RunningServer", "ServerError", "StoreError", "serve", "unanswered"]
