"""The table of ROPs: complete, as the facts say, and true to itself for values made from the grammar."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from construct import BytesInteger, Construct, FormatField, Subconstruct
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from dissector.grammar import base, forms, ids, leaves, properties
from dissector.grammar.base import build
from dissector.grammar.layouts import Choice, Counted, Deferred, Layout, Multi, Rows, Sized
from dissector.grammar.names import rows as name_rows
from dissector.grammar.reading import parse, trace
from dissector.grammar.rops import BY_NAME, MODULES, ROPS
from dissector.grammar.rops.base import RopDef
from dissector.node import Severity
from dissector.source import ByteSource
from tests.conftest import ROOT, examples, shared
from tests.dissector.grammar.rops.check import check_cover, check_truncation, check_values, diagnostics
from tests.dissector.grammar.strategies import contains, session_arguments, values

DEFINITIONS = [pytest.param(definition, id=definition.name) for definition in ROPS.values()]
LAYOUTS = {
    layout.layout_name: layout
    for definition in ROPS.values()
    for layout in (definition.request, *definition.responses.values(), definition.short_failure)
    if layout is not None
}
KINDS = {
    None, "logon", "folder", "message", "attachment", "table", "stream", "subscription", "fasttransfer-source",
    "fasttransfer-destination", "sync-download", "sync-upload", "sync-advisor", "state",
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
@examples(12, *HealthCheck)
@given(data=st.data())
def test_made_values_build_and_read_back(name: str, data: st.DataObject) -> None:
    layout = LAYOUTS[name]
    params = data.draw(session_arguments())
    made = data.draw(values(layout, params))
    raw = build(layout, made, **params)
    read, end = parse(layout, raw, **params)
    assert end == len(raw)
    assert contains(read, made), f"{read}\n is not\n{made}"
    assert build(layout, read, **params) == raw
    tree = trace(layout, ByteSource("made", raw), "PDU", **params)
    assert not diagnostics(tree)
    check_values(tree, read)
    check_cover(tree)
    check_truncation(layout, raw, data.draw(st.integers(0, max(0, len(raw) - 1))), params)


@pytest.mark.parametrize("name", LAYOUTS)
@examples(12, *HealthCheck)
@given(data=st.data())
def test_damaged_bytes_still_make_a_tree(name: str, data: st.DataObject) -> None:
    layout = LAYOUTS[name]
    params = data.draw(session_arguments())
    damaged = bytearray(build(layout, data.draw(values(layout, params)), **params))
    places = st.integers(min(6, len(damaged) - 1), len(damaged) - 1)
    for place, byte in data.draw(st.dictionaries(places, st.integers(0, 255), min_size=1, max_size=4)).items():
        damaged[place] = byte
    raw = bytes(damaged) + bytes(data.draw(st.binary(max_size=3)))
    tree = trace(layout, ByteSource("damaged", raw), "PDU", **params)
    check_cover(tree)
    assert tree.end <= len(raw)
    assert not [found for found in diagnostics(tree) if found[1] is Severity.BUG], diagnostics(tree)
    try:
        read, end = parse(layout, raw, **params)
    except base.GrammarError as error:
        offset = error.offset
    else:
        assert build(layout, read, **params) == raw[:end]
        assert tree.end == end
        check_values(tree, read)
        return
    assert 0 <= offset <= len(raw)
    assert diagnostics(tree)


# -- the table against the facts ------------------------------------------------------------------


@cache
def facts() -> dict[int, dict[str, str]]:
    path: Path = shared("facts", "rops.tsv")
    with path.open(encoding="utf-8", newline="") as lines:
        return {int(row["rop_id"], 16): row for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)}


def fields(text: str) -> list[tuple[str, str]]:
    """(type, name) of the fields in a layout text of the facts, in order; conditions and array sizes are dropped."""
    text = text.removesuffix("]")
    while re.search(r"\([^()]*\)", text):
        text = re.sub(r"\([^()]*\)", "", text)
    text = re.sub(r"\?[^{;]*\{", ";", text)
    text = re.sub(r"\[[^\[\]]*\]", "[]", text)
    found = []
    for part in re.split(r"[;{}]", text):
        part = part.split(",")[0].strip()
        if "=" in part:  # from here on the text defines a structure
            break
        words = part.split()
        if len(words) >= 2:
            found.append((words[0], words[-1]))
    return found


def forms_of(definition: RopDef) -> Iterator[tuple[str, str, Construct | None]]:
    """(what, text of the facts, our layout) of every form of a ROP that the facts describe."""
    row = facts()[definition.rop_id]
    yield "request", row["request"], definition.request
    success = row["response_success"]
    if "[private:" in success:
        head, variants = success.split("[private: ")
        private, public = variants.split("] | [public: ")
        yield "private", head + private, definition.responses.get(0)
        yield "public", head + public, definition.responses.get(0)
    else:
        yield "success", success, definition.responses.get(0)
    if row["response_failure"] != "header only":
        yield "failure", row["response_failure"], definition.responses.get(None)
    for code, text in re.findall(r"\(ReturnValue=(0x\w+)\): (u8 RopId;.*)", row["response_other"]):
        yield f"ReturnValue {code}", text, definition.responses.get(int(code, 16))


def test_the_table_has_the_ids_and_names_of_the_facts() -> None:
    assert {rop_id: definition.name for rop_id, definition in ROPS.items()} == {
        rop_id: row["name"] for rop_id, row in facts().items()
    }


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_layouts_have_the_fields_of_the_facts(definition: RopDef) -> None:
    if not definition.known:
        assert facts()[definition.rop_id]["request"] == "unknown"
        return
    for what, text, layout in forms_of(definition):
        wanted = fields(text)
        if not wanted:
            assert layout is None or not definition.has_return_value, f"{what}: {text!r} is not a layout"
            continue
        assert layout is not None, f"{what} is missing"
        ours = {field.name: field.subcon for field in layout.subcons}
        names = list(ours)
        if what in ("private", "public"):
            names = [name for name in names if name in {other for _, other in wanted}]
        assert names == [name for _, name in wanted], what
        for kind, name in wanted:
            assert fits(kind, ours[name]), f"{what}: {name} is {ours[name]!r}, not {kind}"


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_handles_are_those_of_the_facts(definition: RopDef) -> None:
    row = facts()[definition.rop_id]

    def names(column: str) -> tuple[str, ...]:
        return tuple(name for name in row[column].split(",") if name != "-")

    assert definition.handles == names("handle_in")
    # ResponseHandleIndex only names a slot for the response to echo: nothing is put there
    filled = tuple(name for name in names("handle_out") if name != "ResponseHandleIndex")
    assert (definition.output,) == (filled or (None,))
    assert (definition.index,) == (names("response_index_field") or (None,))
    if definition.known:
        assert definition.spec == f"MS-OXCROPS {row['oxcrops_section'] or '2.2.2'}"


def fits(kind: str, con: Any) -> bool:
    """Whether a construct is what the facts call `kind`. Types with a structure of their own are held to by name."""
    while isinstance(con, Subconstruct) and not isinstance(con, Sized | Counted | properties._PropertyTag):
        con = con.subcon
    if kind.endswith("[]"):
        several = Rows | Multi | leaves.Data | leaves._Rest | Counted | Sized | Choice
        return isinstance(con, several | ids._GlobalCounter)
    simple: dict[str, Any] = {
        "guid": leaves._Guid, "ltid": ids._LongTermId, "strA": leaves.Text, "str": Choice,
        "fid": ids._ObjectId, "mid": ids._ObjectId, "id8": ids._ObjectId, "PropertyTag": properties._PropertyTag,
    }  # fmt: skip
    if kind in simple:
        return isinstance(con, simple[kind] | Sized if kind == "strA" else simple[kind])
    if number := re.fullmatch(r"([uif])(\d+)", kind):
        return isinstance(con, FormatField | BytesInteger) and con.sizeof() * 8 == int(number[2])
    if number := re.fullmatch(r"bool(8|16)", kind):
        return isinstance(con, leaves._Bool) and con.size * 8 == int(number[1])
    return isinstance(con, Layout | Sized | Rows | Choice | forms.ByFirst)


# -- the table against itself ---------------------------------------------------------------------


def test_modules_do_not_overlap() -> None:
    assert sum(len(module.ROPS) for module in MODULES) == len(ROPS) == len(BY_NAME)


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_attributes_name_fields(definition: RopDef) -> None:
    request = {field.name for field in definition.request.subcons} if definition.request is not None else set()
    response = {field.name for layout in definition.responses.values() for field in layout.subcons}
    assert {*definition.handles, *((definition.output,) if definition.output else ())} <= request
    assert {name.partition(".")[0] for name in definition.summary} <= request | response
    assert definition.opens in KINDS
    assert (definition.opens is None) == (definition.output is None)
    for layout in definition.responses.values():
        names = [field.name for field in layout.subcons]
        assert names[0] == "RopId"
        if definition.has_return_value:
            assert names[1:3] == [definition.index, "ReturnValue"]
            assert definition.index in request


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_params_are_what_the_layouts_ask_for(definition: RopDef) -> None:
    asked = set()
    for layout in (definition.request, *definition.responses.values()):
        asked |= arguments_of(layout)
    everywhere = {"codepage", "named"}  # given to every layout, whatever params says
    assert set(definition.params) - everywhere == asked - everywhere


def arguments_of(root: Any) -> set[str]:
    """The names of the Params in a layout."""
    found: set[str] = set()
    seen: set[int] = set()
    stack = [root]
    while stack:
        part = stack.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, base.Param):
            found.add(part.name)
        if isinstance(part, list | tuple):
            stack.extend(part)
        elif isinstance(part, dict):
            stack.extend(part.values())
        elif isinstance(part, Deferred):
            stack.append(part.thunk())
        elif type(part).__module__.startswith(("dissector.grammar", "construct")) and hasattr(part, "__dict__"):
            stack.extend(vars(part).values())
    return found


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_where_a_definition_stands(definition: RopDef) -> None:
    path, line = definition.where.split(":")
    text = (ROOT / path).read_text(encoding="utf-8").splitlines()
    near = "\n".join(text[int(line) - 1 : int(line) + 1])
    assert definition.name in near or "unpublished" in near


def test_every_flag_and_enumeration_has_names_and_none_twice() -> None:
    for kind, used in (("flags", leaves.Flags), ("enums", leaves.Enumerated)):
        rows = [(table, int(value, 0)) for table, value, _ in name_rows(kind)]
        twice = {row for row in rows if rows.count(row) > 1}
        assert not twice
        tables = {table for table, _ in rows}
        for layout in LAYOUTS.values():
            for field in layout.subcons:
                con = field.subcon
                while isinstance(con, Subconstruct):
                    assert not isinstance(con, used) or con.table in tables, f"{layout} {field.name}: {con.table}"
                    con = con.subcon


def test_rop_ids_are_named() -> None:
    named = {int(value, 0): name for table, value, name in name_rows("enums") if table == "RopId"}
    assert named == {rop_id: definition.name for rop_id, definition in ROPS.items()}
