"""What ends a replay before its plan is through: one clear line each, and an exit code of its own."""

from __future__ import annotations

from dissector.errors import DissectorError


class ReplayError(DissectorError):
    """The replay cannot begin or go on."""

    exit_code = 2


class UnreachableError(ReplayError):
    """Nothing answers at the server's address."""

    exit_code = 3


class RefusedError(ReplayError):
    """The server refuses the user, the password, the ticket or the token."""

    exit_code = 4


class CertificateError(ReplayError):
    """The server's certificate does not verify."""

    exit_code = 5


class SilenceError(ReplayError):
    """The server does not answer in time."""

    exit_code = 6


class ClosedError(ReplayError):
    """The server closed the connection in the middle of an answer."""

    exit_code = 7


class ProtocolError(ReplayError):
    """The server answers what the protocol does not allow, or refuses the request."""

    exit_code = 8


INTERRUPTED = 130
"""Exit code of a replay that Ctrl-C ended, as of every program that it ends."""

CAUSES = {"stale": 11, "conflict": 12, "deleted": 13}
"""Exit codes of differences, by what stands behind the first one (compare/reasons.py); any other is 1."""

EXIT_CODES = (
    "0 same, 1 different (11: the state is stale, 12: conflict, 13: the target was deleted), 2 failed, and of failures "
    "3 unreachable, 4 refused, 5 certificate, 6 no answer in time, 7 closed in mid-answer, 8 not the protocol"
)
