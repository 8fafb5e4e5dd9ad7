"""Files that a command writes: what is there already is left alone unless --overwrite is given."""

from __future__ import annotations

from pathlib import Path

from replay.errors import ReplayError


def check_new(path: Path, overwrite: bool, option: str = "") -> None:
    """Raise ReplayError where a file is there that may not be replaced. Pipes and devices hold nothing to lose."""
    if path.is_file() and not overwrite:
        raise ReplayError(f"{option} {path} is there already: --overwrite replaces it".lstrip())


def check_plan(path: Path, overwrite: bool) -> None:
    """The same for -o of a plan; what is no plan is never replaced."""
    if path.is_file() and path.suffix.lower() != ".toml":
        raise ReplayError(f"-o {path} is there already, and no plan (.toml): it is left alone")
    check_new(path, overwrite, "-o")
