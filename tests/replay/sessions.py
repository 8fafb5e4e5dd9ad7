"""Captures made on the spot: scripts of a client against the embedded server, recorded as pcapng."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from dissector.model.ids import LongTermId
from dissector.model.pcl import Xid
from dissector.pipeline import dissect
from replay.plan import Planner
from replay.recording import Recorder, head
from replay.report import Report
from replay.runner import Manner, Target, run_steps
from replay.seeds import collect
from replay.server.runner import RunningServer
from replay.transport.auth import Credentials, Method
from replay.transport.mapihttp import Limits
from tests.replay.server import sync
from tests.replay.server.client import Client

USER, PASSWORD = "alice", "secret"
SUBJECT, BODY = 0x0037001F, 0x1000001F
CLIENT = uuid.UUID("c11e2700-0000-4000-8000-00000000cafe")
FAIL_ON_CONFLICT = 0x40


class RecordingClient(Client):
    """A client whose conversation is written down."""

    def __init__(self, server: Any, recorder: Recorder) -> None:
        super().__init__(server)
        self.talk = recorder.conversation(("127.0.0.1", 50000), ("127.0.0.1", 80))

    def post(self, kind: str, body: bytes = b"", headers: Any = None, **options: Any) -> httpx.Response:
        began = time.time()
        response = super().post(kind, body, headers, **options)
        line = f"POST {response.request.url.raw_path.decode()} HTTP/1.1"
        self.talk.client(head(line, response.request.headers.multi_items(), len(body)) + body, began)
        status = f"HTTP/1.1 {response.status_code} OK"
        told = head(status, response.headers.multi_items(), len(response.content))
        self.talk.server(told + response.content, time.time())
        return response


def recorded(path: Path, script: Callable[[Client], Any], server: RunningServer | None = None) -> Any:
    """Run a script against a fresh server (or this one) and write it down. What the script returns."""
    if server is None:
        with RunningServer(USER, PASSWORD) as fresh:
            return recorded(path, script, fresh)
    with Recorder(path) as recorder, RecordingClient(server, recorder) as client:
        client.connect("/o=first organization/cn=alice")
        found = script(client)
        client.disconnect()
        client.talk.close()
    return found


def replayed(
    path: Path,
    server: RunningServer,
    *,
    seed: bool = False,
    choice: Any = None,
    manner: Manner | None = None,
    recorder: Recorder | None = None,
    progress: Callable[[int], None] | None = None,
    url: str = "",
    mailbox: str = "/o=x/cn=alice",
    limits: Limits | None = None,
) -> Report:
    """A capture replayed to a running server."""
    seeds = None
    if seed:
        with dissect(path) as dissection:
            seeds = collect(Planner().steps(dissection.exchanges()))
    credentials = Credentials(server.user, server.password, method=Method.BASIC)
    target = Target(url or server.base_url, credentials, mailbox, limits=limits or Limits())
    with dissect(path) as dissection:
        steps = Planner(choice).steps(dissection.exchanges())
        return run_steps(steps, target, manner, seeds=seeds, recorder=recorder, progress=progress)


def replayed_fresh(path: Path, **options: Any) -> Report:
    """The same to a server that has nothing."""
    with RunningServer(USER, PASSWORD) as server:
        return replayed(path, server, **options)


# What scripts do.


def gid(name: LongTermId | tuple[uuid.UUID, int]) -> Xid:
    return Xid(name[0], name[1].to_bytes(6, "big"))


def own(number: int) -> Xid:
    """A change of the client."""
    return Xid(CLIENT, number.to_bytes(4, "big"))


def import_change(
    client: Client, collector: int, key: Xid, number: int, predecessors: list[Xid], flags: int = 0, **options: Any
) -> Any:
    """RopSynchronizationImportMessageChange."""
    values = [
        {"PropertyTag": tag, "PropertyValue": value}
        for tag, value in (
            (0x65E00102, key), (0x30080040, 134_000_000_000_000_000 + number), (0x65E20102, own(number)),
            (0x65E30102, sorted(predecessors, key=lambda one: one.namespace.bytes_le)),
        )
    ]  # fmt: skip
    return client.call(
        "RopSynchronizationImportMessageChange", collector, ImportFlag=flags, PropertyValues=values, **options
    )


def local_ids(client: Client, logon: int, count: int = 16) -> list[Xid]:
    """Source keys for messages of our own."""
    answer = client.call("RopGetLocalReplicaIds", logon, IdCount=count)
    return [gid((answer["ReplGuid"], answer["GlobalCount"] + number)) for number in range(count)]


def upload(client: Client, collector: int, key: Xid, number: int, subject: str, *more: tuple[int, Any]) -> None:
    """A new message through a collector."""
    message = import_change(client, collector, key, number, [own(number)])["Handle"]
    client.set(message, (SUBJECT, subject), *more)
    client.save(message, flags=0x0A)
    client.call("RopRelease", message)


def start(client: Client) -> tuple[int, int, Any]:
    """Logon handle, Inbox handle, Inbox id."""
    logon = client.logon("/o=first organization/cn=alice")
    inbox = logon["FolderIds"]["Inbox"]
    client.call("RopLongTermIdFromId", logon["Handle"], ObjectId=inbox)
    return logon["Handle"], client.open_folder(logon["Handle"], inbox), inbox


def a_day(client: Client) -> None:
    """A bit of everything that Outlook does."""
    logon, inbox, inbox_id = start(client)
    names = [{"Kind": 1, "GUID": uuid.UUID(int=9), "Name": "colour"}, {"Kind": 0, "GUID": uuid.UUID(int=9), "LID": 7}]
    ids = client.call("RopGetPropertyIdsFromNames", logon, Flags=2, PropertyNames=names)["PropertyIds"]
    folder = client.create_folder(inbox, "projects")
    first = client.create_message(inbox, inbox_id)
    client.set(first, (SUBJECT, "first"), (BODY, "Grüße"), (ids[0] << 16 | 0x1F, "blue"), (ids[1] << 16 | 3, 9))
    client.write_stream(first, 0x10130102, b"<p>Hallo</p>" * 4000)
    file = client.call("RopCreateAttachment", first)["Handle"]
    client.set(file, (0x3707001F, "a.bin"), (0x37050003, 1))
    client.write_stream(file, 0x37010102, bytes(range(256)) * 300)
    client.call("RopSaveChangesAttachment", file, SaveFlags=2)
    client.call("RopRelease", file)
    identifier = client.save(first)
    client.get(first, SUBJECT, ids[0] << 16 | 0x1F)
    client.call("RopRelease", first)
    state = sync.download(client, inbox).state
    collector = client.call("RopSynchronizationOpenCollector", inbox, IsContentsCollector=True)["Handle"]
    sync.upload_state(client, collector, state)
    keys = local_ids(client, logon)
    upload(client, collector, keys[0], 1, "uploaded", (BODY, "one"), (ids[0] << 16 | 0x1F, "red"))
    upload(client, collector, keys[1], 2, "to be deleted")
    deletes = [{"PropertyTag": 0x00001102, "PropertyValue": [keys[1]]}]
    client.call("RopSynchronizationImportDeletes", collector, ImportDeleteFlags=2, PropertyValues=deletes)
    state_handle = client.call("RopSynchronizationGetTransferState", collector)["Handle"]
    sync.get_all(client, state_handle)
    for handle in (state_handle, collector):
        client.call("RopRelease", handle)
    opened = client.open_message(inbox, inbox_id, identifier)["Handle"]
    client.set(opened, (SUBJECT, "first, changed"))
    client.save(opened)
    client.call("RopRelease", opened)
    sync.download(client, inbox, state)
    table = client.table("RopGetContentsTable", inbox, 0x674A0014, SUBJECT, 0x0E070003)
    client.call("RopSortTable", table, SortTableFlags=0, CategoryCount=0, ExpandedCount=0,
                SortOrders=[{"PropertyTag": SUBJECT, "Order": 0}])  # fmt: skip
    client.rows(table)
    client.call("RopMoveCopyMessages", inbox, folder["Handle"], MessageIds=[identifier], WantAsynchronous=False,
                WantCopy=False)  # fmt: skip
    tree = client.table("RopGetHierarchyTable", inbox, 0x67480014, 0x3001001F)
    client.rows(tree)
    for handle in (table, tree, folder["Handle"], inbox, logon):
        client.call("RopRelease", handle)
