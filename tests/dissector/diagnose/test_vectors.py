"""Error vectors alone and in pasted logs."""

from __future__ import annotations

import pytest

from dissector.diagnose.vectors import vectors_in

LOG = """\
20:15:30 Synchronizer Version 14.0.6131
20:15:30 Synchronizing Mailbox 'Ann Other'
20:15:31 Synchronizing local changes in folder 'Deleted Items'
20:15:31 Uploading to server 'mail.example.test'
20:15:32 Synchronization of some deletions failed.
20:15:32        [0-130]
20:15:33 Synchronizing server changes in folder 'Inbox'
20:15:34 Error synchronizing folder
20:15:34        [80004005-501-4B9-560]
20:15:34        The client operation failed.
20:15:35 Done, 2 conflicts since [2026-11-23]
"""


def test_the_parts_of_a_vector() -> None:
    (vector,) = vectors_in("[80040803-30141506-0-533]")
    assert [(part.text, part.role) for part in vector.parts] == [
        ("80040803", "result code"), ("30141506", "context number"),
        ("0", "low-level error"), ("533", "context number"),
    ]  # fmt: skip
    assert vector.parts[0].name == "NoParentFolder"
    assert vector.parts[0].meaning
    assert vector.codes == [0x80040803]
    assert "parent" in vector.explained
    assert vector.advice


def test_a_pasted_log() -> None:
    first, second = vectors_in(LOG)
    assert (first.text, first.time, first.folder) == ("[0-130]", "20:15:32", "Deleted Items")
    assert first.doing == "Synchronizing local changes in folder 'Deleted Items'"
    assert first.said == "Synchronization of some deletions failed."
    assert first.codes == []
    assert (second.text, second.folder, second.said) == (
        "[80004005-501-4B9-560]",
        "Inbox",
        "Error synchronizing folder",
    )
    assert [part.name for part in second.parts] == ["ecError", "", "ecNullObject", ""]
    assert second.codes == [0x80004005, 0x4B9]


@pytest.mark.parametrize(
    "text", ["", "[2026-11-23]", "12345678", "A80040803", "[1-2-3-4-5-6-7]", "80040803-501", "[G-1]", "[]"]
)
def test_what_is_no_vector(text: str) -> None:
    assert list(vectors_in(text)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8004010F", ""), ("0x8004010f", ""), ("0X8004010F", ""),
        ("error (0x8004010F): 'not found'", "error (0x8004010F): 'not found'"),
        ("20:15 [8004010F]", "20:15 [8004010F]"),
    ],
)  # fmt: skip
def test_a_code_by_itself(text: str, said: str) -> None:
    (vector,) = vectors_in(text)
    assert (vector.text, vector.codes, vector.said) == ("0x8004010F", [0x8004010F], said)
    assert vector.parts[0].name == "ecNotFound"


def test_a_code_within_a_vector_is_told_once() -> None:
    assert [one.text for one in vectors_in("[80040803-30141506-0-533] error 0x80040803")] == [
        "[80040803-30141506-0-533]"
    ]


def test_codes_beside_vectors() -> None:
    log = LOG + "20:15:36 Microsoft Exchange offline address book\n20:15:36\t0X8004010F\n"
    assert [one.text for one in vectors_in(log)] == ["[0-130]", "[80004005-501-4B9-560]", "0x8004010F"]
    *_, last = vectors_in(log)
    assert (last.codes, last.said, last.time) == (
        [0x8004010F], "Microsoft Exchange offline address book", "20:15:36",
    )  # fmt: skip
    assert [one.text for one in vectors_in("[0-130] failed with 0X8004010F")] == ["[0-130]", "0x8004010F"]
