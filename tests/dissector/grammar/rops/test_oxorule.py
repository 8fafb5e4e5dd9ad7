"""Rule ROPs. Bytes: published examples (as said), else written by hand from [MS-OXCROPS] 2.2.11."""

from dissector.grammar.reading import trace
from dissector.grammar.rops import oxorule
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check

FOLDER_ENTRY_ID = "00000000 96614ec66601d211a3b10008c728e7f1 0100 85fa5c86fce6d111a3a60008c728e7f1 000000019eba 0000"
"""A folder entry id (test data of mfcmapi)."""


def test_modify_rules() -> None:
    condition = "fd007966 08 1f003700"
    actions = "fe008066 0100 0900 0a 00000000 00000000"
    name = "1f008266 410000 00"
    request = f"41 00 01 01 0200 01 0300 {name} {condition} {actions} 04 0100 14007466 0100000000000007"
    value = check(oxorule.MODIFY_RULES.request, request, ModifyRulesFlags=1, RulesCount=2)
    add, remove = value.RulesData
    assert add.RuleDataFlags == 1
    assert add.PropertyValues[0].PropertyValue == "A"
    assert add.PropertyValues[1].PropertyValue.PropertyTag == 0x0037001F
    assert add.PropertyValues[2].PropertyValue.ActionBlocks[0].ActionType == 0x0A
    assert remove.RuleDataFlags == 4
    tree = trace(oxorule.MODIFY_RULES.request, ByteSource("vector", bytes.fromhex(request)), "PDU")
    assert tree.find("ModifyRulesFlags").label == "Replace"
    check(oxorule.MODIFY_RULES.responses[0], "41 01 00000000")
    check(oxorule.MODIFY_RULES.responses[None], "41 01 05000780")


def test_get_rules_table() -> None:
    check(oxorule.GET_RULES_TABLE.request, "3f 00 00 01 40", TableFlags=0x40)
    check(oxorule.GET_RULES_TABLE.responses[0], "3f 01 00 00 00 00", OutputHandleIndex=1)  # MS-OXORULE 4.2.2
    check(oxorule.GET_RULES_TABLE.responses[None], "3f 01 05000780")


def test_update_deferred_action_messages() -> None:
    request = f"57 00 00 2e00 {FOLDER_ENTRY_ID} 2e00 {FOLDER_ENTRY_ID}"
    value = check(oxorule.UPDATE_DEFERRED_ACTION_MESSAGES.request, request, ServerEntryIdSize=46, ClientEntryIdSize=46)
    assert value.ServerEntryId == value.ClientEntryId
    check(oxorule.UPDATE_DEFERRED_ACTION_MESSAGES.request, "57 00 00 0000 0000", ServerEntryId=None, ClientEntryId=None)
    check(oxorule.UPDATE_DEFERRED_ACTION_MESSAGES.responses[0], "57 00 00000000")
    check(oxorule.UPDATE_DEFERRED_ACTION_MESSAGES.responses[None], "57 00 0f010480")
