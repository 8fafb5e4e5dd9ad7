"""From a capture to its messages and no further, to be measured as a process of its own.

python -m bench.messages FILE
"""

from __future__ import annotations

import sys
from collections import deque

from dissector.pipeline import dissect

if __name__ == "__main__":
    with dissect(sys.argv[1], engine="native") as dissection:
        deque(dissection.messages(), 0)
