"""Arguments of a reading: given, defaulted, reckoned with, needed and missing."""

import pytest
from construct import ConstructError, this

from dissector.grammar.base import GrammarError, Needed, Param, build
from dissector.grammar.layouts import (
    Layout,
    When,
)
from dissector.grammar.leaves import U8
from dissector.grammar.reading import parse, trace
from dissector.node import Severity
from dissector.source import ByteSource
from tests.dissector.grammar.rops.check import check


def test_an_argument_that_is_needed_and_not_given_is_no_context() -> None:
    layout = Layout("A" / U8, "B" / When(this.A == 0, When(Needed("flags") & 2, U8)))
    check(layout, "00 05", {"flags": 2}, B=5)
    check(layout, "00", {"flags": 1}, B=None)
    check(layout, "01", B=None)  # the outer condition decides alone
    with pytest.raises(GrammarError) as caught:
        parse(layout, b"\0\5")
    assert (caught.value.severity, caught.value.offset) == (Severity.NO_CONTEXT, 1)
    tree = trace(layout, ByteSource("vector", b"\0\5"), "PDU")
    assert tree.find("A").value == 0
    assert [found.severity for found in tree.diagnostics] == [Severity.NO_CONTEXT]
    with pytest.raises(ConstructError, match="flags"):
        build(layout, {"A": 0, "B": 1})


def test_arguments_can_be_reckoned_with() -> None:
    layout = Layout("B" / When(Param("size", 0) + 1 > 2, U8))
    check(layout, "05", {"size": 2}, B=5)
    check(layout, "", {"size": 1}, B=None)
    check(layout, "", B=None)
