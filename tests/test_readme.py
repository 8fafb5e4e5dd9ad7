"""README shows real output: every block that begins with a dissector command is what that command prints now."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest

from tests.conftest import LONG, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [block for block in re.findall(r"```\n(\$ .*?)```", README, re.DOTALL) if block.startswith("$ dissector ")]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_a_block_is_what_the_command_prints(block: str) -> None:
    """Lines may be cut at their end, and `...` stands for lines left out."""
    command, *shown = block.splitlines()
    arguments = shlex.split(command.removeprefix("$ dissector "))
    done = subprocess.run(
        [sys.executable, "-m", "dissector", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=LONG,
        check=False,
    )
    printed = iter(done.stdout.splitlines())
    for line in shown:
        if line.strip() == "...":
            continue
        assert any(one.startswith(line.rstrip()) for one in printed), f"not printed (in this order): {line}"


def test_readme_opens_with_a_list_a_tree_and_a_story() -> None:
    commands = [block.split()[2] for block in BLOCKS]
    assert commands[:3] == ["list", "tree", "sync"]


def test_readme_names_the_two_commands() -> None:
    assert "make demo" in README
    assert "make test" in README
