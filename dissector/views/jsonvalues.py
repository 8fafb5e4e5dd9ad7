"""Values as JSON. The form is a contract: docs/json.md."""

from __future__ import annotations

import uuid
from typing import Any

import orjson

LONG = 1 << 12
"""Bytes of a value whose text is a piece of its own: it is not copied into what stands around it."""


def plain(value: Any) -> Any:
    """A value as JSON knows it: bytes as hex, ids and GUIDs as text, text that is no Unicode with escapes."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, uuid.UUID) or hasattr(value, "_fields"):
        return str(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value)


def quoted(text: str) -> str:
    """A string as JSON."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    try:
        return orjson.dumps(text).decode()
    except TypeError:  # no Unicode
        return orjson.dumps(plain(text)).decode()


def value_text(value: Any) -> str:
    """A value as JSON."""
    kind = type(value)
    if kind is int:
        return str(value)
    if kind is str:
        return quoted(value)
    if isinstance(value, bytes):
        return f'"{value.hex()}"'
    if isinstance(value, uuid.UUID) or hasattr(value, "_fields"):
        return quoted(str(value))
    return orjson.dumps(plain(value)).decode()
