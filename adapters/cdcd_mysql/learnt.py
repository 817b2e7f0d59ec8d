"""What the writer of a target's batches has learnt about its tables."""

from __future__ import annotations

from typing import Final

_DOUBTFUL_BATCHES: Final = 100
"""For so many nothing is presumed of a table in which the last presumption was wrong."""


class Learnt:
    """What a writer of batches keeps from one to the next, about tables."""

    def __init__(self) -> None:
        self.not_new: set[str] = set()
        """Where rows existed of which a write said that they are probably new."""
        self._doubtful: dict[str, int] = {}

    def next_batch(self) -> None:
        """Another batch begins."""
        if self._doubtful:
            self._doubtful = {table: left - 1 for table, left in self._doubtful.items() if left > 1}

    def doubt(self, table: str) -> None:
        """Something was not as presumed there; "" is for not knowing where."""
        self._doubtful[table] = _DOUBTFUL_BATCHES

    def is_doubtful(self, table: str) -> bool:
        """Whether nothing should be presumed there for now."""
        return table in self._doubtful
