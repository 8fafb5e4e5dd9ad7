"""A set of properties as an object of the store holds it: by property id, one value each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from replay.server.values import STRING, size_of

LARGE = 8 * 1024
"""A text or binary of more bytes than this stays in the database until someone asks for it."""


class Large:
    """A value that was left in the database. size: bytes on the wire without a count, as size_of() gives them."""

    __slots__ = ("fetch", "size")

    def __init__(self, size: int, fetch: Callable[[], Any]) -> None:
        self.size, self.fetch = size, fetch


class Properties:
    """Properties by id. `changed` and `removed` tell what differs from what was loaded."""

    __slots__ = ("_values", "changed", "removed")

    def __init__(self, values: dict[int, tuple[int, Any]] | None = None) -> None:
        self._values: dict[int, tuple[int, Any]] = values if values is not None else {}
        self.changed: set[int] = set()
        self.removed: set[int] = set()

    def __contains__(self, prop_id: int) -> bool:
        return prop_id in self._values

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._values))

    def get(self, prop_id: int) -> tuple[int, Any] | None:
        """(type, value); the value may be a Large."""
        return self._values.get(prop_id)

    def kind(self, prop_id: int) -> int | None:
        found = self._values.get(prop_id)
        return None if found is None else found[0]

    def value(self, prop_id: int, default: Any = None) -> Any:
        """The value itself, fetched where it was left in the database."""
        found = self._values.get(prop_id)
        if found is None:
            return default
        return found[1].fetch() if isinstance(found[1], Large) else found[1]

    def size(self, prop_id: int) -> int:
        """Bytes the value takes on the wire; 0 where there is none."""
        found = self._values.get(prop_id)
        if found is None:
            return 0
        return found[1].size if isinstance(found[1], Large) else size_of(*found)

    def total_size(self) -> int:
        return sum(self.size(prop_id) for prop_id in self._values)

    def set(self, prop_id: int, kind: int, value: Any) -> None:
        self._values[prop_id] = (kind, value)
        self.changed.add(prop_id)
        self.removed.discard(prop_id)

    def put(self, tag: int, value: Any) -> None:
        """Set by a whole tag; text is kept as PtypString."""
        kind = tag & 0xFFFF
        self.set(tag >> 16, STRING if kind == 0x1E else kind, value)

    def delete(self, prop_id: int) -> bool:
        if self._values.pop(prop_id, None) is None:
            return False
        self.changed.discard(prop_id)
        self.removed.add(prop_id)
        return True

    def tags(self) -> list[int]:
        return [prop_id << 16 | self._values[prop_id][0] for prop_id in self]

    def saved(self) -> None:
        """What there is now is what the database holds."""
        self.changed.clear()
        self.removed.clear()

    def clone(self) -> Properties:
        """A working copy: the same values, the same account of what is unsaved."""
        copy = Properties(dict(self._values))
        copy.changed, copy.removed = set(self.changed), set(self.removed)
        return copy

    def fresh(self) -> Properties:
        """The same values for another object: all of them unsaved, large ones fetched."""
        copy = Properties()
        for prop_id, (kind, _) in self._values.items():
            copy.set(prop_id, kind, self.value(prop_id))
        return copy
