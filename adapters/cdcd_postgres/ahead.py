"""Writes in their order, the next of which can be made before its turn, while the server is at work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from cdcd.model import TableWrite


class Ahead(Iterator[TableWrite]):
    """Holds one write at most that was not asked for yet."""

    def __init__(self, writes: Iterable[TableWrite]) -> None:
        self._writes = iter(writes)
        self._made: list[TableWrite] = []

    def __next__(self) -> TableWrite:
        return self._made.pop() if self._made else next(self._writes)

    def make(self) -> None:
        """Have the next write made now. Where there is none, whoever makes them learns that all have been taken."""
        if not self._made:
            self._made += islice(self._writes, 1)
