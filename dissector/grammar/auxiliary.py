"""Auxiliary buffers: what clients and servers tell each other about performance and abilities [MS-OXCRPC] 2.2.2.2.

The payload of an auxiliary buffer is AUX_HEADER blocks to its end. A block may hold text and bytes at offsets that its
fixed fields give, counted from its own header; what no field points at stays visible as a Gap. Blocks of a type or
version without a published layout are kept whole.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from construct import Construct, Container, evaluate, this

from dissector.grammar.base import MalformedError
from dissector.grammar.layouts import Choice, Layout, RowsToEnd, Sized, SizeOf, Traced
from dissector.grammar.leaves import U8, U16, U32, Data, Enumerated, ErrorCode, Flags, Guid, Labelled, Rest, Str16

HEADER_SIZE = 4

_Gap = Traced(Rest, "Gap")


class Place(NamedTuple):
    """What stands at an offset: 0 for nothing. size: an expression for bytes, None for text that ends with a NUL."""

    name: str
    offset: Any
    size: Any = None


class Placed(Construct):  # type: ignore[misc]
    """The rest of a block behind `fixed` bytes of header and fields, cut up by the offsets that point into it.

    The value is a list of (name, value) in the order of the bytes; bytes that nothing points at are called Gap. What
    points into a part that something else already claimed has no entry of its own.
    """

    def __init__(self, fixed: int, *places: Place) -> None:
        super().__init__()
        self.fixed, self.places = fixed, places
        self.text = {place.name: Traced(Str16, place.name) for place in places if place.size is None}
        self.flagbuildnone = True

    def _parse(self, stream: Any, context: Container, path: str) -> list[tuple[str, Any]]:
        start = stream.tell()
        total = len(stream.read())
        stream.seek(start)
        wanted: list[tuple[int, int, str]] = []
        for place in self.places:
            offset = evaluate(place.offset, context)
            size = -1 if place.size is None else evaluate(place.size, context)
            if not offset or not size:
                continue
            at = offset - self.fixed
            if at < 0 or at + max(size, 2) > total:
                raise MalformedError(f"{place.name} at offset {offset} is outside of its block", path=path)
            wanted.append((at, size, place.name))
        values: list[tuple[str, Any]] = []
        done = 0
        for at, size, name in sorted(wanted, key=lambda one: one[0]):
            if at < done:
                continue
            self._gap(stream, at - done, values, context, path)
            field = self.text[name] if size < 0 else Traced(Data(size), name)
            values.append((name, field._parse(stream, context, path)))
            done = stream.tell() - start
        self._gap(stream, total - done, values, context, path)
        return values

    def _gap(self, stream: Any, size: int, values: list[tuple[str, Any]], context: Container, path: str) -> None:
        if size:
            values.append(("Gap", Traced(Data(size), "Gap")._parse(stream, context, path)))

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        for name, value in obj or ():
            (self.text.get(name) or _Gap)._build(value, stream, context, path)
        return obj


REQUEST_ID = "RequestID" / U16
CLIENT_ID = "ClientID" / U16
SERVER_ID = "ServerID" / U16
SESSION_ID = "SessionID" / U16
PROCESS_ID = "ProcessID" / U16
TIMES = ("TimeSinceRequest" / U32, "TimeToCompleteRequest" / U32)
OPERATION = ("RequestOperation" / U8, "Reserved2" / Data(3))


def block(section: str, name: str, *fields: Any) -> Layout:
    return Layout(*fields, name=name, spec=f"MS-OXCRPC 2.2.2.2.{section}")


SessionInfo = block("2", "AUX_PERF_SESSIONINFO", SESSION_ID, "Reserved" / U16, "SessionGuid" / Guid)
SessionInfoV2 = block(
    "3", "AUX_PERF_SESSIONINFO_V2", SESSION_ID, "Reserved" / U16, "SessionGuid" / Guid, "ConnectionID" / U32
)
DefMdbSuccess = block("7", "AUX_PERF_DEFMDB_SUCCESS", *TIMES, REQUEST_ID, "Reserved" / U16)
DefGcSuccess = block("8", "AUX_PERF_DEFGC_SUCCESS", SERVER_ID, SESSION_ID, *TIMES, *OPERATION)
MdbSuccess = block("9", "AUX_PERF_MDB_SUCCESS", CLIENT_ID, SERVER_ID, SESSION_ID, REQUEST_ID, *TIMES)
MdbSuccessV2 = block(
    "10",
    "AUX_PERF_MDB_SUCCESS_V2",
    PROCESS_ID,
    CLIENT_ID,
    SERVER_ID,
    SESSION_ID,
    REQUEST_ID,
    "Reserved" / U16,
    *TIMES,
)
GcSuccess = block("11", "AUX_PERF_GC_SUCCESS", CLIENT_ID, SERVER_ID, SESSION_ID, "Reserved1" / U16, *TIMES, *OPERATION)
GcSuccessV2 = block("12", "AUX_PERF_GC_SUCCESS_V2", PROCESS_ID, CLIENT_ID, SERVER_ID, SESSION_ID, *TIMES, *OPERATION)
FAILED = ("TimeSinceRequest" / U32, "TimeToFailRequest" / U32, "ResultCode" / ErrorCode, *OPERATION)
Failure = block("13", "AUX_PERF_FAILURE", CLIENT_ID, SERVER_ID, SESSION_ID, REQUEST_ID, *FAILED)
FailureV2 = block(
    "14",
    "AUX_PERF_FAILURE_V2",
    PROCESS_ID,
    CLIENT_ID,
    SERVER_ID,
    SESSION_ID,
    REQUEST_ID,
    "Reserved1" / U16,
    *FAILED,
)
ProcessInfo = block(
    "6",
    "AUX_PERF_PROCESSINFO",
    PROCESS_ID,
    "Reserved1" / U16,
    "ProcessGuid" / Guid,
    "ProcessNameOffset" / U16,
    "Reserved2" / U16,
    "Strings" / Placed(28, Place("ProcessName", this.ProcessNameOffset)),
)

BLOCKS: dict[tuple[int, int], Layout] = {
    (1, 0x01): block("1", "AUX_PERF_REQUESTID", SESSION_ID, REQUEST_ID),
    (1, 0x02): block(
        "4",
        "AUX_PERF_CLIENTINFO",
        "AdapterSpeed" / U32,
        CLIENT_ID,
        "MachineNameOffset" / U16,
        "UserNameOffset" / U16,
        "ClientIPSize" / U16,
        "ClientIPOffset" / U16,
        "ClientIPMaskSize" / U16,
        "ClientIPMaskOffset" / U16,
        "AdapterNameOffset" / U16,
        "MacAddressSize" / U16,
        "MacAddressOffset" / U16,
        "ClientMode" / Enumerated(U16, "AuxClientMode"),
        "Reserved" / U16,
        "Strings"
        / Placed(
            32,
            Place("MachineName", this.MachineNameOffset),
            Place("UserName", this.UserNameOffset),
            Place("ClientIP", this.ClientIPOffset, this.ClientIPSize),
            Place("ClientIPMask", this.ClientIPMaskOffset, this.ClientIPMaskSize),
            Place("AdapterName", this.AdapterNameOffset),
            Place("MacAddress", this.MacAddressOffset, this.MacAddressSize),
        ),
    ),
    (1, 0x03): block(
        "5",
        "AUX_PERF_SERVERINFO",
        SERVER_ID,
        "ServerType" / Enumerated(U16, "AuxServerType"),
        "ServerDNOffset" / U16,
        "ServerNameOffset" / U16,
        "Strings" / Placed(12, Place("ServerDN", this.ServerDNOffset), Place("ServerName", this.ServerNameOffset)),
    ),
    (1, 0x04): SessionInfo,
    (2, 0x04): SessionInfoV2,
    (1, 0x0A): block(
        "15", "AUX_CLIENT_CONTROL", "EnableFlags" / Flags(U32, "AuxClientControlFlags"), "ExpiryTime" / U32
    ),
    (1, 0x0B): ProcessInfo,
    (2, 0x0B): ProcessInfo,
    (1, 0x16): block(
        "16",
        "AUX_OSVERSIONINFO",
        "OSVersionInfoSize" / U32,
        "MajorVersion" / U32,
        "MinorVersion" / U32,
        "BuildNumber" / U32,
        "Reserved1" / Data(132),
        "ServicePackMajor" / U16,
        "ServicePackMinor" / U16,
        "Reserved2" / U32,
    ),
    (1, 0x17): block("17", "AUX_EXORGINFO", "OrgFlags" / Flags(U32, "AuxOrgFlags")),
    (1, 0x18): block("18", "AUX_PERF_ACCOUNTINFO", CLIENT_ID, "Reserved" / U16, "Account" / Guid),
    (1, 0x46): block("19", "AUX_SERVER_CAPABILITIES", "ServerCapabilityFlags" / Flags(U32, "AuxServerCapabilities")),
    (1, 0x48): block(
        "20", "AUX_ENDPOINT_CAPABILITIES", "EndpointCapabilityFlag" / Flags(U32, "AuxEndpointCapabilities")
    ),
    (1, 0x49): Layout("RopIndex" / U32, "Text" / Rest, name="AUX_EXCEPTION_TRACE"),
    (1, 0x4A): block(
        "21",
        "AUX_CLIENT_CONNECTION_INFO",
        "ConnectionGUID" / Guid,
        "OffsetConnectionContextInfo" / U16,
        "Reserved" / U16,
        "ConnectionAttempts" / U32,
        "ConnectionFlags" / Flags(U32, "AuxConnectionFlags"),
        "Strings" / Placed(32, Place("ConnectionContextInfo", this.OffsetConnectionContextInfo)),
    ),
    (1, 0x4B): block(
        "22",
        "AUX_SERVER_SESSION_INFO",
        "OffsetServerSessionContextInfo" / U16,
        "Strings" / Placed(6, Place("ServerSessionContextInfo", this.OffsetServerSessionContextInfo)),
    ),
    (1, 0x4E): block(
        "23",
        "AUX_PROTOCOL_DEVICE_IDENTIFICATION",
        "DeviceManufacturerOffset" / U16,
        "DeviceModelOffset" / U16,
        "DeviceSerialNumberOffset" / U16,
        "DeviceVersionOffset" / U16,
        "DeviceFirmwareVersionOffset" / U16,
        "Strings"
        / Placed(
            14,
            Place("DeviceManufacturer", this.DeviceManufacturerOffset),
            Place("DeviceModel", this.DeviceModelOffset),
            Place("DeviceSerialNumber", this.DeviceSerialNumberOffset),
            Place("DeviceVersion", this.DeviceVersionOffset),
            Place("DeviceFirmwareVersion", this.DeviceFirmwareVersionOffset),
        ),
    ),
}
"""The layouts behind AUX_HEADER, by version and type."""

for _type in (0x05, 0x0C, 0x11):  # the plain, the background and the foreground form are the same
    BLOCKS[1, _type] = DefMdbSuccess
for _type in (0x06, 0x0D, 0x12):
    BLOCKS[1, _type] = DefGcSuccess
for _type in (0x07, 0x0E, 0x13):
    BLOCKS[1, _type], BLOCKS[2, _type] = MdbSuccess, MdbSuccessV2
for _type in (0x08, 0x0F, 0x14):
    BLOCKS[1, _type], BLOCKS[2, _type] = GcSuccess, GcSuccessV2
for _type in (0x09, 0x10, 0x15):
    BLOCKS[1, _type], BLOCKS[2, _type] = Failure, FailureV2


class _AuxType(Labelled):
    """The type of a block; types without a published layout say so."""

    table = Enumerated(U8, "AuxType")

    def label(self, value: int) -> str:
        return self.table.label(value) or "no layout is published"


AuxBlock = Layout(
    "Size" / SizeOf(U16, "Body", plus=HEADER_SIZE),
    "Version" / U8,
    "Type" / _AuxType(U8),
    "Body"
    / Sized(
        this.Size - HEADER_SIZE,
        Choice(
            this.Version * 256 + this.Type,
            {version * 256 + kind: layout for (version, kind), layout in BLOCKS.items()},
            default=Rest,
        ),
    ),
    name="AUX_HEADER",
    spec="MS-OXCRPC 2.2.2.2",
    summary="{Type}",
)

AuxBlocks = RowsToEnd(AuxBlock)
"""The payload of an auxiliary buffer."""
