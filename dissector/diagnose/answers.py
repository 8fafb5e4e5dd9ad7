"""Rules about what calls and ROPs answered: the failures that `dissector list` shows and no other rule tells.

Most of them are part of healthy traffic: clients ask for what may not be there and take the answer as it comes. So they
are notes, told once with their number, but for codes that have no innocent reading.
"""

from __future__ import annotations

from collections.abc import Iterator

from dissector.diagnose.base import Case, Hit, Severity, code_meaning, code_text, counted, rule
from dissector.diagnose.failures import Failed
from dissector.grammar.names import property_name

WARNING, NOTE = Severity.WARNING, Severity.NOTE
SHOWN = 8
LOGON = "RopLogon"
WRONG_SERVER = 0x00000478
SERIOUS = frozenset(
    (0x80004005, 0x8007000E, 0x8004011B, 0x80040115, 0x80040116, 0x000003EA, 0x000003ED, 0x000003EE, 0x000004B6,
     0x000004D9, 0x000004DA, 0x000004ED)
)  # fmt: skip
"""Codes that no client expects: ecError, out of memory, corrupt data, network, disk and database errors, a server that
shuts down or is misconfigured, a request that cannot be read, quotas."""


def times(failed: Failed) -> str:
    return "" if failed.count == 1 else f" {failed.count} times"


def where(failed: Failed) -> dict[str, str]:
    """The frames of the answers, where there are several, and what the first one was about."""
    evidence = {"the first was about": failed.about} if failed.about else {}
    if failed.count > 1:
        more = ", ..." if failed.count > len(failed.frames) else ""
        evidence["frames"] = ", ".join(map(str, failed.frames)) + more
    return evidence


@rule(
    "rop-failed", NOTE, "end", "MS-OXCDATA 2.4",
    "Often harmless: clients ask for what may not be there. It matters where it comes just before what the user "
    "complains of: `dissector list -Y 'error != 0'` shows them in their places.",
)  # fmt: skip
def rop_failed(case: Case) -> Iterator[Hit]:
    """A ROP failed (warning: with a code that no client expects, or at RopLogon)."""
    for failed in case.failures.rops.values():
        logon = failed.name == LOGON and failed.code != WRONG_SERVER
        severity = WARNING if failed.code in SERIOUS or logon else None
        advice = "Users get nothing of this mailbox: look at their rights and at the mailbox." if logon else ""
        if severity is WARNING and not logon:
            advice = "The server could not do what was asked: look at its log at this time, and at the object named."
        message = f"{failed.name} failed{times(failed)}: {code_meaning(failed.code)}"
        if failed.code == WRONG_SERVER and failed.name == LOGON:
            message = f"{failed.name} sent the client to another server{times(failed)}"
            advice = "Normal after a mailbox was moved. A client that comes back here again and again does not follow."
        evidence = where(failed)
        if failed.session is not None:
            evidence["session"] = str(failed.session)
        yield Hit(failed.frame, failed.exchange, message, evidence, severity, advice, failed.rpc)


@rule(
    "property-refused", NOTE, "end", "MS-OXCDATA 2.7",
    "The ROP succeeded without these properties: most are computed by the server and cannot be set. Where a user "
    "misses a value, look whether its property is among them.",
)  # fmt: skip
def property_refused(case: Case) -> Iterator[Hit]:
    """A ROP succeeded, but did not set or copy some of the properties (PropertyProblems)."""
    groups: dict[tuple[int | None, str], list[tuple[int, Failed]]] = {}
    for (session, name, tag, _), failed in case.failures.problems.items():
        groups.setdefault((session, name), []).append((tag, failed))
    for (session, name), found in groups.items():
        first = found[0][1]
        evidence = {
            property_name(tag) or f"0x{tag:08X}": f"{code_text(failed.code)}{times(failed)}"
            for tag, failed in found[:SHOWN]
        }
        if len(found) > SHOWN:
            evidence["and more"] = str(len(found) - SHOWN)
        message = f"{name} left out {counted(len(found), 'property', 'properties')}"
        if session is not None:
            message += f" in session {session}"
        yield Hit(first.frame, first.exchange, message, evidence, rpc=first.rpc)


@rule(
    "address-book-refused", WARNING, "end", "MS-OXCMAPIHTTP 2.2.5.1",
    "Names are not resolved and the address book does not open for this user: look at the credentials, and at the "
    "address-book service.",
    rpc_spec="MS-OXNSPI 3.1.4.1.1",
)  # fmt: skip
def address_book_refused(case: Case) -> Iterator[Hit]:
    """The address book did not take a client's NspiBind (note: until it tried again)."""
    for failed in case.failures.binds.values():
        message = f"{failed.name} failed{times(failed)}: {code_meaning(failed.code)}"
        yield Hit(failed.frame, failed.exchange, message, where(failed), rpc=failed.rpc)
    for failed in case.failures.retried:
        message = f"{failed.name} failed{times(failed)} before it was taken: {code_text(failed.code)}"
        advice = "Harmless: the client tried again, with other credentials, and was let in."
        yield Hit(failed.frame, failed.exchange, message, where(failed), NOTE, advice, failed.rpc)


@rule(
    "nothing-to-diagnose", WARNING, "end", "MS-OXCMAPIHTTP 2.1",
    "Nothing was looked at, so nothing is said of the mailbox. Capture where the traffic is not encrypted, or give the "
    "keys of TLS sessions (-o tls.keylog_file:FILE).",
    rpc_spec="MS-OXCRPC 2.1",
)  # fmt: skip
def nothing_to_diagnose(case: Case) -> Iterator[Hit]:
    """There is no MAPI call in the capture."""
    if not case.exchanges:
        names = ", ".join(dict.fromkeys(name for name in case.closed if name))
        closed = {"TLS connections that stayed closed": f"{len(case.closed)}{f' ({names})' * bool(names)}"}
        yield Hit(0, 0, "no MAPI call was found in this capture", closed if case.closed else {})
