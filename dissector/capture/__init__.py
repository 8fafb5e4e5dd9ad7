"""Capture files in, TCP segments out. See docs/architecture.md, "capture -> transport"."""

from __future__ import annotations

from dissector.capture.base import Capture, Progress, Segment, Summary
from dissector.capture.engines import ENGINES, open_capture

__all__ = ["ENGINES", "Capture", "Progress", "Segment", "Summary", "open_capture"]
