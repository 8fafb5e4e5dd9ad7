"""Message and attachment ROPs [MS-OXCMSG] 3.2.5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dissector.grammar.base import Param, build
from dissector.grammar.names import codec_name
from dissector.grammar.rops import oxcmsg as grammar
from dissector.grammar.rows import OpenRecipientRow, ReadRecipientRow
from dissector.node import Undecoded
from replay.server import content as contents
from replay.server import folders, messages, recipients
from replay.server.call import Call, Fields, TooSmallError
from replay.server.content import Attachment, Content, Recipient
from replay.server.errors import (
    ACCESS_DENIED,
    ERROR,
    NOT_FOUND,
    NULL_OBJECT,
    OBJECT_DELETED,
    OBJECT_MODIFIED,
    SEARCH_FOLDER,
    UNKNOWN_CODE_PAGE,
    RopError,
)  # fmt: skip
from replay.server.mailbox import SEARCH, pack, unpack
from replay.server.session import (
    LOGON_CODE_PAGE,
    AttachmentObject,
    FolderObject,
    Logon,
    MessageObject,
    message_content,
)  # fmt: skip
from replay.server.table import AttachmentSource, Table

READ_ONLY, READ_WRITE, CREATE, BEST_ACCESS = 0, 1, 2, 3
OPEN_SOFT_DELETED = 4

KEEP_OPEN_READ_ONLY, KEEP_OPEN_READ_WRITE, FORCE_SAVE = 0x01, 0x02, 0x04
"""SaveFlags."""

SUPPRESS_RECEIPT, CLEAR_READ, GENERATE_RECEIPT_ONLY, CLEAR_NOTIFY_READ, CLEAR_NOTIFY_UNREAD = 0x1, 0x4, 0x10, 0x20, 0x40
"""ReadFlags."""

ROW_LIMIT = 0xFF
OPEN_ROW, READ_ROW = OpenRecipientRow(Param("columns")), ReadRecipientRow(Param("columns"))


# Opening and what it tells.


def typed_string(text: str | None) -> dict[str, Any]:
    """A TypedString in the form that takes the fewest bytes."""
    text = None if text is None else text.partition("\0")[0]
    if not text:
        return {"StringType": 0 if text is None else 1, "String": None}
    reduced = all(ord(one) < 0x100 for one in text)
    return {"StringType": 3 if reduced else 4, "String": text}


def recipient_rows(
    message: MessageObject, found: Sequence[Recipient], columns: Sequence[int], room: int, with_id: bool
) -> list[Undecoded]:
    """As many rows, built, as fit into `room` bytes."""
    mailbox, codec = message.logon.mailbox, message.codec
    layout = READ_ROW if with_id else OPEN_ROW
    rows: list[Undecoded] = []
    for one in found[:ROW_LIMIT]:
        value = {
            "RowId": one.row_id, "RecipientType": one.kind, "CodePageId": message.logon.session.code_page,
            "Reserved": 0, "RecipientRow": recipients.to_row(mailbox, one, columns, codec),
        }  # fmt: skip
        made = Undecoded(build(layout, value, columns=tuple(columns), codepage=codec))
        room -= len(made)
        if room < 0:
            break
        rows.append(made)
    return rows


def header(call: Call, message: MessageObject) -> dict[str, Any]:
    """What opening or reloading a message tells of it."""
    view = message.view()
    columns = recipients.columns_of(message.content)
    fields = {
        "HasNamedProperties": any(prop_id >= 0x8000 for prop_id in message.content.properties),
        "SubjectPrefix": typed_string(view.value(0x003D)),
        "NormalizedSubject": typed_string(view.value(0x0E1D)),
        "RecipientCount": len(message.content.recipients),
        "RecipientColumns": columns,
    }
    used = 32 + 2 * len(view.value(0x0E1D) or "") + 4 * len(columns)
    fields["RecipientRows"] = recipient_rows(message, message.content.recipients, columns, call.room - used, False)
    return fields


def checked_code_page(code_page: int) -> int:
    if code_page not in (0, LOGON_CODE_PAGE) and codec_name(code_page) is None:
        raise RopError(UNKNOWN_CODE_PAGE)
    return code_page


def open_message(call: Call) -> Fields:
    request, opener = call.request, call.get(Logon, FolderObject, wrong=NULL_OBJECT)
    code_page, mode = checked_code_page(request["CodePageId"]), request["OpenModeFlags"]
    deleted = bool(mode & OPEN_SOFT_DELETED)
    folder = pack(request["FolderId"])
    found = folders.find(opener.logon.mailbox, folder)
    anywhere = found is not None and found.kind == SEARCH
    row, content = message_content(opener.logon, pack(request["MessageId"]), deleted, None if anywhere else folder)
    writable = mode & 3 != READ_ONLY
    message = MessageObject(opener.logon, content, row, row.folder, bool(row.associated), None, code_page, writable)
    call.open(message)
    return header(call, message)


def create_message(call: Call) -> Fields:
    request, opener = call.request, call.get(Logon, FolderObject, wrong=NULL_OBJECT)
    code_page = checked_code_page(request["CodePageId"])
    mailbox = opener.logon.mailbox
    folder = folders.get(mailbox, pack(request["FolderId"]))
    if folder.kind == SEARCH:
        raise RopError(SEARCH_FOLDER)
    content = Content()
    session = call.session
    page = session.code_page if code_page in (0, LOGON_CODE_PAGE) else code_page
    messages.initialize(mailbox, content, page, session.locale)
    associated = bool(request["AssociatedFlag"])
    call.open(MessageObject(opener.logon, content, None, folder.id, associated, None, code_page))
    return {}


def reload_cached_information(call: Call) -> Fields:
    return header(call, call.message())


# Saving.


def save_changes_message(call: Call) -> Fields:
    message = call.message()
    flags = call.request["SaveFlags"]
    if not message.writable:
        raise RopError(ERROR)
    message.flush()
    for prop_id, name in recipients.display_names(message.content).items():
        if message.content.recipients_changed or message.row is None:
            message.content.properties.put(prop_id << 16 | 0x1F, name)
    if message.holder is not None:
        identifier = _save_embedded(message)
    else:
        identifier = _save(message, bool(flags & FORCE_SAVE))
    if flags & KEEP_OPEN_READ_ONLY:
        message.writable = False
    return {"InputHandleIndex": call.request["InputHandleIndex"], "MessageId": unpack(identifier)}


def _save(message: MessageObject, force: bool) -> int:
    mailbox = message.logon.mailbox
    if message.imported is not None:
        return message.imported(message)
    if message.row is None:
        assert message.folder is not None
        folders.get(mailbox, message.folder)
        made = messages.insert(mailbox, message.folder, message.content, message.associated)
    else:
        made = message.row.id
        now = messages.find(mailbox, made, deleted=True)
        if now is None:
            raise RopError(OBJECT_DELETED)
        if now.cn != message.row.cn and not force:
            raise RopError(OBJECT_MODIFIED)
        if now.cn != message.row.cn:
            message.content = _over(message, now)
        if message.content.changed:
            messages.update(mailbox, now, message.content)
    message.row = messages.find(mailbox, made, deleted=True)
    return made


def _over(message: MessageObject, now: messages.Message) -> Content:
    """Somebody saved in between and the client insists: its changes go over what is there now."""
    store, mine = message.logon.store, message.content
    content = contents.load(store, now.bag)
    for prop_id in mine.properties.removed:
        content.properties.delete(prop_id)
    for prop_id in mine.properties.changed:
        kind = mine.properties.kind(prop_id)
        assert kind is not None
        content.properties.set(prop_id, kind, mine.properties.value(prop_id))
    if mine.recipients_changed:
        content.recipients, content.recipients_changed = mine.recipients, True
    for bag in mine.removed:
        for number, one in list(content.attachments.items()):
            if one.bag == bag:
                content.delete_attachment(number)
    for number, one in mine.attachments.items():
        if one.changed:
            if one.bag is not None and number not in content.attachments:
                one.bag = None
            content.put_attachment(one)
    return content


def _save_embedded(message: MessageObject) -> int:
    """An embedded message goes into its attachment, which is saved by itself."""
    assert message.holder is not None
    messages.prepare(message.logon.mailbox, message.content)
    attachment = message.holder.attachment
    attachment.embedded = message.content.clone()
    attachment.changed = True
    return 0


# Recipients.


def remove_all_recipients(call: Call) -> Fields:
    call.message().content.clear_recipients()
    return {}


def modify_recipients(call: Call) -> Fields:
    message, request = call.message(), call.request
    columns = request["RecipientColumns"]
    made: list[tuple[int, Recipient | None]] = []
    for one in request["RecipientRows"]:
        wire = one["RecipientRow"]
        if wire is None:
            made.append((one["RowId"], None))
            continue
        made.append(
            (one["RowId"], recipients.from_row(one["RowId"], one["RecipientType"], wire, columns, message.codec))
        )
    for row_id, recipient in made:
        if recipient is None:
            message.content.drop_recipient(row_id)
        else:
            message.content.put_recipient(recipient)
    return {}


def read_recipients(call: Call) -> Fields:
    message, start = call.message(), call.request["RowId"]
    found = message.content.recipients
    if start or not found:
        at = next((index for index, one in enumerate(found) if one.row_id == start), None)
        if at is None:
            raise RopError(NOT_FOUND)
        found = found[at:]
    columns = recipients.columns_of(message.content)
    rows = recipient_rows(message, found, columns, call.room - 16, True)
    if not rows:
        raise TooSmallError(call.room * 2)
    return {"RecipientRows": rows}


# Status and read flags.


def _row(call: Call) -> messages.Message:
    folder = call.get(FolderObject, wrong=NULL_OBJECT)
    found = messages.find(folder.logon.mailbox, pack(call.request["MessageId"]))
    if found is None:
        raise RopError(NOT_FOUND)
    return found


def set_message_status(call: Call) -> Fields:
    row, mask = _row(call), call.request["MessageStatusMask"]
    status = row.status & ~mask | call.request["MessageStatusFlags"] & mask
    messages.set_status(call.mailbox(), row, status)
    return {"MessageStatusFlags": row.status}


def get_message_status(call: Call) -> Fields:
    return {"MessageStatusFlags": _row(call).status}


def mark(message: MessageObject | None, call: Call, row: messages.Message, flags: int) -> None:
    """What ReadFlags ask for; receipts are not made, since nothing is sent from here."""
    mailbox = call.mailbox()
    if not flags & (GENERATE_RECEIPT_ONLY | CLEAR_NOTIFY_READ | CLEAR_NOTIFY_UNREAD):
        messages.set_read(mailbox, row, not flags & CLEAR_READ)
    if message is not None:
        message.row = messages.find(mailbox, row.id, deleted=True)


def set_read_flags(call: Call) -> Fields:
    folder = call.get(FolderObject, wrong=NULL_OBJECT)
    partial = False
    for identifier in call.request["MessageIds"]:
        row = messages.find(folder.logon.mailbox, pack(identifier))
        if row is None or row.folder != folder.id:
            partial = True
        else:
            mark(None, call, row, call.request["ReadFlags"])
    return {"PartialCompletion": partial}


def set_message_read_flag(call: Call) -> Fields:
    """The message handle, or in the other order of the two handles a folder's."""
    message = call.message()
    if message.row is not None:
        row = messages.find(message.logon.mailbox, message.row.id, deleted=True)
        if row is None:
            raise RopError(OBJECT_DELETED)
        cn = message.row.cn
        mark(message, call, row, call.request["ReadFlags"])
        if message.row is not None and message.row.cn != cn:
            message.row = message.row._replace(cn=cn)  # somebody else's save is still to be found out
    else:
        read = not call.request["ReadFlags"] & CLEAR_READ
        value = message.content.properties.value(messages.MESSAGE_FLAGS, 0)
        message.content.properties.put(0x0E070003, value | messages.READ if read else value & ~messages.READ)
    return {}


# Attachments.


def open_attachment(call: Call) -> Fields:
    message = call.message()
    found = message.content.attachments.get(call.request["AttachmentID"])
    if found is None:
        raise RopError(NOT_FOUND)
    mode = call.request["OpenAttachmentFlags"]
    if mode == READ_WRITE and not message.writable:
        raise RopError(ACCESS_DENIED)
    call.open(AttachmentObject(message, found.clone(), message.writable and mode != READ_ONLY))
    return {}


def create_attachment(call: Call) -> Fields:
    message = call.message()
    if not message.writable:
        raise RopError(ACCESS_DENIED)
    attachment = Attachment(message.content.new_number(), changed=True)
    messages.initialize_attachment(message.logon.mailbox, attachment)
    call.open(AttachmentObject(message, attachment))
    return {"AttachmentID": attachment.number}


def delete_attachment(call: Call) -> Fields:
    message = call.message()
    if not message.writable:
        raise RopError(ACCESS_DENIED)
    if not message.content.delete_attachment(call.request["AttachmentID"]):
        raise RopError(NOT_FOUND)
    return {}


def save_changes_attachment(call: Call) -> Fields:
    opened = call.get(AttachmentObject)
    if not opened.writable:
        raise RopError(ERROR)
    opened.flush()
    attachment = opened.attachment
    if 0x3008 not in attachment.properties.changed:
        attachment.properties.put(0x30080040, call.store.now())
    opened.message.content.put_attachment(attachment)
    opened.attachment = attachment.clone()
    if call.request["SaveFlags"] & KEEP_OPEN_READ_ONLY:
        opened.writable = False
    return {}


def get_attachment_table(call: Call) -> Fields:
    message = call.message()
    call.open(Table(message.logon, AttachmentSource(message), message.codec, "attachments"))
    return {}


def get_valid_attachments(call: Call) -> Fields:
    return {"AttachmentIdArray": sorted(call.message().content.attachments)}


def open_embedded_message(call: Call) -> Fields:
    """The message in an attachment; a new one where the client says Create."""
    opened, request = call.get(AttachmentObject, wrong=NULL_OBJECT), call.request
    code_page, mode = checked_code_page(request["CodePageId"]), request["OpenModeFlags"]
    store, mailbox, attachment = call.store, opened.logon.mailbox, opened.attachment
    if attachment.embedded is not None:
        content = attachment.embedded.clone()
    elif attachment.embedded_bag is not None:
        content = contents.load(store, attachment.embedded_bag)
    elif mode == CREATE:
        content = Content()
        messages.initialize(mailbox, content, call.session.code_page, call.session.locale)
        attachment.properties.put(0x37050003, 5)
    else:
        raise RopError(NOT_FOUND)
    message = MessageObject(
        opened.logon, content, holder=opened, code_page=code_page, writable=opened.writable and mode != READ_ONLY
    )
    call.open(message)
    return {"MessageId": unpack(0), **header(call, message)}


HANDLERS = (
    (grammar.OPEN_MESSAGE, open_message),
    (grammar.CREATE_MESSAGE, create_message),
    (grammar.SAVE_CHANGES_MESSAGE, save_changes_message),
    (grammar.REMOVE_ALL_RECIPIENTS, remove_all_recipients),
    (grammar.MODIFY_RECIPIENTS, modify_recipients),
    (grammar.READ_RECIPIENTS, read_recipients),
    (grammar.RELOAD_CACHED_INFORMATION, reload_cached_information),
    (grammar.SET_MESSAGE_STATUS, set_message_status),
    (grammar.GET_MESSAGE_STATUS, get_message_status),
    (grammar.SET_READ_FLAGS, set_read_flags),
    (grammar.SET_MESSAGE_READ_FLAG, set_message_read_flag),
    (grammar.OPEN_ATTACHMENT, open_attachment),
    (grammar.CREATE_ATTACHMENT, create_attachment),
    (grammar.DELETE_ATTACHMENT, delete_attachment),
    (grammar.SAVE_CHANGES_ATTACHMENT, save_changes_attachment),
    (grammar.OPEN_EMBEDDED_MESSAGE, open_embedded_message),
    (grammar.GET_ATTACHMENT_TABLE, get_attachment_table),
    (grammar.GET_VALID_ATTACHMENTS, get_valid_attachments),
)
