"""The whole way, over real sockets: captures of a real server and our own, replayed to the embedded one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dissector.pipeline import dissect
from replay.compare.changes import read_story
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
from tests.replay.server.sync import Part
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
    "onepass": (SPECIAL, "change folder 'Junk E-mail'", "state.MetaTagIdsetGiven"),
    "upload-session": ("change FAI message 'view'.PidTagMessageFlags",),
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
    assert without_reason(report) == []


@pytest.mark.parametrize("path", captures())
def test_without_seeds_every_difference_says_why(path: Path) -> None:
    report = replayed_fresh(path)
    assert report.failure == ""
    assert without_reason(report) == []
    assert bool(report.hints) == bool(different(report))


DOCUMENT = (ROOT / "docs" / "servers.md").read_text("utf-8")


def told(columns: int, name: str) -> list[int]:
    """The numbers of a capture's row in the table of docs/servers.md that has so many columns of them."""
    rows = (re.fullmatch(rf"\| {name} \|((?: \d+ \|){{{columns}}})", line) for line in DOCUMENT.splitlines())
    (found,) = (row[1] for row in rows if row is not None)
    return [int(number) for number in re.findall(r"\d+", found)]


@pytest.mark.parametrize("path", captures())
def test_the_documentation_tells_what_a_replay_finds(path: Path) -> None:
    seeded, bare = replayed_fresh(path, seed=True), replayed_fresh(path)
    steps, _, _, different_ones = told(4, path.stem)
    assert [seeded.steps, seeded.verdicts[DIFFERENT]] == [steps, different_ones]
    assert [bare.steps, bare.verdicts[DIFFERENT], len(bare.skipped)] == told(3, path.stem)


def without_reason(report: Report) -> list[tuple[int, str, str]]:
    return [(outcome.frame, outcome.rop, one.path) for outcome in report.outcomes for one in outcome.differences
            if one.verdict == DIFFERENT and not one.why]  # fmt: skip


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


class Uploads:
    """What a capture uploads, message by message and folder by folder, as its requests say it."""

    def __init__(self, path: Path) -> None:
        self.messages: list[Part] = []
        self.folders: dict[bytes, str] = {}
        self.open: dict[int, Part] = {}
        self.streams: dict[int, tuple[Part, int, bytearray]] = {}
        with dissect(path) as dissection:
            for exchange in dissection.exchanges():
                for rop in exchange.rops:
                    if rop.request is not None and rop.request.value is not None and not rop.return_value:
                        self.take(rop, rop.request.value, rop.response.value if rop.response is not None else {})
        for part, tag, data in self.streams.values():
            part.properties[tag >> 16] = bytes(data)

    def take(self, rop: Any, asked: Any, answered: Any) -> None:
        source, target = rop.handles.get("InputHandleIndex"), rop.handles.get("OutputHandleIndex")
        refused = {one["PropertyTag"] for one in answered.get("PropertyProblems") or ()}
        values = {one["PropertyTag"] >> 16: one["PropertyValue"] for one in asked.get("PropertyValues") or ()
                  if one["PropertyTag"] not in refused}  # fmt: skip
        if rop.name == "RopSynchronizationImportMessageChange":
            self.messages.append(Part("message", {0x67AA: bool(asked["ImportFlag"] & 0x10)}))
            self.open[target] = self.messages[-1]
        elif rop.name == "RopSetProperties" and source in self.open:
            self.open[source].properties.update(values)
        elif rop.name == "RopModifyRecipients" and source in self.open:
            rows = (one["RecipientRow"] for one in asked["RecipientRows"])
            self.open[source].parts += [
                Part("recipient", {0x3003: row["EmailAddress"], 0x3001: row["DisplayName"]}) for row in rows
            ]
        elif rop.name == "RopCreateAttachment" and source in self.open:
            self.open[target] = Part("attachment")
            self.open[source].parts.append(self.open[target])
        elif rop.name == "RopOpenStream" and source in self.open and asked["OpenModeFlags"]:
            self.streams[target] = (self.open[source], asked["PropertyTag"], bytearray())
        elif rop.name == "RopWriteStream" and source in self.streams:
            self.streams[source][2].extend(asked["Data"])
        elif rop.name == "RopSynchronizationImportHierarchyChange":
            header = {one["PropertyTag"] >> 16: one["PropertyValue"] for one in asked["HierarchyValues"]}
            self.folders[header[0x65E0].to_bytes()] = header[0x3001]
        elif rop.name == "RopSynchronizationImportDeletes":
            for key in asked["PropertyValues"][0]["PropertyValue"]:
                self.folders.pop(key.to_bytes(), None)


COMPUTED = {0x0E07, 0x67AA}
"""PidTagMessageFlags, whose bits the server computes, and PidTagAssociated of the header."""


@pytest.mark.parametrize("seed", [False, True])
@pytest.mark.parametrize("path", captures())
def test_what_a_capture_uploads_is_there_afterwards(path: Path, seed: bool) -> None:
    """Read back by another client: the same properties, bodies, recipients, attachments, folders."""
    uploads = Uploads(path)
    with RunningServer(USER, PASSWORD) as server:
        replayed(path, server, seed=seed)
        with Client(server) as client:
            client.connect()
            logon = client.logon()
            found = sync.download(client, client.open_folder(logon["Handle"], logon["FolderIds"]["Inbox"])).changes
            top = client.open_folder(logon["Handle"], logon["FolderIds"]["IpmSubtree"])
            data = sync.get_all(client, sync.configure(client, top, sync.HIERARCHY))
            names = {one.title for one in read_story(data, "hierarchySync").changes}
    assert set(uploads.folders.values()) <= names
    if path.stem == "upload-session":
        assert [len(uploads.messages), len(uploads.folders), len(names & GONE)] == [3, 1, 0]
    for sent in uploads.messages:
        (made,) = (one for one in found if one.properties.get(0x37) == sent[0x37])
        assert made[0x67AA] == sent[0x67AA]
        for number, value in sent.properties.items():
            assert number in COMPUTED or made[number] == value, hex(number)
        for kind in ("recipient", "attachment"):
            assert len(made.of(kind)) == len(sent.of(kind))
            for one, other in zip(made.of(kind), sent.of(kind), strict=True):
                assert {number: one[number] for number in other.properties} == other.properties


GONE = {"sub", "ICS folder 1795434440"}
"""Folders that the capture makes, and renames or deletes again."""


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
    assert without_reason(again) == []
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
