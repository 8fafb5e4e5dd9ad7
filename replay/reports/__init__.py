"""Reports in their forms: text, JSON (docs/json.md), JUnit XML, HTML."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from replay.errors import ReplayError
from replay.report import Report

BY_SUFFIX = {".txt": "text", ".json": "json", ".xml": "junit", ".html": "html", ".htm": "html"}


def text_of(report: Report, form: str) -> Iterable[str]:
    """The lines of a report: form "text", "json", "junit" or "html"."""
    if form == "json":
        from dissector.views.json import dumps_pretty

        return [dumps_pretty(report.as_json())]
    if form == "junit":
        from replay.reports.junit import document

        return [document(report)]
    if form == "html":
        from replay.reports.html import page

        return [page(report)]
    from replay.reports.text import lines

    return lines(report)


def save(report: Report, path: Path) -> None:
    """Write a report in the form that the file's ending names. Raises ReplayError."""
    form = form_of(path)
    try:
        path.write_text("\n".join(text_of(report, form)) + "\n", "utf-8", errors="backslashreplace")
    except OSError as error:
        raise ReplayError(f"{path}: {error.strerror or error}") from error


def form_of(path: Path) -> str:
    """The form that a file's ending names. Raises ReplayError."""
    form = BY_SUFFIX.get(path.suffix.lower())
    if form is None:
        raise ReplayError(f"--report {path}: the ending says the form: {', '.join(BY_SUFFIX)}")
    return form


def check_writable(path: Path) -> None:
    """Raise ReplayError where save() would fail, before a long replay begins. Leaves no file behind."""
    form_of(path)
    new = not path.exists()
    try:
        path.open("a").close()
        if new:
            path.unlink()
    except OSError as error:
        raise ReplayError(f"--report {path}: {error.strerror or error}") from error
