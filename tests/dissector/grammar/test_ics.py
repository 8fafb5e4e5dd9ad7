"""The syntax of FastTransfer streams: the table itself, streams that obey it, and the element that breaks it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dissector.grammar import ics
from dissector.grammar.elements import elements_of
from dissector.grammar.fasttransfer import MARKER, MARKERS
from dissector.grammar.ics import (
    BODIES,
    CHOICE,
    GRAMMAR,
    MANY,
    OPTIONAL,
    PRODUCTION,
    ROOT_BY_OBJECT,
    ROOT_BY_ROP,
    ROOT_BY_SOURCE_OPERATION,
    ROOT_BY_SYNC_TYPE,
    ROOTS,
    RULES,
    SEPARATE,
    SEQUENCE,
    TERMINAL,
    UNWOUND,
    Syntax,
    rule_breaks,
)
from tests.dissector.grammar.streams import REAL, contents, real

SUBJECT = 0x0037001F
TAG = {name: tag for tag, name in SEPARATE.items()} | dict(MARKER)


def tags(text: str) -> list[int]:
    """Tags from names of markers and meta-properties; p is some property."""
    return [SUBJECT if word == "p" else TAG[word] for word in text.split()]


def run(root: str, text: str) -> tuple[list[str], str]:
    """What was wrong at which element, and at the end."""
    machine = Syntax(root)
    wrong = []
    for place, tag in enumerate(tags(text)):
        step = machine.advance(tag)
        if step.trouble:
            wrong.append(f"{place} {step.trouble}")
    return wrong, machine.finish()


def test_every_terminal_is_a_marker_a_meta_property_or_a_property():
    known = {*MARKERS.values(), *SEPARATE.values(), "property"}
    for name, body in BODIES.items():
        stack = [body]
        while stack:
            symbol = stack.pop()
            stack += symbol.parts
            if symbol.kind == TERMINAL:
                assert symbol.name in known, name
            elif symbol.kind == PRODUCTION:
                assert symbol.name in GRAMMAR


def test_every_marker_is_in_the_grammar():
    used = {word for text in GRAMMAR.values() for word in text.replace("?", " ").replace("*", " ").split()}
    assert {word.strip("()|") for word in used} >= set(MARKERS.values())


def test_one_element_ahead_is_enough():
    """No choice is open, but for the known greedy ones: a second MetaTagFXDelProp, a warning that may belong to two."""
    follow: dict[str, set[str]] = {name: set() for name in GRAMMAR}
    greedy = set()

    def visit(owner: str, symbol, after: set[str]) -> None:
        if symbol.kind == PRODUCTION:
            follow[symbol.name] |= after
        elif symbol.kind in (OPTIONAL, MANY):
            if clash := set(symbol.first) & after:
                greedy.add((owner, *sorted(clash)))
            inner = after | set(symbol.first) if symbol.kind == MANY else after
            visit(owner, symbol.parts[0], inner)
        elif symbol.kind == CHOICE:
            seen: set[str] = set()
            for part in symbol.parts:
                assert not seen & set(part.first), owner
                seen |= set(part.first)
                visit(owner, part, after)
        elif symbol.kind == SEQUENCE:
            behind = set(after)
            for part in reversed(symbol.parts):
                visit(owner, part, set(behind))
                behind = set(part.first) | (behind if part.nullable else set())

    for _ in GRAMMAR:  # what may follow grows from production to production
        greedy.clear()
        for name, body in BODIES.items():
            visit(name, body, follow[name])
    assert greedy == {("messageChildren", "MetaTagFXDelProp"), ("folderContentNoDelProps", "MetaTagEcWarning")}


FITTING = [
    ("state", "IncrSyncStateBegin p p IncrSyncStateEnd"),
    ("state", "IncrSyncStateBegin IncrSyncStateEnd"),
    ("hierarchySync", "IncrSyncChg p p IncrSyncChg p IncrSyncDel p IncrSyncStateBegin p IncrSyncStateEnd IncrSyncEnd"),
    ("hierarchySync", "IncrSyncStateBegin p IncrSyncStateEnd IncrSyncEnd"),
    (
        "contentsSync",
        "IncrSyncProgressMode p IncrSyncProgressPerMsg p p IncrSyncChg p IncrSyncMessage p MetaTagFXDelProp StartRecip"
        " p EndToRecip MetaTagFXDelProp NewAttach p p StartEmbed p StartRecip p EndToRecip EndEmbed EndAttach"
        " IncrSyncGroupInfo p MetaTagIncrSyncGroupId IncrSyncChgPartial p MetaTagIncrementalSyncMessagePartial p"
        " MetaTagIncrementalSyncMessagePartial p p MetaTagFXDelProp NewAttach p EndAttach"
        " MetaTagIncrSyncGroupId IncrSyncChgPartial p IncrSyncChgPartial p"
        " IncrSyncDel p IncrSyncRead p IncrSyncStateBegin p IncrSyncStateEnd IncrSyncEnd",
    ),
    ("contentsSync", "IncrSyncChg IncrSyncMessage IncrSyncStateBegin IncrSyncStateEnd IncrSyncEnd"),
    ("messageList", ""),
    (
        "messageList",
        "MetaTagDnPrefix MetaTagEcWarning MetaTagEcWarning StartMessage p EndMessage StartFAIMsg EndMessage",
    ),
    ("messageContent", "p p StartRecip p EndToRecip NewAttach p EndAttach"),
    ("messageContent", "MetaTagDnPrefix p MetaTagFXDelProp MetaTagFXDelProp NewAttach p EndAttach"),
    ("attachmentContent", "p StartEmbed p EndEmbed"),
    ("topFolder", "StartTopFld p EndFolder"),
    (
        "topFolder",
        "MetaTagDnPrefix StartTopFld p MetaTagEcWarning p StartMessage EndMessage StartFAIMsg p EndMessage StartSubFld"
        " p StartSubFld p EndFolder EndFolder StartSubFld MetaTagNewFXFolder EndFolder EndFolder",
    ),
    (
        "folderContent",
        "MetaTagDnPrefix p MetaTagFXDelProp StartMessage p EndMessage MetaTagFXDelProp StartFAIMsg p EndMessage"
        " MetaTagFXDelProp StartSubFld p MetaTagFXDelProp StartMessage EndMessage EndFolder StartSubFld p EndFolder",
    ),
    ("folderContent", "p MetaTagNewFXFolder MetaTagFXDelProp StartSubFld p EndFolder"),
    ("folderContent", "p MetaTagFXDelProp MetaTagFXDelProp MetaTagNewFXFolder MetaTagFXDelProp"),
]


@pytest.mark.parametrize(("root", "text"), FITTING)
def test_streams_that_obey_the_grammar(root, text):
    assert run(root, text) == ([], "")


@pytest.mark.parametrize(("root", "text"), [case for case in FITTING if case[1]])
def test_the_end_may_not_come_early_where_something_is_open(root, text):
    """Every prefix fits; it is complete only where nothing that was begun is still needed."""
    words = text.split()
    for length in range(len(words)):
        wrong, missing = run(root, " ".join(words[:length]))
        assert wrong == []
        machine = Syntax(root)
        for tag in tags(" ".join(words[:length])):
            machine.advance(tag)
        assert bool(missing) == (machine.expected().find("the end of the stream") < 0)
    if root in ("contentsSync", "hierarchySync", "state", "topFolder"):
        assert "the stream ends inside" in run(root, " ".join(words[:-1]))[1]


@pytest.mark.parametrize("name", REAL)
def test_real_streams_obey_the_grammar(name):
    machine = Syntax(REAL[name])
    for element in elements_of(real(name), keep=0):
        step = machine.advance(element.tag)
        assert step.fits
        assert not step.trouble, (element.offset, step.trouble)
    assert machine.finish() == ""


@pytest.mark.parametrize(
    ("root", "text", "wrong", "missing"),
    [
        (
            "state",
            "p IncrSyncStateBegin p IncrSyncStateEnd",
            ["0 property may not stand here; expected IncrSyncStateBegin"],
            "",
        ),
        ("state", "IncrSyncStateBegin p IncrSyncStateEnd p p", ["3 property may not stand here; expected the end"], ""),
        (  # what the stream is was mistaken: one remark, everything read
            "hierarchySync",
            "p p p StartRecip p EndToRecip",
            ["0 property may not stand here; expected IncrSyncChg or IncrSyncDel or IncrSyncStateBegin"],
            "the stream ends inside hierarchySync",
        ),
        (  # EndToRecip is missing: the next recipient begins
            "messageContent",
            "p StartRecip p StartRecip p EndToRecip",
            ["3 StartRecip may not stand here; expected property or EndToRecip"],
            "",
        ),
        (  # EndMessage is missing
            "messageList",
            "StartMessage p StartRecip p StartMessage p EndMessage",
            ["4 StartMessage may not stand here; expected property or EndToRecip"],
            "",
        ),
        (  # a message breaks off inside an embedded message, the next change goes on
            "contentsSync",
            "IncrSyncChg p IncrSyncMessage p NewAttach p StartEmbed p IncrSyncChg p IncrSyncMessage p"
            " IncrSyncStateBegin IncrSyncStateEnd IncrSyncEnd",
            ["8 IncrSyncChg may not stand here"],
            "",
        ),
        (  # two troubles apart from each other are two remarks
            "messageContent",
            "p EndEmbed StartRecip p EndMessage EndToRecip NewAttach EndAttach",
            ["1 EndEmbed may not stand here", "4 EndMessage may not stand here", "7 EndAttach may not stand here"],
            "",
        ),
        (
            "contentsSync",
            "IncrSyncChg p",
            [],
            "the stream ends inside messageChangeFull; expected property or IncrSyncMessage",
        ),
    ],
)
def test_the_element_that_breaks_the_grammar(root, text, wrong, missing):
    found, end = run(root, text)
    assert len(found) == len(wrong), found
    for have, want in zip(found, wrong, strict=True):
        assert have.startswith(want)
    assert end.startswith(missing)
    assert bool(end) == bool(missing)


def test_productions_that_are_cut_short_are_counted():
    machine = Syntax("messageList")
    for tag in tags("StartMessage p StartRecip p"):
        machine.advance(tag)
    assert machine.open == ["messageList", "message", "messageContent", "messageChildren", "recipient"]
    step = machine.advance(MARKER["StartMessage"])
    assert (step.ends, step.cut, step.begins) == (4, 4, ("message",))
    assert machine.open == ["messageList", "message"]


def test_error_info_ends_what_was_sent_and_the_list_goes_on():
    head = "IncrSyncProgressPerMsg p IncrSyncChg p IncrSyncMessage p NewAttach p FXErrorInfo p "
    tail = "IncrSyncProgressPerMsg p IncrSyncChg p IncrSyncMessage IncrSyncStateBegin IncrSyncStateEnd IncrSyncEnd"
    assert run("contentsSync", head + tail) == ([], "")
    assert run("contentsSync", "IncrSyncProgressPerMsg p FXErrorInfo p " + tail) == ([], "")
    assert run("messageList", "StartMessage p StartRecip p FXErrorInfo p StartMessage p EndMessage") == ([], "")
    assert run("topFolder", "StartTopFld p StartMessage p FXErrorInfo p StartFAIMsg EndMessage EndFolder") == ([], "")
    machine = Syntax("contentsSync")
    for tag in tags("IncrSyncChg p IncrSyncMessage p StartRecip p"):
        machine.advance(tag)
    step = machine.advance(MARKER["FXErrorInfo"])
    assert (step.begins, step.trouble) == (("errorInfo",), "")
    assert machine.open == ["contentsSync", "errorInfo"]


def test_error_info_outside_a_list_is_read_where_it_stands():
    assert run("messageContent", "p FXErrorInfo p StartRecip p EndToRecip") == ([], "")
    assert run("hierarchySync", "IncrSyncChg p FXErrorInfo p IncrSyncStateBegin IncrSyncStateEnd IncrSyncEnd") == (
        [],
        "",
    )
    assert run("contentsSync", "IncrSyncDel FXErrorInfo p IncrSyncStateBegin IncrSyncStateEnd IncrSyncEnd") == ([], "")


def test_one_error_info_ends_where_the_next_begins():
    assert run("errorInfo", "FXErrorInfo p") == ([], "")
    for root in ("messageContent", "contentsSync", "errorInfo"):
        machine = Syntax(root)
        for _ in range(1000):
            for tag in tags("FXErrorInfo p"):
                assert not machine.advance(tag).trouble
        assert len(machine.open) <= 2


def test_messages_in_messages_have_a_bound():
    machine = Syntax("messageContent")
    troubles = []
    for _ in range(10_000):
        for tag in tags("NewAttach p StartEmbed"):
            step = machine.advance(tag)
            if step.trouble:
                troubles.append(step.trouble)
    assert len(machine.open) < 300
    assert "one too many" in troubles[0]


@given(st.lists(st.sampled_from([*TAG.values(), SUBJECT]), max_size=60), st.sampled_from([*GRAMMAR]))
def test_any_order_of_elements_is_borne(sequence, root):
    machine = Syntax(root)
    depth = 1
    for tag in sequence:
        step = machine.advance(tag)
        depth += len(step.begins) - step.ends
        assert depth == len(machine.open) >= 1
        assert machine.open[0] == root
        assert step.cut <= step.ends
        assert step.fits or not (step.begins or step.ends)
    machine.finish()


def test_made_streams_obey():
    machine = Syntax("contentsSync")
    for element in elements_of(contents(3)):
        assert not machine.advance(element.tag).trouble
    assert machine.finish() == ""


def test_tables_of_roots_name_productions():
    named = {
        *ROOTS, *UNWOUND, *ROOT_BY_OBJECT.values(), *ROOT_BY_ROP.values(), *ROOT_BY_SOURCE_OPERATION.values(),
        *ROOT_BY_SYNC_TYPE.values(), *RULES,
    }  # fmt: skip
    assert named <= set(GRAMMAR)
    assert set(ROOTS) >= {*ROOT_BY_OBJECT.values(), *ROOT_BY_ROP.values(), *ROOT_BY_SYNC_TYPE.values()}


@pytest.mark.parametrize(
    ("production", "found", "words"),
    [
        ("messageChangeHeader", [0x65E00102, 0x30080040, 0x65E20102, 0x65E30102, 0x67AA000B, 0x674A0014], []),
        (
            "messageChangeHeader",
            [0x30080040, 0x65E00102, 0x65E20102, 0x65E30102, 0x67AA000B],
            ["its first properties are to be PidTagSourceKey, PidTagLastModificationTime"],
        ),
        (
            "messageChangeHeader",
            [0x65E00102, 0x30080040, 0x65E20102, 0x65E30102, 0x67AA000B, SUBJECT],
            ["PidTagSubject does not belong here"],
        ),
        ("folderChange", [0x65E10102, 0x65E00102, 0x30080040, 0x65E20102, 0x65E30102], ["without PidTagDisplayName"]),
        ("folderChange", [0x65E10102, 0x65E00102, 0x30080040, 0x65E20102, 0x65E30102, 0x3001001E], []),
        ("deletions", [], ["empty"]),
        ("state", [0x40170003, SUBJECT], ["PidTagSubject does not belong here"]),
        ("propList", [SUBJECT], []),
    ],
)
def test_properties_that_a_production_has_to_have(production, found, words):
    breaks = rule_breaks(production, found)
    assert len(breaks) == len(words)
    assert all(have.startswith(want) for have, want in zip(breaks, words, strict=True))


def test_what_the_machine_remembers_is_bounded_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(5)
    every = tags("StartTopFld StartSubFld StartMessage StartEmbed NewAttach EndEmbed p p")
    every += tags("StartRecip EndToRecip EndAttach EndMessage")
    chosen = [rng.choice(every) for _ in range(4000)]

    def told() -> list[object]:
        machine = Syntax("topFolder")
        return [(machine.advance(tag), machine.repeating, machine.expected()) for tag in chosen] + [machine.finish()]

    usual = told()
    assert told() == usual
    monkeypatch.setattr(ics, "_STATES", {})
    monkeypatch.setattr(ics, "_MOST_STATES", 5)
    assert told() == usual
    reached = list(ics._STATES.values())
    assert len(reached) == 5
    assert {id(to) for state in reached for to, _ in state.moves.values()} <= {id(state) for state in reached}
