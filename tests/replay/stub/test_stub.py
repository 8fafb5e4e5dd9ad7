"""The stub: a client is answered as the captured server answered; what the capture cannot answer is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dissector.pipeline import dissect
from replay.errors import ReplayError
from replay.stub.answers import scripts_of
from replay.stub.app import RunningStub, Stub, listener
from tests.conftest import ROOT
from tests.replay.server import sync
from tests.replay.server.client import PLAIN, Client
from tests.replay.sessions import PASSWORD, SUBJECT, USER, a_day, recorded, start

UPLOAD = ROOT / "captures" / "upload-session.pcap"
TABLES = ROOT / "captures" / "tables-lzx.pcap"


class Face:
    """What the test client needs to know of a server."""

    user, password = USER, PASSWORD

    def __init__(self, base_url: str) -> None:
        self.url = base_url + "/mapi/emsmdb/"


def stub_of(path: Path) -> RunningStub:
    with dissect(path) as dissection:
        return RunningStub(scripts_of(dissection.exchanges()))


@pytest.fixture
def tables() -> Iterator[RunningStub]:
    with stub_of(TABLES) as stub:
        yield stub


@pytest.fixture
def client(tables: RunningStub) -> Iterator[Client]:
    with Client(Face(tables.base_url)) as made:
        made.connect()
        yield made


def test_a_script_runs_against_its_own_recording(tmp_path: Path) -> None:
    """A whole client session, with other handles, cookies and request ids than in the capture."""
    path = tmp_path / "day.pcapng"
    recorded(path, a_day)
    with stub_of(path) as stub:
        with Client(Face(stub.base_url)) as client:
            client.connect()
            a_day(client)
            client.disconnect()
        assert stub.stub.refused == []
        assert stub.stub.answered > 60


def test_answers_are_the_captured_ones(client: Client) -> None:
    _, inbox, inbox_id = start_of(client)
    assert inbox_id.counter == 0x0D
    table = client.call("RopGetContentsTable", inbox, TableFlags=0)
    assert table["RowCount"] == 47


def start_of(client: Client) -> tuple[int, int, Any]:
    logon = client.logon("/o=whoever")
    inbox = logon["FolderIds"]["Inbox"]
    return logon["Handle"], client.open_folder(logon["Handle"], inbox), inbox


@pytest.mark.parametrize(
    ("name", "fields", "why"),
    [
        ("RopGetReceiveFolder", {"MessageClass": "IPM"}, "the capture holds none"),
        ("RopGetHierarchyTable", {"TableFlags": 0}, "the capture holds none"),
        ("RopGetContentsTable", {"TableFlags": 2}, "the capture holds none with these fields"),
        ("RopGetPropertiesAll", {"PropertySizeLimit": 0, "WantUnicode": 1}, "the capture holds none on this object"),
    ],
)
def test_what_the_capture_cannot_answer_is_refused_by_name(
    client: Client, tables: RunningStub, name: str, fields: dict[str, Any], why: str
) -> None:
    _, inbox, _ = start_of(client)
    answer = client.call(name, inbox, expect=None, **fields)
    assert answer["ReturnValue"] == 0x80040102
    assert [(one.rop, one.why) for one in tables.stub.refused] == [(name, why)]
    assert client.call("RopGetContentsTable", inbox, TableFlags=0)["RowCount"] == 47, "what follows is answered again"


def test_reading_may_be_repeated_but_not_what_moves_on(client: Client, tables: RunningStub) -> None:
    _, inbox, _ = start_of(client)
    for _ in range(3):
        client.call("RopGetContentsTable", inbox, TableFlags=0)
    assert tables.stub.refused == []
    with stub_of(UPLOAD) as stub, Client(Face(stub.base_url)) as other:
        other.connect()
        logon = other.logon()["Handle"]
        assert other.call("RopGetLocalReplicaIds", logon, IdCount=256)["GlobalCount"] == 0x1D0000
        other.call("RopGetLocalReplicaIds", logon, IdCount=256, expect=0x80040102)
        assert [one.why for one in stub.stub.refused] == ["the capture holds no more of them on this object"]


def test_writes_need_not_be_the_captured_ones(tmp_path: Path) -> None:
    path = tmp_path / "written.pcapng"

    def script(client: Client, subject: str = "captured") -> Any:
        _, inbox, inbox_id = start(client)
        message = client.create_message(inbox, inbox_id)
        client.set(message, (SUBJECT, subject))
        return client.save(message)

    captured = recorded(path, script)
    with stub_of(path) as stub, Client(Face(stub.base_url)) as client:
        client.connect()
        assert script(client, "another") == captured
        assert stub.stub.refused == []


def test_every_connect_takes_the_next_session(tmp_path: Path) -> None:
    path = tmp_path / "two.pcapng"

    def script(client: Client) -> None:
        for number in (1, 2):
            if number == 2:
                client.cookies.clear()
                client.connect("/o=first organization/cn=alice")
            client.logon("/o=first organization/cn=alice")
            client.disconnect() if number == 1 else None

    recorded(path, script)
    with dissect(path) as dissection:
        scripts = scripts_of(dissection.exchanges())
    assert len(scripts) == 2
    with RunningStub(scripts) as stub:
        for _ in range(3):
            with Client(Face(stub.base_url)) as client:
                client.connect()
                client.logon()
                client.disconnect()
        assert stub.stub.refused == []
        assert stub.stub.answered == 3


def test_packed_buffers_come_packed_where_the_client_takes_them() -> None:
    path = ROOT.parent / "shared" / "captures" / "gromox" / "contents-bootstrap.pcap"
    if not path.exists():
        pytest.skip("../shared/captures/gromox is not on this machine")
    sizes = []
    for packed in (True, False):
        with stub_of(path) as stub, Client(Face(stub.base_url)) as client:
            client.connect()
            _, inbox, _ = start_of(client)
            context = next(iter(stub.stub._scripts[0].entries["RopSynchronizationConfigure"])).rop.request
            assert context is not None
            fields = {
                name: item
                for name, item in context.value.items()
                if not name.endswith(("Index", "Count", "Id", "Size"))
            }
            handle = client.call("RopSynchronizationConfigure", inbox, **fields)["Handle"]
            sizes.append(len(sync.get_all(client, handle, packed=packed)))
    assert sizes[0] == sizes[1] > 2_000_000


def test_requests_that_are_none(tables: RunningStub) -> None:
    url = tables.base_url + "/mapi/emsmdb/"

    def post(kind: str, body: bytes = b"", **headers: str) -> httpx.Response:
        return httpx.post(url, content=body, headers={"X-RequestType": kind, **headers}, **PLAIN)

    assert post("PING").content.endswith(b"DONE\r\n\r\n")
    assert post("Bind").headers["X-ResponseCode"] == "5"
    assert post("Connect", b"\1").headers["X-ResponseCode"] == "12"
    execute = bytes(16)
    assert post("Execute", execute).headers["X-ResponseCode"] == "13"
    assert post("Execute", execute, Cookie="MapiContext=none").headers["X-ResponseCode"] == "10"


def test_a_rop_buffer_that_is_none(client: Client) -> None:
    assert client.raw(b"\1\2\3")["ErrorCode"] == 0x4B6


def test_a_notification_is_waited_for_as_long_as_captured() -> None:
    with stub_of(ROOT / "captures" / "notify.pcap") as stub, Client(Face(stub.base_url)) as client:
        client.connect()
        assert client.request("NotificationWait", Flags=0)["EventPending"] in (0, 1)


def test_a_capture_without_sessions() -> None:
    with pytest.raises(ReplayError, match="no session with ROPs"):
        Stub([])


def test_an_address_that_is_taken(tables: RunningStub) -> None:
    port = int(tables.base_url.rpartition(":")[2])
    with pytest.raises(ReplayError, match="cannot listen"):
        listener("127.0.0.1", port)
