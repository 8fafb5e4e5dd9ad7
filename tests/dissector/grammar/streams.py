"""FastTransfer streams for tests: real ones with the root each has, and made ones."""

from __future__ import annotations

import uuid
from pathlib import Path

from dissector.grammar.elements import Element, Named, encode, make
from dissector.grammar.fasttransfer import MARKER
from tests.conftest import shared

REAL = {
    "contents-bootstrap/contents": "contentsSync",
    "contents-incremental/incremental": "contentsSync",
    "contents-incremental/incremental-noop": "contentsSync",
    "copyto/copyfolder": "topFolder",
    "copyto/copymessages": "messageList",
    "copyto/copyto": "messageContent",
    "hierarchy-bootstrap/hierarchy": "hierarchySync",
    "hierarchy-bootstrap/hierarchy-again": "hierarchySync",
    "onepass/onepass-inbox": "contentsSync",
    "onepass/onepass-ipm": "hierarchySync",
    "upload-session/upload-after": "contentsSync",
    "upload-session/upload-before": "contentsSync",
}
"""Joined streams under captures/gromox/expected and what each is."""


def real(name: str) -> bytes:
    return shared("captures", "gromox", "expected", f"{name}.fts").read_bytes()


def all_real() -> list[Path]:
    return sorted(shared("captures", "gromox", "expected").glob("*/*.fts"))


def hierarchy_start() -> bytes:
    """The cut-off start of a hierarchySync, from Microsoft's blog."""
    return bytes.fromhex(shared("vectors", "hierarchysync-start.hex").read_text())


SET = uuid.UUID("00062008-0000-0000-c000-000000000046")
GID = uuid.UUID("b5ffb99b-440f-4f77-b488-c5c6702ee3a8").bytes_le + bytes((0, 0, 0, 0, 1, 2))
HEADER = [
    make(0x65E00102, GID), make(0x30080040, 131_000_000_000_000_000), make(0x65E20102, GID),
    make(0x65E30102, bytes((22,)) + GID), make(0x67AA000B, False),
]  # fmt: skip


def marker(name: str) -> Element:
    return make(MARKER[name])


def elements(*parts: str | Element | list[Element]) -> list[Element]:
    """Elements from marker names, elements and lists of elements."""
    made: list[Element] = []
    for part in parts:
        if isinstance(part, str):
            made.append(marker(part))
        else:
            made += part if isinstance(part, list) else [part]
    return made


def stream(*parts: str | Element | list[Element]) -> bytes:
    return b"".join(encode(elements(*parts)))


def subject(text: str = "Hello") -> Element:
    return make(0x0037001F, text)


def simple_change(text: str = "Hello", body: bytes = b"") -> list[Element]:
    """A messageChangeFull with a recipient and an attachment."""
    return elements(
        "IncrSyncChg", HEADER, "IncrSyncMessage", make(0x001A001F, "IPM.Note"), subject(text),
        make(0x8005001F, "filed", Named(SET, 0x8005)), make(0x8006000B, True, Named(SET, "Färbung")),
        make(0x10130102, body),
        make(0x40160003, 0x0E12000D), "StartRecip", make(0x30000003, 0), make(0x3001001F, "Alice"), "EndToRecip",
        make(0x40160003, 0x0E13000D), "NewAttach", make(0x0E210003, 0), make(0x37010102, b"data"), "EndAttach",
    )  # fmt: skip


def full_change(text: str = "Hello", body: bytes = b"") -> list[Element]:
    """The same with a second attachment that is an embedded message."""
    return elements(
        simple_change(text, body), "NewAttach", make(0x0E210003, 1), "StartEmbed", subject("inner"), "StartRecip",
        make(0x30000003, 0), "EndToRecip", "NewAttach", make(0x0E210003, 0), "EndAttach", "EndEmbed", "EndAttach",
    )  # fmt: skip


STATE = elements(
    "IncrSyncStateBegin", make(0x40170003, []), make(0x67960102, []), make(0x67DA0102, []), make(0x67D20102, []),
    "IncrSyncStateEnd",
)  # fmt: skip


def partial_change() -> list[Element]:
    groups = {
        "GroupId": 7,
        "Reserved": 0,
        "GroupCount": 1,
        "Groups": [{"PropertyTagCount": 1, "PropertyTags": [{"PropertyTag": 0x0037001F, "PropertyName": None}]}],
    }
    return elements(
        "IncrSyncGroupInfo", make(0x00000102, groups, after=MARKER["IncrSyncGroupInfo"]), make(0x407C0003, 7),
        "IncrSyncChgPartial", HEADER, make(0x407A0003, 0), subject("Changed"), make(0x407A0003, 0xFFFFFFFF),
        make(0x10F3001F, "x"), make(0x40160003, 0x0E12000D), "StartRecip", make(0x30000003, 0), "EndToRecip",
    )  # fmt: skip


def error_info(code: int = 0x8004010F) -> list[Element]:
    gid = {"REPLGUID": SET, "GLOBCNT": 5}
    value = {
        "Version": 0, "Padding1": bytes(2), "ErrorCode": code, "FolderGID": gid, "Padding2": bytes(2),
        "MessageGID": gid, "Padding3": bytes(2), "Reserved": bytes(24), "AuxBytesCount": 3, "AuxBytesOffset": 92,
        "Aux": {"Gap88": bytes(4), "AuxBytes": b"abc"},
    }  # fmt: skip
    return elements("FXErrorInfo", make(0x00000102, value, after=MARKER["FXErrorInfo"]))


def progress(count: int) -> list[Element]:
    value = {
        "Version": 0, "Padding1": bytes(2), "FAIMessageCount": 0, "FAIMessageTotalSize": 0, "NormalMessageCount": count,
        "Padding2": bytes(4), "NormalMessageTotalSize": 1000 * count,
    }  # fmt: skip
    return elements("IncrSyncProgressMode", make(0x00000102, value, after=MARKER["IncrSyncProgressMode"]))


def progress_per_message(size: int) -> list[Element]:
    return elements("IncrSyncProgressPerMsg", make(0x00000003, size), make(0x0000000B, False))


def contents(count: int = 3) -> bytes:
    """A contentsSync with everything in it: progress, full and partial changes, deletions, read states."""
    changes = [part for number in range(count) for part in (*progress_per_message(1000), *full_change(f"No {number}"))]
    return stream(
        progress(count), changes, progress_per_message(10), partial_change(),
        "IncrSyncDel", make(0x67E50102, []), "IncrSyncRead", make(0x402D0102, []), STATE, "IncrSyncEnd",
    )  # fmt: skip
