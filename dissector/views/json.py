"""Trees and rows as JSON. The form is a contract: docs/json.md."""

from __future__ import annotations

import uuid
from typing import Any

import orjson

from dissector.node import Node
from dissector.session.exchange import Exchange
from dissector.source import ByteSource
from dissector.views.text import HIDDEN


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


def node_json(node: Node, inherited: ByteSource | None = None) -> dict[str, Any]:
    """A node and all below it. Empty members are left out; `source` stands where it differs from the parent's."""
    made: dict[str, Any] = {"name": node.name, "offset": node.offset, "length": node.length}
    if node.source is not inherited:
        made["source"] = node.source.label
    if node.secret:
        made["value"] = HIDDEN
    elif node.value is not None:
        made["value"] = plain(node.value)
    label = node.label
    if label:
        made["label"] = plain(label)
    if node.spec:
        made["spec"] = node.spec
    spans = node.spans
    if spans:
        made["spans"] = spans
    if node.children:
        made["children"] = [node_json(child, node.source) for child in node.children]
    if node.diagnostics:
        made["diagnostics"] = [
            {"severity": found.severity.value, "message": plain(found.message)} for found in node.diagnostics
        ]
    return made


def exchange_json(exchange: Exchange) -> dict[str, Any]:
    """{"exchange", "frame", "time", "transport", "call", "request": node | null, "response": node | null}"""
    request, response = exchange.request_tree(), exchange.response_tree()
    return {
        "exchange": exchange.number,
        "frame": exchange.frame,
        "time": exchange.time,
        "transport": exchange.call.transport,
        "call": exchange.call.name,
        "request": node_json(request) if request is not None else None,
        "response": node_json(response) if response is not None else None,
    }


def dumps(value: Any) -> str:
    return orjson.dumps(value, default=_as_list).decode()


def dumps_pretty(value: Any) -> str:
    return orjson.dumps(value, default=_as_list, option=orjson.OPT_INDENT_2).decode()


def _as_list(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")
