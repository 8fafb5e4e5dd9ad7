"""What is inside a message: properties, recipients, attachments, embedded messages. A working copy in memory.

Clients change a copy and then save it ([MS-OXCMSG] 3.2.5: one transaction per handle), so what a handle opened is
loaded here, changed here, and written back by save().
"""

from __future__ import annotations

from dataclasses import dataclass, field

from replay.server.properties import Properties
from replay.server.store import ATTACHMENT, EMBEDDED, MESSAGE, RECIPIENT, Store

MAX_NESTING = 32
"""Embedded messages within embedded messages, as deep as a copy goes."""


@dataclass(slots=True, eq=False)
class Recipient:
    """kind: RecipientType (To, Cc, Bcc and flags); flags: RecipientFlags of the row as the client wrote it."""

    row_id: int
    kind: int
    flags: int = 0
    display_type: int = 0
    properties: Properties = field(default_factory=Properties)

    def clone(self) -> Recipient:
        return Recipient(self.row_id, self.kind, self.flags, self.display_type, self.properties.clone())

    def packed(self) -> int:
        return self.kind | self.display_type << 8 | self.flags << 16

    def fresh(self) -> Recipient:
        return Recipient(self.row_id, self.kind, self.flags, self.display_type, self.properties.fresh())


@dataclass(slots=True, eq=False)
class Attachment:
    """One attachment. `embedded` is None until open_embedded() loads it, or where there is no embedded message."""

    number: int
    properties: Properties = field(default_factory=Properties)
    bag: int | None = None
    embedded: Content | None = None
    embedded_bag: int | None = None
    changed: bool = False

    def open_embedded(self, store: Store) -> Content | None:
        if self.embedded is None and self.embedded_bag is not None:
            self.embedded = load(store, self.embedded_bag)
        return self.embedded

    def clone(self) -> Attachment:
        return Attachment(
            self.number, self.properties.clone(), self.bag, self.embedded, self.embedded_bag, self.changed
        )

    def fresh(self, store: Store, number: int, depth: int = 0) -> Attachment:
        """The same for another message."""
        copy = Attachment(number, self.properties.fresh(), changed=True)
        inner = self.open_embedded(store)
        if inner is not None and depth < MAX_NESTING:
            copy.embedded = inner.fresh(store, depth + 1)
        return copy

    def size(self, store: Store) -> int:
        total = self.properties.total_size()
        inner = self.open_embedded(store)
        return total + (inner.size(store) if inner is not None else 0)


@dataclass(slots=True, eq=False)
class Content:
    """A message or embedded message as one handle sees it."""

    bag: int | None = None
    properties: Properties = field(default_factory=Properties)
    recipients: list[Recipient] = field(default_factory=list)
    attachments: dict[int, Attachment] = field(default_factory=dict)
    recipients_changed: bool = False
    removed: list[int] = field(default_factory=list)
    next_number: int = 0

    @property
    def changed(self) -> bool:
        """Whether anything here is not in the database."""
        return bool(
            self.bag is None
            or self.properties.changed
            or self.properties.removed
            or self.recipients_changed
            or self.removed
            or any(attachment.changed for attachment in self.attachments.values())
        )

    def new_number(self) -> int:
        number = max((self.next_number, *(one + 1 for one in self.attachments)))
        self.next_number = number + 1
        return number

    def put_attachment(self, attachment: Attachment) -> None:
        """Add it, in place of the one with the same number; what that one is in the database, this one becomes."""
        before = self.attachments.get(attachment.number)
        if before is not None and attachment.bag is None:
            attachment.bag, attachment.embedded_bag = before.bag, before.embedded_bag
        elif attachment.bag in self.removed:
            attachment.bag = attachment.embedded_bag = None
        attachment.changed = True
        self.attachments[attachment.number] = attachment

    def delete_attachment(self, number: int) -> bool:
        gone = self.attachments.pop(number, None)
        if gone is None:
            return False
        self.next_number = max(self.next_number, number + 1)
        if gone.bag is not None:
            self.removed.append(gone.bag)
        return True

    def recipient(self, row_id: int) -> Recipient | None:
        return next((one for one in self.recipients if one.row_id == row_id), None)

    def put_recipient(self, recipient: Recipient) -> None:
        """Add it in the order of row ids, in place of the one with the same row id."""
        self.drop_recipient(recipient.row_id)
        self.recipients.append(recipient)
        self.recipients.sort(key=lambda one: one.row_id)
        self.recipients_changed = True

    def drop_recipient(self, row_id: int) -> None:
        kept = [one for one in self.recipients if one.row_id != row_id]
        self.recipients_changed |= len(kept) != len(self.recipients)
        self.recipients = kept

    def clear_recipients(self) -> None:
        self.recipients_changed |= bool(self.recipients)
        self.recipients = []

    def clone(self) -> Content:
        """A working copy of a working copy."""
        copy = Content(self.bag, self.properties.clone(), [one.clone() for one in self.recipients])
        copy.attachments = {number: one.clone() for number, one in self.attachments.items()}
        copy.recipients_changed, copy.next_number = self.recipients_changed, self.next_number
        copy.removed = list(self.removed)
        return copy

    def fresh(self, store: Store, depth: int = 0) -> Content:
        """The same as a new, unsaved message."""
        copy = Content(properties=self.properties.fresh(), recipients=[one.fresh() for one in self.recipients])
        for number, attachment in sorted(self.attachments.items()):
            copy.attachments[number] = attachment.fresh(store, number, depth)
        copy.next_number, copy.recipients_changed = self.next_number, True
        return copy

    def size(self, store: Store) -> int:
        total = self.properties.total_size() + sum(one.properties.total_size() for one in self.recipients)
        return total + sum(one.size(store) for one in self.attachments.values())


def load(store: Store, bag: int) -> Content:
    """The content of a saved message; embedded messages are left for later."""
    family = store.family(bag)
    content = Content(bag, store.properties(bag))
    if not family:
        return content
    properties = store.properties_of([child for child, _, _, _ in family])
    for child, role, number, packed in family:
        if role == RECIPIENT:
            content.recipients.append(
                Recipient(number, packed & 0xFF, packed >> 16 & 0xFFFF, packed >> 8 & 0xFF, properties[child])
            )
        elif role == ATTACHMENT:
            inner = store.children(child, EMBEDDED)
            content.attachments[number] = Attachment(
                number, properties[child], child, embedded_bag=inner[0][0] if inner else None
            )
    return content


def save(store: Store, content: Content, role: int = MESSAGE, parent: int | None = None) -> int:
    """Write what is unsaved; returns the bag."""
    new = content.bag is None
    if content.bag is None:
        content.bag = store.new_bag(role, parent)
    store.save(content.bag, content.properties, everything=new)
    if new or content.recipients_changed:
        for child, _, _ in store.children(content.bag, RECIPIENT):
            store.delete_bag(child)
        for recipient in content.recipients:
            child = store.new_bag(RECIPIENT, content.bag, recipient.row_id, recipient.packed())
            store.save(child, recipient.properties, everything=True)
        content.recipients_changed = False
    for attachment in content.attachments.values():
        if new or attachment.changed:
            _save_attachment(store, attachment, content.bag)
    for child in content.removed:
        store.delete_bag(child)
    content.removed.clear()
    return content.bag


def _save_attachment(store: Store, attachment: Attachment, parent: int) -> None:
    new = attachment.bag is None
    if attachment.bag is None:
        attachment.bag = store.new_bag(ATTACHMENT, parent, attachment.number)
    store.save(attachment.bag, attachment.properties, everything=new)
    inner = attachment.embedded
    if inner is not None and inner.changed:
        if inner.bag is None and attachment.embedded_bag is not None:
            store.delete_bag(attachment.embedded_bag)
        attachment.embedded_bag = save(store, inner, EMBEDDED, attachment.bag)
    attachment.changed = False
