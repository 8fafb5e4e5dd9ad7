"""What SmartView states about a blob, read from its text, and held against our tree field by field.

A statement is a line "Key = value", "Key: value", or a value on a line of its own under its key. The statements follow
the order of the bytes, so they are matched in order: each must find the next node of its name and agree with it, and
every leaf must be stated, but those that SmartView leaves out by habit (UNSTATED).
"""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from dissector.grammar.names import rows
from dissector.model.pcl import Xid
from dissector.node import Node

NAMES = {
    "abFlags": "Flags",
    "abFlags[0]": "Flags",
    "ActionLength": "Size",
    "FolderUserFieldAnsi.FieldDefinitionCount": "FieldDefinitionCount",
    "FolderUserFieldUnicode.FieldDefinitionCount": "FieldDefinitionCount",
    "AdvancedSearchLen": "",
    "Provider GUID": "ProviderUID",
    "Folder Type": "FolderType",
    "Message Type": "MessageType",
    "Database GUID": "DatabaseGuid",
    "Folder Database GUID": "FolderDatabaseGuid",
    "Message Database GUID": "MessageDatabaseGuid",
    "Folder GlobalCounter": "FolderGlobalCounter",
    "Message GlobalCounter": "MessageGlobalCounter",
    "szDisplayName": "DisplayName",
    "szAddressType": "AddressType",
    "szEmailAddress": "EmailAddress",
    "Wrapped Flags": "WrappedFlags",
    "Wrapped Entry Type": "Type",
    "EntryIDCount": "EntryIdCount",
    "muidID": "ContainerUID",
    "Reserved Bytes": "Reserved",
    "PropTag": "PropertyTag",
    "PropString": "PropertyValue",
    "rt": "RestrictType",
    "relop": "RelOp",
    "cRes": "RestrictCount",
    "cValues": "TaggedValuesCount",
    "cEntries": "Count",
    "cbEntries": "Size",
    "Number of named props": "NoOfNamedProps",
    "Named prop size": "NamedPropertiesSize",
    "Guid": "GUID",
    "StoreEIDBytes": "StoreEID",
    "Extended Flags": "Data",
    "Unknown Data": "Data",
    "Byte Array ID": "ByteArrayID",
    "Creation Time": "CreationTime",
    "Current FILETIME": "CurrentFileTime",
    "Revision": "Revision|AclRevision",
    "Endtime": "EndTime",
    "szUsername": "Username",
    "cchAnsiText": "AnsiTextSize",
    "ulVersion": "Version",
    "dwFlags": "Flags",
    "dwToDoItem": "ToDoItem",
    "wszFlagTo": "FlagTo",
    "rtmStartDate": "StartDate",
    "rtmDueDate": "DueDate",
    "rtmReminder": "Reminder",
    "fReminderSet": "ReminderSet",
    "cAssigners": "AssignerCount",
    "cbEntryID": "EntryIDSize",
    "lpEntryID": "EntryID",
    "szDisplayName (ANSI)": "DisplayName",
    "szDisplayName (Unicode)": "DisplayNameUnicode",
    "dwVersion": "Version",
    "dwType": "Type",
    "dwUnused": "Unused",
    "cbData": "Size",
    "wzURL": "Data",
    "Numeric Search": "NumericSearch",
    "Text Search Length": "TextSearchLength",
    "Text Search Length Extended": "TextSearchLengthExtended",
    "Text Search": "TextSearch",
    "Deep Search": "DeepSearch",
    "Folder List 1 Length": "FolderList1Length",
    "Folder List 1 Length Extended": "FolderList1LengthExtended",
    "Folder List 1": "FolderList1",
    "Folder List 2 Length": "FolderList2Length",
    "AdvancedSearchBytes": "AdvancedSearch",
    "lBias": "Bias",
    "lStandardBias": "StandardBias",
    "lDaylightBias": "DaylightBias",
    "wStandardYear": "StandardYear",
    "wDaylightDate": "DaylightYear",
    "wYear": "Year",
    "wMonth": "Month",
    "wDayOfWeek": "DayOfWeek",
    "wDay": "Day",
    "wHour": "Hour",
    "wMinute": "Minute",
    "wSecond": "Second",
    "wMilliseconds": "Milliseconds",
    "bMajorVersion": "MajorVersion",
    "bMinorVersion": "MinorVersion",
    "cbHeader": "HeaderSize",
    "wReserved": "Reserved",
    "cchKeyName": "KeyNameLength",
    "szKeyName": "KeyName",
    "cRules": "RuleCount",
    "wTZRuleFlags": "TZRuleFlags",
    "SearchFolderEntryID": "SearchFolderEntryId",
    "cVersion": "Version",
    "cRowCount": "RowCount",
    "ulReserved1": "Reserved",
}
"""SmartView's names where ours, the specs', are others."""

IGNORED = re.compile(
    r"Other Matches|AltPropString|User|Smart View|SkipBlockCount|PersistDataCount|Number of flags|cWebViews"
    r"|ActualRecordsCount.*|Low|High|LowDateTime|HighDateTime|resContent|resProperty|resComment"
)
"""Statements about SmartView's own counting, or that say a value again in other words."""

JOINED = {"dwBitmask": ["Version", "OneOffFlags"], "FuzzyLevel": ["FuzzyLevelLow", "FuzzyLevelHigh"]}

TEXT_HEADINGS = {"Characters", "Text Search", "Folder List 1", "wzURL"}
UNSTATED = {
    "PropIds",
    "DLLPadding", "Padding", "HasValue", "EntryLengths", "RestrictionPresent", "TaggedValuesCount", "LengthExtended",
    "TextSearchLengthExtended", "FolderList1LengthExtended", "ChangeHighlightReserved", "SkipBytes1", "SkipBytes2",
    "SkipBytes3", "ReservedBlock1", "ReservedBlock2", "ReservedBlockEE1", "ReservedBlockEE2Size", "ReservedBlockEE2",
}  # fmt: skip
"""Leaves that SmartView does not show, or not when they are empty."""

SPLIT = {"Time", "Other"}
"""Numbers whose bit fields SmartView states one by one."""

KNOWN = {row[2] for folder in ("flags", "enums") for row in rows(folder)}


class Statement(NamedTuple):
    key: str
    text: str
    colon: bool = False


class Entry(NamedTuple):
    """A node to be matched: its name (a row has that of its list), and whether it may stay unmatched."""

    name: str
    node: Node
    optional: bool


def read_text(data: bytes) -> str:
    if data.startswith(b"\xff\xfe"):
        return data[2:].decode("utf-16-le")
    if data[1:2] == b"\0":
        return data.decode("utf-16-le")
    return data.decode("utf-8", "replace")


def read_bytes(data: bytes) -> bytes:
    return bytes.fromhex(re.sub(r"[^0-9A-Fa-f]", "", read_text(data)))


def statements(text: str) -> Iterator[Statement]:
    heading = ""
    for line in text.replace("\r", "").split("\n"):
        line = line.lstrip("|\t ").rstrip()
        if not line:
            continue
        if heading in TEXT_HEADINGS or re.match(r"cb: \d+ lpb:|0x[0-9A-F]{8} = \d\d:", line):
            yield Statement(heading, line)
            heading = ""
            continue
        found = re.match(r"([^=:]+?)\s*([=:])\s*(.*)$", line)
        if found is None:
            heading = re.sub(r"\[.*?\]$", "", line)
            continue
        key = found[1] if found[1].startswith("abFlags[") else re.sub(r"\[[0-9a-fx.]+\]$", "", found[1])
        heading = key if key in ("Unparsed data size", "Byte Array ID") else ""
        if not heading and not IGNORED.fullmatch(key) and (key, found[2]) != ("Name", ":"):
            yield Statement(key, found[3], found[2] == ":")


def entries(node: Node, whole: frozenset[str], optional: bool = False, parent: str = "") -> Iterator[Entry]:
    """The leaves in order; a structure named in `whole` comes itself first, and its leaves need not be stated then."""
    name = parent if node.name.startswith("[") else node.name
    if isinstance(node.value, Xid):
        size = node.length - len(node.value.to_bytes())
        at = node.offset
        for part, length, value in (
            ("XidSize", size, node.length - size),
            ("NamespaceGuid", 16, node.value.namespace),
            ("LocalId", len(node.value.local_id), node.value.local_id),
        ):
            if length:
                yield Entry(part, Node(part, node.source, at, length, value), optional)
            at += length
        return
    if node.name in SPLIT and node.labeller is not None:
        for part, value in reversed(node.labeller.__self__.split(node.value).items()):
            yield Entry(part, Node(part, node.source, node.offset, node.length, value), optional)
        return
    if not node.children:
        if node.length or node.value not in (b"", "", None, []):
            yield Entry(name, node, optional or name in UNSTATED)
        return
    if name in whole:
        if not any(part.diagnostics for part in node.walk()):
            yield Entry(name, node, False)
        optional = True
    children = node.children
    if node.name == "Parts":
        order = ["OwnerSid", "GroupSid", "Sacl", "Dacl"]
        children = sorted(children, key=lambda child: order.index(child.name) if child.name in order else 9)
    for child in children:
        yield from entries(child, whole, optional, name)


def number_in(text: str) -> int | None:
    found = re.match(r"(?:\w+ = )*?(0x[0-9A-Fa-f]+|-?\d+)\b", text)
    return int(found[1], 16 if "x" in found[1] else 10) if found else None


def moment_in(text: str) -> datetime.datetime | None:
    found = re.search(r"(\d\d):(\d\d):(\d\d)\.(\d{3}) ([AP])M (\d+)/(\d+)/(\d{4})", text)
    if found is None:
        return None
    hour, minute, second, milli = (int(found[i]) for i in range(1, 5))
    return datetime.datetime(
        int(found[8]), int(found[6]), int(found[7]), hour % 12 + 12 * (found[5] == "P"), minute, second, milli * 1000
    )


def alike(value: str, shown: str) -> bool:
    """Whether a text is what SmartView shows: with dots for what it cannot print."""
    pairs = zip(value.rstrip(), shown.rstrip(), strict=False)
    return len(value.rstrip()) == len(shown.rstrip()) and all(mine == theirs or theirs == "." for mine, theirs in pairs)


def agrees(statement: Statement, entry: Entry) -> bool:
    """Whether the stated value is the node's."""
    text, node = statement.text, entry.node
    value: Any = node.value
    found = re.match(r"cb: (\d+) lpb: ?([0-9A-F]*|NULL)$", text)
    if found is not None:
        return node.data.endswith(bytes.fromhex(found[2].replace("NULL", ""))) and int(found[1]) in (
            node.length, node.length - 1, node.length - 2, node.length - 4,
        )  # fmt: skip
    if node.children and statement.key == "PropString":
        listed = [child for child in node.children if child.name.startswith("[")]
        shown = [f"{len(listed)}: " + "; ".join(str(child.value) for child in listed)] if listed else []
        inner = next((child for child in node.children if child.name in ("Text", "Value")), None)
        return text in shown or (inner is not None and alike(str(inner.value), text))
    if isinstance(value, uuid.UUID):
        return f"{{{str(value).upper()}}}" in text
    if isinstance(value, Xid):
        return text.upper().endswith(value.local_id.hex().upper())
    if isinstance(value, bool):
        return text.lower() == str(value).lower() or number_in(text) == int(value)
    if isinstance(value, str):
        return any(alike(value, shown) for shown in (text, text.strip('"'), text.rstrip(".")))
    if isinstance(value, bytes):
        return bool(re.search(value.hex(), text, re.I)) or int.from_bytes(value, "little") == number_in(text)
    if isinstance(value, int):
        return number_agrees(text, value, node)
    return False


def number_agrees(text: str, value: int, node: Node) -> bool:
    mask = (1 << 8 * node.length) - 1
    moment = moment_in(text)
    if moment is not None and node.length in (6, 8):
        ticks = value << 16 if node.length == 6 else value
        then = datetime.datetime(1601, 1, 1) + datetime.timedelta(microseconds=ticks // 10)
        return abs(then - moment) < datetime.timedelta(milliseconds=1)
    if text.startswith("Err: "):
        text = text.removeprefix("Err: ")
    if text in ("true", "True", "false", "False"):
        return value == (text.lower() == "true")
    if text.startswith("SECURITY_"):
        return value == {"SECURITY_NT_AUTHORITY": 5, "SECURITY_WORLD_SID_AUTHORITY": 1}[text]
    stated = number_in(text)
    if value == 0xFF and node.length == 1 and node.name.endswith("Length") and stated != value:
        value = int.from_bytes(node.source.data[node.end : node.end + 2], "little")
        mask = 0xFFFF
    if stated is None:
        found = re.search(r"= (0x[0-9A-Fa-f]+|\d+)$", text)
        stated = int(found[1], 0) if found else None
    if stated is None or stated & mask != value & mask:
        return False
    if moment is not None and node.length == 4 and node.label:
        return moment.isoformat(" ", "minutes") == node.label or moment.year == 1601
    return meaning_agrees(text, node.label)


def meaning_agrees(text: str, label: str) -> bool:
    """Names behind the number must be ours, where all of them are in our tables."""
    names = set(text.rsplit(" = ", 1)[-1].split(" | "))
    ours = set(re.findall(r"\w+", label))
    return not names <= KNOWN or names <= ours or (bool(ours) and ours <= names)


def compare(node: Node, text: str, whole: frozenset[str], names: Mapping[str, str], corrupt: bool = False) -> list[str]:
    """What does not agree; empty when every statement and every leaf was matched.

    whole: see entries(). names: NAMES for this kind of blob. corrupt: what is stated behind our last leaf is no matter.
    """
    trouble: list[str] = []
    listed = list(entries(node, whole))
    labels = [part.label for part in node.walk()]
    at = 0
    for statement in statements(text):
        if corrupt and all(entry.optional for entry in listed[at:]):
            break
        before = listed[min(at, len(listed)) - 1].node if listed else node
        if statement.key == "Flags" and statement.colon and not statement.text[:1].isdigit():
            if not meaning_agrees(statement.text, before.label):
                trouble.append(f"stated {statement.text}, found {before.label}")
            continue
        if statement.key.startswith("abFlags[") and not statement.key.startswith("abFlags[0"):
            first, _, last = statement.key[8:-1].partition("..")
            if before.data[int(first) : int(last or first) + 1].hex().upper() not in statement.text:
                trouble.append(f"{statement.key}: stated {statement.text}, found {before.data.hex()}")
            continue
        if statement.key == "PropID":
            if number_in(statement.text) not in [part.node.value for part in listed if part.name == "PropIds"]:
                trouble.append(f"no property id {statement.text}")
            continue
        if statement.key == "Textual SID":
            if statement.text != "(no SID)" and statement.text not in labels:
                trouble.append(f"no {statement.text} among the SIDs")
            continue
        if statement.key == "Unparsed data size":
            at = pass_by(bytes.fromhex(statement.text.split(": ")[-1]), listed, at, node, trouble)
            continue
        if statement.key in JOINED:
            at = joined(statement, listed, at, trouble)
            continue
        name = names.get(statement.key, NAMES.get(statement.key, statement.key))
        if not name:
            continue
        there = next((i for i in range(at, len(listed)) if listed[i].name in name.split("|")), None)
        if there is None:
            trouble.append(f"stated and not found: {statement.key} = {statement.text[:60]}")
            continue
        trouble += [f"found and not stated: {e.name} at {e.node.offset}" for e in listed[at:there] if not e.optional]
        if not agrees(statement, listed[there]):
            found = listed[there].node
            trouble.append(f"{statement.key}: stated {statement.text[:80]}, found {found.value!r} {found.label}")
        at = there + 1
        if listed[there].node.value == 0xFF and number_in(statement.text) != 0xFF:
            at += 1  # the length is in the two bytes behind
    trouble += [f"found and not stated: {e.name} at {e.node.offset}" for e in listed[at:] if not e.optional]
    return trouble


def joined(statement: Statement, listed: list[Entry], at: int, trouble: list[str]) -> int:
    """Two fields of ours that are one number of SmartView's."""
    parts = listed[at : at + 2]
    found = re.search(r"0x[0-9A-Fa-f]+", statement.text)
    number = int.from_bytes(b"".join(part.node.data for part in parts), "little")
    if [part.name for part in parts] != JOINED[statement.key] or found is None or int(found[0], 16) != number:
        trouble.append(f"{statement.key}: stated {statement.text}, found {number:#x}")
    return min(at + 2, len(listed))


def pass_by(rest: bytes, listed: list[Entry], at: int, root: Node, trouble: list[str]) -> int:
    """The entries behind bytes that SmartView left unparsed: we may have read them, or stopped there too."""
    start = listed[at].node.offset if at < len(listed) else root.end
    if root.source.data[start : start + len(rest)] != rest:
        trouble.append(f"unparsed from elsewhere than offset {start}")
    while at < len(listed) and listed[at].node.offset < start + len(rest):
        at += 1
    return at
