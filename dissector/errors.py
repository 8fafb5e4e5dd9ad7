"""The few exceptions that cross a module.

Everything a capture can do wrong becomes a Diagnostic in a tree, not an exception; these are for what ends a run:
a file that cannot be read, an expression that does not parse, a tool that is missing.
"""

from __future__ import annotations


class DissectorError(Exception):
    """Base of the errors that the command line shows as one clear line (what, where, what to do) with exit code 2."""


class CaptureError(DissectorError):
    """The input cannot be opened or is no capture at all."""


class FilterError(DissectorError):
    """A -Y expression does not parse, or names a field that does not exist."""


class EngineError(DissectorError):
    """A reading engine is missing or failed (tshark not installed, tshark ended with an error)."""
