import pytest

from dissector.grammar.rops import oxcnotif as notif
from tests.dissector.grammar.rops.vectors import Vector, check_vector, missing_forms, request, response

INBOX = "0100 00000000000d"

VECTORS = [
    request(
        notif.REGISTER_NOTIFICATION,
        f"29 00 00 01 0400 00 {INBOX} 0000000000000000",
        NotificationTypes=4,
        Reserved=None,
        WantWholeStore=False,
    ),
    request(  # gromox 3.10
        notif.REGISTER_NOTIFICATION, "29 00 00 01 1e00 01", NotificationTypes=0x1E, WantWholeStore=True, FolderId=None
    ),
    request(notif.REGISTER_NOTIFICATION, "29 00 00 01 1404 00 01", NotificationTypes=0x414, Reserved=0),
    request(notif.REGISTER_NOTIFICATION, f"29 00 00 01 0001 00 {INBOX} 0100 000000000001", NotificationTypes=0x100),
    response(notif.REGISTER_NOTIFICATION, "29 01 00000000", OutputHandleIndex=1),  # gromox 3.10
    response(notif.REGISTER_NOTIFICATION, "29 01 57000780"),
    response(  # gromox 3.10
        notif.NOTIFY, f"2a 02000000 00 0480 {INBOX} 0100 000000030036 0000", NotificationHandle=2, LogonId=0
    ),
    response(notif.NOTIFY, f"2a 02000000 00 1030 {INBOX} 0000 2f000000 25000000", LogonId=0),  # gromox 3.10
    response(notif.PENDING, "6e 0500", SessionIndex=5),
]


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_vector(vector: Vector) -> None:
    check_vector(vector)


def test_every_form_has_a_vector() -> None:
    assert missing_forms(notif.ROPS, VECTORS) == []


def test_what_the_session_needs() -> None:
    assert notif.REGISTER_NOTIFICATION.opens == "subscription"
    assert notif.REGISTER_NOTIFICATION.index == notif.REGISTER_NOTIFICATION.output == "OutputHandleIndex"
    for definition in (notif.NOTIFY, notif.PENDING):
        assert definition.request is None
        assert not definition.has_return_value
        assert (definition.handles, definition.output, definition.index) == ((), None, None)
    assert "columns" in notif.NOTIFY.params
