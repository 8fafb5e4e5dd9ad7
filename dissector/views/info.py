"""`dissector info`: what is inside a capture, and what could not be read and why."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from dissector.pipeline import Dissection
from dissector.views.text import clock

WIDTH = 120
"""Columns of the tables where stdout is no terminal."""
FIXED = frozenset(("session", "transport", "client", "server", "frames", "exchanges"))
"""Columns whose values are never folded: a table is rather wider than the terminal."""
FOLDED = 20
"""Columns that a value which is folded gets at the least."""


def gather(dissection: Dissection) -> dict[str, Any]:
    """Read the whole capture and count. The dict is what -T json prints."""
    calls: Counter[str] = Counter()
    rops: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    notes: Counter[tuple[str, str]] = Counter()
    unanswered = exchanges = 0
    for exchange in dissection.exchanges():
        exchanges += 1
        calls[f"{exchange.call.transport} {exchange.call.name}"] += 1
        unanswered += exchange.call.response is None
        for rop in exchange.rops:
            rops[rop.name] += rop.continues is None
            if rop.return_code:
                errors[f"{rop.name} {rop.return_name or hex(rop.return_code)}"] += 1
            for side in (rop.request, rop.response):
                if side is not None and side.error is not None:
                    notes[side.error.severity.value, f"{side.name}: {side.error.message}"] += 1
        for found in exchange.diagnostics:
            notes[found.severity.value, found.message] += 1
    tally, tracker = dissection.tally, dissection.tracker
    notes.update(tally.trouble)
    return {
        "capture": _capture_facts(dissection),
        "tcp": {
            "connections": dissection.tcp.connections, "bytes": dissection.tcp.delivered, "gaps": dissection.tcp.gaps,
            "missing_bytes": dissection.tcp.missing, "repeated_bytes": dissection.tcp.repeated,
        },
        "http": {"exchanges": tally.http_exchanges, "not_mapi": tally.http_other},
        "rpc": {"calls": tally.rpc_calls, "not_mapi": dict(tally.rpc_other), "control": dict(tally.rpc_control)},
        "opaque": [
            {
                "kind": one.kind, "label": one.label, "version": one.version, "bytes": one.bytes,
                "frame": one.first_frame,
            }
            for one in tally.opaque
        ],
        "sessions": [
            {
                "session": one.number, "transport": one.transport, "client": one.client, "server": one.server,
                "user": one.user_dn, "frames": [one.first_frame, one.last_frame], "exchanges": one.exchanges,
                "from_the_start": one.began,
            }
            for one in tracker.sessions
        ],
        "exchanges": exchanges,
        "unanswered": unanswered,
        "calls": dict(calls.most_common()),
        "rops": dict(rops.most_common()),
        "errors": dict(errors.most_common()),
        "trouble": [
            {"severity": severity, "message": message, "count": count}
            for (severity, message), count in notes.most_common()
        ],
    }  # fmt: skip


def _capture_facts(dissection: Dissection) -> dict[str, Any]:
    summary = dissection.capture.summary
    return {
        "name": summary.path, "engine": summary.engine, "format": summary.format, "bytes": summary.size,
        "compressed": summary.compressed, "frames": summary.frames, "segments": summary.segments,
        "first_time": summary.first_time, "last_time": summary.last_time, "link_types": dict(summary.link_types),
        "protocols": dict(summary.protocols), "skipped": dict(summary.skipped), "truncated_frames": summary.truncated,
        "comments": [{"frame": frame, "text": text} for frame, text in summary.comments],
        "diagnostics": [{"severity": one.severity.value, "message": one.message} for one in summary.diagnostics],
    }  # fmt: skip


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def info_lines(facts: dict[str, Any], colour: bool) -> Iterator[str]:
    """The facts as tables that fit the terminal, but for values that would be lost by it."""
    from rich.console import Console
    from rich.table import Table

    console = Console(no_color=not colour, highlight=False, soft_wrap=False)
    width = console.width if sys.stdout.isatty() else WIDTH

    def needed(table: Table) -> int:
        """The width below which values that are not folded would be cut."""
        total = 0
        for column in table.columns:
            longest = max(len(str(cell)) for cell in (column.header, *column.cells))
            total += 2 + (longest if column.no_wrap else min(longest, FOLDED))
        return total

    def lines(table: Table) -> Iterator[str]:
        console.width = max(width, needed(table)) if any(column.no_wrap for column in table.columns) else width
        with console.capture() as captured:
            console.print(table)
        yield from captured.get().rstrip("\n").split("\n")

    def table(title: str, *columns: str) -> Table:
        made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for column in columns:
            fixed = column in FIXED
            made.add_column(column, justify="right" if column == "count" else "left", overflow="fold", no_wrap=fixed)
        return made

    about = table("", "", "")
    about.show_header = False
    capture = dict(facts["capture"])
    for name in ("name", "engine", "format", "bytes", "frames", "segments", "truncated_frames"):
        if capture.get(name) not in (None, "", 0):
            about.add_row(name.replace("_", " "), str(capture[name]))
    for name in ("link_types", "protocols", "skipped"):
        if capture.get(name):
            about.add_row(name.replace("_", " "), ", ".join(f"{key} {count}" for key, count in capture[name].items()))
    if capture["first_time"] is not None:
        about.add_row("time", f"{clock(capture['first_time'])} to {clock(capture['last_time'])} UTC")
    tcp = facts["tcp"]
    holes = f", {tcp['missing_bytes']} missing in {_count(tcp['gaps'], 'gap')}" if tcp["gaps"] else ""
    again = f", {tcp['repeated_bytes']} sent again" if tcp["repeated_bytes"] else ""
    about.add_row("TCP", f"{_count(tcp['connections'], 'connection')}, {tcp['bytes']} bytes{holes}{again}")
    if facts["http"]["exchanges"]:
        exchanges = _count(facts["http"]["exchanges"], "exchange")
        about.add_row("HTTP", f"{exchanges}, {facts['http']['not_mapi']} of them not MAPI")
    if facts["rpc"]["calls"]:
        others = sum(facts["rpc"]["not_mapi"].values())
        about.add_row("DCE/RPC", f"{_count(facts['rpc']['calls'], 'call')}, {others} of them not MAPI")
    rops = _count(sum(facts["rops"].values()), "ROP")
    about.add_row("MAPI", f"{_count(facts['exchanges'], 'exchange')} ({facts['unanswered']} without response), {rops}")
    yield from lines(about)
    if facts["sessions"]:
        sessions = table("Sessions", "session", "transport", "client", "server", "frames", "exchanges", "user")
        for one in facts["sessions"]:
            user = one["user"] or ("" if one["from_the_start"] else "(began before the capture)")
            sessions.add_row(
                str(one["session"]), one["transport"], one["client"], one["server"],
                f"{one['frames'][0]}-{one['frames'][1]}", str(one["exchanges"]), user,
            )  # fmt: skip
        yield ""
        yield from lines(sessions)
    for title, key in (("Calls", "calls"), ("ROPs", "rops"), ("Errors returned", "errors")):
        if facts[key]:
            counts = table(title, "count", "name")
            for name, count in facts[key].items():
                counts.add_row(str(count), name)
            yield ""
            yield from lines(counts)
    unread = table("Not read, and why", "count", "what")
    for one in facts["opaque"]:
        what = one["label"]
        if one["kind"] == "tls":
            what = f"{one['version'] or 'TLS'}, {what or 'no server name'}: closed, there is no key for it"
        unread.add_row(f"{one['bytes']} bytes", f"frame {one['frame']}: {what}")
    for name, count in facts["rpc"]["not_mapi"].items():
        unread.add_row(str(count), f"DCE/RPC calls of {name}: not an Exchange interface")
    for one in facts["trouble"]:
        unread.add_row(str(one["count"]), f"{one['severity']}: {one['message']}")
    for problem in capture.get("diagnostics", ()):
        unread.add_row("", f"{problem['severity']}: {problem['message']}")
    if unread.row_count:
        yield ""
        yield from lines(unread)
