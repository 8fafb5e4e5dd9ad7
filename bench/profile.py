"""Where the time of a command goes: python -m bench.profile "tree -T jsonl" [CAPTURE]

Runs it under cProfile, its output thrown away, and prints the functions that take most by themselves, then those that
take most with what they call. cProfile slows small functions more than large ones; for figures see `make bench`.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import os
import pstats
import shlex
import sys
from pathlib import Path

from bench.__main__ import DATA, made
from dissector.cli import app

MOST = 30


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", nargs="?", default="list", help='of the dissector, e.g. "tree -T jsonl"')
    parser.add_argument("capture", nargs="?", type=Path, help="without one, a generated one of 50 MB")
    given = parser.parse_args()
    DATA.mkdir(exist_ok=True)
    capture = given.capture or made("mixed-50.pcap", "mixed", 50)
    profile = cProfile.Profile()
    arguments = [*shlex.split(given.command), str(capture)]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.suppress(SystemExit):
        profile.runcall(app, arguments)
    for order in ("tottime", "cumtime"):
        pstats.Stats(profile, stream=sys.stdout).strip_dirs().sort_stats(order).print_stats(MOST)


if __name__ == "__main__":
    main()
