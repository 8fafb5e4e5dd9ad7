"""From a capture to its messages and no further, to be measured as a process of its own: nothing else is loaded.

python -m bench.messages FILE
"""

from __future__ import annotations

import sys
from collections import deque

from dissector.capture import open_capture
from dissector.transport.protocols import Handler
from dissector.transport.tcp import reassemble_capture

if __name__ == "__main__":
    with open_capture(sys.argv[1], engine="native") as capture:
        deque(reassemble_capture(capture, Handler()), 0)
