"""Which engine reads a capture."""

from __future__ import annotations

import os
from collections.abc import Mapping

from dissector.capture.base import Capture, Progress
from dissector.capture.files import Input
from dissector.capture.native import NativeCapture
from dissector.errors import EngineError

ENGINES = ("auto", "native", "pyshark")


def open_capture(
    path: Input,
    *,
    engine: str = "auto",
    options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Capture:
    """Open a capture: a path, "-" for standard input, or a binary stream.

    engine: "native" (our own walk), "pyshark" (through tshark), "auto" (native, but tshark where it can open TLS).
    options: tshark preferences such as {"tls.keylog_file": "keys.txt"}; the native engine has no use for them.
    progress: called with (bytes done, bytes in all).
    Raises CaptureError when the input is no capture, EngineError when the engine is missing.
    """
    if engine not in ENGINES:
        raise EngineError(f"engine {engine!r} is not known: one of {', '.join(ENGINES)}")
    if engine == "pyshark":
        from dissector.capture import tshark

        return tshark.TsharkCapture(path, options, progress)
    native = NativeCapture(path, progress)
    if engine == "native" or not wants_tshark(native, options or {}):
        return native
    from dissector.capture import tshark

    named = isinstance(path, str | os.PathLike) and os.fspath(path) != "-"
    try:
        opened = tshark.TsharkCapture(path if named else native.file, options, progress)
    except EngineError as error:
        if tshark.gives_keys(options or {}):
            native.close()
            raise
        native.notes.append(f"there are keys for TLS, but it stays closed: {error}")
        return native
    native.close()
    return opened


def wants_tshark(capture: NativeCapture, options: Mapping[str, str]) -> bool:
    """Whether there is TLS in the capture that tshark can open: keys in the options or in the file itself."""
    if not options and not capture.holds_secrets():
        return False
    from dissector.capture import tshark  # most captures do without it

    return (tshark.gives_keys(options) or capture.holds_secrets()) and holds_tls(capture)


def holds_tls(capture: Capture) -> bool:
    """Whether any TCP segment begins like a TLS record; stops at the first."""
    from dissector.capture import tshark

    data = capture.data
    for _, _, _, _, _, _, offset, length, _, source in capture.segments():
        if length >= 5 and tshark.LIKE_TLS.match(data[offset : offset + 5] if source is None else source.data):
            return True
    return False
