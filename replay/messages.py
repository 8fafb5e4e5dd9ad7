"""Request bodies of MAPI over HTTP, built by the dissector's grammar [MS-OXCMAPIHTTP] 2.2.4."""

from __future__ import annotations

from typing import Any

from dissector.grammar.base import build
from dissector.grammar.envelopes import MAILBOX, RpcHeaderExt
from replay.errors import ReplayError

CODEPAGE = 1252
LOCALE = 0x0409
NO_COMPRESSION_OR_OBFUSCATION = 0x3
CHAIN = 0x4
LAST = 0x4
MAX_ROP_OUT = 0x40000


def connect_body(user_dn: str) -> bytes:
    return _body(
        "Connect", UserDn=user_dn, Flags=0, DefaultCodePage=CODEPAGE, LcidSort=LOCALE, LcidString=LOCALE
    )  # fmt: skip


def execute_body(rop_buffer: bytes, max_rop_out: int = MAX_ROP_OUT) -> bytes:
    """An Execute of one plain ROP buffer (RopSize, ROP list, handle table; at most 65535 bytes)."""
    if len(rop_buffer) > 0xFFFF:
        raise ReplayError(f"a ROP buffer of {len(rop_buffer)} bytes does not fit one RPC_HEADER_EXT (65535 bytes)")
    header = build(RpcHeaderExt, {"Flags": LAST, "Size": len(rop_buffer), "SizeActual": len(rop_buffer)})
    flags = NO_COMPRESSION_OR_OBFUSCATION | CHAIN
    return _body("Execute", Flags=flags, RopBuffer=header + rop_buffer, MaxRopOut=max_rop_out)


def disconnect_body() -> bytes:
    return _body("Disconnect")


def _body(name: str, **fields: Any) -> bytes:
    return build(MAILBOX[name].request, {**fields, "AuxiliaryBuffer": b""})
