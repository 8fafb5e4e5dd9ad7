"""A dissector for Microsoft Exchange MAPI traffic. The Python interface is open_capture(); docs/api.md shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import BinaryIO

    from dissector.api import OpenCapture

__all__ = ["open_capture"]

__version__ = "0.1.0"


def open_capture(
    path: str | Path | BinaryIO, *, engine: str = "auto", options: Mapping[str, str] | None = None
) -> OpenCapture:
    """Open a capture (pcap, pcapng, gzipped or not). engine, options: as dissector.pipeline.dissect has them."""
    from dissector.api import OpenCapture

    return OpenCapture(path, engine=engine, options=options)
