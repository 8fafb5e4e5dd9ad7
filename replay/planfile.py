"""Plans as files: TOML that people read and edit, and that `replay run` takes in place of the capture.

A plan names its capture, which holds the bytes; the file says of every ROP whether it is sent and why, what it needs,
what is rewritten in it, and may set fields. Steps stand in the capture's order; what is not in the file is not sent.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dissector.grammar.names import property_name
from dissector.model.ids import LongTermId, ObjectId
from dissector.model.pcl import Xid
from dissector.views.rows import summary, value_text
from replay.errors import ReplayError
from replay.identity import global_id
from replay.needs import Key
from replay.rewrite import FIRST_NAMED, TAG_FIELDS, TAG_LISTS
from replay.selection import Choice
from replay.steps import NOT_CHOSEN, PlannedRop, Step

FORMAT, VERSION = "replay-plan", 1

HEADER = """\
# What `replay run` sends when it is given this file. Every line is one ROP of the capture, or one that is supplied.
# To change it: set action to "send" or "skip", delete lines or steps, or set fields of a request, for example
#     set = {"PropertyValues.PidTagSubject" = "another subject"}
# needs names the ROPs (exchange.number) whose answers a ROP needs; rewrites, the fields whose ids are the server's own.
"""

MOST_REWRITES = 12


@dataclass(slots=True)
class Plan:
    """A plan as it was read. capture: path as it can be opened from here."""

    capture: Path
    digest: str = ""
    sent: set[Key] = field(default_factory=set)
    refused: dict[Key, str] = field(default_factory=dict)
    unsupplied: set[tuple[int, str]] = field(default_factory=set)
    """Supplied ROPs (exchange, name) that are not to be sent."""
    edits: dict[Key, dict[str, Any]] = field(default_factory=dict)
    names: dict[Key, str] = field(default_factory=dict)
    """What the plan calls the ROPs of the capture."""

    def check(self, steps: Iterable[Step]) -> None:
        """Raise ReplayError where the plan does not fit its capture: before anything is sent."""
        found = {rop.key: rop.name for step in steps if not step.supplied for rop in step.rops}
        for key, name in self.names.items():
            if key not in found:
                raise ReplayError(f"the plan names exchange {key[0]}, rop {key[1]}: the capture has none")
            if found[key] != name:
                raise ReplayError(f"the plan calls exchange {key[0]}, rop {key[1]} {name}: it is {found[key]}")

    def choice(self, more: Choice | None = None) -> Choice:
        """Why a ROP is not sent; `more` refuses others."""

        def choose(key: Key, name: str) -> str:
            if key not in self.sent:
                return self.refused.get(key) or NOT_CHOSEN
            return more(key, name) if more is not None else ""

        return choose

    def kept(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Steps without the supplied ROPs that the plan leaves out."""
        for step in steps:
            if step.supplied and any((step.exchange, rop.name) in self.unsupplied for rop in step.rops):
                continue
            yield step


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex. Raises ReplayError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ReplayError(f"{path}: {error.strerror or error}") from error


# Writing.


def plan_lines(steps: Iterable[Step], capture: str, digest: str, selection: str) -> Iterator[str]:
    """The file, line by line."""
    yield HEADER
    yield f"format = {_text(FORMAT)}"
    yield f"version = {VERSION}"
    yield f"capture = {_text(capture)}"
    if digest:
        yield f"sha256 = {_text(digest)}"
    if selection:
        yield f"selection = {_text(selection)}"
    for step in steps:
        if not step.rops:
            continue
        yield ""
        yield "[[step]]"
        yield f"exchange = {step.exchange}"
        yield f"frame = {step.frame}"
        yield f"session = {step.session}"
        if step.supplied:
            yield "supplied = true"
        yield "rops = ["
        for rop in step.rops:
            yield f"    {rop_line(rop)},"
        yield "]"


def rop_line(rop: PlannedRop) -> str:
    """One ROP as an inline table."""
    parts: dict[str, Any] = {}
    if rop.key[1]:
        parts["rop"] = rop.key[1]
    parts["name"] = rop.name
    parts["action"] = rop.action
    if rop.reason:
        parts["why"] = rop.reason
    about = about_of(rop)
    if about:
        parts["about"] = about
    if rop.action != "skip":
        rewrites = list(dict.fromkeys(rewritten_fields(rop)))
        if rewrites:
            parts["rewrites"] = rewrites[:MOST_REWRITES] + (["..."] if len(rewrites) > MOST_REWRITES else [])
        if rop.needs:
            parts["needs"] = [f"{exchange}.{number}" for exchange, number in sorted(rop.needs)]
    return "{" + ", ".join(f"{name} = {_value(value)}" for name, value in parts.items()) + "}"


def about_of(rop: PlannedRop) -> str:
    """What a ROP is about, in a few words."""
    if rop.captured is not None:
        return summary(rop.captured, None)
    shown = {name: item for name, item in (rop.value or {}).items() if name in ("DisplayName", "FolderId", "IdCount")}
    return " ".join(f"{name}={value_text(item)}" for name, item in shown.items())


def rewritten_fields(rop: PlannedRop) -> Iterator[str]:
    """Paths of the fields of a request that hold ids, or what else is not sent as captured."""
    if rop.name == "RopLogon":
        yield "Essdn"
    if rop.upload is not None and rop.upload.data:
        yield "StreamData" if rop.part >= 0 else "TransferBufferSize"
    yield from _id_paths(rop.value, "")


def _id_paths(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, ObjectId | LongTermId | Xid):
        if global_id(value) is not None if isinstance(value, Xid) else value.counter:
            yield path
    elif isinstance(value, dict):
        tag = value.get("PropertyTag")
        if "PropertyValue" in value and isinstance(tag, int):
            name = property_name(tag) or f"0x{tag:08X}"
            yield from _id_paths(value["PropertyValue"], f"{path}.{name}")
            if tag >= FIRST_NAMED:
                yield f"{path}.{name} (tag)"
            return
        for name, item in value.items():
            inner = f"{path}.{name}" if path else name
            if (name in TAG_FIELDS and isinstance(item, int) and item >= FIRST_NAMED) or (
                name in TAG_LISTS and isinstance(item, list) and any(one >= FIRST_NAMED for one in item)
            ):
                yield inner
            elif name not in TAG_LISTS:
                yield from _id_paths(item, inner)
    elif isinstance(value, list):
        for item in value:
            yield from _id_paths(item, path)


def _text(text: str) -> str:
    """A TOML basic string: JSON's form, but for the characters that TOML wants escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value) if isinstance(value, int) else _text(str(value).encode("utf-8", "replace").decode())


# Reading.


def read_plan(path: Path) -> Plan:
    """A plan file. Raises ReplayError with the place where it cannot be understood."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ReplayError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ReplayError(f"{path}: {error}") from error
    if content.get("format") != FORMAT:
        raise ReplayError(f"{path}: no replay plan (format = {FORMAT!r} is missing)")
    if content.get("version") != VERSION:
        raise ReplayError(f"{path}: version {content.get('version')} of the plan format is not known, {VERSION} is")
    capture = content.get("capture")
    if not isinstance(capture, str) or not capture:
        raise ReplayError(f"{path}: capture is missing")
    made = Plan(path.parent / capture, str(content.get("sha256") or ""))
    last = 0
    for number, step in enumerate(_tables(content.get("step", []), f"{path}: step"), 1):
        where = f"{path}: step {number}"
        exchange = step.get("exchange")
        if not isinstance(exchange, int):
            raise ReplayError(f"{where}: exchange is missing")
        if exchange < last:
            raise ReplayError(f"{where}: exchange {exchange} stands behind {last}; steps keep the capture's order")
        last = exchange
        for rop in _tables(step.get("rops", []), f"{where}: rops"):
            _read_rop(made, rop, exchange, bool(step.get("supplied")), where)
    if made.digest and digest_of(made.capture) != made.digest:
        raise ReplayError(f"{path}: {made.capture} is not the capture that the plan was made of")
    return made


def _tables(value: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ReplayError(f"{where} is to be a list of tables")
    return value


def _read_rop(made: Plan, rop: dict[str, Any], exchange: int, supplied: bool, where: str) -> None:
    name, action = rop.get("name"), rop.get("action")
    if not isinstance(name, str) or action not in ("send", "supply", "skip"):
        raise ReplayError(f"{where}: a ROP needs a name, and an action: send, supply or skip")
    if supplied:
        if action == "skip":
            made.unsupplied.add((exchange, name))
        return
    key = (exchange, rop.get("rop", 0))
    if not isinstance(key[1], int):
        raise ReplayError(f"{where}: rop is to be a number")
    made.names[key] = name
    if action == "skip":
        made.refused[key] = str(rop.get("why") or NOT_CHOSEN)
        return
    made.sent.add(key)
    changes = rop.get("set", {})
    if not isinstance(changes, dict):
        raise ReplayError(f"{where}: set is to be a table of fields and values")
    if changes:
        made.edits[key] = changes
