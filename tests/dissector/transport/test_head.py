"""Start lines, and what headers say about a body."""

from __future__ import annotations

import pytest

from dissector.source import ByteSource
from dissector.transport.head import Phase, content_codings, framing, parse_head, start_line
from dissector.transport.messages import HttpMessage


def message(start: str, *headers: tuple[str, str]) -> HttpMessage:
    none = ByteSource("", b"")
    kind = "response" if start.startswith("HTTP/") else "request"
    return HttpMessage(kind, start, list(headers), none, none, none, 1, 0.0, 1, 0.0)


@pytest.mark.parametrize("line", [b"POST /a b HTTP/1.1\r\n", b"RPC_IN_DATA /x HTTP/1.1\n", b"HTTP/1.0 200\r\n"])
def test_every_beginning_of_a_start_line_may_become_one(line: bytes) -> None:
    for cut in range(len(line)):
        assert start_line(line[:cut]) == ""
    assert start_line(line) == ("response" if line.startswith(b"HTTP") else "request")


@pytest.mark.parametrize("line", [b"PRI * HTTP/2.0\r\n", b"HTTP/1.1 2000 OK\r\n", b"GET\r\n", b"a" * 33, b"G\0T / "])
def test_what_is_no_start_line(line: bytes) -> None:
    assert start_line(line) is None


@pytest.mark.parametrize(
    ("start", "headers", "method", "expected"),
    [
        ("GET / HTTP/1.1", [], "", (Phase.LENGTH, 0)),
        ("POST / HTTP/1.1", [("content-length", " 5 ")], "", (Phase.LENGTH, 5)),
        ("POST / HTTP/1.1", [("Transfer-Encoding", "Chunked"), ("Content-Length", "5")], "", (Phase.CHUNK_SIZE, 0)),
        ("HTTP/1.1 200 OK", [], "GET", (Phase.CLOSE, 0)),
        ("HTTP/1.1 200 OK", [("Transfer-Encoding", "gzip, chunked")], "GET", (Phase.CHUNK_SIZE, 0)),
        ("HTTP/1.1 200 OK", [("Transfer-Encoding", "gzip"), ("Content-Length", "5")], "GET", (Phase.CLOSE, 0)),
        ("HTTP/1.1 200 OK", [("Content-Length", "5")], "HEAD", (Phase.LENGTH, 0)),
        ("HTTP/1.1 200 OK", [("Content-Length", "5")], "CONNECT", (Phase.LENGTH, 0)),
        ("HTTP/1.1 407 No", [("Content-Length", "5")], "CONNECT", (Phase.LENGTH, 5)),
        ("HTTP/1.1 304 Same", [("Content-Length", "5")], "GET", (Phase.LENGTH, 0)),
        ("HTTP/1.1 101 Go", [], "GET", (Phase.LENGTH, 0)),
        ("HTTP/1.1 200 OK", [("Content-Length", "5"), ("Content-Length", "5")], "GET", (Phase.LENGTH, 5)),
        ("HTTP/1.1 200 OK", [("Content-Length", "+5")], "GET", (Phase.CLOSE, 0)),
    ],
)
def test_framing(start: str, headers: list[tuple[str, str]], method: str, expected: tuple[Phase, int]) -> None:
    assert framing(message(start, *headers), method) == expected


def test_heads() -> None:
    line, headers, notes = parse_head(b"GET / HTTP/1.1\r\nA: b\r\n c\r\nBad\r\nE:\r\n\r\n")
    assert line == "GET / HTTP/1.1"
    assert headers == [("A", "b c"), ("E", "")]
    assert len(notes) == 1


def test_codings_in_the_order_they_were_applied() -> None:
    headers = [("Content-Encoding", "deflate"), ("Transfer-Encoding", "gzip, chunked")]
    assert content_codings(message("HTTP/1.1 200 OK", *headers)) == ["deflate", "gzip"]
