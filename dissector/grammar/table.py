"""The properties of a FastTransfer stream as a table: for who shows all of a long stream, and no more than is in it.

Where runs.py leaves rows that nodes can be made of, a view that shows a whole stream has them read as what it shows
(compiler/plain.py). What is here is what the tree of a stream needs to know of such a table.
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


class TableReader(Protocol):
    def read(self, source: ByteSource, at: int, stop: int, codepage: str | None) -> Table | None:
        """The properties from `at` of the source on: up to a marker, to what says something about order, to what the
        readers do not understand (the interpreted reading says why), or to `stop`. None where there is none."""
