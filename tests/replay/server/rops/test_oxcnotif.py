"""Notifications: who is told what, and when NotificationWait ends."""

from __future__ import annotations

import threading
from typing import Any

from replay.server import RunningServer
from tests.conftest import LONG, until
from tests.replay.server.client import Client

CREATED, DELETED, MODIFIED, MOVED, COPIED, NEW_MAIL = 0x4, 0x8, 0x10, 0x20, 0x40, 0x2
MESSAGE, COUNTS, UNREAD = 0x8000, 0x3000, 0x2000
TABLE, SEARCH = 0x100, 0x4000
CHANGED, ROW_ADDED, ROW_DELETED, ROW_MODIFIED = 1, 3, 4, 5
SUBJECT, MID, NO_NOTIFICATIONS = 0x0037001F, 0x674A0014, 0x10


def register(client: Client, thing: int, types: int = 0x7E, **where: Any) -> int:
    scope = where or {"WantWholeStore": True}
    return int(client.call("RopRegisterNotification", thing, NotificationTypes=types, **scope)["Handle"])


def poll(client: Client, handle: int) -> list[Any]:
    """What is pending, fetched with a ROP that does nothing."""
    client.call("RopGetStoreState", handle)
    return client.told()


def test_events_of_the_whole_store(client: Client, logon: Any) -> None:
    handle = logon["Handle"]
    subscription = register(client, handle)
    root = client.open_folder(handle, logon["FolderIds"]["IpmSubtree"])
    made = client.create_folder(root, "x")
    (event,) = client.told()
    assert (event["NotificationFlags"], event["FolderId"]) == (CREATED, made["FolderId"])
    assert event["ParentFolderId"] == logon["FolderIds"]["IpmSubtree"]
    folder = client.open_folder(handle, made["FolderId"])
    message = client.create_message(folder, made["FolderId"])
    client.set(message, (0x0037001F, "s"))
    identifier = client.save(message)
    event, counts = client.told()
    assert (event["NotificationFlags"], event["MessageId"]) == (CREATED | MESSAGE, identifier)
    assert 0x0037001F in event["Tags"]
    assert (counts["NotificationFlags"], counts["FolderId"]) == (MODIFIED | COUNTS, made["FolderId"])
    assert (counts["TotalMessageCount"], counts["UnreadMessageCount"]) == (1, 0)
    client.set(message, (0x1000001F, "b"))
    client.save(message)
    (event,) = client.told()
    assert event["NotificationFlags"] == MODIFIED | MESSAGE
    assert 0x1000001F in event["Tags"]
    client.call("RopDeleteMessages", folder, WantAsynchronous=False, NotifyNonRead=False, MessageIds=[identifier])
    event, counts = client.told()
    assert event["NotificationFlags"] == DELETED | MESSAGE
    assert (counts["NotificationFlags"], counts["TotalMessageCount"]) == (MODIFIED | COUNTS, 0)
    client.call("RopRelease", subscription)
    client.create_folder(root, "y")
    assert client.told() == []


def test_moves_and_copies(client: Client, logon: Any, inbox: int) -> None:
    handle, ids = logon["Handle"], logon["FolderIds"]
    identifier = client.save(client.create_message(handle, ids["Inbox"]))
    register(client, handle, MOVED | COPIED)
    target = client.open_folder(handle, ids["DeletedItems"])
    for copy in (True, False):
        client.call(
            "RopMoveCopyMessages", inbox, target, MessageIds=[identifier], WantAsynchronous=False, WantCopy=copy
        )
    copied, moved = client.told()
    assert (copied["NotificationFlags"], moved["NotificationFlags"]) == (COPIED | MESSAGE, MOVED | MESSAGE)
    for event in (copied, moved):
        assert event["FolderId"] == ids["DeletedItems"]
        assert (event["OldFolderId"], event["OldMessageId"]) == (ids["Inbox"], identifier)


def test_only_what_was_asked_for(server: RunningServer, client: Client, logon: Any) -> None:
    ids = logon["FolderIds"]
    register(client, logon["Handle"], CREATED, WantWholeStore=False, FolderId=ids["Inbox"], MessageId=(0, 0))
    with Client(server) as other:
        other.connect()
        handle = other.logon()["Handle"]
        other.save(other.create_message(handle, ids["Outbox"]))
        message = other.create_message(handle, ids["Inbox"])
        identifier = other.save(message)
        other.set(message, (0x0037001F, "changed"))
        other.save(message)
    (event,) = poll(client, logon["Handle"])
    assert (event["NotificationFlags"], event["MessageId"]) == (CREATED | MESSAGE, identifier)
    client.call(
        "RopRegisterNotification", logon["Handle"], NotificationTypes=4, WantWholeStore=False, FolderId=(1, 4711),
        MessageId=(0, 0), expect=0x8004010F,
    )  # fmt: skip


def test_new_mail(client: Client, logon: Any) -> None:
    register(client, logon["Handle"], NEW_MAIL)
    message = client.create_message(logon["Handle"], logon["FolderIds"]["Outbox"])
    row = {
        "RecipientFlags": 0x21B, "EmailAddress": "alice@example.test", "DisplayName": "a", "RecipientColumnCount": 0,
        "RecipientProperties": {"Flag": 0, "ValueArray": []},
    }  # fmt: skip
    rows = [{"RowId": 0, "RecipientType": 1, "RecipientRow": row}]
    client.call("RopModifyRecipients", message, RecipientColumns=[], RecipientRows=rows)
    client.call("RopSubmitMessage", message, SubmitFlags=0)
    (event,) = poll(client, logon["Handle"])
    assert event["NotificationFlags"] == NEW_MAIL | MESSAGE
    assert event["MessageClass"] == "IPM.Note"
    assert event["FolderId"] == logon["FolderIds"]["Inbox"]


def test_notification_wait(server: RunningServer, client: Client, logon: Any) -> None:
    register(client, logon["Handle"])
    answers: list[int] = []

    def wait() -> None:
        with Client(server) as waiting:
            waiting.cookies = dict(client.cookies)
            answers.append(waiting.request("NotificationWait", Flags=0)["EventPending"])

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: any(one.waiting for one in server.server.contexts.values()))
    with Client(server) as other:
        other.connect()
        other.save(other.create_message(other.logon()["Handle"], logon["FolderIds"]["Inbox"]))
    thread.join(LONG)
    assert answers == [1]
    assert [one["NotificationFlags"] for one in poll(client, logon["Handle"])] == [CREATED | MESSAGE, MODIFIED | COUNTS]


def test_notification_wait_without_events(client: Client, logon: Any) -> None:
    client.server.server.wait = 0.2
    assert client.request("NotificationWait", Flags=0)["EventPending"] == 0


def test_more_than_fits(server: RunningServer, client: Client, logon: Any) -> None:
    register(client, logon["Handle"], CREATED)
    with Client(server) as other:
        other.connect()
        handle = other.logon()["Handle"]
        for _ in range(30):
            other.save(other.create_message(handle, logon["FolderIds"]["Inbox"]))
    request = client.request_bytes("RopGetStoreState", InputHandleIndex=0)
    got: list[int] = []
    for _ in range(30):
        ((data, _),) = client.execute(request, [logon["Handle"]], max_out=1000)
        names = [one["Name"] for one in client.responses(data)]
        got.append(len(client.told()))
        if names == ["RopGetStoreState"]:
            break
        assert names == ["RopGetStoreState", "RopPending"]
    assert sum(got) == 30
    assert len(got) > 2


def test_numbers_are_told_once_for_many_messages(server: RunningServer, client: Client, logon: Any) -> None:
    inbox = logon["FolderIds"]["Inbox"]
    register(client, logon["Handle"], MODIFIED, WantWholeStore=False, FolderId=inbox, MessageId=(0, 0))
    with Client(server) as other:
        other.connect()
        handle = other.logon()["Handle"]
        ids = [other.save(other.create_message(handle, inbox)) for _ in range(3)]
        folder = other.open_folder(handle, inbox)
        other.call("RopSetReadFlags", folder, WantAsynchronous=False, ReadFlags=4, MessageIds=ids[:2])
    told = poll(client, logon["Handle"])
    read = [MODIFIED | MESSAGE, MODIFIED | UNREAD]
    assert [one["NotificationFlags"] for one in told] == [MODIFIED | COUNTS, *read, MODIFIED | MESSAGE]
    assert (told[0]["TotalMessageCount"], told[0]["UnreadMessageCount"]) == (3, 2)
    assert (told[2]["TotalMessageCount"], told[2]["UnreadMessageCount"]) == (None, 2)


# Tables.


def saved(client: Client, logon: Any, subject: str) -> Any:
    message = client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])
    client.set(message, (SUBJECT, subject))
    identifier = client.save(message)
    client.call("RopRelease", message)
    return identifier


def sorted_table(client: Client, inbox: int, flags: int = 0) -> int:
    table = client.table("RopGetContentsTable", inbox, SUBJECT, MID, flags=flags)
    orders = [{"PropertyTag": SUBJECT, "Order": 0}]
    client.call("RopSortTable", table, SortTableFlags=0, CategoryCount=0, ExpandedCount=0, SortOrders=orders)
    return table


def subjects(told: list[Any]) -> list[tuple[int, str | None]]:
    """(kind, subject) of table notifications."""
    return [
        (one["TableEventType"], one["TableRowData"]["ValueArray"][0] if one["TableRowData"] else None) for one in told
    ]


def test_rows_of_a_table(server: RunningServer, client: Client, logon: Any, inbox: int) -> None:
    ids = {name: saved(client, logon, name) for name in ("b", "d")}
    table = sorted_table(client, inbox)
    with Client(server) as other:
        other.connect()
        theirs = other.logon()
        ids["0"] = saved(other, theirs, "0")
        assert poll(client, logon["Handle"]) == [], "the client has not read the table"
        assert [row[0] for row in client.rows(table)] == ["0", "b", "d"]
        ids["c"] = saved(other, theirs, "c")
        (event,) = poll(client, logon["Handle"])
        assert event["Handle"] == table
        assert event["NotificationFlags"] == TABLE | MESSAGE
        assert event["TableEventType"] == ROW_ADDED
        assert event["TableRowFolderID"] == event["InsertAfterTableRowFolderID"] == logon["FolderIds"]["Inbox"]
        assert (event["TableRowMessageID"], event["InsertAfterTableRowID"]) == (ids["c"], ids["b"])
        assert event["TableRowData"]["ValueArray"][0] == "c"

        message = other.open_message(theirs["Handle"], logon["FolderIds"]["Inbox"], ids["d"])["Handle"]
        other.set(message, (SUBJECT, "a"))
        other.save(message)
        (event,) = poll(client, logon["Handle"])
        assert (event["TableEventType"], event["TableRowMessageID"]) == (ROW_MODIFIED, ids["d"])
        assert (event["InsertAfterTableRowID"], event["TableRowData"]["ValueArray"][0]) == (ids["0"], "a")

        folder = other.open_folder(theirs["Handle"], logon["FolderIds"]["Inbox"])
        delete = {"WantAsynchronous": False, "NotifyNonRead": False, "MessageIds": [ids["0"]]}
        other.call("RopDeleteMessages", folder, **delete)
        (event,) = poll(client, logon["Handle"])
        assert (event["TableEventType"], event["TableRowMessageID"]) == (ROW_DELETED, ids["0"])
        assert event["TableRowData"] is None

        ids["1"] = saved(other, theirs, "1")
        (event,) = poll(client, logon["Handle"])
        assert event["InsertAfterTableRowID"] == event["InsertAfterTableRowFolderID"] == (0, 0), "it is the first row"
        assert poll(client, logon["Handle"]) == []


def test_own_changes_are_told_in_the_answer(client: Client, logon: Any, inbox: int) -> None:
    table = sorted_table(client, inbox)
    assert client.rows(table) == []
    saved(client, logon, "mine")
    assert subjects(client.told()) == [(ROW_ADDED, "mine")]


def test_tables_that_tell_nothing(client: Client, logon: Any, inbox: int) -> None:
    quiet = sorted_table(client, inbox, NO_NOTIFICATIONS)
    client.rows(quiet)
    released = sorted_table(client, inbox)
    client.rows(released)
    client.call("RopRelease", released)
    reset = sorted_table(client, inbox)
    client.rows(reset)
    client.call("RopResetTable", reset)
    associated = client.table("RopGetContentsTable", inbox, SUBJECT, flags=2)
    client.rows(associated)
    client.told()
    saved(client, logon, "x")
    assert [one for one in client.told() if one["Handle"] != associated] == []


def test_what_a_restriction_hides_is_not_told(client: Client, logon: Any, inbox: int) -> None:
    table = sorted_table(client, inbox)
    shown = {
        "RestrictType": 4, "RelOp": 4, "PropertyTag": SUBJECT,
        "TaggedValue": {"PropertyTag": SUBJECT, "PropertyValue": "shown"},
    }  # fmt: skip
    client.call("RopRestrict", table, RestrictFlags=0, RestrictionData=shown)
    client.rows(table)
    hidden = saved(client, logon, "hidden")
    assert client.told() == []
    saved(client, logon, "shown")
    assert subjects(client.told()) == [(ROW_ADDED, "shown")]
    message = client.open_message(logon["Handle"], logon["FolderIds"]["Inbox"], hidden)["Handle"]
    client.set(message, (SUBJECT, "shown"))
    client.save(message)
    assert subjects(client.told()) == [(ROW_ADDED, "shown")]


def test_much_news_is_one_change_of_the_table(server: RunningServer, client: Client, logon: Any, inbox: int) -> None:
    table = sorted_table(client, inbox)
    client.rows(table)
    with Client(server) as other:
        other.connect()
        theirs = other.logon()
        for number in range(30):
            saved(other, theirs, str(number))
        assert subjects(poll(client, logon["Handle"])) == [(CHANGED, None)]
        saved(other, theirs, "last")
        assert subjects(poll(client, logon["Handle"])) == [(ROW_ADDED, "last")]


def test_a_long_table_only_says_that_it_changed(client: Client, logon: Any, inbox: int, monkeypatch: Any) -> None:
    monkeypatch.setattr("replay.server.tablewatch.LONG", 2)
    for name in "abc":
        saved(client, logon, name)
    table = sorted_table(client, inbox)
    client.rows(table)
    for _ in range(2):
        saved(client, logon, "x")
        assert subjects(client.told()) == [(CHANGED, None)]
        saved(client, logon, "y")
        assert client.told() == [], "told once, until the table is read again"
        client.rows(table)


def test_rows_of_a_hierarchy_table(client: Client, logon: Any) -> None:
    root = client.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])
    table = client.table("RopGetHierarchyTable", root, 0x3001001F, 0x36020003)
    client.rows(table)
    made = client.create_folder(root, "Alpha")
    (event,) = client.told()
    assert (event["NotificationFlags"], event["TableEventType"]) == (TABLE, ROW_ADDED)
    assert event["TableRowFolderID"] == made["FolderId"]
    assert event["TableRowData"]["ValueArray"] == ["Alpha", 0]
    client.save(client.create_message(logon["Handle"], made["FolderId"]))
    (event,) = client.told()
    assert (event["TableEventType"], event["TableRowData"]["ValueArray"]) == (ROW_MODIFIED, ["Alpha", 1])
    client.call("RopDeleteFolder", root, DeleteFolderFlags=5, FolderId=made["FolderId"])
    (event,) = client.told()
    assert (event["TableEventType"], event["TableRowFolderID"]) == (ROW_DELETED, made["FolderId"])


def test_a_table_ends_a_notification_wait(server: RunningServer, client: Client, logon: Any, inbox: int) -> None:
    client.rows(sorted_table(client, inbox))
    with Client(server) as other:
        other.connect()
        saved(other, other.logon(), "news")
    assert client.request("NotificationWait", Flags=0)["EventPending"] == 1
    assert subjects(poll(client, logon["Handle"])) == [(ROW_ADDED, "news")]
    assert client.request("NotificationWait", Flags=0)["EventPending"] == 0


def test_columns_that_come_after_the_table_was_read(client: Client, logon: Any, inbox: int) -> None:
    saved(client, logon, "before")
    table = client.call("RopGetContentsTable", inbox, TableFlags=0)["Handle"]
    client.call("RopQueryPosition", table)
    client.call("RopSetColumns", table, SetColumnsFlags=0, PropertyTags=[SUBJECT])
    delete = {"WantAsynchronous": False, "NotifyNonRead": False}
    rows = client.table("RopGetContentsTable", inbox, MID, flags=NO_NOTIFICATIONS)
    client.call("RopDeleteMessages", inbox, MessageIds=[row[0] for row in client.rows(rows)], **delete)
    assert subjects(client.told()) == [(CHANGED, None)]
    client.rows(table)
    saved(client, logon, "after")
    assert subjects(client.told()) == [(ROW_ADDED, "after")]
