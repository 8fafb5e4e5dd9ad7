from __future__ import annotations

import pytest

from dissector.errors import FilterError
from dissector.views.filter import compile_filter
from dissector.views.rows import Row


def row(**given: object) -> Row:
    values: dict[str, object] = {
        "exchange": 3, "frame": 12, "response_frame": 14, "time": 1.5, "transport": "mapi-http", "call": "Execute",
        "session": 1, "rop": "RopOpenFolder", "rop_id": 2, "index": 1, "logon_id": 0,
        "handles": {"InputHandleIndex": 0x2A}, "return_code": 0, "summary": "FolderId=0001-00000000000d(Inbox)",
    } | given  # fmt: skip
    return Row(**values)  # type: ignore[arg-type]


FAILED = row(return_code=0x8004010F, rop="RopOpenMessage", rop_id=3)
CONNECT = row(call="Connect", rop=None, rop_id=None, handles=None, return_code=None, summary="")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("RopOpenFolder", [True, False, False]),
        ("rop == RopOpenMessage", [False, True, False]),
        ("not rop == RopOpenMessage", [True, False, True]),
        ("error != 0", [False, True, False]),
        ("error == 0x8004010F", [False, True, False]),
        ("error", [True, True, False]),
        ("exchange == 3 and frame >= 12 && !(error != 0)", [True, False, True]),
        ("frame < 12 or call == Connect", [False, False, True]),
        ('rop contains "openf"', [True, False, False]),
        ("rop matches '^RopOpen'", None),
        ('rop ~ "^RopOpen(Folder|Message)$"', [True, True, False]),
        ("rop in {RopOpenFolder, RopRelease}", [True, False, False]),
        ("rop in {RopOpenFolder RopOpenMessage}", [True, True, False]),
        ("error in {ecNotFound, ecAccessDenied}", [False, True, False]),
        ("error in {0 0x8004010F}", [True, True, False]),
        ("handle == 0x2a", [True, True, False]),
        ("handle == 0x2b", [False, False, False]),
        ("summary contains Inbox or transport == rpc-tcp", [True, True, False]),
        ("time_epoch > 1.25", [True, True, True]),
        ("frame == 14", [True, True, True]),
        ("frame != 14", [False, False, False]),
        ("frame != 15", [True, True, True]),
        ("response_frame == 12", [False, False, False]),
        ("handle != 0x2b", [True, True, False]),
        ("rop == 2", [False, False, False]),
        ("", [True, True, True]),
    ],
)
def test_expressions(expression: str, expected: list[bool] | None) -> None:
    if expected is None:
        with pytest.raises(FilterError):
            compile_filter(expression)
        return
    test = compile_filter(expression)
    assert [test(one) for one in (row(), FAILED, CONNECT)] == expected


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("rop ==", "at its end"),
        ("frame == 1 frame == 2", "column 12"),
        ("colour == 3", "no field is called 'colour'"),
        ("RopFly", "no ROP is called RopFly; `dissector rops`"),
        ("rop == ropopenfolder", "no ROP is called ropopenfolder; did you mean RopOpenFolder"),
        ("rop in {RopRelease, RopOpenFoler}", "no ROP is called RopOpenFoler; did you mean RopOpenFolder"),
        ("RopOpenfolder", "no ROP is called RopOpenfolder; did you mean RopOpenFolder"),
        ("ropopenfolder", "no field is called 'ropopenfolder'; did you mean RopOpenFolder"),
        ("sumary contains x", "did you mean summary"),
        ("frame in {1 abc}", "compared with a number"),
        ('rop matches "("', "no regular expression"),
        ("(frame == 1", "cannot read"),
    ],
)
def test_a_bad_expression_says_where(expression: str, said: str) -> None:
    with pytest.raises(FilterError, match=said.replace("(", r"\(")):
        compile_filter(expression)


def test_rops_of_streams_are_checked_too() -> None:
    from dissector.views.streams import FIELDS

    with pytest.raises(FilterError, match="did you mean RopSynchronizationConfigure"):
        compile_filter("rop == ropsynchronizationconfigure", FIELDS)
    compile_filter("rop == RopSynchronizationConfigure and root == contentsSync", FIELDS)
    compile_filter('rop == "" or rop == Connect', FIELDS)  # rows that are no ROPs may have others
