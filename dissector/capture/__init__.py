"""Capture files in, TCP segments out. See docs/architecture.md, "capture -> transport"."""

from __future__ import annotations

from collections.abc import Mapping

from dissector.capture.base import Capture, Progress, Segment, Summary
from dissector.capture.files import Input
from dissector.capture.native import NativeCapture
from dissector.errors import EngineError

__all__ = ["Capture", "Progress", "Segment", "Summary", "open_capture"]

ENGINES = ("auto", "native", "pyshark")


def open_capture(
    path: Input,
    *,
    engine: str = "auto",
    options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Capture:
    """Open a capture: a path, "-" for standard input, or a binary stream.

    engine: "native" (our own walk), "pyshark" (through tshark), "auto" (native, but tshark for TLS with keys).
    options: tshark preferences such as {"tls.keylog_file": "keys.txt"}; the native engine has no use for them.
    progress: called with (bytes done, bytes in all).
    Raises CaptureError when the input is no capture, EngineError when the engine is missing.
    """
    if engine not in ENGINES:
        raise EngineError(f"engine {engine!r} is not known: one of {', '.join(ENGINES)}")
    if engine == "pyshark":
        raise EngineError("the pyshark engine is not there yet")
    return NativeCapture(path, progress)
