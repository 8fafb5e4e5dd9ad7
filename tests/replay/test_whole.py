"""The whole way, over real sockets: captures of a real server and our own, replayed to the embedded one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dissector.pipeline import dissect
from replay.compare.difference import DIFFERENT
from replay.recording import Recorder
from replay.report import Report
from replay.reports.text import lines
from replay.runner import Manner
from replay.server.runner import RunningServer
from replay.stub.answers import scripts_of
from replay.stub.app import RunningStub
from tests.conftest import ROOT, SHARED
from tests.replay.server import sync
from tests.replay.server.client import Client
from tests.replay.sessions import (
    BODY,
    FAIL_ON_CONFLICT,
    PASSWORD,
    SUBJECT,
    USER,
    a_day,
    import_change,
    local_ids,
    own,
    recorded,
    replayed,
    replayed_fresh,
    start,
    upload,
)

BUNDLED = ROOT / "captures"
GROMOX = SHARED / "captures" / "gromox"
UPLOAD = BUNDLED / "upload-session.pcap"


def captures() -> list[Any]:
    names = ["contents-bootstrap", "contents-incremental", "copyto", "hierarchy-bootstrap", "notify", "onepass",
             "tables-lzx", "upload-session"]  # fmt: skip
    found = []
    for name in names:
        path = BUNDLED / f"{name}.pcap"
        path = path if path.exists() else GROMOX / f"{name}.pcap"
        skip = pytest.mark.skipif(not path.exists(), reason=f"{name}.pcap is not on this machine")
        found.append(pytest.param(path, id=name, marks=skip))
    return found


def different(report: Report) -> list[tuple[str, str]]:
    return [(outcome.rop, one.path) for outcome in report.outcomes for one in outcome.differences
            if one.verdict == DIFFERENT]  # fmt: skip


# A real server's captures.

SPECIAL = "change folder 'Inbox'.PidTagFreeBusyEntryIds"
KNOWN: dict[str, tuple[str, ...]] = {
    "copyto": ("RowCount",),  # the capture shows 6 of the folder's 46 messages
    "hierarchy-bootstrap": (SPECIAL, "change folder 'Junk E-mail'", "state.MetaTagIdsetGiven"),
    "onepass": (SPECIAL, "change folder 'Junk E-mail'", "state.MetaTagIdsetGiven", "change folder 'ICS folder"),
    "upload-session": ("state.MetaTagIdsetGiven", "change FAI message 'view'.PidTagMessageFlags"),
}
"""Where the embedded server differs from Gromox, by path: everything else is the same (docs/servers.md)."""


@pytest.mark.parametrize("path", captures())
def test_a_seeded_server_gives_the_changes_that_gromox_gave(path: Path) -> None:
    report = replayed_fresh(path, seed=True)
    assert report.failure == ""
    known = KNOWN.get(path.stem, ())
    unknown = [one for one in different(report) if not one[1].startswith(known or ("-",))]
    assert unknown == []
    assert report.verdicts["same"] > 0


@pytest.mark.parametrize("path", captures())
def test_every_capture_replays_to_its_own_stub_as_it_was(path: Path) -> None:
    with dissect(path) as dissection:
        scripts = scripts_of(dissection.exchanges())
    with RunningStub(scripts) as stub, RunningServer(USER, PASSWORD) as server:
        report = replayed(path, server, url=stub.base_url)
    assert report.failure == ""
    assert report.outcomes == []
    assert stub.stub.refused == []
    assert stub.stub.answered == report.steps - sum(rop == "RopRelease" for _, rop in report.same)


def test_what_a_capture_uploads_is_there_afterwards() -> None:
    """Read back by another client: the same properties, bodies, recipients, attachments."""
    with RunningServer(USER, PASSWORD) as server:
        replayed(UPLOAD, server)
        with Client(server) as client:
            client.connect()
            _, inbox, _ = start(client)
            stream = sync.download(client, inbox)
    by_subject = {one[0x37]: one for one in stream.changes if 0x37 in one.properties}
    made = by_subject["Uploaded by ICS – ünïcode"]
    sent = uploaded(UPLOAD, "Uploaded by ICS – ünïcode")
    for tag, value in sent.items():
        if tag >> 16 != 0x0E07:  # the server computes the flags
            assert made[tag >> 16] == value, hex(tag)
    assert [one[0x3003] for one in made.of("recipient")] == ["alice@example.test", "carol@partner.example"]
    (file,) = made.of("attachment")
    assert file[0x3707] == "upload.bin"
    assert file[0x3701] == written(UPLOAD)
    assert by_subject["Replaced by ICS upload"][0x1000] == "new body"
    assert "view" in {one.properties.get(0x3001) for one in stream.changes}


def uploaded(path: Path, subject: str) -> dict[int, Any]:
    """The values of the RopSetProperties that sets this subject."""
    with dissect(path) as dissection:
        for exchange in dissection.exchanges():
            for rop in exchange.rops:
                if rop.name == "RopSetProperties" and rop.request is not None:
                    values = {one["PropertyTag"]: one["PropertyValue"] for one in rop.request.value["PropertyValues"]}
                    if values.get(SUBJECT) == subject:
                        return values
    raise AssertionError(subject)


def written(path: Path) -> bytes:
    """What the RopWriteStreams of a capture write, together."""
    with dissect(path) as dissection:
        return b"".join(
            rop.request.value["Data"]
            for exchange in dissection.exchanges() for rop in exchange.rops
            if rop.name == "RopWriteStream" and rop.request is not None
        )  # fmt: skip


# Our own captures.


def test_a_recorded_session_replays_to_a_fresh_server_without_a_difference(tmp_path: Path) -> None:
    path = tmp_path / "day.pcapng"
    recorded(path, a_day)
    report = replayed_fresh(path)
    assert report.failure == ""
    assert different(report) == []
    assert report.skipped == []
    assert report.steps > 60
    assert report.exit_code == 0


def test_replayed_once_more_it_is_told_what_was_there_already(tmp_path: Path) -> None:
    path = tmp_path / "day.pcapng"
    recorded(path, a_day)
    with RunningServer(USER, PASSWORD) as server:
        assert different(replayed(path, server)) == []
        again = replayed(path, server)
    assert again.failure == ""
    assert again.verdicts[DIFFERENT] > 0
    text = "\n".join(lines(again))
    assert "was this replayed to it before?" in text or "the live server had it before" in text


def test_a_replay_that_is_saved_replays_like_its_capture(tmp_path: Path) -> None:
    path = tmp_path / "live.pcapng"
    with Recorder(path) as recorder:
        first = replayed_fresh(UPLOAD, recorder=recorder)
    with dissect(path) as dissection:
        exchanges = list(dissection.exchanges())
        assert not dissection.capture.summary.diagnostics
    assert sum(len(one.rops) for one in exchanges) >= first.steps
    assert b"secret" not in path.read_bytes()
    assert b"uthorization" not in path.read_bytes()
    report = replayed_fresh(path)
    assert report.failure == ""
    assert different(report) == []


# What happens meanwhile.


def interfered(path: Path, script: Callable[[Client], Any], act: Callable[[Client], None]) -> Report:
    """A recorded script replayed while another client acts, just before the request that the script returns."""
    moment = recorded(path, script)
    with RunningServer(USER, PASSWORD) as server:

        def meanwhile(count: int) -> None:
            if count == moment:
                with Client(server) as client:
                    client.connect()
                    act(client)

        return replayed(path, server, progress=meanwhile, manner=Manner(stop_on="error"))


def twice(client: Client) -> int:
    """Upload a message, then a new version of it that must not conflict."""
    logon, inbox, _ = start(client)
    collector = client.call("RopSynchronizationOpenCollector", inbox, IsContentsCollector=True)["Handle"]
    key = local_ids(client, logon)[0]
    upload(client, collector, key, 1, "mine")
    moment = client.counter
    second = import_change(client, collector, key, 2, [own(2)], FAIL_ON_CONFLICT)["Handle"]
    client.set(second, (SUBJECT, "mine, again"))
    client.save(second, flags=0x0A)
    client.call("RopRelease", collector)
    return moment


def only_message(client: Client) -> tuple[int, Any, Any]:
    _, inbox, inbox_id = start(client)
    table = client.table("RopGetContentsTable", inbox, 0x674A0014)
    return inbox, inbox_id, client.rows(table)[0][0]


def delete(client: Client) -> None:
    inbox, _, identifier = only_message(client)
    client.call("RopDeleteMessages", inbox, WantAsynchronous=False, NotifyNonRead=False, MessageIds=[identifier])


def test_a_conflict_has_its_own_words_and_code(tmp_path: Path) -> None:
    def change(client: Client) -> None:
        inbox, inbox_id, identifier = only_message(client)
        message = client.open_message(inbox, inbox_id, identifier)["Handle"]
        client.set(message, (BODY, "by somebody else"))
        client.save(message)

    report = interfered(tmp_path / "c.pcapng", twice, change)
    assert report.exit_code == 12
    assert report.cause == "conflict"
    assert "a version that the upload does not know of: a conflict" in "\n".join(lines(report))
    assert report.stopped.startswith("stopped at frame")
    assert report.verdicts["same"] > 0


def test_a_deleted_target_has_its_own_words_and_code(tmp_path: Path) -> None:
    report = interfered(tmp_path / "d.pcapng", twice, delete)
    assert report.exit_code == 13
    assert "the object was deleted on the live server" in "\n".join(lines(report))
    assert report.verdicts["same"] > 0


def test_a_stale_state_has_its_own_words_and_code() -> None:
    """The state of this capture was given before it began: no server but Gromox itself knows it."""
    report = replayed_fresh(BUNDLED / "contents-incremental.pcap")
    assert report.exit_code == 11
    assert report.cause == "stale"
    text = "\n".join(lines(report))
    assert "a state from before the capture" in text
    assert "the state that was uploaded is not sure" in text


def test_a_message_that_is_gone_is_named(tmp_path: Path) -> None:
    def opened_again(client: Client) -> int:
        _, inbox, inbox_id = start(client)
        made = client.create_message(inbox, inbox_id)
        client.set(made, (SUBJECT, "short-lived"))
        identifier = client.save(made)
        moment = client.counter
        client.open_message(inbox, inbox_id, identifier)
        return moment

    report = interfered(tmp_path / "g.pcapng", opened_again, delete)
    assert report.exit_code == 13
    assert report.cause == "deleted"
