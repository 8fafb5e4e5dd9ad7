"""Property ROPs [MS-OXCPRPT] 3.2.5.1 to 3.2.5.10. Those of streams are in streams.py."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from dissector.grammar.rops import oxcprpt as grammar
from replay.server import copying, rows
from replay.server.call import Call, Fields, TooSmallError
from replay.server.errors import (
    ACCESS_DENIED,
    COMPUTED,
    ERRORS_RETURNED,
    INVALID_PARAMETER,
    NOT_SUPPORTED,
    RopError,
)  # fmt: skip
from replay.server.mailbox import FIRST_NAMED, PropertyName
from replay.server.rops import streams
from replay.server.session import AttachmentObject, FolderObject, Logon, MessageObject, PropertyObject
from replay.server.underway import progress
from replay.server.values import ERROR_CODE, NULL, OBJECT, UNSPECIFIED, kept, text_of

PS_MAPI = uuid.UUID("00020328-0000-0000-c000-000000000046")

NUMBER, NAME, UNNAMED = 0x00, 0x01, 0xFF
"""Kinds of PropertyName."""

MOVE, NO_OVERWRITE = 0x01, 0x02
"""CopyFlags."""

MIN_LARGEST = 256


# Reading.


def _fitting(call: Call, build_with: Callable[[int], Any], size_of: Callable[[Any], int]) -> Any:
    """The answer with as many values as a payload of full size holds; the larger ones become NotEnoughMemory."""
    largest = 0xFFFF
    while True:
        answer = build_with(largest)
        size = size_of(answer)
        if size <= call.whole_room or largest < MIN_LARGEST:
            if size > call.room:
                raise TooSmallError(size)
            return answer
        largest //= 2


def get_properties_specific(call: Call) -> Fields:
    thing, request = call.get(PropertyObject), call.request
    tags = tuple(request["PropertyTags"])
    view, unicode = thing.view(), bool(request["WantUnicode"])
    call.params = {"codepage": thing.codec, "property_tags": tags}

    def build_with(largest: int) -> Any:
        return rows.packed_row(tags, rows.values_of(view, tags, thing.codec, unicode, largest), thing.codec)

    return {"RowData": _fitting(call, build_with, lambda row: len(row) + 6)}


def get_properties_all(call: Call) -> Fields:
    thing, request = call.get(PropertyObject), call.request
    tags = [tag for tag in thing.tags() if tag & 0xFFFF != OBJECT]
    view, unicode = thing.view(), bool(request["WantUnicode"])
    call.params = {"codepage": thing.codec}

    def build_with(largest: int) -> list[Any]:
        return rows.packed_values(rows.tagged(view, tags, thing.codec, unicode, largest), thing.codec)

    return {"PropertyValues": _fitting(call, build_with, lambda values: 8 + sum(len(one) for one in values))}


def get_properties_list(call: Call) -> Fields:
    return {"PropertyTags": call.get(PropertyObject).tags()}


# Writing.


def _writable(thing: PropertyObject) -> None:
    if isinstance(thing, MessageObject | AttachmentObject) and not thing.writable:
        raise RopError(ACCESS_DENIED)


def _problem(index: int, tag: int, code: int) -> dict[str, int]:
    return {"Index": index, "PropertyTag": tag, "ErrorCode": code}


def set_properties(call: Call) -> Fields:
    thing = call.get(PropertyObject)
    _writable(thing)
    thing.flush()
    problems: list[dict[str, int]] = []
    changed: list[int] = []
    for index, one in enumerate(call.request["PropertyValues"]):
        tag = one["PropertyTag"]
        if thing.is_read_only(tag >> 16):
            problems.append(_problem(index, tag, COMPUTED))
            continue
        if tag & 0xFFFF in (UNSPECIFIED, NULL, ERROR_CODE, OBJECT):
            problems.append(_problem(index, tag, INVALID_PARAMETER))
            continue
        kind, value = kept(tag, one["PropertyValue"], thing.codec)
        try:
            thing.set(tag >> 16, kind, value)
        except RopError as error:
            problems.append(_problem(index, tag, error.code))
            continue
        changed.append(tag)
    if changed:
        thing.done(changed)
    return {"PropertyProblems": problems}


def delete_properties(call: Call) -> Fields:
    thing = call.get(PropertyObject)
    _writable(thing)
    thing.flush()
    problems: list[dict[str, int]] = []
    changed: list[int] = []
    for index, tag in enumerate(call.request["PropertyTags"]):
        if thing.is_read_only(tag >> 16) or (isinstance(thing, FolderObject) and tag >> 16 == 0x3001):
            problems.append(_problem(index, tag, ACCESS_DENIED))
            continue
        thing.delete(tag >> 16)
        changed.append(tag)
    if changed:
        thing.done(changed)
    return {"PropertyProblems": problems}


# Copying.


def _copy(call: Call, wanted: Callable[[int], bool], listed: list[int] | None, sub_objects: bool) -> Fields:
    source = call.get(MessageObject, FolderObject, AttachmentObject)
    target = call.destination(PropertyObject)
    flags = call.request["CopyFlags"]
    if flags & ~(MOVE | NO_OVERWRITE):
        raise RopError(INVALID_PARAMETER)
    if type(source) is not type(target) or (isinstance(source, FolderObject) and flags & MOVE):
        raise RopError(NOT_SUPPORTED)
    _writable(target)
    source.flush()
    target.flush()
    keep = bool(flags & NO_OVERWRITE)
    problems = copying.copy(source, target, wanted, listed, sub_objects, keep)
    if flags & MOVE:
        copying.remove_copied(source, wanted)
    return {"PropertyProblems": [_problem(*one) for one in problems]}


def copy_to(call: Call) -> Fields:
    excluded = {tag >> 16 for tag in call.request["ExcludedTags"]}
    return _copy(call, lambda prop_id: prop_id not in excluded, None, bool(call.request["WantSubObjects"]))


def copy_properties(call: Call) -> Fields:
    tags = list(call.request["PropertyTags"])
    wanted = {tag >> 16 for tag in tags}
    return _copy(call, wanted.__contains__, tags, True)


# Named properties.


def _name(wire: Any, codec: str) -> PropertyName:
    if wire["Kind"] == NUMBER:
        return PropertyName(wire["GUID"], wire["LID"], None)
    if wire["Kind"] != NAME or not isinstance(wire["Name"], str):
        raise RopError(INVALID_PARAMETER)
    return PropertyName(wire["GUID"], None, text_of(wire["Name"], 2, codec))


def wire_name(name: PropertyName) -> dict[str, Any]:
    if name.lid is not None:
        return {"Kind": NUMBER, "GUID": name.guid, "LID": name.lid}
    return {"Kind": NAME, "GUID": name.guid, "Name": name.name}


def get_property_ids_from_names(call: Call) -> Fields:
    thing, request = call.get(PropertyObject), call.request
    mailbox, create = thing.logon.mailbox, bool(request["Flags"] & 0x02)
    if not request["PropertyNames"] and isinstance(thing, Logon):
        return {"PropertyIds": [number for number, _ in mailbox.property_names()]}
    ids: list[int] = []
    for wire in request["PropertyNames"]:
        name = _name(wire, thing.codec)
        if name.guid == PS_MAPI:
            ids.append(name.lid if name.lid is not None and name.lid < FIRST_NAMED else 0)
        else:
            ids.append(mailbox.property_id(name, create))
    if 0 in ids:
        call.code = ERRORS_RETURNED
    return {"PropertyIds": ids}


def get_names_from_property_ids(call: Call) -> Fields:
    mailbox = call.get(PropertyObject).logon.mailbox
    names: list[dict[str, Any]] = []
    for prop_id in call.request["PropertyIds"]:
        name = PropertyName(PS_MAPI, prop_id, None) if prop_id < FIRST_NAMED else mailbox.property_name(prop_id)
        if name is None:
            names.append({"Kind": UNNAMED, "GUID": uuid.UUID(int=0)})
        else:
            names.append(wire_name(name))
    return {"PropertyNames": names}


def query_named_properties(call: Call) -> Fields:
    """Those of the mailbox; on another object those the object has."""
    thing, request = call.get(PropertyObject), call.request
    no_strings, no_ids = request["QueryFlags"] & 1, request["QueryFlags"] & 2
    have = None if isinstance(thing, Logon) else {tag >> 16 for tag in thing.tags()}
    found = [
        (number, name)
        for number, name in thing.logon.mailbox.property_names()
        if (have is None or number in have)
        and not (no_strings and name.name is not None)
        and not (no_ids and name.lid is not None)
        and (request["PropertyGuid"] is None or name.guid == request["PropertyGuid"])
    ]
    return {
        "PropertyIds": [number for number, _ in found],
        "PropertyNames": [wire_name(name) for _, name in found],
    }


HANDLERS = (
    (grammar.GET_PROPERTIES_SPECIFIC, get_properties_specific),
    (grammar.GET_PROPERTIES_ALL, get_properties_all),
    (grammar.GET_PROPERTIES_LIST, get_properties_list),
    (grammar.SET_PROPERTIES, set_properties),
    (grammar.SET_PROPERTIES_NO_REPLICATE, set_properties),
    (grammar.DELETE_PROPERTIES, delete_properties),
    (grammar.DELETE_PROPERTIES_NO_REPLICATE, delete_properties),
    (grammar.COPY_TO, copy_to),
    (grammar.COPY_PROPERTIES, copy_properties),
    (grammar.GET_PROPERTY_IDS_FROM_NAMES, get_property_ids_from_names),
    (grammar.GET_NAMES_FROM_PROPERTY_IDS, get_names_from_property_ids),
    (grammar.QUERY_NAMED_PROPERTIES, query_named_properties),
    (grammar.PROGRESS, progress),
    *streams.HANDLERS,
)
