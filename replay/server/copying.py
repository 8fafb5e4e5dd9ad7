"""Copying properties and sub-objects between open objects of one kind [MS-OXCPRPT] 3.2.5.7, 3.2.5.8."""

from __future__ import annotations

from collections.abc import Callable

from replay.server import folders, messages
from replay.server.errors import ACCESS_DENIED, DUPLICATE_NAME, FOLDER_CYCLE, MESSAGE_CYCLE, NOT_FOUND, RopError
from replay.server.properties import Properties
from replay.server.session import AttachmentObject, FolderObject, MessageObject, PropertyObject

RECIPIENTS, ATTACHMENTS, ATTACH_DATA = 0x0E12, 0x0E13, 0x3701
SUBFOLDERS, CONTENTS, ASSOCIATED = 0x360E, 0x360F, 0x3610

SUB_OBJECTS = frozenset((RECIPIENTS, ATTACHMENTS, SUBFOLDERS, CONTENTS, ASSOCIATED))

NOT_COPIED = frozenset((0x3007, 0x3008, 0x6709))
"""Stored properties that are the object's own: times."""

Problem = tuple[int, int, int]
"""Index, tag, error code."""


def stored(thing: PropertyObject) -> Properties:
    """What the object holds itself."""
    if isinstance(thing, MessageObject):
        return thing.content.properties
    if isinstance(thing, AttachmentObject):
        return thing.attachment.properties
    assert isinstance(thing, FolderObject)
    return thing.logon.store.properties(thing.folder.bag)


def copy(
    source: PropertyObject,
    target: PropertyObject,
    wanted: Callable[[int], bool],
    listed: list[int] | None,
    sub_objects: bool,
    keep: bool,
) -> list[Problem]:
    """Copy the properties `wanted` says yes to. listed: the tags that were asked for one by one.

    keep: leave what the target has. Returns what could not be copied.
    """
    _no_cycle(source, target)
    problems: list[Problem] = []
    values, have = stored(source), stored(target)
    changed: list[int] = []
    for prop_id in values:
        if not wanted(prop_id) or prop_id in target.read_only or (prop_id in NOT_COPIED and listed is None):
            continue
        if prop_id == messages.MESSAGE_FLAGS or (keep and prop_id in have):
            continue
        kind = values.kind(prop_id)
        assert kind is not None
        if isinstance(target, FolderObject) and prop_id == 0x3001 and listed is None:
            continue
        target.set(prop_id, kind, values.value(prop_id))
        changed.append(prop_id << 16 | kind)
    for index, tag in enumerate(listed or ()):
        if tag >> 16 in target.read_only:
            problems.append((index, tag, ACCESS_DENIED))
        elif tag >> 16 not in values and tag >> 16 not in SUB_OBJECTS and source.view().get(tag >> 16) is None:
            problems.append((index, tag, NOT_FOUND))
    if isinstance(source, MessageObject) and isinstance(target, MessageObject):
        _copy_message(source, target, wanted, sub_objects, keep)
    elif isinstance(source, AttachmentObject) and isinstance(target, AttachmentObject):
        inner = source.attachment.open_embedded(source.logon.store)
        if inner is not None and wanted(ATTACH_DATA):
            target.attachment.embedded = inner.fresh(source.logon.store)
            target.attachment.changed = True
    elif isinstance(source, FolderObject) and isinstance(target, FolderObject):
        if changed:
            target.done(changed)
        if sub_objects:
            _copy_folder(source, target, wanted)
    return problems


def _no_cycle(source: PropertyObject, target: PropertyObject) -> None:
    inside: PropertyObject | None = target
    while isinstance(inside, MessageObject | AttachmentObject):
        inside = inside.holder if isinstance(inside, MessageObject) else inside.message
        if inside is source:
            raise RopError(MESSAGE_CYCLE)
    if (
        isinstance(source, FolderObject)
        and isinstance(target, FolderObject)
        and folders.is_within(source.logon.mailbox, target.id, source.id)
    ):
        raise RopError(FOLDER_CYCLE)


def _copy_message(
    source: MessageObject, target: MessageObject, wanted: Callable[[int], bool], sub_objects: bool, keep: bool
) -> None:
    store = source.logon.store
    if wanted(messages.MESSAGE_FLAGS) and target.row is None:
        flags = source.content.properties.value(messages.MESSAGE_FLAGS, 0)
        if source.row is not None:
            flags = messages.flags(source.row, flags)
        target.set(messages.MESSAGE_FLAGS, 3, flags & ~(messages.SUBMITTED | messages.UNMODIFIED))
    if not sub_objects:
        return
    if wanted(RECIPIENTS) and not (keep and target.content.recipients):
        target.content.clear_recipients()
        for recipient in source.content.recipients:
            target.content.put_recipient(recipient.fresh())
    if wanted(ATTACHMENTS) and not (keep and target.content.attachments):
        for number in list(target.content.attachments):
            target.content.delete_attachment(number)
        for _, attachment in sorted(source.content.attachments.items()):
            target.content.put_attachment(attachment.fresh(store, target.content.new_number()))


def _copy_folder(source: FolderObject, target: FolderObject, wanted: Callable[[int], bool]) -> None:
    mailbox = source.logon.mailbox
    if wanted(CONTENTS):
        messages.copy(mailbox, messages.ids(mailbox, source.id, 0), target.id)
    if wanted(ASSOCIATED):
        messages.copy(mailbox, messages.ids(mailbox, source.id, 1), target.id)
    if wanted(SUBFOLDERS):
        for one in folders.children(mailbox, source.id):
            title = mailbox.store.property_of(one.bag, 0x3001)
            name = title[1] if title else one.name
            if folders.by_name(mailbox, target.id, name) is not None:
                raise RopError(DUPLICATE_NAME)
            folders.copy(mailbox, one, target.folder, name, recursive=True)


def remove_copied(source: PropertyObject, wanted: Callable[[int], bool]) -> None:
    """After a move: the properties that were copied leave the source."""
    for prop_id in list(stored(source)):
        if wanted(prop_id) and prop_id not in source.read_only and prop_id not in NOT_COPIED:
            source.delete(prop_id)
    if isinstance(source, MessageObject):
        if wanted(RECIPIENTS):
            source.content.clear_recipients()
        if wanted(ATTACHMENTS):
            for number in list(source.content.attachments):
                source.content.delete_attachment(number)
