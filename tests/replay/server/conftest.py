"""A server with an empty store in memory, a connected client, and a logon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from replay.server import RunningServer
from tests.replay.server.client import Client


@pytest.fixture(name="server")
def server_fixture() -> Iterator[RunningServer]:
    with RunningServer("alice@example.test", "pass:word", wait=2.0) as server:
        yield server


@pytest.fixture(name="client")
def client_fixture(server: RunningServer) -> Iterator[Client]:
    with Client(server) as client:
        client.connect()
        yield client


@pytest.fixture(name="logon")
def logon_fixture(client: Client) -> Any:
    return client.logon()


@pytest.fixture(name="inbox")
def inbox_fixture(client: Client, logon: Any) -> int:
    """The handle of the open Inbox."""
    return client.open_folder(logon["Handle"], logon["FolderIds"]["Inbox"])


@pytest.fixture(name="place")
def place_fixture(client: Client, logon: Any) -> Any:
    """An empty folder below the IPM subtree, open."""
    root = client.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])
    return client.create_folder(root, "place")
