"""Folder ROPs [MS-OXCFOLD], [MS-OXCROPS] 2.2.4."""

from __future__ import annotations

from dissector.grammar.base import U16, Bool8, Count, Flags, Rows, Str8, When, this, U8
from dissector.grammar.ids import FolderId
from dissector.grammar.rops.base import RopDef, rop

_GHOSTED = (
    "IsGhosted" / Bool8,
    "ServerCount" / When(this.IsGhosted, Count(U16, "Servers")),
    "CheapServerCount" / When(this.IsGhosted, U16),
    "Servers" / When(this.IsGhosted, Rows(this.ServerCount, Str8)),
)

OPEN_FOLDER = rop(
    0x02, "RopOpenFolder", "2.2.4.1",
    "FolderId" / FolderId,
    "OpenModeFlags" / Flags(U8, "OpenFolderModeFlags"),
    output="OutputHandleIndex", opens="folder",
    success=("HasRules" / Bool8, *_GHOSTED),
    summary=("FolderId",),
)  # fmt: skip

ROPS: tuple[RopDef, ...] = (OPEN_FOLDER,)
