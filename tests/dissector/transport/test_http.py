"""HTTP messages out of TCP segments: framing, pairing, holes, codings, and RPC over HTTP bodies."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.node import Severity
from dissector.transport import http, pairing
from dissector.transport.messages import HttpExchange, HttpMessage, Opaque
from tests.conftest import examples
from tests.dissector.transport.wire import Wire

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"


def post(body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"POST /mapi/emsmdb/ HTTP/1.1\r\nHost: h\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def ok(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def chunked(*chunks: bytes, extension: str = "", trailers: str = "") -> bytes:
    parts = [f"{len(chunk):x}{extension}\r\n".encode() + chunk + b"\r\n" for chunk in chunks]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(parts) + f"0{extension}\r\n{trailers}\r\n".encode()


def exchanges(wire: Wire) -> list[HttpExchange]:
    messages = wire.read()
    found = [message for message in messages if isinstance(message, HttpExchange)]
    assert len(found) == len(messages), messages
    return found


def only(wire: Wire) -> HttpExchange:
    (exchange,) = exchanges(wire)
    return exchange


def response_of(answer: bytes, ask: bytes = GET, mss: int = 1460, close: bool = True) -> HttpMessage:
    wire = Wire()
    link = wire.link().ask(ask).answer(answer, mss)
    if close:
        link.close()
    response = only(wire).response
    assert response is not None
    return response


def texts(message: HttpMessage | None, severity: Severity | None = None) -> str:
    assert message is not None
    return "; ".join(note.message for note in message.diagnostics if severity in (None, note.severity))


def test_an_exchange() -> None:
    wire = Wire()
    wire.link().ask(post(b"abc", "X-RequestType: Execute")).answer(ok(b"defgh", "X-ResponseCode: 0"), mss=7).close()
    exchange = only(wire)
    request, response = exchange.request, exchange.response
    assert request is not None
    assert response is not None
    assert (request.kind, request.method, request.target, request.status) == ("request", "POST", "/mapi/emsmdb/", 0)
    assert request.header("x-requesttype") == "Execute"
    assert request.header("none") is None
    assert request.body.data == b"abc"
    assert request.raw.data == request.head.data + b"abc"
    assert request.head.data.endswith(b"\r\n\r\n")
    assert (response.kind, response.status, response.method) == ("response", 200, "")
    assert response.body.data == b"defgh"
    assert (request.first_frame, request.last_frame) == (3, 3)
    assert response.first_frame == 4
    assert response.last_frame == len(wire.segments) - 2
    assert response.last_time == pytest.approx(response.last_frame / 1000)
    assert request.complete
    assert response.complete
    assert not request.diagnostics
    assert not response.diagnostics


def test_keep_alive_and_pipelining() -> None:
    wire = Wire()
    link = wire.link()
    link.ask(post(b"1")).answer(ok(b"one")).ask(post(b"2") + post(b"3") + GET)
    link.answer(ok(b"two") + chunked(b"thr", b"ee") + ok(b"four")).close()
    found = [
        (one.request and one.request.body.data, one.response and one.response.body.data) for one in exchanges(wire)
    ]
    assert found == [(b"1", b"one"), (b"2", b"two"), (b"3", b"three"), (b"", b"four")]


@pytest.mark.parametrize("mss", [1, 2, 3, 5, 1460])
def test_chunks_with_extensions_and_trailers(mss: int) -> None:
    answer = chunked(b"abc", b"d" * 20, extension=';name="a value"', trailers="X-After: 1\r\nX-More: 2\r\n")
    response = response_of(answer, mss=mss)
    assert response.body.data == b"abc" + b"d" * 20
    assert response.trailers == [("X-After", "1"), ("X-More", "2")]
    assert response.raw.data == answer
    assert response.complete


def test_body_bytes_lead_back_to_their_frames() -> None:
    wire = Wire()
    wire.link().ask(GET).answer(chunked(b"abc", b"defgh", b"ij"), mss=11).close()
    response = only(wire).response
    assert response is not None
    body = response.body
    for start in range(len(body)):
        for size in range(1, len(body) - start + 1):
            assert wire.at(body.locate(start, size)) == body.data[start : start + size]
    assert wire.at(response.raw.locate(0, len(response.raw))) == response.raw.data


def test_a_body_that_ends_with_the_connection() -> None:
    response = response_of(b"HTTP/1.1 200 OK\r\n\r\nsome text", mss=10)
    assert response.body.data == b"some text"
    assert response.complete


def test_a_transfer_coding_that_is_not_chunked_ends_with_the_connection() -> None:
    packed = gzip.compress(b"text")
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 3\r\n\r\n" + packed
    assert response_of(answer).body.data == b"text"


def test_interim_responses_are_kept_with_the_final_one() -> None:
    wire = Wire()
    body = post(b"abcd", "Expect: 100-continue")
    link = wire.link().ask(body[:-4]).answer(b"HTTP/1.1 100 Continue\r\n\r\n").ask(body[-4:])
    link.answer(b"HTTP/1.1 102 Processing\r\n\r\n" + ok(b"done")).close()
    exchange = only(wire)
    assert exchange.request is not None
    assert exchange.response is not None
    assert exchange.request.body.data == b"abcd"
    assert exchange.response.interim == ["HTTP/1.1 100 Continue", "HTTP/1.1 102 Processing"]
    assert exchange.response.body.data == b"done"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_responses_without_body(status: str) -> None:
    wire = Wire()
    first = f"HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n".encode()
    wire.link().ask(GET).answer(first).ask(GET).answer(ok(b"x")).close()
    assert [one.response and one.response.body.data for one in exchanges(wire)] == [b"", b"x"]


def test_a_response_to_head_has_no_body() -> None:
    wire = Wire()
    head = b"HEAD / HTTP/1.1\r\n\r\n"
    wire.link().ask(head + GET).answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + ok(b"x")).close()
    assert [one.response and one.response.body.data for one in exchanges(wire)] == [b"", b"x"]


def test_an_answer_before_the_whole_question() -> None:
    wire = Wire()
    ask = post(b"abcdef")
    wire.link().ask(ask[:-3]).answer(ok(b"", status="401 Unauthorized")).ask(ask[-3:]).close()
    exchange = only(wire)
    assert exchange.request is not None
    assert exchange.response is not None
    assert exchange.request.body.data == b"abcdef"
    assert exchange.response.status == 401


def test_bare_line_feeds_folded_and_broken_header_lines() -> None:
    response = response_of(b"HTTP/1.1 200 OK\nX-Long: one\n  two\nnonsense\nContent-Length: 2\n\nhi")
    assert response.header("X-Long") == "one two"
    assert response.body.data == b"hi"
    assert "without a colon" in texts(response, Severity.MALFORMED)


@pytest.mark.parametrize("value", ["5, 6", "5\r\nContent-Length: 6", "five", "99999999999999999999", "-1"])
def test_contradictory_lengths_are_told(value: str) -> None:
    response = response_of(f"HTTP/1.1 200 OK\r\nContent-Length: {value}\r\n\r\nhello".encode())
    assert "Content-Length" in texts(response, Severity.MALFORMED)
    assert response.body.data in (b"hello", b"")


# --- content codings ---


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "deflate", "GZIP"])
def test_codings(name: str) -> None:
    text = b"some text " * 50
    packed = zlib.compress(text) if name == "deflate" else gzip.compress(text)
    wire = Wire()
    wire.link().ask(GET).answer(ok(packed, f"Content-Encoding: {name}"), mss=20).close()
    response = only(wire).response
    assert response is not None
    assert response.body.data == text
    assert response.raw.data.endswith(packed)
    assert wire.at(response.body.locate(3, 1)) == packed
    assert not response.diagnostics


def test_raw_deflate_several_members_and_several_codings() -> None:
    squeeze = zlib.compressobj(wbits=-15)
    raw = squeeze.compress(b"raw text") + squeeze.flush()
    assert response_of(ok(raw, "Content-Encoding: deflate")).body.data == b"raw text"
    members = gzip.compress(b"one ") + gzip.compress(b"two")
    assert response_of(ok(members, "Content-Encoding: gzip")).body.data == b"one two"
    both = gzip.compress(zlib.compress(b"twice"))
    assert response_of(ok(both, "Content-Encoding: deflate, gzip")).body.data == b"twice"


def test_a_coding_that_is_not_known_stays() -> None:
    response = response_of(ok(b"?!", "Content-Encoding: br"))
    assert response.body.data == b"?!"
    assert "br" in texts(response, Severity.NOTE)


def test_broken_codings_give_what_came_before() -> None:
    text = random.Random(1).randbytes(3000)
    packed = gzip.compress(text)
    cut = response_of(ok(packed[:2000], "Content-Encoding: gzip"))
    assert text.startswith(cut.body.data)
    assert len(cut.body) > 1000
    assert "breaks off" in texts(cut, Severity.MALFORMED)
    bent = bytearray(gzip.compress(b"hello " * 2000 + text))
    bent[-4:] = b"\xff\xff\xff\xff"
    wrong = response_of(ok(bytes(bent), "Content-Encoding: gzip"))
    assert wrong.body.data.startswith(b"hello hello")
    assert texts(wrong, Severity.MALFORMED)
    junk = response_of(ok(b"\xffjunk", "Content-Encoding: gzip"))
    assert junk.body.data == b"\xffjunk"
    assert texts(junk, Severity.MALFORMED)
    more = response_of(ok(packed + b"tail", "Content-Encoding: gzip"))
    assert more.body.data == text
    assert "4 bytes are left over" in texts(more)


# --- what was not captured ---


def test_requests_and_responses_alone() -> None:
    wire = Wire()
    wire.link().ask(post(b"1"))
    wire.link(opened=False).answer(ok(b"alone")).ask(post(b"2")).answer(ok(b"two"))
    found = [
        (one.request and one.request.body.data, one.response and one.response.body.data) for one in exchanges(wire)
    ]
    assert sorted(found, key=str) == [(None, b"alone"), (b"1", None), (b"2", b"two")]


def test_a_capture_that_begins_inside_a_body() -> None:
    wire = Wire()
    link = wire.link(opened=False).answer(bytes(range(128, 256)) * 40)
    link.ask(GET).answer(ok(b"x")).close()
    exchange = only(wire)
    assert exchange.request is not None
    assert exchange.response is not None
    assert exchange.response.body.data == b"x"
    assert "the capture begins inside" in texts(exchange.response, Severity.NO_CONTEXT)
    assert "5120 bytes" in texts(exchange.response, Severity.NO_CONTEXT)
    assert not exchange.request.diagnostics


def test_only_the_end_of_a_body_is_named() -> None:
    wire = Wire()
    wire.link(opened=False).answer(b"\x80" * 3000).ask(GET).close()
    found = wire.read()
    assert any(isinstance(one, HttpExchange) and one.response is None for one in found)
    (opaque,) = [one for one in found if isinstance(one, Opaque)]
    assert (opaque.kind, opaque.by_side) == ("unknown", (0, 3000))


def test_a_late_start_in_step_has_no_remark() -> None:
    wire = Wire()
    wire.link(opened=False).ask(GET).answer(ok(b"x"))
    exchange = only(wire)
    assert exchange.request is not None
    assert not exchange.request.diagnostics
    assert not texts(exchange.response)


def test_the_request_stands_behind_its_response_in_the_file() -> None:
    wire = Wire()
    wire.link().ask(GET).answer(ok(b"1")).ask(post(b"2")).answer(ok(b"2")).close()
    swapped = list(wire.segments)
    swapped[4], swapped[5] = swapped[5], swapped[4]
    wire.segments = swapped
    found = [
        (one.request and one.request.body.data, one.response and one.response.body.data) for one in exchanges(wire)
    ]
    assert found == [(b"", b"1"), (b"2", b"2")]


@pytest.mark.parametrize("size_known", [True, False])
def test_a_hole_in_a_body_cuts_it_and_the_next_message_is_found(size_known: bool) -> None:
    body = bytes(range(256)) * 20
    answer = ok(body) if size_known else chunked(body[:100], body[100:])
    cut = answer.index(body[100:]) + 700
    wire = Wire()
    link = wire.link().ask(post(b"1")).answer(answer[:cut]).lose(1, 1000).answer(answer[cut + 1000 :])
    link.ask(post(b"2")).answer(ok(b"two")).close()
    first, second = exchanges(wire)
    assert first.response is not None
    assert first.response.body.data == body[:800]
    assert not first.response.complete
    assert "1000 bytes are missing behind byte 800 of the body" in texts(first.response, Severity.MALFORMED)
    assert wire.at(first.response.body.locate(0, 800)) == body[:800]
    assert len(first.response.raw) == len(answer) - 1000
    assert second.request is not None
    assert second.request.body.data == b"2"
    assert second.response is not None
    assert second.response.body.data == b"two"
    assert second.response.complete


@pytest.mark.parametrize("chunks", [True, False])
def test_a_hole_over_the_end_of_a_message(chunks: bool) -> None:
    body = b"\x81" * 4000
    answer = chunked(body) if chunks else ok(body)
    wire = Wire()
    link = wire.link().ask(post(b"1")).answer(answer[:2000]).lose(1, len(answer) - 2000 + 500)
    link.answer(b"\x82" * 1000).ask(post(b"3")).answer(ok(b"three")).close()
    found = [
        (one.request and one.request.body.data, one.response and len(one.response.body)) for one in exchanges(wire)
    ]
    assert found == [(b"1", 2000 - answer.index(body)), (b"3", 5)]


def test_a_lost_response_does_not_shift_the_pairs() -> None:
    wire = Wire()
    link = wire.link().ask(post(b"1")).answer(ok(b"1"))
    lost = ok(b"2")
    link.ask(post(b"2")).lose(1, len(lost)).ask(post(b"3")).answer(ok(b"3")).ask(post(b"4")).answer(ok(b"4")).close()
    found = [
        (one.request and one.request.body.data, one.response and one.response.body.data) for one in exchanges(wire)
    ]
    assert sorted(found, key=str) == [(b"1", b"1"), (b"2", None), (b"3", b"3"), (b"4", b"4")]


def test_request_ids_decide_where_something_was_lost() -> None:
    wire = Wire()
    asks = [post(str(n).encode(), f"X-RequestId: {{a}}:{n}") for n in range(5)]
    answers = [ok(str(n).encode(), f"X-RequestId: {{a}}:{n}") for n in range(5)]
    link = wire.link().ask(asks[0]).ask(asks[1] + asks[2] + asks[3])
    link.answer(answers[0]).lose(1, len(answers[1])).answer(answers[2]).answer(answers[3]).close()
    found = [
        (one.request and one.request.body.data, one.response and one.response.body.data) for one in exchanges(wire)
    ]
    assert sorted(found, key=str) == [(b"0", b"0"), (b"1", None), (b"2", b"2"), (b"3", b"3")]


def test_a_lost_request_leaves_its_response_alone() -> None:
    wire = Wire()
    link = wire.link().ask(post(b"1")).answer(ok(b"1")).lose(0, len(post(b"2"))).answer(ok(b"2"))
    link.ask(post(b"3")).answer(ok(b"3")).close()
    found = [
        (one.request and one.request.body.data, one.response and one.response.body.data) for one in exchanges(wire)
    ]
    assert sorted(found, key=str) == [(None, b"2"), (b"1", b"1"), (b"3", b"3")]


def test_a_hole_in_the_headers() -> None:
    wire = Wire()
    answer = ok(b"x", "X-Long: " + "y" * 3000)
    link = wire.link().ask(GET).answer(answer[:1000]).lose(1, 1000).answer(answer[2000:])
    link.ask(post(b"2")).answer(ok(b"2")).close()
    first, second = exchanges(wire)
    assert first.response is not None
    assert first.response.status == 200
    assert not first.response.complete
    assert second.response is not None
    assert second.response.body.data == b"2"


def test_the_end_of_the_capture_in_a_body_and_in_headers() -> None:
    for cut in (10, 20, 40, 60):
        answer = ok(b"z" * 30)
        wire = Wire()
        wire.link().ask(GET).answer(answer[:cut])
        found = wire.read()
        (exchange,) = [one for one in found if isinstance(one, HttpExchange)]
        if exchange.response is None:
            assert any(isinstance(one, Opaque) for one in found)
        else:
            assert exchange.response.complete == (cut >= len(answer))
            assert exchange.response.raw.data == answer[:cut]
            assert texts(exchange.response, Severity.MALFORMED) or exchange.response.complete


# --- limits and nonsense ---


def test_headers_without_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_HEAD", 8192)
    wire = Wire()
    link = wire.link().ask(GET).answer(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 5000)
    link.ask(post(b"2")).answer(ok(b"2")).close()
    first, second = exchanges(wire)
    assert first.response is not None
    assert "too long" in texts(first.response, Severity.MALFORMED)
    assert second.response is not None
    assert second.response.body.data == b"2"


@pytest.mark.parametrize("size_known", [True, False])
def test_an_oversized_message_is_cut_and_skipped(monkeypatch: pytest.MonkeyPatch, size_known: bool) -> None:
    monkeypatch.setattr(http, "MAX_MESSAGE", 10_000)
    monkeypatch.setattr(http, "SKIP", 3_000)
    body = random.Random(2).randbytes(50_000)
    pieces = [body[at : at + 7777] for at in range(0, len(body), 7777)]
    wire = Wire()
    link = wire.link().ask(GET).answer(ok(body) if size_known else chunked(*pieces))
    link.ask(post(b"2")).answer(ok(b"2")).close()
    first, second = exchanges(wire)
    assert first.response is not None
    assert not first.response.complete
    assert body.startswith(first.response.body.data)
    assert 5_000 < len(first.response.body) < 12_000
    assert len(first.response.raw) < 12_000
    assert first.response.last_frame > first.response.first_frame + 30
    assert "longer than" in texts(first.response, Severity.MALFORMED)
    assert second.response is not None
    assert second.response.body.data == b"2"


@pytest.mark.parametrize(
    "bad", [b"5\r\nabcdefgh\r\n", b"xyz\r\n", b"+5\r\nabcde\r\n", b"\r\n", b"1_0\r\n", b";" * 20_000]
)
def test_broken_chunks(bad: bytes) -> None:
    wire = Wire()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    wire.link().ask(GET).answer(head + bad).ask(post(b"2")).answer(ok(b"2")).close()
    first, second = exchanges(wire)
    assert first.response is not None
    assert first.response.body.data[:3] == b"abc"
    assert not first.response.complete
    assert second.response is not None
    assert second.response.body.data == b"2"


def test_bytes_between_messages() -> None:
    wire = Wire()
    link = wire.link().ask(GET).answer(ok(b"1") + b"\r\n\r\n").answer(b"\x00rubbish").ask(GET).answer(ok(b"2")).close()
    assert link is not None
    _, second = exchanges(wire)
    assert second.response is not None
    assert second.response.body.data == b"2"
    assert "begin no message" in texts(second.response, Severity.MALFORMED)
    assert "8 bytes" in texts(second.response)


def test_one_sided_captures_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairing, "MAX_PENDING", 3)
    wire = Wire()
    link = wire.link()
    for n in range(20):
        link.ask(post(str(n).encode()))
    assert [one.request and one.request.body.data for one in exchanges(wire)] == [str(n).encode() for n in range(20)]


# --- CONNECT and upgrades ---


def test_what_follows_connect_is_looked_at_anew() -> None:
    wire = Wire()
    link = wire.link().ask(b"CONNECT h:80 HTTP/1.1\r\n\r\n").answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    link.ask(post(b"in")).answer(ok(b"side")).close()
    first, second = exchanges(wire)
    assert first.request is not None
    assert first.request.method == "CONNECT"
    assert second.request is not None
    assert second.request.body.data == b"in"
    assert second.response is not None
    assert second.response.body.data == b"side"


def test_an_upgrade_ends_http() -> None:
    wire = Wire()
    link = wire.link().ask(b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
    link.answer(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x05hello").ask(b"\x81\x85....xxxxx").close()
    exchange, opaque = wire.read()
    assert isinstance(exchange, HttpExchange)
    assert exchange.response is not None
    assert exchange.response.status == 101
    assert isinstance(opaque, Opaque)
    assert (opaque.kind, opaque.by_side) == ("unknown", (11, 7))


# --- properties ---


def conversation(link: object, cuts: list[int], loss: set[int] | None = None) -> None:
    """Five exchanges whose bytes are cut where `cuts` says; used twice with different cuts."""
    rng = random.Random(7)
    asks = [post(rng.randbytes(300)), GET, post(b""), b"HEAD / HTTP/1.1\r\n\r\n", post(rng.randbytes(50))]
    answers = [
        chunked(rng.randbytes(200), b"\r\n0\r\n\r\n", rng.randbytes(90), extension=";x=y", trailers="A: b\r\n"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + ok(gzip.compress(b"text" * 100, mtime=0), "Content-Encoding: gzip"),
        ok(b"", status="204 No Content"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        ok(b"HTTP/1.1 200 OK\r\n\r\n"),
    ]
    sizes = iter(cuts * 4000)
    for ask, answer in zip(asks, answers, strict=True):
        for side, data in ((0, ask), (1, answer)):
            while data:
                size = next(sizes)
                link.send(side, data[:size])  # type: ignore[attr-defined]
                data = data[size:]


def summary(wire: Wire) -> list[tuple[object, ...]]:
    return [
        (m.start_line, m.headers, m.head.data, m.body.data, m.raw.data, m.complete, m.trailers, m.interim)
        for one in exchanges(wire)
        for m in (one.request, one.response)
        if m is not None
    ]


@examples(60)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=12))
def test_any_cut_gives_the_same_messages(cuts: list[int]) -> None:
    whole, cut = Wire(), Wire()
    conversation(whole.link(), [10_000])
    conversation(cut.link(), cuts)
    assert summary(cut) == summary(whole)
    assert len(summary(whole)) == 10


@pytest.mark.parametrize("seed", range(150))
def test_mutations_never_raise(seed: int) -> None:
    rng = random.Random(seed)
    wire = Wire()
    conversation(wire.link(opened=rng.random() < 0.5), [rng.randrange(1, 400) for _ in range(5)])
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(wire.data))
        wire.data[at] = rng.choice([rng.randrange(256), 13, 10, 48, 0xFF])
    for _ in range(rng.randrange(3)):
        del wire.segments[rng.randrange(len(wire.segments))]
    for message in wire.read():
        if isinstance(message, HttpExchange):
            for one in (message.request, message.response):
                if one is not None:
                    assert len(one.body.locate(0, len(one.body))) <= len(wire.segments)
                    assert one.complete or one.diagnostics
