"""What ends a replay before its plan is through: one clear line, exit code 2."""

from __future__ import annotations

from dissector.errors import DissectorError


class ReplayError(DissectorError):
    """The server cannot be reached, refuses the user, or answers what the protocol does not allow."""
