"""Parts of a FastTransfer stream that a view reads by itself: for who shows all of a long stream.

Where runs.py leaves rows that nodes can be made of, a view that shows a whole stream reads properties as what it shows
(compiler/plain.py), and so the messages that consist of them. What is here is what the tree of a stream needs to know
of such parts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol

from dissector.node import Node
from dissector.source import ByteSource

WITH_ID = 0x10000
"""Tags below have no property id: they are explained by what stands before them."""


class Table(ABC):
    """Properties side by side, in order. end: the place behind them. amount: how many they are."""

    __slots__ = ()
    end: int
    amount: int

    @abstractmethod
    def nodes(self, source: ByteSource) -> Iterator[Node]:
        """They as nodes."""

    @abstractmethod
    def child(self, name: str, source: ByteSource) -> Node | None:
        """The node of the first property of that name."""

    @abstractmethod
    def words(self, name: str, source: ByteSource) -> str | None:
        """node.brief() of it, which need not be made for that."""

    @abstractmethod
    def tags(self, source: ByteSource, most: int) -> list[int]:
        """The property tags of the first ones."""


class Messages(ABC):
    """messageChanges side by side, each of one messageChangeFull, from start to end of the source. amount: how many
    they are. elements: how many elements are in them."""

    __slots__ = ()
    start: int
    end: int
    amount: int
    elements: int


class TableReader(Protocol):
    """What reads a stream for a view, where it can."""

    def read(self, source: ByteSource, at: int, stop: int, codepage: str | None) -> Table | None:
        """The properties from `at` of the source on: up to a marker, to what says something about order, to what the
        readers do not understand (the interpreted reading says why), or to `stop`. None where there is none."""

    def messages(self, source: ByteSource, at: int, stop: int, codepage: str | None) -> Messages | None:
        """The messageChanges from `at` on (an IncrSyncChg): those that are whole, follow every rule and are followed by
        what may follow them. There may be more of them behind. None where there is none."""
