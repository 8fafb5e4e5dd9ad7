"""Operations that a server lets run (RopProgress): a replay waits for their end, however many parts they come in."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dissector.pipeline import dissect
from dissector.views.rows import rows_of
from replay.engine import Engine, Finished
from tests.replay.server.client import Client
from tests.replay.sessions import recorded, replayed_fresh

PART = "replay.server.underway.PART"


def empties_a_folder(client: Client) -> None:
    """Ten messages moved away with WantAsynchronous, then counted."""
    logon = client.logon()
    inbox = client.open_folder(logon["Handle"], logon["FolderIds"]["Inbox"])
    target = client.open_folder(logon["Handle"], logon["FolderIds"]["Outbox"])
    many = [client.save(client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])) for _ in range(10)]
    request = client.request_bytes(
        "RopMoveCopyMessages", SourceHandleIndex=0, DestHandleIndex=1, WantAsynchronous=True, WantCopy=False,
        MessageIds=many,
    )  # fmt: skip
    handles = [inbox, target]
    while True:
        ((data, _),) = client.execute(request, handles)
        (told,) = [one for one in client.responses(data) if one["Name"] not in ("RopNotify", "RopPending")]
        if told["Name"] != "RopProgress":
            break
        request, handles = client.request_bytes("RopProgress", InputHandleIndex=0, WantCancel=False), [inbox]
    for folder in (inbox, target):
        client.call("RopGetContentsTable", folder, TableFlags=0)


@pytest.mark.parametrize(("there", "here"), [(4, 200), (200, 4), (4, 3), (4, 4)])
def test_a_replay_waits_for_what_runs_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: int, here: int
) -> None:
    path = tmp_path / "capture.pcapng"
    monkeypatch.setattr(PART, there)
    recorded(path, empties_a_folder)
    monkeypatch.setattr(PART, here)
    report = replayed_fresh(path)
    assert not report.verdicts["different"], report.outcomes
    assert {one.why for one in report.skipped} == (
        {"not needed: the replay waits for the end of every operation itself"} if there == 4 else set()
    )


def in_one_buffer(client: Client) -> None:
    """Ten messages moved away, and right behind that in the same buffer the RopProgress by which it is done."""
    logon = client.logon()
    handles = [client.open_folder(logon["Handle"], logon["FolderIds"][name]) for name in ("Inbox", "Outbox")]
    many = [client.save(client.create_message(logon["Handle"], logon["FolderIds"]["Inbox"])) for _ in range(10)]
    request = client.request_bytes(
        "RopMoveCopyMessages", SourceHandleIndex=0, DestHandleIndex=1, WantAsynchronous=True, WantCopy=False,
        MessageIds=many,
    )  # fmt: skip
    ((data, _),) = client.execute(
        request + client.request_bytes("RopProgress", InputHandleIndex=0, WantCancel=False), handles
    )
    told = [one["Name"] for one in client.responses(data) if one["Name"] not in ("RopNotify", "RopPending")]
    assert told == ["RopProgress", "RopMoveCopyMessages"]


@pytest.mark.parametrize("here", [3, 5, 200])
def test_an_operation_that_ends_in_its_own_buffer_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: int
) -> None:
    path = tmp_path / "capture.pcapng"
    monkeypatch.setattr(PART, 5)
    recorded(path, in_one_buffer)
    monkeypatch.setattr(PART, here)
    report = replayed_fresh(path)
    assert not report.verdicts["different"], report.outcomes
    assert [name for _, name in report.same if name == "RopMoveCopyMessages"] == ["RopMoveCopyMessages"]


def test_the_list_pairs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "capture.pcapng"
    monkeypatch.setattr(PART, 4)
    recorded(path, empties_a_folder)
    found: list[Any] = []
    with dissect(path) as dissection:
        for exchange in dissection.exchanges():
            found += [(row.rop, row.summary) for row in rows_of(exchange) if row.rop and "Tag" not in row.summary]
    told = [(name, text) for name, text in found if name in ("RopMoveCopyMessages", "RopProgress")]
    assert [name for name, _ in told] == ["RopMoveCopyMessages", "RopProgress", "RopProgress"]
    assert told[0][1].endswith("CompletedTaskCount=4 TotalTaskCount=10 (runs on)")
    assert told[1][1].endswith("CompletedTaskCount=8 TotalTaskCount=10")
    assert told[2][1].endswith("PartialCompletion=False (RopMoveCopyMessages is done)")


def answered(code: int, *, runs_on: bool = False) -> Any:
    return SimpleNamespace(return_value=code, runs_on=runs_on, return_name="ecAccessDenied" if code else "")


@pytest.mark.parametrize(
    ("answer", "told"), [(answered(0), []), (answered(5), ["ecAccessDenied"]), (answered(0, runs_on=True), ["runs on"])]
)
def test_what_has_no_captured_end_is_told_where_it_failed(answer: Any, told: list[str]) -> None:
    engine = Engine([], "")
    step, planned = SimpleNamespace(frame=7, streams=[]), SimpleNamespace(name="RopMoveCopyMessages")
    engine._finished[1, 2, 0x33] = Finished(step, planned, answer, answer)  # type: ignore[arg-type]
    for _ in engine.conversation():
        pass
    assert [one.live for outcome in engine.report.outcomes for one in outcome.differences] == told
    assert engine.report.verdicts["different"] == len(told)
