"""`dissector state`: the four sets of a folder after every synchronization, and the difference of any two of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dissector.errors import DissectorError
from dissector.model.icsstate import SETS, Relation
from dissector.session.timeline import Again, Point, Timeline
from dissector.session.versions import object_text
from dissector.views.sync import Shown, change_json, idset_json, short_name, state_json
from dissector.views.text import PLAIN, Palette, clock, printable

SHOWN_AGAIN = 20
WORDS = {
    Relation.EQUAL: "equal to",
    Relation.LATER: "later than",
    Relation.EARLIER: "earlier than",
    Relation.APART: "apart from",
}
WHY = {
    "in the uploaded state": "the uploaded state has it: a server error",
    "lost from the state": "a state had it, the client came back with one that does not",
    "not stored": "no state had it: the download before did not end with a state",
}


def state_lines(lines: Iterable[Timeline], palette: Palette = PLAIN) -> Iterator[str]:
    """The timelines, one table each."""
    none = True
    for line in lines:
        none = False
        yield from heading(line, palette)
        names = "".join(f"{short_name(name):>14}" for name in SETS)
        yield f"{palette.dim}  point  {'frame':>7}  {'time':<26}{names}  what it is{palette.off}"
        before: Point | None = None
        for point in line.points:
            yield row(line, point, before, palette)
            before = point
        if line.again:
            yield f"  {palette.bad}came down again{palette.off}"
            for one in line.again[:SHOWN_AGAIN]:
                yield f"    {again_text(one)}"
            if len(line.again) > SHOWN_AGAIN:
                yield f"    ... and {len(line.again) - SHOWN_AGAIN} more (-T json has all)"
        yield ""
    if none:
        yield "no synchronization in this capture"


def heading(line: Timeline, palette: Palette) -> Iterator[str]:
    name = f"{line.folder_name} ({line.folder})" if line.folder_name else f"folder {line.folder}"
    title = f"{line.kind} of {name}"
    yield f"{palette.value}{printable(title)}{palette.off}"
    yield f"  client {line.client}, mailbox {line.mailbox or 'not known'}"


def row(line: Timeline, point: Point, before: Point | None, palette: Palette) -> str:
    counts = []
    for index, (_, idset) in enumerate(point.state.named()):
        text = str(idset.count)
        if before is not None:
            added, removed = (idset - before.state[index]).count, (before.state[index] - idset).count
            text += f" +{added}" * bool(added) + f" -{removed}" * bool(removed)
        counts.append(f"{text:>14}")
    bad = before is not None and point.state.relation(before.state) in (Relation.EARLIER, Relation.APART)
    text = (
        f"  {point.name:<6} {point.frame:>7}  {clock(point.time):<26}{''.join(counts)}  {meaning(line, point, before)}"
    )
    return f"{palette.bad}{text}{palette.off}" if bad and palette.bad else text


def meaning(line: Timeline, point: Point, before: Point | None) -> str:
    """'uploaded, equal to 1+'"""
    what = "uploaded" if point.name.endswith("-") else f"given back by the {point.direction}"
    if point.state.empty:
        what += ", nothing"
    if before is None:
        return what
    relation = point.state.relation(before.state)
    what += f", {WORDS[relation]} {before.name}"
    same = line.same_as(point)
    return what + (f", equal to {same.name}" if same is not None and relation is not Relation.EQUAL else "")


def again_text(again: Again) -> str:
    change = again.change
    version = f"change 0x{change.version[1]:X}" if change.version is not None else "a version"
    before = f"#{again.before} and " if again.before is not None else ""
    frames = f"frame {change.frame}"
    return printable(f"{object_text(change)}, {version}: with {before}#{again.sync} ({frames}); {WHY[again.why]}")


def between_lines(line: Timeline, first: str, second: str, palette: Palette = PLAIN) -> Iterator[str]:
    """What leads from one state to another, set by set."""
    one, two = chosen(line, first), chosen(line, second)
    yield from heading(line, palette)
    relation = two.state.relation(one.state)
    reached = relation in (Relation.EQUAL, Relation.LATER)
    yield f"  {two.name} is {WORDS[relation]} {one.name}: it {'can' if reached else 'cannot'} have been reached from it"
    shown = Shown.of_states((one.state, two.state))
    if shown.replica is not None:
        yield f"  ids of replica {shown.replica} are written without its name"
    for name, added, removed in two.state.difference(one.state):
        before, after = (dict(point.state.named())[name] for point in (one, two))
        yield f"  {short_name(name):<13} {before.count} -> {after.count}"
        for word, idset in (("added", added), ("removed", removed)):
            if idset:
                yield f"    {word:<8} {shown.amount(idset)}"


def chosen(line: Timeline, name: str) -> Point:
    point = line.point(name)
    if point is None:
        known = ", ".join(one.name for one in line.points)
        raise DissectorError(f"no state is called {name!r} here; there are {known or 'none'}")
    return point


def timeline_json(line: Timeline) -> dict[str, Any]:
    """A timeline as docs/json.md has it."""
    points = []
    before: Point | None = None
    for point in line.points:
        made: dict[str, Any] = {
            "point": point.name, "sync": point.sync, "direction": point.direction, "frame": point.frame,
            "time": point.time, "state": state_json(point.state),
        }  # fmt: skip
        if before is not None:
            made["relation"] = {"to": before.name, "is": point.state.relation(before.state).value}
            same = line.same_as(point)
            made["equal_to"] = same.name if same is not None else None
        points.append(made)
        before = point
    return {
        "folder": line.folder, "folder_name": line.folder_name, "kind": line.kind, "client": line.client,
        "mailbox": line.mailbox, "points": points,
        "again": [
            {"sync": one.sync, "before": one.before, "why": one.why, "change": change_json(one.change)}
            for one in line.again
        ],
    }  # fmt: skip


def between_json(line: Timeline, first: str, second: str) -> dict[str, Any]:
    one, two = chosen(line, first), chosen(line, second)
    relation = two.state.relation(one.state)
    return {
        "from": one.name, "to": two.name, "is": relation.value,
        "reachable": relation in (Relation.EQUAL, Relation.LATER),
        "sets": {name: {"added": idset_json(added), "removed": idset_json(removed)}
                 for name, added, removed in two.state.difference(one.state)},
    }  # fmt: skip
