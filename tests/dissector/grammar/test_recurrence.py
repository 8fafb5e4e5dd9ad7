"""Recurrences, time zones and meeting ids in forms that the SmartView vectors do not have."""

from __future__ import annotations

from typing import Any

import pytest

from dissector.grammar.base import build
from dissector.grammar.reading import trace
from dissector.grammar.recurrence import (
    AppointmentRecurrencePattern,
    FreeBusyBlocks,
    GlobalObjectId,
    Minutes,
    RecurrencePattern,
    TimeZoneDefinition,
)
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check


def pattern(frequency: int, kind: int, specific: str) -> str:
    return (
        f"0430 0430 {frequency:04x} {kind:02x}00 0000 00000000 01000000 00000000 {specific}"
        " 23200000 0a000000 00000000 00000000 00000000 80f4d80c df80e95a"
    ).replace(f" {frequency:04x} ", f" {frequency & 0xFF:02x}{frequency >> 8:02x} ")


@pytest.mark.parametrize(
    ("frequency", "kind", "specific", "label"),
    [
        (0x200A, 0x0, "", ""),
        (0x200B, 0x1, "3e000000", "Monday | Tuesday | Wednesday | Thursday | Friday"),
        (0x200C, 0x2, "0f000000", ""),
        (0x200C, 0x3, "04000000 05000000", "last Tuesday"),
        (0x200C, 0x4, "1f000000", ""),
        (0x200D, 0xB, "01000000 01000000", "first Sunday"),
    ],
)
def test_pattern(frequency: int, kind: int, specific: str, label: str) -> None:
    raw = pattern(frequency, kind, specific)
    value = check(RecurrencePattern, raw, RecurFrequency=frequency, PatternType=kind, OccurrenceCount=10)
    assert value.EndDate == 0x5AE980DF
    node = trace(RecurrencePattern, ByteSource("pattern", bytes.fromhex(raw)), "pattern")
    assert node.find("EndDate").label == "no date"
    assert node.find("EndType").label == "never end"
    assert node.find("PatternTypeSpecific").label == label if specific else True


def test_exceptions_in_unicode() -> None:
    """The texts of an ExtendedException are there as the flags of its ExceptionInfo say."""
    exception: dict[str, Any] = {"StartDateTime": 1, "EndDateTime": 2, "OriginalStartDate": 3}
    made = {
        "RecurrencePattern": {
            "ReaderVersion": 0x3004, "WriterVersion": 0x3004, "RecurFrequency": 0x200A, "PatternType": 0,
            "CalendarType": 0, "FirstDateTime": 0, "Period": 1440, "SlidingFlag": 0, "EndType": 0x2023,
            "OccurrenceCount": 10, "FirstDOW": 0, "StartDate": 0, "EndDate": 0x5AE980DF,
            "DeletedInstanceDates": [], "ModifiedInstanceDates": [],
        },
        "ReaderVersion2": 0x3006, "WriterVersion2": 0x3009, "StartTimeOffset": 570, "EndTimeOffset": 600,
        "ExceptionInfo": [
            exception | {"OverrideFlags": 0x0001, "Subject": "?"},
            exception | {"OverrideFlags": 0x0020, "BusyStatus": 2},
            exception | {"OverrideFlags": 0x0011, "Subject": "a", "Location": "b"},
        ],
        "ReservedBlock1": b"",
        "ExtendedException": [
            {"ChangeHighlightValue": 0, "ChangeHighlightReserved": b"", "ReservedBlockEE1": b"",
             "ReservedBlockEE2": b"", **exception, "WideCharSubject": "Ω"},
            {"ChangeHighlightValue": 0, "ChangeHighlightReserved": b"", "ReservedBlockEE1": b""},
            {"ChangeHighlightValue": 1, "ChangeHighlightReserved": b"xy", "ReservedBlockEE1": b"z",
             "ReservedBlockEE2": b"", **exception, "WideCharSubject": "a", "WideCharLocation": "b"},
        ],
        "ReservedBlock2": b"",
    }  # fmt: skip
    raw = build(AppointmentRecurrencePattern, made)
    value = check(AppointmentRecurrencePattern, raw, ExceptionCount=3)
    assert value.ExceptionInfo[0].SubjectLength == 2
    first, second, third = value.ExtendedException
    assert (first.WideCharSubject, first.WideCharLocation) == ("Ω", None)
    assert second.StartDateTime is None
    assert (third.ChangeHighlightSize, third.WideCharLocation) == (6, "b")
    node = trace(AppointmentRecurrencePattern, ByteSource("pattern", raw), "pattern")
    assert node.label == "daily, 1601-01-01 00:00 to no date, 09:30 to 10:00"

    made["WriterVersion2"] = 0x3008  # Outlook 2003 has no change highlights
    for one in made["ExtendedException"]:
        for name in ("ChangeHighlightValue", "ChangeHighlightReserved"):
            one[name] = None
    older = build(AppointmentRecurrencePattern, made)
    assert len(older) == len(raw) - 8 - 8 - 10
    check(AppointmentRecurrencePattern, older, ExceptionCount=3)


def test_minutes() -> None:
    node = trace(Minutes, ByteSource("minutes", (0x0CD45AC4).to_bytes(4, "little")), "StartDateTime")
    assert node.label == "2010-04-01 15:00"


def test_a_meeting_from_elsewhere() -> None:
    head = "040000008200e00074c5b7101a82e008 07e4 02 1d 0000000000000000 0000000000000000"
    value = check(GlobalObjectId, f"{head} 10000000 7643616c2d556964 01000000 756964 00", Year=2020, Month=2, Day=29)
    assert value.Data.Uid == "uid"
    assert check(GlobalObjectId, f"{head} 04000000 01020304").Data == b"\1\2\3\4"


def test_time_zone() -> None:
    date = dict.fromkeys(("Year", "Month", "DayOfWeek", "Day", "Hour", "Minute", "Second", "Milliseconds"), 0)
    rule = {
        "MajorVersion": 2, "MinorVersion": 1, "Reserved": 62, "TZRuleFlags": 2, "Year": 2007, "X": bytes(14),
        "Bias": -60, "StandardBias": 0, "DaylightBias": -60, "StandardDate": date, "DaylightDate": date,
    }  # fmt: skip
    made = {"MajorVersion": 2, "MinorVersion": 1, "Reserved": 2, "KeyName": "W. Europe", "TZRules": [rule]}
    raw = build(TimeZoneDefinition, made)
    value = check(TimeZoneDefinition, raw, HeaderSize=6 + 18, KeyNameLength=9, RuleCount=1)
    assert value.TZRules[0].Bias == -60
    assert trace(TimeZoneDefinition, ByteSource("zone", raw), "zone").label == "'W. Europe'"


def test_free_and_busy_times() -> None:
    value = check(FreeBusyBlocks, "3802 7402 d804 1405")
    assert [(block.Start, block.End) for block in value] == [(568, 628), (1240, 1300)]
    node = trace(FreeBusyBlocks, ByteSource("busy", bytes.fromhex("38027402")), "[0]")
    assert node.find("[0]").label == "day 1, 09:28 to day 1, 10:28"
