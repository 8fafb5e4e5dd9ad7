"""Two captures of the same act: what differs, and what only looks different."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from dissector.diagnose.compare import ABSENT, ANSWER, CONTENT, FORM, REQUEST, VALUE, Difference, Side, compare, gather
from dissector.pipeline import dissect
from tests.conftest import ROOT
from tests.dissector.diagnose import bad_syncs, edit, recordings
from tests.dissector.diagnose.edit import Tape

BUNDLED = sorted((ROOT / "captures").glob("*.pcap"))
UPLOAD = ROOT / "captures" / "upload-session.pcap"


def side(path: Path) -> Side:
    with dissect(path) as dissection:
        return gather(dissection)


def differences(a: Path, b: Path) -> list[Difference]:
    return compare(side(a), side(b))


def against(tape: Tape, folder: Path, original: str = "upload-session") -> list[Difference]:
    return differences(ROOT / "captures" / f"{original}.pcap", tape.write(folder / "b.pcap"))


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.name)
def test_a_capture_is_like_itself(path: Path) -> None:
    assert differences(path, path) == []


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.name)
def test_other_ids_handles_and_times_are_no_difference(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same act in another mailbox: other GUIDs, and what Tape changes (addresses, times, framing)."""
    monkeypatch.setattr(edit, "MSS", 60_000)  # no GUID is cut in two
    written = Tape(path).write(tmp_path / "other.pcap")
    data = written.read_bytes()
    guids = [uuid.UUID("00000001-18a5-6f7b-bcdc-ea1ed03c5657"), uuid.UUID("6fd8ee86-e67c-4e62-a3bd-9bff612d3790")]
    for number, guid in enumerate(guids):
        data = data.replace(guid.bytes_le, uuid.UUID(int=0x1111 << 112 | number).bytes_le)
    written.write_bytes(data)
    assert differences(path, written) == []


def test_another_answer_weighs_most(tmp_path: Path) -> None:
    found = against(bad_syncs.refused(), tmp_path)
    assert (found[0].weight, found[0].what) == (ANSWER, "RopSynchronizationImportReadStateChanges")
    assert (found[0].a, found[0].b) == ("ecSuccess", "ecNotFound")
    assert [one.weight for one in found] == sorted((one.weight for one in found), reverse=True)


def test_messages_that_do_not_come(tmp_path: Path) -> None:
    found = against(bad_syncs.aborted(), tmp_path)
    assert found[0].path == "complete"
    absent = [one.path for one in found if one.weight == ABSENT]
    assert absent == ["full 'Replaced by ICS upload'", "full 'view'", "full 'IPM.Configuration.Test'"]
    assert any(one.weight == CONTENT and one.path == "counts" for one in found)


def test_a_version_that_was_made_from_another(tmp_path: Path) -> None:
    """The client's change list names 0x50 where it named 0x6D: both known by then."""
    found = against(bad_syncs.conflict(), tmp_path)
    assert {one.what for one in found} == {
        "RopSynchronizationImportMessageChange", "synchronization: upload contents Inbox",
    }  # fmt: skip
    assert {one.weight for one in found} == {VALUE, REQUEST}
    assert all("elsewhere" in one.b for one in found)


def test_a_property_that_is_not_sent(tmp_path: Path) -> None:
    made = recordings.edited(recordings.without(("PidTagImportance",)), recordings.contents)
    found = against(made, tmp_path, "contents-incremental")
    (one,) = [one for one in found if one.weight == CONTENT]
    assert (one.path, one.a, one.b, one.times) == ("PidTagImportance", "sent", "not sent", 4)
    assert {one.weight for one in found} == {CONTENT, FORM}


def test_a_state_that_does_not_move(tmp_path: Path) -> None:
    found = against(
        recordings.final(0, recordings.contents, CnsetRead=recordings.ids((1, 0x60))), tmp_path, "contents-incremental"
    )
    one = next(one for one in found if one.path == "state")
    assert "CnsetRead grows" in one.a
    assert "CnsetRead stays" in one.b


def test_who_is_compared() -> None:
    found = side(UPLOAD)
    assert found.server == ["X-ServerApplication: Exchange/15.00.0847.4040", "cookies sid, sequence"]
    assert found.client[0].startswith("X-ClientApplication: ")


def test_a_session_without_a_counterpart_is_one_difference(tmp_path: Path) -> None:
    """The other capture has a session more, before the one that is alike."""
    tape = Tape(UPLOAD)
    other = [edit.repeated(call) for call in [*tape.calls[:4], tape.calls[-1]]]
    for call in other:
        call.connection = 7
        for head in (call.request_head, call.response_head or []):
            head[:] = [line.replace("sid=", "sid=z").replace("sequence=", "sequence=z") for line in head]
    tape.calls[0:0] = other
    (one,) = against(tape, tmp_path)
    assert (one.weight, one.what, one.place_a, one.a) == (ABSENT, "session 1 of B", None, "not there")
    assert one.b.startswith("5 ROPs and calls (Connect, RopLogon, ")


def test_columns_of_tables_by_name(tmp_path: Path) -> None:
    """One table has other flags in two of its rows."""
    tape = Tape(ROOT / "captures" / "tables-lzx.pcap")
    _, payload, number, side_ = tape.having("RopQueryRows", response=True)[0]
    for row in side_.value["RowData"][:2]:
        row["ValueArray"][4]["PropertyValue"] += 1
    payload.put(number, side_, side_.value, edit.build(side_.layout, side_.value, **side_.params))
    (one,) = against(tape, tmp_path, "tables-lzx")
    assert (one.weight, one.what, one.path, one.times) == (
        VALUE, "RopQueryRows", "response.RowData[].PidTagMessageFlags", 2,
    )  # fmt: skip
    assert int(one.b) == int(one.a) + 1


def test_values_in_words(tmp_path: Path) -> None:
    made = recordings.edited(recordings.of_message(0x3000F, recordings.with_value(0x00170003, 2)), recordings.contents)
    one = next(one for one in against(made, tmp_path, "contents-incremental") if one.weight == VALUE)
    assert (one.path, one.a, one.b) == ("PidTagImportance", "1", "2")
