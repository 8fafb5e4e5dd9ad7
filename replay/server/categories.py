"""Categorised tables: messages under headings that can be expanded and collapsed [MS-OXCTABL] 2.2.2.3, 3.2.5.3.

A heading stands for one value of a category column. It lives as long as some message has that value; whether it is
expanded is kept by value, so that it outlives changes of the table and goes into a collapse state.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from replay.server.computed import View
from replay.server.errors import INVALID_BOOKMARK, INVALID_PARAMETER, NOT_COLLAPSED, NOT_EXPANDED, NOT_FOUND, RopError
from replay.server.mailbox import Mailbox, pack, wire_number
from replay.server.values import INSTANCE, INT32, INT64, MULTIPLE

ASCENDING, DESCENDING, MAXIMUM = 0, 1, 4
"""Order of a SortOrder."""

REPLICA = 2
"""Ids of headings have this replica id, which no object has."""

EXPANDED, COLLAPSED = 3, 4
"""PidTagRowType of headings."""

Key = tuple[int, Any]
"""What rows are sorted by; (0, 0) for those without the property."""

Path = tuple[Key, ...]
KeyOf = Callable[[View, int], Key]


class Level(NamedTuple):
    """A category column. maximum: the column whose highest value in a group sorts the group, in place of its own."""

    tag: int
    descending: bool
    maximum: int | None = None


class Sorting(NamedTuple):
    levels: list[Level]
    keys: list[tuple[int, bool]]


def sorting_of(orders: Sequence[tuple[int, int]], categories: int, expanded: int) -> Sorting:
    """(tag, Order) pairs taken apart. Raises RopError(ecInvalidParam)."""
    levels: list[Level] = []
    keys: list[tuple[int, bool]] = []
    for number, (tag, order) in enumerate(orders):
        if order == MAXIMUM:
            if not categories or number != categories:
                raise RopError(INVALID_PARAMETER)
            levels[-1] = levels[-1]._replace(maximum=tag)
        elif order not in (ASCENDING, DESCENDING):
            raise RopError(INVALID_PARAMETER)
        elif number < categories:
            levels.append(Level(tag, order == DESCENDING))
        else:
            keys.append((tag, order == DESCENDING))
    if len(levels) != categories or expanded > categories:
        raise RopError(INVALID_PARAMETER)
    return Sorting(levels, keys)


class Heading(NamedTuple):
    """values: those of the category columns down to its own; (type, value), or None where there is none."""

    id: int
    depth: int
    path: Path
    values: dict[int, tuple[int, Any] | None]
    expanded: bool
    leaves: int
    unread: int


class HeadingView(View):
    """A heading as a row."""

    def __init__(self, mailbox: Mailbox, heading: Heading, folder: int) -> None:
        super().__init__(mailbox, lambda prop_id: None)
        self.heading = heading
        self._values: dict[int, tuple[int, Any] | None] = {
            0x0FF5: (INT32, EXPANDED if heading.expanded else COLLAPSED),
            0x3005: (INT32, heading.depth),
            0x3602: (INT32, heading.leaves),
            0x3603: (INT32, heading.unread),
            0x674D: (INT64, wire_number(heading.id)),
            0x674E: (INT32, 0),
            0x6748: (INT64, wire_number(folder)),
            **heading.values,
        }

    def get(self, prop_id: int) -> tuple[int, Any] | None:
        return self._values.get(prop_id)

    def typed(self, tag: int) -> tuple[int, Any] | None:
        return super().typed(tag & ~(INSTANCE | MULTIPLE) if tag & INSTANCE else tag)


class Categories:
    """The headings of one table. expanded: how many levels are open until somebody says otherwise."""

    def __init__(self, levels: Sequence[Level], expanded: int) -> None:
        self.levels, self.expanded = levels, expanded
        self.headings: dict[int, Heading] = {}
        self._open: dict[Path, bool] = {}
        self._ids: dict[Path, int] = {}

    def is_open(self, path: Path) -> bool:
        return self._open.get(path, len(path) <= self.expanded)

    def arrange(self, rows: Sequence[tuple[Any, View]], key_of: KeyOf) -> Iterator[Any]:
        """The visible rows: ids of headings, and the entries of `rows` (which are in order) below open ones."""
        self.headings = {}
        yield from self._arranged(rows, (), {}, key_of)

    def _arranged(
        self, rows: Sequence[tuple[Any, View]], above: Path, values: dict[int, tuple[int, Any] | None], key_of: KeyOf
    ) -> Iterator[Any]:
        depth = len(above)
        if depth == len(self.levels):
            yield from (entry for entry, _ in rows)
            return
        level = self.levels[depth]
        groups: dict[Key, list[tuple[Any, View]]] = {}
        for row in rows:
            groups.setdefault(_hashable(key_of(row[1], level.tag)), []).append(row)

        def rank(key: Key) -> tuple[Key, Key]:
            if level.maximum is None:
                return key, key
            return max(key_of(view, level.maximum) for _, view in groups[key]), key

        for key in sorted(groups, key=rank, reverse=level.descending):
            group, path = groups[key], (*above, key)
            here = {**values, level.tag >> 16: group[0][1].typed(level.tag)}
            if level.maximum is not None:
                tag = level.maximum
                here[tag >> 16] = max((view for _, view in group), key=lambda view: key_of(view, tag)).typed(tag)
            heading = self._heading(path, here, group)
            yield heading.id
            if heading.expanded:
                yield from self._arranged(group, path, here, key_of)

    def _heading(
        self, path: Path, values: dict[int, tuple[int, Any] | None], group: Sequence[tuple[Any, View]]
    ) -> Heading:
        made = self._ids.setdefault(path, pack((REPLICA, len(self._ids) + 1)))
        unread = sum(not view.value(0x0E69) for _, view in group)
        heading = Heading(made, len(path) - 1, path, values, self.is_open(path), len(group), unread)
        self.headings[made] = heading
        return heading

    def toggle(self, identifier: int, expand: bool) -> None:
        """Open or close a heading. Raises RopError where there is none, or it is that already."""
        heading = self.headings.get(identifier)
        if heading is None:
            raise RopError(NOT_FOUND)
        if heading.expanded is expand:
            raise RopError(NOT_COLLAPSED if expand else NOT_EXPANDED)
        self._open[heading.path] = expand

    # Collapse states.

    def state(self) -> list[Any]:
        return [[[_plain(key) for key in path], expanded] for path, expanded in self._open.items()]

    def take_state(self, state: Any) -> None:
        try:
            self._open = {tuple(_from_plain(key) for key in path): bool(expanded) for path, expanded in state}
        except (TypeError, ValueError, KeyError) as error:
            raise RopError(INVALID_BOOKMARK) from error


def packed_state(row: tuple[int, int] | None, categories: Categories | None) -> bytes:
    """A collapse state: which headings are open, and the row that the client stands on (id and instance)."""
    return json.dumps({"row": row, "open": categories.state() if categories is not None else []}).encode()


def unpacked_state(data: bytes, categories: Categories | None) -> tuple[int, int] | None:
    """The row of a collapse state; the categories are made as it says. Raises RopError(ecInvalidBookmark)."""
    try:
        state = json.loads(data)
        row = state["row"]
        found = None if row is None else (int(row[0]), int(row[1]))
        opened = state["open"]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise RopError(INVALID_BOOKMARK) from error
    if categories is not None:
        categories.take_state(opened)
    return found


def _hashable(key: Key) -> Key:
    return (key[0], tuple(key[1])) if isinstance(key[1], list) else key


def _plain(key: Key) -> list[Any]:
    """A key as JSON has it: bytes as their hexadecimal digits."""
    there, value = key
    if isinstance(value, bytes):
        return [there, "bytes", value.hex()]
    if isinstance(value, tuple):
        return [there, "list", [_plain((1, one)) for one in value]]
    return [there, "plain", value]


def _from_plain(made: Any) -> Key:
    there, kind, value = made
    if kind == "bytes":
        return int(there), bytes.fromhex(value)
    if kind == "list":
        return int(there), tuple(_from_plain(one)[1] for one in value)
    if isinstance(value, list | dict):
        raise ValueError("no value of a property")
    return int(there), value
