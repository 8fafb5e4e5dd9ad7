"""Rule actions and the rows of rules and permissions [MS-OXORULE] 2.2.5, 2.2.4.1.3; [MS-OXCPERM] 2.2.2."""

from __future__ import annotations

from construct import Construct, this

from dissector.grammar.entryids import EntryId
from dissector.grammar.forms import MaybeEmpty, Nothing
from dissector.grammar.ids import FolderId, MessageId
from dissector.grammar.layouts import Choice, Count, Counted, Layout, Rows, Sized, SizeOf
from dissector.grammar.leaves import U8, U16, U32, Enumerated, Flags, Guid, Rest
from dissector.grammar.properties import ExtendedTaggedPropertyValue, ServerEid, TaggedPropertyValue


def recipient_block(count: Construct, value: Construct) -> Layout:
    return Layout(
        "Reserved" / U8,
        "NoOfProperties" / Count(count, "PropertyValues"),
        "PropertyValues" / Rows(this.NoOfProperties, value),
        name="RecipientBlockData",
        spec="MS-OXORULE 2.2.5.1.2.4.1",
        summary="{PropertyValues}",
    )


def rule_action(count: Construct, value: Construct, move: Layout, reply: Layout, spec: str) -> Layout:
    """RuleAction with `count` as the width of its counts and sizes; move and reply: their ActionData."""
    forward = Layout(
        "RecipientCount" / Count(count, "RecipientBlocks"),
        "RecipientBlocks" / Rows(this.RecipientCount, recipient_block(count, value)),
        name="OP_FORWARD and OP_DELEGATE ActionData",
        spec="MS-OXORULE 2.2.5.1.2.4",
        summary="{RecipientBlocks}",
    )
    bounce = Layout(
        "BounceCode" / Enumerated(U32, "BounceCode"),
        name="OP_BOUNCE ActionData",
        spec="MS-OXORULE 2.2.5.1.2.5",
        summary="{BounceCode}",
    )
    flavor = {
        0x03: Flags(U32, "ReplyActionFlavor"),
        0x04: Flags(U32, "ReplyActionFlavor"),
        0x07: Flags(U32, "ForwardActionFlavor"),
    }
    data = {
        0x01: move, 0x02: move, 0x03: reply, 0x04: reply, 0x05: Rest, 0x06: bounce, 0x07: forward, 0x08: forward,
        0x09: value, 0x0A: Nothing, 0x0B: Nothing,
    }  # fmt: skip
    body = Layout(
        "ActionType" / Enumerated(U8, "RuleActionType"),
        "ActionFlavor" / Choice(this.ActionType, flavor, default=U32),
        "ActionFlags" / U32,
        "ActionData" / Choice(this.ActionType, data, default=Rest),
        name="ActionBlock",
        spec="MS-OXORULE 2.2.5.1",
        summary="{ActionType} {ActionData}",
    )
    return Layout(
        "NoOfActions" / Count(count, "ActionBlocks"),
        "ActionBlocks" / Rows(this.NoOfActions, Counted(count, body)),
        name="RuleAction",
        spec=spec,
        summary="{ActionBlocks}",
    )


_MOVE = Layout(
    "FolderInThisStore" / U8,
    "StoreEIDSize" / SizeOf(U16, "StoreEID"),
    "StoreEID" / Sized(this.StoreEIDSize, MaybeEmpty(EntryId)),
    "FolderEIDSize" / SizeOf(U16, "FolderEID"),
    "FolderEID" / Sized(this.FolderEIDSize, MaybeEmpty(Choice(this.FolderInThisStore, {0: EntryId}, ServerEid))),
    name="OP_MOVE and OP_COPY ActionData",
    spec="MS-OXORULE 2.2.5.1.2.1",
    summary="to {FolderEID}",
)

_EXTENDED_MOVE = Layout(
    "StoreEIDSize" / SizeOf(U32, "StoreEID"),
    "StoreEID" / Sized(this.StoreEIDSize, MaybeEmpty(EntryId)),
    "FolderEIDSize" / SizeOf(U32, "FolderEID"),
    "FolderEID" / Sized(this.FolderEIDSize, MaybeEmpty(EntryId)),
    name="OP_MOVE and OP_COPY ActionData",
    spec="MS-OXORULE 2.2.5.1.2.1.2",
    summary="to {FolderEID}",
)

_REPLY = Layout(
    "ReplyTemplateFID" / FolderId,
    "ReplyTemplateMID" / MessageId,
    "ReplyTemplateGUID" / Guid,
    name="OP_REPLY and OP_OOF_REPLY ActionData",
    spec="MS-OXORULE 2.2.5.1.2.2.1",
    summary="with {ReplyTemplateFID} {ReplyTemplateMID}",
)

_EXTENDED_REPLY = Layout(
    "MessageEIDSize" / SizeOf(U32, "ReplyTemplateMessageEID"),
    "ReplyTemplateMessageEID" / Sized(this.MessageEIDSize, MaybeEmpty(EntryId)),
    "ReplyTemplateGUID" / Guid,
    name="OP_REPLY and OP_OOF_REPLY ActionData",
    spec="MS-OXORULE 2.2.5.1.2.2.2",
    summary="with {ReplyTemplateMessageEID}",
)

RuleAction = rule_action(U16, TaggedPropertyValue, _MOVE, _REPLY, "MS-OXORULE 2.2.5")
"""As in ROP buffers (PidTagRuleActions)."""

ExtendedRuleAction = rule_action(U32, ExtendedTaggedPropertyValue, _EXTENDED_MOVE, _EXTENDED_REPLY, "MS-OXORULE 2.2.5")
"""As in PidTagExtendedRuleMessageActions."""


def _changes(name: str, flags: str, spec: str) -> Layout:
    return Layout(
        flags / Flags(U8, "TableRowFlags"),
        "PropertyValueCount" / Count(U16, "PropertyValues"),
        "PropertyValues" / Rows(this.PropertyValueCount, TaggedPropertyValue),
        name=name,
        spec=spec,
        summary=f"{{{flags}}} {{PropertyValues}}",
    )


PermissionData = _changes("PermissionData", "PermissionDataFlags", "MS-OXCPERM 2.2.2.1")
RuleData = _changes("RuleData", "RuleDataFlags", "MS-OXORULE 2.2.1.3")
