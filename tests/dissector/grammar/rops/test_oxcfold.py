from dissector.grammar.rops import oxcfold as fold
from dissector.model.ids import ObjectId
from tests.dissector.grammar.rops.check import check

INBOX = "0100 00000000000d"


def test_open_folder() -> None:
    check(
        fold.OPEN_FOLDER.request,
        f"02 00 01 02 {INBOX} 04",
        FolderId=ObjectId(1, 0x0D),
        OpenModeFlags=4,
        OutputHandleIndex=2,
    )
    check(fold.OPEN_FOLDER.responses[0], "02 02 00000000 01 00", HasRules=True, IsGhosted=False, Servers=None)
