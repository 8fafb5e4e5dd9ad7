"""SIDs, access control lists and security descriptors [MS-DTYP] 2.4, and the property form that carries one.

A security descriptor points to its parts by offsets, in any order: see forms.Placed.
"""

from __future__ import annotations

from construct import BytesInteger, this

from dissector.grammar.forms import Placed
from dissector.grammar.layouts import Choice, Count, Layout, Rows, Sized, SizeOf, When, WhenMore
from dissector.grammar.leaves import U8, U16, U32, Data, Enumerated, Flags, Guid, Rest

Sid = Layout(
    "Revision" / U8,
    "SubAuthorityCount" / Count(U8, "SubAuthority"),
    "IdentifierAuthority" / BytesInteger(6),
    "SubAuthority" / Rows(this.SubAuthorityCount, U32),
    name="SID",
    spec="MS-DTYP 2.4.2.2",
    summary="S-{Revision}-{IdentifierAuthority}-{SubAuthority:-}",
)

_BASIC = ("Sid" / Sid, "ApplicationData" / WhenMore(Rest))
_OBJECT = (
    "Flags" / Flags(U32, "AceObjectFlags"),
    "ObjectType" / When(this.Flags & 1, Guid),
    "InheritedObjectType" / When(this.Flags & 2, Guid),
)

_ACE_SUMMARY = "{Mask} for {Sid}"
_BasicAce = Layout("Mask" / Flags(U32, "FolderAccessMask"), *_BASIC, summary=_ACE_SUMMARY)
_ObjectAce = Layout("Mask" / Flags(U32, "FolderAccessMask"), *_OBJECT, *_BASIC, summary=_ACE_SUMMARY)

Ace = Layout(
    "Type" / Enumerated(U8, "AceType"),
    "Flags" / Flags(U8, "AceFlags"),
    "Size" / SizeOf(U16, "Body", plus=4),
    "Body"
    / Sized(
        this.Size - 4,
        Choice(
            this.Type,
            {
                **dict.fromkeys((0x00, 0x01, 0x02, 0x03, 0x09, 0x0A, 0x0D, 0x11), _BasicAce),
                **dict.fromkeys((0x05, 0x06, 0x07, 0x0B, 0x0C, 0x0F), _ObjectAce),
            },
            default=Rest,
        ),
    ),
    name="ACE",
    spec="MS-DTYP 2.4.4.1",
    summary="{Type} {Body}",
)

Acl = Layout(
    "AclRevision" / U8,
    "Sbz1" / U8,
    "AclSize" / SizeOf(U16, "AceCount", "Sbz2", "Aces", plus=4),
    "AceCount" / Count(U16, "Aces"),
    "Sbz2" / U16,
    "Aces" / Rows(this.AceCount, Ace),
    name="ACL",
    spec="MS-DTYP 2.4.5",
    summary="{Aces:; }",
)

SecurityDescriptor = Layout(
    "Revision" / U8,
    "Sbz1" / U8,
    "Control" / Flags(U16, "SecurityDescriptorControl"),
    "OffsetOwner" / U32,
    "OffsetGroup" / U32,
    "OffsetSacl" / U32,
    "OffsetDacl" / U32,
    "Parts"
    / Placed(
        20,
        OwnerSid=(this.OffsetOwner, Sid),
        GroupSid=(this.OffsetGroup, Sid),
        Sacl=(this.OffsetSacl, Acl),
        Dacl=(this.OffsetDacl, Acl),
    ),
    "Padding" / WhenMore(Rest),
    name="SECURITY_DESCRIPTOR",
    spec="MS-DTYP 2.4.6",
)

NtSecurityDescriptor = Layout(
    "HeaderSize" / U16,
    "Version" / U16,
    "SecurityInformation" / Flags(U32, "SecurityInformation"),
    "HeaderRest" / When(this.HeaderSize > 8, Data(this.HeaderSize - 8)),
    "SecurityDescriptor" / SecurityDescriptor,
    name="PR_NT_SECURITY_DESCRIPTOR",
)
"""A transfer header, then the security descriptor: how folders and free/busy messages carry theirs."""
