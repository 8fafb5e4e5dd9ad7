"""Messages that are kept as columns: what is said of them is what is said of each as an object."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from pathlib import Path

import pytest

from dissector.model.idset import IdSet
from dissector.pipeline import dissect
from dissector.session.account import Allowance
from dissector.session.streams import Streams
from dissector.session.sync import Recorder, records
from dissector.session.syncrecord import SyncChange, SyncRecord
from dissector.session.versions import Versions
from tests.conftest import captures_in

NOT_TOLD = ("message_class", "warnings")
"""What an outline does not tell."""


def syncs(path: Path, *, outline: bool) -> list[SyncRecord]:
    streams = Streams(allowance=Allowance(0) if outline else None)
    with dissect(path) as dissection:
        return list(records(dissection.exchanges(), Recorder(streams)))


def facts(change: SyncChange) -> dict[str, object]:
    return {
        one.name: getattr(change, one.name) for one in dataclasses.fields(change) if one.name not in NOT_TOLD
    }  # fmt: skip


@pytest.fixture(autouse=True)
def packed_however_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dissector.grammar.outline.ALIKE", 1)


@pytest.mark.parametrize("path", captures_in("gromox"), ids=lambda path: path.name)
def test_packed_or_not_is_the_same(path: Path) -> None:
    exact, brief = syncs(path, outline=False), syncs(path, outline=True)
    versions, packed_versions = Versions(), Versions()
    for one, two in zip(exact, brief, strict=True):
        assert [facts(change) for change in two.changes] == [facts(change) for change in one.changes]
        assert len(two.changes) == len(one.changes)
        assert [facts(change) for change in two.changes[1:3]] == [facts(change) for change in one.changes[1:3]]
        versions.add(one)
        for change in two.changes.single:
            packed_versions.learn(two, change)
        packed = two.changes.packed
        if packed is not None:
            singles = {id(change) for change in two.changes.single}
            objects = [change for change in two.changes if id(change) not in singles]
            assert packed.count == len(objects)
            assert packed.fai == sum(bool(change.fai) for change in objects)
            assert packed.ids == IdSet.of([change.id for change in objects if change.id is not None])
            for fai, seen in ((False, packed.seen), (True, packed.seen_fai)):
                assert seen == IdSet.of([
                    change.version for change in objects if change.version is not None and change.fai is fai
                ])  # fmt: skip
            packed_versions.learn_packed(two, packed)
        for change in one.changes:
            assert packed_versions.last(change.source_key) == versions.last(change.source_key)


def test_some_are_packed() -> None:
    found = [one for path in captures_in("gromox") for one in syncs(path, outline=True)]
    assert sum(one.changes.packed.count for one in found if one.changes.packed is not None) > 50


def test_a_list_that_does_not_go_on_from_the_last_version() -> None:
    path = next(path for path in captures_in("gromox") if path.name == "contents-bootstrap.pcap")
    (record,) = syncs(path, outline=True)
    packed = record.changes.packed
    assert packed is not None
    versions = Versions()
    assert versions.extended_by(packed), "nothing is known before"
    versions.learn_packed(record, packed)
    assert versions.extended_by(packed)
    (change, *_) = packed.changes(*packed.parts[0])
    later = dataclasses.replace(change, pcl=type(change.pcl)([change.change_key._replace(local_id=b"\xff" * 6)]))
    versions.learn(record, later)
    assert not versions.extended_by(packed), "the last version was a later one"
    packed.change_keys = bytes(len(packed.change_keys))
    assert not versions.extended_by(packed), "another namespace"


def test_what_was_replaced_is_let_go() -> None:
    path = next(path for path in captures_in("gromox") if path.name == "contents-bootstrap.pcap")
    (record,), (again,) = syncs(path, outline=True), syncs(path, outline=True)
    first, second = record.changes.packed, again.changes.packed
    assert first is not None
    assert second is not None
    versions = Versions()
    versions.learn_packed(record, first)
    held = weakref.ref(first)
    versions.learn_packed(again, second)
    record.changes.packed = first = None
    gc.collect()
    assert held() is None
    assert versions.last(second.change(0).source_key) is not None
    with pytest.raises(IndexError):
        second.change(second.count)
