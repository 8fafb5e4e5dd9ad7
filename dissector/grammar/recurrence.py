"""Recurrences, time zones and meeting ids [MS-OXOCAL] 2.2.1, 2.2.2.

Dates in these structures are minutes since 1601-01-01, in the time zone of the appointment.
"""

from __future__ import annotations

import datetime

from construct import Int16ub, Renamed, this

from dissector.grammar.forms import ByMarks, Chars, CharsOf, Marked, Nothing, Nth, Outer, TextToEnd
from dissector.grammar.layouts import Choice, Count, Layout, Rows, RowsToEnd, Sized, SizeOf, When
from dissector.grammar.leaves import I32, U8, U16, U32, Data, Enumerated, FileTime, Flags, Labelled, Rest


class _Minutes(Labelled):
    """Minutes since 1601-01-01, local time."""

    def label(self, value: int) -> str:
        if value >= 0x5AE980DF:  # [MS-OXOCAL] 2.2.1.44.1: no end date
            return "no date"
        return (datetime.datetime(1601, 1, 1) + datetime.timedelta(minutes=value)).isoformat(" ", "minutes")


class _TimeOfDay(Labelled):
    """Minutes since midnight."""

    def label(self, value: int) -> str:
        return f"{value // 60:02}:{value % 60:02}"


class _MinuteOfMonth(Labelled):
    """Minutes since the first of the month, UTC."""

    def label(self, value: int) -> str:
        return f"day {value // 1440 + 1}, {value % 1440 // 60:02}:{value % 60:02}"


Minutes, TimeOfDay, MinuteOfMonth = _Minutes(U32), _TimeOfDay(U32), _MinuteOfMonth(U16)

_NTH = Layout(
    "Days" / Flags(U32, "PatternDays"),
    "N" / Enumerated(U32, "NthOccurrence"),
    name="PatternTypeSpecific",
    spec="MS-OXOCAL 2.2.1.44.1.5",
    summary="{N} {Days}",
)

RecurrencePattern = Layout(
    "ReaderVersion" / U16,
    "WriterVersion" / U16,
    "RecurFrequency" / Enumerated(U16, "RecurFrequency"),
    "PatternType" / Enumerated(U16, "PatternType"),
    "CalendarType" / Enumerated(U16, "CalendarType"),
    "FirstDateTime" / U32,
    "Period" / U32,
    "SlidingFlag" / U32,
    "PatternTypeSpecific"
    / Choice(
        this.PatternType,
        {
            0x0: Nothing, 0x1: Flags(U32, "PatternDays"), 0x2: U32, 0x3: _NTH, 0x4: U32, 0xA: U32, 0xB: _NTH, 0xC: U32,
        },
    ),
    "EndType" / Enumerated(U32, "EndType"),
    "OccurrenceCount" / U32,
    "FirstDOW" / Enumerated(U32, "DayOfWeek"),
    "DeletedInstanceCount" / Count(U32, "DeletedInstanceDates"),
    "DeletedInstanceDates" / Rows(this.DeletedInstanceCount, Minutes),
    "ModifiedInstanceCount" / Count(U32, "ModifiedInstanceDates"),
    "ModifiedInstanceDates" / Rows(this.ModifiedInstanceCount, Minutes),
    "StartDate" / Minutes,
    "EndDate" / Minutes,
    name="RecurrencePattern",
    spec="MS-OXOCAL 2.2.1.44.1",
    summary="{RecurFrequency}, {StartDate} to {EndDate}",
)  # fmt: skip


def _text(flag: int, name: str) -> tuple[Renamed, ...]:
    """A text of an exception, there when its OverrideFlags bit is: the length with its NUL, the length, the text."""
    there = this.OverrideFlags & flag
    return (
        f"{name}Length" / When(there, CharsOf(U16, name, 1, plus=1)),
        f"{name}Length2" / When(there, CharsOf(U16, name, 1)),
        name / When(there, Chars(this[f"{name}Length2"], 1)),
    )


ExceptionInfo = Layout(
    "StartDateTime" / Minutes,
    "EndDateTime" / Minutes,
    "OriginalStartDate" / Minutes,
    "OverrideFlags" / Flags(U16, "OverrideFlags"),
    *_text(0x0001, "Subject"),
    "MeetingType" / When(this.OverrideFlags & 0x0002, Flags(U32, "AppointmentStateFlags")),
    "ReminderDelta" / When(this.OverrideFlags & 0x0004, U32),
    "ReminderSet" / When(this.OverrideFlags & 0x0008, U32),
    *_text(0x0010, "Location"),
    "BusyStatus" / When(this.OverrideFlags & 0x0020, Enumerated(U32, "BusyStatus")),
    "Attachment" / When(this.OverrideFlags & 0x0040, U32),
    "SubType" / When(this.OverrideFlags & 0x0080, U32),
    "AppointmentColor" / When(this.OverrideFlags & 0x0100, U32),
    name="ExceptionInfo",
    spec="MS-OXOCAL 2.2.1.44.2",
    summary="{OriginalStartDate}: {OverrideFlags}",
)

_NEW = this._.WriterVersion2 >= 0x3009
_OVERRIDES = Outer(Nth(this.ExceptionInfo, "OverrideFlags"), 1)

ExtendedException = Layout(
    "ChangeHighlightSize" / When(_NEW, SizeOf(U32, "ChangeHighlightValue", "ChangeHighlightReserved")),
    "ChangeHighlightValue" / When(_NEW, Flags(U32, "ChangeHighlight")),
    "ChangeHighlightReserved" / When(_NEW, Data(this.ChangeHighlightSize - 4)),
    "ReservedBlockEE1Size" / SizeOf(U32, "ReservedBlockEE1"),
    "ReservedBlockEE1" / Data(this.ReservedBlockEE1Size),
    "StartDateTime" / When(_OVERRIDES & 0x0011, Minutes),
    "EndDateTime" / When(_OVERRIDES & 0x0011, Minutes),
    "OriginalStartDate" / When(_OVERRIDES & 0x0011, Minutes),
    "WideCharSubjectLength" / When(_OVERRIDES & 0x0001, CharsOf(U16, "WideCharSubject", 2)),
    "WideCharSubject" / When(_OVERRIDES & 0x0001, Chars(this.WideCharSubjectLength, 2)),
    "WideCharLocationLength" / When(_OVERRIDES & 0x0010, CharsOf(U16, "WideCharLocation", 2)),
    "WideCharLocation" / When(_OVERRIDES & 0x0010, Chars(this.WideCharLocationLength, 2)),
    "ReservedBlockEE2Size" / When(_OVERRIDES & 0x0011, SizeOf(U32, "ReservedBlockEE2")),
    "ReservedBlockEE2" / When(_OVERRIDES & 0x0011, Data(this.ReservedBlockEE2Size)),
    name="ExtendedException",
    spec="MS-OXOCAL 2.2.1.44.4",
    summary="{WideCharSubject} {WideCharLocation}",
)
"""What an ExceptionInfo could not say: its texts in Unicode. The flags of the exception with the same index decide."""

AppointmentRecurrencePattern = Layout(
    "RecurrencePattern" / RecurrencePattern,
    "ReaderVersion2" / U32,
    "WriterVersion2" / U32,
    "StartTimeOffset" / TimeOfDay,
    "EndTimeOffset" / TimeOfDay,
    "ExceptionCount" / Count(U16, "ExceptionInfo"),
    "ExceptionInfo" / Rows(this.ExceptionCount, ExceptionInfo),
    "ReservedBlock1Size" / SizeOf(U32, "ReservedBlock1"),
    "ReservedBlock1" / Data(this.ReservedBlock1Size),
    "ExtendedException" / Rows(this.ExceptionCount, ExtendedException),
    "ReservedBlock2Size" / SizeOf(U32, "ReservedBlock2"),
    "ReservedBlock2" / Data(this.ReservedBlock2Size),
    name="AppointmentRecurrencePattern",
    spec="MS-OXOCAL 2.2.1.44.5",
    summary="{RecurrencePattern}, {StartTimeOffset} to {EndTimeOffset}",
)

SystemTime = Layout(
    "Year" / U16,
    "Month" / U16,
    "DayOfWeek" / Enumerated(U16, "DayOfWeek"),
    "Day" / U16,
    "Hour" / U16,
    "Minute" / U16,
    "Second" / U16,
    "Milliseconds" / U16,
    name="SYSTEMTIME",
    spec="MS-DTYP 2.3.13",
)

_BIASES = ("Bias" / I32, "StandardBias" / I32, "DaylightBias" / I32)

TimeZoneStruct = Layout(
    *_BIASES,
    "StandardYear" / U16,
    "StandardDate" / SystemTime,
    "DaylightYear" / U16,
    "DaylightDate" / SystemTime,
    name="PidLidTimeZoneStruct",
    spec="MS-OXOCAL 2.2.1.39",
    summary="{Bias} minutes behind UTC",
)

TimeZoneRule = Layout(
    "MajorVersion" / U8,
    "MinorVersion" / U8,
    "Reserved" / U16,
    "TZRuleFlags" / Flags(U16, "TimeZoneRuleFlags"),
    "Year" / U16,
    "X" / Data(14),
    *_BIASES,
    "StandardDate" / SystemTime,
    "DaylightDate" / SystemTime,
    name="TZRule",
    spec="MS-OXOCAL 2.2.1.41.1",
    summary="from {Year}: {Bias} minutes behind UTC",
)

TimeZoneDefinition = Layout(
    "MajorVersion" / U8,
    "MinorVersion" / U8,
    "HeaderSize" / SizeOf(U16, "Reserved", "KeyNameLength", "KeyName", "RuleCount"),
    "Reserved" / U16,
    "KeyNameLength" / CharsOf(U16, "KeyName", 2),
    "KeyName" / Chars(this.KeyNameLength, 2),
    "RuleCount" / Count(U16, "TZRules"),
    "TZRules" / Rows(this.RuleCount, TimeZoneRule),
    name="TimeZoneDefinition",
    spec="MS-OXOCAL 2.2.1.41",
    summary="{KeyName}",
)

_VCAL_UID = b"vCal-Uid\x01\0\0\0"

GlobalObjectId = Layout(
    "ByteArrayID" / Data(16),
    "Year" / Int16ub,
    "Month" / U8,
    "Day" / U8,
    "CreationTime" / FileTime,
    "X" / Data(8),
    "Size" / SizeOf(U32, "Data"),
    "Data"
    / Sized(
        this.Size,
        ByMarks(
            Marked(
                Layout("Signature" / Data(12), "Uid" / TextToEnd(), name="vCal-Uid", summary="{Uid}"),
                marks={0: (_VCAL_UID,)},
            ),
            default=Rest,
        ),
    ),
    name="PidLidGlobalObjectId",
    spec="MS-OXOCAL 2.2.1.27",
    summary="{Data}",
)
"""Which meeting this is; the date is that of the exception, zero for the series."""

_TOMBSTONE = Layout(
    "StartTime" / Minutes,
    "EndTime" / Minutes,
    "GlobalObjectIdSize" / SizeOf(U32, "GlobalObjectId"),
    "GlobalObjectId" / Sized(this.GlobalObjectIdSize, GlobalObjectId),
    "UsernameSize" / CharsOf(U16, "Username", 1),
    "Username" / Chars(this.UsernameSize, 1),
    name="Tombstone record",
    spec="MS-OXOCAL 2.2.12.5.1",
    summary="{StartTime} to {EndTime}",
)

AppointmentTombstone = Layout(
    "Identifier" / U32,
    "HeaderSize" / U32,
    "Version" / U32,
    "RecordsCount" / U32,
    "RecordsSize" / U32,
    "Records" / RowsToEnd(_TOMBSTONE),
    name="PidTagScheduleInfoAppointmentTombstone",
    spec="MS-OXOCAL 2.2.12.5",
)
"""Meetings taken off the calendar. Real ones state fewer records than they hold, so they are read to the end."""

_BUSY_BLOCK = Layout("Start" / MinuteOfMonth, "End" / MinuteOfMonth, summary="{Start} to {End}")

FreeBusyBlocks = RowsToEnd(_BUSY_BLOCK)
"""PidTagScheduleInfoFreeBusyMerged and its kin [MS-OXOPFFB] 2.2.1.2: minutes of the month, start and end."""
