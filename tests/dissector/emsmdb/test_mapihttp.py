"""MAPI/HTTP by hand: every request type, meta-tags, failures, cookies, cut and damaged bodies."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.emsmdb import Side, calls_from
from dissector.emsmdb.buffers import pack
from dissector.emsmdb.mapihttp import BODIES, head_tree
from dissector.grammar.base import GrammarError, build
from dissector.grammar.envelopes import MAILBOX
from dissector.grammar.reading import parse
from dissector.node import Node, Severity, Undecoded
from dissector.source import ByteSource
from dissector.views.text import tree_lines
from tests.conftest import examples
from tests.dissector.emsmdb.messages import (
    CONNECTION,
    PREAMBLE,
    check_side,
    exchange,
    http,
    http_call,
    notes,
    request,
    response,
    rop_leaf,
    sides,
    source,
)

CONNECT = bytes.fromhex("2f6f3d782f636e3d750000000000e4040000090400000904000000000000")
ROPS = bytes.fromhex("0500010000 2a000000")
AUX = pack([bytes.fromhex("080001460b000000")])


def execute_request(payloads: list[bytes], aux: bytes = b"", **how: bool) -> bytes:
    chain = pack(payloads, **how)
    return struct.pack("<II", 3, len(chain)) + chain + struct.pack("<II", 0x10000, len(aux)) + aux


def execute_response(payloads: list[bytes], aux: bytes = b"", code: int = 0, **how: bool) -> bytes:
    chain = pack(payloads, **how)
    return struct.pack("<IIII", 0, code, 0, len(chain)) + chain + struct.pack("<I", len(aux)) + aux


def answered(name: str, asked: bytes, answer: bytes, **more: Any) -> tuple[Side, Side]:
    call = http_call(request(name, asked), response(name, answer, **more))
    assert call.name == name
    assert call.request is not None
    assert call.response is not None
    return call.request, call.response


def test_connect() -> None:
    body = build(
        MAILBOX["Connect"].response,
        {"PollsMax": 60000, "RetryCount": 6, "RetryDelay": 10000, "DnPrefix": "", "DisplayName": "Zoë",
         "AuxiliaryBuffer": AUX},
    )  # fmt: skip
    asked, answer = answered("Connect", CONNECT, body)
    assert asked.fields["UserDn"] == "/o=x/cn=u"
    assert asked.return_code is None
    assert (answer.fields["DisplayName"], answer.return_code, answer.fields["X-ResponseCode"]) == ("Zoë", 0, 0)
    tree = check_side(answer)
    assert not notes(tree)
    assert tree.find("Body", "AuxiliaryBuffer", "Payload", "AuxBlocks", "[0]").label == "SERVER_CAPABILITIES"
    assert [pdu.name for pdu in answer.pdus()] == ["Connect response body", "auxiliary buffer", "auxiliary blocks"]
    assert not notes(check_side(asked))


def test_execute() -> None:
    asked, answer = answered("Execute", execute_request([ROPS], AUX), execute_response([ROPS, ROPS * 40], code=0x480))
    assert [payload.data for payload in asked.payloads] == [ROPS]
    assert [payload.data for payload in answer.payloads] == [ROPS, ROPS * 40]
    assert asked.fields == {"Flags": 3, "RopBufferSize": 17, "MaxRopOut": 0x10000, "AuxiliaryBufferSize": len(AUX)}
    assert answer.return_code == 0x480
    assert (answer.frame, answer.time) == (5, 9.5)
    tree = check_side(answer)
    chain = tree.find("Body", "RopBuffer")
    assert [node.name for node in chain.children] == ["RPC_HEADER_EXT", "Payload"] * 2
    assert chain.children[3].find("ROP buffer 1").source is not None
    assert not notes(tree)
    names = [pdu.name for pdu in asked.pdus()]
    assert names == ["Execute request body", "ROP buffer chain", "auxiliary buffer", "auxiliary blocks"]
    assert not notes(check_side(asked))


def test_payload_bytes_lead_to_the_frame_of_the_body() -> None:
    _, answer = answered("Execute", execute_request([ROPS]), execute_response([ROPS]))
    [span] = answer.payloads[0].locate(0, len(ROPS))
    assert (span.frame, span.offset) == (2, 100 + len(PREAMBLE) + 16 + 8)


@pytest.mark.parametrize("how", [{"xor": True}, {"compress": True}, {"compress": True, "xor": True}])
def test_obfuscated_and_compressed_buffers(how: dict[str, bool]) -> None:
    text = ROPS + b"abcabcabc" * 30
    asked, answer = answered("Execute", execute_request([text], **how), execute_response([text, text], **how))
    assert [payload.data for payload in (*asked.payloads, *answer.payloads)] == [text] * 3
    for side in (asked, answer):
        assert not notes(check_side(side))


def test_the_fast_way_is_the_layout_s() -> None:
    rng = random.Random(3)
    for _ in range(200):
        payloads = [rng.randbytes(rng.randrange(1, 60)) for _ in range(rng.randrange(3))]
        bodies = execute_request(payloads, AUX), execute_response(payloads, code=rng.choice([0, 0x480]))
        cut = [body[: rng.randrange(len(body) + 1)] if rng.random() < 0.5 else body for body in bodies]
        asked, answer = answered("Execute", *cut)
        for side, layout, body in (
            (asked, MAILBOX["Execute"].request, cut[0]),
            (answer, MAILBOX["Execute"].response, cut[1]),
        ):
            try:
                value, _ = parse(layout, body)
            except GrammarError:
                continue
            scalars = {name: one for name, one in value.items() if isinstance(one, int)}
            assert {name: side.fields[name] for name in scalars} == scalars
            assert [payload.data for payload in side.payloads] == (payloads if value.RopBuffer else [])


def test_notification_wait() -> None:
    preamble = b"PROCESSING\r\nPENDING\r\nPENDING\r\nDONE\r\n"
    preamble += b"X-ElapsedTime: 3\r\nX-StartTime: Mon, 01 Jan 2024 00:00:00 GMT\r\n\r\n"
    body = bytes.fromhex("00000000 00000000 01000000 00000000")
    asked, answer = answered("NotificationWait", bytes(8), body, preamble=preamble)
    assert (asked.fields["Flags"], answer.fields["EventPending"]) == (0, 1)
    tree = check_side(answer)
    tags = tree.find("Meta-tags").children
    assert [(node.name, node.value) for node in tags] == [
        ("Meta-tag", "PROCESSING"), ("Meta-tag", "PENDING"), ("Meta-tag", "PENDING"), ("Meta-tag", "DONE"),
        ("X-ElapsedTime", "3"), ("X-StartTime", "Mon, 01 Jan 2024 00:00:00 GMT"), ("Empty line", ""),
    ]  # fmt: skip
    assert tags[4].label == "0.003 s of work"
    assert tree.find("Body", "EventPending").label == "NotificationPending"


def test_disconnect_and_ping() -> None:
    asked, answer = answered("Disconnect", bytes(4), bytes(12))
    assert answer.return_code == 0
    assert not notes(check_side(asked)) + notes(check_side(answer))
    asked, answer = answered("PING", b"", b"")
    assert not asked.payloads + answer.payloads
    assert not notes(check_side(asked)) + notes(check_side(answer))
    assert list(answer.pdus()) == []
    _, answer = answered("PING", b"", b"x")
    assert notes(check_side(answer)) == [("Body", "NOTE", "PING has no body")]


def test_the_address_book() -> None:
    call = http_call(
        request("GetMailboxUrl", bytes.fromhex("000000002f000000") + bytes(4), path="/mapi/nspi/?MailboxId=a"),
        response("GetMailboxUrl", bytes(8) + bytes.fromhex("68000000") + bytes(4)),
    )
    assert call.request is not None
    assert call.response is not None
    assert (call.request.fields["ServerDn"], call.response.fields["ServerUrl"]) == ("/", "h")
    for side in sides(call):
        assert not notes(check_side(side))


def stat(page: int) -> dict[str, int]:
    return {**dict.fromkeys(("SortType", "ContainerID", "CurrentRec", "Delta", "NumPos", "TotalRecs"), 0),
            "CodePage": page, "TemplateLocale": 0x409, "SortLocale": 0x409}  # fmt: skip


COLUMNS = {"AuxiliaryBuffer": b"", "Columns": [0x3001001E], "RowData": [{"Flag": 0, "ValueArray": ["Жар"]}]}


@pytest.mark.parametrize(
    ("name", "asked", "answer", "codec"),
    [
        ("QueryRows", {"State": stat(1251)}, {}, "cp1251"),
        ("QueryRows", {"State": stat(1251)}, {"State": stat(1252)}, "cp1252"),
        ("QueryRows", {"State": stat(1200)}, {}, None),
        ("QueryRows", {}, {}, None),
        ("ResolveNames", {"State": stat(1252), "Reserved": 0}, {"CodePage": 1251}, "cp1251"),
        ("ResolveNames", {"State": stat(1251), "Reserved": 0}, {"CodePage": 0}, "cp1251"),
    ],
)
def test_text_of_address_books_is_in_the_code_page_of_their_stat(
    name: str, asked: dict[str, Any], answer: dict[str, Any], codec: str | None
) -> None:
    more = {"Flags": 0, "ExplicitTable": [], "RowCount": 1} if name == "QueryRows" else {}
    request_body = build(BODIES[name].request, {**asked, **more, "AuxiliaryBuffer": b""})
    sides = answered(name, request_body, build(BODIES[name].response, {**answer, **COLUMNS}, codepage="cp1251"))
    assert sides[1].codepage == codec
    texts = [node.value for node in check_side(sides[1]).walk() if isinstance(node.value, str)]
    assert "Жар".encode("cp1251").decode(codec or "cp1252") in texts
    assert all(pdu.rebuilt == pdu.original for side in sides for pdu in side.pdus())


def test_a_request_to_an_address_book_names_its_own_code_page() -> None:
    value = [{"PropertyTag": 0x3001001E, "PropertyValue": "Жар"}]
    body = build(
        BODIES["ModProps"].request,
        {"Reserved": 0, "State": stat(1251), "PropertyValues": value, "AuxiliaryBuffer": b""},
        codepage="cp1251",
    )
    asked, _ = answered("ModProps", body, bytes(12))
    assert "Жар" in [node.value for node in check_side(asked).walk()]


@pytest.mark.parametrize(
    ("asked", "name"),
    [("execute", "Execute"), ("CompareMinIds", "CompareMIds"), ("comparednts", "CompareMIds"), ("dntomid", "DNToMId")],
)
def test_request_types_by_other_spellings(asked: str, name: str) -> None:
    assert http_call(request(asked, b""), None).name == name


@pytest.mark.parametrize("lines", [b" Authorization: Basic YWxp\r\n", b"A: b\r\n Proxy-Authorization: YWxp\r\n"])
def test_a_credential_is_hidden_wherever_its_line_stands(lines: bytes) -> None:
    head = ByteSource("head", b"POST / HTTP/1.1\r\n" + lines + b"\r\n")
    assert "YWxp" not in "\n".join(tree_lines(head_tree(replace(request("Connect", b""), head=head))))


@pytest.mark.parametrize(("asked", "spec"), [("Connect", "MS-OXCMAPIHTTP 2.2.4.1"), ("Dance", "")])
def test_a_request_type_leads_to_its_section(asked: str, spec: str) -> None:
    leaf = head_tree(request(asked, b"")).find("X-RequestType")
    assert (leaf.value, leaf.spec, leaf.label) == (asked, spec, "")


def test_an_unknown_request_type_is_named() -> None:
    call = http_call(request("Dance", b"abc"), response("Dance", b"xyz"))
    assert call.name == "Dance"
    for side in sides(call):
        tree = check_side(side)
        assert notes(tree) == [("Body", "NOTE", "no layout is known for the request type Dance")]
        assert isinstance(tree.find("Body").value, Undecoded)


def test_a_request_without_its_type() -> None:
    message = http("request", "POST /mapi/emsmdb/ HTTP/1.1", {"content-type": "application/mapi-http"}, b"ab")
    assert http_call(message, None).name == "no X-RequestType"


def test_what_is_not_mapi() -> None:
    page = http("request", "GET /index.html HTTP/1.1", {"Host": "a"}, b"")
    assert calls_from(exchange(page, None)) is None
    assert calls_from(exchange(None, None)) is None
    other = http("request", "POST /other HTTP/1.1", {"X-RequestType": "Execute"}, b"")
    assert calls_from(exchange(other, None)) is None
    moved = http("request", "POST /mapi/emsmdb/ HTTP/1.1", {"X-RequestType": "Execute", "Content-Type": "x/y"}, b"")
    assert calls_from(exchange(moved, None)) is not None


def test_a_response_alone_tells_its_type() -> None:
    call = http_call(None, response("Execute", execute_response([ROPS])))
    assert (call.name, call.request) == ("Execute", None)
    assert call.response is not None
    assert [payload.data for payload in call.response.payloads] == [ROPS]


def test_cookies_are_session_keys() -> None:
    asked = request("Execute", b"", Cookie="sid=abc; sequence=1-2==;  broken ")
    answer = http(
        "response",
        "HTTP/1.1 200 OK",
        [("Content-Type", "application/mapi-http"), ("Set-Cookie", "sid=abc; path=/"), ("set-cookie", "sequence=3")],
        b"",
    )  # fmt: skip
    call = http_call(asked, answer)
    assert call.request is not None
    assert call.response is not None
    assert call.request.session_keys == ("sid=abc", "sequence=1-2==")
    assert call.response.session_keys == ("sid=abc", "sequence=3")
    assert call.connection is CONNECTION
    assert call.transport == "mapi-http"


def test_request_ids_are_fields() -> None:
    asked = request("Execute", b"", **{"X-RequestId": "{A}:7", "x-clientinfo": "{B}:1"})
    call = http_call(asked, None)
    assert call.request is not None
    assert call.request.fields == {"X-RequestId": "{A}:7", "X-ClientInfo": "{B}:1"}


def label(tree: Node, name: str) -> str:
    return next(node.label for node in tree.walk() if node.name == name)


def test_a_response_code_is_named_for_both_servers() -> None:
    html = "<html><body>Größe</body></html>".encode()
    _, answer = answered(
        "Execute", b"", html, preamble=b"", X_ResponseCode="5", Content_Type="text/html; charset=utf-8"
    )
    assert (answer.fields["X-ResponseCode"], answer.return_code, answer.payloads) == (5, None, [])
    tree = check_side(answer)
    assert tree.find("Body").value == html.decode()
    assert label(tree, "X-ResponseCode") == "InvalidRequestType, or from Gromox invalid body"
    assert not notes(tree)
    assert list(answer.pdus()) == []
    _, answer = answered("Execute", b"", b"", X_ResponseCode="10")
    assert label(check_side(answer), "X-ResponseCode") == "ContextNotFound"


def test_headers_are_explained() -> None:
    message = response("Execute", b"", X_PendingPeriod="30000", X_ExpirationInfo="soon")
    call = http_call(None, message)
    assert call.response is not None
    tree = check_side(call.response)
    assert label(tree, "X-PendingPeriod") == "PENDING every 30 s"
    assert label(tree, "X-ExpirationInfo") == ""
    assert label(tree, "Content-Type") == ""


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\nA: 1\n\n", b"HTTP/1.1 200 OK\r\nA\r: 1\r\n folded\r\n: x\r\n", b""]
)
def test_odd_heads_are_in_the_tree(head: bytes) -> None:
    message = response("Execute", b"")
    message.head = source(head)
    call = http_call(None, message)
    assert call.response is not None
    check_side(call.response)


@pytest.mark.parametrize("code", ["9" * 5000, "-1", "\xb2", ""])
def test_response_codes_that_are_no_numbers(code: str) -> None:
    _, answer = answered("Execute", b"", b"", X_ResponseCode=code, X_ExpirationInfo=code)
    assert "X-ResponseCode" not in answer.fields
    check_side(answer)
    labels = [node.label for node in answer.tree(rop_leaf).walk()]
    assert "Success" not in labels


@pytest.mark.parametrize("charset", ["punycode", "hex", "nonsense", "utf-16", "windows-1252", '"utf-8"'])
def test_text_in_any_charset(charset: str) -> None:
    message = http("response", "HTTP/1.1 500 No", {"Content-Type": f"text/html; charset={charset}"}, b"<h1>a</h1>")
    call = http_call(request("Execute", b""), message)
    assert call.response is not None
    check_side(call.response)


def test_a_response_code_restated_behind_done_counts() -> None:
    preamble = b"PROCESSING\r\nDONE\r\nX-ResponseCode: 15\r\n\r\n"
    _, answer = answered("Execute", b"", b"<p>no</p>", preamble=preamble)
    assert answer.fields["X-ResponseCode"] == 15
    assert check_side(answer).find("Body").value == "<p>no</p>"


@pytest.mark.parametrize("status", ["401 Unauthorized", "500 Internal Server Error", "302 Found"])
def test_failures_of_the_layers_below(status: str) -> None:
    message = http("response", f"HTTP/1.1 {status}", {"Content-Type": "text/html"}, b"<h1>\xff</h1>")
    call = http_call(request("Execute", execute_request([ROPS])), message)
    assert call.response is not None
    assert call.response.fields["HTTPStatus"] == int(status[:3])
    tree = check_side(call.response)
    assert tree.find("HTTP", "Status line").value == f"HTTP/1.1 {status}"
    assert "h1" in tree.find("Body").value


def test_a_status_code_has_a_body_of_its_own() -> None:
    body = bytes.fromhex("0f010480") + struct.pack("<I", len(AUX)) + AUX
    _, answer = answered("Execute", b"", body)
    assert (answer.return_code, answer.payloads) == (0x8004010F, [])
    tree = check_side(answer)
    assert tree.find("Body", "StatusCode").label == "ecNotFound"
    assert not notes(tree)


@pytest.mark.parametrize("name", ["Connect", "Execute", "QueryRows"])
@pytest.mark.parametrize("code", [0, 0x800403FC])
def test_a_response_that_ends_behind_its_error_code_still_tells_it(name: str, code: int) -> None:
    _, answer = answered(name, b"", struct.pack("<II", 0, code))
    assert (answer.return_code, answer.fields["StatusCode"], answer.fields["ErrorCode"]) == (code, 0, code)
    assert [one.severity for one in answer.diagnostics] == [Severity.MALFORMED]
    assert check_side(answer).find("Body", "ErrorCode").value == code


def test_a_cut_body_has_the_fields_that_are_there() -> None:
    whole = build(
        MAILBOX["Connect"].response,
        {"PollsMax": 1, "RetryCount": 2, "RetryDelay": 3, "DnPrefix": "/o=x", "DisplayName": "Zoë",
         "AuxiliaryBuffer": b""},
    )  # fmt: skip
    _, answer = answered("Connect", CONNECT[:14], whole[:27])
    assert "DisplayName" not in answer.fields
    names = ("StatusCode", "ErrorCode", "PollsMax", "RetryCount", "RetryDelay", "DnPrefix")
    assert [answer.fields[name] for name in names] == [0, 0, 1, 2, 3, "/o=x"]
    assert answer.return_code == 0
    asked, _ = answered("Connect", CONNECT[:14], whole)
    assert asked.fields == {"UserDn": "/o=x/cn=u", "Flags": 0}
    assert answered("Execute", execute_request([ROPS])[:6], b"")[0].fields == {"Flags": 3}


@pytest.mark.parametrize(
    "preamble", [b"PROCESSING\r\n", b"PROCESSING\r\nPEND", b"PROCESSING\r\nDONE\r\nX-A: 1\r\n", b"DONE"]
)
def test_a_response_that_ends_in_its_meta_tags(preamble: bytes) -> None:
    _, answer = answered("Execute", b"", b"", preamble=preamble)
    assert [one.message for one in answer.diagnostics] == [
        "the response ends before its body: no DONE, or no empty line"
    ]
    assert check_side(answer).find("Meta-tags").length == len(preamble)


def test_a_body_without_meta_tags() -> None:
    _, answer = answered("Execute", b"", execute_response([ROPS]), preamble=b"")
    assert [payload.data for payload in answer.payloads] == [ROPS]
    assert not notes(check_side(answer))


def test_a_cut_execute_keeps_what_is_there() -> None:
    body = execute_response([ROPS, b"x" * 50])
    _, answer = answered("Execute", b"", body[: 16 + 17 + 8 + 20])
    assert [payload.data for payload in answer.payloads] == [ROPS, b"x" * 20]
    assert [one.severity for one in answer.diagnostics] == [Severity.MALFORMED] * 2
    tree = check_side(answer)
    payloads = [node for node in tree.walk() if node.name.startswith("ROP buffer")]
    assert [node.value for node in payloads] == [ROPS, b"x" * 20]


def test_an_incomplete_message_says_so() -> None:
    message = response("Execute", execute_response([ROPS]))
    message.complete = False
    call = http_call(None, message)
    assert call.response is not None
    assert notes(check_side(call.response)) == [
        ("Execute response", "MALFORMED", "the body is not complete in the capture")
    ]


EXAMPLES = {
    "Connect": (CONNECT, bytes(20) + b"\0Z\0\0\0" + struct.pack("<I", len(AUX)) + AUX),
    "Execute": (execute_request([ROPS, ROPS], AUX), execute_response([ROPS, ROPS * 9], AUX, compress=True)),
    "NotificationWait": (bytes(8), bytes(16)),
    "QueryRows": (
        bytes.fromhex("00000000 00 01000000 10000000 32000000 ff 01000000 1f000130 00000000"),
        bytes(8) + bytes.fromhex("00 ff 01000000 1f000130 01000000 00 ff 5a000000 00000000"),
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_cut_leaves_a_tree(name: str) -> None:
    asked, answer = EXAMPLES[name]
    for cut in range(max(len(asked), len(answer)) + len(PREAMBLE)):
        message = response(name, (PREAMBLE + answer)[: cut + 1], preamble=b"")
        for side in sides(http_call(request(name, asked[:cut]), message)):
            check_side(side)


@given(st.sampled_from(sorted(BODIES)), st.binary(max_size=150), st.booleans())
@examples(400)
def test_any_body_is_a_call(name: str, data: bytes, plain: bool) -> None:
    body = bytes(8) + data if plain else data
    for side in sides(http_call(request(name, data), response(name, body))):
        check_side(side)


def test_damaged_bodies() -> None:
    rng = random.Random(11)
    for _ in range(400):
        name = rng.choice(sorted(EXAMPLES))
        bodies = [bytearray(one) for one in EXAMPLES[name]]
        for body in bodies:
            for _ in range(rng.randrange(4)):
                body[rng.randrange(len(body))] = rng.choice([0, 0xFF, rng.randrange(256)])
        for side in sides(http_call(request(name, bytes(bodies[0])), response(name, bytes(bodies[1])))):
            check_side(side)
            list(side.pdus())


def test_trees_are_made_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dissector.grammar.reading.trace", lambda *_, **__: pytest.fail("a tree was built"))
    call = http_call(request("Execute", execute_request([ROPS])), response("Execute", execute_response([ROPS])))
    assert call.response is not None
    assert call.response.payloads
    with pytest.raises(pytest.fail.Exception):
        call.response.tree(rop_leaf)


def test_a_credential_in_a_folded_header_is_hidden() -> None:
    message = request("Connect", b"", Authorization="Basic\r\n YWxpY2U6aHVzaA==\r\n\tmore:x", Host="a")
    tree = head_tree(message)
    leaves = [(leaf.name, leaf.secret) for leaf in tree.children]
    assert leaves[3:] == [("Authorization", True)] * 3 + [("Host", False), ("Empty line", False)]
    shown = "\n".join(tree_lines(tree))
    assert "YWxp" not in shown
    assert "more" not in shown


def test_an_unknown_request_type_is_named_in_few_words() -> None:
    assert http_call(request("a" * 100_000, b""), None).name == "a" * 40
