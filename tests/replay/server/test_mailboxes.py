"""Several users with a mailbox each: who gets into which, and mail from one to another."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from replay.server import RunningServer
from replay.server.mailbox import default_dn
from tests.replay.server.client import Client
from tests.replay.server.rops.test_oxcnotif import NEW_MAIL, poll, register
from tests.replay.server.rops.test_oxomsg import draft, folder

ALICE, BOB = "alice@example.test", "bob@example.test"
UNKNOWN_USER, LOGIN_PERMISSION = 0x3EB, 0x3F2
PSETID = uuid.UUID("00020386-0000-0000-c000-000000000046")


@pytest.fixture(name="shared_server")
def shared_server_fixture() -> Iterator[RunningServer]:
    with RunningServer(ALICE, "secret", others=[BOB], any_dn=False, wait=1.0) as server:
        yield server


@pytest.fixture(name="both")
def both_fixture(shared_server: RunningServer) -> Iterator[tuple[Client, Client]]:
    with Client(shared_server) as alice, Client(shared_server, user=BOB) as bob:
        alice.connect()
        bob.connect()
        yield alice, bob


def test_everybody_has_a_mailbox_of_their_own(both: tuple[Client, Client]) -> None:
    logons = [client.logon() for client in both]
    assert logons[0]["MailboxGuid"] != logons[1]["MailboxGuid"]
    assert logons[0]["ReplGuid"] != logons[1]["ReplGuid"]
    for client, logon, name in zip(both, logons, ("mine", "yours"), strict=True):
        message = client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])
        client.set(message, (0x0037001F, name))
        client.save(message)
    for client, logon, name in zip(both, logons, ("mine", "yours"), strict=True):
        assert [row[0] for row in folder(client, logon, "Inbox")] == [name]


def test_names_that_are_not_ones_own(shared_server: RunningServer, both: tuple[Client, Client]) -> None:
    alice, _ = both
    with Client(shared_server) as client:
        assert client.connect(default_dn(ALICE).upper())["ErrorCode"] == 0
        client.disconnect()
        client.cookies = {}
        assert client.connect(default_dn(BOB))["ErrorCode"] == LOGIN_PERMISSION
        assert client.connect("/o=elsewhere/cn=alice")["ErrorCode"] == UNKNOWN_USER
        assert not client.cookies
    for dn, code in ((default_dn(BOB), LOGIN_PERMISSION), ("/o=elsewhere/cn=x", UNKNOWN_USER)):
        alice.call("RopLogon", LogonFlags=1, OpenFlags=0, Essdn=dn, expect=code)
    assert alice.logon(default_dn(ALICE))["ReturnValue"] == 0


def test_one_user_answers_to_every_name_but_those_of_others() -> None:
    with RunningServer(ALICE, "secret", others=[BOB]) as server, Client(server) as client:
        assert client.connect("/o=elsewhere/cn=whoever")["ErrorCode"] == 0
        assert client.logon("/o=elsewhere/cn=whoever")["ReturnValue"] == 0
        client.call("RopLogon", LogonFlags=1, OpenFlags=0, Essdn=default_dn(BOB), expect=LOGIN_PERMISSION)


def test_a_session_belongs_to_its_user(shared_server: RunningServer, both: tuple[Client, Client]) -> None:
    alice, bob = both
    with Client(shared_server, user=BOB) as thief:
        thief.cookies = dict(alice.cookies)
        assert thief.post("Disconnect", bytes(4)).headers["x-responsecode"] == "11"
    assert alice.logon()["ReturnValue"] == 0
    assert bob.logon()["ReturnValue"] == 0


def test_mail_from_one_to_the_other(both: tuple[Client, Client]) -> None:
    """Named properties keep their names, though they have other ids in the other mailbox."""
    alice, bob = both
    mine, theirs = alice.logon(), bob.logon()
    register(bob, theirs["Handle"], NEW_MAIL)
    names = [{"Kind": 1, "GUID": PSETID, "Name": name} for name in ("x-first", "x-second")]

    def ids(client: Client, logon: Any, *wanted: Any) -> list[int]:
        answer = client.call("RopGetPropertyIdsFromNames", logon["Handle"], Flags=2, PropertyNames=list(wanted))
        return list(answer["PropertyIds"])

    first, second = ids(alice, mine, *names)
    ids(bob, theirs, {"Kind": 1, "GUID": PSETID, "Name": "something else"})
    message = draft(alice, mine, "hello bob", BOB.upper(), ALICE)
    alice.set(message, (first << 16 | 0x1F, "first"), (second << 16 | 0x1F, "second"))
    attachment = alice.call("RopCreateAttachment", message)["Handle"]
    alice.set(attachment, (0x37010102, b"data"), (second << 16 | 0x1F, "of the attachment"))
    alice.call("RopSaveChangesAttachment", attachment, SaveFlags=0)
    alice.call("RopSubmitMessage", message, SubmitFlags=0)
    (news,) = poll(bob, theirs["Handle"])
    assert news["MessageClass"] == "IPM.Note"
    for client, logon in ((alice, mine), (bob, theirs)):
        ((subject, flags, identifier),) = folder(client, logon, "Inbox")
        assert subject == "hello bob"
        assert bool(flags & 0x20) is (client is alice), "mfFromMe"
        opened = client.open_message(logon["Handle"], logon["FolderIds"]["Inbox"], identifier)["Handle"]
        here = ids(client, logon, *names)
        assert client.get(opened, *(one << 16 | 0x1F for one in here)) == ["first", "second"]
        inner = client.call("RopOpenAttachment", opened, OpenAttachmentFlags=0, AttachmentID=0)["Handle"]
        assert client.get(inner, here[1] << 16 | 0x1F, 0x37010102) == ["of the attachment", b"data"]
    assert ids(bob, theirs, *names) != [first, second]
    assert [row[0] for row in folder(alice, mine, "SentItems")] == ["hello bob"]
    assert folder(bob, theirs, "SentItems") == []
