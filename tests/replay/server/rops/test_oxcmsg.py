"""Messages: writing them, and reading every byte back in another session."""

from __future__ import annotations

import os
import uuid
from typing import Any

from dissector.grammar.base import Param, build
from dissector.grammar.entryids import EntryId
from dissector.grammar.reading import parse
from dissector.grammar.rows import ModifyRecipientRow
from dissector.model.ids import ObjectId
from replay.server import RunningServer
from tests.replay.server.client import Client, Error

NOT_FOUND, NOT_SUPPORTED, NULL_OBJECT, ERROR = 0x8004010F, 0x80040102, 0x4B9, 0x80004005
OBJECT_MODIFIED, OBJECT_DELETED = 0x80040109, 0x8004010A

PROPERTIES: list[tuple[int, Any]] = [
    (0x66000002, -5), (0x66010003, -123456), (0x66020004, 1.5), (0x66030005, -2.25), (0x66040006, 12345678901),
    (0x66050007, 36526.5), (0x6607000B, True), (0x66080014, -(2**62)), (0x6609001F, "Grüße \u4f60\U0001f600"),
    (0x660A0040, 132000000000000000), (0x660B0048, uuid.UUID(int=0x1234567890ABCDEF)), (0x660C0102, bytes(range(256))),
    (0x66101002, [1, -2]), (0x66111003, [1, -2, 3]), (0x66121004, [0.5]), (0x66131005, [0.25, -1.0]),
    (0x66141006, [7]), (0x66151007, [1.0]), (0x66161014, [2**40, -1]), (0x6617101F, ["a", "", "ü"]),
    (0x66181040, [1, 2]), (0x66191048, [uuid.UUID(int=5)]), (0x661A1102, [b"", b"x", bytes(300)]),
    (0x0037001F, "FW: The subject"), (0x10130102, os.urandom(20_000)), (0x1000001F, "a body\r\n" * 2000),
]  # fmt: skip


def recipient(number: int, kind: int, columns: list[int], values: list[Any], **fields: Any) -> dict[str, Any]:
    row = {
        "RecipientFlags": 0x0203 | 0x8 | 0x10 | 0x40, "EmailAddress": f"r{number}@example.test",
        "DisplayName": f"Rëcipient {number}", "RecipientColumnCount": len(columns),
        "RecipientProperties": {"Flag": 0, "ValueArray": values}, **fields,
    }  # fmt: skip
    return {"RowId": number, "RecipientType": kind, "RecipientRow": row}


COLUMNS = [0x0FFE0003, 0x39FE001F, 0x5FFF0003]


def test_everything_comes_back_in_another_session(server: RunningServer, client: Client, place: Any) -> None:
    made = client.create_message(place["Handle"], place["FolderId"])
    client.set(made, *PROPERTIES[:-2])
    for tag, value in PROPERTIES[-2:]:
        if tag & 0xFFFF == 0x1F:
            client.write_stream(made, tag, value.encode("utf-16-le"))
        else:
            client.set(made, (tag, value))
    rows = [recipient(number, 1 + number % 3, COLUMNS, [6, f"s{number}@x.test", number]) for number in range(5)]
    client.call("RopModifyRecipients", made, RecipientColumns=COLUMNS, RecipientRows=rows)
    data = os.urandom(70_000)
    attachment = client.call("RopCreateAttachment", made)
    client.set(attachment["Handle"], (0x37050003, 1), (0x3707001F, "file.bin"), (0x370E001F, "application/x"))
    client.write_stream(attachment["Handle"], 0x37010102, data)
    client.call("RopSaveChangesAttachment", attachment["Handle"], SaveFlags=0)
    holder = client.call("RopCreateAttachment", made)
    client.set(holder["Handle"], (0x37050003, 5))
    inner = client.call("RopOpenEmbeddedMessage", holder["Handle"], CodePageId=0x0FFF, OpenModeFlags=2)["Handle"]
    client.set(inner, (0x0037001F, "embedded"), (0x1000001F, "inner body"))
    client.call("RopModifyRecipients", inner, RecipientColumns=[], RecipientRows=[recipient(7, 1, [], [])])
    deep = client.call("RopCreateAttachment", inner)
    client.set(deep["Handle"], (0x37010102, b"deep data"), (0x3704001F, "DEEP.TXT"))
    client.call("RopSaveChangesAttachment", deep["Handle"], SaveFlags=0)
    client.call("RopSaveChangesMessage", inner, SaveFlags=0)
    client.call("RopSaveChangesAttachment", holder["Handle"], SaveFlags=0)
    identifier = client.save(made)

    with Client(server) as other:
        other.connect()
        handle = other.logon()["Handle"]
        opened = other.open_message(handle, place["FolderId"], identifier, mode=0)
        assert opened["SubjectPrefix"]["String"] == "FW: "
        assert opened["NormalizedSubject"]["String"] == "The subject"
        message = opened["Handle"]
        small = [(tag, value) for tag, value in PROPERTIES if tag not in (0x10130102, 0x1000001F)]
        assert other.get(message, *(tag for tag, _ in small)) == [value for _, value in small]
        assert other.read_stream(message, 0x10130102) == dict(PROPERTIES)[0x10130102]
        assert other.read_stream(message, 0x1000001F).decode("utf-16-le") == dict(PROPERTIES)[0x1000001F]
        assert opened["RecipientCount"] == 5
        assert opened["RecipientColumns"] == COLUMNS
        assert [row["RecipientRow"] for row in opened["RecipientRows"]] == read_back(rows)
        assert [row["RecipientType"] for row in opened["RecipientRows"]] == [row["RecipientType"] for row in rows]
        table = other.table("RopGetAttachmentTable", message, 0x0E210003, 0x3707001F, 0x37050003)
        assert other.rows(table) == [[0, "file.bin", 1], [1, Error(NOT_FOUND), 5]]
        assert other.call("RopGetValidAttachments", message)["AttachmentIdArray"] == [0, 1]
        file = other.call("RopOpenAttachment", message, OpenAttachmentFlags=0, AttachmentID=0)["Handle"]
        assert other.read_stream(file, 0x37010102) == data
        assert other.get(file, 0x370E001F, 0x0FFE0003) == ["application/x", 7]
        box = other.call("RopOpenAttachment", message, OpenAttachmentFlags=0, AttachmentID=1)["Handle"]
        embedded = other.call("RopOpenEmbeddedMessage", box, CodePageId=0x0FFF, OpenModeFlags=0)
        assert embedded["NormalizedSubject"]["String"] == "embedded"
        assert embedded["RecipientCount"] == 1
        assert other.get(embedded["Handle"], 0x1000001F) == ["inner body"]
        deepest = other.call("RopOpenAttachment", embedded["Handle"], OpenAttachmentFlags=0, AttachmentID=0)["Handle"]
        assert other.get(deepest, 0x37010102, 0x3704001F) == [b"deep data", "DEEP.TXT"]
        other.call("RopOpenAttachment", message, OpenAttachmentFlags=0, AttachmentID=2, expect=NOT_FOUND)
        other.call("RopOpenEmbeddedMessage", file, CodePageId=0x0FFF, OpenModeFlags=0, expect=NOT_FOUND)


def read_back(rows: list[Any]) -> list[Any]:
    """The rows as the grammar gives them when it reads them."""
    layout = ModifyRecipientRow(Param("columns"))
    built = [build(layout, row, columns=COLUMNS) for row in rows]
    return [parse(layout, data, columns=COLUMNS)[0]["RecipientRow"] for data in built]


def test_a_new_message_has_its_defaults(client: Client, logon: Any, place: Any) -> None:
    made = client.create_message(place["Handle"], place["FolderId"])
    assert client.get(made, 0x00170003, 0x001A001F, 0x00360003, 0x0E070003, 0x0E04001F, 0x0E1B000B) == [
        1, "IPM.Note", 0, 9, "", False,
    ]  # fmt: skip
    assert client.get(made, 0x674A0014, 0x0FFF0102) == [Error(NOT_FOUND)] * 2
    table = client.table("RopGetContentsTable", place["Handle"], 0x674A0014)
    assert client.rows(table) == []
    identifier = client.save(made)
    assert client.rows(table) == [[identifier]]
    assert client.rows(table) == []
    assert client.get(made, 0x674A0014, 0x67480014) == [identifier, place["FolderId"]]
    assert client.get(made, 0x0E070003)[0] & 0x409 == 0x409


def test_changes_are_invisible_until_saved(server: RunningServer, client: Client, place: Any) -> None:
    made = client.create_message(place["Handle"], place["FolderId"])
    client.set(made, (0x0037001F, "first"))
    identifier = client.save(made)
    client.set(made, (0x0037001F, "second"))
    assert client.get(made, 0x0037001F) == ["second"]
    again = client.open_message(place["Handle"], place["FolderId"], identifier)["Handle"]
    assert client.get(again, 0x0037001F) == ["first"]
    before = client.get(again, 0x67A40014, 0x65E20102, 0x65E30102)
    client.save(made)
    assert client.get(again, 0x0037001F) == ["first"]
    after = client.get(
        client.open_message(place["Handle"], place["FolderId"], identifier)["Handle"],
        0x67A40014,
        0x65E20102,
        0x65E30102,
    )
    assert all(one != other for one, other in zip(before, after, strict=True))


def test_a_save_over_somebody_elses(client: Client, place: Any) -> None:
    made = client.create_message(place["Handle"], place["FolderId"])
    client.set(made, (0x0037001F, "zero"), (0x1000001F, "body"))
    identifier = client.save(made)
    one, two = (client.open_message(place["Handle"], place["FolderId"], identifier)["Handle"] for _ in range(2))
    client.set(one, (0x0037001F, "one"), (0x66000003, 1))
    client.save(one)
    client.set(two, (0x0037001F, "two"))
    client.save(two, expect=OBJECT_MODIFIED)
    client.save(two, flags=4 | 2)
    found = client.open_message(place["Handle"], place["FolderId"], identifier)["Handle"]
    assert client.get(found, 0x0037001F, 0x1000001F, 0x66000003) == ["two", "body", 1]
    client.set(found, (0x0037001F, "three"))
    client.call(
        "RopHardDeleteMessages", place["Handle"], WantAsynchronous=False, NotifyNonRead=False, MessageIds=[identifier]
    )
    client.save(found, expect=OBJECT_DELETED)


def test_read_only_messages(client: Client, place: Any) -> None:
    made = client.create_message(place["Handle"], place["FolderId"])
    identifier = client.save(made, flags=1)
    client.set(made, (0x0037001F, "x"), expect=0x80070005)
    client.save(made, expect=ERROR)
    opened = client.open_message(place["Handle"], place["FolderId"], identifier, mode=0)["Handle"]
    client.call("RopCreateAttachment", opened, expect=0x80070005)
    client.save(opened, expect=ERROR)
    client.call("RopOpenStream", opened, PropertyTag=0x1000001F, OpenModeFlags=2, expect=0x80070005)


def test_opening_what_is_not_there(client: Client, logon: Any, place: Any, inbox: int) -> None:
    identifier = client.save(client.create_message(place["Handle"], place["FolderId"]))
    client.open_message(place["Handle"], place["FolderId"], ObjectId(1, 4711), expect=NOT_FOUND)
    client.open_message(place["Handle"], logon["FolderIds"]["Inbox"], identifier, expect=NOT_FOUND)
    client.call(
        "RopOpenMessage", place["Handle"], CodePageId=1, FolderId=place["FolderId"], OpenModeFlags=0,
        MessageId=identifier, expect=0x3EF,
    )  # fmt: skip
    table = client.call("RopGetContentsTable", inbox, TableFlags=0)["Handle"]
    client.open_message(table, place["FolderId"], identifier, expect=NULL_OBJECT)
    client.call("RopCreateAttachment", table, expect=NULL_OBJECT)
    client.call("RopReadRecipients", inbox, RowId=0, expect=NULL_OBJECT)
    client.call(
        "RopCreateMessage", inbox, CodePageId=0x0FFF, FolderId=ObjectId(1, 4711), AssociatedFlag=False, expect=NOT_FOUND
    )


def test_recipients(client: Client, place: Any) -> None:
    made = client.create_message(place["Handle"], place["FolderId"])
    client.call("RopReadRecipients", made, RowId=0, expect=NOT_FOUND)
    rows = [recipient(number, 1, [], []) for number in range(3)]
    client.call("RopModifyRecipients", made, RecipientColumns=[], RecipientRows=rows)
    changed = [
        recipient(1, 2, [0x39FE001F], ["new@x.test"], DisplayName="Changed"),
        {"RowId": 2, "RecipientType": 1, "RecipientRowSize": 0, "RecipientRow": None},
        recipient(9, 3, [0x39FE001F], ["nine@x.test"]),
    ]
    client.call("RopModifyRecipients", made, RecipientColumns=[0x39FE001F], RecipientRows=changed)

    def read(row: int = 0, expect: int = 0) -> Any:
        response = client.call(
            "RopReadRecipients", made, RowId=row, params={"recipient_columns": (0x39FE001F,)}, expect=expect
        )
        return response.get("RecipientRows")

    assert [(one["RowId"], one["RecipientType"], one["RecipientRow"]["DisplayName"]) for one in read()] == [
        (0, 1, "Rëcipient 0"), (1, 2, "Changed"), (9, 3, "Rëcipient 9"),
    ]  # fmt: skip
    assert [one["RowId"] for one in read(1)] == [1, 9]
    assert read(5, expect=NOT_FOUND) is None
    first = read()[0]["RecipientRow"]["RecipientProperties"]
    assert first["Flag"] == 1
    assert first["ValueArray"][0]["PropertyValue"] == NOT_FOUND
    assert client.call("RopReloadCachedInformation", made)["RecipientCount"] == 3
    client.save(made)
    assert client.get(made, 0x0E04001F, 0x0E03001F, 0x0E02001F) == ["Rëcipient 0", "Changed", "Rëcipient 9"]
    client.call("RopRemoveAllRecipients", made, Reserved=0)
    assert client.call("RopReloadCachedInformation", made)["RecipientCount"] == 0
    client.call("RopRemoveAllRecipients", made, Reserved=0)


def test_rows_of_other_address_types(client: Client, place: Any) -> None:
    made = client.create_message(place["Handle"], place["FolderId"])
    given = [
        {"RecipientFlags": 0x0001 | 0x10 | 0x20 | 0x200, "AddressPrefixUsed": 0, "DisplayType": 1,
         "X500DN": "/o=x/cn=y", "DisplayName": "Dïrectory", "TransmittableDisplayName": "other"},
        {"RecipientFlags": 0x8000 | 0x8 | 0x10, "AddressType": "FAXNO", "EmailAddress": "123", "DisplayName": "fäx"},
        {"RecipientFlags": 0x0006 | 0x10 | 0x200, "EntryId": bytes(4) + bytes(range(16)) + b"more",
         "SearchKey": b"key", "DisplayName": "list"},
        {"RecipientFlags": 0x0400 | 0x10 | 0x200, "DisplayName": "name", "SimpleDisplayName": "simple"},
        {"RecipientFlags": 0x1DB, "EmailAddress": "a@b.c", "DisplayName": "a@b.c"},
    ]  # fmt: skip
    rows = [
        {"RowId": number, "RecipientType": 1, "RecipientRow": {
            **row, "RecipientColumnCount": 0, "RecipientProperties": {"Flag": 0, "ValueArray": []}}}
        for number, row in enumerate(given)
    ]  # fmt: skip
    client.call("RopModifyRecipients", made, RecipientColumns=[], RecipientRows=rows)
    identifier = client.save(made)
    opened = client.open_message(place["Handle"], place["FolderId"], identifier)
    assert opened["RecipientColumns"] == []
    for row, wanted in zip(opened["RecipientRows"], given, strict=True):
        found = {name: row["RecipientRow"][name] for name in wanted}
        if "EntryId" in found:
            found["EntryId"] = build(EntryId, found["EntryId"])
        assert found == wanted


def test_many_recipients_come_in_parts(client: Client, place: Any) -> None:
    made = client.create_message(place["Handle"], place["FolderId"])
    for start in range(0, 600, 100):
        rows = [recipient(number, 1, [], [], DisplayName="x" * 100) for number in range(start, start + 100)]
        client.call("RopModifyRecipients", made, RecipientColumns=[], RecipientRows=rows)
    identifier = client.save(made)
    opened = client.open_message(place["Handle"], place["FolderId"], identifier)
    assert opened["RecipientCount"] == 600
    assert 50 < opened["RowCount"] < 256
    found = [0]
    while found[-1] < 599:
        rows = client.call(
            "RopReadRecipients", opened["Handle"], RowId=found[-1] + (len(found) > 1), params={"recipient_columns": ()}
        )["RecipientRows"]
        found += [row["RowId"] for row in rows]
    assert found[1:] == list(range(600))


def test_status(client: Client, place: Any) -> None:
    identifier = client.save(client.create_message(place["Handle"], place["FolderId"]))

    def change(flags: int, mask: int) -> int:
        values = {"MessageStatusFlags": flags, "MessageStatusMask": mask}
        answer = client.call("RopSetMessageStatus", place["Handle"], MessageId=identifier, **values)
        return int(answer["MessageStatusFlags"])

    assert change(0x1000, 0x1000) == 0
    assert change(0x2800, 0x3000) == 0x1000
    assert client.call("RopGetMessageStatus", place["Handle"], MessageId=identifier)["MessageStatusFlags"] == 0x2000
    client.call("RopGetMessageStatus", place["Handle"], MessageId=ObjectId(1, 4711), expect=NOT_FOUND)
    opened = client.open_message(place["Handle"], place["FolderId"], identifier)["Handle"]
    assert client.get(opened, 0x0E170003) == [0x2000]


def test_read_flags(client: Client, place: Any) -> None:
    ids = [client.save(client.create_message(place["Handle"], place["FolderId"])) for _ in range(3)]
    table = client.table("RopGetContentsTable", place["Handle"], 0x674A0014, 0x0E69000B, 0x67A40014)
    before = client.rows(table)
    assert [row[1] for row in before] == [True] * 3

    def mark(flags: int, *which: Any) -> bool:
        return bool(client.call(
            "RopSetReadFlags", place["Handle"], WantAsynchronous=False, ReadFlags=flags, MessageIds=which
        )["PartialCompletion"])  # fmt: skip

    assert not mark(4, ids[0], ids[1])
    assert mark(0, ids[0], ObjectId(1, 4711))
    client.call("RopSeekRow", table, Origin=0, RowCount=0, WantRowMovedCount=False)
    after = client.rows(table)
    assert [row[1] for row in after] == [True, False, True]
    assert [row[2] for row in after] == [row[2] for row in before]
    assert client.get(place["Handle"], 0x36030003) == [1]
    opened = client.open_message(place["Handle"], place["FolderId"], ids[1])["Handle"]
    client.call("RopSetMessageReadFlag", opened, ReadFlags=0x40)
    assert client.get(opened, 0x0E69000B) == [False]
    assert not client.call("RopSetMessageReadFlag", opened, ReadFlags=0)["ReadStatusChanged"]
    assert client.get(opened, 0x0E69000B) == [True]
    client.set(opened, (0x0037001F, "saved after marking"))
    client.save(opened)
    new = client.create_message(place["Handle"], place["FolderId"])
    client.call("RopSetMessageReadFlag", new, ReadFlags=4)
    client.save(new)
    assert client.get(new, 0x0E69000B) == [False]


def test_attachments_change_and_go(client: Client, place: Any) -> None:
    made = client.create_message(place["Handle"], place["FolderId"])
    ids = []
    for number in range(3):
        attachment = client.call("RopCreateAttachment", made)
        client.set(attachment["Handle"], (0x37010102, bytes([number]) * 10_000), (0x3707001F, f"a{number}"))
        client.call("RopSaveChangesAttachment", attachment["Handle"], SaveFlags=0)
        client.call("RopSaveChangesAttachment", attachment["Handle"], SaveFlags=0)
        ids.append(attachment["AttachmentID"])
    unsaved = client.call("RopCreateAttachment", made)
    assert unsaved["AttachmentID"] not in ids
    identifier = client.save(made)
    assert client.get(made, 0x0E1B000B) == [True]
    opened = client.open_message(place["Handle"], place["FolderId"], identifier)["Handle"]
    client.call("RopDeleteAttachment", opened, AttachmentID=ids[0])
    client.call("RopDeleteAttachment", opened, AttachmentID=ids[0], expect=NOT_FOUND)
    one = client.call("RopOpenAttachment", opened, OpenAttachmentFlags=1, AttachmentID=ids[1])["Handle"]
    client.set(one, (0x3707001F, "renamed"))
    client.call("RopSaveChangesAttachment", one, SaveFlags=1)
    client.call("RopSaveChangesAttachment", one, SaveFlags=0, expect=ERROR)
    client.call("RopSaveChangesAttachment", opened, SaveFlags=0, expect=NOT_SUPPORTED)
    again = client.open_message(place["Handle"], place["FolderId"], identifier)["Handle"]
    table = client.table("RopGetAttachmentTable", again, 0x0E210003, 0x3707001F)
    assert client.rows(table) == [[0, "a0"], [1, "a1"], [2, "a2"]]
    client.save(opened)
    again = client.open_message(place["Handle"], place["FolderId"], identifier)["Handle"]
    table = client.table("RopGetAttachmentTable", again, 0x0E210003, 0x3707001F, 0x0E200003)
    rows = client.rows(table)
    assert [row[:2] for row in rows] == [[1, "renamed"], [2, "a2"]]
    assert rows[0][2] > 10_000
    held = client.call("RopOpenAttachment", again, OpenAttachmentFlags=1, AttachmentID=ids[2])["Handle"]
    assert client.read_stream(held, 0x37010102) == bytes([2]) * 10_000
    assert client.server.store.one("SELECT count(*) FROM bags WHERE role = 4")[0] == 2


def test_an_embedded_message_is_changed(client: Client, place: Any) -> None:
    made = client.create_message(place["Handle"], place["FolderId"])
    holder = client.call("RopCreateAttachment", made)
    number = holder["AttachmentID"]
    inner = client.call("RopOpenEmbeddedMessage", holder["Handle"], CodePageId=0x0FFF, OpenModeFlags=2)["Handle"]
    client.set(inner, (0x0037001F, "one"), (0x10130102, bytes(9000)))
    client.call("RopSaveChangesMessage", inner, SaveFlags=2)
    client.call("RopSaveChangesAttachment", holder["Handle"], SaveFlags=2)
    identifier = client.save(made)
    client.set(inner, (0x0037001F, "two"))
    client.save(made)

    def subject() -> str:
        opened = client.open_message(place["Handle"], place["FolderId"], identifier)["Handle"]
        box = client.call("RopOpenAttachment", opened, OpenAttachmentFlags=1, AttachmentID=number)["Handle"]
        found = client.call("RopOpenEmbeddedMessage", box, CodePageId=0x0FFF, OpenModeFlags=0)["Handle"]
        return str(client.get(found, 0x0037001F)[0])

    assert subject() == "one"
    client.call("RopSaveChangesMessage", inner, SaveFlags=2)
    client.save(made)
    assert subject() == "one"
    client.call("RopSaveChangesAttachment", holder["Handle"], SaveFlags=2)
    client.save(made)
    assert subject() == "two"
    assert client.server.store.one("SELECT count(*) FROM bags WHERE role = 5")[0] == 1


def test_text_of_both_widths(server: RunningServer, place: Any, client: Client) -> None:
    """8-bit text is read in the session's code page, or the message's, and comes back in the width asked for."""
    made = client.create_message(place["Handle"], place["FolderId"])
    client.set(made, (0x0037001E, "gr\u00fc\u00df \u20ac"), (0x0C1A001F, "\u4f60\u597d"), (0x6601101E, ["\u00e4", "b"]))
    identifier = client.save(made)
    assert client.get(made, 0x0037001F, 0x0037001E, 0x0C1A001E, 0x6601101F) == ["grüß €", "grüß €", "??", ["ä", "b"]]
    raw = client.call(
        "RopGetPropertiesSpecific", made, PropertySizeLimit=0, WantUnicode=False, PropertyTags=[0x00370000]
    )["RowData"]["ValueArray"][0]
    assert (raw["PropertyType"], raw["PropertyValue"]) == (0x1E, "grüß €")
    with Client(server) as other:
        other.connect(code_page=1251)
        handle = other.logon()["Handle"]
        opened = other.call(
            "RopOpenMessage", handle, CodePageId=1252, FolderId=place["FolderId"], OpenModeFlags=1, MessageId=identifier
        )["Handle"]
        assert other.get(opened, 0x0037001E) == ["grüß €"]
        russian = other.create_message(handle, place["FolderId"])
        value = {"PropertyTag": 0x0037001E, "PropertyValue": b"\xcf\xf0\xe8"}
        other.call("RopSetProperties", russian, PropertyValues=[value])
        assert other.get(russian, 0x0037001F) == ["При"]


def test_named_properties_are_told(client: Client, place: Any) -> None:
    guid = uuid.uuid4()
    names = [{"Kind": 0, "GUID": guid, "LID": 5}, {"Kind": 1, "GUID": guid, "Name": "x-näme"}]
    ids = client.call("RopGetPropertyIdsFromNames", place["Handle"], Flags=2, PropertyNames=names)["PropertyIds"]
    made = client.create_message(place["Handle"], place["FolderId"])
    assert not client.call("RopReloadCachedInformation", made)["HasNamedProperties"]
    client.set(made, (ids[0] << 16 | 3, 5), (ids[1] << 16 | 0x1F, "five"))
    identifier = client.save(made)
    opened = client.open_message(place["Handle"], place["FolderId"], identifier)
    assert opened["HasNamedProperties"]
    assert client.get(opened["Handle"], ids[0] << 16 | 3, ids[1] << 16 | 0x1F) == [5, "five"]
