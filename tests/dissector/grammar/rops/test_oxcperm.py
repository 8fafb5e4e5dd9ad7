"""Permission ROPs. Bytes written by hand from the layouts of [MS-OXCROPS] 2.2.10."""

from dissector.grammar.reading import trace
from dissector.grammar.rops import oxcperm
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check


def test_modify_permissions() -> None:
    add = "01 0200 0201ff0f 0300 010203 03007366 01000000"
    remove = "04 0100 14007166 ffffffffffffffff"
    request = f"40 00 01 02 0200 {add} {remove}"
    value = check(oxcperm.MODIFY_PERMISSIONS.request, request, ModifyFlags=2, ModifyCount=2)
    first, second = value.PermissionsData
    assert first.PermissionDataFlags == 1
    assert [entry.PropertyTag for entry in first.PropertyValues] == [0x0FFF0102, 0x66730003]
    assert first.PropertyValues[1].PropertyValue == 1
    assert second.PropertyValues[0].PropertyTag == 0x66710014
    tree = trace(oxcperm.MODIFY_PERMISSIONS.request, ByteSource("vector", bytes.fromhex(request)), "PDU")
    assert tree.find("ModifyFlags").label == "IncludeFreeBusy"
    check(oxcperm.MODIFY_PERMISSIONS.request, "40 00 01 01 0000", PermissionsData=[])
    check(oxcperm.MODIFY_PERMISSIONS.responses[0], "40 01 00000000")
    check(oxcperm.MODIFY_PERMISSIONS.responses[None], "40 01 05000780", ReturnValue=0x80070005)


def test_get_permissions_table() -> None:
    check(
        oxcperm.GET_PERMISSIONS_TABLE.request, "3e 00 01 02 02", InputHandleIndex=1, OutputHandleIndex=2, TableFlags=2
    )
    check(oxcperm.GET_PERMISSIONS_TABLE.responses[0], "3e 02 00000000", OutputHandleIndex=2)
    check(oxcperm.GET_PERMISSIONS_TABLE.responses[None], "3e 02 05000780")
