"""Imports point down: a module may import only from layers above its own in docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

LAYERS = [
    "errors", "source", "node", "model", "grammar", "capture", "transport", "emsmdb", "session", "pipeline", "diagnose",
    "api", "verify", "decode", "jobs", "views", "export", "cli", "__main__",
]  # fmt: skip
ALLOWED = {"model": set(), "grammar": {"source", "node", "model"}, "capture": {"errors", "source", "node", "grammar"}}


def room(part: str) -> str:
    """The room of a file or folder."""
    return part.removesuffix(".py")


def upward_imports(package: Path) -> list[str]:
    """Every import of a module of this package from a layer that may not see it."""
    bad = []
    for path in sorted(package.rglob("*.py")):
        layer = room(path.relative_to(package).parts[0])
        if layer == "__init__":
            continue
        for statement in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(statement, ast.ImportFrom):
                names = [statement.module or ""]
                if statement.module == package.name:
                    names = [f"{package.name}.{alias.name}" for alias in statement.names]
            elif isinstance(statement, ast.Import):
                names = [alias.name for alias in statement.names]
            for name in names:
                top, _, rest = name.partition(".")
                if package.name == "dissector" and top == "replay":
                    bad.append(f"{path.relative_to(package)}:{statement.lineno}: the dissector imports replay")
                if top != package.name or not rest:
                    continue
                target = room(rest.split(".")[0])
                allowed = ALLOWED.get(layer, set(LAYERS[: LAYERS.index(layer)]) if layer in LAYERS else set())
                if target != layer and target not in allowed:
                    bad.append(f"{path.relative_to(package)}:{statement.lineno}: {layer} imports {target}")
    return bad


def test_no_upward_imports() -> None:
    assert upward_imports(ROOT / "dissector") == []


@pytest.mark.parametrize(
    "statement",
    ["from dissector.session.handles import HandleTable", "import dissector.cli", "from dissector import pipeline"],
)
def test_an_upward_import_is_seen(tmp_path: Path, statement: str) -> None:
    (tmp_path / "dissector" / "grammar").mkdir(parents=True)
    (tmp_path / "dissector" / "grammar" / "ids.py").write_text(statement + "\n")
    assert len(upward_imports(tmp_path / "dissector")) == 1


def test_the_dissector_does_not_know_replay(tmp_path: Path) -> None:
    (tmp_path / "dissector").mkdir()
    (tmp_path / "dissector" / "cli.py").write_text("from replay.engine import Engine\n")
    assert len(upward_imports(tmp_path / "dissector")) == 1
