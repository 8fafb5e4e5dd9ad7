from typing import Any, cast

import pytest

from dissector.emsmdb.call import Call, Side
from dissector.grammar.reading import parse
from dissector.grammar.rops.oxcfold import MOVE_COPY_MESSAGES
from dissector.grammar.rops.oxcnotif import NOTIFY
from dissector.grammar.rops.oxcprpt import PROGRESS
from dissector.grammar.rops.oxctabl import QUERY_ROWS, SET_COLUMNS
from dissector.node import Diagnostic, Severity
from dissector.pipeline import dissect
from dissector.session.exchange import Rop, RopSide
from dissector.source import ByteSource
from dissector.views.rows import rows_of, summary, value_text
from tests.conftest import shared


def side(definition, text, is_response):  # type: ignore[no-untyped-def]
    data = bytes.fromhex(text)
    layout = definition.responses[0] if is_response else definition.request
    value, end = parse(layout, data)
    return RopSide(definition.rop_id, definition, layout, ByteSource("x", data), 0, end, value, {}, is_response)


def summary_of(definition, request, response):  # type: ignore[no-untyped-def]
    return summary(
        Rop(
            1, definition.rop_id, definition,
            side(definition, request, False) if request else None,
            side(definition, response, True) if response else None,
        ),
        None,
    )  # fmt: skip


def test_a_field_of_both_sides_shows_both() -> None:
    assert summary_of(QUERY_ROWS, "15 00 00 00 01 3200", "15 00 00000000 02 0000") == (
        "RowCount=50→0 Origin=BOOKMARK_END"
    )


def test_one_value_on_both_sides_shows_once() -> None:
    assert summary_of(QUERY_ROWS, "15 00 00 00 01 0000", "15 00 00000000 02 0000").startswith("RowCount=0 ")


def test_a_dot_leads_into_a_structure() -> None:
    text = summary_of(NOTIFY, "", "2a 02000000 00 0480 0100 00000000000d 0100 000000030036 0000")
    assert text == (
        "NotificationHandle=2 NotificationFlags=ObjectCreated | M: message FolderId=0001-00000000000d "
        "MessageId=0001-000000030036"
    )


def test_a_response_that_is_read_in_part_has_its_return_code() -> None:
    """Outlook 2003: the columns were set before the capture began."""
    with dissect(shared("captures", "real", "outlook2003-exchange2003.pcap")) as dissection:
        exchange = next(one for one in dissection.exchanges() if one.number == 62)
    row = list(rows_of(exchange))[-1]
    assert (row.rop, row.return_code, row.return_name) == ("RopQueryRows", 0, "ecSuccess")
    assert "NO_CONTEXT response" in row.summary
    assert exchange.rops[-1].return_value is None, "nothing is made of a response that is known in part"


def test_an_empty_list_says_nothing() -> None:
    assert summary_of(SET_COLUMNS, "12 00 00 00 0000", "12 00 00000000 00") == "TableStatus=TBLSTAT_COMPLETE"


def test_a_property_with_its_value_or_its_error() -> None:
    assert value_text({"PropertyTag": 0x0037001F, "PropertyValue": "Hi"}) == "PidTagSubject='Hi'"
    assert value_text({"Index": 0, "PropertyTag": 0x0E070003, "ErrorCode": 0x80070005}) == (
        "PidTagMessageFlags=ecAccessDenied"
    )
    assert value_text({"Index": 0, "PropertyTag": 0x0E070003, "ErrorCode": 0x80ABCDEF}) == (
        "PidTagMessageFlags=0x80ABCDEF"
    )
    assert value_text({"PropertyTag": 0x00001102, "PropertyValue": [b"\1"]}) == "[01]"  # an id that means nothing


def test_an_operation_that_runs_on_tells_how_far_it_is() -> None:
    asked, running = "33 00 00 01 0000 01 00", "50 00 00000000 00 04000000 0a000000"
    rop = Rop(1, 0x33, MOVE_COPY_MESSAGES, side(MOVE_COPY_MESSAGES, asked, False), side(PROGRESS, running, True))
    assert summary(rop, None) == "WantCopy=False CompletedTaskCount=4 TotalTaskCount=10 (runs on)"
    done = side(MOVE_COPY_MESSAGES, "33 00 00000000 00", True)
    rop = Rop(1, 0x50, PROGRESS, side(PROGRESS, "50 00 00 00", False), done)
    assert summary(rop, None) == "WantCancel=False PartialCompletion=False (RopMoveCopyMessages is done)"


@pytest.mark.parametrize(
    ("fields", "code", "told"),
    [
        ({"HTTPStatus": "503"}, None, "HTTP status 503"),
        ({"HTTPStatus": "200", "X-ResponseCode": 10}, None, "X-ResponseCode 10 ContextNotFound"),
        ({"X-ResponseCode": 0}, 0x4B6, "the call failed: ecRpcFormat"),
        ({"Fault": 0x6BB}, 0x6BB, "fault 0x000006BB RPC_S_SERVER_TOO_BUSY"),
        ({"HTTPStatus": "200", "X-ResponseCode": 0}, 0, "not answered"),
    ],
)
def test_a_call_that_failed_is_why_its_rops_have_no_answer(fields: dict[str, Any], code: int | None, told: str) -> None:
    asked = Side(1, 0.0, cast(Any, None))
    answer = Side(2, 0.0, cast(Any, None), fields=fields, return_code=code)
    call = Call("mapi-http", "Execute", None, asked, answer)  # type: ignore[arg-type]
    rop = Rop(1, 0x50, PROGRESS, side(PROGRESS, "50 00 00 00", False), None)
    assert summary(rop, None, call) == f"WantCancel=False ({told})"
    answer.diagnostics.append(Diagnostic(Severity.MALFORMED, "cut"))
    if told == "not answered":
        assert summary(rop, None, call).endswith("(the response is cut or damaged)")
        answer.return_code = None
        assert summary(rop, None, call).endswith("(the response cannot be read)")
    call.response = None
    assert summary(rop, None, call).endswith("(no response captured)")
