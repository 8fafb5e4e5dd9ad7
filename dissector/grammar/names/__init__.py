"""Names for numbers: properties, types, errors, GUIDs, flag bits, enumerations. Data files only, read on first use.

Every table is a tab-separated file beside this one with a header line; flags/ and enums/ hold one file per spec
(table, mask or value, name). A number without a name is shown as a number;
nothing here raises.
"""

from __future__ import annotations

import codecs
import uuid
from functools import cache, lru_cache
from pathlib import Path

PLACE = Path(__file__).parent
"""Not by importlib.resources: loading that takes longer than reading the tables of a list."""


def rows(name: str) -> list[list[str]]:
    """The rows of table file `name`, or of all files in folder `name`, without headers, fields split at tabs."""
    place = PLACE / name
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
def _error_codes() -> dict[str, int]:
    table = {name.lower(): int(code, 16) for code, name, _, _ in rows("errors.tsv")}
    for code, _, others, _ in rows("errors.tsv"):
        for name in filter(None, others.split(";")):
            table.setdefault(name.lower(), int(code, 16))
    return table


def error_code(name: str) -> int | None:
    """0x8004010F for 'ecNotFound', 'MAPI_E_NOT_FOUND' or 'NotFound', in any case; None where none is known."""
    return _error_codes().get(name.lower())


@cache
def _types() -> dict[int, str]:
    return {int(code, 16): name for code, name in rows("types.tsv")}


def type_name(code: int) -> str:
    """'PtypString' for 0x001F, 'PtypString instance' for 0x301F; hex where no name is known.

    Types from 0x8000 on are those of FastTransfer [MS-OXCFXICS] 2.2.4.1.1.1: 'text in code page 1252' for 0x84E4.
    """
    known = _types()
    if code in known:
        return known[code]
    if code & 0x3000 == 0x3000 and code & 0x0FFF in known:
        return f"{known[code & 0x0FFF]} instance"
    for page in (code & 0x7FFF, code) if code & 0x8000 else ():
        if enum_name("CodePage", page):
            return f"text in code page {page}"
    return f"0x{code:04X}"


def type_code(name: str) -> int | None:
    """0x001F for 'PtypString'; None where none is known."""
    return next((code for code, known in _types().items() if known.lower() == name.lower()), None)


@cache
def _property_rows() -> list[list[str]]:
    return rows("properties.tsv")


@cache
def _properties() -> tuple[dict[str, str], dict[str, str]]:
    """By id and type, and by id, as the table writes them: to make numbers of them all takes longer than the rest."""
    table = _property_rows()[::-1]  # of two names the first counts
    exact = {prop_id + (prop_type or "0x0000"): name for prop_id, prop_type, name, _ in table}
    # other names are of one provider or one type: they say nothing of another type
    by_id = {prop_id: name for prop_id, _, name, _ in table if name.startswith("PidTag")}
    return exact, by_id


@lru_cache(4096)
def property_name(tag: int, address_book: bool = False) -> str:
    """'PidTagSubject' for 0x0037001F. The type is matched first (strings count as one type), then the id alone.

    Ids from 0x8000 on mean something else in every mailbox; only address books have fixed names for them. `exchange:`
    and `ldap:` stand before names that no specification has: 'exchange:Relevance' for 0x10840003.
    """
    exact, by_id = _properties()
    prop_id, prop_type = tag >> 16, tag & 0xFFFF
    if prop_id >= 0x8000 and not address_book:
        return ""
    if prop_type & 0x3000 == 0x3000:  # an instance of a multi-value column
        prop_type &= ~0x2000
    written = f"0x{prop_id:04X}"
    for candidate in (prop_type, prop_type ^ 1 if prop_type & 0xEFFE == 0x001E else prop_type):
        name = exact.get(f"{written}0x{candidate:04X}")
        if name:
            return name
    return by_id.get(written, "")


@cache
def _named_rows() -> dict[str, list[list[str]]]:
    table: dict[str, list[list[str]]] = {}
    for row in _property_rows():
        if row[2]:
            table.setdefault(row[2].lower(), []).append(row)
    return table


@cache
def _otherwise_named_rows() -> dict[str, list[list[str]]]:
    others: dict[str, list[list[str]]] = {}
    for row in _property_rows():
        for other in filter(None, row[3].lower().split(";")):
            others.setdefault(other, []).append(row)
    return others


def property_tags(name: str) -> list[int]:
    """The tags of 'PidTagSubject' (or 'PR_SUBJECT', in any case): [0x0037001F]; empty where none is known."""
    key = name.lower()
    found = _named_rows().get(key) or _otherwise_named_rows().get(key) or ()
    return [int(prop_id, 16) << 16 | int(prop_type or "0", 16) for prop_id, prop_type, _, _ in found]


@cache
def _guids() -> dict[uuid.UUID, str]:
    return {uuid.UUID(guid): name for guid, name, _ in rows("guids.tsv")}


def guid_name(guid: uuid.UUID) -> str:
    return _guids().get(guid, "")


def guid_of(name: str) -> uuid.UUID | None:
    """The GUID of 'PSETID_Address'; None where none is known."""
    return next((guid for guid, known in _guids().items() if known.lower() == name.lower()), None)


@cache
def _named() -> dict[tuple[uuid.UUID, int | str], str]:
    table: dict[tuple[uuid.UUID, int | str], str] = {}
    for guid, kind, key, _, name in rows("named_properties.tsv"):
        table.setdefault((uuid.UUID(guid), int(key, 16) if kind == "LID" else key.lower()), name)
    return table


def named_property_name(guid: uuid.UUID, key: int | str) -> str:
    """'PidLidFileUnder' for (PSETID_Address, 0x8005); the empty string where no name is known."""
    return _named().get((guid, key.lower() if isinstance(key, str) else key), "")


def named_property_key(name: str) -> tuple[uuid.UUID, int | str] | None:
    """(PSETID_Address, 0x8005) for 'PidLidFileUnder'; None where none is known."""
    return next((key for key, known in _named().items() if known.lower() == name.lower()), None)


_CODECS = {
    20127: "ascii", 20866: "koi8_r", 21866: "koi8_u", 50220: "iso2022_jp", 50221: "iso2022_jp_ext",
    50225: "iso2022_kr", 51932: "euc_jp", 51949: "euc_kr", 52936: "hz", 54936: "gb18030", 65000: "utf_7",
    65001: "utf_8",
}  # fmt: skip


@lru_cache(256)
def codec_name(code_page: int) -> str | None:
    """The Python codec of a Windows code page: 'cp1252' for 1252; None where there is none."""
    if 28591 <= code_page <= 28606:
        name = f"iso8859_{code_page - 28590}"
    else:
        name = _CODECS.get(code_page) or f"cp{code_page}"
    try:
        return codecs.lookup(name).name
    except LookupError:
        return None
