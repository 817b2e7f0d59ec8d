"""Figures that cost a look at every row: looked at again only when they may have changed, and seldom while that takes long."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

SHARE: Final = 0.02
"""So much of the time may go into counting one thing."""
T = TypeVar("T")


class CostlyCount(Generic[T]):
    """What `count` returns, or what it returned a while ago."""

    def __init__(self, count: Callable[[], T]) -> None:
        self._count = count
        self._known: tuple[Hashable, T] | None = None
        self._count_at = float("-inf")

    def value(self, version: Hashable) -> T:
        """The figure, counted anew where `version` is another one than last time, and that was long enough ago."""
        began_at = time.monotonic()
        if self._known is None or (version != self._known[0] and began_at >= self._count_at):
            self._known = version, self._count()
            ended_at = time.monotonic()
            self._count_at = ended_at + (ended_at - began_at) / SHARE
        return self._known[1]
