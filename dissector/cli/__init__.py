"""The command line of the dissector."""

from __future__ import annotations

from dissector.cli import basics, export, sync
from dissector.cli.application import app, run

__all__ = ["app", "basics", "export", "main", "sync"]


def main() -> None:
    run(app, "dissector")
