"""Requests with the live server's ids: byte for byte where nothing changes, built anew where something does."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from construct import Container

from dissector.grammar.base import build
from dissector.grammar.reading import parse
from dissector.grammar.rops import BY_NAME
from dissector.model.ids import LongTermId, ObjectId
from dissector.model.pcl import Xid
from dissector.pipeline import dissect
from dissector.session.exchange import RopSide
from dissector.source import ByteSource
from replay.identity import Identity, UnmappedError
from replay.rewrite import Rewriter
from tests.conftest import ROOT, captures_in

HERE, THERE, CLIENT, STORE, OTHER = (uuid.UUID(int=number) for number in range(1, 6))


def key(guid: uuid.UUID, counter: int) -> Xid:
    return Xid(guid, counter.to_bytes(6, "big"))


def identity() -> Identity:
    made = Identity()
    made.learn(HERE, THERE)
    made.learn(STORE, OTHER)
    made.captured.learn(1, HERE)
    made.live.learn(7, THERE)
    made.learn(ObjectId(1, 5), ObjectId(7, 0x500))
    made.learn(key(HERE, 6), key(THERE, 0x600))
    made.learn(key(HERE, 90), key(THERE, 0x900), change=True)
    made.names["/o=a/cn=alice"] = "/o=somewhere else/cn=bob"
    made.named = {0x8001: 0x9001}
    return made


def side(name: str, **fields: Any) -> RopSide:
    """A captured request."""
    definition = BY_NAME[name]
    data = build(definition.request, {"LogonId": 0, "InputHandleIndex": 0, "OutputHandleIndex": 1, **fields})
    value, end = parse(definition.request, data)
    source = ByteSource("rops", b"before" + data + b"after")
    return RopSide(definition.rop_id, definition, definition.request, source, 6, end, value, {}, False)


def rewritten(name: str, **fields: Any) -> tuple[bytes, Any, list[tuple[str, str]]]:
    captured = side(name, **fields)
    rewriter = Rewriter(identity())
    data = rewriter.request(captured, captured.value)
    value, end = parse(BY_NAME[name].request, data)
    assert end == len(data)
    return data, value, rewriter.notes


def test_ids_of_folders_and_messages() -> None:
    _, value, _ = rewritten("RopOpenMessage", CodePageId=0, FolderId=ObjectId(1, 5), OpenModeFlags=0,
                            MessageId=ObjectId(1, 6))  # fmt: skip
    assert (value["FolderId"], value["MessageId"]) == (ObjectId(7, 0x500), ObjectId(7, 0x600))


def test_an_id_without_a_counterpart_is_told() -> None:
    with pytest.raises(UnmappedError, match="0001-000000000009"):
        rewritten("RopOpenFolder", FolderId=ObjectId(1, 9), OpenModeFlags=0)


def test_a_request_without_ids_is_sent_byte_for_byte() -> None:
    captured = side("RopGetContentsTable", TableFlags=0x40)
    assert Rewriter(identity()).request(captured, captured.value) == captured.source.data[6:-5]


def test_source_keys_change_keys_and_predecessors() -> None:
    values = [
        {"PropertyTag": 0x65E00102, "PropertyValue": key(HERE, 6)},
        {"PropertyTag": 0x65E20102, "PropertyValue": Xid(CLIENT, b"\1\2\3\4")},
        {"PropertyTag": 0x65E30102, "PropertyValue": [key(HERE, 90), Xid(CLIENT, b"\1\2\3\4")]},
    ]
    _, value, notes = rewritten("RopSynchronizationImportMessageChange", ImportFlag=0, PropertyValues=values)
    source, change, before = (one["PropertyValue"] for one in value["PropertyValues"])
    assert source == key(THERE, 0x600)
    assert change == Xid(CLIENT, b"\1\2\3\4")
    assert before == sorted([key(THERE, 0x900), change], key=lambda one: one.namespace.bytes_le)
    assert notes == []


def test_a_change_that_was_never_seen_keeps_its_count_and_is_noted() -> None:
    values = [{"PropertyTag": 0x65E30102, "PropertyValue": [key(HERE, 91)]}]
    _, value, notes = rewritten("RopSynchronizationImportMessageChange", ImportFlag=0, PropertyValues=values)
    assert value["PropertyValues"][0]["PropertyValue"] == [key(THERE, 91)]
    assert len(notes) == 1
    assert "keeps its count under the live GUID" in notes[0][0]


def test_what_a_move_names_is_told_apart_by_its_field() -> None:
    """The same count is an object in one field and a change in another."""
    made = identity()
    made.learn(key(HERE, 90), key(THERE, 0x90), change=False)
    captured = side(
        "RopSynchronizationImportMessageMove", SourceFolderId=key(HERE, 6), SourceMessageId=key(HERE, 90),
        PredecessorChangeList=[key(HERE, 90)], DestinationMessageId=key(HERE, 6), ChangeNumber=Xid(CLIENT, b"1234"),
    )  # fmt: skip
    value, _ = parse(captured.layout, Rewriter(made).request(captured, captured.value))
    assert value["SourceMessageId"] == key(THERE, 0x90)
    assert value["PredecessorChangeList"] == [key(THERE, 0x900)]


def test_deletes_and_read_states() -> None:
    keys = [{"PropertyTag": 0x00001102, "PropertyValue": [key(HERE, 6), key(CLIENT, 6)]}]
    _, value, _ = rewritten("RopSynchronizationImportDeletes", ImportDeleteFlags=0, PropertyValues=keys)
    assert value["PropertyValues"][0]["PropertyValue"] == [key(THERE, 0x600), key(CLIENT, 6)]
    states = [{"MessageId": key(HERE, 6), "MarkAsRead": True}]
    _, value, _ = rewritten("RopSynchronizationImportReadStateChanges", MessageReadStates=states)
    assert value["MessageReadStates"][0]["MessageId"] == key(THERE, 0x600)


def test_long_term_ids_and_their_ranges() -> None:
    _, value, _ = rewritten("RopIdFromLongTermId", LongTermId=LongTermId(HERE, 5))
    assert value["LongTermId"] == LongTermId(THERE, 0x500)


def test_entry_ids_names_and_search_keys() -> None:
    """A longer DN moves everything behind it: sizes and counts are made anew."""
    folder = {"Flags": 0, "ProviderUID": STORE, "FolderType": 1, "DatabaseGuid": HERE, "GlobalCounter": 5, "Pad": 0}
    person = {"Flags": 0, "ProviderUID": uuid.UUID(bytes_le=bytes.fromhex("dca740c8c042101ab4b908002b2fe182")),
              "Version": 1, "Type": 0, "X500DN": "/o=A/cn=ALICE"}  # fmt: skip
    values = [
        {"PropertyTag": 0x0FFF0102, "PropertyValue": folder},
        {"PropertyTag": 0x0C190102, "PropertyValue": person},
        {"PropertyTag": 0x0C1F001F, "PropertyValue": "/o=A/cn=ALICE"},
        {"PropertyTag": 0x0C1D0102, "PropertyValue": "EX:/O=A/CN=ALICE"},
        {"PropertyTag": 0x0037001F, "PropertyValue": "/o=a/cn=alicely"},
    ]
    data, value, _ = rewritten("RopSetProperties", PropertyValues=values)
    found = [one["PropertyValue"] for one in value["PropertyValues"]]
    assert (found[0]["ProviderUID"], found[0]["DatabaseGuid"], found[0]["GlobalCounter"]) == (OTHER, THERE, 0x500)
    assert found[1]["X500DN"] == found[2] == "/o=somewhere else/cn=bob"
    assert found[3] == "EX:/O=SOMEWHERE ELSE/CN=BOB"
    assert found[4] == "/o=a/cn=alicely"
    assert value["PropertyValueSize"] == len(data) - 5


def test_tags_of_named_properties() -> None:
    _, value, _ = rewritten("RopGetPropertiesSpecific", PropertySizeLimit=0, WantUnicode=True,
                            PropertyTags=[0x8001001F, 0x0037001F, 0x8002001F])  # fmt: skip
    assert value["PropertyTags"] == [0x9001001F, 0x0037001F, 0x8002001F]
    _, value, _ = rewritten("RopSetProperties", PropertyValues=[{"PropertyTag": 0x80010003, "PropertyValue": 4}])
    assert value["PropertyValues"][0]["PropertyTag"] == 0x90010003
    exists = {"RestrictType": 8, "PropertyTag": 0x80010003}
    _, value, _ = rewritten("RopRestrict", RestrictFlags=0, RestrictionData=exists)
    assert value["RestrictionData"]["PropertyTag"] == 0x90010003
    orders = [{"PropertyTag": 0x8001001F, "Order": 0}]
    _, value, _ = rewritten("RopSortTable", SortTableFlags=0, CategoryCount=0, ExpandedCount=0, SortOrders=orders)
    assert value["SortOrders"][0]["PropertyTag"] == 0x9001001F


def requests() -> list[Any]:
    found = sorted((ROOT / "captures").glob("*.pcap")) + captures_in("gromox", "real")
    return [pytest.param(path, id=path.stem) for path in dict.fromkeys(found)]


@pytest.mark.parametrize("path", requests())
def test_every_request_of_every_capture_is_itself_under_the_same_names(path: Path) -> None:
    """A replay to the server of the capture changes no byte of any request."""
    same = Identity()
    count = 0
    with dissect(path) as dissection:
        for exchange in dissection.exchanges():
            for rop in exchange.rops:
                if rop.request is None or rop.request.value is None:
                    continue
                teach(rop.request.value, same)
                data = Rewriter(same).request(rop.request, rop.request.value)
                original = rop.request.source.data[rop.request.offset :][: rop.request.length]
                assert data == original, rop.name
                count += 1
    assert count


@pytest.mark.parametrize("path", requests())
def test_every_request_builds_anew_with_other_ids(path: Path) -> None:
    """What is rewritten is read back as what was meant, and rewriting it back gives the captured bytes."""
    there, back = Identity(), Identity()
    with dissect(path) as dissection:
        for exchange in dissection.exchanges():
            for rop in exchange.rops:
                if rop.request is None or rop.request.value is None:
                    continue
                moved(rop.request.value, there, back)
                data = Rewriter(there).request(rop.request, rop.request.value)
                value, end = parse(rop.request.layout, data, **rop.request.params)
                assert end == len(data), rop.name
                again = RopSide(rop.rop_id, rop.definition, rop.request.layout, ByteSource("", data), 0, end, value,
                                rop.request.params, False)  # fmt: skip
                original = rop.request.source.data[rop.request.offset :][: rop.request.length]
                assert Rewriter(back).request(again, value) == original, rop.name


def ids_in(value: Any) -> Iterator[Any]:
    if isinstance(value, ObjectId | LongTermId | Xid):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from ids_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from ids_in(item)


def teach(value: Any, same: Identity) -> None:
    for one in ids_in(value):
        same.learn(one, one)
        if isinstance(one, Xid):
            same.learn(one, one, change=True)


def moved(value: Any, there: Identity, back: Identity) -> None:
    """Every object and change gets another counter."""
    for one in ids_in(value):
        if isinstance(one, ObjectId):
            if one.counter:
                other: Any = ObjectId(one.replica_id, one.counter ^ 0x5A5A5A)
                there.learn(one, other)
                back.learn(other, one)
            continue
        name = one if isinstance(one, Xid) else Xid(one.guid, one.counter.to_bytes(6, "big"))
        if len(name.local_id) != 6 or not int.from_bytes(name.local_id, "big"):
            continue
        other = Xid(name.namespace, (int.from_bytes(name.local_id, "big") ^ 0x5A5A5A).to_bytes(6, "big"))
        for change in (False, True):
            there.learn(name, other, change=change)
            back.learn(other, name, change=change)


def test_fields_that_are_set_come_last() -> None:
    captured = side("RopLogon", LogonFlags=1, OpenFlags=0, StoreState=0, Essdn="/o=a/cn=alice")
    data = Rewriter(identity()).request(captured, captured.value, {"Essdn": "/o=x", "EssdnSize": None})
    value, _ = parse(captured.layout, data)
    assert (value["Essdn"], value["EssdnSize"]) == ("/o=x", 5)
    assert isinstance(value, Container)
