"""The property blobs of mfcmapi's tests, with what Microsoft's SmartView states about them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from construct import Construct

from dissector.grammar import blobs, entryids, outlook, recurrence, search, security, xid
from dissector.grammar.base import GrammarError, build
from dissector.grammar.layouts import RowsToEnd
from dissector.grammar.reading import parse, trace
from dissector.source import ByteSource
from tests.conftest import shared
from tests.dissector.grammar.smartview import compare, entries, moment_in, read_bytes, read_text

PLACE = shared("vectors", "mfcmapi")
BLOBS = sorted(path.stem for path in (PLACE / "In").iterdir())

LAYOUTS: dict[str, Construct] = {
    "ACECONTAINER": security.Ace,
    "ACEFB": security.Ace,
    "ACEMESSAGE": security.Ace,
    "ACL": security.Acl,
    "ADDITIONALRENENTRYIDSEX": outlook.AdditionalRenEntryIdsEx,
    "APPOINTMENTRECURRENCEPATTERN": recurrence.AppointmentRecurrencePattern,
    "CONVERSATIONINDEX": blobs.ConversationIndex,
    "ENTRYID": entryids.EntryId,
    "ENTRYLIST": entryids.EntryList,
    "EXTENDEDFOLDERFLAGS": outlook.ExtendedFolderFlags,
    "EXTENDEDRULEACTION": blobs.ExtendedRuleMessageActions,
    "EXTENDEDRULECONDITION": blobs.ExtendedRuleMessageCondition,
    "FBSECURITYDESCRIPTOR": security.NtSecurityDescriptor,
    "FLATENTRYLIST": entryids.FlatEntryList,
    "FOLDERUSERFIELDS": outlook.FolderUserFields,
    "GLOBALOBJECTID": recurrence.GlobalObjectId,
    "NTSD": security.NtSecurityDescriptor,
    "PCL": xid.PredecessorChangeList,
    "PROPERTIES": RowsToEnd(search.KeptPropertyValue),
    "PROPERTYDEFINITIONSTREAM": outlook.PropertyDefinitionStream,
    "RECIPIENTROWSTREAM": search.RecipientRowStream,
    "RECURRENCEPATTERN": recurrence.RecurrencePattern,
    "REPORTTAG": outlook.ReportTag,
    "RESTRICTION": search.SearchRestriction,
    "RULECONDITION": blobs.ExtendedRuleMessageCondition,
    "SEARCHFOLDERDEFINITION": search.SearchFolderDefinition,
    "SECURITYDESCRIPTOR": security.SecurityDescriptor,
    "SID": security.Sid,
    "SWAPPEDTODO": outlook.SwappedToDoData,
    "TASKASSIGNERS": outlook.TaskAssigners,
    "TIMEZONE": recurrence.TimeZoneStruct,
    "TIMEZONEDEFINITION": recurrence.TimeZoneDefinition,
    "TOMBSTONE": recurrence.AppointmentTombstone,
    "VERBSTREAM": outlook.VerbStream,
    "WEBVIEWPERSISTSTREAM": outlook.FolderWebViewInfo,
    "XID": xid.Xid,
}

OUT_OF_SCOPE = {
    "DECODEENTRYID": "an entry id spelled in the characters of an Outlook web link: text, never on this wire",
    "ENCODEENTRYID": "the same, the other way",
    "NICKNAMECACHE": "Outlook's auto-complete list, a client's own file format that no specification describes",
}

CORRUPT = {
    "FLATENTRYLIST-3": 8,
    "FOLDERUSERFIELDS-5": 8,
    "NTSD-5": 12,
    "PROPERTIES-7": 54,
    "PROPERTYDEFINITIONSTREAM-5": 6959,
    "SID-1": 0,
    "SID-5": 12,
    "SID-7": 28,
    "TIMEZONEDEFINITION-3": 52,
    "TOMBSTONE-3": 32,
    "VERBSTREAM-7": 8,
    "WEBVIEWPERSISTSTREAM-7": 44,
}
"""Samples that are damaged on purpose, and the offset where we stop reading them."""

WHOLE = frozenset({"PropertyValue", "ElementData", "StoreEID"})
WHOLE_BY_KIND = {"TASKASSIGNERS": frozenset({"EntryID"})}
"""Structures of ours that SmartView states as bytes."""

UNSTATED = {"CONVERSATIONINDEX": {"CurrentFileTime"}, "TASKASSIGNERS": {"Size"}}
"""Leaves that SmartView does not show, or (the time) shows otherwise: see the test of their own."""

DIFFERENT = {"ENTRYID-37": "a contact entry id of a type that nobody defines: SmartView guesses, we keep the bytes"}

SECURITY = {"Padding": "HeaderSize", "Security Information": "SecurityInformation", "Tag": "HeaderRest"}
NAMES: dict[str, dict[str, str]] = {
    "APPOINTMENTRECURRENCEPATTERN": {"WeekRecurrencePattern": "PatternTypeSpecific"},
    "CONVERSATIONINDEX": {"Current FILETIME": "", "Time": "", "GUID": "Guid"},
    "FBSECURITYDESCRIPTOR": SECURITY,
    "NTSD": SECURITY,
    "PCL": {"Count": ""},
    "RECIPIENTROWSTREAM": {"cValues": "ValueCount"},
    "RECURRENCEPATTERN": {"WeekRecurrencePattern": "PatternTypeSpecific"},
}
"""Names of SmartView's that mean something else in another blob; those without one of ours are not fields."""


def kind(name: str) -> str:
    return name.split("-")[0]


@pytest.mark.parametrize("name", BLOBS)
def test_every_blob_type_is_known(name: str) -> None:
    assert (kind(name) in LAYOUTS) != (kind(name) in OUT_OF_SCOPE)


@pytest.mark.parametrize("name", [name for name in BLOBS if kind(name) in LAYOUTS])
def test_blob(name: str) -> None:
    layout = LAYOUTS[kind(name)]
    data = read_bytes((PLACE / "In" / f"{name}.dat").read_bytes())
    stated = read_text((PLACE / "Out" / f"{name.replace('-', '-out-', 1)}.dat").read_bytes())
    node = trace(layout, ByteSource(name, data), name)
    if name not in DIFFERENT:
        whole = WHOLE_BY_KIND.get(kind(name), WHOLE)
        trouble = compare(node, stated, whole, NAMES.get(kind(name), {}), corrupt=name in CORRUPT)
        habit = tuple(f"found and not stated: {leaf} " for leaf in UNSTATED.get(kind(name), ()))
        assert [one for one in trouble if not one.startswith(habit or "\0")] == []
    value: Any = None
    try:
        value, end = parse(layout, data)
    except GrammarError as error:
        end = error.offset
    assert end == CORRUPT.get(name, len(data))
    if value is not None:
        assert build(layout, value) == data[:end]


def test_the_time_of_a_conversation_index() -> None:
    """SmartView shows the six bytes as two numbers, and takes the low one for the low 32 bits of the FILETIME."""
    for name in ("CONVERSATIONINDEX-1", "CONVERSATIONINDEX-3"):
        value, _ = parse(blobs.ConversationIndex, read_bytes((PLACE / "In" / f"{name}.dat").read_bytes()))
        stated = read_text((PLACE / "Out" / f"{name.replace('-', '-out-', 1)}.dat").read_bytes())
        low = int(re.search(r"LowDateTime = 0x(\w+)", stated)[1], 16)  # type: ignore[index]
        high = int(re.search(r"HighDateTime = 0x(\w+)", stated)[1], 16)  # type: ignore[index]
        assert value.CurrentFileTime == high << 16 | low
        begun, *replies = [moment_in(line) for line in stated.splitlines() if moment_in(line)]
        form = blobs.ConversationIndex.subcons[2].subcon.row.subcon.subcons[0].subcon
        for level, reply in zip(value.ResponseLevels, replies, strict=True):
            seconds = float(form.label(level.Time).split(": ")[-1].removesuffix(" s"))
            assert begun is not None
            assert reply is not None
            assert abs((reply - begun).total_seconds() - seconds) < 0.002


@pytest.mark.parametrize("name", [name for name in BLOBS if kind(name) in LAYOUTS and name not in CORRUPT | DIFFERENT])
def test_a_changed_byte_is_noticed(name: str) -> None:
    """The comparison is worth something: change any field and it says so."""
    layout, whole = LAYOUTS[kind(name)], WHOLE_BY_KIND.get(kind(name), WHOLE)
    data = read_bytes((PLACE / "In" / f"{name}.dat").read_bytes())
    stated = read_text((PLACE / "Out" / f"{name.replace('-', '-out-', 1)}.dat").read_bytes())
    node = trace(layout, ByteSource(name, data), name)
    leaves = [entry for entry in entries(node, whole) if not entry.optional]
    for entry in leaves[:: max(1, len(leaves) // 12)]:
        changed = bytearray(data)
        late = entry.node.children or isinstance(
            entry.node.value, int
        )  # the low bytes of a time are below a millisecond
        changed[entry.node.end - 1 if late else entry.node.offset] ^= 0x01
        node = trace(layout, ByteSource(name, bytes(changed)), name)
        assert compare(node, stated, whole, NAMES.get(kind(name), {})), f"{entry.name} at {entry.node.offset}"
