"""Recipient rows: from what a client wrote to properties, and back [MS-OXCDATA] 2.8.3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dissector.grammar.base import build
from dissector.grammar.entryids import EntryId
from dissector.node import Undecoded
from replay.server.computed import View
from replay.server.content import Content, Recipient
from replay.server.errors import INVALID_PARAMETER, RopError
from replay.server.mailbox import Mailbox
from replay.server.properties import Properties
from replay.server.rows import row, values_of
from replay.server.values import ERROR_CODE, kept, text_of, to_8bit

TYPE, EMAIL, DISPLAY, TRANSMITTABLE, SAME, UNICODE, SIMPLE, OTHER = 0x7, 0x8, 0x10, 0x20, 0x40, 0x200, 0x400, 0x8000
NO_TYPE, X500, MSMAIL, SMTP, FAX, PROFESSIONAL, PERSONAL_1, PERSONAL_2 = range(8)

ADDRESS_TYPES = {X500: "EX", MSMAIL: "MS", SMTP: "SMTP", FAX: "FAX", PROFESSIONAL: "PROFS", 6: "MAPIPDL", 7: "MAPIPDL"}

DISPLAY_NAME, ADDRESS_TYPE, EMAIL_ADDRESS, SEARCH_KEY, ENTRY_ID = 0x3001, 0x3002, 0x3003, 0x300B, 0x0FFF
SIMPLE_NAME, TRANSMITTABLE_NAME, ROW_ID, RECIPIENT_TYPE = 0x39FF, 0x3A20, 0x3000, 0x0C15

IN_ROW = frozenset((
    DISPLAY_NAME, ADDRESS_TYPE, EMAIL_ADDRESS, SIMPLE_NAME, TRANSMITTABLE_NAME, ROW_ID, RECIPIENT_TYPE,
))  # fmt: skip
"""Properties the row itself carries, which are no columns."""

PERSONAL = frozenset((ENTRY_ID, SEARCH_KEY))
"""Those that only rows of personal distribution lists carry."""

FIELDS = (
    ("EmailAddress", EMAIL, EMAIL_ADDRESS), ("DisplayName", DISPLAY, DISPLAY_NAME),
    ("SimpleDisplayName", SIMPLE, SIMPLE_NAME), ("TransmittableDisplayName", TRANSMITTABLE, TRANSMITTABLE_NAME),
)  # fmt: skip


def from_row(number: int, kind: int, wire: Any, columns: Sequence[int], codec: str) -> Recipient:
    """A recipient out of a RecipientRow as the grammar read it."""
    if isinstance(wire, Undecoded):
        raise RopError(INVALID_PARAMETER)
    flags = wire["RecipientFlags"]
    properties = Properties()
    width = 2 if flags & UNICODE else 1

    def put(prop_id: int, value: Any, size: int) -> None:
        properties.put(prop_id << 16 | 0x1F, text_of(value, size, codec))

    address_type = ADDRESS_TYPES.get(flags & TYPE)
    if address_type is not None:
        properties.put(ADDRESS_TYPE << 16 | 0x1F, address_type)
    if wire.get("AddressType") is not None:
        put(ADDRESS_TYPE, wire["AddressType"], 1)
    if wire.get("X500DN") is not None:
        put(EMAIL_ADDRESS, wire["X500DN"], 1)
    for name, prop_id in (("EntryId", ENTRY_ID), ("SearchKey", SEARCH_KEY)):
        found = wire.get(name)
        if found is not None:
            raw = found if isinstance(found, bytes) else build(EntryId, found)
            properties.put(prop_id << 16 | 0x102, bytes(raw))
    for name, _, prop_id in FIELDS:
        if wire.get(name) is not None:
            put(prop_id, wire[name], width)
    if flags & SAME and DISPLAY_NAME in properties and TRANSMITTABLE_NAME not in properties:
        properties.put(TRANSMITTABLE_NAME << 16 | 0x1F, properties.value(DISPLAY_NAME))
    _take_columns(properties, wire, columns, codec)
    display_type = wire.get("DisplayType") or 0
    return Recipient(number, kind, flags, display_type, properties)


def _take_columns(properties: Properties, wire: Any, columns: Sequence[int], codec: str) -> None:
    values = wire["RecipientProperties"]
    for tag, entry in zip(columns, values["ValueArray"], strict=False):
        value = entry
        if values["Flag"]:
            if entry["Flag"] != 0:
                continue
            value = entry["PropertyValue"]
        if tag & 0xFFFF in (0, ERROR_CODE):
            continue
        kind, plain = kept(tag, value, codec)
        properties.set(tag >> 16, kind, plain)


def columns_of(content: Content) -> tuple[int, ...]:
    """The columns that say what the rows themselves cannot, for all recipients of a message."""
    tags: dict[int, int] = {}
    for one in content.recipients:
        for tag in one.properties.tags():
            if tag >> 16 not in IN_ROW and not (tag >> 16 in PERSONAL and _flags(one) & TYPE in (6, 7)):
                tags.setdefault(tag >> 16, tag)
    return tuple(tags[prop_id] for prop_id in sorted(tags))


def _flags(recipient: Recipient) -> int:
    """The flags the client gave, or for a recipient that came another way those that fit its properties."""
    if recipient.flags:
        return recipient.flags
    properties = recipient.properties
    address_type = str(properties.value(ADDRESS_TYPE, "")).upper()
    kinds = {name: number for number, name in ADDRESS_TYPES.items() if number < PERSONAL_1}
    flags = UNICODE | kinds.get(address_type, NO_TYPE)
    if flags & TYPE == NO_TYPE and address_type:
        flags |= OTHER
    if flags & TYPE != X500 and EMAIL_ADDRESS in properties:
        flags |= EMAIL
    for _, bit, prop_id in FIELDS[1:]:
        if prop_id in properties:
            flags |= bit
    if flags & TRANSMITTABLE and properties.value(TRANSMITTABLE_NAME) == properties.value(DISPLAY_NAME):
        flags = flags & ~TRANSMITTABLE | SAME
    return flags


def to_row(mailbox: Mailbox, recipient: Recipient, columns: Sequence[int], codec: str) -> dict[str, Any]:
    """The RecipientRow of a recipient over `columns`."""
    flags, properties = _flags(recipient), recipient.properties
    wire: dict[str, Any] = {"RecipientFlags": flags, "RecipientColumnCount": len(columns)}

    def text(prop_id: int, wide: int) -> str | bytes:
        value = str(properties.value(prop_id, ""))
        return value if wide else to_8bit(value, codec)

    if flags & TYPE == X500:
        wire.update(AddressPrefixUsed=0, DisplayType=recipient.display_type, X500DN=text(EMAIL_ADDRESS, 0))
    elif flags & TYPE in (PERSONAL_1, PERSONAL_2):
        wire.update(EntryId=properties.value(ENTRY_ID, b""), SearchKey=properties.value(SEARCH_KEY, b""))
    elif flags & TYPE == NO_TYPE and flags & OTHER:
        wire["AddressType"] = text(ADDRESS_TYPE, 0)
    for name, bit, prop_id in FIELDS:
        if flags & bit:
            wire[name] = text(prop_id, flags & UNICODE)
    answers = values_of(View(mailbox, properties.get), columns, codec)
    wire["RecipientProperties"] = row(columns, answers)
    return wire


def display_names(content: Content) -> dict[int, str]:
    """PidTagDisplayBcc, -Cc and -To: the names of each kind."""
    names: dict[int, list[str]] = {0x0E02: [], 0x0E03: [], 0x0E04: []}
    for one in content.recipients:
        place = {1: 0x0E04, 2: 0x0E03, 3: 0x0E02}.get(one.kind & 0x0F)
        if place is not None:
            name = one.properties.value(DISPLAY_NAME) or one.properties.value(EMAIL_ADDRESS) or ""
            names[place].append(str(name))
    return {prop_id: "; ".join(found) for prop_id, found in names.items()}
