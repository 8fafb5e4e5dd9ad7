"""Folder permission ROPs [MS-OXCPERM], [MS-OXCROPS] 2.2.10."""

from __future__ import annotations

from dissector.grammar.actions import PermissionData
from dissector.grammar.leaves import U8, Flags
from dissector.grammar.rops.base import RopDef, counted, rop

MODIFY_PERMISSIONS = rop(
    0x40, "RopModifyPermissions", "2.2.10.1",
    "ModifyFlags" / Flags(U8, "ModifyPermissionsFlags"),
    *counted("ModifyCount", "PermissionsData", PermissionData),
    summary=("ModifyFlags", "PermissionsData"),
    params=("codepage",),
)  # fmt: skip

GET_PERMISSIONS_TABLE = rop(
    0x3E, "RopGetPermissionsTable", "2.2.10.2",
    "TableFlags" / Flags(U8, "PermissionsTableFlags"),
    output="OutputHandleIndex", opens="table",
    summary=("TableFlags",),
)  # fmt: skip

ROPS: tuple[RopDef, ...] = (MODIFY_PERMISSIONS, GET_PERMISSIONS_TABLE)
