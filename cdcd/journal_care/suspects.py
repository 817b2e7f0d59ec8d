"""The rows of a refused write, narrowed down to those that are refused: named by the target, or found by halving. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cdcd.errors import Refused
from cdcd.folding.folded import Grouped

NAMED_MAX: Final = 8
"""So often what is left is tried as a whole when the target has named a row of it; then in halves, where each costs less."""


class Suspects:
    """The parts that are still to be tried, of one group whose numbers (places of its rows) were refused together."""

    def __init__(self, group: Grouped) -> None:
        self._group = group
        self._parts: list[list[int]] = []
        self._named_count = 0
        self.error = Refused("nothing was refused yet")
        """What the target said last."""

    def refused(self, numbers: Sequence[int], error: Refused) -> list[int]:
        """The numbers that are known to be refused, of these that were refused together; the others are tried next."""
        named = {self._group.number_of(write, row) for write, row in error.rows}
        return self._narrow(numbers, named, error)

    def refused_of_part(self, part: Sequence[int], some: Grouped, error: Refused) -> list[int]:
        """The same of a part that was tried by itself, as `some`."""
        named = {part[some.number_of(write, row)] for write, row in error.rows}
        return self._narrow(part, named, error)

    def _narrow(self, numbers: Sequence[int], named: set[int], error: Refused) -> list[int]:
        self.error = error
        refused = list(numbers) if len(numbers) == 1 else [n for n in numbers if n in named]
        known = set(refused)
        left = [n for n in numbers if n not in known]
        self._named_count += bool(refused)
        middle = 0 if refused and self._named_count <= NAMED_MAX else len(left) // 2
        self._parts += [part for part in (left[middle:], left[:middle]) if part]
        return refused

    def next_part(self) -> list[int] | None:
        """The numbers to be tried next, None when all are."""
        return self._parts.pop() if self._parts else None
