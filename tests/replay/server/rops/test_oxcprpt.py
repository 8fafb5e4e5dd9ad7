"""Properties: reading, writing, copying, names; what is too large for an answer."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.replay.server.client import Client, Error

NOT_FOUND, NOT_SUPPORTED, NO_MEMORY, INVALID = 0x8004010F, 0x80040102, 0x8007000E, 0x80070057
NULL_DESTINATION, COMPUTED, ACCESS_DENIED = 0x503, 0x8004011A, 0x80070005
ERRORS_RETURNED = 0x00040380
PS_MAPI = uuid.UUID("00020328-0000-0000-c000-000000000046")


@pytest.fixture(name="message")
def message_fixture(client: Client, logon: Any) -> int:
    return client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])


def test_problems(client: Client, message: int) -> None:
    answer = client.set(
        message, (0x66000003, 1), (0x0E080003, 5), (0x674A0014, (1, 5)), (0x6601000A, 7), (0x6602001F, "fine")
    )
    assert [(one["Index"], one["PropertyTag"], one["ErrorCode"]) for one in answer["PropertyProblems"]] == [
        (1, 0x0E080003, COMPUTED), (2, 0x674A0014, COMPUTED), (3, 0x6601000A, INVALID),
    ]  # fmt: skip
    assert client.get(message, 0x66000003, 0x6602001F, 0x6601000A) == [1, "fine", Error(NOT_FOUND)]
    answer = client.call("RopDeleteProperties", message, PropertyTags=[0x66000003, 0x0FFE0003, 0x66990003])
    assert [(one["Index"], one["ErrorCode"]) for one in answer["PropertyProblems"]] == [(1, ACCESS_DENIED)]
    assert client.get(message, 0x66000003) == [Error(NOT_FOUND)]
    answer = client.call(
        "RopSetPropertiesNoReplicate", message, PropertyValues=[{"PropertyTag": 0x66000003, "PropertyValue": 2}]
    )
    assert not answer["PropertyProblems"]
    client.call("RopDeletePropertiesNoReplicate", message, PropertyTags=[0x66000003])
    assert client.get(message, 0x66000003) == [Error(NOT_FOUND)]


def test_a_value_of_another_type_is_not_found(client: Client, message: int) -> None:
    client.set(message, (0x66000003, 1), (0x6601001F, "x"))
    assert client.get(message, 0x6600001F, 0x66010003, 0x66000014) == [Error(NOT_FOUND), Error(NOT_FOUND), 1]
    client.set(message, (0x6600001F, "now text"))
    assert client.get(message, 0x66000003, 0x6600001F) == [Error(NOT_FOUND), "now text"]


def test_all_and_list(client: Client, message: int) -> None:
    client.set(message, (0x66000003, 1), (0x6601001F, "ü"), (0x66020102, b"b"))
    tags = client.call("RopGetPropertiesList", message)["PropertyTags"]
    assert tags == sorted(tags)
    assert {0x66000003, 0x6601001F, 0x66020102, 0x001A001F, 0x0FFE0003} <= set(tags)
    everything = client.call("RopGetPropertiesAll", message, PropertySizeLimit=0, WantUnicode=True)["PropertyValues"]
    values = {one["PropertyTag"]: one["PropertyValue"] for one in everything}
    assert set(values) == set(tags)
    assert (values[0x66000003], values[0x6601001F], values[0x66020102]) == (1, "ü", b"b")
    narrow = client.call("RopGetPropertiesAll", message, PropertySizeLimit=0, WantUnicode=False)["PropertyValues"]
    values = {one["PropertyTag"]: one["PropertyValue"] for one in narrow}
    assert values[0x6601001E] == "ü"
    assert 0x6601001F not in values


def test_what_is_too_large_is_an_error(client: Client, message: int) -> None:
    client.write_stream(message, 0x10130102, bytes(100_000))
    client.set(message, (0x66000102, bytes(12_000)), (0x66010102, bytes(12_000)), (0x6602001F, "small"))
    found = client.get(message, 0x10130102, 0x6602001F, 0x66000102)
    assert found == [Error(NO_MEMORY), "small", bytes(12_000)]
    everything = client.call("RopGetPropertiesAll", message, PropertySizeLimit=0, WantUnicode=True)["PropertyValues"]
    values = {one["PropertyTag"]: one["PropertyValue"] for one in everything}
    assert values[0x1013000A] == NO_MEMORY
    assert values[0x66000102] == bytes(12_000)
    client.set(message, (0x66030102, bytes(12_000)))
    found = client.get(message, 0x66000102, 0x66010102, 0x66030102, 0x6602001F)
    assert found == [Error(NO_MEMORY)] * 3 + ["small"]


def test_names(client: Client, logon: Any, message: int) -> None:
    one, two = uuid.uuid4(), uuid.uuid4()
    names = [
        {"Kind": 0, "GUID": one, "LID": 0x8501}, {"Kind": 1, "GUID": one, "Name": "Keywords"},
        {"Kind": 0, "GUID": two, "LID": 0x8501}, {"Kind": 0, "GUID": PS_MAPI, "LID": 0x0037},
    ]  # fmt: skip

    def ids(flags: int, wanted: list[Any], code: int = 0) -> list[int]:
        return list(client.call(
            "RopGetPropertyIdsFromNames", message, Flags=flags, PropertyNames=wanted, expect=code
        )["PropertyIds"])  # fmt: skip

    assert ids(0, names, ERRORS_RETURNED) == [0, 0, 0, 0x37]
    made = ids(2, names)
    assert len(set(made)) == 4
    assert all(number >= 0x8000 for number in made[:3])
    assert ids(0, names) == made
    assert ids(0, [{"Kind": 1, "GUID": one, "Name": "KEYWORDS"}]) == [made[1]]
    assert ids(2, []) == []
    found = client.call("RopGetPropertyIdsFromNames", logon["Handle"], Flags=0, PropertyNames=[])["PropertyIds"]
    assert found == sorted(made[:3])
    told = client.call("RopGetNamesFromPropertyIds", message, PropertyIds=[*made, 0xFFFE])["PropertyNames"]
    assert [(name["Kind"], name["LID"], name["Name"]) for name in told] == [
        (0, 0x8501, None), (1, None, "Keywords"), (0, 0x8501, None), (0, 0x37, None), (0xFF, None, None),
    ]  # fmt: skip
    assert [name["GUID"] for name in told[:4]] == [one, one, two, PS_MAPI]

    def query(thing: int, flags: int = 0, guid: uuid.UUID | None = None) -> list[int]:
        return list(client.call(
            "RopQueryNamedProperties", thing, QueryFlags=flags, HasGuid=guid is not None, PropertyGuid=guid
        )["PropertyIds"])  # fmt: skip

    assert query(logon["Handle"]) == sorted(made[:3])
    assert query(logon["Handle"], 1) == sorted((made[0], made[2]))
    assert query(logon["Handle"], 2) == [made[1]]
    assert query(logon["Handle"], 0, two) == [made[2]]
    assert query(message) == []
    client.set(message, (made[1] << 16 | 0x101F, ["a"]))
    assert query(message) == [made[1]]


def test_copy_to(client: Client, logon: Any, message: int) -> None:
    client.set(message, (0x0037001F, "subject"), (0x1000001F, "body"), (0x66000003, 1))
    row = {
        "RecipientFlags": 0x218, "EmailAddress": "a@b", "DisplayName": "a", "RecipientColumnCount": 0,
        "RecipientProperties": {"Flag": 0, "ValueArray": []},
    }  # fmt: skip
    rows = [{"RowId": 4, "RecipientType": 1, "RecipientRow": row}]
    client.call("RopModifyRecipients", message, RecipientColumns=[], RecipientRows=rows)
    attachment = client.call("RopCreateAttachment", message)["Handle"]
    client.write_stream(attachment, 0x37010102, bytes(20_000))
    client.call("RopSaveChangesAttachment", attachment, SaveFlags=0)
    client.save(message)
    inbox = logon["FolderIds"]["Inbox"]

    def copy(target: int, sub_objects: bool = True, excluded: Any = (), flags: int = 0, expect: int = 0) -> Any:
        return client.call(
            "RopCopyTo", message, target, WantAsynchronous=False, WantSubObjects=sub_objects, CopyFlags=flags,
            ExcludedTags=excluded, expect=expect,
        )  # fmt: skip

    target = client.create_message(logon["Handle"], inbox)
    client.set(target, (0x1000001F, "stays"))
    copy(target, flags=2)
    assert client.get(target, 0x0037001F, 0x1000001F, 0x66000003) == ["subject", "stays", 1]
    identifier = client.save(target)
    opened = client.open_message(logon["Handle"], inbox, identifier)
    assert opened["RecipientCount"] == 1
    found = client.call("RopOpenAttachment", opened["Handle"], OpenAttachmentFlags=0, AttachmentID=0)["Handle"]
    assert client.read_stream(found, 0x37010102) == bytes(20_000)
    bare = client.create_message(logon["Handle"], inbox)
    copy(bare, sub_objects=False, excluded=[0x1000001F])
    assert client.get(bare, 0x0037001F, 0x1000001F) == ["subject", Error(NOT_FOUND)]
    assert client.call("RopReloadCachedInformation", bare)["RecipientCount"] == 0
    copy(bare, excluded=[0x0E12000D])
    assert client.call("RopReloadCachedInformation", bare)["RecipientCount"] == 0
    assert client.call("RopGetValidAttachments", bare)["AttachmentIdArray"] == [0]
    copy(bare, flags=8, expect=INVALID)
    copy(found, expect=NOT_SUPPORTED)
    assert copy(4711, expect=NULL_DESTINATION)["DestHandleIndex"] == 1


def test_copy_properties(client: Client, logon: Any, message: int) -> None:
    client.set(message, (0x0037001F, "subject"), (0x66000003, 1))
    target = client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])
    answer = client.call(
        "RopCopyProperties", message, target, WantAsynchronous=False, CopyFlags=1,
        PropertyTags=[0x0037001F, 0x66010003, 0x674A0014],
    )  # fmt: skip
    assert [(one["Index"], one["ErrorCode"]) for one in answer["PropertyProblems"]] == [
        (1, NOT_FOUND), (2, ACCESS_DENIED),
    ]  # fmt: skip
    assert client.get(target, 0x0037001F, 0x66000003) == ["subject", Error(NOT_FOUND)]
    assert client.get(message, 0x0037001F, 0x66000003) == [Error(NOT_FOUND), 1]


def test_copy_folders_and_cycles(client: Client, logon: Any) -> None:
    root = client.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])
    source, target = client.create_folder(root, "source"), client.create_folder(root, "target")
    below = client.create_folder(source["Handle"], "below")
    client.set(source["Handle"], (0x66000003, 5))
    client.save(client.create_message(source["Handle"], source["FolderId"]))

    def copy(one: int, two: int, flags: int = 0, expect: int = 0) -> None:
        client.call(
            "RopCopyTo", one, two, WantAsynchronous=False, WantSubObjects=True, CopyFlags=flags, ExcludedTags=[],
            expect=expect,
        )  # fmt: skip

    copy(source["Handle"], target["Handle"])
    assert client.get(target["Handle"], 0x66000003, 0x3001001F, 0x36020003, 0x360A000B) == [5, "target", 1, True]
    copy(source["Handle"], below["Handle"], expect=0x8004060B)
    copy(source["Handle"], target["Handle"], flags=1, expect=NOT_SUPPORTED)
    message = client.create_message(source["Handle"], source["FolderId"])
    holder = client.call("RopCreateAttachment", message)["Handle"]
    inner = client.call("RopOpenEmbeddedMessage", holder, CodePageId=0x0FFF, OpenModeFlags=2)["Handle"]
    copy(message, inner, expect=0x504)


def test_subjects(client: Client, logon: Any, message: int) -> None:
    tags = 0x0037001F, 0x003D001F, 0x0E1D001F
    for subject, prefix, normal in (
        ("RE: x", "RE: ", "x"),
        ("Note: x", "", "Note: x"),
        ("a:b", "a:", "b"),
        ("", "", ""),
    ):
        client.set(message, (0x0037001F, subject))
        assert client.get(message, *tags) == [subject, prefix, normal]
    client.set(message, (0x003D001F, "AW: "), (0x0E1D001F, "normal"))
    client.call("RopDeleteProperties", message, PropertyTags=[0x0037001F])
    assert client.get(message, *tags) == ["AW: normal", "AW: ", "normal"]
    client.set(message, (0x0037001F, "RE: other"))
    assert client.get(message, *tags) == ["RE: other", "RE: ", "other"]


def test_every_property_without_naming_its_type(client: Client, logon: Any, inbox: int) -> None:
    """Also those whose value the grammar knows a structure of: ids, keys, entry ids, flags."""
    message = client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])
    client.save(message)
    attachment = client.call("RopCreateAttachment", message)["Handle"]
    for thing in (logon["Handle"], inbox, message, attachment):
        tags = client.call("RopGetPropertiesList", thing)["PropertyTags"]
        assert len(tags) > 5
        for tag in tags:
            (typed,), (untyped,) = client.get(thing, tag), client.get(thing, tag & ~0xFFFF)
            assert isinstance(typed, Error) == isinstance(untyped, Error), hex(tag)
