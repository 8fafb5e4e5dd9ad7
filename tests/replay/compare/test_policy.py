from __future__ import annotations

from pathlib import Path

import pytest

from replay.compare.difference import ABSENT
from replay.compare.policy import DEFAULT_POLICY, POLICY, Policy, Rule, policy_of, rule_lines, rules_from
from replay.errors import ReplayError


def test_every_rule_says_why() -> None:
    assert all(rule.why and rule.rop and rule.path for rule in POLICY)


@pytest.mark.parametrize(
    ("rop", "path", "expected"),
    [
        ("RopGetPropertiesAll", "PidTagCreationTime", True),
        ("RopQueryRows", "RowData[12].PidTagCreationTime", True),
        ("RopFastTransferSourceGetBuffer", "change message 'x'.attachment[0].PidTagCreationTime", True),
        ("RopFastTransferSourceGetBuffer", "change message 'x'.PidTagCreationTime#2", True),
        ("RopGetPropertiesAll", "PidTagCreationTimeOfMine", False),
        ("RopGetPropertiesAll", "PidTagBody", False),
        ("RopLogon", "LogonTime.Hour", True),
        ("RopOpenFolder", "LogonTime.Hour", False),
        ("RopSynchronizationImportMessageMove", "MessageId", True),
        ("RopSaveChangesMessage", "MessageId", False),
    ],
)
def test_rules_match_by_rop_and_by_part_of_the_path(rop: str, path: str, expected: bool) -> None:
    assert bool(DEFAULT_POLICY.expected(rop, path, 1, 2)) is expected


def test_a_rule_about_absence_is_about_absence() -> None:
    policy = Policy([Rule("*", "*PidTagHtml", "made of the body", absent=True)])
    assert policy.expected("RopX", "PidTagHtml", "<p>", ABSENT) == "made of the body"
    assert policy.expected("RopX", "PidTagHtml", ABSENT, "<p>") == "made of the body"
    assert policy.expected("RopX", "PidTagHtml", "ecNotFound", "<p>") == "made of the body"
    assert policy.expected("RopX", "PidTagHtml", "<p>", "<b>") == ""


def test_what_the_client_wrote_is_never_excused_as_missing() -> None:
    policy = Policy([Rule("*", "*PidTagHtml", "made of the body", absent=True)])
    assert policy.expected("RopX", "PidTagHtml", "<p>", ABSENT, given=True) == ""
    assert policy.expected("RopX", "PidTagHtml", ABSENT, "<p>", given=True) == "made of the body"


def test_a_time_that_the_client_wrote_has_to_stay() -> None:
    path = "change message 'x'.PidTagMessageDeliveryTime"
    assert DEFAULT_POLICY.expected("RopX", path, 1, 2)
    assert not DEFAULT_POLICY.expected("RopX", path, 1, 2, given=True)


def test_a_rule_about_bits_is_about_those_bits() -> None:
    policy = Policy([Rule("*", "*Flags", "odd bits", bits=0x402)])
    assert policy.expected("RopX", "Flags", 0x11, 0x413) == "odd bits"
    assert policy.expected("RopX", "Flags", 0x11, 0x410) == ""
    assert policy.expected("RopX", "Flags", "a", "b") == ""


def test_rules_from_a_file() -> None:
    made = rules_from(
        [{"path": "*PidTagX", "why": "because"}, {"path": "a?", "why": "b", "rop": "RopX", "absent": True}]
    )
    assert made == (Rule("*", "*PidTagX", "because"), Rule("RopX", "a?", "b", True))
    for bad in ({"path": "x"}, {"why": "x"}, {"path": "x", "why": "y", "colour": "red"}):
        with pytest.raises(ValueError):
            rules_from([bad])


def test_the_policy_of_a_file_comes_before_the_others(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text('policy = [{rop = "RopX", path = "*PidTagBody", why = "this server folds lines"}]')
    assert policy_of(str(file)).expected("RopX", "a.PidTagBody") == "this server folds lines"
    assert policy_of(str(file)).expected("RopX", "PidTagCreationTime") == POLICY_TIME
    assert policy_of("none").expected("RopX", "PidTagCreationTime") == ""
    assert policy_of("").expected("RopX", "PidTagCreationTime") == POLICY_TIME


POLICY_TIME = "set by the server at the time of the replay"


@pytest.mark.parametrize("text", ["policy = 1", "policy = [", "policy = [{path = 'x'}]", "policy = [1]"])
def test_a_policy_that_cannot_be_understood(tmp_path: Path, text: str) -> None:
    file = tmp_path / "p.toml"
    file.write_text(text)
    for name in (str(file), str(tmp_path / "none.toml")):
        with pytest.raises(ReplayError, match="--policy"):
            policy_of(name)


def test_every_rule_is_shown_with_its_reason() -> None:
    text = " ".join(" ".join(rule_lines()).split())
    assert all(rule.why in text and rule.path.removeprefix("*") in text for rule in POLICY)
    assert "PidTagMessageFlags (bits 0x402)" in text
