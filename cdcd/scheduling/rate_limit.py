"""How many rows a target is given per second: a bucket of budget that fills steadily. Pure but for who asks the clock.

A source transaction stays whole, so one may take more than there is: what was taken too much is waited for afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

ROWS_KEY: Final = "rows-per-second"
BURST_KEY: Final = "burst-rows"
_QUANTUM_SECONDS: Final = 0.25
"""Less than what comes in in this time is not worth a transaction."""


class RateLimit(msgspec.Struct, frozen=True):
    """So many rows per second; after a rest at most `burst_rows` at once."""

    rows_per_second: int
    burst_rows: int


def of_system(options: Mapping[str, Any]) -> RateLimit | None:
    """The limit in a system's part of the configuration, None without one."""
    rows_per_second = options.get(ROWS_KEY)
    if rows_per_second is None:
        return None
    return RateLimit(rows_per_second, options.get(BURST_KEY, rows_per_second))


class Budget:
    """What may still be written. Moments are seconds of a clock that never goes back.

    It begins with nothing, so that the bursts of a process that is started again and again do not add up.
    """

    def __init__(self, limit: RateLimit, now: float) -> None:
        self._limit = limit
        self._rows = 0.0
        self._at = now
        self._quantum = max(1.0, min(limit.burst_rows, limit.rows_per_second * _QUANTUM_SECONDS))

    def available(self, now: float) -> int:
        """How many rows may be written now: 0 until it is worth a transaction."""
        rate = self._limit.rows_per_second
        self._rows = min(float(self._limit.burst_rows), self._rows + max(0.0, now - self._at) * rate)
        self._at = now
        return int(self._rows) if self._rows >= self._quantum else 0

    def spend(self, rows: int) -> None:
        """Rows were written; more than there were are paid back before others are."""
        self._rows -= rows

    def wait_seconds(self) -> float:
        """How long, from when it was last asked, until something is available."""
        return max(0.0, (self._quantum - self._rows) / self._limit.rows_per_second)
