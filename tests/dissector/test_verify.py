"""Verification of streams and states: what is counted, and that a difference is seen."""

from __future__ import annotations

from typing import Any

import pytest

from dissector import verify as module
from dissector.grammar.elements import Element, rebuild
from dissector.pipeline import dissect
from dissector.session.exchange import Exchange
from dissector.session.streams import KEEP_ALL, Joined, Streams
from dissector.verify import Report, verify, verify_joined
from tests.conftest import ROOT
from tests.dissector.grammar.streams import contents, stream, subject
from tests.dissector.session.talk import DONE, Talk, got

CAPTURES = sorted((ROOT / "captures").glob("*.pcap"))
CONTENTS = contents(3)


def verified(*exchanges: Exchange) -> Report:
    """The streams and states alone: the envelopes of made exchanges have no trees."""
    report, streams = Report(), Streams(KEEP_ALL)
    for exchange in exchanges:
        verify_joined(streams.exchange(exchange), report)
    verify_joined(Joined(streams.finish(), []), report)
    return report


def transfer(*pieces: bytes) -> Report:
    talk = Talk()
    calls = [talk.folder(), talk.configure(5), *(talk.get(5, got(one)) for one in pieces[:-1])]
    return verified(*calls, talk.get(5, got(pieces[-1], DONE)))


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_stream_of_every_bundled_capture_builds_back_buffer_for_buffer(path: Any) -> None:
    with dissect(path) as dissection:
        report = verify(dissection.exchanges())
    assert report.ok, report.findings[:5]
    assert report.streams_identical == report.streams
    assert report.states_identical == report.states
    assert (report.streams_different, report.states_different, report.streams_incomplete) == (0, 0, 0)
    assert report.undecoded_bytes == 0
    if path.name == "contents-incremental.pcap":
        assert (report.streams, report.stream_bytes, report.stream_buffers) == (2, 16134, 2)
        assert (report.stream_elements, report.states) == (337, 8)


def test_buffers_and_elements_are_counted() -> None:
    report = transfer(CONTENTS[:10], CONTENTS[10:200], CONTENTS[200:])
    assert (report.streams, report.streams_identical, report.stream_buffers) == (1, 1, 3)
    assert report.stream_bytes == len(CONTENTS)
    assert report.ok


def test_a_difference_is_found_in_its_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(element: Element, **how: Any) -> bytes:
        made = rebuild(element, **how)
        return made[:-1] + b"!" if element.name == "PidTagSubject" else made

    monkeypatch.setattr(module, "rebuild", wrong)
    place = CONTENTS.index("No 0".encode("utf-16-le"))
    report = transfer(CONTENTS[:place], CONTENTS[place : place + 40], CONTENTS[place + 40 :])
    assert (report.streams_identical, report.streams_different) == (0, 1)
    assert not report.ok
    assert f"buffer at offset {place}" in report.findings[0].pdu
    assert report.findings[0].exchange == 4


def test_a_difference_in_length_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "rebuild", lambda element, **how: rebuild(element, **how) + b"x" * element.is_marker)
    assert transfer(CONTENTS).streams_different == 1


def test_what_is_malformed_is_undecoded_and_built_back_as_it_is() -> None:
    data = stream("IncrSyncChg", subject()) + bytes.fromhex("FD 00 37 00 01 02 03")
    report = transfer(data)
    assert report.undecoded_bytes == 7
    assert report.streams_identical == 1
    assert not report.ok
    assert report.findings[0].pdu == "stream 1 (contentsSync), Undecoded at offset 24"
    assert report.diagnostics["MALFORMED"] >= 1


def test_what_was_never_sent_is_no_fault() -> None:
    talk = Talk()
    report = verified(talk.folder(), talk.configure(5), talk.get(5, got(CONTENTS[:333])), talk.release(5))
    assert report.streams_incomplete == 1
    assert report.undecoded_bytes == 0
    assert report.no_context_bytes > 0
    assert report.ok


def test_a_state_that_is_malformed_counts() -> None:
    talk = Talk()
    data = bytes(range(16)) + b"\x52\0\0"
    report = verified(
        talk.folder(), talk.configure(5), talk.begin(5, 0x40170003, len(data)), talk.more(5, data), talk.end(5)
    )
    assert (report.states, report.states_identical, report.states_different) == (1, 0, 0)
    assert report.undecoded_bytes > 0
    assert not report.ok


def test_what_is_open_when_the_capture_ends_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "verify_exchange", lambda exchange, report: None)
    talk = Talk()
    half = bytes(range(16)) + b"\x06\0\0\0\0\0\1\0"
    exchanges = [talk.folder(), talk.configure(5), talk.begin(5, 0x40170003, 0), talk.end(5)]
    exchanges += [talk.get(5, got(CONTENTS[:99])), talk.begin(5, 0x67960102, 99), talk.more(5, half)]
    report = verify(exchanges)
    assert (report.streams, report.streams_incomplete) == (1, 1)
    assert (report.states, report.states_identical) == (2, 2)


def test_the_sums_are_in_the_json() -> None:
    shown = transfer(CONTENTS).as_json()
    assert {"streams", "stream_bytes", "stream_buffers", "streams_identical", "streams_different", "states"} <= set(
        shown
    )
