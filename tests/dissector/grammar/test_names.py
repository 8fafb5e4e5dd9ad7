"""The name tables: complete as the facts, true both ways, and each table in one file only."""

from __future__ import annotations

import uuid
from collections import Counter
from importlib.resources import files

import pytest

from dissector.grammar import names
from dissector.grammar.names import (
    codec_name,
    enum_name,
    error_code,
    error_meaning,
    error_name,
    flag_names,
    guid_name,
    guid_of,
    named_property_key,
    named_property_name,
    property_name,
    property_tags,
    type_code,
    type_name,
)
from tests.conftest import shared


def facts(name: str) -> list[list[str]]:
    return [line.split("\t") for line in shared("facts", name).read_text().splitlines()[1:]]


@pytest.mark.parametrize(
    ("code", "name", "others"),
    [
        (0x00000000, "ecSuccess", ["Success"]),
        (0x8004010F, "ecNotFound", ["MAPI_E_NOT_FOUND", "NotFound"]),
        (0x80070005, "ecAccessDenied", ["MAPI_E_NO_ACCESS", "AccessDenied"]),
        (0x00040380, "ecWarnWithErrors", ["MAPI_W_ERRORS_RETURNED", "ErrorsReturned"]),
        (0x00000503, "ecDstNullObject", ["NullDestinationObject"]),
        (0x80040802, "SyncConflict", ["SYNC_E_CONFLICT"]),
    ],
)
def test_error(code: int, name: str, others: list[str]) -> None:
    assert error_name(code) == name
    for known in (name, *others):
        assert error_code(known) == error_code(known.upper()) == code


def test_unknown_errors() -> None:
    assert error_name(0xDEADBEEF) == error_meaning(0xDEADBEEF) == ""
    assert error_code("ecNoSuchThing") is None


def test_every_error_is_found_by_its_name() -> None:
    for code, name, *_ in names.rows("errors.tsv"):
        assert error_code(name) == int(code, 16)


def test_errors_are_those_of_the_facts() -> None:
    for code, canonical, *_ in facts("errors.tsv"):
        known = error_name(int(code, 16))
        assert known
        assert error_code(known) == int(code, 16)
        assert error_code(canonical) is not None


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        (0x0037001F, "PidTagSubject"),
        (0x0037001E, "PidTagSubject"),
        (0x67480014, "PidTagFolderId"),
        (0x68451102, "PidTagScheduleInfoDelegateEntryIds"),
        (0x68450102, "PidTagSearchFolderDefinition"),
        (0x0037000A, "PidTagSubject"),
        (0x36D83102, "PidTagAdditionalRenEntryIds"),
        (0x80050003, ""),
        (0x12345678, ""),
    ],
)
def test_property(tag: int, name: str) -> None:
    assert property_name(tag) == name


def test_ids_of_address_books() -> None:
    assert property_name(0x8005000D, address_book=True) == "PidTagAddressBookManager"


def test_properties_both_ways() -> None:
    assert property_tags("PidTagSubject") == property_tags("pr_subject") == [0x0037001F]
    assert property_tags("PidTagNoSuchThing") == []
    for prop_id, prop_type, _, name, *_ in facts("properties.tsv"):
        if name:
            tag = int(prop_id, 16) << 16 | int(prop_type or "0", 16)
            assert tag in property_tags(name)
            assert property_name(tag, address_book=True) == name


def test_types() -> None:
    assert type_name(0x001F) == "PtypString"
    assert type_code("ptypstring") == 0x001F
    assert type_name(0x301F) == "PtypString instance"
    assert type_name(0x0BAD) == "0x0BAD"
    assert type_name(0x84B0) == "text in code page 1200"
    assert type_name(0xFDE9) == "text in code page 65001"
    assert type_name(0x8000) == "0x8000"
    assert type_code("PtypNoSuchThing") is None


def test_guids_and_named_properties_both_ways() -> None:
    address = guid_of("PSETID_Address")
    assert address is not None
    assert guid_name(address) == "PSETID_Address"
    assert guid_of("PSETID_None") is None
    assert guid_name(uuid.UUID(int=0)) == ""
    assert named_property_name(address, 0x8005) == "PidLidFileUnder"
    assert named_property_key("PidLidFileUnder") == (address, 0x8005)
    assert named_property_key("PidLidNoSuchThing") is None
    strings = guid_of("PS_PUBLIC_STRINGS")
    assert strings is not None
    assert named_property_name(strings, "KEYWORDS") == named_property_name(strings, "Keywords") == "PidNameKeywords"


@pytest.mark.parametrize(
    ("page", "codec"),
    [(1252, "cp1252"), (932, "cp932"), (28591, "iso8859-1"), (65001, "utf-8"), (20866, "koi8-r"), (0xFFF, None)],
)
def test_code_page(page: int, codec: str | None) -> None:
    assert codec_name(page) == codec


def test_flags_and_enumerations() -> None:
    assert flag_names("MessageFlags", 0x413) == "mfRead | mfUnmodified | mfHasAttach | mfEverRead"
    assert flag_names("MessageFlags", 0x40000001) == "mfRead | 0x40000000"
    assert flag_names("MessageFlags", 0) == flag_names("NoSuchTable", 0) == ""
    assert enum_name("MemberId", -1) == "anonymous user"
    assert enum_name("MemberId", 7) == enum_name("NoSuchTable", 1) == ""


@pytest.mark.parametrize("kind", ["flags", "enums"])
def test_tables_of_numbers(kind: str) -> None:
    """Every line has three fields, no value of a table twice, and a table is in one file."""
    where: dict[str, set[str]] = {}
    for path in (files(names.__name__) / kind).iterdir():
        lines = [line.split("\t") for line in path.read_text().splitlines()[1:]]
        assert all(len(line) == 3 and line[2] for line in lines), path.name
        twice = [
            key for key, count in Counter((table, int(value, 0)) for table, value, _ in lines).items() if count > 1
        ]
        assert not twice, f"{path.name}: {twice}"
        for table, *_ in lines:
            where.setdefault(table, set()).add(path.name)
    assert not {table: found for table, found in where.items() if len(found) > 1}
