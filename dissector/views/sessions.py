"""`dissector sessions`: who was connected, to which mailbox, and the lives of the objects that were opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dissector.diagnose.base import code_text, counted
from dissector.diagnose.sessions import SessionStory
from dissector.session.handles import Life
from dissector.views.text import PLAIN, Palette, printable

LABEL = 16
SHOWN = 5


def session_lines(stories: Iterable[SessionStory], handles: bool = False, palette: Palette = PLAIN) -> Iterator[str]:
    """A paragraph for each session. handles: also every handle from birth to release."""
    count = 0
    for story in stories:
        count += 1
        yield from paragraph(story, palette)
        if handles:
            yield from handle_lines(story)
        yield ""
    if not count:
        yield "no MAPI session in this capture"


def paragraph(story: SessionStory, palette: Palette = PLAIN) -> Iterator[str]:
    session = story.session
    frames = f"frames {session.first_frame}-{session.last_frame}, {counted(session.exchanges, 'exchange')}"
    yield f"{palette.value}session {session.number}{palette.off}  {session.transport}, {frames}"
    more = f" and {story.connection_count - SHOWN} more" if story.connection_count > SHOWN else ""
    clients = ", ".join(story.connections[:SHOWN]) + more
    where = f"{clients} to {session.server}" if story.connections else session.server
    yield _line("client", f"{where}, {counted(story.connection_count, 'connection')}")
    yield _line("user", printable(session.user_dn) or "not captured")
    if story.named_by:
        names = ", ".join(
            f"{name} ({len(values)} values)" if len(values) > 1 else name for name, values in story.named_by.items()
        )
        yield _line("named by", printable(names))
    if not session.began:
        yield _line("opened", "before the capture began")
    if story.follows is not None:
        yield _line("opened", f"after session {story.follows[0]} failed in frame {story.follows[1]}", palette, bad=True)
    for frame, logon in story.logons:
        yield _line(f"logon {logon.logon_id}", printable(logon_text(logon, frame)))
    opened = story.opened
    if opened:
        kinds = ", ".join(f"{kind} {count}" for kind, count in opened.most_common())
        yield _line("objects opened", f"{counted(len(story.lives), 'object')}: {kinds}")
        most = ", ".join(
            f"{kind} {count}" for kind, count in sorted(story.most.items(), key=lambda one: -one[1]) if count
        )
        yield _line("at one time", f"at most {most}")
    left = [life for life in story.left if life.kind != "logon"]
    for life in left[:SHOWN]:
        yield _line("not released" if story.ended else "still open", life_text(life))
    if len(left) > SHOWN:
        yield _line("", f"... and {len(left) - SHOWN} more (--handles)")
    for misuse in story.misuses[:SHOWN]:
        answer = f": {code_text(misuse.code)}" if misuse.code is not None else ""
        text = f"{misuse.rop} in frame {misuse.frame} on {life_text(misuse.life)}{answer}"
        yield _line("after release", text, palette, bad=True)
    if story.misuse_count > SHOWN:
        yield _line("", f"... and {story.misuse_count - SHOWN} more")
    for frame, name, why in story.failures[:SHOWN]:
        yield _line("failed", f"{name}, frame {frame}: {why}", palette, bad=True)
    if story.failure_count > SHOWN:
        yield _line("", f"... and {story.failure_count - SHOWN} more")
    yield _line("ended", f"by {story.ended_by} in frame {story.ended}" if story.ended else "not in this capture")


def logon_text(logon: Any, frame: int) -> str:
    """'frame 11, handle 0x0: mailbox 0000..., REPLID 5 is 0000...; user'"""
    parts = [f"mailbox {logon.mailbox_guid}"] if logon.mailbox_guid is not None else []
    if logon.replica_id is not None:
        parts.append(f"REPLID {logon.replica_id} is {logon.replica_guid}")
    if logon.essdn:
        parts.append(str(logon.essdn))
    return f"frame {frame}, handle 0x{logon.handle:X}: {', '.join(parts) or 'nothing was told of it'}"


def life_text(life: Life) -> str:
    """'folder 0x2 (RopOpenFolder, frame 19)'"""
    return f"{life.kind} 0x{life.handle:X} ({life.rop}, frame {life.frame})"


def handle_lines(story: SessionStory) -> Iterator[str]:
    """Every handle of a session in order of birth."""
    if not story.lives:
        return
    yield f"  {'handle':>10}  {'kind':<24} {'parent':>10}  {'opened by':<40} {'frame':>8}  released"
    for life in story.lives:
        parent = f"0x{life.parent:X}" if life.parent is not None else ""
        yield (
            f"  {f'0x{life.handle:X}':>10}  {life.kind:<24} {parent:>10}  {life.rop:<40} {life.frame:>8}  "
            f"{end_text(story, life)}"
        )


def end_text(story: SessionStory, life: Life) -> str:
    if life.released:
        return f"{life.released}{' with its logon' if life.with_logon else ''}"
    return f"never; the session ended in frame {story.ended}" if story.ended else "never"


def _line(label: str, text: str, palette: Palette = PLAIN, bad: bool = False) -> str:
    line = f"  {label:<{LABEL}}{text}"
    return f"{palette.bad}{line}{palette.off}" if bad and palette.bad else line


def session_json(story: SessionStory, handles: bool = False) -> dict[str, Any]:
    """A session as docs/json.md has it."""
    session = story.session
    made: dict[str, Any] = {
        "session": session.number, "transport": session.transport, "client": session.client, "server": session.server,
        "user": session.user_dn, "from_the_start": session.began,
        "frames": [session.first_frame, session.last_frame], "exchanges": session.exchanges,
        "connections": story.connection_count, "clients": story.connections,
        "named_by": {name: len(values) for name, values in story.named_by.items()},
        "logons": [
            {"logon_id": logon.logon_id, "frame": frame, "handle": logon.handle, "user": logon.essdn,
             "mailbox": str(logon.mailbox_guid) if logon.mailbox_guid is not None else None,
             "replica_id": logon.replica_id,
             "replica_guid": str(logon.replica_guid) if logon.replica_guid is not None else None}
            for frame, logon in story.logons
        ],
        "opened": dict(story.opened), "at_one_time": {kind: count for kind, count in story.most.items() if count},
        "not_released": len(story.left),
        "after_release": [
            {"rop": one.rop, "frame": one.frame, "exchange": one.exchange, "handle": one.life.handle,
             "return_code": one.code}
            for one in story.misuses
        ],
        "failures": [{"frame": frame, "call": name, "why": why} for frame, name, why in story.failures],
        "follows": story.follows[0] if story.follows is not None else None,
        "ended": story.ended or None,
    }  # fmt: skip
    if handles:
        made["handles"] = [
            {"handle": life.handle, "kind": life.kind, "parent": life.parent, "opened_by": life.rop,
             "frame": life.frame, "exchange": life.exchange, "logon_id": life.logon_id,
             "released": life.released or None, "with_logon": life.with_logon}
            for life in story.lives
        ]  # fmt: skip
    return made
