"""How fast a verification reads, and whether it is to go on at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

Wish: TypeAlias = Literal["go-on", "pause", "cancel"]
LOOK_SECONDS: Final = 0.5
SLICE_SECONDS: Final = 1.0


class Cancelled(Exception):
    """Nobody wants it any more."""


class Pace:
    """Called with every number of rows that was read: waits as long as the rate wants it, and while a pause lasts."""

    def __init__(
        self,
        rows_per_second: int,
        wish: Callable[[], Wish],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`wish` is asked now and then."""
        self._rate = rows_per_second
        self._wish = wish
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()
        self._look_at = float("-inf")

    def __call__(self, rows: int) -> None:
        """So many rows were read. Raises Cancelled."""
        self._free_at = max(self._free_at, self._clock()) + rows / self._rate
        self.look()
        while (seconds := self._free_at - self._clock()) > 0:
            self._sleep(min(seconds, SLICE_SECONDS))
            self.look()

    def look(self) -> None:
        """Ask what is wanted, and wait while that is a pause. Raises Cancelled."""
        while self._clock() >= self._look_at:
            wish = self._wish()
            if wish == "cancel":
                raise Cancelled
            if wish == "go-on":
                self._look_at = self._clock() + LOOK_SECONDS
                return
            self._sleep(LOOK_SECONDS)
