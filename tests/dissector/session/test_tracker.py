"""Which session a call belongs to, and what ROPs do to it."""

from __future__ import annotations

from typing import Any

import pytest

from dissector.emsmdb.call import Call, Side
from dissector.model.ids import ObjectId
from dissector.pipeline import dissect
from dissector.session.tracker import Tracker
from dissector.views.json import exchange_pieces
from tests.conftest import ROOT
from tests.dissector.session.talk import Talk, request, response


class NoEnvelope:
    def tree(self, side: Side, rop_buffer: Any) -> Any:
        raise AssertionError("nobody looks at trees here")

    def pdus(self, side: Side) -> Any:
        raise AssertionError("nobody looks at PDUs here")


def call(name: str, asked: tuple[str, ...] = (), told: tuple[str, ...] = (), connection: int = 1) -> Call:
    class Connection:
        number = connection
        client = ("192.0.2.1", 40000 + connection)
        server = ("2001:db8::1", 443)

    return Call(
        "mapi-http", name, Connection(), Side(1, 0.0, NoEnvelope(), session_keys=asked),
        Side(2, 0.0, NoEnvelope(), session_keys=told),
    )  # fmt: skip


def numbers(*calls: Call) -> list[int]:
    tracker = Tracker()
    return [exchange.session.number for exchange in map(tracker.exchange, calls) if exchange.session is not None]


def test_cookies_tie_requests_to_their_session_across_connections() -> None:
    assert numbers(
        call("Connect", told=("sid=a", "sequence=1")),
        call("Connect", told=("sid=b", "sequence=2"), connection=2),
        call("Execute", ("sid=a", "sequence=1"), ("sequence=3",), connection=2),
        call("Execute", ("sequence=3",), ("sequence=4",), connection=3),
        call("Execute", ("sid=b", "sequence=2"), connection=3),
    ) == [1, 2, 1, 1, 2]


def test_a_routing_cookie_that_two_sessions_share_names_neither() -> None:
    assert numbers(
        call("Connect", told=("routing=x", "sid=a")),
        call("Connect", ("routing=x",), ("routing=x", "sid=b"), connection=2),
        call("Execute", ("routing=x", "sid=a"), connection=2),
        call("Execute", ("routing=x", "sid=b"), connection=1),
    ) == [1, 2, 1, 2]


def test_without_cookies_the_connection_tells() -> None:
    assert numbers(call("Execute"), call("Execute"), call("Execute", connection=2)) == [1, 1, 2]


def test_a_session_that_ended_is_not_found_again() -> None:
    assert numbers(
        call("Connect", told=("sid=a",)), call("Disconnect", ("sid=a",)), call("Execute", ("sid=a",), connection=2)
    ) == [1, 1, 2]


@pytest.mark.parametrize(
    ("page", "codec"), [(1252, "cp1252"), (28592, "iso8859-2"), (20866, "koi8-r"), (65001, "utf-8"), (1200, None)]
)
def test_the_code_page_of_a_session(page: int, codec: str | None) -> None:
    """8-bit text of a client that names UTF-16 (1200) is in no code page known: it is read as that of Windows."""
    tracker = Tracker()
    connect = call("Connect")
    assert connect.request is not None
    connect.request.fields["DefaultCodePage"] = page
    session = tracker.exchange(connect).session
    assert session is not None
    assert session.codepage == codec


def test_the_code_page_of_an_address_book() -> None:
    """A call that names no code page is in the one of the Bind; one that names another is in that."""
    tracker = Tracker()
    calls = [call(name, ("sid=a",), ("sid=a",)) for name in ("Bind", "DNToMId", "QueryRows")]
    sides = [one.request for one in calls] + [one.response for one in calls]
    for side, codec in zip(sides, ("cp1250", None, "cp1251"), strict=False):
        assert side is not None
        side.codepage = codec
    for one in calls:
        tracker.exchange(one)
    assert len(tracker.sessions) == 1
    assert [side and side.codepage for side in sides] == ["cp1250", "cp1250", "cp1251", "cp1250", "cp1250", "cp1250"]


def test_endpoints_are_text() -> None:
    tracker = Tracker()
    session = tracker.exchange(call("Connect")).session
    assert session is not None
    assert (session.client, session.server) == ("192.0.2.1:40001", "[2001:db8::1]:443")


def test_handles_are_followed_from_birth_to_release() -> None:
    """hierarchy-bootstrap opens a folder and a synchronization context twice and releases all of them."""
    with dissect(ROOT / "captures" / "hierarchy-bootstrap.pcap") as dissection:
        kinds: list[str] = []
        for exchange in dissection.exchanges():
            kinds += [rop.kind or "" for rop in exchange.rops if rop.name == "RopRelease"]
        (session,) = dissection.tracker.sessions
    assert kinds == ["sync-download", "folder", "sync-download", "folder", "logon"]
    assert session.objects == {}
    assert session.began
    assert set(session.logons[0].folder_names.values()) >= {"Inbox", "IpmSubtree", "SentItems"}


def test_special_folders_are_named_in_trees() -> None:
    """Wherever their ids stand: fields of ROPs, notifications, values of properties. Other ids are left alone."""
    inbox = "Inbox (ReplicaId 1, GlobalCounter 0xD)"
    found: dict[tuple[str, str], list[bool]] = {}
    for name in ("notify.pcap", "tables-lzx.pcap"):
        with dissect(ROOT / "captures" / name) as dissection:
            for exchange in dissection.exchanges():
                leaves = [node for tree in exchange.trees() for node in tree.leaves()]
                assert any(node.label == inbox for node in leaves) == (inbox in "".join(exchange_pieces(exchange)))
                for node in leaves:
                    if isinstance(node.value, ObjectId) and node.name in ("FolderId", "MessageId", "PropertyValue"):
                        found.setdefault((node.name, node.label), []).append(node.value == (1, 0x0D))
    assert {name for (name, label), _ in found.items() if label == inbox} == {"FolderId", "PropertyValue"}
    for (_, label), which in found.items():
        assert set(which) == {label == inbox}


def test_named_properties_get_their_names_from_the_capture() -> None:
    with dissect(ROOT / "captures" / "tables-lzx.pcap") as dissection:
        for _ in dissection.exchanges():
            pass
        (session,) = dissection.tracker.sessions
    assert all(prop_id >= 0x8000 and name for prop_id, name in session.named_properties(0).items())


def test_rows_of_a_table_are_read_with_the_columns_that_were_set() -> None:
    with dissect(ROOT / "captures" / "tables-lzx.pcap") as dissection:
        rows = [
            rop.response.value["RowCount"]
            for exchange in dissection.exchanges()
            for rop in exchange.rops
            if rop.name == "RopQueryRows" and rop.response is not None
        ]
    assert rows
    assert max(rows) > 10


def test_buffers_behind_very_many_rops_are_kept_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dissector.session.tracker.MOST_ROPS", 3)
    talk = Talk()
    few = request("RopRelease") * 2
    exchange = talk.call(few * 2, (1,), response("RopGetStoreState", StoreState=0), few)
    assert len(exchange.rops) == 4
    assert [len(buffer.rops) for buffer in exchange.response_buffers] == [0, 0]
    for buffer in exchange.response_buffers:
        node = buffer.node("ROP buffer")
        assert sum(leaf.length for leaf in node.leaves()) == len(buffer.source)
        assert any("not read" in found.message for one in node.walk() for found in one.diagnostics)
