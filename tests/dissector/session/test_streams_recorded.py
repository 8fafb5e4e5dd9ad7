"""Joining: real captures against what the client received, real streams cut anywhere, captures that are damaged."""

from __future__ import annotations

import io
import json
import random
import shutil
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.errors import CaptureError
from dissector.grammar.fasttransfer import MARKERS
from dissector.grammar.icstree import trace_stream
from dissector.node import Node, Severity
from dissector.pipeline import dissect
from dissector.session.exchange import Exchange
from dissector.session.stream import StateUpload, Stream
from dissector.source import ByteSource
from dissector.verify import tiling_faults
from tests.conftest import ROOT, examples, shared
from tests.dissector.grammar.streams import REAL, full_change, real, stream
from tests.dissector.session.joining import CONTENTS, joined, only, unread
from tests.dissector.session.talk import DONE, PARTIAL, Talk, got
from tests.test_mutations import mutated


def shape(node: Node) -> list[tuple[Any, ...]]:
    return [(one.name, one.offset, one.length, repr(one.value), one.diagnostics) for one in node.walk()]


# ---------------------------------------------------------------------------------------------- real captures


EXPECTED = {
    "contents-bootstrap": ["contents", None],
    "contents-incremental": ["incremental", "incremental-noop"],
    "copyto": ["copyto", "copymessages", "copyfolder"],
    "hierarchy-bootstrap": ["hierarchy", "hierarchy-again"],
    "onepass": ["onepass-ipm", "onepass-inbox"],
    "upload-session": ["upload-before", None, None, None, None, None, None, "upload-after"],
}
"""The joined streams of each capture, in order; None: a state or a collector, of which the client kept no bytes."""


@pytest.fixture(scope="module", params=sorted(EXPECTED))
def recorded(request: pytest.FixtureRequest) -> tuple[str, list[Stream], list[StateUpload], dict[int, Exchange]]:
    path = shared("captures", "gromox", f"{request.param}.pcap")
    with dissect(path) as dissection:
        exchanges = list(dissection.exchanges())
    return request.param, *joined(exchanges), {one.number: one for one in exchanges}


def test_real_streams_are_what_the_client_received(recorded: Any) -> None:
    name, streams, _, _ = recorded
    assert len(streams) == len(EXPECTED[name])
    for found, expected in zip(streams, EXPECTED[name], strict=True):
        assert found.complete
        assert found.why == ""
        assert found.account.faults == []
        if expected is not None:
            assert found.source().data == real(f"{name}/{expected}")
            assert found.root == REAL[f"{name}/{expected}"]


def test_real_states_are_what_the_client_kept(recorded: Any) -> None:
    """The state at the end of a stream is the one the client wrote down; what it uploads is one it had before."""
    name, streams, _, _ = recorded
    folder = shared("captures", "gromox", "expected", name)
    for found, expected in zip(streams, EXPECTED[name], strict=True):
        path = folder / f"{expected}.state.json"
        if expected is None or not path.exists():
            continue
        kept = {int(tag, 16): bytes.fromhex(data) for tag, data in json.loads(path.read_text()).items()}
        tree = found.tree()
        state = [node for node in tree.walk() if node.name == "state" and node.children][-1]
        sent = {
            one.children[0].value: one.find("PropertyValue").data[4:] for one in state.children if one.children
        }  # fmt: skip
        assert sent == kept


def test_the_state_that_goes_up_is_the_one_that_came_down() -> None:
    with dissect(shared("captures", "gromox", "hierarchy-bootstrap.pcap")) as dissection:
        _, states = joined(list(dissection.exchanges()))
    first, again = [one for one in states if one.stream == 1], [one for one in states if one.stream == 2]
    assert [one.name for one in first] == ["MetaTagIdsetGiven", "MetaTagCnsetSeen"]
    assert all(one.bootstrap and one.size == 0 and not one.why for one in first)
    kept = json.loads(
        shared("captures", "gromox", "expected", "hierarchy-bootstrap", "hierarchy.state.json").read_text()
    )
    assert [one.source().data.hex() for one in again] == list(kept.values())
    assert not any(one.bootstrap for one in again)


def test_every_byte_of_a_real_stream_leads_to_a_buffer_that_carried_it(recorded: Any) -> None:
    _, streams, _, exchanges = recorded
    for found in streams:
        source = found.source()
        assert sum(buffer.length for buffer in found.buffers) == len(source) == found.size
        for buffer in found.buffers:
            spans = source.locate(buffer.offset, buffer.length)
            assert sum(span.length for span in spans) == buffer.length
            carrier = exchanges[buffer.exchange].call.response
            assert carrier is not None
            assert max(span.frame for span in spans) <= carrier.frame == buffer.frame
            held = source.data[buffer.offset : buffer.offset + buffer.length]
            assert any(held in payload.data for payload in carrier.payloads)


def test_real_streams_and_states_decode_to_the_last_byte(recorded: Any) -> None:
    _, streams, states, _ = recorded
    trees = [*(one.tree() for one in streams if one.size), *(one.tree() for one in states)]
    for tree in trees:
        assert list(tiling_faults(tree)) == []
        assert unread(tree) == []
        assert {found.severity for node in tree.walk() for found in node.diagnostics} <= {Severity.NOTE}


def test_counts_agree_with_the_trees(recorded: Any) -> None:
    _, streams, _, _ = recorded
    for found in streams:
        names = [node.name for node in found.tree().walk()] if found.size else []
        wanted = names.count("messageChange") + names.count("message") + (found.root == "messageContent")
        assert found.account.messages == wanted
        assert found.account.folders == names.count("folderChange") + (found.root == "topFolder")
        assert found.account.cut == 0


def test_the_first_real_context_by_name() -> None:
    with dissect(ROOT / "captures" / "contents-incremental.pcap") as dissection:
        streams, _ = joined(list(dissection.exchanges()))
    first = streams[0]
    assert (first.number, first.handle, first.direction, first.root) == (1, 2, "download", "contentsSync")
    assert first.opened_by == "RopSynchronizationConfigure"
    assert (first.exchange, first.frame) == (4, 19)
    assert (str(first.folder), first.folder_name) == ("0001-00000000000d", "Inbox")
    assert first.options["SynchronizationType"] == "Contents"
    assert "Progress" in first.options["SynchronizationFlags"]
    assert [one.name for one in first.states] == [
        "MetaTagIdsetGiven", "MetaTagCnsetSeen", "MetaTagCnsetSeenFAI", "MetaTagCnsetRead",
    ]  # fmt: skip
    assert {name: one.idset.count for name, one in first.account.sets["deletions"].items()} == {
        "MetaTagIdsetDeleted": 1,
        "MetaTagIdsetNoLongerInScope": 2,
    }


def test_the_state_of_a_collector_belongs_to_it() -> None:
    with dissect(ROOT / "captures" / "upload-session.pcap") as dissection:
        streams, _ = joined(list(dissection.exchanges()))
    assert [one.direction for one in streams] == ["download", *(["collector", "download"] * 3), "download"]
    assert [one.of for one in streams] == [None, None, 2, None, 4, None, 6, None]
    assert [one.root for one in streams if one.of is not None] == ["state"] * 3


# --------------------------------------------------------------------------------------- cut anywhere


NOOP = "contents-incremental/incremental-noop"


def rejoined(data: bytes, cuts: list[int]) -> ByteSource:
    """The bytes as they come out of buffers cut at these places."""
    talk = Talk()
    edges = [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]
    opening = [talk.folder(), talk.configure(5)]
    found = only(*opening, *(talk.get(5, got(one, PARTIAL)) for one in pieces), talk.get(5, got(b"", DONE)))
    assert found.complete
    return found.source()


def test_a_real_stream_cut_in_two_at_every_place_is_the_same_tree() -> None:
    data = real(NOOP)
    whole = shape(trace_stream(ByteSource("x", data), "contentsSync"))
    for place in range(1, len(data)):
        assert shape(trace_stream(rejoined(data, [place]), "contentsSync")) == whole


@given(st.data())
@examples(25)
def test_a_real_stream_cut_into_buffers_anywhere_is_the_same_tree_and_the_same_count(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["contents-incremental/incremental", "copyto/copymessages", NOOP]))
    wire = real(name)
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=40))
    talk = Talk()
    edges = [0, *sorted(cuts), len(wire)]
    exchanges = [talk.folder()]
    if REAL[name] == "contentsSync":
        exchanges.append(talk.configure(5))
    else:
        copy = "RopFastTransferSourceCopyMessages"
        exchanges.append(talk.opens(copy, 2, 5, MessageIds=[], CopyFlags=0, SendOptions=1))
    exchanges += [talk.get(5, got(wire[start:end])) for start, end in pairwise(edges)]
    found = only(*exchanges, talk.get(5, got(b"", DONE)))
    whole = trace_stream(ByteSource("x", wire), REAL[name])
    assert shape(found.tree()) == shape(whole)
    assert found.account.elements == sum(1 for node in whole.walk() if is_element(node))
    assert [buffer.length for buffer in found.buffers[:-1]] == [b - a for a, b in pairwise(edges)]


def is_element(node: Node) -> bool:
    """A property with its tag, or a marker: a leaf that is named by its value."""
    marker = not node.children and isinstance(node.value, int) and node.name == MARKERS.get(node.value)
    return node.spec == "MS-OXCFXICS 2.2.4.1" or marker


def account_of(found: Stream) -> tuple[Any, ...]:
    """All that is counted of a stream."""
    account = found.account
    return (
        found.root, found.inferred, account.elements, account.changes, account.cut, account.sets, account.errors,
        account.faults, account.fault_count, account.skipped, account.stopped,
    )  # fmt: skip


@given(st.data())
@examples(60)
def test_any_bytes_with_holes_give_trees_that_keep_every_byte(data: st.DataObject) -> None:
    wire = bytearray(data.draw(st.sampled_from([CONTENTS, stream(full_change()), b"abc" * 40])))
    for _ in range(data.draw(st.integers(0, 3))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    talk = Talk()
    exchanges = [talk.folder(), talk.configure(5)] if data.draw(st.booleans()) else []
    at = 0
    while at < len(wire):
        step = len(wire) // data.draw(st.integers(1, 6)) + 1
        if data.draw(st.integers(0, 3)):
            exchanges.append(talk.get(5, got(bytes(wire[at : at + step]))))
        else:
            exchanges.append(talk.get(5, captured=False))
        at += step
    at_once = [account_of(found) for found in joined(exchanges, keep=0)[0]]
    for found, counted in zip(joined(exchanges)[0], at_once, strict=True):
        with patch("dissector.session.stream.PART", data.draw(st.integers(1, 200))):
            assert account_of(found) == counted  # made when it is asked for, it is the same
        tree = found.tree()
        assert list(tiling_faults(tree)) == []
        assert tree.end == found.size
        assert not any(one.severity is Severity.BUG for node in tree.walk() for one in node.diagnostics)


def test_the_bundled_captures_are_all_read() -> None:
    for path in sorted((ROOT / "captures").glob("*.pcap")):
        with dissect(path) as dissection:
            streams, _ = joined(list(dissection.exchanges()))
        assert all(one.complete for one in streams), path.name


def test_no_streams_in_a_capture_without_icssync() -> None:
    path = shared("captures", "real", "outlook2003-exchange2003.pcap")
    with dissect(path) as dissection:
        assert joined(list(dissection.exchanges())) == ([], [])


def test_the_same_stream_through_tls() -> None:
    folder = shared("captures", "encrypted")
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed: TLS is opened through it")
    name = "contents-bootstrap-tls13"
    keys = {"tls.keylog_file": str(folder / f"{name}.keys")}
    with dissect(folder / f"{name}.pcapng", options=keys) as dissection:
        (found,), states = joined(list(dissection.exchanges()))
    assert found.source().data == real("contents-bootstrap/contents")
    assert found.complete
    assert [one.bootstrap for one in states] == [True] * 4


def test_damaged_captures_give_streams_that_keep_every_byte() -> None:
    rng = random.Random(11)
    found = 0
    for name in ("contents-incremental.pcap", "hierarchy-bootstrap.pcap", "copyto.pcap"):
        data = (ROOT / "captures" / name).read_bytes()
        for _ in range(12):
            try:
                with dissect(io.BytesIO(mutated(data, rng)), engine="native") as dissection:
                    streams, states = joined(list(dissection.exchanges()))
            except CaptureError:
                continue
            for one in (*streams, *states):
                tree = one.tree()
                found += 1
                assert list(tiling_faults(tree)) == []
                assert tree.end == one.size
                assert not any(why.severity is Severity.BUG for node in tree.walk() for why in node.diagnostics)
    assert found > 60
