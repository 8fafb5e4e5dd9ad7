"""Plans: what each ROP needs, what is chosen with it, what is supplied; plan files written, edited, read and run."""

from __future__ import annotations

import json
import re
import tomllib
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.errors import FilterError
from dissector.model.ids import LongTermId, ObjectId
from dissector.model.pcl import Xid
from dissector.pipeline import dissect
from replay.edits import edited
from replay.errors import ReplayError
from replay.needs import Key, closure, identifiers
from replay.planfile import Plan, plan_lines, read_plan
from replay.ropkinds import SHAPES, WRITES
from replay.selection import LAST_FRAME, Selection, choice_of, frame_ranges
from replay.server.runner import RunningServer
from replay.sources import Source
from replay.steps import NOT_CHOSEN, Step, Upload
from tests.conftest import ROOT, SHARED
from tests.replay.sessions import PASSWORD, USER, a_day, recorded, replayed

UPLOAD = ROOT / "captures" / "upload-session.pcap"
TABLES = ROOT / "captures" / "tables-lzx.pcap"
OUTLOOK = SHARED / "captures" / "real" / "outlook2003-exchange2003.pcap"
needs_outlook = pytest.mark.skipif(not OUTLOOK.exists(), reason="../shared/captures/real is not on this machine")


def steps_of(path: Path, selection: Selection | None = None, **options: Any) -> list[Step]:
    with Source.of(str(path)).steps(selection or Selection(), **options) as steps:
        return list(steps)


def sent(steps: list[Step]) -> dict[Key, str]:
    return {rop.key: rop.name for step in steps for rop in step.rops if rop.action == "send"}


# Needs.


def test_every_need_stands_before_what_needs_it() -> None:
    for path in sorted((ROOT / "captures").glob("*.pcap")):
        survey = Source.of(str(path)).survey(Selection())
        for key, needs in survey.needs.items():
            assert all(need < key and need in survey.needs for need in needs), (path.name, key, needs)


def test_what_is_chosen_can_be_sent_without_the_rest() -> None:
    """The closure is complete: a replay of it skips nothing for want of something else."""
    with RunningServer(USER, PASSWORD) as server:
        for selection in (
            Selection(uploads_only=True),
            Selection(frames=((204, 216),)),
            Selection(where="rop == RopSynchronizationImportDeletes"),
        ):
            keys = Source.of(str(UPLOAD)).survey(selection).chosen()
            report = replayed(UPLOAD, server, choice=choice_of(keys))
            assert report.failure == ""
            assert {remark.why for remark in report.skipped} <= {
                NOT_CHOSEN,
                "not needed: the live stream has ended already",
            }
            assert report.steps == len(keys)


def test_a_save_needs_the_attachment_and_its_stream(tmp_path: Path) -> None:
    path = tmp_path / "day.pcapng"
    recorded(path, a_day)
    survey = Source.of(str(path)).survey(Selection())
    names = {rop.key: rop.name for step in steps_of(path) for rop in step.rops}
    save = next(key for key, name in names.items() if name == "RopSaveChangesMessage")
    needed = [names[key] for key in sorted(closure([save], survey.needs))]
    assert needed.count("RopWriteStream") >= 2
    assert {"RopLogon", "RopOpenFolder", "RopCreateMessage", "RopSetProperties", "RopCreateAttachment",
            "RopSaveChangesAttachment", "RopCommitStream", "RopGetPropertyIdsFromNames"} <= set(needed)  # fmt: skip
    assert "RopGetContentsTable" not in needed


def test_imports_need_the_ids_and_the_state_but_not_each_other() -> None:
    survey = Source.of(str(UPLOAD)).survey(Selection())
    names = sent(steps_of(UPLOAD))
    imports = [key for key, name in names.items() if name == "RopSynchronizationImportMessageChange"]
    needed = closure([imports[1]], survey.needs)
    assert imports[0] not in needed
    assert any(names[key] == "RopGetLocalReplicaIds" for key in needed)
    assert any(names[key] == "RopFastTransferSourceGetBuffer" for key in needed), "the state it uploads came from there"


def test_ids_in_values() -> None:
    guid = uuid.UUID(int=4)
    value = {"a": [ObjectId(1, 2), ObjectId(0, 0)], "b": {"c": LongTermId(guid, 3)}, "d": Xid(guid, bytes(5) + b"\7"),
             "e": Xid(guid, b"123")}  # fmt: skip
    assert set(identifiers(value)) == {ObjectId(1, 2), (guid, 3), (guid, 7)}


def test_rops_that_write_are_named_as_the_grammar_names_them() -> None:
    from dissector.grammar.rops import BY_NAME

    assert set(BY_NAME) >= WRITES
    assert set(BY_NAME) >= SHAPES


# Selections.


def test_uploads_only_keeps_what_writes() -> None:
    every, chosen = sent(steps_of(UPLOAD)), sent(steps_of(UPLOAD, Selection(uploads_only=True)))
    assert {key for key, name in every.items() if name in WRITES} <= set(chosen)
    assert len(chosen) < len(every)
    assert "RopSynchronizationGetTransferState" not in chosen.values()


def test_a_selection_by_folder_name_id_session_and_expression() -> None:
    by_name = sent(steps_of(UPLOAD, Selection(folder="deleteditems")))
    assert by_name == sent(steps_of(UPLOAD, Selection(folder="0001-00000000000b")))
    assert "RopSynchronizationImportMessageMove" in by_name.values()
    assert "RopSynchronizationImportHierarchyChange" not in by_name.values()
    assert sent(steps_of(UPLOAD, Selection(sessions=frozenset({1})))) == sent(steps_of(UPLOAD))
    both = sent(steps_of(UPLOAD, Selection(where="rop == RopSynchronizationImportHierarchyChange", frames=((0, 350),))))
    assert list(both.values()).count("RopSynchronizationImportHierarchyChange") == 2


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (Selection(folder="Nowhere"), "--folder 'Nowhere'"),
        (Selection(sessions=frozenset({9})), "nothing in it is chosen by --session 9"),
        (Selection(frames=((9000, LAST_FRAME),)), "nothing in it is chosen by --frames 9000-"),
    ],
)
def test_a_selection_of_nothing(selection: Selection, words: str) -> None:
    with pytest.raises(ReplayError, match=words):
        steps_of(UPLOAD, selection)


def test_an_expression_that_does_not_parse() -> None:
    with pytest.raises(FilterError):
        steps_of(UPLOAD, Selection(where="rop =="))


@pytest.mark.parametrize(
    ("text", "ranges"),
    [("10-20", ((10, 20),)), ("7", ((7, 7),)), ("5-", ((5, LAST_FRAME),)), ("-5, 9", ((0, 5), (9, 9)))],
)
def test_frame_ranges(text: str, ranges: tuple[tuple[int, int], ...]) -> None:
    assert frame_ranges(text) == ranges


@pytest.mark.parametrize("text", ["", "a", "1-2-3", ",", "-"])
def test_frame_ranges_that_are_none(text: str) -> None:
    with pytest.raises(ReplayError, match="--frames"):
        frame_ranges(text)


def test_what_writes_is_left_out_by_name_where_it_may_not_be_sent() -> None:
    steps = steps_of(UPLOAD, may_write=False)
    reasons = {rop.reason for step in steps for rop in step.rops if rop.action == "skip" and rop.name in WRITES}
    assert any("--write sends it" in reason for reason in reasons)
    assert not set(sent(steps).values()) & WRITES


# Supplied.


@needs_outlook
def test_named_properties_without_names_get_some_that_stand_in() -> None:
    supplied = [rop for step in steps_of(OUTLOOK) if step.supplied for rop in step.rops]
    asked = [rop for rop in supplied if rop.name == "RopGetPropertyIdsFromNames"]
    assert asked
    assert all("made-up names stand in" in rop.reason for rop in asked)
    assert asked[0].value["PropertyNames"][0]["Name"].startswith("replay-8")


def test_an_upload_in_parts_keeps_its_parts() -> None:
    upload = Upload(0x67960102, (None, ""), [b"12", b"345", b"6"])
    upload.live = b"abcdefghij"
    assert [upload.part(number) for number in range(3)] == [b"ab", b"cde", b"fghij"]
    upload.live = b"abc"
    assert [upload.part(number) for number in range(3)] == [b"ab", b"c", b""]


# Plan files.


def written(tmp_path: Path, path: Path = UPLOAD, selection: Selection | None = None) -> Path:
    source = Source.of(str(path))
    lines = plan_lines(steps_of(path, selection), str(path), source.digest, str(selection or ""))
    file = tmp_path / "made.toml"
    file.write_text("\n".join(lines), "utf-8")
    return file


def test_a_plan_is_written_and_read_back(tmp_path: Path) -> None:
    file = written(tmp_path, selection=Selection(uploads_only=True))
    content = tomllib.loads(file.read_text("utf-8"))
    assert (content["format"], content["version"]) == ("replay-plan", 1)
    assert content["selection"] == "--uploads-only"
    plan = read_plan(file)
    assert plan.sent == set(sent(steps_of(UPLOAD, Selection(uploads_only=True))))
    rops = [rop for step in content["step"] for rop in step["rops"]]
    imported = next(rop for rop in rops if rop["name"] == "RopSynchronizationImportMessageChange")
    assert imported["rewrites"] == ["PropertyValues.PidTagSourceKey"]
    assert "19.1" in imported["needs"]
    assert sent(steps_of(file)) == sent(steps_of(UPLOAD, Selection(uploads_only=True)))


def test_an_edited_plan_is_what_is_sent(tmp_path: Path) -> None:
    file = written(tmp_path, selection=Selection(uploads_only=True))
    text = file.read_text("utf-8")
    lines = text.splitlines()
    at = next(at for at, line in enumerate(lines) if "RopSetProperties" in line and "Uploaded by ICS" in line)
    change = (
        '{rop = 1, set = {"PropertyValues.PidTagSubject" = "Edited", "PropertyValues[0].PropertyValue" = "IPM.X"}, '
    )
    lines[at] = lines[at].replace("{rop = 1, ", change)
    gone = next(at for at, line in enumerate(lines) if "RopModifyRecipients" in line)
    lines[gone] = lines[gone].replace('action = "send"', 'action = "skip", why = "no recipients today"')
    file.write_text("\n".join(lines), "utf-8")
    steps = steps_of(file)
    values = next(rop.value for step in steps for rop in step.rops if rop.key == (32, 1))["PropertyValues"]
    assert [one["PropertyValue"] for one in values[:2]] == ["IPM.X", "Edited"]
    assert [rop.reason for step in steps for rop in step.rops if rop.name == "RopModifyRecipients"] == [
        "no recipients today"
    ]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('name = "RopLogon"', 'name = "RopRelease"', "calls exchange 2, rop 1 RopRelease: it is RopLogon"),
        ("exchange = 113", "exchange = 999", "names exchange 999, rop 1: the capture has none"),
        (
            '{rop = 1, name = "RopSetProperties"',
            '{rop = 1, set = {"PropertyValues.PidTagNope" = 1}, name = "RopSetProperties"',
            "exchange 32, rop 1, RopSetProperties: set 'PropertyValues.PidTagNope': no row is called PidTagNope",
        ),
    ],
)
def test_a_plan_that_does_not_fit_its_capture_is_told_before_anything_is_sent(
    tmp_path: Path, before: str, after: str, words: str
) -> None:
    file = written(tmp_path)
    text = file.read_text("utf-8")
    assert before in text
    file.write_text(text.replace(before, after, 1), "utf-8")
    with pytest.raises(ReplayError, match=re.escape(words)), Source.of(str(file)).steps(Selection()):
        pytest.fail("it is run")


@needs_outlook
def test_a_supplied_step_can_be_left_out(tmp_path: Path) -> None:
    file = written(tmp_path, OUTLOOK)
    before = [step for step in steps_of(file) if step.supplied]
    text = file.read_text("utf-8")
    at = text.index('name = "RopCreateMessage", action = "supply"')
    file.write_text(text[:at] + text[at:].replace('action = "supply"', 'action = "skip"', 1), "utf-8")
    after = [step for step in steps_of(file) if step.supplied]
    assert len(after) == len(before) - 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no replay plan"),
        ("format = 'x'", "no replay plan"),
        ("format = 'replay-plan'\nversion = 2", "version 2"),
        ("format = 'replay-plan'\nversion = 1", "capture is missing"),
        ("format = 'replay-plan'\nversion = 1\ncapture = 'c'\nstep = 1", "list of tables"),
        ("format = 'replay-plan'\nversion = 1\ncapture = 'c'\n[[step]]\nrops = []", "exchange is missing"),
        ("format = 'replay-plan'\nversion = 1\ncapture = 'c'\n[[step]]\nexchange = 1\nrops = [{}]", "needs a name"),
        ("format = 'replay-plan'\nversion = 1\ncapture = 'c'\n[[step]]\nexchange = 2\n[[step]]\nexchange = 1", "order"),
        ("format = 'replay-plan'\nversion = 1\ncapture = 'c'\nsha256 = 'y'", "No such file"),
        ("format = 'replay-plan'\nversion = 1\ncapture = 'plan.toml'\nsha256 = 'y'", "not the capture"),
        ("a = [", "plan.toml"),
    ],
)
def test_a_plan_that_cannot_be_understood(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(text)
    with pytest.raises(ReplayError, match=words):
        read_plan(file)


@given(st.text(), st.text())
def test_any_text_survives_a_plan(name: str, why: str) -> None:
    from replay.planfile import _text

    shown = (name + why).encode("utf-8", "replace").decode()
    assert tomllib.loads(f"x = {_text(shown)}")["x"] == shown


def test_a_plan_sends_nothing_that_it_does_not_name() -> None:
    choose = Plan(Path("c"), sent={(1, 1)}, refused={(2, 1): "not today"}).choice(lambda key, name: "")
    assert [choose(key, "RopX") for key in ((1, 1), (2, 1), (3, 1))] == ["", "not today", NOT_CHOSEN]


# Edits.

REQUEST: dict[str, Any] = {
    "Name": "a", "Count": 1, "Flag": True, "Data": b"\1", "Id": ObjectId(1, 2), "Key": Xid(uuid.UUID(int=1), b"\0" * 6),
    "Long": LongTermId(uuid.UUID(int=1), 5, 7), "Guid": uuid.UUID(int=1), "Inner": {"X": 1.5},
    "PropertyValues": [{"PropertyTag": 0x0037001F, "PropertyValue": "s"},
                       {"PropertyTag": 0x80010003, "PropertyValue": 4}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "given_value", "found"),
    [
        ("Name", "b", "b"),
        ("Count", 7, 7),
        ("Flag", False, False),
        ("Data", "0aff", b"\x0a\xff"),
        ("Id", "0002-0000000000ff", ObjectId(2, 255)),
        ("Key", "00000000-0000-0000-0000-000000000009-0102", Xid(uuid.UUID(int=9), b"\1\2")),
        ("Long", "00000000-0000-0000-0000-000000000009-00000000000a", LongTermId(uuid.UUID(int=9), 10, 7)),
        ("Guid", "00000000-0000-0000-0000-000000000009", uuid.UUID(int=9)),
        ("Inner.X", 2.5, 2.5),
        ("PropertyValues.PidTagSubject", "t", "t"),
        ("PropertyValues[1].PropertyValue", 5, 5),
        ("PropertyValues.0x80010003", 6, 6),
    ],
)
def test_a_field_is_set_in_its_own_type(path: str, given_value: Any, found: Any) -> None:
    before = json.dumps(REQUEST, default=str)
    made = edited(REQUEST, {path: given_value})
    assert found in list(leaves(made))
    assert json.dumps(REQUEST, default=str) == before


def leaves(value: Any) -> Any:
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


@pytest.mark.parametrize(
    ("path", "value"),
    [("Nothing", 1), ("PropertyValues.PidTagBody", "x"), ("PropertyValues[9].PropertyValue", 1), ("", 1), ("Name.X", 1),
     ("Count", "seven"), ("Count", True), ("Flag", 1), ("Id", "x-y"), ("Data", "zz"), ("Guid", "no")],
)  # fmt: skip
def test_a_field_that_is_not_there_or_a_value_that_does_not_fit(path: str, value: Any) -> None:
    with pytest.raises(ReplayError, match="set"):
        edited(REQUEST, {path: value})


def test_the_capture_is_read_from_standard_input_as_often_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys

    class Input:
        buffer = io.BytesIO(TABLES.read_bytes())

    monkeypatch.setattr(sys, "stdin", Input())
    source = Source.of("-")
    with source.steps(Selection(where="rop == RopQueryRows")) as steps:
        assert list(sent(list(steps)).values())[-1] == "RopRelease"
    assert source.digest == ""
    with dissect(TABLES) as dissection:
        assert len(list(dissection.exchanges())) == 22
