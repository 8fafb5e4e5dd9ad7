"""Security descriptors whose parts stand where they like; real ones are in test_smartview.py."""

from __future__ import annotations

import struct

import pytest

from dissector.grammar.base import GrammarError, build
from dissector.grammar.reading import parse, trace
from dissector.grammar.security import Ace, Acl, NtSecurityDescriptor, SecurityDescriptor, Sid
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check, check_cover, diagnostics

SYSTEM = bytes.fromhex("010100000000000512000000")
ADMINS = bytes.fromhex("01020000000000052000000020020000")
EMPTY_ACL = bytes.fromhex("0200080000000000")


def descriptor(owner: int, group: int, sacl: int, dacl: int, body: bytes) -> bytes:
    return b"\1\0" + struct.pack("<HIIII", 0x8004, owner, group, sacl, dacl) + body


@pytest.mark.parametrize(
    ("raw", "order"),
    [
        (descriptor(20, 32, 0, 48, SYSTEM + ADMINS + EMPTY_ACL), ["OwnerSid", "GroupSid", "Dacl"]),
        (descriptor(44, 28, 0, 20, EMPTY_ACL + ADMINS + SYSTEM), ["Dacl", "GroupSid", "OwnerSid"]),
        (descriptor(24, 0, 0, 40, b"gap!" + SYSTEM + b"hole" + EMPTY_ACL), ["Gap20", "OwnerSid", "Gap36", "Dacl"]),
        (descriptor(0, 0, 0, 0, b""), []),
    ],
)
def test_parts_in_any_order(raw: bytes, order: list[str]) -> None:
    value, end = parse(SecurityDescriptor, raw)
    assert (end, list(value.Parts)) == (len(raw), order)
    assert build(SecurityDescriptor, value) == raw
    node = trace(SecurityDescriptor, ByteSource("descriptor", raw), "descriptor")
    assert [child.name for child in node.find("Parts").children] == order
    assert not diagnostics(node)
    check_cover(node)
    assert check(NtSecurityDescriptor, b"\x08\0\3\0\0\0\0\0" + raw[:20] + bytes(0)) if not order else True


def test_bytes_behind_the_parts() -> None:
    raw = descriptor(20, 0, 0, 0, SYSTEM + b"more")
    value, end = parse(SecurityDescriptor, raw)
    assert (value.Padding, end) == (b"more", len(raw))


@pytest.mark.parametrize("raw", [descriptor(12, 0, 0, 0, SYSTEM), descriptor(20, 24, 0, 0, SYSTEM)])
def test_parts_that_overlap(raw: bytes) -> None:
    with pytest.raises(GrammarError, match="lies before offset"):
        parse(SecurityDescriptor, raw)


def test_a_part_far_away() -> None:
    raw = descriptor(0xFFFFFFF0, 0, 0, 0, SYSTEM)
    node = trace(SecurityDescriptor, ByteSource("descriptor", raw), "descriptor")
    assert diagnostics(node)
    check_cover(node)


def test_sid_in_words() -> None:
    assert trace(Sid, ByteSource("sid", ADMINS), "sid").label == "S-1-5-32-544"
    check(Sid, ADMINS, SubAuthorityCount=2)


def test_access() -> None:
    """An ACE of an object type has the GUIDs that its flags announce."""
    guid = "00112233445566778899aabbccddeeff"
    sid = SYSTEM.hex()
    check(Acl, "02 00 1c00 0100 0000 00 02 1400 01000000" + sid, AclSize=28, AceCount=1)
    check(Ace, f"05 00 2800 01000000 01000000 {guid}" + sid, Size=40)
    check(Ace, f"05 00 3800 01000000 03000000 {guid} {guid}" + sid, Size=56)
    assert check(Ace, "7f 00 0700 616263").Body == b"abc"
    raw = bytes.fromhex("00 02 1400 00000100" + sid)
    assert trace(Ace, ByteSource("ace", raw), "ace").label == "ACCESS_ALLOWED_ACE fsdrightDelete for S-1-5-18"
