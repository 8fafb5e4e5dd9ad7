"""What ROP buffers travel in: RPC_HEADER_EXT, MAPI/HTTP mailbox bodies, and the stubs of EMSMDB, AsyncEMSMDB and RFR.

[MS-OXCRPC] 2.2.2 and 3.1.4, [MS-OXCMAPIHTTP] 2.2.4, [MS-OXABREF] 3.1.4. Buffers inside (RopBuffer, rgbIn, auxiliary
buffers) are opaque here: emsmdb/buffers.py opens them, since they may be obfuscated and compressed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from construct import Construct, Container, Renamed, this

from dissector.grammar.layouts import Fixed, Layout, SizeOf
from dissector.grammar.leaves import U16, U32, Data, Enumerated, ErrorCode, Flags, Str8, Str16
from dissector.grammar.ndr import (
    N16,
    N32,
    ConformantBytes,
    ContextHandle,
    NdrErrorCode,
    NdrString,
    Unique,
    VaryingBytes,
)  # fmt: skip

RpcHeaderExt = Layout(
    "Version" / Fixed(U16, 0),
    "Flags" / Flags(U16, "RpcHeaderExtFlags"),
    "Size" / U16,
    "SizeActual" / U16,
    name="RPC_HEADER_EXT",
    spec="MS-OXCRPC 2.2.2.1",
    summary="{Flags}, {Size} bytes, {SizeActual} plain",
)
"""The 8 bytes in front of every payload of an extended buffer."""


class BodyDef(NamedTuple):
    """The bodies of one MAPI/HTTP request type. failure: the response body when its StatusCode is not 0."""

    name: str
    request: Layout
    response: Layout
    failure: Layout


AUXILIARY: tuple[Renamed, Renamed] = (
    "AuxiliaryBufferSize" / SizeOf(U32, "AuxiliaryBuffer"),
    "AuxiliaryBuffer" / Data(this.AuxiliaryBufferSize),
)

STATUS: Renamed = "StatusCode" / Fixed(ErrorCode, 0)


def body(name: str, section: str, request: tuple[Renamed, ...], response: tuple[Renamed, ...]) -> BodyDef:
    """A request type: its request fields and its response fields behind ErrorCode; the auxiliary buffer is added."""
    spec = f"MS-OXCMAPIHTTP {section}"
    error: Renamed = "ErrorCode" / Fixed(ErrorCode, 0)
    return BodyDef(
        name,
        Layout(*request, *AUXILIARY, name=f"{name} request", spec=f"{spec}.1"),
        Layout(STATUS, error, *response, *AUXILIARY, name=f"{name} response", spec=f"{spec}.2"),
        Layout(STATUS, *AUXILIARY, name=f"{name} failure", spec=f"{spec}.3"),
    )


ROP_BUFFER: tuple[Renamed, Renamed] = (
    "RopBufferSize" / SizeOf(U32, "RopBuffer"),
    "RopBuffer" / Data(this.RopBufferSize),
)

MAILBOX: Mapping[str, BodyDef] = {
    one.name: one
    for one in (
        body(
            "Connect",
            "2.2.4.1",
            (
                "UserDn" / Str8,
                "Flags" / Flags(U32, "EcDoConnectFlags"),
                "DefaultCodePage" / Enumerated(U32, "CodePage"),
                "LcidSort" / Enumerated(U32, "LocaleId"),
                "LcidString" / Enumerated(U32, "LocaleId"),
            ),
            ("PollsMax" / U32, "RetryCount" / U32, "RetryDelay" / U32, "DnPrefix" / Str8, "DisplayName" / Str16),
        ),
        body(
            "Execute",
            "2.2.4.2",
            ("Flags" / Flags(U32, "EcDoRpcExt2Flags"), *ROP_BUFFER, "MaxRopOut" / U32),
            ("Flags" / Flags(U32, "EcDoRpcExt2Flags"), *ROP_BUFFER),
        ),
        body("Disconnect", "2.2.4.3", (), ()),
        body("NotificationWait", "2.2.4.4", ("Flags" / U32,), ("EventPending" / Flags(U32, "EventPending"),)),
    )
}
"""The request types of the mailbox endpoint, by X-RequestType. PING has no body."""


class _Version(Construct):  # type: ignore[misc]
    """A version triple of three u16, as product.minor.build.revision [MS-OXCRPC] 3.1.4.1.3. The value is the triple."""

    def _parse(self, stream: Any, context: Container, path: str) -> tuple[int, int, int]:
        first = N16._parse(stream, context, path)
        return first, N16._parse(stream, context, path), N16._parse(stream, context, path)

    def _build(self, obj: Any, stream: Any, context: Container, path: str) -> Any:
        for number in obj:
            N16._build(number, stream, context, path)
        return obj

    def label(self, value: tuple[int, int, int]) -> str:
        return ".".join(str(number) for number in version(*value))


def version(first: int, second: int, third: int) -> tuple[int, int, int, int]:
    """Product major, product minor, build major and build minor of a version triple."""
    if second & 0x8000:
        return first >> 8, first & 0xFF, second & 0x7FFF, int(third)
    return int(first), 0, int(second), int(third)


Version = _Version()


class RpcDef(NamedTuple):
    """One operation of an RPC interface: the stubs of its request and its response."""

    name: str
    request: Layout
    response: Layout


def operation(
    name: str, spec: str, request: tuple[Renamed, ...], response: tuple[Renamed, ...], returns: bool = True
) -> RpcDef:
    """An operation whose response ends with its return value (unless `returns` is False)."""
    last: tuple[Renamed, ...] = ("ReturnValue" / Fixed(NdrErrorCode, 0),) if returns else ()
    return RpcDef(
        name,
        Layout(*request, name=f"{name} request", spec=spec),
        Layout(*response, *last, name=f"{name} response", spec=spec),
    )


HANDLE: Renamed = "pcxh" / ContextHandle

CONNECT_REQUEST: tuple[Renamed, ...] = (
    "szUserDN" / NdrString,
    "ulFlags" / Flags(N32, "EcDoConnectFlags"),
    "ulConMod" / N32,
    "cbLimit" / N32,
    "ulCpid" / Enumerated(N32, "CodePage"),
    "ulLcidString" / Enumerated(N32, "LocaleId"),
    "ulLcidSort" / Enumerated(N32, "LocaleId"),
    "ulIcxrLink" / N32,
    "usFCanConvertCodePages" / N16,
    "rgwClientVersion" / Version,
    "pulTimeStamp" / N32,
)

CONNECT_RESPONSE: tuple[Renamed, ...] = (
    HANDLE,
    "pcmsPollsMax" / N32,
    "pcRetry" / N32,
    "pcmsRetryDelay" / N32,
    "picxr" / N16,
    "szDNPrefix" / Unique(NdrString),
    "szDisplayName" / Unique(NdrString),
    "rgwServerVersion" / Version,
    "rgwBestVersion" / Version,
    "pulTimeStamp" / N32,
)

AUX_IN: tuple[Renamed, ...] = ("rgbAuxIn" / ConformantBytes, "cbAuxIn" / N32)
AUX_OUT: tuple[Renamed, ...] = ("rgbAuxOut" / VaryingBytes, "pcbAuxOut" / N32)
RPC_FLAGS: Renamed = "pulFlags" / Flags(N32, "EcDoRpcExt2Flags")

EMSMDB: Mapping[int, RpcDef] = {
    0: operation("EcDoConnect", "MS-OXCRPC 3.1.4", CONNECT_REQUEST, CONNECT_RESPONSE),
    1: operation("EcDoDisconnect", "MS-OXCRPC 3.1.4.3", (HANDLE,), (HANDLE,)),
    2: operation(
        "EcDoRpc",
        "MS-OXCRPC 3.1.4",
        (HANDLE, "rgb" / VaryingBytes, "pcb" / N16, "cbMax" / N16),
        (HANDLE, "rgb" / VaryingBytes, "pcb" / N16),
    ),
    4: operation(
        "EcRRegisterPushNotification",
        "MS-OXCRPC 3.1.4.5",
        (
            HANDLE,
            "iRpc" / N32,
            "rgbContext" / ConformantBytes,
            "cbContext" / N16,
            "grbitAdviseBits" / N32,
            "rgbCallbackAddress" / ConformantBytes,
            "cbCallbackAddress" / N16,
        ),
        (HANDLE, "hNotification" / N32),
    ),
    6: operation("EcDummyRpc", "MS-OXCRPC 3.1.4.6", (), ()),
    9: operation(
        "EcDoRpcExt",
        "MS-OXCRPC 3.1.4",
        (HANDLE, RPC_FLAGS, "rgbIn" / ConformantBytes, "cbIn" / N32, "pcbOut" / N32, *AUX_IN),
        (HANDLE, RPC_FLAGS, "rgbOut" / VaryingBytes, "pcbOut" / N32, *AUX_OUT, "pulTransTime" / N32),
    ),
    10: operation(
        "EcDoConnectEx",
        "MS-OXCRPC 3.1.4.1",
        (*CONNECT_REQUEST, *AUX_IN, "pcbAuxOut" / N32),
        (*CONNECT_RESPONSE, *AUX_OUT),
    ),
    11: operation(
        "EcDoRpcExt2",
        "MS-OXCRPC 3.1.4.2",
        (HANDLE, RPC_FLAGS, "rgbIn" / ConformantBytes, "cbIn" / N32, "pcbOut" / N32, *AUX_IN, "pcbAuxOut" / N32),
        (HANDLE, RPC_FLAGS, "rgbOut" / VaryingBytes, "pcbOut" / N32, *AUX_OUT, "pulTransTime" / N32),
    ),
    14: operation("EcDoAsyncConnectEx", "MS-OXCRPC 3.1.4.4", (HANDLE,), ("pacxh" / ContextHandle,)),
}
"""EMSMDB operations by opnum. 0, 2 and 9 are those of Exchange 5.5 to 2003, which [MS-OXCRPC] only reserves."""

ASYNC_EMSMDB: Mapping[int, RpcDef] = {
    0: operation(
        "EcDoAsyncWaitEx",
        "MS-OXCRPC 3.3.4.1",
        ("acxh" / ContextHandle, "ulFlagsIn" / N32),
        ("pulFlagsOut" / Flags(N32, "EcDoAsyncWaitExFlagsOut"),),
    ),
}

RFR: Mapping[int, RpcDef] = {
    0: operation(
        "RfrGetNewDSA",
        "MS-OXABREF 3.1.4.1",
        (
            "ulFlags" / N32,
            "pUserDN" / NdrString,
            "ppszUnused" / Unique(Unique(NdrString)),
            "ppszServer" / Unique(Unique(NdrString)),
        ),
        ("ppszUnused" / Unique(Unique(NdrString)), "ppszServer" / Unique(Unique(NdrString))),
    ),
    1: operation(
        "RfrGetFQDNFromServerDN",
        "MS-OXABREF 3.1.4.2",
        ("ulFlags" / N32, "cbMailboxServerDN" / N32, "szMailboxServerDN" / NdrString),
        ("ppszServerFQDN" / Unique(NdrString),),
    ),
}

RPC_NAMES: Mapping[int, str] = {
    3: "EcGetMoreRpc", 5: "EcRUnregisterPushNotification", 7: "EcRGetDCName", 8: "EcRNetGetDCName",
}  # fmt: skip
"""EMSMDB operations that have a name but no published layout."""
