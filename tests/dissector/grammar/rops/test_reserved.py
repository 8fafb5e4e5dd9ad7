"""ROPs without a published layout. Bytes of the three unverified ones by hand, from the one source there is."""

import uuid

from dissector.grammar.names import enum_name
from dissector.grammar.rops import ROPS, reserved
from tests.dissector.grammar.rops.check import check


def test_unverified_layouts() -> None:
    advisor = reserved.SYNCHRONIZATION_OPEN_ADVISOR
    check(advisor.request, "83 00 01 02", InputHandleIndex=1, OutputHandleIndex=2)
    check(advisor.responses[0], "83 02 00000000")
    check(advisor.responses[None], "83 02 02010480")
    by_name = reserved.OPEN_PUBLIC_FOLDER_BY_NAME
    check(by_name.request, "87 00 01 02 4100", Name="A")
    check(by_name.responses[0], "87 02 00000000 00 01 0100 0100 5300", IsGhosted=True, Servers=["S"])
    check(by_name.responses[0], "87 02 00000000 01 00", HasRules=True, Servers=None)
    check(by_name.responses[None], "87 02 0f010480")
    guid = reserved.SET_SYNCHRONIZATION_NOTIFICATION_GUID
    check(guid.request, f"88 00 01 {'12' * 16}", NotificationGuid=uuid.UUID("12" * 16))
    check(guid.responses[0], "88 01 00000000")
    check(guid.responses[None], "88 01 02010480")
    assert all("not verified" in definition.note for definition in (advisor, by_name, guid))


def test_the_others_have_a_name_and_nothing_else() -> None:
    unknown = [definition for definition in ROPS.values() if not definition.known]
    assert len(unknown) == 41
    for definition in unknown:
        assert (definition.request, dict(definition.responses)) == (None, {})
        assert definition.response_layout(0) is None
        assert definition.note
        assert enum_name("RopId", definition.rop_id) == definition.name
