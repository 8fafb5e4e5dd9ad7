"""Names for numbers: properties, types, errors, GUIDs, flag bits, enumerations. Data files only, read on first use.

Every table is a tab-separated file beside this one with a header line; flags/ and enums/ hold one file per spec
(table, mask or value, name). A number without a name is shown as a number;
nothing here raises.
"""

from __future__ import annotations

import uuid
from functools import cache
from importlib.resources import files


def rows(name: str) -> list[list[str]]:
    """The rows of table file `name`, or of all files in folder `name`, without headers, fields split at tabs."""
    place = files(__name__).joinpath(name)
    tables = sorted(place.iterdir(), key=lambda entry: entry.name) if place.is_dir() else [place]
    texts = [table.read_text(encoding="utf-8") for table in tables if table.name.endswith(".tsv")]
    return [line.split("\t") for text in texts for line in text.splitlines()[1:] if line]


@cache
def _flags() -> dict[str, list[tuple[int, str]]]:
    tables: dict[str, list[tuple[int, str]]] = {}
    for table, mask, name in rows("flags"):
        tables.setdefault(table, []).append((int(mask, 0), name))
    return tables


@cache
def _enums() -> dict[str, dict[int, str]]:
    tables: dict[str, dict[int, str]] = {}
    for table, value, name in rows("enums"):
        tables.setdefault(table, {})[int(value, 0)] = name
    return tables


def flag_names(table: str, value: int) -> str:
    """'ReadState | Normal | 0x4'; for 0 the name of mask 0, or the empty string where the table has none."""
    names, left = [], value
    for mask, name in _flags().get(table, ()):
        if value & mask == mask and bool(mask) == bool(value):
            names.append(name)
            left &= ~mask
    if left:
        names.append(f"0x{left:X}")
    return " | ".join(names)


def enum_name(table: str, value: int) -> str:
    return _enums().get(table, {}).get(value, "")


@cache
def _errors() -> dict[int, tuple[str, str]]:
    return {int(code, 16): (name, meaning) for code, name, _, meaning in rows("errors.tsv")}


def error_name(code: int) -> str:
    """'ecNotFound' for 0x8004010F; the empty string where no name is known."""
    return _errors().get(code, ("", ""))[0]


def error_meaning(code: int) -> str:
    return _errors().get(code, ("", ""))[1]


@cache
def _types() -> dict[int, str]:
    return {int(code, 16): name for code, name in rows("types.tsv")}


def type_name(code: int) -> str:
    """'PtypString' for 0x001F; hex where no name is known."""
    return _types().get(code) or f"0x{code:04X}"


@cache
def _properties() -> tuple[dict[tuple[int, int], str], dict[int, str]]:
    exact: dict[tuple[int, int], str] = {}
    by_id: dict[int, str] = {}
    for prop_id, prop_type, name, _ in rows("properties.tsv"):
        key = int(prop_id, 16), int(prop_type or "0", 16)
        exact.setdefault(key, name)
        if name.startswith("PidTag") or key[0] not in by_id:
            by_id.setdefault(key[0], name)
    return exact, by_id


def property_name(tag: int) -> str:
    """'PidTagSubject' for 0x0037001F. The type is matched first (strings count as one type), then the id alone."""
    exact, by_id = _properties()
    prop_id, prop_type = tag >> 16, tag & 0xFFFF
    for candidate in (prop_type, prop_type ^ 1 if prop_type & 0xEFFE == 0x001E else prop_type):
        name = exact.get((prop_id, candidate))
        if name:
            return name
    return by_id.get(prop_id, "")


@cache
def _guids() -> dict[uuid.UUID, str]:
    return {uuid.UUID(guid): name for guid, name, _ in rows("guids.tsv")}


def guid_name(guid: uuid.UUID) -> str:
    return _guids().get(guid, "")


@cache
def _named() -> dict[tuple[uuid.UUID, int | str], str]:
    table: dict[tuple[uuid.UUID, int | str], str] = {}
    for guid, kind, key, _, name in rows("named_properties.tsv"):
        table.setdefault((uuid.UUID(guid), int(key, 16) if kind == "LID" else key.lower()), name)
    return table


def named_property_name(guid: uuid.UUID, key: int | str) -> str:
    """'PidLidFileUnder' for (PSETID_Address, 0x8005); the empty string where no name is known."""
    return _named().get((guid, key.lower() if isinstance(key, str) else key), "")
